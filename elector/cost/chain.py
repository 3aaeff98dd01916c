"""What waits for what in a stage: rows one after another, streamed ones behind their product."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from elector.base.segments import Fold
from elector.base.table import columns
from elector.machines.contract import Activity, Count, Stream, Streams, streams_of, sum_rows
from elector.operations.rows import PARAMETERS, Operations, Row

Array = np.ndarray

_EVERYWHERE = np.ones(1, dtype=bool)


@dataclass(frozen=True, eq=False, repr=False)
class Scheduled:
    """Some designs of an activity, as a schedule reads them: D designs with P columns.

    pair : (P,) pair of each column, one a design where `fold` is None, else one a layer.
    streams : what one of n streams takes. designs, columns : places in the activity; None: all.
    """

    ops: Operations
    activity: Activity
    pair: Array
    streams: Streams
    fold: Fold | None
    designs: Array | None = None
    columns: Array | None = None

    @classmethod
    def of(cls, ops: Operations, index: Array, activity: Activity) -> Scheduled:
        """All designs; index (P,) names the pair of each column."""
        return cls(ops, activity, index, streams_of(activity), activity.fold)

    def some(self, designs: Array) -> Scheduled:
        """Some of them; designs (d,) : places among these."""
        columns, fold = (designs, None) if self.fold is None else self.fold.chosen(designs)
        return replace(
            self,
            pair=self.pair[columns],
            streams=self.streams.some(columns),
            fold=fold,
            designs=designs if self.designs is None else self.designs[designs],
            columns=columns if self.columns is None else self.columns[columns],
        )

    @property
    def first(self) -> Array:
        """(D,) pair of each design."""
        return self.pair if self.fold is None else self.fold.first(self.pair)

    def whole(self, values: Array) -> Array:
        """(D,) sums of (P,) values of columns."""
        return values if self.fold is None else self.fold.sum(values)

    def spread(self, values: Array) -> Array:
        """(P,) values of (D,) designs for each of their columns."""
        return values if self.fold is None else self.fold.spread(values)

    def sum(self, rows: Array) -> Array:
        """(D,) sums over (R, P)."""
        return self.whole(sum_rows(rows))

    def each(self, resource: str, rows: Array) -> Array:
        """(N, P) busy seconds of a resource in some rows."""
        seconds = self.activity.busy[resource]
        if isinstance(seconds, Count):
            index = seconds.index if self.columns is None else seconds.index[self.columns]
            return seconds.values[rows[:, None], index]
        return self._chosen(seconds, rows)

    def summed(self, resource: str) -> bool:
        """Whether the seconds of a resource are kept as sums over rows."""
        seconds = self.activity.busy[resource]
        return isinstance(seconds, Count) and seconds.group is not None

    def beside(self, rows: Array) -> Array | None:
        """(N, P) bool, rows whose heads stand side by side; None: nowhere."""
        beside = self.activity.overlap.beside
        return None if beside is None else self._chosen(beside, rows)

    def fuses(self, row: int) -> Array:
        """(P,) bool, streamed rows run behind the product `row` at once."""
        return self._of_designs(self.activity.of(row).fuse)

    def room(self, row: int) -> Array | None:
        """(P,) seconds for which parameters of a row may be fetched ahead; None: none are."""
        ahead = self.activity.of(row).ahead
        return None if ahead is None else self._of_designs(ahead.room / ahead.bandwidth)

    def _of_designs(self, values: Array) -> Array:
        return self.spread(values if self.designs is None else values[self.designs])

    def _chosen(self, values: Array, rows: Array) -> Array:
        if self.columns is None:
            return values[rows]
        return values[rows[:, None], self.columns]


def groups(rows: tuple[Row, ...], subset: list[int]) -> list[tuple[int, list[int]]]:
    """Each row with the streamed rows that follow it.

    subset : places of rows, in their order.
    """
    led: list[tuple[int, list[int]]] = []
    for i in subset:
        leader = rows[led[-1][0]] if led else None
        follows = leader is not None and leader.matmul and leader.place == rows[i].place
        if rows[i].streamed and follows:
            led[-1][1].append(i)
        else:
            led.append((i, []))
    return led


def chain(
    designs: Scheduled,
    led: list[tuple[int, list[int]]],
    stream: Stream,
    place: Array,
    weight: Array | None = None,
) -> Array:
    """(N, P) seconds of rows of one stream, in N pieces one after another.

    Streamed rows run behind their producer: the last product before them that a design has.
    Weights are fetched ahead while other work runs, in each run as far as there is room.

    led : as `groups` has them. stream : what the rows take; place (R,) : where each stands in it.
    weight : (R, P) of all rows, lowered where they are hidden, in place.
    """
    leaders = np.array([leader for leader, _ in led], dtype=np.intp)
    followed, missing = _followed(designs, led, stream, place)
    if weight is not None and weight.size:
        _lower(weight, stream.alone[place[leaders]], followed)

    def behind(values: Array, some: Array) -> Array:
        """(n, P) seconds of some of the leaders and of the streamed rows behind them."""
        seconds = values[place[leaders[some]]]
        for i, at in enumerate(some):
            if at in followed:
                own, _, fuse = followed[at]
                seconds[i] += own - np.minimum(seconds[i], own) * fuse
        return seconds

    every = np.arange(leaders.size)
    whole = behind(stream.alone, every)
    fetched, room = _fetched(designs, leaders)
    if fetched.size:
        spare = room * columns(designs.ops.count[leaders[fetched]], designs.pair)
        least = behind(stream.ahead, fetched)
        whole[fetched] = np.maximum(least, whole[fetched] - spare)
    if stream.turned is not None:
        whole = np.minimum(whole, behind(stream.turned, every))
    return np.concatenate([whole, *(seconds[None] for seconds in missing)]) if missing else whole


_Followed = tuple[Array, list[tuple[int, Array]], Array]


def _followed(
    designs: Scheduled, led: list[tuple[int, list[int]]], stream: Stream, place: Array
) -> tuple[dict[int, _Followed], list[Array]]:
    """Of leaders, by place: (P,) seconds of the streamed rows behind them, which rows those are
    and where, and (P,) bool, whether they run at once; and (P,) seconds of rows whose leader is
    missing."""
    ops, pair = designs.ops, designs.pair
    followed: dict[int, _Followed] = {}
    missing: list[Array] = []
    late: list[tuple[int, Array]] = []  # streamed rows, and where their product is missing
    waits: Array | float = 0.0  # their seconds there
    for i in range(len(led) - 1, -1, -1):
        leader, own = led[i]
        rows = [(r, _EVERYWHERE) for r in own] + late
        if not rows:
            continue
        seconds = (sum_rows(stream.alone[place[own]]) if own else np.zeros(pair.size)) + waits
        there = ops.count[leader][pair] > 0
        late, waits = [], 0.0
        # Of all workloads, so that some of the designs have the same rows as all of them.
        if not (ops.count[leader] > 0).all():
            above = ops.rows[led[i - 1][0]] if i else None
            waits = np.where(there, 0.0, seconds)
            if above is not None and above.matmul and above.place == ops.rows[leader].place:
                late = [(r, where & ~there) for r, where in rows]
            else:
                missing.append(waits)
                waits = 0.0
            seconds = np.where(there, seconds, 0.0)
        followed[i] = seconds, rows, _fuse(designs, leader, rows)
    return followed, missing


def _lower(weight: Array, alone: Array, followed: dict[int, _Followed]) -> None:
    """Lowers the weight of rows where they are hidden, in place; alone (N, P) : of leaders."""
    for i, (behind, rows, fuse) in followed.items():
        shown = 1.0 - np.minimum(alone[i], behind) * fuse / np.maximum(behind, 1e-300)
        for row, where in rows:
            weight[row] *= shown if where is _EVERYWHERE else np.where(where, shown, 1.0)


def _fetched(designs: Scheduled, leaders: Array) -> tuple[Array, Array]:
    """(n,) which leaders have parameters that may be fetched ahead, and (n, P) seconds of room."""
    rooms: dict[int, Array | None] = {}  # of units
    fetched, room = [], []
    for i, leader in enumerate(leaders):
        row, unit = designs.ops.rows[leader], id(designs.activity.of(leader))
        if row.matmul and row.b in PARAMETERS:
            if unit not in rooms:
                rooms[unit] = designs.room(leader)
            own = rooms[unit]
            if own is not None:
                fetched.append(i)
                room.append(own)
    return np.array(fetched, dtype=np.intp), np.array(room)


def _fuse(designs: Scheduled, leader: int, followers: list[tuple[int, Array]]) -> Array:
    """Whether rows run behind their producer at once.

    What another unit runs comes across a link: only the producer's own rows follow at once.
    """
    fuse, unit = designs.fuses(leader), designs.activity.of(leader)
    for row, where in followers:
        if designs.activity.of(row) is not unit:
            fuse = fuse & ~(where & (designs.ops.count[row][designs.pair] > 0))
    return fuse
