"""A design of any shipped space costs the same, to the last bit, whatever is evaluated beside it.

Searches on any number of processes and machines rest on it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from amounts import draws

from elector.evaluation.path import evaluate
from transcode.objective import costs_of
from transcode.space import load

SPACES = sorted(
    path.stem for path in (Path(__file__).resolve().parents[2] / "spaces").glob("*.yaml")
)
DESIGNS = {"elector": 3000, "bert": 3000, "llm": 1500}
#: Spaces that take seconds.
LONG = ("transcode", "transcode-nas", "llm")
#: Sizes of the batches that the same designs are evaluated in, and how many of each.
PARTS, BATCHES = (1, 37, 400), draws(16, 6)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n in LONG else ()) for n in SPACES],
)
def test_a_design_costs_the_same_in_any_batch(name: str) -> None:
    space, random = load(name), np.random.default_rng(0)
    codes = space.from_unit(random.random((3 * DESIGNS.get(name, 400), len(space.parameters))))
    codes = codes[space.allowed(codes)][: DESIGNS.get(name, 400)]
    assert len(codes) > 100

    def costs(some: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
        by_workload = costs_of(space, evaluate, some, space.decode(some))
        return {(w, n): cost.scalar(n) for w, cost in by_workload.items() for n in cost.scalars}

    whole = costs(codes)
    for size in PARTS:
        for start in range(0, min(len(codes), BATCHES * size), size):
            for key, values in costs(codes[start : start + size]).items():
                expected = whole[key][start : start + size]
                np.testing.assert_array_equal(values, expected, err_msg=f"{key} of {size}")
