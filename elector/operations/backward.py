"""Backward pass and update: the tape played in reverse.

y = x w gives dx = dy w^T (T x n x k) and dw = x^T dy (k x T x n); scores and context give
dQ, dK, dP, dV. With unfused attention and everything trained that is exactly twice the
forward products; flash attention computes the scores again (Dao et al. 2022, arXiv
2205.14135), which makes its attention backward 2.5 times the forward.
"""

from __future__ import annotations

import numpy as np

from elector.describe.workload import OPTIMIZER_STATES
from elector.operations.rows import Row, vector_row
from elector.operations.step import AttentionTape, LinearTape, Step, VectorTape
from elector.operations.tensors import Tensor, trained

Array = np.ndarray


def backward(step: Step) -> None:
    """Every gradient of the step."""
    trainable = step.workload.trainable
    for entry in reversed(step.tape):
        if trainable == "heads" and not getattr(entry, "head", False):
            continue
        if trainable != "all" and _layer(entry).endswith("embedding"):
            continue  # below the lowest tensor that trains
        if isinstance(entry, LinearTape):
            _linear(step, entry)
        elif isinstance(entry, AttentionTape):
            _attention(step, entry)
        else:
            _vector(step, entry)


def _layer(entry: LinearTape | AttentionTape | VectorTape) -> str:
    return entry.row.layer if isinstance(entry, VectorTape) else entry.layer


def _linear(step: Step, t: LinearTape) -> None:
    inputs = t.count if t.input_count is None else t.input_count
    kind = "attention" if t.frozen or np.ndim(t.batch) else "linear"
    if np.any(inputs):
        row = Row(f"{t.name} input gradient", t.layer, "backward", kind, True, b="reuse")
        share = 1.0 if t.share is None else t.share
        step.out.matmul(row, inputs, t.batch, t.m, t.n, t.k, b_share=share)
    if t.frozen or not (step.workload.trainable == "all" or (t.head and not t.tied)):
        return
    f = step.workload.format
    row = Row(
        f"{t.name} weight gradient",
        t.layer,
        "backward",
        kind,
        True,
        a="saved",
        b="activation",
        out="stream",
        off_chain=True,
    )
    batch, summed = (t.batch, t.m) if t.share is None else (1.0, t.m * t.batch)
    step.out.matmul(
        row, t.count, batch, t.k, summed, t.n, widths=(f.activation, f.gradient, f.weight_gradient)
    )


def _attention(step: Step, t: AttentionTape) -> None:
    flash = step.workload.attention == "flash"
    between = "none" if flash else "activation"  # flash keeps scores and their gradients on chip
    if t.part == "scores":
        _core(
            step,
            t,
            "query gradient",
            "backward",
            between,
            "saved",
            "activation",
            (t.queries, t.keys, t.size),
        )
        _core(
            step,
            t,
            "key gradient",
            "backward",
            between,
            "saved",
            "activation",
            (t.keys, t.queries, t.size),
            shared=False,
            count=t.key_count,
        )
        return
    if t.recompute:
        phase = "backward" if flash else "recompute"
        _core(
            step, t, "scores again", phase, "saved", "saved", between, (t.queries, t.size, t.keys)
        )
        if t.positions:
            row = Row(
                "relative positions again",
                t.layer,
                phase,
                "attention",
                True,
                "saved",
                "reuse",
                between,
                in_attention=True,
            )
            share = (t.queries + t.keys - 1.0) / (t.queries * t.keys)
            step.out.matmul(row, t.count, t.queries, t.batch, t.size, t.keys, b_share=share)
        row = vector_row(
            "softmax",
            "softmax again",
            t.layer,
            phase,
            "softmax",
            also=("scale",),
            a=between,
            out=between,
            streamed=flash,
            in_attention=True,
        )
        step.out.vector(row, t.count, t.batch * t.queries * t.keys)
    probabilities = "saved" if t.saved else between
    _core(
        step,
        t,
        "value gradient",
        "backward",
        probabilities,
        "activation",
        "activation",
        (t.keys, t.queries, t.size),
        shared=False,
    )
    _core(
        step,
        t,
        "probabilities gradient",
        "backward",
        "activation",
        "saved",
        between,
        (t.queries, t.size, t.keys),
    )


def _core(
    step: Step,
    t: AttentionTape,
    name: str,
    phase: str,
    a: str,
    b: str,
    out: str,
    shape: tuple[Array, Array, Array],
    shared: bool = True,
    count: Array | None = None,
) -> None:
    row = Row(name, t.layer, phase, "attention", True, a, b, out, in_attention=True)
    share = t.share if shared else 1.0
    step.out.matmul(row, t.count if count is None else count, t.batch, *shape, b_share=share)


def _vector(step: Step, t: VectorTape) -> None:
    step.out.vector(t.row, t.count, t.elements, reads=t.reads, extra=t.extra, writes=t.writes)


def cast_weights(step: Step, tensors: list[Tensor]) -> None:
    """Mixed precision keeps weights in fp32 and casts them in every pass, also in inference."""
    f, workload = step.workload.format, step.workload
    everything = step.models.whole(
        sum((t.elements * t.count for t in tensors), np.zeros(step.models.size))
    )
    times = {"prefill" if workload.generates else "forward": np.ones(step.models.size)}
    if workload.generates:
        times["decode"] = np.maximum(workload.generate - 1.0, 0.0)
    for phase, each in times.items():
        count = step.models.bottom(each)
        row = vector_row(
            "cast", "weight cast", "parameters", phase, "cast", a="stream", out="stream"
        )
        step.out.vector(
            row, count, everything, reads=everything * f.master, writes=everything * f.weight
        )


def update(step: Step, tensors: list[Tensor]) -> None:
    """The optimizer, a row for each kind of tensor that trains; casts of mixed precision."""
    models, workload, f = step.models, step.workload, step.workload.format
    passes = models.bottom(workload.gradient_accumulation)
    states = OPTIMIZER_STATES[workload.optimizer] * f.state
    weight = f.master or f.weight
    for t in tensors:
        if not trained(t, workload) or workload.optimizer == "none":
            continue
        row = vector_row(
            workload.optimizer,
            f"{t.name} update",
            t.layer,
            "update",
            "optimizer",
            a="stream",
            b="stream",
            out="stream",
            off_chain=True,
        )
        step.out.vector(
            row,
            t.count,
            t.elements,
            reads=t.elements * (weight + f.weight_gradient),
            extra=t.elements * states,
            writes=t.elements * (weight + states),
        )
    zero = np.zeros(models.size)
    trains = models.whole(
        sum((t.elements * t.count for t in tensors if trained(t, workload)), zero)
    )
    if f.master:
        row = vector_row(
            "cast",
            "weight cast",
            "parameters",
            "update",
            "cast",
            a="stream",
            out="stream",
            off_chain=True,
        )
        step.out.vector(row, passes, trains, reads=trains * f.master, writes=trains * f.weight)
    if np.any(passes > 1):
        row = vector_row(
            "accumulate",
            "gradient accumulation",
            "parameters",
            "update",
            "optimizer",
            a="stream",
            b="stream",
            out="stream",
            off_chain=True,
        )
        size = trains * f.weight_gradient
        step.out.vector(
            row, np.maximum(passes - 1.0, 0.0), trains, reads=size, extra=size, writes=size
        )
