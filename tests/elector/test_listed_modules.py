"""Lists of modules: which have every matrix of the parts that they name."""

from __future__ import annotations

from typing import Any

import pytest

from elector.describe.formats.hf.listed_modules import wholly_listed
from elector.describe.model import Block, Model


def model(*blocks: Block, gated: bool = True, **fields: Any) -> Model:
    return Model("m", "decoder", blocks, gated=gated, **fields)


def block(repeat: int = 2, **fields: Any) -> Block:
    return Block(repeat, 64, 4, 16, 4, **({"feed_forward": (128,)} | fields))


def modules(*names: str, layers: range = range(2)) -> list[str]:
    return [f"model.layers.{i}.{name}" for i in layers for name in names]


LATENT = block(mixer="latent", q_lora_rank=8, kv_lora_rank=8)
DIRECT = block(mixer="latent", kv_lora_rank=8)
DELTA = block(mixer="delta")
KEYS = ("self_attn.kv_a_proj_with_mqa", "self_attn.kv_b_proj", "self_attn.o_proj")
QUERIES = ("self_attn.q_a_proj", "self_attn.q_b_proj")


@pytest.mark.parametrize(
    ("of", "names", "whole"),
    [
        (model(LATENT), (*QUERIES, *KEYS), True),
        (model(LATENT), (*QUERIES, *KEYS[1:]), False),
        (model(LATENT), (*QUERIES[1:], *KEYS), False),
        (model(LATENT), ("self_attn.fused_qkv_a_proj_with_mqa", QUERIES[1], *KEYS[1:]), True),
        (model(DIRECT), ("self_attn.q_proj", *KEYS), True),
        (model(DELTA), ("linear_attn.in_proj_qkvz", "linear_attn.out_proj"), False),
        (model(DELTA), ("linear_attn",), True),
        (model(block(mixer="mamba2")), ("mixer.in_proj", "mixer.out_proj"), True),
        (model(block(mixer="mamba2")), ("mixer.in_proj",), False),
        (model(block(shares_key=True)), tuple(f"self_attn.{m}_proj" for m in "qko"), True),
        (model(block()), tuple(f"self_attn.{m}_proj" for m in "qko"), False),
        (model(block(), gated=False), ("mlp.fc1", "mlp.fc2"), True),
        (model(block(), gated=False), ("mlp.w1", "mlp.w2"), True),
        (model(block()), ("mlp.gate_up_proj", "mlp.down_proj"), True),
        (model(block()), ("mlp.up_proj", "mlp.down_proj"), False),
        (model(block()), ("mlp.novel", "mlp.down_proj"), False),
        (model(block()), ("mlp.*",), True),
        (model(block()), (), True),
        (model(block()), ("mlp", "mlp.experts"), False),  # no layer has experts
    ],
)
def test_all_matrices_of_a_part_are_listed(of: Model, names: tuple[str, ...], whole: bool) -> None:
    assert wholly_listed([*modules(*names), "lm_head"], of) == whole


def test_each_layer_has_its_own_matrices() -> None:
    sparse = block(1, experts=2, experts_per_token=1, expert_feed_forward=32, shared_experts=1)
    both = model(block(1), sparse, pattern=(0, 1))
    dense = modules("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", layers=range(1))
    experts = modules("mlp.experts.0", "mlp.experts.1", layers=range(1, 2))
    assert wholly_listed([*dense, *experts], both)
    assert wholly_listed(
        [*dense, *experts, *modules("mlp.shared_expert", layers=range(1, 2))], both
    )
    assert not wholly_listed([*dense, *experts[:1]], both)
    assert not wholly_listed([*dense, *modules("mlp.experts")], both)
    # a layer behind the last predicts further tokens: it is not of the model
    assert wholly_listed([*dense, *experts, *modules("mlp.experts.0", layers=range(2, 3))], both)
    assert not wholly_listed(["model.layers.mlp"], both)
