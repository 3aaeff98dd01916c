"""Parameters that are one choice made many times: the widths of all layers, the types of heads.

A heterogeneous model has hundreds of parameters, and good models seldom differ in each of them
at random: what is drawn parameter by parameter lies close to the mean of all models, and a step
in one layer of twelve changes next to nothing. So some moves give a whole family one value, make
layers like one of them, or take all of a model from one parent. A family is told by the names,
which differ in their numbers only (`model.layer1.head2`, `model.layer3.head1`). Of a list in each
layer (`feed_forward1` to `3`) also the order matters: stacks that are wide, narrow, wide are good,
as are narrow, wide, narrow ones, and those wide at one end only are beaten by models of either.
So some moves exchange two places of a list, or draw all of it anew.

Everything works on (S, D) codes, in place. Axes: S parameters, D designs, N of them.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from transcode.space import Parameter, Space

_NUMBER = re.compile(r"\d+")
#: A part of a name behind the first number, such as `.head2`, by column.
_Layer = dict[str, int]
#: Shares of children that take whole families, or whole sections, from one parent.
FAMILIES, SECTIONS = 0.3, 0.5
#: Share of changed lists of which two places are exchanged, not all drawn anew; that are changed
#: in all layers, not in one.
EXCHANGED, EVERYWHERE = 0.5, 0.9


@dataclass(frozen=True)
class Families:
    """Columns of a space that belong together.

    wholes : columns of each family. scopes : wholes, what they have in a single layer, and the
    same place of all layers.
    blocks : (layers, K) columns of the layers of a model, which all have the same K.
    lists : (layers, places) columns of each list that the layers of a block have.
    """

    space: Space
    wholes: tuple[np.ndarray, ...]
    scopes: tuple[np.ndarray, ...]
    blocks: tuple[np.ndarray, ...]
    lists: tuple[np.ndarray, ...]

    def __bool__(self) -> bool:
        return bool(self.scopes)

    @cached_property
    def _of(self) -> tuple[np.ndarray, np.ndarray]:
        """(S, most) scopes that each column is in, and (S,) how many."""
        scopes: list[list[int]] = [[] for _ in self.space.parameters]
        for place, scope in enumerate(self.scopes):
            for column in scope:
                scopes[column].append(place)
        count = np.array([len(own) for own in scopes])
        table = np.zeros((len(scopes), max(1, int(count.max(initial=0)))), dtype=np.intp)
        for column, own in enumerate(scopes):
            table[column, : len(own)] = own
        return table, count

    @cached_property
    def _inner(self) -> list[list[list[np.ndarray]]]:
        """Of each layer of each block: what families have in it."""
        sets = [(scope, set(scope.tolist())) for scope in self.scopes]
        return [
            [[scope for scope, own in sets if own <= set(layer.tolist())] for layer in block]
            for block in self.blocks
        ]

    def fill(self, codes: np.ndarray) -> None:
        """What is beyond the last layer, or the last head of a layer, becomes like the last.

        So a child with another layer has a layer more, not the first of everything there.
        """
        idle = self.space.idle(codes.T).T  # of layers that are there, nothing changes
        for block, inner in zip(self.blocks, self._inner, strict=True):
            for number, layer in enumerate(block):
                absent = idle[layer[0]]
                if number and absent.any():
                    before = block[number - 1]
                    codes[np.ix_(layer, absent)] = codes[np.ix_(before, absent)]
                for scope in inner[number]:
                    for before, column in itertools.pairwise(scope):
                        missing = idle[column] & ~absent
                        codes[column, missing] = codes[before, missing]

    def spread(
        self, codes: np.ndarray, column: np.ndarray, rows: np.ndarray, rng: np.random.Generator
    ) -> None:
        """Designs at `rows` (N,): the value of `column` (N,) for all of one of its scopes."""
        table, count = self._of
        drawn = (rng.random(len(rows)) * count[column]).astype(np.intp)
        chosen = np.where(count[column] > 0, table[column, drawn], -1)
        for place, scope in enumerate(self.scopes):
            mine = chosen == place
            if mine.any():
                codes[scope[:, None], rows[mine]] = codes[column[mine], rows[mine]]

    def copy_layers(self, codes: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> None:
        """Designs at `rows` (N,): all layers, or a run of them, become like one."""
        for block in self.blocks:
            depth = len(block)
            source = rng.integers(0, depth, len(rows))
            ends = np.sort(rng.integers(0, depth + 1, (2, len(rows))), axis=0)
            everything = rng.random(len(rows)) < 0.5
            first, last = np.where(everything, 0, ends[0]), np.where(everything, depth, ends[1])
            values = codes[block[source].T, rows]
            for number, layer in enumerate(block):
                mine = (first <= number) & (number < last)
                codes[layer[:, None], rows[mine]] = values[:, mine]

    @cached_property
    def _alike(self) -> list[np.ndarray]:
        """(places, places, size) of each list: code of a value of one place in the other, or -1."""
        tables = []
        for columns in self.lists:
            values = [self.space.parameters[column].values for column in columns[0]]
            table = np.full((len(values), len(values), max(map(len, values))), -1)
            for one, two in itertools.permutations(range(len(values)), 2):
                codes = {value: code for code, value in enumerate(values[two])}
                table[one, two, : len(values[one])] = [codes.get(v, -1) for v in values[one]]
            tables.append(table)
        return tables

    def rewrite(self, codes: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> None:
        """Designs at `rows` (N,): two places of a list change places, or all of it is drawn anew;
        in all layers, or in one."""
        if not self.lists:
            return
        which = rng.integers(0, len(self.lists), len(rows))
        for place, (columns, alike) in enumerate(zip(self.lists, self._alike, strict=True)):
            mine = rows[which == place]
            layers = np.arange(len(columns))[:, None]
            here = layers == rng.integers(0, len(columns), len(mine))
            here |= rng.random(len(mine)) < EVERYWHERE
            swapped = rng.random(len(mine)) < EXCHANGED
            _exchange(codes, columns, mine[swapped], here[:, swapped], alike, rng)
            drawn, here = mine[~swapped], here[:, ~swapped]
            for column in columns.T:
                size = self.space.parameters[column[0]].size
                value, own = rng.integers(0, size, len(drawn)), codes[column[:, None], drawn]
                codes[column[:, None], drawn] = np.where(here, value, own)

    def tie(self, codes: np.ndarray, rows: slice) -> None:
        """Designs at `rows`: all layers become like the first."""
        for block in self.blocks:
            codes[block[1:], rows] = codes[block[0], rows]

    def link(self, take: np.ndarray, rng: np.random.Generator) -> None:
        """Choices (S, D) of a parent: in some children one for each family, or each section."""
        draw = rng.random(take.shape[1])
        rows = np.flatnonzero(draw < FAMILIES)
        for whole in self.wholes:
            take[np.ix_(whole, rows)] = take[whole[0], rows]
        rows = np.flatnonzero((draw >= FAMILIES) & (draw < FAMILIES + SECTIONS))
        for section in self.space.sections:
            own = np.array([column for members in section.members for column in members], int)
            if own.size:
                take[np.ix_(own, rows)] = take[own[0], rows]


def _exchange(
    codes: np.ndarray,
    columns: np.ndarray,
    rows: np.ndarray,
    here: np.ndarray,
    alike: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Two places of a list (layers, places) change places in designs at `rows` (N,), in place.

    here : (layers, N) where. Values that the other place does not know stay.
    """
    places = columns.shape[1]
    one = rng.integers(0, places, len(rows))
    two = (one + 1 + rng.integers(0, places - 1, len(rows))) % places
    first, second = columns[:, one], columns[:, two]
    own, other = codes[first, rows], codes[second, rows]
    there, back = alike[one, two, own], alike[two, one, other]
    known = here & (there >= 0) & (back >= 0)
    codes[first, rows] = np.where(known, back, own)
    codes[second, rows] = np.where(known, there, other)


def families(space: Space) -> Families:
    """The families of a space."""
    whole: dict[tuple[object, ...], list[int]] = {}
    within: dict[tuple[object, ...], list[int]] = {}
    across: dict[tuple[object, ...], list[int]] = {}
    layers: dict[tuple[object, ...], dict[int, _Layer]] = {}
    for column, parameter in enumerate(space.parameters):
        first = _NUMBER.search(parameter.name)
        if first is None or parameter.size < 2:
            continue
        number, rest = int(first[0]), parameter.name[first.end() :]
        kind = (parameter.name[: first.start()], parameter.group, parameter.parent)
        key = (*kind, _NUMBER.sub("#", rest), parameter.values)
        whole.setdefault(key, []).append(column)
        if _NUMBER.search(rest):
            within.setdefault((*key, number), []).append(column)
            across.setdefault((*kind, rest, parameter.values), []).append(column)
        layers.setdefault(kind, {}).setdefault(number, {})[rest] = column
    wholes = _several(whole)
    blocks = [_block(space.parameters, numbered) for numbered in layers.values()]
    blocks = [block for block in blocks if len(block) > 1]
    lists = [columns for block in blocks for columns in _lists(space.parameters, block)]
    scopes = (*_several(within), *_several(across), *wholes)
    return Families(space, wholes, scopes, tuple(blocks), tuple(lists))


def _several(groups: dict[tuple[object, ...], list[int]]) -> tuple[np.ndarray, ...]:
    return tuple(np.array(columns) for columns in groups.values() if len(columns) > 1)


def _lists(parameters: tuple[Parameter, ...], block: np.ndarray) -> list[np.ndarray]:
    """(layers, places) columns of what a layer of a block has several of."""
    places_of: dict[str, list[int]] = {}
    for place, column in enumerate(block[0]):
        _, rest = _NUMBER.split(parameters[column].name, 1)
        if _NUMBER.search(rest):
            places_of.setdefault(_NUMBER.sub("#", rest), []).append(place)
    return [block[:, places] for places in places_of.values() if len(places) > 1]


def _block(parameters: tuple[Parameter, ...], numbered: dict[int, _Layer]) -> np.ndarray:
    """(layers, K) columns that all layers have, with the same values in each."""
    ordered = [own for _, own in sorted(numbered.items())]
    common = [
        rest
        for rest in ordered[0]
        if all(rest in own for own in ordered)
        and len({parameters[own[rest]].values for own in ordered}) == 1
    ]
    if len(common) < 2:
        return np.zeros((0, 0), dtype=np.intp)
    return np.array([[own[rest] for rest in common] for own in ordered])
