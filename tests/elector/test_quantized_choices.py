"""What files in few bits leave to the user: products as narrow, caches and heads as wide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from quantized_llama import LLAMA, MATRICES, REST, weights

import elector

FP8 = {
    "quant_method": "fp8",
    "activation_scheme": "static",
    "modules_to_not_convert": ["lm_head"],
}
COULD = "this machine could multiply in fp8"


def told(path: Path, accelerator: str, **workload: object) -> dict[str, Any]:
    settings = {f"workload.{key}": value for key, value in workload.items()}
    return elector.simulate(str(path), accelerator, settings=settings)


def written(folder: Path, stored: dict[str, Any]) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(LLAMA | {"quantization_config": stored}))
    return path


@pytest.mark.parametrize(
    ("stored", "accelerator", "workload", "said"),
    [
        (FP8, "h100-sxm-80gb", {}, True),
        (FP8 | {"weight_block_size": [128, 128]}, "h100-sxm-80gb", {}, True),
        (FP8, "a100-sxm-80gb", {}, False),  # has no such products
        (FP8, "h100-sxm-80gb", {"precision": "bf16"}, False),  # was asked for
        (FP8, "h100-sxm-80gb", {"precision": "fp8"}, False),
        (FP8, "h100-sxm-80gb", {"weights": "same"}, False),
        ({"quant_method": "gptq", "bits": 8, "group_size": 128}, "h100-sxm-80gb", {}, False),
    ],
)
def test_products_that_could_be_narrower_are_said_with_the_option(
    tmp_path: Path, stored: dict[str, Any], accelerator: str, workload: dict[str, Any], said: bool
) -> None:
    """The file stores fp8 and the GPU multiplies in it, once it is told to."""
    notes = told(written(tmp_path, stored), accelerator, **workload)["notes"]
    assert [COULD in note and "--precision fp8" in note for note in notes].count(True) == said


def test_each_float_of_few_bits_names_the_precision_of_its_products(tmp_path: Path) -> None:
    stored = {"quant_method": "modelopt", "quant_algo": "NVFP4"}
    notes = told(written(tmp_path, stored), "b200-sxm-192gb")["notes"]
    assert any("could multiply in nvfp4" in note for note in notes)


@pytest.mark.parametrize("name", ["bf16", "same"])
def test_a_cache_is_set_back_to_what_is_computed(tmp_path: Path, name: str) -> None:
    stored = {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}
    path, gpu = written(tmp_path, stored), "h100-sxm-80gb"
    own = told(path, gpu, generate=8)["memory_bytes"]["cache"]
    back = told(path, gpu, generate=8, kv_cache=name)
    assert back["memory_bytes"]["cache"] == pytest.approx(2 * own)
    assert any("they are kept in bf16" in note for note in back["notes"])
    assert back["perplexity_increase"] is not None  # 16 bits lose nothing; of fp8 no score tells
    plain = told(path, gpu, generate=8, kv_cache="same")
    assert back["latency_s"] == plain["latency_s"] and back["energy_j"] == plain["energy_j"]


def test_weights_in_16_bits_are_the_precisions_own_or_cost_a_conversion(tmp_path: Path) -> None:
    size, notes = weights(tmp_path, FP8, weights="bf16")
    assert size == 2 * (MATRICES + REST)
    assert any("weights are stored in bf16" in note for note in notes)
    wide = elector.simulate("gpt2", "a100-sxm-80gb", settings={"workload.precision": "fp32"})
    half = {"workload.precision": "fp32", "workload.weights": "bf16"}
    narrow = elector.simulate("gpt2", "a100-sxm-80gb", settings=half)
    blocks = 12 * 12 * 768**2  # 4 matrices of attention, 8 of feed-forward
    assert wide["memory_bytes"]["weights"] - narrow["memory_bytes"]["weights"] == 2 * blocks


def test_the_head_stays_as_the_file_has_it(tmp_path: Path) -> None:
    """In the products' own 16 bits; where a precision has all in fp8, that is said."""
    size, _ = weights(tmp_path, FP8)
    assert size == MATRICES + 2 * REST
    narrow = told(written(tmp_path, FP8), "h100-sxm-80gb", precision="fp8")
    assert narrow["memory_bytes"]["weights"] == MATRICES + REST
    assert any(
        "embeddings and heads, which the file does not quantise" in note for note in narrow["notes"]
    )
