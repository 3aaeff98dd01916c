"""The fastest of several plans: the same hardware doing the same work in another way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from elector.cost.pricing import Prices
from elector.cost.schedule import schedule
from elector.machines.contract import Activity, Planned
from elector.operations.rows import Operations

Array = np.ndarray
Solver = Callable[[slice], tuple[Activity, Prices]]
#: Designs, the plan of each where there are several, whether it is only a trial -> the same.
Solving = Callable[["slice | Array", "Array | None", bool], tuple[Activity, Prices]]
#: Slice of the designs -> see `Planned.least`.
Least = Callable[[slice], Array]


def fastest_of(
    bounds: Sequence[Least | None], ops: Operations, index: Array, solve: Solving
) -> Solver:
    """Every design under the fastest of the plans that its units may follow.

    bounds : of each unit, the seconds its plans take at least; None where it has no choice.
    index : (D,) pair of each design.

    solve : what designs do under given plans.
    """
    several = [least for least in bounds if least is not None]

    def at(part: slice) -> tuple[Activity, Prices]:
        if not several:
            return solve(part, None, False)
        places = np.arange(index.size)[part]
        least = _common([each(part) for each in several])
        return solve(part, _fastest(least, places, ops, index, solve), False)

    return at


def _common(least: list[Array]) -> Array:
    """(plans, D) seconds of plans that some unit may follow: others then keep to their first."""
    if len(least) == 1:
        return least[0]
    seconds = np.full((max(each.shape[0] for each in least), least[0].shape[1]), -np.inf)
    for each in least:
        here = seconds[: each.shape[0]]
        here[:] = np.maximum(here, np.where(np.isfinite(each), each, -np.inf))
    return np.where(np.isfinite(seconds), seconds, np.inf)


def _fastest(least: Array, places: Array, ops: Operations, index: Array, solve: Solving) -> Array:
    """(D,) the plan of the designs `places` that takes the least time.

    The most promising one is tried first, and no plan that cannot be faster than what was found.
    """
    best = np.isfinite(least).argmax(axis=0)
    left = np.where(np.isfinite(least).sum(axis=0) > 1, least, np.inf)
    seconds = np.full(places.size, np.inf)
    while True:
        plan = left.argmin(axis=0)
        some = np.flatnonzero(left[plan, np.arange(plan.size)] < seconds)
        if not some.size:
            return best
        tried = plan[some]
        left[tried, some] = np.inf
        activity, _ = solve(places[some], tried, True)
        taken = schedule(ops, index[places[some]], activity).seconds
        for needed, there in activity.limits.values():
            taken = np.where(needed > there, np.inf, taken)
        better = taken < seconds[some]
        seconds[some] = np.where(better, taken, seconds[some])
        best[some] = np.where(better, tried, best[some])


def under(prepared: Planned, part: slice | Array, plan: Array | None, trial: bool) -> Activity:
    """What designs do under the plans (D,) asked for, where they are a unit's own.

    plan : (D,) places of plans; None where the unit has no choice. trial : whether only the seconds
        are wanted.
    """
    allowed = np.isfinite(prepared.least(part))
    own = allowed.argmax(axis=0)
    if plan is None:
        return prepared.under(part, own, trial)
    known = np.minimum(plan, allowed.shape[0] - 1)
    may = allowed[known, np.arange(plan.size)] & (known == plan)
    return prepared.under(part, np.where(may, plan, own), trial)
