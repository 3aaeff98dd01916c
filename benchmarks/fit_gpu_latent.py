"""Constants of latent attention by family of chips, on rows that are not left out.

    python benchmarks/fit_gpu_latent.py [FOLDER]

One constant of data/gpu_products.csv after another takes the best of its grid, twice: the mean of
|log(computed over timed)|, at most log 1.65 a row (rows of another kind of kernel count no more).
RTX PRO 6000 has the constants of Ada; B300 and GB300 are left out as devices.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gpu_timings
import numpy as np
from gpu_latent import Rows, number, seconds, timings

from elector.machines.gpu import kernels

Array = np.ndarray

#: Family -> pairs of device and engine that are fitted on.
ON = {
    "hopper": (("h100_sxm", "trtllm"), ("h200_sxm", "trtllm")),
    "blackwell": (("b200_sxm", "vllm"), ("b200_sxm", "trtllm"), ("gb200", "trtllm")),
    "ada": (("l40s", "vllm"),),
}
#: Constant -> its phase and grid.
GRIDS = {
    "latent_start": ("decode", (4000.0, 8000.0, 12000.0, 16000.0, 20000.0)),
    "latent_share": ("decode", (0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)),
    "latent_rate": ("decode", (0.15, 0.25, 0.5, 0.75, 1.0)),
    "latent_cycles": ("decode", (0.0, 1.0, 1.5, 2.0)),
    "latent_special": ("prefill", (0.7, 0.8, 0.9, 1.0, 1.1, 1.3)),
}
#: What a row counts at most.
MOST = np.log(1.65)


def loss(rows: list[tuple[Rows, str, str]], phase: str) -> float:
    """Mean error of the rows of several devices and engines."""
    errors = []
    for some, device, engine in rows:
        measured = np.array([number(r, "latency") * 1e-3 for r in some])
        errors.append(np.abs(np.log(seconds(some, device, engine, phase) / measured)))
    return float(np.minimum(np.concatenate(errors), MOST).mean())


def fit(folder: Path, family: str) -> None:
    """Print the best of each grid, with the others beside it as they stand then."""
    own = kernels.measured_tiles()[family, "bf16"]
    rows = {
        phase: [(timings(folder, d, e, phase, left_out=False), d, e) for d, e in ON[family]]
        for phase in ("prefill", "decode")
    }
    for _ in range(2):
        for name, (phase, grid) in GRIDS.items():
            if name in own:
                losses = {}
                for value in grid:
                    own[name] = value
                    losses[value] = loss(rows[phase], phase)
                own[name] = min(losses, key=lambda value: losses[value])
                told = " ".join(f"{value:g}: {error:.3f}" for value, error in losses.items())
                print(f"{family:10} {name:15} {own[name]:8g}   {told}")


def main() -> None:
    """Print the constants."""
    parser = argparse.ArgumentParser(description="constants of latent attention")
    gpu_timings.add_folder(parser)
    given = parser.parse_args()
    for family in ON:
        fit(given.folder, family)


if __name__ == "__main__":
    main()
