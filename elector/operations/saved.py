"""What stays of the forward pass for the backward pass, and how many bytes it takes.

A tensor stays if the gradient of something reads it, once however many do. With recomputation
the layers keep their inputs only (Chen et al. 2016, arXiv 1604.06174); they are computed again
one after another, so that of what they keep then the largest counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from elector.describe.model import Models
from elector.operations.collect import Collector
from elector.operations.graph import Value
from elector.operations.rows import Row

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class _Mask:
    """A byte for each element of a tensor that was dropped, `count` (M,) times."""

    of: Value
    count: Array
    layer: int | None


def _written_behind(rows: list[Row], readers: dict[int, set[int]], row: int) -> bool:
    """Whether the one row that reads this one's result is streamed, and it or the next stays."""
    while rows[row].out == "activation" and len(readers.get(row, ())) == 1:
        (behind,) = readers[row]
        here = (rows[row].place, rows[row].phase) == (rows[behind].place, rows[behind].phase)
        if not (here and rows[behind].streamed):
            return False
        if rows[behind].out == "saved":
            return True
        row = behind
    return False


@dataclass
class Saved:
    """The tensors that stay.

    values : tensor -> block of layers that computes it again, None where it stays from the
    forward pass on. masks : of dropout. written : tensors that are written like those that stay,
    since they do in other models of the structure.
    """

    values: dict[Value, int | None] = field(default_factory=dict)
    masks: list[_Mask] = field(default_factory=list)
    written: list[Value] = field(default_factory=list)

    def keep(self, value: Value, count: Array, layer: int | None) -> None:
        """A tensor stays, `count` (M,) times; once more asked for, the more counts.

        layer : number of the layer, None where the tensor belongs to none.
        """
        if value.whole:
            for other, there in value.whole:
                self.keep(other, count * there, layer)
            return
        self.values.setdefault(value, layer)
        value.kept = count if value.kept is None else np.maximum(value.kept, count)

    def mask(self, value: Value, count: Array, layer: int | None) -> None:
        """The mask that made a tensor stays.

        count : (M,) times. layer : number of the layer, None where the tensor belongs to none.
        """
        self.masks.append(_Mask(value, count, layer))

    def settle(self, out: Collector) -> None:
        """Tell the rows: what they make stays, or they write a mask."""
        for value in (*self.values, *self.written):
            out.keep(value.stored())
        for mask in self.masks:
            # Where the result does not stay, the operation behind it writes the mask.
            rows = [r for r in mask.of.stored() if r >= 0]
            if not all(out.rows[r].out == "saved" for r in rows):
                rows = [mask.of.reader]
            for row in rows:
                if row >= 0:
                    out.write(row, mask.of.computed)

    def rewritten(self, out: Collector) -> Array:
        """(R,) bool, rows whose result streamed work behind them writes, since that stays.

        What a product makes then goes from one unit to the next: to the bias, dropout or
        residual that runs behind it.
        """
        written = np.zeros(len(out.rows), dtype=bool)
        if not self.values:
            return written
        readers: dict[int, set[int]] = {}
        for reader, operands in enumerate(out.operands):
            for value in operands:
                for row in value.stored() if isinstance(value, Value) else ():
                    readers.setdefault(row, set()).add(reader)
        for row in range(len(written)):
            written[row] = out.rows[row].matmul and _written_behind(out.rows, readers, row)
        return written

    def largest(self, size: int) -> Array:
        """(M,) elements of the largest tensor."""
        most = np.zeros(size)
        for value in self.values:
            most = np.maximum(most, value.elements)
        return most

    def bytes_of(self, models: Models, width: float, micro_batches: Array) -> Array:
        """(M,) bytes at once: those of one micro-batch, whose tensors go before the next comes.

        width : bytes of an element.

        micro_batches : (M,) into which a batch is cut.
        """
        always = np.zeros(1)
        again: dict[int, Array] = {}
        for value, layer in self.values.items():
            assert value.kept is not None
            size = value.elements * width
            if layer is None:
                always = always + size * (value.kept / micro_batches)
            else:
                again[layer] = again.get(layer, np.zeros(1)) + size * (value.kept > 0)
        for mask in self.masks:
            if mask.layer is None:
                always = always + mask.of.elements * (mask.count / micro_batches)
            else:
                again[mask.layer] = again[mask.layer] + mask.of.elements * (mask.count > 0)
        most = np.zeros(1)
        for size in again.values():
            most = np.maximum(most, size)
        most = models.most(np.broadcast_to(most, (models.size,)))
        return models.whole(np.broadcast_to(always + models.bottom(most), (models.size,)) + 0.0)
