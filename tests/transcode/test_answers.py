"""What workers answer is looked at: a wrong answer names its worker, and nothing is lost."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from search_fakes import SMALL, FakeCost, fake

import transcode
from elector.base.errors import EvaluationError
from elector.base.table import Column
from transcode.objective import Outcome, Problem
from transcode.search import workers

#: A problem's own answer, before a worker spoils it.
_HONEST = workers.outcome


def _nan(outcome: Outcome) -> Outcome:
    return replace(outcome, objectives=np.full_like(outcome.objectives, np.nan))


def _short(outcome: Outcome) -> Outcome:
    return replace(outcome, results={n: v[:-1] for n, v in outcome.results.items()})


def _few(outcome: Outcome) -> Outcome:
    return replace(outcome, objectives=outcome.objectives[1:], feasible=outcome.feasible[1:])


def _nameless(outcome: Outcome) -> Outcome:
    return replace(outcome, results={})


def _bad_results(kind: Any) -> Callable[[Outcome], Outcome]:
    return lambda outcome: replace(
        outcome, results={n: kind(v) for n, v in outcome.results.items()}
    )


def _nothing(outcome: Outcome) -> None:
    return None


@dataclass(frozen=True)
class Spoiled:
    """A worker whose answers are wrong from the so many-th on; all of them count in a file."""

    spoil: Callable[[Outcome], Any]
    after: int
    spent: Path

    def __call__(self, problem: bytes, codes: np.ndarray) -> Any:
        with self.spent.open("a") as stream:
            stream.write("x")
        outcome = _HONEST(problem, codes)
        return outcome if self.spent.stat().st_size <= self.after else self.spoil(outcome)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_nan, "feasible designs without a finite objective"),
        (_short, r"values of latency_s for \d+ designs"),
        (_few, r"values of feasible for \d+ designs"),
        (_nameless, "no area_mm2"),
        (_nothing, "no outcome of designs"),
    ],
)
def test_a_wrong_answer_names_its_worker_and_loses_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Outcome], Any],
    said: str,
) -> None:
    monkeypatch.setattr(workers, "_WORTH", 1e-12)  # however short, work is sent away
    options: dict[str, Any] = {"evaluator": fake, "sampler": "random", "jobs": 2, "batch": 20}
    whole = transcode.search(SMALL, out=tmp_path / "whole", budget=100, **options)
    monkeypatch.setattr(workers, "outcome", Spoiled(spoil, 6, tmp_path / "spent"))
    with pytest.raises(EvaluationError, match=said) as error:
        transcode.search(SMALL, out=tmp_path / "run", budget=100, **options)
    named = re.search(rf"process (\d+) on {re.escape(socket.gethostname())}\b", str(error.value))
    assert named is not None and int(named[1]) != os.getpid()
    monkeypatch.setattr(workers, "outcome", _HONEST)
    there = pd.read_parquet(tmp_path / "run" / "designs")
    assert 0 < len(there) < 100 and not there["id"].duplicated().any()
    resumed = transcode.search(SMALL, out=tmp_path / "run", budget=100, **options)
    for name in ("front.csv", "front.json"):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes()


@pytest.mark.parametrize("name", ["latency_s", "feasible"])
def test_an_evaluator_that_answers_for_other_designs(tmp_path: Path, name: str) -> None:
    """In this process, too; nothing is written where it is the first look that shows it."""

    def short(columns: Mapping[str, Column], size: int) -> FakeCost:
        cost = fake(columns, size)
        if name == "feasible":
            return replace(cost, feasible=cost.feasible[1:])
        return replace(cost, scalars={**cost.scalars, name: cost.scalars[name][:1]})

    with pytest.raises(EvaluationError, match=f"answered with {name} of the shape"):
        transcode.search(SMALL, out=tmp_path / "run", evaluator=short, budget=10)
    assert not (tmp_path / "run").exists()


def test_the_examiner_believes_what_is_right() -> None:
    """Infeasible designs have no objectives, and that is an answer."""
    from transcode.search.answers import Examiner
    from transcode.space import load

    problem = Problem(load(SMALL), fake)
    codes = problem.space.designs(np.arange(0, 200, 3, dtype=np.int64))
    answer = problem.assess(codes)
    assert not answer.feasible.all()
    Examiner(problem).outcome(codes, answer, "nobody")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda o: replace(o, feasible=o.feasible + 0.0), "values of feasible of another kind"),
        (lambda o: replace(o, objectives=o.objectives.astype(object)), "that are no numbers"),
        (lambda o: replace(o, reasons=None), "no reasons"),
        (lambda o: replace(o, results=None), "results or margins without names"),
        (lambda o: replace(o, margins=[]), "results or margins without names"),
        (_bad_results(lambda v: v.astype(str)), "of another kind"),
        (_bad_results(lambda v: np.stack([v, v], axis=1)), "of another kind"),
        (_bad_results(lambda v: np.full_like(v, np.nan)), "objectives that are not its results"),
        (_bad_results(list), "no values of"),
    ],
)
def test_answers_of_another_kind(spoil: Callable[[Outcome], Any], said: str) -> None:
    from transcode.search.answers import Examiner
    from transcode.space import load

    problem = Problem(load(SMALL), fake)
    codes = problem.space.designs(np.arange(0, 200, 3, dtype=np.int64))
    with pytest.raises(EvaluationError, match=rf"worker \(nobody\) answered with .*{said}"):
        Examiner(problem).outcome(codes, spoil(problem.assess(codes)), "nobody")


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="cannot be stopped here")
def test_a_worker_that_is_stuck_is_ended() -> None:
    """Once a search was interrupted nobody waits for what its workers do."""
    from transcode.space import load

    crew = workers.Crew(Problem(load(SMALL), fake), 2)
    pool: Any = crew._open()
    working = pool.submit(time.sleep, 600)
    begin = time.monotonic()
    while not working.running():
        time.sleep(0.01)
    processes = list(pool._processes.values())
    for process in processes:
        os.kill(process.pid, signal.SIGSTOP)
    crew.close(at_once=True)
    assert time.monotonic() - begin < 60
    assert not any(process.is_alive() for process in processes)
