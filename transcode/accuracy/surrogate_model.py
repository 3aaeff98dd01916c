"""The surrogate of a task, and how wrong it is on scores it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from elector.base.errors import InputError
from transcode.accuracy.head_types import head_type_effects, unlike_attention
from transcode.accuracy.published_scores import (
    FEATURES,
    PublishedScore,
    ScoredTask,
    rows,
    task_table,
)
from transcode.accuracy.regression import (
    RegressionFit,
    fit_rows,
    predict_reference,
    predict_rows,
    shared_variance,
)
from transcode.accuracy.shape_effects import LogShapes, shape_effects
from transcode.accuracy.user_rows import as_published, of_task, read_rows, require_sizes

Z90 = 1.6449  # half-width of a 90 % normal interval, in standard deviations
LEAST = 4  # models a surrogate of a user's own task is fitted on, at least
CHUNK = 8192  # designs at a time: the working arrays stay in the cache


@dataclass(frozen=True)
class CrossValidation:
    """How far left-out published scores were from their prediction, in points.

    rows, models, families : how many of each; left out one at a time, all their rows together.
        A model is one shape of one recipe, whatever sources scored it.
    mae, rmse : leaving out one row. mae_reference : the same, over the rows of the stated recipe.
    mae_model, mae_family : leaving out a model, a family of models.
    coverage : share of left-out rows inside their 90 % interval (the row's own residual is not
        used in the calibration of its interval).
    calibration : factor on the standard deviations that makes left-out models consistent, >= 1.
    unverified : how many of the rows were only read second-hand.
    """

    rows: int
    models: int
    families: int
    mae: float
    rmse: float
    mae_reference: float
    mae_model: float
    mae_family: float
    coverage: float
    calibration: float
    unverified: int
    method: str = "Bayesian regression"


@dataclass(frozen=True)
class ScoreSurrogate:
    """Accuracy of one task as a function of the architecture, under the stated protocol.

    added : rows of the user's own among those it was fitted on, from `file`.
    """

    task: ScoredTask
    fit: RegressionFit
    cross_validation: CrossValidation
    added: int = 0
    file: str = ""

    def predict(self, features: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the published score such a model would get.

        Parameters
        ----------
        features : layers, hidden, heads, feed_forward, each (D,); where there are heads other
            than attention, their shares too (transcode.accuracy.head_types). `parameters` is not
            used: published counts mix vocabularies with what computes.

        Returns
        -------
        mean, std : (D,) float [percent points]. std holds residual noise, the uncertainty of
            the coefficients and of what shapes waste; outside the hull of the rows in log depth
            and log width it grows with the distance, and the mean falls back to the family's.
        """
        columns = _columns(features)
        size = len(columns[0])
        mean, std = np.empty(size), np.empty(size)
        other = None
        if unlike_attention(features, size).any():
            other = head_type_effects().of(features, size)
        for start in range(0, size, CHUNK):
            part = slice(start, start + CHUNK)
            predicted = predict_reference(self.fit, LogShapes.of(*(c[part] for c in columns)))
            if other is not None:
                predicted = predicted.shifted(other[0][part], other[1][part])
            mean[part], std[part] = predicted.points(self.task)
        std *= self.cross_validation.calibration
        return mean, std

    def gain(
        self, features: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (D,) [points] of score minus that of one reference model.

        What both predictions rest on, the coefficients, cancels in part; the noise of each, and
        what the rows say nothing about, does not.
        """
        mean, std = self.predict(features)
        other, other_std = self.predict(reference)
        shared = shared_variance(
            self.fit, LogShapes.of(*_columns(features)), LogShapes.of(*_columns(reference))
        )
        slope, other_slope = (self.task.to_score(self.task.to_eta(m))[1] for m in (mean, other))
        shared = shared * slope * other_slope * self.cross_validation.calibration**2
        left = std**2 + other_std**2 - 2.0 * shared
        return mean - other, np.sqrt(np.maximum(left, 0.0))

    def describe(self) -> str:
        """Three lines for the terminal: what this is and how wrong it was on left-out rows."""
        cv = self.cross_validation
        second_hand = f" ({cv.unverified} second-hand)" if cv.unverified else ""
        second_hand += f" and {self.added} of {self.file}" if self.added else ""
        what = f"accuracy ({self.task.name})"
        if self.task.metric != "accuracy":
            what = f"accuracy ({self.task.name}, {self.task.metric})"
        text = (
            f"{what}: {cv.method} on {cv.rows - self.added} published "
            f"scores{second_hand}, leave-one-out MAE {cv.mae:.1f} points, leave-one-family-out "
            f"{cv.mae_family:.1f}, 90 % intervals hold {100 * cv.coverage:.0f} %\n"
            f"  stands for: {self.task.protocol}"
        )
        text += f"; caution: {self.task.warning}" if self.task.warning else ""
        return f"{text}\n  depth, width, heads, feed-forward: {shape_effects().describe()}"

    def record(self) -> dict[str, object]:
        """For the manifest: task, and every figure of the cross-validation."""
        entries: dict[str, object] = {"task": self.task.name, "source": "surrogate"}
        return entries | dict(vars(self.cross_validation))


def _columns(features: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """FEATURES as contiguous (D,) floats."""
    missing = [key for key in FEATURES if key not in features]
    if missing:
        raise InputError(
            "the accuracy surrogate needs a feature that is not there",
            field=missing[0],
            allowed=FEATURES,
        )
    columns = np.broadcast_arrays(*(np.atleast_1d(features[key]) for key in FEATURES))
    return [np.ascontiguousarray(column, dtype=np.float64) for column in columns]


def tasks() -> list[str]:
    """Names of the tasks that can be predicted."""
    return list(task_table())


def surrogate(task: str, path: str | None = None, floor: float | None = None) -> ScoreSurrogate:
    """The surrogate of a task, by its name or an alias, case-insensitive ("SST-2" is sst2).

    path : file of further rows (transcode.accuracy.user_rows); they may be of a task of the user's
    own, whose score of guessing is `floor` [points], 0 if not given.
    """
    task_known = find_task(task)
    if path is None:
        if task_known is not None:
            return _build(task_known.name)
        raise InputError(
            "no accuracy surrogate for this task",
            field="workload.task",
            value=task,
            allowed=tasks(),
        )
    if task_known is not None and floor is not None:
        raise InputError(
            "is known for this task: leave it out", field="accuracy.floor", value=floor
        )
    known = task_known or ScoredTask(
        str(task).strip().lower(),
        (),
        "user",
        floor or 0.0,
        "accuracy",
        "the protocol of its rows",
        "",
    )
    given = of_task(read_rows(path), (known.name, *known.aliases), path)
    plain = [row for row in given if row.tau_i == 0 and row.tau_t == 0]
    require_sizes(plain, path)
    data = rows(known.name) + [as_published(row, known.name, known.reference) for row in plain]
    if len({row.shape for row in plain}) < LEAST and task_known is None:
        raise InputError(
            f"a surrogate needs rows of at least {LEAST} models",
            file=path,
            field="accuracy.rows",
            hint="accuracy: {source: table, ...} takes any number",
        )
    fit, validation = fit_rows(known, data), cross_validate(known, data)
    return ScoreSurrogate(known, fit, validation, len(plain), Path(path).name)


def find_task(task: str) -> ScoredTask | None:
    """A task of the shipped table by its name or an alias, case-insensitive."""
    wanted = str(task).strip().lower()
    for name, entry in task_table().items():
        if wanted == name or wanted in entry.aliases:
            return entry
    return None


@cache
def _build(name: str) -> ScoreSurrogate:
    task = task_table()[name]
    data = rows(name)
    return ScoreSurrogate(task, fit_rows(task, data), cross_validate(task, data))


def cross_validate(task: ScoredTask, data: Sequence[PublishedScore]) -> CrossValidation:
    """Leave out rows, models and families in turn; see `CrossValidation`."""
    score = np.array([row.score for row in data])
    left = {kind: leave_out(task, data, kind) for kind in ("row", "model", "family")}
    error = {kind: predicted.mean - score for kind, predicted in left.items()}
    z_model = error["model"] / left["model"].std
    calibration = max(1.0, float(np.sqrt(np.mean(z_model**2))))
    others = (np.sum(z_model**2) - z_model**2) / max(1, len(data) - 1)  # without the row itself
    inside = np.abs(error["row"]) < Z90 * left["row"].std * np.sqrt(np.maximum(1.0, others))
    plain = np.array([row.recipe == task.reference and not row.distilled for row in data])
    return CrossValidation(
        rows=len(data),
        models=left["model"].folds,
        families=left["family"].folds,
        mae=float(np.mean(np.abs(error["row"]))),
        rmse=float(np.sqrt(np.mean(error["row"] ** 2))),
        mae_reference=float(np.mean(np.abs(error["row"][plain]))),
        mae_model=float(np.mean(np.abs(error["model"]))),
        mae_family=float(np.mean(np.abs(error["family"]))),
        coverage=float(np.mean(inside)),
        calibration=round(calibration, 6),
        unverified=sum(not row.verified for row in data),
    )


#: What may be left out together -> what rows have in common then.
FOLDS: dict[str, Callable[[PublishedScore], Hashable]] = {
    "model": lambda row: (row.group, *(getattr(row, key) for key in FEATURES)),
    "family": lambda row: row.family,
    "depth": lambda row: row.layers,
    "width": lambda row: row.hidden,
}


@dataclass(frozen=True)
class LeftOut:
    """Rows as predicted without their fold: mean and std (rows,) [points], and how many folds."""

    mean: np.ndarray
    std: np.ndarray
    folds: int


def leave_out(task: ScoredTask, data: Sequence[PublishedScore], kind: str) -> LeftOut:
    """Predicts each row from those that have something else of a `kind`.

    kind : row, model, family, depth or width. One family alone is left out model by model, since
    nothing would be left.
    """
    if kind == "family" and len({row.family for row in data}) == 1:
        kind = "model"
    members: dict[Hashable, list[int]] = {}
    for i, row in enumerate(data):
        members.setdefault(i if kind == "row" else FOLDS[kind](row), []).append(i)
    mean, std = np.full(len(data), np.nan), np.full(len(data), np.nan)
    for fold in members.values():
        kept = [row for i, row in enumerate(data) if i not in fold]
        predicted = predict_rows(task, fit_rows(task, kept), [data[i] for i in fold])
        mean[fold], std[fold] = predicted.points(task)
    return LeftOut(mean, std, len(members))
