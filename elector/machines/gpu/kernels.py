"""Seconds of single GPU kernels: matrix products by tiles and waves, the rest by bytes.

A product is cut into tiles of tm x tn outputs, and its k into splits. A streaming
multiprocessor (SM) works off one tile after another; a tile takes

    cycles = tm tn k / (split rate) + k (tm + tn) width / (split cache rate) x share + start,

with `rate` the multiply-accumulates a cycle and `cache rate` the bytes a cycle of the
second-level cache, and the product takes ceil(tiles / SMs) of them, of which a part evens
out. The best of `TILES` x `SPLITS` counts: libraries choose by such a rule (NVIDIA, Matrix
multiplication background; Osama et al. 2023, Stream-K, arXiv 2301.03598). A product is as
slow as the slower of this and its traffic; partial sums of a split travel once more.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields

import numpy as np

from elector.base import units
from elector.base.table import DATA, read_csv

Array = np.ndarray

#: Outputs of a tile, as libraries ship them.
TILES = ((256, 128), (128, 256), (128, 128), (128, 64), (64, 128), (64, 64), (32, 64), (64, 32))
SPLITS = (1, 2, 4, 8, 16)
#: Least depth of a split: below it libraries do not split.
SPLIT_DEPTH = 256.0
#: k moves through a tile in slices of this many elements.
SLICE = 32.0


@dataclass(frozen=True)
class Constants:
    """Constants of all GPUs (data/gpu.csv), none of them a device's own.

    tensor_significand : bits of the widest operands that tensor cores multiply.
    tensor_share, plain_share : peak share of an SM inside a tile, on tensor cores and beside.
    operand_share : part of the operand loads that the products do not hide.
    wave_share : part of the last wave's idle SMs that is lost.
    tile_cycles : cycles to start and to finish a tile.
    kernel : seconds a kernel takes beyond its work.
    bandwidth_share : of the main memory that a kernel reaches.
    cache_bytes, cache_share : bytes a cycle and SM of the second-level cache, share reached.
    slack : part of the shorter of compute and memory that the longer does not hide.
    misaligned : rate of tensor cores where k or n is no multiple of 16 bytes.
    gradient_share : rate of products of the backward pass over those of the forward pass, whose
        operands lie in memory as the tiles want them.
    vector_share : of the fp32 rate that element-wise work reaches.
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
    kernel: float
    bandwidth_share: float
    cache_bytes: float
    cache_share: float
    slack: float
    misaligned: float
    gradient_share: float
    vector_share: float
    voltage_knee: float
    voltage_floor: float
    clock_floor: float
    reserved: float


@functools.cache
def constants() -> Constants:
    """The shipped constants, in SI."""
    _, lines = read_csv(DATA / "gpu.csv")
    found = {cells[0]: units.parse(f"{cells[1]} {cells[2]}", _SI[cells[2]]) for _, cells in lines}
    assert set(found) == {f.name for f in fields(Constants)}, "gpu.csv"
    return Constants(**found)


_SI = {"1": "1", "us": "s", "ms": "s", "byte": "byte", "MB": "byte"}


@dataclass(frozen=True)
class Device:
    """What a kernel sees of D devices, each (D,).

    sms : streaming multiprocessors. clock : Hz. rate : multiply-accumulates a cycle and SM.
    tensor : whether the products run on tensor cores. bandwidth : bytes a second of the
    main memory. lanes : simple fp32 operations a second. cache : bytes a second of L2.
    """

    sms: Array
    clock: Array
    rate: Array
    tensor: Array
    bandwidth: Array
    lanes: Array
    cache: Array


def product_seconds(
    c: Constants,
    d: Device,
    m: Array,
    k: Array,
    n: Array,
    batch: Array,
    width: Array,
    backward: Array,
) -> tuple[Array, Array]:
    """(R, D) seconds that follow the clock, and the splits of k, of one run of each product.

    m, k, n, batch : (R, D). width : (R, 1) bytes of an operand's element. backward : (R, 1).
    """
    share = np.where(d.tensor, c.tensor_share, c.plain_share)
    rate = d.rate * share * _alignment(c, d, k, n, width)
    rate = rate * np.where(backward, c.gradient_share, 1.0)
    depth = np.ceil(k / SLICE) * SLICE
    best, splits = np.full(m.shape, np.inf), np.ones(m.shape)
    for tm, tn in TILES:
        tiles = np.ceil(m / tm) * np.ceil(n / tn) * batch
        each = tm * tn / rate + c.operand_share * (tm + tn) * width / c.cache_bytes
        for split in SPLITS:
            deep = np.ceil(depth / split / SLICE) * SLICE
            cycles = deep * each + c.tile_cycles
            total = cycles * _waves(c, tiles * split, d.sms)
            if split > 1:
                total = np.where(deep >= SPLIT_DEPTH, total + c.tile_cycles, np.inf)
            better = total < best
            best = np.where(better, total, best)
            splits = np.where(better, float(split), splits)
    return best / d.clock, splits


def _alignment(c: Constants, d: Device, k: Array, n: Array, width: Array) -> Array:
    """(R, D) share of the rate that unaligned rows leave to tensor cores."""
    step = 16.0 / width
    aligned = (np.mod(k, step) == 0) & (np.mod(n, step) == 0)
    return np.where(aligned | ~d.tensor, 1.0, c.misaligned)


def _waves(c: Constants, tiles: Array, sms: Array) -> Array:
    """Rounds of tiles over the SMs; part of the last round evens out."""
    rounds = tiles / sms
    return c.wave_share * np.ceil(rounds) + (1.0 - c.wave_share) * np.maximum(rounds, 1.0)


def memory_seconds(c: Constants, d: Device, moved: Array) -> Array:
    """(R, D) seconds of `moved` bytes between main memory and the chip."""
    return moved / (d.bandwidth * c.bandwidth_share)


def vector_seconds(c: Constants, d: Device, work: Array, touched: Array) -> Array:
    """(R, D) seconds that follow the clock: `work` simple operations on `touched` bytes."""
    lanes = work / (d.lanes * c.vector_share)
    return np.maximum(lanes, touched / (d.cache * c.cache_share))
