"""`elector import`: a file of another tool as an operation list."""

from __future__ import annotations

from pathlib import Path

import click

from elector.base.errors import InputError


@click.command("import")
@click.argument("file", type=click.Path(readable=False))
@click.option(
    "--out",
    metavar="FILE",
    required=True,
    type=click.Path(readable=False, allow_dash=True),
    help="Operation list to write (YAML); - is standard output.",
)
@click.option(
    "--symbol",
    "symbols",
    multiple=True,
    metavar="NAME=VALUE",
    help="A size of FILE that varies: batch, length, a name for it, or a number that fixes it.",
)
@click.option(
    "--class",
    "class_name",
    default="",
    metavar="NAME",
    help="Class of transformers to build from a config, if not the one it names.",
)
def import_command(file: str, out: str, symbols: tuple[str, ...], class_name: str) -> None:
    """Write what a model of another tool runs as an operation list, a model file like any other.

    FILE is a config.json of transformers, a program of torch.export (.pt2) or an ONNX file. No
    code of it is run. Needs the extra [import]; a .pt2 needs nothing.

    \b
    elector import config.json --out model.yaml
    elector import program.pt2 --out model.yaml
    elector import model.onnx --symbol past_length=512 --out model.yaml
    """
    import yaml

    from elector.base.output import check_output, whole
    from elector.base.paths import LIMIT
    from elector.describe.formats.described import to_mapping
    from elector.describe.imports import import_file

    check_output(out, (".yaml", ".yml"))
    imported = import_file(file, dict(_pair(text) for text in symbols), class_name)
    text = yaml.safe_dump(
        to_mapping(imported.model), sort_keys=False, allow_unicode=True, width=100
    )
    if len(text.encode()) > LIMIT:
        raise InputError(
            f"its list of operations is larger than a model file can be, {LIMIT >> 10} KiB",
            file=file,
        )
    if out == "-":
        click.echo(text, nl=False)
    else:
        with whole(Path(out)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    listing = imported.model.listing
    assert listing is not None
    place = "standard output" if out == "-" else out
    click.echo(
        f"{place}: {len(listing.entries)} operations, {listing.parameters or 0:,} parameters, "
        f"{imported.model.source}",
        err=out == "-",
    )
    for said in imported.said:
        click.echo(f"note: {said}", err=out == "-")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise InputError("must be NAME=VALUE", field="--symbol", value=text)
    return name, value
