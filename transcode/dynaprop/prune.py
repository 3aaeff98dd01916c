"""The pruned identity: small activations are dropped forward, small gradients backward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from transcode.dynaprop.packing import (
    memory_order,
    pack_mask,
    pack_nonzeros,
    shaped,
    unpack_mask,
)
from transcode.dynaprop.thresholds import TopK, prunes

if TYPE_CHECKING:
    from transcode.dynaprop.place import MatchedModule


def kept(x: Tensor, top: TopK) -> Tensor:
    """Bool of the shape of x: among the k largest magnitudes of its row, or as large as the k-th.

    Equals stay together, so that what stays does not follow from the order of elements, and in a
    row of fewer than k non-zeros every element stays: each would be among the largest if it
    changed at all. NaN stays, and with it all of its row.
    """
    size = x.detach().abs()
    if x.dim() == 0 or x.numel() == 0:
        return torch.ones_like(x, dtype=torch.bool)
    least = size.topk(top.count(x.shape[-1]), dim=-1, sorted=False).values
    return ~(size < least.amin(dim=-1, keepdim=True))


def drop(x: Tensor, tau: float | TopK) -> Tensor:
    """x where |x| > tau (or x is NaN), otherwise 0; x itself where nothing may be dropped.

    Of a TopK: x where it is among the largest of its row.
    """
    if not prunes(tau):
        return x
    if isinstance(tau, TopK):
        return torch.where(kept(x, tau), x, torch.zeros_like(x))
    return torch.nn.functional.hardshrink(x, tau)


class Prune(torch.autograd.Function):
    """y = x where |x| > tau_i, or among the largest of its row, otherwise 0.

    The derivative is the exact one of that function: 1 where an element stayed and 0 where it
    was dropped, as in DynaTran. The gradient is then pruned at tau_t. With both thresholds at
    zero this is the identity. Between the passes one bit per element is kept.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, tau_i: float | TopK, tau_t: float | TopK, place: MatchedModule | None
    ) -> Tensor:
        """x of any shape -> y of that shape; `place` observes both passes.

        ctx : as PyTorch gives it.
        """
        ctx.tau_t, ctx.place, ctx.order = tau_t, place, None
        if not prunes(tau_i):
            ctx.save_for_backward()
            return x.view_as(x)
        if isinstance(tau_i, TopK):  # an element of 0 may have stayed: the places are kept
            stays = kept(x, tau_i)
            _keep(ctx, stays, x)
            return torch.where(stays, x, torch.zeros_like(x))
        y = drop(x, tau_i)
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


def _keep(ctx: Any, stays: Tensor, x: Tensor) -> None:
    """Keeps (bool of the shape of x) what stayed, one bit per element where that is eager."""
    if torch.compiler.is_compiling():
        ctx.save_for_backward(stays)
        return
    whole = stays.contiguous()
    order = memory_order(whole)
    assert order is not None
    ctx.order, ctx.shape = order, x.shape
    ctx.save_for_backward(pack_mask(whole.reshape(-1)))


def _masked(g: Tensor, bits: Tensor, shape: torch.Size, order: tuple[int, ...]) -> Tensor:
    """g where the bit of an element is set, otherwise 0."""
    mask = shaped(unpack_mask(bits, shape.numel()), shape, order)
    plain = g.device.type == "cpu" and g.dtype in (torch.float32, torch.float64)
    if plain and not g.requires_grad and not torch.is_grad_enabled():
        # NumPy multiplies by a mask four times as fast.
        return torch.from_numpy(np.multiply(g.numpy(), mask.numpy()))
    return g * mask
