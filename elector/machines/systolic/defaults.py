"""What a systolic machine takes where a setting is left to it: rows of data/systolic.csv."""

from __future__ import annotations

import functools

import numpy as np

from elector.base.table import DATA, read_rows
from elector.base.units import parse
from elector.machines.contract import Units
from elector.operations.rows import Operations

Array = np.ndarray

TABLE = "systolic.csv"
#: Bytes of a partial sum.
SUM = 4.0


@functools.cache
def constants() -> dict[str, float]:
    """The rows by their quantity, in SI."""
    return {
        row["quantity"]: parse(row["value"], row["unit"], field=row["quantity"])
        for row in read_rows(DATA / TABLE)
    }


def columns_of(units: Units) -> Array:
    """(D,) columns of all arrays of the designs."""
    return units.number("cols") * units.number("arrays")


def port(units: Units) -> Array:
    """(D,) bytes a second that the port of a vector memory moves by default."""
    return constants()["port_bytes"] * columns_of(units) * units.number("clock")


def sums(units: Units) -> Array:
    """(D,) bytes of partial sums under the columns by default; os arrays keep them in cells."""
    rows = constants()["sum_rows"] * SUM * columns_of(units)
    return np.where(units.equals("dataflow", "os"), 0.0, rows)


def cited(ops: Operations, units: Units) -> list[dict[str, object]]:
    """The rows that seconds of the first design rest on: of settings that were left to it.

    ops : its operations. units : its settings, completed.

    Each with `name`, `value`, `unit`, `low`, `high`, `evidence`, `source` and its `table`.
    """
    first = units.take(slice(0, 1))
    taken = {
        "port_bytes": (first.number("vector_memory") > 0)
        & ~first.equals("convention", "scalesim")
        & (first.number("vector_memory_bandwidth") == port(first)),
        "sum_rows": (sums(first) > 0) & (first.number("accumulators") == sums(first)),
    }
    return [
        {
            "name": f"systolic.{row['quantity']}",
            "value": float(row["value"]),
            "unit": row["unit"],
            "low": float(row["low"]),
            "high": float(row["high"]),
            "evidence": row["evidence"],
            "source": row["source"],
            "table": TABLE,
        }
        for row in read_rows(DATA / TABLE)
        if taken[row["quantity"]].all()
    ]
