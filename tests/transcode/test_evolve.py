"""What evolve promises: the true front from a twentieth of the designs, whatever the space."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from search_fakes import SMALL, fake

from transcode import engines, pareto
from transcode.engines.evolve import Evolve
from transcode.engines.evolve.kriging import PRIOR, Kriging
from transcode.engines.evolve.population import MOST_BEST, Population, crowding
from transcode.engines.evolve.variation import Variation
from transcode.objective import Problem, bound
from transcode.space import Space, load, numbers

NAMES = ["latency_s", "energy_j", "area_mm2"]
WIDE: dict[str, Any] = {
    **SMALL,
    "model": {
        "base": "encoder",
        "layers": {"low": 1, "high": 24, "steps": 12},
        "hidden": [128, 256, 384, 512, 768],
        "heads": [2, 4, 8],
    },
    "accelerator": {
        "base": "systolic",
        "rows": [8, 16, 32, 64, 128, 256],
        "dataflow": ["ws", "os", "is"],
        "sram": {"low": "1 MB", "high": "32 MB", "log": True, "steps": 20},
    },
}
TWO: dict[str, Any] = {
    **SMALL,
    "accelerator": [
        {
            "base": "systolic",
            "memory": "lpddr4",
            "rows": [16, 32, 64],
            "dataflow": ["ws", "os"],
            "sram": ["1 MB", "2 MB", "4 MB"],
        },
        {
            "base": "systolic",
            "memory": "hbm2",
            "rows": [32, 64, 128],
            "dataflow": ["os", "is"],
            "sram": ["2 MB", "8 MB"],
            "cols": [16, 32],
        },
    ],
}


def problem_of(description: dict[str, Any]) -> Problem:
    return Problem(bound(load(description), NAMES), fake)


def evolved(problem: Problem, budget: int, seed: int = 0, batch: int = 65_536) -> tuple[Any, Any]:
    """(D, S) codes and (D, O) objectives, NaN where infeasible, of a run."""
    reference = np.ones(len(problem.space.objectives))
    engine = engines.make("evolve", problem, seed, batch, reference)
    codes, values = [], []
    while sum(map(len, codes)) < budget and not engine.exhausted:
        proposed = engine.suggest(min(batch, budget - sum(map(len, codes))))
        outcome = problem.assess(proposed)
        engine.update(proposed, outcome)
        codes.append(proposed)
        values.append(np.where(outcome.feasible[:, None], outcome.objectives, np.nan))
    return np.concatenate(codes), np.concatenate(values)


def truth(problem: Problem) -> np.ndarray:
    """(F, O) objectives of the true front."""
    space = problem.space
    codes = space.designs(np.arange(space.cardinality))
    outcome = problem.assess(codes[space.allowed(codes)])
    points = outcome.objectives[outcome.feasible]
    return points[pareto.nondominated(points)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_twentieth_of_the_designs_gives_the_hypervolume(seed: int) -> None:
    problem = problem_of(WIDE)
    whole = truth(problem)
    reference = pareto.reference_point(whole)
    _, values = evolved(problem, problem.space.cardinality // 20, seed)
    share = pareto.hypervolume(values[np.isfinite(values[:, 0])], reference) / (
        pareto.hypervolume(whole, reference)
    )
    assert share >= 0.999


def test_it_ends_when_everything_was_looked_at() -> None:
    problem = problem_of(TWO)
    codes, _ = evolved(problem, 10**9)
    assert len(codes) == problem.space.allowed_count == len(set(problem.space.key(codes).tolist()))


def test_one_objective_finds_the_optimum() -> None:
    problem = problem_of({**WIDE, "objectives": {"energy_j": "min"}})
    best = truth(problem).min()
    _, values = evolved(problem, 800)
    assert np.nanmin(values) == best


def test_feasibility_first() -> None:
    # a part in a hundred is feasible: the least broken lead there
    problem = problem_of({**WIDE, "constraints": ["area_mm2 <= 4", "latency_s <= 0.0005"]})
    _, values = evolved(problem, 600)
    _, all_of_them = evolved(problem, 10**9)
    rate = np.isfinite(all_of_them[:, 0]).mean()
    assert rate < 0.1
    assert np.isfinite(values[:, 0]).mean() > 3 * rate


def test_children_are_designs_and_keep_what_alternatives_share() -> None:
    problem = problem_of(TWO)
    space, rng = problem.space, np.random.default_rng(0)
    parents = space.designs(rng.integers(0, space.cardinality, 500))
    variation, places = Variation(space), np.arange(500)
    children = variation.children(variation.rows(parents), places, places, rng).T
    assert (space.designs(space.index(children)) == children).all()  # canonical and in range
    memory = [space.decode(c)["accelerator.memory"] for c in (parents, children)]
    switched = memory[0].map(str, dtype=object) != memory[1].map(str, dtype=object)
    assert switched.sum() > 20
    sram = [numbers(space.decode(c)["accelerator.sram"]) for c in (parents, children)]
    nearest = np.abs(np.log(sram[0][switched] / sram[1][switched])) <= np.log(2) + 1e-9
    assert nearest.mean() > 0.7  # the other alternative has 2 and 8 MB; 4 is 2 from either


def test_ordered_parameters_step_to_neighbours() -> None:
    space = load(WIDE)
    variation, rng = Variation(space), np.random.default_rng(0)
    column = next(i for i, p in enumerate(space.parameters) if p.name == "accelerator.sram")
    own = np.full(4000, 10)
    steps = np.abs(variation.changed(np.full(4000, column), own, rng) - own)
    assert (steps > 0).all()
    assert (steps == 1).mean() > 0.5 and (steps > 5).mean() > 0.05


def population(points: np.ndarray) -> Population:
    """Nobody but a front, on which nothing was measured."""
    front = points[pareto.nondominated(points)]
    codes = np.arange(len(front), dtype=np.int32)[:, None]
    unknown = np.full(len(front), np.nan, dtype=np.float32)
    none = np.zeros((0, front.shape[1] + 1))
    return Population(codes, front, codes[:0], none, unknown, np.zeros(0, dtype=np.intp))


def shell(size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, 3) points of which many are on the front."""
    points = rng.random((size, 3)) + 0.05
    radius = 1.0 + 0.02 * rng.random((size, 1))
    return points / np.linalg.norm(points, axis=1, keepdims=True) * radius


def test_the_best_are_those_that_add_most_as_if_all_were_measured_again() -> None:
    rng, reference = np.random.default_rng(4), np.full(3, 1.1)
    measured = 0

    def apart(front: np.ndarray, points: np.ndarray, reference: np.ndarray) -> np.ndarray:
        nonlocal measured
        measured += len(points)
        return pareto.apart(front, points, reference)

    def best_of_all(front: np.ndarray) -> np.ndarray:
        adds = pareto.apart(front, front, reference).astype(np.float32)
        return np.argsort(-adds, kind="stable")[:MOST_BEST]

    points = shell(3_000, rng)
    now = population(points[:2_000]).rated(reference, 10_000, rng, apart)
    np.testing.assert_array_equal(now.best, best_of_all(now.front))
    before, measured = now.front, 0
    # What joins takes volume from others; only what may still be among the best is looked at.
    grown = population(np.concatenate([before, points[2_000:]]))
    known = {tuple(p): v for p, v in zip(before.tolist(), now.adds, strict=True)}
    adds = np.array([known.get(tuple(p), np.nan) for p in grown.front.tolist()], dtype=np.float32)
    later = replace(grown, adds=adds).rated(reference, 10_000, rng, apart)
    np.testing.assert_array_equal(later.best, best_of_all(later.front))
    assert np.isnan(adds).sum() < measured < len(adds) - 100


def test_measuring_stops_at_its_limit() -> None:
    rng, reference = np.random.default_rng(5), np.full(3, 1.1)
    rated = population(shell(2_000, rng)).rated(reference, 50, rng, pareto.apart)
    assert 0 < len(rated.measured) == np.isfinite(rated.adds).sum() <= 50


def test_crowding_prefers_the_ends_and_the_lonely() -> None:
    points = np.array([[0.0, 9.0], [1.0, 8.0], [1.1, 7.9], [1.2, 7.8], [5.0, 3.0], [9.0, 0.0]])
    distance = crowding(points)
    assert np.isinf(distance[[0, 5]]).all()
    assert distance[4] > distance[2]
    assert np.isinf(crowding(points[:2])).all()


def test_a_warm_start_comes_first() -> None:
    problem = problem_of(WIDE)
    space: Space = problem.space
    warm = space.designs(np.arange(0, 5000, 50))
    engine = engines.make("evolve", problem, 0, 4096, np.ones(2), engines.Beginning(warm))
    assert isinstance(engine, Evolve)
    first = engine.suggest(4096)
    allowed = warm[space.allowed(warm)]
    assert (first[: len(allowed)] == allowed).all()


# ---- the first hundred designs


def test_a_process_is_sure_where_it_was_told_and_right_where_it_was_not() -> None:
    """A smooth function of two of four numbers: wrong by little, and by no more than it says."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((80, 4))
    values = 3.0 + 2.0 * features[:, 0] + np.sin(2.0 * features[:, 1])
    model = Kriging.of(4)
    model.learn(features[:60], values[:60])
    mean, spread = model.predict(features[:60])
    assert np.abs(mean - values[:60]).max() < 0.05
    mean, spread = model.predict(features[60:])
    wrong = np.abs(mean - values[60:])
    assert np.median(wrong) < 0.1 and (wrong < 4.0 * spread).mean() > 0.9
    lengths = model.places[:4]
    assert lengths[:2].min() > lengths[2:].max(), "which numbers matter is found"


def test_the_slope_of_a_process_is_that_of_its_density() -> None:
    rng = np.random.default_rng(1)
    model = Kriging.of(3)
    model.known, values = rng.standard_normal((20, 3)), rng.standard_normal(20)

    def density(places: np.ndarray) -> float:
        model.places = places
        covariance = model.covariance(model.known, model.known) + model.noise(20)
        fit = values @ np.linalg.solve(covariance, values) + np.linalg.slogdet(covariance)[1]
        mean, deviation = np.repeat(np.array(PRIOR), [3, 1, 1, 1], axis=0).T
        return float(0.5 * fit + 0.5 * (((places - mean) / deviation) ** 2).sum())

    at = model.places + 0.3 * rng.standard_normal(6)
    steps = 1e-5 * np.eye(6)
    expected = [(density(at + step) - density(at - step)) / 2e-5 for step in steps]
    model.places = at
    np.testing.assert_allclose(model.slope(values), expected, rtol=1e-5, atol=1e-6)


def test_the_first_designs_are_chosen_better_than_bred() -> None:
    """Of 40 designs `guided` makes more than `evolve`, on average over seeds."""
    problem = Problem(bound(load(WIDE), NAMES), fake)
    some = problem.assess(engines.streams.random(problem.space, 0).suggest(500))
    reference = pareto.reference_point(some.objectives[some.feasible])

    def made(name: str, seed: int) -> float:
        engine, values = engines.make(name, problem, seed, 4096, reference), []
        while (missing := 40 - sum(map(len, values))) > 0:
            codes = engine.suggest(missing)
            outcome = problem.assess(codes)
            engine.update(codes, outcome)
            values.append(outcome.objectives)
        return pareto.hypervolume(np.nan_to_num(np.concatenate(values), nan=np.inf), reference)

    guided, bred = (np.mean([made(n, seed) for seed in (0, 1)]) for n in ("guided", "evolve"))
    assert guided > 1.02 * bred
