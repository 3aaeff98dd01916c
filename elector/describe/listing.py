"""A model as a list of operations: products and vector work with their sizes.

The form of models that nobody described as layers (docs/operation-lists.md): what is imported,
and lists of matrix products, which are its simplest case. A list says what inference runs;
where all it holds are products of weights and streams, training follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from elector.describe.sizes import Size

Array = np.ndarray

#: What a file of this form says it is.
KIND = "operations"
#: Symbols that are settings of the workload.
WORKLOAD = {"batch": "batch", "length": "sequence_length"}
#: What an operand of a list can be (elector.operations.rows.CLASSES, of inference).
OPERANDS = ("activation", "weight", "reuse", "cache", "stream")
#: What a result may be.
OUTPUTS = ("activation", "cache", "stream")
#: Sizes of a product; `sharing` products of a batch have one second operand together.
PRODUCT = ("batch", "m", "k", "n", "sharing")
#: Elements of vector work: computed, read, read as a second input, written.
VECTOR = ("elements", "reads", "second", "writes")


@dataclass(frozen=True)
class Listed:
    """One entry: `count` products, or vector work that runs `count` times.

    name, layer : what reports and assignments call it, and the part of the model.
    function : of data/vector_operations.csv; empty for a product.
    sizes : (name, size) of PRODUCT or VECTOR; what is not there is 1, or as `elements`.
    count : how often it runs in a forward pass.
    a, b, out : operand classes.
    """

    name: str
    layer: str
    function: str
    sizes: tuple[tuple[str, Size], ...]
    count: Size
    a: str = "activation"
    b: str = "weight"
    out: str = "activation"

    @property
    def matmul(self) -> bool:
        """Whether it is a matrix product."""
        return not self.function

    def size(self, name: str) -> Size | None:
        """One of its sizes; None where the list does not say."""
        return dict(self.sizes).get(name)

    def mapping(self) -> dict[str, Any]:
        """Its entry in a file: what differs from the defaults."""
        entry: dict[str, Any] = {"name": self.name}
        if self.layer != self.name:
            entry["layer"] = self.layer
        if self.function:
            entry["operation"] = self.function
        entry |= {key: _plain(number) for key, number in self.sizes}
        if self.count.text != "1":
            entry["count"] = _plain(self.count)
        usual = {"a": "activation", "b": "weight" if self.matmul else "none", "out": "activation"}
        entry |= {key: getattr(self, key) for key, v in usual.items() if getattr(self, key) != v}
        return entry


@dataclass(frozen=True)
class Listing:
    """A list of operations.

    entries : in the order in which they run.
    symbols : (name, value) of the list's own symbols; batch and length are the workload's.
    parameters : weights in all; None for those that its products read as `weight`.
    file : where it was read, for errors that depend on the workload; None: nowhere.
    """

    entries: tuple[Listed, ...]
    symbols: tuple[tuple[str, int], ...] = ()
    parameters: int | None = None
    file: object = field(default=None, compare=False, repr=False)

    @property
    def names(self) -> frozenset[str]:
        """Symbols that a size depends on."""
        sizes = [s for e in self.entries for _, s in e.sizes] + [e.count for e in self.entries]
        return frozenset().union(*(size.names for size in sizes))

    @property
    def trains(self) -> bool:
        """Whether training follows from it: independent products of streams with weights."""
        return all(e.matmul and (e.a, e.b, e.out) == STREAMED for e in self.entries)

    def values(self, workload: Mapping[str, Array]) -> dict[str, Array]:
        """Every symbol's value: the workload's (M,) and the list's own numbers."""
        own = {name: np.array(float(value)) for name, value in self.symbols}
        return {**own, **{name: workload[key] for name, key in WORKLOAD.items()}}

    def mapping(self) -> dict[str, Any]:
        """The entries of a file that reads back as this list."""
        document: dict[str, Any] = {"symbols": dict(self.symbols)} if self.symbols else {}
        if self.parameters is not None:
            document["parameters"] = self.parameters
        return {**document, "operations": [entry.mapping() for entry in self.entries]}


#: Operand classes of a product that has nothing to do with those around it.
STREAMED = ("stream", "weight", "stream")


def of_products(products: tuple[tuple[str, int, int, int, int], ...]) -> Listing:
    """Independent products, as a list of matrix products has them: (name, m, n, k, count)."""
    return Listing(
        tuple(
            Listed(
                name,
                name,
                "",
                (("m", Size(str(m))), ("k", Size(str(k))), ("n", Size(str(n)))),
                Size(str(count)),
                *STREAMED,
            )
            for name, m, n, k, count in products
        )
    )


def _plain(size: Size) -> int | str:
    return int(size.text) if size.text.isdigit() else size.text
