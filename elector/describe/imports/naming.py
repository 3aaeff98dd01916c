"""Sizes that vary in a file -> symbols of a list: batch, length, or a name of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from elector.base.errors import InputError
from elector.describe.imports.traced import STEPS, Symbol
from elector.describe.listing import WORKLOAD

#: Words in the names of sizes that mean a symbol of every list.
_WORDS = {"batch": "batch", "seq": "length", "length": "length", "token": "length"}


@dataclass
class Varying:
    """A size of a file that varies.

    places : (dimension, whether its tensor is a row of tokens or of what stands for them) in the
        file's inputs.
    default : what it was when the file was made; None where the file does not say.
    low, high : between which it may be.
    """

    places: list[tuple[int, bool]] = field(default_factory=list)
    default: int | None = None
    low: int = 1
    high: int = 1 << 20


@dataclass(frozen=True)
class Names:
    """What the sizes of a file are in the list. fixed : to a number. named : to a symbol."""

    fixed: dict[str, int]
    named: dict[str, str]
    symbols: list[Symbol]

    def values(self, point: Mapping[str, int]) -> dict[str, int]:
        """The file's sizes where the list's symbols have these values.

        point : symbol of the list -> its value.
        """
        return {**self.fixed, **{name: point[symbol] for name, symbol in self.named.items()}}


def names(varying: Mapping[str, Varying], asked: Mapping[str, str], path: str) -> Names:
    """Which symbol each size is.

    asked : size -> batch, length, a name or a number, as the user says. Otherwise the words of
    its name decide, and else where it stands: the first dimension of an input is the batch, the
    second one of tokens, and of their embeddings, the length.
    Raises InputError for a name that the file does not have, and a size that has no value.
    """
    for name in asked:
        if name not in varying:
            raise InputError(
                "no size of the file has this name",
                file=path,
                field="--symbol",
                value=name,
                allowed=list(varying) or ["(none varies)"],
            )
    fixed: dict[str, int] = {}
    named: dict[str, str] = {}
    for name, size in varying.items():
        wanted = asked.get(name) or _meaning(name, size)
        if wanted.isdigit():
            fixed[name] = max(int(wanted), 1)
        elif not wanted.isidentifier():
            raise InputError(
                "is neither a number nor a name", file=path, field="--symbol", value=wanted
            )
        else:
            named[name] = wanted
    return Names(fixed, named, _symbols(named, varying, path))


def _meaning(name: str, size: Varying) -> str:
    for word, symbol in _WORDS.items():
        if word in name.lower() and "past" not in name.lower():
            return symbol
    if size.places and all(dimension == 0 for dimension, _ in size.places):
        return "batch"
    if any(dimension == 1 and tokens for dimension, tokens in size.places):
        return "length"
    return re.sub(r"\W+", "_", name).strip("_") or "size"


def _symbols(named: Mapping[str, str], varying: Mapping[str, Varying], path: str) -> list[Symbol]:
    """The symbols of the list, with values at which the file can be looked at."""
    symbols = []
    for symbol in dict.fromkeys(named.values()):
        sizes = [varying[name] for name, of in named.items() if of == symbol]
        low, high = max(s.low for s in sizes), min(s.high for s in sizes)
        default = None
        if symbol not in WORKLOAD:
            default = next((s.default for s in sizes if s.default is not None), None)
            if default is None:
                name = next(n for n, of in named.items() if of == symbol)
                raise InputError(
                    f"the size {name} varies, and nothing says how large it is",
                    file=path,
                    hint=f"--symbol {name}=NUMBER, or {name}=batch or length",
                )
        symbols.append(Symbol(symbol, _points(symbol, low, high, path), default))
    return sorted(symbols, key=lambda s: [*WORKLOAD, s.name].index(s.name))


def _points(symbol: str, low: int, high: int, path: str) -> tuple[int, ...]:
    """Values in the range of a size."""
    start, step = (max(low, 2), 1) if symbol == "batch" else (max(low, 8), 8)
    if start + step * STEPS[-1] > high:
        start, step = low, max((high - low) // STEPS[-1], 1)
    if start + step * STEPS[-1] > high:
        raise InputError(
            f"the size {symbol} has too few values from {low} to {high} to be followed",
            file=path,
            hint="fix it: --symbol NAME=NUMBER",
        )
    return tuple(start + step * i for i in STEPS)
