"""What a machine reports of D designs: seconds, counts and limits; nothing here is a joule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from elector.base.segments import Fold
from elector.machines.counts import Count, sum_rows, total
from elector.machines.records import (
    ActivityRecord,
    Ahead,
    Cells,
    Details,
    Gating,
    Overlap,
    Power,
    Remarks,
    Unit,
)
from elector.operations.rows import Operations

Array = np.ndarray

#: What is said of a clock that a node does not reach, and of a bandwidth that a type of memory does
#: not deliver.
CLOCK = "clock: asks for {needed_hz}, published silicon of the node reaches {available_hz}"
BANDWIDTH = "main memory: asks for {needed_rate}, channels of this type deliver {available_rate}"
#: What is said of a design that exceeds its power limit at every clock, or when it idles.
POWER = "power: needs {needed_w} without a clock, has {available_w}"
#: Limits of what can be built. All others are of what a unit is given to do or to hold.
BUILT = (CLOCK, BANDWIDTH, POWER)


@dataclass(frozen=True, eq=False, repr=False)
class Activity:
    """What D designs do with R operations: a core that every machine reports, and records
    (elector.machines.records) of what only some of them do.

    busy : resource -> (R, D) seconds over all runs of a row, as an array or as a Count.
    alone : (R, D) seconds of a row when nothing else runs beside it.
    cycles : (R, D) clock cycles of the unit that computes the row.
    counts : action -> Count.
    executed : (D,) multiply-accumulates the peak is compared with.
    peak : (D,) multiply-accumulates a second.
    limits : sentence -> (needed, available), each (D,): infeasible where needed > available.
    fuse : (D,) bool, streamed rows run behind the product that feeds them.
    start : (D,) seconds before the first operation can begin.
    overlap : how sequences follow one another. ahead : parameters that are fetched early; None:
        none are. power : the clock or an action under a limit of watts. cells : what writing
        wears out. gating : parts that are switched off while they wait. told : what a result
        says beside its figures. details : of each operation; None unless asked for.
    members : the units of a hybrid, as if each were alone.
    fold : None; where the designs' layers have columns of their own (P,), `busy`, `alone` and
        the rows of counts are (R, P). Everything else is (D,) all the same.
    """

    busy: dict[str, Array | Count]
    alone: Array
    cycles: Array
    counts: dict[str, Count]
    executed: Array
    peak: Array
    limits: dict[str, tuple[Array, Array]]
    fuse: Array
    start: Array
    overlap: Overlap = field(default_factory=Overlap)
    ahead: Ahead | None = None
    power: Power | None = None
    cells: Cells | None = None
    gating: Gating = field(default_factory=Gating)
    told: Remarks = field(default_factory=Remarks)
    details: Details | None = None
    members: Members | None = None
    fold: Fold | None = None

    @property
    def records(self) -> dict[str, ActivityRecord]:
        """Field -> record, of those the machine reports."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in named.items() if isinstance(value, ActivityRecord)}

    def of(self, row: int) -> Activity:
        """The activity of the unit that runs row `row`."""
        if self.members is None or self.members.owner[row] < 0:
            return self
        return self.members.activities[self.members.owner[row]]

    def load(self, resource: str, rows: Array | None = None) -> Array:
        """(D,) busy seconds of a resource, over the rows or some of them."""
        seconds = self.busy[resource]
        if isinstance(seconds, Count):
            return seconds.total(rows)
        return self.whole(sum_rows(seconds if rows is None else seconds[rows]))

    def whole(self, values: Array) -> Array:
        """(D,) sums of values of the columns."""
        return values if self.fold is None else self.fold.sum(values)

    def spread(self, values: Array) -> Array:
        """(D,) values for each of the columns."""
        return values if self.fold is None else self.fold.spread(values)

    def row(self, resource: str, r: int) -> Array:
        """(D,) busy seconds of a resource for row `r`."""
        seconds = self.busy[resource]
        return seconds.row(r) if isinstance(seconds, Count) else seconds[r]


@dataclass(frozen=True, eq=False, repr=False)
class Members:
    """The units of a hybrid.

    activities : of each, as if it were alone. owner : (R,) which of them runs a row (-1: a
    link). working : for each, (D,) whether it runs anything.
    """

    activities: tuple[Activity, ...]
    owner: Array
    working: tuple[Array, ...]


def folded(activity: Activity, fold: Fold) -> Activity:
    """The activity of designs of which each layer was computed as if it were a design.

    What a unit is and what a whole model needs is the same in all of them.
    """

    def one(values: Array) -> Array:
        return fold.first(np.broadcast_to(values, fold.of.shape))

    a = activity
    records: dict[str, Any] = {name: record.folded(fold) for name, record in a.records.items()}
    return replace(
        a,
        fold=fold,
        fuse=one(a.fuse),
        start=one(a.start),
        executed=one(a.executed),
        peak=one(a.peak),
        limits={text: (one(needed), one(has)) for text, (needed, has) in a.limits.items()},
        busy={k: c.folded(fold) if isinstance(c, Count) else c for k, c in a.busy.items()},
        counts={k: c.folded(fold) for k, c in a.counts.items()},
        **records,
    )


def joined(units: Sequence[Unit[Activity]], members: Members, start: Array) -> Activity:
    """The activities of a hybrid's units and links as one: what each does, side by side.

    start : (D,) seconds before the first operation. Every record merges itself.

    A unit without work holds and computes nothing, so it lacks room for nothing; a chip with it has
    to be built all the same.
    """
    works = [u for u in units if not u.link]
    known = {name: type(record) for u in units for name, record in u.activity.records.items()}
    records: dict[str, Any] = {name: kind.merge(units) for name, kind in known.items()}
    return Activity(
        busy={f"{u.start}{r}": x for u in units for r, x in u.activity.busy.items()},
        alone=total([u.activity.alone for u in units]),
        cycles=total([u.activity.cycles for u in works]),
        counts={f"{u.start}{k}": c for u in units for k, c in u.activity.counts.items()},
        executed=total([u.activity.executed for u in works]),
        peak=total([u.activity.peak for u in works]),
        limits={
            f"unit {u.name}: {text}": (
                needed if text in BUILT else np.where(u.works, needed, 0.0),
                available,
            )
            for u in works
            for text, (needed, available) in u.activity.limits.items()
        },
        fuse=np.zeros(start.size, bool) if len(works) > 1 else works[0].activity.fuse,
        start=start,
        members=members,
        **records,
    )


def gradients_limit(ops: Operations, index: Array) -> dict[str, tuple[Array, Array]]:
    """A limit broken where products of a backward pass run in a format that holds no gradients.

    index : (D,) pair of each design.
    """
    backward = ops.where(matmul=True, phase="backward")
    if ops.format.products.trains or not backward.size:
        return {}
    trains = (ops.count[backward] > 0).any(axis=0)[index] + 0.0
    text = f"the machine does not train: {ops.format.compute} holds no gradients"
    return {text: (trains, np.zeros(index.size))}
