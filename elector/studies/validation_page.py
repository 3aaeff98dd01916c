"""What `elector validate` writes: a page with predicted against measured, and JUnit XML."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from elector.base import quantity
from elector.base.junit import JUnitCase, document
from elector.base.output import check_output, made_folder, whole
from elector.base.version import VERSION
from elector.studies.validation import ENOUGH, CaseGroup, CaseResult, Misses, groups

#: Side of a picture, and its margin, in pixels.
_SIDE, _MARGIN = 260, 34
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
  color: #1a1a1a; background: #fff; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: left; padding: .25rem .5rem; border-bottom: 1px solid #ddd; }
td:first-child { overflow-wrap: anywhere; min-width: 11rem; }
td:last-child { overflow-wrap: anywhere; min-width: 5rem; }
td:last-child:nth-child(9) { min-width: 11rem; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; } figcaption { font-size: 12px; max-width: 260px; }
.FAILED { color: #a40000; font-weight: 600; } .known { color: #7a5200; }
"""


@contextmanager
def prepared(folder: str | None) -> Iterator[Path | None]:
    """The page's file in a folder that is there or can be made; None where none is asked for.
    Raises InputError where neither, and a folder that was made stays only with a page in it.

    folder : as the user named it.
    """
    if folder is None:
        yield None
        return
    with made_folder(folder, "--report") as path:
        check_output(path / "index.html", (".html",), "--report")
        yield path / "index.html"


def write_page(path: Path, results: Sequence[CaseResult], data: str | None) -> None:
    """The page: groups, pictures, cases. It loads nothing from elsewhere.

    data : file of the user's measurements, None for the published cases.
    """
    with whole(path) as scratch:
        scratch.write_text(page(results, data), encoding="utf-8")


def page(results: Sequence[CaseResult], data: str | None) -> str:
    """HTML of the results of one run; data : the file of the cases where it was not the shipped."""
    judged = groups(results)
    source = html.escape(str(data)) if data else "the shipped cases"
    plots = "".join(_plot(group, results) for group in judged)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Predicted against measured</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{_STYLE}</style></head><body>
<h1>Predicted against measured</h1>
<p>elector {html.escape(VERSION)}, {source}: {len(results)} cases. An outcome is judged by its
group: the median absolute error against the bar, of rows that no constant was fitted on
where those are {ENOUGH} or more, or else of all. Too few: within the bar by all rows, and
those never fitted are fewer than {ENOUGH}. In-sample: the same, with none never fitted. In the
pictures rows that a constant was fitted on are open circles, others are filled.</p>
<h2>Groups</h2>{_group_table(judged)}
<h2>Pictures</h2><div class="plots">{plots}</div>
<h2>Cases</h2>{_case_table(results)}
</body></html>
"""


def _group_table(judged: Sequence[CaseGroup]) -> str:
    errors = ("median", "90th", "bias", "most time")
    head = ("group", "never fitted", *errors, "all cases", *errors, "bar", "verdict")
    rows = [
        _row([html.escape(g.name), *_errors(g.never), *_errors(g.every, g.number), *_bar(g)])
        for g in judged
    ]
    return _table(head, rows)


def _bar(group: CaseGroup) -> list[str]:
    return [_percent(group.bar), _verdict(group.verdict)]


def _errors(errors: Misses, number: int | None = None) -> list[str]:
    """Cells: how many cases (`number` where some of them have no result), and their errors."""
    sizes = [_percent(errors.median), _percent(errors.ninetieth), _percent(errors.bias, "+")]
    count = errors.number if number is None else number
    return [str(count), *sizes, html.escape(errors.dominant or "-")]


def _case_table(results: Sequence[CaseResult]) -> str:
    rows = []
    for r in sorted(results, key=lambda r: (r.case.kind, r.case.group, r.case.case)):
        case = r.case
        simulated = "-" if r.problem else quantity.show(r.simulated, case.unit)
        cells = [case.case, case.group, case.metric, quantity.show(case.value, case.unit)]
        cells += [simulated, _percent(r.error, "+"), case.tolerance]
        texts = [html.escape(cell) for cell in cells]
        about = html.escape(f"{case.source}. {r.problem or case.note}")
        rows.append(_row([*texts, _verdict(r.verdict), about]))
    head = ("case", "group", "result", "published", "simulated", "error", "allowed", "verdict")
    return _table((*head, "source and note"), rows)


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _verdict(text: str) -> str:
    return f'<span class="{text}">{text}</span>'


def _percent(value: float, sign: str = "") -> str:
    return quantity.share(value, 1, sign)


def _plot(group: CaseGroup, results: Sequence[CaseResult]) -> str:
    """Predicted over measured of one group, both logarithmic."""
    points = [r for r in results if r.case.group == group.name and r.case.kind == "outcome"]
    points = [r for r in points if not r.problem and r.simulated > 0]
    if not points:
        return ""
    values = [math.log10(v) for r in points for v in (r.case.value, r.simulated)]
    low, high = math.floor(min(values) * 2) / 2, math.ceil(max(values) * 2) / 2
    high = high if high > low else low + 0.5
    inner = _SIDE - 2 * _MARGIN

    def at(value: float) -> float:
        return (math.log10(value) - low) / (high - low) * inner

    marks = "".join(
        f'<circle cx="{_MARGIN + at(r.case.value):.1f}" '
        f'cy="{_SIDE - _MARGIN - at(r.simulated):.1f}" r="3" stroke="#0b5394" '
        f'fill="{"#0b5394" if r.case.unseen else "none"}"><title>{html.escape(r.case.case)}: '
        f"{_percent(r.error, '+')}</title></circle>"
        for r in points
    )
    unit = points[0].case.unit
    first, last = (html.escape(quantity.show(10.0**v, unit)) for v in (low, high))
    end = _SIDE - _MARGIN
    return f"""<figure><svg width="{_SIDE}" height="{_SIDE}" role="img"
aria-label="{html.escape(group.name)}">
<rect x="{_MARGIN}" y="{_MARGIN}" width="{inner}" height="{inner}" fill="none" stroke="#999"/>
<line x1="{_MARGIN}" y1="{end}" x2="{end}" y2="{_MARGIN}" stroke="#999" stroke-dasharray="4"/>
{marks}
<text x="{_MARGIN}" y="{_SIDE - 16}" font-size="11">{first}</text>
<text x="{end}" y="{_SIDE - 16}" font-size="11" text-anchor="end">{last} measured</text>
<text x="{_MARGIN}" y="{_MARGIN - 8}" font-size="11">predicted</text></svg>
<figcaption>{html.escape(group.name)}: {group.number} cases, median {_percent(group.every.median)}
</figcaption></figure>"""


def _off(result: CaseResult) -> str:
    return f"error {quantity.share(result.error, 2, '+')}"


def junit(name: str, results: Sequence[CaseResult]) -> str:
    """JUnit XML: a test case for each group of outcomes, each identity and each bound.

    name : of the test suite.
    """
    entries = [(g.name, "outcome", g.verdict, g.said) for g in groups(results)]
    entries += [
        (r.case.case, r.case.kind, r.verdict, r.problem or _off(r))
        for r in results
        if r.case.kind != "outcome"
    ]
    cases = [
        JUnitCase(
            title,
            failure=text if verdict == "FAILED" else None,
            skipped=f"known miss: {text}" if verdict == "known miss" else None,
            group=kind,
        )
        for title, kind, verdict, text in entries
    ]
    return document(name, "", cases)
