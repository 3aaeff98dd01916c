"""The event-driven model of a GPU: a host that launches, kernels in order, tiles dealt to SMs.

Each kernel is launched by the host, at most `QUEUE` ahead of the device, and waits for the
kernel before it. Its pieces fetch, compute and write back, so that traffic and arithmetic
overlap as far as the pieces allow. Whole waves of tiles take their time one by one; the tiles
of the last wave are cut along k over the processors that would idle (Osama et al. 2023,
Stream-K, arXiv 2301.03598). Nothing here uses the closed form of waves, of the longer of
compute and memory, or of the longer of host and device. Constants, tables of the software
stacks and the clock under a power limit are shared with it.
"""

from __future__ import annotations

import numpy as np

from elector.evaluation.path import Chunk
from elector.events.engine import Run, Work
from elector.machines.gpu.kernels import SLICE, SPLIT_DEPTH, SPLITS, TILES, constants
from elector.machines.gpu.machine import SPECIAL
from elector.machines.gpu.stacks import kernels, passes, stacks

#: Kernels a host may be ahead of the device.
QUEUE = 1024


class GpuUnits:
    """Host, tensor cores, CUDA cores, second-level cache and main memory of one device."""

    least, fuse, ahead = 32, False, QUEUE

    def __init__(self, chunk: Chunk) -> None:
        self.chunk, self.i = chunk, int(chunk.index[0])
        self.number = {key: float(v[0]) for key, v in chunk.units.numbers.items()}
        self.c = constants()
        speed = chunk.activity.speed
        full = self.number["clock"] or self.number["boost_clock"]
        self.clock = full * (1.0 if speed is None else float(speed[0]))
        self.bandwidth = self.number["bandwidth"] * self.c.bandwidth_share
        self.buffer = np.inf  # a kernel streams: what is in flight is in its registers
        workload = chunk.ops.workload
        stack = stacks()[workload.implementation]
        self.kernels = kernels(chunk.ops.rows, stack, workload)
        self.passes = passes(chunk.ops.rows, stack, workload)
        self.host = stack["host"] / self.number["host_speed"]
        self.first = stack["step"] / self.number["host_speed"]
        self.credit = 0.0
        products = chunk.ops.format.products
        self.width = products.width
        fits = products.significand <= self.c.tensor_significand
        self.tensor = bool(self.number["tensor"]) and fits
        boost, sms = self.number["boost_clock"], self.number["sms"]
        self.rate = 0.5 * self.number[f"{products.name}_rate"] / (boost * sms)

    def streams(self, rows: list[int]) -> int:
        """A kernel holds all sequences."""
        return 1

    def heads(self, row: int) -> bool:
        """A kernel holds all heads."""
        return False

    def work(self, run: Run) -> list[Work]:
        """The kernels of a row, each launched by the host; a fraction shares another's launch."""
        unit, seconds = self._seconds(run.row)
        if not self.kernels[run.row] and not seconds:
            return []
        self.credit += float(self.kernels[run.row]) * run.times
        count = int(self.credit + 1e-9)
        self.credit -= count
        launches = [self.host] * count or [0.0]
        if count:
            launches[0] += self.first
            self.first = 0.0
        share = 1.0 / len(launches)
        each = [seconds * run.times * share / run.most] * run.most
        latency = self.c.kernel if count else 0.0
        return [Work(unit, each, latency, share, launch) for launch in launches]

    def _seconds(self, r: int) -> tuple[str, float]:
        """What computes one run of a row, and its seconds."""
        ops, i = self.chunk.ops, self.i
        row = ops.rows[r]
        if row.matmul:
            unit = "tensor cores" if self.tensor else "CUDA cores"
            return unit, self._cycles(r) / self.clock
        touched = float((ops.a_bytes + ops.b_bytes + ops.out_bytes)[r, i] * self.passes[r])
        cache = self.c.cache_bytes * self.c.cache_share * self.number["sms"] * self.clock
        work = float(ops.m[r, i]) * (row.simple + SPECIAL * row.special)
        lanes = 0.5 * self.number["fp32_rate"] * self.clock / self.number["boost_clock"]
        computing, moving = work / (lanes * self.c.vector_share), touched / cache
        return ("L2", moving) if moving > computing else ("CUDA cores", computing)

    def _cycles(self, r: int) -> float:
        """Cycles of a product with the tiles and splits that suit it best."""
        ops, i, c = self.chunk.ops, self.i, self.c
        m, k, n, batch = (float(x[r, i]) for x in (ops.m, ops.k, ops.n, ops.batch))
        width = self.width
        rate = self.rate * (c.tensor_share if self.tensor else c.plain_share)
        if self.tensor and (k % (16.0 / width) or n % (16.0 / width)):
            rate *= c.misaligned
        if ops.rows[r].phase == "backward":
            rate *= c.gradient_share
        slices, best = np.ceil(k / SLICE), np.inf
        for tm, tn in TILES:
            step = SLICE * (tm * tn / rate + c.operand_share * (tm + tn) * width / c.cache_bytes)
            tiles = np.ceil(m / tm) * np.ceil(n / tn) * batch
            for split in SPLITS:
                if split == 1 or np.ceil(slices / split) * SLICE >= SPLIT_DEPTH:
                    best = min(
                        best,
                        self._dealt(tiles * split, np.ceil(slices / split), step)
                        + (c.tile_cycles if split > 1 else 0.0),
                    )
        return float(best)

    def _dealt(self, tiles: float, slices: float, step: float) -> float:
        """Cycles of tiles on the SMs: whole waves, then the rest cut along k over all of them."""
        sms, start = self.number["sms"], self.c.tile_cycles
        waves, rest = divmod(tiles, sms)
        cycles = waves * (slices * step + start)
        if not rest:
            return float(cycles)
        cut = max(min(sms // rest, slices * SLICE // SPLIT_DEPTH), 1.0) if waves else 1.0
        fix = start if cut > 1 else 0.0
        return float(cycles + np.ceil(slices / cut) * step + start + fix)

    def traffic(self, row: int) -> tuple[float, float, float]:
        """Main memory bytes of one run, as the plan moves them past the second-level cache."""
        ops, i = self.chunk.ops, self.i
        assert self.chunk.activity.traffic is not None
        count = max(float(ops.count[row, i]), 1e-300)
        moved = float(self.chunk.activity.traffic[1][row, 0]) / count
        read, out = float((ops.a_bytes + ops.b_bytes)[row, i]), float(ops.out_bytes[row, i])
        share = out / max(read + out, 1e-300)
        return 0.0, moved * (1.0 - share), moved * share
