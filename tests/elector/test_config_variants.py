"""Keys that are absent, null, 0 or listed in other words: as the class takes them, or refused.

tests/data/config_variants.csv holds small configurations, each changed in what readers get wrong,
with the parameters and the multiply-accumulates at 32 tokens of the class in transformers 5.24
(eager attention; none where scans or a choice of keys make the counter's figure another thing).
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from builders import operations
from descriptions import LLAMA, written

from elector.base.errors import InputError
from elector.describe.formats import load_model

DATA = Path(__file__).resolve().parent.parent / "data" / "config_variants.csv"


def variants() -> list[dict[str, str]]:
    with DATA.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def small(kind: str, **changed: Any) -> dict[str, Any]:
    """The first small configuration of a type, changed."""
    row = next(row for row in variants() if row["model_type"] == kind)
    config: dict[str, Any] = json.loads(row["config"]) | changed
    return config


@pytest.mark.parametrize("row", variants(), ids=lambda row: row["model_type"])
def test_variants_count_what_their_class_does(tmp_path: Path, row: dict[str, str]) -> None:
    ops = operations(written(tmp_path, json.loads(row["config"])), sequence_length=32)
    assert ops.parameters[0] == int(row["parameters"])
    if row["macs"]:
        assert ops.macs[0] == int(row["macs"])


MIXTURE: dict[str, Any] = LLAMA | {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}
QWEN_MOE: dict[str, Any] = LLAMA | {
    "architectures": ["Qwen2MoeForCausalLM"],
    "model_type": "qwen2_moe",
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 96,
}
LATENT: dict[str, Any] = LLAMA | {
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "n_shared_experts": 1,
    "kv_lora_rank": 48,
    "q_lora_rank": 72,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
}
NEMOTRON: dict[str, Any] = {
    "architectures": ["NemotronHForCausalLM"],
    "model_type": "nemotron_h",
    "hidden_size": 144,
    "intermediate_size": 200,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 24,
    "hybrid_override_pattern": "M-*-",
    "mamba_num_heads": 12,
    "mamba_head_dim": 24,
    "ssm_state_size": 16,
    "n_groups": 2,
    "conv_kernel": 4,
    "chunk_size": 16,
    "mlp_hidden_act": "relu2",
    "vocab_size": 1201,
}
MPT: dict[str, Any] = {
    "architectures": ["MptForCausalLM"],
    "model_type": "mpt",
    "d_model": 144,
    "n_heads": 6,
    "n_layers": 2,
    "vocab_size": 1201,
}
BART: dict[str, Any] = {
    "architectures": ["BartForConditionalGeneration"],
    "model_type": "bart",
    "d_model": 144,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 6,
    "decoder_attention_heads": 6,
    "encoder_ffn_dim": 200,
    "decoder_ffn_dim": 200,
    "max_position_embeddings": 128,
    "vocab_size": 1201,
}
T5: dict[str, Any] = {
    "architectures": ["MT5ForConditionalGeneration"],
    "model_type": "mt5",
    "d_model": 144,
    "d_ff": 200,
    "d_kv": 24,
    "num_heads": 6,
    "num_layers": 2,
    "vocab_size": 1201,
}


@pytest.mark.parametrize(
    ("config", "key", "value"),
    [
        # 0 is no size, no count and no rank, whatever a layer without it would be
        (MIXTURE, "num_local_experts", 0),
        (QWEN_MOE, "moe_intermediate_size", 0),
        (QWEN_MOE, "shared_expert_intermediate_size", 0),
        (LATENT, "q_lora_rank", 0),
        (LLAMA, "head_dim", 0),
        # what the class has otherwise than the file, or other than we describe
        (LATENT, "mlp_bias", True),
        (MPT, "expansion_ratio", 8),
        (MPT, "n_heads", 7),
        (BART, "tie_word_embeddings", False),
        (T5, "is_gated_act", False),
        (T5, "dense_act_fn", "relu"),
        (NEMOTRON, "tie_word_embeddings", True),
        (NEMOTRON, "attention_bias", True),
        (NEMOTRON, "mlp_bias", True),
        (NEMOTRON, "mamba_proj_bias", True),
        (small("eurobert"), "architectures", ["EuroBertForSequenceClassification"]),
        (small("helium"), "head_dim", 20),
        (small("gemma4_text"), "use_bidirectional_attention", "all"),
        (small("gemma4_text"), "per_layer_config", {"9": {"head_dim": 8}}),
        (small("gemma4_text"), "per_layer_config", {"0": {"hidden_size": 8}}),
        (small("mimo_v2_flash"), "n_shared_experts", 1),
        (small("mimo_v2_flash"), "hybrid_layer_pattern", [1, 1, 1, 1, 0]),
    ],
)
def test_refused_by_the_key(
    tmp_path: Path, config: dict[str, Any], key: str, value: object
) -> None:
    operations(written(tmp_path, config))  # read without it
    with pytest.raises(InputError) as caught:
        load_model(written(tmp_path, config | {key: value}))
    other = {"hybrid_layer_pattern": "layer_types", "per_layer_config": str(caught.value.field)}
    assert caught.value.field == other.get(key, key)


def test_what_a_class_takes_where_a_key_is_absent_may_be_more_than_we_describe(
    tmp_path: Path,
) -> None:
    """Gemma 4's class has embeddings in every layer unless the file says 0."""
    config = small("gemma4_text")
    del config["hidden_size_per_layer_input"]
    with pytest.raises(InputError, match="is missing: the class takes 256") as caught:
        load_model(written(tmp_path, config))
    assert caught.value.field == "hidden_size_per_layer_input"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {
                "architectures": ["BertForMaskedLM"],
                "model_type": "bert",
                "hidden_size": 144,
                "intermediate_size": 200,
                "num_attention_heads": 6,
                "num_hidden_layers": 2,
                "vocab_size": 1201,
                "tie_word_embeddings": False,
            },
            "counts once",
        ),
        (T5 | {"tie_word_embeddings": False}, "a matrix of its own"),
        (LLAMA | {"architectures": ["LlamaForSequenceClassification"]}, "scores every token"),
    ],
)
def test_where_a_class_and_its_files_differ_a_note_says_so(
    tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    assert any(words in note for note in load_model(written(tmp_path, config)).notes)


def test_saved_files_of_gemma_number_their_layers_with_zeros_in_front(tmp_path: Path) -> None:
    plain = small("gemma4_unified_text", num_hidden_layers=12)
    own = {"head_dim": 64, "num_key_value_heads": 2}
    padded = plain | {"per_layer_config": {"05": own, "11": own}}
    short = plain | {"per_layer_config": {"5": own, "11": own}}
    counts = [
        operations(written(tmp_path, c), sequence_length=32).parameters[0] for c in (padded, short)
    ]
    assert counts[0] == counts[1]


def test_lists_of_experts_are_the_same_in_all_layers_or_refused(tmp_path: Path) -> None:
    mixed = small("hunyuan_v1_moe", moe_topk=[2, 2, 1, 2, 2])
    with pytest.raises(InputError, match="other numbers of experts") as refusal:
        load_model(str(written(tmp_path, mixed)))
    assert refusal.value.field == "moe_topk"
