"""How often each action happens: reads of crossbars by phase, pulses, digital work, bytes."""

from __future__ import annotations

import numpy as np

from elector.machines.contract import Action, Count
from elector.machines.reram.geometry import pulses
from elector.machines.reram.placement import Placement
from elector.machines.reram.work import rows_of

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
    "digital": Action(
        "digital", ("mac.{compute}", "energy + register_bytes * register:energy"), core=True
    ),
    "vector": Action("vector", ("vector.fp32", "energy"), core=True),
    "special": Action("vector", ("vector.special", "energy"), core=True),
    "buffer": Action("buffer", ("reram.{design}", "buffer_energy")),
    "main memory": Action("main memory", ("dram.{memory}", "energy")),
    "interface": Action("interface", ("dram.{memory}", "interface_energy")),
}


def counts(w: Placement, amounts: dict[str, Array]) -> dict[str, Count]:
    """Action -> how often it happens.

    amounts : (R, D) of cells (written), macs (digital), vector, special, buffer, moved.
    """
    times = _reads(w) | {
        "write": amounts["cells"] * pulses(w.site.units),
        "digital": amounts["macs"],
        "vector": amounts["vector"],
        "special": amounts["special"],
        "buffer": amounts["buffer"],
        "main memory": amounts["moved"],
        "interface": amounts["moved"],
    }
    here = np.arange(w.site.index.size)
    return {name: Count(times[name], here) for name in ACTIONS}


def _reads(w: Placement) -> dict[str, Array]:
    """(R, D) of what happens in every phase of every vector.

    Lines are driven in every crossbar that lies beside; sums are converted in every crossbar
    that lies below, once for each group of lines that is driven.
    """
    s, p, x = w.site, w.site.products, w.site.x
    k, n = p.mean_k, p.mean_n
    phases = np.where(s.stored | w.written, p.count * p.all_vectors * x.phases, 0.0)
    beside = np.where(s.stored, x.stored_across(n), x.mean_across(n, p.span_n))
    below = x.conversions(k, x.rows, p.span_k)
    if s.turned.any():  # from the columns: a column of every slice, and rows are converted
        beside = np.where(s.turned, x.columns * np.ceil(n / x.rows), beside)
        below = np.where(s.turned, x.conversions(k, x.cols, p.span_k), below)
    driven, results = phases * k * beside, phases * n * x.results * below
    amounts = {
        "array": phases * k * n * x.columns,
        "dac": driven,
        "sample": phases * n * x.columns * below,
        "adc": results,
        "shift": results,
        "register": driven + results,
        "tile": driven + results,
    }
    return {name: rows_of(w, values) for name, values in amounts.items()}
