"""SCALE-Sim's topology files of convolutions, as its three versions read them.

ARM-software/SCALE-Sim (run_nets.py), scale-sim-v2 and scalesim 3.0.0 (topology_utils.py) skip
the first line whatever it says and take cells by their place: name, input height and width,
filter height and width, channels, filters, stride. Version 2 reads a stride along the width
behind it, version 3 a sparsity such as 2:4. A line ends with a comma, and what stands behind
the last one is not read; version 1 passes over lines that hold a title only, and reads nothing
behind the stride. Every layer becomes the product that SCALE-Sim runs: M output pixels, K
inputs of a filter, N filters.

A column that the header names and nobody knows is refused once a line has something in it: it may
be a padding. Columns of results (Eh, Ew) change nothing, nor do words behind the last comma whose
column has no name or that of a target or a remark.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from elector.base.errors import InputError
from elector.describe.formats.described import LARGEST, whole
from elector.describe.model import Gemm

#: What stands in each place of a line.
PLACES = (
    "name",
    "height",
    "width",
    "filter_height",
    "filter_width",
    "channels",
    "filters",
    "stride",
)
_WORDS = ("ifmap", "filter", "channel", "numfilter")
#: what a column of results holds, which the layer says already; version 1's files have some
_RESULT = "result"
#: plain name of a column behind the stride -> what it holds
_FURTHER = {
    "stride": "stride_width",
    "strides": "stride_width",
    "stridew": "stride_width",
    "stridewidth": "stride_width",
    "stridesw": "stride_width",
    "batch": "batch",
    "batchsize": "batch",
    "sparsity": "sparsity",
    "sparsityratio": "sparsity",
    **dict.fromkeys(("eh", "ew", "e2", "ofmapheight", "ofmapwidth", "macs"), _RESULT),
}
#: plain names of columns of words that change nothing
_REMARKS = ("target", "remark", "remarks", "comment", "comments", "note", "notes")
#: plain name in a header -> the place it means, to name the one that is missing
_MEANT = {
    "ifmapheight": "height",
    "ifmapwidth": "width",
    "filterheight": "filter_height",
    "filterwidth": "filter_width",
    "channels": "channels",
    "channel": "channels",
    "numfilter": "filters",
    "numfilters": "filters",
    "strides": "stride",
    "stride": "stride",
    "strideheight": "stride",
}


def plain(name: str) -> str:
    """A column's name without case, spaces and marks."""
    return "".join(c for c in name.lower() if c.isalnum())


def is_topology(header: list[str], rows: list[tuple[int, list[str]]]) -> bool:
    """Whether a file lists convolutions: its header says so, or its lines have their cells.

    rows : (line number, cells) of the file, header first.
    """
    if any(plain(name).startswith(_WORDS) for name in header):
        return True
    known = {"m", "n", "k"} <= {plain(name) for name in header}
    numbers = max((_leading_numbers(cells) for _, cells in rows), default=0)
    return not known and numbers >= len(PLACES) - 1


def load_topology(header: list[str], rows: list[tuple[int, list[str]]], path: Path) -> list[Gemm]:
    """The layers of a file as products.

    header : names of the columns, which decide nothing but what stands behind the stride.
    rows : (line number, cells) of each line that is not blank. path : for errors.
    Raises InputError with the line and the column of a cell that cannot be read.
    """
    _refuse_no_header(header, rows, path)
    layers = [_Line(line, cells, path) for line, cells in rows if any(cells[1:])]
    further = _further(header, layers, path)
    if not layers:
        raise InputError("has no layer", file=path)
    return [_layer(line, further) for line in layers]


def dense(value: str) -> bool:
    """Whether a sparsity n:m leaves nothing out; an empty cell is dense.

    value : the cell, n:m or empty.
    """
    kept, colon, group = (part.strip() for part in (value or "1:1").partition(":"))
    return bool(colon) and kept == group and kept.isdigit() and int(kept) > 0


def refuse_sparse(value: str, line: int, path: Path) -> None:
    """Refuse a layer that is not dense.

    value : the cell, n:m or empty.
    """
    if not dense(value):
        raise InputError(
            f"line {line}: only dense layers, 1:1, are read from a list",
            file=path,
            field="sparsity",
            value=value,
            hint="give densities with workload.sparsity",
        )


def is_number(cell: str) -> bool:
    """Whether a cell holds a number and no remark."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class _Line:
    """A line that describes a layer."""

    line: int
    cells: list[str]
    path: Path

    @property
    def name(self) -> str:
        """The name of the layer."""
        if not self.cells[0]:
            self._fail("cell is empty", 0, "name", "")
        return self.cells[0]

    def says(self, place: int, name: str) -> bool:
        """Whether a place holds more than a remark behind the last comma, which is not read.

        name : of its column. A word is a remark only where the name says so: `same` is a padding.
        """
        cell = self.cells[place] if place < len(self.cells) else ""
        remark = place == len(self.cells) - 1 and not is_number(cell) and plain(name) in _REMARKS
        return bool(cell) and not remark

    def number(self, place: int, field: str) -> int:
        """The whole number in a place, from 1 on."""
        cell = self.cells[place] if place < len(self.cells) else ""
        if not cell:
            self._fail("cell is empty", place, field, cell)
        try:
            return whole({field: cell}, field, self.path)
        except InputError as error:
            self._fail(error.problem, place, field, cell)
            raise

    def _fail(self, problem: str, place: int, field: str, cell: str) -> None:
        raise InputError(
            f"line {self.line}: {problem}",
            file=self.path,
            field=field,
            value=cell,
            hint=f"cell {place + 1} of the line; cells are {', '.join(PLACES)}",
        )


def _leading_numbers(cells: list[str]) -> int:
    """Numbers that follow the name without a gap."""
    count = 0
    for cell in cells[1:]:
        if not is_number(cell):
            break
        count += 1
    return count


def _refuse_no_header(header: list[str], rows: list[tuple[int, list[str]]], path: Path) -> None:
    """Refuse a first line that is a layer, which SCALE-Sim passes over, or that lacks a column."""
    if _leading_numbers(header):
        raise InputError(
            "line 1: unknown column",
            file=path,
            field=header[1],
            value=header[1],
            hint="the first line is the header, which is not read as a layer",
        )
    named = [name for name in header if name]
    missing = [place for place in PLACES[1:] if place not in map(_meaning, named)]
    complete = max((_leading_numbers(cells) for _, cells in rows), default=0) >= len(PLACES) - 1
    if missing and len(named) < len(PLACES) and not complete:
        raise InputError(
            "line 1: column is missing",
            file=path,
            field=missing[0],
            hint=f"columns are {', '.join(PLACES)}",
        )


def _meaning(name: str) -> str:
    return _MEANT.get(plain(name), "")


def _further(header: list[str], layers: list[_Line], path: Path) -> dict[int, str]:
    """place -> what it holds, for columns that the header names behind the stride."""
    meanings: dict[int, str] = {}
    for place, name in enumerate(header[len(PLACES) :], len(PLACES)):
        meaning = _FURTHER.get(plain(name), "")
        if name and not meaning and any(line.says(place, name) for line in layers):
            raise InputError(
                "line 1: unknown column", file=path, field=name, value=name, allowed=_shown()
            )
        if meaning not in ("", _RESULT) and meaning in meanings.values():
            raise InputError("line 1: duplicate column", file=path, field=name)
        meanings[place] = meaning
    return meanings


def _shown() -> Iterable[str]:
    return (*PLACES, "stride width", "batch size", "sparsity")


def _layer(line: _Line, further: dict[int, str]) -> Gemm:
    """A convolution as the product of its unrolled input (im2col) and its filters.

    A name with DP in it is a depthwise convolution in SCALE-Sim: a product for each channel.
    """
    sizes = {field: line.number(i, field) for i, field in enumerate(PLACES) if i}
    batch, stride_width = _behind(line, further, sizes["stride"])
    pixels = batch
    for size, window, stride in (
        ("height", "filter_height", sizes["stride"]),
        ("width", "filter_width", stride_width),
    ):
        if sizes[window] > sizes[size]:
            raise InputError(
                f"line {line.line}: the filter is larger than its input",
                file=line.path,
                field=window,
                value=sizes[window],
            )
        # topology_utils.topo_calc_hyperparams: ceil((input - filter + stride) / stride)
        pixels *= -(-(sizes[size] - sizes[window] + stride) // stride)
    area = sizes["filter_height"] * sizes["filter_width"]
    depthwise = "DP" in line.name
    k, count = (area, sizes["channels"]) if depthwise else (area * sizes["channels"], 1)
    if max(pixels, k) > LARGEST:
        raise InputError(
            f"line {line.line}: the layer is too large", file=line.path, field=line.name
        )
    return Gemm(line.name, pixels, sizes["filters"], k, count)


def _behind(line: _Line, further: dict[int, str], stride: int) -> tuple[int, int]:
    """Batch and stride along the width: what stands behind the stride says, or the defaults."""
    batch, stride_width = 1, stride
    for place in range(len(PLACES), len(line.cells)):
        cell = line.cells[place]
        meaning = further.get(place, "")
        remark = not meaning and not is_number(cell) and ":" not in cell
        if not cell or remark or meaning == _RESULT:
            continue
        last = place == len(line.cells) - 1
        if meaning == "sparsity" or (not meaning and ":" in cell and not last):
            refuse_sparse(cell, line.line, line.path)
        elif meaning == "batch":
            batch = line.number(place, "batch")
        elif meaning == "stride_width" or (place == len(PLACES) and not last):
            stride_width = line.number(place, "stride_width")
        elif is_number(cell) and cell != str(stride):
            raise InputError(
                f"line {line.line}: has more cells than the header",
                file=line.path,
                value=cell,
                hint="SCALE-Sim does not read behind the last comma: name the column, or end there",
            )
    return batch, stride_width
