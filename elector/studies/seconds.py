"""Where seconds come from: operations, what they wait for, and figures of data sheets."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from elector.cost.account import Account, accounts
from elector.cost.schedule import STAGES, rows_by_stage
from elector.evaluation.path import Chunk, bounds, members
from elector.studies import priced
from elector.technology import Technology


def latency(
    chunk: Chunk, technology: Technology, stages: Iterable[str] | None = None
) -> dict[str, object]:
    """The derivation of latency_s of the first design of a chunk, or of some of its stages.

    stages : of elector.cost.schedule.STAGES; None for the whole step.
    """
    chosen = [name for name in chunk.timing.stages if stages is None or name in stages]
    rows = _rows(chunk, chosen)
    bound = bounds(chunk)
    terms = [_operation(chunk, r, bound[r]) for r in rows]
    loads = {name: float(chunk.activity.load(name, rows)[0]) for name in chunk.activity.busy}
    took = {name: float(chunk.timing.stages[name][0]) for name in chosen}
    waited = accounts(chunk.ops, chunk.index, chunk.activity, chunk.timing)
    formula = (
        "of each stage the largest of: what a resource works and idles at least, and what one "
        "stream of the batch takes for its operations, one after another; terms are operations "
        "of the whole batch before overlap"
    )
    return {
        "value": float(chunk.timing.seconds[0]) if stages is None else sum(took.values()),
        "unit": "s",
        "formula": formula,
        "loads_s": loads,
        "stages_s": took,
        "accounts": {name: _account(waited[name]) for name in chosen},
        "clocks": _clocks(chunk, chosen),
        "figures": _figures(chunk),
        "constants": _constants(chunk),
        **priced.by_unit(chunk, terms),
        **priced.cited(terms, technology),
    }


def _rows(chunk: Chunk, stages: Iterable[str]) -> np.ndarray:
    """(N,) places of the operations of some stages that the first design has."""
    phases = {phase for stage in stages for phase in STAGES[stage]}
    i = int(chunk.index[0])
    there = [r for r, row in enumerate(chunk.ops.rows) if row.phase in phases]
    return np.array([r for r in there if chunk.ops.count[r, i] > 0], dtype=np.intp)


def _operation(chunk: Chunk, r: int, bound: str) -> priced.Term:
    """The term of one operation: its seconds before overlap, and what it waits for.

    r : its row. bound : its busiest resource.
    """
    activity, row = chunk.activity, chunk.ops.rows[r]
    busy = {name: float(activity.load(name, np.array([r]))[0]) for name in activity.busy}
    return {
        "name": row.name,
        "part": row.kind,
        "value": float(chunk.timing.weight[r, 0]),
        "layer": row.layer,
        "phase": row.phase,
        "count": float(chunk.ops.count[r, int(chunk.index[0])]),
        "cycles": float(activity.cycles[r, 0]),
        "bound": bound,
        "busy_s": busy,
        **({} if chunk.machine.hybrid is None else {"unit": chunk.owner[r]}),
    }


def _clocks(chunk: Chunk, stages: Iterable[str]) -> list[dict[str, object]]:
    """Stages that do not run at the full clock, as a board's power limit allows less: of which
    unit, what share of it, and the watts it keeps to."""
    lowered: list[dict[str, object]] = []
    for start, own in members(chunk).items():
        power, rows = own.activity.power, rows_by_stage(own.ops)
        if power is None or power.clocked is None or power.speed is None:
            continue
        for stage in stages:
            share = float(power.speed[rows[stage], 0].min())
            if share < 1.0:
                limit = float(np.broadcast_to(power.clocked.limit, chunk.index.shape)[0])
                lowered.append({"unit": start[:-1], "stage": stage, "share": share, "watts": limit})
    return lowered


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


def _constants(chunk: Chunk) -> list[dict[str, object]]:
    """Constants that seconds rest on beside settings, each with its source: of every unit."""
    return [
        {**constant, **({"unit_name": start[:-1]} if start else {})}
        for start, own in members(chunk).items()
        if own.machine.constants is not None
        for constant in own.machine.constants(own.ops, own.units)
    ]


def _account(account: Account) -> dict[str, object]:
    """What a stage waits for, the longest first; nothing is waited for that does not work."""
    bounds = sorted(account.bounds.items(), key=lambda item: -sum(item[1]))
    return {
        "seconds": account.seconds,
        "streams": account.streams,
        "start_s": account.start,
        "decides": account.decides,
        "bounds": {
            name: {"works_s": works, "idles_s": idles, "total_s": works + idles}
            for name, (works, idles) in bounds
            if works > 0.0 or name == account.decides
        },
    }
