"""What a space is made of: parameters, alternatives, objectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from elector.base.table import Scalar


@dataclass(frozen=True)
class Parameter:
    """One column of the code matrix.

    name : the dotted name it sets; "model" or "accelerator" for the alternative itself.
    label : like name, but unique in the space.
    values : what each code stands for; for a multiple, what the parent is multiplied by.
    group : the alternative of its section it belongs to.
    parent : column of the parameter it is a multiple of, or -1.
    scale : choice, or linear or log where the values are a range without steps.
    unit : of elector.base.units, or "text".
    needs : column of a parameter and its least value for this one to matter (a layer that is
        there, a head that a layer has); None: it always does.
    """

    name: str
    label: str
    values: tuple[Scalar, ...]
    group: int = 0
    parent: int = -1
    scale: str = "choice"
    unit: str = "1"
    needs: tuple[int, float] | None = None

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.values)

    @cached_property
    def numbers(self) -> np.ndarray | None:
        """(size,) the values where all are numbers, else None."""
        if any(isinstance(v, bool) or not isinstance(v, int | float) for v in self.values):
            return None
        return np.array(self.values, dtype=float)


def labelled(parameters: Sequence[Parameter]) -> list[Parameter]:
    """The parameters of a space with a unique label each."""
    names = [p.name for p in parameters]
    unique: list[Parameter] = []
    for parameter in parameters:
        label = parameter.name
        if names.count(label) > 1:
            label += f"@{parameter.group}"
        if parameter.parent >= 0:
            label += "/" + names[parameter.parent].split(".")[-1]
        unique.append(replace(parameter, label=label))
    return unique


@dataclass(frozen=True)
class Section:
    """Alternatives of one part of a design, and the parameters each brings.

    selector : column whose code picks the alternative, or -1 where there is nothing to pick.
    groups : of each value of the selector, the group of parameters it brings.
    members : of each group, the columns of its parameters.
    """

    selector: int
    groups: tuple[int, ...]
    members: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Objective:
    """What is to be made small or large.

    name : as the user wrote it: latency_s, serve.latency_s, accuracy.
    maximise : direction.
    """

    name: str
    maximise: bool

    @property
    def direction(self) -> str:
        """max or min."""
        return "max" if self.maximise else "min"
