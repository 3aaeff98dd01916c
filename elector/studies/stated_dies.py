"""Dies whose area a data sheet states: what draws of the constants have no say in.

The part of a die that the overhead of all machines leaves is a constant (gpu.die:area), so that
both together are what is stated. They are so in every draw: a printed area is exact, and one that
was taken or derived is as sure as its evidence (data/spread.csv). What a die is stated to hold fits
into it in every draw, if it does under the constants as they are: the die is known better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from elector.base.table import Column
from elector.cost.pricing import Cost, beyond
from elector.evaluation.data_sheets import OWN
from elector.evaluation.resolve import resolve
from elector.machines.contract import Evidence
from elector.studies.error_widths import REACH, spreads

Array = np.ndarray
_DIE, _OVERHEAD, _AREA = "die", "overhead", "area_by_part_mm2"
#: Evidence of an area that is printed.
_PRINTED = ("published", "measured")


@dataclass(frozen=True, eq=False, repr=False)
class StatedDies:
    """The stated dies of D designs.

    units : start of the names of a unit's parts -> (D,) bool, the designs that have such a die,
        and the (S, D) factors of its area.
    alone : (D,) bool, the designs whose whole area that is.
    """

    units: dict[str, tuple[Array, Array]]
    alone: Array

    def restated(self, samples: Mapping[str, Array], plain: Cost) -> dict[str, Array]:
        """Areas that a stated die has a say in, each (S, D) [mm2].

        samples : results under draws of the constants, each (S, D). plain : the costs of the
        designs under the constants as they are.
        """
        areas = {"area_mm2": samples["area_mm2"]}
        for start, (where, factor) in self.units.items():
            names = [f"{_AREA}.{start}{part}" for part in (_DIE, beyond(_DIE), _OVERHEAD)]
            before = [samples[name] for name in names]
            known = [plain.scalar(name) for name in names]
            fits = known[1] == 0.0
            after = [
                np.where(where, np.where(fits, one, other), old)
                for one, other, old in zip(
                    _held(before, known, factor), _grown(before, factor), before, strict=True
                )
            ]
            areas |= dict(zip(names, after, strict=True))
            total = areas["area_mm2"] + (_sum(after) - _sum(before))
            total = np.where(self.alone & fits, plain.scalars["area_mm2"] * factor, total)
            areas["area_mm2"] = np.where(where, total, areas["area_mm2"])
        return areas


def _sum(parts: list[Array]) -> Array:
    die, more, overhead = parts
    return np.asarray(die + more + overhead)


def _held(before: list[Array], known: list[Array], factor: Array) -> list[Array]:
    """Die, what is beyond it, and overhead of a die that holds all that it is stated to."""
    die = before[0] * factor
    return [die, np.zeros_like(die), (known[0] + known[2]) * factor - die]


def _grown(before: list[Array], factor: Array) -> list[Array]:
    """The same of one that is too small: what it has no room for is beyond it."""
    die = before[0] * factor
    held = before[0] + before[1]
    more = np.maximum(held - die, 0.0)
    return [die, more, (die + more) * before[2] / np.where(held > 0.0, held, 1.0)]


def stated_dies(
    columns: Mapping[str, Column], size: int, samples: int, stream: Callable[[str], Array]
) -> StatedDies:
    """The stated dies of `size` designs, each with `samples` draws of what is not printed.

    columns : model, accelerator and dotted settings, each of `size` rows. stream : name -> (S,)
    standard normal draws. Raises InputError for a setting that has no meaning.
    """
    dies = StatedDies({}, np.zeros(size, dtype=bool))
    for group in resolve(columns, size):
        hybrid = group.machine.hybrid
        members = [("", group.machine, group.units)]
        if hybrid is not None:
            members = [(f"{m.name}.", m.machine, m.units(group.units)) for m in hybrid.members]
        dies.alone[group.rows] = len(members) == 1
        for start, machine, units in members:
            if _DIE not in machine.stated:
                continue
            none = np.zeros(size, dtype=bool), np.ones((samples, size))
            where, factor = dies.units.setdefault(start, none)
            where[group.rows] = True
            known, codes = units.evidence[_DIE]
            each = np.stack([_factors(one, samples, stream) for one in known], axis=1)
            factor[:, group.rows] = each[:, codes]
    return dies


def _factors(evidence: Evidence, samples: int, stream: Callable[[str], Array]) -> Array:
    """(S,) factors of a stated area; 1 where it is printed, or is what the user asks for."""
    kind = evidence.text.partition(":")[0]
    if evidence == OWN or kind in _PRINTED:
        return np.ones(samples)
    return np.asarray(np.exp(stream(f"die, {evidence.text}") * (math.log(spreads()[kind]) / REACH)))
