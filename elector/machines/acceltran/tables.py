"""What AccelTran's lanes, units and memories do, by distinct combination of settings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elector import lanes
from elector.design import Units, combinations
from elector.memory import Plan, Split, plan
from elector.operations.rows import PARAMETERS, Operations

Array = np.ndarray

#: Outputs the post-sparsity and rounding modules take in a cycle: as many as a lane multiplies.
OUTPUTS = 16.0
#: Bytes the DMA moves in a cycle: a block of the buffers.
BLOCK = 64.0
#: Vector operations an element takes in the units' own forward pass (vector_operations.csv).
OWN = {"softmax": 5.0, "norm": 7.0}

#: Settings that decide what the lanes, the units and the buffers do with an operation.
LANES = (
    "tile_b", "tile_x", "tile_y", "pe", "lanes_per_pe", "mac_per_lane", "lane_port", "pipeline",
    "run_ahead", "clustering", "clock",
)
UNITS = ("tile_x", "tile_y", "pe", "softmax_per_pe", "clock")
BUFFERS = ("activation_buffer", "weight_buffer", "double_buffer")


@dataclass(frozen=True)
class LaneTable:
    """Work of the lanes by combination of settings, each (R, X); 0 for rows of other units.

    seconds : of a row alone, its last wave whole; taken : with waves shared by other work;
    wave : of one wave for each run; functions : of the activation units;
    active : lane-seconds over the lanes.
    cycles : lane-cycles in which a lane works; sparse : those of rows with masks.
    macs : multiply-accumulates over the multipliers of a lane; vector : likewise.
    special : evaluations; dataflow : cycles of the modules that feed the lanes of a processing
    element; rounded, pruned : cycles of the modules behind the lanes; activation, weight,
    mask : buffer bytes; fetch : seconds of the lanes' ports.
    """

    seconds: Array
    taken: Array
    wave: Array
    functions: Array
    active: Array
    cycles: Array
    sparse: Array
    macs: Array
    vector: Array
    special: Array
    dataflow: Array
    rounded: Array
    pruned: Array
    activation: Array
    weight: Array
    mask: Array
    fetch: Array


@dataclass(frozen=True)
class MemoryTable:
    """Main memory by combination of settings: seconds, bytes (R, X), seconds to start (X,)."""

    seconds: Array
    fill: Array
    start: Array
    read: Array
    written: Array
    weights: Array
    charged_read: Array
    charged_write: Array
    blocks: Array
    others: Array


@dataclass(frozen=True)
class Prepared:
    """What all chunks of a block share; `*_index` (D,) points into the tables."""

    ops: Operations
    index: Array
    units: Units
    lanes: LaneTable
    lanes_index: Array
    softmax: tuple[Array, Array]
    norm: tuple[Array, Array]
    units_index: Array
    plan: Plan
    plan_index: Array
    memory: MemoryTable
    memory_index: Array
    rows: dict[str, Array]
    details: bool


def prepare(ops: Operations, index: Array, units: Units, details: bool) -> Prepared:
    """Tables of what each distinct combination of settings does with the operations."""
    rows = _rows(ops)
    numbers, order = units.numbers, units.code("loop_order", lanes.ORDERS)
    first, lanes_index = combinations([index, order, *(numbers[key] for key in LANES)])
    lane = _lanes(ops, rows, index[first], units.take(first), order[first])
    kind = units.code("unit_cycles", ("side", "element", "tile"))
    first, units_index = combinations([index, kind, *(numbers[key] for key in UNITS)])
    softmax = _unit(ops, rows, "softmax", index[first], units.take(first))
    norm = _unit(ops, rows, "norm", index[first], units.take(first))
    keys = [numbers[key] for key in BUFFERS]
    if ops.densities:
        keys.append(numbers["mask_buffer"])
    first, plan_index = combinations([index, *keys])
    traffic = _plan(ops, index[first], units.take(first))
    memory, memory_index = _memory(ops, traffic, units, plan_index, index)
    return Prepared(ops, index, units, lane, lanes_index, softmax, norm, units_index, traffic,
                    plan_index, memory, memory_index, rows, details)


def _rows(ops: Operations) -> dict[str, Array]:
    """Rows by the unit that runs them."""
    def where(wanted: list[bool]) -> Array:
        return np.nonzero(np.array(wanted))[0]

    own = [r.kind == "activation" and r.phase != "backward" for r in ops.rows]
    found = {
        "products": where([r.matmul for r in ops.rows]),
        "functions": where(own),
        "softmax": where([r.kind == "softmax" for r in ops.rows]),
        "norm": where([r.kind == "norm" for r in ops.rows]),
    }
    taken = np.concatenate(list(found.values()))
    found["vector"] = np.setdiff1d(np.arange(len(ops.rows)), taken)
    return found


def _lanes(
    ops: Operations, rows: dict[str, Array], index: Array, u: Units, order: Array
) -> LaneTable:
    shape = (len(ops.rows), index.size)
    out = LaneTable(*(np.zeros(shape) for _ in LaneTable.__dataclass_fields__))
    _products(ops, rows["products"], index, u, order, out)
    count = u.number("pe") * u.number("lanes_per_pe")
    multipliers, clock = u.number("mac_per_lane"), u.number("clock")
    for r in rows["vector"]:
        times, elements = ops.count[r, index], ops.m[r, index]
        simple, special = ops.rows[r].simple, ops.rows[r].special
        cycles = simple * np.ceil(elements / (count * multipliers))
        cycles = times * (cycles + special * np.ceil(elements / count))
        out.seconds[r] = cycles / clock
        out.taken[r] = times * elements * (simple / multipliers + special) / count / clock
        out.active[r] = out.taken[r]
        out.vector[r] = times * elements * simple / multipliers
        out.special[r] = times * elements * special
    for r in rows["functions"]:
        times, elements = ops.count[r, index], ops.m[r, index]
        out.functions[r] = times * np.ceil(elements / count) / clock
        # ReLU is a sign bit inside the lane.
        out.special[r] = times * elements * u.equals("nonlinearity", "gelu")
    _vector_bytes(ops, index, out)
    return out


def _products(
    ops: Operations, r: Array, index: Array, u: Units, order: Array, out: LaneTable
) -> None:
    """Cycles, actions and buffer accesses of the matrix products, in place."""
    count, batch, m, k, n = (
        x[r][:, index] for x in (ops.count, ops.batch, ops.m, ops.k, ops.n)
    )
    number, multipliers = u.number, u.number("mac_per_lane")
    total = number("pe") * number("lanes_per_pe")
    t = lanes.tile(batch, m, k, n, number("tile_b"), number("tile_x"), number("tile_y"))
    da, db, dout = (ops.density(x)[r][:, index] for x in ("a", "b", "out"))
    wave, used = lanes.waves(t.tiles, total)
    ahead = np.minimum(number("run_ahead"), np.maximum(wave, 1.0))
    fill = number("pipeline") + np.log2(multipliers)
    each = fill + lanes.slowest(t, da, db, used, multipliers, ahead, number("clustering"))
    saved_a, saved_b = lanes.reuse(t, order, total)
    fetched_a = t.tiles * t.rows * t.depth * t.slices * (1.0 - saved_a) * count
    fetched_b = t.tiles * t.columns * t.depth * t.slices * (1.0 - saved_b) * count
    bytes_a, mask_a = _stored(ops, "a", r, index, fetched_a)
    bytes_b, mask_b = _stored(ops, "b", r, index, fetched_b)
    bytes_out, mask_out = _stored(ops, "out", r, index, count * batch * m * n)
    port = (bytes_a + bytes_b + mask_a + mask_b) / (np.maximum(used, 1.0) * number("lane_port"))
    seconds = np.maximum(wave * each * count, port) / number("clock")
    work = count * t.tiles * (t.volume * da * db / multipliers + fill)
    masked = (da < 1.0) | (db < 1.0)
    parameters = np.array([ops.rows[i].b in PARAMETERS for i in r])[:, None]
    out.seconds[r] = seconds
    # Lanes that the last wave leaves free serve another sequence or a gradient of weights.
    shared = np.maximum(t.tiles / total * each * count, port) / number("clock")
    out.taken[r] = np.minimum(shared, seconds)
    out.wave[r] = np.minimum(each * count / number("clock"), seconds)
    out.active[r] = np.minimum(work / (total * number("clock")), seconds)
    out.cycles[r] = work
    out.sparse[r] = np.where(masked, work, 0.0)
    out.macs[r] = count * batch * m * k * n * da * db / multipliers
    out.dataflow[r] = work / number("lanes_per_pe")
    outputs = count * batch * m * n / OUTPUTS
    out.rounded[r] = outputs * number("training")
    out.pruned[r] = np.where(dout < 1.0, outputs, 0.0)
    out.activation[r] = bytes_a + bytes_out + np.where(parameters, 0.0, bytes_b)
    out.weight[r] = np.where(parameters, bytes_b, 0.0)
    out.mask[r] = mask_a + mask_b + mask_out
    out.fetch[r] = port / number("clock")


def _stored(
    ops: Operations, operand: str, r: Array, index: Array, elements: Array
) -> tuple[Array, Array]:
    """Bytes of values and of masks of `elements` of an operand, compressed where that pays."""
    width = getattr(ops, f"{operand}_width")[r][:, None]
    if not ops.densities:
        return elements * width, np.zeros_like(elements)
    packed = ops.stored(operand)[r][:, index] < 1.0
    density = ops.density(operand)[r][:, index]
    values = elements * width * np.where(packed, density, 1.0)
    return values, np.where(packed, elements / 8.0, 0.0)


def _vector_bytes(ops: Operations, index: Array, out: LaneTable) -> None:
    """Buffer bytes of vector work, in place; streamed work adds its second operand only."""
    for r, row in enumerate(ops.rows):
        if row.matmul:
            continue
        moved = ops.b_bytes[r]
        if not row.streamed:
            moved = moved + ops.a_bytes[r] + ops.out_bytes[r]
        out.activation[r] = (moved * ops.count[r])[index]


def _unit(
    ops: Operations, rows: dict[str, Array], kind: str, index: Array, u: Units
) -> tuple[Array, Array]:
    """Busy seconds and unit-cycles of softmax or layer-norm units, each (R, X).

    Gradients take as many more passes as they have more operations an element.
    """
    x, y = u.number("tile_x"), u.number("tile_y")
    kinds = u.code("unit_cycles", ("side", "element", "tile"))
    cycles = np.choose(kinds, (x + y, x * y, np.ones_like(x)))
    units = u.number("pe") * (u.number("softmax_per_pe") if kind == "softmax" else 1.0)
    seconds, work = np.zeros((2, len(ops.rows), index.size))
    for r in rows[kind]:
        passes = (ops.rows[r].simple + ops.rows[r].special) / OWN[kind]
        tiles = np.ceil(ops.m[r, index] / (x * y))
        times = ops.count[r, index] * passes * cycles
        seconds[r] = times * np.ceil(tiles / units) / u.number("clock")
        work[r] = times * tiles
    return seconds, work


def _plan(ops: Operations, index: Array, u: Units) -> Plan:
    split = Split(u.number("weight_buffer"), 8.0 * u.number("mask_buffer"))
    fuse = np.ones(index.size, dtype=bool)
    return plan(ops, index, u.number("activation_buffer"), u.flag("double_buffer"), fuse, split)


def channels(units: Units) -> Array:
    """(D,) channels of the main memory, the last number of its name."""
    names, codes = units.names["memory"]
    return np.array([float(name.rpartition("_")[2]) for name in names])[codes]


def _memory(
    ops: Operations, traffic: Plan, units: Units, plan_index: Array, index: Array
) -> tuple[MemoryTable, Array]:
    rate, port = units.number("bandwidth"), units.number("buffer_port")
    charge = np.where(units.equals("memory_price", "published"), channels(units), 1.0)
    released = units.equals("convention", "released") + 0.0
    first, place = combinations([plan_index, rate, port, charge, released])
    q, i = plan_index[first], index[first]
    rate, port, charge, released = (x[first] for x in (rate, port, charge, released))
    times = ops.count[:, i]
    read, written = traffic.read[:, q] * times, traffic.written[:, q] * times
    weights = traffic.weights[:, q] * times
    if released.any():
        width = ops.format.weight
        tables = np.array([row.kind == "embedding" for row in ops.rows])[:, None]
        whole = np.where(tables & (times > 0), ops.tables[i] * width, 0.0)
        fetched = np.array([row.b == "weight" for row in ops.rows])[:, None]
        loaded = np.where(fetched, ops.b_bytes[:, i] * times * ops.streams[i], 0.0)
        read = np.where(released > 0, whole + loaded, read)
        weights = np.where(released > 0, loaded, weights)
        written = np.where(released > 0, 0.0, written)
        port = np.where(released > 0, np.inf, port)
    total = read + written
    # One buffer is filled or emptied at a time: were both at once, less traffic in all could
    # still be more for one of them, and a larger buffer slower.
    seconds = total / np.minimum(rate, port)
    fill = np.where(released > 0, 0.0, traffic.fill[:, q] * times / rate)
    products = ops.where(matmul=True)
    leader = products[np.argmax(times[products] > 0, axis=0)]
    tile = traffic.tile_k[leader, q] * traffic.tile_n[leader, q] * ops.b_width[leader]
    start = np.minimum(tile, traffic.read[leader, q]) / rate
    start = np.where(released > 0, 0.0, start)
    return MemoryTable(seconds, fill, start, read, written, weights, read * charge,
                   written * charge, total / BLOCK, total - weights), place
