"""Rows of measured and published figures: read strictly, errors by line.

The format is that of data/published.csv and of `elector validate --data FILE`: one row a figure,

    case, group, model, accelerator, settings, metric, value, unit, tolerance, kind, source,
    evidence, note

with `settings` as `key=value` words, `group` as `device family / stack / regime`, and `kind`
outcome (a measured time, energy or power that the model predicts), identity (a count or a data
sheet, which must come out exactly) or bound. Two further columns may follow: `verified` (no: read
in a publication that quotes the source) and `fitted` (yes: constants were fitted on this row).
"""

from __future__ import annotations

import hashlib
import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from elector.base import units
from elector.base.errors import InputError, nearest
from elector.base.table import read_csv, require_once
from elector.cost.results import registry
from elector.evaluation.accelerators import load_accelerator
from elector.evaluation.settings import field_of, known_keys
from elector.technology import EVIDENCE

REQUIRED = (
    "case",
    "group",
    "model",
    "accelerator",
    "settings",
    "metric",
    "value",
    "unit",
    "tolerance",
    "kind",
    "source",
    "evidence",
)
COLUMNS = (*REQUIRED, "note", "verified", "fitted")
#: Cells that may be empty.
MAY_BE_EMPTY = ("settings",)
KINDS = ("outcome", "identity", "bound")

#: Figures that follow from a result and are no result themselves -> their unit.
FURTHER = {"cycles": "1", "achieved_ops_per_s": "op/s"}

#: Least and largest figure, in the unit of the result: no error beside a smaller one is a number.
LEAST, MOST = 1e-100, 1e300
#: A tolerance from here on (as a share) would let anything pass.
LOOSEST = 1e6
_GROUP = re.compile(r"[^/\s][^/]*( / [^/\s][^/]*){2}")
#: Last hexadecimal digits of rows that no constant is ever fitted on: an eighth of them.
LEFT_OUT = "01"

_RELATIVE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
#: A number with letters behind it.
_WITH_UNIT = re.compile(r"(?!0[xX])[-+]?[\d.]++(?:[eE][-+]?\d+)?+\s*[^\W\d_].*")
_BOUND = re.compile(r"\s*at (most|least)(?:\s*\+\s*(\d+(?:\.\d+)?)\s*%)?\s*")
MISSED = " known miss"


@dataclass(frozen=True)
class ValidationCase:
    """One published or measured figure.

    settings : dotted key -> value, as `--set`. configuration : the same as one text.
    value : in the unit of the result (SI; mm2 for areas).
    tolerance : as written. low, high : the relative errors it accepts. known_miss : the model
        is known to lie outside and the note says why; it is shown, and fails nothing.
    kind : outcome | identity | bound.
    verified : False where the figure was read in a publication that quotes the source.
    fitted : whether constants were fitted on this row.
    line : of the file.
    """

    case: str
    group: str
    model: str
    accelerator: str
    settings: dict[str, object]
    configuration: str
    metric: str
    value: float
    unit: str
    tolerance: str
    low: float
    high: float
    kind: str
    source: str
    evidence: str
    note: str
    verified: bool
    fitted: bool
    line: int
    known_miss: bool = False

    @property
    def unseen(self) -> bool:
        """Whether no constant was fitted on this row."""
        return not self.fitted

    @property
    def bar(self) -> float:
        """The largest miss allowed, as a share of the figure: of `at most` and `at least` by how
        much the bound itself is soft."""
        if self.tolerance.startswith("at least"):
            return -self.low
        return self.high if self.tolerance.startswith("at most") else max(self.high, -self.low)

    def miss(self, error: float) -> float:
        """How far a relative error lies off the figure: itself, but 0 on the side that `at most`
        or `at least` leaves open."""
        if self.tolerance.startswith("at least"):
            return min(error, 0.0)
        return max(error, 0.0) if self.tolerance.startswith("at most") else error


def left_out(model: str, accelerator: str, settings: str, metric: str) -> bool:
    """The rule, written down before the first fit: an eighth of all rows, by their inputs alone.

    A row is left out where the SHA-256 of `model|accelerator|settings|metric` ends in the
    hexadecimal digit 0 or 1; settings as the fits have them, defaults among them.
    """
    text = "|".join((model, accelerator, settings, metric))
    return hashlib.sha256(text.encode()).hexdigest()[-1] in LEFT_OUT


def as_text(settings: dict[str, object]) -> str:
    """Settings as one cell: `key=value` words in the order of their keys."""
    words = [f"{key}={value}" for key, value in sorted(settings.items())]
    return shlex.join(words)


def load_cases(path: Path) -> list[ValidationCase]:
    """The cases of a CSV file, checked; errors name file and line."""
    names, lines = read_csv(path)
    require_once(names, path)
    _require_columns(names, path)
    if not lines:
        raise InputError("has a header but no rows", file=path)
    cases: dict[str, ValidationCase] = {}
    asked: dict[tuple[str, str, str, str, float], int] = {}
    for line, cells in lines:
        if len(cells) != len(names):
            raise InputError(
                f"line {line}: has {len(cells)} cells, the header {len(names)}", file=path
            )
        case = _case(dict(zip(names, cells, strict=True)), path, line)
        if case.case in cases:
            raise InputError(
                f"line {line}: case given twice", file=path, field="case", value=case.case
            )
        key = (case.model, case.accelerator, case.configuration, case.metric, case.value)
        if key in asked:
            raise InputError(
                f"line {line}: the same figure as line {asked[key]}", file=path, value=case.case
            )
        cases[case.case], asked[key] = case, line
    return list(cases.values())


def _require_columns(names: Sequence[str], path: Path) -> None:
    """Refuses a header with a column too few, every one of which is named, or with one too many."""
    missing = [name for name in REQUIRED if name not in names]
    unknown = [name for name in names if name not in COLUMNS]
    if missing:
        others = f"; missing, too: {', '.join(missing[1:])}" if missing[1:] else ""
        alike = nearest(missing[0], unknown)
        hint = f"{alike!r} is none: did you mean {missing[0]}? " if alike else ""
        raise InputError(
            f"line 1: missing column{others}",
            file=path,
            field=missing[0],
            hint=f"{hint}columns: {', '.join(REQUIRED)}",
        )
    if unknown:
        raise InputError("line 1: unknown column", file=path, value=unknown[0], allowed=COLUMNS)


def _case(cells: dict[str, str], path: Path, line: int) -> ValidationCase:
    flags = {name: cells.get(name) or default for name, default in FLAGS}
    _require_cells(cells | flags, path, line)
    missed = cells["tolerance"].endswith(MISSED)
    low, high = _tolerance(cells["tolerance"].removesuffix(MISSED), path, line)
    value, unit = _value(cells, path, line)
    return ValidationCase(
        **{name: cells[name] for name in ("case", "group", "model", "accelerator", "metric")},
        settings=_checked(cells, path, line),
        configuration=cells["settings"],
        value=value,
        unit=unit,
        tolerance=cells["tolerance"],
        low=low,
        high=high,
        **{name: cells[name] for name in ("kind", "source", "evidence")},
        note=cells.get("note", ""),
        verified=flags["verified"] == "yes",
        fitted=flags["fitted"] == "yes",
        line=line,
        known_miss=missed,
    )


def _require_cells(cells: dict[str, str], path: Path, line: int) -> None:
    """Refuses a row with an empty cell, a group of another form, or a word nobody knows."""
    for column in REQUIRED:
        if not cells[column] and column not in MAY_BE_EMPTY:
            hint = _hint(column, cells)
            raise InputError(f"line {line}: has no {column}", file=path, field=column, hint=hint)
    if not _GROUP.fullmatch(cells["group"]):
        raise InputError(
            f"line {line}: is no group",
            file=path,
            field="group",
            value=cells["group"],
            hint="device family / stack / regime, such as: hopper / vllm / serving fp8",
        )
    words = {"evidence": EVIDENCE, "kind": KINDS}
    for column, allowed in (words | {name: ("yes", "no") for name, _ in FLAGS}).items():
        if cells[column] not in allowed:
            raise InputError(
                f"line {line}: unknown {column}",
                file=path,
                field=column,
                value=cells[column],
                allowed=allowed,
            )


def _hint(column: str, cells: dict[str, str]) -> str | None:
    """What may stand in an empty cell, where that can be said."""
    if column == "unit" and (cells["metric"] in FURTHER or cells["metric"] in registry()):
        unit = unit_of(cells["metric"])
        plain = unit in ("1", "flag")
        return "1, for a plain number" if plain else f"{unit}, or another unit of that kind"
    allowed = {"kind": KINDS, "evidence": EVIDENCE, "tolerance": ("10 %", "exact", "at most")}
    return ", ".join(allowed[column]) if column in allowed else None


FLAGS = (("verified", "yes"), ("fitted", "no"))


def _value(cells: dict[str, str], path: Path, line: int) -> tuple[float, str]:
    """The figure in the unit of its result, and that unit."""
    if cells["metric"] not in FURTHER and registry().find(cells["metric"]) is None:
        raise InputError(
            f"line {line}: unknown result",
            file=path,
            field="metric",
            value=cells["metric"],
            allowed=(*registry().metrics, *FURTHER),
            hint="`elector list results`",
        )
    unit = unit_of(cells["metric"])
    field = f"line {line}: value"
    if _WITH_UNIT.fullmatch(cells["value"]):
        said = "has a unit: that stands in the column `unit` alone"
        raise InputError(said, file=path, field=field, value=cells["value"])
    text = f"{cells['value']} {cells['unit']}"
    value = units.convert(text, unit, field=field, file=path)
    if not value > 0:
        said = "must be above 0: the error is relative"
        raise InputError(said, file=path, field=field, value=text)
    if not LEAST <= value <= MOST:
        said = (
            f"must lie between {LEAST:g} and {MOST:g} {unit}: an error relative to it is no number"
        )
        raise InputError(said, file=path, field=field, value=cells["value"])
    return value, unit


def _checked(cells: dict[str, str], path: Path, line: int) -> dict[str, object]:
    """Settings of a row, whose accelerator and keys are known."""
    try:
        load_accelerator(cells["accelerator"])
    except InputError as error:
        raise error.of_row(path, f"line {line}", "accelerator") from None
    try:
        return parse_settings(cells["settings"])
    except InputError as error:
        raise error.of_row(path, f"line {line}", "settings") from None


def parse_settings(text: str) -> dict[str, object]:
    """Dotted settings of a cell.

    >>> parse_settings("workload.mode=training workload.batch=28")
    {'workload.mode': 'training', 'workload.batch': '28'}

    text : words KEY=VALUE.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"cannot be split into settings: {error}", value=text) from None
    settings: dict[str, object] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise InputError("must be written KEY=VALUE", value=word)
        if field_of(key) is None:
            keys = [f"{space}.{name}" for space, names in known_keys().items() for name in names]
            hint = "`elector list settings`"
            raise InputError("unknown setting", value=key, allowed=keys, hint=hint)
        if key in settings:
            raise InputError("setting given twice", value=key)
        settings[key] = value
    return settings


def unit_of(metric: str) -> str:
    """Unit a published value of this result is given in, that of the registry of results."""
    return FURTHER.get(metric) or registry().get(metric).unit


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
        if share < LOOSEST:
            return -share, share
    if match := _BOUND.fullmatch(text):
        soft = float(match.group(2) or 0.0) / 100.0
        if soft < LOOSEST:
            return (-1.0, soft) if match.group(1) == "most" else (-soft, math.inf)
    raise InputError(
        f"line {line}: unreadable tolerance",
        file=path,
        field="tolerance",
        value=text,
        hint=f"write `5 %`, `exact`, `at most`, `at least` or `at most +10 %`, below {LOOSEST:.0%}",
    )
