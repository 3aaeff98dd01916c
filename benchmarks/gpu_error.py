"""How far the GPU machine is from measurements, and a plain roofline beside it.

    python benchmarks/gpu_error.py REFERENCE_FOLDER [--leave-one-out [A100 V100 T4]] [--rows]

Steps (gpu_measured.csv), products (gpu_gemm_a100.csv, the half kept out of the fit), single
operations (gpu_ops_llmcompass.csv, A100), average power and power limits (gpu_power.csv). Each
family of chips that is left out is a fit of its own: nine minutes of one core for all three.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import fit_gpu
import numpy as np
import timings_package
from gpu_rows import (
    Compiled,
    Record,
    Steps,
    compile_operations,
    compile_steps,
    eager_inference,
    family,
    gemms,
    kernel_only,
    micro,
    micro_seconds,
    operations,
    read,
    steps,
    suspect,
)

from elector.machines.gpu.kernels import constants
from elector.machines.gpu.stacks import VARIANTS, stacks

Array = np.ndarray
Figures = dict[str, tuple[int, float, float]]

#: SQuAD 1.1 in windows of 384 tokens (said in the notes of gpu_power.csv).
FEATURES = 88641.0
#: Tokens of a tweet: not stated; its time per sequence is a seventh of that of 384 tokens.
TWEET = 64
#: Families of chips that a fit can do without.
FAMILIES = ("A100", "V100", "T4")
DEVICES = {"V100": "v100-pcie-32gb", "Quadro": "quadro-rtx-6000"}


def summary(error: Array) -> tuple[int, float, float]:
    """Rows, median and 90th percentile of the absolute error."""
    size = np.abs(error)
    return error.size, float(np.median(size)), float(np.quantile(size, 0.9))


def roofline(compiled: Compiled) -> Array:
    """(D,) seconds of the larger of flops over peak and bytes over bandwidth, row by row."""
    bound = np.empty(compiled.size)
    for rows, p, _ in compiled.parts:
        ops, units = p.ops, p.units
        peak = 0.5 * units.number(f"{ops.format.compute}_rate")
        matmul = np.array([row.matmul for row in ops.rows])[:, None]
        macs = np.where(matmul, ops.batch * ops.m * ops.k * ops.n, 0.0)[:, p.index]
        moved = (ops.a_bytes + ops.b_bytes + ops.out_bytes)[:, p.index]
        seconds = np.maximum(macs / peak, moved / units.number("bandwidth"))
        bound[rows] = (ops.count[:, p.index] * seconds).sum(axis=0) / compiled.scale[rows]
    return bound


def step_errors(rows: Steps, compiled: Compiled) -> tuple[Array, Array]:
    """(D,) error of the machine and of the roofline."""
    ours = compiled.seconds(constants(), stacks()) / rows.seconds - 1.0
    return ours, roofline(compiled) / rows.seconds - 1.0


def step_figures(rows: Steps, ours: Array) -> Figures:
    """By mode, by stack (a variant counts as the stack it is one of), by device, and by mode within
    both."""
    summaries = {"all": summary(ours)}
    named = [
        {**r, "implementation": VARIANTS.get(r["implementation"], r["implementation"])}
        for r in rows.records
    ]
    rows = replace(rows, records=named)
    for field in ("mode", "implementation", "device"):
        for name in dict.fromkeys(r[field] for r in rows.records):
            here = rows.where(**{field: name})
            summaries[f"{field} {name}"] = summary(ours[here])
            for mode in ("train", "infer") if field != "mode" else ():
                both = here & rows.where(mode=mode)
                if both.any() and not both[here].all():
                    summaries[f"  {mode} {name}"] = summary(ours[both])
    return summaries


def leave_one_out(folder: Path, rows: Steps, compiled: Compiled, names: list[str]) -> Figures:
    """Each chip family predicted by constants fitted without it, and by format within it."""
    summaries = {}
    families = np.array([family(r) for r in rows.records])
    for name in names:
        values = fit_gpu.fit(fit_gpu.start(), fit_gpu.data(folder, name))
        error = compiled.seconds(*fit_gpu.apply(values)) / rows.seconds - 1.0
        here = families == name
        summaries[f"without {name}"] = summary(error[here])
        for format in dict.fromkeys(r["dtype"] for r in rows.take(here).records):
            some = here & rows.where(dtype=format)
            summaries[f"  {name} {format}, bias {np.median(error[some]):+.1%}"] = summary(
                error[some]
            )
    return summaries


def operation_figures(folder: Path) -> tuple[Figures, Figures]:
    """Products kept out of the fit and single operations; ours and the roofline."""
    m, k, n, t, half = gemms(folder)
    alone = kernel_only(stacks())
    out = compile_operations(operations(m[~half], k[~half], n[~half]), "a100-sxm-80gb")
    name = "products kept out"
    ours = {name: summary(out.seconds(constants(), alone) / t[~half] - 1.0)}
    plain = {name: summary(roofline(out) / t[~half] - 1.0)}
    every: list[Array] = []
    for o in micro(folder):
        error = micro_seconds(o, constants(), alone) / o.seconds - 1.0
        every.append(error[~o.fit])
        ours[f"{o.name} kept out"] = summary(error[~o.fit])
        ours[f"{o.name} all rows"] = summary(error)
        plain[f"{o.name} all rows"] = summary(roofline(o.compiled) / o.seconds - 1.0)
    ours["operations kept out"] = summary(np.concatenate(every))
    for o in micro(folder, "MI210", "mi210"):
        name = f"{o.name} on an MI210, never fitted"
        error = micro_seconds(o, constants(), alone) / o.seconds - 1.0
        ours[name] = summary(error)
        plain[name] = summary(roofline(o.compiled) / o.seconds - 1.0)
    return ours, plain


def power_rows(folder: Path) -> tuple[Steps, Array, Array]:
    """Zeus rows as settings, measured watts, and the first row of each power curve."""
    records = [
        r
        for r in read(folder / "gpu_power.csv")
        if r["id"].startswith("zeus") and r["batch_per_device"] and r["avg_power_w"]
    ]
    settings = [_power_settings(r) for r in records]
    seconds = [float(r["time_value"]) / FEATURES * float(r["batch_per_device"]) for r in records]
    watts = np.array([float(r["avg_power_w"]) for r in records])
    curve = [(r["device"], r["workload"], r["batch_per_device"]) for r in records]
    limits = np.array([float(r["power_limit_w"]) for r in records])
    top = np.array(
        [
            max((i for i, c in enumerate(curve) if c == key), key=lambda i: limits[i])
            for key in curve
        ]
    )
    return Steps(records, settings, np.array(seconds)), watts, top


def _power_settings(r: Record) -> dict[str, object]:
    tweets = "sentiment" in r["workload"]
    return {
        "model": "bert-base",
        "accelerator": next(v for k, v in DEVICES.items() if r["device"].startswith(k)),
        "model.head": "classifier" if tweets else "question-answering",
        "workload.mode": "training",
        "workload.batch": int(float(r["batch_per_device"])),
        "workload.sequence_length": TWEET if tweets else 384,
        "workload.precision": "fp32",
        "workload.implementation": "eager",
        "workload.attention": "unfused",
        "accelerator.power_limit": float(r["power_limit_w"]),
    }


def power_figures(folder: Path) -> Figures:
    """Average power, seconds of a step (SQuAD), and seconds over those at the highest limit."""
    rows, watts, top = power_rows(folder)
    compiled = compile_steps(rows)
    seconds, ours = compiled.timed(constants(), stacks())
    summaries = {}
    squad = np.array(["squad" in r["workload"] for r in rows.records])
    measured = np.array([float(r["time_value"]) for r in rows.records])
    for name in DEVICES:
        here = np.array([r["device"].startswith(name) for r in rows.records])
        summaries[f"{name} watts"] = summary((ours / watts - 1.0)[here])
        summaries[f"{name} seconds (SQuAD)"] = summary((seconds / rows.seconds - 1.0)[here & squad])
        ratio = (seconds / seconds[top]) / (measured / measured[top]) - 1.0
        low = here & (top != np.arange(here.size))
        summaries[f"{name} slowdown under limits"] = summary(ratio[low])
    return summaries


def show(title: str, figures: Figures, plain: Figures | None = None) -> None:
    """A table."""
    print(
        f"\n{title}\n{'':34}{'rows':>6}{'median':>9}{'90th':>9}"
        + (f"{'roofline median':>18}" if plain else "")
    )
    for name, (rows, median, high) in figures.items():
        beside = f"{plain[name][1]:18.1%}" if plain and name in plain else ""
        print(f"{name:34}{rows:6}{median:9.1%}{high:9.1%}{beside}")


def main() -> None:
    """All figures."""
    parser = argparse.ArgumentParser(description="errors of the GPU machine")
    parser.add_argument("folder", type=timings_package.reference)
    parser.add_argument(
        "--leave-one-out",
        nargs="*",
        choices=FAMILIES,
        metavar="FAMILY",
        help="steps of a family of chips by constants fitted without it; all three by default",
    )
    parser.add_argument("--rows", action="store_true", help="every step, largest error first")
    given = parser.parse_args()
    rows = steps(given.folder)
    doubted = suspect(rows)
    odd, rows = rows.take(doubted), rows.take(~doubted)
    compiled = compile_steps(rows)
    ours, plain = step_errors(rows, compiled)
    show("steps, in-sample", step_figures(rows, ours), step_figures(rows, plain))
    eager = eager_inference(given.folder)
    show(
        "eager inference, in-sample", {"all": summary(step_errors(eager, compile_steps(eager))[0])}
    )
    show("rows their source doubts", {"all": summary(step_errors(odd, compile_steps(odd))[0])})
    if given.leave_one_out is not None:
        names = given.leave_one_out or list(FAMILIES)
        figures = leave_one_out(given.folder, rows, compiled, names)
        show("steps, chip family left out", figures)
    show("single operations", *operation_figures(given.folder))
    show("power", power_figures(given.folder))
    if given.rows:
        for i in np.argsort(-np.abs(ours)):
            r = rows.records[i]
            print(
                f"{ours[i]:+7.1%} {r['id']:22} {r['device']:14} {r['implementation']:17} "
                f"{r['workload']:28} {r['seq']:>4} {r['batch_per_device']:>4} {r['dtype']}"
            )


if __name__ == "__main__":
    main()
