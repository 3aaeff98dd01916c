"""Seconds of single GPU kernels: matrix products by tiles and waves, the rest by bytes.

A product is cut into tiles of tm x tn outputs, and its k into splits. A streaming
multiprocessor (SM) works off one tile after another; a tile takes

    cycles = tm tn k / (split rate) + k (tm + tn) width / (split cache rate) x share + start
             + outputs x cycles of an output,

with `rate` the multiply-accumulates a cycle and `cache rate` the bytes a cycle of the
second-level cache, and the product takes ceil(tiles / SMs) of them, of which a part evens
out. The best of `TILES` x `SPLITS` counts: libraries choose by such a rule (NVIDIA, Matrix
multiplication background; Osama et al. 2023, Stream-K, arXiv 2301.03598). A product is as
slow as the slower of this and its traffic; partial sums of a split travel once more.

Every candidate grows with m, k, n and the batch, and so does the best of them. Attention has
kernels of its own (elector.machines.gpu.attention).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from elector.base import units
from elector.base.table import DATA, read_csv, read_rows
from elector.describe.numbers import formats
from elector.machines.counts import sum_rows

Array = np.ndarray

#: Outputs of a tile, as libraries ship them.
TILES = ((256, 128), (128, 256), (128, 128), (128, 64), (64, 128), (64, 64), (32, 64), (64, 32))
SPLITS = (1, 2, 4, 8, 16)
#: Columns of tiles of kernels that are chosen by the rows of a product, and the least rows of them:
#: of fewer, kernels differ (scaled_mm_sm90_fp8_dispatch.cuh, nvfp4_scaled_mm_sm120_kernels.cu of
#: vLLM).
COLUMNS, LEAST_ROWS = 128.0, 64.0
#: Least depth of a split: a split takes no less, however many are asked for.
SPLIT_DEPTH = 256.0
#: Rows of a tile of libraries' products with packed weights: each unpacks its operand anew.
UNPACK_ROWS = 128.0
#: k moves through a tile in slices of this many elements.
SLICE = 32.0
#: Numbers of a sum that a warp takes at once where it works off an output by itself, and warps of
#: an SM that are blocks of their own (llama.cpp: GGML_CUDA_DMMV_X 32, two numbers a thread and a
#: warp a block; 32 blocks of an SM in the CUDA programming guide, 16 and 24 on consumer boards,
#: whose memory is slower than that).
WARP_STEP, WARPS = 64.0, 32.0
#: Bytes a thread loads at once where rows begin at multiples of them.
VECTOR = 16.0


@dataclass(frozen=True)
class Constants:
    """Constants of all GPUs (data/gpu.csv), none of them a device's own.

    tensor_significand : bits of the widest operands that tensor cores multiply.
    tensor_share, plain_share : peak share of an SM inside a tile, on tensor cores and beside.
    operand_share : part of the operand loads that the products do not hide.
    wave_share : part of the last wave's idle SMs that is lost.
    tile_cycles : cycles to start and to finish a tile. output_cycles : to finish each of its
        outputs, where nothing else of the SM hides that.
    tile_least, tile_most : rows of a tile of kernels that are chosen by the rows of a product, half
        of the next power of two: at least and at most; 0: any tile that suits.
    bandwidth_share : of the main memory that a kernel reaches. ecc_off : bandwidth of GDDR without
        error correction over that with it inline.
    cache_bytes, lane_bytes : bytes a cycle and SM of the second-level cache, and at most for each
        lane; cache_share : share reached.
    slack : part of the shorter of compute and memory that the longer does not hide.
    misaligned : rate of tensor cores where rows do not begin at multiples of 16 bytes.
    gradient_share : rate of products of the backward pass over those of the forward pass, whose
        operands lie in memory as the tiles want them.
    vector_share : of the fp32 rate that element-wise work reaches.
    special_share : exponentials, roots and divisions a cycle, at most for each lane.
    flash_rows : queries (keys, backward) that a block of flash attention holds. flash_paged_rows :
        those where the keys of a prompt lie in pages, in kernels that have others then; 0: as many.
        flash_paged_keys : numbers of keys of a head that such a block takes at a time; 0: as many
        keys as it has queries. flash_paged_rate : rate of its products over that of others.
        flash_head : numbers of a head come in multiples of it.
    flash_share : rate of its products over that inside a tile. flash_hidden : part of them that
        its softmax hides, where a block has two tiles in turns. flash_special : cycles of its
        softmax over those of its exponentials alone.
    stream_rows : rows of a matrix instruction, which one query fills as much as many.
    stream_cycles : cycles of a pass over a cache to start and to finish a sequence and head.
    stream_keys : keys that such a block takes at least. stream_hidden : part of that time in which
        other blocks fetch.
    stream_share : of the main memory bandwidth that such a pass reaches; latent_share : that a pass
        over latents does.
    latent_heads : heads that a block of such a pass holds. latent_start : cycles in which a block
        starts and ends. latent_rate : rate of its products over that inside a tile.
    latent_special : cycles of the softmax of a prompt over keys out of latents over those of its
        exponentials alone, in kernels made for it. latent_cycles : of an SM for each number of a
        query over latents that is put into one piece.
    voltage_knee, voltage_floor : clock share up to which the voltage stays, and that voltage.
    clock_floor : lowest clock over the boost clock.
    reserved : bytes of main memory held by context and libraries.
    """

    tensor_significand: float
    tensor_share: float
    plain_share: float
    operand_share: float
    wave_share: float
    tile_cycles: float
    output_cycles: float
    tile_least: float
    tile_most: float
    bandwidth_share: float
    ecc_off: float
    cache_bytes: float
    lane_bytes: float
    cache_share: float
    slack: float
    misaligned: float
    gradient_share: float
    vector_share: float
    special_share: float
    flash_rows: float
    flash_paged_rows: float
    flash_paged_keys: float
    flash_paged_rate: float
    flash_head: float
    flash_share: float
    flash_hidden: float
    flash_special: float
    stream_rows: float
    stream_cycles: float
    stream_keys: float
    stream_hidden: float
    stream_share: float
    latent_share: float
    latent_heads: float
    latent_start: float
    latent_rate: float
    latent_special: float
    latent_cycles: float
    voltage_knee: float
    voltage_floor: float
    clock_floor: float
    reserved: float


@functools.cache
def constants() -> Constants:
    """The shipped constants, in SI."""
    _, lines = read_csv(DATA / "gpu.csv")
    values = {cells[0]: units.parse(f"{cells[1]} {cells[2]}", _SI[cells[2]]) for _, cells in lines}
    assert set(values) == {f.name for f in fields(Constants)}, "gpu.csv"
    return Constants(**values)


_SI = {"1": "1", "us": "s", "ms": "s", "byte": "byte", "MB": "byte"}


@dataclass(frozen=True)
class TileConstants:
    """Constants of products that depend on the family of chips and the number format.

    Each (D,), named as in `Constants`, which stands in for families without rows, and where the
    lanes multiply: what was timed on tensor cores says nothing of them.

    tensor_share, operand_share, wave_share, tile_cycles, output_cycles : (D,). tile_least,
    tile_most : (D,) of products in tiles. flash_share,
    flash_rows, flash_paged_rows, flash_paged_keys, flash_paged_rate, flash_head, flash_hidden,
    flash_special, stream_cycles, stream_keys, stream_hidden, stream_share, latent_share,
    latent_heads, latent_start, latent_rate, latent_special, latent_cycles : (D,) of attention.
    bandwidth_share : (D,) of the main memory that products alone reach.
    """

    tensor_share: Array
    operand_share: Array
    wave_share: Array
    tile_cycles: Array
    output_cycles: Array
    tile_least: Array
    tile_most: Array
    flash_share: Array
    bandwidth_share: Array
    flash_rows: Array
    flash_paged_rows: Array
    flash_paged_keys: Array
    flash_paged_rate: Array
    flash_head: Array
    flash_hidden: Array
    flash_special: Array
    stream_cycles: Array
    stream_keys: Array
    stream_hidden: Array
    stream_share: Array
    latent_share: Array
    latent_heads: Array
    latent_start: Array
    latent_rate: Array
    latent_special: Array
    latent_cycles: Array


#: Bytes of a number of 16 bits.
_WIDE = 2.0
TILES_OF = tuple(f.name for f in fields(TileConstants))
#: Those that seconds of a product in tiles follow.
_OF_TILES = (
    "tensor_share",
    "operand_share",
    "wave_share",
    "tile_cycles",
    "output_cycles",
    "tile_least",
    "tile_most",
)


@functools.cache
def measured_tiles() -> dict[tuple[str, str], dict[str, float]]:
    """(architecture, format) -> constants of its products (data/gpu_products.csv).

    An empty cell leaves the constant of all GPUs.
    """
    measured: dict[tuple[str, str], dict[str, float]] = {}
    for row in read_rows(DATA / "gpu_products.csv"):
        values = {name: float(row[name]) for name in TILES_OF if row[name]}
        measured |= {(row["architecture"], name): values for name in row["formats"].split("|")}
    return measured


@functools.cache
def narrow() -> frozenset[str]:
    """Formats narrower than 16 bits of which families of chips have constants: kernels of their
    products differ between stacks, those of 16 bits are one library's."""
    return frozenset(name for _, name in measured_tiles() if formats()[name].width < _WIDE)


def family_tiles(architecture: str, format: str, as_timed: bool) -> tuple[str, dict[str, float]]:
    """The format whose constants products of a family of chips take, and these; what is not among
    them is as of all GPUs.

    architecture, format : as in gpu_products.csv. as_timed : see `tiles`.
    """
    known = measured_tiles()
    if format in narrow() and not as_timed:
        own = (name for family, name in known if family == architecture)
        format = next((name for name in own if formats()[name].width == _WIDE), format)
    return format, known.get((architecture, format), {})


def tiles(
    c: Constants,
    architecture: tuple[Sequence[str], Array],
    format: str,
    tensor: Array,
    as_timed: bool,
) -> TileConstants:
    """Constants of products of D devices in a number format.

    architecture : names, and each design's place (D,) among them. tensor : (D,) bool, whether the
    products run on tensor cores. as_timed : those in fp8 and 4 bits run on the kernels that a
    family's constants were fitted on; else they are as those in 16 bits, at their own rate.
    """
    names, codes = architecture
    rows = [*(family_tiles(str(name), format, as_timed)[1] for name in names), {}]
    codes = np.where(tensor, codes, len(names))
    return TileConstants(
        **{
            key: np.array([row.get(key, getattr(c, key)) for row in rows])[codes]
            for key in TILES_OF
        }
    )


@dataclass(frozen=True)
class Device:
    """What a kernel sees of D devices, each (D,).

    sms : streaming multiprocessors. clock : Hz. rate : multiply-accumulates a cycle and SM.
    tensor : whether the products run on tensor cores. bandwidth : bytes a second of the
    main memory. lanes : simple fp32 operations a second. cache : bytes a second of L2.
    special : exponentials, roots and divisions a second. tiles : constants of products where
    families of chips have their own; None for those of all. plain : multiply-accumulates a cycle
    and SM in fp32, of matrix cores where those have a rate of their own; None: of the lanes.
    """

    sms: Array
    clock: Array
    rate: Array
    tensor: Array
    bandwidth: Array
    lanes: Array
    cache: Array
    special: Array
    tiles: TileConstants | None = None
    plain: Array | None = None

    @property
    def in_fp32(self) -> Array:
        """(D,) multiply-accumulates a cycle and SM of products in fp32."""
        return self.lanes / (self.sms * self.clock) if self.plain is None else self.plain

    @property
    def of_products(self) -> list[Array]:
        """(D,) of each figure that seconds of products follow."""
        own = [getattr(self.tiles, name) for name in _OF_TILES] if self.tiles else []
        return [self.sms, self.clock, self.rate, self.tensor, self.in_fp32, self.cache, *own]

    def some(self, places: Array) -> Device:
        """Some of the devices; places (d,) : of them."""
        tiles = self.tiles
        if tiles is not None:
            tiles = TileConstants(**{name: x[places] for name, x in vars(tiles).items()})
        there = {name: x for name, x in vars(self).items() if name != "tiles" and x is not None}
        return Device(**{name: x[places] for name, x in there.items()}, tiles=tiles)


@dataclass(frozen=True)
class GpuProducts:
    """R products of D designs.

    m, k, n, batch : (R, D) `batch` products of (m x k) by (k x n), without what a mask hides.
    first, second : (R, D) elements of a row of the operands as they lie in memory.
    width : (R, 1) bytes of an operand's element where it is multiplied.
    backward : (R, 1) gradients. splits : parts into which k is cut at most. tile : side of the only
        tile that kernels have; 0: those of `TILES`.
    longest : (R, D) keys (or queries) of the longest block over their mean, where some are hidden.
    waiting : (R, 1) cycles that a warp waits for `WARP_STEP` numbers of a sum, where a warp works
        off an output by itself; 0 where no kernel does.
    computed : (R, D) keys of blocks, of which a mask hides some, over those that are seen.
    """

    m: Array
    k: Array
    n: Array
    batch: Array
    first: Array
    second: Array
    width: Array
    backward: Array
    splits: float = float(SPLITS[-1])
    tile: float = 0.0
    longest: Array | float = 1.0
    waiting: Array | float = 0.0
    computed: Array | float = 1.0


def inside_rate(c: Constants, d: Device, p: GpuProducts, left: Array | float = 1.0) -> Array:
    """(R, D) multiply-accumulates a cycle and SM inside a tile.

    Where products in fp32 are faster than tensor cores, they are done so instead.

    left : (D,) what tensor cores keep of their rate: a part where rows do not begin at multiples
        of 16 bytes, or inside flash attention.
    """
    cores, lanes = _rates(c, d)
    rate = np.where(d.tensor, np.maximum(cores * left, lanes), d.rate * c.plain_share)
    return np.asarray(rate * np.where(p.backward, c.gradient_share, 1.0))


def peak_inside(c: Constants, d: Device) -> Array:
    """(D,) multiply-accumulates a cycle and SM inside a tile of a forward pass.

    c : constants of all GPUs. d : the devices.
    """
    cores, lanes = _rates(c, d)
    return np.where(d.tensor, np.maximum(cores, lanes), d.rate * c.plain_share)


def _rates(c: Constants, d: Device) -> tuple[Array, Array]:
    """(D,) multiply-accumulates a cycle and SM inside a tile: of tensor cores, and in fp32."""
    cores = d.rate * (d.tiles or c).tensor_share
    return np.asarray(cores), np.asarray(d.in_fp32 * c.plain_share)


def product_seconds(c: Constants, d: Device, p: GpuProducts) -> tuple[Array, Array]:
    """(R, D) seconds that follow the clock, and the splits of k, of one run of each product.

    Operands whose rows do not begin at multiples of 16 bytes slow tensor cores down; where it
    takes less, they are first copied into rows that do.
    """
    best, splits = _best(c, d, p, inside_rate(c, d, p))
    loose = _loose(d, p)
    if loose.any():
        slow, other = _best(c, d, p, inside_rate(c, d, p, c.misaligned))
        copied = 2.0 * p.width * p.batch * p.k * (p.m + p.n) / (d.cache * c.cache_share) * d.clock
        piecewise = slow < best + copied
        best = np.where(loose, np.where(piecewise, slow, best + copied), best)
        splits = np.where(loose & piecewise, other, splits)
    if np.any(p.waiting):
        best = np.maximum(best, warp_cycles(c, p, d.sms))
    return best / d.clock, splits


def warp_cycles(c: Constants, p: GpuProducts, sms: Array) -> Array:
    """(R, D) cycles of products of one row of which every output is a warp's, which has one load on
    its way at a time. More rows are other kernels, and taken to be no faster.

    sms : (D,) streaming multiprocessors.
    """
    rounds = waves(c, p.n * p.batch, sms * WARPS)
    return np.asarray(rounds * np.ceil(p.k / WARP_STEP) * p.waiting)


def _best(c: Constants, d: Device, p: GpuProducts, rate: Array) -> tuple[Array, Array]:
    """(R, D) cycles and splits of k with the tiles and splits that suit each product best."""
    best, splits = np.full(p.m.shape, np.inf), np.ones(p.m.shape)
    e = d.tiles or c
    cuts = [(*_cut(p.k, split), split) for split in SPLITS if split <= p.splits]
    chosen = 0.0 if p.tile else tile_rows(e, p.m)
    for tm, tn in tiles_of(p.tile):
        barred = np.asarray((chosen > 0) & ((chosen != tm) | (tn != COLUMNS)))
        any_barred = bool(barred.any())
        if any_barred and barred.all():
            continue
        tiles = np.ceil(p.m / tm) * np.ceil(p.n / tn) * p.batch
        each = tm * tn / rate + e.operand_share * (tm + tn) * p.width / c.cache_bytes
        fixed = e.tile_cycles + e.output_cycles * (np.minimum(p.m, tm) * np.minimum(p.n, tn))
        for count, deep, split in cuts:
            total = deep * each
            total += fixed
            total *= waves(e, tiles * count, d.sms)
            if split > 1:
                total += e.tile_cycles * (count > 1)
            if any_barred:
                np.copyto(total, np.inf, where=barred)
            np.copyto(splits, count, where=total < best)
            np.minimum(best, total, out=best)
    return best, splits


def tiles_of(side: float) -> tuple[tuple[float, float], ...]:
    """The tiles that kernels have; side : of the only one, 0: those of libraries."""
    return ((side, side),) if side else TILES


def tile_rows(e: Constants | TileConstants, m: Array) -> Array:
    """(R, D) rows of the tiles, of `COLUMNS` columns, of kernels that are chosen by the rows of a
    product alone; 0 where any tile may be taken, () where all products may take any.

    m : (R, D) rows of the product.
    """
    if not np.any(e.tile_most):
        return np.zeros(())
    half = np.exp2(np.ceil(np.log2(np.maximum(m, 2.0)))) / 2.0
    rows = np.clip(half, e.tile_least, np.maximum(e.tile_most, e.tile_least))
    return np.asarray(np.where(rows >= LEAST_ROWS, rows, 0.0))


def _cut(k: Array, split: int) -> tuple[Array, Array]:
    """(R, D) splits of k (R, D), and how deep each is: fewer where k is short, never thinner."""
    depth = np.ceil(k / SLICE) * SLICE
    count = np.minimum(float(split), np.ceil(depth / SPLIT_DEPTH))
    least = np.minimum(depth, SPLIT_DEPTH)
    return count, np.maximum(np.ceil(depth / split / SLICE) * SLICE, least)


def _loose(d: Device, p: GpuProducts) -> Array:
    """(R, D) products on tensor cores of which a row begins at no multiple of 16 bytes."""
    step = elements_of_vector(p.width)
    aligned = (np.mod(p.first, step) == 0) & (np.mod(p.second, step) == 0)
    return np.asarray(~aligned & d.tensor)


def elements_of_vector(width: Array) -> Array:
    """Elements in 16 bytes: values of a power of two of bits, whose scales of a group lie apart.

    width : bytes of an element, its part of a scale included.

    The result has the shape of `width`, such as (R, D).
    """
    return np.asarray(VECTOR / np.exp2(np.floor(np.log2(width))))


def waves(c: Constants | TileConstants, tiles: Array, sms: Array) -> Array:
    """Rounds of tiles over the SMs; part of the last round evens out.

    sms : (D,) streaming multiprocessors.
    """
    rounds = tiles / sms
    return np.asarray(c.wave_share * np.ceil(rounds) + (1.0 - c.wave_share) * np.maximum(rounds, 1))


def memory_seconds(c: Constants, d: Device, moved: Array) -> Array:
    """(R, D) seconds of `moved` bytes between main memory and the chip."""
    return moved / (d.bandwidth * c.bandwidth_share)


def cache_seconds(c: Constants, d: Device, touched: Array) -> Array:
    """(R, D) seconds of `touched` bytes between cache and SMs.

    What main memory delivers passes here too, so it is never the narrower of the two.
    """
    rate = np.maximum(d.cache * c.cache_share, d.bandwidth * c.bandwidth_share)
    return np.asarray(touched / rate)


def cache_room(c: Constants, d: Device) -> Array:
    """(D,) how many times as long `cache_seconds` are at most, however low the clock."""
    return np.maximum(d.cache * c.cache_share / (d.bandwidth * c.bandwidth_share), 1.0)


def vector_seconds(c: Constants, d: Device, simple: Array, special: Array) -> Array:
    """(R, D) seconds that follow the clock of element-wise work, beside `cache_seconds`.

    simple : (R, D) operations of the lanes. special : (R, D) exponentials, roots, divisions.
    """
    return np.maximum(simple / (d.lanes * c.vector_share), special / d.special)


def host_bound(launching: Array, device: Array) -> dict[str, Array]:
    """Whether the host decides; where nothing is launched, nobody waits for it.

    launching : (D,) seconds for which it launches kernels. device : (R, D) busy seconds.
    """
    busy = sum_rows(device)
    return {"host_bound": (launching > busy) & (busy > 0.0)}


def lane_rate(number: Mapping[str, Any]) -> Array:
    """Operations a second of the lanes in fp32 at the boost clock, never above those of products.

    number : settings of the devices, of which vector_rate and fp32_rate [1/s].
    """
    own, products = number["vector_rate"], number["fp32_rate"]
    return np.where(np.asarray(own) > 0, np.minimum(own, products), products)


def peak(d: Device) -> Array:
    """(D,) multiply-accumulates a second of tensor cores, or in fp32 if those are more.

    d : the devices.
    """
    rate = np.where(d.tensor, np.maximum(d.rate, d.in_fp32), d.rate)
    return np.asarray(rate * d.clock * d.sms)
