"""What `validate` and `trace` print."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import click

from elector.base import quantity
from elector.cli import text
from elector.cost.results import registry
from elector.studies.regression import CHANGED, REGRESSIONS

if TYPE_CHECKING:
    from elector.events.trace import Trace
    from elector.studies.regression import MovedResult
    from elector.studies.validation import CaseGroup, CaseResult


#: Some columns of a table: the cells of its heading, and those of each line.
Columns = Sequence[Sequence[str]]
#: What a compared design is counted as.
_KINDS = ("got worse", "changed", "better", "runs now", "the same", "new")
#: So many cases are listed one by one.
LISTED = 20


def validation(results: Sequence[CaseResult], format: str, noted: bool = False) -> None:
    """Every group with its errors; with few cases, or as CSV and JSON, every case.

    noted : whether what is to be known of the cases is said, too, as of a user's own.
    """
    _validation(results, format)
    if noted:
        _said(results)


def _validation(results: Sequence[CaseResult], format: str) -> None:
    if format in ("json", "csv"):
        (text.as_json if format == "json" else text.as_csv)([r.as_row() for r in results])
        return
    from elector.studies.validation import groups

    if len(results) <= LISTED:
        _cases(results)
    judged = groups(results)
    if judged:
        _groups(judged)
    for kind, plural in (("identity", "identities"), ("bound", "bounds")):
        here = [r for r in results if r.case.kind == kind]
        if here:
            click.echo(f"{len(here)} {plural}, {sum(r.passed for r in here)} hold")
    for result in results:
        if result.problem or (result.verdict == "FAILED" and result.case.kind != "outcome"):
            off = quantity.share(result.error, 1, "+")
            said = result.problem or f"off by {off}, {result.case.tolerance} allowed"
            click.echo(text.paragraph(f"{result.case.case}: {said}"))
    outcomes = sum(r.case.kind == "outcome" for r in results)
    verdicts = [g.verdict for g in judged]
    verdicts += [r.verdict for r in results if r.case.kind != "outcome"]
    click.echo(
        f"\n{len(results)} cases, {verdicts.count('FAILED')} outside their tolerance, "
        f"{verdicts.count('known miss')} known misses; {outcomes} outcomes in {len(judged)} groups"
    )


def _said(results: Sequence[CaseResult]) -> None:
    """What a user's own cases ask for without effect, and what else is to be known of them."""
    from elector.studies import validation

    sentences = validation.said(results)
    text.said(sentences[:LISTED])
    if len(sentences) > LISTED:
        click.echo(f"... and {len(sentences) - LISTED} more notes", err=True)


def _groups(judged: Sequence[CaseGroup]) -> None:
    """A line a group: number, errors, bar, verdict; behind them what takes most of the time."""
    rows = [
        [
            g.name.rpartition(" / ")[2],
            str(g.number),
            quantity.share(g.every.median),
            f"{g.unseen}: {quantity.share(g.never.median)}" if g.unseen else "-",
            quantity.share(g.every.ninetieth, 0),
            quantity.share(g.every.bias, 0, "+"),
            f"{g.bar:.0%}",
            g.verdict,
        ]
        for g in judged
    ]
    header = ("outcomes", "n", "median", "unseen", "90th", "bias", "bar", "")
    head, *lines = text.blocks(rows, header, right=(1, 2, 3, 4, 5, 6), fold=(0,))
    click.echo(head)
    before = ""
    for g, line in zip(judged, lines, strict=True):
        family = g.name.rpartition(" / ")[0]
        if family and family != before:
            click.echo(family)
        before = family
        click.echo(line)
    click.echo("unseen: how many rows no constant was fitted on, and their median")
    for meaning in _meanings({g.verdict for g in judged}):
        click.echo(text.paragraph(meaning))
    click.echo(text.paragraph(_dominant(judged)) + "\n")


def _meanings(verdicts: Collection[str]) -> list[str]:
    """What a group within its bar was judged by, where a verdict wants a word."""
    from elector.studies.validation import ENOUGH, IN_SAMPLE, TOO_FEW

    few = f"judged by all rows: of fewer than {ENOUGH} unseen ones nothing can be told"
    own = "constants were fitted on all rows, which says little of others"
    meanings = {TOO_FEW: few, IN_SAMPLE: own}
    return [f"{name}: {said}" for name, said in meanings.items() if name in verdicts]


def _dominant(judged: Sequence[CaseGroup]) -> str:
    """What takes most of the time of most groups, and what else of which others."""
    by_kind: dict[str, list[str]] = {}
    for group in judged:
        if group.dominant:
            by_kind.setdefault(group.dominant, []).append(group.name)
    if not by_kind:
        return "most time: no group has a time"
    usual, *others = sorted(by_kind, key=lambda kind: -len(by_kind[kind]))
    rest = "".join(f"; {kind} in {', '.join(by_kind[kind])}" for kind in others)
    return f"most time: {usual} in {len(by_kind[usual])} of {len(judged)} groups{rest}"


def _cases(results: Sequence[CaseResult]) -> None:
    """Each case with its error."""
    rows: list[list[str]] = []
    for result in results:
        case = result.case
        rows.append(
            [
                _case_value(case.value, case.unit),
                "-" if result.problem else _case_value(result.simulated, case.unit),
                "" if result.problem else quantity.share(result.error, 1, "+"),
                result.verdict,
                _tolerance(case.low, case.high),
            ]
        )
    header = ("published", "simulated", "error", "", "allowed")
    head, *lines = text.table(rows, header, right=(0, 1, 2)).splitlines()
    click.echo(f"case: result, evidence\n  {head}")
    for result, line in zip(results, lines, strict=True):
        case = result.case
        click.echo(text.paragraph(f"{case.case}: {case.metric}, {case.evidence}"))
        click.echo(f"  {line}")
    click.echo("")


def compared(moved: Sequence[MovedResult], format: str) -> None:
    """What moved between two tables of costs."""
    if format == "json":
        text.as_json([entry.as_row() for entry in moved])
        return
    if format == "csv":
        text.as_csv([entry.as_row() for entry in moved])
        return
    for entry in moved:
        if entry.verdict == "same":
            continue
        change = "" if entry.change is None else f" ({entry.change:+.2%})"
        what = f"{entry.metric} {entry.verdict}" if entry.metric else entry.verdict
        click.echo(text.paragraph(entry.design))
        click.echo(text.paragraph(f"{what}: {entry.text}{change}", "    "))
    _counts(moved)


def _counts(moved: Sequence[MovedResult]) -> None:
    """How many designs got worse, better and so on: each is counted once."""
    rows: dict[str, list[MovedResult]] = {}
    for entry in moved:
        rows.setdefault(entry.design, []).append(entry)
    kinds = [_kind({entry.verdict for entry in entries}) for entries in rows.values()]
    always = ("got worse", "the same", "new")
    counts = {name: kinds.count(name) for name in _KINDS}
    said = ", ".join(f"{n} {name}" for name, n in counts.items() if n or name in always)
    click.echo(f"{len(rows)} designs: {said}")


def _kind(verdicts: set[str]) -> str:
    """What a design is counted as, by what became of it and of its results."""
    regressions = verdicts.intersection(REGRESSIONS)
    if regressions:
        return "changed" if regressions == {CHANGED} else "got worse"
    names = {"feasible": "runs now", "better": "better", "new": "new"}
    return next((name for verdict, name in names.items() if verdict in verdicts), "the same")


def repeated(rows: Sequence[str]) -> None:
    """Rows that nothing tells apart, on standard error; of many the first."""
    text.said(rows[:LISTED])
    if rows:
        more = f"{len(rows) - LISTED} more such rows; " if len(rows) > LISTED else ""
        click.echo(f"hint: {more}--key COLUMN matches rows by another column", err=True)


def side_by_side(costs: Sequence[text.Record], format: str) -> None:
    """One model on several accelerators: the first as it is, the others as ratios to it."""
    if format == "json":
        text.as_json(costs)
    elif format == "csv":  # whose columns are results; settings have their JSON
        text.as_csv([{k: v for k, v in entry.items() if k != "settings"} for entry in costs])
    else:
        _ratios(costs)
    text.said(_notes(costs))


def _notes(costs: Sequence[text.Record]) -> list[str]:
    """What is said of the designs; what is not said of all names the accelerators."""
    names: dict[str, list[str]] = {}
    for entry in costs:
        for note in entry["notes"]:
            names.setdefault(note, []).append(entry["label"])
    return [
        note if len(whose) == len(costs) else f"{note} (on {', '.join(whose)})"
        for note, whose in names.items()
    ]


def _ratios(costs: Sequence[text.Record]) -> None:
    first, known = costs[0], registry()
    metrics = list(first["values"])
    common, own = _workloads(costs)
    click.echo(text.paragraph(f"{first['model']}, beside {first['label']}"))
    click.echo(text.paragraph(", ".join(common)))
    groups = [
        [
            [known.label(name), ""],
            *(
                [
                    "-" if (value := entry["values"][name]) is None else known.show(name, value),
                    "" if entry is first else _times(entry["ratios"][name]),
                ]
                for entry in costs
            ),
        ]
        for name in metrics
    ]
    labels = [entry["label"] for entry in costs]
    short = _shortened(labels, groups)
    for name, label, words in zip(short, labels, own, strict=True):
        said = [*([label] if name != label else []), *words]
        if said:
            click.echo(text.paragraph(f"{name}: {', '.join(said)}", "  "))
    _print_columns(short, groups)
    _drawn(costs, short)
    for entry in costs:
        if not entry["feasible"]:
            click.echo(text.paragraph(f"{entry['label']} is infeasible: {entry['reason']}"))
        for name, reason in entry["reasons"].items():
            if reason:
                line = f"{entry['label']}, {known.label(name)}: {reason}"
                click.echo(text.paragraph(line))


def _workloads(costs: Sequence[text.Record]) -> tuple[list[str], list[list[str]]]:
    """What was simulated: words that hold of all machines, and those of each alone."""
    from elector.studies.simulation import workload_words

    words = [workload_words(entry["settings"]) for entry in costs]
    common = [word for word in words[0] if all(word in own for own in words)]
    return common, [[word for word in own if word not in common] for own in words]


def _shortened(labels: Sequence[str], groups: Sequence[Columns]) -> list[str]:
    """The labels; their places (1, 2 ...) where one would be folded beside the figures."""
    if text.fits(_joined(labels, groups)):
        return list(labels)
    return [str(place) for place in range(1, len(labels) + 1)]


def _joined(labels: Sequence[str], groups: Sequence[Columns]) -> list[list[str]]:
    """Heading and lines of a table: labels, and the columns of each group."""
    return [
        [label, *(cell for group in groups for cell in group[row])]
        for row, label in enumerate(["", *labels])
    ]


def _print_columns(labels: Sequence[str], groups: Sequence[Columns]) -> None:
    """Tables of as many groups as stand side by side."""
    rest = list(groups)
    while rest:
        count = len(rest)
        while count > 1 and not text.fits(_joined(labels, rest[:count])):
            count -= 1
        header, *rows = _joined(labels, rest[:count])
        click.echo(text.table(rows, header, right=range(1, len(header)), fold=(0,)))
        rest = rest[count:]


def _drawn(costs: Sequence[text.Record], labels: Sequence[str]) -> None:
    """Intervals of each machine and of its ratio to the first, where they were asked for.

    labels : what each machine is called.
    """
    if "intervals" not in costs[0]:
        return
    known = registry()
    metrics = [name for name, ends in costs[0]["intervals"].items() if ends is not None]
    shown = [
        [[known.label(n)], *([_ends(e["intervals"][n], known.get(n).show)] for e in costs)]
        for n in metrics
    ]
    ratios = [
        [
            [known.label(n)],
            *([_ends(e["ratio_intervals"][n]) + "*" * bool(e["told_apart"][n])] for e in costs[1:]),
        ]
        for n in metrics
    ]
    click.echo("\nnine times of ten between")
    _print_columns(labels, shown)
    click.echo("\nthe ratio between")
    _print_columns(labels[1:], ratios)
    click.echo("* told apart: on the same side in 95 of 100 draws\n")


def _ratio(value: float) -> str:
    return quantity.plain(value, 3)


def _ends(ends: Sequence[float] | None, show: Callable[[float], str] = _ratio) -> str:
    return "-" if ends is None else text.between(*map(show, ends))


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{_ratio(ratio)} x"


def traced(trace: Trace, out: str, plot: str | None) -> None:
    """Seconds of the event-driven model beside the closed form, and where the files lie."""
    line = trace.timeline
    difference = trace.closed_s / line.seconds - 1.0
    place = "on standard output" if out == "-" else f"in {out}"
    said = [
        f"event-driven  {quantity.show(line.seconds, 's')}",
        f"closed form   {quantity.show(trace.closed_s, 's')}  ({difference:+.1%})",
        f"energy        {quantity.show(trace.joules, 'J')}",
        *(f"  {name:<16} busy {float(use.mean()):6.1%}" for name, use in trace.utilization.items()),
        f"trace {place}, {len(line.spans):,} pieces; open it in Perfetto",
    ]
    if plot is not None:
        said.append(f"picture in {plot}")
    click.echo("\n".join(said), err=out == "-")


def _case_value(value: float, unit: str) -> str:
    return quantity.show(value, unit)


def _tolerance(low: float, high: float) -> str:
    """The accepted relative error, in words where only one side is bounded."""
    if low == high == 0:
        return "exact"
    if low == -high:
        return f"+-{high:.0%}"
    if low <= -1:
        return f"at most {high:+.0%}"
    if math.isinf(high):
        return f"at least {low:+.0%}".replace("-0%", "+0%")
    return f"{low:.0%} to {high:+.0%}"
