"""What tau_i and tau_t cost together, from models that were trained with them.

The loss of a trained model is relative to the one that was trained with the same seed and without
pruning, so that a metric's unit does not matter and small differences are not lost in the
difference between seeds. Over the thresholds it is the nearest surface (least squares) that never
falls and is never negative: a search would pick exactly the lucky cells. A task without models of
its own gets the mean of the other tasks, with what those disagree on added to the deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elector.base import paths, units
from elector.base.errors import InputError
from elector.base.table import DATA as SIMULATOR
from elector.base.table import read_csv
from transcode.accuracy.user_rows import UserRow

#: Words in the name of a metric of which less is better.
LESS = ("loss", "error", "mse", "mae", "perplexity", "entropy")
_ROUNDS = 200  # of alternating projections


@dataclass(frozen=True)
class TrainedScore:
    """One trained model. score : of `metric`, in whatever unit, more is better unless `less`."""

    task: str
    model: str
    seed: str
    tau_i: float
    tau_t: float
    score: float
    less: bool


@dataclass(frozen=True)
class LossSurface:
    """Relative loss of score on a grid. tau_i : (I,), tau_t : (T,), loss, std : (I, T).

    models : trained models it comes from. guessed : whether the deviation is, for want of seeds.
    """

    tau_i: np.ndarray
    tau_t: np.ndarray
    loss: np.ndarray
    std: np.ndarray
    models: int
    guessed: bool

    def at(self, tau_i: np.ndarray, tau_t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(D,) loss and standard deviation, bilinear; InputError beyond the thresholds."""
        places = []
        for name, axis, values in (("tau_i", self.tau_i, tau_i), ("tau_t", self.tau_t, tau_t)):
            outside = (values < axis[0]) | (values > axis[-1])
            if outside.any():
                raise InputError(
                    f"no accuracy source prices it: {axis[0]:g} to {axis[-1]:g} is known",
                    field=f"workload.{name}",
                    value=float(values[outside][0]),
                )
            right = np.clip(np.searchsorted(axis, values), min(1, len(axis) - 1), len(axis) - 1)
            left = np.maximum(right - 1, 0)
            span = axis[right] - axis[left]
            share = np.where(span > 0, (values - axis[left]) / np.where(span > 0, span, 1.0), 0.0)
            places.append((left, right, share))
        (i, j, u), (k, m, v) = places
        mixed = []
        for grid in (self.loss, self.std):
            low = grid[i, k] + (grid[i, m] - grid[i, k]) * v
            high = grid[j, k] + (grid[j, m] - grid[j, k]) * v
            mixed.append(low + (high - low) * u)
        return mixed[0], mixed[1]


@dataclass(frozen=True)
class TrainedPrices:
    """TrainedPrices of tau_i and tau_t together. own : whether the task itself was trained on."""

    task: str
    source: str
    surface: LossSurface
    tasks: tuple[str, ...]
    own: bool

    def predict(
        self, tau_i: np.ndarray, tau_t: np.ndarray, score: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(D,) points to add to an accuracy (never positive), and their standard deviation.

        score : (D,) accuracy without pruning [points].
        """
        loss, std = self.surface.at(tau_i, tau_t)
        return -loss * score, std * score

    def describe(self) -> str:
        """One line for the terminal."""
        s = self.surface
        whose = "its own models" if self.own else f"models of {', '.join(self.tasks)}, transferred"
        guessed = "; deviation assumed: one seed" if s.guessed else ""
        return (
            f"pruning ({self.task}): tau_i to {s.tau_i[-1]:g} and tau_t to {s.tau_t[-1]:g} lose "
            f"{100 * s.loss[-1, -1]:.1f}±{100 * s.std[-1, -1]:.1f} % of the score "
            f"({s.models} trained models of {self.source}; {whose}{guessed})"
        )


def of_rows(rows: Sequence[UserRow], path: Path) -> tuple[TrainedScore, ...]:
    """The trained models of a file of accuracy rows."""
    return tuple(
        TrainedScore(
            r.task,
            r.name or str(r.shape),
            r.seed,
            r.tau_i,
            r.tau_t,
            r.score,
            any(word in r.metric.lower() for word in LESS),
        )
        for r in rows
    )


def of_table(name: str) -> tuple[TrainedScore, ...]:
    """The trained models of a sparsity table, shipped or a file; none where it has no accuracy.

    Its rows repeat the accuracy for each operation; a row without both thresholds says nothing.

    name : of a shipped table, or a file.
    """
    shipped = SIMULATOR / "sparsity" / f"{name}.csv"
    path = shipped if paths.is_file(shipped) else Path(name)
    if not paths.exists(path, "workload.sparsity"):
        return ()
    names, lines = read_csv(path, limit=64 << 20)
    models: dict[TrainedScore, None] = {}
    for line, cells in lines:
        row = dict(zip(names, cells, strict=False))
        texts = [row.get(key, "") for key in ("tau_i", "tau_t", "accuracy")]
        if all(texts):
            keys = ("tau_i", "tau_t", "accuracy")
            tau_i, tau_t, score = (
                units.parse(text, "1", field=f"line {line}: {key}", file=path)
                for key, text in zip(keys, texts, strict=True)
            )
            models[
                TrainedScore(
                    row.get("task", "").lower(),
                    row.get("model", ""),
                    row.get("seed", ""),
                    tau_i,
                    tau_t,
                    score,
                    False,
                )
            ] = None
    return tuple(models)


def prices(trained: Sequence[TrainedScore], task: str, source: str) -> TrainedPrices:
    """The prices of a task: from its own models, or from those of the others.

    source : where the scores come from, as messages say it.
    """
    if not trained:
        raise InputError(
            "has no accuracies, so no accuracy source prices its pruning: leave out the objective "
            "accuracy, or give a table whose rows have them",
            field="workload.sparsity",
            value=source,
        )
    by_task: dict[str, list[TrainedScore]] = {}
    for one in trained:
        by_task.setdefault(one.task, []).append(one)
    tasks = tuple(by_task)
    if task in by_task or tasks in (("",), ("*",)):
        own = by_task.get(task) or by_task[tasks[0]]
        return TrainedPrices(task, source, surface(own, source), tasks, True)
    return TrainedPrices(
        task, source, _transferred([surface(o, source) for o in by_task.values()]), tasks, False
    )


def surface(trained: Sequence[TrainedScore], source: str) -> LossSurface:
    """The surface of one task; InputError where a cell of its grid is missing.

    source : where the scores come from, as messages say it.
    """
    axes = [np.array(sorted({getattr(t, name) for t in trained})) for name in ("tau_i", "tau_t")]
    if axes[0][0] > 0 or axes[1][0] > 0:
        raise InputError(
            "has no model that was trained without pruning (tau_i 0, tau_t 0)",
            file=source,
            field="tau_i",
        )
    models = {t.model: None for t in trained}
    grids, spreads, repeated, noise = [], [], False, 0.0
    for model in models:
        loss, variance, seeds = _grid([t for t in trained if t.model == model], axes, source)
        grids.append(raised(loss))
        noise += float(np.mean((loss - grids[-1]) ** 2)) / len(models)
        spreads.append(variance)
        repeated |= seeds > 1
    mean = np.mean(grids, axis=0)
    variance = np.mean(spreads, axis=0)
    if len(grids) > 1:
        variance = variance + np.var(grids, axis=0, ddof=1)
    guessed = not repeated and len(grids) == 1
    if guessed:
        variance = mean**2 + noise  # as uncertain as the loss, and as what was smoothed away
    variance[0, 0] = 0.0
    return LossSurface(axes[0], axes[1], mean, np.sqrt(variance), len(trained), guessed)


def _grid(
    own: Sequence[TrainedScore], axes: Sequence[np.ndarray], source: str
) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean relative loss (I, T) of one model, its variance between seeds, the most seeds."""
    cells = _losses(own, source)
    shape = (len(axes[0]), len(axes[1]))
    mean, variance, counts = np.zeros(shape), np.full(shape, np.nan), np.zeros(shape)
    for i, tau_i in enumerate(axes[0].tolist()):
        for k, tau_t in enumerate(axes[1].tolist()):
            losses = cells.get((tau_i, tau_t))
            if losses is None:
                raise InputError(
                    f"no accuracy at tau_i {tau_i:g}, tau_t {tau_t:g}",
                    file=source,
                    field="accuracy",
                    value=own[0].model,
                )
            mean[i, k], counts[i, k] = np.mean(losses), len(losses)
            if len(losses) > 1:
                variance[i, k] = np.var(losses, ddof=1)
    repeated = counts > 1
    repeated[0, 0] = False  # differences to itself
    if not repeated.any():
        return mean, np.zeros(shape), 1
    pooled = float(np.median(variance[repeated]))  # three seeds say little about one cell
    own_part = np.where(repeated, variance, pooled)
    freedom = np.maximum(counts - 1, 0)
    return mean, (freedom * own_part + 4.0 * pooled) / (freedom + 4.0), int(counts.max())


def _losses(own: Sequence[TrainedScore], source: str) -> dict[tuple[float, float], list[float]]:
    """Thresholds -> relative loss of each training with them, of one model."""
    dense = {t.seed: t.score for t in own if t.tau_i == 0 and t.tau_t == 0}
    cells: dict[tuple[float, float], list[float]] = {}
    for t in own:
        if not dense:
            raise InputError(
                "a model was never trained without pruning",
                file=source,
                field="model",
                value=t.model,
            )
        base = dense.get(t.seed, float(np.mean(list(dense.values()))))
        if base == 0:
            raise InputError(
                "the score without pruning is 0: nothing to lose",
                file=source,
                field="model",
                value=t.model,
            )
        lost = (t.score - base) if t.less else (base - t.score)
        cells.setdefault((t.tau_i, t.tau_t), []).append(lost / abs(base))
    return cells


def _transferred(surfaces: Sequence[LossSurface]) -> LossSurface:
    """The mean of tasks on the thresholds all of them have, wider by what they disagree on."""
    tau_i, tau_t = (_common([getattr(s, name) for s in surfaces]) for name in ("tau_i", "tau_t"))
    first, second = (m.ravel() for m in np.meshgrid(tau_i, tau_t, indexing="ij"))
    of_tasks = [s.at(first, second) for s in surfaces]
    loss, std = np.array([f[0] for f in of_tasks]), np.array([f[1] for f in of_tasks])
    mean, count = loss.mean(axis=0), len(surfaces)
    between = mean**2 if count == 1 else loss.var(axis=0, ddof=1) * (1.0 + 1.0 / count)
    shape = (len(tau_i), len(tau_t))
    return LossSurface(
        tau_i,
        tau_t,
        mean.reshape(shape),
        np.sqrt((std**2).mean(axis=0) + between).reshape(shape),
        sum(s.models for s in surfaces),
        any(s.guessed for s in surfaces),
    )


def _common(axes: Sequence[np.ndarray]) -> np.ndarray:
    """Every threshold of any axis, as far as all of them reach."""
    end = min(float(axis[-1]) for axis in axes)
    return np.array(sorted({v for axis in axes for v in axis.tolist() if v <= end}))


def raised(grid: np.ndarray) -> np.ndarray:
    """Nearest grid that never falls along either axis, then none below 0.

    Dykstra's alternating projections (Dykstra and Robertson 1982), each axis by `monotone`.
    """
    rising = grid.copy()
    kept = [np.zeros_like(grid), np.zeros_like(grid)]
    for _ in range(_ROUNDS):
        for axis in (0, 1):
            wanted = rising + kept[axis]
            rising = np.apply_along_axis(_pooled, axis, wanted)
            kept[axis] = wanted - rising
    rising = np.maximum.accumulate(np.maximum.accumulate(rising, axis=0), axis=1)
    return np.asarray(np.maximum(rising, 0.0))


def monotone(values: np.ndarray) -> np.ndarray:
    """Nearest values (least squares) that never fall, then none below 0."""
    return np.maximum(_pooled(values), 0.0)


def _pooled(values: np.ndarray) -> np.ndarray:
    """Nearest values that never fall. Pool adjacent violators: Ayer et al. 1955."""
    pools: list[list[float]] = []
    for value in values.tolist():
        pools.append([value, 1.0])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, weight = pools.pop()
            other, more = pools.pop()
            pools.append([(mean * weight + other * more) / (weight + more), weight + more])
    return np.concatenate([np.full(int(weight), mean) for mean, weight in pools])
