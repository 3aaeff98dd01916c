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
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from elector.base.errors import InputError
from elector.base.output import whole
from elector.base.table import Column, read_csv
from elector.base.version import VERSION
from elector.cost.results import registry
from elector.evaluation.resolved import resolved
from elector.evaluation.settings import is_known, known_keys
from elector.studies.pruning import SPARSITY, warnings
from elector.studies.simulation import Swept, sweep
from elector.technology import Technology

#: Largest table that is read [byte]: some ten million rows.
LIMIT = 1 << 32
FORMATS = (".csv", ".json", ".parquet")
PASSED_THROUGH = ("id", "accuracy", "accuracy_std")
STATUS = ("feasible", "reason", "error")
#: What else a sweep says of each row; `settings.KEY.value` and `.default` where asked for.
REMARKS = ("notes", "version")
SETTINGS = "settings"
#: What a front.csv begins with and has: it may hold results of the user's own naming, too.
FRONT = ["id", "feasible"]
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
    table: SweepTable, technology: Technology | None = None, settings: bool = False
) -> SweepResult:
    """Evaluate every row that can be read, in one go for each workload.

    settings : also say what every setting of a row was resolved to.
    """
    good = np.array([i for i in range(len(table.cells)) if i not in table.errors], dtype=np.intp)
    errors = dict(table.errors)
    found: dict[str, Swept] = {}
    remarks = _Remarks([[] for _ in good], [{} for _ in good])
    for workload in _workloads(table.header):
        if good.size:
            columns = _columns(table, good, workload)
            swept = found[workload] = sweep(columns, good.size, technology=technology)
            for row, error in swept.errors.items():
                errors.setdefault(int(good[row]), error)
            _remark(remarks, workload, columns, swept, settings)
    place = np.full(len(table.cells), -1, dtype=np.intp)
    place[good] = np.arange(good.size)
    return _result(table, found, place, errors, remarks)


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
        if not (setting or _is_passed(name, header) or is_result(name, header)):
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
    if dot and first in _workloads(list(header)):
        name = rest
    metric = registry().metrics.get(name.partition(".")[0])
    known = metric is not None and bool(metric.axis) == ("." in name)
    return known or name in (*STATUS, *REMARKS) or first == SETTINGS


def _is_passed(name: str, header: list[str]) -> bool:
    """Whether a column is passed through: a note, or a result of a front that only its space
    knows, such as an accuracy, a figure of a training run, or what `define` names."""
    own = name.startswith("note.") or name in PASSED_THROUGH
    front = header[:1] == FRONT[:1] and FRONT[1] in header
    words = name.split(".")
    plain = words[0] not in ("model", "accelerator", "workload", "workloads")
    return own or (front and plain and not is_result(name, header))


def _is_setting(name: str, header: list[str]) -> bool:
    return not is_result(name, header) and not _is_passed(name, header)


def _result(
    table: SweepTable,
    found: dict[str, Swept],
    place: np.ndarray,
    errors: dict[int, InputError],
    remarks: _Remarks,
) -> SweepResult:
    """The kept columns of the table, every result, then remarks and what became of the row."""
    kept = [j for j, name in enumerate(table.header) if not is_result(name, table.header)]
    values = _values(found, place)
    asked = list(dict.fromkeys(key for each in remarks.settings for key in each))
    records: list[list[object]] = []
    messages: list[tuple[int, str]] = []
    said: dict[str, None] = {}
    infeasible = 0
    for row, cells in enumerate(table.cells):
        record: list[object] = [cells[j] for j in kept]
        if row in errors:
            message = str(errors[row])
            messages.append((table.lines[row], message))
            record += [None] * (len(values) + len(asked)) + [None, VERSION]
            record += [None, None, " ".join(message.split())]
        else:
            at = int(place[row])
            reason, notes = _reason(found, at), remarks.notes[at]
            said.update(dict.fromkeys(notes))
            infeasible += reason is not None
            record += [_plain(column[row]) for column in values.values()]
            record += [remarks.settings[at].get(key) for key in asked]
            record += ["; ".join(notes) or None, VERSION, reason is None, reason, None]
        records.append(record)
    header = [*(table.header[j] for j in kept), *values, *asked, *REMARKS, *STATUS]
    return SweepResult(header, records, messages, infeasible, tuple(said))


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
            shared = not workload or registry().get(name).shared
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


def _is_figure(name: str, header: Sequence[str]) -> bool:
    """Whether a column holds numbers that were computed."""
    text = (*STATUS, *REMARKS)
    return is_result(name, header) and name not in text and not name.startswith(f"{SETTINGS}.")


def _write_parquet(result: SweepResult, path: Path) -> None:
    import pandas as pd

    columns: Sequence[Sequence[Any]] = list(zip(*result.records, strict=True))
    frame = pd.DataFrame(dict(zip(result.header, columns, strict=True)))
    for name in frame.columns:
        if _is_figure(name, result.header):
            frame[name] = frame[name].astype("float64")
    frame["feasible"] = frame["feasible"].astype("boolean")
    frame.to_parquet(path, index=False)
