"""What runs where, and what stands in which crossbars.

A product with weights is read where they are stored. A product of two computed operands
(scores, context, gradients of weights) runs on the digital unit, or one operand is written
into spare crossbars first. How the crossbars are shared out is a plan:

    every copy of the weights in turn leaves fewer crossbars for written operands;
    `side` operands standing side by side leave the rest for copies of the weights;
    with `reload`, all crossbars are written anew for every product, and nothing stays.

Under one plan more crossbars never slow a step down, and more work never speeds one up: what
stands side by side is counted in operands, not in crossbars. So the fastest of the plans keeps
both laws as well, which a rule that trades copies for spare crossbars would not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from elector.machines.contract import Units, sum_rows
from elector.machines.reram.geometry import Crossbars, crossbars, pulses
from elector.operations.rows import PARAMETERS, Operations

Array = np.ndarray

#: As many operands side by side as one copy of the weights leaves room for.
ALL = np.inf


@dataclass(frozen=True)
class Plan:
    """One way to share out the crossbars.

    write : products of two computed operands are written, not digital. side : operands of heads
    that stand side by side. reload : nothing stays in the crossbars.
    """

    write: bool
    side: float = ALL
    reload: bool = False


def plans(most: int) -> tuple[Plan, ...]:
    """The plans that are tried where a product has at most `most` operands, in this order."""
    ladder, side = [], 1
    while side < 2 * most:
        ladder.append(Plan(True, float(side)))
        side *= 2
    # Where nothing fits, the first plan that is allowed says why.
    reloaded = (Plan(False, reload=True), Plan(True, reload=True))
    return (*reloaded, Plan(False), Plan(True), *ladder)


@dataclass(frozen=True, eq=False, repr=False)
class Prepared:
    """Operations and units of D designs, and the plan of each.

    index : (D,) pair of each design. write, reload : (D,) bool; side : (D,), see Plan.
    """

    ops: Operations
    index: Array
    units: Units
    details: bool
    write: Array
    side: Array
    reload: Array

    def take(self, part: slice | Array) -> Prepared:
        """The designs of `part`."""
        return replace(
            self,
            index=self.index[part],
            units=self.units.take(part),
            write=self.write[part],
            side=self.side[part],
            reload=self.reload[part],
        )

    @property
    def most(self) -> int:
        """Operands of the product with the most of them."""
        sets = operands(self.ops, self.index)[0]
        return int(np.where(_attention(self.ops), sets, 0.0).max(initial=1.0))

    def under(self, part: slice | Array, plan: Array) -> Prepared:
        """The designs of `part` under the plans of these places (D,)."""
        known = plans(self.most)
        return replace(
            self.take(part),
            write=np.array([p.write for p in known])[plan],
            side=np.array([p.side for p in known])[plan],
            reload=np.array([p.reload for p in known])[plan],
        )

    def allowed(self, part: slice | Array) -> Array:
        """(plans, D) bool, which plans the designs of `part` may follow."""
        here = self.take(part)
        units, known = here.units, plans(self.most)
        dynamic, waits = _dynamic(here)
        only = units.equals("dynamic", "digital") | ~dynamic
        macs = units.number("digital_macs") > 0
        auto = units.equals("dynamic", "auto")
        digital = only | (auto & macs)
        written = ~only & ~(auto & macs & waits)
        free = (units.number("copies") == 0) & ~updated(here.ops, here.index)
        turned = units.flag("reload") & (units.number("copies") <= 1)
        found = np.zeros((len(known), here.index.size), dtype=bool)
        for i, plan in enumerate(known):
            one = written if plan.write else digital
            found[i] = one & (free | (plan.side == ALL)) & (turned | (not plan.reload))
        return found


def _dynamic(p: Prepared) -> tuple[Array, Array]:
    """(D,) bool: there are products of computed operands; the digital unit takes all of them in
    less than one sequence would wait for its written ones, so that writing cannot be faster."""
    ops, index, units = p.ops, p.index, p.units
    rows = _matmul(ops) & ~_weight(ops) & (ops.count[:, index] > 0)
    x, (_, vectors) = crossbars(units), operands(ops, index)
    k = _largest(ops.k, ops, index)
    written = np.minimum(k, x.rows) * pulses(units) * units.number("write_pulse")
    chained = rows & ~np.array([row.off_chain for row in ops.rows])[:, None]
    one = sum_rows(np.where(chained, ops.count[:, index] * (written + vectors * x.vector(k)), 0.0))
    macs = np.where(rows, (ops.count * ops.batch * ops.m * ops.k * ops.n)[:, index], 0.0)
    rate = np.maximum(units.number("digital_macs"), 1.0) * units.number("clock")
    return rows.any(axis=0), sum_rows(macs) / rate <= one


# ---- rows ----


def _matmul(ops: Operations) -> Array:
    return np.array([row.matmul for row in ops.rows])[:, None]


def _weight(ops: Operations) -> Array:
    return np.array([row.b in PARAMETERS for row in ops.rows])[:, None]


def _back(ops: Operations) -> Array:
    return np.array([row.phase == "backward" for row in ops.rows])[:, None]


def _attention(ops: Operations) -> Array:
    return np.array([row.in_attention for row in ops.rows])[:, None]


def _decode(ops: Operations) -> Array:
    return np.array([row.phase == "decode" for row in ops.rows])[:, None]


def held(ops: Operations) -> Array:
    """(R, 1) bool, updates of tensors that lie in crossbars: operands of products.

    Vectors and tables lie in registers and buffers.
    """
    graph = ops.graph
    return np.array(
        [row.kind == "optimizer" and graph.updates_matrix(r) for r, row in enumerate(ops.rows)]
    )[:, None]


def updated(ops: Operations, index: Array) -> Array:
    """(D,) bool, whether a step changes weights that lie in crossbars."""
    return np.asarray((held(ops) & (ops.count > 0)).any(axis=0))[index]


def operands(ops: Operations, index: Array) -> tuple[Array, Array]:
    """(R, D) second operands of one run that are written apart, and vectors that meet each.

    Every head has its own, also where a token's queries share keys: they would else wait for one
    another.
    """
    batch, m = ops.batch[:, index], ops.m[:, index]
    alone = _decode(ops) & _attention(ops)
    return np.where(alone, batch * m, batch), np.where(alone, 1.0, m)


def _largest(sizes: Array, ops: Operations, index: Array) -> Array:
    """(R, D) a side of the operands at the last token where it grows; what has to fit."""
    which = "k" if sizes is ops.k else "n"
    grows = np.array([row.grows == which for row in ops.rows])[:, None]
    return sizes[:, index] + np.where(grows, ops.span[:, index] / 2.0, 0.0)


# ---- where ----


@dataclass(frozen=True, eq=False, repr=False)
class Placement:
    """Where each product runs, (R, D) bool, and what it takes.

    stored : read where its weights are. written : one operand is written first. digital : on
        the digital unit. lost : no unit takes it.
    turned : stored, and driven from the columns.
    rewritten : stored, and its weights are written at every use.
    matrices : (R, D) distinct stored matrices of a row.
    k, n : (R, D) sides of a matrix as it lies in the crossbars it is read from, or of an operand.
    each : (R, D) crossbars of one of them.
    sets, vectors : (R, D) written operands of one run and vectors that meet each; of a stored
        matrix 1 and all of them.
    fit : (R, D) written operands that stand side by side. turns : (R, D) crossbars of one over
        those there are.
    needed : (D,) crossbars of all weights. copies : (D,) times they are held.
    pool : (D,) crossbars for what is written. spare : (D,) crossbars that hold no weights.
    least : (D,) crossbars of the largest written operand.
    """

    stored: Array
    written: Array
    digital: Array
    lost: Array
    turned: Array
    rewritten: Array
    matrices: Array
    k: Array
    n: Array
    each: Array
    sets: Array
    vectors: Array
    fit: Array
    turns: Array
    needed: Array
    copies: Array
    pool: Array
    spare: Array
    least: Array


def place(p: Prepared, x: Crossbars) -> Placement:
    """The placement of every product under the designs' plans."""
    ops, index, units = p.ops, p.index, p.units
    stored, written, digital, lost = _where(p)
    turned = stored & _back(ops) & units.equals("transposed_read", "bidirectional")
    k, n = _largest(ops.k, ops, index), _largest(ops.n, ops, index)
    k, n = np.where(turned, n, k), np.where(turned, k, n)
    each = np.where(stored, x.stored(k, n), x.of(k, n))
    sets, vectors = operands(ops, index)
    vectors = np.where(stored, sets * vectors, vectors)
    sets = np.where(written, sets, 1.0)
    matrices = _matrices(ops, index)
    needed = _needed(p, x, stored, matrices)
    heads = written & _attention(ops)
    most, largest = (np.where(heads, v, 0.0).max(axis=0) for v in (sets, each))
    other = np.where(written & ~heads, each, 0.0).max(axis=0)
    room = np.maximum(np.minimum(p.side, np.maximum(most, 1.0)) * largest, other)
    copies = _copies(p, x, needed, np.where(np.isinf(p.side), 0.0, room))
    spare = np.where(p.reload, x.total, np.maximum(x.total - needed * copies, 0.0))
    pool = np.where(p.write | p.reload, np.where(np.isinf(p.side), spare, room), 0.0)
    own = np.maximum(np.floor(pool / each.clip(1.0)), 1.0)
    beside = np.where(heads, np.minimum(p.side, sets), 1.0)
    return Placement(
        stored,
        written,
        digital,
        lost,
        turned,
        stored & p.reload,
        matrices,
        k,
        n,
        each,
        sets,
        vectors,
        np.where(np.isinf(p.side), own, beside),
        np.maximum(np.ceil(each / x.total), 1.0),
        needed,
        copies,
        pool,
        spare,
        np.maximum(largest, other),
    )


def _where(p: Prepared) -> tuple[Array, Array, Array, Array]:
    """(R, D) bool: stored, written, digital, lost."""
    ops, units = p.ops, p.units
    products = _matmul(ops) & (ops.count[:, p.index] > 0)
    weight = products & _weight(ops)
    # A matrix that cannot be read in the other direction is not written anew, either.
    unreadable = weight & _back(ops) & units.equals("transposed_read", "none")
    computed = products & ~weight
    macs = units.number("digital_macs") > 0
    written = computed & p.write
    digital = ((computed & ~p.write) | unreadable) & macs
    lost = ((computed & ~p.write) | unreadable) & ~macs
    return weight & ~unreadable, written, digital, lost


def _matrices(ops: Operations, index: Array) -> Array:
    """(R, D) matrices of a row: it runs once for each in a pass, and for each generated token."""
    passes = ops.workload.gradient_accumulation if ops.workload.training else np.ones(1)
    tokens = ops.count[ops.where(phase="decode", kind="embedding")]
    each = np.where(_decode(ops), np.maximum(sum_rows(tokens), 1.0), passes)
    found: Array = np.maximum(ops.count / each, 1.0)
    return found[:, index]


def _needed(p: Prepared, x: Crossbars, stored: Array, matrices: Array) -> Array:
    """(D,) crossbars of all weights once; with a transposed copy of each where there is one."""
    ops, index = p.ops, p.index
    first = np.array([r.b == "weight" and r.phase != "backward" for r in ops.rows])[:, None]
    k, n = ops.k[:, index], ops.n[:, index]
    twice = p.units.equals("transposed_read", "copy") & ops.workload.training
    each = x.stored(k, n) + np.where(twice, x.stored(n, k), 0.0)
    return sum_rows(np.where(first & stored, matrices * each, 0.0))


def _copies(p: Prepared, x: Crossbars, needed: Array, room: Array) -> Array:
    """(D,) copies of the weights beside `room` crossbars for written operands."""
    asked = p.units.number("copies")
    fit = np.floor((x.total - room) / needed.clip(1.0))
    # One copy where a step would rewrite every one, or where written operands take the rest.
    one = updated(p.ops, p.index) | p.reload | (p.write & np.isinf(p.side))
    return np.maximum(np.where(asked > 0, asked, np.where(one, 1.0, fit)), 1.0)
