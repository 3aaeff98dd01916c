"""From operations to activity and prices, for one machine or for a hybrid of several.

A hybrid is its units: each is asked for its own operations as if the others were not there,
each keeps its own power limit, and what they report is laid side by side. The schedule then
sees the resources of all units and those of the links. One unit alone is that unit, bit for
bit. In a hybrid a queue (a GPU's) runs dry whenever another unit has to answer, so that a row
then takes the longer of device and host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from elector.base.segments import Fold
from elector.cost.power import limit
from elector.cost.pricing import ANY_NODE, DRAW, Prices, Rate, price, rate
from elector.cost.supply import reachable, supplied
from elector.hybrid.plans import Solver, Solving, fastest_of, under
from elector.machines.contract import (
    Activity,
    Count,
    Hybrid,
    Machine,
    Member,
    Members,
    Note,
    Overlap,
    Planned,
    Stream,
    Streams,
    Unit,
    Units,
    alone_in,
    folded,
    joined,
    total,
    undivided,
    waiting,
)
from elector.operations.rows import Operations
from elector.technology import PROVENANCE, Technology

if TYPE_CHECKING:
    from elector.hybrid.assign import Assigned

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class BlockDesigns:
    """D designs of a block.

    index : (D,) pair of each. details : operation by operation. fold : where layers have columns
    of their own, index (P,) names those of each design; else None.
    """

    ops: Operations
    index: Array
    units: Units
    technology: Technology
    details: bool
    fold: Fold | None = None


@dataclass(frozen=True, eq=False, repr=False)
class MachineWork:
    """Operations of a machine, and `at`: slice of the designs -> activity and prices.

    owner : (R,) name of the unit that runs a row, or of the link that carries it.
    """

    ops: Operations
    at: Solver
    owner: tuple[str, ...]


def work(machine: Machine, asked: BlockDesigns) -> MachineWork:
    """What the designs of a machine do and pay."""
    if machine.hybrid is not None:
        return _of_hybrid(machine.hybrid, asked)
    alone = _plain(machine, asked)
    plan = fastest_of([alone.least], asked.ops, asked.index, alone.solve)
    return MachineWork(asked.ops, plan, (machine.name,) * len(asked.ops.rows))


def _of_hybrid(hybrid: Hybrid, asked: BlockDesigns) -> MachineWork:
    """What each unit does of the operations, and what the links carry."""
    from elector.hybrid.assign import assign  # one machine alone assigns nothing

    assigned, index = assign(hybrid, asked.ops), asked.index
    parts = [_of_unit(assigned, i, member, asked) for i, member in enumerate(hybrid.members)]
    works = [np.asarray((own.ops.count > 0).any(axis=0)) for own, _ in parts]
    links = _link_prices(hybrid, asked.units, asked.technology)
    begins, told = _first_unit(assigned), _idle_sparsity(hybrid, [own.ops for own, _ in parts])

    def at(part: slice | Array, plan: Array | None, trial: bool) -> tuple[Activity, Prices]:
        solved_parts = [solved.solve(part, plan, trial) for _, solved in parts]
        units = [
            Unit(member.name, f"{member.name}.", activity, here[index[part]])
            for member, (activity, _), here in zip(hybrid.members, solved_parts, works, strict=True)
        ]
        carried = _links(hybrid, assigned, index[part], asked.units.take(part))
        activity = _together(assigned, units, carried, begins[index[part]])
        if told:
            own = {text: Note(idle[index[part]]) for text, idle in told.items()}
            remarks = replace(activity.told, notes=activity.told.notes | own)
            activity = replace(activity, told=remarks)
        taken = {name: r.take(part) for name, r in links.items()}
        return activity, _prices(hybrid, [p for _, p in solved_parts], taken)

    best = fastest_of([solved.least for _, solved in parts], assigned.ops, index, at)
    return MachineWork(assigned.ops, best, assigned.named(hybrid))


def _idle_sparsity(hybrid: Hybrid, operations: list[Operations]) -> dict[str, Array]:
    """What is said where zeros change nothing, and the (M,) pairs it is said of: those of which no
    unit that skips zeros is given a product that has any.

    operations : of each unit. Nothing is said here of a hybrid without such a unit.
    """
    able = [i for i, member in enumerate(hybrid.members) if member.machine.spares_zeros]
    if not able or operations[0].workload.sparsity == "dense":
        return {}
    used = np.zeros(operations[0].count.shape[1], dtype=bool)
    for ops in (operations[i] for i in able):
        zeros = ops.density("a") * ops.density("b") < 1.0
        products = np.array([row.matmul for row in ops.rows])[:, None]
        used |= (zeros & products & (ops.count > 0)).any(axis=0)
    names = " or ".join(hybrid.members[i].name for i in able)
    said = f"workload.sparsity changes nothing: no product with zeros to skip is given to {names}"
    return {} if used.all() else {said: ~used}


def _of_unit(
    assigned: Assigned, i: int, member: Member, asked: BlockDesigns
) -> tuple[BlockDesigns, _Solved]:
    """What a unit is asked for, and its own work."""
    from elector.hybrid.assign import of_unit  # one machine alone assigns nothing

    own = member.units(asked.units)
    mine = of_unit(assigned, i, compute_in(member, own, asked.ops.format.compute))
    if member.machine.compresses and asked.ops.densities:
        from elector.operations.sparsity import compressed  # only pruning needs it

        mine = compressed(mine)
    part = replace(asked, ops=mine, units=own, fold=None)
    return part, _plain(member.machine, part)


@dataclass(frozen=True, eq=False, repr=False)
class _Solved:
    """A unit and its own work: `solve` for some designs, and the plans they may follow.

    least : slice of the designs -> see `Planned.least`; None where there is one way only.
    """

    solve: Solving
    least: Callable[[slice], Array] | None


def _plain(machine: Machine, asked: BlockDesigns) -> _Solved:
    ops, index, units, fold = asked.ops, asked.index, asked.units, asked.fold
    columns = units if fold is None else units.take(fold.of)
    prepared = machine.prepare(ops, index, columns, asked.details)
    prices = price(machine, units, ops.format.compute, asked.technology)
    prices = supplied(machine, units, prices, asked.technology)

    def at(part: slice | Array, plan: Array | None, trial: bool) -> tuple[Activity, Prices]:
        if fold is not None:
            assert isinstance(part, slice)
            places, own = fold.part(part)
            activity = folded(prepared.activity(places), own)
            activity = reachable(machine, units.take(part), activity, asked.technology)
            return activity, prices.take(part)
        if isinstance(prepared, Planned):
            activity = under(prepared, part, plan, trial)
        else:
            activity = prepared.activity(part)
        activity = reachable(machine, units.take(part), activity, asked.technology)
        return limit(ops, index[part], activity, prices.take(part), machine)

    return _Solved(at, prepared.least if isinstance(prepared, Planned) else None)


def compute_in(member: Member, units: Units, compute: str) -> str:
    """The number format a unit multiplies in: the one asked for if it can, else its own."""
    built = units.names[member.machine.native][0][0]
    return compute if _computes(member.machine, units, compute) else built


def _computes(machine: Machine, units: Units, compute: str) -> bool:
    """Whether all units have that multiply-accumulate."""
    if machine.supports is not None:
        return bool(machine.supports(units, compute).all())
    return units.names[machine.native][0][0] == compute


# ---- prices ----


def _link_prices(hybrid: Hybrid, units: Units, technology: Technology) -> dict[str, Rate]:
    """Action -> joules a byte; an energy of the user's own counts as assumed."""
    rates = {}
    for link in hybrid.links:
        start = f"links.{link.name}."
        kind = {"kind": units.names[f"{start}kind"]}
        given = units.number(f"{start}energy_per_bit")
        numbers = {"node": np.full(units.size, ANY_NODE)}
        numbers |= {name: units.numbers[name] for name in (DRAW,) if name in units.numbers}
        own = Units("link", numbers, kind)
        table = rate(technology, own, ("link.{kind}", "energy"), "")
        rates[f"link {link.name}"] = Rate(
            8.0 * np.where(given > 0, given, table.value),
            np.where(given > 0, PROVENANCE.index("assumed"), table.group),
        )
    return rates


def _prices(hybrid: Hybrid, tables: list[Prices], links: dict[str, Rate]) -> Prices:
    names = [member.name for member in hybrid.members]

    def named(field: str) -> dict[str, object]:
        return {
            f"{name}.{key}": value
            for name, prices in zip(names, tables, strict=True)
            for key, value in getattr(prices, field).items()
        }

    return Prices(named("actions") | links, named("area"), named("leakage"))  # type: ignore[arg-type]


# ---- activity ----


def _together(
    assigned: Assigned,
    units: list[Unit[Activity]],
    links: list[Unit[Activity]],
    first: Array,
) -> Activity:
    """The activities of the units and links as one; first (D,) : unit of the first product."""
    several = ~alone_in(units)
    units = [replace(u, activity=_waiting(u.activity, several)) for u in units]
    start = total(
        [
            np.where(
                u.works & (bool(np.any(u.activity.overlap.queued)) | (first == i)),
                u.activity.start,
                0.0,
            )
            for i, u in enumerate(units)
        ]
    )
    members = Members(
        tuple(u.activity for u in units), assigned.owner, tuple(u.works for u in units)
    )
    return joined([*units, *links], members, start)


def _first_unit(assigned: Assigned) -> Array:
    """(M,) the unit that runs the first product of a pair; -1 where it has none."""
    unit = np.full(assigned.ops.count.shape[1], -1)
    for r in reversed([i for i, row in enumerate(assigned.ops.rows) if row.matmul]):
        unit = np.where(assigned.ops.count[r] > 0, assigned.owner[r], unit)
    return unit


def _waiting(activity: Activity, several: Array) -> Activity:
    """In a design of several units, rows of a queue wait for host and device in turn."""
    if not np.any(activity.overlap.queued):
        return activity
    alone = waiting(activity.alone, activity.busy, several)
    streams = undivided(alone, activity.busy)
    return replace(activity, alone=alone, overlap=replace(activity.overlap, streams=streams))


@dataclass(frozen=True, eq=False, repr=False)
class _LinkStreams(Streams):
    """What one of n streams takes of a link: its share of the bytes, and every latency anew.

    Weights cross once for all streams, and none begins with a share of them.

    carried, waits : (R, D) seconds. shared : (R,) bool, rows that carry weights.
    """

    name: str
    carried: Array
    waits: Array
    shared: Array

    def of(self, n: Array, rows: Array) -> Stream:
        """What one of n (D,) streams takes for some rows."""
        carried, waits, shared = self.carried[rows], self.waits[rows], self.shared[rows]
        seconds = carried / n + waits
        if not shared.any():
            return Stream(seconds, seconds, None, {self.name: seconds})
        once = np.where(shared[:, None], carried + waits, seconds)
        busy = np.where(shared[:, None], once / n, seconds)
        return Stream(once, once, None, {self.name: busy})

    def some(self, columns: Array) -> Streams:
        """The streams of some of the designs."""
        carried, waits = self.carried[:, columns], self.waits[:, columns]
        return _LinkStreams(self.name, carried, waits, self.shared)


def _links(hybrid: Hybrid, assigned: Assigned, index: Array, units: Units) -> list[Unit[Activity]]:
    """The links as units that carry: seconds, and bytes over all runs."""
    carriers, never = [], np.zeros(index.size)
    for i, link in enumerate(hybrid.links):
        name = f"link {link.name}"
        count = np.where((assigned.link == i)[:, None], assigned.ops.count, 0.0)
        start = f"links.{link.name}."
        wait = units.number(f"{start}latency")
        runs, carried = (x[:, index] for x in (count, count * assigned.moved))
        carried = carried / units.number(f"{start}bandwidth")
        seconds = carried + runs * wait
        moved = {name: Count(count * assigned.moved, index)}
        activity = Activity(
            {name: seconds}, seconds, seconds, moved, never, never, {}, never > 0, never
        )
        shared = assigned.shared & (assigned.link == i)
        overlap = Overlap(streams=_LinkStreams(name, carried, runs * wait, shared))
        activity = replace(activity, overlap=overlap)
        carriers.append(Unit(name, "", activity, never > 0, link=True))
    return carriers
