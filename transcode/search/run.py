"""A search in progress: an engine suggests, the simulator answers, the archive keeps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elector.base.errors import EvaluationError, InputError
from transcode import engines
from transcode.engines.base import Examined
from transcode.engines.streams import LARGEST_ENUMERATION
from transcode.objective import Outcome, Rejections
from transcode.pareto import Archive
from transcode.search.progress import Meter, Progress
from transcode.search.record import SearchRecord
from transcode.search.state import SearchState
from transcode.search.threads import one_thread
from transcode.search.workers import Crew
from transcode.space import Space

if TYPE_CHECKING:
    import pandas as pd

#: Seconds between two checkpoints, at least, and the share of the time that they may take.
_CHECKPOINT, _SHARE = 30.0, 0.05


class Interrupted(KeyboardInterrupt):
    """A search was interrupted; everything committed lies in `folder`, ready to go on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.folder = folder


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


@dataclass(frozen=True)
class Limits:
    """When a search stops.

    budget : designs, earlier sessions included. time : seconds of this session. stall : share of
    the hypervolume that so many batches have to gain. Each None for no such limit.
    """

    budget: int | None = None
    time: float | None = None
    stall: tuple[float, int] | None = None

    def left(self, state: SearchState) -> int | None:
        """Designs that may still be evaluated; None for any number."""
        return None if self.budget is None else self.budget - state.designs

    def expected(self, space: Space) -> int | None:
        """Designs in the end, where that can be said."""
        known = [n for n in (self.budget, space.allowed_count) if n is not None]
        return min((n for n in known if n <= LARGEST_ENUMERATION), default=None)

    def reached(self, state: SearchState, seconds: Callable[[], float]) -> str:
        """Which limit is reached; "" for none. seconds : of this session."""
        if self.budget is not None and state.designs >= self.budget:
            return "budget reached"
        # The first look takes time, too; a session without a single batch would help nobody.
        if self.time is not None and state.new > 0 and seconds() >= self.time:
            return "time reached"
        return ""

    def stalled(self, state: SearchState) -> str:
        """Why there is little more to gain; "" where that is not known."""
        if self.stall is not None and len(state.volumes) > self.stall[1]:
            share, batches = self.stall
            now, before = state.volumes[-1], state.volumes[-1 - batches]
            if 0 < now <= before * (1 + share):
                return f"hypervolume gained less than {share:g} over {batches} batches"
        return ""


class SearchRun:
    """The loop of a search over what it knows (`state`) and what it writes (`record`).

    batch : most designs proposed at once.
    """

    def __init__(
        self,
        engine: engines.Engine,
        crew: Crew,
        state: SearchState,
        record: SearchRecord,
        limits: Limits,
        batch: int,
    ) -> None:
        self.engine = engine
        self.crew = crew
        self.state = state
        self.record = record
        self.limits = limits
        self.batch = batch
        self.timers = record.timers
        self.meter = Meter(self.timers, limits.expected(state.problem.space), limits.time)
        self._saved, self._wait = 0.0, _CHECKPOINT
        engine.lend(crew.apart)

    def go(self, progress: Callable[[Progress], None] | None) -> Result:
        """Takes over what there is, and goes on until there is a reason to stop."""
        try:
            try:
                self.safely(lambda: self._whole(progress))
            except BaseException:
                self.crew.close(at_once=True)
                raise
            self.crew.close()
        except KeyboardInterrupt:  # or a second one, while the crew went home
            raise Interrupted(self.record.folder) from None
        if progress is not None:
            progress(self.meter.read(self.state, finished=True))
        return self.result()

    def result(self) -> Result:
        """What was found, and where it lies."""
        state, record = self.state, self.record
        return Result(
            record.folder,
            state.problem.space,
            state.archive.sorted(),
            record.manifest,
            state.rejections,
            tuple(record.notes),
        )

    def safely(self, work: Callable[[], None], left: str = "") -> None:
        """Does work that writes; a full disk ends the search with what is safe.

        left : what is left of it then; the batches that were committed, by default.
        """
        try:
            work()
        except InputError as error:  # a design that none of the first look was like
            raise error.at(file=self.state.problem.space.source) from None
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            safe = f"{self.record.number} batches are safe, the same command goes on from there"
            raise EvaluationError(
                f"{self.record.folder}: cannot be written: {reason}; {left or safe}"
            ) from None

    def _whole(self, progress: Callable[[Progress], None] | None) -> None:
        with self.timers.of("recovering"), one_thread():
            self._recover()
        self.record.save(self.state, "running")
        self._loop(progress)

    def _recover(self) -> None:
        """Takes over the whole parts of the folder; what comes after a cut one is set aside."""
        for codes, outcome, notes in self.record.recovered():
            self.state.keep(codes, outcome)
            self.engine.resume(engines.Finished(codes, outcome, notes))
        self.record.set_aside(self.state.designs)
        self.state.before = self.state.designs

    def _loop(self, progress: Callable[[Progress], None] | None) -> None:
        self._saved = self.timers.clock()
        self.meter.begin()
        status = "interrupted"
        try:
            while not (reason := self._reason_to_stop()):
                self._step()
                self.record.interrupts.check()
                if progress is not None:
                    with self.timers.of("progress"):
                        progress(self.meter.read(self.state))
                if self.timers.clock() - self._saved > self._wait:
                    self.record.write()
                    self.checkpoint("running")
            self._take_arrivals()
            status = f"finished: {reason}"
        finally:
            self.record.write()
            self.record.interrupts.settled()  # a further signal costs the front only
            self.checkpoint(status)
        self.record.require_whole(self.state.designs)

    def checkpoint(self, status: str) -> None:
        """Writes front, study and manifest of what is committed.

        status : as the manifest has it.
        """
        begin = self.timers.clock()
        self.record.checkpoint(self.state, self.engine, status)
        self._saved = self.timers.clock()
        self._wait = max(_CHECKPOINT, (self._saved - begin) / _SHARE)

    def _reason_to_stop(self) -> str:
        timers = self.timers
        if reason := self.limits.reached(self.state, lambda: timers.clock() - timers.started):
            return reason
        if self.engine.exhausted:
            every = self.state.designs == self.meter.expected
            return "every design looked at" if every else "nothing new"
        return self.limits.stalled(self.state)

    def _step(self) -> None:
        """One batch or round: suggested, evaluated, learnt from, committed, kept."""
        if self._take_arrivals() and self._reason_to_stop():
            return
        left = self.limits.left(self.state)
        done = self._round(left) or self._batch(left)
        with self.record.interrupts.whole():
            self._commit(done.codes, done.outcome)
            with self.timers.of("archive"):
                self.state.keep(done.codes, done.outcome, done.hopeful)
        # While an engine thinks long, a batch must not wait to be written.
        if not (self.crew.many and self.engine.prompt):
            self.record.write()

    def _round(self, left: int | None) -> Examined | None:
        """A round of the engine's islands; None where it has none, or its steps are too small."""
        with self._sampling():
            tasks = self.engine.tasks(left)
        if not tasks:
            return None
        with self.timers.of("islands"):
            outcomes = self.crew.rounds(tasks, self.record.write)
            with one_thread():
                self.engine.bring_in(tasks, outcomes)
        return outcomes

    def _batch(self, left: int | None) -> Examined:
        """A batch of the engine, evaluated by the crew."""
        with self._sampling():
            codes = self.engine.suggest(self.batch if left is None else min(self.batch, left))
        with self.timers.of("evaluation"):
            outcome = self.crew.assess(codes, self.record.write)
        with self._sampling():
            self.engine.update(codes, outcome)
        return Examined(codes, outcome, np.ones(len(codes), dtype=bool))

    @contextmanager
    def _sampling(self) -> Iterator[None]:
        """What the engine thinks within: counted as the sampler's, matrices on one thread."""
        with self.timers.of("sampler"), one_thread():
            yield

    def _commit(self, codes: np.ndarray, outcome: Outcome) -> None:
        with self.timers.of("recording"):
            self.record.commit(self.state.designs, codes, outcome, self.engine.state())

    def _take_arrivals(self) -> bool:
        """Whether other processes on the same study had designs to take over."""
        before = self.state.designs
        for codes, outcome in self.engine.arrivals():
            self.take_over(codes, outcome)
        return self.state.designs > before

    def take_over(self, codes: np.ndarray, outcome: Outcome) -> None:
        """Records and keeps designs that were evaluated elsewhere."""
        with self.record.interrupts.whole():
            self._commit(codes, outcome)
            self.record.write()
            self.state.keep(codes, outcome)
