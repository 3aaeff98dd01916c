"""Samplers of the user's own that are none, cannot be made, or fail: named, with file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import transcode
from elector.base.errors import InputError
from transcode.cli.commands import main

SPACE = """
name: few
model: {base: bert-tiny}
accelerator: {base: systolic, rows: [16, 32, 64, 128], cols: [16, 32, 64, 128]}
objectives: {latency_s: min, energy_j: min}
"""
SAMPLERS = """
import optuna

class Abstract(optuna.samplers.BaseSampler):
    pass

class Needy(optuna.samplers.RandomSampler):
    def __init__(self, needs):
        pass

class Failing(optuna.samplers.RandomSampler):
    def sample_independent(self, *arguments):
        return 1 / 0

class Odd(optuna.samplers.RandomSampler):
    def sample_independent(self, *arguments):
        return "nonsense"

class Late(optuna.samplers.RandomSampler):
    def after_trial(self, study, trial, state, values):
        raise KeyError("late")

class Fine(optuna.samplers.RandomSampler):
    pass

something = 7
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "few.yaml").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def search(name: str, out: str) -> tuple[int, str, BaseException | None]:
    words = ["search", "few.yaml", "--sampler", name, "--budget", "4", "--out", out, "--quiet"]
    done = CliRunner().invoke(main, words)
    crash = None if isinstance(done.exception, SystemExit) else done.exception
    return done.exit_code, done.stderr, crash


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("Abstract", 2, "cannot be made: TypeError: Can't instantiate abstract class Abstract"),
        ("Needy", 2, "cannot be made: TypeError: Needy.__init__() missing 1 required"),
        ("something", 2, "is not an Optuna sampler class"),
        ("Absent", 2, "cannot be imported: AttributeError"),
        ("Failing", 1, "failed: ZeroDivisionError: division by zero (own_samplers.py, line 13)"),
        ("Odd", 1, "failed: ValueError: 'nonsense' not in"),
        ("Late", 1, "failed: KeyError: 'late' (own_samplers.py, line 21)"),
        ("Fine", 0, ""),
    ],
)
def test_samplers_of_the_users_own(place: Path, name: str, code: int, words: str) -> None:
    (place / "own_samplers.py").write_text(SAMPLERS)
    ended, said, crash = search(f"own_samplers:{name}", "run")
    assert (ended, crash) == (code, None), said
    assert words in said and "Traceback" not in said
    assert (place / "run").exists() == (code != 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("x = = 1\n", "SyntaxError: invalid syntax (broken_{}.py, line 1)"),
        ("\n1 / 0\n", "ZeroDivisionError: division by zero (broken_{}.py, line 2)"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("import nothing_of_that_name\n", "ModuleNotFoundError: No module named"),
    ],
)
def test_modules_that_cannot_be_imported(
    place: Path, content: str, words: str, request: pytest.FixtureRequest
) -> None:
    number = abs(hash(content)) % 10**6
    (place / f"broken_{number}.py").write_text(content)
    ended, said, crash = search(f"broken_{number}:Any", "run")
    assert (ended, crash) == (2, None), said
    assert "--sampler: cannot be imported" in said and words.format(number) in said
    assert not (place / "run").exists()


@pytest.mark.parametrize(
    ("used", "said"),
    [("0", "sampler.used: unknown sampler"), ("evil:Class", "loaded where it is asked for")],
)
def test_no_manifest_says_what_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: str, said: str
) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "run"
    transcode.search("smoke", sampler="random", budget=4, out=out)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["sampler"]["used"] = used
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=said):
        transcode.search("smoke", budget=8, out=out)
