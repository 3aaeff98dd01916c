"""Tables of costs that `elector sweep` wrote, read back: CSV, JSON, Parquet as the same cells."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elector.base.errors import InputError
from elector.base.paths import read_bytes
from elector.base.table import load_json, read_csv, require_once
from elector.studies.sweep_table import LIMIT, MOST_COLUMNS

#: What is said of a file that is no table of costs.
WRITTEN = "compare takes tables that elector sweep writes: .csv, .json or .parquet"
#: Most cells that are believed: a small Parquet file may say that it has billions of them.
_MOST = 1 << 26


@dataclass(frozen=True)
class CostsTable:
    """The cells of a table, as CSV has them.

    header : names of the columns. lines : (number, cells) of each row. place : what the numbers
    count: lines of a file of text, or rows.
    """

    header: list[str]
    lines: list[tuple[int, list[str]]]
    place: str = "line"


def read_costs(path: Path) -> CostsTable:
    """The cells of a file; its suffix is the format. Raises InputError for what is no table.

    path : as the user named it.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _of_records(path, load_json(path, LIMIT))
    if suffix == ".parquet":
        return _of_parquet(path)
    table = CostsTable(*read_csv(path, LIMIT))
    require_once(table.header, path)
    return table


def _of_records(path: Path, content: Any) -> CostsTable:
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise InputError("is no list of records", file=path, hint=WRITTEN)
    header = list(dict.fromkeys(name for row in content for name in row))
    for number, row in enumerate(content, 1):
        for name, value in row.items():
            if isinstance(value, dict | list):
                raise InputError(
                    f"row {number}: is no single value", file=path, field=name, hint=WRITTEN
                )
    return _rows(header, [[row.get(name) for name in header] for row in content])


def _of_parquet(path: Path) -> CostsTable:
    from pyarrow import ArrowException, parquet

    data = read_bytes(path, LIMIT)
    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        rows, columns = file.metadata.num_rows, file.metadata.num_columns
        if columns > MOST_COLUMNS or rows * columns > _MOST:
            raise InputError("has more cells than a table of designs", file=path)
        content = file.read().to_pydict()
    except (ArrowException, OSError, ValueError, LookupError, TypeError, MemoryError):
        raise InputError("is damaged: not a Parquet file", file=path, hint=WRITTEN) from None
    return _rows(list(content), list(zip(*content.values(), strict=True)))


def _rows(header: list[str], rows: Sequence[Sequence[Any]]) -> CostsTable:
    cells = [(number, [_cell(value) for value in row]) for number, row in enumerate(rows, 1)]
    return CostsTable(header, cells, "row")


def _cell(value: object) -> str:
    """A value as a cell of CSV: a number so that it reads back as the same one."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value).strip()
