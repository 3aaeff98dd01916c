"""The formulas of the results: a row of data/results.csv and a function in here make a result.

What only some machines have comes from their `extra`, under a registered name, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from elector.base.units import YEAR
from elector.cost import pricing
from elector.cost.programming import placed
from elector.describe.workload import PROMPTS
from elector.evaluation.chunk import Chunk
from elector.evaluation.perplexity import increase
from elector.machines.contract import Machine, Units

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Figures:
    """What the formulas of D designs share.

    joules : part -> (D,) of energy. seconds, energy [J], area [m2], sequences : (D,).
    """

    chunk: Chunk
    joules: dict[str, Array]
    seconds: Array
    energy: Array
    area: Array
    sequences: Array

    @classmethod
    def of(cls, chunk: Chunk) -> Figures:
        """Sums that several formulas need."""
        ops, index, workload = chunk.ops, chunk.index, chunk.workload
        joules = pricing.joules(chunk.activity, chunk.prices, chunk.timing, chunk.machine)
        sequences = ops.streams[index]
        if workload.training:
            sequences = sequences * workload.gradient_accumulation[index]
        energy, area = (
            _sum(list(parts.values()), index.size) for parts in (joules, chunk.prices.area)
        )
        return cls(chunk, joules, chunk.timing.seconds, energy, area, sequences)


def _sum(parts: list[Array], size: int) -> Array:
    total = np.zeros(size)
    for part in parts:
        total = total + part
    return total


#: Scalar -> its formula. Results and units are described in data/results.csv.
SCALARS: dict[str, Callable[[Figures], Array]] = {
    "latency_s": lambda f: f.seconds,
    "energy_j": lambda f: f.energy,
    "latency_per_sequence_s": lambda f: f.seconds / f.sequences,
    "energy_per_sequence_j": lambda f: f.energy / f.sequences,
    "throughput_sequences_per_s": lambda f: f.sequences / f.seconds,
    "power_w": lambda f: f.energy / f.seconds,
    "area_mm2": lambda f: f.area * 1e6,
    "utilization": lambda f: f.chunk.activity.executed / (f.chunk.activity.peak * f.seconds),
    "ops_executed": lambda f: 2.0 * f.chunk.activity.executed,
    "macs": lambda f: f.chunk.ops.macs[f.chunk.index],
    "parameters": lambda f: f.chunk.ops.parameters[f.chunk.index],
    "active_parameters": lambda f: f.chunk.ops.active[f.chunk.index],
    "peak_ops_per_s": lambda f: 2.0 * f.chunk.activity.peak,
}

#: Group -> its formula: part of the group -> (D,).
GROUPS: dict[str, Callable[[Figures], dict[str, Array]]] = {
    "latency_by_kind_s": lambda f: f.chunk.timing.share(f.chunk.ops, "kind"),
    "energy_by_part_j": lambda f: f.joules,
    "energy_by_phase_j": lambda f: pricing.by_phase(
        f.chunk.ops, f.chunk.activity, f.chunk.prices, f.chunk.timing
    ),
    "area_by_part_mm2": lambda f: {n: v * 1e6 for n, v in f.chunk.prices.area.items()},
    "memory_bytes": lambda f: {n: v[f.chunk.index] for n, v in f.chunk.ops.memory.items()},
    "provenance": lambda f: pricing.provenance(
        f.chunk.activity, f.chunk.prices, f.chunk.timing, f.energy
    ),
}


def memories(chunk: Chunk, rows: Array | None = None) -> dict[str, tuple[Array, Array]]:
    """Start of a unit's names -> bytes (D,) between its main memory and the chip, and its bandwidth
    [byte/s], NaN where a convention counts without it; of the units that say what they move.

    rows : (N,) places of the operations of a stage; None for all.
    """
    known: dict[str, tuple[Array, Array]] = {}
    for start, machine, units in _units(chunk):
        if not machine.traffic:
            continue
        moved, rate = np.zeros(units.size), units.number("bandwidth")
        for action, size in machine.traffic.items():
            moved = moved + size * chunk.activity.counts[f"{start}{action}"].total(rows)
        if machine.paced is not None:
            rate = np.where(machine.paced(units), rate, np.nan)
        known[start] = moved, rate
    return known


def _units(chunk: Chunk) -> list[tuple[str, Machine, Units]]:
    """What the names of a unit begin with, its machine and its settings."""
    hybrid = chunk.machine.hybrid
    if hybrid is None:
        return [("", chunk.machine, chunk.units)]
    return [(f"{m.name}.", m.machine, m.units(chunk.units)) for m in hybrid.members]


def _of_memories(chunk: Chunk) -> dict[str, Array]:
    """The share of the bandwidth that the busiest main memory uses."""
    most = None
    for moved, rate in memories(chunk).values():
        used = moved / (rate * chunk.timing.seconds)
        most = used if most is None else np.fmax(most, used)
    return {} if most is None else {"bandwidth_utilization": most}


def scalars(figures: Figures) -> dict[str, Array]:
    """Name -> (D,) of every scalar these designs have."""
    values = {name: formula(figures) for name, formula in SCALARS.items()}
    values |= _of_memories(figures.chunk)
    values |= _of_cells(figures.chunk)
    if figures.chunk.workload.generates:
        values |= _generation(figures.chunk, figures.energy)
    return values | figures.chunk.activity.told.extra


def groups(figures: Figures) -> dict[str, dict[str, Array]]:
    """Group -> part -> (D,)."""
    return {name: formula(figures) for name, formula in GROUPS.items()}


def _of_cells(chunk: Chunk) -> dict[str, Array]:
    """Wear of machines whose weights lie in cells, and writing the weights into them."""
    activity, values = chunk.activity, dict[str, Array]()
    cells = activity.cells
    if cells is not None:
        steps = cells.endurance / np.where(cells.wear > 0, cells.wear, np.nan)
        values["lifetime_years"] = steps * chunk.timing.seconds / YEAR
        values["writes_per_cell"], values["endurance_writes"] = cells.wear, cells.endurance
    writing = placed(chunk.machine, activity, chunk.prices, chunk.units)
    if writing is not None:
        values["placing_s"], values["placing_j"] = writing.seconds, writing.joules
        values["placing_writes_per_cell"] = writing.writes
    return values


def _prompts(chunk: Chunk) -> tuple[Array, Array]:
    """(D,) seconds of the pass that reads a prompt, mean over the prompts, and of all passes."""
    stages, workload, index = chunk.timing.stages, chunk.workload, chunk.index
    first = stages["step"]
    own = first / workload.prompt_passes[index]
    if PROMPTS[1] not in stages:
        return own, first
    more = workload.passes(PROMPTS[1])[index]
    parts = zip(PROMPTS, (first, stages[PROMPTS[1]]), strict=True)
    waited = sum(workload.prompts(phase)[index] * seconds for phase, seconds in parts)
    mean = waited / workload.batch[index]
    return np.where(more > 0, mean, own), first + stages[PROMPTS[1]]


def _generation(chunk: Chunk, energy: Array) -> dict[str, Array]:
    """Figures of generated tokens; NaN where a design generates none. energy : (D,) J.

    Of a server in steady state the step is what passes between two requests that take the same
    place: N passes read prompts, O - 1 decode. A request waits for one of the former, that of
    its own prompt, and then for all others and all of the latter; of B prompts, p in a pass come
    first after t_p, and p + 1 after t_(p + 1):

        first token = mean of t over the prompts,
        other tokens = (decoding + prompts - first token) / (O - 1).
    """
    own, first = _prompts(chunk)
    decode = chunk.timing.stages.get("decode", np.zeros_like(first))
    generated = chunk.workload.generate[chunk.index]
    later = np.maximum(generated - 1.0, 0.0)
    tokens = chunk.ops.streams[chunk.index] * generated
    workload, parameters = chunk.workload, chunk.ops.parameters[chunk.index]
    each = np.where(later > 0, (decode + (first - own)) / np.maximum(later, 1.0), np.nan)
    return {
        "time_to_first_token_s": np.where(generated > 0, own, np.nan),
        "time_per_output_token_s": each,
        "tokens_per_s": tokens / chunk.timing.seconds,
        "energy_per_token_j": np.where(tokens > 0, energy / np.maximum(tokens, 1.0), np.nan),
        "perplexity_increase": increase(
            workload.weights, workload.kv_cache, workload.precision, parameters
        ),
    }
