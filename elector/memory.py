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

import numpy as np

from elector.operations.rows import CLASSES, Operations

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


@dataclass(frozen=True)
class Plan:
    """What Q (pair, memory) combinations move, each (R, Q), for one run of an operation.

    read, written : bytes from and to main memory. weights : those of `read` that are parameters.
    fill : bytes that must arrive before the operation can start.
    tile_m, tile_k, tile_n : the tile chosen (products only; 0 for vector work).
    feasible : (Q,) whether a tile of every product fits.
    needed : (Q,) bytes of on-chip memory the smallest tile takes.
    """

    read: Array
    written: Array
    weights: Array
    fill: Array
    tile_m: Array
    tile_k: Array
    tile_n: Array
    feasible: Array
    needed: Array


def plan(
    ops: Operations, index: Array, capacity: Array, double_buffer: Array, fuse: Array
) -> Plan:
    """Traffic of the pairs `index` (Q,) with on-chip memories of `capacity` (Q,) bytes.

    double_buffer : (Q,) bool, one copy of a tile is filled while the other is used.
    fuse : (Q,) bool, streamed rows touch no memory but for outputs that are kept.
    """
    reserve = capacity * (1.0 - TILE_SHARE) / LIVE_TENSORS
    tiles = capacity * TILE_SHARE / np.where(double_buffer, 2.0, 1.0)
    a = np.where(_resident(ops, "a", index, reserve), 0.0, ops.a_bytes[:, index])
    b = np.where(_resident(ops, "b", index, reserve), 0.0, ops.b_bytes[:, index])
    out = np.where(_resident(ops, "out", index, reserve), 0.0, ops.out_bytes[:, index])
    _stream(ops, a, out, fuse)
    zero = np.zeros_like(a)
    result = Plan(
        a + b, out, zero, zero.copy(), zero.copy(), zero.copy(), zero.copy(),
        np.ones(index.size, bool), np.zeros(index.size),
    )
    rows = ops.where(matmul=True)
    return _products(ops, index, rows, tiles, (a, b, out), result) if rows.size else result


def _resident(ops: Operations, operand: str, index: Array, reserve: Array) -> Array:
    """(R, Q) whether an operand is on the chip already, by its class."""
    kept = {
        "saved": ops.memory["activations"],
        "reuse": ops.parameters * ops.format.weight,
        "cache": ops.memory["cache"],
    }
    found = np.zeros((len(ops.rows), index.size), bool)
    classes = np.array([CLASSES.index(getattr(row, operand)) for row in ops.rows])
    for code in sorted(set(classes.tolist())):
        name, rows = CLASSES[code], np.nonzero(classes == code)[0]
        if name == "activation":
            found[rows] = getattr(ops, f"{operand}_bytes")[rows][:, index] <= reserve
        elif name in kept:
            found[rows] = kept[name][index] <= reserve
        elif name == "none":
            found[rows] = True
    return found


def _stream(ops: Operations, a: Array, out: Array, fuse: Array) -> None:
    """Streamed rows take their input from their producer, and write only what is kept."""
    for r, row in enumerate(ops.rows):
        if row.streamed:
            a[r] = np.where(fuse, 0.0, a[r])
            if row.out != "saved":
                out[r] = np.where(fuse, 0.0, out[r])


def _products(
    ops: Operations, index: Array, rows: Array, tiles: Array,
    moved: tuple[Array, Array, Array], base: Plan,
) -> Plan:
    a, b, out = (x[rows] for x in moved)
    shape = a.shape
    m, k, n = (x[rows][:, index].ravel() for x in (ops.m, ops.k, ops.n))
    batch = np.maximum(ops.batch[rows][:, index], 1.0)
    widths = [np.broadcast_to(w[rows][:, None], shape).ravel()
              for w in (ops.a_width, ops.b_width)]
    accumulator = ops.format.accumulator
    limit = np.broadcast_to(tiles, shape).ravel()
    best = tile_search(
        m, k, n, widths[0], widths[1], accumulator, limit,
        (a / batch).ravel(), (b / batch).ravel(), (out > 0).ravel(),
    )
    partial = (accumulator * (best.sums - 1.0) * m * n).reshape(shape) * batch * (out > 0)
    base.read[rows] = a * best.a_passes.reshape(shape) + b * best.b_passes.reshape(shape) + partial
    base.written[rows] = out + partial
    parameters = np.array([ops.rows[r].b in ("weight", "reuse") for r in rows])[:, None]
    base.weights[rows] = np.where(parameters, b * best.b_passes.reshape(shape), 0.0)
    first = np.minimum(m, SLICE) * np.minimum(k, SLICE) * widths[0]
    base.fill[rows] = np.minimum(first.reshape(shape), a)
    for target, tile in ((base.tile_m, best.m), (base.tile_k, best.k), (base.tile_n, best.n)):
        target[rows] = tile.reshape(shape)
    used = ops.count[rows][:, index] > 0
    needed = smallest_tile(m, k, n, widths[0], widths[1], accumulator).reshape(shape)
    needed = np.where(used, needed, 0.0).max(axis=0)
    return Plan(
        base.read, base.written, base.weights, base.fill, base.tile_m, base.tile_k, base.tile_n,
        needed <= tiles, needed,
    )


def smallest_tile(
    m: Array, k: Array, n: Array, a_width: Array, b_width: Array, accumulator: float
) -> Array:
    """Bytes of the least tile: one output with a slice of each operand."""
    thin = np.minimum(k, SLICE)
    return thin * (a_width + b_width) + accumulator


@dataclass(frozen=True)
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
    limit: Array, a: Array, b: Array, out: Array,
) -> Tiles:
    """Tiles that move the least, over three stationarities and `CUTS` of one side.

    All (N,): sizes, operand widths [byte], `limit` [byte] a tile may take, `a` and `b` the
    bytes of one pass over the operands in main memory (0: on the chip), `out` whether
    partial sums cross to main memory. Where nothing fits, the least tile is returned.
    """
    floor, longest = a + b, np.maximum(m, k)
    size = m.size
    state = [np.full(size, np.inf)] + [np.ones(size) for _ in range(6)]
    todo = np.arange(size)
    for cut in CUTS:
        args = (m[todo], k[todo], n[todo], a_width[todo], b_width[todo], accumulator,
                limit[todo], a[todo], b[todo], out[todo])
        for candidate in _candidates(cut, *args):
            better = candidate[0] < state[0][todo]
            where = todo[better]
            for target, values in zip(state, candidate, strict=True):
                target[where] = values[better]
        # Nothing beats one pass over each operand, and no cut is finer than single rows.
        todo = todo[(state[0][todo] > floor[todo]) & (longest[todo] > cut)]
        if not todo.size:
            break
    return Tiles(*state)


def _candidates(
    cut: int, m: Array, k: Array, n: Array, aw: Array, bw: Array, cw: float,
    limit: Array, a: Array, b: Array, out: Array,
) -> list[tuple[Array, ...]]:
    """Cost, passes over a and b, partial-sum passes and tile sides for each stationarity."""
    one = np.ones_like(m)
    found = []
    # output stationary: an (m / cut) x tn block of outputs, slices of k
    tm, thin = np.ceil(m / cut), np.minimum(k, SLICE)
    tn = np.minimum(np.floor((limit - tm * thin * aw) / (thin * bw + tm * cw)), n)
    found.append(_cost(tn, np.ceil(n / np.maximum(tn, 1)), np.ceil(m / tm), one,
                       m, n, cw, a, b, out, tm, thin, tn))
    # weight stationary: a (k / cut) x tn block of weights, slices of m
    tk, thin = np.ceil(k / cut), np.minimum(m, SLICE)
    tn = np.minimum(np.floor((limit - tk * thin * aw) / (tk * bw + thin * cw)), n)
    found.append(_cost(tn, np.ceil(n / np.maximum(tn, 1)), one, np.ceil(k / tk),
                       m, n, cw, a, b, out, thin, tk, tn))
    # input stationary: a tm x (k / cut) block of inputs, slices of n
    thin = np.minimum(n, SLICE)
    tm = np.minimum(np.floor((limit - tk * thin * bw) / (tk * aw + thin * cw)), m)
    found.append(_cost(tm, one, np.ceil(m / np.maximum(tm, 1)), np.ceil(k / tk),
                       m, n, cw, a, b, out, tm, tk, thin))
    return found


def _cost(
    fits: Array, a_passes: Array, b_passes: Array, sums: Array, m: Array, n: Array, cw: float,
    a: Array, b: Array, out: Array, tm: Array, tk: Array, tn: Array,
) -> tuple[Array, ...]:
    moved = a * a_passes + b * b_passes + 2.0 * cw * (sums - 1.0) * m * n * out
    cost = np.where(fits >= 1.0, moved, np.inf)
    return cost, a_passes, b_passes, sums, tm, tk, np.maximum(tn, 1.0)
