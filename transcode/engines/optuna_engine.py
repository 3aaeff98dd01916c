"""Optuna's samplers, asked in batches and told what is known of each design.

The study lives in memory. A new sampler object is made for every batch from a seed that
derives from (seed, batch): what the sampler draws then depends on the trials so far only,
and a resumed run goes on as if it had never stopped. A batch that holds hardly anything new is
followed by one of designs that the sampler is made to ask for, so that no space is too small.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from elector.base.errors import ElectorError, EvaluationError, InputError
from elector.base.table import Scalar
from transcode.engines import streams
from transcode.engines.base import Engine, Finished
from transcode.extras import installing
from transcode.objective import MACHINE, Outcome
from transcode.runs import distribution
from transcode.runs.study import choices, chosen_columns
from transcode.space import Parameter, Space

#: name -> packages it needs beyond the base installation, and the extra that brings them.
EXTRAS = {"gp": (("torch", "scipy"), "gp")}
BUILT_IN = ("nsga2", "nsga3", "tpe", "gp")
#: Constraint that stands for a design `where` forbids.
WHERE = "where"
#: A batch with a smaller share of new designs is followed by one that is drawn at random: on a
#: small space these samplers repeat themselves without end.
TIRED = 0.1
MakeSampler = Callable[..., Any]


@dataclass(frozen=True)
class TrialOutcome:
    """What a trial is told: values in the user's directions, constraint -> value."""

    values: list[float]
    constraints: dict[str, float]


@dataclass
class OptunaEngine(Engine):
    """One of Optuna's samplers behind suggest and update.

    make : seed -> sampler. fallback : (O,) value told where a design has none, minimised.
    opened : (storage, study) to use; new ones in memory otherwise. name : of the sampler.
    """

    space: Space
    make: MakeSampler
    seed: int
    fallback: np.ndarray
    signs: np.ndarray
    batch: int = 0
    tired: bool = False
    known: dict[int, TrialOutcome] = field(default_factory=dict)
    asked: list[tuple[Any, np.ndarray]] = field(default_factory=list)
    attributes: set[str] = field(default_factory=set)
    opened: tuple[Any, Any] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if self.opened is None:
            memory = optuna.storages.InMemoryStorage()
            study = optuna.create_study(
                storage=memory,
                directions=["maximize" if s < 0 else "minimize" for s in self.signs],
            )
            self.opened = memory, study
        self.storage: Any
        self.study: Any
        self.storage, self.study = self.opened
        self.study_id = self.storage.get_study_id_from_name(self.study.study_name)
        self.distributions = [distribution(p) for p in self.space.parameters]
        self.strangers = streams.random(self.space, self.seed)

    @property
    def exhausted(self) -> bool:
        """Whether the whole space was looked at."""
        available = self.space.allowed_count
        every = available is not None and len(self.known) >= available
        return every or (self.tired and self.strangers.exhausted)

    def suggest(self, count: int) -> np.ndarray:
        """Asks for `count` trials; returns the designs among them that are new."""
        derived = np.random.SeedSequence([self.seed, self.batch]).generate_state(1)
        with users(self.name):
            self.study.sampler = self.make(int(derived[0]) & 0x7FFFFFFF)
            self.batch += 1
            self.asked = []
            for codes in self._unknown(count) if self.tired else ():
                self.study.enqueue_trial(self._params(codes))
            for _ in range(count):
                trial = self.study.ask()
                self.asked.append((trial, self._ask(trial)))
        return self._new(np.stack([codes for _, codes in self.asked]))

    def _new(self, codes: np.ndarray) -> np.ndarray:
        """The designs of the batch that are allowed and unknown, each once."""
        allowed, keys = self.space.allowed(codes), self.space.key(codes).tolist()
        fresh: dict[int, int] = {}
        for row, key in enumerate(keys):
            if allowed[row] and key not in self.known:
                fresh.setdefault(key, row)
        self.tired = len(fresh) < TIRED * len(codes)
        return codes[list(fresh.values())]

    def _unknown(self, count: int) -> list[np.ndarray]:
        """(S,) codes of at most `count` allowed designs that were never evaluated."""
        rows: list[np.ndarray] = []
        while len(rows) < count and not self.strangers.exhausted:
            codes = self.strangers.suggest(count - len(rows))
            keys = self.space.key(codes).tolist()
            rows += [row for row, key in zip(codes, keys, strict=True) if key not in self.known]
        return rows

    def _params(self, codes: np.ndarray) -> dict[str, Scalar]:
        """The parameters by which a trial is a design."""
        parameters = self.space.parameters
        return {
            parameters[c].label: choices(parameters[c])[codes[c]]
            for c in chosen_columns(self.space, codes)
        }

    def _ask(self, trial: Any) -> np.ndarray:
        """(S,) codes of one trial; only parameters of the chosen alternatives are asked for."""
        codes = np.zeros(len(self.space.parameters), dtype=np.int32)
        for section in self.space.sections:
            group = 0
            if section.selector >= 0:
                codes[section.selector] = self._suggest(trial, section.selector)
                group = section.groups[codes[section.selector]]
            for column in section.members[group]:
                codes[column] = self._suggest(trial, column)
        return np.asarray(self.space.canonical(codes[None])[0])

    def _suggest(self, trial: Any, column: int) -> int:
        parameter = self.space.parameters[column]
        if parameter.size == 1:
            return 0
        wanted = self.distributions[column]
        if parameter.scale == "choice":
            chosen = trial.suggest_categorical(parameter.label, wanted.choices)
            return int(wanted.choices.index(chosen))
        suggest = trial.suggest_int if isinstance(wanted.low, int) else trial.suggest_float
        value = suggest(parameter.label, wanted.low, wanted.high, log=wanted.log)
        return nearest_code(parameter, value)

    def update(self, codes: np.ndarray, outcome: Outcome) -> None:
        """Tells every trial of the batch, those of known designs included."""
        self._learn(codes, outcome)
        asked = np.stack([c for _, c in self.asked])
        with users(self.name):
            for (trial, _), told in zip(self.asked, self._told(asked), strict=True):
                for name, value in told.constraints.items():
                    trial.set_constraint(name, value)
                self.study.tell(trial, told.values)

    def _learn(self, codes: np.ndarray, outcome: Outcome) -> None:
        values = np.where(np.isfinite(outcome.objectives), outcome.objectives, self.fallback)
        values = values * self.signs
        for row, key in enumerate(self.space.key(codes).tolist()):
            margins = {name: float(m[row]) for name, m in outcome.margins.items()}
            self.known[key] = TrialOutcome(values[row].tolist(), {**self._unbroken(), **margins})

    def _unbroken(self) -> dict[str, float]:
        """Every constraint at its limit: some samplers need the same ones on all trials."""
        names = [MACHINE, *(e.text for e in self.space.constraints)]
        return dict.fromkeys([*names, *([WHERE] if self.space.where else [])], 0.0)

    def _told(self, codes: np.ndarray) -> list[TrialOutcome]:
        """What each design of a batch is worth, after `_learn`."""
        broken = {**self._unbroken(), WHERE: 1.0}
        forbidden = TrialOutcome((self.fallback * self.signs).tolist(), broken)
        keys = self.space.key(codes).tolist()
        allowed = self.space.allowed(codes)
        return [self.known[k] if ok else forbidden for k, ok in zip(keys, allowed, strict=True)]

    def state(self) -> dict[str, object]:
        """The batch's trials with what the sampler noted on them and on the study."""
        trials = self.study.get_trials(deepcopy=False)[-len(self.asked) :]
        system = self.storage.get_study_system_attrs(self.study_id)
        new = {name: value for name, value in system.items() if name not in self.attributes}
        self.attributes |= set(new)
        return {
            "trials": [codes.tolist() for _, codes in self.asked],
            "params": [json.loads(json.dumps(t.params, default=float)) for t in trials],
            "notes": [_notes(t.system_attrs) for t in trials],
            "study": new,
            "tired": self.tired,
            "strangers": self.strangers.state(),
        }

    def study_trials(self) -> tuple[list[Any], dict[str, Any]]:
        """Every trial, and what the sampler noted on the study: what study.log is made of."""
        system = self.storage.get_study_system_attrs(self.study_id)
        return self.study.get_trials(deepcopy=False), system

    def resume(self, batch: Finished) -> None:
        """Adds the trials of a finished batch to the study."""
        import optuna

        state: Any = batch.state
        self._learn(batch.codes, batch.outcome)
        codes = np.array(state["trials"], dtype=np.int32)
        self.tired = bool(state["tired"])
        nothing = Finished(batch.codes[:0], batch.outcome, state["strangers"])
        self.strangers.resume(nothing)
        self.batch += 1
        by_label = {
            p.label: d for p, d in zip(self.space.parameters, self.distributions, strict=True)
        }
        rows = zip(self._told(codes), state["params"], state["notes"], strict=True)
        for told, params, notes in rows:
            trial = optuna.trial.create_trial(
                params=params,
                distributions={label: by_label[label] for label in params},
                values=told.values,
                constraints=told.constraints,
                system_attrs=notes,
            )
            self.study.add_trial(trial)
        for name, value in state["study"].items():
            self.storage.set_study_system_attr(self.study_id, name, value)
        self.attributes |= set(state["study"])


def _notes(system: dict[str, Any]) -> dict[str, Any]:
    """System attributes of a trial without the constraints, which are told again."""
    return {name: value for name, value in system.items() if not name.startswith("constraints")}


def nearest_code(parameter: Parameter, value: Scalar) -> int:
    """Code of the value of a range that is nearest."""
    values = np.array(parameter.values, dtype=float)
    return int(np.argmin(np.abs(values - float(value))))


def sampler(name: str, batch: int) -> MakeSampler:
    """A function from a seed to the sampler of that name; anything missing is one line."""
    for package in EXTRAS.get(name, ((), ""))[0]:
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"sampler {name} needs {package}: {installing(EXTRAS[name][1])}",
                field="--sampler",
            )
    if ":" in name:
        return _user_sampler(name)
    import optuna

    samplers = optuna.samplers
    population = max(2, batch)
    makers: dict[str, MakeSampler] = {
        "nsga2": lambda seed: samplers.NSGAIISampler(population_size=population, seed=seed),
        "nsga3": lambda seed: samplers.NSGAIIISampler(population_size=population, seed=seed),
        "tpe": lambda seed: samplers.TPESampler(
            multivariate=True, group=True, constant_liar=True, seed=seed
        ),
        "gp": lambda seed: samplers.GPSampler(
            seed=seed, deterministic_objective=True, warn_independent_sampling=False
        ),
    }
    return makers[name]


def _user_sampler(name: str) -> MakeSampler:
    """`module:Class`, an Optuna sampler of the user's own."""
    import optuna

    module_name, _, class_name = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # a console script does not look beside the user's files
    try:
        kind = getattr(importlib.import_module(module_name), class_name)
    except (Exception, SystemExit) as error:  # whatever a module of the user's does
        said = f"cannot be imported: {_of_user(error, module_name)}"
        raise InputError(said, field="--sampler", value=name) from None
    if not (isinstance(kind, type) and issubclass(kind, optuna.samplers.BaseSampler)):
        raise InputError("is not an Optuna sampler class", field="--sampler", value=name)
    maker: MakeSampler = kind
    seeded = _takes_seed(kind)
    try:
        maker(seed=0) if seeded else maker()
    except Exception as error:  # an abstract one, among others
        said = f"cannot be made: {_of_user(error, module_name)}"
        raise InputError(said, field="--sampler", value=name) from None
    return (lambda seed: maker(seed=seed)) if seeded else (lambda seed: maker())


def _of_user(error: BaseException, module: str) -> str:
    """An error of the user's code on one line, and where in that code it was raised."""
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename).stem == module.rpartition(".")[2]:
            place = f" ({Path(frame.filename).name}, line {frame.lineno})"
    words = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {words}{place}"


@contextmanager
def users(name: str) -> Iterator[None]:
    """What a sampler of the user's own does: an error of it is not ours.

    name : of the sampler.
    """
    try:
        yield
    except (ElectorError, OSError):
        raise
    except Exception as error:
        if ":" not in name:
            raise
        said = _of_user(error, name.partition(":")[0])
        raise EvaluationError(f"sampler {name} failed: {said}") from None


def _takes_seed(kind: type) -> bool:
    try:
        return "seed" in inspect.signature(kind).parameters
    except (TypeError, ValueError):  # no signature is to be had
        return False


def repeatable(name: str) -> bool:
    """Whether the sampler can be seeded: all of Optuna's can, the user's own perhaps not.

    name : of the sampler.
    """
    if ":" not in name:
        return True
    module, _, kind = name.partition(":")
    return _takes_seed(getattr(importlib.import_module(module), kind))
