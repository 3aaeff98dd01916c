"""pymoo's evolutionary algorithms behind the interface of our engines, to compare with.

A design is coded by integers, one for each parameter: the codes of our spaces. pymoo draws,
crosses over, mutates, rounds and drops duplicates as its own examples for integers do; what
`where` forbids counts as an infeasible design. A design that pymoo proposes again is answered
from memory and is not counted. Needs pymoo; AGE-MOEA2 needs numba, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from transcode import engines
from transcode.engines.base import Engine, Finished
from transcode.objective import Outcome, Problem
from transcode.space import Space

#: What each is called here.
PYMOO = ("pymoo-nsga2", "pymoo-nsga3", "pymoo-sms-emoa", "pymoo-age-moea2")
#: Individuals of a generation: pymoo's own number.
POPULATION = 100
#: Generations in a row without anything new after which it is given up.
_DRY = 50


@dataclass
class Pymoo(Engine):
    """One of pymoo's algorithms. fallback : (O,) what a design without values counts as."""

    space: Space
    name: str
    seed: int
    fallback: np.ndarray
    dry: int = 0
    known: dict[int, tuple[np.ndarray, float]] = field(default_factory=dict)
    waiting: tuple[Any, np.ndarray] | None = None
    left: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.algorithm = _algorithm(self.name, self.space, len(self.fallback), self.seed)

    @property
    def exhausted(self) -> bool:
        """Whether many generations in a row held nothing new."""
        return self.dry >= _DRY

    def suggest(self, count: int) -> np.ndarray:
        """The new designs of a generation, at most `count`: the rest is asked for next time."""
        while not self.left and not self.exhausted:
            if self.waiting is not None:
                self._tell()
            self._ask()
        codes = self.left.pop() if self.left else np.zeros((0, len(self.space.parameters)), int)
        if len(codes) > count:
            self.left.append(codes[count:])
        return codes[:count]

    def _ask(self) -> None:
        asked = self.algorithm.ask()
        codes = self.space.canonical(asked.get("X").astype(np.int32))
        self.waiting = asked, codes
        keys = self.space.key(codes).tolist()
        allowed = self.space.allowed(codes)
        fresh: dict[int, int] = {}
        for row, key in enumerate(keys):
            if allowed[row] and key not in self.known:
                fresh.setdefault(key, row)
        self.dry = 0 if fresh else self.dry + 1
        if fresh:
            self.left.append(codes[list(fresh.values())])

    def _tell(self) -> None:
        assert self.waiting is not None
        asked, codes = self.waiting
        forbidden = (self.fallback, 2.0)
        answers = [self.known.get(key, forbidden) for key in self.space.key(codes).tolist()]
        asked.set("F", np.stack([values for values, _ in answers]))
        asked.set("G", np.array([[broken] for _, broken in answers]))
        self.algorithm.tell(infills=asked)

    def update(self, codes: np.ndarray, outcome: Outcome) -> None:
        """Remembers a part of a generation; pymoo is told when the generation is whole."""
        values = np.where(np.isfinite(outcome.objectives), outcome.objectives, self.fallback)
        violation = np.where(outcome.feasible, 0.0, np.maximum(outcome.violation, 1e-9))
        for row, key in enumerate(self.space.key(codes).tolist()):
            self.known[key] = values[row], float(violation[row])

    def state(self) -> dict[str, object]:
        """Nothing: these runs are not resumed."""
        return {}

    def resume(self, batch: Finished) -> None:
        raise NotImplementedError  # a benchmark starts anew


def _algorithm(name: str, space: Space, objectives: int, seed: int) -> Any:
    """The algorithm, set up for integers as in pymoo's documentation."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.algorithms.moo.nsga3 import NSGA3
    from pymoo.algorithms.moo.sms import SMSEMOA
    from pymoo.core.problem import Problem as Integers
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.util.ref_dirs import get_reference_directions

    sizes = np.array([p.size for p in space.parameters])
    problem = Integers(
        n_var=len(sizes),
        n_obj=objectives,
        n_ieq_constr=1,
        xl=np.zeros(len(sizes)),
        xu=np.maximum(sizes - 1, 0),
        vtype=int,
    )
    shared: dict[str, Any] = {
        "pop_size": POPULATION,
        "sampling": IntegerRandomSampling(),
        "crossover": SBX(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
        "mutation": PM(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
        "eliminate_duplicates": True,
    }
    if name == "pymoo-nsga2":
        algorithm = NSGA2(**shared)
    elif name == "pymoo-nsga3":
        divisions = {2: 99, 3: 12, 4: 7}[objectives]
        directions = get_reference_directions("das-dennis", objectives, n_partitions=divisions)
        algorithm = NSGA3(directions, **(shared | {"pop_size": max(POPULATION, len(directions))}))
    elif name == "pymoo-sms-emoa":
        algorithm = SMSEMOA(**shared)
    elif name == "pymoo-age-moea2":
        from pymoo.algorithms.moo.age2 import AGEMOEA2

        algorithm = AGEMOEA2(**shared)
    else:
        raise ValueError(name)
    algorithm.setup(problem, termination=("n_gen", 10**9), seed=seed, verbose=False)
    return algorithm


def make(name: str, problem: Problem, seed: int, batch: int, fallback: np.ndarray) -> Engine:
    """One of pymoo's or one of ours, by name."""
    if name in PYMOO:
        return Pymoo(problem.space, name, seed, fallback)
    return engines.make(name, problem, seed, batch, fallback)
