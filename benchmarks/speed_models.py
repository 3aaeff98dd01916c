"""Designs a second with models of 2024 and later, beside those with gpt2.yaml's.

    python benchmarks/speed_models.py [--models gemma-2-9b ...] [--size 65536] [--rounds 5]

The accelerators are those of spaces/gpt2.yaml (systolic arrays; text generated token by token).
Each model has 42 shapes, as gpt2.yaml has: seven numbers of layers, six widths. All take turns in
one process on one thread and CPU time is counted, so that other work on the machine counts for
little; of each, the fastest round stands.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from elector.base.table import Column
from elector.evaluation.path import evaluate
from transcode.space import Space, load

ROOT = Path(__file__).resolve().parent.parent
#: Shares of a model's layers and of its width, in which all shapes stay whole.
LAYERS = (0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
WIDTHS = (0.25, 0.5, 0.625, 0.75, 0.875, 1.0)
#: Layers and width of the shipped models.
SHAPES = {
    "llama-3.1-8b": (32, 4096),
    "gemma-2-9b": (42, 3584),
    "gpt-oss-20b": (24, 2880),
    "qwen3-30b-a3b": (48, 2048),
    "deepseek-v3": (61, 7168),
    "nemotron-h-8b": (52, 4096),
    "phi-3-mini": (32, 3072),
    "qwen3-8b": (36, 4096),
}


def space_of(model: str, folder: Path) -> Space:
    """gpt2.yaml's space with another model in it; gpt2 itself is the space as it is."""
    source = ROOT / "spaces" / "gpt2.yaml"
    if model == "gpt2":
        return load(source)
    layers, width = SHAPES[model]
    known = yaml.safe_load(source.read_text(encoding="utf-8"))
    known["model"] = {
        "base": model,
        "layers": [max(round(share * layers / 2) * 2, 4) for share in LAYERS],
        "hidden": [round(share * width / 64) * 64 for share in WIDTHS],
    }
    known["objectives"] = {k: v for k, v in known["objectives"].items() if k != "accuracy"}
    known["workload"].pop("task")
    path = folder / f"{model}.yaml"
    path.write_text(yaml.safe_dump(known), encoding="utf-8")
    return load(path)


def designs(space: Space, size: int) -> dict[str, Column]:
    """Columns of random designs of a space, with its workload."""
    draw = np.random.default_rng(0)
    codes = space.canonical(space.from_unit(draw.random((size, len(space.parameters)))))
    columns = space.decode(codes)
    (workload,) = space.workloads.values()
    return columns | {name: Column.constant(value, size) for name, value in workload.items()}


def main() -> None:
    """Print the table."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--models", nargs="*", default=list(SHAPES), choices=SHAPES)
    asked.add_argument("--size", type=int, default=65_536)
    asked.add_argument("--rounds", type=int, default=5)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        batches = {
            model: designs(space_of(model, Path(folder)), given.size)
            for model in ("gpt2", *given.models)
        }
    best = dict.fromkeys(batches, float("inf"))
    for _ in range(given.rounds):
        for model, columns in batches.items():
            start = time.process_time()
            evaluate(columns, given.size, jobs=1)
            best[model] = min(best[model], time.process_time() - start)
    for model, seconds in best.items():
        share = best["gpt2"] / seconds
        print(f"{model:16} {given.size / seconds:10,.0f} designs/s  {share:5.2f} of gpt2.yaml")


if __name__ == "__main__":
    main()
