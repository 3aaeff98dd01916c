"""A space as plain data: what the manifest shows, and what tells one space from another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from transcode.space.codes import Space


def describe(space: Space) -> dict[str, object]:
    """The space with every value resolved, in JSON types: what the manifest shows and hashes."""
    parameters = []
    for parameter in space.parameters:
        entry: dict[str, object] = {
            "name": parameter.name, "unit": parameter.unit, "values": list(parameter.values),
        }  # fmt: skip
        if parameter.label != parameter.name:
            entry["label"] = parameter.label
        if parameter.group:
            entry["alternative"] = parameter.group
        if parameter.parent >= 0:
            entry["multiple_of"] = space.parameters[parameter.parent].name
        parameters.append(entry)
    files = {base: _digest(Path(base)) for base in _bases(space) if Path(base).is_file()}
    return {
        "name": space.name,
        "parameters": parameters,
        "alternatives": [list(s.groups) for s in space.sections],
        "workloads": space.workloads,
        "where": [e.text for e in space.where],
        "objectives": {o.name: o.direction for o in space.objectives},
        "constraints": [e.text for e in space.constraints],
        "reference_point": space.reference,
        "record": list(space.record),
        "files": files,
    }


def digest(description: Mapping[str, object]) -> str:
    """sha256 of a description, whatever the order of its keys and the layout of the file."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _bases(space: Space) -> list[str]:
    return [str(v) for s in space.sections if s.selector >= 0
            for v in space.parameters[s.selector].values]  # fmt: skip
