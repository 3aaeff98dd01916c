"""Bayesian linear regression of scores on the logit scale.

    eta = logit((score - floor) / (100 - floor)) = a + b size + c size^2 + offsets + noise

with zero-mean normal priors on the coefficients (Bishop, Pattern Recognition and Machine
Learning, 2006, ch. 3). `size` is log2 of the weights that the model would have if it were well
shaped: what its shape wastes (transcode.accuracy.shape_effects) is taken off. Offsets are what the
architecture did not do: another pre-training recipe, distillation, the test set, less tuning, fewer
tokens.

Outside the hull of the rows in log depth and log width nothing is known, and not knowing must not
pay: the mean falls back to that of the family which the prediction stands for, unless the trend is
below it already. The deviation grows with the distance and never falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from transcode.accuracy.hull import DepthWidthHull
from transcode.accuracy.published_scores import FEATURES, PublishedScore, ScoredTask
from transcode.accuracy.shape_effects import LogShapes, shape_effects

# Prior standard deviations on the logit scale. Halving or doubling any one of them moves the
# leave-one-out error of SST-2, MNLI and QNLI by less than 0.05 points, that of RTE by up to 0.5.
PRIOR = {
    "intercept": 10.0,
    "size": 1.0,
    "size^2": 0.15,
    "modern": 0.5,  # pre-trained better than the reference recipe, whichever way
    "modern x size": 0.2,
    "recipe": 0.4,  # what is particular to one recipe or way of distilling
    "test set": 0.3,
    "default tuning": 0.1,
    "no tuning": 0.3,
    "distilled": 0.4,
    "distilled x size": 0.2,
    "log10 tokens": 0.5,
}
#: Logit by which a doubling that a shape wastes is uncertain: half of what a doubling of weights
#: is worth to SST-2 and MNLI. Kaplan et al. and Tay et al. disagree by about as much.
UNSURE = 0.065
#: Logit for each doubling of depth or width outside the hull of the rows (assumed).
OUTSIDE = 0.15
#: Doublings outside the hull at which e^-1/2 of what the trend has above the family's mean is left
#: (assumed).
FALL_BACK = 0.7
SMALLEST, UNIT = (
    float(np.log2(25e6)),
    0.25,
)  # size is 0 at 25 million weights; its unit: four doublings
NOISE = tuple(float(v) for v in np.geomspace(0.03, 0.5, 19))


@dataclass(frozen=True)
class RegressionFit:
    """Posterior of one fit.

    names, mean, covariance : of the P terms, (P,) and (P, P) [logit]. noise : standard deviation
        of a score [logit]. hull : of the rows. family : mean (reference protocol) of the models of
        the stated recipe [logit].
    """

    names: tuple[str, ...]
    mean: np.ndarray
    covariance: np.ndarray
    noise: float
    hull: DepthWidthHull
    family: float

    @cached_property
    def parabola(self) -> tuple[float, float, float, float, float]:
        """Coefficients of the variance of a + b size + c size^2 plus noise^2 in powers of size."""
        s = self.covariance
        return (
            float(s[0, 0] + self.noise**2),
            float(2.0 * s[0, 1]),
            float(s[1, 1] + 2.0 * s[0, 2]),
            float(2.0 * s[1, 2]),
            float(s[2, 2]),
        )


@dataclass(frozen=True)
class Predicted:
    """Scores of D designs on the logit scale.

    eta, std : (D,) mean and standard deviation. beyond : (D,) doublings outside the hull.
    """

    eta: np.ndarray
    std: np.ndarray
    beyond: np.ndarray

    def shifted(self, shift: np.ndarray, variance: np.ndarray) -> Predicted:
        """The same with `shift` and `variance`, each (D,) [logit], added."""
        return Predicted(self.eta + shift, np.sqrt(self.std**2 + variance), self.beyond)

    def points(self, task: ScoredTask) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (D,) of the score of `task` [points].

        A logit is worth fewest points near the floor. That must not make a model look the better
        known the farther outside it lies: there it is counted as in the middle, where it is worth
        most, ever more with the distance.
        """
        mean, slope = task.to_score(self.eta)
        if self.eta.min() < 0.0:
            more = task.steepest - slope
            more *= self.beyond / (0.5 + self.beyond)
            more *= self.eta < 0.0
            slope += more
        slope *= self.std
        return mean, slope


def fit_rows(task: ScoredTask, data: Sequence[PublishedScore]) -> RegressionFit:
    """Posterior of the coefficients; the noise by maximum marginal likelihood.

    task : whose scores these are. data : the rows, at least one.
    """
    names, prior = _terms(task, data)
    shapes = row_shapes(data)
    lost = shape_effects().lost(shapes)
    x = _matrix(task, names, data, _size(shapes, lost))
    y = task.to_eta(np.array([row.score for row in data]))
    known = (UNSURE * lost) ** 2

    def evidence(noise: float) -> float:
        """Log marginal likelihood up to a constant (Bishop eq. 3.86)."""
        k = (x * prior**2) @ x.T + np.diag(noise**2 + known)
        return -0.5 * float(np.linalg.slogdet(k)[1] + y @ np.linalg.solve(k, y))

    noise = max(NOISE, key=evidence)
    weight = 1.0 / (noise**2 + known)
    precision = x.T @ (x * weight[:, None]) + np.diag(1.0 / prior**2)  # Bishop eq. 3.54
    covariance = np.linalg.inv(precision)
    mean = np.round(covariance @ (x.T @ (weight * y)), 10)
    # Rounded, so that the last bit does not depend on the linear algebra library.
    hull = DepthWidthHull.around([r.layers for r in data], [r.hidden for r in data])
    family = _family_mean(task, data, mean)
    return RegressionFit(names, mean, np.round(covariance, 12), noise, hull, family)


def _family_mean(task: ScoredTask, data: Sequence[PublishedScore], mean: np.ndarray) -> float:
    """Mean eta under the reference protocol of the models that were trained by it, each once."""
    own = [r for r in data if r.recipe == task.reference and not r.distilled] or list(data)
    models = {tuple(getattr(row, key) for key in FEATURES): row for row in own}
    shapes = row_shapes(list(models.values()))
    size = _size(shapes, shape_effects().lost(shapes))
    return round(float(np.mean(_trend(mean, size))), 10)


def _terms(task: ScoredTask, data: Sequence[PublishedScore]) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and prior standard deviations (P,) of the terms that the rows call for."""
    fixed = [name for name in PRIOR if name != "recipe"]
    groups = sorted({row.group for row in data} - {task.reference})
    prior = [PRIOR[name] for name in fixed] + [PRIOR["recipe"]] * len(groups)
    return (*fixed, *groups), np.array(prior)


def _matrix(
    task: ScoredTask, names: Sequence[str], data: Sequence[PublishedScore], size: np.ndarray
) -> np.ndarray:
    """Design matrix (rows, P); a recipe that the fit has not seen adds nothing."""
    modern = np.array([row.recipe != task.reference for row in data], dtype=float)
    distilled = np.array([row.distilled for row in data], dtype=float)
    tokens = [0.0 if row.tokens is None else np.log10(row.tokens / 300e9) for row in data]
    columns = {
        "intercept": np.ones(len(data)),
        "size": size,
        "size^2": size**2,
        "modern": modern,
        "modern x size": modern * size,
        "test set": np.array([row.split == "test" for row in data], dtype=float),
        "default tuning": np.array([row.tuning == "default" for row in data], dtype=float),
        "no tuning": np.array([row.tuning == "untuned" for row in data], dtype=float),
        "distilled": distilled,
        "distilled x size": distilled * size,
        "log10 tokens": np.array(tokens),
    }
    if task.reference == "pile":  # zero-shot: every row is scored on the task's one set
        columns["test set"] = np.zeros(len(data))
    for name in names[len(columns) :]:
        columns[name] = np.array([row.group == name for row in data], dtype=float)
    return np.stack([columns[name] for name in names], axis=1)


def predict_rows(task: ScoredTask, fit: RegressionFit, data: Sequence[PublishedScore]) -> Predicted:
    """What the fit says of rows under their own protocol (cross-validation only)."""
    shapes = row_shapes(data)
    lost = shape_effects().lost(shapes)
    size = _size(shapes, lost)
    x = _matrix(task, fit.names, data, size)
    unseen = np.array([row.group not in (*fit.names, task.reference) for row in data])
    variance = np.einsum("ij,jk,ik->i", x, fit.covariance, x) + fit.noise**2
    variance += (UNSURE * lost) ** 2 + unseen * PRIOR["recipe"] ** 2
    # What being outside the hull does is the same under every protocol.
    trend, own_variance, _ = _inside(fit, shapes)
    reference = predict_reference(fit, shapes)
    return reference.shifted(x @ fit.mean - trend, variance - own_variance)


def predict_reference(fit: RegressionFit, shapes: LogShapes) -> Predicted:
    """What the fit says of D models under the reference protocol.

    Outside the hull what the trend has above the family's mean is lost with the distance, and the
    deviation grows with it.
    """
    eta, std, _ = _inside(fit, shapes)
    np.sqrt(std, out=std)
    beyond = fit.hull.beyond(shapes.depth, shapes.width)
    above = np.maximum(eta - fit.family, 0.0)
    eta -= above
    left = beyond * beyond
    left *= -0.5 / FALL_BACK**2
    np.exp(left, out=left)
    above *= left
    eta += above
    std += np.multiply(beyond, OUTSIDE, out=left)
    return Predicted(eta, std, beyond)


def _inside(fit: RegressionFit, shapes: LogShapes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """eta, its variance and the size (D,) by the trend alone: intercept, size and size^2.

    Written out term by term: a matrix product would not give the same bits for one design as for
    a million.
    """
    lost = shape_effects().lost(shapes)
    size = _size(shapes, lost)
    one, first, second, third, fourth = fit.parabola
    variance = size * fourth
    for coefficient in (third, second, first):
        variance += coefficient
        variance *= size
    variance += one
    lost *= UNSURE
    lost *= lost
    variance += lost
    return _trend(fit.mean, size), variance, size


def _trend(mean: np.ndarray, size: np.ndarray) -> np.ndarray:
    """eta (D,) of models by size under the reference protocol; it never falls with size.

    Beyond the turning point of the parabola it stays level.
    """
    a, b, c = (float(v) for v in mean[:3])
    turn = -b / (2.0 * c) if c else np.inf
    level = np.minimum(size, turn) if c < 0 else np.maximum(size, turn) if c > 0 else size
    eta = level * c
    eta += b
    eta *= level
    eta += a
    return eta


def _size(shapes: LogShapes, lost: np.ndarray) -> np.ndarray:
    """Size (D,) in units of four doublings: of the weights less what the shape wastes."""
    size = shapes.weights - lost
    size -= SMALLEST
    size *= UNIT
    return size


def shared_variance(fit: RegressionFit, shapes: LogShapes, other: LogShapes) -> np.ndarray:
    """Covariance (D,) of eta between designs and one other, `other` (1,): the coefficients'.

    Noise and what the rows say nothing about are each design's own.
    """
    sizes = (_size(s, shape_effects().lost(s)) for s in (shapes, other))
    powers, same = (np.stack([np.ones_like(s), s, s * s]) for s in sizes)
    weights = fit.covariance[:3, :3] @ same[:, 0]
    return powers[0] * weights[0] + powers[1] * weights[1] + powers[2] * weights[2]


def row_shapes(data: Sequence[PublishedScore]) -> LogShapes:
    """The shapes of rows."""
    return LogShapes.of(
        *(np.array([getattr(row, key) for row in data], dtype=float) for key in FEATURES)
    )
