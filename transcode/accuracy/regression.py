"""Bayesian linear regression of scores on the logit scale.

    eta = logit((score - floor) / (100 - floor)) = a + b size + c size^2 + offsets + noise

with zero-mean normal priors on the coefficients (Bishop, Pattern Recognition and Machine
Learning, 2006, ch. 3). Offsets are what the architecture did not do: another pre-training recipe,
distillation, the test set, less tuning, fewer tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transcode.accuracy.published import FEATURES, Row, Task

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
SHAPE = 0.05  # logit per unit of aspect, feed-forward ratio and head size: not in the mean
OUTSIDE = (0.3, 0.15, 0.15, 0.15)  # logit per unit outside the range of the rows: size, shape
NOISE = tuple(float(v) for v in np.geomspace(0.03, 0.5, 19))


@dataclass(frozen=True)
class Fit:
    """Posterior of one fit. box : (4, 2) range of size, aspect, ff and head in the rows."""

    names: tuple[str, ...]
    mean: np.ndarray
    covariance: np.ndarray
    noise: float
    box: np.ndarray


def fit_rows(task: Task, data: Sequence[Row]) -> Fit:
    """Posterior of the coefficients; the noise by maximum marginal likelihood."""
    names, prior = _terms(task, data)
    x = _matrix(task, names, data)
    shape = _row_shape(data)
    y = task.to_eta(np.array([row.score for row in data]))
    known = SHAPE**2 * (shape[1:] ** 2).sum(axis=0)

    def evidence(noise: float) -> float:
        """Log marginal likelihood up to a constant (Bishop eq. 3.86)."""
        k = (x * prior**2) @ x.T + np.diag(noise**2 + known)
        return -0.5 * float(np.linalg.slogdet(k)[1] + y @ np.linalg.solve(k, y))

    noise = max(NOISE, key=evidence)
    weight = 1.0 / (noise**2 + known)
    precision = x.T @ (x * weight[:, None]) + np.diag(1.0 / prior**2)  # Bishop eq. 3.54
    covariance = np.linalg.inv(precision)
    mean = covariance @ (x.T @ (weight * y))
    box = np.stack([shape.min(axis=1), shape.max(axis=1)], axis=1)
    # Rounded, so that the last bit does not depend on the linear algebra library.
    return Fit(names, np.round(mean, 10), np.round(covariance, 12), noise, box)


def _terms(task: Task, data: Sequence[Row]) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and prior standard deviations (P,) of the terms that the rows call for."""
    fixed = [name for name in PRIOR if name != "recipe"]
    groups = sorted({row.group for row in data} - {task.reference})
    prior = [PRIOR[name] for name in fixed] + [PRIOR["recipe"]] * len(groups)
    return (*fixed, *groups), np.array(prior)


def _matrix(task: Task, names: Sequence[str], data: Sequence[Row]) -> np.ndarray:
    """Design matrix (rows, P); a recipe that the fit has not seen adds nothing."""
    size = _row_shape(data)[0]
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


def predict_rows(task: Task, fit: Fit, data: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """eta and its variance of rows under their own protocol (cross-validation only)."""
    x = _matrix(task, fit.names, data)
    unseen = np.array([row.group not in (*fit.names, task.reference) for row in data])
    variance = np.einsum("ij,jk,ik->i", x, fit.covariance, x) + fit.noise**2
    variance += _unknown(fit, _row_shape(data)) + unseen * PRIOR["recipe"] ** 2
    return x @ fit.mean, variance


def predict_reference(fit: Fit, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """eta and its variance (D,) under the reference protocol: intercept, size and size^2 only.

    Written out term by term: a matrix product would not give the same bits for one design as
    for a million. The mean never falls with size: beyond the turning point of the parabola it
    stays level.
    """
    size = shape[0]
    a, b, c = (float(v) for v in fit.mean[:3])
    turn = -b / (2.0 * c) if c else np.inf
    level = np.minimum(size, turn) if c < 0 else np.maximum(size, turn) if c > 0 else size
    eta = a + level * (b + c * level)
    s = fit.covariance
    square = size * size
    variance = s[0, 0] + fit.noise**2 + size * (2.0 * s[0, 1]) + square * (s[1, 1] + 2.0 * s[0, 2])
    variance += size * square * (2.0 * s[1, 2]) + square * square * s[2, 2]
    return eta, variance + _unknown(fit, shape)


def shared_variance(fit: Fit, shape: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Covariance (D,) of eta between designs and another one, shape (4, 1): the coefficients'.

    Noise and what the rows say nothing about are each design's own.
    """
    powers, same = (np.stack([np.ones(len(s)), s, s * s]) for s in (shape[0], other[0]))
    weights = fit.covariance[:3, :3] @ same[:, 0]
    return powers[0] * weights[0] + powers[1] * weights[1] + powers[2] * weights[2]


def _unknown(fit: Fit, shape: np.ndarray) -> np.ndarray:
    """Variance (D,) of what the rows do not show: the shape, and being outside their range."""
    total = np.zeros(shape.shape[1])
    for i, value in enumerate(shape):
        beyond = np.maximum(0.0, np.maximum(fit.box[i, 0] - value, value - fit.box[i, 1]))
        total += (OUTSIDE[i] * beyond) ** 2
        if i > 0:
            total += (SHAPE * value) ** 2
    return total


def shape_of(
    layers: np.ndarray, hidden: np.ndarray, heads: np.ndarray, ff: np.ndarray
) -> np.ndarray:
    """Size, aspect, feed-forward ratio and head size as (4, D), zero for an ordinary model.

    size : log2(weights / 25 million) / 4; 4 layers of 512 give -0.25, BERT-base 0.44.
    aspect : log2(layers / hidden x 64) / 2; ff : log2(ff / (4 hidden)); head : log2(width / 64).
    """
    width, depth = np.log2(hidden), np.log2(layers)
    return np.stack(
        [
            (depth + width + np.log2(4.0 * hidden + 2.0 * ff) - np.log2(25e6)) * 0.25,
            (depth - width + 6.0) * 0.5,
            np.log2(ff) - width - 2.0,
            width - np.log2(heads) - 6.0,
        ]
    )


def _row_shape(data: Sequence[Row]) -> np.ndarray:
    columns = [np.array([getattr(row, key) for row in data], dtype=float) for key in FEATURES]
    return shape_of(*columns)
