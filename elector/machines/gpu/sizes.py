"""Sizes of products as the kernels of GPUs see them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from elector.machines.gpu.kernels import GpuProducts
from elector.machines.gpu.stacks import only_tile, splitting, transposed
from elector.operations.rows import Operations, unpacked

Array = np.ndarray


def sizes(
    ops: Operations, stack: dict[str, float], rows: Array, index: Array, blocks: Array | float = 1.0
) -> GpuProducts:
    """Products of the designs as kernels see them.

    ops : operations. stack : constants of the software stack. rows : (R,) places of the products.
    index : (D,) pair of each design.
    blocks : (R, D) keys (or queries) that are skipped together where a mask hides them: the half
        of a block on the diagonal that it hides is computed all the same.
    """
    named = [ops.rows[r] for r in rows]
    m, k, n, batch = (x[rows][:, index] for x in (ops.m, ops.k, ops.n, ops.batch))
    whole_k, whole_n = (x[rows][:, index] for x in ops.whole_sides())
    more = (blocks - 1.0) / 2.0
    across = np.array([transposed(row) for row in named], dtype=bool)[:, None]
    backward = np.array([row.phase == "backward" for row in named], dtype=bool)[:, None]
    masked = bool(np.any(np.greater(more, 0.0)))
    deep, wide = (
        np.where(whole > side, np.minimum(side + more, whole), side)
        for side, whole in ((k, whole_k), (n, whole_n))
    )
    return GpuProducts(
        m,
        deep,
        wide,
        batch,
        first=np.where(across, m, whole_k),
        second=whole_n,
        width=np.full((rows.size, 1), ops.format.products.width),
        backward=backward,
        splits=splitting(stack, ops.workload),
        tile=only_tile(stack, ops.workload),
        waiting=waiting(ops, stack, rows)[:, None],
        longest=_longest(ops, rows, index, (m, k, n), (whole_k, whole_n), more) if masked else 1.0,
        computed=deep * wide / np.maximum(k * n, 1e-300) if masked else 1.0,
    )


def waiting(ops: Operations, stack: Mapping[str, float], rows: Array) -> Array:
    """(R,) cycles that a warp waits for numbers of a sum where it works off an output by itself:
    weights that are stored packed have kernels of their own.

    ops, stack, rows : as for `sizes`.
    """
    packed = [product for _, product in unpacked(ops.rows)]
    return np.where(np.isin(rows, packed), 0.0, stack["row.cycles"])


def _longest(
    ops: Operations,
    rows: Array,
    index: Array,
    sides: tuple[Array, Array, Array],
    whole: tuple[Array, Array],
    more: Array | float,
) -> Array:
    """(R, D) side that a mask hides a part of: of the longest block over the mean.

    A further query sees one key more, or as many within a window. sides : (R, D) m, k, n. whole :
    (R, D) k and n without a mask. more : (R, D) what a block on the diagonal has beyond half of it.
    """
    m, longest = sides[0], np.ones(sides[0].shape)
    half = np.minimum(ops.span[rows][:, index], m - 1.0) / 2.0
    for side, most in zip(sides[1:], whole, strict=True):
        last = np.minimum(side + half + 2.0 * more, most) / np.minimum(side + more, most)
        longest = np.where(most > side, np.maximum(longest, last), longest)
    return longest
