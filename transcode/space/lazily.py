"""Columns that are made when they are asked for: of hundreds, one lies in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from elector.base.table import Column


class Lazily(Mapping[str, Column]):
    """Names -> columns, each made anew whenever somebody asks.

    make : a column of its name.
    """

    def __init__(self, names: Iterable[str], make: Callable[[str], Column]) -> None:
        self._names = dict.fromkeys(names)
        self._make = make

    def __getitem__(self, name: str) -> Column:
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
