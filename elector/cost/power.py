"""The clock at which a design stays within its power limit: the one place where joules
reach time.

At `s` of the full clock a stage takes T(s) = start + sum over its rows of the busiest resource,
and needs

    E(s) = standing watts x T(s) + core joules x v(s)^2 + other joules,

with v the supply voltage, which falls with the clock down to a floor. What a busy kernel takes
whatever it does (`Clocked.running`) is among the core's joules, in proportion to its cycles at
`s`. E / T falls with s, so the largest s with E / T <= limit is found by halving (Mei et al. 2017,
A survey and measurement study of GPU DVFS, arXiv 1610.01784, for the shape of v). One clock holds
for a stage (a prompt, the tokens after it, an update): power management averages over more time
than an operation takes, and what comes later does not decide how fast a prompt is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from elector.cost.pricing import Prices, standing
from elector.cost.schedule import Timing, rows_by_stage, schedule
from elector.machines.activity import POWER
from elector.machines.contract import Activity, Clocked, Count, Machine, Stream, Streams
from elector.operations.rows import Operations

Array = np.ndarray

#: Below the lowest clock a board leaves out pulses; a tenth of them stays in each step.
SKIPPED = 12
#: Stage -> another whose clock it has: passes that read prompts have one, however many they are.
CLOCK_OF = {"prefill_more": "step"}
#: Share of the standing watts that has to be left for work: less is rounding, and would take ages.
ROUNDING = 1e-9

#: Halvings of the clock's range, in its logarithm: what is left is a ten-millionth.
HALVINGS = 28


def limit(
    ops: Operations, index: Array, activity: Activity, prices: Prices, machine: Machine
) -> tuple[Activity, Prices]:
    """Activity and prices at the clocks each design can hold (`Power.speed`).

    A design whose limit is not reached keeps its clock, and its numbers bit for bit.
    """
    activity = _within_budget(activity, prices)
    clocked = activity.power.clocked if activity.power is not None else None
    if clocked is None:
        return activity, prices
    stages = _Stages.of(ops, index.size)
    core, other = _joules(activity, prices, machine, clocked.running, stages)

    def parts(speed: Array) -> tuple[Array, Array, Array]:
        """(S, D) joules that flow whatever is done, seconds, and joules of what is done."""
        slower = at_speed(activity, speed[stages.of_row])
        # A unit that is given nothing to do takes what it takes when it idles.
        seconds = np.maximum(stages.seconds(schedule(ops, index, slower)), 1e-300)
        flowing = stages.each(lambda i, rows: standing(slower, prices, seconds[i], rows))
        running = stages.each(lambda i, rows: _running(slower, prices, clocked.running, rows))
        return flowing, seconds, (core + running) * voltage(clocked, speed) ** 2 + other

    def watts(speed: Array) -> Array:
        rest, seconds, dynamic = parts(speed)
        return (rest + dynamic) / seconds

    low, high = stages.broadcast(clocked.floor), stages.broadcast(np.ones(1))
    free = watts(high) <= clocked.limit
    if not free.all():
        for _ in range(SKIPPED):  # below the lowest clock, pulses are left out
            above = ~free & (watts(low) > clocked.limit)
            if not above.any():
                break
            low = np.where(above, 0.1 * low, low)
        # No clock helps a design that needs as much without any.
        rest, seconds, dynamic = parts(low)
        needed = (rest + np.maximum(dynamic, ROUNDING * rest)) / seconds
        least = np.where(free, 0.0, needed).max(axis=0)
        activity = replace(activity, limits=activity.limits | {POWER: (least, clocked.limit)})
        for _ in range(HALVINGS):
            middle = np.sqrt(low * high)
            fits = watts(middle) <= clocked.limit
            low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    speed = np.where(free, 1.0, low)[stages.of_row]
    prices = at_voltage(prices, machine, voltage(clocked, speed))
    return _told(clocked, activity, at_speed(activity, speed), speed), prices


def _told(clocked: Clocked, full: Activity, held: Activity, speed: Array) -> Activity:
    """The activity with the cycles that rows take at the clock they hold, and what follows it.

    full : the activity at the full clock. held : at `speed` (R, D) of it.
    """
    share = speed * held.alone / np.maximum(full.alone, 1e-300)
    cycles = np.where(speed < 1.0, full.cycles * share, full.cycles)
    told = held.told
    if clocked.follows is not None:
        told = replace(told, extra=told.extra | clocked.follows(held.alone))
    return replace(held, cycles=cycles, told=told)


@dataclass(frozen=True, eq=False, repr=False)
class _Stages:
    """The S stages of a clock that some operations have.

    rows : stage -> (N,) places of its rows. of_row : (R,) the place of a row's stage.
    size : designs.
    """

    rows: dict[str, Array]
    of_row: Array
    size: int

    @classmethod
    def of(cls, ops: Operations, size: int) -> _Stages:
        """Those of D designs."""
        rows: dict[str, Array] = {}
        for stage, places in rows_by_stage(ops).items():
            clock = CLOCK_OF.get(stage, stage)
            rows[clock] = np.concatenate((rows[clock], places)) if clock in rows else places
        of_row = np.zeros(len(ops.rows), dtype=np.intp)
        for i, places in enumerate(rows.values()):
            of_row[places] = i
        return cls(rows, of_row, size)

    def seconds(self, timing: Timing) -> Array:
        """(S, D) seconds of the stages."""
        took = {clock: np.zeros(self.size) for clock in self.rows}
        for stage, own in timing.stages.items():
            clock = CLOCK_OF.get(stage, stage)
            took[clock] = took[clock] + own
        return np.stack(list(took.values()))

    def each(self, of: Callable[[int, Array], Array]) -> Array:
        """(S, D) of what a stage, by its place and rows, has (D,)."""
        several = (of(i, rows) for i, rows in enumerate(self.rows.values()))
        return np.stack([np.broadcast_to(own, (self.size,)) for own in several])

    def broadcast(self, values: Array) -> Array:
        """(S, D) of (D,) values, or one."""
        return np.broadcast_to(values, (len(self.rows), self.size)) + 0.0


def _within_budget(activity: Activity, prices: Prices) -> Activity:
    """The activity with an action's resource busy for at least its joules over its watts."""
    budget = activity.power.budget if activity.power is not None else None
    if budget is None:
        return activity
    joules = activity.counts[budget.action].each() * prices.actions[budget.action].value
    seconds, least = activity.busy[budget.resource], joules / budget.limit
    before = seconds.each() if isinstance(seconds, Count) else seconds
    busy = {**activity.busy, budget.resource: np.maximum(before, least)}
    one, streams = activity.overlap.one, activity.overlap.streams
    assert one is not None and streams is not None
    longer = _longer(one, least)

    aside = dict(activity.told.aside)
    if budget.resource in aside:
        aside[budget.resource] = aside[budget.resource] + (longer.alone - one.alone)
    return replace(
        activity,
        busy=busy,
        alone=longer.alone,
        overlap=replace(activity.overlap, one=longer, streams=_LongerStreams(streams, least)),
        told=replace(activity.told, aside=aside),
    )


@dataclass(frozen=True, eq=False, repr=False)
class _LongerStreams(Streams):
    """Streams in whose rows an action takes its share of `least` (R, D) seconds."""

    streams: Streams
    least: Array

    def of(self, n: Array, rows: Array) -> Stream:
        """What one of n (D,) streams takes for some rows."""
        return _longer(self.streams.of(n, rows), self.least[rows])

    def some(self, columns: Array) -> Streams:
        """The streams of some of the designs."""
        return _LongerStreams(self.streams.some(columns), self.least[:, columns])


def _longer(stream: Stream, least: Array) -> Stream:
    """A stream in whose rows an action takes its share of `least` (R, D) seconds, and what they
    hold for so much longer."""
    assert stream.room is not None
    more = np.maximum(least * stream.share - stream.room, 0.0)
    if not more.any():
        return stream
    held = {name: seconds + more * (seconds > 0) for name, seconds in stream.held.items()}
    return replace(stream, alone=stream.alone + more, ahead=stream.ahead + more, held=held)


def voltage(clocked: Clocked, speed: Array) -> Array:
    """(..., D) supply voltage over that of the highest clock: flat, then a straight line to 1.

    speed : (..., D) share of the design's own full clock.
    """
    knee, least = clocked.voltage
    rise = (1.0 - least) / (1.0 - knee)
    return np.maximum(1.0 - rise * (1.0 - speed * clocked.top), least)


def at_speed(activity: Activity, speed: Array) -> Activity:
    """The activity with each row at `speed` (R, D) of the full clock."""
    power = activity.power
    assert power is not None and power.clocked is not None
    clocked = power.clocked
    seconds = clocked.seconds(speed)
    busy = {**activity.busy, clocked.resource: seconds}
    counts = {**activity.counts, **clocked.ran(seconds, speed)}
    changed = replace(activity, busy=busy, counts=counts, alone=seconds)
    return replace(changed, power=replace(power, speed=speed))


def at_voltage(prices: Prices, machine: Machine, volts: Array) -> Prices:
    """Prices of the core's actions at a voltage (R, D) relative to the full clock's.

    Row by row also where a design has one stage: with others in its batch that have more, its sums
    are then the same to the last bit.

    volts : (R, D) voltage over that of the full clock, the same in all rows of a stage.
    """
    actions = {
        name: replace(rate, by_row=volts**2) if machine.actions[name].core else rate
        for name, rate in prices.actions.items()
    }
    return replace(prices, actions=actions)


def _running(activity: Activity, prices: Prices, action: str, rows: Array) -> Array:
    """(D,) joules of what takes power while it is busy with some rows, at the activity's clock."""
    if not action:
        return np.zeros(1)
    return prices.actions[action].total(activity.counts[action], rows)


def _joules(
    activity: Activity, prices: Prices, machine: Machine, apart: str, stages: _Stages
) -> tuple[Array, Array]:
    """(S, D) joules that follow the core's voltage, and those that do not, but for one action."""

    def of(core: bool) -> Callable[[int, Array], Array]:
        def joules(_: int, rows: Array) -> Array:
            total = np.zeros(1)
            for name, count in activity.counts.items():
                if name != apart and machine.actions[name].core == core:
                    total = total + prices.actions[name].total(count, rows)
            return total

        return joules

    return stages.each(of(True)), stages.each(of(False))
