"""A manifest that somebody changed: whoever reads the run names the file and the field."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fuzz.values import believed

import transcode
from transcode.cli import main

SPACE = {
    "name": "few",
    "model": {"base": "encoder", "layers": [2, 4]},
    "accelerator": {"base": "systolic", "rows": [16, 32]},
    "objectives": {"latency_s": "min", "energy_j": "min"},
}
#: Field, and what it may not be.
WRONG: list[tuple[str, list[Any]]] = [
    ("versions", [None, [], ["x"], "1", 3, True, {"numpy": None}, {"numpy": [1]}]),
    ("command", [None, 1, [], ["x"], True, {}]),
    ("designs", [None, "4", -1, True, 0.5, []]),
    ("feasible", [None, "4", -1, True, 0.5, []]),
    ("front", [None, "4", -1, True, 0.5, []]),
    ("status", [None, 1, [], {}]),
    ("seed", [None, "0", -1, 0.5, []]),
    ("simulator", [None, [], "1", {"version": 1}, {"version": None}]),
    ("hypervolume", ["1", [], True, float("nan"), float("inf")]),
    ("reference_point", [[], "x", 1, {"latency_s": "1"}, {"latency_s": None}, {"latency_s": []}]),
    ("sampler", [None, [], {"used": "random"}, {"used": 1, "asked": "x", "why": "y"}]),
    ("accuracy", [1, "x", [], {"text": 1}]),
    ("islands", [None, 0, "4", -1, True, 0.5, 10**9]),
    ("space_sha256", [None, 1, "0" * 64]),
]
CASES = [pytest.param(name, v, id=f"{name}={v}") for name, values in WRONG for v in values]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "few"
    return transcode.search(SPACE, out=out, sampler="random", budget=4, jobs=1).folder


@pytest.fixture
def changed(run: Path, tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    folder = tmp_path / "changed"
    shutil.copytree(run, folder)

    def change(manifest: dict[str, Any]) -> Path:
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return change


def manifest_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "manifest.json").read_text())


@pytest.mark.parametrize("name, value", CASES)
def test_every_reader_names_the_file_and_the_field(
    run: Path, changed: Callable[[dict[str, Any]], Path], name: str, value: object
) -> None:
    folder = changed(manifest_of(run) | {name: value})
    for words in (["report"], ["front"], ["plot"], ["show"], ["compare", str(run)]):
        last = ["1"] if words == ["show"] else words[1:]
        ended = CliRunner().invoke(main, [words[0], str(folder), *last])
        assert ended.exit_code == 2, (words, ended.output, ended.exception)
        assert "manifest.json" in ended.stderr and len(ended.stderr.splitlines()) <= 2
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    "name", ["versions", "command", "hypervolume", "reference_point", "accuracy", "budget"]
)
def test_what_an_older_run_did_not_say_is_not_missed(
    run: Path, changed: Callable[[dict[str, Any]], Path], name: str
) -> None:
    older = {key: value for key, value in manifest_of(run).items() if key != name}
    ended = CliRunner().invoke(main, ["report", str(changed(older))])
    assert ended.exit_code == 0, ended.output


@pytest.mark.parametrize(
    "wrong",
    [
        *(None, [], "x", {"a": 1}),
        *(pytest.param(w, marks=pytest.mark.slow) for w in ({}, 1, [1], ["x"], [{"a": 1}], True)),
    ],
)
def test_a_space_of_somebody_else_with_the_right_sum(
    run: Path, changed: Callable[[dict[str, Any]], Path], wrong: object
) -> None:
    whole = manifest_of(run)
    for name in whole["space"]:
        folder = changed(believed(whole | {"space": whole["space"] | {name: wrong}}))
        for words in (["report", str(folder)], ["front", str(folder)]):
            ended = CliRunner().invoke(main, words)
            assert ended.exception is None or isinstance(ended.exception, SystemExit), (name, words)
            assert ended.exit_code in (0, 1, 2, 3), (name, words, ended.output)


@pytest.mark.parametrize("change", ["renamed", "left out", "added"])
def test_a_reference_point_of_other_objectives(
    run: Path, changed: Callable[[dict[str, Any]], Path], tmp_path: Path, change: str
) -> None:
    whole = manifest_of(run)
    point = dict(whole["reference_point"])
    value = point["energy_j"] if change == "added" else point.pop("energy_j")
    if change != "left out":
        point["energy_i"] = value
    folder = changed(whole | {"reference_point": point})
    (tmp_path / "few.yaml").write_text(json.dumps(SPACE))
    words = ("search", str(tmp_path / "few.yaml"), "--out", str(folder), "--quiet")
    for asked in (
        (*words, "--budget", "8", "--sampler", "random"),
        ("front", str(folder)),
        ("check", str(folder), "--require", "hypervolume > 0"),
        ("compare", str(folder), str(run)),
        ("merge", str(folder), str(run), "--out", str(tmp_path / "merged")),
    ):
        ended = CliRunner().invoke(main, asked)
        assert ended.exit_code == 2, (asked, ended.output, ended.exception)
        assert "manifest.json: reference_point.energy_" in ended.stderr
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("name", ["batch", "islands", "budget"])
def test_no_batch_of_nothing(
    run: Path, changed: Callable[[dict[str, Any]], Path], tmp_path: Path, name: str
) -> None:
    folder = changed(manifest_of(run) | {name: 0})
    (tmp_path / "few.yaml").write_text(json.dumps(SPACE))
    asked = ("search", str(tmp_path / "few.yaml"), "--out", str(folder), "--quiet")
    ended = CliRunner().invoke(main, [*asked, "--sampler", "random"])
    assert ended.exit_code == 2 and f"manifest.json: {name}" in ended.stderr


def test_a_manifest_costs_no_more_than_64_mib(run: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b"{}")
    with (tmp_path / "manifest.json").open("ab") as stream:
        stream.truncate((64 << 20) + 1)
    ended = CliRunner().invoke(main, ["front", str(tmp_path)])
    assert ended.exit_code == 2 and "manifest.json: is larger than" in ended.stderr


@pytest.mark.parametrize(
    "parameters",
    [
        [{"unit": "1", "values": [2]}],
        [{"name": 1, "unit": "1", "values": [2]}],
        [{"name": "a", "unit": "1", "values": 2}],
        [2],
        [None, {}],
        {},
        "ab",
    ],
)
def test_another_run_is_said_to_be_one_whatever_its_parameters_are(
    run: Path, tmp_path: Path, parameters: Any
) -> None:
    """A search compares its space with what is there before anything else reads that."""
    folder = shutil.copytree(run, tmp_path / "run")
    path = folder / "manifest.json"
    content = json.loads(path.read_text("utf-8"))
    content["space"]["parameters"], content["space_sha256"] = parameters, "0" * 64
    path.write_text(json.dumps(content), "utf-8")
    space = tmp_path / "few.json"
    space.write_text(json.dumps(SPACE), "utf-8")
    words = ["search", str(space), "--out", str(folder), "--quiet", "--budget", "4", "--jobs", "1"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2 and str(folder) in result.stderr
    assert "holds another run" in result.stderr
