"""The event-driven model of systolic arrays: folds listed one by one, dealt to free arrays.

Nothing here uses the closed form of folds.
"""

from __future__ import annotations

import heapq

import numpy as np

from elector.machines.pieces import PIECES, Case, LayerRun, RowWork, cut
from elector.machines.tiling import TILE_SHARE
from elector.operations.rows import PARAMETERS


class SystolicUnits:
    """Systolic arrays: folds dealt to arrays, element-wise work to lanes."""

    least, ahead = PIECES, 0

    def __init__(self, case: Case) -> None:
        self.case, self.i = case, case.pair
        self.number, self.name = case.number, case.name
        self.bandwidth = self.number["bandwidth"]
        self.buffer = self.number["sram"] * TILE_SHARE
        self.fuse = bool(self.number["fuse"])
        lanes = self.number["vector_lanes"] or self.number["cols"] * self.number["arrays"]
        self.lanes = lanes
        # As the peer counts, nothing but its interfaces stalls.
        self.peer = self.name["convention"] == "scalesim"

    def turns(self, row: int) -> bool:
        """Whether its loads and computing take turns."""
        turns = self.case.activity.overlap.turns
        return turns is not None and not self.peer and bool(turns[row, 0])

    def work(self, run: LayerRun) -> list[RowWork]:
        """Seconds of each piece, the work of the sequence being 1 / streams of the batch's."""
        ops, row, streams, times = self.case.ops, run.row, run.streams, run.times
        if not ops.rows[row].matmul:
            spec = ops.rows[row]
            work = float(ops.m[row, self.i]) / streams * times
            cycles = work * (spec.simple + spec.special * self.number["special_cycles"])
            return [RowWork("vector", cut(cycles / self.lanes / self.number["clock"], run.most))]
        cycles, latency, moved = self._product(row, streams)
        seconds = cycles * times / self.number["clock"]
        port = self.number["sram_bandwidth"]
        # The array waits for its operands, and for room for its results.
        if self.peer:
            seconds = max(seconds, self._interface(row) * times / streams)
        elif port:
            seconds = max(seconds, moved * times / port)
        # Cells hold their operands: memory passes them on while results still drain.
        latency /= self.number["clock"]
        return [RowWork("array", cut(seconds, run.most), latency, registers=True)]

    def heads(self, row: int) -> bool:
        """Heads share the arrays, one after another."""
        return self.case.ops.rows[row].in_attention

    def _product(self, row: int, streams: int) -> tuple[float, float, float]:
        """Cycles the arrays are taken, folds dealt one by one, cycles of load and skew, and bytes
        that pass the port of the on-chip memory."""
        ops = self.case.ops
        m, k, n, batch = (float(x[row, self.i]) for x in (ops.m, ops.k, ops.n, ops.batch))
        spec, mean = ops.rows[row], batch
        if spec.off_chain:  # a gradient of weights sums over the tokens of all sequences
            k = k / streams
        elif spec.b in PARAMETERS:
            m = m / streams
        else:
            mean = batch / streams
            batch = max(np.ceil(mean), 1.0)
        flow = self.name["dataflow"]
        sr, sc, t = {"ws": (k, n, m), "os": (m, n, k), "is": (k, m, n)}[flow]
        rows, cols = self.number["rows"], self.number["cols"]
        if self.peer:
            return self._peer(sr, sc, t, batch), 0.0, 0.0
        widths = tuple(float(x[row]) for x in (ops.a_width, ops.b_width, ops.out_width))
        moved = batch * self._bytes((m, k, n), widths, len(self._pieces(sr, t)))
        ways = self._ways(sr, sc, t, batch)
        for parts in self._parts(m, batch * np.ceil(sr / rows) * np.ceil(sc / cols)):
            # Rows of inputs in parts, of which each is a product.
            part = float(np.ceil(m / parts))
            sides = {"ws": (sr, sc, part), "os": (part, sc, t), "is": (sr, part, t)}[flow]
            ways += self._ways(*sides, np.ceil(mean * parts))
        return (*min(ways, key=sum), moved)

    def _parts(self, m: float, folds: float) -> set[int]:
        """Into how many parts the rows of inputs may be cut: few for each array."""
        if folds > 4 * self.number["arrays"]:
            return set()
        numbers = (max(each * self.number["arrays"] // folds, each) for each in (1, 2, 4))
        return {int(min(number, m)) for number in numbers} - {0, 1}

    def _ways(self, sr: float, sc: float, t: float, batch: float) -> list[tuple[float, float]]:
        """Cycles taken, and of load and skew, with any number of products side by side."""
        rows, cols = self.number["rows"], self.number["cols"]
        pieces = self._pieces(sr, t)
        most = int(min(max(min(rows // sr, cols // sc), 1), batch))
        ways = []
        for together in range(1, most + 1):
            each = [self._folds(sr, sc, piece, batch, together) for piece in pieces]
            ways.append((sum(taken for taken, _ in each), max(wait for _, wait in each)))
        return ways

    def _pieces(self, sr: float, t: float) -> list[float]:
        """The stream, cut into what the accumulators hold where folds add to each other's sums."""
        if self.name["dataflow"] == "os" or sr <= self.number["rows"]:
            return [t]
        row = self.number["cols"] * self.number["arrays"] * self.case.ops.format.accumulator
        most = max(float(self.number["accumulators"] // row), 1.0)
        pieces = int(np.ceil(t / most))
        return [t / pieces] * pieces

    def _bytes(
        self, sides: tuple[float, float, float], widths: tuple[float, ...], pieces: int
    ) -> float:
        """Bytes read from and written to the on-chip memory, block by block of the array."""
        (m, k, n), (a, b, out) = sides, widths
        rows, cols = int(self.number["rows"]), int(self.number["cols"])
        down, across = {"ws": (k, n), "os": (m, n), "is": (k, m)}[self.name["dataflow"]]
        total = m * n * out
        for r in range(0, int(np.ceil(down)), rows):
            for c in range(0, int(np.ceil(across)), cols):
                high, wide = min(rows, down - r), min(cols, across - c)
                if self.name["dataflow"] == "ws":
                    total += high * wide * b * pieces + m * high * a
                elif self.name["dataflow"] == "os":
                    total += k * (high * a + wide * b)
                else:
                    total += high * wide * a * pieces + n * high * b
        return total

    def _folds(
        self, sr: float, sc: float, t: float, batch: float, together: int
    ) -> tuple[float, float]:
        """Cycles taken, and of load and skew, with so many products side by side."""
        rows, cols, arrays = (self.number[key] for key in ("rows", "cols", "arrays"))
        instances = int(np.ceil(batch / together))
        shapes = [
            (min(rows, sr - r * rows) * together, min(cols, sc - c * cols) * together)
            for r in range(int(np.ceil(sr / rows)))
            for c in range(int(np.ceil(sc / cols)))
        ]
        folds = instances * len(shapes)
        if self.name["dataflow"] != "os" and folds < arrays:
            t = np.ceil(t / (arrays // folds))
        serial = self.name["preload"] == "serial"
        cost = [2 * r + c + t - 2 if serial else max(t, r) for r, c in shapes]
        end = _deal(cost, instances, int(arrays))
        if serial:
            return end, 0.0
        r, c = shapes[-1]
        return end, shapes[0][0] + r + c - 2

    def _peer(self, sr: float, sc: float, t: float, batch: float) -> float:
        """Cycles by the peer's convention: whole folds, one array, no drain for os."""
        rows, cols = int(self.number["rows"]), int(self.number["cols"])
        load = rows if self.name["dataflow"] == "os" else 2 * rows
        cycles = 0.0
        for _ in range(int(batch)):
            for _ in range(0, int(sr), rows):
                for _ in range(0, int(sc), cols):
                    cycles += load + cols + t - 2
        return cycles - 1

    def _interface(self, row: int) -> float:
        """Seconds in which the slowest of the peer's interfaces moves the words of one run, as many
        as the tile plan has: none where the bandwidth is not given."""
        return float(self.case.activity.row("memory", row)[0]) / self._runs(row)

    def _runs(self, row: int) -> float:
        return max(float(self.case.ops.count[row, self.i]), 1.0)

    def traffic(self, row: int) -> tuple[float, float, float]:
        """Main memory bytes of one run, as the tile plan moves them; none as the peer counts."""
        if self.peer:
            return 0.0, 0.0, 0.0
        details = self.case.activity.details
        assert details is not None and details.moved is not None
        count = self._runs(row)
        weights, read, written = (float(x[row, 0]) / count for x in details.moved)
        return weights, read, written


def _deal(cost: list[float], instances: int, arrays: int) -> float:
    """Cycles until the last of `instances` lists of folds is done on the arrays."""
    if arrays == 1:
        return sum(cost) * instances
    if instances * len(cost) > 20_000:
        return sum(cost) * instances / arrays
    free = [0.0] * arrays
    for _ in range(instances):
        for cycles in cost:
            heapq.heappush(free, heapq.heappop(free) + cycles)
    return max(free)
