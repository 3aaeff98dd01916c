"""Thresholds: fixed, by schedule, or tracked so that a density is held."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from elector.base.errors import EvaluationError, InputError


def checked(value: object, field: str, low: float = 0.0, high: float = math.inf) -> float:
    """A number in [low, high]; InputError for anything else, NaN and infinity included.

    value : as the user gives it.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError("must be a number", field=field, value=value)
    if not math.isfinite(value):
        raise InputError("must be finite", field=field, value=value)
    if value < low:
        raise InputError(f"must be at least {low:g}", field=field, value=value)
    if value > high:
        raise InputError(f"must be at most {high:g}", field=field, value=value)
    return float(value)


@dataclass(frozen=True)
class Schedule:
    """A threshold that is linear between points (step, threshold) and constant beyond them.

    Raises InputError unless steps rise and thresholds are finite and not negative.
    """

    points: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        points = tuple((int(step), checked(tau, "schedule")) for step, tau in self.points)
        if not points:
            raise InputError("has no point", field="schedule")
        steps = [step for step, _ in points]
        if steps[0] < 0 or any(b <= a for a, b in pairwise(steps)):
            raise InputError("steps must rise from 0 or later", field="schedule", value=steps)
        object.__setattr__(self, "points", points)

    @classmethod
    def ramp(cls, end: float, steps: int, *, start: float = 0.0, begin: int = 0) -> Schedule:
        """From `start` at step `begin` to `end`, `steps` steps later."""
        if steps < 1:
            raise InputError("must be at least 1", field="schedule.steps", value=steps)
        return cls(((begin, start), (begin + steps, end)))

    def at(self, step: int) -> float:
        """The threshold of a step, counted from 0."""
        before, tau = self.points[0]
        if step <= before:
            return tau
        for after, later in self.points[1:]:
            if step < after:
                return tau + (later - tau) * (step - before) / (after - before)
            before, tau = after, later
        return tau


@dataclass(frozen=True)
class TargetDensity:
    """A density to hold, at every place for itself.

    The threshold follows the quantile of the magnitudes of each step (a sample of them), as a
    moving average; the density that results is measured as a moving average, too.

    density : share of elements that stay, 0 to 1. tolerance : how far off counts as held.
    patience : steps within which every place has to come that near.
    momentum : weight of the past in both averages, 0 to below 1.
    strict : where the target is missed, `DynaProp.step` raises TargetMissed; otherwise
    `DynaProp.missed` tells.
    """

    density: float
    tolerance: float = 0.05
    patience: int = 200
    momentum: float = 0.9
    strict: bool = True

    def __post_init__(self) -> None:
        checked(self.density, "target density", 0.0, 1.0)
        checked(self.tolerance, "target tolerance", 0.0, 1.0)
        checked(self.momentum, "target momentum", 0.0, 0.9999)
        if self.patience < 1:
            raise InputError("must be at least 1", field="target patience", value=self.patience)


@dataclass(frozen=True)
class TopK:
    """In place of a threshold: of each row the elements of largest magnitude stay.

    keep : share of a row (the last dimension) that stays, above 0 to 1: k = ceil(keep x length).
    So a row loses the same share whatever is in it, where a threshold takes what is small. This is
    the top-k pruning that AccelTran compares DynaTran with (Tuli and Jha 2023, arXiv 2302.14705),
    as SpAtten (Wang et al. 2021, arXiv 2012.09852) and Energon (Zhou et al. 2021,
    arXiv 2110.09310) build it for attention. Finding the k-th largest costs time that comparing
    with a threshold does not: benchmarks/dynaprop_cost.py measures both.

    Raises InputError for another share.
    """

    keep: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep", checked(self.keep, "top-k keep", 0.0, 1.0))
        if self.keep == 0.0:
            raise InputError("must be above 0", field="top-k keep", value=self.keep)

    def count(self, length: int) -> int:
        """k of a row of that length."""
        return min(max(math.ceil(self.keep * length), 1), length)


Threshold = float | Schedule | TargetDensity | TopK


def prunes(tau: float | TopK) -> bool:
    """Whether anything may be dropped."""
    return tau.keep < 1.0 if isinstance(tau, TopK) else tau > 0.0


def scaled(tau: float | TopK, scale: float) -> float | TopK:
    """A threshold of values that are `scale` times as large: ranks do not change with it."""
    return tau if isinstance(tau, TopK) else tau * scale


def threshold(value: object, field: str) -> Threshold:
    """`value` as a threshold; InputError where it is none."""
    if isinstance(value, Schedule | TargetDensity | TopK):
        return value
    return checked(value, field)


@dataclass(frozen=True)
class Missed:
    """A place whose target density has not been reached within the patience.

    operand : output (forward) or gradient; achieved : moving average of its density.
    """

    place: str
    operand: str
    wanted: float
    achieved: float


class TargetMissed(EvaluationError):
    """Target densities that were not reached; `missed` names the places."""

    def __init__(self, missed: Sequence[Missed], step: int) -> None:
        self.missed = tuple(missed)
        worst = max(missed, key=lambda m: abs(m.achieved - m.wanted))
        super().__init__(
            f"step {step}: target density {worst.wanted:g} of the {worst.operand} not reached at "
            f"{len(missed)} place(s); furthest off is {worst.place} with {worst.achieved:.3f}"
        )
