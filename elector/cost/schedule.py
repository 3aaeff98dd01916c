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

from dataclasses import dataclass

import numpy as np

from elector.base.segments import Fold
from elector.machines.contract import Activity, Count, sum_rows
from elector.operations.rows import Operations, Row

Array = np.ndarray

#: Phases of a stage may overlap; stages follow one another.
STAGES: dict[str, tuple[str, ...]] = {
    "step": ("forward", "prefill", "recompute", "backward"),
    "decode": ("decode",),
    "update": ("update",),
}


_EVERYWHERE = np.ones(1, dtype=bool)


@dataclass(frozen=True, eq=False, repr=False)
class Timing:
    """Seconds of D designs.

    seconds : (D,) of the whole step.
    stages : stage -> (D,).
    weight : (R, D) a row's own part of its stage's seconds before overlap; 0 where hidden.
        Where layers have columns of their own, (R, P).
    fold : how those columns belong together, or None.
    """

    seconds: Array
    stages: dict[str, Array]
    weight: Array
    fold: Fold | None = None

    def share(self, ops: Operations, field: str) -> dict[str, Array]:
        """Seconds by `kind` or `phase`, which sum to the whole: each stage by its rows' weights."""
        found: dict[str, Array] = {}
        for stage, phases in STAGES.items():
            rows = [i for i, row in enumerate(ops.rows) if row.phase in phases]
            if not rows:
                continue
            whole = np.maximum(self._sum(rows), 1e-300)
            for name in dict.fromkeys(getattr(ops.rows[i], field) for i in rows):
                part = [i for i in rows if getattr(ops.rows[i], field) == name]
                seconds = self.stages[stage] * (self._sum(part) / whole)
                found[name] = found.get(name, 0.0) + seconds
        return found

    def _sum(self, rows: list[int]) -> Array:
        found = sum_rows(self.weight[rows])
        return found if self.fold is None else self.fold.sum(found)


def schedule(ops: Operations, index: Array, activity: Activity) -> Timing:
    """Overlap what can overlap; index (D,) names the pair of each design.

    Where layers have columns of their own, index (P,) names the column of each.
    """
    total, stages = activity.start, {}
    weight = np.array(activity.alone)
    for stage, phases in STAGES.items():
        rows = np.array([i for i, row in enumerate(ops.rows) if row.phase in phases], dtype=int)
        if rows.size:
            stages[stage] = _stage(ops, index, activity, rows, weight)
            total = total + stages[stage]
    first = next(iter(stages))
    stages[first] = stages[first] + activity.start
    return Timing(total, stages, weight, activity.fold)


def _stage(ops: Operations, index: Array, activity: Activity, rows: Array, weight: Array) -> Array:
    loads = [activity.load(name, rows) for name in activity.busy]
    # Of a hybrid, the designs in which nothing waits for another unit.
    pair = index if activity.fold is None else activity.fold.first(index)
    queued = np.broadcast_to(activity.queued, pair.shape)
    if queued.all():
        return _most(loads)
    chained = [i for i in rows if not ops.rows[i].off_chain]
    if not chained:
        return _most(loads)
    attention = [i for i in chained if ops.rows[i].in_attention]
    streams = _streams(ops, index, activity, chained)
    chain = _chain(
        ops, index, [i for i in chained if not ops.rows[i].in_attention], activity, weight
    )
    if attention:
        # The output projection waits for all heads, so that every layer has its own fill.
        chain = chain + _heads(ops, index, pair, activity, attention, weight)
    on_chain = [activity.load(name, np.array(chained)) for name in activity.busy]
    fills = _fills(ops, index, activity, chained, _periods(ops, rows)[pair])
    # Each resource idles while the chain is elsewhere; the one that is done last decides.
    bounds = [
        overlap(load, part, chain, streams, periods)
        for load, part, periods in zip(loads, on_chain, fills, strict=True)
    ]
    for unit in activity.members or (activity,):
        if unit.least is not None:
            bounds.append(unit.least.total(np.array(chained)))
    return np.where(queued, _most(loads), _most(bounds)) if queued.any() else _most(bounds)


def _heads(
    ops: Operations,
    index: Array,
    pair: Array,
    activity: Activity,
    attention: list[int],
    weight: Array,
) -> Array:
    """(D,) seconds of attention, whose heads are streams but where they stand side by side."""
    core = _chain(ops, index, attention, activity, weight)
    rows = np.array(attention)
    if activity.beside is None:
        loads = _most([activity.load(name, rows) for name in activity.busy])
        return overlap(loads, loads, core, ops.heads[pair], np.ones(1))
    apart = activity.beside[rows]
    side = sum_rows(np.where(apart, activity.chain[rows], 0.0))
    rest = np.maximum(core - side, 0.0)
    loads = _most(
        [sum_rows(np.where(apart, 0.0, _each(seconds)[rows])) for seconds in activity.busy.values()]
    )
    loads = np.minimum(loads, rest)
    return side + overlap(loads, loads, rest, ops.heads[pair], np.ones(1))


def _each(seconds: Array | Count) -> Array:
    return seconds.each() if isinstance(seconds, Count) else seconds


def overlap(load: Array, chain_load: Array, chain: Array, streams: Array, periods: Array) -> Array:
    """T = max(L + F, C / n) with the fill F of one period."""
    fill = np.maximum(chain - chain_load, 0.0) / (streams * periods)
    return np.maximum(load + fill, chain / streams)


def _streams(ops: Operations, index: Array, activity: Activity, chained: list[int]) -> Array:
    """Sequences that may overlap: as many as keep a stream from costing extra loads.

    chained : rows in which sequences stand below one another (not so in gradients of weights).
    """
    products = [i for i in chained if ops.rows[i].matmul]
    if not products:
        return np.ones(activity.shortest.size)
    if len(activity.members) <= 1:
        longest, streams = ops.m[products].max(axis=0)[index], ops.streams[index]
        if activity.fold is not None:
            longest, streams = activity.fold.most(longest), activity.fold.first(streams)
        return np.clip(np.floor(longest / activity.shortest), 1.0, streams)
    found = ops.streams[index]
    for i, (unit, works) in enumerate(zip(activity.members, activity.working, strict=True)):
        assert activity.owner is not None
        own = [r for r in products if activity.owner[r] == i]
        most = _most_streams(ops, index, own, unit.shortest)
        found = np.where(works, np.minimum(found, most), found)
    return np.maximum(found, 1.0)


def _most_streams(ops: Operations, index: Array, own: list[int], shortest: Array) -> Array:
    """(D,) streams that a unit of a hybrid leaves.

    Products of heads are as long however many sequences there are; a unit that has more of
    those is indifferent.
    """
    shared = [r for r in own if not ops.rows[r].in_attention]
    if not shared:
        return np.where(np.isinf(shortest), 1.0, np.inf)
    heads = [r for r in own if ops.rows[r].in_attention]
    macs = ops.count * ops.batch * ops.m * ops.k * ops.n
    more = sum_rows(macs[heads])[index] > sum_rows(macs[shared])[index] if heads else False
    most = np.floor(ops.m[shared].max(axis=0)[index] / shortest)
    return np.where(more & ~np.isinf(shortest), np.inf, most)


def _periods(ops: Operations, rows: Array) -> Array:
    """(M,) layers that the sequences pass one after another in a stage."""
    phases = {ops.rows[i].phase for i in rows}
    if "decode" in phases:
        tokens = ops.count[ops.where(phase="decode", kind="embedding")]
        return ops.layers * np.maximum(sum_rows(tokens), 1.0)
    return ops.layers * (2.0 if "backward" in phases else 1.0)


def _most(loads: list[Array]) -> Array:
    most = loads[0]
    for load in loads[1:]:
        most = np.maximum(most, load)
    return most


def groups(rows: tuple[Row, ...], subset: list[int]) -> list[tuple[int, list[int]]]:
    """Each row with the streamed rows that follow it."""
    found: list[tuple[int, list[int]]] = []
    for i in subset:
        leader = rows[found[-1][0]] if found else None
        follows = leader is not None and leader.matmul and leader.place == rows[i].place
        if rows[i].streamed and follows:
            found[-1][1].append(i)
        else:
            found.append((i, []))
    return found


def _fills(
    ops: Operations, index: Array, activity: Activity, chained: list[int], layers: Array
) -> list[Array]:
    """Of each resource the parts of the chain's fill; links wait as the slowest unit does."""
    if not activity.members:
        usual = _passes(ops, index, activity, chained, layers)
        return [activity.periods.get(name, usual) for name in activity.busy]
    found, least = [], np.full(index.size, np.inf)
    for unit, works in zip(activity.members, activity.working, strict=True):
        found += _fills(ops, index, unit, chained, layers)
        usual = _passes(ops, index, unit, chained, layers)
        least = np.where(works, np.minimum(least, usual), least)
    least = np.where(np.isfinite(least), least, 1.0)
    return found + [least] * (len(activity.busy) - len(found))


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
    refills = activity.weights.total(np.array(products)) / activity.room
    return np.minimum(periods, runs / np.clip(refills, 1.0, runs))


def _chain(
    ops: Operations, index: Array, subset: list[int], activity: Activity, weight: Array
) -> Array:
    """Seconds of the rows one after another.

    Streamed rows run behind their producer: the last product before them that a design has.
    Weights are fetched ahead while other work runs, in each run as far as there is room.
    """
    total = np.zeros(index.size)
    found = groups(ops.rows, subset)
    late: list[tuple[int, Array]] = []  # streamed rows, and where their product is missing
    waits: Array | float = 0.0  # their seconds there
    for place in range(len(found) - 1, -1, -1):
        leader, own = found[place]
        followers, unit = [(i, _EVERYWHERE) for i in own] + late, activity.of(leader)
        seconds = activity.chain[leader]
        behind = (sum_rows(activity.chain[own]) if own else np.zeros(index.size)) + waits
        there = ops.count[leader][index] > 0 if followers else _EVERYWHERE
        late, waits = [], 0.0
        if not there.all():
            above = ops.rows[found[place - 1][0]] if place else None
            waits = np.where(there, 0.0, behind)
            if above is not None and above.matmul and above.place == ops.rows[leader].place:
                late = [(i, where & ~there) for i, where in followers]
            else:
                total, waits = total + waits, 0.0
            behind = np.where(there, behind, 0.0)
        fuse = _fuse(ops, index, activity, leader, followers)
        whole = _behind(seconds, behind, fuse)
        if followers and weight.size:
            shown = 1.0 - np.minimum(seconds, behind) * fuse / np.maximum(behind, 1e-300)
            for row, where in followers:
                weight[row] *= shown if where is _EVERYWHERE else np.where(where, shown, 1.0)
        parameters = ops.rows[leader].b in ("weight", "reuse") and ops.rows[leader].matmul
        if parameters and "memory" in unit.busy:
            least = _behind(_fetched(unit, leader), behind, fuse)
            room = unit.spread(unit.room / unit.bandwidth) * ops.count[leader][index]
            whole = np.maximum(least, whole - room)
        total = total + whole
    return activity.whole(total)


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


def _fetched(activity: Activity, row: int) -> Array:
    """(D,) seconds of a product whose weights are on the chip when it starts."""
    memory = activity.row("memory", row)
    rest = memory - activity.weights.row(row) / activity.spread(activity.bandwidth)
    return (
        activity.chain[row] - memory.clip(activity.compute[row]) + rest.clip(activity.compute[row])
    )
