"""What waits for what in a stage: rows one after another, streamed ones behind their product."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from elector.base.segments import Fold
from elector.base.table import columns
from elector.machines.contract import (
    Activity,
    Count,
    Hold,
    Stream,
    Streams,
    streams_of,
    sum_rows,
    total,
)
from elector.operations.rows import PARAMETERS, Operations, Row, unpacked

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

    def turns(self, rows: Array, here: Array) -> Array:
        """(N, p) bool, rows whose loads and computing take turns; here (p,) : columns of these."""
        turns = self.activity.overlap.turns
        assert turns is not None  # where none takes turns, nothing is held
        places = here if self.columns is None else self.columns[here]
        return turns[rows].take(places, axis=1, mode="clip")

    def holds(self, rows: Array) -> list[Hold]:
        """Each `Hold` of some rows (N,)."""
        size = self.activity.alone.shape[1]
        return [h.of(rows, size, self.columns) for h in self.activity.overlap.holds]

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


@dataclass(frozen=True, eq=False, repr=False)
class Behind:
    """A streamed row and what it may run behind.

    row : its place. above : places of rows above it, from the nearest to the last that may lead it;
    of these a design's nearest decides. always : whether that is one row in all designs.
    """

    row: int
    above: tuple[int, ...]
    always: bool


@dataclass(frozen=True, eq=False, repr=False)
class Led:
    """Rows of a stage one after another, and streamed ones behind their products.

    rows : (N,) places of the rows that stand by themselves in some design. behind : streamed rows
    in their order. unpacked : product -> the row that unpacks its operand.
    """

    rows: Array
    behind: tuple[Behind, ...]
    unpacked: dict[int, int] = field(default_factory=dict)


def led(ops: Operations, subset: list[int]) -> Led:
    """Which rows of a stage stand by themselves, and which run behind a product.

    A streamed row runs behind the nearest row above it, other streamed rows apart, if that is a
    product of the same place. Only rows that a design has count: what others beside it have in
    between (a product, a transfer between two units) does not part them. An operand is unpacked as
    its product takes it up, which stands below, behind what the product's unit is sent first.

    subset : places of rows, in their order.
    """
    rows, patterns = ops.rows, _Patterns(ops)
    alone: list[int] = []
    behind: list[Behind] = []
    products: set[object] = set()  # places that have one
    here = set(subset)
    packed = {product: r for r, product in unpacked(rows) if r in here and product in here}
    aside = set(packed.values())
    for r in subset:
        if r in aside:
            continue
        above: list[int] = []
        if rows[r].streamed and rows[r].place in products:
            above = _above(rows, patterns, alone, r)
        always = len(above) == 1 and patterns.covers(above[0], r)
        if above:
            behind.append(Behind(r, tuple(above), always))
        if not always:
            alone.append(r)
        if rows[r].matmul:
            products.add(rows[r].place)
    return Led(np.array(alone, dtype=np.intp), tuple(behind), packed)


def _above(rows: tuple[Row, ...], patterns: _Patterns, alone: list[int], r: int) -> list[int]:
    """Rows above a streamed one, from the nearest to the last product that may lead it."""
    above: list[int] = []
    for q in reversed(alone):
        if rows[q].off_chain or (rows[q].streamed and rows[q].place == rows[r].place):
            continue  # a gradient of weights leads nothing
        above.append(q)
        if patterns.covers(q, r):
            break
    while above and not _leads(rows, above[-1], r):
        above.pop()
    return above


def _leads(rows: tuple[Row, ...], q: int, r: int) -> bool:
    """Whether a streamed row runs behind another one above it if nothing is between them."""
    return rows[q].matmul and rows[q].place == rows[r].place


class _Patterns:
    """Which workloads have which rows."""

    def __init__(self, ops: Operations) -> None:
        packed = np.packbits(ops.count > 0, axis=1)
        self.of = [row.tobytes() for row in packed]
        self.known: dict[tuple[bytes, bytes], bool] = {}

    def covers(self, q: int, r: int) -> bool:
        """Whether all workloads that have row `r` have row `q`."""
        key = self.of[q], self.of[r]
        if key[0] == key[1]:
            return True
        if key not in self.known:
            one, other = (np.frombuffer(x, dtype=np.uint8) for x in key)
            self.known[key] = not (other & ~one).any()
        return self.known[key]


def chain(
    designs: Scheduled,
    led: Led,
    stream: Stream,
    place: Array,
    weight: Array | None = None,
) -> Array:
    """(N, P) seconds of rows of one stream, in N pieces one after another.

    Streamed rows run behind their producer: the last product before them that a design has. What
    is unpacked for a product is so beside it, by the unit that the streamed rows wait for, too.
    Weights are fetched ahead while other work runs, in each run as far as there is room.

    stream : what the rows take; place (R,) : where each stands in it. weight : (R, P) of all rows,
    lowered where they are hidden, in place.
    """
    leaders, stands = led.rows, dict(zip(led.rows.tolist(), range(led.rows.size), strict=True))
    followed, alone = _followed(designs, led, stream, place)
    if weight is not None and weight.size:
        _lower(weight, stream.alone[place], followed, led.unpacked)

    def behind(values: Array, some: Array, at: Array | None = None) -> Array:
        """(n, P) seconds of some of the leaders, of what is unpacked for them, and of the streamed
        rows behind them.

        at : (P,) columns of the values; None: all.
        """

        def of(whole: Array) -> Array:
            return whole if at is None else whole[at]

        seconds = values[place[some]]
        for i, row in enumerate(some.tolist()):
            spare = seconds[i]  # of the unit that unpacks, and runs what is streamed
            if row in led.unpacked:
                own = of(stream.alone[place[led.unpacked[row]]])
                spare = np.maximum(seconds[i] - own, 0.0)
                seconds[i] = np.maximum(seconds[i], own)
            if row in followed:
                own, fuse = of(followed[row][0]), of(followed[row][2])
                seconds[i] += own - np.minimum(spare, own) * fuse
            elif row in alone:
                seconds[i] = np.where(of(alone[row]), seconds[i], 0.0)
        return seconds

    whole = behind(stream.alone, leaders)
    fetched, room = _fetched(designs, leaders)
    if fetched.size:
        spare = room * columns(designs.ops.count[fetched], designs.pair)
        least = behind(stream.ahead, fetched)
        at = [stands[row] for row in fetched.tolist()]
        whole[at] = np.maximum(least, whole[at] - spare)
    if stream.turned is not None:
        some = stream.turned.designs
        whole[:, some] = np.minimum(whole[:, some], behind(stream.turned.seconds, leaders, some))
    return whole


_Followed = tuple[Array, list[tuple[int, Array]], Array]


def _followed(
    designs: Scheduled, led: Led, stream: Stream, place: Array
) -> tuple[dict[int, _Followed], dict[int, Array]]:
    """Of products: (P,) seconds of the streamed rows behind them, which rows those are and where,
    and (P,) bool, whether they run at once; and of streamed rows that follow none everywhere:
    (P,) bool, where they stand by themselves."""
    rows, count = designs.ops.rows, designs.ops.count
    follow: dict[int, list[tuple[int, Array]]] = {}
    alone: dict[int, Array] = {}
    for each in led.behind:
        if each.always:
            follow.setdefault(each.above[0], []).append((each.row, _EVERYWHERE))
            continue
        left = alone[each.row] = np.ones(designs.pair.size, dtype=bool)
        for q in each.above:
            there = count[q][designs.pair] > 0
            here, left = left & there, left & ~there
            if _leads(rows, q, each.row):
                follow.setdefault(q, []).append((each.row, here))
                alone[each.row] = alone[each.row] & ~here
    followed = {
        leader: (_behind(own, stream, place), own, _fuse(designs, leader, own))
        for leader, own in follow.items()
    }
    return followed, alone


def _behind(own: list[tuple[int, Array]], stream: Stream, place: Array) -> Array:
    """(P,) seconds of streamed rows one after another, each where it follows."""
    if all(where is _EVERYWHERE for _, where in own):
        return sum_rows(stream.alone[place[[row for row, _ in own]]])
    return total([np.where(where, stream.alone[place[row]], 0.0) for row, where in own])


def _lower(
    weight: Array, alone: Array, followed: dict[int, _Followed], unpacked: dict[int, int]
) -> None:
    """Lowers the weight of rows where they are hidden, in place; alone (R, P) : of all rows."""
    spare = {}  # seconds of a product in which nothing is unpacked for it
    for leader, row in unpacked.items():
        own = alone[row]
        spare[leader] = np.maximum(alone[leader] - own, 0.0)
        weight[row] *= 1.0 - np.minimum(alone[leader], own) / np.maximum(own, 1e-300)
    for leader, (behind, rows, fuse) in followed.items():
        free = spare.get(leader, alone[leader])
        shown = 1.0 - np.minimum(free, behind) * fuse / np.maximum(behind, 1e-300)
        for row, where in rows:
            weight[row] *= shown if where is _EVERYWHERE else np.where(where, shown, 1.0)


def _fetched(designs: Scheduled, leaders: Array) -> tuple[Array, Array]:
    """(n,) leaders that have parameters that may be fetched ahead, and (n, P) seconds of room."""
    rooms: dict[int, Array | None] = {}  # of units
    fetched, room = [], []
    for leader in leaders:
        row, unit = designs.ops.rows[leader], id(designs.activity.of(leader))
        if row.matmul and row.b in PARAMETERS:
            if unit not in rooms:
                rooms[unit] = designs.room(leader)
            own = rooms[unit]
            if own is not None:
                fetched.append(leader)
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
