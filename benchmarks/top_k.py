"""DynaTran beside top-k: accuracy against density, and against time, on one task.

    python benchmarks/top_k.py [--task digits] [--seeds 3] [--steps 800] [--out FOLDER]

The comparison of AccelTran (Tuli and Jha 2023, arXiv 2302.14705) on a task that trains here: an
encoder is trained anew with each setting, activations pruned by a threshold or by keeping a share
of each row. Of each setting: mean density of the activations that enter products, test score,
processor time of a training step in this process (finding the largest of a row included), and the
latency of a training step on acceltran-server as the simulator has it for those densities. The
simulated machine compares with thresholds; a unit that finds the largest, as SpAtten's, is not
part of it, so its figures are of the densities alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

import torch

import elector
from transcode.training.loop import train
from transcode.training.settings import Settings

SIZES = {"model.layers": 2, "model.hidden": 32, "model.heads": 2, "model.feed_forward": 128}
#: Settings in turn: nothing pruned, thresholds, shares that stay.
CASES: tuple[tuple[str, dict[str, float]], ...] = (
    ("dense", {}),
    *((f"DynaTran {tau:g}", {"tau_i": tau}) for tau in (0.05, 0.1, 0.2, 0.4)),
    *((f"top-k {keep:g}", {"top_k_i": keep}) for keep in (0.75, 0.5, 0.25, 0.125)),
)


def measured(task: str, steps: int, seed: int, changes: dict[str, float], at: Path) -> list[float]:
    """Density, score, processor seconds of a step and simulated seconds of one, of one run."""
    settings: dict[str, Any] = {
        "model": "encoder",
        "task": task,
        "steps": steps,
        "batch": 16,
        "learning_rate": 5e-3,
        "dropout": 0.0,
        "evaluate": steps,
        "seed": seed,
        "overrides": SIZES,
        **changes,
    }
    begin = time.process_time()
    trained = train(Settings(**settings), out=at, fresh=True)
    took = (time.process_time() - begin) / steps
    priced = elector.simulate(
        str(at / "model.yaml"),
        "acceltran-server",
        settings={
            "workload.mode": "training",
            "workload.batch": 16,
            "workload.sparsity": str(at / "sparsity.csv"),
        },
    )
    return [trained["density"]["activation"], trained["score"], took, float(priced["latency_s"])]


def main() -> None:
    """Measures and prints a table; seeds in turn, so that another load meets all alike."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", default="digits")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, list[list[float]]] = {name: [] for name, _ in CASES}
    with tempfile.TemporaryDirectory() as scratch:
        root = chosen.out or Path(scratch)
        measured(chosen.task, 2, 0, {}, Path(scratch) / "first")  # libraries are loaded untimed
        for seed in range(chosen.seeds):
            for number, (name, changes) in enumerate(CASES):
                at = root / f"{number}-{seed}"
                rows[name].append(measured(chosen.task, chosen.steps, seed, changes, at))
    print(f"| {chosen.task} | density | score | ms a step here | simulated us a step |")
    print("|---|---|---|---|---|")
    for name, runs in rows.items():
        density, score, took, priced = (mean(values) for values in zip(*runs, strict=True))
        print(f"| {name} | {density:.3f} | {score:.2f} | {1e3 * took:.2f} | {1e6 * priced:.1f} |")


if __name__ == "__main__":
    main()
