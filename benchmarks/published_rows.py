"""Rows of measurements written into elector/data/published.csv, as cited facts.

    python benchmarks/published_rows.py REFERENCE_FOLDER [--timings FOLDER] [--write]

Chosen from the reference tables (and, with --timings, from the package of gpu_timings.py) by the
SHA-256 of their identifiers, so that no error had a say: so many of each document, less than a
third of all from any. Groups whose median error leaves its bar are marked as known misses when
they are written, and listed by `elector validate` as such. What does not fit into one device's
memory (training that was sharded over eight, servers that let requests wait) stays out. Rows
written by hand stay as they are. Bars (`BARS`) were written down before the constants were fitted.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections.abc import Iterable
from pathlib import Path

import engine_rows
import gpu_error
import gpu_rows
import gpu_timings
import llama_bench
import timings_package

import elector
from elector.base.table import DATA
from elector.evaluation.accelerators import load_accelerator
from elector.studies.validation import groups, validate
from elector.studies.validation_cases import COLUMNS, MISSED, as_text, parse_settings

Row = dict[str, str]

#: Kind of group -> largest median error that a user should accept.
BARS = {
    "fp32 and fp16": 10,
    "int8": 12,
    "mlperf": 15,
    "language model": 15,
    "power": 12,
    "products bf16": 10,
    "products fp16": 10,
    "products fp8": 15,
    "products nvfp4": 15,
    "products int8": 15,
    "operations": 12,
    "serving": 12,
    "training": 10,
}
#: Document -> how many rows of it are shipped.
MOST = {
    "TensorRT@": 56,
    "TensorRT demo": 30,
    "FasterTransformer": 59,
    "TensorFlow2": 34,
    "TensorFlow/": 30,
    "PyTorch/": 38,
}
#: Rows of tables whose number is their strength -> how many are shipped; 800 rows in all at most.
PRODUCTS, WATTS, TIMED = 36, 40, 5


def family(device: str) -> str:
    """Architecture of a device."""
    return str(load_accelerator(device).settings["architecture"])


def order(name: str) -> str:
    """Where a row stands in the draw."""
    return hashlib.sha256(name.encode()).hexdigest()


def drawn(rows: Iterable[Row], most: int) -> list[Row]:
    """At most `most` of the rows, whatever their values."""
    return sorted(sorted(rows, key=lambda r: order(r["case"]))[:most], key=lambda r: r["case"])


def row(
    name: str,
    settings: dict[str, object],
    figure: tuple[str, float, str],
    group: tuple[str, str, str],
    about: tuple[str, str, bool],
) -> Row:
    """A row of published.csv.

    figure : metric, value, unit. group : stack, regime, kind of bar. about : source, note, and
    whether constants were fitted on rows of this table.
    """
    stack, regime, bar = group
    device, given = str(settings["accelerator"]), {k: v for k, v in settings.items() if "." in k}
    source, note, fitted = about
    return {
        "case": name,
        "group": f"{family(device)} / {stack} / {regime}",
        "model": str(settings["model"]),
        "accelerator": device,
        "settings": as_text({k: v for k, v in given.items() if v is not None}),
        "metric": figure[0],
        "value": f"{figure[1]:.6g}",
        "unit": figure[2],
        "tolerance": f"{BARS[bar]} %",
        "kind": "outcome",
        "source": source,
        "evidence": "measured",
        "note": note,
        "verified": "",
        "fitted": "yes" if fitted else "",
    }


def steps(folder: Path) -> list[Row]:
    """Training and inference of BERT."""
    rows, every = [], gpu_rows.steps(folder)
    every = every.take(~gpu_rows.suspect(every))
    for r, settings, seconds in zip(every.records, every.settings, every.seconds, strict=True):
        training = r["mode"] == "train"
        regime = "bert training" if training else f"bert {_formats(r['dtype'])}"
        bar = "int8" if r["dtype"] == "int8" else "training" if training else "fp32 and fp16"
        # A row speaks of one micro-batch, a result of the whole step.
        figure = ("latency_s", seconds * float(r["grad_accum"]) * 1e3, "ms")
        fitted = not gpu_rows.is_left_out(r, settings)
        settings = {k: v for k, v in settings.items() if v not in ("auto", "inference", 1)}
        settings |= {"workload.batch": int(float(r["batch_per_device"]))}
        settings.setdefault("workload.attention", "unfused")
        about = (r["source"].removeprefix("github:"), "", fitted)
        rows.append(row(r["id"], settings, figure, (r["implementation"], regime, bar), about))
    return _limited(rows)


def engines(folder: Path) -> list[Row]:
    """Engines and language models."""
    rows = []
    every = engine_rows.for_fitting(folder).joined(gpu_rows.eager_inference(folder))
    fitted = {r["id"] for r in every.take(~gpu_rows.left_out(every)).records}
    for r in engine_rows.engines(folder):
        settings = engine_rows.settings(r)
        figure, regime, bar = _engine(r)
        about = (r["source"].removeprefix("github:"), _note(r), r["id"] in fitted)
        stack = r["implementation"]
        rows.append(row(r["id"], settings, figure, (stack, regime, bar), about))
        if r["energy_j"]:
            mean = float(r["energy_j"]) / engine_rows.seconds(r)
            group = (stack, "language model power", "power")
            rows.append(row(f"{r['id']} power", settings, ("power_w", mean, "W"), group, about))
    return _limited(rows)


#: Rows that their own document contradicts, or says more of, and what.
NOTES = {
    "mle-03": "22.8 tokens a second, where the table has 30.9 to 32.2 of five others of this size; "
    "its older one has 26.6 beside 27.3",
    "mle-06": "19.7 tokens a second, where the table has 24.7 to 25.3 of four others of this size",
    "mlperf-09": "mean of prompts: 2.37 ms at the least, 2.97 at the 99th percentile, "
    "so it hardly follows their length; one engine for up to 384 tokens",
}


def _note(r: Row) -> str:
    """What else there is to know of a row."""
    if _first(r):
        return (
            "the first prompt of a process, in which kernels are loaded and buffers made; "
            "its document counts 494 tokens (llama.cpp builds 1671 and 1680)"
        )
    if r["block"].startswith("mpt"):
        return "8 boards exchange weights and gradients, which one board here does not"
    if gpu_rows.STATION in r["source"]:
        return (
            "one EPYC 7742, 512 GB, A100-SXM4-80GB (full_report.csv, of which that of "
            "fast-mteb lists four): taken for a DGX Station A100, "
            "whose boards are held to 275 W"
        )
    if not r["batch_per_device"]:
        stated = "v1.0" in r["source"] or "v0.7" in r["source"]
        said = "stated (configs/bert/Offline/config.json)" if stated else "not stated"
        return f"the batch of the submitter is {said}: 256"
    return NOTES.get(r["id"], "")


def _engine(r: Row) -> tuple[tuple[str, float, str], str, str]:
    """Figure, regime and bar of a row of engines."""
    value, batch = float(r["value"]), float(r["batch_per_device"] or engine_rows.OFFLINE)
    seconds = engine_rows.seconds(r)
    if "bert" in r["workload"]:
        offline = r["block"].startswith("mlperf")
        regime = "mlperf bert" if offline else f"bert {_formats(r['dtype'])}"
        bar = "mlperf" if offline else "int8" if r["dtype"] == "int8" else "fp32 and fp16"
        return ("latency_s", seconds * 1e3, "ms"), regime, bar
    if r["metric"] == "decode_tokens_per_s":
        figure = ("time_per_output_token_s", batch / value * 1e3, "ms")
        return figure, "language model decode", "language model"
    if r["mode"] == "train":
        return ("latency_s", seconds, "s"), "language model training", "training"
    regime = "generation" if r["generate"] not in ("", "0") else "prefill"
    if _first(r):
        regime = "first prompt"
    return ("latency_s", seconds * 1e3, "ms"), f"language model {regime}", "language model"


def _first(r: Row) -> bool:
    """Whether a row is of the first prompt of a process, in which kernels are loaded, too: a regime
    of its own, which nothing here models."""
    return r["seq"] in engine_rows.COUNTED and "approx" in r["flag"]


def _formats(precision: str) -> str:
    return "int8" if precision == "int8" else "fp32 and fp16"


def _limited(rows: list[Row]) -> list[Row]:
    """No more of a document than `MOST` says."""
    chosen, rest = [], rows
    for name, most in MOST.items():
        here = [r for r in rest if f"{name}" in r["source"]]
        rest = [r for r in rest if r not in here]
        chosen += drawn(here, most)
    return [*chosen, *rest]


def other_boards() -> list[Row]:
    """llama.cpp on boards that none of its constants is fitted on."""
    rows = []
    for r in llama_bench.taken():
        regime = f"language model {llama_bench.regime(r)} on other boards"
        name = f"llama.cpp {r['accelerator']} {r['model']} {r['kind']} {r['tokens']}"
        group = (llama_bench.STACK, regime, "language model")
        about = (r["source"], r["note"], False)
        rows.append(row(name, llama_bench.settings(r), llama_bench.figure(r), group, about))
    return rows


def watts(folder: Path) -> list[Row]:
    """Average power of training under power limits."""
    rows, measured, _ = gpu_error.power_rows(folder)
    published = []
    for r, settings, value in zip(rows.records, rows.settings, measured, strict=True):
        limit = f"{float(r['power_limit_w']):g} W"
        named = {**settings, "accelerator.power_limit": limit}
        about = (r["source"].removeprefix("github:"), "precision not stated: fp32", True)
        group = ("eager", "training power", "power")
        published.append(row(r["id"], named, ("power_w", float(value), "W"), group, about))
    return drawn(published, WATTS)


def products(folder: Path) -> list[Row]:
    """Single products on an A100, those of the half that no fit sees."""
    m, k, n, t, half = gpu_rows.gemms(folder)
    source = "timings of fp16 products of transformer layers on an A100, by layer and size"
    rows = []
    for i in range(m.size):
        if half[i] or t[i] < gpu_timings.LEAST:
            continue
        name = f"a100 product {int(m[i])}x{int(n[i])}x{int(k[i])}"
        settings = _product("a100-sxm-80gb", m[i], n[i], k[i], "fp16")
        figure = ("latency_s", t[i] * 1e6, "us")
        group = ("cublas", "products fp16", "products fp16")
        note = "read second-hand: the table does not name its origin"
        rows.append(row(name, settings, figure, group, (source, note, False)))
        rows[-1]["verified"] = "no"
    return drawn({r["case"]: r for r in rows}.values(), PRODUCTS)


def _product(
    device: str, m: float, n: float, k: float, precision: str, stack: str = "compiled"
) -> dict[str, object]:
    """One product without its host, as kernels are timed."""
    return {
        "model": f"gemm:{int(m)}x{int(n)}x{int(k)}",
        "accelerator": device,
        "accelerator.host_speed": 100,
        "workload.precision": precision,
        "workload.implementation": stack,
    }


def timings(folder: Path) -> list[Row]:
    """Single products of seven devices, rows that no fit sees."""
    published = []
    for device, ours in gpu_timings.DEVICES.items():
        for kind, precision in gpu_timings.FORMATS.items():
            engine = "trtllm" if kind == "sq" else "vllm"
            stack = gpu_timings.PLUGINS.get(kind, gpu_timings.STACKS[engine])
            every = gpu_timings.products(folder, device, engine, kind)
            if every is None:
                continue
            rows = gpu_timings.sample(every, 10**9, left_out=True)
            here = []
            for i in range(rows.m.size):
                sizes = (rows.m[i], rows.n[i], rows.k[i])
                name = f"{ours} {precision} {'x'.join(str(int(s)) for s in sizes)}"
                figure = ("latency_s", rows.seconds[i] * 1e6, "us")
                settings, note = _product(ours, *sizes, precision, stack), ""
                if kind in gpu_timings.ONCE:
                    settings["accelerator.power_limit"] = gpu_timings.NO_LIMIT
                    note = (
                        "one run behind one that warms up (collect_gemm_trt.py): over before a "
                        "board is held to its power limit, so none is set"
                    )
                about = (f"aiconfigurator-core 0.12.0 {device}/gemm/{engine}", note, False)
                group = (stack, f"products {precision}", f"products {precision}")
                here.append(row(name, settings, figure, group, about))
            published += drawn({r["case"]: r for r in here}.values(), TIMED)
    return published


#: Models of the package's end-to-end rows -> settings over llama-2-7b.
SERVED = {
    "8B": {"hidden": 4096, "layers": 32, "heads": 32, "feed_forward": 14336},
    "70B": {"hidden": 8192, "layers": 80, "heads": 64, "feed_forward": 28672},
}
#: Share of the peak that no whole step reaches (rows of other files at most 0.49): prompts of a
#: row beyond it were not all computed, whether a prefix cache had them or requests did not follow
#: one another as fast as the row says. Such a row is shown, and sets no width of an interval.
REACHED = 2 / 3
STACKS = {"trtllm": "tensorrt-llm", "vllm": "vllm", "sglang": "sglang"}
#: Engine that makes 8 bits of a checkpoint of 16 by itself and keeps the cache in 16 unless it is
#: asked for another (SGLang's documentation of its arguments). The table does not say what was
#: asked. Rows of vLLM and TensorRT-LLM in 8 bits do not all fit into memory with such a cache.
WIDE_CACHE = "sglang"


def served(folder: Path) -> list[Row]:
    """Time per output token of dense Llama 3.1 on one GPU."""
    rows = []
    for r in gpu_rows.read(folder / "systems" / "silicon_sample.csv"):
        size = next((s for s in SERVED if f"Llama-3.1-{s}" in r["model_path"]), None)
        single = r["tp_size"] == "1" and r["pp_size"] == "1" and r["mode"] == "agg"
        if size is None or not single or r["precision"] not in ("fp8", ""):
            continue
        precision = r["precision"] or "bf16"
        settings = {
            "model": "llama-2-7b",
            **{f"model.{key}": value for key, value in SERVED[size].items()},
            "model.kv_heads": 8,
            "model.vocabulary": 128256,
            "accelerator": gpu_timings.DEVICES[r["system"]],
            "workload.batch": int(r["batch_size"]),
            "workload.sequence_length": int(r["isl"]),
            "workload.generate": int(r["osl"]),
            "workload.precision": precision,
            "workload.implementation": STACKS[r["backend"]],
            "workload.attention": "flash",
            "workload.serving": "continuous",
        }
        notes = []
        if (share := _of_peak(settings, r)) > REACHED:
            notes.append(f"needs {100 * share:.0f} % of the peak: not all prompts were computed")
            notes.append("sets no width")
        if precision == "fp8" and r["backend"] == WIDE_CACHE and "FP8" not in r["model_path"]:
            settings["workload.kv_cache"] = "bf16"
            notes.append("cache in 16 bits: as the engine keeps it unless asked; not stated")
        figure = ("time_per_output_token_s", float(r["silicon_tpot_ms"]), "ms")
        about = (
            f"aiconfigurator-core 0.12.0 silicon_sample.csv {r['id']}",
            "; ".join(notes),
            False,
        )
        group = (STACKS[r["backend"]], f"serving {precision}", "serving")
        rows.append(row(r["id"], settings, figure, group, about))
    return rows


def _of_peak(settings: dict[str, object], r: Row) -> float:
    """Share of a device's peak that its requests need, each computed from its first token on.

    settings : of the row. r : as the table has it: `batch_size` requests at a time, each of which
        takes its time to first token and then those of the others.
    """
    own = {k: v for k, v in settings.items() if k not in ("model", "accelerator")}
    own |= {"workload.serving": "phases", "workload.batch": 1}
    one = elector.simulate(str(settings["model"]), str(settings["accelerator"]), settings=own)
    took = float(r["silicon_ttft_ms"]) + (int(r["osl"]) - 1) * float(r["silicon_tpot_ms"])
    rate = int(r["batch_size"]) / (took * 1e-3) * float(str(one["ops_executed"]))
    return rate / float(str(one["peak_ops_per_s"]))


def main() -> None:
    """Show how many of what, or write."""
    parser = argparse.ArgumentParser(description="rows for elector/data/published.csv")
    parser.add_argument("folder", type=timings_package.reference)
    parser.add_argument("--timings", type=timings_package.package)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    rows = [*steps(given.folder), *engines(given.folder), *watts(given.folder)]
    rows += [*products(given.folder), *other_boards()]
    if given.timings:
        rows += [*timings(given.timings), *served(given.timings)]
    rows = [r for r in rows if fits(r)]
    unique = {(r["model"], r["accelerator"], r["settings"], r["metric"]): r for r in rows}
    print(len(rows), len(unique))
    if given.write:
        write(list(unique.values()))


def fits(r: Row) -> bool:
    """Whether one device's memory holds a row."""
    result = elector.simulate(r["model"], r["accelerator"], settings=parse_settings(r["settings"]))
    return bool(result["feasible"])


def write(rows: list[Row]) -> None:
    """Put the rows behind those written by hand, and mark the groups that leave their bar."""
    path = DATA / "published.csv"
    names = {r["case"] for r in rows}
    own = [r for r in gpu_rows.read(path) if r["evidence"] != "measured"]
    every = [r for r in own if r["case"] not in names]
    every += sorted(rows, key=lambda r: (r["group"], r["case"]))
    for r in every:
        r["tolerance"] = r["tolerance"].removesuffix(MISSED)
    _save(path, every)
    missed = {g.name for g in groups(validate(path)) if g.judged > g.bar}
    for r in every:
        if r["group"] in missed and r["kind"] == "outcome":
            r["tolerance"] += MISSED
    _save(path, every)


def _save(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
