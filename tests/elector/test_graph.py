"""Which rows make the operands of which."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import operations

import elector
from elector.base.errors import InputError
from elector.base.table import Column
from elector.evaluation.path import inspect
from elector.operations import Operations
from elector.operations.roles import Role
from elector.operations.sparsity import list_sparsities, load_sparsity
from elector.technology import Technology


def makers(ops: Operations, word: str, operand: str, phase: str = "forward") -> set[str]:
    """Words of the rows that make an operand of the first row of that word and phase."""
    r = next(i for i, row in enumerate(ops.rows) if (row.word, row.phase) == (word, phase))
    return {ops.rows[s.row].word for s in ops.graph.sources(r, operand)}


BERT = [
    ("query", "a", {"embedding norm", "feed-forward norm"}),
    ("key, value", "a", {"embedding norm", "feed-forward norm"}),
    ("query, key, value bias", "a", {"query", "key, value"}),
    ("scores", "a", {"query, key, value bias"}),
    ("scores", "b", {"query, key, value bias"}),
    ("softmax", "a", {"scores"}),
    ("context", "a", {"softmax"}),
    ("context", "b", {"query, key, value bias"}),
    ("output", "a", {"context"}),
    ("attention residual", "a", {"output"}),
    ("attention residual", "b", {"embedding norm", "feed-forward norm"}),
    ("feed-forward in", "a", {"attention norm"}),
    ("feed-forward residual", "a", {"feed-forward out"}),
    ("feed-forward residual", "b", {"attention norm"}),
    ("pooler", "a", {"feed-forward norm"}),
]


@pytest.mark.parametrize(("word", "operand", "expected"), BERT)
def test_edges_of_bert(word: str, operand: str, expected: set[str]) -> None:
    assert makers(operations("bert-base"), word, operand) == expected


#: What the layers hand down: the sum of three gradients.
BELOW = {"query input gradient", "key, value input gradient", "attention residual gradient"}
BACKWARD = [
    ("feed-forward norm gradient", "a", {"pooler input gradient"} | BELOW),
    ("output weight gradient", "a", {"context"}),
    ("output weight gradient", "b", {"attention dropout gradient"}),
    ("value gradient", "a", {"probabilities dropout"}),
    ("value gradient", "b", {"output input gradient"}),
    ("probabilities gradient", "b", {"query, key, value bias"}),
    ("softmax gradient", "b", {"softmax"}),
    ("query gradient", "a", {"softmax gradient"}),
    ("key gradient", "b", {"query, key, value bias"}),
    ("query input gradient", "a", {"query gradient"}),
    ("key, value input gradient", "a", {"key gradient", "value gradient"}),
    ("query weight gradient", "a", {"embedding dropout", "feed-forward norm"}),
    ("embedding dropout gradient", "a", BELOW),
    ("embedding dropout gradient", "b", {"embedding dropout"}),
]


@pytest.mark.parametrize(("word", "operand", "expected"), BACKWARD)
def test_edges_of_the_backward_pass(word: str, operand: str, expected: set[str]) -> None:
    ops = operations("bert-base", mode="training")
    assert makers(ops, word, operand, "backward") == expected


def test_updates_read_the_gradients_of_their_tensor() -> None:
    ops = operations("llama-2-7b", mode="training", model__layers=2)
    assert makers(ops, "feed-forward in update", "a", "update") == {
        "feed-forward in weight gradient",
        "feed-forward gate weight gradient",
    }
    ops = operations("t5-base", mode="training")
    for r, row in enumerate(ops.rows):
        sources = ops.graph.sources(r, "a")
        if row.phase == "update" and sources:
            assert {ops.rows[s.row].place for s in sources} == {row.place}  # of its own stack
    held = {row.word for r, row in enumerate(ops.rows) if ops.graph.updates_matrix(r)}
    assert {"query update", "output update"} <= held
    assert not {"token embedding update", "norms update", "relative positions update"} & held


def test_a_generated_token_comes_from_the_one_before() -> None:
    ops = operations("gpt2", generate=8)
    r = next(i for i, x in enumerate(ops.rows) if (x.role, x.phase) == (Role.LOOKUP, "decode"))
    assert [ops.rows[s.row].word for s in ops.graph.sources(r, "a")] == ["vocabulary head"]


@pytest.mark.parametrize("model", ["bert-base", "gpt2", "llama-2-7b", "t5-base", "vit-base"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mode": "training"},
        {"mode": "training", "attention": "flash"},
        {"mode": "training", "activations": "recompute", "gradient_accumulation": 2},
        {"mode": "training", "trainable": "lora:4"},
    ],
)
def test_every_tensor_that_is_handed_on_was_made(model: str, settings: dict[str, Any]) -> None:
    """Each layer reads the one before, so that the ways an operand is made add up to its runs."""
    ops = operations(model, model__layers=3, **settings)
    for r, row in enumerate(ops.rows):
        for name in ("a", "b"):
            if getattr(row, name) not in ("activation", "saved"):
                continue
            sources = ops.graph.sources(r, name)
            given = row.role is Role.PATCH_PROJECTION and name == "a"  # images
            given |= row.role in (Role.LOSS, Role.POOLER_ACTIVATION) and row.phase == "backward"
            assert sources or given, (row.word, row.phase, name)
            ways = {s.ways: s.times for s in sources}
            # The encoder's output is one tensor for all layers.
            shared = row.cross and row.role in (Role.KEY_VALUE, Role.VALUE_LOW_RANK_A)
            runs = float(ops.count[r, 0]) / (3.0 if shared else 1.0) / row.copies
            assert given or sum(ways.values())[0] >= runs, (row.word, row.phase, name)


def test_edges_survive_the_transfers_of_a_hybrid() -> None:
    table = {"model": "bert-tiny", "accelerator": "reram+systolic", "workload.mode": "training"}
    chunk = inspect({k: Column.constant(v, 1) for k, v in table.items()}, Technology.load())
    moves = [r for r, row in enumerate(chunk.ops.rows) if row.role is Role.TRANSFER]
    assert moves
    for r in moves:
        ends = chunk.owner[chunk.ops.graph.sources(r, "a")[0].row], chunk.owner[r]
        assert ends[0] in ends[1]  # the link begins where the tensor was made
    assert makers(chunk.ops, "scores", "a") == {"query, key, value bias"}


def test_what_a_unit_has_is_not_sent_to_it_again() -> None:
    """BERT-tiny, training: 128 tokens of 128 in bf16 are 32 KiB; weight gradients on the array.

    Forward: see test_hybrid. Backward, in a layer, to the tier: gradients of the results of
    both feed-forward products (one and four wide), of output, query, and key and value (two);
    from it: of their inputs (four, one and one wide), and the sum of those of query, key and
    value. What the products read lies on the array, where it was made; gradients of weights
    go to the tier, which updates its cells.
    """
    settings = {"workload.mode": "training", "workload.precision": "native"}
    result = elector.simulate("bert-tiny", "reram+systolic", settings=settings, operations=True)
    moves = [o for o in result["operations"] if o["kind"] == "transfer"]  # type: ignore[attr-defined]
    tensor, pooled = 128 * 128 * 2, 128 * 2
    weights = 2 * (4 * 128**2 + 2 * 128 * 512) + 128**2

    def bytes_of(phase: str) -> float:
        return sum(float(o["m"] * o["count"]) for o in moves if o["phase"] == phase)

    forward = 1 + 3 + 1 + 1 + (1 + 4) + (4 + 1)
    backward = (1 + 4 + 1 + 1 + 2) + (4 + 1 + 1 + 1)
    assert bytes_of("forward") == 2 * forward * tensor + 2 * pooled
    assert bytes_of("backward") == 2 * backward * tensor + 2 * pooled
    assert bytes_of("update") == 2 * weights


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{name: quer}", "names no operation .*did you mean query"),
        ("{name: '*low-rnak*'}", "names no operation"),
        ("{layer: hed}", "names no layer .*did you mean head"),
    ],
)
def test_rules_that_can_never_match(rule: str, message: str, tmp_path: Any) -> None:
    path = tmp_path / "hybrid.yaml"
    path.write_text(
        f"base: reram+systolic\nassignment: [{{match: {rule}, unit: tier}}, {{unit: array}}]\n"
    )
    with pytest.raises(InputError, match=f"(?s)assignment\\[0\\].match.*{message}"):
        elector.simulate("bert-tiny", str(path))


def test_rules_may_name_what_only_other_models_have(tmp_path: Any) -> None:
    path = tmp_path / "hybrid.yaml"
    rules = "[{match: {name: [cross query, 'c? pointwise']}, unit: array}, {unit: tier}]"
    path.write_text(f"base: reram+systolic\nassignment: {rules}\n")
    assert elector.simulate("bert-tiny", str(path))["area_mm2"]
    gemm, path = tmp_path / "list.csv", tmp_path / "own.yaml"
    gemm.write_text("name,M,N,K\nconv1,64,64,64\nconv2,64,64,64\n")
    rules = "[{match: {name: conv2}, unit: array}, {unit: tier}]"
    path.write_text(f"base: reram+systolic\nassignment: {rules}\n")
    result = elector.simulate(str(gemm), str(path), operations=True)
    units = {o["name"]: o["unit"] for o in result["operations"]}  # type: ignore[attr-defined]
    assert units == {"conv1": "tier", "conv2": "array"}


TABLE = """model,task,seed,tau_i,tau_t,phase,operation,layer,operand,density
*,t,0,,,forward,*,*,activation,.5
"""


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "forward,querry,*,activation",
            "line 3: no operation is called that.*did you mean 'query'",
        ),
        ("forward,query,hed,activation", "line 3: no layer is called that.*did you mean 'head'"),
        ("forward,query,layr 3,activation", "line 3: no layer is called that.*'layer 3'"),
    ],
)
def test_words_of_a_sparsity_table_that_are_misspelt(row: str, message: str, tmp_path: Any) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"{TABLE}*,t,0,,,{row},.4\n")
    with pytest.raises(InputError, match=f"(?s){message}"):
        elector.simulate("bert-tiny", "acceltran-edge", settings={"workload.sparsity": str(path)})


def test_words_of_a_sparsity_table_that_are_a_users_own(tmp_path: Any) -> None:
    """A product of a list may be called what it likes; modules that were trained, too."""
    gemm = tmp_path / "list.csv"
    gemm.write_text("name,M,N,K\nquerry,640,640,640\n")

    def joules(name: str, rows: str) -> float:
        path = tmp_path / name
        path.write_text(TABLE + rows)
        settings = {"workload.sparsity": str(path)}
        return float(
            str(elector.simulate(str(gemm), "acceltran-edge", settings=settings)["energy_j"])
        )

    rows = "*,t,0,,,forward,querry,*,activation,.1\n"
    assert joules("own.csv", rows) < joules("all.csv", "")
    trained = "*,t,0,,,forward,embedder.project,1,activation,.2\n"
    assert joules("trained.csv", trained) == joules("all.csv", "")


def test_shipped_tables_name_operations() -> None:
    for name in list_sparsities():
        table = load_sparsity(name)
        assert table is None or not table.doubtful


def test_ways_of_a_layer_input() -> None:
    ops = operations("bert-base", mode="training", gradient_accumulation=3)
    r = next(i for i, row in enumerate(ops.rows) if row.role is Role.QUERY)
    times = {ops.rows[s.row].word: float(s.times[0]) for s in ops.graph.sources(r, "a")}
    assert times == {"embedding dropout": 3.0, "feed-forward norm": 33.0}
    assert np.array_equal(ops.count[r], [36.0])
