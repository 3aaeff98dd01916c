"""What is done beside the crossbars, whatever the plan: lanes, and bytes of main memory."""

from __future__ import annotations

import numpy as np

from elector.machines.contract import Units
from elector.machines.tiling import TILE_SHARE
from elector.operations.rows import Operations

Array = np.ndarray


def lane_work(ops: Operations, index: Array) -> tuple[Array, Array]:
    """(R, D) simple and special operations of what is no product."""
    vector = np.array([not row.matmul for row in ops.rows])[:, None]
    elements = np.where(vector, ops.count * ops.m, 0.0)
    simple = elements * np.array([row.simple for row in ops.rows])[:, None]
    special = elements * np.array([row.special for row in ops.rows])[:, None]
    return simple[:, index], special[:, index]


def moved(ops: Operations, index: Array, units: Units) -> Array:
    """(R, D) bytes of main memory: streams, and what the tiles' buffers cannot keep.

    Of a tensor that is larger than its room the rest passes main memory, not all of it; of what is
    saved for later as large a share as of all that is.
    """
    room = (1.0 - TILE_SHARE) * units.number("buffer") * units.number("tiles")
    bytes_ = np.zeros((len(ops.rows), index.size))
    for r, row in enumerate(ops.rows):
        for operand in ("a", "b", "out"):
            kind, size = getattr(row, operand), getattr(ops, f"{operand}_bytes")[r]
            if kind == "stream":
                bytes_[r] += size[index]
            elif kind in ("saved", "cache"):
                whole = ops.memory["activations" if kind == "saved" else "cache"]
                if operand == "out" and ops.left is not None:
                    whole = np.where(ops.left[r], size, whole)
                bytes_[r] += size[index] * _share(whole[index], room)
            elif kind == "activation" and size.max() > room.min():
                bytes_[r] += np.maximum(size[index] - room, 0.0)
    return bytes_ * ops.count[:, index]


def _share(whole: Array, room: Array) -> Array:
    """(D,) share of so many bytes for which there is no room; whole, room : (D,)."""
    return np.maximum(whole - room, 0.0) / np.maximum(whole, 1.0)


def buffered(ops: Operations, index: Array) -> Array:
    """(R, D) bytes between the tiles' buffers and a unit beside the crossbars that takes a row."""
    return (ops.count * (ops.a_bytes + ops.b_bytes + ops.out_bytes))[:, index]


def memory_bytes(ops: Operations, index: Array) -> Array:
    """(D,) bytes of main memory beside the weights."""
    total = np.zeros(index.size)
    for name in ("activations", "cache", "gradients", "optimizer"):
        total = total + ops.memory[name][index]
    return total
