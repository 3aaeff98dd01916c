"""Results that are made of others, multiplied out: `explain --result tokens_per_s`.

Such a result is a sum of products: its `parts`, each with factors that multiply (or, where `over`,
divide). The cost among them is derived below it, as its own explanation has it: `terms_of` says
which that is, and its terms are in the unit of that cost. Of a result of one phase the operations
are those of that phase.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from elector.base.units import YEAR
from elector.cost.programming import units_placed
from elector.cost.results import registry
from elector.describe.workload import PROMPTS
from elector.evaluation import perplexity
from elector.evaluation.chunk import Chunk
from elector.evaluation.formulas import Figures, memories
from elector.evaluation.path import members
from elector.studies import priced, seconds
from elector.technology import Technology

Derivation = dict[str, object]
Factor = dict[str, object]
Part = dict[str, object]
#: The derivation of what no cost stands below.
_BARE: Derivation = {"terms": [], "rows": [], "assumed": 0}
#: Stages in which prompts are read: a pass with the usual number of them, and with one more.
_READ = ("step", "prefill_more")


def factor(name: str, value: float, unit: str = "1", *, over: bool = False) -> Factor:
    """A factor of a part. over : whether it divides."""
    return {"name": name, "value": float(value), "unit": unit, "over": over}


def product(parts: Sequence[Part]) -> float:
    """What parts come to: the sum of the products of their factors."""
    total = 0.0
    for part in parts:
        value = 1.0
        for each in part["factors"]:  # type: ignore[attr-defined]
            value = value / each["value"] if each["over"] else value * each["value"]
        total += value
    return total


def _of(result: str, cost: Derivation, parts: Sequence[Part]) -> Derivation:
    """The derivation of a result: its parts, and below them that of the cost among them.

    cost : derivation whose terms are shown.
    """
    metric = registry().get(result)
    return {
        **cost,
        "value": product(parts),
        "unit": metric.unit,
        "formula": metric.formula or metric.description,
        "parts": list(parts),
    }


def _cost(name: str, chunk: Chunk, *, over: bool = False) -> Factor:
    """A cost of the whole step as a factor."""
    figures = Figures.of(chunk)
    values = {"latency_s": figures.seconds, "energy_j": figures.energy}
    return factor(name, values[name][0], registry().get(name).unit, over=over)


def _derived(name: str, chunk: Chunk, technology: Technology) -> Derivation:
    derive = seconds.latency if name == "latency_s" else priced.energy
    derivation = derive(chunk, technology)
    return {**derivation, "terms_of": name, "terms_formula": derivation["formula"]}


def _ratio(result: str, cost: str, *, per: str, over: bool) -> Callable[..., Derivation]:
    """A result that is a cost over an amount, or the other way round.

    per : of _AMOUNTS. over : whether the cost divides.
    """

    def derive(chunk: Chunk, technology: Technology) -> Derivation:
        amounts = [
            factor(name, value, over=not over) for name, value in _AMOUNTS[per](chunk).items()
        ]
        own = _cost(cost, chunk, over=over)
        factors = [*amounts, own] if over else [own, *amounts]
        return _of(result, _derived(cost, chunk, technology), [{"factors": factors}])

    return derive


def _sequences(chunk: Chunk) -> dict[str, float]:
    return {"sequences of the step": float(Figures.of(chunk).sequences[0])}


def _tokens(chunk: Chunk) -> dict[str, float]:
    generated = float(chunk.workload.generate[chunk.index][0])
    return {**_sequences(chunk), "generated tokens of each": generated}


_AMOUNTS: dict[str, Callable[[Chunk], dict[str, float]]] = {
    "sequences": _sequences,
    "tokens": _tokens,
}


def _lifetime(chunk: Chunk, technology: Technology) -> Derivation:
    cells = chunk.activity.cells
    assert cells is not None
    factors = [
        factor("endurance_writes", cells.endurance[0], "write"),
        factor("writes_per_cell", cells.wear[0], "write", over=True),
        _cost("latency_s", chunk),
        factor("seconds of a year", YEAR, over=True),
    ]
    return _of("lifetime_years", _derived("latency_s", chunk, technology), [{"factors": factors}])


def _waits(chunk: Chunk) -> list[Part]:
    """What the mean prompt waits for: the pass that reads it, with its start.

    The same sum as elector.evaluation.formulas makes of it.
    """
    workload, index, stages = chunk.workload, chunk.index, chunk.timing.stages
    passes = float(workload.prompt_passes[index][0])
    batch = float(workload.batch[index][0])
    more = float(workload.passes(PROMPTS[1])[index][0]) if _READ[1] in stages else 0.0
    if not more:
        own = factor("stage step", stages["step"][0], "s")
        return [_over(own, "passes that read prompts", passes)]
    parts: list[Part] = []
    for phase, stage in zip(PROMPTS, _READ, strict=True):
        own = factor(f"stage {stage}", stages[stage][0], "s")
        read = factor("prompts of one of its passes", workload.prompts(phase)[index][0])
        parts.append({"factors": [own, read, factor("prompts", batch, over=True)]})
    return parts


def _over(own: Factor, name: str, count: float) -> Part:
    """A part divided by a count, where there is more than one."""
    return {"factors": [own] if count == 1.0 else [own, factor(name, count, over=True)]}


def _first_token(chunk: Chunk, technology: Technology) -> Derivation:
    return _of("time_to_first_token_s", _stages(chunk, technology, _READ), _waits(chunk))


def _later_tokens(chunk: Chunk, technology: Technology) -> Derivation:
    """Decoding and the prompts of other requests, over the tokens after the first."""
    stages = chunk.timing.stages
    later = factor("generated tokens after the first", _later(chunk), over=True)
    parts: list[Part] = [{"factors": [factor("stage decode", stages["decode"][0], "s"), later]}]
    shown = ["decode"]
    others = sum(float(stages[name][0]) for name in _READ if name in stages)
    others -= product(_waits(chunk))
    if float(chunk.workload.prompt_passes[chunk.index][0]) > 1.0:
        name = "prompts of other requests: their passes, less that of the mean prompt"
        parts.append({"factors": [factor(name, others, "s"), later]})
        shown += _READ
    return _of("time_per_output_token_s", _stages(chunk, technology, shown), parts)


def _later(chunk: Chunk) -> float:
    return float(chunk.workload.generate[chunk.index][0]) - 1.0


def _stages(chunk: Chunk, technology: Technology, stages: Sequence[str]) -> Derivation:
    """The derivation of the seconds of some stages, below which the operations stand."""
    derivation = seconds.latency(chunk, technology, stages)
    return {**derivation, "terms_of": "latency_s", "terms_formula": derivation["formula"]}


def _placing_energy(chunk: Chunk, technology: Technology) -> Derivation:
    return priced.placing(chunk, technology)


def _placing_time(chunk: Chunk, _: Technology) -> Derivation:
    """Of each unit with cells the longest of what writing them waits for, one after another."""
    written = units_placed(chunk.machine, chunk.activity, chunk.prices, chunk.units)
    terms = [
        {"name": name, "part": start[:-1] or "cells", "value": float(waits[0])}
        for start, unit in written.items()
        for name, waits in unit.waits.items()
        if unit.held[0]
    ]
    parts: list[Part] = [
        {"factors": [factor(f"longest of {start[:-1] or 'the machine'}", unit.seconds[0], "s")]}
        for start, unit in written.items()
    ]
    return _of("placing_s", {**_BARE, "terms": terms}, parts)


def _host_bound(chunk: Chunk, technology: Technology) -> Derivation:
    """Whether the host decides: how long it and the device are busy stands in the derivation."""
    shown = _of("host_bound", _derived("latency_s", chunk, technology), [])
    return {**shown, "value": float(chunk.activity.told.extra["host_bound"][0])}


def _bandwidth(chunk: Chunk, _: Technology) -> Derivation:
    """Bytes of the unit whose main memory is busiest, over what its bandwidth moves meanwhile."""
    took = float(chunk.timing.seconds[0])
    known = {start: (float(b[0]), float(rate[0])) for start, (b, rate) in memories(chunk).items()}
    paced = {start: one for start, one in known.items() if one[1] > 0} or known
    start = max(paced, key=lambda name: paced[name][0] / paced[name][1])
    moved, rate = paced[start]
    factors = [
        factor(f"bytes that {start}main memory moves", moved, "byte"),
        factor(f"{start}bandwidth", rate, "byte/s", over=True),
        factor("latency_s", took, "s", over=True),
    ]
    return _of("bandwidth_utilization", _BARE, [{"factors": factors}])


def _peak(chunk: Chunk, _: Technology) -> Derivation:
    """Twice the multiply-accumulates of every unit in a second."""
    parts: list[Part] = []
    for start, own in members(chunk).items():
        name = f"multiply-accumulates of {start[:-1] or 'the machine'} in a second"
        macs = factor(name, own.activity.peak[0], "1/s")
        parts.append({"factors": [factor("operations of each", 2.0), macs]})
    return _of("peak_ops_per_s", _BARE, parts)


def _perplexity(chunk: Chunk, _: Technology) -> Derivation:
    """What the format of each setting costs, one on top of the other."""
    workload = chunk.workload
    parameters = chunk.ops.parameters[chunk.index]
    ratios = perplexity.ratios(workload.weights, workload.kv_cache, workload.precision, parameters)
    factors = [
        factor(f"perplexity of workload.{setting} {name} over that in 16 bits", ratio[0])
        for (setting, name), ratio in ratios.items()
    ]
    parts: list[Part] = [{"factors": factors}, {"factors": [factor("as it was", -1.0)]}]
    return _of("perplexity_increase", _BARE, parts)


#: Result -> its derivation from others.
COMPOSED: dict[str, Callable[[Chunk, Technology], Derivation]] = {
    "latency_per_sequence_s": _ratio(
        "latency_per_sequence_s", "latency_s", per="sequences", over=False
    ),
    "energy_per_sequence_j": _ratio(
        "energy_per_sequence_j", "energy_j", per="sequences", over=False
    ),
    "throughput_sequences_per_s": _ratio(
        "throughput_sequences_per_s", "latency_s", per="sequences", over=True
    ),
    "tokens_per_s": _ratio("tokens_per_s", "latency_s", per="tokens", over=True),
    "energy_per_token_j": _ratio("energy_per_token_j", "energy_j", per="tokens", over=False),
    "time_to_first_token_s": _first_token,
    "time_per_output_token_s": _later_tokens,
    "lifetime_years": _lifetime,
    "host_bound": _host_bound,
    "peak_ops_per_s": _peak,
    "bandwidth_utilization": _bandwidth,
    "perplexity_increase": _perplexity,
    "placing_s": _placing_time,
    "placing_j": _placing_energy,
}

#: Result without a breakdown of its own -> results that say what it does.
INSTEAD = {
    "writes_per_cell": ("lifetime_years", "latency_s"),
    "endurance_writes": ("lifetime_years",),
    "effective_bits": ("area_mm2", "energy_j"),
    "weight_copies": ("area_mm2", "latency_s"),
    "operand_crossbars": ("area_mm2", "latency_s"),
    "placing_writes_per_cell": ("placing_j", "lifetime_years"),
}
