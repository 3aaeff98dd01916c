"""Designs -> what the search compares: objectives, how far each constraint is from holding.

The simulator is called once per batch and workload, more often where a batch has millions of
parameters; accuracies once per distinct model.
Axes: D designs, O objectives, K constraints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from elector.base.errors import EvaluationError, InputError
from elector.base.table import Column
from transcode.accuracy.lately import Lately
from transcode.accuracy.user_rows import comparable
from transcode.phases import costs_of_run
from transcode.space import RUN, SHARED, Space, decisive, grammar, numbers, quantities, settings
from transcode.space.definitions import constants

#: The constraint every machine brings: that the design can run the workload at all.
MACHINE = "machine"
#: Beginning of the reason of a design that runs and breaks a constraint.
BROKEN = "constraint: "
#: Parameters of all designs together that a simulator is asked about at once.
_ASKED = 1 << 21
Columns = Mapping[str, Column]


class Costs(Protocol):
    """What an evaluator returns: elector.Cost, or anything alike.

    reason_code : (D,) index into reasons, -1 where feasible.
    """

    @property
    def feasible(self) -> np.ndarray: ...
    @property
    def reasons(self) -> Sequence[str]: ...
    @property
    def reason_code(self) -> np.ndarray: ...
    def scalar(self, name: str) -> np.ndarray: ...
    def names(self) -> list[str]: ...


class Predictor(Protocol):
    """Mean and standard deviation of an accuracy from features of models."""

    def predict(self, features: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]: ...


class Pruned(Protocol):
    """Points that thresholds add to an accuracy of `score`, and their standard deviation."""

    def predict(
        self, tau_i: np.ndarray, tau_t: np.ndarray, score: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]: ...


class AccuracyScores(Protocol):
    """Accuracies of designs: name of a result -> (D,), its deviation as NAME_std, NaN where
    there is none. `columns` are the codes, decoded; `ask` tells what would become of the designs
    with given accuracies."""

    def of(
        self, space: Space, codes: np.ndarray, columns: Columns, ask: Ask
    ) -> dict[str, np.ndarray]: ...


Evaluator = Callable[[Columns, int], Costs]
Features = Callable[[Columns, int], dict[str, np.ndarray]]
#: Accuracy of each design -> what would become of the designs with it.
Ask = Callable[[np.ndarray], "Outcome"]


#: Decimals of an accuracy or a loss. The last digit of a logarithm depends on the vector
#: instructions of the processor, and a front file is to be the same on all.
_DECIMALS = 10


@dataclass(frozen=True)
class Accuracy:
    """An accuracy source: each distinct model is asked for once.

    pruning : what the thresholds tau_i and tau_t cost; None where nothing is pruned.
    known : what was asked lately.

    A predictor may have `settings`, dotted names it tells models apart by: it gets their values as
    further features, and is then asked for every design.
    """

    predictor: Predictor
    features: Features
    pruning: Pruned | None = None
    known: Lately = field(default_factory=Lately)

    def of(
        self, space: Space, codes: np.ndarray, columns: Columns, ask: Ask
    ) -> dict[str, np.ndarray]:
        """The quantity of the source and its standard deviation, each (D,)."""
        mean, deviation = (v.round(_DECIMALS) for v in self._moments(space, codes, columns))
        quantity = space.accuracy.quantity
        return {quantity: mean, f"{quantity}_std": deviation}

    def _moments(
        self, space: Space, codes: np.ndarray, columns: Columns
    ) -> tuple[np.ndarray, np.ndarray]:
        settings = getattr(self.predictor, "settings", ())
        if settings:
            every = self.features(columns, len(codes))
            every |= {name: _comparable(space, name, codes) for name in settings}
            mean, deviation = self.predictor.predict(every)
        else:
            mean, deviation = self._of_models(space, codes, columns)
        if self.pruning is None:
            return mean, deviation
        taus = [_setting(space, f"workload.{name}", codes) for name in ("tau_i", "tau_t")]
        points, more = self.pruning.predict(taus[0], taus[1], mean)
        return mean + points, np.sqrt(deviation**2 + more**2)

    def _of_models(
        self, space: Space, codes: np.ndarray, columns: Columns
    ) -> tuple[np.ndarray, np.ndarray]:
        """Each distinct model is asked for once, as long as it is remembered."""
        index = space.section_key(space.sections[0], codes)
        distinct, first, inverse = np.unique(index, return_index=True, return_inverse=True)
        scores, there = self.known.look(distinct)
        new = np.flatnonzero(~there)
        if len(new):
            if 2 * len(new) > len(codes):  # the very columns whose models have just been read
                every = self.features(columns, len(codes))
                asked = {name: values[first[new]] for name, values in every.items()}
            else:
                asked = self.features(space.decode(codes[first[new]]), len(new))
            scores[new] = np.stack(self.predictor.predict(asked), axis=1)
            self.known.add(distinct[new], scores[new])
        return scores[inverse, 0], scores[inverse, 1]


def _setting(space: Space, name: str, codes: np.ndarray) -> np.ndarray:
    """(D,) values of a number that is 0 unless the space sets it."""
    return numbers(space.column(name, codes)) if name in space.names else np.zeros(len(codes))


def _comparable(space: Space, name: str, codes: np.ndarray) -> np.ndarray:
    """(D,) values of a setting as rows of the user's own write them; None where not set."""
    if name not in space.names:
        return np.full(len(codes), None, dtype=object)
    return space.column(name, codes).map(comparable, dtype=object)


@dataclass(frozen=True)
class Outcome:
    """What became of D designs.

    results : name -> (D,) float, in the unit of the name: objectives, what constraints use,
        what the space records, accuracy_std. NaN where a machine cannot run the design.
    objectives : (D, O) float, all to be minimised; NaN where not finite.
    margins : constraint -> (D,) float, at most 0 where it holds, relative to its bound.
    feasible : (D,) bool, runs and holds every constraint.
    reasons : (D,) column of sentences: why the machine cannot run the design, or BROKEN and the
        first constraint it breaks; "" where it is feasible.
    """

    results: dict[str, np.ndarray]
    objectives: np.ndarray
    margins: dict[str, np.ndarray]
    feasible: np.ndarray
    reasons: Column

    def __len__(self) -> int:
        return len(self.feasible)

    @property
    def violation(self) -> np.ndarray:
        """(D,) sum of what the broken constraints are broken by."""
        return sum_of([np.maximum(m, 0.0) for m in self.margins.values()], len(self))


def sum_of(parts: list[np.ndarray], size: int) -> np.ndarray:
    """(size,) sum of equally long arrays, 0 of none.

    parts : the arrays, (size,) each.
    """
    total = np.zeros(size)
    for part in parts:
        total = total + part
    return total


def joined(outcomes: Sequence[Outcome]) -> Outcome:
    """Outcomes of one problem, at least one, made one in their order."""
    first = outcomes[0]
    if len(outcomes) == 1:
        return first
    texts = {text: place for o in outcomes for place, text in enumerate(o.reasons.values)}
    texts = {text: place for place, text in enumerate(sorted(texts, key=str))}
    reasons = [np.array([texts[t] for t in o.reasons.values])[o.reasons.codes] for o in outcomes]
    return Outcome(
        {name: np.concatenate([o.results[name] for o in outcomes]) for name in first.results},
        np.concatenate([o.objectives for o in outcomes]),
        {name: np.concatenate([o.margins[name] for o in outcomes]) for name in first.margins},
        np.concatenate([o.feasible for o in outcomes]),
        Column(tuple(texts), np.concatenate(reasons)),
    )


@dataclass(frozen=True)
class Problem:
    """A space with what answers for its designs. `assess` is the one way to ask."""

    space: Space
    evaluator: Evaluator
    accuracy: AccuracyScores | None = None

    @property
    def signs(self) -> np.ndarray:
        """(O,) -1 for what is maximised, 1 for what is minimised."""
        return np.array([-1.0 if o.maximise else 1.0 for o in self.space.objectives])

    @property
    def result_names(self) -> tuple[str, ...]:
        """Results kept for each design: objectives, records, what constraints and defined
        expressions use, accuracies."""
        space = self.space
        names = [o.name for o in space.objectives]
        names += [n for e in space.constraints for n in e.names if n not in space.names]
        names += space.record
        names += [n for n in space.named if n not in space.names]
        names += space.accuracy.names if space.uses_accuracy else []
        return tuple(dict.fromkeys(names))

    @property
    def recorded_names(self) -> tuple[str, ...]:
        """Columns without which recorded designs are not whole."""
        results = (n for n in self.result_names if n not in self.space.define)
        return (*(p.name for p in self.space.parameters if p.size > 1), *results)

    def assess(self, codes: np.ndarray, *, together: bool = False) -> Outcome:
        """What becomes of (D, S) codes; none at all is a question, too.

        Where designs have hundreds of parameters, some of them are asked about at a time: what
        lies in memory then is the same for any number. together : not so, as where an evaluator
        has to see all of them.
        """
        most = max(_ASKED // max(len(self.space.parameters), 1), 1)
        if together or len(codes) <= most or not isinstance(self.accuracy, Accuracy | None):
            return self._assess(codes)
        parts = range(0, len(codes), most)
        return joined([self._assess(codes[start : start + most]) for start in parts])

    def _assess(self, codes: np.ndarray) -> Outcome:
        size, columns = len(codes), self.space.decode(codes)
        if size == 0:
            nothing = Column(("",), np.zeros(0, dtype=np.intp))
            return self.judge(columns, dict.fromkeys(self.result_names, np.zeros(0)), nothing)
        costs = costs_of(self.space, self.evaluator, codes, columns)
        runs = np.ones(size, dtype=bool)
        for cost in costs.values():
            runs &= cost.feasible
        own = self.space.accuracy
        results = {
            name: np.full(size, np.nan) if name in own.names else _result(name, costs, size)
            for name in self.result_names
            if name not in self.space.define and not settings.is_number(name)
        }
        given = [name for name in self.result_names if settings.is_number(name)]
        results |= settings.values_of(self.space, given, columns, size) if given else {}
        reasons = _reasons(costs, runs)

        def asked(given: dict[str, np.ndarray]) -> Outcome:
            if own.bound is not None:
                deviation = own.z * given[f"{own.quantity}_std"]
                given = {**given, own.bound_name: given[own.quantity] + deviation}
            return self.judge(columns, results | given, reasons)

        if self.accuracy is None:
            return self.judge(columns, results, reasons)

        def ask(mean: np.ndarray) -> Outcome:
            return asked({own.quantity: mean, f"{own.quantity}_std": np.zeros(size)})

        return asked(self.accuracy.of(self.space, codes, columns, ask))

    def judge(self, columns: Columns, results: dict[str, np.ndarray], reasons: Column) -> Outcome:
        """The outcome that follows from results, of a simulation or read back from a run.

        reasons : "" where the machine can run the design, or BROKEN and the constraint it breaks.

        results : name -> (D,).
        """
        reasons = _of_machine(reasons)
        runs = reasons.map(lambda text: text == "", dtype=bool)
        results = self._with_defined(columns, results)
        values = np.stack([results[o.name] for o in self.space.objectives], axis=1)
        finite = np.isfinite(values).all(axis=1)
        margins = {MACHINE: np.where(runs & finite, 0.0, 1.0)}
        for expression in self.space.constraints:
            margins[expression.text] = self._margin(expression, columns, results)
        scored = np.ones(len(runs), dtype=bool)
        if self.space.uses_accuracy:
            scored = np.isfinite(results[self.space.accuracy.quantity])
        feasible = runs & finite
        for margin in margins.values():
            feasible &= margin <= 0.0
        objectives = np.where(finite[:, None], values * self.signs, np.nan)
        missing = {"the accuracy source has no score for it": runs & ~finite & ~scored}
        for place, objective in enumerate(self.space.objectives):
            lacking = runs & ~np.isfinite(values[:, place])
            missing[f"objective {objective.name} has no value for it"] = lacking
        explained = _explained(reasons, missing)
        explained = _broken(explained, margins, runs & finite)
        return Outcome(results, objectives, margins, feasible, explained)

    def _with_defined(
        self, columns: Columns, results: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """The results with what the space defines and needs, in the order of `result_names`."""
        size, values = len(next(iter(columns.values()))), dict(results)
        for name, expression in self.space.define.items():
            if name in self.result_names:
                made = grammar.value(expression, self._values(columns, values))
                values[name] = np.array(np.broadcast_to(made, (size,)))
        return {name: values[name] for name in dict.fromkeys((*self.result_names, *values))}

    def _margin(
        self, expression: grammar.Expression, columns: Columns, results: dict[str, np.ndarray]
    ) -> np.ndarray:
        size = len(next(iter(results.values())))
        return np.broadcast_to(grammar.margin(expression, self._values(columns, results)), (size,))

    def _values(self, columns: Columns, results: Mapping[str, np.ndarray]) -> grammar.Values:
        """What an expression's names stand for: results first, then settings."""

        def values(name: str) -> np.ndarray:
            if name in results:
                return results[name]
            return settings.numbers_of_all(self.space, name, columns)

        return values


def costs_of(
    space: Space, evaluator: Evaluator, codes: np.ndarray, columns: Columns | None = None
) -> dict[str, Costs]:
    """Workload, and the run they make up, -> costs of (D, S) codes.

    columns : where the codes are decoded already.

    evaluator : stands in for `elector.evaluate`.
    """
    size, decoded = len(codes), space.decode(codes) if columns is None else columns
    costs: dict[str, Costs] = {}
    for workload, given in space.workloads.items():
        own = {name: Column.constant(value, size) for name, value in given.items()}
        costs[workload] = evaluator({**decoded, **own}, size)
        _require_size(costs[workload].feasible, size, "feasible")
    if space.run is not None:
        costs[RUN] = costs_of_run(space.run, costs)
    return costs


def _result(name: str, costs: Mapping[str, Costs], size: int) -> np.ndarray:
    """(D,) a result; the largest over the workloads where it names none."""
    workload, _, rest = name.partition(".")
    if workload in costs and rest:
        each = [np.asarray(costs[workload].scalar(rest), dtype=float)]
    else:
        steps = [cost for workload, cost in costs.items() if workload != RUN]
        each = [np.asarray(cost.scalar(name), dtype=float) for cost in steps]
    for values in each:
        _require_size(values, size, name)
    return np.asarray(np.maximum.reduce(each))  # one chip has to do for all workloads


def _require_size(values: np.ndarray, size: int, name: str) -> None:
    """Raises EvaluationError where an evaluator answers for another number of designs."""
    if np.shape(values) != (size,):
        raise EvaluationError(
            f"the evaluator answered with {name} of the shape {np.shape(values)} for {size} designs"
        )


def _reasons(costs: dict[str, Costs], runs: np.ndarray) -> Column:
    """Why a design cannot run: of the first workload it cannot run."""
    texts: dict[str, int] = {"": 0}
    codes = np.zeros(len(runs), dtype=np.intp)
    if not runs.all():
        for workload, cost in reversed(costs.items()):
            prefix = f"{workload}: " if workload else ""
            own = [texts.setdefault(prefix + _plain(t), len(texts)) for t in cost.reasons]
            table = np.array([*own, 0], dtype=np.intp)
            codes = np.where(cost.feasible, codes, table[cost.reason_code])
    return Column(tuple(texts), codes)


def _plain(reason: str) -> str:
    """A reason without the amounts, which differ from design to design."""
    return reason.partition(": needs")[0].partition(" needs {")[0]


def _of_machine(reasons: Column) -> Column:
    """The reasons without the constraints that are broken, which follow from the results."""
    texts = tuple("" if str(text).startswith(BROKEN) else text for text in reasons.values)
    return reasons if texts == reasons.values else Column(texts, reasons.codes)


def _broken(reasons: Column, margins: Mapping[str, np.ndarray], runs: np.ndarray) -> Column:
    """The reasons, with the first constraint that a design breaks where it runs."""
    codes, values = reasons.codes, list(reasons.values)
    for text, margin in reversed(list(margins.items())):
        hit = runs & (margin > 0)
        if text != MACHINE and hit.any():
            codes = np.where(hit, len(values), codes)
            values.append(BROKEN + text)
    return reasons if codes is reasons.codes else Column(tuple(values), codes)


def _explained(reasons: Column, missing: Mapping[str, np.ndarray]) -> Column:
    """The reasons, with one for designs that run but have no number for an objective.

    missing : reason -> (D,) bool, of which the first that is true is said.
    """
    codes, values = reasons.codes, list(reasons.values)
    for text, lacking in reversed(list(missing.items())):
        if lacking.any():
            codes = np.where(lacking, len(values), codes)
            values.append(text)
    return reasons if codes is reasons.codes else Column(tuple(values), codes)


def names_of(space: Space, costs: Mapping[str, Costs]) -> list[str]:
    """Every result an objective, a constraint or a record may name, accuracy aside."""
    if "" in costs:
        return costs[""].names()
    named = [f"{workload}.{name}" for workload, cost in costs.items() for name in cost.names()]
    first = next(iter(costs.values()))
    return named + [name for name in first.names() if name.split(".")[0] in SHARED]


def bound(space: Space, names: list[str]) -> Space:
    """The space with the names of its results checked and the units of its expressions resolved."""
    known = [*names, *(space.accuracy.names if space.uses_accuracy else ())]
    known += settings.unwritten(space)
    _refuse_texts(space)
    space = replace(space, define=_defined(space, known))
    known += space.define
    bindings = quantities(space, known)
    alike = constants(space.define, bindings)
    for objective in space.objectives:
        if objective.name in alike:
            raise InputError(
                "is the same number for every design",
                file=space.source,
                field="objectives",
                value=objective.name,
            )
    for field_name, used in (
        ("objectives", [o.name for o in space.objectives]),
        ("record", list(space.record)),
    ):
        for name in used:
            if name not in known:
                raise InputError(
                    "unknown result",
                    file=space.source,
                    field=field_name,
                    value=name,
                    allowed=known,
                )
    constraints = tuple(_bound(e, bindings, space.source, "constraints") for e in space.constraints)
    for constraint in constraints:
        decisive.require(constraint, bindings, file=space.source, field="constraints")
    check_bounds(constraints, space)
    return replace(space, constraints=constraints)


def _refuse_texts(space: Space) -> None:
    """Refuses settings that are no numbers where the space does not write them."""
    for name in space.named:
        written = name in space.names or name in space.define
        if not written and settings.setting_field(name) and not settings.is_number(name):
            raise InputError(
                "is no number, and not written in this space",
                file=space.source,
                value=name,
                hint="expressions know all numeric settings, and what the space writes",
            )


def _defined(space: Space, known: list[str]) -> dict[str, grammar.Expression]:
    """The expressions under `define`, with names checked and units resolved."""
    expressions: dict[str, grammar.Expression] = {}
    for name, expression in space.define.items():
        field_name = f"define.{name}" if name.isidentifier() else "objectives"
        if name in known:
            raise InputError("is a result already", file=space.source, field=field_name, value=name)
        bindings = quantities(replace(space, define=expressions), known)
        expressions[name] = _bound(expression, bindings, space.source, field_name)
    return expressions


def _bound(
    expression: grammar.Expression,
    quantities: Mapping[str, grammar.NamedQuantity],
    file: object,
    field_name: str,
) -> grammar.Expression:
    """The expression with names checked and units resolved, and no division by a constant 0."""
    resolved = grammar.bind(expression, quantities, file=file, field=field_name)
    return grammar.require_finite(resolved, file=file, field=field_name)


def check_bounds(expressions: tuple[grammar.Expression, ...], space: Space) -> None:
    """Refuses constraints on one name whose intervals cannot meet, and says which."""
    limits = [(e, *b) for e in expressions for b in grammar.bounds(e)]
    for expression, name, sign, value in limits:
        for other, other_name, other_sign, other_value in limits:
            if name == other_name and _apart(sign, value, other_sign, other_value):
                itself = f"can never hold: {expression.text!r}"
                both = f"cannot both hold: {expression.text!r} and {other.text!r}"
                raise InputError(
                    itself if expression is other else both, file=space.source, field="constraints"
                )


def _apart(sign: str, value: float, other: str, limit: float) -> bool:
    """Whether nothing is `sign` value and `other` limit at once, `sign` being an upper one."""
    if sign == "==" and other == "==":
        return value != limit
    if sign not in ("<=", "<", "==") or other not in (">=", ">", "=="):
        return False
    return value < limit or (value == limit and (sign == "<" or other == ">"))


@dataclass
class Rejections:
    """What stood in the way so far: how many each constraint rejected, and the nearest miss.

    nearest : violation, codes and margins of the infeasible design closest to feasible.
    """

    counts: dict[str, int] = field(default_factory=dict)
    nearest: tuple[float, np.ndarray, dict[str, float]] | None = None

    def add(self, codes: np.ndarray, outcome: Outcome) -> None:
        """Counts a batch."""
        if outcome.feasible.all():  # of no designs, too
            return
        for name, rejected in self._rejected(outcome):
            self.counts[name] = self.counts.get(name, 0) + rejected
        violation = np.where(outcome.feasible, np.inf, outcome.violation)
        best = int(np.argmin(violation))
        if self.nearest is None or violation[best] < self.nearest[0]:
            margins = {name: float(m[best]) for name, m in outcome.margins.items()}
            if outcome.reasons[best] and not str(outcome.reasons[best]).startswith(BROKEN):
                margins[str(outcome.reasons[best])] = margins.pop(MACHINE)
            self.nearest = (float(violation[best]), codes[best].copy(), margins)

    def _rejected(self, outcome: Outcome) -> Iterator[tuple[str, int]]:
        for name, margin in outcome.margins.items():
            if name != MACHINE:
                yield name, int((margin > 0).sum())
        counted = np.bincount(outcome.reasons.codes, minlength=len(outcome.reasons.values))
        for text, count in zip(outcome.reasons.values, counted.tolist(), strict=True):
            if text and not str(text).startswith(BROKEN):
                yield str(text), count
