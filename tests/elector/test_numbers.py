"""Number formats are data: what the tables hold, and that no code decides by a format's name."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import elector
from elector.base.table import DATA, read_csv, schema
from elector.describe.numbers import formats, native, precisions
from elector.machines import MACHINES
from elector.technology import Technology

PACKAGES = [Path(elector.__file__).parent, Path(elector.__file__).parent.parent / "transcode"]


def test_tables_name_each_other_and_their_sources() -> None:
    for name in ("formats", "precisions"):
        names, lines = read_csv(DATA / f"{name}.csv")
        for _, cells in lines:
            row = dict(zip(names, cells, strict=True))
            assert row["source"], row
    assert schema("workload")["precision"].choices == ("native", *precisions())


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
    found = []
    for path in (path for package in PACKAGES for path in package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in names:
                found.append(f"{path}:{node.lineno} {node.value}")
    assert not found, found


def test_lengths_of_sums_and_products_agree_with_their_kind() -> None:
    for p in precisions().values():
        assert p.sums.bits >= p.products.bits
        assert (p.products.kind == p.sums.kind) or p.products.kind == "integer"
        assert np.isfinite(p.weight) and p.weight > 0
