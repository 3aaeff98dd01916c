"""GPUs: a data sheet, and a software stack as an input.

Every operation is one or more kernels. A host fills a queue with them and the device works
it off: a step takes the longer of the two sums. A kernel takes the longer of its arithmetic
(which follows the clock) and its traffic (which does not), and a start of its own
(elector.machines.gpu.kernels). Which kernels there are is the software stack's affair
(elector.machines.gpu.stacks). Under a power limit the clock drops (elector.cost.power).

What stays in the second-level cache between operations is not loaded again
(elector.machines.tiling). Constants are those of all GPUs or of a stack, never of a device.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np

from elector.base.table import columns, combinations, distinct
from elector.describe.numbers import Format, formats
from elector.machines.contract import (
    Action,
    Activity,
    Case,
    Clocked,
    Count,
    Details,
    EventModel,
    Machine,
    Overlap,
    Part,
    Power,
    Remarks,
    Units,
    nothing_to_complete,
    sum_rows,
)
from elector.machines.gpu import dispatch, remarks
from elector.machines.gpu.attention import (
    FlashRows,
    flash_loads,
    flash_seconds,
    skipped,
    stream_seconds,
    stream_starts,
    streaming,
)
from elector.machines.gpu.automatic import alike, automatic
from elector.machines.gpu.between import handed_on
from elector.machines.gpu.cited import cited
from elector.machines.gpu.kernels import (
    Constants,
    Device,
    GpuProducts,
    cache_room,
    cache_seconds,
    constants,
    host_bound,
    lane_rate,
    memory_seconds,
    peak,
    product_seconds,
    tiles,
    vector_seconds,
)
from elector.machines.gpu.latent import (
    LatentKernels,
    LatentPair,
    latent_pairs,
    once,
    value_heads,
)
from elector.machines.gpu.sizes import sizes
from elector.machines.gpu.stacks import (
    CHUNKS,
    IMPLEMENTATIONS,
    SERVING_ONLY,
    alone,
    along_heads,
    appended,
    as_timed,
    in_flash,
    kernels,
    paged,
    passes,
    prompt_softmaxes,
    quantised,
    stacks,
    streams_as_timed,
)
from elector.machines.tiling import Memories, TilingPlan, plan
from elector.operations.rows import Operations, unpacked

Array = np.ndarray

ACTIONS = {
    "mac": Action("mac", ("gpu.{compute}", "energy"), core=True),
    "plain mac": Action("mac", ("gpu.plain.{compute}", "energy"), core=True),
    "vector": Action("vector", ("gpu.vector", "energy"), core=True),
    "special": Action("vector", ("gpu.special", "energy"), core=True),
    "cache": Action("cache", ("gpu.cache", "transfer_energy"), core=True),
    "path": Action("cache", ("gpu.path", "transfer_energy"), core=True),
    "main memory": Action("main memory", ("dram.{memory}", "energy")),
    "interface": Action("interface", ("dram.{memory}", "interface_energy")),
    "running": Action("running", ("gpu.running", "share"), core=True),
}


@dataclass(frozen=True)
class PreparedGpu:
    """What all chunks of a block share.

    ops : operations, as wide as the stack's kernels hand them on. units : settings of the designs.
    index : (D,) pair of each design. plan : traffic of each distinct (pair, cache); plan_index :
    (D,) which. tiled, flash, streams, vectors : places of rows by the kernels that run them:
    products in tiles, inside flash attention, over a cache, and the rest. softmaxes : places of
    those inside flash attention, and of the products of their scores. latents : products of latent
    attention that one kernel holds. constants : those of all GPUs. stack : constant of the
    software stack -> value in SI. kernels, passes : (R,) of one run of each row. quantised : (R,)
    whether activations are turned into another format first. appends : places of rows that append
    to a cache. details : whether tiles and traffic of each operation are asked for.
    """

    ops: Operations
    index: Array
    units: Units
    plan: TilingPlan
    plan_index: Array
    tiled: Array
    flash: Array
    streams: Array
    softmaxes: list[tuple[int, int]]
    latents: list[LatentPair]
    vectors: Array
    constants: Constants
    stack: dict[str, float]
    kernels: Array
    passes: Array
    quantised: Array
    appends: Array
    details: bool

    @property
    def paged(self) -> Array:
        """(F, 1) products inside flash attention whose keys lie in pages of a cache; those of
        latent attention are put together before."""
        latent = {r for pair in self.latents for r in (pair.scores, pair.context)}
        own = [r not in latent and paged(self.ops.rows[r], self.stack) for r in self.flash]
        return np.array(own, dtype=bool)[:, None]

    def activity(self, part: slice | Array) -> Activity:
        """What the designs of `part` do."""
        return _activity(self, part)


def prepare(ops: Operations, index: Array, units: Units, details: bool) -> PreparedGpu:
    """Traffic of each distinct (pair, cache), kernels and passes of each operation.

    index : (D,) pair of each design. details : whether tiles and traffic are asked for.
    """
    w = ops.workload
    stack = stacks()[w.implementation]
    ops = handed_on(ops, stack)
    memory, plan_index = _plan(ops, index, units, details)
    return PreparedGpu(
        ops,
        index,
        units,
        memory,
        plan_index,
        *_products(ops),
        prompt_softmaxes(ops.rows, w.attention),
        latent_pairs(ops.rows, w.attention),
        ops.where(matmul=False),
        constants(),
        stack,
        kernels(ops.rows, stack, w),
        passes(ops.rows, stack, w),
        quantised(ops.rows, w),
        np.array([append for append, _ in appended(ops.rows)], dtype=np.intp),
        details,
    )


def _products(ops: Operations) -> tuple[Array, Array, Array]:
    """Places of products by the kernels that run them: tiled, flash attention, decoding."""
    streams = ops.where(matmul=True, in_attention=True, phase="decode")
    fused = ops.workload.attention == "flash"
    flash = np.flatnonzero([fused and in_flash(row) for row in ops.rows])
    flash = np.setdiff1d(flash, streams)
    rest = np.setdiff1d(ops.where(matmul=True), np.concatenate((streams, flash)))
    return rest, flash, streams


def _plan(ops: Operations, index: Array, units: Units, details: bool) -> tuple[TilingPlan, Array]:
    """The traffic plan of every distinct (pair, cache) and each design's place in it."""
    sizes, _, code = distinct(units.number("l2"))
    combinations, _, plan_index = distinct(index * sizes.size + code)
    pair, rest = np.divmod(combinations, sizes.size)
    no, asked = np.zeros(pair.size, dtype=bool), np.arange(len(ops.rows) if details else 0)
    return plan(ops, pair, Memories(sizes[rest], no, no), asked), plan_index


def clock(units: Units) -> Array:
    """(D,) highest clock of the designs [Hz]."""
    given = units.number("clock")
    return np.where(given > 0, given, units.number("boost_clock"))


def device(p: Constants, units: Units, products: Format, as_timed: bool) -> Device:
    """The devices as kernels see them, for products in one number format; see `tiles`."""
    hertz, sms, boost = clock(units), units.number("sms"), units.number("boost_clock")
    # An operation is half a multiply-accumulate.
    rate = 0.5 * units.number(f"{products.name}_rate") / (boost * sms)
    plain = 0.5 * units.number("fp32_rate") / (boost * sms)
    lanes = 0.5 * lane_rate(units.numbers) * hertz / boost
    # More but smaller processors have neither more cache nor more special functions for nothing.
    cache = np.minimum(p.cache_bytes * sms * hertz, p.lane_bytes * lanes)
    special = np.minimum(units.number("special_per_cycle") * sms * hertz, p.special_share * lanes)
    tensor = units.flag("tensor") & (products.significand <= p.tensor_significand)
    own = tiles(p, units.names["architecture"], products.name, tensor, as_timed)
    # The share of it that kernels reach is that of HBM, and of GDDR that is checked inline.
    bandwidth = units.number("bandwidth") * np.where(units.equals("ecc", "off"), p.ecc_off, 1.0)
    return Device(sms, hertz, rate, tensor, bandwidth, lanes, cache, special, own, plain)


def _activity(p: PreparedGpu, part: slice | Array) -> Activity:
    """Seconds and counts of the designs in `part`."""
    ops, units, index, q = p.ops, p.units.take(part), p.index[part], p.plan_index[part]
    d = device(p.constants, units, ops.format.products, as_timed(p.stack))
    c, count = p.constants, ops.count[:, index]
    latent = LatentKernels(ops, p.latents, p.stack, c, d, index)
    times = (p.kernels[:, None] + latent.copies()) * count
    moved, touched = _bytes(p, latent, q)
    compute, passing, empty = (each * count for each in _compute(p, latent, touched))
    before = dispatch.before_products(ops, p.stack, p.quantised, latent.laid_out(), index)
    crossing, laid_out = dispatch.laying_out(c, d, units.number("l2"), before)
    memory = _memory(p, d, moved, latent) * count
    moved, touched = moved + crossing, touched + before.moved
    seconds = compute, memory, p.stack["kernel"] * times
    turning, fetching, working = (x * count for x in laid_out)
    clocked = _clocked(c, d, units, seconds, passing, (turning, fetching, working + empty))
    busy = clocked.seconds(np.ones(index.size))
    start = _start(p, index) / units.number("host_speed")
    host = times * (p.stack["host"] / units.number("host_speed"))
    bound = functools.partial(host_bound, sum_rows(host) + start)
    return Activity(
        busy={"device": busy, "host": host},
        alone=busy,
        cycles=busy * d.clock,
        counts=_counts(p, d, index, moved * count, touched * count)
        | clocked.ran(busy, np.ones(index.size)),
        executed=ops.executed[index],
        peak=peak(d),
        limits=remarks.limits(ops, units, index, c.reserved, clock(units)),
        fuse=np.zeros(index.size, dtype=bool),
        start=start,
        overlap=Overlap(queued=True),
        power=Power(replace(clocked, follows=bound)),
        told=Remarks(
            extra=bound(busy),
            notes=remarks.of_rates(units, d) | remarks.of_stack(ops.workload, units),
            largest=remarks.largest(ops, units, index, c.reserved),
        ),
        details=Details(_tiles(p.plan, q), (touched * count, moved * count)) if p.details else None,
    )


def _clocked(
    c: Constants,
    d: Device,
    units: Units,
    seconds: tuple[Array, Array, Array],
    passing: Array,
    quantising: tuple[Array, ...],
) -> Clocked:
    """The device under its power limit; seconds : (R, D) of computing, of main memory and of
    the kernels' starts, over all runs; passing : between cache and SMs, beside them; quantising :
    before them, between cache and SMs, of main memory, which delivers at any clock, and of the SMs.

    Watts are all that the board is built for while kernels run, whatever they do, in proportion to
    the clock: clocks and schedulers take a share of them, which is the price of `running`.
    """
    return Clocked(
        "device",
        *seconds,
        c.slack,
        units.number("power_limit"),
        np.full(d.clock.size, c.clock_floor),
        (c.voltage_knee, c.voltage_floor),
        d.clock / units.number("boost_clock"),
        running="running",
        watts=np.asarray(units.number("tdp") * (d.clock / units.number("boost_clock"))),
        passing=passing,
        turning=quantising[0] if quantising[0].any() else None,
        fetching=quantising[1] if quantising[1].any() else None,
        working=quantising[2] if quantising[2].any() else None,
        room=cache_room(c, d),
    )


def _compute(p: PreparedGpu, latent: LatentKernels, touched: Array) -> tuple[Array, Array, Array]:
    """(R, D) seconds that follow the clock, of one run of each row, beside them (R, D) seconds
    between cache and SMs, and (R, D) seconds before both in which nothing is fetched.

    touched : (R, D) bytes between cache and SMs; those of products are put in, in place.
    """
    c, ops, d, index = p.constants, p.ops, latent.device, latent.index
    count = ops.count[:, index]
    compute, passing, empty = (np.zeros(count.shape) for _ in range(3))
    if p.tiled.size:
        first, place = combinations([index, *d.of_products])
        tiled = sizes(ops, p.stack, p.tiled, index[first])
        seconds, splits = product_seconds(c, d.some(first), tiled)
        compute[p.tiled] = columns(seconds, place)
        touched[p.tiled] = columns(_loads(p, tiled, splits), place)
    if p.flash.size:
        compute[p.flash], touched[p.flash], spread = _flash(p, latent)
    if p.streams.size:
        _stream(p, latent, touched, (compute, passing, empty))
    v = p.vectors
    simple, special = (each[v][:, None] * p.ops.m[v][:, index] for each in _vector_work(p.ops))
    # Inside a fused kernel the numbers are in registers: nothing keeps the lanes waiting.
    share = np.where(p.passes[v] > 0, c.vector_share, 1.0)[:, None]
    compute[v] = vector_seconds(c, d, simple / share, special)
    passing[v] = cache_seconds(c, d, touched[v])
    for softmax, scores in p.softmaxes:
        compute[softmax] *= spread[np.searchsorted(p.flash, scores)]
    latent.softmaxes(p.softmaxes, compute)
    for each in (compute, passing):
        dispatch.unpack(ops, p.stack["scaled.promoted"], each, index)
    runs = count > 0
    return (
        np.where(runs, compute, 0.0),
        np.where(runs, passing, 0.0),
        np.where(runs, empty, 0.0),
    )


def _flash(p: PreparedGpu, latent: LatentKernels) -> tuple[Array, Array, Array]:
    """(F, D) seconds that follow the clock of products inside flash attention, (F, D) bytes that
    they take from the cache, and (F, D) seconds of the softmax between them over those of one that
    fills all SMs."""
    c, ops, d, index = p.constants, p.ops, latent.device, latent.index
    along, pages = _along(ops, p.flash), p.paged
    wide = value_heads(ops, p.latents, p.flash, index)
    rows = FlashRows(p.kernels[p.flash][:, None], along, wide, pages)
    heads = np.where(along, *(x[p.flash][:, index] for x in (ops.k, ops.n)))
    flash = sizes(ops, p.stack, p.flash, index, skipped(c, d, rows, heads))
    seconds, spread = flash_seconds(c, d, flash, rows, p.stack)
    return seconds, flash_loads(c, d, flash, pages), spread


def _stream(
    p: PreparedGpu, latent: LatentKernels, touched: Array, seconds: tuple[Array, Array, Array]
) -> None:
    """Products that pass over a cache.

    touched : (R, D) bytes between cache and SMs. seconds : (R, D) of one run each, put in place:
    that follow the clock, between cache and SMs, and before both.
    """
    c, d, (compute, passing, empty) = p.constants, latent.device, seconds
    streams = sizes(p.ops, p.stack, p.streams, latent.index)
    along, timed = _along(p.ops, p.streams), streams_as_timed(p.stack)
    hidden, empty[p.streams] = stream_starts(c, d, streams, along, timed)
    own = stream_seconds(c, d, streams, touched[p.streams], hidden)
    compute[p.streams], passing[p.streams] = own
    latent.over(touched, seconds)


def _along(ops: Operations, rows: Array) -> Array:
    """(R, 1) whether the sum of a product of attention lies along the head; rows : (R,) places."""
    return np.array([[along_heads(ops.rows[r])] for r in rows], dtype=bool)


def _start(p: PreparedGpu, index: Array) -> Array:
    """(D,) seconds of the host before and after a step, and around each prompt, and piece of a
    prompt, that is read apart. Around products alone there is no step of a model."""
    if alone(p.ops.rows):
        return np.zeros(index.size)
    workload = p.ops.workload
    once = p.stack["step"] + p.stack["update"] * workload.training
    return np.asarray(once * (workload.prompt_passes * workload.pieces)[index])


def _memory(p: PreparedGpu, d: Device, moved: Array, latent: LatentKernels) -> Array:
    """(R, D) seconds of main memory of one run; moved : (R, D) bytes."""
    c, memory = p.constants, memory_seconds(p.constants, d, moved)
    memory[p.appends] /= p.stack["append.rate"]
    memory[p.tiled] *= c.bandwidth_share / (d.tiles or c).bandwidth_share
    memory[p.streams] *= c.bandwidth_share / streaming(c, d, streams_as_timed(p.stack)).stream_share
    memory[p.streams] /= p.stack["stream.rate"]
    latent.memory(memory)
    return memory


def _bytes(p: PreparedGpu, latent: LatentKernels, q: Array) -> tuple[Array, Array]:
    """(R, D) bytes of one run between main memory and chip, and between cache and SMs."""
    ops, index, share = p.ops, latent.index, p.passes[:, None]
    read, second = p.plan.read[:, q], ops.b_bytes[:, index]
    twice = second * (1.0 - once(ops, p.latents, index))
    moved = (read - np.minimum(read, twice) + p.plan.written[:, q]) * share
    second = (second - twice) * latent.fetches()
    touched = ((ops.a_bytes + ops.out_bytes)[:, index] + second) * share
    if p.stack["append.copies"]:
        for append, rows in appended(ops.rows):
            held = ops.b_bytes[rows][:, index]
            # What is read of keys and values is copied: read and written once more.
            copies = 2.0 * p.stack["append.copies"]
            moved[append] += copies * sum_rows(np.minimum(read[rows], held))
            touched[append] += copies * sum_rows(held)
    return moved, touched


def _loads(p: PreparedGpu, x: GpuProducts, splits: Array) -> Array:
    """(R, D) bytes products take from the cache with tiles of 128 x 128, and partial sums.

    The price of a multiply-accumulate was derived from whole boards and may hold some of
    this already. Without it, powers, power-limit curves and products kept out of the fit are
    all met a little worse (docs/gpu.md), so it is charged. Partial sums of a split go through
    the cache in the accumulator's width.
    """
    loads = x.batch * x.k * x.width * (x.m * np.ceil(x.n / 128.0) + x.n * np.ceil(x.m / 128.0))
    return loads + (splits - 1.0) * x.batch * x.m * x.n * p.ops.format.accumulator


def _vector_work(ops: Operations) -> tuple[Array, Array]:
    """(R,) simple operations and special functions for each element."""
    simple = np.array([row.simple for row in ops.rows])
    return simple, np.array([row.special for row in ops.rows])


def _counts(
    p: PreparedGpu, d: Device, index: Array, moved: Array, touched: Array
) -> dict[str, Count]:
    """How often each action happens."""
    ops, here = p.ops, np.arange(index.size)
    matmul = np.array([row.matmul for row in ops.rows])[:, None]
    elements = np.where(matmul, 0.0, ops.count * ops.m)
    for r, product in unpacked(ops.rows):
        elements[r] *= dispatch.passes_of_lanes(ops, p.stack["scaled.promoted"], product)
    macs = np.where(matmul, ops.count * ops.batch * ops.m * ops.k * ops.n, 0.0)
    # A last column without any, for designs that multiply elsewhere.
    macs = np.concatenate((macs, np.zeros((len(ops.rows), 1))), axis=1)
    none = macs.shape[1] - 1
    simple, special = _vector_work(ops)
    return {
        "mac": Count(macs, np.where(d.tensor, index, none)),
        "plain mac": Count(macs, np.where(d.tensor, none, index)),
        "vector": Count(elements * simple[:, None], index),
        "special": Count(elements * special[:, None], index),
        "cache": Count(touched, here),
        "path": Count(moved, here),
        "main memory": Count(moved, here),
        "interface": Count(moved, here),
    }


def _tiles(memory: TilingPlan, q: Array) -> tuple[Array, Array, Array]:
    return memory.tile_m[:, q], memory.tile_k[:, q], memory.tile_n[:, q]


def parts(units: Units) -> dict[str, Part]:
    """The die as published, what it is stated to hold at least, and the board's idle power."""
    hertz = 2.0 * units.number("boost_clock")  # an operation is half a multiply-accumulate
    lanes = lane_rate(units.numbers) / hertz
    cores = _cores(units) / hertz
    # Beside tensor cores, a lane of fp32 holds two numbers of 16 bits.
    cores = np.where(units.flag("tensor"), cores, np.maximum(cores - 2.0 * lanes, 0.0))
    return {
        "die": Part(("gpu.die", "area"), units.number("die"), stated="die"),
        "lanes": Part(("vector.fp32", "area"), lanes, within="die"),
        "cores": Part(("mac.bf16", "area"), cores, within="die"),
        "l2": Part(("sram", "area"), units.number("l2"), within="die"),
        "interface": Part(
            ("dram.{memory}", "interface_area"), units.number("bandwidth"), within="die"
        ),
        "board": Part(
            None, units.number("idle_power"), ("gpu.board", "standing"), stated="idle_power"
        ),
    }


def _cores(units: Units) -> Array:
    """(D,) operations a second of multipliers of 16 bits that all rates need: one is two of 8."""
    most = np.zeros(units.size)
    for format in formats().values():
        key = f"{format.name}_rate"
        if key in units.numbers and key != "fp32_rate":
            most = np.maximum(most, units.number(key) * (format.bits / 16.0))
    return most


def supports(units: Units, compute: str) -> Array:
    """(D,) whether the devices compute in a number format."""
    key = f"{compute}_rate"
    return units.number(key) > 0 if key in units.numbers else np.zeros(units.size, dtype=bool)


def events(case: Case) -> EventModel:
    """The event model, which is imported when a timeline is asked for."""
    from elector.machines.gpu.events import GpuUnits

    stack = stacks()[case.ops.workload.implementation]
    return GpuUnits(replace(case, ops=handed_on(case.ops, stack)))


#: Figures of a data sheet that seconds follow and that `explain` cites.
RATES = ("bandwidth", "special_per_cycle")

GPU = Machine(
    name="gpu",
    schema="gpu",
    description="GPU described by its data sheet, run by a software stack",
    actions=ACTIONS,
    prepare=prepare,
    parts=parts,
    complete=nothing_to_complete,
    native="datapath",
    events=events,
    supports=supports,
    stated=("idle_power", "die", *RATES),
    constants=cited,
    implementations=IMPLEMENTATIONS,
    serving_only=SERVING_ONLY,
    chunks=CHUNKS,
    automatic=automatic,
    deciding={"architecture": alike},
    traffic={"main memory": 1.0},
    own_idle=True,
)
