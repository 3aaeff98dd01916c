"""The source `trained`: the models of a batch trained here, the worst of them not for long.

Successive halving (Jamieson and Talwalkar 2016; Karnin et al. 2013) over training steps, with
several objectives: after each rung the designs are ordered by non-dominated rank in all
objectives of the search, within a rank by their distance from one another, and only the models
of the first share 1 / eta go on. A model that stops keeps the score it has, and
`trained_steps` says at how many steps; more steps would rarely lower it. Designs that no score
could make feasible are not trained at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from transcode import pareto
from transcode.objective import Ask, Columns
from transcode.space import Space

STEPS, RUNGS, ETA, SEEDS = 200, 3, 2, 2
#: A score nothing can be above: what is infeasible with it stays infeasible.
BEST = 100.0


@dataclass(frozen=True)
class HalvingPlan:
    """How long models are trained. steps : of one that reaches the last rung."""

    steps: int = STEPS
    rungs: int = RUNGS
    eta: int = ETA
    seeds: int = SEEDS

    @property
    def budgets(self) -> tuple[int, ...]:
        """Steps at the end of each rung, the last `steps`; fewer rungs where steps are few."""
        steps = {max(1, self.steps // self.eta**k) for k in range(self.rungs)}
        return tuple(sorted(steps))

    @property
    def expected(self) -> float:
        """Steps a model takes on average, one seed."""
        total, before = 0.0, 0
        for k, budget in enumerate(self.budgets):
            total += (budget - before) / self.eta**k
            before = budget
        return total


class Trainer(Protocol):
    """Trains models; whatever was trained before comes from what it kept."""

    def key(self, settings: dict[str, object]) -> str:
        """The same for settings that mean the same model and thresholds."""

    def prepare(self, wanted: Sequence[tuple[dict[str, object], int]], steps: int) -> None:
        """Told which (settings, seed) `score` is asked for next, so that it may train at once.

        wanted : (settings, seed) of each model.
        """

    def score(self, settings: dict[str, object], seed: int, steps: int) -> float:
        """Validation score [points] after so many steps, NaN where training diverged.

        settings : dotted name -> value.
        """

    def sampling(self, score: float) -> float:
        """Standard error [points] of a score, from the size of the validation set."""


@dataclass
class Halving:
    """Scores of designs by training them. kept : (model key, steps) -> mean and deviation."""

    plan: HalvingPlan
    trainer: Trainer
    kept: dict[tuple[str, int], tuple[float, float]] = field(default_factory=dict)

    def of(
        self, space: Space, codes: np.ndarray, columns: Columns, ask: Ask
    ) -> dict[str, np.ndarray]:
        """accuracy, accuracy_std and trained_steps, each (D,); NaN for what was not trained."""
        size = len(codes)
        mean, deviation, steps = (np.full(size, np.nan) for _ in range(3))
        rows = np.flatnonzero(ask(np.full(size, BEST)).feasible)
        settings = {int(row): settings_of(columns, int(row)) for row in rows}
        keys = {row: self.trainer.key(own) for row, own in settings.items()}
        for budget in self.plan.budgets:
            new = {
                keys[row]: settings[row]
                for row in rows.tolist()
                if (keys[row], budget) not in self.kept
            }
            seeds = range(self.plan.seeds)
            self.trainer.prepare([(own, seed) for own in new.values() for seed in seeds], budget)
            for row in rows.tolist():
                mean[row], deviation[row] = self._trained(keys[row], settings[row], budget)
                steps[row] = budget
            if budget < self.plan.steps:
                rows = rows[np.isfinite(mean[rows])]
                objectives = ask(mean).objectives[rows]
                rows = rows[promoted(objectives, [keys[int(r)] for r in rows], self.plan.eta)]
        return {"accuracy": mean, "accuracy_std": deviation, "trained_steps": steps}

    def _trained(self, key: str, settings: dict[str, object], steps: int) -> tuple[float, float]:
        if (key, steps) not in self.kept:
            scores = [self.trainer.score(settings, seed, steps) for seed in range(self.plan.seeds)]
            score = float(np.mean(scores))
            spread = float(np.var(scores, ddof=1)) if len(scores) > 1 else 0.0
            error = np.sqrt(spread + self.trainer.sampling(score) ** 2)
            self.kept[key, steps] = (score, float(error))
        return self.kept[key, steps]


@dataclass(frozen=True)
class Untrained:
    """What stands in for training before a run: nothing right, nothing known."""

    def of(
        self, space: Space, codes: np.ndarray, columns: Columns, ask: Ask
    ) -> dict[str, np.ndarray]:
        """Zero scores of every design."""
        names = ("accuracy", "accuracy_std", "trained_steps")
        return {name: np.zeros(len(codes)) for name in names}


def settings_of(columns: Columns, row: int) -> dict[str, object]:
    """What is trained of one design: the model with its settings, and the thresholds."""
    taken = ("model", "workload.tau_i", "workload.tau_t")
    return {
        name: column[row]
        for name, column in columns.items()
        if (name in taken or name.startswith("model.")) and column[row] is not None
    }


def promoted(objectives: np.ndarray, keys: Sequence[str], eta: int) -> np.ndarray:
    """Sorted indices of the designs whose models go on: the best 1 / eta of the models.

    objectives : (D, O) minimised. keys : of the model of each design.
    """
    quota = -(-len(set(keys)) // eta)
    chosen: set[str] = set()
    for index in in_order(objectives):
        if len(chosen) >= quota:
            break
        chosen.add(keys[index])
    return np.array([i for i, key in enumerate(keys) if key in chosen], dtype=np.intp)


def in_order(objectives: np.ndarray) -> list[int]:
    """Indices by non-dominated rank; within a rank by the distance from those before.

    objectives : (D, O), minimised.
    """
    left, order = np.arange(len(objectives)), []
    while len(left):
        edge = pareto.nondominated(objectives[left])
        order += _apart(objectives, left[edge].tolist())
        left = left[~edge]
    return order


def _apart(objectives: np.ndarray, rank: list[int]) -> list[int]:
    """A rank: the best of each objective first, then whoever is farthest from those taken."""
    points = objectives[rank]
    span = np.ptp(points, axis=0)
    scaled = (points - points.min(axis=0)) / np.where(span > 0, span, 1.0)
    taken = list(dict.fromkeys(int(i) for i in scaled.argmin(axis=0)))
    distance = np.min([((scaled - scaled[i]) ** 2).sum(axis=1) for i in taken], axis=0)
    while len(taken) < len(rank):
        distance[taken] = -1.0
        new = int(distance.argmax())
        taken.append(new)
        distance = np.minimum(distance, ((scaled - scaled[new]) ** 2).sum(axis=1))
    return [rank[i] for i in taken]
