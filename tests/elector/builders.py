"""Short ways to the insides of one design, for the tests in this folder."""

from __future__ import annotations

from typing import Any

import numpy as np

from elector.base.table import Column
from elector.evaluation.path import Chunk, inspect
from elector.evaluation.resolve import resolve
from elector.operations import Operations, build
from elector.technology import Technology


def columns(size: int, settings: dict[str, Any]) -> dict[str, Column]:
    """A table of `size` rows: lists and arrays are columns, everything else is constant."""
    table = {}
    for key, value in settings.items():
        many = isinstance(value, list | np.ndarray)
        table[key] = Column.of(value) if many else Column.constant(value, size)
    return table


def settings_of(model: str, accelerator: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Keywords as dotted keys: `batch` is workload.batch, `model__layers` model.layers."""
    named: dict[str, Any] = {"model": model, "accelerator": accelerator}
    for key, value in settings.items():
        dotted = key.replace("__", ".")
        known = dotted.startswith(("model.", "accelerator.", "workload."))
        named[dotted if known else f"workload.{dotted}"] = value
    return named


def operations(model: str, accelerator: str = "systolic", **settings: Any) -> Operations:
    """The operations of one (model, workload) pair."""
    table = columns(1, settings_of(model, accelerator, settings))
    group = next(iter(resolve(table, 1)))
    return build(group.models, group.workload)


def inside(model: str, accelerator: str = "systolic", **settings: Any) -> Chunk:
    """Everything behind the costs of one design."""
    return inspect(columns(1, settings_of(model, accelerator, settings)), Technology.load())


def macs(ops: Operations, **wanted: object) -> float:
    """Dense multiply-accumulates of the matrix products with these attributes."""
    rows = ops.where(matmul=True, **wanted)
    sizes = (ops.count, ops.batch, ops.m, *ops.whole_sides())
    return float(sum(np.prod([x[r, 0] for x in sizes]) for r in rows))


def row_of(ops: Operations, name: str, **wanted: object) -> int:
    """Index of the one row of that name."""
    (row,) = ops.where(name=name, **wanted)
    return int(row)
