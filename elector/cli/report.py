"""What `simulate`, `sweep`, `list` and `run` print: tables for people, JSON or CSV."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Protocol, TypeVar

import click

from elector.base import quantity
from elector.cli import text
from elector.cli.text import Record
from elector.cost.results import registry
from elector.evaluation.settings import setting_shown

#: Seconds between two lines of progress where there is no terminal.
_EVERY = 1.0


class Moving(Protocol):
    """Progress of something long, a dataclass: where it stands after so many seconds."""

    @property
    def seconds(self) -> float: ...
    @property
    def finished(self) -> bool: ...


M = TypeVar("M", bound=Moving)


@contextmanager
def progress(quiet: bool, line: Callable[[M], str]) -> Iterator[Callable[[M], None] | None]:
    """Shows progress on stderr: one `line` that changes on a terminal, JSON lines elsewhere."""
    if quiet:
        yield None
    elif not sys.stderr.isatty():
        yield _json_lines()
    else:
        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(stderr=True), refresh_per_second=4, transient=True) as live:
            yield lambda at: live.update(line(at))


def _json_lines() -> Callable[[Any], None]:
    last = [-_EVERY]

    def show(at: Any) -> None:
        if at.seconds - last[0] >= _EVERY or at.finished:
            last[0] = at.seconds
            values = {
                key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in asdict(at).items()
                if key != "finished"
            }
            event = {"event": "finished" if at.finished else "progress", **values}
            click.echo(json.dumps(event), err=True)

    return show


#: Result -> the one it repeats for a single sequence.
_REPEATS = {"latency_per_sequence_s": "latency_s", "energy_per_sequence_j": "energy_j"}


def simulation(result: Record, format: str) -> None:
    """One design: the JSON as it is, a CSV row with dotted names, or tables."""
    operations = result.get("operations")
    if format == "json":
        text.as_json(result)
    elif format == "csv":
        summary = {key: value for key, value in result.items() if key != "operations"}
        text.as_csv(operations if operations is not None else [summary])
    else:
        _simulation_tables(result, operations)
    text.said(result["notes"])


def _simulation_tables(result: Record, operations: Sequence[Record] | None) -> None:
    from elector.studies.simulation import workload_line  # help texts need none of it

    click.echo(f"{result['model']} on {result['accelerator']}")
    click.echo(text.paragraph(workload_line(result["settings"])))
    if not result["feasible"]:
        click.echo(text.paragraph(f"infeasible: {result['reason']}"))
    click.echo("\n" + text.table(_summary_rows(result)))
    if bounds := _interval_rows(result):
        click.echo(f"\nnine times of ten between\n{text.table(bounds)}")
    for metric in registry().groups:
        parts = {name: v for name, v in (result.get(metric.name) or {}).items() if v}
        if parts:
            click.echo(f"\n{metric.label}\n{text.table(_group_rows(parts, metric.show))}")
    if result.get("sparsity"):
        click.echo(_beside_dense(result, result["sparsity"]))
    if operations is not None:
        click.echo(f"\noperations\n{_operations_table(operations)}")


def _interval_rows(result: Record) -> list[list[str]]:
    """Label, low and high of the results that have an interval."""
    return [
        [registry().label(name), *(metric.show(result[f"{name}_{end}"]) for end in ("low", "high"))]
        for name, metric in registry().shown(result)
        if f"{name}_low" in result and result[f"{name}_low"] != result[f"{name}_high"]
    ]


def _operations_table(operations: Sequence[Record]) -> str:
    """Every operation below its phase and layer; sizes are batch x m x k x n, or the elements
    of what is no product."""
    rows: list[list[str]] = []
    place = ""
    for op in operations:
        if place != (place := f"{op['phase']}: {op['layer']}"):
            rows.append([place, "", "", "", "", ""])
        shown = [quantity.show(op["seconds"], "s"), quantity.show(op["joules"], "J")]
        rows.append([f"  {op['name']}", _size(op), text.cell(op["count"]), *shown, op["bound"]])
    header = ("operation", "size", "count", "time", "energy", "bound")
    return text.table(rows, header, right=range(1, 5), fold=(0, 1, 5))


def _size(op: Record) -> str:
    if op["k"] == op["n"] == 1:
        return text.cell(op["m"])
    product = f"{op['m']}x{op['k']}x{op['n']}"
    return product if op["batch"] == 1 else f"{op['batch']}x{product}"


def _beside_dense(result: Record, sparsity: Record) -> str:
    """Time, energy and compressed memory of a pruned step and of the same step dense."""
    dense, pruned = sparsity["dense"], result["memory_bytes"]
    pairs = [
        ("time", result["latency_s"], dense["latency_s"], "s"),
        ("energy", result["energy_j"], dense["energy_j"], "J"),
    ]
    for key, label in (("activations", "stored activations"), ("weights", "stored weights")):
        if key in dense["memory_bytes"]:
            pairs.append((label, pruned.get(key), dense["memory_bytes"][key], "byte"))
    rows = []
    for label, own, other, unit in pairs:
        cells = ["infeasible" if v is None else quantity.show(v, unit) for v in (own, other)]
        rows.append([label, *cells, f"{other / own:.2f} x" if own and other else ""])
    table = text.table(rows, ("", "pruned", "dense", "gain"), right=(1, 2, 3))
    model = sparsity["measured_on"]
    source = sparsity["table"] + (f", measured on {model}" if model else "")
    kinds = " and ".join(sparsity["evidence"])
    return f"\npruned beside dense\n{table}\n  densities: {source} ({kinds})"


def _summary_rows(result: Record) -> list[list[str]]:
    rows = []
    for name, metric in registry().shown(result):
        value = result[name]
        if value is None or value == result.get(_REPEATS.get(name, "")):
            continue
        rows.append([registry().label(name), metric.show(value)])
    return rows


def _group_rows(parts: Mapping[str, float], show: Callable[[float], str]) -> list[list[str]]:
    """Name, value and share of each part, the largest first; of shares no share again."""
    total = sum(parts.values())
    ordered = sorted(parts.items(), key=lambda item: -item[1])
    rows = [[name, show(value), _share(value, total)] for name, value in ordered]
    return [row[:2] for row in rows] if all(row[1] == row[2] for row in rows) else rows


def _share(value: float, total: float) -> str:
    return quantity.show(100.0 * value / total, "%") if total else ""


def listing(
    records: Sequence[Record], format: str, shown: Sequence[str], cut: Sequence[str] = ()
) -> None:
    """Records of `elector list`; a table shows the columns `shown`, a line each, and cuts those
    of `cut` where they are too long."""
    if format == "json":
        text.as_json(records)
    elif format == "csv":
        text.as_csv(records)
    else:
        rows = [[_short(text.cell(record.get(name))) for name in shown] for record in records]
        numbers = [
            i
            for i, name in enumerate(shown)
            if any(isinstance(record.get(name), int | float) for record in records)
        ]
        short = [i for i, name in enumerate(shown) if name in cut]
        headings = ["ff" if name == "feed_forward" else name for name in shown]
        click.echo(text.table(rows, headings, right=numbers, cut=short))


def _short(cell: str) -> str:
    """A constant with its unit, at four digits."""
    match = re.fullmatch(r"(\d+\.\d{4,})( .+)?", cell)
    return f"{quantity.plain(float(match[1]))}{match[2] or ''}" if match else cell


def shown(description: Record, format: str) -> None:
    """A preset or file with every setting."""
    if format == "json":
        text.as_json(description)
        return
    rows = list(text.flat(description["settings"]))
    if format == "csv":
        text.as_csv([{"key": key, "value": value} for key, value in rows])
        return
    click.echo(f"{description['kind']} {description['name']}, {description['base']}")
    for key in ("description", "source"):
        if description[key]:
            click.echo(text.paragraph(f"{key}: {description[key]}"))
    space = "model" if description["kind"] == "model" else "accelerator"
    cells = [[key, setting_shown(f"{space}.{key}", value)] for key, value in rows]
    click.echo("\n" + text.table(cells, fold=(1,), right=()))


def training_run(result: Record, format: str) -> None:
    """A run: its phases, its switch and the whole."""
    if format == "json":
        text.as_json(result)
        return
    rows = [{"what": "phase", **phase} for phase in result["phases"]]
    if result["switch"]:
        rows.append({"what": "switch", "name": "write", **result["switch"]["write"]})
        rows.append({"what": "switch", "name": "side by side", **result["switch"]["side_by_side"]})
    rows.append({"what": "total", "name": "", **result["total"]})
    if format == "csv":
        text.as_csv(rows)
        return
    used = [key for key in _RUN if any(row.get(key) is not None for row in rows)]
    header = ["", *(_RUN[key][1] for key in used)]
    names = [_row_name(row["what"], row["name"]) for row in rows]
    table = [[n, *(_run_cell(r, key) for key in used)] for n, r in zip(names, rows, strict=True)]
    click.echo(text.table(table, header, right=range(1, len(header)), fold=(0,)))
    click.echo(text.paragraph(_amounts(result["total"])))
    for row in rows:
        if row.get("reason"):
            name = row["name"] or row["what"]
            click.echo(f"{name} is infeasible: {row['reason']}", err=True)


def _row_name(what: str, name: str) -> str:
    """`phase fine-tuning`; a phase without a name is called `phase 1` already."""
    return name if name.startswith(f"{what} ") else f"{what} {name}".strip()


def _amounts(total: Record) -> str:
    """What was trained on, and the bill: hours and kilowatt-hours."""
    words = [f"{total['sequences']:,} sequences"]
    words += [] if total["tokens"] is None else [f"{total['tokens']:,} tokens"]
    if total["epochs"] is not None:
        words.append(f"{quantity.plain(total['epochs'])} epochs")
    if total["hours"] is not None:
        words += [f"{quantity.plain(total['hours'])} h", f"{quantity.plain(total['kwh'])} kWh"]
    return ", ".join(words)


#: Entry of a phase or of the whole -> the unit it is shown in, and its heading.
_RUN = {
    "steps": ("1", "steps"),
    "latency_s": ("s", "time"),
    "energy_j": ("J", "energy"),
    "step_latency_s": ("s", "a step"),
    "step_energy_j": ("J", "energy/step"),
    "writes_per_cell": ("1", "writes/cell"),
    "lifetime_years": ("1", "years"),
}


def _run_cell(row: Record, key: str) -> str:
    return "" if row.get(key) is None else quantity.show(float(row[key]), _RUN[key][0])
