"""Densities that were measured, per step and summed up, and the rows of a sparsity table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Record:
    """A density of one step.

    phase : forward or backward. operation : as the simulator names it (or the module's name).
    layer : from 1, None outside layers. operand : activation (what enters the product),
    gradient (what enters its backward products) or output. density : share of non-zeros.
    """

    step: int
    phase: str
    operation: str
    layer: int | None
    operand: str
    density: float


#: phase, operation, layer, operand
Key = tuple[str, str, int | None, str]


@dataclass
class Sums:
    """Non-zeros and elements by key: of this step, and of all steps recorded so far.

    Counts may be tensors; they are read at the end of a step, when they are there anyway.
    """

    pending: list[tuple[Key, int | Tensor, int]] = field(default_factory=list)
    total: dict[Key, list[float]] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)

    def add(self, key: Key, nonzeros: int | Tensor, elements: int) -> None:
        """Counts of one tensor.

        nonzeros : how many of the elements are not zero.
        """
        if elements:
            self.pending.append((key, nonzeros, elements))

    def close(self, step: int) -> None:
        """Ends a step: one record per key, over all its tensors."""
        sums: dict[Key, list[int]] = {}
        for key, nonzeros, elements in self.pending:
            entry = sums.setdefault(key, [0, 0])
            entry[0] += int(nonzeros)
            entry[1] += elements
        self.pending.clear()
        for key, (nonzeros, elements) in sums.items():
            self.records.append(Record(step, *key, nonzeros / elements))
            total = self.total.setdefault(key, [0.0, 0.0])
            total[0] += nonzeros
            total[1] += elements


def table_rows(total: dict[Key, list[float]], shared: dict[str, object]) -> list[dict[str, object]]:
    """Rows of the contract's sparsity table (docs: elector.operations.sparsity).

    total : non-zeros and elements by key. shared : the columns that all rows have in common.
    Ends with rows for operations that are not pruned here: dense, and said to be assumed.
    """
    rows: list[dict[str, object]] = []
    for (phase, operation, layer, operand), (nonzeros, elements) in total.items():
        rows.append(_row(shared, phase, operation, layer, operand, nonzeros / elements))
        if operation == "scores" and phase == "forward" and operand == "activation":
            # With activations recomputed, the backward pass makes the scores again.
            for again in ("forward", "backward"):
                rows.append(
                    _row(shared, again, "scores again", layer, operand, nonzeros / elements)
                )
    for phase, operand in (
        ("forward", "activation"),
        ("backward", "activation"),
        ("backward", "gradient"),
    ):
        rows.append(_row(shared, phase, "*", None, operand, 1.0) | {"evidence": "assumed"})
    return rows


def _row(
    shared: dict[str, object],
    phase: str,
    operation: str,
    layer: int | None,
    operand: str,
    density: float,
) -> dict[str, object]:
    values = shared | {
        "phase": phase,
        "operation": operation,
        "layer": "*" if layer is None else layer,
        "operand": operand,
        "density": density,
        "evidence": "measured",
    }
    order: Iterable[str] = (
        "model",
        "task",
        "seed",
        "tau_i",
        "tau_t",
        "phase",
        "operation",
        "layer",
        "operand",
        "density",
        "accuracy",
        "evidence",
    )
    return {name: values[name] for name in order}
