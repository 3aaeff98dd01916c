"""The run folder of a search under way: batches as they are committed, front files, manifest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from elector.base.errors import EvaluationError
from elector.base.paths import is_machines, words
from elector.base.signals import Interrupts
from transcode import engines, pareto, runs
from transcode.objective import Outcome, Problem
from transcode.runs.files import Claim
from transcode.search import study
from transcode.search.state import SearchState
from transcode.search.timers import Timers
from transcode.search.watched import WatchedFiles


@dataclass
class SearchRecord:
    """Writes what a search found; what is committed survives whatever happens to the process.

    number : of the next part. unwritten : the last batch, until the next one is under way.
    claim : of the folder; None where nobody else can have it.
    """

    problem: Problem
    folder: Path
    manifest: dict[str, Any]
    timers: Timers
    interrupts: Interrupts = field(default_factory=Interrupts)
    claim: Claim | None = None
    notes: list[str] = field(default_factory=list)
    number: int = 0
    unwritten: runs.Batch | None = None

    def __post_init__(self) -> None:
        self.watched = WatchedFiles(self.manifest["space"].get("files", {}))

    @property
    def designs(self) -> Path:
        """The folder of the parts."""
        return self.folder / "designs"

    def recovered(self) -> Iterator[tuple[np.ndarray, Outcome, dict[str, object]]]:
        """(D, S) codes, outcome and engine state of each whole batch of the folder."""
        space = self.problem.space
        for batch in runs.parts.read_all(self.designs, self.problem.recorded_names):
            codes = space.encode(batch.columns)
            outcome = self.problem.judge(space.lazily(codes), dict(batch.results), batch.reasons)
            self.number = batch.number + 1
            yield codes, outcome, dict(batch.state)

    def set_aside(self, designs: int) -> None:
        """Hides what comes after a cut part, and says so. designs : that were recovered."""
        hidden, unfinished = runs.parts.set_aside(self.designs, self.number)
        if unfinished:
            self.notes.append(f"{unfinished} unfinished part file(s) removed")
        if hidden:
            self.notes.append(
                f"{hidden[0]} is not whole: going on from batch {self.number} "
                f"({designs:,} designs); {len(hidden)} part(s) set aside"
            )

    def commit(
        self, first: int, codes: np.ndarray, outcome: Outcome, state: dict[str, object]
    ) -> None:
        """Makes (D, S) designs ready to be written: at once, or while the next are evaluated.

        first : id of the first one. state : of the engine. Raises EvaluationError where a file that
        the designs were evaluated with is another one by now: they may be of either.
        """
        self.write()
        if (changed := self.watched.changed()) is not None:
            raise EvaluationError(
                f"{changed}: was changed while the search was running; the {first:,} designs in "
                f"{self.folder} are of the file as it was"
            )
        space = self.problem.space
        names = dict.fromkeys(["model", "accelerator", *space.varied])
        self.unwritten = runs.Batch(
            number=self.number,
            first_id=first,
            columns=space.lazily(space.pack(codes), names),
            results={name: outcome.results[name] for name in self.problem.result_names},
            feasible=outcome.feasible,
            reasons=outcome.reasons,
            state=state,
        )

    def write(self) -> None:
        """Writes what is ready: from then on it survives whatever happens to the process."""
        if self.unwritten is None:
            return
        with self.interrupts.whole():
            self.require()
            with self.timers.of("recording"):
                runs.parts.write(self.designs, self.unwritten)
            self.unwritten = None
            self.number += 1

    def save(self, state: SearchState, status: str) -> None:
        """Writes the manifest as it stands; what a checkpoint says of the front stays.

        status : running, finished, stopped ... as the manifest has it.
        """
        self.manifest |= {
            "reference_point": state.named_reference(),
            "status": status,
            "designs": state.designs,
            "feasible": state.feasible,
            "timing": {"session_designs": state.new, **self.timers.spent()},
        }
        runs.manifest.write(self.folder, self.manifest)

    def checkpoint(self, state: SearchState, engine: engines.Engine, status: str) -> None:
        """Writes front, study and manifest of what is committed; the manifest says so last.

        At the end of a search the study and the uniting of parts may fail on a full disk: front,
        parts and manifest are complete without them.

        status : as the manifest has it.
        """
        self.require()
        last = status != "running"
        with self.timers.of("front"):
            front = state.archive.sorted()
            figures = {
                runs.snapshot.CHECKPOINT: state.designs,
                "hypervolume": _hypervolume(front, state.reference),
                "front": len(front),
            }
            known = {**self.manifest, **figures, "reference_point": state.named_reference()}
            header = {key: known[key] for key in runs.front.HEADER}
            runs.front.write(self.folder, self.problem.space, front, header)
        with self.timers.of("uniting"), self._spared(last, "part files were not united"):
            runs.parts.compact(self.designs)
        with self.timers.of("study"), self._spared(last, "study.log was not written"):
            study.write(self.folder, self.problem, engine, front, known)
        self.manifest |= figures
        self.save(state, status)

    @contextmanager
    def _spared(self, last: bool, lost: str) -> Iterator[None]:
        """Work that the last checkpoint can do without: a full disk leaves a note."""
        try:
            yield
        except OSError as error:
            if not (last and is_machines(error)):
                raise
            self.notes.append(f"{lost}: {words(error)}")

    def require(self) -> None:
        """Raises EvaluationError where the folder was taken away under the search."""
        if self.claim is not None:
            self.claim.require()

    def require_whole(self, designs: int) -> None:
        """Raises EvaluationError where recorded designs were taken away under the search."""
        left, flaw = runs.parts.survey(self.designs)
        if left != designs or flaw is not None:
            raise EvaluationError(
                f"{self.folder}: {designs - left:,} of {designs:,} recorded designs are "
                f"gone: {flaw or 'files'} were removed while the search was running; "
                "the same command goes on from what is left"
            )


def _hypervolume(front: pareto.Archive, reference: np.ndarray | None) -> float | None:
    if reference is None:
        return None
    volume = pareto.hypervolume(front.objectives, reference)
    return volume if np.isfinite(volume) else None
