"""Systolic arrays: rows x cols cells, weight-, output- or input-stationary.

A product (m x k)(k x n) occupies the array as sr x sc with a stream of t:

    dataflow   sr  sc  t       stays in the cells     moves through
    ws         k   n   m       weights                inputs, partial sums
    os         m   n   k       outputs                inputs, weights
    is         k   m   n       inputs                 weights, partial sums

One fold takes 2 r + c + t - 2 cycles (load or drain r, stream t, skew r + c - 2;
Samajdar et al. 2018, SCALE-Sim, arXiv 1811.02883). With `preload: overlap` a cell holds the next
fold's operand as well (Jouppi et al. 2017, TPU): a fold then takes max(t, r), and one load and
one skew remain. The last fold along a side uses only the rows and columns left over.
Small products share the array block-diagonally; folds are dealt to several arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elector.base.table import distinct
from elector.machines.contract import Action, Activity, Count, Machine, Part, Units
from elector.machines.tiling import TILE_SHARE, Plan, plan
from elector.operations.rows import Operations

Array = np.ndarray
FLOWS = ("ws", "os", "is")

ACTIONS = {
    "mac": Action("mac", ("mac.{compute}", "energy")),
    "register": Action("register", ("register", "energy")),
    "sram read": Action("sram", ("sram", "read_energy"), "sram"),
    "sram write": Action("sram", ("sram", "write_energy"), "sram"),
    "accumulator read": Action("accumulators", ("sram", "read_energy"), "accumulators"),
    "accumulator write": Action("accumulators", ("sram", "write_energy"), "accumulators"),
    "vector": Action("vector", ("vector.fp32", "energy")),
    "special": Action("vector", ("vector.special", "energy")),
    "main memory": Action("main memory", ("dram.{memory}", "energy")),
    "interface": Action("interface", ("dram.{memory}", "interface_energy")),
}


@dataclass(frozen=True, eq=False, repr=False)
class _Tables:
    """Numbers of the products by (pair, dataflow): (R, 3 X), column = pair + X * flow.

    Bytes over all runs and batches: `moving` is read once for each column of folds, `fixed`
    once, `turning` once for each row of folds, `result` is written once; `sums` are written to
    the accumulators once for each row of folds, and read as often.
    """

    rows: Array
    cols: Array
    stream: Array
    moving: Array
    fixed: Array
    turning: Array
    result: Array
    sums: Array
    register: Array


@dataclass(frozen=True, eq=False, repr=False)
class Prepared:
    """What all chunks of a block share."""

    ops: Operations
    index: Array
    units: Units
    plan: Plan
    plan_index: Array
    plan_pair: Array
    products: Array
    vectors: Array
    tables: _Tables
    macs: Array
    work: Array
    special: Array
    read: Array
    written: Array
    fill: Array
    details: bool
    trains: Array


def prepare(ops: Operations, index: Array, units: Units, details: bool) -> Prepared:
    """Traffic of each distinct (pair, memory), and tables by (pair, dataflow)."""
    products, vectors = ops.where(matmul=True), ops.where(matmul=False)
    memory, plan_index = _plan(ops, index, units, details)
    pair = plan_pairs(index, plan_index, memory.needed.size)
    times = ops.count[:, pair]
    macs = ops.count * ops.batch * ops.m * ops.k * ops.n
    if ops.densities:
        # A dense array spends the cycle on a zero, but not the energy of the product.
        macs = macs * ops.density("a") * ops.density("b")
    simple = np.array([row.simple for row in ops.rows])[:, None]
    special = np.array([row.special for row in ops.rows])[:, None]
    vector_elements = np.where(simple + special > 0, ops.count * ops.m, 0.0)
    return Prepared(
        ops,
        index,
        units,
        memory,
        plan_index,
        pair,
        products,
        vectors,
        _tables(ops, products, ops.a_width, ops.b_width, ops.out_width, ops.format.accumulator),
        macs[products],
        vector_elements * simple,
        vector_elements * special,
        memory.read * times,
        memory.written * times,
        memory.fill * times,
        details,
        (ops.count[ops.where(phase="backward")] > 0).any(axis=0),
    )


def _plan(ops: Operations, index: Array, units: Units, details: bool) -> tuple[Plan, Array]:
    """The traffic plan of every distinct (pair, on-chip memory) and each design's place in it."""
    sizes, _, code = distinct(units.number("sram"))
    flags = units.number("double_buffer") * 2 + units.number("fuse")
    key = (index * sizes.size + code) * 4 + flags.astype(np.intp)
    keys, _, plan_index = distinct(key)
    pair, rest = np.divmod(keys // 4, sizes.size)
    flags = keys % 4
    asked = np.arange(len(ops.rows) if details else 0)
    return plan(ops, pair, sizes[rest], flags >= 2, flags % 2 == 1, asked), plan_index


def plan_pairs(index: Array, plan_index: Array, size: int) -> Array:
    """(Q,) the pair each entry of a plan belongs to."""
    pair = np.zeros(size, dtype=np.intp)
    pair[plan_index] = index
    return pair


def _tables(
    ops: Operations, r: Array, a_width: Array, b_width: Array, out_width: Array, acc: float
) -> _Tables:
    m, k, n = ops.m[r], ops.k[r], ops.n[r]
    aw, bw, cw = a_width[r][:, None], b_width[r][:, None], out_width[r][:, None]
    times = ops.count[r] * ops.batch[r]
    a, b, out = times * m * k * aw, times * k * n * bw, times * m * n
    zero = np.zeros_like(m)
    mac = times * m * k * n

    def flows(ws: Array, os: Array, is_: Array) -> Array:
        return np.concatenate((ws, os, is_), axis=1)

    return _Tables(
        rows=flows(k, m, k),
        cols=flows(n, n, m),
        stream=flows(m, k, n),
        moving=flows(a, a, b),
        fixed=flows(b, zero, a),
        turning=flows(zero, b, zero),
        result=flows(out * cw, out * cw, out * cw),
        sums=flows(out * acc, zero, out * acc),
        # Every cell hands its moving operand and its partial sum (os: both operands) on.
        register=flows(mac * (aw + acc), mac * (aw + bw), mac * (bw + acc)),
    )


def activity(prepared: object, part: slice) -> Activity:
    """Seconds and counts of the designs in `part` (physics: time = the slowest resource)."""
    assert isinstance(prepared, Prepared)
    p, ops = prepared, prepared.ops
    units, index, q = p.units.take(part), p.index[part], p.plan_index[part]
    column = index + ops.count.shape[1] * units.code("dataflow", FLOWS)
    clock = units.number("clock")
    cycles, taken, nr, nc = _cycles(p, units, index, column)
    reads, writes, sums = _sram(p.tables, column, nr, nc)
    array = cycles / clock
    lanes = units.number("vector_lanes")
    special = p.special[:, index] * units.number("special_cycles")
    vector_cycles = (p.work[:, index] + special) / lanes
    bandwidth = units.number("bandwidth")
    moved = (p.read + p.written)[:, q]
    memory = moved / bandwidth
    compute = vector_cycles / clock
    compute[p.products] = array
    total_cycles = vector_cycles
    total_cycles[p.products] = cycles
    busy = {"array": np.zeros_like(compute), "vector": compute.copy(), "memory": memory}
    # Load and skew delay a result, but the next product may follow on the array's heels.
    busy["array"][p.products] = taken / clock
    busy["vector"][p.products] = 0.0
    port = units.number("sram_bandwidth")
    if (port > 0).any():
        chip = np.zeros_like(compute)
        chip[p.products] = (reads + writes) / np.where(port > 0, port, np.inf)
        busy["on-chip memory"] = chip
        compute = np.maximum(compute, chip)
    alone = np.maximum(compute, memory) + p.fill[:, q] / bandwidth
    counts, traffic = _counts(p, units, index, q, column, (reads, writes, sums), moved)
    return Activity(
        busy=busy,
        alone=alone,
        compute=compute,
        cycles=total_cycles,
        shortest=_shortest(units),
        counts=counts,
        fuse=units.flag("fuse"),
        weights=Count(p.plan.weights * ops.count[:, p.plan_pair], q),
        room=units.number("sram") * TILE_SHARE / 2.0,
        bandwidth=bandwidth,
        start=_start(p, units, index, q) / bandwidth,
        executed=ops.executed[index],
        peak=units.number("rows") * units.number("cols") * units.number("arrays") * clock,
        limits=_limits(p, units, index, q),
        resources=tuple(busy),
        tiles=_tiles(p.plan, q) if p.details else None,
        traffic=traffic if p.details else None,
        moved=_moved(p, q) if p.details else None,
        accesses=_accesses(p, column, nr, nc) if p.details else {},
    )


def _cycles(
    p: Prepared, units: Units, index: Array, column: Array
) -> tuple[Array, Array, Array, Array]:
    """Cycles of every product over all runs, cycles the arrays are taken, folds by side."""
    ops, r = p.ops, p.products
    rows, cols, arrays = (units.number(key) for key in ("rows", "cols", "arrays"))
    sr, sc, t = p.tables.rows[:, column], p.tables.cols[:, column], p.tables.stream[:, column]
    count, batch = ops.count[r][:, index], ops.batch[r][:, index]
    nr, nc = np.ceil(sr / rows), np.ceil(sc / cols)
    _grown(p, index, units, rows, cols, nr, nc)
    packed = np.minimum(np.floor(rows / sr), np.floor(cols / sc))
    packed = np.clip(packed, 1.0, np.maximum(batch, 1.0))
    folds = np.ceil(batch / packed) * nr * nc
    os = units.equals("dataflow", "os")
    # Idle arrays share the stream of one fold, but for outputs that must meet in one cell.
    shares = np.where(os, 1.0, np.maximum(np.floor(arrays / folds), 1.0))
    t = np.ceil(t / shares)
    each = np.ceil(folds * shares / arrays)
    last = (sr - (nr - 1.0) * rows) * packed
    edge = (sc - (nc - 1.0) * cols) * packed
    # Columns of folds (of rows) that an array runs; with one array, whole numbers.
    columns, lines = each / nr, each / nc
    hidden = columns * ((nr - 1.0) * np.maximum(t, rows) + np.maximum(t, last))
    # The first fold's load (os: the last one's drain) hides behind no other fold.
    whole, wide = np.minimum(rows, sr * packed), np.minimum(cols, sc * packed)
    open_end = np.where(os, last, whole)
    overlap = hidden + open_end - np.maximum(t, open_end) + t + last + edge - 2.0
    serial = each * (t - 2.0) + (2.0 * sr * columns + sc * lines) * packed
    hides = units.equals("preload", "overlap")
    # Some array runs a fold of full size from beginning to end.
    least = t + 2.0 * whole + wide - 2.0
    cycles = np.maximum(np.where(hides, overlap, serial), least) * count
    taken = np.where(hides, hidden, serial) * count
    peer = units.equals("convention", "scalesim")
    if peer.any():
        cycles = np.where(peer, _scalesim(p, units, index, column) * count, cycles)
        taken = np.where(peer, cycles, taken)
    return cycles, taken, nr, nc


def _scalesim(p: Prepared, units: Units, index: Array, column: Array) -> Array:
    """The peer's count: whole folds one after another, minus one a layer; no drain for os.

    SCALE-Sim 3.0.0 reports 2 R + C + t - 2 a fold (os: R + C + t - 2), less one cycle a layer.
    """
    rows, cols = units.number("rows"), units.number("cols")
    sr, sc, t = p.tables.rows[:, column], p.tables.cols[:, column], p.tables.stream[:, column]
    loads = np.where(units.equals("dataflow", "os"), 1.0, 2.0)
    folds = np.ceil(sr / rows) * np.ceil(sc / cols)
    return p.ops.batch[p.products][:, index] * folds * (loads * rows + cols + t - 2.0) - 1.0


def _grown(
    p: Prepared, index: Array, units: Units, rows: Array, cols: Array, nr: Array, nc: Array
) -> None:
    """Mean number of folds where a side grows with the token index, in closed form, in place."""
    flow = units.code("dataflow", FLOWS)
    # Which of sr, sc a growing n or k is, for each dataflow; the stream is linear as it is.
    place = {"n": ((1, 1, 2), 0), "k": ((0, 2, 0), 0)}
    for i, r in enumerate(p.products):
        grows = p.ops.rows[r].grows
        if not grows:
            continue
        side = np.array(place[grows][0])[flow]
        value = (p.ops.n if grows == "n" else p.ops.k)[r][index]
        span = p.ops.span[r][index]
        nr[i] = np.where(side == 0, mean_folds(value, span, rows), nr[i])
        nc[i] = np.where(side == 1, mean_folds(value, span, cols), nc[i])


def mean_folds(middle: Array, span: Array, size: Array) -> Array:
    """Mean of ceil(x / size) over the span + 1 consecutive integers x around `middle`.

    With F(x) = sum of ceil(i / size) for i = 1 ... x = size q (q + 1) / 2 + (q + 1) rest,
    x = q size + rest, the sum from a to b is F(b) - F(a - 1).
    """

    def total(x: Array) -> Array:
        q = np.floor(x / size)
        return size * q * (q + 1.0) / 2.0 + (q + 1.0) * (x - q * size)

    low = middle - span / 2.0
    return (total(low + span) - total(low - 1.0)) / (span + 1.0)


def _sram(t: _Tables, column: Array, nr: Array, nc: Array) -> tuple[Array, Array, Array]:
    """Bytes over all runs: read from and written to the on-chip memory, and partial sums.

    The sums of a fold are added to those in the accumulators; the last of them are read once
    more on their way to the on-chip memory. So they are written as often as read.
    """
    reads = t.moving[:, column] * nc + t.fixed[:, column] + t.turning[:, column] * nr
    return reads, t.result[:, column], t.sums[:, column] * nr


def _accesses(p: Prepared, column: Array, nr: Array, nc: Array) -> dict[str, Array]:
    """(R, D) elements of each operand the array reads and writes, over all runs."""
    ops, one, zero = p.ops, np.ones(len(p.ops.rows)), np.zeros(len(p.ops.rows))
    reads_a = _sram(_tables(ops, p.products, one, zero, zero, 0.0), column, nr, nc)[0]
    reads_b = _sram(_tables(ops, p.products, zero, one, zero, 0.0), column, nr, nc)[0]
    _, result, sums = _sram(_tables(ops, p.products, zero, zero, one, 1.0), column, nr, nc)
    # Outputs that stay in the cells leave them once; others pass the accumulators each fold.
    writes = np.where(sums > 0, sums, result)
    found = {}
    for name, values in (
        ("a_reads", reads_a),
        ("b_reads", reads_b),
        ("out_reads", writes - result),
        ("out_writes", writes),
    ):
        found[name] = np.zeros((len(ops.rows), column.size))
        found[name][p.products] = values
    return found


def complete(units: Units) -> Units:
    """Settings left to the machine: a lane for each column, accumulators under each column.

    Gemmini (Genc et al. 2021, arXiv 1911.09925) puts 64 KiB under 16 columns: 1,024 rows of
    four bytes each. Output-stationary arrays keep their sums in the cells.
    """
    columns = units.number("cols") * units.number("arrays")
    lanes, sums = units.number("vector_lanes"), units.number("accumulators")
    own = np.where(units.equals("dataflow", "os"), 0.0, 1024.0 * 4.0 * columns)
    return units.replace(
        vector_lanes=np.where(lanes > 0, lanes, columns),
        accumulators=np.where(sums > 0, sums, own),
    )


def _shortest(units: Units) -> Array:
    """Tokens a sequence needs so that splitting the batch costs no extra cycle.

    ws: as many as hide the next load; os, is: as many as fill the side tokens lie along.
    """
    side = np.where(units.equals("dataflow", "is"), units.number("cols"), units.number("rows"))
    return np.where(units.equals("preload", "overlap"), side, np.inf)


def _start(p: Prepared, units: Units, index: Array, q: Array) -> Array:
    """Bytes the first product needs in its cells: nothing ran before that could hide them.

    One fold of weights, not a tile of them: the array starts while the rest of the tile comes.
    """
    first = p.products[0]
    k = np.minimum(p.ops.k[first][index], units.number("rows"))
    n = np.minimum(p.ops.n[first][index], units.number("cols"))
    return np.minimum(k * n * p.ops.b_width[first], p.plan.read[first][q])


def _limits(p: Prepared, units: Units, index: Array, q: Array) -> dict[str, tuple[Array, Array]]:
    memory = p.ops.memory
    total = memory["weights"] + memory["gradients"] + memory["optimizer"]
    total = total + memory["activations"] + memory["cache"]
    tile = p.plan.needed[q] * np.where(units.flag("double_buffer"), 4.0, 2.0)
    # A datapath that holds no gradient does not train; the user may insist that it does.
    lacks = not p.ops.format.products.trains
    refuses = (
        lacks * units.equals("training_support", "auto") | units.equals("training_support", "false")
    ) * p.trains[index]
    return {
        "the machine does not train: accelerator.training_support and accelerator.datapath "
        "decide": (refuses, np.zeros(refuses.size)),
        "main memory: needs {needed}, has {available}": (
            total[index],
            units.number("memory_capacity"),
        ),
        "on-chip memory: the smallest tile needs {needed}, has {available}": (
            tile,
            units.number("sram"),
        ),
    }


def _moved(p: Prepared, q: Array) -> tuple[Array, Array, Array]:
    """(R, D) bytes of weights, of everything else read, and written, over all runs."""
    weights = (p.plan.weights * p.ops.count[:, p.plan_pair])[:, q]
    return weights, p.read[:, q] - weights, p.written[:, q]


def _tiles(memory: Plan, q: Array) -> tuple[Array, Array, Array]:
    return memory.tile_m[:, q], memory.tile_k[:, q], memory.tile_n[:, q]


def _counts(
    p: Prepared,
    units: Units,
    index: Array,
    q: Array,
    column: Array,
    array: tuple[Array, Array, Array],
    moved: Array,
) -> tuple[dict[str, Count], tuple[Array, Array]]:
    """How often each action happens; what passes main memory passes the on-chip memory too."""
    here = np.arange(index.size)
    read, write = _vector_bytes(p, units, index)
    read = read + p.written[:, q]
    write = write + p.read[:, q]
    read[p.products] += array[0]
    write[p.products] += array[1]
    sums = np.zeros_like(read)
    sums[p.products] = array[2]
    shape = p.ops.count.shape
    macs, register = np.zeros(shape), np.zeros((shape[0], p.tables.register.shape[1]))
    macs[p.products] = p.macs
    register[p.products] = p.tables.register
    counts = {
        "mac": Count(macs, index),
        "register": Count(register, column),
        "sram read": Count(read, here),
        "sram write": Count(write, here),
        "accumulator read": Count(sums, here),
        "accumulator write": Count(sums, here),
        "vector": Count(p.work, index),
        "special": Count(p.special, index),
        "main memory": Count(p.read + p.written, q),
        "interface": Count(p.read + p.written, q),
    }
    return counts, (read + write + 2.0 * sums, moved)


def _vector_bytes(p: Prepared, units: Units, index: Array) -> tuple[Array, Array]:
    """(R, D) bytes vector work reads and writes on chip; streamed work only its extra operand."""
    ops = p.ops
    streamed = np.array([row.streamed for row in ops.rows])[:, None]
    vector = np.array([not row.matmul for row in ops.rows])[:, None]
    reads = np.where(streamed, ops.b_bytes, ops.a_bytes + ops.b_bytes) * ops.count
    writes = np.where(streamed, 0.0, ops.out_bytes) * ops.count
    reads, writes = (np.where(vector, x, 0.0)[:, index] for x in (reads, writes))
    apart = ~units.flag("fuse")
    if apart.any():
        rows = np.nonzero(streamed[:, 0] & vector[:, 0])[0]
        reads[rows] += (ops.a_bytes * ops.count)[rows][:, index] * apart
        writes[rows] += (ops.out_bytes * ops.count)[rows][:, index] * apart
    return reads, writes


def parts(units: Units) -> dict[str, Part]:
    """Area and standing power of the parts of the chip and its memory."""
    cells = units.number("rows") * units.number("cols") * units.number("arrays")
    lanes = units.number("vector_lanes")
    logic = ("logic", "leakage")
    memory = ("dram.{memory}", "interface_area")
    return {
        "array": Part(("mac.{compute}", "area"), cells, logic, True),
        "vector": Part(("vector.fp32", "area"), lanes, logic, True),
        "special": Part(("vector.special", "area"), lanes, logic, True),
        "sram": Part(("sram", "area"), units.number("sram"), ("sram", "leakage")),
        "accumulators": Part(("sram", "area"), units.number("accumulators"), ("sram", "leakage")),
        "interface": Part(memory, units.number("bandwidth"), logic, True),
        "main memory": Part(None, units.number("bandwidth"), ("dram.{memory}", "standby")),
    }


SYSTOLIC = Machine(
    name="systolic",
    schema="systolic",
    description="systolic arrays with one on-chip memory and a vector unit",
    actions=ACTIONS,
    prepare=prepare,
    activity=activity,
    parts=parts,
    complete=complete,
    native="datapath",
)
