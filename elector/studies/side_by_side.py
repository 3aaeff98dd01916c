"""One model on several accelerators: ratios to the first, and what most of each is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from elector.base.errors import InputError
from elector.base.record import ResultRecord
from elector.base.table import Column
from elector.cost.results import registry
from elector.studies.regression import METRICS
from elector.studies.simulation import simulate
from elector.studies.uncertainty import Samples, Sampling, interval, sample
from elector.technology import Technology

#: Result -> the breakdown that says what it is made of.
BREAKDOWNS = {
    "latency_s": "latency_by_kind_s",
    "energy_j": "energy_by_part_j",
    "area_mm2": "area_by_part_mm2",
}
#: Parts that a reason names.
_NAMED = 2


@dataclass(frozen=True)
class Contender:
    """A machine that is compared. own : its settings, which go before those of all."""

    accelerator: str
    own: Mapping[str, object] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Its name, with what is set for it alone."""
        said = ", ".join(f"{key.removeprefix('workload.')} {v}" for key, v in self.own.items())
        return f"{self.accelerator} ({said})" if said else self.accelerator


def contenders(
    accelerators: Sequence[str], own: Iterable[tuple[str, str, object]]
) -> list[Contender]:
    """The machines with the settings of their own.

    accelerators : their names; one may stand there twice. own : (which, key, value): which is a
    name, or the place from 1 on of one of them. Raises InputError for a machine that is not
    compared, and for a key that is set twice.
    """
    settings: list[dict[str, object]] = [{} for _ in accelerators]
    places = {str(i): [i - 1] for i in range(1, len(accelerators) + 1)}
    named = {n: [i for i, a in enumerate(accelerators) if a == n] for n in accelerators}
    for which, key, value in own:
        chosen = named.get(which) or places.get(which)
        if chosen is None:
            raise InputError(
                "is none of the accelerators that are compared, nor a place among them",
                field="--set-for",
                value=which,
                allowed=[*named, *places],
            )
        for place in chosen:
            if key in settings[place]:
                raise InputError("is given twice", field=f"--set-for {which} {key}", value=value)
            settings[place][key] = value
    return [Contender(a, s) for a, s in zip(accelerators, settings, strict=True)]


def _contender(accelerator: str | Contender) -> Contender:
    return accelerator if isinstance(accelerator, Contender) else Contender(accelerator)


def side_by_side(
    model: str,
    accelerators: Sequence[str | Contender],
    *,
    settings: Mapping[str, object] | None = None,
    metrics: Sequence[str] = METRICS,
    technology: Technology | None = None,
    sampling: Sampling | None = None,
) -> list[ResultRecord]:
    """Costs of one model on each accelerator; the first is the reference.

    Parameters
    ----------
    model : a preset or file. accelerators : two or more of them, by name or with settings of
        their own (`contenders`).
    settings : as of `simulate`, the same for all. metrics : results that are compared.
    technology : prices; the shipped tables by default. sampling : also give the 90 % intervals of
        values and ratios.

    Returns a record an accelerator: accelerator, label, own (its settings), feasible, reason (of
    an infeasible one), and for each metric `values`, `ratios` (to the reference; None where there
    is none) and `reasons` (the parts whose difference is largest); `notes` and `settings` as of
    `simulate`. With a sampling `intervals` and `ratio_intervals` (low and high, None where there
    is none), and `told_apart`: whether it is on the same side of the reference in 95 of 100 draws,
    in which both have the same constants and the same error of their group. Raises InputError for
    bad settings.
    """
    if len(accelerators) < 2:
        raise InputError(
            "needs two accelerators, or two tables",
            field="compare",
            value=" ".join([model, *(_contender(a).label for a in accelerators)]),
            hint="elector compare MODEL A B, or elector compare OLD.csv NEW.csv",
        )
    for name in metrics:
        _require_scalar(name)
    designs = [_contender(a) for a in accelerators]
    asked = [{**(settings or {}), **design.own} for design in designs]
    costs = [
        simulate(model, design.accelerator, settings=own, technology=technology)
        for design, own in zip(designs, asked, strict=True)
    ]
    records = [
        _compared(entry, costs[0], metrics) | {"label": design.label, "own": dict(design.own)}
        for design, entry in zip(designs, costs, strict=True)
    ]
    if sampling is not None:
        asked = [
            {"model": model, "accelerator": design.accelerator, **own}
            for design, own in zip(designs, asked, strict=True)
        ]
        _add_draws(records, [_drawn(own, sampling) for own in asked], metrics)
    return [
        ResultRecord(
            entry, f"{model} on {entry['label']}", [(n, str(entry["values"][n])) for n in metrics]
        )
        for entry in records
    ]


def _add_draws(
    records: Sequence[dict[str, Any]], drawn: Sequence[Samples], metrics: Sequence[str]
) -> None:
    """Puts intervals into the records, and where they come from into their notes."""
    for entry, samples in zip(records, drawn, strict=True):
        entry |= _between(samples, drawn[0], metrics)
        entry["notes"] = [*entry["notes"], *([samples.said(0)] if entry["feasible"] else [])]


def _drawn(settings: Mapping[str, object], sampling: Sampling) -> Samples:
    """Draws of one design: what two of them share, they share in each."""
    columns = {key: Column.constant(value, 1) for key, value in settings.items()}
    return sample(columns, 1, sampling, apart=True)


def _between(own: Samples, first: Samples, metrics: Sequence[str]) -> dict[str, Any]:
    """Intervals of a design and of its ratios to the reference.

    metrics : names of results; those that no error touches have none.
    """
    intervals: dict[str, Any] = dict.fromkeys(metrics)
    ratios: dict[str, Any] = dict.fromkeys(metrics)
    apart: dict[str, Any] = dict.fromkeys(metrics)
    for name in metrics:
        if name not in own.uncertain or name not in first.uncertain:
            continue
        intervals[name] = _ends(own.values[name])
        if own is not first:
            ratios[name] = _ends(own.values[name] / first.values[name])
            apart[name] = None if ratios[name] is None else not _holds(ratios[name], 1.0)
    return {"intervals": intervals, "ratio_intervals": ratios, "told_apart": apart}


def _ends(values: np.ndarray) -> list[float] | None:
    low, high = (float(end[0]) for end in interval(values))
    return None if math.isnan(low) else [low, high]


def _holds(ends: Sequence[float], value: float) -> bool:
    return ends[0] <= value <= ends[1]


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
        "settings": entry["settings"],
    }


def _ratio(value: float | None, reference: float | None) -> float | None:
    return None if value is None or not reference else value / reference


def _reason(name: str, entry: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """The parts that make most of the difference, with their values here and there; nothing where
    one of the two has no such result, as where it is infeasible."""
    group = BREAKDOWNS.get(name, "")
    if entry is first or entry.get(name) is None or first.get(name) is None:
        return ""
    here, there = _alike(entry.get(group) or {}, first.get(group) or {})
    if not here or not there:
        return ""
    differences = {part: here.get(part, 0.0) - there.get(part, 0.0) for part in (*here, *there)}
    sign = 1.0 if sum(differences.values()) > 0 else -1.0
    most = sorted(differences, key=lambda part: -sign * differences[part])[:_NAMED]
    show = registry().get(group).show
    return ", ".join(
        _words(part, here.get(part), there.get(part), show)
        for part in most
        if sign * differences[part] > 0
    )


def _words(part: str, here: float | None, there: float | None, show: Callable[[float], str]) -> str:
    """What a part costs, and at the reference; one of the two may be without it."""
    if here is None:
        return f"no {part} instead of {show(there or 0.0)}"
    return f"{part} {show(here)} " + (
        "where the first has none" if there is None else f"instead of {show(there)}"
    )


def _alike(
    here: Mapping[str, float | None], there: Mapping[str, float | None]
) -> tuple[dict[str, float], dict[str, float]]:
    """Two breakdowns by the same names: parts of a hybrid (`gpu.running`) are added up over its
    units unless the other consists of the same units."""
    apart = _units(here) == _units(there)
    sums: list[dict[str, float]] = []
    for parts in (here, there):
        total: dict[str, float] = {}
        for part, value in parts.items():
            if value is not None:
                same = part if apart else part.rpartition(".")[2]
                total[same] = total.get(same, 0.0) + value
        sums.append(total)
    return sums[0], sums[1]


def _units(parts: Iterable[str]) -> set[str]:
    """The units of a hybrid whose parts these are; none of another machine."""
    return {unit for part in parts if (unit := part.rpartition(".")[0])}
