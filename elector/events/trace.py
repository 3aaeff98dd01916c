"""A timeline for people: Chrome/Perfetto trace file, utilisation and power over time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from elector.base import quantity, spelling
from elector.base.output import save_picture, whole
from elector.base.table import Column
from elector.cost import pricing
from elector.evaluation.path import Chunk, inspect, require_feasible
from elector.events.engine import Span
from elector.events.timeline import Timeline, timeline
from elector.hybrid.assign import TRANSFER
from elector.hybrid.read import CHOICES
from elector.operations.rows import Row
from elector.technology import Technology

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Array = np.ndarray

#: Parts of the energy that are spent while main memory transfers.
MEMORY_PARTS = ("main memory", "interface")
BINS = 400
#: What a phase goes through its layers again for.
TURNS = {"decode": "token", "forward": "micro-batch", "backward": "micro-batch"}
#: Kind of operation -> its place in the palette, the same in every picture.
KINDS = (*CHOICES["kind"], TRANSFER)
#: Colours of lines that the colour-blind can tell apart, too (Okabe and Ito 2008).
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


@dataclass(frozen=True, repr=False)
class Trace:
    """A timeline with what its spans cost.

    edges : (T + 1,) bin edges [s]; utilization : resource, or group of them, -> (T,) share of a
        bin it is busy, on average;
    watts : (T,) power; closed_s : seconds of the closed form for the same design.
    """

    title: str
    timeline: Timeline
    edges: Array
    utilization: dict[str, Array]
    watts: Array
    closed_s: float

    def __repr__(self) -> str:
        seconds = quantity.show(self.timeline.seconds, "s")
        return f"<trace of {self.title}: {seconds}, {len(self.timeline.spans):,} pieces>"

    @property
    def frame(self) -> pd.DataFrame:
        """The pieces as a table: resource, operation, layer, phase, stream, start_s, end_s."""
        import pandas as pd

        rows = self.timeline.rows
        names = ("resource", "operation", "layer", "phase", "stream", "start_s", "end_s")
        pieces = [
            (
                s.resource,
                rows[s.row].name,
                rows[s.row].layer,
                rows[s.row].phase,
                s.stream,
                s.start,
                s.end,
            )
            for s in self.timeline.spans
        ]
        return pd.DataFrame(pieces, columns=list(names))

    @property
    def joules(self) -> float:
        """Energy of the step: the power over all bins."""
        return float((self.watts * np.diff(self.edges)).sum())


def trace(columns: Mapping[str, Column], title: str, technology: Technology | None = None) -> Trace:
    """Run the event-driven model of one design.

    Raises InputError for bad settings, InfeasibleError for a design that cannot run.

    title : of the trace, in pictures and files.
    """
    chunk = inspect(columns, technology or Technology.load())
    require_feasible(chunk)
    line = timeline(chunk)
    edges = np.linspace(0.0, line.seconds, BINS + 1)
    spans = {name: _arrays(line.spans, name) for name in line.busy}
    use: dict[str, Array] = {}
    kinds = [group(name) for name in spans]
    for name, s in spans.items():
        taken = (s[1] - s[0]) * s[3]
        share = _spread(edges, *s[:2], taken) / np.diff(edges) / kinds.count(group(name))
        use[group(name)] = use.get(group(name), 0.0) + share
    return Trace(
        title, line, edges, use, _watts(chunk, line, edges, spans), float(chunk.timing.seconds[0])
    )


def _arrays(spans: list[Span], resource: str) -> tuple[Array, Array, Array, Array]:
    """Start, end, row and amount of the spans of a resource."""
    mine = [s for s in spans if s.resource == resource]
    return (
        np.array([s.start for s in mine]),
        np.array([s.end for s in mine]),
        np.array([s.row for s in mine], dtype=np.intp),
        np.array([s.amount for s in mine]),
    )


def _spread(edges: Array, start: Array, end: Array, amount: Array) -> Array:
    """(T,) of `amount` that falls into each bin, spread evenly over its span."""
    if not start.size:
        return np.zeros(edges.size - 1)
    total = np.zeros(edges.size)
    length = np.maximum(end - start, 1e-300)
    # The integral of a span up to t is a ramp; summed ramps at the edges give the bins.
    for i, edge in enumerate(edges):
        total[i] = float((amount * np.clip((edge - start) / length, 0.0, 1.0)).sum())
    return np.diff(total)


def _watts(
    chunk: Chunk, line: Timeline, edges: Array, spans: Mapping[str, tuple[Array, ...]]
) -> Array:
    """(T,) power: each row's joules spread over its own spans, and what flows all the time.

    Joules of a row without spans (work inside a fused kernel) flow all the time, too.
    """
    rows = len(chunk.ops.rows)
    memory, compute = np.zeros(rows), np.zeros(rows)
    for name, count in chunk.activity.counts.items():
        joules = chunk.prices.actions[name].each(count)[:, 0]
        if chunk.machine.actions[name].part.rpartition(".")[2] in MEMORY_PARTS:
            memory += joules
        else:
            compute += joules
    total, lost = np.zeros(edges.size - 1), 0.0
    for joules, chosen in (
        (memory, [s for name, s in spans.items() if name.endswith("memory")]),
        (compute, [s for name, s in spans.items() if not name.endswith(("memory", "host"))]),
    ):
        start, end, row, amount = (
            (np.concatenate([np.zeros(0), *parts]) for parts in zip(*chosen, strict=True))
            if chosen
            else (np.zeros(0),) * 4
        )
        place, taken = row.astype(np.intp), (end - start) * amount
        busy = np.bincount(place, taken, rows)
        share = np.divide(joules, busy, out=np.zeros(rows), where=busy > 0)
        total += _spread(edges, start, end, share[place] * taken)
        lost += float(joules[busy == 0].sum())
    seconds = chunk.timing.seconds
    standing = float((pricing.standing(chunk.activity, chunk.prices, seconds) / seconds)[0])
    return total / np.diff(edges) + standing + lost / line.seconds


def group(resource: str) -> str:
    """Resources of one kind (crossbars of each matrix) share a line of the picture.

    resource : its name.
    """
    return resource.partition(":")[0]


def events(traced: Trace) -> dict[str, object]:
    """The trace in the JSON of chrome://tracing and Perfetto: times in microseconds.

    Neighbouring pieces of one operation are joined; edges are whole nanoseconds, so that no
    two spans of a track overlap. What several operations share has several tracks.
    """
    spans = _joined(traced.timeline.spans)
    tracks = _tracks(spans)
    names = {name: None for name in traced.timeline.busy} | dict.fromkeys(tracks)
    resources = {name: i + 1 for i, name in enumerate(sorted(names, key=_order(traced)))}
    listed: list[dict[str, object]] = [
        {"ph": "M", "pid": 1, "tid": 0, "name": "process_name", "args": {"name": traced.title}}
    ]
    for name, track in resources.items():
        listed.append(
            {"ph": "M", "pid": 1, "tid": track, "name": "thread_name", "args": {"name": name}}
        )
    rows = traced.timeline.rows
    listed += [
        _bar(span, rows[span.row], resources[name])
        for span, name in zip(spans, tracks, strict=True)
    ]
    return {"traceEvents": listed + _counters(traced), "displayTimeUnit": "ns"}


def _bar(span: Span, row: Row, track: int) -> dict[str, object]:
    """A piece of an operation on a track."""
    start, end = round(span.start * 1e9), round(span.end * 1e9)
    return {
        "ph": "X",
        "pid": 1,
        "tid": track,
        "name": row.name,
        "cat": row.kind,
        "ts": start / 1e3,
        "dur": (end - start) / 1e3,
        "args": {
            "layer": f"{row.layer} {span.layer + 1}",
            "sequence": span.stream + 1,
            "phase": row.phase,
            **({TURNS[row.phase]: span.turn + 1} if row.phase in TURNS else {}),
        },
    }


def _counters(traced: Trace) -> list[dict[str, object]]:
    """Power, and how busy each resource is, over time."""
    listed: list[dict[str, object]] = []
    for i, edge in enumerate(traced.edges[:-1]):
        at = {"ph": "C", "pid": 1, "ts": round(edge * 1e9) / 1e3}
        listed.append({**at, "name": "power", "args": {"W": round(float(traced.watts[i]), 6)}})
        for name, use in traced.utilization.items():
            share = {"%": round(100.0 * float(use[i]), 4)}
            listed.append({**at, "name": f"{name} utilization", "args": share})
    return listed


def _order(traced: Trace) -> Callable[[str], int]:
    """Place of a track: by its resource, in the order in which resources were first taken."""
    place = {name: i for i, name in enumerate(traced.timeline.busy)}
    return lambda name: place[name.partition(" #")[0]]


def _tracks(spans: list[Span]) -> list[str]:
    """The track of each span: the first of its resource that is free, numbered from the second."""
    tracks: list[str] = []
    free: dict[str, list[int]] = {}
    for s in spans:
        ends = free.setdefault(s.resource, [])
        start = round(s.start * 1e9)
        i = next((i for i, end in enumerate(ends) if end <= start), len(ends))
        ends[i : i + 1] = [round(s.end * 1e9)]
        tracks.append(s.resource if i == 0 else f"{s.resource} #{i + 1}")
    return tracks


def _joined(spans: list[Span]) -> list[Span]:
    """Pieces that follow one another without a gap become one span; by their start."""
    whole: list[Span] = []
    last: dict[tuple[str, int, int, int, int], int] = {}
    for s in sorted(spans, key=lambda span: span.start):
        key = (s.resource, s.row, s.turn, s.layer, s.stream)
        i = last.get(key)
        before = whole[i] if i is not None else None
        same = before is not None and before.amount == s.amount
        if i is not None and before is not None and same and s.start - before.end < 1e-12:
            whole[i] = replace(before, end=s.end)
        else:
            last[key] = len(whole)
            whole.append(s)
    return whole


def mix(traced: Trace, name: str, kinds: list[str]) -> dict[str, Array]:
    """Kind -> (T,) share of a bin that a group of resources is busy with it.

    A group of several (the crossbars of each matrix) counts as many as are ever busy at once as
    the whole: where one works after another, the one at work fills the line. Bars of single
    spans, thinner than a pixel, would hide one another: the last one drawn wins.

    name : of the group. kinds : which kinds of spans.
    """
    line = traced.timeline
    mine = [s for s in line.spans if group(s.resource) == name]
    busy = {}
    for kind in kinds:
        own = [s for s in mine if line.rows[s.row].kind == kind]
        start, end = np.array([s.start for s in own]), np.array([s.end for s in own])
        amount = np.array([s.amount for s in own])
        busy[kind] = _spread(traced.edges, start, end, (end - start) * amount)
    width = np.diff(traced.edges)
    total = sum(busy.values(), np.zeros(width.size))
    most = max(1.0, float((total / width).max()))
    return {kind: own / width / most for kind, own in busy.items()}


def _place(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def colour_of(kind: str) -> tuple[float, float, float, float]:
    """Red, green, blue and opacity of a kind of operation, grey for one without a place."""
    import matplotlib

    palette = matplotlib.colormaps["tab20"]
    order = (*range(0, 20, 2), *range(1, 20, 2))  # the strong colours first
    rest: tuple[float, float, float, float] = (0.5, 0.5, 0.5, 1.0)
    return palette(order[_place(kind)]) if kind in KINDS else rest


def write(traced: Trace, out: str) -> None:
    """Write the trace, whole or not at all.

    out : the file; - is standard output.
    """
    shown = spelling.dumps(events(traced), separators=(",", ":"))
    if out == "-":
        sys.stdout.write(f"{shown}\n")
        sys.stdout.flush()
        return
    with whole(Path(out)) as target:
        target.write_text(shown, encoding="utf-8")


def draw(traced: Trace, path: Path) -> None:
    """A picture: what each resource does while it is busy, its utilisation, and power."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    scale, unit = _time_unit(traced.timeline.seconds)
    figure, axes = plt.subplots(
        3,
        1,
        figsize=(12, 7.5 + 0.2 * max(len(traced.utilization) - 4, 0)),
        sharex=True,
        height_ratios=(2, 2, 1.4),
        layout="constrained",
    )
    middle = (traced.edges[:-1] + traced.edges[1:]) / 2.0 * scale
    _draw_kinds(axes[0], traced, scale)
    _draw_utilization(axes[1], traced, middle)
    axes[2].plot(middle, traced.watts, linewidth=1.0, color="#333333")
    axes[2].set_ylabel("power [W]")
    axes[2].set_ylim(bottom=0)
    axes[2].set_xlabel(
        f"time [{unit}]   (step {traced.timeline.seconds * scale:.4g} {unit}; "
        f"closed form {traced.closed_s * scale:.4g} {unit})"
    )
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    save_picture(figure, path, 130)
    plt.close(figure)


def _draw_kinds(ax: Axes, traced: Trace, scale: float) -> None:
    """A row for each resource, as high as it is busy, in the colours of what it works at.

    scale : of the unit of time.
    """
    from matplotlib.patches import Patch

    kinds = sorted(dict.fromkeys(row.kind for row in traced.timeline.rows), key=_place)
    colours = {kind: colour_of(kind) for kind in kinds}
    names = list(traced.utilization)
    for y, name in enumerate(names):
        ax.plot(traced.edges[[0, -1]] * scale, [y - 0.4] * 2, color="#bbbbbb", linewidth=0.6)
        base: Array = np.full(BINS, y - 0.4)
        for kind, part in mix(traced, name, kinds).items():
            top = base + 0.8 * part
            ax.fill_between(
                traced.edges * scale,
                np.append(base, base[-1]),
                np.append(top, top[-1]),
                step="post",
                color=colours[kind],
                linewidth=0,
            )
            base = top
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(-0.55, len(names) - 0.45)
    ax.set_ylabel("share of time busy, by kind")
    ax.set_title(traced.title, loc="left", fontweight="bold")
    handles = [Patch(color=colours[kind]) for kind in kinds]
    ax.legend(handles, kinds, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _draw_utilization(ax: Axes, traced: Trace, middle: Array) -> None:
    """A line for each resource; middle : (T,) of the bins, in the unit of time."""
    for i, (name, use) in enumerate(traced.utilization.items()):
        average = quantity.show(100.0 * float(use.mean()), "%")
        ax.plot(
            middle,
            100.0 * use,
            linewidth=1.0,
            color=LINES[i % len(LINES)],
            linestyle=("-", "--")[i // len(LINES) % 2],
            label=f"{name} ({average} on average)",
        )
    ax.set_ylabel("utilization [%]")
    ax.set_ylim(0, 105)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _time_unit(seconds: float) -> tuple[float, str]:
    for scale, unit in ((1e9, "ns"), (1e6, "us"), (1e3, "ms")):
        if seconds * scale < 1000.0:
            return scale, unit
    return 1.0, "s"
