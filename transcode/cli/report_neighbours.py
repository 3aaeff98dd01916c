"""What `front --uncertainty` says: intervals, neighbours told apart, what would settle most."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from elector.base import paths, quantity
from elector.base.errors import InputError
from elector.cli import text
from elector.cost.results import ENDS, Registry
from elector.studies.uncertainty import Sampling
from transcode import runs
from transcode.cli import report
from transcode.runs.front import UNCERTAINTY
from transcode.runs.intervals import with_intervals
from transcode.runs.neighbours import compare
from transcode.space import registry_of, restore

#: Pairs of neighbours that a terminal is shown.
ROWS = 20
_SHORT = {"told apart": "apart", "not told apart": "open"}
#: What a search writes of neighbours.
_KEYS = {"neighbours", "samples", "open", "sources"}
_PAIR = {"a", "b", "verdict", "objectives"}
_KINDS = {"cases": "published cases", "accuracy": "scores"}


def written(taken: runs.snapshot.Snapshot, format: str) -> bool:
    """Shows a front with the intervals that its search wrote; False where there are none."""
    told = None
    path = taken.folder / "front.json"
    if taken.computed is None and runs.front.is_whole(path, taken.size):
        told = runs.front.told(path).get(UNCERTAINTY)
    elif taken.computed is None and paths.exists(path):
        click.echo(f"note: {path.name} is damaged; intervals are drawn again", err=True)
    if not isinstance(told, dict) or not told.keys() >= _KEYS:  # none, or of somebody's own making
        return False
    if not all(isinstance(pair, dict) and pair.keys() >= _PAIR for pair in told["neighbours"]):
        return False
    report.moment(taken, format)
    if format == "table":
        _said(taken.columns, taken.manifest["space"], told)
    return True


def of_folder(folder: Path) -> None:
    """What a search has just written of intervals and neighbours, below its front."""
    taken = runs.snapshot.taken(folder)
    told = json.loads("".join(taken.json()))[UNCERTAINTY]
    _said(taken.columns, taken.manifest["space"], told)


def drawn(
    front: runs.query.Front, recorded: runs.query.Recorded, format: str, sampling: Sampling
) -> None:
    """Shows a front with intervals that are drawn now."""
    space = front.space
    try:
        archive = with_intervals(space, front.archive, sampling)
        told = compare(space, front.archive, sampling).told()
    except InputError as error:
        raise error.at(file=recorded.folder) from None
    report.selection(replace(front, archive=archive), recorded, format, {UNCERTAINTY: told})
    if format == "table":
        names, *rows = csv.reader(runs.front.csv_text(space, archive).splitlines())
        columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
        objectives = {o.name: o.direction for o in space.objectives}
        _said(columns, {**recorded.manifest["space"], "objectives": objectives}, told)


def _said(
    columns: Mapping[str, Sequence[str]], space: dict[str, Any], told: Mapping[str, Any]
) -> None:
    """Intervals of the designs that the table above shows, and their neighbours."""
    known = registry_of(restore(space))
    names = [name for name in space["objectives"] if f"{name}_low" in columns]
    rows = [
        [columns["id"][row], *(_between(name, columns, row, known) for name in names)]
        for row in report.spread(space, columns)
    ]
    click.echo("\nnine times of ten between")
    click.echo(text.table(rows, ["id", *names], right=range(len(names) + 1)))
    comparison(told)


def _between(name: str, columns: Mapping[str, Sequence[str]], row: int, known: Registry) -> str:
    ends = (float(columns[f"{name}_{end}"][row] or "nan") for end in ENDS)
    return text.between(*(report.shown(name, end, known) for end in ends))


def comparison(told: Mapping[str, Any]) -> None:
    """Neighbours, how surely each objective tells them apart, and what would settle most.

    told : as front.json has it.
    """
    pairs = told["neighbours"]
    if not pairs:
        click.echo("\none design: it has no neighbours")
        return
    verdicts = [pair["verdict"] for pair in pairs]
    apart, open = verdicts.count("told apart"), verdicts.count("not told apart")
    some = (
        f" among {told['designs']:,} designs spread over the front" if told.get("thinned") else ""
    )
    several = "s" * (len(pairs) != 1)
    words = f"{len(pairs):,} pair{several} of neighbours{some}: "
    words += f"{apart:,} told apart, {open:,} not told apart"
    if other := len(pairs) - apart - open:
        words += f", {other:,} of which one may beat the other"
    click.echo("\n" + text.paragraph(words))
    ranks = {"not told apart": 0, "told apart": 2}  # between them: one may beat the other
    order = sorted(range(len(pairs)), key=lambda i: ranks.get(verdicts[i], 1))[:ROWS]
    if len(order) < len(pairs):
        click.echo(f"{len(order)} of them, those not told apart first; front.json has all")
    click.echo("\n" + _pairs([pairs[i] for i in order]))
    click.echo("\n" + text.paragraph(_LEGEND.format(samples=told["samples"])))
    if told["sources"]:
        click.echo(f"\nwhat would settle most of {told['open']:,} open comparisons, if measured")
        click.echo(_sources(told["sources"]))


_LEGEND = (
    "b over a (accuracies: b minus a) and the interval of 90 % over {samples:,} draws, in which "
    "both have the same constants and the same error of their group; * surely differs; may win: "
    "surely better in something, and not surely worse in anything"
)


def _pairs(pairs: list[Mapping[str, Any]]) -> str:
    """A row for each pair of neighbours."""
    names = list(pairs[0]["objectives"])
    rows = [
        [
            str(pair["a"]),
            str(pair["b"]),
            *(_step(pair["objectives"][name]) for name in names),
            _SHORT.get(pair["verdict"]) or _winner(pair),
        ]
        for pair in pairs
    ]
    wide = range(2, 2 + len(names))
    return text.table(
        rows, ["a", "b", *names, ""], right=(0, 1, *wide), fold=[*wide, 2 + len(names)]
    )


def _winner(pair: Mapping[str, Any]) -> str:
    """Which of two may beat the other in everything."""
    return "a may win" if pair["verdict"].split()[0] == str(pair["a"]) else "b may win"


def _step(step: Mapping[str, Any]) -> str:
    """`0.83 0.71-0.97*`: the ratio, its interval, and whether it surely is not 1."""
    if step["equal"]:
        return "= "
    kind = "ratio" if "ratio" in step else "difference"
    value, low, high = (float(step[key]) for key in (kind, "low", "high"))
    sure = "*" if step["better"] is not None else " "
    if kind == "difference":
        return f"{value:+.2g} {low:+.2g} to {high:+.2g}{sure}"
    shown = [quantity.plain(number, 3) for number in (value, low, high)]
    return f"{shown[0]} {shown[1]}-{shown[2]}{sure}"


def _sources(sources: list[Mapping[str, Any]]) -> str:
    """A row for each source."""
    rows = [
        [
            source["name"],
            source["evidence"] or _KINDS[source["kind"]],
            f"{source['settles']:,}",
            f"{100 * source['share']:.1f} %",
        ]
        for source in sources
    ]
    header = ["source", "evidence now", "settles", "of the variance"]
    return text.table(rows, header, right=(2, 3), fold=(0,))
