"""Experts and latent attention beside timings of parts of layers.

    python benchmarks/gpu_layers.py [FOLDER] [--routing balanced]

FOLDER as for gpu_timings.py: systems/data/DEVICE/{moe,mla}/{vllm,trtllm}/VERSION/*.parquet. Rows
that the rule of gpu_timings.py leaves out, above 50 us, on one device (no expert parallelism):

- experts: three products an expert and the activation between them, without router and sum.
  `balanced`: all experts get as many tokens (`model.routing` 0); under the power laws some get
  most, drawn in another way than `model.routing` has it, of which 1 stands for them.
- latent attention, in bf16: gpu_latent.py.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path

import gpu_latent
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
#: Engine -> its version. TensorRT-LLM's experts, PyTorch's module around CUTLASS, are compared with
#: the stack that its products are (gpu_timings.STACKS).
VERSIONS = {"vllm": "0.24.0", "trtllm": "1.3.0rc20"}
#: Devices whose vLLM is of another version.
OLDER = {"a100_sxm": "0.14.0"}
#: What of TensorRT-LLM's rows is experts with a gate, in kernels that its tuner chose.
GATED = "moe_torch_flow_cutlass"
#: Columns that are no input.
OUTSIDE = ("framework", "version", "device", "latency")
#: Rows of a device and format that are compared.
FEW = 80


def left_out(folder: Path, device: str, engine: str, **wanted: object) -> list[dict[str, object]]:
    """Rows of experts of one engine that are left out of every fit, those asked for.

    wanted : cells.
    """
    version = OLDER.get(device, VERSIONS[engine]) if engine == "vllm" else VERSIONS[engine]
    path = folder / "systems" / "data" / device / "moe" / engine / version / "moe_perf.parquet"
    rows = parquet.read_table(path).to_pylist() if path.exists() else []
    kept = [
        r
        for r in rows
        if all(r[name] == value for name, value in wanted.items())
        and r["latency"] * 1e-3 > gpu_timings.LEAST
        and (engine == "vllm" or r["kernel_source"] == GATED)
        and gpu_timings.held_out((device, "moe", *(v for k, v in r.items() if k not in OUTSIDE)))
    ]
    return sorted(kept, key=lambda r: hashlib.sha256(repr(r).encode()).hexdigest())[:FEW]


def of_mixture(r: dict[str, object], device: str) -> dict[str, object]:
    """A model of one such layer, whose tokens are one prompt."""
    kind = str(r["moe_dtype"])
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
        "workload.precision": FORMATS[kind],
        **({"workload.weights": "fp8-block"} if kind == "fp8_block" else {}),
        "workload.attention": "flash",
        "workload.implementation": "vllm",
        "accelerator.memory_capacity": 1e15,
    }


def of_experts(row: Row) -> bool:
    """Whether an operation is of the experts: their products, and the activation between them."""
    return row.phase in ("prefill", "forward") and row.name.startswith("expert ")


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
        f"{name:37} {size.size:4} {np.median(size):7.1%} {size.mean():6.1%} "
        f"{np.median(error):+6.1%}"
    )


def show_experts(folder: Path, routing: str) -> None:
    """Errors of experts by engine, device and format; the A100 computes in none of 8 bits here."""
    for engine in VERSIONS:
        for device in gpu_timings.DEVICES:
            for kind in FORMATS:
                if device == "a100_sxm" and kind != "bfloat16":
                    continue
                alone = {"moe_tp_size": 1, "moe_ep_size": 1, "distribution": routing}
                rows = left_out(folder, device, engine, moe_dtype=kind, **alone)
                settings = [of_mixture(r, device) for r in rows]
                show(f"{engine} {device} {kind}", rows, settings, of_experts)


def main() -> None:
    """Print the errors."""
    parser = argparse.ArgumentParser(description="errors of experts and of latent attention")
    gpu_timings.add_folder(parser)
    parser.add_argument("--routing", choices=ROUTINGS, default="balanced")
    given = parser.parse_args()
    print("experts                               rows  median   mean   bias")
    show_experts(given.folder, given.routing)
    gpu_latent.show(given.folder)


if __name__ == "__main__":
    main()
