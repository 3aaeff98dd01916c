"""Low-rank training of latent attention, scans and short convolutions, as autograd does it.

Counted with PyTorch's flop counter on the classes of transformers 5.24 in eager mode, forward and
backward of the sum of the logits at 32 tokens, every parameter frozen but the pairs. Here the
vocabulary head trains, too: its weight gradient comes on top. Products of scans depend on how
they are written, so that of Mamba-2 the linear layers are compared (aten.mm).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builders import operations
from descriptions import written

import elector
from elector.base.errors import InputError
from elector.describe.workload import lora_rank
from elector.operations.roles import NEVER_PACKED, Role

RANK, TOKENS, WORDS = 4, 32, 1201
COMMON: dict[str, Any] = {"vocab_size": WORDS, "tie_word_embeddings": False, "hidden_act": "silu"}
LATENT = COMMON | {
    "model_type": "deepseek_v3",
    "architectures": ["DeepseekV3ForCausalLM"],
    "attention_dropout": 0.0,
    "hidden_size": 252,
    "intermediate_size": 333,
    "moe_intermediate_size": 96,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "num_hidden_layers": 3,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 3,
    "kv_lora_rank": 48,
    "q_lora_rank": 72,
    "qk_nope_head_dim": 20,
    "qk_rope_head_dim": 12,
    "v_head_dim": 28,
}
MAMBA = COMMON | {
    "model_type": "mamba2",
    "architectures": ["Mamba2ForCausalLM"],
    "num_heads": 8,
    "head_dim": 32,
    "hidden_size": 128,
    "state_size": 16,
    "num_hidden_layers": 3,
    "expand": 2,
    "conv_kernel": 4,
    "n_groups": 2,
    "chunk_size": 16,
}
CONVOLUTION = {
    "model_type": "lfm2",
    "architectures": ["Lfm2ForCausalLM"],
    "vocab_size": WORDS,
    "tie_word_embeddings": False,
    "hidden_size": 128,
    "intermediate_size": 300,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "block_auto_adjust_ff_dim": False,
    "conv_L_cache": 3,
    "layer_types": ["conv", "full_attention", "conv", "full_attention"],
}
#: Of the short convolutions' class, pairs of the projections out were not counted: they share
#: their name with those of attention. Forward, and gradients of both matrices and operands.
OUT = 2 * 3 * TOKENS * RANK * (128 + 128)


@pytest.mark.parametrize(
    ("config", "parameters", "counted", "linear"),
    [
        (LATENT, 1_679_616, 89_573_376, False),
        (MAMBA, 649_320, 29_336_576, True),
        (CONVOLUTION, 1_007_360 + 2 * RANK * (128 + 128), 53_157_888 + OUT, True),
    ],
)
def test_pairs_and_their_gradients_are_those_of_autograd(
    tmp_path: Path, config: dict[str, Any], parameters: int, counted: int, linear: bool
) -> None:
    path = written(tmp_path, config)
    settings = {"mode": "training", "trainable": f"lora:{RANK}", "sequence_length": TOKENS}
    ops = operations(path, **settings)
    assert ops.parameters[0] == parameters
    done = ops.count * ops.batch * ops.m * ops.k * ops.n
    rows = [row.matmul and (row.kind == "linear" or not linear) for row in ops.rows]
    head = TOKENS * config["hidden_size"] * WORDS
    assert done[rows].sum() == counted + head


@pytest.mark.parametrize("config", [LATENT, MAMBA, CONVOLUTION])
def test_only_pairs_and_heads_have_states_of_the_optimizer(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    path = written(tmp_path, config)
    settings = {"workload.mode": "training", "workload.trainable": f"lora:{RANK}"}
    low = elector.simulate(path, "a100-sxm-80gb", settings=settings)
    plain = int(operations(path).parameters[0])
    trained = low["parameters"] - plain + config["hidden_size"] * WORDS
    assert low["memory_bytes"]["optimizer"] == 8 * trained


def test_a_device_trains_pairs_of_a_hybrid_that_it_could_not_train() -> None:
    settings = {"workload.mode": "training", "workload.trainable": "lora:8"}
    low = elector.simulate("nemotron-h-8b", "h100-sxm-80gb", settings=settings)
    whole = elector.simulate(
        "nemotron-h-8b", "h100-sxm-80gb", settings={"workload.mode": "training"}
    )
    assert low["feasible"] and not whole["feasible"]


def test_generated_tokens_read_the_pair_of_keys_and_values_merged(tmp_path: Path) -> None:
    path = written(tmp_path, LATENT)
    ops = operations(path, trainable=f"lora:{RANK}", generate=8)
    by_phase = {
        phase: {row.role for row in ops.rows if row.phase == phase}
        for phase in ("prefill", "decode")
    }
    assert Role.KEY_VALUE_UP_LOW_RANK_A in by_phase["prefill"]
    assert Role.KEY_VALUE_UP_LOW_RANK_A not in by_phase["decode"]
    assert Role.QUERY_LOW_RANK_A in by_phase["decode"]


def test_every_pair_stays_in_the_format_of_all_weights() -> None:
    assert {role for role in Role if "low-rank" in role.value} <= NEVER_PACKED


def test_a_rank_is_a_number() -> None:
    assert lora_rank("lora:12") == 12
    with pytest.raises(InputError, match="unknown trainable subset"):
        lora_rank("lora:0")
