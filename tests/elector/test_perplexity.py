"""What formats cost in perplexity, by published scores."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import elector
from elector.describe.numbers import formats, precisions
from elector.evaluation.perplexity import SETTINGS, increase, priced, scores


def test_rows_name_formats_and_cost_something() -> None:
    for (setting, name), measured in scores().items():
        assert setting in SETTINGS and (name in formats() or name in precisions())
        assert (np.diff(measured.parameters) > 0).all() and (measured.increase >= 0).all()


def test_a_measured_model_has_the_published_ratio() -> None:
    parameters = np.array([6.74e9])
    assert increase("int4", "same", "fp16", parameters) == pytest.approx(5.60 / 5.47 - 1)
    assert increase("same", "same", "bf16", parameters) == 0.0
    both = increase("nvfp4", "same", "fp8", np.array([8.03e9]))
    assert both == pytest.approx(8.44 / 7.5472 * 7.62 / 7.5472 - 1)


def test_what_was_not_measured_is_not_known() -> None:
    assert np.isnan(increase("nf4", "same", "fp16", np.array([7e9])))
    assert np.isnan(increase("same", "nf4", "fp16", np.array([7e9])))
    small, large = increase("fp8", "same", "fp16", np.array([1e9, 400e9]))
    assert np.isnan(small) and large == pytest.approx(7.62 / 7.5472 - 1)
    assert not priced("kv_cache", "nvfp4") and priced("precision", "fixed16")


@pytest.mark.parametrize(
    ("name", "scores"),
    [
        # KVQuant, table 18: Llama-2 of 7B, 13B, 70B beside 5.12, 4.57, 3.12 in 16 bits
        ("int4", (5.32, 4.71, 3.16)),
        ("int4-g64", (5.25, 4.66, 3.14)),
        ("int3", (6.15, 5.34, 3.33)),
    ],
)
def test_a_cache_of_few_bits_costs_what_was_published(name: str, scores: tuple[float, ...]) -> None:
    increases = increase("same", name, "fp16", np.array([6.74e9, 13.0e9, 69.0e9]))
    assert increases == pytest.approx(np.array(scores) / [5.12, 4.57, 3.12] - 1)


def test_fewer_bits_of_a_cache_cost_more() -> None:
    sizes = np.geomspace(7.5e9, 400e9, 20)
    order = ("int8", "int4-g64", "int4", "int3")
    costs = [increase("same", name, "fp16", sizes) for name in order]
    assert all((a <= b).all() for a, b in itertools.pairwise(costs))


def test_what_a_precision_stores_by_itself_is_in_its_score() -> None:
    size = np.array([8.03e9])
    alone = increase("same", "same", "fp8", size)
    assert increase("fp8", "fp8", "fp8", size) == alone > 0
    for finer in ("fp8-block", "fp8-g128"):  # the same numbers with more scales
        assert increase(finer, "same", "fp8", size) == alone
    assert increase("fp8-block", "same", "int8", size) > increase("same", "same", "int8", size)
    assert increase("same", "int4", "fp8", size) > alone


def test_results_of_generation() -> None:
    result = elector.simulate(
        "llama-2-7b",
        "a100-sxm-80gb",
        settings={
            "workload.generate": 8,
            "workload.batch": 4,
            "workload.weights": "int4",
            "workload.precision": "fp16",
        },
    )
    assert result["perplexity_increase"] == pytest.approx(5.60 / 5.47 - 1, rel=1e-3)
    energy = result["energy_j"]
    assert isinstance(energy, float)
    assert result["energy_per_token_j"] == pytest.approx(energy / 32)
