"""The table of `elector sweep`: read, checked, evaluated as one, and written.

A row per configuration: `model`, `accelerator`, any dotted setting. `note.*`, `id` and the
accuracies of a front are passed through; result columns are computed again; any other
column is refused. Rows keep their order and number.

A front over several workloads has columns `workloads.NAME.key`: each row is evaluated once
for each NAME, with those settings over the common `workload.key`, and results are called
NAME.latency_s and so on; those of the chip and the model alone keep their plain names.
"""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from elector.base.errors import InputError
from elector.base.output import whole
from elector.base.table import Column, read_csv
from elector.evaluation.settings import is_known, known_keys
from elector.studies.pruning import SPARSITY, warnings
from elector.studies.simulation import GENERATION, GROUPS, SCALARS, Swept, sweep
from elector.technology import Technology

#: Largest table that is read [byte]: some ten million rows.
LIMIT = 1 << 32
FORMATS = (".csv", ".json", ".parquet")
PASSED_THROUGH = ("id", "accuracy", "accuracy_std")
STATUS = ("feasible", "reason", "error")
#: Results of the chip and the model.
SHARED = ("area_mm2", "area_by_part_mm2", "parameters")
_OWN = re.compile(r"workloads\.(?P<workload>\w+)\.(?P<key>\w+)")


@dataclass(frozen=True)
class SweepTable:
    """A table as it was read.

    header : all columns. cells : one list a row, None where a cell is empty.
    lines : line of each row in the file.
    errors : row -> what is wrong with the row itself, before any value is read.
    """

    path: Path
    header: list[str]
    cells: list[list[str | None]]
    lines: list[int]
    errors: dict[int, InputError]


@dataclass(frozen=True)
class SweepResult:
    """What came out: rows, unreadable and infeasible ones among them.

    warnings : what a reader may not expect of the sparsity tables that rows name.
    """

    header: list[str]
    records: list[list[object]]
    errors: list[tuple[int, str]]
    infeasible: int
    warnings: tuple[str, ...] = ()


def run_sweep(table: SweepTable, technology: Technology | None = None) -> SweepResult:
    """Evaluate every row that can be read, in one go for each workload."""
    good = np.array([i for i in range(len(table.cells)) if i not in table.errors], dtype=np.intp)
    errors = dict(table.errors)
    found: dict[str, Swept] = {}
    said: dict[str, None] = {}
    for workload in _workloads(table.header):
        if good.size:
            columns = _columns(table, good, workload)
            said.update(dict.fromkeys(_warnings(columns)))
            found[workload] = sweep(columns, good.size, technology=technology)
            for row, error in found[workload].errors.items():
                errors.setdefault(int(good[row]), error)
    place = np.full(len(table.cells), -1, dtype=np.intp)
    place[good] = np.arange(good.size)
    return replace(_result(table, found, place, errors), warnings=tuple(said))


def _warnings(columns: dict[str, Column]) -> list[str]:
    """What is to be said of each pair of a model and a sparsity table that rows have."""
    if SPARSITY not in columns:
        return []
    model, table = columns["model"], columns[SPARSITY]
    found: list[str] = []
    for m, s in np.unique(np.stack([model.codes, table.codes]), axis=1).T:
        try:
            found += warnings(str(model.values[m]), {SPARSITY: table.values[s] or "dense"})
        except InputError:  # the error of its row
            continue
    return found


def _workloads(header: list[str]) -> list[str]:
    """Names of the workloads of a table; one without a name where there is one only."""
    found = [match["workload"] for name in header if (match := _OWN.fullmatch(name))]
    return list(dict.fromkeys(found)) or [""]


def _columns(table: SweepTable, rows: np.ndarray, workload: str) -> dict[str, Column]:
    """The settings of one workload at `rows`: its own where it has one, else the common ones."""
    cells: dict[str, list[str | None]] = {}
    own: dict[str, list[str | None]] = {}
    for j, name in enumerate(table.header):
        match = _OWN.fullmatch(name)
        if match and match["workload"] == workload:
            own[f"workload.{match['key']}"] = [table.cells[i][j] for i in rows]
        elif not match and _is_setting(name, table.header):
            cells[name] = [table.cells[i][j] for i in rows]
    for name, mine in own.items():
        common = cells.get(name, [None] * len(mine))
        cells[name] = [b if a is None else a for a, b in zip(mine, common, strict=True)]
    return {name: Column.of(values) for name, values in cells.items()}


def read_table(path: str | Path) -> SweepTable:
    """A table with known columns; ragged rows and missing names become errors of their row."""
    path = Path(path)
    header, lines = read_csv(path, LIMIT)
    while header and not header[-1]:
        header = header[:-1]
    _check_header(header, path)
    if not lines:
        raise InputError("has a header but no rows", file=path)
    cells: list[list[str | None]] = []
    errors: dict[int, InputError] = {}
    for row, (_, found) in enumerate(lines):
        extra = len(found) > len(header) and any(found[len(header) :])
        if extra or len(found) < len(header):
            errors[row] = InputError(f"has {len(found)} cells, the header {len(header)}")
        padded: list[str | None] = [cell or None for cell in found[: len(header)]]
        padded += [None] * (len(header) - len(padded))
        for name in ("model", "accelerator"):
            if row not in errors and padded[header.index(name)] is None:
                errors[row] = InputError("is empty", field=name)
        cells.append(padded)
    return SweepTable(path, header, cells, [line for line, _ in lines], errors)


def _check_header(header: list[str], path: Path) -> None:
    spaces = known_keys()
    settings = [f"{space}.{key}" for space, keys in spaces.items() for key in keys]
    known = ["model", "accelerator", *settings]
    for name in header:
        own = _OWN.fullmatch(name)
        setting = is_known(name) or bool(own and own["key"] in spaces["workload"])
        if not (setting or _is_passed(name) or is_result(name, header)):
            raise InputError(
                "line 1: unknown column",
                file=path,
                field=name or "(no name)",
                value=name,
                allowed=known,
                hint="a column of your own may be called note.NAME",
            )
        if header.count(name) > 1:
            raise InputError("line 1: column given twice", file=path, field=name)
    for name in ("model", "accelerator"):
        if name not in header:
            raise InputError("line 1: column is missing", file=path, field=name)


def is_result(name: str, header: Sequence[str] = ()) -> bool:
    """Whether a column is one that a sweep of a table with this header appends."""
    first, dot, rest = name.partition(".")
    if dot and f"{first}." in {f"{w}." for w in _workloads(list(header))}:
        name, first = rest, rest.partition(".")[0]
    return name in (*SCALARS, *GENERATION, *STATUS) or first in GROUPS


def _is_passed(name: str) -> bool:
    return name.startswith("note.") or name in PASSED_THROUGH


def _is_setting(name: str, header: Sequence[str]) -> bool:
    return not is_result(name, header) and not _is_passed(name)


def _result(
    table: SweepTable, found: dict[str, Swept], place: np.ndarray, errors: dict[int, InputError]
) -> SweepResult:
    """The kept columns of the table, then every result, then feasible, reason, error."""
    kept = [j for j, name in enumerate(table.header) if not is_result(name, table.header)]
    values = _values(found, place)
    records: list[list[object]] = []
    messages: list[tuple[int, str]] = []
    infeasible = 0
    for row, cells in enumerate(table.cells):
        record: list[object] = [cells[j] for j in kept]
        if row in errors:
            message = str(errors[row])
            messages.append((table.lines[row], message))
            record += [None] * len(values) + [None, None, " ".join(message.split())]
        else:
            reason = _reason(found, int(place[row]))
            infeasible += reason is not None
            record += [_plain(column[row]) for column in values.values()]
            record += [reason is None, reason, None]
        records.append(record)
    header = [*(table.header[j] for j in kept), *values, *STATUS]
    return SweepResult(header, records, messages, infeasible)


def _values(found: dict[str, Swept], place: np.ndarray) -> dict[str, list[float]]:
    """Name -> values by row of the table.

    What the chip is has its plain name: the largest, as one chip has to do for all workloads.
    """
    values: dict[str, np.ndarray] = {}
    for workload, swept in found.items():
        if swept.cost is None:
            continue
        at = np.where(place >= 0, swept.place[place], -1)
        for name in swept.cost.names():
            shared = not workload or name.partition(".")[0] in SHARED
            column, named = swept.cost.scalar(name)[at], name if shared else f"{workload}.{name}"
            values[named] = np.fmax(values[named], column) if named in values else column
    return {name: column.tolist() for name, column in values.items()}


def _reason(found: dict[str, Swept], at: int) -> str | None:
    """Why a row is infeasible: the first workload that does not run."""
    for workload, swept in found.items():
        assert swept.cost is not None, "a row without an error has costs"
        reason = swept.cost.reason(int(swept.place[at]))
        if reason is not None:
            return f"{workload}: {reason}" if workload else reason
    return None


def _plain(value: float) -> float | int | None:
    """As in the JSON: None for what is not a number, whole numbers without a point."""
    if math.isnan(value):
        return None
    return int(value) if value.is_integer() and abs(value) >= 1 else value


def write_result(result: SweepResult, out: str) -> None:
    """Write under a temporary name and rename, so that no half table is ever seen."""
    path = Path(out)
    if out == "-":
        _write_csv(result, sys.stdout)
        sys.stdout.flush()  # what is said of the table afterwards has to be true
        return
    with whole(path) as target:
        if path.suffix.lower() == ".parquet":
            _write_parquet(result, target)
            return
        writer = _write_json if path.suffix.lower() == ".json" else _write_csv
        with target.open("w", encoding="utf-8", newline="") as stream:
            writer(result, stream)


def _write_csv(result: SweepResult, stream: IO[str]) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(result.header)
    # repr of a float has the digits that read back as the same float
    writer.writerows([_cell(value) for value in record] for record in result.records)


def _cell(value: object) -> object:
    return repr(value) if isinstance(value, float) else value


def _write_json(result: SweepResult, stream: IO[str]) -> None:
    records = [dict(zip(result.header, record, strict=True)) for record in result.records]
    json.dump(records, stream, indent=1, allow_nan=False)
    stream.write("\n")


def _write_parquet(result: SweepResult, path: Path) -> None:
    import pandas as pd

    columns: Sequence[Sequence[Any]] = list(zip(*result.records, strict=True))
    frame = pd.DataFrame(dict(zip(result.header, columns, strict=True)))
    for name in frame.columns:
        if is_result(name, result.header) and name not in STATUS:
            frame[name] = frame[name].astype("float64")
    frame["feasible"] = frame["feasible"].astype("boolean")
    frame.to_parquet(path, index=False)
