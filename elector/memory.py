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


@dataclass(frozen=True, eq=False, repr=False)
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
    room = _rooms(ops, index, capacity, split)
    share = 1.0 - TILE_SHARE
    tiles = {name: size * TILE_SHARE / np.where(double_buffer, 2.0, 1.0)
             for name, size in room.items()}
    moved = {}
    for name, size in room.items():
        full = getattr(ops, f"{name}_bytes")[:, index]
        if split is not None and ops.densities:
            full = full * ops.stored(name)[:, index]
        resident = _resident(ops, name, index, full, size * share / LIVE_TENSORS)
        moved[name] = np.where(resident, 0.0, full)
    a, b, out = moved["a"], moved["b"], moved["out"]
    _stream(ops, a, out, fuse)
    zero = np.zeros_like(a)
    result = Plan(
        a + b, out, zero, zero.copy(), zero.copy(), zero.copy(), zero.copy(),
        np.ones(index.size, bool), np.zeros(index.size),
    )
    rows = ops.where(matmul=True)
    if not rows.size:
        return result
    if split is None:
        return _products(ops, index, rows, tiles["a"], None, (a, b, out), result)
    apart = np.array([ops.rows[r].b in PARAMETERS for r in rows])
    for part, own in ((rows[~apart], None), (rows[apart], tiles["b"])):
        if part.size:
            result = _products(ops, index, part, tiles["a"], own, (a, b, out), result, True)
    return result


def _rooms(
    ops: Operations, index: Array, capacity: Array, split: Split | None
) -> dict[str, Array]:
    """Operand -> (R, Q) bytes of the memory it lives in, as far as masks reach."""
    shape = (len(ops.rows), index.size)
    if split is None:
        return dict.fromkeys(("a", "b", "out"), np.broadcast_to(capacity, shape))
    apart = np.array([row.b in PARAMETERS for row in ops.rows])[:, None]
    room = {
        "a": np.broadcast_to(capacity, shape),
        "b": np.where(apart, split.weights, capacity),
        "out": np.broadcast_to(capacity, shape),
    }
    if not ops.densities:
        return room
    for name, size in room.items():
        # Half of the masks speak for weights, half for the rest, so that a larger memory of
        # the one never takes masks from the other.
        stored = ops.stored(name)[:, index]
        width = getattr(ops, f"{name}_width")[:, None]
        elements = split.masks / 2.0
        room[name] = np.where(stored < 1.0, np.minimum(size, elements * stored * width), size)
    return room


def _resident(
    ops: Operations, operand: str, index: Array, full: Array, reserve: Array
) -> Array:
    """(R, Q) whether an operand of `full` bytes is on the chip already, by its class."""
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
            found[rows] = full[rows] <= reserve[rows]
        elif name in kept:
            found[rows] = kept[name][index] <= reserve[rows]
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
    ops: Operations, index: Array, rows: Array, tiles: Array, own: Array | None,
    moved: tuple[Array, Array, Array], base: Plan, compressed: bool = False,
) -> Plan:
    """Tiles of the products `rows`; `own` (R, Q) bytes of a memory for second operands alone."""
    a, b, out = (x[rows] for x in moved)
    shape = a.shape
    # A size is 0 only where a pair lacks the operation, which then moves nothing.
    m, k, n = (np.maximum(x[rows][:, index], 1.0).ravel() for x in (ops.m, ops.k, ops.n))
    batch = np.maximum(ops.batch[rows][:, index], 1.0)
    widths = [np.broadcast_to(w[rows][:, None], shape).ravel()
              for w in (ops.a_width, ops.b_width)]
    if compressed and ops.densities:
        widths = [width * ops.stored(name)[rows][:, index].ravel()
                  for width, name in zip(widths, ("a", "b"), strict=True)]
    accumulator = ops.format.accumulator
    tiles = tiles[rows]
    limit = tiles.ravel()
    best = tile_search(
        m, k, n, widths[0], widths[1], accumulator, limit,
        (a / batch).ravel(), (b / batch).ravel(), (out > 0).ravel(),
        None if own is None else own[rows].ravel(),
    )
    partial = (accumulator * (best.sums - 1.0) * m * n).reshape(shape) * batch * (out > 0)
    base.read[rows] = a * best.a_passes.reshape(shape) + b * best.b_passes.reshape(shape) + partial
    base.written[rows] = out + partial
    parameters = np.array([ops.rows[r].b in PARAMETERS for r in rows])[:, None]
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
        base.feasible & (needed <= tiles).all(axis=0), np.maximum(base.needed, needed),
    )


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
    size = m.size
    state = [np.full(size, np.inf)] + [np.ones(size) for _ in range(6)]
    todo = np.arange(size)
    for cut in CUTS:
        args = (m[todo], k[todo], n[todo], a_width[todo], b_width[todo], accumulator,
                limit[todo], a[todo], b[todo], out[todo],
                None if own is None else own[todo])
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
    limit: Array, a: Array, b: Array, out: Array, own: Array | None,
) -> list[tuple[Array, ...]]:
    """Cost, passes over a and b, partial-sum passes and tile sides for each stationarity."""
    one = np.ones_like(m)
    found = []
    # output stationary: an (m / cut) x tn block of outputs, slices of k
    tm, thin = np.ceil(m / cut), np.minimum(k, SLICE)
    tn = np.minimum(_most(limit, tm * thin * aw, tm * cw, thin * bw, own), n)
    found.append(_cost(tn, np.ceil(n / np.maximum(tn, 1)), np.ceil(m / tm), one,
                       m, n, cw, a, b, out, tm, thin, tn))
    # weight stationary: a (k / cut) x tn block of weights, slices of m
    tk, thin = np.ceil(k / cut), np.minimum(m, SLICE)
    tn = np.minimum(_most(limit, tk * thin * aw, thin * cw, tk * bw, own), n)
    found.append(_cost(tn, np.ceil(n / np.maximum(tn, 1)), one, np.ceil(k / tk),
                       m, n, cw, a, b, out, thin, tk, tn))
    # input stationary: a tm x (k / cut) block of inputs, slices of n
    thin = np.minimum(n, SLICE)
    if own is None:
        tm = np.minimum(np.floor((limit - tk * thin * bw) / (tk * aw + thin * cw)), m)
    else:
        fits = np.minimum(np.floor(limit / (tk * aw + thin * cw)), m)
        tm = np.where(tk * thin * bw <= own, fits, 0.0)
    found.append(_cost(tm, one, np.ceil(m / np.maximum(tm, 1)), np.ceil(k / tk),
                       m, n, cw, a, b, out, tm, tk, thin))
    return found


def _most(limit: Array, fixed: Array, out: Array, second: Array, own: Array | None) -> Array:
    """Columns of a tile that fit beside `fixed` bytes, each `out` and `second` bytes wide."""
    if own is None:
        return np.floor((limit - fixed) / (second + out))
    return np.minimum(np.floor((limit - fixed) / out), np.floor(own / second))


def _cost(
    fits: Array, a_passes: Array, b_passes: Array, sums: Array, m: Array, n: Array, cw: float,
    a: Array, b: Array, out: Array, tm: Array, tk: Array, tn: Array,
) -> tuple[Array, ...]:
    moved = a * a_passes + b * b_passes + 2.0 * cw * (sums - 1.0) * m * n * out
    cost = np.where(fits >= 1.0, moved, np.inf)
    return cost, a_passes, b_passes, sums, tm, tk, np.maximum(tn, 1.0)
