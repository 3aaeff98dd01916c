"""How often each action happens: reads of crossbars by phase, pulses, digital work, bytes."""

from __future__ import annotations

import numpy as np

from elector.machines.contract import Action, Count, Units
from elector.machines.reram.geometry import Crossbars, crossbars, pulses
from elector.machines.reram.placement import Placement, Prepared

Array = np.ndarray

ACTIONS = {
    "array": Action("array", ("reram.{design}", "array")),
    "dac": Action("dac", ("reram.{design}", "dac * reram.dac_{dac_bits}:energy_factor")),
    "sample": Action("sample", ("reram.{design}", "sample")),
    "adc": Action("adc", ("reram.{design}", "adc * reram.adc_{adc_bits}:energy_factor")),
    "shift": Action("shift", ("reram.{design}", "shift")),
    "register": Action("register", ("reram.{design}", "register")),
    "tile": Action("tile", ("reram.{design}", "tile")),
    "write": Action("write", ("reram", "write")),
    "digital": Action("digital", ("mac.{compute}", "energy + register_bytes * register:energy")),
    "vector": Action("vector", ("vector.fp32", "energy")),
    "special": Action("vector", ("vector.special", "energy")),
    "buffer": Action("buffer", ("reram.{design}", "buffer_energy")),
    "main memory": Action("main memory", ("dram.{memory}", "energy")),
    "interface": Action("interface", ("dram.{memory}", "interface_energy")),
}


def counts(p: Prepared, x: Crossbars, w: Placement, amounts: dict[str, Array]) -> dict[str, Count]:
    """Action -> how often it happens.

    amounts : (R, D) of cells (written), macs (digital), vector, special, buffer, moved.
    """
    found = _reads(p, x, w)
    found |= {
        "write": amounts["cells"] * pulses(p.units),
        "digital": amounts["macs"],
        "vector": amounts["vector"],
        "special": amounts["special"],
        "buffer": amounts["buffer"],
        "main memory": amounts["moved"],
        "interface": amounts["moved"],
    }
    here = np.arange(p.index.size)
    return {name: Count(found[name], here) for name in ACTIONS}


def _reads(p: Prepared, x: Crossbars, w: Placement) -> dict[str, Array]:
    """(R, D) of what happens in every phase of every vector.

    Lines are driven in every crossbar that lies beside; sums are converted in every crossbar
    that lies below, once for each group of lines that is driven.
    """
    ops, index = p.ops, p.index
    k, n, span = ops.k[:, index], ops.n[:, index], ops.span[:, index]
    grows = {side: np.array([row.grows == side for row in ops.rows])[:, None] for side in "kn"}
    growing = {side: np.where(here, span, 0.0) for side, here in grows.items()}
    active = w.stored | w.written
    phases = np.where(active, ops.count[:, index] * w.sets * w.vectors * x.phases, 0.0)
    beside = np.where(w.stored, x.stored_across(n), x.mean_across(n, growing["n"]))
    below = x.conversions(k, x.rows, growing["k"])
    # Driven from the columns: a column of every slice, and rows are converted.
    beside = np.where(w.turned, x.columns * np.ceil(n / x.rows), beside)
    below = np.where(w.turned, x.conversions(k, x.cols, growing["k"]), below)
    driven, results = phases * k * beside, phases * n * x.results * below
    return {
        "array": phases * k * n * x.columns,
        "dac": driven,
        "sample": phases * n * x.columns * below,
        "adc": results,
        "shift": results,
        "register": driven + results,
        "tile": driven + results,
    }


def peak_counts(units: Units) -> dict[str, Array]:
    """Action -> (D,) times a second with every crossbar busy."""
    x = crossbars(units)
    steps = np.ceil(x.rows / x.driven)
    phases = x.total / (steps * x.forward)
    results = phases * steps * x.cols * x.results / x.columns
    driven = phases * x.rows
    return {
        "array": phases * x.rows * x.cols,
        "dac": driven,
        "sample": phases * steps * x.cols,
        "adc": results,
        "shift": results,
        "register": driven + results,
        "tile": driven + results,
    }
