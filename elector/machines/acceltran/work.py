"""Seconds and counts of AccelTran designs, gathered from the tables of their settings."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np

from elector.base.table import columns, combinations, distinct
from elector.machines import memories
from elector.machines.acceltran import lanes, tables
from elector.machines.acceltran.lane_table import (
    LANES,
    Lanes,
    element_cycles,
    lanes_of,
    of_elements,
    streams_of,
)
from elector.machines.acceltran.tables import (
    OWN,
    UNITS,
    PreparedAccelTran,
    memory_counts,
    unit_cycles,
)
from elector.machines.buffering import Loads, LoadsOf, holds, of_tiles, stream
from elector.machines.contract import (
    Activity,
    Ahead,
    Count,
    Details,
    Gating,
    Overlap,
    Stream,
    Streams,
    Units,
)
from elector.machines.tiling import TILE_SHARE
from elector.operations.rows import Operations

Array = np.ndarray

#: Settings that decide how long rows take in one of several streams, but for main memory: on the
#: lanes, and on the units beside them.
ON_LANES, BESIDE = (*LANES, "training", "loop_order"), (*UNITS, "unit_cycles")
STREAMED = (*ON_LANES, *BESIDE)


@dataclass(frozen=True)
class _LaneChunk:
    """D designs of a chunk: settings, pairs, and their places in the tables.

    half : (D,) of main memory with tiles in half of the buffers.
    """

    p: PreparedAccelTran
    units: Units
    index: Array
    lanes: Array
    unit: Array
    half: Array

    @property
    def released(self) -> Array:
        """(D,) bool, nothing overlaps, as in the released cycle simulator."""
        return self.units.equals("convention", "released")

    @functools.cached_property
    def double(self) -> Array:
        """(D,) bool, loads may overlap with computing: half of each buffer holds a tile."""
        fits = np.ones(self.index.size, dtype=bool)
        for needed, available in _tiles_need(self.p.ops, self.units, 2.0).values():
            fits &= needed <= available
        return self.units.flag("double_buffer") & fits & ~self.released

    @property
    def whole(self) -> Array:
        """(D,) place in the tables of main memory with tiles in all of the buffers."""
        return self.half + self.p.memory.charge.size

    @property
    def plain(self) -> Array:
        """(D,) place of an operation that does not choose."""
        return np.where(self.double, self.half, self.whole)

    def some(self, columns: Array) -> _LaneChunk:
        """Some of the designs."""
        places = (x[columns] for x in (self.index, self.lanes, self.unit, self.half))
        return _LaneChunk(self.p, self.units.take(columns), *places)


@dataclass(frozen=True, eq=False, repr=False)
class Ready:
    """Designs of a block, and the tables their seconds and counts are gathered from."""

    tables: PreparedAccelTran

    def activity(self, part: slice | Array) -> Activity:
        """What the designs of `part` do."""
        return _activity(self.tables, part)


def prepare(ops: Operations, index: Array, units: Units, details: bool) -> Ready:
    """The tables of a block; index (D,) names the pair of each design."""
    return Ready(tables.prepare(ops, index, units, details))


def _activity(p: PreparedAccelTran, part: slice | Array) -> Activity:
    """Seconds and counts of the designs in `part`: gathered from the tables."""
    units, index = p.units.take(part), p.index[part]
    d = _LaneChunk(p, units, index, p.lanes_index[part], p.units_index[part], p.memory_index[part])
    c, s, memory = d.lanes, d.unit, p.memory
    rate = np.minimum(units.number("bandwidth"), units.number("buffer_port"))
    # A lane starts with its first tile of weights, while the rest of them comes.
    tile = units.number("tile_x") * units.number("tile_y") * p.ops.b_width[p.leader[part]]
    none = d.released | (p.leader[part] < 0)
    start = np.where(none, 0.0, np.minimum(tile, memory.first[d.plain]) / rate)
    compute = _computing(p, c, s)
    loads = _loads(d)
    one, turns = stream(compute, LoadsOf(loads)), loads.turns(compute)
    plain = not (turns & d.double).any()
    alone = one.alone if one.turned is None else one.turned.least(one.alone)
    clock, lane_count = units.number("clock"), units.number("pe") * units.number("lanes_per_pe")
    return Activity(
        busy=_busy(d, turns, alone),
        alone=alone,
        cycles=alone * clock,
        counts=_counts(d, turns, plain),
        fuse=np.ones(index.size, dtype=bool),
        start=start,
        executed=_executed(p.ops)[index],
        peak=lane_count * units.number("mac_per_lane") * clock,
        limits=_limits(p, units, index),
        overlap=Overlap(
            one=one,
            streams=_LaneStreams(replace(d, units=units.only(STREAMED)), LoadsOf(loads)),
            turns=turns & ~d.released,
            holds=holds(compute, np.zeros_like(compute), loads, turns & ~d.released),
        ),
        ahead=_ahead(d, rate),
        gating=_gating(d),
        details=_details(d, turns) if p.details else None,
    )


def _busy(d: _LaneChunk, turns: Array, alone: Array) -> dict[str, Array | Count]:
    """Resource -> seconds; the released simulator runs operations one after another."""
    p, memory = d.p, d.p.memory.seconds
    plain = not (turns & d.double).any()
    busy: dict[str, Array | Count] = {
        "lanes": _sums(p, p.lanes.taken, d.lanes),
        "activation units": _sums(p, p.lanes.functions, d.lanes),
        "softmax units": _sums(p, p.softmax.seconds, d.unit),
        "layer-norm units": _sums(p, p.norm.seconds, d.unit),
        "memory": Count(memory, d.plain) if plain else _chosen(d, memory, turns),
    }
    if d.released.any():
        busy["one after another"] = np.where(d.released, alone, 0.0)
    return busy


def _computing(p: PreparedAccelTran, c: Array, s: Array) -> Array:
    """(R, D) seconds of rows if main memory took no time; c, s : (D,) places in the tables of
    lanes and of softmax and layer-norm units."""
    compute = columns(p.lanes.seconds, c)
    for kind, table in (("softmax", p.softmax), ("norm", p.norm)):
        if compute is p.lanes.seconds:
            compute = compute.copy()
        compute[p.rows[kind]] = columns(table.each, s)
    return compute


def _ahead(d: _LaneChunk, rate: Array) -> Ahead:
    """Weights that are fetched early, at `rate` (D,) bytes a second."""
    room = d.units.number("weight_buffer") * TILE_SHARE / 2.0
    return Ahead(Count(d.p.memory.distinct, d.half), room, rate)


def _details(d: _LaneChunk, turns: Array) -> Details:
    """Tiles and bytes of each operation."""
    return Details(_tiles(d.p, d.units, d.index), _traffic(d, turns), _moved(d, turns))


def _gating(d: _LaneChunk) -> Gating:
    """What is gated, and the share of the leakage that it keeps."""
    awake = _awake(d.p, d.lanes, d.unit)
    return Gating(awake, dict.fromkeys(awake, d.units.number("gating_residue")))


def _chosen(d: _LaneChunk, table: Array, turns: Array) -> Array:
    """(R, D) values of a table of main memory for the tiles that each operation takes."""
    return of_tiles(table, (d.half, d.whole), d.double, turns)


def _loads(d: _LaneChunk) -> Loads:
    m = d.p.memory
    return Loads(
        columns(m.seconds, d.half),
        columns(m.seconds, d.whole),
        columns(m.fetches, d.half),
        columns(m.fill, d.half),
        d.double,
    )


@dataclass(frozen=True, eq=False, repr=False)
class _Combined:
    """X combinations of settings and pairs.

    place : (D,) the combination of each design. first : (X,) the first design of each. units :
    their settings. pair : (X,) their pairs. lanes : what the lanes' cells share; None where no
    lanes are asked for.
    """

    place: Array
    first: Array
    units: Units
    pair: Array
    lanes: Lanes | None

    def some(self, columns: Array) -> _Combined:
        """Those of some of the designs."""
        which, first, place = distinct(self.place[columns])
        return self._at(which, first, place)

    def apart(self, n: Array) -> _Combined:
        """Those that differ in n (D,), too."""
        if (n[self.first][self.place] == n).all():
            return self
        first, place = combinations([self.place, n])
        return self._at(self.place[first], first, place)

    def _at(self, which: Array, first: Array, place: Array) -> _Combined:
        some = self.lanes.some(which) if self.lanes else None
        return _Combined(place, first, self.units.take(which), self.pair[which], some)


@dataclass(frozen=True, eq=False, repr=False)
class _LaneStreams(Streams):
    """What one of n streams takes of the lanes, the units beside them and main memory.

    It is worked out once for each combination of settings and n, of the settings of the lanes and
    of those of the units beside them. whole : those of more designs, and which of them these are;
    None: there are none.
    """

    d: _LaneChunk
    loads: LoadsOf
    whole: tuple[_LaneStreams, Array] | None = None

    @property
    def floor(self) -> bool:
        """A wave is whole however few tiles it has."""
        return True

    @functools.cached_property
    def on_lanes(self) -> _Combined:
        """What is worked out once of the lanes, of these designs: a part of that of `whole`."""
        if self.whole is not None:
            return self.whole[0].on_lanes.some(self.whole[1])
        first, place = combinations([self.d.lanes])
        units, pair, p = self.d.units.only(ON_LANES).take(first), self.d.index[first], self.d.p
        order = units.code("loop_order", lanes.ORDERS)
        return _Combined(
            place, first, units, pair, lanes_of(p.ops, p.rows["products"], pair, units, order)
        )

    @functools.cached_property
    def beside(self) -> _Combined:
        """The same of the units beside the lanes."""
        if self.whole is not None:
            return self.whole[0].beside.some(self.whole[1])
        first, place = combinations([self.d.unit])
        units = self.d.units.only(BESIDE).take(first)
        return _Combined(place, first, units, self.d.index[first], None)

    def of(self, n: Array, rows: Array) -> Stream:
        """What one of n (D,) streams takes for some rows."""
        p, unit_of = self.d.p, self.d.p.unit_of[rows]
        compute, taken = np.zeros((2, rows.size, n.size))
        known: dict[bool, _Combined] = {}
        for code, unit in enumerate(p.rows):
            here, own = np.flatnonzero(unit_of == code), unit in OWN
            if not here.size:
                continue
            if own not in known:
                known[own] = (self.beside if own else self.on_lanes).apart(n)
            c, some = known[own], rows[here]
            if unit == "products":
                assert c.lanes is not None
                few, _, which = distinct(p.alike[some])
                each = streams_of(c.lanes, few, n[c.first])
                compute[here], taken[here] = (columns(x, c.place)[which] for x in each)
                continue
            seconds = _element_seconds(p.ops, unit, some, c.pair, c.units, n[c.first])
            compute[here] = columns(seconds, c.place)
            if unit == "vector":
                each = _lanes_taken(p.ops, some, c.pair, c.units) / n[c.first]
                taken[here] = columns(each, c.place)
        return stream(compute, self.loads.at(rows), n, {"lanes": taken})

    def some(self, columns: Array) -> Streams:
        """The streams of some of the designs."""
        return _LaneStreams(self.d.some(columns), self.loads.some(columns), (self, columns))


def _element_seconds(
    ops: Operations, unit: str, rows: Array, pair: Array, u: Units, n: Array
) -> Array:
    """(N, X) seconds of rows that a unit works on and that are no products, in one of n streams:
    whole waves."""
    times, elements = columns(ops.count[rows], pair), columns(ops.m[rows], pair) / n
    if unit == "functions":
        cycles = np.ceil(elements / (u.number("pe") * u.number("lanes_per_pe")))
    elif unit in OWN:
        cycles = unit_cycles(ops, rows, unit, elements, u)
    else:
        cycles = element_cycles(ops, rows, elements, u)
    return times * cycles / u.number("clock")


def _lanes_taken(ops: Operations, rows: Array, pair: Array, u: Units) -> Array:
    """(N, X) seconds for which element-wise work takes the lanes, waves shared."""
    simple, special = of_elements(ops, rows)
    lane_count = u.number("pe") * u.number("lanes_per_pe")
    cycles = simple / u.number("mac_per_lane") + special
    work = columns(ops.count[rows], pair) * columns(ops.m[rows], pair)
    return work * cycles / lane_count / u.number("clock")


def _sums(p: PreparedAccelTran, values: Array, index: Array) -> Count:
    """A count that is kept by group of rows."""
    return Count(values, index, group=p.group)


def _executed(ops: Operations) -> Array:
    """(M,) multiply-accumulates that zero-skipping leaves."""
    if not ops.densities:
        return ops.executed
    rows = ops.where(matmul=True)
    total = np.zeros(ops.count.shape[1])
    for r in rows:
        products = ops.count[r] * ops.batch[r] * ops.m[r] * ops.k[r] * ops.n[r]
        for shares in (ops.densities["a"], ops.densities["b"]):
            products = products * shares.values[shares.code[r]]
        total = total + products
    return ops.whole(total)


def _counts(d: _LaneChunk, turns: Array, plain: bool) -> dict[str, Count]:
    p, lane, memory, c, s = d.p, d.p.lanes, d.p.memory, d.lanes, d.unit
    passed = {name: _sums(p, values, d.plain) for name, values in memory.counts.items()}
    if not plain:
        some = np.flatnonzero((turns & d.double).any(axis=0))
        few, own, here = d.some(some), turns[:, some], np.arange(d.index.size)
        read, written, weights = (
            _chosen(few, x, own) for x in (memory.read, memory.written, memory.weights)
        )
        counts = memory_counts(read, written, weights, memory.charge[few.half], p.group)
        for name, values in counts.items():
            sums = memory.counts[name][:, d.plain]
            sums[:, some] = values
            passed[name] = _sums(p, sums, here)
    return {
        "mac": _sums(p, lane.macs, c),
        "vector": _sums(p, lane.vector, c),
        "special": _sums(p, lane.special, c),
        "fifo": _sums(p, lane.cycles, c),
        "dataflow": _sums(p, lane.dataflow, c),
        "pre-sparsity": _sums(p, lane.sparse, c),
        "post-sparsity": _sums(p, lane.pruned, c),
        "stochastic rounding": _sums(p, lane.rounded, c),
        "softmax": _sums(p, p.softmax.work, s),
        "layer norm": _sums(p, p.norm.work, s),
        "activation buffer": _sums(p, lane.activation, c),
        "weight buffer": _sums(p, lane.weight, c),
        "mask buffer": _sums(p, lane.mask, c),
        **passed,
    }


def _awake(p: PreparedAccelTran, c: Array, s: Array) -> dict[str, Count]:
    """Seconds under power of the modules that are gated; buffers hold data and never are."""
    lane = _sums(p, p.lanes.active, c)
    names = (
        "lanes",
        "fifo",
        "pre-sparsity",
        "post-sparsity",
        "stochastic rounding",
        "dataflow",
        "dma",
    )
    return {
        **dict.fromkeys(names, lane),
        "softmax": _sums(p, p.softmax.seconds, s),
        "layer norm": _sums(p, p.norm.seconds, s),
    }


def _limits(p: PreparedAccelTran, u: Units, index: Array) -> dict[str, tuple[Array, Array]]:
    trains = u.number("training") * u.equals("training_support", "false")
    total = sum(p.ops.memory.values(), np.zeros(1))
    return {
        "the machine does not train: accelerator.training_support is false": (
            trains,
            np.zeros(index.size),
        ),
        "main memory: needs {needed}, has {available}": (total[index], u.number("memory_capacity")),
        **_bandwidth(u),
        # Double buffering is a permission: one tile in all of a buffer will do.
        **_tiles_need(p.ops, u, 1.0),
    }


def _bandwidth(u: Units) -> dict[str, tuple[Array, Array]]:
    """The limit of the main memory, but for the release's, which takes its bytes for longer."""
    released = u.equals("convention", "released")
    return {
        text: (np.where(released, 0.0, needed), available)
        for text, (needed, available) in memories.limit(u).items()
    }


def _tiles_need(ops: Operations, u: Units, copies: float) -> dict[str, tuple[Array, Array]]:
    """Bytes that so many copies of a tile need of each buffer, and those there are."""
    x, y, b = u.number("tile_x"), u.number("tile_y"), u.number("tile_b")
    held, inputs, outputs, f = copies / TILE_SHARE, b * x * y, b * x * x, ops.format
    # Attention keeps both operands in the activation buffer.
    activation = held * (2.0 * inputs * f.activation + outputs * f.accumulator)
    masks = held * 2.0 * inputs / 8.0 * bool(ops.densities)
    return {
        "activation buffer: one tile needs {needed}, has {available}": (
            activation,
            u.number("activation_buffer"),
        ),
        "weight buffer: one tile needs {needed}, has {available}": (
            held * inputs * f.weight,
            u.number("weight_buffer"),
        ),
        "mask buffer: the masks of one tile need {needed}, has {available}": (
            masks,
            u.number("mask_buffer"),
        ),
    }


def _tiles(p: PreparedAccelTran, u: Units, index: Array) -> tuple[Array, Array, Array]:
    """(R, D) sides of the tiles of the lanes; 0 for vector work."""
    matmul = np.array([row.matmul for row in p.ops.rows])[:, None]
    x, y = u.number("tile_x"), u.number("tile_y")
    rows = np.where(p.ops.batch[:, index] <= 1.0, u.number("tile_b") * x, x)
    return matmul * rows, matmul * y, matmul * x


def _traffic(d: _LaneChunk, turns: Array) -> tuple[Array, Array]:
    p = d.p
    moved = _chosen(d, p.memory.read, turns) + _chosen(d, p.memory.written, turns)
    chip = (p.lanes.activation + p.lanes.weight + p.lanes.mask)[:, d.lanes]
    return chip + moved, moved


def _moved(d: _LaneChunk, turns: Array) -> tuple[Array, Array, Array]:
    """(R, D) bytes of weights, of everything else read, and written, over all runs."""
    m = d.p.memory
    weights, read, written = (_chosen(d, x, turns) for x in (m.weights, m.read, m.written))
    return weights, read - weights, written
