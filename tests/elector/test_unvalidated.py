"""Intervals of chips that no published case is of: said, and no narrower than what is assumed."""

from __future__ import annotations

import pytest

import elector
from elector.studies.error_widths import ANY, FEWEST, said, validated, width_of, widths


@pytest.mark.parametrize("family", ["pascal", "cdna", "any"])
@pytest.mark.parametrize("stack", ["eager", "vllm", "llama.cpp", "tensorrt"])
@pytest.mark.parametrize("regime", ["bert", "language", "training", "products"])
def test_a_gpu_of_an_unvalidated_family_is_not_surer_than_assumed(
    family: str, stack: str, regime: str
) -> None:
    width, group = width_of((family, stack, regime))
    assert group == ANY and width.cases == 0
    assert "no published case validates" in said(group, width)
    wider = [
        w for key, w in widths().items() if key in (ANY, ("*", stack, "*"), ("*", "*", regime))
    ]
    assert all(width.time >= w.time and width.power >= w.power for w in wider)


def test_families_with_cases_keep_theirs() -> None:
    assert {"ampere", "ada", "hopper", "turing", "volta", "blackwell", "tpu"} <= validated()
    assert width_of(("ampere", "eager", "training"))[0].cases >= FEWEST
    width, group = width_of(("turing", "tensorrt", "bert"))
    assert group == ("turing", "*", "bert") and 0 < width.cases < FEWEST  # of any stack's
    assert width.time >= width_of(("turing", "fastertransformer", "bert"))[0].time


@pytest.mark.parametrize("accelerator", ["p100-pcie-16gb", "mi210", "gpu"])
def test_such_a_board_says_so_and_widens(accelerator: str) -> None:
    result = elector.simulate("bert-base", accelerator, uncertainty=True, samples=200)
    assert "no published case validates" in str(result["notes"])
    assert float(str(result["latency_s_high"])) > 1.6 * float(str(result["latency_s"]))


@pytest.mark.parametrize("settings", [{}, {"accelerator.rows": 24, "accelerator.cols": 24}])
def test_few_cases_say_that_their_factor_is_assumed(settings: dict[str, object]) -> None:
    result = elector.simulate(
        "bert-base", "systolic", settings=settings, uncertainty=True, samples=50
    )
    notes = str(result["notes"])
    assert "intervals of time" in notes and "too few" in notes
    assert "those of an assumed factor of 2" in notes


def test_powers_of_few_cases_say_so_too() -> None:
    width, group = width_of(("ampere", "eager", "training"))
    assert said(group, width).endswith("those of power on an assumed factor of 2")


@pytest.mark.parametrize("weights", ["int4-g32", "int8"])
@pytest.mark.parametrize("generate", [0, 32])
def test_packed_weights_are_no_surer_than_assumed(weights: str, generate: int) -> None:
    """Every case is of weights as wide as what multiplies them."""
    settings = {
        "workload.precision": "fp16",
        "workload.generate": generate,
        "workload.implementation": "llama.cpp",
    }
    whole, packed = (
        elector.simulate(
            "llama-3.1-8b",
            "rtx-4090",
            settings=settings | more,
            uncertainty=True,
            samples=200,
        )
        for more in ({}, {"workload.weights": weights})
    )
    assert not [note for note in whole["notes"] if "validates such a design" in note]
    assert [note for note in packed["notes"] if "validates such a design" in note]
    far, near = (each["latency_s_high"] / each["latency_s"] for each in (packed, whole))
    assert far > 1.15 * near
