"""Weights and caches stored in formats of their own."""

from __future__ import annotations

import numpy as np
import pytest

import elector
from elector.base.errors import InputError
from elector.describe.numbers import formats, precisions, unpacking

A100, H200 = "a100-sxm-80gb", "h200-sxm-141gb"
#: Of Llama-2-7B: matrices of 32 layers (4 x 4096^2 and 3 x 4096 x 11008), and everything else.
MATRICES = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
REST = 2 * 32000 * 4096 + (2 * 32 + 1) * 4096


def simulate(model: str, accelerator: str, **settings: object) -> dict[str, object]:
    return elector.simulate(
        model, accelerator, settings={f"workload.{k}": v for k, v in settings.items()}
    )


def memory(**settings: object) -> dict[str, float]:
    held = simulate("llama-2-7b", A100, precision="fp16", **settings)["memory_bytes"]
    assert isinstance(held, dict)
    return held


#: Bits of a value with its scales, as the sources of data/formats.csv have it: derived by hand.
BITS = {
    "int8": 8.0,
    "int4": 4 + 20 / 128,
    "int4-g32": 4 + 20 / 32,
    "fp8": 8.0,
    "fp8-block": 8 + 32 / 128**2,
    "nvfp4": 4 + 8 / 16,
    "mxfp4": 4 + 8 / 32,
    "nf4": 4 + 32 / 64,
    "int4-g64": 4 + 20 / 64,
    "int4-channel": 4.0,
    "int8-g128": 8 + 24 / 128,
    "int3": 3 + 19 / 128,
    "int2": 2 + 18 / 128,
    "fp4": 4 + 32 / 64,
    "mxfp8": 8 + 8 / 32,
    "nf4-dq": 4 + 8 / 64 + 32 / (64 * 256),
}


def bits(name: str) -> float:
    """Of a value of a format, counted as a group of them lies in memory with its scale."""
    row = formats()[name]
    group = int(row.scale) if row.scale.isdigit() else 0
    return (group * row.bits + row.scale_bits) / group if group else row.bits


@pytest.mark.parametrize("name", BITS)
def test_bits_of_formats_are_those_of_their_sources(name: str) -> None:
    assert bits(name) == BITS[name]


@pytest.mark.parametrize("name", unpacking())
def test_bytes_of_weights(name: str) -> None:
    assert memory(weights=name)["weights"] == pytest.approx(MATRICES * bits(name) / 8 + 2 * REST)


def test_gptq_of_llama_takes_four_gigabytes() -> None:
    assert memory(weights="int4")["weights"] == pytest.approx(3.9e9, rel=0.005)
    assert memory()["weights"] == 2 * (MATRICES + REST)


@pytest.mark.parametrize("name", unpacking())
def test_bytes_of_the_cache(name: str) -> None:
    kept = 128 + 64 - 1
    dense = 2 * 32 * kept * 4096
    assert memory(kv_cache=name, generate=64)["cache"] == pytest.approx(dense * bits(name) / 8)
    assert memory(generate=64)["cache"] == 2 * dense


@pytest.mark.parametrize(
    ("machine", "precision", "name"),
    [(H200, "fp8", "bf16"), (H200, "int8", "fp16"), ("b200-sxm-192gb", "nvfp4", "bf16")],
)
def test_a_cache_may_be_wider_than_what_is_multiplied(
    machine: str, precision: str, name: str
) -> None:
    """Twice (four times) the bytes, read as they are: nothing is packed or unpacked, no score is
    lost, and a note says what attention multiplies in."""
    own = {"workload.precision": precision, "workload.generate": 8, "workload.batch": 64}

    def told(**settings: str) -> dict[str, object]:
        asked = {**own, **{f"workload.{k}": v for k, v in settings.items()}}
        return elector.simulate("llama-2-7b", machine, settings=asked, operations=True)

    plain, wide = told(), told(kv_cache=name)
    held, more = plain["memory_bytes"], wide["memory_bytes"]
    assert isinstance(held, dict) and isinstance(more, dict)
    each = precisions()[precision].key_value
    assert more["cache"] == pytest.approx(held["cache"] * 2.0 / each)
    assert wide["time_per_output_token_s"] > plain["time_per_output_token_s"]
    assert _rows_of(wide) == _rows_of(plain)
    assert wide["perplexity_increase"] == plain["perplexity_increase"]
    assert isinstance(wide["notes"], list)
    assert sum(f"kept in {name}, wider than the {precision}" in n for n in wide["notes"]) == 1


def _rows_of(result: dict[str, object]) -> list[str]:
    rows = result["operations"]
    assert isinstance(rows, list)
    return [str(row["name"]) for row in rows]


@pytest.mark.parametrize(("setting", "asked"), [("weights", "bf16"), ("kv_cache", "int8")])
def test_other_wide_formats_are_refused(setting: str, asked: str) -> None:
    """Weights are read to be multiplied, and integers with scales are a packing."""
    with pytest.raises(InputError, match="narrower") as refusal:
        simulate("llama-2-7b", "b200-sxm-192gb", precision="nvfp4", **{setting: asked}, generate=8)
    allowed = str(refusal.value).partition("allowed")[2]
    assert ("bf16" in allowed) is (setting == "kv_cache")


@pytest.mark.parametrize("machine", [A100, "systolic", "acceltran-server", "tpu-v3"])
def test_traffic_follows_the_format(machine: str) -> None:
    """A token of a decoder reads all matrices once: fewer bits, fewer bytes."""

    def read(**settings: object) -> float:
        rows = elector.simulate(
            "gpt2",
            machine,
            settings={f"workload.{k}": v for k, v in settings.items()},
            operations=True,
        )["operations"]
        assert isinstance(rows, list)
        named = [r for r in rows if r["phase"] == "decode" and r["name"] == "feed-forward in"]
        return sum(r["dram_bytes"] for r in named)

    wide, narrow = read(generate=2), read(generate=2, weights="int4")
    assert narrow < 0.5 * wide


def test_only_matrices_of_layers_are_unpacked() -> None:
    rows = elector.simulate(
        "gpt2",
        A100,
        settings={"workload.weights": "int4", "workload.kv_cache": "int8", "workload.generate": 4},
        operations=True,
    )["operations"]
    assert isinstance(rows, list)
    work = [r for r in rows if str(r["name"]).endswith("dequantisation")]
    names = {str(r["name"]).removesuffix(" dequantisation") for r in work}
    assert names == {
        "query",
        "key, value",
        "output",
        "feed-forward in",
        "feed-forward out",
        "scores",
        "context",
    }
    assert all(r["kind"] == "cast" for r in work)


def test_the_same_format_changes_nothing() -> None:
    """What a precision has by itself is no other format."""
    plain = simulate("bert-base", "h100-sxm-80gb", precision="int8")
    named = simulate("bert-base", "h100-sxm-80gb", precision="int8", weights="int8")
    assert plain["latency_s"] == named["latency_s"] and plain["energy_j"] == named["energy_j"]
    assert plain["memory_bytes"] == named["memory_bytes"]


def test_decoding_is_faster_with_fewer_bits() -> None:
    """Time per token follows the bytes of weights where the memory limits it."""
    times = [
        simulate(
            "llama-2-7b",
            A100,
            precision="fp16",
            implementation="fastertransformer",
            generate=16,
            weights=name,
        )["time_per_output_token_s"]
        for name in ("same", "int8", "int4")
    ]
    assert np.all(np.diff(np.array(times, dtype=float)) < 0)


def test_long_prompts_pay_for_unpacking() -> None:
    """Compute-bound, narrow weights are no faster: they are multiplied in 16 bits."""
    wide, narrow = (
        simulate("llama-2-7b", A100, precision="fp16", batch=16, weights=name)["latency_s"]
        for name in ("same", "int4")
    )
    assert isinstance(wide, float) and isinstance(narrow, float)
    assert narrow >= 0.98 * wide


def test_low_rank_training_of_packed_weights() -> None:
    """QLoRA: a frozen body in 4 bits, pairs and their states as ever."""
    settings = {"mode": "training", "trainable": "lora:8", "precision": "bf16-amp"}
    wide, narrow = (
        simulate("llama-2-7b", A100, weights=name, **settings)["memory_bytes"]
        for name in ("same", "nf4")
    )
    assert isinstance(wide, dict) and isinstance(narrow, dict)
    assert narrow["weights"] - wide["weights"] == pytest.approx(MATRICES * (4.5 / 8 - 2))
    assert narrow["optimizer"] == wide["optimizer"]


@pytest.mark.parametrize(
    ("accelerator", "settings", "words"),
    [
        (A100, {"weights": "int4", "mode": "training"}, "weights that train are not stored packed"),
        (A100, {"weights": "int5"}, "unknown choice .got 'int5'"),
        (A100, {"weights": "int8", "precision": "nothing"}, "workload.precision"),
        ("reram", {"weights": "int4"}, "stores weights in cells"),
        ("reram+systolic", {"weights": "int4"}, "stores weights in cells"),
    ],
)
def test_refused(accelerator: str, settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        simulate("gpt2", accelerator, **settings)


def test_a_cache_without_decoding_is_said_to_change_nothing() -> None:
    notes = simulate("gpt2", A100, kv_cache="int8")["notes"]
    assert isinstance(notes, list)
    assert any("workload.kv_cache changes nothing" in note for note in notes)
