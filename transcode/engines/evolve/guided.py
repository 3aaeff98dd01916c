"""The first hundred designs, each chosen by what all before it say; then evolution goes on.

Of many children, neighbours and strangers those are evaluated that are expected to add most to the
hypervolume, the mean over draws from what Gaussian processes hold possible (Knowles, ParEGO, 2006;
Daulton et al., Differentiable expected hypervolume improvement, 2020). They are chosen one after
another, each as if the ones before it had turned out as expected (Ginsbourger et al., 2010).

Axes: D designs, S parameters, O objectives, C candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from transcode import pareto
from transcode.engines.base import Engine, Examined, Finished
from transcode.engines.evolve.engine import Evolve
from transcode.engines.evolve.kriging import Kriging
from transcode.objective import Outcome

#: Designs drawn evenly before anything is concluded; then evaluated at once; and how many there are
#: before evolution takes over.
FIRST, BATCH, UNTIL = 12, 4, 128
#: Candidates that are children and that are strangers; draws of what each may be worth.
CHILDREN, STRANGERS, DRAWS = 600, 400, 16
#: Candidates whose gain is worked out exactly, and draws of each that it is the mean of.
SHORT, EXACT = 100, 4
#: Digits of a gain that decide between candidates: others differ from processor to processor.
_DIGITS = 6


@dataclass(frozen=True)
class Promise:
    """What candidates promise.

    codes : (C, S). middle : (C, O) expected objectives. worth : (DRAWS, C, O) possible ones.
    chance : (C,) to be feasible. gain : (C,) of hypervolume, at most.
    """

    codes: np.ndarray
    middle: np.ndarray
    worth: np.ndarray
    chance: np.ndarray
    gain: np.ndarray

    def take(self, rows: np.ndarray) -> Promise:
        """Some of them.

        rows : (N,) places.
        """
        return Promise(
            self.codes[rows],
            self.middle[rows],
            self.worth[:, rows],
            self.chance[rows],
            self.gain[rows],
        )


@dataclass
class Guided(Engine):
    """A model of what was looked at before `evolve`, which keeps archive and memory.

    learnt : (D, S) codes, (D, O) objectives and (D,) feasibility of each batch so far.
    models : of each objective, and the last one of whether a design is feasible.
    certain : whether all were.
    """

    evolve: Evolve
    learnt: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    models: list[Kriging] = field(default_factory=list)
    certain: bool = True

    @property
    def prompt(self) -> bool:
        """Once evolution has taken over."""
        return not self._begins

    @property
    def exhausted(self) -> bool:
        """Whether the whole space was looked at."""
        return self.evolve.exhausted

    @property
    def _begins(self) -> bool:
        return len(self.evolve.known) < UNTIL

    def suggest(self, count: int) -> np.ndarray:
        """A few designs that are expected to add most; later a generation.

        count : most designs.
        """
        evolve = self.evolve
        if not self._begins or len(evolve.first):
            return evolve.suggest(count)
        rng = np.random.default_rng([evolve.seed, evolve.batch])
        missing = FIRST - len(evolve.known)
        if missing > 0:
            evolve.batch += 1
            return evolve.drawn(min(count, missing))
        candidates = self._candidates(rng)
        if not len(candidates) or not len(evolve.population.codes):
            return evolve.suggest(min(count, FIRST))  # nothing feasible yet, or nothing new
        evolve.batch += 1
        self._learn()
        codes = self._chosen(candidates, min(count, BATCH), rng)
        evolve.known.add(evolve.space.key(codes))
        return codes

    def _candidates(self, rng: np.random.Generator) -> np.ndarray:
        """(C, S) new designs: children of the population, and strangers."""
        evolve = self.evolve
        unit = rng.random((STRANGERS, len(evolve.space.parameters)))
        parts = [evolve.space.from_unit(unit)]
        if len(evolve.population):
            parts.append(evolve.breeder.bred(evolve.population, CHILDREN, rng))
        return self._new(np.concatenate(parts))

    def _new(self, codes: np.ndarray) -> np.ndarray:
        """Those of (C, S) designs that are allowed and were never seen, each once."""
        codes, _ = self.evolve.breeder.fresh(codes)
        return codes

    def _promise(self, codes: np.ndarray, rng: np.random.Generator) -> Promise:
        evolve = self.evolve
        mean, spread, chance = self._predicted(evolve.surrogate.features.of(codes).T)
        draws = rng.standard_normal((DRAWS, 1, mean.shape[1]))
        worth = evolve.surrogate.unbent(mean + spread * draws)
        flat = worth.reshape(-1, worth.shape[2])
        gain = pareto.room(evolve.population.front, flat, self.reference)
        gain = gain.reshape(DRAWS, -1).mean(axis=0) * chance
        return Promise(codes, evolve.surrogate.unbent(mean), worth, chance, _rounded(gain))

    def _chosen(self, codes: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count, S) designs to evaluate."""
        evolve = self.evolve
        best = self._promise(codes, rng)
        best = best.take(np.sort(np.argsort(-best.gain, kind="stable")[:SHORT]))
        chosen: list[int] = []
        front = evolve.population.front
        for _ in range(min(count, len(best.codes))):
            gain = np.mean(
                [pareto.apart(front, w, self.reference) for w in best.worth[:EXACT]], axis=0
            )
            gain = _rounded(gain * best.chance)
            gain[chosen] = -1.0
            place = int(np.argmax(gain))
            chosen.append(place)
            front = np.concatenate([front, best.middle[place : place + 1]])
            front = front[pareto.nondominated(front)]
        return best.codes[np.array(chosen, dtype=np.intp)]

    @property
    def reference(self) -> np.ndarray:
        """(O,) of the hypervolume, not far behind the worst that was met."""
        met = np.concatenate([values[fit] for _, values, fit in self.learnt])
        worst = met.max(axis=0)
        return np.minimum(self.evolve.reference, worst + (worst - met.min(axis=0)))

    def _learn(self) -> None:
        """Fits the models to all designs so far."""
        codes, values, feasible = (np.concatenate(p) for p in zip(*self.learnt, strict=True))
        surrogate = self.evolve.surrogate
        known = surrogate.features.of(codes).T
        bent = surrogate.bent(values[feasible])
        if not self.models:
            self.models = [Kriging.of(known.shape[1]) for _ in range(bent.shape[1] + 1)]
        for model, own in zip(self.models, bent.T, strict=False):
            model.learn(known[feasible], own)
        self.certain = bool(feasible.all())
        if not self.certain:
            self.models[-1].learn(known, np.where(feasible, 1.0, -1.0))

    def _predicted(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(C, O) mean and deviation of bent objectives, and (C,) chance to be feasible."""
        predicted = [model.predict(features) for model in self.models[:-1]]
        mean, spread = (np.stack(part, axis=1) for part in zip(*predicted, strict=True))
        if self.certain:
            return mean, spread, np.ones(len(features))
        middle, width = self.models[-1].predict(features)
        odds = np.exp(np.clip(1.7 * middle / width, -30.0, 30.0))  # nearly the normal distribution
        return mean, spread, odds / (1.0 + odds)

    def update(self, codes: np.ndarray, outcome: Outcome) -> None:
        """Learns a batch."""
        self._remember(codes, outcome)
        self.evolve.update(codes, outcome)

    def _remember(self, codes: np.ndarray, outcome: Outcome) -> None:
        if self._begins:
            self.learnt.append((codes, outcome.objectives, outcome.feasible))

    def tasks(self, count: int | None) -> Sequence[Any]:
        """Those of evolution, once it has taken over.

        count : most designs, None for as many as it likes.
        """
        return () if self._begins else self.evolve.tasks(count)

    def bring_in(self, tasks: Sequence[Any], outcomes: Examined) -> None:
        """Learns what islands found.

        tasks : what islands did.
        """
        self.evolve.bring_in(tasks, outcomes)

    def lend(self, apart: pareto.Apart) -> None:
        """Works volumes out so from now on."""
        self.evolve.lend(apart)

    def state(self) -> dict[str, object]:
        """Where evolution stands, and where the fits do: each begins where the last one ended."""
        places = [model.places.tolist() if model.fitted else None for model in self.models]
        return {**self.evolve.state(), **({"models": places} if self._begins else {})}

    def resume(self, batch: Finished) -> None:
        """Learns a finished batch."""
        self._remember(batch.codes, batch.outcome)
        self.evolve.resume(batch)
        places: Any = batch.state.get("models", [])
        features = self.evolve.surrogate.features.count
        self.models = [
            Kriging.of(features) if own is None else Kriging(np.array(own), fitted=True)
            for own in places
        ]


def _rounded(values: np.ndarray) -> np.ndarray:
    """Values to so many significant digits, of the largest."""
    top = float(values.max(initial=0.0))
    return np.round(values / top, _DIGITS) if top > 0 else values
