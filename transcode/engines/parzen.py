"""Few evaluations: designs drawn from what good ones have in common and the others have not.

A tree-structured Parzen estimator (Bergstra et al., 2011; for several objectives Ozaki et al.,
2022) over the codes of a space, for whole batches at once: two mixtures of kernels, one on each
good design and one on each of the rest; of many draws from the first the ones stay that it
makes likelier than the second. Kernels are categorical, as Optuna's of a list of choices.

Axes: D designs known, C candidates, K values of all parameters, S parameters, O objectives.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from transcode.engines.base import Engine, Finished, Seen
from transcode.objective import Outcome
from transcode.pareto import nondominated, spread
from transcode.space import Space

#: Designs drawn evenly before anything is concluded, and then proposed at once.
FIRST, BATCH = 16, 8
#: Share of the designs that counts as good, and how many do at most.
GOOD, MOST_GOOD = 0.1, 32
#: Draws of which one is proposed.
CANDIDATES = 24
HSSP, WEIGHTS, BANDWIDTH, GROWTH = 1, 0, 0.5, 0.02
#: Draws in a row without anything new after which even draws take over.
_TRIES = 4


@dataclass
class Parzen:
    """What is known, and the two mixtures over it.

    strangers : an engine that never repeats itself, for the first designs and where all that is
    likely is known already.
    """

    space: Space
    seed: int
    strangers: Engine
    objectives: int
    batch: int = 0
    seen: Seen = field(default_factory=Seen)

    def __post_init__(self) -> None:
        sizes = np.array([p.size for p in self.space.parameters])
        self.sizes = sizes
        self.starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self.codes = np.zeros((0, len(sizes)), dtype=np.int32)
        self.values = np.zeros((0, self.objectives))
        self.violation = np.zeros(0)

    @property
    def exhausted(self) -> bool:
        """Whether the whole space was looked at."""
        return self.strangers.exhausted

    def suggest(self, count: int) -> np.ndarray:
        """A small batch of new designs, at most `count`."""
        rng = np.random.default_rng([self.seed, self.batch])
        self.batch += 1
        if len(self.codes) < FIRST:
            return self._strangers(min(count, FIRST - len(self.codes)))
        wanted = min(count, max(BATCH, int(GROWTH * len(self.codes))))
        good, weights = self._good()
        rest = np.delete(self.codes, good, axis=0)
        found = np.zeros((0, len(self.sizes)), dtype=np.int32)
        for _ in range(_TRIES):
            candidates = self._draw(self.codes[good], weights, wanted * CANDIDATES, rng)
            candidates = candidates[self.space.allowed(candidates)]
            candidates = candidates[self.seen.new(self.space.key(candidates))]
            gain = self._density(candidates, self.codes[good], weights)
            gain -= self._density(candidates, rest, np.ones(len(rest)))
            for part in np.array_split(np.arange(len(candidates)), wanted - len(found)):
                if len(part):
                    found = np.concatenate([found, candidates[part[np.argmax(gain[part])]][None]])
            self.seen.add(self.space.key(found))
            if len(found) == wanted:
                return found
        return np.concatenate([found, self._strangers(wanted - len(found))])

    def _strangers(self, count: int) -> np.ndarray:
        codes = self.strangers.suggest(count)
        codes = codes[self.seen.new(self.space.key(codes))]
        self.seen.add(self.space.key(codes))
        return codes

    def _good(self) -> tuple[np.ndarray, np.ndarray]:
        """(G,) rows of the good designs and (G,) their weights: layer by layer, spread out."""
        room = min(int(np.ceil(GOOD * len(self.codes))), MOST_GOOD)
        left = np.flatnonzero(self.violation <= 0.0)
        chosen = np.zeros(0, dtype=np.intp)
        while len(chosen) < room and len(left):
            first = nondominated(self.values[left])
            layer, left = left[first], left[~first]
            if len(layer) > room - len(chosen):
                if len(chosen) == 0 and HSSP:
                    layer = layer[_hssp(self.values[layer], room)]
                else:
                    layer = layer[spread(self.values[layer], room - len(chosen))]
            chosen = np.concatenate([chosen, layer])
        if len(chosen) < room:
            order = np.argsort(self.violation, kind="stable")
            order = order[self.violation[order] > 0.0]
            chosen = np.concatenate([chosen, order[: room - len(chosen)]])
        if WEIGHTS and (self.violation[chosen] <= 0).all():
            return chosen, _contributions(self.values[chosen])
        return chosen, np.ones(len(chosen))

    def _draw(
        self, points: np.ndarray, weights: np.ndarray, count: int, rng: np.random.Generator
    ) -> np.ndarray:
        """(C, S) draws from the mixture over (P, S) points, and a kernel that is even."""
        share = np.append(weights, 1.0) / (weights.sum() + 1.0)
        kernel = rng.choice(len(share), count, p=share)
        anywhere = (rng.random((count, len(self.sizes))) * self.sizes).astype(np.int32)
        around = points[np.minimum(kernel, len(points) - 1)]
        stays = rng.random(around.shape) < self._stay(len(points))
        stays &= (kernel < len(points))[:, None]
        return self.space.canonical(np.where(stays, around, anywhere))

    def _stay(self, points: int) -> np.ndarray:
        """(S,) probability that a kernel of so many keeps a value instead of drawing one."""
        return 1.0 / (1.0 + BANDWIDTH * self.sizes / (points + 1.0))

    def _density(self, codes: np.ndarray, points: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(C,) logarithm of the mixture over (P, S) points, the even kernel included."""
        stay = self._stay(len(points))
        differs = (1.0 - stay) / self.sizes
        bonus = np.log((stay + differs) / differs)
        matches = self._one_hot(codes, np.ones(len(self.sizes))) @ self._one_hot(points, bonus).T
        logs = np.log(differs).sum() + matches
        even = np.full((len(codes), 1), -np.log(self.sizes).sum())
        logs = np.concatenate([logs + np.log(weights), even], axis=1)
        top = logs.max(axis=1, keepdims=True)
        total = np.exp(logs - top).sum(axis=1)
        return np.log(total) + top[:, 0] - np.log(weights.sum() + 1.0)

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

    def state(self) -> dict[str, object]:
        """Where the strangers stand; everything else follows from the designs."""
        return {"strangers": self.strangers.state()}

    def study_trials(self) -> None:
        """None: there is no Optuna study behind it."""

    def resume(self, batch: Finished) -> None:
        """Learns a finished batch."""
        nothing = Finished(batch.codes[:0], batch.outcome, batch.state["strangers"])  # type: ignore[arg-type]
        self.strangers.resume(nothing)
        self.seen.add(self.space.key(batch.codes))
        self.update(batch.codes, batch.outcome)
        self.batch += 1


def _ref(points):
    w = points.max(axis=0)
    return np.where(w > 0, 1.1 * w, 0.9 * w)


def _contributions(points):
    import moocore
    ref = _ref(points)
    whole = moocore.hypervolume(points, ref=ref)
    c = np.array([whole - moocore.hypervolume(np.delete(points, i, axis=0), ref=ref) for i in range(len(points))])
    return np.maximum(c / max(c.max(), 1e-300), 1e-12) * len(points) / max((c / max(c.max(), 1e-300)).sum(), 1e-12) if NORM else np.maximum(c / max(c.max(), 1e-300), 1e-12)

NORM = 0

def _hssp(points, count):
    """greedy, lazy"""
    import moocore
    ref = _ref(points)
    gain = np.prod(np.maximum(ref - points, 0.0), axis=1)
    chosen, volume = [], 0.0
    while len(chosen) < count:
        fresh = np.zeros(len(points), bool)
        while True:
            i = int(np.argmax(gain))
            if fresh[i]:
                break
            gain[i] = moocore.hypervolume(points[[*chosen, i]], ref=ref) - volume
            fresh[i] = True
        chosen.append(i)
        volume += gain[i]
        gain[i] = -1.0
    return np.sort(np.array(chosen))
