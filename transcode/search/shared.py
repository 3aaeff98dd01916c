"""`--storage`: an engine whose trials lie in a database, shared by several processes.

Each process asks for one design at a time, evaluates it and tells. What the others found
arrives before each question, so that every process' run folder holds the designs of all. A
process that dies leaves a trial without signs of life; another one takes it up again.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from elector.base.errors import EvaluationError
from elector.base.table import Column
from transcode.engines import Engine, Finished
from transcode.engines.optuna_engine import OptunaEngine, sampler, users
from transcode.objective import Outcome, Problem
from transcode.runs import storage
from transcode.runs.storage import Address, Pulse
from transcode.search.settle import Settled

#: Population of Optuna's evolutionary samplers, which are asked for one design at a time.
_POPULATION = 50
#: Trials in a row that name no new design, after which one is drawn at random.
_QUESTIONS = 10
#: Names of what a finished trial carries beside its values.
_CODES, _RESULTS, _REASON = "codes", "results", "reason"


@dataclass
class SharedStudy(OptunaEngine):
    """An Optuna sampler over a shared study.

    opened : (storage, study). where : its address. pulse : signs of life for the trial at hand.
    arrived : trials taken over so far. failed : what was wrong with the storage, "" if nothing.
    """

    problem: Problem = field(kw_only=True)
    where: Address = field(kw_only=True)
    pulse: Pulse = field(kw_only=True)
    arrived: set[int] = field(default_factory=set)
    failed: str = ""

    def suggest(self, count: int) -> np.ndarray:
        """One new design: after many questions without one, a design drawn at random.

        count : of designs, 1.
        """
        import optuna

        self._limited(lambda: optuna.storages.fail_stale_trials(self.study))
        while True:
            for _ in range(_QUESTIONS):
                with users(self.name):
                    codes = self._limited(self._one)
                if codes is not None:
                    return codes[None, :]
            strangers = self._unknown(1)
            if not strangers:
                break
            params = self._params(strangers[0])
            self._limited(partial(self.study.enqueue_trial, params))
        self.tired = True
        self.asked = []
        return np.zeros((0, len(self.space.parameters)), dtype=np.int32)

    def _limited(self, ask: Any) -> Any:
        """What the storage answers. After it failed once it is not asked, and waited for, again."""
        if self.failed:
            raise EvaluationError(self.failed)
        try:
            return storage.limited(storage.ANSWER, self.where, ask)
        except EvaluationError as error:
            self.failed = str(error)
            raise

    def _one(self) -> np.ndarray | None:
        """(S,) codes of a new trial that has to be evaluated; None where it is settled."""
        derived = np.random.SeedSequence([self.seed, self._next_number()]).generate_state(1)
        self.study.sampler = self.make(int(derived[0]) & 0x7FFFFFFF)
        trial = self.study.ask()
        self.pulse.of(trial._trial_id)
        codes = self._ask(trial)
        key = int(self.space.key(codes[None, :])[0])
        self.asked = [(trial, codes)]
        if not self.space.allowed(codes[None, :])[0] or key in self.known:
            self._tell()
            return None
        if key in self._running(trial.number):
            self.pulse.of(None)
            self.study.tell(trial, state=_state("FAIL"))
            return None
        return codes

    def _next_number(self) -> int:
        """Number of the next trial, as far as this process knows: others may be ahead."""
        return len(self.study.get_trials(deepcopy=False))

    def _running(self, below: int) -> set[int]:
        """Keys of designs that earlier trials are busy with in other processes."""
        keys = set()
        for trial in self.study.get_trials(deepcopy=False, states=(_state("RUNNING"),)):
            codes = self._codes_of(trial.params) if trial.number < below else None
            if codes is not None:
                keys.add(int(self.space.key(codes[None, :])[0]))
        return keys

    def _codes_of(self, params: dict[str, Any]) -> np.ndarray | None:
        """(S,) codes of a trial's parameters; None where some are still to come."""
        try:
            return self._ask(_Fixed(params))
        except KeyError:
            return None

    def update(self, codes: np.ndarray, outcome: Outcome) -> None:
        """Tells the trial of the design."""
        if len(codes) == 0:
            return
        self._learn(codes, outcome)
        trial = self.asked[0][0]
        results = {n: float(v[0]) for n, v in outcome.results.items() if np.isfinite(v[0])}
        attributes = {_CODES: codes[0].tolist(), _RESULTS: results, _REASON: outcome.reasons[0]}

        self.arrived.add(trial.number)
        self._limited(lambda: self._tell(attributes))

    def _tell(self, attributes: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Finishes the trial at hand with what is known of its design."""
        import optuna

        trial, codes = self.asked[0]
        told = self._told(codes[None, :])[0]
        try:
            for name, value in attributes.items():
                trial.set_user_attr(name, value)
            with warnings.catch_warnings():
                # one that was killed while it told its trial: the design's new trial has them
                warnings.filterwarnings("ignore", message="The constraint value is ignored")
                for name, value in told.constraints.items():
                    trial.set_constraint(name, value)
            self.study.tell(trial, told.values)
        except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
            # It was silent for so long that it counts as dead; the design's new trial is told.
            pass
        finally:
            self.pulse.of(None)

    def arrivals(self) -> Iterator[tuple[np.ndarray, Outcome]]:
        """(D, S) codes and outcome of what other processes finished since the last time."""
        trials = self._limited(
            lambda: self.study.get_trials(deepcopy=False, states=(_state("COMPLETE"),))
        )
        finished: dict[int, Any] = {}
        for trial in trials:
            if trial.number in self.arrived or _RESULTS not in trial.user_attrs:
                continue
            self.arrived.add(trial.number)
            codes = np.array([trial.user_attrs[_CODES]], dtype=np.int32)
            key = int(self.space.key(codes)[0])
            if key not in self.known:
                finished.setdefault(key, trial.user_attrs)
        if finished:
            codes = np.array([a[_CODES] for a in finished.values()], dtype=np.int32)
            outcome = self._outcome(codes, list(finished.values()))
            self._learn(codes, outcome)
            self.asked = []
            yield codes, outcome

    def _outcome(self, codes: np.ndarray, attributes: list[dict[str, Any]]) -> Outcome:
        results = {
            name: np.array([a[_RESULTS].get(name, np.nan) for a in attributes])
            for name in self.problem.result_names
        }
        reasons = Column.of([a[_REASON] for a in attributes])
        return self.problem.judge(self.space.decode(codes), results, reasons)

    def state(self) -> dict[str, object]:
        """Nothing: the study lies in the storage."""
        return {}

    def study_trials(self) -> tuple[list[Any], dict[str, Any]]:
        """Every finished trial of all processes."""
        trials, system = self._limited(super().study_trials)
        return [t for t in trials if t.state.is_finished()], system

    def resume(self, batch: Finished) -> None:
        """Knows the designs of the folder again."""
        self._learn(batch.codes, batch.outcome)


class _Fixed:
    """A trial whose parameters are settled."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params

    def suggest_categorical(self, name: str, choices: object) -> Any:
        return self.params[name]

    def suggest_int(self, name: str, low: int, high: int, log: bool) -> Any:
        return self.params[name]

    def suggest_float(self, name: str, low: float, high: float, log: bool) -> Any:
        return self.params[name]


def _state(name: str) -> Any:
    import optuna

    return optuna.trial.TrialState[name]


@contextmanager
def engine_of(where: Address | None, settled: Settled) -> Iterator[Engine]:
    """The sampler of a run: on the study of a storage, where one is given."""
    if where is None:
        yield settled.engine()
        return
    problem, used = settled.problem, settled.choice.used
    opened = storage.open_study(where, problem.space, settled.manifest)
    pulse = Pulse(opened[0])
    try:
        yield SharedStudy(
            problem.space,
            sampler(used, _POPULATION),
            settled.manifest["seed"],
            settled.fallback,
            problem.signs,
            opened=opened,
            problem=problem,
            where=where,
            pulse=pulse,
            name=used,
        )
    finally:
        pulse.stop()
