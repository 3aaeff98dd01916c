"""Files whose parts are stored in several formats."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Any

import pytest
from descriptions import written
from quantized_llama import LLAMA, MATRICES, REST, weights

import elector
from elector.describe.formats import load_model
from elector.describe.formats.hf.quantization import quantization
from elector.evaluation.path import inspect
from elector.operations.roles import Role
from elector.studies.simulation import columns_of
from elector.technology import Technology

#: Modules of a layer's parts.
OF_PART = {
    "self_attn": [f"{name}_proj" for name in "qkvo"],
    "mlp": ["gate_proj", "up_proj", "down_proj"],
}


def listed(numbers: range = range(32), **words: str) -> dict[str, Any]:
    """What modelopt writes where modules of a layer are stored in several formats."""
    layers = {}
    for name, word in words.items():
        modules = [f"{name}.{matrix}" for matrix in OF_PART.get(name, ())]
        for module in modules or [name.replace("__", ".")]:
            places = (
                [module] if "head" in module else [f"model.layers.{i}.{module}" for i in numbers]
            )
            layers |= {place: {"quant_algo": word} for place in places}
    return {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": layers}


FEED_FORWARD, HEAD = 32 * 3 * 4096 * 11008, 32000 * 4096


@pytest.mark.parametrize(
    ("words", "bits", "said"),
    [
        (
            {"self_attn": "FP8", "mlp": "W4A16_NVFP4", "lm_head": "NVFP4"},
            (8, 4.5, 4.5),
            ("nvfp4", "attention in fp8", "head in nvfp4", "embeddings, norms and"),
        ),
        (
            {"self_attn": "MXFP8", "mlp": "MXFP8"},
            (8.25, 8.25, 16),
            ("mxfp8", "embeddings, heads, norms and"),
        ),
        ({"mlp": "NVFP4"}, (16, 4.5, 16), ("nvfp4", "heads, norms, attention and")),
        ({"self_attn": "FP8"}, (8, 16, 16), ("fp8", "heads, norms, feed forward and")),
        (
            {"self_attn": "W4A16_AWQ", "mlp": "FP8"},
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
    stored = listed(self_attn="FP8", mlp="NVFP4")
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
    words = {"self_attn": "FP8", "mlp": "NVFP4"}
    size, notes = weights(tmp_path, listed(range(4), **words))
    assert size == 2 * (MATRICES + REST)
    assert any("weights in mixed" in note and "not counted" in note for note in notes)


@pytest.mark.parametrize(
    "words",
    [
        {"mlp__up_proj": "NVFP4", "mlp__down_proj": "FP8"},  # a part in two formats
        {"mlp": "NVFP4", "novel": "FP8"},  # a module that nobody knows
        {"self_attn__q_proj": "FP8", "mlp": "NVFP4"},  # a part of which only some is listed
        {"self_attn": "FP8", "mlp__gate_proj": "NVFP4", "mlp__up_proj": "NVFP4"},
    ],
)
def test_parts_that_cannot_be_told_are_said(tmp_path: Path, words: dict[str, str]) -> None:
    size, notes = weights(tmp_path, listed(**words))
    assert size == 2 * (MATRICES + REST)
    assert any("weights in mixed" in note and "not counted" in note for note in notes)


#: Matrices of attention and of experts in the layers of MIXTRAL; tables, head, norms, routers.
ATTENTION, EXPERTS = 4 * (2 * 1024**2 + 2 * 1024 * 512), 4 * 8 * 3 * 1024 * 2048
OTHERS = 2 * 32000 * 1024 + 9 * 1024 + 4 * 8 * 1024
MIXTRAL = LLAMA | {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "hidden_size": 1024,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "num_hidden_layers": 4,
    "num_key_value_heads": 4,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}
QUERIES = [f"self_attn.{name}_proj" for name in "qkvo"]


@pytest.mark.parametrize(
    ("attention", "experts", "whole"),
    [
        (QUERIES, [f"experts.{e}.w{w}" for e in range(8) for w in (1, 2, 3)], True),
        (["self_attn"], ["experts"], True),
        (["self_attn.qkv_proj", "self_attn.o_proj"], [f"experts.{e}" for e in range(8)], True),
        (QUERIES, ["experts.gate_up_proj", "experts.down_proj"], True),
        (QUERIES, [f"experts.0.w{w}" for w in (1, 2, 3)], False),
        (QUERIES, [f"experts.{e}.w1" for e in range(8)], False),
        (QUERIES, [f"experts.{e}" for e in range(7)], False),
        (QUERIES[:1], ["experts"], False),
        (QUERIES[:3], ["experts"], False),
        (QUERIES, ["experts.gate_up_proj"], False),
    ],
)
def test_a_part_counts_once_all_its_modules_are_listed(
    tmp_path: Path, attention: list[str], experts: list[str], whole: bool
) -> None:
    words = dict.fromkeys(attention, "FP8")
    words |= {f"block_sparse_moe.{name}": "NVFP4" for name in experts}
    stored = listed(range(4), **words)
    size, notes = weights(tmp_path, stored, of=MIXTRAL)
    wide = 2 * (ATTENTION + EXPERTS + OTHERS)
    assert size == (ATTENTION + EXPERTS * 4.5 / 8 + 2 * OTHERS if whole else wide)
    assert any("weights in mixed" in note for note in notes) != whole


WIDE = "embeddings, heads, norms and biases stay in"


@pytest.mark.parametrize(
    ("words", "settings", "said"),
    [
        (  # products in the format of most matrices: nothing but attention is packed
            {"self_attn": "NVFP4", "experts": "FP8"},
            {"precision": "fp8"},
            [
                "the matrices of layers are stored in fp8, 8 bits a weight with scales; attention "
                f"in nvfp4, 4.5 bits; {WIDE} fp8"
            ],
        ),
        (  # products of 4 bits cannot read one of 8
            {"self_attn": "FP8", "experts": "NVFP4", "lm_head": "FP8"},
            {"precision": "nvfp4"},
            [
                "the matrices of layers are stored in nvfp4, 4.5 bits a weight with scales; "
                "embeddings, heads, norms, attention and biases stay in bf16",
                "the file stores head in fp8, attention in fp8 (modelopt), which is not counted "
                "here: head in bf16, attention in bf16",
            ],
        ),
        (  # who asks for a format gets it, also where the file has it in some parts only
            {"self_attn": "FP8", "experts": "NVFP4"},
            {"precision": "bf16", "weights": "nvfp4"},
            [
                "the matrices of layers are stored in nvfp4, 4.5 bits a weight with scales; "
                f"{WIDE} bf16",
                "the file stores attention in fp8 (modelopt), which is not counted here: attention "
                "in nvfp4",
            ],
        ),
        (
            {"lm_head": "FP8"},
            {"precision": "bf16"},
            [
                "the file stores head in fp8, 8 bits; embeddings, norms, experts, attention and "
                "biases stay in bf16"
            ],
        ),
        (
            {"lm_head": "FP8"},
            {"precision": "bf16", "weights": "same"},
            ["the file stores head in fp8 (modelopt), which is not counted here: head in bf16"],
        ),
        (
            {"self_attn": "FP8", "experts": "NVFP4"},
            {"precision": "bf16", "mode": "training"},
            [
                "the file stores weights in nvfp4 in groups of 16 (modelopt), which is not counted "
                "here: weights are stored in bf16",
                "the file stores attention in fp8 (modelopt), which is not counted here: attention "
                "in bf16",
            ],
        ),
    ],
)
def test_what_is_counted_and_what_not_is_said_part_by_part(
    tmp_path: Path, words: dict[str, str], settings: dict[str, str], said: list[str]
) -> None:
    file = tmp_path / "config.json"
    named = {f"mlp__{k}" if k == "experts" else k: word for k, word in words.items()}
    file.write_text(json.dumps(MIXTRAL | {"quantization_config": listed(range(4), **named)}))
    asked = {f"workload.{key}": value for key, value in settings.items()}
    notes = elector.simulate(file, "b200-sxm-192gb", settings=asked)["notes"]
    assert isinstance(notes, list)
    assert [note for note in notes if "stor" in note and "optimizer" not in note] == said


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"precision": "bf16"}, ""),
        ({"precision": "nvfp4"}, ""),  # wider than what is multiplied, as servers keep it
        ({"precision": "nvfp4", "kv_cache": "same"}, "nvfp4"),
        ({"precision": "bf16", "kv_cache": "int8"}, "int8"),
    ],
)
def test_a_cache_that_is_not_counted_is_said(
    tmp_path: Path, settings: dict[str, str], kept: str
) -> None:
    stored = {"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(MIXTRAL | {"quantization_config": stored}))
    asked = {f"workload.{key}": value for key, value in settings.items()}
    asked["workload.generate"] = "4"
    notes = elector.simulate(file, "b200-sxm-192gb", settings=asked)["notes"]
    assert isinstance(notes, list)
    said = [note for note in notes if "keys and values" in note and "wider" not in note]
    expected = (
        "the file keeps keys and values in fp8 (modelopt), which is not counted here: they are "
        f"kept in {kept}"
    )
    taken = "keys and values are kept in fp8, 8 bits, as the file says (modelopt)"
    assert said == [expected if kept else taken]


INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}
FP8 = {"num_bits": 8, "type": "float", "strategy": "tensor"}


def grouped(*groups: tuple[list[str], dict[str, Any]], ignore: tuple[str, ...] = ()) -> Any:
    """What compressed-tensors writes for groups of modules."""
    named = {f"group_{i}": {"targets": t, "weights": w} for i, (t, w) in enumerate(groups)}
    return {"quant_method": "compressed-tensors", "config_groups": named, "ignore": list(ignore)}


@pytest.mark.parametrize(
    ("stored", "bits"),
    [
        (
            grouped(
                ([r"re:.*self_attn\..*_proj$"], FP8),
                ([r"re:.*mlp\.(gate|up|down)_proj"], INT4),
                ignore=("lm_head",),
            ),
            (8, 4 + 20 / 128, 16),
        ),
        # a name or a pattern comes before a class
        (grouped((["Linear"], INT4), (["re:.*self_attn.*"], FP8)), (8, 4 + 20 / 128, 4 + 20 / 128)),
        (grouped((["re:.*mlp.*"], INT4)), (16, 4 + 20 / 128, 16)),
        (grouped((["re:.*self_attn.*", "re:.*mlp.*"], FP8), (["lm_head"], INT4)), (8, 8, 4.15625)),
        (grouped((["Linear"], FP8), ignore=("re:.*mlp.*", "lm_head")), (8, 16, 16)),
    ],
)
def test_groups_are_of_the_modules_that_their_targets_name(
    tmp_path: Path, stored: dict[str, Any], bits: tuple[float, ...]
) -> None:
    size, _ = weights(tmp_path, stored)
    parts = (MATRICES - FEED_FORWARD, FEED_FORWARD, HEAD)
    expected = 2 * (REST - HEAD) + sum(b / 8 * n for b, n in zip(bits, parts, strict=True))
    assert size == pytest.approx(expected, rel=1e-9)


def test_experts_have_a_group_of_their_own(tmp_path: Path) -> None:
    sizes = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 256}
    kind = {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "head_dim": 128}
    model = {key: value for key, value in MIXTRAL.items() if "local" not in key} | sizes | kind
    experts, attention = 4 * 4 * 3 * 1024 * 256, ATTENTION
    plain, _ = weights(tmp_path, {"quant_method": "bitsandbytes", "load_in_8bit": True}, model)
    others = plain - experts - attention  # 8 bits of both
    stored = grouped(
        (["re:.*experts.*"], INT4), (["re:.*self_attn.*"], FP8), ignore=("lm_head", "re:.*gate$")
    )
    size, _ = weights(tmp_path, stored, model)
    assert size == pytest.approx(others + attention + experts * (4 + 20 / 128) / 8, rel=1e-9)


@pytest.mark.parametrize(
    "stored",
    [
        grouped((["re:.*q_proj"], FP8), (["re:.*mlp.*"], INT4)),  # some of attention
        grouped((["re:.*novel.*"], FP8), (["re:.*mlp.*"], INT4)),  # nobody's module
        grouped(([r"re:.*layers\.[0-7]\.mlp.*"], FP8), (["re:.*self_attn.*"], INT4)),
        grouped((["Linear"], FP8), (["Linear"], INT4)),
        grouped((["re:(.*)*mlp.*"], FP8)),  # may take for ever
    ],
)
def test_groups_that_cannot_be_told_are_said(tmp_path: Path, stored: dict[str, Any]) -> None:
    size, notes = weights(tmp_path, stored)
    assert size == 2 * (MATRICES + REST)
    assert any("weights in mixed" in note and "not counted" in note for note in notes)


@pytest.mark.parametrize(
    "pattern",
    [
        ".*.*.*.*.*x",
        ".*" * 8 + "x",
        ".?" * 100 + "x",  # no repetition, and as many ways
        "(.|.)" * 60 + "x",
        "(?x)(.* ) *x",
        "(.*)*x",
        ".{1,30}.{1,30}.{1,30}x",
        "(" * 3000,  # nor is it compiled
    ],
)
@pytest.mark.parametrize("listed_by", ["targets", "ignore"])
def test_no_pattern_takes_more_than_a_second(tmp_path: Path, pattern: str, listed_by: str) -> None:
    own = [f"re:{pattern}"]
    stored = grouped((own, INT4)) if listed_by == "targets" else grouped((["Linear"], INT4))
    stored["ignore"] = own if listed_by == "ignore" else []
    started = time.process_time()
    load_model(str(written(tmp_path, LLAMA | {"quantization_config": stored})))
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("ignore", "said"),
    [
        (["lm_head", "re:model.layers.0.*"], "leaves matrices of layer 0 as"),
        (["model.layers.3.mlp.down_proj"], "leaves matrices of layer 3 as"),
        ([r"re:.*layers\.[2-7]\.mlp.*"], "leaves matrices of layers 2, 3, 4, 5 and 2 more as"),
        (["re:.*.*.*.*x"], "patterns of"),
        (["lm_head", "re:vision_model.*"], ""),
        (["re:.*self_attn.*"], ""),  # a whole part, which is counted as it is
    ],
)
def test_layers_that_are_ignored_and_counted_are_said(
    tmp_path: Path, ignore: list[str], said: str
) -> None:
    stored = grouped((["Linear"], INT4), ignore=tuple(ignore))
    _, notes = weights(tmp_path, stored)
    own = [note for note in notes if "quantization_config.ignore" in note]
    assert bool(own) == bool(said)
    if own:
        assert said in own[0] and "not counted here: they are stored like the others" in own[0]


def test_many_patterns_and_names_take_no_more(tmp_path: Path) -> None:
    names = [f"model.layers.{number}.other" for number in range(20_000)]
    many = [f"re:.*.*(.|.)(.|.){number}x" for number in range(180)]
    started = time.process_time()
    for targets, ignore in ((names, []), (["Linear"], names), (["Linear"], many), (many, [])):
        stored = grouped((targets, INT4), ignore=tuple(ignore))
        load_model(str(written(tmp_path, LLAMA | {"quantization_config": stored})))
    assert time.process_time() - started < 4


@pytest.mark.parametrize(
    "pattern",
    [
        r".*mlp.*",
        r"model.layers.\d+.mlp.(gate|up|down)_proj$",
        r".*layers\.\d+\.mlp\..*_proj$",
        r"^model\.layers\.\d{1,2}\.mlp\..*$",
        r".*\.(mlp|block_sparse_moe)\.(w1|w2|w3|gate|up|down).*",
    ],
)
def test_patterns_as_files_have_them_are_followed(tmp_path: Path, pattern: str) -> None:
    size, _ = weights(tmp_path, grouped(([f"re:{pattern}"], FP8)))
    assert size == FEED_FORWARD + 2 * (MATRICES - FEED_FORWARD + REST)


@pytest.mark.parametrize(
    ("targets", "field"),
    [
        ("Linear", "targets"),
        ([3], "targets"),
        (["re:(mlp"], "targets"),
        (["re:a{99999999999}"], "targets"),
    ],
)
def test_targets_that_are_none_are_refused(tmp_path: Path, targets: Any, field: str) -> None:
    with pytest.raises(elector.InputError) as refusal:
        weights(tmp_path, grouped((targets, FP8)))
    assert refusal.value.field == f"quantization_config.config_groups.group_0.{field}"


def test_scans_that_are_called_attention_stay_where_attention_does(tmp_path: Path) -> None:
    rows = Path(__file__).resolve().parent.parent / "data" / "scan_types.csv"
    with rows.open(encoding="utf-8", newline="") as stream:
        listed_types = {row["model_type"]: row for row in csv.DictReader(stream)}
    row = listed_types["minimax"]
    model = json.loads(row["config"])
    plain, _ = weights(tmp_path, {"quant_method": "bitsandbytes", "load_in_8bit": True}, model)
    stored = grouped((["Linear"], FP8), ignore=("lm_head", "re:.*self_attn.*"))
    size, _ = weights(tmp_path, stored, model)
    layers = {"full": 144 * (2 * 120 + 2 * 60), "linear": 144 * 5 * 120}  # 3 and 2 of them
    assert size - plain == 3 * layers["full"] + 2 * layers["linear"]


def test_a_part_in_groups_that_no_format_has_is_counted_in_the_nearest() -> None:
    layers = {
        "model.layers.0.self_attn.q_proj": {"quant_algo": "W4A16_AWQ", "group_size": 100},
        "model.layers.0.mlp.up_proj": {"quant_algo": "FP8"},
    }
    stored = {"quant_algo": "MIXED_PRECISION", "quantized_layers": layers}
    read = quantization(stored, "")
    assert dict(read.parts)["attention"] == "int4"
    assert read.near == (
        "attention in int4 in groups of 100 (modelopt), 4.2 bits a weight, counted as int4, "
        "4.156 bits",
    )
