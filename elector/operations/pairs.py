"""Low-rank pairs beside projections: y + x A B (Hu et al. 2021, arXiv 2106.09685).

Beside queries and values, as in section 4.2. Keys and values of latent attention come from one
matrix, which has the pair of both; of scans and short convolutions, the projections into and out
of them have one (those that peft adapts of Mamba). Generated tokens read the pair of keys and
values merged into the projections that are absorbed.
"""

from __future__ import annotations

import numpy as np

from elector.operations.graph import Value, added
from elector.operations.roles import Place, Role
from elector.operations.scope import Matrix, Scope, Subset
from elector.operations.step import Step
from elector.operations.tensor import Tensor

Array = np.ndarray

#: Projection that has a low-rank pair -> its two matrices.
PAIRS = {
    Role.QUERY: (Role.QUERY_LOW_RANK_A, Role.QUERY_LOW_RANK_B),
    Role.VALUE: (Role.VALUE_LOW_RANK_A, Role.VALUE_LOW_RANK_B),
    Role.KEY_VALUE_UP: (Role.KEY_VALUE_UP_LOW_RANK_A, Role.KEY_VALUE_UP_LOW_RANK_B),
    Role.STATE_IN: (Role.STATE_IN_LOW_RANK_A, Role.STATE_IN_LOW_RANK_B),
    Role.STATE_OUT: (Role.STATE_OUT_LOW_RANK_A, Role.STATE_OUT_LOW_RANK_B),
}


def low_rank(step: Step, scope: Scope, x: Value, y: Value, of: Role) -> Value:
    """y + x A B beside the projection `of` of x, where such pairs train; else y."""
    if not step.workload.rank:
        return y
    rank, (first, second) = np.full_like(scope.count, step.workload.rank), PAIRS[of]
    narrow = step.linear(scope, x, Matrix(first, rank, Subset.HEAD))
    return added([y, step.linear(scope, narrow, Matrix(second, y.width, Subset.HEAD))])


def pair_tensors(
    place: Place, of: Role, rank: int, sides: tuple[Array, Array], repeat: Array
) -> list[Tensor]:
    """The two matrices of a pair; none at rank 0.

    of : the projection. sides : (M,) its inputs and outputs. repeat : (M,) how many there are.
    """
    if not rank:
        return []
    (inputs, outputs), (first, second) = sides, PAIRS[of]
    return [
        Tensor(first, place, inputs * rank, repeat, head=True),
        Tensor(second, place, rank * outputs, repeat, head=True),
    ]
