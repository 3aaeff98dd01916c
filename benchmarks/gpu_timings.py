"""Timings of single kernels on nine GPUs, from the data package aiconfigurator-core 0.12.0.

    python benchmarks/gpu_timings.py [FOLDER] [--engine vllm] [--rows 600]

FOLDER is `aiconfigurator_core` of the unpacked wheel (Apache-2.0), by default the one that
timings_package.py fetched: its systems/data/DEVICE/KIND/ENGINE/VERSION/*.parquet. Printed for each
device and format: rows, median and mean absolute error and bias of products above 50 us, and of
attention, on rows that no fit has seen: those whose SHA-256 of `device|kind|engine|format|m|n|k`
(attention: all input columns joined by |) ends in the hex digit 0 or 1.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import timings_package
from gpu_rows import (
    Compiled,
    Steps,
    columns,
    compile_operations,
    compile_steps,
    kernel_only,
    operations,
)

from elector.describe.numbers import precisions
from elector.evaluation.resolve import resolve
from elector.machines.gpu import machine as gpu
from elector.machines.gpu.kernels import cache_seconds, constants, memory_seconds
from elector.machines.gpu.stacks import stacks

Array = np.ndarray

#: Device of the package -> of this program.
DEVICES = {
    "a100_sxm": "a100-sxm-80gb",
    "l40s": "l40s",
    "h100_sxm": "h100-sxm-80gb",
    "h200_sxm": "h200-sxm-141gb",
    "b200_sxm": "b200-sxm-192gb",
    "b300_sxm": "b300-sxm-288gb",
    "gb200": "gb200-192gb",
    "gb300": "gb300-288gb",
    "rtx_pro_6000_server": "rtx-pro-6000",
}
#: Format of the package -> precision of this program.
FORMATS = {"bfloat16": "bf16", "fp8": "fp8", "nvfp4": "nvfp4", "sq": "int8"}
#: Engine of the package -> stack of this program. Its timings of TensorRT-LLM ran under PyTorch,
#: which finds the scales of 8 bits as vLLM does; but for int8, which is its plugin alone
#: (`kernel_source` SmoothQuantGemm), whose operands are in 8 bits before.
STACKS = {"vllm": "vllm", "sglang": "sglang", "trtllm": "vllm"}
PLUGINS = {"sq": "tensorrt-llm"}
#: What a graph of one operation, replayed behind another, takes beside its kernels [s]: vLLM's
#: shortest encoders take 6.5 to 8 us in one kernel on each device (all below `LEAST`).
REPLAY = 5e-6
#: Attention is run 3 times, then 6 times between two clocks (collect_attn.py, helper.py): a board
#: is held to its power limit where that takes longer than some 45 ms. On GB200 a block takes as
#: long from 1 to 4 ms a run, and 1.4 times as long from 8 ms on (rows that are not left out).
UNLIMITED, SHORT = "3 kW", 5e-3
#: Formats timed by one run behind one that warms up, a few milliseconds in all: no board is held to
#: its power limit so soon (collector/trtllm/collect_gemm_trt.py of ai-dynamo/aiconfigurator).
ONCE, NO_LIMIT = ("sq",), "1 kW"
#: Version of vLLM, and of devices whose timings are of another.
VERSION, VERSIONS = "0.24", {"a100_sxm": "0.14"}
#: The same of attention: each engine has kernels of its own.
ATTENDING = {**STACKS, "trtllm": "tensorrt-llm"}
#: vLLM's kernel that writes keys and values into the cache takes a block a token, of as many
#: threads as its keys have numbers and at most `BLOCK_THREADS` (reshape_and_cache_flash in
#: csrc/cache_kernels.cu). So many blocks are on an SM at a time (CUDA C++ Programming Guide,
#: compute capabilities: threads and blocks of an SM), and each takes a while to find its place,
#: load and store: `WRITING` [s] is the best of a grid on rows that are not left out.
BLOCK_THREADS, WRITING = 512.0, 1.6e-6
THREADS, BLOCKS = {"ada": 1536.0, "blackwell-rtx": 1536.0, "": 2048.0}, 32.0
#: Shorter kernels are their start, and differ from host to host.
LEAST = 50e-6
#: Rows of a device and format that are compared.
ROWS = 600


@dataclass(frozen=True)
class Timings:
    """Products of one device, engine and format: sizes, seconds, and whether a row is left out."""

    m: Array
    n: Array
    k: Array
    seconds: Array
    left_out: Array

    def take(self, keep: Array) -> Timings:
        """The rows where `keep` (N,) holds, or those at given places."""
        return Timings(*(getattr(self, f)[keep] for f in ("m", "n", "k", "seconds", "left_out")))


def held_out(cells: Iterable[object]) -> bool:
    """The rule by which a row is never fitted on."""
    text = "|".join(str(cell) for cell in cells)
    return hashlib.sha256(text.encode()).hexdigest()[-1] in "01"


@functools.cache
def products(folder: Path, device: str, engine: str, kind: str) -> Timings | None:
    """Products of the newest version of an engine; None where it has none in that format."""
    files = sorted((folder / "systems" / "data" / device / "gemm" / engine).glob("*/*.parquet"))
    if not files:
        return None
    table = parquet.read_table(files[-1]).to_pydict()
    chosen = [i for i, name in enumerate(table["gemm_dtype"]) if name == kind]
    if not chosen:
        return None
    m, n, k, milliseconds = (
        np.array([table[c][i] for i in chosen], float) for c in ("m", "n", "k", "latency")
    )
    out = [
        held_out((device, "gemm", engine, kind, table["m"][i], table["n"][i], table["k"][i]))
        for i in chosen
    ]
    return Timings(m, n, k, milliseconds * 1e-3, np.array(out))


def sample(rows: Timings, size: int, left_out: bool) -> Timings:
    """Rows above 50 us, at most `size` of them, evenly spread over the table."""
    keep = np.nonzero((rows.seconds > LEAST) & (rows.left_out == left_out))[0]
    rng = np.random.default_rng(0)
    return rows.take(np.sort(rng.permutation(keep)[:size]))


def compiled(rows: Timings, device: str, kind: str, engine: str) -> Compiled:
    """The products as steps of their own, as an engine runs them."""
    stack = PLUGINS.get(kind, STACKS[engine])
    ops = operations(rows.m, rows.k, rows.n, precision=FORMATS[kind], stack=stack)
    limit = NO_LIMIT if kind in ONCE else ""
    return compile_operations(ops, DEVICES[device], FORMATS[kind], limit)


def show(folder: Path, engine: str, size: int) -> None:
    """Errors of products by device and format, on rows left out."""
    now, alone = constants(), kernel_only(stacks())
    print("device        format     rows  median   mean   bias")
    for device in DEVICES:
        for kind in FORMATS:
            for name in (engine, "trtllm"):
                every = products(folder, device, name, kind)
                if every is None:
                    continue
                rows = sample(every, size, left_out=True)
                error = compiled(rows, device, kind, name).seconds(now, alone) / rows.seconds - 1.0
                size_of = np.abs(error)
                print(
                    f"{device:13} {FORMATS[kind]:5} {name:8} {error.size:5} "
                    f"{np.median(size_of):7.1%} {size_of.mean():7.1%} {np.median(error):+7.1%}"
                )
                if name == engine:
                    break


#: Kind of attention -> its file, and the columns of its rows.
ATTENTION = {
    "prefill": ("attention", "context_attention_perf.parquet"),
    "decode": ("attention", "generation_attention_perf.parquet"),
    "encoder": ("encoder_attention", "encoder_attention_perf.parquet"),
}
#: Rows of attention of a device and kind that are compared.
FEW = 80


def attention_rows(
    folder: Path, device: str, engine: str, kind: str, left_out: bool = True
) -> list[dict[str, object]]:
    """Rows in bf16 without a window, those left out of every fit or the others."""
    room, name = ATTENTION[kind]
    files = sorted((folder / "systems" / "data" / device / room / engine).glob(f"*/{name}"))
    if not files:
        return []
    rows = [
        r
        for r in parquet.read_table(files[-1]).to_pylist()
        if r["attn_dtype"] == r.get("kv_cache_dtype", "bfloat16") == "bfloat16"
        and not r.get("window_size")
        and r["latency"] * 1e-3 > LEAST
    ]
    outside = ("framework", "version", "device", "latency")
    cells = [(device, room, *(v for k, v in r.items() if k not in outside)) for r in rows]
    rows = [r for r, c in zip(rows, cells, strict=True) if held_out(c) == left_out]
    return sorted(rows, key=lambda r: hashlib.sha256(repr(r).encode()).hexdigest())[:FEW]


def attention(rows: list[dict[str, object]], device: str, engine: str, kind: str) -> Compiled:
    """Attention of models of one layer, of which nothing else runs: the rest of a step would
    have its say in the clock that a power limit leaves."""
    settings = [_attending(r, device, engine, kind) for r in rows]
    phases = ("decode",) if kind == "decode" else ("prefill", "forward")
    records = [{"source": ""} for _ in rows]
    names = ("scores", "softmax", "context", "cache append")
    return compile_steps(
        Steps(records, settings, np.zeros(len(rows))),
        lambda row: row.phase in phases and row.name in names,
    )


def attention_seconds(
    attending: Compiled, rows: list[dict[str, object]], device: str, engine: str, kind: str
) -> Array:
    """(N,) seconds of attention as it was timed: with what a replayed graph takes beside it and,
    of prompts, the kernel that writes keys and values into the cache.

    The collectors call the whole of an engine's attention (`impl.forward` in
    collector/vllm/collect_attn.py), and times of short prompts hold those bytes: vLLM's on L40S
    4.1 for each of keys and values, and 1.6 for each of queries and outputs.
    """
    stack = stacks()[ATTENDING[engine]]
    seconds = attending.seconds(constants(), kernel_only(stacks())) + REPLAY
    if kind != "prefill":
        return seconds
    units = next(iter(resolve(columns([_attending(rows[0], device, engine, kind)]), 1))).units
    c, own = constants(), gpu.device(constants(), units, precisions()["bf16"].products, True)
    tokens = np.array([float(str(r["batch_size"])) * float(str(r["isl"])) for r in rows])
    heads = np.array([float(str(r["num_key_value_heads"])) for r in rows])
    sizes = np.array([float(str(r["head_dim"])) for r in rows])
    bytes_ = 2.0 * 2.0 * 2.0 * tokens * heads * sizes  # keys and values, read and written
    held = bytes_ <= units.number("l2")
    moving = np.where(held, cache_seconds(c, own, bytes_), memory_seconds(c, own, bytes_))
    if engine == "vllm":
        threads = THREADS.get(str(units.names["architecture"][0][0]), THREADS[""])
        at_once = np.minimum(np.floor(threads / np.minimum(heads * sizes, BLOCK_THREADS)), BLOCKS)
        moving = np.maximum(moving, tokens / (units.number("sms") * at_once) * WRITING)
    return seconds + stack["kernel"] + moving


def _attending(r: dict[str, object], device: str, engine: str, kind: str) -> dict[str, object]:
    heads, size = int(str(r["num_heads"])), int(str(r["head_dim"]))
    encoder, decoding = kind == "encoder", kind == "decode"
    length = int(str(r["step"])) + 1 if decoding else int(str(r["isl"]))
    settings: dict[str, object] = {
        "model": "encoder" if encoder else "decoder",
        "accelerator": DEVICES[device],
        "model.layers": 1,
        "model.hidden": heads * size,
        "model.heads": heads,
        "model.positions": length + 2,
        "model.head": "none",
        "workload.batch": r["batch_size"],
        "workload.sequence_length": length,
        "workload.generate": 2 if decoding else 0,
        "workload.precision": "bf16",
        "workload.attention": "flash",
        "workload.implementation": ATTENDING[engine],
        "accelerator.memory_capacity": 1e15,
    }
    if float(str(r["latency"])) * 1e-3 < SHORT:
        settings["accelerator.power_limit"] = UNLIMITED
    if not encoder:
        settings |= {"model.kv_heads": r["num_key_value_heads"], "model.head": "causal-lm"}
    return settings


def show_attention(folder: Path, engine: str) -> None:
    """Errors of attention by device and kind, on rows left out."""
    print("device        attention  rows  median   mean   bias")
    for device in DEVICES:
        for kind in ATTENTION:
            rows = attention_rows(folder, device, engine, kind)
            if not rows:
                continue
            measured = np.array([float(str(r["latency"])) * 1e-3 for r in rows])
            ours = attention(rows, device, engine, kind)
            error = attention_seconds(ours, rows, device, engine, kind) / measured - 1.0
            print(
                f"{device:13} {kind:10} {error.size:5} {np.median(np.abs(error)):7.1%} "
                f"{np.abs(error).mean():7.1%} {np.median(error):+7.1%}"
            )


def add_folder(parser: argparse.ArgumentParser) -> None:
    """The argument FOLDER: the cache where none is given, checked in either case."""
    parser.add_argument(
        "folder", type=timings_package.package, nargs="?", default=str(timings_package.cache())
    )


def main() -> None:
    """Print the errors."""
    parser = argparse.ArgumentParser(description="errors against timings of single kernels")
    add_folder(parser)
    parser.add_argument("--engine", default="vllm")
    parser.add_argument("--rows", type=int, default=ROWS)
    given = parser.parse_args()
    show(given.folder, given.engine, given.rows)
    show_attention(given.folder, given.engine)


if __name__ == "__main__":
    main()
