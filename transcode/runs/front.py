"""The front as files: front.csv for `elector sweep`, front.json for programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from elector.base import paths
from elector.base.errors import InputError
from elector.base.table import Column
from elector.evaluation.resolved import typed
from transcode.pareto import Archive
from transcode.runs.files import LARGEST, content_of, read_json, write_pieces
from transcode.space import Space, unit_text
from transcode.space.settings import setting_field

#: Designs whose texts lie in memory at once.
_AT_ONCE = 1024
#: What front.json says of its run, as the manifest has it.
HEADER = ("space_sha256", "seed", "reference_point", "hypervolume")
#: How a point of front.json begins, and the text ends.
_POINTS = ',\n "points": [\n'
POINT, END = '\n  {"id": ', "\n ]\n}\n"
#: Key of front.json: what was drawn, and which neighbours can be told apart.
UNCERTAINTY = "uncertainty"


def columns(space: Space, codes: np.ndarray) -> dict[str, Column]:
    """Everything elector needs to know of (F, S) designs, the workloads' settings included."""
    decoded = space.decode(codes)
    for workload, settings in space.workloads.items():
        for name, value in settings.items():
            key = name.removeprefix("workload.")
            decoded[f"workloads.{workload}.{key}"] = Column.constant(value, len(codes))
    first = {name: decoded.pop(name) for name in ("model", "accelerator")}
    return first | decoded


def write(folder: Path, space: Space, front: Archive, header: Mapping[str, object]) -> None:
    """front.csv and front.json of a sorted archive, some designs at a time.

    header : seed, space_sha256, reference_point and hypervolume, for front.json.
    """
    write_pieces(folder / "front.csv", csv_pieces(space, front))
    write_pieces(folder / "front.json", json_pieces(space, front, header))


def csv_pieces(space: Space, front: Archive) -> Iterator[str]:
    """The text of front.csv, piece by piece."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["id", *columns(space, front.codes[:0]), *front.results, "feasible"])
    yield stream.getvalue()
    for part in _parts(front):
        yield _csv(part, columns(space, part.codes))


def csv_text(space: Space, front: Archive) -> str:
    """The text of front.csv."""
    return "".join(csv_pieces(space, front))


def head(space: Space, header: Mapping[str, object]) -> dict[str, object]:
    """What front.json says before its points.

    header : what stands before the points, by name.
    """
    objectives = [
        {"name": o.name, "direction": o.direction, "unit": unit_text(space, o.name)}
        for o in space.objectives
    ]
    return {"space": space.name, **header, "objectives": objectives}


def json_pieces(space: Space, front: Archive, header: Mapping[str, object]) -> Iterator[str]:
    """The text of front.json, piece by piece: a line for each point."""
    yield f'{json.dumps(head(space, header), indent=1)[:-2]},\n "points": [\n  '
    before = ""
    for part in _parts(front):
        yield before
        yield ",\n  ".join(_points(space, part))
        before = ",\n  "
    yield END


def is_whole(path: Path, size: int) -> bool:
    """Whether a file is a front.json of so many points, none of it missing."""
    if not paths.is_file(path):
        return False
    points, kept = 0, ""
    try:
        for piece in paths.pieces(path):
            text = kept + piece
            points += text.count(POINT)
            kept = text[1 - len(POINT) :]  # too short for a whole beginning
    except InputError:
        return False
    return (points == size and kept.endswith(END)) or _is_whole_otherwise(path, size)


def told(path: Path) -> dict[str, Any]:
    """What a front.json says; of one that is not small, what stands before its points, so that it
    may be of any size. Raises InputError for one that is absent, cut or another."""
    status = paths.status(path)
    if status is None or status.st_size <= LARGEST:
        return read_json(path, "a front")
    begin, kept = "", ""
    for piece in paths.pieces(path):
        begin = begin if _POINTS in begin or len(begin) > LARGEST else begin + piece
        kept = (kept + piece)[-len(END) :]
    head, points, _ = begin.partition(_POINTS)
    if not points or kept != END:
        raise InputError("is damaged: not the JSON of a front", file=path)
    return content_of(head + "}", path, "a front")


def _is_whole_otherwise(path: Path, size: int) -> bool:
    """The same of a file in another layout, as somebody may have made it, if it is not large."""
    status = paths.status(path)
    if status is None or status.st_size > LARGEST:
        return False
    try:
        content = json.loads("".join(paths.pieces(path)))
    except (InputError, ValueError, RecursionError):
        return False
    told = content.get("points") if isinstance(content, dict) else None
    return isinstance(told, list) and len(told) == size


def json_text(space: Space, front: Archive, header: Mapping[str, object]) -> str:
    """The text of front.json.

    header : what stands before the points, by name.
    """
    return "".join(json_pieces(space, front, header))


def _parts(front: Archive) -> Iterator[Archive]:
    """Some designs of a front after others."""
    for start in range(0, len(front), _AT_ONCE):
        yield front.take(np.arange(start, min(start + _AT_ONCE, len(front))))


def _csv(front: Archive, designs: Mapping[str, Column]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    texts = [column.map(text, dtype=object) for column in designs.values()]
    values = [[_cell(n, v) for v in result.tolist()] for n, result in front.results.items()]
    for row, number in enumerate(front.ids.tolist()):
        writer.writerow([number, *(t[row] for t in texts), *(v[row] for v in values), "true"])
    return stream.getvalue()


def _cell(name: str, value: float) -> str:
    """A result; of a setting what its schema reads, nothing where a design has none."""
    field = setting_field(name)
    return text(value if field is None else typed(field, value))


def text(value: object) -> str:
    """A value as the readers of elector take it: shortest form that gives the same float back
    (at most 17 digits), nothing for what is not set."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _points(space: Space, front: Archive) -> Iterator[str]:
    """The JSON of each design: what it has, without layers and heads that are not there.

    A value is written once however many designs have it.
    """
    absent, settings = space.absent(front.codes), []
    for name, column in columns(space, front.codes).items():
        texts = column.map(partial(_entry, name), dtype=object)
        if name in absent:
            texts[absent[name]] = ""
        settings.append(texts)
    results = [[_figure(n, v) for v in r.tolist()] for n, r in front.results.items()]
    for number, *row in zip(front.ids.tolist(), *settings, *results, strict=True):
        parameters = ", ".join(filter(None, row[: len(settings)]))
        values = ", ".join(row[len(settings) :])
        yield f'{{"id": {number}, "parameters": {{{parameters}}}, "values": {{{values}}}}}'


def _entry(name: str, value: object) -> str:
    """A member of a JSON mapping; nothing for what is not set."""
    return "" if value is None else f"{json.dumps(name)}: {json.dumps(value)}"


def _figure(name: str, value: float) -> str:
    return f"{json.dumps(name)}: {json.dumps(value) if math.isfinite(value) else 'null'}"
