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
_ORDERS = tuple(tuple(range(n)) for n in range(8))
#: Elements that are unpacked at a time: a multiple of 8.
_PIECE = 1 << 15


def memory_order(t: Tensor) -> tuple[int, ...] | None:
    """The order of dimensions in which `t` is contiguous; None where there is none."""
    if t.is_contiguous():
        return _ORDERS[t.dim()] if t.dim() < len(_ORDERS) else tuple(range(t.dim()))
    order = tuple(sorted(range(t.dim()), key=lambda d: (-t.stride(d), -t.size(d))))
    return order if t.permute(order).is_contiguous() else None


def flattened(t: Tensor) -> Tensor:
    """(n,) elements in the order they have in memory; a copy where they have gaps.

    t : of any shape.
    """
    if not t.is_contiguous():
        order = memory_order(t)
        t = t if order is None else t.permute(order)
    return t.reshape(-1)


def numbers(t: Tensor) -> np.ndarray:
    """(n,) elements of a tensor on the CPU as integers of the same bits.

    t : of any shape.
    """
    return flattened(t.detach()).view(_INTEGERS[t.element_size()]).numpy()


def worth(t: Tensor, dense: float) -> bool:
    """Whether a sample of `t` promises to be below the density `dense`, or one value and zeros.

    The latter are the masks that dropout saves as floats: they shrink to one bit per element.
    """
    step = t.numel() // _SAMPLE | 1  # odd, so that it does not fall in step with rows
    if t.device.type == "cpu":
        sample = numbers(t)[::step]
    else:
        sample = flattened(t.detach())[::step].cpu().view(_INTEGERS[t.element_size()]).numpy()
    if np.count_nonzero(sample) < dense * sample.size:
        return True
    first = sample[(sample != 0).argmax()]
    return bool(((sample == first) | (sample == 0)).all())


def nonzeros(t: Tensor) -> int | Tensor:
    """Number of non-zeros; off the CPU as a tensor, so that nobody waits for it.

    t : of any shape.
    """
    if t.device.type != "cpu" or not t.dtype.is_floating_point:
        return torch.count_nonzero(t.detach())
    return int(np.count_nonzero(numbers(t)))


def pack_nonzeros(t: Tensor) -> Tensor:
    """`pack_mask` of where `t` is not zero, in the order of its memory."""
    if t.device.type == "cpu":
        return torch.from_numpy(np.packbits(numbers(t) != 0))
    return pack_mask(flattened(t.detach()) != 0)


def pack_mask(mask: Tensor) -> Tensor:
    """(n,) bool -> (ceil(n / 8),) uint8, the first element in the highest bit.

    mask : (n,) bool.
    """
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
    """What `compress` makes.

    values : (nnz,), or (1,) where all are the same, or None for a mask.
    bits : (ceil(n / 8),) uint8.

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
    """Values and bitmask of a floating-point tensor, or the bits of a boolean one.

    t : of any shape.
    """
    order = memory_order(t) or tuple(range(t.dim()))
    if t.dtype == torch.bool:
        return Compressed(None, pack_mask(flattened(t)), t.dtype, t.shape, order)
    if t.device.type == "cpu":
        array = numbers(t)
        mask = array != 0
        values = torch.from_numpy(_values(array, mask)).view(t.dtype)
        return Compressed(values, torch.from_numpy(np.packbits(mask)), t.dtype, t.shape, order)
    raw = flattened(t.detach()).view(_INTEGERS[t.element_size()])
    kept = raw != 0
    kept_values = raw[kept]
    if kept_values.numel() > 1 and bool((kept_values == kept_values[0]).all()):
        kept_values = kept_values[:1].clone()
    return Compressed(kept_values.view(t.dtype), pack_mask(kept), t.dtype, t.shape, order)


def _values(array: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(nnz,) elements under the mask; (1,) where all of them are the same."""
    first = array[mask.argmax()]
    if (array[:64][mask[:64]] == first).all() and np.array_equal(array == first, mask):
        return first.reshape(1).copy()
    return np.compress(mask, array)


def decompress(c: Compressed) -> Tensor:
    """The tensor of `compress`, with its order in memory."""
    n = c.shape.numel()
    if c.values is None:
        flat = unpack_mask(c.bits, n)
    elif c.bits.device.type == "cpu":
        values = c.values.view(_INTEGERS[c.values.element_size()]).numpy()
        flat = torch.from_numpy(_scatter(values, c.bits.numpy(), n)).view(c.dtype)
    else:
        flat = torch.zeros(n, dtype=c.dtype, device=c.bits.device)
        mask = unpack_mask(c.bits, n)
        if c.values.numel() == 1:
            flat.masked_fill_(mask, c.values[0])
        else:
            flat.masked_scatter_(mask, c.values)
    return shaped(flat, c.shape, c.order)


def shaped(flat: Tensor, shape: torch.Size, order: tuple[int, ...]) -> Tensor:
    """The (n,) elements of `flattened` as a tensor of `shape`, dimensions in `order`.

    flat : (n,).
    """
    if order == _ORDERS[len(order) % len(_ORDERS)]:
        return flat.view(shape)
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return flat.view([shape[d] for d in order]).permute(inverse)


def _scatter(values: np.ndarray, bits: np.ndarray, n: int) -> np.ndarray:
    """(n,) zeros with `values` where bits are set, in pieces that stay in the cache."""
    array = np.zeros(n, dtype=values.dtype)
    if values.size == 1:
        return np.multiply(np.unpackbits(bits, count=n), values[0], out=array)
    begin = 0
    for at in range(0, n, _PIECE):
        size = min(_PIECE, n - at)
        mask = np.unpackbits(bits[at // 8 : (at + size + 7) // 8], count=size).view(np.bool_)
        places = np.flatnonzero(mask)
        array[at : at + size][places] = values[begin : begin + places.size]
        begin += places.size
    return array
