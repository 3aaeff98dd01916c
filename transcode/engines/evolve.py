"""Vectorised evolutionary search: parents from an unbounded archive, children by the thousand.

Generations begin small and grow with what is known, so that few evaluations are spent well and
many are proposed cheaply. Nothing is cut from the archive: a cut by crowding makes its
hypervolume fall with time. Crowding only picks parents.

Axes: D designs, S parameters, O objectives, F designs of the archive.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from transcode.engines.base import Engine, Finished, Seen
from transcode.engines.evolve_variation import Variation
from transcode.objective import Outcome
from transcode.pareto import merge, nondominated
from transcode.space import Space

#: Designs of the first generation, of the smallest later one, and growth with what is known.
FIRST, SMALLEST, GROWTH = 64, 24, 0.1
#: Share of a generation that is drawn from the whole space; parents there are at least.
STRANGERS, POPULATION = 0.03, 64
#: How often children are made again for what was known or forbidden, and at most at once.
_TRIES, _AT_ONCE = 6, 1 << 17


@dataclass
class Evolve:
    """An archive, a memory, and a source of strangers.

    strangers : an engine that never repeats itself: the first generation, and a share of each.
    first : (W, S) codes evaluated before anything else (a warm start).
    available : designs that may be looked at, where that is known.
    """

    space: Space
    seed: int
    strangers: Engine
    first: np.ndarray
    objectives: int
    available: int | None = None
    batch: int = 0
    seen: Seen = field(default_factory=Seen)
    dry: bool = False

    def __post_init__(self) -> None:
        self.variation = Variation(self.space)
        width = len(self.space.parameters)
        self.codes = np.zeros((0, width), dtype=np.int32)
        self.front = np.zeros((0, self.objectives))
        self.others = np.zeros((0, width), dtype=np.int32)
        self.other_values = np.zeros((0, self.objectives + 1))

    @property
    def exhausted(self) -> bool:
        """Everything was looked at, or nothing new is to be found."""
        if self.available is not None:
            return len(self.seen) >= self.available
        return self.dry and self.strangers.exhausted

    def suggest(self, count: int) -> np.ndarray:
        """A generation of new designs: as many as fit what is known, `count` at most."""
        rng = np.random.default_rng([self.seed, self.batch])
        warm = self._fresh(self.first)[:count]
        wanted = min(count, max(SMALLEST, int(GROWTH * len(self.seen))))
        if len(self.seen) == 0 and len(warm) == 0:
            wanted = min(count, FIRST)
        parts = [warm]
        self.seen.add(self.space.key(warm))
        missing = wanted - len(warm)
        if missing > 0 and len(self.codes) + len(self.others):
            parts += self._children(missing - max(1, int(STRANGERS * missing)), rng)
        while (missing := wanted - sum(map(len, parts))) > 0 and not self.strangers.exhausted:
            parts.append(self._remembered(self.strangers.suggest(missing)))
        codes = np.concatenate(parts)
        self.batch += 1
        self.dry = len(codes) == 0
        return codes

    def _children(self, count: int, rng: np.random.Generator) -> list[np.ndarray]:
        """New children, at most `count` in all."""
        found: list[np.ndarray] = []
        missing, share = count, 1.0
        for _ in range(_TRIES):
            if missing <= 0:
                break
            size = min(int(missing / max(share, 0.1)) + 8, _AT_ONCE)
            first, second = self._parents(size, rng), self._parents(size, rng)
            fresh = self._fresh(self.variation.children(first, second, rng))
            share = len(fresh) / size
            found.append(self._remembered(fresh[:missing]))
            missing -= len(found[-1])
        return found

    def _fresh(self, codes: np.ndarray) -> np.ndarray:
        """The designs that are allowed and were never suggested, each once."""
        codes = codes[self.space.allowed(codes)]
        return codes[self.seen.new(self.space.key(codes))]

    def _remembered(self, codes: np.ndarray) -> np.ndarray:
        """The new ones of the designs, from now on known."""
        keys = self.space.key(codes)
        new = self.seen.new(keys)
        self.seen.add(keys[new])
        return codes[new]

    def _parents(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count, S) parents: of two drawn from the archive the lonelier one, half the time."""
        pool = len(self.codes)
        one = rng.integers(0, pool + len(self.others), count)
        two = rng.integers(0, pool + len(self.others), count)
        lonely = np.concatenate([self.distance, np.zeros(len(self.others))])
        better = (lonely[two] > lonely[one]) & (rng.random(count) < 0.5)
        return np.concatenate([self.codes, self.others])[np.where(better, two, one)]

    def update(self, codes: np.ndarray, outcome: Outcome) -> None:
        """The archive after a generation, and the best of the rest while it is short."""
        rows = np.flatnonzero(outcome.feasible)
        stays, joins = merge(self.front, outcome.objectives[rows])
        left = self.codes[~stays], self.front[~stays]
        self.codes = np.concatenate([self.codes[stays], codes[rows[joins]]])
        self.front = np.concatenate([self.front[stays], outcome.objectives[rows[joins]]])
        self.distance = crowding(self.front)
        if len(self.codes) >= POPULATION:
            self.others, self.other_values = self.others[:0], self.other_values[:0]
            return
        rest = np.ones(len(codes), dtype=bool)
        rest[rows[joins]] = False
        values = np.concatenate([outcome.violation[:, None], outcome.objectives], axis=1)[rest]
        was_front = np.concatenate([np.zeros((len(left[1]), 1)), left[1]], axis=1)
        self._keep(
            np.concatenate([self.others, left[0], codes[rest]]),
            np.concatenate([self.other_values, was_front, values]),
        )

    def _keep(self, codes: np.ndarray, values: np.ndarray) -> None:
        """Fills the parents up with the best of the rest: feasible first, layer by layer."""
        room = POPULATION - len(self.codes)
        chosen: list[int] = []
        feasible = np.flatnonzero(values[:, 0] <= 0.0)
        while len(chosen) < room and len(feasible):
            layer = nondominated(values[feasible, 1:])
            inside = feasible[layer]
            order = np.argsort(-crowding(values[inside, 1:]), kind="stable")
            chosen += inside[order].tolist()
            feasible = feasible[~layer]
        broken = np.flatnonzero(values[:, 0] > 0.0)
        chosen += broken[np.argsort(values[broken, 0], kind="stable")].tolist()
        if len(self.codes) >= POPULATION // 4:  # enough to go on from without the infeasible
            chosen = [c for c in chosen if values[c, 0] <= 0.0]
        kept = np.array(chosen[:room], dtype=np.intp)
        self.others, self.other_values = codes[kept], values[kept]

    def state(self) -> dict[str, object]:
        """Where the strangers stand; everything else follows from the designs."""
        return {"strangers": self.strangers.state()}

    def study_trials(self) -> None:
        """None: there is no Optuna study behind it."""

    def resume(self, batch: Finished) -> None:
        """Learns a finished generation."""
        self.seen.add(self.space.key(batch.codes))
        nothing = Finished(batch.codes[:0], batch.outcome, batch.state["strangers"])  # type: ignore[arg-type]
        self.strangers.resume(nothing)
        self.update(batch.codes, batch.outcome)
        self.batch += 1
        self.dry = len(batch.codes) == 0


def crowding(points: np.ndarray) -> np.ndarray:
    """(F,) how far the neighbours of each point are, in ranks, so that no tail decides.

    The ends of every objective are infinitely lonely (Deb et al., NSGA-II, 2002).
    points : (F, O).
    """
    distance = np.zeros(len(points))
    if len(points) < 3:
        return np.full(len(points), np.inf)
    for values in points.T:
        order = np.argsort(values, kind="stable")
        span = max(float(values[order[-1]] - values[order[0]]), 1e-300)
        distance[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / span
        distance[order[[0, -1]]] = np.inf
    return distance
