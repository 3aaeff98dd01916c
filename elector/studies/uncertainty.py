"""Intervals of 90 % around results: `--uncertainty` of simulate, sweep and search.

Two sources, drawn together:

- the *model*: how far times and powers of the design's group of published cases were off that no
  constant was fitted on (elector.studies.error_widths), log-normal;
- the *constants*: every row of the technology tables, log-normal on each side, with its own low and
  high or else the spread of its evidence (data/spread.csv), all through the one path in one call.

A sample has energy = (actions under its constants + leakage x its time) x its power error. The
interval runs from the 5th to the 95th percentile of the samples.

Errors stop at what cannot be: nothing takes less time than its peak or its main memory allows (a
utilization of 1), neither a step nor a stage of it (a prompt, the tokens after it, an update),
and no board draws more than its power limit. Where time and energy together ask for more, energy
gives way: it is at most limit x time. Published times of boards at their limit are among those
that widths come from, so the error of such a time is known as it is (7 % on some stacks), while
that of power is assumed (a factor of 2: too few cases): were the time to give way, the error that
is known badly would spoil the one that is known well.

Each row and each group has a stream of its own, drawn from the seed and its name. So a design has
the same samples alone and among others, and what two designs share they share in every sample.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from elector.base import arguments
from elector.base.errors import InputError
from elector.base.table import Column
from elector.cost.pricing import LEAKAGE, Cost
from elector.cost.results import ENDS, registry
from elector.cost.supply import LOGIC
from elector.evaluation.path import evaluate
from elector.studies.error_widths import REACH, Kind, Width, kinds_of, said, spread, width_of
from elector.studies.stated_dies import stated_dies
from elector.studies.watt_limits import watt_limits
from elector.technology import ConstantRow, Technology

Array = np.ndarray
#: Samples of a design, and the seed of all of them: the same interval on every machine.
SAMPLES, SEED = 1000, 0
#: Fewest and most samples that make an interval.
FEWEST, MOST = 20, 100_000
#: Quantiles at the ends of an interval.
_QUANTILES = (0.05, 0.95)
#: Digits that are kept of the end of an interval.
_DIGITS = 10
#: Samples that are priced in one call, for the sake of memory.
_TOGETHER = 100_000
#: Constants that are records, not means: what silicon reached decides whether a design can run.
_LIMITS = ((LOGIC, "clock"),)
#: Rows that are what another leaves of a whole: 1 / (1 + other). To how much, as they are written.
_REST = (("gpu.die:area", "overhead:area_fraction"),)
_SAME = 1e-3
#: What keeps the last digit of a power below its limit.
_ROUNDED_UP = 1.0 + 1e-15
#: Results that follow the time, and in which direction.
_TIMES = {
    "latency_s": 1,
    "latency_per_sequence_s": 1,
    "time_to_first_token_s": 1,
    "time_per_output_token_s": 1,
    "latency_by_kind_s": 1,
    "placing_s": 1,
    "throughput_sequences_per_s": -1,
    "tokens_per_s": -1,
    "utilization": -1,
    "bandwidth_utilization": -1,
    "lifetime_years": 1,
}
_JOULES = ("energy_j", "energy_per_sequence_j", "energy_per_token_j", "energy_by_phase_j")
_PART, _POWER, _PLACING = "energy_by_part_j", "power_w", "placing_j"
#: Results whose errors are told apart: the time of the step, and of its stages.
_WHOLE, _FIRST, _LATER = "latency_s", "time_to_first_token_s", "time_per_output_token_s"
#: Stages in which prompts are read, and in which tokens follow.
_PROMPTS, _DECODE = ("step", "prefill_more"), "decode"
#: Shares of what a machine can do at most.
_SHARES = ("utilization", "bandwidth_utilization")
#: Results that have an interval. What is named nowhere is exact, such as a count.
_TOUCHED = (*_TIMES, *_JOULES, _POWER, _PLACING, "area_mm2")


@dataclass(frozen=True)
class Sampling:
    """What intervals are drawn with.

    technology : the constants. samples : draws, S. seed : of all streams.
    """

    technology: Technology
    samples: int = SAMPLES
    seed: int = SEED
    _known: dict[str, Technology] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls, technology: Technology | None, samples: int = SAMPLES, seed: int = SEED
    ) -> Sampling:
        """With the shipped tables by default. Raises InputError for numbers without meaning."""
        many, first = arguments.whole(samples), arguments.whole(seed)
        if many is None or not FEWEST <= many <= MOST:
            raise InputError(
                f"must be a whole number from {FEWEST} to {MOST:,}", field="samples", value=samples
            )
        if first is None or first < 0:
            raise InputError("must be a whole number from 0 up", field="seed", value=seed)
        return cls(Technology.given(technology).single(), many, first)

    def stream(self, name: str) -> Array:
        """(S,) standard normal draws of that name."""
        own = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
        return np.random.default_rng([self.seed, own]).standard_normal(self.samples)

    def factors(self, row: ConstantRow) -> Array:
        """(S,) factors of one constant."""
        below, above = (math.log(factor) / REACH for factor in spread(row))
        drawn = self.stream(row.id)
        return np.exp(drawn * np.where(drawn < 0.0, below, above))

    @property
    def drawn(self) -> Technology:
        """The technology under draws of all its constants; the same object each time."""
        if "drawn" not in self._known:
            own = self.technology
            rows = [row for row in own.rows if (row.part, row.quantity) not in _LIMITS]
            factors = {row.id: self.factors(row) for row in rows}
            _tie(own, factors)
            values = {row.id: (row.value * factors[row.id]).tolist() for row in rows}
            self._known["drawn"] = own.drawn(values)
        return self._known["drawn"]


def _tie(technology: Technology, factors: dict[str, Array]) -> None:
    """Gives constants that are 1 / (1 + another) the draws of that one.

    factors : row -> (S,) factors, which change in place. A row that says something else than the
    other one is its own, and keeps its own draws.
    """
    for part, whole in _REST:
        row, other = technology.row(part), technology.row(whole)
        least = 1.0 + float(other.value)
        if abs(float(row.value) * least - 1.0) < _SAME:
            factors[part] = least / (1.0 + float(other.value) * factors[whole])


@dataclass(frozen=True, repr=False)
class Samples:
    """Results of D designs under S draws.

    values : result, parts of groups dotted -> (S, D); NaN where a design has none. What is exact
        is the same in each.
    widths : kinds of cases behind the designs. codes : (D,) place in it of each.
    late, more : (S, D) factors that the errors of the model put on its time and its power.
    """

    values: dict[str, Array]
    widths: list[tuple[Kind, Width]]
    codes: Array
    late: Array
    more: Array

    def interval(self, name: str) -> tuple[Array, Array]:
        """(D,) low and high of a result; NaN where there is none."""
        return interval(self.values[name])

    @property
    def uncertain(self) -> list[str]:
        """The scalars that have an interval."""
        return [name for name in self.values if _is_uncertain(name)]

    def said(self, design: int) -> str:
        """Where the intervals of a design come from."""
        sentence = said(*self.widths[int(self.codes[design])])
        runs = np.isfinite(self.values["latency_s"][:, design])
        if runs.all() or not runs.any():
            return sentence
        return f"{sentence}; in {(~runs).sum():,} of {runs.size:,} draws the design cannot run"


def interval(values: Array) -> tuple[Array, Array]:
    """(D,) low and high of (S, D) samples, of those in which a design runs; else NaN."""
    runs = np.isfinite(values)
    low, high = np.quantile(np.where(runs, values, 0.0), _QUANTILES, axis=0)
    for design in np.flatnonzero(~runs.all(axis=0)):
        own = values[runs[:, design], design]
        low[design], high[design] = np.quantile(own, _QUANTILES) if own.size else (np.nan, np.nan)
    return _kept(low, low == high), _kept(high, low == high)


def _kept(ends: Array, exact: Array) -> Array:
    """(D,) ends of intervals to ten digits: the last ones of draws depend on a processor's vector
    instructions. exact : (D,) those of what has one value only, which stay."""
    rounded = [float(f"{end:.{_DIGITS - 1}e}") for end in ends.tolist()]
    return np.where(exact, ends, rounded)


def _is_uncertain(name: str) -> bool:
    """Whether a result is a scalar that some error touches."""
    metric = registry().find(name)
    return metric is not None and not metric.axis and metric.name in _TOUCHED


def sample(
    columns: Mapping[str, Column], size: int, sampling: Sampling, *, apart: bool = False
) -> Samples:
    """S samples of each of D designs, by the one path.

    Parameters
    ----------
    columns : model, accelerator and dotted settings, each of `size` rows.
    sampling : constants, number of draws and seed.
    apart : draw what the error of a design does not share with its group for each design by
        itself (and once for designs of the very same time, or energy), as comparing them asks for.
        Otherwise all of it is shared, which for each design alone is the same distribution.

    Raises InputError for a setting that has no meaning; an infeasible design has NaN.
    """
    kinds, codes = kinds_of(columns, size)
    widths = [width_of(kind) for kind in kinds]
    wide = list(dict.fromkeys((group, width) for width, group in widths))
    codes = np.array([wide.index((group, width)) for width, group in widths])[codes]
    own = None
    if apart:
        own = evaluate(columns, size, technology=sampling.technology)
    errors = _errors(sampling, wide, codes, own)
    cost = evaluate(columns, size, technology=sampling.drawn, level="groups")
    stages = _of_stages(cost, errors[0])
    late = stages[_WHOLE]
    errors = late, _within_limits(cost, columns, size, late, errors[1])
    values = _priced(cost, errors, stages)
    dies = stated_dies(columns, size, sampling.samples, sampling.stream)
    if dies.units:
        plain = evaluate(columns, size, technology=sampling.technology, level="groups")
        values |= dies.restated(values, plain)
    return Samples(values, wide, codes, *errors)


def pieces(size: int, samples: int) -> Iterator[slice]:
    """Designs that are drawn together, so that any number of them fits into memory."""
    step = max(_TOGETHER // samples, 1)
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))


def _errors(
    sampling: Sampling, wide: Sequence[tuple[Kind, Width]], codes: Array, own: Cost | None
) -> tuple[Array, Array]:
    """(S, D) factors of the time and of the power of each design.

    own : costs of the designs, whose values name what each has for itself; None where nothing is
        drawn apart.
    """
    factors = []
    for what, result in (("time", "latency_s"), ("power", "energy_j")):
        shared = [sampling.stream(f"{what} of {' / '.join(group)}") for group, _ in wide]
        normal = np.stack(shared, axis=1)[:, codes]
        factor = np.array([getattr(width, what) for _, width in wide])[codes]
        if own is not None:
            names = [repr(value) for value in own.scalars[result].tolist()]
            streams = {name: sampling.stream(f"{what} of {name}") for name in set(names)}
            share = np.array([width.shared for _, width in wide])[codes]
            alone = np.stack([streams[name] for name in names], axis=1)
            normal = np.sqrt(share) * normal + np.sqrt(1.0 - share) * alone
        factors.append(np.exp(normal * (np.log(factor) / REACH)))
    return factors[0], factors[1]


def _grown(cost: Cost, late: Array, more: Array) -> Array:
    """(S, D) factor on the energy of errors of time and of power: leakage flows all the time."""
    # not the sum of the parts, whose order is that of all designs together
    share = cost.groups[_PART][LEAKAGE] / cost.scalars["energy_j"]
    share = share.reshape(late.shape)
    return (1.0 - share + share * late) * more


def _of_stages(cost: Cost, late: Array) -> dict[str, Array]:
    """Result -> (S, D) factor that an error of time puts on it: on the step, and of generated
    tokens on the first and on the others.

    late : (S, D), of which no stage keeps more than leaves its peak and main memory the time they
    need.
    """
    each = {stage: known.reshape(2, *late.shape) for stage, known in cost.stages.items()}
    taken = {stage: seconds for stage, (seconds, _) in each.items()}
    of = {stage: np.fmax(late, np.minimum(share, 1.0)) for stage, (_, share) in each.items()}

    def mean(parts: Sequence[tuple[Array, Array]]) -> Array:
        """The factor on a sum of (seconds, factor)."""
        whole = sum((seconds for seconds, _ in parts), np.zeros(late.shape))
        whole = np.where(whole > 0.0, whole, np.nan)
        factor = sum((seconds / whole * own for seconds, own in parts), np.zeros(late.shape))
        return np.where(np.isfinite(factor), factor, late)

    factors = {_WHOLE: mean([(taken[stage], of[stage]) for stage in each])}
    if _FIRST in cost.scalars:
        first = mean([(taken[stage], of[stage]) for stage in _PROMPTS if stage in each])
        seconds = {name: cost.scalars[name].reshape(late.shape) for name in (_WHOLE, _FIRST)}
        none = np.zeros(late.shape)
        decode = taken.get(_DECODE, none)
        # Of a server the prompts of others.
        rest = np.fmax(seconds[_WHOLE] - decode - seconds[_FIRST], 0.0)
        later = mean([(decode, of.get(_DECODE, none)), (rest, first)])
        factors |= {_FIRST: first, _LATER: later}
    return factors


def _within_limits(
    cost: Cost, columns: Mapping[str, Column], size: int, late: Array, more: Array
) -> Array:
    """(S, D) errors of the power as far as they can be: no board draws more than its limit.

    cost : of the S x D designs under the constants. late, more : (S, D) errors of the time, which
    stay, and of the power.
    """
    limits = watt_limits(columns, size)
    parts = {
        part: joules.reshape(late.shape)
        for part, joules in cost.groups[_PART].items()
        if part.startswith(tuple(limits.units))
    }
    power, seconds = (cost.scalars[n].reshape(late.shape) for n in (_POWER, "latency_s"))
    most = limits.most(power, seconds, parts)
    above = _grown(cost, late, more) / late / most
    return np.asarray(more / np.where(above > 1.0, above * _ROUNDED_UP, 1.0))


def _priced(
    cost: Cost, errors: tuple[Array, Array], stages: Mapping[str, Array]
) -> dict[str, Array]:
    """Result -> (S, D) samples, under the constants and the errors of the model.

    cost : of the S x D designs under the constants. stages : result -> (S, D) factor on its time,
    where it is another than that on the time of the step.
    """
    late, more = errors
    shape, grown = late.shape, _grown(cost, late, more)
    samples = {}
    for name in cost.names():
        values = cost.scalar(name).reshape(shape)
        metric = registry().get(name).name
        if metric in _TIMES:
            own = stages[metric] if metric in (_FIRST, _LATER) else late
            values = values * own ** _TIMES[metric]
        elif metric in _JOULES:
            values = values * grown
        elif metric == _POWER:
            values = values * grown / late
        elif metric == _PART:
            values = values * (late if name == f"{_PART}.{LEAKAGE}" else 1.0) * more
        elif metric == _PLACING:
            values = values * more
        if metric in _SHARES:  # nothing does more than its peak, not by a last digit either
            values = np.minimum(values, np.maximum(cost.scalar(name).reshape(shape), 1.0))
        samples[name] = values
    return samples


def intervals(
    columns: Mapping[str, Column], size: int, sampling: Sampling
) -> tuple[dict[str, Array], list[str]]:
    """`NAME_low` and `NAME_high` of every scalar, (D,) each, and what is to be said of each design.

    Parameters as of `sample`. NaN where a design has no result.
    """
    bounds: dict[str, Array] = {}
    sentences: list[str] = []
    for part in pieces(size, sampling.samples):
        kept = {key: column.take(part).compact() for key, column in columns.items()}
        drawn = sample(kept, part.stop - part.start, sampling)
        sentences += [drawn.said(i) for i in range(part.stop - part.start)]
        for name in drawn.uncertain:
            for end, values in zip(ENDS, drawn.interval(name), strict=True):
                bounds.setdefault(f"{name}_{end}", np.full(size, np.nan))[part] = values
    return bounds, sentences
