"""Operands in formats of their own: unpacked ahead of their product, by both models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elector.describe.numbers import unpacking
from elector.evaluation.path import Chunk, inspect
from elector.events.timeline import Timeline, timeline
from elector.operations.roles import RowPart
from elector.operations.rows import unpacked
from elector.studies.simulation import columns_of
from elector.technology import Technology

#: Of GPT-2: the matrices of its layers, and its vocabulary head.
MATRICES, HEAD = 12 * 12 * 768**2, 50257 * 768


def chunk(model: str, name: str, **settings: Any) -> Chunk:
    cells = {k.replace("__", "."): v for k, v in settings.items()}
    return inspect(columns_of({"model": model, "accelerator": name, **cells}), Technology.load())


def closed(inspected: Chunk) -> float:
    return float(inspected.timing.seconds[0])


@pytest.mark.parametrize("name", ["int4", "nf4", "int2", "mxfp4"])
def test_a_token_takes_as_long_as_its_weights_are_unpacked_and_its_head_is_read(name: str) -> None:
    """By hand: 128 lanes unpack 84.9 M weights, which takes longer than to read or to multiply
    them; then 77 MB of the head come at 100 GB/s, and the lanes have nothing to do: the layers of
    the next token wait for this one. The closed form had 2.82 ms with int4, the event-driven model
    1.90 ms: it unpacked weights while the head was read, after their products. The rest is
    attention, 24 products of 2.5 us."""
    inspected = chunk("gpt2", "systolic", workload__weights=name, workload__generate=2)
    unpacked = MATRICES * unpacking()[name] / (128 * 700e6)
    by_hand = unpacked + HEAD * 2 / 100e9 + 24 * 2.5e-6
    token = float(inspected.timing.stages["decode"][0])
    assert token == pytest.approx(by_hand, rel=0.04)
    assert timeline(inspected).stages["decode"] == pytest.approx(by_hand, rel=0.05)


def ends(step: Timeline, part: RowPart) -> dict[tuple[object, ...], tuple[float, float]]:
    """(role, phase, layer, turn) -> start and end of the rows of a part."""
    times: dict[tuple[object, ...], tuple[float, float]] = {}
    for span in step.spans:
        row = step.rows[span.row]
        if row.part is part and span.resource != "memory":
            key = row.role, row.phase, span.layer, span.turn
            start, end = times.get(key, (span.start, span.end))
            times[key] = min(start, span.start), max(end, span.end)
    return times


@pytest.mark.parametrize("machine", ["systolic", "acceltran"])
def test_no_product_is_done_before_its_operand_is_unpacked(machine: str) -> None:
    asked = {"workload__weights": "int4", "workload__kv_cache": "int8", "workload__generate": 2}
    step = timeline(chunk("gpt2", machine, model__layers=2, workload__batch=2, **asked))
    products, unpacked = ends(step, RowPart.FORWARD), ends(step, RowPart.UNPACKED)
    assert len(unpacked) == 2 * (6 + 7) - 2 * 1  # the cache is read by the second token alone
    for key, (start, end) in unpacked.items():
        assert products[key][0] > start
        assert products[key][1] > end


def test_sequences_share_what_is_unpacked() -> None:
    asked = {"workload__weights": "int4", "accelerator__arrays": 4}
    for batch in (1, 4):
        inspected = chunk("bert-mini", "systolic", workload__batch=batch, **asked)
        step = timeline(inspected)
        rows = [r for r, row in enumerate(step.rows) if row.part is RowPart.UNPACKED]
        seconds = sum(s.end - s.start for s in step.spans if s.row in rows)
        weights = 4 * 12 * 256**2
        lanes = 4 * 128
        assert seconds == pytest.approx(weights * unpacking()["int4"] / (lanes * 700e6))
        assert seconds == pytest.approx(float(inspected.activity.load("vector", np.array(rows))[0]))


def drawn(machine: str, count: int, seed: int) -> list[dict[str, object]]:
    """Settings with packed weights and caches on slow and fast lanes."""
    random = np.random.default_rng(seed)

    def pick(*options: object) -> object:
        return options[int(random.integers(len(options)))]

    own: dict[str, tuple[object, ...]] = {
        "systolic": {
            "rows": (32, 64, 128, 256),
            "cols": (32, 64, 128, 256),
            "arrays": (1, 2, 4),
            "dataflow": ("ws", "os", "is"),
            "sram": (1e6, 4e6, 16e6, 64e6),
            "bandwidth": (1e10, 1e11, 4e11),
            "vector_lanes": (32, 128, 512, 2048),
            "preload": ("overlap", "serial"),
            "fuse": ("true", "false"),
        },
        "acceltran": {
            "pe": (64, 128, 256, 512),
            "lanes_per_pe": (8, 16, 32),
            "mac_per_lane": (1, 16),
            "memory": ("rram_32_2_1", "dram_32_2_1", "hbm_32_1_4"),
            "weight_buffer": (8e6, 32e6, 128e6),
        },
    }[machine]
    designs = []
    for _ in range(count):
        model = pick("gpt2", "t5-base", "bert-mini", "bert-tiny")
        generates = model in ("gpt2", "t5-base")
        training = bool(pick(True, False, False))
        designs.append(
            {
                "model": model,
                "accelerator": machine,
                "model.layers": pick(1, 2, 4),
                "workload.batch": pick(1, 2, 5, 8),
                "workload.sequence_length": pick(17, 64, 128, 256),
                "workload.mode": "training" if training else "inference",
                "workload.trainable": "lora:8" if training else "all",
                "workload.generate": pick(1, 2, 4) if generates and not training else 0,
                "workload.weights": pick("int4", "nf4", "int2", "fp8-block", "int8", "mxfp4"),
                "workload.kv_cache": pick("same", "int8", "int4")
                if generates and not training
                else "same",
                **{f"accelerator.{key}": pick(*options) for key, options in own.items()},
            }
        )
    return designs


@pytest.mark.parametrize("machine", ["systolic", "acceltran"])
@pytest.mark.parametrize(("count", "seed"), [(16, 1), pytest.param(80, 2, marks=pytest.mark.slow)])
def test_both_models_agree_with_packed_operands(machine: str, count: int, seed: int) -> None:
    """The bounds of test_timeline.py hold. gpt2 with int4 on systolic was 43 % apart."""
    ratios = []
    for settings in drawn(machine, count, seed):
        inspected = inspect(columns_of(settings), Technology.load())
        if all(a[0] <= b[0] for a, b in inspected.activity.limits.values()):
            ratios.append(closed(inspected) / timeline(inspected).seconds)
    error = np.abs(np.array(ratios) - 1.0)
    assert error.size >= 0.8 * count
    assert np.median(error) <= 0.05
    assert np.quantile(error, 0.95) <= 0.20


HALF = {"model__layers": 2, "workload__batch": 2, "workload__weights": "int4"}
FROZEN = {"workload__trainable": "lora:8", "workload__weights": "nf4", "workload__batch": 2}
CASES = [
    ("gpt2", {"workload__weights": "int4", "workload__generate": 2}),
    ("gpt2", {"workload__weights": "fp8-block", "workload__batch": 5}),
    ("t5-base", {"model__layers": 2, "workload__generate": 1, "workload__weights": "int2"}),
    ("mixtral-8x7b", {"model__layers": 1, "workload__generate": 2, "workload__weights": "int4"}),
    ("mistral-7b", {"model__layers": 2, "model__window": 64, "workload__weights": "nf4"}),
    ("gpt2", {"workload__serving": "continuous", "workload__generate": 4, **HALF}),
    ("gpt2", {"workload__prefill_chunk": 32, "workload__generate": 4, **HALF}),
    ("llama-2-7b", {"model__layers": 1, "workload__mode": "training", **FROZEN}),
]


@pytest.mark.parametrize(("model", "asked"), CASES)
def test_both_models_agree_on_slow_lanes(model: str, asked: dict[str, Any]) -> None:
    """The first three were 43, 32 and 37 % apart."""
    length = 17 if asked.get("workload__batch") == 5 else 128
    rest = {"workload__sequence_length": length, "accelerator__memory_capacity": 1e12}
    inspected = chunk(model, "systolic", **rest, **asked)
    assert closed(inspected) == pytest.approx(timeline(inspected).seconds, rel=0.08)


TWO_ARRAYS = """units:
  p: {base: systolic, rows: 64, cols: 64}
  q: {base: systolic, rows: 64, cols: 64}
links:
  - {between: [p, q], kind: package, bandwidth: 400 GB/s, latency: 100 ns}
assignment:
  - {match: {class: [weight, reuse]}, unit: p}
  - {unit: q}
"""


@pytest.mark.parametrize(("model", "layers"), [("bert-tiny", 2), ("bert-base", 2), ("gpt2", 2)])
@pytest.mark.parametrize("kept", [{"weights": "int4"}, {"kv_cache": "int8"}])
def test_a_unit_unpacks_what_it_multiplies(
    tmp_path: Path, model: str, layers: int, kept: dict[str, str]
) -> None:
    """What a unit is sent first stands between an operand and its product: the closed form put one
    behind the other, and the event-driven model never ended."""
    file = tmp_path / "two.yaml"
    file.write_text(TWO_ARRAYS)
    asked = {f"workload__{key}": value for key, value in kept.items()}
    if model == "gpt2":
        asked["workload__generate"] = 4
    elif "kv_cache" in kept:
        return
    both = chunk(model, str(file), model__layers=layers, **asked)
    assert timeline(both).seconds == pytest.approx(closed(both), rel=0.06)
    for r, product in unpacked(both.ops.rows):
        assert both.owner[r] == both.owner[product]
