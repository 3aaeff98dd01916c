"""Latent attention beside timings of that of one layer of DeepSeek-V3, projections and all.

    python benchmarks/gpu_latent.py [FOLDER] [--fitted]

FOLDER as for gpu_timings.py: systems/data/DEVICE/mla/{vllm,trtllm}/VERSION/mla_*_module_perf.
Rows in bf16 with 1 to 128 heads, above 50 us, that the rule of gpu_timings.py leaves out of every
fit (--fitted: up to 150 of the others). What the timings hold beside what an engine runs:

- *A graph of one module*, replayed: `REPLAY` of gpu_timings.py.
- *Weights in the cache*: the module runs again and again (collect_mla_module.py), and where all of
  its weights fit into the second-level cache they are not fetched anew.
- *A chain of plain PyTorch* in vLLM's 0.24, but for B200: norms and rotary positions run kernel by
  kernel, which no engine that serves does. The package says so itself (collection_meta.yaml of
  b200_sxm/mla/vllm: timed again with fused kernels; rows of all other devices are the old ones).
"""

from __future__ import annotations

import argparse
import functools
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gpu_timings
import numpy as np
import pyarrow.parquet as parquet
from gpu_rows import Compiled, Steps, columns, compile_steps, kernel_only

from elector.describe.numbers import precisions
from elector.evaluation.resolve import resolve
from elector.machines.contract import Units
from elector.machines.gpu import machine as gpu
from elector.machines.gpu.kernels import cache_seconds, constants
from elector.machines.gpu.stacks import stacks
from elector.operations.rows import Row

Array = np.ndarray

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
#: Engine of the package -> its version and stack of this program.
ENGINES = {"vllm": ("0.24.0", "vllm"), "trtllm": ("1.3.0rc20", "tensorrt-llm")}
#: Whose attention it is: a later file has others beside it.
MODEL = "deepseek-ai/DeepSeek-V3"
#: Devices whose modules vLLM runs with fused kernels: B200, timed again, GB300 by a later version.
FUSED = {"b200_sxm": "0.24.0", "gb300": "0.27.0"}
#: Kernels of plain PyTorch in the place of three fused ones (norms of the two ranks, rotary
#: positions): 8 of each norm, 13 of rotary positions and the copy of turned queries, less 3; and
#: what each takes in a graph: 46 to 50 us for all, GB200 over B200 beside what TensorRT-LLM says.
CHAIN, EACH = 27.0, 1.8e-6
#: Numbers of the two ranks and bytes of each, in 32 bits between kernels; bytes of queries that are
#: turned, a token and head (numbers by twos are read with those between them).
RANKS, NORM_BYTES, TURNED_BYTES = (1536, 512), 34.0, 2560.0
#: Share of the main memory that this chain reaches, by the same difference: 24 ns a token on H100
#: and 16 on H200, 18 to 19 on Blackwell.
REACHED = {"hopper": 0.8, "blackwell": 0.5}
#: Columns that are no input.
OUTSIDE = ("framework", "version", "device", "latency")
#: Rows of a device and engine that are compared, and those of others that constants were fitted on.
FEW, FITTED = 80, 150
Rows = list[dict[str, object]]


def number(r: dict[str, object], name: str) -> float:
    """A cell of a row as a number."""
    return float(str(r[name]))


def timings(folder: Path, device: str, engine: str, phase: str, left_out: bool = True) -> Rows:
    """Rows of one device and engine in bf16, those left out of every fit or others."""
    name, size = LATENT[phase][0], FEW if left_out else FITTED
    version = FUSED.get(device, "0.24.0") if engine == "vllm" else ENGINES[engine][0]
    path = folder / "systems" / "data" / device / "mla" / engine / version / name
    if not path.exists():
        return []
    kept = [
        r
        for r in parquet.read_table(path).to_pylist()
        if r["gemm_type"] == r["kv_cache_dtype"] == r["mla_dtype"] == "bfloat16"
        and r.get("model", MODEL) == MODEL
        and r["latency"] * 1e-3 > gpu_timings.LEAST
        and left_out
        == gpu_timings.held_out((device, "mla", *(v for k, v in r.items() if k not in OUTSIDE)))
    ]
    return sorted(kept, key=lambda r: hashlib.sha256(repr(r).encode()).hexdigest())[:size]


def settings(r: dict[str, object], device: str, engine: str, phase: str) -> dict[str, object]:
    """A DeepSeek-V3 of one layer, with some of its heads."""
    length = int(number(r, "isl") + number(r, "step"))
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
        "workload.implementation": ENGINES[engine][1],
        "accelerator.memory_capacity": 1e16,
    }


def of_attention(phases: tuple[str, ...], row: Row) -> bool:
    """Whether an operation of these phases is of latent attention or of its projections."""
    return row.phase in phases and not row.name.startswith(BESIDES)


def seconds(rows: Rows, device: str, engine: str, phase: str) -> Array:
    """(N,) seconds of the modules as they were timed."""
    asked = [settings(r, device, engine, phase) for r in rows]
    only: Callable[[Row], bool] = functools.partial(of_attention, LATENT[phase][1])
    steps = Steps([{"source": ""} for _ in rows], asked, np.zeros(len(rows)))
    modules = _with_weights_at_hand(compile_steps(steps, only))
    # TensorRT-LLM's module is replayed from PyTorch, as vLLM's: one start of kernels for both.
    alone = {s: {**t, "kernel": stacks()["vllm"]["kernel"]} for s, t in stacks().items()}
    own = modules.seconds(constants(), kernel_only(alone)) + gpu_timings.REPLAY
    if engine == "vllm" and device not in FUSED:
        own = own + chain(rows, next(iter(resolve(columns(asked[:1]), 1))).units, phase)
    return own


def _with_weights_at_hand(modules: Compiled) -> Compiled:
    """The same where weights that all fit into the second-level cache stay there."""
    parts = []
    for rows, prepared, prices in modules.parts:
        ops, at = prepared.ops, prepared.index
        weights = np.array([row.matmul and row.b in ("weight", "reuse") for row in ops.rows])
        weights = weights[:, None] & (ops.count[:, at] > 0)
        held = np.where(weights, ops.b_bytes[:, at], 0.0).sum(axis=0)
        held = (held <= prepared.units.number("l2")) & weights
        read = np.where(held, 0.0, prepared.plan.read[:, prepared.plan_index])
        plan = replace(prepared.plan, read=_by_plan(read, prepared))
        parts.append((rows, replace(prepared, plan=plan), prices))
    return replace(modules, parts=parts)


def _by_plan(read: Array, prepared: gpu.PreparedGpu) -> Array:
    """(R, P) bytes that are read, of each plan; read : (R, D) of the designs of these plans."""
    out = prepared.plan.read.copy()
    out[:, prepared.plan_index] = read
    return out


def chain(rows: Rows, units: Units, phase: str) -> Array:
    """(N,) seconds of norms and rotary positions, kernel by kernel, beyond those of fused ones."""
    c, family = constants(), str(units.names["architecture"][0][0])
    own = gpu.device(c, units, precisions()["bf16"].products, True)
    slow = own.bandwidth * REACHED.get(family, c.bandwidth_share)
    tokens = np.array([number(r, "batch_size") for r in rows])
    if phase == "prefill":
        tokens = tokens * np.array([number(r, "isl") for r in rows])
    heads = np.array([number(r, "num_heads") for r in rows])
    total = np.full(tokens.size, CHAIN * EACH)
    for moved, at_once in (
        *((tokens * rank * NORM_BYTES, tokens * rank * 8.0) for rank in RANKS),
        (tokens * heads * TURNED_BYTES, tokens * heads * 384.0),
    ):
        inside = np.minimum(cache_seconds(c, own, moved), moved / slow)
        total += np.where(at_once <= units.number("l2"), inside, moved / slow)
    return total


def show(folder: Path, left_out: bool = True) -> None:
    """Errors of latent attention by engine, phase and device."""
    print("latent attention                rows  median   mean   bias")
    for engine in ENGINES:
        for phase in LATENT:
            for device in gpu_timings.DEVICES:
                rows = timings(folder, device, engine, phase, left_out)
                if not rows:
                    continue
                measured = np.array([number(r, "latency") * 1e-3 for r in rows])
                error = seconds(rows, device, engine, phase) / measured - 1.0
                print(
                    f"{engine:7} {phase:8} {device:19} {error.size:4} {np.median(abs(error)):7.1%} "
                    f"{abs(error).mean():6.1%} {np.median(error):+6.1%}"
                )


def main() -> None:
    """Print the errors."""
    parser = argparse.ArgumentParser(description="errors of latent attention")
    gpu_timings.add_folder(parser)
    parser.add_argument("--fitted", action="store_true", help="rows that may be fitted on")
    given = parser.parse_args()
    show(given.folder, not given.fitted)


if __name__ == "__main__":
    main()
