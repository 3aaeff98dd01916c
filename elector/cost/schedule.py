"""Seconds of rows -> seconds of a step.

Operations of one sequence wait for each other; n independent sequences fill the gaps. With
L the busiest resource's seconds for all of them and C the seconds of all of them one after
another, no schedule is faster than max(L, C / n). In a pipeline of periods (layers) a resource
idles once, while the first sequence passes its first period and the last its last one:

    T = max(L + F, C / n),   F = (C - L) / (n periods)

This is exact for n = 1, and for a two-machine flow shop of any n and number of periods
(Johnson 1954); charging the fill of the whole chain instead is up to 47 % high at n = 2.
Inside attention, heads are streams as well. Gradients of weights are off the chain. A machine
that works on the whole batch at once does none of this (`in_order`).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np

from elector.base.segments import Fold
from elector.base.table import distinct
from elector.cost.chain import Scheduled
from elector.cost.stage import Passed, Stage, most_of, unchained
from elector.describe.workload import PROMPTS
from elector.machines.contract import Activity, sum_rows
from elector.operations.roles import RowPart
from elector.operations.rows import Operations

Array = np.ndarray

#: Phases of a stage may overlap; stages follow one another.
STAGES: dict[str, tuple[str, ...]] = {
    "step": ("forward", "prefill", "recompute", "backward"),
    "prefill_more": ("prefill_more",),
    "decode": ("decode",),
    "update": ("update",),
}


@dataclass(frozen=True, eq=False, repr=False)
class Timing:
    """Seconds of D designs.

    seconds : (D,) of the whole step.
    stages : stage -> (D,). streams : stage -> (D,) into which the batch is split.
    weight : (R, D) a row's own part of its stage's seconds before overlap; 0 where hidden.
        Where layers have columns of their own, (R, P).
    fold : how those columns belong together, or None.
    aside : kind -> (R, D) share of a row's seconds that are shown under that kind.
    """

    seconds: Array
    stages: dict[str, Array]
    streams: dict[str, Array]
    weight: Array
    fold: Fold | None = None
    aside: dict[str, Array] = field(default_factory=dict)

    def share(self, ops: Operations, field: str) -> dict[str, Array]:
        """Seconds by `kind` or `phase`, which sum to the whole: each stage by its rows' weights."""
        shares: dict[str, Array] = {}
        for stage, phases in STAGES.items():
            rows = [i for i, row in enumerate(ops.rows) if row.phase in phases]
            if not rows:
                continue
            whole = np.maximum(self._sum(rows), 1e-300)
            for name in dict.fromkeys(getattr(ops.rows[i], field) for i in rows):
                part = [i for i in rows if getattr(ops.rows[i], field) == name]
                own = self._sum(part)
                for kind, share in self.aside.items() if field == "kind" else ():
                    other = self._sum(part, share)
                    seconds = self.stages[stage] * (other / whole)
                    shares[kind] = shares.get(kind, 0.0) + seconds
                    own = own - other
                shares[name] = shares.get(name, 0.0) + self.stages[stage] * (own / whole)
        return shares

    def _sum(self, rows: list[int], share: Array | None = None) -> Array:
        seconds = self.weight[rows] if share is None else self.weight[rows] * share[rows]
        total = sum_rows(seconds)
        return total if self.fold is None else self.fold.sum(total)


def schedule(ops: Operations, index: Array, activity: Activity) -> Timing:
    """Overlap what can overlap; index (D,) names the pair of each design.

    Where layers have columns of their own, index (P,) names the column of each.
    """
    total, stages, streams = activity.start, {}, {}
    weight = np.array(activity.alone)
    for stage, rows in rows_by_stage(ops).items():
        stages[stage], streams[stage] = _stage(ops, index, activity, rows, weight)
        total = total + stages[stage]
    for stage, seconds in started(ops, index, activity).items():
        stages[stage] = stages[stage] + seconds
    alone = np.maximum(activity.alone, 1e-300)
    aside = {kind: np.minimum(x / alone, 1.0) for kind, x in activity.told.aside.items()}
    return Timing(total, stages, streams, weight, activity.fold, aside)


def started(ops: Operations, index: Array, activity: Activity) -> dict[str, Array]:
    """Stage -> (D,) seconds before its operations: of the first, all that the step has.

    Where prompts are read in passes of two sizes, each pass has as much of it.

    index : (D,) pair of each design, or (P,) the column of each layer.
    """
    first = next(iter(rows_by_stage(ops)))
    workload, more = ops.workload, PROMPTS[1]
    if not any(row.phase == more for row in ops.rows):
        return {first: activity.start}
    pair = index if activity.fold is None else activity.fold.first(index)
    share = (workload.passes(more) / workload.prompt_passes)[pair]
    return {first: activity.start * (1.0 - share), more: activity.start * share}


def rows_by_stage(ops: Operations) -> dict[str, Array]:
    """Stage -> (N,) places of its rows, of the stages that have any; found once."""
    return ops.once(("stages",), functools.partial(_rows_by_stage, ops))


def _rows_by_stage(ops: Operations) -> dict[str, Array]:
    rows = {
        stage: np.array([i for i, row in enumerate(ops.rows) if row.phase in phases], dtype=int)
        for stage, phases in STAGES.items()
    }
    return {stage: places for stage, places in rows.items() if places.size}


def _stage(
    ops: Operations, index: Array, activity: Activity, rows: Array, weight: Array
) -> tuple[Array, Array]:
    """(D,) seconds of the rows of a stage, and the streams in which they take the least."""
    pair = index if activity.fold is None else activity.fold.first(index)
    ordered = np.broadcast_to(activity.overlap.in_order, pair.shape)
    if not ordered.any():
        return _overlapped(ops, index, activity, rows, weight)
    own, one = np.array(weight), np.ones(pair.size)
    waits = in_order(ops, index, activity, rows, own)
    seconds = most_of([busy + idle for busy, idle in waits.values()])
    if ordered.all():
        weight[rows] = own[rows]
        return seconds, one
    best, streams = _overlapped(ops, index, activity, rows, weight)
    weight[rows] = np.where(activity.spread(ordered), own[rows], weight[rows])
    return np.where(ordered, seconds, best), np.where(ordered, one, streams)


def in_order(
    ops: Operations, index: Array, activity: Activity, rows: Array, weight: Array
) -> dict[str, tuple[Array, Array]]:
    """What the rows of a stage wait for where one operation of the whole batch runs after another,
    as in a program of one instruction stream -> (D,) seconds it works, and idles at least.

    No sequence is ahead of another, gradients of weights have their place in the order, and heads
    share their operation. What stays side by side is within an operation: its loads, the
    element-wise work streamed behind a product, and parameters that are fetched ahead, for which
    memory may be the longest, or units and memory in turn. Whatever bounds one stream of another
    order bounds this one, too.

    weight : (R, P) as in `Timing`, lowered in place where work is hidden.
    """
    waits = Stage(Scheduled.of(ops, index, activity), rows, rows).in_order(weight)
    stage = stage_of(ops, index, activity, rows)
    if stage is None:
        return waits
    together = stage.together(np.array(activity.alone))
    for name, (busy, idle) in stage.bounds(together, together, together.streams).items():
        works, waiting = waits[name]
        longer = busy + idle > works + waiting
        waits[name] = np.where(longer, busy, works), np.where(longer, idle, waiting)
    return waits


def _overlapped(
    ops: Operations, index: Array, activity: Activity, rows: Array, weight: Array
) -> tuple[Array, Array]:
    """`_stage` of designs whose sequences may follow one another."""

    def most() -> Array:
        return most_of(list(unchained(activity, rows).values()))

    # Of a hybrid, the designs in which nothing waits for another unit.
    pair = index if activity.fold is None else activity.fold.first(index)
    queued = np.broadcast_to(activity.overlap.queued, pair.shape)
    stage = None if queued.all() else stage_of(ops, index, activity, rows)
    if stage is None:
        return most(), np.ones(pair.size)
    best, streams = _split(stage, stage.together(weight))
    if queued.any():
        return np.where(queued, most(), best), np.where(queued, 1.0, streams)
    return best, streams


def stage_of(ops: Operations, index: Array, activity: Activity, rows: Array) -> Stage | None:
    """The rows of a stage and how they wait for each other; None where none of them does.

    rows : (N,) places of the rows.
    """
    chained = np.array([i for i in rows if _waited_for(ops, i, activity)], dtype=np.intp)
    return Stage(Scheduled.of(ops, index, activity), rows, chained) if chained.size else None


def _waited_for(ops: Operations, i: int, activity: Activity) -> bool:
    """Whether something waits for a row: for an operand its product, if another unit unpacks it."""
    if ops.rows[i].part is RowPart.UNPACKED:
        return activity.of(i).overlap.unpacks
    return not ops.rows[i].off_chain


def _split(stage: Stage, together: Passed) -> tuple[Array, Array]:
    """(D,) seconds with the batch in the number of streams that takes the least, and the number.

    Tried are all sequences together, each on its own, and 2, 4, 8 ... streams: numbers that do
    not depend on what a sequence is, so that a shorter one may be split like a longer one. The
    number that is bounded lowest comes first; then those that may still take less. A design
    takes only what it would try alone: another formula for the same seconds may differ in the last
    bit, and what stands beside it must not decide which one it gets.
    """
    best, chosen = stage.seconds(together, together, together.streams), together.streams + 0.0
    streams = stage.streams
    split = streams > 1.0
    if split.any():
        split &= stage.least(together, None, streams) < best
    several = np.flatnonzero(split)
    if not several.size:
        return best, chosen
    if several.size < streams.size:
        together = together.some(several, stage.columns(several))
        stage, streams = stage.some(several), streams[several]
    least, taken = best[several], chosen[several]
    seconds, apart = stage.tried(together, streams, least)
    taken = np.where(seconds < least, streams, taken)
    least = np.minimum(least, seconds)
    number = _numbers(streams)
    bound = np.full(number.shape, np.inf)
    for own, n in zip(bound, number, strict=True):
        own[:] = np.where(n > 1.0, stage.least(together, apart, n), np.inf)
    lowest = np.arange(len(number))[:, None] == (bound.argmin(axis=0) if len(number) else 0)
    for first in (lowest, ~lowest):
        which, may = np.nonzero(first & (bound < least))
        if may.size:
            n, one = number[which, may], together.some(may, stage.columns(may))
            seconds, _ = stage.some(may).tried(one, n, least[may])
            order = np.lexsort((seconds, may))
            order = order[distinct(may[order])[1]]  # of each design its best
            order = order[seconds[order] < least[may[order]]]
            least[may[order]], taken[may[order]] = seconds[order], n[order]
    best[several], chosen[several] = least, taken
    return best, chosen


def _numbers(streams: Array) -> Array:
    """(N, D) powers of two below (D,) numbers of streams, the largest first; 1: none is left."""
    most = np.floor(np.log2(np.maximum(streams - 1.0, 1.0)))
    return np.maximum(2.0 ** (most - np.arange(most.max())[:, None]), 1.0)
