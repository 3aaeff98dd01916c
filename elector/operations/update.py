"""The update of parameters, and the casts of mixed precision."""

from __future__ import annotations

import numpy as np

from elector.describe.workload import OPTIMIZER_STATES
from elector.operations.collect import Sizes
from elector.operations.graph import Value
from elector.operations.roles import ModelSection, Place, Role, RowPart
from elector.operations.rows import Row
from elector.operations.scope import formula
from elector.operations.step import Step
from elector.operations.tensor import Tensor, elements_of, trained

Array = np.ndarray
_PARAMETERS = Place(ModelSection.PARAMETERS)


def cast_weights(step: Step, tensors: list[Tensor]) -> None:
    """Mixed precision keeps weights in fp32 and casts them in every pass, also in inference."""
    workload, models = step.workload, step.models
    times = {
        "prefill" if workload.generates else "forward": workload.pieces * workload.prompt_passes
    }
    if workload.generates:
        times["decode"] = np.maximum(workload.generate - 1.0, 0.0)
    for phase, each in times.items():
        _cast(step, phase, models.bottom(each), tensors)


def _cast(step: Step, phase: str, count: Array, tensors: list[Tensor]) -> None:
    f = step.workload.format
    cast = step.models.whole(elements_of(tensors, step.models.size))
    row = _row(Role.WEIGHT_CAST, "cast", phase, "cast", off_chain=phase == "update", second=False)
    sizes = Sizes(cast * f.master, None, cast * f.weight)
    step.out.vector(row, count, cast, sizes, (None, None))


def _row(
    role: Role, operation: str, phase: str, kind: str, *, off_chain: bool, second: bool
) -> Row:
    """Work on all parameters, which lie in main memory; second : on two operands."""
    simple, special = formula(operation)
    return Row(
        role,
        _PARAMETERS,
        phase,
        kind,
        False,
        "stream",
        "stream" if second else "none",
        "stream",
        off_chain=off_chain,
        simple=simple,
        special=special,
    )


def update(step: Step, tensors: list[Tensor]) -> None:
    """The optimizer, a row for each kind of tensor that trains; casts of mixed precision."""
    models, workload, f = step.models, step.workload, step.workload.format
    if workload.optimizer != "none":
        for t in tensors:
            if trained(t, workload):
                _update(step, t)
    passes = models.bottom(workload.gradient_accumulation)
    mine = [t for t in tensors if trained(t, workload)]
    if f.master:
        _cast(step, "update", passes, mine)
    if np.any(passes > 1):
        trains = models.whole(elements_of(mine, models.size))
        size = trains * f.weight_gradient
        row = _row(
            Role.ACCUMULATION, "accumulate", "update", "optimizer", off_chain=True, second=True
        )
        step.out.vector(
            row, np.maximum(passes - 1.0, 0.0), trains, Sizes(size, size, size), (None, None)
        )


def _update(step: Step, t: Tensor) -> None:
    """One kind of tensor: reads weight, gradient and states, writes weight and states.

    Two rows: where products of a model read it, and where none does.
    """
    workload, f = step.workload, step.workload.format
    states = OPTIMIZER_STATES[workload.optimizer] * f.state
    weight = f.master or f.weight
    simple, special = formula(workload.optimizer)
    row = Row(
        t.role,
        t.place,
        "update",
        "optimizer",
        False,
        "stream",
        "stream",
        "stream",
        RowPart.BIAS_UPDATE if t.bias else RowPart.UPDATE,
        index=t.index,
        variant=t.variant,
        off_chain=True,
        simple=simple,
        special=special,
    )
    sizes = Sizes(
        t.elements * (weight + f.weight_gradient),
        t.elements * states,
        t.elements * (weight + states),
    )
    made = [r for p in t.parameters for r in step.gradients.get(p, ()) if r >= 0]
    multiplied = np.zeros(step.models.size, dtype=bool)
    for r in made:
        multiplied |= np.asarray(step.out.numbers[r]["count"]) > 0
    # A tensor that no product of a model reads lies elsewhere than one that some product does.
    for there, sources in ((multiplied, made), (~multiplied, [])):
        gradient = Value(t.elements, np.ones(1), t.count * there)
        for r in sources:
            gradient.made_by(r)
        step.out.vector(row, t.count * there, t.elements, sizes, (gradient, None))
