"""Several runs of one space made one: what an array of batch jobs ends with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from elector.base.errors import InputError
from elector.base.signals import gentle
from transcode import objective, runs
from transcode.engines.base import Engine, Finished, Seen
from transcode.objective import Columns, Costs, Outcome, Problem
from transcode.runs import query
from transcode.runs.files import Claim
from transcode.search.record import SearchRecord
from transcode.search.run import Limits, Result, SearchRun
from transcode.search.state import SearchState
from transcode.search.timers import Timers
from transcode.search.workers import Crew

_SAME = ("space_sha256", "simulator", "reference_point")


class _Done(Engine):
    """An engine that has nothing left to propose."""

    @property
    def exhausted(self) -> bool:
        return True

    def suggest(self, count: int) -> np.ndarray:
        raise AssertionError(count)  # a merged run is not searched further

    def update(self, codes: np.ndarray, outcome: Outcome) -> None:
        """Nothing to learn."""

    def state(self) -> dict[str, object]:
        return {}

    def resume(self, batch: Finished) -> None:
        """Nothing to learn."""


def merge(folders: Sequence[Path], out: Path) -> Result:
    """Writes the designs of several runs, each once, and their common front into `out`.

    The runs may still be searched: what is committed is merged. Raises InputError for runs that
    do not go together and for an `out` that holds one, EvaluationError where one has committed
    nothing yet; `out` is then, and after an interrupt, as it was.

    folders : of the runs.
    """
    for _ in range(query.TRIES):
        try:
            with gentle(), runs.claimed(out) as claim:
                return _merged(folders, claim)
        except query.PartFileMoved as error:  # a running search united parts while they were read
            moved = error
    raise moved


def _merged(folders: Sequence[Path], claim: Claim) -> Result:
    opened = [query.opened(folder) for folder in folders]
    for other in opened:
        _require_alike(opened[0], other)
    _require_empty(claim.folder)
    run, new = _run(opened, claim.folder), not claim.held
    claim.begin("designs")
    if new:
        _require_empty(claim.folder)
    try:
        runs.manifest.clear(claim.folder)  # of what was not merged to the end
        run.safely(
            lambda: _fill(run, opened), "nothing of it is kept, and the runs are as they were"
        )
    except BaseException:
        runs.manifest.clear(claim.folder)
        if new:
            claim.undo("designs")
        raise
    return run.result()


def _fill(run: SearchRun, opened: Sequence[query.Recorded]) -> None:
    """Takes over the designs of all runs, each once."""
    seen, problem = Seen(), run.state.problem
    space = problem.space
    run.record.save(run.state, "running")
    for recorded in opened:
        designs, folder, number = _require_whole(recorded), recorded.folder / "designs", 0
        for batch in runs.parts.read_all(folder, problem.recorded_names):
            designs, number = designs - len(batch), batch.number + 1
            codes = space.encode(batch.columns)
            keys = space.key(codes)
            rows = np.flatnonzero(seen.new(keys))
            seen.add(keys[rows])
            results = {n: v[rows] for n, v in batch.results.items()}
            reasons = batch.reasons.take(rows)
            outcome = problem.judge(space.lazily(codes[rows]), results, reasons)
            run.take_over(codes[rows], outcome)
        if designs > 0:  # the last part read is the last whole one
            raise query.broken(runs.parts.path_of(folder, number))
    run.checkpoint("finished: merged")


def _require_alike(first: query.Recorded, other: query.Recorded) -> None:
    for key in _SAME:
        if other.manifest.get(key) != first.manifest.get(key):
            what = key.removesuffix("_sha256")
            sides = (f"in {first.folder}", f"in {other.folder}")
            told = runs.manifest.differing((what,), first.manifest, other.manifest, sides)
            said = f"has another {what.replace('_', ' ')} than {first.folder}{told}"
            raise InputError(said, file=other.folder)
    _require_whole(other)


def _require_empty(out: Path) -> None:
    """Refuses a folder that holds a run, but for one that was not merged to the end."""
    there = runs.manifest.read(out)
    unfinished = there is not None and there["sampler"]["used"] == "merge"
    if there is not None and not (unfinished and there.get("status") == "running"):
        raise InputError("holds a run already", file=out, field="--out")


def _require_whole(recorded: query.Recorded) -> int:
    """How many designs a run has, by the ends of its parts. Refuses one of which designs are lost:
    a merged run would not say so."""
    designs, flaw = runs.parts.survey(recorded.folder / "designs")
    if flaw is not None:
        raise query.broken(flaw)
    return designs


def _run(opened: list[query.Recorded], out: Path) -> SearchRun:
    first = opened[0]
    define = {n: made for n, made in first.space.define.items() if n in first.results}
    measured = [name for name in first.results if name not in define]
    # What is defined and nobody asked for may be of results that were not recorded.
    space = objective.bound(replace(first.space, define=define), measured)
    problem = Problem(space, _nothing)
    given = first.manifest.get("reference_point")
    names = [o.name for o in space.objectives]
    merged = [
        {"run": r.folder.name, "seed": r.manifest["seed"], "designs": r.designs} for r in opened
    ]
    renewed = runs.snapshot.RENEWED
    kept = {key: value for key, value in first.manifest.items() if key not in renewed}
    manifest: dict[str, Any] = kept | {
        "sampler": {"asked": "merge", "used": "merge", "why": f"{len(opened)} runs made one"},
        "merged": merged,
        "budget": None,
        "warm_start": None,
    }
    if given is not None and not set(names) <= set(given):
        raise InputError(
            "names other objectives than the space",
            file=first.folder / "manifest.json",
            field="reference_point",
        )
    reference = None if given is None else np.array([given[n] for n in names]) * problem.signs
    timers = Timers(time.perf_counter, time.perf_counter())
    record = SearchRecord(problem, out, manifest, timers)
    return SearchRun(
        _Done(), Crew(problem, 1), SearchState(problem, reference), record, Limits(), batch=0
    )


def _nothing(columns: Columns, size: int) -> Costs:
    raise AssertionError(size)  # everything was evaluated before
