"""Fit the constants of the GPU machine: global ones and those of software stacks, none a device's.

    python benchmarks/fit_gpu.py REFERENCE_FOLDER [--write] [--leave A100|V100|T4] [--only STACKS]

Fitted on: step rows of gpu_measured.csv that their source does not doubt (but those that
gpu_rows.is_left_out names: FasterTransformer in int8, of which all is counted, and TensorFlow 1
without XLA), rows of eager inference in gpu_engines.csv, half of gpu_gemm_a100.csv and of the
A100 rows of gpu_ops_llmcompass.csv (by a hash of the shape). Loss: mean absolute logarithm of
predicted over measured seconds; steps weigh as much as products, other operations half, a row of
training five times one of inference.
Method: pattern search from round numbers, one constant or a pair at a time with shrinking steps;
no random numbers. --only fits the named stacks alone, beside what all GPUs share as it stands in
elector/data. --write puts the constants into elector/data.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import timings_package
from engine_rows import for_fitting
from gpu_rows import (
    Compiled,
    Micro,
    compile_operations,
    compile_steps,
    eager_inference,
    family,
    gemms,
    kernel_only,
    left_out,
    micro,
    micro_seconds,
    operations,
    steps,
    suspect,
)

from elector.machines.gpu.kernels import Constants, constants
from elector.machines.gpu.stacks import VARIANTS, stacks, with_variants

Array = np.ndarray
Values = dict[str, float]

DATA = Path(__file__).resolve().parent.parent / "elector" / "data"

#: Constant -> (least, largest) it may become, in SI.
GLOBAL = {
    "tensor_share": (0.5, 1.0),
    "plain_share": (0.5, 1.0),
    # Products of one chip hardly tell a slow rate from slow operand loads. Chips of two and four
    # times the rate do: on Hopper and Blackwell larger shares are ever further off.
    "operand_share": (0.01, 0.185),
    "wave_share": (0.05, 1.0),
    "tile_cycles": (100.0, 5000.0),
    "bandwidth_share": (0.6, 0.95),
    "cache_share": (0.1, 1.0),
    "slack": (0.01, 1.0),
    # Few products here are misaligned, and they say little: no more than tiles without padding.
    "misaligned": (0.1, 0.6),
    "gradient_share": (0.5, 1.0),
    "vector_share": (0.1, 1.0),
}
STACK = {
    "host": (0.2e-6, 80e-6),
    "kernel": (1e-6, 6e-6),
    "step": (1e-6, 5e-3),
    "update": (1e-6, 2e-2),
    # Below one an operation would move less than its tensors.
    "forward": (1.0, 5.0),
    "backward": (0.8, 5.0),
    "mixed": (0.5, 4.0),
    "optimizer.passes": (1.0, 12.0),
    "append.rate": (0.2, 1.0),
    "row.cycles": (100.0, 2000.0),
    "stream.rate": (0.1, 1.0),
}
#: The same of one stack: llama.cpp has a processor look up the embeddings of every 512 tokens, and
#: build their mask and graph, before the device starts on them.
OWN = {"llama.cpp.step": (1e-6, 2e-2)}
#: Stacks with training rows, and with rows in mixed or int8 precision.
TRAINED = ("eager", "tensorflow1-xla", "tensorflow2-xla")
START, STOP = 1.3, 1.01
#: Weight of a row of training beside one of inference, and of rows of language models.
TRAINING, LANGUAGE = 5.0, 3.0
FEW = ("tensorrt-llm", "llama.cpp")


#: Where every fit starts: round numbers, none of them from an earlier fit, or a chip that is
#: left out would have left its mark. Host seconds as in physics of the field: 40 us for Python
#: stacks, 15-20 us for compiled TensorFlow, 6 us for C++.
BEGIN = {
    "tensor_share": 0.85,
    "plain_share": 0.95,
    "operand_share": 0.1,
    "wave_share": 0.6,
    "tile_cycles": 1000.0,
    "bandwidth_share": 0.8,
    "cache_share": 0.3,
    "slack": 0.1,
    "misaligned": 0.3,
    "gradient_share": 0.9,
    "vector_share": 0.3,
    "host": 15e-6,
    "kernel": 3e-6,
    "step": 0.5e-3,
    "update": 0.5e-3,
    "forward": 1.2,
    "backward": 1.2,
    "mixed": 1.2,
    "optimizer.passes": 2.0,
    "append.rate": 0.8,
    # What a load from main memory takes: 466 cycles on an A100, 479 on an H100, 542 on an RTX 4090
    # (Luo et al. 2024, arXiv 2402.13499).
    "row.cycles": 500.0,
    "stream.rate": 0.5,
}
HOST = {
    "eager": 40e-6,
    "torchscript": 40e-6,
    "fastertransformer": 6e-6,
    "tensorrt": 0.5e-6,
    "tensorrt-llm": 0.5e-6,
    # No row in 16 bits waits for the host. It is less than this: A100, H100, RTX 4090 and 6000 Ada
    # of the same document generate 128 to 144 tokens a second in 4 bits, of 707 kernels each.
    "llama.cpp": 10e-6,
}
STEP = {"tensorrt": 0.03e-3}
#: Stacks whose vector work never computes in wider numbers than it stores: without such rows, or
#: by its source.
NARROW = ("tensorflow", "llama.cpp", "fastertransformer")
#: Stacks whose bytes were counted in their source, with kernels of their own for one row.
COUNTED = ("llama.cpp",)
#: Stacks without rows: nothing is fitted on but what products alone say.
UNFITTED = ("vllm", "sglang", "compiled")


def start() -> Values:
    """The start of a fit."""
    values = {name: BEGIN[name] for name in GLOBAL}
    for stack in stacks():
        if stack in UNFITTED or stack in VARIANTS:
            continue
        for name in STACK:
            unused = name in ("backward", "update", "optimizer.passes") and stack not in TRAINED
            unused |= name == "append.rate" and stack != "eager"
            unused |= name == "mixed" and stack in NARROW
            unused |= name in ("row.cycles", "stream.rate") and stack not in COUNTED
            unused |= name == "forward" and stack in COUNTED
            if not unused:
                values[f"{stack}.{name}"] = BEGIN[name]
        values[f"{stack}.host"] = HOST.get(stack, BEGIN["host"])
        values[f"{stack}.step"] = STEP.get(stack, BEGIN["step"])
    values["compiled.kernel"] = BEGIN["kernel"]
    return values


def bounds(name: str) -> tuple[float, float]:
    """Least and largest value of a constant."""
    if name in OWN:
        return OWN[name]
    return GLOBAL[name] if name in GLOBAL else STACK[_owned(name)[1]]


def _owned(name: str) -> tuple[str, str]:
    """Stack and quantity of a constant's name; names of stacks may hold dots."""
    stack = next(s for s in stacks() if name.startswith(f"{s}."))
    return stack, name.removeprefix(f"{stack}.")


def apply(values: Values) -> tuple[Constants, dict[str, dict[str, float]]]:
    """Constants and stacks with the values of a fit."""
    now = replace(constants(), **{k: v for k, v in values.items() if k in GLOBAL})
    tables = {stack: dict(table) for stack, table in stacks().items()}
    for name, value in values.items():
        if name not in GLOBAL:
            stack, quantity = _owned(name)
            tables[stack][quantity] = value
    return now, with_variants(tables)


@dataclass(frozen=True)
class Rows:
    """Measured steps of one software stack, and the weight of each."""

    compiled: Compiled
    measured: Array
    weight: Array


@dataclass(frozen=True)
class Data:
    """What is fitted on: steps by stack, products, other operations, each with seconds."""

    steps: dict[str, Rows]
    single: Compiled
    product_seconds: Array
    others: list[Micro]


def off(ratio: Array) -> Array:
    """How far predictions are off; a large error counts for less, lest odd rows steer the fit."""
    return np.minimum(np.abs(np.log(ratio)), 0.5)


def stack_loss(values: Values, rows: Rows) -> float:
    """Weighed mean absolute logarithm of the steps of one stack, as a part of all steps."""
    return float((off(rows.compiled.seconds(*apply(values)) / rows.measured) * rows.weight).sum())


def loss(values: Values, data: Data) -> float:
    """Mean absolute logarithm of each kind, weighed."""
    now, tables = apply(values)
    alone = kernel_only(tables)
    total = sum(stack_loss(values, rows) for rows in data.steps.values())
    total += float(off(data.single.seconds(now, alone) / data.product_seconds).mean())
    others = [micro_seconds(o, now, alone)[o.fit] / o.seconds[o.fit] for o in data.others]
    return total + 0.5 * float(off(np.concatenate(others)).mean())


def fit(values: Values, data: Data) -> Values:
    """Pattern search, in turn over what all GPUs share and over what a stack has of its own."""
    values, factor = dict(values), START
    best = loss(values, data)
    while factor > STOP:
        before = best
        for stack, rows in data.steps.items():
            values = fit_stack(values, stack, rows, factor)
        best = loss(values, data)
        for name in (*GLOBAL, "compiled.kernel"):
            for step in (factor, 1.0 / factor):
                trial = moved(values, {name: step})
                error = loss(trial, data)
                if error < best - 1e-9:
                    values, best = trial, error
                    break
        print(f"factor {factor:.3f}  loss {best:.4f}", file=sys.stderr, flush=True)
        if before - best < 0.001:
            factor = factor**0.5
    return values


#: What makes up for each other: one grows by a factor, the other shrinks by a power of it.
PAIRS = (
    ("host", "step", 3.0),
    ("update", "step", 1.0),
    ("forward", "backward", 1.0),
    ("forward", "mixed", 1.0),
    ("backward", "optimizer.passes", 1.0),
    ("kernel", "row.cycles", 0.1),
)


def fit_stacks(names: list[str], data: Data) -> Values:
    """The constants of some stacks, each beside what stands in elector/data."""
    shared = constants()
    fitted: Values = {}
    for stack in names:
        values = {name: v for name, v in start().items() if name.startswith(f"{stack}.")}
        values |= {name: float(getattr(shared, name)) for name in GLOBAL}
        factor = START
        while factor > STOP:
            values = fit_stack(values, stack, data.steps[stack], factor)
            factor = factor**0.5
        fitted |= {name: v for name, v in values.items() if name not in GLOBAL}
    return fitted


def fit_stack(values: Values, stack: str, rows: Rows, factor: float) -> Values:
    """The constants of one stack, one by one and in pairs, until no step of `factor` helps."""
    own = [name for name in values if name.startswith(f"{stack}.")]
    moves = [{name: step} for name in own for step in (factor, 1.0 / factor)]
    for first, second, power in PAIRS:
        one, two = f"{stack}.{first}", f"{stack}.{second}"
        if one in own and two in own:
            moves += [{one: f, two: f**-power} for f in (factor, 1.0 / factor)]
    best, better = stack_loss(values, rows), True
    while better:
        better = False
        for move in moves:
            trial = moved(values, move)
            error = stack_loss(trial, rows)
            if error < best * (1 - 1e-4):
                values, best, better = trial, error, True
    return values


def moved(values: Values, factors: Values) -> Values:
    """The values with some of them changed by factors, within their bounds."""
    changed = dict(values)
    for name, factor in factors.items():
        changed[name] = float(np.clip(values[name] * factor, *bounds(name)))
    return changed


def write(values: Values) -> None:
    """Put the constants into the data files."""
    text = "fitted by benchmarks/fit_gpu.py on measured steps and half of the A100 products"
    _rewrite(DATA / "gpu.csv", lambda row: row["quantity"], values, text)
    _rewrite(
        DATA / "implementations.csv", lambda row: f"{row['stack']}.{row['quantity']}", values, text
    )


def _rewrite(path: Path, key: object, values: Values, source: str) -> None:
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    scale = {"us": 1e6, "ms": 1e3, "MB": 1e-6}
    for row in rows:
        name = key(row)  # type: ignore[operator]
        if name in values:
            row["value"] = f"{values[name] * scale.get(row['unit'], 1.0):.4g}"
            row["evidence"], row["source"] = "derived", source
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def data(folder: Path, leave: str = "") -> Data:
    """What is fitted on; `leave` names a chip family of which everything stays out."""
    rows = steps(folder).joined(eager_inference(folder)).joined(for_fitting(folder))
    keep = ~suspect(rows) & np.array([family(r) != leave for r in rows.records])
    keep &= ~left_out(rows)
    rows = rows.take(keep)
    m, k, n, t, half = gemms(folder)
    others = micro(folder)
    if leave == "A100":
        # No other chip has rows of single products: one row stands in, so that it weighs little.
        half = np.arange(half.size) == 0
        others = [replace(o, fit=np.arange(o.fit.size) == 0) for o in others]
    single = compile_operations(operations(m[half], k[half], n[half]), "a100-sxm-80gb")
    # Few rows are of training, and they alone say something of its constants.
    weight = np.where(rows.where(mode="train"), TRAINING, 1.0)
    weight = np.where([r["implementation"] in FEW for r in rows.records], LANGUAGE, weight)
    weight = weight / weight.sum()
    parts = {}
    named = [VARIANTS.get(r["implementation"], r["implementation"]) for r in rows.records]
    for stack in dict.fromkeys(named):
        here = np.array(named) == stack
        some = rows.take(here)
        parts[stack] = Rows(compile_steps(some), some.seconds, weight[here])
    return Data(parts, single, t[half], others)


def main() -> None:
    """Fit and show, or write."""
    parser = argparse.ArgumentParser(description="fit the GPU constants")
    parser.add_argument("folder", type=timings_package.reference)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--leave", default="")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="STACK",
        choices=[s for s in stacks() if s not in VARIANTS],
    )
    given = parser.parse_args()
    rows = data(given.folder, given.leave)
    values = fit_stacks(given.only, rows) if given.only else fit(start(), rows)
    for name, value in values.items():
        print(f"{name:32} {value:.4g}")
    if given.write:
        write(values)


if __name__ == "__main__":
    main()
