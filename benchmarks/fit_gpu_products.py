"""Fit the constants of products by family of chips and number format.

    python benchmarks/fit_gpu_products.py FOLDER [--write] [--without DEVICE]

FOLDER as for gpu_timings.py. Fitted on at most 250 products above 50 us of each device and format
of which gpu_timings.py keeps none out, timed by vLLM; loss and search as in fit_gpu.py, from each
of a few starting points where operands have scales. Ampere keeps the constants of all GPUs, which
were fitted on it, and so does int8. Flash attention: the best of a grid on at most 80 rows of each
device and kind; with --flash what its blocks take in each stack, in the same way, with the rates
of the families as they stand; with --quantise what kernels that quantise take of an SM. --without
leaves a device out of its family. --write renews data/gpu_products.csv.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
from collections.abc import Iterable
from pathlib import Path

import gpu_timings
import numpy as np
from fit_gpu import off
from gpu_rows import Compiled, kernel_only

from elector.base.table import DATA, read_rows
from elector.machines.gpu import kernels
from elector.machines.gpu.stacks import stacks

Values = dict[str, float]
Key = tuple[str, tuple[str, ...]]
Rows = list[tuple[Compiled, np.ndarray]]

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
#: Grid of what a kernel that quantises takes of an SM for each element [cycles], by format.
WORKING = {
    "fp8": ("quantise.cycles", np.arange(0.5, 0.86, 0.05)),
    "nvfp4": ("quantise.group.cycles", np.arange(0.0, 0.31, 0.05)),
}
#: Grid of a stack's flash attention: start and end of a block [cycles], rate of its products.
CYCLES, RATES = np.arange(4000.0, 16001.0, 2000.0), (1.0, 1.1)
SIZE, START, STOP = 250, 1.4, 1.01
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
    table.update({(key[0], name): values for name in key[1]})
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
    return values


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


def attending(folder: Path, devices: Iterable[str], engine: str) -> Rows:
    """Attention of prompts and encoders, apart from rows left out."""
    pairs = []
    for device, kind in itertools.product(devices, ("prefill", "encoder")):
        some = gpu_timings.attention_rows(folder, device, engine, kind, left_out=False)
        if some:
            measured = np.array([float(str(r["latency"])) * 1e-3 for r in some])
            pairs.append((gpu_timings.attention(some, device, engine, kind), measured))
    return pairs


def missed(data: Rows) -> float:
    """Mean absolute logarithm of predicted over measured seconds of all rows, as stacks stand."""
    alone, now = kernel_only(stacks()), kernels.constants()
    return float(np.concatenate([off(c.seconds(now, alone) / t) for c, t in data]).mean())


def fit_flash(folder: Path, family: str, without: str) -> float:
    """Rate of flash attention over that inside a tile: the best of a grid, or the one that stands
    where none is better by a percent."""
    data = attending(folder, [d for d in FLASH[family] if d != without], "vllm")
    own = kernels.measured_tiles().setdefault((family, "bf16"), {})
    before = own["flash_share"] = standing(family)
    best = (0.99 * missed(data), before)
    for share in np.arange(0.4, 1.01, 0.05):
        own["flash_share"] = float(share)
        best = min(best, (missed(data), float(share)))
    own["flash_share"] = best[1]
    print(family, "flash", best, file=sys.stderr)
    return best[1]


def standing(family: str) -> float:
    """Rate of flash attention of a family as the table has it."""
    rows = read_rows(DATA / "gpu_products.csv")
    rates = [r["flash_share"] for r in rows if r["architecture"] == family and r["flash_share"]]
    return float(rates[0]) if rates else kernels.constants().flash_share


def fit_blocks(folder: Path, engine: str) -> Values:
    """What a block of an engine's flash attention takes to start and to end [cycles], and the rate
    of its products over that of the family: the best of a grid on all families together."""
    data = attending(folder, [d for devices in FLASH.values() for d in devices], engine)
    own, best = stacks()[gpu_timings.ATTENDING[engine]], (np.inf, 0.0, 1.0)
    for start, rate in itertools.product(CYCLES, RATES):
        own["flash.start"], own["flash.rate"] = start, rate
        best = min(best, (missed(data), start, rate))
    print(engine, "blocks", best, file=sys.stderr)
    return {"flash.start": best[1], "flash.rate": best[2]}


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
            f"flash attention as {ALIKE[family]}, products as all GPUs: compute capability 12.0 "
            "multiplies by mma.sync, as they do, and has no tcgen05 (PTX ISA, tcgen05: targets)"
        )
    which = "" if len(formats) == 1 or formats[0] == "bf16" else f" in {formats[0]}"
    what = f"products{which}" if "tensor_share" in values else "flash attention"
    version = gpu_timings.VERSIONS.get(FLASH[family][0], gpu_timings.VERSION)
    source = (
        f"fitted by benchmarks/fit_gpu_products.py on {what} timed by vLLM {version} "
        "(aiconfigurator-core 0.12.0)"
    )
    return "derived", source + ALSO * ("tf32" in formats)


def main() -> None:
    """Fit and show, or write."""
    parser = argparse.ArgumentParser(description="fit products by family and format")
    gpu_timings.add_folder(parser)
    parser.add_argument("--without", default="")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--flash", action="store_true", help="blocks of flash attention by stack")
    parser.add_argument("--quantise", action="store_true", help="kernels that quantise")
    given = parser.parse_args()
    if given.flash:  # shown, for data/implementations.csv
        for engine in gpu_timings.ATTENDING:
            print(engine, fit_blocks(given.folder, engine))
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
        share = fit_flash(given.folder, family, given.without)
        for formats in dict.fromkeys(
            (FORMATS["bfloat16"], *(own for name, own in fitted if name == family))
        ):
            fitted.setdefault((family, formats), {})["flash_share"] = share
    for family, other in ALIKE.items() if not given.without else ():
        for formats in FORMATS.values():
            fitted[family, formats] = dict(
                flash_share=fitted[other, FORMATS["bfloat16"]]["flash_share"]
            )
    if given.write:
        write(fitted)
    else:
        gpu_timings.show(given.folder, "vllm", gpu_timings.ROWS)


if __name__ == "__main__":
    main()
