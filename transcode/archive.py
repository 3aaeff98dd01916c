"""Every non-dominated feasible design found so far: unbounded, nothing is ever cut."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from transcode import pareto
from transcode.objective import Outcome


@dataclass(frozen=True)
class Archive:
    """F designs, none dominated by another.

    ids : (F,) int64, number of the design in the order of evaluation.
    codes : (F, S). objectives : (F, O), minimised. results : name -> (F,).
    """

    ids: np.ndarray
    codes: np.ndarray
    objectives: np.ndarray
    results: dict[str, np.ndarray]

    @classmethod
    def empty(cls, parameters: int, objectives: int, results: Iterable[str]) -> Archive:
        """An archive of nothing, with the columns of the designs to come."""
        return cls(
            np.zeros(0, dtype=np.int64),
            np.zeros((0, parameters), dtype=np.int32),
            np.zeros((0, objectives)),
            {name: np.zeros(0) for name in results},
        )

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: np.ndarray) -> Archive:
        """The designs at `index`."""
        return Archive(
            self.ids[index],
            self.codes[index],
            self.objectives[index],
            {name: values[index] for name, values in self.results.items()},
        )

    def add(self, first_id: int, codes: np.ndarray, outcome: Outcome) -> Archive:
        """The archive after a batch whose designs are numbered from `first_id`."""
        feasible = np.flatnonzero(outcome.feasible)
        if len(feasible) == 0:
            return self
        stays, joins = pareto.merge(self.objectives, outcome.objectives[feasible])
        rows = feasible[joins]
        if len(rows) == 0:
            return self
        kept = self.take(stays)
        return Archive(
            np.concatenate([kept.ids, first_id + rows]),
            np.concatenate([kept.codes, codes[rows]]),
            np.concatenate([kept.objectives, outcome.objectives[rows]]),
            {
                name: np.concatenate([values, outcome.results[name][rows]])
                for name, values in kept.results.items()
            },
        )

    def sorted(self) -> Archive:
        """By the first objective, best first, then the others, then the id."""
        keys = (self.ids, *reversed(self.objectives.T))
        return self.take(np.lexsort(keys))
