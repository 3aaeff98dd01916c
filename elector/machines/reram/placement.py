"""What runs where, and what stands in which crossbars.

A product with weights is read where they are stored. A product of two computed operands
(scores, context, gradients of weights) runs on the digital unit, or one operand is written
into spare crossbars first. How the crossbars are shared out is a plan:

    the weights stand once, and all that is left takes written operands;
    operands of `side` sequences stand side by side, copies of the weights take the rest;
    with `reload`, nothing stays: all crossbars are written anew for every product.

Under one plan more crossbars never slow a step down, and more work never speeds one up: what
stands side by side is counted in sequences, not in crossbars. So the fastest of the plans
keeps both laws as well, which a rule that trades copies for spare crossbars would not.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields, replace

import numpy as np

from elector.machines.contract import Units, sum_rows
from elector.machines.reram.beside import lane_work, moved
from elector.machines.reram.geometry import Crossbars, crossbars, pulses
from elector.machines.reram.products import CrossbarProducts, taken
from elector.operations.rows import Operations

Array = np.ndarray

#: Operands of as many sequences as there is room for beside one copy of the weights.
ALL = np.inf


@dataclass(frozen=True)
class CrossbarPlan:
    """One way to share out the crossbars.

    write : products of two computed operands are written, not digital. side : sequences whose
    operands stand side by side. reload : nothing stays in the crossbars.
    """

    write: bool
    side: float = ALL
    reload: bool = False


def plans(sequences: float) -> tuple[CrossbarPlan, ...]:
    """The plans that are tried for at most so many sequences, in this order."""
    ladder, side = [], 1.0
    while side < 2.0 * sequences:
        ladder.append(CrossbarPlan(True, side))
        side *= 2.0
    # Where nothing fits, the first plan that is allowed says why.
    reloaded = (CrossbarPlan(False, reload=True), CrossbarPlan(True, reload=True))
    return (*reloaded, CrossbarPlan(False), CrossbarPlan(True), *ladder)


@dataclass(frozen=True, eq=False, repr=False)
class CrossbarSite:
    """What all plans of D designs share; (P, D) of the products, the rest (D,).

    known : the plans. index : pair of each design. updates : weights change in a step.
    stored, unreadable, computed : (P, D) bool: with weights that can be read where they are,
        or cannot in this direction; of two computed operands. turned : (P, D) bool, stored, and
        driven from the columns.
    k, n : (P, D) sides of a matrix as it lies in the crossbars it is read from, or of an operand.
    each : (P, D) crossbars of one of them. vector, rows : (P, D) seconds of one vector, and of
        writing one operand row by row.
    heads : (P, D) operands of one sequence. needed : crossbars of all weights.
    operand, other : crossbars of the largest operand of a head, and of anything else.
    """

    ops: Operations
    known: tuple[CrossbarPlan, ...]
    index: Array
    units: Units
    products: CrossbarProducts
    x: Crossbars
    updates: Array
    stored: Array
    unreadable: Array
    computed: Array
    turned: Array
    k: Array
    n: Array
    each: Array
    vector: Array
    rows: Array
    heads: Array
    needed: Array
    operand: Array
    other: Array

    def take(self, some: Array) -> CrossbarSite:
        """Some of the designs.

        some : places (N,) or (D,) bool.
        """
        some_of = replace(
            self,
            index=self.index[some],
            units=self.units.take(some),
            products=self.products.take(some),
            x=self.x.take(some),
        )
        return replace(some_of, **{name: taken(getattr(self, name), some) for name in _COLUMNS})  # type: ignore[arg-type]

    @functools.cached_property
    def lane_work(self) -> tuple[Array, Array]:
        """(R, D) simple and special operations of the lanes."""
        return lane_work(self.ops, self.index)

    @functools.cached_property
    def lane_seconds(self) -> Array:
        """(R, D) seconds of the lanes."""
        simple, special = self.lane_work
        cycles = simple + special * self.units.number("special_cycles")
        return cycles / (self.units.number("vector_lanes") * self.units.number("clock"))

    @functools.cached_property
    def moved(self) -> Array:
        """(R, D) bytes of main memory that pass under every plan."""
        return moved(self.ops, self.index, self.units)

    @functools.cached_property
    def least(self) -> Array:
        """(plans, D) seconds that the step takes under each plan at least; inf where the designs
        may not follow it, or have no room for it."""
        units, dynamic = self.units, self.computed.any(axis=0)
        only = units.equals("dynamic", "digital") | ~dynamic
        auto = units.equals("dynamic", "auto") & (units.number("digital_macs") > 0)
        digital, written = only | auto, ~only & ~(auto & self._digital_first())
        free = (units.number("copies") == 0) & ~self.updates
        again = units.flag("reload") & (units.number("copies") <= 1)
        streams = self.ops.streams[self.index]
        seconds = np.full((len(self.known), self.index.size), np.inf)
        for i, plan in enumerate(self.known):
            may = (written if plan.write else digital) & (again if plan.reload else True)
            if plan.side != ALL:
                may = may & free & (plan.side < 2.0 * streams)
            if may.any():
                seconds[i] = np.where(may, self._bound(plan), np.inf)
        return seconds

    def _bound(self, plan: CrossbarPlan) -> Array:
        """(D,) what one sequence waits for in crossbars under a plan, and what written operands
        take of them; inf where the plan has no room beside the weights."""
        p, ladder = self.products, plan.side != ALL
        room = np.maximum(plan.side * self.operand, self.other) if ladder else np.zeros(1)
        copies = _copies(self, np.asarray(plan.write and not ladder), np.asarray(plan.reload), room)
        one = p.rounds(p.sequences, copies) * self.vector
        waits = np.where(self.stored & ~p.attention, one, 0.0)
        written = np.where(self.computed & plan.write, self.rows + p.vectors * self.vector, 0.0)
        chain = sum_rows(np.where(p.chained, p.count * (waits + written), 0.0))
        if not ladder:
            return chain
        share = np.where(p.attention, plan.side * self.heads, 1.0)
        load = sum_rows(p.count * p.sets * written / share)
        fits = room + self.needed * copies <= self.x.total
        return np.where(fits, np.maximum(chain, load), np.inf)

    def _digital_first(self) -> Array:
        """(D,) bool, the digital unit takes all products of computed operands in less than one
        sequence would wait for its written ones, so that writing cannot be faster."""
        p, units = self.products, self.units
        waits = np.where(self.computed & p.chained, self.rows + p.vectors * self.vector, 0.0)
        macs = sum_rows(np.where(self.computed, p.macs, 0.0))
        rate = np.maximum(units.number("digital_macs"), 1.0) * units.number("clock")
        return np.asarray(macs / rate <= sum_rows(p.count * waits))


#: Fields of a site with a column for each design.
_COLUMNS = (
    "updates",
    "stored",
    "unreadable",
    "computed",
    "turned",
    "k",
    "n",
    "each",
    "vector",
    "rows",
    "heads",
    "needed",
    "operand",
    "other",
)


def site(
    ops: Operations,
    known: tuple[CrossbarPlan, ...],
    every: CrossbarProducts,
    index: Array,
    units: Units,
) -> CrossbarSite:
    """What the plans `known` of the designs share; `every` : the products of the M pairs."""
    p, x = every.at(index), crossbars(units)
    used = p.count > 0
    weight, back = used & p.weight, p.back
    unreadable = weight & back & units.equals("transposed_read", "none")
    stored, computed = weight & ~unreadable, used & ~p.weight
    turned = stored & back & x.sliced
    k, n = np.where(turned, p.n, p.k), np.where(turned, p.k, p.n)
    each = np.where(stored, x.stored(k, n), x.of(k, n))
    heads = np.maximum(p.sets / p.sequences, 1.0)
    own = np.where(computed, each, 0.0)
    return CrossbarSite(
        ops,
        known,
        index,
        units,
        p,
        x,
        every.updated[index],
        stored,
        unreadable,
        computed,
        turned,
        k,
        n,
        each,
        np.where(turned, x.transposed(n), x.vector(k)),
        np.minimum(k, x.rows) * (pulses(units) * units.number("write_pulse")),
        heads,
        _needed(ops, p, x, stored, units),
        _most(np.where(p.attention, own * heads, 0.0)),
        _most(np.where(p.attention, 0.0, own)),
    )


def _most(values: Array) -> Array:
    return values.max(axis=0) if values.shape[0] else np.zeros(values.shape[1])


def _needed(
    ops: Operations, p: CrossbarProducts, x: Crossbars, stored: Array, units: Units
) -> Array:
    """(D,) crossbars of all weights once; with a transposed copy of each where there is one."""
    each = x.stored(p.k, p.n)
    if ops.workload.training:
        each = each + np.where(units.equals("transposed_read", "copy"), x.stored(p.n, p.k), 0.0)
    return sum_rows(np.where(p.first & stored, p.matrices * p.among * each, 0.0))


# ---- under a plan ----


@dataclass(frozen=True, eq=False, repr=False)
class Placement:
    """Where each product runs under the designs' plans, (P, D) bool, and what there is for it.

    written : one operand is written first. digital : on the digital unit. lost : no unit takes
    it. kept, rewritten : stored, and its weights stay or are written at every use.
    fit : (P, D) written operands that stand side by side. beside, turns : (P, D) of rewritten
        matrices that the chip holds at once, and crossbars of one over those there are.
    copies : (D,) of the weights. pool : (D,) crossbars for what is written. spare : (D,) crossbars
        that hold no weights. reload, ladder : (D,) bool, nothing stays; room is kept by plan.
    """

    site: CrossbarSite
    written: Array
    digital: Array
    lost: Array
    kept: Array
    rewritten: Array
    fit: Array
    beside: Array
    turns: Array
    groups: Array
    copies: Array
    pool: Array
    spare: Array
    reload: Array
    ladder: Array

    def take(self, some: Array) -> Placement:
        """Some of the designs.

        some : places (N,).
        """
        names = [f.name for f in fields(self) if f.name != "site"]
        chosen = {name: taken(getattr(self, name), some) for name in names}
        return replace(self, site=self.site.take(some), **chosen)


def place(s: CrossbarSite, write: Array, side: Array, reload: Array) -> Placement:
    """The placement of every product; write, side, reload (D,) : the plan of each design."""
    x, ladder = s.x, ~np.isinf(side)
    room = np.where(ladder, np.maximum(np.where(ladder, side, 0.0) * s.operand, s.other), 0.0)
    copies = _copies(s, write & ~ladder, reload, room)
    spare = np.where(reload, x.total, np.maximum(x.total - s.needed * copies, 0.0))
    pool = np.where(ladder, room, np.where(write | reload, spare, 0.0))
    macs = s.units.number("digital_macs") > 0
    unwritten = (s.computed & ~write) | s.unreadable
    each = s.each.clip(1.0)
    most = np.where(ladder, np.where(s.products.attention, side * s.heads, 1.0), np.inf)
    chip = np.maximum(np.floor(x.total / each), 1.0)
    return Placement(
        s,
        s.computed & write,
        unwritten & macs,
        unwritten & ~macs,
        s.stored & ~reload,
        s.stored & reload,
        np.minimum(np.maximum(np.floor(pool / each), 1.0), most),
        chip,
        np.maximum(np.ceil(s.each / x.total), 1.0),
        np.maximum(s.products.taken / chip, 1.0),
        copies,
        pool,
        spare,
        reload,
        ladder,
    )


def _copies(s: CrossbarSite, rest: Array, reload: Array, room: Array) -> Array:
    """(D,) copies of the weights beside `room` (D,) crossbars for written operands.

    rest : (D,) bool, written operands take all that one copy leaves.
    """
    asked = s.units.number("copies")
    fit = np.floor((s.x.total - room) / s.needed.clip(1.0))
    # One copy where a step would rewrite every one.
    auto = np.where(s.updates | reload | rest, 1.0, fit)
    return np.maximum(np.where(asked > 0, asked, auto), 1.0)
