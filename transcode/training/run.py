"""A run in progress: which copies train, when the rule is asked, what there is to go on from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elector.base.errors import EvaluationError
from elector.describe.model import Model
from transcode.training import checkpoint
from transcode.training.copy import Copy, summary
from transcode.training.settings import Settings
from transcode.training.switch import BESIDE, FULL, LOW, Switch
from transcode.training.task import Task

#: Steps whose mean loss is compared with that of the first ones, and how far it may rise.
_RECENT, _EXPLODED = 10, 10.0


class Diverged(EvaluationError):
    """The loss is no number any more, or far above where it began."""


@dataclass
class TrainingRun:
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
    dense_peak: int = 0
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
        self.dense_peak = max(self.dense_peak, copy.dense_peak)
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
                "; try a lower --learning-rate with --fresh or another --out"
            )

    def _window(self) -> None:
        """Ends a window of the rule, and begins what it says."""
        assert self.switch is not None
        before, now = self.snapshot, self.full.watched()
        distance = None if before is None else float(torch.linalg.norm(now - before))
        self.snapshot = now
        phase = self.switch.close(distance)
        if phase == BESIDE:
            self.low = Copy(
                self.settings, self.model, self.task, low=True, start=self.full.module.state_dict()
            )
        elif phase == FULL:
            self.low = None

    def look(self) -> dict[str, object]:
        """A row of metrics: losses since the last, the validation score, densities."""
        self.score = self.current.measure(self.task.valid).score
        self.best = self.score if self.best is None else max(self.best, self.score)
        kinds = summary(self.full.rows())
        row = {
            "step": self.step,
            "phase": self.phase,
            "loss": float(np.mean(self.losses)) if self.losses else None,
            "low_loss": float(np.mean(self.low_losses)) if self.low_losses else None,
            "score": self.score,
            "tau_i": self.settings.tau_i,
            "tau_t": self.settings.tau_t,
            "density_activation": kinds.get("activation"),
            "density_gradient": kinds.get("gradient"),
            "saved_bytes": self.recent_peak,
            "seconds": self.seconds,
        }
        self.losses, self.low_losses, self.recent_peak = [], [], 0
        return row

    def state(self) -> dict[str, Any]:
        """Everything to go on from, as tensors and plain values."""
        names = (
            "step",
            "losses",
            "low_losses",
            "first",
            "recent",
            "score",
            "best",
            "seconds",
            "peak",
            "recent_peak",
            "dense_peak",
            "snapshot",
        )
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
