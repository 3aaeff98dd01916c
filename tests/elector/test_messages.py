"""Messages: short, printable, and with the file that the mistake is in."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from commands import run

import elector
from elector.base.errors import InputError, nearest


def test_long_and_unprintable_names_are_shortened() -> None:
    error = InputError(
        "unknown key", file="f" * 9000, field="k" * 5000, value="v" * 5000, allowed=["a" * 3000]
    )
    assert len(str(error)) < 1500
    said = str(InputError("unknown key", file="a\x1b[31m.yaml", field="k\ney", allowed=["\x07"]))
    assert "\x1b" not in said and "\x07" not in said and "k\\ney" in said
    path = "folder/" * 30 + "file.yaml"
    assert path in str(InputError("is empty", file=path)), "as long as names are, they are whole"


def test_what_a_library_said_and_hints_that_repeat_a_file_are_cut() -> None:
    wrong = "is not a configuration: " + "x" * 100_000 + " at the end"
    error = InputError(wrong, hint="--ignore-key " + "k" * 50_000 + "\nor another")
    assert len(str(error)) < 5000
    assert "is not a configuration" in str(error) and "at the end" in str(error)
    assert "hint: --ignore-key kkk" in str(error) and str(error).endswith("\nor another")
    said = str(InputError("no such \x1b[31mkey\nin it", hint="\x07 bell"))
    assert "\x1b" not in said and "\x07" not in said and "key\nin it" in said


@pytest.mark.parametrize("digits", [310, 4300, 5000, 100_000])
def test_whole_numbers_that_python_does_not_write(digits: int) -> None:
    error = InputError("must be finite", field="a", value=10**digits, allowed=[10**digits])
    assert "must be finite" in str(error) and len(str(error)) < 500
    assert nearest(10**digits, ["a", "b"]) is None


def test_a_message_is_put_together_when_it_is_asked_for() -> None:
    error = InputError("unknown", field="a", value="sysotlic", allowed=["systolic"])
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) and "did you mean systolic?" in str(error)
    assert str(error.at(file="x.yaml", place="case 3")).startswith("x.yaml: a: case 3: unknown")


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (
            "model: bert-tiny\nworkload: {batch: -1}\nphases: "
            "[{steps: 1, accelerator: systolic}]\n",
            "workload.batch: must be at least 1",
        ),
        ("model: bert-tin\nphases: [{steps: 1, accelerator: systolic}]\n", "unknown model"),
        (
            "model: bert-tiny\nworkload: {precision: fp99}\nphases: "
            "[{steps: 1, accelerator: systolic}]\n",
            "fp99",
        ),
        (
            "model: bert-tiny\nphases: [{steps: 1" + "1" * 400 + ", accelerator: systolic}]\n",
            "must be finite",
        ),
    ],
)
def test_mistakes_in_a_plan_name_the_plan(tmp_path: Path, plan: str, words: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(plan)
    done = run("run", str(path))
    assert done.exit_code == 2 and f"Error: {path}: " in done.stderr and words in done.stderr


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_a_number_of_more_digits_than_python_reads(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model.{suffix}"
    value = '{"base": "encoder",\n"layers": ' + "9" * 4400 + "}"
    path.write_text(value)
    with pytest.raises(InputError) as refused:
        elector.simulate(str(path), "systolic")
    said = f"{path}: line 2: is not valid {suffix.upper()}: a number has too many digits"
    assert str(refused.value) == said
