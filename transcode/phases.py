"""Results of a whole training run from those of its steps.

    latency = sum of steps x step + side by side + placing the weights, and so for energy

Writes are those of the most written cell: a step's, times the steps (those side by side, too), and
once those that place the frozen weights at the switch. Nothing is simulated again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from elector.base.errors import InputError
from elector.base.units import YEAR
from transcode.space import Phases

#: Results of a run: seconds, joules, writes of the most written cell, how long cells last.
RESULTS = ("latency_s", "energy_j", "writes_per_cell", "lifetime_years", "lifetime_runs")


class Steps(Protocol):
    """Results of one step of each design."""

    def scalar(self, name: str) -> np.ndarray: ...
    def names(self) -> list[str]: ...


@dataclass(frozen=True)
class RunCosts:
    """Results of the run of D designs; its workloads say which of them are feasible."""

    scalars: dict[str, np.ndarray]
    feasible: np.ndarray
    reason_code: np.ndarray
    reasons: Sequence[str] = ()

    def scalar(self, name: str) -> np.ndarray:
        """(D,) values; NaN where a phase is infeasible or nothing wears.

        name : of a result.
        """
        if name not in self.scalars:
            raise InputError("unknown result", field=f"run.{name}", value=name, allowed=RESULTS)
        return self.scalars[name]

    def names(self) -> list[str]:
        """What a run has."""
        return list(self.scalars)


def costs_of_run(run: Phases, costs: Mapping[str, Steps]) -> RunCosts:
    """The run's results from its workloads' by name."""
    phases = [(costs[name], float(steps)) for name, steps in run.phases.items()]
    beside, last = costs[run.beside], phases[-1][0]
    switches = len(phases) > 1
    size = len(last.scalar("latency_s"))
    zero = np.zeros(size)
    totals = {}
    for name, placing in (("latency_s", "placing_s"), ("energy_j", "placing_j")):
        total = zero
        for cost, steps in phases:
            total = total + steps * cost.scalar(name)
        total = total + run.copies * beside.scalar(name)
        totals[name] = total + (_known(last, placing, size) if switches else zero)
    writes, endurance = zero, np.full(size, np.inf)
    # A step of the copy that trains beside writes as many cells as one of the last phase.
    for cost, steps in (*phases, (last, float(run.copies))):
        writes = writes + steps * _known(cost, "writes_per_cell", size)
        # 0 stands for a machine without cells
        least = _known(cost, "endurance_writes", size)
        endurance = np.minimum(endurance, np.where(least > 0, least, np.inf))
    if switches:
        writes = writes + _known(last, "placing_writes_per_cell", size)
    runs = endurance / np.where(writes > 0, writes, np.nan)
    years = runs * totals["latency_s"] / YEAR
    kept = np.where(np.isnan(totals["latency_s"]), np.nan, writes)
    lasting = np.where(np.isnan(totals["latency_s"]), np.nan, runs)
    totals |= {"writes_per_cell": kept, "lifetime_years": years, "lifetime_runs": lasting}
    return RunCosts(totals, np.ones(size, dtype=bool), np.full(size, -1, dtype=np.intp))


def _known(cost: Steps, name: str, size: int) -> np.ndarray:
    """(D,) a result of machines with cells, 0 for the others."""
    if name not in cost.names():
        return np.zeros(size)
    return np.nan_to_num(np.asarray(cost.scalar(name), dtype=float), nan=0.0, posinf=np.inf)
