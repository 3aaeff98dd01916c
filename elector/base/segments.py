"""Wholes that are made of parts: a model of its layers, a design of what runs its layers.

Layers of one structure but different sizes are columns of the same table rather than rows of
their own, so that nothing is computed for layers and heads that are not there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Fold:
    """W wholes of P parts, those of a whole side by side, one at least.

    start : (W,) first part of each. of : (P,) the whole of each part.
    """

    start: Array
    of: Array

    @classmethod
    def of_lengths(cls, lengths: Array) -> Fold:
        """Wholes of so many parts, (W,) integers of at least 1.

        lengths : parts of each whole.
        """
        end = np.cumsum(lengths)
        return cls(end - lengths, np.repeat(np.arange(lengths.size), lengths))

    def sum(self, values: Array) -> Array:
        """(W,) sums of (P,) values."""
        return np.asarray(np.add.reduceat(values, self.start))

    def most(self, values: Array) -> Array:
        """(W,) largest of (P,) values."""
        return np.asarray(np.maximum.reduceat(values, self.start))

    def first(self, values: Array) -> Array:
        """(W,) values of first parts, of values (P,) that all parts of a whole share."""
        return np.asarray(values[self.start])

    def spread(self, values: Array) -> Array:
        """(P,) values of the wholes, given as (W,)."""
        return np.asarray(values[self.of])

    def chosen(self, index: Array) -> tuple[Array, Fold]:
        """Parts of the wholes `index` (D,), which may repeat, and how they belong together."""
        ends = np.append(self.start[1:], self.of.size)
        lengths = (ends - self.start)[index]
        fold = Fold.of_lengths(lengths)
        places = np.arange(fold.of.size) - fold.start[fold.of] + self.start[index][fold.of]
        return places, fold

    def part(self, wholes: slice) -> tuple[slice, Fold]:
        """The parts of a slice of the wholes, and how they belong together."""
        start = self.start[wholes]
        begin = int(start[0])
        last = (wholes.start or 0) + start.size
        end = int(self.start[last]) if last < self.start.size else self.of.size
        return slice(begin, end), Fold(start - begin, self.of[begin:end] - (wholes.start or 0))
