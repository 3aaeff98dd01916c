"""What is done to operands: quantising, laying out, unpacking, and scales of blocks of experts.

*Scales of blocks* (fp8-block, fp8-g128) are no unpacking where tensor cores multiply the values as
they are: they are applied to partial sums, by the lanes, which take these over from the tensor
cores each `BLOCK` of the sum (DeepSeek-AI 2024, arXiv 2412.19437, section 3.3.2; promotion).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from elector.describe.numbers import Precision
from elector.machines.gpu.kernels import (
    UNPACK_ROWS,
    Constants,
    Device,
    cache_seconds,
    memory_seconds,
)
from elector.machines.gpu.stacks import converts, quantising
from elector.operations.roles import ROUTED, Role
from elector.operations.rows import Operations, Row, unpacked

Array = np.ndarray
#: Length of a sum after which partial sums are promoted: that of a block of weights with a scale.
BLOCK = 128.0


def promotes(product: Row, format: Precision) -> bool:
    """Whether a product of experts has weights in its own format, with scales of blocks."""
    packed, products = format.packed, format.products
    if packed is None or packed.kind != products.kind or packed.bits != products.bits:
        return False
    return packed.grouped and not products.grouped and product.role in ROUTED


def _promotes(ops: Operations, each: float, product: int) -> bool:
    return each > 0 and promotes(ops.rows[product], ops.format)


def unpack(ops: Operations, each: float, seconds: Array, index: Array) -> None:
    """Operands that are stored packed are unpacked by the tiles of the product that reads them, in
    place.

    The lanes do it while tensor cores multiply what was unpacked before (Frantar et al. 2024,
    Marlin, arXiv 2408.11743, section 3.4); every row of tiles unpacks its operand anew. Partial
    sums they promote with the tensor cores waiting.

    each : see `promoted`; 0 where kernels of experts apply no scales of blocks so. seconds : (R, D)
    of one run. index : (D,) pair of each design.
    """
    for r, product in unpacked(ops.rows):
        lanes = seconds[r] * passes_of_lanes(ops, each, product)[index]
        if _promotes(ops, each, product):
            seconds[product] += lanes
        else:
            seconds[product] = np.maximum(seconds[product], lanes)
        seconds[r] = 0.0


def passes_of_lanes(ops: Operations, each: float, product: int) -> Array:
    """(M,) times that the lanes work on every weight of a product, whose place is `product`: to
    unpack it, or for scales of blocks as `promoted` has it. each : see there."""
    rows = ops.m[product]
    if _promotes(ops, each, product):
        return promoted(rows, 1.0, each)
    return np.asarray(np.ceil(rows / UNPACK_ROWS))


@dataclass(frozen=True)
class BeforeProducts:
    """What kernels do to the operands of R products of D designs before these start.

    moved : (R, D) bytes of one run that they read and write. cycles : (R, D) of SMs, all together.
    """

    moved: Array
    cycles: Array


def laying_out(
    c: Constants, d: Device, room: Array, before: BeforeProducts
) -> tuple[Array, tuple[Array, Array, Array]]:
    """(R, D) bytes of these kernels that cross between main memory and chip: a cache that holds
    what is read and written, 16 bits and the narrow ones, has the others. And (R, D) seconds of
    each: of the cache, of main memory, and of the SMs.

    room : (D,) bytes of the cache.
    """
    crossing = np.where(before.moved > room, before.moved, 0.0)
    return crossing, (
        cache_seconds(c, d, before.moved - crossing),
        memory_seconds(c, d, crossing),
        before.cycles / (d.sms * d.clock),
    )


def converted(ops: Operations, kept: float, index: Array) -> Array:
    """(R, D) bytes that are moved beside the products of prompts to turn activations into their
    format and results back: read in one and written in the other.

    kept : bytes of a number between products, 0 where those take it as it lies. index : (D,) pair
    of each design.
    """
    own = np.array([converts(row, kept, ops.format) for row in ops.rows], dtype=bool)
    if not own.any():
        return np.zeros((len(ops.rows), index.size))
    width = ops.format.activations.width
    numbers = (ops.a_bytes + ops.out_bytes)[:, index] / width
    return np.asarray(numbers * own[:, None] * (kept + width))


def promoted(rows: Array | float, lanes: Array | float, each: float) -> Array:
    """(D,) seconds in which the lanes apply the scales of blocks to partial sums of a product.

    rows : (D,) of the product. lanes : (D,) seconds in which they would pass over all weights once:
    as many operations as there are outputs of `BLOCK` rows, each `BLOCK` of the sum. each :
    operations for one of those.
    """
    return np.asarray(rows / BLOCK * lanes * each)


def before_products(
    ops: Operations,
    stack: Mapping[str, float],
    quantised: Array,
    copied: tuple[Array, Array],
    index: Array,
) -> BeforeProducts:
    """Quantising activations, converting what a product takes and gives, and copies.

    stack : constants of the software stack. quantised : (R,) whether a product's activations are.
    copied : (R, D) bytes, and cycles of an SM, of what latent attention copies. index : (D,) pair
    of each design.
    """
    elements = quantised_elements(ops, quantised, index)
    _, moved, cycles = quantising(stack, ops.workload)
    beside = copied[0] + converted(ops, stack["kept.bytes"], index)
    return BeforeProducts(elements * moved + beside, elements * cycles + copied[1])


def quantised_elements(ops: Operations, quantised: Array, index: Array) -> Array:
    """(R, D) numbers that are brought into the format of a product before it.

    Tokens are quantised before they are dealt out, once, however many experts each of them goes to
    (moe_kernel_quantize_input in vLLM's fused_moe; the router reads each of them once, too).

    quantised : (R,) whether a product's activations are. index : (D,) pair of each design.
    """
    elements = ops.a_bytes[:, index] / ops.format.activations.width * quantised[:, None]
    tokens: dict[tuple[object, str], int] = {}
    for r, row in enumerate(ops.rows):
        if row.role is Role.ROUTER and row.matmul:
            tokens[row.place, row.phase] = r
        router = tokens.get((row.place, row.phase))
        if row.role is Role.EXPERT_IN and row.matmul and quantised[r] and router is not None:
            whole = (ops.batch * ops.m * ops.k)[router][index]
            elements[r] = np.minimum(elements[r], whole)
    return elements
