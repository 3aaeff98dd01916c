"""The event-driven model of AccelTran: tiles dealt to lanes wave by wave, units by tiles.

Sparse tiles are drawn at random, mask bit by mask bit, and a wave takes as long as its
slowest lane; nothing here uses the expected maximum of the closed form.
"""

from __future__ import annotations

import numpy as np

from elector.machines.pieces import PIECES, Case, LayerRun, RowWork, cut
from elector.machines.tiling import TILE_SHARE
from elector.operations.rows import PARAMETERS

#: Waves drawn for each product; their mean stands for all of its waves.
DRAWN = 6
#: Lanes of a wave that are drawn at most: more change its slowest by less than a cycle.
LANES_DRAWN = 2048


class AccelTranUnits:
    """Lanes, activation units, softmax units and layer-norm units of one design."""

    least = PIECES

    def __init__(self, case: Case) -> None:
        self.case, self.i = case, case.pair
        self.number, self.name = case.number, case.name
        # The released simulator runs operations one after another, and overlaps nothing.
        self.released = self.name["convention"] == "released"
        self.ahead = int(self.released)
        self.lanes = self.number["pe"] * self.number["lanes_per_pe"]
        self.clock, self.fuse = self.number["clock"], True
        self.buffer = self.number["weight_buffer"] * TILE_SHARE
        # One buffer is filled or emptied at a time.
        self.bandwidth = min(self.number["bandwidth"], self.number["buffer_port"])
        self.random = np.random.default_rng(0)
        self.known: dict[tuple[int, int], tuple[str, float, float]] = {}

    def turns(self, row: int) -> bool:
        """Whether its loads and computing take turns."""
        turns = self.case.activity.overlap.turns
        return self.released or (turns is not None and bool(turns[row, 0]))

    def work(self, run: LayerRun) -> list[RowWork]:
        """Seconds of each piece, and latency of a result."""
        key = run.row, run.streams
        if key not in self.known:
            self.known[key] = self._work(*key)
        unit, seconds, latency = self.known[key]
        # Tiles move on to the registers of lanes: the buffer passes on what a wave works on.
        return [RowWork(unit, cut(seconds * run.times, run.most), latency, registers=True)]

    def _work(self, row: int, streams: int) -> tuple[str, float, float]:
        ops = self.case.ops
        spec, elements = ops.rows[row], float(ops.m[row, self.i]) / streams
        if spec.matmul:
            return self._product(row, streams)
        if spec.kind in ("softmax", "norm"):
            return self._tiles(spec.kind, elements, spec.simple + spec.special)
        if spec.kind == "activation" and spec.phase != "backward":
            return "activation units", elements / self.lanes / self.clock, 0.0
        cycles = spec.simple * elements / (self.lanes * self.number["mac_per_lane"])
        return "lanes", (cycles + spec.special * elements / self.lanes) / self.clock, 0.0

    def _tiles(self, kind: str, elements: float, passes: float) -> tuple[str, float, float]:
        x, y = self.number["tile_x"], self.number["tile_y"]
        each = {"side": x + y, "element": x * y, "tile": 1.0}[self.name["unit_cycles"]]
        own = {"softmax": 5.0, "norm": 7.0}[kind]
        units = self.number["pe"] * (self.number["softmax_per_pe"] if kind == "softmax" else 1.0)
        tiles = np.ceil(elements / (x * y))
        cycles = each * max(passes / own, 1.0 / own)
        title = "softmax units" if kind == "softmax" else "layer-norm units"
        whole = np.ceil(tiles / units)
        return (
            title,
            tiles / units * cycles / self.clock,
            (whole - tiles / units) * cycles / self.clock,
        )

    def _product(self, row: int, streams: int) -> tuple[str, float, float]:
        """Tiles over lanes; lanes that one sequence leaves free may serve another."""
        ops, i = self.case.ops, self.i
        spec = ops.rows[row]
        m, k, n, batch = (float(x[row, i]) for x in (ops.m, ops.k, ops.n, ops.batch))
        if spec.off_chain:
            k = k / streams
        elif spec.b in PARAMETERS:
            m = m / streams
        else:
            batch = max(np.ceil(batch / streams), 1.0)
        x, y, b = (self.number[key] for key in ("tile_x", "tile_y", "tile_b"))
        slices, rows = (1.0, b * x) if batch <= 1 else (b, x)
        tiles = float(np.ceil(batch / slices) * np.ceil(m / rows) * np.ceil(n / x) * np.ceil(k / y))
        used = min(tiles, self.lanes)
        cycles = self._wave(row, int(used), int(rows), int(x), int(y * slices))
        cycles = max(cycles, self._port(row, streams) / max(tiles / self.lanes, 1e-9))
        share, waves = tiles / self.lanes, np.ceil(tiles / self.lanes)
        return "lanes", share * cycles / self.clock, (waves - share) * cycles / self.clock

    def _wave(self, row: int, used: int, rows: int, cols: int, depth: int) -> float:
        """Cycles of a wave: its slowest lane, drawn from masks, and the pipeline."""
        ops, mult = self.case.ops, self.number["mac_per_lane"]
        fill = self.number["pipeline"] + np.log2(mult)
        da, db = (float(ops.density(x)[row, self.i]) for x in ("a", "b"))
        if da == 1.0 and db == 1.0:
            return float(np.ceil(rows * cols * depth / mult) + fill)
        lanes = min(used, LANES_DRAWN)
        cycles = []
        for _ in range(DRAWN):
            ones_a = self.random.binomial(rows, da, (lanes, depth))
            ones_b = self.random.binomial(cols, db, (lanes, depth))
            products = (ones_a * ones_b).sum(axis=1)
            cycles.append(max(float(np.ceil(products / mult).max()), 1.0))
        return float(np.mean(cycles) + fill)

    def _port(self, row: int, streams: int) -> float:
        """Cycles in which the lanes' ports bring one run's operands."""
        ops, counts, i = self.case.ops, self.case.activity.counts, self.i
        bytes_ = sum(
            float(counts[name].row(row)[0])
            for name in ("activation buffer", "weight buffer", "mask buffer")
        ) / max(float(ops.count[row, i]), 1.0)
        out = float(ops.batch[row, i] * ops.m[row, i] * ops.n[row, i] * ops.out_width[row])
        return max(bytes_ - out, 0.0) / streams / (self.lanes * self.number["lane_port"])

    def heads(self, row: int) -> bool:
        """Heads share the lanes, one after another."""
        return self.case.ops.rows[row].in_attention

    def traffic(self, row: int) -> tuple[float, float, float]:
        """Main memory bytes of one run, as the plan moves them."""
        details = self.case.activity.details
        assert details is not None and details.moved is not None
        count = max(float(self.case.ops.count[row, self.i]), 1.0)
        weights, read, written = (float(x[row, 0]) / count for x in details.moved)
        return weights, read, written
