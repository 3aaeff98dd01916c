"""Number formats are data: what the tables hold, and that no code decides by a format's name."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import elector
from elector.base.errors import InputError
from elector.base.table import DATA, read_csv, schema
from elector.describe.numbers import (
    SAME,
    formats,
    native,
    precisions,
    storage_note,
    unpacking,
)
from elector.machines import MACHINES
from elector.technology import Technology

PACKAGES = [Path(elector.__file__).parent, Path(elector.__file__).parent.parent / "transcode"]


def test_tables_name_each_other_and_their_sources() -> None:
    for name in ("formats", "precisions"):
        names, lines = read_csv(DATA / f"{name}.csv")
        for _, cells in lines:
            row = dict(zip(names, cells, strict=True))
            assert row["source"], row
            unpacks = [bool(row.get(f"unpack{what}")) for what in ("", "_evidence", "_source")]
            assert all(unpacks) or not any(unpacks), row
    assert schema("workload")["precision"].choices == ("native", *precisions())
    for setting in ("weights", "kv_cache"):
        assert schema("workload")[setting].choices == (SAME, *unpacking())


@pytest.mark.parametrize(
    ("name", "weight", "activation", "master", "weight_gradient", "state", "accumulator"),
    [
        ("fp32", 4, 4, 0, 4, 4, 4),
        ("tf32", 4, 4, 0, 4, 4, 4),
        ("bf16", 2, 2, 0, 2, 2, 4),
        ("bf16-amp", 2, 2, 4, 4, 4, 4),
        ("fp16", 2, 2, 0, 2, 2, 4),
        ("fp16-amp", 2, 2, 4, 4, 4, 4),
        ("fp8", 1, 1, 4, 2, 4, 4),
        ("int8", 1, 1, 4, 4, 4, 4),
        ("fixed16", 2, 2, 0, 2, 2, 4),
        ("fixed20", 2.5, 2.5, 0, 2.5, 2.5, 5),
    ],
)
def test_bytes_by_kind_of_tensor(
    name: str,
    weight: float,
    activation: float,
    master: float,
    weight_gradient: float,
    state: float,
    accumulator: float,
) -> None:
    p = precisions()[name]
    assert (p.weight, p.activation, p.gradient, p.key_value) == (weight, *[activation] * 3)
    assert (p.master, p.weight_gradient, p.state) == (master, weight_gradient, state)
    assert p.accumulator == accumulator


def test_a_scale_of_a_group_takes_its_part_of_every_value() -> None:
    int8 = formats()["int8"]
    assert int8.width == 1.0  # one scale for a whole tensor
    grouped = replace(int8, bits=4.0, scale="128", scale_bits=16.0)
    assert grouped.width == pytest.approx((4 + 16 / 128) / 8)


def test_what_weights_and_cache_are_stored_in_is_one_field_each() -> None:
    p = replace(precisions()["bf16"], weights=formats()["int8"], keys_values=formats()["fp8"])
    assert (p.weight, p.key_value, p.activation, p.compute) == (1.0, 1.0, 2.0, "bf16")


def test_every_machine_can_be_built_for_formats_that_exist_and_are_priced() -> None:
    technology = Technology.load()
    for machine in MACHINES.values():
        for name in machine.fields[machine.native].choices:
            assert name in formats()
            for mode in ("inference", "training"):
                assert native(name, mode).compute == name
            if machine.name == "systolic":
                assert technology.price(f"mac.{name}", "energy", 7).value > 0
            if machine.name == "gpu":
                assert technology.price(f"gpu.{name}", "energy", 7).value > 0
                assert f"{name}_rate" in machine.fields


def test_no_code_decides_by_the_name_of_a_format() -> None:
    names = {*formats(), *precisions(), "-amp"}
    places = []
    # what other programs call their formats is told from what we do in one place
    words = Path("hf") / "quantization.py"
    paths = (path for package in PACKAGES for path in package.rglob("*.py"))
    for path in (path for path in paths if not path.match(str(words))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in names:
                places.append(f"{path}:{node.lineno} {node.value}")
    assert not places, places


def test_lengths_of_sums_and_products_agree_with_their_kind() -> None:
    for p in precisions().values():
        assert p.sums.bits >= p.products.bits
        assert (p.products.kind == p.sums.kind) or p.products.kind == "integer"
        assert np.isfinite(p.weight) and p.weight > 0


# ---- training ----


@pytest.mark.parametrize(
    ("accelerator", "settings"),
    [
        ("a100-sxm-80gb", {}),
        ("v100-sxm-16gb", {}),
        ("tpu-v3", {}),
        ("systolic", {"accelerator.datapath": "fp16"}),
        ("hpt", {}),
    ],
)
def test_a_machine_of_16_bit_floats_trains_with_master_weights(
    accelerator: str, settings: dict[str, object]
) -> None:
    """2 bytes in use and 4 of the master copy; gradients and both states of AdamW in fp32."""
    ask = {"workload.mode": "training", **settings}
    memory = elector.simulate("bert-tiny", accelerator, settings=ask)["memory_bytes"]
    parameters = 4385920
    assert memory["weights"] == (2 + 4) * parameters
    assert memory["gradients"] == 4 * parameters and memory["optimizer"] == 8 * parameters
    inference = elector.simulate("bert-tiny", accelerator, settings=settings)
    assert inference["memory_bytes"]["weights"] == 2 * parameters


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_an_explicit_16_bit_format_is_the_pure_one(precision: str) -> None:
    ask = {"workload.mode": "training", "workload.precision": precision}
    memory = elector.simulate("bert-tiny", "a100-sxm-80gb", settings=ask)["memory_bytes"]
    assert [memory[k] / 4385920 for k in ("weights", "gradients", "optimizer")] == [2, 2, 4]


def test_a_llama_with_adamw_needs_more_than_80_gb_by_itself() -> None:
    ask: dict[str, object] = {"workload.mode": "training"}
    for device in ("a100-sxm-80gb", "h100-sxm-80gb"):
        result = elector.simulate("llama-2-7b", device, settings=ask)
        assert not result["feasible"] and "main memory" in str(result["reason"])
        held = sum(result["memory_bytes"][k] for k in ("weights", "gradients", "optimizer"))
        assert held == 18 * result["parameters"] > 100e9
    ask["workload.precision"] = "bf16"
    assert elector.simulate("llama-2-7b", "a100-sxm-80gb", settings=ask)["feasible"]


@pytest.mark.parametrize(("accelerator", "bits"), [("acceltran-server", 20), ("reram", 16)])
def test_fixed_point_machines_keep_their_format_and_a_note_says_so(
    accelerator: str, bits: int
) -> None:
    settings = {"workload.mode": "training"}
    memory = elector.simulate("bert-tiny", accelerator, settings=settings)["memory_bytes"]
    assert memory["gradients"] == 4385920 * bits / 8
    assert memory["optimizer"] == 2 * memory["gradients"]
    note = storage_note(native(f"fixed{bits}", "training"))
    assert f"fixed{bits}" in note and f"{bits} bits" in note
    for wide in ("fp32", "bf16-amp", "fp16-amp", "fp8"):
        assert storage_note(precisions()[wide]) == ""


@pytest.mark.parametrize(
    ("accelerator", "settings"),
    [
        ("a100-sxm-80gb", {}),
        ("t4-16gb", {}),
        ("tpu-v1", {}),
        ("systolic", {"accelerator.datapath": "int8"}),
        ("reram", {"accelerator.datapath": "int8"}),
        ("hpt", {}),
    ],
)
def test_training_asked_for_in_int8_is_refused(
    accelerator: str, settings: dict[str, object]
) -> None:
    ask = {"workload.mode": "training", "workload.precision": "int8", **settings}
    with pytest.raises(InputError, match="holds no gradients") as caught:
        elector.simulate("bert-tiny", accelerator, settings=ask)
    assert caught.value.field == "workload.precision"
    assert "int8" not in (caught.value.allowed or ())


@pytest.mark.parametrize("base", ["a100-sxm-80gb", "systolic", "reram"])
def test_a_machine_built_for_int8_is_infeasible_for_training(base: str) -> None:
    """Its format is a property of the design, so that a search over formats goes on."""
    ask = {"workload.mode": "training", "accelerator.datapath": "int8"}
    result = elector.simulate("bert-tiny", base, settings=ask)
    assert not result["feasible"] and "does not train" in str(result["reason"])
    del ask["workload.mode"]
    plain = elector.simulate("bert-tiny", base, settings=ask)
    assert plain["feasible"] or "does not train" not in str(plain["reason"])


def test_frozen_layers_may_stand_on_a_unit_that_holds_no_gradients(tmp_path: Path) -> None:
    text = """
units:
  gpu: {base: a100-sxm-80gb}
  array: {base: systolic, datapath: int8}
links: [{between: [gpu, array], bandwidth: 100 GB/s}]
assignment:
  - {match: {phase: [%s], kind: linear}, unit: array}
  - {unit: gpu}
"""
    results = {}
    for name, phases in (("forward", "forward"), ("all", "forward, backward")):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text % phases)
        ask = {"workload.mode": "training", "workload.trainable": "lora:8"}
        results[name] = elector.simulate("bert-tiny", str(path), settings=ask)
    assert results["forward"]["feasible"]
    assert not results["all"]["feasible"] and "does not train" in results["all"]["reason"]


def test_fp8_trains_with_master_weights() -> None:
    ask = {"workload.mode": "training", "workload.precision": "fp8"}
    memory = elector.simulate("bert-tiny", "h100-sxm-80gb", settings=ask)["memory_bytes"]
    assert [memory[k] / 4385920 for k in ("weights", "gradients", "optimizer")] == [5, 2, 8]
