"""A call of `search` and what its folder holds -> the run that begins, or goes on, there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from elector.base.errors import InputError
from elector.base.spelling import spelled
from elector.studies.uncertainty import Sampling
from transcode import engines, runs
from transcode.engines.optuna_engine import BUILT_IN
from transcode.objective import Outcome, Problem
from transcode.runs.storage import Address
from transcode.search import prepare, warm
from transcode.search.prepare import Request, Sources
from transcode.search.timers import Timers
from transcode.space import Space, describe, digest


@dataclass(frozen=True)
class SearchCall:
    """What the user asked for.

    fresh : replace what is in the folder. where : the storage.
    stall : share of the hypervolume, and batches. sampling : of intervals, where asked for.
    """

    asked: Request
    seed: int
    jobs: int
    fresh: bool
    warm_start: str | Path | None
    where: Address | None
    command: str
    stall: tuple[float, int] | None
    timers: Timers
    sampling: Sampling | None = None


@dataclass(frozen=True)
class Looked:
    """A space as it was read, and what a first look at some designs said of it."""

    space: Space
    sources: Sources
    problem: Problem
    outcome: Outcome


@dataclass(frozen=True)
class Settled:
    """What a run is before its first batch, or the next one.

    choice : the sampler. batch : designs proposed at once. islands : of large generations.
    reference : (O,) minimised, None where it is not known yet. notes : for the user.
    first : (W, S) designs it was told to begin with.
    """

    problem: Problem
    choice: engines.Choice
    batch: int
    islands: int
    reference: np.ndarray | None
    manifest: dict[str, Any]
    notes: list[str]
    first: np.ndarray | None

    @property
    def fallback(self) -> np.ndarray:
        """(O,) what a design without values counts as: the reference point, if there is one."""
        return np.ones(len(self.problem.signs)) if self.reference is None else self.reference

    def engine(self) -> engines.Engine:
        """The sampler of the run."""
        return engines.make(
            self.choice.used,
            self.problem,
            self.manifest["seed"],
            self.batch,
            self.fallback,
            engines.Beginning(self.first, self.islands),
        )


def settled(looked: Looked, call: SearchCall, folder: Path) -> Settled:
    """What the run is. Raises InputError where the folder holds another one."""
    manifest = _identity(looked.space, call)
    old = None if call.fresh else runs.manifest.read(folder)
    if old is not None:
        runs.manifest.refuse_other(folder, old, manifest)
    asked = _asked(call, old, folder)
    problem, sources = looked.problem, looked.sources
    choice, batch, islands = prepare.choice_of(
        asked, problem, old, folder, call.timers.clock, sources.seconds
    )
    manifest["versions"] = runs.manifest.versions()
    notes = [] if old is None else runs.manifest.other_libraries(old, manifest)
    notes += prepare.pruning_notes(looked.space)
    first, manifest["warm_start"] = _first(problem, call, choice, old, folder)
    there = 0 if old is None else int(old.get(runs.manifest.DESIGNS) or 0)
    if there > (call.asked.budget or there):
        notes.append(
            f"--budget {call.asked.budget:,} adds nothing: {there:,} designs are recorded already"
        )
    if call.warm_start is not None:
        begun = manifest["warm_start"]
        verb = "goes on with the" if there else "begins with"
        notes.append(
            f"{verb} {begun['designs']:,} designs of the {begun['rows']:,} rows of "
            f"{call.warm_start}"
        )
    manifest |= {
        "command": spelled(call.command),
        "sampler": {"asked": choice.asked, "used": choice.used, "why": choice.why},
        "batch": batch,
        "islands": islands,
        "budget": choice.budget,
        "accuracy": sources.record,
    }
    kept = ("merged", *runs.snapshot.RENEWED)  # of the front files that are there
    manifest |= {key: old[key] for key in kept if old is not None and key in old}
    reference = prepare.reference_of(problem, looked.outcome, old)
    ready = sources.ready(problem)
    return Settled(ready, choice, batch, islands, reference, manifest, notes, first)


def _identity(space: Space, call: SearchCall) -> dict[str, Any]:
    """What makes a run another one."""
    description = describe(space)
    return {
        "space": description,
        "space_sha256": digest(description),
        "simulator": runs.manifest.simulator(),
        "seed": call.seed,
        "storage": None if call.where is None else call.where.shown,
    }


def _asked(call: SearchCall, old: Mapping[str, Any] | None, folder: Path) -> Request:
    """What is asked for; with a storage one design at a time, of one of Optuna's samplers.

    Raises InputError for other samplers, and where the run in the folder was made otherwise.
    """
    where, asked = call.where, call.asked
    if old is not None and (old.get("storage") is None) != (where is None):
        there = old.get("storage") or "nothing"
        raise InputError(
            f"holds another run\n  storage: {there} there, {where.shown if where else 'nothing'} "
            "asked for",
            file=folder,
            hint="--fresh replaces it; or choose another --out",
        )
    if where is None:
        return asked
    name = "tpe" if asked.sampler == "auto" and old is None else asked.sampler
    if name not in ("auto", *BUILT_IN) and ":" not in name:
        raise InputError(
            "works with Optuna's samplers",
            field="--storage",
            value=name,
            allowed=("auto", *BUILT_IN, "module:Class"),
        )
    return replace(asked, sampler=name, batch=1)


def _first(
    problem: Problem,
    call: SearchCall,
    choice: engines.Choice,
    old: Mapping[str, Any] | None,
    folder: Path,
) -> tuple[np.ndarray | None, dict[str, Any] | None]:
    """(W, S) designs to begin with, of a table or of the run that goes on, and their record."""
    if call.warm_start is None:
        if old is None:
            return None, None
        return warm.kept(folder, problem.space), old.get("warm_start")
    warm.check(choice)
    first, rows = warm.designs(problem.space, call.warm_start)
    record = {"file": spelled(Path(call.warm_start).name), "rows": rows, "designs": len(first)}
    return first, record
