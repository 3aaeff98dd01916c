"""`elector sweep`: the rows of a table evaluated as one.

A row per configuration: `model`, `accelerator`, any dotted setting. `note.*`, `id` and the
accuracies of a front are passed through; result columns are computed again; any other
column is refused. Rows keep their order and number.

A front over several workloads has columns `workloads.NAME.key`: each row is evaluated once
for each NAME, with those settings over the common `workload.key`, and results are called
NAME.latency_s and so on; those of the chip and the model alone keep their plain names.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from elector.base.errors import InputError
from elector.base.table import Column
from elector.base.version import VERSION
from elector.cost.results import ENDS, registry
from elector.evaluation.resolved import resolved
from elector.studies.pruning import SPARSITY, warnings
from elector.studies.simulation import Swept, sweep
from elector.studies.sweep_table import REMARKS, SETTINGS, STATUS, SweepTable
from elector.technology import Technology

if TYPE_CHECKING:
    from elector.studies.uncertainty import Sampling


@dataclass(frozen=True)
class SweepResult:
    """What came out: rows, unreadable and infeasible ones among them.

    notes : every sentence of the column `notes`, once.
    """

    header: list[str]
    records: list[list[object]]
    errors: list[tuple[int, str]]
    infeasible: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Remarks:
    """Beside the figures of the readable rows: (D,) notes, and settings where asked for."""

    notes: list[list[str]]
    settings: list[dict[str, object]]


def run_sweep(
    table: SweepTable,
    technology: Technology | None = None,
    settings: bool = False,
    sampling: Sampling | None = None,
) -> SweepResult:
    """Evaluate every row that can be read, in one go for each workload.

    settings : also say what every setting of a row was resolved to. sampling : also give the 90 %
    interval of each result, drawn so, in columns NAME_low and NAME_high behind it.
    """
    readable = np.ones(len(table), dtype=bool)
    readable[list(table.errors)] = False
    good = np.flatnonzero(readable)
    errors = dict(table.errors)
    by_workload: dict[str, Swept] = {}
    remarks = _Remarks([[] for _ in good], [{} for _ in good])
    for workload in table.kinds.workloads:
        if good.size:
            columns = table.settings(good, workload)
            swept = by_workload[workload] = sweep(columns, good.size, technology=technology)
            for row, error in swept.errors.items():
                errors.setdefault(int(good[row]), error)
            _remark(remarks, workload, columns, swept, settings)
            if sampling is not None:
                by_workload[workload] = _with_intervals(remarks, workload, columns, swept, sampling)
    place = np.full(len(table), -1, dtype=np.intp)
    place[good] = np.arange(good.size)
    return _result(table, by_workload, place, errors, remarks)


def _remark(
    remarks: _Remarks, workload: str, columns: dict[str, Column], swept: Swept, settings: bool
) -> None:
    """Adds what is to be said of the rows under one workload, its name in front."""
    if swept.cost is None:
        return
    start = f"{workload}: " if workload else ""
    rows = np.flatnonzero(swept.place >= 0)
    pruning = _pruning(columns)
    for row, sentences in zip(rows.tolist(), swept.cost.notes(), strict=True):
        own = dict.fromkeys([*sentences, *(pruning[row] if pruning else ())])
        remarks.notes[row] += [start + text for text in own]
    if settings:
        kept = {key: column.take(rows).compact() for key, column in columns.items()}
        middle = f"{workload}." if workload else ""
        for row, each in zip(rows.tolist(), resolved(kept, rows.size), strict=True):
            for key, entry in each.items():
                # one chip and one model for all workloads
                place = "" if key.startswith(("model.", "accelerator.")) else middle
                for name, value in entry.items():
                    remarks.settings[row][f"{SETTINGS}.{place}{key}.{name}"] = value


def _with_intervals(
    remarks: _Remarks,
    workload: str,
    columns: dict[str, Column],
    swept: Swept,
    sampling: Sampling,
) -> Swept:
    """The costs with the ends of intervals as further scalars; what they rest on is a remark."""
    from elector.studies.uncertainty import intervals  # few ask for it

    cost, rows = swept.cost, np.flatnonzero(swept.place >= 0)
    if cost is None:
        return swept
    kept = {key: column.take(rows).compact() for key, column in columns.items()}
    bounds, said = intervals(kept, rows.size, sampling)
    start = f"{workload}: " if workload else ""
    for row, feasible, text in zip(rows.tolist(), cost.feasible.tolist(), said, strict=True):
        remarks.notes[row] += [start + text] if feasible else []
    scalars: dict[str, np.ndarray] = {}
    for name, values in cost.scalars.items():
        scalars[name] = values
        scalars |= {  # draws may run of a design that does not
            f"{name}_{end}": np.where(np.isfinite(values), bounds[f"{name}_{end}"], np.nan)
            for end in ENDS
            if f"{name}_{end}" in bounds
        }
    return replace(swept, cost=replace(cost, scalars=scalars))


def _pruning(columns: dict[str, Column]) -> list[list[str]]:
    """Of each row, what is to be said of its model and its sparsity table; none without one."""
    if SPARSITY not in columns:
        return []
    model, table = columns["model"], columns[SPARSITY]
    said: dict[tuple[int, int], list[str]] = {}
    pairs = list(zip(model.codes.tolist(), table.codes.tolist(), strict=True))
    for m, s in dict.fromkeys(pairs):
        try:
            said[m, s] = warnings(str(model.values[m]), {SPARSITY: table.values[s] or "dense"})
        except InputError:  # the error of its row
            said[m, s] = []
    return [said[pair] for pair in pairs]


def _result(
    table: SweepTable,
    swept_by: dict[str, Swept],
    place: np.ndarray,
    errors: dict[int, InputError],
    remarks: _Remarks,
) -> SweepResult:
    """The kept columns of the table, every result, then remarks and what became of the row."""
    kept = {n: c for n, c in table.columns.items() if not table.kinds.is_result(n)}
    texts = [[column.values[code] for code in column.codes.tolist()] for column in kept.values()]
    values = _values(swept_by, place)
    metrics = [registry().get(name) for name in values]
    asked = list(dict.fromkeys(key for each in remarks.settings for key in each))
    records: list[list[object]] = []
    messages: list[tuple[int, str]] = []
    said: dict[str, None] = {}
    infeasible = 0
    for row in range(len(table)):
        record: list[object] = [column[row] for column in texts]
        if row in errors:
            message = str(errors[row])
            messages.append((int(table.lines[row]), message))
            record += [None] * (len(values) + len(asked)) + [None, VERSION]
            record += [None, None, " ".join(message.split())]
        else:
            at = int(place[row])
            reason, notes = _reason(swept_by, at), remarks.notes[at]
            said.update(dict.fromkeys(notes))
            infeasible += reason is not None
            record += [
                metric.plain(column[row])
                for metric, column in zip(metrics, values.values(), strict=True)
            ]
            record += [remarks.settings[at].get(key) for key in asked]
            record += ["; ".join(notes) or None, VERSION, reason is None, reason, None]
        records.append(record)
    header = [*kept, *values, *asked, *REMARKS, *STATUS]
    return SweepResult(header, records, messages, infeasible, tuple(said))


def _values(by_workload: dict[str, Swept], place: np.ndarray) -> dict[str, list[float]]:
    """Name -> values by row of the table.

    What the chip is has its plain name: the largest, as one chip has to do for all workloads.
    """
    values: dict[str, np.ndarray] = {}
    for workload, swept in by_workload.items():
        if swept.cost is None:
            continue
        at = np.where(place >= 0, swept.place[place], -1)
        for name in swept.cost.names():
            metric = registry().get(registry().bounded(name) or name)
            shared = not workload or metric.shared
            column, named = swept.cost.scalar(name)[at], name if shared else f"{workload}.{name}"
            values[named] = np.fmax(values[named], column) if named in values else column
    return {name: column.tolist() for name, column in values.items()}


def _reason(swept_by: dict[str, Swept], at: int) -> str | None:
    """Why a row is infeasible: the first workload that does not run."""
    for workload, swept in swept_by.items():
        assert swept.cost is not None, "a row without an error has costs"
        reason = swept.cost.reason(int(swept.place[at]))
        if reason is not None:
            return f"{workload}: {reason}" if workload else reason
    return None
