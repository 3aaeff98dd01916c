"""What an action costs and what a part occupies: prices with unit, evidence and derivation.

A machine counts; the tables in data/technology price. `Technology.load` reads them, with
the user's own rows on top, and `Technology.price` scales a constant to a node.
"""

from elector.technology.laws import LAWS
from elector.technology.price import PROVENANCE, Price, group
from elector.technology.pricing import Technology, sources
from elector.technology.rows import (
    EVIDENCE,
    NODE_HIGH,
    NODE_LOW,
    ConstantRow,
    PartQuantity,
    quantities,
)

__all__ = [
    "EVIDENCE",
    "LAWS",
    "NODE_HIGH",
    "NODE_LOW",
    "PROVENANCE",
    "ConstantRow",
    "PartQuantity",
    "Price",
    "Technology",
    "group",
    "quantities",
    "sources",
]
