"""`transcode` from outside: exit codes, messages, files, and the real simulator underneath."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result

from elector.cli.commands import main as elector
from transcode.cli import main

SPACE = """
name: tiny
model: {base: encoder, layers: [2, 4], hidden: [128, 256], heads: [2, 4]}
accelerator: {base: systolic, rows: [16, 32, 64], dataflow: [ws, os], sram: [1 MB, 4 MB]}
workload: {task: sst2}
objectives: {accuracy: max, latency_s: min, energy_j: min}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(SPACE)
    return tmp_path


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_search_front_plot(folder: Path) -> None:
    done = invoke("search", "tiny.yaml")
    assert done.exit_code == 0, done.output
    assert "designs that nothing beats" in done.stdout
    assert "leave-one-out" in done.stdout and "hypervolume" in done.stdout
    assert "results/tiny" in done.stdout
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert lines[-1]["event"] == "finished" and lines[-1]["designs"] == 96
    assert (folder / "results" / "tiny" / "front.png").stat().st_size > 1000
    shown = invoke("front", "results/tiny")
    assert shown.exit_code == 0 and shown.stdout.splitlines()[0] == done.stdout.splitlines()[0]
    csv = invoke("front", "results/tiny", "--format", "csv")
    assert csv.stdout == (folder / "results/tiny/front.csv").read_text()
    drawn = invoke("plot", "results/tiny", "--out", "x.png")
    assert drawn.exit_code == 0 and (folder / "x.png").exists()


def test_tables_in_a_pipe_are_as_wide_as_columns_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke("search", "tiny.yaml", "--quiet").exit_code == 0
    whole = invoke("front", "results/tiny").stdout
    assert max(map(len, whole.splitlines())) > 60
    monkeypatch.setenv("COLUMNS", "60")
    narrow = invoke("front", "results/tiny").stdout.partition("\nthe same in")[0]
    assert max(map(len, narrow.splitlines())) <= 60
    for nonsense in ("", "wide", "-60", "0", "9" * 50):
        monkeypatch.setenv("COLUMNS", nonsense)
        assert invoke("front", "results/tiny").stdout == whole, nonsense


def test_sweep_repeats_the_front_bit_for_bit(folder: Path) -> None:
    assert invoke("search", "tiny.yaml", "--quiet").exit_code == 0
    table = "results/tiny/front.csv"
    swept = CliRunner().invoke(elector, ["sweep", table, "--out", "again.csv"])
    assert swept.exit_code == 0, swept.output
    first, again = (pd.read_csv(path) for path in (table, "again.csv"))
    for name in ("latency_s", "energy_j"):
        assert first[name].equals(again[name])


def test_several_workloads_are_swept_bit_for_bit(folder: Path) -> None:
    space = yaml.safe_load(SPACE)
    space["workloads"] = {"serve": {"batch": 2}, "tune": {"mode": "training"}}
    space["objectives"] = {"serve.latency_s": "min", "tune.energy_j": "min", "area_mm2": "min"}
    del space["workload"]
    (folder / "two.yaml").write_text(yaml.safe_dump({**space, "name": "two"}))
    assert invoke("search", "two.yaml", "--quiet").exit_code == 0
    swept = CliRunner().invoke(elector, ["sweep", "results/two/front.csv", "--out", "again.csv"])
    assert swept.exit_code == 0, swept.output
    first, again = (pd.read_csv(path) for path in ("results/two/front.csv", "again.csv"))
    for name in space["objectives"]:
        assert first[name].equals(again[name]), name


@pytest.mark.parametrize("format", ["json", "csv"])
def test_stdout_holds_the_result_only(folder: Path, format: str) -> None:
    done = invoke("search", "tiny.yaml", "--format", format)
    assert done.exit_code == 0
    assert done.stdout == (folder / f"results/tiny/front.{format}").read_text()


def test_jobs_do_not_change_the_front(folder: Path) -> None:
    for jobs in ("1", "2", "3"):
        assert invoke("search", "smoke", "--jobs", jobs, "--out", jobs, "--quiet").exit_code == 0
    fronts = [(folder / jobs / "front.json").read_bytes() for jobs in ("1", "2", "3")]
    assert fronts[0] == fronts[1] == fronts[2]


def test_nothing_feasible_exits_with_3(folder: Path) -> None:
    (folder / "tiny.yaml").write_text(SPACE + "constraints: [latency_s <= 1 ns]\n")
    done = invoke("search", "tiny.yaml", "--quiet")
    assert done.exit_code == 3
    assert "latency_s <= 1 ns" in done.stderr and "nearest miss" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SPACE.replace("encoder", "encodr"), "encodr"),
        (SPACE.replace("systolic", "sistolic"), "systolic"),
        (SPACE.replace("latency_s", "latency"), "latency_s"),
        (SPACE.replace("heads: [2, 4]", "heads: [2, 3]"), "model.hidden % model.heads"),
        (SPACE.replace("sst2", "chess"), "sst2"),
        (SPACE + "name: again\n", "duplicate"),
        (SPACE + "colour: red\n", "unknown key"),
    ],
)
def test_bad_spaces_exit_with_2_and_write_nothing(folder: Path, text: str, words: str) -> None:
    (folder / "tiny.yaml").write_text(text)
    done = invoke("search", "tiny.yaml")
    assert done.exit_code == 2
    assert words in done.stderr and "tiny.yaml" in done.stderr and "Traceback" not in done.stderr
    assert not (folder / "results").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "nothing.yaml"),
        ("search", "smok"),
        ("search", "tiny.yaml", "--sampler", "nsga22"),
        ("search", "tiny.yaml", "--time", "soon"),
        ("search", "tiny.yaml", "--budget", "0"),
        ("search", "tiny.yaml", "--out", "tiny.yaml"),
        ("front", "nowhere"),
        ("plot", "nowhere"),
        ("serch", "tiny.yaml"),
    ],
)
def test_bad_usage_exits_with_2(folder: Path, arguments: tuple[str, ...]) -> None:
    done = invoke(*arguments)
    assert done.exit_code == 2, done.output
    assert sorted(path.name for path in folder.iterdir()) == ["tiny.yaml"]


def start(out: str, *more: str) -> subprocess.Popen[str]:
    """A search in a process of its own: smoke in a hundred batches, so that it can be hit."""
    arguments = ["search", "smoke", "--sampler", "enumerate", "--batch", "64", "--out", out, *more]
    code = f"from transcode.cli import main; main({arguments!r})"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        # A shell that runs the tests in the background makes them ignore interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_parts(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(folder.glob("part-*.parquet"))) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_killed_and_resumed(folder: Path) -> None:
    whole = start("whole", "--quiet")
    assert whole.wait(120) == 0
    for parts in (3, 12):
        process = start("killed", "--quiet")
        wait_for_parts(process, folder / "killed" / "designs", parts)
        process.kill()
        process.wait(30)
    committed = len(list((folder / "killed" / "designs").glob("part-*.parquet")))
    assert committed >= 12
    resumed = start("killed")
    assert resumed.wait(120) == 0
    for name in ("front.csv", "front.json"):
        assert (folder / "killed" / name).read_bytes() == (folder / "whole" / name).read_bytes()
    designs = [pd.read_parquet(folder / name / "designs") for name in ("whole", "killed")]
    pd.testing.assert_frame_equal(*designs)


def test_interrupt_exits_with_130_and_leaves_a_front(folder: Path) -> None:
    process = start("stopped")  # a hundred batches: it cannot be done before
    wait_for_parts(process, folder / "stopped" / "designs", 2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert (folder / "stopped" / "front.csv").exists()
    assert json.loads((folder / "stopped" / "manifest.json").read_text())["status"] == "interrupted"
    assert start("stopped", "--quiet").wait(120) == 0


@pytest.mark.parametrize(("layers", "rows"), [("[2]", "[32]"), ("[2, 4]", "[16, 32]")])
def test_the_smallest_fronts_are_drawn(folder: Path, layers: str, rows: str) -> None:
    text = (
        f"name: least\nmodel: {{base: encoder, layers: {layers}}}\n"
        f"accelerator: {{base: systolic, rows: {rows}}}\n"
        "objectives: {latency_s: min, energy_j: min}\n"
    )
    Path("least.yaml").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(main, ["search", "least.yaml", "--out", "least"])
    assert result.exit_code == 0, result.output
    assert Path("least/front.png").stat().st_size > 5_000


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("transcode sea", {"search"}),
        ("transcode search smo", {"smoke"}),
        ("transcode search smoke --sampler evo", {"evolve"}),
        ("transcode search smoke --rep", {"--report"}),
        ("transcode train bert-ti", {"bert-tiny"}),
        ("transcode train bert-tiny digits --set model.lay", {"model.layers="}),
        ("transcode show --y", {"--yaml"}),
    ],
)
def test_completion_of_a_shell(words: str, wanted: set[str]) -> None:
    from click.shell_completion import BashComplete

    from transcode.cli import main

    *before, last = words.split()
    completer = BashComplete(main, {}, "transcode", "_TRANSCODE_COMPLETE")
    completions = {item.value for item in completer.get_completions(before[1:], last)}
    assert wanted <= completions and all(name.startswith(last) for name in completions)
