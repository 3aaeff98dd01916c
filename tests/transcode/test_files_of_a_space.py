"""Files that a space, a plan or another file names: found beside it, and part of what a run is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import transcode
from elector.base.errors import EvaluationError, InputError
from elector.base.table import DATA
from elector.cli.commands import main as elector_main
from transcode.cli.commands import main
from transcode.search import Progress
from transcode.search.watched import WatchedFiles
from transcode.space import load
from transcode.space.description import describe

SPACE = """\
name: s
model: {base: bert-tiny}
accelerator: {base: outer.yaml, SETTING: [1, 2, 3, 4, 5, 6]}
objectives: {latency_s: min, area_mm2: min}
"""
HYBRID = "units: {a: {base: middle.yaml}}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder below the one that commands run in, with a machine based on another file."""
    monkeypatch.chdir(tmp_path)
    below = Path("below")
    below.mkdir()
    (below / "inner.yaml").write_text("base: systolic\nrows: 32\n")
    (below / "outer.yaml").write_text("base: inner.yaml\ncols: 32\n")
    (below / "s.yaml").write_text(SPACE.replace("SETTING", "arrays"))
    return below


def elector(*words: str) -> Result:
    """One call of the command."""
    return CliRunner().invoke(elector_main, list(words))


@pytest.mark.parametrize("hybrid", [False, True])
def test_a_file_that_changed_behind_a_base_makes_another_space(hybrid: bool, folder: Path) -> None:
    if hybrid:
        (folder / "middle.yaml").write_text("base: inner.yaml\n")
        (folder / "outer.yaml").write_text(HYBRID)
        (folder / "s.yaml").write_text(SPACE.replace("SETTING", "units.a.arrays"))
    run = {"out": folder / "run", "sampler": "random"}
    transcode.search(folder / "s.yaml", budget=3, **run)
    assert transcode.search(folder / "s.yaml", budget=4, **run).manifest["designs"] == 4
    (folder / "inner.yaml").write_text("base: systolic\nrows: 64\n")
    with pytest.raises(InputError, match=r"holds another run\n  space.files.below/inner.yaml: "):
        transcode.search(folder / "s.yaml", budget=6, **run)
    kept = json.loads((folder / "run" / "manifest.json").read_bytes())
    assert kept["designs"] == 4 and "below/inner.yaml" in kept["space"]["files"]


def test_only_files_of_the_users_own_count(folder: Path) -> None:
    (folder / "inner.yaml").write_text("base: tpu-v2\n")
    files = describe(load(folder / "s.yaml"))["files"]
    assert sorted(files) == ["below/inner.yaml", "below/outer.yaml"]  # type: ignore[call-overload]
    assert describe(load("smoke"))["files"] == {}


def test_a_base_is_found_beside_the_file_that_names_it(folder: Path, tmp_path: Path) -> None:
    shown = elector("simulate", "bert-tiny", "below/outer.yaml", "--format", "json")
    assert shown.exit_code == 0
    settings = json.loads(shown.stdout)["settings"]
    assert settings["accelerator.rows"]["value"] == settings["accelerator.cols"]["value"] == 32
    (folder / "outer.yaml").write_text(HYBRID.replace("middle", "inner"))
    assert elector("simulate", "bert-tiny", "below/outer.yaml").exit_code == 0
    (tmp_path / "inner.yaml").write_text("base: systolic\nrows: 16\n")
    here = elector("simulate", "bert-tiny", "below/outer.yaml", "--format", "json")
    assert json.loads(here.stdout)["settings"]["accelerator.units.a.rows"]["value"] == 16


@pytest.mark.parametrize(
    ("text", "field"), [("base: away.yaml\n", "base"), (HYBRID, "units.a.base")]
)
def test_a_base_that_is_not_there(text: str, field: str, folder: Path) -> None:
    (folder / "outer.yaml").write_text(text)
    said = elector("simulate", "bert-tiny", "below/outer.yaml").stderr
    assert f"Error: below/outer.yaml: {field}: does not exist (got '" in said
    plan = "model: bert-tiny\nphases: [{steps: 1, accelerator: away.yaml}]\n"
    (folder / "plan.yaml").write_text(plan)
    said = elector("run", "below/plan.yaml").stderr
    assert "Error: below/plan.yaml: phases[0].accelerator: unknown accelerator" in said
    (folder / "plan.yaml").write_text(plan.replace("away", "outer"))
    assert f"Error: below/outer.yaml: {field}: " in elector("run", "below/plan.yaml").stderr


def test_bases_that_lead_back_through_folders(folder: Path) -> None:
    (folder / "inner.yaml").write_text("base: outer.yaml\n")
    said = elector("simulate", "bert-tiny", "below/outer.yaml").stderr
    assert "below/inner.yaml: base: is based on itself (got 'below/outer.yaml')" in said


def test_a_table_of_densities_beside_a_space_or_a_plan(folder: Path) -> None:
    shutil.copy(DATA / "sparsity" / "acceltran.csv", folder / "own.csv")
    (folder / "s.yaml").write_text(
        SPACE.replace("SETTING", "arrays") + "workload: {sparsity: own.csv}"
    )
    assert "below/own.csv" in describe(load(folder / "s.yaml"))["files"]  # type: ignore[operator]
    result = CliRunner().invoke(main, ["search", "below/s.yaml", "--quiet", "--out", "run"])
    assert result.exit_code == 0, result.stderr
    (folder / "plan.yaml").write_text(
        "model: bert-tiny\nworkload: {sparsity: own.csv}\n"
        "phases: [{steps: 1, accelerator: acceltran-server}]\n"
    )
    assert elector("run", "below/plan.yaml").exit_code == 0


def changing(file: Path, text: str, when: int) -> Callable[[Progress], None]:
    """Called after each batch: puts another text into a file after a batch of that number."""
    seen: list[int] = []

    def progress(_: Progress) -> None:
        seen.append(1)
        if len(seen) == when:
            file.write_text(text)

    return progress


@pytest.mark.parametrize("changed", ["inner.yaml", "outer.yaml"])
def test_a_file_that_changes_under_a_search_ends_it(changed: str, folder: Path) -> None:
    whole = {"sampler": "random", "batch": 1, "jobs": 1}
    before = (folder / changed).read_text()
    progress = changing(folder / changed, before.replace("32", "64"), 2)
    said = rf"below/{changed}: was changed while the search was running; the 2 designs in below/run"
    with pytest.raises(EvaluationError, match=said):
        transcode.search(folder / "s.yaml", out=folder / "run", progress=progress, **whole)
    (folder / changed).write_text(before)
    ended = transcode.search(folder / "s.yaml", out=folder / "run", **whole)
    undisturbed = transcode.search(folder / "s.yaml", out=folder / "other", **whole)
    assert ended.manifest["designs"] == 6
    assert (folder / "run/front.csv").read_bytes() == (folder / "other/front.csv").read_bytes()
    assert undisturbed.manifest["hypervolume"] == ended.manifest["hypervolume"]


def test_a_file_that_is_written_again_with_the_same_content(folder: Path) -> None:
    text = (folder / "inner.yaml").read_text()
    ended = transcode.search(
        folder / "s.yaml",
        out=folder / "run",
        sampler="random",
        batch=1,
        progress=changing(folder / "inner.yaml", text, 2),
    )
    assert ended.manifest["designs"] == 6


def test_a_file_that_is_removed_under_a_search(folder: Path) -> None:
    watched = WatchedFiles(describe(load(folder / "s.yaml"))["files"])  # type: ignore[arg-type]
    assert watched.changed() is None
    (folder / "inner.yaml").unlink()
    assert watched.changed() == "below/inner.yaml"
