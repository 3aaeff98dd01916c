"""A constant as one number, or as S draws of it: the few functions of both that prices need.

Each draw has the bits that it would have as a plain number: powers and logarithms of arrays may
differ from those of numbers in the last place, so they are taken one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

#: A constant [SI], or (S,) draws of it.
Number = float | np.ndarray


def _each(function: Callable[..., float], *values: Number) -> Number:
    """The function of the numbers, of each draw where some are drawn."""
    sizes = [np.size(value) for value in values if isinstance(value, np.ndarray)]
    if not sizes:
        return function(*values)
    columns = [np.broadcast_to(value, (max(sizes),)).tolist() for value in values]
    return np.array([function(*row) for row in zip(*columns, strict=True)])


def power(base: Number, exponent: Number) -> Number:
    """base ** exponent."""
    return _each(lambda b, e: float(b**e), base, exponent)


def log(value: Number) -> Number:
    """Natural logarithm."""
    return _each(math.log, value)


def least(first: Number, second: Number) -> Number:
    """The smaller of two."""
    return _each(min, first, second)


def lowest(value: Number) -> float:
    """The smallest draw; of one number itself."""
    return float(np.min(value))


def words(value: Number, form: str) -> str:
    """The number in a format such as `.4g`; of draws how many there are."""
    return f"({len(value)} draws)" if isinstance(value, np.ndarray) else format(value, form)
