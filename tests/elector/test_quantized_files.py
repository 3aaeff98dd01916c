"""Formats that a model's own file says its weights are stored in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from quantized_llama import ATTENTION, LLAMA, MATRICES, REST, weights

import elector
from elector.base.errors import InputError
from elector.describe.formats import load_model
from elector.describe.formats.hf.quantization import quantization
from elector.describe.numbers import formats
from elector.describe.quantization import Quantization


@pytest.mark.parametrize(
    ("stored", "bits"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, 4 + 20 / 128),
        ({"quant_method": "gptq", "bits": 4, "group_size": 64}, 4 + 20 / 64),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1}, 4),
        ({"quant_method": "gptq", "bits": 3, "group_size": 128}, 3 + 19 / 128),
        ({"quant_method": "awq", "bits": 4, "group_size": 32}, 4 + 20 / 32),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, 8),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
            4 + 32 / 64,
        ),
        (
            {
                "quant_method": "bitsandbytes",
                "load_in_4bit": True,
                "bnb_4bit_quant_type": "nf4",
                "bnb_4bit_use_double_quant": True,
            },
            4.127,
        ),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, 8 + 32 / 128**2),
        ({"quant_method": "fp8", "weight_block_size": [1, 128]}, 8 + 32 / 128),
        ({"quant_method": "mxfp4"}, 4 + 8 / 32),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, 4 + 8 / 16),
    ],
)
def test_weights_take_what_the_file_stores(
    tmp_path: Path, stored: dict[str, Any], bits: float
) -> None:
    size, notes = weights(tmp_path, stored)
    assert size == pytest.approx(MATRICES * bits / 8 + 2 * REST, rel=1e-4)
    assert any("are stored in" in note for note in notes)


def test_the_workload_has_the_last_word(tmp_path: Path) -> None:
    stored = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    size, notes = weights(tmp_path, stored, weights="same")
    assert size == 2 * (MATRICES + REST)
    assert any("int4 in groups of 128 (gptq), which is not counted" in note for note in notes)
    assert weights(tmp_path, stored, weights="int8")[0] == MATRICES + 2 * REST


def test_a_format_that_nothing_describes_is_said(tmp_path: Path) -> None:
    """In three formats at once; 16 bits stand for them."""
    stored = {
        "quant_method": "compressed-tensors",
        "config_groups": {
            f"group_{bits}": {"weights": {"num_bits": bits, "type": "int"}} for bits in (2, 4, 8)
        },
    }
    size, notes = weights(tmp_path, stored)
    assert size == 2 * (MATRICES + REST)
    assert any("weights in mixed" in note and "not counted" in note for note in notes)


@pytest.mark.parametrize(
    "left",
    [
        ["model.layers.*.self_attn", "lm_head"],
        ["*.attn.*"],
        [f"model.layers.{i}.self_attn*" for i in range(32)],
        [f"model.layers.{i}.self_attn.{x}_proj" for i in range(32) for x in "qkvo"],
    ],
)
def test_attention_that_is_left_out_stays_wide(tmp_path: Path, left: list[str]) -> None:
    size, notes = weights(tmp_path, {"quant_method": "mxfp4", "modules_to_not_convert": left})
    packed = (MATRICES - ATTENTION) * 4.25 / 8
    assert size == pytest.approx(packed + 2 * (ATTENTION + REST), rel=1e-4)
    assert any("norms, attention and biases" in note for note in notes)


def test_parts_of_a_few_layers_and_norms_are_no_parts_of_most() -> None:
    def kept(*patterns: str) -> tuple[str, ...]:
        return Quantization("fp8", "fp8", 8.0, 0, "", patterns).kept

    assert (
        kept("model.layers.0.self_attn.q_proj", *(f"layers.{i}.mlp.gate" for i in range(9))) == ()
    )
    assert kept(*(f"layers.{i}.self_attn.kv_a_layernorm" for i in range(9))) == ()
    assert kept("*.mlp.shared_expert.*", "mtp*") == ("shared experts",)
    assert kept(*(f"layers.{i}.linear_attn*" for i in range(9))) == ("state",)


def test_training_everything_counts_wide_weights(tmp_path: Path) -> None:
    stored = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    everything, notes = weights(tmp_path, stored, mode="training", precision="fp16-amp")
    assert everything == 6 * (MATRICES + REST)  # fp16 and the fp32 master
    assert any("not counted" in note for note in notes)
    low, _ = weights(tmp_path, stored, mode="training", precision="fp16-amp", trainable="lora:8")
    assert low < 0.4 * 2 * (MATRICES + REST)


@pytest.mark.parametrize(
    ("stored", "bits", "cache"),
    [
        # older files have no method; some are modelopt's own words, or another program's
        ({"load_in_8bit": True}, 8, ""),
        ({"quant_algo": "FP8", "kv_cache_scheme": "FP8"}, 8, "fp8"),
        ({"quant_algo": "MXFP8", "kv_cache_quant_algo": "NVFP4"}, 8 + 8 / 32, "nvfp4"),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 128}, 4 + 20 / 128, ""),
        ({"quant_method": "eetq"}, 8, ""),
        ({"quant_method": "nvfp4"}, 4 + 8 / 16, ""),
        ({"quant_method": "mxfp8"}, 8 + 8 / 32, ""),
        ({"quant_method": "torchao", "quant_type": "int8_weight_only"}, 8, ""),
        (
            {
                "quant_method": "torchao",
                "quant_type": {"default": {"_type": "Float8WeightOnlyConfig", "_data": {}}},
            },
            8,
            "",
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {
                    "group_0": {"weights": {"num_bits": 4, "type": "int", "group_size": 32}}
                },
                "kv_cache_scheme": {"num_bits": 8, "type": "int"},
            },
            4 + 20 / 32,
            "int8",
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {
                    "group_0": {"weights": {"num_bits": 4, "type": "float", "group_size": 32}}
                },
            },
            4 + 8 / 32,
            "",
        ),
    ],
)
def test_other_words_for_the_same(
    tmp_path: Path, stored: dict[str, Any], bits: float, cache: str
) -> None:
    size, _ = weights(tmp_path, stored)
    assert size == pytest.approx(MATRICES * bits / 8 + 2 * REST, rel=1e-4)
    formats = load_model(tmp_path / "config.json").quantization
    assert formats is not None and formats.kv_cache == cache


GROUP = {"num_bits": 4, "type": "int", "group_size": 128}


@pytest.mark.parametrize(
    ("stored", "field"),
    [
        ({"quant_method": "aqlm", "nbits_per_codebook": 16}, "quant_method"),
        ({"quant_method": "hqq"}, "quant_method"),
        ({"quant_method": 4}, "quant_method"),
        ({"bits": 4, "group_size": 64}, "quant_method"),
        ({"quant_method": "gptq", "bits": "4"}, "bits"),
        ({"quant_method": "gptq", "bits": 5}, "bits"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 1.5}, "group_size"),
        ({"quant_method": "auto-round", "bits": 4, "data_type": "mx_fp"}, "data_type"),
        ({"quant_method": "bitsandbytes"}, "load_in_4bit"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": "yes"}, "load_in_4bit"),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": True},
            "load_in_4bit",
        ),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf5"},
            "bnb_4bit_quant_type",
        ),
        ({"quant_method": "fp8", "weight_block_size": [128]}, "weight_block_size"),
        ({"quant_method": "fp8", "weight_block_size": [0, 128]}, "weight_block_size"),
        ({"quant_method": "fp8", "ignored_layers": "lm_head"}, "ignored_layers"),
        ({"quant_method": "fp8", "kv_cache_quant_algo": "MAGIC"}, "kv_cache_quant_algo"),
        ({"quant_method": "fp8", "kv_cache_scheme": {"num_bits": 3}}, "kv_cache_scheme"),
        ({"quant_method": "torchao", "quant_type": "int4_weight_only"}, "quant_type"),
        ({"quant_method": "eetq", "weights": "int4"}, "weights"),
        ({"quant_method": "compressed-tensors", "config_groups": [GROUP]}, "config_groups"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"g": {"weights": GROUP | {"group_size": "x"}}},
            },
            "config_groups.g.weights.group_size",
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"g": {"weights": {"num_bits": 4, "type": "float"}}},
            },
            "config_groups.g.weights.group_size",
        ),
        ({"quant_method": "gptq"}, "bits"),
        ({"quant_method": "gptq", "bits": 4, "w_bit": 8}, "w_bit"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 0}, "group_size"),
        ({"quant_method": "nvfp4", "group_size": -1}, "group_size"),
        ({"quant_method": "nvfp4", "bits": 8}, "bits"),
        ({"quant_method": "fp8", "quant_algo": "NVFP4"}, "quant_algo"),
        ({"quant_method": "fp8", "moe_quant_algo": "MAGIC"}, "moe_quant_algo"),
        ({"quant_method": "mxfp8", "weight_block_size": [32, 32]}, "weight_block_size"),
        (
            {"quant_method": "fp8", "weight_block_size": [128, 128], "group_size": 64},
            "group_size",
        ),
        (
            {"quant_method": "fp8", "kv_cache_scheme": {"num_bits": True}},
            "kv_cache_scheme",
        ),
        (
            {"quant_method": "fp8", "kv_cache_scheme": {"num_bits": 4, "group_size": 32}},
            "kv_cache_scheme.group_size",
        ),
        (
            {"quant_algo": "FP8", "kv_cache_scheme": "INT8", "kv_cache_quant_algo": "FP8"},
            "kv_cache_quant_algo",
        ),
        ({"quant_algo": "FP8", "quantized_layers": {"a": "FP8"}}, "quantized_layers.a"),
        ({"quant_method": "torchao", "quant_type": ["int8_weight_only"]}, "quant_type"),
    ],
)
def test_what_is_not_read_is_refused_by_its_key(
    tmp_path: Path, stored: dict[str, Any], field: str
) -> None:
    with pytest.raises(InputError) as caught:
        weights(tmp_path, stored)
    assert caught.value.field == f"quantization_config.{field}"


@pytest.mark.parametrize(
    "stored",
    [
        {"quant_method": "fp8", "quant_algo": "MIXED_PRECISION", "moe_quant_algo": "NVFP4"},
        {"quant_method": "fp8", "moe_quant_algo": "NVFP4"},
        {"quant_method": "modelopt", "quant_algo": "FP8", "moe_quant_algo": "NVFP4"},
        {"quant_algo": "NVFP4", "quantized_layers": {"lm_head": {"quant_algo": "FP8"}}},
        {"quant_algo": "MIXED_PRECISION", "quantized_layers": {"a": {"quant_algo": "NEWER"}}},
        {
            "quant_method": "compressed-tensors",
            "config_groups": {
                "a": {"weights": GROUP},
                "b": {"weights": {"num_bits": 8, "type": "float"}},
            },
        },
    ],
)
def test_files_of_several_formats_say_so(tmp_path: Path, stored: dict[str, Any]) -> None:
    size, notes = weights(tmp_path, stored)
    assert size == 2 * (MATRICES + REST)
    assert any("weights in mixed" in note and "not counted" in note for note in notes)


def test_keys_that_change_weights_and_are_not_read_are_said(tmp_path: Path) -> None:
    stored = {"quant_method": "gptq", "bits": 4, "desc_act": False, "lm_head": True, "dynamic": {}}
    _, notes = weights(tmp_path, stored)
    said = [note for note in notes if "is not known" in note]
    assert len(said) == 1 and "quantization_config.lm_head" in said[0]


def test_the_older_name_and_other_programs(tmp_path: Path) -> None:
    """`compression_config` is what `quantization_config` was; MLX's `quantization` is refused."""
    stored = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA | {"compression_config": stored}))
    formats = load_model(file).quantization
    assert formats is not None and formats.format == "int4"
    file.write_text(json.dumps(LLAMA | {"quantization": {"bits": 4, "group_size": 64}}))
    with pytest.raises(InputError, match="quantization: is not known"):
        load_model(file)


def test_keys_and_values_alone(tmp_path: Path) -> None:
    """`hf_quant_config.json` of a model whose weights stay as they are."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    stored = {"quantization": {"quant_algo": None, "kv_cache_quant_algo": "FP8"}}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(stored))
    formats = load_model(tmp_path / "config.json").quantization
    assert formats is not None
    assert (formats.weights, formats.format, formats.kv_cache) == ("", "", "fp8")
    ran = elector.simulate(tmp_path / "config.json", "a100-sxm-80gb")
    assert not any("the file stores weights" in str(note) for note in ran["notes"])


def _compressed(**settings: Any) -> dict[str, Any]:
    return {
        "quant_method": "compressed-tensors",
        "config_groups": {"g": {"weights": GROUP | settings}},
    }


#: Files with a key for each kind of number that is read from them, where the key stands, and
#: which of the odd values below it may have.
NUMBERS = [
    ({"quant_method": "gptq", "bits": 4}, ("bits",), [8.0]),
    ({"quant_method": "gptq", "bits": 4}, ("group_size",), [-1, 8.0]),
    ({"quant_method": "awq"}, ("q_group_size",), [-1, 8.0]),
    ({"quant_method": "auto-round"}, ("group_size",), [-1, 0, 8.0]),
    ({"quant_method": "fp8"}, ("bits",), [8.0]),
    ({"quant_method": "fp8"}, ("weight_block_size",), []),
    ({"quant_method": "fbgemm_fp8"}, ("group_size",), [-1, 8.0]),
    ({"quant_method": "mxfp8"}, ("bits",), [8.0]),
    ({"quant_method": "mxfp8"}, ("group_size",), [8.0]),
    ({"quant_method": "mxfp4"}, ("bits",), []),
    ({"quant_method": "nvfp4"}, ("group_size",), [8.0]),
    ({"quant_method": "quanto", "weights": "int4"}, ("group_size",), [-1, 8.0]),
    ({"quant_method": "bitnet"}, ("bits",), []),
    ({"quant_algo": "NVFP4"}, ("group_size",), [8.0]),
    ({"quant_algo": "W4A16_AWQ"}, ("group_size",), [-1, 8.0]),
    ({"quant_algo": "MIXED_PRECISION"}, ("group_size",), [-1, 8.0]),
    (_compressed(), ("config_groups", "g", "weights", "num_bits"), [8.0]),
    (_compressed(), ("config_groups", "g", "weights", "group_size"), [-1, 8.0]),
    (_compressed(), ("config_groups", "g", "weights", "block_structure"), []),
    (_compressed(), ("config_groups", "g", "weights", "type"), []),
    (_compressed(), ("config_groups", "g", "weights", "strategy"), []),
    ({"quant_method": "fp8", "kv_cache_scheme": {}}, ("kv_cache_scheme", "num_bits"), [8.0]),
    (
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        ("bnb_4bit_use_double_quant",),
        [True],
    ),
]
ODD = [0, -1, -2, 1.5, 8.0, True, "x", "false", 10**30, 10**400, 1e30, float("inf"), [4], {"a": 4}]


@pytest.mark.parametrize(("stored", "place", "fine"), NUMBERS)
def test_no_odd_value_is_taken_for_a_number(
    stored: dict[str, Any], place: tuple[str, ...], fine: list[object]
) -> None:
    """Each key with values of other types and sizes: read as what it says, or refused by name."""
    for value in ODD:
        changed = json.loads(json.dumps(stored))
        inner = changed
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        if any(value is good or (type(value) is float and value == good) for good in fine):
            formats = quantization(changed, "config.json")
            assert "." not in formats.weights and type(formats.group) is int
            continue
        with pytest.raises(InputError) as caught:
            quantization(changed, "config.json")
        assert (caught.value.field or "").startswith(f"quantization_config.{place[0]}")
        assert caught.value.file == "config.json" and len(str(caught.value)) < 500


def test_a_whole_number_may_be_written_with_a_point(tmp_path: Path) -> None:
    size, _ = weights(tmp_path, _compressed(num_bits=8.0, group_size=None))
    assert size == MATRICES + 2 * REST
    stored = {"quant_method": "fp8", "kv_cache_scheme": {"num_bits": 8.0, "type": "float"}}
    assert quantization(stored, "").kv_cache == "fp8"


GPTQ = {"quant_method": "gptq", "bits": 4}
BLOCK = {"num_bits": 8, "type": "float", "group_size": None, "strategy": "block"}
FP4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True}


@pytest.mark.parametrize(
    ("stored", "named", "bits", "taken"),
    [
        # an fp32 scale of 32 bits for a block of fp8
        ({"quant_method": "fp8", "weight_block_size": [1, 64]}, "1 x 64", 8.5, "fp8-g128"),
        ({"quant_method": "fp8", "weight_block_size": [64, 64]}, "64 x 64", 8.008, "fp8-block"),
        ({"quant_method": "fp8", "weight_block_size": [256, 256]}, "256 x", 8.0, "fp8-block"),
        (_compressed(**BLOCK, block_structure=[64, 64]), "64 x 64", 8.008, "fp8-block"),
        ({"quant_algo": "FP8", "group_size": 128}, "fp8 in groups of 128", 8.25, "fp8-g128"),
        # scales of 8 bits
        ({"quant_algo": "NVFP4", "group_size": 32}, "nvfp4 in groups of 32", 4.25, "mxfp4"),
        ({"quant_method": "nvfp4", "group_size": 64}, "nvfp4 in groups of 64", 4.125, "mxfp4"),
        ({"quant_method": "mxfp4", "group_size": 64}, "mxfp4 in groups of 64", 4.125, "mxfp4"),
        # a scale of 16 bits and a zero of 4 (2, 3, 8)
        (GPTQ | {"group_size": 100}, "int4 in groups of 100", 4.2, "int4"),
        (GPTQ | {"group_size": 256}, "int4 in groups of 256", 4.078, "int4"),
        (GPTQ | {"group_size": 1024}, "int4 in groups of 1024", 4.02, "int4-channel"),
        (GPTQ | {"bits": 8, "group_size": 64}, "int8 in groups of 64", 8.375, "int8-g128"),
        (GPTQ | {"bits": 3, "group_size": 64}, "int3 in groups of 64", 3.297, "int3"),
        (FP4 | {"bnb_4bit_quant_type": "fp4"}, "fp4-dq", 4.127, "nf4-dq"),
        ({"quant_method": "bitnet"}, "ternary", 2.0, "int2"),
    ],
)
def test_groups_that_no_format_has_are_counted_in_the_nearest(
    tmp_path: Path, stored: dict[str, Any], named: str, bits: float, taken: str
) -> None:
    """Of as many bits, its bytes within a few percent: 16 bits would be two to eight times more."""
    size, notes = weights(tmp_path, stored)
    width = formats()[taken].width
    assert size == pytest.approx(MATRICES * width + 2 * REST)
    assert width == pytest.approx(bits / 8, rel=0.075)
    said = [note for note in notes if "no format is nearer" in note]
    assert len(said) == 1 and named in said[0] and f"counted as {taken}, " in said[0]
    assert f"{bits:.4g} bits a weight" in said[0]


@pytest.mark.parametrize(
    ("key", "value", "near"),
    [
        ("activation_scheme", "sometimes", "dynamic"),
        ("activation_scheme", 3, "dynamic"),
        ("fmt", "e3m4", "e4m3"),
    ],
)
def test_words_that_nobody_knows_are_refused(
    tmp_path: Path, key: str, value: object, near: str
) -> None:
    with pytest.raises(InputError) as caught:
        weights(tmp_path, {"quant_method": "fp8", key: value})
    assert f"quantization_config.{key}: unknown value" in str(caught.value)
    assert near in str(caught.value)
    weights(tmp_path, {"quant_method": "fp8", key: None})


@pytest.mark.parametrize(
    ("stored", "format"),
    [
        ({"quant_method": "fp8", "moe_quant_algo": "FP8"}, "fp8"),
        (
            {"quant_method": "fp8", "moe_quant_algo": "fp8", "weight_block_size": [128.0, 128]},
            "fp8-block",
        ),
        ({"quant_algo": "FP8", "weight_block_size": [128, 128]}, "fp8-block"),
        ({"quant_algo": "FP8_PB_WO", "group_size": 128}, "fp8-block"),
        ({"quant_method": "mxfp8", "weight_block_size": [1, 32]}, "mxfp8"),
        ({"quant_algo": "W8A16", "group_size": 128}, "int8-g128"),
        (_compressed(strategy="channel", group_size=-1), "int4-channel"),
        (
            _compressed(
                num_bits=8,
                type="float",
                group_size=None,
                strategy="block",
                block_structure="128x128",
            ),
            "fp8-block",
        ),
    ],
)
def test_groups_and_blocks_that_a_format_has(stored: dict[str, Any], format: str) -> None:
    assert quantization(stored, "").format == format


@pytest.mark.parametrize(
    ("weights", "cache", "format"),
    [
        ({"num_bits": 8, "type": "float", "strategy": "channel", "group_size": None}, None, "fp8"),
        ({"num_bits": 8, "type": "int", "strategy": "channel", "group_size": -1}, None, "int8"),
        (
            {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16},
            8,
            "nvfp4",
        ),
        ({"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}, None, "int4-g32"),
        (
            {
                "num_bits": 8,
                "type": "float",
                "strategy": "block",
                "group_size": None,
                "block_structure": [128, 128],
            },
            8,
            "fp8-block",
        ),
    ],
)
def test_groups_as_programs_write_them(
    weights: dict[str, Any], cache: int | None, format: str
) -> None:
    """Every key that a file of compressed-tensors carries, those of no meaning for size too."""
    every = {"actorder": None, "block_structure": None, "dynamic": False, "observer": "minmax"}
    every |= {"observer_kwargs": {}, "symmetric": True}
    stored: dict[str, Any] = {
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": every | weights}},
        "format": "pack-quantized",
        "ignore": ["lm_head"],
        "kv_cache_scheme": cache and every | {"num_bits": cache, "type": "float"},
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
    }
    formats = quantization(stored, "")
    assert (formats.format, formats.kv_cache) == (format, "fp8" if cache else "")


def test_the_file_beside_is_refused_by_its_own_keys(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    stored = {"quantization": {"quant_algo": "NVFP4", "group_size": "x"}}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(stored))
    with pytest.raises(InputError) as caught:
        load_model(tmp_path / "config.json")
    assert caught.value.field == "quantization.group_size"
    assert str(caught.value.file).endswith("hf_quant_config.json")
