"""Ratios between technology nodes.

Energy of logic: within 180-32 nm (planar) and within 20-7 nm (FinFET) by the polynomials of
Stillmaker & Baas, Integration 58 (2017), doi 10.1016/j.vlsi.2017.02.002, at the supply voltage
of each node. Across the step their ratio is 3-6 times too optimistic against operators
published at both 45 and 7 nm, so there the energy follows the line between those two nodes in
log energy over log node, as far as an older node stays the dearer one. Area of logic: the area
table of the same paper. Below 7 nm: the factors the foundry states for its own nodes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from elector.base.errors import InputError
from elector.technology.rows import Row

#: Ends of the planar and of the FinFET family, and the two nodes of the operators [nm].
PLANAR_LOW, FINFET_HIGH, FINFET_LOW = 32.0, 20.0, 7.0
OPERATORS_OLD = 45.0

Curve = tuple[tuple[float, float], ...]


def interpolate(curve: Curve, node: float) -> float:
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
            weight = math.log(node / low) / math.log(high / low)
            return value_low * (value_high / value_low) ** weight
    raise AssertionError(f"{node} nm outside {curve[0][0]}-{curve[-1][0]} nm")


@dataclass(frozen=True)
class Scaling:
    """The curves behind the ratios, each relative to a node of its own.

    energy, area : Stillmaker-Baas energy and area over 7-180 nm.
    slope : exponent of the node between the operators of 45 and 7 nm.
    energy_below, sram_energy_below, area_below : 3-7 nm, 1 at 7 nm.
    """

    energy: Curve
    area: Curve
    slope: float
    energy_below: Curve
    sram_energy_below: Curve
    area_below: Curve

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Scaling:
        """From the rows of the part `scaling`."""
        curves: dict[str, dict[float, float]] = {}
        for row in rows:
            if row.node is None or row.value <= 0:
                raise InputError(
                    f"line {row.line}: a ratio between nodes needs its node and a value above 0",
                    file=row.file,
                    field=row.id,
                )
            curves.setdefault(row.quantity, {})[row.node] = row.value
        operators = _curve(curves["operator_energy"])
        (low, value_low), (high, value_high) = operators[0], operators[-1]
        return cls(
            energy=_curve(curves["energy"]),
            area=_curve(curves["area"]),
            slope=math.log(value_high / value_low) / math.log(high / low),
            energy_below=_curve(curves["foundry_energy"]),
            sram_energy_below=_curve(curves["foundry_sram_energy"]),
            area_below=_curve(curves["foundry_area"]),
        )

    def ratio(self, kind: str, source: float, target: float) -> tuple[float, str]:
        """Price at `target` over price at `source` [nm], and the name of the rule.

        kind : energy | sram_energy | area | fixed.
        """
        return _RULES[kind](self, source, target)


def _curve(points: dict[float, float]) -> Curve:
    return tuple(sorted(points.items()))


def _fixed(scaling: Scaling, source: float, target: float) -> tuple[float, str]:
    return 1.0, "taken over unchanged"


def _area(scaling: Scaling, source: float, target: float) -> tuple[float, str]:
    def relative(node: float) -> float:
        above = interpolate(scaling.area, max(node, FINFET_LOW))
        return above * _below(scaling.area_below, node)

    return relative(target) / relative(source), "Stillmaker-Baas area, foundry density below 7 nm"


def _logic_energy(scaling: Scaling, source: float, target: float) -> tuple[float, str]:
    return _energy(scaling, scaling.energy_below, source, target)


def _sram_energy(scaling: Scaling, source: float, target: float) -> tuple[float, str]:
    return _energy(scaling, scaling.sram_energy_below, source, target)


def _energy(scaling: Scaling, below: Curve, source: float, target: float) -> tuple[float, str]:
    foundry = _below(below, target) / _below(below, source)
    new, old = sorted((max(source, FINFET_LOW), max(target, FINFET_LOW)))
    down, rule = _energy_down(scaling, old, new)
    ratio = down if source > target else 1.0 / down
    if min(source, target) < FINFET_LOW:
        rule += ", foundry factor below 7 nm"
    return ratio * foundry, rule


def _energy_down(scaling: Scaling, old: float, new: float) -> tuple[float, str]:
    """Energy at the node `new` over that at the larger node `old`, both 7-180 nm."""

    def baas(source: float, target: float) -> float:
        return interpolate(scaling.energy, target) / interpolate(scaling.energy, source)

    if new >= PLANAR_LOW or old <= FINFET_HIGH:
        return baas(old, new), "Stillmaker-Baas energy"
    bridge = (new / min(old, OPERATORS_OLD)) ** scaling.slope
    ratio = bridge * baas(max(old, OPERATORS_OLD), OPERATORS_OLD)
    # no step backwards: never dearer than the last planar node, nor cheaper than 20 nm is
    if old >= PLANAR_LOW:
        ratio = min(ratio, baas(old, PLANAR_LOW))
    if new <= FINFET_HIGH:
        ratio = min(ratio, baas(FINFET_HIGH, new))
    return ratio, "line through the operators of 45 and 7 nm"


def _below(curve: Curve, node: float) -> float:
    """Factor of a node below 7 nm against 7 nm; 1 at and above it."""
    return 1.0 if node >= FINFET_LOW else interpolate(curve, node)


_RULES: dict[str, Callable[[Scaling, float, float], tuple[float, str]]] = {
    "energy": _logic_energy,
    "sram_energy": _sram_energy,
    "area": _area,
    "fixed": _fixed,
}
