"""New designs from old ones: crossover, mutation, and what an alternative keeps of another.

Everything works on whole arrays of designs. Axes: D designs, S parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from transcode.space import Parameter, Space

#: Share of children of two parents; of mutations of ordered parameters that go to a neighbour.
CROSSED, STEPPED = 0.5, 0.8
#: Chance that a child has one more changed parameter than it would have.
MORE = 0.35


@dataclass(frozen=True)
class Variation:
    """Crossover and mutation on one space."""

    space: Space

    @cached_property
    def sizes(self) -> np.ndarray:
        """(S,) number of values."""
        return np.array([p.size for p in self.space.parameters])

    @cached_property
    def ranks(self) -> list[tuple[np.ndarray, np.ndarray] | None]:
        """Of each ordered parameter: code -> rank of its value, and back."""
        return [_ranks(p) for p in self.space.parameters]

    @cached_property
    def selectors(self) -> frozenset[int]:
        """Columns that pick an alternative."""
        return frozenset(s.selector for s in self.space.sections if s.selector >= 0)

    def active(self, codes: np.ndarray) -> np.ndarray:
        """(D, S) bool: parameters that a design has and that have more than one value."""
        mask = np.zeros(codes.shape, dtype=bool)
        for section in self.space.sections:
            groups: np.ndarray | None = None
            if section.selector >= 0:
                mask[:, section.selector] = True
                groups = np.array(section.groups)[codes[:, section.selector]]
            for group, members in enumerate(section.members):
                for column in members:
                    mask[:, column] = True if groups is None else groups == group
        return mask & (self.sizes > 1)

    def children(
        self, first: np.ndarray, second: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """(D, S) children of (D, S) parents; not yet known to be new or allowed."""
        codes = first.copy()
        crossed = rng.random(len(codes)) < CROSSED
        take = (rng.random(codes.shape) < 0.5) & crossed[:, None]
        codes = np.where(take, second, codes)
        self._complete(codes, first, second, rng)
        same = (codes == first).all(axis=1)
        # a child that is its parent must change; any other may
        count = rng.geometric(1.0 - MORE, len(codes)) - (~same & (rng.random(len(codes)) < 0.5))
        self._mutate(codes, count, rng)
        return self.space.canonical(codes)

    def _mutate(self, codes: np.ndarray, count: np.ndarray, rng: np.random.Generator) -> None:
        """Changes `count` (D,) parameters of each design, in place."""
        before = codes.copy()
        active = self.active(codes)
        order = np.where(active, rng.random(codes.shape), 2.0)
        place = np.argsort(np.argsort(order, axis=1), axis=1)
        chosen = active & (place < count[:, None])
        for column in range(codes.shape[1]):
            rows = np.flatnonzero(chosen[:, column])
            if len(rows):
                codes[rows, column] = self._changed(column, codes[rows, column], rng)
        self._complete(codes, before, before, rng)

    def _changed(self, column: int, own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Other codes than `own` (D,): the next or last value, a farther one, or any."""
        size = int(self.sizes[column])
        other = (own + 1 + rng.integers(0, size - 1, len(own))) % size
        ordered = self.ranks[column]
        if ordered is None or size == 2:
            return other
        rank, back = ordered
        step = rng.geometric(0.75, len(own)) * np.where(rng.random(len(own)) < 0.5, 1, -1)
        there = rank[own] + step
        outside = (there < 0) | (there >= size)
        there = np.where(outside, rank[own] - step, there)
        inside = (there >= 0) & (there < size)
        stepped = inside & (rng.random(len(own)) < STEPPED)
        return np.where(stepped, back[np.clip(there, 0, size - 1)], other)

    def _complete(
        self, codes: np.ndarray, first: np.ndarray, second: np.ndarray, rng: np.random.Generator
    ) -> None:
        """Gives the parameters of a design's alternative values from whichever parent has it.

        Where neither has the alternative, a parameter of the same name lends the value
        nearest to its own; a parameter without such a one is drawn.
        """
        for section in self.space.sections:
            if section.selector < 0 or len(section.members) < 2:
                continue
            groups = np.array(section.groups)
            own = groups[codes[:, section.selector]]
            one, two = groups[first[:, section.selector]], groups[second[:, section.selector]]
            for group, members in enumerate(section.members):
                only_one = (own == group) & (one == group) & (two != group)
                only_two = (own == group) & (one != group) & (two == group)
                neither = np.flatnonzero((own == group) & (one != group) & (two != group))
                for column in members:
                    codes[only_one, column] = first[only_one, column]
                    codes[only_two, column] = second[only_two, column]
                    if len(neither):
                        codes[neither, column] = self._lent(
                            column, group, first[neither], one[neither], rng
                        )

    def _lent(
        self, column: int, group: int, parent: np.ndarray, groups: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:  # fmt: skip
        """(D,) codes for a parameter of an alternative that the parents did not have."""
        found = rng.integers(0, int(self.sizes[column]), len(parent))
        for mate, table in self.namesakes[column]:
            rows = groups == self.space.parameters[mate].group
            found[rows] = table[parent[rows, mate]]
        return found

    @cached_property
    def namesakes(self) -> list[list[tuple[int, np.ndarray]]]:
        """Of each parameter: those of the same name elsewhere, and their code -> its code."""
        parameters = self.space.parameters
        return [
            [
                (other, _nearest(mate, parameter))
                for other, mate in enumerate(parameters)
                if other != column and mate.name == parameter.name and column not in self.selectors
            ]
            for column, parameter in enumerate(parameters)
        ]


def _numbers(parameter: Parameter) -> np.ndarray | None:
    """(size,) the values where all are numbers, else None."""
    values = parameter.values
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        return None
    return np.array(values, dtype=float)


def _ranks(parameter: Parameter) -> tuple[np.ndarray, np.ndarray] | None:
    numbers = _numbers(parameter)
    if numbers is None:
        return None
    back = np.argsort(numbers, kind="stable")
    return np.argsort(back, kind="stable"), back


def _nearest(given: Parameter, wanted: Parameter) -> np.ndarray:
    """(size of given,) code of the value of `wanted` nearest to each value of `given`."""
    here, there = _numbers(given), _numbers(wanted)
    if here is not None and there is not None:
        return np.asarray(np.abs(here[:, None] - there[None, :]).argmin(axis=1))
    return np.array([wanted.values.index(v) if v in wanted.values else 0 for v in given.values])
