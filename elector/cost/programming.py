"""Putting weights in place: what it takes to write them into cells before the first step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elector.cost.pricing import Prices
from elector.machines.contract import Activity, Machine, Units

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Placed:
    """Seconds, joules, pulses and writes of the most written cell, each (D,).

    seconds : (D,) that writing takes.
    """

    seconds: Array
    joules: Array
    pulses: Array
    writes: Array


def placed(machine: Machine, activity: Activity, prices: Prices, units: Units) -> Placed | None:
    """Writing the weights that stay in cells, within the write power of each unit.

    They come over the slowest link of the unit, before or while they are written; units follow
    one another, and what stands idle meanwhile draws what it always draws. None where a machine
    holds no weights.
    """
    hybrid, members = machine.hybrid, activity.members
    activities = (activity,) if members is None else members.activities
    names = [f"{m.name}." for m in hybrid.members] if hybrid else [""]
    if all(unit.cells is None for unit in activities):
        return None
    zero = np.zeros(units.size)
    seconds, joules, pulses, writes = zero, zero, zero, zero
    for name, unit in zip(names, activities, strict=True):
        if unit.cells is None:
            continue
        fill = unit.cells.fill
        energy = fill.pulses * prices.actions[f"{name}{fill.action}"].value
        time = fill.seconds
        if unit.power is not None and unit.power.budget is not None:
            time = np.maximum(time, energy / unit.power.budget.limit)
        for link in hybrid.links if hybrid else ():
            if name[:-1] in link.between:
                time = np.maximum(time, fill.size / units.number(f"links.{link.name}.bandwidth"))
                energy = energy + fill.size * prices.actions[f"link {link.name}"].value
        held = fill.pulses > 0
        seconds = seconds + np.where(held, time, 0.0)
        joules = joules + np.where(held, energy, 0.0)
        pulses = pulses + fill.pulses
        writes = np.maximum(writes, np.where(held, fill.wear, 0.0))
    standing = zero
    for rate in prices.leakage.values():
        standing = standing + rate.value
    return Placed(seconds, joules + standing * seconds, pulses, writes)
