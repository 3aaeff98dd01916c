"""Expressions know every numeric setting that a design has, written in the space or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

import elector
import transcode
from elector.base.errors import InputError
from elector.base.table import Column
from elector.cli.commands import main
from elector.evaluation.resolved import numbers_of, resolved
from transcode.runs import checks, query

SPACE: dict[str, Any] = {
    "name": "s",
    "model": {"base": "encoder", "layers": [2, 4], "hidden": [128, 256]},
    "accelerator": {"base": "systolic", "rows": [16, 32]},
    "objectives": {"latency_s": "min"},
}


def searched(folder: Path, **changes: Any) -> pd.DataFrame:
    """The recorded designs of a small space."""
    transcode.search({**SPACE, **changes}, out=folder, budget=64, sampler="enumerate")
    return pd.read_parquet(folder / "designs")


def test_settings_that_a_space_leaves_alone(tmp_path: Path) -> None:
    """In define, objectives, constraints and record: of the workload, the machine, the preset."""
    designs = searched(
        tmp_path / "r",
        define={"r": "latency_s * workload.batch / accelerator.cols"},
        objectives={"r": "min", "area_mm2 * model.heads / accelerator.arrays": "min"},
        constraints=["accelerator.cols >= 3", "accelerator.sram <= 8 MB", "model.heads <= 2"],
        record=["model.heads", "accelerator.double_buffer", "model.window", "model.layers"],
    )
    assert len(designs) == 8
    assert (designs["r"] == designs["latency_s"] * 1.0 / 128.0).all()
    assert (designs["model.heads"] == designs["model.hidden"].astype(float) / 64).all()
    assert (designs["feasible"] == (designs["model.heads"] <= 2)).all()
    assert designs["model.window"].isna().all()
    again = tmp_path / "again.csv"
    written = str(tmp_path / "r" / "front.csv")
    result = CliRunner().invoke(main, ["sweep", written, "--out", str(again)])
    assert result.exit_code == 0, result.output
    front = pd.read_csv(written)
    assert (pd.read_csv(again)["area_mm2"] == front["area_mm2"]).all()
    assert (pd.read_csv(again)["latency_s"] == front["latency_s"]).all()


def test_settings_of_bases_that_are_searched(tmp_path: Path) -> None:
    """Each design has those of its own model and machine."""
    designs = searched(
        tmp_path / "r",
        model={"base": ["bert-tiny", "gpt2", "gemma-2-9b"]},
        accelerator={"base": ["systolic", "tpu-v2"]},
        objectives={"latency_s / model.vocabulary": "min"},
        record=["model.layers", "model.window", "accelerator.rows"],
        workload={"attention": "unfused"},
    )
    for row in designs.to_dict("records"):
        settings = elector.simulate(row["model"], row["accelerator"])["settings"]
        assert isinstance(settings, dict)
        for name in ("model.layers", "model.window", "accelerator.rows", "model.vocabulary"):
            value = settings.get(name, {"value": None})["value"]
            assert (pd.isna(row[name]) and value is None) or row[name] == value, name


def test_settings_of_several_workloads(tmp_path: Path) -> None:
    several = {"serve": {"batch": 4}, "tune": {"mode": "training"}}
    expression = "serve.latency_s / serve.workload.batch / workload.sequence_length"
    designs = searched(tmp_path / "r", workloads=several, objectives={expression: "min"})
    assert (designs[expression] == designs["serve.latency_s"] / 4.0 / 128.0).all()
    with pytest.raises(InputError, match="needs the name of one") as caught:
        searched(tmp_path / "s", workloads=several, objectives={"workload.batch * 1": "min"})
    assert "serve.workload.batch" in caught.value.message()


#: Three machines, of which one writes its rows, one has them by default, and one has none.
MIXED = [
    {"base": "systolic", "rows": [16, 32]},
    {"base": "tpu-v4i"},
    {"base": "l4-24gb"},
]


def test_settings_that_only_one_alternative_writes(tmp_path: Path) -> None:
    """They are what they resolve to, as where no alternative writes them."""
    space: dict[str, Any] = {
        "model": {"base": "bert-tiny"},
        "accelerator": MIXED,
        "define": {"z": "latency_s * accelerator.rows"},
        "objectives": {"latency_s": "min"},
        "record": ["z"],
    }
    designs = searched(tmp_path / "r", **space)
    rows = (designs["z"] / designs["latency_s"]).round(9)
    assert dict(zip(designs["accelerator"], rows.fillna(0), strict=True))["tpu-v4i"] == 128
    assert sorted(rows.dropna()) == [16, 32, 128]
    assert designs["accelerator.rows"].isna().sum() == 2  # as it was written
    bounded = searched(tmp_path / "s", **space, constraints=["accelerator.rows >= 32"])
    assert sorted(bounded["z"][bounded["feasible"]].notna()) == [True, True]
    for where, kept in (("accelerator.rows >= 128", 1), ("not accelerator.rows < 32", 2)):
        front = transcode.front(tmp_path / "r", where=[where], objectives="z:max,latency_s:min")
        assert len(front) == kept, where
    asked = ["accelerator.rows >= 128", "accelerator.rows > 128"]
    verdicts = checks.check(query.opened(tmp_path / "r"), asked, None)
    assert [v.passed for v in verdicts] == [True, False]


def test_an_objective_without_a_value_is_named(tmp_path: Path) -> None:
    designs = searched(
        tmp_path / "r", accelerator=MIXED, objectives={"latency_s * accelerator.rows": "min"}
    )
    without = designs[designs["accelerator"] == "l4-24gb"]
    said = "objective latency_s * accelerator.rows has no value for it"
    assert not without["feasible"].any() and set(without["reason"].astype(str)) == {said}


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"where": ["accelerator.cols >= 3"]}, "where", "before they are evaluated"),
        (
            {"constraints": ["accelerator.colz >= 3"]},
            "constraints",
            "did you mean accelerator.cols?",
        ),
        ({"constraints": ["workload.bach >= 3"]}, "constraints", "did you mean workload.batch?"),
        ({"constraints": ["accelerator.dataflow == 'ws'"]}, None, "is no number"),
        ({"constraints": ["accelerator.lanes_per_pe > 1"]}, "constraints", "unknown name"),
        ({"objectives": {"model.layers": "min"}}, "objectives", "is a setting of this space"),
        ({"record": ["model.head"]}, "record", "values are no numbers"),
    ],
)
def test_what_expressions_do_not_know(
    tmp_path: Path, changes: dict[str, Any], field: str | None, words: str
) -> None:
    with pytest.raises(InputError) as caught:
        transcode.search({**SPACE, **changes}, out=tmp_path / "r", budget=8)
    assert caught.value.field == field and words in caught.value.message()
    assert "did you mean accelerator.rows" not in caught.value.message()
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("model", "accelerator", "settings"),
    [
        ("bert-base", "systolic", {"workload.batch": 3}),
        ("gemma-2-9b", "h100-sxm-80gb", {"model.layers": 5, "workload.generate": 4}),
        ("t5-base", "isaac", {"workload.target_length": 9}),
        ("deepseek-v3", "hpt", {}),
        ("nemotron-h-8b", "tpu-v4i", {"model.routing": None}),
        ("mixtral-8x7b", "acceltran-server", {"model.routing": 0.5}),
        ("vit-base", "reram+systolic", {"model.hidden": 384, "model.heads": 6}),
    ],
)
def test_numbers_are_those_that_simulate_shows(
    model: str, accelerator: str, settings: dict[str, object]
) -> None:
    """All numeric settings of a design at once, NaN for what is a list or not there."""
    given = {"model": model, "accelerator": accelerator, **settings}
    columns = {key: Column.constant(value, 1) for key, value in given.items()}
    shown = {key: entry["value"] for key, entry in resolved(columns, 1)[0].items()}
    names = [n for n, v in shown.items() if isinstance(v, int | float | list) or v is None]
    names = [n for n in names if n != "workload.task"]
    for name, number in numbers_of(columns, 1, names).items():
        value = shown[name]
        if isinstance(value, list) or value is None:
            assert pd.isna(number[0]), name
        else:
            assert number[0] == float(str(float(value))), name  # type: ignore[arg-type]


def test_layers_of_a_pattern_are_counted_together() -> None:
    """Given again, a setting changes nothing: 42 layers of two kinds are 42."""
    plain = elector.simulate("gemma-2-9b", "h100-sxm-80gb")
    settings = plain["settings"]
    assert isinstance(settings, dict) and settings["model.layers"]["value"] == 42
    again = elector.simulate("gemma-2-9b", "h100-sxm-80gb", settings={"model.layers": 42})
    assert again["latency_s"] == plain["latency_s"]
