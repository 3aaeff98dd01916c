"""Which neighbours on a front can be told apart, and what would settle most if it were measured.

Two designs are *neighbours* where no third one lies between them in every objective (in the box
that they span). Each pair is compared draw by draw: constants that both rest on, and the part of
the simulator's error that designs of one group share, have one value for both in a draw, and so
cancel as far as both depend on them. A pair is told apart in an objective where the same design is
better in 95 of 100 draws, so that the 90 % interval of their ratio does not hold 1.

A *source* is a row of the technology tables, a group of published cases, or the accuracies. What
of the variance of a comparison it explains is the square of its correlation with it. A comparison
is settled by a source where what is left without it would be told apart:

    |mean| >= 1.645 sqrt(variance (1 - share))        of log(b / a)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from elector.studies.error_widths import ANY, REACH, Kind
from elector.studies.uncertainty import Sampling
from transcode.pareto import Archive, spread
from transcode.runs.intervals import Draws, accuracy_stream, draw, models
from transcode.space import Space

Array = np.ndarray
#: Share of draws from which on one of two designs is surely better.
SURE = 0.95
#: Sources that are named.
_NAMED = 10
#: Most designs that are compared: of a larger front so many, spread over it.
MOST = 300
#: Comparisons whose draws lie in memory at once.
_TOGETHER = 1000
#: What is said of a pair.
APART, OPEN = "told apart", "not told apart"


@dataclass(frozen=True)
class NeighbourStep:
    """One objective from a design `a` to its neighbour `b`, in the unit of the objective.

    kind : ratio (b / a) or difference (b - a); value, low and high of it, 90 %.
    better : id of the design that is surely better; None where that is open.
    equal : whether both have the same value in every draw.
    """

    objective: str
    kind: str
    value: float
    low: float
    high: float
    better: int | None
    equal: bool


@dataclass(frozen=True)
class Pair:
    """Two neighbours. a, b : their ids, the better one in the first objective first."""

    a: int
    b: int
    steps: tuple[NeighbourStep, ...]

    @property
    def verdict(self) -> str:
        """Told apart: each is surely better in some objective, or nothing is open; not told
        apart: in none; else the design that may beat the other in all of them."""
        sure = {step.better for step in self.steps if step.better is not None}
        if len(sure) == 2 or all(s.equal or s.better is not None for s in self.steps):
            return APART
        return f"{sure.pop()} may beat it" if sure else OPEN


@dataclass(frozen=True)
class Decider:
    """What would settle comparisons if it were known exactly.

    kind : constant | cases | accuracy. evidence : of a constant, as it is now.
    settles : open comparisons that it settles by itself. share : of their variance, the mean.
    """

    name: str
    kind: str
    evidence: str
    settles: int
    share: float


@dataclass(frozen=True)
class NeighbourComparison:
    """The neighbours of a front.

    open : comparisons of one objective that are not settled. designs : that were compared.
    thinned : whether these are some of a larger front, spread over it.
    """

    sampling: Sampling
    pairs: tuple[Pair, ...]
    sources: tuple[Decider, ...]
    open: int
    designs: int
    thinned: bool

    @property
    def counts(self) -> dict[str, int]:
        """Pairs told apart, those not, and those of which one may beat the other."""
        verdicts = Counter(pair.verdict for pair in self.pairs)
        apart, open = verdicts[APART], verdicts[OPEN]
        return {APART: apart, OPEN: open, "one may beat the other": len(self.pairs) - apart - open}

    def told(self) -> dict[str, object]:
        """For front.json."""
        pairs = [
            {
                "a": pair.a,
                "b": pair.b,
                "verdict": pair.verdict,
                "objectives": {
                    s.objective: {
                        s.kind: s.value,
                        "low": s.low,
                        "high": s.high,
                        "better": s.better,
                        "equal": s.equal,
                    }
                    for s in pair.steps
                },
            }
            for pair in self.pairs
        ]
        return {
            "interval": 0.9,
            "samples": self.sampling.samples,
            "seed": self.sampling.seed,
            "neighbours": pairs,
            "designs": self.designs,
            "thinned": self.thinned,
            "open": self.open,
            "sources": [vars(source) for source in self.sources],
        }


def neighbours(points: Array) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of points that no other point lies between in every objective.

    points : (F, O), none dominated by another. It is enough to look at neighbours that are nearer:
    a point in the box of i and j has a neighbour of i in its own box, which lies in that of both.
    """
    ranks = np.argsort(np.argsort(points, axis=0, kind="stable"), axis=0, kind="stable")
    pairs = set()
    for i, point in enumerate(points):
        left = np.delete(np.arange(len(points)), i)
        left = left[np.argsort(np.abs(ranks[left] - ranks[i]).sum(axis=1), kind="stable")]
        low, high = np.minimum(points, point), np.maximum(points, point)
        while left.size:
            j = int(left[0])
            pairs.add((min(i, j), max(i, j)))
            left = left[1:]
            inside = ((low[left] <= points[j]) & (points[j] <= high[left])).all(axis=1)
            left = left[~inside]
    return sorted(pairs)


def compare(space: Space, front: Archive, sampling: Sampling) -> NeighbourComparison:
    """The neighbours of a sorted front, compared under draws.

    Raises InputError where the simulator has other results than those recorded.
    """
    whole = len(front)
    if whole > MOST:
        front = front.take(np.sort(spread(front.objectives, MOST)))
    draws = draw(space, front, sampling, apart=True)
    pairs: list[Pair] = []
    open: list[tuple[int, int, str]] = []
    for i, j in neighbours(front.objectives):
        steps = tuple(_step(front, draws, (i, j), o.name, o.maximise) for o in space.objectives)
        pairs.append(Pair(int(front.ids[i]), int(front.ids[j]), steps))
        if pairs[-1].verdict != APART:
            open += [(i, j, s.objective) for s in steps if s.better is None and not s.equal]
    sources = _sources(space, front, draws, sampling, open)
    return NeighbourComparison(
        sampling, tuple(pairs), tuple(sources), len(open), len(front), len(front) < whole
    )


def _ways(draws: Draws, pair: tuple[int, int], name: str) -> tuple[Array, str]:
    """(S,) log of the ratio b / a, or the difference b - a where there is no ratio."""
    a, b = (draws.values[name][:, place] for place in pair)
    if name.startswith("accuracy") or (np.minimum(a, b) <= 0).any():
        return b - a, "difference"
    return np.log(b) - np.log(a), "ratio"


def _step(
    front: Archive, draws: Draws, pair: tuple[int, int], name: str, maximise: bool
) -> NeighbourStep:
    """What two designs differ by in one objective."""
    way, kind = _ways(draws, pair, name)
    runs = np.isfinite(way)  # draws in which both designs run
    way = way[runs] if runs.any() else np.zeros(1)
    low, high = (float(end) for end in np.quantile(way, (0.05, 0.95)))
    old = front.results[name]
    value = float(old[pair[1]] - old[pair[0]])
    if kind == "ratio":
        low, high, value = (
            float(np.exp(low)),
            float(np.exp(high)),
            float(old[pair[1]] / old[pair[0]]),
        )
    gain = way if maximise else -way
    shares = float((gain < 0).mean()), float((gain > 0).mean())
    better = next((i for i, share in zip(pair, shares, strict=True) if share >= SURE), None)
    ids = None if better is None else int(front.ids[better])
    return NeighbourStep(name, kind, value, low, high, ids, bool((way == 0).all()))


@dataclass(frozen=True)
class _Open:
    """Q comparisons that are not settled.

    pairs : (Q, 2) places of the two designs. normal : (S, Q) the comparisons, with mean 0 and
    variance 1. mean, deviation : (Q,) as they are.
    """

    pairs: Array
    normal: Array
    mean: Array
    deviation: Array

    @classmethod
    def of(cls, draws: Draws, compared: list[tuple[int, int, str]]) -> _Open:
        """The comparisons of two designs in one objective each."""
        ways = np.stack([_ways(draws, (i, j), name)[0] for i, j, name in compared], axis=1)
        runs = np.isfinite(ways)
        usual = np.where(runs, ways, 0.0).sum(axis=0) / np.maximum(runs.sum(axis=0), 1)
        ways = np.where(runs, ways, usual)  # a draw in which one of them does not run says nothing
        mean, deviation = ways.mean(axis=0), ways.std(axis=0)
        pairs = np.array([(i, j) for i, j, _ in compared])
        return cls(pairs, _normal(ways), mean, deviation)

    def explained(self, streams: Array) -> Array:
        """(Q,) squares of correlations with (S, Q) or (S, 1), less what chance alone gives."""
        share = (streams * self.normal).mean(axis=0) ** 2
        return np.maximum(share - 1.0 / len(self.normal), 0.0)

    def of_each(self, side: int, stream: Callable[[int], Array]) -> Array:
        """(Q,) share of what is drawn apart for the first or the second design of each pair."""
        places = self.pairs[:, side].tolist()
        known = {place: stream(place) for place in set(places)}
        return self.explained(np.stack([known[place] for place in places], axis=1))


def _sources(
    space: Space,
    front: Archive,
    draws: Draws,
    sampling: Sampling,
    comparisons: list[tuple[int, int, str]],
) -> list[Decider]:
    """Sources of the open comparisons, what settles most first."""
    settles: Counter[tuple[str, str, str]] = Counter()
    shares: dict[tuple[str, str, str], float] = defaultdict(float)
    for start in range(0, len(comparisons), _TOGETHER):
        open = _Open.of(draws, comparisons[start : start + _TOGETHER])
        explained = _of_constants(sampling, open) | _of_cases(draws, open)
        if space.uses_accuracy:
            explained |= _of_accuracies(space, front, sampling, open)
        for source, share in explained.items():
            left = open.deviation * np.sqrt(np.maximum(1.0 - share, 0.0))
            settles[source] += int((np.abs(open.mean) >= REACH * left).sum())
            shares[source] += float(share.sum()) / len(comparisons)
    deciders = [
        Decider(*source, settles[source], round(share, 4)) for source, share in shares.items()
    ]
    deciders.sort(key=lambda s: (-s.settles, -s.share, s.name))
    return [source for source in deciders if source.share > 0][:_NAMED]


#: Name, kind and evidence of a source -> (Q,) share of the variance of each open comparison.
_Shares = dict[tuple[str, str, str], Array]


def _of_constants(sampling: Sampling, open: _Open) -> _Shares:
    """What each row of the tables explains that some design rests on."""
    technology = sampling.drawn
    return {
        (id, "constant", technology.row(id).evidence): open.explained(sampling.stream(id)[:, None])
        for id in sorted(technology.rows_read())
    }


def _of_cases(draws: Draws, open: _Open) -> _Shares:
    """What the errors of each group of published cases explain, in all workloads."""
    shares: dict[Kind, Array] = {}
    for errors in draws.errors:
        groups = np.array([errors.groups.index(group) for group in errors.groups])[open.pairs]
        same = groups[:, 0] == groups[:, 1]
        for logs in errors.logs.values():
            first, second = (_normal(logs[:, open.pairs[:, side]]) for side in (0, 1))
            between = _normal(logs[:, open.pairs[:, 1]] - logs[:, open.pairs[:, 0]])
            # of one group only what differs counts; of two, each has its own
            for side, each in ((0, first), (1, second)):
                share = np.where(same, open.explained(between) / 2.0, open.explained(each))
                for place in np.unique(groups[:, side]).tolist():
                    own = shares.setdefault(errors.groups[place], np.zeros(len(share)))
                    own += np.where(groups[:, side] == place, share, 0.0)
    return {(_named(group), "cases", ""): share for group, share in shares.items()}


def _normal(values: Array) -> Array:
    """(S, Q) with mean 0 and variance 1; zeros where they do not vary."""
    deviation = values.std(axis=0)
    return (values - values.mean(axis=0)) / np.where(deviation > 0, deviation, np.inf)


def _of_accuracies(space: Space, front: Archive, sampling: Sampling, open: _Open) -> _Shares:
    """What the errors of the models' accuracies explain."""
    keys = models(space, front.codes)
    both = [open.of_each(s, lambda i: sampling.stream(accuracy_stream(keys[i]))) for s in (0, 1)]
    return {(f"accuracies ({space.accuracy.source})", "accuracy", ""): both[0] + both[1]}


def _named(group: Kind) -> str:
    """A group of cases in words."""
    if group == ANY:
        return "published cases of such designs, of which there are none"
    return " / ".join(part if part != "*" else "any" for part in group)
