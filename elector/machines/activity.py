"""What a machine reports of D designs: seconds, counts and limits; nothing here is a joule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from elector.base.segments import Fold
from elector.base.table import distinct
from elector.operations.rows import Operations

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Count:
    """How often an action happens: `values` (R, X) over all runs, `index` (D,) into X.

    Most counts depend on few parameters; they are summed once for each combination X.
    fold : None; where a design has a place in `index` for each of its layers (P,), which
        belong together.
    group : None; where the values are sums by group of rows (elector.operations.rows.groups),
        (R,) the group of each. A subset of the rows is then one of whole groups.
    """

    values: Array
    index: Array
    fold: Fold | None = None
    group: Array | None = None

    def total(self, rows: Array | None = None) -> Array:
        """(D,) sum over the rows (or over some of them), accumulated in row order."""
        # Summed once for each combination, or for each design where those are fewer.
        if rows is not None and self.group is not None:
            rows = distinct(self.group[rows])[0]
        few = self.index.size < self.values.shape[1]
        if rows is None:
            chosen = self.values[:, self.index] if few else self.values
        else:
            chosen = self.values[rows[:, None], self.index] if few else self.values[rows]
        found = sum_rows(chosen) if few else sum_rows(chosen)[self.index]
        return found if self.fold is None else self.fold.sum(found)

    def row(self, row: int) -> Array:
        """(D,) the count of one row; (P,) where layers have places of their own."""
        return self.values[row, self.index]

    def each(self) -> Array:
        """(R, D) the count of every row; (R, P) where layers have places of their own."""
        return self.values[:, self.index]


def sum_rows(values: Array) -> Array:
    """(X,) sum over the first axis of (R, X), in row order whatever X is.

    numpy's own sum may group terms differently when X is 1 or when the rows lie side by side
    in memory; a design alone would then differ in the last bit from itself in a batch.
    """
    if not values.shape[0]:
        return np.zeros(values.shape[1])
    if values.shape[1] > 1:
        return np.add.reduce(np.ascontiguousarray(values), axis=0)
    return np.add.accumulate(values, axis=0)[-1]


@dataclass(frozen=True, eq=False, repr=False)
class Clocked:
    """What a power limit needs to find the clock of D designs (elector.cost.power).

    resource : whose busy seconds follow the clock.
    compute : (R, D) seconds at the full clock that grow as it drops.
    memory : (R, D) seconds that do not, beside compute.
    fixed : (R, D) seconds that do not, before compute.
    slack : share of the shorter of compute and memory that the longer does not hide.
    limit : (D,) watts.
    floor : (D,) lowest clock over the full one.
    voltage : supply voltage over that of the highest clock there is, at the two ends of its
        ladder: (clock below which it stays, voltage there); it rises straight to 1.
    top : (D,) full clock of a design over that highest clock.
    """

    resource: str
    compute: Array
    memory: Array
    fixed: Array
    slack: float
    limit: Array
    floor: Array
    voltage: tuple[float, float]
    top: Array

    def seconds(self, speed: Array) -> Array:
        """(R, D) busy seconds at `speed` (D,) of the full clock."""
        compute = self.compute / speed
        hidden = np.minimum(compute, self.memory)
        return self.fixed + np.maximum(compute, self.memory) + self.slack * hidden


@dataclass(frozen=True, eq=False, repr=False)
class Budget:
    """Watts an action may take: its resource is busy at least its joules over them.

    resource, action : names. limit : (D,) watts. What room it has in a row stands in `Stream`.
    """

    resource: str
    action: str
    limit: Array


@dataclass(frozen=True, eq=False, repr=False)
class Note:
    """What a result should say of some designs: that a setting was cut, a rule taken.

    where : (D,) bool. numbers : name in braces of the sentence -> (D,) and its unit.
    """

    where: Array
    numbers: dict[str, tuple[Array, str]] = field(default_factory=dict)

    def map(self, change: Callable[[Array], Array]) -> Note:
        """The note with `change` applied to each of its arrays."""
        return Note(
            change(self.where),
            {name: (change(values), unit) for name, (values, unit) in self.numbers.items()},
        )

    def among(self, rows: Array) -> Note:
        """The note for those of (D,) bool designs only."""
        return Note(self.where & rows, self.numbers)


@dataclass(frozen=True, eq=False, repr=False)
class Fill:
    """Putting the weights in place, once, before the first step.

    action : what is paid for each of `pulses` (D,). wear : (D,) of them for each cell.
    seconds : (D,) where power allows all at once. size : (D,) bytes of weights.
    """

    action: str
    pulses: Array
    wear: Array
    seconds: Array
    size: Array


@dataclass(frozen=True, eq=False, repr=False)
class Stream:
    """What one of n independent streams takes, where the batch is split into them.

    (R, D) seconds over all runs of some rows. alone : a row when nothing else runs beside it.
    ahead : the same with its parameters there when it starts. turned : with loads and computing
    in turn; None: never less than `alone`. busy : resource -> seconds for which it is taken, of
    those that n streams do not share evenly. held : resource -> seconds for which a stream has a
    part of it, of those that have room for several streams at once. room, share : seconds that
    the action of a `Budget` may take in a row without making it longer, and the share of the
    row's joules that falls into this stream; where there is a budget.
    """

    alone: Array
    ahead: Array
    turned: Array | None
    busy: dict[str, Array]
    held: dict[str, Array] = field(default_factory=dict)
    room: Array | None = None
    share: Array | float = 1.0


@dataclass(frozen=True, eq=False, repr=False)
class Activity:
    """What D designs do with R operations.

    busy : resource -> (R, D) seconds over all runs of a row, as an array or as a Count.
    alone : (R, D) seconds of a row when nothing else runs beside it.
    serial : (R, D) those seconds with all sequences one after another, where some of them stand
        side by side in `alone`; None: as alone.
    beside : (R, D) bool, heads of one sequence stand side by side; None: nowhere.
    compute : (R, D) those seconds if main memory took no time.
    cycles : (R, D) clock cycles of the unit that computes the row.
    counts : action -> Count.
    fuse : (D,) bool, streamed rows run behind the product that feeds them.
    weights : bytes of parameters that are fetched, each once, which may run ahead of the
        computation as far as `room` (D,) bytes reach, at `bandwidth` (D,) bytes a second.
    start : (D,) seconds before the first operation can begin.
    executed : (D,) multiply-accumulates the peak is compared with.
    peak : (D,) multiply-accumulates a second.
    limits : sentence -> (needed, available), each (D,): infeasible where needed > available.
    notes : sentence -> what it is said of; one that begins with the name of a setting
        (accelerator.copies ...) is about what was given.
    resources : their names.
    queued : (D,) or for all; rows run one after another from a queue that a host fills, so
        that the busiest resource decides and nothing else waits.
    clocked : what a power limit needs; None where the clock is given.
    speed : (D,) share of the full clock that a power limit leaves; None where there is none.
    budget : an action whose power is limited on its own; None: none.
    one : all sequences in one stream; None: rows take what `alone` says.
    streams : (n (D,), rows) -> what one of n streams takes for some rows; None: its share.
    turns : (R, D) bool, rows whose loads and computing take turns; None: nowhere.
    holds : (R, D) seconds in which operations keep others from both memory and units, each a
        bound on the seconds of a stage of its own.
    periods : resource -> (D,) how often a sequence comes back to it; without: in each layer.
    wear : (D,) writes of the most written cell in a step, endurance : (D,) how many it
        survives; None where nothing wears.
    fill : writing the weights in place once; None where they only pass through.
    aside : kind -> (R, D) seconds of `alone` that a report shows under that kind rather than
        under the row's own: writing an operand, for one.
    extra : name -> (D,) further scalars of the result.
    largest : (D,) largest batch that fits into main memory, for the reason's text; None: unknown.
    tiles : (R, D) tile sides, or None unless asked for.
    traffic : on-chip and main memory bytes, each (R, D), or None unless asked for.
    moved : (R, D) bytes of main memory: weights, other reads, writes; or None unless asked for.
    accesses : operand -> (R, D) elements the unit reads or writes on chip; empty unless asked for.
    awake : part -> seconds it must be powered; a part that is not listed always is.
    residue : (D,) share of its leakage that a part keeps while its power is gated, or by part.
    members, owner : the units of a hybrid, and (R,) which of them runs a row (-1: a link).
    working : for each member, (D,) whether it runs anything.
    fold : None; where the designs' layers have columns of their own (P,), `busy`, `alone`,
        `compute` and the rows of counts are (R, P). Everything else is (D,) all the same.
    """

    busy: dict[str, Array | Count]
    alone: Array
    compute: Array
    cycles: Array
    counts: dict[str, Count]
    fuse: Array
    weights: Count
    room: Array
    bandwidth: Array
    start: Array
    executed: Array
    peak: Array
    limits: dict[str, tuple[Array, Array]]
    resources: tuple[str, ...]
    serial: Array | None = None
    beside: Array | None = None
    one: Stream | None = None
    streams: Callable[[Array, Array], Stream] | None = None
    turns: Array | None = None
    holds: tuple[Array, ...] = ()
    queued: bool | Array = False
    clocked: Clocked | None = None
    speed: Array | None = None
    budget: Budget | None = None
    periods: dict[str, Array] = field(default_factory=dict)
    wear: Array | None = None
    endurance: Array | None = None
    fill: Fill | None = None
    aside: dict[str, Array] = field(default_factory=dict)
    extra: dict[str, Array] = field(default_factory=dict)
    notes: dict[str, Note] = field(default_factory=dict)
    largest: Array | None = None
    tiles: tuple[Array, Array, Array] | None = None
    traffic: tuple[Array, Array] | None = None
    moved: tuple[Array, Array, Array] | None = None
    accesses: dict[str, Array] = field(default_factory=dict)
    awake: dict[str, Count] = field(default_factory=dict)
    residue: Array | float | dict[str, Array | float] = 1.0
    members: tuple[Activity, ...] = ()
    owner: Array | None = None
    working: tuple[Array, ...] = ()
    fold: Fold | None = None

    def of(self, row: int) -> Activity:
        """The activity of the unit that runs row `row`."""
        if self.owner is None or self.owner[row] < 0:
            return self
        return self.members[self.owner[row]]

    @property
    def chain(self) -> Array:
        """(R, D) seconds of a row with its sequences one after another."""
        return self.alone if self.serial is None else self.serial

    def load(self, resource: str, rows: Array | None = None) -> Array:
        """(D,) busy seconds of a resource, over the rows or some of them."""
        seconds = self.busy[resource]
        if isinstance(seconds, Count):
            return seconds.total(rows)
        return self.whole(sum_rows(seconds if rows is None else seconds[rows]))

    def whole(self, values: Array) -> Array:
        """(D,) sums of values of the columns."""
        return values if self.fold is None else self.fold.sum(values)

    def spread(self, values: Array) -> Array:
        """(D,) values for each of the columns."""
        return values if self.fold is None else self.fold.spread(values)

    def row(self, resource: str, r: int) -> Array:
        """(D,) busy seconds of a resource for row `r`."""
        seconds = self.busy[resource]
        return seconds.row(r) if isinstance(seconds, Count) else seconds[r]


def folded(activity: Activity, fold: Fold) -> Activity:
    """The activity of designs of which each layer was computed as if it were a design.

    What a unit is and what a whole model needs is the same in all of them.
    """

    def one(values: Array | float) -> Array:
        return fold.first(np.broadcast_to(values, fold.of.shape))

    def count(c: Count) -> Count:
        return replace(c, fold=fold)

    a, residue = activity, activity.residue
    assert not isinstance(residue, dict)
    return replace(
        a,
        fold=fold,
        fuse=one(a.fuse),
        room=one(a.room),
        bandwidth=one(a.bandwidth),
        start=one(a.start),
        executed=one(a.executed),
        peak=one(a.peak),
        residue=one(residue),
        limits={text: (one(needed), one(has)) for text, (needed, has) in a.limits.items()},
        notes={text: note.map(one) for text, note in a.notes.items()},
        busy={k: count(c) if isinstance(c, Count) else c for k, c in a.busy.items()},
        counts={k: count(c) for k, c in a.counts.items()},
        awake={k: count(c) for k, c in a.awake.items()},
        weights=count(a.weights),
    )


def undivided(alone: Array, busy: dict[str, Array | Count]) -> Callable[[Array, Array], Stream]:
    """`streams` of a machine on which every stream takes what the whole batch takes."""

    def of(n: Array, rows: Array) -> Stream:
        own = {name: (x.each() if isinstance(x, Count) else x)[rows] for name, x in busy.items()}
        return Stream(alone[rows], alone[rows], None, own)

    return of


def nothing_ahead(rows: int, index: Array) -> tuple[Count, Array, Array]:
    """`weights`, `room` and `bandwidth` of a machine that fetches no parameters ahead."""
    one = np.ones(index.size)
    return Count(np.zeros((rows, 1)), np.zeros(index.size, dtype=np.intp)), one, one


def gradients_limit(ops: Operations, index: Array) -> dict[str, tuple[Array, Array]]:
    """A limit broken where products of a backward pass run in a format that holds no gradients.

    index : (D,) pair of each design.
    """
    backward = ops.where(matmul=True, phase="backward")
    if ops.format.products.trains or not backward.size:
        return {}
    trains = (ops.count[backward] > 0).any(axis=0)[index] + 0.0
    text = f"the machine does not train: {ops.format.compute} holds no gradients"
    return {text: (trains, np.zeros(index.size))}
