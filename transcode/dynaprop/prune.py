"""The pruned identity: small activations are dropped forward, small gradients backward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from transcode.dynaprop.packing import memory_order, pack_nonzeros, shaped, unpack_mask

if TYPE_CHECKING:
    from transcode.dynaprop.place import MatchedModule


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
    def forward(
        ctx: Any, x: Tensor, tau_i: float, tau_t: float, place: MatchedModule | None
    ) -> Tensor:
        """x of any shape -> y of that shape; `place` observes both passes.

        ctx : as PyTorch gives it.
        """
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
            ctx.save_for_backward(pack_nonzeros(y))
            ctx.shape = y.shape
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None]:
        """Gradient of y -> pruned gradient of x.

        ctx : as PyTorch gives it. g : the gradient of y, of its shape.
        """
        saved = ctx.saved_tensors  # once: each look unpacks
        if saved:
            (kept,) = saved
            g = _masked(g, kept, ctx.shape, ctx.order) if ctx.order else g * (kept != 0)
        tau = ctx.tau_t if ctx.place is None else ctx.place.arrives(g)
        g = drop(g, tau)
        if ctx.place is not None:
            ctx.place.passes(g)
        return g, None, None, None


def _masked(g: Tensor, bits: Tensor, shape: torch.Size, order: tuple[int, ...]) -> Tensor:
    """g where the bit of an element is set, otherwise 0."""
    mask = shaped(unpack_mask(bits, shape.numel()), shape, order)
    plain = g.device.type == "cpu" and g.dtype in (torch.float32, torch.float64)
    if plain and not g.requires_grad and not torch.is_grad_enabled():
        # NumPy multiplies by a mask four times as fast.
        return torch.from_numpy(np.multiply(g.numpy(), mask.numpy()))
    return g * mask
