"""Prices: a row, or a row carried to another node, or a formula of such."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from elector import units
from elector.errors import InputError
from elector.table import DATA, load_yaml
from elector.technology.rows import (
    EVIDENCE,
    Quantity,
    Row,
    check_node,
    find_quantity,
    quantities_of,
    read_rows,
)
from elector.technology.scaling import Scaling, interpolate

#: The groups a result reports: share of its energy or area that rests on each.
PROVENANCE = ("measured", "published", "scaled", "assumed")


@dataclass(frozen=True)
class Price:
    """What one unit of a quantity costs at one node.

    value : in SI. unit : SI unit.
    law : constant, or sqrt_size: to be multiplied by sqrt(size [byte] / 1e6).
    evidence : of the weakest row it rests on; scaled where it was carried to another node.
    verified : False where a row it rests on was only read second-hand.
    rows : ids of the rows it rests on.
    note : how it was derived, one line.
    shares : share of the value that rests on each group of PROVENANCE; they sum to 1.
    """

    value: float
    unit: str
    law: str
    evidence: str
    verified: bool
    rows: tuple[str, ...]
    note: str
    shares: tuple[float, float, float, float]

    def at(self, size: float) -> float:
        """The price of a memory of `size` [byte], by its law."""
        return self.value if self.law == "constant" else self.value * (size / 1e6) ** 0.5


@dataclass(frozen=True, eq=False)
class Technology:
    """The constants, by (part, quantity)."""

    table: Mapping[tuple[str, str], tuple[Row, ...]]
    scaling: Scaling
    _prices: dict[tuple[str, str, float], Price] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, override: str | Path | None = None) -> Technology:
        """The shipped tables, with the rows of the user's file `override` on top.

        A user's row replaces the shipped row of the same part, quantity and node; without a
        node it replaces every row of the pair; at a node of its own it joins them.
        """
        shipped = _shipped()
        if override is None:
            return shipped
        own = read_rows(Path(override), parts={part for part, _ in shipped.table})
        _check_nodes(own, override)
        return cls._of(_merged(shipped.rows, own))

    @classmethod
    def _of(cls, rows: Iterable[Row]) -> Technology:
        table: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            table.setdefault((row.part, row.quantity), []).append(row)
        ladders = {
            pair: tuple(sorted(ladder, key=lambda row: row.node or 0.0))
            for pair, ladder in table.items()
        }
        return cls(ladders, Scaling.of(row for row in rows if row.part == "scaling"))

    @property
    def rows(self) -> list[Row]:
        """Every constant, in the order of the tables."""
        return [row for ladder in self.table.values() for row in ladder]

    @property
    def parts(self) -> list[str]:
        """Names of the parts that have a price."""
        return list(dict.fromkeys(part for part, _ in self.table))

    def price(self, part: str, quantity: str, node_nm: float) -> Price:
        """Price of `quantity` of `part` at the node [nm]."""
        key = (part, quantity, float(node_nm))
        found = self._prices.get(key)
        if found is None:
            check_node(key[2])
            found = self._prices[key] = self._priced(self._known(part, quantity), part, key[2])
        return found

    def explain(self, part: str) -> list[Row]:
        """The rows of a part, and those of other parts that its formulas use."""
        known = self._known_part(part)
        pairs = [pair for pair in self.table if pair[0] == known]
        for name in quantities_of(known):
            spec = self._known(known, name)
            if (known, name) not in self.table:
                pairs += self._roots(spec, known)
        return [row for pair in dict.fromkeys(pairs) for row in self.table[pair]]

    def row(self, id: str) -> Row:
        """The row of that id."""
        by_id = {row.id: row for row in self.rows}
        if id not in by_id:
            raise InputError("unknown row", value=id, allowed=by_id)
        return by_id[id]

    def _known_part(self, part: str) -> str:
        if part not in self.parts:
            raise InputError("unknown part", value=part, allowed=self.parts)
        return part

    def _known(self, part: str, quantity: str) -> Quantity:
        spec = find_quantity(self._known_part(part), quantity)
        if spec is None:
            raise InputError(
                f"unknown quantity of {part}", value=quantity, allowed=quantities_of(part)
            )
        return spec

    def _priced(self, spec: Quantity, part: str, node: float) -> Price:
        ladder = self.table.get((part, spec.quantity))
        if ladder:
            return self._from_rows(spec, ladder, node)
        if spec.formula:
            return self._from_formula(spec, part, node)
        raise InputError(f"no row gives {spec.quantity} of {part}", value=part)

    def _from_rows(self, spec: Quantity, ladder: tuple[Row, ...], node: float) -> Price:
        for row in ladder:
            if row.node is None or row.node == node:
                at = "" if row.node is None else f" at {node:g} nm"
                return _from_row(row, f"{row.text}{at}")
        low, high = ladder[0], ladder[-1]
        if (low.node or 0.0) < node < (high.node or 0.0):
            return _between(ladder, node)
        nearest = low if node < (low.node or 0.0) else high
        ratio, rule = self.scaling.ratio(spec.scaling, nearest.node or node, node)
        note = f"{nearest.text} at {nearest.node:g} nm x {ratio:.4g} to {node:g} nm ({rule})"
        return _scaled((nearest,), nearest.value * ratio, note)

    def _from_formula(self, spec: Quantity, part: str, node: float) -> Price:
        terms = []
        for term in spec.formula.split(" + "):
            factors = [
                (name, self._priced(self._known(*pair), pair[0], node))
                for name, pair in _references(term, part)
            ]
            terms.append(functools.reduce(_product, (price for _, price in factors)))
        return functools.reduce(_sum, terms) if len(terms) > 1 else terms[0]

    def _roots(self, spec: Quantity, part: str) -> list[tuple[str, str]]:
        """The pairs with rows that a formula comes down to."""
        pairs: list[tuple[str, str]] = []
        for term in spec.formula.split(" + "):
            for _, pair in _references(term, part) if term else ():
                inner = self._known(*pair)
                pairs += [pair] if pair in self.table else self._roots(inner, pair[0])
        return pairs


@functools.cache
def _shipped() -> Technology:
    rows = [row for path in sorted((DATA / "technology").glob("*.csv")) for row in read_rows(path)]
    _check_nodes(rows, DATA / "technology")
    return Technology._of(rows)


@functools.cache
def sources() -> dict[str, str]:
    """What the first word of a row's source stands for."""
    found = load_yaml(DATA / "sources.yaml")
    assert isinstance(found, dict)
    return {str(key): str(text) for key, text in found.items()}


def _check_nodes(rows: Iterable[Row], file: object) -> None:
    """A pair either follows the node or does not; both at once have no meaning."""
    first: dict[tuple[str, str], Row] = {}
    for row in rows:
        other = first.setdefault((row.part, row.quantity), row)
        if other.file == row.file and (other.node is None) != (row.node is None):
            raise InputError(
                f"line {row.line}: {row.part} {row.quantity} has a node on one line and none on "
                f"line {other.line}",
                file=row.file or file,
                field="node_nm",
            )
        if other is not row and other.law != row.law:
            raise InputError(
                f"line {row.line}: {row.part} {row.quantity} follows two laws",
                file=row.file or file,
                field="law",
                value=row.law,
                hint=f"the other rows of the pair follow {other.law}",
            )


def _merged(shipped: list[Row], own: list[Row]) -> list[Row]:
    """The user's rows on top of the shipped ones."""
    ids = {row.id for row in own}
    nodeless = {(row.part, row.quantity): row.node is None for row in own}
    kept = []
    for row in shipped:
        pair = (row.part, row.quantity)
        replaced = row.id in ids or nodeless.get(pair, False)
        # a shipped row without a node gives way to the user's that have one
        replaced |= pair in nodeless and row.node is None
        if not replaced:
            kept.append(row)
    merged = kept + own
    _check_nodes(merged, None)
    return merged


def _references(term: str, part: str) -> list[tuple[str, tuple[str, str]]]:
    """Names and (part, quantity) pairs of the factors of a product."""
    found = []
    for name in term.split(" * "):
        other, colon, quantity = name.strip().rpartition(":")
        found.append((name.strip(), (other if colon else part, quantity)))
    return found


def _group(evidence: str, verified: bool) -> str:
    """Group of PROVENANCE. What was only read second-hand is reported with the assumed."""
    if evidence in ("measured", "scaled", "assumed"):
        return evidence if verified or evidence != "measured" else "assumed"
    return "published" if verified else "assumed"


def _shares(evidence: str, verified: bool) -> tuple[float, float, float, float]:
    group = _group(evidence, verified)
    measured, published, scaled, assumed = (float(group == name) for name in PROVENANCE)
    return measured, published, scaled, assumed


def _weakest(*evidence: str) -> str:
    return max(evidence, key=EVIDENCE.index)


def _from_row(row: Row, note: str) -> Price:
    return Price(
        value=row.value,
        unit=row.unit,
        law=row.law,
        evidence=row.evidence,
        verified=row.verified,
        rows=(row.id,),
        note=note,
        shares=_shares(row.evidence, row.verified),
    )


def _scaled(rows: tuple[Row, ...], value: float, note: str) -> Price:
    """A price carried from the nodes of `rows` to another."""
    evidence = _weakest("scaled", *(row.evidence for row in rows))
    verified = all(row.verified for row in rows)
    return Price(
        value=value,
        unit=rows[0].unit,
        law=rows[0].law,
        evidence=evidence,
        verified=verified,
        rows=tuple(row.id for row in rows),
        note=note,
        shares=_shares(evidence, verified),
    )


def _between(ladder: tuple[Row, ...], node: float) -> Price:
    """On the line between the two rows around the node, in log price over log node."""
    pairs = zip(ladder, ladder[1:], strict=False)
    low, high = next(p for p in pairs if (p[0].node or 0.0) < node < (p[1].node or 0.0))
    if min(low.value, high.value) <= 0:
        raise InputError(
            f"a price of 0 cannot be carried from {low.node:g}-{high.node:g} to {node:g} nm",
            file=low.file,
            field=low.id,
        )
    curve = ((low.node or 0.0, low.value), (high.node or 0.0, high.value))
    note = f"between {high.text} at {high.node:g} nm and {low.text} at {low.node:g} nm"
    return _scaled((high, low), interpolate(curve, node), f"{note}, at {node:g} nm")


def _product(first: Price, second: Price) -> Price:
    """Product of two prices. A plain factor above 1 answers for what it adds."""
    assert "constant" in (first.law, second.law), "two factors that follow the size"
    evidence = _weakest(first.evidence, second.evidence)
    verified = first.verified and second.verified
    if second.unit == "1":
        kept = 1.0 / max(second.value, 1.0)
        shares = _mixed(first.shares, second.shares, kept)
        unit = first.unit
    else:
        shares = _shares(evidence, verified)
        # the only other product is bytes x price per byte
        unit = second.unit.removesuffix("/byte")
    return Price(
        value=first.value * second.value,
        unit=unit,
        law=first.law if second.law == "constant" else second.law,
        evidence=evidence,
        verified=verified,
        rows=tuple(dict.fromkeys(first.rows + second.rows)),
        note=f"{first.note} x {_shown(second)}",
        shares=shares,
    )


def _sum(first: Price, second: Price) -> Price:
    assert first.law == second.law and first.unit == second.unit
    total = first.value + second.value
    return Price(
        value=total,
        unit=first.unit,
        law=first.law,
        evidence=_weakest(first.evidence, second.evidence),
        verified=first.verified and second.verified,
        rows=tuple(dict.fromkeys(first.rows + second.rows)),
        note=f"{first.note} + {second.note}",
        shares=_mixed(first.shares, second.shares, first.value / total if total else 1.0),
    )


def _mixed(
    first: tuple[float, float, float, float],
    second: tuple[float, float, float, float],
    weight: float,
) -> tuple[float, float, float, float]:
    measured, published, scaled, assumed = (
        weight * a + (1.0 - weight) * b for a, b in zip(first, second, strict=True)
    )
    return measured, published, scaled, assumed


def _shown(price: Price) -> str:
    """A factor of a product, in its own words."""
    name = price.rows[0].partition("@")[0] if len(price.rows) == 1 else "of " + price.note
    if price.unit == "1":
        return f"{price.value:g} ({name})"
    if price.unit.startswith("m2"):
        return f"{price.value * 1e12:.4g} um2{price.unit[2:]} ({name})"
    return f"{units.format_si(price.value, price.unit)} ({name})"
