"""Spaces too large to know: how much of the best front does each method find in 10 seconds?

    python benchmarks/large_spaces.py --out results/large-spaces
    python benchmarks/large_spaces.py --seconds 2 --at 0.5 --seeds 1 --spaces machines

Every method runs for 60 s with each of three seeds, on all processors (its own work in one
process, the same vectorised simulator in as many as there are) in the batches it proposes. Its
front is kept at 10 s and at the end; time that its library takes to load does not count. The
reference is the hypervolume of the union of all methods' final fronts, with the reference point
that `transcode search` would have.
One file for each space, method and seed: started again, the script goes on with what is missing.
pymoo and numba are needed for the peers (pip install pymoo numba).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import peers

from transcode import engines, pareto
from transcode.objective import Outcome, Problem
from transcode.pareto import Archive
from transcode.search import prepare
from transcode.search.workers import Crew
from transcode.space import load

SPACES = ("transcode", "machines")
METHODS = ("evolve", "random", "nsga2", "nsga3", "tpe", *peers.PYMOO)
#: `evolve` has to have so much of the union's hypervolume at the mark.
WANTED = 0.999
#: Most designs asked for at once: a method that is slower than the simulator decides for itself.
_BATCH = 65_536
#: ... of random designs: small enough that the mark is not overrun by a batch.
_RANDOM_BATCH = 8_192


def problem_of(name: str) -> tuple[Problem, np.ndarray]:
    """The problem of a space, and its reference point, which does not depend on the seed."""
    space = load(name)
    sources = prepare.sources_of(space, None, 1, Path())
    problem, first = prepare.probe(space, sources, time.perf_counter)
    reference = prepare.reference_of(problem, first, None)
    assert reference is not None, f"{name}: no feasible design in the probe"
    return problem, reference


def measured(
    problem: Problem, reference: np.ndarray, method: str, seed: int, at: float, seconds: float
) -> dict[str, Any]:
    """The fronts of a method at the mark and at the end, and how many designs each took."""
    batch = engines.default_batch(method) if method not in peers.PYMOO else _BATCH
    if method == "random":
        batch = _RANDOM_BATCH
    engine = peers.make(method, problem, seed, batch, reference)
    archive = Archive.empty(len(problem.space.parameters), len(problem.signs), ())
    designs, kept, crew = 0, {}, Crew(problem, 0)
    if isinstance(engine, engines.Evolve):
        engine.apart = crew.apart  # as `transcode search` does
    for _ in range(2):  # processes started, and what a design takes known
        crew.assess(prepare.probe_designs(problem.space, 512))
    begin = time.perf_counter()
    while (now := time.perf_counter() - begin) < seconds and not engine.exhausted:
        if now >= at and "mark" not in kept:
            kept["mark"] = front_of(archive, designs, now)
        codes, outcome = step(engine, crew, batch)
        rows = np.flatnonzero(outcome.feasible)
        ids = np.arange(designs, designs + len(codes))
        archive = archive.add(Archive(ids, codes, outcome.objectives, {}).take(rows))
        designs += len(codes)
    kept["end"] = front_of(archive, designs, time.perf_counter() - begin)
    crew.close()
    return {"mark": kept.get("mark", kept["end"]), "end": kept["end"]}


def step(engine: engines.Engine, crew: Crew, batch: int) -> tuple[np.ndarray, Outcome]:
    """A batch, or a round of the islands, as in `transcode search`."""
    if isinstance(engine, engines.Evolve) and (tasks := engine.tasks(batch)):
        result = crew.rounds(tasks)
        engine.bring_in(tasks, result)
        return result.codes, result.outcome
    codes = engine.suggest(batch)
    outcome = crew.assess(codes)
    engine.update(codes, outcome)
    return codes, outcome


def front_of(archive: Archive, designs: int, seconds: float) -> dict[str, Any]:
    """The front so far, in JSON types."""
    return {
        "designs": designs,
        "seconds": round(seconds, 3),
        "objectives": archive.objectives.tolist(),
    }


def measure_missing(asked: argparse.Namespace) -> None:
    """One file for each space, method and seed that has none."""
    tasks = [
        (space, method, seed)
        for seed in range(asked.seeds)
        for space in asked.spaces
        for method in asked.methods
    ]
    for space, method, seed in tasks:
        path = asked.out / f"{space}-{method}-{seed}.json"
        if path.exists():
            continue
        problem, reference = problem_of(space)
        record = measured(problem, reference, method, seed, asked.at, asked.seconds)
        record |= {
            "space": space,
            "method": method,
            "seed": seed,
            "at": asked.at,
            "reference": reference.tolist(),
        }
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(record))
        os.replace(temporary, path)
        end = record["end"]
        print(
            f"{space} {method} {seed}: {end['designs']:,} designs, {len(end['objectives']):,} "
            f"on the front after {end['seconds']:.1f} s",
            flush=True,
        )


def table(folder: Path, space: str) -> tuple[list[str], bool]:
    """A line for each method, and whether `evolve` has what is wanted in every seed."""
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob(f"{space}-*.json"))]
    if not runs:
        return [], True
    reference = np.array(runs[0]["reference"])
    ends = [np.array(r["end"]["objectives"]).reshape(-1, len(reference)) for r in runs]
    union = np.concatenate(ends)
    union = union[pareto.nondominated(union)]
    whole = pareto.hypervolume(union, reference)
    shares: dict[str, list[tuple[float, float, int, int]]] = {}
    for run, end in zip(runs, ends, strict=True):
        mark = np.array(run["mark"]["objectives"]).reshape(-1, len(reference))
        shares.setdefault(run["method"], []).append(
            (
                pareto.hypervolume(mark, reference) / whole,
                pareto.hypervolume(end, reference) / whole,
                run["mark"]["designs"],
                run["end"]["designs"],
            )
        )
    lines = [f"{space}: {len(union):,} designs on the union of {len(runs)} fronts"]
    for method, rows in sorted(shares.items(), key=lambda item: -float(np.mean(item[1], 0)[0])):
        mark, end, early, late = np.mean(rows, axis=0)
        worst = min(row[0] for row in rows)
        lines.append(
            f"  {method:16} at {runs[0]['at']:g} s {mark:.4f} (worst {worst:.4f}), at the end "
            f"{end:.4f}; {early:,.0f} and {late:,.0f} designs, {len(rows)} seeds"
        )
    passed = all(row[0] >= WANTED for row in shares.get("evolve", ()))
    return lines, passed


def main() -> int:
    """Measures what is missing and shows all; 4 where `evolve` falls short."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/large-spaces"))
    parser.add_argument("--spaces", nargs="+", default=SPACES)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--at", type=float, default=10.0)
    parser.add_argument("--table", action="store_true", help="only show what was measured")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if not asked.table:
        measure_missing(asked)
    passed = True
    for space in asked.spaces:
        lines, enough = table(asked.out, space)
        print("\n".join(lines))
        passed &= enough
    return 0 if passed else 4


if __name__ == "__main__":
    sys.exit(main())
