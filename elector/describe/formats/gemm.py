"""Lists of matrix products: our CSV and SCALE-Sim's topology files, unchanged.

Ours has the header `name,M,N,K[,count]`, in any order. SCALE-Sim's GEMM topologies have the
same columns in any case and spacing, a sparsity behind them and a comma at the end of each
line; its convolutions are read by `topology`.
"""

from __future__ import annotations

from pathlib import Path

from elector.base.errors import InputError
from elector.base.table import read_csv
from elector.describe.formats.described import whole
from elector.describe.formats.topology import (
    is_number,
    is_topology,
    load_topology,
    plain,
    refuse_sparse,
)
from elector.describe.model import Gemm, Model

#: normalised header -> our name
_GEMM_COLUMNS = {
    "name": "name",
    "layer": "name",
    "layername": "name",
    "m": "m",
    "n": "n",
    "k": "k",
    "count": "count",
    "sparsity": "sparsity",
    "sparsityratio": "sparsity",
}
_GEMM_NEEDED = ("name", "m", "n", "k")
MNK = ["m", "n", "k"]


def load_gemms(path: Path) -> Model:
    """The products of a CSV file as a model of family gemm."""
    header, rows = read_csv(path)
    if is_topology(header, rows):
        gemms = load_topology(header, rows, path)
    else:
        columns = _columns(_without_empty(header, rows), path)
        gemms = [_product(_entry(columns, line, cells, path), line, path) for line, cells in rows]
    if not gemms:
        raise InputError("has a header but no rows", file=path)
    return Model(name=path.stem, family="gemm", gemms=tuple(gemms), source=path.name)


def _without_empty(header: list[str], rows: list[tuple[int, list[str]]]) -> list[str]:
    """The header without names behind the products that no line fills.

    SCALE-Sim skips the header: a trailing comma or a word behind M, N, K says nothing.
    """
    filled = max(
        (place for _, cells in rows for place, cell in enumerate(cells) if cell), default=0
    )
    if not rows or any(map(_known, header[filled + 1 :])):
        return header
    return header[: filled + 1]


def _columns(header: list[str], path: Path) -> list[str]:
    """Our names of the file's columns, in the file's order."""
    while header and not header[-1]:  # SCALE-Sim's trailing comma
        header = header[:-1]
    # SCALE-Sim does not read names: whatever the first column is called, it holds the layers'.
    first = [] if "name" in map(_known, header) else header[:1]
    columns = []
    for name in header:
        column = "name" if name in first and [*map(plain, header[1:4])] == MNK else _known(name)
        if not column:
            raise InputError(
                "line 1: unknown column",
                file=path,
                field=name or "(no name)",
                value=name,
                allowed=("name", "M", "N", "K", "count"),
                hint="the header of a list of matrix products is name,M,N,K[,count]",
            )
        if column in columns:
            raise InputError("line 1: duplicate column", file=path, field=name)
        columns.append(column)
    missing = [name for name in _GEMM_NEEDED if name not in columns]
    if missing:
        raise InputError(
            "line 1: column is missing",
            file=path,
            field=missing[0],
            hint="the header of a list of matrix products is name,M,N,K[,count]",
        )
    return columns


def _known(name: str) -> str:
    return _GEMM_COLUMNS.get(plain(name), "")


def _entry(columns: list[str], line: int, cells: list[str], path: Path) -> dict[str, str]:
    """One row by column name; optional cells that are empty are left out."""
    behind = [cell for cell in cells[len(columns) :] if is_number(cell) or ":" in cell]
    if behind[:1] and ":" in behind[0]:  # SCALE-Sim's fifth place, whether it has a name or not
        refuse_sparse(behind[0], line, path)
    elif behind:
        raise InputError(f"line {line}: has more cells than the header", file=path, value=behind[0])
    entry = {name: cell for name, cell in zip(columns, cells, strict=False) if cell}
    optional = {"count", "sparsity"}
    for name in columns:
        if name not in entry and name not in optional:
            raise InputError(f"line {line}: cell is empty", file=path, field=name)
    refuse_sparse(entry.get("sparsity", ""), line, path)
    return entry


def _number(entry: dict[str, str], key: str, line: int, path: Path) -> int:
    try:
        return whole(entry, key, path)
    except InputError as error:
        raise InputError(
            f"line {line}: {error.problem}", file=path, field=error.field, value=error.value
        ) from None


def _product(entry: dict[str, str], line: int, path: Path) -> Gemm:
    m, n, k = (_number(entry, key, line, path) for key in ("m", "n", "k"))
    return Gemm(entry["name"], m, n, k, _number({"count": "1", **entry}, "count", line, path))
