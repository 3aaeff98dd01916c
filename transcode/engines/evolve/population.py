"""What children are bred from: the archive, and the best of the rest while that is short.

Axes: D designs of a generation, F of the archive, S parameters, O objectives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from transcode.objective import Outcome
from transcode.pareto import Apart, merge, nondominated

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

#: Parents there are at least.
POPULATION = 64
#: Of a long archive, the loneliest designs are parents: so many at least, and so many for each
#: design that was looked at per parameter. Where a space has hundreds of parameters, an archive
#: fills with designs that hardly differ in what they are worth, long before any of them is good.
LONELIEST, PER_LOOK = 50, 0.5
#: Share of parents that are those of the archive which add most to its hypervolume, and how many
#: of it that is: a share, and bounds. A few points hold nearly all of what points add.
ADDING, BEST, FEWEST_BEST, MOST_BEST = 0.8, 0.07, 32, 48
#: Of the points whose volume is measured after a generation, the most that may be new.
_NEW = 0.7


@dataclass(frozen=True)
class Population:
    """Parents, as plain arrays: what travels to an island.

    codes : (F, S) of the archive, nothing ever cut. front : (F, O) their objectives.
    others : (N, S) of the best of the rest. other_values : (N, 1 + O) violation, objectives.
    adds : (F,) hypervolume that each of the archive adds to it, or added when it was measured,
        which is no less; NaN before.
    measured : places of the archive that were measured after the last generation.
    """

    codes: np.ndarray
    front: np.ndarray
    others: np.ndarray
    other_values: np.ndarray
    adds: np.ndarray
    measured: np.ndarray

    @classmethod
    def empty(cls, parameters: int, objectives: int, codes: DTypeLike = np.int32) -> Population:
        """Nobody yet. codes : type that they are kept in."""
        nothing = np.zeros((0, parameters), dtype=codes)
        return cls(
            nothing,
            np.zeros((0, objectives)),
            nothing,
            np.zeros((0, objectives + 1)),
            np.zeros(0, dtype=np.float32),
            np.zeros(0, dtype=np.intp),
        )

    def __len__(self) -> int:
        return len(self.codes) + len(self.others)

    @cached_property
    def lonely(self) -> np.ndarray:
        """(F + N,) crowding distance, 0 outside of the archive."""
        return np.concatenate([crowding(self.front), np.zeros(len(self.others))])

    def eligible(self, looks: float) -> np.ndarray:
        """Places that may be parents, after so many looks per parameter of the space."""
        most = int(max(LONELIEST, PER_LOOK * looks))
        if len(self.codes) <= most:
            return np.arange(len(self))
        return np.argsort(-self.lonely[: len(self.codes)], kind="stable")[:most]

    def parents(self, eligible: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count,) places: mostly of what adds most to the archive.

        The rest are of the eligible ones: of two drawn the lonelier, half the time.
        """
        one, two = (eligible[rng.integers(0, len(eligible), count)] for _ in range(2))
        better = (self.lonely[two] > self.lonely[one]) & (rng.random(count) < 0.5)
        chosen = np.where(better, two, one)
        best = self.best
        if len(best):
            drawn = best[rng.integers(0, len(best), count)]
            chosen = np.where(rng.random(count) < ADDING, drawn, chosen)
        return chosen

    @cached_property
    def best(self) -> np.ndarray:
        """Places of the archive that add most to its hypervolume, as far as is known."""
        return _most(np.nan_to_num(self.adds))

    def rated(
        self, reference: np.ndarray, most: int, rng: np.random.Generator, apart: Apart
    ) -> Population:
        """With the best of the archive known again; at most about so many are measured.

        Volumes only shrink as the archive grows, so what was measured is a bound: measured
        again is only what may be among the best.
        reference : (O,) of the hypervolume.
        """
        if len(self.codes) < POPULATION:
            return self
        adds, done = self.adds.copy(), np.zeros(len(self.adds), dtype=bool)
        rows = np.sort(rng.permutation(np.flatnonzero(np.isnan(adds)))[: int(_NEW * most)])
        while True:
            adds[rows] = apart(self.front, self.front[rows], reference)
            done[rows] = True
            best = _most(np.nan_to_num(adds))
            rows = best[~done[best]][: most - np.count_nonzero(done)]
            if not len(rows):
                return replace(self, adds=adds, measured=np.flatnonzero(done))

    def after(
        self, codes: np.ndarray, outcome: Outcome, hopeful: np.ndarray
    ) -> tuple[Population, np.ndarray]:
        """The population after a generation, and the places of designs that joined the archive.

        codes : (D, S). hopeful : (D,) bool; what is False there is known not to join.
        """
        codes = codes.astype(self.codes.dtype, copy=False)
        rows = np.flatnonzero(outcome.feasible & hopeful)
        stays, joins = merge(self.front, outcome.objectives[rows])
        joined = rows[joins]
        grown = Population(
            np.concatenate([self.codes[stays], codes[joined]]),
            np.concatenate([self.front[stays], outcome.objectives[joined]]),
            self.others[:0],
            self.other_values[:0],
            np.concatenate([self.adds[stays], np.full(len(joined), np.nan, dtype=np.float32)]),
            self.measured[:0],
        )
        if len(grown.codes) >= POPULATION:
            return grown, joined
        rest = np.ones(len(codes), dtype=bool)
        rest[joined] = False
        values = np.concatenate([outcome.violation[:, None], outcome.objectives], axis=1)[rest]
        was_front = self.front[~stays]
        was_front = np.concatenate([np.zeros((len(was_front), 1)), was_front], axis=1)
        return grown._filled_up(
            np.concatenate([self.others, self.codes[~stays], codes[rest]]),
            np.concatenate([self.other_values, was_front, values]),
        ), joined

    def _filled_up(self, codes: np.ndarray, values: np.ndarray) -> Population:
        """With the best of the rest: feasible first, layer by layer, then the least broken."""
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
        return replace(self, others=codes[kept], other_values=values[kept])


def _most(adds: np.ndarray) -> np.ndarray:
    """Places of the best of (F,) volumes that are not 0."""
    kept = min(max(FEWEST_BEST, int(BEST * len(adds))), MOST_BEST)
    best = np.argsort(-adds, kind="stable")[:kept]
    return best[adds[best] > 0.0]


def crowding(points: np.ndarray) -> np.ndarray:
    """(F,) how far the neighbours of each point are, as shares of the front's range.

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
