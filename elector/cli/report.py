"""Results as text for people (aligned tables), as JSON or as CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from elector.base.units import format_si

if TYPE_CHECKING:
    from elector.events.trace import Trace
    from elector.studies.sweep import SweepResult
    from elector.studies.validation import CaseResult

Record = Mapping[str, Any]
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


#: Result -> label and unit of the summary; the order is the one they are shown in.
_SUMMARY = (
    ("latency_s", "latency", "s"),
    ("energy_j", "energy", "J"),
    ("latency_per_sequence_s", "latency per sequence", "s"),
    ("energy_per_sequence_j", "energy per sequence", "J"),
    ("throughput_sequences_per_s", "throughput", "sequences/s"),
    ("time_to_first_token_s", "time to first token", "s"),
    ("time_per_output_token_s", "time per output token", "s"),
    ("tokens_per_s", "tokens", "tokens/s"),
    ("power_w", "power", "W"),
    ("area_mm2", "area", "mm2"),
    ("utilization", "utilization", "%"),
    ("peak_ops_per_s", "peak", "op/s"),
    ("macs", "multiply-accumulates", "1"),
    ("parameters", "parameters", "1"),
)
#: Result -> the one it repeats for a single sequence.
_REPEATS = {"latency_per_sequence_s": "latency_s", "energy_per_sequence_j": "energy_j"}
_GROUPS = (
    ("latency_by_kind_s", "latency by kind", "s"),
    ("energy_by_part_j", "energy by part", "J"),
    ("energy_by_phase_j", "energy by phase", "J"),
    ("area_by_part_mm2", "area by part", "mm2"),
    ("memory_bytes", "memory", "byte"),
    ("provenance", "evidence behind the energy", "%"),
)
_OPERATION = ("name", "layer", "phase", "kind", "batch", "m", "k", "n", "count", "cycles")


def simulation(result: Record, format: str) -> None:
    """One design: the JSON as it is, a CSV row with dotted names, or tables."""
    operations = result.get("operations")
    if format == "json":
        _json(result)
    elif format == "csv":
        summary = {key: value for key, value in result.items() if key != "operations"}
        _csv(operations if operations is not None else [summary])
    else:
        _simulation_tables(result, operations)


def _simulation_tables(result: Record, operations: Sequence[Record] | None) -> None:
    click.echo(f"{result['model']} on {result['accelerator']}")
    if not result["feasible"]:
        click.echo(f"infeasible: {result['reason']}")
    click.echo("\n" + _text_table(_summary_rows(result)))
    for key, title, unit in _GROUPS:
        parts = {name: v for name, v in (result.get(key) or {}).items() if v}
        if parts:
            click.echo(f"\n{title}\n{_text_table(_group_rows(parts, unit))}")
    if result.get("sparsity"):
        click.echo(_beside_dense(result, result["sparsity"]))
    if operations is not None:
        header = (*_OPERATION, "seconds", "joules", "bound")
        rows = [
            [
                *(str(op[key]) for key in _OPERATION[:-1]),
                f"{op['cycles']:,.0f}",
                format_si(op["seconds"], "s"),
                format_si(op["joules"], "J"),
                str(op["bound"]),
            ]
            for op in operations
        ]
        click.echo("\noperations\n" + _text_table(rows, header, right=range(4, 12)))


def _beside_dense(result: Record, sparsity: Record) -> str:
    """Time, energy and compressed memory of a pruned step and of the same step dense."""
    dense, pruned = sparsity["dense"], result["memory_bytes"]
    pairs = [
        ("time", result["latency_s"], dense["latency_s"], "s"),
        ("energy", result["energy_j"], dense["energy_j"], "J"),
    ]
    for key, label in (("activations", "stored activations"), ("weights", "stored weights")):
        pairs.append((label, pruned.get(key), dense["memory_bytes"].get(key), "byte"))
    rows = []
    for label, own, other, unit in pairs:
        cells = ["infeasible" if v is None else _quantity(v, unit) for v in (own, other)]
        rows.append([label, *cells, f"{other / own:.2f} x" if own and other else ""])
    table = _text_table(rows, ("", "pruned", "dense", "gain"), right=(1, 2, 3))
    model = sparsity["measured_on"]
    source = sparsity["table"] + (f", measured on {model}" if model else "")
    kinds = " and ".join(sparsity["evidence"])
    return f"\npruned beside dense\n{table}\n  densities: {source} ({kinds})"


def warned(sentences: Iterable[str]) -> None:
    """Warnings on standard error, where no script reads a result."""
    for sentence in sentences:
        click.echo(f"warning: {sentence}", err=True)


def _summary_rows(result: Record) -> list[list[str]]:
    rows = []
    for key, label, unit in _SUMMARY:
        value = result.get(key)
        if value is None or value == result.get(_REPEATS.get(key, "")):
            continue
        rows.append([label, _quantity(value, unit)])
    return rows


def _group_rows(parts: Mapping[str, float], unit: str) -> list[list[str]]:
    """Name, value and share of each part, the largest first."""
    total = sum(parts.values())
    ordered = sorted(parts.items(), key=lambda item: -item[1])
    if unit == "%":
        return [[name, _quantity(value, "%")] for name, value in ordered]
    return [[name, _quantity(v, unit), _quantity(v / total, "%")] for name, v in ordered]


def sweep(result: SweepResult, out: str) -> None:
    """What a sweep did, on standard error: the table itself may go to standard output."""
    unreadable = len(result.errors)
    click.echo(
        f"{out}: {len(result.records)} rows, {result.infeasible} infeasible, "
        f"{unreadable} unreadable",
        err=True,
    )
    warned(result.warnings[:10])
    for line, message in result.errors[:10]:
        click.echo(f"line {line}: {message}", err=True)
    if unreadable > 10:
        click.echo(f"... and {unreadable - 10} more; see the column error", err=True)


def listing(records: Sequence[Record], format: str, shown: Sequence[str]) -> None:
    """Records of `elector list`; a table shows the columns `shown`."""
    if format == "json":
        _json(records)
    elif format == "csv":
        _csv(records)
    else:
        rows = [[_cell(record.get(name)) for name in shown] for record in records]
        numbers = [
            i
            for i, name in enumerate(shown)
            if any(isinstance(record.get(name), int | float) for record in records)
        ]
        click.echo(_text_table(rows, shown, right=numbers))


def explanation(found: Record, title: str, format: str) -> None:
    """The derivation of one result: value, formula, terms, and the rows below them."""
    if format == "json":
        _json(found)
        return
    if format == "csv":
        _csv(found["terms"])
        return
    value, unit = found["value"], found["unit"]
    click.echo(f"{found['result']} of {title}: {_quantity(value, unit)}\n= {found['formula']}\n")
    if "units" in found:
        _units_of(found["units"], unit if found["result"] != "power_w" else "J")
    priced = any("price" in term for term in found["terms"])
    header = ["term", "part", "value", "share", "count"]
    header += ["price", "evidence", "derivation"] if priced else []
    total = sum(term["value"] for term in found["terms"])
    rows = [
        _term_row(term, unit if found["result"] != "power_w" else "J", total, priced)
        for term in found["terms"]
    ]
    if found["result"] == "utilization":  # terms of different kinds: no unit and no share
        rows = [[t["name"], t["part"], f"{t['value']:.6g}", "", ""] for t in found["terms"]]
    if found["result"] == "latency_s":  # which module each operation waits for
        header += ["cycles", "layer", "phase", "bound"]
        rows = [
            [*row, f"{t['cycles']:,.0f}", t["layer"], t["phase"], t["bound"]]
            for row, t in zip(rows, found["terms"], strict=True)
        ]
        _modules(found)
    click.echo(_text_table(rows, header, right=(2, 3, 4, 5) if not priced else (2, 3, 4)))
    if found["rows"]:
        click.echo("\nrows of the technology tables\n" + _rows_table(found["rows"]))
        click.echo(f"\n{found['assumed']} of {len(found['rows'])} rows are assumed")


def _modules(found: Record) -> None:
    """How long each module is busy in the step, and how long its stages take."""
    for key, title in (("loads_s", "busy"), ("stages_s", "stage")):
        rows = [
            [name, _quantity(value, "s"), _quantity(value / found["value"], "%")]
            for name, value in sorted(found[key].items(), key=lambda item: -item[1])
            if value
        ]
        click.echo(_text_table(rows, (title, "value", "share")) + "\n")


def _units_of(units: dict[str, float], unit: str) -> None:
    """What each unit and link of a hybrid adds."""
    total = sum(units.values())
    rows = [
        [name, _quantity(value, unit), _quantity(value / total, "%") if total else ""]
        for name, value in units.items()
    ]
    click.echo(_text_table(rows, ["unit", "value", "share"], right=(1, 2)) + "\n")


def _term_row(term: Record, unit: str, total: float, priced: bool) -> list[str]:
    count = term.get("count")
    row = [
        term["name"],
        term["part"],
        _quantity(term["value"], unit),
        _quantity(term["value"] / total, "%") if total else "",
        "" if count is None else _cell(int(count) if float(count).is_integer() else count),
    ]
    if priced:
        price = _price(term["price"], term["price_unit"]) if "price" in term else ""
        if term.get("law") == "sqrt_size":
            price += " x sqrt(MB)"
        row += [price, term.get("evidence", ""), term.get("derivation", "")]
    return row


def price(found: Record, format: str) -> None:
    """The prices of a part at one node, and the rows they rest on."""
    if format == "json":
        _json(found)
        return
    if format == "csv":
        _csv(found["rows"])
        return
    click.echo(f"{found['part']} at {found['node_nm']:g} nm\n")
    rows = [
        [
            p["quantity"],
            _price(p["value"], p["unit"]) + (" x sqrt(MB)" if p["law"] == "sqrt_size" else ""),
            p["evidence"],
            p["derivation"],
        ]
        for p in found["prices"]
    ]
    click.echo(_text_table(rows, ("quantity", "price", "evidence", "derivation")))
    click.echo("\nrows of the technology tables\n" + _rows_table(found["rows"]))
    references = dict.fromkeys(
        f"{row['source'].split(' ')[0]}: {row['reference']}"
        for row in found["rows"]
        if row["reference"]
    )
    if references:
        click.echo("\nsources\n" + "\n".join(f"  {line}" for line in references))


def _rows_table(rows: Sequence[Record]) -> str:
    cells = [[row["id"], row["value"], row["evidence"], row["source"]] for row in rows]
    return _text_table(cells, ("row", "value", "evidence", "source"))


def validation(results: Sequence[CaseResult], format: str) -> None:
    """Every published case with its error."""
    records = [result.as_row() for result in results]
    if format == "json":
        _json(records)
        return
    if format == "csv":
        _csv(records)
        return
    rows = []
    for result in results:
        case = result.case
        error = "" if result.problem else f"{result.error:+.1%}"
        rows.append(
            [
                case.case,
                case.metric,
                _case_value(case.value, case.unit),
                "-" if result.problem else _case_value(result.simulated, case.unit),
                error,
                _tolerance(case.low, case.high),
                result.verdict,
                case.evidence,
            ]
        )
    header = ("case", "result", "published", "simulated", "error", "allowed", "", "evidence")
    click.echo(_text_table(rows, header, right=(2, 3, 4)))
    for result in results:
        if result.problem:
            click.echo(f"{result.case.case}: {result.problem}")
    failed = sum(result.verdict == "FAILED" for result in results)
    missed = sum(result.verdict == "known miss" for result in results)
    click.echo(f"\n{len(results)} cases, {failed} outside their tolerance, {missed} known misses")


def traced(found: Trace, out: str, plot: str | None) -> None:
    """Seconds of the event-driven model beside the closed form, and where the files lie."""
    line = found.timeline
    click.echo(f"event-driven  {_quantity(line.seconds, 's')}")
    difference = found.closed_s / line.seconds - 1.0
    click.echo(f"closed form   {_quantity(found.closed_s, 's')}  ({difference:+.1%})")
    click.echo(f"energy        {_quantity(found.joules, 'J')}")
    for name, use in found.utilization.items():
        click.echo(f"  {name:<16} busy {float(use.mean()):6.1%}")
    click.echo(f"trace in {out}, {len(line.spans):,} pieces; open it in Perfetto")
    if plot is not None:
        click.echo(f"picture in {plot}")


def _case_value(value: float, unit: str) -> str:
    return f"{value:.4g} mm2" if unit == "mm2" else _quantity(value, unit)


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


def _quantity(value: float, unit: str) -> str:
    """A value as people write it; `unit` mm2 means that it is in mm2 already."""
    if unit == "%":
        return f"{100 * value:.1f} %"
    if unit == "mm2":
        return f"{value:.4g} mm2"
    if unit in ("sequences/s", "tokens/s"):
        return f"{value:.4g} {unit}"
    if unit == "1":
        whole = float(value).is_integer()
        return f"{int(value):,}" if whole else f"{value:.4g}"
    return format_si(value, unit)


def _price(value: float, unit: str) -> str:
    """A price: a prefix would square with m2, so those are written out."""
    if unit.startswith("m2") or unit == "1" or value == 0:
        return f"{value:.4g} {unit}".replace(" 1", "")
    return format_si(value, unit)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _text_table(
    rows: Sequence[Sequence[str]], header: Sequence[str] = (), right: Iterable[int] = (1, 2)
) -> str:
    """Aligned columns, two spaces apart; columns `right` are numbers."""
    lines = [list(header), *rows] if header else list(rows)
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(lines[0]))]
    numbers = set(right)
    text = []
    for line in lines:
        cells = [
            str(cell).rjust(width) if i in numbers else str(cell).ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(text)


def _flat(record: Record, prefix: str = "") -> Iterable[tuple[str, object]]:
    """Entries with nested names dotted."""
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _json(value: object) -> None:
    click.echo(json.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: object) -> object:
    """The value with null for what JSON cannot write: NaN and infinity."""
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _csv(records: Sequence[Record]) -> None:
    """Records as CSV, nested names dotted; floats read back as the same float."""
    stream = io.StringIO()
    records = [dict(_flat(record)) for record in records]
    names = list(dict.fromkeys(name for record in records for name in record))
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    for record in records:
        writer.writerow([_csv_cell(record.get(name)) for name in names])
    click.echo(stream.getvalue(), nl=False)


def _csv_cell(value: object) -> object:
    if isinstance(value, list):
        return " ".join(str(entry) for entry in value)
    return repr(value) if isinstance(value, float) else value


def training_run(result: Record, format: str) -> None:
    """A run: its phases, its switch and the whole."""
    if format == "json":
        _json(result)
        return
    rows = [{"what": "phase", **phase} for phase in result["phases"]]
    if result["switch"]:
        rows.append({"what": "switch", "name": "write", **result["switch"]["write"]})
        rows.append({"what": "switch", "name": "side by side", **result["switch"]["side_by_side"]})
    rows.append({"what": "total", "name": "", **result["total"]})
    if format == "csv":
        _csv(rows)
        return
    shown = (("latency_s", "s"), ("energy_j", "J"), ("step_latency_s", "s"), ("step_energy_j", "J"))
    table = []
    for row in rows:
        cells = [row["what"], row["name"], str(row.get("steps", ""))]
        cells += ["" if row.get(k) is None else format_si(float(row[k]), u) for k, u in shown]
        for key in ("writes_per_cell", "lifetime_years"):
            cells.append("" if row.get(key) is None else f"{float(row[key]):.4g}")
        table.append(cells)
    header = ("", "", "steps", "time", "energy", "a step", "a step", "writes/cell", "years")
    click.echo(_text_table(table, header))
    for row in rows:
        if row.get("reason"):
            name = row["name"] or row["what"]
            click.echo(f"{name} is infeasible: {row['reason']}", err=True)
