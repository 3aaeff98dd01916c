"""What a command line says, looked at before its command runs.

A name that is empty names nothing, `-` is no name of a file, what is written is no file that is
read, a choice or a number is one that the option takes, and an option that is given twice counts
once. What a command makes of a name comes too late to tell: a path of no letters is the folder
one stands in, and `./-` is the same path as `-`.
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
    """Refuse arguments and files without a name, outputs named `-` that are no stream, and values
    that an option does not take; say which options are given twice.

    ctx : of the group. args : what the command was given, as it was typed.
    """
    raw: dict[str, object] = {}
    inner = click.Context(command, parent=ctx, info_name=command.name)
    with suppress(click.ClickException):  # what click says of them, it says when it runs
        given, _, order = command.make_parser(inner).parse_args(list(args))
        raw = dict(given)
        _say_twice(order)
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
        _require_taken(parameter, raw.get(str(parameter.name)), inner)
    _require_apart(command, raw)


def _say_twice(order: list[click.Parameter]) -> None:
    """Say which options are given more than once, where only the last of them counts.

    order : of the parameters, as they were typed.
    """
    counted = [p for p in order if isinstance(p, click.Option) and not (p.multiple or p.count)]
    for option in dict.fromkeys(counted):
        if counted.count(option) > 1 and (not option.is_flag or option.secondary_opts):
            click.echo(
                f"note: {option.opts[0]} is given more than once; the last one counts", err=True
            )


def _require_taken(parameter: click.Parameter, given: object, ctx: click.Context) -> None:
    """Refuse a choice that is none, with the nearest, and what is no number or out of range.

    given : of the parameter, as it was typed. ctx : of its command.
    """
    kind = parameter.type
    for text in _texts(given):
        try:
            kind.convert(text, parameter, ctx)
        except click.BadParameter as error:
            if isinstance(kind, click.Choice):
                problem, allowed = "unknown choice", list(kind.choices)
            elif kind is click.INT or isinstance(kind, click.IntRange):
                problem, allowed = f"must be a whole number{_range(kind)}", None
            elif kind is click.FLOAT or isinstance(kind, click.FloatRange):
                problem, allowed = f"must be a number{_range(kind)}", None
            else:
                raise  # which click words
            raise InputError(
                problem, field=_field(parameter), value=text, allowed=allowed
            ) from error


def _range(kind: object) -> str:
    """Which numbers a kind takes, as words behind `number`; none where it takes any."""
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    words = f" from {low:,} " if low is not None else " "
    if high is None:
        return f"{words}up" if low is not None else ""
    return f"{words}to {'below ' * bool(getattr(kind, 'max_open', False))}{high:,}"


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
