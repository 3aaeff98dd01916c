"""Alternatives of different machines in one space: their areas compare, stacks are theirs alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import elector
from elector.base.errors import InputError
from elector.evaluation.path import evaluate
from transcode.space import describe, find, load, numbers, restore

ALONE: dict[str, Any] = {
    "model": "bert-tiny",
    "accelerator": [
        {"base": ["t4-16gb", "a100-sxm-40gb"], "workload.implementation": ["eager", "compiled"]},
        {"base": "systolic", "rows": [32, 64]},
    ],
    "workload": {"batch": [1, 2]},
    "objectives": {"latency_s": "min"},
}


def everything(space: Any) -> np.ndarray:
    random = np.random.default_rng(0)
    return np.stack([random.integers(0, p.size, 300) for p in space.parameters], axis=1)


def test_overhead_is_the_same_share_of_every_machine() -> None:
    space = load(find("machines"))
    columns = space.decode(everything(space))
    cost = evaluate(columns, 300, level="groups")
    over, rest = np.zeros(300), np.zeros(300)
    for name, values in cost.groups["area_by_part_mm2"].items():
        (over if name.rpartition(".")[2] == "overhead" else rest)[:] += values
    seen = {str(columns["accelerator"][i]) for i in range(300)}
    assert len(seen) == 8
    np.testing.assert_allclose(over, 0.5 * rest, rtol=1e-12)


@pytest.mark.parametrize(("device", "die"), [("t4-16gb", 545), ("a100-sxm-40gb", 826)])
def test_a_die_that_is_published_holds_its_overhead(device: str, die: float) -> None:
    assert elector.simulate("bert-tiny", device)["area_mm2"] == pytest.approx(die, rel=1e-4)


def test_a_stack_is_searched_where_there_is_one() -> None:
    space = load(ALONE)
    codes = everything(space)
    columns = space.decode(codes)
    stack, base = columns["workload.implementation"], columns["accelerator"]
    for i in range(len(codes)):
        gpu = base[i] in ("t4-16gb", "a100-sxm-40gb")
        assert (stack[i] in ("eager", "compiled")) == gpu and (stack[i] is None) == (not gpu)
    assert set(numbers(columns["workload.batch"])) == {1.0, 2.0}
    cost = evaluate(columns, len(codes))
    for i in (0, 7, 31):
        settings = {k: c[i] for k, c in columns.items() if c[i] is not None}
        alone = elector.simulate(
            str(settings.pop("model")), str(settings.pop("accelerator")), settings=settings
        )
        assert alone["latency_s"] == cost.latency_s[i]


def test_a_stack_survives_manifest_and_encoding() -> None:
    space = load(ALONE)
    again = restore(describe(space))
    assert [s.members for s in again.sections] == [s.members for s in space.sections]
    codes = everything(space)
    columns = space.decode(codes)
    for one in (space, again):
        back = one.decode(one.encode(columns))
        for name in space.names:
            assert [back[name][i] for i in range(300)] == [columns[name][i] for i in range(300)]


@pytest.mark.parametrize(
    ("accelerator", "workload", "message"),
    [
        ({"base": "systolic", "workload.implementation": "eager"}, {}, "unknown key"),
        ({"base": "t4-16gb", "workload.implementation": "fast"}, {}, "fast"),
        ({"base": "t4-16gb", "workload.batch": 4}, {}, "unknown key"),
        (
            {"base": "t4-16gb", "workload.implementation": "eager"},
            {"implementation": "compiled"},
            "already",
        ),
    ],
)
def test_bad_stacks(accelerator: Any, workload: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load({**ALONE, "accelerator": accelerator, "workload": workload})
