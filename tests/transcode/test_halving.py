"""Successive halving over training steps, by non-dominated rank; models trained in a search."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search_fakes import SMALL, fake

import transcode
from transcode.cli import report
from transcode.search import proxies
from transcode.search.halving import Halving, HalvingPlan, in_order, promoted
from transcode.search.run import Interrupted

SPACE: dict[str, Any] = {
    **SMALL,
    "workload": {"task": "toy"},
    "objectives": {"accuracy": "max", "latency_s": "min"},
    "accuracy": {"source": "trained", "steps": 80, "rungs": 3, "eta": 2, "seeds": 2},
}


@dataclass
class Toy:
    """A trainer of a formula that keeps its scores in files, as the real one does."""

    folder: Path
    task: str
    steps: int
    metric: str = "accuracy"
    calls: list[tuple[str, int, int]] = field(default_factory=list)
    stop_after: int | None = None

    def key(self, settings: dict[str, object]) -> str:
        own = {k: v for k, v in settings.items() if k.startswith("model")}
        return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()

    def prepare(self, wanted: list[tuple[dict[str, object], int]], steps: int) -> None:
        assert len({(self.key(s), seed) for s, seed in wanted}) == len(wanted)

    def score(self, settings: dict[str, object], seed: int, steps: int) -> float:
        path = self.folder / self.key(settings)[:16] / f"{seed}-{steps}.json"
        if path.exists():
            return float(json.loads(path.read_text()))
        if self.stop_after is not None and len(self.calls) >= self.stop_after:
            raise KeyboardInterrupt
        self.calls.append((self.key(settings), seed, steps))
        size = float(str(settings["model.layers"])) * float(str(settings["model.hidden"]))
        score = 90.0 - 30.0 / (steps * size) ** 0.25 + 0.2 * seed
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(score))
        return score

    def sampling(self, score: float) -> float:
        return 0.5


Made = Callable[..., list[Toy]]


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> list[Toy]:
    """Every trainer that was made, the one of the run first."""
    made: list[Toy] = []

    def make(folder: Path, task: str, steps: int, jobs: int) -> Toy:
        made.append(Toy(folder, task, steps))
        return made[-1]

    monkeypatch.setattr(proxies, "_trainer", make)
    return made


def search(folder: Path, space: dict[str, Any] = SPACE, **options: Any) -> transcode.Result:
    given = {"sampler": "random", "budget": 32, "batch": 16, **options}
    return transcode.search(space, out=folder, evaluator=fake, jobs=1, **given)


def test_budgets_end_with_the_whole_and_are_distinct() -> None:
    assert HalvingPlan(200, 3, 2).budgets == (50, 100, 200)
    assert HalvingPlan(4, 4, 3).budgets == (1, 4) and HalvingPlan(100, 1, 2).budgets == (100,)
    assert HalvingPlan(200, 3, 2).expected == 50 + 50 / 2 + 100 / 4


def test_ranks_come_first_and_within_them_the_ends() -> None:
    points = np.array([[1.0, 5.0], [2.0, 2.0], [5.0, 1.0], [2.1, 2.1], [6.0, 6.0], [1.9, 2.4]])
    order = in_order(points)
    assert sorted(order[:4]) == [0, 1, 2, 5] and order[4:] == [3, 4]
    assert set(order[:2]) == {0, 2} and order[2] in (1, 5)


def test_promotion_counts_models_not_designs() -> None:
    points = np.array([[1.0, 4.0], [2.0, 3.0], [3.0, 2.0], [4.0, 1.0], [9.0, 9.0], [8.0, 8.0]])
    assert promoted(points, ["a", "b", "c", "d", "a", "e"], 5).tolist() == [0, 4]
    assert promoted(points, ["a", "a", "b", "b", "c", "c"], 3).tolist() == [0, 1]
    assert promoted(points, list("abcdef"), 2).tolist() in ([0, 1, 3], [0, 2, 3])


def test_what_a_search_trains_and_for_how_long(
    tmp_path: Path, toys: list[Toy], capsys: pytest.CaptureFixture[str]
) -> None:
    result = search(tmp_path / "r")
    frame = result.frame
    assert {"accuracy", "accuracy_std", "trained_steps"} <= set(frame)
    assert (frame["accuracy_std"] > 0.5).all()  # half a point of sampling, and seeds
    calls = toys[0].calls
    at = {steps: sum(c[2] == steps for c in calls) for steps in (20, 40, 80)}
    assert at[20] > at[40] > at[80] > 0 and len(set(calls)) == len(calls)
    assert set(frame["trained_steps"]) <= {20.0, 40.0, 80.0} and 80.0 in set(frame["trained_steps"])
    assert result.manifest["accuracy"]["budgets"] == [20, 40, 80]
    assert "20, 40, 80 steps" in result.manifest["accuracy"]["text"]
    report.search_result(tmp_path / "r", "table")
    best = frame.iloc[0]
    shown = f"{best['accuracy']:.1f}±{best['accuracy_std']:.1f} @{best['trained_steps']:g}"
    assert shown in capsys.readouterr().out


def test_a_broken_constraint_costs_no_training(tmp_path: Path, toys: list[Toy]) -> None:
    space = {**SPACE, "constraints": ["area_mm2 <= 20", "accuracy >= 50"]}
    result = search(tmp_path / "r", space)
    assert result.manifest["feasible"] < 32
    trained = {c[0] for c in toys[0].calls}
    assert 0 < len(trained) <= 32 - result.rejections.counts["area_mm2 <= 20"]


def test_nothing_is_trained_twice_whatever_interrupts(tmp_path: Path, toys: list[Toy]) -> None:
    whole = search(tmp_path / "a").frame
    calls = len(toys[0].calls)
    toys.clear()
    stop = 7

    def limited(folder: Path, task: str, steps: int, jobs: int) -> Toy:
        toys.append(Toy(folder, task, steps, stop_after=stop))
        return toys[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proxies, "_trainer", limited)
        with pytest.raises(Interrupted):
            search(tmp_path / "b")
    resumed = search(tmp_path / "b").frame
    assert len(toys[0].calls) == stop and len(toys[-1].calls) == calls - stop
    assert resumed.equals(whole)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "evolve"])
def test_samplers_that_learn_train_too(tmp_path: Path, toys: list[Toy], sampler: str) -> None:
    result = search(tmp_path / sampler, sampler=sampler)
    assert result.manifest["designs"] == 32 and len(result.front) > 1


def test_auto_takes_parzen_where_training_is_slow(
    tmp_path: Path, toys: list[Toy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxies, "_seconds", lambda problem, plan: 2.0)
    result = search(tmp_path / "r", sampler="auto", batch=None)
    assert result.manifest["sampler"]["used"] == "parzen" and result.manifest["batch"] == 16


def test_fresh_forgets_the_models(tmp_path: Path, toys: list[Toy]) -> None:
    search(tmp_path / "r", budget=16)
    first = len(toys[0].calls)
    assert (tmp_path / "r" / "proxies").is_dir()
    search(tmp_path / "r", budget=16, fresh=True)
    assert len(toys[-1].calls) == first


def test_a_model_that_diverges_does_not_go_on() -> None:
    class Diverging(Toy):
        def score(self, settings: dict[str, object], seed: int, steps: int) -> float:
            return float("nan")

    from transcode.space import load

    space = load(SPACE)
    codes = space.from_unit(np.random.default_rng(0).random((4, len(space.parameters))))
    from transcode.objective import Problem, bound

    names = ["latency_s", "energy_j", "area_mm2"]
    halving = Halving(HalvingPlan(80, 3, 2, 1), Diverging(Path(), "toy", 80))
    outcome = Problem(bound(space, names), lambda c, n: fake(c, n), halving).assess(codes)
    assert not outcome.feasible.any() and np.isnan(outcome.results["accuracy"]).all()
