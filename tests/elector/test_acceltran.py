"""The AccelTran / ELECTOR machine against its published figures and against physics."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elector.base.errors import InputError
from elector.base.table import Column
from elector.evaluation.path import evaluate
from elector.machines.acceltran import ACTIONS
from elector.machines.acceltran.lanes import ORDERS
from elector.studies.simulation import simulate

PUBLISHED = {
    ("acceltran-edge", "inference"): 54.0643,
    ("acceltran-edge", "training"): 54.1452,
    ("acceltran-server", "inference"): 1829.696,
    ("acceltran-server", "training"): 1830.991,
}


def run(
    columns: dict[str, list[Any] | str], size: int, accelerator: str = "acceltran", **workload: Any
) -> Any:
    """Costs of a table; keys without a dot are settings of the accelerator."""
    table = {"model": Column.constant("bert-tiny", size)}
    table["accelerator"] = Column.constant(accelerator, size)
    for key, values in columns.items():
        name = key if "." in key or key == "model" else f"accelerator.{key}"
        table[name] = (
            Column.of(values) if isinstance(values, list) else Column.constant(values, size)
        )
    for key, value in workload.items():
        table[f"workload.{key}"] = Column.constant(value, size)
    return evaluate(table, size, level="groups")


@pytest.mark.parametrize(("accelerator", "mode"), PUBLISHED)
def test_published_areas(accelerator: str, mode: str) -> None:
    result = simulate("bert-tiny", accelerator, settings={"workload.mode": mode})
    assert result["area_mm2"] == pytest.approx(PUBLISHED[accelerator, mode], abs=5e-4)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("column", "mode"), [("area_mm2", "inference"), ("area_training_mm2", "training")]
)
def test_every_published_area(reference_dir: Path, column: str, mode: str) -> None:
    with (reference_dir / "acceltran_pairs.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    keys = (
        "tile_b",
        "tile_x",
        "tile_y",
        "pe",
        "lanes_per_pe",
        "mac_per_lane",
        "softmax_per_pe",
        "memory",
    )
    columns: dict[str, list[Any] | str] = {key: [r[key] for r in rows] for key in keys}
    for buffer in ("activation_buffer", "weight_buffer", "mask_buffer"):
        columns[buffer] = [f"{r[f'{buffer}_MB']} MB" for r in rows]
    columns["workload.batch"] = [r["batch"] for r in rows]
    cost = run(columns, len(rows), mode=mode)
    expected = np.array([float(r[column]) for r in rows])
    assert len(rows) == 432
    np.testing.assert_allclose(cost.area_mm2, expected, rtol=1e-9)


def test_loop_order_doubles_the_fetches_on_the_server() -> None:
    cost = run(
        {"loop_order": list(ORDERS), "model": "bert-base"},
        24,
        accelerator="acceltran-server",
        batch=4,
    )
    part = cost.groups["energy_by_part_j"]
    energy = part["activation buffer"] + part["weight buffer"]
    assert energy[ORDERS.index("bijk")] == energy.min()
    assert 1.9 <= energy.max() / energy.min() <= 2.1


def test_training_without_rounding_modules_is_infeasible() -> None:
    cost = run({"training_support": "false"}, 1, mode="training")
    assert not cost.feasible[0]
    assert "does not train" in str(cost.reason(0))


def test_buffer_too_small_for_a_tile_names_the_bytes() -> None:
    cost = run({"activation_buffer": "1024", "tile_x": "32", "tile_y": "32"}, 1)
    reason = str(cost.reason(0))
    assert not cost.feasible[0] and "activation buffer" in reason and "kB" in reason


def test_tile_larger_than_the_matrix_is_legal_and_padding_costs() -> None:
    cost = run(
        {"tile_x": ["8", "32"], "tile_y": ["8", "32"], "pe": "1", "lanes_per_pe": "1"},
        2,
        sequence_length=4,
    )
    assert cost.feasible.all()
    assert cost.latency_s[1] > cost.latency_s[0]


def test_a_tile_side_that_was_never_synthesised_is_refused() -> None:
    with pytest.raises(InputError, match="tile_x"):
        run({"tile_x": "12"}, 1)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("pe", [1, 3, 16, 64, 100, 512, 1024]),
        ("lanes_per_pe", [1, 2, 7, 16, 48, 128]),
        ("softmax_per_pe", [1, 2, 3, 8, 64]),
        ("bandwidth", ["1 GB/s", "5 GB/s", "25 GB/s", "25.6 GB/s"]),
        ("buffer_port", ["1 GB/s", "10 GB/s", "370 GB/s"]),
        ("lane_port", [0.5, 2, 16, 64]),
        ("activation_buffer", ["64 kB", "256 kB", "1 MB", "4 MB", "64 MB"]),
        ("weight_buffer", ["64 kB", "256 kB", "1 MB", "4 MB", "64 MB"]),
        ("run_ahead", [1, 2, 8]),
        ("clock", ["100 MHz", "700 MHz", "1 GHz"]),
    ],
)
@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("sparsity", ["dense", "acceltran"])
def test_more_is_never_slower(key: str, values: list[Any], mode: str, sparsity: str) -> None:
    cost = run({key: values}, len(values), mode=mode, sparsity=sparsity, batch=8)
    seconds = cost.latency_s
    assert (np.diff(seconds) <= 1e-12 * seconds[:-1]).all(), seconds


def test_channels_carry_bandwidth() -> None:
    cost = run({"memory": ["dram_32_2_1", "dram_16_2_2", "dram_8_2_4"]}, 3)
    assert (np.diff(cost.latency_s) < 0).all()


def test_published_memory_price_charges_every_channel() -> None:
    cost = run({"memory": "rram_1_2_32", "memory_price": ["channel", "published"]}, 2)
    joules = cost.groups["energy_by_part_j"]["main memory"]
    assert joules[1] == pytest.approx(32.0 * joules[0])


def test_gated_modules_keep_their_residue() -> None:
    cost = run({"gating_residue": [0, 0.1, 1]}, 3)
    leakage = cost.groups["energy_by_part_j"]["leakage"]
    assert leakage[0] < leakage[1] < leakage[2]
    assert leakage[1] - leakage[0] == pytest.approx(0.1 * (leakage[2] - leakage[0]))
    assert leakage[0] > 0  # the buffers hold data


def test_parts_sum_to_the_whole() -> None:
    cost = run({"pe": [64, 512]}, 2, mode="training")
    for group, total in (
        ("energy_by_part_j", cost.energy_j),
        ("energy_by_phase_j", cost.energy_j),
        ("area_by_part_mm2", cost.area_mm2),
    ):
        np.testing.assert_allclose(sum(cost.groups[group].values()), total, rtol=1e-12)
    shares = sum(cost.groups["provenance"].values())
    np.testing.assert_allclose(shares, 1.0, rtol=1e-9)


def test_alone_as_in_a_batch() -> None:
    settings: dict[str, list[Any] | str] = {
        "pe": [64, 100, 512],
        "tile_x": [8, 16, 32],
        "loop_order": ["bijk", "kjib", "ijkb"],
        "memory": ["dram_8_2_4", "hbm_32_1_4", "rram_4_2_8"],
    }
    together = run(settings, 3, mode="training", batch=5)
    for i in range(3):
        one = {key: [values[i]] for key, values in settings.items()}
        alone = run(one, 1, mode="training", batch=5)
        assert alone.energy_j[0] == together.energy_j[i]
        assert alone.latency_s[0] == together.latency_s[i]


def test_never_faster_than_the_multipliers_or_the_memory() -> None:
    settings = {"pe": [1, 64, 1024], "bandwidth": ["1 GB/s", "1 TB/s", "8 TB/s"]}
    cost = run(settings | {"memory": "rram_1_2_32"}, 3, batch=32)
    assert (cost.utilization <= 1.0).all()
    weights = 393_216 * 2.5  # the encoder's matrices cross the memory once
    assert (cost.latency_s >= weights / np.array([1e9, 1e12, 8e12])).all()


def test_every_action_is_counted() -> None:
    cost = run({}, 1, mode="training", sparsity="acceltran")
    parts = {action.part for action in ACTIONS.values()}
    joules = cost.groups["energy_by_part_j"]
    assert {name for name in parts if joules[name][0] > 0} == parts


def test_released_cycle_simulation_of_bert_tiny_on_edge() -> None:
    # 79,324 cycles: embedding load 49,954, weight load 20,027, everything else 9,343.
    result = simulate(
        "bert-tiny",
        "acceltran-edge-released",
        operations=True,
        settings={
            "workload.batch": 4,
            "workload.sparsity": "acceltran-released",
            "model.head": "none",
        },
    )
    operations: Any = result["operations"]
    cycle = 137.438953472e9 / 700e6  # bytes
    loads = [op["dram_bytes"] / cycle for op in operations if op["kind"] == "embedding"]
    weights = [op["dram_bytes"] / cycle for op in operations if op["kind"] != "embedding"]
    total = float(str(result["latency_s"])) * 700e6
    assert round(sum(loads)) == 49_954
    assert round(sum(weights)) == 20_027
    assert total - sum(loads) - sum(weights) == pytest.approx(9_343, rel=0.1)
    assert result["utilization"] == pytest.approx(0.097, rel=0.2)
