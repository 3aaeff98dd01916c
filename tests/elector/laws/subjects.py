"""The machines under test, found from the registry, and what roles.csv says of their settings."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from elector.base.table import Field, schema
from elector.evaluation.accelerators import list_accelerators, load_accelerator
from elector.machines import MACHINES
from elector.machines.contract import Machine

HERE = Path(__file__).parent
#: What a setting may do; see docs/laws.md.
ROLES = ("more", "less", "order", "format", "size", "side", "kind", "none")


@dataclass(frozen=True)
class Role:
    """What more of a setting may do.

    role : more | less (never slower), order (choices from the slowest to the fastest), format
        (narrower is never slower), size (area only), side (quantised, area only), kind (another
        thing, without an order), none (no effect on time or area).
    order : the choices of the role `order`.
    reason : one line, where the role does not speak for itself.
    """

    role: str
    order: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Subject:
    """A machine under test: `name` in the registry or among the presets, `presets` to draw from."""

    name: str
    presets: tuple[str, ...]

    @property
    def machine(self) -> Machine:
        """The machine."""
        return load_accelerator(self.name).machine

    @property
    def fields(self) -> dict[str, Field]:
        """Its settings; those of a hybrid's units are called units.NAME.KEY."""
        return self.machine.fields

    def role(self, key: str) -> Role:
        """What roles.csv says of a setting."""
        machine, short = self.owner(key)
        return roles()[machine][short]

    def owner(self, key: str) -> tuple[str, str]:
        """The machine kind (or `link`) a setting belongs to, and its name there."""
        hybrid = self.machine.hybrid
        if hybrid is None:
            return self.machine.name, key
        space, _, rest = key.partition(".")
        unit, _, short = rest.partition(".")
        if space == "links":
            return "link", short
        (member,) = (m for m in hybrid.members if m.name == unit)
        return member.machine.name, short

    @property
    def formats(self) -> tuple[str, ...]:
        """Settings that name a number format, and with it the structure of a design."""
        return self.machine.natives

    @property
    def kinds(self) -> tuple[str, ...]:
        """Machine kinds it is made of."""
        hybrid = self.machine.hybrid
        return (self.name,) if hybrid is None else tuple(m.machine.name for m in hybrid.members)


@cache
def subjects() -> dict[str, Subject]:
    """Every machine of the registry with its presets, and every hybrid preset."""
    presets: dict[str, list[str]] = {name: [] for name in MACHINES}
    hybrids = []
    for name in list_accelerators():
        machine = load_accelerator(name).machine
        if machine.hybrid is not None:
            hybrids.append(name)
        elif name != machine.name:
            presets[machine.name].append(name)
    singles = {name: Subject(name, (name, *own)) for name, own in presets.items()}
    return singles | {name: Subject(name, (name,)) for name in hybrids}


@cache
def roles() -> dict[str, dict[str, Role]]:
    """Machine kind (and `link`) -> setting -> its role."""
    by_machine: dict[str, dict[str, Role]] = {}
    with (HERE / "roles.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            order = tuple(row["order"].split("|")) if row["order"] else ()
            role = Role(row["role"], order, row["reason"])
            by_machine.setdefault(row["machine"], {})[row["key"]] = role
    return by_machine


def schema_of(kind: str) -> dict[str, Field]:
    """Settings of a machine kind, or of a link."""
    return schema(MACHINES[kind].schema if kind in MACHINES else kind)
