"""Loads and computing of an operation: side by side, or in turn.

Where a memory is double buffered, one half of it holds the tile that is worked on and the other
receives the next: an operation then takes max(compute, load), and waits for its first tile, or
at the end for the last to be computed. Where it is not, a tile may take all of it, and the
operation takes compute + load. Double buffering is a permission: where half
the tile costs more traffic than the overlap saves, an operation takes turns all the same.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np

from elector.base.table import columns
from elector.machines.contract import Hold, Stream, Turned

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Loads:
    """Seconds of main memory of R rows over all runs, (R, D) unless said otherwise.

    half, whole : with tiles in half of the memory, and in all of it. weights : those of both that
    bring each parameter once. fill : until the first tile is there. double : (D,) bool, whether
    loads may go on beside computing. near : the same as half and whole of a port that all loads
    pass beside main memory, each piece as soon as it is there; None: no design has one. rate :
    (D,) seconds of that port for a second of main memory.
    """

    half: Array
    whole: Array
    weights: Array
    fill: Array
    double: Array
    near: tuple[Array, Array] | None = None
    rate: Array | float = 0.0

    @functools.cached_property
    def beside(self) -> Array:
        """(R, D) seconds of main memory and port with tiles in half of the memory."""
        return self.half if self.near is None else np.maximum(self.half, self.near[0])

    @functools.cached_property
    def in_turn(self) -> Array:
        """(R, D) the same with tiles in all of it."""
        return self.whole if self.near is None else np.maximum(self.whole, self.near[1])

    @functools.cached_property
    def other(self) -> Array:
        """(R, D) seconds with tiles in half of the memory of all but the parameters."""
        return self.half - self.weights

    @functools.cached_property
    def sooner(self) -> tuple[Array, Array]:
        """Rows and designs, (N,) each, of loads that are shorter with tiles in all of the memory:
        few, and no other gains by turns."""
        row, design = np.divmod(np.flatnonzero(self.in_turn < self.beside), self.double.size)
        return row, design

    @functools.cached_property
    def passing(self) -> tuple[Array, Array, Array]:
        """(R, D) seconds of the port: `near`, and those of both that bring each parameter once."""
        assert self.near is not None
        return *self.near, np.minimum(self.weights * self.rate, np.minimum(*self.near))

    @functools.cached_property
    def _in_rows(self) -> dict[bytes, tuple[Array, Array, Array]]:
        return {}

    def sooner_in(self, rows: Array) -> tuple[Array, Array, Array]:
        """Those of `sooner` in some rows: place among these, design, place in the flat tables."""
        key = rows.tobytes()
        if key not in self._in_rows:
            row, design = self.sooner
            stands = _places(rows, row, self.half.shape[0])
            here = np.flatnonzero(stands >= 0)
            places = row[here] * self.double.size + design[here]
            self._in_rows[key] = stands[here], design[here], places
        return self._in_rows[key]

    def turns(self, compute: Array) -> Array:
        """(R, D) bool, rows in which loads and computing (R, D) [s] take turns."""
        turns = np.zeros(compute.shape, dtype=bool)
        turns[self.pays(compute)] = True
        return turns if self.double.all() else turns | ~self.double

    def pays(self, compute: Array) -> tuple[Array, Array]:
        """Rows and designs, (N,) each, for which memory is busy longer with half the tile than
        loads and computing take in turn: no other sequence can make up for that.

        Where a sequence is alone, a row is sooner done in turn already if that saves the wait for
        its first tile (`LoadsOf.pays`); the bytes are then counted as of side by side.

        compute : (R, D) seconds.
        """
        at = self.sooner
        pays = compute[at] + self.in_turn[at] < self.beside[at]
        return at[0][pays], at[1][pays]

    def memory(self, turns: Array) -> Array:
        """(R, D) seconds that main memory is busy; turns (R, D) : bool."""
        return _of_turns(self.half, self.whole, turns)

    def port(self, turns: Array) -> Array | None:
        """(R, D) seconds that the port is busy; turns (R, D) : bool. None: there is none."""
        return None if self.near is None else _of_turns(*self.near, turns)


def _of_turns(half: Array, whole: Array, turns: Array) -> Array:
    """(R, D) those of `whole` where loads and computing take turns, and of `half` elsewhere."""
    places = np.flatnonzero(turns)
    if not places.size:
        return half
    seconds = half.copy()
    seconds.reshape(-1)[places] = whole.take(places, mode="clip")
    return seconds


@dataclass(frozen=True, eq=False, repr=False)
class LoadsOf:
    """The loads of R rows and D designs among all; rows, designs : their places; None: all."""

    loads: Loads
    rows: Array | None = None
    designs: Array | None = None

    def at(self, rows: Array) -> LoadsOf:
        """Those of some of all rows."""
        return replace(self, rows=rows)

    def some(self, some: Array) -> LoadsOf:
        """Those of some of the designs."""
        return replace(self, designs=some if self.designs is None else self.designs[some])

    @property
    def double(self) -> Array:
        """(D,) bool, as in `Loads`."""
        return self.loads.double if self.designs is None else self.loads.double[self.designs]

    @property
    def places(self) -> Array | slice:
        """Places in the flat tables, (R, D); rows where no design is left out."""
        rows = np.arange(self.loads.half.shape[0]) if self.rows is None else self.rows
        if self.designs is not None:
            return np.asarray((rows * self.loads.double.size)[:, None] + self.designs)
        return slice(None) if self.rows is None else rows

    def taken(self, table: Array, places: Array | slice) -> Array:
        """(R, D) values of a table at `places`."""
        if self.designs is None or isinstance(places, slice):
            return table[places]
        return table.take(places, mode="clip")

    def pays(self, compute: Array, n: Array | None) -> Array:
        """(N,) designs in which a row is sooner done in turn, as often as there are such rows.

        compute : (R, D) seconds of one of n (D,) streams; None: of all in one.
        """
        rows = np.arange(self.loads.half.shape[0]) if self.rows is None else self.rows
        row, design, places = self.loads.sooner_in(rows)
        if self.designs is not None:
            here, design = _every(self.designs, design, self.loads.double.size)
            row, places = row[here], places[here]
        loads = self.loads
        half, whole, weights, fill = (
            x.take(places, mode="clip")
            for x in (loads.half, loads.whole, loads.weights, loads.fill)
        )
        each = None if n is None else n[design]
        half, whole = (_of_one(x, weights, each) for x in (half, whole))
        if loads.near is not None:
            *port, once = (x.take(places, mode="clip") for x in loads.passing)
            half, whole = (
                np.maximum(x, _of_one(y, once, each))
                for x, y in zip((half, whole), port, strict=True)
            )
        own = compute.take(row * compute.shape[1] + design, mode="clip")
        return np.asarray(design[own + whole < _beside(own, half, np.minimum(fill, own))])


def _of_one(loads: Array, once: Array, n: Array | None) -> Array:
    """Seconds that one of n streams waits for loads, of which all wait for those that come once.

    once : seconds of these. n : streams, of each place; None: one.
    """
    return loads if n is None else (loads - once) / n + once


def _beside(compute: Array, loads: Array, first: Array) -> Array:
    """Seconds with loads and computing side by side: computing waits for the first tile, and where
    loads take longer the last tile is computed when all are there.

    Never more than loads and computing in turn, of which the first tile is a part.

    first : seconds of that wait, no more than memory takes for the tile, or `compute`.
    """
    seconds = np.maximum(compute, loads)
    seconds += first
    return seconds


def _places(some: Array | None, places: Array, size: int) -> Array:
    """(N,) where each of the places (N,), of `size`, stands among some of them; -1: nowhere."""
    if some is None:
        return places
    stands = np.full(size, -1, dtype=np.intp)
    stands[some] = np.arange(some.size)
    return stands[places]


def _every(some: Array, places: Array, size: int) -> tuple[Array, Array]:
    """Which of the places (N,), of `size`, stand among some of them, which may repeat, and where:
    each as often as it does."""
    times = np.bincount(some, minlength=size)
    order, start, each = np.argsort(some, kind="stable"), np.cumsum(times) - times, times[places]
    here = np.repeat(np.arange(places.size), each)
    nth = np.arange(here.size) - np.repeat(np.cumsum(each) - each, each)
    return here, order[start[places[here]] + nth]


def stream(
    compute: Array, of: LoadsOf, n: Array | None = None, busy: dict[str, Array] | None = None
) -> Stream:
    """What rows take in one of n (D,) streams that compute for (R, D) seconds; None: in one.

    Streams share the parameters that are fetched, for which all of them wait, as each does for a
    first tile of its own.

    busy : resource -> (R, D) seconds beside computing and loads.
    """
    loads, places = of.loads, of.places
    rest, fill = of.taken(loads.other, places), of.taken(loads.fill, places)
    if n is None:
        every = of.taken(loads.half, places)
    else:
        rest = rest / n
        every = rest + of.taken(loads.weights, places)
    if loads.near is not None:
        port, _, once = (of.taken(x, places) for x in loads.passing)
        part = port - once  # parameters that are there have passed it
        if n is not None:
            part = part / n
        every, rest = np.maximum(every, part + once), np.maximum(rest, part)
    first = np.minimum(fill, compute)
    alone, ahead = _beside(compute, every, first), _beside(compute, rest, first)
    turned, late = _turned(compute, of, n), np.flatnonzero(~of.double)
    if turned is not None and late.size:
        own = turned.seconds[:, np.searchsorted(turned.designs, late)]
        alone[:, late], ahead[:, late] = own, own
    return Stream(alone, ahead, turned, busy or {}, computing=compute)


def _turned(compute: Array, of: LoadsOf, n: Array | None) -> Turned | None:
    """Designs of which a row gains by turns, or must take them.

    A design of which no row gains by it has none, whatever stands beside it: another way to the
    same seconds differs in the last bit.
    """
    gains = ~of.double
    gains[of.pays(compute, n)] = True
    designs = np.flatnonzero(gains)
    if not designs.size:
        return None
    few = of.some(designs)
    places = few.places
    each = None if n is None else n[designs]
    whole, weights = (few.taken(x, places) for x in (of.loads.whole, of.loads.weights))
    whole = _of_one(whole, weights, each)
    if of.loads.near is not None:
        _, port, once = (few.taken(x, places) for x in of.loads.passing)
        whole = np.maximum(whole, _of_one(port, once, each))
    return Turned(designs, columns(compute, designs) + whole)


def of_tiles(table: Array, places: tuple[Array, Array], double: Array, turns: Array) -> Array:
    """(R, D) values for the tiles that each operation takes.

    table : (R, Q). places : (D,) columns of each design with tiles in half of the memory, and in
    all of it. double : (D,) bool, half of it may hold a tile. turns : (R, D) bool.
    """
    half, whole = places
    values = columns(table, np.where(double, half, whole))
    some = np.flatnonzero(turns & double)
    if not some.size:
        return values
    values, (row, design) = np.array(values), np.divmod(some, double.size)
    values.reshape(-1)[some] = table.take(row * table.shape[1] + whole[design], mode="clip")
    return values


def holds(compute: Array, units: Array, loads: Loads, turns: Array) -> tuple[Hold, ...]:
    """What keeps main memory and units busy together; none where nothing takes turns.

    compute : (R, D) seconds of the row alone. units : for which its unit is taken. turns : bool.

    Of a row that takes turns, loads hold up the units and computing holds up main memory. What a
    step then needs is the least, over all ways to take turns or not, of the most of units and
    memory. That is no less than the least of any mixture of both (linear programming duality), of
    which memory alone and half of each are taken: a row adds what is less, in turn or side by side.
    A port beside memory is taken as memory is.
    """
    designs = np.flatnonzero(turns.any(axis=0))
    if not designs.size:
        return ()
    whole, units, compute = (columns(x, designs) for x in (loads.in_turn, units, compute))
    passed = (loads.half,) if loads.near is None else (loads.half, loads.near[0])
    in_turn = np.where(whole > 0.0, compute + whole, units)
    must = ~loads.double[designs] & (in_turn > 0.0)
    mixtures: list[Array] = []
    for half in (columns(x, designs) for x in passed):
        mixtures += (np.where(must, np.inf, mixture) for mixture in (half, 0.5 * (units + half)))
    return (Hold(designs, in_turn, in_turn - whole, tuple(mixtures)),)
