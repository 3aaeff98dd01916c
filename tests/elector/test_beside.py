"""A pruned design beside the dense one, and what is said of the table it was pruned by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from elector.cli.commands import main
from elector.describe.formats import load_model
from elector.describe.formats.described import to_mapping
from elector.operations.sparsity import list_sparsities
from elector.studies.pruning import warnings
from elector.studies.simulation import simulate

HEADER = "model,task,seed,tau_i,tau_t,phase,operation,layer,operand,density,accuracy,evidence\n"
PRUNED = {"workload.mode": "training", "workload.sparsity": "acceltran"}
DESIGN = ("simulate", "bert-tiny", "acceltran-edge", "--mode", "training")


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def measured_on(folder: Path, model: str) -> str:
    """A table of one density, measured on a model."""
    path = folder / "sparsity.csv"
    rows = [("forward", "activation"), ("backward", "activation"), ("backward", "gradient")]
    path.write_text(
        HEADER
        + "".join(
            f"{model},t,0,,,{phase},*,*,{operand},0.5,90,measured\n" for phase, operand in rows
        )
    )
    return str(path)


def test_a_pruned_step_carries_the_dense_one() -> None:
    result: dict[str, Any] = simulate("bert-tiny", "acceltran-edge", settings=PRUNED)
    dense: dict[str, Any] = simulate(
        "bert-tiny", "acceltran-edge", settings={"workload.mode": "training"}
    )
    assert "sparsity" not in dense
    beside = result["sparsity"]["dense"]
    assert {key: beside[key] for key in ("latency_s", "energy_j")} == {
        key: dense[key] for key in ("latency_s", "energy_j")
    }
    for name, stored in beside["memory_bytes"].items():
        assert stored == dense["memory_bytes"][name] > result["memory_bytes"][name]
    assert result["sparsity"] | {"dense": None} == {
        "table": "acceltran",
        "measured_on": None,
        "other_model": False,
        "evidence": ["assumed"],
        "dense": None,
    }


def test_thresholds_are_no_setting_of_the_dense_step() -> None:
    settings = {**PRUNED, "workload.sparsity": "trained-digits", "workload.tau_i": 0.05}
    result: dict[str, Any] = simulate("bert-tiny", "acceltran-edge", settings=settings)
    assert result["sparsity"]["dense"]["energy_j"] > result["energy_j"]


def test_what_fits_only_when_pruned_has_no_dense_costs() -> None:
    design: dict[str, object] = {"workload.mode": "training", "workload.batch": 64}
    dense: dict[str, Any] = simulate("bert-tiny", "acceltran-edge", settings=design)
    pruned: dict[str, Any] = simulate("bert-tiny", "acceltran-edge", settings=PRUNED | design)
    needed = [sum(f["memory_bytes"].values()) for f in (pruned, dense)]
    design["accelerator.memory_capacity"] = sum(needed) / 2.0
    result: dict[str, Any] = simulate("bert-tiny", "acceltran-edge", settings=PRUNED | design)
    assert result["feasible"]
    assert result["sparsity"]["dense"]["latency_s"] is None
    words = [f"--set={key}={value}" for key, value in (PRUNED | design).items()]
    shown = run("simulate", "bert-tiny", "acceltran-edge", *words)
    assert shown.exit_code == 0 and "infeasible" in shown.stdout


@pytest.mark.parametrize(
    ("model", "given", "other"),
    [
        ("bert-tiny", "bert-tiny", False),
        ("bert-base-uncased", "bert-base", False),
        ("bert-base", "bert-base-uncased", False),
        ("*", "bert-base", False),
        ("", "bert-base", False),
        ("bert-tiny", "bert-base", True),
        ("my-own", "bert-base", True),
    ],
)
def test_a_table_of_another_model_is_said_to_be_one(
    tmp_path: Path, model: str, given: str, other: bool
) -> None:
    settings = {"workload.sparsity": measured_on(tmp_path, model)}
    said = warnings(given, settings)
    assert bool(said) == other
    if other:
        assert model in said[0] and given in said[0] and "assumed" in said[0]
    result: dict[str, Any] = simulate(given, "acceltran-server", settings=settings)
    assert result["sparsity"]["other_model"] == other
    assert result["sparsity"]["evidence"] == (["assumed"] if other else ["measured"])


def test_a_misspelt_operation_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = Path(measured_on(tmp_path, "*"))
    with path.open("a") as stream:
        stream.writelines(
            f"*,t,0,,,{row},0.4,90,measured\n"
            for row in (
                "forward,querry,*,activation",
                "forward,feed forward in,*,activation",
                "forward,scores,*,activation",
                "backward,feed-forward in weight gradiant,*,gradient",
            )
        )
    said = warnings("bert-tiny", {"workload.sparsity": str(path)})
    near = [text.rpartition("did you mean ")[2] for text in said]
    assert near == ["'feed-forward in weight gradient'?", "'feed-forward in'?", "'query'?"]
    assert "bert-tiny" in said[0] and "(backward)" in said[0] and str(path) in said[0]


@pytest.mark.parametrize("model", ["bert-tiny", "gpt2", "t5-base", "encoder", "vit-base"])
def test_shipped_tables_misspell_nothing(model: str) -> None:
    for table in list_sparsities():
        said = warnings(model, {"workload.sparsity": table})
        assert not [text for text in said if "did you mean" in text]


def test_a_trained_model_knows_its_table(tmp_path: Path) -> None:
    """`transcode train` leaves both: the file bears the name that stands in the table."""
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(to_mapping(load_model("bert-tiny"))))
    settings = {"workload.sparsity": measured_on(tmp_path, "bert-tiny")}
    assert warnings(str(path), settings) == []


@pytest.mark.parametrize(
    ("sparsity", "useless"),
    [
        (None, {"tau_i", "tau_t"}),
        ("acceltran", {"tau_i", "tau_t"}),
        ("dynatran", set()),
        ("trained-digits", set()),
    ],
)
def test_thresholds_that_change_nothing_are_named(sparsity: str | None, useless: set[str]) -> None:
    settings: dict[str, object] = {"workload.tau_i": 0.05, "workload.tau_t": 1e-6}
    if sparsity:
        settings["workload.sparsity"] = sparsity
    said = [s for s in warnings("bert-base", settings) if "changes nothing" in s]
    assert {s.split()[0].removeprefix("workload.") for s in said} == useless


def test_the_command_shows_what_pruning_gains() -> None:
    text = run(*DESIGN, "--sparsity", "acceltran").stdout
    table = text[text.index("pruned beside dense") :].splitlines()
    labels = [line.split("  ")[1] for line in table[2:6]]
    assert labels == ["time", "energy", "stored activations", "stored weights"]
    assert all(line.endswith(" x") for line in table[2:6])
    assert "densities: acceltran (assumed)" in text
    assert "pruned beside dense" not in run(*DESIGN).stdout
    row = run(*DESIGN, "--sparsity", "acceltran", "--format", "csv").stdout
    assert "sparsity.dense.energy_j" in row.splitlines()[0]


@pytest.mark.parametrize("command", ["simulate", "explain", "trace"])
def test_warnings_go_to_standard_error(command: str, tmp_path: Path) -> None:
    words = [command, "bert-tiny", "acceltran-edge", "--sparsity", measured_on(tmp_path, "other")]
    words += ["--out", str(tmp_path / "t.json")] if command == "trace" else ["--format", "json"]
    result = run(*words)
    assert result.exit_code == 0 and "warning: workload.sparsity" in result.stderr
    assert "warning:" not in result.stdout
    if command != "trace":
        json.loads(result.stdout)


def test_a_sweep_warns_once_of_each_table(tmp_path: Path) -> None:
    name = measured_on(tmp_path, "other")
    rows = ["model,accelerator,workload.sparsity,workload.batch"]
    rows += [f"bert-tiny,acceltran-edge,{name},{batch}" for batch in (1, 2, 4)]
    rows += ["bert-tiny,acceltran-edge,,1", "bert-tiny,acceltran-edge,acceltran,1"]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    result = run("sweep", str(tmp_path / "t.csv"), "--out", str(tmp_path / "o.csv"))
    assert result.exit_code == 0
    assert result.stderr.count("warning: workload.sparsity") == 1
