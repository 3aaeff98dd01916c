"""Forecasts of time series: windows, splits in time order, scaling, a user's own CSV.

An example is `length` steps of all series up to now and the `horizon` steps that follow.
Both are differences from the last known value, divided by how far the training part of that
series moves within a horizon (root mean square), so that a level that drifts (carbon dioxide)
can be forecast too, and forecasting zero is persistence.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from elector.base.errors import InputError
from elector.base.table import read_csv
from transcode.training.task import Array, DataSplit, Task

#: Shares of the time steps that targets of the training and of the validation part lie in.
TRAIN, VALID = 0.7, 0.15
#: Fewest examples of each split.
FEWEST = 8
#: Largest CSV file [byte].
LIMIT = 64 * 2**20
#: A step in time this many times the usual one is a gap (months differ by 31/28).
GAP = 1.5


def _too_few(steps: int, length: int, horizon: int, fewest: int) -> InputError:
    """fewest : examples in the smallest split."""
    return InputError(
        f"{steps} time steps are too few for sequences of {length} and forecasts of "
        f"{horizon}: {max(fewest, 0)} examples in the smallest split, {FEWEST} needed",
        hint="a shorter sequence_length or horizon",
    )


def forecast(
    of: str | Path,
    values: Array,
    *,
    length: int,
    horizon: int,
    source: str,
    season: int | None = None,
) -> Task:
    """A forecasting task.

    of : its name, or the file of the values, whose name it then has.
    values : (T, series), no gaps, in time order. season : steps of a cycle, for a baseline.
    The first 70 % of the steps are the targets of training, the next 15 % of validation, the
    last of the test; inputs of a later part may reach back before it, targets never forward.
    Raises InputError where that leaves a split too few examples.

    name : of the task. source : of its data.
    """
    for field, value in (("sequence_length", length), ("horizon", horizon)):
        if value < 1:
            raise InputError("must be at least 1", field=field, value=value)
    name, file = (of.stem, of) if isinstance(of, Path) else (of, None)
    steps, series = values.shape
    first, second = int(TRAIN * steps), int((TRAIN + VALID) * steps)
    fewest = min(first - length, second - first, steps - second) - horizon + 1
    if fewest < FEWEST:
        few = _too_few(steps, length, horizon, fewest)
        raise few.at(file=file) if file else few.at(field=name)
    scale = _scale(values[:first], horizon, name, file)
    parts = [
        _examples(values[start:end], length, horizon, scale)
        for start, end in ((0, first), (first - length, second), (second - length, steps))
    ]
    return Task(
        name=name,
        kind="forecast",
        inputs="values",
        sequence_length=length,
        vocabulary=None,
        features=series,
        outputs=horizon * series,
        metric="skill",
        train=parts[0],
        valid=parts[1],
        test=parts[2],
        baselines=_baselines(parts[0], parts[2], horizon, season),
        source=source,
    )


def _scale(train: Array, horizon: int, name: str, file: Path | None) -> Array:
    """(series,) root mean square of the changes within a horizon."""
    changes = [((train[h:] - train[:-h]) ** 2).mean(axis=0) for h in range(1, horizon + 1)]
    scale = np.sqrt(np.mean(changes, axis=0))
    if not (scale > 0).all():
        raise InputError(
            "a series does not change in the training part",
            file=file,
            field=None if file else name,
            value=int(np.argmin(scale)) + 1,
        )
    return scale


def _examples(values: Array, length: int, horizon: int, scale: Array) -> DataSplit:
    """x (N, length, series) and y (N, horizon x series), scaled differences from now."""
    windows = sliding_window_view(values, length + horizon, axis=0).swapaxes(1, 2)
    scaled = (windows - windows[:, length - 1 : length]) / scale
    scaled = scaled.astype(np.float32)
    return DataSplit(
        np.ascontiguousarray(scaled[:, :length]), scaled[:, length:].reshape(scaled.shape[0], -1)
    )


def _baselines(
    train: DataSplit, test: DataSplit, horizon: int, season: int | None
) -> dict[str, float]:
    """Persistence is 0 by definition; the value one cycle before; ridge regression on x."""
    of = float((test.y.astype(float) ** 2).sum())

    def skill(guess: Array) -> float:
        return 100.0 * (1.0 - float(((guess - test.y) ** 2).sum()) / of) if of else math.nan

    skills = {"persistence": 0.0}
    length = test.x.shape[1]
    if season is not None and season >= horizon and season <= length:
        past = test.x[:, length - season : length - season + horizon]
        skills["last season"] = skill(past.reshape(test.size, -1))
    x, asked = (s.x.reshape(s.size, -1).astype(float) for s in (train, test))
    penalty = 1e-2 * train.size * np.eye(x.shape[1])
    skills["ridge regression"] = skill(asked @ np.linalg.solve(x.T @ x + penalty, x.T @ train.y))
    return skills


def csv_file(path: Path, *, sequence_length: int | None = None, horizon: int | None = None) -> Task:
    """A user's table: a header, a row for each time step, numeric columns.

    The first column may hold times (ISO dates, or anything that is no number): it is checked
    for order and gaps where it can be read as dates, and left out. sequence_length : 24 unless
    told otherwise; horizon : a quarter of it. Raises InputError for a gap, with its line.
    """
    names, rows = read_csv(path, LIMIT)
    _check_header(names, path)
    if not rows:
        raise InputError("has a header but no rows", file=path)
    for line, cells in rows:
        if len(cells) != len(names):
            raise InputError(
                f"line {line}: has {len(cells)} cells, the header {len(names)}", file=path
            )
    timed = _number(rows[0][1][0]) is None and bool(rows[0][1][0])
    if timed:
        _check_times(path, names[0], [(line, cells[0]) for line, cells in rows])
    columns = range(1 if timed else 0, len(names))
    if not columns:
        raise InputError("has no column of numbers", file=path, hint="one for each series")
    values = np.array(
        [[_cell(path, line, names[c], cells[c]) for c in columns] for line, cells in rows]
    )
    length = 24 if sequence_length is None else sequence_length
    ahead = max(length // 4, 1) if horizon is None else horizon
    return forecast(path, values, length=length, horizon=ahead, source=path.name)


def _check_header(names: list[str], path: Path) -> None:
    if all(_number(name) is not None for name in names):
        raise InputError(
            "line 1: is no header",
            file=path,
            value=",".join(names),
            hint="name the columns in the first line",
        )
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InputError("line 1: a column is there twice", file=path, value=name)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number


def _cell(path: Path, line: int, column: str, text: str) -> float:
    number = _number(text)
    if not text or (number is not None and math.isnan(number)) or text.lower() in ("na", "null"):
        raise InputError(
            f"line {line}: a gap",
            file=path,
            field=column,
            hint="fill it, or leave the rows with gaps at the start or end out",
        )
    if number is None or math.isinf(number):
        raise InputError(
            f"line {line}: is no number",
            file=path,
            field=column,
            value=text,
            hint="only the first column may hold something else: the time",
        )
    return number


def _check_times(path: Path, column: str, times: list[tuple[int, str]]) -> None:
    """Dates must rise in steps of about one length; other texts are not understood."""
    moments = []
    for line, text in times:
        if not text:
            raise InputError(f"line {line}: a gap", file=path, field=column)
        try:
            moments.append(np.datetime64(text.replace(" ", "T"), "s"))
        except ValueError:
            return
    steps = np.diff(np.array(moments)).astype(float)
    if not steps.size:
        return
    for wrong, problem in (
        (steps <= 0, "is not later than the row before"),
        (steps > GAP * np.median(steps), "a gap before this row"),
    ):
        if wrong.any():
            line, text = times[int(np.argmax(wrong)) + 1]
            raise InputError(
                f"line {line}: {problem}",
                file=path,
                field=column,
                value=text,
                hint="one row for each time step, in order",
            )
