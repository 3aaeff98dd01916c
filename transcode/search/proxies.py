"""What a search that trains its models needs: plan, trainer, and what a design takes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elector.base.errors import InputError
from transcode.extras import installing
from transcode.objective import Problem
from transcode.runs.manifest import PROXIES
from transcode.search.halving import ETA, RUNGS, SEEDS, STEPS, Halving, HalvingPlan, settings_of
from transcode.search.probe import FIRST_PROBE, probe_designs
from transcode.space import Space
from transcode.space.resolved import model_settings, workload_settings

#: Steps of the model that is timed before a run.
TIMED = 8


@dataclass(frozen=True)
class Training:
    """The source `trained` of a run. seconds : measures what a design takes."""

    scores: Halving
    record: dict[str, Any]
    seconds: Callable[[Problem], float]


def training_of(space: Space, folder: Path, jobs: int) -> Training:
    """Plan and trainer of a space; InputError without PyTorch, or for a task there is not.

    jobs : models trained at once; 0 for one a processor.
    """
    settings = space.accuracy
    plan = HalvingPlan(
        settings.steps or STEPS,
        settings.rungs or RUNGS,
        settings.eta or ETA,
        settings.seeds or SEEDS,
    )
    task = next(str(p.values[0]) for p in space.parameters if p.name == "workload.task")
    trainer = _trainer(folder / PROXIES, task, plan.steps, jobs)
    _require_trained_with(space, getattr(trainer, "trained_with", {}))
    text = (
        f"accuracy ({task}): trained here, {plan.steps} steps, {plan.seeds} "
        f"seed{'s' if plan.seeds > 1 else ''}, validation {trainer.metric}; successive halving "
        f"at {', '.join(map(str, plan.budgets))} steps by non-dominated rank, 1/{plan.eta} go on\n"
        "  stands for: models of so few steps, compared with one another; the deviation is that "
        "of seeds and of the validation set"
    )
    record = {
        "source": "trained",
        "task": task,
        "text": text,
        "budgets": list(plan.budgets),
        "eta": plan.eta,
        "seeds": plan.seeds,
        "metric": trainer.metric,
    }
    return Training(Halving(plan, trainer), record, lambda problem: _seconds(problem, plan))


def _require_trained_with(space: Space, decided: dict[str, int]) -> None:
    """What is simulated must be what is trained: the task decides the lengths of its examples."""
    for setting in (*model_settings(space), *workload_settings(space)):
        value = decided.get(setting.name)
        if value is None or (setting.name.startswith("model.") and not setting.given):
            continue
        wrong = [v for v in setting.values if v != value]
        if wrong:
            raise InputError(
                "changes the accuracy, and no accuracy source prices it: models of this task are "
                f"trained with {value}",
                field=setting.where,
                value=wrong[0],
                hint=f"{setting.key}: {value}",
            )


def _trainer(folder: Path, task: str, steps: int, jobs: int) -> Any:
    """`transcode.training` is asked for here only."""
    try:
        from transcode.training.proxy import Proxies
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("transcode"):
            raise
        raise InputError(
            f"training needs {error.name}: {installing('train')}", field="accuracy.source"
        ) from None
    return Proxies(folder, task, steps, jobs)


def _seconds(problem: Problem, plan: HalvingPlan) -> float:
    """Seconds a design takes: some steps of a middling model of the space, scaled up."""
    space = problem.space
    codes = probe_designs(space, FIRST_PROBE)
    fit = codes[problem.assess(codes).feasible]
    codes = fit if len(fit) else codes
    task = next(str(p.values[0]) for p in space.parameters if p.name == "workload.task")
    settings = settings_of(space.decode(codes), len(codes) // 2)
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(Path(folder), task, plan.steps, 1)
        trainer.score(settings, 0, 1)  # libraries are warm after this
        start = time.perf_counter()
        trainer.score(settings, 1, TIMED)
        each = (time.perf_counter() - start) / TIMED
    return float(each * plan.expected * plan.seeds)
