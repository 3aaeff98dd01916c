"""The published scores and the tasks they belong to, read from data/accuracy/*.csv."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from elector.base.choices import choices, named_rows

DATA = Path(__file__).parents[1] / "data" / "accuracy"
FEATURES = ("layers", "hidden", "heads", "feed_forward")


@dataclass(frozen=True)
class PublishedScore:
    """One published score; the fields are the columns of data/accuracy/encoders.csv."""

    name: str
    task: str
    score: float
    layers: float
    hidden: float
    heads: float
    feed_forward: float
    family: str
    recipe: str
    split: str
    distilled: bool
    tuning: str
    tokens: float | None
    source: str
    verified: bool

    @property
    def group(self) -> str:
        """What shares an offset: the recipe, and for distilled models the method too."""
        return f"{self.recipe}+{self.family}" if self.distilled else self.recipe


@dataclass(frozen=True)
class ScoredTask:
    """One row of data/accuracy/tasks.csv: what a score of it means.

    sequence_length : tokens the rows were measured with, as transcode.accuracy.recipe reads it.
    """

    name: str
    aliases: tuple[str, ...]
    reference: str
    floor: float
    metric: str
    protocol: str
    warning: str
    sequence_length: str = ""

    @property
    def kind(self) -> str:
        """encoder or decoder, of which the rows are; "" for a task of the user's own."""
        return {"bert": "encoder", "pile": "decoder"}.get(self.reference, "")

    def to_eta(self, score: np.ndarray) -> np.ndarray:
        """Score [points] to the unbounded scale.

        score : of any shape, which is that of the result.
        """
        share = np.clip((score - self.floor) / (100.0 - self.floor), 0.005, 0.995)
        return np.asarray(np.log(share / (1.0 - share)))

    @property
    def steepest(self) -> float:
        """Most points that a logit is worth: half-way between floor and 100."""
        return 0.25 * (100.0 - self.floor)

    def to_score(self, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The score [points] at `eta` and its slope d score / d eta [points].

        eta : of any shape, which is that of the results.
        """
        share = np.negative(eta)
        with np.errstate(over="ignore"):  # far below any model: the floor
            np.exp(share, out=share)
        share += 1.0
        np.reciprocal(share, out=share)
        slope = 1.0 - share
        slope *= share
        share *= 100.0 - self.floor
        slope *= 100.0 - self.floor
        share += self.floor
        return share, slope


def rows(task: str | None = None) -> list[PublishedScore]:
    """The published scores that are used (of one task)."""
    return [row for row in _all_rows() if task is None or row.task == task]


@cache
def task_table() -> dict[str, ScoredTask]:
    """Every task of data/accuracy/tasks.csv by name, in its order."""
    with open(DATA / "tasks.csv", newline="", encoding="utf-8") as file:
        return {
            r["task"]: ScoredTask(
                r["task"],
                choices(named_rows("tasks.csv")[r["task"]]["aliases"]),
                r["reference"],
                float(r["floor"]),
                r["metric"],
                r["protocol"],
                r["warning"],
                r["sequence_length"],
            )
            for r in csv.DictReader(file)
        }


@cache
def _all_rows() -> tuple[PublishedScore, ...]:
    scores: list[PublishedScore] = []
    for name in ("encoders.csv", "decoders.csv"):
        with open(DATA / name, newline="", encoding="utf-8") as file:
            scores += [_row(record) for record in csv.DictReader(file) if record["use"] == "yes"]
    return tuple(scores)


def _row(record: Mapping[str, str]) -> PublishedScore:
    return PublishedScore(
        name=record["name"],
        task=record["task"],
        score=float(record["score"]),
        layers=float(record["layers"]),
        hidden=float(record["hidden"]),
        heads=float(record["heads"]),
        feed_forward=float(record["feed_forward"]),
        family=record["family"],
        recipe=record["recipe"],
        split=record["split"],
        distilled=record["distilled"] == "yes",
        tuning=record["tuning"],
        tokens=float(record["tokens"]) if record["tokens"] else None,
        source=record["source"],
        verified=record["verified"] == "yes",
    )
