"""Islands: pure functions of their tasks, so that nobody sees in the front who did the work."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from search_fakes import SMALL, FakeCost, fake

import transcode
from elector.base.errors import InputError
from elector.base.table import Column
from transcode import engines, runs
from transcode.engines.evolve import Evolve, engine, islands
from transcode.objective import Problem, bound
from transcode.search import workers
from transcode.space import load

WIDE: dict[str, Any] = {
    **SMALL,
    "model": {
        "base": "encoder",
        "layers": {"low": 1, "high": 24, "steps": 12},
        "hidden": [128, 256, 384, 512, 768],
        "heads": [2, 4, 8],
    },
    "accelerator": [
        {
            "base": "systolic",
            "memory": memory,
            "rows": [8, 16, 32, 64, 128, 256],
            "dataflow": ["ws", "os", "is"],
            "sram": {"low": "1 MB", "high": "32 MB", "log": True, "steps": 20},
        }
        for memory in ("lpddr4", "hbm2")
    ],
}
NAMES = ["latency_s", "energy_j", "area_mm2"]


@pytest.fixture(autouse=True)
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Islands from small generations on, so that the tests are short."""
    monkeypatch.setattr(engine, "LEAST", 64)
    monkeypatch.setattr(workers, "_WORTH", 1e-4)
    monkeypatch.setattr(runs.study, "LIMIT", 50)


def search(out: Path, **options: Any) -> Any:
    options = {"sampler": "evolve", "budget": 4000, "batch": 512, "evaluator": fake, **options}
    return transcode.search(WIDE, out=out, **options)


def designs(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "designs")


@pytest.mark.parametrize("sampler", ["evolve", pytest.param("enumerate", marks=pytest.mark.slow)])
def test_the_number_of_workers_changes_nothing(tmp_path: Path, sampler: str) -> None:
    tables = []
    for jobs in (1, 2, 4):
        search(tmp_path / str(jobs), jobs=jobs, sampler=sampler)
        tables.append(designs(tmp_path / str(jobs)))
    assert len(tables[0]) == 4000
    for other in tables[1:]:
        pd.testing.assert_frame_equal(tables[0], other)
    fronts = {(tmp_path / str(jobs) / "front.json").read_bytes() for jobs in (1, 2, 4)}
    assert len(fronts) == 1


def test_nothing_twice_and_nothing_forbidden(tmp_path: Path) -> None:
    result = search(tmp_path, jobs=1, budget=12_000)
    table = designs(tmp_path).drop(columns=["id", *NAMES, "feasible", "reason"])
    assert len(table) == 12_000 and not table.duplicated().any()
    assert (table["model.hidden"] % table["model.heads"] == 0).all()
    assert "islands" in result.manifest["timing"]


def test_islands_are_part_of_what_a_run_is(tmp_path: Path) -> None:
    first = search(tmp_path / "four", jobs=1)
    assert first.manifest["islands"] == 4
    search(tmp_path / "two", jobs=1, islands=2)
    assert not designs(tmp_path / "two").equals(designs(tmp_path / "four"))
    with pytest.raises(InputError, match="islands: 2 there, 4 asked for"):
        search(tmp_path / "two", jobs=1, islands=4, budget=4100)
    search(tmp_path / "two", jobs=1, budget=4100)  # goes on with two


def test_resuming_between_rounds_is_as_if_never_stopped(tmp_path: Path) -> None:
    search(tmp_path / "whole", jobs=1, budget=6000)
    search(tmp_path / "cut", jobs=2, budget=6000)
    parts = sorted((tmp_path / "cut" / "designs").glob("part-*.parquet"))
    for part in parts[-5:]:
        part.unlink()
    search(tmp_path / "cut", jobs=1, budget=6000)
    pd.testing.assert_frame_equal(designs(tmp_path / "whole"), designs(tmp_path / "cut"))


def test_tasks_travel_and_keep_their_answer() -> None:
    problem = Problem(bound(load(WIDE), NAMES), fake)
    beginning = engines.Beginning(islands=3)
    evolve = engines.make("evolve", problem, 0, 512, np.ones(2), beginning)
    assert isinstance(evolve, Evolve)
    while not (tasks := evolve.tasks(100_000)):
        codes = evolve.suggest(512)
        evolve.update(codes, problem.assess(codes))
    here = [islands.advance(problem.space, problem.assess, task) for task in tasks]
    blob = pickle.dumps(problem)
    there = [workers.island(blob, pickle.loads(pickle.dumps(task))) for task in tasks]
    for one, other in zip(here, there, strict=True):
        assert np.array_equal(one.codes, other.codes)
        assert np.array_equal(one.outcome.objectives, other.outcome.objectives, equal_nan=True)
    keys = np.concatenate([problem.space.key(result.codes) for result in here])
    assert len(np.unique(keys)) == len(keys) > 200
    for island, result in enumerate(here):
        assert (islands.owners(problem.space.key(result.codes), 3) == island).all()


def test_any_executor_will_do() -> None:
    problem = Problem(bound(load(WIDE), NAMES), fake)
    codes = problem.space.designs(np.arange(4000))
    with ThreadPoolExecutor(2) as pool:
        crew = workers.Crew(problem, 3, executor=pool)
        outcome = crew.assess(codes)
        crew.close()
        assert pool.submit(len, "open").result() == 4
    assert np.array_equal(outcome.objectives, problem.assess(codes).objectives, equal_nan=True)


def mortal(columns: Mapping[str, Column], size: int) -> FakeCost:
    """Kills the first worker that is asked."""
    flag = Path(os.environ["TEST_FLAG"])
    if str(os.getpid()) != os.environ["TEST_PARENT"] and not flag.exists():
        flag.touch()
        os._exit(9)
    return fake(columns, size)


def test_a_worker_that_dies_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_FLAG", str(tmp_path / "flag"))
    monkeypatch.setenv("TEST_PARENT", str(os.getpid()))
    search(tmp_path / "killed", jobs=2, evaluator=mortal)
    assert (tmp_path / "flag").exists()
    search(tmp_path / "quiet", jobs=1)
    pd.testing.assert_frame_equal(designs(tmp_path / "killed"), designs(tmp_path / "quiet"))


def test_an_evaluator_that_cannot_travel_works_here(tmp_path: Path) -> None:
    asked = []

    def local(columns: Mapping[str, Column], size: int) -> FakeCost:
        asked.append(size)
        return fake(columns, size)

    search(tmp_path / "local", jobs=2, evaluator=local)
    assert sum(asked) >= 4000
    search(tmp_path / "sent", jobs=2)
    pd.testing.assert_frame_equal(designs(tmp_path / "local"), designs(tmp_path / "sent"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "restricted",
    [
        {"OPENBLAS_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Haswell"},
        {"NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX"},
    ],
)
@pytest.mark.parametrize(
    "asked", ["bert --sampler guided --budget 48", "transcode --sampler evolve --budget 700"]
)
def test_the_front_is_the_same_on_other_processors(
    asked: str, restricted: dict[str, str], tmp_path: Path
) -> None:
    """Fewer vector instructions, other kernels, one thread."""
    fronts = []
    for name, changed in (("here", {}), ("there", restricted)):
        words = [*asked.split(), "--out", str(tmp_path / name)]
        subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "transcode", "search", *words, "--quiet"],
            env=os.environ | changed,
            capture_output=True,
            check=True,
        )
        fronts.append((tmp_path / name / "front.csv").read_bytes())
    assert fronts[0] == fronts[1]
