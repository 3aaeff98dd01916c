"""Loads and computing of an operation: side by side, or in turn.

Where a memory is double buffered, one half of it holds the tile that is worked on and the other
receives the next: an operation then takes max(compute, load). Where it is not, a tile may take
all of it, and the operation takes compute + load. Double buffering is a permission: where half
the tile costs more traffic than the overlap saves, an operation takes turns all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from elector.machines.contract import Stream

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Loads:
    """Seconds of main memory of R rows over all runs, (R, D) unless said otherwise.

    half, whole : with tiles in half of the memory, and in all of it. half_weights, whole_weights :
    those that bring each parameter once. fill : until the first tile is there. double : (D,)
    bool, whether loads may go on beside computing. designs : (D,) which of the columns are the
    designs'; None: all of them.
    """

    half: Array
    whole: Array
    half_weights: Array
    whole_weights: Array
    fill: Array
    double: Array
    designs: Array | None = None

    def at(self, rows: Array) -> Loads:
        """Those of some rows."""
        places: Array | None = None
        if self.designs is not None:
            places = (rows * self.half.shape[1])[:, None] + self.designs

        def of(values: Array) -> Array:
            return values[rows] if places is None else values.take(places, mode="clip")

        return Loads(
            of(self.half),
            of(self.whole),
            of(self.half_weights),
            of(self.whole_weights),
            of(self.fill),
            self.double,
        )

    @property
    def other(self) -> Array:
        """(R, D) seconds with tiles in half of the memory of all but the parameters."""
        return self.half - self.half_weights

    def some(self, some: Array) -> Loads:
        """Those of some of the designs, of which rows are asked for by `at`."""
        designs = some if self.designs is None else self.designs[some]
        return replace(self, double=self.double[some], designs=designs)

    def turns(self, compute: Array) -> Array:
        """(R, D) bool, rows in which loads and computing (R, D) [s] take turns."""
        pays = self.pays(compute)
        return pays if self.double.all() else ~self.double | pays

    def pays(self, compute: Array) -> Array:
        """(R, D) bool, rows that are sooner done in turn than side by side with half the tile."""
        return compute + self.whole < self.half

    @property
    def plain(self) -> Array:
        """(D,) 0 where tiles take half of the memory, 1 where all of it, if no row chooses."""
        return np.where(self.double, 0, 1)


def stream(
    compute: Array, loads: Loads, n: Array | None = None, busy: dict[str, Array] | None = None
) -> Stream:
    """What rows take in one of n (D,) streams that compute for (R, D) seconds; None: in one.

    Streams share the parameters that are fetched, for which all of them wait, as each does for a
    first tile of its own.

    busy : resource -> (R, D) seconds beside computing and loads.
    """
    rest, first = loads.other, loads.half
    if n is not None:
        rest /= n
        first = rest + loads.half_weights
    alone, ahead = np.maximum(compute, first), np.maximum(compute, rest, out=rest)
    alone += loads.fill
    ahead += loads.fill
    double = bool(loads.double.all())
    pays = loads.pays(compute)
    if double and not pays.any():
        return Stream(alone, ahead, None, busy or {})
    whole = loads.whole
    if n is not None:
        whole = (whole - loads.whole_weights) / n + loads.whole_weights
    turned = compute + whole
    if not double:
        alone, ahead = (np.where(loads.double, x, turned) for x in (alone, ahead))
    # A design of which no row gains by it has none, whatever stands beside it: another way to the
    # same seconds differs in the last bit.
    gains = pays.any(axis=0) | ~loads.double
    return Stream(alone, ahead, np.where(gains, turned, np.inf), busy or {})


def holds(compute: Array, units: Array, loads: Loads, turns: Array) -> tuple[Array, ...]:
    """(R, D) seconds in which no load and no compute may go on beside, each a bound of its own.

    compute : of the row alone. units : for which its unit is taken. turns : bool.

    Of a row that takes turns, loads hold up the units and computing holds up main memory. What a
    step then needs is the least, over all ways to take turns or not, of the most of units and
    memory. That is no less than the least of any mixture of both (linear programming duality), of
    which memory alone and half of each are taken.
    """
    designs = turns.any(axis=0)
    if not designs.any():
        return ()
    in_turn = np.where(loads.whole > 0.0, compute + loads.whole, units)
    mixtures = (loads.half, 0.5 * (units + loads.half))
    return tuple(np.where(designs, np.where(turns, in_turn, x), 0.0) for x in mixtures)
