"""The table of a sweep: which columns it may have, and its rows as they were given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elector.base.errors import InputError
from elector.base.table import read_csv
from elector.cost.results import registry
from elector.evaluation.settings import is_known, known_keys

#: Largest table that is read [byte]: some ten million rows.
LIMIT = 1 << 32
PASSED_THROUGH = ("id", "accuracy", "accuracy_std")
STATUS = ("feasible", "reason", "error")
#: What else a sweep says of each row; `settings.KEY.value` and `.default` where asked for.
REMARKS = ("notes", "version")
SETTINGS = "settings"
#: What a front.csv begins with and has: it may hold results of the user's own naming, too.
FRONT = ["id", "feasible"]
#: A setting of one of several workloads.
OWN = re.compile(r"workloads\.(?P<workload>\w+)\.(?P<key>\w+)")


@dataclass(frozen=True)
class SweepTable:
    """A table as it was read.

    header : all columns. cells : one list a row, None where a cell is empty; texts of a file,
        or plain values of Python.
    lines : line of each row in the file.
    errors : row -> what is wrong with the row itself, before any value is read.
    """

    path: Path | None
    header: list[str]
    cells: list[list[Any]]
    lines: list[int]
    errors: dict[int, InputError]


def workloads_of(header: list[str]) -> list[str]:
    """Names of the workloads of a table; one without a name where there is one only."""
    found = [match["workload"] for name in header if (match := OWN.fullmatch(name))]
    return list(dict.fromkeys(found)) or [""]


def read_table(path: str | Path) -> SweepTable:
    """A table with known columns; ragged rows and missing names become errors of their row."""
    path = Path(path)
    header, lines = read_csv(path, LIMIT)
    while header and not header[-1]:
        header = header[:-1]
    check_header(header, path)
    if not lines:
        raise InputError("has a header but no rows", file=path)
    cells: list[list[Any]] = []
    errors: dict[int, InputError] = {}
    for row, (_, found) in enumerate(lines):
        extra = len(found) > len(header) and any(found[len(header) :])
        if extra or len(found) < len(header):
            errors[row] = InputError(f"has {len(found)} cells, the header {len(header)}")
        padded: list[str | None] = [cell or None for cell in found[: len(header)]]
        cells.append([*padded, *[None] * (len(header) - len(padded))])
    return SweepTable(
        path, header, cells, [line for line, _ in lines], _empty(header, cells) | errors
    )


def table_of(header: list[str], cells: list[list[Any]]) -> SweepTable:
    """A table of a program; rows are counted from 0."""
    check_header(header, None, "")
    return SweepTable(None, header, cells, list(range(len(cells))), _empty(header, cells))


def _empty(header: list[str], cells: list[list[Any]]) -> dict[int, InputError]:
    """Row -> the name it lacks: one without a model or an accelerator is no design."""
    found: dict[int, InputError] = {}
    for name in ("accelerator", "model"):
        at = header.index(name)
        found |= {
            row: InputError("is empty", field=name)
            for row, values in enumerate(cells)
            if values[at] is None
        }
    return found


def check_header(header: list[str], path: Path | None, where: str = "line 1: ") -> None:
    """Refuses columns without a meaning, given twice, or missing."""
    spaces = known_keys()
    settings = [f"{space}.{key}" for space, keys in spaces.items() for key in keys]
    known = ["model", "accelerator", *settings]
    for name in header:
        own = OWN.fullmatch(name)
        setting = is_known(name) or bool(own and own["key"] in spaces["workload"])
        if not (setting or is_passed(name, header) or is_result(name, header)):
            raise InputError(
                f"{where}unknown column",
                file=path,
                field=name or "(no name)",
                value=name,
                allowed=known,
                hint="a column of your own may be called note.NAME",
            )
        if header.count(name) > 1:
            raise InputError(f"{where}column given twice", file=path, field=name)
    for name in ("model", "accelerator"):
        if name not in header:
            raise InputError(f"{where}column is missing", file=path, field=name)


def is_result(name: str, header: Sequence[str] = ()) -> bool:
    """Whether a column is one that a sweep of a table with this header appends."""
    first, dot, rest = name.partition(".")
    if dot and first in workloads_of(list(header)):
        name = rest
    metric = registry().metrics.get(name.partition(".")[0])
    known = metric is not None and bool(metric.axis) == ("." in name)
    return known or name in (*STATUS, *REMARKS) or first == SETTINGS


def is_passed(name: str, header: list[str]) -> bool:
    """Whether a column is passed through: a note, or a result of a front that only its space
    knows, such as an accuracy, a figure of a training run, or what `define` names."""
    own = name.startswith("note.") or name in PASSED_THROUGH
    front = header[:1] == FRONT[:1] and FRONT[1] in header
    words = name.split(".")
    plain = words[0] not in ("model", "accelerator", "workload", "workloads")
    return own or (front and plain and not is_result(name, header))


def is_setting(name: str, header: list[str]) -> bool:
    """Whether a column says something of the designs."""
    return not is_result(name, header) and not is_passed(name, header)


def is_figure(name: str, header: Sequence[str]) -> bool:
    """Whether a column holds numbers that were computed."""
    text = (*STATUS, *REMARKS)
    return is_result(name, header) and name not in text and not name.startswith(f"{SETTINGS}.")
