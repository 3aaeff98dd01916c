"""A training run into a folder: deterministic from its seed, and resumable after anything."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elector.base.errors import EvaluationError
from elector.base.paths import words
from elector.base.signals import Interrupts, gentle
from transcode.runs.files import Claim, claimed
from transcode.training import checkpoint, folder, outputs
from transcode.training.build import described
from transcode.training.copy import Copy
from transcode.training.run import Diverged, TrainingRun
from transcode.training.settings import Settings
from transcode.training.switch import Switch, SwitchRule
from transcode.training.task import Task
from transcode.training.tasks import load_task

__all__ = ["Diverged", "TrainingInterrupted", "TrainingProgress", "fingerprint", "train"]

#: Seconds between two checkpoints at least, beside those at every look.
_CHECKPOINT = 10.0


class TrainingInterrupted(KeyboardInterrupt):
    """A run was interrupted; `step` steps are safe in `folder`."""

    def __init__(self, folder: Path, step: int) -> None:
        super().__init__(str(folder))
        self.folder, self.step = folder, step


@dataclass(frozen=True)
class TrainingProgress:
    """Where a run stands. score : of the last look, in points; left : seconds to go."""

    step: int
    steps: int
    phase: str
    loss: float
    score: float | None
    seconds: float
    left: float | None
    finished: bool = False


def train(
    settings: Settings,
    *,
    out: Path | None = None,
    fresh: bool = False,
    command: str = "",
    progress: Callable[[TrainingProgress], None] | None = None,
) -> dict[str, Any]:
    """Trains, or goes on, or returns what a finished run found (result.json).

    Raises InputError for settings and folders that do not fit, Diverged where the loss does,
    TrainingInterrupted on an interrupt; the folder keeps its last checkpoint in both.

    out : run folder, None for none. fresh : whether what is there is replaced. command : what the
        manifest says the run was started with.
    """
    task = load_task(settings.task, sequence_length=settings.sequence_length, seed=settings.seed)
    model = described(settings.model, settings.overrides)
    task.batch(0, size=settings.batch, seed=settings.seed)  # bad sizes are told before a folder is
    with one_thread():
        full = Copy(settings, model, task)  # ... and so are models that do not fit the task
        place = folder.default(settings) if out is None else out
        known = folder.manifest(settings, fingerprint(task), command)
        with gentle() as interrupts, claimed(place) as claim:
            folder.begin(claim, known, fresh)
            done = folder.result(place)
            if done is not None:
                return done
            rule = (
                SwitchRule(settings.window_steps, settings.warm_up) if settings.switches else None
            )
            switch = None if rule is None else Switch(rule)
            run = TrainingRun(settings, model, task, place, full, switch=switch)
            return _safely(run, claim, lambda: _go(run, claim, interrupts, progress))


def _safely(run: TrainingRun, claim: Claim, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Does work that writes; a disk that is full ends the run with what is safe."""
    try:
        return work()
    except OSError as error:
        claim.require()
        raise EvaluationError(
            f"{run.folder}: cannot be written: {words(error)}; the last checkpoint is safe, the "
            "same command goes on from there"
        ) from None


def _progress(run: TrainingRun, loss: float, rate: float) -> TrainingProgress:
    """How far a run is. rate : seconds a step."""
    steps = run.settings.steps
    return TrainingProgress(
        run.step,
        steps,
        run.phase,
        loss,
        run.score,
        run.seconds,
        rate * (steps - run.step),
        finished=run.step == steps,
    )


def _go(
    run: TrainingRun,
    claim: Claim,
    interrupts: Interrupts,
    progress: Callable[[TrainingProgress], None] | None,
) -> dict[str, Any]:
    state = checkpoint.load(run.folder)
    if state is None:
        run.save()  # so that there is a good one, however early the loss diverges
    else:
        checkpoint.restored(run.folder, lambda: run.restore(state))
    folder.start_metrics(run.folder, run.step)
    saved, begun, before = run.step, run.step, run.seconds
    started = last = time.perf_counter()
    settings = run.settings
    try:
        while run.step < settings.steps:
            # A step that compresses what it saves runs thousands of destructors, which swallow
            # exceptions: an interrupt waits for its end, unless it comes twice.
            with interrupts.whole(2):
                claim.require()
                loss = run.advance()
                now = time.perf_counter()
                run.seconds = before + now - started
                looks = run.step % settings.look == 0 or run.step == settings.steps
                if looks:
                    folder.add_metrics(run.folder, run.look())
                if looks or interrupts.noted or now - last >= _CHECKPOINT:
                    run.save()
                    saved, last = run.step, now
            if progress is not None:
                progress(_progress(run, loss, (now - started) / (run.step - begun)))
        return outputs.write(run)
    except KeyboardInterrupt:
        raise TrainingInterrupted(run.folder, saved) from None


def fingerprint(task: Task) -> str:
    """sha256 over the examples (of a large training part, over 4,096 of them)."""
    total = hashlib.sha256(task.name.encode())
    for split in (task.train, task.valid, task.test):
        rows = np.linspace(0, split.size - 1, min(split.size, 4096)).astype(int)
        total.update(str(split.size).encode())
        total.update(np.ascontiguousarray(split.x[rows]).tobytes())
        total.update(np.ascontiguousarray(split.y[rows]).tobytes())
    return total.hexdigest()


@contextmanager
def one_thread() -> Iterator[None]:
    """The same sums in the same order, whatever the machine; small models gain nothing."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
