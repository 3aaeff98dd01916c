"""Widths that the errors of published cases set."""

from __future__ import annotations

import math
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from elector.base.table import Column
from elector.studies.error_widths import kinds_of, width_of
from elector.studies.simulation import columns_of

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SCRIPT = SimpleNamespace(**runpy.run_path(str(BENCHMARKS / "error_widths.py")))


@pytest.mark.parametrize(
    ("precision", "regime"),
    [("bf16", "products"), ("fp8", "products of 8 bits"), ("nvfp4", "products of 4 bits")],
)
def test_products_have_the_width_of_their_bits(precision: str, regime: str) -> None:
    """nvfp4 on Blackwell had the width of bf16: 85 % of its cases inside, 95 % of the others."""
    settings = {
        "model": "gemm:4096x4096x4096",
        "accelerator": "b200-sxm-192gb",
        "workload.precision": precision,
        "workload.implementation": "vllm",
    }
    (kind,), _ = kinds_of(columns_of(settings), 1)
    assert kind == ("blackwell", "vllm", regime) and width_of(kind)[1] == kind


@pytest.mark.parametrize(
    ("model", "generate", "regime"),
    [
        ("bert-base", 0, "bert"),
        ("llama-2-7b", 0, "prompts"),
        ("llama-2-7b", 1, "prompts"),
        ("llama-2-7b", 2, "language"),
        ("llama-2-7b", 64, "language"),
        ("t5-base", 0, "bert"),
        ("t5-base", 1, "language"),
    ],
)
def test_a_prompt_has_the_width_of_prompts(model: str, generate: int, regime: str) -> None:
    """It had that of an encoder, and cases of prompts set the width of tokens; one that is asked
    for as engines measure it, by its first token, had that of the tokens after it."""
    settings = {"model": model, "accelerator": "a100-sxm-80gb", "workload.generate": generate}
    (kind,), _ = kinds_of(columns_of(settings), 1)
    assert kind[::2] == ("ampere", regime)


def test_prompts_beside_generations_keep_their_width() -> None:
    """Designs of one table that differ in what they generate alone are of one structure."""
    columns = {
        "model": Column.constant("llama-2-7b", 4),
        "accelerator": Column.of(["a40", "a40", "l40s", "l40s"]),
        "workload.generate": Column.of([1, 8, 8, 1]),
        "workload.implementation": Column.constant("llama.cpp", 4),
    }
    kinds, codes = kinds_of(columns, 4)
    own = [kinds[code] for code in codes]
    assert [(family, regime) for family, _, regime in own] == [
        ("ampere", "prompts"),
        ("ampere", "language"),
        ("ada", "language"),
        ("ada", "prompts"),
    ]


@pytest.mark.parametrize(("number", "low", "high"), [(18, 17, 18), (9, 9, 9), (19, 18, 18)])
def test_a_width_is_that_of_nine_of_ten_and_no_more(number: int, low: int, high: int) -> None:
    """Of n errors that of rank 0.9 (n + 1): of 18 it was the 18th, which 18 of 19 stay below."""
    errors = [i / 100 for i in range(1, number + 1)]
    place = 100 * math.log(SCRIPT.factor(errors))
    assert low - 0.1 <= place <= high + 0.1
    assert place == pytest.approx(min(0.9 * (number + 1), number), abs=0.1)


def test_a_first_prompt_sets_no_width_of_others() -> None:
    """A process that loads its kernels takes up to twice as long: prompts of all stacks without
    cases of their own had a factor of 1.5 by that."""
    for stack in ("vllm", "llama.cpp"):
        asked = {"model": "llama-2-7b", "accelerator": "l40s", "workload.implementation": stack}
        (kind,), _ = kinds_of(columns_of(asked), 1)
        assert width_of(kind)[0].time < 1.4, stack
