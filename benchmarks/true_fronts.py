"""Scores an optimiser of yours on spaces whose true front is known.

    python benchmarks/true_fronts.py score bert my-designs.csv
    python benchmarks/true_fronts.py make bert gpt2 hpt machines      every design, evaluated

`my-designs.csv` has a row for each design that your optimiser evaluated, in that order, under the
names of settings that front.csv has; other columns are not read. Both its designs and those of the
true front (fronts/SPACE.csv, settings alone) are evaluated with the simulator as it is, at the
reference point of `transcode search`: shares of the true front's hypervolume after 25, 50, ...
designs. A design that stands twice counts once; a row
that is no design of the space is refused. A share above 1 says that the simulator has
changed since the front was made: make it again.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from pathlib import Path

import numpy as np
import search_quality as quality

from elector.base.errors import ElectorError, InputError
from transcode import pareto
from transcode.objective import Problem
from transcode.runs import front
from transcode.search import warm
from transcode.space import Space

FRONTS = Path(__file__).parent / "fronts"
MARKS = (25, 50, 100, 200, 300, 1_000, 5_000)


def path_of(space: str) -> Path:
    """The file of a true front."""
    return FRONTS / f"{space}.csv"


def make(name: str) -> int:
    """Evaluates every design of a space and writes the true front; how many designs are on it."""
    with tempfile.TemporaryDirectory() as folder:
        truth = quality.truth_of(name, Path(folder))
    columns = front.columns(truth.space, truth.space.designs(truth.front))
    cells = [[column[row] for column in columns.values()] for row in range(len(truth.front))]
    FRONTS.mkdir(exist_ok=True)
    with path_of(truth.space.name).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([["" if c is None else front.text(c) for c in row] for row in cells])
    return len(truth.front)


def designs_of(space: Space, path: Path) -> np.ndarray:
    """(D, S) codes of the rows of a table, each once; InputError where one is no design.

    A row that was left out would be a proposal that cost nothing.
    """
    codes = warm.coded(space, path)
    if len(codes) == 0:
        raise InputError("has a header but no rows", file=path)
    for row, column in np.argwhere(codes < 0)[:1].tolist():
        raise InputError(
            f"row {row + 1}: is no value of the space {space.name}",
            file=path,
            field=space.parameters[column].name,
        )
    for row in np.flatnonzero(~space.allowed(codes))[:1].tolist():
        said = f"row {row + 1}: its settings do not go together in the space {space.name}"
        raise InputError(said, file=path, hint="`where` of the space says which do")
    _, first = np.unique(space.key(codes), return_index=True)
    return codes[np.sort(first)]


def points(problem: Problem, path: Path) -> np.ndarray:
    """(D, O) objectives of the designs of a table, in their order, NaN where infeasible.

    Raises InputError where a row is no design of the space.
    """
    codes = designs_of(problem.space, path)
    outcome = problem.assess(codes)
    return np.where(outcome.feasible[:, None], outcome.objectives, np.nan)


def volume(values: np.ndarray, reference: np.ndarray) -> float:
    """Hypervolume of what is feasible of (D, O) objectives."""
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        return 0.0
    return pareto.hypervolume(values[pareto.nondominated(values)], reference)


def score(name: str, designs: Path) -> list[tuple[int, float]]:
    """(designs, share of the true front's hypervolume) at each mark that the table reaches."""
    problem, reference = quality.problem_of(name, Path())
    whole = volume(points(problem, path_of(problem.space.name)), reference)
    own = points(problem, designs)
    marks = [mark for mark in MARKS if mark < len(own)]
    return [(mark, volume(own[:mark], reference) / whole) for mark in (*marks, len(own))]


def main() -> int:
    """Scores a table of designs, or makes true fronts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    tasks = parser.add_subparsers(dest="task", required=True)
    scored = tasks.add_parser("score", help="designs of an optimiser, in their order")
    scored.add_argument("space")
    scored.add_argument("designs", type=Path)
    made = tasks.add_parser("make", help="true fronts anew")
    made.add_argument("spaces", nargs="+")
    asked = parser.parse_args()
    try:
        if asked.task == "score":
            for designs, share in score(asked.space, asked.designs):
                print(f"{designs:>9,} designs  {share:.4f} of the true front's hypervolume")
            return 0
        for name in asked.spaces:
            print(f"{name}: {make(name):,} designs on the true front", flush=True)
    except ElectorError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
