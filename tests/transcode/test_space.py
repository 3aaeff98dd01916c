"""Spaces: codes and values, counting, and every kind of bad description."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search_fakes import SMALL

from elector.base.errors import InputError
from transcode.space import Space, describe, digest, find, load, shipped

CONDITIONAL: dict[str, Any] = {
    "name": "kinds",
    "model": [
        "bert-tiny",
        {
            "base": ["encoder", "decoder"],
            "layers": [2, 4],
            "hidden": {"low": 128, "high": 256, "steps": 3},
        },
    ],
    "accelerator": [
        {"base": ["tpu-v2", "tpu-v3"]},
        {
            "base": "systolic",
            "memory": "lpddr4",
            "rows": [16, 32],
            "sram": {"low": "1 MB", "high": "64 MB", "log": True},
        },
        {"base": "systolic", "memory": "hbm2", "rows": [64, 128, 256], "fuse": [True, False]},
    ],
    "workload": {"batch": {"low": 1, "high": 16}},
    "objectives": {"latency_s": "min"},
}


@pytest.fixture
def kinds() -> Space:
    return load(CONDITIONAL)


def test_cardinality_counts_alternatives(kinds: Space) -> None:
    models, accelerators = 1 + 2 * (2 * 3), 2 + 2 * 1024 + 3 * 2
    assert kinds.cardinality == models * accelerators * 16
    assert kinds.allowed_count == kinds.cardinality


@pytest.mark.parametrize("seed", range(3))
def test_index_designs_values_and_back(kinds: Space, small_space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for space in (kinds, small_space):
        index = rng.integers(0, space.cardinality, 2000)
        codes = space.designs(index)
        assert np.array_equal(space.index(codes), index)
        assert np.array_equal(space.canonical(codes.copy()), codes)
        columns = space.decode(codes)
        varied = {n: c for n, c in columns.items() if n in (*space.varied, "accelerator")}
        assert np.array_equal(space.encode(varied), codes)


def test_every_index_is_another_design(small_space: Space) -> None:
    codes = small_space.designs(np.arange(small_space.cardinality))
    assert len(np.unique(codes, axis=0)) == small_space.cardinality == 5184
    assert len(np.unique(small_space.key(codes))) == small_space.cardinality
    assert small_space.allowed(codes).sum() == small_space.allowed_count == 3456


def test_values_of_what_is_not_there_are_none(kinds: Space) -> None:
    codes = kinds.designs(np.arange(0, kinds.cardinality, 97))
    columns = kinds.decode(codes)
    accelerator, rows = columns["accelerator"], columns["accelerator.rows"]
    for i in range(len(codes)):
        assert (rows[i] is None) == (accelerator[i] != "systolic")
        memory = columns["accelerator.memory"][i]
        assert memory == (None if rows[i] is None else "lpddr4" if rows[i] <= 32 else "hbm2")
    assert {columns["model"][i] for i in range(len(codes))} == {"bert-tiny", "encoder", "decoder"}


def test_ranges_are_round_numbers(kinds: Space, small_space: Space) -> None:
    sram = next(p for p in small_space.parameters if p.name == "accelerator.sram")
    assert sram.values == (1e6, 2e6, 4e6, 8e6, 16e6, 32e6)
    hidden = next(p for p in kinds.parameters if p.name == "model.hidden")
    assert hidden.values == (128, 192, 256) and isinstance(hidden.values[0], int)
    batch = next(p for p in kinds.parameters if p.name == "workload.batch")
    assert batch.values == tuple(range(1, 17)) and batch.scale == "linear"
    free = next(p for p in kinds.parameters if p.scale == "log")
    assert free.size == 1024 and free.values[0] == 1e6 and free.values[-1] == 64e6


def test_multiples_are_values_of_the_parameter(small_space: Space) -> None:
    columns = small_space.decode(small_space.designs(np.arange(5184)))
    hidden = columns["model.hidden"].map(float, dtype=float)
    wide = columns["model.feed_forward"].map(float, dtype=float)
    assert set(np.unique(wide / hidden)) == {2.0, 4.0}
    assert all(isinstance(v, int) for v in columns["model.feed_forward"].values)


def test_fractions_as_multiples(small: dict[str, Any]) -> None:
    small["model"]["hidden"] = [128, 768]
    small["model"]["heads"] = {"multiple_of": "hidden", "choices": ["1/64", "1/32"]}
    space = load(small)
    heads = space.decode(space.designs(np.arange(space.cardinality)))["model.heads"]
    assert set(heads.values) == {2, 4, 12, 24}


def test_conditions_on_what_is_not_there_hold(small: dict[str, Any]) -> None:
    description = {**CONDITIONAL, "where": ["accelerator.rows >= 64", "model.hidden == 128"]}
    space = load(description)
    codes = space.designs(np.arange(space.cardinality))
    good = codes[space.allowed(codes)]
    columns = space.decode(good)
    assert {v for v, c in zip(columns["accelerator"].values, range(9), strict=False)} >= {"tpu-v2"}
    assert {columns["accelerator.rows"][i] for i in range(len(good))} == {None, 64, 128, 256}
    assert len(good) == space.allowed_count


def test_huge_spaces_have_keys_of_64_bits() -> None:
    wide = {"low": 1, "high": 4096}
    description = {
        "name": "huge",
        "model": {"base": "encoder", "layers": wide, "hidden": wide},
        "accelerator": {
            "base": "systolic",
            "rows": wide,
            "cols": wide,
            "arrays": wide,
            "sram": {"low": 1e6, "high": 1e9},
            "bandwidth": {"low": 1e9, "high": 1e12},
        },
        "objectives": {"latency_s": "min"},
    }
    space = load(description)
    assert space.cardinality > 1 << 62
    codes = space.from_unit(np.random.default_rng(0).random((20000, len(space.parameters))))
    assert len(np.unique(space.key(codes))) == 20000


def test_the_digest_is_of_the_meaning(small: dict[str, Any]) -> None:
    first = digest(describe(load(small)))
    small["accelerator"]["sram"] = [1e6, "2 MB", 4e6, "8000 kB", 16e6, 32e6]
    assert digest(describe(load(small))) == first
    small["accelerator"]["rows"] = [16, 32, 64]
    assert digest(describe(load(small))) != first


def test_shipped_spaces_are_read_by_name(root: Path) -> None:
    assert {"bert", "gpt2", "smoke"} <= set(shipped())
    for name, path in shipped().items():
        assert load(name).name == name
        assert find(name) == path
    assert 1e5 <= (load("bert").allowed_count or 0) <= 1e7


def change(path: str, value: object) -> dict[str, Any]:
    """SMALL with one thing changed; None removes it."""
    changed: dict[str, Any] = {k: dict(v) if isinstance(v, dict) else v for k, v in SMALL.items()}
    *above, last = path.split(".")
    place = changed
    for key in above:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return changed


BAD: list[tuple[str, object, str]] = [
    ("modell", {}, "did you mean model"),
    ("model", None, "model: is missing"),
    ("accelerator", {}, "has no base"),
    ("accelerator", [], "has no choice"),
    ("accelerator.base", "sistolic", "did you mean systolic"),
    ("accelerator.base", 5, "a base is a name"),
    ("accelerator.base", ["systolic", "systolic"], "given twice"),
    ("model.layer", [2], "did you mean layers"),
    ("model.layers", [], "model.layers: has no choice"),
    ("model.layers", [2, 2], "given twice"),
    ("model.layers", [0], "at least 1"),
    ("model.layers", [-2], "at least 1"),
    ("model.layers", [2.5], "whole number"),
    ("model.layers", ["two"], "not a number"),
    ("model.layers", [float("nan")], "finite"),
    ("model.layers", [None], "not a value"),
    ("model.layers", {"low": 2}, "high: is missing"),
    ("model.layers", {"low": 4, "high": 2}, "below high"),
    ("model.layers", {"low": 2, "high": 4, "step": 1}, "did you mean steps"),
    ("model.layers", {"low": 2, "high": 4, "steps": 1}, "from 2"),
    ("model.layers", {"low": 2, "high": 4, "log": "yes"}, "true or false"),
    ("model.layers", {"low": 2, "high": 4, "choices": [1]}, "both"),
    ("model.layers", {"log": True}, "needs choices"),
    ("model.feed_forward", {"multiple_of": "hiden", "choices": [2]}, "did you mean hidden"),
    ("model.feed_forward", {"multiple_of": "feed_forward", "choices": [2]}, "not a parameter"),
    ("model.feed_forward", {"multiple_of": "hidden", "choices": [0.3]}, "whole number"),
    ("model.feed_forward", {"multiple_of": "hidden", "choices": [0]}, "at least 1"),
    ("model.feed_forward", {"multiple_of": "hidden", "choices": ["1/0"]}, "unknown unit"),
    ("accelerator.sram", ["4 MBit/s"], "unit"),
    ("accelerator.sram", ["4 mb"], "did you mean"),
    ("accelerator.dataflow", ["wss"], "did you mean ws"),
    ("accelerator.dataflow", {"low": 1, "high": 2}, "give choices"),
    ("workload", [1], "workload: is a mapping"),
    ("workload.bach", 1, "did you mean batch"),
    ("workloads", {}, "workloads"),
    ("workloads", {"a b": {}}, "no name"),
    ("workloads", {"model": {}}, "no name"),
    ("workloads", {"serve": {"batch": [1, 2]}}, "search it under workload"),
    ("workloads", {"serve": {"mod": "training"}}, "did you mean mode"),
    ("workloads", {"serve": {}}, "serve.latency_s"),
    ("objectives", None, "needs at least one"),
    ("objectives", {}, "needs at least one"),
    ("objectives", ["latency_s"], "mapping"),
    ("objectives", {"latency_s": "minimum"}, "did you mean min"),
    ("objectives", {"accuracy": "max"}, "needs a task"),
    ("where", "model.hidden %% 2 == 0", "cannot be read"),
    ("where", "model.hiden > 2", "did you mean model.hidden"),
    ("where", "latency_s > 2", "unknown name"),
    ("constraints", ["area_mm2"], "not a condition"),
    ("reference_point", {"energy": 1}, "not an objective"),
    ("reference_point", {"latency_s": "1 mm2"}, "is not in s"),
    ("record", "latency_s", "list"),
    ("name", "a/b", "a name is"),
]


@pytest.mark.parametrize(("path", "value", "words"), BAD, ids=[f"{p}={v}" for p, v, _ in BAD])
def test_bad_descriptions_are_one_message(path: str, value: object, words: str) -> None:
    with pytest.raises(InputError) as caught:
        load(change(path, value))
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["workload.precision", "workload.tau_i", "accelerator.datapath"])
def test_what_changes_accuracy_is_not_searched_with_it(name: str) -> None:
    choices = {"workload.precision": ["fp32", "int8"], "workload.tau_i": [0.0, 0.1]}
    description = change(name, choices.get(name, ["int8", "bf16"]))
    description["objectives"] = {"accuracy": "max", "latency_s": "min"}
    description["workload"]["task"] = "sst2"
    with pytest.raises(InputError, match="no accuracy source"):
        load(description)


def test_a_workload_cannot_be_searched_and_fixed() -> None:
    description = change("workload.batch", [1, 2])
    description["workloads"] = {"serve": {"batch": 4}}
    with pytest.raises(InputError, match="searched under workload already"):
        load(description)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"name: a\nname: b\n", "duplicate"),
        (b"\x00\x01\x02", "binary"),
        (b"a: !!python/object:os.system {}", "tag"),
        (b"a: &x [1]\nb: *x\n", "anchors"),
        (b"- 1\n", "a space is a mapping"),
        (b"", "empty"),
        (b"a: [1, 2\n", "YAML"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load(path)
    assert words in str(caught.value) and str(path) in str(caught.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="directory"):
        load(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="did you mean bert"):
        load("bertt")


def test_layers_of_their_own_are_expanded() -> None:
    space = load(
        {
            "model": {
                "base": "flexibert",
                "layers": [2, 4],
                "hidden": [128, 256],
                "heads": [2, 4],
                "head_types": ["sdp", "c5"],
                "feed_forward": {"stacks": 2, "choices": [256]},
                "layer1.hidden": 256,
            },
            "accelerator": "acceltran-edge",
            "objectives": {"latency_s": "min"},
        }
    )
    assert space.cardinality == 2 * 2**3 * 2**4 * 2**16 * 2**4
    assert "model.layer4.head4" in space.names and "model.layer5.hidden" not in space.names


def test_thresholds_are_searched_where_a_source_prices_them() -> None:
    space = load("transcode")
    assert space.uses_accuracy and space.prunes and space.cardinality > 1 << 62
    assert load("transcode-nas").constraints == space.constraints
    codes = space.from_unit(np.random.default_rng(0).random((5000, len(space.parameters))))
    assert len(np.unique(space.section_key(space.sections[0], codes))) == 5000


# ---- settings that can never have an effect


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"workload": {"optimizer": "sgd"}}, "workload.optimizer"),
        ({"workload": {"optimizer": ["sgd", "adamw"]}}, "workload.optimizer"),
        ({"workload": {"task": "sst2"}}, "workload.task"),
        ({"workload": {"target_length": 64}}, "workload.target_length"),
        ({"workload": {"tau_i": [0.0, 0.1]}}, "workload.tau_i"),
        ({"workload": {"predictions": 20}}, "workload.predictions"),
        (
            {"workload": {"mode": "training", "optimizer_kernels": "fused"}},
            "workload.optimizer_kernels",
        ),
        (
            {"model": {"base": "vit-base"}, "workload": {"sequence_length": 64}},
            "workload.sequence_length",
        ),
        (
            {"accelerator": {"base": "systolic", "training_support": [True, False]}},
            "accelerator.training_support",
        ),
        (
            {
                "accelerator": {"base": "a100-sxm-40gb", "fp8_rate": [1e14, 2e14]},
                "workload": {"precision": "bf16"},
            },
            "accelerator.fp8_rate",
        ),
        (
            {"workloads": {"serve": {"optimizer": "sgd"}, "tune": {"mode": "training"}}},
            "workloads.serve.optimizer",
        ),
        ({"workload": {"trainable": "heads"}}, "workload.trainable"),
        ({"model": {"base": "encoder", "window": [16, 32]}}, "model.window"),
        ({"model": {"base": "encoder", "state_size": [16, 32]}}, "model.state_size"),
        ({"model": {"base": "deepseek-v3", "kv_heads": [16, 32]}}, "model.kv_heads"),
        ({"model": {"base": "vit-base", "vocabulary": [100, 200]}}, "model.vocabulary"),
        (
            {
                "model": {"base": "decoder", "window": [128, 256]},
                "workload": {"attention": "flash"},
            },
            "model.window",
        ),
        (
            {
                "model": {"base": "t5-base", "layers": [2, 4]},
                "workload": {"generate": [8, 16], "target_length": 64},
            },
            "workload.target_length",
        ),
        (
            {"workload": {"mode": "training", "trainable": "heads", "activations": "recompute"}},
            "workload.activations",
        ),
    ],
)
def test_a_setting_that_can_never_count_is_refused(changes: dict[str, Any], field: str) -> None:
    space = {
        "name": "s",
        "model": {"base": "encoder", "layers": [2, 4]},
        "accelerator": {"base": "systolic", "rows": [16, 32]},
        "objectives": {"serve.latency_s" if "workloads" in changes else "latency_s": "min"},
        **changes,
    }
    with pytest.raises(InputError, match="changes nothing in this space") as caught:
        load(space)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("base", "key", "values"),
    [
        ("a100-sxm-80gb", "tdp", ["4 W", "400 W"]),
        ("a100-sxm-80gb", "idle_power", ["0 W", "70 W"]),
        ("a100-sxm-80gb", "architecture", ["ampere", "blackwell"]),
        ("a100-sxm-80gb", "bandwidth", ["2 TB/s", "4 TB/s"]),
        ("hpt", "units.gpu.host_speed", [1, 100]),
        ("acceltran-edge", "convention", ["physical", "released"]),
        ("acceltran-edge", "gating_residue", [0, 0.1]),
        ("systolic", "convention", ["physical", "scalesim"]),
    ],
)
def test_what_nothing_prices_is_not_for_a_search_to_choose(
    base: str, key: str, values: list[object]
) -> None:
    """Any of them alone was chosen by every search: it costs nothing. One value is taken."""

    def space(value: object) -> dict[str, Any]:
        return {
            "name": "s",
            "model": {"base": "encoder", "layers": [2, 4]},
            "accelerator": {"base": base, key: value},
            "objectives": {"latency_s": "min", "energy_j": "min"},
        }

    with pytest.raises(InputError, match="not for a search to choose") as caught:
        load(space(values))
    assert caught.value.field == f"accelerator.{key}"
    load(space(values[-1]))


@pytest.mark.parametrize(
    "changes",
    [
        {"workload": {"mode": ["inference", "training"], "optimizer": "sgd"}},
        {"workload": {"optimizer": "none", "generate": 0, "sparsity": "dense"}},
        {"workload": {"trainable": ["heads", "lora:4"]}},
        {"workload": {"trainable": ["all", "heads"]}, "accelerator": {"base": "hpt"}},
        {"workload": {"mode": ["inference", "training"], "trainable": "heads"}},
        {
            "workloads": {"serve": {}, "tune": {"mode": "training"}},
            "workload": {"optimizer": "sgd"},
            "objectives": {"serve.latency_s": "min"},
        },
        {"model": {"base": ["vit-base", "bert-tiny"]}, "workload": {"sequence_length": 64}},
        {
            "accelerator": [{"base": "systolic", "rows": [16, 32]}, {"base": "a100-sxm-40gb"}],
            "workload": {"mode": "training", "optimizer_kernels": "fused"},
        },
        {"workload": {"sparsity": "dynatran", "tau_i": [0.0, 0.1]}},
        {
            "accelerator": {"base": "a100-sxm-40gb", "fp8_rate": 1e14},
            "workload": {"precision": ["bf16", "fp8"]},
        },
        {"workload": {"attention": "auto"}},
    ],
)
def test_a_setting_that_counts_somewhere_is_taken(changes: dict[str, Any]) -> None:
    load(
        {
            "name": "s",
            "model": {"base": "encoder", "layers": [2, 4]},
            "accelerator": {"base": "systolic", "rows": [16, 32]},
            "objectives": {"latency_s": "min"},
            **changes,
        }
    )
