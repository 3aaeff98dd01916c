"""Attention: projections, low-rank pairs, scores, softmax, context and output.

Vaswani et al. 2017 (arXiv 1706.03762); low-rank adapters: Hu et al. 2021 (arXiv 2106.09685).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from elector.operations.flexibert import head_mixing, relative_positions
from elector.operations.passes import Pass, dropout
from elector.operations.rows import Row
from elector.operations.step import AttentionTape, Step

Array = np.ndarray


def attention(step: Step, run: Pass, layer: str, count: Array, index: int, *, cross: bool) -> bool:
    """Projections, attention core, output projection; returns whether the output has a bias."""
    model, blocks = step.models.template, step.models.block
    d, wide = blocks["hidden"][index], blocks["heads"][index] * blocks["head_size"][index]
    narrow = blocks["kv_heads"][index] * blocks["head_size"][index]
    prefix = "cross " if cross else ""
    sources = run.batch * run.source if cross else run.tokens
    lowest = None if cross else _reached(step, count, index)
    keep = not model.attention_bias  # with a bias, the sum is what is kept
    step.linear(
        f"{prefix}query",
        layer,
        run.phase,
        count,
        run.tokens,
        d,
        wide,
        input_count=lowest,
        keep=keep,
    )
    step.save(run.tokens * wide, count, run.phase)
    # The encoder's keys and values are computed once, not at every generated token.
    skip = cross and run.decoding
    if not skip:
        pair = None if lowest is None else 2.0 * lowest
        step.linear(
            f"{prefix}key, value",
            layer,
            run.phase,
            2.0 * count,
            sources,
            d,
            narrow,
            input_count=pair,
            keep=keep,
        )
        step.save(2.0 * sources * narrow, count, run.phase)
    projected = run.tokens * wide + (0.0 if skip else 2.0 * sources * narrow)
    if model.attention_bias:
        step.vector(
            "bias",
            f"{prefix}query, key, value bias",
            layer,
            run.phase,
            "elementwise",
            count,
            projected,
            keep=True,
            streamed=True,
            gradient="bias_backward",
        )
    if model.position_kind == "rotary":
        step.vector(
            "rotary",
            "rotary positions",
            layer,
            run.phase,
            "elementwise",
            count,
            run.tokens * (wide + narrow),
            streamed=True,
            gradient="rotary_backward",
        )
    if step.workload.rank:
        low_rank(step, run, layer, count, index, prefix, lowest)
    if run.decoding and not cross:
        width = step.workload.format.key_value
        step.vector(
            "append",
            "cache append",
            layer,
            run.phase,
            "elementwise",
            count,
            2.0 * run.tokens * narrow,
            streamed=True,
            writes=2.0 * run.tokens * narrow * width,
        )
    head_mixing(step, run, layer, count, index, cross, core)
    step.save(run.tokens * wide, count, run.phase)
    step.linear(f"{prefix}output", layer, run.phase, count, run.tokens, wide, d, keep=False)
    return model.output_bias


def _reached(step: Step, count: Array, index: int) -> Array | None:
    """How often the gradient of the first projections' input is wanted."""
    blocks = step.models.template.blocks
    bottom = index == 0 or (blocks[index].cross_attention and not blocks[index - 1].cross_attention)
    if step.workload.rank and bottom:
        # Nothing below the first layer of a stack trains, so its inputs need no gradient.
        once = step.models.bottom(step.workload.gradient_accumulation)
        return np.maximum(count - once, 0.0)
    return None


def low_rank(
    step: Step,
    run: Pass,
    layer: str,
    count: Array,
    index: int,
    prefix: str,
    lowest: Array | None,
) -> None:
    """x A B beside the query and value projections (Hu et al. 2021, arXiv 2106.09685)."""
    blocks, rank = step.models.block, np.full_like(count, step.workload.rank)
    d, e = blocks["hidden"][index], blocks["head_size"][index]
    for target, heads in (("query", blocks["heads"][index]), ("value", blocks["kv_heads"][index])):
        step.linear(
            f"{prefix}{target} low-rank A",
            layer,
            run.phase,
            count,
            run.tokens,
            d,
            rank,
            head=True,
            input_count=lowest,
        )
        step.linear(
            f"{prefix}{target} low-rank B",
            layer,
            run.phase,
            count,
            run.tokens,
            rank,
            heads * e,
            head=True,
        )
        step.save(run.tokens * rank, count, run.phase)


def core(
    step: Step, run: Pass, layer: str, count: Array, index: int, heads: Array, cross: bool
) -> None:
    """Scores, softmax and context of `heads` heads."""
    blocks, workload = step.models.block, step.workload
    e, prefix = blocks["head_size"][index], "cross " if cross else ""
    groups = blocks["kv_heads"][index] / blocks["heads"][index]
    keys = run.source if cross else run.keys
    span = np.zeros_like(keys) if cross else run.span
    batch, queries, share = run.batch * heads, run.queries, groups
    if run.decoding:
        # Queries that share keys form the rows of one product.
        batch, queries = batch * groups, queries / groups
        share = np.ones_like(groups)
    second = "cache" if run.decoding else "activation"
    flash = workload.attention == "flash"
    hidden = "none" if flash else "activation"
    growing = run.decoding and not cross
    shapes = {"n": span, "k": span} if growing else {}
    row = Row(
        f"{prefix}scores",
        layer,
        run.phase,
        "attention",
        True,
        b=second,
        out=hidden,
        in_attention=True,
        grows="n" if growing else "",
    )
    step.out.matmul(row, count, batch, queries, e, keys, b_share=share, span=shapes.get("n", 0.0))
    elements = batch * queries * keys
    step.note_live(2.0 * elements * (0.0 if flash else 1.0))
    again = flash or workload.activations == "selective"
    lowest = None if cross else _reached(step, count, index)
    relative = step.models.template.position_kind == "relative-key" and not cross
    tape = AttentionTape(
        "scores",
        layer,
        count,
        count if lowest is None else lowest,
        batch,
        queries,
        keys,
        e,
        share,
        again,
        saved=not again,
        positions=relative,
    )
    records = step.training and run.phase == "forward"
    if records:
        step.tape.append(tape)
    if relative:
        relative_positions(step, run, layer, count, heads, e, keys)
    probabilities(
        step,
        run,
        prefix,
        layer,
        count,
        elements,
        causal=not cross and step.models.template.blocks[index].causal,
    )
    first = "none" if flash else "activation"
    row = Row(
        f"{prefix}context",
        layer,
        run.phase,
        "attention",
        True,
        a=first,
        b=second,
        out=step.kept(run.phase),
        in_attention=True,
        grows="k" if growing else "",
    )
    step.out.matmul(row, count, batch, queries, keys, e, b_share=share, span=shapes.get("k", 0.0))
    if records:
        step.tape.append(replace(tape, part="context"))


def probabilities(
    step: Step, run: Pass, prefix: str, layer: str, count: Array, elements: Array, *, causal: bool
) -> None:
    """Scale, mask, softmax, and dropout of the probabilities in training."""
    workload, model = step.workload, step.models.template
    flash = workload.attention == "flash"
    keeps = not flash and workload.activations != "selective"
    recorded = "saved" if keeps else "none" if flash else "activation"
    also = ["scale"] if model.position_kind != "relative-bias" else []
    also += ["mask"] if causal or model.position_kind == "relative-bias" else []
    streamed = workload.attention in ("fused", "flash")
    step.vector(
        "softmax",
        f"{prefix}softmax",
        layer,
        run.phase,
        "softmax",
        count,
        elements,
        also=tuple(also),
        keep=keeps,
        streamed=streamed,
        in_attention=True,
        gradient="softmax_backward",
        gradient_also=tuple(also[:1]),
        recorded=recorded,
    )
    if keeps:
        step.save(elements, count, run.phase)
    if step.dropout:
        if keeps:
            step.save(elements, count, run.phase)
        dropout(
            step,
            run,
            f"{prefix}probabilities dropout",
            layer,
            count,
            elements,
            in_attention=True,
            keep=keeps,
            recorded=recorded,
        )
