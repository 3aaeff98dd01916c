"""simulate, sweep and features: shapes of results, isolation of bad rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import elector
from elector.base.errors import InputError
from elector.base.table import Column
from elector.studies.simulation import sweep
from elector.technology import Technology

SCALARS = [
    "latency_s",
    "energy_j",
    "latency_per_sequence_s",
    "energy_per_sequence_j",
    "throughput_sequences_per_s",
    "power_w",
    "area_mm2",
    "utilization",
    "bandwidth_utilization",
    "ops_executed",
    "macs",
    "parameters",
]
GROUPS = {
    "memory_bytes": {"weights", "gradients", "optimizer", "activations", "cache"},
    "energy_by_part_j": {"mac", "sram", "main memory", "leakage"},
    "area_by_part_mm2": {"array", "sram", "overhead"},
    "latency_by_kind_s": {"linear", "attention", "softmax", "norm"},
    "energy_by_phase_j": {"forward"},
    "provenance": {"measured", "published", "scaled", "assumed"},
}
OPERATION = {
    "name",
    "layer",
    "phase",
    "kind",
    "batch",
    "m",
    "k",
    "n",
    "count",
    "cycles",
    "seconds",
    "joules",
    "bound",
    "tile_m",
    "tile_k",
    "tile_n",
    "sram_bytes",
    "dram_bytes",
    "unit",
}


def test_simulate_has_the_keys_of_the_contract() -> None:
    result = elector.simulate("bert-tiny", "systolic", operations=True)
    keys = list(result)
    assert keys[:4] == ["model", "accelerator", "feasible", "reason"]
    assert keys[4 : 4 + len(SCALARS)] == SCALARS
    for group, parts in GROUPS.items():
        shown = result[group]
        assert isinstance(shown, dict) and parts <= set(shown), group
    operations = result["operations"]
    assert isinstance(operations, list)
    assert all(set(o) >= OPERATION for o in operations)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert "tokens_per_s" not in result


def test_generation_adds_its_three_keys() -> None:
    result = elector.simulate(
        "gpt2", "tpu-v3", settings={"workload.generate": 20, "workload.batch": 2}
    )
    first, each = result["time_to_first_token_s"], result["time_per_output_token_s"]
    assert isinstance(first, float) and isinstance(each, float)
    assert result["latency_s"] == pytest.approx(first + 19 * each)
    assert result["tokens_per_s"] == pytest.approx(2 * 20 / (first + 19 * each))
    only = elector.simulate("gpt2", "tpu-v3", settings={"workload.generate": 1})
    assert only["time_per_output_token_s"] is None
    assert only["time_to_first_token_s"] == only["latency_s"]


def test_an_infeasible_design_keeps_what_it_is() -> None:
    settings = {"accelerator.memory_capacity": "10 MB"}
    result = elector.simulate("bert-base", "systolic", settings=settings, operations=True)
    usual = elector.simulate("bert-base", "systolic")
    assert result["feasible"] is False and "has 10.0 MB" in str(result["reason"])
    for name in ("latency_s", "energy_j", "power_w", "utilization", "operations"):
        assert result[name] is None, name
    for name in ("macs", "parameters", "memory_bytes", "area_mm2"):
        assert result[name] == usual[name], name
    energy = result["energy_by_part_j"]
    assert isinstance(energy, dict) and set(energy.values()) == {None}
    json.dumps(result, allow_nan=False)


def test_numbers_are_plain_and_whole_where_they_are_whole() -> None:
    result = elector.simulate("bert-tiny", "systolic", operations=True)
    assert type(result["macs"]) is int and type(result["parameters"]) is int
    assert type(result["latency_s"]) is float and type(result["feasible"]) is bool
    operations = result["operations"]
    assert isinstance(operations, list)
    assert {type(o["m"]) for o in operations} == {int}


# ---- sweep ----


def columns(rows: list[dict[str, Any]]) -> dict[str, Column]:
    return {
        key: Column.of([row.get(key) for row in rows])
        for key in sorted({key for row in rows for key in row})
    }


GOOD = {"model": "bert-tiny", "accelerator": "systolic"}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": "bert-tinny"}, "model"),
    ({"accelerator": "tpu-v9"}, "accelerator"),
    ({"accelerator.rows": -1}, "accelerator.rows"),
    ({"accelerator.sram": "4 parsec"}, "accelerator.sram"),
    ({"model.heads": 3}, "model.heads"),
    ({"workload.sequence_length": 9999}, "workload.sequence_length"),
    ({"workload.generate": 5}, "workload.generate"),
    ({"workload.mode": "both"}, "workload.mode"),
    ({"accelerator": "gpu", "accelerator.rows": 5}, "accelerator.rows"),
]


def test_bad_rows_do_not_touch_the_others() -> None:
    """Each kind of error at its own place between good rows of several structures."""
    rows, wrong = [], {}
    for i, (bad, field) in enumerate(BAD):
        rows.append(GOOD | {"workload.batch": i + 1})
        wrong[len(rows)] = field
        rows.append(GOOD | bad)
        rows.append({"model": "gpt2", "accelerator": "tpu-v3", "workload.batch": i + 1})
    swept = sweep(columns(rows), len(rows))
    assert {row: error.field for row, error in swept.errors.items()} == wrong
    assert swept.cost is not None
    kept = [i for i in range(len(rows)) if i not in wrong]
    assert swept.place.tolist() == [kept.index(i) if i in kept else -1 for i in range(len(rows))]
    for i in kept[::4]:
        settings = {k: v for k, v in rows[i].items() if k not in ("model", "accelerator")}
        alone = elector.simulate(rows[i]["model"], rows[i]["accelerator"], settings=settings)
        place = swept.place[i]
        assert swept.cost.latency_s[place] == alone["latency_s"]
        assert swept.cost.energy_j[place] == alone["energy_j"]


def test_a_table_of_bad_rows_only() -> None:
    swept = sweep(columns([GOOD | bad for bad, _ in BAD]), len(BAD))
    assert swept.cost is None and set(swept.errors) == set(range(len(BAD)))
    assert (swept.place == -1).all()


def test_an_infeasible_row_is_a_result() -> None:
    rows = [GOOD, GOOD | {"accelerator.memory_capacity": 1e3}]
    swept = sweep(columns(rows), 2)
    assert not swept.errors and swept.cost is not None
    assert swept.cost.feasible.tolist() == [True, False]


def test_an_unknown_column_is_the_callers_error() -> None:
    """It is no row's fault: every row would fail."""
    swept = sweep(columns([GOOD | {"accelerator.rowz": 4}] * 3), 3)
    assert {e.field for e in swept.errors.values()} == {"accelerator.rowz"}


def test_a_sweep_uses_the_prices_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        "part,quantity,value,unit,node_nm,law,source,evidence,note\n"
        "mac.bf16,energy,1e6,pJ/op,14,constant,my own,measured,dear\n"
    )
    table = columns([GOOD, GOOD])
    dear, usual = sweep(table, 2, technology=Technology.load(path)).cost, sweep(table, 2).cost
    assert dear is not None and usual is not None
    assert (dear.energy_j > 100 * usual.energy_j).all()


# ---- features ----


def test_features_are_the_architecture() -> None:
    rows = [
        {"model": "bert-base"},
        {"model": "gpt2-xl"},
        {"model": "encoder", "model.layers": 4, "model.hidden": 256, "model.feed_forward": 512},
        {"model": "bert-base", "model.head": "masked-lm"},
    ]
    values = elector.features(columns(rows), 4)
    assert values["layers"].tolist() == [12, 48, 4, 12]
    assert values["hidden"].tolist() == [768, 1600, 256, 768]
    assert values["heads"].tolist() == [12, 25, 4, 12]
    assert values["feed_forward"].tolist() == [3072, 6400, 512, 3072]
    parameters = values["parameters"]
    assert parameters[[0, 1, 3]].tolist() == [109482240, 1557611200, 109514298]
    # Embeddings and their norm, four layers with biases and two norms, a pooler.
    embeddings = (30522 + 512 + 2) * 256 + 2 * 256
    layer = 4 * (256**2 + 256) + 2 * 256 * 512 + 512 + 256 + 4 * 256
    assert parameters[2] == embeddings + 4 * layer + 256**2 + 256


def test_features_do_not_look_at_the_machine() -> None:
    table = columns([GOOD | {"accelerator.rows": 7}, GOOD])
    parameters = elector.features(table, 2)["parameters"]
    assert parameters[0] == parameters[1] == 4385920
    with pytest.raises(InputError, match=r"model\.heads"):
        elector.features(columns([{"model": "bert-tiny", "model.heads": 3}]), 1)
    assert np.isnan(elector.features(columns([{"model": _gemm()}]), 1)["layers"][0])


def _gemm() -> str:
    return str(Path(elector.__file__).parent / "data" / "gemms" / "odd-square.csv")
