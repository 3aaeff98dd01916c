"""Training runs: phases of steps, each with a trainable subset and a machine.

    model: hpt-snow
    workload: {sequence_length: 323, batch: 1}
    phases:
      - {name: full, steps: 20000, trainable: all, accelerator: hpt, assignment: [{unit: gpu}]}
      - {name: low, steps: 180000, trainable: "lora:8", accelerator: hpt}
    switch: {step: 20000, window: 365, windows: 1, source: "loss and distance rules of HpT"}

The run switches after `step` steps, at the end of a phase. In the last windows x window steps
before it the next phase's copy trains as well, on the same batches and the same machine. The
switch writes the weights that stay in cells once. Costs of a run:

    time = sum of steps x step time + side by side + writing, and so for energy and wear.

In place of `steps` a phase may say `epochs` (with `sequences` of the data set beside the phases)
or `tokens`; the steps are then rounded up to whole ones:

    steps = ceil(epochs x sequences / batch) = ceil(tokens / (batch x sequence_length))

with the batch of a step: workload.batch x workload.gradient_accumulation sequences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from elector.base import paths, quantity
from elector.base.errors import InputError
from elector.base.record import ResultRecord as ShortRecord
from elector.base.table import Field, load_yaml, schema
from elector.base.units import YEAR
from elector.cost.programming import placed
from elector.describe.formats import load_model
from elector.describe.workload import lora_rank
from elector.evaluation.accelerators import Accelerator, load_accelerator
from elector.evaluation.path import Chunk, evaluate, inspect
from elector.hybrid.read import assemble, read_rules
from elector.studies.simulation import columns_of, record
from elector.technology import Technology

Record = dict[str, object]
KEYS = ("model", "workload", "phases", "switch", "name", "source", "sequences")
#: Ways to say how long a phase is: in steps, in passes over the data set, in tokens.
LENGTHS = ("steps", "epochs", "tokens")
PHASE = ("name", *LENGTHS, "trainable", "accelerator", "assignment")
SWITCH = ("step", "window", "windows", "source")


@dataclass(frozen=True)
class Phase:
    """`steps` steps of one trainable subset on one machine.

    at : its field in the plan. assigned : whether the plan gives the machine its assignment.
    """

    name: str
    steps: int
    trainable: str
    accelerator: Accelerator
    at: str = ""
    assigned: bool = False


@dataclass(frozen=True)
class PlannedSwitch:
    """After how many steps, and `windows` times `window` steps side by side before it."""

    step: int
    window: int
    windows: int
    source: str


@dataclass(frozen=True)
class TrainingPlan:
    """A training run; `workload` holds what all phases share."""

    model: str
    workload: Mapping[str, object]
    phases: tuple[Phase, ...]
    switch: PlannedSwitch | None
    sequences: int | None = None


@dataclass(frozen=True, eq=False)
class PhaseStep:
    """One step of a phase: its record, and what lies behind it."""

    record: Record
    chunk: Chunk

    def number(self, name: str) -> float:
        """A result; NaN where the step is infeasible."""
        value = self.record.get(name)
        return float("nan") if value is None else float(str(value))

    @property
    def wear(self) -> float:
        """Writes of the most written cell in a step."""
        cells = self.chunk.activity.cells
        return 0.0 if cells is None else float(cells.wear[0])

    @property
    def endurance(self) -> float:
        """Writes a cell survives; infinite where nothing wears."""
        cells = self.chunk.activity.cells
        return float("inf") if cells is None else float(cells.endurance[0])


def read_plan(source: str | Path | Mapping[str, object]) -> TrainingPlan:
    """A plan from a YAML file, or from the same entries as a mapping."""
    file = None if isinstance(source, Mapping) else Path(source)
    data = source if file is None else load_yaml(file)
    if not isinstance(data, Mapping):
        raise InputError("must be a mapping", file=file)
    _check(data, KEYS, file, "")
    if "model" not in data:
        raise InputError("is missing", file=file, field="model")
    workload = data.get("workload") or {}
    if not isinstance(workload, Mapping):
        raise InputError("must be a mapping", file=file, field="workload")
    _check(workload, schema("workload"), file, "workload")
    for key in ("mode", "trainable"):
        if key in workload:
            raise InputError("is decided by the phases", file=file, field=f"workload.{key}")
    given = data.get("sequences")
    sequences = None if given is None else _whole(given, "sequences", 1, file)
    model = paths.beside(str(data["model"]), file)
    phases = _phases(data.get("phases"), _Sizes.of(model, workload, sequences, file), file)
    shared = dict(workload)
    if isinstance(shared.get("sparsity"), str):
        shared["sparsity"] = paths.beside(str(shared["sparsity"]), file)
    return TrainingPlan(model, shared, phases, _switch(data, phases, file), sequences)


def _check(data: Mapping[str, object], allowed: object, file: object, field: str) -> None:
    known = list(allowed)  # type: ignore[call-overload]
    for key in data:
        if key not in known:
            raise InputError("unknown key", file=file, field=field, value=key, allowed=known)


@dataclass(frozen=True)
class _Sizes:
    """What turns epochs and tokens into steps: sequences of a step, tokens of a sequence (None
    where a model has none: images), and sequences of the data set, None where the plan does not
    say."""

    batch: int
    length: int | None
    sequences: int | None

    @classmethod
    def of(
        cls, model: str, workload: Mapping[str, object], sequences: int | None, file: object
    ) -> _Sizes:
        fields = schema("workload")

        def size(key: str) -> int:
            try:
                return int(str(fields[key].parse(workload.get(key, fields[key].default))))
            except InputError as error:
                raise InputError(
                    error.problem, file=file, field=f"workload.{key}", value=error.value
                ) from None

        batch = size("batch") * size("gradient_accumulation")
        length = size("sequence_length")
        applies = load_model(model).family in fields["sequence_length"].applies
        return cls(batch, length if applies else None, sequences)

    def steps(self, entry: Mapping[str, object], at: str, file: object) -> int:
        """The steps of a phase, whichever way it says how long it is."""
        given = [key for key in LENGTHS if key in entry]
        if len(given) != 1:
            problem = "is missing" if not given else "and how long it is otherwise: one is enough"
            hint = "a phase needs steps, epochs or tokens, such as steps: 1000"
            raise InputError(problem, file=file, field=f"{at}.{(given or LENGTHS)[0]}", hint=hint)
        key = given[0]
        field = f"{at}.{key}"
        if key == "steps":
            return _whole(entry[key], field, 1, file)
        if key == "tokens":
            if self.length is None:
                hint = "steps, or epochs"
                raise InputError("this model has no tokens", file=file, field=field, hint=hint)
            return -(-_whole(entry[key], field, 1, file) // (self.batch * self.length))
        if self.sequences is None:
            hint = "sequences: 67349, beside phases"
            raise InputError("needs sequences of the data set", file=file, field=field, hint=hint)
        epochs = Field(field, "float", "1", None, 1e-6, 1e9, (), "").parse(entry[key], file=file)
        return max(1, math.ceil(float(epochs) * self.sequences / self.batch - 1e-9))


def _phases(data: object, sizes: _Sizes, file: object) -> tuple[Phase, ...]:
    if not isinstance(data, list) or not data:
        raise InputError(
            "must be a list of phases",
            file=file,
            field="phases",
            value=data,
            hint="- {name: full, steps: 1000, trainable: all, accelerator: hpt}",
        )
    phases: list[Phase] = []
    for i, entry in enumerate(data):
        phases.append(_read_phase(entry, i, [phase.name for phase in phases], sizes, file))
    return tuple(phases)


def _read_phase(entry: object, i: int, taken: list[str], sizes: _Sizes, file: object) -> Phase:
    """Phase i of a file; `taken` are the names of those before it."""
    at = f"phases[{i}]"
    if not isinstance(entry, dict):
        raise InputError("must be a mapping", file=file, field=at, value=entry)
    _check(entry, PHASE, file, at)
    if "accelerator" not in entry:
        raise InputError(
            "is missing",
            file=file,
            field=f"{at}.accelerator",
            hint="a phase needs accelerator, such as accelerator: hpt",
        )
    name = str(entry.get("name", f"phase {i + 1}"))
    if name in taken:
        raise InputError("is given twice", file=file, field=f"{at}.name", value=name)
    accelerator = _accelerator(str(entry["accelerator"]), file, at)
    assigned = "assignment" in entry
    if assigned:
        accelerator = _assigned(accelerator, entry["assignment"], file, f"{at}.assignment")
    steps = sizes.steps(entry, at, file)
    return Phase(name, steps, _trainable(entry, at, file), accelerator, at, assigned)


def _trainable(entry: Mapping[str, object], at: str, file: object) -> str:
    """Which parameters a phase trains."""
    trainable = str(entry.get("trainable", "all"))
    try:
        lora_rank(trainable)
    except InputError as error:
        raise InputError(
            error.problem,
            file=file,
            field=f"{at}.trainable",
            value=trainable,
            allowed=error.allowed,
            hint=error.hint,
        ) from None
    return trainable


def _accelerator(name: str, file: object, at: str) -> Accelerator:
    """The accelerator that a phase of the field `at` names."""
    try:
        return load_accelerator(paths.beside(name, file))
    except InputError as error:
        if error.file is not None:  # its own file says so
            raise
        raise error.at(file=file, under=at) from None


def _assigned(accelerator: Accelerator, data: object, file: object, at: str) -> Accelerator:
    """An accelerator with the assignment of a plan, the entry `data` of the field `at`."""
    hybrid = accelerator.machine.hybrid
    if hybrid is None:
        raise InputError(
            "only a hybrid has an assignment", file=file, field=at, value=accelerator.name
        )
    rules = read_rules(data, tuple(m.name for m in hybrid.members), file, at)
    machine = assemble(hybrid.members, hybrid.links, rules)
    return replace(accelerator, machine=machine, file=file)


def _whole(value: object, field: str, low: int, file: object) -> int:
    checked = Field(field, "int", "1", None, low, 10**15, (), "").parse(value, file=file)
    return int(checked)


def _switch(
    data: Mapping[str, object], phases: tuple[Phase, ...], file: object
) -> PlannedSwitch | None:
    entry = data.get("switch")
    if entry is None:
        return None
    if not isinstance(entry, Mapping):
        raise InputError("must be a mapping", file=file, field="switch", value=entry)
    _check(entry, SWITCH, file, "switch")
    if "step" not in entry:
        raise InputError("is missing", file=file, field="switch.step")
    step = _whole(entry["step"], "switch.step", 1, file)
    ends = [int(end) for end in np.cumsum([phase.steps for phase in phases])[:-1]]
    if step not in ends:
        raise InputError(
            "is no end of a phase that another follows",
            file=file,
            field="switch.step",
            value=step,
            allowed=[str(end) for end in ends],
        )
    window = _whole(entry.get("window", 0), "switch.window", 0, file)
    windows = _whole(entry.get("windows", 1), "switch.windows", 1, file)
    before = phases[ends.index(step)]
    if window * windows > before.steps:
        raise InputError(
            f"the windows need {window * windows} steps, {before.name} has {before.steps}",
            file=file,
            field="switch.window",
            value=window,
        )
    return PlannedSwitch(step, window, windows, str(entry.get("source", "")))


# ---- costs ----


def run(
    plan: str | Path | Mapping[str, object] | TrainingPlan, *, technology: Technology | None = None
) -> Record:
    """Time, energy, writes per cell and lifetime of a run, by phase and in all.

    plan : a YAML file, its entries, or a TrainingPlan. Writes are those of the most written
    cell of an accelerator; a lifetime says how long that cell lasts if such steps (or runs)
    follow one another without pause. An infeasible phase leaves its costs and the total's None.
    """
    if isinstance(plan, str | Path):
        try:
            return run(read_plan(plan), technology=technology)
        except InputError as error:  # of a setting, which does not know where it was read
            raise error.at(file=plan) from None
    if not isinstance(plan, Mapping | TrainingPlan):
        raise InputError(
            "must be a plan: a file or what it holds", field="plan", value=type(plan).__name__
        )
    plan = plan if isinstance(plan, TrainingPlan) else read_plan(plan)
    technology = Technology.given(technology)
    steps = [_step(plan, phase, phase.trainable, technology) for phase in plan.phases]
    phases = [_phase(*pair) for pair in zip(plan.phases, steps, strict=True)]
    switch = None if plan.switch is None else _switched(plan, steps, technology)
    total = _total(plan, steps, phases, switch) | _amounts(plan)
    total |= {
        "hours": _shown(_number(total["latency_s"]) / 3600.0),
        "kwh": _shown(_number(total["energy_j"]) / 3.6e6),
    }
    costs: Record = {
        "model": plan.model,
        "feasible": total["feasible"],
        "reason": total["reason"],
        "phases": phases,
        "switch": switch,
        "total": total,
    }
    lines = [
        (name, quantity.show(_number(total[key]), unit))
        for name, key, unit in (("time", "latency_s", "s"), ("energy", "energy_j", "J"))
    ]
    return ShortRecord(costs, f"training run of {plan.model}", lines)


def _step(plan: TrainingPlan, phase: Phase, trainable: str, technology: Technology) -> PhaseStep:
    shared = {f"workload.{key}": value for key, value in plan.workload.items()}
    columns = columns_of(
        {
            "model": plan.model,
            "accelerator": phase.accelerator,
            **shared,
            "workload.mode": "training",
            "workload.trainable": trainable,
        }
    )
    try:
        cost = evaluate(columns, 1, technology=technology, level="groups")
        return PhaseStep(record(cost, 0), inspect(columns, technology))
    except InputError as error:
        raise _of_phase(error, plan, phase) from None


def _of_phase(error: InputError, plan: TrainingPlan, phase: Phase) -> InputError:
    """An error of a step that says which phase of the plan it is of."""
    top = (error.field or "").partition("[")[0]
    if top == "assignment" and phase.assigned:
        return error.at(under=phase.at)
    if error.field == "workload.mode":  # which the plan does not say: it always trains
        return InputError(error.problem, field="model", value=plan.model, hint=error.hint)
    ours = top.partition(".")[0] == "workload" and len(plan.phases) > 1
    return error.at(place=f"phase {phase.name}" if ours else "")


def _phase(phase: Phase, step: PhaseStep) -> Record:
    return {
        "name": phase.name,
        "accelerator": phase.accelerator.name,
        "trainable": phase.trainable,
        "steps": phase.steps,
        "feasible": step.record["feasible"],
        "reason": step.record["reason"],
        "step_latency_s": _shown(step.number("latency_s")),
        "step_energy_j": _shown(step.number("energy_j")),
        "latency_s": _shown(phase.steps * step.number("latency_s")),
        "energy_j": _shown(phase.steps * step.number("energy_j")),
        "area_mm2": step.record["area_mm2"],
        "writes_per_cell": phase.steps * step.wear,
        "lifetime_years": _years(step.endurance, step.wear, step.number("latency_s")),
    }


def _switched(plan: TrainingPlan, steps: list[PhaseStep], technology: Technology) -> Record:
    switch = plan.switch
    assert switch is not None
    ends = np.cumsum([phase.steps for phase in plan.phases])
    before = int(np.searchsorted(ends, switch.step))
    after = plan.phases[before + 1]
    beside = _step(plan, plan.phases[before], after.trainable, technology)
    count = switch.window * switch.windows
    return {
        "step": switch.step,
        "window": switch.window,
        "windows": switch.windows,
        "source": switch.source,
        "write": _written(steps[before + 1]),
        "side_by_side": {
            "steps": count,
            "feasible": beside.record["feasible"],
            "reason": beside.record["reason"],
            "step_latency_s": _shown(beside.number("latency_s")),
            "step_energy_j": _shown(beside.number("energy_j")),
            "latency_s": _shown(count * beside.number("latency_s")),
            "energy_j": _shown(count * beside.number("energy_j")),
            "writes_per_cell": count * beside.wear,
        },
    }


def _written(step: PhaseStep) -> Record:
    """Writing the weights that stay in cells."""
    chunk = step.chunk
    writing = placed(chunk.machine, chunk.activity, chunk.prices, chunk.units)
    if writing is None:
        return {"latency_s": 0.0, "energy_j": 0.0, "pulses": 0.0, "writes_per_cell": 0.0}
    return {
        "latency_s": float(writing.seconds[0]),
        "energy_j": float(writing.joules[0]),
        "pulses": float(writing.pulses[0]),
        "writes_per_cell": float(writing.writes[0]),
    }


def _total(
    plan: TrainingPlan, steps: list[PhaseStep], phases: list[Record], switch: Record | None
) -> Record:
    parts: list[Record] = [*phases]
    if switch is not None:
        parts += [switch["write"], switch["side_by_side"]]  # type: ignore[list-item]
    reasons = [str(p["reason"]) for p in parts if p.get("reason")]
    time, energy = (sum(_number(p[key]) for p in parts) for key in ("latency_s", "energy_j"))
    worst, years = 0.0, float("nan")
    for name in dict.fromkeys(phase.accelerator.name for phase in plan.phases):
        here = [i for i, phase in enumerate(plan.phases) if phase.accelerator.name == name]
        writes = sum((plan.phases[i].steps * steps[i].wear for i in here), 0.0)
        for part, phase in _wearing(plan):
            if phase in here:
                writes += _number(switch[part]["writes_per_cell"])  # type: ignore[index]
        endurance = min(steps[i].endurance for i in here)
        if writes > 0:
            years = float(np.fmin(years, endurance / writes * time / YEAR))
        worst = max(worst, writes)
    return {
        "steps": sum(phase.steps for phase in plan.phases),
        "feasible": not reasons,
        "reason": reasons[0] if reasons else None,
        "latency_s": _shown(time),
        "energy_j": _shown(energy),
        "writes_per_cell": worst,
        "lifetime_years": _shown(years),
    }


def _amounts(plan: TrainingPlan) -> Record:
    """How much data the run sees; epochs where the plan says how large the data set is."""
    sizes = _Sizes.of(plan.model, plan.workload, plan.sequences, None)
    sequences = sum(phase.steps for phase in plan.phases) * sizes.batch
    return {
        "sequences": sequences,
        "tokens": None if sizes.length is None else sequences * sizes.length,
        "epochs": None if plan.sequences is None else sequences / plan.sequences,
    }


def _wearing(plan: TrainingPlan) -> list[tuple[str, int]]:
    """What a switch writes, and the phase on whose machine: the frozen weights on that of the
    phase after it, the copy that trains beside on that of the phase before."""
    if plan.switch is None:
        return []
    ends = np.cumsum([phase.steps for phase in plan.phases])
    before = int(np.searchsorted(ends, plan.switch.step))
    return [("write", before + 1), ("side_by_side", before)]


def _number(value: object) -> float:
    return float("nan") if value is None else float(str(value))


def _shown(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _years(endurance: float, wear: float, seconds: float) -> float | None:
    """Years until the most written cell fails; None where nothing is written."""
    return _shown(endurance / wear * seconds / YEAR) if wear > 0 else None
