"""How often something happens, and sums that do not depend on the company in a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from elector.base.segments import Fold
from elector.base.table import columns, distinct

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Count:
    """How often an action happens: `values` (R, X) over all runs, `index` (D,) into X.

    Most counts depend on few parameters; they are summed once for each combination X.
    fold : None; where a design has a place in `index` for each of its layers (P,), which
        belong together.
    group : None; where the values are sums by group of rows (elector.operations.rows.groups),
        (R,) the group of each. A subset of the rows is then one of whole groups.
    """

    values: Array
    index: Array
    fold: Fold | None = None
    group: Array | None = None

    def total(self, rows: Array | None = None) -> Array:
        """(D,) sum over the rows (or over some of them), accumulated in row order."""
        # Summed once for each combination, or for each design where those are fewer.
        if rows is not None and self.group is not None:
            rows = distinct(self.group[rows])[0]
        few = self.index.size < self.values.shape[1]
        if rows is None:
            chosen = columns(self.values, self.index) if few else self.values
        else:
            chosen = self.values[rows[:, None], self.index] if few else self.values[rows]
        summed = sum_rows(chosen) if few else sum_rows(chosen)[self.index]
        return summed if self.fold is None else self.fold.sum(summed)

    def folded(self, fold: Fold) -> Count:
        """The count of designs whose layers have places of their own."""
        return replace(self, fold=fold)

    def row(self, row: int) -> Array:
        """(D,) the count of one row; (P,) where layers have places of their own."""
        return self.values[row, self.index]

    def each(self) -> Array:
        """(R, D) the count of every row; (R, P) where layers have places of their own."""
        return self.values[:, self.index]


def sum_rows(values: Array) -> Array:
    """(X,) sum over the first axis of (R, X), in row order whatever X is.

    numpy's own sum may group terms differently when X is 1 or when the rows lie side by side
    in memory; a design alone would then differ in the last bit from itself in a batch.

    values : (R, X).
    """
    if not values.shape[0]:
        return np.zeros(values.shape[1])
    if values.shape[1] > 1:
        return np.add.reduce(np.ascontiguousarray(values), axis=0)
    return np.add.accumulate(values, axis=0)[-1]


def total(values: Sequence[Array]) -> Array:
    """The sum of arrays of one shape, in their order.

    values : the arrays.
    """
    result = values[0]
    for value in values[1:]:
        result = result + value
    return result


def largest(values: Sequence[Array]) -> Array:
    """The largest of arrays of one shape, place by place.

    values : the arrays.
    """
    result = values[0]
    for value in values[1:]:
        result = np.maximum(result, value)
    return result
