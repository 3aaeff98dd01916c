"""What a run folder holds at one moment: its front, and the figures of the run.

A search commits designs long before it writes front.csv, and may be killed between the two. So
the front files are believed where they are of all that is committed, and otherwise the same front
is worked out from the recorded designs. Whoever asks need not know which.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from elector.base import paths
from elector.base.errors import EvaluationError, InfeasibleError, InputError
from transcode import pareto
from transcode.runs import front, manifest, parts, query
from transcode.runs.texts import Texts

#: Largest front.csv that is read [byte]: some million designs. It lies in memory twice at first.
_LARGEST = 1_000_000_000
#: Most texts of it that are kept apart: results, and settings that differ.
_TEXTS = 1 << 23
#: Rows whose texts lie in memory before equal ones are made one.
_ROWS = 128
#: Key of a manifest: designs that the front files and `hypervolume` are of.
CHECKPOINT = "checkpoint"
#: Keys of a manifest that only a checkpoint renews.
RENEWED = (CHECKPOINT, "hypervolume", "front", "reference_point")
Table = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment.

    manifest : with designs, feasible, front, hypervolume and reference_point of that moment.
    columns : of front.csv, name -> texts (F,). csv : its text.
    computed : the front, where it was worked out from the recorded designs.
    notes : what to know about it.
    """

    folder: Path
    manifest: Mapping[str, Any]
    csv: str
    columns: Table
    computed: query.Front | None = None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Designs on the front."""
        return len(self.columns["id"])

    @property
    def reference(self) -> np.ndarray | None:
        """(O,) the reference point, in the user's directions; None before there is one."""
        return _point(self.folder, self.manifest)

    @property
    def head(self) -> dict[str, Any]:
        """Front.json without its points."""
        space = manifest.space_of(self.folder, self.manifest)
        return front.head(space, self._header())

    def _header(self) -> dict[str, Any]:
        return {key: self.manifest.get(key) for key in front.HEADER}

    def with_json(self) -> Snapshot:
        """The run with a front.json: where that file is missing or not whole, worked out from the
        recorded designs, which `notes` then say. Raises InputError where there are none."""
        path = self.folder / "front.json"
        if self.computed is not None or front.is_whole(path, self.size):
            return self
        fault = "is damaged" if paths.exists(path) else "is missing"
        if not parts.numbers(self.folder / "designs"):
            raise InputError(f"{fault}, and no designs are recorded", file=path)
        return query.settled(self.folder, lambda r: _computed(r, f"{path.name} {fault}"))

    def json(self) -> Iterator[str]:
        """The text of front.json, piece by piece."""
        if self.computed is None:
            return paths.pieces(self.folder / "front.json")
        return front.json_pieces(self.computed.space, self.computed.archive, self._header())


def with_front(run: str | Path) -> Snapshot:
    """`taken`, of a run whose front has a design. Raises InfeasibleError where none is feasible:
    what would show, draw or compare a front has nothing to."""
    moment = taken(run)
    if not moment.size:
        raise nothing_feasible(moment.folder, moment.manifest)
    return moment


def nothing_feasible(folder: Path, known: Mapping[str, Any]) -> InfeasibleError:
    """What is said of a run without a feasible design.

    folder : of the run. known : its manifest.
    """
    said = f"none of {known['designs']:,} recorded designs is feasible"
    return InfeasibleError(f"{folder}: {said}")


def taken(run: str | Path) -> Snapshot:
    """The run in a folder as it is now, whether it is being written, was killed, or is done.

    Raises InputError for what is no run, or may not be read; EvaluationError where nothing has
    been committed yet.
    """
    folder = manifest.named(run)
    known = manifest.existing(folder)
    written, fault = _written(folder, known)
    if written is not None and _is_current(folder, known):
        return written
    try:
        computed = query.settled(
            folder, lambda recorded: _computed(recorded, fault and f"front.csv {fault}")
        )
    except (EvaluationError, InputError):
        if parts.numbers(folder / "designs"):
            raise
        # A folder without its designs, as an archive may keep it.
        if written is None and fault:
            raise InputError(fault, file=folder / "front.csv") from None
        if written is None:
            raise
        return written
    return computed


def _written(folder: Path, recorded: Mapping[str, Any]) -> tuple[Snapshot | None, str]:
    """The run as its front files have it, or None and what is wrong with them."""
    path = folder / "front.csv"
    if not paths.exists(path):
        return None, ""
    text = paths.read_text(path, _LARGEST)
    space = manifest.space_of(folder, recorded)
    settings = [p.name for p in space.parameters]
    try:
        columns = _columns(text, settings, [o.name for o in space.objectives])
    except OverflowError:
        said = f"has more than {_TEXTS:,} results and settings that differ"
        raise InputError(said, file=path) from None
    except (ValueError, csv.Error) as error:
        return None, f"is damaged: {error}"
    size = len(columns["id"])
    if recorded.get("front", size) != size:
        return None, f"is damaged: it has {size} designs, the front {recorded['front']}"
    known = {"designs": 0, "feasible": size, "front": size, "status": "?", "hypervolume": None}
    return Snapshot(folder, {"reference_point": None, **known, **recorded}, text, columns), ""


def _columns(text: str, settings: list[str], objectives: list[str]) -> Table:
    """Front.csv by columns. Raises ValueError or csv.Error for what is none, OverflowError for
    more than memory should be asked for.

    settings : columns of parameters of the space, which repeat their values.
    """
    reader = csv.reader(_lines(text))
    header = next(reader, [])
    for name in dict.fromkeys(("id", *settings, *objectives)):
        if name not in header:
            raise ValueError(f"it has no column {name}")
    places = {name: place for place, name in enumerate(header)}
    repeating = set(settings)
    columns: dict[str, Texts | list[str]] = {n: Texts() if n in repeating else [] for n in places}
    filled = filter(None, reader)
    while rows := list(islice(filled, _ROWS)):
        for row in rows:
            if len(row) != len(header):
                raise ValueError(f"a row has {len(row)} cells, the header {len(header)}")
        for name, place in places.items():
            columns[name].extend(sys.intern(row[place]) for row in rows)
        if sum(c.distinct if isinstance(c, Texts) else len(c) for c in columns.values()) > _TEXTS:
            raise OverflowError
    for name in objectives:
        if not np.isfinite(np.array(list(columns[name]), dtype=float)).all():
            raise ValueError(f"a design has no {name}")
    return columns


def _lines(text: str) -> Iterator[str]:
    """The lines of a text, one by one and without a copy of all of it."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def _is_current(folder: Path, known: Mapping[str, Any]) -> bool:
    """Whether the front files are of all that is committed."""
    if str(known.get("status")).startswith(("finished", "interrupted")):
        return True  # the last thing that a search writes
    committed, flaw = parts.survey(folder / "designs")
    return flaw is None and committed == known.get(CHECKPOINT)


def _computed(recorded: query.Recorded, fault: str) -> Snapshot:
    """The run as its recorded designs have it.

    fault : a front file and what it lacks, for a note.
    """
    space, folder = recorded.space, recorded.folder
    best = query.front(recorded, (), None)
    signs = np.array([-1.0 if o.maximise else 1.0 for o in space.objectives])
    reference = _reference(recorded, signs)
    volume = None
    if reference is not None:
        volume = pareto.hypervolume(best.archive.objectives, reference)
    names = [o.name for o in space.objectives]
    point = None if reference is None else dict(zip(names, reference * signs, strict=True))
    figures = {
        "designs": recorded.designs,
        "feasible": best.looked_at,
        "front": len(best.archive),
        "hypervolume": volume,
        "reference_point": None if point is None else {n: float(v) for n, v in point.items()},
    }
    text = front.csv_text(space, best.archive)
    settings = [p.name for p in space.parameters]
    notes = [f"{fault}; this front is of the recorded designs"] if fault else []
    return Snapshot(
        folder,
        {"status": "running", **recorded.manifest, **figures},
        text,
        _columns(text, settings, names),
        best,
        tuple(notes),
    )


def _point(folder: Path, recorded: Mapping[str, Any]) -> np.ndarray | None:
    """(O,) the reference point of a manifest, in the user's directions."""
    given = recorded.get("reference_point")
    if given is None:
        return None
    try:
        return np.array([float(given[name]) for name in recorded["space"]["objectives"]])
    except (TypeError, KeyError, ValueError, OverflowError):
        raise InputError(
            "is not the manifest of a run", file=folder / manifest.NAME, field="reference_point"
        ) from None


def _reference(recorded: query.Recorded, signs: np.ndarray) -> np.ndarray | None:
    """(O,) the reference point, minimised: that of the manifest, else of the first batch with a
    feasible design, as the search itself takes it."""
    given = _point(recorded.folder, recorded.manifest)
    if given is not None:
        return given * signs
    names = [o.name for o in recorded.space.objectives]
    for batch in parts.read_all(recorded.folder / "designs", names):
        if batch.feasible.any():
            points = np.stack([batch.results[name] for name in names], axis=1) * signs
            return pareto.reference_point(points[batch.feasible])
    return None
