"""Attention: projections, low-rank pairs, scores, softmax, context and output.

Vaswani et al. 2017 (arXiv 1706.03762); low-rank adapters: Hu et al. 2021 (arXiv 2106.09685);
norms of queries and keys: Henry et al. 2020 (arXiv 2010.04245); windows: Beltagy et al. 2020
(arXiv 2004.05150).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from elector.describe.model import Models
from elector.operations.collect import Shape, Sizes
from elector.operations.flexibert import Heads, head_mixing, relative_positions
from elector.operations.graph import RoleWeights, Value, added, derived
from elector.operations.pairs import low_rank
from elector.operations.passes import bias, dropout, norm_of
from elector.operations.roles import Role
from elector.operations.rows import Row
from elector.operations.scope import Matrix, Pass, Saves, Scope, VectorRecipe, formula
from elector.operations.step import Step
from elector.operations.tape import AgainNode, AttentionNode

Array = np.ndarray


def attention(step: Step, scope: Scope, index: int, x: Value, memory: Value | None) -> Value:
    """Projections, attention core and output projection, without the output's bias.

    memory : the encoder's output, for attention to it.
    """
    heads = _projections(step, scope, index, x, memory)
    mixed = head_mixing(step, scope, index, heads, core)
    gate = step.models.template.attention_gate
    if gate != "none":
        width = mixed.width if gate == "element" else step.models.block["heads"][index]
        mixed = _gated(step, scope, x, mixed, width)
    return step.linear(scope, mixed, Matrix(Role.OUTPUT, step.models.block["hidden"][index]))


def _projections(step: Step, scope: Scope, index: int, x: Value, memory: Value | None) -> Heads:
    """Queries, keys and values of all heads."""
    blocks, run = step.models.block, scope.run
    e = blocks["head_size"][index]
    wide, narrow = blocks["heads"][index] * e, blocks["kv_heads"][index] * e
    q = step.linear(scope, x, Matrix(Role.QUERY, wide))
    source = memory if scope.cross else x
    own = step.models.at("value_head_size", index) * blocks["kv_heads"][index]
    pair, copies = None, 1.0 if step.models.template.blocks[index].shares_key else 2.0
    values = own if own.any() else narrow
    # The encoder's keys and values are computed once, not at every generated token.
    if source is not None and not (scope.cross and run.decoding):
        if own.any():  # keys and values of different widths, in one matrix
            pair = step.linear(scope, source, Matrix(Role.KEY_VALUE, narrow + own))
        else:
            pair = step.linear(scope, source, Matrix(Role.KEY_VALUE, narrow, copies=copies))
    q, pair = _biased(step, scope, q, pair)
    if pair is None:
        q = low_rank(step, scope, x, q, Role.QUERY)
        return Heads(q, *step.cached[index], blocks["heads"][index], scope.count)
    assert source is not None
    k, v = pair.view(pair.rows, narrow), pair.view(pair.rows, values)
    q = low_rank(step, scope, x, q, Role.QUERY)
    v = low_rank(step, scope, source, v, Role.VALUE)
    if step.models.template.qk_norm != "none" and not scope.cross:
        q, k = step.vectors(scope, norm_of(step, Role.QUERY_KEY_NORM), [q, k])
    if _rotates(step, index) and not scope.cross:
        q, k = _rotated(step, scope, index, q, k)
    if run.appends:
        k, v = appended(step, scope, [k, v])
    if scope.cross and run.phase == "prefill":
        step.cached[index] = k, v
    return Heads(q, k, v, blocks["heads"][index], scope.count)


def _biased(step: Step, scope: Scope, q: Value, pair: Value | None) -> tuple[Value, Value | None]:
    """Biases of queries, keys and values."""
    if not step.models.template.attention_bias:
        return q, pair
    parts = [q] if pair is None else [q, pair]
    q, *pairs = step.vectors(scope, bias(step, Role.PROJECTION_BIAS), parts)
    return q, pairs[0] if pairs else None


def _rotates(step: Step, index: int) -> bool:
    model = step.models.template
    return model.position_kind == "rotary" and model.blocks[index].rotates


def appended(step: Step, scope: Scope, parts: list[Value]) -> list[Value]:
    """What a generated token adds to the cache."""
    packs = ("quantise",) if step.workload.format.repacked else ()
    append = VectorRecipe(
        Role.CACHE_APPEND, "elementwise", formula("append", *packs), streamed=True, in_place=True
    )
    elements = parts[0].elements
    for part in parts[1:]:
        elements = elements + part.elements
    stored = Sizes(writes=elements * step.workload.format.key_value)
    return step.vectors(scope, append, parts, stored)


def rotary() -> VectorRecipe:
    """Rotary positions, in place (Su et al. 2021, arXiv 2104.09864)."""
    return VectorRecipe(
        Role.ROTARY,
        "elementwise",
        formula("rotary"),
        formula("rotary_backward"),
        streamed=True,
        in_place=True,
    )


def _rotated(step: Step, scope: Scope, index: int, q: Value, k: Value) -> tuple[Value, Value]:
    """Queries and keys turned; of each head only a part where the model says so."""
    part = step.models.at("rope_head_size", index)
    if not part.any():
        q, k = step.vectors(scope, rotary(), [q, k])
        return q, k
    share = part / step.models.block["head_size"][index]
    turned = step.vectors(scope, rotary(), [v.view(v.rows, v.width * share) for v in (q, k)])
    return kept_beside(q, turned[0]), kept_beside(k, turned[1])


def kept_beside(whole: Value, turned: Value) -> Value:
    """A tensor of which a part was changed in place."""
    changed = derived([whole, turned], whole.rows, whole.width)
    changed.home = whole
    return changed


def core(step: Step, scope: Scope, index: int, heads: Heads) -> Value:
    """Scores, softmax and context of some heads."""
    own = step.models.at("value_head_size", index)
    return attended(
        step, scope, index, heads, own if own.any() else step.models.block["head_size"][index]
    )


def _gated(step: Step, scope: Scope, x: Value, y: Value, width: Array) -> Value:
    """The context times a gate of `width` (M,) that the layer's input makes (Qwen3-Next)."""
    gate = step.linear(scope, x, Matrix(Role.ATTENTION_GATE, width))
    recipe = VectorRecipe(
        Role.ATTENTION_GATE,
        "elementwise",
        formula("gate", "silu"),
        formula("gate_backward", "silu_backward"),
        Saves.BOTH,
        streamed=True,
    )
    return step.vector(scope, recipe, y, gate)


def attended(step: Step, scope: Scope, index: int, heads: Heads, width: Array) -> Value:
    """As `core`, of values that are `width` (M,) wide a head."""
    flash = step.workload.attention == "flash"
    recorded = "activation" if step.workload.activations == "selective" else "saved"
    inner = scope.inside(heads.count, "none" if flash else recorded)
    shape = _shape(step, scope, index, heads)
    row = _row(step, inner, shape, Role.SCORES)
    square = _square(shape, heads.count)
    asked, roles = heads.queries, (Role.QUERY, Role.KEY)
    node = AttentionNode(inner, Role.SCORES, asked, heads.keys, square, shape, asked, roles)
    _attend(step, node, row)
    step.note_live(2.0 * square.elements * (0.0 if flash else 1.0))
    scores = square
    positions: tuple[RoleWeights, Shape] | None = None
    if step.models.template.position_kind == "relative-key" and not scope.cross:
        relative, positions = relative_positions(step, inner, heads, shape)
        scores = added([square, relative])
    context = Value(scope.run.tokens, heads.number * width, heads.count)
    causal = step.models.template.blocks[index].causal and not scope.cross
    p = probabilities(step, inner, scores, causal)
    again = None
    if inner.recorded != "saved":
        again = _again(inner, heads, shape, scores, positions, context)
    read = p if again is None else again.probabilities
    result = replace(shape, k=width)
    node = AttentionNode(inner, Role.CONTEXT, p, heads.values, context, result, read)
    _attend(step, node, _row(step, inner, result, Role.CONTEXT))
    if again is not None and step.records(scope):
        step.tape.append(again)
    return context


def _again(
    scope: Scope,
    heads: Heads,
    shape: Shape,
    scores: Value,
    positions: tuple[RoleWeights, Shape] | None,
    wanted: Value,
) -> AgainNode:
    """Scores and probabilities that the backward pass computes again."""
    work = formula("softmax", "scale")
    s, p = (_square(shape, scores.count) for _ in range(2))
    return AgainNode(scope, heads.queries, heads.keys, shape, positions, work, s, p, wanted)


def _square(shape: Shape, count: Array) -> Value:
    """A score for each query and key, of which a mask may hide some."""
    _, keys = shape.whole("n")
    scores = Value(shape.batch * shape.m, keys, count)
    if shape.reach is not None:
        scores.done = shape.batch * shape.m * shape.n
    return scores


def _row(step: Step, scope: Scope, shape: Shape, role: Role) -> Row:
    """The row of one of the two products of the heads."""
    first, cached = role is Role.SCORES, scope.run.appends
    between = "none" if step.workload.attention == "flash" else "activation"
    growing = (cached and not scope.cross) or shape.reach is not None
    return Row(
        role,
        scope.place,
        scope.phase,
        "attention",
        True,
        a="activation" if first else between,
        b="cache" if cached else "activation",
        out=between if first else "activation",
        cross=scope.cross,
        in_attention=True,
        grows=("n" if first else "k") if growing else "",
    )


def _shape(step: Step, scope: Scope, index: int, heads: Heads) -> Shape:
    """Scores of all heads."""
    run, number = scope.run, heads.number
    groups = step.models.block["kv_heads"][index] / step.models.block["heads"][index]
    e = step.models.block["head_size"][index]
    if heads.shared:  # latent attention: all heads read the same keys
        groups, e = 1.0 / number, heads.queries.width / number
    if scope.cross:
        keys, span = run.source, np.zeros_like(run.keys)
    elif run.decoding:
        keys, span = cached_keys(step.models, index, run)
    else:
        keys, span = _met(
            run, reach_of(step.models, index, ("window", "chunk")) + run.queries - 1.0
        )
    batch, queries, share = run.batch * number, run.queries, groups
    if run.decoding:
        # Queries that share keys form the rows of one product.
        batch, queries = batch * groups, queries / groups
        share = np.ones_like(groups)
    if run.decoding or scope.cross:
        return Shape(batch, queries, e, keys, share, span)
    most = step.models.at("index_top_k", index)
    dense = run.whole
    if most.any():  # each query reads keys of its own, all of which are fetched
        best = np.where(most > 0, most, np.inf)
        chosen, span = _met(run, best)
        share, keys = share * (keys / chosen), chosen
        dense = None if dense is None else np.minimum(dense, best)
    if not step.skips or not _hides(step, index):
        return Shape(batch, queries, e, keys, share, span, dense=dense)
    seen, span = _seen(step.models, index, run)
    return Shape(batch, queries, e, seen, share, span, keys, dense)


def _met(run: Pass, most: Array) -> tuple[Array, Array]:
    """(M,) keys that the queries of a pass are multiplied with, and their span: all up to the last
    query; of pieces of a prompt the mean over the pieces, of which none meets more than `most`
    (M,), since the cache holds no more."""
    if run.whole is None:
        return np.minimum(run.keys, most) if not np.isinf(most).all() else run.keys, run.span
    most = np.minimum(most, run.whole)
    first = run.keys - run.span / 2.0 - run.queries
    pieces = run.span / run.queries + 1.0
    below = np.clip((most - first) // run.queries, 0.0, pieces)
    sums = below * first + run.queries * below * (below + 1.0) / 2.0
    inside = below >= pieces
    keys = np.where(inside, run.keys, (sums + (pieces - below) * most) / pieces)
    return keys, np.where(inside, run.span, 0.0)


def _hides(step: Step, index: int) -> bool:
    """Whether a mask hides keys of a block from some queries."""
    return step.models.template.blocks[index].causal or bool(step.models.at("window", index).any())


#: Numbers of a block that bound how many keys a query sees.
_BOUNDS = ("window", "chunk", "index_top_k")


def reach_of(models: Models, index: int, bounds: tuple[str, ...] = _BOUNDS) -> Array:
    """(M,) keys that a query of a block sees at most; infinite where there is no bound.

    bounds : names of the bounds that count.
    """
    reach = np.full(models.size, np.inf)
    for name in bounds:
        values = models.block.get(name)
        if values is not None:
            reach = np.minimum(reach, np.where(values[index] > 0, values[index], np.inf))
    return reach


def cached_keys(models: Models, index: int, run: Pass) -> tuple[Array, Array]:
    """(M,) keys that generated tokens of a pass meet in a block: their mean, and their span.

    The tokens of a pass either all have fewer keys before them than the block reaches back, or
    all more (`decode_passes`). In chunks the keys begin anew with each chunk: their mean counts.
    """
    most = reach_of(models, index)
    if np.isinf(most).all():
        return run.keys, run.span
    inside = run.keys + run.span / 2.0 <= most
    keys = most
    chunk = models.at("chunk", index)
    if chunk.any():
        first, last = run.keys - run.span / 2.0, run.keys + run.span / 2.0
        total = _in_chunks(last, chunk) - _in_chunks(first - 1.0, chunk)
        keys = np.where(
            chunk > 0, np.minimum(total / np.maximum(last - first + 1.0, 1.0), most), most
        )
    return np.where(inside, run.keys, keys), np.where(inside, run.span, 0.0)


def _in_chunks(positions: Array, chunk: Array) -> Array:
    """(M,) pairs of a query and a key in the chunks of so many positions."""
    size = np.maximum(chunk, 1.0)
    whole, rest = np.divmod(positions, size)
    return np.asarray(whole * (size * (size + 1.0) / 2.0) + rest * (rest + 1.0) / 2.0)


def _seen(models: Models, index: int, run: Pass) -> tuple[Array, Array]:
    """Keys that a query of attention with a mask sees: their mean, and their reach around it.

    The i-th of L queries of causal attention sees min(i, window) keys, so that with
    w = min(L, window) all of them see w (w + 1) / 2 + (L - w) w: half of the square, and of a
    window its band. Without a window these are the integers from 1 to L, each once. An encoder's
    window lies on both sides of a query: with h = window // 2 it sees min(i - 1, h) on the one,
    min(L - i, h) on the other, and itself. In chunks a query sees its own chunk up to itself.
    Pieces of a prompt are the queries from one position to another.
    """
    last = run.keys + run.span / 2.0
    first = run.keys - run.span / 2.0 - run.queries
    pairs, widest = _pairs(models, index, last)
    mean = (pairs - _pairs(models, index, first)[0]) / (last - first)
    return mean, 2.0 * (widest - mean)


def _pairs(models: Models, index: int, length: Array) -> tuple[Array, Array]:
    """(M,) pairs of a key and one of the first `length` queries that sees it, and the most keys
    that one of these sees."""
    most, both = reach_of(models, index), not models.template.blocks[index].causal
    if both:
        most = np.floor(most / 2.0) + 1.0
    w = np.minimum(length, most)
    pairs = w * (w + 1.0) / 2.0 + (length - w) * w
    if both:
        pairs = 2.0 * pairs - length
        w = np.minimum(length, 2.0 * w - 1.0)
    chunk = models.at("chunk", index)
    if chunk.any():
        pairs = np.where(chunk > 0, _in_chunks(length, chunk), pairs)
    return pairs, w


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
    kind = step.models.template.position_kind
    also = () if kind == "relative-bias" else ("scale",)
    masked = causal or kind in ("relative-bias", "alibi")
    return ("softmax", *also, *(("mask",) if masked else ()))


def probabilities(step: Step, scope: Scope, scores: Value, causal: bool) -> Value:
    """Scale, mask, softmax, and dropout of the probabilities in training.

    causal : whether a query sees earlier keys only.
    """
    formulas = _softmax(step, causal and not scope.cross)
    recipe = VectorRecipe(
        Role.SOFTMAX,
        "softmax",
        formula(*formulas),
        formula("softmax_backward", *formulas[1:2]),
        Saves.OUTPUT,
        streamed=step.workload.attention in ("fused", "flash"),
    )
    p = step.vector(scope, recipe, scores)
    return dropout(step, scope, Role.PROBABILITIES_DROPOUT, p) if step.dropout else p
