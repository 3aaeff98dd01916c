"""Names on the command line: one that is empty names nothing, and `-` is no name of a file.

What a command makes of a name comes too late to tell: a path of no letters is the folder one
stands in, and `./-` is the same path as `-`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import click

from elector.base.errors import InputError

#: Options that say where something is written.
OUTPUTS = frozenset({"--out", "--plot", "--junit", "--report"})


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


def _texts(given: object) -> Iterator[str]:
    """The texts that a parameter was given."""
    if isinstance(given, str):
        yield given
    elif isinstance(given, list | tuple):
        yield from (text for text in given if isinstance(text, str))
