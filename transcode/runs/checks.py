"""Requirements on a run: that its front is good enough, that some design is.

hypervolume >= 0.98 * baseline
latency_s <= 5 ms and energy_j <= 20e-3
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np

from elector.base.errors import InputError
from transcode.runs import query
from transcode.runs.query import Recorded
from transcode.space import grammar

#: What is known of a whole run; `baseline` is the hypervolume of another one.
FIGURES = ("hypervolume", "designs", "feasible", "front")
BASELINE = "baseline"


@dataclass(frozen=True)
class Verdict:
    """One requirement and what came of it.

    missed : by how much, relative to its bound; 0 where it holds.
    design : id of the design that satisfies it or misses by least; None where none is asked for.
    values : of the names in the requirement, there.
    """

    requirement: str
    passed: bool
    missed: float
    design: int | None
    values: Mapping[str, float | str]

    @property
    def text(self) -> str:
        """What was found, in words."""
        where = "" if self.design is None else f"design {self.design}: "
        found = ", ".join(
            f"{n} {v}" if isinstance(v, str) else f"{n} {v:.6g}" for n, v in self.values.items()
        )
        if self.passed:
            return f"{where}{found}"
        if not self.values:
            return "no feasible design"
        return f"{where}{found}; missed by {100 * self.missed:.3g} %"


def check(recorded: Recorded, requirements: Sequence[str], baseline: str | None) -> list[Verdict]:
    """A verdict for each requirement. baseline : a run folder, a front.json, or a number."""
    if not requirements:
        raise InputError(
            "nothing is required", field="--require", hint="--require 'latency_s <= 5 ms'"
        )
    figures = {
        n: float(recorded.manifest[n]) for n in FIGURES if recorded.manifest.get(n) is not None
    }
    if baseline is not None:
        figures[BASELINE] = _baseline(recorded, baseline)
    bound = []
    for text in requirements:
        written = grammar.parse(text, field="--require")
        if BASELINE in written.names and baseline is None:
            raise InputError(
                "needs --baseline",
                field="--require",
                value=text,
                hint="--baseline RUN, or a number",
            )
        bound.append(recorded.expression(text, "--require", tuple(figures)))
    return [_verdict(recorded, expression, figures) for expression in bound]


def _verdict(
    recorded: Recorded, expression: grammar.Expression, figures: Mapping[str, float]
) -> Verdict:
    asked = [n for n in expression.names if n not in figures]
    if not asked:
        margin = float(grammar.margin(expression, lambda name: np.asarray(figures[name])))
        values = {n: figures[n] for n in expression.names}
        return Verdict(expression.text, margin <= 0, max(margin, 0.0), None, values)
    best: Verdict | None = None
    for part in query.scan(recorded, asked):
        if len(part.rows) == 0:
            continue
        columns = {n: part.values(n) for n in asked}
        known = {n: np.asarray(v) for n, v in figures.items()} | columns
        margins = grammar.margin(expression, known.__getitem__)
        row = int(np.argmin(margins))
        margin = float(margins[row])
        if best is None or (not best.passed and max(margin, 0.0) < best.missed):
            found = {
                n: _plain(columns[n][row]) if n in columns else figures[n] for n in expression.names
            }
            best = Verdict(
                expression.text, margin <= 0, max(margin, 0.0), int(part.ids[row]), found
            )
    return best or Verdict(expression.text, False, 1.0, None, {})


def _plain(value: object) -> float | str:
    return value if isinstance(value, str) else float(str(value))


def _baseline(recorded: Recorded, given: str) -> float:
    """The hypervolume to compare with: a number, or that of a run with the same reference."""
    try:
        return float(given)
    except ValueError:
        pass
    path = Path(given)
    path = path / "front.json" if path.is_dir() else path
    try:
        other = json.loads(path.read_text(encoding="utf-8"))
        volume, reference = other["hypervolume"], other["reference_point"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "is neither a number nor a run", file=path, field="--baseline", value=given
        ) from error
    own = recorded.manifest["reference_point"]
    if volume is None or reference != own:
        raise InputError(
            f"has another reference point: {reference} there, {own} here",
            file=path,
            field="--baseline",
            hint="give reference_point in the space, and run both again",
        )
    return float(volume)


def junit(run: Path, verdicts: Sequence[Verdict]) -> str:
    """The verdicts as JUnit XML."""
    failed = sum(not v.passed for v in verdicts)
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<testsuite name={quoteattr(f"transcode check {run}")} tests="{len(verdicts)}" '
        f'failures="{failed}">',
    ]
    for verdict in verdicts:
        case = f"  <testcase classname={quoteattr(str(run))} name={quoteattr(verdict.requirement)}"
        if verdict.passed:
            lines.append(f"{case}/>")
        else:
            lines.append(f"{case}><failure message={quoteattr(verdict.text)}/></testcase>")
    return "\n".join([*lines, "</testsuite>", ""])
