"""Hybrids: what a file says of units, links and assignment -> a machine and its settings.

units:
  gpu: {base: a100-sxm-40gb}
  tier: {base: reram, tiles: 400}
links:
  - {between: [gpu, tier], kind: package, bandwidth: 400 GB/s, latency: 1 us}
assignment:                        # the first rule that matches decides
  - {match: {class: [weight, reuse], layer: layers}, unit: tier}
  - {unit: gpu}
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from elector.base.errors import InputError
from elector.base.table import schema
from elector.hybrid.assign import ASKED, ATTRIBUTES
from elector.machines.contract import (
    Action,
    AssignmentRule,
    Hybrid,
    Link,
    Machine,
    Member,
    Part,
    Prepared,
    Units,
)
from elector.operations.rows import CLASSES, Operations

Array = np.ndarray

#: Keys of a file that make it a hybrid.
KEYS = ("units", "links", "assignment")
#: What a rule may ask for, where it is one of a list.
CHOICES = {
    "phase": ("forward", "prefill", "decode", "recompute", "backward", "update"),
    "kind": (
        "linear",
        "attention",
        "softmax",
        "norm",
        "activation",
        "elementwise",
        "embedding",
        "loss",
        "optimizer",
        "cast",
    ),
    "class": CLASSES,
    "mode": ("inference", "training"),
}
NAME = re.compile(r"[a-z][a-z0-9_]*")

Settings = dict[str, object]
#: (entries of a unit, its name, file) -> machine and settings.
Loader = Callable[[Mapping[str, object], str, object], tuple[Machine, Settings]]


def read(data: Mapping[str, object], file: object, load: Loader) -> tuple[Machine, Settings]:
    """The hybrid that the entries of a file describe.

    data : what the file holds. load : reads the description of a unit.
    """
    members, settings = _units(data.get("units"), file, load)
    links, own = _links(data.get("links", []), members, file)
    rules = read_rules(data.get("assignment"), tuple(m.name for m in members), file)
    return assemble(members, links, rules), settings | own


def change(
    machine: Machine, settings: Settings, data: Mapping[str, object], file: object
) -> tuple[Machine, Settings]:
    """A hybrid with other settings of its units, or another assignment.

    data : what differs, as a file would say it.
    """
    hybrid = machine.hybrid
    assert hybrid is not None
    if "links" in data:
        raise InputError(
            "links are those of the base",
            file=file,
            field="links",
            hint="units and links of its own make a new hybrid, without a base",
        )
    units = data.get("units", {})
    names = [m.name for m in hybrid.members]
    if not isinstance(units, dict):
        raise InputError("must map names to settings", file=file, field="units")
    changed = dict(settings)
    for name, entries in units.items():
        if name not in names or not isinstance(entries, dict):
            raise InputError(
                "is no unit of the base", file=file, field="units", value=name, allowed=names
            )
        changed |= {f"units.{name}.{key}": value for key, value in entries.items()}
    if "assignment" in data:
        rules = read_rules(data["assignment"], tuple(names), file)
        machine = assemble(hybrid.members, hybrid.links, rules)
    return machine, changed


def _units(data: object, file: object, load: Loader) -> tuple[tuple[Member, ...], Settings]:
    if not isinstance(data, dict) or not data:
        raise InputError("must map names to units", file=file, field="units", value=data)
    members: list[Member] = []
    settings: Settings = {}
    for name, entries in data.items():
        at = f"units.{name}"
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise InputError(
                "a name of small letters, digits and _", file=file, field="units", value=name
            )
        if not isinstance(entries, dict) or "base" not in entries:
            raise InputError("must be a mapping with a base", file=file, field=at, value=entries)
        machine, own = load(entries, at, file)
        if machine.hybrid is not None:
            raise InputError(
                "a unit cannot be a hybrid", file=file, field=at, value=entries["base"]
            )
        members.append(Member(name, machine))
        settings |= {f"{at}.{key}": value for key, value in own.items()}
    return tuple(members), settings


def _links(
    data: object, members: tuple[Member, ...], file: object
) -> tuple[tuple[Link, ...], Settings]:
    names = [m.name for m in members]
    if not isinstance(data, list):
        raise InputError("must be a list", file=file, field="links", value=data)
    links: list[Link] = []
    settings: Settings = {}
    seen: set[frozenset[object]] = set()
    for i, entry in enumerate(data):
        at = f"links[{i}]"
        if not isinstance(entry, dict) or "between" not in entry:
            raise InputError("must be a mapping with between", file=file, field=at, value=entry)
        ends = entry["between"]
        if not isinstance(ends, list) or len(ends) != 2 or ends[0] == ends[1]:
            raise InputError("must be two units", file=file, field=f"{at}.between", value=ends)
        for end in ends:
            if end not in names:
                raise InputError(
                    "unknown unit", file=file, field=f"{at}.between", value=end, allowed=names
                )
        if frozenset(ends) in seen:
            raise InputError("these units have a link already", file=file, field=at, value=ends)
        seen.add(frozenset(ends))
        link = Link((str(ends[0]), str(ends[1])))
        links.append(link)
        for key, value in _link_settings(entry, at, file).items():
            settings[f"links.{link.name}.{key}"] = value
    return tuple(links), settings


def _link_settings(entry: Mapping[str, object], at: str, file: object) -> Settings:
    """What an entry says of its link; at : its field in the file."""
    fields = schema("link")
    settings: Settings = {}
    for key, value in entry.items():
        if key in ("between", "source"):
            continue
        if key not in fields:
            allowed = ["between", "source", *fields]
            raise InputError("unknown key", file=file, field=at, value=key, allowed=allowed)
        settings[key] = fields[key].parse(value, file=file, field=f"{at}.{key}")
    return settings


def read_rules(
    data: object, units: tuple[str, ...], file: object, at: str = "assignment"
) -> tuple[AssignmentRule, ...]:
    """The rules of an assignment; a hybrid of one unit needs none.

    data : the entry `assignment` of the file. at : its field there.
    """
    if data is None and len(units) == 1:
        return (AssignmentRule((), units[0]),)
    if not isinstance(data, list) or not data:
        raise InputError(
            "must be a list of rules",
            file=file,
            field=at,
            value=data,
            hint="- {match: {kind: linear}, unit: NAME}",
        )
    return tuple(_rule(entry, f"{at}[{i}]", units, file) for i, entry in enumerate(data))


def _rule(entry: object, at: str, units: tuple[str, ...], file: object) -> AssignmentRule:
    if not isinstance(entry, dict) or set(entry) - {"match", "unit"} or "unit" not in entry:
        raise InputError("must have unit and, perhaps, match", file=file, field=at, value=entry)
    if entry["unit"] not in units:
        raise InputError(
            "unknown unit", file=file, field=f"{at}.unit", value=entry["unit"], allowed=units
        )
    match = entry.get("match") or {}
    if not isinstance(match, dict):
        raise InputError("must be a mapping", file=file, field=f"{at}.match", value=match)
    patterns_of = []
    for key, value in match.items():
        if key not in (*ATTRIBUTES, *ASKED):
            raise InputError(
                "cannot be matched",
                file=file,
                field=f"{at}.match",
                value=key,
                allowed=[*ATTRIBUTES, *ASKED],
            )
        patterns = tuple(str(v) for v in (value if isinstance(value, list) else [value]))
        for pattern in patterns:
            if key in CHOICES and pattern not in CHOICES[key]:
                raise InputError(
                    "matches nothing",
                    file=file,
                    field=f"{at}.match.{key}",
                    value=pattern,
                    allowed=CHOICES[key],
                )
        patterns_of.append((str(key), patterns))
    return AssignmentRule(tuple(patterns_of), str(entry["unit"]))


def _choices_of(members: tuple[Member, ...], rules: tuple[AssignmentRule, ...]) -> dict[str, Any]:
    """What `auto` follows: the first unit with a choice of its own that a rule gives work to, so
    that a hybrid whose work all goes to one unit is that unit."""
    working = {rule.unit for rule in rules} or {m.name for m in members}
    choosing = next(
        (m for m in members if m.machine.automatic is not None and m.name in working), None
    )
    if choosing is None or choosing.machine.automatic is None:
        return {}
    start, choose = f"units.{choosing.name}.", choosing.machine.automatic

    def automatic(setting: str, facts: Mapping[str, str]) -> str:
        return choose(setting, {key.removeprefix(start): value for key, value in facts.items()})

    deciding = {start + key: alike for key, alike in choosing.machine.deciding.items()}
    return {"automatic": automatic, "deciding": deciding}


def _stacks_of(members: tuple[Member, ...]) -> dict[str, Any]:
    """Software stacks of all units, and those that train none."""
    machines = [m.machine for m in members]
    return {
        "implementations": tuple(dict.fromkeys(s for m in machines for s in m.implementations)),
        "chunks": {stack: size for m in machines for stack, size in m.chunks.items()},
        "serving_only": tuple(dict.fromkeys(s for m in machines for s in m.serving_only)),
    }


@functools.cache
def assemble(
    members: tuple[Member, ...], links: tuple[Link, ...], rules: tuple[AssignmentRule, ...]
) -> Machine:
    """The machine of these units: the same for the same structure."""
    hybrid = Hybrid(members, links, rules)
    actions: dict[str, Action] = {}
    for m in members:
        actions |= {
            f"{m.name}.{name}": replace(action, part=f"{m.name}.{action.part}")
            for name, action in m.machine.actions.items()
        }
    for link in links:
        actions[f"link {link.name}"] = Action("links", ("link.{kind}", "energy"))
    native = next((f"units.{m.name}.{m.machine.native}" for m in members if m.machine.native), "")

    def parts(units: Units) -> dict[str, Part]:
        return {
            f"{m.name}.{name}": part
            for m in members
            for name, part in m.machine.parts(m.units(units)).items()
        }

    def complete(units: Units) -> Units:
        numbers = dict(units.numbers)
        for m in members:
            own = m.machine.complete(m.units(units))
            numbers |= {f"units.{m.name}.{key}": v for key, v in own.numbers.items()}
        return Units("hybrid", numbers, units.names, units.evidence)

    return Machine(
        name="hybrid",
        schema="link",
        description=" + ".join(m.name for m in members),
        actions=actions,
        prepare=_by_unit,
        parts=parts,
        complete=complete,
        native=native,
        events=None,  # its units have theirs
        stated=tuple(f"units.{m.name}.{key}" for m in members for key in m.machine.stated),
        **_choices_of(members, rules),
        **_stacks_of(members),
        hybrid=hybrid,
    )


def _by_unit(ops: Operations, index: Array, units: Units, details: bool) -> Prepared:
    """A hybrid's units are prepared one by one (elector.hybrid.combine)."""
    raise NotImplementedError
