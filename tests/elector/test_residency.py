"""A list of products is one model in main memory, or products that come one at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import loaded, run

import elector
import transcode.space
from elector.base.errors import InputError

LIST = "name,M,N,K,count\nwide,64,4096,1024,3\ntall,2048,256,512,1\nsmall,8,64,64,5\n"
#: Elements of the weights of each: n x k.
WEIGHTS = {"wide": 4096 * 1024, "tall": 256 * 512, "small": 64 * 64}
COUNT = {"wide": 3, "tall": 1, "small": 5}


@pytest.fixture
def products(tmp_path: Path) -> str:
    path = tmp_path / "list.csv"
    path.write_text(LIST)
    return str(path)


def memory(path: str, accelerator: str = "systolic", **workload: object) -> dict[str, Any]:
    result = elector.simulate(
        path, accelerator, settings={f"workload.{k}": v for k, v in workload.items()}
    )
    assert isinstance(result["memory_bytes"], dict)
    return result["memory_bytes"]


@pytest.mark.parametrize("machine", ["systolic", "tpu-v4i", "a100-sxm-80gb", "acceltran-server"])
def test_memory_holds_all_of_a_model_and_the_largest_of_products(
    machine: str, products: str
) -> None:
    width = 2.5 if machine.startswith("acceltran") else 2.0
    width = 1.0 if machine == "tpu-v4i" and memory(products, machine)["weights"] % 2 else width
    whole = sum(COUNT[name] * size for name, size in WEIGHTS.items())
    assert memory(products, machine)["weights"] == width * whole
    assert memory(products, machine, residency="model")["weights"] == width * whole
    assert memory(products, machine, residency="none")["weights"] == width * max(WEIGHTS.values())


def test_training_holds_the_states_of_one_product(products: str) -> None:
    training = {"mode": "training", "precision": "bf16"}
    held = memory(products, residency="none", **training)
    largest = 2 * max(WEIGHTS.values())
    assert (held["weights"], held["gradients"], held["optimizer"]) == (
        largest,
        largest,
        2 * largest,
    )
    whole = memory(products, **training)
    assert held["activations"] <= whole["activations"] and whole["weights"] > 3 * largest


def test_a_benchmark_list_is_not_one_model_that_needs_137_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    lines = [f"p{i},512,16384,8192" for i in range(512)]
    path.write_text("\n".join(["name,M,N,K", *lines]) + "\n")
    whole = elector.simulate(str(path), "a100-sxm-80gb")
    assert not whole["feasible"] and "main memory: needs 138 GB" in str(whole["reason"])
    settings: dict[str, object] = {"workload.residency": "none"}
    result = elector.simulate(str(path), "a100-sxm-80gb", settings=settings)
    assert result["feasible"]
    room: dict[str, object] = {"accelerator.memory_capacity": "1 TB"}
    roomy = elector.simulate(str(path), "a100-sxm-80gb", settings=room)
    assert result["latency_s"] == roomy["latency_s"] and result["macs"] == roomy["macs"]


@pytest.mark.parametrize("machine", ["systolic", "acceltran-server", "a100-sxm-80gb"])
def test_time_and_energy_are_those_of_the_list(machine: str, products: str) -> None:
    """Residency is about what memory holds: products run as they did."""
    one, other = (
        elector.simulate(products, machine, settings={"workload.residency": r})
        for r in ("model", "none")
    )
    assert one["latency_s"] == other["latency_s"] and one["energy_j"] == other["energy_j"]


def test_the_option_is_short_for_the_key(products: str) -> None:
    short = loaded("simulate", products, "systolic", "--residency", "none", "--format", "json")
    key = loaded(
        "simulate", products, "systolic", "--set", "workload.residency=none", "--format", "json"
    )
    assert short == key
    assert short["memory_bytes"]["weights"] == 2 * max(WEIGHTS.values())
    bad = run("simulate", products, "systolic", "--residency", "all")
    assert bad.exit_code == 2 and "model, none" in bad.stderr


@pytest.mark.parametrize("value", ["none", "model"])
@pytest.mark.parametrize("model", ["bert-tiny", "one.csv"])
def test_it_is_said_where_it_changes_nothing(model: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("name,M,N,K\na,8,8,8\n")
    name = model if model == "bert-tiny" else str(tmp_path / model)
    result = elector.simulate(name, "systolic", settings={"workload.residency": value})
    notes = result["notes"]
    assert isinstance(notes, list)
    (note,) = [n for n in notes if n.startswith("workload.residency changes nothing")]
    assert "gemm" in note and "several products" in note


def test_a_space_where_it_can_have_no_effect_is_refused() -> None:
    space = {
        "model": "bert-tiny",
        "accelerator": {"base": "systolic", "rows": [64, 128]},
        "workload": {"residency": "none"},
        "objectives": {"latency_s": "min"},
    }
    with pytest.raises(InputError, match="changes nothing in this space"):
        transcode.space.load(space)
