"""`elector schema`: what editors and other programs need to know of the files that users write."""

from __future__ import annotations

import click

from elector.cli import text
from elector.studies import SCHEMAS


@click.command()
@click.argument("kind", metavar="KIND", type=click.Choice(SCHEMAS))
def schema(kind: str) -> None:
    """The JSON Schema of a kind of file, made of the tables that the programs read.

    KIND is KINDS. An editor that knows YAML checks a file and offers its keys where the first
    line says `# yaml-language-server: $schema=FILE.json`.

    \b
    elector schema space > space.json
    elector schema accelerator > accelerator.json
    """
    from elector.studies.schemas import json_schema

    text.as_json(json_schema(kind))


schema.help = (schema.help or "").replace("KINDS", f"{', '.join(SCHEMAS[:-1])} or {SCHEMAS[-1]}")
