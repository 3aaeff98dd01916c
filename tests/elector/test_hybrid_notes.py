"""Hybrids: what no unit can use, and lists that nothing of trains."""

from __future__ import annotations

from pathlib import Path

import pytest

import elector
from elector.base.table import schema
from elector.machines import MACHINES

SPARSE_UNITS = """units:
  gpu: {base: a100-sxm-40gb}
  lanes: {base: acceltran-edge}
links:
  - {between: [gpu, lanes], bandwidth: 64 GB/s}
assignment:
"""


@pytest.mark.parametrize(
    ("rules", "model", "mode"),
    [
        ("  - {unit: gpu}\n", "bert-tiny", "inference"),
        ("  - {match: {kind: [softmax, norm]}, unit: lanes}\n  - {unit: gpu}\n", "bert-tiny", ""),
        ("  - {match: {kind: linear}, unit: lanes}\n  - {unit: gpu}\n", "bert-tiny", "inference"),
        ("  - {match: {kind: attention}, unit: lanes}\n  - {unit: gpu}\n", "bert-tiny", "training"),
        (
            "  - {match: {phase: backward}, unit: lanes}\n  - {unit: gpu}\n",
            "bert-tiny",
            "inference",
        ),
    ],
)
def test_sparsity_that_no_unit_can_use_is_said(
    tmp_path: Path, rules: str, model: str, mode: str
) -> None:
    """Figures move if and only if nothing is said: zeros count in products of AccelTran's lanes."""
    file = tmp_path / "pair.yaml"
    file.write_text(SPARSE_UNITS + rules)
    settings: dict[str, object] = {"workload.mode": mode or "inference"}
    dense = elector.simulate(model, file, settings=settings)
    sparse = elector.simulate(model, file, settings={**settings, "workload.sparsity": "acceltran"})
    said = [n for n in sparse["notes"] if n.startswith("workload.sparsity changes nothing")]
    assert len(said) == (sparse["energy_j"] == dense["energy_j"])
    assert len(said) == (not ("linear" in rules or "attention" in rules))
    assert not said or "lanes" in said[0]


@pytest.mark.parametrize("accelerator", ["hpt", "reram+systolic"])
@pytest.mark.parametrize("model", ["bert-tiny", "gemm:64x64x64", "bert-small"])
@pytest.mark.parametrize("trainable", ["all", "heads"])
def test_sparsity_of_the_shipped_hybrids(accelerator: str, model: str, trainable: str) -> None:
    settings: dict[str, object] = {"workload.trainable": trainable}
    dense = elector.simulate(model, accelerator, settings=settings)
    settings["workload.sparsity"] = "acceltran"
    sparse = elector.simulate(model, accelerator, settings=settings)
    assert dense["feasible"]
    said = [n for n in sparse["notes"] if n.startswith("workload.sparsity changes nothing")]
    assert len(said) == (sparse["energy_j"] == dense["energy_j"])


def test_machines_that_spare_zeros_are_those_of_the_schema() -> None:
    able = "|".join(sorted(name for name, m in MACHINES.items() if m.spares_zeros))
    assert schema("workload")["sparsity"].applies == f"machine={able}"


@pytest.mark.parametrize("trainable", ["heads", "all"])
def test_a_list_is_not_assigned_by_what_trains(tmp_path: Path, trainable: str) -> None:
    """It has no heads: HpT runs it where it runs a model that trains as a whole."""
    file = tmp_path / "two.csv"
    file.write_text("name,M,N,K,count\na,512,1024,2048,3\nb,64,64,64,1\n")
    plain = elector.simulate(file, "hpt", operations=True)
    given = elector.simulate(
        file, "hpt", settings={"workload.trainable": trainable}, operations=True
    )
    assert given["operations"] == plain["operations"]
    assert {op["unit"] for op in plain["operations"]} == {"gpu"}
    assert any(note.startswith("workload.trainable changes nothing") for note in given["notes"])
