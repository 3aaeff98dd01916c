"""Every format that the programs read, changed at random: no tracebacks, no hangs, nothing written.

A few inputs of each format here; `python -m fuzz.attack` takes any number (docs/reliability.md).
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from amounts import draws
from fuzz import values
from fuzz.attack import attack, content_of
from fuzz.readers import READERS
from fuzz.targets import targets

import elector
from transcode.runs.files import read_json
from transcode.space.reader import load

ROOT = Path(__file__).resolve().parent.parent
#: Formats whose inputs take seconds even where they are few.
LONG = ("front", "front.json", "part")
#: Inputs of each format: in the quick tests, and in the long ones.
FEW, MANY = range(draws(12, 6)), range(12, 120)


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
    assert not [finding for *_, findings in ended for finding in findings]


@pytest.mark.slow
@pytest.mark.parametrize("label", targets())
def test_readers_of_the_python_api(label: str) -> None:
    """Inputs that go through no command; of the first, which goes through both, too."""
    assert set(READERS) == set(targets())
    ended = list(attack([label], range(100), seed=1, jobs=1, reading=True))
    assert not [finding for *_, findings in ended for finding in findings]
    ends = [end for _, _, ends, _ in ended for end in ends]
    assert ends.count("read") + ends.count("refused") == 100 and len(ends) > 100


#: Files whose values are replaced: as many as are read in some seconds.
WHOLE = {"model": 2, "config": 2, "accelerator": 2, "plan": 2, "manifest": 1}


@pytest.mark.slow
@pytest.mark.parametrize("label", WHOLE)
def test_every_value_replaced(label: str) -> None:
    seeds = [seed for seed in targets()[label].seeds if b":" in seed]
    count, findings = values.attack(label, seeds[: WHOLE[label]])
    assert count > 300 and not findings


@pytest.mark.parametrize("kind", [[], {}, None, 1, ["systolic"]])
def test_a_base_that_is_no_name(tmp_path: Path, kind: object) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(json.dumps({"base": kind, "rows": 16}))
    with pytest.raises(elector.InputError, match="base"):
        elector.simulate("bert-tiny", str(path))


@pytest.mark.parametrize("digits", [310, 4200])
@pytest.mark.parametrize("key", ["hidden_size", "num_attention_heads", "num_key_value_heads"])
def test_whole_numbers_of_a_configuration(tmp_path: Path, key: str, digits: int) -> None:
    config = json.loads(targets()["config"].seeds[1]) | {key: 10**digits}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    with pytest.raises(elector.InputError, match=f"{key}: must be finite"):
        elector.simulate(str(path), "systolic")


@pytest.mark.parametrize("types", [5, [[["global"], "x"]], [[["local"], 10**12]], [[[], None]]])
def test_kinds_of_attention_that_are_no_list(tmp_path: Path, types: object) -> None:
    config = {"model_type": "gpt_neo", "hidden_size": 64, "num_layers": 2, "num_heads": 2}
    config |= {"vocab_size": 100, "window_size": 8, "max_position_embeddings": 64}
    config["attention_types"] = types
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    with pytest.raises(elector.InputError, match="attention_types"):
        elector.simulate(str(path), "systolic")


@pytest.mark.parametrize(
    ("wide", "words"),
    [
        ({"multiple_of": [], "choices": [2]}, "is not a parameter here"),
        ({"multiple_of": {"a": 1}, "choices": [2]}, "is not a parameter here"),
        ({"multiple_of": "hidden", "choices": 1e308}, "must be finite"),
    ],
)
def test_multiples_of_nothing_and_of_everything(wide: object, words: str) -> None:
    space = {
        "name": "few",
        "model": {"base": "encoder", "hidden": [128, 256], "feed_forward": wide},
        "accelerator": {"base": "systolic", "rows": [16, 32]},
        "objectives": {"latency_s": "min", "energy_j": "min"},
    }
    with pytest.raises(elector.InputError, match=words):
        load(space)


@pytest.mark.parametrize("digits", [310, 4200, 5000])
def test_whole_numbers_of_a_run(tmp_path: Path, digits: int) -> None:
    path = tmp_path / "front.json"
    path.write_text('{"hypervolume": ' + "1" * digits + "}")
    with pytest.raises(elector.InputError, match="is damaged"):
        read_json(path, "a front")
    path.write_text('{"hypervolume": 1' + "0" * 300 + "}")
    assert read_json(path, "a front") == {"hypervolume": 10**300}


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
