"""Quality of the search on spaces whose truth is known, and its speed with recording.

    python benchmarks/search_quality.py --quick
    python benchmarks/search_quality.py --out results/search-quality

Truth: every design of a space is evaluated once and kept. Every sampler is then run on that
table, with the same batches it would have in `transcode search`, and its hypervolume is read
off as a share of the truth's. Each row is appended to quality.csv as it is measured: started
again, the script goes on with what is missing.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import transcode
from elector.base.table import Column
from transcode import engines, pareto
from transcode.objective import MACHINE, Outcome, Problem
from transcode.search import prepare
from transcode.space import Space, load

FIELDS = ("space", "sampler", "seed", "designs", "hypervolume_share", "front_share", "seconds")
#: Designs at which the samplers are compared; those that think long stop early.
MARKS = (500, 2_000, 5_000)
#: Share of the space after which evolve is held against the truth.
SHARE = 0.05
_LAST = {"tpe": 500, "gp": 500}
_CHUNK = 1 << 16
#: Three of at least a million designs on different machines (`elector` takes 40 s and 2 GB), and
#: two small ones.
SPACES = ("smoke", "gpt2", "bert", str(Path(__file__).parent / "spaces" / "reram.yaml"), "elector")
#: (name, problem, seed, batch, what a design without values counts as) -> engine.
Make = Callable[[str, Problem, int, int, np.ndarray], engines.Engine]


@dataclass(frozen=True)
class Truth:
    """A space with what became of every design.

    objectives : (N, O) by index, minimised, NaN where infeasible or not allowed.
    front : indices of the true front. seconds : what evaluating and filtering took.
    """

    space: Space
    problem: Problem
    objectives: np.ndarray
    front: np.ndarray
    reference: np.ndarray
    seconds: float

    @property
    def hypervolume(self) -> float:
        """Of the true front."""
        return pareto.hypervolume(self.objectives[self.front], self.reference)


def problem_of(name: str, folder: Path) -> tuple[Problem, np.ndarray]:
    """A space to be evaluated, and the reference point that `transcode search` gives it."""
    read = load(name)
    sources = prepare.sources_of(read, None, 0, folder)
    problem, first = prepare.probe(read, sources, time.perf_counter)
    reference = prepare.reference_of(problem, first, None)
    assert reference is not None, f"{name}: no feasible design in the probe"
    return problem, reference


def truth_of(name: str, folder: Path) -> Truth:
    """The truth of a space: from the folder, or evaluated now and kept there."""
    problem, reference = problem_of(name, folder)
    path = folder / f"{problem.space.name}.npz"
    if not path.exists():
        start = time.perf_counter()
        objectives = evaluated(problem)
        feasible = np.flatnonzero(np.isfinite(objectives[:, 0]))
        front = feasible[pareto.nondominated(objectives[feasible])]
        seconds = time.perf_counter() - start
        np.savez(path, objectives=objectives, front=front, seconds=seconds)
    kept = np.load(path)
    return Truth(
        problem.space, problem, kept["objectives"], kept["front"], reference, float(kept["seconds"])
    )


def evaluated(problem: Problem) -> np.ndarray:
    """(N, O) objectives of every design of the space."""
    space = problem.space
    objectives = np.full((space.cardinality, len(space.objectives)), np.nan)
    for start in range(0, space.cardinality, _CHUNK):
        index = np.arange(start, min(start + _CHUNK, space.cardinality))
        codes = space.designs(index)
        rows = np.flatnonzero(space.allowed(codes))
        outcome = problem.assess(codes[rows])
        good = outcome.feasible
        objectives[index[rows[good]]] = outcome.objectives[good]
    return objectives


def looked_up(truth: Truth, codes: np.ndarray) -> Outcome:
    """What became of designs, from the table."""
    values = truth.objectives[truth.space.index(codes)]
    feasible = np.isfinite(values[:, 0])
    names = [MACHINE, *(e.text for e in truth.space.constraints)]
    margins = {name: np.where(feasible, 0.0, 1.0) for name in names}
    return Outcome({}, values, margins, feasible, Column.constant("", len(codes)))


def rows_of(
    truth: Truth, sampler: str, seed: int, marks: list[int], make: Make = engines.make
) -> list[dict[str, object]]:
    """A row for each mark: how near the truth a sampler is after so many designs."""
    batch = engines.default_batch(sampler)
    engine = make(sampler, truth.problem, seed, batch, truth.reference)
    known = np.zeros(0, dtype=np.int64)
    rows, spent = [], 0.0
    for mark in marks:
        while len(known) < mark and not engine.exhausted:
            begin = time.perf_counter()
            codes = engine.suggest(min(batch, mark - len(known)))
            outcome = looked_up(truth, codes)
            engine.update(codes, outcome)
            spent += time.perf_counter() - begin
            known = np.concatenate([known, truth.space.index(codes)])
        values = truth.objectives[known]
        values = values[np.isfinite(values[:, 0])]
        volume = pareto.hypervolume(values[pareto.nondominated(values)], truth.reference)
        share = np.isin(truth.front, known).mean()
        rows.append(
            {
                "space": truth.space.name,
                "sampler": sampler,
                "seed": seed,
                "designs": len(known),
                "hypervolume_share": f"{volume / truth.hypervolume:.6f}",
                "front_share": f"{share:.4f}",
                "seconds": f"{spent:.2f}",
            }
        )
    return rows


def marks_of(sampler: str, size: int) -> list[int]:
    """Where a sampler is looked at in a space of so many designs."""
    marks = {m for m in MARKS if m <= _LAST.get(sampler, m) and m < size}
    if sampler in ("evolve", "random"):
        marks.add(int(SHARE * size))
    return sorted(marks)


def done_in(path: Path) -> set[tuple[str, str, str]]:
    """(space, sampler, seed) that stand in the file already."""
    if not path.exists():
        return set()
    with path.open(newline="", encoding="utf-8") as stream:
        return {(r["space"], r["sampler"], r["seed"]) for r in csv.DictReader(stream)}


def append(path: Path, rows: list[dict[str, object]]) -> None:
    """Adds rows to the file, and shows them."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def speed(space: str, seconds: float) -> None:
    """Designs a second of a whole search, recording included."""
    with tempfile.TemporaryDirectory() as name:
        result = transcode.search(space, sampler="evolve", time=seconds, out=Path(name) / "run")
    timing, designs = result.manifest["timing"], result.manifest["designs"]
    parts = {k: f"{v:.1f} s" for k, v in timing.items() if not k.startswith("session")}
    print(
        f"{space}: {designs:,} designs in {timing['session']:.1f} s "
        f"({designs / timing['session']:,.0f} /s, recording included): {parts}"
    )


def main() -> int:
    """Measures what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/search-quality"))
    parser.add_argument("--spaces", nargs="+", default=SPACES)
    parser.add_argument(
        "--samplers", nargs="+", default=["evolve", "random", "nsga2", "nsga3", "tpe"]
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two samplers, one seed, a minute")
    parser.add_argument("--speed", type=float, default=10.0, metavar="SECONDS")
    asked = parser.parse_args()
    samplers, seeds = asked.samplers, asked.seeds
    if asked.quick:
        samplers, seeds = ["evolve", "random"], 1
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / "quality.csv"
    for name in asked.spaces:
        truth = truth_of(name, asked.out)
        print(
            f"{name}: {len(truth.objectives):,} designs, {len(truth.front):,} of them on the "
            f"true front; enumerating took {truth.seconds:.1f} s"
        )
        for sampler in samplers:
            for seed in range(seeds):
                if (truth.space.name, sampler, str(seed)) not in done_in(path):
                    marks = marks_of(sampler, len(truth.objectives))
                    append(path, rows_of(truth, sampler, seed, marks))
    if asked.speed > 0:
        speed(asked.spaces[-1], asked.speed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
