"""Folders and files that may not be read or written: said so, with the system's words, and exit 2.

Permissions do not bind root, so these commands run without its power.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from elector.cli.commands import main as elector_main
from transcode.cli.commands import main

TINY = """
name: tiny
model: {base: encoder, layers: [2, 4], hidden: [128, 256], heads: [2, 4]}
accelerator: {base: systolic, rows: [16, 32], dataflow: [ws, os]}
objectives: {latency_s: min, energy_j: min}
"""
DENIED = "Permission denied"
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the space tiny.yaml, its run `tiny`, a table, a plan and a model."""
    root = tmp_path_factory.mktemp("unprivileged")
    (root / "tiny.yaml").write_text(TINY)
    words = ["search", str(root / "tiny.yaml"), "--out", str(root / "tiny"), "--quiet"]
    assert CliRunner().invoke(main, [*words, "--batch", "8"]).exit_code == 0
    (root / "model.yaml").write_text("base: encoder\nlayers: 2\n")
    (root / "table.csv").write_text("model,accelerator\nbert-tiny,systolic\n")
    (root / "plan.yaml").write_text(
        "model: bert-tiny\nphases: [{name: a, steps: 1, accelerator: systolic}]\n"
    )
    return root


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy with a folder `locked` that may not even be searched."""
    root = shutil.copytree(made, tmp_path / "copy")
    shutil.copytree(made, root / "locked")
    (root / "locked").chmod(0)
    yield root
    for path in [root / "locked", root / "shut", *root.rglob("*")]:
        if path.exists():
            path.chmod(0o700)


def test_a_folder_that_may_not_be_searched(place: Path, powerless: Run) -> None:
    locked = "locked"
    table = place / "names.csv"
    table.write_text(
        "model,accelerator,workload.sparsity\nbert-tiny,systolic,\nlocked/m.yaml,systolic,\n"
        "bert-tiny,locked/a.yaml,\nbert-tiny,systolic,locked/s.csv\n"
    )
    (place / "base.yaml").write_text("base: locked/model.yaml\n")
    (place / "space.yaml").write_text(TINY.replace("base: encoder", "base: locked/model.yaml"))
    (place / "extends.yaml").write_text("extends: locked/tiny.yaml\n")
    (place / "plans.yaml").write_text(
        "model: locked/model.yaml\nphases: [{name: a, steps: 1, accelerator: systolic}]\n"
    )
    one = ("simulate", "bert-tiny", "systolic")
    commands = [
        ("elector", "simulate", f"{locked}/model.yaml", "systolic"),
        ("elector", "simulate", "bert-tiny", f"{locked}/accelerator.yaml"),
        ("elector", "simulate", "bert-tiny", "base.yaml"),
        ("elector", *one, "--sparsity", f"{locked}/s.csv"),
        ("elector", *one, "--set", f"workload.sparsity={locked}/s.csv"),
        ("elector", *one, "--technology", f"{locked}/t.csv"),
        ("elector", "sweep", f"{locked}/table.csv", "--out", "-"),
        ("elector", "sweep", "table.csv", "--out", f"{locked}/costs.csv"),
        ("elector", "trace", "bert-tiny", "systolic", "--out", f"{locked}/t.json"),
        ("elector", "run", f"{locked}/plan.yaml"),
        ("elector", "run", "plans.yaml"),
        ("elector", "validate", "--cases", f"{locked}/cases.csv"),
        ("transcode", "search", f"{locked}/tiny.yaml", "--out", "new"),
        ("transcode", "search", "space.yaml", "--out", "new"),
        ("transcode", "search", "extends.yaml", "--out", "new"),
        ("transcode", "search", "tiny.yaml", "--out", f"{locked}/new"),
        ("transcode", "search", "tiny.yaml", "--out", f"{locked}/tiny", "--fresh"),
        ("transcode", "search", "tiny.yaml", "--out", "new", "--warm-start", f"{locked}/f.csv"),
        ("transcode", "front", f"{locked}/tiny"),
        ("transcode", "front", f"{locked}/tiny", "--where", "latency_s <= 1"),
        ("transcode", "plot", f"{locked}/tiny"),
        ("transcode", "plot", "tiny", "--out", f"{locked}/front.png"),
        ("transcode", "compare", f"{locked}/tiny", "tiny"),
        ("transcode", "compare", "tiny", f"{locked}/tiny"),
        ("transcode", "compare", "tiny", "tiny", "--out", f"{locked}/both.png"),
        ("transcode", "check", f"{locked}/tiny", "--require", "latency_s <= 1"),
        ("transcode", "check", "tiny", "--require", "front >= 1", "--baseline", f"{locked}/tiny"),
        ("transcode", "check", "tiny", "--require", "front >= 1", "--junit", f"{locked}/j.xml"),
        ("transcode", "merge", f"{locked}/tiny", "tiny", "--out", "new"),
        ("transcode", "merge", "tiny", "tiny", "--out", f"{locked}/new"),
    ]
    before = sorted(str(p) for p in place.rglob("*"))
    for words, done in zip(commands, powerless(commands, place), strict=True):
        assert done.crash is None, (words, done.crash)
        assert (done.code, done.out) == (2, ""), (words, done)
        assert DENIED in done.err and "locked/" in done.err, (words, done.err)
        assert "does not exist" not in done.err and "Traceback" not in done.err
    assert sorted(str(p) for p in place.rglob("*")) == before, "nothing was written"
    (swept,) = powerless([("elector", "sweep", "names.csv", "--out", "-")], place)
    assert swept.code == 4 and "4 rows, 0 infeasible, 3 unreadable" in swept.err
    assert swept.out.count(DENIED) == 3


def test_a_file_or_folder_that_is_locked_itself(place: Path, powerless: Run) -> None:
    """Not below a locked folder: the system is asked, not the parser of the command line, which
    would answer with how the command is used."""
    shutil.copy(place / "table.csv", place / "shut.csv")
    shutil.copytree(place / "tiny", place / "shut")
    for name in ("shut", "shut.csv"):
        (place / name).chmod(0)
    expected = {
        "shut/manifest.json: cannot be read": [
            ("transcode", "front", "shut"),
            ("transcode", "show", "shut", "0"),
            ("transcode", "report", "shut"),
            ("transcode", "plot", "shut"),
            ("transcode", "check", "shut", "--require", "front > 0"),
            ("transcode", "compare", "shut", "tiny"),
            ("transcode", "compare", "tiny", "shut"),
            ("transcode", "merge", "shut", "tiny", "--out", "new"),
        ],
        "shut.csv: cannot be read": [
            ("elector", "sweep", "shut.csv", "--out", "-"),
            ("elector", "compare", "shut.csv", "table.csv"),
            ("elector", "validate", "--data", "shut.csv"),
            ("elector", "run", "shut.csv"),
            ("elector", "simulate", "bert-tiny", "systolic", "--technology", "shut.csv"),
            ("transcode", "search", "tiny.yaml", "--out", "new", "--warm-start", "shut.csv"),
        ],
    }
    commands = [words for listed in expected.values() for words in listed]
    answers = dict(zip(commands, powerless(commands, place), strict=True))
    for says, listed in expected.items():
        for words in listed:
            done = answers[words]
            assert done.crash is None, (words, done.crash)
            assert (done.code, done.out) == (2, ""), (words, done)
            assert f"{says}: {DENIED}" in done.err and "Usage" not in done.err, (words, done.err)
    assert not (place / "new").exists()


def test_files_of_a_run_that_may_not_be_read(place: Path, powerless: Run) -> None:
    part = place / "tiny" / "designs" / "part-000001.parquet"
    questions = [
        ("transcode", "front", "tiny", "--where", "latency_s <= 1"),
        ("transcode", "check", "tiny", "--require", "latency_s <= 1"),
        ("transcode", "merge", "tiny", "locked-not/tiny", "--out", "new"),
        ("transcode", "search", "tiny.yaml", "--out", "tiny", "--batch", "8", "--quiet"),
    ]
    shutil.copytree(place / "tiny", place / "locked-not" / "tiny")
    names = sorted(os.listdir(part.parent))
    part.chmod(0)
    for words, done in zip(questions, powerless(questions, place), strict=True):
        assert done.crash is None and done.code == 2, (words, done)
        assert f"{part.name}: cannot be read: {DENIED}" in done.err, (words, done.err)
        assert "not whole" not in done.err
    assert sorted(os.listdir(part.parent)) == names, "what may be whole is not set aside"
    assert powerless([("transcode", "front", "tiny")], place)[0].code == 0, "front.csv is there"
    part.chmod(0o600)
    part.parent.chmod(0o300)  # entered, but not listed: what is there must not be written over
    for words, done in zip(questions, powerless(questions, place), strict=True):
        assert done.crash is None and done.code == 2 and DENIED in done.err, (words, done)
    part.parent.chmod(0o700)
    for name in ("front.csv", "manifest.json"):
        path = place / "tiny" / name
        path.chmod(0)
        shown = [("transcode", "front", "tiny"), ("transcode", "plot", "tiny")]
        shown += [("transcode", "compare", "tiny", "tiny")]
        for words, done in zip(shown, powerless(shown, place), strict=True):
            assert done.crash is None and done.code == 2, (words, done)
            assert f"tiny/{name}: cannot be read: {DENIED}" in done.err, words
        path.chmod(0o600)


def test_a_run_folder_that_may_not_be_written(place: Path, powerless: Run) -> None:
    again = ("transcode", "search", "tiny.yaml", "--out", "tiny", "--batch", "8", "--quiet")
    (place / "tiny" / ".lock").chmod(0o400)
    (done,) = powerless([again], place)
    assert done.code == 2 and done.crash is None
    assert f"tiny: --out: cannot be written: {DENIED}" in done.err
    (place / "tiny" / ".lock").chmod(0o600)
    before = {p: p.read_bytes() for p in (place / "tiny").rglob("*") if p.is_file()}
    (place / "tiny").chmod(0o500)
    fresh = (*again, "--fresh")
    for words, done in zip((again, fresh), powerless([again, fresh], place), strict=True):
        assert done.code in (1, 2) and done.crash is None, (words, done)
        assert DENIED in done.err
    (place / "tiny").chmod(0o700)
    kept = {p: p.read_bytes() for p in (place / "tiny" / "designs").iterdir()}
    assert all(before[path] == content for path, content in kept.items())


def test_no_path_is_looked_at_by_the_parser_of_the_command_line() -> None:
    """Its answer is how the command is used, without the file that was asked for."""

    def commands_of(command: click.Command) -> list[click.Command]:
        inner = command.commands.values() if isinstance(command, click.Group) else ()
        return [command, *(c for child in inner for c in commands_of(child))]

    asked = [
        (command.name, parameter.name, parameter.type)
        for program in (main, elector_main)
        for command in commands_of(program)
        for parameter in command.params
        if isinstance(parameter.type, click.Path)
    ]
    assert len(asked) > 20
    for command, name, path in asked:
        looks = path.exists or path.readable or path.writable or path.executable
        assert not looks and path.file_okay and path.dir_okay, (command, name)
