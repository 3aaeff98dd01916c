"""Gaussian processes over the features of designs: what few designs say of all others.

One for each objective, with a linear and a Matern 5/2 kernel over the same scaled features, a
length for each feature; lengths and variances are those of the largest posterior density (Rasmussen
and Williams, Gaussian Processes for Machine Learning, 2006, chapters 4 and 5).

Axes: N designs known, C candidates, P features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Steps of the first fit and of each later one, which begins where the last one ended, and how far
#: a step goes in a logarithm (Kingma and Ba, Adam, 2015).
FIRST_STEPS, STEPS, RATE = 60, 6, 0.1
#: Prior of logarithms: of an inverse length, of linear, local and noise variance: mean, deviation.
#: Few of many features matter; costs are nearly products of them; the simulator has no noise.
PRIOR = ((-2.0, 1.0), (0.0, 1.5), (-2.0, 1.5), (-7.0, 1.5))
#: Least noise variance, of values of variance 1.
_LEAST_NOISE = 1e-5


@dataclass
class Kriging:
    """Of one quantity. places : log of inverse lengths (P), linear, local and noise variance."""

    places: np.ndarray
    fitted: bool = False

    @classmethod
    def of(cls, features: int) -> Kriging:
        """Nothing known yet."""
        return cls(np.concatenate([np.full(features, PRIOR[0][0]), [m for m, _ in PRIOR[1:]]]))

    def learn(self, features: np.ndarray, values: np.ndarray) -> None:
        """Takes (N, P) features of designs and their (N,) values; what was known before is gone."""
        self.mean, self.spread = float(values.mean()), float(values.std()) or 1.0
        self.known = features
        scaled = (values - self.mean) / self.spread
        first, second = np.zeros_like(self.places), np.zeros_like(self.places)
        steps = STEPS if self.fitted else FIRST_STEPS
        for step in range(1, steps + 1):
            slope = self.slope(scaled)
            first = 0.9 * first + 0.1 * slope
            second = 0.99 * second + 0.01 * slope**2
            size = np.sqrt(second / (1.0 - 0.99**step)) + 1e-9
            self.places = self.places - RATE * first / (1.0 - 0.9**step) / size
        self.fitted = True
        inverse = _inverse(self.covariance(features, features) + self.noise(len(features)))
        self.inverse, self.weights = inverse, (inverse * scaled).sum(axis=1)

    def noise(self, count: int) -> np.ndarray:
        """(N, N) variance of what is measured, apart from that of what is.

        count : N, the designs.
        """
        return np.eye(count) * (np.exp(self.places[-1]) + _LEAST_NOISE)

    def _scaled(self, features: np.ndarray) -> np.ndarray:
        return features * np.exp(self.places[:-3])

    def covariance(self, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        """(., .) covariance of what two sets of designs are worth."""
        linear, local = np.exp(self.places[-3:-1])
        one, two = self._scaled(one), self._scaled(two)
        product = _times(one, two)
        far = np.sqrt(5.0 * _squares(one, two, product))
        return linear * (1.0 + product) + local * (1.0 + far + far**2 / 3.0) * np.exp(-far)

    def slope(self, values: np.ndarray) -> np.ndarray:
        """Gradient of the negative log posterior density by `places`.

        values : (N,) what was measured.
        """
        scaled = self._scaled(self.known)
        linear, local, noise = np.exp(self.places[-3:])
        product = _times(scaled, scaled)
        far = np.sqrt(5.0 * _squares(scaled, scaled, product))
        decay = np.exp(-far)
        smooth = (1.0 + far + far**2 / 3.0) * decay
        whole = linear * (1.0 + product) + local * smooth
        inverse = _inverse(whole + self.noise(len(values)))
        weights = (inverse * values).sum(axis=1)
        pull = 0.5 * (inverse - np.outer(weights, weights))
        near = pull * (local * 5.0 / 3.0 * (1.0 + far) * decay)
        own = near.sum(axis=1)[:, None] * scaled**2
        squares = 2.0 * (own - scaled * _times(near, scaled.T)).sum(axis=0)
        lengths = -squares + 2.0 * linear * (scaled * _times(pull, scaled.T)).sum(axis=0)
        variances = [
            linear * (pull * (1.0 + product)).sum(),
            local * (pull * smooth).sum(),
            noise * np.trace(pull),
        ]
        count = len(self.places) - 3
        mean, deviation = np.repeat(np.array(PRIOR), [count, 1, 1, 1], axis=0).T
        return np.concatenate([lengths, variances]) + (self.places - mean) / deviation**2

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(C,) mean and standard deviation at (C, P) features."""
        linear, local = np.exp(self.places[-3:-1])
        across = self.covariance(features, self.known)
        mean = (across * self.weights).sum(axis=1)
        own = linear * (1.0 + (self._scaled(features) ** 2).sum(axis=1)) + local
        left = np.maximum(own - (_times(across, self.inverse) * across).sum(axis=1), 1e-12)
        return self.mean + self.spread * mean, self.spread * np.sqrt(left)


def _squares(one: np.ndarray, two: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Squared distances, from scalar products."""
    sizes = (one**2).sum(axis=1)[:, None] + (two**2).sum(axis=1)
    return np.maximum(sizes - 2.0 * product, 1e-12)


def _times(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """(., .) products of the rows of two matrices.

    Not by BLAS, whose last digits depend on the number of its threads, which wait for one another
    longer than such small products take.
    """
    return np.asarray(np.einsum("ik,jk->ij", one, two))


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Of a symmetric positive definite matrix, by Gauss and Jordan; not by LAPACK, as above."""
    left = matrix.copy()
    for place in range(len(left)):
        pivot = left[place, place]
        row, column = left[place] / pivot, left[:, place].copy()
        left -= column[:, None] * row
        left[place], left[:, place] = row, -column / pivot
        left[place, place] = 1.0 / pivot
    return left
