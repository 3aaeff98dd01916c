"""What a design will be worth, as far as those tell that were looked at.

Children are cheap and evaluations are not: of several children those are evaluated that are
expected to add most to the hypervolume of the archive. What is expected comes from a least
squares fit of the objectives to products of features of designs, kept as sums, so that a
generation is learnt in the time of a matrix product (Jin, Surrogate-assisted evolutionary
computation, Swarm and Evolutionary Computation 1, 2011; ranking by volume: Ponweiser et al.,
Multiobjective optimization on a limited budget of evaluations using model-assisted S-metric
selection, 2008).

Axes: D designs, S parameters, P features, Q products of two, O objectives, F of the archive.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from transcode import pareto
from transcode.engines.evolve.features import Features
from transcode.objective import Outcome

#: What holds coefficients back from 0: as if so many more designs had said so.
RIDGE = 0.3
#: Designs that are learnt before anything is expected, and most that are of one generation.
LEAST, MOST = 64, 4_096
#: The fit is made anew when so many times more is known.
ANEW = 1.25
#: Share of what is evaluated that nothing is expected of: a fit to what is known knows little of
#: what is new.
ANYHOW = 0.3
#: Accuracies are fitted by their distance from so many points, which is at least so small.
_BEST, _NEAREST = 100.0, 1e-3


@dataclass
class Surrogate:
    """Sums over the designs that were learnt, and the fit.

    learnt, fitted : designs that are in the sums, and that were in them at the last fit.
    signs : (O,) of objectives whose logarithm is fitted, 0 of others.
    """

    features: Features
    learnt: int = 0
    fitted: int = 0
    signs: np.ndarray = field(init=False)
    _shift: np.ndarray = field(init=False)
    _squares: np.ndarray = field(init=False)  # (Q, Q)
    _moments: np.ndarray = field(init=False)  # (Q, O)
    _weights: np.ndarray = field(init=False)  # (O, P, P) of the products of two features

    def __post_init__(self) -> None:
        own, names = self.features.space.accuracy, [o.name for o in self.features.space.objectives]
        points = np.array([name == own.searched and own.quantity == "accuracy" for name in names])
        self._shift = np.where(points, _BEST, 0.0)
        self.signs = np.zeros(len(names))
        count, all_of_them = self.features.count, len(self.features.pairs[0])
        self._squares = np.zeros((all_of_them, all_of_them))
        self._moments = np.zeros((all_of_them, len(names)))
        self._weights = np.zeros((len(names), count, count))

    @property
    def ready(self) -> bool:
        """Whether enough was learnt to expect anything."""
        return self.fitted > 0

    def learn(self, codes: np.ndarray, outcome: Outcome) -> None:
        """Takes in what became of (D, S) designs; of the feasible ones, at most `MOST`."""
        rows = np.flatnonzero(outcome.feasible)
        rows = rows[:: max(1, -(-len(rows) // MOST))]
        if not len(rows):
            return
        values = outcome.objectives[rows] + self._shift
        if not self.learnt:
            self.signs = (values > 0).all(axis=0) * 1.0 - (values < 0).all(axis=0)
        products = self.features.products(self.features.of(codes[rows]))
        self._squares += products @ products.T
        self._moments += products @ self._bent(values)
        self.learnt += len(rows)
        if self.learnt >= max(LEAST, ANEW * self.fitted):
            self._fit()

    def _fit(self) -> None:
        ridge = np.full(len(self._squares), RIDGE)
        ridge[0] = 0.0  # the mean is not held back
        self._weights[:, *self.features.pairs] = np.linalg.solve(
            self._squares + np.diag(ridge), self._moments
        ).T
        self.fitted = self.learnt

    def bent(self, objectives: np.ndarray) -> np.ndarray:
        """(D, O) objectives as they are fitted."""
        return self._bent(objectives + self._shift)

    def unbent(self, fitted: np.ndarray) -> np.ndarray:
        """(..., O) objectives that fitted values stand for."""
        size = self.signs * np.exp(np.minimum(self.signs * fitted, np.log(np.finfo(float).max)))
        return np.where(self.signs != 0, size, fitted) - self._shift

    def _bent(self, values: np.ndarray) -> np.ndarray:
        """(D, O) shifted objectives as they are fitted."""
        least = np.where(self._shift > 0, _NEAREST, np.finfo(float).tiny)
        size = np.log(np.maximum(values * self.signs, least))
        return np.where(self.signs != 0, self.signs * size, values)

    def expected(self, codes: np.ndarray) -> np.ndarray:
        """(D, O) objectives of (D, S) designs."""
        features = self.features.of(codes)
        fitted = np.stack(
            [((own @ features) * features).sum(axis=0) for own in self._weights], axis=1
        )
        return self.unbent(fitted)

    def best(
        self, codes: np.ndarray, count: int, front: np.ndarray, reference: np.ndarray
    ) -> np.ndarray:
        """(count,) sorted places of designs to evaluate: those that may add most, if as expected.

        A share of them are the first, whatever is expected of them.
        front : (F, O) that they add to. reference : (O,) of the hypervolume.
        """
        anyhow = int(ANYHOW * count)
        adds = pareto.room(front, self.expected(codes[anyhow:]), reference)
        most = np.sort(np.argsort(-adds, kind="stable")[: count - anyhow])
        return np.concatenate([np.arange(anyhow), anyhow + most])
