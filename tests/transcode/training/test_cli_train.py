"""`transcode train` from outside."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from transcode.cli import main
from transcode.cli.report_train import shipped_dense

SMALL = [
    "--set",
    "model.layers=1",
    "--set",
    "model.hidden=16",
    "--set",
    "model.heads=2",
    "--set",
    "model.feed_forward=32",
    "--sequence-length",
    "4",
    "--steps",
    "6",
    "--batch",
    "8",
]


def test_without_pytorch_one_line_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    done = CliRunner().invoke(main, ["train", "encoder", "digits", "--out", str(tmp_path / "r")])
    assert done.exit_code == 2
    assert "pip install -e '.[train]'" in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.extras("torch", "sklearn")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tau-i", "-1"], "at least 0"),
        (["--tau-t", "nan"], "at least 0"),
        (["--set", "workload.batch=2"], "not a size of the model"),
        (["--set", "model.hidden=0"], "hidden"),
        (["--window", "4"], "only a switch rule"),
    ],
)
def test_bad_input_exits_with_2_and_writes_nothing(
    tmp_path: Path, options: list[str], message: str
) -> None:
    out = tmp_path / "run"
    command = ["train", "encoder", "digits", "--out", str(out), *options]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2, done.output
    assert message in done.output and "Traceback" not in done.output
    assert not out.exists()


@pytest.mark.extras("torch", "sklearn")
def test_a_run_prints_its_result_and_progress_as_lines(tmp_path: Path) -> None:
    command = ["train", "encoder", "digits", *SMALL, "--out", str(tmp_path / "r")]
    done = CliRunner().invoke(main, [*command, "--format", "json"])
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert lines[-1]["event"] == "finished" and lines[-1]["step"] == 6
    result = json.loads(done.stdout)
    assert result["baselines"].keys() == {"majority", "nearest mean"}
    table = CliRunner().invoke(main, [*command, "--quiet"])
    assert "peak of saved activations" in table.stdout and table.stderr == ""


def test_the_shipped_sweep_has_three_tasks_and_several_thresholds() -> None:
    path = Path(__file__).parents[3] / "transcode" / "data" / "accuracy" / "dynaprop.csv"
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for task in ("digits", "elnino", "docstrings"):
        own = [row for row in rows if row["task"] == task]
        assert len({row["tau_i"] for row in own}) >= 4
        assert len({row["tau_t"] for row in own}) >= 4
        scores = shipped_dense(own[0]["name"], task)
        assert len(scores) >= 2 and all(0.0 < score <= 100.0 for score in scores)
