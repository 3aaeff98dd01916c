"""What only some machines report of their designs, each a record that merges itself.

A hybrid joins the activities of its units by asking every record to merge
(`ActivityRecord.merge`), so that a new one cannot be lost; it is a class in here and a field of
`Activity`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

from elector.base.segments import Fold
from elector.base.table import distinct
from elector.machines.counts import Count, largest, sum_rows, total

Array = np.ndarray


# ---- what records are made of ----


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
    running : action whose count is the joules that the resource takes while it is busy, whatever
        it does, in proportion to the clock; "": none.
    watts : (D,) of it at the full clock.
    passing, turning : (R, D) seconds at the full clock between cache and processors, beside compute
        and before it: they grow as well, at most `room` (D,) times, when the cache is as slow as
        main memory, whose bytes pass there, too; None: none.
    working, fetching : (R, D) seconds of the processors at the full clock, which grow, before
        compute, and beside them, as `turning` is, of main memory, which do not; None: none.
    follows : busy seconds (R, D) of the resource -> further scalars of the result, (D,) each.
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
    running: str = ""
    watts: Array | None = None
    passing: Array | None = None
    turning: Array | None = None
    working: Array | None = None
    fetching: Array | None = None
    room: Array | None = None
    follows: Callable[[Array], dict[str, Array]] | None = None

    def some(self, rows: Array, designs: Array) -> Clocked:
        """That of some rows of some designs; rows (r,), designs (d,) : their places."""

        def of(values: Array) -> Array:
            return values[designs] if values.ndim == 1 else values[rows[:, None], designs]

        arrays = {name: of(x) for name, x in vars(self).items() if isinstance(x, Array)}
        return Clocked(**(vars(self) | arrays))

    def seconds(self, speed: Array) -> Array:
        """(R, D) busy seconds at `speed` (R, D) of the full clock, or (D,) for all rows."""
        compute, fixed = self.compute / speed, self.fixed
        if self.room is not None:
            slower = np.minimum(1.0 / speed, self.room)
            if self.passing is not None:
                compute = np.maximum(compute, self.passing * slower)
            fixed = fixed + self._before(speed, slower)
        hidden = np.minimum(compute, self.memory)
        return fixed + np.maximum(compute, self.memory) + self.slack * hidden

    def _before(self, speed: Array, slower: Array) -> Array | float:
        """(R, D) seconds before compute, at `speed` of the full clock and a cache `slower`."""
        before: Array | float = 0.0
        if self.turning is not None:
            before = self.turning * slower
        if self.fetching is not None:
            before = before + self.fetching
        if self.working is not None:
            before = np.maximum(before, self.working / speed)
        return before

    def ran(self, seconds: Array, speed: Array) -> dict[str, Count]:
        """`running` and its joules, at `speed` of the full clock; {} where nothing runs so.

        seconds : (R, D) that the resource is busy at that clock. speed : (R, D), or (D,) for all
            rows.
        """
        if not self.running:
            return {}
        return {self.running: Count(seconds * (self.watts * speed), np.arange(seconds.shape[1]))}


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
        """The note for those of (D,) bool designs only.

        rows : (D,) bool.
        """
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
class Turned:
    """Rows of some designs with loads and computing in turn.

    designs : (d,) their places, in order. seconds : (R, d).
    """

    designs: Array
    seconds: Array

    def least(self, seconds: Array) -> Array:
        """(R, D) of which these are taken where they are less; seconds (R, D)."""
        least = np.array(seconds)
        least[:, self.designs] = np.minimum(least[:, self.designs], self.seconds)
        return least


@dataclass(frozen=True, eq=False, repr=False)
class Stream:
    """What one of n independent streams takes, where the batch is split into them.

    (R, D) seconds over all runs of some rows. alone : a row when nothing else runs beside it.
    ahead : the same with its parameters there when it starts. turned : designs that may take less
    with loads and computing in turn; None: none does. busy : resource -> seconds for which it is
    taken, of those that n streams do not share evenly. held : resource -> seconds for which a
    stream has a part of it, of those that have room for several streams at once. room, share :
    seconds that the action of a `Budget` may take in a row without making it longer, and the
    share of the row's joules that falls into this stream; where there is a budget. computing : of
    a row alone without its loads, where loads and computing may take turns.
    """

    alone: Array
    ahead: Array
    turned: Turned | None
    busy: dict[str, Array]
    held: dict[str, Array] = field(default_factory=dict)
    room: Array | None = None
    share: Array | float = 1.0
    computing: Array | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Hold:
    """Seconds (R, h) for which rows keep others from both memory and units, of which each adds the
    lesser; of the designs of which a row takes turns.

    designs : (h,) their places, in order. seconds : with loads and computing in turn; computing :
    of these the seconds of computing. most : of each mixture of memory and units, a bound of its
    own, with both side by side; inf where they may not be.
    """

    designs: Array
    seconds: Array
    computing: Array
    most: tuple[Array, ...]

    def of(self, rows: Array, size: int, columns: Array | None) -> Hold:
        """That of some rows (N,) of some designs.

        size : designs there are. columns : (d,) places of some of them, which may repeat; None:
        all.
        """
        here, among = self.designs, np.arange(self.designs.size)
        if columns is not None:
            stands = np.full(size, -1, dtype=np.intp)
            stands[self.designs] = among
            stands = stands[columns]
            here = np.flatnonzero(stands >= 0)
            among = stands[here]
        seconds, computing, *most = (
            x[rows].take(among, axis=1, mode="clip")
            for x in (self.seconds, self.computing, *self.most)
        )
        return Hold(here, seconds, computing, tuple(most))

    def sums(self, seconds: Array, size: int) -> list[Array]:
        """(size,) sums over rows of each mixture, each row with so many seconds (R, h) at most.

        size : designs there are.
        """
        sums = []
        for most in self.most:
            whole = np.zeros(size)
            whole[self.designs] = sum_rows(np.minimum(seconds, most))
            sums.append(whole)
        return sums


class Streams(ABC):
    """What one of n streams takes, of D designs."""

    @property
    def floor(self) -> bool:
        """Whether rows take some seconds however little of the batch a stream has, so that many
        streams seldom pay."""
        return False

    @abstractmethod
    def of(self, n: Array, rows: Array) -> Stream:
        """What one of n (D,) streams takes for some rows."""

    @abstractmethod
    def some(self, columns: Array) -> Streams:
        """The streams of some of the designs.

        columns : (d,) their places, which may repeat.
        """


@dataclass(frozen=True, eq=False, repr=False)
class EvenStreams(Streams):
    """Streams that share a row evenly.

    alone : (R, D) seconds of all sequences.
    """

    alone: Array

    def of(self, n: Array, rows: Array) -> Stream:
        """A share of the row."""
        share = self.alone[rows] / n
        return Stream(share, share, None, {})

    def some(self, columns: Array) -> Streams:
        """The streams of some of the designs."""
        return EvenStreams(self.alone[:, columns])


@dataclass(frozen=True, eq=False, repr=False)
class WholeStreams(Streams):
    """Streams of a machine on which each takes what the whole batch takes.

    alone : (R, D) seconds of the whole batch. busy : resource -> (R, D) seconds of it.
    """

    alone: Array
    busy: dict[str, Array]

    def of(self, n: Array, rows: Array) -> Stream:
        """All of the row, whatever n is."""
        own = {name: seconds[rows] for name, seconds in self.busy.items()}
        return Stream(self.alone[rows], self.alone[rows], None, own)

    def some(self, columns: Array) -> Streams:
        """The streams of some of the designs."""
        busy = {name: seconds[:, columns] for name, seconds in self.busy.items()}
        return WholeStreams(self.alone[:, columns], busy)


@dataclass(frozen=True, eq=False, repr=False)
class UnitStreams(Streams):
    """Streams of a hybrid: each row on the unit that runs it.

    units : what the names of its resources begin with, and its streams.
    """

    units: tuple[tuple[str, Streams], ...]

    @property
    def floor(self) -> bool:
        """Whether those of a unit do."""
        return any(streams.floor for _, streams in self.units)

    def of(self, n: Array, rows: Array) -> Stream:
        """A row is nonzero for the one that runs it."""
        return summed([_named(start, streams.of(n, rows)) for start, streams in self.units])

    def some(self, columns: Array) -> Streams:
        """The streams of some of the designs."""
        return UnitStreams(tuple((start, streams.some(columns)) for start, streams in self.units))


# ---- records ----


class Reported(Protocol):
    """Of an activity, what records look at when they merge."""

    @property
    def busy(self) -> dict[str, Array | Count]:
        """Resource -> (R, D) seconds."""

    @property
    def alone(self) -> Array:
        """(R, D) seconds; 0 where the unit does not run a row."""

    @property
    def records(self) -> Mapping[str, ActivityRecord]:
        """Field -> record."""


A = TypeVar("A", bound=Reported, covariant=True)


@dataclass(frozen=True, eq=False, repr=False)
class Unit(Generic[A]):
    """A unit of a hybrid, or a link between two.

    start : what the names of its resources, actions and parts begin with in the hybrid.
    works : (D,) bool, designs in which it runs anything.
    """

    name: str
    start: str
    activity: A
    works: Array
    link: bool = False

    def note(self, sentence: str) -> str:
        """A sentence about its settings, as the hybrid calls them."""
        return sentence.replace("accelerator.", f"accelerator.units.{self.name}.")


Units = Sequence[Unit[Reported]]


def alone_in(units: Units) -> Array:
    """(D,) bool, designs in which one unit runs everything."""
    return sum_rows(np.stack([u.works + 0.0 for u in units if not u.link])) <= 1.0


class ActivityRecord(ABC):
    """A part of an activity that not every machine reports."""

    @classmethod
    @abstractmethod
    def merge(cls, units: Units) -> Self | None:
        """The record of a hybrid; None where units keep it to themselves."""

    def folded(self, fold: Fold) -> Self:
        """The record of designs of which each layer was computed as if it were a design."""
        return self

    @classmethod
    def among(cls, units: Units) -> list[tuple[Unit[Reported], Self]]:
        """The units that report it, with what they report."""
        return [
            (u, record)
            for u in units
            for record in u.activity.records.values()
            if isinstance(record, cls)
        ]


@dataclass(frozen=True, eq=False, repr=False)
class Overlap(ActivityRecord):
    """How the sequences of a batch follow one another.

    one : all of them in one stream; None: rows take what `alone` says. streams : what one of n
    streams takes; None: its share of `alone`.
    beside : (R, D) bool, heads of one sequence stand side by side; None: nowhere.
    turns : (R, D) bool, rows whose loads and computing take turns; None: nowhere.
    holds : what keeps memory and units busy together, each a bound of its own on a stage.
    periods : resource -> (D,) how often a sequence comes back to it; without: in each layer.
    queued : (D,) or for all; rows run one after another from a queue that a host fills, so
        that the busiest resource decides and nothing else waits.
    in_order : (D,) or for all; one operation of the whole batch after another, in no streams.
    unpacks : an operand in another format is unpacked beside its product, by another unit.
    """

    one: Stream | None = None
    streams: Streams | None = None
    beside: Array | None = None
    turns: Array | None = None
    holds: tuple[Hold, ...] = ()
    periods: dict[str, Array] = field(default_factory=dict)
    queued: bool | Array = False
    in_order: bool | Array = False
    unpacks: bool = False

    @classmethod
    def merge(cls, units: Units) -> Self:
        """Each row on the unit that runs it; a queue is one only where it runs everything.

        Of a unit that works on the whole batch at once, others get the whole batch at once.
        """
        records = cls.among(units)
        orders = [np.broadcast_to(own.in_order, u.works.shape) & u.works for u, own in records]
        queues = [np.broadcast_to(own.queued, u.works.shape) & u.works for u, own in records]
        return cls(
            one=summed([_named(u.start, one_of(u.activity)) for u in units]),
            streams=UnitStreams(tuple((u.start, streams_of(u.activity)) for u in units)),
            beside=_where([(u, own.beside) for u, own in records]),
            turns=_where([(u, own.turns) for u, own in records]),
            holds=tuple(hold for _, own in records for hold in own.holds),
            unpacks=any(own.unpacks for _, own in records),
            periods={f"{u.start}{k}": x for u, own in records for k, x in own.periods.items()},
            queued=np.stack(queues).any(axis=0) & alone_in(units),
            in_order=np.asarray(np.stack(orders).any(axis=0)),
        )


def _said(activity: Reported) -> Overlap:
    """How the sequences follow one another, as the machine says; the plain way where it does not.

    activity : what the machine reports.
    """
    said = (record for record in activity.records.values() if isinstance(record, Overlap))
    return next(said, Overlap())


def one_of(activity: Reported) -> Stream:
    """All sequences in one stream.

    activity : what the machine reports.
    """
    return _said(activity).one or Stream(activity.alone, activity.alone, None, {})


def streams_of(activity: Reported) -> Streams:
    """What one of n streams takes: its share of `alone` where the machine says nothing else.

    activity : what the machine reports.
    """
    return _said(activity).streams or EvenStreams(activity.alone)


def _named(start: str, stream: Stream) -> Stream:
    """A unit's stream with the names that its resources have in the hybrid."""
    busy, held = (
        {f"{start}{key}": seconds for key, seconds in taken.items()}
        for taken in (stream.busy, stream.held)
    )
    return replace(stream, busy=busy, held=held)


def summed(each: Sequence[Stream]) -> Stream:
    """Streams of units as one: a row is nonzero for the one that runs it.

    No budget is left: every unit has kept its own.
    """
    computing = [x.computing for x in each if x.computing is not None]
    return Stream(
        total([x.alone for x in each]),
        total([x.ahead for x in each]),
        _turned(each),
        {name: seconds for x in each for name, seconds in x.busy.items()},
        {name: seconds for x in each for name, seconds in x.held.items()},
        computing=total(computing) if computing else None,
    )


def _turned(each: Sequence[Stream]) -> Turned | None:
    """Of units as one: designs that gain by turns on any of them."""
    gain = [x.turned.designs for x in each if x.turned is not None]
    if not gain:
        return None
    designs, _, place = distinct(np.concatenate(gain))
    parts, start = [x.alone[:, designs] for x in each], 0
    for x, part in zip(each, parts, strict=True):
        if x.turned is not None:  # units whose rows gain nothing by turns keep their seconds
            own = place[start : start + x.turned.designs.size]
            start += own.size
            part[:, own] = x.turned.seconds
    return Turned(designs, total(parts))


def _where(given: Sequence[tuple[Unit[Reported], Array | None]]) -> Array | None:
    """(R, D) rows of which the unit that runs them says so."""
    said = [rows & (unit.activity.alone > 0) for unit, rows in given if rows is not None]
    return np.asarray(np.stack(said).any(axis=0)) if said else None


@dataclass(frozen=True, eq=False, repr=False)
class Ahead(ActivityRecord):
    """Parameters that are fetched before they are needed.

    weights : bytes of parameters, each fetched once, which may run ahead of the computation as
    far as `room` (D,) bytes reach, at `bandwidth` (D,) bytes a second.
    """

    weights: Count
    room: Array
    bandwidth: Array

    @classmethod
    def merge(cls, units: Units) -> None:
        """A unit fetches what its own rows need: a schedule asks the unit of a row."""

    def folded(self, fold: Fold) -> Self:
        """The room is that of the design, whichever layer it is for."""
        room, bandwidth = (fold.first(x) for x in (self.room, self.bandwidth))
        return replace(self, weights=self.weights.folded(fold), room=room, bandwidth=bandwidth)


@dataclass(frozen=True, eq=False, repr=False)
class Power(ActivityRecord):
    """Limits of watts.

    clocked : what a limit on the whole machine needs; None where the clock is given.
    speed : (R, D) share of the full clock that it leaves each row; None where there is none.
    budget : an action whose power is limited on its own; None: none.
    """

    clocked: Clocked | None = None
    speed: Array | None = None
    budget: Budget | None = None

    @classmethod
    def merge(cls, units: Units) -> None:
        """Every unit keeps its own limit before it is joined to others."""


@dataclass(frozen=True, eq=False, repr=False)
class Cells(ActivityRecord):
    """Weights in cells that writing wears out.

    wear : (D,) writes of the most written cell in a step. endurance : (D,) how many it survives.
    fill : writing the weights in place once.
    """

    wear: Array
    endurance: Array
    fill: Fill

    @classmethod
    def merge(cls, units: Units) -> Self | None:
        """Of the unit that lives shortest; units are filled one by one (cost.programming)."""
        records = [own for _, own in cls.among(units)]
        if not records:
            return None
        first = records[0]
        for own in records[1:]:
            sooner = own.wear / own.endurance > first.wear / first.endurance
            wear = np.where(sooner, own.wear, first.wear)
            first = replace(
                first, wear=wear, endurance=np.where(sooner, own.endurance, first.endurance)
            )
        return first


@dataclass(frozen=True, eq=False, repr=False)
class Gating(ActivityRecord):
    """Parts whose power is gated.

    awake : part -> seconds it must be powered; a part that is not listed always is.
    residue : part -> (D,) share of its leakage that it keeps while its power is gated.
    """

    awake: dict[str, Count] = field(default_factory=dict)
    residue: dict[str, Array] = field(default_factory=dict)

    @classmethod
    def merge(cls, units: Units) -> Self:
        """The parts of all units."""
        records = cls.among(units)
        return cls(
            {f"{u.start}{k}": c for u, own in records for k, c in own.awake.items()},
            {f"{u.start}{k}": x for u, own in records for k, x in own.residue.items()},
        )

    def folded(self, fold: Fold) -> Self:
        """A part is awake for all layers; what it keeps is the same in all of them."""
        return replace(
            self,
            awake={k: c.folded(fold) for k, c in self.awake.items()},
            residue={k: fold.first(x) for k, x in self.residue.items()},
        )


@dataclass(frozen=True, eq=False, repr=False)
class Remarks(ActivityRecord):
    """What a result says beside the figures that all machines have.

    aside : kind -> (R, D) seconds of `alone` that a report shows under that kind rather than
        under the row's own: writing an operand, for one.
    extra : name -> (D,) further scalars of the result.
    notes : sentence -> what it is said of; one that begins with the name of a setting
        (accelerator.copies ...) is about what was given.
    largest : (D,) largest batch that fits into main memory, for the reason's text; None: unknown.
    """

    aside: dict[str, Array] = field(default_factory=dict)
    extra: dict[str, Array] = field(default_factory=dict)
    notes: dict[str, Note] = field(default_factory=dict)
    largest: Array | None = None

    @classmethod
    def merge(cls, units: Units) -> Self:
        """Seconds add up; what two units report under one name gets theirs in front."""
        records = cls.among(units)
        kinds = dict.fromkeys(kind for _, own in records for kind in own.aside)
        names = [name for _, own in records for name in own.extra]
        return cls(
            {k: total([own.aside[k] for _, own in records if k in own.aside]) for k in kinds},
            {
                name if names.count(name) == 1 else f"{unit.name}.{name}": values
                for unit, own in records
                for name, values in own.extra.items()
            },
            {
                unit.note(text): note.among(unit.works)
                for unit, own in records
                for text, note in own.notes.items()
            },
            _largest(units, records),
        )

    def folded(self, fold: Fold) -> Self:
        """Notes are said of designs."""
        notes = {
            text: note.map(lambda x: fold.first(np.broadcast_to(x, fold.of.shape)))
            for text, note in self.notes.items()
        }
        return replace(self, notes=notes)


def _largest(units: Units, records: Sequence[tuple[Unit[Reported], Remarks]]) -> Array | None:
    """(D,) the largest batch of designs in which one unit does all; NaN where it is not known."""
    several = ~alone_in(units)
    known = np.full(several.shape, np.nan)
    for unit, own in records:
        if own.largest is not None:
            known = np.where(unit.works & ~several, own.largest, known)
    return known


@dataclass(frozen=True, eq=False, repr=False)
class Details(ActivityRecord):
    """Of each operation, where it is asked for.

    tiles : (R, D) sides of a tile. traffic : on-chip and main memory bytes, each (R, D).
    moved : (R, D) bytes of main memory: weights, other reads, writes; None: not told apart.
    accesses : operand -> (R, D) elements the unit reads or writes on chip.
    """

    tiles: tuple[Array, Array, Array]
    traffic: tuple[Array, Array]
    moved: tuple[Array, Array, Array] | None = None
    accesses: dict[str, Array] = field(default_factory=dict)

    @classmethod
    def merge(cls, units: Units) -> Self | None:
        """Each row as the unit that runs it has it; bytes are told apart where all units do."""
        records = [own for _, own in cls.among(units)]
        if not records:
            return None
        moved = [own.moved for own in records if own.moved is not None]
        names = dict.fromkeys(name for own in records for name in own.accesses)
        a, b, c = (total(x) for x in zip(*(own.tiles for own in records), strict=True))
        chip, memory = (total(x) for x in zip(*(own.traffic for own in records), strict=True))
        apart = None
        if len(moved) == len(records):
            weights, reads, writes = (total(x) for x in zip(*moved, strict=True))
            apart = weights, reads, writes
        return cls(
            (a, b, c),
            (chip, memory),
            apart,
            {n: total([own.accesses[n] for own in records if n in own.accesses]) for n in names},
        )


def undivided(alone: Array, busy: dict[str, Array | Count]) -> WholeStreams:
    """`streams` of a machine on which every stream takes what the whole batch takes.

    alone : (R, D) seconds of the whole batch. busy : resource -> (R, D) seconds.
    """
    whole = {name: x.each() if isinstance(x, Count) else x for name, x in busy.items()}
    return WholeStreams(alone, whole)


def waiting(alone: Array, busy: dict[str, Array | Count], several: Array) -> Array:
    """(R, D) seconds of rows of a queue: where units answer one another, host and device wait
    for each other in turn, so that a row takes the longer of the two.

    alone, several : (R, D) seconds of a row by itself and in the queue.
    """
    longest = largest([x.each() if isinstance(x, Count) else x for x in busy.values()])
    return np.where(several, longest, alone)
