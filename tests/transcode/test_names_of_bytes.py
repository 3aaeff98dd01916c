"""Run folders whose names are not UTF-8: every command takes them, every file can be read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from programs import run as started

import transcode

ODD = os.fsdecode(b"run\xff")
TINY = """
model: {base: encoder, layers: [2], hidden: [128], heads: [2], feed_forward: [512]}
accelerator: {base: systolic, rows: [16, 32]}
objectives: {latency_s: min, energy_j: min}
"""


def invoke(*words: str) -> subprocess.CompletedProcess[str]:
    return started("transcode", *words)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the space, and a run of it under a name of bytes."""
    root = tmp_path_factory.mktemp(os.fsdecode(b"inner\xfe"))
    (root / "tiny.yaml").write_text(TINY)
    done = invoke("search", str(root / "tiny.yaml"), "--out", str(root / ODD), "--quiet")
    assert done.returncode == 0, done.stderr
    return root


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "sampler", ["evolve", pytest.param("random", marks=SLOW), pytest.param("nsga2", marks=SLOW)]
)
def test_a_search_under_such_a_name_is_as_any_other(
    root: Path, tmp_path: Path, sampler: str
) -> None:
    out = tmp_path / ODD
    words = ["search", str(root / "tiny.yaml"), "--quiet", "--sampler", sampler, "--report"]
    if sampler == "evolve":
        words += ["--warm-start", str(root / ODD / "front.csv")]
    words += ["--budget", "2"]
    for folder in (out, out, tmp_path / "plain"):  # the second goes on with the first
        done = invoke(*words, "--out", str(folder))
        assert done.returncode == 0, done.stderr
    assert (out / "front.csv").read_bytes() == (tmp_path / "plain" / "front.csv").read_bytes()
    for made in ("manifest.json", "front.json", "front.csv", "study.log", "report.html"):
        (out / made).read_bytes().decode("utf-8")
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    json.dumps(manifest, ensure_ascii=False).encode()
    assert not list(out.glob(".*.tmp"))


def test_a_command_line_is_spelled_out_and_recorded_designs_are_read(root: Path) -> None:
    command = json.loads((root / ODD / "manifest.json").read_text())["command"]
    assert r"run\udcff --quiet" in command and r"inner\udcfe" in command
    assert len(transcode.load_run(root / ODD).designs()) == 2


@pytest.mark.slow
def test_every_question_is_answered(root: Path, tmp_path: Path) -> None:
    run = str(root / ODD)
    junit = tmp_path / f"{ODD}.xml"
    for words in (
        ("show", run, "0"),
        ("front", run, "--format", "json"),
        ("front", run, "--where", "latency_s > 0"),
        ("front", run, "--uncertainty", "--samples", "20"),
        ("check", run, "--require", "hypervolume >= baseline", "--baseline", f"{run}/front.json"),
        ("check", run, "--require", "latency_s > 0", "--junit", str(junit)),
        ("report", run),
        ("plot", run),
        ("compare", run, run),
        ("merge", run, "--out", str(tmp_path / ODD)),
    ):
        done = invoke(*words)
        assert done.returncode == 0, (words, done.stderr)
    assert r"run\udcff" in junit.read_text(encoding="utf-8")
    assert (tmp_path / ODD / "designs").is_dir()


def test_a_cut_part_is_still_found(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / ODD, tmp_path / ODD)
    part = tmp_path / ODD / "designs" / "part-000000.parquet"
    part.write_bytes(part.read_bytes()[:-9])
    done = invoke("show", str(tmp_path / ODD), "0")
    assert done.returncode == 2 and "is not whole" in done.stderr


@pytest.mark.slow
def test_what_has_half_of_a_pair_is_refused_wherever_it_stands(root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(root / ODD, run)
    told = json.loads((run / "manifest.json").read_text())
    for field, changed in (
        ("storage", {"storage": "\ud800"}),
        ("command", {"command": "a\udcff"}),
        ("sampler.why", {"sampler": told["sampler"] | {"why": "\udfff"}}),
        (r"\ud800", {"\ud800": 1}),
        ("objectives", {"objectives": ["\ud800"]}),
    ):
        (run / "manifest.json").write_text(json.dumps(told | changed))
        for words in (
            ("report", str(run)),
            ("front", str(run)),
            ("check", str(run), "--require", "hypervolume > 0"),
            ("merge", str(run), "--out", str(tmp_path / "merged")),
            ("search", str(root / "tiny.yaml"), "--out", str(run), "--quiet"),
        ):
            done = invoke(*words)
            assert done.returncode == 2, (field, words, done.stderr)
            assert f"manifest.json: {field}" in done.stderr
            assert "half of a surrogate pair" in done.stderr
    assert not (tmp_path / "merged").exists()
