"""What is said of GPUs beside their results: notes, what a design does not fit, and what would."""

from __future__ import annotations

import numpy as np

from elector.describe.workload import Workload
from elector.machines.contract import Note, Units, gradients_limit
from elector.machines.gpu.automatic import chips_of
from elector.machines.gpu.kernels import Device
from elector.machines.gpu.stacks import VARIANTS
from elector.operations.rows import Operations

Array = np.ndarray

#: By how much data sheets round a rate (8.1 Tflop/s for the 8.14 of a T4's lanes).
ROUNDED = 0.01


def of_rates(units: Units, d: Device) -> dict[str, Note]:
    """Special functions that the lanes cannot keep up with, and lanes beyond the rate of fp32."""
    given, most = units.number("special_per_cycle"), d.special / (d.sms * d.clock)
    beyond_lanes = given > most * (1.0 + ROUNDED)
    text = "lanes keep up with {most} special functions a clock and SM, not with {given}"
    beyond = units.number("vector_rate") > units.number("fp32_rate")
    return {
        text: Note(beyond_lanes, {"most": (most, "1"), "given": (given, "1")}),
        "accelerator.vector_rate counts as accelerator.fp32_rate at most": Note(beyond),
    }


def of_stack(workload: Workload, units: Units) -> dict[str, Note]:
    """Notes on the stack of D designs.

    workload : theirs. units : their settings.
    """
    return _foreign(workload, units) | _without_effect(workload, units.size)


def _foreign(workload: Workload, units: Units) -> dict[str, Note]:
    """Stacks that have no release for a family of chips: what `auto` never takes."""
    stack, names = workload.implementation, units.names["architecture"]
    chips = chips_of(stack)
    lacking = [chips is not None and name not in chips for name in names[0]]
    if not any(lacking):
        return {}
    text = f"{stack} has no release for chips of this family: simulated as if it had"
    return {text: Note(np.array(lacking)[names[1]])}


def _without_effect(workload: Workload, size: int) -> dict[str, Note]:
    """Variants of a stack that differ from it in 8 bits and fewer, asked for in another format.

    size : number of designs.
    """
    stack = workload.implementation
    if stack not in VARIANTS or workload.format.quantises:
        return {}
    text = f"{stack} differs from {VARIANTS[stack]} in products of 8 bits and fewer alone"
    return {text: Note(np.ones(size, dtype=bool))}


def limits(
    ops: Operations, units: Units, index: Array, reserved: float, clock: Array
) -> dict[str, tuple[Array, Array]]:
    """Why a design is infeasible -> (D,) what it needs and (D,) what is there.

    index : (D,) pair of each design. reserved : bytes of main memory held by context and libraries.
    clock : (D,) highest clock [Hz].
    """
    needed = np.zeros(index.size)
    for values in ops.memory.values():
        needed = needed + values[index]
    above = (clock > units.number("boost_clock")) + 0.0
    return gradients_limit(ops, index) | {
        "accelerator.clock is above accelerator.boost_clock: no voltage is known there": (
            above,
            np.zeros(index.size),
        ),
        "main memory: needs {needed}, has {available}": (
            needed + reserved,
            units.number("memory_capacity"),
        ),
    }


def largest(ops: Operations, units: Units, index: Array, reserved: float) -> Array:
    """(D,) largest batch whose activations and cache fit beside what does not depend on it.

    index, reserved : as for `limits`.
    """
    memory, batch = ops.memory, ops.workload.batch[index]
    fixed = reserved + (memory["weights"] + memory["gradients"] + memory["optimizer"])[index]
    each = (memory["activations"] + memory["cache"])[index] / batch
    left = np.maximum(units.number("memory_capacity") - fixed, 0.0)
    return np.floor(left / np.maximum(each, 1e-9))
