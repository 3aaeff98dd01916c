"""What pruning at run time costs in accuracy, from data/accuracy/pruning.csv.

tau_i (DynaTran, activations): digitised SST-2 curves of BERT-Base and BERT-Tiny (AccelTran,
arXiv 2302.14705). The loss is the mean of both models' losses, made to never fall with the
threshold and never negative: a gain of .8 points at .04 is seven of 872 sentences, and a search
would pick exactly such luck. Its deviation holds the sampling of the dev set and what the two
models disagree on.
tau_t (DynaProp, gradients): no accuracy is published by threshold; loss and deviation are
assumed.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from elector.errors import InputError
from transcode.accuracy.published import DATA

#: Sparsity tables whose thresholds have a price here.
TABLES = ("dynatran",)
#: Points; standard error of a difference on the 872 sentences of SST-2's dev set, of which
#: about one in fifty changes its answer: 100 sqrt(.02 / 872).
SAMPLING = 0.48


@dataclass(frozen=True)
class Curve:
    """Loss of accuracy over one threshold.

    at : (K,) thresholds, ascending. loss, std : (K,) [points].
    """

    at: np.ndarray
    loss: np.ndarray
    std: np.ndarray

    def price(self, name: str, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(D,) loss and standard deviation; InputError beyond the published thresholds."""
        outside = (values < self.at[0]) | (values > self.at[-1])
        if outside.any():
            raise InputError(
                f"no accuracy source prices it: {self.at[0]:g} to {self.at[-1]:g} is known",
                field=f"workload.{name}", value=float(values[outside][0]),
            )  # fmt: skip
        return np.interp(values, self.at, self.loss), np.interp(values, self.at, self.std)


@dataclass(frozen=True)
class Pruning:
    """Prices of tau_i and tau_t for one task."""

    task: str
    curves: dict[str, Curve]

    def predict(self, tau_i: np.ndarray, tau_t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(D,) points to add to an accuracy (never positive), and their standard deviation."""
        first, first_std = self.curves["tau_i"].price("tau_i", tau_i)
        second, second_std = self.curves["tau_t"].price("tau_t", tau_t)
        return -(first + second), np.sqrt(first_std**2 + second_std**2)

    def describe(self) -> str:
        """One line for the terminal."""
        most = self.curves["tau_i"]
        return (
            f"pruning ({self.task}): tau_i to {most.at[-1]:g} loses "
            f"{most.loss[-1]:.1f}±{most.std[-1]:.1f} points (curves of two models); "
            "tau_t assumed"
        )


@cache
def pruning(task: str) -> Pruning:
    """The prices of a task (a name of data/accuracy/tasks.csv)."""
    with open(DATA / "pruning.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["task"] == task]
    if not rows:
        raise InputError("no accuracy source prices pruning on this task", field="workload.task",
                         value=task, allowed=("sst2",))  # fmt: skip
    curves = {}
    for name in ("tau_i", "tau_t"):
        own = [row for row in rows if row["threshold"] == name]
        assumed = all(row["evidence"] == "assumed" for row in own)
        curves[name] = _assumed(own) if assumed else _published(own)
    return Pruning(task, curves)


def _loss(row: dict[str, str]) -> float:
    return float(row["dense"]) - float(row["score"])


def _assumed(rows: Sequence[dict[str, str]]) -> Curve:
    """As uncertain as the loss itself."""
    at = np.array([float(row["value"]) for row in rows])
    loss = np.array([_loss(row) for row in rows])
    return Curve(at, loss, loss.copy())


def _published(rows: Sequence[dict[str, str]]) -> Curve:
    """Mean of the models' losses; zero, and certain, where nothing is pruned."""
    at = sorted({float(row["value"]) for row in rows} | {0.0})
    models = {row["model"]: {0.0: 0.0} for row in rows}
    for row in rows:
        models[row["model"]][float(row["value"])] = _loss(row)
    each = np.array([
        monotone(np.interp(at, sorted(found), [found[v] for v in sorted(found)]))
        for found in models.values()
    ])  # fmt: skip
    pruned = np.array(at) > 0.0
    spread = np.sqrt(each.var(axis=0, ddof=1) + SAMPLING**2)
    return Curve(np.array(at), each.mean(axis=0), np.where(pruned, spread, 0.0))


def monotone(values: np.ndarray) -> np.ndarray:
    """Nearest values (least squares) that never fall, then none below 0.

    Pool adjacent violators: Ayer et al. 1955.
    """
    pools: list[list[float]] = []
    for value in values.tolist():
        pools.append([value, 1.0])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, weight = pools.pop()
            other, more = pools.pop()
            pools.append([(mean * weight + other * more) / (weight + more), weight + more])
    found = np.concatenate([np.full(int(weight), mean) for mean, weight in pools])
    return np.maximum(found, 0.0)
