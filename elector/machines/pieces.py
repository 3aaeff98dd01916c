"""What the queue of events asks of a machine: the pieces of work of one design, one by one.

The queue (elector.events) is a second opinion on the schedule: it lets jobs of layers and
sequences wait for units, memory and each other. A machine tells it what a row takes. Most
machines count that anew, piece by piece, so that their closed forms are checked as well; a
machine that uses `Counted` takes the seconds of its closed form, so that only overlap is
checked, and its page says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from elector.machines.activity import Activity
from elector.machines.units import Units
from elector.operations.rows import Operations

#: Pieces a job is cut into: finer cuts change the step by less than a percent.
PIECES = 8


@dataclass(frozen=True, eq=False, repr=False)
class Case:
    """One design, as an event model is told of it.

    pair : its column of the operations. activity : what the closed form says; decisions are
    taken from there (tiles, plans), seconds by `Counted` alone. joules : action -> of one.
    """

    ops: Operations
    pair: int
    units: Units
    activity: Activity
    joules: Mapping[str, float]

    @cached_property
    def number(self) -> dict[str, float]:
        """Setting -> its number in SI."""
        return {key: float(values[0]) for key, values in self.units.numbers.items()}

    @cached_property
    def name(self) -> dict[str, str]:
        """Setting -> the choice it names."""
        return {key: names[int(codes[0])] for key, (names, codes) in self.units.names.items()}


@dataclass(frozen=True)
class LayerRun:
    """One layer of one row for one of `streams` sequences.

    turn : of the step, which goes through its layers again for every token that it generates and
    every micro-batch that it trains on. layer, repeat : of the layers of a turn, of which there
    are so many. times : runs in this layer. most : pieces they are cut into.
    """

    row: int
    turn: int
    layer: int
    repeat: int
    times: float
    stream: int
    streams: int
    most: int


@dataclass(frozen=True)
class RowWork:
    """What a unit does for one row: jobs of a row follow one another.

    unit : its name. seconds : of each piece. latency : until a piece's result is there once the
    unit is free again. share : of the row's traffic. launch : seconds a host needs before.
    amount : share of the unit that a piece takes. also : another unit, and the share of it, that
    a piece takes at the same time; or None. early : the host launches the next job
    meanwhile, as it launched this one before. registers : the unit's own hold the operands that
    it works on: they leave the buffer when it is free again, not when the result is there.
    places : it puts the row's weights where all sequences read them, piece by piece as they are
    fetched: nothing else of the row needs them from main memory, and all else waits for it.
    """

    unit: str
    seconds: list[float]
    latency: float = 0.0
    share: float = 1.0
    launch: float = 0.0
    amount: float = 1.0
    also: tuple[str, float] | None = None
    early: bool = False
    registers: bool = False
    places: bool = False


class EventModel(Protocol):
    """What the queue asks of a machine.

    bandwidth, buffer : of main memory [byte/s], and the bytes its fetches may fill. fuse :
    streamed rows follow the product that feeds them piece by piece. least : pieces of a job.
    ahead : launches a host may be ahead; 0: jobs need no launch, and those of one sequence alone
    wait for each other.
    """

    bandwidth: float
    buffer: float
    fuse: bool
    least: int
    ahead: int

    def turns(self, row: int) -> bool:
        """Whether loads and computing of a row take turns."""

    def work(self, run: LayerRun) -> list[RowWork]:
        """What units do for one sequence in one layer."""

    def heads(self, row: int) -> bool:
        """Whether heads of this row follow one another, so that the next row may begin."""

    def traffic(self, row: int) -> tuple[float, float, float]:
        """Bytes of one run: weights fetched, other operands fetched, results stored."""


def cut(seconds: float, pieces: int) -> list[float]:
    """So many equal pieces."""
    return [seconds / pieces] * pieces


class Counted:
    """The event model of a machine that brings none of its own making: each row takes the busy
    seconds of its activity on the unit that it keeps longest, and main memory those of
    `memory`.

    memory : the resource that is main memory; its bytes are its seconds at `bandwidth` byte/s.
    buffer : bytes its fetches may fill; by default they are as far ahead as operands allow.
    """

    least, ahead = PIECES, 0

    def __init__(self, case: Case, memory: str, bandwidth: float, buffer: float = math.inf) -> None:
        self.case, self.bandwidth, self.buffer = case, bandwidth, buffer
        self.fuse = bool(case.activity.fuse[0])
        rows = range(len(case.ops.rows))
        self.busy = {
            name: [float(case.activity.row(name, r)[0]) for r in rows]
            for name in case.activity.busy
        }
        self.loads = self.busy.pop(memory)

    def turns(self, row: int) -> bool:
        """Loads and computing go on side by side."""
        return False

    def heads(self, row: int) -> bool:
        """Heads follow one another."""
        return self.case.ops.rows[row].in_attention

    def work(self, run: LayerRun) -> list[RowWork]:
        """The units' seconds of one run, one unit after another."""
        share = run.times / self._runs(run.row) / run.streams
        taken = {unit: rows[run.row] * share for unit, rows in self.busy.items()}
        busy = {unit: seconds for unit, seconds in taken.items() if seconds > 0}
        busy = busy or dict([next(iter(taken.items()))])
        return [
            RowWork(unit, cut(seconds, run.most), share=1.0 / len(busy))
            for unit, seconds in busy.items()
        ]

    def traffic(self, row: int) -> tuple[float, float, float]:
        """Bytes of one run: operands and results by their sizes."""
        ops, i = self.case.ops, self.case.pair
        moved = self.loads[row] * self.bandwidth / self._runs(row)
        read, out = float((ops.a_bytes + ops.b_bytes)[row, i]), float(ops.out_bytes[row, i])
        share = out / max(read + out, 1e-300)
        return 0.0, moved * (1.0 - share), moved * share

    def _runs(self, row: int) -> float:
        return max(float(self.case.ops.count[row, self.case.pair]), 1e-300)
