"""A preset or file with its every setting: what `elector show` prints, and a file to start from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elector.base import arguments, paths
from elector.base.errors import InputError
from elector.base.record import ResultRecord
from elector.base.table import Field, schema
from elector.describe.formats import list_models, load_model
from elector.describe.formats.described import to_mapping
from elector.evaluation.accelerators import (
    Accelerator,
    list_accelerators,
    load_accelerator,
)


def show(name: str) -> ResultRecord:
    """A model or an accelerator, by name or file, with all of its settings.

    Parameters
    ----------
    name : a preset (`elector list models`, `elector list accelerators`) or a file.

    Returns name, kind (model | accelerator), base (kind of machine, or family), description,
    source and settings: what a file of one's own would say, bare numbers in the unit of the
    schema. Raises InputError for a name that is neither.
    """
    name = arguments.path(name, "NAME", "a name or a path")
    if name in list_accelerators():
        return _accelerator(load_accelerator(name))
    if name in list_models():
        return _model(name)
    if not paths.exists(name, "NAME"):
        raise InputError(
            "is neither a model nor an accelerator",
            field="NAME",
            value=name,
            allowed=[*list_models(), *list_accelerators()],
        )
    try:
        return _model(name)
    except InputError as error:
        try:
            return _accelerator(load_accelerator(name))
        except InputError:
            raise error from None


def _model(name: str) -> ResultRecord:
    model = load_model(name)
    entries = to_mapping(model)
    settings = {key: value for key, value in entries.items() if key not in ("name", "source")}
    described = {
        "name": name,
        "kind": "model",
        "base": model.family,
        "description": "",
        "source": model.source,
        "settings": settings,
    }
    return ResultRecord(described, f"model {name}", [("family", model.family)])


def _accelerator(loaded: Accelerator) -> ResultRecord:
    machine = loaded.machine
    settings = _plain(loaded) if machine.hybrid is None else _hybrid(loaded)
    described = {
        "name": loaded.name,
        "kind": "accelerator",
        "base": machine.name,
        "description": loaded.description,
        "source": loaded.source,
        "settings": settings,
    }
    return ResultRecord(described, f"accelerator {loaded.name}", [("machine", machine.name)])


def _plain(loaded: Accelerator, start: str = "") -> dict[str, Any]:
    """Settings under the names of their schema, defaults of the schema included."""
    return _filled(loaded.machine.fields, loaded.settings, start)


def _filled(fields: Mapping[str, Field], given: Mapping[str, object], start: str) -> dict[str, Any]:
    values = {
        key.removeprefix(start): given.get(key, field.default)
        for key, field in fields.items()
        if key.startswith(start)
    }
    return {key: _bare(value) for key, value in values.items() if value is not None}


def _bare(value: object) -> object:
    """A plain number or text: figures of data sheets know their evidence, files do not."""
    if isinstance(value, float) and not isinstance(value, bool):
        number = float(value)
        return int(number) if number.is_integer() and abs(number) < 1e15 else number
    return value


def _hybrid(loaded: Accelerator) -> dict[str, Any]:
    """Units, links and rules, as in the file of a hybrid."""
    hybrid, fields = loaded.machine.hybrid, loaded.machine.fields
    assert hybrid is not None
    return {
        "units": {
            member.name: {
                "base": member.machine.name,
                **_filled(fields, loaded.settings, f"units.{member.name}."),
            }
            for member in hybrid.members
        },
        "links": [
            {
                "between": list(link.between),
                **_filled(fields, loaded.settings, f"links.{link.name}."),
            }
            for link in hybrid.links
        ],
        "assignment": [
            {
                **({"match": {key: list(p) for key, p in rule.match}} if rule.match else {}),
                "unit": rule.unit,
            }
            for rule in hybrid.rules
        ],
    }


def as_yaml(described: Mapping[str, Any]) -> str:
    """The file of one's own that says the same: every setting with its unit and meaning.

    described : what `show` found.
    """
    import yaml

    settings: dict[str, Any] = described["settings"]
    head = {"source": f"as {described['name']}"}
    if described["kind"] == "model":
        return yaml.safe_dump({**settings, **head}, sort_keys=False, allow_unicode=True)
    if described["base"] == "hybrid":
        return yaml.safe_dump({**head, **settings}, sort_keys=False, allow_unicode=True)
    fields = schema(_schema_of(described["base"]))
    lines = [f"base: {described['base']}", f"source: as {described['name']}"]
    for key, value in settings.items():
        text = yaml.safe_dump({key: value}, allow_unicode=True).strip()
        unit = fields[key].unit
        shown = f"[{unit}] " if unit not in ("", "1") else ""
        lines.append(f"{text:<32}  # {shown}{fields[key].description}".rstrip())
    return "\n".join(lines) + "\n"


def _schema_of(kind: str) -> str:
    from elector.machines import MACHINES

    return MACHINES[kind].schema
