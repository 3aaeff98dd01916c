"""What a step of one design waits for: the figures that its seconds are the largest sum of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elector.cost.schedule import Timing, in_order, rows_by_stage, stage_of, started
from elector.cost.stage import unchained
from elector.machines.contract import Activity
from elector.operations.rows import Operations

Array = np.ndarray


@dataclass(frozen=True)
class Account:
    """One stage of a step of one design.

    streams : into which the batch is split. start : seconds before the first operation.
    bounds : what is waited for -> seconds it works, and seconds it idles at least.
    """

    streams: float
    start: float
    bounds: dict[str, tuple[float, float]]

    @property
    def seconds(self) -> float:
        """The start, and whatever takes longest."""
        return self.start + max(works + waits for works, waits in self.bounds.values())

    @property
    def decides(self) -> str:
        """What takes longest."""
        return max(self.bounds, key=lambda name: sum(self.bounds[name]))


def accounts(
    ops: Operations, index: Array, activity: Activity, timing: Timing
) -> dict[str, Account]:
    """Stage -> account of the first design."""
    by_stage: dict[str, Account] = {}
    before = started(ops, index, activity)
    queued, ordered = (
        bool(np.broadcast_to(x, (1,))[0])
        for x in (activity.overlap.queued, activity.overlap.in_order)
    )
    for name, rows in rows_by_stage(ops).items():
        streams, zero = timing.streams[name], np.zeros(1)
        stage = None if queued or ordered else stage_of(ops, index, activity, rows)
        weight = np.array(activity.alone)
        if ordered and not queued:
            bounds = in_order(ops, index, activity, rows, weight)
        elif stage is None:
            bounds = {key: (load, zero) for key, load in unchained(activity, rows).items()}
        else:
            together = stage.together(weight)
            apart = stage.passed(streams) if streams[0] > 1.0 else together
            bounds = stage.bounds(together, apart, streams)
        start = float(np.broadcast_to(before.get(name, 0.0), (1,))[0])
        each = {key: (float(a[0]), float(b[0])) for key, (a, b) in bounds.items()}
        by_stage[name] = Account(float(streams[0]), start, each)
    return by_stage
