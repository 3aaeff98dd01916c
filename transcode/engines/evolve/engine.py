"""Vectorised evolutionary search: parents from an unbounded archive, children by the thousand.

Generations begin small and grow with what is known, so that few evaluations are spent well and
many are proposed cheaply; while that is so, of the children those are evaluated that are expected
to add most (transcode.engines.evolve.surrogate). Nothing is cut from the archive: a cut by crowding
makes its hypervolume fall with time. Crowding only picks parents. Large generations are shared
out to islands (transcode.engines.evolve.islands); how many there are belongs to the run.

Axes: D designs, S parameters, O objectives.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from transcode import pareto
from transcode.engines.base import Engine, Examined, Finished
from transcode.engines.evolve.features import Features
from transcode.engines.evolve.islands import Breeder, Choose, IslandTask, Known
from transcode.engines.evolve.population import Population
from transcode.engines.evolve.surrogate import Surrogate
from transcode.engines.evolve.variation import Variation
from transcode.objective import Outcome
from transcode.space import Space

#: Designs of the first generation, of the smallest later one, and growth with what is known:
#: of the first so many designs, and of the others.
FIRST, SMALLEST = 64, 24
GROWTH, SLOWLY, LATER_GROWTH = 0.1, 5_000, 0.25
#: Where there are many parameters, a design says little of the next, and generations grow slowly:
#: at most by so much over their number. Their designs take long, many at once less long each: a
#: generation is at least so many times the parameters.
CALM, LATER_CALM, EACH = 12.0, 24.0, 2.5
#: Share of a generation that is drawn from the whole space.
STRANGERS = 0.03
#: A smaller share of a generation is not worth an island.
LEAST = 2048
#: Designs whose volume is measured after a generation: a share of it, and at most. The number
#: tells the random stream apart from the generation's own.
RATED, MOST_RATED, _RATING = 1.0, 800, 1
#: Parameters of all designs of a round at most: they lie in memory until they are written.
_TOGETHER = 1 << 25
#: After a round that found fewer children than it wanted, the next wants so many times more.
_MORE = 1.2


@dataclass
class Evolve(Engine):
    """An archive, a memory, and a source of strangers.

    strangers : an engine that never repeats itself: the first generation, and a share of each.
    first : (W, S) codes evaluated before anything else (a warm start).
    available : designs that may be looked at, where that is known.
    islands : shares of a large generation, each at most `most` designs.
    limit : children that the last round found, where it wanted more.
    reference : (O,) of the hypervolume that parents are chosen by.
    apart : works volumes out.
    """

    space: Space
    seed: int
    strangers: Engine
    first: np.ndarray
    reference: np.ndarray
    available: int | None = None
    islands: int = 1
    most: int = 1 << 16
    batch: int = 0
    dry: bool = False
    limit: int | None = None
    apart: pareto.Apart = pareto.apart

    def __post_init__(self) -> None:
        self.known = Known(self.islands)
        self.breeder = Breeder(self.space, Variation(self.space), self.known)
        self.surrogate = Surrogate(Features(self.space, self.breeder.variation.families))
        self.population = Population.empty(
            len(self.space.parameters), len(self.reference), self.space.code_type
        )

    @property
    def prompt(self) -> bool:
        """Always."""
        return True

    @property
    def exhausted(self) -> bool:
        """Everything was looked at, or nothing new is to be found."""
        if self.available is not None:
            return len(self.known) >= self.available
        return self.dry and self.strangers.exhausted

    def suggest(self, count: int) -> np.ndarray:
        """A generation of new designs: as many as fit what is known, `count` at most."""
        rng = np.random.default_rng([self.seed, self.batch])
        warm = self._warm(count)
        many = self._free if self._calm else 0
        wanted = min(count, max(SMALLEST, int(EACH * many), self._growth()))
        if len(self.known) == len(warm) == 0:
            wanted = min(count, FIRST)
        parts = [warm]
        missing = wanted - len(warm)
        if missing > 0 and len(self.population):
            asked = missing - max(1, int(STRANGERS * missing))
            parts.append(self.breeder.children(self.population, asked, rng, self._choose))
        while (missing := wanted - sum(map(len, parts))) > 0 and not self.strangers.exhausted:
            parts.append(self.drawn(missing))
        self.batch += 1
        codes = np.concatenate(parts)
        self.dry = len(codes) == 0
        return codes

    @property
    def _choose(self) -> Choose | None:
        """Who picks children: somebody where each design counts, nobody where many are cheap."""
        if not (self.surrogate.ready and self._choosy):
            return None
        return lambda codes, count: self.surrogate.best(
            codes, count, self.population.front, self.reference
        )

    def _growth(self) -> int:
        """Designs of a generation, by what is known."""
        known = len(self.known)
        slow, fast = min(GROWTH, CALM / self._free), min(LATER_GROWTH, LATER_CALM / self._free)
        return int(slow * min(known, SLOWLY) + fast * max(known - SLOWLY, 0))

    @property
    def _choosy(self) -> bool:
        """Whether each design counts: there are few so far, or many parameters."""
        return len(self.known) < SLOWLY or self._calm

    @property
    def _calm(self) -> bool:
        """Whether there are so many parameters that generations grow slowly."""
        return CALM / self._free < GROWTH

    @property
    def _free(self) -> int:
        return max(1, self.breeder.variation.free)

    def _warm(self, count: int) -> np.ndarray:
        """At most `count` of the designs to begin with, from now on known."""
        if len(self.first) == 0:
            return self.first
        fresh, keys = self.breeder.fresh(self.first)
        self.first = fresh[count:]
        self.known.add(keys[:count])
        return fresh[:count]

    def drawn(self, count: int) -> np.ndarray:
        """The new ones of `count` designs from the whole space, from now on known.

        Of every other one with layers all are alike: drawn one by one, layers are never small
        or large together.
        """
        codes = self.strangers.suggest(count)
        if self.breeder.variation.families.blocks:
            self.breeder.variation.families.tie(codes.T, slice(0, None, 2))
            codes = self.space.canonical(codes)
        codes, keys = self.breeder.fresh(codes)
        self.known.add(keys)
        return codes

    def tasks(self, count: int | None) -> Sequence[IslandTask]:
        """The next generation of at most `count` designs, shared out; nothing while it is small."""
        together = _TOGETHER // len(self.space.parameters)
        size = min(self.islands * self.most, together, self._growth())
        size = size if count is None else min(size, count)
        if self.islands == 1 or size < self.islands * LEAST or len(self.first):
            return []
        children = size - int(STRANGERS * size)
        if self.limit is not None:
            children = min(children, max(int(_MORE * self.limit), size // 8))
        strange = self.strangers.suggest(size - children)
        own = self.known.owners(self.space.key(strange))
        tasks = [
            IslandTask(
                island=island,
                islands=self.islands,
                seed=(self.seed, self.batch, island),
                population=self.population,
                known=tuple(self.known.shares[island].runs),
                strangers=strange[own == island],
                children=(children + island) // self.islands,
            )
            for island in range(self.islands)
        ]
        self.batch += 1
        return tasks

    def lend(self, apart: pareto.Apart) -> None:
        """Works volumes out so from now on."""
        self.apart = apart

    def bring_in(self, tasks: Sequence[IslandTask], outcomes: Examined) -> None:
        """Learns what the islands found."""
        asked = sum(task.children for task in tasks)
        bred = len(outcomes.codes) - sum(len(task.strangers) for task in tasks)
        self.limit = None if bred >= 0.95 * asked else max(bred, 0)
        self.known.add(self.space.key(outcomes.codes))
        self.dry = len(outcomes.codes) == 0
        self._learn(outcomes.codes, outcomes.outcome, outcomes.hopeful)
        self._rate(len(outcomes.codes))

    def update(self, codes: np.ndarray, outcome: Outcome) -> None:
        """The archive after a generation, and the best of the rest while it is short."""
        self._learn(codes, outcome, np.ones(len(codes), dtype=bool))
        self._rate(len(codes))

    def _learn(self, codes: np.ndarray, outcome: Outcome, hopeful: np.ndarray) -> None:
        self.population, _ = self.population.after(codes, outcome, hopeful)
        if self._choosy:
            self.surrogate.learn(codes, outcome)

    def _rate(self, designs: int) -> None:
        """Measures what points of the archive add, in less time than the designs took."""
        rng = np.random.default_rng([self.seed, self.batch, _RATING])
        most = min(MOST_RATED, int(RATED * designs))
        self.population = self.population.rated(self.reference, most, rng, self.apart)

    def state(self) -> dict[str, object]:
        """Where the strangers stand, and volumes; everything else follows from the designs."""
        rows = self.population.measured
        packed = rows.astype(np.uint32).tobytes() + self.population.adds[rows].tobytes()
        return {
            "strangers": self.strangers.state(),
            "limit": self.limit,
            "measured": base64.b64encode(packed).decode(),
        }

    def resume(self, batch: Finished) -> None:
        """Learns a finished generation."""
        self.known.add(self.space.key(batch.codes))
        if "strangers" in batch.state:  # not in a merged run
            nothing = Finished(batch.codes[:0], batch.outcome, batch.state["strangers"])  # type: ignore[arg-type]
            self.strangers.resume(nothing)
        limit = batch.state.get("limit")
        self.limit = None if limit is None else int(str(limit))
        self._learn(batch.codes, batch.outcome, np.ones(len(batch.codes), dtype=bool))
        self._remember(base64.b64decode(str(batch.state.get("measured", ""))))
        self.batch += 1
        self.dry = len(batch.codes) == 0

    def _remember(self, packed: bytes) -> None:
        """Takes over the measured volumes of a state."""
        places, values = np.split(np.frombuffer(packed, dtype=np.uint32), 2)
        adds = self.population.adds.copy()
        there = places < len(adds)  # a part's notes have no checksum
        adds[places[there]] = values.view(np.float32)[there]
        self.population = replace(self.population, adds=adds)
