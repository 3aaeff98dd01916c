"""The matrix products of a table of operations, as crossbars see them.

P products of M pairs are looked up once; what D designs need of them is gathered by pair.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from elector.base.table import columns
from elector.describe.workload import PROMPTS
from elector.machines.contract import sum_rows
from elector.operations.routing import busiest
from elector.operations.rows import PARAMETERS, Operations, Row

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class CrossbarProducts:
    """P products; (P, M) of the pairs or (P, D) of designs, (P, 1) bool where all have the same.

    places : (P,) rows of the table. updated : (M,) bool, a step changes weights in crossbars.
    weight, back, attention, first, chained : bool, with weights; in the backward pass; of heads;
        the first use of its weights; on the critical chain.
    routed : bool, of experts. among : matrices that one run chooses from, all of which are stored.
    taken : that it reads. chosen, exponent, tokens : how tokens fall on them (see `Routing`).
    count : runs. sets, vectors : second operands of one run that would be written apart, and
        vectors that meet each. all_vectors : of one run. sequences : that share a run. matrices :
        that it runs with.
    k, n : sides of the second operand, at the last token where one grows; what has to fit.
    mean_k, mean_n : means over the tokens, or over the queries of which a mask hides keys.
    span_k, span_n : how far they reach around those. cells : weights of one operand that is
        written: the mean over tokens; what a mask hides from some queries is written, too.
    macs : multiply-accumulates.
    """

    places: Array
    updated: Array
    weight: Array
    back: Array
    attention: Array
    first: Array
    chained: Array
    routed: Array
    among: Array
    taken: Array
    chosen: Array
    exponent: Array
    tokens: Array
    count: Array
    sets: Array
    vectors: Array
    all_vectors: Array
    sequences: Array
    matrices: Array
    k: Array
    n: Array
    mean_k: Array
    mean_n: Array
    span_k: Array
    span_n: Array
    cells: Array
    macs: Array

    def at(self, index: Array) -> CrossbarProducts:
        """The products of the pairs `index` (D,)."""
        return replace(self, **{name: columns(getattr(self, name), index) for name in _SIZES})

    def take(self, some: Array) -> CrossbarProducts:
        """The products of some designs."""
        return self.at(some)

    def through(self, n: Array, some: Array | slice = slice(None)) -> Array:
        """(P, D) vectors of one of n streams that pass the busiest matrix of a run.

        n : (D,) streams, or (P, D) where products differ. some : of the products.
        """
        vectors = np.ceil(self.all_vectors[some] / n)
        n = np.broadcast_to(n, vectors.shape)
        for i in np.flatnonzero(self.routed[some]):
            routing = (self.among, self.chosen, self.exponent, self.tokens)
            sizes = [np.broadcast_to(x[some][i], n[i].shape) for x in routing]
            sizes[-1] = np.ceil(sizes[-1] / n[i])
            vectors[i] = _busiest(np.array(sizes), self.count[some][i] > 0)
        return vectors

    def rounds(self, n: Array, copies: Array, some: Array | slice = slice(None)) -> Array:
        """(P, D) vectors of one of n streams through one copy of the busiest matrix.

        Where experts wait for the busiest, its tokens are a mean: of c copies, the last round is
        on average (c - 1) / 2 vectors short. copies : (D,). some : of the products.
        """
        vectors = self.through(n, some)
        short = np.maximum((vectors + (copies - 1.0) / 2.0) / copies, np.minimum(vectors, 1.0))
        return np.where(self.routed[some], short, np.ceil(vectors / copies))


#: Fields with a column for each pair or design.
_SIZES = tuple(f.name for f in fields(CrossbarProducts))[8:]


def _busiest(sizes: Array, there: Array) -> Array:
    """(D,) tokens of the busiest expert; sizes (4, D) as `busiest` takes them, there (D,) bool."""
    different, which = np.unique(sizes[:, there], axis=1, return_inverse=True)
    tokens = np.zeros(there.size)
    tokens[there] = np.array([busiest(*map(float, column)) for column in different.T])[
        which.ravel()
    ]
    return tokens


def taken(values: Array, some: Array) -> Array:
    """Columns of (P, D) or elements of (D,) values.

    some : places (N,) or (D,) bool; None for all.
    """
    return columns(values, some) if values.ndim > 1 else values[some]


def products(ops: Operations) -> CrossbarProducts:
    """The products of a table."""
    places = ops.where(matmul=True)
    rows = [ops.rows[r] for r in places]

    def flags(values: list[bool]) -> Array:
        return np.array(values, dtype=bool).reshape(-1, 1)

    sizes = {name: getattr(ops, name)[places] for name in ("count", "batch", "m", "k", "n")}
    count, batch, m, k, n = sizes.values()
    whole_k, whole_n = (side[places] for side in ops.whole_sides())
    hidden, span = ops.reach[places] > 0, ops.span[places]
    # Of a window, all that is written is read: which crossbars lie in its band is not followed.
    band = hidden & (span != ops.reach[places] - 1.0)
    mean_k, mean_n = np.where(band, whole_k, k), np.where(band, whole_n, n)
    grows = {side: flags([row.grows == side for row in rows]) & ~band for side in "kn"}
    span_k, span_n = (np.where(grows[side], span, 0.0) for side in "kn")
    # Every head has its own operand, also where a token's queries share keys: they would else
    # wait for one another.
    alone = flags([row.phase == "decode" and row.in_attention for row in rows])
    return CrossbarProducts(
        places,
        _updated(ops),
        flags([row.b in PARAMETERS for row in rows]),
        flags([row.phase == "backward" for row in rows]),
        flags([row.in_attention for row in rows]),
        flags([row.b == "weight" and row.phase not in ("backward", PROMPTS[1]) for row in rows]),
        flags([not row.off_chain for row in rows]),
        flags([r in ops.routed and ops.rows[r].b in PARAMETERS for r in places]),
        *_routing(ops, places),
        count,
        np.where(alone, batch * m, batch),
        np.where(alone, 1.0, m),
        batch * m,
        _sequences(ops, rows),
        _matrices(ops, rows, count),
        mean_k + span_k / 2.0,
        mean_n + span_n / 2.0,
        mean_k,
        mean_n,
        span_k,
        span_n,
        whole_k * whole_n,
        count * batch * m * k * n,
    )


def _routing(ops: Operations, places: Array) -> tuple[Array, Array, Array, Array, Array]:
    """(P, M) matrices to choose from, taken, chosen by a token, exponent and tokens of products."""
    numbers = np.ones((5, places.size, ops.count.shape[1]))
    for i, place in enumerate(places):
        routing = ops.routed.get(int(place))
        if routing is not None and ops.rows[place].b in PARAMETERS:
            known = (routing.experts, ops.batch[place], routing.chosen)
            for j, values in enumerate((*known, routing.exponent, routing.tokens)):
                numbers[j, i] = values
    among, read, chosen, exponent, tokens = numbers
    return among, read, chosen, exponent, tokens


def _sequences(ops: Operations, rows: list[Row]) -> Array:
    """(P, M) sequences that share a run of a row: of a prompt, those that are read together."""
    shared = [
        ops.workload.prompts(row.phase) if row.phase in PROMPTS else ops.streams for row in rows
    ]
    return np.array(shared).reshape(len(rows), ops.count.shape[1])


def _matrices(ops: Operations, rows: list[Row], count: Array) -> Array:
    """(P, M) matrices of a row: it runs once for each in a pass, and for each generated token."""
    workload = ops.workload
    passes = np.array([workload.passes(row.phase) for row in rows])
    passes = passes.reshape(len(rows), ops.count.shape[1])
    tokens = ops.count[ops.where(phase="decode", kind="embedding")]
    decode = np.array([row.phase == "decode" for row in rows], dtype=bool).reshape(-1, 1)
    each = np.where(decode, sum_rows(tokens), passes)
    return np.maximum(count / np.maximum(each, 1.0), 1.0)


def held(ops: Operations) -> Array:
    """(R, M) bool, updates of tensors that lie in crossbars: operands of products that a model has.

    Vectors and tables lie in registers and buffers.
    """
    lies = np.zeros(ops.count.shape, dtype=bool)
    for r, row in enumerate(ops.rows):
        if row.kind == "optimizer":
            lies[r] = ops.graph.updates_matrix(r)
    return lies


def _updated(ops: Operations) -> Array:
    """(M,) bool, whether a step changes weights that lie in crossbars."""
    return np.asarray((held(ops) & (ops.count > 0)).any(axis=0))
