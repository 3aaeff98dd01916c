"""Price laws: what a price is multiplied by where it follows the size of what is priced.

A law's own constants are rows of the technology tables, of the part `law.NAME`.

    constant    1
    sqrt_size   sqrt(max(size, floor) / 1 MB): the way across a banked memory grows with its side,
                and below the floor the periphery decides
"""

from __future__ import annotations

import numpy as np

from elector.base import quantity

Array = np.ndarray

CONSTANT, SQRT_SIZE = "constant", "sqrt_size"
LAWS = (CONSTANT, SQRT_SIZE)
#: Size [byte] that a price by sqrt_size is stated at.
REFERENCE = 1e6
#: Quantity of the part `law.sqrt_size` below which the law does not fall any more.
FLOOR = "floor"


def part_of(law: str) -> str:
    """The part of the tables that has the constants of a law."""
    return f"law.{law}"


def factor(law: str, size: Array, floor: Array | float) -> Array:
    """(...) what a price is multiplied by.

    law : of LAWS. size : [byte] of the memory. floor : [byte] of sqrt_size, broadcast to `size`.
    """
    if law == CONSTANT:
        return np.ones(np.shape(size))
    return np.asarray(np.sqrt(np.maximum(size, floor) / REFERENCE))


def words(law: str, size: float, floor: float) -> str:
    """The factor of one memory in words: `sqrt(4.00 MB / 1 MB)`, empty for a constant price."""
    if law == CONSTANT:
        return ""
    if size >= floor:
        return f"sqrt({quantity.show(size, 'byte')} / 1 MB)"
    least = quantity.show(floor, "byte")
    return f"sqrt({least} / 1 MB), the least for {quantity.show(size, 'byte')}"


def general(law: str, floor: float) -> str:
    """The factor in general: ` x sqrt(size / 1 MB), size at least 262 kB`."""
    if law == CONSTANT:
        return ""
    return f" x sqrt(size / 1 MB), size at least {quantity.show(floor, 'byte')}"
