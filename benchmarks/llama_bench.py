"""llama.cpp in fp16 on boards that none of its constants is ever fitted on: llama_bench.csv.

Cited from two tables of one document: every row of one board in F16 that the reference folder does
not hold. Which are taken is decided by the tables alone: prompts of a board on which they go the
faster the longer they are (every other board, and the same boards in 4 bits, slow down) are in
`doubt` and stay out. Rows in 4 bits (Q4_K_M, Q4_0) are not here: no format of this program has
their blocks, a part of their matrices is in 6 bits, and the head with them.
"""

from __future__ import annotations

import csv
import functools
from pathlib import Path

Record = dict[str, str]

TABLE = Path(__file__).resolve().with_suffix(".csv")
STACK = "llama.cpp"
#: Model of a row -> the preset it stands on, and what differs from it.
MODELS: dict[str, dict[str, object]] = {
    "llama-2-7b": {"model": "llama-2-7b"},
    "llama-3-8b": {
        "model": "llama-2-7b",
        "model.layers": 32,
        "model.hidden": 4096,
        "model.heads": 32,
        "model.feed_forward": 14336,
        "model.vocabulary": 128256,
        "model.kv_heads": 8,
    },
}

#: Prompts of this model were read by `main`, each as the first of a process (their notebooks);
#: those of the other by `llama-bench`, which warms up.
FIRST = "llama-2-7b"


@functools.cache
def records() -> tuple[Record, ...]:
    """All rows of the table."""
    with TABLE.open(newline="", encoding="utf-8") as stream:
        return tuple(csv.DictReader(stream))


def taken() -> list[Record]:
    """The rows that are compared."""
    return [r for r in records() if not r["doubt"]]


def boards() -> frozenset[str]:
    """Accelerators that no constant of the stack may be fitted on."""
    return frozenset(r["accelerator"] for r in taken())


def settings(r: Record) -> dict[str, object]:
    """Model, accelerator and dotted settings of a row."""
    prompt = r["kind"] == "prompt"
    return {
        **MODELS[r["model"]],
        "accelerator": r["accelerator"],
        "workload.batch": 1,
        "workload.sequence_length": int(r["tokens"]) if prompt else 1,
        # A prompt is asked for the words behind its last token alone.
        "workload.generate": 1 if prompt else int(r["tokens"]),
        "workload.precision": "fp16",
        "workload.implementation": STACK,
        "workload.attention": "unfused",
    }


def regime(r: Record) -> str:
    """What a row is of: tokens, prompts, or the first prompt of a process."""
    if r["kind"] != "prompt":
        return "decode"
    return "first prompt" if r["model"] == FIRST else "prefill"


def figure(r: Record) -> tuple[str, float, str]:
    """Metric, value and unit of a row: of a whole prompt, or of one token after it."""
    rate = float(r["tokens_per_s"])
    if r["kind"] == "prompt":
        return "latency_s", int(r["tokens"]) / rate * 1e3, "ms"
    return "time_per_output_token_s", 1e3 / rate, "ms"
