"""A price, and how prices combine: rows carried between nodes, products and sums."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from elector.base import units
from elector.base.errors import InputError
from elector.technology.draws import Number, lowest, words
from elector.technology.laws import factor
from elector.technology.rows import EVIDENCE, ConstantRow
from elector.technology.scaling import interpolate

Array = np.ndarray

#: The groups a result reports: share of its energy or area that rests on each.
PROVENANCE = ("measured", "published", "scaled", "assumed")


@dataclass(frozen=True)
class Price:
    """What one unit of a quantity costs at one node.

    value : in SI; (S,) under S draws of the constants. unit : SI unit.
    law : what the value is to be multiplied by (elector.technology.laws).
    evidence : of the weakest row it rests on; scaled where it was carried to another node.
    verified : False where a row it rests on was only read second-hand.
    rows : ids of the rows it rests on, those of the ratios between nodes included.
    note : how it was derived, one line.
    floor, floor_row, floor_group : size [byte] from which on the law holds, the id of its row and
        its group of PROVENANCE, on which the price of a smaller memory rests as well.
    """

    value: Number
    unit: str
    law: str
    evidence: str
    verified: bool
    rows: tuple[str, ...]
    note: str
    floor: Number = 0.0
    floor_row: str = ""
    floor_group: str = PROVENANCE[0]

    @property
    def group(self) -> str:
        """The group of PROVENANCE that all of it counts under: that of its weakest row."""
        return group(self.evidence, self.verified)

    def factor(self, size: Array | float) -> Array:
        """What the price of memories of `size` [byte] is multiplied by."""
        return factor(self.law, np.asarray(size), self.floor)

    def at(self, size: float) -> float:
        """The price of a memory of `size` [byte], by its law."""
        return float(self.value * self.factor(size))


def group(evidence: str, verified: bool) -> str:
    """Group of PROVENANCE. What was only read second-hand is reported with the assumed.

    evidence : of the weakest row. verified : whether all rows were read at their source.
    """
    if not verified or evidence == "assumed":
        return "assumed"
    return evidence if evidence in PROVENANCE else "published"


def _weakest(*evidence: str) -> str:
    return max(evidence, key=EVIDENCE.index)


def from_row(row: ConstantRow, note: str) -> Price:
    """The price a row states, at its own node.

    note : how it was derived.
    """
    return Price(
        value=row.value,
        unit=row.unit,
        law=row.law,
        evidence=row.evidence,
        verified=row.verified,
        rows=(row.id,),
        note=note,
    )


def scaled(
    rows: tuple[ConstantRow, ...], value: Number, note: str, by: tuple[ConstantRow, ...] = ()
) -> Price:
    """A price carried from the nodes of `rows` to another, by the ratios of the rows `by`.

    value : in SI. note : how it was derived.
    """
    behind = (*rows, *by)
    return Price(
        value=value,
        unit=rows[0].unit,
        law=rows[0].law,
        evidence=_weakest("scaled", *(row.evidence for row in behind)),
        verified=all(row.verified for row in behind),
        rows=tuple(row.id for row in behind),
        note=note,
    )


def between(ladder: tuple[ConstantRow, ...], node: float) -> Price:
    """On the line between the two rows around the node, in log price over log node."""
    low, high = next(
        pair
        for pair in itertools.pairwise(ladder)
        if (pair[0].node or 0.0) < node < (pair[1].node or 0.0)
    )
    if min(lowest(low.value), lowest(high.value)) <= 0:
        raise InputError(
            f"a price of 0 cannot be carried from {low.node:g}-{high.node:g} to {node:g} nm",
            file=low.file,
            field=low.id,
        )
    curve = ((low.node or 0.0, low.value), (high.node or 0.0, high.value))
    note = f"between {high.text} at {high.node:g} nm and {low.text} at {low.node:g} nm"
    return scaled((high, low), interpolate(curve, node), f"{note}, at {node:g} nm")


def product(first: Price, second: Price) -> Price:
    """Product of two prices; it rests on all rows of both."""
    assert "constant" in (first.law, second.law), "two factors that follow the size"
    # the only other product is bytes x price per byte
    plain = second.unit == "1"
    return Price(
        value=first.value * second.value,
        unit=first.unit if plain else second.unit.removesuffix("/byte"),
        law=first.law if second.law == "constant" else second.law,
        evidence=_weakest(first.evidence, second.evidence),
        verified=first.verified and second.verified,
        rows=tuple(dict.fromkeys(first.rows + second.rows)),
        note=f"{first.note} x {_shown(second)}",
    )


def total(first: Price, second: Price) -> Price:
    """Sum of two prices of one unit."""
    assert first.law == second.law and first.unit == second.unit
    return Price(
        value=first.value + second.value,
        unit=first.unit,
        law=first.law,
        evidence=_weakest(first.evidence, second.evidence),
        verified=first.verified and second.verified,
        rows=tuple(dict.fromkeys(first.rows + second.rows)),
        note=f"{first.note} + {second.note}",
    )


def _shown(price: Price) -> str:
    """A factor of a product, in its own words."""
    own = [row for row in price.rows if not row.startswith("scaling:")]
    name = own[0].partition("@")[0] if len(own) == 1 else "of " + price.note
    if price.unit == "1" or isinstance(price.value, np.ndarray):
        return f"{words(price.value, 'g')} ({name})"
    if price.unit.startswith("m2"):
        return f"{price.value * 1e12:.4g} um2{price.unit[2:]} ({name})"
    return f"{units.format_si(price.value, price.unit)} ({name})"
