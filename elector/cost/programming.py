"""Putting weights in place: what it takes to write them into cells before the first step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elector.cost.pricing import Prices
from elector.machines.contract import Activity, Hybrid, Machine, Units

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


@dataclass(frozen=True, eq=False, repr=False)
class UnitPlaced:
    """Writing the weights of one unit, each (D,).

    action : what is paid for each of `pulses`. energy : J of them. waits : what writing waits for
    -> seconds. carried : link -> bytes and J that come over it. held : whether any weight stays.
    writes : of the most written cell.
    """

    action: str
    pulses: Array
    energy: Array
    waits: dict[str, Array]
    carried: dict[str, tuple[Array, Array]]
    held: Array
    writes: Array

    @property
    def seconds(self) -> Array:
        """(D,) of what takes longest; 0 where no weight stays."""
        longest = next(iter(self.waits.values()))
        for seconds in self.waits.values():
            longest = np.maximum(longest, seconds)
        return np.where(self.held, longest, 0.0)

    @property
    def joules(self) -> Array:
        """(D,) of pulses and links; 0 where no weight stays."""
        energy = self.energy
        for _, joules in self.carried.values():
            energy = energy + joules
        return np.where(self.held, energy, 0.0)


def units_placed(
    machine: Machine, activity: Activity, prices: Prices, units: Units
) -> dict[str, UnitPlaced]:
    """Start of the names of a unit -> writing the weights that stay in its cells.

    They come over the slowest link of the unit, before or while they are written, within its write
    power. Units whose weights lie in no cells are left out.
    """
    hybrid, members = machine.hybrid, activity.members
    activities = (activity,) if members is None else members.activities
    names = [f"{m.name}." for m in hybrid.members] if hybrid else [""]
    written: dict[str, UnitPlaced] = {}
    for name, unit in zip(names, activities, strict=True):
        if unit.cells is None:
            continue
        fill = unit.cells.fill
        action = f"{name}{fill.action}"
        energy = fill.pulses * prices.actions[action].value
        waits, carried = {"writing all at once": fill.seconds}, {}
        if unit.power is not None and unit.power.budget is not None:
            waits["write power"] = energy / unit.power.budget.limit
        for over, (size, rate) in _over_links(hybrid, name[:-1], fill.size, units).items():
            waits[over] = size / rate
            carried[over] = size, size * prices.actions[over].value
        held = fill.pulses > 0
        written[name] = UnitPlaced(action, fill.pulses, energy, waits, carried, held, fill.wear)
    return written


def _over_links(
    hybrid: Hybrid | None, unit: str, size: Array, units: Units
) -> dict[str, tuple[Array, Array]]:
    """Link of a unit -> (D,) bytes of weights that come over it, and bytes a second: all of them
    over the slowest, of equal ones the first."""
    links = [link.name for link in (hybrid.links if hybrid else ()) if unit in link.between]
    if not links:
        return {}
    rates = np.stack([units.number(f"links.{name}.bandwidth") for name in links])
    slowest = rates.argmin(axis=0)
    return {
        f"link {name}": (np.where(slowest == i, size, 0.0), rates[i])
        for i, name in enumerate(links)
    }


def placed(machine: Machine, activity: Activity, prices: Prices, units: Units) -> Placed | None:
    """Writing the weights that stay in cells, within the write power of each unit.

    Units follow one another, and what stands idle meanwhile draws what it always draws. None where
    a machine holds no weights.
    """
    written = units_placed(machine, activity, prices, units)
    if not written:
        return None
    zero = np.zeros(units.size)
    seconds, joules, pulses, writes = zero, zero, zero, zero
    for unit in written.values():
        seconds = seconds + unit.seconds
        joules = joules + unit.joules
        pulses = pulses + unit.pulses
        writes = np.maximum(writes, np.where(unit.held, unit.writes, 0.0))
    standing = zero
    for rate in prices.leakage.values():
        standing = standing + rate.value
    return Placed(seconds, joules + standing * seconds, pulses, writes)
