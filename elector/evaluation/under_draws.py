"""Designs under S draws of the constants, without repeating what no constant has a say in.

What a machine does and how long it takes follows its settings alone, unless a limit of watts makes
the clock, or an action, wait for joules. So activity and time of N designs are computed once, and
only their prices S times: the S x N designs stand draw by draw.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from elector.cost.pricing import DRAW, price
from elector.cost.schedule import Timing
from elector.cost.supply import LOGIC, supplied
from elector.evaluation.chunk import Chunk
from elector.evaluation.resolve import StructureGroup
from elector.machines.contract import Activity
from elector.machines.counts import Count
from elector.machines.records import Gating, Remarks
from elector.operations import Operations
from elector.technology import Technology

Array = np.ndarray
#: Constants that decide which clocks silicon reaches, so whether a design can run at all.
_REACH = (LOGIC, "clock")


@dataclass(frozen=True, eq=False, repr=False)
class _CountAgain(Count):
    """A count of designs that stand several times: `once` at the places `again` (S x N,)."""

    once: Count | None = None
    again: Array | None = None

    def total(self, rows: Array | None = None) -> Array:
        """(S x N,) sum over the rows, or over some of them."""
        assert self.once is not None and self.again is not None
        return self.once.total(rows)[self.again]


@dataclass(frozen=True, eq=False, repr=False)
class _TimingAgain(Timing):
    """The timing of designs that stand several times: `once` at the places `again` (S x N,)."""

    once: Timing | None = None
    again: Array | None = None

    def share(self, ops: Operations, field: str) -> dict[str, Array]:
        """Seconds by `kind` or `phase`, each (S x N,)."""
        assert self.once is not None
        return {name: x[self.again] for name, x in self.once.share(ops, field).items()}


def places(rows: Array, size: int, draws: int) -> Array:
    """(S x N,) places among the results of S draws of `size` designs of those at `rows` (N,)."""
    return (np.arange(draws)[:, None] * size + rows).ravel()


def repeated(group: StructureGroup, rows: Array, draws: int) -> StructureGroup:
    """Some designs of a group once for each of S draws.

    rows : (N,) places in the group.
    """
    again = np.tile(rows, draws)
    units = group.units.take(again).replace(**{DRAW: np.repeat(np.arange(draws), rows.size) + 0.0})
    return replace(
        group, rows=np.arange(again.size), units=units, pair=group.pair[again], said={}, table=None
    )


def apart(chunk: Chunk, technology: Technology) -> bool:
    """Whether no price has a say in what the designs of a chunk do and how long it takes."""
    reached = any(
        isinstance(row.value, np.ndarray)
        for row in technology.rows
        if (row.part, row.quantity) == _REACH
    )
    activity = chunk.activity
    free = activity.power is None and activity.cells is None and activity.members is None
    return free and chunk.machine.hybrid is None and not reached


def under_draws(chunk: Chunk, technology: Technology) -> Chunk:
    """N designs that `apart` is true of, S times over: the same activity, each draw's prices."""
    draws, size = technology.draws, chunk.units.size
    again = np.tile(np.arange(size), draws)
    units = chunk.units.take(again).replace(**{DRAW: np.repeat(np.arange(draws), size) + 0.0})
    prices = price(chunk.machine, units, chunk.ops.format.compute, technology)
    return replace(
        chunk,
        index=chunk.index[again],
        activity=_activity(chunk.activity, again),
        prices=supplied(chunk.machine, units, prices, technology),
        timing=_timing(chunk.timing, again),
        units=units,
        notes={},
    )


def _activity(once: Activity, again: Array) -> Activity:
    """What results are made of, at the places `again`."""

    def count(of: Count) -> Count:
        return _CountAgain(of.values, of.index, of.fold, of.group, of, again)

    def of(values: Array) -> Array:
        return np.broadcast_to(values, (int(again.max()) + 1,))[again]

    told, gating = once.told, once.gating
    return replace(
        once,
        counts={name: count(each) for name, each in once.counts.items()},
        executed=of(once.executed),
        peak=of(once.peak),
        limits={name: (of(need), of(have)) for name, (need, have) in once.limits.items()},
        gating=Gating(
            {part: count(each) for part, each in gating.awake.items()},
            {part: of(share) for part, share in gating.residue.items()},
        ),
        told=Remarks(
            extra={name: of(values) for name, values in told.extra.items()},
            largest=None if told.largest is None else of(told.largest),
        ),
    )


def _timing(once: Timing, again: Array) -> Timing:
    return _TimingAgain(
        once.seconds[again],
        {stage: seconds[again] for stage, seconds in once.stages.items()},
        {stage: streams[again] for stage, streams in once.streams.items()},
        once.weight,
        once.fold,
        once.aside,
        once,
        again,
    )
