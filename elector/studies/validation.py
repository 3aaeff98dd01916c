"""Published figures repeated: every case of data/published.csv, with its error.

A case is a configuration, written as the arguments of `elector simulate`, and one of its
results. `gemm:NAME` stands for the list of matrix products data/gemms/NAME.csv.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elector.base import units
from elector.base.errors import InputError
from elector.base.table import DATA, read_csv, schema
from elector.cost.results import registry
from elector.technology import EVIDENCE, Technology

COLUMNS = (
    "case",
    "configuration",
    "metric",
    "value",
    "unit",
    "source",
    "tolerance",
    "evidence",
    "verified",
    "note",
)
_REQUIRED = COLUMNS[:-2]
#: What a float computation may be off by without being another number.
_ROUNDING = 1e-12

#: Figures that follow from a result and are no result themselves -> their unit.
_FURTHER = {"cycles": "1", "achieved_ops_per_s": "op/s"}

_RELATIVE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
_BOUND = re.compile(r"\s*at (most|least)(?:\s*\+\s*(\d+(?:\.\d+)?)\s*%)?\s*")


@dataclass(frozen=True)
class Case:
    """One published figure.

    value : in the unit of the result (SI; mm2 for areas).
    tolerance : as written. low, high : the relative errors it accepts. known_miss : the model
        is known to lie outside and the note says why; it is shown, and fails nothing.
    verified : False where the figure was read in a publication that quotes the source.
    """

    case: str
    configuration: str
    metric: str
    value: float
    unit: str
    source: str
    tolerance: str
    low: float
    high: float
    evidence: str
    verified: bool
    note: str
    known_miss: bool = False


@dataclass(frozen=True)
class CaseResult:
    """A case and what the simulator says.

    simulated : in the unit of `case.value`; NaN where there is no result.
    error : simulated / published - 1.
    passed : whether the error lies within the tolerance.
    problem : why there is no result, else "".
    """

    case: Case
    simulated: float
    error: float
    passed: bool
    problem: str

    @property
    def verdict(self) -> str:
        """ok | known miss | FAILED."""
        if self.passed:
            return "ok"
        return "known miss" if self.case.known_miss and not self.problem else "FAILED"

    def as_row(self) -> dict[str, object]:
        """Plain values for a table or JSON; what is not a number is None."""
        case = self.case
        return {
            "case": case.case,
            "configuration": case.configuration,
            "metric": case.metric,
            "published": case.value,
            "simulated": _or_none(self.simulated),
            "unit": case.unit,
            "error": _or_none(self.error),
            "tolerance": case.tolerance,
            "passed": self.passed,
            "verdict": self.verdict,
            "evidence": case.evidence,
            "verified": case.verified,
            "source": case.source,
            "note": self.problem or case.note,
        }


Simulate = Callable[..., Mapping[str, Any]]


def validate(
    cases: str | Path | None = None,
    *,
    only: str = "",
    technology: Technology | None = None,
    simulate: Simulate | None = None,
) -> list[CaseResult]:
    """Run the cases of a file (the shipped ones by default) and compare.

    Parameters
    ----------
    cases : CSV of published figures.
    only : run the cases whose name contains this text.
    technology : prices; the shipped tables by default.
    simulate : the simulator, called as simulate(model, accelerator, settings=...,
        technology=..., operations=...); elector's own by default.
    """
    path = Path(cases) if cases is not None else DATA / "published.csv"
    chosen = [case for case in load_cases(path) if only in case.case]
    if not chosen:
        raise InputError(
            "no case has this in its name",
            file=path,
            value=only,
            allowed=[case.case for case in load_cases(path)],
        )
    run = simulate or _own_simulate()
    known: dict[tuple[str, bool], Mapping[str, Any]] = {}
    found = []
    for case in chosen:
        try:
            found.append(_compare(case, run, known, technology))
        except InputError as error:
            raise error.at(file=path, place=f"case {case.case!r}") from None
    return found


def load_cases(path: Path) -> list[Case]:
    """The cases of a CSV file, checked; errors name file and line."""
    names, lines = read_csv(path)
    missing = [name for name in _REQUIRED if name not in names]
    unknown = [name for name in names if name not in COLUMNS]
    if missing or unknown:
        raise InputError(
            f"line 1: {'missing' if missing else 'unknown'} column",
            file=path,
            value=(missing or unknown)[0],
            allowed=COLUMNS,
        )
    found: dict[str, Case] = {}
    for line, cells in lines:
        if len(cells) != len(names):
            raise InputError(
                f"line {line}: has {len(cells)} cells, the header {len(names)}", file=path
            )
        case = _case(dict(zip(names, cells, strict=True)), path, line)
        if case.case in found:
            raise InputError(f"line {line}: case given twice", file=path, value=case.case)
        found[case.case] = case
    return list(found.values())


def parse_configuration(text: str) -> tuple[str, str, dict[str, object]]:
    """Model, accelerator and dotted settings of `simulate MODEL ACCELERATOR --key value ...`.

    >>> parse_configuration("simulate bert-base tpu-v3 --mode training --batch 28")
    ('bert-base', 'tpu-v3', {'workload.mode': 'training', 'workload.batch': '28'})
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"cannot be split into arguments: {error}", value=text) from None
    if len(words) < 3 or words[0] != "simulate":
        raise InputError("must read `simulate MODEL ACCELERATOR ...`", value=text)
    options = {"--" + key.replace("_", "-"): f"workload.{key}" for key in schema("workload")}
    options |= {"--node": "accelerator.node", "--set": ""}
    settings: dict[str, object] = {}
    rest = iter(words[3:])
    for option in rest:
        if option not in options:
            raise InputError("unknown option", value=option, allowed=options)
        value = next(rest, None)
        key = options[option]
        if option == "--set" and value is not None:
            key, equals, value = value.partition("=")
            value = value if equals else None
        if value is None:
            raise InputError(f"{option} needs a value", value=text)
        settings[key] = value
    return words[1], words[2], settings


def unit_of(metric: str) -> str:
    """Unit a published value of this result is given in, that of the registry of results."""
    return _FURTHER.get(metric) or registry().get(metric).unit


def _case(cells: dict[str, str], path: Path, line: int) -> Case:
    for column in _REQUIRED:
        if not cells[column]:
            raise InputError(f"line {line}: has no {column}", file=path, field=column)
    verified = cells.get("verified") or "yes"
    for column, text, allowed in (
        ("evidence", cells["evidence"], EVIDENCE),
        ("verified", verified, ("yes", "no")),
    ):
        if text not in allowed:
            raise InputError(
                f"line {line}: unknown {column}", file=path, value=text, allowed=allowed
            )
    unit = unit_of(cells["metric"])
    field = f"line {line}: value"
    value = units.convert(f"{cells['value']} {cells['unit']}", unit, field=field, file=path)
    if value == 0:
        raise InputError("must not be 0: the error is relative", file=path, field=field)
    missed = cells["tolerance"].endswith(" known miss")
    low, high = _tolerance(cells["tolerance"].removesuffix(" known miss"), path, line)
    try:
        parse_configuration(cells["configuration"])
    except InputError as error:
        raise error.at(file=path, field=f"line {line}: configuration") from None
    return Case(
        case=cells["case"],
        configuration=cells["configuration"],
        metric=cells["metric"],
        value=value,
        unit=unit,
        source=cells["source"],
        tolerance=cells["tolerance"],
        low=low,
        high=high,
        evidence=cells["evidence"],
        verified=verified == "yes",
        note=cells.get("note", ""),
        known_miss=missed,
    )


def _tolerance(text: str, path: Path, line: int) -> tuple[float, float]:
    """Accepted relative errors.

    `5 %` either way; `exact`; `at most` and `at least` where the published figure is a bound,
    `at most +10 %` where the bound itself is soft. A case that the model is known to miss
    keeps its tolerance and says so: `30 % known miss`.
    """
    if text == "exact":
        return 0.0, 0.0
    if match := _RELATIVE.fullmatch(text):
        share = float(match.group(1)) / 100.0
        return -share, share
    if match := _BOUND.fullmatch(text):
        soft = float(match.group(2) or 0.0) / 100.0
        return (-1.0, soft) if match.group(1) == "most" else (-soft, math.inf)
    raise InputError(
        f"line {line}: unreadable tolerance",
        file=path,
        field="tolerance",
        value=text,
        hint="write `5 %`, `exact`, `at most`, `at least` or `at most +10 %`",
    )


def _compare(
    case: Case,
    run: Simulate,
    known: dict[tuple[str, bool], Mapping[str, Any]],
    technology: Technology | None,
) -> CaseResult:
    wants_operations = case.metric == "cycles"
    key = (case.configuration, wants_operations)
    if key not in known:
        model, accelerator, settings = parse_configuration(case.configuration)
        known[key] = run(
            model,
            accelerator,
            settings=settings,
            technology=technology,
            operations=wants_operations,
        )
    result = known[key]
    simulated = _metric(result, case.metric)
    if simulated is None or not math.isfinite(simulated):
        problem = str(result.get("reason") or f"no result named {case.metric}")
        return CaseResult(case, math.nan, math.nan, False, problem)
    error = simulated / case.value - 1.0
    passed = case.low - _ROUNDING <= error <= case.high + _ROUNDING
    return CaseResult(case, simulated, error, passed, "")


def _metric(result: Mapping[str, Any], metric: str) -> float | None:
    """A result by its dotted name, or one that follows from others; None where absent."""
    if metric == "cycles":
        return float(sum(row["cycles"] for row in result["operations"]))
    if metric == "achieved_ops_per_s":
        seconds = result["latency_s"]
        return None if seconds is None else 2.0 * result["macs"] / seconds
    found: Any = result
    for name in metric.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return None if found is None else float(found)


def _own_simulate() -> Simulate:
    # imported here: reading the cases needs no simulator
    from elector.studies.simulation import simulate

    return simulate


def _or_none(number: float) -> float | None:
    return number if math.isfinite(number) else None
