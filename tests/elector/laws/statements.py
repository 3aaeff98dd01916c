"""The laws. Each says how far two neighbours, or one design, break it: above 0 is a violation.

A violation is relative: .05 is a design that gets five percent faster by more work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from elector.cost.results import registry
from elector.machines.activity import BUILT
from laws import neighbours
from laws.drawing import Evaluated, Random, Row
from laws.neighbours import Pair
from laws.subjects import Subject

Array = np.ndarray
#: A violation that no tolerance covers.
BROKEN = 1e9
#: Results that may have no value.
OPTIONAL = (
    "bandwidth_utilization",
    "time_",
    "tokens_",
    "lifetime_",
    "energy_per_token",
    "perplexity",
)
#: Results that an infeasible design keeps.
KEPT = tuple(m.name for m in registry().scalars if m.exists == "always")


@dataclass(frozen=True)
class Law:
    """One law.

    text : what it says. axes : settings in which neighbours may differ; empty for a law on one
    design. pair : a neighbour along an axis, or None. violation : (D,) by how much designs (and
    their neighbours) break it; -inf where it does not apply. level : of the evaluation.
    """

    name: str
    text: str
    axes: Callable[[Subject], tuple[str, ...]]
    pair: Callable[[Subject, Row, str, Random], Pair | None] | None
    violation: Callable[[Evaluated, Evaluated], Array]
    level: str = "scalars"


def _alone(subject: Subject) -> tuple[str, ...]:
    return ("design",)


# ---- two neighbours ----


def never_faster(before: Evaluated, after: Evaluated) -> Array:
    """More work takes no less time. What fits more work fits less."""
    violation = before.value("latency_s") / after.value("latency_s") - 1.0
    violation = np.where(before.feasible & after.feasible, violation, -np.inf)
    lost = ~before.cost.feasible & after.feasible & ~before.refused
    return np.where(lost, BROKEN, violation)


def never_slower(before: Evaluated, after: Evaluated) -> Array:
    """More hardware takes no more time, and runs what less hardware ran, as far as there is such
    hardware: a clock that no silicon reaches or channels that no memory has are refused."""
    violation = after.value("latency_s") / before.value("latency_s") - 1.0
    violation = np.where(before.feasible & after.feasible, violation, -np.inf)
    lost = before.feasible & ~after.cost.feasible & ~after.refused & ~beyond(after)
    return np.where(lost, BROKEN, violation)


def beyond(designs: Evaluated) -> Array:
    """(D,) designs that ask for more than was ever built."""
    asks = np.array([*(any(text in r for text in BUILT) for r in designs.cost.reasons), False])
    return np.asarray(asks[designs.cost.reason_code])


def never_larger(before: Evaluated, after: Evaluated) -> Array:
    """A smaller machine takes no more area, feasible or not."""
    violation = before.value("area_mm2") / after.value("area_mm2") - 1.0
    return np.where(before.refused | after.refused, -np.inf, violation)


# ---- one design ----


def sound(designs: Evaluated, _: Evaluated) -> Array:
    """Finite and not negative; costs of what cannot run are missing."""
    bad = np.zeros(designs.refused.size, dtype=bool)
    ok = designs.feasible
    for name in designs.cost.names():
        values, short = designs.cost.scalar(name), name.partition(".")[0]
        lacking = np.isnan(values) if name.startswith(OPTIONAL) else np.zeros_like(ok)
        bad |= ok & ~lacking & ~(np.isfinite(values) & (values >= 0))
        if name in KEPT:
            bad |= ~np.isfinite(values)
        elif short not in ("memory_bytes", "area_by_part_mm2") and not lacking.all():
            bad |= ~designs.cost.feasible & ~np.isnan(values)
    return np.where(designs.refused, -np.inf, np.where(bad, BROKEN, -1.0))


def below_peak(designs: Evaluated, _: Evaluated) -> Array:
    """Of the peak, and of the bandwidth of main memory, at most all is used."""
    shares = (designs.value(name) for name in ("utilization", "bandwidth_utilization"))
    return np.where(designs.feasible, np.fmax(*shares) - 1.0, -np.inf)


PARTS = (
    ("energy_by_part_j", "energy_j"),
    ("energy_by_phase_j", "energy_j"),
    ("latency_by_kind_s", "latency_s"),
    ("area_by_part_mm2", "area_mm2"),
    ("provenance", ""),
)


def parts_are_the_whole(designs: Evaluated, _: Evaluated) -> Array:
    """Energy, time and area are the sums of their parts on every axis."""
    worst = np.full(designs.refused.size, -1.0)
    for group, name in PARTS:
        total = designs.value(name) if name else np.ones(designs.refused.size)
        values = designs.cost.groups[group]
        parts = sum(values[part] for part in sorted(values))  # in one order, whatever the batch
        worst = np.fmax(worst, np.abs(parts / total - 1.0))
    return np.where(designs.feasible, worst, -np.inf)


LAWS = {
    law.name: law
    for law in (
        Law("sound", str(sound.__doc__), _alone, None, sound, "groups"),
        Law("peak", str(below_peak.__doc__), _alone, None, below_peak),
        Law("parts", str(parts_are_the_whole.__doc__), _alone, None, parts_are_the_whole, "groups"),
        Law(
            "work",
            "More tokens, sequences, layers, width or steps are never faster in total.",
            neighbours.work_axes,
            neighbours.more_work,
            never_faster,
        ),
        Law(
            "hardware",
            "More bandwidth, capacity, ports or copies of a unit are never slower.",
            neighbours.hardware_axes,
            neighbours.better,
            never_slower,
        ),
        Law(
            "permission",
            "A permission (double buffering, fusion) is never slower than without it.",
            neighbours.order_axes,
            neighbours.permitted,
            never_slower,
        ),
        Law(
            "format",
            "A narrower number format is never slower where nothing of it is wider.",
            neighbours.format_axes,
            neighbours.narrowed,
            never_slower,
        ),
        Law(
            "area",
            "A smaller machine is never larger.",
            neighbours.size_axes,
            neighbours.larger,
            never_larger,
        ),
    )
}
