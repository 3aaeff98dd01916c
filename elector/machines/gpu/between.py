"""How wide numbers are between the kernels of a step whose products multiply in 8 bits or fewer.

A stack either rounds what a kernel leaves to the format of the products at once, which takes scales
that are known before (of FasterTransformer `int8_mode` 2), or it hands on what was computed
(`int8_mode` 1; NVIDIA/FasterTransformer, docs/bert_guide.md: "use int32 as the output of int8
gemms", "don't quantize residual connection"). The second are stacks with `outputs.wide`.

Stacks that keep wider numbers whatever products take (`kept.bytes`, llama.cpp) hand them on in one
width: their element-wise work has more bytes a pass (elector.machines.gpu.stacks), and kernels
beside the products convert (elector.machines.gpu.dispatch).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from elector.describe.numbers import Precision
from elector.machines.gpu.stacks import in_flash
from elector.operations.roles import BIASES, RESIDUALS
from elector.operations.rows import Operations, Row

Array = np.ndarray


def handed_on(ops: Operations, stack: Mapping[str, float]) -> Operations:
    """The operations with their operands as wide as the kernels of a stack hand them on.

    ops : in the formats of their precision. stack : constant of the software stack -> value in SI.
    """
    if not (stack["outputs.wide"] and ops.format.quantises):
        return ops
    flash = ops.workload.attention == "flash"
    each = np.array([_widths(row, ops.format, flash) for row in ops.rows]) / ops.format.activation
    scale = dict(zip(("a", "b", "out"), each.T, strict=True))
    widths = {f"{x}_width": getattr(ops, f"{x}_width") * s for x, s in scale.items()}
    sizes = {f"{x}_bytes": getattr(ops, f"{x}_bytes") * s[:, None] for x, s in scale.items()}
    return replace(ops, **widths, **sizes)


def _widths(row: Row, format: Precision, flash: bool) -> tuple[float, float, float]:
    """Bytes of an element of an operation's first and second input and output, where those of
    activations are given; of others the same number leaves them as they are.

    Sums of products go to the kernel behind them, which adds the bias and rounds for the next
    product; norms and residuals stay in what they compute in.

    flash : attention is one kernel, whose products hand nothing on.
    """
    narrow, sums, computed = format.activation, format.accumulator, format.vectors.width
    if row.matmul:
        return narrow, narrow, narrow if flash and in_flash(row) else sums
    if row.role in BIASES or row.kind in ("activation", "softmax"):
        return sums, narrow, narrow
    if row.role in RESIDUALS:
        return sums, computed, computed
    if row.kind in ("norm", "embedding"):
        return narrow if row.kind == "embedding" else computed, narrow, computed
    return narrow, narrow, narrow
