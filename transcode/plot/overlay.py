"""Two fronts in one picture, a panel for each pair of objectives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from elector.base.output import save_picture
from transcode.pareto import nondominated
from transcode.plot.figure import INK
from transcode.runs.comparison import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# from Okabe and Ito's palette: apart with any colour vision; the shapes differ, too
_COLOURS, _MARKERS = ("#0072B2", "#D55E00"), ("o", "^")
_MOST = 5000
_DPI = 110


def plot_comparison(found: Comparison, out: Path) -> Path:
    """Draws both fronts into `out` and returns it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(found.sides[0].objectives)
    pairs = [(i, j) for j in range(1, len(names)) for i in range(j)] or [(0, 0)]
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.8 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (i, j) in enumerate(pairs, 1):
        _panel(figure.add_subplot(rows, columns, place), found, names, i, j)
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=2,
        frameon=False,
    )
    save_picture(figure, out, _DPI)
    return out


def _panel(ax: Axes, found: Comparison, names: list[str], i: int, j: int) -> None:
    """One pair of objectives: the points of both, and each one's own staircase."""
    for side, colour, marker, volume in zip(
        found.sides, _COLOURS, _MARKERS, found.hypervolume, strict=True
    ):
        signs = np.array([-1.0 if d == "max" else 1.0 for d in side.objectives.values()])
        pair = side.points[:, [i, j]]
        values = side.points * signs
        shown = np.unique(np.linspace(0, len(pair) - 1, min(len(pair), _MOST)).astype(np.intp))
        ax.scatter(
            values[shown, i],
            values[shown, j],
            s=9,
            color=colour,
            marker=marker,
            alpha=0.35,
            linewidths=0,
            label=f"{side.folder}: hypervolume {volume:.6g}",
        )
        edge = np.flatnonzero(nondominated(pair))
        edge = edge[np.lexsort((pair[edge, 1], pair[edge, 0]))]
        ax.plot(values[edge, i], values[edge, j], drawstyle="steps-post", color=colour, lw=1.4)
    for axis, set_scale in ((i, ax.set_xscale), (j, ax.set_yscale)):
        both = np.concatenate([np.abs(s.points[:, axis]) for s in found.sides])
        if both.min() > 0 and both.max() > 20 * both.min():
            set_scale("log")
    ax.set_xlabel(names[i], color=INK)
    ax.set_ylabel(names[j], color=INK)
    ax.grid(True, color="#e3e3e3", lw=0.6)
    ax.set_axisbelow(True)
