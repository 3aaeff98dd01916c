"""`transcode schema`: what editors and other programs need to know of the files a search reads."""

from __future__ import annotations

import click

from elector.cli import text

#: Kinds of files: a space, and the table that its key `accuracy: {rows: FILE}` names.
KINDS = ("space", "accuracy")


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
def schema(kind: str) -> None:
    """The JSON Schema of a kind of file that a search reads.

    space is that of `elector schema space`; accuracy is of the table of scores that a space names
    in `accuracy: {rows: FILE}`, as the list of its rows.

    \b
    transcode schema space > space.json
    transcode schema accuracy > accuracy.json
    """
    if kind == "space":
        from elector.studies.schemas import json_schema

        text.as_json(json_schema(kind))
        return
    from transcode.accuracy.schema import accuracy

    text.as_json(accuracy())
