"""D hardware units of one kind as arrays: the settings of designs."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from elector.base.table import distinct

Array = np.ndarray


@dataclass(frozen=True)
class Evidence:
    """How firm a stated price is.

    rank : place of its group in elector.technology.PROVENANCE. text : evidence and source.
    """

    rank: int
    text: str


@dataclass(frozen=True, eq=False, repr=False)
class Units:
    """D units of one machine kind.

    numbers : parameter -> (D,) float in SI (booleans as 0 and 1, the node in nm).
    names : parameter -> (distinct names, (D,) codes).
    evidence : parameter that is a price itself -> (distinct evidence, (D,) codes).
    """

    machine: str
    numbers: dict[str, Array]
    names: dict[str, tuple[tuple[str, ...], Array]]
    evidence: dict[str, tuple[tuple[Evidence, ...], Array]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of designs D."""
        return int(next(iter(self.numbers.values())).shape[0])

    @functools.cached_property
    def nodes(self) -> tuple[Array, Array]:
        """The distinct technology nodes [nm], and the (D,) code of each design's."""
        values, _, codes = distinct(self.numbers["node"])
        return values, codes

    def number(self, key: str) -> Array:
        """(D,) values of a numeric parameter.

        key : name of the parameter.
        """
        return self.numbers[key]

    def flag(self, key: str) -> Array:
        """(D,) bool of a switch.

        key : name of the parameter.
        """
        return self.numbers[key] != 0.0

    def code(self, key: str, order: tuple[str, ...]) -> Array:
        """(D,) position of a named parameter's value in `order`.

        key : name of the parameter.
        """
        names, codes = self.names[key]
        return np.array([order.index(name) for name in names], dtype=np.intp)[codes]

    def equals(self, key: str, name: str) -> Array:
        """(D,) bool, whether a named parameter has this value.

        key : name of the parameter. name : the value.
        """
        return self.code_is(key, (name,))

    def code_is(self, key: str, wanted: tuple[str, ...]) -> Array:
        """(D,) bool, whether a named parameter has one of these values.

        key : name of the parameter. wanted : the values.
        """
        names, codes = self.names[key]
        return np.array([name in wanted for name in names], dtype=bool)[codes]

    def stated(self, key: str) -> Array:
        """(D,) rank of a parameter that is a price itself; the firmest where `key` is empty."""
        if not key:
            return np.zeros(self.size, dtype=np.intp)
        known, codes = self.evidence[key]
        return np.array([each.rank for each in known], dtype=np.intp)[codes]

    def replace(self, **numbers: Array) -> Units:
        """The units with other numbers."""
        return Units(self.machine, {**self.numbers, **numbers}, self.names, self.evidence)

    def only(self, keys: Iterable[str]) -> Units:
        """The units with some of their settings: what is taken of them again and again.

        keys : names of those parameters, of numbers and of names.
        """
        wanted = frozenset(keys)
        return Units(
            self.machine,
            {key: values for key, values in self.numbers.items() if key in wanted},
            {key: named for key, named in self.names.items() if key in wanted},
        )

    def take(self, index: Array | slice) -> Units:
        """The units at `index`.

        index : (N,) places.
        """
        return Units(
            self.machine,
            {key: values[index] for key, values in self.numbers.items()},
            {key: (names, codes[index]) for key, (names, codes) in self.names.items()},
            {key: (known, codes[index]) for key, (known, codes) in self.evidence.items()},
        )
