"""Operations of the whole batch one after another, as in a program of one instruction stream."""

from __future__ import annotations

import functools

import numpy as np

from elector.cost.chain import Scheduled, chain, led
from elector.cost.stage import PASS
from elector.machines.contract import Activity, one_of
from elector.operations.rows import Operations

Array = np.ndarray


def in_order(
    ops: Operations, index: Array, activity: Activity, rows: Array, weight: Array | None = None
) -> dict[str, Array]:
    """What the rows of a stage wait for -> (D,) seconds; the longest decides.

    No sequence is ahead of another, and gradients of weights have their place in the order. What
    stays side by side is within an operation: its loads, the element-wise work streamed behind a
    product, and parameters that are fetched ahead, for which memory may be the longest.

    index : (D,) pair of each design, or (P,) the column of each layer. rows : (N,) their places.
    weight : (R, P) as in `Timing`, lowered in place where work is hidden; None: nobody asks.
    """
    designs = Scheduled.of(ops, index, activity)
    order = ops.once(("led", rows.tobytes()), functools.partial(led, ops, list(rows)))
    passed = chain(designs, order, one_of(activity), np.arange(len(ops.rows)), weight)
    loads = {name: activity.load(name, rows) for name in activity.busy}
    return {PASS: designs.sum(passed), **loads}
