"""The Python functions behind the commands: simulate, sweep, features, explain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from elector.base import arguments
from elector.base.errors import InputError
from elector.base.record import ResultRecord
from elector.base.table import Column
from elector.base.version import VERSION
from elector.cost.pricing import Cost
from elector.cost.results import registry
from elector.describe.layered import NAME
from elector.describe.model import HEAD_TYPES, Models
from elector.describe.tasks import require_task
from elector.evaluation.path import evaluate
from elector.evaluation.resolve import resolve
from elector.evaluation.resolved import resolved
from elector.technology import Technology

if TYPE_CHECKING:
    from elector.events.trace import Trace
    from elector.studies.uncertainty import Sampling

Array = np.ndarray

#: Share of heads in `features` -> the types it counts.
_HEAD_KINDS = {
    "wma_heads": ("wma",),
    "linear_heads": ("dft", "dct"),
    "convolution_heads": ("c5", "c9", "c13"),
}


def columns_of(settings: Mapping[str, object], size: int = 1) -> dict[str, Column]:
    """Constant columns of one design's settings. Raises InputError for a task that is none."""
    require_task(settings.get("workload.task"))
    return {key: Column.constant(value, size) for key, value in settings.items()}


def simulate(
    model: str,
    accelerator: str,
    *,
    settings: Mapping[str, object] | None = None,
    technology: Technology | None = None,
    operations: bool = False,
    uncertainty: bool = False,
    samples: int = 1000,
    seed: int = 0,
) -> ResultRecord:
    """Costs of one design: the JSON of `elector simulate`.

    Parameters
    ----------
    model, accelerator : preset name or file.
    settings : dotted key -> value, as `--set`: {"workload.batch": 8, "accelerator.sram": "4 MB"}.
    technology : prices; the shipped tables by default.
    operations : also list every operation.
    uncertainty : also give the 90 % interval of each result: NAME_low, NAME_high
        (elector.studies.uncertainty). samples, seed : draws of constants and errors behind it.

    An infeasible design has `feasible` False, a `reason`, and None for every cost. A pruned one
    has `sparsity`: what its densities rest on, and its costs without pruning. `settings` has
    every setting as it was resolved, `notes` what a user should know, `version` the simulator's.
    Raises InputError for bad settings.
    """
    given = arguments.settings(settings)
    operations = arguments.flag(operations, "operations")
    uncertainty = arguments.flag(uncertainty, "uncertainty")
    columns = columns_of({"model": model, "accelerator": accelerator, **given})
    level = "operations" if operations else "groups"
    cost = evaluate(columns, 1, technology=Technology.given(technology).single(), level=level)
    entries: dict[str, object] = {"model": model, "accelerator": accelerator}
    entries.update(record(cost, 0))
    if str(given.get("workload.sparsity", "dense")) != "dense":
        from elector.studies.pruning import beside_dense  # only pruning needs it

        entries["sparsity"] = beside_dense(model, accelerator, given, technology)
    entries["notes"] = _notes(cost, model, given)
    entries["settings"] = resolved(columns, 1)[0]
    entries["version"] = VERSION
    if uncertainty:
        from elector.studies.uncertainty import Sampling  # few ask for it

        _add_intervals(entries, columns, Sampling.of(technology, samples, seed))
    if operations:
        entries["operations"] = cost.operations if cost.feasible[0] else None
    return ResultRecord(entries, f"{model} on {accelerator}", _headline(entries))


def _add_intervals(
    entries: dict[str, object], columns: Mapping[str, Column], sampling: Sampling
) -> None:
    """Puts the interval of each result behind it, and where they come from into the notes."""
    from elector.studies.uncertainty import intervals

    bounds, said = intervals(columns, 1, sampling)
    assert isinstance(entries["notes"], list)
    entries |= {
        name: float(values[0])
        for name, values in bounds.items()
        if np.isfinite(values[0]) and entries.get(name.rpartition("_")[0]) is not None
    }
    entries["notes"] += said if entries["feasible"] else []


def _headline(entries: Mapping[str, object]) -> list[tuple[str, str]]:
    """What a reader looks for first."""
    if not entries["feasible"]:
        return [("infeasible", str(entries["reason"]))]
    values = [(name, metric, entries[name]) for name, metric in registry().shown(entries)]
    return [
        (registry().label(name), m.show(v)) for name, m, v in values if isinstance(v, int | float)
    ]


def record(cost: Cost, i: int) -> dict[str, object]:
    """Design `i` of a batch as plain Python values, in the order of the registry of results."""
    feasible = bool(cost.feasible[i])
    entries: dict[str, object] = {"feasible": feasible, "reason": cost.reason(i)}
    for metric in registry():
        if metric.axis:
            parts = cost.groups.get(metric.name, {})
            entries[metric.name] = {n: metric.plain(float(v[i])) for n, v in parts.items()}
            continue
        for name in cost.scalars:
            if name == metric.name or name.endswith(f".{metric.name}"):
                entries[name] = metric.plain(float(cost.scalars[name][i]))
    return entries


def notes_of(
    model: str,
    accelerator: str,
    settings: Mapping[str, object],
    technology: Technology | None = None,
) -> list[str]:
    """The `notes` of a design, for the studies that show other figures of it."""
    columns = columns_of({"model": model, "accelerator": accelerator, **settings})
    cost = evaluate(columns, 1, technology=technology, level="groups")
    return _notes(cost, model, settings)


def _notes(cost: Cost, model: str, settings: Mapping[str, object]) -> list[str]:
    """What is to be said of the one design of `cost`, and of the pruning asked for."""
    notes = cost.notes()[0]
    if "workload.sparsity" in settings:
        from elector.studies.pruning import warnings  # only pruning needs it

        notes = list(dict.fromkeys([*notes, *warnings(model, settings)]))
    return notes


@dataclass(frozen=True)
class Swept:
    """Results of a table, by row.

    cost : costs of the rows that could be read, in order.
    place : (D,) position in `cost`, -1 for a row that could not be read.
    errors : row -> what is wrong with it.
    """

    cost: Cost | None
    place: Array
    errors: dict[int, InputError]


def sweep(
    columns: Mapping[str, Column], size: int, *, technology: Technology | None = None
) -> Swept:
    """Costs of every row that can be read; the others with their error."""
    technology = Technology.given(technology).single()
    try:
        cost = evaluate(columns, size, technology=technology, level="groups")
        return Swept(cost, np.arange(size), {})
    except InputError:  # of some row, or of many
        from elector.studies.screening import unreadable

    errors = unreadable(columns, size)
    good = np.array([row for row in range(size) if row not in errors], dtype=np.intp)
    place = np.full(size, -1, dtype=np.intp)
    place[good] = np.arange(good.size)
    if not good.size:
        return Swept(None, place, errors)
    kept = {key: column.take(good).compact() for key, column in columns.items()}
    return Swept(evaluate(kept, good.size, technology=technology, level="groups"), place, errors)


def features(columns: Mapping[str, Column], size: int) -> dict[str, Array]:
    """Architecture of each design's model, for accuracy models, each (D,).

    layers, hidden, heads, feed_forward, parameters (of the whole model with its head). Where
    layers differ, hidden is the root mean square, heads the mean, and feed_forward the mean
    width, stacks added up, weighted with hidden. wma_heads, linear_heads and convolution_heads
    are shares of all heads, stacks the mean number of feed-forward layers in a row.
    """
    from elector.operations.tensors import parameter_tensors

    wanted = {k: c for k, c in columns.items() if not k.startswith("accelerator")}
    wanted["accelerator"] = Column.constant("systolic", size)
    by_name = {
        name: np.full(size, np.nan)
        for name in ("layers", "hidden", "heads", "feed_forward", "parameters")
    }
    by_name |= {name: np.zeros(size) for name in _HEAD_KINDS} | {"stacks": np.ones(size)}
    for group in resolve(wanted, size):
        models = group.models
        total = np.zeros(models.size)
        for tensor in parameter_tensors(models, group.workload):
            total = total + tensor.elements * tensor.count
        values = {"parameters": total}
        if models.template.blocks:
            values |= _shape(models)
        for name, numbers in values.items():
            by_name[name][group.rows] = numbers[group.pair]
    return by_name


def _width(models: Models) -> Array:
    """(M,) width of the first feed-forward there is, or of an expert."""
    dense, first = models.feed_forward[:, 0], np.zeros(models.size)
    for i, width in enumerate(dense):
        own = np.where(width > 0, width, models.at("expert_feed_forward", i))
        first = np.where(first > 0, first, own)
    return first


def _shape(models: Models) -> dict[str, Array]:
    """Layers, hidden, heads and feed-forward of M models; their means where layers differ."""
    block, layers = models.block, models.layers
    repeat, hidden = block["repeat"], block["hidden"]
    stacks = models.feed_forward[0]  # none where every layer has experts in their place
    stacks = stacks if len(stacks) else np.zeros((1, models.size))
    first = {
        "layers": layers,
        "hidden": hidden[0],
        "heads": block["heads"][0],
        "feed_forward": _width(models),
    }
    if models.template.name != NAME and not any(b.head_types for b in models.template.blocks):
        return first

    def mean(values: Array) -> Array:
        return np.asarray(np.add.accumulate(repeat * values, axis=0)[-1] / layers)

    width = np.sqrt(mean(hidden**2))
    stacks = np.add.accumulate(models.feed_forward, axis=1)[:, -1]
    counts = np.add.accumulate(repeat[:, None] * models.head_types, axis=0)[-1]
    total = np.add.accumulate(counts, axis=0)[-1]
    kinds = {
        name: sum((counts[HEAD_TYPES.index(t)] for t in types), np.zeros(total.shape)) / total
        for name, types in _HEAD_KINDS.items()
    }
    there = np.add.accumulate((models.feed_forward > 0).astype(float), axis=1)[:, -1]
    return {
        "layers": layers,
        "hidden": width,
        "heads": mean(block["heads"]),
        "feed_forward": mean(hidden * stacks) / width,
        **kinds,
        "stacks": mean(there),
    }


def explain(
    model: str,
    accelerator: str,
    result: str,
    *,
    settings: Mapping[str, object] | None = None,
    technology: Technology | None = None,
) -> ResultRecord:
    """Where a figure comes from: the JSON of `elector explain`.

    Parameters
    ----------
    model, accelerator, settings, technology : as of `simulate`.
    result : name of a result, such as energy_j.

    Returns result, value, unit, formula, terms (what it is made of, with counts and prices) and
    rows of the technology tables. Raises InputError, and InfeasibleError for a design that
    cannot run.
    """
    from elector.studies.explanation import explain_result

    given = arguments.settings(settings)
    columns = columns_of({"model": model, "accelerator": accelerator, **given})
    result = arguments.text(result, "result")
    derivation = explain_result(columns, result, Technology.given(technology).single())
    value = registry().show(result, float(str(derivation["value"])))
    lines = [(result, value), ("=", str(derivation["formula"]))]
    return ResultRecord(derivation, f"explanation of {model} on {accelerator}", lines)


def trace(
    model: str,
    accelerator: str,
    *,
    settings: Mapping[str, object] | None = None,
    technology: Technology | None = None,
) -> Trace:
    """What each unit does when: the event-driven model of one step, as `elector trace` runs it.

    Parameters are those of `simulate`. The result has the spans as a table (`frame`), writes a
    file for Perfetto (elector.events.trace.write) and draws itself (elector.events.trace.draw).
    Raises InputError, and InfeasibleError for a design that cannot run.

    settings : dotted name -> value; None for none.
    """
    from elector.events.trace import trace as traced

    given = arguments.settings(settings)
    columns = columns_of({"model": model, "accelerator": accelerator, **given})
    return traced(columns, f"{model} on {accelerator}", Technology.given(technology).single())


def workload_line(settings: Mapping[str, Mapping[str, Any]]) -> str:
    """What was simulated, on one line: mode, batch, lengths, precision, stack, attention."""
    return ", ".join(workload_words(settings))


def workload_words(settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The words of a `workload_line`."""

    def of(key: str) -> Any:
        return settings[f"workload.{key}"]["value"]

    training, model = of("mode") == "training", "model.layers" in settings
    words = [of("mode")]
    if model:
        words.append(f"batch {of('batch'):,}")
        words.append(f"{of('sequence_length'):,} tokens")
        if of("generate"):
            words.append(f"{of('generate'):,} generated")
            words += [] if of("serving") == "phases" else [f"{of('serving')} serving"]
        if 0 < of("prefill_chunk") < of("sequence_length"):
            words.append(f"prompts {of('prefill_chunk'):,} tokens at a time")
    words.append(of("precision"))
    if training:
        words.append(of("optimizer"))
        words += [] if of("trainable") == "all" else [f"trains {of('trainable')}"]
        count = of("gradient_accumulation")
        words += [] if count == 1 else [f"{count:,} micro-batches"]
    words.append(f"{of('implementation')} stack")
    words += [f"{of('attention')} attention"] if model else []
    words += [] if of("sparsity") == "dense" else [f"sparsity {of('sparsity')}"]
    return words
