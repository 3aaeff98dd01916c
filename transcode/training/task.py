"""A task: arrays to train, validate and test on, a loss, a score, and cheap baselines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from elector.base.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = np.ndarray

KINDS = ("classification", "forecast", "language")


@dataclass(frozen=True, eq=False, repr=False)
class DataSplit:
    """Examples of one part of the data.

    x : (N, L) int64 tokens or (N, L, features) float32 values.
    y : (N,) int64 classes, (N, outputs) float32 numbers, or (N, L) int64 next tokens.
    """

    x: Array
    y: Array

    @property
    def size(self) -> int:
        """Number of examples N."""
        return int(self.x.shape[0])


@dataclass(frozen=True)
class Measured:
    """What a model does on a split: score in points, mean loss, and further numbers."""

    score: float
    loss: float
    further: Mapping[str, float]


@dataclass(frozen=True, eq=False, repr=False)
class Task:
    """What is learned from what.

    kind : classification | forecast | language (the next token).
    inputs : tokens | values.
    sequence_length : tokens, patches or time steps L of an example.
    vocabulary : tokens there are (None for values); features : numbers a step has (None for
        tokens).
    outputs : classes, forecast steps x series, or vocabulary.
    metric : name of the score. Scores are in points and higher is better: "accuracy" [% of
        examples], "next-token accuracy" [% of tokens], "skill" [100 (1 - MSE / MSE of
        persistence), 0 where a forecast is as good as the last value].
    baselines : what cheap rules score on the test split.
    source : where the data comes from.
    """

    name: str
    kind: str
    inputs: str
    sequence_length: int
    vocabulary: int | None
    features: int | None
    outputs: int
    metric: str
    train: DataSplit
    valid: DataSplit
    test: DataSplit
    baselines: Mapping[str, float] = field(default_factory=dict)
    source: str = ""

    def batch(self, step: int, *, size: int, seed: int = 0) -> tuple[Array, Array]:
        """Training examples of one step, from (seed, step) alone: x and y of `size` rows.

        Raises InputError where the task has fewer examples.
        """
        if not 0 < size <= self.train.size:
            raise InputError(
                f"must be 1 to {self.train.size}, the training examples of task {self.name}",
                field="batch",
                value=size,
            )
        rows = np.random.default_rng((seed, step)).integers(self.train.size, size=size)
        return self.train.x[rows], self.train.y[rows]

    def batches(
        self, *, size: int, steps: int, seed: int = 0, start: int = 0
    ) -> Iterator[tuple[Array, Array]]:
        """Batches of the steps start ... steps - 1; resuming needs no state but `start`."""
        for step in range(start, steps):
            yield self.batch(step, size=size, seed=seed)

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """What training minimises: mean cross-entropy [nats], or mean squared error.

        outputs : (B, outputs) or (B, L, vocabulary); y : targets as in DataSplit.
        """
        from torch.nn import functional

        if self.kind == "forecast":
            return functional.mse_loss(outputs, y)
        return functional.cross_entropy(outputs.flatten(0, -2), y.flatten())

    def score(self, outputs: Tensor, y: Tensor) -> float:
        """Points of these outputs, higher is better (see `metric`).

        y : outputs of a split, as `metric` takes them.
        """
        right, of = self._tally(outputs, y)
        return self._points(right, of)

    def _tally(self, outputs: Tensor, y: Tensor) -> tuple[float, float]:
        """Two sums over examples that make the score."""
        if self.kind == "forecast":
            # Targets are changes from the last value, so persistence is a forecast of zeros.
            return float((outputs - y).double().square().sum()), float(y.double().square().sum())
        return float((outputs.argmax(-1) == y).sum()), float(y.numel())

    def _points(self, first: float, second: float) -> float:
        share = first / second if second else math.nan
        return 100.0 * (1.0 - share) if self.kind == "forecast" else 100.0 * share

    def evaluate(self, model: nn.Module, split: DataSplit, *, size: int = 256) -> Measured:
        """A model's score and loss on a whole split, without dropout, in batches of `size`.

        further : perplexity (exp of the loss) for language, root-mean-square error in the
        task's own scale for forecasts. The module's training mode is put back.
        """
        import torch

        was, sums = model.training, np.zeros(3)
        model.eval()
        try:
            with torch.no_grad():
                for start in range(0, split.size, size):
                    x = torch.from_numpy(np.array(split.x[start : start + size]))
                    y = torch.from_numpy(np.array(split.y[start : start + size]))
                    outputs = model(x)
                    loss = float(self.loss(outputs, y)) * y.shape[0]
                    sums += (*self._tally(outputs, y), loss)
        finally:
            model.train(was)
        loss = float(sums[2]) / split.size
        further = {}
        if self.kind == "language":
            further = {"perplexity": math.exp(min(loss, 700.0))}
        elif self.kind == "forecast":
            further = {"rmse": math.sqrt(loss)}
        return Measured(self._points(float(sums[0]), float(sums[1])), loss, further)
