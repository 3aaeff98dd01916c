"""BOSHCODE's kind of search, written anew and small, to compare with.

What it has of BOSHCODE (Tuli and Jha, TransCODE, arXiv 2303.14882; CODEBench, 2022): a start of
random pairs, a surrogate that knows what it does not know (epistemic) and what the source
scatters (aleatoric), one design at a time, the one of the best mean + .5 deviations. What it has
not: its network (a natural-parameter network with a teacher and a student; here a forest of
bootstrapped trees or an ensemble of networks that predict mean and deviation, each bootstrapped),
its gradient descent to the input (here the best of draws, then of neighbours of the best, which
suits lists of choices), its embedding of models, its asking again with another seed, and its
weight transfer. What infeasible designs are worth is the worst that was seen.

Axes: D designs known, C candidates, E members of an ensemble, F features, H hidden units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from transcode.engines.base import Engine, Seen
from transcode.objective import Outcome
from transcode.space import Space

#: Deviations that are added to the mean.
OPTIMISM = 0.5
#: Even draws, designs whose neighbours are looked at, neighbours of each, rounds of that.
_DRAWS, _PARENTS, _NEIGHBOURS, _ROUNDS = 256, 8, 24, 3


class Model(Protocol):
    """A regression that says how sure it is."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        """Learns (D, F) -> (D,)."""

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(C,) mean and standard deviation, epistemic and aleatoric."""


class Forest:
    """Extremely randomised trees on bootstrapped rows; leaves of three designs and more."""

    def __init__(self, seed: int, trees: int = 30) -> None:
        from sklearn.ensemble import ExtraTreesRegressor

        self.forest = ExtraTreesRegressor(
            trees, bootstrap=True, min_samples_leaf=3, random_state=seed % 2**31, n_jobs=1
        )

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        """Grows all trees anew."""
        self.forest.fit(x, y)

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Spread of the trees' means, and the mean variance inside their leaves."""
        rows = np.ascontiguousarray(x, dtype=np.float32)
        means, variances = [], []
        for tree in self.forest.estimators_:
            leaves = tree.tree_.apply(rows)
            means.append(tree.tree_.value[leaves, 0, 0])
            variances.append(tree.tree_.impurity[leaves])
        return np.mean(means, axis=0), np.sqrt(np.var(means, axis=0) + np.mean(variances, axis=0))


class Networks:
    """Networks of one hidden layer that predict a mean and a log variance (a deep ensemble,
    Lakshminarayanan et al., 2017), trained on with Adam as designs come."""

    def __init__(self, seed: int, members: int = 5, hidden: int = 32) -> None:
        self.rng = np.random.default_rng(seed)
        self.members, self.hidden = members, hidden
        self.weights: list[np.ndarray] = []
        self.steps = 0
        self.draws = np.zeros((members, 0))

    def _start(self, features: int) -> None:
        e, h = self.members, self.hidden
        self.weights = [
            self.rng.standard_normal((e, features, h)) / np.sqrt(features),
            np.zeros((e, 1, h)),
            self.rng.standard_normal((e, h, 2)) / np.sqrt(h),
            np.zeros((e, 1, 2)),
        ]
        self.weights[3][:, :, 1] = -2.0
        self.moments = [(np.zeros_like(w), np.zeros_like(w)) for w in self.weights]

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        """400 steps at first, 20 for each new design."""
        fresh = not self.weights
        if fresh:
            self._start(x.shape[1])
        more = len(y) - self.draws.shape[1]
        self.draws = np.concatenate(
            [self.draws, self.rng.poisson(1.0, (self.members, more))], axis=1
        )
        self.middle, self.scale = float(y.mean()), float(y.std()) + 1e-9
        target = (y - self.middle) / self.scale
        for _ in range(400 if fresh else 20):
            self._step(x, target)

    def _step(self, x: np.ndarray, y: np.ndarray, rate: float = 0.005) -> None:
        w1, b1, w2, b2 = self.weights
        inside = np.tanh(x @ w1 + b1)
        out = inside @ w2 + b2
        log = np.clip(out[..., 1], -6.0, 2.0)
        error = out[..., 0] - y
        each = self.draws / self.draws.sum(axis=1, keepdims=True)
        free = (out[..., 1] > -6.0) & (out[..., 1] < 2.0)
        # weighted by the variance's root (beta-NLL): else uncertain regions never get a mean
        beta = np.exp(0.5 * log)
        down = np.stack(
            [
                each * beta * error * np.exp(-log),
                each * beta * 0.5 * (1.0 - error**2 * np.exp(-log)) * free,
            ],
            axis=-1,
        )
        back = (down @ w2.transpose(0, 2, 1)) * (1.0 - inside**2)
        slopes = [
            x.T @ back,
            back.sum(axis=1, keepdims=True),
            inside.transpose(0, 2, 1) @ down,
            down.sum(axis=1, keepdims=True),
        ]
        self.steps += 1
        for place, slope in enumerate(slopes):
            weight, (first, second) = self.weights[place], self.moments[place]
            slope = slope + (1e-3 * weight if place % 2 == 0 else 0.0)
            first += 0.1 * (slope - first)
            second += 0.001 * (slope**2 - second)
            size = np.sqrt(second / (1.0 - 0.999**self.steps)) + 1e-8
            weight -= rate * first / (1.0 - 0.9**self.steps) / size

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Spread of the members' means, and their mean variance."""
        w1, b1, w2, b2 = self.weights
        out = np.tanh(x @ w1 + b1) @ w2 + b2
        variance = np.exp(np.clip(out[..., 1], -6.0, 2.0)).mean(axis=0) + out[..., 0].var(axis=0)
        mean = out[..., 0].mean(axis=0) * self.scale + self.middle
        return mean, np.sqrt(variance) * self.scale


@dataclass
class Bosh:
    """The search, behind suggest and update as our engines; objectives are minimised.

    strangers : gives the random start. model : seed -> surrogate. start : random designs.
    """

    space: Space
    seed: int
    strangers: Engine
    model: Callable[[int], Model]
    start: int
    seen: Seen = field(default_factory=Seen)

    def __post_init__(self) -> None:
        self.codes = np.zeros((0, len(self.space.parameters)), dtype=np.int32)
        self.values = np.zeros(0)
        self.sizes = np.array([p.size for p in self.space.parameters])
        self.surrogate = self.model(self.seed)

    def suggest(self, count: int) -> np.ndarray:
        """One design: random at first, then the most promising."""
        random = len(self.codes) < self.start
        codes = self.strangers.suggest(1) if random else self._promising()
        self.seen.add(self.space.key(codes))
        return codes

    def _promising(self) -> np.ndarray:
        rng = np.random.default_rng([self.seed, len(self.codes)])
        worst = np.nanmin(self.values)
        values = np.where(np.isfinite(self.values), self.values, worst)
        self.surrogate.fit(self._features(self.codes), values)
        parents = self.codes[np.argsort(-values)[:_PARENTS]]
        pool = self.space.from_unit(rng.random((_DRAWS, len(self.sizes))))
        hopes = np.zeros(0)
        for _ in range(_ROUNDS):
            near = self._neighbours(parents, rng)
            pool = np.concatenate([pool, near])
            pool = pool[self.space.allowed(pool)]
            pool = pool[self.seen.new(self.space.key(pool))]
            mean, deviation = self.surrogate.predict(self._features(pool))
            hopes = mean + OPTIMISM * deviation
            parents = pool[np.argsort(-hopes)[:_PARENTS]]
        return pool[[int(np.argmax(hopes))]]

    def _neighbours(self, parents: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Each parent with one to three of its parameters drawn anew."""
        around = np.repeat(parents, _NEIGHBOURS, axis=0)
        free = np.flatnonzero(self.sizes > 1)
        for row in around:
            which = rng.choice(free, rng.integers(1, 4), replace=False)
            row[which] = (rng.random(len(which)) * self.sizes[which]).astype(np.int32)
        return self.space.canonical(around)

    def _features(self, codes: np.ndarray) -> np.ndarray:
        """(D, F) codes between -1 and 1."""
        free = self.sizes > 1
        return 2.0 * codes[:, free] / (self.sizes[free] - 1.0) - 1.0

    def update(self, codes: np.ndarray, outcome: Outcome) -> None:
        """Learns what became of the design."""
        self.codes = np.concatenate([self.codes, codes])
        self.values = np.concatenate([self.values, -outcome.objectives[:, 0]])
