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
from typing import TYPE_CHECKING, cast

import numpy as np

from elector.base.segments import Fold
from elector.cost.power import limit
from elector.cost.pricing import ANY_NODE, DRAW, Prices, Rate, price, rate
from elector.cost.schedule import schedule
from elector.cost.supply import reachable, supplied
from elector.machines.contract import (
    Activity,
    Count,
    Hybrid,
    Machine,
    Member,
    Planned,
    Stream,
    Units,
    folded,
    sum_rows,
    undivided,
)
from elector.operations.rows import Operations
from elector.technology import PROVENANCE, Technology

if TYPE_CHECKING:
    from elector.hybrid.assign import Assigned

Array = np.ndarray
Solver = Callable[[slice], tuple[Activity, Prices]]
#: Designs, the plan of each where there are several, whether it is only a trial -> the same.
Solving = Callable[["slice | Array", "Array | None", bool], tuple[Activity, Prices]]


@dataclass(frozen=True, eq=False, repr=False)
class Work:
    """Operations of a machine, and `at`: slice of the designs -> activity and prices.

    owner : (R,) name of the unit that runs a row, or of the link that carries it.
    """

    ops: Operations
    at: Solver
    owner: tuple[str, ...]


def work(
    machine: Machine,
    ops: Operations,
    index: Array,
    units: Units,
    technology: Technology,
    details: bool,
    fold: Fold | None = None,
) -> Work:
    """What D designs of a machine do and pay; index (D,) names the pair of each.

    fold : where layers have columns of their own, index (P,) names those of each design.
    """
    if machine.hybrid is None:
        alone = _plain(machine, ops, index, units, technology, details, fold)
        plan = _planned([alone], ops, index, alone.solve)
        return Work(ops, plan, (machine.name,) * len(ops.rows))
    from elector.hybrid.assign import assign, of_unit  # one machine alone assigns nothing

    hybrid, assigned = machine.hybrid, assign(machine.hybrid, ops)
    parts = []
    for i, member in enumerate(hybrid.members):
        own = member.units(units)
        mine = of_unit(assigned, i, compute_in(member, own, ops.format.compute))
        if member.machine.compresses and ops.densities:
            from elector.operations.sparsity import compressed  # only pruning needs it

            mine = compressed(mine)
        parts.append((mine, _plain(member.machine, mine, index, own, technology, details)))
    links = _link_prices(hybrid, units, technology)
    names = [m.name for m in hybrid.members], [f"link {link.name}" for link in hybrid.links]
    owner = tuple(
        names[0][u] if u >= 0 else names[1][k]
        for u, k in zip(assigned.owner, assigned.link, strict=True)
    )

    def at(part: slice | Array, plan: Array | None, trial: bool) -> tuple[Activity, Prices]:
        found = [own.solve(part, plan, trial) for _, own in parts]
        here = [np.asarray((mine.count > 0).any(axis=0))[index[part]] for mine, _ in parts]
        activity = _together(
            hybrid, assigned, index[part], units.take(part), [a for a, _ in found], here
        )
        return activity, _prices(
            hybrid, [p for _, p in found], {name: r.take(part) for name, r in links.items()}
        )

    best = _planned([own for _, own in parts], assigned.ops, index, at)
    return Work(assigned.ops, best, owner)


@dataclass(frozen=True, eq=False, repr=False)
class _Unit:
    """A unit and its own work: `solve` for some designs, and the plans they may follow.

    least : slice of the designs -> see `Planned.least`; None where there is one way only.
    """

    solve: Solving
    least: Callable[[slice], Array] | None


def _planned(units: list[_Unit], ops: Operations, index: Array, solve: Solving) -> Solver:
    """Every design under the fastest of the plans that its units may follow."""
    several = [unit.least for unit in units if unit.least is not None]

    def at(part: slice) -> tuple[Activity, Prices]:
        if not several:
            return solve(part, None, False)
        places = np.arange(index.size)[part]
        least = _common([each(part) for each in several])
        return solve(part, _fastest(least, places, ops, index, solve), False)

    return at


def _common(least: list[Array]) -> Array:
    """(plans, D) seconds of plans that some unit may follow: others then keep to their first."""
    if len(least) == 1:
        return least[0]
    found = np.full((max(each.shape[0] for each in least), least[0].shape[1]), -np.inf)
    for each in least:
        here = found[: each.shape[0]]
        here[:] = np.maximum(here, np.where(np.isfinite(each), each, -np.inf))
    return np.where(np.isfinite(found), found, np.inf)


def _fastest(least: Array, places: Array, ops: Operations, index: Array, solve: Solving) -> Array:
    """(D,) the plan of the designs `places` that takes the least time.

    The most promising one is tried first, and no plan that cannot be faster than what was found.
    """
    best = np.isfinite(least).argmax(axis=0)
    left = np.where(np.isfinite(least).sum(axis=0) > 1, least, np.inf)
    seconds = np.full(places.size, np.inf)
    while True:
        plan = left.argmin(axis=0)
        some = np.flatnonzero(left[plan, np.arange(plan.size)] < seconds)
        if not some.size:
            return best
        tried = plan[some]
        left[tried, some] = np.inf
        activity, _ = solve(places[some], tried, True)
        found = schedule(ops, index[places[some]], activity).seconds
        for needed, there in activity.limits.values():
            found = np.where(needed > there, np.inf, found)
        better = found < seconds[some]
        seconds[some] = np.where(better, found, seconds[some])
        best[some] = np.where(better, tried, best[some])


def _plain(
    machine: Machine,
    ops: Operations,
    index: Array,
    units: Units,
    technology: Technology,
    details: bool,
    fold: Fold | None = None,
) -> _Unit:
    columns = units if fold is None else units.take(fold.of)
    prepared = machine.prepare(ops, index, columns, details)
    prices = price(machine, units, ops.format.compute, technology)
    prices = supplied(machine, units, prices, technology)

    def at(part: slice | Array, plan: Array | None, trial: bool) -> tuple[Activity, Prices]:
        if fold is not None:
            assert isinstance(part, slice)
            places, own = fold.part(part)
            activity = folded(machine.activity(prepared, places), own)
            activity = reachable(machine, units.take(part), activity, technology)
            return activity, prices.take(part)
        ready, which = prepared, part
        if machine.planned:
            ready, which = _under(cast(Planned, prepared), part, plan, trial), slice(None)
        activity = machine.activity(ready, cast(slice, which))
        activity = reachable(machine, units.take(part), activity, technology)
        return limit(ops, index[part], activity, prices.take(part), machine)[:2]

    return _Unit(at, cast(Planned, prepared).least if machine.planned else None)


def _under(prepared: Planned, part: slice | Array, plan: Array | None, trial: bool) -> object:
    """What was prepared, under the plans asked for where they are a unit's own."""
    allowed = np.isfinite(prepared.least(part))
    own = allowed.argmax(axis=0)
    if plan is None:
        return prepared.under(part, own, trial)
    known = np.minimum(plan, allowed.shape[0] - 1)
    may = allowed[known, np.arange(plan.size)] & (known == plan)
    return prepared.under(part, np.where(may, plan, own), trial)


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
    found = {}
    for link in hybrid.links:
        start = f"links.{link.name}."
        kind = {"kind": units.names[f"{start}kind"]}
        given = units.number(f"{start}energy_per_bit")
        numbers = {"node": np.full(units.size, ANY_NODE)}
        numbers |= {name: units.numbers[name] for name in (DRAW,) if name in units.numbers}
        own = Units("link", numbers, kind)
        table = rate(technology, own, ("link.{kind}", "energy"), "")
        found[f"link {link.name}"] = Rate(
            8.0 * np.where(given > 0, given, table.value),
            np.where(given > 0, PROVENANCE.index("assumed"), table.group),
        )
    return found


def _prices(hybrid: Hybrid, found: list[Prices], links: dict[str, Rate]) -> Prices:
    names = [member.name for member in hybrid.members]

    def named(field: str) -> dict[str, object]:
        return {
            f"{name}.{key}": value
            for name, prices in zip(names, found, strict=True)
            for key, value in getattr(prices, field).items()
        }

    return Prices(named("actions") | links, named("area"), named("leakage"))  # type: ignore[arg-type]


# ---- activity ----


def _together(
    hybrid: Hybrid,
    assigned: Assigned,
    index: Array,
    units: Units,
    found: list[Activity],
    here: list[Array],
) -> Activity:
    """The activities of the units and links as one."""
    names = [member.name for member in hybrid.members]
    several = sum_rows(np.stack([h + 0.0 for h in here])) > 1.0
    found = [_waiting(a, several) for a in found]
    both = list(zip(names, found, strict=True))
    carried = _links(hybrid, assigned, index, units)
    busy = {f"{name}.{r}": seconds for name, a in both for r, seconds in a.busy.items()}
    counts = {f"{name}.{k}": count for name, a in both for k, count in a.counts.items()}
    alone, compute, cycles = (_rows(found, name) for name in ("alone", "compute", "cycles"))
    serial = _rows(found, "chain")
    for name, (seconds, moved) in carried.items():
        busy[name], alone, serial = seconds, alone + seconds, serial + seconds
        counts[name] = Count(moved, index)
    weights, room, ahead = found[0].weights, found[0].room, found[0].bandwidth
    first = assigned.owner[[i for i, row in enumerate(assigned.ops.rows) if row.matmul][:1]]
    tiles, traffic = _details(found, "tiles"), _details(found, "traffic")
    wear, endurance = _wear(found)
    return Activity(
        busy=busy,
        alone=alone,
        serial=serial,
        beside=_beside(found),
        compute=compute,
        cycles=cycles,
        one=_one(names, found, list(carried.values())),
        streams=_streams(names, found, list(carried.values())),
        turns=_turns(found),
        holds=tuple(hold for a in found for hold in a.holds),
        counts=counts,
        fuse=np.zeros(index.size, bool) if len(found) > 1 else found[0].fuse,
        weights=weights,
        room=room,
        bandwidth=ahead,
        start=_total(
            [
                np.where(h & bool(np.any(a.queued) or i in first), a.start, 0.0)
                for i, (a, h) in enumerate(zip(found, here, strict=True))
            ]
        ),
        executed=_total([a.executed for a in found]),
        peak=_total([a.peak for a in found]),
        limits={
            f"unit {name}: {text}": (np.where(h, needed, 0.0), available)
            for (name, a), h in zip(both, here, strict=True)
            for text, (needed, available) in a.limits.items()
        },
        notes={
            text.replace("accelerator.", f"accelerator.units.{name}."): note.among(h)
            for (name, a), h in zip(both, here, strict=True)
            for text, note in a.notes.items()
        },
        resources=tuple(busy),
        queued=_queued(found, here, several),
        members=tuple(found),
        owner=assigned.owner,
        working=tuple(here),
        aside=_aside(found),
        extra={k: v for a in found for k, v in a.extra.items()},
        largest=_largest(found, here, several),
        tiles=None if tiles is None else (tiles[0], tiles[1], tiles[2]),
        traffic=None if traffic is None else (traffic[0], traffic[1]),
        moved=found[0].moved if len(found) == 1 else None,
        awake={f"{name}.{k}": c for name, a in both for k, c in a.awake.items()},
        residue={
            f"{name}.{k}": a.residue  # type: ignore[misc]
            for name, a in both
            for k in a.awake
        },
        wear=wear,
        endurance=endurance,
        fill=found[0].fill if len(found) == 1 else None,
    )


def _waiting(activity: Activity, several: Array) -> Activity:
    """In a design of several units, rows of a queue wait for host and device in turn."""
    if not np.any(activity.queued):
        return activity
    longest = _most([_each(b) for b in activity.busy.values()])
    alone = np.where(several, longest, activity.alone)
    return replace(activity, alone=alone, serial=None, streams=undivided(alone, activity.busy))


def _turns(found: list[Activity]) -> Array | None:
    """(R, D) rows whose loads and computing take turns on the unit that runs them."""
    given = [a.turns & (a.alone > 0) for a in found if a.turns is not None]
    return np.asarray(np.stack(given).any(axis=0)) if given else None


def _one(names: list[str], found: list[Activity], carried: list[tuple[Array, Array]]) -> Stream:
    """All sequences in one stream, a row being nonzero for the unit that runs it."""
    each = [
        _named(name, a.one or Stream(a.chain, a.chain, None, {}))
        for name, a in zip(names, found, strict=True)
    ]
    return _summed(each, [seconds for seconds, _ in carried])


def _named(name: str, stream: Stream) -> Stream:
    """A unit's stream with the names that its resources have in the hybrid."""
    busy, held = (
        {f"{name}.{key}": seconds for key, seconds in taken.items()}
        for taken in (stream.busy, stream.held)
    )
    return replace(stream, busy=busy, held=held)


def _streams(
    names: list[str], found: list[Activity], carried: list[tuple[Array, Array]]
) -> Callable[[Array, Array], Stream]:
    """What one of n streams takes, each row on the unit that runs it."""

    def of(n: Array, rows: Array) -> Stream:
        each = []
        for name, a in zip(names, found, strict=True):
            share = a.chain[rows] / n
            own = Stream(share, share, None, {}) if a.streams is None else a.streams(n, rows)
            each.append(_named(name, own))
        return _summed(each, [seconds[rows] / n for seconds, _ in carried])

    return of


def _summed(each: list[Stream], carried: list[Array]) -> Stream:
    """Streams of units, and seconds of links, as one."""
    turned = [x.alone if x.turned is None else x.turned for x in each]
    some = any(x.turned is not None for x in each)
    return Stream(
        _total([*(x.alone for x in each), *carried]),
        _total([*(x.ahead for x in each), *carried]),
        _total([*turned, *carried]) if some else None,
        {name: seconds for x in each for name, seconds in x.busy.items()},
        {name: seconds for x in each for name, seconds in x.held.items()},
    )


def _each(seconds: Array | Count) -> Array:
    return seconds.each() if isinstance(seconds, Count) else seconds


def _queued(found: list[Activity], here: list[Array], several: Array) -> Array:
    """(D,) designs whose only working unit is a queue."""
    queues = [np.broadcast_to(a.queued, h.shape) & h for a, h in zip(found, here, strict=True)]
    return np.stack(queues).any(axis=0) & ~several


def _links(
    hybrid: Hybrid, assigned: Assigned, index: Array, units: Units
) -> dict[str, tuple[Array, Array]]:
    """Resource and action -> (R, D) seconds, and (R, M) bytes over all runs."""
    found = {}
    for i, link in enumerate(hybrid.links):
        mine = (assigned.link == i)[:, None]
        count = np.where(mine, assigned.ops.count, 0.0)
        start = f"links.{link.name}."
        wait = units.number(f"{start}latency")
        each = assigned.moved[:, index] / units.number(f"{start}bandwidth") + wait
        found[f"link {link.name}"] = (count[:, index] * each, count * assigned.moved)
    return found


def _rows(found: list[Activity], field: str) -> Array:
    """(R, D) of all units: a row is nonzero for the one that runs it."""
    return _total([getattr(a, field) for a in found])


def _largest(found: list[Activity], here: list[Array], several: Array) -> Array | None:
    """(D,) the largest batch of designs in which one unit does all; NaN where it is not known."""
    if len(found) == 1:
        return found[0].largest
    largest = np.full(several.shape, np.nan)
    for activity, works in zip(found, here, strict=True):
        if activity.largest is not None:
            largest = np.where(works & ~several, activity.largest, largest)
    return largest


def _aside(found: list[Activity]) -> dict[str, Array]:
    """Kind -> (R, D) seconds of all units."""
    kinds = dict.fromkeys(kind for a in found for kind in a.aside)
    return {kind: _total([a.aside[kind] for a in found if kind in a.aside]) for kind in kinds}


def _beside(found: list[Activity]) -> Array | None:
    """(R, D) rows whose heads stand side by side on the unit that runs them."""
    given = [a.beside & (a.alone > 0) for a in found if a.beside is not None]
    return np.asarray(np.stack(given).any(axis=0)) if given else None


def _total(values: list[Array]) -> Array:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def _most(values: list[Array]) -> Array:
    most = values[0]
    for value in values[1:]:
        most = np.maximum(most, value)
    return most


def _details(found: list[Activity], field: str) -> tuple[Array, ...] | None:
    parts = [getattr(a, field) for a in found]
    if any(part is None for part in parts):
        return None
    return tuple(_total(list(values)) for values in zip(*parts, strict=True))


def _wear(found: list[Activity]) -> tuple[Array | None, Array | None]:
    """Wear and endurance of the unit that lives shortest."""
    wear, endurance = None, None
    for a in found:
        if a.wear is None or a.endurance is None:
            continue
        if wear is None or endurance is None:
            wear, endurance = a.wear, a.endurance
            continue
        sooner = a.wear / a.endurance > wear / endurance
        wear = np.where(sooner, a.wear, wear)
        endurance = np.where(sooner, a.endurance, endurance)
    return wear, endurance
