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

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from elector.base.table import alike, columns
from elector.operations.rows import CLASSES, PARAMETERS, Operations, stored_share

Array = np.ndarray
#: One number where all have the same.
Setting = np.ndarray | float


#: A side is cut into 1, 2 ... CUTS parts, or into tiles of a size of SIZES. Both lists are the
#: same for every product, so that whatever a longer side may do a shorter one may do as well:
#: a longer side never moves less.
CUTS = 8


def _sizes(every: int, step: float, most: int) -> tuple[int, ...]:
    sizes = list(range(1, every + 1))
    while sizes[-1] < most:
        sizes.append(round(sizes[-1] * step))
    return tuple(sizes)


#: Sizes of tiles: every one to 8, then steps of at most 1.25, beyond the longest side there is
#: (2^20 sequences of 2^20 tokens).
SIZES = np.array(_sizes(8, 1.25, 2**41), dtype=float)
#: Thickness of the slice in which the side that nothing holds on to is streamed: one
#: 64-byte burst of 16-bit elements.
SLICE = 32.0
#: Half of the on-chip memory holds tiles, the other half tensors handed from one operation
#: to the next; at most three are alive at once (input, output, and residual or second operand).
TILE_SHARE = 0.5
LIVE_TENSORS = 3.0
#: Operations worked through at once: some twenty arrays of them fit a second-level cache.
SLAB = 8192
OPERANDS = ("a", "b", "out")
#: Of a plan, what is told of every row.
_BY_ROW = ("read", "written", "weights", "distinct", "fill", "tile_m", "tile_k", "tile_n")
_ACTIVATION = CLASSES.index("activation")


@dataclass(frozen=True, eq=False, repr=False)
class TilingPlan:
    """What Q (pair, memory) combinations move, each (R, Q), for one run of an operation.

    read, written : bytes from and to main memory. weights : those of `read` that are parameters;
    distinct : the same, each parameter once.
    fill : bytes that must arrive before the operation can start.
    tile_m, tile_k, tile_n : the tile chosen, of the products asked for; 0 for all else. Empty where
    none is asked for.
    needed : (Q,) bytes of on-chip memory the smallest tile takes; 0 with memories of their own.

    Where memories are looked at both ways, read, written, weights and tiles have 2 Q columns: those
    with tiles in half of the memories, and behind them those with tiles in all of them.
    """

    read: Array
    written: Array
    weights: Array
    distinct: Array
    fill: Array
    tile_m: Array
    tile_k: Array
    tile_n: Array
    needed: Array


@dataclass(frozen=True, eq=False, repr=False)
class SplitMemories:
    """On-chip memories of a machine that keeps weights apart and zeros compressed.

    weights : (Q,) bytes for parameters; `capacity` is then for everything else.
    masks : (Q,) bits of the memory for masks: an element that is stored compressed needs one.
    """

    weights: Array
    masks: Array


@dataclass(frozen=True, eq=False, repr=False)
class Memories:
    """Q on-chip memories, and how they are used.

    capacity : (Q,) bytes. double_buffer : (Q,) bool, one copy of a tile is filled while the other
    is used; None: looked at both ways. fuse : (Q,) bool, streamed rows touch no memory but for
    outputs that are kept.
    split : memories of their own for weights and masks; None: one memory, no compression.
    """

    capacity: Array
    double_buffer: Array | None
    fuse: Array
    split: SplitMemories | None = None

    @functools.cached_property
    def shares(self) -> tuple[Setting, ...]:
        """Share of a memory that one copy of a tile may take, for each way to look at it."""
        if self.double_buffer is None:
            return TILE_SHARE / 2.0, TILE_SHARE
        return (setting(TILE_SHARE / np.where(self.double_buffer, 2.0, 1.0)),)


def plan(ops: Operations, index: Array, memories: Memories, tiles: Array) -> TilingPlan:
    """Traffic of the pairs `index` (Q,); tiles : rows whose tiles are asked for."""
    split = memories.split
    products = ops.where(matmul=True)
    apart = np.array([split is not None and ops.rows[r].b in PARAMETERS for r in products], bool)
    vectors = np.setdiff1d(np.arange(len(ops.rows)), products)
    one = len(ops.rows), index.size
    ways = len(ops.rows), index.size * len(memories.shares)
    sides = [ways if tiles.size else (0, 0)] * 3
    traffic = TilingPlan(*map(np.zeros, [ways, ways, ways, one, one, *sides, index.shape]))
    told = _BY_ROW if tiles.size else _BY_ROW[:-3]
    for rows, own in ((vectors, False), (products[~apart], False), (products[apart], True)):
        part = _RowsAlike(ops, index, memories, rows, own, tiles)
        first = part.first
        few = np.flatnonzero(first == np.arange(rows.size))
        for place, x in cells(columns(ops.count[rows[few]], index)):
            if rows is vectors:
                _vectors(part, traffic, gathered(few, place), x)
            else:
                _products(part, traffic, gathered(few, place), x)
        for r in np.flatnonzero(first != np.arange(rows.size)):
            for name in told:
                table = getattr(traffic, name)
                table[rows[r]] = table[rows[first[r]]]
    return traffic


def cells(count: Array) -> Iterator[tuple[Array, Array]]:
    """Where (R, X) counts are not 0: rows and columns, each (N,), in slabs.

    count : (R, X).
    """
    there = count > 0
    where, size = np.flatnonzero(there), there.shape[1]
    row = np.repeat(np.arange(there.shape[0]), np.count_nonzero(there, axis=1))
    column = where - row * size
    for start in range(0, where.size, SLAB):
        yield row[start : start + SLAB], column[start : start + SLAB]


def gathered(values: Array, place: Array) -> Array:
    """Flat values at `place`, all of which exist: numpy takes twice as long to make sure.

    place : of any shape, which is that of the result.
    """
    return np.asarray(values.take(place, mode="clip"))


def setting(values: Array) -> Setting:
    """The number itself where all are the same.

    values : (D,) numbers.
    """
    return float(values[0]) if values.size and (values == values[0]).all() else values


def at(values: Setting, place: Array) -> Setting:
    """The values at `place`; one number stays one.

    place : (N,).
    """
    return values if isinstance(values, float) else gathered(values, place)


class _RowsAlike:
    """Rows (P,) that are treated alike, and what all of their cells share.

    apart : second operands have a memory of their own. tiled : 1 where the tile is asked for,
    by row. width, kind : operand -> bytes of an
    element and place of its class, by row. kept : (classes, M) bytes of everything of a class,
    inf where it is never on the chip. share : operand -> (values, M) and place by row.
    """

    def __init__(
        self,
        ops: Operations,
        index: Array,
        memories: Memories,
        rows: Array,
        apart: bool,
        tiles: Array,
    ) -> None:
        self.ops, self.index, self.memories = ops, index, memories
        self.rows, self.apart, self.pairs = rows, apart, ops.count.shape[1]
        self.tiled = setting(np.isin(rows, tiles) + 0.0)
        named = [ops.rows[r] for r in rows]
        self.width = {x: setting(getattr(ops, f"{x}_width")[rows]) for x in OPERANDS}
        self.kind = {
            x: setting(np.array([float(CLASSES.index(getattr(row, x))) for row in named]))
            for x in OPERANDS
        }
        self.streamed = np.array([row.streamed for row in named], dtype=bool)
        self.stays = np.array([row.out == "saved" for row in named], dtype=bool)
        self.rewritten = ops.rewritten[rows]
        self.left = None if ops.left is None else ops.left.reshape(-1)
        self.parameters = setting(np.array([float(row.b in PARAMETERS) for row in named]))
        self.kept = np.full((len(CLASSES), self.pairs), np.inf)
        self.kept[CLASSES.index("saved")] = ops.memory["activations"]
        self.kept[CLASSES.index("reuse")] = ops.in_use
        self.kept[CLASSES.index("cache")] = ops.memory["cache"]
        self.kept[CLASSES.index("none")] = -np.inf

    def place(self, row: Array, x: Array, way: int) -> Array:
        """(N,) places of cells in a flat table of a plan; way : to look at a memory."""
        size = self.index.size
        return row * (len(self.memories.shares) * size) + (way * size + x)

    @property
    def first(self) -> Array:
        """(P,) place of the first row that has the same numbers in every pair."""
        ops = self.ops
        tables = [ops.count > 0, ops.a_bytes, ops.b_bytes, ops.out_bytes]
        tables += [ops.batch, ops.m, ops.k, ops.n] + ([] if ops.left is None else [ops.left])
        of_rows = [self.streamed, self.stays, self.rewritten]
        settings = [self.tiled, self.parameters, *self.width.values(), *self.kind.values()]
        of_rows += [values for values in settings if isinstance(values, np.ndarray)]
        of_rows += [shares.code[self.rows] for shares in ops.densities.values()]
        return alike(self.rows, list(zip(*of_rows, strict=True)), tables)

    def stored(self, operand: str, place: Array, pair: Array) -> Setting:
        """(N,) stored size of an operand over its dense size."""
        shares = self.ops.densities[operand]
        code = shares.code[self.rows]
        if not code.any():
            return 1.0
        density = gathered(shares.values, gathered(code, place) * self.pairs + pair)
        return stored_share(density, at(self.width[operand], place))

    def moved(
        self, operand: str, place: Array, pair: Array, g: Array, size: Array, stored: Setting
    ) -> Array:
        """(N,) bytes of an operand that a run moves: none where it is on the chip, by class.

        g : (N,) places in flat (R, M) tables; size : bytes of the memory that holds it.
        """
        full = gathered(getattr(self.ops, f"{operand}_bytes"), g)
        if not isinstance(stored, float):
            full = full * stored
        kind = self.kind[operand]
        if operand == "out" and self.left is not None:
            code = np.asarray(at(kind, place), dtype=np.intp)
            kept = gathered(self.kept, code * self.pairs + pair)
            subject = np.where((code == _ACTIVATION) | gathered(self.left, g), full, kept)
        elif isinstance(kind, float):
            if kind == _ACTIVATION:
                subject = full
            elif np.isinf(self.kept[int(kind), 0]):
                return full if self.kept[int(kind), 0] > 0 else np.zeros_like(full)
            else:
                subject = gathered(self.kept[int(kind)], pair)
        else:
            code = gathered(kind, place)
            kept = gathered(self.kept, code.astype(np.intp) * self.pairs + pair)
            subject = np.where(code == _ACTIVATION, full, kept)
        return full * (subject > size * ((1.0 - TILE_SHARE) / LIVE_TENSORS))


def _vectors(p: _RowsAlike, plan: TilingPlan, place: Array, x: Array) -> None:
    """Vector work. Streamed rows take their input from their producer, and write what is kept."""
    row, pair = gathered(p.rows, place), gathered(p.index, x)
    size = gathered(p.memories.capacity, x)
    g = row * p.pairs + pair
    a, b, out = (p.moved(name, place, pair, g, size, 1.0) for name in OPERANDS)
    apart = ~(gathered(p.streamed, place) & gathered(p.memories.fuse, x))
    stays = gathered(p.stays, place)
    if p.left is not None:
        stays = stays & ~gathered(p.left, g)
    moved = {"read": a * apart + b, "written": out * (apart | stays)}
    for way in range(len(p.memories.shares)):
        _put(plan, p.place(row, x, way), moved)


def _products(p: _RowsAlike, plan: TilingPlan, place: Array, x: Array) -> None:
    """Products and their tiles."""
    ops, memories, row, pair = p.ops, p.memories, gathered(p.rows, place), gathered(p.index, x)
    g, f = row * p.pairs + pair, row * p.index.size + x
    width = {name: at(p.width[name], place) for name in OPERANDS}
    room, stored = _rooms(p, place, x, width)
    a, b, out = (p.moved(name, place, pair, g, room[name], stored[name]) for name in OPERANDS)
    m, k, n, batch = (gathered(v, g) for v in (ops.m, ops.k, ops.n, ops.batch))
    sums, own = ops.format.accumulator, p.apart and memories.split is not None
    each = width["a"] * stored["a"], width["b"] * stored["b"]
    writes, tiled, parameters = out > 0, at(p.tiled, place), at(p.parameters, place)
    first = np.minimum(m, SLICE) * np.minimum(k, SLICE) * each[0]
    _put(plan, f, {"fill": np.minimum(first, a), "distinct": b * parameters})
    # Streamed work behind a product writes what stays of its result.
    out = out * ~(gathered(p.rewritten, place) & gathered(memories.fuse, x))
    best = None
    for way, shares in enumerate(memories.shares):
        share = at(shares, x)
        limit, second = room["a"] * share, room["b"] * share if own else None
        sought = Sought(m, k, n, *each, sums, limit, a / batch, b / batch, writes, second)
        best = tile_search(sought) if best is None or np.any(tiled) else best.with_more(sought)
        fetched, written = b * best.b_passes, out
        read = a * best.a_passes + fetched
        if (best.sums > 1.0).any():
            partial = sums * (best.sums - 1.0) * m * n * batch * writes
            read, written = read + partial, written + partial
        put = {"read": read, "written": written, "weights": fetched * parameters}
        if np.any(tiled):
            put |= {f"tile_{side}": getattr(best, side) * tiled for side in "mkn"}
        _put(plan, p.place(row, x, way), put)
    if memories.split is None:  # a machine of several memories has limits of its own
        np.maximum.at(plan.needed, x, smallest_tile(m, k, n, *each, sums))


def _put(plan: TilingPlan, f: Array, values: dict[str, Array]) -> None:
    """Puts values of some cells into tables of a plan; f : (N,) their places in these."""
    for name, of_cells in values.items():
        getattr(plan, name).reshape(-1)[f] = of_cells


def _rooms(
    p: _RowsAlike, place: Array, x: Array, width: dict[str, Setting]
) -> tuple[dict[str, Array], dict[str, Setting]]:
    """Operand -> (N,) bytes of the memory that holds it, and stored size over the dense one."""
    whole, split = gathered(p.memories.capacity, x), p.memories.split
    room = {"a": whole, "b": whole, "out": whole}
    stored: dict[str, Setting] = dict.fromkeys(OPERANDS, 1.0)
    if split is None:
        return room, stored
    if p.apart:
        room["b"] = gathered(split.weights, x)
    if p.ops.compressed:
        # Half of the masks speak for weights, half for the rest, so that a larger memory of
        # the one never takes masks from the other.
        elements, pair = gathered(split.masks, x) / 2.0, gathered(p.index, x)
        stored = {name: p.stored(name, place, pair) for name in OPERANDS}
        for name, size in room.items():
            part = stored[name]
            if not isinstance(part, float):
                reach = np.where(part < 1.0, elements * part * width[name], np.inf)
                room[name] = np.minimum(size, reach)
    return room, stored


def smallest_tile(
    m: Array, k: Array, n: Array, a_width: Setting, b_width: Setting, accumulator: float
) -> Array:
    """Bytes of the least tile: one output with a slice of each operand.

    a_width, b_width : bytes of an element of each operand.

    m, k, n : (N,) sizes of products.
    """
    thin = np.minimum(k, SLICE)
    return thin * (a_width + b_width) + accumulator


@dataclass(frozen=True, eq=False, repr=False)
class BestTiles:
    """The best tiles of N products, each (N,): passes over the operands and tile sides.

    cost : bytes that cross. a_passes, b_passes : how often each operand is read. sums : how often
    partial sums cross. m, k, n : sides of a tile.
    """

    cost: Array
    a_passes: Array
    b_passes: Array
    sums: Array
    m: Array
    k: Array
    n: Array

    def with_more(self, sought: Sought) -> BestTiles:
        """The best of the same products with larger memories.

        Sides of tiles are those of before where these move each operand once already.
        """
        more = np.flatnonzero(self.cost > sought.a + sought.b)
        if not more.size:
            return self
        names = ("cost", "a_passes", "b_passes", "sums", "m", "k", "n")
        best, fewer = (
            {name: getattr(self, name).copy() for name in names},
            tile_search(sought.taken(more)),
        )
        for name, values in best.items():
            values[more] = getattr(fewer, name)
        return BestTiles(**best)


class Sought(NamedTuple):
    """N products whose tiles are looked for, all (N,).

    m, k, n : sizes. a_width, b_width, accumulator : bytes of an element. limit : bytes a tile may
    take. a, b : bytes of one pass over the operands in main memory (0: on the chip). out : bool,
    whether partial sums cross to main memory. own : bytes of a memory that holds tiles of the
    second operand alone (`limit` is then for the others), or None.
    """

    m: Array
    k: Array
    n: Array
    a_width: Setting
    b_width: Setting
    accumulator: float
    limit: Array
    a: Array
    b: Array
    out: Array
    own: Array | None = None

    def taken(self, places: Array) -> Sought:
        """Some of the products."""
        return self._replace(**_taken(self, places))


class _Wanted(NamedTuple):
    """What of `Sought` the search needs.

    partial : bytes that move for each partial sum that is not the last.
    """

    m: Array
    k: Array
    n: Array
    a_width: Setting
    b_width: Setting
    accumulator: float
    limit: Array
    a: Array
    b: Array
    own: Array | None
    partial: Array

    def taken(self, places: Array) -> _Wanted:
        """Some of the products."""
        return self._replace(**_taken(self, places))


def _taken(sought: Sought | _Wanted, places: Array) -> dict[str, Any]:
    """The fields of some of the products, of those that differ between them."""
    fields = sought._asdict().items()
    return {name: gathered(x, places) for name, x in fields if isinstance(x, np.ndarray)}


def tile_search(sought: Sought) -> BestTiles:
    """Tiles that move the least, over three stationarities and the cuts of one side.

    Where nothing fits, the least tile is returned.
    """
    m, k, n, a_width, b_width, sums, limit, a, b, out, own = sought
    p = _Wanted(m, k, n, a_width, b_width, sums, limit, a, b, own, 2.0 * sums * m * n * out)
    fits, moved, *first = _output(p, p.m)
    cost, kind = np.where(fits >= 1.0, moved, np.inf), np.full(m.size, _FIRST, dtype=np.intp)
    size = np.zeros(m.size)
    sides = np.empty((len(first), m.size))
    for side, values in zip(sides, first, strict=True):
        side[:] = values
    # Nothing beats one pass over each operand.
    _try_all(p, np.flatnonzero(cost > a + b), cost, kind, size)
    sides[:, np.isinf(cost)] = 1.0
    for i, stationary in enumerate(_STATIONARY):
        places = np.flatnonzero(kind == i)
        if places.size:
            tiles = stationary(p.taken(places), size[places])[2:]
            for side, values in zip(sides, tiles, strict=True):
                side[places] = values
    return BestTiles(cost, *sides)


def _try_all(p: _Wanted, places: Array, cost: Array, kind: Array, size: Array) -> None:
    """Lowers the costs (N,) of products at `places` to the least they can move, in place.

    kind, size : (N,) by what: the place in _STATIONARY (or _FIRST, what stood before), and the
    tile's side along that which this stationarity cuts.
    """
    if not places.size:
        return
    left = p.taken(places)
    families = [_Family(_OUTPUTS, left, places), _Family(_OPERANDS, left, places)]
    step = 0
    while families := [f for f in families if f.places.size]:
        for family in families:
            family.cut(step, cost, kind, size)
        step += 1


@dataclass(eq=False, repr=False)
class _Family:
    """Stationarities that cut the same side, and the products for which they may still be best."""

    kinds: tuple[int, ...]
    p: _Wanted
    places: Array

    @property
    def side(self) -> Array:
        """(N,) the side that is cut."""
        return self.p.k if self.kinds is _OPERANDS else self.p.m

    def tile(self, step: int) -> Array:
        """(N,) the tile's side in the step: balanced cuts, then smaller and smaller sizes."""
        if step < CUTS:
            return np.ceil(self.side / (step + 1.0))
        place = np.searchsorted(SIZES, np.ceil(self.side / CUTS)) - 1 - (step - CUTS)
        return np.where(place >= 0, SIZES[np.maximum(place, 0)], 0.0)

    def cut(self, step: int, cost: Array, kind: Array, size: Array) -> None:
        """Tries one cut, as `_try_all`, and drops the products that finer ones cannot help."""
        best, tile = gathered(cost, self.places), self.tile(step)
        for i in self.kinds:
            if step or i:
                fits, moved, *_ = _STATIONARY[i](self.p, np.maximum(tile, 1.0))
                better = np.flatnonzero((moved < best) & (fits >= 1.0) & (tile > 0.0))
                here = self.places[better]
                best[better] = cost[here] = moved[better]
                kind[here], size[here] = i, tile[better]
        # Finer tiles cost more.
        finer = self.tile(step + 1)
        more = (finer > 0.0) & (best > self._least(np.maximum(finer, 1.0)))
        if 4 * np.count_nonzero(more) < 3 * more.size:
            left = np.flatnonzero(more)
            self.p, self.places = self.p.taken(left), self.places[left]

    def _least(self, tile: Array) -> Array:
        """No tile of this side, or of a smaller one, moves less."""
        p = self.p
        if self.kinds is _OPERANDS:
            more = (np.ceil(p.k / tile) - 1.0) * p.partial
        else:
            more = p.b * (np.ceil(p.m / tile) - 1.0)
        return np.asarray(p.a + p.b + more)


#: Of a candidate: where it is at least 1 it fits; bytes it moves; passes over a and b; passes of
#: partial sums; sides of the tile.
_Candidate = tuple[Array, Array, Setting, Setting, Setting, Array, Array, Array]


def _output(p: _Wanted, tm: Array) -> _Candidate:
    """Output stationary: a tm x tn block of outputs, slices of k."""
    thin = np.minimum(p.k, SLICE)
    tn = _columns(p, tm * thin * p.a_width, tm * p.accumulator, thin * p.b_width)
    held = np.maximum(tn, 1.0)
    a_passes, b_passes = np.ceil(p.n / held), np.ceil(p.m / tm)
    return tn, p.a * a_passes + p.b * b_passes, a_passes, b_passes, 1.0, tm, thin, held


def _weight(p: _Wanted, tk: Array) -> _Candidate:
    """Weight stationary: a tk x tn block of weights, slices of m."""
    thin = np.minimum(p.m, SLICE)
    tn = _columns(p, tk * thin * p.a_width, thin * p.accumulator, tk * p.b_width)
    held, sums = np.maximum(tn, 1.0), np.ceil(p.k / tk)
    passes = np.ceil(p.n / held)
    moved = p.a * passes + p.b + (sums - 1.0) * p.partial
    return tn, moved, passes, 1.0, sums, thin, tk, held


def _input(p: _Wanted, tk: Array) -> _Candidate:
    """Input stationary: a tm x tk block of inputs, slices of n."""
    thin = np.minimum(p.n, SLICE)
    row, second = tk * p.a_width + thin * p.accumulator, tk * thin * p.b_width
    if p.own is None:
        tm = np.minimum(np.floor((p.limit - second) / row), p.m)
    else:
        tm = np.minimum(np.floor(p.limit / row), p.m) * (second <= p.own)
    held, sums = np.maximum(tm, 1.0), np.ceil(p.k / tk)
    passes = np.ceil(p.m / held)
    moved = p.a + p.b * passes + (sums - 1.0) * p.partial
    return tm, moved, 1.0, passes, sums, held, tk, thin


def _columns(p: _Wanted, fixed: Array, out: Array, second: Array) -> Array:
    """Columns of a tile that fit beside `fixed` bytes, each `out` and `second` bytes wide."""
    if p.own is None:
        most = np.floor((p.limit - fixed) / (second + out))
    else:
        most = np.minimum(np.floor((p.limit - fixed) / out), np.floor(p.own / second))
    return np.asarray(np.minimum(most, p.n))


#: Candidates, and which of them cut the same side: outputs rows, operands the contraction.
_STATIONARY = (_output, _weight, _input)
_OUTPUTS, _OPERANDS = (0,), (1, 2)
#: Whole rows of outputs: what is tried first.
_FIRST = -1
