"""The machine: what crossbars, digital unit, lanes and main memory do for a step."""

from __future__ import annotations

import numpy as np

from elector.machines.contract import (
    Activity,
    Machine,
    Units,
    gradients_limit,
    nothing_ahead,
    sum_rows,
)
from elector.machines.reram.counts import ACTIONS, counts
from elector.machines.reram.geometry import (
    Crossbars,
    complete,
    crossbars,
    datapath_bits,
    effective_bits,
    lost_bits,
)
from elector.machines.reram.parts import parts
from elector.machines.reram.placement import Placement, Prepared, place
from elector.machines.reram.work import (
    Reads,
    budget,
    buffered,
    cells,
    digital_seconds,
    fill,
    lane_work,
    memory_bytes,
    moved,
    reads,
    slowest,
    update_pulses,
    wear,
)
from elector.operations.rows import Operations

Array = np.ndarray


def prepare(ops: Operations, index: Array, units: Units, details: bool) -> Prepared:
    """The designs under the first plan; see `Prepared.allowed` and `Prepared.under`.

    Where the workload's weights are narrower than the datapath's, so are the stored ones.
    """
    own, stored = datapath_bits(units), units.number("weight_bits")
    narrow = np.minimum(own, 8.0 * ops.format.weight)
    units = units.replace(weight_bits=np.where(stored == own, narrow, stored))
    no = np.zeros(index.size, dtype=bool)
    return Prepared(ops, index, units, details, no, np.full(index.size, np.inf), no)


def activity(prepared: object, part: slice) -> Activity:
    """Seconds and counts of the designs in `part` under their plans."""
    assert isinstance(prepared, Prepared)
    p = prepared.take(part)
    x = crossbars(p.units)
    w, ops, index, units = place(p, x), p.ops, p.index, p.units
    r, update, written = reads(p, x, w), update_pulses(p, x), cells(p, x, w)
    amounts = _amounts(p, w, written)
    busy = _busy(p, w, r, amounts, update)
    beside = busy["digital"] + busy["vector"] + update
    compute, serial = r.alone + beside, r.serial + beside
    weights, room, ahead = nothing_ahead(len(ops.rows), index)
    return Activity(
        busy={**busy},
        alone=np.maximum(compute, busy["memory"]),
        compute=compute,
        cycles=np.maximum(compute, busy["memory"]) * units.number("clock"),
        shortest=np.ones(index.size),
        counts=counts(p, x, w, amounts),
        fuse=np.ones(index.size, dtype=bool),
        weights=weights,
        room=room,
        bandwidth=ahead,
        start=np.zeros(index.size),
        executed=ops.macs[index],
        peak=x.total * x.peak + units.number("digital_macs") * units.number("clock"),
        limits=_limits(p, x, w),
        resources=tuple(busy),
        periods={"crossbars": np.ones(index.size)},
        budget=budget(p, r, update),
        serial=np.maximum(serial, busy["memory"]),
        beside=w.written,
        wear=wear(p, x, w, written),
        endurance=units.number("endurance"),
        fill=fill(p, x, w),
        extra={
            "effective_bits": effective_bits(units),
            "weight_copies": np.where(p.reload, 0.0, w.copies),
            "operand_crossbars": w.pool,
        },
        tiles=(np.zeros_like(w.k),) * 3 if p.details else None,
        traffic=(amounts["buffer"], amounts["moved"]) if p.details else None,
    )


def _amounts(p: Prepared, w: Placement, written: Array) -> dict[str, Array]:
    """(R, D) of what is counted beside the reads of crossbars."""
    ops, index = p.ops, p.index
    macs = (ops.count * ops.batch * ops.m * ops.k * ops.n)[:, index]
    simple, special = lane_work(ops, index)
    return {
        "cells": written,
        "macs": np.where(w.digital, macs, 0.0),
        "vector": simple,
        "special": special,
        "buffer": buffered(p, w),
        "moved": moved(p, w),
    }


def _busy(
    p: Prepared, w: Placement, r: Reads, amounts: dict[str, Array], update: Array
) -> dict[str, Array]:
    """Resource -> (R, D) seconds."""
    units = p.units
    cycles = amounts["vector"] + amounts["special"] * units.number("special_cycles")
    return {
        "crossbars": slowest(p.ops, r.stage),
        "spare crossbars": r.spare,
        # Pulses of written operands go on side by side, as far as power allows.
        "write": update,
        "digital": digital_seconds(p, w, amounts["macs"]),
        "vector": cycles / (units.number("vector_lanes") * units.number("clock")),
        "memory": amounts["moved"] / units.number("bandwidth"),
    }


def _limits(p: Prepared, x: Crossbars, w: Placement) -> dict[str, tuple[Array, Array]]:
    """Sentence -> what is needed and what there is."""
    units, size = p.units, x.rows * x.cols * p.units.number("cell_bits") / 8.0
    zero = np.zeros(p.index.size)
    back = np.array([row.phase == "backward" for row in p.ops.rows])[:, None]
    weight = np.array([row.b in ("weight", "reuse") for row in p.ops.rows])[:, None]
    unread = sum_rows(np.where(w.lost & back & weight, 1.0, 0.0))
    no_unit = sum_rows(np.where(w.lost & ~(back & weight), 1.0, 0.0))
    vector = x.rows * units.number("input_bits") / 8.0 + x.weights * p.ops.format.activation
    available = np.where(p.reload, np.inf, x.total * size)
    reserved = np.where(np.isinf(p.side), 0.0, w.pool)
    cut = np.where(units.number("active_rows") <= 1.0, lost_bits(units), 0.0)
    return gradients_limit(p.ops, p.index) | {
        "crossbars: the weights need {needed} of cells, the chip has {available}": (
            (w.needed * w.copies + reserved) * size,
            available,
        ),
        "crossbars for computed operands: need {needed} of cells, {available} are left "
        "(accelerator.digital_macs gives such products a unit)": (w.least * size, w.pool * size),
        "the input's gradient: no unit takes it (set accelerator.transposed_read or "
        "accelerator.digital_macs)": (unread, zero),
        "products of two computed operands: there is no digital unit (set "
        "accelerator.digital_macs, or accelerator.dynamic to write)": (no_unit, zero),
        "tile buffer: an input and an output vector of a crossbar need {needed}, it has "
        "{available}": (vector, units.number("buffer")),
        "converters: accelerator.adc_bits does not resolve a single row (a wider converter, or "
        "fewer accelerator.cell_bits or accelerator.dac_bits)": (cut, zero),
        "main memory: needs {needed}, has {available}": (
            memory_bytes(p),
            units.number("memory_capacity"),
        ),
    }


RERAM = Machine(
    name="reram",
    schema="reram",
    description="ReRAM crossbars that hold the weights, with a digital unit beside",
    actions=ACTIONS,
    prepare=prepare,
    activity=activity,
    parts=parts,
    complete=complete,
    native="datapath",
    planned=True,
)
