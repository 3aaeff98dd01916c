"""A front as a picture: `info` reads it into arrays, `draw` makes the figure, `plot_run` both.

In comes a front, out goes a PNG, PDF or SVG. A new result needs no change: its row says its unit
and which side is better.

Two objectives give one panel, three to five the lower triangle of all pairs, each pair with its
own staircase: the designs that nothing beats in those two. Accuracy stands on the vertical axis,
with one standard deviation of its surrogate. The knee and the best design of each objective carry
a number and are described beside the panels.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from elector.base.errors import InputError
from elector.base.output import save_picture
from transcode.accuracy import surrogate
from transcode.plot.figure import draw
from transcode.plot.overlay import plot_comparison
from transcode.plot.picture import Axis, Mark, Picture, info, knee
from transcode.runs import front as front_files
from transcode.runs import snapshot
from transcode.runs.files import place_of
from transcode.runs.query import Front, Recorded

__all__ = [
    "Axis",
    "Mark",
    "Picture",
    "draw",
    "info",
    "knee",
    "plot_comparison",
    "plot_run",
    "plot_selection",
]

DPI = 150


def plot_run(run_folder: Path, out: Path | None = None) -> Path:
    """Draw the front of a run folder into `out` (front.png there) and return that path. Raises
    InfeasibleError where no recorded design is feasible.

    run_folder : of a search.
    """
    moment = snapshot.with_front(run_folder)
    designs = moment.manifest["designs"]
    picture = info(moment.columns, moment.head, designs or None, _notes(moment.manifest))
    path = Path(out) if out is not None else place_of(moment.folder, "front.png")
    save_picture(draw(picture), path, DPI)
    return path


def plot_selection(
    recorded: Recorded, front: Front, asked: str = "", out: Path | None = None
) -> Path:
    """Draw another front of recorded designs, and return where it lies.

    asked : what was asked, for the caption. out : selection.png in the run folder by default;
        front.png stays the run's own.
    """
    names, *rows = csv.reader(io.StringIO(front_files.csv_text(front.space, front.archive)))
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    head = front_files.head(front.space, {"seed": recorded.manifest.get("seed")})
    designs = recorded.manifest["designs"] or None
    picture = info(columns, head, designs, _notes(recorded.manifest))
    if asked:
        picture = replace(picture, caption=f"{picture.caption} Asked for: {asked}.")
    path = Path(out) if out is not None else place_of(recorded.folder, "selection.png")
    save_picture(draw(picture), path, DPI)
    return path


def _notes(manifest: Mapping[str, Any]) -> Sequence[str]:
    """What the accuracy is and how wrong it was: the manifest's words, else the task's."""
    record = manifest.get("accuracy")
    if isinstance(record, dict) and isinstance(record.get("text"), str):
        return _lines(record["text"])
    space = manifest.get("space")
    workload = space.get("workload") if isinstance(space, dict) else None
    task = workload.get("task") if isinstance(workload, dict) else None
    try:
        return _lines(surrogate(task).describe()) if isinstance(task, str) else ()
    except InputError:  # an accuracy of another source
        return ()


def _lines(text: str) -> Sequence[str]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())
