"""Rows of the forward pass: layers.

One layer, T = B L tokens, d hidden, H heads, e = head size, f feed-forward:
q, k, v T x d x (H e), scores B H (L x e x L), softmax B H L rows of L,
context B H (L x L x e), output T x (H e) x d, feed-forward T x d x f
and T x f x d, with softmax, norms, activations, residuals and dropout as vector rows.
Vaswani et al. 2017 (arXiv 1706.03762); BERT 1810.04805; GPT-2; Llama 2302.13971; T5 1910.10683.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from elector.operations.attention import attention
from elector.operations.collect import Sizes
from elector.operations.experts import activation, experts
from elector.operations.graph import Value, Way, added, either, sometimes
from elector.operations.indexer import index_scores
from elector.operations.latent import latent_attention
from elector.operations.passes import biased, dropout, norm
from elector.operations.roles import ModelSection, Place, Role
from elector.operations.scans import scanned
from elector.operations.scope import Matrix, Pass, Scope, Subset, VectorRecipe, formula
from elector.operations.step import Step
from elector.operations.tensors import place_of

Array = np.ndarray


def embedding(step: Step, run: Pass, section: ModelSection, before: Value | None = None) -> Value:
    """Token, position and segment rows gathered and summed, or the patch projection.

    before : what a generated token comes from.
    """
    model, numbers = step.models.template, step.models.numbers
    hidden, width = step.models.block["hidden"][0], step.workload.format.activation
    scope = Scope(run, Place(section), run.times)
    patches = None
    d = np.full_like(hidden, float(model.embedding_size)) if model.embedding_size else hidden
    if model.stem and section is ModelSection.ENCODER_EMBEDDING:
        return _stem(step, scope, hidden)
    if model.family == "vision":
        images = Value(run.batch * numbers["patches"], numbers["patch_inputs"], run.times)
        patches = step.linear(scope, images, Matrix(Role.PATCH_PROJECTION, d))
    tables = (numbers["vocabulary"] > 0) + float(model.position_kind == "learned")
    tables = tables + (numbers["token_types"] > 0)
    gathered = Value(run.tokens, d, run.times)
    if before is not None:
        gathered.reads(before)
    recipe = VectorRecipe(
        Role.LOOKUP,
        "embedding",
        formula("embedding"),
        formula("embedding_backward"),
        subset=Subset.BODY,
        table=True,
    )
    reads = run.tokens * d * width * np.maximum(tables, 1.0)
    x = step.vector(scope, recipe, gathered, patches, Sizes(reads))
    if model.embedding_norm:
        x = norm(step, scope, Role.EMBEDDING_NORM, x)
    if step.dropout:
        x = dropout(step, scope, Role.EMBEDDING_DROPOUT, x)
    return step.linear(scope, x, Matrix(Role.EMBEDDING_UP, hidden)) if model.embedding_size else x


def _stem(step: Step, scope: Scope, hidden: Array) -> Value:
    """Convolutions below an encoder, each as the product it is, and their activations."""
    model, run, x = step.models.template, scope.run, None
    for number, (inputs, rows) in enumerate(model.stem):
        windows = Value(run.batch * rows, np.full_like(hidden, float(inputs)), run.times)
        if x is not None:
            windows = x.view(windows.rows, windows.width)
        y = step.linear(scope, windows, Matrix(Role.STEM, hidden, index=number + 1))
        recipe = activation(step, Role.STEM_ACTIVATION, True, None)
        x = step.vector(scope, recipe, y)
    assert x is not None
    return x


@dataclass(frozen=True, eq=False, repr=False)
class Layers:
    """The layers of one block: all of them are the same rows.

    inner : what each reads: the first one what stands below, each other the one before.
    once, later : (M,) how often it is the first, and how often another.
    result : what the last of them leaves.
    """

    inner: Value
    once: Array
    later: Array
    result: Value


def blocks(step: Step, run: Pass, indices: Iterable[int], x: Value, memory: Value | None) -> Value:
    """The layers of some blocks one after another, and again where they are computed again.

    x : what the first of them reads. memory : the encoder's output, or None.

    indices : of the blocks, in their order.
    """
    done: list[tuple[int, Layers]] = []
    for index in indices:
        done.append((index, _layers(step, run, index, x, memory)))
        x = done[-1][1].result
    if step.training and step.workload.activations == "recompute":
        for index, layers in done:
            if layers.result.needed:
                _again(step, replace(run, phase="recompute"), index, layers, memory)
    return x


def _layers(step: Step, run: Pass, index: int, x: Value, memory: Value | None) -> Layers:
    """All layers of one block; every layer reads the one before."""
    scope = _scope(step, run, index)
    once = np.minimum(step.models.bottom(run.times), scope.count)
    later = scope.count - once
    before = _width_before(step, index)
    width = x.width if before is None else before
    inner = Value(x.rows, width, scope.count, *_wanted(step, x, once))
    inner.reads(x, once, Way.FIRST)
    out = block(step, scope, index, inner, memory)
    if out.needed and not step.records(scope):
        # A checkpoint keeps the input of each layer only (Chen et al. 2016, arXiv 1604.06174).
        step.checkpoint(inner)
        if memory is not None:
            step.checkpoint(memory)
    result = Value(out.rows, out.width, once, out.needed)
    result.reads(out, once, Way.LAST)
    if (once <= 0).any():  # a block that is not there hands on what it gets
        result.reads(x, run.times * (once <= 0), Way.ELSE)
    inner.reads(out, later, Way.LATER)
    return Layers(inner, once, later, result)


def _again(step: Step, run: Pass, index: int, layers: Layers, memory: Value | None) -> None:
    """The same layers again, in the backward pass."""
    out = block(step, _scope(step, run, index), index, layers.inner, memory)
    out.gradient.takes(layers.result.gradient, layers.once, Way.LAST)
    out.gradient.takes(layers.inner.gradient, layers.later, Way.LATER)


def _wanted(step: Step, x: Value, once: Array) -> tuple[bool, Array | float]:
    """Whether gradients of the layers' inputs are wanted, and in how many layers they are not."""
    if not (step.trains(Subset.BODY) or (step.training and step.workload.rank)):
        return x.needed, x.missing
    # Every layer trains; what stands below the first one perhaps does not.
    return True, 0.0 if x.needed else once


def _scope(step: Step, run: Pass, index: int) -> Scope:
    count = step.models.block["repeat"][index] * run.times
    return Scope(run, place_of(step.models.template, index), count, layered=True)


def block(step: Step, scope: Scope, index: int, x: Value, memory: Value | None) -> Value:
    """One layer of a block."""
    description, d = step.models.template.blocks[index], step.models.block["hidden"][index]
    before = _width_before(step, index)
    if before is not None:
        x = _resized(step, scope, x, before, d)
    if step.models.template.parallel != "none":
        return _parallel(step, scope, index, x)
    if description.mixer != "none":
        x = sublayer(step, scope, index, x, None)
    if description.cross_attention:
        x = sublayer(step, replace(scope, cross=True), index, x, memory)
    return feed_forward(step, scope, index, x) if description.feeds else x


def _parallel(step: Step, scope: Scope, index: int, x: Value) -> Value:
    """Attention and feed-forward beside each other (Wang & Komatsuzaki 2021, GPT-J)."""
    model = step.models.template
    inside = norm(step, scope, Role.ATTENTION_NORM, x)
    other = inside
    if model.parallel == "two-norms":
        other = norm(step, scope, Role.FEED_FORWARD_NORM, x)
    y = mixed(step, scope, index, inside, None)
    z = _fed(step, scope, index, other)
    if step.dropout:
        y = dropout(step, scope, Role.ATTENTION_DROPOUT, y)
        z = dropout(step, scope, Role.FEED_FORWARD_DROPOUT, z)
    x = residual(step, scope, Role.ATTENTION_RESIDUAL, y, x, model.output_bias)
    return residual(step, scope, Role.FEED_FORWARD_RESIDUAL, z, x, _feed_bias(step, index))


def mixed(step: Step, scope: Scope, index: int, x: Value, memory: Value | None) -> Value:
    """What mixes the tokens of a layer, without the norms around it."""
    block = step.models.template.blocks[index]
    if block.attends or scope.cross:
        if not scope.cross and step.models.at("index_heads", index).any():
            index_scores(step, scope, index, x, x)
        y = attention(step, scope, index, x, memory)
        both = block.scans and not scope.cross
        return added([y, scanned(step, scope, index, x)]) if both else y
    if block.mixer == "latent":
        return latent_attention(step, scope, index, x)
    return scanned(step, scope, index, x)


def _feed_bias(step: Step, index: int) -> bool:
    """Whether the feed-forward of a block ends in a bias."""
    model = step.models.template
    return model.feed_forward_bias and not model.blocks[index].experts


def _width_before(step: Step, index: int) -> Array | None:
    """(M,) width of the layer before a block; None where all have the same."""
    description = step.models.template.blocks[index]
    if description.cross_attention or description.causal or step.models.template.pattern:
        return None
    return step.models.width_before(index)


def _resized(step: Step, scope: Scope, x: Value, before: Array, d: Array) -> Value:
    """A projection between layers of different widths."""
    changes = before != d
    count = scope.count * changes
    old = sometimes(x, changes)
    new = step.linear(replace(scope, count=count), old, Matrix(Role.RESIZE, d))
    if step.records(scope) and x.needed:
        # Layers that change no width keep it: what the row before writes is the same for all.
        step.saved.written.append(x)
    return either(new, changes, x, d)


def sublayer(step: Step, scope: Scope, index: int, x: Value, memory: Value | None) -> Value:
    """Attention with its norm, dropout and residual, before or after."""
    model = step.models.template
    inside = norm(step, scope, Role.ATTENTION_NORM, x) if model.pre_norm else x
    y = mixed(step, scope, index, inside, memory)
    if model.output_norm:
        y = norm(step, scope, Role.ATTENTION_OUTPUT_NORM, y)
    if step.dropout:
        y = dropout(step, scope, Role.ATTENTION_DROPOUT, y)
    y = residual(step, scope, Role.ATTENTION_RESIDUAL, y, x, model.output_bias)
    after = not (model.pre_norm or model.output_norm)
    return norm(step, scope, Role.ATTENTION_NORM, y) if after else y


def feed_forward(step: Step, scope: Scope, index: int, x: Value) -> Value:
    """Feed-forward with its norm, dropout and residual, before or after."""
    model = step.models.template
    inside = norm(step, scope, Role.FEED_FORWARD_NORM, x) if model.pre_norm else x
    y = _fed(step, scope, index, inside)
    if model.output_norm:
        y = norm(step, scope, Role.FEED_FORWARD_OUTPUT_NORM, y)
    if step.dropout:
        y = dropout(step, scope, Role.FEED_FORWARD_DROPOUT, y)
    y = residual(step, scope, Role.FEED_FORWARD_RESIDUAL, y, x, _feed_bias(step, index))
    after = not (model.pre_norm or model.output_norm)
    return norm(step, scope, Role.FEED_FORWARD_NORM, y) if after else y


def _fed(step: Step, scope: Scope, index: int, x: Value) -> Value:
    """Dense feed-forward, experts, or both beside each other."""
    description = step.models.template.blocks[index]
    if not description.experts:
        return _chain(step, scope, index, x)
    y = experts(step, scope, index, x)
    return added([_chain(step, scope, index, x), y]) if description.beside else y


def residual(
    step: Step, scope: Scope, role: Role, y: Value, around: Value, with_bias: bool
) -> Value:
    """The bias of the last product, if it has one, and what goes around the sublayer.

    with_bias : whether the product before has one.
    """
    also, back = biased(step, with_bias, Subset.BODY)
    recipe = VectorRecipe(
        role,
        "elementwise",
        formula("residual", *also),
        formula("residual_backward", *back),
        subset=Subset.BODY if with_bias else None,
        streamed=True,
    )
    extra = y.elements * step.workload.format.activation
    return step.vector(scope, recipe, y, around, Sizes(extra=extra))


def _chain(step: Step, scope: Scope, index: int, x: Value) -> Value:
    """A chain of one product (gated: two) and an activation for each stack, and one back to hidden.

    hidden -> f1 -> f2 -> f3 -> hidden, with one residual and norm behind the last, is what
    FlexiBERT's released models have: with a way back to hidden in every stack, 8 of their 16
    parameter counts are out of reach (docs/acceltran.md).
    """
    d, stacks = step.models.block["hidden"][index], step.models.feed_forward[index]
    for s, f in enumerate(stacks):
        if f.any():
            x = _stack(step, scope, x, f, s + 1 if len(stacks) > 1 else 0)
    return step.linear(scope, x, Matrix(Role.FEED_FORWARD_OUT, d))


def _stack(step: Step, scope: Scope, x: Value, f: Array, number: int) -> Value:
    """One product (gated: two) and the activation; where f is 0 there is none."""
    model, there = step.models.template, f > 0
    whole, inside = x, scope
    if not there.all():
        inside = replace(scope, count=scope.count * there)
        x = sometimes(x, there)
    up = step.linear(inside, x, Matrix(Role.FEED_FORWARD_IN, f, index=number))
    gate = None
    if model.gated:
        gate = step.linear(inside, x, Matrix(Role.FEED_FORWARD_GATE, f, index=number))
    recipe = activation(step, Role.FEED_FORWARD_ACTIVATION, model.feed_forward_bias, gate)
    recipe = replace(recipe, index=number)
    y = step.vector(inside, recipe, up, gate)
    return y if inside is scope else either(y, there, whole, np.where(there, f, whole.width))
