"""A tensor with zeros as its other values and a bitmask, one bit per element.

On the CPU NumPy does it (np.compress and np.packbits take about 1 ns per element, a tenth of
what boolean indexing takes); elsewhere PyTorch does. Values are moved as bits, so that what is
unpacked equals what was packed bit for bit, NaN included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: Integers as wide as the floats they stand for; NumPy knows no bfloat16.
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_SAMPLE = 1024


def memory_order(t: Tensor) -> tuple[int, ...] | None:
    """The order of dimensions in which `t` is contiguous; None where there is none."""
    order = tuple(sorted(range(t.dim()), key=lambda d: (-t.stride(d), -t.size(d))))
    return order if t.permute(order).is_contiguous() else None


def sampled_density(t: Tensor) -> float:
    """Share of non-zeros among about a thousand elements spread over `t` (memory order kept)."""
    order = memory_order(t)
    flat = (t if order is None else t.permute(order)).reshape(-1)
    step = flat.numel() // _SAMPLE | 1  # odd, so that it does not fall in step with rows
    part = flat[::step]
    return float(torch.count_nonzero(part)) / part.numel()


def nonzeros(t: Tensor) -> int | Tensor:
    """Number of non-zeros; off the CPU as a tensor, so that nobody waits for it."""
    t = t.detach()
    if t.device.type != "cpu" or not t.dtype.is_floating_point:
        return torch.count_nonzero(t)
    order = memory_order(t)
    flat = (t if order is None else t.permute(order)).reshape(-1)
    return int(np.count_nonzero(flat.view(_INTEGERS[t.element_size()]).numpy()))


def pack_mask(mask: Tensor) -> Tensor:
    """(n,) bool -> (ceil(n / 8),) uint8, the first element in the highest bit."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.packbits(mask.numpy()))
    padded = torch.nn.functional.pad(mask, (0, -mask.numel() % 8)).view(-1, 8)
    weights = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=mask.device)
    return (padded * weights).sum(-1, dtype=torch.uint8)


def unpack_mask(bits: Tensor, n: int) -> Tensor:
    """The (n,) bool of `pack_mask`."""
    if bits.device.type == "cpu":
        return torch.from_numpy(np.unpackbits(bits.numpy(), count=n).view(np.bool_))
    shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=bits.device)
    return ((bits[:, None] >> shifts) & 1).view(-1)[:n].bool()


@dataclass(frozen=True, eq=False)
class Compressed:
    """What `compress` makes. values : (nnz,), or None for a mask; bits : (ceil(n / 8),) uint8.

    shape, order : of the tensor, whose dimensions lie in `order` in memory.
    """

    values: Tensor | None
    bits: Tensor
    dtype: torch.dtype
    shape: torch.Size
    order: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return self.bits.nbytes + (0 if self.values is None else self.values.nbytes)


def compress(t: Tensor) -> Compressed:
    """Values and bitmask of a floating-point tensor, or the bits of a boolean one."""
    order = memory_order(t)
    if order is None:
        t, order = t.contiguous(), tuple(range(t.dim()))
    flat = t.permute(order).reshape(-1)
    if t.dtype == torch.bool:
        return Compressed(None, pack_mask(flat), t.dtype, t.shape, order)
    raw = flat.view(_INTEGERS[t.element_size()])
    if t.device.type == "cpu":
        array = raw.numpy()
        mask = array != 0
        values = torch.from_numpy(np.compress(mask, array)).view(t.dtype)
        return Compressed(values, torch.from_numpy(np.packbits(mask)), t.dtype, t.shape, order)
    kept = raw != 0
    return Compressed(raw[kept].view(t.dtype), pack_mask(kept), t.dtype, t.shape, order)


def decompress(c: Compressed) -> Tensor:
    """The tensor of `compress`, with its order in memory."""
    n = c.shape.numel()
    if c.values is None:
        flat = unpack_mask(c.bits, n)
    elif c.bits.device.type == "cpu":
        values = c.values.view(_INTEGERS[c.values.element_size()]).numpy()
        array = np.zeros(n, dtype=values.dtype)
        array[np.flatnonzero(np.unpackbits(c.bits.numpy(), count=n).view(np.bool_))] = values
        flat = torch.from_numpy(array).view(c.dtype)
    else:
        flat = torch.zeros(n, dtype=c.dtype, device=c.bits.device)
        flat.masked_scatter_(unpack_mask(c.bits, n), c.values)
    inverse = sorted(range(len(c.order)), key=c.order.__getitem__)
    return flat.view([c.shape[d] for d in c.order]).permute(inverse)
