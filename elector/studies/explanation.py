"""Where a figure comes from: its terms, their prices, and the table rows those rest on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from elector.base.errors import InputError
from elector.base.table import Column
from elector.cost import pricing
from elector.evaluation.path import Chunk, inspect, members, require_feasible
from elector.evaluation.resolve import resolve
from elector.machines.contract import Part
from elector.operations.tensors import parameter_tensors
from elector.technology import PROVENANCE, Price, Technology

#: Results that can be explained, and how.
RESULTS = ("energy_j", "power_w", "area_mm2", "latency_s", "utilization", "macs", "parameters")


def explain_result(
    columns: Mapping[str, Column], result: str, technology: Technology
) -> dict[str, object]:
    """The derivation of one result of one design.

    Returns result, value, unit, formula, terms (each with name, value and what it is made
    of), rows (the technology rows they rest on), assumed (how many of those are assumed).
    Raises InputError for a result that is not one of RESULTS or a design that is infeasible.
    """
    if result not in RESULTS:
        raise InputError("cannot be explained", field="--result", value=result, allowed=RESULTS)
    chunk = inspect(columns, technology)
    require_feasible(chunk)
    found = {
        "energy_j": _energy,
        "power_w": _power,
        "area_mm2": _area,
        "latency_s": _latency,
        "utilization": _utilization,
        "macs": _macs,
    }
    if result == "parameters":
        return {"result": result, **_parameters(columns)}
    return {"result": result, **found[result](chunk, technology)}


def _price(chunk: Chunk, technology: Technology, key: tuple[str, str], built: bool) -> Price:
    compute = chunk.ops.format.compute
    if built:
        compute = pricing.compute_of(chunk.machine, chunk.units)
    keys, codes = pricing.price_keys(key, chunk.units, compute)
    return technology.price(*keys[int(codes[0])], float(chunk.units.number("node")[0]))


def _shown(price: Price) -> dict[str, object]:
    return {
        "price": price.value,
        "price_unit": price.unit,
        "law": price.law,
        "evidence": price.evidence,
        "verified": price.verified,
        "derivation": price.note,
        "rows": list(price.rows),
    }


def _resting(own: Chunk, price: Price, rank: int, part: Part | None = None) -> dict[str, object]:
    """A price as shown, as weak as `rank` (of PROVENANCE) where that is weaker.

    A part whose price stands in a data sheet names that setting and its evidence.
    """
    shown = _shown(price)
    if part is not None and part.stated:
        known, codes = own.units.evidence[part.stated]
        stated = known[int(codes[0])]
        shown["derivation"] = f"{price.note} x accelerator.{part.stated} ({stated.text})"
    if rank > PROVENANCE.index(price.group):
        shown["evidence"] = PROVENANCE[rank]
    return shown


def _cited(terms: list[dict[str, object]], technology: Technology) -> dict[str, object]:
    ids: dict[str, None] = {}
    for term in terms:
        for row in term.get("rows", ()):  # type: ignore[attr-defined]
            ids[row] = None
    rows = [technology.row(i) for i in ids]
    cited = [
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
    return {"terms": terms, "rows": cited, "assumed": assumed}


def _total(terms: list[dict[str, object]]) -> float:
    return sum(float(str(term["value"])) for term in terms)


def _energy(chunk: Chunk, technology: Technology) -> dict[str, object]:
    terms: list[dict[str, object]] = []
    for start, own in members(chunk).items():
        terms += _named(start, [*_dynamic(own, technology), *_standing(own, technology)])
    terms += _carried(chunk, technology)
    formula = "sum of count x price over the actions, and of watts x latency over the parts"
    return {
        "value": _total(terms),
        "unit": "J",
        "formula": formula,
        **_by_unit(chunk, terms),
        **_cited(terms, technology),
        "operations": _spenders(chunk),
    }


def _spenders(chunk: Chunk) -> list[dict[str, object]]:
    """Joules of each operation by part, without what flows all the time."""
    ops, i = chunk.ops, int(chunk.index[0])
    spent: dict[str, np.ndarray] = {}
    for name, count in chunk.activity.counts.items():
        part = chunk.machine.actions[name].part
        joules = count.each()[:, 0] * chunk.prices.actions[name].value[0]
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


def _dynamic(own: Chunk, technology: Technology) -> list[dict[str, object]]:
    """Joules of the actions of one unit."""
    terms: list[dict[str, object]] = []
    for name, action in own.machine.actions.items():
        count = float(own.activity.counts[name].total()[0])
        price = _price(own, technology, action.price, False)
        value = count * float(own.prices.actions[name].value[0])
        terms.append(
            {"name": name, "part": action.part, "value": value, "count": count, **_shown(price)}
        )
    return terms


def _standing(own: Chunk, technology: Technology) -> list[dict[str, object]]:
    """Joules that flow while the step lasts, whatever one unit does."""
    terms: list[dict[str, object]] = []
    for name, part in _parts(own).items():
        if part.leakage is not None:
            price = _price(own, technology, part.leakage, True)
            watts = float(own.prices.leakage[name].value[0])
            powered = pricing.powered(own.activity, name, own.timing.seconds)
            terms.append(
                {
                    "name": f"{name} standing",
                    "part": pricing.LEAKAGE,
                    "value": watts * float(powered[0]),
                    "watts": watts,
                    **_resting(own, price, int(own.prices.leakage[name].group[0]), part),
                }
            )
    if not own.machine.own_idle:
        idle = _price(own, technology, ("overhead", "idle_power"), True)
        watts = float(own.prices.leakage["idle"].value[0])
        terms.append(
            {
                "name": "idle standing",
                "part": pricing.LEAKAGE,
                "value": watts * float(own.timing.seconds[0]),
                "watts": watts,
                **_resting(own, idle, int(own.prices.leakage["idle"].group[0])),
            }
        )
    return terms


def _carried(chunk: Chunk, technology: Technology) -> list[dict[str, object]]:
    """Joules of the links of a hybrid: bytes x eight times the energy of a bit."""
    terms: list[dict[str, object]] = []
    for link in chunk.machine.hybrid.links if chunk.machine.hybrid else ():
        name, start = f"link {link.name}", f"links.{link.name}."
        count = float(chunk.activity.counts[name].total()[0])
        each = float(chunk.prices.actions[name].value[0])
        term: dict[str, object] = {
            "name": name,
            "part": "links",
            "value": count * each,
            "count": count,
            "unit": name,
        }
        if float(chunk.units.number(f"{start}energy_per_bit")[0]) > 0:
            term |= {
                "price": each,
                "price_unit": "J/byte",
                "law": "constant",
                "evidence": "assumed",
                "verified": False,
                "rows": [],
                "derivation": f"8 x accelerator.{start}energy_per_bit",
            }
        else:
            kinds, codes = chunk.units.names[f"{start}kind"]
            price = technology.price(f"link.{kinds[int(codes[0])]}", "energy", 7.0)
            term |= {
                **_shown(price),
                "price": each,
                "price_unit": "J/byte",
                "derivation": f"8 x the energy of a bit; {price.note}",
            }
        terms.append(term)
    return terms


def _named(start: str, terms: list[dict[str, object]]) -> list[dict[str, object]]:
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


def _by_unit(chunk: Chunk, terms: list[dict[str, object]]) -> dict[str, object]:
    """Of a hybrid, the sum of the terms of every unit and link, the largest first."""
    if chunk.machine.hybrid is None:
        return {}
    found: dict[str, float] = {}
    for term in terms:
        unit = str(term["unit"])
        found[unit] = found.get(unit, 0.0) + float(str(term["value"]))
    return {"units": dict(sorted(found.items(), key=lambda item: -item[1]))}


def _parts(chunk: Chunk) -> dict[str, Part]:
    return chunk.machine.parts(chunk.units)


def _power(chunk: Chunk, technology: Technology) -> dict[str, object]:
    energy = _energy(chunk, technology)
    seconds = float(chunk.timing.seconds[0])
    return {
        **energy,
        "value": float(str(energy["value"])) / seconds,
        "unit": "W",
        "formula": f"energy / latency of {seconds:.6g} s; the terms are joules",
    }


def _area(chunk: Chunk, technology: Technology) -> dict[str, object]:
    terms: list[dict[str, object]] = []
    for start, own in members(chunk).items():
        terms += _named(start, _square(own, technology))
    formula = "sum of amount x price over the parts"
    return {
        "value": _total(terms),
        "unit": "mm2",
        "formula": formula,
        **_by_unit(chunk, terms),
        **_cited(terms, technology),
    }


def _square(own: Chunk, technology: Technology) -> list[dict[str, object]]:
    """Square millimetres of the parts of one unit."""
    terms: list[dict[str, object]] = []
    for name, part in _parts(own).items():
        if part.area is not None:
            value = float(own.prices.area[name][0]) * 1e6
            price = _price(own, technology, part.area, True)
            terms.append(
                {
                    "name": name,
                    "part": name,
                    "value": value,
                    "count": float(part.amount[0]),
                    **_resting(own, price, int(own.units.stated(part.stated)[0]), part),
                }
            )
    price = _price(own, technology, ("overhead", "area_fraction"), True)
    terms.append(
        {
            "name": "overhead",
            "part": "overhead",
            "value": float(own.prices.area["overhead"][0]) * 1e6,
            **_shown(price),
        }
    )
    return terms


def _latency(chunk: Chunk, technology: Technology) -> dict[str, object]:
    activity, ops, i = chunk.activity, chunk.ops, int(chunk.index[0])
    terms: list[dict[str, object]] = []
    for r, row in enumerate(ops.rows):
        if ops.count[r, i] > 0:
            busy = {name: float(activity.load(name, np.array([r]))[0]) for name in activity.busy}
            terms.append(
                {
                    "name": row.name,
                    "part": row.kind,
                    "value": float(chunk.timing.weight[r, 0]),
                    "layer": row.layer,
                    "phase": row.phase,
                    "count": float(ops.count[r, i]),
                    "cycles": float(activity.cycles[r, 0]),
                    "bound": max(busy, key=lambda k: busy[k]),
                    "busy_s": busy,
                    **({} if chunk.machine.hybrid is None else {"unit": chunk.owner[r]}),
                }
            )
    loads = {name: float(activity.load(name)[0]) for name in activity.busy}
    formula = (
        "each stage: max(L + F, C / n) with L the busiest resource, C the chain of the terms, "
        "F the fill of one layer, n the independent sequences; the terms are seconds before overlap"
    )
    stages = {name: float(values[0]) for name, values in chunk.timing.stages.items()}
    return {
        "value": float(chunk.timing.seconds[0]),
        "unit": "s",
        "formula": formula,
        "loads_s": loads,
        "stages_s": stages,
        **_by_unit(chunk, terms),
        **_cited(terms, technology),
    }


def _utilization(chunk: Chunk, technology: Technology) -> dict[str, object]:
    macs, peak = float(chunk.activity.executed[0]), float(chunk.activity.peak[0])
    seconds = float(chunk.timing.seconds[0])
    terms: list[dict[str, object]] = [
        {"name": "executed multiply-accumulates", "part": "macs", "value": macs},
        {"name": "peak multiply-accumulates a second", "part": "peak", "value": peak},
        {"name": "latency", "part": "latency_s", "value": seconds},
    ]
    return {
        "value": macs / (peak * seconds),
        "unit": "1",
        "formula": "executed / (peak x latency)",
        **_cited(terms, technology),
    }


def _macs(chunk: Chunk, technology: Technology) -> dict[str, object]:
    ops, i = chunk.ops, int(chunk.index[0])
    terms: list[dict[str, object]] = []
    for r, row in enumerate(ops.rows):
        if row.matmul and ops.count[r, i] > 0:
            sizes = [float(x[r, i]) for x in (ops.count, ops.batch, ops.m, ops.k, ops.n)]
            terms.append(
                {
                    "name": row.name,
                    "part": row.phase,
                    "value": float(np.prod(sizes)),
                    "count": sizes[0],
                    "batch": sizes[1],
                    "m": sizes[2],
                    "k": sizes[3],
                    "n": sizes[4],
                }
            )
    return {
        "value": float(ops.macs[i]),
        "unit": "1",
        "formula": "sum of count x batch x m x k x n over the matrix products",
        **_cited(terms, technology),
    }


def _parameters(columns: Mapping[str, Column]) -> dict[str, object]:
    group = next(iter(resolve(columns, 1)))
    terms: list[dict[str, object]] = [
        {
            "name": t.name,
            "part": t.layer,
            "value": float(t.elements[0] * t.count[0]),
            "count": float(t.count[0]),
            "elements": float(t.elements[0]),
        }
        for t in parameter_tensors(group.models, group.workload)
    ]
    total = _total(terms)
    return {
        "value": total,
        "unit": "1",
        "formula": "sum of count x elements over the tensors",
        "terms": terms,
        "rows": [],
        "assumed": 0,
    }
