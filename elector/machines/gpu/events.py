"""The event-driven model of a GPU: a host that launches, kernels in order, tiles dealt to SMs.

Each kernel is launched by the host, at most `QUEUE` ahead of the device, and waits for the
kernel before it. Its pieces fetch, compute and write back, so that traffic and arithmetic
overlap as far as the pieces allow. Whole waves of tiles take their time one by one; the tiles
of the last wave are cut along k over the processors that would idle (Osama et al. 2023,
Stream-K, arXiv 2301.03598). Nothing here uses the closed form of waves, of the longer of
compute and memory, or of the longer of host and device, nor the rules by which kernels of a
product are chosen or convert operands. Shared with it are constants, tables of the software stacks
(kernels of an operation, passes over its tensors, how wide numbers are between kernels), what
latent attention copies, the bytes that the plan moves, and the clock under a power limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from elector.describe.workload import PROMPTS
from elector.machines.gpu.attention import KEYS, PAIRED, STARTS, WIDE, WIDE_STEP, WIDEST
from elector.machines.gpu.dispatch import promoted, promotes, quantised_elements
from elector.machines.gpu.kernels import (
    COLUMNS,
    LEAST_ROWS,
    SLICE,
    SPLIT_DEPTH,
    SPLITS,
    TILES_OF,
    WARP_STEP,
    WARPS,
    Constants,
    constants,
    elements_of_vector,
    lane_rate,
    tiles,
    tiles_of,
)
from elector.machines.gpu.latent import copies, fetches, laid_out, latent_pairs, once, value_heads
from elector.machines.gpu.sizes import waiting
from elector.machines.gpu.stacks import (
    alone,
    along_heads,
    as_timed,
    converts,
    in_flash,
    kernels,
    only_tile,
    paged,
    passes,
    prompt_softmaxes,
    quantised,
    quantising,
    splitting,
    stacks,
    streams_as_timed,
    transposed,
)
from elector.machines.pieces import Case, LayerRun, RowWork, cut
from elector.operations.roles import Role
from elector.operations.rows import unpacked

#: Kernels a host may be ahead of the device.
QUEUE = 1024


def _constants(case: Case) -> tuple[Constants, bool]:
    """The constants, with those of the device's family of chips, and whether tensor cores
    multiply."""
    products, general = case.ops.format.products, constants()
    cores = bool(case.number["tensor"]) and products.significand <= general.tensor_significand
    names = case.units.names["architecture"]
    timed = as_timed(stacks()[case.ops.workload.implementation])
    own = tiles(general, names, products.name, np.array([cores]), timed)
    return replace(general, **{name: float(getattr(own, name)[0]) for name in TILES_OF}), cores


def _starts(case: Case) -> dict[str, float]:
    """Seconds of the host around passes: of those that read one prompt more, and all others."""
    workload, i = case.ops.workload, case.pair
    whole, more = float(case.activity.start[0]), 0.0
    if any(row.phase == PROMPTS[1] for row in case.ops.rows):
        more = float(workload.passes(PROMPTS[1])[i] / workload.prompt_passes[i])
    return {PROMPTS[1]: whole * more, "": whole * (1.0 - more)}


@dataclass(frozen=True)
class _Rates:
    """What follows the clock, in a second: cycles, simple operations of the lanes, special
    functions, and bytes between cache and SMs."""

    clock: float
    lanes: float
    special: float
    cache: float

    @classmethod
    def at(cls, clock: float, number: Mapping[str, float], c: Constants) -> _Rates:
        """The rates of a device at a clock [Hz].

        number : its settings.
        """
        processors = number["sms"] * clock
        lanes = 0.5 * float(lane_rate(number)) * clock / number["boost_clock"]
        special = min(number["special_per_cycle"] * processors, c.special_share * lanes)
        cache = c.cache_share * min(c.cache_bytes * processors, c.lane_bytes * lanes)
        return cls(clock, lanes, special, cache)


class GpuUnits:
    """Host, tensor cores, CUDA cores, second-level cache and main memory of one device."""

    least, fuse, ahead = 32, False, QUEUE

    def __init__(self, case: Case) -> None:
        self.case, self.i = case, case.pair
        self.number = case.number
        products = case.ops.format.products
        self.c, self.tensor = _constants(case)
        c = self.c
        power = case.activity.power
        speed = np.ones(len(case.ops.rows))
        if power is not None and power.speed is not None:
            speed = power.speed[:, 0]
        full = self.number["clock"] or self.number["boost_clock"]
        each = {s: _Rates.at(full * s, self.number, c) for s in set(speed.tolist())}
        self.rates = [each[s] for s in speed.tolist()]
        shared = constants().bandwidth_share
        unchecked = c.ecc_off if case.name["ecc"] == "off" else 1.0
        self.bandwidth = self.number["bandwidth"] * unchecked * shared
        self.slower = shared / c.bandwidth_share
        self.buffer = np.inf  # a kernel streams: what is in flight is in its registers
        workload = case.ops.workload
        stack = stacks()[workload.implementation]
        self._latents(stack)
        self._operands(stack)
        self.own = kernels(case.ops.rows, stack, workload)
        self.kernels = self.own + self.copies
        self.passes = passes(case.ops.rows, stack, workload)
        self.host = stack["host"] / self.number["host_speed"]
        self.start, self.append_rate = stack["kernel"], stack["append.rate"]
        self.quantise = quantising(stack, workload)[1:]
        self.splits, self.tile = splitting(stack, workload), only_tile(stack, workload)
        self._attention(stack)
        self.first = _starts(case)
        # Products without a model around them are timed one list after another.
        self.alone = alone(case.ops.rows)
        self.credit = 0.0
        self.whole = case.ops.whole_sides()
        self.width = products.width
        boost, sms = self.number["boost_clock"], self.number["sms"]
        # Of tensor cores and in fp32, in each cycle of an SM.
        self.rate = 0.5 * self.number[f"{products.name}_rate"] / (boost * sms)
        self.plain = 0.5 * self.number["fp32_rate"] / (boost * sms)

    def _latents(self, stack: Mapping[str, float]) -> None:
        """What latent attention has of its own: products over latents on kernels made for them,
        bytes and cycles of copies, and softmaxes of prompts whose kernels were.

        stack : constant of the software stack -> value in SI.
        """
        ops, c, at = self.case.ops, self.c, np.array([self.i])
        pairs = latent_pairs(ops.rows, ops.workload.attention)
        timed = stack["latent.as_timed"] > 0
        absorbed = [r for p in pairs if p.absorbed and timed for r in (p.scores, p.context)]
        self.latents = frozenset(absorbed)
        joining = np.array([c.latent_cycles])
        moved, cycles = laid_out(ops, pairs, stack, joining, at)
        self.copied = moved[:, 0], cycles[:, 0]
        self.copies = copies(ops.rows, pairs, stack, joining)[:, 0]
        self.second = (once(ops, pairs, at) * fetches(ops, pairs, c if timed else None, at))[:, 0]
        self.outputs = value_heads(ops, pairs, np.arange(len(ops.rows)), at)[:, 0]
        made = stack["latent.prompt.as_timed"] > 0
        self.special = {p.scores: c.latent_special for p in pairs if made and not p.absorbed}
        self.prompts_of_latents = {r for p in pairs for r in (p.scores, p.context)}

    def _attention(self, stack: Mapping[str, float]) -> None:
        """Kernels of attention: which products read keys from pages, and starts and rates.

        stack : constant of the software stack -> value in SI.
        """
        ops = self.case.ops
        pages = {r for r, row in enumerate(ops.rows) if paged(row, stack)}
        self.paged = pages - self.prompts_of_latents
        self.softmaxes = dict(prompt_softmaxes(ops.rows, ops.workload.attention))
        self.streaming = self.c if streams_as_timed(stack) else constants()
        self.block_starts = [stack[name] for name in STARTS]
        self.flash_rate, self.stream_rate = stack["flash.rate"], stack["stream.rate"]

    def _operands(self, stack: Mapping[str, float]) -> None:
        """What is done to operands before products, and by the lanes to sums of experts.

        stack : constant of the software stack -> value in SI.
        """
        ops, at = self.case.ops, np.array([self.i])
        asked = quantised(ops.rows, ops.workload)
        self.elements = quantised_elements(ops, asked, at)[:, 0]
        self.waiting = waiting(ops, stack, np.arange(len(ops.rows)))
        self.kept = stack["kept.bytes"]
        self.promotions = stack["scaled.promoted"]
        pairs = unpacked(ops.rows) if self.promotions else []
        # Product of experts -> its operand, whose scales of blocks are applied to its sums.
        self.promoted = {p: r for r, p in pairs if promotes(ops.rows[p], ops.format)}

    def tiled(self, row: int) -> bool:
        """Whether a row is a product of its own, in tiles."""
        own, flash = self.case.ops.rows[row], self.case.ops.workload.attention == "flash"
        return own.matmul and not self.streamed(row) and not (flash and in_flash(own))

    def streamed(self, row: int) -> bool:
        """Whether a row is a product over a cache."""
        own = self.case.ops.rows[row]
        return own.matmul and own.in_attention and own.phase == "decode"

    def turns(self, row: int) -> bool:
        """Main memory and the processors work side by side."""
        return False

    def heads(self, row: int) -> bool:
        """A kernel holds all heads."""
        return False

    def work(self, run: LayerRun) -> list[RowWork]:
        """The kernels of a row, each launched by the host; a fraction shares another's launch."""
        unit, seconds = self._seconds(run.row)
        if not self.kernels[run.row] and not seconds:
            return []
        self.credit += float(self.kernels[run.row]) * run.times
        count = int(self.credit + 1e-9)
        self.credit -= count
        launches = [self.host] * count or [0.0]
        if count:
            more = self.case.ops.rows[run.row].phase == PROMPTS[1]
            launches[0] += self.first.pop(PROMPTS[1] if more else "", 0.0)
        share = 1.0 / len(launches)
        each = cut(seconds * run.times * share, run.most)
        empty = self._stream_starts(run.row) * (1.0 - self.streaming.stream_hidden)
        latency = (self.start if count else 0.0) + empty * run.times * share
        return [
            RowWork(unit, each, latency, share, launch, early=self.alone) for launch in launches
        ]

    def _seconds(self, r: int) -> tuple[str, float]:
        """What computes one run of a row, and its seconds."""
        ops, i = self.case.ops, self.i
        row, at = ops.rows[r], self.rates[r]
        unit = "tensor cores" if self.tensor else "CUDA cores"
        if row.matmul and row.in_attention and row.phase == "decode":
            streaming = self._streamed(r) + self._quantising(r)
            moving = self._passed(r, 1.0)
            return ("L2", moving) if moving > streaming else (unit, streaming)
        if in_flash(row) and ops.workload.attention == "flash":
            return unit, self._blocks(r) / at.clock + self._quantising(r)
        if row.matmul:
            return unit, self._cycles(r) / at.clock + self._promoting(r) + self._quantising(r)
        if r in self.promoted.values():
            return unit, 0.0
        elements, inside = float(ops.m[r, i]), not self.passes[r]
        share = 1.0 if inside else self.c.vector_share
        computing = elements * row.simple / (at.lanes * share)
        functions = elements * row.special / at.special
        computing = max(computing, functions) * self._spread(r)
        moving = self._passed(r, float(self.passes[r]))
        return ("L2", moving) if moving > computing else ("CUDA cores", computing)

    def _promoting(self, r: int) -> float:
        """Seconds in which the lanes apply scales of blocks to partial sums of a product."""
        if r not in self.promoted:
            return 0.0
        ops, i, packed = self.case.ops, self.i, self.promoted[r]
        once = float(ops.m[packed, i]) * ops.rows[packed].simple / self.rates[r].lanes
        return float(promoted(float(ops.m[r, i]), once, self.promotions))

    def _quantising(self, r: int) -> float:
        """Seconds in which activations are brought into the product's format, and those of latent
        attention into one piece, before it."""
        at, moved = self.rates[r], self._laid_out(r)
        work = float(self.elements[r]) * self.quantise[1] + self.copied[1][r]
        held = moved <= self.number["l2"]
        moving = moved / (max(at.cache, self.bandwidth) if held else self.bandwidth)
        return float(max(moving, work / (self.number["sms"] * at.clock)))

    def _laid_out(self, r: int) -> float:
        """Bytes that quantising activations, and putting them into one piece, moves."""
        quantised = float(self.elements[r]) * self.quantise[0]
        return quantised + float(self.copied[0][r]) + self._converted(r)

    def _converted(self, r: int) -> float:
        """Bytes of the kernels beside a product of a prompt: one reads numbers as they are kept and
        writes them in the product's format, the other reads results so and writes them back."""
        ops, i, row = self.case.ops, self.i, self.case.ops.rows[r]
        if not converts(row, self.kept, ops.format):
            return 0.0
        own = ops.format.activations.width
        taken, given = float(ops.a_bytes[r, i]) / own, float(ops.out_bytes[r, i]) / own
        return taken * (self.kept + own) + given * (own + self.kept)

    def _passed(self, r: int, passes: float) -> float:
        """Seconds the operands take between cache and SMs."""
        ops, i = self.case.ops, self.i
        second = ops.b_bytes[r, i] * self.second[r]
        touched = float((ops.a_bytes + ops.out_bytes)[r, i] + second) * passes
        return touched / max(self.rates[r].cache, self.bandwidth)

    def _streamed(self, r: int) -> float:
        """Seconds of the multiplications of a pass over a cache, dealt out by pieces of keys."""
        ops, i, c = self.case.ops, self.i, self.c
        m, k, n, batch = (float(x[r, i]) for x in (ops.m, ops.k, ops.n, ops.batch))
        start, inside, keys = 0.0, self._inside(r), max(k, n)
        if r in self.latents:  # blocks of heads, each on an SM of its own; the other has half
            batch, m = batch * float(np.ceil(m / c.latent_heads)), min(m, c.latent_heads)
            start, inside = c.latent_start / 2.0, inside * c.latent_rate
            keys = n if along_heads(ops.rows[r]) else k
        rows = np.ceil(m / c.stream_rows) * c.stream_rows
        macs = rows * k * n * batch
        pieces = batch * max(keys / SPLIT_DEPTH, 1.0)
        starts = max(batch / self.number["sms"], 1.0) * start
        cycles = macs / (inside * min(pieces, self.number["sms"])) + starts
        hidden = self.streaming.stream_hidden
        return float(cycles / self.rates[r].clock + self._stream_starts(r) * hidden)

    def _stream_starts(self, r: int) -> float:
        """Seconds in which blocks of a pass over a cache start and end."""
        if not self.streamed(r) or r in self.latents:
            return 0.0
        ops, at, c = self.case.ops, self.rates[r], self.streaming
        rounds = max(float(ops.batch[r, self.i]) / self.number["sms"], 1.0)
        head = float((ops.k if along_heads(ops.rows[r]) else ops.n)[r, self.i])
        tile = c.stream_keys * head * self.width
        return float(rounds * (c.stream_cycles / at.clock + tile * self.number["sms"] / at.cache))

    def _blocks(self, r: int) -> float:
        """Cycles of a product inside flash attention: blocks of queries, dealt to the SMs."""
        ops, i, c = self.case.ops, self.i, self.c
        m, k, n = (float(x[r, i]) for x in (ops.m, ops.k, ops.n))
        along = along_heads(ops.rows[r])
        head, keys = self._padded(k if along else n), self._with_diagonal(r)
        general, tile = constants().flash_share, self._tile(r)
        rate = self._inside(r, c.flash_share / general) * general * self.flash_rate
        rate *= c.flash_paged_rate if r in self.paged else 1.0
        slice_ = KEYS * head * (tile / rate + c.operand_share * self.width / c.cache_bytes)
        hidden = c.flash_hidden if (self.outputs[r] or head) <= PAIRED else 0.0
        whole = keys / KEYS  # slices, of which all but the first have a softmax beside them
        each = slice_ * (whole - hidden * whole)
        start = (self.block_starts[r in self.paged] or c.tile_cycles) * (self.own[r] > 0)
        start += slice_ * hidden * min(whole, 1.0)
        own = min(tile / np.ceil(head / WIDEST), m) * head * self.width
        start += own * self.number["sms"] * self.rates[r].clock / self.rates[r].cache
        rounds, last = self._rounds(r, head)
        return float(rounds * (each + start) + last * each)

    def _tile(self, r: int) -> float:
        """Queries that a block of flash attention works for."""
        own = self.c.flash_paged_rows if r in self.paged else 0.0
        return own or self.c.flash_rows

    def _diagonal(self, r: int) -> float:
        """Keys of the block on the diagonal that its first query does not see."""
        ops, i = self.case.ops, self.i
        head = max(float((ops.k if along_heads(ops.rows[r]) else ops.n)[r, i]), 1.0)
        at_once = self.c.flash_paged_keys / head if r in self.paged else 0.0
        return max(self._tile(r), at_once) - 1.0

    def _seen(self, r: int) -> tuple[float, float]:
        """Keys of a product inside flash attention that a query sees, and those without a mask."""
        side = 1 if along_heads(self.case.ops.rows[r]) else 0
        own = (self.case.ops.k, self.case.ops.n)[side]
        return float(own[r, self.i]), float(self.whole[side][r, self.i])

    def _with_diagonal(self, r: int) -> float:
        """Keys of a block of mean length: of that on the diagonal nothing is skipped."""
        seen, most = self._seen(r)
        return min(seen + self._diagonal(r) / 2.0 * (most > seen), most)

    def _rounds(self, r: int, head: float) -> tuple[float, float]:
        """Rounds of blocks of flash attention over the SMs, and what the longest of them, which a
        mask leaves most of its keys, takes beyond these, in blocks of the mean length."""
        ops, i, c = self.case.ops, self.i, self.c
        m, blocks = float(ops.m[r, i]), self._flash_blocks(r, head)
        (seen, most), beyond = self._seen(r), 0.0
        if most > seen:
            ramp = min(float(ops.span[r, i]), m - 1.0) / 2.0
            mean = self._with_diagonal(r)
            beyond = max(min(seen + ramp + self._diagonal(r), most) - mean, 0.0) / mean
        whole, rest = divmod(blocks, self.number["sms"])
        if not whole:
            return 1.0, beyond
        # Part of the last round's idle processors is taken by what runs beside it.
        share = rest / self.number["sms"]
        return whole + (c.wave_share + (1.0 - c.wave_share) * share if rest else 0.0), beyond

    def _padded(self, head: float) -> float:
        """Numbers of a head as kernels were built for it."""
        step = max(self.c.flash_head, WIDE_STEP) if head > WIDE else self.c.flash_head
        return float(np.ceil(head / step) * step)

    def _flash_blocks(self, r: int, head: float) -> float:
        """Blocks of flash attention that the SMs are dealt, of padded heads of that size."""
        rows = self._tile(r) / np.ceil(head / WIDEST)
        return float(np.ceil(self.case.ops.m[r, self.i] / rows) * self.case.ops.batch[r, self.i])

    def _spread(self, r: int) -> float:
        """Seconds of a softmax inside flash attention over those of one that fills all SMs."""
        if r not in self.softmaxes:
            return 1.0
        scores = self.softmaxes[r]
        head = self._padded(float(self.case.ops.k[scores, self.i]))
        even = self._flash_blocks(scores, head) / self.number["sms"]
        special = self.special.get(scores, self.c.flash_special)
        computed = self._with_diagonal(scores) / self._seen(scores)[0]
        return float(sum(self._rounds(scores, head)) / even * special * computed)

    def _inside(self, r: int, share: float = 1.0) -> float:
        """Multiply-accumulates a cycle inside a tile; share : what tensor cores keep of theirs."""
        c, plain = self.c, self.plain
        cores = self.rate * c.tensor_share * share
        rate = max(cores, plain * c.plain_share) if self.tensor else self.rate * c.plain_share
        gradient = self.case.ops.rows[r].phase == "backward"
        return rate * (c.gradient_share if gradient else 1.0)

    def _cycles(self, r: int) -> float:
        """Cycles of a product with the tiles and splits that suit it best."""
        ops, i, at, row = self.case.ops, self.i, self.rates[r], self.case.ops.rows[r]
        m, k, n, batch = (float(x[r, i]) for x in (ops.m, ops.k, ops.n, ops.batch))
        step = float(elements_of_vector(np.asarray(self.width)))
        along, across = m if transposed(row) else self.whole[0][r, i], self.whole[1][r, i]
        best = self._fastest(m, k, n, batch, self._inside(r))
        if self.tensor and (along % step or across % step):
            slow = self._fastest(m, k, n, batch, self._inside(r, self.c.misaligned))
            copied = 2.0 * self.width * batch * k * (m + n) / at.cache
            best = min(slow, best + copied * at.clock)
        return max(best, self._warps(k, n * batch, self.waiting[r]))

    def _warps(self, k: float, outputs: float, waiting: float) -> float:
        """Cycles of a product of one row whose outputs are dealt to warps.

        waiting : cycles of a load.
        """
        whole, rest = divmod(outputs, self.number["sms"] * WARPS)
        part, share = rest / (self.number["sms"] * WARPS), constants().wave_share
        # Warps of the last round wait for as long as any, and for less of what others ask for.
        last = share + (1.0 - share) * part if rest and whole else float(rest > 0)
        return float((whole + last) * np.ceil(k / WARP_STEP) * waiting)

    def _fastest(self, m: float, k: float, n: float, batch: float, rate: float) -> float:
        """Cycles of the tiles and splits that suit a product best."""
        c, width, best = self.c, self.width, np.inf
        slices = np.ceil(k / SLICE)
        own = self._chosen_rows(m)
        for tm, tn in tiles_of(self.tile):
            if own and (tm, tn) != (own, COLUMNS):
                continue
            each = SLICE * (tm * tn / rate + c.operand_share * (tm + tn) * width / c.cache_bytes)
            tiles = np.ceil(m / tm) * np.ceil(n / tn) * batch
            start = c.tile_cycles + c.output_cycles * min(m, tm) * min(n, tn)
            for split in (s for s in SPLITS if s <= self.splits):
                count = min(split, max(np.ceil(slices * SLICE / SPLIT_DEPTH), 1.0))
                deep = max(np.ceil(slices / split), min(slices, SPLIT_DEPTH / SLICE))
                fix = c.tile_cycles if count > 1 else 0.0
                best = min(best, self._dealt(tiles * count, deep, each, start) + fix)
        return float(best)

    def _chosen_rows(self, m: float) -> float:
        """Rows of the tiles of kernels that are chosen by the rows of a product: twice as many, up
        to the most, until two tiles hold all of them; 0: any tile that suits.

        m : rows of the product.
        """
        if self.tile or not self.c.tile_most:
            return 0.0
        rows = max(self.c.tile_least, 1.0)
        while 2.0 * rows < m and rows < self.c.tile_most:
            rows *= 2.0
        return rows if rows >= LEAST_ROWS else 0.0

    def _dealt(self, tiles: float, slices: float, step: float, start: float) -> float:
        """Cycles of tiles on the SMs: whole waves, then the rest cut along k over all of them.

        slices : of k, each of which takes `step` cycles. start : to start and to finish a tile.
        """
        sms = self.number["sms"]
        waves, rest = divmod(tiles, sms)
        cycles = waves * (slices * step + start)
        if not rest:
            return float(cycles)
        cut = max(min(sms // rest, slices * SLICE // SPLIT_DEPTH), 1.0) if waves else 1.0
        fix = start if cut > 1 else 0.0
        return float(cycles + np.ceil(slices / cut) * step + start + fix)

    def traffic(self, row: int) -> tuple[float, float, float]:
        """Main memory bytes of one run, as the plan moves them past the second-level cache."""
        ops, i = self.case.ops, self.i
        details = self.case.activity.details
        assert details is not None
        count = max(float(ops.count[row, i]), 1e-300)
        moved = float(details.traffic[1][row, 0]) / count
        before = self._laid_out(row)  # which has its time before the product
        moved -= before if before > self.number["l2"] else 0.0
        if ops.rows[row].role is Role.CACHE_APPEND:
            moved /= self.append_rate  # a copy holds the memory for longer than its bytes
        if self.tiled(row):
            moved *= self.slower  # and so do products that reach less of it
        if self.streamed(row):
            own = row in self.latents
            share = self.c.latent_share if own else self.streaming.stream_share
            moved *= constants().bandwidth_share / share / self.stream_rate
        read, out = float((ops.a_bytes + ops.b_bytes)[row, i]), float(ops.out_bytes[row, i])
        share = out / max(read + out, 1e-300)
        return 0.0, moved * (1.0 - share), moved * share
