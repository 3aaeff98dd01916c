"""The tensors that operations hand to one another, and which rows make each operand.

A row of the table stands for all its repetitions, so that an edge says how often it is taken:
the first layer of a stack reads what stands below it, every further one reads the layer
before. A `Value` is such a tensor while the rows are written down; a `Graph` answers for a
finished table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from elector.operations.roles import Place, Role

Array = np.ndarray


@dataclass(frozen=True)
class RoleWeights:
    """The weights of one role in one part of the model, all layers together.

    index, variant : what tells several of one role apart, as in `Row`.
    """

    role: Role
    place: Place
    cross: bool = False
    index: int = 0
    variant: str = ""


class Way(Enum):
    """Which of several tensors one is, where it is not the same in all runs."""

    FIRST = 1  # what stands below the first layer of a stack
    LATER = 2  # what the layer before leaves
    LAST = 3  # what the last layer leaves
    THERE = 4  # in models that have what makes it
    ELSE = 5  # in models that do not


@dataclass(frozen=True, eq=False, repr=False)
class Source:
    """A row that makes an operand, or `elements` (M,) of it, and how often: times (M,).

    ways : apart from which no two sources are made in the same run.
    """

    row: int
    times: Array
    elements: Array
    ways: tuple[Way, ...] = ()


class Value:
    """A tensor of `rows` x `width` elements, of which a step makes `count`.

    rows, width, count : (M,) float.
    needed : whether a gradient of it is wanted in any run.
    missing : (M,) runs in which none is, where it is needed.
    sources : what makes it, each a row or another tensor, how often (None: every time), and
        in which runs (None: in all).
    done : (M,) elements that are computed, where a mask hides the others; None: all of them.
    home : the tensor whose memory it takes over; None where it has its own.
    copied : it has a memory of its own, though it holds what another tensor does.
    whole : tensors that it is the whole of, each with the pairs (M,) bool where it is that one.
    kept : (M,) how often it stays for the backward pass; None where it does not.
    reader : the first row that reads it; -1 before there is one.
    """

    __slots__ = (
        "_gradient",
        "copied",
        "count",
        "done",
        "home",
        "kept",
        "missing",
        "needed",
        "reader",
        "rows",
        "sources",
        "whole",
        "width",
    )

    def __init__(
        self,
        rows: Array,
        width: Array,
        count: Array,
        needed: bool = False,
        missing: Array | float = 0.0,
    ) -> None:
        self.rows, self.width, self.count = rows, width, count
        self.needed, self.missing = needed, missing
        self.sources: list[tuple[int | Value, Array | None, Way | None]] = []
        self.done: Array | None = None
        self.home: Value | None = None
        self.copied = False
        self.whole: list[tuple[Value, Array]] = []
        self.kept: Array | float | None = None
        self.reader = -1
        self._gradient: Value | None = None

    @property
    def elements(self) -> Array:
        """(M,) numbers it holds."""
        return self.rows * self.width

    @property
    def computed(self) -> Array:
        """(M,) numbers that are computed, read and written."""
        return self.elements if self.done is None else self.done

    @property
    def gradient(self) -> Value:
        """The gradient that flows back to it, from whatever reads it."""
        if self._gradient is None:
            self._gradient = Value(self.rows, self.width, self.count)
            self._gradient.done = self.done
        return self._gradient

    def made_by(self, row: int) -> None:
        """A row makes it; none where the table has no such row (-1)."""
        if row >= 0:
            self.sources.append((row, None, None))

    def takes(self, other: Value, times: Array | None = None, way: Way | None = None) -> None:
        """It is another tensor, or holds it or a part of it.

        times : (M,) how often; None for as often as it is there itself.
        """
        self.sources.append((other, times, way))

    def reads(self, other: Value, times: Array | None = None, way: Way | None = None) -> None:
        """It takes another tensor, whose gradient is then this one's.

        times : (M,) how often; None for as often as it is there itself.
        """
        self.takes(other, times, way)
        if self.needed:
            other.gradient.takes(self.gradient, times, way)

    def view(self, rows: Array, width: Array, count: Array | None = None) -> Value:
        """Some of it, in some of its runs."""
        part = Value(rows, width, self.count if count is None else count, self.needed, self.missing)
        part.reads(self)
        return part

    def gathered(self, rows: Array) -> Value:
        """Some rows of it, which are copied where they stay."""
        part = self.view(rows, self.width)
        part.copied = True
        return part

    def made(self) -> list[Source]:
        """The rows that make it."""
        sources: list[Source] = []
        for item, times, way in self.sources:
            own = self.count if times is None else times
            ways = () if way is None else (way,)
            if isinstance(item, Value):
                sources += [
                    Source(
                        s.row,
                        np.minimum(s.times, own),
                        np.minimum(s.elements, self.elements),
                        ways + s.ways,
                    )
                    for s in item.made()
                ]
            else:
                sources.append(Source(item, own, self.elements, ways))
        return sources

    def origin(self) -> Value:
        """The tensor that it is, under whatever name."""
        if len(self.sources) != 1:
            return self
        item, times, _ = self.sources[0]
        if times is not None or not isinstance(item, Value):
            return self
        return item.origin() if np.array_equal(item.elements, self.elements) else self

    def stored(self) -> list[int]:
        """The rows in whose results it lies."""
        if self.home is not None:
            return self.home.stored()
        rows: list[int] = []
        if self.copied:
            return rows
        for item, _, way in self.sources:
            if way is not Way.LAST:  # the row stands for the layers before, too
                rows += item.stored() if isinstance(item, Value) else [item]
        return rows


def detached(value: Value) -> Value:
    """A tensor as something reads it that hands no gradient back."""
    copy = Value(value.rows, value.width, value.count)
    copy.takes(value)
    return copy


def sometimes(value: Value, there: Array) -> Value:
    """A tensor in the pairs (M,) bool that have it.

    there : (M,) bool.
    """
    part = value.view(value.rows, value.width, value.count * there)
    part.whole = [(value, there)]
    return part


def derived(parts: Sequence[Value], rows: Array, width: Array, count: Array | None = None) -> Value:
    """A tensor of the elements, or of the sum, of others; count : as often as the first of them.

    width : (M,) elements of a row.
    """
    needed, missing = wanted(parts)
    value = Value(rows, width, parts[0].count if count is None else count, needed, missing)
    for part in parts:
        value.reads(part)
    return value


def joined(parts: Sequence[Value]) -> Value:
    """All elements of several tensors in one, which hands no gradient back to them."""
    elements = parts[0].elements
    for part in parts[1:]:
        elements = elements + part.elements
    whole = Value(elements, np.ones(1), parts[0].count, *wanted(parts))
    for part in parts:
        whole.takes(part)
    return whole


def added(parts: Sequence[Value]) -> Value:
    """The sum of tensors of one shape."""
    if len(parts) == 1:
        return parts[0]
    total = derived(parts, parts[0].rows, parts[0].width)
    total.done = parts[0].done
    return total


def wanted(parts: Sequence[Value | None]) -> tuple[bool, Array | float]:
    """Whether and how seldom the gradient of a result is wanted: where one operand's is."""
    missing = [part.missing for part in parts if part is not None and part.needed]
    if not missing:
        return False, 0.0
    least = missing[0]
    for other in missing[1:]:
        least = np.minimum(least, other)
    return True, least


def either(this: Value, there: Array, other: Value, width: Array) -> Value:
    """One tensor where it is there (M,) bool, elsewhere the other.

    width : (M,) elements of a row.
    """
    chosen = Value(this.rows, width, other.count, *wanted((this, other)))
    for value, where, way in ((this, there, Way.THERE), (other, ~there, Way.ELSE)):
        if where.any():
            chosen.reads(value, other.count * where, way)
            chosen.whole.append((value, where))
    return chosen


#: What an operand of a row is: a tensor, parameters, or nothing that a row makes.
Operand = Value | RoleWeights | None


class Graph:
    """Operands of the rows of a table.

    operands : of each row its first and its second one. further : row -> a third one, of the class
    of its second and among its bytes. there : (R, M) bool, which rows a model
    has: of those that others beside it have it takes nothing. moved : new place of each row, where
    rows were put between them.
    """

    def __init__(
        self,
        operands: Sequence[tuple[Operand, Operand]],
        there: Array,
        moved: Array | None = None,
        further: Mapping[int, Value] | None = None,
    ) -> None:
        self._operands, self._there, self._moved = tuple(operands), there, moved
        self._further = dict(further or {})
        self._sources: dict[Value, tuple[Source, ...]] = {}

    def operand(self, row: int, name: str) -> Operand:
        """The first (a) or second (b) operand of a row.

        name : a or b.
        """
        return self._operands[row]["ab".index(name)]

    def read(self, row: int) -> list[tuple[str, Value]]:
        """The tensors that a row reads, each with the operand (a or b) whose class it has."""
        first, second = self._operands[row]
        operands = [("a", first), ("b", second), ("b", self._further.get(row))]
        return [(name, value) for name, value in operands if isinstance(value, Value)]

    def stored(self, value: Value) -> tuple[int, ...]:
        """The rows in whose results a tensor lies; none where it is a copy of its own.

        value : the tensor.
        """
        rows = [r for r in value.stored() if r >= 0]
        return tuple(dict.fromkeys(r if self._moved is None else int(self._moved[r]) for r in rows))

    def sources(self, row: int, name: str) -> tuple[Source, ...]:
        """The rows that make an operand; none for parameters and inputs of the step.

        name : a or b.
        """
        operand = self.operand(row, name)
        return self.sources_of(operand) if isinstance(operand, Value) else ()

    def sources_of(self, value: Value) -> tuple[Source, ...]:
        """The rows that make a tensor, each once for every way it is taken."""
        sources = self._sources.get(value)
        if sources is None:
            seen: dict[tuple[int, tuple[Way, ...]], Source] = {}
            for s in value.made():
                row = s.row if self._moved is None else int(self._moved[s.row])
                own = self._there[s.row]
                mine = replace(s, row=row, times=s.times * own, elements=s.elements * own)
                seen.setdefault((row, s.ways), mine)
            sources = self._sources[value] = tuple(seen.values())
        return sources

    def updates_matrix(self, row: int) -> Array:
        """(M,) bool, whether the tensor that a row of the optimizer updates is an operand of
        products that a model has."""
        there = np.zeros(self._there.shape[1], dtype=bool)
        for source in self.sources(row, "a"):
            there |= source.times > 0
        return there

    def spread(self, places: Array, between: Sequence[tuple[int, Operand]]) -> Graph:
        """The graph of a table in which row r stands at places[r], others between.

        between : place of each new row, and the tensor that it carries.

        places : (R,).
        """
        size = len(self._operands) + len(between)
        operands: list[tuple[Operand, Operand]] = [(None, None)] * size
        for row, operand in enumerate(self._operands):
            operands[int(places[row])] = operand
        for place, value in between:
            operands[place] = (value, None)
        moved = places if self._moved is None else places[self._moved]
        further = {int(places[row]): value for row, value in self._further.items()}
        return Graph(operands, self._there, moved, further)
