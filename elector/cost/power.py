"""The clock at which a design stays within its power limit: the one place where joules
reach time.

At `s` of the full clock a stage takes T(s) = start + sum over its rows of the busiest resource,
and needs

    E(s) = standing watts x T(s) + core joules x v(s)^2 + other joules,

with v the supply voltage, which falls with the clock down to a floor. What a busy kernel takes
whatever it does (`Clocked.running`) is among the core's joules, in proportion to its cycles at
`s`. E / T falls with s, so there is one largest s with E / T <= limit (Mei et al. 2017, A survey
and measurement study of GPU DVFS, arXiv 1610.01784, for the shape of v). One clock holds for a
stage (a prompt, the tokens after it, an update): power management averages over more time than an
operation takes, and what comes later does not decide how fast a prompt is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from elector.cost.pricing import Prices, standing
from elector.cost.schedule import rows_by_stage, started
from elector.cost.stage import most_of, unchained
from elector.machines.activity import POWER
from elector.machines.contract import (
    Activity,
    Clocked,
    Count,
    Machine,
    Stream,
    Streams,
    sum_rows,
    total,
)
from elector.operations.rows import Operations

Array = np.ndarray

#: Below the lowest clock a board leaves out pulses; a tenth of them stays in each step.
SKIPPED = 12
#: Stage -> another whose clock it has: passes that read prompts have one, however many they are.
CLOCK_OF = {"prefill_more": "step"}
#: Share of the standing watts that has to be left for work: less is rounding, and would take ages.
ROUNDING = 1e-9

#: How close the logarithm of a clock comes to that of the largest one that fits, and how many
#: trials leap there before the rest halve: as many halvings bring any range below it.
CLOSE, TRIALS = 2.0**-36, 40


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
    speed, least = np.ones((len(ops.rows), index.size)), np.zeros(index.size)
    for rows, pace in _paces(ops, index, activity, prices, machine):
        over = np.flatnonzero(pace.watts(np.ones(index.size)) > clocked.limit)
        if over.size:
            held, needed = _held(pace.some(over))
            speed[rows[:, None], over] = held
            least[over] = np.maximum(least[over], needed)
    if least.any():
        activity = replace(activity, limits=activity.limits | {POWER: (least, clocked.limit)})
    prices = at_voltage(prices, machine, voltage(clocked, speed))
    return _told(clocked, activity, at_speed(activity, speed), speed), prices


def _held(pace: Pace) -> tuple[Array, Array]:
    """(D,) clocks that designs over their limit can hold, and watts that they need without any."""
    high, low = np.zeros(pace.start.size), np.log(pace.clocked.floor)
    at_high, at_low = pace.excess(high), pace.excess(low)
    for _ in range(SKIPPED):  # below the lowest clock, pulses are left out
        above = at_low > 0.0
        if not above.any():
            break
        low, high = np.where(above, low + np.log(0.1), low), np.where(above, low, high)
        at_low, at_high = pace.excess(low), np.where(above, at_low, at_high)
    # No clock helps a design that needs as much without any.
    flowing, seconds, dynamic = pace.parts(np.exp(low))
    needed = (flowing + np.maximum(dynamic, ROUNDING * flowing)) / seconds
    return np.exp(_largest(pace.excess, (low, at_low), (high, at_high))), needed


def _largest(
    excess: Callable[[Array], Array], low: tuple[Array, Array], high: tuple[Array, Array]
) -> Array:
    """(D,) places at most CLOSE below the largest where `excess` is not above 0; never above it.

    By inverse quadratic interpolation where its three last values allow it, else by halving
    (Chandrupatla 1997, Advances in Engineering Software 28 (3)), and by halving alone where that
    takes long, as at a kink. A design that is done is left alone, so that none beside it changes a
    bit of its place.

    excess : rises. low, high : two (D,) places and its values there; where it is above 0 at `low`,
    that place is returned.
    """
    (old, at_old), (new, at_new) = low, high
    share, wide = np.full(old.size, 0.5), (at_old <= 0.0) & (at_new > 0.0)
    for trial in range(2 * TRIALS):
        wide = wide & (np.abs(old - new) > CLOSE)
        if not wide.any():
            break
        place = np.where(wide, new + share * (old - new), new)
        value = np.where(wide, excess(place), at_new)
        beyond = (value > 0.0) == (at_new > 0.0)  # the place is between it and the old one
        last, at_last = np.where(beyond, new, old), np.where(beyond, at_new, at_old)
        old, at_old = np.where(beyond, old, new), np.where(beyond, at_old, at_new)
        new, at_new = place, value
        share = _share((new, old, last), (at_new, at_old, at_last))
        if trial + 1 >= TRIALS:
            share = np.full(share.shape, 0.5)
    return np.where(at_new > 0.0, old, new)


def _share(places: tuple[Array, ...], values: tuple[Array, ...]) -> Array:
    """(D,) share of the way from the new place to the old one at which to try next.

    places, values : (D,) each, of the new place, of the old one on the other side of the root, and
    of the one before.
    """
    (new, old, last), (at_new, at_old, at_last) = places, values
    width = old - new
    with np.errstate(divide="ignore", invalid="ignore"):
        part = (new - old) / (last - old)
        rise = (at_new - at_old) / (at_last - at_old)
        straight = (1.0 - np.sqrt(1.0 - part) < rise) & (rise < np.sqrt(part))
        share = at_new / (at_old - at_new) * at_last / (at_old - at_last) + (
            (last - new) / width * at_new / (at_last - at_new) * at_old / (at_last - at_old)
        )
        least = np.minimum(0.5 * CLOSE / np.abs(width), 0.5)
    return np.clip(np.where(straight, share, 0.5), least, 1.0 - least)


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
class Pace:
    """What D designs take and need in rows that share a clock, at any speed of it.

    A machine that has a clock runs its rows from a queue (`Overlap.queued`), so that in each stage
    the busiest resource decides and nothing waits.

    clocked : of these rows. stages : places among them of each stage. beside : (N, D) seconds for
    which another resource is busy in each. start : (D,) seconds before the first operation.
    flowing : (2, D) joules that flow whatever is done and how long it takes, and watts. core, other
    : (D,) joules of what is done that follow the core's voltage, at the full clock, and that do
    not. running : (D,) price of a joule of `Clocked.running`.
    """

    clocked: Clocked
    stages: tuple[Array, ...]
    beside: Array
    start: Array
    flowing: Array
    core: Array
    other: Array
    running: Array

    def some(self, places: Array) -> Pace:
        """Some of the designs; places (d,) : of them."""
        every = np.arange(self.clocked.compute.shape[0])
        return Pace(
            self.clocked.some(every, places),
            self.stages,
            self.beside[:, places],
            self.start[places],
            self.flowing[:, places],
            self.core[places],
            self.other[places],
            self.running[places],
        )

    def parts(self, speed: Array) -> tuple[Array, Array, Array]:
        """(D,) joules that flow whatever is done, seconds, and joules of what is done."""
        each = self.clocked.seconds(speed)
        busy = np.stack([sum_rows(each[rows]) for rows in self.stages])
        seconds = sum_rows(np.maximum(busy, self.beside)) + self.start
        # A unit that is given nothing to do takes what it takes when it idles.
        seconds = np.maximum(seconds, 1e-300)
        core = self.core
        if self.clocked.watts is not None:
            core = core + sum_rows(busy) * (self.clocked.watts * speed) * self.running
        dynamic = core * voltage(self.clocked, speed) ** 2 + self.other
        return self.flowing[0] + self.flowing[1] * seconds, seconds, dynamic

    def watts(self, speed: Array) -> Array:
        """(D,) watts at `speed` (D,) of the full clock."""
        flowing, seconds, dynamic = self.parts(speed)
        return (flowing + dynamic) / seconds

    def excess(self, place: Array) -> Array:
        """(D,) logarithm of the watts over the limit, at that (D,) of a speed."""
        limit = self.clocked.limit
        return np.log1p((self.watts(np.exp(place)) - limit) / limit)


def _paces(
    ops: Operations, index: Array, activity: Activity, prices: Prices, machine: Machine
) -> Iterator[tuple[Array, Pace]]:
    """Of each clock its rows, (N,) places, and what they take and need."""
    power = activity.power
    assert power is not None and power.clocked is not None and np.all(activity.overlap.queued)
    clocked, none, one = power.clocked, np.zeros(index.size), np.ones(index.size)
    shared: dict[str, list[str]] = {}
    for stage in rows_by_stage(ops):
        shared.setdefault(CLOCK_OF.get(stage, stage), []).append(stage)
    starts = started(ops, index, activity)
    for stages in shared.values():
        each = [rows_by_stage(ops)[stage] for stage in stages]
        ends, rows = np.cumsum([own.size for own in each]), np.concatenate(each)
        beside = []
        for own in each:
            loads = unchained(activity, own)
            del loads[clocked.resource]
            beside.append(most_of([none, *loads.values()]))
        core, other = _joules(activity, prices, machine, rows)
        at_once = standing(activity, prices, none, rows) + none
        price = prices.actions[clocked.running].value if clocked.running else none
        yield (
            rows,
            Pace(
                clocked.some(rows, np.arange(index.size)),
                tuple(np.split(np.arange(rows.size), ends[:-1])),
                np.stack(beside),
                total([starts.get(stage, none) for stage in stages]),
                np.stack([at_once, standing(activity, prices, one, rows) - at_once]),
                core + none,
                other + none,
                price,
            ),
        )


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


def _joules(
    activity: Activity, prices: Prices, machine: Machine, rows: Array
) -> tuple[Array, Array]:
    """(D,) joules of some rows that follow the core's voltage, and those that do not, but for what
    runs at the clock (`Clocked.running`)."""
    power = activity.power
    assert power is not None and power.clocked is not None
    joules = {True: np.zeros(1), False: np.zeros(1)}
    for name, count in activity.counts.items():
        if name != power.clocked.running:
            core = machine.actions[name].core
            joules[core] = joules[core] + prices.actions[name].total(count, rows)
    return joules[True], joules[False]
