"""The figure of a `Picture`: panels, staircases, numbered designs. matplotlib waits until drawn."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from transcode.pareto import nondominated, spread
from transcode.plot.picture import Axis, Picture, is_accuracy, rank

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 20_000  # more are thinned evenly: nobody sees the difference
MAX_BARS = 40  # error bars in a panel
INK, FAINT, STAIRS = "#222222", "#8a8a8a", "#D55E00"  # the last from Okabe and Ito's palette
COLOURS = "cividis"  # reads the same with any colour vision, and in grey
MARKERS = "os^Dv*"


def draw(picture: Picture) -> Figure:
    """The figure, 1200 pixels wide at 100 dots per inch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec

    count = len(picture.axes)
    panels = max(1, count - 1)
    height = {1: 6.6, 2: 8.2, 3: 10.0}.get(panels, 12.0)
    figure = Figure(figsize=(12.0, height))
    FigureCanvasAgg(figure)
    caption = textwrap.wrap(picture.caption, 158)
    bottom = (0.72 + 0.17 * len(caption)) / height
    wide = {"right": 0.99} if panels > 1 else {"right": 0.66}
    grid = GridSpec(panels, panels, figure, left=0.075, top=1 - 0.5 / height, bottom=bottom,
                    wspace=0.09, hspace=0.09, **wide)  # fmt: skip
    first: dict[tuple[int, int], Axes] = {}
    for row in range(panels):
        for column in range(row + 1):
            sharey = first.get((row, 0)) if column else None
            sharex = first.get((column, column))
            ax = figure.add_subplot(grid[row, column], sharex=sharex, sharey=sharey)
            first[row, column] = ax
            _panel(ax, picture, column, row + 1 if count > 1 else None)
            _label(ax, picture, row, column, panels)
    figure.text(0.01, 1 - 0.3 / height, picture.title, size=13, weight="bold", color=INK)
    figure.text(0.01, 0.1 / height, "\n".join(caption), size=8.6, color="#555555", va="bottom")
    _beside(figure, picture, grid, panels)
    figure.canvas.draw()
    for (row, column), ax in first.items():
        _badges(ax, picture, column, row + 1 if count > 1 else None)
    return figure


def _panel(ax: Axes, picture: Picture, column: int, row: int | None) -> None:
    """One pair: every design, the pair's staircase, error bars on an accuracy."""
    x = picture.axes[column]
    y = picture.axes[row] if row is not None else rank(x)
    colour = picture.axes[picture.colour]
    norm = _norm(colour)
    edge = np.zeros(len(x.values), dtype=bool)
    edge[nondominated(np.stack([x.cost, y.cost], axis=1))] = True
    order = np.flatnonzero(edge)[np.lexsort((y.cost[edge], x.cost[edge]))]
    ax.plot(x.values[order], y.values[order], drawstyle="steps-post", color=STAIRS, lw=1.6,
            alpha=0.9, zorder=3, label="_stairs")  # fmt: skip
    if row is not None and picture.std is not None and is_accuracy(y.name):
        _bars(ax, x, y, picture.std, order)
    shown = np.unique(np.linspace(0, len(edge) - 1, min(len(edge), MAX_POINTS)).astype(np.intp))
    size = float(np.clip(4000.0 / max(1, len(shown)), 6.0, 26.0))
    for code in range(len(picture.kinds)):
        for chosen, faint in ((shown[(picture.kind[shown] == code) & ~edge[shown]], True),
                              (np.flatnonzero((picture.kind == code) & edge), False)):  # fmt: skip
            ax.scatter(x.values[chosen], y.values[chosen], c=colour.values[chosen], norm=norm,
                       cmap=COLOURS, marker=MARKERS[code], s=size if faint else size + 14,
                       alpha=0.45 if faint else 1.0, linewidths=0 if faint else 0.5,
                       edgecolors="none" if faint else INK, zorder=2 if faint else 4)  # fmt: skip
    for axis, scale in ((x, ax.set_xscale), (y, ax.set_yscale)):
        if axis.log:
            scale("log")
    ax.margins(0.07)
    ax.grid(True, which="major", color="#e3e3e3", lw=0.6)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _bars(ax: Axes, x: Axis, y: Axis, std: np.ndarray, order: np.ndarray) -> None:
    """One standard deviation on an even choice of the staircase."""
    points = np.stack([x.cost, y.cost], axis=1)[order]
    some = order[spread(points, MAX_BARS)]
    ax.errorbar(x.values[some], y.values[some], yerr=std[some], fmt="none", ecolor=FAINT,
                elinewidth=0.8, capsize=1.8, alpha=0.8, zorder=1)  # fmt: skip


def _label(ax: Axes, picture: Picture, row: int, column: int, panels: int) -> None:
    """Labels and numbers on the outer panels only."""
    ax.tick_params(labelsize=9.5, color=FAINT, labelcolor=INK)
    x = picture.axes[column]
    y = picture.axes[row + 1] if len(picture.axes) > 1 else rank(x)
    for which, axis in ((ax.xaxis, x), (ax.yaxis, y)):
        _ticks(which, axis)
    if row == panels - 1:
        ax.set_xlabel(x.label, size=11, color=INK)
    else:
        ax.tick_params(labelbottom=False)
    if column == 0:
        ax.set_ylabel(y.label, size=11, color=INK)
        ax.yaxis.set_label_coords(-0.052 * 12 / _width(ax), 0.5)
    else:
        ax.tick_params(labelleft=False)


def _ticks(which: Any, axis: Axis) -> None:
    """Plain numbers, as many as fit."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if not axis.log:
        which.set_major_locator(MaxNLocator(5))
        return
    decades = np.log10(axis.values.max() / axis.values.min())
    subs = (1.0, 2.0, 5.0) if decades < 2.2 else (1.0, 3.0) if decades < 3.2 else (1.0,)
    which.set_major_locator(LogLocator(subs=subs, numticks=12))
    which.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    which.set_minor_formatter(NullFormatter())


def _beside(figure: Figure, picture: Picture, grid: Any, panels: int) -> None:
    """Colour bar, shapes and the numbered designs, in the space the panels leave."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.lines import Line2D

    if panels > 1:
        box = grid[0, 1].get_position(figure)
        left, top, right = box.x0 + 0.03, box.y1, 0.99
    else:
        box = grid[0, 0].get_position(figure)
        left, top, right = box.x1 + 0.03, box.y1, 0.99
    inch = 1.0 / float(figure.get_size_inches()[1])
    colour = picture.axes[picture.colour]
    bar = figure.add_axes((left, top - 0.16 * inch, min(0.3, right - left), 0.14 * inch))
    drawn = figure.colorbar(
        ScalarMappable(_norm(colour), COLOURS), cax=bar, orientation="horizontal"
    )
    drawn.ax.tick_params(labelsize=9)
    drawn.set_label(colour.label, size=9.5)
    drawn.outline.set_visible(False)
    _ticks(drawn.ax.xaxis, colour)
    handles = [Line2D([], [], color=STAIRS, lw=1.6, label="best in the two objectives shown")]
    if len(picture.kinds) > 1:
        handles += [
            Line2D(
                [],
                [],
                ls="",
                marker=MARKERS[i],
                color="#606060",
                ms=6,
                label=f"{picture.kind_title} {name}".strip(),
            )
            for i, name in enumerate(picture.kinds)
        ]
    if picture.std is not None:
        handles.append(Line2D([], [], ls="", marker="|", ms=11, color=FAINT,
                              label="accuracy ± one standard deviation"))  # fmt: skip
    columns = 2 if right - left > 0.36 and len(handles) > 2 else 1
    anchor = (left - 0.01, top - 0.56 * inch)
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=anchor, fontsize=9.5,
                  ncols=columns, frameon=False, handletextpad=0.5, labelcolor=INK)  # fmt: skip
    rows = -(-len(handles) // columns)
    y = top - (0.74 + 0.205 * rows) * inch
    limit = int((right - left) * 12 * 100 / 6.3)
    for number, mark in enumerate(picture.marks, 1):
        figure.text(left + 0.004, y, str(number), size=8.5, weight="bold", color="white",
                    va="top", ha="center", bbox=_badge())  # fmt: skip
        lines = [part for line in mark.lines for part in textwrap.wrap(line, limit - 3)]
        figure.text(left + 0.02, y, mark.title, size=9.5, weight="bold", color=INK, va="top")
        figure.text(left + 0.02, y - 0.185 * inch, "\n".join(lines), size=9, color=INK, va="top",
                    linespacing=1.25)  # fmt: skip
        y -= (0.31 + 0.165 * len(lines)) * inch


def _badges(ax: Axes, picture: Picture, column: int, row: int | None) -> None:
    """Numbers at the marked designs, moved apart until none covers another."""
    x = picture.axes[column]
    y = picture.axes[row] if row is not None else rank(x)
    places = [ax.transData.transform((x.values[m.index], y.values[m.index])) for m in picture.marks]
    frame, taken = ax.get_window_extent(), [np.asarray(place) for place in places]
    for number, place in enumerate(places, 1):
        best, found = -np.inf, np.zeros(2)
        for reach in (17.0, 27.0, 38.0):
            for angle in np.arange(8) * np.pi / 4 + np.pi / 4:
                spot = place + reach * np.array([np.cos(angle), np.sin(angle)])
                edges = (
                    spot[0] - frame.x0,
                    frame.x1 - spot[0],
                    spot[1] - frame.y0,
                    frame.y1 - spot[1],
                )
                room = min(*(float(np.hypot(*(spot - t))) for t in taken), 26.0)
                score = room - 0.12 * reach + 3.0 * min(0.0, min(edges) - 9.0)
                if score > best + 1e-6:
                    best, found = score, spot
        taken.append(found)
        ax.annotate(str(number), xy=(x.values[picture.marks[number - 1].index],
                                     y.values[picture.marks[number - 1].index]),
                    xytext=(found - place) * 72.0 / ax.figure.dpi, textcoords="offset points",
                    ha="center", va="center", size=8, weight="bold", color="white", zorder=6,
                    bbox=_badge(), annotation_clip=False,
                    arrowprops={"arrowstyle": "-", "color": INK, "lw": 0.7, "shrinkA": 0,
                                "shrinkB": 2})  # fmt: skip


def _badge() -> dict[str, Any]:
    return {"boxstyle": "circle,pad=0.22", "facecolor": INK, "edgecolor": "white", "linewidth": 0.6}


def _norm(axis: Axis) -> Any:
    from matplotlib.colors import LogNorm, Normalize

    low, high = float(axis.values.min()), float(axis.values.max())
    return (LogNorm if axis.log else Normalize)(low, high if high > low else low + 1.0)


def _width(ax: Axes) -> float:
    return float(ax.get_position().width) * 12.0
