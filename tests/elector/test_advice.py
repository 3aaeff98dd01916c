"""A refused configuration comes with the YAML that would express it, where ours can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import operations
from descriptions import BERT, LLAMA, T5, VIT, written

from elector.base.errors import InputError
from elector.describe.formats import list_models, load_model
from elector.describe.formats.described import from_mapping
from elector.describe.formats.hf.advice import brief
from elector.describe.formats.hf.types import kinds, refused

#: Widths of LLAMA: 32 layers of 4096 in 32 heads of 128, a feed-forward of 11008.
WIDTH, LAYERS, INNER = 4096, 32, 11008


def hint(folder: Path, config: dict[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        load_model(written(folder, config))
    return str(caught.value)


def parameters(folder: Path, said: str) -> int:
    """Parameters of the model that the YAML of a hint describes."""
    text = said[said.index(": {") + 2 :].split("\n")[0]
    path = folder / "advised.yaml"
    path.write_text(text, encoding="utf-8")
    assert isinstance(yaml.safe_load(text), dict)
    return int(operations(str(path)).parameters[0])


@pytest.mark.parametrize(
    ("added", "more"),
    [
        # a gate as wide as queries; two norms of a head; biases of q, k, v and the output
        ({"attn_output_gate": True}, LAYERS * WIDTH * WIDTH),
        ({"use_qk_norm": True}, LAYERS * 2 * 128),
        ({"qkv_bias": True, "attention_output_bias": True}, LAYERS * 4 * WIDTH),
        ({"sliding_window": 512}, 0),
        # eight experts of 1408 and a router in the place of the feed-forward
        (
            {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 1408},
            LAYERS * (8 * 3 * WIDTH * 1408 + 8 * WIDTH - 3 * WIDTH * INNER),
        ),
    ],
)
def test_keys_of_another_class_are_said_in_our_words(
    tmp_path: Path, added: dict[str, Any], more: int
) -> None:
    said = hint(tmp_path, LLAMA | added)
    plain = int(operations(written(tmp_path, LLAMA)).parameters[0])
    assert parameters(tmp_path, said) == plain + more
    assert all(key in said for key in added) and "--ignore-key" in said


@pytest.mark.parametrize(("config", "like"), [(LLAMA, "llama"), (BERT, "bert"), (VIT, "vit")])
def test_an_unknown_type_of_plain_layers(tmp_path: Path, config: dict[str, Any], like: str) -> None:
    ending = {"llama": "ForCausalLM", "bert": "ForMaskedLM", "vit": "ForImageClassification"}[like]
    known = config | {"architectures": [config["architectures"][0].partition("For")[0] + ending]}
    unknown = known | {"model_type": "brand_new", "architectures": [f"BrandNew{ending}"]}
    said = hint(tmp_path, unknown)
    assert f"if its layers are those of {like}" in said and "elector import" in said
    assert parameters(tmp_path, said) == operations(written(tmp_path, known)).parameters[0]


def test_what_yaml_leaves_out_is_named(tmp_path: Path) -> None:
    said = hint(tmp_path, LLAMA | {"model_type": "brand_new", "hash_layers": 3})
    assert "without what hash_layers would change" in said
    said = hint(tmp_path, LLAMA | {"hidden_act": "mish"})
    assert "without what hidden_act would change" in said


@pytest.mark.parametrize(
    "config",
    [
        LLAMA | {"foo_bar": 3},  # nobody knows what it means: reading past it says as much
        LLAMA | {"hidden_size": "wide"},  # wrong, not refused
        LLAMA | {"model_type": "brand_new", "sparse": {"top": 3}},  # an architecture of its own
        LLAMA | {"model_type": "brand_new"} | {f"part_{i}": i + 1 for i in range(9)},
        T5 | {"model_type": "brand_new"},  # nobody can tell what its layers are like
    ],
)
def test_no_yaml_where_it_would_be_another_model(tmp_path: Path, config: dict[str, Any]) -> None:
    assert "as YAML" not in hint(tmp_path, config)


@pytest.mark.parametrize("name", [n for n in list_models() if n != "flexibert"])
def test_brief_files_are_the_same_models(name: str) -> None:
    model = load_model(name)
    mapping = brief(model)
    assert from_mapping(mapping, name, None).blocks == model.blocks
    assert len(str(mapping)) <= 1100 or model.pattern, mapping


def test_short_files_have_no_list_of_blocks() -> None:
    assert brief(load_model("mistral-7b"))["window"] == 4096
    assert brief(load_model("deepseek-v3"))["dense_layers"] == 3
    assert not {"blocks", "pattern"} & set(brief(load_model("deepseek-v3")))


def test_a_known_type_that_is_refused_says_what_is_not_described() -> None:
    reasons = refused()
    assert not set(reasons) & set(kinds())
    assert all("(" in reason for reason in reasons.values())


@pytest.mark.parametrize(
    ("kind", "key"),
    [("deepseek_v4", "compress_ratios"), ("longcat_flash", "zero_expert_num"), ("swin", "window")],
)
def test_the_key_that_matters_is_named(tmp_path: Path, kind: str, key: str) -> None:
    said = hint(tmp_path, {"model_type": kind, "architectures": ["X"]})
    assert "not described" in said and key in said


def test_types_that_are_not_described_get_no_advice(tmp_path: Path) -> None:
    """Plain layers would be another model."""
    for kind in sorted(refused()):
        assert "as YAML" not in hint(tmp_path, LLAMA | {"model_type": kind})


def test_a_window_that_is_switched_off_is_none(tmp_path: Path) -> None:
    off = {"model_type": "brand_new", "sliding_window": 512, "use_sliding_window": False}
    said = hint(tmp_path, LLAMA | off)
    assert "as YAML" in said and "window" not in said[said.index(": {") :].split("\n")[0]
