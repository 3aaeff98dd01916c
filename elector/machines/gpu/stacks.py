"""Software stacks: which kernels an operation becomes, and what the host spends on each."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping

import numpy as np

from elector.base import units
from elector.base.errors import InputError
from elector.base.table import DATA, read_csv, read_rows
from elector.describe.numbers import Precision
from elector.describe.workload import PROMPTS, Workload
from elector.machines.gpu.kernels import SPLITS
from elector.operations.roles import (
    BIASES,
    DROPOUTS,
    OTHER_HEADS,
    RESIDUALS,
    ModelSection,
    Place,
    Role,
    RowPart,
)
from elector.operations.rows import Row
from elector.operations.scope import formula

Array = np.ndarray

#: Stack -> what it is for (data/stacks.csv): whether it trains, and which chips it takes.
STACKS = {row["stack"]: row for row in read_rows(DATA / "stacks.csv")}
IMPLEMENTATIONS = tuple(STACKS)
#: Engines that run models and train none.
SERVING_ONLY = tuple(name for name, row in STACKS.items() if row["trains"] == "no")
#: Stack -> the one whose constants it has but for a few of its own.
VARIANTS = {name: row["variant_of"] for name, row in STACKS.items() if row["variant_of"]}
#: What stacks have that say nothing else, in implementations.csv.
ANY = "any"
#: Stack -> tokens of a prompt that it reads at once; 0: all of them.
CHUNKS = {name: int(row["prefill_chunk"] or 0) for name, row in STACKS.items()}

#: Lines of a stack's table for element-wise work, by what it is for.
ROLES = {
    "bias": BIASES,
    "dropout": DROPOUTS,
    "residual": RESIDUALS,
    "append": frozenset({Role.CACHE_APPEND}),
    "rotary": frozenset({Role.ROTARY}),
}
#: Kernels for each tensor and passes over its states. Plain: the nine to thirteen element-wise
#: kernels that the formula of adam, adamw or lamb comes to, each with two or three tensors;
#: fused: one kernel over many tensors.
OPTIMIZER = {"plain": (13.0, 5.0), "fused": (0.1, 1.0)}

_SI = {"1": "1", "us": "s", "ms": "s", "byte": "byte"}


@functools.cache
def stacks() -> dict[str, dict[str, float]]:
    """Stack -> quantity -> value in SI (data/implementations.csv).

    host : seconds of the host for each kernel. kernel : seconds a kernel takes on the device
    beyond its work. step : seconds for each step, before and after; update : further ones where
    it trains. quantise.kernels, quantise.bytes : kernels that bring the activations of a product
    into formats that are scaled at run time, and the bytes they move for each element;
    quantise.cycles : cycles of an SM that such a kernel takes for each element at least: fitted on
    products, and not what the kernel takes where it is timed alone.
    quantise.group.kernels, .bytes, .cycles : the same where groups of values have scales of their
    own. splits.int8, .fp8, .group : parts of k at most of products in these formats. tile.int8 :
    outputs along a side of the only tile of their kernels; 0: of several, what suits.
    scaled.promoted : operations of the lanes for each output of experts and 128 of its sum, where
    weights have scales of blocks and tensor cores multiply them as they are.
    scaled.as_timed : 1 where products in fp8 and 4 bits run on the kernels of gpu_products.csv.
    kept.bytes : of a number between products, where those take narrower ones; 0: as they take it.
    kept.kernels : kernels that then convert what a product of a prompt takes and gives.
    row.cycles : cycles in which a warp waits for 64 numbers of a sum where products of one row have
    a kernel of which each output is one warp's; 0 where they have none.
    flash.start : cycles that a block of flash attention takes to start and to end (0: as a tile
    of a product), beside its queries and outputs; flash.rate : rate of its products over that of
    the family of chips. flash.paged.start : the first of kernels that read the keys of prompts
    from pages of a cache (0: no such kernels were timed).
    stream.rate : rate of a pass over a cache over that of the memory other kernels reach.
    stream.as_timed : 1 where a pass over a cache runs on the kernels of gpu_products.csv.
    latent.as_timed : 1 where a pass over a latent does; latent.prompt.as_timed : and the softmax of
    prompts over keys out of one. latent.keys.kernels, .passes : kernels that put such keys
    together, and the bytes they move over those of the keys; latent.outputs.passes : the same of
    outputs that are copied; latent.queries.joined : 1 where absorbed queries are put into one piece
    for kernels that want that.
    outputs.wide : 1 where products in 8 bits or fewer leave their sums to the kernel behind them,
    and residuals are not quantised (elector.machines.gpu.between).
    forward, backward, mixed : bytes that element-wise work moves over those of its tensors, in
    a forward pass (of inference and training alike), in a backward pass, and further where it
    computes in wider numbers than it stores.
    CATEGORY.kernels, CATEGORY.passes : kernels of one such operation, and bytes over one pass.
    append.copies : copies of the whole cache that a new token costs. append.rate : rate of such
    a copy over that of other kernels.

    A stack has those of `ANY`, but for its own; a variant those of the stack that it is one of, but
    for its own.
    """
    own = _own()
    return with_variants({name: {**own[ANY], **own[name]} for name in IMPLEMENTATIONS})


def with_variants(tables: Mapping[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The tables, those of variants made anew from the stack that each is one of.

    tables : stack -> quantity -> value in SI.
    """
    own = _own()
    return {
        name: {**tables[VARIANTS[name]], **own[name]} if name in VARIANTS else dict(tables[name])
        for name in IMPLEMENTATIONS
    }


@functools.cache
def _own() -> dict[str, dict[str, float]]:
    """Stack, or `ANY` -> what the table says of itself alone -> value in SI."""
    by_stack: dict[str, dict[str, float]] = {}
    path = DATA / "implementations.csv"
    _, lines = read_csv(path)
    for _, cells in lines:
        stack, quantity, value, unit = cells[:4]
        if unit not in _SI:
            raise InputError("unknown unit", file=path, field=quantity, value=unit, allowed=_SI)
        by_stack.setdefault(stack, {})[quantity] = units.parse(f"{value} {unit}", _SI[unit])
    return by_stack


@functools.cache
def _rms() -> frozenset[float]:
    """Simple operations by which a norm without means is told from layer norm."""
    return frozenset(formula(name)[0] for name in ("rms_norm", "rms_norm_backward"))


def category(row: Row) -> str:
    """Which line of a stack's table an operation that is no product belongs to."""
    if row.kind == "norm" and row.simple in _rms():
        return "rms"
    if row.kind in ("softmax", "norm", "activation", "embedding", "loss", "optimizer", "cast"):
        return row.kind
    for name, roles in ROLES.items():
        if row.role in roles:
            return name
    return "other"


def kernels(rows: tuple[Row, ...], stack: dict[str, float], workload: Workload) -> Array:
    """(R,) kernels of one run of each operation.

    stack : constant of the software stack -> value in SI.
    """
    table, attention = _with_optimizer(stack, workload), workload.attention
    more = quantising(stack, workload)[0]
    products = [1.0 + more * q for q in quantised(rows, workload)]
    kept = stack["kept.bytes"]
    products = [
        n + stack["kept.kernels"] * converts(row, kept, workload.format)
        for row, n in zip(rows, products, strict=True)
    ]
    counts = [_kernels_of(r, p, table) for r, p in zip(rows, products, strict=True)]
    inside = _inside(rows, attention)
    if attention == "fused":
        # scale, mask, softmax and dropout in one kernel
        counts = [
            float(r.kind == "softmax") if i else f
            for r, f, i in zip(rows, counts, inside, strict=True)
        ]
    if attention == "flash":
        counts = [0.0 if i else f for f, i in zip(counts, inside, strict=True)]
        counts = _one_kernel(rows, counts)
    return np.array(counts)


def _kernels_of(row: Row, product: float, table: dict[str, float]) -> float:
    """Kernels of an operation that stands alone; operands are unpacked inside the product's."""
    if row.matmul:
        return product
    return 0.0 if row.part is RowPart.UNPACKED else table[f"{category(row)}.kernels"]


def streams_as_timed(stack: Mapping[str, float]) -> bool:
    """Whether a pass over a cache runs on the kernels that a family's constants were fitted on.

    stack : constant of the software stack -> value in SI.
    """
    return stack["stream.as_timed"] > 0.0


def quantised(rows: tuple[Row, ...], workload: Workload) -> Array:
    """(R,) whether a product's activations are quantised for it: once for all that share them.

    Probabilities that never leave a kernel of flash attention are rounded in its registers.
    """
    shared = {Role.KEY_VALUE, Role.KEY, Role.VALUE, Role.FEED_FORWARD_GATE, Role.EXPERT_GATE}
    if not workload.format.quantises:
        return np.zeros(len(rows), dtype=bool)
    flash = workload.attention == "flash"
    inside = [flash and r.role is Role.CONTEXT and in_flash(r) for r in rows]
    alone = (r.matmul and r.role not in shared for r in rows)
    return np.array([a and not b for a, b in zip(alone, inside, strict=True)], dtype=bool)


def converts(row: Row, kept: float, format: Precision) -> bool:
    """Whether what a product takes and gives is converted by kernels beside it: of prompts. A
    product of one row reads numbers as they lie, and what quantises them does it in one.

    kept : bytes of a number between products. format : of the step.
    """
    wider = kept > format.activations.width and not format.quantises
    return wider and row.matmul and row.phase != "decode"


def quantising(stack: Mapping[str, float], workload: Workload) -> tuple[float, float, float]:
    """Kernels that quantise the activations of a product, and of each element the bytes they move
    and the cycles of an SM that they take at least.

    A group's scale is found by the kernel that applies it; that of a tensor has to wait for all.

    stack : constant of the software stack -> value in SI.
    """
    kind = quantising_kind(workload)
    return stack[f"{kind}.kernels"], stack[f"{kind}.bytes"], stack[f"{kind}.cycles"]


def quantising_kind(workload: Workload) -> str:
    """What constants of kernels that quantise are named: groups of values have their own."""
    return "quantise.group" if workload.format.activations.grouped else "quantise"


def splitting(stack: dict[str, float], workload: Workload) -> float:
    """Parts into which kernels cut the sum of a product, at most.

    stack : constant of the software stack -> value in SI.
    """
    return stack.get(splits_of(workload), float(SPLITS[-1]))


def splits_of(workload: Workload) -> str:
    """The constant that says so; formats without one are cut as suits."""
    products = workload.format.products
    return f"splits.{'group' if products.grouped else products.name}"


def only_tile(stack: dict[str, float], workload: Workload) -> float:
    """Outputs along a side of the only tile that a stack's kernels of products have; 0: several, of
    which what suits is taken, or what the family of chips has for so many rows (tile_least,
    tile_most of gpu_products.csv: kernels that were timed, of other stacks).

    stack : constant of the software stack -> value in SI. workload : of a number format; formats
    without a constant have several.
    """
    return stack.get(tile_of(workload), 0.0)


def tile_of(workload: Workload) -> str:
    """The constant that says so."""
    return f"tile.{workload.format.products.name}"


def as_timed(stack: dict[str, float]) -> bool:
    """Whether products in fp8 and 4 bits run on the kernels that a family's constants were fitted
    on. Those in 16 bits are one library's; narrow ones each stack's own.

    stack : constant of the software stack -> value in SI.
    """
    return stack["scaled.as_timed"] > 0.0


def _with_optimizer(stack: dict[str, float], workload: Workload) -> dict[str, float]:
    """The stack's table with the optimizer that is asked for."""
    if workload.optimizer_kernels == "auto":
        return stack
    kernels, passes = OPTIMIZER[workload.optimizer_kernels]
    return {**stack, "optimizer.kernels": kernels, "optimizer.passes": passes}


def passes(rows: tuple[Row, ...], stack: dict[str, float], workload: Workload) -> Array:
    """(R,) bytes an operation moves over those of its tensors read and written once.

    stack : constant of the software stack -> value in SI.
    """
    table, attention = _with_optimizer(stack, workload), workload.attention
    # norms, softmax and what surrounds them stay in wider numbers
    wide = stack["mixed"] if workload.format.widens else 1.0
    wide *= max(stack["kept.bytes"] / workload.format.activations.width, 1.0)
    moved = []
    for row, inside in zip(rows, _inside(rows, attention), strict=True):
        if row.matmul:
            moved.append(1.0)
        elif row.part is RowPart.UNPACKED:
            moved.append(0.0)
        elif inside:
            moved.append(float(attention == "fused" and row.kind == "softmax"))
        elif row.kind in ("optimizer", "cast"):
            moved.append(table[f"{row.kind}.passes"])
        else:
            scale = stack["backward" if row.phase == "backward" else "forward"]
            moved.append(table[f"{category(row)}.passes"] * scale * wide)
    return np.array(moved)


def _inside(rows: tuple[Row, ...], attention: str) -> list[bool]:
    """Element-wise work of attention that a fused kernel holds."""
    return [fusible(r) and not r.matmul and attention != "unfused" for r in rows]


def fusible(row: Row) -> bool:
    """Whether a kernel of attention may hold an operation: of heads of a scaled dot product."""
    return row.in_attention and row.role not in OTHER_HEADS


def alone(rows: tuple[Row, ...]) -> bool:
    """Whether all there is are products, without a step of a model around them."""
    return all(row.matmul and row.place.section is ModelSection.LIST for row in rows)


def in_flash(row: Row) -> bool:
    """Whether flash attention, or its kernel of decoding, holds a product."""
    return row.matmul and fusible(row)


def paged(row: Row, stack: Mapping[str, float]) -> bool:
    """Whether the keys of a product inside flash attention lie in pages of a cache, which kernels
    of their own read: of prompts of decoders, where a mask hides what comes later, in stacks of
    which such kernels were timed.

    stack : constant of the software stack -> value in SI.
    """
    prompt = in_flash(row) and row.phase in ("forward", *PROMPTS) and not row.cross
    return prompt and bool(row.grows) and stack["flash.paged.start"] > 0.0


#: Products of the heads whose sum lies along the head; that of the others along keys or queries.
_ALONG_HEADS = frozenset({Role.SCORES, Role.PROBABILITIES, Role.RELATIVE_POSITIONS})


def along_heads(row: Row) -> bool:
    """Whether a product inside flash attention sums along the head."""
    return row.role in _ALONG_HEADS


def prompt_softmaxes(rows: tuple[Row, ...], attention: str) -> list[tuple[int, int]]:
    """Places of softmaxes inside flash attention of prompts, and of the products before them."""
    pairs, scores = [], -1
    for i, row in enumerate(rows):
        if in_flash(row) and row.role is Role.SCORES and row.part is not RowPart.GRADIENT:
            scores = i
        elif attention == "flash" and row.kind == "softmax" and fusible(row) and scores >= 0:
            pairs.append((i, scores))
    return [(i, r) for i, r in pairs if rows[r].phase == rows[i].phase != "decode"]


def _one_kernel(rows: tuple[Row, ...], launches: list[float]) -> list[float]:
    """Flash attention: the products of one layer and pass share a kernel, the first has it."""
    seen: dict[tuple[Place, str, bool], set[tuple[Role, RowPart]]] = {}
    for i, row in enumerate(rows):
        if in_flash(row):
            held = seen.setdefault((row.place, row.phase, row.cross), set())
            if (row.role, row.part) in held:  # a further pass: tokens of which a window is full
                held.clear()
            # Decoding takes a second one that puts the pieces of the keys together.
            launches[i] = (2.0 if row.phase == "decode" else 1.0) * (not held)
            held.add((row.role, row.part))
    return launches


def transposed(row: Row) -> bool:
    """Whether a product's first operand lies in memory along its rows, not along its sum.

    Gradients of weights sum over tokens, those of keys and values over queries.
    """
    attention = row.in_attention and row.part is RowPart.GRADIENT
    return row.part is RowPart.WEIGHT_GRADIENT or (attention and row.role in (Role.KEY, Role.VALUE))


def appended(rows: tuple[Row, ...]) -> list[tuple[int, Array]]:
    """Rows that put a token's keys and values behind the cache, and the products that read it."""
    pairs = []
    places = [i for i, row in enumerate(rows) if row.role is Role.CACHE_APPEND]
    for append, end in itertools.pairwise([*places, len(rows)]):
        readers = [
            i
            for i in range(append, end)
            if rows[i].matmul and rows[i].b == "cache" and not rows[i].cross
        ]
        pairs.append((append, np.array(readers, dtype=np.intp)))
    return pairs
