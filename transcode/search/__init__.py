"""The one loop: an engine suggests, the simulator answers, the archive keeps, the folder records.

`search` reads a space, refuses what is wrong before anything is written, continues the run it
finds in the folder, and leaves the front behind.
"""

from __future__ import annotations

import time as clocks
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elector.base import units
from elector.base.errors import InputError
from transcode import engines, runs
from transcode.objective import Evaluator
from transcode.search import cluster as machines
from transcode.search import prepare, shared, warm, workers
from transcode.search.run import Interrupted, Progress, Result, Run
from transcode.space import describe, digest, load

__all__ = ["Interrupted", "Progress", "Result", "search"]


def search(
    space: str | Path | Mapping[str, object],
    *,
    sampler: str = "auto",
    budget: int | None = None,
    time: float | str | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    fresh: bool = False,
    jobs: int = 0,
    islands: int | None = None,
    batch: int | None = None,
    warm_start: str | Path | None = None,
    storage: str | None = None,
    cluster: str | None = None,
    stall: float | None = None,
    stall_batches: int = 20,
    evaluator: Evaluator | None = None,
    command: str = "",
    progress: Callable[[Progress], None] | None = None,
    clock: Callable[[], float] = clocks.perf_counter,
) -> Result:
    """Searches a space for the designs that nothing beats.

    Parameters
    ----------
    space : a file, the name of a shipped space, or the mapping such a file holds.
    sampler : see `transcode.engines.SAMPLERS`; or module:Class.
    budget : designs to evaluate, earlier sessions of the same run included.
    time : seconds of this session, or text such as "60s".
    out : run folder; results/<name of the space> by default. fresh : replace what is there.
    jobs : processes; 0 uses every processor. The front is the same.
    islands : shares of a large generation of `evolve`, 4 by default; part of what a run is.
    batch : designs proposed at once; the sampler's own default otherwise.
    warm_start : table whose designs are evaluated first: front.csv, or one of `elector sweep`.
    storage : address of a database with an Optuna study that several processes share.
    cluster : address of a Dask scheduler whose workers evaluate: loopback, or tls://.
    stall : stop when the hypervolume gained less than this share over `stall_batches` batches.
    evaluator : stands in for `elector.evaluate`.
    progress : called after each batch.

    Raises InputError for anything wrong with the input, before anything is written. On
    KeyboardInterrupt the run is left complete up to its last batch, and Interrupted (which is
    one, too) goes on.
    """
    started = clock()
    seconds = _checked(budget, time, seed, jobs, batch, stall_batches, islands)
    engines.check(sampler)
    where = None if storage is None else runs.storage.address(storage)
    scheduler = None if cluster is None else machines.checked(cluster)
    if where is not None and scheduler is not None:
        raise InputError(
            "does not go with --storage: start a process for each machine", field="--cluster"
        )
    if stall is not None and not 0 <= stall < 1:
        raise InputError("must be a share from 0 to below 1", field="--stall", value=stall)
    read = load(space)
    folder = Path(out) if out is not None else Path("results") / read.name
    sources = prepare.sources_of(read, evaluator, jobs, folder)
    problem, outcome = prepare.probe(read, sources, clock)
    description = describe(read)
    manifest: dict[str, Any] = {
        "space": description,
        "space_sha256": digest(description),
        "simulator": runs.manifest.simulator(),
        "seed": seed,
    }
    manifest["storage"] = None if where is None else where.shown
    old = None if fresh else runs.manifest.read(folder)
    if old is not None:
        runs.manifest.refuse_other(folder, old, manifest)
    wanted = prepare.Asked(sampler, budget, seconds, batch, islands)
    asked = shared.settled(where, wanted, old, folder)
    choice, batch, islands = prepare.choice_of(asked, problem, old, folder, clock, sources.seconds)
    reference = prepare.reference_of(problem, outcome, old)
    manifest["versions"] = runs.manifest.versions()
    notes = [] if old is None else runs.manifest.other_libraries(old, manifest)
    notes += prepare.pruning_notes(read)
    first = None if old is None else warm.kept(folder)
    manifest["warm_start"] = None if old is None else old.get("warm_start")
    if warm_start is not None:
        warm.check(choice)
        first, rows = warm.designs(problem.space, warm_start)
        manifest["warm_start"] = {
            "file": Path(warm_start).name,
            "rows": rows,
            "designs": len(first),
        }
        notes.append(f"begins with {len(first):,} designs of the {rows:,} rows of {warm_start}")
    if old is not None and "merged" in old:
        manifest["merged"] = old["merged"]
    manifest |= {
        "command": command if storage is None else command.replace(storage, manifest["storage"]),
        "sampler": {"asked": choice.asked, "used": choice.used, "why": choice.why},
        "batch": batch,
        "islands": islands,
        "budget": choice.budget,
        "accuracy": sources.record,
    }
    fallback = prepare.fallback_of(problem, reference)
    problem = sources.ready(problem)
    run = Run(
        problem=problem,
        folder=folder,
        engine=engines.make(choice.used, problem, seed, batch, fallback, first, islands),
        crew=workers.Crew(problem, jobs),
        batch=batch,
        budget=choice.budget,
        time=seconds,
        reference=reference,
        manifest=manifest,
        clock=clock,
        started=started,
        notes=notes,
        stall=None if stall is None else (stall, stall_batches),
    )
    with (
        shared.joined(where, run, choice.used, fallback),
        machines.joined(scheduler, run, jobs),
        _opened(folder, fresh),
    ):
        if first is not None:
            run.safely(lambda: warm.keep(folder, first))
        return run.go(progress)


def _checked(
    budget: int | None,
    time: float | str | None,
    seed: int,
    jobs: int,
    batch: int | None,
    stall_batches: int,
    islands: int | None,
) -> float | None:
    """Refuses numbers without meaning; returns the time limit in seconds."""
    for name, value, least in (
        ("--budget", budget, 1),
        ("--seed", seed, 0),
        ("--jobs", jobs, 0),
        ("--batch", batch, 1),
        ("--stall-batches", stall_batches, 1),
        ("--islands", islands, 1),
    ):
        if value is not None and (not isinstance(value, int) or value < least):
            raise InputError(f"must be a whole number from {least} up", field=name, value=value)
    if time is None:
        return None
    seconds = units.parse(time, "s", field="--time")
    if seconds <= 0:
        raise InputError("must be positive", field="--time", value=time)
    return seconds


@contextmanager
def _opened(folder: Path, fresh: bool) -> Iterator[None]:
    """Makes and holds the run folder; `fresh` empties it of an earlier run."""
    try:
        (folder / "designs").mkdir(parents=True, exist_ok=True)
        (folder / ".lock").touch()
    except OSError as error:
        raise InputError(
            f"cannot be written: {error.strerror or error}", file=folder, field="--out"
        ) from None
    with runs.locked(folder):
        if fresh:
            runs.manifest.clear(folder)
        yield
