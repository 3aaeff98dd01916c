"""A front as a picture: `info` reads it into arrays, `draw` makes the figure, `plot_run` both.

Two objectives give one panel, three to five the lower triangle of all pairs, each pair with its
own staircase: the designs that nothing beats in those two. Accuracy stands on the vertical axis,
with one standard deviation of its surrogate. The knee and the best design of each objective carry
a number and are described beside the panels.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elector.base.errors import InputError
from elector.base.output import not_written
from transcode.accuracy import surrogate
from transcode.plot.figure import draw
from transcode.plot.overlay import plot_comparison
from transcode.plot.picture import Axis, Mark, Picture, info, knee

__all__ = ["Axis", "Mark", "Picture", "draw", "info", "knee", "plot_comparison", "plot_run"]

DPI = 150


def plot_run(run_folder: Path, out: Path | None = None) -> Path:
    """Draw the front of a run folder into `out` (front.png there) and return that path."""
    folder = Path(run_folder)
    front, manifest = _json(folder / "front.json"), _json(folder / "manifest.json")
    notes = _notes(manifest)
    picture = info(_table(folder / "front.csv"), front, _evaluated(folder, manifest), notes)
    path = Path(out) if out is not None else folder / "front.png"
    figure = draw(picture)
    try:  # the version of matplotlib stays out, so that the same front gives the same bytes
        figure.savefig(path, dpi=DPI, metadata={"Software": None} if _is_png(path) else None)
    except OSError as error:
        raise not_written(error, path) from error
    except ValueError as error:  # a suffix that matplotlib does not know
        raise InputError(f"cannot be written: {error}", file=path) from error
    return path


def _is_png(path: Path) -> bool:
    return path.suffix.lower() == ".png"


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("cannot be read: is this a run folder?", file=path) from error
    except ValueError as error:
        raise InputError(f"is not JSON: {error}", file=path) from error
    if not isinstance(content, dict):
        raise InputError("must be an object", file=path)
    return content


def _table(path: Path) -> dict[str, list[str]]:
    """front.csv by columns."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.reader(stream)
            names = next(reader, [])
            rows = [row for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError("cannot be read as a table", file=path) from error
    for number, row in enumerate(rows, 2):
        if len(row) != len(names):
            raise InputError(f"line {number} has {len(row)} cells, not {len(names)}", file=path)
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def _evaluated(folder: Path, manifest: Mapping[str, Any]) -> int | None:
    """Designs the run evaluated: what the manifest says, else the rows of the committed parts."""
    if isinstance(manifest.get("designs"), int):
        return int(manifest["designs"])
    from pyarrow import ArrowException
    from pyarrow.parquet import read_metadata

    total = 0
    for part in sorted((folder / "designs").glob("part-*.parquet")):
        try:
            total += int(read_metadata(part).num_rows)
        except (OSError, ArrowException):
            return None
    return total or None


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
