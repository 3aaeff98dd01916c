"""Every format that the programs read, changed at random: no tracebacks, no hangs, nothing written.

A few inputs of each format here; `python -m fuzz.attack` takes any number (docs/reliability.md).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fuzz.attack import attack, content_of
from fuzz.targets import targets

ROOT = Path(__file__).resolve().parent.parent
#: Formats whose inputs take seconds even where they are few.
LONG = ("front", "front.json", "part")
#: Inputs of each format: in the quick tests, and in the long ones.
FEW, MANY = range(12), range(12, 120)


@pytest.mark.parametrize(
    "label", [pytest.param(t, marks=pytest.mark.slow if t in LONG else ()) for t in targets()]
)
def test_a_few_inputs_of_every_format(label: str) -> None:
    judge(label, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("label", targets())
def test_many_inputs_of_every_format(label: str) -> None:
    judge(label, MANY)


def judge(label: str, numbers: range) -> None:
    ended = list(attack([label], numbers, seed=0, jobs=1))
    assert len(ended) == len(numbers)
    assert not [finding for *_, found in ended for finding in found]


def test_an_input_is_always_the_same_one() -> None:
    for target in targets().values():
        first, again = (content_of(target, 3, 14) for _ in range(2))
        assert first == again
        assert len({content_of(target, 3, number) for number in range(30)}) > 10


def test_every_promise_names_a_test_that_is_there() -> None:
    """docs/reliability.md: `file::test`, or `::test` of the file named before."""
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]*(?:test_\w+\.py)?)(?:::(\w+))?`", page)
    file, count = "", 0
    for name, test in named:
        file = name if name.endswith(".py") else file
        if not (name.endswith(".py") or test):
            continue
        content = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert not test or f"def {test}(" in content, f"{file}::{test}"
        count += 1
    assert count > 30
