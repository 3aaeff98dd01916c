"""What the page of a run says: data for its script, and the HTML that stands without it."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from elector.base import page, quantity
from elector.base.page import Columns
from transcode.pages import front, insight
from transcode.pages.baseline import Baseline
from transcode.plot.picture import Picture, info
from transcode.runs import query, snapshot
from transcode.space import registry_of, restore

NONE = "-"


@dataclass(frozen=True)
class Gathered:
    """Everything the page of a run needs.

    told : for the script, in JSON types. columns : its arrays. table : the designs that the page
    holds, as front.csv has them. size : designs of the whole front.
    """

    title: str
    moment: snapshot.Snapshot
    picture: Picture
    table: Mapping[str, Sequence[str]]
    size: int
    told: Mapping[str, Any]
    columns: Columns
    importances: Mapping[str, Mapping[str, float]]
    assumed: Mapping[str, np.ndarray]
    trust: Sequence[insight.Trust]
    baseline: Baseline | None


def gathered(folder: Path, baseline: Baseline | None) -> Gathered:
    """What there is to say of a run. Raises InfeasibleError where no design is feasible."""
    moment = snapshot.with_front(folder)
    picture = info(moment.columns, moment.head, moment.manifest["designs"] or None)
    rows = front.thinned(moment.size, [mark.index for mark in picture.marks])
    table, columns = front.take(moment.columns, rows), Columns()
    columns.numbers("id", np.array(table["id"], dtype=np.int64).astype(np.int32))
    shares, assumed = front.breakdowns(table, columns)
    importances = query.settled(folder, insight.importances)
    told = _told(moment, picture, rows, table, columns) | {
        "folder": str(folder),
        "breakdowns": [group.told() for group in shares],
        "convergence": query.settled(
            folder, lambda recorded: insight.convergence(recorded, moment.reference)
        ),
        "baseline": None if baseline is None else {"values": dict(baseline.values)},
    }
    told["parallel"] = _parallel(told["coded"], importances)
    return Gathered(
        title=f"{told['name']}: {moment.size:,} designs that nothing beats",
        moment=moment,
        picture=picture,
        table=table,
        size=moment.size,
        told=told,
        columns=columns,
        importances=importances,
        assumed=assumed,
        trust=insight.trust(Counter(table["accelerator"])),
        baseline=baseline,
    )


def _told(
    moment: snapshot.Snapshot,
    picture: Picture,
    rows: np.ndarray,
    table: Mapping[str, Sequence[str]],
    columns: Columns,
) -> dict[str, Any]:
    """Objectives, settings and marks of the designs that the page holds, at `rows` of the front."""
    axes = front.axes_told(_at(picture, rows), columns, table)
    coded = front.settings_told(table, columns)
    places = {int(row): i for i, row in enumerate(rows)}
    return {
        "name": moment.manifest["space"]["name"],
        "points": len(rows),
        "axes": axes,
        "coded": coded,
        "marks": [{"index": places[m.index], "title": m.title} for m in picture.marks],
        "colour": _colour(axes, coded),
        "bars": _bars(picture, rows, columns),
    }


def _colour(axes: Sequence[Mapping[str, Any]], coded: Sequence[Mapping[str, Any]]) -> str:
    """What colours show at first: the last objective that differs, or the first setting."""
    differ = [axis["name"] for axis in axes if axis["ends"][0] != axis["ends"][1]]
    return differ[-1] if len(axes) > 1 and differ else (*coded, *axes)[0]["name"]


def _at(picture: Picture, rows: np.ndarray) -> Picture:
    axes = tuple(replace(axis, values=axis.values[rows]) for axis in picture.axes)
    return replace(picture, axes=axes)


def _bars(picture: Picture, rows: np.ndarray, columns: Columns) -> list[str]:
    """Names of the objectives with error bars; their lengths, in its own unit, as columns."""
    for axis in picture.axes:
        if axis.name in picture.bars:
            low, high = picture.bars[axis.name][:, rows] * axis.size
            columns.numbers(f"low:{axis.name}", low.astype(np.float32))
            columns.numbers(f"high:{axis.name}", high.astype(np.float32))
    return list(picture.bars)


def _parallel(
    coded: Sequence[Mapping[str, Any]], importances: Mapping[str, Mapping[str, float]]
) -> list[Mapping[str, Any]]:
    """The settings among the parallel coordinates: those that matter most to some objective."""
    weight: Counter[str] = Counter()
    for shares in importances.values():
        weight.update(shares)
    order = sorted(coded, key=lambda entry: -weight[entry["name"]])[: front.PARALLEL]
    return [entry for entry in coded if entry in order]


# ---- HTML


def body(run: Gathered) -> str:
    """The page: every section of it, figures as tables where a script is not needed."""
    return "\n".join(
        [
            _head(run),
            '<h2 id="front">The front</h2>',
            "<p class=soft>Point at a design to see it, click to open it, drag to choose some: "
            "every view shows the same choice. Numbered: the knee and the best of each objective."
            + _bars_said(run.picture)
            + (" Red cross: the baseline." if run.baseline else "")
            + "</p>",
            '<div class="bar" id="filters"></div>',
            '<div class="split"><div>',
            '<div class="panels" id="panels"></div>',
            '</div><section id="design" aria-live="polite"></section></div>',
            "<h3>All of it at once</h3><p class=soft>A line is a design; drag over an axis to keep "
            "what passes there. Settings that matter most, then objectives.</p>",
            '<div class="part"><div class="panel tall" id="parallel"></div></div>',
            _best(run),
            '<h2 id="designs">Designs</h2>',
            '<div class="bar"><button id="csv" type="button">Export CSV</button>'
            '<button id="json" type="button">Export JSON</button>'
            '<button id="before" type="button">Previous</button>'
            '<button id="after" type="button">Next</button>'
            '<span id="page" role="status"></span></div>',
            '<div class="wide"><table id="rows"><thead></thead><tbody></tbody></table></div>',
            _important(run),
            _converged(run),
            _compared(run),
            _trusted(run),
            _again(run),
        ]
    )


def _bars_said(picture: Picture) -> str:
    if picture.intervals:
        return " Bars: intervals of 90 %; neighbours share part of their error."
    return " Bars: one standard deviation." if picture.bars else ""


def _head(run: Gathered) -> str:
    manifest = run.moment.manifest
    space, sampler = manifest["space"], manifest["sampler"]
    objectives = ", ".join(
        f"{axis['label']} ({'large' if axis['maximise'] else 'small'})" for axis in run.told["axes"]
    )
    words = [
        ("objectives", objectives),
        ("constraints", "; ".join([*space["where"], *space["constraints"]]) or "none"),
        ("workload", _workload(space)),
        ("searched", _searched(space)),
        (
            "evaluated",
            f"{manifest['designs']:,} designs, {manifest['feasible']:,} feasible; "
            f"{manifest.get('status', '')}",
        ),
        ("sampler", f"{sampler['used']}: {sampler['why']}"),
    ]
    if run.told["points"] < run.size:
        words.append(
            ("shown here", f"{run.told['points']:,} of {run.size:,}, spread over the front")
        )
    items = "".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in words)
    return f"<h1>{_text(run.title)}</h1><h2>What was asked</h2><dl>{items}</dl>"


def _workload(space: Mapping[str, Any]) -> str:
    single = [
        f"{p['name'].removeprefix('workload.')} {p['values'][0]}"
        for p in space["parameters"]
        if p["name"].startswith("workload.") and len(p["values"]) == 1
    ]
    own = [
        f"{name} (" + ", ".join(f"{k.partition('.')[2]} {v}" for k, v in given.items()) + ")"
        for name, given in space["workloads"].items()
        if name
    ]
    return "; ".join([", ".join(single), *own]).strip("; ") or "the default"


def _searched(space: Mapping[str, Any]) -> str:
    names = [
        p["name"]
        for p in space["parameters"]
        if len(p["values"]) > 1 or "multiple_of" in p or p["name"] in ("model", "accelerator")
    ]
    plain = list(
        dict.fromkeys(n for n in names if not n.startswith("model.layer") or n.count(".") < 2)
    )
    layers = len(set(names)) - len(plain)
    return ", ".join(plain) + (f", and {layers} settings of single layers" if layers > 0 else "")


def _best(run: Gathered) -> str:
    header = ["", "design", *(axis["label"] for axis in run.told["axes"]), "settings"]
    rows = []
    for place, mark in enumerate(run.told["marks"]):
        i = mark["index"]
        cells = [_shown(run, axis, i) for axis in run.told["axes"]]
        button = f'<button type="button" data-design="{i}">{_text(run.table["id"][i])}</button>'
        settings = run.picture.marks[place].settings
        rows.append(
            f'<tr><th scope="row">{place + 1} {_text(mark["title"])}</th><td>{button}</td>'
            + "".join(f"<td>{_text(cell)}</td>" for cell in cells)
            + f'<td class="words">{_text(settings)}</td></tr>'
        )
    words = (0, len(header) - 1)
    head = "".join(
        f'<th scope="col"{" class=text" if place in words else ""}>{_text(cell)}</th>'
        for place, cell in enumerate(header)
    )
    return (
        "<h2>Knee and champions</h2>"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
        "</table></div>"
    )


def _shown(run: Gathered, axis: Mapping[str, Any], i: int) -> str:
    known = next(a for a in run.picture.axes if a.name == axis["name"])
    return front.shown(known, float(run.table[axis["name"]][i]))


def _important(run: Gathered) -> str:
    if not run.importances:
        return ""
    blocks = []
    for name, shares in run.importances.items():
        label = next((a["label"] for a in run.told["axes"] if a["name"] == name), name)
        most = list(shares.items())[:10]
        rows = "".join(
            f'<tr><th scope="row">{_text(key)}</th><td>{100 * share:.1f} %</td><td class="text">'
            f'<span class="meter" style="width:{90 * share:.0f}px"></span></td></tr>'
            for key, share in most
        )
        table = f"<table><tbody>{rows}</tbody></table>"
        blocks.append(f'<div class="part"><h3>{_text(label)}</h3>{table}</div>')
    return (
        "<h2>Which settings matter</h2><p class=soft>How much each setting decides whether a "
        f"design is among the best tenth (Optuna's PED-ANOVA, of at most {insight.SAMPLE:,} "
        "recorded designs; a sampler that learns has not looked everywhere alike).</p>"
        f'<div class="panels">{"".join(blocks)}</div>'
    )


def _converged(run: Gathered) -> str:
    curve = run.told["convergence"]
    if not curve:
        return ""
    half = next((n for n, share in curve if share >= 0.99), curve[-1][0])
    return (
        "<h2>Convergence</h2>"
        f"<p>99 % of the hypervolume was there after {half:,} of "
        f"{curve[-1][0]:,} designs.</p>"
        '<div class="panel" id="convergence"></div>'
    )


def _compared(run: Gathered) -> str:
    baseline = run.baseline
    if baseline is None:
        return (
            "<h2>Beside a baseline</h2><p class=soft>None was given: "
            f"<code>transcode report {_text(str(run.moment.folder))} --baseline ID</code>, or a "
            "table of elector sweep.</p>"
        )
    axes = [a for a in run.told["axes"] if a["name"] in baseline.values]
    known = {a.name: a for a in run.picture.axes}
    rows = [
        [baseline.name, *(front.shown(known[a["name"]], baseline.values[a["name"]]) for a in axes)]
    ]
    for mark in run.told["marks"]:
        cells = [
            _ratio(float(run.table[a["name"]][mark["index"]]), baseline.values[a["name"]])
            for a in axes
        ]
        rows.append([mark["title"], *cells])
    better = _dominating(run, axes)
    return (
        "<h2>Beside a baseline</h2>"
        + page.table(["", *(a["label"] for a in axes)], rows)
        + f"<p>{better:,} of the {run.told['points']:,} designs shown are at least as good in "
        "every objective compared, and better in one.</p>"
    )


def _ratio(value: float, reference: float) -> str:
    return f"{quantity.plain(value / reference, 3)} x" if reference else NONE


def _dominating(run: Gathered, axes: Sequence[Mapping[str, Any]]) -> int:
    assert run.baseline is not None
    ahead = []
    for axis in axes:
        values = np.array(run.table[axis["name"]], dtype=float)
        difference = run.baseline.values[axis["name"]] - values
        ahead.append(-difference if axis["maximise"] else difference)
    gains = np.stack(ahead)
    return int(((gains >= 0).all(axis=0) & (gains > 0).any(axis=0)).sum())


def _trusted(run: Gathered) -> str:
    parts = ["<h2>How far to trust these numbers</h2>"]
    accuracy = run.moment.manifest.get("accuracy")
    if isinstance(accuracy, Mapping) and accuracy.get("text"):
        lines = str(accuracy["text"]).splitlines()
        parts.append(f"<p>{'<br>'.join(_text(line.strip()) for line in lines)}</p>")
    for workload, shares in run.assumed.items():
        name = f"{workload}: " if workload else ""
        parts.append(
            f"<p>{_text(name)}{100 * float(np.median(shares)):.0f} % of the energy of the median "
            f"design rests on assumed prices ({100 * float(shares.min()):.0f} to "
            f"{100 * float(shares.max()):.0f} % over the front); each design says its own.</p>"
        )
    rows = [
        [
            t.kind,
            f"{t.cases}",
            f"{100 * t.median:.1f} %" if t.cases else NONE,
            f"{100 * t.worst:.1f} %" if t.cases else NONE,
            f"{t.outside}",
        ]
        for t in run.trust
    ]
    header = ["machines on the front", "published cases", "median error", "largest", "outside"]
    parts.append(page.table(header, rows))
    parts.append(
        "<p class=soft>Published figures of machines of the same kind, repeated: "
        "<code>elector validate</code>.</p>"
    )
    return "".join(parts)


def _again(run: Gathered) -> str:
    manifest, folder = run.moment.manifest, str(run.moment.folder)
    known = registry_of(restore(manifest["space"]))
    lines = [
        manifest.get("command") or f"transcode search {manifest['space']['name']}",
        f"transcode front {folder}",
        f"elector sweep {folder}/front.csv --out again.csv   # every figure, bit for bit",
        f"transcode report {folder}",
    ]
    versions = {"simulator": manifest["simulator"].get("version"), **manifest.get("versions", {})}
    reference = manifest.get("reference_point") or {}
    point = ", ".join(f"{n} {known.show(n, v)}" for n, v in reference.items())
    volume = manifest.get("hypervolume")
    words = [
        ("seed", str(manifest["seed"])),
        ("hypervolume", NONE if volume is None else f"{volume:.8g} against {point}"),
        ("space, sha256", str(manifest["space_sha256"])),
        ("versions", ", ".join(f"{name} {value}" for name, value in versions.items())),
    ]
    items = "".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in words)
    text = _text("\n".join(lines))
    return f"<h2>How to reproduce it</h2><pre>{text}</pre><dl>{items}</dl>"


def _text(value: str) -> str:
    return html.escape(value)
