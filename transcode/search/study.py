"""study.log of a search: every trial of an Optuna sampler; otherwise its front, thinned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from elector.base.table import Column
from transcode import engines, pareto, runs
from transcode.objective import Problem
from transcode.pareto import Archive

#: What a study repeats of the manifest.
_ATTRIBUTES = ("space_sha256", "seed", "sampler", "reference_point")


def write(
    folder: Path,
    problem: Problem,
    engine: engines.Engine,
    front: Archive,
    manifest: Mapping[str, Any],
) -> None:
    """Replaces study.log. front : sorted.

    manifest : of the run.
    """
    space, path = problem.space, folder / "study.log"
    attributes = {key: manifest[key] for key in _ATTRIBUTES}
    own = engine.study_trials()
    if own is not None:
        runs.study.write(path, space, own[0], attributes, own[1])
        return
    shown = front.take(pareto.thin(front.objectives, runs.study.limit(space)))
    runs.study.write(path, space, _trials(problem, shown), attributes)


def _trials(problem: Problem, front: Archive) -> Iterator[Any]:
    """Optuna trials of the designs of a front, made as they are asked for."""
    space, margins = problem.space, _margins(problem, front)
    distributions = [runs.distribution(p) for p in space.parameters]
    objectives = [o.name for o in space.objectives]
    values = front.objectives * problem.signs
    for row in range(len(front)):
        extra = {n: float(v[row]) for n, v in front.results.items() if n not in objectives}
        trial = runs.StudyTrial(
            codes=front.codes[row],
            values=values[row].tolist(),
            constraints={name: float(margin[row]) for name, margin in margins.items()},
            attributes={"id": int(front.ids[row]), **extra},
        )
        yield runs.study.frozen(space, distributions, trial)


def _margins(problem: Problem, front: Archive) -> dict[str, np.ndarray]:
    """Constraint -> (F,) how far it is from being broken."""
    columns = problem.space.lazily(front.codes)
    return problem.judge(columns, front.results, Column.constant("", len(front))).margins
