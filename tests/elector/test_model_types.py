"""Configurations of today: exact counts, every key read or refused, formats noted.

The numbers are those of the classes of transformers 5.24 (parameters by `numel` on the meta
device; multiply-accumulates by PyTorch's flop counter in eager mode at batch 1 and 128 tokens,
experts counted as routed).
"""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from builders import operations
from descriptions import LLAMA, written

from elector.base.errors import InputError
from elector.describe.formats import load_model
from elector.describe.formats.hf.types import HEADS, LAYOUTS, kinds, neutral
from elector.describe.model import Model

COMMON: dict[str, Any] = {"attention_dropout": 0.0, "hidden_act": "silu"}
MIXTRAL = COMMON | {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "num_experts_per_tok": 2,
    "num_local_experts": 8,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "vocab_size": 32000,
}
DEEPSEEK = COMMON | {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "num_hidden_layers": 61,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "moe_layer_freq": 1,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 129280,
    "tie_word_embeddings": False,
}
#: Not of the shipped presets: sizes nobody publishes, of every kind of layer.
ODD: list[tuple[dict[str, Any], int, int]] = [
    (
        COMMON
        | {
            "architectures": ["Cohere2ForCausalLM"],
            "model_type": "cohere2",
            "hidden_size": 270,
            "intermediate_size": 777,
            "num_attention_heads": 9,
            "num_hidden_layers": 6,
            "num_key_value_heads": 3,
            "vocab_size": 1203,
            "head_dim": 34,
            "attention_bias": True,
            "sliding_window": 25,
            "sliding_window_pattern": 3,
        },
        5_429_520,
        0,
    ),
    (
        COMMON
        | {
            "architectures": ["OlmoeForCausalLM"],
            "model_type": "olmoe",
            "hidden_size": 252,
            "intermediate_size": 99,
            "num_attention_heads": 9,
            "num_hidden_layers": 3,
            "num_key_value_heads": 3,
            "vocab_size": 1201,
            "attention_bias": True,
            "num_experts": 11,
            "num_experts_per_tok": 4,
            "tie_word_embeddings": True,
        },
        3_293_640,
        1_721_916,
    ),
    (
        COMMON
        | {
            "architectures": ["MiniCPM3ForCausalLM"],
            "model_type": "minicpm3",
            "hidden_size": 252,
            "intermediate_size": 333,
            "num_attention_heads": 6,
            "num_hidden_layers": 3,
            "vocab_size": 1201,
            "kv_lora_rank": 48,
            "q_lora_rank": 72,
            "qk_nope_head_dim": 20,
            "qk_rope_head_dim": 12,
            "v_head_dim": 28,
            "tie_word_embeddings": False,
        },
        1_672_416,
        0,
    ),
    (
        COMMON
        | {
            "architectures": ["MambaForCausalLM"],
            "model_type": "mamba",
            "conv_kernel": 3,
            "expand": 3,
            "hidden_size": 200,
            "num_hidden_layers": 3,
            "state_size": 10,
            "time_step_rank": 13,
            "use_bias": True,
            "use_conv_bias": False,
            "vocab_size": 1201,
            "tie_word_embeddings": False,
        },
        1_675_200,
        0,
    ),
]


def read(folder: Path, config: dict[str, Any]) -> Model:
    return load_model(written(folder, config))


def counts(folder: Path, config: dict[str, Any], **settings: Any) -> Any:
    return operations(written(folder, config), **settings)


def counted() -> list[dict[str, str]]:
    path = Path(__file__).resolve().parent.parent / "data" / "counts_of_today.csv"
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("row", counted(), ids=lambda row: row["preset"])
def test_presets_of_today_count_what_their_classes_do(row: dict[str, str]) -> None:
    ops = operations(row["preset"], predictions=128)
    assert ops.parameters[0] == int(row["parameters"])
    assert ops.active[0] == int(row["active_parameters"])
    if row["macs"]:  # of scans it depends on how they are written
        assert ops.macs[0] == int(row["macs"])


@pytest.mark.parametrize(("config", "parameters", "active"), ODD)
def test_sizes_that_nobody_publishes(
    tmp_path: Path, config: dict[str, Any], parameters: int, active: int
) -> None:
    ops = counts(tmp_path, config)
    assert ops.parameters[0] == parameters
    assert ops.active[0] == (active or parameters)


@pytest.mark.parametrize("config", [MIXTRAL, DEEPSEEK])
def test_a_configuration_is_its_preset(tmp_path: Path, config: dict[str, Any]) -> None:
    preset = {"mixtral": "mixtral-8x7b", "deepseek_v3": "deepseek-v3"}[config["model_type"]]
    said = {"name": "", "source": "", "notes": (), "quantization": None}
    model = dataclasses.replace(read(tmp_path, config), **said)
    assert model == dataclasses.replace(load_model(preset), **said)


def test_the_table_of_types_is_whole() -> None:
    """Rows name layouts and heads there are, and honour no key that is said to change nothing."""
    required = {"hidden_size", "d_model", "vocab_size"}
    assert len(kinds()) >= 90
    for kind in kinds().values():
        assert kind.layout in LAYOUTS and kind.heads in HEADS
        assert kind.honours & required or kind.layout == "vit", kind.model_type
        for key in kind.honours:
            for own in kind.names.get(key, key).split("|"):
                allowed = (
                    "max_position_embeddings",
                    "max_seq_len",
                    "n_positions",
                    "rope_parameters",
                    "n_ctx",
                    "layer_scale_init_value",  # 0: BEiT has no scales
                    "rms_norm_eps",  # whether it is there says which norm Cohere2Moe has
                )
                dropped = neutral().fullmatch(own) and own not in allowed
                assert not dropped or "drop" in own, (kind.model_type, own)


# Keys


def test_a_key_that_nobody_knows_is_refused_and_read_past_when_asked(tmp_path: Path) -> None:
    path = written(tmp_path, LLAMA | {"foo_bar": 3})
    with pytest.raises(InputError, match=r"foo_bar.*not known of llama") as caught:
        load_model(path)
    assert "--ignore-key foo_bar" in str(caught.value)
    model = load_model(path, ("foo_bar",))
    assert any("foo_bar" in note for note in model.notes)
    with pytest.raises(InputError, match=r"no key of the configuration.*did you mean foo_bar"):
        load_model(path, ("foo_baz",))


def test_all_keys_that_nobody_knows_are_named_at_once(tmp_path: Path) -> None:
    """With one line that reads past all of them; keys of another class apart from unknown ones."""
    unread = {"hiden_sizes": 3, "foo_bar": 1, "num_local_experts": 8, "baz": {"a": 1}}
    with pytest.raises(InputError) as caught:
        load_model(written(tmp_path, LLAMA | unread))
    said = str(caught.value)
    assert "hiden_sizes: is not known of llama" in said
    assert "did you mean" not in said  # hidden_size is there
    assert "also not known: foo_bar, baz" in said
    assert "not read by the class: num_local_experts" in said
    assert " ".join(f"--ignore-key {key}" for key in unread) in said
    model = load_model(written(tmp_path, LLAMA | unread), tuple(unread))
    assert all(any(key in note for note in model.notes) for key in unread)


def test_a_misspelled_key_has_the_one_that_is_missing(tmp_path: Path) -> None:
    config = dict(LLAMA)
    config["num_key_value_headz"] = config.pop("num_key_value_heads")
    with pytest.raises(InputError, match=r"num_key_value_headz.*did you mean num_key_value_heads"):
        load_model(written(tmp_path, config))


def test_keys_around_a_text_model_are_named_with_its_own(tmp_path: Path) -> None:
    inner = {key: value for key, value in LLAMA.items() if key != "architectures"} | {"foo": 1}
    config = {"model_type": "llava", "text_config": inner, "bar": 2}
    with pytest.raises(InputError, match=r"text_config.foo.*also not known: bar") as caught:
        load_model(written(tmp_path, config))
    assert "--ignore-key foo --ignore-key bar" in str(caught.value)


#: Keys of public files that no class of transformers reads, or that say nothing of sizes.
PUBLIC = {
    # Phi-4-mini
    "phi3": {"full_attn_mod": 1, "interpolate_factor": 1, "lm_head_bias": False, "mlp_bias": False},
    # SmolLM2, and what Unsloth, transformers 4.4x and Sentence Transformers add to files
    "llama": {
        "rope_interleaved": False,
        "is_llama_config": True,
        "unsloth_fixed": True,
        "unsloth_version": "2026.4.5",
        "_attn_implementation_autoset": True,
        "sentence_transformers": {"version": "5.0"},
        "matryoshka_dimensions": [256, 512],
        "transformers_weights": "model.safetensors",
    },
}


@pytest.mark.parametrize("kind", PUBLIC)
def test_keys_of_public_files_that_no_class_reads_change_nothing(tmp_path: Path, kind: str) -> None:
    ends = {"llama": "Llama", "phi3": "Phi3"}
    plain = LLAMA | {"model_type": kind, "architectures": [f"{ends[kind]}ForCausalLM"]}
    read = load_model(written(tmp_path, plain))
    assert load_model(written(tmp_path, plain | PUBLIC[kind])) == read


def test_a_key_whose_value_would_change_layers_is_not_read_past(tmp_path: Path) -> None:
    """Phi-4-mini says 1; no class says what every second layer would be."""
    plain = LLAMA | {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"]}
    with pytest.raises(InputError, match="full_attn_mod"):
        load_model(written(tmp_path, plain | {"full_attn_mod": 2}))


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"num_experts_per_tok": 9}, "num_experts_per_tok"),
        ({"num_experts_per_tok": None}, "num_experts_per_tok"),
        ({"sliding_window": 0}, "sliding_window"),
        ({"num_local_experts": "8"}, "num_local_experts"),
        ({"quantization_config": {"quant_method": "magic"}}, "quantization_config.quant_method"),
        ({"quantization_config": []}, "quantization_config"),
        ({"architectures": ["MixtralForSpeech"]}, "architectures"),
        ({"attention_bias": True}, "attention_bias"),
        ({"model_type": "mixtrall"}, "model_type"),
    ],
)
def test_a_refusal_names_the_key(tmp_path: Path, changed: dict[str, Any], key: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, MIXTRAL | changed)
    assert caught.value.field == key


@pytest.mark.parametrize("key", ["qk_nope_head_dim", "kv_lora_rank", "v_head_dim"])
def test_ranks_need_the_sizes_of_heads(tmp_path: Path, key: str) -> None:
    with pytest.raises(InputError, match=f"{key}: is missing"):
        read(tmp_path, {k: v for k, v in DEEPSEEK.items() if k != key})


def test_code_of_the_file_is_not_run_and_further_layers_are_left_out(tmp_path: Path) -> None:
    more = {"auto_map": {"AutoModel": "evil.Model"}, "num_nextn_predict_layers": 1}
    notes = " ".join(read(tmp_path, DEEPSEEK | more).notes)
    assert "not run" in notes
    assert "num_nextn_predict_layers" in notes


@pytest.mark.parametrize(
    "seed", [*range(6), *(pytest.param(s, marks=pytest.mark.slow) for s in range(6, 20))]
)
def test_mutated_configurations_are_exact_or_refused_by_their_key(
    tmp_path: Path, seed: int
) -> None:
    """50 of each seed: a key gone, added, or of a wrong type."""
    random = Random(seed)
    for base in (MIXTRAL, DEEPSEEK, *(config for config, _, _ in ODD)):
        exact = counts(tmp_path, base).parameters[0]
        for _ in range(9):
            config = json.loads(json.dumps(base))
            key = random.choice(sorted(config))
            kind = random.choice(["gone", "added", "wrong"])
            if kind == "gone":
                del config[key]
            elif kind == "added":
                key = random.choice(["num_foo", "foo_layers", "use_bar", "n_shared_things"])
                config[key] = random.choice([1, True, "x", [1]])
            else:
                config[key] = random.choice([{}, [None], "seven", -1, 1.5])
            try:
                parameters = counts(tmp_path, config).parameters[0]
            except InputError as error:
                assert key in str(error), (key, kind, str(error))
            else:
                # what may go is what the class has a default for, or what changes nothing
                assert kind != "added", key
                if parameters != exact:
                    assert kind == "gone" and key in (
                        "architectures",
                        "tie_word_embeddings",
                        "num_key_value_heads",
                        "sliding_window",
                        "attention_bias",
                        "head_dim",
                        "q_lora_rank",
                        "n_shared_experts",
                        "first_k_dense_replace",
                        "sliding_window_pattern",
                        "use_bias",
                        "use_conv_bias",
                        "conv_kernel",
                        "state_size",
                        "expand",
                        "time_step_rank",
                        "moe_intermediate_size",
                    ), (key, kind)


# Formats of the files


@pytest.mark.parametrize(
    ("stored", "weights", "group", "cache"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "int4", 128, ""),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, "int4", 64, ""),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8-block", 128, ""),
        ({"quant_method": "fbgemm_fp8"}, "fp8", 0, ""),
        ({"quant_method": "mxfp4"}, "mxfp4", 32, ""),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
            "nf4",
            64,
            "",
        ),
        (
            {
                "quant_method": "modelopt",
                "quant_algo": "NVFP4",
                "kv_cache_scheme": {"num_bits": 8, "type": "float"},
            },
            "nvfp4",
            16,
            "fp8",
        ),
    ],
)
def test_formats_of_weights_are_read_and_noted(
    tmp_path: Path, stored: dict[str, Any], weights: str, group: int, cache: str
) -> None:
    model = read(tmp_path, LLAMA | {"quantization_config": stored})
    assert model.quantization is not None
    formats = model.quantization
    assert (formats.weights, formats.group, formats.kv_cache) == (weights, group, cache)


def test_formats_stand_in_a_file_beside(tmp_path: Path) -> None:
    path = written(tmp_path, LLAMA, name="x_config.json")
    quantized = {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}
    (tmp_path / "x_hf_quant_config.json").write_text(json.dumps({"quantization": quantized}))
    stored = load_model(path).quantization
    assert stored is not None
    assert (stored.weights, stored.kv_cache, stored.left_out) == ("fp8", "fp8", ("lm_head",))


def test_large_files_and_infinities_are_fine_and_larger_ones_are_not(tmp_path: Path) -> None:
    many = [f"model.layers.{i}.mlp" for i in range(120_000)]
    stored = {"quant_method": "fp8", "modules_to_not_convert": many}
    config = LLAMA | {"quantization_config": stored, "time_step_limit": [0.0, float("inf")]}
    assert np.isfinite(counts(tmp_path, config).parameters[0])
    path = tmp_path / "config.json"
    with path.open("wb") as stream:
        stream.truncate(300 << 20)
    with pytest.raises(InputError, match="larger than"):
        load_model(str(path))


# Types that were added by rows of the table


def shipped(name: str) -> list[dict[str, str]]:
    path = Path(__file__).resolve().parent.parent / "data" / name
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("row", shipped("types_of_today.csv"), ids=lambda row: row["model_type"])
def test_types_count_what_their_classes_do(tmp_path: Path, row: dict[str, str]) -> None:
    """Small configurations, most with biases and ties against the class's default: parameters
    and multiply-accumulates at 32 tokens of the class in transformers 5.24, in eager mode."""
    ops = counts(tmp_path, json.loads(row["config"]), sequence_length=32)
    assert (ops.parameters[0], ops.macs[0]) == (int(row["parameters"]), int(row["macs"]))


@pytest.mark.parametrize(
    "row", shipped("scan_types.csv"), ids=lambda row: f"{row['model_type']}-{row['parameters']}"
)
def test_types_with_scans_count_what_their_classes_do(tmp_path: Path, row: dict[str, str]) -> None:
    """As above, but for the products of the scans, which depend on how they are written."""
    ops = counts(tmp_path, json.loads(row["config"]), sequence_length=32)
    done = ops.count * ops.batch * ops.m * ops.k * ops.n
    linear = [r.matmul and r.kind == "linear" for r in ops.rows]
    assert ops.parameters[0] == int(row["parameters"])
    assert done[linear].sum() == int(row["linear_macs"])


def test_one_expert_of_jamba_is_a_plain_feed_forward(tmp_path: Path) -> None:
    """As its class in transformers 5.24 has it: no router, 1,191,435 parameters."""
    row = next(row for row in shipped("scan_types.csv") if row["model_type"] == "jamba")
    config = json.loads(row["config"]) | {"num_experts": 1, "num_experts_per_tok": 1}
    assert counts(tmp_path, config, sequence_length=32).parameters[0] == 1_191_435


def test_biases_of_latent_attention(tmp_path: Path) -> None:
    """Of the projections to both ranks and of the output, as DeepSeek-V3's class has them."""
    plain, biased = (counts(tmp_path, DEEPSEEK | {"attention_bias": on}) for on in (False, True))
    assert biased.parameters[0] - plain.parameters[0] == 61 * (1536 + 512 + 64 + 7168)
    assert biased.macs[0] == plain.macs[0]
