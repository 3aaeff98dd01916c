"""The attacks themselves: they say what failed, and a folder that vanishes is a finding."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent / "transcode"))

from fuzz import attack, disks, kills, values


class Server:
    """Processes that end at once with an exit code."""

    def __init__(self, code: int) -> None:
        self.exitcode = code

    def Value(self, kind: str, value: int) -> Server:
        self.value = value
        return self

    def Process(self, **given: object) -> Server:
        return self

    def start(self) -> None:
        pass

    def join(self, seconds: float | None = None) -> None:
        pass

    def is_alive(self) -> bool:
        return False


KIND = kills.Kind("none", lambda *a: None, lambda *a: 0, lambda *a: None)


def test_a_folder_that_vanishes_with_what_was_committed_is_lost(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert kills.checked(KIND, gone, tmp_path, 0) == 0
    with pytest.raises(kills.Lost, match="12 were committed"):
        kills.checked(KIND, gone, tmp_path, 12)


def test_an_undisturbed_run_that_fails_is_named(tmp_path: Path) -> None:
    attack = kills.Attack(KIND, tmp_path, random.Random(0), Server(1))
    with pytest.raises(kills.Lost, match="undisturbed run failed: exit code 1"):
        attack.begin()
    assert attack.lasted >= 0.0 and attack.operations == 0, "both are shown beside the reason"


def test_a_disk_says_why_the_undisturbed_run_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks.os, "chown", lambda *a: None)
    monkeypatch.setattr(disks.Disks, "run", lambda self, folder: "TRACEBACK KeyError: 'x'")
    disk = disks.Disks(KIND, tmp_path, random.Random(0), None)
    with pytest.raises(kills.Lost, match="failed: TRACEBACK KeyError"):
        disk.begin()
    assert disk.need == 0


@pytest.mark.parametrize("label", ["nope", "table", "part", "setting"])
def test_a_format_without_values_is_refused(
    label: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["values", label])
    assert values.main() == 2
    said = capsys.readouterr()
    assert label in said.err and "manifest" in said.err and not said.out


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), [float("inf")], {"a": 1e308}])
def test_an_infinity_is_a_number_to_yaml_and_to_json(value: object) -> None:
    text = values.dumped(value)
    assert yaml.safe_load(text) == json.loads(text) == value


def test_what_a_command_writes_beside_itself_lies_in_its_folder(tmp_path: Path) -> None:
    """A name without a folder, as an attack makes of names: nothing is left in the tree."""
    here = sorted(Path().iterdir())
    words = ("elector", "trace", "bert-tiny", "systolic", "--out", "beside.json")
    assert attack.judged(words, tmp_path) == (0, "")
    assert (tmp_path / "beside.json").is_file() and sorted(Path().iterdir()) == here


def test_an_attack_that_is_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, done = tmp_path / "state.json", attack.attack
    words = ["attack", "--target", "setting", "--inputs", "6", "--readers", "--jobs", "1"]
    monkeypatch.setattr(sys, "argv", [*words, "--state", str(state)])
    monkeypatch.setattr(attack, "OFTEN", 2)

    def killed(labels: list[str], numbers: range, *rest: object) -> object:
        if numbers.start == 4:
            raise KeyboardInterrupt
        return done(labels, numbers, *rest)

    monkeypatch.setattr(attack, "attack", killed)
    with pytest.raises(KeyboardInterrupt):
        attack.main()
    assert json.loads(state.read_text())["next"] == 4
    monkeypatch.setattr(attack, "attack", done)
    assert attack.main() == 0
    assert json.loads(state.read_text())["next"] == 4 + 6
