"""Where a figure comes from: its terms, their prices, and the table rows those rest on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from elector.base.errors import InputError
from elector.base.table import Column
from elector.cost.account import Account, accounts
from elector.cost.results import Metric, registry
from elector.evaluation import formulas
from elector.evaluation.path import Chunk, bounds, inspect, members, require_feasible
from elector.evaluation.resolve import resolve
from elector.operations.tensors import parameter_tensors
from elector.studies import priced
from elector.technology import Technology

#: Results with a derivation of their own; any other scalar follows from these by its formula.
RESULTS = ("energy_j", "power_w", "area_mm2", "latency_s", "utilization", "macs", "parameters")


def explain_result(
    columns: Mapping[str, Column], result: str, technology: Technology
) -> dict[str, object]:
    """The derivation of one result of one design.

    Returns result, value, unit, formula, terms (each with name, value and what it is made
    of), rows (the technology rows they rest on), assumed (how many of those are assumed).
    Raises InputError for a result that there is not, and InfeasibleError for a design that
    cannot run.
    """
    names = [metric.name for metric in registry().scalars]
    metric = registry().find(result)
    if metric is None or metric.axis:
        raise InputError("cannot be explained", field="--result", value=result, allowed=names)
    chunk = inspect(columns, technology)
    require_feasible(chunk)
    if result not in RESULTS:
        return {"result": result, **_by_formula(chunk, result, metric)}
    derivations = {
        "energy_j": priced.energy,
        "power_w": _power,
        "area_mm2": priced.area,
        "latency_s": _latency,
        "utilization": _utilization,
        "macs": _macs,
    }
    if result == "parameters":
        return {"result": result, **_parameters(columns)}
    return {"result": result, **derivations[result](chunk, technology)}


def _by_formula(chunk: Chunk, result: str, metric: Metric) -> dict[str, object]:
    """A result that follows from others: its formula in words, and the results in it."""
    figures = formulas.scalars(formulas.Figures.of(chunk))
    if result not in figures:
        raise InputError(
            "is no result of this design", field="--result", value=result, allowed=figures
        )
    names = [name for name in figures if name in metric.formula.split()]
    terms: list[dict[str, object]] = [
        {"name": name, "part": registry().metrics[name].unit, "value": float(figures[name][0])}
        for name in names
    ]
    return {
        "value": float(figures[result][0]),
        "unit": metric.unit,
        "formula": metric.formula or metric.description,
        "terms": terms,
        "rows": [],
        "assumed": 0,
    }


def _power(chunk: Chunk, technology: Technology) -> dict[str, object]:
    energy = priced.energy(chunk, technology)
    seconds = float(chunk.timing.seconds[0])
    return {
        **energy,
        "value": float(str(energy["value"])) / seconds,
        "unit": "W",
        "formula": f"energy / latency of {seconds:.6g} s; the terms are joules",
    }


def _latency(chunk: Chunk, technology: Technology) -> dict[str, object]:
    activity, ops, i = chunk.activity, chunk.ops, int(chunk.index[0])
    terms: list[dict[str, object]] = []
    bound = bounds(chunk)
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
                    "bound": bound[r],
                    "busy_s": busy,
                    **({} if chunk.machine.hybrid is None else {"unit": chunk.owner[r]}),
                }
            )
    loads = {name: float(activity.load(name)[0]) for name in activity.busy}
    formula = (
        "of each stage the largest of: what a resource works and idles at least, and what one "
        "stream of the batch takes for its operations, one after another; terms are operations "
        "of the whole batch before overlap"
    )
    stages = {name: float(values[0]) for name, values in chunk.timing.stages.items()}
    waited = accounts(ops, chunk.index, activity, chunk.timing)
    return {
        "value": float(chunk.timing.seconds[0]),
        "unit": "s",
        "formula": formula,
        "loads_s": loads,
        "stages_s": stages,
        "accounts": {name: _account(account) for name, account in waited.items()},
        "figures": _figures(chunk),
        **priced.by_unit(chunk, terms),
        **priced.cited(terms, technology),
    }


def _figures(chunk: Chunk) -> list[dict[str, object]]:
    """Figures of data sheets that seconds follow, each with its evidence: those that the machine
    keeps and that are no price of a part."""
    units, machine = chunk.units, chunk.machine
    prices = {
        f"units.{start}{part.stated}" if start else part.stated
        for start, own in members(chunk).items()
        for part in own.machine.parts(own.units).values()
    }
    return [
        {
            "name": f"accelerator.{key}",
            "value": float(units.numbers[key][0]),
            "unit": machine.fields[key].unit,
            "evidence": known[int(codes[0])].text,
        }
        for key, (known, codes) in units.evidence.items()
        if key not in prices
    ]


def _account(account: Account) -> dict[str, object]:
    """What a stage waits for, the longest first."""
    bounds = sorted(account.bounds.items(), key=lambda item: -sum(item[1]))
    return {
        "seconds": account.seconds,
        "streams": account.streams,
        "start_s": account.start,
        "decides": account.decides,
        "bounds": {
            name: {"works_s": works, "idles_s": idles, "total_s": works + idles}
            for name, (works, idles) in bounds
        },
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
        **priced.cited(terms, technology),
    }


def _macs(chunk: Chunk, technology: Technology) -> dict[str, object]:
    ops, i = chunk.ops, int(chunk.index[0])
    terms: list[dict[str, object]] = []
    sides = ops.count, ops.batch, ops.m, *ops.whole_sides()
    for r, row in enumerate(ops.rows):
        if row.matmul and ops.count[r, i] > 0:
            sizes = [float(x[r, i]) for x in sides]
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
        **priced.cited(terms, technology),
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
    total = priced.total(terms)
    return {
        "value": total,
        "unit": "1",
        "formula": "sum of count x elements over the tensors",
        "terms": terms,
        "rows": [],
        "assumed": 0,
    }
