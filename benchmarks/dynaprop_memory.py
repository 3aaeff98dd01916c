"""Memory of saved activations in training, dense against pruned, with what pruning costs.

    python benchmarks/dynaprop_memory.py [--jobs 2] [--report]

Two tasks with attention over some length, dropout .1, tau_t 0, three seeds, one thread a run,
into results/dynaprop-memory; started again, it goes on. Bytes are counted by saved-tensor hooks,
at their peak over all steps of a run, parameters left out. Dense means: what autograd keeps of
the run with tau_i 0, nothing packed. `lossless` packs zeros that are there anyway and masks of
dropout.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

RUNS = Path(__file__).resolve().parent.parent / "results" / "dynaprop-memory"
SEEDS = (0, 1, 2)
TAUS = (0.0, 0.02, 0.03, 0.05)
SIZES = {"model.layers": 2, "model.hidden": 32, "model.heads": 4, "model.feed_forward": 128}
#: Task -> tokens of an example, steps. Both read far enough back that attention's
#: probabilities, which are mostly tiny, are a good part of what is saved.
TASKS = {"elnino": (48, 300), "digits-tokens": (64, 500)}


@dataclass(frozen=True)
class Job:
    """One run."""

    task: str
    tau_i: float
    seed: int

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return RUNS / f"{self.task}-{TASKS[self.task][0]}-i{self.tau_i:g}-s{self.seed}"


def work(job: Job) -> tuple[Job, dict[str, Any]]:
    """Trains one run, or finds it done."""
    from transcode.training.loop import train
    from transcode.training.settings import Settings

    length, steps = TASKS[job.task]
    settings = Settings(
        model="encoder",
        task=job.task,
        tau_i=job.tau_i,
        steps=steps,
        batch=16,
        learning_rate=3e-3,
        seed=job.seed,
        dropout=0.1,
        sequence_length=length,
        evaluate=steps,
        overrides=SIZES,
    )
    return job, train(settings, out=job.folder, command="benchmarks/dynaprop_memory.py")


def report() -> None:
    """A row for each task and threshold, as Markdown."""
    print("| task | tau_i | peak | against dense | score | points lost |")
    print("|---|---|---|---|---|---|")
    for task in TASKS:
        results = {tau: [result(Job(task, tau, seed)) for seed in SEEDS] for tau in TAUS}
        dense = mean(r["saved_bytes_uncompressed"] for r in results[0.0])
        score = mean(r["score"] for r in results[0.0])
        print(f"| {task} | dense | {dense / 1e6:.2f} MB | | {spread(results[0.0])} | |")
        for tau, runs in results.items():
            name = f"{tau:g}" if tau else "0 (lossless)"
            peak = mean(r["saved_bytes"] for r in runs)
            lost = score - mean(r["score"] for r in runs)
            print(
                f"| {task} | {name} | {peak / 1e6:.2f} MB | {100 * (peak / dense - 1):+.0f} % | "
                f"{spread(runs)} | {lost:.2f} |"
            )


def spread(runs: list[dict[str, Any]]) -> str:
    """Mean and deviation of the scores."""
    scores = [r["score"] for r in runs]
    return f"{mean(scores):.2f} ± {stdev(scores):.2f}"


def result(job: Job) -> dict[str, Any]:
    """result.json of a run."""
    record: dict[str, Any] = json.loads((job.folder / "result.json").read_text(encoding="utf-8"))
    return record


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--report", action="store_true", help="print the table")
    asked = parser.parse_args()
    if asked.report:
        report()
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    todo = [Job(task, tau, seed) for seed in SEEDS for task in TASKS for tau in TAUS]
    with multiprocessing.get_context("spawn").Pool(asked.jobs) as pool:
        for job, outcome in pool.imap_unordered(work, todo):
            print(
                f"{job.folder.name}: {outcome['score']:.2f}, {outcome['saved_bytes']} of "
                f"{outcome['saved_bytes_uncompressed']} bytes, {outcome['seconds']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
