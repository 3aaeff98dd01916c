"""Attention heads of FlexiBERT 2.0: what stands between the projections and the output.

sdp: scaled dot product. wma: the keys of each head pass through one more e x e matrix.
dft, dct: a two-dimensional transform of the values, as products with constant matrices
(real part of the Fourier transform: two products along e, two along L; cosine: one each).
c5, c9, c13: span-based dynamic convolution (Jiang et al. 2020, arXiv 2008.02496): separable
convolution of the keys, times the queries, to a kernel by a product and a softmax over the
kernel, applied to the values behind a product of their own. Tuli et al. 2022 (arXiv 2205.11656),
TransCODE (2303.14882).
A homogeneous model is the case in which every head is sdp.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from elector.describe.model import HEAD_TYPES
from elector.operations.passes import Pass
from elector.operations.rows import Row
from elector.operations.step import LinearTape, Step, VectorTape

Array = np.ndarray
Core = Callable[[Step, Pass, str, Array, int, Array, bool], None]


def head_mixing(
    step: Step, run: Pass, layer: str, count: Array, index: int, cross: bool, core: Core
) -> None:
    """The rows of every head type a layer has; `core` writes the scaled dot product."""
    types = dict(zip(HEAD_TYPES, step.models.head_types[index], strict=True))
    products = types["sdp"] + types["wma"]
    if types["wma"].any():
        _weighted(step, run, layer, count * (types["wma"] > 0), index, types["wma"])
    if products.any():
        core(step, run, layer, count * (products > 0), index, products, cross)
    for name, parts in (("dft", 2.0), ("dct", 1.0)):
        if types[name].any():
            heads = types[name]
            _transform(step, run, layer, count * (heads > 0), index, heads, name, parts)
    for kernel in (5, 9, 13):
        heads = types[f"c{kernel}"]
        if heads.any():
            _convolution(step, run, layer, count * (heads > 0), index, heads, float(kernel))


def _product(
    step: Step,
    run: Pass,
    name: str,
    layer: str,
    count: Array,
    batch: Array,
    m: Array,
    k: Array,
    n: Array,
    *,
    weight: str,
    first: bool = False,
) -> None:
    """A batched product with a matrix; `weight` is trained, or constant when it is reused."""
    row = Row(
        name,
        layer,
        run.phase,
        "attention",
        True,
        b=weight,
        out=step.kept(run.phase),
        in_attention=True,
    )
    distinct = 1.0 if weight == "weight" else 1.0 / np.maximum(batch, 1.0)
    if first:  # the constant stands first: its share is the first operand's
        row = Row(
            name,
            layer,
            run.phase,
            "attention",
            True,
            a="reuse",
            b="activation",
            out=step.kept(run.phase),
            in_attention=True,
        )
        distinct = 1.0
    step.out.matmul(row, count, batch, m, k, n, b_share=distinct)
    step.save(batch * m * n, count, run.phase)
    if step.training and run.phase == "forward":
        step.tape.append(
            LinearTape(name, layer, count, m, k, n, False, None, weight != "weight" or first, batch)
        )


def _weighted(step: Step, run: Pass, layer: str, count: Array, index: int, heads: Array) -> None:
    e = step.models.block["head_size"][index]
    _product(step, run, "weighted keys", layer, count, heads, run.tokens, e, e, weight="weight")


def relative_positions(
    step: Step, run: Pass, layer: str, count: Array, heads: Array, size: Array, keys: Array
) -> None:
    """Queries times the embedding of each distance, added to the scores.

    One (batch x heads, e) by (e, keys) product for each query (Shaw et al. 2018, arXiv
    1803.02155); all of them together read 2 L - 1 rows of the table.
    """
    m, weights = run.batch * heads, "weight" if run.phase in ("forward", "prefill") else "reuse"
    between = "none" if step.workload.attention == "flash" else "activation"
    row = Row(
        "relative positions",
        layer,
        run.phase,
        "attention",
        True,
        b=weights,
        out=between,
        in_attention=True,
    )
    share = (run.queries + keys - 1.0) / (run.queries * keys)
    step.out.matmul(row, count, run.queries, m, size, keys, b_share=share)
    if step.training and run.phase == "forward":
        step.tape.append(
            LinearTape(
                "relative positions",
                layer,
                count,
                m,
                size,
                keys,
                False,
                None,
                batch=run.queries,
                share=share,
            )
        )


def _transform(
    step: Step,
    run: Pass,
    layer: str,
    count: Array,
    index: int,
    heads: Array,
    name: str,
    parts: float,
) -> None:
    e, length = step.models.block["head_size"][index], run.queries
    _product(
        step,
        run,
        f"{name} along heads",
        layer,
        count,
        np.ones_like(heads),
        run.tokens * heads,
        e,
        parts * e,
        weight="reuse",
    )
    _product(
        step,
        run,
        f"{name} along tokens",
        layer,
        count,
        run.batch * heads,
        length,
        parts * length,
        e,
        weight="activation",
        first=True,
    )


def _convolution(
    step: Step, run: Pass, layer: str, count: Array, index: int, heads: Array, kernel: float
) -> None:
    e, title = step.models.block["head_size"][index], f"c{kernel:.0f}"
    elements = run.tokens * heads * e
    _taps(step, run, f"{title} depthwise", layer, count, elements, kernel)
    _product(
        step, run, f"{title} pointwise", layer, count, heads, run.tokens, e, e, weight="weight"
    )
    step.vector(
        "gate",
        f"{title} times query",
        layer,
        run.phase,
        "elementwise",
        count,
        elements,
        keep=True,
        streamed=True,
        in_attention=True,
        gradient="gate_backward",
    )
    _product(
        step,
        run,
        f"{title} kernel",
        layer,
        count,
        heads,
        run.tokens,
        e,
        np.full_like(e, kernel),
        weight="weight",
    )
    step.vector(
        "softmax",
        f"{title} softmax",
        layer,
        run.phase,
        "softmax",
        count,
        run.tokens * heads * kernel,
        keep=True,
        in_attention=True,
        gradient="softmax_backward",
    )
    _product(step, run, f"{title} values", layer, count, heads, run.tokens, e, e, weight="weight")
    _taps(step, run, f"{title} application", layer, count, elements, kernel)


def _taps(
    step: Step, run: Pass, name: str, layer: str, count: Array, elements: Array, kernel: float
) -> None:
    """`kernel` multiply-adds for each element on the vector unit; backward twice as many."""
    row = Row(
        name,
        layer,
        run.phase,
        "elementwise",
        False,
        out=step.kept(run.phase),
        in_attention=True,
        simple=2.0 * kernel,
    )
    step.out.vector(row, count, elements)
    step.save(elements, count, run.phase)
    if step.training and run.phase == "forward":
        back = Row(
            f"{name} gradient",
            layer,
            "backward",
            "elementwise",
            False,
            b="saved",
            in_attention=True,
            simple=4.0 * kernel,
        )
        width = step.workload.format.activation
        step.tape.append(VectorTape(back, count, elements, False, extra=elements * width))
