"""Cycles of the folds of a product on one systolic array or on several.

A product (m x k)(k x n) occupies the array as sr x sc with a stream of t:

    dataflow   sr  sc  t       stays in the cells     moves through
    ws         k   n   m       weights                inputs, partial sums
    os         m   n   k       outputs                inputs, weights
    is         k   m   n       inputs                 weights, partial sums

One fold takes 2 r + c + t - 2 cycles (load or drain r, stream t, skew r + c - 2;
Samajdar et al. 2018, SCALE-Sim, arXiv 1811.02883). With `preload: overlap` a cell holds the next
fold's operand as well (Jouppi et al. 2017, TPU): a fold then takes max(t, r), and one load and
one skew remain. The last fold along a side uses only the rows and columns left over.

Small products share the array block-diagonally, in groups of a fixed list of sizes; the best is
taken. Folds are dealt to several arrays, the last of which is done after

    min(S / A + (1 - 1/A) c, ceil(F / A) c)

with S the cycles of all F folds and c those of the largest (Graham 1966 for the first term).
Sums of a fold wait in the accumulators for those of the next. Where these hold fewer rows than the
stream has, it is cut into pieces, and every piece loads the stationary operand anew; all pieces of
a fold run on one array.

Every term grows with every side of the product and with the number of products, and what a
larger product may do a smaller one may do as well: none takes longer than a larger one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from elector.base.table import columns

Array = np.ndarray


def group_sizes(every: int, step: float, most: int) -> tuple[int, ...]:
    """Every number up to `every`, then each `step` times the one before, until `most`."""
    sizes = list(range(1, every + 1))
    while sizes[-1] < most:
        sizes.append(round(sizes[-1] * step))
    return tuple(sizes)


#: Products that an array may hold side by side: the same list for every product.
GROUPS = group_sizes(8, 1.25, 65536)


@dataclass(frozen=True, eq=False, repr=False)
class Cuts:
    """Folds and pieces of products, all (N, D), as in `Sides`."""

    nr: Array
    nc: Array
    pieces: Array


@dataclass(frozen=True, eq=False, repr=False)
class Sides:
    """Products as the array sees them, all (N, D).

    rows, cols, stream : sr, sc and t. batch : independent products; mean : as many, but of one of
    several streams of sequences its share before it is made whole. nr, nc : folds along rows and
    columns; where a side grows with the token index, their mean. grows : (N, D) bool, there, or
    (N, 1). pieces : into which the accumulators cut the stream.
    """

    rows: Array
    cols: Array
    stream: Array
    batch: Array
    mean: Array
    nr: Array
    nc: Array
    grows: Array
    pieces: Array

    @property
    def piece(self) -> Array:
        """(N, D) stream of one piece."""
        return self.stream / self.pieces

    def at(self, products: Array) -> Sides:
        """Some of the products."""
        return Sides(**{name: getattr(self, name)[products] for name in self.__annotations__})

    def each(self, product: Array, design: Array) -> Sides:
        """(1, E) the products at E places."""
        fields = {name: getattr(self, name) for name in self.__annotations__}
        at = {k: x[_at(product, x, 0), _at(design, x, 1)] for k, x in fields.items()}
        return Sides(**{name: x[None] for name, x in at.items()})

    def cuts(self, products: Array, designs: Array) -> Cuts:
        """How some of the products are cut, of some of the designs."""
        return Cuts(*(columns(x[products], designs) for x in (self.nr, self.nc, self.pieces)))


def _at(places: Array, values: Array, axis: int) -> Array:
    """Places along an axis of `values`, which may have one for all."""
    return np.zeros_like(places) if values.shape[axis] == 1 else places


@dataclass(frozen=True, eq=False, repr=False)
class Arrays:
    """D designs: rows and cols of one array, how many there are, and what stays in the cells.

    All (D,). count : arrays. os, inputs : bool, output-stationary, input-stationary. sums : rows of
    sums that the accumulators under the columns hold.
    """

    rows: Array
    cols: Array
    count: Array
    os: Array
    inputs: Array
    sums: Array

    def of(self, designs: Array) -> Arrays:
        """Those of some of the designs."""
        return Arrays(**{name: getattr(self, name)[designs] for name in self.__annotations__})


@dataclass(frozen=True, eq=False, repr=False)
class _Groups:
    """Products that share the array, in groups of one size and perhaps a smaller one.

    all (N, D). many : groups. whole, wide : rows and columns of the largest fold; last, edge : of
    the last one along either side. short : rows of the smaller group, 0 where there is none;
    None: every product on its own.
    """

    many: Array
    whole: Array
    wide: Array
    last: Array
    edge: Array
    short: Array | None

    @property
    def number(self) -> Array:
        """(N, D) groups, the smaller one included."""
        return self.many if self.short is None else self.many + (self.short > 0.0)


def pieces(stream: Array, nr: Array, a: Arrays) -> Array:
    """(N, D) into which a stream is cut: one where no fold adds to the sums of another.

    nr : (N, D) folds along the contraction.
    """
    waits = (nr > 1.0) & ~a.os
    cut = np.maximum(np.ceil(stream / np.maximum(a.sums, 1.0)), 1.0)
    return np.where(waits, cut, 1.0)


def folds(side: Array, size: Array) -> Array:
    """Folds that a side takes on an array of that size.

    side, size : (N, D), or what broadcasts to it.
    """
    return np.ceil(side / size)


def mean_folds(middle: Array, span: Array, size: Array) -> Array:
    """Mean of ceil(x / size) over the span + 1 consecutive integers x around `middle`.

    With F(x) = sum of ceil(i / size) for i = 1 ... x = size q (q + 1) / 2 + (q + 1) rest,
    x = q size + rest, the sum from a to b is F(b) - F(a - 1).
    """

    def total(x: Array) -> Array:
        q = np.floor(x / size)
        return size * q * (q + 1.0) / 2.0 + (q + 1.0) * (x - q * size)

    low = middle - span / 2.0
    return (total(low + span) - total(low - 1.0)) / (span + 1.0)


def overlapped(s: Sides, a: Arrays) -> tuple[Array, ...]:
    """(N, D) cycles of a product, and cycles for which it takes the arrays.

    Load and skew delay a result, but the next product may follow on the array's heels.
    """
    s = _cut(s)

    def of(s: Sides, g: _Groups) -> tuple[Array, ...]:
        taken = _busy(s, a, g, s.piece)
        cycles = _one_array(s, a, g, taken)
        if not (a.count > 1.0).any():
            return cycles, taken
        several = _several(s, a, g)
        # Arrays may be left idle.
        return np.minimum(cycles, several[0]), np.minimum(taken, several[1])

    return _least(s, a, of)


def serial(s: Sides, a: Arrays) -> tuple[Array, ...]:
    """((N, D) cycles of a product whose folds follow one another,)."""
    s = _cut(s)
    return _least(s, a, lambda s, g: (_in_turn(s, a, g),))


def overlapped_bound(s: Sides, a: Arrays) -> tuple[Array, ...]:
    """No more than `overlapped` of the same, in a few steps: what no grouping can be below.

    Groups of as many products as fit have the fewest folds, those of one product the smallest;
    pieces of a stream only load more often.
    """
    g, few = _alone(s, a), _fewest(s, a)
    busy = np.where(few == s.batch, _busy(s, a, g, s.stream), few * s.stream)
    busy = np.maximum(busy, s.batch * g.last)
    cycles = _one_array(s, a, g, busy)
    if not (a.count > 1.0).any():
        return cycles, busy
    stream, taken = _shared(s, a, few, busy, lambda t: np.maximum(t, g.whole))
    last = np.maximum(stream, g.whole)
    several = taken - last + (stream - 2.0) + 2.0 * g.whole + g.wide
    return np.minimum(cycles, several), np.minimum(busy, taken)


def serial_bound(s: Sides, a: Arrays) -> tuple[Array, ...]:
    """(No more than `serial` of the same,), see `overlapped_bound`."""
    g, few = _alone(s, a), _fewest(s, a)
    number = np.where(s.stream > 2.0, few, s.batch) * s.nr * s.nc
    total = number * (s.stream - 2.0) + (2.0 * s.rows * s.nc + s.cols * s.nr) * s.batch
    return (_shared(s, a, few, total, lambda t: t + 2.0 * g.whole + g.wide - 2.0)[1],)


def least_busy(s: Sides, a: Arrays) -> Array:
    """(N, D) cycles of an array that one of the products takes at least, among any others."""
    return np.maximum(s.nr * s.nc * s.stream / np.maximum(_fit(s, a), 1.0), s.rows * s.nc)


def _fewest(s: Sides, a: Arrays) -> Array:
    """(N, D) groups of products, where each holds as many as fit into the array."""
    fit = _fit(s, a)
    return np.where(fit > 1.0, np.ceil(s.batch / np.maximum(fit, 1.0)), s.batch)


def _fit(s: Sides, a: Arrays) -> Array:
    """(N, D) products that an array holds side by side; none of a wide one."""
    # A side of nothing is of a product that a model beside others lacks.
    rows, cols = (np.where(side > 0.0, side, 1.0) for side in (s.rows, s.cols))
    return np.minimum(np.floor(a.rows / rows), np.floor(a.cols / cols))


def _shared(
    s: Sides, a: Arrays, few: Array, total: Array, fold: Callable[[Array], Array]
) -> tuple[Array, Array]:
    """Stream of a piece, and cycles of several arrays, both not more than of any grouping.

    few : (N, D) groups. total : cycles of all folds at least; fold : of one, of its stream.
    """
    folds = np.maximum(few * s.nr * s.nc, 1.0)
    shares = _shares(folds, a)
    stream = np.ceil(s.stream / shares)
    largest = fold(stream)
    dealt = _dealt(total, largest, folds, a.count)
    piece = stream / np.ceil(s.pieces / shares)
    return piece, np.where(shares > 1.0, np.maximum(total / a.count, largest), dealt)


def _cut(s: Sides) -> Sides:
    """The products with a fold for each piece of the stream."""
    return replace(s, batch=np.maximum(s.batch, 1.0) * s.pieces)


def _least(
    s: Sides, a: Arrays, of: Callable[[Sides, _Groups], tuple[Array, ...]]
) -> tuple[Array, ...]:
    """The least of what `of` makes, each (N, D), over all groups that fit into the array."""
    best = of(s, _alone(s, a))
    packed = np.flatnonzero((s.batch > 1.0).any(axis=1))
    if not packed.size:
        return best
    few = s.at(packed)
    fit = _fit(few, a)
    most = min(float(fit.max()), float(few.batch.max()))
    for before, size in pairwise(GROUPS):
        if before >= most:
            break
        # A group of more than there are is a group of all.
        here = np.where(np.minimum(size, few.batch) <= fit, float(size), 1.0)
        # A product on its own is known already: of a mean number of products, as of experts, a
        # group of one would leave a part of one over, and only beside others that are grouped.
        grouped = here > 1.0
        for values, tried in zip(best, of(few, _groups(few, a, here)), strict=True):
            own = values[packed]
            values[packed] = np.where(grouped, np.minimum(own, tried), own)
    return best


def _alone(s: Sides, a: Arrays) -> _Groups:
    """Every product on its own."""
    return _Groups(
        s.batch,
        np.minimum(a.rows, s.rows),
        np.minimum(a.cols, s.cols),
        s.rows - (s.nr - 1.0) * a.rows,
        s.cols - (s.nc - 1.0) * a.cols,
        None,
    )


def _groups(s: Sides, a: Arrays, size: Array) -> _Groups:
    """Groups of `size` (N, D) products, and one of what is left over."""
    batch = np.maximum(s.batch, 1.0)
    large = np.minimum(size, batch)
    many = np.floor(batch / large)
    one = _alone(s, a)
    return _Groups(
        many,
        np.minimum(a.rows, s.rows * large),
        np.minimum(a.cols, s.cols * large),
        one.last * large,
        one.edge * large,
        one.last * (batch - many * large),
    )


def _busy(s: Sides, a: Arrays, g: _Groups, t: Array) -> Array:
    """Cycles of all folds on one array, each of max(t, r)."""
    column = (s.nr - 1.0) * np.maximum(t, a.rows) + np.maximum(t, g.last)
    cycles = g.many * s.nc * column
    if g.short is not None:
        cycles += np.where(g.short > 0.0, np.maximum(t, g.short), 0.0)
    return cycles


def _one_array(s: Sides, a: Arrays, g: _Groups, taken: Array) -> Array:
    """Cycles until the last result of one array, whichever of the last folds has it.

    Folds come column by column. Of the last fold of a row or a column, and of those before it,
    one is the last to finish: a thin fold is done sooner than a thick one that began before.
    """
    t = s.piece
    below, behind = np.maximum(t, g.last), np.maximum(t, g.whole)
    first = np.where(a.os, 0.0, g.whole - behind)
    whole, last = g.whole, g.last
    if a.os.any():
        whole = np.where(a.os, 2.0 * whole - behind, whole)
        last = np.where(a.os, 2.0 * last - below, last)
    rows = np.maximum(last, whole - below)
    column = (s.nr - 1.0) * np.maximum(t, a.rows) + below
    cols = np.maximum(g.edge, np.where(s.nc > 1.0, g.wide - column, 0.0))
    if s.grows.any():  # a mean over sizes has no last fold of its own
        rows, cols = np.where(s.grows, whole, rows), np.where(s.grows, g.wide, cols)
    return taken + first + (t - 2.0) + rows + cols


def _several(s: Sides, a: Arrays, g: _Groups) -> tuple[Array, Array]:
    """Cycles, and cycles taken, of folds dealt to several arrays."""
    d = _deal(s, a, g)
    last = np.maximum(d.stream, g.whole)
    taken = d.done(_busy(s, a, g, d.stream), last, a)
    return taken - last + (d.stream - 2.0) + 2.0 * g.whole + g.wide, taken


@dataclass(frozen=True, eq=False, repr=False)
class _Deal:
    """Folds as they are dealt to arrays, all (N, D): one has all pieces of its stream.

    shares : into which idle arrays cut the stream of a fold. number : of folds, shares counted.
    pieces : into which the accumulators cut a share, each with a stream of `stream`. times : so
    often as in the product as a whole is a piece run.
    """

    shares: Array
    number: Array
    pieces: Array
    stream: Array
    times: Array

    def done(self, total: Array, largest: Array, a: Arrays) -> Array:
        """Cycles until the last array is done; total : of every piece once, largest : of one."""
        return _dealt(self.times * total, self.pieces * largest, self.number, a.count)


def _deal(s: Sides, a: Arrays, g: _Groups) -> _Deal:
    """Idle arrays share the stream of one fold, but for outputs that must meet in one cell.

    The pieces of a stream stay on the array that has the stream: dealt one by one they would
    come out more even where a stream is just too long for the accumulators.
    """
    folds = g.number * s.nr * s.nc / s.pieces
    folds = np.where(folds > 0.0, folds, 1.0)  # of a product that a model beside others lacks
    shares = _shares(folds, a)
    pieces = np.ceil(s.pieces / shares)
    stream = np.ceil(s.stream / shares) / pieces
    return _Deal(shares, shares * folds, pieces, stream, shares * pieces / s.pieces)


def _shares(folds: Array, a: Arrays) -> Array:
    """(N, D) arrays that share the stream of a fold; outputs must meet in one cell."""
    return np.where(a.os, 1.0, np.maximum(np.floor(a.count / folds), 1.0))


def _dealt(total: Array, largest: Array, number: Array, arrays: Array) -> Array:
    """Cycles until the last of several arrays is done with its share."""
    spread = (total - largest) / arrays + largest
    return np.minimum(spread, np.ceil(number / arrays) * largest)


def _in_turn(s: Sides, a: Arrays, g: _Groups) -> Array:
    """Cycles of folds of 2 r + c + t - 2, each done before the next begins."""
    d = _deal(s, a, g)
    number, batch = g.number * s.nr * s.nc, np.maximum(s.batch, 1.0)
    total = number * (d.stream - 2.0) + (2.0 * s.rows * s.nc + s.cols * s.nr) * batch
    return d.done(total, d.stream + 2.0 * g.whole + g.wide - 2.0, a)
