"""Attention over a latent: keys and values of all heads come from one vector a token.

Hidden -> rank of the queries -> heads x (nope + rope); hidden -> rank of keys and values + rope;
that rank -> heads x (nope + value). The cache holds rank + rope numbers a token. The prompt, and
training, expand keys and values; a generated token does not: the up-projections move into its
queries (scores over rank + rope, whatever the heads) and behind its context (over rank).
DeepSeek-V2, section 2.1 and appendix C (arXiv 2405.04434).
"""

from __future__ import annotations

import numpy as np

from elector.operations.attention import (
    appended,
    attended,
    kept_beside,
    rotary,
)
from elector.operations.collect import Shape
from elector.operations.flexibert import Heads
from elector.operations.graph import Value, derived
from elector.operations.indexer import index_scores
from elector.operations.pairs import low_rank
from elector.operations.passes import bias, norm, norm_of
from elector.operations.roles import Role
from elector.operations.scope import Matrix, Product, Scope
from elector.operations.step import Step

Array = np.ndarray


def latent_attention(step: Step, scope: Scope, index: int, x: Value) -> Value:
    """Projections, attention and output projection, without the output's bias."""
    at, heads = step.models.at, step.models.block["heads"][index]
    nope, rope, value = (at(f"{n}_head_size", index) for n in ("nope", "rope", "value"))
    rank = at("kv_lora_rank", index)
    low, q = _queries(step, scope, index, x, heads * (nope + rope))
    both = _biased(step, scope, step.linear(scope, x, Matrix(Role.KEY_VALUE_DOWN, rank + rope)))
    shared = step.vector(scope, norm_of(step, Role.KEY_VALUE_DOWN_NORM), both.view(both.rows, rank))
    turned = [q.view(q.rows, heads * rope), both.view(both.rows, rope)]
    if step.models.template.blocks[index].rotates:
        turned = step.vectors(scope, rotary(), turned)
        q = kept_beside(q, turned[0])
    if step.models.at("index_heads", index).any():
        index_scores(step, scope, index, x, low)
    if scope.run.decoding:
        context = _absorbed(step, scope, index, (q, shared, turned[1]))
    else:
        if scope.run.appends:  # latents of the pieces before are turned into keys and values anew
            shared, turned[1] = appended(step, scope, [shared, turned[1]])
            shared = derived([shared], scope.run.batch * scope.run.keys, rank)
        pair = step.linear(scope, shared, Matrix(Role.KEY_VALUE_UP, heads * (nope + value)))
        pair = low_rank(step, scope, shared, pair, Role.KEY_VALUE_UP)
        own = pair.view(pair.rows, heads * nope)
        k = derived([own, turned[1]], pair.rows, heads * (nope + rope))
        k.home = pair
        v = pair.view(pair.rows, heads * value)
        context = attended(step, scope, index, Heads(q, k, v, heads, scope.count), value)
    return step.linear(scope, context, Matrix(Role.OUTPUT, step.models.block["hidden"][index]))


def _queries(step: Step, scope: Scope, index: int, x: Value, width: Array) -> tuple[Value, Value]:
    """What the indexer reads, and the queries: from a rank of their own where there is one."""
    rank, low = step.models.at("q_lora_rank", index), x
    if rank.any():
        low = _biased(step, scope, step.linear(scope, x, Matrix(Role.QUERY_DOWN, rank)))
        low = norm(step, scope, Role.QUERY_DOWN_NORM, low)
    q = step.linear(scope, low, Matrix(Role.QUERY, width))
    return low, low_rank(step, scope, low, q, Role.QUERY)


def _biased(step: Step, scope: Scope, y: Value) -> Value:
    """The bias of a projection to a rank; projections from ranks have none."""
    if not step.models.template.attention_bias:
        return y
    (y,) = step.vectors(scope, bias(step, Role.PROJECTION_BIAS), [y])
    return y


def _absorbed(step: Step, scope: Scope, index: int, parts: tuple[Value, Value, Value]) -> Value:
    """Context of a generated token. parts : queries, latent and turned part of the key."""
    q, shared, turned = parts
    at, heads, tokens = step.models.at, step.models.block["heads"][index], scope.run.tokens
    nope, rope, value = (at(f"{n}_head_size", index) for n in ("nope", "rope", "value"))
    rank = at("kv_lora_rank", index)
    inner = scope.inside(scope.count)
    up = Role.KEY_VALUE_UP
    into = Product(
        Role.ABSORBED_QUERY,
        Shape(heads, tokens, nope, rank),
        tokens,
        heads * rank,
        held="reuse",
        of=up,
    )
    wide = step.product(inner, q.view(q.rows, heads * nope), into)
    asked = derived([wide, q], tokens, heads * (rank + rope))
    stored, key = appended(step, scope, [shared, turned])
    keys = derived([stored, key], tokens, rank + rope)
    absorbed = Heads(asked, keys, stored, heads, scope.count, shared=True)
    context = attended(step, scope, index, absorbed, rank)
    out = Product(
        Role.ABSORBED_VALUE,
        Shape(heads, tokens, rank, value),
        tokens,
        heads * value,
        held="reuse",
        of=up,
    )
    return step.product(inner, context, out)
