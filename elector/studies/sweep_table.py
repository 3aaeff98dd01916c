"""The table that `elector sweep` reads: known columns, one configuration a row, each cell once.

A million rows have few distinct cells, so a column keeps those and a code for each row. What is
wrong with the table itself ends the command; what is wrong with a row is kept for its row.
"""

from __future__ import annotations

import re
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np

from elector.base import paths
from elector.base.errors import InputError
from elector.base.table import Column, csv_lines
from elector.cost.results import registry
from elector.evaluation.settings import is_known, known_keys

#: Largest table that is read [byte]: a million rows or two, for a few seconds and a gigabyte.
LIMIT = 40_000_000
#: Most rows of another length than the header: a file with more is no table of designs.
MOST_RAGGED = 100_000
#: Most columns: as for rows that are ragged.
MOST_COLUMNS = 100_000
#: Rows that are read at once: few, so that they are gone before the collector looks at them.
_PIECE = 64
PASSED_THROUGH = ("id", "accuracy", "accuracy_std", "accuracy_low", "accuracy_high")
STATUS = ("feasible", "reason", "error")
#: What else a sweep says of each row; `settings.KEY.value` and `.default` where asked for.
REMARKS = ("notes", "version")
SETTINGS = "settings"
#: What a front.csv begins with and has: it may hold results of the user's own naming, too.
FRONT = ("id", "feasible")
#: A setting of one of several workloads.
OWN = re.compile(r"workloads\.(?P<workload>\w+)\.(?P<key>\w+)")


@dataclass(frozen=True)
class Kinds:
    """What the columns of a header are."""

    header: Sequence[str]

    @cached_property
    def workloads(self) -> tuple[str, ...]:
        """Names of the workloads; one without a name where there is one only."""
        named = [match["workload"] for name in self.header if (match := OWN.fullmatch(name))]
        return tuple(dict.fromkeys(named)) or ("",)

    @cached_property
    def _has_status(self) -> bool:
        return FRONT[1] in self.header

    def is_result(self, name: str) -> bool:
        """Whether a column is one that a sweep of a table with this header appends.

        name : of the column.
        """
        first, dot, rest = name.partition(".")
        if dot and first in self.workloads:
            name = rest
        name = registry().bounded(name) or name
        metric = registry().metrics.get(name.partition(".")[0])
        known = metric is not None and bool(metric.axis) == ("." in name)
        return known or name in (*STATUS, *REMARKS) or first == SETTINGS

    def is_figure(self, name: str) -> bool:
        """Whether a column holds numbers that were computed.

        name : of the column.
        """
        text = (*STATUS, *REMARKS)
        return self.is_result(name) and name not in text and not name.startswith(f"{SETTINGS}.")

    def is_passed(self, name: str) -> bool:
        """Whether a column is passed through: a note, or a result of a front that only its space
        knows, such as an accuracy, a figure of a training run, or what `define` names.

        name : of the column.
        """
        own = name.startswith("note.") or name in PASSED_THROUGH
        front = list(self.header[:1]) == [FRONT[0]] and self._has_status
        plain = name.partition(".")[0] not in ("model", "accelerator", "workload", "workloads")
        return own or (front and plain and not self.is_result(name))

    def is_setting(self, name: str) -> bool:
        """Whether a column holds settings.

        name : of the column.
        """
        return not self.is_result(name) and not self.is_passed(name)


@dataclass(frozen=True)
class SweepTable:
    """A table as it was read.

    columns : name -> cells, None where one is empty. lines : (D,) line of each row in the file.
    errors : row -> what is wrong with the row itself, before any value is read.
    """

    path: Path | None
    columns: dict[str, Column]
    lines: np.ndarray
    errors: dict[int, InputError]

    def __len__(self) -> int:
        return len(self.lines)

    @cached_property
    def kinds(self) -> Kinds:
        """What the columns are."""
        return Kinds(list(self.columns))

    def settings(self, rows: np.ndarray, workload: str) -> dict[str, Column]:
        """The settings of one workload at `rows`: its own where it has one, else the common.

        rows : (N,) places.
        """
        settings: dict[str, Column] = {}
        own: dict[str, Column] = {}
        for name, column in self.columns.items():
            match = OWN.fullmatch(name)
            if match and match["workload"] == workload:
                own[f"workload.{match['key']}"] = column.take(rows).compact()
            elif not match and self.kinds.is_setting(name):
                settings[name] = column.take(rows).compact()
        for name, column in own.items():
            settings[name] = _over(column, settings[name]) if name in settings else column
        return settings


def _over(own: Column, common: Column) -> Column:
    """The cells of `own`, those of `common` where they are empty."""
    empty = np.array([value is None for value in own.values])[own.codes]
    codes = np.where(empty, common.codes + len(own.values), own.codes)
    return Column((*own.values, *common.values), codes).compact()


def read_table(path: str | Path) -> SweepTable:
    """A table with known columns; ragged rows and missing names become errors of their row.

    path : a CSV file; - is standard input.
    """
    if not str(path):
        raise InputError("is empty", field="table")
    path = Path(path)
    data = paths.read_standard_input("-", LIMIT) if str(path) == "-" else None
    rows = csv_lines(path, LIMIT, data)
    header = [name.strip() for name in next(rows, (0, []))[1]]
    if not header:
        raise InputError("is empty", file=path)
    named = len(header)
    while named and not header[named - 1]:
        named -= 1
    header = header[:named]
    if len(header) > MOST_COLUMNS:
        raise InputError(f"has more than {MOST_COLUMNS:,} columns", file=path)
    _check_header(header, path)
    cells = [_CellColumn() for _ in header]
    lines = array("q")
    errors: dict[int, InputError] = {}
    while piece := list(islice(rows, _PIECE)):
        listed = [row for _, row in piece]
        for at, row in enumerate(listed):
            if len(row) != len(header):
                listed[at] = _ragged(row, len(header), len(lines) + at, errors)
        if len(errors) > MOST_RAGGED:
            raise InputError(
                f"has more than {MOST_RAGGED:,} rows of another length than the header", file=path
            )
        for column, texts in zip(cells, zip(*listed, strict=True), strict=True):
            column.extend(texts)
        lines.extend(line for line, _ in piece)
    if not lines:
        raise InputError("has a header but no rows", file=path)
    columns = {name: column.column() for name, column in zip(header, cells, strict=True)}
    return SweepTable(path, columns, np.array(lines), _unnamed(columns) | errors)


def table_of(columns: dict[str, list[str | int | float | bool | None]], rows: int) -> SweepTable:
    """A table of a program, a list of `rows` cells for each name; rows are counted from 0."""
    _check_header(list(columns), None, "")
    named = {name: Column.of(cells) for name, cells in columns.items()}
    return SweepTable(None, named, np.arange(rows), _unnamed(named))


def _unnamed(columns: dict[str, Column]) -> dict[int, InputError]:
    """Row -> the name it lacks: one without a model or an accelerator is no design."""
    errors: dict[int, InputError] = {}
    for name in ("model", "accelerator"):
        empty = [code for code, value in enumerate(columns[name].values) if value is None]
        for row in np.flatnonzero(np.isin(columns[name].codes, empty)).tolist():
            errors.setdefault(row, InputError("is empty", field=name))
    return errors


def _ragged(cells: list[str], wide: int, row: int, errors: dict[int, InputError]) -> list[str]:
    """A row of another length as one of `wide` cells; an error unless what is too much is empty."""
    if len(cells) < wide or any(cell.strip() for cell in cells[wide:]):
        errors[row] = InputError(f"has {len(cells)} cells, the header {wide}")
    return (cells + [""] * (wide - len(cells)))[:wide]


class _CellColumn:
    """A column of cells while it is read: each distinct text once, eight bytes for every row."""

    def __init__(self) -> None:
        self.seen = _numbering()
        self.codes = array("q")

    def extend(self, cells: tuple[str, ...]) -> None:
        """Takes the cells of further rows."""
        self.codes.extend(map(self.seen.__getitem__, cells))

    def column(self) -> Column:
        """The cells so far, stripped; None where one is empty."""
        texts = _numbering()
        stripped = np.fromiter(map(texts.__getitem__, map(str.strip, self.seen)), np.intp)
        codes = np.frombuffer(self.codes, np.int64).astype(np.intp)
        if len(texts) < len(self.seen):
            codes = stripped[codes]
        return Column(tuple(text or None for text in texts), codes)


def _numbering() -> defaultdict[str, int]:
    """Numbers each text that it is asked for, from 0 in order of asking."""
    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    return numbers


def _check_header(header: list[str], path: Path | None, where: str = "line 1: ") -> None:
    """Refuses unknown and missing columns, and those given twice."""
    spaces = known_keys()
    kinds = Kinds(header)
    seen: set[str] = set()
    for name in header:
        own = OWN.fullmatch(name)
        setting = is_known(name) or bool(own and own["key"] in spaces["workload"])
        if not (setting or kinds.is_passed(name) or kinds.is_result(name)):
            raise InputError(
                f"{where}unknown column",
                file=path,
                field=name or "(no name)",
                value=name,
                allowed=[
                    "model",
                    "accelerator",
                    *(f"{space}.{key}" for space, keys in spaces.items() for key in keys),
                ],
                hint="a column of your own may be called note.NAME",
            )
        if name in seen:
            raise InputError(f"{where}column given twice", file=path, field=name)
        seen.add(name)
    for name in ("model", "accelerator"):
        if name not in seen:
            raise InputError(f"{where}column is missing", file=path, field=name)
