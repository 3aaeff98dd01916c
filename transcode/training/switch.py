"""When full training may end: HpT's rule (DOI 10.1109/TPDS.2024.3522781), without a framework.

Training is watched in windows of `window` steps. At the end of each:

    loss       mean loss of the window
    distance   Frobenius distance of the first layer's [Wq|Wv] from its snapshot one window ago

Both have settled once their last two relative drops, (before - after) / before, lie below a limit
and the later one is the smaller: .1 for the loss, .01 for the distance. Distances begin with the
second window, so the rule needs four. A rise counts as a negative drop.

Once both have settled, a low-parameter copy trains beside the full model for one window, on the
same batches. A two-sample t-test on the two rows of losses that shows no difference at alpha ends
full training; else full training goes on for a window, and the rule is asked again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from elector.base.errors import InputError

FULL, BESIDE, LOW = "full", "beside", "low"
#: Windows before the rule can say anything.
SNAPSHOTS = 4


@dataclass(frozen=True)
class SwitchRule:
    """The limits. window : steps. begin : steps before the first window. alpha : of the t-test.

    While the learning rate warms up nothing moves yet, which would look as if all had settled.
    """

    window: int
    begin: int = 0
    loss_drop: float = 0.1
    distance_drop: float = 0.01
    alpha: float = 0.01

    def __post_init__(self) -> None:
        if self.window < 2:
            raise InputError("a window needs at least two steps", field="window", value=self.window)


@dataclass(frozen=True)
class WindowTrial:
    """A window side by side that ended at `step`; losses are means, p that of the t-test."""

    step: int
    full_loss: float
    low_loss: float
    statistic: float
    p: float
    same: bool


def drops(values: Sequence[float]) -> list[float]:
    """Relative drops between neighbours; 0 where the earlier value is 0.

    values : in the order of the windows.
    """
    return [(before - after) / before if before else 0.0 for before, after in pairwise(values)]


def settled(values: Sequence[float], limit: float) -> bool:
    """Whether the last two relative drops lie below `limit` and shrink (False before three).

    values : in the order of the windows.
    """
    last = drops(values[-3:])
    return len(last) == 2 and max(last) < limit and last[1] < last[0]


def t_test(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Statistic and two-sided p of Student's two-sample t-test (equal variances).

    Equal rows without any spread do not differ: (0, 1).
    """
    from scipy.stats import ttest_ind

    if len(set(first) | set(second)) == 1:
        return 0.0, 1.0
    test = ttest_ind(first, second, equal_var=True)
    return float(test.statistic), float(test.pvalue)


@dataclass
class Switch:
    """The rule at work: told of every step and every end of a window, it says what is trained.

    phase : full, beside (both copies), low. means, distances : of the windows so far.
    losses, low : of the window that runs. step : steps so far.
    switched : the step after which full training ended, or None.
    """

    rule: SwitchRule
    phase: str = FULL
    step: int = 0
    means: list[float] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    trials: list[WindowTrial] = field(default_factory=list)
    switched: int | None = None

    def observe(self, loss: float, low: float | None = None) -> bool:
        """Takes the losses of a step; whether a window ends with it (then call `close`)."""
        if not math.isfinite(loss):
            raise ValueError("a loss that is not finite has no place in a window")
        if (low is not None) != (self.phase == BESIDE):
            raise ValueError(f"phase {self.phase}: the low-parameter copy's loss is {low}")
        self.step += 1
        if self.phase == LOW or self.step <= self.rule.begin:
            return False
        self.losses.append(loss)
        if low is not None:
            self.low.append(low)
        return len(self.losses) == self.rule.window

    def close(self, distance: float | None) -> str:
        """Ends a window; what is trained from here on.

        distance : of [Wq|Wv] since the last end of a window; None at the first.
        """
        self.means.append(math.fsum(self.losses) / len(self.losses))
        if distance is not None:
            self.distances.append(distance)
        if self.phase == BESIDE:
            self._compare()
        elif settled(self.means, self.rule.loss_drop) and settled(
            self.distances, self.rule.distance_drop
        ):
            self.phase = BESIDE
        self.losses, self.low = [], []
        return self.phase

    def _compare(self) -> None:
        statistic, p = t_test(self.losses, self.low)
        same = p >= self.rule.alpha
        low = math.fsum(self.low) / len(self.low)
        self.trials.append(WindowTrial(self.step, self.means[-1], low, statistic, p, same))
        self.phase = LOW if same else FULL
        self.switched = self.step if same else None

    def state(self) -> dict[str, Any]:
        """Everything but the rule, as plain numbers, lists and mappings."""
        entries = asdict(self)
        del entries["rule"]
        return entries

    @classmethod
    def restore(cls, rule: SwitchRule, state: Mapping[str, Any]) -> Switch:
        """The switch that `state` was taken from."""
        trials = [WindowTrial(**trial) for trial in state["trials"]]
        return cls(rule=rule, **{**state, "trials": trials})


def plan(
    model: str,
    workload: Mapping[str, object],
    switch: Switch,
    steps: int,
    rank: int,
    accelerator: str,
) -> dict[str, object]:
    """The entries of a plan for `elector run`: the measured switch of a run of `steps` steps.

    The full phase runs on the accelerator's unit `gpu`, as HpT's does.

    workload : key -> value of the plan. rank : of the low-rank pairs.
    """
    step, window = switch.switched, switch.rule.window
    if step is None or step >= steps:
        raise ValueError("full training never ended")
    trial = switch.trials[-1]
    source = (
        f"measured: HpT's rule in a run of {steps} steps, window {window}, "
        f"t-test p {trial.p:.3g}, f {step / steps:.3f}"
    )
    return {
        "model": model,
        "workload": dict(workload),
        "phases": [
            {
                "name": "full",
                "steps": step,
                "trainable": "all",
                "accelerator": accelerator,
                "assignment": [{"unit": "gpu"}],
            },
            {
                "name": "low",
                "steps": steps - step,
                "trainable": f"lora:{rank}",
                "accelerator": accelerator,
            },
        ],
        "switch": {"step": step, "window": window, "windows": len(switch.trials), "source": source},
    }
