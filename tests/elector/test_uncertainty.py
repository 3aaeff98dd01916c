"""Intervals around results."""

from __future__ import annotations

import math

import pytest
from commands import run

import elector
from elector.base.errors import InputError
from elector.studies.simulation import columns_of
from elector.studies.uncertainty import (
    ANY,
    candidates,
    intervals,
    regime_of,
    spreads,
    width_of,
    widths,
)
from elector.technology import EVIDENCE

RESULTS = ("latency_s", "energy_j", "power_w", "area_mm2", "throughput_sequences_per_s")


def test_every_evidence_has_a_spread() -> None:
    assert set(spreads()) <= set(EVIDENCE)
    assert all(factor > 1 for factor in spreads().values())
    assert spreads()["measured"] < spreads()["published"] < spreads()["scaled"]
    assert spreads()["scaled"] < spreads()["assumed"]


def test_groups_widen_until_there_are_cases() -> None:
    assert candidates(("ampere", "eager", "bert"))[0] == ("ampere", "eager", "bert")
    assert candidates(("ampere", "eager", "bert"))[-1] == ANY
    assert all(key[0] == "reram" or key == ANY for key in candidates(("reram", "eager", "bert")))
    assert width_of(("reram", "eager", "bert"))[1] == ANY
    for width in widths().values():
        assert width.time > 1 and width.power > 1
    assert regime_of("ampere / eager / language model decode") == "language"
    assert regime_of("volta / eager / training power") == "training"


@pytest.mark.parametrize(
    ("model", "accelerator"),
    [
        ("bert-tiny", "tpu-v3"),
        ("bert-tiny", "a100-sxm-80gb"),
        ("bert-tiny", "isaac"),
        ("bert-tiny", "acceltran-edge"),
        ("bert-tiny", "reram+systolic"),
    ],
)
def test_a_result_lies_in_its_interval(model: str, accelerator: str) -> None:
    plain = elector.simulate(model, accelerator)
    found = elector.simulate(model, accelerator, uncertainty=True, samples=60)
    assert {key: found[key] for key in plain if key != "notes"} == {
        key: value for key, value in plain.items() if key != "notes"
    }
    for name in RESULTS:
        low, value, high = (found[n] for n in (f"{name}_low", name, f"{name}_high"))
        assert isinstance(low, float) and isinstance(value, float) and isinstance(high, float)
        assert 0 < low < value < high
    assert "macs_low" not in found and "parameters_low" not in found
    again = elector.simulate(model, accelerator, uncertainty=True, samples=60)
    assert again["energy_j_low"] == found["energy_j_low"]


def test_times_follow_the_width_of_their_group() -> None:
    found = elector.simulate("bert-base", "a100-sxm-80gb", uncertainty=True, samples=60)
    width = width_of(("ampere", "eager", "bert"))[0]
    latency, high = found["latency_s"], found["latency_s_high"]
    assert isinstance(latency, float) and isinstance(high, float)
    assert math.log(high / latency) == pytest.approx(math.log(width.time), rel=0.5)
    notes = found["notes"]
    assert isinstance(notes, list) and any("published cases" in note for note in notes)


def test_what_nothing_validates_says_so() -> None:
    notes = elector.simulate("bert-tiny", "isaac", uncertainty=True, samples=60)["notes"]
    assert isinstance(notes, list)
    assert any("no published case validates such a design" in note for note in notes)


def test_too_few_samples_are_no_interval() -> None:
    with pytest.raises(InputError, match="at least 20"):
        intervals(columns_of({"model": "bert-tiny", "accelerator": "gpu"}), {}, samples=5)


def test_the_table_shows_them() -> None:
    shown = run("simulate", "bert-tiny", "systolic", "--uncertainty", "--samples", "40").stdout
    block = shown.partition("nine times of ten between")[2]
    assert "latency" in block and "energy" in block and "area" in block
