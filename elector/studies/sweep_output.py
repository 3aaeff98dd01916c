"""What a sweep found, as CSV, JSON or Parquet."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from elector.base.errors import InputError
from elector.base.output import whole
from elector.evaluation.settings import field_of
from elector.studies.sweep import SweepResult
from elector.studies.sweep_table import OWN, Kinds

FORMATS = (".csv", ".json", ".parquet")


def write_result(result: SweepResult, out: str) -> None:
    """Write under a temporary name and rename, so that no half table is ever seen.

    out : the file; its suffix is the format.
    """
    path = Path(out)
    if out == "-":
        write_csv(result, sys.stdout)
        sys.stdout.flush()  # what is said of the table afterwards has to be true
        return
    with whole(path) as target:
        if path.suffix.lower() == ".parquet":
            _write_parquet(result, target)
            return
        writer = write_json if path.suffix.lower() == ".json" else write_csv
        with target.open("w", encoding="utf-8", newline="") as stream:
            writer(result, stream)


def write_csv(result: SweepResult, stream: IO[str]) -> None:
    """The table as CSV.

    stream : where to.
    """
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(result.header)
    # repr of a float has the digits that read back as the same float
    writer.writerows([_cell(value) for value in record] for record in result.records)


def _cell(value: object) -> object:
    return repr(value) if isinstance(value, float) else value


def write_json(result: SweepResult, stream: IO[str]) -> None:
    """The table as a JSON list of records.

    stream : where to.
    """
    columns = typed(result)
    rows = zip(*columns.values(), strict=True)
    records = [dict(zip(columns, row, strict=True)) for row in rows]
    json.dump(records, stream, indent=1, allow_nan=False)
    stream.write("\n")


def _write_parquet(result: SweepResult, path: Path) -> None:
    import pandas as pd

    frame, kinds = pd.DataFrame(typed(result)), Kinds(result.header)
    for name in frame.columns:
        if kinds.is_figure(name):
            frame[name] = frame[name].astype("float64")
    frame["feasible"] = frame["feasible"].astype("boolean")
    with path.open("wb") as stream:  # pyarrow takes no name that is not text
        frame.to_parquet(stream, index=False)


def typed(result: SweepResult) -> dict[str, list[Any]]:
    """Columns by name, the texts of settings as what they mean: numbers in SI, booleans.

    A column keeps its texts where a cell of it cannot be read (an error of its row says so).
    """
    columns, kinds = zip(*result.records, strict=True), Kinds(result.header)
    return {
        name: list(values) if kinds.is_result(name) else _meant(name, values)
        for name, values in zip(result.header, columns, strict=True)
    }


def _meant(name: str, values: Sequence[Any]) -> list[Any]:
    """The cells of a column as the reader of settings takes them."""
    own = OWN.fullmatch(name)
    field = field_of(f"workload.{own['key']}" if own else name)
    read = _number if field is None else field.parse
    if name.startswith("note.") or (field is None and name in ("model", "accelerator")):
        return list(values)
    try:
        return [None if value is None else read(value) for value in values]
    except (InputError, ValueError):
        return list(values)


def _number(value: object) -> int | float:
    """A figure of a front that is passed through, as a number."""
    text = str(value)
    return int(text) if text.isdecimal() else float(text)
