"""A training run into a folder: deterministic from its seed, and resumable after anything."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elector.errors import EvaluationError
from elector.model import Model
from transcode.runs.files import locked
from transcode.training import checkpoint, folder, outputs
from transcode.training.build import described
from transcode.training.copy import Copy
from transcode.training.settings import Settings
from transcode.training.switch import BESIDE, FULL, LOW, Rule, Switch
from transcode.training.task import Task
from transcode.training.tasks import load_task

#: Seconds between two checkpoints at least, beside those at every look.
_CHECKPOINT = 10.0
#: Steps whose mean loss is compared with that of the first ones, and how far it may rise.
_RECENT, _EXPLODED = 10, 10.0


class Interrupted(KeyboardInterrupt):
    """A run was interrupted; `step` steps are safe in `folder`."""

    def __init__(self, folder: Path, step: int) -> None:
        super().__init__(str(folder))
        self.folder, self.step = folder, step


class Diverged(EvaluationError):
    """The loss is no number any more, or far above where it began."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands. score : of the last look, in points; left : seconds to go."""

    step: int
    steps: int
    phase: str
    loss: float
    score: float | None
    seconds: float
    left: float | None
    finished: bool = False


@dataclass
class Run:
    """A run in progress: one copy in training, two side by side, then the low one."""

    settings: Settings
    model: Model
    task: Task
    folder: Path
    full: Copy
    low: Copy | None = None
    switch: Switch | None = None
    snapshot: torch.Tensor | None = None
    step: int = 0
    losses: list[float] = field(default_factory=list)
    low_losses: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    recent: list[float] = field(default_factory=list)
    score: float | None = None
    best: float | None = None
    seconds: float = 0.0
    peak: int = 0
    recent_peak: int = 0

    @property
    def phase(self) -> str:
        """full, beside or low."""
        return FULL if self.switch is None else self.switch.phase

    @property
    def current(self) -> Copy:
        """The copy that counts: the full one until it ends."""
        copy = self.low if self.phase == LOW else self.full
        assert copy is not None
        return copy

    def advance(self) -> float:
        """One step of every copy; the loss of the one that counts."""
        rows = self.task.batch(self.step, size=self.settings.batch, seed=self.settings.seed)
        x, y = (torch.from_numpy(np.array(part)) for part in rows)
        copy = self.current
        loss = copy.step(self.step, x, y)
        beside = None
        if self.phase == BESIDE:
            assert self.low is not None
            beside = self.low.step(self.step, x, y)
            self.low_losses.append(beside)
        self.step += 1
        self._guard(loss)
        self.losses.append(loss)
        self.recent_peak = max(self.recent_peak, copy.peak)
        self.peak = max(self.peak, self.recent_peak)
        if self.switch is not None and self.switch.observe(loss, beside):
            self._window()
        return loss

    def _guard(self, loss: float) -> None:
        if len(self.first) < _RECENT:
            self.first.append(loss)
        self.recent = [*self.recent[1 - _RECENT :], loss]
        limit = _EXPLODED * sum(self.first) / len(self.first)
        mean = sum(self.recent) / len(self.recent)
        # Written so that a loss that is no number fails it, too.
        if not (np.isfinite(loss) and mean <= limit):
            raise Diverged(
                f"the loss diverged at step {self.step}: {loss:.3g}, at first "
                f"{self.first[0]:.3g}; the last good checkpoint is kept in {self.folder}"
            )

    def _window(self) -> None:
        """Ends a window of the rule, and begins what it says."""
        assert self.switch is not None
        before, now = self.snapshot, self.full.watched()
        distance = None if before is None else float(torch.linalg.norm(now - before))
        self.snapshot = now
        phase = self.switch.close(distance)
        if phase == BESIDE:
            self.low = Copy(self.settings, self.model, self.task, low=True,
                            start=self.full.module.state_dict())
        elif phase == FULL:
            self.low = None

    def look(self) -> dict[str, object]:
        """A row of metrics: losses since the last, the validation score, densities."""
        self.score = self.current.measure(self.task.valid).score
        self.best = self.score if self.best is None else max(self.best, self.score)
        kinds = outputs.summary(self.full.rows())
        row = {
            "step": self.step, "phase": self.phase,
            "loss": float(np.mean(self.losses)) if self.losses else None,
            "low_loss": float(np.mean(self.low_losses)) if self.low_losses else None,
            "score": self.score, "tau_i": self.settings.tau_i, "tau_t": self.settings.tau_t,
            "density_activation": kinds.get("activation"),
            "density_gradient": kinds.get("gradient"),
            "saved_bytes": self.recent_peak, "seconds": self.seconds,
        }
        self.losses, self.low_losses, self.recent_peak = [], [], 0
        return row

    def state(self) -> dict[str, Any]:
        """Everything to go on from, as tensors and plain values."""
        names = ("step", "losses", "low_losses", "first", "recent", "score", "best", "seconds",
                 "peak", "recent_peak", "snapshot")
        return {
            **{name: getattr(self, name) for name in names},
            "full": self.full.state(),
            "low": None if self.low is None else self.low.state(),
            "switch": None if self.switch is None else self.switch.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from `state`."""
        if state["switch"] is not None:
            assert self.switch is not None
            self.switch = Switch.restore(self.switch.rule, state["switch"])
        self.full.restore(state["full"])
        if state["low"] is not None:
            self.low = Copy(self.settings, self.model, self.task, low=True)
            self.low.restore(state["low"])
        for name, value in state.items():
            if name not in ("full", "low", "switch"):
                setattr(self, name, value)

    def save(self) -> None:
        """A checkpoint, unless a parameter is no number."""
        if self.current.finite():
            checkpoint.save(self.folder, self.state())


def train(
    settings: Settings, *, out: Path | None = None, fresh: bool = False, command: str = "",
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Trains, or goes on, or returns what a finished run found (result.json).

    Raises InputError for settings and folders that do not fit, Diverged where the loss does,
    Interrupted on an interrupt; the folder keeps its last checkpoint in both.
    """
    task = load_task(settings.task, sequence_length=settings.sequence_length, seed=settings.seed)
    model = described(settings.model, settings.overrides)
    task.batch(0, size=settings.batch, seed=settings.seed)  # bad sizes are told before a folder is
    with one_thread():
        full = Copy(settings, model, task)  # ... and so are models that do not fit the task
        place = folder.default(settings) if out is None else out
        folder.opened(place, folder.manifest(settings, fingerprint(task), command), fresh)
        with locked(place):
            done = folder.result(place)
            if done is not None:
                return done
            rule = Rule(settings.window_steps, settings.warm_up) if settings.switches else None
            switch = None if rule is None else Switch(rule)
            return _go(Run(settings, model, task, place, full, switch=switch), progress)


def _go(run: Run, progress: Callable[[Progress], None] | None) -> dict[str, Any]:
    state = checkpoint.load(run.folder)
    if state is not None:
        run.restore(state)
    folder.start_metrics(run.folder, run.step)
    saved, begun, before = run.step, run.step, run.seconds
    started = last = time.perf_counter()
    settings = run.settings
    try:
        while run.step < settings.steps:
            loss = run.advance()
            now = time.perf_counter()
            run.seconds = before + now - started
            looks = run.step % settings.look == 0 or run.step == settings.steps
            if looks:
                folder.add_metrics(run.folder, run.look())
            if looks or now - last >= _CHECKPOINT:
                run.save()
                saved, last = run.step, now
            if progress is not None:
                rate = (now - started) / (run.step - begun)
                progress(Progress(run.step, settings.steps, run.phase, loss, run.score,
                                  run.seconds, rate * (settings.steps - run.step)))
        return outputs.write(run)
    except KeyboardInterrupt:
        raise Interrupted(run.folder, saved) from None


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
