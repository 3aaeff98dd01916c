"""What an action costs and what a part occupies: prices with unit, evidence and derivation.

In come rows of data/technology with the user's own on top (`Technology.load`), out comes the
price of a quantity at a node (`Technology.price`). A machine counts; these tables price. A new
constant is a row, a new kind of price a row of data/quantities.csv.
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
