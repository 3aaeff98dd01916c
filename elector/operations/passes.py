"""One pass through the layers, and the rows by element that every sublayer has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elector.operations.step import Step

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Pass:
    """One pass through the layers.

    phase : forward | prefill | decode | recompute.
    batch : (M,) sequences; queries : (M,) tokens of each; keys : (M,) tokens attended to;
    span : (M,) how far keys grow around that value; times : (M,) passes of a step;
    source : (M,) tokens of the encoder's output.
    """

    phase: str
    batch: Array
    queries: Array
    keys: Array
    span: Array
    times: Array
    source: Array

    @property
    def tokens(self) -> Array:
        """(M,) rows of the residual stream."""
        return self.batch * self.queries

    @property
    def decoding(self) -> bool:
        """One token at a time, against a cache."""
        return self.phase == "decode"


def norm(
    step: Step,
    run: Pass,
    name: str,
    layer: str,
    count: Array,
    elements: Array,
    head: bool = False,
    keep: bool = True,
) -> None:
    """Layer norm or root-mean-square norm of rows."""
    operation = "layer_norm" if step.models.template.norm == "layer" else "rms_norm"
    step.vector(
        operation,
        name,
        layer,
        run.phase,
        "norm",
        count,
        elements,
        keep=keep,
        head=head,
        gradient=f"{operation}_backward",
    )


def dropout(
    step: Step,
    run: Pass,
    name: str,
    layer: str,
    count: Array,
    elements: Array,
    in_attention: bool = False,
    keep: bool = False,
    recorded: str = "saved",
) -> None:
    """Random zeros; the mask is one byte an element and stays for the backward pass.

    Where the result is not kept, the operation behind it writes the mask. A recorded class
    other than saved keeps none: its random numbers are drawn again.
    """
    writes = None
    if recorded == "saved":
        step.save(elements, count, run.phase, width=1.0)
        if keep:
            width = step.workload.format.activation
            writes = elements * width + step.mask(elements, run.phase)
    step.vector(
        "dropout",
        name,
        layer,
        run.phase,
        "elementwise",
        count,
        elements,
        streamed=True,
        in_attention=in_attention,
        keep=keep,
        gradient="dropout_backward",
        writes=writes,
        recorded=recorded,
    )
