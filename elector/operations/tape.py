"""What the forward pass notes for its gradients; `backward` plays it in reverse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elector.operations.collect import Shape
from elector.operations.graph import RoleWeights, Value
from elector.operations.roles import Role
from elector.operations.scope import Scope, Subset, VectorRecipe, Work

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class LinearNode:
    """y (m x n) = x (m x k) w (k x n), copies x scope.count times.

    weight : None for a matrix of constants. kind, index, variant : see `Row`.
    summed : the products share w, so that their gradients of it add up.
    """

    scope: Scope
    role: Role
    kind: str
    x: Value
    y: Value
    weight: RoleWeights | None
    shape: Shape
    subset: Subset
    copies: float = 1.0
    index: int = 0
    variant: str = ""
    summed: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class AttentionNode:
    """One of the two products of every head: scores (q k^T) or context (p v).

    left, right, out : its operands and its result. shape : of the scores, or what scores of the
    context's heads would be. read : what the backward pass has of the first operand: that one,
    or what it computes again. roles : of the gradients of its operands.
    """

    scope: Scope
    role: Role
    left: Value
    right: Value
    out: Value
    shape: Shape
    read: Value
    roles: tuple[Role, Role] = (Role.PROBABILITIES, Role.VALUE)


@dataclass(frozen=True, eq=False, repr=False)
class AgainNode:
    """Scores and softmax that are computed again before the gradients of attention.

    shape : of the scores. positions : table and product of relative positions in the scores, or
    None. work : of an element of the softmax. scores, probabilities : what it gives.
    wanted : the tensor whose gradient takes them.
    """

    scope: Scope
    queries: Value
    keys: Value
    shape: Shape
    positions: tuple[RoleWeights, Shape] | None
    work: Work
    scores: Value
    probabilities: Value
    wanted: Value


@dataclass(frozen=True, eq=False, repr=False)
class VectorNode:
    """Vector work y = f(a, b)."""

    scope: Scope
    recipe: VectorRecipe
    a: Value
    b: Value | None
    y: Value


Node = LinearNode | AttentionNode | AgainNode | VectorNode
