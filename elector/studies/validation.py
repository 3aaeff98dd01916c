"""Published and measured figures repeated: every case with its error, every group with its bar.

An outcome (a measured time, energy or power) is one of many: its group is judged, by the median
absolute error of its cases against their tolerance; of those that no constant was fitted on, where
there are five of them. Identities and bounds are judged one by one.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from elector.base import quantity
from elector.base.errors import InputError
from elector.base.table import DATA, Column
from elector.evaluation.settings import field_of
from elector.studies.validation_cases import ValidationCase, load_cases
from elector.technology import Technology

#: Rows that no constant was fitted on from which on a group is judged by them alone.
ENOUGH = 5
#: Verdicts of a group within its bar (CaseGroup.verdict).
OK, TOO_FEW, IN_SAMPLE = "ok", "too few", "in-sample"
#: Setting of the software stack, which the names of groups hold, too.
_STACK = "workload.implementation"
#: What a float computation may be off by without being another number.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class CaseResult:
    """A case and what the simulator says.

    simulated : in the unit of `case.value`; NaN where there is no result.
    error : simulated / published - 1.
    passed : whether the error lies within the tolerance.
    problem : why there is no result, else "".
    dominant : kind of operation that takes most of the time, or host where the host does.
    judged : verdict of its group, where it is an outcome.
    notes : what is to be said of what was asked, such as a setting that changes nothing.
    """

    case: ValidationCase
    simulated: float
    error: float
    passed: bool
    problem: str
    dominant: str = ""
    judged: str = ""
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """ok | known miss | FAILED: of the case itself, or that of its group where it is an
        outcome (CaseGroup.verdict)."""
        if self.judged and not self.problem:
            return self.judged
        if self.passed:
            return "ok"
        return "known miss" if self.case.known_miss and not self.problem else "FAILED"

    def as_row(self) -> dict[str, object]:
        """Plain values for a table or JSON; what is not a number is None."""
        case = self.case
        return {
            "case": case.case,
            "group": case.group,
            "model": case.model,
            "accelerator": case.accelerator,
            "settings": case.configuration,
            "metric": case.metric,
            "published": case.value,
            "simulated": _or_none(self.simulated),
            "unit": case.unit,
            "error": _or_none(self.error),
            "tolerance": case.tolerance,
            "kind": case.kind,
            "passed": self.passed,
            "verdict": self.verdict,
            "fitted": not case.unseen,
            "dominant": self.dominant,
            "evidence": case.evidence,
            "verified": case.verified,
            "source": case.source,
            "note": self.problem or case.note,
        }


@dataclass(frozen=True)
class Misses:
    """How far off cases of one group are.

    number : cases with a result. median, ninetieth : of the absolute errors. bias : median error;
    NaN where there is no case. dominant : what takes most of the time in most of them.
    """

    number: int
    median: float
    ninetieth: float
    bias: float
    dominant: str

    @staticmethod
    def of(results: Sequence[CaseResult]) -> Misses:
        """Of cases that have a result."""
        misses = np.array([r.case.miss(r.error) for r in results])
        size = np.abs(misses)
        kinds = [r.dominant for r in results if r.dominant]
        return Misses(
            number=size.size,
            median=_median(size),
            ninetieth=float(np.quantile(size, 0.9)) if size.size else math.nan,
            bias=_median(misses),
            dominant=max(sorted(set(kinds)), key=kinds.count) if kinds else "",
        )


@dataclass(frozen=True)
class CaseGroup:
    """Outcomes of one device family, stack and regime.

    every : errors of all its cases. never : of those that no constant was fitted on.
    bar : largest median error allowed. known_miss : the group is known to leave it.
    problems : why cases have no result.
    """

    name: str
    every: Misses
    never: Misses
    bar: float
    known_miss: bool
    problems: tuple[str, ...]

    @property
    def number(self) -> int:
        """Cases, those without a result among them."""
        return self.every.number + len(self.problems)

    @property
    def unseen(self) -> int:
        """Cases that no constant was fitted on."""
        return self.never.number

    @property
    def dominant(self) -> str:
        """What takes most of the time in most cases."""
        return self.every.dominant

    @property
    def judged(self) -> float:
        """The median that decides: of the unseen rows, where there are enough of them."""
        return self.never.median if self.unseen >= ENOUGH else self.every.median

    @property
    def said(self) -> str:
        """Its errors in words; where cases have none, how many and why."""
        text = f"median error {quantity.share(self.judged)}, bar {self.bar:.1%}"
        if not self.problems:
            return text
        without = f"{len(self.problems)} of {self.number} have no result: {self.problems[0]}"
        return without if math.isnan(self.every.median) else f"{text}; {without}"

    @property
    def verdict(self) -> str:
        """ok | too few | in-sample | known miss | FAILED. Within its bar a group is ok by rows that
        nothing was fitted on; by others it is in-sample, and with unseen ones, which are too few
        to judge by, too few."""
        if self.problems:
            return "FAILED"
        if self.judged > self.bar + _ROUNDING:
            return "known miss" if self.known_miss else "FAILED"
        if self.unseen >= min(ENOUGH, self.every.number):
            return OK
        return TOO_FEW if self.unseen else IN_SAMPLE

    def as_row(self) -> dict[str, object]:
        """Plain values for a table or JSON."""
        return {
            "group": self.name,
            "cases": self.number,
            "never_fitted": self.unseen,
            "median": _or_none(self.every.median),
            "never_fitted_median": _or_none(self.never.median),
            "ninetieth": _or_none(self.every.ninetieth),
            "never_fitted_ninetieth": _or_none(self.never.ninetieth),
            "bias": _or_none(self.every.bias),
            "never_fitted_bias": _or_none(self.never.bias),
            "bar": self.bar,
            "dominant": self.dominant,
            "never_fitted_dominant": self.never.dominant,
            "verdict": self.verdict,
        }


Simulate = Callable[..., Mapping[str, Any]]


def validate(
    data: str | Path | None = None,
    *,
    only: str = "",
    technology: Technology | None = None,
    simulate: Simulate | None = None,
    wanted: Callable[[ValidationCase], bool] | None = None,
) -> list[CaseResult]:
    """Run the cases of a file (the shipped ones by default) and compare.

    Parameters
    ----------
    data : CSV of published or measured figures (elector.studies.validation_cases).
    only : run the cases whose group or name contains this text, or matches it with `*`.
    technology : prices; the shipped tables by default.
    simulate : the simulator, called as simulate(model, accelerator, settings=...,
        technology=..., operations=...); elector's own by default.
    wanted : which of those cases to run; all by default.
    """
    path = Path(data) if data is not None else DATA / "published.csv"
    every = load_cases(path)
    chosen = [case for case in every if _wanted(case, only)]
    if not chosen:
        raise InputError(
            "no group and no case has this in its name",
            file=path,
            value=only,
            allowed=sorted({case.group for case in every}),
        )
    if wanted is not None:
        chosen = [case for case in chosen if wanted(case)]
    run = simulate or _own_simulate()
    known = _together(chosen, technology) if simulate is None else {}
    outcomes = []
    for case in chosen:
        try:
            outcomes.append(_compare(case, run, known, technology))
        except InputError as error:
            raise error.of_row(path, f"line {case.line}: case {case.case!r}") from None
    verdicts = {group.name: group.verdict for group in groups(outcomes)}
    return [
        replace(r, judged=verdicts[r.case.group]) if r.case.kind == "outcome" else r
        for r in outcomes
    ]


def _wanted(case: ValidationCase, only: str) -> bool:
    names = (case.group, case.case)
    return any(only in name or fnmatch.fnmatchcase(name, only) for name in names)


def groups(results: Sequence[CaseResult]) -> list[CaseGroup]:
    """The outcomes by group, in the order of their names."""
    by_group: dict[str, list[CaseResult]] = {}
    for result in results:
        if result.case.kind == "outcome":
            by_group.setdefault(result.case.group, []).append(result)
    return [_group(name, by_group[name]) for name in sorted(by_group)]


def said(results: Sequence[CaseResult]) -> list[str]:
    """What is to be said of what cases ask for, each note once, with the cases that it is of, and
    of how groups of them are judged."""
    by_note: dict[str, list[str]] = {}
    for result in results:
        for note in (*result.notes, *_other_stack(result.case)):
            by_note.setdefault(note, []).append(result.case.case)
    of_cases = [
        f"{names[0]}{f' and {len(names) - 1:,} more' if names[1:] else ''}: {note}"
        for note, names in by_note.items()
    ]
    by_group: dict[str, list[ValidationCase]] = {}
    for result in results:
        if result.case.kind == "outcome":
            by_group.setdefault(result.case.group, []).append(result.case)
    return of_cases + [note for cases in by_group.values() for note in _judged_as_one(cases)]


def _judged_as_one(cases: Sequence[ValidationCase]) -> list[str]:
    """That cases of one group say different things of it.

    cases : of the group.
    """
    name, bars = cases[0].group, [case.bar for case in cases]
    marked = sum(case.known_miss for case in cases)
    notes = []
    if len(set(bars)) > 1:
        notes.append(
            f"{name}: tolerances differ, its bar is their median, {100 * np.median(bars):.3g}%"
        )
    if 0 < marked < len(cases):
        own = f"{marked} of {len(cases)} rows" if marked > 1 else f"one of {len(cases)} rows"
        notes.append(f"{name}: a known miss by {own}: it fails nothing")
    return notes


def _other_stack(case: ValidationCase) -> list[str]:
    """That a group is named after a software stack which a case does not ask for."""
    named = case.group.split(" / ")[1]
    asked = str(case.settings.get(_STACK, "auto"))
    stack = field_of(_STACK)
    if stack is None or named == asked or named not in stack.choices:
        return []
    return [f"its group says {named}, its settings {_STACK}={asked}"]


def failed(results: Sequence[CaseResult]) -> bool:
    """Whether a group left its bar, or an identity or a bound does not hold."""
    alone = any(r.verdict == "FAILED" and r.case.kind != "outcome" for r in results)
    return alone or any(group.verdict == "FAILED" for group in groups(results))


def _group(name: str, results: Sequence[CaseResult]) -> CaseGroup:
    there = [r for r in results if not r.problem]
    return CaseGroup(
        name=name,
        every=Misses.of(there),
        never=Misses.of([r for r in there if r.case.unseen]),
        bar=float(np.median([r.case.bar for r in results])),
        known_miss=any(r.case.known_miss for r in results),
        problems=tuple(r.problem for r in results if r.problem),
    )


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if values.size else math.nan


#: Model, accelerator, configuration, and whether operations are asked for.
_Asked = tuple[str, str, str, bool]


def _asked(case: ValidationCase) -> _Asked:
    """What a case asks a simulator for; cases that ask for the same share the answer."""
    return case.model, case.accelerator, case.configuration, case.metric == "cycles"


def _together(
    cases: Sequence[ValidationCase], technology: Technology | None
) -> dict[_Asked, Mapping[str, Any]]:
    """Answers to all cases that ask for plain figures, from one table of their designs.

    A table has the parts of all designs for each, so that whose part is asked for is left out.
    None where a design cannot be read: simulated by itself, it is told with its line.
    """
    from elector.evaluation.path import evaluate  # reading the cases needs no simulator
    from elector.studies.simulation import columns_of, record

    apart = {_asked(case) for case in cases if "." in case.metric or case.metric == "cycles"}
    plain = {key: case for case in cases if (key := _asked(case)) not in apart}
    rows = [{"model": c.model, "accelerator": c.accelerator, **c.settings} for c in plain.values()]
    if not rows:
        return {}
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: Column.of([row.get(name) for row in rows]) for name in names}
    try:
        for row in rows:
            columns_of(row)
        single = technology and technology.single()
        cost = evaluate(columns, len(rows), technology=single, level="groups")
    except InputError:
        return {}
    said = cost.notes()
    return {key: {**record(cost, i), "notes": said[i]} for i, key in enumerate(plain)}


def _compare(
    case: ValidationCase,
    run: Simulate,
    known: dict[_Asked, Mapping[str, Any]],
    technology: Technology | None,
) -> CaseResult:
    key = _asked(case)
    if key not in known:
        known[key] = run(
            case.model,
            case.accelerator,
            settings=case.settings,
            technology=technology,
            operations=key[-1],
        )
    result = known[key]
    notes = tuple(result.get("notes", ()))
    simulated = _metric(result, case.metric)
    if simulated is None or not math.isfinite(simulated):
        problem = str(result.get("reason") or f"no result named {case.metric}")
        return CaseResult(case, math.nan, math.nan, False, problem, notes=notes)
    error = simulated / case.value - 1.0
    passed = case.low - _ROUNDING <= error <= case.high + _ROUNDING
    return CaseResult(case, simulated, error, passed, "", _dominant(result), notes=notes)


def _dominant(result: Mapping[str, Any]) -> str:
    """What takes most of the time of a step."""
    if result.get("host_bound"):
        return "host"
    kinds = result.get("latency_by_kind_s") or {}
    return max(kinds, key=lambda kind: float(kinds[kind] or 0.0)) if kinds else ""


def _metric(result: Mapping[str, Any], metric: str) -> float | None:
    """A result by its dotted name, or one that follows from others; None where absent."""
    if metric == "cycles":
        return float(sum(row["cycles"] for row in result["operations"]))
    if metric == "achieved_ops_per_s":
        seconds = result["latency_s"]
        return None if seconds is None else 2.0 * result["macs"] / seconds
    value: Any = result
    for name in metric.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return None if value is None else float(value)


def _own_simulate() -> Simulate:
    # imported here: reading the cases needs no simulator
    from elector.studies.simulation import simulate

    return simulate


def _or_none(number: float) -> float | None:
    return number if math.isfinite(number) else None
