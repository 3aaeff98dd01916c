"""Engines propose designs: suggest(count) -> codes, update(codes, outcome).

In come the outcomes of the designs proposed last, out come codes (D, S) of the next. A new engine
is a module that knows no other and a line in `make`.
Each engine is deterministic in (seed, batch): what it needs beside that is in `state`, which
the run folder keeps with every batch. Here stands which engine a run uses, and why.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass

import numpy as np

from elector.base.errors import InputError
from elector.base.units import format_si
from transcode.engines import optuna_engine, streams
from transcode.engines.base import Engine, Finished
from transcode.engines.evolve import Evolve, Guided
from transcode.engines.parzen import Parzen
from transcode.extras import installing
from transcode.objective import Problem
from transcode.space import Space

__all__ = [
    "SAMPLERS",
    "Choice",
    "Engine",
    "Evolve",
    "Finished",
    "Guided",
    "check",
    "choose",
    "default_batch",
    "make",
]

#: Engines that can begin with given designs.
LEARN_FROM_OTHERS = ("evolve", "guided", "parzen", "boshcode")
STREAMS = ("enumerate", "random", "qmc")
SAMPLERS = ("auto", "evolve", "guided", "parzen", "boshcode", *STREAMS, *optuna_engine.BUILT_IN)
_USER = re.compile(r"[\w.]+:\w+")
#: A design costs `evolve` about so many times what enumerating it costs.
ENUMERATED = 2
#: Seconds an enumeration may take where neither a budget nor a time is given.
PATIENCE = 60.0
#: So few evaluations are best spent by `guided`; of more `evolve` makes as much, and is faster
#: (benchmarks/search.md).
THOUGHTFUL = 300
#: A design that takes so many seconds, and how many are evaluated where no number is given.
SLOW, FEW = 1.0, 300
#: Budgets where neither a budget nor a time is given: of samplers that learn, of those that do not.
DEFAULT_BUDGET, DEFAULT_STREAM_BUDGET = 2_000, 1_000_000
#: ... and of those that think long about each design (80 ms, seconds).
_SLOW_BUDGETS = {"tpe": 500, "gp": 40, "boshcode": 200}
_BATCHES = {"nsga2": 50, "nsga3": 50, "tpe": 16, "gp": 8, "parzen": 256, "boshcode": 4}
_STREAM_BATCH = 65_536


@dataclass(frozen=True)
class Choice:
    """What was asked for, what is used, and why; budget in designs, None for no limit."""

    asked: str
    used: str
    why: str
    budget: int | None


def check(name: str) -> None:
    """Refuses a sampler that does not exist or whose library is not installed.

    name : as `--sampler` has it.
    """
    if name in SAMPLERS:
        if name in optuna_engine.BUILT_IN:
            optuna_engine.sampler(name, 2)
        if name == "boshcode" and importlib.util.find_spec("torch") is None:
            raise InputError(
                f"boshcode needs torch: {installing('train')}", field="--sampler", value=name
            )
        return
    if not _USER.fullmatch(name):
        raise InputError(
            "unknown sampler", field="--sampler", value=name, allowed=(*SAMPLERS, "module:Class")
        )
    optuna_engine.sampler(name, 2)


def choose(
    asked: str, space: Space, seconds_each: float, budget: int | None, time: float | None
) -> Choice:
    """The engine for a run.

    seconds_each : measured cost of a design. budget : designs. time : seconds.

    asked : the sampler as `--sampler` has it.
    """
    if asked != "auto":
        seeded = optuna_engine.repeatable(asked)
        why = "as asked" if seeded else "as asked; it takes no seed, so this run cannot be repeated"
        return Choice(asked, asked, why, _limit(asked, budget, time))
    size = min(space.allowed_count or space.cardinality, 10**300)  # what a float can hold
    seconds = size * seconds_each
    many = f"{size:,}" if size <= streams.LARGEST_ENUMERATION else f"{size:.2g}"
    measured = f"{many} designs at {format_si(seconds_each, 's')} take {seconds:.3g} s"
    fits_budget = budget is None or size <= budget
    fits_time = seconds <= (time or PATIENCE) or (budget is not None and time is None)
    if budget is None and time is None and seconds_each < SLOW:
        # `evolve` would look at a million designs, which costs it about as much as enumerating two
        # million where its own time is about that of evaluation, and find less.
        fits_time = fits_time or size <= ENUMERATED * DEFAULT_STREAM_BUDGET
    if space.cardinality <= streams.LARGEST_ENUMERATION and fits_budget and fits_time:
        return Choice(asked, "enumerate", f"{measured}: all of them", budget)
    many = "too many to look at each"
    if budget is not None and not fits_budget:
        many = f"more than the budget of {budget:,}, so the promising ones come first"
    elif space.cardinality <= streams.LARGEST_ENUMERATION:  # time is what is short
        many = f"not all of them within {time or PATIENCE:g} s, so the promising ones come first"
    if seconds_each >= SLOW and time is None:
        budget = budget or FEW
    if seconds_each >= SLOW or (budget is not None and budget <= THOUGHTFUL):
        each = "each" if budget is None else f"each of {budget:,}"
        why = f"{measured}: too slow to look at all of them, and {each} has to count"
        # what training says is noise to a good part, and depends on those beside a design
        used = "parzen" if space.accuracy.source == "trained" else "guided"
        return Choice(asked, used, why, budget)
    budget = _limit("evolve", budget, time)
    return Choice(asked, "evolve", f"{measured}: {many}", budget)


def _limit(name: str, budget: int | None, time: float | None) -> int | None:
    """The budget; where neither that nor a time is given, the usual one of the sampler.

    It is a number of designs, so how long they take is up to the machine: a million of `evolve`.
    """
    if budget is not None or time is not None or name == "enumerate":
        return budget
    if name in (*STREAMS, "evolve"):
        return DEFAULT_STREAM_BUDGET
    return _SLOW_BUDGETS.get(name, DEFAULT_BUDGET)


def default_batch(name: str) -> int:
    """Designs proposed at once: a generation, or as many as make a call of the simulator cheap.

    name : of a sampler.
    """
    return _STREAM_BATCH if name in (*STREAMS, "evolve", "guided") else _BATCHES.get(name, 32)


@dataclass(frozen=True, eq=False, repr=False)
class Beginning:
    """What only some engines read.

    first : (W, S) designs to begin with, for the engines of LEARN_FROM_OTHERS.
    islands : shares of a generation of evolve.
    """

    first: np.ndarray | None = None
    islands: int = 1


_PLAIN = Beginning()


def make(
    name: str,
    problem: Problem,
    seed: int,
    batch: int,
    fallback: np.ndarray,
    beginning: Beginning = _PLAIN,
) -> Engine:
    """The engine of that name.

    batch : designs proposed at once. fallback : (O,) what a design without values counts as, and
    the reference point of the hypervolume.
    """
    space, first, islands = problem.space, beginning.first, beginning.islands
    begin = np.zeros((0, len(space.parameters)), dtype=np.int32) if first is None else first
    if name == "parzen":
        return Parzen(space, seed, streams.random(space, seed), begin, len(space.objectives))
    if name == "boshcode":
        from transcode.engines.boshcode import Boshcode  # needs torch

        return Boshcode(space, seed, streams.random(space, seed), begin, len(space.objectives))
    if name in ("evolve", "guided"):
        strangers, available = streams.random(space, seed), space.allowed_count
        evolve = Evolve(space, seed, strangers, begin, fallback, available, islands, batch)
        return evolve if name == "evolve" else Guided(evolve)
    if name == "enumerate":
        return streams.enumerate_all(space)
    if name == "random":
        return streams.random(space, seed)
    if name == "qmc":
        return streams.quasi_random(space, seed)
    maker = optuna_engine.sampler(name, batch)
    return optuna_engine.OptunaEngine(space, maker, seed, fallback, problem.signs, name=name)
