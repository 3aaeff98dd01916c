"""The constants by part and quantity: loading, overriding, pricing, explaining."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from elector.base import paths
from elector.base.errors import InputError
from elector.base.table import DATA, load_yaml
from elector.technology import laws
from elector.technology.draws import words
from elector.technology.price import Price, between, from_row, group, product, scaled, total
from elector.technology.rows import (
    ConstantRow,
    PartQuantity,
    check_node,
    find_quantity,
    quantities_of,
    read_rows,
)
from elector.technology.scaling import Scaling


@dataclass(frozen=True, eq=False, repr=False)
class Technology:
    """The constants, by (part, quantity).

    draws : S, where constants have S values under all of which designs are priced in one call
        (`drawn`); 0 by default.
    """

    table: Mapping[tuple[str, str], tuple[ConstantRow, ...]]
    scaling: Scaling
    draws: int = 0
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
    def given(cls, technology: object) -> Technology:
        """The one a program hands in, or the shipped tables. Raises InputError for what is none.

        technology : None for the shipped tables.
        """
        if technology is None:
            return cls.load()
        if isinstance(technology, cls):
            return technology
        raise InputError(
            "must be a Technology",
            field="technology",
            value=type(technology).__name__,
            hint="elector.Technology.load(FILE)",
        )

    @classmethod
    def _of(cls, rows: list[ConstantRow]) -> Technology:
        table: dict[tuple[str, str], list[ConstantRow]] = {}
        for row in rows:
            table.setdefault((row.part, row.quantity), []).append(row)
        ladders = {
            pair: tuple(sorted(ladder, key=lambda row: row.node or 0.0))
            for pair, ladder in table.items()
        }
        return cls(ladders, Scaling.of(row for row in rows if row.part == "scaling"))

    def drawn(self, values: Mapping[str, Sequence[float]]) -> Technology:
        """The technology with S draws of some of its constants.

        values : id of a row -> S values in SI, the same number for each; other rows keep theirs.
        Raises InputError for a row that there is not, no or negative values, and other numbers.
        """
        sizes = {len(drawn) for drawn in values.values()}
        if len(sizes) != 1 or 0 in sizes:
            raise InputError("every constant needs the same number of draws, at least one")
        arrays = {id: np.array(drawn, dtype=float) for id, drawn in values.items()}
        known = {row.id: row for row in self.rows}
        for id, array in arrays.items():
            row = known.get(id) or self.row(id)  # which says what there is
            if not (np.isfinite(array).all() and array.min() >= 0):
                raise InputError("must be finite and not negative", field=id)
            if array.min() == 0 and not self._known(row.part, row.quantity).zero:
                raise InputError("needs values above 0", field=id, value=0.0)
        changed = {
            pair: tuple(replace(row, value=arrays.get(row.id, row.value)) for row in ladder)
            for pair, ladder in self.table.items()
            if any(row.id in arrays for row in ladder)
        }
        table = {**self.table, **changed}
        rows = (row for (part, _), own in table.items() if part == "scaling" for row in own)
        size = sizes.pop()
        return replace(self, table=table, scaling=Scaling.of(rows), draws=size, _prices={})

    def fresh(self) -> Technology:
        """The same technology, of which no price was asked yet."""
        return replace(self, _prices={})

    def rows_read(self) -> set[str]:
        """Ids of the rows behind all prices that were asked so far."""
        known = {row.id for row in self.rows}
        behind = (id for price in self._prices.values() for id in (*price.rows, price.floor_row))
        return {id for id in behind if id in known}

    def single(self) -> Technology:
        """This technology, of which one design has one price. Raises InputError for draws."""
        if self.draws:
            allowed = "elector.evaluation.path.evaluate"
            raise InputError(f"several draws of constants: only {allowed} prices under them")
        return self

    def __repr__(self) -> str:
        return f"<technology: {len(self.rows)} constants of {len(self.parts)} parts>"

    @property
    def rows(self) -> list[ConstantRow]:
        """Every constant, in the order of the tables."""
        return [row for ladder in self.table.values() for row in ladder]

    @functools.cached_property
    def parts(self) -> list[str]:
        """Names of the parts that have a price."""
        return list(dict.fromkeys(part for part, _ in self.table))

    def price(self, part: str, quantity: str, node_nm: float) -> Price:
        """Price of `quantity` of `part` at the node [nm].

        quantity : a name, or a sum of products of names as in data/quantities.csv, where
            `other:name` is a quantity of another part.

        node_nm : the node [nm].
        """
        key = (part, quantity, float(node_nm))
        known = self._prices.get(key)
        if known is None:
            check_node(key[2])
            spec = _composed(quantity) if " " in quantity else self._known(part, quantity)
            priced = self._priced(spec, self._known_part(part), key[2])
            known = self._prices[key] = self._by_law(priced)
        return known

    def _by_law(self, price: Price) -> Price:
        """The price with the constants of its law."""
        if price.law == laws.CONSTANT:
            return price
        (row,) = self.table[laws.part_of(price.law), laws.FLOOR]
        behind = group(row.evidence, row.verified)
        return replace(price, floor=row.value, floor_row=row.id, floor_group=behind)

    def explain(self, part: str) -> list[ConstantRow]:
        """The rows of a part, and those of other parts that its formulas use."""
        known = self._known_part(part)
        pairs = [pair for pair in self.table if pair[0] == known]
        for name in quantities_of(known):
            spec = self._known(known, name)
            if (known, name) not in self.table:
                pairs += self._roots(spec, known)
        return [row for pair in dict.fromkeys(pairs) for row in self.table[pair]]

    def row(self, id: str) -> ConstantRow:
        """The row of that id."""
        by_id = {row.id: row for row in self.rows}
        if id not in by_id:
            raise InputError("unknown row", value=id, allowed=by_id)
        return by_id[id]

    def _known_part(self, part: str) -> str:
        if part not in self.parts:
            raise InputError("unknown part", value=part, allowed=self.parts)
        return part

    def _known(self, part: str, quantity: str) -> PartQuantity:
        spec = find_quantity(self._known_part(part), quantity)
        if spec is None:
            raise InputError(
                f"unknown quantity of {part}", value=quantity, allowed=quantities_of(part)
            )
        return spec

    def _priced(self, spec: PartQuantity, part: str, node: float) -> Price:
        ladder = self.table.get((part, spec.quantity))
        if ladder:
            return self._from_rows(spec, ladder, node)
        if spec.formula:
            return self._from_formula(spec, part, node)
        raise InputError(f"no row gives {spec.quantity} of {part}", value=part)

    def _from_rows(self, spec: PartQuantity, ladder: tuple[ConstantRow, ...], node: float) -> Price:
        for row in ladder:
            if row.node is None or row.node == node:
                at = "" if row.node is None else f" at {node:g} nm"
                return from_row(row, f"{row.text}{at}")
        low, high = ladder[0], ladder[-1]
        if (low.node or 0.0) < node < (high.node or 0.0):
            return between(ladder, node)
        nearest = low if node < (low.node or 0.0) else high
        by = self.scaling.ratio(spec.scaling, nearest.node or node, node)
        ratio = words(by.value, ".4g")
        note = f"{nearest.text} at {nearest.node:g} nm x {ratio} to {node:g} nm ({by.rule})"
        return scaled((nearest,), nearest.value * by.value, note, by.rows)

    def _from_formula(self, spec: PartQuantity, part: str, node: float) -> Price:
        terms = []
        for term in spec.formula.split(" + "):
            factors = [
                self._priced(self._known(*pair), pair[0], node) for pair in _references(term, part)
            ]
            terms.append(functools.reduce(product, factors))
        return functools.reduce(total, terms)

    def _roots(self, spec: PartQuantity, part: str) -> list[tuple[str, str]]:
        """The pairs with rows that a formula comes down to."""
        pairs: list[tuple[str, str]] = []
        for term in spec.formula.split(" + "):
            for pair in _references(term, part) if term else ():
                inner = self._known(*pair)
                pairs += [pair] if pair in self.table else self._roots(inner, pair[0])
        return pairs


@functools.cache
def _shipped() -> Technology:
    folder = DATA / "technology"
    rows = [row for file in paths.names(folder, "*.csv") for row in read_rows(folder / file)]
    _check_nodes(rows, DATA / "technology")
    return Technology._of(rows)


@functools.cache
def sources() -> dict[str, str]:
    """What the first word of a row's source stands for."""
    texts = load_yaml(DATA / "sources.yaml")
    assert isinstance(texts, dict)
    return {str(key): str(text) for key, text in texts.items()}


def _check_nodes(rows: Iterable[ConstantRow], file: object) -> None:
    """A pair either follows the node or does not; both at once have no meaning."""
    first: dict[tuple[str, str], ConstantRow] = {}
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


def _merged(shipped: list[ConstantRow], own: list[ConstantRow]) -> list[ConstantRow]:
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


def _composed(formula: str) -> PartQuantity:
    """A quantity that only a formula gives."""
    return PartQuantity("", formula, "", "fixed", formula, True, 0.0, math.inf, "")


def _references(term: str, part: str) -> list[tuple[str, str]]:
    """(part, quantity) of the factors of a product; a bare name is of the same part."""
    references = []
    for name in term.split(" * "):
        other, colon, quantity = name.strip().rpartition(":")
        references.append((other if colon else part, quantity))
    return references
