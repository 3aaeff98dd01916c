"""What a finished run leaves: result, sparsity table, accuracy row, model, plan, picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from elector.describe.formats.described import to_mapping
from elector.describe.model import Model
from elector.operations.sparsity import COLUMNS as SPARSITY
from transcode.runs.files import replace_file, write_json, write_text
from transcode.training import folder
from transcode.training.build import for_task
from transcode.training.copy import summary
from transcode.training.lora import RANK, trainable_share
from transcode.training.switch import LOW, plan

if TYPE_CHECKING:
    from transcode.training.run import TrainingRun
    from transcode.training.task import Measured

#: The contract's columns of accuracy rows, and what a trained row knows beside them.
ACCURACY = (
    "name",
    "task",
    "metric",
    "score",
    "std",
    "layers",
    "hidden",
    "heads",
    "feed_forward",
    "parameters",
    "source",
    "evidence",
    "tau_i",
    "tau_t",
    "seed",
)
#: Where the plan of a switched run puts its phases.
HYBRID = "hpt"
_DPI = 120


def write(run: TrainingRun) -> dict[str, Any]:
    """Writes the files of a finished run and returns result.json, which is written last."""
    at = run.folder
    test = run.current.measure(run.task.test)
    fitted = for_task(run.model, run.task)
    rows = run.full.rows(test.score)
    write_text(at / "sparsity.csv", folder.table(SPARSITY, rows))
    row = accuracy_row(run, test.score)
    write_text(at / "accuracy.csv", folder.table(ACCURACY, [row]))
    write_text(at / "model.yaml", yaml.safe_dump(to_mapping(fitted), sort_keys=False))
    files = ["metrics.csv", "sparsity.csv", "accuracy.csv", "model.yaml", "loss.png"]
    switched = run.phase == LOW and run.step > (run.switch.switched or 0)  # type: ignore[union-attr]
    if switched:
        write_text(at / "plan.yaml", yaml.safe_dump(_plan(run), sort_keys=False))
        files.append("plan.yaml")
    draw(
        folder.read_metrics(at),
        run.task.metric,
        at / "loss.png",
        run.switch.switched if run.switch else None,
    )
    content = _result(run, test, rows, row["parameters"]) | {"files": files}
    write_json(at / folder.RESULT, content)
    return content


def _result(
    run: TrainingRun, test: Measured, rows: list[dict[str, Any]], parameters: Any
) -> dict[str, Any]:
    """What result.json says of a finished run, but for its files."""
    settings = run.settings
    return {
        "model": settings.model,
        "task": run.task.name,
        "metric": run.task.metric,
        "score": test.score,
        "loss": test.loss,
        "further": dict(test.further),
        "valid_score": run.score,
        "best_valid_score": run.best,
        "baselines": dict(run.task.baselines),
        "tau_i": settings.tau_i,
        "tau_t": settings.tau_t,
        "top_k_i": settings.top_k_i,
        "top_k_t": settings.top_k_t,
        "seed": settings.seed,
        "steps": run.step,
        "seconds": run.seconds,
        "parameters": parameters,
        "trainable_share": trainable_share(run.current.module),
        "density": summary(rows),
        "saved_bytes": run.peak,
        "saved_bytes_uncompressed": run.dense_peak,
        "switch": _switch(run),
    }


def accuracy_row(run: TrainingRun, score: float) -> dict[str, object]:
    """The run's score as a row of an accuracy table; shapes are means over the layers."""
    model, settings = run.model, run.settings
    layers = sum(block.repeat for block in model.blocks)

    def mean(values: Sequence[tuple[float, int]]) -> float | int:
        value = sum(v * n for v, n in values) / layers
        return int(value) if value == int(value) else value

    return {
        "name": model.name,
        "task": run.task.name,
        "metric": run.task.metric,
        "score": score,
        "std": None,
        "layers": layers,
        "hidden": mean([(b.hidden, b.repeat) for b in model.blocks]),
        "heads": mean([(b.heads, b.repeat) for b in model.blocks]),
        "feed_forward": mean([(sum(b.feed_forward), b.repeat) for b in model.blocks]),
        "parameters": sum(p.numel() for p in run.full.module.parameters()),
        "source": f"trained here: {settings.steps} steps of {settings.batch}, {run.task.source}",
        "evidence": "measured",
        # no threshold stands for what top-k leaves
        "tau_i": settings.tau_i if settings.top_k_i is None else None,
        "tau_t": settings.tau_t if settings.top_k_t is None else None,
        "seed": settings.seed,
    }


def _switch(run: TrainingRun) -> dict[str, Any] | None:
    """What the rule saw and did; f is the share of the steps trained in full."""
    if run.switch is None:
        return None
    state, step = run.switch.state(), run.switch.switched
    return {
        "window": run.switch.rule.window,
        "switched": step,
        "f": None if step is None else step / run.step,
        "means": state["means"],
        "distances": state["distances"],
        "trials": state["trials"],
    }


def _plan(run: TrainingRun) -> dict[str, object]:
    assert run.switch is not None
    fitted: Model = for_task(run.model, run.task)
    length = run.task.sequence_length + (1 if fitted.patches else 0)
    workload = {"sequence_length": length, "batch": run.settings.batch}
    return plan("model.yaml", workload, run.switch, run.step, RANK, HYBRID)


def draw(
    metrics: Sequence[Mapping[str, str]], metric: str, path: Path, switched: int | None
) -> None:
    """Loss and validation score over steps as a picture.

    metrics : rows of metrics.csv. metric : name of the score. switched : step of the switch, None
        without one.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    steps = [int(row["step"]) for row in metrics]
    axes.plot(steps, [float(row["loss"]) for row in metrics], color="C0", label="loss")
    low = [(int(r["step"]), float(r["low_loss"])) for r in metrics if r["low_loss"]]
    if low:
        axes.plot(*zip(*low, strict=True), color="C2", label="loss of the low-parameter copy")
    if switched is not None:
        axes.axvline(switched, color="grey", linestyle=":", label="full training ends")
    axes.set_xlabel("step")
    axes.set_ylabel("training loss")
    other = axes.twinx()
    other.plot(steps, [float(row["score"]) for row in metrics], color="C1", label=metric)
    other.set_ylabel(f"validation {metric} [points]")
    lines = [*axes.get_lines(), *other.get_lines()]
    # Above the axes: inside, it would cover one of two curves that cross.
    figure.legend(
        lines,
        [str(line.get_label()) for line in lines],
        frameon=False,
        fontsize="small",
        loc="outside upper center",
        ncols=len(lines),
    )
    replace_file(
        path,
        lambda temporary: figure.savefig(
            temporary, dpi=_DPI, format="png", metadata={"Software": None}
        ),
    )
