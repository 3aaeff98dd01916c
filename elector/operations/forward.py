"""Forward operations of a transformer (physics: one table row each).

T tokens, d hidden, H heads of size e, f feed-forward: projections T x d x (H e), scores
B H x (L x e x L), context B H x (L x L x e), output T x (H e) x d, feed-forward T x d x f
and T x f x d, with softmax, norms, activations, residuals and dropout as vector rows.
Vaswani et al. 2017 (arXiv 1706.03762); BERT 1810.04805; GPT-2; Llama 2302.13971; T5 1910.10683.
"""

from __future__ import annotations

import numpy as np

from elector.operations.attention import attention
from elector.operations.passes import Pass, dropout, norm
from elector.operations.step import Step

Array = np.ndarray


def embedding(step: Step, run: Pass, layer: str = "embedding") -> None:
    """Token, position and segment rows gathered and summed, or the patch projection."""
    model, numbers = step.models.template, step.models.numbers
    d, width = step.models.block["hidden"][0], step.workload.format.activation
    elements, count = run.tokens * d, run.times
    if model.family == "vision":
        patches = run.batch * numbers["patches"]
        step.linear(
            "patch projection",
            layer,
            run.phase,
            count,
            patches,
            numbers["patch_inputs"],
            d,
            input_count=np.zeros_like(count),
        )
        step.save(patches * numbers["patch_inputs"], count, run.phase)
    tables = float(numbers["vocabulary"].any()) + float(model.position_kind == "learned")
    tables += float(numbers["token_types"].any())
    step.vector(
        "embedding",
        "embedding lookup",
        layer,
        run.phase,
        "embedding",
        count,
        elements,
        a="stream",
        reads=elements * width * max(tables, 1.0),
        gradient="embedding_backward",
        keep=model.embedding_norm or not step.dropout,
    )
    if model.embedding_norm:
        step.save(elements, count, run.phase)
        norm(step, run, "embedding norm", layer, count, elements, keep=not step.dropout)
    if step.dropout:
        dropout(step, run, "embedding dropout", layer, count, elements, keep=True)


def block(step: Step, index: int, run: Pass) -> None:
    """All layers of one block."""
    model = step.models.template
    description = model.blocks[index]
    d = step.models.block["hidden"][index]
    name = _layer_name(step, index)
    count = step.models.block["repeat"][index] * run.times
    elements = run.tokens * d
    if step.training and not step.keeps and run.phase == "forward":
        # A checkpoint keeps the input of each layer only (Chen et al. 2016, arXiv 1604.06174).
        step.saved = step.saved + elements * step.at_once(count) * step.workload.format.activation
    before = step.models.width_before(index)
    if before is not None and not (description.cross_attention or description.causal):
        change = count * (before != d)
        step.linear("projection", name, run.phase, change, run.tokens, before, d)
        step.save(run.tokens * before, change, run.phase)
    step.in_layers = True
    sublayer(step, run, name, count, elements, index, "self")
    if description.cross_attention:
        sublayer(step, run, name, count, elements, index, "cross")
    sublayer(step, run, name, count, elements, index, "feed-forward")
    step.in_layers = False


def sublayer(
    step: Step, run: Pass, layer: str, count: Array, elements: Array, index: int, kind: str
) -> None:
    """Attention or feed-forward with its norm, dropout and residual, before or after."""
    model = step.models.template
    title = {"self": "attention", "cross": "cross attention", "feed-forward": "feed-forward"}[kind]
    step.save(elements, count, run.phase)  # input of the first projection
    if model.pre_norm:
        step.save(elements, count, run.phase)
        norm(step, run, f"{title} norm", layer, count, elements)
    if kind == "feed-forward":
        biased = feed_forward(step, run, layer, count, index)
    else:
        biased = attention(step, run, layer, count, index, cross=kind == "cross")
    if step.dropout:
        dropout(step, run, f"{title} dropout", layer, count, elements)
    width = step.workload.format.activation
    step.vector(
        "residual",
        f"{title} residual",
        layer,
        run.phase,
        "elementwise",
        count,
        elements,
        also=("bias",) if biased else (),
        extra=elements * width,
        extra_class="activation",
        keep=True,
        streamed=True,
        gradient="residual_backward",
        gradient_also=("bias_backward",) if biased else (),
        writes=elements * width + step.mask(elements, run.phase),
    )
    if not model.pre_norm:
        step.save(elements, count, run.phase)
        norm(step, run, f"{title} norm", layer, count, elements)


def feed_forward(step: Step, run: Pass, layer: str, count: Array, index: int) -> bool:
    """A chain of one product (gated: two) and an activation for each stack, and one back to hidden.

    Returns whether it ends in a bias. hidden -> f1 -> f2 -> f3 -> hidden, with one residual and
    norm behind the last, is what FlexiBERT's released models have: with a way back to hidden in
    every stack, 8 of their 16 parameter counts are out of reach (docs/acceltran.md).
    """
    model = step.models.template
    d, stacks = step.models.block["hidden"][index], step.models.feed_forward[index]
    width = d
    for s in range(stacks.shape[0]):
        f = stacks[s]
        if not f.any():
            continue
        there, name = count * (f > 0), f" {s + 1}" if stacks.shape[0] > 1 else ""
        inner = run.tokens * f
        step.linear(f"feed-forward{name} in", layer, run.phase, there, run.tokens, width, f)
        if model.gated:
            step.linear(f"feed-forward{name} gate", layer, run.phase, there, run.tokens, width, f)
            step.save(inner, there, run.phase)
        step.save(inner, there, run.phase)
        biased = model.feed_forward_bias
        step.vector(
            model.activation,
            f"feed-forward{name} {model.activation}",
            layer,
            run.phase,
            "activation",
            there,
            inner,
            also=(("bias",) if biased else ()) + (("gate",) if model.gated else ()),
            keep=True,
            streamed=True,
            gradient=f"{model.activation}_backward",
            gradient_also=(("bias_backward",) if biased else ())
            + (("gate_backward",) if model.gated else ()),
        )
        step.save(inner, there, run.phase)
        width = np.where(f > 0, f, width)
    step.linear("feed-forward out", layer, run.phase, count, run.tokens, width, d, keep=False)
    return model.feed_forward_bias


def _layer_name(step: Step, index: int) -> str:
    model = step.models.template
    if model.family == "encoder-decoder":
        return "decoder" if model.blocks[index].cross_attention else "encoder"
    return f"layer {index + 1}" if len(model.blocks) > 1 else "layers"
