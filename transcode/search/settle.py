"""A call of `search` and what its folder holds -> the run that begins, or goes on, there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transcode import engines, runs
from transcode.objective import Outcome, Problem
from transcode.runs.storage import Address
from transcode.search import prepare, shared, warm, workers
from transcode.search.prepare import Asked, Sources
from transcode.search.run import Run
from transcode.space import Space, describe, digest


@dataclass(frozen=True)
class Call:
    """What the user asked for.

    where : the storage. stall : share of the hypervolume, and batches. started : by `clock` [s].
    """

    asked: Asked
    seed: int
    jobs: int
    warm_start: str | Path | None
    where: Address | None
    command: str
    stall: tuple[float, int] | None
    clock: Callable[[], float]
    started: float


@dataclass(frozen=True)
class Looked:
    """A space as it was read, and what a first look at some designs said of it."""

    space: Space
    sources: Sources
    problem: Problem
    outcome: Outcome


def run_of(looked: Looked, call: Call, folder: Path, fresh: bool) -> tuple[Run, np.ndarray | None]:
    """The run, and the (W, S) designs it was told to begin with.

    Raises InputError where the folder holds another run.
    """
    manifest = _identity(looked.space, call)
    old = None if fresh else runs.manifest.read(folder)
    if old is not None:
        runs.manifest.refuse_other(folder, old, manifest)
    asked = shared.settled(call.where, call.asked, old, folder)
    problem, sources = looked.problem, looked.sources
    choice, batch, islands = prepare.choice_of(
        asked, problem, old, folder, call.clock, sources.seconds
    )
    reference = prepare.reference_of(problem, looked.outcome, old)
    manifest["versions"] = runs.manifest.versions()
    notes = [] if old is None else runs.manifest.other_libraries(old, manifest)
    notes += prepare.pruning_notes(looked.space)
    first, manifest["warm_start"] = _first(problem, call, choice, old, folder)
    if call.warm_start is not None:
        begun = manifest["warm_start"]
        notes.append(
            f"begins with {begun['designs']:,} designs of the {begun['rows']:,} rows of "
            f"{call.warm_start}"
        )
    manifest |= {
        "command": call.command,
        "sampler": {"asked": choice.asked, "used": choice.used, "why": choice.why},
        "batch": batch,
        "islands": islands,
        "budget": choice.budget,
        "accuracy": sources.record,
    }
    kept = ("merged", *runs.snapshot.RENEWED)  # of the front files that are there
    manifest |= {key: old[key] for key in kept if old is not None and key in old}
    fallback = prepare.fallback_of(problem, reference)
    problem = sources.ready(problem)
    run = Run(
        problem=problem,
        folder=folder,
        engine=engines.make(choice.used, problem, call.seed, batch, fallback, first, islands),
        crew=workers.Crew(problem, call.jobs),
        batch=batch,
        budget=choice.budget,
        time=call.asked.time,
        reference=reference,
        manifest=manifest,
        clock=call.clock,
        started=call.started,
        notes=notes,
        stall=call.stall,
    )
    return run, first


def _identity(space: Space, call: Call) -> dict[str, Any]:
    """What makes a run another one."""
    description = describe(space)
    return {
        "space": description,
        "space_sha256": digest(description),
        "simulator": runs.manifest.simulator(),
        "seed": call.seed,
        "storage": None if call.where is None else call.where.shown,
    }


def _first(
    problem: Problem,
    call: Call,
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
    record = {"file": Path(call.warm_start).name, "rows": rows, "designs": len(first)}
    return first, record
