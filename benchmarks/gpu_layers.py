"""Experts and latent attention beside timings of parts of layers, of which none was fitted on.

    python benchmarks/gpu_layers.py [FOLDER] [--routing balanced]

FOLDER as for gpu_timings.py: systems/data/DEVICE/{moe,mla}/vllm/VERSION/*.parquet. Rows that the
rule of gpu_timings.py leaves out, above 50 us, on one device (no expert parallelism):

- experts: three products an expert and the activation between them, without router and sum.
  `balanced`: all experts get as many tokens (`model.routing` 0); under the power laws some get
  most, drawn in another way than `model.routing` has it, of which 1 stands for them.
- latent attention, in bf16: the attention of DeepSeek-V3 with all of its projections.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import gpu_timings
import numpy as np
import pyarrow.parquet as parquet
from gpu_rows import Steps, compile_steps, kernel_only

from elector.machines.gpu.kernels import constants
from elector.machines.gpu.stacks import stacks
from elector.operations.rows import Row

ROUTINGS = ("balanced", "power_law_1.01", "power_law_1.2")
#: Format of the package -> precision of this program.
FORMATS = {"bfloat16": "bf16", "fp8": "fp8", "fp8_block": "fp8"}
#: What a layer has besides its attention, by the beginning of its name.
BESIDES = (
    "embedding",
    "attention norm",
    "attention residual",
    "feed-forward",
    "expert",
    "router",
    "final norm",
    "vocabulary",
)
#: Phase -> its file, and the phases of this program.
LATENT = {
    "prefill": ("mla_context_module_perf.parquet", ("prefill", "forward")),
    "decode": ("mla_generation_module_perf.parquet", ("decode",)),
}
#: Columns that are no input.
OUTSIDE = ("framework", "version", "device", "latency")
#: Rows of a device and format that are compared.
FEW = 80


def left_out(path: Path, device: str, **wanted: object) -> list[dict[str, object]]:
    """Rows of the newest version of vLLM that are left out of every fit, those asked for.

    path : folder of a kind of timings and name of a file. wanted : cells.
    """
    files = sorted(path.parent.glob(f"vllm/*/{path.name}"))
    rows = parquet.read_table(files[-1]).to_pylist() if files else []
    kept = [
        r
        for r in rows
        if all(r[name] == value for name, value in wanted.items())
        and r["latency"] * 1e-3 > gpu_timings.LEAST
        and gpu_timings.held_out(
            (device, path.parent.name, *(v for k, v in r.items() if k not in OUTSIDE))
        )
    ]
    return sorted(kept, key=lambda r: hashlib.sha256(repr(r).encode()).hexdigest())[:FEW]


def of_mixture(r: dict[str, object], device: str, precision: str) -> dict[str, object]:
    """A model of one such layer, whose tokens are one prompt."""
    return {
        "model": "llama-2-7b",
        "accelerator": gpu_timings.DEVICES[device],
        "model.layers": 1,
        "model.hidden": r["hidden_size"],
        "model.heads": 1,
        "model.kv_heads": 1,
        "model.head_size": 64,
        "model.vocabulary": 1000,
        "model.experts": r["num_experts"],
        "model.experts_per_token": r["topk"],
        "model.expert_feed_forward": r["inter_size"],
        "model.routing": 0 if r["distribution"] == "balanced" else 1,
        "model.positions": int(str(r["num_tokens"])) + 1,
        "workload.sequence_length": r["num_tokens"],
        "workload.generate": 1,
        "workload.precision": precision,
        "workload.attention": "flash",
        "workload.implementation": "vllm",
        "accelerator.memory_capacity": 1e15,
    }


def of_experts(row: Row) -> bool:
    """Whether an operation is of the experts: their products, and the activation between them."""
    return row.phase in ("prefill", "forward") and row.name.startswith("expert ")


def of_latent(r: dict[str, object], device: str, phase: str) -> dict[str, object]:
    """A DeepSeek-V3 of one layer, with some of its heads."""
    length = int(str(r["isl"])) + int(str(r["step"]))
    return {
        "model": "deepseek-v3",
        "accelerator": gpu_timings.DEVICES[device],
        "model.layers": 1,
        "model.dense_layers": 1,
        "model.heads": r["num_heads"],
        "model.positions": length + 3,
        "workload.batch": r["batch_size"],
        "workload.sequence_length": length,
        "workload.generate": 2 if phase == "decode" else 1,
        "workload.precision": "bf16",
        "workload.weights": "bf16",
        "workload.attention": "flash",
        "workload.implementation": "vllm",
        "accelerator.memory_capacity": 1e16,
    }


def of_attention(phases: tuple[str, ...], row: Row) -> bool:
    """Whether an operation of these phases is of latent attention or of its projections."""
    return row.phase in phases and not row.name.startswith(BESIDES)


def show(
    name: str,
    rows: list[dict[str, object]],
    settings: list[dict[str, object]],
    only: Callable[[Row], bool],
) -> None:
    """A line of errors: rows, median and mean absolute error, bias.

    rows : timings, in ms. settings : of this program, for each. only : operations that are timed.
    """
    if not rows:
        return
    measured = np.array([float(str(r["latency"])) * 1e-3 for r in rows])
    step = compile_steps(Steps([{"source": ""} for _ in rows], settings, measured), only)
    error = step.seconds(constants(), kernel_only(stacks())) / measured - 1.0
    size = np.abs(error)
    print(
        f"{name:30} {size.size:4} {np.median(size):7.1%} {size.mean():6.1%} "
        f"{np.median(error):+6.1%}"
    )


def show_experts(folder: Path, routing: str) -> None:
    """Errors of experts by device and format; the A100 computes in no format of 8 bits here."""
    for device in gpu_timings.DEVICES:
        path = folder / "systems" / "data" / device / "moe" / "moe_perf.parquet"
        for kind, precision in FORMATS.items():
            alone = {"moe_tp_size": 1, "moe_ep_size": 1, "distribution": routing}
            rows = left_out(path, device, moe_dtype=kind, **alone)
            if precision == "bf16" or device != "a100_sxm":
                settings = [of_mixture(r, device, precision) for r in rows]
                show(f"{device} {kind}", rows, settings, of_experts)


def show_latent(folder: Path) -> None:
    """Errors of latent attention by device and phase."""
    for device in gpu_timings.DEVICES:
        for phase, (name, phases) in LATENT.items():
            path = folder / "systems" / "data" / device / "mla" / name
            rows = left_out(path, device, gemm_type="bfloat16", kv_cache_dtype="bfloat16")
            settings = [of_latent(r, device, phase) for r in rows]
            show(f"{device} {phase}", rows, settings, functools.partial(of_attention, phases))


def main() -> None:
    """Print the errors."""
    parser = argparse.ArgumentParser(description="errors of experts and of latent attention")
    gpu_timings.add_folder(parser)
    parser.add_argument("--routing", choices=ROUTINGS, default="balanced")
    given = parser.parse_args()
    print("experts                        rows  median   mean   bias")
    show_experts(given.folder, given.routing)
    print("latent attention               rows  median   mean   bias")
    show_latent(given.folder)


if __name__ == "__main__":
    main()
