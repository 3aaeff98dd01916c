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
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, stdev

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
DECODER = {"model.layers": 2, "model.hidden": 32, "model.heads": 2, "model.kv_heads": 2,
           "model.head_size": 16, "model.feed_forward": 96}
BATCH = 16
CASES = (
    Case("digits", "encoder", 250, 5e-3, (0.0, 0.05, 0.1, 0.2), (0.0, 1e-6, 1e-5, 1e-4)),
    Case("elnino", "encoder", 150, 5e-3, (0.0, 0.05, 0.1, 0.2), (0.0, 1e-5, 1e-4, 1e-3), 12),
    Case("docstrings", "llama-2-7b", 150, 1e-2, (0.0, 0.05, 0.1, 0.2), (0.0, 1e-6, 1e-5, 1e-4),
         16, DECODER),
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
        model=case.model, task=case.task, tau_i=job.tau_i, tau_t=job.tau_t, steps=case.steps,
        batch=BATCH, learning_rate=case.learning_rate, dropout=0.0, seed=job.seed,
        sequence_length=case.sequence_length, overrides=case.sizes, evaluate=case.steps,
    )
    try:
        found = train(settings, out=job.folder, command="benchmarks/dynaprop_sweep.py")
    except Diverged as error:
        return job, str(error)
    return job, f"{found['metric']} {found['score']:.2f} in {found['seconds']:.1f} s"


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

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    places = list(range(len(case.tau_t)))
    kept = [r for r in table if r["operand"] == "gradient" and float(r["tau_i"]) == 0.0]
    names = list(dict.fromkeys(r["operation"] for r in kept))
    for number, name in enumerate(names):
        each = [[float(r["density"]) for r in kept
                 if r["operation"] == name and float(r["tau_t"]) == t] for t in case.tau_t]
        left.plot(places, [mean(v) for v in each], marker="os^vD"[number % 5],
                  color=f"C{number % 10}", label=name, linewidth=1, markersize=4)
    left.set_ylabel("density of the propagated gradient, tau_i = 0")
    left.set_ylim(0, 1.02)
    scores = {(float(r["tau_i"]), float(r["tau_t"]), r["seed"]): float(r["accuracy"])
              for r in table}
    for tau_i in case.tau_i:
        each = [[s for (i, t, _), s in scores.items() if (i, t) == (tau_i, at)]
                for at in case.tau_t]
        right.errorbar(places, [mean(v) for v in each], [stdev(v) if len(v) > 1 else 0.0
                                                         for v in each],
                       marker="o", capsize=3, label=f"tau_i = {tau_i:g}")
    right.set_ylabel("test score [points], mean and deviation of three seeds")
    for axes in (left, right):
        axes.set_xticks(places, [f"{t:g}" for t in case.tau_t])
        axes.set_xlabel("tau_t")
    left.legend(frameon=False, fontsize=6, ncols=2)
    right.legend(frameon=False, fontsize="small")
    figure.suptitle(f"{case.task}: {case.model}, {case.steps} steps")
    figure.savefig(path, dpi=100, metadata={"Software": None})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--tasks", nargs="*", default=[case.task for case in CASES])
    parser.add_argument("--collect", action="store_true")
    parser.add_argument("--steps", type=int, help="fewer steps, to try it out")
    asked = parser.parse_args()
    cases = [case for case in CASES if case.task in asked.tasks]
    if asked.steps:
        cases = [replace(case, steps=asked.steps) for case in cases]
    if asked.collect:
        collect(cases)
    else:
        sweep(cases, asked.jobs)


if __name__ == "__main__":
    main()
