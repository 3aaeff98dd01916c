"""`transcode serve`: both programs as tools for agents."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--mcp", is_flag=True, help="Speak the Model Context Protocol on standard streams.")
@click.option(
    "--folder",
    type=click.Path(readable=False, path_type=Path),
    metavar="DIR",
    help="Where searches may be written and are read; without it there is no tool that writes.",
)
def serve(mcp: bool, folder: Path | None) -> None:
    """Offer simulate, sweep, explain, validate and show as tools; below --folder search and front.

    Needs the extra `mcp`. A client starts this command and talks to it over its standard streams;
    it ends when the client leaves.

    \b
    transcode serve --mcp
    transcode serve --mcp --folder results/agent
    """
    if not mcp:
        raise click.UsageError("Missing option '--mcp', the protocol that is spoken.")
    from transcode.serve import serve as run

    run(folder)
