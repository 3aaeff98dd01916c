"""The front as files: front.csv for `elector sweep`, front.json for programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from elector.base.table import Column
from transcode.pareto import Archive
from transcode.runs.files import write_text
from transcode.space import Space, unit_text

#: What front.json says of its run, as the manifest has it.
HEADER = ("space_sha256", "seed", "reference_point", "hypervolume")


def columns(space: Space, codes: np.ndarray) -> dict[str, Column]:
    """Everything elector needs to know of (F, S) designs, the workloads' settings included."""
    found = space.decode(codes)
    for workload, settings in space.workloads.items():
        for name, value in settings.items():
            key = name.removeprefix("workload.")
            found[f"workloads.{workload}.{key}"] = Column.constant(value, len(codes))
    first = {name: found.pop(name) for name in ("model", "accelerator")}
    return first | found


def write(folder: Path, space: Space, front: Archive, header: Mapping[str, object]) -> None:
    """front.csv and front.json of a sorted archive.

    header : seed, space_sha256, reference_point and hypervolume, for front.json.
    """
    write_text(folder / "front.csv", csv_text(space, front))
    write_text(folder / "front.json", json_text(space, front, header))


def csv_text(space: Space, front: Archive) -> str:
    """The text of front.csv."""
    return _csv(front, columns(space, front.codes))


def head(space: Space, header: Mapping[str, object]) -> dict[str, object]:
    """What front.json says before its points.

    header : what stands before the points, by name.
    """
    objectives = [
        {"name": o.name, "direction": o.direction, "unit": unit_text(space, o.name)}
        for o in space.objectives
    ]
    return {"space": space.name, **header, "objectives": objectives}


def json_text(space: Space, front: Archive, header: Mapping[str, object]) -> str:
    """The text of front.json.

    header : what stands before the points, by name.
    """
    start = json.dumps(head(space, header), indent=1)
    designs = columns(space, front.codes)
    points = ",\n  ".join(map(json.dumps, _points(front, designs)))  # a line for each point
    return f'{start[:-2]},\n "points": [\n  {points}\n ]\n}}\n'


def _csv(front: Archive, designs: Mapping[str, Column]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["id", *designs, *front.results, "feasible"])
    texts = [column.map(text, dtype=object) for column in designs.values()]
    values = [[text(v) for v in result.tolist()] for result in front.results.values()]
    for row, number in enumerate(front.ids.tolist()):
        writer.writerow([number, *(t[row] for t in texts), *(v[row] for v in values), "true"])
    return stream.getvalue()


def text(value: object) -> str:
    """A value as the readers of elector take it: shortest form that gives the same float back
    (at most 17 digits), nothing for what is not set."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _points(front: Archive, designs: Mapping[str, Column]) -> Iterator[dict[str, object]]:
    settings = zip(*(column.map(_same, dtype=object) for column in designs.values()), strict=True)
    results = zip(*(values.tolist() for values in front.results.values()), strict=True)
    for number, setting, result in zip(front.ids.tolist(), settings, results, strict=True):
        named = zip(designs, setting, strict=True)
        yield {
            "id": number,
            "parameters": {name: value for name, value in named if value is not None},
            "values": {
                name: value if math.isfinite(value) else None
                for name, value in zip(front.results, result, strict=True)
            },
        }


def _same(value: object) -> object:
    return value
