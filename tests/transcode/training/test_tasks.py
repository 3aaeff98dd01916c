"""Tasks: what is in them, that nothing leaks, that bad files are refused at the edge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elector.base.errors import InputError
from transcode.training.series import csv_file, forecast
from transcode.training.task import DataSplit, Task
from transcode.training.tasks import TASKS, list_tasks, load_task
from transcode.training.text import text_file

NEEDS = {"digits": "sklearn", "digits-tokens": "sklearn", "docstrings": "ast"}


def named() -> list[Any]:
    return [
        pytest.param(name, marks=pytest.mark.extras(NEEDS.get(name, "statsmodels")))
        for name in TASKS
    ]


@pytest.mark.parametrize("name", named())
def test_a_task_is_what_it_says(name: str) -> None:
    task = load_task(name)
    assert task.name == name and name in list_tasks()
    for split in (task.train, task.valid, task.test):
        assert split.size == split.y.shape[0] >= 8
        assert split.x.shape[1] == task.sequence_length
        if task.inputs == "tokens":
            assert task.vocabulary is not None
            assert split.x.dtype == np.int64
            assert 0 <= split.x.min() <= split.x.max() < task.vocabulary
        else:
            assert split.x.shape[2] == task.features and split.x.dtype == np.float32
        if task.kind == "forecast":
            assert split.y.shape[1] == task.outputs
        else:
            assert 0 <= split.y.min() <= split.y.max() < task.outputs
    assert task.baselines and all(np.isfinite(list(task.baselines.values())))


@pytest.mark.parametrize("name", named())
def test_a_batch_follows_from_seed_and_step(name: str) -> None:
    task, again = load_task(name), load_task(name)
    whole = list(task.batches(size=4, steps=5, seed=7))
    rest = list(again.batches(size=4, steps=5, seed=7, start=3))
    for (x, y), (u, v) in zip(whole[3:], rest, strict=True):
        assert np.array_equal(x, u) and np.array_equal(y, v)
    assert not np.array_equal(whole[0][0], whole[1][0])
    assert not np.array_equal(whole[0][0], task.batch(0, size=4, seed=8)[0])
    for size in (0, task.train.size + 1):
        with pytest.raises(InputError, match="training examples"):
            task.batch(0, size=size)


@pytest.mark.extras("sklearn")
def test_digits_as_patches_and_as_pixels_are_the_same_images() -> None:
    patches, pixels = load_task("digits", sequence_length=64), load_task("digits-tokens")
    assert np.array_equal((patches.train.x[:, :, 0] + 0.5) * 16, pixels.train.x)
    assert np.array_equal(patches.test.y, pixels.test.y)
    coarse = load_task("digits", sequence_length=4)
    image = pixels.train.x[0].reshape(8, 8)
    assert np.array_equal((coarse.train.x[0, 1] + 0.5) * 16, image[:4, 4:].ravel())
    other = load_task("digits-tokens", seed=1)
    assert not np.array_equal(other.train.y, pixels.train.y)
    everything = [
        np.sort(np.concatenate([s.x for s in (t.train, t.valid, t.test)]), axis=0)
        for t in (pixels, other)
    ]
    assert np.array_equal(*everything)


def test_docstrings_are_english_and_no_module_is_in_two_splits() -> None:
    from transcode.training.text import _library_parts

    parts = _library_parts()
    assert [len(part) > 20_000 for part in parts] == [True] * 3
    assert all(b"Return the" in part for part in parts)
    lines = [{line for line in part.decode().split("\n\n") if len(line) > 120} for part in parts]
    shared = (lines[0] & lines[1]) | (lines[0] & lines[2]) | (lines[1] & lines[2])
    assert len(shared) < 0.01 * len(lines[0])


def test_next_tokens_are_the_tokens_one_further() -> None:
    task = load_task("docstrings", sequence_length=32)
    for split in (task.train, task.valid, task.test):
        assert np.array_equal(split.x[5, 1:], split.y[5, :-1])
    # Training windows start anywhere, scored ones follow each other.
    assert np.array_equal(task.train.x[0, 1:], task.train.x[1, :-1])
    assert task.test.y[0, -1] == task.test.x[1, 0]


# ---- time series ----


def a_series(steps: int = 200) -> np.ndarray:
    """Each value is its own place in time, so that what is seen can be read off."""
    return np.arange(steps, dtype=float)[:, None]


def test_targets_of_later_splits_are_seen_in_no_earlier_one() -> None:
    task = forecast("ramp", a_series(), length=10, horizon=4, source="")
    unit = float(task.train.x[0, 1, 0] - task.train.x[0, 0, 0])
    # A ramp's windows look alike; what differs is where they lie, so count them.
    assert task.train.size == 140 - 14 + 1
    assert task.valid.size == 30 - 4 + 1 and task.test.size == 30 - 4 + 1
    assert np.allclose(task.train.y[0], unit * np.arange(1, 5), rtol=1e-5)


def test_scaling_knows_the_training_part_only() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 2)).cumsum(axis=0)
    changed = values.copy()
    changed[140:] = changed[139] + 100.0 * (changed[140:] - changed[139])
    before = forecast("a", values, length=10, horizon=4, source="")
    after = forecast("a", changed, length=10, horizon=4, source="")
    assert np.array_equal(before.train.x, after.train.x)
    assert np.array_equal(before.train.y, after.train.y)
    assert np.allclose(100.0 * before.test.y, after.test.y, rtol=1e-4)
    changed = values.copy()
    changed[170:] = 0.0
    later = forecast("a", changed, length=10, horizon=4, source="")
    assert np.array_equal(before.valid.x, later.valid.x)
    assert np.array_equal(before.valid.y, later.valid.y)


def test_baselines_of_a_forecast() -> None:
    steps = np.arange(300)
    wave = np.sin(2 * np.pi * steps / 12)[:, None]
    task = forecast("wave", wave, length=24, horizon=6, season=12, source="")
    assert task.baselines["persistence"] == 0.0
    assert task.baselines["last season"] == pytest.approx(100.0, abs=1e-4)
    assert task.baselines["ridge regression"] > 95.0


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def rows(count: int, *, skip: int | None = None, cell: str | None = None) -> str:
    """A table of months; one month skipped, or its second number replaced."""
    months = np.datetime64("1990-01") + np.arange(count)
    lines = ["month,rain,wind"]
    for i, month in enumerate(months):
        if i == skip:
            continue
        wind = cell if cell is not None and i == 40 else f"{i % 7}"
        lines.append(f"{month},{np.sin(i):.4f},{wind}")
    return "\n".join(lines) + "\n"


def test_a_users_table(tmp_path: Path) -> None:
    task = load_task(str(write(tmp_path / "rain.csv", rows(200))), sequence_length=12)
    assert (task.name, task.features, task.outputs, task.sequence_length) == ("rain", 2, 6, 12)
    without = write(
        tmp_path / "plain.csv",
        "\n".join(line.partition(",")[2] for line in rows(200).splitlines()) + "\n",
    )
    assert np.array_equal(csv_file(without, sequence_length=12).train.x, task.train.x)
    longer = load_task(str(tmp_path / "rain.csv"), sequence_length=12, horizon=5)
    assert longer.outputs == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (rows(200, cell=""), "line 42: a gap"),
        (rows(200, cell="nan"), "wind: line 42: a gap"),
        (rows(200, cell="NA"), "hint: fill it"),
        (rows(200, cell="calm"), "line 42: is no number"),
        (rows(200, cell="inf"), "line 42: is no number"),
        (rows(200, skip=40), "line 42: a gap before this row"),
        (rows(200) + "1990-01,1,1\n", "line 202: is not later"),
        (rows(200) + "2030-01,1\n", "line 202: has 2 cells"),
        (rows(20), "20 time steps are too few"),
        ("month,rain\n", "no rows"),
        ("", "is empty"),
        ("1,2\n3,4\n", "is no header"),
        ("a,a\n1,2\n", "a column is there twice"),
        ("month\n1990-01\n", "no column of numbers"),
        ("a\n" + "1\n" * 200, "does not change"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "table.csv", text)
    with pytest.raises(InputError) as error:
        load_task(str(path))
    assert message in str(error.value) and "table.csv" in str(error.value)


def test_a_users_text(tmp_path: Path) -> None:
    text = "".join(f"The {i}th line of a small book.\n" for i in range(400))
    task = text_file(write(tmp_path / "book.txt", text), sequence_length=16)
    assert "".join(chr(c) for c in task.train.x[0]) == text[:16]
    assert task.baselines["bigram"] > task.baselines["unigram"] > 0.0
    with pytest.raises(InputError, match=r"book\.txt.*too short for sequences of 9999"):
        load_task(str(tmp_path / "book.txt"), sequence_length=9999)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("digit", {}, "did you mean digits"),
        ("elnino.csv", {}, "does not exist"),
        ("docstrings", {"horizon": 4}, "forecasts nothing"),
        ("docstrings", {"sequence_length": 1}, "at least 2"),
        ("elnino", {"horizon": 0}, "at least 1"),
        ("elnino", {"sequence_length": -3}, "at least 1"),
        ("elnino", {"sequence_length": 5000}, "too few"),
        ("digits", {"sequence_length": 5}, "allowed: 4, 16, 64"),
    ],
)
@pytest.mark.extras("sklearn", "statsmodels")
def test_requests_that_are_refused(name: str, settings: dict[str, int], message: str) -> None:
    with pytest.raises(InputError) as error:
        load_task(name, **settings)
    assert message in str(error.value)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "statsmodels.datasets", None)
    with pytest.raises(InputError, match=r"statsmodels.*\[train\]"):
        load_task("elnino")


# ---- loss and score ----


def toy(kind: str, y: np.ndarray) -> Task:
    split = DataSplit(np.zeros((y.shape[0], 2, 1), np.float32), y)
    return Task("toy", kind, "values", 2, None, 1, 3, "", split, split, split)


@pytest.mark.extras("torch")
def test_scores_by_hand() -> None:
    import torch

    y = np.array([[1.0, 2.0, 2.0], [0.0, 0.0, 1.0]], np.float32)
    task = toy("forecast", y)
    target = torch.from_numpy(y)
    assert task.score(torch.zeros(2, 3), target) == 0.0
    assert task.score(target, target) == 100.0
    assert task.score(target * 0.5, target) == pytest.approx(75.0)
    assert float(task.loss(torch.zeros(2, 3), target)) == pytest.approx(10.0 / 6.0)
    classes = toy("classification", np.array([0, 2, 1, 1]))
    logits = torch.eye(3)[[0, 2, 1, 0]] * 5.0
    assert classes.score(logits, torch.tensor([0, 2, 1, 1])) == 75.0


@pytest.mark.extras("torch")
def test_a_split_scores_the_same_in_any_batch_size() -> None:
    import torch

    rng = np.random.default_rng(0)
    y = rng.normal(size=(37, 3)).astype(np.float32)
    task = toy("forecast", y)

    class Guess(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert not self.training
            return torch.full((x.shape[0], 3), 0.1)

    module = Guess()
    measurements = [task.evaluate(module, task.test, size=size) for size in (1, 10, 37, 100)]
    assert module.training
    for measured in measurements:
        assert measured.score == pytest.approx(measurements[0].score)
        assert measured.loss == pytest.approx(measurements[0].loss, rel=1e-5)
    assert measurements[0].further["rmse"] == pytest.approx(measurements[0].loss ** 0.5)
