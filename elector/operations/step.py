"""One step being written down: the rows collected so far and what the backward pass needs.

Every forward operation registers its own gradient on a tape, so that no backward row can
be forgotten: `backward.py` only plays the tape in reverse.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from elector.describe.model import Models
from elector.describe.workload import Workload
from elector.operations.rows import Collector, Row, vector_row

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
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
    share: Array | None = None  # distinct weights of each product; their gradients add up
    tied: bool = False  # the token embedding once more: it trains only where everything does


@dataclass(frozen=True, eq=False, repr=False)
class AttentionTape:
    """One of the two products of `batch` heads, `count` times.

    part : "scores" (q k^T) | "context" (p v).
    key_count : how often the gradient of the keys is wanted.
    recompute : scores and softmax are computed again; saved : probabilities were kept.
    positions : the scores hold a product with relative positions.
    """

    part: str
    layer: str
    count: Array
    key_count: Array
    batch: Array
    queries: Array
    keys: Array
    size: Array
    share: Array
    recompute: bool
    saved: bool
    positions: bool = False


@dataclass(frozen=True, eq=False, repr=False)
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
    in_layers: bool = False  # what stands below and above the layers is never recomputed

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
        """Whether the layers keep every activation for the backward pass."""
        return self.training and self.workload.activations != "recompute"

    def kept(self, phase: str) -> str:
        """Class of an output the backward pass reads."""
        keeps = self.training and (self.keeps or phase == "recompute" or not self.in_layers)
        return "saved" if keeps else "activation"

    def save(self, elements: Array, count: Array, phase: str, width: float | None = None) -> None:
        """Note a tensor that stays until the backward pass [elements of `width` bytes]."""
        if self.kept(phase) == "saved":
            size = elements * (self.workload.format.activation if width is None else width)
            times = count > 0 if phase == "recompute" else self.at_once(count)
            self.saved = self.saved + size * times

    def at_once(self, count: Array) -> Array:
        """Runs of one micro-batch: its activations are gone before the next one starts."""
        return count / self.workload.gradient_accumulation if self.training else count

    def mask(self, elements: Array, phase: str) -> Array | float:
        """Bytes of the dropout mask that are written with `elements`: one each, if kept."""
        return elements if self.dropout and self.kept(phase) == "saved" else 0.0

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
        tied: bool = False,
    ) -> None:
        """y = x w, and on the tape dx = dy w^T and dw = x^T dy."""
        w = "weight" if phase in ("forward", "prefill") else "reuse"
        out = self.kept(phase) if keep else "activation"
        row = Row(name, layer, phase, "linear", True, a=a, b=w, out=out)
        self.out.matmul(row, count, 1.0, m, k, n)
        self.note_live(m * (k + n) * (count > 0))
        if self.training and phase == "forward":
            self.tape.append(LinearTape(name, layer, count, m, k, n, head, input_count, tied=tied))

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
        recorded: str = "saved",
    ) -> None:
        """A vector operation and, on the tape, its gradient of the same size.

        recorded : class of what the gradient reads of the forward pass; none: it stays on the
        chip, and so do input and output (flash attention).
        """
        if recorded == "none":
            a, out = "none", "none"
        else:
            out = self.kept(phase) if keep else "activation"
        row = vector_row(
            operation,
            name,
            layer,
            phase,
            kind,
            also=also,
            a=a,
            b=extra_class,
            out=out,
            streamed=streamed,
            in_attention=in_attention,
        )
        self.out.vector(row, count, elements, reads=reads, extra=extra, writes=writes)
        if not head and self.workload.trainable != "all":  # a frozen bias has no gradient
            gradient = None if gradient == "bias_backward" else gradient
            gradient_also = tuple(g for g in gradient_also if g != "bias_backward")
        if self.training and phase == "forward" and gradient:
            second, width = _second_operand(gradient, gradient_also, recorded)
            around = "none" if recorded == "none" else "activation"
            back = vector_row(
                gradient,
                f"{name} gradient",
                layer,
                "backward",
                kind,
                also=gradient_also,
                a=around,
                b=second,
                out=around,
                streamed=streamed,
                in_attention=in_attention,
            )
            read = elements * (width * self.workload.format.activation)
            if gradient == "dropout_backward" and second == "saved":
                read = elements * 1.0  # the mask
            self.tape.append(VectorTape(back, count, elements, head, extra=read))


def _second_operand(gradient: str, also: tuple[str, ...], recorded: str) -> tuple[str, float]:
    """Class of what a gradient reads beside the gradient of its output, and how many tensors."""
    if gradient in ("bias_backward", "rotary_backward", "embedding_backward"):
        return "none", 0.0
    if gradient == "residual_backward":  # the gradient that went around the sublayer
        return "activation", 1.0
    if recorded == "none":
        return "none", 0.0
    return recorded, 2.0 if "gate_backward" in (gradient, *also) else 1.0
