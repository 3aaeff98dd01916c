"""What stands on top of the layers: pooler, classifier, span or vocabulary head, and the loss."""

from __future__ import annotations

import numpy as np

from elector.operations.passes import Pass, norm
from elector.operations.step import Step

Array = np.ndarray


def head(step: Step, run: Pass, *, last_only: bool) -> None:
    """What stands on top: pooler, classifier, span or vocabulary head, and the loss."""
    model, numbers = step.models.template, step.models.numbers
    d, count, kind = step.models.block["hidden"][-1], run.times, model.head
    tokens = run.batch if last_only else run.tokens
    if model.pre_norm:
        step.save(run.tokens * d, count, run.phase)
        norm(step, run, "final norm", "head", count, tokens * d if last_only else run.tokens * d)
    if kind == "none":
        return
    dense = kind == "pooler" or (kind == "classifier" and model.head_dense)
    if dense:
        step.linear(
            "pooler",
            "head",
            run.phase,
            count,
            run.batch,
            d,
            d,
            head=True,
            input_count=_head_input(step, count),
        )
        step.vector(
            "tanh",
            "pooler tanh",
            "head",
            run.phase,
            "activation",
            count,
            run.batch * d,
            also=("bias",),
            streamed=True,
            keep=True,
            head=True,
            gradient="tanh_backward",
            gradient_also=("bias_backward",),
        )
        step.save(2.0 * run.batch * d, count, run.phase)
    if kind == "classifier":
        outputs, rows = numbers["labels"], run.batch
        below = None if dense else _head_input(step, count)
        logits(step, run, "classifier", rows, d, outputs, below, bias=model.family != "decoder")
    elif kind == "question-answering":
        logits(
            step,
            run,
            "span head",
            run.tokens,
            d,
            np.full_like(d, 2.0),
            _head_input(step, count),
            bias=True,
        )
    elif kind == "masked-lm":
        rows = run.batch * step.workload.predictions
        step.linear(
            "masked-LM transform",
            "head",
            run.phase,
            count,
            rows,
            d,
            d,
            head=True,
            input_count=_head_input(step, count),
        )
        step.vector(
            model.activation,
            "masked-LM activation",
            "head",
            run.phase,
            "activation",
            count,
            rows * d,
            also=("bias",),
            streamed=True,
            keep=True,
            head=True,
            gradient=f"{model.activation}_backward",
            gradient_also=("bias_backward",),
        )
        norm(step, run, "masked-LM norm", "head", count, rows * d, head=True)
        step.save(3.0 * rows * d, count, run.phase)
        logits(
            step,
            run,
            "vocabulary head",
            rows,
            d,
            numbers["vocabulary"],
            None,
            bias=True,
            tied=model.tied_embeddings,
        )
    elif kind == "causal-lm":
        logits(
            step,
            run,
            "vocabulary head",
            tokens,
            d,
            numbers["vocabulary"],
            _head_input(step, count),
            bias=False,
            tied=model.tied_embeddings,
        )


def _head_input(step: Step, count: Array) -> Array | None:
    """The lowest trainable head needs no gradient of its input where the body is frozen."""
    return np.zeros_like(count) if step.workload.trainable == "heads" else None


def logits(
    step: Step,
    run: Pass,
    name: str,
    rows: Array,
    d: Array,
    outputs: Array,
    input_count: Array | None,
    *,
    bias: bool,
    tied: bool = False,
) -> None:
    """The last projection and, in training, the loss."""
    step.linear(
        name,
        "head",
        run.phase,
        run.times,
        rows,
        d,
        outputs,
        head=True,
        input_count=input_count,
        tied=tied,
        keep=False,
    )
    step.save(rows * d, run.times, run.phase)
    if bias:
        step.vector(
            "bias",
            f"{name} bias",
            "head",
            run.phase,
            "elementwise",
            run.times,
            rows * outputs,
            streamed=True,
            head=True,
            gradient="bias_backward",
        )
    if step.training:
        step.save(rows * outputs, run.times, run.phase)
        step.vector(
            "loss",
            "loss",
            "head",
            run.phase,
            "loss",
            run.times,
            rows * outputs,
            keep=True,
            head=True,
            gradient="loss_backward",
        )
