"""AccelTran / ELECTOR: lanes that skip zeros, softmax and layer-norm units, three buffers.

A chip is `pe` processing elements of `lanes_per_pe` lanes, `softmax_per_pe` softmax units and
one layer-norm unit. A product is cut into tiles that are dealt to the lanes in waves
(elector.lanes); a lane multiplies only where both masks have a one. Weights, activations and
masks have a buffer each (elector.memory). The loop order decides which tiles find their
operand in the lane's registers, hence how often the buffers are read.
Tuli and Jha 2023 (arXiv 2302.14705); Tuli and Jha 2023, TransCODE (arXiv 2303.14882).

A softmax or layer-norm unit takes tile_x + tile_y cycles for a tile (`unit_cycles: side`,
assumed). Its area and power grow as tile_x tile_y, so it holds a whole tile: one element a
cycle would leave all but one of its cells idle, at 49 pJ an element; a tile a cycle would price
an element at 0.19 pJ, a third of one exponential (0.56 pJ). Passes along both sides take
tile_x + tile_y cycles, 6 pJ an element.

Element-wise work runs on the multipliers of the lanes, roots and divisions on their activation
units; the activation function of the forward pass stands behind the adder tree of each lane.
Sums over the contraction stay in the lanes (assumed): outputs are written once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elector import lanes
from elector.design import Action, Activity, Count, Machine, Part, Units, combinations
from elector.memory import PARAMETERS, TILE_SHARE, Plan, Split, plan
from elector.operations.rows import Operations

Array = np.ndarray

#: Bytes a second of one channel: the published rates at the channels of the presets (one of
#: LP-DDR3 and of RRAM) and of the HBM stack (four).
CHANNEL = {"dram": 25.6e9, "rram": 256e9, "hbm": 64e9}
#: Outputs the post-sparsity and rounding modules take in a cycle: as many as a lane multiplies.
OUTPUTS = 16.0
BLOCK = 64.0
#: Vector operations an element takes in the units' own forward pass (vector_operations.csv).
OWN = {"softmax": 5.0, "norm": 7.0}

_UNIT = "energy"
ACTIONS = {
    "mac": Action("mac", ("acceltran.lane_{mac_per_lane}_relu", _UNIT)),
    "vector": Action("vector", ("acceltran.lane_{mac_per_lane}_relu", _UNIT)),
    "special": Action("activation function", ("acceltran.activation_{nonlinearity}", _UNIT)),
    "fifo": Action("lane control", ("acceltran.fifo", _UNIT)),
    "dataflow": Action("lane control", ("acceltran.dataflow", _UNIT)),
    "pre-sparsity": Action("sparsity", ("acceltran.pre_sparsity", _UNIT)),
    "post-sparsity": Action("sparsity", ("acceltran.post_sparsity", _UNIT)),
    "stochastic rounding": Action(
        "stochastic rounding", ("acceltran.stochastic_rounding", _UNIT)
    ),
    "softmax": Action("softmax", ("acceltran.softmax_{tile_x}", _UNIT)),
    "layer norm": Action("layer norm", ("acceltran.layer_norm_{tile_x}", _UNIT)),
    "dma": Action("dma", ("acceltran.dma", _UNIT)),
    "activation buffer": Action(
        "activation buffer", ("acceltran_buffer.activation", _UNIT), "activation_buffer"
    ),
    "activation buffer fill": Action(
        "activation buffer", ("acceltran_buffer.activation", _UNIT), "activation_buffer"
    ),
    "weight buffer": Action(
        "weight buffer", ("acceltran_buffer.weight", _UNIT), "weight_buffer"
    ),
    "weight buffer fill": Action(
        "weight buffer", ("acceltran_buffer.weight", _UNIT), "weight_buffer"
    ),
    "mask buffer": Action("mask buffer", ("acceltran_buffer.mask", _UNIT), "mask_buffer"),
    "main memory read": Action("main memory", ("acceltran_memory.{memory}", _UNIT)),
    "main memory write": Action("main memory", ("acceltran_memory.{memory}", "write_energy")),
}

#: Settings that decide what the lanes, the units and the buffers do with an operation.
LANES = (
    "tile_b", "tile_x", "tile_y", "pe", "lanes_per_pe", "mac_per_lane", "lane_port", "pipeline",
    "run_ahead", "clustering", "clock",
)
UNITS = ("tile_x", "tile_y", "pe", "softmax_per_pe", "clock")
BUFFERS = ("activation_buffer", "weight_buffer", "double_buffer")


@dataclass(frozen=True)
class _Lanes:
    """Work of the lanes by combination of settings, each (R, X); 0 for rows of other units.

    seconds : busy; functions : of the activation units; active : lane-seconds over the lanes.
    cycles : lane-cycles in which a lane works; sparse : those of rows with masks.
    macs : multiply-accumulates over the multipliers of a lane; vector : likewise.
    special : evaluations; outputs : written; activation, weight, mask : buffer bytes.
    """

    seconds: Array
    functions: Array
    active: Array
    cycles: Array
    sparse: Array
    macs: Array
    vector: Array
    special: Array
    outputs: Array
    pruned: Array
    activation: Array
    weight: Array
    mask: Array
    fetch: Array


@dataclass(frozen=True)
class _Memory:
    """Main memory by combination of settings: seconds, bytes (R, X), seconds to start (X,)."""

    seconds: Array
    fill: Array
    start: Array
    read: Array
    written: Array
    weights: Array
    charged_read: Array
    charged_write: Array


@dataclass(frozen=True)
class Prepared:
    """What all chunks of a block share; `*_index` (D,) points into the tables."""

    ops: Operations
    index: Array
    units: Units
    lanes: _Lanes
    lanes_index: Array
    softmax: tuple[Array, Array]
    norm: tuple[Array, Array]
    units_index: Array
    plan: Plan
    plan_index: Array
    memory: _Memory
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
) -> _Lanes:
    shape = (len(ops.rows), index.size)
    out = _Lanes(*(np.zeros(shape) for _ in _Lanes.__dataclass_fields__))
    _products(ops, rows["products"], index, u, order, out)
    count = u.number("pe") * u.number("lanes_per_pe")
    multipliers, clock = u.number("mac_per_lane"), u.number("clock")
    for r in rows["vector"]:
        times, elements = ops.count[r, index], ops.m[r, index]
        simple, special = ops.rows[r].simple, ops.rows[r].special
        cycles = simple * np.ceil(elements / (count * multipliers))
        cycles = times * (cycles + special * np.ceil(elements / count))
        out.seconds[r] = cycles / clock
        out.active[r] = cycles / clock
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
    ops: Operations, r: Array, index: Array, u: Units, order: Array, out: _Lanes
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
    out.active[r] = np.minimum(work / (total * number("clock")), seconds)
    out.cycles[r] = work
    out.sparse[r] = np.where(masked, work, 0.0)
    out.macs[r] = count * batch * m * k * n * da * db / multipliers
    out.outputs[r] = count * batch * m * n / OUTPUTS
    out.pruned[r] = np.where(dout < 1.0, out.outputs[r], 0.0)
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


def _vector_bytes(ops: Operations, index: Array, out: _Lanes) -> None:
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


def complete(units: Units) -> Units:
    """The memory's bandwidth where it is not given: channels x the rate of one."""
    names, codes = units.names["memory"]
    rate = np.array([CHANNEL[name.partition("_")[0]] for name in names])[codes]
    given = units.number("bandwidth")
    return units.replace(bandwidth=np.where(given > 0, given, rate * channels(units)))


def _memory(
    ops: Operations, traffic: Plan, units: Units, plan_index: Array, index: Array
) -> tuple[_Memory, Array]:
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
        whole = np.where(tables, ops.tables[i] * width, 0.0)
        fetched = np.array([row.b == "weight" for row in ops.rows])[:, None]
        loaded = np.where(fetched, ops.b_bytes[:, i] * times * ops.streams[i], 0.0)
        read = np.where(released > 0, whole + loaded, read)
        weights = np.where(released > 0, loaded, weights)
        written = np.where(released > 0, 0.0, written)
        port = np.where(released > 0, np.inf, port)
    total = read + written
    seconds = np.maximum(total / rate, np.maximum(weights, total - weights) / port)
    fill = np.where(released > 0, 0.0, traffic.fill[:, q] * times / rate)
    leader = ops.where(matmul=True)[0]
    tile = traffic.tile_k[leader] * traffic.tile_n[leader] * ops.b_width[leader]
    start = np.minimum(tile[q], traffic.read[leader][q]) / rate
    start = np.where(released > 0, 0.0, start)
    return _Memory(seconds, fill, start, read, written, weights, read * charge,
                   written * charge), place


def activity(prepared: object, part: slice) -> Activity:
    """Seconds and counts of the designs in `part`: gathered from the tables."""
    assert isinstance(prepared, Prepared)
    p = prepared
    units, index = p.units.take(part), p.index[part]
    c, s, m = p.lanes_index[part], p.units_index[part], p.memory_index[part]
    r = p.rows
    compute = np.empty((len(p.ops.rows), index.size))
    in_lanes = np.concatenate((r["products"], r["vector"]))
    compute[in_lanes] = p.lanes.seconds[in_lanes][:, c]
    compute[r["functions"]] = p.lanes.functions[r["functions"]][:, c]
    compute[r["softmax"]] = p.softmax[0][r["softmax"]][:, s]
    compute[r["norm"]] = p.norm[0][r["norm"]][:, s]
    memory = p.memory.seconds[:, m]
    released = units.equals("convention", "released")
    alone = np.where(released, compute + memory, np.maximum(compute, memory))
    alone = alone + p.memory.fill[:, m]
    busy: dict[str, Array | Count] = {
        "lanes": Count(p.lanes.seconds, c),
        "activation units": Count(p.lanes.functions, c),
        "softmax units": Count(p.softmax[0], s),
        "layer-norm units": Count(p.norm[0], s),
        "memory": Count(p.memory.seconds, m),
    }
    if released.any():
        busy["one after another"] = np.where(released, alone, 0.0)
    clock, lane_count = units.number("clock"), units.number("pe") * units.number("lanes_per_pe")
    return Activity(
        busy=busy,
        alone=alone,
        cycles=alone * clock if p.details else np.zeros((0, index.size)),
        # Tiles of several sequences share a wave, so a stream needs no more than one tile.
        shortest=units.number("tile_b") * units.number("tile_x"),
        counts=_counts(p, c, s, m, part),
        fuse=np.ones(index.size, dtype=bool),
        weights=Count(p.memory.weights, m),
        room=units.number("weight_buffer") * TILE_SHARE / 2.0,
        bandwidth=units.number("bandwidth"),
        start=p.memory.start[m],
        executed=_executed(p.ops)[index],
        peak=lane_count * units.number("mac_per_lane") * clock,
        limits=_limits(p, units, index),
        resources=tuple(busy),
        tiles=_tiles(p, units, index) if p.details else None,
        traffic=_traffic(p, c, m) if p.details else None,
        moved=_moved(p, m) if p.details else None,
        awake=_awake(p, c, s),
        residue=units.number("gating_residue"),
    )


def _executed(ops: Operations) -> Array:
    """(M,) multiply-accumulates that zero-skipping leaves."""
    if not ops.densities:
        return ops.macs
    rows = ops.where(matmul=True)
    done = ops.count * ops.batch * ops.m * ops.k * ops.n * ops.density("a") * ops.density("b")
    return np.add.accumulate(done[rows], axis=0)[-1]


def _counts(p: Prepared, c: Array, s: Array, m: Array, part: slice) -> dict[str, Count]:
    lane, memory = p.lanes, p.memory
    # A dataflow module feeds the lanes of one processing element.
    each = p.units.number("lanes_per_pe")
    first = np.zeros(lane.cycles.shape[1])
    first[p.lanes_index] = each
    trains = p.units.number("training")[part][:1]
    moved = memory.read + memory.written
    return {
        "mac": Count(lane.macs, c),
        "vector": Count(lane.vector, c),
        "special": Count(lane.special, c),
        "fifo": Count(lane.cycles, c),
        "dataflow": Count(lane.cycles / first, c),
        "pre-sparsity": Count(lane.sparse, c),
        "post-sparsity": Count(lane.pruned, c),
        "stochastic rounding": Count(lane.outputs * trains, c),
        "softmax": Count(p.softmax[1], s),
        "layer norm": Count(p.norm[1], s),
        "dma": Count(moved / BLOCK, m),
        "activation buffer": Count(lane.activation, c),
        "activation buffer fill": Count(moved - memory.weights, m),
        "weight buffer": Count(lane.weight, c),
        "weight buffer fill": Count(memory.weights, m),
        "mask buffer": Count(lane.mask, c),
        "main memory read": Count(memory.charged_read, m),
        "main memory write": Count(memory.charged_write, m),
    }


def _awake(p: Prepared, c: Array, s: Array) -> dict[str, Count]:
    """Seconds under power of the modules that are gated; buffers hold data and never are."""
    lane = Count(p.lanes.active, c)
    names = ("lanes", "fifo", "pre-sparsity", "post-sparsity", "stochastic rounding", "dataflow",
             "dma")
    return {
        **dict.fromkeys(names, lane),
        "softmax": Count(p.softmax[0], s),
        "layer norm": Count(p.norm[0], s),
    }


def _limits(p: Prepared, u: Units, index: Array) -> dict[str, tuple[Array, Array]]:
    ops = p.ops
    x, y, b = u.number("tile_x"), u.number("tile_y"), u.number("tile_b")
    held = np.where(u.flag("double_buffer"), 2.0, 1.0) / TILE_SHARE
    inputs, outputs = b * x * y, b * x * x
    f = ops.format
    # Attention keeps both operands in the activation buffer.
    activation = held * (2.0 * inputs * f.activation + outputs * f.accumulator)
    masks = held * 2.0 * inputs / 8.0 * bool(ops.densities)
    trains = u.number("training") * u.equals("training_support", "false")
    total = sum(ops.memory.values(), np.zeros(1))
    return {
        "the machine does not train: accelerator.training_support is false": (
            trains, np.zeros(index.size)
        ),
        "main memory: needs {needed}, has {available}": (
            total[index], u.number("memory_capacity")
        ),
        "activation buffer: one tile needs {needed}, has {available}": (
            activation, u.number("activation_buffer")
        ),
        "weight buffer: one tile needs {needed}, has {available}": (
            held * inputs * f.weight, u.number("weight_buffer")
        ),
        "mask buffer: the masks of one tile need {needed}, has {available}": (
            masks, u.number("mask_buffer")
        ),
    }


def _tiles(p: Prepared, u: Units, index: Array) -> tuple[Array, Array, Array]:
    """(R, D) sides of the tiles of the lanes; 0 for vector work."""
    matmul = np.array([row.matmul for row in p.ops.rows])[:, None]
    x, y = u.number("tile_x"), u.number("tile_y")
    rows = np.where(p.ops.batch[:, index] <= 1.0, u.number("tile_b") * x, x)
    return matmul * rows, matmul * y, matmul * x


def _traffic(p: Prepared, c: Array, m: Array) -> tuple[Array, Array]:
    moved = (p.memory.read + p.memory.written)[:, m]
    chip = (p.lanes.activation + p.lanes.weight + p.lanes.mask)[:, c]
    return chip + moved, moved


def _moved(p: Prepared, m: Array) -> tuple[Array, Array, Array]:
    """(R, D) bytes of weights, of everything else read, and written, over all runs."""
    weights = p.memory.weights[:, m]
    return weights, p.memory.read[:, m] - weights, p.memory.written[:, m]


def parts(units: Units) -> dict[str, Part]:
    """Modules, buffers and main memory. Areas are exact: pe x (lanes x ... + ...) + buffers."""
    pe = units.number("pe")
    lane = pe * units.number("lanes_per_pe")
    built = units.equals("training_support", "true") | (
        units.equals("training_support", "auto") & (units.number("training") > 0)
    )

    def module(name: str, amount: Array) -> Part:
        part = f"acceltran.{name}"
        return Part((part, "area"), amount, (part, "leakage"))

    def buffer(name: str) -> Part:
        part = f"acceltran_buffer.{name}"
        return Part((part, "area"), units.number(f"{name}_buffer"), (part, "leakage"))

    return {
        "lanes": module("lane_{mac_per_lane}_{nonlinearity}", lane),
        "fifo": module("fifo", lane),
        "pre-sparsity": module("pre_sparsity", lane),
        "post-sparsity": module("post_sparsity", lane),
        "stochastic rounding": module("stochastic_rounding", lane * built),
        "softmax": module("softmax_{tile_x}", pe * units.number("softmax_per_pe")),
        "layer norm": module("layer_norm_{tile_x}", pe),
        "dataflow": module("dataflow", pe),
        "dma": module("dma", pe),
        "activation buffer": buffer("activation"),
        "weight buffer": buffer("weight"),
        "mask buffer": buffer("mask"),
        "main memory": Part(
            None, units.number("bandwidth"), ("acceltran_memory.{memory}", "standby")
        ),
    }


ACCELTRAN = Machine(
    name="acceltran",
    schema="acceltran",
    description="lanes that skip zeros, softmax and layer-norm units, three buffers (ELECTOR)",
    actions=ACTIONS,
    prepare=prepare,
    activity=activity,
    parts=parts,
    complete=complete,
    native="datapath",
)
