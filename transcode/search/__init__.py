"""The one loop: an engine suggests, the simulator answers, the archive keeps, the folder records.

In come a space and a budget, out comes the front of a run. `search` refuses what is wrong before
anything is written, and continues the run it finds in the folder. How designs are proposed is not
decided here: a new sampler is an engine.
"""

from __future__ import annotations

import time as clocks
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from elector.base import arguments, units
from elector.base.errors import InputError
from elector.base.signals import Interrupts, gentle
from elector.studies.uncertainty import Sampling
from transcode import engines, runs
from transcode.objective import Evaluator
from transcode.runs import intervals, neighbours
from transcode.runs.files import Claim
from transcode.runs.manifest import MOST_ISLANDS
from transcode.runs.storage import Address
from transcode.search import cluster as machines
from transcode.search import prepare, settle, shared, warm
from transcode.search.prepare import Request
from transcode.search.progress import Progress
from transcode.search.record import SearchRecord
from transcode.search.run import Interrupted, Limits, Result, SearchRun
from transcode.search.settle import Looked, SearchCall
from transcode.search.state import SearchState
from transcode.search.timers import Timers
from transcode.space import Space, load

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
    uncertainty: bool = False,
    samples: int = 1000,
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
    uncertainty : also give the final front 90 % intervals, NAME_low and NAME_high of each result,
        and front.json which neighbours cannot be told apart. samples : draws behind them, from
        `seed`.
    progress : called after each batch.

    Raises InputError for anything wrong with the input, before anything is written. On
    KeyboardInterrupt the run is left complete up to its last batch, and Interrupted (which is
    one, too) goes on.

    command : what the manifest says the run was started with.
    """
    timers = Timers(clock, clock())
    seed, jobs = _whole("seed", seed, 0), _whole("jobs", jobs, 0)
    fresh, drawn = arguments.flag(fresh, "--fresh"), arguments.flag(uncertainty, "--uncertainty")
    sampling = _sampling(evaluator, samples, seed) if drawn else None
    asked = _request(sampler, budget, time, batch, islands)
    given = _share(stall, stall_batches)
    out, warm_start = _path("--out", out), _path("--warm-start", warm_start)
    where, scheduler, command = _elsewhere(storage, cluster, command)
    read = load(space)
    folder = Path(out) if out is not None else Path("results") / read.name
    call = SearchCall(asked, seed, jobs, fresh, warm_start, where, command, given, timers, sampling)
    arguments.require_function(evaluator, "evaluator")
    arguments.require_function(progress, "progress")
    looked = _looked(read, evaluator, call, folder)
    with gentle() as interrupts, runs.claimed(folder) as claim:
        return _searched(looked, call, SearchPlace(claim, interrupts, scheduler), progress)


def _request(
    sampler: str,
    budget: int | None,
    time: float | str | None,
    batch: int | None,
    islands: int | None,
) -> Request:
    """What is asked of a sampler, each looked at."""
    asked = Request(
        arguments.text(sampler, "--sampler"),
        _whole_or_none("budget", budget),
        _seconds(time),
        _whole_or_none("batch", batch),
        _whole_or_none("islands", islands, MOST_ISLANDS),
    )
    engines.check(asked.sampler)
    return asked


def _path(option: str, value: str | Path | None) -> str | None:
    return None if value is None else arguments.path(value, option)


def _looked(space: Space, evaluator: Evaluator | None, call: SearchCall, folder: Path) -> Looked:
    """A first look at designs of the space."""
    timers = call.timers
    with timers.of("first look"):
        sources = prepare.sources_of(space, evaluator, call.jobs, folder)
        return Looked(space, sources, *prepare.probe(space, sources, timers.clock))


@dataclass(frozen=True)
class SearchPlace:
    """Where a search works: its folder, the signals that reach it, its scheduler if any."""

    claim: Claim
    interrupts: Interrupts
    scheduler: str | None


def _searched(
    looked: Looked,
    call: SearchCall,
    place: SearchPlace,
    progress: Callable[[Progress], None] | None,
) -> Result:
    """Settles what the run is, begins it, and goes through with it."""
    claim, timers = place.claim, call.timers
    with timers.of("first look"):
        settled = settle.settled(looked, call, claim.folder)
    problem, choice = settled.problem, settled.choice
    state = SearchState(problem, settled.reference, watched=call.stall is not None)
    record = SearchRecord(
        problem, claim.folder, settled.manifest, timers, place.interrupts, claim, settled.notes
    )
    limits = Limits(choice.budget, call.asked.time, call.stall)
    with (
        shared.engine_of(call.where, settled) as engine,
        machines.crew_of(place.scheduler, problem, call.jobs) as crew,
    ):
        _begin(claim, call.fresh)
        run = SearchRun(engine, crew, state, record, limits, settled.batch)
        first = settled.first
        if first is not None:
            run.safely(lambda: warm.keep(claim.folder, first))
        return _with_intervals(run.go(progress), call.sampling)


def _sampling(evaluator: Evaluator | None, samples: int, seed: int) -> Sampling:
    """What intervals are drawn with: constants are known of our own simulator only."""
    if evaluator is not None:
        raise InputError(
            "draws the constants of this simulator, and an evaluator of your own has none",
            field="--uncertainty",
        )
    return Sampling.of(None, samples, seed)


def _with_intervals(result: Result, sampling: Sampling | None) -> Result:
    """The result with the intervals of its front, where asked for; the front files get them."""
    if sampling is None or not len(result.front):
        return result
    archive = intervals.with_intervals(result.space, result.front, sampling)
    told = neighbours.compare(result.space, result.front, sampling).told()
    header = {key: result.manifest[key] for key in runs.front.HEADER}
    runs.front.write(result.folder, result.space, archive, header | {runs.front.UNCERTAINTY: told})
    return replace(result, front=archive)


def _elsewhere(
    storage: str | None, cluster: str | None, command: str
) -> tuple[Address | None, str | None, str]:
    """The storage and the scheduler, checked, and the command without a password; a search works
    with one of them at most."""
    where = None if storage is None else runs.storage.given(arguments.text(storage, "--storage"))
    scheduler = None if cluster is None else machines.checked(arguments.text(cluster, "--cluster"))
    if where is not None and scheduler is not None:
        raise InputError(
            "does not go with --storage: start a process for each machine", field="--cluster"
        )
    return (
        where,
        scheduler,
        command if where is None else command.replace(str(storage), where.shown),
    )


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


def _whole(name: str, value: object, least: int = 1, most: int | None = None) -> int:
    """A whole number from `least` up, to `most` if there is one, and of 63 bits, as whoever reads
    a manifest can hold; else InputError.

    name : of the argument. value : as it was handed in.
    """
    number = arguments.whole(value)
    if number is None or not least <= number <= (arguments.MOST if most is None else most):
        option = "--" + name.replace("_", "-")
        large = number is not None and number > arguments.MOST
        upto = "up" if most is None and not large else f"to {most or arguments.MOST:,}"
        said = f"must be a whole number from {least} {upto}"
        raise InputError(said, field=option, value=value)
    return number


def _whole_or_none(name: str, value: object, most: int | None = None) -> int | None:
    """As `_whole` from 1 up; None where it was left open."""
    return None if value is None else _whole(name, value, most=most)


def _seconds(time: float | str | None) -> float | None:
    """A time limit [s]."""
    if time is None:
        return None
    seconds = units.parse(time, "s", field="--time")
    if seconds <= 0:
        raise InputError("must be positive", field="--time", value=time)
    return seconds


def _share(stall: float | None, batches: int) -> tuple[float, int] | None:
    """A share that so many batches have to gain."""
    batches = _whole("stall_batches", batches)
    if stall is None:
        return None
    share = arguments.number(stall)
    if share is None or not 0 <= share < 1:
        raise InputError("must be a share from 0 to below 1", field="--stall", value=stall)
    return share, batches
