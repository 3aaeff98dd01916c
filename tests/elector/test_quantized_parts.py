"""Files whose parts are stored in several formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from quantized_llama import LLAMA, MATRICES, REST, weights

from elector.evaluation.path import inspect
from elector.operations.roles import Role
from elector.studies.simulation import columns_of
from elector.technology import Technology


def listed(numbers: range = range(32), **words: str) -> dict[str, Any]:
    """What modelopt writes where modules of a layer are stored in several formats."""
    layers = {}
    for name, word in words.items():
        module = name.replace("__", ".")
        places = [module] if "head" in module else [f"model.layers.{i}.{module}" for i in numbers]
        layers |= {place: {"quant_algo": word} for place in places}
    return {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": layers}


FEED_FORWARD, HEAD = 32 * 3 * 4096 * 11008, 32000 * 4096


@pytest.mark.parametrize(
    ("words", "bits", "said"),
    [
        (
            {"self_attn__q_proj": "FP8", "mlp__up_proj": "W4A16_NVFP4", "lm_head": "NVFP4"},
            (8, 4.5, 4.5),
            ("nvfp4", "attention in fp8", "head in nvfp4", "embeddings, norms and"),
        ),
        (
            {"self_attn__q_proj": "MXFP8", "mlp__up_proj": "MXFP8"},
            (8.25, 8.25, 16),
            ("mxfp8", "embeddings, heads, norms and"),
        ),
        ({"mlp__up_proj": "NVFP4"}, (16, 4.5, 16), ("nvfp4", "heads, norms, attention and")),
        ({"self_attn__o_proj": "FP8"}, (8, 16, 16), ("fp8", "heads, norms, feed forward and")),
        (
            {"self_attn__q_proj": "W4A16_AWQ", "mlp__up_proj": "FP8"},
            (4 + 20 / 128, 8, 16),
            ("int4",),
        ),
    ],
)
def test_each_part_is_counted_in_its_own_format(
    tmp_path: Path, words: dict[str, str], bits: tuple[float, ...], said: tuple[str, ...]
) -> None:
    size, notes = weights(tmp_path, listed(**words))
    parts = (MATRICES - FEED_FORWARD, FEED_FORWARD, HEAD)
    wide = 2 * (REST - HEAD)
    expected = wide + sum(b / 8 * n for b, n in zip(bits, parts, strict=True))
    assert size == pytest.approx(expected, rel=1e-9)
    assert any(all(word in note for word in said) for note in notes)
    # who asks for a format gets it, for all matrices of layers
    asked, _ = weights(tmp_path, listed(**words), weights="int8")
    assert asked == MATRICES + 2 * REST


def test_products_read_their_part_in_its_format(tmp_path: Path) -> None:
    stored = listed(self_attn__q_proj="FP8", mlp__up_proj="NVFP4")
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA | {"quantization_config": stored}))
    cells = {"model": file, "accelerator": "a100-sxm-80gb", "workload.precision": "fp16"}
    ops = inspect(columns_of(cells), Technology.load()).ops
    read = {row.role: float(ops.b_width[r]) for r, row in enumerate(ops.rows) if row.b == "weight"}
    assert read[Role.QUERY] == read[Role.OUTPUT] == 1.0
    assert read[Role.FEED_FORWARD_IN] == read[Role.FEED_FORWARD_OUT] == 4.5 / 8
    assert read[Role.VOCABULARY_HEAD] == 2.0
    unpacked = {row.role for row in ops.rows if row.kind == "cast"}
    assert {Role.QUERY, Role.FEED_FORWARD_GATE} <= unpacked


def test_some_layers_of_a_part_are_not_all(tmp_path: Path) -> None:
    words = {"self_attn__q_proj": "FP8", "mlp__up_proj": "NVFP4"}
    size, notes = weights(tmp_path, listed(range(4), **words))
    assert size == 2 * (MATRICES + REST)
    assert any("weights in mixed" in note and "not counted" in note for note in notes)


@pytest.mark.parametrize(
    "words",
    [
        {"mlp__up_proj": "NVFP4", "mlp__down_proj": "FP8"},  # a part in two formats
        {"mlp__up_proj": "NVFP4", "novel": "FP8"},  # a module that nobody knows
    ],
)
def test_parts_that_cannot_be_told_are_said(tmp_path: Path, words: dict[str, str]) -> None:
    size, notes = weights(tmp_path, listed(**words))
    assert size == 2 * (MATRICES + REST)
    assert any("weights in mixed" in note and "not counted" in note for note in notes)
