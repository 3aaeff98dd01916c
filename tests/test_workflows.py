"""Workflows: every step of them runs, so that none rots."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RECIPE = ROOT / "docs" / "examples" / "sweep-workflow.yml"
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
PINS = (ROOT / "constraints.txt").read_text()


def steps(path: Path) -> Iterator[str]:
    """The commands of a workflow, in order."""
    data: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    for job in data["jobs"].values():
        for step in job["steps"]:
            if "run" in step:
                yield step["run"].strip()


def is_make(line: str) -> bool:
    return line.removeprefix("sudo ").startswith("make ")


def is_install(line: str) -> bool:
    return line.startswith("python -m pip install ")


@pytest.mark.parametrize("path", [*WORKFLOWS, RECIPE], ids=lambda path: path.stem)
def test_a_workflow_is_whole(path: Path) -> None:
    data: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert data["name"] and data.get("on", data.get(True))  # YAML 1.1 reads `on` as true
    assert data["permissions"] == {"contents": "read"}
    for job in data["jobs"].values():
        assert job["runs-on"] and job["steps"]
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            assert "uses" not in step or re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])


def test_every_supported_python_is_tested() -> None:
    data = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
    tested = data["jobs"]["quick"]["strategy"]["matrix"]["python"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert tested == named


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for line in filter(is_make, steps(path)):
        words = line.removeprefix("sudo ").split()[1:]
        assert {word for word in words if "=" not in word} <= targets
        done = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", [*WORKFLOWS, RECIPE], ids=lambda path: path.stem)
def test_what_is_installed_exists(path: Path) -> None:
    """Requirements are pinned names, extras of ours, or a wheel that an earlier step built."""
    for line in filter(is_install, steps(path)):
        words = line.split()[4:]
        assert words[:2] == ["-c", "constraints.txt"] or path == RECIPE
        for word in words[2:] if words[0] == "-c" else words:
            if word.endswith(".whl"):
                continue
            extra = re.fullmatch(r"\.\[(\w+)\]", word)
            assert (extra and extra[1] in EXTRAS) or re.search(rf"^{word}==", PINS, re.M)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with what a checkout has and the steps need, and programs by name."""
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("elector", "transcode", "spaces"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("elector", "transcode"):
        program = tools / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {name} "$@"\n')
        program.chmod(0o755)
    (tools / "python").symlink_to(sys.executable)
    return tmp_path


def run_steps(path: Path, place: Path) -> None:
    """Every step but the make targets, which are tests themselves, and what a registry gives."""
    environment = os.environ | {
        "PATH": f"{place / 'tools'}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(place), os.environ.get("PYTHONPATH")])),
    }
    for line in steps(path):
        if is_make(line) or is_install(line):
            continue
        line = line.replace("python -m", f'"{sys.executable}" -m')
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
def test_the_wheel_workflow_runs(place: Path) -> None:
    pytest.importorskip("hatchling")
    run_steps(ROOT / ".github" / "workflows" / "wheel.yml", place)
    assert list((place / "dist").glob("*.whl"))
    assert (place / "away" / "run" / "front.csv").exists()


@pytest.mark.slow
def test_the_recipe_runs(place: Path) -> None:
    pytest.importorskip("bokeh", reason="needs bokeh, which is part of the base install")
    shutil.copy(ROOT / "docs" / "examples" / "sweep.csv", place / "designs.csv")
    agreed = [sys.executable, "-m", "elector", "sweep", "designs.csv", "--out", "agreed.csv"]
    subprocess.run(agreed, cwd=place, check=True, capture_output=True)
    run_steps(RECIPE, place)
    for name in ("sweep.xml", "compare.xml", "check.xml", "results/smoke/report.html"):
        assert (place / name).stat().st_size > 0


@pytest.mark.slow
def test_the_recipe_notices_a_worse_design(place: Path) -> None:
    text = (ROOT / "docs" / "examples" / "sweep.csv").read_text()
    (place / "designs.csv").write_text(text)
    out = [sys.executable, "-m", "elector", "sweep", "designs.csv", "--out", "agreed.csv"]
    subprocess.run(out, cwd=place, check=True, capture_output=True)
    agreed = place / "agreed.csv"
    header, first, *rest = agreed.read_text().splitlines()
    cells = first.split(",")
    column = header.split(",").index("energy_j")
    cells[column] = repr(float(cells[column]) / 2)
    agreed.write_text("\n".join([header, ",".join(cells), *rest]) + "\n")
    with pytest.raises(AssertionError, match="got worse"):
        run_steps(RECIPE, place)


# ---- the site, the papers to cite


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("material"), reason="needs the extra docs")
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir"]
    done = subprocess.run([*words, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "api.html").stat().st_size > 20_000


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert re.search(rf": {re.escape(page.name)}$", text, re.M), page.name


def test_the_citation_is_of_this_version() -> None:
    import elector

    data = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert data["version"] == elector.__version__ and data["license"] == "BSD-3-Clause"
    assert {"cff-version", "message", "title", "authors"} <= set(data)
