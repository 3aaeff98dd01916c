"""Names on the command line: one that is empty names nothing, `-` is no name of a file, and what
is written is no file that is read.

What a command makes of a name comes too late to tell: a path of no letters is the folder one
stands in, and `./-` is the same path as `-`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress

import click

from elector.base.errors import InputError
from elector.base.output import require_apart

#: Options that say where something is written.
OUTPUTS = frozenset({"--out", "--plot", "--junit", "--report"})
#: Output that may be the file its command reads: all columns of that stay, so it can be read again.
_KEEPS = ("sweep", "--out")
#: Files of a folder that a command writes, which the user may name as an input of it, too.
_IN_FOLDERS = ("index.html", "front.csv", "front.json", "manifest.json")


def require_names(command: click.Command, ctx: click.Context, args: list[str]) -> None:
    """Refuse arguments and files without a name, and outputs named `-` that are no stream.

    ctx : of the group. args : what the command was given, as it was typed.
    """
    raw: dict[str, object] = {}
    with suppress(click.ClickException):  # what click says of them, it says when it runs
        inner = click.Context(command, parent=ctx, info_name=command.name)
        raw = dict(command.make_parser(inner).parse_args(list(args))[0])
    for parameter in command.params:
        kind = parameter.type
        path = isinstance(kind, click.Path)
        argument = isinstance(parameter, click.Argument)
        named = path or (argument and kind is click.STRING)
        for text in _texts(raw.get(str(parameter.name))) if named else ():
            field = parameter.metavar or parameter.name if argument else parameter.opts[0]
            if not text:
                raise InputError("is empty", field=field, value=text, hint="a name or a path")
            stream = isinstance(kind, click.Path) and kind.allow_dash
            if text == "-" and not stream and OUTPUTS.intersection(parameter.opts):
                hint = f"./- is a {'folder' if parameter.metavar == 'DIR' else 'file'}"
                raise InputError("cannot be standard output", field=field, value=text, hint=hint)
    _require_apart(command, raw)


def _require_apart(command: click.Command, raw: Mapping[str, object]) -> None:
    """Refuse outputs that are one file, or a file that is read.

    raw : name of a parameter -> what it was given.
    """
    outputs: dict[str, object] = {}
    inputs: list[tuple[str, object]] = []
    for parameter in command.params:
        texts = list(_texts(raw.get(str(parameter.name))))
        if OUTPUTS.intersection(parameter.opts):
            outputs |= _written(parameter, texts)
            continue
        path = isinstance(parameter.type, click.Path) or parameter.metavar in ("FILE", "RUN")
        for text in texts:
            # What has neither is a shipped name, which goes before a file of that name.
            named = {text, text.partition("=")[2].strip()}
            inputs += [(_field(parameter), t) for t in named if path or "." in t or os.sep in t]
    if command.name == _KEEPS[0]:
        require_apart(outputs, [(field, text) for field, text in inputs if field.startswith("-")])
        outputs.pop(_KEEPS[1], None)
    require_apart(outputs, inputs)


def _written(parameter: click.Parameter, texts: list[str]) -> dict[str, object]:
    """Option -> file, of each file that an output stands for."""
    if not texts:
        return {}
    option, text = parameter.opts[0], texts[-1]
    if parameter.metavar != "DIR":
        return {option: text}
    return {f"{option} {name}": os.path.join(text, name) for name in _IN_FOLDERS}


def _field(parameter: click.Parameter) -> str:
    """What a parameter is called: an option, a name in capitals, or the argument's own name."""
    if not isinstance(parameter, click.Argument):
        return parameter.opts[0]
    plain = parameter.metavar is None or " " in parameter.metavar
    return str(parameter.name if plain else parameter.metavar)


def _texts(given: object) -> Iterator[str]:
    """The texts that a parameter was given."""
    if isinstance(given, str):
        yield given
    elif isinstance(given, list | tuple):
        for each in given:
            yield from _texts(each)
