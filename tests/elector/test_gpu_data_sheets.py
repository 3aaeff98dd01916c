"""Figures of the boards' data sheets agree with one another."""

from __future__ import annotations

import csv

import pytest

from elector.base.table import DATA
from elector.base.units import parse
from elector.evaluation.data_sheets import data_sheets

with (DATA / "accelerators" / "gpus.csv").open(newline="", encoding="utf-8") as stream:
    BOARDS = {row["name"]: row for row in csv.DictReader(stream)}

#: Lanes of fp32 of an SM or compute unit, by family: CUDA C++ programming guide, arithmetic
#: instructions. AMD quotes fp32 of matrix cores (CDNA, CDNA 2) or of packed operands (CDNA 3):
#: twice the 64 lanes, the rate of products.
LANES = {
    "pascal": 128,
    "volta": 64,
    "turing": 64,
    "ampere": 128,
    "ada": 128,
    "hopper": 128,
    "blackwell": 128,
    "blackwell-rtx": 128,
    "cdna": 128,
}
#: Chips for data centres of families that have more lanes elsewhere: GP100 and GA100.
FEWER = {"P100": 64, "A100": 64, "A30": 64}
#: Data sheets round to two digits (80 for 79.6) or three.
ROUNDED = 0.01


def quoted(row: dict[str, str]) -> float:
    """Operations a second in fp32 by lanes and clock."""
    chips = (lanes for chip, lanes in FEWER.items() if f" {chip}" in row["description"])
    lanes = next(chips, LANES[row["architecture"]])
    return 2.0 * lanes * float(row["sms"]) * float(parse(row["boost_clock"], "Hz"))


@pytest.mark.parametrize("name", BOARDS)
def test_fp32_is_what_the_lanes_do_at_the_clock_of_the_rates(name: str) -> None:
    row = BOARDS[name]
    assert float(row["fp32_rate"]) <= quoted(row) * (1.0 + ROUNDED)
    assert float(row["fp32_rate"]) == pytest.approx(quoted(row), rel=ROUNDED)


@pytest.mark.parametrize("name", ["h100-sxm-80gb", "h200-sxm-141gb", "gh200-96gb"])
def test_hopper_is_quoted_at_the_clock_of_its_tensor_rates(name: str) -> None:
    """67 Tflop/s hold at 1,980 MHz: at 1,830 MHz 132 SMs of 128 lanes do 61.8."""
    assert pytest.approx(67e12, rel=2e-3) == 2 * 128 * 132 * 1980e6
    assert float(BOARDS[name]["fp32_rate"]) == pytest.approx(2 * 128 * 132 * 1830e6, rel=1e-3)
    assert "1,980 MHz" in data_sheets()[name, "fp32_rate"].text
