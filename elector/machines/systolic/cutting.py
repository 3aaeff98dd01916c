"""Cycles of products that may be cut: as a whole or in parts, whichever is less.

A product (m x k)(k x n) is p products of m / p rows of inputs each. With few folds these fill an
array side by side, or several arrays, where the whole would leave cells idle: heads that share a
key head are one product of many rows, and at most a little slower than with a key head each.

Only cycles follow the parts. Bytes and accesses are those of the product as a whole: what all
parts share counts as read once and handed to each of them, whichever array it is on, which takes
wires that the area does not have. Where each part read it anew, p times as much of it would pass.

Two kinds of p are tried. Those of a fixed list (`PARTS`), of which each takes no less for a larger
product. And for w = 1 ... 8 the most with which no array has more than w folds,

    os:  p = floor(w A / (B nc)),  rows of a part ceil(m / p),  w max(t, r) cycles taken,
    is:  p = floor(w A / (B nr)),  columns of a part ceil(m / p),  the same,

where A arrays take B products, and a part has nc columns of folds, or nr rows of them, and fits
into an array along the other side; r are the rows of its largest fold. Weights that stay need none
of these: idle arrays share the stream of a fold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from elector.machines.systolic import folds
from elector.machines.systolic.folds import Array, Arrays, Sides, group_sizes, pieces

#: Parts into which the rows of inputs of a product may be cut: the same list for every product.
PARTS = group_sizes(16, 1.125, 65536)
_NUMBERS = np.array(PARTS[1:], dtype=float)
#: Most folds of each array, where these are counted exactly.
_WAVES = np.arange(1.0, 9.0)[:, None]
#: Folds for each place in the arrays, or cycles for each of the skew, up to which products are cut:
#: with more of them a cut could gain a sixteenth of the cycles at most.
_FEW = 16.0
#: Folds along a side up to which their edges are laid side by side.
_EDGES = 4.0
#: A cut that gains less than the digits of a number hold is none.
_SOONER = 1.0 - 64.0 * np.finfo(float).eps
#: Products that are cut at once: their parts lie in memory together.
_AT_ONCE = 2048

#: What (N, D) products take, one or several results.
_Of = Callable[[Sides, Arrays], tuple[Array, ...]]
#: The same of so many waves of parts, (8, E); of the rows and columns of the largest.
_OfWaves = Callable[[Sides, Array, Array], tuple[Array, ...]]


@dataclass(frozen=True)
class _Way:
    """How folds follow one another: what products take, at least take, and take in waves."""

    of: _Of
    bound: _Of
    waves: _OfWaves


def overlapped(s: Sides, a: Arrays) -> tuple[Array, Array]:
    """(N, D) cycles of products, and cycles for which they take the arrays; see `folds.overlapped`.

    s : the products. a : of D designs.
    """

    def waves(s: Sides, rows: Array, cols: Array) -> tuple[Array, ...]:
        stream = s.piece
        longest = np.maximum(stream, rows)
        taken = _WAVES * s.pieces * longest
        return taken - longest + stream - 2.0 + 2.0 * rows + cols, taken

    cycles, taken = _least(s, a, _Way(folds.overlapped, folds.overlapped_bound, waves))
    return cycles, taken


def serial(s: Sides, a: Arrays) -> Array:
    """(N, D) cycles of products whose folds follow one another.

    s : the products. a : of D designs.
    """

    def waves(s: Sides, rows: Array, cols: Array) -> tuple[Array, ...]:
        return (_WAVES * s.pieces * (s.piece + 2.0 * rows + cols - 2.0),)

    (cycles,) = _least(s, a, _Way(folds.serial, folds.serial_bound, waves))
    return cycles


def _least(s: Sides, a: Arrays, way: _Way) -> tuple[Array, ...]:
    """The least of what a way makes, each (N, D), over the numbers of parts of a product."""
    best = way.of(s, a)
    product, design = np.nonzero(_few(s, a))
    for begin in range(0, product.size, _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        at = product[part], design[part]
        few, arrays = s.each(*at), a.of(at[1])
        exact = _in_waves(few, arrays, way.waves)
        known = [np.minimum(values[at], e) for values, e in zip(best, exact, strict=True)]
        for values, least in zip(best, _listed(few, arrays, way, known), strict=True):
            values[at] = least
    return best


def _listed(s: Sides, a: Arrays, way: _Way, known: list[Array]) -> list[Array]:
    """(E,) the least of what is known and (1, E) products in the listed numbers of parts."""
    each, number = _tried(s, a, known[0])
    parts = _parts(s.each(np.zeros_like(each), each), a.of(each), number)
    pairs = zip(way.bound(parts, a.of(each)), known, strict=True)
    sooner = np.logical_or.reduce([bound[0] < _SOONER * least[each] for bound, least in pairs])
    (place,) = np.nonzero(sooner)
    if place.size:
        each = each[place]
        first = np.flatnonzero(np.diff(each, prepend=-1))
        parts = parts.each(np.zeros_like(place), place)
        for least, values in zip(known, way.of(parts, a.of(each)), strict=True):
            at = each[first]
            least[at] = np.minimum(least[at], np.minimum.reduceat(values[0], first))
    return known


def _tried(s: Sides, a: Arrays, known: Array) -> tuple[Array, Array]:
    """Products (1, E) and the listed numbers of parts, (K,) each, that may be below what is known.

    A product of fewer rows has a part for each of them at most, and so many parts take so many
    times what the smallest does.
    """
    tokens = np.ceil(_tokens(s, a)[0])
    smallest = (s.mean * folds.least_busy(_parts(s, a, tokens), a))[0]
    # A product that a model beside others lacks takes nothing, and is not cut.
    limit = known * a.count / np.where(smallest > 0.0, smallest, np.inf)
    reach = np.where(tokens <= limit, np.inf, limit)
    count = np.searchsorted(_NUMBERS, reach, "right")
    count = np.minimum(count, np.searchsorted(_NUMBERS, tokens) + 1)
    each = np.repeat(np.arange(count.size), count)
    place = np.arange(each.size) - np.repeat(np.cumsum(count) - count, count)
    return each, np.minimum(_NUMBERS[place], tokens[each])


def _parts(s: Sides, a: Arrays, number: Array) -> Sides:
    """The products as so many each, with a part of the rows of inputs."""
    rows = np.where(a.os, np.ceil(s.rows / number), s.rows)
    cols = np.where(a.inputs, np.ceil(s.cols / number), s.cols)
    stream = np.where(a.os | a.inputs, s.stream, np.ceil(s.stream / number))
    nr = np.where(a.os, folds.folds(rows, a.rows), s.nr)
    nc = np.where(a.inputs, folds.folds(cols, a.cols), s.nc)
    cut = pieces(stream, nr, a)
    return Sides(rows, cols, stream, _beside(s, number), s.mean * number, nr, nc, s.grows, cut)


def _beside(s: Sides, number: Array) -> Array:
    """(N, D) parts beside one another: a stream has its mean share of them, made whole."""
    many = s.mean * number
    return np.where(s.mean == s.batch, many, np.ceil(many))


def _in_waves(s: Sides, a: Arrays, of: _OfWaves) -> list[Array]:
    """(E,) the least of what `of` makes where so many waves of parts are dealt to the arrays."""
    beside, along = (np.where(x > 0.0, x, 1.0) for x in (s.mean, np.where(a.os, s.nc, s.nr)))
    most = _WAVES * a.count / along
    # Of a stream's mean share no more than whole parts: as they are listed.
    number = np.floor(np.where(s.mean == s.batch, most, np.floor(most)) / beside)
    tokens = np.ceil(_tokens(s, a) / np.maximum(number, 1.0))
    rows = np.where(a.os, tokens, np.minimum(s.rows, a.rows))
    cols = np.where(a.inputs, tokens, np.minimum(s.cols, a.cols))
    fits = (number > 0.0) & (a.os | a.inputs) & (rows <= a.rows) & (cols <= a.cols)
    return [np.where(fits, values, np.inf).min(axis=0) for values in of(s, rows, cols)]


def _tokens(s: Sides, a: Arrays) -> Array:
    """(N, D) rows of the inputs of a product."""
    return np.where(a.os, s.rows, np.where(a.inputs, s.cols, s.stream))


def _few(s: Sides, a: Arrays) -> Array:
    """(N, D) bool, products that may be faster in parts.

    Those of so few folds that places in the arrays may be idle, or that the skew of a wide fold is
    not lost in the cycles of all (is); and those with an edge that leaves room for that of others.
    """
    rows, cols = (np.where(side > 0.0, side, 1.0) for side in (s.rows, s.cols))
    beside, below = np.floor(a.rows / rows), np.floor(a.cols / cols)
    places = np.maximum(np.minimum(beside, below), 1.0)
    number = s.batch * s.nr * s.nc
    busy = number * np.maximum(s.stream, np.minimum(s.rows, a.rows))
    skew = a.inputs & (busy <= _FEW * a.count * a.cols)
    edge = a.inputs & (beside > 1.0) & (s.nc <= _EDGES)
    edge |= a.os & (below > 1.0) & (s.nr <= _EDGES)
    few = (edge & (s.batch > 1.0)) | skew | (number <= _FEW * a.count * places)
    return few & (_tokens(s, a) > 1.0)
