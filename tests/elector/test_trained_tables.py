"""What training writes and the simulator reads: tables, models, plans."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from elector import simulate
from elector.base.errors import InputError
from elector.describe.formats import list_models, load_model
from elector.describe.formats.described import from_mapping, to_mapping
from elector.describe.layered import NAME as HETEROGENEOUS
from elector.studies.training_run import run

HEADER = "model,task,seed,tau_i,tau_t,phase,operation,layer,operand,density,accuracy,evidence\n"
TASKS = ("digits", "elnino", "docstrings")


# The heterogeneous base holds places for layers and stacks that a file would leave out.
@pytest.mark.parametrize("name", [name for name in list_models() if name != HETEROGENEOUS])
def test_a_model_written_down_is_read_as_the_same(name: str) -> None:
    model = load_model(name)
    text = yaml.safe_dump(to_mapping(model), sort_keys=False)
    assert from_mapping(yaml.safe_load(text), model.name, None) == model


@pytest.mark.parametrize("task", TASKS)
def test_shipped_tables_make_a_training_step_cheaper(task: str) -> None:
    settings = {"workload.mode": "training", "workload.sparsity": f"trained-{task}"}

    def energy(**taus: float) -> float:
        own = {f"workload.{name}": value for name, value in taus.items()}
        result = simulate("bert-tiny", "acceltran-server", settings={**settings, **own})
        assert result["feasible"]
        return float(result["energy_j"])

    dense = energy()
    assert energy(tau_i=0.1) < dense
    assert energy(tau_t=1e-5) < dense
    assert energy(tau_i=0.1, tau_t=1e-5) < min(energy(tau_i=0.1), energy(tau_t=1e-5))


def one_run(tmp_path: Path) -> Path:
    path = tmp_path / "sparsity.csv"
    rows = [("forward", "activation"), ("backward", "activation"), ("backward", "gradient")]
    path.write_text(
        HEADER
        + "".join(
            f"m,t,0,0.05,0.0001,{phase},*,*,{operand},0.5,90,measured\n" for phase, operand in rows
        )
    )
    return path


def test_a_table_of_one_run_is_read_at_its_thresholds(tmp_path: Path) -> None:
    settings = {"workload.mode": "training", "workload.sparsity": str(one_run(tmp_path))}
    unset = simulate("bert-tiny", "acceltran-server", settings=settings)
    said = simulate(
        "bert-tiny",
        "acceltran-server",
        settings={**settings, "workload.tau_i": 0.05, "workload.tau_t": 0.0001},
    )
    assert unset["energy_j"] == said["energy_j"]
    with pytest.raises(InputError, match=r"tau_i.*outside the thresholds"):
        simulate("bert-tiny", "acceltran-server", settings={**settings, "workload.tau_i": 0.02})


def test_a_plan_finds_the_model_beside_it(tmp_path: Path) -> None:
    model = to_mapping(load_model("bert-tiny"))
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(model))
    plan = {"model": "model.yaml", "phases": [{"steps": 3, "accelerator": "tpu-v4i"}]}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    outcome = run(tmp_path / "plan.yaml")
    same = run({**plan, "model": "bert-tiny"})
    assert outcome["total"] == same["total"]
