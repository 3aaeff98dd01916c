"""The pruned identity: small activations are dropped forward, small gradients backward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from transcode.dynaprop.packing import memory_order, pack_mask, unpack_mask

if TYPE_CHECKING:
    from transcode.dynaprop.place import Place


def drop(x: Tensor, tau: float) -> Tensor:
    """x where |x| > tau (or x is NaN), otherwise 0; x itself for tau = 0."""
    return x if tau <= 0.0 else torch.nn.functional.hardshrink(x, tau)


class Prune(torch.autograd.Function):
    """y = x where |x| > tau_i, otherwise 0.

    The derivative is the exact one of that function: 1 where an element stayed and 0 where it
    was dropped, as in DynaTran. The gradient is then pruned at tau_t. With both thresholds at
    zero this is the identity. Between the passes one bit per element is kept.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, tau_i: float, tau_t: float, place: Place | None) -> Tensor:
        """x of any shape -> y of that shape; `place` observes both passes."""
        ctx.tau_t, ctx.place, ctx.order = tau_t, place, None
        y = drop(x, tau_i)
        if tau_i <= 0.0:
            ctx.save_for_backward()
            return x.view_as(x)
        order = memory_order(y)
        if order is None or torch.compiler.is_compiling():
            ctx.save_for_backward(y)
        else:
            ctx.order = order
            flat = y.permute(order).reshape(-1)
            ctx.save_for_backward(pack_mask(flat != 0))
            ctx.shape = y.shape
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None]:
        """Gradient of y -> pruned gradient of x."""
        if ctx.saved_tensors:
            (kept,) = ctx.saved_tensors
            g = g * (_mask(kept, ctx.shape, ctx.order) if ctx.order else kept != 0)
        tau = ctx.tau_t if ctx.place is None else ctx.place.arrives(g)
        g = drop(g, tau)
        if ctx.place is not None:
            ctx.place.passes(g)
        return g, None, None, None


def _mask(bits: Tensor, shape: torch.Size, order: tuple[int, ...]) -> Tensor:
    flat = unpack_mask(bits, shape.numel())
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return flat.view([shape[d] for d in order]).permute(inverse)
