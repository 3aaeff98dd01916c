"""Evaluated designs on disk: one Parquet file for each committed batch.

Columns: id, the parameters that vary under their dotted names, the results, feasible, and
the reason where a machine cannot run the design. What an engine needs to go on is kept in
the file's own metadata, so that designs and engine cannot come apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elector.table import Column
from transcode.runs.files import replace_file

_KEY = b"transcode"
_NAME = re.compile(r"part-(\d{6,})\.parquet")


@dataclass(frozen=True)
class Batch:
    """D evaluated designs.

    number : of the batch. first_id : number of its first design.
    columns : dotted name -> (D,) values. results : name -> (D,) float.
    feasible : (D,) bool. reasons : (D,), "" where the machine can run the design.
    state : of the engine after the batch.
    """

    number: int
    first_id: int
    columns: Mapping[str, Column]
    results: Mapping[str, np.ndarray]
    feasible: np.ndarray
    reasons: Column
    state: Mapping[str, object]

    def __len__(self) -> int:
        return len(self.feasible)


def path_of(folder: Path, number: int) -> Path:
    """Where a batch lies."""
    return folder / f"part-{number:06d}.parquet"


def write(folder: Path, batch: Batch) -> None:
    """Commits a batch: after this it survives whatever happens to the process."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"id": pa.array(np.arange(batch.first_id, batch.first_id + len(batch)))}
    for name, column in (*batch.columns.items(), ("reason", batch.reasons)):
        columns[name] = _dictionary(column)
    columns |= {name: pa.array(values) for name, values in batch.results.items()}
    columns["feasible"] = pa.array(batch.feasible)
    note = {"batch": batch.number, "first_id": batch.first_id, "state": dict(batch.state)}
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(note).encode()})
    replace_file(
        path_of(folder, batch.number),
        lambda path: pq.write_table(
            table,
            path,
            compression="zstd",
            use_dictionary=[*batch.columns, "reason", "accuracy", "accuracy_std"],
            column_encoding={"id": "DELTA_BINARY_PACKED"},
            write_statistics=False,
        ),
    )


def _dictionary(column: Column) -> object:
    """The column as Arrow holds it: distinct values and the smallest codes that reach them."""
    import pyarrow as pa

    kept = column.compact() if len(column.values) > 256 else column
    values = [v for v in kept.values if v is not None and v != ""]
    place = {code: i for i, code in enumerate(c for c, v in enumerate(kept.values)
                                              if v is not None and v != "")}  # fmt: skip
    small = np.int8 if len(values) < 127 else np.int32
    table = np.array([place.get(c, -1) for c in range(len(kept.values))], dtype=small)
    codes = table[kept.codes]
    dictionary = pa.array(values if values else [""])
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), dictionary)


def numbers(folder: Path) -> list[int]:
    """Numbers of the batches there are, in order."""
    found = (_NAME.fullmatch(path.name) for path in folder.glob("part-*.parquet"))
    return sorted(int(match[1]) for match in found if match)


def read(folder: Path, number: int) -> Batch:
    """A committed batch. Raises OSError or ValueError where the file is not whole."""
    import pyarrow.parquet as pq

    table = pq.ParquetFile(path_of(folder, number)).read()
    note = json.loads((table.schema.metadata or {}).get(_KEY, b"null"))
    if not isinstance(note, dict):
        raise ValueError("not a part of a run")
    columns: dict[str, Column] = {}
    results: dict[str, np.ndarray] = {}
    names = table.column_names
    for name in names[1 : names.index("reason") + 1]:
        columns[name] = column(table[name])
    for name in names[names.index("reason") + 1 : -1]:
        results[name] = table[name].to_numpy()
    reasons = columns.pop("reason")
    texts = tuple("" if v is None else v for v in reasons.values)
    return Batch(
        note["batch"], note["first_id"], columns, results, table["feasible"].to_numpy(),
        Column(texts, reasons.codes), note["state"],
    )  # fmt: skip


def column(chunked: object) -> Column:
    """A column from Arrow; a missing value is None."""
    import pyarrow as pa

    array = pa.chunked_array(chunked).combine_chunks()
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    values = (*array.dictionary.to_pylist(), None)
    codes = array.indices.fill_null(len(values) - 1).to_numpy(zero_copy_only=False)
    return Column(values, codes.astype(np.intp))


def read_all(folder: Path) -> Iterator[Batch]:
    """Every batch in order, as far as the parts are whole and without a gap."""
    for expected, number in enumerate(numbers(folder)):
        if number != expected:
            return
        try:
            yield read(folder, number)
        except (OSError, ValueError, KeyError):
            return


def set_aside(folder: Path, first: int) -> tuple[list[str], int]:
    """Hides every part from `first` on, and removes what was being written.

    Returns the hidden parts' names and the number of removed files. What is hidden begins
    with a dot: pandas and pyarrow do not look at it.
    """
    leftovers = list(folder.glob(".part-*.tmp"))
    for leftover in leftovers:
        leftover.unlink()
    hidden = []
    for number in numbers(folder):
        if number >= first:
            path = path_of(folder, number)
            path.replace(path.with_name(f".{path.name}.cut"))
            hidden.append(path.name)
    return hidden, len(leftovers)
