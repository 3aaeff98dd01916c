"""The source `table`: scores of models that were measured, and of no others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elector.base.errors import InputError
from transcode.accuracy.head_types import unlike_attention
from transcode.accuracy.published_scores import FEATURES
from transcode.accuracy.user_rows import UserRow, of_task, read_rows, setting_columns


@dataclass(frozen=True)
class ScoreTable:
    """Scores by shape.

    known : (layers, hidden, heads, feed_forward, *settings) -> mean and standard deviation
        [points].
    rows : how many rows they come from; silent : shapes for which no deviation is known.
    settings : dotted names of further settings the rows tell apart; `predict` wants a feature of
        that name for each, (D,) of objects as `comparable` writes them.
    """

    task: str
    file: str
    known: Mapping[tuple[object, ...], tuple[float, float]]
    rows: int
    silent: int
    settings: tuple[str, ...] = ()

    def predict(self, features: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (D,) of the score [points]; NaN where no row fits."""
        names = (*FEATURES, *self.settings)
        columns = np.broadcast_arrays(*(np.atleast_1d(features[key]) for key in names))
        scores = np.full((len(columns[0]), 2), np.nan)
        other = unlike_attention(features, len(columns[0]))
        for i, shape in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
            if not other[i]:
                scores[i] = self.known.get(shape, (np.nan, np.nan))
        return scores[:, 0], scores[:, 1]

    def describe(self) -> str:
        """What this is, for the terminal."""
        text = (
            f"accuracy ({self.task}): {self.rows} rows of {len(self.known)} models in {self.file}; "
            "designs without a row are infeasible"
        )
        if self.settings:
            text += f"\n  also prices {', '.join(self.settings)}"
        if self.silent:
            text += f"\n  no deviation is known of {self.silent} of them: shown as 0"
        return text

    def record(self) -> dict[str, object]:
        """For the manifest. Nothing is predicted, so there is no cross-validated error."""
        return {"task": self.task, "source": "table", "rows": self.rows, "models": len(self.known)}


def score_table(path: str | Path, names: tuple[str, ...], bounded: bool) -> ScoreTable:
    """The table of a task.

    names : of the task, its own first. bounded : whether deviations decide the search, so that
        each model needs one.
    """
    rows = [r for r in of_task(read_rows(path), names, path) if r.tau_i == 0 and r.tau_t == 0]
    settings = setting_columns(path)
    shapes: dict[tuple[object, ...], list[UserRow]] = {}
    for row in rows:
        key = (*row.shape, *(row.settings[name] for name in settings))
        shapes.setdefault(key, []).append(row)
    known, silent = {}, 0
    for shape, rated in shapes.items():
        score = np.array([row.score for row in rated])
        own = [row.std for row in rated if row.std is not None]
        if not own and len(rated) == 1:
            silent += 1
            if bounded:
                raise InputError(
                    "a bound needs the deviation of every score",
                    file=path,
                    field=f"line {rated[0].line}: std",
                )
        within = float(np.mean(np.square(own))) if own else 0.0
        between = float(score.var(ddof=1)) if len(rated) > 1 else 0.0
        known[shape] = (float(score.mean()), float(np.sqrt(max(within, between))))
    return ScoreTable(names[0], Path(path).name, known, len(rows), silent, settings)
