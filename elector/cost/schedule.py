"""Seconds of rows -> seconds of a step.

Operations of one sequence wait for each other; n independent sequences fill the gaps. With
L the busiest resource's seconds for all of them and C the seconds of all of them one after
another, no schedule is faster than max(L, C / n). In a pipeline of periods (layers) a resource
idles once, while the first sequence passes its first period and the last its last one:

    T = max(L + F, C / n),   F = (C - L) / (n periods)

This is exact for n = 1, and for a two-machine flow shop of any n and number of periods
(Johnson 1954); charging the fill of the whole chain instead is up to 47 % high at n = 2.
Inside attention, heads are streams as well. Gradients of weights are off the chain.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from elector.base.segments import Fold
from elector.machines.contract import Activity, Count, Stream, sum_rows
from elector.operations.rows import PARAMETERS, Operations, Row

Array = np.ndarray

#: Phases of a stage may overlap; stages follow one another.
STAGES: dict[str, tuple[str, ...]] = {
    "step": ("forward", "prefill", "recompute", "backward"),
    "decode": ("decode",),
    "update": ("update",),
}


_EVERYWHERE = np.ones(1, dtype=bool)
#: What a step may wait for beside its resources: a stream that passes all its operations, and
#: units and memory that take turns.
PASS, TURNS = "one stream", "loads and computing in turn"


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
    for stage, phases in STAGES.items():
        rows = np.array([i for i, row in enumerate(ops.rows) if row.phase in phases], dtype=int)
        if rows.size:
            stages[stage], streams[stage] = _stage(ops, index, activity, rows, weight)
            total = total + stages[stage]
    first = next(iter(stages))
    stages[first] = stages[first] + activity.start
    alone = np.maximum(activity.alone, 1e-300)
    aside = {kind: np.minimum(x / alone, 1.0) for kind, x in activity.told.aside.items()}
    return Timing(total, stages, streams, weight, activity.fold, aside)


def _stage(
    ops: Operations, index: Array, activity: Activity, rows: Array, weight: Array
) -> tuple[Array, Array]:
    """(D,) seconds of the rows of a stage, and the streams in which they take the least."""
    loads = [activity.load(name, rows) for name in activity.busy]
    # Of a hybrid, the designs in which nothing waits for another unit.
    pair = index if activity.fold is None else activity.fold.first(index)
    queued = np.broadcast_to(activity.overlap.queued, pair.shape)
    stage = None if queued.all() else stage_of(ops, index, activity, rows)
    if stage is None:
        return _most(loads), np.ones(pair.size)
    best, streams = _split(stage, ops.streams[pair], stage.together(weight))
    if queued.any():
        return np.where(queued, _most(loads), best), np.where(queued, 1.0, streams)
    return best, streams


def stage_of(ops: Operations, index: Array, activity: Activity, rows: Array) -> Stage | None:
    """The rows of a stage and how they wait for each other; None where none of them does.

    rows : (N,) places of the rows.
    """
    pair = index if activity.fold is None else activity.fold.first(index)
    chained = np.array([i for i in rows if not ops.rows[i].off_chain], dtype=np.intp)
    return Stage(ops, index, pair, activity, rows, chained) if chained.size else None


def _split(stage: Stage, streams: Array, together: _Passed) -> tuple[Array, Array]:
    """(D,) seconds with the batch in the number of streams that takes the least, and the number.

    Tried are all sequences together, each on its own, and 2, 4, 8 ... streams: numbers that do
    not depend on what a sequence is, so that a shorter one may be split like a longer one. A design
    takes only what it would try alone: another formula for the same seconds may differ in the last
    bit, and what stands beside it must not decide which one it gets.
    """
    best, chosen = stage.seconds(together, together, together.streams), together.streams
    if not (streams > 1.0).any():
        return best, chosen
    apart = stage.passed(streams)
    seconds = stage.seconds(together, apart, streams)
    better = (streams > 1.0) & (seconds < best)
    best, chosen = np.where(better, seconds, best), np.where(better, streams, chosen)
    number = 2.0 ** np.floor(np.log2(np.maximum(streams - 1.0, 1.0)))
    while (number > 1.0).any():
        n = np.maximum(number, 1.0)
        may = (number > 1.0) & (stage.least(together, apart, n) < best)
        if may.any():
            seconds = stage.seconds(together, stage.passed(n), n)
            better = may & (seconds < best)
            best, chosen = np.where(better, seconds, best), np.where(better, n, chosen)
        number = number / 2.0
    return best, chosen


def overlap(load: Array, chain_load: Array, chain: Array, streams: Array, periods: Array) -> Array:
    """T = max(L + F, C / n) with the fill F of one period.

    load, chain_load : (D,) seconds of the busiest resource, of everything and of the chain alone.
        chain : (D,) seconds of the chain. streams, periods : (D,) independent sequences and layers
        that repeat.
    """
    fill = np.maximum(chain - chain_load, 0.0) / (streams * periods)
    return np.maximum(load + fill, chain / streams)


@dataclass(frozen=True, eq=False, repr=False)
class _Passed:
    """The chained rows in n streams.

    streams : (D,). once, chain : seconds of one stream outside and inside the layers, in pieces
    (of columns) that follow one another. attention : (D,) seconds of its attention, or None.
    busy, held : resource -> (R, D) seconds of one stream, see `Stream`.
    """

    streams: Array
    once: list[Array]
    chain: list[Array]
    attention: Array | None
    busy: dict[str, Array]
    held: dict[str, Array]


class Stage:
    """Rows of a stage, and how long they take in n streams.

    rows, chained : of the stage, and those of them that something waits for. loads : seconds of
    each resource. periods : of each of them, and of the machine.

    index, pair : (D,) the pair of each design, and of each column of layers. rows, chained : (N,)
    places.
    """

    def __init__(
        self,
        ops: Operations,
        index: Array,
        pair: Array,
        activity: Activity,
        rows: Array,
        chained: Array,
    ) -> None:
        loads = [activity.load(name, rows) for name in activity.busy]
        self.ops, self.index, self.pair, self.activity = ops, index, pair, activity
        self.chained, self.loads = chained, dict(zip(activity.busy, loads, strict=True))
        self.parts = {name: activity.load(name, chained) for name in activity.busy}
        self.attention = np.array([i for i in chained if ops.rows[i].in_attention], dtype=np.intp)
        rest = [i for i in chained if not ops.rows[i].in_attention]
        inside = np.array([ops.rows[i].place.in_layers for i in chained], dtype=bool)
        self.inside = inside[:, None]
        self.rest = np.array([i for i in rest if ops.rows[i].place.in_layers], dtype=np.intp)
        self.once = np.array([i for i in rest if not ops.rows[i].place.in_layers], dtype=np.intp)
        layers, passes = _periods(ops, rows)[pair], _rounds(ops, rows)[pair]
        self.periods = dict(
            zip(activity.busy, _fills(ops, index, activity, list(chained), layers), strict=True)
        )
        usual = _passes(ops, index, activity, list(chained), layers)
        self.rounds = passes
        beyond = chained[~inside]
        self.outside = {name: activity.load(name, beyond) for name in activity.busy}
        self.single, self.after = self._longest(), self._last(rows)
        self.holds = [
            (activity.whole(sum_rows(h[rows])), activity.whole(sum_rows(h[chained])), usual)
            for h in activity.overlap.holds
        ]

    def _longest(self) -> Array:
        """(D,) seconds that one operation outside the layers takes one resource for."""
        most = np.zeros(self.pair.size)
        for name, seconds in self.activity.busy.items():
            summed = isinstance(seconds, Count) and seconds.group is not None
            for row in () if summed or name in self.activity.overlap.periods else self.once:
                taken = self.activity.whole(_each(seconds)[row])
                most = np.maximum(most, taken / self.rounds)
        return most

    def _last(self, rows: Array) -> Array:
        """(D,) seconds that the last gradient of weights takes when the chain is done."""
        most = np.zeros(self.pair.size)
        off = [i for i in rows if self.ops.rows[i].off_chain and self.ops.rows[i].matmul]
        for row in off[-1:]:
            runs = np.maximum(self.activity.whole(self.ops.count[row][self.index]), 1.0)
            most = self.activity.whole(self.activity.alone[row]) / runs
        return most

    def seconds(self, together: _Passed, apart: _Passed, n: Array) -> Array:
        """(D,) seconds in n streams: what takes longest decides; see `bounds`."""
        return _most([busy + waits for busy, waits in self.bounds(together, apart, n).values()])

    def bounds(self, together: _Passed, apart: _Passed, n: Array) -> dict[str, tuple[Array, Array]]:
        """What n streams wait for -> (D,) seconds it works, and seconds it idles at least.

        One stream passes its operations one after another; then come the others through the one
        operation outside the layers that all of them take in turn, and the last gradient. Each
        resource idles while a stream is elsewhere, before the first and behind the last.

        together, apart : the rows in one stream, and in as many as there are. A row of one of n
        streams takes no less than its share of the one, and no less than in the smallest.
        """
        once, inside = self._pass_of(together, apart, n)
        waits = {PASS: (once + inside, self.single * (1.0 - 1.0 / n) + self.after)}
        for name, load in self.loads.items():
            here, there = self.parts[name] - self.outside[name], self.outside[name]
            if name in apart.busy:
                load, here, there = self._repeated(name, apart, n)
            idle = np.maximum(once - there / n, 0.0), np.maximum(inside - here / n, 0.0)
            if name in apart.held:
                idle = self._idle(name, together, apart, n)
            periods = self.periods[name]
            waits[name] = load, idle[0] / np.minimum(periods, self.rounds) + idle[1] / periods
        chain = (once + inside) * n
        for i, (load, part, periods) in enumerate(self.holds):
            # A design that takes no turns has no such bound: its chain over n, times n, is not
            # the chain to the last bit.
            whole = np.where(load > 0.0, overlap(load, part, chain, n, periods), 0.0)
            waits[f"{TURNS} {i + 1}"] = load, whole - load
        return waits

    def _pass_of(self, together: _Passed, apart: _Passed, n: Array) -> tuple[Array, Array]:
        """(D,) seconds of one of n streams outside and inside the layers."""
        each = self.activity.spread(n)
        parts = []
        for ones, leasts in ((together.once, apart.once), (together.chain, apart.chain)):
            total = np.zeros(self.index.size)
            for one, least in zip(ones, leasts, strict=True):
                total = total + np.maximum(one / each, least)
            parts.append(self.activity.whole(total))
        once, inside = parts
        if together.attention is None or apart.attention is None:
            return once, inside
        return once, inside + np.maximum(together.attention / n, apart.attention)

    def _idle(self, name: str, together: _Passed, apart: _Passed, n: Array) -> tuple[Array, Array]:
        """(D,) seconds for which one of n streams has no part of a resource, outside the layers
        and inside.

        No less than the share of the one, and no less than in the smallest, each with what it
        holds itself: a stream that waits less holds less, and must not idle more for it.
        """
        once, inside = np.zeros(1), np.zeros(1)
        for passed, share in ((together, n), (apart, np.ones(1))):
            there, here = self._pass_of(passed, passed, n)
            rows = passed.held[name]
            there = there - self._whole(np.where(self.inside, 0.0, rows))
            here = here - self._whole(np.where(self.inside, rows, 0.0))
            once, inside = np.maximum(once, there / share), np.maximum(inside, here / share)
        return once, inside

    def _repeated(self, name: str, apart: _Passed, n: Array) -> tuple[Array, Array, Array]:
        """(D,) seconds of a resource in n streams: of all rows, of the chained ones in layers,
        and of those outside."""
        busy, each = self.activity.busy[name], self.activity.spread(n)
        here, there = self.parts[name] - self.outside[name], self.outside[name]
        own = apart.busy[name]
        if isinstance(busy, Count) and busy.group is not None:  # kept as sums over rows
            here = np.maximum(here, n * self._whole(np.where(self.inside, own, 0.0)))
            there = np.maximum(there, n * self._whole(np.where(self.inside, 0.0, own)))
        else:
            rows = np.maximum(_each(busy)[self.chained], each * own)
            here = self._whole(np.where(self.inside, rows, 0.0))
            there = self._whole(np.where(self.inside, 0.0, rows))
        return self.loads[name] - self.parts[name] + (here + there), here, there

    def _whole(self, rows: Array) -> Array:
        """(D,) sums of rows."""
        return self.activity.whole(sum_rows(rows))

    def least(self, together: _Passed, apart: _Passed, n: Array) -> Array:
        """(D,) seconds that n streams take at least.

        Streams never take less of a resource, nor of the chain, than all sequences together, and
        none passes faster than in the smallest streams there are.
        """
        once, inside = self._pass_of(together, together, together.streams)
        shortest = self._pass_of(apart, apart, together.streams)
        bounds = [np.maximum((once + inside) / n, shortest[0] + shortest[1])]
        for name, load in self.loads.items():
            bounds.append(load)
            if name not in apart.held:
                here = self.parts[name] - self.outside[name]
                bounds.append(load + np.maximum(inside - here, 0.0) / (n * self.periods[name]))
        return _most(bounds)

    def together(self, weight: Array) -> _Passed:
        """All sequences in one stream; `weight` is lowered where work is hidden, in place.

        weight : (R, D) as in `Timing`.
        """
        activity, every = self.activity, np.arange(len(self.ops.rows))
        one = activity.overlap.one or Stream(activity.alone, activity.alone, None, {})
        whole = self._passed(one, every, np.ones(self.pair.size), weight)
        held = {name: seconds[self.chained] for name, seconds in one.held.items()}
        return replace(whole, busy={}, held=held)

    def passed(self, n: Array) -> _Passed:
        """The chained rows in n (D,) streams."""
        place = _places(self.chained, len(self.ops.rows))
        return self._passed(self._stream(n, self.chained), place, n, None)

    def _stream(self, n: Array, rows: Array) -> Stream:
        activity, each = self.activity, self.activity.spread(n)
        if activity.overlap.streams is not None:
            return activity.overlap.streams(each, rows)
        share = activity.alone[rows] / each
        return Stream(share, share, None, {})

    def _passed(self, stream: Stream, place: Array, n: Array, weight: Array | None) -> _Passed:
        """Rows one after another, heads beside each other.

        The output projection waits for all heads, so that every layer has its own fill.
        """
        shared = self.ops, self.index, self.activity, weight
        chain = _chain(_StageRows(*shared, self.rest), stream, place)
        once = _chain(_StageRows(*shared, self.once), stream, place)
        attention = None
        if self.attention.size:
            core = _chain(_StageRows(*shared, self.attention), stream, place)
            attention = self._heads(stream, place, n, self._sum(core))
        return _Passed(n, once, chain, attention, stream.busy, stream.held)

    def _sum(self, pieces: list[Array]) -> Array:
        """(D,) seconds of pieces that follow one another."""
        total = np.zeros(self.index.size)
        for piece in pieces:
            total = total + piece
        return self.activity.whole(total)

    def _heads(self, stream: Stream, place: Array, n: Array, core: Array) -> Array:
        """(D,) seconds of attention in one stream: its heads together, or each on its own."""
        activity, rows, heads = self.activity, self.attention, self.ops.heads[self.pair]
        if not (heads > 1.0).any():
            return core
        own = self._stream(heads * n, rows)
        side, apart = np.zeros(1), np.zeros(1, dtype=bool)
        if activity.overlap.beside is not None:  # heads that stand side by side are streams already
            apart = activity.overlap.beside[rows]
            side = activity.whole(sum_rows(np.where(apart, stream.alone[place[rows]], 0.0)))
            alone, ahead = (np.where(apart, 0.0, x) for x in (own.alone, own.ahead))
            own = replace(own, alone=alone, ahead=ahead)
        part = _StageRows(self.ops, self.index, activity, None, rows)
        chain = self._sum(_chain(part, own, _places(rows, len(self.ops.rows))))
        loads = []
        for name, seconds in activity.busy.items():
            busy = own.busy.get(name)
            if busy is not None:
                loads.append(activity.whole(sum_rows(np.where(apart, 0.0, busy))))
            elif apart.any():
                rest = np.where(apart, 0.0, _each(seconds)[rows])
                loads.append(activity.whole(sum_rows(rest)) / (heads * n))
            else:
                loads.append(activity.load(name, rows) / (heads * n))
        # A resource works for all heads but one while that one passes.
        return np.minimum(core, side + _most(loads) * (heads - 1.0) + chain)


@dataclass(frozen=True, eq=False, repr=False)
class _StageRows:
    """Some rows of a stage; `weight` is lowered where they are hidden, in place, or None."""

    ops: Operations
    index: Array
    activity: Activity
    weight: Array | None
    rows: Array


def _periods(ops: Operations, rows: Array) -> Array:
    """(M,) layers that the sequences pass one after another in a stage."""
    phases = {ops.rows[i].phase for i in rows}
    if "decode" in phases:
        tokens = ops.count[ops.where(phase="decode", kind="embedding")]
        return ops.layers * np.maximum(sum_rows(tokens), 1.0)
    return ops.layers * (2.0 if "backward" in phases else 1.0)


def _rounds(ops: Operations, rows: Array) -> Array:
    """(M,) times the sequences pass what stands outside the layers in a stage."""
    phases = {ops.rows[i].phase for i in rows}
    if "decode" in phases:
        tokens = ops.count[ops.where(phase="decode", kind="embedding")]
        return np.maximum(sum_rows(tokens), 1.0)
    workload = ops.workload
    passes = workload.gradient_accumulation if workload.training else np.ones(1)
    return np.broadcast_to(passes * (2.0 if "backward" in phases else 1.0), ops.layers.shape)


def _most(loads: list[Array]) -> Array:
    most = loads[0]
    for load in loads[1:]:
        most = np.maximum(most, load)
    return most


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


def _each(seconds: Array | Count) -> Array:
    return seconds.each() if isinstance(seconds, Count) else seconds


def _chain(part: _StageRows, stream: Stream, place: Array) -> list[Array]:
    """Seconds of the rows of one stream, in pieces (of columns) one after another.

    Streamed rows run behind their producer: the last product before them that a design has.
    Weights are fetched ahead while other work runs, in each run as far as there is room.
    """
    ops, index, activity, weight = part.ops, part.index, part.activity, part.weight
    pieces: list[Array] = []
    led = groups(ops.rows, list(part.rows))
    late: list[tuple[int, Array]] = []  # streamed rows, and where their product is missing
    waits: Array | float = 0.0  # their seconds there
    for i in range(len(led) - 1, -1, -1):
        leader, own = led[i]
        followers, unit = [(r, _EVERYWHERE) for r in own] + late, activity.of(leader)
        seconds = stream.alone[place[leader]]
        behind = (sum_rows(stream.alone[place[own]]) if own else np.zeros(index.size)) + waits
        there = ops.count[leader][index] > 0 if followers else _EVERYWHERE
        late, waits = [], 0.0
        if not there.all():
            above = ops.rows[led[i - 1][0]] if i else None
            waits = np.where(there, 0.0, behind)
            if above is not None and above.matmul and above.place == ops.rows[leader].place:
                late = [(r, where & ~there) for r, where in followers]
            else:
                pieces.append(waits)
                waits = 0.0
            behind = np.where(there, behind, 0.0)
        fuse = _fuse(ops, index, activity, leader, followers)
        whole = _behind(seconds, behind, fuse)
        if followers and weight is not None and weight.size:
            shown = 1.0 - np.minimum(seconds, behind) * fuse / np.maximum(behind, 1e-300)
            for row, where in followers:
                weight[row] *= shown if where is _EVERYWHERE else np.where(where, shown, 1.0)
        ahead = unit.ahead
        if ahead is not None and ops.rows[leader].matmul and ops.rows[leader].b in PARAMETERS:
            least = _behind(stream.ahead[place[leader]], behind, fuse)
            room = unit.spread(ahead.room / ahead.bandwidth) * ops.count[leader][index]
            whole = np.maximum(least, whole - room)
        if stream.turned is not None:
            whole = np.minimum(whole, _behind(stream.turned[place[leader]], behind, fuse))
        pieces.append(whole)
    return pieces


def _fuse(
    ops: Operations,
    index: Array,
    activity: Activity,
    leader: int,
    followers: list[tuple[int, Array]],
) -> Array:
    """Whether rows run behind their producer at once.

    What another unit runs comes across a link: only the producer's own rows follow at once.
    """
    unit = activity.of(leader)
    fuse = unit.spread(unit.fuse)
    for row, where in followers:
        if activity.of(row) is not unit:
            fuse = fuse & ~(where & (ops.count[row][index] > 0))
    return fuse


def _behind(seconds: Array, behind: Array, fuse: Array) -> Array:
    """Seconds of a row and of the streamed rows behind it."""
    return seconds + behind - np.minimum(seconds, behind) * fuse
