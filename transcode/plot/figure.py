"""The figure of a `Picture`: panels, staircases, numbered designs. matplotlib waits until drawn."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from elector.base.output import lay_out
from transcode.pareto import nondominated, spread
from transcode.plot.picture import Axis, Mark, Picture, quantity_of, rank

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

WIDTH = 12.0  # inches: 1200 pixels at 100 dots per inch
MAX_POINTS = 20_000  # more are thinned evenly: nobody sees the difference
MAX_BARS = 40  # error bars in a panel
MAX_INTERVALS = 12  # of both objectives, which are wide
TITLE = 100  # letters of a line of the title
INK, FAINT, STAIRS = "#222222", "#8a8a8a", "#D55E00"  # the last from Okabe and Ito's palette
COLOURS = "cividis"  # reads the same with any colour vision, and in grey
MARKERS = "os^Dv*"
#: Inches that a letter of a name beside an axis takes, a wide one.
_LETTER = 0.095
Box = tuple[float, float, float, float]  # left, bottom, right, top as shares of the figure


def draw(picture: Picture) -> Figure:
    """The figure, 1200 pixels wide at 100 dots per inch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = max(1, len(picture.axes) - 1)
    titles = textwrap.wrap(picture.title, TITLE)
    height = {1: 6.6, 2: 8.6, 3: 10.2}.get(panels, 12.2) + 0.22 * (len(titles) - 1)
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    caption = textwrap.wrap(picture.caption, 186)
    title = "\n".join(titles)
    figure.text(0.01, 1 - 0.12 / height, title, size=13, weight="bold", color=INK, va="top")
    figure.text(0.01, 0.08 / height, "\n".join(caption), size=8.6, color="#555555", va="bottom")
    right, top = (0.99 if panels > 1 else 0.66), 1 - (0.28 + 0.22 * len(titles)) / height
    places = _places((0.078, (0.72 + 0.17 * len(caption)) / height, right, top), panels)
    drawn: dict[tuple[int, int], Axes] = {}
    for (row, column), (x0, y0, x1, y1) in places.items():
        if column > row:
            continue
        sharing = {"sharex": drawn.get((column, column)), "sharey": drawn.get((row, 0))}
        ax = figure.add_axes(
            (x0, y0, x1 - x0, y1 - y0), sharex=sharing["sharex"], sharey=sharing["sharey"]
        )
        drawn[row, column] = ax
        _panel(ax, picture, *_pair(picture, row, column))
        _label(ax, *_pair(picture, row, column), left=column == 0, bottom=row == panels - 1)
    _beside(figure, picture, places, panels)
    lay_out(figure)
    for (row, column), ax in drawn.items():
        _badges(ax, picture, *_pair(picture, row, column))
    return figure


def _pair(picture: Picture, row: int, column: int) -> tuple[Axis, Axis]:
    """Horizontal and vertical objective of a panel."""
    x = picture.axes[column]
    return x, picture.axes[row + 1] if len(picture.axes) > 1 else rank(x)


def _places(box: Box, panels: int) -> dict[tuple[int, int], Box]:
    """Boxes of a square grid of panels, row by row from the top."""
    left, bottom, right, top = box
    gap_x, gap_y = 0.03, 0.028
    width = (right - left - gap_x * (panels - 1)) / panels
    height = (top - bottom - gap_y * (panels - 1)) / panels
    places = {}
    for row in range(panels):
        for column in range(panels):
            x, y = left + column * (width + gap_x), top - row * (height + gap_y)
            places[row, column] = (x, y - height, x + width, y)
    return places


def _panel(ax: Axes, picture: Picture, x: Axis, y: Axis) -> None:
    """One pair: every design, the pair's staircase, error bars on an accuracy."""
    edge = nondominated(np.stack([x.cost, y.cost], axis=1))
    order = np.flatnonzero(edge)[np.lexsort((y.cost[edge], x.cost[edge]))]
    ax.plot(
        x.values[order],
        y.values[order],
        drawstyle="steps-post",
        color=STAIRS,
        lw=1.6,
        alpha=0.9,
        zorder=3,
    )
    _bars(ax, picture, (x, y), order)
    size = _points(ax, picture, (x, y), edge)
    marked = [mark.index for mark in picture.marks]
    ax.scatter(
        x.values[marked],
        y.values[marked],
        s=size + 40,
        facecolors="none",
        edgecolors=INK,
        linewidths=0.9,
        zorder=5,
    )
    _frame(ax, x, y)


def _bars(ax: Axes, picture: Picture, pair: tuple[Axis, Axis], order: np.ndarray) -> None:
    """Error bars at some of the designs `order`, spread over them."""
    x, y = pair
    bars_of = [picture.bars.get(axis.name) for axis in pair]
    if not picture.intervals:  # of an accuracy, which is a vertical axis
        bars_of[0] = None
    if all(bars is None for bars in bars_of):
        return
    points = np.stack([x.cost, y.cost], axis=1)[order]
    some = order[spread(points, MAX_INTERVALS if picture.intervals else MAX_BARS)]
    across, up = (None if bars is None else bars[:, some] for bars in bars_of)
    ax.errorbar(
        x.values[some],
        y.values[some],
        xerr=across,
        yerr=up,
        fmt="none",
        ecolor=FAINT,
        elinewidth=0.8,
        capsize=1.8,
        alpha=0.8,
        zorder=1,
    )


def _points(ax: Axes, picture: Picture, pair: tuple[Axis, Axis], edge: np.ndarray) -> float:
    """Every design, those of the pair's own front in front; returns how large they are.

    edge : (F,) bool, on the front of the pair.
    """
    x, y = pair
    colour = picture.axes[picture.colour]
    shown = np.unique(np.linspace(0, len(edge) - 1, min(len(edge), MAX_POINTS)).astype(np.intp))
    size = float(np.clip(4000.0 / max(1, len(shown)), 6.0, 26.0))
    for code in range(len(picture.kinds)):
        rest = shown[(picture.kind[shown] == code) & ~edge[shown]]
        best = np.flatnonzero((picture.kind == code) & edge)
        rear = {"s": size, "alpha": 0.45, "linewidths": 0, "zorder": 2}
        front = {"s": size + 14, "linewidths": 0.5, "edgecolors": INK, "zorder": 4}
        for rows, style in ((rest, rear), (best, front)):
            ax.scatter(
                x.values[rows],
                y.values[rows],
                c=colour.values[rows],
                norm=_norm(colour),
                cmap=COLOURS,
                marker=MARKERS[code],
                **style,
            )
    return size


def _frame(ax: Axes, x: Axis, y: Axis) -> None:
    """Scales, grid and spines of a panel."""
    for axis, scale in ((x, ax.set_xscale), (y, ax.set_yscale)):
        if axis.log:
            scale("log")
    ax.margins(0.07)
    ax.grid(True, which="major", color="#e3e3e3", lw=0.6)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _label(ax: Axes, x: Axis, y: Axis, *, left: bool, bottom: bool) -> None:
    """Names and numbers, on the outer panels only."""
    box = ax.get_position()
    ax.tick_params(labelsize=9.5, color=FAINT, labelcolor=INK)
    ticks(ax.xaxis, x, _room(x, box.width))
    ticks(ax.yaxis, y, int(box.height * float(ax.figure.bbox.height / ax.figure.dpi) / 0.35))
    ax.tick_params(labelbottom=bottom, labelleft=left)
    if bottom:
        ax.set_xlabel(fitting(x.label, ax, high=False), size=11, color=INK)
    if left:
        ax.set_ylabel(fitting(y.label, ax, high=True), size=11, color=INK)
        ax.yaxis.set_label_coords(-0.63 / (box.width * WIDTH), 0.5)


def fitting(label: str, ax: Axes, *, high: bool) -> str:
    """The name beside an axis, cut where it is longer than the axis: its unit and arrow stay.

    ax : the panel. high : along its height, not its width.
    """
    box, size = ax.get_position(), ax.figure.bbox
    inches = box.height * size.height if high else box.width * size.width
    return cut(label, int(inches / ax.figure.dpi / _LETTER))


def cut(label: str, room: int) -> str:
    """A name with its unit and arrow, which stay, in no more letters than there is room for.

    label : of an axis. room : letters.
    """
    if len(label) <= room:
        return label
    name, bracket, rest = label.rpartition(" [")
    if not bracket:  # no unit: the arrow alone
        name, rest = label[:-2], label[-2:]
    left = max(room - len(bracket + rest) - 1, 1)
    return f"{name[:left].rstrip()}\u2026{bracket}{rest}"


def ticks(which: Any, axis: Axis, room: int) -> None:
    """Plain numbers on a matplotlib axis, at most `room` of them.

    which : the axis, ax.xaxis or ax.yaxis.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if not axis.log:
        which.set_major_locator(MaxNLocator(min(6, room), integer=axis.name == "place"))
        which.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))
        return
    decades = float(np.log10(axis.values.max() / axis.values.min())) + 0.3
    choices = [subs for subs in ((1.0, 2.0, 5.0), (1.0, 3.0)) if decades * len(subs) <= room]
    which.set_major_locator(LogLocator(subs=choices[0] if choices else (1.0,), numticks=room + 1))
    which.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))
    which.set_minor_formatter(NullFormatter())


def _room(axis: Axis, width: float) -> int:
    """How many numbers an axis has room for: 0.07 inches a character, 0.6 inches at least."""
    longest = len(_plain(float(axis.values.max())))
    return int(width * WIDTH / max(0.6, 0.25 + 0.07 * longest))


#: How large a tick is, what it counts in then, and the letter of that.
_LARGE = ((1e12, 1e12, " T"), (1e9, 1e9, " G"), (1e6, 1e6, " M"), (1e4, 1e3, " k"))


def _plain(value: float) -> str:
    """A tick: short whatever its size."""
    for least, size, letter in _LARGE:
        if abs(value) >= least:
            return f"{value / size:g}{letter}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _beside(
    figure: Figure, picture: Picture, places: dict[tuple[int, int], Box], panels: int
) -> None:
    """Colour bar, shapes and the numbered designs, in the room that the panels leave.

    One panel: to its right. Two rows of panels: all in the free corner. More: the designs in the
    first row, colours and shapes in the second.
    """
    if panels == 1:
        panel = places[0, 0]
        corner = (panel[2] + 0.035, panel[1], 0.985, panel[3])
    else:
        first = places[0, 1]
        corner = (first[0] + 0.03, first[1], 0.985, first[3])
    if panels <= 2:
        below = _key(figure, picture, corner)
        _cards(figure, picture.marks, (corner[0], corner[1], corner[2], below), 1)
    else:
        second = places[1, 2]
        _key(figure, picture, (second[0] + 0.03, second[1], 0.985, second[3]))
        _cards(figure, picture.marks, corner, 2)


def _key(figure: Figure, picture: Picture, box: Box) -> float:
    """Colour bar and shapes at the top of a box; returns where they end."""
    left, _, right, top = box
    inch = 1.0 / float(figure.get_figheight())
    if np.ptp(picture.axes[picture.colour].values) > 0:
        _colour_bar(figure, picture.axes[picture.colour], box)
        top -= 0.38 * inch
    beside = right - left > 0.38  # room for a second column
    rows = 0
    columns = ((_lines(picture), left), (_shapes(picture), left + 0.24 if beside else left))
    for handles, x in columns:
        if handles:
            y = top if beside else top - 0.205 * inch * rows
            figure.legend(
                handles=handles,
                loc="upper left",
                bbox_to_anchor=(x - 0.01, y),
                fontsize=9.5,
                frameon=False,
                handletextpad=0.5,
                borderpad=0.2,
                borderaxespad=0.2,
                labelcolor=INK,
            )
        rows = max(rows, len(handles)) if beside else rows + len(handles)
    return top - (0.17 + 0.21 * rows) * inch


def _colour_bar(figure: Figure, colour: Axis, box: Box) -> None:
    """What the colours mean, at the top of a box."""
    from matplotlib.cm import ScalarMappable

    left, _, right, top = box
    inch = 1.0 / float(figure.get_figheight())
    width = min(0.28, right - left - 0.1)
    place = figure.add_axes((left, top - 0.14 * inch, width, 0.14 * inch))
    bar = figure.colorbar(
        ScalarMappable(_norm(colour), COLOURS), cax=place, orientation="horizontal"
    )
    bar.ax.tick_params(labelsize=9, color=FAINT, labelcolor=INK)
    bar.outline.set_linewidth(0.0)
    ticks(bar.ax.xaxis, colour, _room(colour, width))
    beside = left + width + 0.012
    room = int((right - beside) * WIDTH / 0.085)  # inches a letter
    # A name stays with its unit and its arrow, and beside the bar, in a few lines.
    named = cut(colour.label, 3 * max(room, 8))
    whole = re.sub(r" (?=\[|[\u2191\u2193])", "\u00a0", named)
    label = "\n".join(textwrap.wrap(whole, max(room, 8), break_long_words=False))
    figure.text(beside, top - 0.07 * inch, label, size=9.5, color=INK, va="center")


def _lines(picture: Picture) -> list[Line2D]:
    """Entries of the legend for staircase and error bars."""
    from matplotlib.lines import Line2D

    lines = []
    if len(picture.axes) > 1:
        text = "best in the two objectives shown"
        lines.append(Line2D([], [], color=STAIRS, lw=1.6, label=text))
    if picture.intervals:
        text = "interval of 90 %"
        lines.append(Line2D([], [], ls="", marker="|", ms=11, color=FAINT, label=text))
    elif picture.bars:
        last = picture.axes[-1].name
        text = f"{last} ± one standard deviation"
        if quantity_of(last) != last:
            text = f"from the bound to the mean {quantity_of(last)}"
        lines.append(Line2D([], [], ls="", marker="|", ms=11, color=FAINT, label=text))
    return lines


def _shapes(picture: Picture) -> list[Line2D]:
    """Entries of the legend for the kinds of designs, where there are several."""
    from matplotlib.lines import Line2D

    return [
        Line2D(
            [],
            [],
            ls="",
            marker=MARKERS[code],
            color="#606060",
            ms=6,
            label=f"{picture.kind_title} {name}".strip(),
        )
        for code, name in enumerate(picture.kinds if len(picture.kinds) > 1 else ())
    ]


def _fitted(
    marks: tuple[Mark, ...], width: float, deep: int, height: float
) -> tuple[list[tuple[list[str], list[str]]], float]:
    """Lines of head and body of each design, and their scale: the largest at which all fit.

    width : of a column, a share of the figure. deep : designs in one. height : inches there are.
    """
    texts: list[tuple[list[str], list[str]]] = []
    scale = 1.0
    for scale in np.arange(1.0, 0.71, -0.04).tolist():
        room = int((width - 0.035) * WIDTH * 100 / (6.75 * scale))
        texts = [
            (
                textwrap.wrap(f"{mark.title}: {mark.results}", int(0.86 * room)),
                textwrap.wrap(mark.settings, room),
            )
            for mark in marks
        ]
        tallest = max(_lines_of(texts[i : i + deep]) for i in range(0, len(marks), deep))
        if tallest * 0.17 * scale <= height:
            return texts, scale
    for i in range(0, len(marks), deep):
        _cut(texts[i : i + deep], height / (0.17 * scale))
    return texts, scale


def _lines_of(texts: list[tuple[list[str], list[str]]]) -> float:
    """Lines that designs below one another take, with the room between them."""
    return sum(len(head) + len(body) + 0.8 for head, body in texts)


def _cut(texts: list[tuple[list[str], list[str]]], most: float) -> None:
    """Takes the last line of the longest text away until all fit into `most` lines."""
    while _lines_of(texts) > most and any(len(body) > 1 for _, body in texts):
        longest = max((body for _, body in texts), key=len)
        del longest[-1]
        longest[-1] = longest[-1].removesuffix(" …") + " …"


def _cards(figure: Figure, marks: tuple[Mark, ...], box: Box, columns: int) -> None:
    """The numbered designs, column by column; smaller, then cut, where they would not fit."""
    if not marks:  # a front so small that nothing needs a name
        return
    left, bottom, right, top = box
    inch = 1.0 / float(figure.get_figheight())
    width = (right - left) / columns
    deep = -(-len(marks) // columns)
    texts, scale = _fitted(marks, width, deep, (top - bottom) / inch)
    line = 0.17 * scale * inch
    lines = [len(head) + len(body) + 0.8 for head, body in texts]
    for number, (head, body) in enumerate(texts):
        column, place = divmod(number, deep)
        x = left + column * width
        y = top - line * sum(lines[column * deep : column * deep + place])
        figure.text(
            x + 0.006,
            y - line / 2.0,
            str(number + 1),
            size=8 * scale,
            weight="bold",
            color="white",
            va="center",
            ha="center",
            bbox=_badge(),
        )
        for text, weight, shift in ((head, "bold", 0), (body, "normal", len(head))):
            figure.text(
                x + 0.022,
                y - shift * line,
                "\n".join(text),
                size=9 * scale,
                weight=weight,
                color=INK,
                va="top",
                linespacing=1.3,
            )


def _badges(ax: Axes, picture: Picture, x: Axis, y: Axis) -> None:
    """Numbers at the marked designs, each in the roomiest of 24 places around its point."""
    indices = [mark.index for mark in picture.marks]
    points = np.stack([x.values[indices], y.values[indices]], axis=1)
    places = np.asarray(ax.transData.transform(points))
    frame, taken = ax.get_window_extent(), list(places)
    for number, (point, place) in enumerate(zip(points, places, strict=True), 1):
        best, roomiest = -np.inf, place
        for reach in (17.0, 26.0, 36.0):
            for angle in (np.arange(8) + 1) * np.pi / 4:
                spot = place + reach * np.array([np.cos(angle), np.sin(angle)])
                walls = (
                    spot[0] - frame.x0,
                    frame.x1 - spot[0],
                    spot[1] - frame.y0,
                    frame.y1 - spot[1],
                )
                near = min(float(np.hypot(*(spot - other))) for other in taken)
                score = min(near, 24.0) - 0.12 * reach + 3.0 * min(0.0, min(walls) - 9.0)
                if score > best + 1e-6:
                    best, roomiest = score, spot
        taken.append(roomiest)
        ax.annotate(
            str(number),
            xy=(point[0], point[1]),
            xytext=tuple((roomiest - place) * 72.0 / ax.figure.dpi),
            textcoords="offset points",
            ha="center",
            va="center",
            size=8,
            weight="bold",
            color="white",
            zorder=6,
            bbox=_badge(),
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": INK, "lw": 0.7, "shrinkA": 0, "shrinkB": 3},
        )


def _badge() -> dict[str, Any]:
    return {"boxstyle": "circle,pad=0.22", "facecolor": INK, "edgecolor": "white", "linewidth": 0.6}


def _norm(axis: Axis) -> Any:
    from matplotlib.colors import LogNorm, Normalize

    low, high = float(axis.values.min()), float(axis.values.max())
    return (LogNorm if axis.log else Normalize)(low, high if high > low else low + 1.0)
