"""What the products of an operation table ask of an array, by dataflow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elector.operations.rows import Operations

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Tables:
    """Numbers of the products by (pair, dataflow): (R, 3 X), column = pair + X * flow.

    Bytes over all runs and batches: `moving` is read once for each column of folds, `fixed`
    once, `turning` once for each row of folds, `result` is written once; `sums` are written to
    the accumulators once for each row of folds, and read as often.

    rows, cols : sides of the product that lie along rows and columns of an array. stream : length
    of the stream. register : bytes that pass registers.
    """

    rows: Array
    cols: Array
    stream: Array
    moving: Array
    fixed: Array
    turning: Array
    result: Array
    sums: Array
    register: Array


def tables(
    ops: Operations, r: Array, a_width: Array, b_width: Array, out_width: Array, acc: float
) -> Tables:
    """The tables of the products `r`; widths of every row and of a sum [byte].

    a_width, b_width, out_width : (R,). acc : bytes of a sum in an accumulator.
    """
    m, k, n = ops.m[r], ops.k[r], ops.n[r]
    aw, bw, cw = a_width[r][:, None], b_width[r][:, None], out_width[r][:, None]
    times = ops.count[r] * ops.batch[r]
    a, b, out = times * m * k * aw, times * k * n * bw, times * m * n
    zero = np.zeros_like(m)
    mac = times * m * k * n

    def flows(ws: Array, os: Array, is_: Array) -> Array:
        return np.concatenate((ws, os, is_), axis=1)

    return Tables(
        rows=flows(k, m, k),
        cols=flows(n, n, m),
        stream=flows(m, k, n),
        moving=flows(a, a, b),
        fixed=flows(b, zero, a),
        turning=flows(zero, b, zero),
        result=flows(out * cw, out * cw, out * cw),
        sums=flows(out * acc, zero, out * acc),
        # Every cell hands its moving operand and its partial sum (os: both operands) on.
        register=flows(mac * (aw + acc), mac * (aw + bw), mac * (bw + acc)),
    )
