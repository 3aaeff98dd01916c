"""From codes to values and back: where the parameters of one dotted name lie among its values.

Axes: D designs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from elector.base.table import Scalar
from transcode.space.parts import Parameter, Section


@dataclass(frozen=True)
class Piece:
    """Where one parameter's codes lie among the values of its name.

    table : (size,) or, for a multiple, (parent size, size) codes into the layout's values.
    """

    column: int
    parent: int
    table: np.ndarray

    def look_up(self, codes: np.ndarray) -> np.ndarray:
        """(D,) codes into the layout's values."""
        own = codes[:, self.column]
        return self.table[own] if self.parent < 0 else self.table[codes[:, self.parent], own]

    def reverse(self, merged: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """(D,) own codes from codes into the layout's values, -1 where there is none.

        merged : (D,) codes into the layout's values.
        """
        table = self.table[None, :] if self.parent < 0 else self.table
        inverse = np.full((len(table), int(table.max()) + 2), -1)
        rows = np.arange(len(table))[:, None]
        inverse[rows, table] = np.arange(table.shape[1])
        parents = np.zeros(len(codes), np.intp) if self.parent < 0 else codes[:, self.parent]
        known = (merged >= 0) & (merged < inverse.shape[1])
        return np.where(known, inverse[np.maximum(parents, 0), np.where(known, merged, 0)], -1)


@dataclass(frozen=True)
class Layout:
    """The values a dotted name can take, and which parameters set it."""

    values: tuple[Scalar | None, ...]
    pieces: tuple[Piece, ...]
    always: bool


def layout(
    parameters: Sequence[Parameter], sections: Sequence[Section], columns: list[int]
) -> Layout:
    """The layout of a name that the parameters in `columns` set."""
    always = len(columns) == 1 and _in_every_alternative(sections, columns[0])
    values: dict[Scalar | None, int] = {} if always else {None: 0}
    pieces = []
    for column in columns:
        parameter = parameters[column]
        rows: list[list[Scalar]] = [list(parameter.values)]
        if parameter.parent >= 0:
            parents = parameters[parameter.parent].values
            rows = [[multiple(p, v) for v in parameter.values] for p in parents]
        table = np.array(
            [[values.setdefault(v, len(values)) for v in row] for row in rows], dtype=np.intp
        )
        pieces.append(Piece(column, parameter.parent, table if parameter.parent >= 0 else table[0]))
    return Layout(tuple(values), tuple(pieces), always)


def _in_every_alternative(sections: Sequence[Section], column: int) -> bool:
    for section in sections:
        if column == section.selector:
            return True
        if any(column in members for members in section.members):
            return len(section.members) == 1
    raise AssertionError(column)  # every parameter belongs to a section


def multiple(parent: Scalar, factor: Scalar) -> Scalar:
    """parent x factor; a whole number where the product is one, 768 x 1/48 included."""
    product = float(parent) * float(factor)
    if not math.isfinite(product):
        return product
    whole = round(product)
    return whole if abs(product - whole) <= 1e-9 * abs(product) else product
