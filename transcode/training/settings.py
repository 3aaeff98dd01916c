"""What a training run is asked for, checked before anything heavy is imported."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from elector.base.arguments import MOST
from elector.base.errors import InputError

SWITCHES = ("none", "hpt")
SCHEDULES = ("auto", "linear", "constant")
#: Windows of the switch rule in a run, where none is given.
WINDOWS = 100
#: Looks at the validation score in a run, where none is given.
LOOKS = 10


@dataclass(frozen=True)
class Settings:
    """One training run.

    model : preset or file; overrides : `model.KEY` -> value. task : name or file.
    tau_i, tau_t : thresholds on activations and on propagated gradients.
    top_k_i, top_k_t : in place of a threshold, the share of each row that stays, above 0 to 1.
    switch : none | hpt; window : steps of the rule's windows (0: a hundredth of the run).
    steps : optimizer steps; batch : sequences of one; learning_rate : of AdamW.
    schedule : of the learning rate, after a warm-up over a twentieth of the run: linear (down
        to a tenth) | constant | auto (constant under a switch rule, which watches it settle).
    sequence_length : tokens (None: the task's own). dropout : share of zeros in training.
    evaluate : steps between two looks at the validation score (0: a tenth of the run).
    """

    model: str
    task: str
    tau_i: float = 0.0
    tau_t: float = 0.0
    top_k_i: float | None = None
    top_k_t: float | None = None
    switch: str = "none"
    window: int = 0
    steps: int = 400
    batch: int = 32
    learning_rate: float = 1e-3
    schedule: str = "auto"
    seed: int = 0
    sequence_length: int | None = None
    dropout: float = 0.1
    evaluate: int = 0
    overrides: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("tau_i", "tau_t"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0.0:
                raise InputError(
                    "a threshold is a finite number of at least 0", field=name, value=value
                )
            self._check_top_k(name.replace("tau", "top_k"), value)
        if not math.isfinite(self.learning_rate) or self.learning_rate <= 0.0:
            raise InputError(
                "must be finite and above 0", field="learning_rate", value=self.learning_rate
            )
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise InputError("must be at least 1", field=name, value=getattr(self, name))
        for name in ("steps", "batch", "seed", "window", "evaluate"):
            if getattr(self, name) > MOST:  # its manifest could not be read again
                said = f"must be at most {MOST:,}"
                raise InputError(said, field=name, value=getattr(self, name))
        for name, allowed in (("switch", SWITCHES), ("schedule", SCHEDULES)):
            if getattr(self, name) not in allowed:
                raise InputError("unknown", field=name, value=getattr(self, name), allowed=allowed)
        if self.switch == "none" and self.window:
            raise InputError(
                "only a switch rule has windows",
                field="window",
                value=self.window,
                hint="--switch hpt",
            )
        self._require_windows()

    def _require_windows(self) -> None:
        """Refuses windows of a switch rule that the run is too short for."""
        if self.switches and self.warm_up + 5 * self.window_steps >= self.steps:
            longest = (self.steps - self.warm_up - 1) // 5
            fits = f"at most {longest} in {self.steps} steps, or " if longest >= 2 else ""
            raise InputError(
                "the rule needs four windows and one side by side after the warm-up",
                field="window",
                value=self.window_steps,
                hint=f"{fits}more --steps",
            )

    def _check_top_k(self, name: str, tau: float) -> None:
        keep = getattr(self, name)
        if keep is None:
            return
        if not 0.0 < keep <= 1.0:
            raise InputError("must be a share above 0, at most 1", field=name, value=keep)
        if tau:
            raise InputError(
                "is in place of a threshold", field=name, value=keep, hint="leave out --tau-*"
            )

    @property
    def switches(self) -> bool:
        """Whether a rule may end full training."""
        return self.switch != "none"

    @property
    def window_steps(self) -> int:
        """Steps of a window of the rule."""
        return self.window or max(self.steps // WINDOWS, 2)

    @property
    def look(self) -> int:
        """Steps between two looks at the validation score."""
        return self.evaluate or max(self.steps // LOOKS, 1)

    @property
    def warm_up(self) -> int:
        """Steps in which the learning rate rises."""
        return max(self.steps // 20, 1)

    def rate(self, step: int) -> float:
        """Learning rate of step `step`, counted from 0."""
        warm = self.warm_up
        rise = min((step + 1) / warm, 1.0)
        falls = self.schedule == "linear" or (self.schedule == "auto" and not self.switches)
        if not falls:
            return self.learning_rate * rise
        rest = max(self.steps - warm, 1)
        return self.learning_rate * rise * (1.0 - 0.9 * max(step + 1 - warm, 0) / rest)

    def entries(self) -> dict[str, Any]:
        """As plain values, for a manifest."""
        plain = {**asdict(self), "overrides": dict(sorted(self.overrides.items()))}
        # runs from before there was top-k are the same runs
        return {k: v for k, v in plain.items() if v is not None or not k.startswith("top_k")}
