"""Heterogeneous encoders: head types against PyTorch, and many models in one table."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amounts import draws
from random_hybrids import hybrid

from elector.base.errors import InputError
from elector.base.table import Column
from elector.describe.layered import layer_field, weights
from elector.describe.model import HEAD_TYPES
from elector.evaluation.path import Chunk, evaluate, inspect
from elector.evaluation.resolve import resolve
from elector.operations.tensors import parameter_tensors
from elector.studies.simulation import simulate
from elector.technology import Technology

COUNTS = Path(__file__).parent.parent / "data" / "head_counts.csv"
NAMES = {
    "sdp": "sa_sdp",
    "wma": "sa_wma",
    "dft": "l_dft",
    "dct": "l_dct",
    "c5": "c_5",
    "c9": "c_9",
    "c13": "c_13",
}


def table(size: int, settings: dict[str, Any]) -> dict[str, Column]:
    given = {"model": "flexibert", "accelerator": "acceltran-edge"} | settings
    return {
        key: Column.of(value) if isinstance(value, list) else Column.constant(value, size)
        for key, value in given.items()
    }


def head_counts() -> list[dict[str, str]]:
    with COUNTS.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def one_layer(kind: str, row: dict[str, str], **further: Any) -> Chunk:
    heads, size = int(row["heads"]), int(row["size"])
    settings: dict[str, Any] = {f"model.layer1.head{h + 1}": kind for h in range(heads)}
    settings |= {
        "model.layers": 1,
        "model.layer1.heads": heads,
        "workload.batch": row["batch"],
        "model.layer1.hidden": heads * size,
        "workload.sequence_length": row["length"],
    }
    return inspect(table(1, settings | further), Technology.load())


@pytest.mark.parametrize("row", head_counts(), ids=lambda row: row["head"])
def test_products_and_parameters_of_a_head_equal_pytorch(row: dict[str, str]) -> None:
    chunk = one_layer(row["head"], row)
    ops = chunk.ops
    r = ops.where(kind="attention", matmul=True)
    macs = (ops.count * ops.batch * ops.m * ops.k * ops.n)[r].sum()
    assert macs == int(row["macs"])
    # Against the transform, which has no parameters but the table that every layer has.
    plain = one_layer("dct", row).ops.parameters[0]
    table = (2 * 514 - 1) * int(row["size"]) if row["head"] in ("sdp", "wma") else 0
    assert ops.parameters[0] - plain == int(row["parameters"]) - table


def test_relative_positions_are_a_product_as_large_as_the_scores() -> None:
    """Forward once, backward twice, and once more where the scores are computed again."""
    row = {"batch": "2", "length": "16", "heads": "4", "size": "12"}
    products = {}
    for activations, attention in (
        ("store", "unfused"),
        ("selective", "unfused"),
        ("store", "flash"),
    ):
        ops = one_layer(
            "sdp",
            row,
            **{
                "workload.mode": "training",
                "workload.activations": activations,
                "workload.attention": attention,
            },
        ).ops
        macs = (ops.count * ops.batch * ops.m * ops.k * ops.n)[:, 0]
        named = [(r.name, macs[i]) for i, r in enumerate(ops.rows) if r.matmul]
        parts = (
            sum(m for name, m in named if name.startswith("relative")),
            sum(
                m
                for name, m in named
                if name in ("scores", "query gradient", "key gradient", "scores again")
            ),
        )
        assert parts[0] == parts[1]
        products[activations, attention] = parts[0]
    scores = 2 * 4 * 16 * 16 * 12
    assert list(products.values()) == [3 * scores, 4 * scores, 4 * scores]
    # All products of a layer read one table: what is fetched is its rows, once for each pair.
    where = next(i for i, r in enumerate(ops.rows) if r.name == "relative positions")
    assert ops.b_bytes[where, 0] == (2 * 16 - 1) * 12 * ops.b_width[where]


def random_models(seed: int, size: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A table of models, and the same models as FlexiBERT dictionaries."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {"model.layers": []}
    dictionaries: list[dict[str, Any]] = []
    for _ in range(size):
        depth = int(rng.choice([2, 4, 6, 12]))
        columns["model.layers"].append(depth)
        one: dict[str, Any] = {"l": depth, "o": [], "h": [], "f": []}
        for i in range(1, 13):
            hidden, heads = int(rng.choice([128, 256, 512, 768])), int(rng.choice([2, 4, 8, 12]))
            kinds = [str(rng.choice(HEAD_TYPES)) for _ in range(12)]
            stacks = [int(rng.choice([256, 1024])), int(rng.choice([0, 512])), 0]
            values = {"hidden": hidden, "heads": heads}
            values |= {f"head{h + 1}": kind for h, kind in enumerate(kinds)}
            values |= {f"feed_forward{s + 1}": width for s, width in enumerate(stacks)}
            for key, value in values.items():
                columns.setdefault(f"model.layer{i}.{key}", []).append(value)
            if i <= depth:
                one["h"].append(hidden)
                one["f"].append([width for width in stacks if width])
                one["o"].append([f"{NAMES[k]}_{hidden // heads}" for k in kinds[:heads]])
        dictionaries.append(one)
    return columns, dictionaries


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_a_table_of_models_equals_their_dictionaries(tmp_path: Path, mode: str) -> None:
    columns, dictionaries = random_models(5, 6)
    together = evaluate(table(6, columns | {"workload.mode": mode}), 6)
    for i, dictionary in enumerate(dictionaries):
        path = tmp_path / f"{i}.json"
        path.write_text(json.dumps(dictionary), encoding="utf-8")
        alone = evaluate(table(1, {"model": str(path), "workload.mode": mode}), 1)
        assert alone.parameters[0] == together.parameters[i]
        assert alone.macs[0] == together.macs[i]
        assert alone.energy_j[0] == pytest.approx(together.energy_j[i], rel=1e-9)
        assert alone.latency_s[0] == pytest.approx(together.latency_s[i], rel=1e-9)


def test_weights_of_layers_are_those_of_the_matrices() -> None:
    """Counted from the tensors of a model whose heads are all of scaled dot products."""
    stacks = [[256, 0, 512], [1024, 128, 0], [64, 0, 0]]
    hidden = [128, 128, 256]
    columns = {"model.layers": [3]}
    for i, (width, own) in enumerate(zip(hidden, stacks, strict=True), 1):
        columns |= {f"model.layer{i}.hidden": [width], f"model.layer{i}.heads": [4]}
        columns |= {f"model.layer{i}.feed_forward{s}": [f] for s, f in enumerate(own, 1)}
    (group,) = resolve(table(1, columns), 1)
    matrices = [
        t
        for t in parameter_tensors(group.models, group.workload)
        if re.fullmatch(r"query|key, value|output|feed-forward (in|out)", t.name)
    ]
    wanted = sum(float((t.elements * t.count)[0]) for t in matrices)
    assert wanted > 0
    assert weights(np.array(hidden, float), np.array(stacks, float).T).sum() == wanted


@pytest.mark.parametrize(
    ("accelerator", "mode"),
    [
        ("acceltran-edge", "inference"),
        ("systolic", "training"),
        ("tpu-v3", "training"),
        ("reram", "training"),
        ("hpt", "training"),
        ("reram+systolic", "inference"),
    ],
)
def test_a_model_alone_as_in_a_table(accelerator: str, mode: str) -> None:
    """Heads and stacks that only models beside it have leave a model's figures alone."""
    size = draws(5, 3)
    columns, _ = random_models(8, size)
    columns |= {"accelerator": [accelerator] * size, "workload.mode": [mode] * size}
    together = evaluate(table(size, columns), size)
    for i in range(size):
        alone = evaluate(table(1, {k: [v[i]] for k, v in columns.items()}), 1)
        for name in ("latency_s", "energy_j", "parameters", "macs"):
            mine, beside = alone.scalar(name)[0], together.scalar(name)[i]
            assert mine == beside or (np.isnan(mine) and np.isnan(beside)), name


#: Hybrids drawn: a few, and more among the slow tests.
DRAWN = [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 80))]


@pytest.mark.parametrize("seed", DRAWN)
def test_a_model_alone_as_in_a_table_on_any_hybrid(seed: int, tmp_path: Path) -> None:
    """Three units and rules by name: whatever another model has crosses links for it alone, and
    parts none of this model's rows; no message is sent where there is nothing to carry."""
    random = np.random.default_rng(seed)
    accelerator, size = hybrid(tmp_path / "hybrid.yaml", random), 4
    columns = (random_models(seed, size)[0], unlike_models(seed, size))[random.integers(2)]
    workload = {"mode": "inference"}
    if random.integers(2):
        workload = {"mode": "training", "trainable": str(random.choice(["all", "lora:8"]))}
        workload["activations"] = str(random.choice(["store", "recompute"]))
    workload["attention"] = str(random.choice(["unfused", "flash"]))
    columns |= {"accelerator": [accelerator] * size}
    require_rows_as_alone(columns | {f"workload.{k}": [v] * size for k, v in workload.items()})


def require_rows_as_alone(columns: dict[str, list[Any]]) -> None:
    """Every result of every row, bit for bit."""
    size = len(columns["accelerator"])
    together = evaluate(table(size, columns), size, level="groups")
    for i in range(size):
        row = table(1, {k: [v[i]] for k, v in columns.items()})
        alone = evaluate(row, 1, level="groups")
        assert np.isfinite(alone.scalar("energy_j")[0])
        for name in alone.names():
            mine, beside = alone.scalar(name)[0], together.scalar(name)[i]
            assert mine == beside or (np.isnan(mine) and np.isnan(beside)), (i, name)


def unlike_models(seed: int, size: int) -> dict[str, list[Any]]:
    """A table of models of one kind of head or width next to others of many."""
    rng = np.random.default_rng(seed)

    def one() -> dict[str, Any]:
        kinds = [HEAD_TYPES, HEAD_TYPES[rng.integers(7) :][:1]][rng.integers(2)]
        width, stack = int(rng.choice([128, 256])), int(rng.choice([0, 512]))
        fixed = rng.integers(2)
        model: dict[str, Any] = {"model.layers": int(rng.choice([1, 2, 3, 6]))}
        for i in range(1, 7):
            start, hidden = f"model.layer{i}", int(rng.choice([128, 256, 512]))
            model[f"{start}.hidden"] = width if fixed else hidden
            model[f"{start}.heads"] = int(rng.choice([2, 4]))
            model |= {f"{start}.head{h}": str(rng.choice(kinds)) for h in range(1, 5)}
            model[f"{start}.feed_forward1"] = int(rng.choice([256, 1024]))
            model[f"{start}.feed_forward2"] = stack if fixed else int(rng.choice([0, 512]))
        return model | {"workload.batch": int(rng.choice([1, 5, 16]))}

    rows = [one() for _ in range(size)]
    return {key: [row[key] for row in rows] for key in rows[0]}


@pytest.mark.parametrize(
    ("accelerator", "workload"),
    [
        ("reram+systolic", {"mode": "training"}),
        ("hpt", {"mode": "training", "trainable": "lora:8"}),
        ("systolic", {"mode": "training", "trainable": "lora:8"}),
        ("reram", {"mode": "training", "activations": "recompute", "attention": "flash"}),
        ("a100-sxm-80gb", {"attention": "flash"}),
        ("a100-sxm-80gb", {"mode": "training", "attention": "fused"}),
    ],
)
def test_models_that_lack_what_others_have(accelerator: str, workload: dict[str, str]) -> None:
    """Owners of updates, classes of tensors, launches of kernels: each row as if it were alone."""
    size = draws(8, 4)
    columns = unlike_models(4, size) | {"accelerator": [accelerator] * size}
    columns |= {f"workload.{key}": [value] * size for key, value in workload.items()}
    require_rows_as_alone(columns)


def test_heads_without_a_dot_product_are_no_part_of_an_attention_kernel() -> None:
    """Transforms and convolutions are kernels of their own, whatever attention is asked for."""
    rows = {f"model.layer1.head{h}": kind for h, kind in ((1, "dct"), (2, "c5"))}
    rows |= {"model.layers": 1, "model.layer1.heads": 2, "model.layer1.hidden": 128}
    rows["accelerator"] = "a100-sxm-80gb"
    seconds = [
        evaluate(table(1, rows | {"workload.attention": attention}), 1).scalar("latency_s")[0]
        for attention in ("unfused", "fused", "flash")
    ]
    assert seconds[0] == seconds[1] == seconds[2]


def test_a_concatenated_context_is_kept_once() -> None:
    """Flash attention and the output projection read it: columns of one tensor."""
    rows: dict[str, Any] = {"accelerator": "a100-sxm-80gb", "model.layers": 1}
    rows |= {"model.layer1.heads": 2, "model.layer1.hidden": 128}
    rows |= {"workload.mode": "training", "workload.sequence_length": 16, "workload.batch": 1}
    rows |= {"workload.attention": "flash", "workload.precision": "bf16"}

    def kept(*kinds: str) -> float:
        given = rows | {f"model.layer1.head{h}": kind for h, kind in enumerate(kinds, 1)}
        costs = evaluate(table(1, given), 1, level="groups")
        return float(costs.scalar("memory_bytes.activations")[0])

    # A dot product keeps its queries, keys and values; a transform none. The context of either
    # is kept for the output projection.
    head = 16 * 64 * 2
    assert kept("sdp", "sdp") - kept("sdp", "dct") == 3 * head
    assert kept("sdp", "dct") - kept("dct", "dct") == 3 * head


def test_experts_that_only_others_have() -> None:
    """A product of nothing is no NaN, on several arrays either."""
    columns: dict[str, list[object]] = {
        "model": ["mixtral-8x7b"] * 2,
        "accelerator": ["tpu-v3"] * 2,
    }
    columns |= {"accelerator.memory_capacity": [1e12] * 2, "model.shared_experts": [0, 1]}
    together = evaluate(table(2, columns), 2)
    alone = evaluate(table(1, {k: v[:1] for k, v in columns.items()}), 1)
    assert np.isfinite(alone.scalar("latency_s")[0])
    assert alone.scalar("latency_s")[0] == together.scalar("latency_s")[0]


@pytest.mark.parametrize(
    "columns",
    [
        # A shared expert of no width launches no kernel.
        {"model": ["mixtral-8x7b"] * 3, "model.shared_experts": [0, 1, 2]},
        # Tokens behind a full window launch theirs like those before.
        {"model": ["mistral-7b"] * 3, "model.window": [16, 64, 24], "workload.generate": [9] * 3},
    ],
)
def test_kernels_that_only_others_launch(columns: dict[str, list[Any]]) -> None:
    columns |= {"accelerator": ["a100-sxm-80gb"] * 3, "model.layers": [2] * 3}
    columns |= {"workload.sequence_length": [16] * 3, "workload.attention": ["flash"] * 3}
    together = evaluate(table(3, columns), 3)
    for i in range(3):
        alone = evaluate(table(1, {k: v[i : i + 1] for k, v in columns.items()}), 1)
        assert alone.scalar("latency_s")[0] == together.scalar("latency_s")[i]


@pytest.mark.parametrize(
    ("key", "known"),
    [
        ("layer1.hidden", True),
        ("layer12.head12", True),
        ("layer3.feed_forward3", True),
        ("layer13.hidden", False),
        ("layer1.head13", False),
        ("layer1.feed_forward4", False),
        ("layer1.head", False),
        ("layer1.hidden2", False),
        ("layer0.heads", False),
    ],
)
def test_keys_of_layers(key: str, known: bool) -> None:
    assert (layer_field(key) is not None) == known


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"model.layer1.head1": "c7"}, "model.layer1.head1"),
        ({"model.layer1.hidden": 2, "model.layer1.heads": 4}, "model.layer1.heads"),
        ({"model.layer2.feed_forward1": 0}, "model.layer2.feed_forward1"),
        ({"model.layers": 13}, "model.layers"),
        ({"model.hidden": 256}, "model.hidden"),
        ({"model": "bert-tiny", "model.layer1.hidden": 256}, None),
    ],
)
def test_bad_layers(settings: dict[str, Any], field: str | None) -> None:
    with pytest.raises(InputError) as error:
        evaluate(table(1, settings), 1)
    assert field is None or error.value.field == field


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("model.layer13.heads", "model.layer12.heads"),
        ("model.layer1.hiden", "model.layer1.hidden"),
        ("model.layer2.feed_forward4", "model.layer2.feed_forward"),
    ],
)
def test_a_mistyped_key_of_a_layer_is_answered_with_those_of_the_layer(
    key: str, meant: str
) -> None:
    with pytest.raises(InputError, match="unknown key") as error:
        simulate("flexibert", "acceltran-edge", settings={key: 2})
    assert f"did you mean {meant}" in str(error.value)
    assert "accelerator.rows" not in str(error.value)
