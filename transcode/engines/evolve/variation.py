"""New designs from old ones: crossover, mutation, and what an alternative keeps of another.

Everything works on whole arrays of designs, parameter by parameter: a column of codes lies
in one piece of memory. Axes: S parameters, D designs, F designs of the archive.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from transcode.engines.evolve.families import Families, families
from transcode.space import Parameter, Section, Space

#: Share of children of two parents; of mutations of ordered parameters that go to a neighbour.
CROSSED, STEPPED = 0.9, 0.8
#: Chance that a child has one more changed parameter than it would have.
MORE = 0.35
#: Changed parameters there are at most: few children would have more.
MOST = 5
#: How far a step to another value of an ordered parameter goes: geometric with this chance.
NEAR = 0.75
#: Share of changed parameters whose family takes the same value, and of children in which layers
#: become like one of them, or in which a list is rewritten.
TOGETHER, COPIED, REWRITTEN = 0.7, 0.05, 0.2
#: How much more often than a member of a family a parameter of its own is changed: else, of a few
#: settings beside hundreds of choices of layers, hardly one would ever change.
ALONE = 4


@dataclass(frozen=True)
class Variation:
    """Crossover and mutation on one space."""

    space: Space

    @cached_property
    def sizes(self) -> np.ndarray:
        """(S,) number of values."""
        return np.array([p.size for p in self.space.parameters])

    @cached_property
    def families(self) -> Families:
        """Parameters that are one choice made many times."""
        return families(self.space)

    @cached_property
    def free(self) -> int:
        """Parameters with more than one value."""
        return int((self.sizes > 1).sum())

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Smallest integers that hold every code."""
        return np.min_scalar_type(int(self.sizes.max(initial=1)))

    def rows(self, codes: np.ndarray) -> np.ndarray:
        """(S, D) of (D, S) codes, as everything here takes them."""
        rows = np.ascontiguousarray(codes.T, dtype=self.dtype)
        self.families.fill(rows)
        return rows

    def children(
        self, pool: np.ndarray, one: np.ndarray, two: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """(S, D) children of (D,) first and second parents of a pool (S, F).

        Not yet known to be new or allowed.

        one, two : (D,) places of parents in the pool.
        """
        count = len(one)
        take = self._taken(pool, one, two, rng)
        codes = np.empty((len(pool), count), dtype=pool.dtype)
        changed = np.zeros(count, dtype=bool)
        for column, second in enumerate(take):
            own = pool[column].take(one)
            codes[column] = np.where(second, pool[column].take(two), own)
            changed |= codes[column] != own
        if self.families:
            self.families.copy_layers(codes, np.flatnonzero(rng.random(count) < COPIED), rng)
            self.families.rewrite(codes, np.flatnonzero(rng.random(count) < REWRITTEN), rng)
        # a child that is its parent must change; any other may
        more = geometric(1.0 - MORE, count, rng) - (changed & (rng.random(count) < 0.5))
        self._mutate(codes, more, rng)
        return codes

    def _taken(
        self, pool: np.ndarray, one: np.ndarray, two: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """(S, D) bool: what a child takes from its second parent.

        Of the parameters that only one parent has, a child has all or none, with the choice of
        the alternative they belong to.
        """
        drawn = np.frombuffer(rng.bytes(len(pool) * len(one)), dtype=np.uint8)
        take = (drawn < 128).reshape(len(pool), len(one))
        take &= rng.random(len(one)) < CROSSED
        if self.families:
            self.families.link(take, rng)
        for section in self._alternatives:
            groups = np.array(section.groups)
            chosen = pool[section.selector]
            differ = groups[chosen.take(one)] != groups[chosen.take(two)]
            second = differ & take[section.selector]
            for column in {c for members in section.members for c in members}:
                take[column] = (take[column] & ~differ) | second
        return take

    @cached_property
    def _alternatives(self) -> list[Section]:
        """Sections whose alternatives bring parameters of their own."""
        return [s for s in self.space.sections if s.selector >= 0 and len(s.members) > 1]

    @cached_property
    def _actives(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each choice of alternatives: what may change, and how many entries that is.

        A parameter that belongs to no family stands there several times.
        """
        often = np.full(len(self.sizes), ALONE)
        for whole in self.families.wholes:
            often[whole] = 1
        lists: list[list[int]] = [[]]
        for section in self.space.sections:
            own = [] if section.selector < 0 else [section.selector]
            lists = [[*columns, *own, *members] for columns in lists for members in section.members]
        kept = [
            [c for c in columns if self.sizes[c] > 1 for _ in range(often[c])] for columns in lists
        ]
        table = np.zeros((len(kept), max(1, *map(len, kept))), dtype=np.intp)
        for row, columns in enumerate(kept):
            table[row, : len(columns)] = columns
        return table, np.array([len(columns) for columns in kept])

    def _choice(self, codes: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(N,) which of `_actives` the designs at `rows` have."""
        choice = np.zeros(len(rows), dtype=np.intp)
        for section in self._alternatives:
            groups = np.array(section.groups)[codes[section.selector, rows]]
            choice = choice * len(section.members) + groups
        return choice

    def _mutate(self, codes: np.ndarray, count: np.ndarray, rng: np.random.Generator) -> None:
        """Changes `count` (D,) parameters of each design, in place, one after another."""
        rows = np.flatnonzero(count > 0)
        for done in range(1, MOST + 1):
            self._change_one(codes, rows, rng)
            rows = rows[count[rows] > done]

    def _change_one(self, codes: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> None:
        """Changes one parameter of each of the designs at `rows`, in place."""
        if len(rows) == 0:
            return
        table, counts = self._actives
        choice = self._choice(codes, rows)
        column = table[choice, (rng.random(len(rows)) * counts[choice]).astype(np.intp)]
        changed = self.changed(column, codes[column, rows].astype(np.intp), rng)
        before = {s.selector: codes[:, rows[column == s.selector]] for s in self._alternatives}
        codes[column, rows] = changed
        if self.families:
            some = rng.random(len(rows)) < TOGETHER
            self.families.spread(codes, column[some], rows[some], rng)
        for section in self._alternatives:
            self._complete(
                codes, rows[column == section.selector], before[section.selector], section, rng
            )

    def changed(self, column: np.ndarray, own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Other codes than `own` (N,) of parameters `column` (N,).

        The next or last value, a farther one, or any; a parameter with one value keeps it.
        """
        ordered, rank, back = self._ranks
        size = self.sizes[column]
        other = (own + 1 + (rng.random(len(own)) * (size - 1)).astype(np.intp)) % size
        step = geometric(NEAR, len(own), rng) * np.where(rng.random(len(own)) < 0.5, 1, -1)
        here = rank[column, own]
        there = here + step
        there = np.where((there < 0) | (there >= size), here - step, there)
        inside = (there >= 0) & (there < size)
        stepped = inside & ordered[column] & (rng.random(len(own)) < STEPPED)
        return np.where(stepped, back[column, np.where(inside, there, 0)], other)

    @cached_property
    def _ranks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(S,) whether values have an order; (S, values) code -> rank of its value, and back."""
        shape = len(self.sizes), int(self.sizes.max(initial=1))
        ordered = np.zeros(shape[0], dtype=bool)
        rank, back = np.zeros(shape, dtype=np.intp), np.zeros(shape, dtype=np.intp)
        for column, parameter in enumerate(self.space.parameters):
            numbers = parameter.numbers
            if numbers is None or parameter.size == 2:
                continue
            ordered[column] = True
            order = np.argsort(numbers, kind="stable")
            back[column, : parameter.size] = order
            rank[column, : parameter.size] = np.argsort(order, kind="stable")
        return ordered, rank, back

    def _complete(
        self,
        codes: np.ndarray,
        rows: np.ndarray,
        before: np.ndarray,
        section: Section,
        rng: np.random.Generator,
    ) -> None:
        """Gives designs at `rows`, of (S, N) before, what a newly chosen alternative brings.

        A parameter of the same name lends the value nearest to its own; a parameter without
        such a one is drawn. Those of the alternative left behind get code 0.
        """
        if len(rows) == 0:
            return
        groups = np.array(section.groups)
        new, old = groups[codes[section.selector, rows]], groups[before[section.selector]]
        for group, members in enumerate(section.members):
            left, joined = (old == group) & (new != group), (new == group) & (old != group)
            for column in members:
                codes[column, rows[left]] = 0
                codes[column, rows[joined]] = self._lent(
                    column, before[:, joined], old[joined], rng
                )

    def _lent(
        self, column: int, before: np.ndarray, groups: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """(N,) codes for a parameter of an alternative that (S, N) designs did not have."""
        codes: np.ndarray = rng.integers(0, int(self.sizes[column]), size=(before.shape[1],))
        for mate, table in self._namesakes[column]:
            rows = groups == self.space.parameters[mate].group
            codes[rows] = table[before[mate, rows]]
        return codes

    @cached_property
    def _namesakes(self) -> list[list[tuple[int, np.ndarray]]]:
        """Of each parameter: those of the same name elsewhere, and their code -> its code."""
        parameters = self.space.parameters
        selectors = {s.selector for s in self.space.sections}
        return [
            [
                (other, _nearest(mate, parameter))
                for other, mate in enumerate(parameters)
                if other != column and mate.name == parameter.name and column not in selectors
            ]
            for column, parameter in enumerate(parameters)
        ]


def geometric(chance: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count,) tries until the first success; much faster than numpy's own.

    chance : of a success, above 0.
    """
    return (rng.standard_exponential(count) / -np.log1p(-chance)).astype(np.intp) + 1


def _nearest(given: Parameter, wanted: Parameter) -> np.ndarray:
    """(size of given,) code of the value of `wanted` nearest to each value of `given`."""
    here, there = given.numbers, wanted.numbers
    if here is not None and there is not None:
        return np.asarray(np.abs(here[:, None] - there[None, :]).argmin(axis=1))
    return np.array([wanted.values.index(v) if v in wanted.values else 0 for v in given.values])
