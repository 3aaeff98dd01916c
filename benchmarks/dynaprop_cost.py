"""What pruning costs in time and saves in memory, in one step of training.

    python benchmarks/dynaprop_cost.py [--model bert-mini] [--task digits-tokens] [--batch 16]

All variants take turns on the same batch, one thread each; times are medians of the processor
time of forward pass, backward pass, `DynaProp.step` and AdamW. Bytes are counted by
saved-tensor hooks as autograd saves them, parameters left out. Variants:

off         no DynaProp at all
hooks       thresholds 0, nothing compressed, recording off: the cost of being there
lossless    thresholds 0, compression on: masks of dropout, zeros that are there anyway
tau_i, tau_t  pruned; `dense` without compression; `recorded` with densities recorded
top-k       the largest half, and quarter, of each row of activations
target      densities of .5 and .2 tracked at run time

With --steps every variant trains that many steps first, so that densities are those of a
model in training.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from dataclasses import dataclass, field

import torch

from transcode.dynaprop import DynaProp, TargetDensity, TopK
from transcode.training.build import build, described
from transcode.training.task import Task
from transcode.training.tasks import load_task


@dataclass
class Variant:
    """A copy of the model with its pruner, and the times its steps took [s]."""

    name: str
    module: torch.nn.Module
    pruner: DynaProp | None
    task: Task
    times: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.module.parameters(), lr=3e-4)

    def step(self, number: int, size: int) -> None:
        """One step of training on batch `number`."""
        x, y = map(torch.as_tensor, self.task.batch(number, size=size, seed=0))
        torch.manual_seed(number)
        begin = time.process_time()
        with self.pruner or contextlib.nullcontext():
            self.optimizer.zero_grad()
            self.task.loss(self.module(x), y).backward()
            if self.pruner is not None:
                self.pruner.step()
            self.optimizer.step()
        self.times.append(time.process_time() - begin)


def variants(model: str, task: Task, taus_i: list[float], taus_t: list[float]) -> list[Variant]:
    """All variants, from the same start."""
    options: dict[str, dict[str, object] | None] = {
        "off": None,
        "hooks": {"compress": False},
        "lossless": {},
    }
    for tau_t in taus_t:
        for tau_i in taus_i:
            options[f"{tau_i:g}, {tau_t:g}"] = {"tau_i": tau_i, "tau_t": tau_t}
    last = {"tau_i": taus_i[-1], "tau_t": taus_t[-1]}
    options["the last, dense"] = last | {"compress": False}
    options["the last, recorded"] = last | {"record": True}
    options["top-k .5, 0"] = {"tau_i": TopK(0.5)}
    options["top-k .25, 0"] = {"tau_i": TopK(0.25)}
    options["target .5, .2"] = {
        "tau_i": TargetDensity(0.5, strict=False),
        "tau_t": TargetDensity(0.2, strict=False),
    }
    built = []
    for name, settings in options.items():
        module = build(described(model), task, dropout=0.1, seed=0)
        pruner = None if settings is None else DynaProp(module, **settings)  # type: ignore[arg-type]
        built.append(Variant(name, module, pruner, task))
    return built


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="bert-mini")
    parser.add_argument("--task", default="digits-tokens")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=0, help="steps of training before measuring")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tau-i", default=".05,.1,.2,.4")
    parser.add_argument("--tau-t", default="0,1e-6,1e-5")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    task = load_task(chosen.task, seed=0)
    taus_i, taus_t = (
        [float(tau) for tau in text.split(",")] for text in (chosen.tau_i, chosen.tau_t)
    )
    compared = variants(chosen.model, task, taus_i, taus_t)
    for number in range(chosen.steps + 2):
        for variant in compared:
            variant.step(number, chosen.batch)
    for variant in compared:
        variant.times.clear()
        if variant.pruner is not None:
            variant.pruner.restart_peak()
    for number in range(chosen.rounds):
        for variant in compared:
            variant.step(chosen.steps + number, chosen.batch)
    off = statistics.median(compared[0].times)
    hooks = compared[1].pruner
    assert hooks is not None
    print(f"{chosen.model} on {chosen.task}, batch {chosen.batch}, after {chosen.steps} steps\n")
    print(f"{'tau_i, tau_t':22}{'ms':>8}{'x off':>7}{'MB saved':>10}{'of off':>8}")
    for variant in compared:
        took = statistics.median(variant.times)
        peak = (variant.pruner or hooks).peak_saved_bytes
        print(
            f"{variant.name:22}{took * 1e3:8.1f}{took / off:7.2f}{peak / 1e6:10.2f}"
            f"{peak / hooks.peak_saved_bytes:8.2f}"
        )


if __name__ == "__main__":
    main()
