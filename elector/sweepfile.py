"""The table of `elector sweep`: read, checked, evaluated as one, and written.

A row per configuration: `model`, `accelerator`, any dotted setting. `note.*`, `id` and the
accuracies of a front are passed through; result columns are computed again; any other
column is refused. Rows keep their order and number.
"""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from elector.api import GENERATION, GROUPS, SCALARS, Swept, sweep
from elector.errors import InputError
from elector.resolve import known_keys
from elector.table import Column, read_csv
from elector.technology import Technology

#: Largest table that is read [byte]: some ten million rows.
LIMIT = 1 << 32
FORMATS = (".csv", ".json", ".parquet")
PASSED_THROUGH = ("id", "accuracy", "accuracy_std")
STATUS = ("feasible", "reason", "error")


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
    """What came out: rows, unreadable and infeasible ones among them."""

    header: list[str]
    records: list[list[object]]
    errors: list[tuple[int, str]]
    infeasible: int


def run_sweep(table: SweepTable, technology: Technology | None = None) -> SweepResult:
    """Evaluate every row that can be read, in one go."""
    good = np.array([i for i in range(len(table.cells)) if i not in table.errors], dtype=np.intp)
    columns = {
        name: Column.of([table.cells[i][j] for i in good])
        for j, name in enumerate(table.header)
        if _is_setting(name)
    }
    swept = sweep(columns, good.size, technology=technology) if good.size else None
    errors = dict(table.errors)
    place = np.full(len(table.cells), -1, dtype=np.intp)
    if swept is not None:
        errors |= {int(good[row]): error for row, error in swept.errors.items()}
        place[good] = swept.place
    return _result(table, swept, place, errors)


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
    settings = [f"{space}.{key}" for space, keys in known_keys().items() for key in keys]
    known = ["model", "accelerator", *settings]
    for name in header:
        if not (name in known or _is_passed(name) or is_result(name)):
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


def is_result(name: str) -> bool:
    """Whether a column is one that a sweep appends."""
    return name in (*SCALARS, *GENERATION, *STATUS) or name.partition(".")[0] in GROUPS


def _is_passed(name: str) -> bool:
    return name.startswith("note.") or name in PASSED_THROUGH


def _is_setting(name: str) -> bool:
    return not is_result(name) and not _is_passed(name)


def _result(
    table: SweepTable, swept: Swept | None, place: np.ndarray, errors: dict[int, InputError]
) -> SweepResult:
    """The kept columns of the table, then every result, then feasible, reason, error."""
    kept = [j for j, name in enumerate(table.header) if not is_result(name)]
    cost = swept.cost if swept is not None else None
    names = cost.names() if cost is not None else []
    values = [cost.scalar(name).tolist() for name in names] if cost is not None else []
    records: list[list[object]] = []
    messages: list[tuple[int, str]] = []
    infeasible = 0
    for row, cells in enumerate(table.cells):
        record: list[object] = [cells[j] for j in kept]
        at = int(place[row])
        if cost is None or at < 0:
            message = str(errors[row])
            messages.append((table.lines[row], message))
            record += [None] * len(names) + [None, None, " ".join(message.split())]
        else:
            feasible = bool(cost.feasible[at])
            infeasible += not feasible
            record += [_plain(column[at]) for column in values]
            record += [feasible, cost.reason(at), None]
        records.append(record)
    header = [table.header[j] for j in kept] + names + list(STATUS)
    return SweepResult(header, records, messages, infeasible)


def _plain(value: float) -> float | int | None:
    """As in the JSON: None for what is not a number, whole numbers without a point."""
    if math.isnan(value):
        return None
    return int(value) if value.is_integer() and abs(value) >= 1 else value


def check_output(out: str) -> None:
    """Refuse a file that cannot be written or has no known suffix, before any work."""
    if out == "-":
        return
    path = Path(out)
    if path.is_dir():
        raise InputError("is a directory, not a file", file=out, field="--out")
    if path.exists() and not path.is_file():  # a device or a pipe
        return
    if path.suffix.lower() not in FORMATS:
        raise InputError(
            "unknown kind of file", file=out, field="--out", value=path.suffix, allowed=FORMATS
        )
    scratch = _scratch(path)
    try:
        scratch.open("xb").close()
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise InputError(
            f"cannot be written: {error.strerror or error}", file=out, field="--out"
        ) from None
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


def write_result(result: SweepResult, out: str) -> None:
    """Write under a temporary name and rename, so that no half table is ever seen."""
    path = Path(out)
    if out == "-":
        _write_csv(result, sys.stdout)
        return
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="") as stream:
            _write_csv(result, stream)
        return
    scratch = _scratch(path)
    try:
        if path.suffix.lower() == ".parquet":
            _write_parquet(result, scratch)
        else:
            writer = _write_json if path.suffix.lower() == ".json" else _write_csv
            with scratch.open("w", encoding="utf-8", newline="") as stream:
                writer(result, stream)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def _scratch(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


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
        if is_result(name) and name not in STATUS:
            frame[name] = frame[name].astype("float64")
    frame["feasible"] = frame["feasible"].astype("boolean")
    frame.to_parquet(path, index=False)
