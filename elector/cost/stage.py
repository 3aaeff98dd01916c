"""The rows of a stage in n streams, and what bounds the seconds that they take."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from elector.base.table import columns
from elector.cost.chain import Scheduled, chain, led
from elector.machines.contract import Activity, Stream, one_of, sum_rows
from elector.operations.rows import Operations

Array = np.ndarray

#: What a step may wait for beside its resources: a stream that passes all its operations, and
#: units and memory that take turns.
PASS, TURNS = "one stream", "loads and computing in turn"


def overlap(load: Array, chain_load: Array, chain: Array, streams: Array, periods: Array) -> Array:
    """T = max(L + F, C / n) with the fill F of one period.

    load, chain_load : (D,) seconds of the busiest resource, of everything and of the chain alone.
        chain : (D,) seconds of the chain. streams, periods : (D,) independent sequences and layers
        that repeat.
    """
    fill = np.maximum(chain - chain_load, 0.0) / (streams * periods)
    return np.maximum(load + fill, chain / streams)


@dataclass(frozen=True, eq=False, repr=False)
class Passed:
    """The chained rows in n streams.

    streams : (D,). once, chain : (N, P) seconds of one stream outside and inside the layers, in
    pieces that follow one another. attention : (D,) seconds of its attention, or None.
    busy, held : resource -> (R, P) seconds of one stream, and computing : (R, P), see `Stream`.
    """

    streams: Array
    once: Array
    chain: Array
    attention: Array | None
    busy: dict[str, Array]
    held: dict[str, Array]
    computing: Array | None = None

    def some(self, designs: Array, columns: Array) -> Passed:
        """Those of some designs; designs (d,), columns (p,) : their places."""
        return Passed(
            self.streams[designs],
            self.once[:, columns],
            self.chain[:, columns],
            None if self.attention is None else self.attention[designs],
            {name: seconds[:, columns] for name, seconds in self.busy.items()},
            {name: seconds[:, columns] for name, seconds in self.held.items()},
            None if self.computing is None else self.computing[:, columns],
        )


class Stage:
    """Rows of a stage of D designs, and how long they take in n streams.

    designs : as a schedule reads them. chained : places of the rows that something waits for;
    attention, rest, once : of them, those of attention, others in layers, and outside. led : of
    rest, once and attention, each row with the streamed ones behind it.
    All (D,): loads, parts, outside, attended : resource -> seconds of all rows, of the chained
    ones, of those outside the layers, of attention but for heads that stand side by side. periods :
    resource -> layers. rounds : passes of what stands outside. streams : as many as there may be.
    heads : of a layer.
    single, after : seconds of one operation that all streams take in turn, and of the last gradient
    of weights. held, whole, usual : of each `Hold` the seconds of the rows that nothing waits for,
    of the chained ones in one stream, and the parts of the chain's fill.
    """

    def __init__(self, designs: Scheduled, rows: Array, chained: Array) -> None:
        ops, activity, pair = designs.ops, designs.activity, designs.first
        attention, inside = ops.once(("chained", chained.tobytes()), lambda: _placed(ops, chained))
        self.designs, self.chained = designs, chained
        self.inside = np.flatnonzero(inside), np.flatnonzero(~inside)
        self.attention = chained[attention]
        self.rest, self.once = chained[~attention & inside], chained[~attention & ~inside]
        self.led = [
            ops.once(("led", x.tobytes()), functools.partial(led, ops, list(x)))
            for x in (self.rest, self.once, self.attention)
        ]

        def loads(some: Array) -> dict[str, Array]:
            return {name: activity.load(name, some) for name in activity.busy}

        self.loads, self.parts = loads(rows), loads(chained)
        self.outside, self.attended = loads(chained[~inside]), self._attended()
        layers, self.rounds = _periods(ops, rows)[pair], _rounds(ops, rows)[pair]
        self.streams = ops.at_once([ops.rows[i].phase for i in rows])[pair]
        self.heads = ops.heads[pair]
        index, places = designs.pair, list(chained)
        fills = _fills(ops, index, activity, places, layers)
        self.periods = dict(zip(activity.busy, fills, strict=True))
        self.single, self.after = self._longest(), self._last(rows)
        free = np.setdiff1d(rows, chained) if activity.overlap.holds else rows
        self.held, self.whole = (
            [
                designs.whole(seconds)
                for hold in designs.holds(some)
                for seconds in hold.sums(hold.seconds, index.size)
            ]
            for some in (free, chained)
        )
        self.usual = _holding(ops, index, activity, places, layers)

    @functools.cached_property
    def finest(self) -> _Head | None:
        """One head of one of all streams, of one stream where rows have no floor; None: no layer
        has several."""
        if not (self.attention.size and (self.heads > 1.0).any()):
            return None
        floor = self.designs.streams.floor
        return self._head(self.streams if floor else np.ones(self.streams.size))

    def some(self, places: Array) -> Stage:
        """The stage of some of the designs; places (d,) : of them."""
        stage = copy.copy(self)
        stage.designs = self.designs.some(places)
        for name in ("loads", "parts", "outside", "attended", "periods"):
            of = {key: values[places] for key, values in getattr(self, name).items()}
            setattr(stage, name, of)
        for name in ("rounds", "streams", "heads", "single", "after"):
            setattr(stage, name, getattr(self, name)[places])
        if "finest" in vars(self):
            stage.finest = None if self.finest is None else self.finest.some(places)
        for name in ("held", "whole", "usual"):
            setattr(stage, name, [values[places] for values in getattr(self, name)])
        return stage

    def columns(self, places: Array) -> Array:
        """(p,) columns of some of the designs; places (d,) : of them."""
        fold = self.designs.fold
        return places if fold is None else fold.chosen(places)[0]

    def _longest(self) -> Array:
        """(D,) seconds that one operation outside the layers takes one resource for."""
        designs, most = self.designs, np.zeros(self.rounds.size)
        for name in designs.activity.busy:
            if designs.summed(name) or name in designs.activity.overlap.periods:
                continue
            for seconds in designs.each(name, self.once):
                most = np.maximum(most, designs.whole(seconds) / self.rounds)
        return most

    def _last(self, rows: Array) -> Array:
        """(D,) seconds that the last gradient of weights takes when the chain is done."""
        designs, ops = self.designs, self.designs.ops
        last, left = np.zeros(self.rounds.size), np.ones(self.rounds.size, dtype=bool)
        off = [i for i in rows if ops.rows[i].off_chain and ops.rows[i].matmul]
        for row in reversed(off):  # of each design the last that it has
            runs = designs.whole(ops.count[row][designs.pair])
            seconds = designs.whole(designs.activity.alone[row]) / np.maximum(runs, 1.0)
            last = np.where(left & (runs > 0.0), seconds, last)
            left = left & ~(runs > 0.0)
            if not left.any():
                break
        return last

    # ---- what bounds n streams ----

    def seconds(self, together: Passed, apart: Passed, n: Array) -> Array:
        """(D,) seconds in n streams: what takes longest decides; see `bounds`."""
        return _longest(self.bounds(together, apart, n))

    def tried(self, together: Passed, n: Array, best: Array) -> tuple[Array, Passed]:
        """(D,) seconds in n streams where they are less than `best` (D,), elsewhere no less than
        it; and the rows.

        Heads are looked at one by one where that may help: where a stream that passes attention
        in no time took less than the best, and less than one that passes all together.
        """
        apart, heads = self._streamed(n)
        rows = self._of_rows(together, apart, n)
        seconds = _longest(self._bounds(together, apart, n, rows))
        if heads is None or apart.attention is None:
            return seconds, apart
        attention = np.zeros(n.size)
        apart = replace(apart, attention=attention)
        least = _longest(self._bounds(together, apart, n, rows))
        may = np.flatnonzero((least < best) & (least < seconds))
        if not may.size:
            return least, apart
        attention[may] = heads(may)
        return _longest(self._bounds(together, apart, n, rows)), apart

    def bounds(self, together: Passed, apart: Passed, n: Array) -> dict[str, tuple[Array, Array]]:
        """What n streams wait for -> (D,) seconds it works, and seconds it idles at least.

        One stream passes its operations one after another; then come the others through the one
        operation outside the layers that all of them take in turn, and the last gradient. Each
        resource idles while a stream is elsewhere, before the first and behind the last.

        together, apart : the rows in one stream, and in n. A row of one of n streams takes no less
        than its share of the one.
        """
        return self._bounds(together, apart, n, self._of_rows(together, apart, n))

    def _of_rows(self, together: Passed, apart: Passed, n: Array) -> _OfRows:
        """What the rows of one of n streams come to, attention apart."""
        works = {}
        for name, load in self.loads.items():
            here, there = self._shares(name, n)
            if name in apart.busy:
                load, here, there = self._repeated(name, apart, n)
                here, there = here / n, there / n
            works[name] = load, here, there
        held = self._held(apart, self.chained, n)
        return _OfRows(*self._rows_of(together, apart, n), works, held)

    def _bounds(
        self, together: Passed, apart: Passed, n: Array, rows: _OfRows
    ) -> dict[str, tuple[Array, Array]]:
        """`bounds` of what the rows come to."""
        once, inside = rows.once, rows.inside + self._attention_of(together, apart, n)
        waits = {PASS: (once + inside, self.single * (1.0 - 1.0 / n) + self.after)}
        for name, (load, here, there) in rows.works.items():
            elsewhere = once - there, inside - here
            if name in apart.held:
                elsewhere = self._elsewhere(name, together, apart, n)
            waits[name] = load, self._idle(name, *elsewhere)
        for i, (load, whole) in enumerate(self._in_turn(rows.held, (once + inside) * n, n)):
            waits[f"{TURNS} {i + 1}"] = load, whole - load
        return waits

    def _in_turn(self, held: list[Array], passes: Array, n: Array) -> Iterator[tuple[Array, Array]]:
        """(D,) seconds for which each `Hold` keeps memory and units busy, and with what they wait.

        held : (D,) seconds of the chained rows in n streams. passes : (D,) of all n streams.
        """
        for free, part, usual in zip(self.held, held, self.usual, strict=True):
            # A design that takes no turns has no such bound: its chain over n, times n, is not
            # the chain to the last bit.
            load = free + part
            yield load, np.where(load > 0.0, overlap(load, part, passes, n, usual), 0.0)

    def least(self, together: Passed, apart: Passed | None, n: Array) -> Array:
        """(D,) seconds that n streams take at least, or, without `apart`, any number up to n.

        Streams never take less of a resource, a hold or the chain than all sequences together, and
        none passes a row faster than in more streams. What a resource works for longer than its
        even share it idles less, but by no more.

        together, apart : the rows in one stream, and in as many as there are, or in more than n.
        """
        once, inside = self._pass_of(together, apart, n)
        fewest = n if apart else np.minimum(n, 2.0)
        bounds = [once + inside + self.single * (1.0 - 1.0 / fewest) + self.after]
        for name, load in self.loads.items():
            bounds.append(load)
            if name not in (apart or together).held:
                here, there = self._shares(name, n)
                bounds.append(load + self._idle(name, once - there, inside - here))
        bounds += [whole for _, whole in self._in_turn(self.whole, (once + inside) * n, n)]
        return most_of(bounds)

    def _shares(self, name: str, n: Array) -> tuple[Array, Array]:
        """(D,) seconds of a resource for one of n streams that share it evenly: in the layers
        and outside."""
        there = self.outside[name]
        return (self.parts[name] - there) / n, there / n

    def _idle(self, name: str, once: Array, inside: Array) -> Array:
        """(D,) seconds that a resource idles, of those for which a stream is elsewhere, outside
        the layers and inside."""
        periods = self.periods[name]
        idle = np.maximum(once, 0.0) / np.minimum(periods, self.rounds)
        return idle + np.maximum(inside, 0.0) / periods

    def _pass_of(self, together: Passed, apart: Passed | None, n: Array) -> tuple[Array, Array]:
        """(D,) seconds of one of n streams outside and inside the layers."""
        once, inside = self._rows_of(together, apart, n)
        return once, inside + self._attention_of(together, apart, n)

    def _rows_of(self, together: Passed, apart: Passed | None, n: Array) -> tuple[Array, Array]:
        """`_pass_of` without attention."""
        each = self.designs.spread(n)
        once, inside = together.once / each, together.chain / each
        if apart is not None:
            once, inside = np.maximum(once, apart.once), np.maximum(inside, apart.chain)
        return self.designs.sum(once), self.designs.sum(inside)

    def _attention_of(self, together: Passed, apart: Passed | None, n: Array) -> Array | float:
        """(D,) seconds of attention of one of n streams."""
        if together.attention is None:
            return 0.0
        share, own = together.attention / n, apart.attention if apart else None
        return share if own is None else np.maximum(share, own)

    def _elsewhere(
        self, name: str, together: Passed, apart: Passed, n: Array
    ) -> tuple[Array, Array]:
        """(D,) seconds for which one of n streams has no part of a resource, outside the layers
        and inside.

        No less than the share of the one, and no less than in n, each with what it holds itself: a
        stream that waits less holds less, and must not idle more for it.
        """
        outside, within = np.zeros(1), np.zeros(1)
        for passed, share in ((together, n), (apart, np.ones(1))):
            once, inside = self._pass_of(passed, passed, n)
            here, there = self._split(passed.held[name])
            outside = np.maximum(outside, (once - there) / share)
            within = np.maximum(within, (inside - here) / share)
        return outside, within

    def _held(self, own: Passed | Stream, rows: Array, n: Array) -> list[Array]:
        """(D,) seconds of each hold for all of n streams, in which rows that take turns may compute
        longer than in one.

        own : of the rows (N,) in one of the streams. All but the last of these take a unit for no
        longer than it works; the last one waits for its results, too.
        """
        designs, held = self.designs, []
        for hold in designs.holds(rows):
            here = hold.designs
            works = np.zeros(hold.seconds.shape)
            for name, seconds in own.busy.items():
                if not designs.summed(name):
                    works = np.maximum(works, columns(seconds, here))
            last = works if own.computing is None else columns(own.computing, here)
            computing = (designs.spread(n)[here] - 1.0) * works + last
            longer = np.maximum(computing - hold.computing, 0.0)
            longer = np.where(designs.turns(rows, here), longer, 0.0)
            held += hold.sums(hold.seconds + longer, designs.pair.size)
        return [designs.whole(seconds) for seconds in held]

    def _repeated(self, name: str, apart: Passed, n: Array) -> tuple[Array, Array, Array]:
        """(D,) seconds of a resource in n streams: of all rows, of the chained ones in layers,
        and of those outside."""
        own = apart.busy[name]
        if self.designs.summed(name):
            here, there = self.parts[name] - self.outside[name], self.outside[name]
            inside, outside = self._split(own)
            here, there = np.maximum(here, n * inside), np.maximum(there, n * outside)
        else:
            rows = np.maximum(self.designs.each(name, self.chained), self.designs.spread(n) * own)
            here, there = self._split(rows)
        return self.loads[name] - self.parts[name] + (here + there), here, there

    def _split(self, rows: Array) -> tuple[Array, Array]:
        """(D,) sums of (R, P) chained rows inside the layers, and outside."""
        inside, outside = self.inside
        return self.designs.sum(rows[inside]), self.designs.sum(rows[outside])

    # ---- what streams pass ----

    def together(self, weight: Array) -> Passed:
        """All sequences in one stream; `weight` is lowered where work is hidden, in place.

        weight : (R, P) as in `Timing`.
        """
        whole, heads = self._at_once(weight)
        return whole if heads is None else replace(whole, attention=heads(None))

    def in_order(self, weight: Array) -> dict[str, tuple[Array, Array]]:
        """`bounds` of a stage in which every row is waited for, and heads share their operation.

        weight : (R, P) as in `Timing`, lowered in place where work is hidden.
        """
        whole, _ = self._at_once(weight)
        waits = self.bounds(whole, whole, whole.streams)
        return waits | {PASS: (waits[PASS][0], np.zeros_like(whole.streams))}

    def _at_once(self, weight: Array) -> tuple[Passed, _Heads | None]:
        """The chained rows of all sequences in one stream, as in `_streamed`.

        weight : (R, P) as in `Timing`, lowered in place where work is hidden.
        """
        one, every = one_of(self.designs.activity), np.arange(len(self.designs.ops.rows))
        whole, heads = self._passed(one, every, np.ones(self.rounds.size), weight)
        held = {name: seconds[self.chained] for name, seconds in one.held.items()}
        return replace(whole, busy={}, held=held, computing=None), heads

    def passed(self, n: Array) -> Passed:
        """The chained rows in n (D,) streams."""
        passed, heads = self._streamed(n)
        return passed if heads is None else replace(passed, attention=heads(None))

    def _streamed(self, n: Array) -> tuple[Passed, _Heads | None]:
        """The chained rows in n (D,) streams with all heads together, and what asks how long
        attention of some designs takes if heads may be apart; None: they never are."""
        place = _places(self.chained, len(self.designs.ops.rows))
        stream = self.designs.streams.of(self.designs.spread(n), self.chained)
        return self._passed(stream, place, n, None)

    def _passed(
        self, stream: Stream, place: Array, n: Array, weight: Array | None
    ) -> tuple[Passed, _Heads | None]:
        """Rows one after another, and heads beside each other, as in `_streamed`.

        The output projection waits for all heads, so that every layer has its own fill.
        """
        body, once, core = (chain(self.designs, led, stream, place, weight) for led in self.led)
        passed = Passed(n, once, body, None, stream.busy, stream.held, stream.computing)
        if not self.attention.size:
            return passed, None
        attention = self.designs.sum(core)
        passed = replace(passed, attention=attention)
        if not (self.heads > 1.0).any():
            return passed, None

        def heads(some: Array | None) -> Array:
            alone = stream.alone[place[self.attention]]
            if some is None or some.size == n.size:
                return self._heads(alone, n, attention)
            few = self.some(some)
            return few._heads(columns(alone, self.columns(some)), n[some], attention[some])

        return passed, heads

    def _heads(self, alone: Array, n: Array, core: Array) -> Array:
        """(D,) seconds of attention in one stream: its heads together, or each on its own.

        alone : (N, P) seconds of its rows. core : (D,) seconds of all heads together.
        """
        assert self.finest is not None
        one = self._one_by_one(self.finest, alone, n)
        # None passes a row faster than in more streams: only these may be sooner one by one.
        most = self.finest.streams
        may = np.flatnonzero((n > most) | ((n < most) & (one < core)))
        if may.size:
            few = self.some(may)
            head, alone = few._head(n[may]), columns(alone, self.columns(may))
            one[may] = few._one_by_one(head, alone, n[may])
        return np.minimum(core, one)

    def _one_by_one(self, head: _Head, alone: Array, n: Array) -> Array:
        """(D,) seconds of attention in one of n streams with each head on its own; or at least so
        many, where `head` is one of more streams.

        A resource works for all heads but one while that one passes, and so do units and memory
        that take turns.

        alone : (N, P) seconds of its rows with all heads together.
        """
        apart, side = self.designs.beside(self.attention), np.zeros(1)
        if apart is not None:  # heads that stand side by side are streams already
            side = self.designs.sum(np.where(apart, alone, 0.0))
        each = [
            head.busy[name] if name in head.busy else seconds / (self.heads * n)
            for name, seconds in self.attended.items()
        ]
        held = [np.where(head.streams == n, seconds, 0.0) for seconds in head.held]
        return np.asarray(side + most_of([*each, *held]) * (self.heads - 1.0) + head.passes)

    def _head(self, n: Array) -> _Head:
        """One head of one of n (D,) streams."""
        designs, rows, all_heads = self.designs, self.attention, self.heads * n
        own, apart = designs.streams.of(designs.spread(all_heads), rows), designs.beside(rows)
        if apart is not None:
            busy = {name: np.where(apart, 0.0, seconds) for name, seconds in own.busy.items()}
            alone, ahead = (np.where(apart, 0.0, x) for x in (own.alone, own.ahead))
            own = replace(own, alone=alone, ahead=ahead, busy=busy)
        return _Head(
            n,
            designs.sum(chain(designs, self.led[2], own, _places(rows, len(designs.ops.rows)))),
            {name: designs.sum(seconds) for name, seconds in own.busy.items()},
            [seconds / all_heads for seconds in self._held(own, rows, all_heads)],
        )

    def _attended(self) -> dict[str, Array]:
        """Resource -> (D,) seconds of attention but for heads that stand side by side."""
        designs, rows = self.designs, self.attention
        apart, seconds = designs.beside(rows), {}
        for name in designs.activity.busy:
            # Sums over rows are of a unit whose own heads never stand side by side.
            if apart is None or designs.summed(name):
                seconds[name] = designs.activity.load(name, rows)
            else:
                seconds[name] = designs.sum(np.where(apart, 0.0, designs.each(name, rows)))
        return seconds


@dataclass(frozen=True, eq=False, repr=False)
class _Head:
    """One head of one of n streams, all (D,).

    streams : n. passes : seconds in which it passes attention. busy : resource -> its seconds, of
    those that streams do not share evenly. held : of each `Hold` the seconds.
    """

    streams: Array
    passes: Array
    busy: dict[str, Array]
    held: list[Array]

    def some(self, places: Array) -> _Head:
        """That of some of the designs; places (d,) : of them."""
        return _Head(
            self.streams[places],
            self.passes[places],
            {name: seconds[places] for name, seconds in self.busy.items()},
            [seconds[places] for seconds in self.held],
        )


#: Asks for the (d,) seconds of attention of some designs (d,), or of all.
_Heads = Callable[[Array | None], Array]


@dataclass(frozen=True, eq=False, repr=False)
class _OfRows:
    """What rows come to in one of n streams, attention apart, all (D,).

    once, inside : seconds outside and inside the layers. works : resource -> its seconds for all
    rows, and for one stream inside the layers and outside. held : of each `Hold` the seconds of
    the chained rows.
    """

    once: Array
    inside: Array
    works: dict[str, tuple[Array, Array, Array]]
    held: list[Array]


def _longest(bounds: dict[str, tuple[Array, Array]]) -> Array:
    """(D,) seconds of what takes longest."""
    return most_of([busy + waits for busy, waits in bounds.values()])


def _placed(ops: Operations, chained: Array) -> tuple[Array, Array]:
    """(N,) bool, which of the rows belong to attention, and which stand inside the layers."""
    placed = [ops.rows[i] for i in chained]
    attention = np.array([row.in_attention for row in placed], dtype=bool)
    return attention, np.array([row.place.in_layers for row in placed], dtype=bool)


def _periods(ops: Operations, rows: Array) -> Array:
    """(M,) layers that the sequences pass one after another in a stage; of prompts those of one
    pass, which fills and drains by itself: tokens of others come between two of them."""
    phases = {ops.rows[i].phase for i in rows}
    if "decode" in phases:
        tokens = ops.count[ops.where(phase="decode", kind="embedding")]
        return ops.layers * np.maximum(sum_rows(tokens), 1.0)
    return ops.layers * ops.workload.pieces * (2.0 if "backward" in phases else 1.0)


def _rounds(ops: Operations, rows: Array) -> Array:
    """(M,) times the sequences pass what stands outside the layers in a stage."""
    phases = {ops.rows[i].phase for i in rows}
    if "decode" in phases:
        tokens = ops.count[ops.where(phase="decode", kind="embedding")]
        return np.maximum(sum_rows(tokens), 1.0)
    workload = ops.workload
    passes = workload.gradient_accumulation if workload.training else workload.pieces
    return np.broadcast_to(passes * (2.0 if "backward" in phases else 1.0), ops.layers.shape)


def unchained(activity: Activity, rows: Array) -> dict[str, Array]:
    """What rows of which none waits for another keep busy -> (D,) seconds.

    rows : (N,) places of the rows.
    """
    loads = {name: activity.load(name, rows) for name in activity.busy}
    size, held = activity.alone.shape[1], []
    for hold in (h.of(rows, size, None) for h in activity.overlap.holds):
        held += hold.sums(hold.seconds, size)
    loads |= {f"{TURNS} {i + 1}": activity.whole(x) for i, x in enumerate(held)}
    return loads


def most_of(loads: list[Array]) -> Array:
    """The largest of arrays, place by place.

    loads : (D,) each.
    """
    most = loads[0]
    for load in loads[1:]:
        most = np.maximum(most, load)
    return most


def _fills(
    ops: Operations, index: Array, activity: Activity, chained: list[int], layers: Array
) -> list[Array]:
    """Of each resource the parts of the chain's fill; links wait as the slowest unit does."""
    if activity.members is None:
        usual = _passes(ops, index, activity, chained, layers)
        return [activity.overlap.periods.get(name, usual) for name in activity.busy]
    fills, least, members = [], np.full(index.size, np.inf), activity.members
    for unit, works in zip(members.activities, members.working, strict=True):
        fills += _fills(ops, index, unit, chained, layers)
        usual = _passes(ops, index, unit, chained, layers)
        least = np.where(works, np.minimum(least, usual), least)
    least = np.where(np.isfinite(least), least, 1.0)
    return fills + [least] * (len(activity.busy) - len(fills))


def _holding(
    ops: Operations, index: Array, activity: Activity, chained: list[int], layers: Array
) -> list[Array]:
    """Of each hold the parts of the chain's fill, as its unit passes them."""
    units = [activity] if activity.members is None else activity.members.activities
    holds = [unit for unit in units for hold in unit.overlap.holds for _ in hold.most]
    return [_passes(ops, index, unit, chained, layers) for unit in holds]


def _passes(
    ops: Operations, index: Array, activity: Activity, chained: list[int], periods: Array
) -> Array:
    """(D,) into how many parts the fill of the whole chain falls, of which one is paid.

    Sequences part ways only as far as the weights that the memory has room for: where it
    holds a layer or more, one period's fill is left; where it holds one operation, all
    sequences pass one operation before the next, and every operation has its own fill.
    """
    products = [i for i in chained if ops.rows[i].matmul]
    if not products:
        return periods
    runs = np.maximum(activity.whole(sum_rows(ops.count[products])[index]), 1.0)
    ahead, refills = activity.ahead, np.ones(1)
    if ahead is not None:
        refills = ahead.weights.total(np.array(products)) / ahead.room
    return np.minimum(periods, runs / np.clip(refills, 1.0, runs))


def _places(rows: Array, size: int) -> Array:
    """(R,) where each row of a table stands among `rows`."""
    place = np.zeros(size, dtype=np.intp)
    place[rows] = np.arange(rows.size)
    return place
