"""One model on several accelerators: ratios to the first, and what most of each is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elector.base.errors import InputError
from elector.base.record import ResultRecord
from elector.cost.results import registry
from elector.studies.regression import METRICS
from elector.studies.simulation import simulate
from elector.technology import Technology

#: Result -> the breakdown that says what it is made of.
BREAKDOWNS = {
    "latency_s": "latency_by_kind_s",
    "energy_j": "energy_by_part_j",
    "area_mm2": "area_by_part_mm2",
}
#: Parts that a reason names.
_NAMED = 2


def side_by_side(
    model: str,
    accelerators: Sequence[str],
    *,
    settings: Mapping[str, object] | None = None,
    metrics: Sequence[str] = METRICS,
    technology: Technology | None = None,
) -> list[ResultRecord]:
    """Costs of one model on each accelerator; the first is the reference.

    Parameters
    ----------
    model : a preset or file. accelerators : two or more of them.
    settings : as of `simulate`, the same for all. metrics : results that are compared.
    technology : prices; the shipped tables by default.

    Returns a record an accelerator: accelerator, feasible, reason (of an infeasible one), and
    for each metric `values`, `ratios` (to the reference; None where there is none) and `reasons`
    (the parts whose difference is largest); `notes` as of `simulate`. Raises InputError for bad
    settings.
    """
    if len(accelerators) < 2:
        raise InputError(
            "needs two accelerators, or two tables",
            field="compare",
            value=" ".join([model, *accelerators]),
            hint="elector compare MODEL A B, or elector compare OLD.csv NEW.csv",
        )
    for name in metrics:
        _require_scalar(name)
    costs = [simulate(model, a, settings=settings, technology=technology) for a in accelerators]
    return [
        ResultRecord(
            _compared(entry, costs[0], metrics),
            f"{model} on {entry['accelerator']}",
            [(n, str(entry[n])) for n in metrics],
        )
        for entry in costs
    ]


def _require_scalar(name: str) -> None:
    known = {metric.name for metric in registry().scalars}
    if name not in known:
        raise InputError("is no result", field="--metric", value=name, allowed=sorted(known))


def _compared(
    entry: Mapping[str, Any], first: Mapping[str, Any], metrics: Sequence[str]
) -> dict[str, Any]:
    values = {name: entry.get(name) for name in metrics}
    return {
        "model": entry["model"],
        "accelerator": entry["accelerator"],
        "feasible": entry["feasible"],
        "reason": entry["reason"],
        "values": values,
        "ratios": {name: _ratio(value, first.get(name)) for name, value in values.items()},
        "reasons": {name: _reason(name, entry, first) for name in metrics},
        "notes": entry["notes"],
    }


def _ratio(value: float | None, reference: float | None) -> float | None:
    return None if value is None or not reference else value / reference


def _reason(name: str, entry: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """The parts that make most of the difference, with their values here and there."""
    group = BREAKDOWNS.get(name, "")
    here, there = entry.get(group) or {}, first.get(group) or {}
    if entry is first or not here or not there:
        return ""
    differences = {
        part: (here.get(part) or 0.0) - (there.get(part) or 0.0) for part in (*here, *there)
    }
    sign = 1.0 if sum(differences.values()) > 0 else -1.0
    most = sorted(differences, key=lambda part: -sign * differences[part])[:_NAMED]
    show = registry().get(group).show
    return ", ".join(
        f"{part} {show(here.get(part) or 0.0)} instead of {show(there.get(part) or 0.0)}"
        for part in most
        if sign * differences[part] > 0
    )
