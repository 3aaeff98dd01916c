"""What crosses a link, counted by hand: a tensor once for each unit that takes it, however many
operations do, alone or beside others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import elector

Row = dict[str, Any]

#: Half a picojoule a bit, so that joules count bytes.
PICOJOULES = 0.5


def hybrid(tmp_path: Path, rules: str) -> str:
    path = tmp_path / "hybrid.yaml"
    path.write_text(
        "units:\n  one: {base: tpu-v2}\n  other: {base: tpu-v2}\nlinks:\n"
        f"  - {{between: [one, other], bandwidth: 1 TB/s, energy_per_bit: {PICOJOULES} pJ}}\n"
        f"assignment:\n{rules}  - {{unit: one}}\n"
    )
    return str(path)


def carried(model: str, accelerator: str, **settings: Any) -> tuple[float, list[Row]]:
    """Bytes of all transfers, and the rows of them."""
    asked = {name.replace("__", "."): value for name, value in settings.items()}
    result = elector.simulate(model, accelerator, settings=asked, operations=True)
    listed: Any = result["operations"]
    rows = [row for row in listed if row["kind"] == "transfer"]
    size = sum(row["m"] * row["count"] for row in rows)
    energy: Any = result["energy_by_part_j"]
    assert energy["links"] == pytest.approx(size * 8 * PICOJOULES * 1e-12)
    return size, rows


ATTENTION = "  - {match: {kind: [attention, softmax]}, unit: other}\n"


@pytest.mark.parametrize("batch", [1, 3])
def test_attention_elsewhere_in_a_training_step(batch: int, tmp_path: Path) -> None:
    """A layer sends there: queries, keys, values, the gradient of the context, probabilities after
    dropout and their gradient; and back: the context, the gradients of queries, keys and values,
    probabilities before dropout and their gradient. Those of queries, keys and values cross once,
    though the biases' gradients take all three and the products' one after another."""
    sequence, hidden, heads, layers = 128, 256, 4, 4
    settings = {"workload__mode": "training", "workload__batch": batch}
    settings |= {"workload__attention": "unfused"}
    size, rows = carried("bert-mini", hybrid(tmp_path, ATTENTION), **settings)
    vectors, square = batch * sequence * hidden * 2, batch * heads * sequence**2 * 2
    assert size == layers * (8 * vectors + 4 * square)
    back = [row["name"] for row in rows if row["phase"] == "backward" and "other" in row["name"]]
    assert sorted(back) == [
        "probabilities dropout gradient from other",
        "query, key, value bias gradient from other",
    ]


def test_attention_elsewhere_in_inference(tmp_path: Path) -> None:
    size, _ = carried("bert-mini", hybrid(tmp_path, ATTENTION), workload__attention="unfused")
    assert size == 4 * 4 * 128 * 256 * 2


def test_a_router_and_its_experts_take_one_tensor(tmp_path: Path) -> None:
    """What experts gather are rows of what the router has got; what they give comes back once."""
    rules = '  - {match: {name: ["router*", "expert*"]}, unit: other}\n'
    accelerator = hybrid(tmp_path, rules)
    sizes = {"model__layers": 2, "accelerator__units.one.memory_capacity": "1 TB"}
    sizes |= {"accelerator__units.other.memory_capacity": "1 TB"}
    size, rows = carried("mixtral-8x7b", accelerator, workload__sequence_length=64, **sizes)
    assert [row["name"] for row in rows] == [
        "router from one",
        "feed-forward residual from other",
    ]
    assert size == 2 * 2 * 64 * 4096 * 2


def test_who_got_some_rows_still_needs_the_others(tmp_path: Path) -> None:
    """A pooler takes one position of a sequence: whoever has it has not the rest."""
    rules = '  - {match: {name: "pooler*"}, unit: other}\n'
    size, _ = carried("bert-mini", hybrid(tmp_path, rules), workload__batch=3)
    assert size == 3 * 256 * 2


PRODUCTS = "  - {match: {name: b*}, unit: other}\n"


def listed(tmp_path: Path, *operations: str) -> str:
    path = tmp_path / "list.yaml"
    head = "kind: operations\nparameters: 100000\noperations:\n"
    path.write_text(head + "".join(f"- {{{operation}}}\n" for operation in operations))
    return str(path)


@pytest.mark.parametrize(
    "entry",
    [
        "name: none, m: 64 * (length - 1), k: 64, n: 64, b: activation",
        "name: none, operation: softmax, elements: 4096 * (length - 1)",
        "name: none, m: 64, k: 64, n: 64, b: activation, count: length - 1",
    ],
)
def test_an_entry_that_does_not_run_hides_no_transfer(entry: str, tmp_path: Path) -> None:
    """What stands behind it reads what the entry before it made, also beside longer sequences."""
    model = listed(
        tmp_path, "name: a, m: 64, k: 64, n: 64", entry, "name: b, m: 64, k: 64, n: 64, b: reuse"
    )
    accelerator = hybrid(tmp_path, PRODUCTS)
    size, rows = carried(model, accelerator, workload__sequence_length=1)
    assert size == 64 * 64 * 2 and [row["name"] for row in rows] == ["b from one"]
    alone_and_among(model, accelerator)


def test_two_operands_of_one_tensor_cross_once_whatever_stands_beside(tmp_path: Path) -> None:
    """Of longer sequences each takes a part of what was handed on, of the shortest all."""
    model = listed(
        tmp_path,
        "name: a, m: 64 * length, k: 64, n: 64",
        "name: b, m: 64, k: 64, n: 64, b: activation",
    )
    accelerator = hybrid(tmp_path, PRODUCTS)
    size, _ = carried(model, accelerator, workload__sequence_length=1)
    assert size == 64 * 64 * 2
    alone_and_among(model, accelerator)


def alone_and_among(model: str, accelerator: str) -> None:
    """A design of a table has its own figures, bit for bit."""
    key = "workload.sequence_length"
    table = [{"model": model, "accelerator": accelerator, key: n} for n in (1, 2, 5)]
    swept = elector.sweep(table)
    for place, row in enumerate(table):
        alone = elector.simulate(model, accelerator, settings={key: row[key]})
        for name in ("latency_s", "energy_j"):
            assert swept[name][place] == alone[name], (row[key], name)
