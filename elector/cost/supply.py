"""What a clock asks of a node: a supply voltage, and with it energy; or more than there is.

Prices hold at the nominal supply of a node. Boards raise it along a straight line with their
clock (Mei et al. 2017, A survey and measurement study of GPU DVFS, arXiv 1610.01784); with f the
clock over the highest that published silicon of the node has,

    V(f) / V(nominal) = max(1, (1 - slope (1 - f)) / nominal)

The energy of an action of the core follows V^2, the leakage of logic V. The idle power of a die
(overhead.idle_power) follows the clock alone: the chips that it comes from run at their own supply,
and how much of it is a clock and how much an interface is not published. Rows: logic.clock,
logic.supply_slope and logic.nominal_supply.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from elector.cost.pricing import Prices, rate
from elector.machines.activity import CLOCK
from elector.machines.contract import Activity, Machine, Units
from elector.technology import Technology

Array = np.ndarray

LOGIC = "logic"
#: What the tables say of it.
QUANTITIES = ("clock", "supply_slope", "nominal_supply")


def highest(units: Units, technology: Technology) -> Array:
    """(D,) highest clock of published silicon of each design's node [Hz]."""
    return rate(technology, units, (LOGIC, "clock"), "").value


def voltage(machine: Machine, units: Units, technology: Technology) -> Array:
    """(D,) supply voltage over the nominal one at which the prices hold."""
    if not machine.clock:
        return np.ones(units.size)
    share = units.number(machine.clock) / highest(units, technology)
    slope, nominal = (rate(technology, units, (LOGIC, name), "").value for name in QUANTITIES[1:])
    return np.maximum((1.0 - slope * (1.0 - share)) / nominal, 1.0)


def supplied(machine: Machine, units: Units, prices: Prices, technology: Technology) -> Prices:
    """Prices at the supply that each design's clock asks for.

    A design at a clock that the nominal supply is enough for keeps its prices, bit for bit.
    """
    volts = voltage(machine, units, technology)
    higher = volts > 1.0
    if not higher.any():
        return prices
    law = [rate(technology, units, (LOGIC, name), "").group for name in QUANTITIES]
    behind = [np.where(higher, group, 0) for group in law]
    actions = {
        name: each.times(volts**2).resting_on(*behind) if machine.actions[name].core else each
        for name, each in prices.actions.items()
    }
    logic = [name for name, part in machine.parts(units).items() if part.of_area]
    leakage = {
        name: each.times(volts).resting_on(*behind) if name in logic else each
        for name, each in prices.leakage.items()
    }
    return replace(prices, actions=actions, leakage=leakage)


def reachable(
    machine: Machine, units: Units, activity: Activity, technology: Technology
) -> Activity:
    """The activity, infeasible where no silicon of the node reaches the clock."""
    if not machine.clock:
        return activity
    limit = {CLOCK: (units.number(machine.clock), highest(units, technology))}
    return replace(activity, limits=activity.limits | limit)
