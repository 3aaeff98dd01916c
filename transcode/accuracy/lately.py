"""Accuracies of the models that were asked for lately, in a memory that does not grow.

A search of heterogeneous encoders meets a new model with nearly every design. Whoever asks again
for what was forgotten gets the same answer: predictors say the same of a model at any time.

Axes: M models.
"""

from __future__ import annotations

import numpy as np

#: Models that are remembered: 24 bytes each. With more, all but the newest are forgotten.
MOST = 1 << 18


class Lately:
    """Integer key of a model -> mean and standard deviation of its accuracy."""

    def __init__(self) -> None:
        self.keys = np.zeros(0, dtype=np.int64)
        self.values = np.zeros((0, 2))

    def __len__(self) -> int:
        return len(self.keys)

    def look(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(M, 2) values of (M,) keys, NaN where there are none; and (M,) bool, where there are."""
        values = np.full((len(keys), 2), np.nan)
        if len(self) == 0:
            return values, np.zeros(len(keys), dtype=bool)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self) - 1)
        there = self.keys[at] == keys
        values[there] = self.values[at[there]]
        return values, there

    def add(self, keys: np.ndarray, values: np.ndarray) -> None:
        """Remembers (M, 2) values of (M,) sorted keys that are not among those there are."""
        if len(self) + len(keys) > MOST:
            self.keys, self.values = keys[:MOST].copy(), values[:MOST].copy()
            return
        at = np.searchsorted(self.keys, keys)
        # the first key may be unsigned: a hash
        self.keys = np.insert(self.keys.astype(keys.dtype, copy=False), at, keys)
        self.values = np.insert(self.values, at, values, axis=0)
