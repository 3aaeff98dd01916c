"""A pruned design beside itself without pruning, and what its densities rest on."""

from __future__ import annotations

from collections.abc import Mapping

from elector.base.errors import InputError, nearest
from elector.base.table import Column, schema
from elector.describe.formats import load_model
from elector.evaluation.accelerators import load_accelerator
from elector.evaluation.applies import sentence
from elector.evaluation.path import evaluate
from elector.evaluation.resolve import resolve
from elector.operations import build
from elector.operations.sparsity import ALIKE, SparsityTable, load_sparsity
from elector.technology import Technology

SPARSITY = "workload.sparsity"
THRESHOLDS = ("tau_i", "tau_t")
#: Memory that pruning makes smaller: what is stored compressed.
MEMORY = ("activations", "weights")


def table_of(settings: Mapping[str, object]) -> SparsityTable | None:
    """The sparsity table that settings name; None where they are dense.

    Raises InputError for a table that does not exist or cannot be read.
    """
    return load_sparsity(str(settings.get(SPARSITY, "dense")).strip())


def beside_dense(
    model: str,
    accelerator: str,
    settings: Mapping[str, object],
    technology: Technology | None = None,
) -> dict[str, object] | None:
    """What the densities rest on, and the costs of the same design without pruning.

    Returns None for a dense design; otherwise `table`, `measured_on` (None: any model),
    `other_model`, `evidence` (strongest first; assumed where the table is another model's) and
    `dense`: latency_s, energy_j and, on a machine that stores tensors compressed, memory_bytes of
    activations and weights; None where the dense design is infeasible. Costs one more evaluation,
    some milliseconds.
    """
    table = table_of(settings)
    if table is None:
        return None
    pruning = (SPARSITY, *(f"workload.{name}" for name in THRESHOLDS))
    own = {key: value for key, value in settings.items() if key not in pruning}
    columns = {"model": model, "accelerator": accelerator, **own}
    cost = evaluate(
        {key: Column.constant(value, 1) for key, value in columns.items()},
        1,
        technology=technology,
        level="groups",
    )
    feasible, other = bool(cost.feasible[0]), is_of_another_model(table, model)
    dense: dict[str, object] = {
        name: float(cost.scalars[name][0]) if feasible else None
        for name in ("latency_s", "energy_j")
    }
    dense["memory_bytes"] = {
        name: float(cost.groups["memory_bytes"][name][0])
        for name in MEMORY
        if load_accelerator(accelerator).machine.compresses and name in cost.groups["memory_bytes"]
    }
    return {
        "table": table.name,
        "measured_on": table.model or None,
        "other_model": other,
        "evidence": ["assumed"] if other else list(table.evidence),
        "dense": dense,
    }


def is_of_another_model(table: SparsityTable, model: str) -> bool:
    """Whether a table names a model that it was measured on, and it is not this one."""
    if not table.model:
        return False
    return {model, _called(model)}.isdisjoint({table.model, _called(table.model)})


def _called(model: str) -> str:
    """The name a model bears, whatever file or alias it was asked for by."""
    try:
        return load_model(model).name
    except InputError:
        return model


def warnings(model: str, settings: Mapping[str, object]) -> list[str]:
    """What a user may not expect of the pruning asked for, a sentence each."""
    table, sentences = table_of(settings), []
    if table is not None and is_of_another_model(table, model):
        sentences.append(
            f"{SPARSITY}: {table.name} was measured on {table.model}, not on {model}: "
            "its densities count as assumed"
        )
    elif table is not None:  # another model may well have other operations
        sentences += _misspelt(table, model)
    for name in THRESHOLDS:
        given = settings.get(f"workload.{name}")
        if given is not None and not (table and table.knows(name)):
            sentences.append(sentence(f"workload.{name}", schema("workload")[name]))
    return sentences


def _misspelt(table: SparsityTable, model: str) -> list[str]:
    """Operations of a table that a model has under a similar name only, which has no row."""
    given = {(phase, name) for phase, name, _, _ in table.points if name != "*"}
    asked = _operations(model) if given else set()
    sentences = []
    for phase, name in sorted(given - asked):
        near = nearest(name, {n for p, n in asked - given if p == phase}, ALIKE)
        if near:
            sentences.append(
                f"{SPARSITY}: {table.name} has densities for '{name}' ({phase}), which "
                f"{model} does not have and which count for nothing; "
                f"did you mean '{near}'?"
            )
    return sentences


def _operations(model: str) -> set[tuple[str, str]]:
    """Phase and name of the products of a training step; of inference where nothing trains."""
    for mode in ("training", "inference"):
        # Names do not depend on the machine.
        settings = {"model": model, "accelerator": "systolic", "workload.mode": mode}
        try:
            group = next(iter(resolve({k: Column.constant(v, 1) for k, v in settings.items()}, 1)))
            rows = build(group.models, group.workload).rows
        except InputError:
            continue
        return {
            ("backward" if row.phase == "backward" else "forward", row.word)
            for row in rows
            if row.matmul
        }
    return set()
