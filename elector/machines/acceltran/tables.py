"""What AccelTran's lanes, units and memories do, by distinct combination of settings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elector.base.table import alike, columns, combinations
from elector.machines.acceltran import lanes
from elector.machines.acceltran.lane_table import LANES, LaneTable, lane_table
from elector.machines.contract import Units
from elector.machines.tiling import Memories, SplitMemories, TilingPlan, plan
from elector.operations.rows import PARAMETERS, Operations, groups

Array = np.ndarray

#: Bytes the DMA moves in a cycle: a block of the buffers.
BLOCK = 64.0
#: Vector operations an element takes in the units' own forward pass (vector_operations.csv).
OWN = {"softmax": 5.0, "norm": 7.0}

#: Settings that decide what the units and the buffers do with an operation.
UNITS = ("tile_x", "tile_y", "pe", "softmax_per_pe", "clock")
BUFFERS = ("activation_buffer", "weight_buffer")


@dataclass(frozen=True)
class MemoryTable:
    """Main memory by combination of settings; of 2 X columns those with tiles in half of the
    buffers, and behind them those with tiles in all of them.

    seconds : (R, 2 X) of all bytes. fetches, fill : (R, X) seconds of each parameter once, and
    until the first tile is there. read, written, weights : (R, 2 X) bytes; distinct : (R, X), each
    parameter once. first : (2 X,) bytes the first product reads.
    counts : action -> sums by group of rows (G, 2 X). charge : (X,) channels charged for a byte.
    """

    seconds: Array
    fetches: Array
    fill: Array
    first: Array
    read: Array
    written: Array
    weights: Array
    distinct: Array
    charge: Array
    counts: dict[str, Array]


@dataclass(frozen=True)
class UnitTable:
    """Softmax or layer-norm units by combination of settings.

    each : (rows of that kind, X) seconds. seconds, work : sums by group of rows (G, X) of
    seconds and unit-cycles.
    """

    each: Array
    seconds: Array
    work: Array


@dataclass(frozen=True)
class PreparedAccelTran:
    """What all chunks of a block share; `*_index` (D,) points into the tables.

    leader : (D,) the first product, or -1.

    alike : (R,) the first product with the same numbers in every pair, of each product.

    index : (D,) pair of each design. lanes_index, units_index, memory_index : (D,) which column of
    each table. rows : unit that runs them -> places of rows; unit_of : (R,) the place of each row's
    unit among these. group : (R,) the group of each row, whose counts are kept together.
    """

    ops: Operations
    index: Array
    units: Units
    lanes: LaneTable
    lanes_index: Array
    softmax: UnitTable
    norm: UnitTable
    units_index: Array
    memory: MemoryTable
    memory_index: Array
    leader: Array
    rows: dict[str, Array]
    unit_of: Array
    alike: Array
    group: Array
    details: bool


def prepare(ops: Operations, index: Array, units: Units, details: bool) -> PreparedAccelTran:
    """Tables of what each distinct combination of settings does with the operations."""
    rows, group = _rows(ops), np.arange(len(ops.rows)) if details else groups(ops.rows)
    numbers, order = units.numbers, units.code("loop_order", lanes.ORDERS)
    _, function = units.names["nonlinearity"]
    first, lanes_index = combinations([index, order, function, *(numbers[key] for key in LANES)])
    lane = lane_table(ops, rows, index[first], units.take(first), order[first], group)
    kind = units.code("unit_cycles", ("side", "element", "tile"))
    first, units_index = combinations([index, kind, *(numbers[key] for key in UNITS)])
    softmax = _unit(ops, rows, "softmax", index[first], units.take(first), group)
    norm = _unit(ops, rows, "norm", index[first], units.take(first), group)
    traffic = _traffic(ops, index, units)
    memory, memory_index = _memory(ops, index, units, traffic, group)
    return PreparedAccelTran(
        ops,
        index,
        units,
        lane,
        lanes_index,
        softmax,
        norm,
        units_index,
        memory,
        memory_index,
        traffic.leader,
        rows,
        _units_of(rows),
        _alike(ops, rows["products"]),
        group,
        details,
    )


def _alike(ops: Operations, products: Array) -> Array:
    """(R,) the first product with the same numbers in every pair, of each of the products."""
    widths, shares = (ops.a_width, ops.b_width, ops.out_width), ops.densities.values()
    keys = [
        (
            ops.rows[r].b in PARAMETERS,
            *(width[r] for width in widths),
            *(share.code[r] for share in shares),
        )
        for r in products
    ]
    place = np.arange(len(ops.rows))
    first = alike(products, keys, (ops.count, ops.batch, ops.m, ops.k, ops.n))
    place[products] = products[first]
    return place


def _rows(ops: Operations) -> dict[str, Array]:
    """Rows by the unit that runs them."""

    def where(wanted: list[bool]) -> Array:
        return np.nonzero(np.array(wanted))[0]

    own = [r.kind == "activation" and r.phase != "backward" for r in ops.rows]
    rows_of = {
        "products": where([r.matmul for r in ops.rows]),
        "functions": where(own),
        "softmax": where([r.kind == "softmax" for r in ops.rows]),
        "norm": where([r.kind == "norm" for r in ops.rows]),
    }
    taken = np.concatenate(list(rows_of.values()))
    rows_of["vector"] = np.setdiff1d(np.arange(len(ops.rows)), taken)
    return rows_of


def _units_of(rows: dict[str, Array]) -> Array:
    """(R,) the place of each row's unit among those of `rows`."""
    units = np.zeros(sum(own.size for own in rows.values()), dtype=np.intp)
    for code, own in enumerate(rows.values()):
        units[own] = code
    return units


def _unit(
    ops: Operations, rows: dict[str, Array], kind: str, index: Array, u: Units, group: Array
) -> UnitTable:
    """Busy seconds and unit-cycles of softmax or layer-norm units."""
    own = rows[kind]
    times, elements = (columns(x[own], index) for x in (ops.count, ops.m))
    each = times * unit_cycles(ops, own, kind, elements, u) / u.number("clock")
    cycles = times * _tile_cycles(ops, own, kind, u) * _tiles_of(elements, u)
    seconds, work = np.zeros((2, int(group.max()) + 1, index.size))
    for i, r in enumerate(own):
        seconds[group[r]] += each[i]
        work[group[r]] += cycles[i]
    return UnitTable(each, seconds, work)


def _leaders(ops: Operations, index: Array) -> Array:
    """(Q,) the first product of each combination; -1 where there is vector work alone."""
    products = ops.where(matmul=True)
    there = columns(ops.count[products], index) > 0
    if not products.size:
        return np.full(index.size, -1, dtype=np.intp)
    return np.where(there.any(axis=0), products[np.argmax(there, axis=0)], -1)


@dataclass(frozen=True, eq=False, repr=False)
class _Traffic:
    """The plans of all combinations of buffers, two for each; (D,) the place of each design's
    combination, and its first product."""

    plan: TilingPlan
    place: Array
    leader: Array


def _traffic(ops: Operations, index: Array, units: Units) -> _Traffic:
    """What designs (D,) move past their buffers."""
    keys = [units.numbers[key] for key in BUFFERS]
    if ops.densities:
        keys.append(units.numbers["mask_buffer"])
    first, place = combinations([index, *keys])
    leader = _leaders(ops, index[first])
    return _Traffic(_plan(ops, index[first], units.take(first)), place, leader[place])


def _plan(ops: Operations, index: Array, u: Units) -> TilingPlan:
    """Two plans for each combination: tiles in half of the buffers, and in all of them."""
    split = SplitMemories(u.number("weight_buffer"), 8.0 * u.number("mask_buffer"))
    fuse, capacity = np.ones(index.size, dtype=bool), u.number("activation_buffer")
    return plan(ops, index, Memories(capacity, None, fuse, split), np.zeros(0, dtype=np.intp))


def channels(units: Units) -> Array:
    """(D,) channels of the main memory, the last number of its name."""
    names, codes = units.names["memory"]
    return np.array([float(name.rpartition("_")[2]) for name in names])[codes]


def _memory(
    ops: Operations, index: Array, units: Units, traffic: _Traffic, group: Array
) -> tuple[MemoryTable, Array]:
    rate, port = units.number("bandwidth"), units.number("buffer_port")
    charge = np.where(units.equals("memory_price", "published"), channels(units), 1.0)
    released = units.equals("convention", "released") + 0.0
    first, place = combinations([traffic.place, rate, port, charge, released])
    q, i = traffic.place[first], index[first]
    rate, port, charge, released = (x[first] for x in (rate, port, charge, released))
    times, apart, planned = columns(ops.count, i), released > 0, traffic.plan
    distinct, fill = (columns(x, q) * times for x in (planned.distinct, planned.fill))
    both = np.concatenate((q, q + planned.distinct.shape[1]))
    shape = len(times), 2, first.size
    read, written, weights = (
        (columns(x, both).reshape(shape) * times[:, None]).reshape(-1, both.size)
        for x in (planned.read, planned.written, planned.weights)
    )
    if apart.any():
        _release(ops, i, apart, (read, written, weights, distinct))
    # One buffer is filled or emptied at a time: were both at once, less traffic in all could
    # still be more for one of them, and a larger buffer slower.
    each = 1.0 / np.minimum(rate, np.where(apart, np.inf, port))
    seconds, fetches = read + written, distinct * each
    seconds *= np.concatenate((each, each))
    fill *= np.where(apart, 0.0, 1.0) / rate
    leader = traffic.leader[first]
    first = planned.read[np.concatenate((leader, leader)), both]
    counts = memory_counts(read, written, weights, np.concatenate((charge, charge)), group)
    table = MemoryTable(
        seconds, fetches, fill, first, read, written, weights, distinct, charge, counts
    )
    return table, place


def _release(ops: Operations, i: Array, apart: Array, tables: tuple[Array, ...]) -> None:
    """What the released simulator moves, in place, of the combinations `apart` (X,) bool.

    i : (X,) pair of each. tables : bytes read, written and of weights (R, 2 X), and of each
    parameter once (R, X).
    """
    read, written, weights, distinct = tables
    both = np.concatenate((apart, apart))
    for r, row in enumerate(ops.rows):
        times = ops.count[r, i]
        whole = ops.tables[i] * ops.format.weight * (times > 0)
        loaded = ops.b_bytes[r, i] * times * ops.streams[i] * (row.b == "weight")
        moved = (whole * (row.kind == "embedding") + loaded)[apart]
        read[r][both] = np.concatenate((moved, moved))
        weights[r][both] = np.concatenate((loaded[apart], loaded[apart]))
        distinct[r][apart] = loaded[apart]
        written[r][both] = 0.0


def memory_counts(
    read: Array, written: Array, weights: Array, charge: Array, group: Array
) -> dict[str, Array]:
    """Action -> (G, X) how often it happens for bytes (R, X) that pass main memory.

    read, written : (R, X) bytes. weights : (R, X) those of them that are weights. charge : how
        often an access is charged. group : (R,) the group of each row.
    """
    reads, writes, parameters = (_grouped(x, group) for x in (read, written, weights))
    total = reads + writes
    return {
        "dma": total / BLOCK,
        "activation buffer fill": total - parameters,
        "weight buffer fill": parameters,
        "main memory read": reads * charge,
        "main memory write": writes * charge,
    }


def _grouped(values: Array, group: Array) -> Array:
    """(G, X) sums of (R, X) values by group."""
    sums = np.zeros((int(group.max()) + 1, values.shape[1]))
    for r, g in enumerate(group):
        sums[g] += values[r]
    return sums


def unit_cycles(ops: Operations, rows: Array, kind: str, elements: Array, u: Units) -> Array:
    """(N, X) cycles of softmax or layer-norm units for `elements` (N, X) of some rows (N,).

    Gradients take as many more passes as they have more operations an element.

    kind : softmax or norm.
    """
    waves = np.ceil(_tiles_of(elements, u) / _units(kind, u))
    return _tile_cycles(ops, rows, kind, u) * waves


def _units(kind: str, u: Units) -> Array:
    return u.number("pe") * (u.number("softmax_per_pe") if kind == "softmax" else 1.0)


def _tiles_of(elements: Array, u: Units) -> Array:
    return np.ceil(elements / (u.number("tile_x") * u.number("tile_y")))


def _tile_cycles(ops: Operations, rows: Array, kind: str, u: Units) -> Array:
    """(N, X) cycles of a unit for one tile."""
    x, y = u.number("tile_x"), u.number("tile_y")
    kinds = u.code("unit_cycles", ("side", "element", "tile"))
    passes = np.array([(ops.rows[r].simple + ops.rows[r].special) / OWN[kind] for r in rows])
    return passes[:, None] * np.choose(kinds, (x + y, x * y, np.ones_like(x)))
