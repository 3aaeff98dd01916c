"""HpT's switch rule on real training: when it ends full training, and what that costs.

    python benchmarks/hpt_switch.py [--jobs 2] [--tasks elnino digits] [--report]

For each task and seed two runs of the same steps into results/hpt-switch: full training
throughout, and with the rule (window of a hundredth of the steps). Then each plan runs through
`elector run` on the shipped hybrid `hpt`. Started again, it goes on; --report prints the tables
of docs/training.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from elector.studies.training_run import run

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "results" / "hpt-switch"
SEEDS = (0, 1, 2)
BATCH = 16
SIZES = {"model.layers": 2, "model.hidden": 32, "model.heads": 2, "model.feed_forward": 128}
#: Task -> tokens of an example, steps, learning rate.
TASKS = {"elnino": (12, 800, 3e-3), "digits": (16, 800, 3e-3)}


@dataclass(frozen=True)
class Job:
    """One run: a task, a seed, and whether the rule may end full training."""

    task: str
    seed: int
    switch: str

    @property
    def folder(self) -> Path:
        """Where the run lies."""
        return RUNS / f"{self.task}-{TASKS[self.task][1]}-{self.switch}-s{self.seed}"


def work(job: Job) -> tuple[Job, dict[str, Any]]:
    """Trains one run, or finds it done."""
    from transcode.training.loop import train
    from transcode.training.settings import Settings

    length, steps, rate = TASKS[job.task]
    settings = Settings(
        model="encoder",
        task=job.task,
        switch=job.switch,
        steps=steps,
        batch=BATCH,
        learning_rate=rate,
        schedule="constant",
        seed=job.seed,
        dropout=0.0,
        sequence_length=length,
        evaluate=steps,
        overrides=SIZES,
    )
    return job, train(settings, out=job.folder, command="benchmarks/hpt_switch.py")


def error(record: dict[str, Any]) -> float:
    """What is to be small: points missing to 100."""
    return 100.0 - float(record["score"])


def report(tasks: list[str]) -> None:
    """Tables as Markdown."""
    print(
        "| task | seed | full steps f | windows side by side | p | score, full | score, "
        "switched | error, full | error, switched | share trained |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for task in tasks:
        errors = []
        for seed in SEEDS:
            full, low = (result(Job(task, seed, s)) for s in ("none", "hpt"))
            switch = low["switch"]
            errors.append((error(full), error(low)))
            p = f"{switch['trials'][-1]['p']:.2f}" if switch["trials"] else "-"
            f = "never" if switch["f"] is None else f"{switch['f']:.3f}"
            print(
                f"| {task} | {seed} | {f} | {len(switch['trials'])} | {p} | "
                f"{full['score']:.2f} | {low['score']:.2f} | {error(full):.2f} | "
                f"{error(low):.2f} | {100 * low['trainable_share']:.1f} % |"
            )
        full_error, low_error = (mean(e[i] for e in errors) for i in (0, 1))
        print(
            f"| {task} | mean | | | | | | {full_error:.2f} | {low_error:.2f} "
            f"({100 * (low_error / full_error - 1):+.1f} %) | |"
        )
    print()
    print("| plan | steps | f | time | energy | full training on the GPU: time | energy |")
    print("|---|---|---|---|---|---|---|")
    for task in tasks:
        for seed in SEEDS:
            costs(Job(task, seed, "hpt"))


def costs(job: Job) -> None:
    """A row of what `elector run` says to a run's plan."""
    import yaml

    path = job.folder / "plan.yaml"
    if not path.exists():
        return
    outcome = run(path)
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    entries["model"] = str(job.folder / entries["model"])
    steps = outcome["total"]["steps"]  # type: ignore[index]
    whole = run({**entries, "phases": [{**entries["phases"][0], "steps": steps}], "switch": None})[
        "total"
    ]
    total = outcome["total"]
    assert isinstance(total, dict) and isinstance(whole, dict)
    share = entries["switch"]["step"] / steps
    print(
        f"| {job.task}, seed {job.seed} | {steps} | {share:.3f} | {total['latency_s']:.2f} s | "
        f"{total['energy_j']:.1f} J | {whole['latency_s']:.2f} s | {whole['energy_j']:.1f} J |"
    )


def result(job: Job) -> dict[str, Any]:
    """result.json of a run."""
    record: dict[str, Any] = json.loads((job.folder / "result.json").read_text(encoding="utf-8"))
    return record


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--report", action="store_true")
    asked = parser.parse_args()
    if asked.report:
        report(asked.tasks)
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    todo = [Job(t, s, w) for s in SEEDS for t in asked.tasks for w in ("none", "hpt")]
    with multiprocessing.get_context("spawn").Pool(asked.jobs) as pool:
        for job, outcome in pool.imap_unordered(work, todo):
            switch = outcome["switch"]
            f = "" if switch is None else f", f {switch['f']}"
            print(
                f"{job.folder.name}: {outcome['score']:.2f}{f}, {outcome['seconds']:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
