"""Descriptions people already have: presets, Hugging Face, FlexiBERT, YAML, SCALE-Sim."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import pytest
from descriptions import BERT, FLEXIBERT, GPT2, LLAMA, MISTRAL, T5, VIT, refused, written
from hypothesis import given
from hypothesis import strategies as st

from elector.base.errors import InputError
from elector.describe.formats import list_models, load_model
from elector.describe.model import Block, Gemm, Model
from elector.evaluation.accelerators import load_accelerator

DATA = Path(__file__).resolve().parent.parent / "data"


def anonymous(model: Model) -> Model:
    """The model without what says where it came from."""
    return dataclasses.replace(model, name="", source="")


# Presets


def test_the_promised_presets_are_there() -> None:
    assert set(list_models()) >= {
        *(f"bert-{size}" for size in ("tiny", "mini", "small", "medium", "base", "large")),
        *("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "llama-2-7b", "mistral-7b"),
        *("t5-base", "vit-base", "encoder", "decoder"),
    }


@pytest.mark.parametrize("name", list_models())
def test_every_preset_is_whole_and_cites_its_source(name: str) -> None:
    model = load_model(name)
    assert model.name == name
    assert model.source
    if not model.pattern and not any(b.experts for b in model.blocks):
        assert all(b.heads * b.head_size % b.hidden == 0 for b in model.blocks)


@pytest.mark.parametrize(
    ("size", "layers", "hidden", "heads", "feed_forward"),
    [
        ("tiny", 2, 128, 2, 512),
        ("mini", 4, 256, 4, 1024),
        ("small", 4, 512, 8, 2048),
        ("medium", 8, 512, 8, 2048),
        ("base", 12, 768, 12, 3072),
        ("large", 24, 1024, 16, 4096),
    ],
)
def test_sizes_of_bert(size: str, layers: int, hidden: int, heads: int, feed_forward: int) -> None:
    model = load_model(f"bert-{size}")
    assert model.blocks == (Block(layers, hidden, heads, 64, heads, (feed_forward,)),)
    assert (model.vocabulary, model.positions, model.token_types) == (30522, 512, 2)
    assert model.head == "pooler"


def test_other_names_of_the_presets() -> None:
    assert load_model("bert-base-uncased") is load_model("bert-base")
    assert load_model("mistralai/Mistral-7B-v0.1").blocks[0].kv_heads == 8
    with (DATA.parent.parent / "elector/data/models/aliases.csv").open() as stream:
        for row in csv.DictReader(stream):
            assert load_model(row["alias"]).name == row["preset"]


@pytest.mark.parametrize(
    ("name", "guess"),
    [("bert-bas", "bert-base"), ("GPT2-XL", "gpt2-xl"), ("llama2-7b", "llama-2-7b")],
)
def test_an_unknown_preset_suggests_the_nearest(name: str, guess: str) -> None:
    with pytest.raises(InputError, match=f"unknown model.*did you mean {guess}") as caught:
        load_model(name)
    assert "allowed: bert-base, bert-large" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "guess"), [("l4", "l4-24gb"), ("T4", "t4-16gb"), ("h100", "h100-")]
)
def test_a_name_cut_to_its_first_word_suggests_one_that_begins_so(name: str, guess: str) -> None:
    with pytest.raises(InputError, match=f"unknown accelerator.*did you mean {guess}"):
        load_accelerator(name)


@pytest.mark.parametrize("name", ["", "\0", "x" * 5000, "no/such/bert-base.yaml", "."])
def test_names_that_are_no_model(name: str) -> None:
    with pytest.raises(InputError):
        load_model(name)


def test_a_missing_file_suggests_the_nearest_preset(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist") as caught:
        load_model(str(tmp_path / "bert_base.json"))
    assert "did you mean the preset bert-base?" in str(caught.value)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a directory"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("name", ["model.json", "model.yaml", "model.csv"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"\x7fELF\0\0", "binary"), ("é".encode()[:1], "UTF-8"), (b" " * (33 << 20), "larger than")],
)
def test_files_that_are_not_text(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=problem):
        load_model(str(path))


def test_an_unknown_kind_of_file(tmp_path: Path) -> None:
    refused(tmp_path, "x", "unknown kind of file", ".yaml", name="model.toml")


# Hugging Face configurations


@pytest.mark.parametrize(
    ("config", "preset", "head"),
    [
        (BERT, "bert-base", "masked-lm"),
        (BERT | {"architectures": ["BertModel"]}, "bert-base", "pooler"),
        (GPT2, "gpt2", "causal-lm"),
        (LLAMA, "llama-2-7b", "causal-lm"),
        (MISTRAL, "mistral-7b", "causal-lm"),
        (T5, "t5-base", "causal-lm"),
        (VIT, "vit-base", "classifier"),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else None,
)
def test_a_published_configuration_is_the_preset(
    tmp_path: Path, config: dict[str, Any], preset: str, head: str
) -> None:
    model = load_model(written(tmp_path, config))
    assert anonymous(model) == dataclasses.replace(anonymous(load_model(preset)), head=head)


@pytest.mark.parametrize(
    ("base", "architecture", "head"),
    [
        (BERT, "BertForQuestionAnswering", "question-answering"),
        (BERT, "BertForSequenceClassification", "classifier"),
        (GPT2, "GPT2Model", "none"),
        (T5, "T5WithLMHeadModel", "causal-lm"),
        (VIT, "ViTModel", "pooler"),
    ],
)
def test_the_class_decides_the_head(
    tmp_path: Path, base: dict[str, Any], architecture: str, head: str
) -> None:
    config = base | {"architectures": [architecture]}
    assert load_model(written(tmp_path, config)).head == head
    del config["architectures"]
    default = {"bert": "pooler", "gpt2": "causal-lm", "t5": "causal-lm", "vit": "pooler"}
    assert load_model(written(tmp_path, config)).head == default[config["model_type"]]


def test_labels_of_a_classifier(tmp_path: Path) -> None:
    config = BERT | {"architectures": ["BertForSequenceClassification"]}
    assert load_model(written(tmp_path, config)).labels == 2
    config["id2label"] = {"0": "a", "1": "b", "2": "c"}
    assert load_model(written(tmp_path, config)).labels == 3


def test_roberta_and_distilbert(tmp_path: Path) -> None:
    config = BERT | {"model_type": "roberta", "architectures": ["RobertaForMaskedLM"]}
    config |= {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
    model = load_model(written(tmp_path, config))
    assert (model.vocabulary, model.positions, model.token_types) == (50265, 514, 1)
    config = {
        "model_type": "distilbert",
        "vocab_size": 30522,
        "dim": 768,
        "n_layers": 6,
        "n_heads": 12,
        "hidden_dim": 3072,
        "activation": "gelu",
        "dropout": 0.1,
    }
    model = load_model(written(tmp_path, config))
    assert model.blocks == (Block(6, 768, 12, 64, 12, (3072,)),)
    assert (model.token_types, model.head) == (0, "none")


def test_keys_that_change_the_architecture_are_read(tmp_path: Path) -> None:
    def load(config: dict[str, Any]) -> Model:
        return load_model(written(tmp_path, config))

    llama3 = load(LLAMA | {"num_key_value_heads": 8, "head_dim": 64, "tie_word_embeddings": True})
    assert llama3.blocks[0].kv_heads == 8
    assert llama3.blocks[0].head_size == 64
    assert llama3.tied_embeddings
    biased = load(LLAMA | {"attention_bias": True, "mlp_bias": True})
    assert (biased.attention_bias, biased.output_bias, biased.feed_forward_bias) == (True,) * 3
    assert load(MISTRAL | {"sliding_window": None}).blocks[0].window == 0
    assert load(MISTRAL).blocks[0].window == 4096
    del (older := dict(LLAMA))["num_key_value_heads"]
    assert load(older).blocks[0].kv_heads == 32
    flan = load(T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False})
    assert (flan.gated, flan.activation, flan.tied_embeddings) == (True, "gelu", False)
    uneven = load(T5 | {"num_decoder_layers": 3})
    assert [block.repeat for block in uneven.blocks] == [12, 3]
    assert load(GPT2 | {"n_inner": 1000}).blocks[0].feed_forward == (1000,)
    assert not load(VIT | {"qkv_bias": False}).attention_bias
    assert load(VIT | {"image_size": 384}).positions == 577
    assert load(BERT | {"position_embedding_type": "relative_key"}).position_kind == "relative-key"
    assert not load(BERT | {"hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0}).dropout


@pytest.mark.parametrize(
    ("base", "changed", "parts"),
    [
        (
            BERT,
            {"model_type": "brt"},
            ("model_type", "'brt'", "not supported", "did you mean bert?"),
        ),
        (BERT, {"model_type": "xlnet"}, ("model type is not supported", "'xlnet'")),
        (LLAMA, {"model_type": "lama"}, ("did you mean llama?", "reference-models.md")),
        (LLAMA, {"num_local_experts": 8}, ("num_local_experts", "llama", "--ignore-key")),
        (BERT, {"model_type": None}, ("model_type: is missing",)),
        (BERT, {"foo_bar": False}, ("foo_bar", "not known", "--ignore-key foo_bar")),
        (MISTRAL, {"sliding_window": 0}, ("sliding_window", "a window of 0")),
        (LLAMA, {"kv_lora_rank": 512}, ("kv_lora_rank", "not read by the class of llama")),
        (BERT, {"model_type": 7}, ("model_type", "not supported")),
        (BERT, {"model_type": ["bert"]}, ("model_type", "not supported")),
        (BERT, {"architectures": {"BertModel": 1}}, ("architectures", "not supported")),
        (BERT, {"architectures": ["BertLMHeadModel"]}, ("architectures", "BertForMaskedLM")),
        (BERT, {"is_encoder_decoder": True}, ("is_encoder_decoder", "would change")),
        (BERT, {"is_decoder": True}, ("is_decoder",)),
        (BERT, {"add_cross_attention": True}, ("add_cross_attention",)),
        (BERT, {"pruned_heads": {"0": [1]}}, ("pruned_heads",)),
        (BERT, {"embedding_size": 128}, ("embedding_size",)),
        (BERT, {"hidden_act": "geglu"}, ("hidden_act", "unknown activation", "did you mean gelu")),
        (BERT, {"hidden_act": ["gelu"]}, ("hidden_act",)),
        (BERT, {"position_embedding_type": "relative_key_query"}, ("position_embedding_type",)),
        (BERT, {"hidden_size": 0}, ("hidden_size", "at least 1")),
        (BERT, {"hidden_size": -768}, ("hidden_size", "at least 1")),
        (BERT, {"hidden_size": "768"}, ("hidden_size", "whole number")),
        (BERT, {"hidden_size": 768.5}, ("hidden_size", "whole number")),
        (BERT, {"hidden_size": True}, ("hidden_size", "whole number")),
        (BERT, {"hidden_size": None}, ("hidden_size: is missing",)),
        (BERT, {"hidden_size": [768]}, ("hidden_size",)),
        (BERT, {"num_attention_heads": 10}, ("num_attention_heads", "do not divide")),
        (BERT, {"hidden_dropout_prob": 2}, ("hidden_dropout_prob", "from 0 to 1")),
        (BERT, {"tie_word_embeddings": "yes"}, ("tie_word_embeddings", "true or false")),
        (LLAMA, {"num_key_value_heads": 5}, ("num_key_value_heads", "do not divide")),
        (LLAMA, {"num_attention_heads": 31, "num_key_value_heads": 31}, ("num_attention_heads",)),
        (MISTRAL, {"mlp_bias": True}, ("mlp_bias",)),
        (T5, {"is_encoder_decoder": False}, ("is_encoder_decoder",)),
        (T5, {"architectures": ["T5ForTokenClassification"]}, ("T5ForTokenClassification",)),
        (T5, {"feed_forward_proj": "gated-mish"}, ("feed_forward_proj", "gated-gelu")),
        (VIT, {"patch_size": 300}, ("patch_size", "larger than the image")),
        (VIT, {"pooler_output_size": 5}, ("pooler_output_size",)),
    ],
)
def test_a_bad_configuration_is_refused(
    tmp_path: Path, base: dict[str, Any], changed: dict[str, Any], parts: tuple[str, ...]
) -> None:
    refused(tmp_path, base | changed, *parts)


def test_a_configuration_without_a_model_type(tmp_path: Path) -> None:
    old = {k: v for k, v in BERT.items() if k not in ("model_type", "architectures")}
    refused(tmp_path, old, "model_type: is missing")


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "vocab_size"])
def test_a_missing_size_is_named(tmp_path: Path, key: str) -> None:
    refused(tmp_path, {k: v for k, v in BERT.items() if k != key}, f"{key}: is missing")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (json.dumps(BERT)[:-20], "is not valid JSON"),
        ('{"model_type": "bert", "model_type": "bert"}', "model_type: duplicate key"),
        ('{"hidden_size": NaN}', "must be finite"),
        ("[1, 2]", "must hold a mapping"),
        ("", "is not valid JSON"),
    ],
)
def test_broken_json(tmp_path: Path, text: str, problem: str) -> None:
    refused(tmp_path, text, problem)


def test_a_checkpoints_configuration_takes_its_folders_name(tmp_path: Path) -> None:
    assert load_model(written(tmp_path, BERT, "config.json")).name == tmp_path.name


# FlexiBERT dictionaries


def test_a_flexibert_dictionary(tmp_path: Path) -> None:
    model = load_model(written(tmp_path, FLEXIBERT))
    assert model.blocks == (
        Block(2, 128, 2, 64, 2, (512,), head_types=(1, 1, 0, 0, 0, 0, 0)),
        Block(1, 128, 6, 21, 6, (1024, 2048), head_types=(0, 0, 1, 1, 1, 1, 2)),
    )
    assert (model.vocabulary, model.positions) == (50265, 514)
    assert (model.position_kind, model.head) == ("relative-key", "pooler")


def test_a_flexibert_dictionary_as_yaml_and_without_sizes(tmp_path: Path) -> None:
    text = "l: 1\no: [[" + ", ".join(["sa_sdp"] * 12) + "]]\nh: [512]\nf: [[1024]]\n"
    model = load_model(written(tmp_path, text, "model.yaml"))
    assert model.blocks[0].head_size == 42  # 512 // 12


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"l": 4}, ("o: has 3 entries for 4 layers", "l is 4, o has 3 entries, h has 3")),
        ({"h": [128]}, ("h: has 1 entry for 3 layers", "o has 3 entries, h has 1 entry")),
        ({"h": [128, 128]}, ("h: has 2 entries for 3 layers",)),
        ({"f": [[512], [512]]}, ("f: has 2 entries",)),
        ({"l": 0}, ("l: must be at least 1",)),
        ({"l": "three"}, ("l: is not a number",)),
        ({"h": 128}, ("h: must be a list",)),
        ({"h": [128, 0, 128]}, ("h[1]: must be at least 1",)),
        ({"h": [128, "x", 128]}, ("h[1]: is not a number",)),
        ({"f": [[512], [], [512]]}, ("f[1]: is empty",)),
        ({"f": [[512], [-1], [512]]}, ("f[1]: must be at least 1",)),
        ({"o": [[], ["sa_sdp_64"], ["sa_sdp_64"]]}, ("o[0]: must be a list of heads",)),
        (
            {"o": [["sa_sdp_64", "sa_sdq_64"], ["c_5_64"], ["c_5_64"]]},
            ("o[0][1]: unknown head", "did you mean sa_sdp_64"),
        ),
        (
            {"o": [["c_7_64"], ["c_5_64"], ["c_5_64"]]},
            ("o[0][0]: unknown kernel of a convolution head", "did you mean c_", "c_13_64"),
        ),
        ({"o": [["c_5_64_1"], ["c_5_64"], ["c_5_64"]]}, ("o[0][0]: unknown head",)),
        ({"o": [[7], ["c_5_64"], ["c_5_64"]]}, ("o[0][0]: unknown head",)),
        ({"o": [["c_5_x"], ["c_5_64"], ["c_5_64"]]}, ("o[0][0]: is not a number",)),
        ({"o": [["c_5_64", "c_5_32"], ["c_5_64"], ["c_5_64"]]}, ("o[0]: heads of one layer",)),
        ({"o": [["c_5"] * 200, ["c_5_64"], ["c_5_64"]]}, ("o[0]: 200 heads are too many",)),
        ({"n": [2, 2, 2]}, ("unknown key", "'n'")),
    ],
)
def test_a_bad_dictionary_names_the_entry(
    tmp_path: Path, changed: dict[str, Any], parts: tuple[str, ...]
) -> None:
    refused(tmp_path, FLEXIBERT | changed, *parts)


@pytest.mark.parametrize("key", ["l", "o", "h", "f"])
def test_a_dictionary_needs_all_its_keys(tmp_path: Path, key: str) -> None:
    refused(tmp_path, {k: v for k, v in FLEXIBERT.items() if k != key}, f"{key}: ")


# Our own files


def test_sizes_on_a_generic_base(tmp_path: Path) -> None:
    model = load_model(written(tmp_path, "base: encoder\nlayers: 6\nhidden: 512\n", "six.yaml"))
    assert model.name == "six"
    assert model.blocks == (Block(6, 512, 8, 64, 8, (2048,)),)
    assert model.vocabulary == 30522
    text = "base: decoder\nhidden: 256\nheads: 2\nfeed_forward: 100\nvocabulary: 1000\n"
    model = load_model(written(tmp_path, text, "model.yaml"))
    assert model.blocks == (Block(12, 256, 2, 128, 2, (100,), causal=True),)
    assert (model.vocabulary, model.head) == (1000, "causal-lm")


def test_any_preset_may_be_the_base(tmp_path: Path) -> None:
    text = "base: mistral-7b\nname: small-mistral\nlayers: 2\nhead: none\n"
    model = load_model(written(tmp_path, text, "model.yaml"))
    assert model.name == "small-mistral"
    assert model.blocks[0] == dataclasses.replace(load_model("mistral-7b").blocks[0], repeat=2)
    assert model.head == "none"


def test_a_list_of_blocks(tmp_path: Path) -> None:
    text = """
base: encoder
blocks:
  - {repeat: 2, hidden: 128, heads: 2, feed_forward: [256, 512]}
  - {hidden: 256, heads: 4, feed_forward: 1024, head_types: {sdp: 3, dft: 1}}
"""
    model = load_model(written(tmp_path, text, "model.yaml"))
    assert model.blocks == (
        Block(2, 128, 2, 64, 2, (256, 512)),
        Block(1, 256, 4, 64, 4, (1024,), head_types=(3, 0, 1, 0, 0, 0, 0)),
    )


def test_a_list_of_products(tmp_path: Path) -> None:
    text = "gemms:\n- {name: a, m: 1, n: 2, k: 3}\n- {m: 4, n: 5, k: 6, count: 7}\n"
    model = load_model(written(tmp_path, text, "model.yaml"))
    assert model.family == "gemm"
    assert model.gemms == (Gemm("a", 1, 2, 3), Gemm("gemm1", 4, 5, 6, 7))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("base: encoder\nlayer: 6\n", ("unknown key", "did you mean layers?")),
        ("base: enc0der\n", ("base: unknown preset", "did you mean encoder?")),
        ("base: [encoder]\n", ("base: unknown preset",)),
        ("base: encoder\nlayers: 2\nlayers: 3\n", ("line 3", "duplicate key 'layers'")),
        ("base: encoder\nlayers: two\n", ("layers: is not a number",)),
        ("base: encoder\nlayers: 0\n", ("layers: must be at least 1",)),
        ("base: encoder\nhidden: -768\n", ("hidden: must be at least 1",)),
        ("base: encoder\nhidden: 1.5\n", ("hidden: must be a whole number",)),
        ("base: encoder\nhidden: .nan\n", ("hidden: must be finite",)),
        ("base: encoder\nhidden: 1e99\n", ("hidden: must be at most",)),
        ("base: encoder\nhidden: [768]\n", ("hidden: is not a number",)),
        ("base: encoder\nhidden:\n", ("hidden: needs a value",)),
        ("base: encoder\nheads: 7\n", ("heads: 7 heads do not divide a hidden width of 768",)),
        ("base: encoder\nhidden: 100\nheads: 3\n", ("do not divide",)),
        ("base: mistral-7b\nkv_heads: 5\n", ("kv_heads: 5 key/value heads do not divide",)),
        ("base: encoder\nhead: pooled\n", ("head: unknown choice", "did you mean pooler?")),
        ("base: encoder\nhead: causal-lm\n", ("head: a model of family encoder has no",)),
        ("base: encoder\nnorm: batch\n", ("norm: unknown choice", "layer, rms")),
        ("base: encoder\ngated: maybe\n", ("gated: must be true or false",)),
        ("base: encoder\nposition_kind: relative-bias\n", ("relative_buckets: is missing",)),
        ("family: encoder\nlayers: 2\n", ("hidden: is missing",)),
        ("layers: 2\nhidden: 128\nheads: 2\nfeed_forward: 512\n", ("family: is missing",)),
        (
            "family: decoder\nlayers: 1\nhidden: 8\nheads: 2\nfeed_forward: 8\nhead: causal-lm\n",
            ("vocabulary: is missing", "causal-lm needs it"),
        ),
        ("family: vision\nlayers: 1\nhidden: 8\nheads: 2\nfeed_forward: 8\n", ("patches",)),
        ("base: encoder\nblocks: 3\n", ("blocks: must be a list",)),
        ("base: encoder\nblocks: []\n", ("blocks: must be a list",)),
        ("base: encoder\nblocks: [3]\n", ("blocks[0]: must be a mapping",)),
        (
            "family: encoder-decoder\nvocabulary: 100\npositions: 9\nblocks:\n"
            "  - {repeat: 1, hidden: 8, heads: 1, feed_forward: 8}",
            ("blocks: has no decoder",),
        ),
        (
            "family: encoder-decoder\nvocabulary: 100\npositions: 9\nblocks:\n"
            "  - {repeat: 1, hidden: 8, heads: 1, feed_forward: 8, cross_attention: true}",
            ("blocks: has no encoder",),
        ),
        (
            "base: encoder\nlayers: 3\nblocks: [{hidden: 8, heads: 1, feed_forward: 8}]\n",
            ("layers: stands beside blocks",),
        ),
        ("base: encoder\nblocks: [{hidden: 8, heads: 1}]\n", ("blocks[0].feed_forward",)),
        ("base: encoder\nblocks: [{hidden: 8, heads: 3, feed_forward: 8}]\n", ("blocks[0].heads",)),
        ("base: encoder\nblocks: [{hiden: 8}]\n", ("blocks[0]: unknown key", "mean hidden?")),
        (
            "base: encoder\n"
            "blocks: [{hidden: 8, heads: 2, feed_forward: 8, head_types: {sdp: 1}}]\n",
            ("blocks[0].head_types: must add up to 2 heads",),
        ),
        ("gemms: []\n", ("gemms: must be a list",)),
        ("gemms: [{m: 1, n: 0, k: 1}]\n", ("gemms[0].n: must be at least 1",)),
        ("gemms: [{m: 1, n: 1}]\n", ("gemms[0].k: is missing",)),
        ("gemms: [{m: 1, n: 1, k: 1}]\nlayers: 2\n", ("unknown key", "'layers'")),
        ("gemms: [{m: 9999999999, n: 1, k: 1}]\n", ("gemms[0].m: must be at most",)),
        ("- base\n- encoder\n", ("must hold a mapping",)),
        ("7: 3\n", ("line 1", "a key must be plain text")),
        ("base: !!str encoder\n", ("line 1", "YAML tags")),
        ("a: &a [1]\nb: *a\n", ("line 1", "anchors and aliases")),
        ("", ("is empty",)),
    ],
)
def test_a_bad_file_of_ours(tmp_path: Path, text: str, parts: tuple[str, ...]) -> None:
    refused(tmp_path, text, *parts, name="model.yaml")


# Whatever is wrong, it is said, and nothing else happens

WHOLE = (BERT, GPT2, LLAMA, MISTRAL, T5, VIT, FLEXIBERT)
ODD = (None, True, 0, -1, 1.5, "x", "", [], {}, [1], {"a": 1}, 1e300, 2**70, "nan")


@given(st.sampled_from(WHOLE), st.randoms(use_true_random=False), st.lists(st.sampled_from(ODD)))
def test_a_spoilt_description_is_read_or_refused(
    config: dict[str, Any], random: Random, values: list[Any]
) -> None:
    spoilt = dict(config)
    for value in values[:3]:
        spoilt[random.choice(list(spoilt))] = value
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(InputError):
        load_model(written(Path(folder), spoilt))


@given(
    st.sampled_from(["model.yaml", "model.json", "model.csv"]),
    st.binary(max_size=40),
    st.integers(0, 200),
    st.sampled_from([json.dumps(FLEXIBERT), "base: encoder\nlayers: 6\n", "name,M,N,K\na,1,2,3\n"]),
)
def test_a_damaged_file_is_read_or_refused(name: str, junk: bytes, at: int, text: str) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(InputError):
        path = Path(folder) / name
        path.write_bytes(text.encode()[:at] + junk + text.encode()[at:])
        load_model(str(path))


# The tables that the counts of operations and parameters are checked against


@pytest.mark.parametrize("table", ["parameter_counts.csv", "flop_counts.csv"])
def test_the_counts_cover_every_preset(table: str) -> None:
    with (DATA / table).open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    counted = {row["preset"] for row in rows}
    # The applications of HpT have no class to count: their parameters are counted by hand.
    own = {name for name in list_models() if name.startswith("hpt-")}
    # Those of today are in test_model_types.
    with (DATA / "counts_of_today.csv").open(encoding="utf-8") as stream:
        today = {row["preset"] for row in csv.DictReader(stream)}
    assert counted == set(list_models()) - {"encoder", "decoder", "flexibert"} - own - today
    preset_heads = {(row["preset"], row["head"]) for row in rows}
    assert all((name, load_model(name).head) in preset_heads for name in counted)
