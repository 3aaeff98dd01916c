"""Attention: projections, low-rank pairs, scores, softmax, context and output.

Vaswani et al. 2017 (arXiv 1706.03762); low-rank adapters: Hu et al. 2021 (arXiv 2106.09685).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from elector.operations.collect import Shape, Sizes
from elector.operations.flexibert import Heads, head_mixing, relative_positions
from elector.operations.graph import Parameter, Value, added
from elector.operations.passes import bias, dropout
from elector.operations.roles import Role
from elector.operations.rows import Row
from elector.operations.scope import Matrix, Recipe, Saves, Scope, Subset, formula
from elector.operations.step import Step
from elector.operations.tape import AgainNode, AttentionNode

Array = np.ndarray


def attention(step: Step, scope: Scope, index: int, x: Value, memory: Value | None) -> Value:
    """Projections, attention core and output projection, without the output's bias.

    memory : the encoder's output, for attention to it.
    """
    heads = _projections(step, scope, index, x, memory)
    mixed = head_mixing(step, scope, index, heads, core)
    return step.linear(scope, mixed, Matrix(Role.OUTPUT, step.models.block["hidden"][index]))


def _projections(step: Step, scope: Scope, index: int, x: Value, memory: Value | None) -> Heads:
    """Queries, keys and values of all heads."""
    blocks, model, run = step.models.block, step.models.template, scope.run
    e = blocks["head_size"][index]
    wide, narrow = blocks["heads"][index] * e, blocks["kv_heads"][index] * e
    q = step.linear(scope, x, Matrix(Role.QUERY, wide))
    source = memory if scope.cross else x
    pair = None
    # The encoder's keys and values are computed once, not at every generated token.
    if source is not None and not (scope.cross and run.decoding):
        pair = step.linear(scope, source, Matrix(Role.KEY_VALUE, narrow, copies=2.0))
    if model.attention_bias:
        parts = [q] if pair is None else [q, pair]
        q, *pairs = step.vectors(scope, bias(step, Role.PROJECTION_BIAS), parts)
        pair = pairs[0] if pairs else None
    if pair is None:
        q = _low_rank(step, scope, x, q, Role.QUERY)
        return Heads(q, *step.cached[index], blocks["heads"][index], scope.count)
    assert source is not None
    k, v = pair.view(pair.rows, narrow), pair.view(pair.rows, narrow)
    q = _low_rank(step, scope, x, q, Role.QUERY)
    v = _low_rank(step, scope, source, v, Role.VALUE)
    if model.position_kind == "rotary" and not scope.cross:
        q, k = _rotated(step, scope, q, k)
    if run.decoding:
        packs = ("quantise",) if step.workload.format.cached else ()
        append = Recipe(
            Role.CACHE_APPEND,
            "elementwise",
            formula("append", *packs),
            streamed=True,
            in_place=True,
        )
        elements = k.elements + v.elements
        stored = Sizes(writes=elements * step.workload.format.key_value)
        k, v = step.vectors(scope, append, [k, v], stored)
    if scope.cross and run.phase == "prefill":
        step.cached[index] = k, v
    return Heads(q, k, v, blocks["heads"][index], scope.count)


def _rotated(step: Step, scope: Scope, q: Value, k: Value) -> tuple[Value, Value]:
    """Rotary positions, in place (Su et al. 2021, arXiv 2104.09864)."""
    recipe = Recipe(
        Role.ROTARY,
        "elementwise",
        formula("rotary"),
        formula("rotary_backward"),
        streamed=True,
        in_place=True,
    )
    q, k = step.vectors(scope, recipe, [q, k])
    return q, k


#: Projection that has a low-rank pair -> its two matrices.
_PAIRS = {
    Role.QUERY: (Role.QUERY_LOW_RANK_A, Role.QUERY_LOW_RANK_B),
    Role.VALUE: (Role.VALUE_LOW_RANK_A, Role.VALUE_LOW_RANK_B),
}


def _low_rank(step: Step, scope: Scope, x: Value, y: Value, of: Role) -> Value:
    """y + x A B beside a projection (Hu et al. 2021, arXiv 2106.09685)."""
    if not step.workload.rank:
        return y
    rank, (first, second) = np.full_like(scope.count, step.workload.rank), _PAIRS[of]
    narrow = step.linear(scope, x, Matrix(first, rank, Subset.HEAD))
    return added([y, step.linear(scope, narrow, Matrix(second, y.width, Subset.HEAD))])


def core(step: Step, scope: Scope, index: int, heads: Heads) -> Value:
    """Scores, softmax and context of some heads."""
    flash = step.workload.attention == "flash"
    recorded = "activation" if step.workload.activations == "selective" else "saved"
    inner = scope.inside(heads.count, "none" if flash else recorded)
    shape = _shape(step, scope, index, heads.number)
    row = _row(step, inner, shape, Role.SCORES)
    square = _square(shape, heads.count)
    node = AttentionNode(
        inner, Role.SCORES, heads.queries, heads.keys, square, shape, heads.queries
    )
    _attend(step, node, row)
    step.note_live(2.0 * square.elements * (0.0 if flash else 1.0))
    scores = square
    positions: tuple[Parameter, Shape] | None = None
    if step.models.template.position_kind == "relative-key" and not scope.cross:
        relative, positions = relative_positions(step, inner, heads, shape)
        scores = added([square, relative])
    context = Value(scope.run.tokens, heads.number * shape.k, heads.count)
    causal = step.models.template.blocks[index].causal and not scope.cross
    p = probabilities(step, inner, scores, causal)
    again = None
    if inner.recorded != "saved":
        again = _again(inner, heads, shape, scores, positions, context)
    read = p if again is None else again.probabilities
    node = AttentionNode(inner, Role.CONTEXT, p, heads.values, context, shape, read)
    _attend(step, node, _row(step, inner, shape, Role.CONTEXT))
    if again is not None and step.records(scope):
        step.tape.append(again)
    return context


def _again(
    scope: Scope,
    heads: Heads,
    shape: Shape,
    scores: Value,
    positions: tuple[Parameter, Shape] | None,
    wanted: Value,
) -> AgainNode:
    """Scores and probabilities that the backward pass computes again."""
    work = formula("softmax", "scale")
    s, p = (_square(shape, scores.count) for _ in range(2))
    return AgainNode(scope, heads.queries, heads.keys, shape, positions, work, s, p, wanted)


def _square(shape: Shape, count: Array) -> Value:
    """A score for each query and key, of which a mask may hide some."""
    _, keys = shape.whole("n")
    found = Value(shape.batch * shape.m, keys, count)
    if shape.reach is not None:
        found.done = shape.batch * shape.m * shape.n
    return found


def _row(step: Step, scope: Scope, shape: Shape, role: Role) -> Row:
    """The row of one of the two products of the heads."""
    first, decoding = role is Role.SCORES, scope.run.decoding
    between = "none" if step.workload.attention == "flash" else "activation"
    growing = (decoding and not scope.cross) or shape.reach is not None
    return Row(
        role,
        scope.place,
        scope.phase,
        "attention",
        True,
        a="activation" if first else between,
        b="cache" if decoding else "activation",
        out=between if first else "activation",
        cross=scope.cross,
        in_attention=True,
        grows=("n" if first else "k") if growing else "",
    )


def _shape(step: Step, scope: Scope, index: int, number: Array) -> Shape:
    """Scores of all heads."""
    blocks, run = step.models.block, scope.run
    groups = blocks["kv_heads"][index] / blocks["heads"][index]
    keys = run.source if scope.cross else run.keys
    span = np.zeros_like(keys) if scope.cross else run.span
    batch, queries, share = run.batch * number, run.queries, groups
    if run.decoding:
        # Queries that share keys form the rows of one product.
        batch, queries = batch * groups, queries / groups
        share = np.ones_like(groups)
    e = blocks["head_size"][index]
    if (
        run.decoding
        or scope.cross
        or not step.skips
        or not step.models.template.blocks[index].causal
    ):
        return Shape(batch, queries, e, keys, share, span)
    seen, span = _seen(run.queries, step.models.template.window)
    return Shape(batch, queries, e, seen, share, span, keys)


def _seen(length: Array, window: int) -> tuple[Array, Array]:
    """Keys that a query of causal attention sees: their mean, and how far they reach around it.

    The i-th of L queries sees min(i, window) keys, so that with w = min(L, window) all of them
    see w (w + 1) / 2 + (L - w) w: half of the square, and of a window its band. Without a
    window these are the integers from 1 to L, each once.
    """
    w = np.minimum(length, float(window)) if window else length
    mean = (w * (w + 1.0) / 2.0 + (length - w) * w) / length
    return mean, 2.0 * (w - mean)


def _attend(step: Step, node: AttentionNode, row: Row) -> None:
    """Writes the row of one of the two products of the heads, and notes its gradients."""
    left, right, out, s = node.left, node.right, node.out, node.shape
    shape = s if node.role is Role.SCORES else replace(s, k=s.n, n=s.k)
    if not row.grows:
        shape = replace(shape, span=0.0)
    place = step.out.matmul(row, node.scope.count, shape, (left, right))
    out.made_by(place)
    out.needed, out.missing = step.wanted((left, right), None)
    if step.records(node.scope):
        step.tape.append(node)
        _keep(step, node)


def _keep(step: Step, node: AttentionNode) -> None:
    """What the gradients of a product of the heads read: of each operand, the other one.

    Where scores and probabilities are computed again, that takes queries and keys; flash
    attention does so with a sum over each row of the result times its gradient, which takes
    the result, too (Dao et al. 2022, arXiv 2205.14135, algorithm 4).
    """
    scope, left, right, out = node.scope, node.left, node.right, node.out
    again = scope.recorded != "saved"
    if node.role is Role.SCORES:
        step.keep(scope, left, out if again else right)
        step.keep(scope, right, out if again else left)
        return
    step.keep(scope, right, left)
    if not again:
        step.keep(scope, left, right)
    if scope.recorded == "none":
        step.keep(scope, out, out)


def _softmax(step: Step, causal: bool) -> tuple[str, ...]:
    """Formulas of scale, mask and softmax."""
    biased = step.models.template.position_kind == "relative-bias"
    also = () if biased else ("scale",)
    return ("softmax", *also, *(("mask",) if causal or biased else ()))


def probabilities(step: Step, scope: Scope, scores: Value, causal: bool) -> Value:
    """Scale, mask, softmax, and dropout of the probabilities in training."""
    formulas = _softmax(step, causal and not scope.cross)
    recipe = Recipe(
        Role.SOFTMAX,
        "softmax",
        formula(*formulas),
        formula("softmax_backward", *formulas[1:2]),
        Saves.OUTPUT,
        streamed=step.workload.attention in ("fused", "flash"),
    )
    p = step.vector(scope, recipe, scores)
    return dropout(step, scope, Role.PROBABILITIES_DROPOUT, p) if step.dropout else p
