"""Numbers that say what a design is like: few of them, however many layers a model has.

Costs are products of settings, so a number that is not negative counts as its logarithm. Of the
parameters that are one choice made many times count the mean and the largest value, of those
that matter only; of heterogeneous layers also what they hold together, since the work of a model
is a sum over its layers, of which means say little. Products of two features come along: by them a
cost may bend, and one setting decide how much another matters. One of the features is 1, so they
are among their products.

Axes: D designs, S parameters, K members of a family, P features, Q products.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from elector.describe.layered import LAYERS, STACKS, weights
from transcode.engines.base import table_of
from transcode.engines.evolve.families import Families
from transcode.space import Space

#: Products of two features there are at most: of more, an even share is taken.
PRODUCTS = 1_200
#: Widths of a layer, first those that every layer has.
_WIDTHS = ("hidden", *(f"feed_forward{s}" for s in range(1, STACKS + 1)))


@dataclass(frozen=True)
class Features:
    """The features of the designs of a space."""

    space: Space
    families: Families

    @cached_property
    def count(self) -> int:
        """P."""
        return len(self.of(np.zeros((1, len(self.space.parameters)), dtype=np.intp)))

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """(Q,) places of the features that are multiplied; the first is 1 x 1."""
        one, two = np.triu_indices(self.count)
        kept = self._numeric[one] | self._numeric[two]  # that two places are taken says little
        one, two = one[kept], two[kept]
        some = np.linspace(0, len(one) - 1, min(len(one), PRODUCTS)).astype(np.intp)
        kept = np.union1d(np.arange(self.count), some)  # each feature by itself in any case
        return one[kept], two[kept]

    def of(self, codes: np.ndarray) -> np.ndarray:
        """(P, D) of (D, S) codes."""
        parts = [np.ones((1, len(codes)))]
        parts += [table[:, codes[:, column]] for column, table in self._single]
        if self._layers or self.families.wholes:
            matter = ~self.space.idle(codes)
            if self._layers:
                parts.append(self._sizes(codes, matter))
            parts += [
                _family(np.ascontiguousarray(codes[:, whole].T), matter[:, whole].T, table)
                for whole, table in self._several
            ]
        return np.concatenate(parts)

    def products(self, features: np.ndarray) -> np.ndarray:
        """(Q, D) of (P, D) features."""
        one, two = self.pairs
        products, start = np.empty((len(one), features.shape[1])), 0
        for place, count in zip(*np.unique(one, return_counts=True), strict=True):
            part = slice(start, start + count)
            np.multiply(features[two[part]], features[place], out=products[part])
            start += count
        return products

    @cached_property
    def _single(self) -> list[tuple[int, np.ndarray]]:
        """Columns that can change and belong to no family, and what their codes count as."""
        several = {int(column) for whole in self.families.wholes for column in whole}
        return [
            (column, table_of(parameter))
            for column, parameter in enumerate(self.space.parameters)
            if parameter.size > 1 and column not in several
        ]

    @cached_property
    def _several(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Columns of each family, and what their codes count as."""
        parameters = self.space.parameters
        return [(whole, table_of(parameters[whole[0]])) for whole in self.families.wholes]

    @cached_property
    def _layers(self) -> list[tuple[tuple[int, int], int, np.ndarray]]:
        """Widths of heterogeneous layers that have both a width and a stack searched.

        Of each its place among (1 + STACKS, LAYERS), its column and what its codes stand for.
        """
        columns = {p.name: column for column, p in enumerate(self.space.parameters)}
        layers = []
        for layer in range(LAYERS):
            own = [columns.get(f"model.layer{layer + 1}.{key}") for key in _WIDTHS]
            if None in own[:2]:
                continue
            for place, column in enumerate(own):
                if column is not None:
                    values = np.array(self.space.parameters[column].values, dtype=float)
                    layers.append(((place, layer), column, values))
        return layers

    def _sizes(self, codes: np.ndarray, matter: np.ndarray) -> np.ndarray:
        """(2, D) logarithms of what the layers hold, over those of layers of mean widths."""
        widths = np.zeros((1 + STACKS, LAYERS, len(codes)))
        usual = np.zeros((1 + STACKS, LAYERS, 1))
        for place, column, values in self._layers:
            widths[place] = values[codes[:, column]] * matter[:, column]
            usual[place] = values.mean()
        return np.log(_held(widths)) - np.log(_held(usual))

    @cached_property
    def _numeric(self) -> np.ndarray:
        """(P,) bool: 1 and what stands for a number, not for a place in a list."""
        numeric = [True]
        for _, table in self._single:
            numeric += [len(table) == 1] * len(table)
        numeric += [True, True] if self._layers else []
        for _, table in self._several:
            numeric += [True, True] if len(table) == 1 else [False] * len(table)
        return np.array(numeric)


def _held(widths: np.ndarray) -> np.ndarray:
    """(2, D) of (1 + STACKS, L, D) widths: all weights, and how much goes into the stacks."""
    hidden, stacks = widths[0], widths[1:]
    sums = np.stack([weights(hidden, stacks), hidden * stacks.sum(axis=0)]).sum(axis=1)
    return np.maximum(sums, 1.0)


def _family(codes: np.ndarray, matter: np.ndarray, table: np.ndarray) -> np.ndarray:
    """(V, D) of (K, D) members: what those that `matter` are like together; 0 without any.

    table : (V, size).
    """
    count = np.count_nonzero(matter, axis=0)
    often = np.stack(
        [np.count_nonzero((codes == code) & matter, axis=0) for code in range(table.shape[1])]
    )
    means = table @ often / np.maximum(count, 1)
    if len(table) > 1:
        return means
    largest = np.where(often > 0, table[0][:, None], -np.inf).max(axis=0)
    return np.stack([means[0], np.where(count > 0, largest, 0.0)])
