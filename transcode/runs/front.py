"""The front as files: front.csv for `elector sweep`, front.json for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from elector.table import Column, Scalar
from transcode.pareto import Archive
from transcode.runs.files import write_json, write_text
from transcode.space import Space, unit_of

_UNITS = {"m2": "mm2", "1": ""}


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
    designs = columns(space, front.codes)
    write_text(folder / "front.csv", _csv(front, designs))
    write_json(
        folder / "front.json",
        {
            "space": space.name,
            **header,
            "objectives": [
                {"name": o.name, "direction": o.direction, "unit": unit_text(o.name)}
                for o in space.objectives
            ],
            "points": list(_points(front, designs)),
        },
    )


def unit_text(name: str) -> str:
    """The unit of a result as text; empty for a ratio or a count."""
    unit = unit_of(name).unit
    return "%" if name.startswith("accuracy") else _UNITS.get(unit, unit)


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
    for row, number in enumerate(front.ids.tolist()):
        parameters: dict[str, Scalar | None] = {}
        for name, column in designs.items():
            value = column[row]
            if value is not None:
                parameters[name] = value  # type: ignore[assignment]
        values = {
            name: float(v[row]) if np.isfinite(v[row]) else None
            for name, v in front.results.items()
        }
        yield {"id": number, "parameters": parameters, "values": values}
