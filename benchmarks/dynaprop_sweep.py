"""What DynaTran and DynaProp do to real training: density and accuracy over both thresholds.

    python benchmarks/dynaprop_sweep.py [--jobs 2] [--tasks digits elnino docstrings]
    python benchmarks/dynaprop_sweep.py --collect     write the shipped tables and pictures
    python benchmarks/dynaprop_sweep.py --report      the tables of docs/training.md

Three tasks x 4 tau_i x 4 tau_t x 3 seeds, each a run of `transcode train` on one thread, into
results/dynaprop-sweep; started again, it goes on. The largest tau_t of each task is one that
breaks training, on purpose.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import elector

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "results" / "dynaprop-sweep"
SPARSITY = ROOT / "elector" / "data" / "sparsity"
ACCURACY = ROOT / "transcode" / "data" / "accuracy" / "dynaprop.csv"
IMAGES = ROOT / "docs" / "images"
SEEDS = (0, 1, 2)
SIZES = {"model.layers": 2, "model.hidden": 32, "model.heads": 2, "model.feed_forward": 128}
#: Points of accuracy that pruning may cost where memory is compared.
ALLOWED = 0.5


@dataclass(frozen=True)
class Case:
    """A task, how it is trained, and the thresholds it is swept over."""

    task: str
    model: str
    steps: int
    learning_rate: float
    tau_i: tuple[float, ...]
    tau_t: tuple[float, ...]
    sequence_length: int | None = None
    sizes: Mapping[str, int] = field(default_factory=lambda: SIZES)


#: A Llama as small as the encoders: text is learned soonest with rotary positions.
DECODER = {
    "model.layers": 2,
    "model.hidden": 32,
    "model.heads": 2,
    "model.kv_heads": 2,
    "model.head_size": 16,
    "model.feed_forward": 96,
}
BATCH = 16
CASES = (
    Case("digits", "encoder", 800, 5e-3, (0.0, 0.05, 0.1, 0.2), (0.0, 1e-6, 1e-5, 1e-4)),
    Case("elnino", "encoder", 300, 5e-3, (0.0, 0.05, 0.1, 0.2), (0.0, 1e-5, 1e-4, 1e-3), 12),
    Case(
        "docstrings",
        "llama-2-7b",
        500,
        1e-2,
        (0.0, 0.05, 0.1, 0.2),
        (0.0, 1e-6, 1e-5, 1e-4),
        16,
        DECODER,
    ),
)


@dataclass(frozen=True)
class Job:
    """One run of the sweep."""

    case: Case
    tau_i: float
    tau_t: float
    seed: int

    @property
    def folder(self) -> Path:
        """Where the run lies."""
        return RUNS / f"{self.case.task}-i{self.tau_i:g}-t{self.tau_t:g}-s{self.seed}"


def jobs(cases: Iterable[Case]) -> Iterator[Job]:
    """Every run, seeds outermost, so that a part of the sweep covers all thresholds."""
    for seed in SEEDS:
        for case in cases:
            for tau_i in case.tau_i:
                for tau_t in case.tau_t:
                    yield Job(case, tau_i, tau_t, seed)


def work(job: Job) -> tuple[Job, str]:
    """Trains one run, or finds it done; what became of it."""
    from transcode.training.loop import Diverged, train
    from transcode.training.settings import Settings

    case = job.case
    settings = Settings(
        model=case.model,
        task=case.task,
        tau_i=job.tau_i,
        tau_t=job.tau_t,
        steps=case.steps,
        batch=BATCH,
        learning_rate=case.learning_rate,
        dropout=0.0,
        seed=job.seed,
        sequence_length=case.sequence_length,
        overrides=case.sizes,
        evaluate=case.steps,
    )
    try:
        trained = train(settings, out=job.folder, command="benchmarks/dynaprop_sweep.py")
    except Diverged as error:
        return job, str(error)
    return job, f"{trained['metric']} {trained['score']:.2f} in {trained['seconds']:.1f} s"


def sweep(cases: Sequence[Case], processes: int) -> None:
    """Runs what is not done yet, `processes` at once, one thread each."""
    os.environ["OMP_NUM_THREADS"] = "1"
    todo, started = list(jobs(cases)), time.perf_counter()
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        for number, (job, text) in enumerate(pool.imap_unordered(work, todo), 1):
            seconds = time.perf_counter() - started
            print(f"{number}/{len(todo)} {seconds:.0f} s {job.folder.name}: {text}", flush=True)


# ---- the shipped tables ----


def rows(path: Path) -> list[dict[str, str]]:
    """A table."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def done(case: Case) -> list[Job]:
    """The runs of a task that are finished."""
    return [job for job in jobs([case]) if (job.folder / "result.json").exists()]


def collect(cases: Sequence[Case]) -> None:
    """One sparsity table and one picture for each task, one table of accuracies."""
    accuracies: list[dict[str, str]] = []
    for case in cases:
        finished = done(case)
        densities = [row for job in finished for row in rows(job.folder / "sparsity.csv")]
        for row in densities:
            row["density"] = f"{float(row['density']):.5f}"
            row["accuracy"] = f"{float(row['accuracy']):.3f}"
        write(SPARSITY / f"trained-{case.task}.csv", densities)
        accuracies += [row for job in finished for row in rows(job.folder / "accuracy.csv")]
        draw(case, densities, IMAGES / f"dynaprop-{case.task}.png")
    for row in accuracies:
        row["score"] = f"{float(row['score']):.3f}"
    write(ACCURACY, accuracies)


def write(path: Path, table: list[dict[str, str]]) -> None:
    """Writes a table."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    print(f"{path.relative_to(ROOT)}: {len(table)} rows")


def draw(case: Case, table: list[dict[str, str]], path: Path) -> None:
    """Density of the propagated gradient over tau_t for each operation, and the score."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    places = list(range(len(case.tau_t)))
    # Both backward products of an operation read the same gradient: one line for them.
    kept = [
        {**r, "operation": r["operation"].replace("input gradient", "(both products)")}
        for r in table
        if r["operand"] == "gradient"
        and float(r["tau_i"]) == 0.0
        and r["operation"] != "*"
        and not r["operation"].endswith("weight gradient")
    ]
    names = list(dict.fromkeys(r["operation"] for r in kept))
    for number, name in enumerate(names):
        each = [
            [float(r["density"]) for r in kept if r["operation"] == name and float(r["tau_t"]) == t]
            for t in case.tau_t
        ]
        left.plot(
            places,
            [mean(v) for v in each],
            marker="os^vD"[number % 5],
            color=f"C{number % 10}",
            label=name,
            linewidth=1,
            markersize=4,
        )
    left.set_ylabel("density of the propagated gradient, tau_i = 0")
    left.set_ylim(0, 1.02)
    scores = {
        (float(r["tau_i"]), float(r["tau_t"]), r["seed"]): float(r["accuracy"]) for r in table
    }
    for tau_i in case.tau_i:
        each = [
            [s for (i, t, _), s in scores.items() if (i, t) == (tau_i, at)] for at in case.tau_t
        ]
        there = [n for n, values in enumerate(each) if values]
        spread = [stdev(each[n]) if len(each[n]) > 1 else 0.0 for n in there]
        right.errorbar(
            there,
            [mean(each[n]) for n in there],
            spread,
            marker="o",
            capsize=3,
            label=f"tau_i = {tau_i:g}",
        )
    right.set_ylabel("test score [points]")
    for axes in (left, right):
        axes.set_xticks(places, [f"{t:g}" for t in case.tau_t])
        axes.set_xlabel("tau_t")
    left.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    right.legend(frameon=False, fontsize="small")
    figure.suptitle(
        f"{case.task}: {case.model}, {case.steps} steps of {BATCH}, "
        f"{len(SEEDS)} seeds (bars: deviation of the score)"
    )
    figure.savefig(path, dpi=100, metadata={"Software": None})


# ---- the tables of docs/training.md ----


@dataclass(frozen=True)
class Point:
    """The runs of a task at one pair of thresholds."""

    tau_i: float
    tau_t: float
    scores: tuple[float, ...]
    saved: float
    seconds: float

    @property
    def shown(self) -> str:
        """Mean and deviation of the scores."""
        spread = f" ± {stdev(self.scores):.1f}" if len(self.scores) > 1 else ""
        return f"{mean(self.scores):.1f}{spread}"


def points(case: Case) -> dict[tuple[float, float], Point]:
    """What a task's runs found, over the seeds that are there."""
    by_thresholds: dict[tuple[float, float], list[dict[str, Any]]] = {}
    for job in done(case):
        text = (job.folder / "result.json").read_text(encoding="utf-8")
        by_thresholds.setdefault((job.tau_i, job.tau_t), []).append(json.loads(text))
    return {
        at: Point(
            *at,
            tuple(r["score"] for r in results),
            mean(r["saved_bytes"] for r in results),
            mean(r["seconds"] for r in results),
        )
        for at, results in by_thresholds.items()
    }


def report(cases: Sequence[Case]) -> None:
    """Scores, memory, and what the simulator makes of the densities, as Markdown."""
    for case in cases:
        grid = points(case)
        print(f"\n{case.task}, score by tau_i (down) and tau_t (across), {len(done(case))} runs\n")
        print("| tau_i | " + " | ".join(f"{t:g}" for t in case.tau_t) + " |")
        print("|---|" + "---|" * len(case.tau_t))
        for i in case.tau_i:
            cells = [grid[i, t].shown if (i, t) in grid else "" for t in case.tau_t]
            print(f"| {i:g} | " + " | ".join(cells) + " |")
    print("\n| task | tau_i | peak of saved activations | against dense | points lost |")
    print("|---|---|---|---|---|")
    for case in cases:
        grid = points(case)
        dense = grid[0.0, 0.0]
        for i in case.tau_i:
            at = grid[i, 0.0]
            print(
                f"| {case.task} | {i:g} | {at.saved / 1e6:.2f} MB | "
                f"{100 * (at.saved / dense.saved - 1):+.0f} % | "
                f"{mean(dense.scores) - mean(at.scores):.1f} |"
            )
    machine(cases)


def machine(cases: Sequence[Case]) -> None:
    """A training step on acceltran-server under every table."""
    print("\n| model | densities | tau_i | tau_t | score lost | time | energy | memory |")
    print("|---|---|---|---|---|---|---|---|")
    for model in ("bert-tiny", "bert-base"):
        step = {"workload.mode": "training", "workload.batch": 4}
        dense = elector.simulate(model, "acceltran-server", settings=step)
        print(f"| {model} | dense | | | | {costs(dense, dense)} |")
        assumed = {**step, "workload.sparsity": "acceltran"}
        result = elector.simulate(model, "acceltran-server", settings=assumed)
        print(f"| {model} | `acceltran` (assumed) | | | ? | {costs(result, dense)} |")
        for case in cases:
            best = points(case)
            for i in case.tau_i[:3]:
                for t in case.tau_t[:3]:
                    settings = {
                        **step,
                        "workload.sparsity": f"trained-{case.task}",
                        "workload.tau_i": i,
                        "workload.tau_t": t,
                    }
                    result = elector.simulate(model, "acceltran-server", settings=settings)
                    lost = mean(best[0.0, 0.0].scores) - mean(best[i, t].scores)
                    print(
                        f"| {model} | `trained-{case.task}` | {i:g} | {t:g} | {lost:.1f} | "
                        f"{costs(result, dense)} |"
                    )


def costs(pruned: dict[str, Any], dense: dict[str, Any]) -> str:
    """Time, energy and memory of activations, with their share of the dense ones."""

    def share(name: str) -> str:
        return f"{100 * pruned[name] / dense[name]:.0f} %"

    held, whole = (r["memory_bytes"]["activations"] for r in (pruned, dense))
    return (
        f"{1e3 * pruned['latency_s']:.3g} ms ({share('latency_s')}) | "
        f"{1e3 * pruned['energy_j']:.3g} mJ ({share('energy_j')}) | "
        f"{held / 1e6:.3g} MB ({100 * held / whole:.0f} %)"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--tasks", nargs="*", default=[case.task for case in CASES])
    parser.add_argument("--collect", action="store_true", help="write the shipped tables")
    parser.add_argument("--report", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--steps", type=int, help="fewer steps, to try it out")
    asked = parser.parse_args()
    cases = [case for case in CASES if case.task in asked.tasks]
    if asked.steps:
        cases = [replace(case, steps=asked.steps) for case in cases]
    if asked.collect:
        collect(cases)
    elif asked.report:
        report(cases)
    else:
        sweep(cases, asked.jobs)


if __name__ == "__main__":
    main()
