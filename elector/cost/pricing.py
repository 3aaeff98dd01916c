"""Counts x prices: joules by part, square metres by part, and the record of a batch's costs."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from elector.base.errors import InputError
from elector.base.table import distinct
from elector.cost.notes import Said, sentences
from elector.cost.results import registry
from elector.cost.schedule import Timing
from elector.machines.contract import Activity, Count, Machine, Units, sum_rows
from elector.operations.rows import Operations
from elector.technology import PROVENANCE, Price, Technology
from elector.technology.draws import Number
from elector.technology.laws import CONSTANT, factor

Array = np.ndarray

LEAKAGE = "leakage"
#: Node [nm] at which prices are asked for that hold at every one.
ANY_NODE = 7.0
#: Number of a unit that says which draw of the constants prices it, where there are several.
DRAW = "draw"


@dataclass(frozen=True, eq=False, repr=False)
class Rate:
    """A price for D designs.

    value : (D,) SI. group : (D,) place in PROVENANCE of the weakest row it rests on.
    split : place in PROVENANCE -> (D,) share of the value that rests on it, where the value is a
        sum of parts that differ; None where all of it rests on `group`.
    by_row : (R, D) of the value that a row pays, where rows differ; None where all pay it whole.
    """

    value: Array
    group: Array
    split: tuple[Array, ...] | None = None
    by_row: Array | None = None

    def take(self, part: slice | Array) -> Rate:
        """The price of some of the designs.

        part : (N,) places or a slice.
        """
        split = None if self.split is None else tuple(share[part] for share in self.split)
        by_row = None if self.by_row is None else self.by_row[:, part]
        return Rate(self.value[part], self.group[part], split, by_row)

    def times(self, amount: Array) -> Rate:
        """The price of `amount` (D,) of it."""
        return replace(self, value=self.value * amount)

    def total(self, count: Count, rows: Array | None = None) -> Array:
        """(D,) price of a count over all rows, or over some of them.

        rows : (N,) their places.
        """
        if self.by_row is None:
            return count.total(rows) * self.value
        each = count.each() * self.by_row
        return sum_rows(each if rows is None else each[rows]) * self.value

    def each(self, count: Count) -> Array:
        """(R, D) price of a count, row by row."""
        each = count.each() * self.value
        return each if self.by_row is None else each * self.by_row

    def share(self, place: int) -> Array:
        """(D,) share of the value that rests on a place in PROVENANCE."""
        return (self.group == place) * 1.0 if self.split is None else self.split[place]

    def resting_on(self, *groups: Array) -> Rate:
        """The price where `groups` (D,) are behind it as well: the weakest of all counts."""
        group = self.group
        for other in groups:
            group = np.maximum(group, other)
        if self.split is None:
            return replace(self, group=group)
        floor = functools.reduce(np.maximum, groups)
        return replace(self, group=group, split=_raised(self.split, floor))


def _raised(split: tuple[Array, ...], floor: Array) -> tuple[Array, ...]:
    """Shares by place in PROVENANCE where nothing is firmer than `floor` (D,)."""
    places = range(len(split))
    return tuple(
        sum((split[j] * (np.maximum(floor, j) == i) for j in places), np.zeros_like(split[i]))
        for i in places
    )


@dataclass(frozen=True, eq=False, repr=False)
class Prices:
    """Everything a technology says of D units of one machine.

    actions : action -> joules for each count.
    area : part -> (D,) m2, the overhead included.
    leakage : part -> watts.
    """

    actions: dict[str, Rate]
    area: dict[str, Array]
    leakage: dict[str, Rate]

    def take(self, part: slice | Array) -> Prices:
        """The prices of some of the designs."""
        return Prices(
            {k: r.take(part) for k, r in self.actions.items()},
            {k: v[part] for k, v in self.area.items()},
            {k: r.take(part) for k, r in self.leakage.items()},
        )


def price(machine: Machine, units: Units, compute: str, technology: Technology) -> Prices:
    """Prices of D units; `compute` names the number format of a multiply-accumulate."""
    actions = {
        name: rate(technology, units, action.price, compute, action.size)
        for name, action in machine.actions.items()
    }
    parts = machine.parts(units)
    built = compute_of(machine, units)
    area, leakage = {}, {}
    held: dict[str, Array] = {}
    firmness: dict[str, Array] = {}  # of each part's area
    for name, part in parts.items():
        stated = units.stated(part.stated)
        if part.area is not None:
            each = rate(technology, units, part.area, built).resting_on(stated)
            taken, where = part.amount * each.value, beyond(part.within) if part.within else name
            firmness[where] = np.maximum(firmness.get(where, 0), each.group)
            if part.within:
                held[part.within] = held.get(part.within, 0.0) + taken
            else:
                area[name] = taken
        if part.leakage is not None:
            watt = rate(technology, units, part.leakage, built).resting_on(stated)
            if part.of_area:
                leakage[name] = watt.times(area[name]).resting_on(each.group)
            else:
                leakage[name] = watt.times(part.amount)
    for name, taken in held.items():
        area[beyond(name)] = np.maximum(taken - area[name], 0.0)
    total = np.zeros(units.size)
    for values in area.values():
        total = total + values
    # A machine whose published area counts its modules only may leave the overhead out.
    whole = units.numbers.get("overhead", np.ones(units.size))
    fraction = rate(technology, units, ("overhead", "area_fraction"), "")
    area["overhead"] = total * fraction.value * whole
    if not machine.own_idle:
        die = _die(area, firmness, fraction)
        idle = rate(technology, units, ("overhead", "idle_power"), "")
        on = whole * idling(machine, units, technology)
        leakage["idle"] = die.times(idle.value * on).resting_on(idle.group)
    return Prices(actions, area, leakage)


def _die(area: dict[str, Array], firmness: dict[str, Array], fraction: Rate) -> Rate:
    """Square metres of a die, each part as firm as its own price.

    area : part -> (D,) m2, the overhead among them. firmness : part -> (D,) place in PROVENANCE of
    its area. fraction : the overhead over all other parts.
    """
    total = area["overhead"]
    for name in firmness:
        total = total + area[name]
    split = []
    for place in range(len(PROVENANCE)):
        resting = np.zeros_like(total)
        for name, group in firmness.items():
            own, over = group == place, np.maximum(group, fraction.group) == place
            resting = resting + area[name] * (own + fraction.value * over)
        split.append(resting / (total + (total == 0)))
    group = functools.reduce(np.maximum, firmness.values(), fraction.group)
    return Rate(total, group, tuple(split))


def idling(machine: Machine, units: Units, technology: Technology) -> Array:
    """(D,) idle power at each design's clock over the price: what runs on follows the clock."""
    if not machine.clock:
        return np.ones(units.size)
    of = rate(technology, units, ("overhead", "idle_clock"), "")
    return units.number(machine.clock) / of.value


def beyond(part: str) -> str:
    """Name of the area of what a part is stated to hold and has no room for."""
    return f"beyond the {part}"


def compute_of(machine: Machine, units: Units) -> str:
    """Number format the hardware is built for (one for all units of a group)."""
    return units.names[machine.native][0][0] if machine.native else ""


def price_keys(
    key: tuple[str, str], units: Units, compute: str
) -> tuple[list[tuple[str, str]], Array]:
    """Distinct (part, quantity) of a price, and the (D,) code of each design; see `part_names`.

    key : (part, quantity) with names of parameters in braces.
    """
    names, codes = part_names("|".join(key), units, compute)
    pairs = [name.partition("|") for name in names]
    return [(part, quantity) for part, _, quantity in pairs], codes


def part_names(template: str, units: Units, compute: str) -> tuple[list[str], Array]:
    """Distinct names of a part and the (D,) code of each design.

    "{compute}" in the template is the number format; any other field is a setting of the
    units, such as "{memory}" or "{tile_x}".
    """
    texts, codes = [template.replace("{compute}", compute)], np.zeros(units.size, dtype=np.intp)
    for name in dict.fromkeys(re.findall(r"{(\w+)}", texts[0])):
        if name in units.names:
            values, place = units.names[name]
        else:
            numbers, _, place = distinct(units.number(name))
            values = tuple(f"{number:g}" for number in numbers)
        texts = [text.replace(f"{{{name}}}", value) for text in texts for value in values]
        codes = codes * len(values) + place
    return texts, codes


def rate(
    technology: Technology, units: Units, key: tuple[str, str], compute: str, size: str = ""
) -> Rate:
    """One price for D units: looked up once for each distinct (part, node), and draw.

    size : parameter whose bytes the law of the price follows; "" where it has none.

    key : (part, quantity) with names of parameters in braces.
    """
    keys, codes = price_keys(key, units, compute)
    nodes, node_codes = units.nodes
    code = codes * nodes.size + node_codes
    asked = [(*one, float(node)) for one in keys for node in nodes]
    prices = [technology.price(*price) for price in asked]

    def of(value: Callable[[Price], Number]) -> Array:
        each, draws = [value(price) for price in prices], technology.draws
        if not draws:
            return np.array(each)[code]
        # A price for each draw of the constants.
        under = np.array([np.broadcast_to(values, (draws,)) for values in each])
        return np.asarray(under[code, units.numbers[DRAW].astype(np.intp)])

    values = of(lambda price: price.value)
    group = of(lambda price: PROVENANCE.index(price.group)).astype(np.intp)
    first = prices[0]
    if first.law == CONSTANT or not size:
        return Rate(values, group)
    sizes, floor = units.number(size), of(lambda price: price.floor)
    behind = of(lambda price: PROVENANCE.index(price.floor_group)).astype(np.intp)
    rate = Rate(values * factor(first.law, sizes, floor), group)
    return rate.resting_on(np.where(sizes < floor, behind, 0))


@dataclass(repr=False)
class Cost:
    """Costs of D designs: scalars (D,) by name, groups of scalars by name and part.

    Names, units and meaning are those of the JSON of `elector simulate`. Costs of an
    infeasible design are NaN and `reason` says why; macs, parameters, memory_bytes and
    area_mm2 stay.

    feasible : (D,) bool. reason_code : (D,) place in `reasons`, -1 where feasible. reason_needed,
    reason_available : (D,) what the sentence of the reason names, in SI. reason_largest : (D,)
    sequences of the largest batch that fits, 0 where none does, NaN where it is not known.
    stages : stage -> (2, D) seconds, and the share of them that peak or main memory takes at least;
    of several draws of the constants only.
    """

    size: int
    scalars: dict[str, Array] = field(default_factory=dict)
    groups: dict[str, dict[str, Array]] = field(default_factory=dict)
    feasible: Array = field(default_factory=lambda: np.zeros(0, bool))
    reason_code: Array = field(default_factory=lambda: np.zeros(0, np.intp))
    reason_needed: Array = field(default_factory=lambda: np.zeros(0))
    reason_available: Array = field(default_factory=lambda: np.zeros(0))
    reason_largest: Array = field(default_factory=lambda: np.zeros(0))
    reasons: list[str] = field(default_factory=list)
    operations: list[dict[str, object]] | None = None
    said: list[Said] = field(default_factory=list)
    hints: dict[int, str] = field(default_factory=dict)
    stages: dict[str, Array] = field(default_factory=dict)

    @classmethod
    def empty(cls, size: int) -> Cost:
        """Room for `size` designs."""
        return cls(
            size,
            feasible=np.ones(size, bool),
            reason_code=np.full(size, -1, np.intp),
            reason_needed=np.zeros(size),
            reason_available=np.zeros(size),
            reason_largest=np.full(size, np.nan),
        )

    def __repr__(self) -> str:
        return f"<costs of {self.size:,} designs: {', '.join(list(self.scalars)[:3])} ...>"

    def __getattr__(self, name: str) -> Array:
        scalars = self.__dict__.get("scalars", {})
        if name in scalars:
            values: Array = scalars[name]
            return values
        raise AttributeError(name)

    def put(self, where: Array, name: str, values: Array, group: str | None = None) -> None:
        """Store the values of the designs `where`.

        where : (N,) places of the designs. values : (N,). group : name of a mapping of results,
            None for the results themselves.
        """
        table = self.scalars if group is None else self.groups.setdefault(group, {})
        if name not in table:
            table[name] = np.full(self.size, np.nan if group is None else 0.0)
        table[name][where] = values

    def scalar(self, name: str) -> Array:
        """(D,) values of a scalar, nested ones dotted. Raises InputError if there is none."""
        if name in self.scalars:
            return self.scalars[name]
        group, _, part = name.partition(".")
        if part and part in self.groups.get(group, {}):
            return self.groups[group][part]
        raise InputError("unknown result", field=name, value=name, allowed=self.names())

    def names(self) -> list[str]:
        """Names of all scalars, nested ones dotted, in the order of the registry of results."""
        order = {metric.name: place for place, metric in enumerate(registry())}
        nested = [f"{group}.{part}" for group, parts in self.groups.items() for part in parts]
        names = [*self.scalars, *nested]

        def place(name: str) -> int:
            stem = registry().bounded(name) or name
            return order.get(stem.partition(".")[0], len(order))

        return sorted(names, key=place)

    def notes(self) -> list[list[str]]:
        """Of each design, the sentences that are to be said of it."""
        return sentences(self.said, self.size)

    def reason(self, i: int) -> str | None:
        """Why design `i` is infeasible, or None."""
        if self.feasible[i]:
            return None
        text = self.reasons[self.reason_code[i]]
        from elector.base.units import format_si

        needed, available = float(self.reason_needed[i]), float(self.reason_available[i])
        words = text.format(
            needed=format_si(needed, "byte"),
            available=format_si(available, "byte"),
            needed_w=format_si(needed, "W"),
            available_w=format_si(available, "W"),
            needed_hz=format_si(needed, "Hz"),
            available_hz=format_si(available, "Hz"),
            needed_rate=format_si(needed, "byte/s"),
            available_rate=format_si(available, "byte/s"),
        )
        if i in self.hints:
            words = f"{words} ({self.hints[i]})"
        largest = float(self.reason_largest[i])
        if np.isnan(largest) or "{needed}" not in text:  # a smaller batch needs less memory alone
            return words
        most = f"the largest batch that fits is {largest:.0f}" if largest else "no batch fits"
        return f"{words}; {most}"

    def short_of_memory(self, i: int) -> bool:
        """Whether main memory is what design `i` has too little of."""
        return not self.feasible[i] and "main memory: needs" in self.reasons[self.reason_code[i]]


def joules(
    activity: Activity, prices: Prices, timing: Timing, machine: Machine
) -> dict[str, Array]:
    """Part -> (D,) joules, leakage over the whole time included."""
    by_part: dict[str, Array] = {}
    for name, count in activity.counts.items():
        part = machine.actions[name].part
        by_part[part] = by_part.get(part, 0.0) + prices.actions[name].total(count)
    by_part[LEAKAGE] = standing(activity, prices, timing.seconds)
    return by_part


def standing(
    activity: Activity, prices: Prices, seconds: Array, rows: Array | None = None
) -> Array:
    """(D,) joules that flow in `seconds`, in which `rows` (all of them by default) run."""
    total = np.zeros(1)
    for name, rate in prices.leakage.items():
        total = total + rate.value * powered(activity, name, seconds, rows)
    return total


def powered(activity: Activity, part: str, seconds: Array, rows: Array | None = None) -> Array:
    """(D,) seconds of full leakage of a part: a gated one keeps a residue while it waits.

    rows : (R,) bool, the rows that run; None for all.
    """
    gating = activity.gating
    if part not in gating.awake:
        return seconds
    busy, residue = gating.awake[part].total(rows), gating.residue[part]
    return residue * seconds + (1.0 - residue) * busy


def provenance(
    activity: Activity, prices: Prices, timing: Timing, energy: Array
) -> dict[str, Array]:
    """Heading -> (D,) share of the energy whose weakest row is of that kind of evidence."""
    rates = [replace(r, value=r.total(activity.counts[name])) for name, r in prices.actions.items()]
    rates += [
        r.times(powered(activity, name, timing.seconds)) for name, r in prices.leakage.items()
    ]
    by_heading, whole = {}, np.zeros_like(energy)
    for i, heading in enumerate(PROVENANCE):
        by_heading[heading] = np.zeros_like(energy)
        for rate in rates:
            by_heading[heading] = by_heading[heading] + rate.value * rate.share(i)
        whole = whole + by_heading[heading]
    return {heading: joules / whole for heading, joules in by_heading.items()}


def by_phase(
    ops: Operations, activity: Activity, prices: Prices, timing: Timing
) -> dict[str, Array]:
    """Phase -> (D,) joules; leakage goes with the time of the phase."""
    seconds, joules_of = timing.share(ops, "phase"), {}
    for phase, time in seconds.items():
        rows = ops.where(phase=phase)
        total = standing(activity, prices, time, rows)
        for name, count in activity.counts.items():
            total = total + prices.actions[name].total(count, rows)
        joules_of[phase] = total
    return joules_of


def by_row(activity: Activity, prices: Prices) -> Array:
    """(R, D) joules of every operation, without leakage."""
    terms = [prices.actions[n].each(c) for n, c in activity.counts.items()]
    return sum_rows(np.stack([t.ravel() for t in terms])).reshape(terms[0].shape)
