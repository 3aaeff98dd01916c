"""What heads other than attention, and stacked feed-forward layers, do to an accuracy.

A small hierarchical regression on the logit scale of the surrogate:

    residual = offset + wma share + linear share + convolution share + noise

with normal priors; `linear` heads are Fourier and cosine transforms. The data are the FlexiBERT
2.0 models with a GLUE average whose pre-training converged: nine, so that the priors decide most
of it. The prior of `linear` holds FNet (Lee-Thorp et al. 2021, arXiv 2105.03824): all attention
replaced keeps 92-97 % of BERT's GLUE average, MNLI falls from 88 to 78 and SST-2 hardly moves,
which is -0.4 on the logit scale and differs by as much from task to task. The other priors have
mean zero. An effect enters the mean only where its sign is at least 90 % sure; its deviation
always counts. No published score tells what stacks do beside their weights: deviation only.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

from transcode.accuracy.published_scores import DATA, FEATURES, rows, task_table
from transcode.accuracy.regression import NOISE, fit_rows, predict_reference
from transcode.accuracy.shape_effects import LogShapes

#: Shares of heads that are not scaled dot-product attention, as `elector.features` names them.
SHARES = ("wma_heads", "linear_heads", "convolution_heads")
STACKS = "stacks"
_TYPES = {
    "wma_heads": ("wma",),
    "linear_heads": ("dft", "dct"),
    "convolution_heads": ("c5", "c9", "c13"),
}
#: Prior mean and standard deviation [logit] of replacing every attention head.
PRIOR = {"wma_heads": (0.0, 0.3), "linear_heads": (-0.4, 0.4), "convolution_heads": (0.0, 0.3)}
OFFSET = 0.4  # the recipe of the nine models; not part of a prediction
PER_DOUBLING = 0.1  # logit per doubling of the stacks of a layer, either way
SURE = 0.9


@dataclass(frozen=True)
class HeadTypeEffects:
    """Posterior of the effects of SHARES.

    mean : (3,) of the posterior; used : (3,) what enters a prediction. covariance : (3, 3).
    models : how many it was fitted on. mae, mae_without : of left-out models [points], with the
        effects and with the offset alone.
    """

    mean: np.ndarray
    used: np.ndarray
    covariance: np.ndarray
    models: int
    mae: float
    mae_without: float

    def of(self, features: Mapping[str, np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray]:
        """(D,) shift and variance [logit] of designs with these shares of heads."""
        shares = [np.broadcast_to(features.get(name, np.zeros(1)), (size,)) for name in SHARES]
        stacks = np.log2(np.broadcast_to(features.get(STACKS, np.ones(1)), (size,)))
        shift, variance = np.zeros(size), (PER_DOUBLING * stacks) ** 2
        for i, own in enumerate(shares):  # term by term: one design has the bits of a batch
            shift = shift + own * self.used[i]
            for j, other in enumerate(shares):
                variance = variance + own * other * self.covariance[i, j]
        return shift, variance

    def describe(self) -> str:
        """One line for the terminal."""
        parts = []
        for name, mean, used, var in zip(
            SHARES, self.mean, self.used, np.diag(self.covariance), strict=True
        ):
            word = name.removesuffix("_heads")
            shown = f"{mean:+.2f}±{np.sqrt(var):.2f}"
            parts.append(f"{word} {shown}{'' if used else ' (deviation only)'}")
        return (
            f"other heads (all of them, logit): {', '.join(parts)}; {self.models} models, "
            f"left-out MAE {self.mae:.1f} points against {self.mae_without:.1f} without: "
            "the data decide little"
        )


def unlike_attention(features: Mapping[str, np.ndarray], size: int) -> np.ndarray:
    """(D,) bool: whether a design has other heads than attention, or stacked feed-forward."""
    unlike = np.broadcast_to(features.get(STACKS, np.ones(1)) != 1.0, (size,))
    for name in SHARES:
        unlike = unlike | np.broadcast_to(features.get(name, np.zeros(1)) > 0.0, (size,))
    return unlike


@cache
def head_type_effects() -> HeadTypeEffects:
    """The effects, from data/accuracy/flexibert.csv."""
    residual, shares, at = _data()
    mean, covariance = _fit(residual, shares)
    own, block = mean[1:], covariance[1:, 1:]
    chance = [
        NormalDist().cdf(abs(m) / s) for m, s in zip(own, np.sqrt(np.diag(block)), strict=True)
    ]
    used = np.where(np.array(chance) >= SURE, own, 0.0)
    with_it, without = _left_out(residual, shares, at)
    return HeadTypeEffects(
        np.round(own, 10), np.round(used, 10), np.round(block, 12), len(residual), with_it, without
    )


def _data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residuals (D,) [logit] against the surrogate of GLUE, shares (D, 3), predicted eta (D,)."""
    with open(DATA / "flexibert.csv", newline="", encoding="utf-8") as file:
        table = [row for row in csv.DictReader(file) if row["use"] == "yes"]
    task = task_table()["glue"]
    columns = [np.array([float(row[key]) for row in table]) for key in FEATURES]
    eta = predict_reference(fit_rows(task, rows("glue")), LogShapes.of(*columns)).eta
    score = np.array([float(row["score"]) for row in table])
    counts = {
        t: np.array([float(row[t]) for row in table])
        for t in ("sdp", "wma", "dft", "dct", "c5", "c9", "c13")
    }
    total = np.sum(list(counts.values()), axis=0)
    shares = np.stack(
        [sum((counts[t] for t in _TYPES[name]), np.zeros(len(table))) / total for name in SHARES],
        axis=1,
    )
    return task.to_eta(score) - eta, shares, eta


def _fit(residual: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean (4,) and covariance (4, 4): offset, then SHARES."""
    x = np.concatenate([np.ones((len(shares), 1)), shares], axis=1)
    center = np.array([0.0, *(PRIOR[name][0] for name in SHARES)])
    prior = np.array([OFFSET, *(PRIOR[name][1] for name in SHARES)])
    y = residual - x @ center

    def evidence(noise: float) -> float:
        k = (x * prior**2) @ x.T + noise**2 * np.eye(len(y))
        return -0.5 * float(np.linalg.slogdet(k)[1] + y @ np.linalg.solve(k, y))

    noise = max(NOISE, key=evidence)
    covariance = np.linalg.inv(x.T @ x / noise**2 + np.diag(1.0 / prior**2))
    return center + covariance @ (x.T @ y) / noise**2, covariance


def _left_out(residual: np.ndarray, shares: np.ndarray, eta: np.ndarray) -> tuple[float, float]:
    """Mean error [points] of left-out models, with the effects and with an offset alone."""
    task = task_table()["glue"]
    errors = []
    for i in range(len(residual)):
        kept = np.arange(len(residual)) != i
        mean, _ = _fit(residual[kept], shares[kept])
        alone, _ = _fit(residual[kept], np.zeros_like(shares[kept]))
        truth = task.to_score(eta[i : i + 1] + residual[i])[0][0]
        errors.append(
            [
                abs(task.to_score(eta[i : i + 1] + guess)[0][0] - truth)
                for guess in (mean[0] + shares[i] @ mean[1:], alone[0])
            ]
        )
    with_it, without = np.mean(errors, axis=0)
    return float(with_it), float(without)
