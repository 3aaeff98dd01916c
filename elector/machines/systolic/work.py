"""Seconds and counts of systolic designs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from elector.base.table import columns, combinations, distinct
from elector.machines.buffering import Loads, LoadsOf, holds, of_tiles, stream
from elector.machines.contract import (
    Activity,
    Ahead,
    Count,
    Details,
    Overlap,
    Stream,
    Streams,
    Units,
)
from elector.machines.systolic import peer
from elector.machines.systolic.cutting import overlapped, serial
from elector.machines.systolic.folds import (
    Arrays,
    Cuts,
    Sides,
    folds,
    mean_folds,
    pieces,
)
from elector.machines.systolic.limits import limits, trains
from elector.machines.systolic.near import Near, near, on_chip, room, slowest
from elector.machines.systolic.tables import (
    ARRAYS,
    FLOWS,
    WAYS,
    Tables,
    accesses,
    column_of,
    kinds,
    planned,
    same,
    sram_bytes,
    tables,
    vector_bytes,
)
from elector.machines.tiling import TILE_SHARE, TilingPlan
from elector.operations.rows import PARAMETERS, Operations

Array = np.ndarray

#: Settings that decide how long rows take in one of several streams, but for main memory.
STREAMED = (*ARRAYS, *WAYS, "vector_lanes", "special_cycles", "clock", "sram_bandwidth")


@dataclass(frozen=True, eq=False, repr=False)
class PreparedSystolic:
    """What all chunks of a block share.

    plan : of Q (pair, memory), with tiles in half of the memory, and behind them in all of it.
    plan_index : (D,) place of each design among them. read, written, moved (both), weights :
    (R, 2 Q) bytes over all runs; distinct, fill : (R, Q). place : (R,) of a row among the
    products, -1 elsewhere. shared : (products,) bool, all sequences multiply with the same matrix.
    alike : (products,) the first product with the same sides in every pair. kind : (D,) see
    `kinds`.
    words : (3, products, Q) words at the interfaces of designs that count as the peer does.

    index : (D,) pair of each design. plan_pair : (Q,) pair of each column of the plan. products,
    vectors : places of rows. macs : (products, M) multiply-accumulates that take energy; work,
    special : (R, M) simple and special operations on elements. trains : (M,) bool, whether there is
    a backward pass. near : traffic of memories in front of the arrays; None: no design has one.
    """

    ops: Operations
    index: Array
    units: Units
    plan: TilingPlan
    plan_index: Array
    plan_pair: Array
    products: Array
    vectors: Array
    tables: Tables
    macs: Array
    work: Array
    special: Array
    read: Array
    written: Array
    moved: Array
    weights: Array
    distinct: Array
    fill: Array
    place: Array
    shared: Array
    alike: Array
    kind: Array
    words: Array
    details: bool
    trains: Array
    near: Near | None

    def activity(self, part: slice | Array) -> Activity:
        """What the designs of `part` do."""
        return _activity(self, part)


def prepare(ops: Operations, index: Array, units: Units, details: bool) -> PreparedSystolic:
    """Traffic of each distinct (pair, memory), and tables by (pair, dataflow)."""
    products, vectors = ops.where(matmul=True), ops.where(matmul=False)
    size, fuse = units.number("sram"), units.number("fuse")
    memory, pair, plan_index = planned(ops, index, size, fuse, details)
    times = ops.count[:, pair]
    both = np.concatenate((times, times), axis=1)
    macs = ops.count * ops.batch * ops.m * ops.k * ops.n
    if ops.densities:
        # A dense array spends the cycle on a zero, but not the energy of the product.
        macs = macs * ops.density("a") * ops.density("b")
    place = np.full(len(ops.rows), -1, dtype=np.intp)
    place[products] = np.arange(products.size)
    return PreparedSystolic(
        ops,
        index,
        units,
        memory,
        plan_index,
        pair,
        products,
        vectors,
        tables(ops, products, ops.a_width, ops.b_width, ops.out_width, ops.format.accumulator),
        macs[products],
        *_vector_work(ops),
        memory.read * both,
        memory.written * both,
        (memory.read + memory.written) * both,
        memory.weights * both,
        memory.distinct * times,
        memory.fill * times,
        place,
        np.array([ops.rows[r].b in PARAMETERS for r in products], dtype=bool),
        same(ops, products),
        kinds(ops, products, index, units),
        peer.tables(ops, products, pair, plan_index, units),
        details,
        (ops.count[ops.where(phase="backward")] > 0).any(axis=0),
        near(ops, index, units),
    )


def _vector_work(ops: Operations) -> tuple[Array, Array]:
    """(R, M) simple and special operations on elements, over all runs."""
    each = (np.array([getattr(row, name) for row in ops.rows]) for name in ("simple", "special"))
    simple, special = (numbers[:, None] for numbers in each)
    elements = np.where(simple + special > 0, ops.count * ops.m, 0.0)
    return elements * simple, elements * special


# ---- seconds ----


@dataclass(frozen=True, eq=False, repr=False)
class _ArrayChunk:
    """D designs of a chunk: their settings, and the pair of each.

    column : (D,) of the tables. kind : (D,) the same where the arrays see products of the same
    sides, on the same arrays. half : (D,) of the plan with tiles in half of the memory. part :
    their places among all designs.
    """

    p: PreparedSystolic
    units: Units
    index: Array
    column: Array
    half: Array
    kind: Array
    part: slice | Array

    @functools.cached_property
    def double(self) -> Array:
        """(D,) whether loads may overlap with computing: half of each memory holds a tile."""
        fits = self.p.plan.needed[self.half] * 2.0 / TILE_SHARE <= self.units.number("sram")
        near, fits = self.p.near, fits & self.units.flag("double_buffer")
        return fits if near is None else fits & near.doubles(self.part, self.units)

    @functools.cached_property
    def peer(self) -> Array:
        """(D,) whether cycles and stalls are counted as the peer does."""
        return self.units.equals("convention", "scalesim")

    @functools.cached_property
    def arrays(self) -> Arrays:
        """The arrays of the designs, with the accumulators under their columns.

        The peer's hold every sum of a stream.
        """
        rows, cols, count = (self.units.number(key) for key in ("rows", "cols", "arrays"))
        row = cols * count * self.p.ops.format.accumulator
        sums = np.floor(self.units.number("accumulators") / row)
        sums = np.where(self.peer, np.inf, sums)
        os, inputs = (self.units.equals("dataflow", flow) for flow in ("os", "is"))
        return Arrays(rows, cols, count, os, inputs, sums)

    @property
    def whole(self) -> Array:
        """(D,) the plan with tiles in all of the memory."""
        return self.half + self.p.plan_pair.size

    @property
    def plain(self) -> Array:
        """(D,) the plan of an operation that does not choose."""
        return np.where(self.double, self.half, self.whole)

    @property
    def streamed(self) -> _ArrayChunk:
        """The designs with those settings only that streams ask for."""
        return replace(self, units=self.units.only(STREAMED))

    def some(self, columns: Array) -> _ArrayChunk:
        """Some of the designs."""
        units, index = self.units.take(columns), self.index[columns]
        column, half, kind = (x[columns] for x in (self.column, self.half, self.kind))
        every = np.arange(self.p.index.size)
        return _ArrayChunk(self.p, units, index, column, half, kind, every[self.part][columns])


@dataclass(frozen=True, eq=False, repr=False)
class _Compute:
    """Seconds of R rows over all runs, (R, D).

    alone : of the unit that computes the row. array, chip : for which the arrays and the port of
    the on-chip memory are taken. cycles : of the unit. cuts : asks how the products among
    the rows are cut.
    """

    alone: Array
    array: Array
    chip: Array | None
    cycles: Array
    cuts: Callable[[], Cuts]


def _activity(p: PreparedSystolic, part: slice | Array) -> Activity:
    """Seconds and counts of the designs in `part` (physics: time = the slowest resource)."""
    ops, units = p.ops, p.units.take(part)
    index, half = p.index[part], p.plan_index[part]
    d = _ArrayChunk(p, units, index, column_of(ops, index, units), half, p.kind[part], part)
    compute, loads = _compute(d, np.arange(len(ops.rows)), None, _elements(d)), _loads(d)
    one, turns = stream(compute.alone, LoadsOf(loads)), loads.turns(compute.alone)
    alone = one.alone if one.turned is None else one.turned.least(one.alone)
    vectors = np.array([not row.matmul for row in ops.rows])[:, None]
    busy: dict[str, Array | Count] = {
        "array": compute.array,
        "vector": np.where(vectors, compute.alone, 0.0),
        "memory": loads.memory(turns),
    }
    ports = {"on-chip memory": compute.chip, "vector memory": loads.port(turns)}
    busy |= {name: seconds for name, seconds in ports.items() if seconds is not None}
    counts, through = _counts(d, compute.cuts(), turns)
    return Activity(
        busy=busy,
        alone=alone,
        cycles=compute.cycles,
        counts=counts,
        fuse=units.flag("fuse"),
        start=np.where(d.peer, 0.0, _start(d) / units.number("bandwidth")),
        executed=ops.executed[index],
        peak=d.arrays.rows * d.arrays.cols * d.arrays.count * units.number("clock"),
        limits=trains(ops, units, p.trains[index])
        | limits(ops, units, index, d.arrays, d.peer)
        | room(p.near, units, part),
        overlap=_overlap(d, one, loads, compute, turns),
        ahead=Ahead(
            Count(p.distinct, d.half),
            units.number("sram") * TILE_SHARE / 2.0,
            slowest(units),
        ),
        details=_details(d, compute.cuts(), turns, through()) if p.details else None,
    )


def _overlap(d: _ArrayChunk, one: Stream, loads: Loads, compute: _Compute, turns: Array) -> Overlap:
    """How the sequences follow one another; turns (R, D) : bool, loads and computing take them."""
    return Overlap(
        one=one,
        streams=_ArrayStreams(d.streamed, LoadsOf(loads), compute.cycles),
        turns=turns,
        holds=holds(compute.alone, compute.array, loads, turns),
        unpacks=True,
        in_order=~(d.units.flag("interleave") | d.peer),
    )


def _details(d: _ArrayChunk, cuts: Cuts, turns: Array, traffic: tuple[Array, Array]) -> Details:
    """Tiles, bytes and accesses of each operation."""
    return Details(
        _tiles(d, turns), traffic, _moved(d, turns), accesses(d.p.ops, d.p.products, d.column, cuts)
    )


def _chosen(d: _ArrayChunk, table: Array, turns: Array) -> Array:
    """(R, D) values of a plan's table (R, 2 Q) for the tiles that each operation takes."""
    return of_tiles(table, (d.half, d.whole), d.double, turns)


def _loads(d: _ArrayChunk) -> Loads:
    p, bandwidth = d.p, d.units.number("bandwidth")
    moved, weights = p.moved, p.distinct

    def seconds(table: Array, places: Array) -> Array:
        taken = table.take(places, axis=1, mode="clip")
        taken /= bandwidth
        return taken

    half, whole = seconds(moved, d.half), seconds(moved, d.whole)
    loads = Loads(
        *(half, whole, seconds(weights, d.half), seconds(p.fill, d.half)),
        d.double | d.peer,
        None if p.near is None else p.near.seconds(d.part, d.units),
        bandwidth / d.units.number("vector_memory_bandwidth") if p.near is not None else 0.0,
    )
    return _peer_loads(d, loads) if d.peer.any() else loads


def _peer_loads(d: _ArrayChunk, loads: Loads) -> Loads:
    """The loads, those of designs that count as the peer does at its interfaces."""
    words = d.units.number("interface_bandwidth") * d.units.number("clock")
    each = np.zeros_like(loads.half)
    each[d.p.products] = peer.seconds(d.p.words[:, :, d.half], words)

    def of(values: Array, counted: Array | float) -> Array:
        return np.where(d.peer, counted, values)

    return replace(
        loads,
        half=of(loads.half, each),
        whole=of(loads.whole, each),
        weights=of(loads.weights, 0.0),
        fill=of(loads.fill, 0.0),
    )


@dataclass(frozen=True, eq=False, repr=False)
class _ArrayStreams(Streams):
    """What one of n streams takes of the arrays and of main memory.

    cycles : (R, D) cycles of each row of all designs in one stream.
    """

    d: _ArrayChunk
    loads: LoadsOf
    cycles: Array

    def of(self, n: Array, rows: Array) -> Stream:
        """What one of n (D,) streams takes for some rows."""
        elements = self.loads.at(rows[self.d.p.place[rows] < 0])
        work = elements.taken(self.cycles, elements.places) / n
        compute = _compute(self.d, rows, n, work)
        busy = {"array": compute.array}
        if compute.chip is not None:
            busy["on-chip memory"] = compute.chip
        return stream(compute.alone, self.loads.at(rows), n, busy)

    def some(self, columns: Array) -> Streams:
        """The streams of some of the designs."""
        return _ArrayStreams(self.d.some(columns), self.loads.some(columns), self.cycles)


def _elements(d: _ArrayChunk) -> Array:
    """(vectors, D) cycles of element-wise work on all sequences."""
    p, units = d.p, d.units
    special = columns(p.special[p.vectors], d.index) * units.number("special_cycles")
    return (columns(p.work[p.vectors], d.index) + special) / units.number("vector_lanes")


def _compute(d: _ArrayChunk, rows: Array, n: Array | None, work: Array) -> _Compute:
    """Seconds of rows without main memory, of all sequences or of one of n (D,) streams.

    work : (vectors, D) cycles of those of the rows that are no products.
    """
    p, units, ops = d.p, d.units, d.p.ops
    clock, matmul = units.number("clock"), p.place[rows] >= 0
    products = p.place[rows[matmul]]
    cycles, taken = np.zeros((2, rows.size, d.index.size))
    cycles[~matmul] = work
    few, _, which = distinct(p.alike[products])
    first, place = combinations([d.kind] if n is None else [d.kind, n])
    each = d.some(first)
    seen = _sides(each, few, None if n is None else n[first])
    count = columns(ops.count[rows[matmul]], d.index)
    for put, one in zip((cycles, taken), _cycles(each, seen), strict=True):
        runs = columns(one, place)[which]
        runs *= count
        put[matmul] = runs
    alone = cycles / clock if n is None else np.divide(cycles, clock, out=cycles)
    port, chip = units.number("sram_bandwidth"), None
    cuts = functools.partial(seen.cuts, which, place)
    if (port > 0).any():
        chip, cut = np.zeros_like(cycles), cuts()
        reads, writes, _ = sram_bytes(p.tables, products, d.column, cut)
        if n is not None:
            reads, writes = _sram_of(d, products, cut, n)
        chip[matmul] = (reads + writes) / np.where((port > 0) & ~d.peer, port, np.inf)
        alone = np.maximum(alone, chip)
    taken /= clock
    return _Compute(alone, taken, chip, cycles, cuts)


def _sides(d: _ArrayChunk, products: Array, n: Array | None) -> Sides:
    """The products as the arrays see them: of all sequences, or of one of n (D,) streams.

    Sequences share a weight, which sees their rows one below the other; in attention each has
    products of its own.
    """
    p, t = d.p, d.p.tables
    rows, cols, stream = (columns(x[products], d.column) for x in (t.rows, t.cols, t.stream))
    op = p.products[products]
    batch = mean = columns(p.ops.batch[op], d.index)
    if n is not None:
        shared, flow = p.shared[products][:, None], d.units.code("dataflow", FLOWS)
        stream = np.where(shared & (flow == 0), stream / n, stream)
        rows = np.where(shared & (flow == 1), rows / n, rows)
        cols = np.where(shared & (flow == 2), cols / n, cols)
        mean = np.where(shared, batch, batch / n)
        batch = np.where(shared, batch, np.ceil(mean))
    a = d.arrays
    nr, nc = folds(rows, a.rows), folds(cols, a.cols)
    grows = np.array([bool(p.ops.rows[r].grows) for r in op], dtype=bool)[:, None]
    if grows.any():
        _grow(d, op, (a.rows, a.cols), nr, nc)
        # A window that hides nothing leaves a side as it is.
        decodes = np.array([p.ops.rows[r].phase == "decode" for r in op])[:, None]
        grows = grows & (decodes | (columns(p.ops.span[op], d.index) > 0))
    return Sides(rows, cols, stream, batch, mean, nr, nc, grows, pieces(stream, nr, a))


def _grow(d: _ArrayChunk, op: Array, size: tuple[Array, Array], nr: Array, nc: Array) -> None:
    """Mean number of folds where a side grows with the token index, in closed form, in place."""
    ops, flow = d.p.ops, d.units.code("dataflow", FLOWS)
    # Which of sr, sc a growing n or k is, for each dataflow; the stream is linear as it is.
    place = {"n": (1, 1, 2), "k": (0, 2, 0)}
    for i, r in enumerate(op):
        grows = ops.rows[r].grows
        if not grows:
            continue
        side = np.array(place[grows])[flow]
        value = (ops.n if grows == "n" else ops.k)[r][d.index]
        span = ops.span[r][d.index]
        nr[i] = np.where(side == 0, mean_folds(value, span, size[0]), nr[i])
        nc[i] = np.where(side == 1, mean_folds(value, span, size[1]), nc[i])


def _cycles(d: _ArrayChunk, s: Sides) -> tuple[Array, Array]:
    """(N, D) cycles of one run of the products, and cycles the arrays are taken."""
    units, a = d.units, d.arrays
    cycles, taken = overlapped(s, a)
    means = np.flatnonzero(s.grows.any(axis=1))
    if means.size:
        # A mean over sizes has no last fold of its own: cells may wait where that is sooner.
        least = np.where(s.grows[means], serial(s.at(means), a), np.inf)
        for each in (cycles, taken):
            each[means] = np.minimum(each[means], least)
    waits = units.equals("preload", "serial")
    if waits.any():
        one_by_one = serial(s, a)
        cycles, taken = np.where(waits, one_by_one, cycles), np.where(waits, one_by_one, taken)
    if d.peer.any():
        counted = peer.cycles(s, a)
        cycles, taken = np.where(d.peer, counted, cycles), np.where(d.peer, counted, taken)
    return cycles, taken


# ---- bytes and counts ----


def _sram_of(d: _ArrayChunk, products: Array, s: Cuts, n: Array) -> tuple[Array, Array]:
    """Bytes of one of n streams: each reads the parameters anew."""
    t, flow = d.p.tables, d.units.code("dataflow", FLOWS)
    moving, fixed, turning, result = (
        columns(x[products], d.column) for x in (t.moving, t.fixed, t.turning, t.result)
    )
    again = np.where(d.p.shared[products][:, None], 1.0, n)
    moving = moving / np.where(flow == 2, again, n)
    fixed = fixed / np.where(flow == 2, n, again)
    return moving * s.nc + fixed * s.pieces + turning / again * s.nr, result / n


def _start(d: _ArrayChunk) -> Array:
    """Bytes the first product needs in its cells: nothing ran before that could hide them.

    One fold of weights, not a tile of them: the array starts while the rest of the tile comes.
    """
    p, units = d.p, d.units
    there = p.ops.count[p.products] > 0
    if not there.any():  # vector work alone
        return np.zeros(d.index.size)
    # The first product that a pair has: others beside it may have one before, or none.
    first = p.products[there.argmax(axis=0)][d.index]
    k = np.minimum(p.ops.k[first, d.index], units.number("rows"))
    n = np.minimum(p.ops.n[first, d.index], units.number("cols"))
    fold = np.minimum(k * n * p.ops.b_width[first], p.plan.read[first, d.plain])
    return np.where(there.any(axis=0)[d.index], fold, 0.0)


def _moved(d: _ArrayChunk, turns: Array) -> tuple[Array, Array, Array]:
    """(R, D) bytes of weights, of everything else read, and written, over all runs."""
    weights, read, written = (_chosen(d, x, turns) for x in (d.p.weights, d.p.read, d.p.written))
    return weights, read - weights, written


def _tiles(d: _ArrayChunk, turns: Array) -> tuple[Array, Array, Array]:
    plan = d.p.plan
    m, k, n = (_chosen(d, x, turns) for x in (plan.tile_m, plan.tile_k, plan.tile_n))
    return m, k, n


def _counts(
    d: _ArrayChunk, cuts: Cuts, turns: Array
) -> tuple[dict[str, Count], Callable[[], tuple[Array, Array]]]:
    """How often each action happens; what passes main memory passes the on-chip memory too.

    Beside it, where it is asked for, the bytes of every row on chip and of main memory.
    """
    p, index = d.p, d.index
    here, every = np.arange(index.size), np.arange(p.products.size)
    reads, writes, passed = sram_bytes(p.tables, every, d.column, cuts)
    plain = not (turns & d.double).any()
    memory = Count(p.moved, d.plain) if plain else Count(_chosen(d, p.moved, turns), here)
    read, write = vector_bytes(p.ops, index, ~d.units.flag("fuse"))
    read[p.products] += reads
    write[p.products] += writes
    come, go = _chosen(d, p.read, turns), _chosen(d, p.written, turns)
    crossing = None if p.near is None else p.near.crossing(d.part, d.double, turns)
    sums = np.zeros_like(read)
    sums[p.products] = passed
    shape = p.ops.count.shape
    macs, register = np.zeros(shape), np.zeros((shape[0], p.tables.register.shape[1]))
    macs[p.products] = p.macs
    register[p.products] = p.tables.register
    counts = {
        "mac": Count(macs, index),
        "register": Count(register, d.column),
        **on_chip(d.units, (read, write), (come, go), crossing),
        "accumulator read": Count(sums, here),
        "accumulator write": Count(sums, here),
        "vector": Count(p.work, index),
        "special": Count(p.special, index),
        "main memory": memory,
        "interface": memory,
    }
    return counts, lambda: (_through(p, read + write + come + go, passed), memory.each())


def _through(p: PreparedSystolic, both: Array, passed: Array) -> Array:
    """(R, D) bytes that pass on chip: `both`, and of products their sums twice."""
    both[p.products] += passed * 2.0
    return both
