"""Seconds of each operation on each resource of a ReRAM chip.

crossbars        layers have crossbars of their own: the slowest matrix of each phase
spare crossbars  written operands, from the first pulse of their writing to their last vector
write            pulses, within a power budget (elector.cost.power)
digital, vector  the digital unit and the lanes
memory           main memory
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elector.machines.contract import Budget, Fill, Units, sum_rows
from elector.machines.reram.geometry import Crossbars, pulses
from elector.machines.reram.placement import Placement, Prepared, held
from elector.machines.tiling import TILE_SHARE
from elector.operations.rows import Operations

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Reads:
    """Seconds of reading products in crossbars, each (R, D).

    alone : all sequences, with nothing else beside. serial : one sequence after another.
    stage : one stored matrix, all sequences. spare : of the crossbars for what is written.
    pulses, waits : of those seconds in `alone` and in `serial`, the pulses that write.
    repeats : how often one writing stands in `serial`.
    """

    alone: Array
    serial: Array
    stage: Array
    spare: Array
    pulses: Array
    waits: Array
    repeats: Array


def reads(p: Prepared, x: Crossbars, w: Placement) -> Reads:
    """Reading stored matrices and written operands.

    A sequence deals its vectors to the copies of a matrix; those of other sequences fill what it
    leaves free. Operands stand side by side as far as the plan has crossbars for them.
    """
    ops, index, units = p.ops, p.index, p.units
    count, streams = ops.count[:, index], ops.streams[index]
    vector = np.where(w.turned, x.transposed(_driven(p, w)), x.vector(w.k))
    rows = np.minimum(w.k, x.rows) * pulses(units) * units.number("write_pulse")
    kept = w.stored & ~w.rewritten
    # stored: vectors of all sequences, and of one
    alone = np.where(kept, count * np.ceil(w.vectors / w.copies) * vector, 0.0)
    one = np.ceil(w.vectors / streams / w.copies)
    serial = np.where(kept, count * streams * one * vector, 0.0)
    stage = np.where(kept, count / w.matrices * (w.vectors / w.copies) * vector, 0.0)
    # written operands: rounds of those that stand side by side
    heads = np.maximum(w.sets / streams, 1.0)
    rounds = count * np.ceil(w.sets / w.fit)
    waits = count * (w.sets / heads) * np.ceil(heads / np.minimum(w.fit, heads))
    one_round = rows + w.vectors * vector
    alone = np.where(w.written, rounds * one_round, alone)
    serial = np.where(w.written, waits * one_round, serial)
    spare = np.where(w.written, count * w.sets / w.fit * one_round, 0.0)
    written = np.where(w.written, rounds * rows, 0.0), np.where(w.written, waits * rows, 0.0)
    # weights that do not stay: written once for all sequences, each of which waits for it
    runs, beside = count * w.turns, np.maximum(np.floor(x.total / w.each.clip(1.0)), 1.0)
    alone = np.where(w.rewritten, runs * one_round, alone)
    serial = np.where(w.rewritten, runs * (streams * rows + w.vectors * vector), serial)
    spare = np.where(w.rewritten, runs / beside * one_round, spare)
    return Reads(
        alone,
        serial,
        stage,
        spare,
        np.where(w.rewritten, runs * rows, written[0]),
        np.where(w.rewritten, runs * rows * streams, written[1]),
        np.where(w.rewritten, streams, 1.0),
    )


def _driven(p: Prepared, w: Placement) -> Array:
    """(R, D) columns that are driven where a matrix is read in the other direction."""
    return np.where(w.turned, w.n, w.k)


def cells(p: Prepared, x: Crossbars, w: Placement) -> Array:
    """(R, D) cells written, each of them with all its pulses."""
    ops, index = p.ops, p.index
    count, k, n = ops.count[:, index], ops.k[:, index], ops.n[:, index]
    found = np.where(w.written, count * w.sets * k * n * x.columns, 0.0)
    found = np.where(w.rewritten, count * k * n * x.columns, found)
    twice = np.where(p.units.equals("transposed_read", "copy"), 2.0, 1.0)
    changed = count * ops.m[:, index] * x.columns * w.copies * twice
    return np.where(held(ops) & ~p.reload, changed, found)


def update_pulses(p: Prepared, x: Crossbars) -> Array:
    """(R, D) seconds of writing all crossbars row by row, shared out over the updates."""
    here = held(p.ops) & (p.ops.count[:, p.index] > 0) & ~p.reload
    seconds = x.rows * pulses(p.units) * p.units.number("write_pulse")
    return np.where(here, seconds / np.maximum(sum_rows(here + 0.0), 1.0), 0.0)


def budget(p: Prepared, r: Reads, update: Array) -> Budget:
    """The power that pulses may take together."""
    limit = p.units.number("write_power")
    return Budget("write", "write", limit, r.pulses + update, r.waits + update, r.repeats)


def wear(p: Prepared, x: Crossbars, w: Placement, written: Array) -> Array:
    """(D,) pulses the most written cell takes in a step.

    Written operands take turns in all crossbars that hold no weights.
    """
    size = x.rows * x.cols
    turning = sum_rows(np.where(w.written | w.rewritten, written, 0.0))
    weights = np.where(held(p.ops) & (written > 0), 1.0, 0.0).max(axis=0)
    return np.maximum(turning / (w.spare.clip(1.0) * size), weights) * pulses(p.units)


def fill(p: Prepared, x: Crossbars, w: Placement) -> Fill:
    """The first writing of all stored weights and their copies, all crossbars row by row."""
    ops, index, units = p.ops, p.index, p.units
    first = np.array([r.b == "weight" and r.phase != "backward" for r in ops.rows])[:, None]
    kept = first & w.stored & ~w.rewritten
    weights = sum_rows(np.where(kept, w.matrices * ops.k[:, index] * ops.n[:, index], 0.0))
    twice = np.where(units.equals("transposed_read", "copy") & ops.workload.training, 2.0, 1.0)
    each = pulses(units)
    seconds = np.where(weights > 0, x.rows * units.number("write_pulse") * each, 0.0)
    size = weights * units.number("weight_bits") / 8.0
    return Fill("write", weights * x.columns * w.copies * twice * each, each, seconds, size)


def slowest(ops: Operations, stage: Array) -> Array:
    """(R, D) the seconds of the slowest row of each phase, elsewhere 0."""
    found = np.zeros_like(stage)
    for phase in dict.fromkeys(row.phase for row in ops.rows):
        rows = ops.where(phase=phase)
        at = stage[rows].argmax(axis=0)
        here = np.arange(stage.shape[1])
        found[rows[at], here] = stage[rows[at], here]
    return found


def lane_work(ops: Operations, index: Array) -> tuple[Array, Array]:
    """(R, D) simple and special operations of what is no product."""
    vector = np.array([not row.matmul for row in ops.rows])[:, None]
    elements = np.where(vector, ops.count * ops.m, 0.0)[:, index]
    simple = elements * np.array([row.simple for row in ops.rows])[:, None]
    special = elements * np.array([row.special for row in ops.rows])[:, None]
    return simple, special


def moved(p: Prepared, w: Placement) -> Array:
    """(R, D) bytes of main memory: streams, what the tiles' buffers cannot keep, and weights
    that do not stay in crossbars."""
    ops, index, units = p.ops, p.index, p.units
    room = (1.0 - TILE_SHARE) * units.number("buffer") * units.number("tiles")
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
    weights = ops.k[:, index] * ops.n[:, index] * units.number("weight_bits") / 8.0
    return (found + np.where(w.rewritten, weights, 0.0)) * ops.count[:, index]


def buffered(p: Prepared, w: Placement) -> Array:
    """(R, D) bytes between the tiles' buffers and the digital unit or the lanes."""
    ops, index = p.ops, p.index
    vector = np.array([not row.matmul for row in ops.rows])[:, None]
    size = (ops.a_bytes + ops.b_bytes + ops.out_bytes)[:, index]
    return np.where(w.digital | vector, ops.count[:, index] * size, 0.0)


def memory_bytes(p: Prepared) -> Array:
    """(D,) bytes that lie in main memory: all that crossbars do not hold."""
    memory, index = p.ops.memory, p.index
    names = ("activations", "cache", "gradients", "optimizer")
    total = np.zeros(index.size)
    for name in names:
        total = total + memory[name][index]
    return total + np.where(p.reload, memory["weights"][index], 0.0)


def digital_seconds(p: Prepared, w: Placement, macs: Array) -> Array:
    """(R, D) seconds of the digital unit for so many multiply-accumulates."""
    units: Units = p.units
    rate = np.maximum(units.number("digital_macs"), 1.0) * units.number("clock")
    return np.where(w.digital, macs / rate, 0.0)
