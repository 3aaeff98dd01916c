"""Rows of the technology tables: one constant each, with unit, node, source and evidence."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from elector.base import units
from elector.base.errors import InputError
from elector.base.table import DATA, first_repeated, read_csv
from elector.technology.draws import Number
from elector.technology.laws import LAWS

#: From the firmest to the weakest; a price is as weak as the weakest row it rests on.
EVIDENCE = ("measured", "published", "synthesis", "derived", "scaled", "assumed")
#: Technology nodes that can be priced [nm].
NODE_LOW, NODE_HIGH = 3.0, 180.0

#: Whether a figure was read in its source, alike in two works that quote it, or in one of them.
VERIFIED = ("yes", "two", "no")

#: Columns with figures in the row's unit.
_VALUES = ("low", "value", "high")
_REQUIRED = ("part", "quantity", "value", "unit", "node_nm", "source", "evidence")
_OPTIONAL = ("law", "low", "high", "verified", "note", "looked_for")


@dataclass(frozen=True)
class PartQuantity:
    """What a (part, quantity) pair means; a line of data/quantities.csv.

    part : the part, or `mac.*` for every kind of it.
    unit : SI unit of its price.
    scaling : how it follows the node: energy | sram_energy | area | fixed.
    formula : sum of products of other quantities (`name` or `part:name`) that gives it where
        no row does; empty where only rows do.
    zero : whether it may be 0, as a price, a size or a share of nothing may; what others are
        divided by, and a ratio of two prices, may not.
    least, most : what any other value lies between [SI], far beyond published ones on both
        sides, and such that every result is finite.
    """

    part: str
    quantity: str
    unit: str
    scaling: str
    formula: str
    zero: bool
    least: float
    most: float
    description: str

    def check(self, value: float, text: str, *, file: object, field: str) -> None:
        """Refuse a value that has no meaning as this quantity.

        value : [SI]. text : as written. file, field : where.
        """
        if value < 0:
            raise InputError("must not be negative", file=file, field=field, value=text)
        of = "" if self.unit == "1" else f" {self.unit}"
        limits = f"{self.least:g} to {self.most:g}{of}"
        if value == 0 and not self.zero:
            problem = f"{self.quantity} of {self.part} needs a value above 0: {limits}"
            raise InputError(problem, file=file, field=field, value=text)
        if value and not self.least <= value <= self.most:
            or_zero = " or be 0" if self.zero else ""
            problem = f"{self.quantity} of {self.part} must lie within {limits}{or_zero}"
            raise InputError(problem, file=file, field=field, value=text)


@dataclass(frozen=True)
class ConstantRow:
    """One constant.

    value : in SI; (S,) under S draws. unit : SI unit. text : value and unit as written.
    node : technology node [nm], or None where it holds at every node.
    law : what the value is to be multiplied by (elector.technology.laws).
    low, high : what nine of ten such constants lie between [SI], as its sources say; None where the
        spread of its evidence says so.
    looked_for : where a firmer figure was looked for, and what was found there.
    agreed : whether it was read not in its source, but alike in two works that quote it.
    verified : False where the figure was read in a publication that quotes the source.
    """

    part: str
    quantity: str
    value: Number
    unit: str
    node: float | None
    law: str
    source: str
    evidence: str
    verified: bool
    note: str
    text: str
    file: str
    line: int
    looked_for: str = ""
    agreed: bool = False
    low: float | None = None
    high: float | None = None

    @property
    def id(self) -> str:
        """Name of the row: `part:quantity`, and `@node` where it has one."""
        at = "" if self.node is None else f"@{self.node:g}"
        return f"{self.part}:{self.quantity}{at}"


@functools.cache
def quantities() -> tuple[PartQuantity, ...]:
    """Every pair that can be priced, from data/quantities.csv."""
    names, lines = read_csv(DATA / "quantities.csv")
    expected = [field for field in PartQuantity.__dataclass_fields__]
    assert names == expected, f"columns of quantities.csv: {names}"
    return tuple(
        PartQuantity(
            part, quantity, unit, scaling, formula, zero == "yes", float(low), float(high), of
        )
        for _, (part, quantity, unit, scaling, formula, zero, low, high, of) in lines
    )


@functools.cache
def find_quantity(part: str, quantity: str) -> PartQuantity | None:
    """The meaning of a pair; `mac.*` stands for every part that begins with `mac.`.

    part, quantity : the pair, as tables have it.
    """
    for known in quantities():
        prefix = known.part.removesuffix("*")
        same = part == known.part or (prefix != known.part and part.startswith(prefix))
        if same and quantity == known.quantity:
            return known
    return None


def read_rows(path: Path, parts: Collection[str] | None = None) -> list[ConstantRow]:
    """The rows of one CSV file, checked; errors name file, line and column.

    parts : the parts that exist; None while the shipped tables themselves are read.
    """
    names, lines = read_csv(path)
    _check_header(names, path)
    rows = []
    for line, cells in lines:
        if len(cells) != len(names):
            raise InputError(
                f"line {line}: has {len(cells)} cells, the header {len(names)}", file=path
            )
        rows.append(_row(dict(zip(names, cells, strict=True)), path, line, parts))
    _check_unique(rows)
    return rows


def _check_header(names: list[str], path: Path) -> None:
    for name in names:
        if name not in _REQUIRED + _OPTIONAL:
            raise InputError(
                "line 1: unknown column", file=path, value=name, allowed=_REQUIRED + _OPTIONAL
            )
    if (twice := first_repeated(names)) is not None:
        raise InputError("line 1: column given twice", file=path, value=twice)
    for name in _REQUIRED:
        if name not in names:
            raise InputError(f"line 1: the column {name} is missing", file=path)


def _check_unique(rows: Iterable[ConstantRow]) -> None:
    seen: dict[str, ConstantRow] = {}
    for row in rows:
        first = seen.setdefault(row.id, row)
        if first is not row:
            raise InputError(
                f"line {row.line}: repeats line {first.line}: {row.id}",
                file=row.file,
                hint="one row for each part, quantity and node",
            )


def _row(
    cells: dict[str, str], path: Path, line: int, parts: Collection[str] | None
) -> ConstantRow:
    for column in ("part", "quantity", "value", "unit", "source", "evidence"):
        if not cells[column]:
            raise InputError(f"line {line}: has no {column}", file=path, field=column)
    part, quantity = cells["part"], cells["quantity"]
    spec = _pair(part, quantity, path, line, parts)
    verified = _choice(cells.get("verified") or "yes", "verified", VERIFIED, path, line)
    low, value, high = (_value(cells, name, spec, path, line) for name in _VALUES)
    assert value is not None
    _check_spread(low, value, high, path, line)
    return ConstantRow(
        part=part,
        quantity=quantity,
        value=value,
        low=low,
        high=high,
        unit=spec.unit,
        node=_node(cells["node_nm"], path, line),
        law=_choice(cells.get("law") or "constant", "law", LAWS, path, line),
        source=cells["source"],
        evidence=_choice(cells["evidence"], "evidence", EVIDENCE, path, line),
        verified=verified != "no",
        agreed=verified == "two",
        note=cells.get("note", ""),
        looked_for=cells.get("looked_for", ""),
        text=f"{cells['value']} {cells['unit']}".removesuffix(" 1"),
        file=str(path),
        line=line,
    )


def _pair(
    part: str, quantity: str, path: Path, line: int, parts: Collection[str] | None
) -> PartQuantity:
    if parts is not None and part not in parts:
        raise InputError(
            f"line {line}: unknown part", file=path, field="part", value=part, allowed=sorted(parts)
        )
    spec = find_quantity(part, quantity)
    if spec is None:
        raise InputError(
            f"line {line}: unknown quantity of {part}",
            file=path,
            field="quantity",
            value=quantity,
            allowed=quantities_of(part),
        )
    return spec


def quantities_of(part: str) -> list[str]:
    """Names of everything that can be asked of a part."""
    return [q.quantity for q in quantities() if find_quantity(part, q.quantity) is q]


def _value(
    cells: dict[str, str], column: str, spec: PartQuantity, path: Path, line: int
) -> float | None:
    """A figure of a row in SI; None where it has none."""
    field, text = f"line {line}: {column}", cells.get(column, "")
    if not text:
        return None
    if text[-1:].isalpha():
        raise InputError(
            "is not a number",
            file=path,
            field=field,
            value=text,
            hint="the unit stands in its own column",
        )
    value = units.parse(f"{text} {cells['unit']}", spec.unit, field=field, file=path)
    if value == 0 and re.search("[1-9]", text.lower().partition("e")[0]):
        raise InputError("is too small to be told from 0", file=path, field=field, value=text)
    if column == "value" or value != 0:  # a spread from 0 on is refused beside its value
        spec.check(value, f"{text} {cells['unit']}".removesuffix(" 1"), file=path, field=field)
    return value + 0.0  # no -0


def _check_spread(
    low: float | None, value: float, high: float | None, path: Path, line: int
) -> None:
    """Refuse half a spread, one from 0 on, and one that the value lies outside of."""
    if low is None and high is None:
        return
    if low is None or high is None:
        missing = "low" if low is None else "high"
        raise InputError(f"line {line}: has low or high alone", file=path, field=missing)
    if not 0 < low <= value <= high:
        raise InputError(
            f"line {line}: low must be above 0, and value between low and high",
            file=path,
            field="low" if not 0 < low <= value else "high",
            value=low if not 0 < low <= value else high,
        )


def _node(text: str, path: Path, line: int) -> float | None:
    if not text:
        return None
    field = f"line {line}: node_nm"
    node = units.parse(text, "nm", field=field, file=path)
    check_node(node, file=path, field=field)
    return node


def check_node(node: float, *, file: object = None, field: str = "node") -> None:
    """Refuse a node outside the tables."""
    if not NODE_LOW <= node <= NODE_HIGH:
        raise InputError(
            f"must lie between {NODE_LOW:g} and {NODE_HIGH:g} nm",
            file=file,
            field=field,
            value=node,
        )


def _choice(text: str, column: str, allowed: tuple[str, ...], path: Path, line: int) -> str:
    if text not in allowed:
        raise InputError(
            f"line {line}: unknown {column}", file=path, field=column, value=text, allowed=allowed
        )
    return text
