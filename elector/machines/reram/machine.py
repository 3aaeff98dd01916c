"""The machine: what crossbars, digital unit, lanes and main memory do for a step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from elector.machines import memories
from elector.machines.contract import (
    Activity,
    Budget,
    Case,
    Cells,
    Count,
    Details,
    EventModel,
    Machine,
    Note,
    Overlap,
    Planned,
    Power,
    Remarks,
    Stream,
    Streams,
    Units,
    gradients_limit,
    sum_rows,
)
from elector.machines.reram.beside import buffered, memory_bytes
from elector.machines.reram.counts import ACTIONS, counts
from elector.machines.reram.geometry import (
    complete,
    effective_bits,
    lost_bits,
    pulses,
)
from elector.machines.reram.parts import parts
from elector.machines.reram.placement import (
    CrossbarPlan,
    CrossbarSite,
    Placement,
    place,
    plans,
    site,
)
from elector.machines.reram.products import CrossbarProducts, products
from elector.machines.reram.work import (
    cells,
    digital_macs,
    fill,
    loads,
    read_again,
    reads,
    rows_of,
    update_pulses,
    wear,
)
from elector.operations.rows import Operations

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class PreparedReram(Planned):
    """What the designs of a block share, and the plans that are tried.

    products : of the M pairs. known : the plans. sites : the last slice of designs that was
    asked for, some of those, and what their plans share.
    """

    ops: Operations
    index: Array
    units: Units
    details: bool
    products: CrossbarProducts
    known: tuple[CrossbarPlan, ...]
    sites: list[tuple[object, int, CrossbarSite]] = field(default_factory=list)

    def _site(self, part: slice | Array) -> CrossbarSite:
        """What the plans of some designs share; kept for the next plan of the same ones."""
        for asked, _, known in self.sites:
            if asked is part:
                return known
        if isinstance(part, slice):
            known = site(
                self.ops, self.known, self.products, self.index[part], self.units.take(part)
            )
            self.sites[:] = [(part, part.start or 0, known)]
            return known
        _, start, whole = self.sites[0]
        known = whole.take(part - start)
        self.sites[1:] = [(part, 0, known)]
        return known

    def least(self, part: slice | Array) -> Array:
        """(plans, D) seconds of each plan at least; inf where designs may not follow it."""
        return self._site(part).least

    def under(self, part: slice | Array, plan: Array, trial: bool = False) -> Activity:
        """What the designs of `part` do under the plans of these places (D,).

        plan : (D,) places. trial : whether only the seconds are wanted.
        """
        write, side, reload = (
            np.array([getattr(known, name) for known in self.known])[plan]
            for name in ("write", "side", "reload")
        )
        return _activity(place(self._site(part), write, side, reload), self.details, trial)


def prepare(ops: Operations, index: Array, units: Units, details: bool) -> PreparedReram:
    """The products of the pairs, looked up once.

    Where the workload's weights are narrower than the datapath's, so are the stored ones.
    """
    stored = units.number("weight_bits")
    units = units.replace(
        weight_bits=np.minimum(stored, 8.0 * ops.format.weight), given_bits=stored
    )
    known = plans(float(ops.streams[index].max(initial=1.0)))
    return PreparedReram(ops, index, units, details, products(ops), known)


def _activity(w: Placement, details: bool, trial: bool) -> Activity:
    """Seconds and counts of designs under their plans; of a trial, what decides between them."""
    s, ops, index, units = w.site, w.site.ops, w.site.index, w.site.units
    amounts = _amounts(w, trial)
    rows, busy = _rows(w, amounts)
    one = rows.of(np.ones(index.size), np.arange(len(ops.rows)))
    return Activity(
        busy={**busy},
        alone=one.alone,
        cycles=one.alone * units.number("clock"),
        counts=_counts(w, amounts, trial),
        executed=ops.executed[index],
        peak=s.x.total * s.x.peak + units.number("digital_macs") * units.number("clock"),
        limits=_limits(w),
        fuse=np.ones(index.size, dtype=bool),
        start=np.zeros(index.size),
        overlap=Overlap(
            one=one,
            streams=rows,
            beside=rows.beside_rows(),
            periods={"crossbars": np.ones(index.size)},
        ),
        power=Power(budget=Budget("write", "write", units.number("write_power"))),
        cells=None if trial else _cells(w, amounts),
        told=Remarks() if trial else _told(w, rows),
        details=_details(w, amounts) if details and not trial else None,
    )


def _cells(w: Placement, amounts: dict[str, Array]) -> Cells:
    """What writing wears out."""
    endurance = w.site.units.number("endurance")
    return Cells(wear(w, amounts["cells"]), endurance, fill(w))


def _told(w: Placement, rows: _Rows) -> Remarks:
    """What a result says beside the figures of all machines."""
    units = w.site.units
    extra = {
        "effective_bits": effective_bits(units),
        "weight_copies": np.where(w.reload | (w.site.needed == 0), 0.0, w.copies),
        "operand_crossbars": w.pool,
    }
    return Remarks(aside={"write": rows.pulses()}, extra=extra, notes=_notes(units))


def _details(w: Placement, amounts: dict[str, Array]) -> Details:
    """Bytes of each operation; crossbars have no tiles."""
    none = np.zeros_like(amounts["buffer"])
    return Details((none, none, none), (amounts["buffer"], amounts["moved"]))


def _notes(units: Units) -> dict[str, Note]:
    """Bits of cells that the workload's weights do not need."""
    given, bits = units.number("given_bits"), units.number("weight_bits")
    text = "weights are stored with the {bits} bits that the workload gives them, not with {given}"
    numbers = {"bits": (bits, "1"), "given": (given, "1")}
    return {text: Note(given > bits, numbers)}


def _counts(w: Placement, amounts: dict[str, Array], trial: bool) -> dict[str, Count]:
    """How often each action happens; of a trial, only those that a power limit asks for."""
    if not trial:
        return counts(w, amounts)
    written = amounts["cells"] * pulses(w.site.units)
    return {"write": Count(written, np.arange(w.site.index.size))}


def _amounts(w: Placement, trial: bool) -> dict[str, Array]:
    """(R, D) of what is counted beside the reads of crossbars."""
    again = read_again(w) if w.reload.any() else np.zeros(1)
    amounts = {
        "cells": cells(w),
        "macs": digital_macs(w),
        "moved": w.site.moved + again,
        "again": again,
    }
    if trial:
        return amounts
    simple, special = w.site.lane_work
    beside = np.array([not row.matmul for row in w.site.ops.rows])[:, None]
    here = rows_of(w, w.digital + 0.0) + beside
    bytes_ = np.where(here > 0, buffered(w.site.ops, w.site.index), 0.0)
    return {**amounts, "vector": simple, "special": special, "buffer": bytes_}


@dataclass(frozen=True, eq=False, repr=False)
class _Rows(Streams):
    """What the rows of any number of streams take, (R, D) seconds of all sequences.

    place : (R,) of a row among the products; -1. beside : on the digital unit, on lanes, and
    writing updates. update : of them, the last. again : of main memory for weights that do not
    stay: every stream waits. shared : for the rest, which streams share. slowest : (P, D) bool,
    the matrices that set the pace.
    """

    w: Placement
    place: Array
    beside: Array
    update: Array
    again: Array
    shared: Array
    slowest: Array

    def beside_rows(self) -> Array:
        """(R, D) bool, rows whose heads stand side by side."""
        rows = np.zeros(self.beside.shape, dtype=bool)
        rows[self.w.site.products.places] = self.w.written
        return rows

    def pulses(self) -> Array:
        """(R, D) seconds of writing with all sequences in one stream."""
        read = reads(self.w, np.ones(self.beside.shape[1]))
        return rows_of(self.w, read.pulses) + self.update

    def some(self, columns: Array) -> _Rows:
        """The streams of some of the designs."""
        names = ("beside", "update", "shared", "slowest")
        again = self.again if self.again.ndim < 2 else self.again[:, columns]
        of = {name: getattr(self, name)[:, columns] for name in names}
        return replace(self, w=self.w.take(columns), again=again, **of)

    def of(self, n: Array, rows: Array) -> Stream:
        """What one of n (D,) streams takes for some rows."""
        here = self.place[rows] >= 0
        some = self.place[rows][here]
        read = reads(self.w, n, some)
        compute, spare = self.beside[rows] / n, np.zeros((rows.size, n.size))
        matrix, room = np.zeros_like(spare), self.update[rows] / n
        compute[here] += read.alone
        memory = self.again[rows] + self.shared[rows] / n
        waits = np.maximum(memory - compute, 0.0)
        room[here] += read.pulses
        room += waits
        # What waits for main memory keeps its crossbars.
        spare[here] = np.where(read.spare > 0, read.spare + waits[here], 0.0)
        paced = self.slowest[some]
        matrices = self.w.site.products.matrices[some]
        matrix[here] = np.where(paced, read.matrix + waits[here] / matrices, 0.0)
        alone, share = np.maximum(compute, memory), np.broadcast_to(1.0 / n, spare.shape)
        if self.w.reload.any():
            share = share.copy()
            share[here] = np.where(self.w.rewritten[some], 1.0, share[here])
        held = {"crossbars": matrix, "spare crossbars": spare}
        return Stream(alone, alone, None, {}, held, room, share)


def _rows(w: Placement, amounts: dict[str, Array]) -> tuple[_Rows, dict[str, Array]]:
    """What rows take in streams, and resource -> (R, D) seconds of all sequences."""
    s, units, bandwidth = w.site, w.site.units, w.site.units.number("bandwidth")
    places = s.products.places
    stage, spare = loads(w)
    update, memory = update_pulses(w), amounts["moved"] / bandwidth
    rate = np.maximum(units.number("digital_macs"), 1.0) * units.number("clock")
    busy = {
        "crossbars": rows_of(w, stage),
        "spare crossbars": rows_of(w, spare),
        # Pulses of written operands go on side by side, as far as power allows.
        "write": update,
        "digital": amounts["macs"] / rate,
        "vector": s.lane_seconds,
        "memory": memory,
    }
    place_ = np.full(memory.shape[0], -1)
    place_[places] = np.arange(places.size)
    again = np.broadcast_to(amounts["again"] / bandwidth, memory.shape)
    beside = busy["digital"] + busy["vector"] + update
    return _Rows(w, place_, beside, update, again, memory - again, stage > 0), busy


def _limits(w: Placement) -> dict[str, tuple[Array, Array]]:
    """Sentence -> what is needed and what there is."""
    s, units, x = w.site, w.site.units, w.site.x
    size, zero = x.rows * x.cols * units.number("cell_bits") / 8.0, np.zeros(s.index.size)
    unread = sum_rows((w.lost & s.unreadable) + 0.0)
    no_unit = sum_rows((w.lost & ~s.unreadable) + 0.0)
    vector = x.rows * units.number("input_bits") / 8.0 + x.weights * s.ops.format.activation
    reserved = np.where(w.ladder, w.pool, 0.0)
    least = np.where(w.written, s.each, 0.0).max(axis=0, initial=0.0)
    cut = np.where(units.number("active_rows") <= 1.0, lost_bits(units), 0.0)
    return gradients_limit(s.ops, s.index) | {
        "crossbars: the weights need {needed} of cells, the chip has {available}": (
            (s.needed * w.copies + reserved) * size,
            np.where(w.reload, np.inf, x.total * size),
        ),
        "crossbars for computed operands: need {needed} of cells, {available} are left "
        "(accelerator.digital_macs gives such products a unit)": (least * size, w.pool * size),
        "the input's gradient: no unit takes it (set accelerator.transposed_read or "
        "accelerator.digital_macs)": (unread, zero),
        "products of two computed operands: there is no digital unit (set "
        "accelerator.digital_macs, or accelerator.dynamic to write)": (no_unit, zero),
        "tile buffer: an input and an output vector of a crossbar need {needed}, it has "
        "{available}": (vector, units.number("buffer")),
        "converters: accelerator.adc_bits does not resolve a single row (a wider converter, or "
        "fewer accelerator.cell_bits or accelerator.dac_bits)": (cut, zero),
        **memories.limit(units),
        "main memory: needs {needed}, has {available}": (
            memory_bytes(s.ops, s.index)
            + np.where(w.reload, s.ops.memory["weights"][s.index], 0.0),
            units.number("memory_capacity"),
        ),
    }


def events(case: Case) -> EventModel:
    """The event model, which is imported when a timeline is asked for."""
    from elector.machines.reram.events import ReramUnits

    return ReramUnits(case)


RERAM = Machine(
    name="reram",
    schema="reram",
    description="ReRAM crossbars that hold the weights, with a digital unit beside",
    actions=ACTIONS,
    prepare=prepare,
    parts=parts,
    complete=complete,
    native="datapath",
    clock="clock",
    traffic={"main memory": 1.0},
    events=events,
)
