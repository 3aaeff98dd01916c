"""The event-driven model of systolic arrays: folds listed one by one, dealt to free arrays.

Nothing here uses the closed form of folds.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

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
            seconds = self._passed(row, cycles / self.lanes / self.number["clock"], times / streams)
            return [RowWork("vector", cut(seconds, run.most))]
        cycles, latency, moved = self._product(row, streams)
        seconds = cycles * times / self.number["clock"]
        port = self.number["sram_bandwidth"]
        # The array waits for its operands, and for room for its results.
        if self.peer:
            seconds = max(seconds, self._interface(row) * times / streams)
        elif port:
            seconds = max(seconds, moved * times / port)
        seconds = self._passed(row, seconds, times / streams)
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
        if self.peer:
            return self._peer(sr, sc, t, batch), 0.0, 0.0
        widths = tuple(float(x[row]) for x in (ops.a_width, ops.b_width, ops.out_width))
        moved = batch * self._bytes((m, k, n), widths, len(self._pieces(sr, t)))
        ways = self._ways(sr, sc, t, batch)
        for parts in self._parts(m, batch, sr, sc):
            # Rows of inputs in parts, of which each is a product.
            part = float(np.ceil(m / parts))
            sides = {"ws": (sr, sc, part), "os": (part, sc, t), "is": (sr, part, t)}[flow]
            ways += self._ways(*sides, np.ceil(mean * parts))
        return (*min(ways, key=sum), moved)

    def _parts(self, m: float, batch: float, sr: float, sc: float) -> set[int]:
        """Into how many parts the rows of inputs may be cut: few for each array."""
        down, across = np.ceil(sr / self.number["rows"]), np.ceil(sc / self.number["cols"])
        arrays, folds = self.number["arrays"], batch * down * across
        if folds > 4 * arrays:
            return set()
        # Folds along the side that is cut are parts themselves.
        whole = batch * {"ws": down * across, "os": across, "is": down}[self.name["dataflow"]]
        few = {each * arrays // beside for each in (1, 2, 4) for beside in (folds, whole)}
        few |= {2**i for i in range(1, 9)}
        return {int(min(number, m)) for number in few} - {0, 1}

    def _ways(self, sr: float, sc: float, t: float, batch: float) -> list[tuple[float, float]]:
        """Cycles taken, and of load and skew, with any number of products side by side."""
        rows, cols = self.number["rows"], self.number["cols"]
        most = int(min(max(min(rows // sr, cols // sc), 1), batch))
        ways = []
        for together in range(1, most + 1):
            shapes, instances = self._shapes(sr, sc, together), int(np.ceil(batch / together))
            folds, share = instances * len(shapes), t
            if self.name["dataflow"] != "os" and folds < self.number["arrays"]:
                share = np.ceil(t / (self.number["arrays"] // folds))
            pieces = self._pieces(sr, share)  # all of the same length
            taken, wait = self._folds(shapes, pieces[0], instances)
            ways.append((len(pieces) * taken, wait))
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

    def _shapes(self, sr: float, sc: float, together: int) -> list[tuple[float, float]]:
        """Rows and columns of each fold of so many products side by side."""
        rows, cols = self.number["rows"], self.number["cols"]
        return [
            (min(rows, sr - r * rows) * together, min(cols, sc - c * cols) * together)
            for r in range(int(np.ceil(sr / rows)))
            for c in range(int(np.ceil(sc / cols)))
        ]

    def _folds(
        self, shapes: list[tuple[float, float]], t: float, instances: int
    ) -> tuple[float, float]:
        """Cycles taken, and of load and skew until the last result is out, whichever fold has it.

        The operands of the first fold of an array are loaded before it; outputs leave after it.
        """
        arrays, os = int(self.number["arrays"]), self.name["dataflow"] == "os"
        if self.name["preload"] == "serial":
            return _deal([2 * r + c + t - 2 for r, c in shapes], instances, arrays)[0], 0.0
        cost = [max(t, r) for r, _ in shapes]
        # Beyond what a fold takes of its array.
        after = [t + (2 * r if os else r) + c - 2 - max(t, r) for r, c in shapes]
        before = [0.0 if os else r for r, _ in shapes]
        end, done = _deal(cost, instances, arrays, before, after)
        return end, done - end

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

    def _passed(self, row: int, seconds: float, times: float) -> float:
        """Seconds of a unit that waits for what passes the port of the vector memory, as many bytes
        as the tile plan has: beside its work, and in turn with it beside main memory.

        times : runs.
        """
        if "vector memory" not in self.case.activity.busy:
            return seconds
        port, memory = (
            float(self.case.activity.row(name, row)[0]) / self._runs(row) * times
            for name in ("vector memory", "memory")
        )
        return seconds + max(port - memory, 0.0) if self.turns(row) else max(seconds, port)

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


def _deal(
    cost: list[float],
    instances: int,
    arrays: int,
    before: Sequence[float] = (),
    after: Sequence[float] = (),
) -> tuple[float, float]:
    """Cycles until the arrays are free of `instances` lists of folds, and until all is done.

    before : cycles of each fold ahead of it where it is the first of its array; after : beyond it,
    beside the next. Empty: none.
    """
    before, after = before or [0.0] * len(cost), after or [0.0] * len(cost)
    if instances * len(cost) > 20_000:
        end = sum(cost) * instances / arrays
        return end, end + max(before) + max(after)
    free = [(0.0, place, -1.0) for place in range(min(arrays, instances * len(cost)))]
    done = 0.0
    for _ in range(instances):
        for cycles, ahead, beyond in zip(cost, before, after, strict=True):
            begin, place, first = heapq.heappop(free)
            first = ahead if first < 0.0 else first
            heapq.heappush(free, (begin + cycles, place, first))
            done = max(done, first + begin + cycles + beyond)
    return max(begin for begin, _, _ in free), done
