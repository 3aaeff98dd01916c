"""Which settings matter, how a search converged, and how far its figures are to be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from elector.base.errors import InputError
from elector.evaluation.accelerators import load_accelerator
from elector.studies.validation import validate
from elector.studies.validation_cases import ValidationCase
from transcode import pareto
from transcode.plot.layers import is_of_layer
from transcode.runs.query import Recorded, scan

#: Designs that importances are worked out from.
SAMPLE = 2000
#: Most settings whose importance is worked out.
SETTINGS = 30
#: Points of a front that a hypervolume of the curve is taken of, at most.
POINTS = 1500
#: Places of the curve, as designs evaluated.
PLACES = np.unique(np.round(np.geomspace(10, 1e12, 78)).astype(np.int64))
MOST_PLACES = 16


def importances(recorded: Recorded) -> dict[str, dict[str, float]]:
    """Objective -> setting -> importance, by Optuna's PED-ANOVA (Watanabe et al. 2023, arXiv
    2304.10255): how far the distribution of the best tenth of designs is from that of all.

    Of at most SAMPLE feasible recorded designs, evenly spread; shares that add up to one.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    names = [n for n in ("model", "accelerator", *recorded.space.varied) if not is_of_layer(n)]
    table, values = _sample(recorded, list(dict.fromkeys(names)))
    table = {name: codes for name, codes in table.items() if len(set(codes)) > 1}
    kept = list(table)[:SETTINGS]
    if not kept or not values or len(next(iter(values.values()))) < 20:
        return {}
    spaces = {
        name: optuna.distributions.CategoricalDistribution(sorted(set(table[name])))
        for name in kept
    }
    by_objective: dict[str, dict[str, float]] = {}
    for objective in recorded.space.objectives:
        costs = values[objective.name] * (-1.0 if objective.maximise else 1.0)
        if not np.ptp(costs) > 0:
            continue
        study = optuna.create_study()
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params={name: table[name][i] for name in kept},
                    distributions=dict(spaces),
                    value=float(costs[i]),
                )
                for i in range(len(costs))
            ]
        )
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        by_objective[objective.name] = optuna.importance.get_param_importances(
            study, evaluator=evaluator
        )
    return by_objective


def _sample(
    recorded: Recorded, names: list[str]
) -> tuple[dict[str, list[int]], dict[str, np.ndarray]]:
    """Codes of the settings and values of the objectives of some feasible designs."""
    objectives = [o.name for o in recorded.space.objectives]
    known: dict[str, dict[object, int]] = {name: {} for name in names}
    table: dict[str, list[int]] = {name: [] for name in names}
    values: dict[str, list[float]] = {name: [] for name in objectives}
    step = max(1, int(recorded.manifest.get("feasible") or SAMPLE) // SAMPLE)
    for part in scan(recorded, [*names, *objectives]):
        rows = np.flatnonzero(part.ids % step == 0)
        whole = np.all([np.isfinite(part.results[n][rows]) for n in objectives], axis=0)
        rows = rows[whole]
        for name in names:
            column, seen = part.columns[name], known[name]
            for code in column.codes[rows].tolist():
                table[name].append(seen.setdefault(column.values[code], len(seen)))
        for name in objectives:
            values[name] += part.results[name][rows].tolist()
    return table, {name: np.array(of_objective) for name, of_objective in values.items()}


def convergence(recorded: Recorded, reference: np.ndarray | None) -> list[tuple[int, float]]:
    """(designs evaluated, hypervolume of their front as a share of the last) along the run.

    reference : (O,) reference point in the users' directions. Fronts of more than POINTS designs
    are thinned, evenly spread, so that the curve is of a sample there.
    """
    if reference is None:
        return []
    objectives = recorded.space.objectives
    signs = np.array([-1.0 if o.maximise else 1.0 for o in objectives])
    names = [o.name for o in objectives]
    total = int(recorded.manifest.get("designs") or 0)
    places = [*[int(p) for p in PLACES if p < total][-MOST_PLACES:], total]
    front, volumes = np.zeros((0, len(names))), []
    for part in scan(recorded, names):
        points = np.stack([part.results[n] for n in names], axis=1) * signs
        finite = np.isfinite(points).all(axis=1)
        points, ids = points[finite], part.ids[finite]
        while places and (not len(ids) or ids[-1] >= places[0]):
            before = ids < places[0]
            front = _joined(front, points[before])
            volumes.append((places.pop(0), _volume(front, reference * signs)))
            points, ids = points[~before], ids[~before]
            if not len(ids):
                break
        front = _joined(front, points)
    volumes += [(place, _volume(front, reference * signs)) for place in places]
    last = volumes[-1][1] if volumes else 0.0
    return [(place, volume / last) for place, volume in volumes] if last > 0 else []


def _joined(front: np.ndarray, points: np.ndarray) -> np.ndarray:
    if not len(points):
        return front
    stays, joins = pareto.merge(front, points)
    return np.concatenate([front[stays], points[joins]])


def _volume(front: np.ndarray, reference: np.ndarray) -> float:
    if len(front) > POINTS:
        front = front[pareto.spread(front, POINTS)]
    return float(pareto.hypervolume(front, reference)) if len(front) else 0.0


@dataclass(frozen=True)
class Trust:
    """How wrong published figures of machines of one kind came out: cases, and the median and the
    largest of |error|."""

    kind: str
    cases: int
    median: float
    worst: float
    outside: int


def trust(accelerators: Mapping[str, int]) -> list[Trust]:
    """Errors of the published cases of each kind of machine on a front, most cases first.

    accelerators : name -> designs of the front that have it.
    """
    kinds = {kind for name in accelerators for kind in kinds_of(name)}
    errors: dict[str, list[tuple[float, bool]]] = {kind: [] for kind in sorted(kinds)}

    def wanted(case: ValidationCase) -> bool:  # the others say nothing of these machines
        return case.kind == "outcome" and bool(kinds_of(case.accelerator) & kinds)

    for result in validate(wanted=wanted):
        if not np.isfinite(result.error):
            continue
        for kind in kinds_of(result.case.accelerator) & kinds:
            errors[kind].append((abs(result.error), result.verdict == "FAILED"))
    return [
        Trust(
            kind,
            len(cases),
            float(np.median([e for e, _ in cases])) if cases else float("nan"),
            max((e for e, _ in cases), default=float("nan")),
            sum(failed for _, failed in cases),
        )
        for kind, cases in errors.items()
    ]


def kinds_of(accelerator: str) -> set[str]:
    """The kinds of machines that an accelerator is made of; none for what is not known."""
    try:
        machine = load_accelerator(accelerator).machine
    except InputError:
        return set()
    hybrid = machine.hybrid
    return {machine.name} if hybrid is None else {m.machine.name for m in hybrid.members}
