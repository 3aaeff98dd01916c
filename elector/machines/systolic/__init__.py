"""Systolic arrays: rows x cols cells, weight-, output- or input-stationary.

How long folds take stands in `folds`, of products in parts in `cutting`, what a design does in
`work`.
"""

from __future__ import annotations

import numpy as np

from elector.machines.contract import (
    Action,
    Case,
    EventModel,
    Machine,
    Part,
    Units,
)
from elector.machines.memories import standing_by
from elector.machines.systolic import defaults
from elector.machines.systolic.work import prepare

Array = np.ndarray

ACTIONS = {
    "mac": Action("mac", ("mac.{compute}", "energy"), core=True),
    "register": Action("register", ("register", "energy"), core=True),
    "sram read": Action("sram", ("sram", "read_energy"), "common_memory"),
    "sram write": Action("sram", ("sram", "write_energy"), "common_memory"),
    "vector memory read": Action("vector memory", ("sram", "read_energy"), "vector_memory"),
    "vector memory write": Action("vector memory", ("sram", "write_energy"), "vector_memory"),
    "accumulator read": Action("accumulators", ("sram", "read_energy"), "own_accumulators"),
    "accumulator write": Action("accumulators", ("sram", "write_energy"), "own_accumulators"),
    "vector": Action("vector", ("vector.fp32", "energy"), core=True),
    "special": Action("vector", ("vector.special", "energy"), core=True),
    "main memory": Action("main memory", ("dram.{memory}", "energy")),
    "interface": Action("interface", ("dram.{memory}", "interface_energy")),
}


def complete(units: Units) -> Units:
    """Settings left to the machine: a lane for each column, and what `defaults` has.

    `common_memory`, no setting, is one of the equal memories that the on-chip memory is made of,
    less the part in front of the arrays, which has a price of its own: what its price goes by.
    `own_accumulators` are those of one array, each of which has its own.
    """
    lanes, sums = units.number("vector_lanes"), units.number("accumulators")
    port = units.number("vector_memory_bandwidth")
    behind = np.maximum(units.number("sram") - units.number("vector_memory"), 0.0)
    sums = np.where(sums > 0, sums, defaults.sums(units))
    return units.replace(
        common_memory=behind / units.number("memories"),
        vector_memory_bandwidth=np.where(port > 0, port, defaults.port(units)),
        vector_lanes=np.where(lanes > 0, lanes, defaults.columns_of(units)),
        accumulators=sums,
        own_accumulators=sums / units.number("arrays"),
    )


def parts(units: Units) -> dict[str, Part]:
    """Area and standing power of the parts of the chip and its memory."""
    cells = units.number("rows") * units.number("cols") * units.number("arrays")
    lanes = units.number("vector_lanes")
    special = lanes / units.number("special_cycles")
    logic = ("logic", "leakage")
    memory = ("dram.{memory}", "interface_area")
    return {
        "array": Part(("mac.{compute}", "area"), cells, logic, True),
        "vector": Part(("vector.fp32", "area"), lanes, logic, True),
        "special": Part(("vector.special", "area"), special, logic, True),
        "sram": Part(("sram", "area"), units.number("sram"), ("sram", "leakage")),
        "accumulators": Part(("sram", "area"), units.number("accumulators"), ("sram", "leakage")),
        "interface": Part(memory, units.number("bandwidth"), logic, True),
        "main memory": Part(None, standing_by(units), ("dram.{memory}", "standby")),
    }


def paced(units: Units) -> Array:
    """(D,) bool, designs whose main memory keeps to its bandwidth: the peer's does not."""
    return ~units.equals("convention", "scalesim")


def events(case: Case) -> EventModel:
    """The event model, which is imported when a timeline is asked for."""
    from elector.machines.systolic.events import SystolicUnits

    return SystolicUnits(case)


SYSTOLIC = Machine(
    name="systolic",
    schema="systolic",
    description="systolic arrays with an on-chip memory and a vector unit",
    actions=ACTIONS,
    prepare=prepare,
    spares_zeros=True,
    parts=parts,
    complete=complete,
    native="datapath",
    clock="clock",
    traffic={"main memory": 1.0},
    paced=paced,
    constants=defaults.cited,
    events=events,
)
