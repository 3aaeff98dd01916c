"""90 % intervals of the results of a front: `transcode search --uncertainty`.

The designs of a front are asked for again, S times over, under draws of the constants and of the
simulator's errors (elector.studies.uncertainty), through the one way a search itself asks:
`Problem.assess`. So what a space defines, a training run of several phases, and several workloads
have intervals as well. An accuracy is drawn from its recorded mean and standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from elector.base.errors import InputError
from elector.base.table import Column
from elector.cost.results import ENDS
from elector.evaluation.path import evaluate
from elector.studies.error_widths import Kind
from elector.studies.uncertainty import Samples, Sampling, interval, pieces, sample
from transcode.objective import Ask, Columns, Problem
from transcode.pareto import Archive
from transcode.space import Space

Array = np.ndarray
#: Relative difference up to which a result is the recorded one: last digits of other libraries.
_SAME = 1e-9
#: Largest accuracy [points].
_WHOLE = 100.0


@dataclass(frozen=True)
class Errors:
    """What the simulator's errors are in one workload.

    groups : (F,) the kind of published cases behind each design.
    logs : time, power -> (S, F) logarithm of the factor on it.
    """

    groups: list[Kind]
    logs: dict[str, Array]


@dataclass(frozen=True)
class Draws:
    """Results of F designs under S draws.

    values : name -> (S, F). errors : of each workload.
    """

    values: dict[str, Array]
    errors: list[Errors]


@dataclass(frozen=True)
class _Sampled:
    """Costs of S x N designs, draw by draw, as `Problem` asks for them."""

    samples: Samples
    size: int
    reasons: Sequence[str] = ()

    @property
    def feasible(self) -> Array:
        return np.ones(self.size, dtype=bool)

    @property
    def reason_code(self) -> Array:
        return np.full(self.size, -1, dtype=np.intp)

    def scalar(self, name: str) -> Array:
        if name not in self.samples.values:
            raise InputError("unknown result", field=name, value=name, allowed=self.names())
        return self.samples.values[name].ravel()

    def names(self) -> list[str]:
        return list(self.samples.values)


@dataclass
class _Evaluator:
    """Evaluates N designs of S x N, under S draws; keeps what was drawn for each workload."""

    sampling: Sampling
    apart: bool
    samples: list[Samples] = field(default_factory=list)

    def __call__(self, columns: Mapping[str, Column], size: int) -> _Sampled:
        designs = size // self.sampling.samples
        kept = {key: column.take(slice(0, designs)).compact() for key, column in columns.items()}
        self.samples.append(sample(kept, designs, self.sampling, apart=self.apart))
        return _Sampled(self.samples[-1], size)


@dataclass(frozen=True)
class _Recorded:
    """Accuracies as a run recorded them, drawn: those of one model have one error."""

    front: Archive
    sampling: Sampling
    apart: bool

    def of(self, space: Space, codes: Array, columns: Columns, ask: Ask) -> dict[str, Array]:
        """The quantity of the space and its standard deviation, each (S x N,)."""
        name, size = space.accuracy.quantity, len(self.front)
        mean, std = self.front.results[name], self.front.results[f"{name}_std"]
        keys = models(space, self.front.codes)
        names = keys if self.apart else [""] * size
        drawn = np.stack([self.sampling.stream(accuracy_stream(n)) for n in names], axis=1)
        values = mean + std * drawn
        if name == "accuracy":
            values = np.minimum(values, _WHOLE)
        return {name: values.ravel(), f"{name}_std": np.tile(std, self.sampling.samples)}


def accuracy_stream(model: str) -> str:
    """Name of the draws of the error of a model's accuracy."""
    return f"accuracy {model}".rstrip()


def models(space: Space, codes: Array) -> list[str]:
    """A name for the model of each design: designs of one model have the same.

    codes : (D, S) of the designs.
    """
    return [str(key) for key in space.section_key(space.sections[0], codes).tolist()]


def draw(space: Space, front: Archive, sampling: Sampling, *, apart: bool = False) -> Draws:
    """S samples of every result of F designs.

    apart : draw what designs of one group do not share for each design by itself, as comparing
    them asks for; otherwise all of the error of a group is shared, which for each design alone is
    the same distribution.
    """
    gathered: dict[str, list[Array]] = {name: [] for name in front.results}
    drawn: list[list[Samples]] = []
    score = space.accuracy
    recorded = set(score.names) - {score.quantity, f"{score.quantity}_std", score.bound_name}
    for part in pieces(len(front), sampling.samples):
        designs = front.take(np.arange(part.start, part.stop))
        evaluator = _Evaluator(sampling, apart)
        accuracy = _Recorded(designs, sampling, apart) if space.uses_accuracy else None
        codes = np.tile(designs.codes, (sampling.samples, 1))
        results = Problem(space, evaluator, accuracy).assess(codes, together=True).results
        shape = (sampling.samples, len(designs))
        for name, values in gathered.items():
            # figures of an accuracy source that no draw touches are as they were recorded
            own = designs.results[name] if name in recorded else results.get(name)
            own = designs.results[name] if own is None else own
            values.append(np.broadcast_to(own.reshape(-1, len(designs)), shape))
        drawn.append(evaluator.samples)
    joined = {name: np.concatenate(each, axis=1) for name, each in gathered.items()}
    return Draws(joined, [_errors(each) for each in zip(*drawn, strict=True)])


def _errors(drawn: Sequence[Samples]) -> Errors:
    """The errors of one workload, of pieces of the designs."""
    groups = [s.widths[code][0] for s in drawn for code in s.codes.tolist()]
    late = np.concatenate([s.late for s in drawn], axis=1)
    more = np.concatenate([s.more for s in drawn], axis=1)
    return Errors(groups, {"time": np.log(late), "power": np.log(more)})


def _require_same(space: Space, front: Archive) -> None:
    """Refuses to draw around results that this simulator does not have."""

    def recorded(ask: Problem) -> dict[str, Array]:
        return ask.assess(front.codes).results

    accuracy = _Undrawn(front) if space.uses_accuracy else None
    now = recorded(Problem(space, lambda c, n: evaluate(c, n, level="groups"), accuracy))
    for objective in space.objectives:
        old, new = front.results[objective.name], now[objective.name]
        wrong = np.flatnonzero(~np.isclose(old, new, rtol=_SAME, atol=0.0))
        if wrong.size:
            i = int(wrong[0])
            raise InputError(
                f"was recorded with another simulator: design {front.ids[i]} had {old[i]:.6g}, and "
                f"has {new[i]:.6g} here",
                field=objective.name,
                hint="intervals are drawn around what this simulator says: search again",
            )


@dataclass(frozen=True)
class _Undrawn:
    """Accuracies as a run recorded them."""

    front: Archive

    def of(self, space: Space, codes: Array, columns: Columns, ask: Ask) -> dict[str, Array]:
        """The quantity of the space and its standard deviation, each (F,)."""
        name = space.accuracy.quantity
        return {n: self.front.results[n] for n in (name, f"{name}_std")}


def with_intervals(space: Space, front: Archive, sampling: Sampling) -> Archive:
    """The front with NAME_low and NAME_high behind each result that some draw touches.

    Raises InputError where the simulator has other results for a design than those recorded.
    """
    _require_same(space, front)
    ends: dict[str, list[tuple[Array, Array]]] = {name: [] for name in front.results}
    touched = set()
    for part in pieces(len(front), sampling.samples):  # of a large front no samples are kept
        drawn = draw(space, front.take(np.arange(part.start, part.stop)), sampling).values
        for name, values in drawn.items():
            ends[name].append(interval(values))
            moved = (values != values[:1]) & np.isfinite(values) & np.isfinite(values[:1])
            touched |= {name} if bool(moved.any()) else set()
    results: dict[str, Array] = {}
    for name, values in front.results.items():
        results[name] = values
        if name in touched:
            bounds = (np.concatenate(each) for each in zip(*ends[name], strict=True))
            results |= {f"{name}_{end}": each for end, each in zip(ENDS, bounds, strict=True)}
    return replace(front, results=results)
