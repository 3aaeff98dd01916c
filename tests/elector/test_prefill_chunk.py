"""Prompts that are read in pieces: counted key by key, and what engines that do so measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import inside, operations

import elector
from elector.base.table import DATA, Column, read_rows
from elector.evaluation.path import evaluate
from elector.events.timeline import timeline
from elector.machines.gpu.automatic import rules
from elector.machines.gpu.stacks import CHUNKS
from elector.operations import Operations

SMALL: dict[str, Any] = {
    "model__layers": 2,
    "model__hidden": 64,
    "model__heads": 4,
    "model__feed_forward": 96,
    "model__vocabulary": 100,
    "batch": 3,
}


def pairs(length: int, chunk: int, window: int, *, skips: bool) -> int:
    """Pairs of a query and a key that are worked out, one after another: without a mask those of
    all keys that the cache holds for the piece."""
    count = 0
    for query in range(length):
        first = query // chunk * chunk
        end = min(first + chunk, length)
        for key in range(max(first - window + 1, 0) if window else 0, end):
            hidden = key > query or (window and key <= query - window)
            count += not (skips and hidden)
    return count


def attended(ops: Operations) -> float:
    """Pairs of a query and a key of one layer, head and sequence."""
    scores = [r for r, row in enumerate(ops.rows) if row.word == "scores"]
    sizes = (ops.count, ops.batch, ops.m, ops.n)
    return sum(float(np.prod([x[r, 0] for x in sizes])) for r in scores) / (2 * 4 * 3)


@pytest.mark.parametrize("generate", [0, 1])
@pytest.mark.parametrize("kernel", ["unfused", "flash"])
@pytest.mark.parametrize(("length", "chunk"), [(33, 8), (32, 8), (40, 39), (7, 3), (8, 1)])
def test_pieces_meet_the_keys_before_them(
    kernel: str, length: int, chunk: int, generate: int
) -> None:
    ops = operations(
        "gpt2",
        "rtx-4090",
        **SMALL,
        attention=kernel,
        sequence_length=length,
        prefill_chunk=chunk,
        generate=generate,
    )
    assert attended(ops) == pytest.approx(pairs(length, chunk, 0, skips=kernel == "flash"))


@pytest.mark.parametrize("kernel", ["unfused", "flash"])
@pytest.mark.parametrize("window", [5, 13, 100])
def test_pieces_of_windows(tmp_path: Any, kernel: str, window: int) -> None:
    path = tmp_path / "windowed.yaml"
    path.write_text(f"base: mistral-7b\nname: windowed\nwindow: {window}\n")
    own = {**SMALL, "model__kv_heads": 2, "attention": kernel}
    ops = operations(str(path), "rtx-4090", **own, sequence_length=45, prefill_chunk=10)
    assert attended(ops) == pytest.approx(pairs(45, 10, window, skips=kernel == "flash"))


def columns(length: list[int], **settings: Any) -> dict[str, Column]:
    size = len(length)
    given = {
        "model": "llama-2-7b",
        "accelerator": "rtx-4090",
        "workload.precision": "fp16",
        **{k.replace("__", "."): v for k, v in settings.items()},
    }
    constant = {key: Column.constant(value, size) for key, value in given.items()}
    return constant | {"workload.sequence_length": Column.of(length)}


@pytest.mark.parametrize("stack", ["llama.cpp", "vllm", "eager"])
@pytest.mark.parametrize("generate", [0, 5])
def test_a_prompt_in_pieces(stack: str, generate: int) -> None:
    """Macs stay, weights are read again, more tokens are never faster, a row is a row alone."""
    length = [40, 63, 64, 65, 128, 129, 300]
    asked = {"workload__implementation": stack, "workload__generate": generate}
    pieces = evaluate(columns(length, workload__prefill_chunk=64, **asked), 7, jobs=1)
    whole = evaluate(columns(length, workload__prefill_chunk=10_000, **asked), 7, jobs=1)
    assert (pieces.scalar("macs") == whole.scalar("macs")).all()
    seconds = pieces.scalar("latency_s")
    assert (seconds[:3] == whole.scalar("latency_s")[:3]).all()
    assert (seconds[3:] > whole.scalar("latency_s")[3:]).all()
    assert (np.diff(seconds[2:]) >= 0).all()
    for row, tokens in enumerate(length):
        alone = evaluate(columns([tokens], workload__prefill_chunk=64, **asked), 1, jobs=1)
        assert alone.scalar("latency_s")[0] == seconds[row]


def test_pieces_keep_less_at_once_and_the_keys_of_all() -> None:
    def bytes_of(chunk: int) -> dict[str, float]:
        settings = {"workload.sequence_length": 4096, "workload.prefill_chunk": chunk}
        result = elector.simulate("llama-2-7b", "a100-sxm-80gb", settings=settings)
        return dict(result["memory_bytes"])

    pieces, whole = bytes_of(512), bytes_of(4096)
    assert pieces["activations"] < whole["activations"]
    assert whole["cache"] == 0
    assert pieces["cache"] == 2 * 32 * 4096 * 4096 * 2  # keys and values of 32 layers in 16 bits


def test_stacks_that_read_prompts_in_pieces() -> None:
    """llama.cpp takes 512 tokens at once; nothing that `auto` stands for reads in pieces, since
    designs are put together before it is resolved."""
    assert {stack: size for stack, size in CHUNKS.items() if size} == {"llama.cpp": 512}
    chosen = {rule["value"] for rule in rules() if rule["setting"] == "implementation"}
    assert chosen and not any(CHUNKS[stack] for stack in chosen)


def test_a_stack_reads_in_its_own_pieces_unless_told() -> None:
    base = {"workload.implementation": "llama.cpp", "workload.sequence_length": 2048}
    own, told, whole = (
        elector.simulate("llama-2-7b", "rtx-4090", settings=base | chunk)
        for chunk in ({}, {"workload.prefill_chunk": 512}, {"workload.prefill_chunk": 2048})
    )
    assert own["latency_s"] == told["latency_s"] != whole["latency_s"]
    assert own["settings"]["workload.prefill_chunk"] == {"value": 512, "default": True}


def test_attention_of_long_prompts_in_pieces_grows_as_measured() -> None:
    """What 8,192 tokens take over sixteen times 512: the square of the attention is in it, of
    which pieces leave out nearly half (rows of published.csv, RTX 4090)."""
    rows = {r["case"]: r for r in read_rows(DATA / "published.csv")}
    measured = float(rows["lcpp-016"]["value"]) / float(rows["lcpp-013"]["value"])
    base = {
        "workload.implementation": "llama.cpp",
        "workload.attention": "unfused",
        "workload.precision": "fp16",
        "model.kv_heads": 8,
        "model.feed_forward": 14336,
        "model.vocabulary": 128256,
    }

    def seconds(length: int, chunk: int) -> float:
        own = {"workload.sequence_length": length, "workload.prefill_chunk": chunk}
        result = elector.simulate("llama-2-7b", "rtx-4090", settings=base | own)
        return float(result["latency_s"])

    pieces = seconds(8192, 0) / seconds(512, 0)
    whole = seconds(8192, 8192) / seconds(512, 0)
    assert abs(pieces / measured - 1) < 0.2 < abs(whole / measured - 1)


@pytest.mark.parametrize("chunk", [30, 64, 100])
@pytest.mark.parametrize("accelerator", ["rtx-4090", "hpt"])
def test_the_trace_reads_piece_after_piece(accelerator: str, chunk: int) -> None:
    """The event-driven model takes what the closed form does, and no piece begins before the
    layers of the one before it are through."""
    chunked = inside(
        "gpt2", accelerator, **{**SMALL, "batch": 1}, sequence_length=100, prefill_chunk=chunk
    )
    line = timeline(chunked)
    assert line.seconds == pytest.approx(float(chunked.timing.seconds[0]), rel=0.1)
    work = [s for s in line.spans if not s.resource.endswith("host")]
    read = sorted(s.start for s in work if line.rows[s.row].kind == "embedding")
    layers = [s for s in work if line.rows[s.row].kind == "linear" and s.resource.endswith("cores")]
    between = [s for s in layers if read[0] < s.start and s.end <= read[-1]]
    assert (chunk == 100) != bool(between)  # layers of earlier pieces come before the last is read


@pytest.mark.parametrize(("chunk", "said"), [(0, False), (511, False), (512, True), (4096, True)])
@pytest.mark.parametrize("stack", ["vllm", "llama.cpp"])
def test_a_piece_that_is_no_smaller_than_the_prompt_is_said(
    stack: str, chunk: int, said: bool
) -> None:
    settings = {
        "workload.prefill_chunk": chunk,
        "workload.sequence_length": 512,
        "workload.implementation": stack,
    }
    notes = elector.simulate("gpt2", "rtx-4090", settings=settings)["notes"]
    assert isinstance(notes, list)
    assert any("prefill_chunk changes nothing" in note for note in notes) is said


@pytest.mark.parametrize("kernel", ["unfused", "flash"])
@pytest.mark.parametrize(("length", "chunk", "best"), [(96, 8, 20), (50, 16, 33), (40, 7, 100)])
def test_pieces_of_indexers(kernel: str, length: int, chunk: int, best: int) -> None:
    """A query reads its best keys of those it meets, however the prompt is cut."""
    own = {
        "model__layers": 4,
        "batch": 1,
        "attention": kernel,
        "model__index_top_k": best,
        "model__index_heads": 4,
        "model__index_head_size": 32,
        "accelerator__memory_capacity": 1e16,
    }
    heads = 128
    cut, whole = (
        operations("deepseek-v3", "h200-sxm-141gb", **own, sequence_length=length, **piece)
        for piece in ({"prefill_chunk": chunk}, {})
    )
    scores = [r for r, row in enumerate(cut.rows) if row.word == "scores"]
    sizes = (cut.count, cut.batch, cut.m, cut.n)
    done = sum(float(np.prod([x[r, 0] for x in sizes])) for r in scores) / (4 * heads)
    met = [
        min((q // chunk + 1) * chunk, length) if kernel == "unfused" else q + 1
        for q in range(length)
    ]
    assert done == pytest.approx(sum(min(keys, best) for keys in met))
    # beyond the scores and contexts, latents of earlier pieces are turned into keys and values anew
    again = sum(chunk * i for i in range(1, -(-length // chunk)))
    anew = again * 512 * heads * (128 + 128) * 4
    assert float(cut.macs[0]) == pytest.approx(float(whole.macs[0]) + anew)
