"""Columns of texts that repeat a few values: a byte a cell instead of a reference."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import overload

#: Values that a byte tells apart.
_BYTE = 256


class Texts(Sequence[str]):
    """A column of texts that grows at its end; each value is held once.

    A front of ten million designs has hundreds of settings for each of 100,000 points.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._known: dict[str, int] = {}
        self._values: list[str] = []
        self._codes = array("B")
        self.extend(texts)

    @property
    def distinct(self) -> int:
        """How many values are held."""
        return len(self._values)

    def extend(self, texts: Iterable[str]) -> None:
        """Adds cells below the others."""
        known = self._known
        codes = [known.setdefault(text, len(known)) for text in texts]
        self._values.extend(islice(known, len(self._values), None))
        if len(known) > _BYTE and self._codes.typecode == "B":
            self._codes = array("L", self._codes)
        self._codes.extend(codes)

    def __len__(self) -> int:
        return len(self._codes)

    def __iter__(self) -> Iterator[str]:
        return map(self._values.__getitem__, self._codes)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self._values[code] for code in self._codes[place]]
        return self._values[self._codes[place]]
