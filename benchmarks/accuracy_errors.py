"""How wrong the surrogate is on what it has not seen: families, depths and widths left out.

    .venv/bin/python benchmarks/accuracy_errors.py

Prints the tables of docs/accuracy.md. For each task and for each of row, family, depth and width:
mean error [points] of the rows predicted without all others of the same, and in brackets what it is
when shapes waste nothing, so that only the number of weights counts.
"""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from transcode.accuracy import leave_out, regression, rows, tasks
from transcode.accuracy.published_scores import task_table
from transcode.accuracy.shape_effects import ShapeEffects, shape_effects

KINDS = ("row", "family", "depth", "width")
KEPT = ("rows", "unverified", "rmse", "preference_std")


def without_effects(effects: ShapeEffects) -> ShapeEffects:
    """The same with every effect 0."""
    names = [f.name for f in fields(effects) if f.name not in KEPT]
    return replace(effects, **dict.fromkeys(names, 0.0))


def errors(task: str) -> list[tuple[int, float, float]]:
    """Of each kind: folds, mean error and share inside 90 % intervals of the task's rows."""
    known, data = task_table()[task], rows(task)
    score = np.array([row.score for row in data])
    figures = []
    for kind in KINDS:
        left = leave_out(known, data, kind)
        miss = np.abs(left.mean - score)
        figures.append((left.folds, float(miss.mean()), float(np.mean(miss < 1.6449 * left.std))))
    return figures


def main() -> None:
    """Prints effects and errors."""
    effects = shape_effects()
    print(effects, "\n")
    print("| task | rows | " + " | ".join(KINDS) + " |")
    print("|---|---|" + "---|" * len(KINDS))
    plain = without_effects(effects)
    for task in tasks():
        regression.shape_effects = lambda: effects
        with_them = errors(task)
        regression.shape_effects = lambda: plain
        without = errors(task)
        cells = [
            f"{own:.2f} [{other:.2f}] of {folds}, {100 * inside:.0f} %"
            for (folds, own, inside), (_, other, _) in zip(with_them, without, strict=True)
        ]
        print(f"| `{task}` | {len(rows(task))} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
