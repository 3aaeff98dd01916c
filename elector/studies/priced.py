"""Energy and area, term by term: how many of what, at which price, by which law.

Every term multiplies out: value = amount x price x its factors (the law of the price, the voltage a
power limit leaves or a clock asks for, the seconds something stands under power). The price is that
of the technology tables, with the rows it rests on.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from elector.cost import pricing, supply
from elector.cost.power import voltage
from elector.cost.programming import units_placed
from elector.cost.schedule import rows_by_stage
from elector.evaluation.path import Chunk, members
from elector.machines.contract import Link, Part
from elector.technology import PROVENANCE, Price, Technology
from elector.technology.laws import words

Term = dict[str, object]
Factors = list[tuple[str, float]]

#: Square millimetres of a square metre.
MM2 = 1e6


def energy(chunk: Chunk, technology: Technology) -> dict[str, object]:
    """The derivation of energy_j of the first design of a chunk."""
    terms: list[Term] = []
    for start, own in members(chunk).items():
        terms += _named(start, [*_dynamic(own, technology), *_standing(own, technology)])
    terms += _carried(chunk, technology)
    formula = "sum of count x price over the actions, and of watts x seconds over the parts"
    return {
        "value": total(terms),
        "unit": "J",
        "formula": formula,
        **by_unit(chunk, terms),
        **cited(terms, technology),
        "operations": _spenders(chunk),
    }


def area(chunk: Chunk, technology: Technology) -> dict[str, object]:
    """The derivation of area_mm2 of the first design of a chunk."""
    terms: list[Term] = []
    for start, own in members(chunk).items():
        terms += _named(start, _square(own, technology))
    return {
        "value": total(terms),
        "unit": "mm2",
        "formula": "sum of amount x price over the parts",
        **by_unit(chunk, terms),
        **cited(terms, technology),
    }


def total(terms: list[Term]) -> float:
    """Sum of the values of terms."""
    return sum(float(str(term["value"])) for term in terms)


def by_unit(chunk: Chunk, terms: list[Term]) -> dict[str, object]:
    """Of a hybrid, the sum of the terms of every unit and link, the largest first."""
    if chunk.machine.hybrid is None:
        return {}
    sums: dict[str, float] = {}
    for term in terms:
        unit = str(term["unit"])
        sums[unit] = sums.get(unit, 0.0) + float(str(term["value"]))
    return {"units": dict(sorted(sums.items(), key=lambda item: -item[1]))}


def cited(terms: list[Term], technology: Technology) -> dict[str, object]:
    """The terms, and the rows of the tables that they rest on."""
    ids: dict[str, None] = {}
    for term in terms:
        for row in term.get("rows", ()):  # type: ignore[attr-defined]
            ids[row] = None
    rows = [technology.row(i) for i in ids]
    shown = [
        {
            "id": r.id,
            "part": r.part,
            "quantity": r.quantity,
            "value": r.text,
            "source": r.source,
            "evidence": r.evidence,
        }
        for r in rows
    ]
    assumed = sum(r.evidence == "assumed" for r in rows)
    return {"terms": terms, "rows": shown, "assumed": assumed}


def _price(chunk: Chunk, technology: Technology, key: tuple[str, str], built: bool) -> Price:
    compute = chunk.ops.format.compute
    if built:
        compute = pricing.compute_of(chunk.machine, chunk.units)
    keys, codes = pricing.price_keys(key, chunk.units, compute)
    return technology.price(*keys[int(codes[0])], float(chunk.units.number("node")[0]))


def _priced(price: Price, factors: Factors, size: float | None = None) -> Term:
    """What a term says of its price, and what the price is multiplied by."""
    rows, text = list(price.rows), ""
    if size is not None and price.law != "constant":
        text = words(price.law, size, float(price.floor))
        factors = [(text, float(price.factor(size))), *factors]
        rows += [price.floor_row] if size < price.floor else []
    return {
        "price": price.value,
        "price_unit": price.unit,
        "law": price.law,
        "factors": [{"name": name, "value": value} for name, value in factors],
        "evidence": price.evidence,
        "verified": price.verified,
        "counts_as": price.group,
        "derivation": price.note,
        "rows": rows,
    }


def _resting(term: Term, own: Chunk, price: Price, rank: int, part: Part | None = None) -> Term:
    """A term as weak as `rank` (of PROVENANCE) where that is weaker than its price.

    A part whose price stands in a data sheet names that setting and its evidence.
    """
    if part is not None and part.stated:
        known, codes = own.units.evidence[part.stated]
        stated = known[int(codes[0])]
        term["derivation"] = f"{price.note} x accelerator.{part.stated} ({stated.text})"
    if rank > PROVENANCE.index(price.group):
        term["evidence"] = term["counts_as"] = PROVENANCE[rank]
    return term


def _dynamic(own: Chunk, technology: Technology) -> list[Term]:
    """Joules of the actions of one unit."""
    counts = own.activity.counts
    return [
        _acted(own, technology, name, float(counts[name].total()[0]), _lowered(own, name))
        for name in own.machine.actions
    ]


def _acted(
    own: Chunk, technology: Technology, name: str, count: float, factors: Factors | None = None
) -> Term:
    """Joules of so many of one action of a unit.

    factors : what its price is multiplied by.
    """
    raised = _raised(own, technology)
    action, rate = own.machine.actions[name], own.prices.actions[name]
    price = _price(own, technology, action.price, False)
    size = float(own.units.number(action.size)[0]) if action.size else None
    higher = raised if action.core else None
    priced = _supplied(_priced(price, factors or [], size), higher, 2)
    term = _resting(priced, own, price, int(rate.group[0]))
    value = count * float(rate.value[0])
    if rate.by_row is not None:
        value = float(rate.total(own.activity.counts[name])[0])
    return {"name": name, "part": action.part, "value": value, "count": count, **term}


def _lowered(own: Chunk, name: str) -> Factors:
    """What the voltage that a power limit leaves does to the price of an action: its square, the
    mean over what the stages do of it."""
    power = own.activity.power
    if power is None or power.clocked is None or power.speed is None:
        return []
    volts, count = voltage(power.clocked, power.speed)[:, 0], own.activity.counts[name].each()[:, 0]
    if not own.machine.actions[name].core or not count.any() or (volts == 1.0).all():
        return []
    stages = rows_by_stage(own.ops)
    counted = [stage for stage, rows in stages.items() if count[rows].any()]
    each = {stage: float(volts[stages[stage]][0]) for stage in counted}
    text = ", ".join(f"{volts:.3f} in {stage}" for stage, volts in each.items())
    if len(set(each.values())) == 1:
        text = f"{next(iter(each.values())):.3f}"
    return [(f"({text} of the voltage)^2", float((volts**2) @ count / count.sum()))]


def _raised(own: Chunk, technology: Technology) -> tuple[float, list[str]] | None:
    """Supply over the nominal one that the clock asks for, and the rows behind it, if higher."""
    volts = float(supply.voltage(own.machine, own.units, technology)[0])
    if volts <= 1.0:
        return None
    node = float(own.units.number("node")[0])
    prices = [technology.price(supply.LOGIC, name, node) for name in supply.QUANTITIES]
    return volts, [row for price in prices for row in price.rows]


def _supplied(term: Term, raised: tuple[float, list[str]] | None, power: int) -> Term:
    """A term at the supply that a clock asks for: times its ratio to the nominal one ^ power."""
    if raised is None:
        return term
    volts, rows = raised
    name = f"({volts:.3f} of the nominal supply)" + (f"^{power}" if power > 1 else "")
    factors = [*term["factors"], {"name": name, "value": volts**power}]  # type: ignore[misc]
    cited = [*term["rows"], *rows]  # type: ignore[misc]
    return term | {"factors": factors, "rows": list(dict.fromkeys(cited))}


def _standing(own: Chunk, technology: Technology, lasting: float | None = None) -> list[Term]:
    """Joules that flow while the step lasts, whatever one unit does.

    lasting : seconds in which no part is gated; None for those of the step, in which some are.
    """
    terms: list[Term] = []
    raised = _raised(own, technology)
    for name, part in own.machine.parts(own.units).items():
        if part.leakage is None:
            continue
        price = _price(own, technology, part.leakage, True)
        rate = own.prices.leakage[name]
        powered = lasting
        if powered is None:
            powered = float(pricing.powered(own.activity, name, own.timing.seconds)[0])
        amount = float(own.prices.area[name][0] if part.of_area else part.amount[0])
        terms.append(_flowing(f"{name} standing", amount, float(rate.value[0]), powered))
        flows = _priced(price, [("seconds", powered)])
        flows = _supplied(flows, raised if part.of_area else None, 1)
        terms[-1] |= _resting(flows, own, price, int(rate.group[0]), part)
    if not own.machine.own_idle:
        terms += _idle(own, technology, lasting)
    return terms


def _idle(own: Chunk, technology: Technology, lasting: float | None) -> list[Term]:
    """Joules that flow through the die while it waits, apart by how firm the area is known."""
    price = _price(own, technology, ("overhead", "idle_power"), True)
    rate = own.prices.leakage["idle"]
    seconds = float(own.timing.seconds[0]) if lasting is None else lasting
    whole = float(own.units.numbers.get("overhead", np.ones(1))[0])
    die = sum((float(values[0]) for values in own.prices.area.values()), 0.0) * whole
    factors: Factors = [("seconds", seconds)]
    if own.machine.clock:
        on = pricing.idling(own.machine, own.units, technology)
        factors = [("the clock over idle_clock", float(on[0])), *factors]
        clock = _price(own, technology, ("overhead", "idle_clock"), True)
        price = replace(price, rows=(*price.rows, *clock.rows))
    shares = {place: float(rate.share(place)[0]) for place in range(len(PROVENANCE))}
    resting = {place: share for place, share in shares.items() if share > 0}
    terms: list[Term] = []
    for place, share in resting.items():
        name = "idle standing" if len(resting) == 1 else f"idle standing, {PROVENANCE[place]} area"
        term = _flowing(name, die * share, float(rate.value[0]) * share, seconds)
        terms.append(term | _resting(_priced(price, factors), own, price, place))
    return terms


def _flowing(name: str, amount: float, watts: float, seconds: float) -> Term:
    """A term of what flows all the time: so many bytes, lanes or square metres under power."""
    return {
        "name": name,
        "part": pricing.LEAKAGE,
        "value": watts * seconds,
        "amount": amount,
        "watts": watts,
    }


def _carried(chunk: Chunk, technology: Technology) -> list[Term]:
    """Joules of the links of a hybrid."""
    names = [f"link {link.name}" for link in _links(chunk)]
    counts = chunk.activity.counts
    return [_link(chunk, technology, name, float(counts[name].total()[0])) for name in names]


def _links(chunk: Chunk) -> tuple[Link, ...]:
    return chunk.machine.hybrid.links if chunk.machine.hybrid else ()


def _link(chunk: Chunk, technology: Technology, name: str, count: float) -> Term:
    """Joules of so many bytes over a link: bytes x eight times the energy of a bit."""
    start = f"links.{name.removeprefix('link ')}."
    value = count * float(chunk.prices.actions[name].value[0])
    given = float(chunk.units.number(f"{start}energy_per_bit")[0])
    kinds, codes = chunk.units.names[f"{start}kind"]
    price = technology.price(f"link.{kinds[int(codes[0])]}", "energy", pricing.ANY_NODE)
    term = _priced(price, [("bits of a byte", 8.0)])
    if given > 0:
        term |= {"price": given, "evidence": "assumed", "verified": False, "rows": []}
        term["counts_as"] = "assumed"
        term["derivation"] = f"accelerator.{start}energy_per_bit"
    return {"name": name, "part": "links", "value": value, "count": count, "unit": name, **term}


def placing(chunk: Chunk, technology: Technology) -> dict[str, object]:
    """The derivation of placing_j of the first design of a chunk."""
    written = units_placed(chunk.machine, chunk.activity, chunk.prices, chunk.units)
    lasting = sum(float(unit.seconds[0]) for unit in written.values())
    terms: list[Term] = []
    for start, own in members(chunk).items():
        if start in written and written[start].held[0]:
            unit = written[start]
            action = unit.action.removeprefix(start)
            terms += _named(start, [_acted(own, technology, action, float(unit.pulses[0]))])
            sizes = {name: float(size[0]) for name, (size, _) in unit.carried.items()}
            terms += [_link(chunk, technology, name, size) for name, size in sizes.items()]
    for start, own in members(chunk).items():
        terms += _named(start, _standing(own, technology, lasting))
    return {
        "value": total(terms),
        "unit": "J",
        "formula": "sum of count x price over what is written and carried, and of watts x "
        "placing_s over the parts",
        **by_unit(chunk, terms),
        **cited(terms, technology),
    }


def _square(own: Chunk, technology: Technology) -> list[Term]:
    """Square millimetres of the parts of one unit."""
    terms: list[Term] = []
    inside: list[tuple[str, Part]] = []
    for name, part in own.machine.parts(own.units).items():
        if part.area is not None and part.within:
            inside.append((name, part))
        elif part.area is not None:
            value = float(own.prices.area[name][0]) * MM2
            price = _price(own, technology, part.area, True)
            term = _priced(price, [("mm2 of a m2", MM2)])
            rank = int(own.units.stated(part.stated)[0])
            terms.append(
                {
                    "name": name,
                    "part": name,
                    "value": value,
                    "count": float(part.amount[0]),
                    **_resting(term, own, price, rank, part),
                }
            )
    if inside:
        terms.append(_beyond(own, technology, inside))
    price = _price(own, technology, ("overhead", "area_fraction"), True)
    whole = float(own.units.numbers.get("overhead", np.ones(1))[0])
    parts = sum(float(v[0]) for n, v in own.prices.area.items() if n != "overhead") * whole
    terms.append(
        {
            "name": "overhead",
            "part": "overhead",
            "value": float(own.prices.area["overhead"][0]) * MM2,
            "count": parts,
            **_priced(price, [("mm2 of a m2", MM2)]),
        }
    )
    return terms


def _beyond(own: Chunk, technology: Technology, inside: list[tuple[str, Part]]) -> Term:
    """What the parts of a published part take more than it has."""
    within = inside[0][1].within
    name = pricing.beyond(within)
    prices = [_price(own, technology, part.area, True) for _, part in inside if part.area]
    square = [
        f"{part} of {float(p.amount[0]) * price.value * MM2:.4g} mm2"
        for (part, p), price in zip(inside, prices, strict=True)
    ]
    value = float(own.prices.area[name][0])
    weakest = max(prices, key=lambda price: PROVENANCE.index(price.group))
    return {
        "name": name,
        "part": name,
        "value": value * MM2,
        "count": 1.0,
        **_priced(weakest, [("mm2 of a m2", MM2)]),
        "price": value,
        "price_unit": "m2",
        "law": "constant",
        "rows": list(dict.fromkeys(row for price in prices for row in price.rows)),
        "derivation": f"{', '.join(square)}, less the {within}, where that is smaller",
    }


def _named(start: str, terms: list[Term]) -> list[Term]:
    """The terms of a unit, under its name."""
    if not start:
        return terms
    return [
        {
            **term,
            "name": f"{start}{term['name']}",
            "unit": start[:-1],
            "part": term["part"] if term["part"] == pricing.LEAKAGE else f"{start}{term['part']}",
        }
        for term in terms
    ]


def _spenders(chunk: Chunk) -> list[dict[str, object]]:
    """Joules of each operation by part, without what flows all the time."""
    ops, i = chunk.ops, int(chunk.index[0])
    spent: dict[str, np.ndarray] = {}
    for name, count in chunk.activity.counts.items():
        part = chunk.machine.actions[name].part
        joules = chunk.prices.actions[name].each(count)[:, 0]
        spent[part] = spent.get(part, np.zeros(joules.size)) + joules
    return [
        {
            "name": row.name,
            "layer": row.layer,
            "phase": row.phase,
            "joules": float(sum(joules[r] for joules in spent.values())),
            "by_part_j": {
                part: float(joules[r]) for part, joules in spent.items() if joules[r] > 0
            },
        }
        for r, row in enumerate(ops.rows)
        if ops.count[r, i] > 0
    ]
