"""Few evaluations: designs drawn from what good ones have in common and the others have not.

A tree-structured Parzen estimator (Bergstra et al., 2011; for several objectives Ozaki et al.,
2022) over the codes of a space, for whole batches at once: two mixtures of kernels, one on each
good design and one on each of the rest; of many draws from the first the ones stay that it
makes likelier than the second. Kernels are categorical, as Optuna's of a list of choices.

Axes: D designs known, C candidates, K values of all parameters, S parameters, O objectives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transcode.engines.base import Learner
from transcode.objective import Outcome
from transcode.pareto import nondominated

#: Designs drawn evenly before anything is concluded; then proposed at once, at least so many
#: and such a share of what is known.
FIRST, BATCH, GROWTH = 16, 8, 0.02
#: Share of the designs that counts as good, and how many do at most.
GOOD, MOST_GOOD = 0.1, 32
#: Draws of which one is proposed, and how far a kernel reaches (1 is Optuna's).
CANDIDATES, REACH = 24, 0.5
#: Draws in a row without anything new after which even draws take over.
_TRIES = 4


@dataclass
class Parzen(Learner):
    """What is known, and the two mixtures over it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sizes = np.array([p.size for p in self.space.parameters])
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])

    def suggest(self, count: int) -> np.ndarray:
        """A small batch of new designs, at most `count`."""
        rng = np.random.default_rng([self.seed, self.batch])
        self.batch += 1
        if (begun := self._first(count, FIRST)) is not None:
            return begun
        wanted = min(count, max(BATCH, int(GROWTH * len(self.codes))))
        chosen = self._good()
        good, rest = self.codes[chosen], np.delete(self.codes, chosen, axis=0)
        proposed = np.zeros((0, len(self.sizes)), dtype=np.int32)
        for _ in range(_TRIES):
            candidates = self._draw(good, wanted * CANDIDATES, rng)
            candidates = candidates[self.space.allowed(candidates)]
            candidates = candidates[self.seen.new(self.space.key(candidates))]
            gain = self._density(candidates, good) - self._density(candidates, rest)
            parts = np.array_split(np.arange(len(candidates)), wanted - len(proposed))
            best = np.array([p[np.argmax(gain[p])] for p in parts if len(p)], dtype=np.intp)
            proposed = np.concatenate([proposed, self._remembered(candidates[best])])
            if len(proposed) == wanted:
                return proposed
        return np.concatenate([proposed, self._strangers(wanted - len(proposed))])

    def _good(self) -> np.ndarray:
        """(G,) rows of the good designs: layer by layer, of the last those that hold most."""
        room = min(int(np.ceil(GOOD * len(self.codes))), MOST_GOOD)
        left = np.flatnonzero(self.violation <= 0.0)
        chosen = np.zeros(0, dtype=np.intp)
        while len(chosen) < room and len(left):
            first = nondominated(self.values[left])
            layer, left = left[first], left[~first]
            if len(layer) > room - len(chosen):
                layer = layer[largest(self.values[layer], room - len(chosen))]
            chosen = np.concatenate([chosen, layer])
        if len(chosen) < room:
            order = np.argsort(self.violation, kind="stable")
            order = order[self.violation[order] > 0.0]
            chosen = np.concatenate([chosen, order[: room - len(chosen)]])
        return chosen

    def _draw(self, points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """(C, S) draws from the mixture over (P, S) points, and a kernel that is even."""
        kernel = rng.integers(0, len(points) + 1, count)
        anywhere = (rng.random((count, len(self.sizes))) * self.sizes).astype(np.int32)
        around = points[np.minimum(kernel, len(points) - 1)]
        stays = rng.random(around.shape) < self._stay(len(points))
        stays &= (kernel < len(points))[:, None]
        return self.space.canonical(np.where(stays, around, anywhere))

    def _stay(self, points: int) -> np.ndarray:
        """(S,) probability that a kernel of so many keeps a value instead of drawing one."""
        return 1.0 / (1.0 + REACH * self.sizes / (points + 1.0))

    def _density(self, codes: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(C,) logarithm of the mixture over (P, S) points, the even kernel included."""
        stay = self._stay(len(points))
        differs = (1.0 - stay) / self.sizes
        bonus = np.log((stay + differs) / differs)
        matches = self._one_hot(codes, np.ones(len(self.sizes))) @ self._one_hot(points, bonus).T
        logs = np.log(differs).sum() + matches
        even = np.full((len(codes), 1), -np.log(self.sizes).sum())
        logs = np.concatenate([logs, even], axis=1)
        top = logs.max(axis=1, keepdims=True)
        total = np.exp(logs - top).sum(axis=1)
        return np.log(total) + top[:, 0] - np.log(len(points) + 1.0)

    def _one_hot(self, codes: np.ndarray, values: np.ndarray) -> np.ndarray:
        """(C, K) the value of a parameter where a design has its code, 0 elsewhere."""
        hot = np.zeros((len(codes), int(self.sizes.sum())))
        hot[np.arange(len(codes))[:, None], self.starts + codes] = values
        return hot

    def update(self, codes: np.ndarray, outcome: Outcome) -> None:
        """Learns a batch."""
        finite = np.isfinite(outcome.objectives).all(axis=1)
        violation = np.where(finite, outcome.violation, np.maximum(outcome.violation, 1.0))
        self.codes = np.concatenate([self.codes, codes])
        self.values = np.concatenate([self.values, outcome.objectives])
        self.violation = np.concatenate([self.violation, violation])


def largest(points: np.ndarray, count: int) -> np.ndarray:
    """(count,) sorted indices of points (P, O) that together hold the most hypervolume.

    Greedy, and lazy: what a point adds only shrinks as others are chosen. The reference lies a
    tenth behind the worst.
    """
    import moocore

    worst = points.max(axis=0)
    reference = worst + 0.1 * np.abs(worst)
    gain = np.prod(np.maximum(reference - points, 0.0), axis=1)
    chosen: list[int] = []
    volume = 0.0
    for _ in range(count):
        looked = np.zeros(len(points), dtype=bool)
        while not looked[best := int(np.argmax(gain))]:
            gain[best] = moocore.hypervolume(points[[*chosen, best]], ref=reference) - volume
            looked[best] = True
        chosen.append(best)
        volume += float(gain[best])
        gain[best] = -1.0
    return np.sort(np.array(chosen))
