"""What changes nothing in a hybrid, since no unit that could use it has the work for it."""

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


#: Settings of hpt, and where the unit or link has something to do.
OF_UNITS = {
    "accelerator.units.array.double_buffer": False,
    "accelerator.units.tier.write_pulse": "10 us",
    "accelerator.links.tier-array.latency": "1 ms",
    "accelerator.units.gpu.l2": "1 MB",
}


@pytest.mark.parametrize(("trainable", "working"), [("all", ["gpu"]), ("heads", ["tier", "array"])])
def test_settings_of_a_unit_or_link_without_work_are_said(
    trainable: str, working: list[str]
) -> None:
    """Each alone: what it says is what the figures do."""
    settings: dict[str, object] = {"workload.mode": "training", "workload.trainable": trainable}
    plain = elector.simulate("bert-tiny", "hpt", settings=settings)
    assert not any("nothing to do" in n or "goes over" in n for n in plain["notes"])
    for key, value in OF_UNITS.items():
        given = elector.simulate("bert-tiny", "hpt", settings={**settings, key: value})
        said = [n for n in given["notes"] if n.startswith(f"{key} changes")]
        works = all(part in working for part in key.split(".")[2].split("-"))
        assert len(said) == (not works)
        if said:
            counted = ("area", "energy", "power", "peak", "utilization", "provenance")
            mine = counted if "units" in key else ()
            for name in set(plain) - {"notes", "settings"}:
                assert name.startswith(mine) or given[name] == plain[name], name
            assert ("peak count" in said[0]) == ("units" in key)


def test_of_a_table_each_design_has_its_own() -> None:
    key = "accelerator.links.tier-array.latency"
    table = elector.sweep(
        {
            "model": ["bert-tiny"] * 3,
            "accelerator": ["hpt"] * 3,
            "workload.mode": ["training"] * 3,
            "workload.trainable": ["all", "heads", "all"],
            key: ["1 ms", "1 ms", None],
        }
    )
    notes = [str(text) for text in table["notes"]]
    assert [key in text for text in notes] == [True, False, False]
