"""Evaluated designs on disk: one Parquet file for each committed batch, small ones united.

Columns: id, the parameters that vary under their dotted names, the results, feasible, and
the reason where a machine cannot run the design. What an engine needs to go on is kept in
the file's own metadata, so that designs and engine cannot come apart.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elector.base import paths
from elector.base.errors import ElectorError, EvaluationError
from elector.base.table import Column
from transcode.runs.files import replace_file
from transcode.space import Lazily

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_KEY = b"transcode"
#: Where the sum of names and notes stands: checksums of pages leave both out.
_SUM = b"transcode.sha256"
#: Designs of a row group, and of the largest file made of small ones, which lies in memory as it
#: is made; of a file that is large enough; and how many small ones are worth the work.
_GROUP, _SMALL, _SEVERAL = 1 << 17, 1 << 15, 64
#: What reading a file that is cut, damaged, or of somebody's own making may end in.
UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    NotImplementedError,
    RecursionError,
    MemoryError,
)
#: Most designs of a part, and bytes of a row group, that are believed: a small file may say that
#: it has billions.
_MOST, _BYTES = 1 << 22, 1 << 30
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
    """Where a batch lies.

    number : of the batch.
    """
    return folder / f"part-{number:06d}.parquet"


def write(folder: Path, batch: Batch) -> None:
    """Commits a batch: after this it survives whatever happens to the process."""
    import pyarrow as pa

    columns = {"id": pa.array(np.arange(batch.first_id, batch.first_id + len(batch)))}
    for name, column in (*batch.columns.items(), ("reason", batch.reasons)):
        columns[name] = _dictionary(column)
    columns |= {name: pa.array(values) for name, values in batch.results.items()}
    columns["feasible"] = pa.array(batch.feasible)
    _store(path_of(folder, batch.number), pa.table(columns), [_note(batch)])


def _note(batch: Batch) -> dict[str, object]:
    return {
        "batch": batch.number,
        "first_id": batch.first_id,
        "size": len(batch),
        "state": dict(batch.state),
    }


def _store(path: Path, table: pa.Table, notes: Sequence[Mapping[str, object]]) -> None:
    """Writes a part file whole, or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    said = json.dumps({"batches": notes}).encode()
    whole = _sum(table.column_names, said)
    noted = table.replace_schema_metadata({_KEY: said, _SUM: whole})
    texts = [f.name for f in table.schema if "dictionary" in str(f.type)]

    def fill(temporary: Path) -> None:
        with pa.OSFile(os.fsencode(temporary), "wb") as target:
            pq.write_table(
                noted,
                target,
                compression="zstd",
                row_group_size=_GROUP,
                use_dictionary=[*texts, "accuracy", "accuracy_std"],
                column_encoding={"id": "DELTA_BINARY_PACKED"},
                write_statistics=False,
                write_page_checksum=True,
            )

    replace_file(path, fill)


def _sum(names: Sequence[str], said: bytes) -> bytes:
    """What a part says about its columns and batches, summed up."""
    return hashlib.sha256(json.dumps([*names]).encode() + said).hexdigest().encode()


def _require_sum(names: Sequence[str], metadata: Mapping[bytes, bytes] | None) -> None:
    """Raises ValueError for a part with other names or notes than it was written with.

    Parts that TransCODE wrote before December 2026 have no sum.
    """
    known = metadata or {}
    if _SUM in known and known[_SUM] != _sum(names, known.get(_KEY, b"")):
        raise ValueError("names or notes have changed")


def _notes(metadata: Mapping[bytes, bytes] | None) -> list[dict[str, Any]]:
    """What a part file says about its batches."""
    note = json.loads((metadata or {}).get(_KEY, b"null"))
    if isinstance(note, dict) and note.get("batches"):
        return list(note["batches"])
    if isinstance(note, dict) and "batch" in note:
        return [note]  # as TransCODE wrote it when a file held one batch
    raise ValueError("not a part of a run")


def _dictionary(column: Column) -> object:
    """The column as Arrow holds it: distinct values and the smallest codes that reach them."""
    import pyarrow as pa

    kept = column.compact() if len(column.values) > 256 else column
    values = [v for v in kept.values if v is not None and v != ""]
    place = {
        code: i
        for i, code in enumerate(c for c, v in enumerate(kept.values) if v is not None and v != "")
    }
    small = np.int8 if len(values) < 127 else np.int32
    table = np.array([place.get(c, -1) for c in range(len(kept.values))], dtype=small)
    codes = table[kept.codes]
    dictionary = pa.array(values if values else [""])
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), dictionary)


def is_ours(name: str) -> bool:
    """Whether a file of that name in `designs` was written by a search, finished or not."""
    return bool(_NAME.fullmatch(name)) or name.startswith(".part-")


def numbers(folder: Path) -> list[int]:
    """Numbers of the first batches of the files there are, in order.

    Raises InputError where the folder may not be listed: what is there must not be written over.
    """
    matches = (_NAME.fullmatch(name) for name in paths.names(folder, "part-*.parquet"))
    return sorted(int(match[1]) for match in matches if match)


def distinct_numbers(folder: Path) -> list[int]:
    """`numbers` without files whose batches an earlier file holds, too (see `compact`)."""
    distinct, after = [], 0
    for number in numbers(folder):
        if number < after:
            continue
        distinct.append(number)
        try:
            after = _extent(path_of(folder, number))[0] + 1
        except UNREADABLE:
            after = number + 1
    return distinct


def denied(error: Exception, path: Path) -> ElectorError | None:
    """What is raised where the system refuses a file that may be whole; None for a damaged one.

    A part that is not there at all is damage, too.

    error : what reading it raised.
    """
    if isinstance(error, OSError) and error.errno and error.errno != errno.ENOENT:
        return paths.refused(error, path)
    if isinstance(error, MemoryError):
        return EvaluationError(f"{path}: cannot be read: not enough memory")
    return None


@contextmanager
def _source(path: Path) -> Iterator[Any]:
    """A part file as Arrow opens it. Arrow takes texts for names, and a name is bytes: it is given
    those. Raises OSError as `open`, ValueError for what is no file: a pipe would be waited for."""
    import pyarrow as pa

    if paths.exists(path) and not paths.is_file(path):
        raise ValueError("not a file")

    with pa.OSFile(os.fsencode(path)) as source:
        yield source


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A part file (pyarrow.parquet.ParquetFile). Raises ValueError for one beyond belief."""
    import pyarrow.parquet as pq

    with _source(path) as source, pq.ParquetFile(source, page_checksum_verification=True) as file:
        read = file.metadata
        groups = [read.row_group(g) for g in range(read.num_row_groups)]
        if read.num_rows > _MOST or any(group.total_byte_size > _BYTES for group in groups):
            raise ValueError("larger than any part of a run")
        _require_sum(file.schema.names, read.metadata)
        columns = (file.schema.column(place) for place in range(read.num_columns))
        if any(c.physical_type == "BYTE_ARRAY" and c.logical_type.type == "NONE" for c in columns):
            raise ValueError("texts that are none")
        yield file


def _extent(path: Path) -> tuple[int, int]:
    """(last batch, designs) of a file, by its footer. Raises one of UNREADABLE without one."""
    import pyarrow.parquet as pq

    with _source(path) as source:
        read = pq.read_metadata(source)
    _require_sum(read.schema.names, read.metadata)
    return int(_notes(read.metadata)[-1]["batch"]), read.num_rows


def column_names(path: Path) -> list[str]:
    """Columns of a part file, in order. Raises one of UNREADABLE without a footer."""
    import pyarrow.parquet as pq

    with _source(path) as source:
        schema = pq.read_schema(source)
    _require_sum(schema.names, schema.metadata)
    return list(schema.names)


def survey(folder: Path) -> tuple[int, Path | None]:
    """(designs before the first part that is missing or cut, that part; None for none).

    Raises InputError or EvaluationError where a part may be whole but cannot be read.
    """
    designs = expected = 0
    for number in distinct_numbers(folder):
        path = path_of(folder, expected)
        if number != expected:
            return designs, path
        try:
            last, rows = _extent(path)
        except UNREADABLE as error:
            if refusal := denied(error, path):
                raise refusal from None
            return designs, path
        designs, expected = designs + rows, last + 1
    return designs, None


def read(folder: Path, number: int, needed: Collection[str] = ()) -> list[Batch]:
    """The batches of a part file. Raises OSError or ValueError where it is not whole.

    number : of the part. needed : columns that it has to have.
    """
    with _opened(path_of(folder, number)) as file:
        table = file.read()
    if lacking := set(needed) - set(table.column_names):
        raise ValueError(f"columns are missing: {sorted(lacking)}")
    notes = _notes(table.schema.metadata)
    names = table.column_names
    results = {name: table[name].to_numpy() for name in names[names.index("reason") + 1 : -1]}
    reasons = column(table["reason"])
    reasons = Column(tuple("" if v is None else v for v in reasons.values), reasons.codes)
    feasible = table["feasible"].to_numpy()
    sizes = [note.get("size", len(feasible)) for note in notes]
    if len(feasible) != sum(sizes):
        raise ValueError("designs are missing")
    if feasible.dtype != bool or any(values.dtype != float for values in results.values()):
        raise ValueError("columns of another kind")
    batches = []
    for note, size, end in zip(notes, sizes, np.cumsum(sizes).tolist(), strict=True):
        rows = slice(end - size, end)
        batches.append(
            Batch(
                note["batch"],
                note["first_id"],
                settings(table, rows.start, size),
                {n: v[rows] for n, v in results.items()},
                feasible[rows],
                reasons.take(rows),
                note["state"],
            )
        )
    return batches


def frame(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The designs of a part file. Raises one of UNREADABLE where it is not whole.

    columns : the names that are read; None for all.
    """
    import pandas as pd

    with _source(path) as source:
        return pd.read_parquet(source, columns=None if columns is None else list(columns))


def compact(folder: Path) -> None:
    """Makes many small neighbouring part files one.

    The one replaces the first of them; until the others are gone, their designs stand in the
    folder twice, which `distinct_numbers` and `read_all` know.
    """
    small: list[int] = []
    rows = 0
    for number in [*distinct_numbers(folder), -1]:
        size = _GROUP if number < 0 else _extent(path_of(folder, number))[1]
        if size < _SMALL and rows + size <= _GROUP:
            small.append(number)
            rows += size
            continue
        if len(small) >= _SEVERAL:
            _unite(folder, small)
        small, rows = ([number], size) if size < _SMALL else ([], 0)


def _unite(folder: Path, small: Sequence[int]) -> None:
    import pyarrow as pa

    tables = []
    for number in small:
        with _opened(path_of(folder, number)) as file:
            tables.append(file.read())
    notes = [note for table in tables for note in _notes(table.schema.metadata)]
    bare = [table.replace_schema_metadata(None) for table in tables]
    united = pa.concat_tables(bare, promote_options="permissive").unify_dictionaries()
    _store(path_of(folder, small[0]), united.combine_chunks(), notes)
    for number in small[1:]:
        path_of(folder, number).unlink()


@dataclass(frozen=True)
class Stretch:
    """A row group of a part file: `size` designs from row `start` on."""

    path: Path
    number: int
    group: int
    start: int
    size: int

    def read(self, names: Sequence[str] | None = None) -> pa.Table:
        """The columns of those names, or all. Raises OSError or ValueError where it is broken."""
        with _opened(self.path) as file:
            asked = None if names is None else list(names)
            return file.read_row_group(self.group, columns=asked, use_threads=False)

    def take(self, rows: np.ndarray) -> pa.Table:
        """Everything about the designs at (D,) rows of the stretch."""
        return self.read().take(rows)


def stretches(path: Path) -> list[Stretch]:
    """The row groups of a part file, in order."""
    match = _NAME.fullmatch(path.name)
    assert match is not None, path
    with _opened(path) as file:
        sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
    starts = np.cumsum([0, *sizes]).tolist()
    return [
        Stretch(path, int(match[1]), group, start, size)
        for group, (start, size) in enumerate(zip(starts, sizes, strict=False))
    ]


def settings(table: pa.Table, start: int = 0, size: int | None = None) -> Mapping[str, Column]:
    """The columns between id and reason of `size` rows from `start` on, made as they are asked.

    table : as Arrow reads a part.
    """
    names = table.column_names
    return Lazily(
        names[1 : names.index("reason")], lambda name: column(table[name].slice(start, size))
    )


def column(chunked: object) -> Column:
    """A column from Arrow; a missing value is None.

    chunked : a column as Arrow has it.
    """
    import pyarrow as pa

    array = pa.chunked_array(chunked).combine_chunks()
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    values = (*array.dictionary.to_pylist(), None)
    codes = array.indices.fill_null(len(values) - 1).to_numpy(zero_copy_only=False)
    return Column(values, codes.astype(np.intp))


def read_all(folder: Path, needed: Collection[str] = ()) -> Iterator[Batch]:
    """Every batch in order, as far as the parts are whole and without a gap.

    Raises InputError or EvaluationError where a part may be whole but cannot be read.

    needed : columns that a whole part has.
    """
    expected = 0
    for number in distinct_numbers(folder):
        if number != expected:
            return
        try:
            batches = read(folder, number, needed)
        except UNREADABLE as error:
            if refusal := denied(error, path_of(folder, number)):
                raise refusal from None
            return
        yield from batches
        expected = batches[-1].number + 1


def set_aside(folder: Path, first: int) -> tuple[list[str], int]:
    """Hides every part from `first` on, and removes what was being written.

    Returns the hidden parts' names and the number of removed files. What is hidden begins
    with a dot: pandas and pyarrow do not look at it.
    """
    leftovers = [folder / name for name in paths.names(folder, ".part-*.tmp")]
    doubles = set(numbers(folder)) - set(distinct_numbers(folder))
    for leftover in [*leftovers, *(path_of(folder, number) for number in doubles)]:
        leftover.unlink()
    hidden = []
    for number in numbers(folder):
        if number >= first:
            path = path_of(folder, number)
            path.replace(path.with_name(f".{path.name}.cut"))
            hidden.append(path.name)
    return hidden, len(leftovers)
