"""How SCALE-Sim 3.0.0 counts cycles and stalls (`convention: scalesim`).

CALC mode finds the bandwidth that never stalls. In USER mode each of three interfaces (first
operand, second operand, result) moves so many words a cycle, a word being an element of any
format, and the memories hold words of a byte; the slowest interface is what a layer waits for.
What the first folds need is there before the first cycle.
"""

from __future__ import annotations

import numpy as np

from elector.machines.systolic.folds import Arrays, Sides, folds
from elector.machines.tiling import TILE_SHARE, Sought, tile_search
from elector.machines.units import Units
from elector.operations.rows import Operations

Array = np.ndarray


def cycles(s: Sides, a: Arrays) -> Array:
    """(N, D) cycles: whole folds one after another, minus one a layer; no drain for os.

    SCALE-Sim 3.0.0 reports 2 rows + cols + t - 2 a fold (os: rows + cols + t - 2), less one cycle
    a layer.
    """
    loads = np.where(a.os, 1.0, 2.0)
    number = folds(s.rows, a.rows) * folds(s.cols, a.cols)
    return s.batch * number * (loads * a.rows + a.cols + s.stream - 2.0) - 1.0


def words(ops: Operations, products: Array, pair: Array, size: Array) -> Array:
    """(3, N, Q) words that each interface moves for the products (N,), over all runs.

    pair : (Q,) places in the tables of `ops`. size : (Q,) words that the memories hold, half of
    which are filled while the others are used.
    """
    shape = products.size, pair.size
    m, k, n, batch, count = (
        values[products][:, pair].ravel() for values in (ops.m, ops.k, ops.n, ops.batch, ops.count)
    )
    limit = np.broadcast_to(size * TILE_SHARE / 2.0, shape).ravel()
    every = np.ones(m.size, dtype=bool)
    best = tile_search(Sought(m, k, n, 1.0, 1.0, 1.0, limit, m * k, k * n, every))
    runs = batch * count
    moved = np.stack(
        (runs * m * k * best.a_passes, runs * k * n * best.b_passes, runs * m * n * best.sums)
    )
    return moved.reshape(3, *shape)


def seconds(moved: Array, rate: Array) -> Array:
    """(N, D) seconds of the slowest interface; none where a rate (D,) [words/s] is not given.

    moved : (N, D) words on each interface.
    """
    given = rate > 0.0
    slowest = np.maximum(np.maximum(moved[0], moved[1]), moved[2])
    return np.where(given, slowest / np.where(given, rate, 1.0), 0.0)


def tables(ops: Operations, products: Array, pair: Array, plan_index: Array, units: Units) -> Array:
    """(3, products, Q) words of the peer's interfaces; none where nothing counts as it does."""
    if not units.equals("convention", "scalesim").any():
        return np.zeros((3, 0, 0))
    size = np.zeros(pair.size)
    size[plan_index] = units.number("sram")
    return words(ops, products, pair, size)
