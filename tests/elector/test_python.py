"""The Python API: names, tables in and out, short reprs."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from commands import loaded, run

import elector
import transcode
from elector.base.errors import InputError
from elector.describe.formats import list_models
from elector.evaluation.accelerators import list_accelerators
from elector.studies.showing import as_yaml

FUNCTIONS = {
    "elector": ("simulate", "evaluate", "sweep", "trace", "run", "explain", "validate", "show"),
    "transcode": ("search", "load_run", "front", "compare"),
}
#: PyTorch and the like are no part of the base install.
OPTIONAL = ("torch", "sklearn", "statsmodels", "distributed", "psycopg")
ROWS = [
    {"model": "bert-tiny", "accelerator": "systolic", "workload.batch": 1, "note.why": "first"},
    {"model": "bert-mini", "accelerator": "tpu-v4i", "workload.batch": 2, "note.why": "second"},
    {"model": "gpt2", "accelerator": "systolic", "workload.batch": None, "note.why": "third"},
]


def everything_imported() -> list[str]:
    """Every module of both packages that can be imported here."""
    modules = []
    for package in (elector, transcode):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if info.name.endswith("__main__"):
                continue
            try:
                importlib.import_module(info.name)
            except ImportError as error:
                missing = error.name or str(error)
                assert "PyTorch" in missing or missing.startswith(OPTIONAL), info.name
            modules.append(info.name)
    return modules


def test_no_public_function_has_the_name_of_a_module_in_its_namespace() -> None:
    """Importing a module would put it in the function's place."""
    modules = everything_imported()
    for package, names in FUNCTIONS.items():
        for name in names:
            assert callable(getattr(sys.modules[package], name)), f"{package}.{name}"
            assert name in sys.modules[package].__all__ and name in dir(sys.modules[package])
    packages = {name.rpartition(".")[0] for name in modules}
    for package in packages:
        own = {name.rpartition(".")[2] for name in modules if name.rpartition(".")[0] == package}
        public = getattr(sys.modules[package], "__all__", ())
        for name in own.intersection(public):
            if (package, name) != ("transcode", "search"):  # guarded: see transcode/__init__.py
                value = getattr(sys.modules[package], name)
                assert not callable(value), f"{package}.{name} is a module and a function"


def test_every_public_name_is_there() -> None:
    for package in (elector, transcode):
        for name in package.__all__:
            assert getattr(package, name) is not None
        with pytest.raises(AttributeError, match="no_such_name"):
            package.no_such_name  # noqa: B018


def test_a_simulation_imports_no_pandas() -> None:
    code = "import sys, elector\nelector.simulate('bert-tiny', 'systolic')\n"
    code += "print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ---- tables


def tables() -> list[Any]:
    lists = {key: [row[key] for row in ROWS] for key in ROWS[0]}
    return [ROWS, lists, pd.DataFrame(ROWS), pd.DataFrame(ROWS, index=[7, "a", None])]


@pytest.mark.parametrize("function", [elector.evaluate, elector.sweep])
@pytest.mark.parametrize("kind", range(4))
def test_tables_in_dataframes_out(function: Any, kind: int) -> None:
    table = tables()[kind]
    frame = function(table)
    assert isinstance(frame, pd.DataFrame) and len(frame) == 3
    if isinstance(table, pd.DataFrame):
        assert frame.index.equals(table.index)
    assert frame["note.why"].tolist() == ["first", "second", "third"]
    for row, asked in zip(frame.to_dict("records"), ROWS, strict=True):
        settings = {"workload.batch": asked["workload.batch"]}
        alone: Any = elector.simulate(asked["model"], asked["accelerator"], settings=settings)
        for name in ("latency_s", "energy_j", "area_mm2", "utilization"):
            assert row[name] == alone[name]
        assert row["memory_bytes.weights"] == alone["memory_bytes"]["weights"]
        assert row["feasible"] and row["version"] == elector.__version__
    assert ("error" in frame.columns) == (function is elector.sweep)
    assert frame["latency_s"].dtype == float


def test_numpy_values_and_results_as_columns_are_taken() -> None:
    table = {
        "model": np.array(["bert-tiny", "bert-tiny"]),
        "accelerator": ["systolic", "systolic"],
        "accelerator.rows": np.array([32, 64]),
        "accelerator.double_buffer": [True, None],
        "latency_s": [0.0, 0.0],
    }
    frame = elector.evaluate(table)
    assert (
        frame["latency_s"].gt(0).all() and frame["latency_s"].iloc[0] != frame["latency_s"].iloc[1]
    )
    again = elector.evaluate(frame)
    pd.testing.assert_frame_equal(again[frame.columns], frame)


def test_a_bad_row_is_named_or_kept() -> None:
    rows = [*ROWS[:1], {"model": "bert-tinny", "accelerator": "systolic"}, {"model": "bert-tiny"}]
    with pytest.raises(InputError, match=r"row 1: model: unknown model.*did you mean bert-tiny"):
        elector.evaluate(rows)
    frame = elector.sweep(rows)
    assert frame["error"].notna().tolist() == [False, True, True]
    assert "accelerator: is empty" in frame["error"].iloc[2]
    assert frame["latency_s"].notna().tolist() == [True, False, False]


def test_an_infeasible_row_is_a_result() -> None:
    row = {**ROWS[0], "accelerator.memory_capacity": "1 MB"}
    for function in (elector.evaluate, elector.sweep):
        frame = function([row])
        assert not frame["feasible"].iloc[0] and "main memory" in frame["reason"].iloc[0]
        assert np.isnan(frame["latency_s"].iloc[0]) and frame["area_mm2"].iloc[0] > 0


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("designs.csv", "must be a DataFrame"),
        ([], "column is missing|is no table|has no rows"),
        ({"model": ["a"], "accelerator": ["b"], "colour": ["c"]}, "unknown column"),
        ({"model": ["a", "b"], "accelerator": ["b"]}, "is no table"),
        ({"model": ["bert-tiny"]}, "column is missing"),
        ({"model": [], "accelerator": []}, "has no rows"),
    ],
)
def test_what_is_no_table_is_refused(table: Any, words: str) -> None:
    for function in (elector.evaluate, elector.sweep):
        with pytest.raises(InputError, match=words):
            function(table)


def test_settings_of_a_sweep() -> None:
    frame = elector.sweep(ROWS, settings=True)
    assert frame["settings.workload.batch.value"].tolist() == [1, 2, 1]
    assert frame["settings.workload.batch.default"].tolist() == [False, False, True]
    assert frame["settings.workload.attention.value"].tolist() == ["unfused"] * 3
    assert "settings.workload.batch.value" not in elector.sweep(ROWS).columns


def test_json_and_parquet_have_typed_settings(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(
        "id,model,accelerator,accelerator.sram,accelerator.rows,accelerator.double_buffer,note.n\n"
        "3,bert-tiny,systolic,4 MB,64,true,007\n4,bert-tiny,systolic,,32,,008\n"
    )
    for suffix in ("json", "parquet"):
        out = tmp_path / f"o.{suffix}"
        assert run("sweep", str(table), "--out", str(out)).exit_code == 0
        read = (
            pd.read_parquet(out)
            if suffix == "parquet"
            else pd.DataFrame(json.loads(out.read_text()))
        )
        row = read.iloc[0]
        assert row["accelerator.sram"] == 4e6 and row["accelerator.rows"] == 64
        assert row["accelerator.double_buffer"] in (True, np.True_) and row["id"] == 3
        assert row["note.n"] == "007" and row["model"] == "bert-tiny"


# ---- records


def test_reprs_are_short_and_notebooks_see_a_table() -> None:
    shown: list[Any] = [
        elector.simulate("bert-tiny", "systolic", operations=True),
        elector.explain("bert-tiny", "systolic", "energy_j"),
        elector.show("tpu-v4i"),
        elector.show("bert-base"),
        elector.trace("bert-tiny", "systolic"),
        elector.Technology.load(),
        elector.run({"model": "bert-tiny", "phases": [{"steps": 3, "accelerator": "tpu-v4i"}]}),
    ]
    for value in shown:
        assert len(repr(value)) < 240 and "\n" not in repr(value)
        if isinstance(value, dict):
            assert value._repr_html_().startswith("<p>")
            assert type(json.loads(json.dumps(value))) is dict


def test_a_record_is_a_dict() -> None:
    record = elector.simulate("bert-tiny", "systolic")
    assert record == dict(record) and isinstance(record, dict)
    assert record == loaded("simulate", "bert-tiny", "systolic", "--format", "json")


def test_a_trace_is_a_table() -> None:
    traced = elector.trace("bert-tiny", "systolic", settings={"workload.batch": 2})
    frame = traced.frame
    assert list(frame.columns[:2]) == ["resource", "operation"]
    assert len(frame) == len(traced.timeline.spans)
    assert (frame["end_s"] >= frame["start_s"]).all()
    assert frame["end_s"].max() <= traced.timeline.seconds * (1 + 1e-12)


def test_validation_is_a_table() -> None:
    frame = elector.validate(only="tpu-v1")
    assert isinstance(frame, pd.DataFrame) and len(frame)
    assert {"case", "published", "simulated", "error", "verdict"} <= set(frame.columns)
    with pytest.raises(InputError, match="no case has this"):
        elector.validate(only="no such case")


# ---- show


@pytest.mark.parametrize("name", list_accelerators())
def test_a_preset_is_the_file_that_show_writes(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(as_yaml(elector.show(name)), encoding="utf-8")
    here, there = (
        elector.evaluate([{"model": "bert-tiny", "accelerator": a}]) for a in (name, path)
    )
    for column in here.columns:
        if column not in ("accelerator",) and not column.startswith("provenance"):
            assert here[column].equals(there[column]), column


@pytest.mark.parametrize("name", list_models())
def test_a_model_is_the_file_that_show_writes(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(as_yaml(elector.show(name)), encoding="utf-8")
    here, there = (
        elector.evaluate([{"model": m, "accelerator": "h100-sxm-80gb"}]) for m in (name, path)
    )
    for column in here.columns:
        if column != "model":
            assert here[column].equals(there[column]), column


def test_show_in_every_format(tmp_path: Path) -> None:
    assert "151 MB" in run("show", "tpu-v4i").stdout
    assert loaded("show", "tpu-v4i", "--format", "json")["settings"]["arrays"] == 4
    assert "rows,128" in run("show", "tpu-v4i", "--format", "csv").stdout
    text = run("show", "tpu-v4i", "--yaml").stdout
    assert yaml.safe_load(text)["sram"] == 144 * 2**20 and "# [byte]" in text
    assert all(len(line) <= 80 for line in run("show", "hpt").stdout.splitlines())
    (tmp_path / "mine.yaml").write_text(text)
    assert "151 MB" in run("show", str(tmp_path / "mine.yaml")).stdout
    refused = run("show", "tpu-v4j")
    assert refused.exit_code == 2 and "did you mean tpu-v4i" in refused.stderr


# ---- transcode


def test_runs_in_python(tmp_path: Path) -> None:
    space = {
        "name": "s",
        "model": {"base": "encoder", "layers": [1, 2], "hidden": [128, 256], "heads": 2},
        "accelerator": {"base": "systolic", "rows": [16, 32]},
        "objectives": {"latency_s": "min", "area_mm2": "min"},
        "reference_point": {"latency_s": 1, "area_mm2": 1000},
    }
    done = transcode.search(space, out=tmp_path / "a", sampler="enumerate")
    transcode.search(space, out=tmp_path / "b", sampler="random", budget=3)
    loaded_run = transcode.load_run(tmp_path / "a")
    assert len(repr(loaded_run)) < 200 and len(repr(done)) < 200
    assert "space" in loaded_run._repr_html_()
    pd.testing.assert_frame_equal(loaded_run.front, transcode.front(tmp_path / "a"))
    pd.testing.assert_frame_equal(loaded_run.front, done.frame)
    assert len(loaded_run.designs()) == 8 and len(loaded_run.designs(["id"]).columns) == 1
    some = transcode.front(tmp_path / "a", where="accelerator.rows == 16", objectives="latency_s")
    assert len(some) == 1 and some["accelerator.rows"].tolist() == [16]
    compared = transcode.compare(tmp_path / "a", tmp_path / "b")
    assert compared["designs"].tolist() == [8, 3]
    assert compared["hypervolume"].iloc[0] >= compared["hypervolume"].iloc[1]
    with pytest.raises(InputError, match="not the folder of a run"):
        transcode.load_run(tmp_path)


def test_a_file_that_was_changed_is_read_again(tmp_path: Path, monkeypatch: Any) -> None:
    """As in a notebook: of accelerators, what they are based on, models and sparsity tables."""
    monkeypatch.chdir(tmp_path)
    files = {"chip.yaml": "base: below.yaml\n", "model.yaml": "base: bert-tiny\n"}
    first = {"below.yaml": "base: acceltran-edge\npe: 16\n", "model.yaml": "base: bert-tiny\n"}
    head = "model,tau_i,tau_t,phase,operation,layer,operand,density\n"
    first["own.csv"] = head + "*,,,forward,*,*,activation,0.5\n"
    changes = {
        "below.yaml": "base: acceltran-edge\npe: 64\n",
        "model.yaml": "base: bert-tiny\nlayers: 4\n",
        "own.csv": head + "*,,,forward,*,*,activation,0.25\n",
    }
    for name, text in (files | first).items():
        (tmp_path / name).write_text(text)

    def costs() -> tuple[object, ...]:
        own = {"workload.sparsity": "own.csv"}
        result = elector.simulate("model.yaml", "chip.yaml", settings=own)
        return result["latency_s"], result["energy_j"], result["area_mm2"]

    known = {costs()}
    for name, text in changes.items():
        (tmp_path / name).write_text(text)
        assert costs() not in known, name
        known.add(costs())
