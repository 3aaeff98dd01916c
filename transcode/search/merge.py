"""Several runs of one space made one: what an array of batch jobs ends with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from elector.base.errors import InputError
from transcode import objective, runs
from transcode.engines.base import Finished, Seen
from transcode.objective import Columns, Costs, Outcome, Problem
from transcode.runs import query
from transcode.search.run import Result, Run
from transcode.search.workers import Crew

_SAME = ("space_sha256", "simulator", "reference_point")


class _Done:
    """An engine that has nothing left to propose."""

    exhausted = True

    def suggest(self, count: int) -> np.ndarray:
        raise AssertionError(count)  # a merged run is not searched further

    def update(self, codes: np.ndarray, outcome: Outcome) -> None:
        """Nothing to learn."""

    def state(self) -> dict[str, object]:
        return {}

    def study_trials(self) -> None:
        return None

    def resume(self, batch: Finished) -> None:
        """Nothing to learn."""


def merge(folders: Sequence[Path], out: Path) -> Result:
    """Writes the designs of several runs, each once, and their common front into `out`."""
    opened = [query.opened(folder) for folder in folders]
    first = opened[0]
    for other in opened:
        for key in _SAME:
            if other.manifest[key] != first.manifest[key]:
                raise InputError(
                    f"has another {key.replace('_', ' ')} than {first.folder}", file=other.folder
                )
        _require_whole(other)
    if runs.manifest.read(out) is not None:
        raise InputError("holds a run already", file=out, field="--out")
    run = _run(opened, out)
    (out / "designs").mkdir(parents=True, exist_ok=True)
    seen, space = Seen(), run.problem.space
    with runs.locked(out):
        run.save_manifest("running")
        for recorded in opened:
            for batch in runs.parts.read_all(recorded.folder / "designs"):
                codes = space.encode(dict(batch.columns))
                keys = space.key(codes)
                rows = np.flatnonzero(seen.new(keys))
                seen.add(keys[rows])
                results = {n: v[rows] for n, v in batch.results.items()}
                outcome = run.problem.judge(
                    space.decode(codes[rows]), results, batch.reasons.take(rows)
                )
                run.take_over(codes[rows], outcome)
        run.checkpoint("finished: merged")
    return Result(out, space, run.archive.sorted(), run.manifest, run.rejections)


def _require_whole(recorded: query.Recorded) -> None:
    """Refuses a run of which designs are lost: a merged run would not say so."""
    _, flaw = runs.parts.survey(recorded.folder / "designs")
    if flaw is not None:
        raise query.broken(flaw)


def _run(opened: list[query.Recorded], out: Path) -> Run:
    first = opened[0]
    space = objective.bound(first.space, list(first.results))
    problem = Problem(space, _nothing)
    given = first.manifest["reference_point"]
    names = [o.name for o in space.objectives]
    merged = [
        {"run": r.folder.name, "seed": r.manifest["seed"], "designs": r.manifest["designs"]}
        for r in opened
    ]
    manifest: dict[str, Any] = dict(first.manifest) | {
        "sampler": {"asked": "merge", "used": "merge", "why": f"{len(opened)} runs made one"},
        "merged": merged,
        "budget": None,
        "warm_start": None,
    }
    return Run(
        problem=problem,
        folder=out,
        engine=_Done(),
        crew=Crew(problem, 1),
        batch=0,
        budget=None,
        time=None,
        reference=None if given is None else np.array([given[n] for n in names]) * problem.signs,
        manifest=manifest,
        clock=time.perf_counter,
        started=time.perf_counter(),
    )


def _nothing(columns: Columns, size: int) -> Costs:
    raise AssertionError(size)  # everything was evaluated before
