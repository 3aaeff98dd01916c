"""Where a figure comes from: its terms, their prices, and the table rows those rest on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from elector.base.errors import InputError
from elector.base.table import Column
from elector.cost.results import Metric, registry
from elector.evaluation import formulas
from elector.evaluation.path import Chunk, inspect, require_feasible
from elector.evaluation.resolve import resolve
from elector.operations.tensors import parameter_tensors
from elector.studies import priced, seconds
from elector.studies.composed import COMPOSED, INSTEAD, factor
from elector.technology import Technology


def explain_result(
    columns: Mapping[str, Column], result: str, technology: Technology
) -> dict[str, object]:
    """The derivation of one result of one design.

    Returns result, value, unit, formula, terms (each with name, value and what it is made
    of), rows (the technology rows they rest on), assumed (how many of those are assumed). A result
    that is made of others has `parts`, whose factors multiply out to it, and the terms of the cost
    among them: `terms_of`. One without a breakdown names results to explain `instead`.
    Raises InputError for a result that there is not, and InfeasibleError where a design that
    cannot run has none.
    """
    metric = registry().find(result)
    if metric is None or metric.axis:
        raise _unexplained(result, metric)
    chunk = inspect(columns, technology)
    if metric.exists != "always":  # area and counts stay results of a design that cannot run
        require_feasible(chunk)
    values = formulas.scalars(formulas.Figures.of(chunk))
    if result not in values:
        raise _absent(result, metric, list(values))
    if metric.name in PARAMETERS:
        return {"result": result, **_parameters(columns, result)}
    there = [name for name, own in values.items() if not math.isnan(own[0])]
    if result not in there:
        raise _absent(result, metric, there)
    derive = DERIVED.get(result) or COMPOSED.get(result)
    if derive is not None:
        return {"result": result, **derive(chunk, technology)}
    instead = [name for name in INSTEAD.get(metric.name, ()) if name in there]
    return {"result": result, **_bare(metric, float(values[result][0]), instead)}


def _unexplained(result: str, metric: Metric | None) -> InputError:
    """There is no such result, or it is divided already."""
    if metric is None:
        names = [own.name for own in registry().scalars]
        return InputError("cannot be explained", field="--result", value=result, allowed=names)
    totals = GROUPS.get(metric.name, ())
    hint = (
        f"explain {' or '.join(totals)}, whose terms it sums"
        if totals
        else f"elector simulate lists it by {metric.axis}, explain parameters by tensor"
    )
    return InputError("is a breakdown itself", field="--result", value=result, hint=hint)


def _absent(result: str, metric: Metric, there: Sequence[str]) -> InputError:
    """The design has no such result, or no value of it: when there is one."""
    hint = WHEN.get(metric.name) or WHEN.get(metric.exists, "")
    each = [name for name in there if name.endswith(f".{metric.name}")]
    if metric.name in there:
        hint = f"it is called {metric.name} here"
    elif each:
        hint = f"each unit of this hybrid has its own: {', '.join(each)}"
    return InputError(
        "is no result of this design",
        field="--result",
        value=result,
        **({"hint": hint} if hint else {"allowed": list(there)}),
    )


def _bare(metric: Metric, value: float, instead: Sequence[str]) -> dict[str, object]:
    """A result without a breakdown: what it is, and which results say what it does."""
    return {
        "value": value,
        "unit": metric.unit,
        "formula": metric.description or metric.label,
        "instead": list(instead or RESULTS[:4]),
        "terms": [],
        "rows": [],
        "assumed": 0,
    }


def _power(chunk: Chunk, technology: Technology) -> dict[str, object]:
    energy = priced.energy(chunk, technology)
    took = float(chunk.timing.seconds[0])
    return {
        **energy,
        "value": float(str(energy["value"])) / took,
        "unit": "W",
        "formula": f"energy / latency of {took:.6g} s; the terms are joules",
        "terms_of": "energy_j",
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
    sides = ops.count, ops.batch, ops.m, ops.k, ops.n
    for r, row in enumerate(ops.rows):
        if row.matmul and ops.count[r, i] > 0:
            sizes = [float(x[r, i]) for x in sides]
            if row.grows and ops.dense[r, i] > 0:  # without a mask, and of the whole prompt
                sizes[3 if row.grows == "k" else 4] = float(ops.dense[r, i])
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


def _operations(chunk: Chunk, technology: Technology) -> dict[str, object]:
    """Twice the products that run: the dense ones, less what a mask hides or lanes skip."""
    dense = _macs(chunk, technology)
    share = float(chunk.activity.executed[0]) / float(str(dense["value"]))
    factors = [
        factor("operations of a multiply-accumulate", 2.0),
        factor("macs", float(str(dense["value"]))),
        factor("share of them that is executed", share),
    ]
    return {
        **dense,
        "value": 2.0 * float(chunk.activity.executed[0]),
        "formula": registry().get("ops_executed").formula,
        "parts": [{"factors": factors}],
        "terms_of": "macs",
        "terms_formula": dense["formula"],
    }


def _parameters(columns: Mapping[str, Column], result: str) -> dict[str, object]:
    """Elements of the tensors: all of them, or those that one token takes part in."""
    group = next(iter(resolve(columns, 1)))
    active = result == "active_parameters"
    terms: list[dict[str, object]] = []
    for t in parameter_tensors(group.models, group.workload):
        used = float(t.used[0]) if active and t.used is not None else 1.0
        each, count = float(t.elements[0]), float(t.count[0])
        value = float(np.rint(each * count * used)) if active else each * count
        share = {"share": used} if active else {}
        terms.append(
            {
                "name": t.name,
                "part": t.layer,
                "value": value,
                "count": count,
                "elements": each,
                **share,
            }
        )
    return {
        "value": priced.total(terms),
        "unit": "1",
        "formula": "sum of count x elements over the tensors"
        + (" x the share of them that one token is sent to" if active else ""),
        "terms": terms,
        "rows": [],
        "assumed": 0,
    }


#: Result -> its derivation, where it is made of prices, operations or sizes.
DERIVED: dict[str, Callable[[Chunk, Technology], dict[str, object]]] = {
    "energy_j": priced.energy,
    "power_w": _power,
    "area_mm2": priced.area,
    "latency_s": seconds.latency,
    "utilization": _utilization,
    "macs": _macs,
    "ops_executed": _operations,
}
#: Results that follow from the model alone.
PARAMETERS = ("parameters", "active_parameters")
#: Results that are made of such things; the others are made of them (COMPOSED), or say which of
#: them to explain instead.
RESULTS = (*DERIVED, *PARAMETERS)
#: Breakdown -> the results whose terms add up to it.
GROUPS = {
    "latency_by_kind_s": ("latency_s",),
    "energy_by_part_j": ("energy_j",),
    "energy_by_phase_j": ("energy_j",),
    "area_by_part_mm2": ("area_mm2",),
    "provenance": ("energy_j",),
}
#: Result, or when results exist (elector.cost.results.EXISTS) -> what a design needs to have it.
WHEN = {
    "generate": "it takes tokens that are generated: --generate N of a decoder, in inference",
    "time_per_output_token_s": "it takes two tokens that are generated: --generate 2 or more",
    "perplexity_increase": "no published score tells what these number formats cost",
    "cells": "it takes a machine whose weights lie in cells, such as isaac or hpt",
    "bandwidth_utilization": "it takes a convention that counts with main memory, and a machine "
    "that says what it moves",
    "host_bound": "it takes a GPU, whose kernels a host starts",
}
