"""Feed-forward layers of many experts, of which each token takes a few.

A router (hidden x experts, softmax, the best k) sends a token to k of E experts; each expert is a
product of its own tokens. Of T tokens routed evenly at random E (1 - (1 - k/E)^T) experts get
any, and T k tokens are worked on in all: the mean of those that get some. Routed unevenly, the
i-th expert is asked for in proportion to i^-a (at most once by a token). Shared experts see every
token. Shazeer et al. 2017 (arXiv 1701.06538); Jiang et al. 2024 (arXiv 2401.04088); Dai et al.
2024, DeepSeekMoE (arXiv 2401.06066).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from elector.describe.model import Models
from elector.operations.collect import Shape
from elector.operations.graph import Value, added
from elector.operations.passes import activation_saves, biased
from elector.operations.roles import Role
from elector.operations.routing import Routing, chances, summed
from elector.operations.scope import Matrix, Product, Saves, Scope, Subset, VectorRecipe, formula
from elector.operations.step import Step

Array = np.ndarray


def touched(models: Models, index: int, tokens: Array) -> Array:
    """(M,) experts of a block that any of so many tokens takes, on average."""
    experts = np.maximum(models.at("experts", index), 1.0)
    chosen, exponent = models.at("experts_per_token", index), models.numbers["routing"]
    share = np.minimum(chosen / experts, 1.0)
    with np.errstate(divide="ignore"):
        none = np.exp(tokens * np.log1p(-share))
    taken = experts * (1.0 - none)
    if exponent.any():
        skewed = chances(experts, chosen, exponent)
        with np.errstate(divide="ignore"):
            left = np.exp(tokens * np.log1p(-skewed))
        uneven = summed(np.where(skewed > 0, 1.0 - left, 0.0))
        taken = np.where(exponent > 0, uneven, taken)
    # One token takes exactly as many as it may, and no more experts work than tokens come.
    taken = np.where(tokens <= 1.0, chosen, taken)
    return np.minimum(np.maximum(taken, chosen), np.minimum(experts, tokens * chosen))


def experts(step: Step, scope: Scope, index: int, x: Value) -> Value:
    """Router, routed and shared experts of a block: what they leave, in x's rows."""
    at = step.models.at
    hidden = step.models.block["hidden"][index]
    routed = x.rows * at("experts_per_token", index)
    weights = _router(step, scope, index, x)
    narrow = at("expert_hidden", index)
    wide = np.where(narrow > 0, narrow, hidden)
    source = x
    if narrow.any():
        source = step.linear(scope, x, Matrix(Role.EXPERT_DOWN, wide))
    y = _routed(step, scope, index, source.view(routed, wide))
    combine = VectorRecipe(
        Role.EXPERT_SUM,
        "elementwise",
        formula("gate", "residual"),
        formula("gate_backward", "residual_backward"),
        Saves.EACH,
    )
    y = step.vector(scope, combine, y, weights.view(routed, np.ones_like(routed)))
    y = y.view(x.rows, wide)
    if narrow.any():
        y = step.linear(scope, y, Matrix(Role.EXPERT_UP, hidden))
    shared = shared_width(step.models, index)
    if shared.any():
        own = replace(scope, count=scope.count * (shared > 0))
        y = added([y, _shared(step, own, x, shared)])
    return y


def shared_width(models: Models, index: int) -> Array:
    """(M,) width of the shared experts together."""
    own = models.at("shared_feed_forward", index)
    number = models.at("shared_experts", index) * models.at("expert_feed_forward", index)
    return np.where(own > 0, own, number)


def _router(step: Step, scope: Scope, index: int, x: Value) -> Value:
    """Scores of the experts, and of the best what their results count."""
    logits = step.linear(scope, x, Matrix(Role.ROUTER, step.models.at("experts", index)))
    also, back = biased(step, step.models.template.router_bias, Subset.BODY)
    recipe = VectorRecipe(
        Role.ROUTER_CHOICE,
        "softmax",
        formula("softmax", *also),
        formula("softmax_backward", *back),
        Saves.OUTPUT,
        Subset.BODY if also else None,
    )
    return step.vector(scope, recipe, logits)


def _routed(step: Step, scope: Scope, index: int, x: Value) -> Value:
    """The experts that get any tokens, each a product of its own."""
    at, width = step.models.at, x.width
    active = touched(step.models, index, scope.run.tokens)
    own, f = x.rows / np.maximum(active, 1.0), at("expert_feed_forward", index)
    held = "weight" if scope.run.first else "reuse"
    exponent = np.broadcast_to(step.models.numbers["routing"], active.shape)
    chosen = at("experts_per_token", index)
    routing = Routing(at("experts", index), chosen, exponent, scope.run.tokens)

    def matrices(source: Value, role: Role, k: Array, n: Array) -> Value:
        shape = Shape(active, own, k, n, routed=routing)
        return step.product(
            scope, source, Product(role, shape, source.rows, n, held=held, kind="linear")
        )

    up = matrices(x, Role.EXPERT_IN, width, f)
    gate = None
    if step.models.template.experts_gated:
        gate = matrices(x, Role.EXPERT_GATE, width, f)
    there = step.models.template.expert_bias
    y = step.vector(scope, activation(step, Role.EXPERT_ACTIVATION, there, gate), up, gate)
    return matrices(y, Role.EXPERT_OUT, f, width)


def _shared(step: Step, scope: Scope, x: Value, width: Array) -> Value:
    """Experts that see every token, as one feed-forward."""
    model, hidden = step.models.template, x.width
    up = step.linear(scope, x, Matrix(Role.SHARED_IN, width))
    gate = step.linear(scope, x, Matrix(Role.SHARED_GATE, width)) if model.experts_gated else None
    y = step.vector(scope, activation(step, Role.SHARED_ACTIVATION, False, gate), up, gate)
    y = step.linear(scope, y, Matrix(Role.SHARED_OUT, hidden))
    if model.shared_gate:
        weight = step.linear(scope, x, Matrix(Role.SHARED_WEIGHT, np.ones_like(hidden)))
        recipe = VectorRecipe(
            Role.SHARED_WEIGHT,
            "elementwise",
            formula("gate"),
            formula("gate_backward"),
            Saves.EACH,
        )
        y = step.vector(scope, recipe, y, weight)
    return y


def activation(step: Step, role: Role, with_bias: bool, gate: Value | None) -> VectorRecipe:
    """The function of a feed-forward, with its bias and its gate.

    with_bias : whether the product before has one.
    """
    name = step.models.template.activation
    also, back = biased(step, with_bias, Subset.BODY)
    gates = ("gate",) if gate is not None else ()
    return VectorRecipe(
        role,
        "activation",
        formula(name, *also, *gates),
        formula(f"{name}_backward", *back, *(f"{g}_backward" for g in gates)),
        activation_saves(name) if gate is None else Saves.BOTH,
        Subset.BODY if with_bias else None,
        streamed=True,
        variant=name,
    )
