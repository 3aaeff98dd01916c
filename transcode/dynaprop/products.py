"""Which tensors entered the matrix product that ran last: seen while densities are recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

#: Functions that multiply matrices, and where their two operands stand.
_PRODUCTS: dict[Any, tuple[int, int]] = {
    nn.functional.linear: (0, 1),
    torch.matmul: (0, 1),
    Tensor.matmul: (0, 1),
    Tensor.__matmul__: (0, 1),
    torch.bmm: (0, 1),
    Tensor.bmm: (0, 1),
    torch.einsum: (1, 2),
    torch.conv1d: (0, 1),
    torch.conv2d: (0, 1),
}


class WatchedProducts(TorchFunctionMode):
    """Remembers the operands of the products that have run since the last site."""

    def __init__(self, constants: Iterable[Tensor]) -> None:
        super().__init__()
        self.constants = frozenset(t.untyped_storage()._cdata for t in constants)
        self.seen: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs `func` as it is, looking at its operands."""
        result = func(*args, **dict(kwargs or {}))
        where = _PRODUCTS.get(func)
        if where is not None and len(args) > where[1]:
            a, b = args[where[0]], args[where[1]]
            if isinstance(a, Tensor) and isinstance(b, Tensor):
                self.seen.append((a.detach(), b.detach()))
        return result

    def take(self) -> tuple[Tensor, Tensor | None] | None:
        """Activations of the product before this place: both of the first product of two
        activations since the last place, otherwise that of the last product with a constant."""
        seen, self.seen = self.seen, []
        both = [pair for pair in seen if not any(map(self._constant, pair))]
        if both:
            return both[0]
        if not seen:
            return None
        a, b = seen[-1]
        return (b if self._constant(a) else a), None

    def _constant(self, t: Tensor) -> bool:
        return t.untyped_storage()._cdata in self.constants
