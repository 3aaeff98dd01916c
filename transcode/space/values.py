"""A parameter's values as they are written, and as conditions compare them."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Sequence
from fractions import Fraction

import numpy as np

from elector.base.table import Column, Scalar

#: Short, as a fraction of many digits or powers of ten would take hours to work out.
_FRACTION = re.compile(r"[+-]?\d{1,18}/\d{1,18}")


def fraction(written: object) -> object:
    """A factor written as 1/64, as a number; anything else as it is."""
    try:
        if isinstance(written, str) and _FRACTION.fullmatch(written.strip()):
            return float(Fraction(written))
    except ZeroDivisionError:
        pass
    return written


def is_multiple(written: object) -> bool:
    """Whether a parameter is so many times another."""
    return isinstance(written, dict) and "multiple_of" in written


def twice(values: Sequence[Hashable]) -> list[Hashable]:
    """The first value that stands there before, if there is one."""
    seen: set[Hashable] = set()
    for value in values:
        if value in seen:
            return [value]
        seen.add(value)
    return []


def levels(
    low: float, high: float, steps: int, log: bool, whole: bool, exact: bool
) -> tuple[Scalar, ...]:
    """Values from low to high; whole numbers each once. `exact`: all of them where they fit.

    steps : how many. log : whether ratios are equal rather than differences.
    """
    if whole and exact and high - low < steps:
        return tuple(range(int(low), int(high) + 1))
    grid = np.geomspace(low, high, steps) if log else np.linspace(low, high, steps)
    if whole:
        return tuple(int(v) for v in np.unique(np.round(grid)))
    # twelve digits: 1 MB to 32 MB in six steps is then 2e6, not 2000000.0000000002
    return tuple(float(f"{v:.12g}") for v in grid)


def numbers(column: Column) -> np.ndarray:
    """(D,) what a condition compares: floats, NaN for no value; or texts."""
    if any(isinstance(value, str) for value in column.values):
        return column.map(str, dtype=object)
    return column.map(lambda value: math.nan if value is None else float(value), dtype=float)
