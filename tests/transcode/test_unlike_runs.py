"""Runs that do not go together: what differs is said, by the names that the user gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from search_fakes import SMALL

import transcode
from transcode.cli.commands import main
from transcode.runs.manifest import differing


def command(*words: object) -> Result:
    """One call of the command."""
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs, of spaces that differ in an objective."""
    monkeypatch.chdir(tmp_path)
    for name, objectives in (("a", ["latency_s", "energy_j"]), ("b", ["latency_s"])):
        space = {**SMALL, "objectives": dict.fromkeys(objectives, "min")}
        transcode.search(space, out=name, sampler="random", budget=20)
    return tmp_path


def test_a_merge_says_what_differs(runs: Path) -> None:
    result = command("merge", "a", "b", "--out", "m")
    assert result.exit_code == 2 and not (runs / "m").exists()
    assert result.stderr == (
        "Error: b: has another space than a\n"
        '  space.objectives.energy_j: "min" in a, nothing in b\n'
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("latency_s=1s", "lacks an objective: energy_j (got 'latency_s=1s')"),
        (
            "latency_s=1e-30 s, energy_j=2 J",
            "better than it in every objective (got 'latency_s=1e-30 s, energy_j=2 J')",
        ),
    ],
)
def test_a_reference_point_is_shown_as_it_is_written(text: str, said: str, runs: Path) -> None:
    result = command("compare", "a", "a", "--reference-point", text)
    assert result.exit_code == 2 and said in result.stderr and "{" not in result.stderr


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"values": [1, 3]}, "model.layers: [1, 2] there, [1, 3] asked for"),
        ({"scale": "log"}, 'model.layers.scale: "linear" there, "log" asked for'),
    ],
)
def test_parameters_that_differ_in_anything_are_named(change: dict[str, Any], line: str) -> None:
    parameter = {"name": "model.layers", "values": [1, 2], "scale": "linear"}
    old, new = (
        {"space": {"parameters": [parameter]}},
        {"space": {"parameters": [parameter | change]}},
    )
    assert differing(("space",), old, new) == f"\n  {line}"


def test_a_baseline_of_another_reference_point(runs: Path) -> None:
    result = command("check", "a", "--require", "hypervolume >= baseline", "--baseline", "b")
    assert result.exit_code == 2 and "{" not in result.stderr
    assert "b: --baseline: has another reference point: latency_s=" in result.stderr
    assert " there, latency_s=" in result.stderr and ", energy_j=" in result.stderr


@pytest.mark.parametrize("words", [("front", "b"), ("check", "b"), ("compare", "a", "b")])
def test_a_folder_without_its_manifest_is_not_to_be_emptied(
    words: tuple[str, ...], runs: Path
) -> None:
    (runs / "b" / "manifest.json").unlink()
    if words[0] == "check":
        words = ("check", "a", "--require", "hypervolume >= baseline", "--baseline", "b")
    result = command(*words)
    assert result.exit_code == 2 and "--fresh" not in result.stderr
    assert "b: holds files of a run but no manifest" in result.stderr
    assert "a run is read with its manifest.json" in result.stderr
    assert "--fresh replaces them" in command("search", "smoke", "--out", "b").stderr
