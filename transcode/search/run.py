"""A search in progress: an engine suggests, the simulator answers, the archive keeps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elector.base.errors import EvaluationError, InputError
from elector.base.paths import is_machines, words
from elector.base.signals import Interrupts
from transcode import engines, pareto, runs
from transcode.engines.evolve.islands import Found
from transcode.engines.streams import LARGEST_ENUMERATION
from transcode.objective import Outcome, Problem, Rejections
from transcode.pareto import Archive
from transcode.runs.files import Claim
from transcode.search import study
from transcode.search.workers import Crew
from transcode.space import Space

if TYPE_CHECKING:
    import pandas as pd

#: Engines that suggest within milliseconds.
_PROMPT = (engines.Evolve, engines.streams.Stream)
#: Seconds between two looks at the hypervolume, and between two checkpoints, at least.
_LOOK, _CHECKPOINT = 1.0, 30.0
#: Looks and checkpoints each take at most this share of the time.
_SHARE = 0.05


class Interrupted(KeyboardInterrupt):
    """A search was interrupted; everything committed lies in `folder`, ready to go on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.folder = folder


@dataclass(frozen=True)
class Progress:
    """Where a search stands.

    designs : evaluated so far, earlier sessions included; expected : in the end, if known.
    rate : designs a second, this session.
    hypervolume : None before there is a reference point. exact : whether it is of every point.
    left : seconds to go, as far as can be said.
    """

    designs: int
    expected: int | None
    feasible: int
    front: int
    hypervolume: float | None
    exact: bool
    rate: float
    seconds: float
    left: float | None
    finished: bool = False


@dataclass(frozen=True, repr=False)
class Result:
    """A finished or interrupted search.

    front : the non-dominated feasible designs, sorted by the first objective.
    """

    folder: Path
    space: Space
    front: Archive
    manifest: dict[str, Any]
    rejections: Rejections
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        designs = self.manifest.get("designs", 0)
        return f"<search of {self.space.name}: front of {len(self.front)}, {designs:,} designs>"

    @property
    def frame(self) -> pd.DataFrame:
        """front.csv as a pandas DataFrame."""
        import pandas as pd

        return pd.read_csv(self.folder / "front.csv")


@dataclass
class Run:
    """A search in progress."""

    problem: Problem
    folder: Path
    engine: engines.Engine
    crew: Crew
    batch: int
    budget: int | None
    time: float | None
    reference: np.ndarray | None
    manifest: dict[str, Any]
    clock: Callable[[], float]
    started: float
    number: int = 0
    designs: int = 0
    before: int = 0
    feasible: int = 0
    stall: tuple[float, int] | None = None
    volumes: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rejections: Rejections = field(default_factory=Rejections)
    timing: dict[str, float] = field(default_factory=dict)
    look: float = -np.inf
    saved: float = 0.0
    begun: float = 0.0
    wait: float = _CHECKPOINT
    volume: tuple[float | None, bool] = (None, True)
    unwritten: runs.Batch | None = None  # the last batch, until the next one is under way
    arrivals: Callable[[], Iterable[tuple[np.ndarray, Outcome]]] = tuple  # from other processes
    claim: Claim | None = None  # of the folder
    interrupts: Interrupts = field(default_factory=Interrupts)

    def __post_init__(self) -> None:
        space = self.problem.space
        self.archive = Archive.empty(
            len(space.parameters), len(space.objectives), self.problem.result_names
        )
        if isinstance(self.engine, engines.Evolve):  # whoever the crew will be
            self.engine.apart = lambda *asked: self.crew.apart(*asked)
        limits = [n for n in (self.budget, space.allowed_count) if n is not None]
        self.expected = min((n for n in limits if n <= LARGEST_ENUMERATION), default=None)

    def go(self, progress: Callable[[Progress], None] | None) -> Result:
        """Takes over what there is, and goes on until there is a reason to stop."""
        try:
            self.safely(lambda: self._whole(progress))
        except KeyboardInterrupt:
            raise Interrupted(self.folder) from None
        finally:
            self.crew.close()
        if progress is not None:
            progress(self._progress(finished=True))
        return Result(
            self.folder,
            self.problem.space,
            self.archive.sorted(),
            self.manifest,
            self.rejections,
            tuple(self.notes),
        )

    def safely(self, work: Callable[[], None]) -> None:
        """Does work that writes; a full disk ends the search with what is safe."""
        try:
            work()
        except InputError as error:  # a design that none of the first look was like
            raise error.at(file=self.problem.space.source) from None
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise EvaluationError(
                f"{self.folder}: cannot be written: {reason}; "
                f"{self.number} batches are safe, the same command goes on from there"
            ) from None

    def _whole(self, progress: Callable[[Progress], None] | None) -> None:
        self._recover()
        self.save_manifest("running")
        self._loop(progress)

    def _loop(self, progress: Callable[[Progress], None] | None) -> None:
        self.saved = self.begun = self.clock()
        status = "interrupted"
        try:
            while not (reason := self._reason_to_stop()):
                self._step()
                self.interrupts.check()
                if progress is not None:
                    progress(self._progress())
                if self.clock() - self.saved > self.wait:
                    self._write()
                    self.checkpoint("running")
            self._take_arrivals()
            status = f"finished: {reason}"
        finally:
            self._write()
            self.interrupts.settled()  # a further signal costs the front only
            self.checkpoint(status)
        self._require_whole()

    def _recover(self) -> None:
        """Takes over the whole parts of the folder; what comes after a cut one is set aside."""
        designs = self.folder / "designs"
        for found in runs.parts.read_all(designs):
            space = self.problem.space
            codes = space.encode(dict(found.columns))
            outcome = self.problem.judge(space.decode(codes), dict(found.results), found.reasons)
            self._keep(codes, outcome)
            self.engine.resume(engines.Finished(codes, outcome, dict(found.state)))
            self.number = found.number + 1
        hidden, unfinished = runs.parts.set_aside(designs, self.number)
        if unfinished:
            self.notes.append(f"{unfinished} unfinished part file(s) removed")
        if hidden:
            self.notes.append(
                f"{hidden[0]} is not whole: going on from batch {self.number} "
                f"({self.designs:,} designs); {len(hidden)} part(s) set aside"
            )
        self.before = self.designs

    def _reason_to_stop(self) -> str:
        if self.budget is not None and self.designs >= self.budget:
            return "budget reached"
        # The first look takes time, too; a session without a single batch would help nobody.
        some = self.designs > self.before
        if self.time is not None and some and self.clock() - self.started >= self.time:
            return "time reached"
        if self.engine.exhausted:
            return "every design looked at" if self.designs == self.expected else "nothing new"
        if self.stall is not None and len(self.volumes) > self.stall[1]:
            share, batches = self.stall
            now, before = self.volumes[-1], self.volumes[-1 - batches]
            if 0 < now <= before * (1 + share):
                return f"hypervolume gained less than {share:g} over {batches} batches"
        return ""

    def _step(self) -> None:
        """One batch or round: suggested, evaluated, learnt from, committed, kept."""
        if self._take_arrivals() and self._reason_to_stop():
            return
        left = None if self.budget is None else self.budget - self.designs
        if isinstance(self.engine, engines.Evolve):
            with self._timed("islands"):
                found = self._round(self.engine, left)
            if found is not None:
                self._record(found.codes, found.outcome, found.hopeful)
                return
        with self._timed("sampler"):
            codes = self.engine.suggest(self.batch if left is None else min(self.batch, left))
        with self._timed("evaluation"):
            outcome = self.crew.assess(codes, self._write)
        with self._timed("sampler"):
            self.engine.update(codes, outcome)
        self._record(codes, outcome)

    def _round(self, engine: engines.Evolve, left: int | None) -> Found | None:
        """A round of the islands; None where the generation is too small for them."""
        tasks = engine.tasks(self.batch * engine.islands if left is None else left)
        if not tasks:
            return None
        found = self.crew.rounds(tasks, self._write)
        engine.bring_in(tasks, found)
        return found

    def _record(
        self, codes: np.ndarray, outcome: Outcome, hopeful: np.ndarray | None = None
    ) -> None:
        with self.interrupts.whole():
            self._commit(codes, outcome)
            with self._timed("archive"):
                self._keep(codes, outcome, hopeful)
        # While an engine thinks long, a batch must not wait to be written.
        if not (self.crew.many and isinstance(self.engine, _PROMPT)):
            self._write()

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        begin = self.clock()
        yield
        self.timing[part] = self.timing.get(part, 0.0) + self.clock() - begin

    def _take_arrivals(self) -> bool:
        """Whether other processes on the same study had designs to take over."""
        before = self.designs
        for codes, outcome in self.arrivals():
            self.take_over(codes, outcome)
        return self.designs > before

    def take_over(self, codes: np.ndarray, outcome: Outcome) -> None:
        """Records and keeps designs that were evaluated elsewhere."""
        with self.interrupts.whole():
            self._commit(codes, outcome)
            self._write()
            self._keep(codes, outcome)

    def _keep(self, codes: np.ndarray, outcome: Outcome, hopeful: np.ndarray | None = None) -> None:
        """The archive, the counts and the reference point after a batch.

        hopeful : (D,) bool; what is False there is known to be beaten.
        """
        rows = np.flatnonzero(outcome.feasible if hopeful is None else outcome.feasible & hopeful)
        ids = np.arange(self.designs, self.designs + len(codes), dtype=np.int64)
        results = {name: outcome.results[name] for name in self.problem.result_names}
        self.archive = self.archive.add(Archive(ids, codes, outcome.objectives, results).take(rows))
        self.rejections.add(codes, outcome)
        self.designs += len(codes)
        self.feasible += int(outcome.feasible.sum())
        if self.reference is None and len(rows):
            self.reference = pareto.reference_point(outcome.objectives[outcome.feasible])
        if self.stall is not None and self.reference is not None:
            self.volumes.append(pareto.live_hypervolume(self.archive.objectives, self.reference)[0])

    def _commit(self, codes: np.ndarray, outcome: Outcome) -> None:
        """Makes the batch ready to be written: at once, or while the next is evaluated."""
        self._write()
        space = self.problem.space
        names = dict.fromkeys(["model", "accelerator", *space.varied])
        self.unwritten = runs.Batch(
            number=self.number,
            first_id=self.designs,
            columns={name: space.column(name, codes) for name in names},
            results={name: outcome.results[name] for name in self.problem.result_names},
            feasible=outcome.feasible,
            reasons=outcome.reasons,
            state=self.engine.state(),
        )

    def _write(self) -> None:
        """Writes what is ready: from then on it survives whatever happens to the process."""
        if self.unwritten is None:
            return
        with self.interrupts.whole():
            self._require()
            with self._timed("recording"):
                runs.parts.write(self.folder / "designs", self.unwritten)
            self.unwritten = None
            self.number += 1

    def _progress(self, finished: bool = False) -> Progress:
        now = self.clock()
        if (now >= self.look or finished) and self.reference is not None:
            self.volume = pareto.live_hypervolume(self.archive.objectives, self.reference)
            self.look = self.clock() + max(_LOOK, (self.clock() - now) / _SHARE)
        seconds = now - self.started
        rate = (self.designs - self.before) / max(now - self.begun, 1e-9)
        left = [] if self.time is None else [max(self.time - seconds, 0.0)]
        if self.expected is not None and rate > 0:
            left.append((self.expected - self.designs) / rate)
        volume, exact = self.volume
        return Progress(
            designs=self.designs,
            expected=self.expected,
            feasible=self.feasible,
            front=len(self.archive),
            hypervolume=volume,
            exact=exact,
            rate=rate,
            seconds=seconds,
            left=min(left, default=None),
            finished=finished,
        )

    def save_manifest(self, status: str) -> None:
        """Writes the manifest as it stands; what a checkpoint says of the front stays."""
        self.manifest |= {
            "reference_point": self._reference(),
            "status": status,
            "designs": self.designs,
            "feasible": self.feasible,
            "timing": {
                "session": self.clock() - self.started,
                "session_designs": self.designs - self.before,
                **self.timing,
            },
        }
        runs.manifest.write(self.folder, self.manifest)

    def checkpoint(self, status: str) -> None:
        """Writes front, study and manifest of what is committed; the manifest says so last.

        At the end of a search the study and the uniting of parts may fail on a full disk: front,
        parts and manifest are complete without them.
        """
        begin = self.clock()
        self._require()
        front = self.archive.sorted()
        volume = None
        if self.reference is not None:
            volume = pareto.hypervolume(front.objectives, self.reference)
        figures = {
            runs.snapshot.CHECKPOINT: self.designs,
            "hypervolume": volume,
            "front": len(front),
        }
        known = {**self.manifest, **figures, "reference_point": self._reference()}
        header = {key: known[key] for key in runs.front.HEADER}
        runs.front.write(self.folder, self.problem.space, front, header)
        with self._spared(status != "running", "part files were not united"):
            runs.parts.compact(self.folder / "designs")
        with self._spared(status != "running", "study.log was not written"):
            study.write(self.folder, self.problem, self.engine, front, known)
        self.manifest |= figures
        self.save_manifest(status)
        self.saved = self.clock()
        self.wait = max(_CHECKPOINT, (self.saved - begin) / _SHARE)

    def _reference(self) -> dict[str, float] | None:
        """The reference point by objective, in the user's directions; None before there is one."""
        if self.reference is None:
            return None
        names = [o.name for o in self.problem.space.objectives]
        return dict(zip(names, (self.reference * self.problem.signs).tolist(), strict=True))

    @contextmanager
    def _spared(self, last: bool, lost: str) -> Iterator[None]:
        """Work that the last checkpoint can do without: a full disk leaves a note."""
        try:
            yield
        except OSError as error:
            if not (last and is_machines(error)):
                raise
            self.notes.append(f"{lost}: {words(error)}")

    def _require(self) -> None:
        """Raises EvaluationError where the folder was taken away under the search."""
        if self.claim is not None:
            self.claim.require()

    def _require_whole(self) -> None:
        """Raises EvaluationError where recorded designs were taken away under the search."""
        left, flaw = runs.parts.survey(self.folder / "designs")
        if left != self.designs or flaw is not None:
            raise EvaluationError(
                f"{self.folder}: {self.designs - left:,} of {self.designs:,} recorded designs are "
                f"gone: {flaw or 'files'} were removed while the search was running; "
                "the same command goes on from what is left"
            )
