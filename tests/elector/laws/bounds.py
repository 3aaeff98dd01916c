"""Tolerances with their reasons, granules, and violations that are known.

tolerances.csv : machine, law, axis (patterns), tolerance (relative), granule (0: none), reason.
    A granule says that sizes are compared at its multiples: hardware that works in tiles takes
    what the next multiple takes.
known.csv : machine, law, axis (patterns), worst (what was seen), reason. A violation that
    matches is reported as an expected failure; the row goes when the fault is mended.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING

from laws.subjects import HERE

if TYPE_CHECKING:
    from laws.subjects import Subject

#: What rounding of a few hundred sums may do.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Bound:
    """A row of tolerances.csv or known.csv."""

    machine: str
    law: str
    axis: str
    number: float
    granule: float
    reason: str

    def matches(self, names: tuple[str, ...], law: str, axis: str) -> bool:
        """Whether it speaks of this machine (or one it is made of), law and axis."""
        return (
            any(fnmatchcase(name, self.machine) for name in names)
            and fnmatchcase(law, self.law)
            and fnmatchcase(axis, self.axis)
        )


@cache
def _rows(name: str, column: str) -> tuple[Bound, ...]:
    with (HERE / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return tuple(
            Bound(
                row["machine"],
                row["law"],
                row["axis"],
                float(row[column] or 0),
                float(row.get("granule") or 0),
                row["reason"],
            )
            for row in csv.DictReader(stream)
        )


def tolerance(subject: Subject, law: str, axis: str) -> float:
    """How much of a violation is none."""
    names = (subject.name, *subject.kinds)
    allowed = [b.number for b in _rows("tolerances", "tolerance") if b.matches(names, law, axis)]
    return max([ROUNDING, *allowed])


def granule(subject: Subject, axis: str) -> float:
    """The multiples at which sizes are compared; 1: any."""
    names = (subject.name, *subject.kinds)
    granules = [b.granule for b in _rows("tolerances", "tolerance") if b.matches(names, "*", axis)]
    return max([1.0, *granules])


def known(subject: Subject, law: str, axis: str) -> str:
    """The reason why a violation is known; "" where it is not."""
    names = (subject.name, *subject.kinds)
    for bound in _rows("known", "worst"):
        if bound.matches(names, law, axis):
            return bound.reason
    return ""
