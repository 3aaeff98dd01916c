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
from elector.operations.graph import Value, Way, either, sometimes
from elector.operations.passes import activation_saves, biased, dropout, norm
from elector.operations.roles import Place, Role, Section
from elector.operations.scope import Matrix, Pass, Recipe, Saves, Scope, Subset, formula
from elector.operations.step import Step
from elector.operations.tensors import place_of

Array = np.ndarray


def embedding(step: Step, run: Pass, section: Section, before: Value | None = None) -> Value:
    """Token, position and segment rows gathered and summed, or the patch projection.

    before : what a generated token comes from.
    """
    model, numbers = step.models.template, step.models.numbers
    d, width = step.models.block["hidden"][0], step.workload.format.activation
    scope = Scope(run, Place(section), run.times)
    patches = None
    if model.family == "vision":
        images = Value(run.batch * numbers["patches"], numbers["patch_inputs"], run.times)
        patches = step.linear(scope, images, Matrix(Role.PATCH_PROJECTION, d))
    tables = float(numbers["vocabulary"].any()) + float(model.position_kind == "learned")
    tables += float(numbers["token_types"].any())
    gathered = Value(run.tokens, d, run.times)
    if before is not None:
        gathered.reads(before)
    recipe = Recipe(
        Role.LOOKUP,
        "embedding",
        formula("embedding"),
        formula("embedding_backward"),
        subset=Subset.BODY,
        table=True,
    )
    reads = run.tokens * d * width * max(tables, 1.0)
    x = step.vector(scope, recipe, gathered, patches, Sizes(reads))
    if model.embedding_norm:
        x = norm(step, scope, Role.EMBEDDING_NORM, x)
    if step.dropout:
        x = dropout(step, scope, Role.EMBEDDING_DROPOUT, x)
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
    x = sublayer(step, scope, index, x, None)
    if description.cross_attention:
        x = sublayer(step, replace(scope, cross=True), index, x, memory)
    return feed_forward(step, scope, index, x)


def _width_before(step: Step, index: int) -> Array | None:
    """(M,) width of the layer before a block; None where all have the same."""
    description = step.models.template.blocks[index]
    if description.cross_attention or description.causal:
        return None
    return step.models.width_before(index)


def _resized(step: Step, scope: Scope, x: Value, before: Array, d: Array) -> Value:
    """A projection between layers of different widths."""
    changes = before != d
    count = scope.count * changes
    old = sometimes(x, changes)
    new = step.linear(replace(scope, count=count), old, Matrix(Role.RESIZE, d))
    return either(new, changes, x, d)


def sublayer(step: Step, scope: Scope, index: int, x: Value, memory: Value | None) -> Value:
    """Attention with its norm, dropout and residual, before or after."""
    model = step.models.template
    inside = norm(step, scope, Role.ATTENTION_NORM, x) if model.pre_norm else x
    y = attention(step, scope, index, inside, memory)
    if step.dropout:
        y = dropout(step, scope, Role.ATTENTION_DROPOUT, y)
    y = residual(step, scope, Role.ATTENTION_RESIDUAL, y, x, model.output_bias)
    return y if model.pre_norm else norm(step, scope, Role.ATTENTION_NORM, y)


def feed_forward(step: Step, scope: Scope, index: int, x: Value) -> Value:
    """Feed-forward with its norm, dropout and residual, before or after."""
    model = step.models.template
    inside = norm(step, scope, Role.FEED_FORWARD_NORM, x) if model.pre_norm else x
    y = _chain(step, scope, index, inside)
    if step.dropout:
        y = dropout(step, scope, Role.FEED_FORWARD_DROPOUT, y)
    y = residual(step, scope, Role.FEED_FORWARD_RESIDUAL, y, x, model.feed_forward_bias)
    return y if model.pre_norm else norm(step, scope, Role.FEED_FORWARD_NORM, y)


def residual(
    step: Step, scope: Scope, role: Role, y: Value, around: Value, with_bias: bool
) -> Value:
    """The bias of the last product, if it has one, and what goes around the sublayer."""
    also, back = biased(step, with_bias, Subset.BODY)
    recipe = Recipe(
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
    also, back = biased(step, model.feed_forward_bias, Subset.BODY)
    gates = ("gate",) if gate is not None else ()
    recipe = Recipe(
        Role.FEED_FORWARD_ACTIVATION,
        "activation",
        formula(model.activation, *also, *gates),
        formula(f"{model.activation}_backward", *back, *(f"{g}_backward" for g in gates)),
        activation_saves(model.activation) if gate is None else Saves.BOTH,
        Subset.BODY if model.feed_forward_bias else None,
        streamed=True,
        index=number,
        variant=model.activation,
    )
    y = step.vector(inside, recipe, up, gate)
    return y if inside is scope else either(y, there, whole, np.where(there, f, whole.width))
