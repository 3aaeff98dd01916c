"""One interface for every source of accuracies, and which source a space gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from elector.base.errors import InputError
from transcode.accuracy.head_types import head_type_effects
from transcode.accuracy.recipe import FormatCost
from transcode.accuracy.scaling_law import scaling_law
from transcode.accuracy.score_table import score_table
from transcode.accuracy.source_settings import AccuracySettings
from transcode.accuracy.surrogate_model import find_task, surrogate


class AccuracySource(Protocol):
    """What answers for the accuracy (or loss) of a model."""

    def predict(self, features: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (D,) from features of models; NaN where it has none."""

    def describe(self) -> str:
        """What it is and how wrong it was on what it had not seen, for the terminal."""

    def record(self) -> dict[str, object]:
        """The same as figures, for the manifest."""


def source_of(settings: AccuracySettings, task: str) -> AccuracySource:
    """The source of a space, for `workload.task` (not used by a scaling law)."""
    if settings.source == "surrogate":
        return surrogate(task, settings.rows, settings.floor)
    if settings.source == "table":
        assert settings.rows is not None  # the reader of the key saw to it
        known = find_task(task)
        names = (task.strip().lower(),) if known is None else (known.name, *known.aliases)
        return score_table(settings.rows, names, settings.bound is not None)
    if settings.source == "scaling-law":
        return scaling_law(
            settings.law or "besiroglu",
            settings.data or "pile",
            settings.tokens,
            settings.tokens_per_parameter,
        )
    raise InputError(
        "is not a source that predicts", field="accuracy.source", value=settings.source
    )


@dataclass(frozen=True)
class WithFormat:
    """A source whose models compute in another number format. loss : whether less is better."""

    source: AccuracySource
    cost: FormatCost
    loss: bool

    @property
    def settings(self) -> tuple[str, ...]:
        """Further settings that the source tells apart."""
        return tuple(getattr(self.source, "settings", ()))

    def predict(self, features: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (D,), worse and less sure by what the format costs."""
        mean, std = self.source.predict(features)
        lost = self.cost.mean if self.loss else -self.cost.mean
        return mean + lost, np.sqrt(std**2 + self.cost.std**2)


def text_of(source: AccuracySource, layered: bool) -> str:
    """The description, with what other heads do where a space has them.

    layered : whether layers have settings of their own.
    """
    text = source.describe()
    return f"{text}\n{head_type_effects().describe()}" if layered else text
