"""Training runs: sums over phases, the switch, bad plans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

import elector
from elector.base.errors import InputError
from elector.cli.commands import main
from elector.describe.formats import load_model
from elector.studies.training_run import run

PLAN: dict[str, Any] = {
    "model": "hpt-wind",
    "phases": [
        {
            "name": "full",
            "steps": 300,
            "trainable": "all",
            "accelerator": "hpt",
            "assignment": [{"unit": "gpu"}],
        },
        {"name": "low", "steps": 700, "trainable": "lora:8", "accelerator": "hpt"},
    ],
    "switch": {"step": 300, "window": 50, "windows": 2, "source": "test"},
}


#: Parameters of the encoders, and of what HpT trains in full beside them.
COUNTED = {
    "hpt-snow": (37_828_608, 7_595_843),
    "hpt-weather": (37_828_608, 2_254_749),
    "hpt-covid": (37_828_608, 2_198_642),
    "hpt-wind": (25_233_408, 2_150_137),
}


@pytest.mark.parametrize("name", COUNTED)
def test_parameters_of_the_applications(name: str) -> None:
    encoder, rest = COUNTED[name]
    parameters = elector.simulate(name, "systolic")["parameters"]
    assert parameters == pytest.approx(encoder + rest, rel=1e-3)
    model = load_model(name).blocks[0]
    layer = 4 * 512 * 513 + 2 * 512 * model.feed_forward[0] + model.feed_forward[0] + 5 * 512
    assert 12 * layer == encoder


def changed(**more: Any) -> dict[str, Any]:
    return PLAN | more


def test_a_run_is_the_sum_of_its_parts() -> None:
    outcome = run(PLAN)
    phases, switch, total = outcome["phases"], outcome["switch"], outcome["total"]
    parts = [*phases, switch["write"], switch["side_by_side"]]  # type: ignore[index, misc]
    for key in ("latency_s", "energy_j"):
        assert total[key] == pytest.approx(sum(p[key] for p in parts))  # type: ignore[index]
    step = elector.simulate(
        "hpt-wind", "hpt", settings={"workload.mode": "training", "workload.trainable": "lora:8"}
    )
    assert phases[1]["step_latency_s"] == step["latency_s"]  # type: ignore[index]
    assert phases[1]["energy_j"] == 700 * step["energy_j"]  # type: ignore[index, operator]
    assert switch["side_by_side"]["steps"] == 100  # type: ignore[index]


def test_frozen_weights_are_written_once() -> None:
    """Every weight of the encoder is 8 cells of 2 bits, write-verified twice."""
    outcome = run(PLAN)
    write = outcome["switch"]["write"]  # type: ignore[index]
    matrices = 12 * (4 * 512 * 512 + 2 * 512 * 1024)
    copies = write["pulses"] / (matrices * 8 * 2)
    assert copies == pytest.approx(round(copies))
    assert write["writes_per_cell"] == 2
    assert outcome["phases"][1]["writes_per_cell"] == 0  # type: ignore[index]
    assert outcome["total"]["writes_per_cell"] == 2  # type: ignore[index]


def test_training_everything_in_cells_wears_them() -> None:
    phase = {"name": "all", "steps": 1000, "trainable": "all", "accelerator": "reram"}
    outcome = run({"model": "hpt-wind", "phases": [phase]})
    assert outcome["phases"][0]["writes_per_cell"] >= 2000  # type: ignore[index]
    years = outcome["phases"][0]["lifetime_years"]  # type: ignore[index]
    assert outcome["total"]["lifetime_years"] == pytest.approx(years)  # type: ignore[index]


def test_command_and_exit_codes(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(PLAN))
    for form in ("table", "json", "csv"):
        result = CliRunner().invoke(main, ["run", str(path), "--format", form])
        assert result.exit_code == 0, result.output
    result = CliRunner().invoke(main, ["run", str(path), "--format", "json"])
    assert json.loads(result.output)["total"]["steps"] == 1000
    path.write_text(yaml.safe_dump(changed(workload={"batch": 200_000})))
    result = CliRunner().invoke(main, ["run", str(path)])
    assert result.exit_code == 3
    path.write_text(yaml.safe_dump(changed(phases=[])))
    assert CliRunner().invoke(main, ["run", str(path)]).exit_code == 2
    assert CliRunner().invoke(main, ["run", str(tmp_path / "none.yaml")]).exit_code == 2


FULL = PLAN["phases"][0]


def test_epochs_and_tokens_are_steps(tmp_path: Path) -> None:
    """67,349 sequences of SST-2 in batches of 32: 2,105 steps an epoch, the last one not full."""
    shared = {"model": "bert-tiny", "workload": {"batch": 32}, "sequences": 67_349}

    def of(**length: Any) -> dict[str, Any]:
        return run(shared | {"phases": [length | {"accelerator": "tpu-v3"}]})  # type: ignore[return-value]

    assert of(epochs=1)["total"]["steps"] == 2105
    assert of(epochs=2)["total"]["steps"] == 4210  # 134,698 / 32 = 4209.3
    assert of(tokens="1e6")["total"]["steps"] == 245  # 1e6 / (32 x 128) = 244.1
    total = of(steps=2105)["total"]
    assert total == of(epochs=1)["total"]
    assert total["sequences"] == 67_360 and total["tokens"] == 67_360 * 128
    assert total["epochs"] == pytest.approx(67_360 / 67_349)
    assert total["hours"] == pytest.approx(total["latency_s"] / 3600)
    assert total["kwh"] == pytest.approx(total["energy_j"] / 3.6e6)


def test_a_step_sees_the_sequences_of_all_of_its_micro_batches() -> None:
    """2,105 steps of 32 are 527 of 4 x 32 (67,349 / 128 = 526.2): the same data, fewer updates."""
    shared = {"model": "bert-tiny", "sequences": 67_349}

    def of(length: dict[str, object], **workload: int) -> dict[str, Any]:
        phase = length | {"accelerator": "tpu-v3"}
        return run(shared | {"workload": workload, "phases": [phase]})["total"]  # type: ignore[return-value]

    once = of({"epochs": 1}, batch=32)
    four = of({"epochs": 1}, batch=32, gradient_accumulation=4)
    assert (once["steps"], four["steps"]) == (2105, 527)
    assert four["sequences"] == 527 * 128 and four["tokens"] == 527 * 128 * 128
    assert four["epochs"] == pytest.approx(527 * 128 / 67_349)
    assert 0.5 * once["latency_s"] < four["latency_s"] < once["latency_s"]
    assert of({"tokens": 1_000_000}, batch=8, gradient_accumulation=4)["steps"] == 245


def test_a_copy_that_trains_beside_wears_the_cells_it_uses() -> None:
    """Its operands are written into the crossbars of the phase before, in every step."""
    phases = [
        {"name": "full", "steps": 300, "trainable": "all", "accelerator": "reram"},
        {"name": "low", "steps": 700, "trainable": "lora:8", "accelerator": "reram"},
    ]
    plan = {"model": "bert-tiny", "phases": phases, "switch": {"step": 300, "window": 100}}
    outcome = run(plan)
    low = elector.simulate(
        "bert-tiny",
        "reram",
        settings={"workload.mode": "training", "workload.trainable": "lora:8"},
    )
    assert low["writes_per_cell"] > 0
    beside, write = outcome["switch"]["side_by_side"], outcome["switch"]["write"]  # type: ignore[index]
    assert beside["writes_per_cell"] == pytest.approx(100 * low["writes_per_cell"])
    own = sum(phase["writes_per_cell"] for phase in outcome["phases"])  # type: ignore[attr-defined]
    own += beside["writes_per_cell"] + write["writes_per_cell"]
    assert outcome["total"]["writes_per_cell"] == pytest.approx(own)  # type: ignore[index]


def test_a_run_is_80_columns_wide_with_hours_and_kwh(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    long = changed(switch=None, phases=[p | {"steps": 2_000_000} for p in PLAN["phases"]])
    for plan in (PLAN, long):
        path.write_text(yaml.safe_dump(plan))
        text = CliRunner().invoke(main, ["run", str(path)]).output
        assert max(map(len, text.splitlines())) <= 80
        assert text.rstrip().endswith("kWh") and " h, " in text
        assert " ks" not in text and " MJ" not in text


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"phases": PLAN["phases"]}, "model"),
        (changed(phases=[]), "list of phases"),
        (changed(phases=[{"accelerator": "hpt"}], switch=None), r"phases\[0\].steps"),
        (changed(phases=[FULL | {"steps": 0}], switch=None), "steps"),
        (changed(phases=[FULL | {"steps": -5}], switch=None), "steps"),
        (changed(phases=[FULL | {"trainable": "most"}], switch=None), r"phases\[0\].trainable"),
        (changed(phases=[{"steps": 5}], switch=None), "accelerator"),
        (changed(phases=[FULL, FULL], switch=None), "given twice"),
        (changed(phases=[FULL | {"colour": 1}], switch=None), "unknown key"),
        (changed(phases=[FULL | {"accelerator": "hpx"}], switch=None), "unknown accelerator"),
        (changed(phases=[FULL | {"accelerator": "systolic"}], switch=None), "only a hybrid"),
        (changed(switch={"step": 301}), "no end of a phase"),
        (changed(switch={"step": 300, "window": 400}), "windows need"),
        (changed(switch={"window": 4}), "switch.step"),
        (changed(phases=[FULL | {"epochs": 2}], switch=None), "one is enough"),
        (
            changed(phases=[{"epochs": 2, "accelerator": "hpt"}], switch=None),
            r"phases\[0\].epochs.* needs sequences",
        ),
        (changed(phases=[{"tokens": 2, "accelerator": "hpt"}], switch=None), "has no tokens"),
        (changed(sequences=0), "sequences"),
        (changed(workload={"trainable": "all"}), "decided by the phases"),
        (changed(workload={"colour": "red"}), "unknown key"),
    ],
)
def test_bad_plans(plan: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(plan)
