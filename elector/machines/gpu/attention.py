"""Attention kernels of GPUs that are no plain products.

*Flash attention* (Dao 2023, FlashAttention-2, arXiv 2307.08691): a block holds `flash_rows`
queries of a head and goes along the keys; scores never leave the SM. Its products run at the
rate of a tile without a start for each slice of keys, and the exponentials of its softmax take
their own turn: 16 a cycle and SM (32 on Blackwell Ultra), which is what separates head sizes 64
and 128 in kernels of Ampere, Ada, Hopper and Blackwell. Both happen where the block is: few
blocks leave SMs idle, and under a causal mask the longest block has twice the work of the mean,
which is over last. Keys that a block's last query does not see are skipped, by as many as it takes
at a time; what the mask hides of the others is multiplied, and goes through the softmax, all the
same.
A block's queries come before its first product and its outputs go behind its last, with nothing of
its own to hide behind.

On Blackwell a block has two tiles of 128 queries in turns: while one is in its softmax, the other
multiplies (Zadouri et al. 2026, FlashAttention-4), which hides `flash_hidden` of the products, but
not the first slice of scores and the last of the context, which have no softmax beside them.
It needs the scores and outputs of both in the 512 columns of tensor memory: heads of outputs up to
128 (of latent attention, scores are sums over 192).

What a block takes to start and to end belongs to the kernel, and so to the software stack
(`flash.start`). Keys of a prompt that lie in pages of a cache are read by kernels of their own,
with a start of their own (`flash.paged.start`); on chips without instructions of warp groups their
blocks are of 64 queries (`flash_paged_rows`).

*Decoding* asks one query (or the queries that share keys) against a cache: a pass over the
cache in as many pieces as there are SMs, at the bandwidth of whatever holds it. Libraries take a
matrix-vector kernel for it, or split the keys over the SMs (Flash-Decoding). Each sequence and head
starts a block, which takes whole tiles of keys (`stream_keys`), however few there are. Where blocks
follow one another without overlap, as those of Hopper whose shared memory is full with one of them,
what a block starts with is not hidden by what others fetch (`stream_hidden`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from elector.machines.gpu.kernels import (
    SPLIT_DEPTH,
    Constants,
    Device,
    GpuProducts,
    TileConstants,
    cache_seconds,
    inside_rate,
    waves,
)

Array = np.ndarray
#: A kernel of flash attention that starts and runs as tiles of products do.
PLAIN: Mapping[str, float] = {"flash.start": 0.0, "flash.paged.start": 0.0, "flash.rate": 1.0}
#: Constants of a stack: what a block of kernels of keys in one piece, and in pages, takes.
STARTS = ("flash.start", "flash.paged.start")

#: Head from which kernels are built for multiples of 64 numbers (heads up to 192 and 256 behind
#: those up to 128: HEADDIM_SWITCH in csrc/flash_attn/src/static_switch.h of FlashAttention-2).
WIDE, WIDE_STEP = 128.0, 64.0
#: Largest head whose outputs, 128 queries in fp32, leave room for scores in the 256 KB of registers
#: (or tensor memory) of an SM; of a larger one a block holds half as many queries, or fewer.
WIDEST = 256.0
#: Largest head of outputs of which two tiles of 128 queries fit, with their scores.
PAIRED = 128.0
#: Keys of a slice of scores or context (FlashAttention-4, section 3): the first, or the last, of a
#: block has no softmax beside it.
KEYS = 128.0


@dataclass(frozen=True)
class FlashRows:
    """What R products inside flash attention are to its kernels, in D designs.

    starts : (R, 1) whether the kernel starts with this product: its blocks start once. along :
    (R, 1) whether its sum lies along the head (scores), not along keys. outputs : (R, D) numbers
    of a head of the outputs where it is not that of the product, else 0. paged : (R, 1) whether
    its keys lie in pages of a cache, which kernels of their own read.
    """

    starts: Array
    along: Array
    outputs: Array | float = 0.0
    paged: Array | bool = False

    def start(self, stack: Mapping[str, float]) -> Array:
        """(R, 1) cycles of a block to start and to end; 0: those of a tile of a product.

        stack : constant of the software stack -> value in SI, of which `STARTS`.
        """
        whole, pages = (stack[name] for name in STARTS)
        return np.where(self.paged, pages, whole)


@dataclass(frozen=True)
class FlashBlocks:
    """Blocks of R products inside flash attention, of D designs.

    tile : (D,) or (R, D) queries that a block works for; rows : those that it holds of heads that
    leave no room for more. head, keys : (R, D) sides of the products. waves : (R, D) rounds of
    blocks over the SMs, and what the longest takes beyond them. starts : (R, D) the same without
    the latter: every block starts once. even : (R, D) blocks over SMs.
    """

    tile: Array
    rows: Array
    head: Array
    keys: Array
    waves: Array
    starts: Array
    even: Array

    @property
    def spread(self) -> Array:
        """(R, D) seconds of the softmax of the blocks over those of one that fills all SMs."""
        one = np.ones(np.broadcast_shapes(self.waves.shape, self.even.shape))
        return np.divide(self.waves, self.even, out=one, where=self.even > 0)  # 0: no such product


def padded(e: Constants | TileConstants, head: Array) -> Array:
    """(R, D) numbers of a head as kernels were built for it.

    e : constants of the family of chips. head : (R, D) numbers of it.
    """
    step = np.where(head > WIDE, np.maximum(e.flash_head, WIDE_STEP), e.flash_head)
    return np.asarray(np.ceil(head / step) * step)


def block_rows(e: Constants | TileConstants, paged: Array | bool) -> Array:
    """(D,) or (R, D) queries of a block of flash attention.

    e : constants of the family of chips. paged : see `FlashRows`.
    """
    own = np.where(np.greater(e.flash_paged_rows, 0), e.flash_paged_rows, e.flash_rows)
    return np.asarray(np.where(paged, own, e.flash_rows))


def skipped(c: Constants, d: Device, rows: FlashRows, head: Array) -> Array:
    """(R, D) keys that a block skips together where a mask hides them: as many as it has queries,
    or takes at a time where those are more.

    head : (R, D) numbers of a head.
    """
    e = d.tiles or c
    at_once = np.where(rows.paged, e.flash_paged_keys, 0.0) / np.maximum(head, 1.0)
    return np.asarray(np.maximum(block_rows(e, rows.paged), at_once))


def flash_blocks(c: Constants, d: Device, p: GpuProducts, rows: FlashRows) -> FlashBlocks:
    """How flash attention cuts its products.

    rows : what the products are to their kernel.
    """
    e = d.tiles or c
    head = padded(e, np.where(rows.along, p.k, p.n))
    tile = block_rows(e, rows.paged)
    held = tile / np.ceil(head / WIDEST)
    blocks = np.ceil(p.m / held) * p.batch
    starts = waves(e, blocks, d.sms)
    keys = np.where(rows.along, p.n, p.k)
    # Whoever comes last has the longest block, and the others wait for it.
    longest = starts + (p.longest - 1.0)
    return FlashBlocks(tile, held, head, keys, longest, starts, blocks / d.sms)


def flash_seconds(
    c: Constants,
    d: Device,
    p: GpuProducts,
    rows: FlashRows,
    stack: Mapping[str, float] = PLAIN,
) -> tuple[Array, Array]:
    """(R, D) seconds that follow the clock of the products inside flash attention, and (R, D) those
    of the softmax between them over those of one that fills all SMs and has no hidden scores.

    rows : what the products are to their kernel.
    stack : constants of the software stack, whose kernel it is: `STARTS` and `flash.rate`.
    """
    b = flash_blocks(c, d, p, rows)
    # A block loads the other operand once; its own stays in registers.
    e = d.tiles or c
    rate = inside_rate(c, d, p, e.flash_share / c.flash_share) * c.flash_share
    rate = rate * stack["flash.rate"] * np.where(rows.paged, e.flash_paged_rate, 1.0)
    each = (b.tile / rate + e.operand_share * p.width / c.cache_bytes) * b.head
    outputs = np.where(np.greater(rows.outputs, 0), rows.outputs, b.head)
    hidden = np.where(outputs <= PAIRED, e.flash_hidden, 0.0)
    start = rows.start(stack)
    starting = np.where(start > 0, start, e.tile_cycles) * (rows.starts > 0)
    starting = starting + each * hidden * np.minimum(b.keys, KEYS)
    # Queries before the first slice and outputs behind the last: nothing of the block hides them.
    own = np.minimum(b.rows, p.m) * b.head * p.width
    starting = starting + own * (d.sms * d.clock) / (d.cache * c.cache_share)
    cycles = each * (1.0 - hidden) * b.keys * b.waves + starting * b.starts
    return np.asarray(cycles / d.clock), np.asarray(b.spread * e.flash_special * p.computed)


def flash_loads(c: Constants, d: Device, p: GpuProducts, paged: Array | bool = False) -> Array:
    """(R, D) bytes flash attention takes from the cache: each block the other operand once.

    paged : see `FlashRows`.
    """
    rows = block_rows(d.tiles or c, paged)
    return np.asarray(np.ceil(p.m / rows) * p.batch * p.k * p.n * p.width)


def stream_seconds(
    c: Constants, d: Device, p: GpuProducts, touched: Array, starts: Array | float = 0.0
) -> tuple[Array, Array]:
    """(R, D) seconds of products that pass over a cache: computing, which follows the clock, and
    beside it `cache_seconds`.

    The cache lies along n (scores) or k (context) and falls into pieces of 256 keys, each
    worked off by one SM; a matrix instruction takes 16 rows whether they are queries or not.
    touched : (R, D) bytes of the operands. starts : (R, D) seconds of `stream_starts` that other
    blocks hide.
    """
    keys = np.maximum(p.k, p.n)
    pieces = p.batch * np.maximum(keys / SPLIT_DEPTH, 1.0)
    rounds = np.maximum(pieces / d.sms, 1.0)
    rows = np.ceil(p.m / c.stream_rows) * c.stream_rows
    piece = rows * np.minimum(keys, SPLIT_DEPTH) * np.minimum(p.k, p.n)
    computing = rounds * piece / inside_rate(c, d, p) / d.clock + starts
    # Few pieces leave SMs, and their part of the cache's bandwidth, idle.
    idle = rounds * d.sms / pieces
    return computing, cache_seconds(c, d, touched) * idle


def stream_starts(
    c: Constants, d: Device, p: GpuProducts, along: Array, timed: bool
) -> tuple[Array, Array]:
    """(R, D) seconds in which blocks of passes over a cache start and end, which follow the clock:
    those that other blocks hide, and those in which nothing is fetched.

    along : (R, 1) whether the sum of a product lies along the head. timed : see `streaming`.
    """
    e = streaming(c, d, timed)
    # Each sequence and head starts a block: short caches of many are little else.
    rounds = np.maximum(p.batch / d.sms, 1.0) / d.clock
    tile = e.stream_keys * np.where(along, p.k, p.n) * p.width
    seconds = rounds * e.stream_cycles + rounds * tile * (d.sms * d.clock) / (
        d.cache * c.cache_share
    )
    return seconds * e.stream_hidden, seconds * (1.0 - e.stream_hidden)


def streaming(c: Constants, d: Device, timed: bool) -> Constants | TileConstants:
    """Constants of passes over a cache, named stream_...

    timed : whether they run on the kernels that a family's constants were fitted on.
    """
    return d.tiles if timed and d.tiles is not None else c
