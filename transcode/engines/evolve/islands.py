"""Islands: shares of a generation that are bred and evaluated apart, and brought together.

A design belongs to one island, by its key; so islands never meet the same design, and each
needs to know only what was seen of its own. An island is a pure function of its task: on
which processor or machine it runs, and how often, changes nothing.

Axes: D designs, S parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from elector.base.table import distinct
from transcode.engines.base import Examined, Seen
from transcode.engines.evolve.population import Population
from transcode.engines.evolve.variation import Variation
from transcode.objective import Outcome, joined
from transcode.space import Space, mix

#: How often children are made again for what was known or forbidden, and at most at once.
_TRIES, _AT_ONCE = 6, 1 << 17
#: Share of new ones among children below which no more are made.
_HARDLY = 0.03
#: Children that each one is chosen from, where somebody chooses.
OVER = 6.0
#: Designs that are evaluated before the next are bred from them, within a task.
GENERATION = 32_768

Assess = Callable[[np.ndarray], Outcome]
#: Of (D, S) designs, the places of so many that are to be evaluated.
Choose = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class IslandTask:
    """All that an island needs to know for a round, beside the problem.

    seed : of its random stream. population : as after the last round.
    known : keys of the island's own designs, in sorted runs.
    strangers : (D, S) designs of its own to look at in any case. children : to be bred.
    """

    island: int
    islands: int
    seed: tuple[int, ...]
    population: Population
    known: tuple[np.ndarray, ...]
    strangers: np.ndarray
    children: int


class Known:
    """Keys of all designs there were, apart for each island."""

    def __init__(self, islands: int) -> None:
        self.shares = [Seen() for _ in range(islands)]

    def __len__(self) -> int:
        return sum(map(len, self.shares))

    def owners(self, keys: np.ndarray) -> np.ndarray:
        """(D,) the island that each key belongs to.

        keys : (D,) uint64.
        """
        return owners(keys, len(self.shares))

    def new(self, keys: np.ndarray) -> np.ndarray:
        """(D,) bool: the first occurrence of each key that was never added.

        keys : (D,) uint64.
        """
        mask, own = np.zeros(len(keys), dtype=bool), self.owners(keys)
        for island, seen in enumerate(self.shares):
            rows = np.flatnonzero(own == island)
            mask[rows] = seen.new(keys[rows])
        return mask

    def add(self, keys: np.ndarray) -> None:
        """Adds distinct keys that are new.

        keys : (N,) uint64.
        """
        own = self.owners(keys)
        for island, seen in enumerate(self.shares):
            seen.add(keys[own == island])


def owners(keys: np.ndarray, islands: int) -> np.ndarray:
    """(D,) island of each of (D,) uint64 keys."""
    if islands == 1:
        return np.zeros(len(keys), dtype=np.int64)
    # a key may be an index, whose last digits say much about the design; mixed, they do not
    return (mix(keys) % np.uint64(islands)).astype(np.int64)


@dataclass
class Breeder:
    """Makes new children of a population.

    seen : what was looked at. island : whose children are wanted, of how many islands.
    """

    space: Space
    variation: Variation
    seen: Seen | Known
    island: int = 0
    islands: int = 1

    @cached_property
    def layered(self) -> bool:
        """Whether some parameters do not matter for some values of others."""
        return any(p.needs is not None for p in self.space.parameters)

    def children(
        self,
        population: Population,
        count: int,
        rng: np.random.Generator,
        choose: Choose | None = None,
    ) -> np.ndarray:
        """(at most count, S) new children, from now on seen.

        choose : picks them from `OVER` times as many; without it they are taken as they come.
        """
        children = [np.zeros((0, population.codes.shape[1]), dtype=np.int32)]
        missing, share = count, 1.0 / self.islands
        eligible = self._eligible(population)
        for _ in range(_TRIES):
            if missing <= 0 or share < _HARDLY / self.islands:
                break
            wanted = missing if choose is None else int(OVER * missing)
            size = min(int(wanted / share) + 8 * self.islands, _AT_ONCE)
            made = self._bred(population, eligible, size, rng)
            codes, keys = self.fresh(made)
            share = len(codes) / size
            kept = np.arange(min(missing, len(codes)))
            if choose is not None and len(codes) > missing:
                kept = choose(codes, missing)
            codes, keys = codes[kept], keys[kept]
            self.seen.add(keys)
            children.append(codes.astype(np.int32))
            missing -= len(codes)
        return np.concatenate(children)

    def bred(self, population: Population, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count, S) children, whether or not they are new or allowed."""
        return self._bred(population, self._eligible(population), count, rng)

    def _eligible(self, population: Population) -> np.ndarray:
        """Places of those that may be parents."""
        looks = self.islands * len(self.seen) / max(1, self.variation.free)  # of all islands
        return population.eligible(looks)

    def _bred(
        self, population: Population, eligible: np.ndarray, count: int, rng: np.random.Generator
    ) -> np.ndarray:
        pool = np.concatenate([population.codes, population.others])
        drawn = [population.parents(eligible, count, rng) for _ in range(2)]
        used, _, place = distinct(np.concatenate(drawn))
        one, two = np.split(place, 2)
        made = self.variation.children(self.variation.rows(pool[used]), one, two, rng).T
        return self.space.canonical(made) if self.layered else made

    def fresh(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The designs of (D, S) that are allowed, its own, and were never seen; their keys."""
        keys = self.space.key(codes)
        if self.islands > 1:
            own = np.flatnonzero(owners(keys, self.islands) == self.island)
            codes, keys = codes[own], keys[own]
        if self.space.where:
            allowed = self.space.allowed(codes)
            codes, keys = codes[allowed], keys[allowed]
        new = self.seen.new(keys)
        return codes[new], keys[new]


def advance(space: Space, assess: Assess, task: IslandTask) -> Examined:
    """One round of an island: the strangers, and children generation by generation.

    assess : gives the outcome of (D, S) codes.
    """
    rng = np.random.default_rng(task.seed)
    seen = Seen()
    seen.runs = list(task.known)
    breeder = Breeder(space, Variation(space), seen, task.island, task.islands)
    population, finds = task.population, []
    waiting, _ = breeder.fresh(task.strangers)
    seen.add(space.key(waiting))
    left = task.children
    while len(waiting) or left > 0:
        size = min(left, max(GENERATION - len(waiting), 0)) if left > GENERATION // 4 else left
        bred = breeder.children(population, size, rng)
        codes = np.concatenate([waiting, bred])
        left = left - size if len(bred) == size else 0
        waiting = waiting[:0]
        if len(codes) == 0:
            break
        # neighbours share work in the simulator
        codes = codes[np.argsort(space.key(codes), kind="stable")]
        outcome = assess(codes)
        hopeful = np.zeros(len(codes), dtype=bool)
        population, places = population.after(codes, outcome, np.ones(len(codes), dtype=bool))
        hopeful[places] = True
        finds.append(Examined(space.pack(codes), outcome, hopeful))
    return together(space, assess, finds)


def together(space: Space, assess: Assess, finds: list[Examined]) -> Examined:
    """Several finds as one, in their order.

    assess : gives the outcome of (D, S) codes.
    """
    if not finds:
        nothing = np.zeros((0, len(space.parameters)), dtype=np.int32)
        return Examined(nothing, assess(nothing), np.zeros(0, dtype=bool))
    return Examined(
        np.concatenate([f.codes for f in finds]),
        joined([f.outcome for f in finds]),
        np.concatenate([f.hopeful for f in finds]),
    )
