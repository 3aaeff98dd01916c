"""The constants of kernels that seconds of a GPU rest on, each with its unit and source."""

from __future__ import annotations

import functools

from elector.base.table import DATA, read_rows
from elector.machines.contract import Units
from elector.machines.gpu.attention import STARTS
from elector.machines.gpu.kernels import TILES_OF, constants, family_tiles, narrow
from elector.machines.gpu.stacks import (
    ANY,
    VARIANTS,
    alone,
    as_timed,
    in_flash,
    quantised,
    quantising_kind,
    splits_of,
    stacks,
    streams_as_timed,
    tile_of,
)
from elector.operations.roles import Role
from elector.operations.rows import Operations


def cited(ops: Operations, units: Units) -> list[dict[str, object]]:
    """What the first design's kernels take: of its stack and, of products, of its family of chips.

    ops : its operations. units : its settings.

    Each with `name`, `value`, `unit`, `evidence`, `source` and the `table` it is a row of.
    """
    names, codes = units.names["architecture"]
    family, format = str(names[int(codes[0])]), ops.format.products
    cores = bool(units.flag("tensor")[0]) and format.significand <= constants().tensor_significand
    stack = stacks()[ops.workload.implementation]
    own = [name for name in TILES_OF if streams_as_timed(stack) or not name.startswith("stream_")]
    if not stack["latent.as_timed"]:
        own = [name for name in own if not name.startswith("latent_")]
    family = family if cores else ""
    cells = _of_products(family, format.name, as_timed(stack), own)
    latent = any(row.role is Role.KEY_VALUE_DOWN for row in ops.rows)
    cells = [cell for cell in cells if latent or "latent_" not in str(cell["name"])]
    if units.equals("ecc", "off")[0]:
        row = next(row for row in _rows("gpu.csv") if row["quantity"] == "ecc_off")
        cells.append(_cited("gpu.ecc_off", row, "value", "gpu.csv"))
    return [*_of_stack(ops), *cells]


def _of_stack(ops: Operations) -> list[dict[str, object]]:
    workload, table = ops.workload, _rows("implementations.csv")
    wanted = ["host", "kernel"]
    if not alone(ops.rows):
        wanted += ["step", *(["update"] if workload.training else [])]
    if quantised(ops.rows, workload).any():
        kind = quantising_kind(workload)
        wanted += [f"{kind}.{name}" for name in ("kernels", "bytes", "cycles")]
        wanted.append("outputs.wide")
    wanted += [splits_of(workload), tile_of(workload)]
    values = stacks()[workload.implementation]
    if values["kept.bytes"]:
        wanted += ["kept.bytes", "kept.kernels"]
    if values["row.cycles"] and any(row.matmul for row in ops.rows):
        wanted.append("row.cycles")
    if any(row.phase == "decode" and row.in_attention for row in ops.rows):
        wanted.append("stream.rate")
    if workload.attention == "flash" and any(in_flash(row) for row in ops.rows):
        wanted += [*STARTS, "flash.rate"]
    if any(row.role is Role.KEY_VALUE_DOWN for row in ops.rows):
        wanted += [row["quantity"] for row in table if row["quantity"].startswith("latent.")]
        wanted = list(dict.fromkeys(wanted))
    if workload.format.products.name in narrow():
        wanted.append("scaled.as_timed")
    stack = workload.implementation
    names = (ANY, VARIANTS.get(stack), stack)  # what a stack has of its own comes last
    rows = {row["quantity"]: row for own in names for row in table if row["stack"] == own}
    return [
        _cited(f"{rows[name]['stack']}.{name}", rows[name], "value", "implementations.csv")
        for name in wanted
        if name in rows
    ]


def _of_products(
    family: str, format: str, timed: bool, names: list[str]
) -> list[dict[str, object]]:
    """Constants of products; family : of chips, "" where what was timed on it does not count.

    timed : see `as_timed`. names : constants that the family may have of its own.
    """
    format, mine = family_tiles(family, format, timed)
    shared = {row["quantity"]: row for row in _rows("gpu.csv")}
    own: dict[str, str] = {}
    for row in _rows("gpu_products.csv"):
        if row["architecture"] == family and format in row["formats"].split("|"):
            own = row
    cells = []
    for name in TILES_OF:
        if name in mine and name in names:
            row = {**own, "unit": shared[name]["unit"]}
            cells.append(_cited(f"{family}.{format}.{name}", row, name, "gpu_products.csv"))
        else:
            cells.append(_cited(f"gpu.{name}", shared[name], "value", "gpu.csv"))
    return cells


def _cited(name: str, row: dict[str, str], value: str, table: str) -> dict[str, object]:
    return {
        "name": name,
        "value": float(row[value]),
        "unit": row["unit"],
        "evidence": row["evidence"],
        "source": row["source"],
        "table": table,
    }


@functools.cache
def _rows(name: str) -> list[dict[str, str]]:
    return read_rows(DATA / name)
