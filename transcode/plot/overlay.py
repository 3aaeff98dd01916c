"""Two fronts in one picture, a panel for each pair of objectives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from elector.base.output import save_picture
from transcode.pareto import nondominated
from transcode.plot.figure import INK, fitting, ticks
from transcode.plot.picture import Axis, axis_of
from transcode.runs.comparison import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# from Okabe and Ito's palette: apart with any colour vision; the shapes differ, too
_COLOURS, _MARKERS = ("#0072B2", "#D55E00"), ("o", "^")
#: The first run is drawn wider, so that it shows where the second lies on it.
_WIDTHS, _SIZES, _ALPHAS = (4.5, 1.4), (34, 14), (0.4, 1.0)
_MOST = 5000
_DPI = 110
#: Numbers an axis has room for.
_TICKS = 6


def plot_comparison(comparison: Comparison, out: Path) -> Path:
    """Draws both fronts into `out` and returns it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names, axes = list(comparison.sides[0].objectives), _axes(comparison)
    pairs = [(i, j) for j in range(1, len(names)) for i in range(j)] or [(0, 0)]
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.8 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (i, j) in enumerate(pairs, 1):
        _panel(figure.add_subplot(rows, columns, place), comparison, axes, i, j)
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=2,
        frameon=False,
    )
    save_picture(figure, out, _DPI)
    return out


def _panel(ax: Axes, comparison: Comparison, axes: list[tuple[Axis, ...]], i: int, j: int) -> None:
    """One pair of objectives: the points of both, and each one's own staircase. Markers are
    hollow, so that neither run hides the other."""
    looks = zip(_COLOURS, _MARKERS, _WIDTHS, _SIZES, _ALPHAS, strict=True)
    sides = zip(comparison.sides, axes, looks, comparison.hypervolume, strict=True)
    for side, own, (colour, marker, width, size, alpha), volume in sides:
        x, y = own[i], own[j]
        shown = np.unique(np.linspace(0, len(x.values) - 1, min(len(x.values), _MOST)).astype(int))
        ax.scatter(
            x.values[shown],
            y.values[shown],
            s=size,
            facecolors="none",
            edgecolors=colour,
            marker=marker,
            alpha=0.6,
            linewidths=0.8,
            label=f"{side.folder}: hypervolume {volume:.6g}",
        )
        edge = np.flatnonzero(nondominated(np.stack([x.cost, y.cost], axis=1)))
        edge = edge[np.lexsort((y.cost[edge], x.cost[edge]))]
        ax.plot(
            x.values[edge],
            y.values[edge],
            drawstyle="steps-post",
            color=colour,
            lw=width,
            alpha=alpha,
        )
    for axis, which, set_scale in (
        (axes[0][i], ax.xaxis, ax.set_xscale),
        (axes[0][j], ax.yaxis, ax.set_yscale),
    ):
        if axis.log:
            set_scale("log")
        ticks(which, _of_both(axes, axis.name), _TICKS)
    ax.set_xlabel(fitting(axes[0][i].label, ax, high=False), color=INK)
    ax.set_ylabel(fitting(axes[0][j].label, ax, high=True), color=INK)
    ax.grid(True, color="#e3e3e3", lw=0.6)
    ax.set_axisbelow(True)


def _of_both(axes: list[tuple[Axis, ...]], name: str) -> Axis:
    """An objective with the values of both runs."""
    own = [axis for side in axes for axis in side if axis.name == name]
    return replace(own[0], values=np.concatenate([axis.values for axis in own]))


def _axes(comparison: Comparison) -> list[tuple[Axis, ...]]:
    """The objectives of either run, in units that suit both."""
    first, sizes = comparison.sides[0], [len(side.points) for side in comparison.sides]
    joined = []
    for place, (objective, sign) in enumerate(zip(first.described, first.signs, strict=True)):
        values = np.concatenate([side.points[:, place] for side in comparison.sides]) * sign
        joined.append(axis_of(objective, values))
    ends = np.cumsum(sizes)
    return [
        tuple(replace(axis, values=axis.values[end - size : end]) for axis in joined)
        for end, size in zip(ends, sizes, strict=True)
    ]
