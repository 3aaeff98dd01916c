"""A training run inside a space: which workloads it goes through, and for how many steps.

run:
  phases: {full: 20000, low: 380000}     # workloads in order, and their steps
  window: 8000                           # steps before the switch with a second copy beside
  windows: 1
  beside: full                           # the workload whose step that copy costs
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from elector.base.errors import InputError
from elector.base.table import Field

#: Name of the run in results: run.latency_s.
RUN = "run"
_KEYS = ("phases", "window", "windows", "beside")

Fail = Callable[..., InputError]


@dataclass(frozen=True)
class Phases:
    """Phases in order, and `windows` x `window` steps that are paid twice before the switch.

    phases : workload -> steps. beside : the workload whose step the second copy costs.
    """

    phases: dict[str, int]
    window: int
    windows: int
    beside: str

    @property
    def copies(self) -> int:
        """Steps of the second copy."""
        return self.window * self.windows

    def describe(self) -> dict[str, Any]:
        """As written."""
        return asdict(self)


def phases_of(written: object, workloads: Iterable[str], fail: Fail) -> Phases | None:
    """The run of a space, None without one. Raises InputError for what cannot be one.

    written : what stands under `run`.
    """
    if written is None:
        return None
    names = [name for name in workloads if name]
    if not isinstance(written, dict):
        raise fail("is a mapping", RUN, value=written, hint="run: {phases: {WORKLOAD: STEPS}}")
    for key in written:
        if key not in _KEYS:
            raise fail("unknown key", RUN, value=key, allowed=_KEYS)
    steps = _steps(written.get("phases"), names, fail)
    first = next(iter(steps))
    beside = str(written.get("beside", first))
    if beside not in names:
        raise fail("names no workload", "run.beside", value=beside, allowed=names)
    phases = Phases(
        steps,
        _whole(written.get("window", 0), "run.window", 0, fail),
        _whole(written.get("windows", 1), "run.windows", 1, fail),
        beside,
    )
    if phases.copies > steps[first]:
        raise fail(
            f"the windows need {phases.copies} steps, {first} has {steps[first]}",
            "run.window",
            value=phases.window,
        )
    if phases.copies and len(steps) == 1:
        raise fail("a run of one phase switches nothing", "run.window", value=phases.window)
    return phases


def _steps(phases: object, names: list[str], fail: Fail) -> dict[str, int]:
    """Steps of each phase, in order. names : workloads there are."""
    if not isinstance(phases, dict) or not phases:
        raise fail("is a mapping of workloads to steps", "run.phases", value=phases, allowed=names)
    for name in phases:
        if name not in names:
            raise fail(
                "names no workload",
                "run.phases",
                value=name,
                allowed=names,
                hint="workloads: {full: {...}, low: {...}}",
            )
    return {str(n): _whole(v, f"run.phases.{n}", 1, fail) for n, v in phases.items()}


def _whole(value: object, where: str, low: int, fail: Fail) -> int:
    try:
        return int(Field(where, "int", "1", None, low, 10**15, (), "").parse(value))
    except InputError as error:
        raise fail(
            error.problem, where, value=value, allowed=error.allowed, hint=error.hint
        ) from None
