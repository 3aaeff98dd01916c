"""Lists of matrix products: our CSV and SCALE-Sim's topology files, unchanged.

Ours has the header `name,M,N,K[,count]`. SCALE-Sim (scalesim 3.0.0, topology_utils.py)
ends each line with a comma, names its columns in any case and spacing, and also describes
convolutions, which become the products it runs itself: M output pixels, K inputs of a
filter, N filters. Its lines end where the header does, so what follows is a comment.
"""

from __future__ import annotations

from pathlib import Path

from elector.base.errors import InputError
from elector.base.table import read_csv
from elector.describe.formats.described import LARGEST, whole
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
_CONVOLUTION_COLUMNS = {
    "name": "name",
    "layer": "name",
    "layername": "name",
    "ifmapheight": "height",
    "ifmapwidth": "width",
    "filterheight": "filter_height",
    "filterwidth": "filter_width",
    "channels": "channels",
    "numfilter": "filters",
    "numfilters": "filters",
    "strides": "stride",
    "stride": "stride",
    "batchsize": "batch",
    "sparsity": "sparsity",
    "sparsityratio": "sparsity",
}
_GEMM_NEEDED = ("name", "m", "n", "k")
_CONVOLUTION_NEEDED = (
    "name",
    "height",
    "width",
    "filter_height",
    "filter_width",
    "channels",
    "filters",
    "stride",
)


def load_gemms(path: Path) -> Model:
    """The products of a CSV file as a model of family gemm."""
    header, rows = read_csv(path)
    convolution = any(_plain(name) == "ifmapheight" for name in header)
    columns = _columns(header, convolution, path)
    if not rows:
        raise InputError("has a header but no rows", file=path)
    convert = _convolution if convolution else _product
    gemms = tuple(convert(_entry(columns, line, cells, path), line, path) for line, cells in rows)
    return Model(name=path.stem, family="gemm", gemms=gemms, source=path.name)


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _columns(header: list[str], convolution: bool, path: Path) -> list[str]:
    """Our names of the file's columns, in the file's order."""
    while header and not header[-1]:  # SCALE-Sim's trailing comma
        header = header[:-1]
    known = _CONVOLUTION_COLUMNS if convolution else _GEMM_COLUMNS
    columns = []
    for name in header:
        if _plain(name) not in known:
            raise InputError(
                "line 1: unknown column",
                file=path,
                field=name or "(no name)",
                value=name,
                allowed=_CONVOLUTION_NEEDED if convolution else ("name", "M", "N", "K", "count"),
                hint="the header of a list of matrix products is name,M,N,K[,count]",
            )
        column = known[_plain(name)]
        if column in columns:
            raise InputError("line 1: duplicate column", file=path, field=name)
        columns.append(column)
    needed = _CONVOLUTION_NEEDED if convolution else _GEMM_NEEDED
    missing = [name for name in needed if name not in columns]
    if missing:
        raise InputError(
            "line 1: column is missing",
            file=path,
            field=missing[0],
            hint="the header of a list of matrix products is name,M,N,K[,count]",
        )
    return columns


def _entry(columns: list[str], line: int, cells: list[str], path: Path) -> dict[str, str]:
    """One row by column name; optional cells that are empty are left out."""
    extra = [cell for cell in cells[len(columns) :] if cell and not cell.startswith("#")]
    if extra:
        raise InputError(f"line {line}: has more cells than the header", file=path, value=extra[0])
    entry = {name: cell for name, cell in zip(columns, cells, strict=False) if cell}
    optional = {"count", "sparsity", "batch"}
    for name in columns:
        if name not in entry and name not in optional:
            raise InputError(f"line {line}: cell is empty", file=path, field=name)
    if entry.get("sparsity", "1:1") != "1:1":
        raise InputError(
            f"line {line}: only dense layers, 1:1, are read from a list",
            file=path,
            field="sparsity",
            value=entry["sparsity"],
            hint="give densities with workload.sparsity",
        )
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


def _convolution(entry: dict[str, str], line: int, path: Path) -> Gemm:
    """A convolution as the product of its unrolled input (im2col) and its filters.

    A name with DP in it is a depthwise convolution in SCALE-Sim: a product for each channel.
    """

    def number(key: str) -> int:
        return _number(entry, key, line, path)

    stride, channels = number("stride"), number("channels")
    pixels = 1
    for size, filter_size in (("height", "filter_height"), ("width", "filter_width")):
        if number(filter_size) > number(size):
            raise InputError(
                f"line {line}: the filter is larger than its input",
                file=path,
                field=filter_size,
                value=number(filter_size),
            )
        # topology_utils.topo_calc_hyperparams: ceil((input - filter + stride) / stride)
        pixels *= -(-(number(size) - number(filter_size) + stride) // stride)
    m = pixels * _number({"batch": "1", **entry}, "batch", line, path)
    window = number("filter_height") * number("filter_width")
    depthwise = "DP" in entry["name"]
    k, count = (window, channels) if depthwise else (window * channels, 1)
    if max(m, k) > LARGEST:
        raise InputError(f"line {line}: the layer is too large", file=path, field=entry["name"])
    return Gemm(entry["name"], m, number("filters"), k, count)
