"""Operation lists: what is read, refused and computed, on every machine and in a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from descriptions import refused, written

import elector
from elector.base.errors import InputError
from elector.base.table import Column
from elector.cli.commands import main
from elector.describe.formats import load_model
from elector.describe.formats.described import to_mapping
from elector.describe.formats.operations import from_listing
from elector.describe.listing import Listing
from elector.describe.sizes import Size
from elector.evaluation.path import inspect
from elector.technology import Technology

LIST: dict[str, Any] = {
    "kind": "operations",
    "symbols": {"width": 768},
    "parameters": 8_000_000,
    "operations": [
        {"name": "query", "m": "batch * length", "k": "width", "n": "width", "count": 12},
        {
            "name": "scores",
            "batch": "12 * batch",
            "m": "length",
            "k": 64,
            "n": "length",
            "b": "activation",
            "count": 12,
        },
        {"name": "probabilities", "operation": "softmax", "elements": "12 * batch * length ** 2"},
        {"name": "again", "m": "batch * length", "k": "width", "n": "width", "b": "reuse"},
    ],
}
MACHINES = ("systolic", "tpu-v4i", "acceltran-edge", "a100-sxm-40gb", "reram")


def listed(folder: Path, data: dict[str, Any], name: str = "list.yaml") -> str:
    return written(folder, yaml.safe_dump(data, sort_keys=False), name)


def changed(index: int, **entry: object) -> dict[str, Any]:
    operations = [dict(e) for e in LIST["operations"]]
    operations[index] |= entry
    return {**LIST, "operations": operations}


def test_counts_follow_batch_and_length(tmp_path: Path) -> None:
    path = listed(tmp_path, LIST)
    for batch, length in ((1, 128), (3, 50)):
        result = elector.simulate(
            path, "systolic", settings={"workload.batch": batch, "workload.sequence_length": length}
        )
        tokens = batch * length
        products = 13 * tokens * 768**2 + 12 * 12 * batch * length**2 * 64
        assert result["macs"] == products
        assert result["parameters"] == 8_000_000
        assert result["memory_bytes"]["weights"] == 2 * 8_000_000


@pytest.mark.parametrize("machine", MACHINES)
def test_a_batch_is_each_design_alone(tmp_path: Path, machine: str) -> None:
    path = listed(tmp_path, LIST)
    sizes = [(1, 128), (2, 64), (7, 33)]
    rows = [
        {"model": path, "accelerator": machine, "workload.batch": b, "workload.sequence_length": n}
        for b, n in sizes
    ]
    together = elector.evaluate(rows)
    for i, row in enumerate(rows):
        alone = elector.evaluate([row])
        for name in ("latency_s", "energy_j", "macs", "parameters"):
            assert np.array_equal(together[name].to_numpy()[i : i + 1], alone[name].to_numpy())
    assert (together["macs"].to_numpy() > 0).all()


def dumped(model: str) -> dict[str, Any]:
    """The rows that a described model runs in inference, as an operation list."""
    columns = {"model": Column.of([model]), "accelerator": Column.of(["systolic"])}
    ops, entries = inspect(columns, Technology.load()).ops, []
    kinds = {"norm": "layer_norm", "activation": "gelu", "elementwise": "residual"}
    for r, row in enumerate(ops.rows):
        numbers = {n: int(getattr(ops, n)[r, 0]) for n in ("count", "batch", "m", "k", "n")}
        entry: dict[str, Any] = {"name": row.name, "layer": row.layer, "count": numbers["count"]}
        if row.matmul:
            entry |= {**numbers, "a": row.a, "b": row.b, "out": row.out}
        else:
            width = ops.a_width[r]
            entry |= {"operation": kinds.get(row.kind, row.kind), "elements": numbers["m"]}
            entry |= {"a": row.a, "reads": int(ops.a_bytes[r, 0] / width)}
            if row.b != "none":
                entry |= {"b": row.b, "second": int(ops.b_bytes[r, 0] / width)}
        entries.append(entry)
    return {"kind": "operations", "parameters": int(ops.parameters[0]), "operations": entries}


@pytest.mark.parametrize("machine", ["systolic", "acceltran-edge", "tpu-v4i"])
def test_a_list_costs_what_the_layers_cost_that_it_lists(tmp_path: Path, machine: str) -> None:
    """The same rows under other names: equal but for biases that a formula adds in one pass."""
    path = listed(tmp_path, dumped("bert-base"))
    one, other = elector.simulate("bert-base", machine), elector.simulate(path, machine)
    assert other["macs"] == one["macs"]
    assert other["parameters"] == one["parameters"]
    assert other["memory_bytes"]["weights"] == one["memory_bytes"]["weights"]
    assert other["latency_s"] == pytest.approx(one["latency_s"], rel=5e-3)
    assert other["energy_j"] == pytest.approx(one["energy_j"], rel=5e-3)


def test_products_are_the_simplest_list(tmp_path: Path) -> None:
    """A CSV of products and the list that says the same give the same numbers, training too."""
    csv = written(tmp_path, "name,M,N,K,count\na,100,200,300,2\nb,64,64,64,1\n", "list.csv")
    streams = {"a": "stream", "b": "weight", "out": "stream"}
    operations = [
        {"name": "a", "m": 100, "n": 200, "k": 300, "count": 2, **streams},
        {"name": "b", "m": 64, "n": 64, "k": 64, **streams},
    ]
    path = listed(tmp_path, {"kind": "operations", "operations": operations})
    for mode in ("inference", "training"):
        one, other = (
            elector.simulate(model, "systolic", settings={"workload.mode": mode})
            for model in (csv, path)
        )
        for name in ("latency_s", "energy_j", "macs", "parameters", "memory_bytes"):
            assert one[name] == other[name]


def test_a_list_is_written_as_it_was_read(tmp_path: Path) -> None:
    model = load_model(listed(tmp_path, LIST))
    assert from_listing(to_mapping(model), "again", None).listing == model.listing


def test_formats_of_weights_reach_a_list(tmp_path: Path) -> None:
    path = listed(tmp_path, LIST)
    plain = elector.simulate(path, "systolic")
    packed = elector.simulate(path, "systolic", settings={"workload.weights": "int4"})
    matrices = 12 * 768 * 768
    saved = plain["memory_bytes"]["weights"] - packed["memory_bytes"]["weights"]
    assert saved == pytest.approx(matrices * (2.0 - (4 + 20 / 128) / 8), rel=1e-9)


def test_what_is_given_in_vain_is_said(tmp_path: Path) -> None:
    fixed = {"kind": "operations", "operations": [{"name": "a", "m": 8, "k": 8, "n": 8}]}
    result = elector.simulate(listed(tmp_path, fixed), "systolic", settings={"workload.batch": 4})
    assert any("workload.batch changes nothing" in note for note in result["notes"])


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ({**LIST, "operations": []}, ("operations: must be a list",)),
        ({**LIST, "extra": 1}, ("unknown key", "extra")),
        ({**LIST, "symbols": {"batch": 3}}, ("symbols.batch: batch has a meaning",)),
        ({**LIST, "symbols": {"width": 0}}, ("symbols.width: must be at least 1",)),
        ({**LIST, "symbols": {"a b": 1}}, ("symbols: is not a name",)),
        (changed(0, k="widht"), ("operations[0].k: unknown symbol widht", "width?")),
        (changed(0, k="__import__('os')"), ("operations[0].k: holds what sizes cannot have",)),
        (changed(0, k="width.real"), ("operations[0].k: holds what sizes cannot have",)),
        (changed(0, k="9 ** 9 ** 9"), ("operations[0].k",)),
        (changed(0, k="width ** 99"), ("operations[0].k: holds a power",)),
        (changed(0, k=1.5), ("operations[0].k: must be a whole number",)),
        (changed(0, k=-1), ("operations[0].k: must be a whole number",)),
        (changed(0, k=True), ("operations[0].k: must be a whole number",)),
        (changed(0, k="1 +"), ("operations[0].k: is not an expression",)),
        (changed(0, b="wieght"), ("operations[0].b: unknown choice", "weight")),
        (changed(0, elements=4), ("operations[0]: unknown key", "elements")),
        (changed(2, operation="softmx"), ("operations[2].operation: unknown choice", "softmax")),
        (changed(2, operation="softmax_backward"), ("operations[2].operation: unknown choice",)),
    ],
)
def test_a_bad_list(tmp_path: Path, data: dict[str, Any], parts: tuple[str, ...]) -> None:
    refused(tmp_path, yaml.safe_dump(data), *parts, name="list.yaml")


@pytest.mark.parametrize(
    ("data", "settings", "parts"),
    [
        (LIST, {"workload.mode": "training"}, ("workload.mode", "inference")),
        (LIST, {"workload.generate": 5}, ("workload.generate",)),
        (LIST, {"model.layers": 5}, ("model.layers", "a list of operations")),
        (changed(0, n="length"), {}, ("operations[0].n: weights cannot depend on length",)),
        (changed(0, m="length - 500"), {}, ("operations[0].m", "length = 128")),
        (changed(0, m="length // 0"), {}, ("operations[0].m",)),
        ({**LIST, "parameters": 1000}, {}, ("parameters: is less than",)),
    ],
)
def test_what_a_list_cannot_run(
    tmp_path: Path, data: dict[str, Any], settings: dict[str, Any], parts: tuple[str, ...]
) -> None:
    with pytest.raises(InputError) as caught:
        elector.simulate(listed(tmp_path, data), "systolic", settings=settings)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("batch * length ** 2", 2 * 9.0),
        ("ceil(length, 2) + 1", 3.0),
        ("min(batch, length) - max(0, 1)", 1.0),
        ("-(batch - 3) * (length // 2)", 1.0),
    ],
)
def test_sizes(text: str, value: float) -> None:
    assert Size(text).at({"batch": np.array(2.0), "length": np.array(3.0)}) == value


def test_a_listing_knows_its_symbols(tmp_path: Path) -> None:
    listing = load_model(listed(tmp_path, LIST)).listing
    assert isinstance(listing, Listing)
    assert listing.names == {"batch", "length", "width"}


@pytest.mark.parametrize("machine", MACHINES)
def test_a_list_is_traced(tmp_path: Path, machine: str) -> None:
    out = tmp_path / "trace.json"
    done = CliRunner().invoke(main, ["trace", listed(tmp_path, LIST), machine, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "query" in out.read_text()


NOTHING: list[dict[str, Any]] = [
    {"name": "none", "m": 0, "k": 8, "n": 8, "b": "activation"},
    {"name": "none", "m": 8, "k": 0, "n": 8, "b": "activation"},
    {"name": "none", "m": 8, "k": 8, "n": 0, "b": "activation"},
    {"name": "none", "m": 8, "k": 8, "n": 8, "batch": "batch - 1", "b": "activation"},
    {"name": "none", "m": 8, "k": 8, "n": 8, "count": 0, "b": "activation"},
    {"name": "none", "operation": "gelu", "elements": "length - length"},
    {"name": "none", "operation": "gelu", "elements": 64, "count": 0},
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("entry", NOTHING)
def test_what_has_a_size_of_0_does_not_run(
    tmp_path: Path, entry: dict[str, Any], machine: str
) -> None:
    """It takes no time and no energy, wherever it stands; alone it is nothing to simulate."""
    whole = [{"name": "first", "m": 16, "k": 16, "n": 16}, {"name": "last", "m": 8, "k": 8, "n": 8}]
    for index in range(3):
        mixed = [*whole[:index], entry, *whole[index:]]
        ours = elector.simulate(listed(tmp_path, {**LIST, "operations": mixed}), machine)
        plain = elector.simulate(listed(tmp_path, {**LIST, "operations": whole}), machine)
        for name in ("latency_s", "energy_j", "macs", "parameters", "ops_executed"):
            assert ours[name] == pytest.approx(plain[name], rel=1e-12), (name, index)
    with pytest.raises(InputError, match="operations: nothing runs"):
        elector.simulate(listed(tmp_path, {**LIST, "operations": [entry]}), machine)


def test_a_row_in_which_nothing_runs_does_not_touch_the_others(tmp_path: Path) -> None:
    path = listed(tmp_path, {**LIST, "operations": [NOTHING[3]]})
    rows = [
        {"model": path, "accelerator": "systolic", "workload.batch": batch} for batch in (1, 2, 3)
    ]
    swept = elector.sweep(rows)
    assert "nothing runs" in swept["error"][0]
    assert swept["error"][1:].isna().all() and (swept["latency_s"][1:] > 0).all()


@pytest.mark.parametrize("machine", [*MACHINES, "hpt", "reram+systolic"])
def test_a_list_may_hold_vector_work_alone(tmp_path: Path, machine: str) -> None:
    """No product is fetched for, not even one that another row of the table has."""
    alone = {**LIST, "operations": [{"name": "act", "operation": "gelu", "elements": 100_000}]}
    product = {"name": "product", "m": 64, "k": 64, "n": 64, "count": "length - 1"}
    both = {**LIST, "operations": [*alone["operations"], product]}
    path = listed(tmp_path, both)
    rows = [{"model": path, "accelerator": machine, "workload.sequence_length": n} for n in (1, 2)]
    swept = elector.sweep(rows)
    ours = elector.simulate(listed(tmp_path, alone), machine)
    assert ours["macs"] == ours["utilization"] == 0
    assert swept["latency_s"][0] == pytest.approx(ours["latency_s"], rel=1e-12)
    assert swept["latency_s"][1] > swept["latency_s"][0]
    assert elector.trace(listed(tmp_path, alone), machine).timeline.seconds > 0
