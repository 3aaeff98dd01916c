"""The event-driven model of ReRAM tiles: every stored matrix has crossbars of its own.

A sequence passes its layer's matrices one after another, the next sequence follows as soon as
copies of a matrix are free. An operand that is written first holds its share of the spare
crossbars from the first pulse of its writing to its last vector; pulses take their share of the
power that all writes have together.

Taken from the closed form: how the crossbars are shared out (copies of the weights, crossbars
for written operands; where nothing stays, whether operands are written, too), which is a decision
and no time, the price of a pulse, and how many tokens the busiest expert of a layer gets, which
the routing decides. Everything else is worked out here,
operand by operand; nothing uses its slowest stage, chains or fills.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from elector.machines.pieces import PIECES, Case, LayerRun, RowWork, cut
from elector.machines.reram.geometry import pulses
from elector.operations.roles import RowPart, word
from elector.operations.routing import busiest


class ReramUnits:
    """Crossbars by matrix, spare crossbars, write drivers, digital unit, lanes, main memory."""

    least, fuse, ahead = PIECES, True, 0

    def __init__(self, case: Case, copies: int = 0, pool: float = 0.0) -> None:
        """The units of a design; copies and pool in crossbars, else those of its plan."""
        self.case, self.i = case, case.pair
        plan = case.activity.told.extra
        self.number, self.name = case.number, case.name
        number = self.number
        self.bandwidth = number["bandwidth"]
        self.buffer = number["buffer"] * number["tiles"]
        self.bits = min(number["weight_bits"], 8.0 * case.ops.format.weight)
        self.slices = math.ceil(self.bits / number["cell_bits"])
        self.columns = self.slices * (2 if self.name["encoding"] == "differential" else 1)
        self.pulses = float(pulses(case.units)[0])
        self.joules = case.joules["write"] * self.pulses
        self.pulse = number["write_pulse"] * self.pulses
        self.total = number["crossbars_per_unit"] * number["units_per_tile"] * number["tiles"]
        self.copies = copies or int(plan["weight_copies"][0])
        self.pool = pool or float(plan["operand_crossbars"][0])
        self.reload = self.copies == 0
        training = case.ops.workload.training
        self.twice = 2 if self.name["transposed_read"] == "copy" and training else 1

    # ---- what runs where ----

    def _held(self, r: int) -> bool:
        """Whether a row updates a tensor that lies in crossbars: an operand of products."""
        ops = self.case.ops
        return ops.rows[r].kind == "optimizer" and bool(ops.graph.updates_matrix(r)[self.i])

    def _where(self, r: int) -> str:
        """What takes a row: stored | written | digital | vector."""
        row = self.case.ops.rows[r]
        if not row.matmul:
            return "vector"
        if row.b in ("weight", "reuse"):
            readable = row.phase != "backward" or self.name["transposed_read"] != "none"
            return "stored" if readable else "digital"
        if self.reload:  # all crossbars are for what is written, weights at least
            return "digital" if float(self.case.activity.row("digital", r)[0]) > 0 else "written"
        return "written" if self.pool else "digital"

    def _columnwise(self, r: int) -> bool:
        """Whether a stored matrix is driven from its columns."""
        back = self.case.ops.rows[r].phase == "backward"
        return back and self.name["transposed_read"] == "bidirectional"

    def _crossbars(self, k: float, n: float, sliced: bool) -> float:
        """Crossbars of a k x n matrix, dealt out row by row and column by column."""
        rows, cols = self.number["rows"], self.number["cols"]
        wide = float(self.columns * math.ceil(n / cols))
        if not sliced and self.columns <= cols:
            wide = math.ceil(n / (cols // self.columns))
        elif not sliced:
            wide = n * math.ceil(self.columns / cols)
        return math.ceil(k / rows) * wide

    def _sides(self, r: int) -> tuple[float, float]:
        """k and n of a product, at the last token where one of them grows; masks hide nothing."""
        ops, grows = self.case.ops, self.case.ops.rows[r].grows
        k, n = float(ops.k[r, self.i]), float(ops.n[r, self.i])
        reach, more = float(ops.reach[r, self.i]), float(ops.span[r, self.i]) / 2.0
        if reach:
            return (reach, n) if grows == "k" else (k, reach)
        return k + more * (grows == "k"), n + more * (grows == "n")

    def _cells(self, r: int) -> float:
        """Cells of an operand: the mean over tokens where it grows with them."""
        ops = self.case.ops
        if float(ops.reach[r, self.i]):
            k, n = self._sides(r)
            return k * n * self.columns
        return float(ops.k[r, self.i] * ops.n[r, self.i]) * self.columns

    def _vector(self, r: int) -> tuple[float, float]:
        """Seconds of one vector, and from its last step until the last sum is converted."""
        number, k = self.number, self._sides(r)[0]
        driven, converted = number["rows"], number["cols"]
        if self._columnwise(r):
            driven, converted = converted, driven
        lines = min(number["active_rows"], number["rows"])
        groups = math.ceil(min(k, driven) / lines)
        pulse = number["read_pulse"]
        conversion = math.ceil(converted / number["adcs_per_crossbar"]) / number["adc_rate"]
        phases = math.ceil(number["input_bits"] / number["dac_bits"])
        return phases * groups * max(pulse, conversion), min(pulse, conversion)

    # ---- the unit's interface ----

    def turns(self, row: int) -> bool:
        """Main memory and the tiles work side by side."""
        return False

    def heads(self, row: int) -> bool:
        """Heads follow one another but where they stand side by side in spare crossbars."""
        return self.case.ops.rows[row].in_attention and self._where(row) != "written"

    def work(self, run: LayerRun) -> list[RowWork]:
        """What the units do for one sequence in one layer."""
        ops, row = self.case.ops, self.case.ops.rows[run.row]
        m, batch = float(ops.m[run.row, self.i]), float(ops.batch[run.row, self.i])
        where = self._where(run.row)
        if where == "stored" and run.row in ops.routed:
            return self._experts(run, math.ceil(batch * m / run.streams))
        if where == "stored":
            return self._stored(run, math.ceil(batch * m / run.streams))
        if where == "written":
            return self._written(run, m, batch)
        clock = self.number["clock"]
        if where == "digital":
            macs = batch * m * float(ops.k[run.row, self.i] * ops.n[run.row, self.i])
            seconds = macs / run.streams / self.number["digital_macs"] / clock
            return [RowWork("digital unit", cut(seconds * run.times, run.most))]
        each = row.simple + row.special * self.number["special_cycles"]
        seconds = m / run.streams * each / self.number["vector_lanes"] / clock
        works = [RowWork("vector lanes", cut(seconds * run.times, run.most))]
        if self._held(run.row) and not self.reload:
            works.append(self._update(run, m))
        return works

    def traffic(self, row: int) -> tuple[float, float, float]:
        """Main memory bytes of one run: weights that do not stay in crossbars, what streams, and
        what half of all buffers cannot keep."""
        ops, spec, i = self.case.ops, self.case.ops.rows[row], self.i
        sizes = [float(getattr(ops, f"{x}_bytes")[row, i]) for x in ("a", "b", "out")]
        left = ops.left is not None and bool(ops.left[row, i])
        kinds = [spec.a, spec.b, "activation" if left else spec.out]
        a, b, out = (self._moved(*pair) for pair in zip(kinds, sizes, strict=True))
        weights = 0.0
        if self.reload and self._where(row) == "stored":
            read = float(ops.batch[row, i]) if row in ops.routed else 1.0
            weights = read * float(ops.k[row, i] * ops.n[row, i]) * self.bits / 8.0
        return weights, a + b, out

    def _moved(self, kind: str, size: float) -> float:
        """Bytes of an operand that pass main memory."""
        memory = self.case.ops.memory
        whole = {"saved": "activations", "cache": "cache"}.get(kind)
        if kind == "stream":
            return size
        if kind == "activation":
            return max(size - self.buffer / 2.0, 0.0)
        held = float(memory[whole][self.i]) if whole else 0.0
        return size * max(held - self.buffer / 2.0, 0.0) / held if held else 0.0

    # ---- crossbars ----

    def _stored(self, run: LayerRun, vectors: int) -> list[RowWork]:
        """Reading matrices of this layer: rounds of as many vectors as there are copies."""
        if self.reload:
            return self._reloaded(run, vectors)
        each, wait = self._vector(run.row)
        rounds, rest = divmod(vectors, self.copies)
        works = []
        matrices = max(round(run.times), 1)
        for matrix in range(matrices):
            unit = self._unit(run, matrix if matrices > 1 else None)
            share = self.copies * rounds / vectors / matrices  # of what vectors bring and leave
            if rest:
                seconds, last = [each * run.times / matrices], 0.0 if rounds else wait
                own = rest / vectors / matrices
                works.append(RowWork(unit, seconds, last, own, amount=rest / self.copies))
            if rounds:
                pieces = min(run.most, rounds)
                seconds = [rounds * each * run.times / matrices / pieces] * pieces
                works.append(RowWork(unit, seconds, wait, share))
        return works

    def _experts(self, run: LayerRun, vectors: int) -> list[RowWork]:
        """Experts of a layer side by side, of which the busiest sets the pace.

        What is busiest for one sequence is not for the next: of all of them, a matrix is read
        only as long as the busiest of all tokens.
        """
        if self.reload:
            return self._reloaded(run, vectors)
        each, wait = self._vector(run.row)
        own = self._busiest(run.row, run.streams)
        rounds = max((own + (self.copies - 1) / 2.0) / self.copies, 1.0)
        share = self._busiest(run.row, 1) / self.copies / (run.streams * rounds)
        seconds = cut(rounds * each * run.times, run.most)
        return [RowWork(self._unit(run, None), seconds, wait, 1.0, amount=min(share, 1.0))]

    def _busiest(self, r: int, streams: int) -> float:
        """Tokens of one of so many streams that the busiest expert gets."""
        routing = self.case.ops.routed[r]
        sizes = (routing.experts, routing.chosen, routing.exponent, routing.tokens)
        experts, chosen, exponent, tokens = (
            float(np.broadcast_to(x, self.case.ops.batch[r].shape)[self.i]) for x in sizes
        )
        return busiest(experts, chosen, exponent, math.ceil(tokens / streams))

    def _unit(self, run: LayerRun, matrix: int | None) -> str:
        """Name of the crossbars of one matrix of one layer."""
        row = self.case.ops.rows[run.row]
        product = word(row.role, RowPart.FORWARD, row.cross, row.index, row.variant)
        back = row.phase == "backward"
        place = run.repeat - 1 - run.layer if back else run.layer
        side = " transposed" if back and self.twice > 1 else ""
        which = "" if matrix is None else f" {matrix + 1}"
        return f"crossbars: {row.layer_word} {place + 1} {product}{which}{side}"

    def _reloaded(self, run: LayerRun, vectors: int) -> list[RowWork]:
        """A matrix that is written by the first sequence and read by all of them."""
        k, n = self._sides(run.row)
        k, n = (n, k) if self._columnwise(run.row) else (k, n)
        each, wait = self._vector(run.row)
        sliced = self.name["transposed_read"] == "bidirectional"
        size = self._crossbars(k, n, sliced)
        turns = max(math.ceil(size / self.total), 1)
        chip, matrices, after = max(self.total // size, 1.0), 1.0, float(vectors)
        if run.row in self.case.ops.routed:  # experts that get tokens, side by side
            matrices = float(self.case.ops.batch[run.row, self.i])
            after = min(max(matrices / chip, 1.0) * self._busiest(run.row, run.streams), after)
        groups, taken = max(matrices / chip, 1.0), min(matrices / chip, 1.0)
        works = []
        if not run.stream:
            cells = matrices * self._cells(run.row) * run.times
            rows = groups * turns * min(k, self.number["rows"]) * run.times
            writing = self._writing(cells, rows, taken)
            pieces = cut(sum(writing.seconds), run.most)
            works.append(replace(writing, seconds=pieces, places=True))
        seconds = cut(turns * after * each * run.times, run.most)
        read = min(vectors / chip / after, 1.0)
        return [*works, RowWork("spare crossbars", seconds, wait, 1.0, amount=read)]

    def _written(self, run: LayerRun, m: float, batch: float) -> list[RowWork]:
        """Writing operands into spare crossbars, heads side by side, then reading them."""
        row, (k, n) = self.case.ops.rows[run.row], self._sides(run.row)
        if row.phase == "decode" and row.in_attention:
            batch, m = batch * m, 1.0
        heads = max(batch / run.streams, 1.0)
        if row.off_chain:
            # A sum over the tokens of all sequences: read once, when the last one is there.
            m = m / run.streams
        part = min(batch / run.streams, 1.0)
        size = self._crossbars(k, n, False)
        together = min(max(self.pool // size, 1.0), heads)
        rounds = math.ceil(heads / together) * run.times
        each, wait = self._vector(run.row)
        taken = min(together * size / self.pool, 1.0)
        pieces = max(min(round(rounds), PIECES), 1)
        works = []
        for _ in range(pieces):
            rows = rounds / pieces * min(k, self.number["rows"]) * part
            cells = batch / run.streams * self._cells(run.row) * run.times / pieces
            works.append(self._writing(cells, rows, taken))
            seconds = [rounds / pieces * m * each / PIECES] * PIECES
            works.append(RowWork("spare crossbars", seconds, wait, 1.0 / pieces, amount=taken))
        return works

    def _writing(self, cells: float, rows: float, taken: float) -> RowWork:
        """Writing cells, `rows` rows one after another, into a share of the spare crossbars."""
        seconds, power = self._pulsed(cells, rows)
        return RowWork("spare crossbars", [seconds], 0.0, 0.0, 0.0, taken, ("write drivers", power))

    def _update(self, run: LayerRun, elements: float) -> RowWork:
        """Writing all cells of updated weights, crossbars side by side."""
        cells = elements * self.columns * self.copies * self.twice / run.streams * run.times
        seconds, power = self._pulsed(cells, self.number["rows"])
        return RowWork("write drivers", [seconds], 0.0, 0.0, 0.0, power)

    def _pulsed(self, cells: float, rows: float) -> tuple[float, float]:
        """Seconds of writing and the share of the power it takes."""
        least = cells * self.joules / self.number["write_power"]
        seconds = max(rows * self.pulse, least)
        return seconds, least / seconds
