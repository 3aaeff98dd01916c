"""What the products of an operation table ask of an array, by dataflow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elector.base.table import alike, columns, combinations, distinct
from elector.machines.systolic.folds import Cuts
from elector.machines.tiling import Memories, TilingPlan, plan
from elector.machines.units import Units
from elector.operations.rows import PARAMETERS, Operations

Array = np.ndarray

FLOWS = ("ws", "os", "is")
#: Settings that decide how many cycles arrays take for a product.
ARRAYS, WAYS = ("rows", "cols", "arrays", "accumulators"), ("dataflow", "convention", "preload")


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


def same(ops: Operations, products: Array) -> Array:
    """(products,) place of the first product that the arrays see with the same sides.

    products : places of the products among the rows.
    """
    keys = [(ops.rows[r].b in PARAMETERS, ops.rows[r].grows) for r in products]
    return alike(products, keys, (ops.batch, ops.m, ops.k, ops.n, ops.span))


def kinds(ops: Operations, products: Array, index: Array, units: Units) -> Array:
    """(D,) the same number where arrays that are the same see products of the same sides.

    Pairs that differ in how often a product runs, as models of different depth, are one here.

    products : places of the products among the rows. index : (D,) pair of each design.
    """
    sizes = np.concatenate([x[products] for x in (ops.batch, ops.m, ops.k, ops.n, ops.span)])
    seen: dict[bytes, int] = {}
    shape = [seen.setdefault(x.tobytes(), i) for i, x in enumerate(np.ascontiguousarray(sizes.T))]
    keys = [np.array(shape, dtype=np.intp)[index]]
    keys += [units.number(key) for key in ARRAYS] + [units.names[key][1] for key in WAYS]
    return combinations(keys)[1]


def vector_bytes(ops: Operations, index: Array, apart: Array) -> tuple[Array, Array]:
    """(R, D) bytes vector work reads and writes on chip; streamed work only its extra operand.

    index : (D,) pair of each design. apart : (D,) bool, streamed work does not run behind its
    producer.
    """
    streamed = np.array([row.streamed for row in ops.rows])[:, None]
    vector = np.array([not row.matmul for row in ops.rows])[:, None]
    reads = np.where(streamed, ops.b_bytes, ops.a_bytes + ops.b_bytes) * ops.count
    writes = np.where(streamed, 0.0, ops.out_bytes) * ops.count
    reads, writes = (columns(np.where(vector, x, 0.0), index) for x in (reads, writes))
    if apart.any():
        rows = np.nonzero(streamed[:, 0] & vector[:, 0])[0]
        reads[rows] += (ops.a_bytes * ops.count)[rows][:, index] * apart
        writes[rows] += (ops.out_bytes * ops.count)[rows][:, index] * apart
    return reads, writes


def sram_bytes(t: Tables, products: Array, column: Array, s: Cuts) -> tuple[Array, Array, Array]:
    """Bytes over all runs: read from and written to the on-chip memory, and partial sums.

    The sums of a fold are added to those in the accumulators; the last of them are read once
    more on their way to the on-chip memory. So they are written as often as read.

    products : places in the tables. column : (D,) column of each design. s : folds of the products.
    """
    moving, fixed, turning, result, sums = (
        columns(x[products], column) for x in (t.moving, t.fixed, t.turning, t.result, t.sums)
    )
    return moving * s.nc + fixed * s.pieces + turning * s.nr, result, sums * s.nr


def accesses(ops: Operations, products: Array, column: Array, s: Cuts) -> dict[str, Array]:
    """(R, D) elements of each operand the array reads and writes, over all runs.

    products : places of the products among the rows. column : (D,) column of each design. s :
    folds of the products.
    """
    one, zero, every = np.ones(len(ops.rows)), np.zeros(len(ops.rows)), np.arange(products.size)
    reads_a = sram_bytes(tables(ops, products, one, zero, zero, 0.0), every, column, s)[0]
    reads_b = sram_bytes(tables(ops, products, zero, one, zero, 0.0), every, column, s)[0]
    _, result, sums = sram_bytes(tables(ops, products, zero, zero, one, 1.0), every, column, s)
    # Outputs that stay in the cells leave them once; others pass the accumulators each fold.
    writes = np.where(sums > 0, sums, result)
    elements = {}
    for name, values in (
        ("a_reads", reads_a),
        ("b_reads", reads_b),
        ("out_reads", writes - result),
        ("out_writes", writes),
    ):
        elements[name] = np.zeros((len(ops.rows), column.size))
        elements[name][products] = values
    return elements


def column_of(ops: Operations, index: Array, units: Units) -> Array:
    """(D,) column of the tables: one for each dataflow and pair."""
    return index + ops.count.shape[1] * units.code("dataflow", FLOWS)


def planned(
    ops: Operations, index: Array, memory: Array, fuse: Array, details: bool
) -> tuple[TilingPlan, Array, Array]:
    """Plans of every distinct (pair, memory), the pair of each, and each design's place in them.

    index : (D,) pair of each design. memory : (D,) bytes. fuse : (D,) 1 where streamed rows touch
    no memory. details : tiles are asked for.
    """
    sizes, _, code = distinct(memory)
    key = (index * sizes.size + code) * 2 + fuse.astype(np.intp)
    keys, _, place = distinct(key)
    pair, rest = np.divmod(keys // 2, sizes.size)
    asked = np.arange(len(ops.rows) if details else 0)
    memories = Memories(sizes[rest], None, keys % 2 == 1)
    return plan(ops, pair, memories, asked), pair, place
