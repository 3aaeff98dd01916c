"""One step being written down: the rows collected so far and what the backward pass needs.

Every forward operation registers its own gradient on a tape, so that no backward row can
be forgotten: `backward.py` only plays the tape in reverse.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from elector.model import Models
from elector.operations.rows import Collector, Row, vector_row
from elector.workload import Workload

Array = np.ndarray


@dataclass(frozen=True)
class LinearTape:
    """y (m x n) = x (m x k) w (k x n), `count` times."""

    name: str
    layer: str
    count: Array
    m: Array
    k: Array
    n: Array
    head: bool
    input_count: Array | None  # None: the input's gradient is wanted every time
    frozen: bool = False  # a constant: no gradient of its own
    batch: Array | float = 1.0


@dataclass(frozen=True)
class AttentionTape:
    """scores = q k^T and context = p v of `batch` heads, `count` times."""

    layer: str
    count: Array
    batch: Array
    queries: Array
    keys: Array
    size: Array
    share: Array
    recompute: bool
    saved: bool


@dataclass(frozen=True)
class VectorTape:
    """The gradient of a vector operation."""

    row: Row
    count: Array
    elements: Array
    head: bool
    reads: Array | None = None
    extra: Array | float = 0.0
    writes: Array | None = None


@dataclass
class Step:
    """Everything the emitters share while the rows of one structure are written down."""

    models: Models
    workload: Workload
    out: Collector
    tape: list[LinearTape | AttentionTape | VectorTape] = field(default_factory=list)
    saved: Array = field(default_factory=lambda: np.zeros(1))
    live: Array = field(default_factory=lambda: np.zeros(1))

    @property
    def training(self) -> bool:
        """Whether the step trains."""
        return self.workload.training

    @property
    def dropout(self) -> bool:
        """Whether activations are dropped."""
        return self.training and self.models.template.dropout

    @property
    def keeps(self) -> bool:
        """Whether the forward pass keeps every activation for the backward pass."""
        return self.training and self.workload.activations != "recompute"

    def kept(self, phase: str) -> str:
        """Class of an output the backward pass reads."""
        keeps = self.training and (self.keeps or phase == "recompute")
        return "saved" if keeps else "activation"

    def save(self, elements: Array, count: Array, phase: str, width: float | None = None) -> None:
        """Note a tensor that stays until the backward pass [elements of `width` bytes]."""
        if self.kept(phase) == "saved":
            size = elements * (self.workload.format.activation if width is None else width)
            self.saved = self.saved + size * (1.0 if phase == "recompute" else count)

    def note_live(self, elements: Array) -> None:
        """Note elements alive at the same time in inference."""
        self.live = np.maximum(self.live, elements * self.workload.format.activation)

    def linear(
        self,
        name: str,
        layer: str,
        phase: str,
        count: Array,
        m: Array,
        k: Array,
        n: Array,
        *,
        a: str = "activation",
        head: bool = False,
        input_count: Array | None = None,
        keep: bool = True,
        weight: str | None = None,
    ) -> None:
        """y = x w, and on the tape dx = dy w^T and dw = x^T dy."""
        w = weight or ("weight" if phase in ("forward", "prefill") else "reuse")
        out = self.kept(phase) if keep else "activation"
        row = Row(name, layer, phase, "linear", True, a=a, b=w, out=out)
        self.out.matmul(row, count, 1.0, m, k, n)
        self.note_live(m * (k + n))
        if self.training and phase == "forward":
            self.tape.append(LinearTape(name, layer, count, m, k, n, head, input_count))

    def vector(
        self,
        operation: str,
        name: str,
        layer: str,
        phase: str,
        kind: str,
        count: Array,
        elements: Array,
        *,
        also: tuple[str, ...] = (),
        extra: Array | float = 0.0,
        extra_class: str = "none",
        a: str = "activation",
        keep: bool = False,
        streamed: bool = False,
        in_attention: bool = False,
        head: bool = False,
        reads: Array | None = None,
        writes: Array | None = None,
        gradient: str | None = None,
        gradient_also: tuple[str, ...] = (),
    ) -> None:
        """A vector operation and, on the tape, its gradient of the same size."""
        out = self.kept(phase) if keep else "activation"
        row = vector_row(
            operation, name, layer, phase, kind, also=also, a=a, b=extra_class, out=out,
            streamed=streamed, in_attention=in_attention,
        )
        self.out.vector(row, count, elements, reads=reads, extra=extra, writes=writes)
        if self.training and phase == "forward" and gradient:
            back = vector_row(
                gradient, f"{name} gradient", layer, "backward", kind, also=gradient_also,
                a="activation", b="saved", out="activation", streamed=streamed,
                in_attention=in_attention,
            )
            width = self.workload.format.activation
            self.tape.append(VectorTape(back, count, elements, head, extra=elements * width))
