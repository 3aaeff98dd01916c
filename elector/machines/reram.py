"""ReRAM crossbars: weights stay in cells, products happen where they lie.

A weight of w bits takes ceil(w / cell bits) columns, twice that as a differential pair, and a
k x n matrix ceil(k / R) x ceil(n columns / C) crossbars. A vector goes through in

    ceil(input bits / DAC bits) phases of max(read pulse, columns of a converter / its rate)

and all crossbars of a matrix work at once (Shafiee et al. 2016, ISAAC; Ankit et al. 2019,
PUMA, arXiv 1901.10351). Layers lie in different crossbars, so sequences follow one another
through them; crossbars that are left over hold copies. Products of two computed operands
(scores, context, gradients of weights) go to a digital unit, or one operand is written into
spare crossbars first. Training writes every updated cell, and every copy of it, once a step.
What writes may take together is a power budget (elector.cost.power).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elector.machines.contract import (
    Action,
    Activity,
    Budget,
    Count,
    Fill,
    Machine,
    Part,
    Units,
    gradients_limit,
    nothing_ahead,
    nothing_to_complete,
    sum_rows,
)
from elector.operations.rows import Operations

Array = np.ndarray

READS = ("array", "dac", "sample", "adc", "shift", "register", "tile")
ACTIONS = {
    **{name: Action(name, ("reram.{design}", name)) for name in READS},
    "write": Action("write", ("reram", "write")),
    "digital": Action("digital", ("mac.bf16", "energy")),
    "vector": Action("vector", ("vector.fp32", "energy")),
    "special": Action("vector", ("vector.special", "energy")),
    "main memory": Action("main memory", ("dram.{memory}", "energy")),
    "interface": Action("interface", ("dram.{memory}", "interface_energy")),
}
#: Converters of other widths, from published ones of 4 to 9 bits scaled as Saberi et al. 2011
#: do (capacitors double with each bit, the rest does not): exponents of 2 for each bit.
ADC_ENERGY, ADC_ENERGY_WIDE, ADC_AREA = 0.25, 0.63, 0.43


@dataclass(frozen=True)
class Prepared:
    """What all chunks of a block share."""

    ops: Operations
    index: Array
    units: Units
    details: bool


def prepare(ops: Operations, index: Array, units: Units, details: bool) -> Prepared:
    """Nothing is shared but the operations."""
    return Prepared(ops, index, units, details)


@dataclass(frozen=True)
class Crossbars:
    """Geometry of D designs, each (D,).

    columns : of one weight. conversions : converter results of one weight and phase.
    total : crossbars of the chip. phases : of one vector. vector : seconds of one vector.
    """

    rows: Array
    cols: Array
    columns: Array
    conversions: Array
    total: Array
    phases: Array
    vector: Array

    def of(self, k: Array, n: Array) -> Array:
        """Crossbars of a k x n matrix."""
        return np.ceil(k / self.rows) * np.ceil(n * self.columns / self.cols)


def crossbars(units: Units) -> Crossbars:
    """Geometry and speed of the crossbars."""
    slices = np.ceil(units.number("weight_bits") / units.number("cell_bits"))
    pair = np.where(units.equals("encoding", "differential"), 2.0, 1.0)
    phases = np.ceil(units.number("input_bits") / units.number("dac_bits"))
    converter = units.number("cols") / units.number("adcs_per_crossbar")
    phase = np.maximum(units.number("read_pulse"), converter / units.number("adc_rate"))
    total = units.number("crossbars_per_unit") * units.number("units_per_tile")
    return Crossbars(
        units.number("rows"),
        units.number("cols"),
        slices * pair,
        slices,
        total * units.number("tiles"),
        phases,
        phases * phase,
    )


def lossless_bits(units: Units) -> Array:
    """(D,) converter bits at which no sum of a column is cut (ISAAC, section 5)."""
    levels = units.number("rows") * (2.0 ** units.number("cell_bits") - 1.0)
    levels = levels * (2.0 ** units.number("dac_bits") - 1.0)
    # A column that would sum to more than half is stored inverted.
    saved = np.where(units.equals("encoding", "flipped"), 1.0, 0.0)
    return np.ceil(np.log2(levels + 1.0)) - saved


def effective_bits(units: Units) -> Array:
    """(D,) bits of a weight that reach the result: each missing converter bit cuts one."""
    lost = np.maximum(lossless_bits(units) - units.number("adc_bits"), 0.0)
    return np.maximum(units.number("weight_bits") - lost, 0.0)


@dataclass(frozen=True)
class _Where:
    """Where each product runs: (R, D) bool, and the geometry of what is stored.

    stored : in crossbars that hold the weights. written : one operand is written first.
    digital : on the digital unit. matrices : (R, D) distinct stored matrices of a row.
    each : (R, D) crossbars of one matrix or one written operand.
    needed : (D,) crossbars of all weights. copies : (D,) times the weights are held.
    pool : (D,) crossbars for written operands. least : (D,) crossbars of the largest of them.
    impossible : (D,) products that no unit takes.
    """

    stored: Array
    written: Array
    digital: Array
    matrices: Array
    each: Array
    needed: Array
    copies: Array
    pool: Array
    least: Array
    impossible: Array


def _where(ops: Operations, index: Array, units: Units, x: Crossbars) -> _Where:
    used = ops.count[:, index] > 0
    matmul = np.array([row.matmul for row in ops.rows])[:, None] & used
    weight = np.array([row.b in ("weight", "reuse") for row in ops.rows])[:, None]
    back = np.array([row.phase == "backward" for row in ops.rows])[:, None]
    readable = ~units.equals("transposed_read", "none")
    stored = matmul & weight & (~back | readable)
    changing = matmul & ~stored
    macs = units.number("digital_macs") > 0
    digital = changing & (macs & ~units.equals("dynamic", "write"))
    # A matrix that cannot be read in the other direction cannot be written anew, either.
    written = changing & ~weight & ~digital
    lost = changing & ~digital & ~written
    k, n = ops.k[:, index], ops.n[:, index]
    each = np.where(back & stored, x.of(n, k), x.of(k, n))
    first = np.array([r.b == "weight" and r.phase != "backward" for r in ops.rows])[:, None]
    passes = ops.workload.gradient_accumulation[index] if ops.workload.training else 1.0
    distinct = np.where(matmul & weight, ops.count[:, index] / passes, 0.0)
    decode = np.array([row.phase == "decode" for row in ops.rows])[:, None]
    distinct = np.where(decode, ops.layers[index], distinct)
    twice = np.where(units.equals("transposed_read", "copy") & ops.workload.training, 2.0, 1.0)
    needed = sum_rows(np.where(first & stored, distinct * each, 0.0)) * twice
    most = np.where(written, each * ops.batch[:, index], 0.0).max(axis=0)
    least = np.where(written, each, 0.0).max(axis=0)
    # Copies leave room for the written operands of one operation; what they leave is for those.
    kept = np.minimum(np.maximum(x.total - needed, 0.0), most)
    fit = np.floor((x.total - kept) / np.maximum(needed, 1.0))
    update = np.flatnonzero(_updates(ops))
    updated = used[update].any(axis=0)
    asked = units.number("copies")
    held = np.where(asked > 0, np.minimum(asked, fit), np.where(updated, 1.0, fit))
    held = np.maximum(held, 1.0)
    pool = np.where(most > 0, np.maximum(x.total - needed * held, 0.0), 0.0)
    return _Where(
        stored,
        written,
        digital,
        np.maximum(distinct, 1.0),
        each,
        needed,
        held,
        pool,
        least,
        sum_rows(np.where(lost, 1.0, 0.0)),
    )


def activity(prepared: object, part: slice) -> Activity:
    """Seconds and counts of the designs in `part`."""
    assert isinstance(prepared, Prepared)
    ops, units, index = prepared.ops, prepared.units.take(part), prepared.index[part]
    x = crossbars(units)
    w = _where(ops, index, units, x)
    count, batch = ops.count[:, index], ops.batch[:, index]
    m, k, n = (v[:, index] for v in (ops.m, ops.k, ops.n))
    vectors = count * batch * m
    cells, pulses = _writes(ops, index, units, x, w)
    one, turns = _in_turn(ops, index, units, x, w)
    # Vectors of one sequence, dealt to the copies; those of others fill what it leaves free.
    each = np.ceil(batch * m / ops.streams[index] / w.copies)
    read = np.where(w.stored, vectors * x.vector / w.copies, 0.0)
    taken = np.minimum(w.each / np.maximum(w.pool, 1.0), 1.0)
    spare = np.where(w.written, vectors * x.vector * taken, 0.0)
    digital_rate = np.maximum(units.number("digital_macs"), 1.0) * units.number("clock")
    digital = np.where(w.digital, vectors * k * n / digital_rate, 0.0)
    work, special = _work(ops, index, units)
    lanes = work / (units.number("vector_lanes") * units.number("clock"))
    moved = _moved(ops, index, units)
    memory = moved / units.number("bandwidth")
    # Layers have crossbars of their own; the slowest layer of each phase sets the pace. Pulses of
    # written operands of other layers and sequences go on beside, as far as power allows.
    stage = np.where(w.stored, read / w.matrices, 0.0)
    busy = {
        "crossbars": _slowest(ops, stage),
        "spare crossbars": spare,
        "write": np.where(w.written, 0.0, pulses),
        "digital": digital,
        "vector": lanes,
        "memory": memory,
    }
    compute = np.maximum(read, np.where(w.stored, count * each * x.vector, spare))
    compute = compute + pulses + digital + lanes
    alone = np.maximum(compute, memory)
    one = np.where(w.stored, count * ops.streams[index] * each, np.where(w.written, one * m, 0.0))
    serial = one * x.vector + np.where(w.written, turns, pulses) + digital + lanes
    serial = np.maximum(serial, memory)
    written = Budget(
        "write", "write", units.number("write_power"), pulses, np.where(w.written, turns, pulses)
    )
    counts = _counts(ops, index, x, w, vectors, cells, moved, special, units)
    weights, room, ahead = nothing_ahead(len(ops.rows), index)
    wear = _wear(ops, index, units, x, w, cells)
    return Activity(
        busy=busy,
        alone=alone,
        compute=compute,
        cycles=alone * units.number("clock"),
        counts=counts,
        fuse=np.ones(index.size, dtype=bool),
        weights=weights,
        room=room,
        bandwidth=ahead,
        start=np.zeros(index.size),
        executed=ops.executed[index],
        peak=_peak(units, x),
        limits=_limits(ops, index, units, x, w),
        resources=tuple(busy),
        periods={"crossbars": np.ones(index.size)},
        budget=written,
        serial=serial,
        beside=w.written,
        wear=wear,
        endurance=units.number("endurance"),
        fill=_fill(ops, index, units, x, w),
        extra={"effective_bits": effective_bits(units)},
        tiles=(np.zeros_like(m),) * 3 if prepared.details else None,
        traffic=(moved, moved) if prepared.details else None,
    )


def _peak(units: Units, x: Crossbars) -> Array:
    """(D,) multiply-accumulates a second of crossbars and digital unit."""
    stored = x.total * x.rows * x.cols / x.columns
    return stored / x.vector + units.number("digital_macs") * units.number("clock")


def _writes(
    ops: Operations, index: Array, units: Units, x: Crossbars, w: _Where
) -> tuple[Array, Array]:
    """(R, D) cells written, and seconds of their pulses where power allows all at once."""
    count, batch = ops.count[:, index], ops.batch[:, index]
    k, n, m = ops.k[:, index], ops.n[:, index], ops.m[:, index]
    pulse = units.number("write_pulse") * units.number("write_verify")
    cells = np.where(w.written, count * batch * k * n * x.columns, 0.0)
    rounds = np.ceil(batch / np.clip(np.floor(w.pool / np.maximum(w.each, 1.0)), 1.0, None))
    seconds = np.where(w.written, count * rounds * np.minimum(k, x.rows) * pulse, 0.0)
    missing = units.flag("reload") & (w.needed > x.total)
    again = w.stored & missing
    cells = np.where(again, count * k * n * x.columns, cells)
    turns = np.ceil(w.each / x.total)
    seconds = np.where(again, count * turns * np.minimum(k, x.rows) * pulse, seconds)
    update = _updates(ops)[:, None]
    held = w.copies * np.where(units.equals("transposed_read", "copy"), 2.0, 1.0)
    cells = np.where(update, count * m * x.columns * held, cells)
    here = update & (count > 0)
    last = np.where(here, x.rows * pulse / np.maximum(sum_rows(here + 0.0), 1.0), 0.0)
    return cells, np.where(update, last, seconds)


def _in_turn(
    ops: Operations, index: Array, units: Units, x: Crossbars, w: _Where
) -> tuple[Array, Array]:
    """(R, D) reads of a written operand, and seconds of writing it, sequence by sequence.

    The heads of one sequence stand side by side, as far as there are spare crossbars.
    """
    heads = np.maximum(ops.batch / ops.streams, 1.0)[:, index]
    runs = ops.count[:, index] * ops.batch[:, index] / heads
    fit = np.clip(np.floor(w.pool / np.maximum(w.each, 1.0)), 1.0, heads)
    pulse = units.number("write_pulse") * units.number("write_verify")
    rows = np.minimum(ops.k[:, index], x.rows)
    return runs * heads / fit, runs * np.ceil(heads / fit) * rows * pulse


def _fill(ops: Operations, index: Array, units: Units, x: Crossbars, w: _Where) -> Fill:
    """The first writing of all stored weights and their copies, all crossbars row by row."""
    distinct = np.where(w.stored, w.matrices, 0.0)
    first = np.array([r.b == "weight" and r.phase != "backward" for r in ops.rows])[:, None]
    weights = sum_rows(np.where(first, distinct * ops.k[:, index] * ops.n[:, index], 0.0))
    twice = np.where(units.equals("transposed_read", "copy") & ops.workload.training, 2.0, 1.0)
    pulses = units.number("write_verify")
    seconds = np.where(weights > 0, x.rows * units.number("write_pulse") * pulses, 0.0)
    return Fill(
        "write",
        weights * x.columns * w.copies * twice * pulses,
        pulses,
        seconds,
        weights * units.number("weight_bits") / 8.0,
    )


def _updates(ops: Operations) -> Array:
    """(R,) bool, the updates of tensors that lie in crossbars: operands of products.

    Vectors and tables lie in registers and buffers.
    """
    graph = ops.graph
    return np.array(
        [r.kind == "optimizer" and graph.updates_matrix(i) for i, r in enumerate(ops.rows)]
    )


def _wear(
    ops: Operations, index: Array, units: Units, x: Crossbars, w: _Where, cells: Array
) -> Array:
    """(D,) pulses the most written cell takes in a step."""
    size = x.rows * x.cols
    shared = sum_rows(np.where(w.written, cells, 0.0)) / (np.maximum(w.pool, 1.0) * size)
    again = sum_rows(np.where(w.stored, cells, 0.0)) / (x.total * size)
    update = _updates(ops)[:, None]
    weights = np.where(update & (cells > 0), 1.0, 0.0).max(axis=0)
    return np.maximum(np.maximum(shared, again), weights) * units.number("write_verify")


def _slowest(ops: Operations, stage: Array) -> Array:
    """(R, D) the seconds of the slowest row of each phase, elsewhere 0."""
    found = np.zeros_like(stage)
    for phase in dict.fromkeys(row.phase for row in ops.rows):
        rows = ops.where(phase=phase)
        at = stage[rows].argmax(axis=0)
        here = np.arange(stage.shape[1])
        found[rows[at], here] = stage[rows[at], here]
    return found


def _work(ops: Operations, index: Array, units: Units) -> tuple[Array, tuple[Array, Array]]:
    """(R, D) lane cycles of what is no product, and simple and special operations."""
    vector = np.array([not row.matmul for row in ops.rows])[:, None]
    elements = np.where(vector, ops.count * ops.m, 0.0)[:, index]
    simple = elements * np.array([row.simple for row in ops.rows])[:, None]
    special = elements * np.array([row.special for row in ops.rows])[:, None]
    return simple + special * units.number("special_cycles"), (simple, special)


def _moved(ops: Operations, index: Array, units: Units) -> Array:
    """(R, D) bytes of main memory: streams, and what the tiles' buffers cannot keep."""
    room = 0.5 * units.number("buffer") * units.number("tiles")
    found = np.zeros((len(ops.rows), index.size))
    for r, row in enumerate(ops.rows):
        for operand in ("a", "b", "out"):
            kind, size = getattr(row, operand), getattr(ops, f"{operand}_bytes")[r][index]
            if kind == "stream":
                found[r] += size
            elif kind in ("saved", "cache"):
                name = "activations" if kind == "saved" else "cache"
                found[r] += np.where(ops.memory[name][index] > room, size, 0.0)
            elif kind == "activation":
                found[r] += np.where(size > room, size, 0.0)
    return found * ops.count[:, index]


def _counts(
    ops: Operations,
    index: Array,
    x: Crossbars,
    w: _Where,
    vectors: Array,
    cells: Array,
    moved: Array,
    special: tuple[Array, Array],
    units: Units,
) -> dict[str, Count]:
    """How often each action happens."""
    here = np.arange(index.size)
    active = w.stored | w.written
    back = np.array([r.phase == "backward" and r.b == "reuse" for r in ops.rows])[:, None]
    k, n = ops.k[:, index], ops.n[:, index]
    # Read in the other direction, the matrix's columns are driven and its rows converted.
    inputs, outputs = np.where(back, k * x.columns, k), np.where(back, n, n * x.conversions)
    tall = np.where(back, np.ceil(k * x.columns / x.cols), np.ceil(k / x.rows))
    wide = np.where(back, np.ceil(n / x.rows), np.ceil(n * x.columns / x.cols))
    phases = np.where(active, vectors * x.phases, 0.0)
    results = phases * outputs * tall
    found = {
        "array": phases * k * n * x.columns,
        "dac": phases * inputs * wide,
        "sample": results,
        "adc": results * _adc(units.number("adc_bits"), ADC_ENERGY, ADC_ENERGY_WIDE),
        "shift": results,
        "register": phases * w.each,
        "tile": phases * w.each,
        "write": cells * units.number("write_verify"),
        "digital": np.where(w.digital, vectors * k * n, 0.0),
        "vector": special[0],
        "special": special[1],
        "main memory": moved,
        "interface": moved,
    }
    return {name: Count(values, here) for name, values in found.items()}


def _adc(bits: Array, narrow: float, wide: float) -> Array:
    """(D,) price of a converter over that of eight bits."""
    return 2.0 ** (np.where(bits > 8.0, wide, narrow) * (bits - 8.0))


def peak_counts(units: Units) -> dict[str, Array]:
    """Action -> (D,) times a second with every crossbar busy."""
    x = crossbars(units)
    phases = x.total * x.phases / x.vector
    results = phases * x.cols * x.conversions / x.columns
    adc = _adc(units.number("adc_bits"), ADC_ENERGY, ADC_ENERGY_WIDE)
    return {
        "array": phases * x.rows * x.cols,
        "dac": phases * x.rows,
        "sample": results,
        "adc": results * adc,
        "shift": results,
        "register": phases,
        "tile": phases,
    }


def _limits(
    ops: Operations, index: Array, units: Units, x: Crossbars, w: _Where
) -> dict[str, tuple[Array, Array]]:
    size = x.rows * x.cols * units.number("cell_bits") / 8.0
    available = np.where(units.flag("reload"), np.inf, x.total * size)
    zero = np.zeros(index.size)
    memory = ops.memory
    total = (memory["activations"] + memory["cache"] + memory["gradients"] + memory["optimizer"])[
        index
    ]
    return gradients_limit(ops, index) | {
        "crossbars: the weights need {needed} of cells, the chip has {available}": (
            w.needed * size,
            available,
        ),
        "crossbars for computed operands: need {needed} of cells, {available} are left "
        "(accelerator.digital_macs gives such products a unit)": (w.least * size, w.pool * size),
        "the input's gradient: no unit takes it (set accelerator.transposed_read or "
        "accelerator.digital_macs)": (w.impossible, zero),
        "main memory: needs {needed}, has {available}": (total, units.number("memory_capacity")),
    }


def parts(units: Units) -> dict[str, Part]:
    """Area and standing power."""
    x = crossbars(units)
    tiles = units.number("tiles")
    rows, cols = x.total * x.rows, x.total * x.cols
    both = np.where(units.equals("transposed_read", "bidirectional"), 1.0, 0.0)
    cells = x.total * x.rows * x.cols / (128.0 * 128.0)
    converters = x.total * units.number("adcs_per_crossbar")
    bits = _adc(units.number("adc_bits"), ADC_AREA, ADC_AREA)
    lanes, logic = units.number("vector_lanes"), ("logic", "leakage")

    def area(name: str) -> tuple[str, str]:
        return ("reram.{design}", f"{name}_area")

    return {
        # drivers and converters on both sides where both directions are read
        "crossbar": Part(area("crossbar"), cells * (1.0 + 0.1 * both)),
        "dac": Part(area("dac"), rows + cols * both),
        "sample": Part(area("sample"), cols + rows * both),
        "adc": Part(area("adc"), converters * bits * (1.0 + both)),
        "unit": Part(area("unit"), units.number("units_per_tile") * tiles),
        "tile": Part(area("tile"), tiles),
        "link": Part(
            area("link"), np.minimum(units.number("links"), 1.0), ("reram.{design}", "link_power")
        ),
        "digital": Part(("mac.bf16", "area"), units.number("digital_macs"), logic, True),
        "vector": Part(("vector.fp32", "area"), lanes, logic, True),
        "special": Part(("vector.special", "area"), lanes, logic, True),
        "main memory": Part(None, units.number("bandwidth"), ("dram.{memory}", "standby")),
    }


RERAM = Machine(
    name="reram",
    schema="reram",
    description="ReRAM crossbars that hold the weights, with a digital unit beside",
    actions=ACTIONS,
    prepare=prepare,
    activity=activity,
    parts=parts,
    complete=nothing_to_complete,
    native="datapath",
)
