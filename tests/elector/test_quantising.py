"""Products whose operands are quantised first: what is moved and worked before them, kernels that
do not split their sum, tiles that store their outputs, and the rows they were fitted on."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import elector
from elector.base.table import DATA, read_rows
from elector.evaluation.path import inspect
from elector.events.timeline import timeline
from elector.machines.gpu import kernels as gpu_kernels
from elector.machines.gpu.stacks import stacks
from elector.studies.simulation import columns_of
from elector.technology import Technology

ALONE: dict[str, object] = {
    "workload.implementation": "vllm",
    "workload.precision": "fp8",
    "accelerator.host_speed": 100,
    "accelerator.power_limit": 1e6,
}


def _product(device: str, sizes: str, **changes: object) -> float:
    settings = {**ALONE, **{key.replace("__", "."): value for key, value in changes.items()}}
    return float(str(elector.simulate(f"gemm:{sizes}", device, settings=settings)["latency_s"]))


def _benchmark(name: str) -> ModuleType:
    folder = str(Path(__file__).resolve().parents[2] / "benchmarks")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


def _one(sizes: tuple[float, float, float], **changes: float) -> float:
    """Cycles of one product m x k x n on 142 SMs of 1,024 multiply-accumulates."""
    m, k, n = (np.array([[value]]) for value in sizes)
    one = np.ones(1)
    device = gpu_kernels.Device(142.0 * one, one, 1024.0 * one, one > 0, one, one, one, special=one)
    own = {key: value for key, value in changes.items() if key != "splits"}
    products = gpu_kernels.GpuProducts(
        m, k, n, np.ones((1, 1)), k, n, np.ones((1, 1)), np.zeros((1, 1), dtype=bool)
    )
    products = replace(products, splits=changes.get("splits", products.splits))
    constants = replace(gpu_kernels.constants(), **own)
    return float(gpu_kernels.product_seconds(constants, device, products)[0][0, 0])


def test_a_kernel_that_does_not_split_takes_a_deep_sum_on_one_processor() -> None:
    deep = (64.0, 65536.0, 64.0)
    least = 32 * 64 * 65536 / 1024  # two tiles of the smallest side by side
    assert _one(deep, splits=1) > least > 4 * _one(deep)
    # where tiles fill the device nothing is split anyway
    large = (4096.0, 4096.0, 8192.0)
    assert _one(large, splits=1) == pytest.approx(_one(large), rel=0.02)


@pytest.mark.parametrize(
    ("least", "most", "rows"),
    [
        (0.0, 128.0, {64: 0, 65: 64, 128: 64, 129: 128, 8192: 128}),  # Hopper, 8 bits
        (128.0, 128.0, {1: 128, 64: 128, 8192: 128}),  # Blackwell, 8 bits, each SM
        (128.0, 256.0, {1: 128, 256: 128, 257: 256}),  # compute capability 12.0, 4 bits
        (0.0, 0.0, {64: 0, 8192: 0}),
    ],
)
def test_kernels_are_chosen_by_the_rows_of_a_product(
    least: float, most: float, rows: dict[int, float]
) -> None:
    """scaled_mm_sm90_fp8_dispatch.cuh, scaled_mm_sm100_fp8_dispatch.cuh and
    nvfp4_scaled_mm_sm120_kernels.cu of vLLM."""
    c = replace(gpu_kernels.constants(), tile_least=least, tile_most=most)
    for m, tile in rows.items():
        assert float(gpu_kernels.tile_rows(c, np.array(float(m)))) == tile


def test_a_kernel_of_large_tiles_leaves_processors_idle() -> None:
    """256 x 256 outputs are 4 tiles of 128 x 128, though 16 of 64 x 64 would take less."""
    shape, chosen = (256.0, 16384.0, 256.0), {"tile_least": 128.0, "tile_most": 128.0}
    assert _one(shape, splits=1, **chosen) >= 128 * 128 * 16384 / 1024
    assert _one(shape, splits=1) < 0.5 * _one(shape, splits=1, **chosen)
    # where such tiles suit best, nothing changes
    large = (8192.0, 8192.0, 16384.0)
    assert _one(large, splits=1, **chosen) < 1.1 * _one(large, splits=1)


def test_a_tile_stores_the_outputs_that_there_are() -> None:
    """What it takes to finish an output is paid for each, and not for rows beyond the product's."""
    for rows in (1.0, 16.0):
        shape = (rows, 64.0, 32.0)
        more = _one(shape, output_cycles=2.0) - _one(shape)
        assert more == pytest.approx(2.0 * rows * 32.0, rel=1e-6)
    short, wide = (4096.0, 32.0, 16384.0), 4096 * 16384 / 142
    assert _one(short, output_cycles=2.0) - _one(short) > 1.9 * wide


@pytest.mark.parametrize("stack", ["vllm", "sglang"])
def test_what_is_quantised_is_read_in_sixteen_bits(stack: str) -> None:
    """40 million values are 80 MB before and 40 after: a cache of 96 holds them no longer, however
    well it would hold those of 8 bits; 3 bytes of each then come from and go to main memory."""
    sheet, moved = 864e9 * gpu_kernels.constants().bandwidth_share, {}
    for precision in ("fp8", "bf16"):
        settings = {**ALONE, "workload.implementation": stack, "workload.precision": precision}
        cells = columns_of({"model": "gemm:8192x64x4880", "accelerator": "l40s", **settings}, 1)
        counts = inspect(cells, Technology.load()).activity.counts
        moved[precision] = float(counts["main memory"].total()[0])
    values = 8192 * 4880
    # operands and results: in 8 bits a third less of them than in 16
    beside = moved["fp8"] - 3 * values
    assert values < beside < 0.7 * moved["bf16"]
    assert _product("l40s", "8192x64x4880", workload__implementation=stack) > 3 * values / sheet


def test_a_kernel_that_quantises_keeps_processors_busy_at_any_bandwidth() -> None:
    cycles = stacks()["vllm"]["quantise.cycles"]
    least = 4096 * 4096 * cycles / (148 * 1965e6)
    wide = {"accelerator__bandwidth": 1e15}
    assert _product("b200-sxm-192gb", "4096x64x4096", **wide) > least
    half = _product("b200-sxm-192gb", "4096x64x4096", accelerator__clock="982.5 MHz", **wide)
    assert half > 2 * least


@pytest.mark.parametrize("device", ["l40s", "h100-sxm-80gb", "b200-sxm-192gb"])
@pytest.mark.parametrize("sizes", ["16x8192x8192", "2048x64x16384", "4096x4096x4096"])
def test_events_quantise_split_and_store_as_the_formulas_do(device: str, sizes: str) -> None:
    cells = columns_of({"model": f"gemm:{sizes}", "accelerator": device, **ALONE}, 1)
    events = timeline(inspect(cells, Technology.load()))
    assert events.seconds == pytest.approx(_product(device, sizes), rel=0.2)


@pytest.mark.parametrize(
    ("device", "sizes"),
    [
        ("h100-sxm-80gb", "64x64x65536"),  # a deep sum in one part; in 16 it takes .42 of that
        ("h100-sxm-80gb", "256x32768x256"),  # four large tiles; in small ones .3
        ("l40s", "64x64x65536"),
        ("l40s", "8192x16384x64"),  # outputs that nothing hides; without them .32
        ("l40s", "1x16384x65536"),  # weights at a share of their own; at that of all .86
    ],
)
def test_events_split_store_and_stream_as_the_formulas_do(device: str, sizes: str) -> None:
    cells = columns_of({"model": f"gemm:{sizes}", "accelerator": device, **ALONE}, 1)
    events = timeline(inspect(cells, Technology.load()))
    assert events.seconds == pytest.approx(_product(device, sizes), rel=0.03)


def test_chips_without_the_instructions_of_a_family_do_not_take_its_rates() -> None:
    """Compute capability 12.0 has no tcgen05: products as on all GPUs, attention as on Ada."""
    rows = {
        (r["architecture"], r["formats"].split("|")[0]): r
        for r in read_rows(DATA / "gpu_products.csv")
    }
    for name in ("bf16", "fp8", "nvfp4"):
        own = rows["blackwell-rtx", name]
        assert own["evidence"] == "assumed" and not own["tensor_share"]
        assert own["flash_share"] == rows["ada", "bf16"]["flash_share"]
    named = {r["name"]: r["architecture"] for r in read_rows(DATA / "accelerators" / "gpus.csv")}
    assert named["rtx-pro-6000"] == "blackwell-rtx"


def test_a_plugin_that_was_timed_alone_is_of_its_own_stack() -> None:
    """Products in int8 of the package are TensorRT-LLM's plugin, whose operands are in 8 bits."""
    timings = _benchmark("gpu_timings")
    assert timings.PLUGINS["sq"] == "tensorrt-llm"
    assert stacks()["tensorrt-llm"]["quantise.kernels"] == 0
    assert stacks()["tensorrt-llm"]["splits.int8"] == 1
    cases = [r for r in read_rows(DATA / "published.csv") if " int8 " in r["case"]]
    assert cases and {r["group"] for r in cases} == {"ampere / tensorrt-llm / products int8"}


def test_products_alone_reach_their_own_share_of_main_memory() -> None:
    """Weights in nvfp4 come at 0.68 of a B200's bandwidth where those in bf16 come at 0.8."""
    rows = read_rows(DATA / "gpu_products.csv")
    own = next(r for r in rows if r["architecture"] == "blackwell" and "nvfp4" in r["formats"])
    share, common = float(own["bandwidth_share"]), gpu_kernels.constants().bandwidth_share
    assert share < common
    weights, sheet = 16384 * 65536, 8000e9
    for precision, width, reached in (("nvfp4", 0.5625, share), ("bf16", 2.0, common)):
        seconds = _product("b200-sxm-192gb", "1x65536x16384", workload__precision=precision)
        least = weights * width / (sheet * reached)
        assert least < seconds < 1.15 * least + 10e-6, precision


def test_explain_names_what_kernels_take_with_unit_and_source() -> None:
    explained = elector.explain(
        "gemm:2048x4096x4096", "b200-sxm-192gb", "latency_s", settings=ALONE
    )
    told: Any = {constant["name"]: constant for constant in explained["constants"]}  # type: ignore[attr-defined]
    for name, value in stacks()["vllm"].items():
        if name in ("quantise.kernels", "quantise.bytes", "quantise.cycles", "splits.fp8"):
            assert told[f"vllm.{name}"]["value"] == value
    assert told["vllm.quantise.bytes"]["unit"] == "byte" and told["vllm.kernel"]["unit"] == "us"
    assert "vllm.step" not in told  # around products alone there is none
    assert all(constant["source"] and constant["evidence"] for constant in told.values())
    own = told["blackwell.fp8.tile_cycles"]
    assert own["table"] == "gpu_products.csv"
    assert own["value"] == gpu_kernels.measured_tiles()["blackwell", "fp8"]["tile_cycles"]
    # a family without rows of its own has those of all chips, and formats without scales none
    plain = {**ALONE, "workload.precision": "bf16"}
    explained = elector.explain("gpt2", "rtx-pro-6000", "latency_s", settings=plain)
    names = {constant["name"] for constant in explained["constants"]}  # type: ignore[attr-defined]
    assert {"gpu.tile_cycles", "blackwell-rtx.bf16.flash_share", "vllm.step"} <= names
    assert not any("quantise" in name or "splits" in name for name in names)


def test_events_quantise_what_attention_in_one_kernel_multiplies() -> None:
    """Queries of 64 x 512 tokens: 25 million values in each of twelve layers, 4 % of a pass."""
    settings: dict[str, object] = {**ALONE, "workload.batch": 64, "workload.sequence_length": 512}
    settings["workload.attention"] = "flash"
    simulated = elector.simulate("bert-base", "h100-sxm-80gb", settings=settings)["latency_s"]
    cells = columns_of({"model": "bert-base", "accelerator": "h100-sxm-80gb", **settings}, 1)
    events = timeline(inspect(cells, Technology.load()))
    assert events.seconds == pytest.approx(float(str(simulated)), rel=0.025)


@pytest.mark.parametrize("chip", ["l40s", "h100-sxm-80gb", "b200-sxm-192gb", "rtx-pro-6000"])
@pytest.mark.parametrize(("batch", "tokens"), [(1, 128), (8, 128), (64, 384)])
def test_where_no_kernel_quantises_narrow_products_are_no_slower(
    chip: str, batch: int, tokens: int
) -> None:
    """TensorRT quantises in the kernel before, and its kernels in fp8 are not vLLM's: with those
    bert-base took 1.4 times as long in fp8 as in bf16 on L40S, and 1.9 times on B200."""
    settings: dict[str, object] = {"workload.implementation": "tensorrt", "workload.batch": batch}
    settings["workload.sequence_length"] = tokens
    narrow, wide = (
        elector.simulate("bert-base", chip, settings=settings | {"workload.precision": precision})
        for precision in ("fp8", "bf16")
    )
    assert narrow["latency_s"] <= wide["latency_s"]
