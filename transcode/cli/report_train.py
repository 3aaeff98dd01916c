"""What `transcode train` says: progress while it runs, a table when it ends."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import click

from elector.base.units import format_si
from transcode.cli.report import console_of_stdout

if TYPE_CHECKING:
    from transcode.training.loop import TrainingProgress

#: Accuracies of the shipped sweep.
SWEEP = Path(__file__).parent.parent / "data" / "accuracy" / "dynaprop.csv"


def line(progress: TrainingProgress) -> str:
    """Where a run stands, on one line."""
    parts = [f"{progress.step:,} of {progress.steps:,} steps", f"loss {progress.loss:.4g}"]
    if progress.phase != "full":
        parts.insert(1, {"beside": "side by side", "low": "low-parameter"}[progress.phase])
    if progress.score is not None:
        parts.append(f"validation {progress.score:.1f}")
    parts.append(f"{progress.left:.0f} s left")
    return "  ".join(parts)


def result(entries: Mapping[str, Any], folder: Path, format: str) -> None:
    """The result of a run on stdout."""
    if format == "json":
        click.echo(json.dumps(entries, indent=1))
        return
    rows = _rows(entries)
    if format == "csv":
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["quantity", "value"])
        writer.writerows(rows)
        click.echo(stream.getvalue(), nl=False)
        return
    from rich.table import Table

    table = Table("", "", title=f"{entries['model']} on {entries['task']}", show_header=False)
    for row in rows:
        table.add_row(*row)
    console_of_stdout().print(table)
    click.echo(f"files in {folder}: {', '.join(entries['files'])}")


def _rows(entries: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [(f"test {entries['metric']}", f"{entries['score']:.2f}")]
    dense = shipped_dense(entries["model"], entries["task"])
    if dense:
        spread = f"±{stdev(dense):.2f}" if len(dense) > 1 else ""
        rows.append(("nothing pruned, shipped sweep", f"{mean(dense):.2f}{spread}"))
    rows += [(f"baseline: {name}", f"{score:.2f}") for name, score in entries["baselines"].items()]
    rows += [(f"further: {name}", f"{value:.4g}") for name, value in entries["further"].items()]
    rows.append(("tau_i, tau_t", f"{entries['tau_i']:g}, {entries['tau_t']:g}"))
    for name, what in (("top_k_i", "activations"), ("top_k_t", "gradients")):
        if entries.get(name) is not None:
            rows.append((f"top-k of {what}", f"{100 * entries[name]:g} % of each row"))
    rows += [
        (f"mean density of operands: {kind}", f"{100 * value:.1f} %")
        for kind, value in entries["density"].items()
    ]
    whole = entries["saved_bytes_uncompressed"]
    rows.append(
        (
            "peak of saved activations",
            f"{format_si(entries['saved_bytes'], 'byte')}, {format_si(whole, 'byte')} uncompressed",
        )
    )
    rows += _switch(entries["switch"])
    rows.append(("parameters", f"{entries['parameters']:,}"))
    rows.append(("share trained in the last phase", f"{100 * entries['trainable_share']:.1f} %"))
    rows.append(("time", f"{entries['seconds']:.1f} s for {entries['steps']:,} steps"))
    return rows


def _switch(switch: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if switch is None:
        return []
    trials = f"{len(switch['trials'])} window{'' if len(switch['trials']) == 1 else 's'}"
    if switch["switched"] is None:
        return [("switch", f"the rule never ended full training ({trials} side by side)")]
    return [
        (
            "switch",
            f"after step {switch['switched']:,}, f = {switch['f']:.3f} ({trials} side by side)",
        )
    ]


def shipped_dense(model: str, task: str) -> list[float]:
    """Scores of the shipped sweep without pruning, one for each seed; empty where none is."""
    if not SWEEP.exists():
        return []
    with SWEEP.open(newline="", encoding="utf-8") as stream:
        return [
            float(row["score"])
            for row in csv.DictReader(stream)
            if (row["name"], row["task"]) == (model, task)
            and float(row["tau_i"]) == float(row["tau_t"]) == 0.0
        ]
