"""Requirements on a run: that its front is good enough, that some design is.

hypervolume >= 0.98 * baseline
latency_s <= 5 ms and energy_j <= 20e-3

Numbers without a unit are in that of what they stand beside. Comparisons are exact: `<=` and `>=`
hold at equality, `<` and `>` do not, `==` asks for the very same number. Of the designs that hold
the one furthest inside its bounds is named, else the one that misses by least; of equals the first
that was recorded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from elector.base import paths, quantity
from elector.base.errors import InputError
from elector.base.junit import JUnitCase, document
from transcode.runs import front, manifest, query, snapshot
from transcode.runs.comparison import written_point
from transcode.runs.query import Recorded
from transcode.space import grammar

#: What is known of a whole run; `baseline` is the hypervolume of another one.
FIGURES = ("hypervolume", "designs", "feasible", "front")
BASELINE = "baseline"
#: Relative distance below which a bound is not missed but stood on.
_AT = 1e-300
#: Digits that a value beside its bound is shown with.
_DIGITS = 5


@dataclass(frozen=True)
class Verdict:
    """One requirement and what came of it.

    missed : by how much, relative to its bound; 0 where it holds.
    design : id of the design that satisfies it or misses by least; None where none is asked for.
    values : of the names in the requirement, there. units : of those that have one.
    undecided : whether nothing is compared there: it divides by 0 or overflows.
    """

    requirement: str
    passed: bool
    missed: float
    design: int | None
    values: Mapping[str, float | str]
    units: Mapping[str, str] = field(default_factory=dict)
    undecided: bool = False

    @property
    def text(self) -> str:
        """What was found, in words."""
        where = "" if self.design is None else f"design {self.design}: "
        values = ", ".join(f"{n} {self._shown(n, v)}" for n, v in self.values.items())
        if self.passed:
            return f"{where}{values}"
        if self.undecided:
            said = f"{where}{values}; " if self.values else where
            return f"{said}a side of a comparison is not finite: it divides by 0 or overflows"
        if not self.values:
            return "no feasible design"
        if self.missed < _AT:
            return f"{where}{values}; just at the bound, which < and > leave out"
        far = 100.0 * self.missed
        said = f"by {quantity.plain(far, 3)} %" if math.isfinite(far) else "beyond measure"
        return f"{where}{values}; missed {said}"

    def _shown(self, name: str, value: float | str) -> str:
        """A value with its unit."""
        if isinstance(value, str):
            return value
        unit = self.units.get(name, "1")
        plain = unit in ("1", grammar.MIXED)
        return f"{value:.6g}" if plain else quantity.show(value, unit, _DIGITS)


def check(recorded: Recorded, requirements: Sequence[str], baseline: str | None) -> list[Verdict]:
    """A verdict for each requirement on a run, as it is now.

    baseline : a run folder, a front.json, or a number.

    requirements : such as `hypervolume >= 1`.
    """
    if not requirements:
        raise InputError(
            "nothing is required", field="--require", hint="--require 'latency_s <= 5 ms'"
        )
    moment = snapshot.taken(recorded.folder)
    figures = _figures(moment)
    if baseline is not None:
        figures[BASELINE] = _baseline(moment, baseline)
    return query.settled(recorded.folder, lambda now: _verdicts(now, requirements, figures))


def _figures(moment: snapshot.Snapshot) -> dict[str, float]:
    """What is known of the whole run. A front without designs has no volume."""
    figures = {name: moment.manifest[name] for name in FIGURES}
    if figures["hypervolume"] is None and not figures["front"]:
        figures["hypervolume"] = 0.0
    try:
        return {name: float(value) for name, value in figures.items()}
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            "is not the manifest of a run", file=moment.folder / manifest.NAME, field="hypervolume"
        ) from None


def _verdicts(
    recorded: Recorded, requirements: Sequence[str], figures: Mapping[str, float]
) -> list[Verdict]:
    bound, names = [], set[str]()
    for text in requirements:
        written = grammar.parse(text, field="--require")
        if not set(written.names) - {BASELINE}:
            raise InputError(
                "names nothing of the run, so it says the same of every run",
                field="--require",
                value=text,
                hint="a result or setting of its designs, " + ", ".join(FIGURES),
            )
        if BASELINE in written.names and BASELINE not in figures:
            raise InputError(
                "needs --baseline",
                field="--require",
                value=text,
                hint="--baseline RUN, or a number",
            )
        names.update(written.names)
        bound.append(recorded.expression(text, "--require", tuple(figures)))
    if BASELINE in figures and BASELINE not in names:
        raise InputError(
            "stands in no requirement",
            field="--baseline",
            hint="--require 'hypervolume >= 0.98 * baseline'",
        )
    return [_verdict(recorded, expression, figures) for expression in bound]


def _verdict(
    recorded: Recorded, expression: grammar.Expression, figures: Mapping[str, float]
) -> Verdict:
    asked = [n for n in expression.names if n not in figures]
    if not asked:
        figure = {name: np.asarray(value) for name, value in figures.items()}.__getitem__
        margin = float(grammar.margin(expression, figure))
        undecided = bool(grammar.undecided(expression, figure))
        values = {n: figures[n] for n in expression.names}
        missed = max(margin, 0.0)
        return Verdict(expression.text, margin <= 0, missed, None, values, undecided=undecided)
    best: Verdict | None = None
    least = math.inf
    for part in query.scan(recorded, asked):
        if len(part.rows) == 0:
            continue
        columns = {n: part.values(n) for n in asked}
        known = {n: np.asarray(v) for n, v in figures.items()} | columns
        lost = grammar.undecided(expression, known.__getitem__)
        margins = grammar.margin(expression, known.__getitem__)
        ranks = np.where(lost, np.inf, margins)  # a design that is compared is named first
        row = int(np.argmin(ranks))
        margin = float(margins[row])
        if best is None or ranks[row] < least:
            least = float(ranks[row])
            results = {
                n: _plain(columns[n][row]) if n in columns else figures[n] for n in expression.names
            }
            units = {n: q.unit for n, q in recorded.quantities.items() if n in results}
            passed, missed, design = margin <= 0, max(margin, 0.0), int(part.ids[row])
            undecided = bool(np.isinf(least))
            best = Verdict(expression.text, passed, missed, design, results, units, undecided)
    return best or Verdict(expression.text, False, 1.0, None, {})


def _plain(value: object) -> float | str:
    return value if isinstance(value, str) else float(str(value))


def _baseline(moment: snapshot.Snapshot, given: str) -> float:
    """The hypervolume to compare with: a number, or that of a run with the same reference."""
    try:
        volume = float(given)
    except ValueError:
        return _volume_of(moment, Path(given))
    if not math.isfinite(volume):
        if paths.exists(given, "--baseline"):  # a folder may be called inf or nan
            return _volume_of(moment, Path(given))
        raise InputError("must be finite", field="--baseline", value=given)
    return volume


def _volume_of(moment: snapshot.Snapshot, path: Path) -> float:
    """The hypervolume of a run folder or of a front.json with the same reference point."""
    if paths.is_folder(path, "--baseline"):
        other: Mapping[str, Any] = snapshot.taken(path).manifest
    elif paths.exists(path, "--baseline"):
        other = front.told(path)
    else:
        raise InputError(
            "is neither a number nor a run: nothing of that name is there",
            file=path,
            field="--baseline",
            value=str(path),
        )
    volume, reference = other.get("hypervolume"), other.get("reference_point")
    if isinstance(volume, bool) or not isinstance(volume, int | float | None):
        raise InputError("is not the front of a run", file=path, field="hypervolume")
    own = moment.manifest["reference_point"]
    if volume is None or reference != own:
        points = [
            written_point(point) if isinstance(point, dict) and point else "none"
            for point in (reference, own)
        ]
        raise InputError(
            f"has another reference point: {points[0]} there, {points[1]} here",
            file=path,
            field="--baseline",
            hint="give reference_point in the space, and run both again",
        )
    return float(volume)


def junit(run: Path, verdicts: Sequence[Verdict]) -> str:
    """The verdicts as JUnit XML."""
    cases = [JUnitCase(v.requirement, None if v.passed else v.text) for v in verdicts]
    return document(f"transcode check {run}", str(run), cases)
