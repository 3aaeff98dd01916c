"""Traffic between main memory and the on-chip memory, shared by the machines.

For a product (m x k) by (k x n) cut into tiles, with Nm, Nk, Nn tiles along each side, the
elements moved are the least over what stays put (Chen et al. 2016, Eyeriss; Kung 1982):

    output stationary:  m k Nn + k n Nm + m n
    weight stationary:  k n + m k Nn + m n (2 Nk - 1)
    input stationary:   m k + k n Nm + m n (2 Nk - 1)

Partial sums move at accumulator width. Candidates depend on the shape only and the second
side of a tile is the largest that fits, so more memory never means more traffic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from elector.operations.rows import CLASSES, PARAMETERS, Operations

Array = np.ndarray



def _cuts(every: int, step: float, most: int) -> tuple[int, ...]:
    found = list(range(1, every + 1))
    while found[-1] < most:
        found.append(round(found[-1] * step))
    return (*found, 2**62)


#: Parts a side is cut into, tried in turn: every count to 8, then steps of at most 1.25, and at
#: last single rows, so that whatever fits is found.
CUTS = _cuts(8, 1.25, 65536)
#: Thickness of the slice in which the side that nothing holds on to is streamed: one
#: 64-byte burst of 16-bit elements.
SLICE = 32.0
#: Half of the on-chip memory holds tiles, the other half tensors handed from one operation
#: to the next; at most three are alive at once (input, output, and residual or second operand).
TILE_SHARE = 0.5
LIVE_TENSORS = 3.0
#: Operations worked through at once: some twenty arrays of them fit a second-level cache.
SLAB = 8192
_PARAMETERS = [CLASSES.index(name) for name in PARAMETERS]


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """What Q (pair, memory) combinations move, each (R, Q), for one run of an operation.

    read, written : bytes from and to main memory. weights : those of `read` that are parameters.
    fill : bytes that must arrive before the operation can start.
    tile_m, tile_k, tile_n : the tile chosen (products only; 0 for vector work).
    needed : (Q,) bytes of on-chip memory the smallest tile takes; 0 with memories of their own.
    """

    read: Array
    written: Array
    weights: Array
    fill: Array
    tile_m: Array
    tile_k: Array
    tile_n: Array
    needed: Array


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """On-chip memories of a machine that keeps weights apart and zeros compressed.

    weights : (Q,) bytes for parameters; `capacity` is then for everything else.
    masks : (Q,) bits of the memory for masks: an element that is stored compressed needs one.
    """

    weights: Array
    masks: Array


def plan(
    ops: Operations, index: Array, capacity: Array, double_buffer: Array, fuse: Array,
    split: Split | None = None,
) -> Plan:
    """Traffic of the pairs `index` (Q,) with on-chip memories of `capacity` (Q,) bytes.

    double_buffer : (Q,) bool, one copy of a tile is filled while the other is used.
    fuse : (Q,) bool, streamed rows touch no memory but for outputs that are kept.
    split : memories of their own for weights and masks; None: one memory, no compression.
    """
    p = _shared(ops, index, capacity, double_buffer, fuse, split)
    products = ops.where(matmul=True)
    apart = np.array([split is not None and ops.rows[r].b in PARAMETERS for r in products], bool)
    vectors = np.setdiff1d(np.arange(len(ops.rows)), products)
    for rows, own in ((vectors, False), (products[~apart], False), (products[apart], True)):
        there = np.flatnonzero(ops.count[rows][:, index])
        for start in range(0, there.size, SLAB):
            cells = there[start:start + SLAB]
            place = cells // index.size
            x, row = cells - place * index.size, rows[place]
            if rows is vectors:
                _vectors(p, row, x)
            else:
                _products(p, row, x, own)
    return p.plan


@dataclass(frozen=True, eq=False, repr=False)
class _Shared:
    """What all cells share; a cell is an operation that a pair has, with one of the memories.

    share : (Q,) of a memory that a tile may take. classes : operand -> (R,).
    kept : (classes, M) bytes of everything of a class, inf where it is never on the chip.
    """

    ops: Operations
    index: Array
    capacity: Array
    share: Array
    fuse: Array
    split: Split | None
    classes: dict[str, Array]
    streamed: Array
    stays: Array
    kept: Array
    plan: Plan


def _shared(
    ops: Operations, index: Array, capacity: Array, double_buffer: Array, fuse: Array,
    split: Split | None,
) -> _Shared:
    kept = np.full((len(CLASSES), ops.count.shape[1]), np.inf)
    kept[CLASSES.index("saved")] = ops.memory["activations"]
    kept[CLASSES.index("reuse")] = ops.parameters * ops.format.weight
    kept[CLASSES.index("cache")] = ops.memory["cache"]
    kept[CLASSES.index("none")] = -np.inf
    shape = (len(ops.rows), index.size)
    sides = np.array([row.matmul for row in ops.rows])[:, None] + np.zeros(shape)
    return _Shared(
        ops, index, capacity, TILE_SHARE / np.where(double_buffer, 2.0, 1.0), fuse, split,
        {x: np.array([CLASSES.index(getattr(row, x)) for row in ops.rows])
         for x in ("a", "b", "out")},
        np.array([row.streamed for row in ops.rows]),
        np.array([row.out == "saved" for row in ops.rows]), kept,
        Plan(np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape), sides,
             sides.copy(), sides.copy(), np.zeros(index.size)),
    )


def _moved(p: _Shared, operand: str, row: Array, g: Array, size: Array, stored: Array) -> Array:
    """(N,) bytes of an operand that a run moves: none where it is on the chip, by its class.

    g : (N,) places in flat (R, M) tables; size : bytes of the memory that holds the operand;
    stored : its size there over that of all elements.
    """
    full = getattr(p.ops, f"{operand}_bytes").take(g) * stored
    kind = p.classes[operand].take(row)
    alive = kind == CLASSES.index("activation")
    subject = full
    if not alive.all():
        pair = g - row * p.kept.shape[1]
        subject = np.where(alive, full, p.kept.take(kind * p.kept.shape[1] + pair))
    return np.where(subject <= size * ((1.0 - TILE_SHARE) / LIVE_TENSORS), 0.0, full)


def _vectors(p: _Shared, row: Array, x: Array) -> None:
    """Vector work. Streamed rows take their input from their producer, and write what is kept."""
    g, size, one = row * p.kept.shape[1] + p.index.take(x), p.capacity.take(x), np.ones(1)
    a, b, out = (_moved(p, name, row, g, size, one) for name in ("a", "b", "out"))
    fused = p.streamed.take(row) & p.fuse.take(x)
    f = row * p.index.size + x
    p.plan.read.reshape(-1)[f] = np.where(fused, 0.0, a) + b
    p.plan.written.reshape(-1)[f] = np.where(fused & ~p.stays.take(row), 0.0, out)


def _products(p: _Shared, row: Array, x: Array, apart: bool) -> None:
    """Products and their tiles; `apart`: second operands have a memory of their own."""
    ops, pair = p.ops, p.index.take(x)
    g, f = row * p.kept.shape[1] + pair, row * p.index.size + x
    whole, share = p.capacity.take(x), p.share.take(x)
    own = p.split.weights.take(x) if apart and p.split is not None else None
    packed = bool(ops.densities) and p.split is not None
    room = {"a": whole, "b": whole if own is None else own, "out": whole}
    stored = {name: _stored(ops, name, row, pair) if packed else np.ones(1) for name in room}
    width = {name: getattr(ops, f"{name}_width").take(row) for name in ("a", "b", "out")}
    if packed and p.split is not None:
        # Half of the masks speak for weights, half for the rest, so that a larger memory of
        # the one never takes masks from the other.
        elements = p.split.masks.take(x) / 2.0
        for name, size in room.items():
            reach = np.where(stored[name] < 1.0, elements * stored[name] * width[name], np.inf)
            room[name] = np.minimum(size, reach)
    a, b, out = (_moved(p, name, row, g, room[name], stored[name]) for name in room)
    m, k, n, batch = (v.take(g) for v in (ops.m, ops.k, ops.n, ops.batch))
    accumulator, writes = ops.format.accumulator, out > 0
    limit = room["a"] * share
    wide = [width[name] * stored[name] for name in ("a", "b")]
    best = tile_search(
        m, k, n, wide[0], wide[1], accumulator, limit, a / batch, b / batch, writes,
        None if own is None else room["b"] * share,
    )
    partial = accumulator * (best.sums - 1.0) * m * n * batch * writes
    fetched = b * best.b_passes
    plan, first = p.plan, np.minimum(m, SLICE) * np.minimum(k, SLICE) * wide[0]
    found = {
        "read": a * best.a_passes + fetched + partial, "written": out + partial,
        "fill": np.minimum(first, a), "tile_m": best.m, "tile_k": best.k, "tile_n": best.n,
    }
    found["weights"] = np.where(np.isin(p.classes["b"], _PARAMETERS).take(row), fetched, 0.0)
    for name, values in found.items():
        getattr(plan, name).reshape(-1)[f] = values
    if p.split is None:  # a machine of several memories has limits of its own
        np.maximum.at(plan.needed, x, smallest_tile(m, k, n, wide[0], wide[1], accumulator))


def _stored(ops: Operations, operand: str, row: Array, pair: Array) -> Array:
    """(N,) stored size of an operand over its dense size (Operations.stored)."""
    shares, bit = ops.densities[operand], 1.0 / (8.0 * getattr(ops, f"{operand}_width"))
    density = shares.values.take(shares.code.take(row) * shares.values.shape[1] + pair)
    return np.asarray(np.minimum(density + bit.take(row), 1.0))


def smallest_tile(
    m: Array, k: Array, n: Array, a_width: Array, b_width: Array, accumulator: float
) -> Array:
    """Bytes of the least tile: one output with a slice of each operand."""
    thin = np.minimum(k, SLICE)
    return thin * (a_width + b_width) + accumulator


@dataclass(frozen=True, eq=False, repr=False)
class Tiles:
    """The best tiles of N products, each (N,): passes over the operands and tile sides."""

    cost: Array
    a_passes: Array
    b_passes: Array
    sums: Array
    m: Array
    k: Array
    n: Array


def tile_search(
    m: Array, k: Array, n: Array, a_width: Array, b_width: Array, accumulator: float,
    limit: Array, a: Array, b: Array, out: Array, own: Array | None = None,
) -> Tiles:
    """Tiles that move the least, over three stationarities and `CUTS` of one side.

    All (N,): sizes, operand widths [byte], `limit` [byte] a tile may take, `a` and `b` the
    bytes of one pass over the operands in main memory (0: on the chip), `out` whether
    partial sums cross to main memory; `own` bytes of a memory that holds tiles of the second
    operand alone (`limit` is then for the others). Where nothing fits, the least tile is
    returned.
    """
    floor, longest = a + b, np.maximum(m, k)
    operands = [m, k, n, a_width, b_width, limit, a, b, out, own]
    left: list[Any] = [None if v is None else np.broadcast_to(v, m.shape) for v in operands]
    state = [np.full(m.size, np.inf)] + [np.ones(m.size) for _ in range(6)]
    todo = np.arange(m.size)
    for cut, next_cut in zip(CUTS, (*CUTS[1:], CUTS[-1]), strict=True):
        for stationary in (_output, _weight, _input):
            found = stationary(cut, accumulator, *left)
            better = np.flatnonzero(found[0] < state[0][todo])
            where = todo[better]
            for target, values in zip(state, found, strict=True):
                target[where] = values[better]
            more = state[0][todo] > floor[todo]  # Nothing beats one pass over each operand.
            if stationary is _input:  # No cut is finer than single rows; more of them cost more.
                more &= longest[todo] > cut
                more &= state[0][todo] > _least(next_cut, accumulator, *left)
            if not more.all():
                todo, left = todo[more], [None if v is None else v[more] for v in left]
            if not todo.size:
                return Tiles(*state)
    return Tiles(*state)


def _least(
    cut: int, cw: float, m: Array, k: Array, n: Array, aw: Array, bw: Array,
    limit: Array, a: Array, b: Array, out: Array, own: Array | None,
) -> Array:
    """No tile of so many cuts, or of more, moves less."""
    outputs = a + b * np.ceil(m / np.ceil(m / cut))
    sums = a + b + 2.0 * cw * (np.ceil(k / np.ceil(k / cut)) - 1.0) * m * n * out
    return np.asarray(np.minimum(outputs, sums))


def _output(
    cut: int, cw: float, m: Array, k: Array, n: Array, aw: Array, bw: Array,
    limit: Array, a: Array, b: Array, out: Array, own: Array | None,
) -> tuple[Array, ...]:
    """Output stationary: an (m / cut) x tn block of outputs, slices of k.

    Cost, passes over a and b, partial-sum passes and tile sides, as all three give them.
    """
    tm, thin, one = np.ceil(m / cut), np.minimum(k, SLICE), np.ones_like(m)
    tn = np.minimum(_most(limit, tm * thin * aw, tm * cw, thin * bw, own), n)
    return _cost(tn, np.ceil(n / np.maximum(tn, 1)), np.ceil(m / tm), one,
                 m, n, cw, a, b, out, tm, thin, tn)


def _weight(
    cut: int, cw: float, m: Array, k: Array, n: Array, aw: Array, bw: Array,
    limit: Array, a: Array, b: Array, out: Array, own: Array | None,
) -> tuple[Array, ...]:
    """Weight stationary: a (k / cut) x tn block of weights, slices of m."""
    tk, thin, one = np.ceil(k / cut), np.minimum(m, SLICE), np.ones_like(m)
    tn = np.minimum(_most(limit, tk * thin * aw, thin * cw, tk * bw, own), n)
    return _cost(tn, np.ceil(n / np.maximum(tn, 1)), one, np.ceil(k / tk),
                 m, n, cw, a, b, out, thin, tk, tn)


def _input(
    cut: int, cw: float, m: Array, k: Array, n: Array, aw: Array, bw: Array,
    limit: Array, a: Array, b: Array, out: Array, own: Array | None,
) -> tuple[Array, ...]:
    """Input stationary: a tm x (k / cut) block of inputs, slices of n."""
    tk, thin, one = np.ceil(k / cut), np.minimum(n, SLICE), np.ones_like(m)
    if own is None:
        tm = np.minimum(np.floor((limit - tk * thin * bw) / (tk * aw + thin * cw)), m)
    else:
        fits = np.minimum(np.floor(limit / (tk * aw + thin * cw)), m)
        tm = np.where(tk * thin * bw <= own, fits, 0.0)
    return _cost(tm, one, np.ceil(m / np.maximum(tm, 1)), np.ceil(k / tk),
                 m, n, cw, a, b, out, tm, tk, thin)


def _most(limit: Array, fixed: Array, out: Array, second: Array, own: Array | None) -> Array:
    """Columns of a tile that fit beside `fixed` bytes, each `out` and `second` bytes wide."""
    if own is None:
        return np.floor((limit - fixed) / (second + out))
    return np.minimum(np.floor((limit - fixed) / out), np.floor(own / second))


def _cost(
    fits: Array, a_passes: Array, b_passes: Array, sums: Array, m: Array, n: Array, cw: float,
    a: Array, b: Array, out: Array, tm: Array, tk: Array, tn: Array,
) -> tuple[Array, ...]:
    moved = a * a_passes + b * b_passes
    if (sums > 1.0).any():
        moved = moved + 2.0 * cw * (sums - 1.0) * m * n * out
    cost = np.where(fits >= 1.0, moved, np.inf)
    return cost, a_passes, b_passes, sums, tm, tk, np.maximum(tn, 1.0)
