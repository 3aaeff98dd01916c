"""Pruning tables: what they change, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elector.base.errors import InputError
from elector.base.table import Column
from elector.evaluation.path import evaluate
from elector.studies.simulation import simulate

HEADER = "model,task,seed,tau_i,tau_t,phase,operation,layer,operand,density,accuracy,evidence\n"
FLAT = (
    "bert-tiny,sst2,0,,,forward,*,*,activation,{a},,measured\n"
    "bert-tiny,sst2,0,,,forward,*,*,weight,{w},,measured\n"
    "bert-tiny,sst2,0,,,forward,*,*,output,{a},,measured\n"
    "bert-tiny,sst2,0,,,backward,*,*,activation,{a},,measured\n"
    "bert-tiny,sst2,0,,,backward,*,*,weight,{w},,measured\n"
    "bert-tiny,sst2,0,,,backward,*,*,gradient,{g},,measured\n"
    "bert-tiny,sst2,0,,,backward,*,*,output,{g},,measured\n"
)


def table(folder: Path, text: str, name: str = "table.csv") -> str:
    path = folder / name
    path.write_text(HEADER + text, encoding="utf-8")
    return str(path)


def run(accelerator: str = "acceltran-edge", **workload: Any) -> dict[str, Any]:
    settings = {f"workload.{key}": value for key, value in workload.items()}
    return simulate("bert-tiny", accelerator, settings=settings)


def without_names(result: dict[str, Any]) -> dict[str, Any]:
    own = ("model", "accelerator", "sparsity", "settings", "notes")
    return {key: value for key, value in result.items() if key not in own}


@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("accelerator", ["acceltran-edge", "acceltran-server", "systolic"])
def test_density_one_is_dense_bit_for_bit(tmp_path: Path, mode: str, accelerator: str) -> None:
    ones = table(tmp_path, FLAT.format(a=1, w=1, g=1))
    dense = run(accelerator, mode=mode, batch=4)
    sparse = run(accelerator, mode=mode, batch=4, sparsity=ones)
    assert without_names(sparse) == without_names(dense)


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_denser_is_never_cheaper(tmp_path: Path, mode: str) -> None:
    results = []
    for d in (0.0, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.94):
        name = table(tmp_path, FLAT.format(a=d, w=d, g=d), f"{d}.csv")
        results.append(run(mode=mode, batch=4, sparsity=name))
    for key in ("latency_s", "energy_j"):
        values = np.array([f[key] for f in results])
        assert (np.diff(values) >= 0).all(), (key, values)


def test_dynaprop_saves_time_energy_and_memory_of_a_training_step() -> None:
    dense = run(mode="training", batch=32)
    pruned = run(mode="training", batch=32, sparsity="acceltran")
    assert pruned["latency_s"] < dense["latency_s"]
    assert pruned["energy_j"] < dense["energy_j"]
    assert pruned["memory_bytes"]["activations"] < 0.85 * dense["memory_bytes"]["activations"]
    assert pruned["memory_bytes"]["gradients"] == dense["memory_bytes"]["gradients"]
    assert pruned["macs"] == dense["macs"]  # dense products stay the measure of the work


def test_effective_products_are_those_of_both_masks(tmp_path: Path) -> None:
    dense = run(batch=4)
    half = run(batch=4, sparsity=table(tmp_path, FLAT.format(a=0.5, w=0.25, g=1)))
    share = half["energy_by_part_j"]["mac"] / dense["energy_by_part_j"]["mac"]
    # Linear products take .5 x .25, attention .5 x .5.
    linear, attention = 512 * (393_216 + 4 / 512 * 16_384), 4 * 2 * 2 * 2 * 128 * 128 * 64
    expected = (0.125 * linear + 0.25 * attention) / (linear + attention)
    assert share == pytest.approx(expected, rel=1e-12)
    used = half["utilization"] * half["latency_s"] / (dense["utilization"] * dense["latency_s"])
    assert used == pytest.approx(expected, rel=1e-12)


def test_dense_arrays_save_the_energy_of_products_only() -> None:
    dense, pruned = run("systolic", batch=4), run("systolic", batch=4, sparsity="acceltran")
    assert pruned["latency_s"] == dense["latency_s"]
    saved = {
        name
        for name, joules in dense["energy_by_part_j"].items()
        if pruned["energy_by_part_j"][name] < joules
    }
    assert saved == {"mac"}


def test_masks_are_read_only_where_tensors_are_compressed(tmp_path: Path) -> None:
    # At 96 % the mask bit (5 % of 20 bits) costs more than the zeros save.
    packed = run(batch=4, sparsity=table(tmp_path, FLAT.format(a=0.9, w=0.9, g=1), "a.csv"))
    plain = run(batch=4, sparsity=table(tmp_path, FLAT.format(a=0.96, w=0.96, g=1), "b.csv"))
    assert packed["energy_by_part_j"]["mask buffer"] > 0
    assert plain["energy_by_part_j"]["mask buffer"] == 0
    assert packed["energy_by_part_j"]["main memory"] < plain["energy_by_part_j"]["main memory"]


def test_thresholds_interpolate_and_seeds_average(tmp_path: Path) -> None:
    text = "".join(
        f"bert-tiny,sst2,{seed},{tau},,forward,*,*,activation,{density},,measured\n"
        for seed, shift in ((0, -0.05), (1, 0.05))
        for tau, density in ((0.0, 0.8 + shift), (0.02, 0.6 + shift), (0.04, 0.3 + shift))
    )
    name = table(tmp_path, text)
    size = 5
    columns = {
        "model": Column.constant("bert-tiny", size),
        "accelerator": Column.constant("acceltran-edge", size),
        "workload.sparsity": Column.constant(name, size),
        "workload.tau_i": Column.of([0.0, 0.01, 0.02, 0.03, 0.04]),
    }
    cost = evaluate(columns, size, level="groups")
    products = cost.utilization * cost.latency_s
    # Linear products scale with the density, attention with its square.
    linear, attention = 128 * 393_216 + 16_384, 2 * 2 * 2 * 128 * 128 * 64
    density = np.array([0.8, 0.7, 0.6, 0.45, 0.3])
    expected = linear * density + attention * density**2
    np.testing.assert_allclose(products / products[0], expected / expected[0], rtol=1e-12)
    with pytest.raises(InputError, match="outside the thresholds") as error:
        run(sparsity=name, tau_i=0.05)
    assert error.value.field == "workload.tau_i"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bert-tiny,,,,,forward,*,*,activation,1.2,,measured\n", "between 0 and 1"),
        ("bert-tiny,,,,,forward,*,*,activation,-0.1,,measured\n", "between 0 and 1"),
        ("bert-tiny,,,,,forward,*,*,activation,nan,,measured\n", "finite"),
        ("bert-tiny,,,,,sideways,*,*,activation,1,,measured\n", "unknown phase"),
        ("bert-tiny,,,,,forward,*,*,actvation,1,,measured\n", "unknown operand"),
        ("bert-tiny,,,,,forward,*,*,activation,1,,heard\n", "unknown evidence"),
        ("bert-tiny,,,,,forward,*,*\n", "cells"),
        ("a,,,,,forward,*,*,activation,1,,\nb,,,,,forward,*,*,activation,1,,\n", "second model"),
        ("bert-tiny,,,,,forward,query,*,activation,0.5,,measured\n", "'key, value'"),
        (
            "bert-tiny,,,0,,forward,*,*,activation,0.5,,measured\n"
            "bert-tiny,,,,,forward,*,*,activation,0.5,,measured\n",
            "with and without tau_i",
        ),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, message: str) -> None:
    name = table(tmp_path, text)
    with pytest.raises(InputError) as error:
        run(sparsity=name)
    assert message in str(error.value)


def test_a_missing_gradient_row_names_the_operation(tmp_path: Path) -> None:
    name = table(
        tmp_path,
        "bert-tiny,,,,,forward,*,*,activation,0.5,,measured\n"
        "bert-tiny,,,,,backward,*,*,activation,0.5,,measured\n",
    )
    with pytest.raises(InputError, match="gradient density for the operation 'pooler input grad"):
        run(sparsity=name, mode="training")


def test_unknown_sparsity_lists_the_known_ones() -> None:
    with pytest.raises(InputError) as error:
        run(sparsity="aceltran")
    assert error.value.field == "workload.sparsity" and "acceltran" in str(error.value)
