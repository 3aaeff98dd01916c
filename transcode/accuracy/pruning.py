"""What pruning at run time costs in accuracy, by the sparsity table whose thresholds are searched.

`dynatran` is priced by data/accuracy/pruning.csv:

tau_i (DynaTran, activations): digitised SST-2 curves of BERT-Base and BERT-Tiny (AccelTran,
arXiv 2302.14705). The loss is the mean of both models' losses, made to never fall with the
threshold and never negative: a gain of .8 points at .04 is seven of 872 sentences, and a search
would pick exactly such luck. Its deviation holds the sampling of the dev set and what the two
models disagree on.
tau_t (DynaProp, gradients): no accuracy is published by threshold; loss and deviation are
assumed.

`trained-...` (and `dynaprop...`) is priced by the trained models of data/accuracy/dynaprop.csv,
and a table of the user's own by the accuracies in its rows (transcode.accuracy.threshold_surface).
Any other has no price.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from elector.base.errors import InputError
from transcode.accuracy.published_scores import DATA
from transcode.accuracy.threshold_surface import (
    TrainedPrices,
    TrainedScore,
    monotone,
    of_rows,
    of_table,
    prices,
)
from transcode.accuracy.user_rows import read_rows

#: TrainedScore models whose rows hold tau_i and tau_t, for the shipped tables of that name.
MEASURED, PREFIXES = DATA / "dynaprop.csv", ("dynaprop", "trained-")
CURVES = "dynatran"
#: Points; standard error of a difference on the 872 sentences of SST-2's dev set, of which
#: about one in fifty changes its answer: 100 sqrt(.02 / 872).
SAMPLING = 0.48


@dataclass(frozen=True)
class ThresholdCurve:
    """Loss of accuracy over one threshold.

    at : (K,) thresholds, ascending. loss, std : (K,) [points].
    """

    at: np.ndarray
    loss: np.ndarray
    std: np.ndarray

    def price(self, name: str, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(D,) loss and standard deviation; InputError beyond the published thresholds.

        name : of the threshold. values : (D,) thresholds.
        """
        outside = (values < self.at[0]) | (values > self.at[-1])
        if outside.any():
            raise InputError(
                f"no accuracy source prices it: {self.at[0]:g} to {self.at[-1]:g} is known",
                field=f"workload.{name}",
                value=float(values[outside][0]),
            )
        return np.interp(values, self.at, self.loss), np.interp(values, self.at, self.std)


@dataclass(frozen=True)
class CurvePrices:
    """TrainedPrices of tau_i and tau_t for one task."""

    task: str
    curves: dict[str, ThresholdCurve]

    def predict(
        self, tau_i: np.ndarray, tau_t: np.ndarray, score: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(D,) points to add to an accuracy (never positive), and their standard deviation.

        score : not used, the curves hold points.
        """
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


def pruning_prices(task: str, table: str = CURVES) -> CurvePrices | TrainedPrices:
    """What the thresholds of a sparsity table cost a task.

    task : a name of data/accuracy/tasks.csv, or of the user's rows.
    table : a shipped sparsity table, or a file. InputError where nothing prices it.
    """
    if table == CURVES:
        return _curves(task)
    return prices(_trained(table), task, Path(table).name)


def priced(table: str) -> bool:
    """Whether something says what the thresholds of this sparsity table cost."""
    return table == CURVES or bool(_trained(table))


def _trained(table: str) -> tuple[TrainedScore, ...]:
    shipped = table.startswith(PREFIXES) and not Path(table).suffix
    if shipped and MEASURED.is_file():
        return of_rows(read_rows(MEASURED), MEASURED)
    return of_table(table)


@cache
def _curves(task: str) -> CurvePrices:
    with open(DATA / "pruning.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["task"] == task]
    if not rows:
        raise InputError(
            "no accuracy source prices pruning on this task",
            field="workload.task",
            value=task,
            allowed=("sst2",),
        )
    curves = {}
    for name in ("tau_i", "tau_t"):
        own = [row for row in rows if row["threshold"] == name]
        assumed = all(row["evidence"] == "assumed" for row in own)
        curves[name] = _assumed(own) if assumed else _published(own)
    return CurvePrices(task, curves)


def _loss(row: dict[str, str]) -> float:
    return float(row["dense"]) - float(row["score"])


def _assumed(rows: Sequence[dict[str, str]]) -> ThresholdCurve:
    """As uncertain as the loss itself."""
    at = np.array([float(row["value"]) for row in rows])
    loss = np.array([_loss(row) for row in rows])
    return ThresholdCurve(at, loss, loss.copy())


def _published(rows: Sequence[dict[str, str]]) -> ThresholdCurve:
    """Mean of the models' losses; zero, and certain, where nothing is pruned."""
    at = sorted({float(row["value"]) for row in rows} | {0.0})
    models = {row["model"]: {0.0: 0.0} for row in rows}
    for row in rows:
        models[row["model"]][float(row["value"])] = _loss(row)
    each = np.array(
        [
            monotone(np.interp(at, sorted(losses), [losses[v] for v in sorted(losses)]))
            for losses in models.values()
        ]
    )
    pruned = np.array(at) > 0.0
    spread = np.sqrt(each.var(axis=0, ddof=1) + SAMPLING**2)
    return ThresholdCurve(np.array(at), each.mean(axis=0), np.where(pruned, spread, 0.0))
