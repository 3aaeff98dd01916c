"""Rows and their numbers while they are written down; at the end a table of arrays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from elector.describe.numbers import Format, Precision, unpacking
from elector.operations.graph import Graph, Operand, RoleWeights, Value
from elector.operations.roles import NEVER_PACKED, Role, RowPart
from elector.operations.routing import Routing
from elector.operations.rows import PARAMETERS, Row

Array = np.ndarray
#: Numbers of a row that are (R, M) tables of `Operations`.
TABLES = (
    "count",
    "batch",
    "m",
    "k",
    "n",
    "span",
    "reach",
    "dense",
    "a_bytes",
    "b_bytes",
    "out_bytes",
)


@dataclass(frozen=True, eq=False, repr=False)
class Shape:
    """`batch` independent products of (m x k) by (k x n), each (M,).

    share : distinct second operands for each product. span : see `Operations`.
    reach : (M,) the side that grows, where a mask hides part of it: k or n of the whole product,
        as the row's `grows` says; None where nothing is hidden.
    dense : (M,) that side without any mask, where it is longer than `reach`: of a whole prompt that
        is read in pieces; None where it is not.
    routed : of products of experts, of which `batch` get tokens and m is their mean; else None.
    """

    batch: Array | float
    m: Array
    k: Array
    n: Array
    share: Array | float = 1.0
    span: Array | float = 0.0
    reach: Array | None = None
    dense: Array | None = None
    routed: Routing | None = None

    def but(self, m: Array, k: Array, n: Array, share: Array | float | None = None) -> Shape:
        """As many products with other sides, of which the same part is hidden."""
        share = self.share if share is None else share
        return replace(self, m=m, k=k, n=n, share=share)

    @property
    def uncut(self) -> Array | float:
        """(M,) the side that grows without any mask; 0 where all of it is computed."""
        given = self.reach if self.dense is None else self.dense
        return 0.0 if given is None else given

    def whole(self, grows: str) -> tuple[Array, Array]:
        """k and n of the whole product, what a mask hides included."""
        if self.reach is None:
            return self.k, self.n
        return (self.reach, self.n) if grows == "k" else (self.k, self.reach)


@dataclass(frozen=True, eq=False, repr=False)
class Sizes:
    """Bytes of vector work where they are not one tensor each way.

    reads, extra, writes : (M,) of the first operand, the second one and the result.
    """

    reads: Array | None = None
    extra: Array | None = None
    writes: Array | None = None


@dataclass
class Collector:
    """Collects rows, their numbers and their operands.

    Operations that no pair has are left out.

    kept : roles of products whose matrices are stored as all weights. own : roles -> the format of
    their own that their matrices are stored in. packed : parameters -> bytes of a value as stored.
    further : row -> a third tensor that it reads. routed : places of products of experts -> how
    tokens fall on them.
    """

    size: int
    format: Precision
    kept: frozenset[Role] = NEVER_PACKED
    own: dict[Role, Format] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    numbers: list[dict[str, Array | float]] = field(default_factory=list)
    operands: list[tuple[Operand, Operand]] = field(default_factory=list)
    packed: dict[RoleWeights, float] = field(default_factory=dict)
    further: dict[int, Value] = field(default_factory=dict)
    routed: dict[int, Routing] = field(default_factory=dict)

    def matmul(
        self,
        row: Row,
        count: Array,
        shape: Shape,
        operands: tuple[Operand, Operand],
        widths: tuple[float, float, float] | None = None,
    ) -> int:
        """One kind of matrix product; its place in the table, -1 where no pair has it.

        count : (M,) times it runs. widths : bytes of an element of a, b and the result, where they
            are not those of the step.
        """
        if not count.any():
            return -1
        s = shape
        a_width, b_width, out_width = widths or self._widths(row)
        k, n = s.whole(row.grows)
        stored = self._stored(row)
        if stored is not None:
            b_width = stored.width
            if stored is not self.format.products:
                self._unpack(row, count, stored, s.batch * k * n * s.share)
            if isinstance(operands[1], RoleWeights):
                self.packed[operands[1]] = stored.width
        numbers = {
            "count": count,
            "batch": s.batch,
            "m": s.m,
            "k": s.k,
            "n": s.n,
            "span": s.span,
            "reach": 0.0 if s.reach is None else s.reach,
            "dense": s.uncut,
            "a_bytes": a_width * (s.batch * s.m * s.k),
            # All keys and values are read, whatever the queries see of them.
            "b_bytes": b_width * (s.batch * k * n * s.share),
            "out_bytes": out_width * (s.batch * s.m * s.n),
            "a_width": a_width,
            "b_width": b_width,
            "out_width": out_width,
        }
        place = self._add(row, numbers, operands)
        if s.routed is not None:
            self.routed[place] = s.routed
        return place

    def vector(
        self,
        row: Row,
        count: Array,
        elements: Array,
        sizes: Sizes,
        operands: tuple[Operand, Operand],
    ) -> int:
        """Element-wise or row-wise work on `elements`; its place, -1 where no pair has it.

        count : (M,) times it runs.
        """
        if not count.any():
            return -1
        width = self.format.activation
        numbers: dict[str, Array | float] = {
            "count": count,
            "batch": 1.0,
            "m": elements,
            "k": 1.0,
            "n": 1.0,
            "span": 0.0,
            "reach": 0.0,
            "dense": 0.0,
            "a_bytes": elements * width if sizes.reads is None else sizes.reads,
            "b_bytes": 0.0 if sizes.extra is None else sizes.extra,
            "out_bytes": elements * width if sizes.writes is None else sizes.writes,
            "a_width": width,
            "b_width": width,
            "out_width": width,
        }
        return self._add(row, numbers, operands)

    def _add(
        self, row: Row, numbers: dict[str, Array | float], operands: tuple[Operand, Operand]
    ) -> int:
        place = len(self.rows)
        self.rows.append(row)
        self.numbers.append(numbers)
        self.operands.append(operands)
        for operand in operands:
            if isinstance(operand, Value) and operand.reader < 0:
                operand.reader = place
        return place

    def keep(self, rows: Iterable[int]) -> None:
        """What these rows make stays for the backward pass."""
        for r in rows:
            if r >= 0 and self.rows[r].out == "activation":
                self.rows[r] = replace(self.rows[r], out="saved")

    def write(self, row: int, size: Array) -> None:
        """A row writes `size` bytes more.

        size : (M,) bytes.
        """
        self.numbers[row]["out_bytes"] = self.numbers[row]["out_bytes"] + size

    def graph(self, count: Array) -> Graph:
        """Which rows make the operands of which; count (R, M) : runs of each."""
        return Graph(self.operands, count > 0, further=self.further)

    def table(self, name: str) -> Array:
        """(R, M) values of one number.

        name : of the number.
        """
        values = np.empty((len(self.rows), self.size))
        for i, numbers in enumerate(self.numbers):
            values[i] = numbers[name]
        return values

    def widths(self, name: str) -> Array:
        """(R,) width of one operand [byte].

        name : a, b or out.
        """
        return np.array([numbers[name] for numbers in self.numbers], dtype=float)

    def _stored(self, row: Row) -> Format | None:
        """The format of its own that a product's second operand lies in."""
        if row.b == "cache":
            return self.format.repacked
        if row.b not in PARAMETERS or row.kind != "linear":
            return None
        if row.role in self.own:
            return self.own[row.role]
        return self.format.packed if row.place.packs and row.role not in self.kept else None

    def _unpack(self, row: Row, count: Array, stored: Format, elements: Array) -> None:
        """Work on every value that is read in another format than it is multiplied in.

        Nothing waits for it but the product, whose operand it is a stream ahead of.
        """
        work = Row(
            row.role,
            row.place,
            row.phase,
            "cast",
            False,
            "none",
            "none",
            "none",
            RowPart.UNPACKED,
            row.cross,
            row.index,
            row.variant,
            in_attention=row.in_attention,
            off_chain=True,
            simple=unpacking()[stored.name],
        )
        nothing = np.zeros(self.size)
        self.vector(work, count, elements, Sizes(nothing, None, nothing), (None, None))

    def _widths(self, row: Row) -> tuple[float, float, float]:
        f = self.format
        gradient = f.gradient if row.phase == "backward" else f.activation
        b = f.weight if row.b in PARAMETERS else f.key_value if row.b == "cache" else f.activation
        return gradient, b, gradient
