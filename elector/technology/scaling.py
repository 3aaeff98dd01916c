"""Ratios between technology nodes.

Energy of logic: within 180-32 nm (planar) and within 20-7 nm (FinFET) by the polynomials of
Stillmaker & Baas, Integration 58 (2017), doi 10.1016/j.vlsi.2017.02.002, at the supply voltage
of each node. Across the step their ratio is 3-6 times too optimistic against operators
published at both 45 and 7 nm, so there the energy follows the line between those two nodes in
log energy over log node, as far as an older node stays the dearer one. Area of logic: the area
table of the same paper. Below 7 nm: the factors the foundry states for its own nodes.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from elector.base.errors import InputError
from elector.technology.draws import Number, least, log, lowest, power
from elector.technology.rows import ConstantRow

#: Ends of the planar and of the FinFET family, and the two nodes of the operators [nm].
PLANAR_LOW, FINFET_HIGH, FINFET_LOW = 32.0, 20.0, 7.0
OPERATORS_OLD = 45.0

Curve = tuple[tuple[float, Number], ...]


def interpolate(curve: Curve, node: float) -> Number:
    """Value at `node`, on straight lines in log value over log node.

    curve : (node [nm], value) in increasing order of node; `node` lies within it.
    """
    for (low, value_low), (high, value_high) in itertools.pairwise(curve):
        if low <= node <= high:
            # the ends exactly, so that a row at the node itself keeps its value
            if node == low:
                return value_low
            if node == high:
                return value_high
            weight = log(node / low) / log(high / low)
            return value_low * power(value_high / value_low, weight)
    raise AssertionError(f"{node} nm outside {curve[0][0]}-{curve[-1][0]} nm")


@dataclass(frozen=True)
class Ladder:
    """Values at nodes, from rows of the part `scaling`, in increasing order of node."""

    rows: tuple[ConstantRow, ...]

    @functools.cached_property
    def curve(self) -> Curve:
        """(node [nm], value) of each row."""
        return tuple((row.node or 0.0, row.value) for row in self.rows)

    def at(self, node: float) -> Number:
        """Value at `node` [nm]."""
        return interpolate(self.curve, node)

    def used(self, node: float) -> tuple[ConstantRow, ...]:
        """The rows that the value at `node` [nm] rests on: its own, or the two around it."""
        for low, high in itertools.pairwise(self.rows):
            if (low.node or 0.0) <= node <= (high.node or 0.0):
                return tuple(row for row in (low, high) if row.node == node) or (low, high)
        return ()


@dataclass(frozen=True)
class Ratio:
    """Price at one node over price at another: its value, the rule, and the rows behind it."""

    value: Number
    rule: str
    rows: tuple[ConstantRow, ...] = ()


@dataclass(frozen=True)
class Scaling:
    """The curves behind the ratios, each relative to a node of its own.

    energy, area : Stillmaker-Baas energy and area over 7-180 nm.
    operators : energy of operators published at 45 and at 7 nm.
    energy_below, sram_energy_below, area_below : 3-7 nm, 1 at 7 nm.
    """

    energy: Ladder
    area: Ladder
    operators: Ladder
    energy_below: Ladder
    sram_energy_below: Ladder
    area_below: Ladder

    @classmethod
    def of(cls, rows: Iterable[ConstantRow]) -> Scaling:
        """From the rows of the part `scaling`."""
        curves: dict[str, dict[float, ConstantRow]] = {}
        for row in rows:
            if row.node is None or lowest(row.value) <= 0:
                raise InputError(
                    f"line {row.line}: a ratio between nodes needs its node and a value above 0",
                    file=row.file,
                    field=row.id,
                )
            curves.setdefault(row.quantity, {})[row.node] = row
        ladders = {
            name: Ladder(tuple(row for _, row in sorted(c.items()))) for name, c in curves.items()
        }
        return cls(
            energy=ladders["energy"],
            area=ladders["area"],
            operators=ladders["operator_energy"],
            energy_below=ladders["foundry_energy"],
            sram_energy_below=ladders["foundry_sram_energy"],
            area_below=ladders["foundry_area"],
        )

    @property
    def slope(self) -> Number:
        """Exponent of the node between the operators of 45 and 7 nm."""
        (low, value_low), *_, (high, value_high) = self.operators.curve
        return log(value_high / value_low) / log(high / low)

    def ratio(self, kind: str, source: float, target: float) -> Ratio:
        """Price at `target` over price at `source` [nm].

        kind : energy | sram_energy | area | fixed.
        """
        return _RULES[kind](self, source, target)


def _fixed(scaling: Scaling, source: float, target: float) -> Ratio:
    return Ratio(1.0, "taken over unchanged")


def _area(scaling: Scaling, source: float, target: float) -> Ratio:
    def relative(node: float) -> Number:
        return scaling.area.at(max(node, FINFET_LOW)) * _below(scaling.area_below, node)

    rows: list[ConstantRow] = []
    for node in (source, target):
        rows += scaling.area.used(max(node, FINFET_LOW))
        rows += scaling.area_below.used(node)
    rule = "Stillmaker-Baas area, foundry density below 7 nm"
    return Ratio(relative(target) / relative(source), rule, _once(rows))


def _logic_energy(scaling: Scaling, source: float, target: float) -> Ratio:
    return _energy(scaling, scaling.energy_below, source, target)


def _sram_energy(scaling: Scaling, source: float, target: float) -> Ratio:
    return _energy(scaling, scaling.sram_energy_below, source, target)


def _energy(scaling: Scaling, below: Ladder, source: float, target: float) -> Ratio:
    foundry = _below(below, target) / _below(below, source)
    new, old = sorted((max(source, FINFET_LOW), max(target, FINFET_LOW)))
    down = _energy_down(scaling, old, new)
    value = down.value if source > target else 1.0 / down.value
    rule, rows = down.rule, [*down.rows]
    if min(source, target) < FINFET_LOW:
        rule += ", foundry factor below 7 nm"
        rows += [row for node in (source, target) for row in below.used(node)]
    return Ratio(value * foundry, rule, _once(rows))


def _energy_down(scaling: Scaling, old: float, new: float) -> Ratio:
    """Energy at the node `new` over that at the larger node `old`, both 7-180 nm."""
    used: list[ConstantRow] = []

    def baas(source: float, target: float) -> Number:
        used.extend((*scaling.energy.used(source), *scaling.energy.used(target)))
        return scaling.energy.at(target) / scaling.energy.at(source)

    if old == new:
        return Ratio(1.0, "Stillmaker-Baas energy")
    if new >= PLANAR_LOW or old <= FINFET_HIGH:
        value = baas(old, new)
        return Ratio(value, "Stillmaker-Baas energy", _once(used))
    bridge = power(new / min(old, OPERATORS_OLD), scaling.slope)
    ratio = bridge * (baas(old, OPERATORS_OLD) if old > OPERATORS_OLD else 1.0)
    # no step backwards: never dearer than the last planar node, nor cheaper than 20 nm is
    if old >= PLANAR_LOW:
        ratio = least(ratio, baas(old, PLANAR_LOW))
    if new <= FINFET_HIGH:
        ratio = least(ratio, baas(FINFET_HIGH, new))
    rows = _once([*scaling.operators.rows, *used])
    return Ratio(ratio, "line through the operators of 45 and 7 nm", rows)


def _once(rows: Iterable[ConstantRow]) -> tuple[ConstantRow, ...]:
    """Each row once, in order."""
    return tuple({row.id: row for row in rows}.values())


def _below(ladder: Ladder, node: float) -> Number:
    """Factor of a node below 7 nm against 7 nm; 1 at and above it."""
    return 1.0 if node >= FINFET_LOW else ladder.at(node)


_RULES: dict[str, Callable[[Scaling, float, float], Ratio]] = {
    "energy": _logic_energy,
    "sram_energy": _sram_energy,
    "area": _area,
    "fixed": _fixed,
}
