"""Latent attention on GPUs: what its kernels fetch once, and what is copied beside them.

*Decoding.* Keys and values of all heads are one vector a token, of which the values are a part
(DeepSeek-V2, arXiv 2405.04434, section 2.1). A kernel that holds both products (FlashMLA,
FlashInfer, FlashAttention-3) brings each vector to the SMs once, where two products apart fetch
keys, and values again. Each of the two is charged its part of the one pass, so that a pass takes
the longer of its products together and of its bytes together.

*Prompts* are multiplied with keys and values of all heads, which are turned out of the latent
first. Their kernels want keys in one piece: the part of each head and the turned part that all
share are put together by a kernel before (`latent.keys.passes` of the bytes of the keys), and
some stacks copy the outputs behind (`latent.outputs.passes`). Queries in one piece, of rank + rope,
are what some kernels of decoding want: `latent_cycles` of an SM for each number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from elector.machines.gpu.attention import streaming
from elector.machines.gpu.kernels import (
    SPLIT_DEPTH,
    Constants,
    Device,
    TileConstants,
    cache_seconds,
    peak_inside,
)
from elector.machines.gpu.stacks import streams_as_timed
from elector.operations.roles import Role
from elector.operations.rows import Operations, Row

Array = np.ndarray
#: Rows of a matrix instruction (NVIDIA PTX ISA, mma.m16n8k16).
STREAM_ROWS = 16.0


@dataclass(frozen=True)
class LatentPair:
    """Places of the two products of the heads of a latent attention that one kernel holds.

    absorbed : whether they run over the latent itself (generated tokens), not over keys and values
    that were turned out of it.
    """

    scores: int
    context: int
    absorbed: bool


def latent_pairs(rows: tuple[Row, ...], attention: str) -> list[LatentPair]:
    """The products of latent attention inside kernels of flash attention, forward passes only."""
    if attention != "flash":
        return []
    roles: dict[tuple[object, str], set[Role]] = {}
    for row in rows:
        roles.setdefault((row.place, row.phase), set()).add(row.role)
    pairs, scores = [], -1
    for i, row in enumerate(rows):
        inside = row.matmul and row.in_attention and row.phase != "backward"
        held = roles[row.place, row.phase]
        if not inside or Role.KEY_VALUE_DOWN not in held:
            continue
        if row.role is Role.SCORES:
            scores = i
        elif row.role is Role.CONTEXT and scores >= 0:
            pairs.append(LatentPair(scores, i, Role.ABSORBED_QUERY in held))
            scores = -1
    return pairs


def once(ops: Operations, pairs: list[LatentPair], index: Array) -> Array:
    """(R, D) part of the bytes of a product's second operand that are fetched for it: less than 1
    of the two products over a latent, whose values are a part of its keys.

    pairs : see `latent_pairs`. index : (D,) pair of each design.
    """
    part = np.ones((len(ops.rows), index.size))
    for pair in pairs:
        if pair.absorbed:
            keys, values = (ops.b_bytes[r][index] for r in (pair.scores, pair.context))
            part[[pair.scores, pair.context]] = keys / np.maximum(keys + values, 1e-300)
    return part


def blocks(ops: Operations, pair: LatentPair, heads: Array | float, index: Array) -> Array:
    """(D,) blocks of heads into which a pass over a latent falls: each fetches it from the cache.

    heads : (D,) that a block holds. index : (D,) pair of each design.
    """
    return np.asarray(np.ceil(ops.m[pair.scores][index] / heads))


def fetches(
    ops: Operations, pairs: list[LatentPair], own: Constants | TileConstants | None, index: Array
) -> Array:
    """(R, D) times that the second operand of a product is brought from the cache to SMs: once for
    each block of heads of a pass over a latent.

    own : constants of the family of chips; None where its kernels are not known. index : (D,).
    """
    times = np.ones((len(ops.rows), index.size))
    for pair in pairs:
        if pair.absorbed and own is not None:
            times[[pair.scores, pair.context]] = blocks(ops, pair, own.latent_heads, index)
    return times


def pass_cycles(
    ops: Operations, pair: LatentPair, own: TileConstants, device: tuple[Array, Array], index: Array
) -> tuple[Array, Array]:
    """(2, D) cycles of each of the two products of a pass over a latent, and (D,) how many times as
    long its operands take from the cache because few pieces leave SMs idle.

    own : constants of the family of chips. device : (D,) streaming multiprocessors, and (D,)
    multiply-accumulates a cycle and SM inside a tile. index : (D,) pair of each design.

    Sequences, blocks of heads and pieces of 256 keys are dealt to the SMs; a matrix instruction
    takes 16 rows whether they are heads or not. Half of the start is each product's.
    """
    sms, rate = device
    heads, keys, head = (x[pair.scores][index] for x in (ops.m, ops.n, ops.k))
    values = ops.n[pair.context][index]
    number = ops.batch[pair.scores][index] * blocks(ops, pair, own.latent_heads, index)
    pieces = number * np.maximum(keys / SPLIT_DEPTH, 1.0)
    rounds = np.maximum(pieces / sms, 1.0)
    rows = np.ceil(np.minimum(heads, own.latent_heads) / STREAM_ROWS) * STREAM_ROWS
    piece = rows * np.minimum(keys, SPLIT_DEPTH) / (rate * own.latent_rate)
    start = np.maximum(number / sms, 1.0) * own.latent_start / 2.0
    cycles = np.stack([rounds * piece * width + start for width in (head, values)])
    return cycles, np.asarray(rounds * sms / pieces)


def value_heads(ops: Operations, pairs: list[LatentPair], rows: Array, index: Array) -> Array:
    """(R, D) numbers of a head of the outputs of each product inside flash attention; 0 where they
    are those of its own head.

    rows : (R,) places of the products. index : (D,) pair of each design.
    """
    wide = np.zeros((rows.size, index.size))
    for pair in pairs:
        wide[rows == pair.scores] = ops.n[pair.context][index]
    return wide


def laid_out(
    ops: Operations,
    pairs: list[LatentPair],
    stack: Mapping[str, float],
    cycles: Array,
    index: Array,
) -> tuple[Array, Array]:
    """(R, D) bytes of one run that are copied beside a product, and (R, D) cycles of an SM that the
    copies take at least.

    stack : constants of the software stack. cycles : (D,) for each number of an absorbed query.
    """
    moved, work = (np.zeros((len(ops.rows), index.size)) for _ in range(2))
    joined = stack["latent.queries.joined"]
    for pair in pairs:
        if pair.absorbed:
            asked = ops.a_bytes[pair.scores][index] * joined * (cycles > 0)
            moved[pair.scores] = 2.0 * asked
            work[pair.scores] = asked / ops.format.activations.width * cycles
        else:
            keys = ops.b_bytes[pair.scores][index]
            moved[pair.scores] = keys * stack["latent.keys.passes"]
            outputs = ops.out_bytes[pair.context][index]
            moved[pair.context] = outputs * stack["latent.outputs.passes"]
    return moved, work


def copies(
    rows: tuple[Row, ...], pairs: list[LatentPair], stack: Mapping[str, float], cycles: Array
) -> Array:
    """(R, D) kernels beside each product that put its operands together or copy its outputs.

    stack : constants of the software stack. cycles : (D,) for each number of an absorbed query: 0
    where kernels of decoding take its two parts apart.
    """
    more = np.zeros((len(rows), cycles.size))
    for pair in pairs:
        if pair.absorbed:
            more[pair.scores] = stack["latent.queries.joined"] * (cycles > 0)
        else:
            more[pair.scores] = stack["latent.keys.kernels"]
            more[pair.context] = float(stack["latent.outputs.passes"] > 0)
    return more


@dataclass(frozen=True)
class LatentKernels:
    """Kernels of latent attention of D designs.

    ops : operations. pairs : see `latent_pairs`. stack : constants of the software stack. general :
    constants of all GPUs. device : the devices. index : (D,) pair of each design.
    """

    ops: Operations
    pairs: list[LatentPair]
    stack: Mapping[str, float]
    general: Constants
    device: Device
    index: Array

    @property
    def own(self) -> TileConstants | None:
        """Constants of passes over latents where they run on the kernels that were fitted on."""
        return self.device.tiles if self.stack["latent.as_timed"] > 0.0 else None

    @property
    def joining(self) -> Array:
        """(D,) cycles of an SM for each number of an absorbed query that is put into one piece."""
        cycles = (self.device.tiles or self.general).latent_cycles
        return np.asarray(np.broadcast_to(cycles, self.index.shape))

    def copies(self) -> Array:
        """(R, D) kernels beside each product, see `copies`."""
        return copies(self.ops.rows, self.pairs, self.stack, self.joining)

    def laid_out(self) -> tuple[Array, Array]:
        """(R, D) bytes and cycles of an SM of these, see `laid_out`."""
        return laid_out(self.ops, self.pairs, self.stack, self.joining, self.index)

    def fetches(self) -> Array:
        """(R, D) times that second operands are brought to the SMs, see `fetches`."""
        return fetches(self.ops, self.pairs, self.own, self.index)

    def over(self, touched: Array, seconds: tuple[Array, Array, Array]) -> None:
        """Passes over latents on kernels made for them, in the place of others over a cache.

        touched : (R, D) bytes between cache and SMs. seconds : (R, D) of one run each, put in
        place: that follow the clock, between cache and SMs, and before both.
        """
        (compute, passing, empty), d, own = seconds, self.device, self.own
        for pair in self.pairs:
            if pair.absorbed and own is not None:
                rows, inside = [pair.scores, pair.context], peak_inside(self.general, d)
                cycles, idle = pass_cycles(self.ops, pair, own, (d.sms, inside), self.index)
                compute[rows] = cycles / d.clock
                passing[rows] = cache_seconds(self.general, d, touched[rows]) * idle
                empty[rows] = 0.0

    def memory(self, seconds: Array) -> None:
        """Seconds of main memory of passes over latents, (R, D), put in place: they reach a share
        of its bandwidth that other passes over a cache do not."""
        own, timed = self.own, streams_as_timed(self.stack)
        share = streaming(self.general, self.device, timed).stream_share
        for pair in self.pairs:
            if pair.absorbed and own is not None:
                seconds[[pair.scores, pair.context]] *= share / own.latent_share

    def softmaxes(self, inside: list[tuple[int, int]], compute: Array) -> None:
        """Seconds of softmaxes of prompts over keys out of latents, (R, D), put in place, where
        kernels were made for them.

        inside : places of softmaxes, and of the products before them. compute : (R, D) seconds.
        """
        tiles = self.device.tiles
        if tiles is None or not self.stack["latent.prompt.as_timed"]:
            return
        scores = [pair.scores for pair in self.pairs if not pair.absorbed]
        for softmax, product in inside:
            if product in scores:
                compute[softmax] *= tiles.latent_special / tiles.flash_special
