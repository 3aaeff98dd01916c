"""BOSHCODE's search: what its surrogate knows, where its gradients lead, when it asks again."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search_fakes import SMALL, fake

import transcode
from elector.base.errors import InputError
from elector.base.table import Column
from transcode import engines
from transcode.engines import Finished, streams
from transcode.objective import Outcome, Problem, bound
from transcode.space import load


def test_without_torch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "torch" else find(name, *a)
    )
    with pytest.raises(InputError, match=r"boshcode needs torch.*\[train\]"):
        engines.check("boshcode")


pytest.importorskip("torch")
pytestmark = pytest.mark.extras("torch")

import torch  # noqa: E402

from transcode.engines.boshcode import FIRST, Boshcode, Ensemble, one_thread  # noqa: E402


@pytest.fixture
def problem() -> Problem:
    return Problem(bound(load(SMALL), ["latency_s", "energy_j", "area_mm2"]), fake)


def begun(problem: Problem, objectives: int = 2, scatters: bool = False) -> Boshcode:
    space = problem.space
    none = np.zeros((0, len(space.parameters)), np.int32)
    return Boshcode(space, 0, streams.random(space, 0), none, objectives, scatters)


def batches(engine: Boshcode, problem: Problem, count: int) -> list[Finished]:
    finished = []
    for _ in range(count):
        codes = engine.suggest(4)
        outcome = problem.assess(codes)
        engine.update(codes, outcome)
        finished.append(Finished(codes, outcome, engine.state()))
    return finished


def test_what_it_proposes_is_new_and_allowed_and_the_same_again(problem: Problem) -> None:
    space = problem.space
    finished = batches(begun(problem), problem, 9)
    codes = np.concatenate([b.codes for b in finished])
    assert space.allowed(codes).all() and len(codes) > FIRST + 6
    assert len(np.unique(space.key(codes))) == len(codes)
    again = begun(problem)
    for batch in finished[:7]:
        again.resume(batch)
    rest = np.concatenate([b.codes for b in batches(again, problem, 2)])
    np.testing.assert_array_equal(rest, np.concatenate([b.codes for b in finished[7:]]))


def test_the_nearest_design_of_a_design_is_itself(problem: Problem) -> None:
    engine = begun(problem)
    codes = problem.space.designs(np.arange(0, 5184, 7, dtype=np.int64))
    np.testing.assert_array_equal(engine.nearest(engine.features(codes)), codes)


def test_scatter_and_ignorance_are_told_apart() -> None:
    """Answers scatter on the right; nothing was asked on the far left."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.0, 1.0, (240, 1))
    y = np.sin(2.0 * x) + rng.standard_normal(x.shape) * np.where(x > 0, 0.6, 0.02)
    model = Ensemble(1, 1, seed=1)
    for _ in range(4):
        model.learn(x, y, np.ones(len(x), dtype=bool))
    with torch.no_grad():
        seen = model.forecast(torch.tensor([[-0.5], [0.6], [-4.0]], dtype=torch.float64))
    assert seen.aleatoric[1, 0] > 4.0 * seen.aleatoric[0, 0]
    assert seen.epistemic[2, 0] > 4.0 * seen.epistemic[0, 0]
    assert abs(float(seen.mean[0, 0]) - np.sin(-1.0)) < 0.15


def test_what_cannot_run_is_learnt() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.0, 1.0, (120, 2))
    fits = x[:, 0] < 0.2
    model = Ensemble(2, 1, seed=1)
    for _ in range(3):
        model.learn(x, np.where(fits, x[:, 1], np.nan)[:, None], fits)
    with torch.no_grad():
        seen = model.forecast(torch.tensor([[-0.6, 0.0], [0.9, 0.0]], dtype=torch.float64))
    assert seen.chance[0] > np.log(0.8) and seen.chance[1] < np.log(0.3)


def test_gradients_lead_uphill(problem: Problem) -> None:
    engine = begun(problem, objectives=2)
    batches(engine, problem, 7)
    with one_thread():
        surrogate = engine._learnt()
        start = engine.features(engine.codes[:16])

        def wish(forecast: Any) -> torch.Tensor:
            return -forecast.mean.sum(dim=1)

        end = engine._climbed(surrogate, wish, start)
        before, after = (
            wish(surrogate.forecast(torch.from_numpy(x))).detach().numpy() for x in (start, end)
        )
    assert (after > before).mean() > 0.9 and (after - before).mean() > 0.3
    assert (end >= start.min() - 5.0).all() and np.isfinite(end).all()


def scattered(problem: Problem, deviation: float) -> tuple[Boshcode, int, int]:
    """A search of one objective that scatters; its asks, and the distinct designs of them."""
    engine, rng = begun(problem, objectives=1, scatters=True), np.random.default_rng(5)
    asked = []
    for _ in range(60):
        codes = engine.suggest(1)
        plain = problem.assess(codes)
        value = np.log(plain.objectives[:, :1]) + deviation * rng.standard_normal((len(codes), 1))
        names = list(plain.margins)
        margins = {n: np.where(plain.feasible, 0.0, 1.0) for n in names}
        reasons = Column.constant("", len(codes))
        engine.update(codes, Outcome({}, value, margins, plain.feasible, reasons))
        asked += problem.space.key(codes).tolist()
    return engine, len(asked), len(set(asked))


def test_it_asks_again_where_noise_decides(problem: Problem) -> None:
    engine, asked, distinct = scattered(problem, 0.5)
    assert 3 <= asked - distinct == engine.again <= asked / 4


def test_it_asks_again_less_where_answers_hardly_scatter(problem: Problem) -> None:
    loud, quiet = scattered(problem, 0.5)[0].again, scattered(problem, 1e-6)[0].again
    assert quiet <= 0.6 * loud


@pytest.mark.slow
def test_a_search_ends_above_random_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    options: dict[str, Any] = {"evaluator": fake, "jobs": 1}
    space = {**SMALL, "reference_point": {"latency_s": "1 ms", "energy_j": "1 mJ"}}
    volumes = {
        name: [
            transcode.search(
                space, out=tmp_path / f"{name}{seed}", sampler=name, budget=56, seed=seed, **options
            ).manifest["hypervolume"]
            for seed in range(3)
        ]
        for name in ("boshcode", "random")
    }
    assert np.mean(volumes["boshcode"]) > np.mean(volumes["random"])

    class Stop(Exception):
        pass

    def stop(seen: transcode.Progress) -> None:
        if seen.designs >= 40:
            raise Stop

    with pytest.raises(Stop):
        transcode.search(
            space, out=tmp_path / "cut", sampler="boshcode", budget=56, progress=stop, **options
        )
    transcode.search(space, out=tmp_path / "cut", sampler="boshcode", budget=56, **options)
    whole = (tmp_path / "boshcode0" / "front.csv").read_bytes()
    assert (tmp_path / "cut" / "front.csv").read_bytes() == whole


@pytest.mark.parametrize("seed", [1844674407370955, 2**63, 2**64 + 1, 10**30])
def test_any_seed_begins(problem: Problem, seed: int) -> None:
    """torch takes 63 bits of a seed, a search any whole number."""
    space = problem.space
    none = np.zeros((0, len(space.parameters)), np.int32)
    engine = Boshcode(space, seed, streams.random(space, seed), none, 2)
    finished = batches(engine, problem, 8)
    assert sum(len(batch.codes) for batch in finished) > FIRST


def test_without_feasible_designs_it_goes_on_from_those_that_break_least(problem: Problem) -> None:
    """The violation is the sum of the codes: random draws do not approach 0, neighbours do."""
    space = problem.space

    def mean_of(codes: np.ndarray) -> float:
        return float(codes.sum(axis=1).mean())

    engine, asked = begun(problem), list[np.ndarray]()
    for _ in range(16):
        codes = engine.suggest(4)
        none = np.full((len(codes), 2), 1.0)
        away = 1.0 + codes.sum(axis=1).astype(float)
        away[::5] = np.nan  # cannot run
        bad = np.zeros(len(codes), dtype=bool)
        engine.update(codes, Outcome({}, none, {"c": away}, bad, Column.constant("c", len(codes))))
        asked.append(codes)
    codes = np.concatenate(asked)
    assert len(np.unique(space.key(codes))) == len(codes) and space.allowed(codes).all()
    assert mean_of(codes[-16:]) < 0.6 * mean_of(codes[:FIRST])
