"""What every engine offers, and the memory that keeps designs from being evaluated twice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from transcode.objective import Outcome
from transcode.pareto import Apart
from transcode.space import Parameter, Space

#: What 0 counts as where other values count as logarithms: so many times the least of those.
_NOTHING = 0.25


@dataclass(frozen=True)
class Finished:
    """A batch that was evaluated before: what an engine resumes from.

    codes : (D, S); state : what the engine said after it suggested them.
    """

    codes: np.ndarray
    outcome: Outcome
    state: dict[str, object]


@dataclass(frozen=True)
class Examined:
    """What was looked at in a batch or a round.

    codes : (D, S). hopeful : (D,) bool, False where something is known to beat the design.
    """

    codes: np.ndarray
    outcome: Outcome
    hopeful: np.ndarray


class Engine(ABC):
    """Proposes designs that were never proposed before."""

    @property
    def prompt(self) -> bool:
        """Whether it suggests within milliseconds: a batch may then wait to be written until the
        next one is under way."""
        return False

    @property
    @abstractmethod
    def exhausted(self) -> bool:
        """Whether nothing new is to be expected."""

    @abstractmethod
    def suggest(self, count: int) -> np.ndarray:
        """(D, S) codes of at most `count` new designs that `where` allows."""

    @abstractmethod
    def update(self, codes: np.ndarray, outcome: Outcome) -> None:
        """What became of the designs suggested last."""

    @abstractmethod
    def state(self) -> dict[str, object]:
        """What `resume` needs beside the designs themselves, in JSON types."""

    @abstractmethod
    def resume(self, batch: Finished) -> None:
        """Takes over one finished batch; called for each, in order, before any suggest."""

    def study_trials(self) -> tuple[list[Any], dict[str, Any]] | None:
        """All trials of an Optuna sampler and its notes; None for engines without a study."""
        return None

    def tasks(self, count: int | None) -> Sequence[Any]:
        """The next step as tasks for a crew; none where it is better made here.

        count : most designs in all, None for any number. Either `suggest` and `update` or `tasks`
        and `bring_in`.
        """
        return ()

    def bring_in(self, tasks: Sequence[Any], outcomes: Examined) -> None:
        """Learns what came of its tasks."""
        raise NotImplementedError(f"{type(self).__name__} gives no tasks")

    def arrivals(self) -> Iterable[tuple[np.ndarray, Outcome]]:
        """(D, S) codes and outcome of what other processes found since the last time."""
        return ()

    def lend(self, apart: Apart) -> None:
        """Offers a faster way to work volumes out, to an engine that needs them."""
        return None


class Seen:
    """A growing set of 64-bit keys: 8 bytes each, in few sorted runs of growing size."""

    def __init__(self) -> None:
        self.runs: list[np.ndarray] = []

    def __len__(self) -> int:
        return sum(len(run) for run in self.runs)

    def new(self, keys: np.ndarray) -> np.ndarray:
        """(D,) bool: the first occurrence of each key that was never added."""
        distinct, first = np.unique(keys, return_index=True)
        fresh = np.ones(len(distinct), dtype=bool)
        for run in self.runs:
            at = np.minimum(np.searchsorted(run, distinct), len(run) - 1)
            fresh &= run[at] != distinct
        mask = np.zeros(len(keys), dtype=bool)
        mask[first[fresh]] = True
        return mask

    def add(self, keys: np.ndarray) -> None:
        """Adds distinct keys that are new.

        keys : (N,) uint64.
        """
        if len(keys) == 0:
            return
        self.runs.append(np.sort(keys))
        while len(self.runs) > 1 and len(self.runs[-2]) < 4 * len(self.runs[-1]):
            last, before = self.runs.pop(), self.runs.pop()
            # merging sorted runs: the stable sort recognises them
            self.runs.append(np.sort(np.concatenate([before, last]), kind="stable"))


def table_of(parameter: Parameter) -> np.ndarray:
    """(V, size) what its codes count as, of mean 0 and spread 1.

    A number, or a place for each value but the first.

    parameter : of the space, of at least two values.
    """
    values = parameter.numbers
    if values is None or parameter.size == 2:
        rows = np.eye(parameter.size)[1:]
    else:
        if (values >= 0).all():
            values = np.log(np.where(values > 0, values, _NOTHING * values[values > 0].min()))
        rows = values[None]
    mean, spread = rows.mean(axis=1, keepdims=True), rows.std(axis=1, keepdims=True)
    return (rows - mean) / spread


@dataclass
class Learner(Engine):
    """An engine that learns of all designs: given ones come first, then some drawn evenly.

    strangers : an engine that never repeats itself, for the first designs and where all that is
    likely is known already.
    first : (W, S) codes evaluated before anything else (a warm start).
    """

    space: Space
    seed: int
    strangers: Engine
    first: np.ndarray
    objectives: int
    batch: int = field(default=0, init=False)
    seen: Seen = field(default_factory=Seen, init=False)

    def __post_init__(self) -> None:
        self.codes = np.zeros((0, len(self.space.parameters)), dtype=np.int32)
        self.values = np.zeros((0, self.objectives))
        self.violation = np.zeros(0)

    @property
    def exhausted(self) -> bool:
        """Whether the whole space was looked at."""
        return self.strangers.exhausted

    def state(self) -> dict[str, object]:
        """Where the strangers stand; everything else follows from the designs."""
        return {"strangers": self.strangers.state()}

    def resume(self, batch: Finished) -> None:
        """Learns a finished batch."""
        nothing = Finished(batch.codes[:0], batch.outcome, batch.state["strangers"])  # type: ignore[arg-type]
        self.strangers.resume(nothing)
        self._remembered(batch.codes)
        self.update(batch.codes, batch.outcome)
        self.batch += 1

    def _first(self, count: int, even: int) -> np.ndarray | None:
        """At most `count` of the designs that are given, then of `even` ones drawn evenly; None
        where all of these are known."""
        new = self.first[self.seen.new(self.space.key(self.first))]
        if len(new):
            return self._remembered(new[:count])
        missing = even - len(self.codes)
        return self._strangers(min(count, missing)) if missing > 0 else None

    def _strangers(self, count: int) -> np.ndarray:
        pieces = [self.codes[:0]]
        while (missing := count - sum(map(len, pieces))) > 0 and not self.strangers.exhausted:
            pieces.append(self._remembered(self.strangers.suggest(missing)))
        return np.concatenate(pieces)

    def _remembered(self, codes: np.ndarray) -> np.ndarray:
        """The new ones of the designs, from now on known."""
        codes = codes[self.seen.new(self.space.key(codes))]
        self.seen.add(self.space.key(codes))
        return codes
