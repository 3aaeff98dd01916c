"""What a search says: progress while it runs, the front as a table when it ends."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from elector.base import paths, quantity, spelling
from elector.cli.text import paragraph
from elector.cost.results import Registry
from transcode import pareto, runs
from transcode.objective import Rejections
from transcode.search import Progress, Result
from transcode.space import Space, registry_of, restore

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: Most designs of a front that a terminal is shown.
ROWS = 20
#: Designs shown where one is chosen: it and those next to it.
NEAREST = 5
#: Width of a table that goes into a file or a pipe, where COLUMNS does not say it.
_WIDE = 400
#: Least width that is believed.
_NARROW = 20
#: Columns of words that go on in the next line where the terminal is narrow.
_SENTENCES = ("design", "requirement", "found", "run")
#: Objective that is a bound -> what it is a bound of.
BOUNDS = {"accuracy_lower": "accuracy", "loss_upper": "loss"}


def progress_line(progress: Progress) -> str:
    """Where a search stands, on one line."""
    of = f" of {progress.expected:,}" if progress.expected else ""
    parts = [
        f"{progress.designs:,}{of} designs",
        f"{progress.rate:,.0f} /s",
        f"front {progress.front:,}",
    ]
    if progress.hypervolume is not None:
        sampled = "" if progress.exact else " (of a sample)"
        parts.append(f"hypervolume {progress.hypervolume:.6g}{sampled}")
    if progress.left is not None and not progress.finished:
        parts.append(f"{progress.left:.0f} s left")
    return "  ".join(parts)


def search_result(folder: Path, format: str, notes: Sequence[str] = ()) -> None:
    """The front of a run folder on stdout, as `moment` shows it."""
    moment(runs.snapshot.taken(folder), format, notes)


def moment(taken: runs.snapshot.Snapshot, format: str, notes: Sequence[str] = ()) -> None:
    """The front of a run on stdout, as a table with what to know about it, or as front.json or
    front.csv."""
    taken = taken.with_json() if format == "json" else taken
    lines = [f"note: {note}" for note in (*notes, *taken.notes)]
    if format != "table":
        for line in lines:
            click.echo(line, err=True)
        for piece in [taken.csv] if format == "csv" else taken.json():
            click.echo(piece, nl=False)
        return
    manifest, console = dict(taken.manifest), console_of_stdout()
    _said(
        (
            *lines,
            *_front(manifest, taken.columns, console),
            *_about(manifest, taken.folder),
        ),
        console,
    )


def _said(lines: Iterable[str], console: Console) -> None:
    """Sentences on the console, on a terminal in lines that it shows whole; indents stay.

    In a pipe or a file a sentence is one line, so that a script finds it.
    """
    for line in "\n".join(lines).splitlines():
        words = line.lstrip()
        folds = console.is_terminal
        wrapped = paragraph(words, line[: len(line) - len(words)]) if folds else line
        console.print(wrapped, markup=False, highlight=False, soft_wrap=True)


def selection(
    front: runs.query.Front,
    recorded: runs.query.Recorded,
    format: str,
    further: Mapping[str, object] = MappingProxyType({}),
) -> None:
    """Another front of the recorded designs of a run, on stdout. further : for its JSON."""
    space, manifest = front.space, recorded.manifest
    if format == "csv":
        click.echo(runs.front.csv_text(space, front.archive), nl=False)
        return
    if format == "json":
        same = space.objectives == recorded.space.objectives
        header = {key: manifest[key] for key in ("space_sha256", "seed")}
        header |= {"reference_point": manifest["reference_point"] if same else None}
        click.echo(runs.front.json_text(space, front.archive, {**header, **further}), nl=False)
        return
    _selected(front, recorded)


def choice(
    front: runs.query.Front,
    sums: np.ndarray,
    weights: Mapping[str, float],
    recorded: runs.query.Recorded,
    format: str,
) -> None:
    """The design that a weighted sum chooses, on stdout; a table shows those next to it, too.

    front : best first. sums : (F,) their weighted sums.
    """
    if format != "table":
        selection(runs.choice.best(front), recorded, format)
        return
    nearest = replace(front, archive=front.archive.take(np.arange(min(NEAREST, len(sums)))))
    cells = {"weighted\nsum": [f"{v:.5f}" for v in sums[:NEAREST]]}
    title = f"{recorded.space.name}: the best weighted sums of {len(sums):,} on the front"
    _selected(nearest, recorded, cells, title)
    terms = " + ".join(
        f"{weight:g} {o.name}" if o.maximise else f"{weight:g} (1 - {o.name})"
        for o in front.space.objectives
        if (weight := weights.get(o.name, 0.0))
    )
    line = f"chosen: {front.archive.ids[0]}, the most of {terms}, as shares of the largest"
    console_of_stdout().print(line, markup=False, highlight=False, soft_wrap=True)


def _selected(
    front: runs.query.Front,
    recorded: runs.query.Recorded,
    extra: Mapping[str, list[str]] = MappingProxyType({}),
    title: str = "",
) -> None:
    """A table of selected designs, with further columns."""
    space = front.space
    objectives = {o.name: o.direction for o in space.objectives}
    names, *rows = csv.reader(runs.front.csv_text(space, front.archive).splitlines())
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    console = console_of_stdout()
    description = {**recorded.manifest["space"], "objectives": objectives}
    notes = _front({"space": description}, columns, console, extra, title)
    notes.append(f"of {front.looked_at:,} feasible designs that were recorded and asked for")
    _said(notes, console)


def verdicts(judged: list[runs.checks.Verdict], format: str) -> None:
    """What became of the requirements on a run, on stdout."""
    rows: list[dict[str, object]] = [
        {
            "requirement": v.requirement,
            "passed": v.passed,
            "missed": _missed(v.missed) if format == "table" else v.missed,
            "design": v.design,
            "found": v.text,
        }
        for v in judged
    ]
    _rows(rows, format, "requirements")


def _missed(share: float) -> str:
    """By how much a bound is missed; `0 %` of a strict one that a design stands on."""
    return "-" if share <= 0 else _percent(share if share > 1e-12 else 0.0)


def comparison(compared: runs.comparison.Comparison, format: str) -> None:
    """Two runs side by side, on stdout."""
    _rows(compared.rows(), format, f"both together: hypervolume {compared.both:.8g}")


def _rows(rows: list[dict[str, object]], format: str, title: str) -> None:
    """Rows with the same keys, as json, csv or a table."""
    if format == "json":
        click.echo(spelling.dumps(rows, indent=1))
    elif format == "csv":
        stream = io.StringIO()
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        click.echo(stream.getvalue(), nl=False)
    else:
        cells = {_heading(key): [_brief(row[key]) for row in rows] for key in rows[0]}
        console = console_of_stdout()
        _said([title], console)
        console.print(_table(cells))


def _brief(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def console_of_stdout() -> Console:
    """What tables are printed on: as wide as the terminal, or as COLUMNS says of a pipe."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console()
    asked = os.environ.get("COLUMNS", "")
    wide = int(asked) if asked.isdecimal() and len(asked) < 5 else 0
    return Console(width=wide if wide >= _NARROW else _WIDE, color_system=None)


def _about(manifest: dict[str, Any], folder: Path) -> list[str]:
    """What was done, how good it is, how far to trust it, and where it lies."""
    sampler, status = manifest["sampler"], manifest["status"]
    lines = [
        f"{manifest['designs']:,} designs evaluated, {manifest['feasible']:,} feasible "
        f"({status}; sampler {sampler['used']}: {sampler['why']})"
    ]
    reference = manifest["reference_point"]
    if reference is not None and manifest["hypervolume"] is not None:
        known = registry_of(restore(manifest["space"]))
        point = ", ".join(
            f"{name} {shown(name, value, known)}" for name, value in reference.items()
        )
        lines.append(f"hypervolume {manifest['hypervolume']:.8g} against {point}")
    if manifest.get("accuracy"):
        lines.append(manifest["accuracy"]["text"])
    names = ("front.csv", "front.json", "front.png", "study.log", "designs", "manifest.json")
    there = [name for name in names if paths.exists(folder / name)]
    return [*lines, f"files in {folder}: {', '.join(there)}"]


def _front(
    manifest: dict[str, Any],
    columns: Mapping[str, Sequence[str]],
    console: Console,
    extra: Mapping[str, list[str]] = MappingProxyType({}),
    title: str = "",
) -> list[str]:
    """Prints a front as a table: all of it, or ROWS designs spread over it.

    extra : heading -> cell of every design, shown after the objectives. Only settings that differ
    are columns; returns a line with those that do not. Where the terminal is too narrow for a
    column each, one column holds them all.
    """
    space, total = manifest["space"], len(columns["id"])
    rows = spread(space, columns)
    more = "" if len(rows) == total else f", {len(rows)} of them spread over the front"
    several = "s" if total != 1 else ""
    title = title or f"{space['name']}: {total:,} design{several} that nothing beats{more}"
    searched = _searched(space)
    # A heterogeneous model has some two hundred settings a design; front.csv holds them.
    layered = [n for n in searched if n.startswith("model.layer") and n.count(".") > 1]
    searched = {n: unit for n, unit in searched.items() if n not in layered}
    differ = {n: unit for n, unit in searched.items() if len(set(columns[n])) > 1}
    settings = {
        short: [_cell(columns[name][r], unit) for r in rows]
        for (name, unit), short in zip(differ.items(), _shortest(differ), strict=True)
    }
    first, values = {"id": [columns["id"][row] for row in rows]}, _values(space, columns, rows)
    values |= {heading: [cells[row] for row in rows] for heading, cells in extra.items()}
    table = _table(first | {_heading(n): c for n, c in settings.items()} | values)
    unbounded = console.options.update(max_width=10_000)
    if console.measure(table, options=unbounded).maximum > console.width:
        pairs = [zip(settings, row, strict=True) for row in zip(*settings.values(), strict=True)]
        design = [", ".join(f"{n} {c}" for n, c in row) for row in pairs] or [""] * len(rows)
        table = _table(first | {"design": design} | values)
    _said([title], console)
    console.print(table)
    same = [  # what no design has is no setting of theirs
        f"{n} {_cell(columns[n][0], u)}"
        for n, u in searched.items()
        if n not in differ and columns[n][:1] not in ([], [""])
    ]
    notes = [f"the same in all of them: {', '.join(same)}"] if same and total else []
    if layered and total:
        notes.append(f"not shown: {len(layered)} settings of single layers (front.csv)")
    return notes


def _shortest(names: Iterable[str]) -> list[str]:
    """The last word of each dotted name, or all of it where that is another's, too."""
    last = {name: name.rpartition(".")[2] for name in names}
    times = Counter(last.values())
    return [word if times[word] == 1 else name for name, word in last.items()]


def _table(columns: dict[str, list[str]]) -> Table:
    """Columns of text; words to the left, numbers to the right.

    A title stands above it as a line: rich folds one to the width of a narrow table.
    """
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    for heading, texts in columns.items():
        words = any(text[:1].isalpha() for text in texts)
        folds = words and heading in _SENTENCES
        folded = "fold" if folds else "ellipsis"
        table.add_column(
            heading,
            justify="left" if words else "right",
            overflow=folded,  # type: ignore[arg-type]
            no_wrap=not folds,
        )
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table


def spread(space: Mapping[str, Any], columns: Mapping[str, Sequence[str]]) -> list[int]:
    """The rows of a front that a terminal is shown: all, or ROWS of them spread over it."""
    points = np.array(
        [
            [-float(v) if direction == "max" else float(v) for v in columns[name]]
            for name, direction in space["objectives"].items()
        ]
    )
    return [int(row) for row in pareto.spread(points.T, ROWS)]


def _searched(space: dict[str, Any]) -> dict[str, str]:
    """Dotted name -> unit of every setting that had more than one value to take."""
    values: dict[str, list[object]] = {}
    units: dict[str, str] = {}
    for parameter in space["parameters"]:
        name = parameter["name"]
        units[name] = parameter["unit"]
        values.setdefault(name, []).extend(parameter["values"])
        if "multiple_of" in parameter:
            values[name].append(None)  # its values follow the parent's
    return {name: units[name] for name, taken in values.items() if len(set(taken)) > 1}


def _cell(text: str, unit: str) -> str:
    """A setting for people: with its unit where it has one."""
    if not text:
        return "-"
    if unit == "text":
        return text
    try:
        value = float(text)
    except ValueError:  # true or false
        return text
    return text if unit == "1" and text.isdigit() else quantity.show(value, unit)


def _heading(name: str) -> str:
    """A name over as many lines as keep its column narrow."""
    lines = name.replace(".", ".\n").split("\n")
    return "\n".join(x.replace("_", "_\n", 1) if len(x) > 10 else x for x in lines)


def _values(
    space: dict[str, Any], columns: Mapping[str, Sequence[str]], rows: list[int]
) -> dict[str, list[str]]:
    """Heading -> cells of every objective, with one standard deviation of an accuracy."""
    cells_of, known = {}, registry_of(restore(space))
    for name, direction in space["objectives"].items():
        cells = [shown(name, float(columns[name][row]), known) for row in rows]
        if f"{name}_std" in columns:
            deviations = (float(columns[f"{name}_std"][row]) for row in rows)
            cells = [f"{c}±{_points(name, d)}" for c, d in zip(cells, deviations, strict=True)]
            if "trained_steps" in columns:  # a model that stopped early has a low score
                steps = (float(columns["trained_steps"][row]) for row in rows)
                cells = [f"{c} @{n:g}" for c, n in zip(cells, steps, strict=True)]
        elif name in BOUNDS:  # of a bound, the mean it stands below (or above)
            mean, std = BOUNDS[name], f"{BOUNDS[name]}_std"
            cells = [
                f"{c} ({shown(mean, float(columns[mean][row]), known)}"
                f"±{_points(mean, float(columns[std][row]))})"
                for c, row in zip(cells, rows, strict=True)
            ]
        cells_of[f"{_heading(name)}\n{direction}"] = cells
    return cells_of


def shown(name: str, value: float, known: Registry) -> str:
    """A result for people: three digits and its unit. known : the results of the space."""
    if name.startswith(("accuracy", "loss")):
        return _points(name, value)
    return known.show(name, value)


def _points(name: str, value: float) -> str:
    """An accuracy [points] or a loss [nats per token], or a deviation of one."""
    digits = 1 if name.startswith("accuracy") else 3
    return f"{round(value, digits) + 0.0:.{digits}f}"  # no -0.0


def interrupted(folder: Path) -> str:
    """What is left of a search that was interrupted."""
    if not paths.exists(folder / "manifest.json"):
        return "interrupted before anything was evaluated"
    designs, _ = runs.parts.survey(folder / "designs")  # the manifest may be a batch behind
    return (
        f"interrupted: {designs:,} designs are safe in {folder}; "
        "the same command goes on from there"
    )


def nothing_feasible(result: Result) -> str:
    """Why no design is feasible: what rejects most, and the design that misses by least."""
    rejections, total = result.rejections, result.manifest["designs"]
    if rejections.nearest is None:
        return "no design was evaluated"
    most = sorted(rejections.counts.items(), key=lambda item: -item[1])
    lines = [f"none of {total:,} designs is feasible"]
    lines += [f"  {count:,} rejected by: {name}" for name, count in most if count]
    return "\n".join([*lines, _nearest(result.space, rejections)])


def _nearest(space: Space, rejections: Rejections) -> str:
    assert rejections.nearest is not None
    _, codes, margins = rejections.nearest
    columns = runs.front.columns(space, codes[None])
    units = {p.name: p.unit for p in space.parameters}
    design = ", ".join(
        f"{n} {_cell(runs.front.text(c[0]), units.get(n, '1'))}"
        for n, c in columns.items()
        if n in ("model", "accelerator", *space.varied)
    )
    missed = "; ".join(
        f"{name} missed by {_percent(margin)}" if name in _texts(space) else name
        for name, margin in margins.items()
        if margin > 0
    )
    return f"  nearest miss: {design}\n    {missed}"


def _percent(share: float) -> str:
    if share >= 1e12:  # such as by a bound of 0 or nearly so
        return f"{100.0 * share:.3g} %" if share < 1e300 else "beyond measure"
    return f"{100 * share:,.0f} %" if share >= 10 else f"{100 * share:.3g} %"


def nothing_found(recorded: runs.query.Recorded, where: tuple[str, ...]) -> str:
    """Why no recorded design is shown: how many satisfy each condition by itself."""
    total, counts = runs.query.satisfying(recorded, where)
    if not total or not where:
        return str(runs.snapshot.nothing_feasible(recorded.folder, recorded.manifest))
    lines = [f"  {count:,} satisfy: {text}" for text, count in zip(where, counts, strict=True)]
    return "\n".join(
        [f"none of {total:,} feasible recorded designs satisfies every condition", *lines]
    )


def _texts(space: Space) -> list[str]:
    return [e.text for e in space.constraints]
