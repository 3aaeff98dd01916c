"""Seconds of the products that run in crossbars, and what writing them takes.

crossbars        layers have crossbars of their own: the slowest matrix of each phase. Experts of a
                 layer work side by side, each on its own tokens: the layer waits for the busiest
spare crossbars  written operands, from the first pulse of their writing to their last vector
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elector.machines.contract import Fill, sum_rows
from elector.machines.reram.geometry import pulses
from elector.machines.reram.placement import Placement
from elector.machines.reram.products import held

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Reads:
    """Seconds of one of n streams in crossbars, (P, D) of some products.

    alone : with nothing else beside. pulses : of them, those that write. matrix : of them, those
    in which one stored matrix is read. spare : of them, those in which crossbars for what
    is written are written or read. The last sum is converted while others read.
    """

    alone: Array
    pulses: Array
    matrix: Array
    spare: Array


def reads(w: Placement, n: Array, some: Array | slice = slice(None)) -> Reads:
    """One of n (D,) streams; `some` of the products.

    A stream deals its vectors to the copies of a matrix; its operands stand side by side as far
    as the plan has crossbars for them; weights that do not stay are written once for all
    streams, and each of them waits for it.
    """
    s, p = w.site, w.site.products
    count, vector, rows, tail = p.count[some], s.vector[some], s.rows[some], s.x.tail
    uses = w.kept[some] * count
    own = uses * p.rounds(n, w.copies, some) * vector
    rounds = w.written[some] * count * np.ceil(p.sets[some] / n / w.fit[some])
    spare, writes = rounds * (rows + p.vectors[some] * vector), rounds
    if w.reload.any():
        runs = w.rewritten[some] * count * w.turns[some] * w.groups[some]
        # Experts stand side by side as far as there is room; no group waits longer than for all.
        group = np.minimum(p.through(n, some), np.ceil(p.all_vectors[some] / n) / w.groups[some])
        spare, writes = spare + runs * (rows + group * vector), rounds + runs
    alone = own + spare + (uses + writes) * tail
    return Reads(alone, writes * rows, own / p.matrices[some], spare)


def loads(w: Placement) -> tuple[Array, Array]:
    """(P, D) seconds of one stored matrix, and of the crossbars for what is written.

    Vectors of other sequences fill what one leaves free, and so do their operands.
    """
    s, p = w.site, w.site.products
    alike = np.where(p.routed, p.through(np.ones(w.copies.shape)), p.all_vectors)
    stage = w.kept * p.count / p.matrices * (alike / w.copies) * s.vector
    spare = w.written * p.count * p.sets / w.fit * (s.rows + p.vectors * s.vector)
    if w.reload.any():
        runs = w.rewritten * p.count * w.turns / w.beside
        spare = spare + runs * (p.taken * s.rows + p.all_vectors * s.vector)
    return _slowest(w, stage), spare


def _slowest(w: Placement, stage: Array) -> Array:
    """(P, D) the seconds of the slowest product of each phase, elsewhere 0."""
    s, slowest = w.site, np.zeros_like(stage)
    phases = [s.ops.rows[r].phase for r in s.products.places]
    here = np.arange(stage.shape[1])
    for phase in dict.fromkeys(phases):
        rows = np.flatnonzero([other == phase for other in phases])
        at = rows[stage[rows].argmax(axis=0)]
        slowest[at, here] = stage[at, here]
    return slowest


def cells(w: Placement) -> Array:
    """(R, D) cells written, each of them with all its pulses."""
    s, p = w.site, w.site.products
    operand = p.count * p.cells * s.x.columns
    count = rows_of(w, w.written * p.sets * operand + w.rewritten * p.taken * operand)
    lies = held(s.ops)
    update = np.flatnonzero(lies.any(axis=1))
    if update.size:
        twice = np.where(s.units.equals("transposed_read", "copy"), 2.0, 1.0)
        values = np.where(lies, s.ops.count * s.ops.m, 0.0)[update][:, s.index]
        changed = values * s.x.columns * w.copies * twice
        count[update] = np.where(w.reload, 0.0, changed)
    return count


def update_pulses(w: Placement) -> Array:
    """(R, D) seconds of writing all crossbars row by row, shared out over the updates."""
    s = w.site
    shares = np.zeros((len(s.ops.rows), s.index.size))
    lies = held(s.ops) & (s.ops.count > 0)
    update = np.flatnonzero(lies.any(axis=1))
    if update.size:
        here = lies[update][:, s.index] & ~w.reload
        seconds = s.x.rows * pulses(s.units) * s.units.number("write_pulse")
        shares[update] = np.where(here, seconds / np.maximum(sum_rows(here + 0.0), 1.0), 0.0)
    return shares


def digital_macs(w: Placement) -> Array:
    """(R, D) multiply-accumulates of the digital unit."""
    return rows_of(w, w.digital * w.site.products.macs)


def read_again(w: Placement) -> Array:
    """(R, D) bytes of main memory: weights that do not stay in crossbars."""
    p = w.site.products
    size = p.count * p.taken * p.cells * w.site.units.number("weight_bits") / 8.0
    return rows_of(w, w.rewritten * size)


def rows_of(w: Placement, values: Array) -> Array:
    """(R, D) of (P, D) values of the products."""
    rows = np.zeros((len(w.site.ops.rows), values.shape[1]))
    rows[w.site.products.places] = values
    return rows


def wear(w: Placement, written: Array) -> Array:
    """(D,) pulses the most written cell takes in a step; written : (R, D) cells.

    Written operands take turns in all crossbars that hold no weights.
    """
    s, p = w.site, w.site.products
    turning = sum_rows(written[p.places]) / (w.spare.clip(1.0) * s.x.rows * s.x.cols)
    weights = np.where(held(s.ops)[:, s.index] & (written > 0), 1.0, 0.0).max(axis=0)
    return np.maximum(turning, weights) * pulses(s.units)


def fill(w: Placement) -> Fill:
    """The first writing of all stored weights and their copies, all crossbars row by row."""
    s, p, units = w.site, w.site.products, w.site.units
    kept = p.first & w.kept
    weights = sum_rows(np.where(kept, p.matrices * p.among * p.cells, 0.0))
    copied = units.equals("transposed_read", "copy") & s.ops.workload.training
    each = pulses(units)
    seconds = np.where(weights > 0, s.x.rows * units.number("write_pulse") * each, 0.0)
    size = weights * units.number("weight_bits") / 8.0
    written = weights * s.x.columns * w.copies * np.where(copied, 2.0, 1.0)
    return Fill("write", written * each, each, seconds, size)
