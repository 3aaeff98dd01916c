"""A place behind a matrix product, where activations and gradients may be pruned."""

from __future__ import annotations

from torch import Tensor, nn


class Site(nn.Module):
    """The identity, named after the operation whose output passes it.

    operation : name of the simulator's operation; layer : its layer, counted from 1, or None.
    """

    def __init__(self, operation: str, layer: int | None = None) -> None:
        super().__init__()
        self.operation = operation
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """x, as it is."""
        return x

    def extra_repr(self) -> str:
        """Operation and layer, for print(model)."""
        return self.operation if self.layer is None else f"{self.operation}, layer {self.layer}"
