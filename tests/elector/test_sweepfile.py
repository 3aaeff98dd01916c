"""`elector sweep`: a table in, a table out, row by row what `elector simulate` says."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest
from commands import run

import elector
from elector.base.errors import EvaluationError

TABLE = """note.why,model,accelerator,workload.batch,accelerator.rows
first,bert-tiny,systolic,1,
second,bert-mini,systolic,2,64
third,bert-tiny,tpu-v4i,4,
"""


def written(folder: Path, text: str) -> str:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_sweep_is_simulate_row_by_row(tmp_path: Path) -> None:
    out = tmp_path / "costs.csv"
    result = run("sweep", written(tmp_path, TABLE), "--out", str(out))
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    rows = rows_of(out)
    assert [row["note.why"] for row in rows] == ["first", "second", "third"]
    settings: list[dict[str, object]] = [
        {"workload.batch": 1},
        {"workload.batch": 2, "accelerator.rows": 64},
        {"workload.batch": 4},
    ]
    for row, own in zip(rows, settings, strict=True):
        single = elector.simulate(row["model"], row["accelerator"], settings=own)
        for name in ("latency_s", "energy_j", "area_mm2", "macs"):
            assert float(row[name]) == single[name]
        memory = single["memory_bytes"]
        assert isinstance(memory, dict)
        assert float(row["memory_bytes.weights"]) == memory["weights"]
        assert (row["feasible"], row["reason"], row["error"]) == ("True", "", "")


def test_a_swept_table_can_be_swept_again(tmp_path: Path) -> None:
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    run("sweep", written(tmp_path, TABLE), "--out", str(first))
    assert run("sweep", str(first), "--out", str(second)).exit_code == 0
    assert first.read_bytes() == second.read_bytes()
    assert run("sweep", str(first), "--out", str(first)).exit_code == 0
    assert first.read_bytes() == second.read_bytes()


def test_sweep_passes_identifiers_and_accuracies_through(tmp_path: Path) -> None:
    text = "id,model,accelerator,accuracy,accuracy_std,latency_s\n7,bert-tiny,systolic,.8,.01,9\n"
    out = tmp_path / "costs.csv"
    assert run("sweep", written(tmp_path, text), "--out", str(out)).exit_code == 0
    (row,) = rows_of(out)
    assert (row["id"], row["accuracy"], row["accuracy_std"]) == ("7", ".8", ".01")
    assert float(row["latency_s"]) < 1


def test_a_front_over_several_workloads_is_swept_for_each(tmp_path: Path) -> None:
    text = (
        "id,model,accelerator,workload.batch,workloads.serve.mode,workloads.tune.mode,"
        "workloads.tune.batch,accuracy,serve.latency_s,tune.energy_j,area_mm2,feasible\n"
        "1,bert-tiny,systolic,2,inference,training,8,0.8,0,0,0,true\n"
        "2,bert-tiny,tpu-v1,2,inference,training,,0.8,0,0,0,true\n"
    )
    out = tmp_path / "costs.csv"
    result = run("sweep", written(tmp_path, text), "--out", str(out))
    assert result.exit_code == 0, result.stderr
    rows = rows_of(out)
    serve = elector.simulate("bert-tiny", "systolic", settings={"workload.batch": 2})
    settings = {"workload.batch": 8, "workload.mode": "training"}
    tune = elector.simulate("bert-tiny", "systolic", settings=settings)
    assert float(rows[0]["serve.latency_s"]) == serve["latency_s"]
    assert float(rows[0]["tune.energy_j"]) == tune["energy_j"]
    assert float(rows[0]["area_mm2"]) == serve["area_mm2"]
    assert float(rows[0]["parameters"]) == 4_385_920
    assert rows[0]["accuracy"] == "0.8"
    assert rows[0]["feasible"] == "True"
    assert "latency_s" not in rows[0]
    again = tmp_path / "again.csv"
    assert run("sweep", str(out), "--out", str(again)).exit_code == 0
    assert again.read_bytes() == out.read_bytes()
    wrong = text.replace("workloads.tune.batch", "workloads.tune.bacth")
    assert run("sweep", written(tmp_path, wrong), "--out", str(out)).exit_code == 2


def test_unreadable_rows_fill_error_and_exit_with_4(tmp_path: Path) -> None:
    text = TABLE + (
        "unknown,bert-tin,systolic,1,\n"
        "zero,bert-tiny,systolic,0,\n"
        "short,bert-tiny\n"
        "empty,,systolic,1,\n"
        "nan,bert-tiny,systolic,nan,\n"
        'foreign,"bert-tiny",systolic,1,8 MB\n'
    )
    out = tmp_path / "costs.csv"
    result = run("sweep", written(tmp_path, text), "--out", str(out))
    assert result.exit_code == 4
    assert "9 rows, 0 infeasible, 6 unreadable" in result.stderr
    assert "line 5: model: unknown model" in result.stderr
    rows = rows_of(out)
    assert len(rows) == 9
    assert all(not row["error"] and row["latency_s"] for row in rows[:3])
    assert all(row["error"] and not row["latency_s"] and not row["feasible"] for row in rows[3:])
    assert "did you mean bert-tiny?" in rows[3]["error"]
    assert "at least 1" in rows[4]["error"]
    assert "has 2 cells" in rows[5]["error"]
    assert "model: is empty" in rows[6]["error"]
    alone = tmp_path / "alone.csv"
    run("sweep", written(tmp_path, TABLE), "--out", str(alone))
    assert [r["energy_j"] for r in rows[:3]] == [r["energy_j"] for r in rows_of(alone)]


def test_a_table_without_a_readable_row(tmp_path: Path) -> None:
    out = tmp_path / "costs.csv"
    text = "model,accelerator\nbert-tin,systolic\n,\nx,y\n"
    assert run("sweep", written(tmp_path, text), "--out", str(out)).exit_code == 4
    assert [bool(row["error"]) for row in rows_of(out)] == [True, True]


def test_infeasible_rows_are_results(tmp_path: Path) -> None:
    text = (
        "model,accelerator,workload.mode,accelerator.memory_capacity,accelerator.sram\n"
        "bert-base,systolic,training,10 MB,1 MB\nbert-tiny,systolic,inference,,\n"
    )
    out = tmp_path / "costs.csv"
    result = run("sweep", written(tmp_path, text), "--out", str(out))
    assert result.exit_code == 0
    assert "2 rows, 1 infeasible, 0 unreadable" in result.stderr
    rows = rows_of(out)
    assert (rows[0]["feasible"], rows[0]["latency_s"], rows[0]["error"]) == ("False", "", "")
    assert rows[0]["reason"]
    assert float(rows[0]["macs"]) > 0
    assert rows[1]["feasible"] == "True"


def test_sweep_to_standard_output_json_and_parquet(tmp_path: Path) -> None:
    table = written(tmp_path, TABLE)
    result = run("sweep", table, "--out", "-")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == 3
    assert run("sweep", table, "--out", str(tmp_path / "a.json")).exit_code == 0
    records = json.loads((tmp_path / "a.json").read_text())
    assert [record["latency_s"] for record in records] == [float(r["latency_s"]) for r in rows]
    assert records[0]["feasible"] is True
    assert run("sweep", table, "--out", str(tmp_path / "a.parquet")).exit_code == 0
    import pandas as pd

    frame = pd.read_parquet(tmp_path / "a.parquet")
    assert frame["latency_s"].tolist() == [record["latency_s"] for record in records]
    assert frame["feasible"].all()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("model,accelerator,worklod.batch\na,b,1\n", ("unknown column", "mean workload.batch?")),
        ("model,accelerator,comment\na,b,1\n", ("comment", "note.NAME")),
        ("model,workload.batch\na,1\n", ("accelerator: line 1: column is missing",)),
        ("model,accelerator,model\na,b,c\n", ("column given twice",)),
        ("model,,accelerator\na,b,c\n", ("(no name)",)),
        ("model,accelerator\n", ("has a header but no rows",)),
        ("", ("is empty",)),
        ('model,accelerator\n"a,b\n', ("line",)),
    ],
)
def test_a_bad_table_exits_with_2_and_writes_nothing(
    tmp_path: Path, text: str, parts: tuple[str, ...]
) -> None:
    path, out = written(tmp_path, text), tmp_path / "costs.csv"
    result = run("sweep", path, "--out", str(out))
    assert result.exit_code == 2
    for part in (path, *parts):
        assert part in result.stderr
    assert os.listdir(tmp_path) == ["table.csv"]


def test_an_output_that_cannot_be_written_is_found_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("worked before the output was checked")

    monkeypatch.setattr("elector.studies.sweep.run_sweep", never)
    table = written(tmp_path, TABLE)
    for out, problem in (
        (tmp_path / "absent" / "costs.csv", "cannot be written"),
        (tmp_path, "is a directory"),
        (tmp_path / "costs.xls", "unknown kind of file"),
        (Path(table) / "costs.csv", "cannot be written"),
    ):
        result = run("sweep", table, "--out", str(out))
        assert result.exit_code == 2, out
        assert problem in result.stderr
    assert os.listdir(tmp_path) == ["table.csv"]


def test_a_failed_sweep_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "costs.csv"
    out.write_text("precious")

    def fail(*_: object, **__: object) -> None:
        raise EvaluationError("the disk is full")

    monkeypatch.setattr("elector.studies.sweep_output.write_csv", fail)
    assert run("sweep", written(tmp_path, TABLE), "--out", str(out)).exit_code == 1
    assert out.read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["costs.csv", "table.csv"]


def test_a_sweep_writes_into_a_device(tmp_path: Path) -> None:
    assert run("sweep", written(tmp_path, TABLE), "--out", os.devnull).exit_code == 0
    assert not Path(os.devnull).is_file()


# ---- standard input, what is printed, JUnit XML


def test_standard_input_is_a_table_like_any_other(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from elector.cli.commands import main

    named = run("sweep", written(tmp_path, TABLE), "--out", "-")
    piped = CliRunner().invoke(main, ["sweep", "-", "--out", "-"], input=TABLE)
    assert piped.exit_code == 0 and piped.stdout == named.stdout
    empty = CliRunner().invoke(main, ["sweep", "-", "--out", "-"], input="")
    assert empty.exit_code == 2 and "is empty" in empty.stderr


def test_a_sweep_prints_its_rows(tmp_path: Path) -> None:
    table = written(tmp_path, TABLE)
    text = run("sweep", table, "--format", "table").stdout
    assert max(map(len, text.splitlines())) <= 80
    single = elector.simulate("bert-tiny", "systolic", settings={"workload.batch": 1})
    from elector.cost.results import registry

    first = next(line for line in text.splitlines() if "first" in line)
    assert registry().show("latency_s", single["latency_s"]) in first
    rows = json.loads(run("sweep", table, "--format", "json").stdout)
    assert rows[0]["latency_s"] == single["latency_s"]
    out = tmp_path / "costs.csv"
    both = run("sweep", table, "--format", "csv", "--out", str(out))
    assert both.stdout == out.read_text() != ""


#: Designs whose settings and notes are too many, or too long, for columns beside the figures.
WIDE = {
    "settings": "model,accelerator,workload.batch,workload.generate,workload.implementation,"
    "workload.precision,note.why\n"
    "llama-3.1-8b,h100-sxm-80gb,1,64,vllm,,a first attempt with a long note of many words\n"
    "bert-base,tpu-v4i,8,,,bf16,second\nbert-base,tpu-v1,8,,,int8,third\n",
    "workloads": "model,accelerator,workloads.serve.batch,workloads.train.mode\n"
    "bert-tiny,tpu-v4i,1,training\nbert-tiny,systolic,8,training\n",
    "unreadable": "model,accelerator,workload.batch\nbert-tiny,systolic,1\nbert-tiny,systolix,1\n"
    "gpt2-xl,tpu-v1,1\nbert-tiny,systolic,many\n",
    "names": f"note.{'long_name_' * 4}of_a_note,model,accelerator,accelerator.sram\n"
    "a,bert-tiny,systolic,\nb,bert-mini,systolic,\n",
}


@pytest.mark.parametrize("intervals", [(), ("--uncertainty", "--samples", "20")])
@pytest.mark.parametrize("kind", WIDE)
def test_a_printed_sweep_keeps_to_80_columns_and_breaks_no_name(
    kind: str, intervals: tuple[str, ...], tmp_path: Path
) -> None:
    table = written(tmp_path, WIDE[kind])
    result = run("sweep", table, "--format", "table", *intervals)
    assert result.exit_code in (0, 4), result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    rows = json.loads(run("sweep", table, "--format", "json").stdout)
    for name in ("model", "accelerator"):
        names = {str(row[name]) for row in rows}
        shown = [own for own in names if len(names) > 1]
        assert all(any(own in line for line in result.stdout.splitlines()) for own in shown)
    for name in ("latency_s", "energy_j", "area_mm2"):
        assert name in result.stdout


def test_a_printed_sweep_shows_tokens_a_second_where_there_are_any(tmp_path: Path) -> None:
    rows = "gpt2,tpu-v4i,16\nbert-tiny,tpu-v4i,\n"
    table = written(tmp_path, "model,accelerator,workload.generate\n" + rows)
    shown = run("sweep", table, "--format", "table").stdout
    rate = json.loads(run("sweep", table, "--format", "json").stdout)[0]["tokens_per_s"]
    from elector.cost.results import registry

    assert registry().show("tokens_per_s", rate) in shown
    plain = written(tmp_path, "model,accelerator\nbert-tiny,tpu-v4i\n")
    assert "tokens" not in run("sweep", plain, "--format", "table").stdout


def test_a_sweep_needs_somewhere_to_go(tmp_path: Path) -> None:
    table = written(tmp_path, TABLE)
    result = run("sweep", table)
    assert result.exit_code == 2 and "--out" in result.stderr and "--format" in result.stderr
    assert run("sweep", table, "--out", "-", "--format", "json").exit_code == 2


def test_rows_that_cannot_be_read_fail_in_junit(tmp_path: Path) -> None:
    import xml.etree.ElementTree as ElementTree

    lacking = TABLE + "bad,bert-tiny,systolix,1,\n" + "large,gpt2-xl,tpu-v1,1,\n"
    junit, out = tmp_path / "junit.xml", tmp_path / "costs.csv"
    words = ("sweep", written(tmp_path, lacking), "--out", str(out), "--junit", str(junit))
    result = run(*words)
    assert result.exit_code == 4
    suite = ElementTree.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("5", "1")
    failed = [case for case in suite if case.find("failure") is not None]
    assert len(failed) == 1 and "systolix" in str(failed[0].get("name"))
    assert "systolix" in str(failed[0][0].get("message"))
    assert run(*words[:-1], str(tmp_path)).exit_code == 2


def test_a_printed_sweep_reads_like_the_other_tables(tmp_path: Path) -> None:
    """Settings by their last name and with their unit, numbers rounded, whatever was given."""
    text = "note.why,note.score,model,accelerator,accelerator.sram,workload.batch\n"
    text += "a,92.41947614387698,bert-tiny,systolic,8000000,1\n"
    text += "b,nan,bert-tiny,systolic,4 MiB,2\nc,3,bert-tiny,systolic,,many\n"
    done = run("sweep", written(tmp_path, text), "--format", "table")
    assert done.exit_code == 4
    heading, first, second, *_ = done.stdout.splitlines()
    assert heading.split() == ["why", "score", "sram", "batch", "latency_s", "energy_j", "area_mm2"]
    assert first.split()[:5] == ["a", "92.42", "8.00", "MB", "1"]
    assert second.split()[:5] == ["b", "nan", "4", "MiB", "2"]
    assert max(map(len, done.stdout.splitlines())) <= 80
