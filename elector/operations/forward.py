"""Forward operations of a transformer (physics: one table row each).

T tokens, d hidden, H heads of size e, f feed-forward: projections T x d x (H e), scores
B H x (L x e x L), context B H x (L x L x e), output T x (H e) x d, feed-forward T x d x f
and T x f x d, with softmax, norms, activations, residuals and dropout as vector rows.
Vaswani et al. 2017 (arXiv 1706.03762); BERT 1810.04805; GPT-2; Llama 2302.13971; T5 1910.10683.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from elector.operations.flexibert import head_mixing, relative_positions
from elector.operations.rows import Row
from elector.operations.step import AttentionTape, Step

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Pass:
    """One pass through the layers.

    phase : forward | prefill | decode | recompute.
    batch : (M,) sequences; queries : (M,) tokens of each; keys : (M,) tokens attended to;
    span : (M,) how far keys grow around that value; times : (M,) passes of a step;
    source : (M,) tokens of the encoder's output.
    """

    phase: str
    batch: Array
    queries: Array
    keys: Array
    span: Array
    times: Array
    source: Array

    @property
    def tokens(self) -> Array:
        """(M,) rows of the residual stream."""
        return self.batch * self.queries

    @property
    def decoding(self) -> bool:
        """One token at a time, against a cache."""
        return self.phase == "decode"


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


def norm(
    step: Step,
    run: Pass,
    name: str,
    layer: str,
    count: Array,
    elements: Array,
    head: bool = False,
    keep: bool = True,
) -> None:
    """Layer norm or root-mean-square norm of rows."""
    operation = "layer_norm" if step.models.template.norm == "layer" else "rms_norm"
    step.vector(
        operation,
        name,
        layer,
        run.phase,
        "norm",
        count,
        elements,
        keep=keep,
        head=head,
        gradient=f"{operation}_backward",
    )


def dropout(
    step: Step,
    run: Pass,
    name: str,
    layer: str,
    count: Array,
    elements: Array,
    in_attention: bool = False,
    keep: bool = False,
    recorded: str = "saved",
) -> None:
    """Random zeros; the mask is one byte an element and stays for the backward pass.

    Where the result is not kept, the operation behind it writes the mask. A recorded class
    other than saved keeps none: its random numbers are drawn again.
    """
    writes = None
    if recorded == "saved":
        step.save(elements, count, run.phase, width=1.0)
        if keep:
            width = step.workload.format.activation
            writes = elements * width + step.mask(elements, run.phase)
    step.vector(
        "dropout",
        name,
        layer,
        run.phase,
        "elementwise",
        count,
        elements,
        streamed=True,
        in_attention=in_attention,
        keep=keep,
        gradient="dropout_backward",
        writes=writes,
        recorded=recorded,
    )


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
        width = step.workload.format.activation
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


def _layer_name(step: Step, index: int) -> str:
    model = step.models.template
    if model.family == "encoder-decoder":
        return "decoder" if model.blocks[index].cross_attention else "encoder"
    return f"layer {index + 1}" if len(model.blocks) > 1 else "layers"
