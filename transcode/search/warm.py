"""Designs to begin with, from front.csv of another run or any table of `elector sweep`."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from elector.base import paths, units
from elector.base.errors import InputError
from elector.base.table import Column, Scalar
from elector.studies.sweep_table import read_table
from transcode import engines, runs
from transcode.runs.files import replace_file
from transcode.space import Space

#: Largest file of designs to begin with [byte].
_LARGEST = 1 << 28


def designs(space: Space, path: str | Path) -> tuple[np.ndarray, int]:
    """(W, S) codes of the rows that are designs of the space, each once, and the rows there are.

    Only settings are read; what a row cost elsewhere is not believed but evaluated again.
    """
    codes = coded(space, path)
    rows = len(codes)
    codes = codes[(codes >= 0).all(axis=1)]
    codes = codes[space.allowed(codes)]
    if len(codes) == 0:
        raise InputError(
            f"none of its {rows:,} rows is a design of this space",
            file=path,
            field="--warm-start",
        )
    _, first = np.unique(space.key(codes), return_index=True)
    return codes[np.sort(first)], rows


def coded(space: Space, path: str | Path) -> np.ndarray:
    """(R, S) codes of the rows of a table; -1 where a cell is no value of its parameter.

    Raises InputError for a file that is no table, lacks a column that the space varies, or has a
    row that is not whole, as one that was cut.
    """
    table = read_table(path)
    for row, error in sorted(table.errors.items())[:1]:
        said = f"line {table.lines[row]}: {error.problem}"
        raise InputError(said, file=path, field=error.field, hint=error.hint)
    columns: dict[str, Column] = {}
    for name in dict.fromkeys(["model", "accelerator", *space.varied]):
        if name not in table.columns:
            raise InputError("column is missing", file=path, field=name)
        unit = next(p.unit for p in space.parameters if p.name == name)
        cells = table.columns[name]
        values = (None if cell is None else str(cell) for cell in cells.values)
        columns[name] = Column(tuple(_value(text, unit) for text in values), cells.codes)
    return space.encode(columns)


def keep(folder: Path, codes: np.ndarray) -> None:
    """Keeps the designs to begin with in the run folder: a resumed run needs the rest of them."""
    replace_file(folder / runs.manifest.WARM, lambda path: _save(path, codes))


def _save(path: Path, codes: np.ndarray) -> None:
    with path.open("wb") as stream:
        np.save(stream, codes, allow_pickle=False)


def kept(folder: Path, space: Space) -> np.ndarray | None:
    """(W, S) codes that the run in the folder began with, if any."""
    path = folder / runs.manifest.WARM
    if not paths.exists(path):
        return None
    data = paths.read_bytes(path, _LARGEST)
    try:
        codes = np.load(io.BytesIO(data), allow_pickle=False)
        sizes = [p.size for p in space.parameters]
        known = codes.ndim == 2 and codes.dtype.kind == "i" and codes.shape[1] == len(sizes)
        if known and ((codes >= 0) & (codes < sizes)).all():
            return np.asarray(codes)
    except (OSError, ValueError, EOFError, MemoryError):  # cut, or a header that promises too much
        pass
    raise InputError("is damaged", file=path, hint="--fresh starts anew")


def _value(text: str | None, unit: str) -> Scalar | None:
    """A cell as the space holds its value; what cannot be read is no value of the space."""
    if text is None or unit == "text":
        return text
    if text in ("true", "false"):
        return text == "true"
    try:
        return units.parse(text, unit)
    except InputError:
        return text


def check(choice: engines.Choice) -> None:
    """Refuses a sampler that cannot begin with given designs."""
    if choice.used not in (*engines.LEARN_FROM_OTHERS, "enumerate"):
        raise InputError(
            f"{choice.used} cannot begin with given designs",
            field="--warm-start",
            hint="--sampler evolve",
        )
