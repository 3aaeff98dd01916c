"""Attention kernels of GPUs that are no plain products.

*Flash attention* (Dao 2023, FlashAttention-2, arXiv 2307.08691): a block holds `flash_rows`
queries of a head and goes along the keys; scores never leave the SM. Its products run at the
rate of a tile without a start for each slice of keys, and the exponentials of its softmax take
their own turn: 16 a cycle and SM (32 on Blackwell Ultra), which is what separates head sizes 64
and 128 in kernels of Ampere, Ada, Hopper and Blackwell.

What a block takes to start and to end belongs to the kernel, and so to the software stack: 6,000 to
14,000 cycles where it was timed, on chips of four families alike (`flash.start`).

*Decoding* asks one query (or the queries that share keys) against a cache: a pass over the
cache in as many pieces as there are SMs, at the bandwidth of whatever holds it. Libraries take a
matrix-vector kernel for it, or split the keys over the SMs (Flash-Decoding).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from elector.machines.gpu.kernels import (
    SPLIT_DEPTH,
    Constants,
    Device,
    GpuProducts,
    cache_seconds,
    inside_rate,
    waves,
)

Array = np.ndarray
#: A kernel of flash attention that starts and runs as tiles of products do.
PLAIN: Mapping[str, float] = {"flash.start": 0.0, "flash.rate": 1.0}


def flash_seconds(
    c: Constants, d: Device, p: GpuProducts, starts: Array, stack: Mapping[str, float] = PLAIN
) -> Array:
    """(R, D) seconds that follow the clock of the products inside flash attention.

    starts : (R, 1) whether the kernel starts with this product: its blocks start once.
    stack : constants of the software stack, whose kernel it is; `flash.start` and `flash.rate`.
    """
    blocks = np.ceil(p.m / c.flash_rows) * p.batch
    # A block loads the other operand once; its own stays in registers.
    e = d.tiles or c
    rate = inside_rate(c, d, p, e.flash_share / c.flash_share) * c.flash_share
    rate = rate * stack["flash.rate"]
    each = c.flash_rows / rate + e.operand_share * p.width / c.cache_bytes
    cycles = each * p.k * p.n + (stack["flash.start"] or e.tile_cycles) * (starts > 0)
    return np.asarray(cycles * waves(e, blocks, d.sms) / d.clock)


def flash_loads(c: Constants, p: GpuProducts) -> Array:
    """(R, D) bytes flash attention takes from the cache: each block the other operand once."""
    return np.asarray(np.ceil(p.m / c.flash_rows) * p.batch * p.k * p.n * p.width)


def stream_seconds(c: Constants, d: Device, p: GpuProducts, touched: Array) -> tuple[Array, Array]:
    """(R, D) seconds of products that pass over a cache: computing, which follows the clock, and
    beside it `cache_seconds`.

    The cache lies along n (scores) or k (context) and falls into pieces of 256 keys, each
    worked off by one SM; a matrix instruction takes 16 rows whether they are queries or not.
    touched : (R, D) bytes of the operands.
    """
    keys = np.maximum(p.k, p.n)
    pieces = p.batch * np.maximum(keys / SPLIT_DEPTH, 1.0)
    rounds = np.maximum(pieces / d.sms, 1.0)
    rows = np.ceil(p.m / c.stream_rows) * c.stream_rows
    piece = rows * np.minimum(keys, SPLIT_DEPTH) * np.minimum(p.k, p.n)
    # Each sequence and head starts a block: short caches of many are little else.
    starts = np.maximum(p.batch / d.sms, 1.0) * c.tile_cycles
    computing = (rounds * piece / inside_rate(c, d, p) + starts) / d.clock
    # Few pieces leave SMs, and their part of the cache's bandwidth, idle.
    idle = rounds * d.sms / pieces
    return computing, cache_seconds(c, d, touched) * idle
