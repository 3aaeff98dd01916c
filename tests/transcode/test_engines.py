"""Laws that every engine keeps: nothing twice, nothing forbidden, nothing lost on resuming."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from amounts import draws
from search_fakes import SMALL, fake

from elector.base.errors import InputError
from transcode import engines
from transcode.engines import Engine, Finished, streams
from transcode.engines.base import Seen
from transcode.objective import Problem, bound
from transcode.space import Space, load

STREAMS = ("enumerate", "random", "qmc")
LEARNERS = ("evolve", "guided", "parzen", "nsga2", "nsga3", "tpe")
REFERENCE = np.array([1.0, 1.0])


@pytest.fixture
def problem() -> Problem:
    names = ["latency_s", "energy_j", "area_mm2"]
    return Problem(bound(load(SMALL), names), fake)


def batches(engine: Engine, problem: Problem, count: int, size: int) -> list[Finished]:
    """Lets an engine run for some batches."""
    finished = []
    for _ in range(count):
        codes = engine.suggest(size)
        outcome = problem.assess(codes)
        engine.update(codes, outcome)
        finished.append(Finished(codes, outcome, engine.state()))
    return finished


def keys(problem: Problem, finished: list[Finished]) -> list[int]:
    return [k for b in finished for k in problem.space.key(b.codes).tolist()]


@pytest.mark.parametrize("name", [*STREAMS, *LEARNERS])
def test_nothing_twice_and_nothing_forbidden(name: str, problem: Problem) -> None:
    engine = engines.make(name, problem, 0, 20, REFERENCE)
    finished = batches(engine, problem, 6, 20)
    assert all(len(b.codes) <= 20 for b in finished)
    assert all(problem.space.allowed(b.codes).all() for b in finished)
    seen = keys(problem, finished)
    assert len(seen) == len(set(seen)) > 30


@pytest.mark.parametrize("name", [*STREAMS, *LEARNERS])
def test_same_seed_same_designs(name: str, problem: Problem) -> None:
    def run(seed: int) -> list[int]:
        return keys(
            problem, batches(engines.make(name, problem, seed, 16, REFERENCE), problem, 3, 16)
        )

    assert run(1) == run(1)
    if name != "enumerate":
        assert run(1) != run(2)


@pytest.mark.parametrize("name", [*STREAMS, *LEARNERS])
def test_resuming_goes_on_as_if_never_stopped(name: str, problem: Problem) -> None:
    whole = batches(engines.make(name, problem, 3, 12, REFERENCE), problem, 8, 12)
    resumed = engines.make(name, problem, 3, 12, REFERENCE)
    for batch in whole[:5]:
        resumed.resume(batch)
    rest = batches(resumed, problem, 3, 12)
    for expected, later in zip(whole[5:], rest, strict=True):
        assert np.array_equal(expected.codes, later.codes)
        assert expected.state == later.state


@pytest.mark.parametrize("name", STREAMS)
def test_streams_reach_every_design(name: str, problem: Problem) -> None:
    engine = engines.make(name, problem, 0, 500, REFERENCE)
    seen: set[int] = set()
    while not engine.exhausted:
        seen |= set(problem.space.key(engine.suggest(500)).tolist())
    allowed = problem.space.designs(np.arange(problem.space.cardinality))
    allowed = allowed[problem.space.allowed(allowed)]
    assert seen == set(problem.space.key(allowed).tolist())
    assert len(engine.suggest(10)) == 0


@pytest.mark.parametrize("name", STREAMS)
def test_streams_do_not_depend_on_the_batch(name: str, problem: Problem) -> None:
    def run(sizes: list[int]) -> list[int]:
        engine = engines.make(name, problem, 5, 10, REFERENCE)
        return [k for n in sizes for k in problem.space.key(engine.suggest(n)).tolist()]

    assert run([300]) == run([1, 99, 200]) == run([100] * 3)


@pytest.mark.parametrize("name", LEARNERS)
def test_learners_beat_random(name: str, problem: Problem) -> None:
    from transcode import pareto

    def points(sampler: str) -> tuple[int, np.ndarray]:
        finished = batches(engines.make(sampler, problem, 0, 25, REFERENCE), problem, 12, 25)
        values = [b.outcome.objectives[b.outcome.feasible] for b in finished]
        return sum(len(b.codes) for b in finished), np.concatenate(values)

    designs, own = points(name)
    drawn = problem.assess(streams.random(problem.space, 0).suggest(designs))
    worst = np.array([1e-3, 2e-4])
    random = pareto.hypervolume(drawn.objectives[drawn.feasible], worst)
    assert pareto.hypervolume(own, worst) > random


def test_learners_see_every_alternative() -> None:
    # two alternatives with the same base once looked like one to Optuna
    description = {
        **SMALL,
        "accelerator": [
            {
                "base": "systolic",
                "memory": memory,
                "rows": [16, 32],
                "dataflow": ["ws", "os"],
                "sram": ["2 MB", "4 MB"],
            }
            for memory in ("lpddr4", "hbm2")
        ],
    }
    problem = Problem(bound(load(description), ["latency_s", "energy_j", "area_mm2"]), fake)
    engine = engines.make("nsga2", problem, 0, 30, REFERENCE)
    codes = engine.suggest(30)
    memory = problem.space.decode(codes)["accelerator.memory"]
    assert {memory[i] for i in range(len(codes))} == {"lpddr4", "hbm2"}


def test_a_finite_space_ends_a_learner() -> None:
    description = {
        **SMALL,
        "model": {"base": "encoder", "layers": [2, 4]},
        "where": [],
        "accelerator": {"base": "systolic", "dataflow": ["ws", "os"]},
    }
    problem = Problem(bound(load(description), ["latency_s", "energy_j", "area_mm2"]), fake)
    engine = engines.make("nsga2", problem, 0, 10, REFERENCE)
    total = 0
    while not engine.exhausted:
        codes = engine.suggest(10)
        total += len(codes)
        engine.update(codes, problem.assess(codes))
    assert total == 4


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, 1 << 10, 12345])
def test_permutations_are_permutations(size: int) -> None:
    shuffled = streams.permutation(size, 3)(np.arange(size))
    assert np.array_equal(np.sort(shuffled), np.arange(size))
    if size > 100:
        assert not np.array_equal(shuffled, streams.permutation(size, 4)(np.arange(size)))
        # no trend: the correlation of 1,000 draws of even numbers is below 0.1
        assert abs(np.corrcoef(shuffled, np.arange(size))[0, 1]) < 0.1


def test_quasi_random_is_more_even_than_random() -> None:
    wide = {"low": 1, "high": 1024}
    description = {
        "name": "even",
        "model": "bert-tiny",
        "objectives": {"latency_s": "min"},
        "accelerator": {"base": "systolic", "rows": wide, "cols": wide},
    }
    space = load(description)

    def unevenness(stream: streams.StreamEngine) -> float:
        codes = stream.suggest(1024)[:, [p.size > 1 for p in space.parameters]]
        counts = np.histogram2d(*codes.T, bins=16, range=[[0, 1024]] * 2)[0]
        return float(counts.std())

    assert unevenness(streams.quasi_random(space, 0)) < 0.6 * unevenness(streams.random(space, 0))


def test_huge_spaces_are_drawn_from() -> None:
    wide = {"low": 1.0e9, "high": 2.0e12}
    names = ("bandwidth", "sram_bandwidth", "sram", "memory_capacity")
    whole = {"low": 1, "high": 4096}
    description = {
        "name": "huge",
        "model": {"base": "encoder", "layers": whole, "hidden": whole},
        "accelerator": {"base": "systolic", "rows": whole, **{n: wide for n in names}},
        "objectives": {"latency_s": "min"},
    }
    description["accelerator"]["sram"] = {"low": 1e6, "high": 1e9}  # type: ignore[index]
    space = load(description)
    assert space.cardinality > 1 << 62
    first = streams.random(space, 1).suggest(5000)
    again = streams.random(space, 1)
    parts = np.concatenate([again.suggest(n) for n in (4000, 1000)])
    assert np.array_equal(first, parts)
    with pytest.raises(InputError, match="too many to enumerate"):
        streams.enumerate_all(space)


def test_seen_remembers_exactly() -> None:
    rng = np.random.default_rng(0)
    seen, truth = Seen(), set()
    for _ in range(60):
        keys = rng.integers(0, 4000, rng.integers(1, 200)).astype(np.uint64)
        fresh = seen.new(keys)
        expected, inside = [], set(truth)
        for key in keys.tolist():
            expected.append(key not in inside)
            inside.add(key)
        assert fresh.tolist() == expected
        seen.add(keys[fresh])
        truth = inside
        assert len(seen) == len(truth)
    assert len(seen.runs) <= 8


# ---- which engine, and why


def choice(
    space: Space,
    asked: str = "auto",
    each: float = 1e-5,
    budget: int | None = None,
    time: float | None = None,
) -> engines.Choice:
    return engines.choose(asked, space, each, budget, time)


def test_auto_enumerates_what_fits(small_space: Space) -> None:
    assert choice(small_space).used == "enumerate"
    assert choice(small_space).budget is None
    assert choice(small_space, budget=3456).used == "enumerate"
    assert "3,456 designs at 10.0 us take 0.0346 s" in choice(small_space).why


def test_auto_chooses_by_budget_and_time(small_space: Space) -> None:
    assert choice(small_space, budget=200).used == "guided"
    slow = choice(small_space, each=1.0)
    assert slow.used == "guided" and slow.budget == engines.FEW
    assert choice(small_space, each=1.0, budget=2000).used == "guided"
    assert choice(load("bert"), budget=engines.THOUGHTFUL + 1).used == "evolve"
    assert choice(load("bert"), budget=engines.THOUGHTFUL).used == "guided"
    assert choice(small_space, each=1.0, time=60.0).used == "guided"
    assert choice(load("bert"), budget=100_000).used == "evolve"
    assert choice(small_space, each=1.0, budget=4000).used == "enumerate"


def test_auto_enumerates_where_evolve_would_take_as_long() -> None:
    """Of `bert` it would look at a million of 1,008,000; a given time or budget still decides."""
    assert choice(load("bert"), each=1e-2).used == "enumerate"
    assert choice(load("bert"), each=1e-2, time=60.0).used == "evolve"
    assert choice(load("bert"), each=1e-2, budget=1_000_000).used == "evolve"
    assert choice(load("bert"), each=engines.SLOW).used == "guided"


def test_auto_says_what_it_decided_by(small_space: Space) -> None:
    """Too many is said only of what no machine looks at; else what is short: budget, or time."""
    whole = choice(small_space).why
    assert "all of them" in whole and "too many" not in whole
    assert "more than the budget of 3,000" in choice(small_space, budget=3000).why
    assert "not all of them within 5 s" in choice(small_space, each=1e-2, time=5.0).why
    assert "too many to look at each" in choice(load("transcode")).why
    slow = choice(small_space, each=1.0, budget=50).why
    assert "each of 50 has to count" in slow and "too many" not in slow


def test_asked_is_asked(small_space: Space) -> None:
    for name in (*STREAMS, *LEARNERS):
        assert choice(small_space, name).used == name
    assert choice(small_space, "random").budget == engines.DEFAULT_STREAM_BUDGET


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nsga22", "did you mean nsga2"),
        ("evolv", "did you mean evolve"),
        ("no_such_module:Sampler", "cannot be imported"),
        ("optuna.samplers:NoSuch", "cannot be imported"),
        ("builtins:dict", "not an Optuna sampler"),
    ],
)
def test_bad_samplers(name: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        engines.check(name)
    assert words in str(caught.value)


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real: Callable[..., Any] = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "torch" else real(name, *a)
    )
    with pytest.raises(InputError) as caught:
        engines.check("gp")
    assert "pip install -e '.[gp]'" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.extras("torch", "scipy")
def test_gp(problem: Problem) -> None:
    finished = batches(engines.make("gp", problem, 0, 4, REFERENCE), problem, 4, 4)
    assert len(set(keys(problem, finished))) > 8


def test_a_sampler_of_the_users_own(problem: Problem) -> None:
    engine = engines.make("optuna.samplers:RandomSampler", problem, 0, 10, REFERENCE)
    assert len(engine.suggest(10)) > 2
    assert engines.choose("optuna.samplers:RandomSampler", problem.space, 1, 5, None).why == (
        "as asked"
    )


@pytest.mark.parametrize("name", ["nsga2", "nsga3"])
def test_optunas_samplers_get_to_the_end_of_a_small_space(name: str) -> None:
    """What they repeat without end is drawn at random instead; a resumed run does the same."""
    names = ["latency_s", "energy_j", "area_mm2"]
    model = {"base": "encoder", "layers": [2, 4], "hidden": [128, 256], "heads": [2, 4]}
    accelerator = SMALL["accelerator"] | {"rows": [16, 32][: draws(2, 1)]}
    space = load(SMALL | {"model": model, "accelerator": accelerator})
    few = Problem(bound(space, names), fake)
    engine = engines.make(name, few, 0, 20, REFERENCE)
    finished: list[Finished] = []
    while not engine.exhausted:
        assert len(finished) < 100
        [batch] = batches(engine, few, 1, 20)
        finished.append(batch)
    looked_at = keys(few, finished)
    assert len(set(looked_at)) == len(looked_at) == few.space.allowed_count
    again = engines.make(name, few, 0, 20, REFERENCE)
    for batch in finished[:-3]:
        again.resume(Finished(batch.codes, batch.outcome, json.loads(json.dumps(batch.state))))
    for expected, batch in zip(finished[-3:], batches(again, few, 3, 20), strict=True):
        assert np.array_equal(expected.codes, batch.codes)
