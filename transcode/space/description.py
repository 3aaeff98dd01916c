"""A space as plain data: what the manifest shows, and what tells one space from another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from elector.base import paths
from elector.base.errors import InputError
from elector.base.table import DATA
from elector.describe.formats import load_model
from elector.evaluation.accelerators import load_accelerator
from transcode.accuracy.source_settings import AccuracySettings
from transcode.space import grammar, layers
from transcode.space.codes import Space
from transcode.space.parts import Objective, Parameter, Section
from transcode.space.phases import RUN, Phases

#: Largest file that a space may name [byte].
_LIMIT = 64 << 20
_SECTIONS = ("model", "accelerator", "workload")


def describe(space: Space) -> dict[str, object]:
    """The space with every value resolved, in JSON types: what the manifest shows and hashes."""
    given = [
        *_bases(space),
        *_behind(space),
        *([space.accuracy.rows] if space.accuracy.rows else []),
    ]
    given += [str(v) for p in space.parameters if p.name == "workload.sparsity" for v in p.values]
    files = {base: file_digest(base) for base in given if paths.is_file(base)}
    asked = space.accuracy.plain()
    return {
        "name": space.name,
        "parameters": _parameters(space),
        "alternatives": [list(s.groups) for s in space.sections],
        "workloads": space.workloads,
        "where": [e.text for e in space.where],
        "objectives": {o.name: o.direction for o in space.objectives},
        "constraints": [e.text for e in space.constraints],
        "reference_point": space.reference,
        "record": list(space.record),
        "files": files,
        **({"define": {n: e.text for n, e in space.define.items()}} if space.define else {}),
        **({RUN: space.run.describe()} if space.run else {}),
        **({"accuracy": asked} if asked else {}),
    }


def _parameters(space: Space) -> list[dict[str, object]]:
    """Every parameter with its values, in JSON types."""
    parameters = []
    homes = {
        c: key
        for key, section in zip(_SECTIONS, space.sections, strict=True)
        for group in section.members
        for c in group
    }
    for column, parameter in enumerate(space.parameters):
        entry: dict[str, object] = {
            "name": parameter.name,
            "unit": parameter.unit,
            "values": list(parameter.values),
        }
        if parameter.label != parameter.name:
            entry["label"] = parameter.label
        if parameter.group:
            entry["alternative"] = parameter.group
        if homes.get(column, "") not in ("", parameter.name.split(".")[0]):
            entry["section"] = homes[column]
        if parameter.parent >= 0:
            entry["multiple_of"] = space.parameters[parameter.parent].name
        parameters.append(entry)
    return parameters


def _parameter(entry: Mapping[str, Any], before: Sequence[Parameter]) -> Parameter:
    """A parameter of a manifest. before : those that stand before it."""
    parent, group = -1, entry.get("alternative", 0)
    if "multiple_of" in entry:
        parent = next(
            c for c, p in enumerate(before) if p.name == entry["multiple_of"] and p.group == group
        )
    name, values = entry["name"], tuple(entry["values"])
    return Parameter(name, entry.get("label", name), values, group, parent, unit=entry["unit"])


def restore(description: Mapping[str, Any]) -> Space:
    """The space of a manifest: what `describe` was given, but for where it was read from.

    Whether a parameter was written as a range is not kept: all are choices.

    description : as the manifest has it.
    """
    parameters: list[Parameter] = []
    for entry in description["parameters"]:
        parameters.append(_parameter(entry, parameters))
    homes = [
        entry.get("section", entry["name"].split(".")[0]) for entry in description["parameters"]
    ]
    parameters = _with_needs(parameters, homes)
    return Space(
        name=description["name"],
        parameters=tuple(parameters),
        sections=tuple(
            _section(parameters, homes, key, tuple(groups))
            for key, groups in zip(_SECTIONS, description["alternatives"], strict=True)
        ),
        workloads=description["workloads"],
        objectives=tuple(Objective(n, d == "max") for n, d in description["objectives"].items()),
        where=tuple(grammar.parse(text) for text in description["where"]),
        constraints=tuple(grammar.parse(text) for text in description["constraints"]),
        reference=description["reference_point"],
        record=tuple(description["record"]),
        define={n: grammar.parse_value(t) for n, t in description.get("define", {}).items()},
        run=Phases(**description[RUN]) if RUN in description else None,
        accuracy=AccuracySettings(**description.get("accuracy", {})),
    )


def _with_needs(parameters: list[Parameter], homes: list[str]) -> list[Parameter]:
    """The parameters, those of layers and heads told what they need to matter."""
    told, start = list(parameters), "model."
    for group in {p.group for p in parameters}:
        columns = {
            p.name.removeprefix(start): c
            for c, p in enumerate(parameters)
            if homes[c] == "model" and p.group == group and p.name.startswith(start)
        }
        for name, column in columns.items():
            needs = layers.needs(name, columns)
            told[column] = replace(told[column], needs=needs)
    return told


def _section(
    parameters: list[Parameter], homes: list[str], key: str, groups: tuple[int, ...]
) -> Section:
    """The section `key`, of the parameters whose home it is."""
    selector = next((c for c, p in enumerate(parameters) if p.name == key), -1)
    members = tuple(
        tuple(
            c
            for c, p in enumerate(parameters)
            if homes[c] == key and c != selector and p.group == group
        )
        for group in range(max(groups) + 1)
    )
    return Section(selector, groups, members)


def digest(description: Mapping[str, object]) -> str:
    """sha256 of a description, whatever the order of its keys and the layout of the file."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: str) -> str:
    """sha256 of the content of a file."""
    return hashlib.sha256(paths.read_bytes(path, _LIMIT)).hexdigest()


def _bases(space: Space) -> list[str]:
    return [name for names in _bases_of(space).values() for name in names]


def _bases_of(space: Space) -> dict[str, list[str]]:
    """Names of the models, and of the accelerators, that a space builds on."""
    chosen = [space.parameters[s.selector] for s in space.sections if s.selector >= 0]
    return {parameter.name: [str(v) for v in parameter.values] for parameter in chosen}


def _behind(space: Space) -> list[str]:
    """Files that the files of models and accelerators name in their turn, the user's own."""
    readers: dict[str, Callable[[str], object]] = {
        "model": load_model,
        "accelerator": load_accelerator,
    }
    with paths.naming() as read:
        for kind, names in _bases_of(space).items():
            for name in filter(paths.is_file, names):
                with suppress(InputError):  # the search says so; here it is about what is read
                    readers[kind](name)
    return sorted(name for name in read if not Path(name).is_relative_to(DATA))
