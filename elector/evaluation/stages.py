"""Stages of a step apart: what peak and main memory ask of the time of each at least."""

from __future__ import annotations

import numpy as np

from elector.cost.schedule import rows_by_stage
from elector.evaluation.chunk import Chunk
from elector.evaluation.formulas import memories

Array = np.ndarray


def stages_of(chunk: Chunk) -> dict[str, tuple[Array, Array]]:
    """Stage -> (D,) seconds, and the share of them that the busier of peak and main memory takes.

    That share is the utilization of the stage, or what it uses of the bandwidth: no stage takes
    less than that much of its time.
    """
    executed = _executed(chunk)
    known: dict[str, tuple[Array, Array]] = {}
    for stage, rows in rows_by_stage(chunk.ops).items():
        seconds = chunk.timing.stages[stage]
        least = executed[stage] / chunk.activity.peak
        for moved, rate in memories(chunk, rows).values():
            least = np.fmax(least, moved / rate)
        share = np.where(seconds > 0.0, least / np.where(seconds > 0.0, seconds, 1.0), 0.0)
        known[stage] = seconds, share
    return known


def _executed(chunk: Chunk) -> dict[str, Array]:
    """Stage -> (D,) executed multiply-accumulates: of all of them its part of the products."""
    by_stage = {stage: _products(chunk, rows) for stage, rows in rows_by_stage(chunk.ops).items()}
    whole = np.zeros(chunk.index.size)
    for products in by_stage.values():
        whole = whole + products
    each = chunk.activity.executed / np.where(whole > 0.0, whole, 1.0)
    return {stage: products * each for stage, products in by_stage.items()}


def _products(chunk: Chunk, rows: Array) -> Array:
    """(D,) multiply-accumulates of some rows (N,)."""
    ops, activity = chunk.ops, chunk.activity
    if activity.fold is not None:  # layers have columns of their own: what the machine counted
        return activity.counts["mac"].total(rows)
    total = np.zeros(ops.count.shape[1])
    for r in rows:
        if ops.rows[r].matmul:
            total = total + ops.count[r] * ops.batch[r] * ops.m[r] * ops.k[r] * ops.n[r]
    return total[chunk.index]
