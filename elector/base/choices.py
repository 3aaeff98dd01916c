"""What a setting may be: the cells `choices` of the schemas.

Needs no numpy, so that help and completion answer at once.
"""

from __future__ import annotations

import csv
import functools
from pathlib import Path

DATA = Path(__file__).parent.parent / "data"


@functools.cache
def named_rows(table: str) -> dict[str, dict[str, str]]:
    """Rows of one of our tables by the name in their first column.

    table : file below data, such as `formats.csv`.
    """
    with (DATA / table).open(encoding="utf-8", newline="") as stream:
        return {next(iter(row.values())): row for row in csv.DictReader(stream)}


def choices(cell: str) -> tuple[str, ...]:
    """What a cell allows, in its order; () where it says nothing.

    cell : names between bars. `@table` stands for the names in data/table.csv, `@table:column`
        for those of its rows in which that column holds something.
    """
    names: list[str] = []
    for name in cell.split("|") if cell else ():
        if not name.startswith("@"):
            names.append(name)
            continue
        table, _, column = name[1:].partition(":")
        names += (n for n, row in named_rows(f"{table}.csv").items() if not column or row[column])
    return tuple(names)
