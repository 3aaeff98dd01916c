"""What is asked of other tools and of ours: cases, our answers, and what is right.

Products on a systolic array have a right answer that can be derived: SCALE-Sim's own count under
its convention, cycles of a weight-stationary array stepped through load by load, the least traffic
of any tiling, found by trying them. Steps of language models on GPUs have one that was measured:
rows of elector/data/published.csv.
"""

from __future__ import annotations

import csv
import shlex
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import elector

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "elector" / "data" / "published.csv"
#: Products of a layer of bert-base with 128 tokens: m, n, k.
BERT = {
    "projection": (128, 768, 768),
    "scores": (128, 128, 64),
    "context": (128, 64, 128),
    "feed-forward in": (128, 3072, 768),
    "feed-forward out": (128, 768, 3072),
}
#: Products for the tools that search mappings: long and short streams, sizes that do not divide.
MAPPED = {"128 rows": (128, 768, 768), "512 rows": (512, 768, 768), "one row": (1, 768, 768)}
MOVED = {
    "square": (512, 768, 768),
    "long sum": (512, 768, 3072),
    "wide result": (512, 3072, 768),
}
#: Bytes of the buffer that tiles may fill in MOVED, and of one that everything fits in.
SMALL, LARGE = 131_072, 4_000_000
#: Board -> peak Tflop/s in bf16, GB, GB/s, as its data sheet says; its name for AIConfigurator.
BOARDS = {
    "a100-sxm-80gb": (312, 80, 2039, "a100_sxm"),
    "h100-sxm-80gb": (989, 80, 3350, "h100_sxm"),
    "h200-sxm-141gb": (989, 141, 4800, "h200_sxm"),
    "b200-sxm-192gb": (2250, 180, 8000, "b200_sxm"),
}
BACKENDS = {"tensorrt-llm": "trtllm", "vllm": "vllm", "sglang": "sglang"}
#: Formats in its words. Keys and values have that of the products, but for SGLang, whose rows have
#: them in 16 bits, in ours as well.
GEMM = {"bf16": "bfloat16", "fp8": "fp8"}


@dataclass
class PeerCase:
    """A question to one peer, and what is known of its answer.

    peer, group, name : who is asked, what is judged together, which case. asked : the fields
    its script reads. quantity, unit : what is compared. theirs : which of its numbers that is.
    ours : model, accelerator, settings and result of our side. right, right_from : the right
    value, if there is one, and where it comes from; `convention` is the peer's own number.
    """

    peer: str
    group: str
    name: str
    quantity: str
    unit: str
    theirs: str
    asked: dict[str, Any]
    ours: tuple[str, str, dict[str, Any], str]
    right: float | None = None
    right_from: str = ""
    key: str = field(init=False)

    def __post_init__(self) -> None:
        self.key = f"{self.group}/{self.name}"

    def own(self) -> tuple[float, float]:
        """Our number and the seconds it takes, the second time it is asked for."""
        model, accelerator, settings, result = self.ours
        operations = result in ("cycles", "dram_bytes")
        for _ in range(2):
            start = time.perf_counter()
            simulated = elector.simulate(
                model, accelerator, settings=settings, operations=operations
            )
            seconds = time.perf_counter() - start
        rows = simulated["operations"] if operations else []
        value = sum(row[result] for row in rows) if operations else simulated[result]  # type: ignore
        return float(value), seconds  # type: ignore[arg-type]


def array_cycles(m: int, n: int, k: int, side: int) -> int:
    """Cycles of a product on side x side weight-stationary cells, fold by fold.

    The weights of a fold come in a row a cycle, behind the stream of the fold before; a stream of
    m rows starts when its weights are there and the one before has gone in; its last result
    leaves after it has crossed the cells that are used.
    """
    rows = [min(side, k - i) for i in range(0, k, side)]
    cols = [min(side, n - i) for i in range(0, n, side)]
    start, free, end = 0, 0, 0
    for used_cols in cols:
        for used_rows in rows:
            loaded = start + used_rows  # the place behind was free when the last stream started
            start = max(loaded, free)
            free = start + m
            end = max(end, free + used_rows + used_cols - 2)
    return end


def least_traffic(m: int, n: int, k: int, size: int) -> int:
    """Least bytes to and from main memory of any tiling of a product of int8 (sums: 4 bytes).

    A tile of results stays while the sum runs over thin slices, or a tile of one operand with its
    whole sum stays while the other streams; size : bytes that tiles may fill.
    """
    tm, tn = np.arange(1, m + 1)[:, None], np.arange(1, n + 1)[None, :]
    a, b = m * k * -(-n // tn), k * n * -(-m // tm)
    slices = np.where(tm + tn + 4 * tm * tn <= size, a + b, np.inf)
    whole = np.where((tm + tn) * k + 4 * tm * tn <= size, np.minimum(m * k + b, k * n + a), np.inf)
    return int(min(slices.min(), whole.min())) + m * n


def cases() -> list[PeerCase]:
    """Every question, to every peer."""
    return [*_scalesim(), *_mapped(), *_language_models()]


def _scalesim() -> list[PeerCase]:
    comparisons = []
    for side in (128, 32):
        shapes = BERT if side == 128 else dict(list(BERT.items())[:3])
        for flow in ("ws", "os"):
            for name, (m, n, k) in shapes.items():
                array = {"rows": side, "cols": side, "dataflow": flow}
                settings = {f"accelerator.{key}": value for key, value in array.items()}
                settings["accelerator.convention"] = "scalesim"
                comparisons.append(
                    PeerCase(
                        "SCALE-Sim",
                        f"SCALE-Sim: cycles, {side} x {side} {flow}",
                        name,
                        "cycles",
                        "cycles",
                        "cycles",
                        {"m": m, "n": n, "k": k, **array},
                        (f"gemm:{m}x{n}x{k}", "systolic", settings, "cycles"),
                        right_from="convention",
                    )
                )
    return comparisons


def _mapped() -> list[PeerCase]:
    """Cycles where everything fits, traffic where it does not, for the tools that map."""
    comparisons = []
    array = {"rows": 32, "cols": 32}
    machine = {f"accelerator.{key}": value for key, value in array.items()} | {
        "accelerator.datapath": "int8",
        "accelerator.bandwidth": 1e12,
        "accelerator.double_buffer": False,
    }
    for peer in ("ZigZag", "AccelForge"):
        for result, shapes, size in (("cycles", MAPPED, LARGE), ("dram_bytes", MOVED, SMALL)):
            traffic = result == "dram_bytes"
            for name, (m, n, k) in shapes.items():
                right = least_traffic(m, n, k, size) if traffic else array_cycles(m, n, k, 32)
                asked = {"m": m, "n": n, "k": k, **array, "sram": size}
                # Ours keeps half of a memory for what operations hand to each other.
                settings = machine | {"accelerator.sram": 2 * size}
                comparisons.append(
                    PeerCase(
                        peer,
                        f"{peer}: {'main-memory bytes' if traffic else 'cycles'}, 32 x 32 ws",
                        name,
                        result,
                        "byte" if traffic else "cycles",
                        result,
                        asked | {"optimize": "energy" if traffic else "latency"},
                        (f"gemm:{m}x{n}x{k}", "systolic", settings, result),
                        float(right),
                        "derived",
                    )
                )
    return comparisons


def _rows() -> list[dict[str, str]]:
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def _settings(row: dict[str, str]) -> dict[str, Any]:
    return dict(word.split("=", 1) for word in shlex.split(row["settings"]))


#: Hidden size of a served model -> what GenZ and what AIConfigurator call it.
SERVED = {
    "4096": ("meta-llama/meta-llama-3.1-8b", "meta-llama/Meta-Llama-3.1-8B"),
    "8192": ("meta-llama/meta-llama-3.1-70b", "meta-llama/Meta-Llama-3.1-70B"),
}
UNITS = {"ms": 1e-3, "us": 1e-6, "s": 1.0}


def _language_models() -> list[PeerCase]:
    comparisons: list[PeerCase] = []
    for row in _rows():
        settings = _settings(row)
        stack = settings.get("workload.implementation", "")
        if row["accelerator"] not in BOARDS or row["model"] != "llama-2-7b":
            continue
        if "serving" in row["group"]:
            comparisons += _served(row, settings)
        elif row["metric"] == "latency_s" and "prefill" in row["group"] and stack != "eager":
            comparisons.append(_genz(row, settings, "llama2_7b", "prompt_s", "prompts, Llama-2-7B"))
    return comparisons


def _served(row: dict[str, str], settings: dict[str, Any]) -> list[PeerCase]:
    """A measured time per output token beside GenZ's and AIConfigurator's, the latter twice."""
    names = SERVED[settings["model.hidden"]]
    stack = settings["workload.implementation"]
    label = f"{stack} {settings['workload.precision']}"
    asked = {
        "model": names[1],
        "system": BOARDS[row["accelerator"]][3],
        "backend": BACKENDS[stack],
        "gemm": GEMM[settings["workload.precision"]],
        "cache": "bfloat16" if stack == "sglang" else GEMM[settings["workload.precision"]],
        **_tokens(settings),
    }
    value = float(row["value"]) * UNITS[row["unit"]]
    together = {**settings, "workload.serving": "phases"}
    both = (
        ("token_s", "batch kept together", together),
        ("served_s", "its model of a server", settings),
    )
    return [
        _genz(row, together, names[0], "token_s", f"served tokens, {label}"),
        *(
            PeerCase(
                "AIConfigurator",
                f"AIConfigurator, {words}: served tokens, {label}",
                row["case"],
                "time per output token",
                "s",
                theirs,
                asked,
                (row["model"], row["accelerator"], ours, row["metric"]),
                value,
                "measured",
            )
            for theirs, words, ours in both
        ),
    ]


def _tokens(settings: dict[str, Any]) -> dict[str, int]:
    return {
        "batch": int(settings["workload.batch"]),
        "input": int(settings["workload.sequence_length"]),
        "output": int(settings.get("workload.generate", 0)),
    }


def _genz(
    row: dict[str, str], settings: dict[str, Any], model: str, theirs: str, group: str
) -> PeerCase:
    tflops, gigabytes, rate, _ = BOARDS[row["accelerator"]]
    precision = settings["workload.precision"]
    asked = {
        "model": model,
        "tflops": tflops,
        "memory_gb": gigabytes,
        "bandwidth_gb": rate,
        "bits": {"fp16": "bf16"}.get(precision, precision),
        **_tokens(settings),
    }
    return PeerCase(
        "GenZ",
        f"GenZ: {group}",
        row["case"],
        "time of the prompt" if theirs == "prompt_s" else "time per output token",
        "s",
        theirs,
        asked,
        (row["model"], row["accelerator"], settings, row["metric"]),
        float(row["value"]) * UNITS[row["unit"]],
        "measured",
    )
