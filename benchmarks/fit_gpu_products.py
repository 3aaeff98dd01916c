"""Fit the constants of products by family of chips and number format.

    python benchmarks/fit_gpu_products.py FOLDER [--write] [--without DEVICE]

FOLDER as for gpu_timings.py. Fitted on at most 250 products above 50 us of each device and format
of which gpu_timings.py keeps none out, timed by vLLM; loss and search as in fit_gpu.py, from each
of a few starting points where operands have scales. Ampere keeps the constants of all GPUs, which
were fitted on it, and so does int8. Attention: the best of a grid on at most 80 rows of each
device and kind (--attention: that alone, shown); with --flash what its blocks take in each stack,
in the same way, with the rates of the families as they stand; with --quantise what kernels that
quantise take of an SM. --without leaves a device out of its family. --write renews
data/gpu_products.csv.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import gpu_timings
import numpy as np
from fit_gpu import off
from gpu_rows import Compiled, kernel_only

from elector.base.table import DATA
from elector.machines.gpu import kernels
from elector.machines.gpu.stacks import stacks

Values = dict[str, float]
Key = tuple[str, tuple[str, ...]]
Rows = list[tuple[Compiled, np.ndarray]]
#: Attention: as operations, seconds measured, its rows, and device, engine and kind of them.
Timed = tuple[Compiled, np.ndarray, list[dict[str, object]], tuple[str, str, str]]
DECODE = ("decode",)
#: Constants of attention of a family.
ATTENTION = (
    "flash_share",
    "flash_rows",
    "flash_paged_rows",
    "flash_paged_keys",
    "flash_paged_rate",
    "flash_head",
    "flash_hidden",
    "flash_special",
    "stream_cycles",
    "stream_keys",
    "stream_hidden",
    "stream_share",
)

#: Families with rows of their own -> devices of the package.
FAMILIES = {
    "ada": ("l40s",),
    "hopper": ("h100_sxm", "h200_sxm"),
    "blackwell": ("b200_sxm", "gb200"),
}
#: Families without rows that any fit may see -> whose rate of flash attention they take (assumed).
#: Compute capability 12.0 has the warps' own instructions of Ampere and Ada (mma.sync), and not the
#: tensor memory and tcgen05 of 10.0: a kernel of one runs on no chip of the other.
ALIKE = {"blackwell-rtx": "ada"}
#: The same for flash attention; Ampere has the products of all GPUs.
FLASH = {"ampere": ("a100_sxm",), **FAMILIES}
FORMATS = {"bfloat16": ("bf16", "fp16", "tf32"), "fp8": ("fp8",), "nvfp4": ("nvfp4", "mxfp4")}
BOUNDS = {
    "tensor_share": (0.3, 1.0),
    "operand_share": (0.001, 0.5),
    "wave_share": (0.05, 1.0),
    "tile_cycles": (100.0, 8000.0),
    "output_cycles": (0.001, 10.0),
    "bandwidth_share": (0.4, 0.9),
}
BEGIN = {"tensor_share": 0.8, "operand_share": 0.05, "wave_share": 0.6, "tile_cycles": 2000.0}
#: Starting points of formats with scales.
SCALED = tuple(
    {"tensor_share": tensor, "operand_share": operand, "wave_share": 0.6, "tile_cycles": tile}
    for tensor in (0.7, 0.85, 1.0)
    for operand in (0.02, 0.3)
    for tile in (2000.0, 6000.0)
)
#: The same of families whose kernels store their outputs while nothing else hides it: CUTLASS 2.x,
#: in one stage and 8 bytes a thread (scaled_mm_c2x.cuh of vLLM). Those of Hopper and Blackwell
#: store beside the products of the next tile; fitted, they keep none of it.
STORING = {"ada": tuple({**begin, "output_cycles": 1.0} for begin in SCALED)}
#: Families and formats whose products reach a share of the main memory of their own. Of fp8 on
#: Blackwell a fit likes one, and rows left out do not; of the others it is that of all kernels.
STREAMING = (("ada", "fp8"), ("blackwell", "nvfp4"))
#: Rows of the tiles of kernels that vLLM chooses by the rows of a product, of 128 columns: 64 up to
#: 128 rows and 128 above on Hopper (scaled_mm_sm90_fp8_dispatch.cuh), 128 for each SM on Blackwell
#: (scaled_mm_sm100_fp8_dispatch.cuh: 256 for two), 128 up to 256 rows and 256 above in 4 bits on
#: compute capability 12.0 (nvfp4_scaled_mm_sm120_kernels.cu).
CHOSEN = {
    ("hopper", "fp8"): {"tile_most": 128.0},
    ("blackwell", "fp8"): {"tile_least": 128.0, "tile_most": 128.0},
    ("blackwell-rtx", "nvfp4"): {"tile_least": 128.0, "tile_most": 256.0},
}
#: Grid of what a kernel that quantises takes of an SM for each element [cycles], by format.
WORKING = {
    "fp8": ("quantise.cycles", np.arange(0.5, 0.86, 0.05)),
    "nvfp4": ("quantise.group.cycles", np.arange(0.0, 0.31, 0.05)),
}
#: Grid of a stack's flash attention: start and end of a block [cycles], rate of its products.
CYCLES, RATES = np.arange(3000.0, 12001.0, 1500.0), (0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
#: Grid of a family's decoding: share of the main memory's bandwidth, and cycles of a block; and of
#: families whose blocks take whole tiles of keys (copied by the tensor memory accelerator), as many
#: keys as they take and the part of a start that other blocks hide.
SHARES, STARTS = np.arange(0.7, 0.98, 0.025), np.arange(1000.0, 6001.0, 1000.0)
TILED = {
    "hopper": {"stream_keys": (64.0, 128.0), "stream_hidden": (0.0, 0.5, 1.0)},
    "blackwell": {"stream_keys": (64.0, 128.0), "stream_hidden": (0.0, 0.5, 1.0)},
}
#: What of an error in attention counts: rows beyond (of heads of 512 on Hopper, of few sequences on
#: A100) ran kernels of another kind.
MOST = 0.5
#: Families whose blocks hold two tiles in turns: queries of a block (FlashAttention-4, section 3),
#: part of the products that is hidden, cycles of a softmax over those of its exponentials (by the
#: cycles of a tile of prompts on B200 and GB200, which are 1,570, 1,780 and 3,200 of 128 x 128 with
#: heads of 64, 128 and 256, of which products at the peak rate are 542, 1,084 and 2,169), and
#: numbers that heads come in multiples of (encoders with heads of 72 and 80 take as long as with
#: 128).
PAIRS = {
    "blackwell": {
        "flash_rows": 256.0,
        "flash_head": 64.0,
        "flash_hidden": 0.5,
        "flash_special": 1.2,
    }
}
#: Families without instructions of warp groups: vLLM's kernel of keys in pages is the one of
#: FlashAttention-2 that may split them, 64 queries of all heads, keys of 16,384 numbers at a time
#: (run_mha_fwd_splitkv_dispatch, csrc/flash_attn/src/flash_fwd_launch_template.h).
SPLIT = {"flash_paged_rows": 64.0, "flash_paged_keys": 16384.0}
OF_WARPS = ("ampere", "ada")
#: Of these, that with rows of both kinds of kernels: rate of products over keys in pages.
PAGED = {"ada": np.arange(0.8, 1.01, 0.05)}
SIZE, START, STOP = 250, 1.4, 1.01
PAIRED = (
    "; two tiles in turns: FlashAttention-4 (Zadouri et al. 2026), hidden part, cycles of a "
    "softmax and padding of heads by prompts and encoders on B200 and GB200"
)
PAGES = "; keys in pages: blocks of run_mha_fwd_splitkv_dispatch, FlashAttention-2"
TILES = "; whole tiles of keys in decoding, and what other blocks hide of their start: by the same"
BY_ROWS = "; tiles by rows: the dispatch of vLLM (see CHOSEN in the script)"
ALSO = "; tf32 as 16 bits: the same cores (assumed)"


def rows(folder: Path, family: str, kind: str, without: str) -> Rows:
    """Products of a family in one format, apart from those left out."""
    pairs = []
    for device in FAMILIES[family]:
        every = gpu_timings.products(folder, device, "vllm", kind)
        if every is not None and device != without:
            some = gpu_timings.sample(every, SIZE, left_out=False)
            pairs.append((gpu_timings.compiled(some, device, kind, "vllm"), some.seconds))
    return pairs


def loss(key: Key, values: Values, data: Rows) -> float:
    """Mean absolute logarithm of predicted over measured seconds."""
    table = kernels.measured_tiles()
    own = values | CHOSEN.get((key[0], key[1][0]), {})
    table.update({(key[0], name): own for name in key[1]})
    alone, now = kernel_only(stacks()), kernels.constants()
    return float(np.mean([off(c.seconds(now, alone) / t).mean() for c, t in data]))


def fit(key: Key, data: Rows) -> Values:
    """The best of pattern searches from round numbers."""
    begins = (BEGIN,) if "bf16" in key[1] else STORING.get(key[0], SCALED)
    if (key[0], key[1][0]) in STREAMING:
        begins = tuple({**begin, "bandwidth_share": 0.75} for begin in begins)
    values = min((search(key, begin, data) for begin in begins), key=lambda v: loss(key, v, data))
    best = loss(key, values, data)  # the table holds the last trial
    print(key, {k: round(v, 4) for k, v in values.items()}, round(best, 4), file=sys.stderr)
    return values | CHOSEN.get((key[0], key[1][0]), {})


def search(key: Key, begin: Values, data: Rows) -> Values:
    """Pattern search from one point."""
    values, factor = dict(begin), START
    best = loss(key, values, data)
    while factor > STOP:
        before = best
        for name in values:
            for step in (factor, 1.0 / factor):
                trial = {**values, name: float(np.clip(values[name] * step, *BOUNDS[name]))}
                error = loss(key, trial, data)
                if error < best - 1e-6:
                    values, best = trial, error
                    break
        if before - best < 1e-4:
            factor = factor**0.5
    return values


def fit_quantising(folder: Path, kind: str) -> tuple[float, float]:
    """Mean loss of products of all families, fitted anew beside each of a grid, and the cycles of
    an SM for each element where it is least: of vLLM, whose rows these are."""
    name, grid = WORKING[kind]
    own, best = stacks()["vllm"], (np.inf, 0.0)
    for cycles in grid:
        own[name], losses = float(cycles), []
        for family in FAMILIES:
            key, data = (family, FORMATS[kind]), rows(folder, family, kind, "")
            losses += [loss(key, fit(key, data), data)] if data else []
        best = min(best, (float(np.mean(losses)), float(cycles)))
        print(kind, round(float(cycles), 2), np.round(losses, 4), file=sys.stderr)
    return best


def fit_own_quantising(folder: Path, engine: str) -> tuple[float, float]:
    """The same of another engine, with the constants of products as they stand."""
    name, grid = WORKING["fp8"][0], np.arange(0.0, 0.86, 0.05)
    own, best = stacks()[gpu_timings.STACKS[engine]], (np.inf, 0.0)
    data = []
    for device in itertools.chain.from_iterable(FAMILIES.values()):
        every = gpu_timings.products(folder, device, engine, "fp8")
        assert every is not None
        some = gpu_timings.sample(every, SIZE, left_out=False)
        data.append((gpu_timings.compiled(some, device, "fp8", engine), some.seconds))
    for cycles in grid:
        own[name] = float(cycles)
        best = min(best, (missed(data), float(cycles)))
    return best


def attending(
    folder: Path, devices: Iterable[str], engine: str, kinds: Sequence[str] = ("prefill", "encoder")
) -> list[Timed]:
    """Attention as it was timed, apart from rows left out."""
    timed = []
    for device, kind in itertools.product(devices, kinds):
        some = gpu_timings.attention_rows(folder, device, engine, kind, left_out=False)
        if some:
            measured = np.array([float(str(r["latency"])) * 1e-3 for r in some])
            ours = gpu_timings.attention(some, device, engine, kind)
            timed.append((ours, measured, some, (device, engine, kind)))
    return timed


def missed(data: Rows) -> float:
    """Mean absolute logarithm of predicted over measured seconds of all rows, as stacks stand."""
    alone, now = kernel_only(stacks()), kernels.constants()
    return float(np.concatenate([off(c.seconds(now, alone) / t) for c, t in data]).mean())


def strayed(timed: list[Timed]) -> float:
    """The same of attention, as constants stand: the mean of devices and kinds."""
    errors = []
    for ours, measured, some, which in timed:
        seconds = gpu_timings.attention_seconds(ours, some, *which)
        errors.append(np.minimum(off(seconds / measured), MOST).mean())
    return float(np.mean(errors))


def fit_attention(folder: Path, family: str, without: str) -> Values:
    """Rate of flash attention over that inside a tile, and what decoding takes: the best of grids,
    or what stands where none is better by a percent."""
    devices = [d for d in FLASH[family] if d != without]
    own = kernels.measured_tiles().setdefault((family, "bf16"), {})
    given = PAIRS.get(family, {}) | (SPLIT if family in OF_WARPS else {})
    own |= given
    prompts, tokens = attending(folder, devices, "vllm"), attending(folder, devices, "vllm", DECODE)
    rates = [
        {"flash_share": float(share), "flash_paged_rate": float(paged)}
        for share, paged in itertools.product(np.arange(0.6, 1.31, 0.05), PAGED.get(family, (1.0,)))
    ]
    tiles = TILED.get(family, {"stream_keys": (0.0,), "stream_hidden": (1.0,)})
    axes = {"stream_share": SHARES, "stream_cycles": STARTS, **tiles}
    streams = [
        {name: float(value) for name, value in zip(axes, values, strict=True)}
        for values in itertools.product(*axes.values())
    ]
    values = best_of(own, rates, prompts) | best_of(own, streams, tokens)
    print(family, "attention", values, strayed(prompts), strayed(tokens), file=sys.stderr)
    return given | values


def best_of(own: Values, grid: Sequence[Values], timed: list[Timed]) -> Values:
    """The constants of a grid that miss least, left in `own`; those that stand have a percent."""
    before = {name: own.get(name, getattr(kernels.constants(), name)) for name in grid[0]}
    best = (0.99 * strayed(timed), before)
    for values in grid:
        own |= values
        best = min(best, (strayed(timed), values), key=lambda pair: pair[0])
    own |= best[1]
    return best[1]


def fit_blocks(folder: Path, engine: str) -> Values:
    """What a block of an engine's flash attention takes to start and to end [cycles], and the rate
    of its products over that of the family: the best of a grid on all families together.

    vLLM's rate is what those of the families were fitted beside, and its kernels of prompts have a
    start of their own.
    """
    timed = attending(folder, [d for devices in FLASH.values() for d in devices], engine)
    own, best = stacks()[gpu_timings.ATTENDING[engine]], (np.inf, 0.0, 1.0, 0.0)
    rates = (own["flash.rate"],) if engine == "vllm" else RATES
    paged = CYCLES if own["flash.paged.start"] else (0.0,)
    for start, rate, pages in itertools.product(CYCLES, rates, paged):
        own["flash.start"], own["flash.rate"], own["flash.paged.start"] = start, rate, pages
        best = min(best, (strayed(timed), start, rate, pages))
    print(engine, "blocks", best, file=sys.stderr)
    return {"flash.start": best[1], "flash.rate": best[2], "flash.paged.start": best[3]}


def write(fitted: dict[Key, Values]) -> None:
    """Renew data/gpu_products.csv."""
    with (DATA / "gpu_products.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["architecture", "formats", *kernels.TILES_OF, "evidence", "source"])
        for (family, formats), values in fitted.items():
            cells = [f"{values[n]:.4g}" if n in values else "" for n in kernels.TILES_OF]
            writer.writerow([family, "|".join(formats), *cells, *told(family, formats, values)])


def told(family: str, formats: tuple[str, ...], values: Values) -> tuple[str, str]:
    """Evidence and source of a row."""
    if family in ALIKE:
        return "assumed", (
            f"attention as {ALIKE[family]}, products as all GPUs: compute capability 12.0 "
            "multiplies by mma.sync, as they do, and has no tcgen05 (PTX ISA, tcgen05: targets)"
        )
    which = "" if len(formats) == 1 or formats[0] == "bf16" else f" in {formats[0]}"
    what = f"products{which}, and attention" if "tensor_share" in values else "attention"
    version = gpu_timings.VERSIONS.get(FLASH[family][0], gpu_timings.VERSION)
    source = (
        f"fitted by benchmarks/fit_gpu_products.py on {what} timed by vLLM {version} "
        "(aiconfigurator-core 0.12.0)"
    )
    source += PAIRED * (family in PAIRS) + PAGES * (family in OF_WARPS)
    source += BY_ROWS * ((family, formats[0]) in CHOSEN) + TILES * (family in TILED)
    return "derived", source + ALSO * ("tf32" in formats)


def main() -> None:
    """Fit and show, or write."""
    parser = argparse.ArgumentParser(description="fit products by family and format")
    gpu_timings.add_folder(parser)
    parser.add_argument("--without", default="")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--flash", action="store_true", help="blocks of flash attention by stack")
    parser.add_argument("--attention", action="store_true", help="attention by family, alone")
    parser.add_argument("--quantise", action="store_true", help="kernels that quantise")
    given = parser.parse_args()
    if given.flash:  # shown, for data/implementations.csv
        for engine in gpu_timings.ATTENDING:
            print(engine, fit_blocks(given.folder, engine))
        return
    if given.attention:
        for family in FLASH:
            print(family, fit_attention(given.folder, family, given.without))
        return
    if given.quantise:
        for kind in WORKING:
            print("vllm", kind, fit_quantising(given.folder, kind))
        kernels.measured_tiles.cache_clear()
        print("sglang", "fp8", fit_own_quantising(given.folder, "sglang"))
        return
    fitted = {}
    for family in FAMILIES:
        for kind, formats in FORMATS.items():
            data = rows(given.folder, family, kind, given.without)
            if data:
                fitted[family, formats] = fit((family, formats), data)
    for family in FLASH if not given.without else ():
        values = fit_attention(given.folder, family, given.without)
        for formats in dict.fromkeys(
            (FORMATS["bfloat16"], *(own for name, own in fitted if name == family))
        ):
            fitted.setdefault((family, formats), {}).update(values)
    for family, other in ALIKE.items() if not given.without else ():
        alike = fitted[other, FORMATS["bfloat16"]]
        for formats in FORMATS.values():
            own = {name: alike[name] for name in ATTENTION if name in alike}
            fitted[family, formats] = own | CHOSEN.get((family, formats[0]), {})
    if given.write:
        write(fitted)
    else:
        gpu_timings.show(given.folder, "vllm", gpu_timings.ROWS)


if __name__ == "__main__":
    main()
