"""One kind of parameter tensor: what is stored, trained and updated, and how often it is there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elector.describe.workload import Workload
from elector.operations import names
from elector.operations.graph import RoleWeights
from elector.operations.roles import Place, Role, RowPart

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Tensor:
    """`count` parameter tensors of `elements` each, both (M,).

    role : of the product or other work that reads it. place : see `Row`.
    bias : the bias of that product. head : belongs to the head (or is a low-rank pair), so it
    trains in every subset. also : a further role that reads tensors of this entry.
    index, variant : see `Row`. used : (M,) share of them that a token takes; None: all.
    frozen : no step trains it.
    """

    role: Role
    place: Place
    elements: Array
    count: Array
    bias: bool = False
    head: bool = False
    also: Role | None = None
    index: int = 0
    variant: str = ""
    used: Array | None = None
    frozen: bool = False

    @property
    def name(self) -> str:
        """What a report calls it."""
        title = names.operation(self.role, RowPart.FORWARD, False, 0, self.variant)
        return f"{title} bias" if self.bias else title

    @property
    def layer(self) -> str:
        """What a report calls the part of the model it stands in."""
        return names.layer(self.place, RowPart.UPDATE)

    @property
    def parameters(self) -> tuple[RoleWeights, ...]:
        """What products read: in the attention of a layer to itself, and to an encoder's output."""
        if self.bias:
            return ()
        roles = (self.role,) if self.also is None else (self.role, self.also)
        return tuple(
            RoleWeights(role, self.place, cross, self.index, self.variant)
            for role in roles
            for cross in (False, True)
        )


def trained(tensor: Tensor, workload: Workload) -> bool:
    """Whether the tensor is in the trainable subset."""
    return (workload.trainable == "all" or tensor.head) and not tensor.frozen


def elements_of(tensors: list[Tensor], size: int) -> Array:
    """(M,) elements of all of some tensors."""
    total = np.zeros(size)
    for t in tensors:
        total = total + t.elements * t.count
    return total
