"""The event-driven model of ReRAM tiles: every stored matrix has crossbars of its own.

Matrices are placed one by one; what is left over holds copies and operands that are written
first. A sequence passes its layer's matrices one after another, the next sequence follows as
soon as a matrix is free. Reads are a pipeline of pulses and conversions, writes wait for
drivers that share a power budget. Nothing here uses the closed form's slowest stage, chains
or fills; prices of a write and the bytes of main memory are shared with it.
"""

from __future__ import annotations

import numpy as np

from elector.evaluation.path import Chunk
from elector.events.engine import PIECES, Run, Work
from elector.operations.roles import Part, word


class ReramUnits:
    """Crossbars by matrix, spare crossbars, write drivers, digital unit, lanes, main memory."""

    least, fuse, ahead = PIECES, True, 0

    def __init__(self, chunk: Chunk) -> None:
        self.chunk, self.i = chunk, int(chunk.index[0])
        units = chunk.units
        self.number = {key: float(v[0]) for key, v in units.numbers.items()}
        self.name = {key: names[int(codes[0])] for key, (names, codes) in units.names.items()}
        number = self.number
        self.bandwidth = number["bandwidth"]
        self.buffer = number["buffer"] * number["tiles"]
        slices = np.ceil(number["weight_bits"] / number["cell_bits"])
        self.columns = slices * (2.0 if self.name["encoding"] == "differential" else 1.0)
        self.price = float(chunk.prices.actions["write"].value[0]) * number["write_verify"]
        self.pulse = number["write_pulse"] * number["write_verify"]
        self._place()

    def _place(self) -> None:
        """Crossbars of every matrix, of the copies, and for written operands."""
        ops, number, i = self.chunk.ops, self.number, self.i
        workload = ops.workload
        passes = float(workload.gradient_accumulation[i]) if workload.training else 1.0
        self.twice = 2 if self.name["transposed_read"] == "copy" and workload.training else 1
        needed = largest = 0.0
        updated = False
        for r, row in enumerate(ops.rows):
            count = float(ops.count[r, i])
            if not count:
                continue
            if self._where(r) == "stored" and row.b == "weight" and row.phase != "backward":
                held = float(ops.layers[i]) if row.phase == "decode" else count / passes
                needed += self.twice * held * self._crossbars(r)
            elif self._where(r) == "written":
                largest = max(largest, float(ops.batch[r, i]) * self._crossbars(r))
            updated |= self._held(r)
        total = number["crossbars_per_unit"] * number["units_per_tile"] * number["tiles"]
        self.copies, left = 1, total - needed - min(max(total - needed, 0.0), largest)
        asked = number["copies"] or (1 if updated else np.inf)
        while needed and left >= needed and self.copies < asked:
            self.copies, left = self.copies + 1, left - needed
        self.pool = max(total - self.copies * needed, 0.0)
        self.reload = bool(number["reload"]) and needed > total
        self.total = total

    def _held(self, r: int) -> bool:
        """Whether a row updates a tensor that lies in crossbars: an operand of products."""
        ops = self.chunk.ops
        return ops.rows[r].kind == "optimizer" and ops.graph.updates_matrix(r)

    def _where(self, r: int) -> str:
        """What takes a row: stored | written | digital | vector."""
        row = self.chunk.ops.rows[r]
        if not row.matmul:
            return "vector"
        readable = row.phase != "backward" or self.name["transposed_read"] != "none"
        if row.b in ("weight", "reuse") and readable:
            return "stored"
        digital = self.number["digital_macs"] > 0 and self.name["dynamic"] != "write"
        return "digital" if digital else "written"

    def _crossbars(self, r: int) -> float:
        """Crossbars of one matrix or written operand."""
        ops, row = self.chunk.ops, self.chunk.ops.rows[r]
        k, n = float(ops.k[r, self.i]), float(ops.n[r, self.i])
        if row.phase == "backward" and row.b in ("weight", "reuse"):
            k, n = n, k
        wide = np.ceil(n * self.columns / self.number["cols"])
        return float(np.ceil(k / self.number["rows"]) * wide)

    def turns(self, row: int) -> bool:
        """Main memory and the tiles work side by side."""
        return False

    def heads(self, row: int) -> bool:
        """Heads follow one another but where they stand side by side in spare crossbars."""
        return self.chunk.ops.rows[row].in_attention and self._where(row) != "written"

    def work(self, run: Run) -> list[Work]:
        """What the units do for one sequence in one layer."""
        ops, row = self.chunk.ops, self.chunk.ops.rows[run.row]
        m, k, n, batch = (float(x[run.row, self.i]) for x in (ops.m, ops.k, ops.n, ops.batch))
        where = self._where(run.row)
        if where == "stored":
            return self._stored(run, batch * m / run.streams, k, n)
        if where == "written":
            return self._written(run, m, k, n, batch)
        if where == "digital":
            cycles = batch * m * k * n / run.streams / self.number["digital_macs"]
            return [Work("digital unit", self._cut(run, cycles / self.number["clock"]))]
        each = row.simple + row.special * self.number["special_cycles"]
        cycles = m / run.streams * each / self.number["vector_lanes"]
        found = [Work("vector lanes", self._cut(run, cycles / self.number["clock"]))]
        if self._held(run.row):
            cells = m * self.columns * self.copies * self.twice / run.streams
            found.append(self._drivers(run, cells, self.number["rows"]))
        return found

    def _cut(self, run: Run, seconds: float) -> list[float]:
        return [seconds * run.times / run.most] * run.most

    def _read(self, vectors: float) -> tuple[float, float]:
        """Seconds crossbars are busy with vectors, and until the last result is converted."""
        converter = self.number["cols"] / self.number["adcs_per_crossbar"]
        pulse, conversion = self.number["read_pulse"], converter / self.number["adc_rate"]
        phases = np.ceil(self.number["input_bits"] / self.number["dac_bits"])
        return float(np.ceil(vectors) * phases * max(pulse, conversion)), min(pulse, conversion)

    def _drivers(self, run: Run, cells: float, rows: float, share: float = 0.0) -> Work:
        """Writing cells, `rows` rows one after another: drivers are taken as power allows."""
        taken = cells * self.price / self.number["write_power"] * run.times
        rest = max(rows * self.pulse * run.times - taken, 0.0)
        return Work("write drivers", [taken], rest, share)

    def _stored(self, run: Run, vectors: float, k: float, n: float) -> list[Work]:
        """Reading matrices of this layer, each in its own crossbars."""
        row, found = self.chunk.ops.rows[run.row], []
        product = word(row.role, Part.FORWARD, row.cross, row.index, row.variant)
        passes = float(self.chunk.ops.workload.gradient_accumulation[self.i])
        layers = max(round(run.repeat / (passes if self.chunk.ops.workload.training else 1.0)), 1)
        if row.phase == "decode":
            layers = max(int(self.chunk.ops.layers[self.i]), 1)
        place = run.layer % layers
        back = row.phase == "backward"
        place = layers - 1 - place if back else place
        side = " transposed" if back and self.twice > 1 else ""
        matrices = max(round(run.times), 1)
        seconds, latency = self._read(vectors / self.copies)
        # Copies that this sequence leaves free serve another.
        taken = self._read(vectors)[0] / np.ceil(vectors) * vectors / self.copies
        latency += seconds - taken
        turns = np.ceil(self._crossbars(run.row) / self.total)
        for matrix in range(matrices):
            which = f" {matrix + 1}" if matrices > 1 else ""
            unit = f"crossbars: {row.layer_word} {place + 1} {product}{which}{side}"
            if self.reload:
                one = Run(run.row, run.layer, run.repeat, 1.0, run.stream, run.streams, run.most)
                cells = k * n * self.columns / run.streams
                rows = turns * min(k, self.number["rows"]) / run.streams
                found.append(self._drivers(one, cells, rows))
            each = taken * run.times / matrices / run.most
            found.append(Work(unit, [each] * run.most, latency, 1.0 / matrices))
        return found

    def _written(self, run: Run, m: float, k: float, n: float, batch: float) -> list[Work]:
        """Writing one operand into spare crossbars, heads side by side, then reading it."""
        heads = max(batch / run.streams, 1.0)
        if self.chunk.ops.rows[run.row].off_chain:
            # A sum over the tokens of all sequences: read once, when the last one is there.
            m = m / run.streams
        each = self._crossbars(run.row)
        together = min(max(self.pool // max(each, 1.0), 1.0), heads)
        rounds = np.ceil(heads / together)
        rows = rounds * min(k, self.number["rows"])
        seconds, latency = self._read(m * rounds)
        # Other operands take the crossbars that these leave free.
        taken = min(heads * each / max(self.pool, 1.0) / rounds, 1.0) * seconds
        cells = batch / run.streams * k * n * self.columns
        latency += (seconds - taken) * run.times
        return [
            self._drivers(run, cells, rows),
            Work("spare crossbars", self._cut(run, taken), latency),
        ]

    def traffic(self, row: int) -> tuple[float, float, float]:
        """Main memory bytes of one run: what streams, and what the buffers cannot keep."""
        ops, i = self.chunk.ops, self.i
        assert self.chunk.activity.traffic is not None
        moved = float(self.chunk.activity.traffic[1][row, 0])
        moved = moved / max(float(ops.count[row, i]), 1e-300)
        read, out = float((ops.a_bytes + ops.b_bytes)[row, i]), float(ops.out_bytes[row, i])
        share = out / max(read + out, 1e-300)
        return 0.0, moved * (1.0 - share), moved * share
