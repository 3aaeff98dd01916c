"""Metrics of training read the scores of every micro-batch again; nothing is learnt from them."""

from __future__ import annotations

from typing import Any

import pytest

import elector
from elector.evaluation.path import Chunk, inspect
from elector.operations.roles import Role
from elector.studies.simulation import columns_of
from elector.technology import Technology

TRAINED: dict[str, Any] = {
    "model": "gpt2",
    "accelerator": "systolic",
    "model.layers": 1,
    "workload.batch": 2,
    "workload.sequence_length": 32,
    "workload.gradient_accumulation": 4,
    "workload.mode": "training",
}


def chunk(metrics: int, **more: object) -> Chunk:
    settings = TRAINED | {"workload.metrics": metrics} | more
    return inspect(columns_of(settings), Technology.load())


def rows(inspected: Chunk, role: Role) -> list[int]:
    return [i for i, row in enumerate(inspected.ops.rows) if row.role is role]


def test_each_is_the_loss_once_more_in_every_micro_batch() -> None:
    inspected = chunk(3)
    (metric,) = rows(inspected, Role.METRIC)
    forward = next(
        i for i in rows(inspected, Role.LOSS) if inspected.ops.rows[i].phase == "forward"
    )
    assert inspected.ops.count[metric, 0] == 3 * 4
    for sizes in (inspected.ops.m, inspected.ops.a_bytes, inspected.ops.out_bytes):
        assert sizes[metric, 0] == sizes[forward, 0]
    alone = inspected.activity.alone
    assert alone[metric, 0] == pytest.approx(3 * alone[forward, 0])


def test_nothing_is_learnt_from_them_and_nothing_kept() -> None:
    with_them, without = chunk(3), chunk(0)
    gradients = [
        [row.name for row in x.ops.rows if row.phase in ("backward", "update")]
        for x in (with_them, without)
    ]
    assert gradients[0] == gradients[1]
    assert not rows(without, Role.METRIC)
    for name, held in without.ops.memory.items():
        assert (with_them.ops.memory[name] == held).all()


@pytest.mark.parametrize("accelerator", ["systolic", "a100-sxm-80gb", "acceltran-server"])
def test_a_step_takes_longer_with_each(accelerator: str) -> None:
    seconds = [chunk(n, accelerator=accelerator).timing.seconds[0] for n in (0, 1, 2)]
    assert seconds[0] < seconds[1] < seconds[2]


@pytest.mark.parametrize("more", [{"workload.mode": "inference"}, {"model.head": "none"}])
def test_where_nothing_is_scored_that_is_said(more: dict[str, object]) -> None:
    settings = {key: TRAINED[key] for key in ("model.layers", "workload.mode")} | more
    result = elector.simulate("gpt2", "systolic", settings=settings | {"workload.metrics": 2})
    assert "workload.metrics changes nothing" in str(result["notes"])
