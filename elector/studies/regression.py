"""Two tables of costs, an agreed one and a new one: what got worse, row by row.

Rows are matched by model, accelerator, settings and notes, or by columns that are named, whatever
their order. What is missing now, cannot be read, or became infeasible is a regression, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from elector.base import junit as junit_xml
from elector.base import units
from elector.base.errors import InputError
from elector.cost.results import registry
from elector.evaluation.settings import field_of
from elector.studies.costs_table import WRITTEN, read_costs
from elector.studies.sweep_table import OWN, Kinds

#: Results that are compared where none are named.
METRICS = ("latency_s", "energy_j", "area_mm2")
#: From the worst to the best.
CHANGED = "changed"
VERDICTS = (
    *("missing", "unreadable", "infeasible", "worse", CHANGED),
    *("better", "feasible", "new", "same"),
)
REGRESSIONS = VERDICTS[:5]
#: Cells without a value.
_NOTHING = ("", "nan")
_FLAGS = {"true": 1.0, "false": 0.0, "nan": math.nan}
#: Most lines of a table that a message names.
_SHOWN = 4


@dataclass(frozen=True)
class MovedResult:
    """A row, and a result of it where one moved.

    design : what the rows were matched by, in words. verdict : of VERDICTS.
    old, new : values in the unit of the result; None where there is none. change : new / old - 1.
    text : what happened, in words.
    """

    design: str
    verdict: str
    metric: str = ""
    old: float | None = None
    new: float | None = None
    text: str = ""

    @property
    def change(self) -> float | None:
        """Relative change; None where it has no meaning."""
        if self.old is None or self.new is None or self.old == 0:
            return None
        change = self.new / self.old - 1.0
        return change if math.isfinite(change) else None

    @property
    def regressed(self) -> bool:
        """Whether it is worse than agreed."""
        return self.verdict in REGRESSIONS

    def as_row(self) -> dict[str, object]:
        """Plain values for a table or JSON."""
        return {
            "design": self.design,
            "metric": self.metric or None,
            "old": self.old,
            "new": self.new,
            "change": self.change,
            "verdict": self.verdict,
            "regression": self.regressed,
            "text": self.text,
        }


class MovedResults(list[MovedResult]):
    """What moved. repeated : rows that nothing tells apart, in words: they are matched in order."""

    def __init__(self, moved: Iterable[MovedResult] = (), repeated: Iterable[str] = ()) -> None:
        super().__init__(moved)
        self.repeated = list(repeated)


def compare(
    old: str | Path,
    new: str | Path,
    *,
    tolerance: float | str = 0.0,
    metrics: Sequence[str] = METRICS,
    key: Sequence[str] = (),
) -> MovedResults:
    """What moved from one table of costs to another; an entry a row, or a result that moved.

    Parameters
    ----------
    old, new : files as `elector sweep` writes them: CSV, JSON or Parquet.
    tolerance : share of a result that may get worse, such as 0.02 or "2%".
    metrics : results that are compared; a result that has a better side counts as worse on the
        other one; any other is a regression, as changed, whichever way it moves.
    key : columns that rows are matched by, alone; by default model, accelerator, settings and
        notes.

    Raises InputError for a file, a result, a tolerance or a key without meaning, and for columns
    that were named as key and are the same in two rows of a table.
    """
    allowed = _share(tolerance)
    before, after = _Table.read(Path(old), key), _Table.read(Path(new), key)
    names = before.columns_of(metrics, after)
    before.require_figures(names)
    moved = MovedResults(repeated=[*before.repeated(), *after.repeated()])
    rest = {same: list(rows) for same, rows in after.rows.items()}
    for same, rows in before.rows.items():
        for row in rows:
            design, matches = _words(same, row), rest.get(same, [])
            if not matches:
                moved.append(MovedResult(design, "missing", text="is not in the new table"))
                continue
            moved += _compared(design, row, matches.pop(0), names, allowed)
    for same, rows in rest.items():
        for row in rows:
            moved.append(MovedResult(_words(same, row), "new", text="is not in the old table"))
    return moved


def _share(tolerance: float | str) -> float:
    value = units.parse(tolerance, "1", field="--tolerance")
    if not 0 <= value < math.inf:
        raise InputError("must not be negative", field="--tolerance", value=tolerance)
    if value > 1.0 and "%" not in str(tolerance):  # 3 for 3 % would let everything pass
        allowed = [f"{value:g}%", f"{100 * value:g}%"]
        raise InputError(
            "a share above 1 needs its %", field="--tolerance", value=tolerance, allowed=allowed
        )
    return value


Key = tuple[tuple[str, str], ...]
Row = dict[str, str]


@dataclass(frozen=True)
class _Table:
    """A table of costs: what its rows are matched by -> the rows, and their lines or rows in the
    file, as `place` says."""

    path: Path
    header: list[str]
    rows: dict[Key, list[Row]]
    lines: dict[Key, list[int]]
    place: str = "line"

    @property
    def has_costs(self) -> bool:
        """Whether any row has costs: a table of unreadable and infeasible rows has no columns for
        them, and each of its rows is a regression."""
        every = (row for rows in self.rows.values() for row in rows)
        return any(not row.get("error") and _feasible(row) for row in every)

    @classmethod
    def read(cls, path: Path, key: Sequence[str] = ()) -> _Table:
        """The rows of a file, matched by the columns of `key`, or by those that make a design."""
        costs = read_costs(path)
        header, place = costs.header, costs.place
        for name in ("model", "accelerator"):
            if name not in header:
                where = "line 1: " if place == "line" else ""
                raise InputError(f"{where}column is missing", file=path, field=name, hint=WRITTEN)
        columns = _given(path, header, key) if key else _identifying(header)
        table = cls(path, header, {}, {}, place)
        for line, cells in costs.lines:
            if len(cells) != len(header):
                raise InputError(
                    f"line {line}: has {len(cells)} cells, the header {len(header)}", file=path
                )
            row = dict(zip(header, cells, strict=True))
            own = tuple(sorted((n, _meant(n, row[n])) for n in columns if row[n]))
            table.rows.setdefault(own, []).append(row)
            table.lines.setdefault(own, []).append(line)
        if key:
            table.require_each_once(key)
        return table

    def require_each_once(self, key: Sequence[str]) -> None:
        """Raise InputError where two rows are the same in columns that were named as key."""
        for own, lines in self.lines.items():
            if len(lines) > 1:
                values = ", ".join(text for _, text in own) or "empty cells"
                raise InputError(
                    f"tells no rows apart: {_listed(lines, self.place)} have {values}",
                    file=self.path,
                    field="--key",
                    value=" ".join(key),
                )

    def repeated(self) -> list[str]:
        """Rows that nothing tells apart and whose costs differ, in words."""
        kinds = Kinds(self.header)
        costs = [name for name in self.header if kinds.is_figure(name)]
        return [
            f"{self.path}: {_listed(self.lines[own], self.place)} are the same in model, "
            f"accelerator, settings and notes ({_words(own, rows[0])}): matched in their order"
            for own, rows in self.rows.items()
            if len({tuple(row[name] for name in costs) for row in rows}) > 1
        ]

    def columns_of(self, metrics: Iterable[str], other: _Table) -> list[str]:
        """The columns of the metrics; of each workload where a table has several."""
        columns: list[str] = []
        kinds = Kinds(self.header)
        for metric in metrics:
            names = [name for name in self.header if name == metric or name.endswith(f".{metric}")]
            names = [name for name in names if kinds.is_figure(name)]
            if not names:
                known = [name for name in self.header if kinds.is_figure(name)]
                raise InputError(
                    "is no result of the table",
                    file=self.path,
                    field="--metric",
                    value=metric,
                    allowed=known,
                )
            for name in names:
                if name not in other.header and other.has_costs:
                    raise InputError("column is missing", file=other.path, field=name)
            columns += names
        return list(dict.fromkeys(columns))

    def require_figures(self, names: Sequence[str]) -> None:
        """Raise InputError where a cell of what is compared says something that is no value.

        names : columns of results. What an agreed table says decides what a gate lets through.
        """
        for key, rows in self.rows.items():
            for row, line in zip(rows, self.lines[key], strict=True):
                for name in names:
                    if row[name].lower() not in _NOTHING and _number(name, row[name]) is None:
                        flag = registry().get(name).flag
                        raise InputError(
                            f"{self.place} {line}: is no value of this result",
                            file=self.path,
                            field=name,
                            value=row[name],
                            allowed=("True", "False", "") if flag else None,
                            hint=None if flag else "a number, not negative; or an empty cell",
                        )


def _identifying(header: list[str]) -> list[str]:
    """The columns that make a design: settings and notes."""
    kinds = Kinds(header)
    return [
        name
        for name in header
        if not kinds.is_result(name) and (name.startswith("note.") or not kinds.is_passed(name))
    ]


def _given(path: Path, header: list[str], key: Sequence[str]) -> list[str]:
    """The columns that the user names as key."""
    kinds = Kinds(header)
    known = [name for name in header if not kinds.is_result(name)]
    for name in key:
        if name not in known:
            said = "is a result" if name in header else "column is missing"
            named = [column for column in known if column.endswith(f".{name}")]
            hint = f"did you mean {named[0]}?" if named and name not in header else None
            raise InputError(
                said,
                file=path,
                field="--key",
                value=name,
                allowed=None if hint else known,
                hint=hint,
            )
    return list(key)


def _listed(lines: Sequence[int], place: str) -> str:
    """`lines 2, 5 and 9`; of many the first. place : what is counted."""
    shown = [str(line) for line in lines[:_SHOWN]]
    more = len(lines) - len(shown)
    return f"{place}s " + (
        f"{', '.join(shown)} and {more} more"
        if more
        else f"{', '.join(shown[:-1])} and {shown[-1]}"
    )


def _meant(name: str, text: str) -> str:
    """A setting in SI, so that 4 MB and 4000000 are the same."""
    own = OWN.fullmatch(name)
    field = field_of(f"workload.{own['key']}" if own else name)
    try:
        value = text if field is None else field.parse(text)
    except InputError:
        return text
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)


def _words(key: Key, row: Row) -> str:
    """A design as people read it: model and accelerator of the row, and what it is matched by."""
    others = [f"{name} {text}" for name, text in key if name not in ("model", "accelerator")]
    return ", ".join([f"{row['model'] or '?'} on {row['accelerator'] or '?'}", *others])


def _compared(
    design: str, old: Row, new: Row, names: list[str], allowed: float
) -> list[MovedResult]:
    """What became of one row."""
    if new.get("error"):
        return [MovedResult(design, "unreadable", text=new["error"])]
    if old.get("error"):
        return [MovedResult(design, "new", text="could not be read before")]
    was, runs = _feasible(old), _feasible(new)
    if was and not runs:
        return [
            MovedResult(design, "infeasible", text=new.get("reason", "") or "became infeasible")
        ]
    if runs and not was:
        return [MovedResult(design, "feasible", text="became feasible")]
    moved = [
        _metric(design, name, _number(name, old[name]), _number(name, new[name]), allowed)
        for name in names
    ]
    differing = [entry for entry in moved if entry.verdict != "same"]
    return differing or [MovedResult(design, "same")]


def _feasible(row: Row) -> bool:
    return row.get("feasible", "True").lower() == "true"


def _number(name: str, text: str) -> float | None:
    """The figure in a cell; None where there is none: an empty cell, words, nan, what the result
    cannot be.

    name : of the result.
    """
    metric = registry().get(name)
    try:
        value = _FLAGS[text.lower()] if metric.flag and text else float(text or "nan")
    except (ValueError, KeyError):
        return None
    return value if 0 <= value < math.inf else None


def _metric(
    design: str, name: str, old: float | None, new: float | None, allowed: float
) -> MovedResult:
    """What became of one result of a row."""
    if old == new:
        return MovedResult(design, "same", name, old, new)
    if old is None:
        return MovedResult(design, "new", name, old, new, "had no value before")
    if new is None:
        return MovedResult(design, "missing", name, old, new, "has no value any more")
    metric = registry().get(name)
    text = f"{metric.show(old)} -> {metric.show(new)}"
    gain = {"up": new - old, "down": old - new}.get(metric.better, -abs(new - old))
    if gain > 0:
        return MovedResult(design, "better", name, old, new, text)
    within = math.isfinite(old) and -gain <= allowed * abs(old)
    verdict = "worse" if metric.better else CHANGED
    return MovedResult(design, "same" if within else verdict, name, old, new, text)


def junit(old: str, new: str, moved: Sequence[MovedResult]) -> str:
    """The comparison as JUnit XML: a test case a row.

    old, new : names of the two tables.
    """
    rows: dict[str, list[MovedResult]] = {}
    for entry in moved:
        rows.setdefault(entry.design, []).append(entry)
    cases = []
    for design, entries in rows.items():
        bad = "; ".join(f"{e.metric or e.verdict}: {e.text}" for e in entries if e.regressed)
        cases.append(junit_xml.JUnitCase(design, bad or None))
    return junit_xml.document(f"elector compare {old} {new}", str(new), cases)
