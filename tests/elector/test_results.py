"""The registry of results: one row and one formula, the same words and units everywhere."""

from __future__ import annotations

from typing import Any

import pytest
from commands import run

import elector
from elector.base.quantity import axis_scale, plain, show, written
from elector.cost.results import registry
from elector.evaluation import formulas
from elector.studies.sweep_table import Kinds

DESIGNS: list[tuple[str, str, dict[str, object]]] = [
    ("bert-tiny", "systolic", {"workload.mode": "training"}),
    ("gpt2", "tpu-v3", {"workload.generate": 4}),
    ("bert-tiny", "isaac", {}),
    ("bert-tiny", "acceltran-edge", {}),
    ("bert-tiny", "gpu", {}),
    ("bert-tiny", "hpt", {"workload.mode": "training", "workload.trainable": "lora:4"}),
]
REMARKS = {"model", "accelerator", "feasible", "reason", "sparsity", "notes", "settings", "version"}


@pytest.mark.parametrize(("model", "accelerator", "settings"), DESIGNS)
def test_every_result_of_a_design_is_registered(
    model: str, accelerator: str, settings: dict[str, object]
) -> None:
    result = elector.simulate(model, accelerator, settings=settings)
    for name in result.keys() - REMARKS:
        metric = registry().metrics[name]
        assert bool(metric.axis) == isinstance(result[name], dict), name


def test_every_registered_result_has_a_formula_and_some_design_that_shows_it() -> None:
    """Rows without a formula, and formulas without a row, would be seen here."""
    shown: set[str] = set()
    for model, accelerator, settings in DESIGNS:
        shown |= elector.simulate(model, accelerator, settings=settings).keys()
    assert set(registry().metrics) <= shown
    assert set(formulas.SCALARS) | set(formulas.GROUPS) <= set(registry().metrics)


@pytest.mark.parametrize("metric", list(registry()), ids=lambda metric: metric.name)
def test_a_row_says_everything(metric: Any) -> None:
    assert metric.label and metric.description[0].islower() and metric.unit and metric.shown
    assert metric.show(3.0)
    for ending, unit in (("_s", "s"), ("_j", "J"), ("_w", "W"), ("_mm2", "mm2")):
        if metric.name.endswith(ending) and not metric.name.endswith("_per_s"):
            assert metric.unit.partition("/")[0] == unit
    assert Kinds(()).is_result(metric.name if not metric.axis else f"{metric.name}.any")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("tokens_per_s", 3088.2, "3,088 tokens/s"),
        ("throughput_sequences_per_s", 30881.0, "30,881 sequences/s"),
        ("memory_bytes.weights", 44.9e6, "44.9 MB"),
        ("serve.peak_ops_per_s", 22.9e12, "22.9 Top/s"),
        ("area_mm2", 2490.4, "2,490 mm2"),
        ("area_mm2", 330.0, "330 mm2"),
        ("utilization", 0.4321, "43.2 %"),
        ("latency_s", 33300.0, "9.25 h"),
        ("energy_j", 9.57e6, "2.66 kWh"),
        ("latency_s", 3.5e6, "40.5 days"),
        ("tune.energy_by_part_j.mac", 1.5e-6, "1.50 uJ"),
        ("lifetime_years", 12.34, "12.34 years"),
        ("macs", 11174215680, "11,174,215,680"),
        ("latency_s", float("nan"), "-"),
    ],
)
def test_figures_are_shown_as_people_read_them(name: str, value: float, text: str) -> None:
    assert registry().show(name, value) == text


def test_units_of_products_and_quotients() -> None:
    assert show(1.2e-6, "J*s") == "1.20 uJ s"
    assert show(12.5, "token/s/mm2") == "12.5 tokens/s/mm2"
    assert written("byte/s") == "B/s"
    assert plain(0.00001234) == "1.234e-05" and plain(1234567.8) == "1,234,568"


def test_an_axis_has_one_prefix_for_both_ends() -> None:
    assert axis_scale(2e-6, 3e-3, "s").label == "us"
    assert axis_scale(44.9e6, 3e9, "byte").label == "MB"
    assert axis_scale(3000.0, 9000.0, "token/s") == axis_scale(1.0, 2.0, "token/s")
    assert axis_scale(100.0, 2490.0, "mm2").size == 1.0
    assert axis_scale(0.0, 3.0, "s").size == 1.0


def test_labels_name_the_workload_and_the_part() -> None:
    known = registry()
    assert known.label("serve.latency_s") == "serve latency"
    assert known.label("memory_bytes.weights") == "memory of weights"
    assert known.label("tune.energy_by_part_j.mac") == "tune energy of mac"
    assert known.find("latency_s.mac") is None and known.find("latency") is None


def test_the_table_shows_every_scalar_and_group() -> None:
    text = run("simulate", "gpt2", "tpu-v3", "--generate", "4").stdout
    result = elector.simulate("gpt2", "tpu-v3", settings={"workload.generate": 4})
    for metric in registry():
        value = result.get(metric.name)
        per_sequence = metric.name.endswith(("per_sequence_s", "per_sequence_j"))
        if isinstance(value, float) and not per_sequence:
            assert f"  {metric.label} " in text and metric.show(value) in text
        elif isinstance(value, dict):
            assert f"\n{metric.label}\n" in text


TRAINING = {"workload.mode": "training"}


def test_the_bandwidth_used_is_that_of_the_weights_where_nothing_else_moves() -> None:
    """By hand: a token of batch 1 reads every weight once, and a short cache."""
    ask = {"workload.sequence_length": 1, "workload.generate": 65, "workload.precision": "bf16"}
    for accelerator, bandwidth in (("a100-sxm-80gb", 2039e9), ("h100-sxm-80gb", 3352e9)):
        result = elector.simulate("llama-2-7b", accelerator, settings=ask)
        moved = 65 * 2 * (float(result["parameters"]) - 32000 * 4096)  # one row of the embedding
        used = moved / (bandwidth * float(result["latency_s"]))
        assert result["bandwidth_utilization"] == pytest.approx(used, rel=0.02)


def test_a_convention_without_main_memory_uses_none_of_it() -> None:
    for convention, there in (("physical", True), ("scalesim", False)):
        settings = {"accelerator.convention": convention}
        result = elector.simulate("bert-tiny", "systolic", settings=settings)
        assert (result["bandwidth_utilization"] is not None) == there


def test_a_hybrid_has_the_share_of_its_busiest_memory() -> None:
    result = elector.simulate("bert-base", "hpt", settings=TRAINING)
    told = elector.explain("bert-base", "hpt", "bandwidth_utilization", settings=TRAINING)
    assert told["value"] == pytest.approx(result["bandwidth_utilization"], rel=1e-12)
    (part,) = told["parts"]
    assert any("main memory moves" in factor["name"] for factor in part["factors"])
