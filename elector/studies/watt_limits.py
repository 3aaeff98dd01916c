"""What a board may draw, whatever the error of the model is: `--uncertainty` keeps to it.

A board that has a power limit gives way to it with its clock (elector.cost.power), so no draw of
the errors may have it draw more than that. In a hybrid each unit keeps its own limit; where every
unit has one, all of them together are a limit of the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from elector.base.table import Column
from elector.evaluation.resolve import StructureGroup, resolve

Array = np.ndarray
#: Settings of a machine that gives way to a limit of watts: the limit, and what it draws idle.
_LIMIT, _IDLE = "power_limit", "idle_power"


@dataclass(frozen=True, eq=False, repr=False)
class WattLimits:
    """What D designs may draw.

    whole : (D,) watts of the whole design, inf where nothing limits it.
    units : start of the names of a unit's parts of the energy -> (D,) watts of its limit, inf
        where a design has no such unit or it no limit; and (D,) watts that it draws idle.
    """

    whole: Array
    units: dict[str, tuple[Array, Array]]

    def most(self, power: Array, seconds: Array, parts: Mapping[str, Array]) -> Array:
        """Factor by which energy over time may grow, inf where nothing limits it.

        power [W], seconds : (S, D) of the whole design. parts : energy by part [J], each (S, D).
        """
        with np.errstate(divide="ignore"):
            most = self.whole / power
            for start, (limit, idle) in self.units.items():
                own = idle * seconds
                for name in sorted(parts):  # an order that no other design has a say in
                    if name.startswith(start):
                        own = own + parts[name]
                most = np.fmin(most, limit * seconds / own)
        return most


def watt_limits(columns: Mapping[str, Column], size: int) -> WattLimits:
    """What `size` designs may draw.

    columns : model, accelerator and dotted settings, each of `size` rows. Raises InputError for a
    setting that has no meaning.
    """
    limits = WattLimits(np.full(size, np.inf), {})
    for group in resolve(columns, size):
        if group.machine.hybrid is not None:
            _of_hybrid(group, limits)
        elif _LIMIT in group.units.numbers:
            limits.whole[group.rows] = group.units.number(_LIMIT)
    return limits


def _of_hybrid(group: StructureGroup, limits: WattLimits) -> None:
    """Puts in the limits of hybrids, those of units and of the whole."""
    whole = np.zeros(group.rows.size)
    assert group.machine.hybrid is not None
    members = group.machine.hybrid.members
    for member in members:
        units = member.units(group.units)
        if _LIMIT not in units.numbers:
            whole = whole + np.inf
            continue
        whole = whole + units.number(_LIMIT)
        if len(members) == 1:  # the whole is that unit
            break
        none = np.full(limits.whole.size, np.inf), np.zeros(limits.whole.size)
        limit, idle = limits.units.setdefault(f"{member.name}.", none)
        limit[group.rows], idle[group.rows] = units.number(_LIMIT), units.number(_IDLE)
    limits.whole[group.rows] = whole
