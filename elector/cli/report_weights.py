"""What `list technologies --weight` prints: what each constant carries of a reference run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from elector.cli import text
from elector.studies.weights import RESULTS

#: Shares that a table shows, and from which on an assumed row says where it was looked for.
_SHOWN, _MATTERS = 0.001, 0.01


def printed(weights: Mapping[str, Any], format: str) -> None:
    """All of it as JSON, the rows as CSV, or a table of those that matter."""
    rows: Sequence[Mapping[str, Any]] = weights["rows"]
    if format == "json":
        text.as_json(weights)
    elif format == "csv":
        text.as_csv(rows)
    else:
        _table(weights, rows)


def _table(weights: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    click.echo(f"what follows each row: {weights['model']} on {weights['accelerator']}, one step")
    shown = [row for row in rows if _most(row) >= _SHOWN]
    cells = [
        [row["id"], *(f"{100 * row[name]:.1f}" for name in RESULTS), row["read"], row["value"]]
        for row in shown
    ]
    header = ["row", *(f"{name} %" for name in RESULTS), "was", "value"]
    click.echo(text.table(cells, header, right=(1, 2, 3), fold=(0, 5)))
    if len(shown) < len(rows):
        click.echo(f"{len(rows) - len(shown)} rows of less than {100 * _SHOWN:g} % not shown")
    shares = ", ".join(f"{100 * v:.1f} % {name}" for name, v in weights["evidence"].items() if v)
    click.echo("")
    click.echo(text.paragraph(f"energy by the weakest row of each price: {shares}"))
    click.echo(
        text.paragraph(
            "was: read in its source, agreed (read alike in two works that quote it), quoted (in "
            "one), or assumed; quoted counts as assumed. Rows of a product have all of it each; a "
            "row that divides counts below 0."
        )
    )
    weak = [row for row in rows if row["read"] in ("assumed", "quoted")]
    _looked_for([row for row in weak if _most(row) >= _MATTERS])


def _most(row: Mapping[str, Any]) -> float:
    return max(abs(row[name]) for name in RESULTS)


def _looked_for(rows: Sequence[Mapping[str, Any]]) -> None:
    """Where the figures behind assumed and once-quoted rows that matter were looked for."""
    if rows:
        click.echo(f"\nassumed rows of {100 * _MATTERS:g} % and more, and rows quoted once")
    for row in rows:
        said = row["looked_for"] or "nowhere yet"
        click.echo(text.paragraph(f"{row['id']}: {row['source']}; looked for in: {said}", "  "))
