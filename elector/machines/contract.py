"""A machine: what hardware is described by, and how it answers.

A machine counts and a technology prices: nothing in here is a joule or a square metre. Settings
of designs stand in `units`, what a machine reports of them in `activity`, what it tells the queue
of events in `pieces`; all of it is offered here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from elector.base.table import Field, schema
from elector.machines.activity import Activity, Members, folded, gradients_limit, joined
from elector.machines.counts import Count, sum_rows, total
from elector.machines.pieces import Case, EventModel
from elector.machines.records import (
    Ahead,
    Budget,
    Cells,
    Clocked,
    Details,
    Fill,
    Gating,
    Hold,
    Note,
    Overlap,
    Power,
    Remarks,
    Stream,
    Streams,
    Turned,
    Unit,
    alone_in,
    one_of,
    streams_of,
    undivided,
    waiting,
)
from elector.machines.units import Evidence, Units
from elector.operations.rows import Operations

Array = np.ndarray

__all__ = [
    "Action",
    "Activity",
    "Ahead",
    "AssignmentRule",
    "Budget",
    "Case",
    "Cells",
    "Clocked",
    "Count",
    "Details",
    "EventModel",
    "Evidence",
    "Fill",
    "Gating",
    "Hold",
    "Hybrid",
    "Link",
    "Machine",
    "Member",
    "Members",
    "Note",
    "Overlap",
    "Part",
    "Planned",
    "Power",
    "Prepared",
    "Remarks",
    "Stream",
    "Streams",
    "Turned",
    "Unit",
    "Units",
    "alone_in",
    "folded",
    "gradients_limit",
    "joined",
    "nothing_to_complete",
    "one_of",
    "streams_of",
    "sum_rows",
    "total",
    "undivided",
    "waiting",
]


def nothing_to_complete(units: Units) -> Units:
    """`complete` of a machine that is left no setting."""
    return units


@dataclass(frozen=True, eq=False, repr=False)
class Action:
    """What a counted action costs: `part` of the energy it belongs to, and its price.

    price : (part, quantity) in the technology; "{compute}" is the number format, any other
        field in braces a setting of the machine, such as "{memory}".
    size : parameter whose bytes scale the price where its law says so.
    core : its energy follows the square of the core's supply voltage.
    """

    part: str
    price: tuple[str, str]
    size: str = ""
    core: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class Part:
    """Area and standing power of a part of the chip.

    area : (part, quantity) in the technology; amount : (D,) cells, bytes, lanes ...
    leakage : (part, quantity); of_area : leakage is for each m2 rather than each amount.
    stated : setting that is the price itself, such as a watt of a data sheet; how firm it is
        counts as well.
    within : part that holds this one: together such parts take an area of their own only as far
        as that one is too small for them.
    """

    area: tuple[str, str] | None
    amount: Array
    leakage: tuple[str, str] | None = None
    of_area: bool = False
    stated: str = ""
    within: str = ""


class Prepared(Protocol):
    """D designs that are ready to be asked: what chunks share is worked out once."""

    def activity(self, part: slice | Array) -> Activity:
        """What the designs of `part` do: a slice of them, or their places."""


class Planned(ABC):
    """`Prepared` of a machine of several plans: the same hardware does the same work in another
    way, and only a schedule can tell which is the fastest."""

    @abstractmethod
    def least(self, part: slice | Array) -> Array:
        """(plans, D) seconds that the designs of `part` take under each plan at least; inf where
        one may not be followed. Each design may follow one."""

    @abstractmethod
    def under(self, part: slice | Array, plan: Array, trial: bool = False) -> Activity:
        """What the designs of `part` do, each under the plan of that place (D,).

        trial : only what a schedule and the limits need is asked for.
        """

    def activity(self, part: slice | Array) -> Activity:
        """Under the first plan that each design may follow."""
        return self.under(part, np.isfinite(self.least(part)).argmax(axis=0))


@dataclass(frozen=True, eq=False, repr=False)
class Machine:
    """A kind of hardware: data and three functions.

    schema : name of its schema CSV.
    actions : action -> how it is priced.
    prepare : (operations, pair index (D,), units, details) -> designs that can be asked for
        their activity; of a `Planned` the fastest plan is taken.
    parts : (units) -> name -> Part.
    events : one design -> what it tells the queue of events (elector.machines.pieces); None: it
        has no event model, and `elector trace` says so.
    complete : (units) -> units with the settings that were left to the machine.
    native : parameter that names the machine's own number format.
    supports : (units, number format) -> (D,) bool; None: the native one only.
    stated : settings of which the evidence is kept: prices themselves, and rates that seconds
        follow.
    constants : (operations, units) -> constants that seconds of the first design rest on beside
        its settings, each a row of a table with its source, for `explain`; None: none.
    implementations : software stacks it can run.
    serving_only : those of them that run models and train none.
    chunks : software stack -> tokens of a prompt that it reads at once, 0 for all of them; empty:
        nothing reads prompts in pieces. None that `auto` may stand for has a number.
    automatic : (`implementation` or `attention`, facts) -> what `auto` stands for; None: the first
        stack, and attention unfused. Facts: mode, family of the model, number format `compute`,
        `stack`, and the settings of `deciding`.
    deciding : settings that `auto` follows -> (value) -> what it makes of it: designs in which
        that differs are evaluated apart.
    layerwise : what it does with a layer does not depend on the layers beside it, so that
        layers of different sizes may be columns of their own.
    clock : setting that is the clock of its logic (elector.cost.supply); "": it has its own law.
    spares_zeros : a product with zeros takes it less time or energy.
    compresses : tensors with zeros are stored compressed, in its buffers and in main memory.
    traffic : action -> bytes that one of it moves between main memory and chip.
    paced : (units) -> (D,) bool, designs whose main memory moves no more than its bandwidth; None:
        all of them.
    own_idle : its parts hold all of its idle power, so the rule shared by all chips is left out.
    hybrid : the units, links and rules of a machine that is made of others.
    """

    name: str
    schema: str
    description: str
    actions: dict[str, Action]
    prepare: Callable[[Operations, Array, Units, bool], Prepared]
    parts: Callable[[Units], dict[str, Part]]
    complete: Callable[[Units], Units]
    native: str
    events: Callable[[Case], EventModel] | None
    supports: Callable[[Units, str], Array] | None = None
    stated: tuple[str, ...] = ()
    constants: Callable[[Operations, Units], list[dict[str, object]]] | None = None
    implementations: tuple[str, ...] = ("eager",)
    serving_only: tuple[str, ...] = ()
    chunks: Mapping[str, int] = field(default_factory=dict)
    automatic: Callable[[str, Mapping[str, str]], str] | None = None
    deciding: Mapping[str, Callable[[object], object]] = field(default_factory=dict)
    clock: str = ""
    spares_zeros: bool = False
    compresses: bool = False
    traffic: Mapping[str, float] = field(default_factory=dict)
    paced: Callable[[Units], Array] | None = None
    own_idle: bool = False
    layerwise: bool = False
    hybrid: Hybrid | None = None

    @property
    def fields(self) -> dict[str, Field]:
        """Its settings."""
        return schema(self.schema) if self.hybrid is None else self.hybrid.fields

    @property
    def natives(self) -> tuple[str, ...]:
        """Settings that name a number format: one for each unit."""
        if self.hybrid is None:
            return (self.native,) if self.native else ()
        members = self.hybrid.members
        return tuple(f"units.{m.name}.{m.machine.native}" for m in members if m.machine.native)


@dataclass(frozen=True)
class Member:
    """A unit of a hybrid."""

    name: str
    machine: Machine

    def units(self, units: Units) -> Units:
        """This unit's own settings among those of the hybrid."""
        start = f"units.{self.name}."
        numbers = {k[len(start) :]: v for k, v in units.numbers.items() if k.startswith(start)}
        for name in ("training", "draw"):  # what holds for a whole design
            if name in units.numbers:
                numbers[name] = units.numbers[name]
        names = {k[len(start) :]: v for k, v in units.names.items() if k.startswith(start)}
        firm = {k[len(start) :]: v for k, v in units.evidence.items() if k.startswith(start)}
        return Units(self.machine.name, numbers, names, firm)


@dataclass(frozen=True)
class Link:
    """A connection of two units."""

    between: tuple[str, str]

    @property
    def name(self) -> str:
        """Name in settings and results."""
        return "-".join(self.between)


@dataclass(frozen=True)
class AssignmentRule:
    """Operations whose attributes are all among the patterns run on `unit`."""

    match: tuple[tuple[str, tuple[str, ...]], ...]
    unit: str


@dataclass(frozen=True)
class Hybrid:
    """What a machine of several units is made of. The first unit decides the number format."""

    members: tuple[Member, ...]
    links: tuple[Link, ...]
    rules: tuple[AssignmentRule, ...]

    @property
    def fields(self) -> dict[str, Field]:
        """units.NAME.KEY for each setting of a unit, links.NAME.KEY for each of a link."""
        fields = {
            f"units.{m.name}.{key}": field
            for m in self.members
            for key, field in m.machine.fields.items()
        }
        for link in self.links:
            fields |= {f"links.{link.name}.{k}": f for k, f in schema("link").items()}
        return fields
