"""The one loop: an engine suggests, the simulator answers, the archive keeps, the folder records.

`search` reads a space, refuses what is wrong before anything is written, continues the run it
finds in the folder, and leaves the front behind.
"""

from __future__ import annotations

import time as clocks
from collections.abc import Callable, Mapping
from pathlib import Path

from elector.base import units
from elector.base.errors import InputError
from elector.base.signals import gentle
from transcode import engines, runs
from transcode.objective import Evaluator
from transcode.runs.files import Claim
from transcode.runs.storage import Address
from transcode.search import cluster as machines
from transcode.search import prepare, settle, shared, warm
from transcode.search.run import Interrupted, Progress, Result
from transcode.space import load

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
    if stall is not None and not 0 <= stall < 1:
        raise InputError("must be a share from 0 to below 1", field="--stall", value=stall)
    engines.check(sampler)
    where, scheduler = _elsewhere(storage, cluster)
    read = load(space)
    folder = Path(out) if out is not None else Path("results") / read.name
    call = settle.Call(
        asked=prepare.Asked(sampler, budget, seconds, batch, islands),
        seed=seed,
        jobs=jobs,
        warm_start=warm_start,
        where=where,
        command=command if where is None else command.replace(str(storage), where.shown),
        stall=None if stall is None else (stall, stall_batches),
        clock=clock,
        started=started,
    )
    sources = prepare.sources_of(read, evaluator, jobs, folder)
    looked = settle.Looked(read, sources, *prepare.probe(read, sources, clock))
    with gentle() as interrupts, runs.claimed(folder) as claim:
        run, first = settle.run_of(looked, call, folder, fresh)
        run.claim, run.interrupts = claim, interrupts
        with (
            shared.joined(where, run, run.manifest["sampler"]["used"]),
            machines.joined(scheduler, run, jobs),
        ):
            _begin(claim, fresh)
            if first is not None:
                run.safely(lambda: warm.keep(folder, first))
            return run.go(progress)


def _elsewhere(storage: str | None, cluster: str | None) -> tuple[Address | None, str | None]:
    """The storage and the scheduler, checked; a search works with one of them at most."""
    where = None if storage is None else runs.storage.address(storage)
    scheduler = None if cluster is None else machines.checked(cluster)
    if where is not None and scheduler is not None:
        raise InputError(
            "does not go with --storage: start a process for each machine", field="--cluster"
        )
    return where, scheduler


def _begin(claim: Claim, fresh: bool) -> None:
    """Makes the run folder, from here on ours alone; `fresh` empties it of an earlier run."""
    new = not claim.held
    claim.begin("designs")
    if fresh:
        runs.manifest.clear(claim.folder)
    elif new and runs.manifest.read(claim.folder) is not None:
        raise InputError(
            "another search began here meanwhile", file=claim.folder, hint="start it again"
        )


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
