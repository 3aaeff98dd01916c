"""Models of several parts: the text model alone is counted, tied as the whole's class ties it.

Parameters are those of the text model and its head in the class of transformers 5.24.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builders import operations
from descriptions import written

from elector.base.errors import InputError
from elector.describe.formats import load_model
from elector.describe.formats.hf.types import kinds, parts

TEXT: dict[str, Any] = {
    "hidden_size": 144,
    "intermediate_size": 200,
    "num_hidden_layers": 5,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "vocab_size": 1201,
    "max_position_embeddings": 128,
}
TIE = "tie_word_embeddings"
TOWER = {"hidden_size": 32, "patch_size": 14}
#: Parameters of five layers of each text model, and of its table of words.
LAYERS = {
    "llava": 917_568,
    "llava_next": 917_568,
    "qwen2_5_vl": 919_008,
    "internvl": 919_008,
    "qwen2_audio": 919_008,
    "voxtral": 2_265_408,  # as its class has it: heads of 128
    "paddleocr_vl": 2_265_408,  # heads of 128
}
WORDS = 1201 * 144


def whole(kind: str, **more: Any) -> dict[str, Any]:
    config = {"model_type": kind, "text_config": dict(TEXT), "vision_config": dict(TOWER)}
    return config | {"architectures": [parts()[kind].classes + "ForConditionalGeneration"]} | more


def parameters(folder: Path, config: dict[str, Any]) -> int:
    return int(operations(written(folder, config), sequence_length=16).parameters[0])


@pytest.mark.parametrize(
    ("kind", "outer", "inner", "tied"),
    [
        ("llava_next", None, None, False),
        ("llava_next", None, True, False),
        ("llava_next", True, False, True),
        ("llava", None, True, True),
        ("llava", False, True, True),
        ("llava", None, None, False),
        ("internvl", None, None, True),
        ("internvl", None, False, True),
        ("internvl", False, True, False),
        ("qwen2_5_vl", False, True, True),
        ("qwen2_5_vl", True, None, True),
        ("qwen2_5_vl", None, None, False),
        ("qwen2_audio", True, True, False),
        ("voxtral", None, None, False),
        ("paddleocr_vl", False, None, True),
        ("paddleocr_vl", False, False, False),
        ("paddleocr_vl", None, False, True),
    ],
)
def test_ties_are_those_of_the_class(
    tmp_path: Path, kind: str, outer: bool | None, inner: bool | None, tied: bool
) -> None:
    config = whole(kind, **({} if outer is None else {TIE: outer}))
    config["text_config"] |= {} if inner is None else {TIE: inner}
    assert parameters(tmp_path, config) == LAYERS[kind] + (0 if tied else WORDS)


def test_the_tower_is_said_to_be_left_out(tmp_path: Path) -> None:
    notes = load_model(written(tmp_path, whole("llava"))).notes
    assert any("images (vision_config) is left out" in note for note in notes)


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl"])
def test_older_files_have_the_text_models_keys_beside_the_rest(tmp_path: Path, kind: str) -> None:
    nested = whole(kind, **{TIE: True}, image_token_id=5)
    flat = {key: value for key, value in nested.items() if key != "text_config"} | TEXT
    assert parameters(tmp_path, flat) == parameters(tmp_path, nested) == LAYERS["qwen2_5_vl"]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"foo_layers": 3}, "foo_layers"),
        ({TIE: "yes"}, TIE),
        ({"architectures": ["LlavaForSpeech"]}, "architectures"),
        ({"text_config": {**TEXT, "model_type": "mllama_text_model"}}, "text_config.model_type"),
        ({"text_config": {**TEXT, "bar": 2}}, "text_config.bar"),
    ],
)
def test_refused_by_the_key(tmp_path: Path, changed: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        load_model(written(tmp_path, whole("llava", **changed)))
    assert caught.value.field == field


def test_names_of_classes_with_and_without_marks(tmp_path: Path) -> None:
    """Kimi K2.5 is KimiK25... in its published files, Kimi_K25... in transformers."""
    latent = {
        "num_key_value_heads": 6,
        "n_routed_experts": 6,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 40,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "kv_lora_rank": 48,
        "q_lora_rank": 56,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 20,
    }
    names = ("KimiK25ForConditionalGeneration", "Kimi_K25ForConditionalGeneration")
    config = whole("kimi_k25", **{TIE: False}, projection_hidden_size=32)
    config["text_config"] |= latent
    counts = {parameters(tmp_path, config | {"architectures": [name]}) for name in names}
    assert counts == {1_180_888}


def test_every_row_names_a_text_model() -> None:
    for kind, row in parts().items():
        assert row.text in kinds() and row.rule in ("outer", "inner", "either", "never"), kind


@pytest.mark.parametrize(
    ("kind", "layers"), [("qwen2_5_omni", 919_008), ("qwen3_omni_moe", 1_008_528)]
)
def test_of_models_that_talk_the_thinking_part_is_read(
    tmp_path: Path, kind: str, layers: int
) -> None:
    experts = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 40}
    text = TEXT | {"head_dim": 24} | (experts if kind == "qwen3_omni_moe" else {})
    thinker = {"text_config": text, "audio_config": {"d_model": 32}, "audio_token_index": 9}
    config = {"model_type": kind, "thinker_config": thinker, "talker_config": {"hidden_size": 8}}
    ops = operations(written(tmp_path, config), sequence_length=16)
    assert ops.parameters[0] == layers + WORDS
    notes = load_model(str(written(tmp_path, config))).notes
    assert any("talker_config" in note for note in notes)
    assert any("audio_config" in note for note in notes)
    with pytest.raises(InputError, match="foo"):
        load_model(str(written(tmp_path, config | {"foo": 1})))
    with pytest.raises(InputError, match="thinker_config"):
        load_model(str(written(tmp_path, {"model_type": kind})))


def test_flat_files_say_once_whether_head_and_table_are_one(tmp_path: Path) -> None:
    flat = TEXT | {"model_type": "paddleocr_vl", "head_dim": 24, "vision_config": dict(TOWER)}
    assert parameters(tmp_path, flat | {TIE: False}) == 917_568 + WORDS
    assert parameters(tmp_path, flat | {TIE: True}) == 917_568


@pytest.mark.parametrize(
    ("kind", "text", "count"),
    [
        # as published: LLaVA 1.5 7B, Qwen2-Audio 7B, Gemma 3 4B, Voxtral Mini's defaults
        ("llava", {"model_type": "llama", "vocab_size": 32064}, 6_738_939_904),
        (
            "gemma3",
            {
                "model_type": "gemma3_text",
                "hidden_size": 2560,
                "intermediate_size": 10240,
                "num_hidden_layers": 34,
                "sliding_window": 1024,
            },
            3_880_263_168,
        ),
        ("voxtral", {"model_type": "llama"}, 4_014_136_320),
    ],
)
def test_files_say_of_the_text_model_what_its_class_has_not(
    tmp_path: Path, kind: str, text: dict[str, Any], count: int
) -> None:
    config = whole(kind) | {"text_config": text}
    assert parameters(tmp_path, config) == count
    notes = load_model(str(written(tmp_path, config))).notes
    assert any(
        "those of its class" in note and "num_attention_heads 32" in note for note in notes
    ) or (kind == "gemma3" and any("num_attention_heads 8" in note for note in notes))


@pytest.mark.parametrize(
    ("kind", "text", "count"),
    [
        # each as transformers 5.24 builds it, head apart from the table of words
        ("llava", {"model_type": "mistral"}, 7_241_732_096),
        ("mistral3", {"model_type": "mistral"}, 7_241_732_096),
        ("internvl", {"model_type": "llama"}, 6_738_415_616),
        ("idefics3", {"model_type": "qwen2", "num_hidden_layers": 32}, 12_049_846_272),
        ("llava", {"model_type": "phi3"}, 3_821_079_552),
        ("llava", {"model_type": "gemma"}, 8_537_680_896 + 256_000 * 3072),
        ("blip-2", {"model_type": "gpt2"}, 124_439_808 + 50_257 * 768),
        ("instructblip", {"model_type": "mixtral"}, 46_702_792_704),
    ],
)
def test_sizes_left_to_the_class_are_those_of_the_text_models_own(
    tmp_path: Path, kind: str, text: dict[str, Any], count: int
) -> None:
    # the class that the file names, not the one that this whole has where it names none
    config = whole(kind) | {"text_config": text | {TIE: False}, TIE: False}
    assert parameters(tmp_path, config) == count
    notes = load_model(str(written(tmp_path, config))).notes
    assert any("those of its class" in note for note in notes)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("glmasr", "qwen2"),  # it would hand sizes of its own to that class
        ("voxtral", "mistral"),
        ("gemma3", "llama"),  # it builds one class, whatever the file names
        ("granite_docling", "llama"),
        ("llava", "t5"),  # sizes that nobody here has
    ],
)
def test_sizes_that_no_class_is_known_to_have_are_asked_for(
    tmp_path: Path, kind: str, text: str
) -> None:
    config = whole(kind) | {"text_config": {"model_type": text}}
    with pytest.raises(InputError, match="is missing"):
        load_model(str(written(tmp_path, config)))


@pytest.mark.parametrize("kind", ["instructblip", "blip-2", "aria"])
def test_a_complete_text_model_takes_nothing_from_the_class(tmp_path: Path, kind: str) -> None:
    config = whole(kind) | {"text_config": TEXT | {"model_type": "llama"}}
    # five layers with one table of words, or with two
    assert parameters(tmp_path, config) in (917_568, 917_568 + WORDS)
    notes = load_model(str(written(tmp_path, config))).notes
    assert not any("those of its class" in note for note in notes)


def test_a_size_of_null_is_none(tmp_path: Path) -> None:
    config = whole("llava") | {"text_config": TEXT | {"hidden_size": None}}
    with pytest.raises(InputError, match="hidden_size"):
        load_model(str(written(tmp_path, config)))
