"""What `sweep` reads and prints, and its JUnit XML."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from elector.base import junit as junit_xml
from elector.base import quantity
from elector.base.paths import forget
from elector.cli import text
from elector.cost.results import ENDS, registry
from elector.evaluation.settings import field_of
from elector.studies.sweep_table import Kinds, SweepTable, read_table

if TYPE_CHECKING:
    from elector.studies.sweep import SweepResult

#: Most messages of one kind that are shown.
_SHOWN = 10
#: Results that a table shows of each row; those of each workload where there are several.
_MAIN = ("latency_s", "energy_j", "area_mm2")
#: What is shown beside them where some row has it.
_TOO = ("tokens_per_s",)


def printed(result: SweepResult, format: str | None) -> None:
    """The rows on standard output, where a format is asked for."""
    from elector.studies import sweep_output

    if format == "table":
        click.echo(_table(result))
        if intervals := _intervals(result):
            click.echo(f"\nnine times of ten between\n{intervals}")
    elif format is not None:
        writer = sweep_output.write_csv if format == "csv" else sweep_output.write_json
        writer(result, sys.stdout)
        sys.stdout.flush()


def _table(result: SweepResult) -> str:
    """A row a design: what tells it from the others, and its main results."""
    places, _, wanted = _columns(result)
    said = [str(r[places["error"]] or r[places["reason"]] or "") for r in result.records]
    states = [state.partition(" allowed: ")[0].rstrip() for state in said]  # `done` says all
    values = [[_value(name, record[places[name]]) for name in wanted] for record in result.records]
    return _laid_out(result, values, wanted, states)


def _laid_out(
    result: SweepResult,
    values: Sequence[Sequence[str]],
    wanted: Sequence[str],
    states: Sequence[str],
) -> str:
    """Designs with figures: side by side where that fits, else each below its design.

    values : (D, wanted) figures as people read them. states : what is to be said of each design.
    """
    places, shown, _ = _columns(result)
    cells = [[_cell(name, record[places[name]]) for name in shown] for record in result.records]
    rows = [[*c, *v] for c, v in zip(cells, values, strict=True)]
    header, words = [*_short(shown), *wanted], range(len(shown))
    if text.fits(rows, header, words):
        numbers = range(len(shown), len(header))
        heading, *lines = text.blocks(rows, header, right=numbers, fold=words)
    else:
        designs = [text.paragraph(_design(_short(shown), own)) for own in cells]
        heading, *figures = _figures(values, wanted)
        lines = [
            f"{design}\n{own}" if any(value != "-" for value in row) else design
            for design, own, row in zip(designs, figures, values, strict=True)
        ]
    blocks = [heading] if heading else []
    for line, state in zip(lines, states, strict=True):
        blocks += [line, *([text.paragraph(state, "      ")] if state else [])]
    return "\n".join(blocks)


def _figures(values: Sequence[Sequence[str]], wanted: Sequence[str]) -> list[str]:
    """A heading and a line of figures for each design; without a heading where they are too many
    for a table, as of several workloads."""
    if text.fits(values, wanted):
        return text.blocks(values, wanted, right=range(len(wanted)))
    return [
        "",
        *(
            text.paragraph(", ".join(f"{n} {v}" for n, v in zip(wanted, own, strict=True)), "  ")
            for own in values
        ),
    ]


def _design(names: Sequence[str], cells: Sequence[str]) -> str:
    """A design in words: `gpt2 on tpu-v4i, batch 8`."""
    told = dict(zip(names, cells, strict=True))
    model, accelerator = told.pop("model", ""), told.pop("accelerator", "")
    first = " on ".join(name for name in (model, accelerator) if name)
    others = [f"{name} {cell}" for name, cell in told.items() if cell]
    return ", ".join([*([first] if first else []), *others])


def _columns(result: SweepResult) -> tuple[dict[str, int], list[str], list[str]]:
    """Place of each column; those that tell a design from the others; the main results."""
    kinds = Kinds(result.header)
    places = {name: i for i, name in enumerate(result.header)}
    given = [n for n in result.header if not kinds.is_result(n)]
    results = [n for n in result.header if kinds.is_result(n)]
    there = {n for n in results if any(r[places[n]] is not None for r in result.records)}
    wanted = [
        n
        for n in results
        if (last := n.rpartition(".")[2]) in _MAIN or (last in _TOO and n in there)
    ]
    several = len(result.records) > 1
    differ = [n for n in given if several and len({r[places[n]] for r in result.records}) > 1]
    return places, differ or ["model", "accelerator"], wanted


def _intervals(result: SweepResult) -> str:
    """The intervals of the main results; "" where none was asked for."""
    places, _, wanted = _columns(result)
    wanted = [name for name in wanted if f"{name}_{ENDS[0]}" in places]
    if not wanted:
        return ""
    rows = [
        [_between(name, [record[places[f"{name}_{end}"]] for end in ENDS]) for name in wanted]
        for record in result.records
    ]
    return _laid_out(result, rows, wanted, [""] * len(rows))


def _between(name: str, ends: list[object]) -> str:
    """An interval; `-` where there is none."""
    return "-" if None in ends else text.between(*(_value(name, end) for end in ends))


def _short(names: Sequence[str]) -> list[str]:
    """Settings by what stands behind the last dot, where that says which."""
    last = [name.rpartition(".")[2] for name in names]
    counts = Counter(last)
    return [short if counts[short] == 1 else name for short, name in zip(last, names, strict=True)]


def _cell(name: str, value: object) -> str:
    """A setting or note as people read it: a bare number with the unit of the setting."""
    if value is None:
        return ""
    try:
        number = float(str(value))
    except ValueError:
        return str(value)
    field = field_of(name)
    if field is not None and field.unit not in ("", "1"):
        return quantity.show(number, field.unit)
    whole = not math.isfinite(number) or number.is_integer()
    return str(value) if whole else quantity.plain(number)


def _value(name: str, value: object) -> str:
    return registry().show(name, float(value)) if isinstance(value, int | float) else "-"


def done(result: SweepResult, name: str) -> None:
    """What a sweep did, on standard error: the table itself may go to standard output."""
    unreadable = len(result.errors)
    click.echo(
        f"{name}: {len(result.records)} rows, {result.infeasible} infeasible, "
        f"{unreadable} unreadable",
        err=True,
    )
    text.said(result.notes[:_SHOWN])
    if len(result.notes) > _SHOWN:
        click.echo(f"... and {len(result.notes) - _SHOWN} more; see the column notes", err=True)
    for line, message in result.errors[:_SHOWN]:
        click.echo(f"line {line}: {message}", err=True)
    if unreadable > _SHOWN:
        click.echo(f"... and {unreadable - _SHOWN} more; see the column error", err=True)


def junit(result: SweepResult, table: str) -> str:
    """The sweep as JUnit XML: a test case a row, which fails where the row cannot be read."""
    kinds = Kinds(result.header)
    given = [(i, n) for i, n in enumerate(result.header) if not kinds.is_result(n)]
    error = result.header.index("error")
    cases = []
    for number, record in enumerate(result.records, 1):
        words = ", ".join(f"{n} {record[i]}" for i, n in given if record[i] is not None)
        message = record[error]
        cases.append(
            junit_xml.JUnitCase(f"row {number}: {words}", None if message is None else str(message))
        )
    return junit_xml.document(f"elector sweep {table}", table, cases)


def table_of(name: str) -> SweepTable:
    """The designs of a table, which `--out` may name, too: the columns of the table stay.

    name : of the file; - is standard input.
    """
    asked = read_table(name)
    if name != "-":
        forget(name)
    return asked
