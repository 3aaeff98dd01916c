"""Experts in crossbars: all are held, tokens drive theirs, a layer waits for the busiest."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import elector
from elector.base.table import Column
from elector.evaluation.chunk import Chunk
from elector.evaluation.path import evaluate, inspect
from elector.events.timeline import timeline
from elector.events.trace import trace
from elector.operations.roles import ROUTED, Role
from elector.operations.routing import busiest
from elector.studies.simulation import columns_of
from elector.technology import Technology

#: Two layers of eight experts (256 x 512 twice, 512 x 256), of which a token takes two.
SMALL = {
    "model": "mixtral-8x7b",
    "accelerator": "isaac",
    "model.layers": 2,
    "model.hidden": 256,
    "model.heads": 4,
    "model.kv_heads": 4,
    "model.head_size": 64,
    "model.expert_feed_forward": 512,
    "model.vocabulary": 1000,
    "workload.sequence_length": 64,
    "workload.batch": 1,
    "accelerator.memory_capacity": 1e12,
    "accelerator.copies": 1,
}
#: ISAAC: 16 phases of 100 ns take a vector through a matrix; the last sum is converted after.
VECTOR, TAIL = 1.6e-6, 100e-9
#: Crossbars of one expert: 2 x 32 of 128 rows and 16 weights of eight cells, three times.
EXPERT = 3 * 64


def cells(**settings: Any) -> dict[str, Any]:
    return SMALL | {k.replace("__", "."): v for k, v in settings.items()}


def simulate(**settings: Any) -> dict[str, Any]:
    asked = cells(**settings)
    return elector.simulate(asked.pop("model"), asked.pop("accelerator"), settings=asked)


def chunk(**settings: Any) -> Chunk:
    return inspect(columns_of(cells(**settings)), Technology.load())


def seconds(one: Chunk, role: Role) -> float:
    """Seconds of the rows of a role, one after another."""
    rows = [r for r, row in enumerate(one.ops.rows) if row.role is role and row.matmul]
    return float(one.activity.alone[rows].sum())


def limit(one: Chunk, start: str) -> float:
    (needed,) = (x[0] for name, x in one.activity.limits.items() if name.startswith(start))
    return float(needed[0])


def test_all_experts_stand_in_crossbars() -> None:
    cell_bytes = 128 * 128 * 2 / 8
    needed = [limit(chunk(model__experts=e), "crossbars: the") / cell_bytes for e in (8, 9, 16)]
    router = 2 * 2  # 2 below one another, E / 16 beside, in both layers
    assert needed[1] - needed[0] == 2 * EXPERT
    assert needed[2] - needed[0] == 8 * 2 * EXPERT
    outside = 2 * 4 * 2 * 16 + 2 * math.ceil(1000 / 16)  # queries, keys, values, output; head
    assert needed[0] == 8 * 2 * EXPERT + router + outside
    tiles = math.ceil(needed[0] / 96)
    assert simulate(accelerator__tiles=tiles, accelerator__digital_macs=1)["feasible"]
    small = simulate(accelerator__tiles=tiles - 1, accelerator__digital_macs=1)
    assert not small["feasible"] and "the weights need" in small["reason"]


def test_a_layer_waits_for_its_busiest_expert() -> None:
    one = chunk(workload__sequence_length=1)  # its experts work at the same time
    assert seconds(one, Role.EXPERT_IN) == pytest.approx(2 * (VECTOR + TAIL))
    all_of_them = chunk(model__experts_per_token=8)
    assert seconds(all_of_them, Role.EXPERT_OUT) == pytest.approx(2 * (64 * VECTOR + TAIL))
    even = chunk()
    most = busiest(8, 2, 0.0, 64)
    assert 16 < most < 64
    assert seconds(even, Role.EXPERT_GATE) == pytest.approx(2 * (most * VECTOR + TAIL))
    # Of four copies, the last round is on average half full.
    copies = chunk(accelerator__copies=2)
    assert seconds(copies, Role.EXPERT_GATE) == pytest.approx(
        2 * ((most + 0.5) / 2 * VECTOR + TAIL)
    )
    uneven = chunk(model__routing=1.0)
    assert seconds(uneven, Role.EXPERT_IN) > seconds(even, Role.EXPERT_IN)


def test_only_tokens_that_were_routed_drive_lines() -> None:
    def reads(**settings: Any) -> float:
        case = chunk(**settings)
        rows = [r for r, row in enumerate(case.ops.rows) if row.role in ROUTED and row.matmul]
        count = case.activity.counts["array"]
        return float(count.values[rows][:, count.index].sum())

    one = reads()
    # cells that conduct: two of 64 tokens' experts, 16 phases, eight cells a weight
    assert one == pytest.approx(2 * 64 * 2 * 3 * 256 * 512 * 16 * 8)
    assert reads(model__experts=16) == pytest.approx(one)
    assert reads(model__routing=1.0) == pytest.approx(one)
    assert reads(model__experts_per_token=4) == pytest.approx(2 * one)


def test_idle_experts_cost_standing_power_only() -> None:
    """On the same chip more experts cost their router, and no read more."""
    few, many = (simulate(model__experts=e, accelerator__tiles=400) for e in (8, 16))
    assert few["energy_by_part_j"]["array"] == pytest.approx(
        many["energy_by_part_j"]["array"], rel=0.02
    )
    assert few["area_mm2"] == many["area_mm2"]


def test_reload_writes_the_experts_that_get_tokens() -> None:
    def again(**settings: Any) -> float:
        case = chunk(accelerator__reload=True, accelerator__tiles=4, **settings)
        rows = [r for r, row in enumerate(case.ops.rows) if row.role in ROUTED and row.matmul]
        count = case.activity.counts["write"]
        return float(count.values[rows][:, count.index].sum())

    expert = 3 * 256 * 512 * 8  # cells
    assert again(workload__sequence_length=1) == pytest.approx(2 * 2 * expert)
    some = 8 * (1 - (1 - 2 / 8) ** 64)
    assert again() == pytest.approx(2 * some * expert)
    held = simulate(accelerator__tiles=4)
    assert not held["feasible"]
    assert simulate(accelerator__tiles=4, accelerator__reload=True)["feasible"]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"accelerator__copies": 0},
        {"accelerator__copies": 3, "model__routing": 1.0},
        {"workload__batch": 4},
        {"workload__batch": 4, "workload__generate": 4},
        {
            "workload__batch": 4,
            "workload__mode": "training",
            "accelerator__transposed_read": "bidirectional",
        },
    ],
)
def test_the_event_model_takes_as_long(settings: dict[str, Any]) -> None:
    assert simulate(**settings)["latency_s"] == pytest.approx(
        timeline(chunk(**settings)).seconds, rel=0.03
    )


def costs(fixed: dict[str, Any], key: str, values: list[float]) -> np.ndarray:
    """(2, D) seconds and joules of designs that differ in one setting; inf where infeasible."""
    columns = columns_of(fixed, len(values)) | {key: Column.of(values)}
    cost = evaluate(columns, len(values))
    return np.where(cost.feasible, np.array([cost.latency_s, cost.energy_j]), np.inf)


@pytest.mark.parametrize("reload", [False, True])
@pytest.mark.parametrize(
    ("key", "values", "slower"),
    [
        ("workload.sequence_length", [1, 2, 3, 8, 20, 64, 65, 200], True),
        ("workload.batch", [1, 2, 3, 4, 7, 8, 30], True),
        ("workload.generate", [1, 2, 5, 30], True),
        ("model.experts_per_token", [1, 2, 3, 5, 8], True),
        ("model.routing", [0, 0.1, 0.5, 1, 2, 8], True),
        ("accelerator.tiles", [40, 50, 64, 80, 160, 400, 4000], False),
    ],
)
def test_more_is_never_faster_and_a_row_is_what_it_is_alone(
    key: str, values: list[float], slower: bool, reload: bool
) -> None:
    fixed = cells(accelerator__copies=0, accelerator__reload=reload)
    fixed.pop(key, None)
    both = costs(fixed, key, values)
    seconds = both[0]
    finite = np.isfinite(seconds)
    assert finite[-1] and (finite.all() or key == "accelerator.tiles")
    if not (reload and key == "model.routing"):  # uneven routing touches fewer experts
        steps = np.diff(seconds[finite]) * (1 if slower else -1)
        assert (steps >= -1e-12 * seconds[finite][1:]).all()
    for i, value in enumerate(values):
        alone = costs(fixed, key, [value])
        assert np.array_equal(alone[:, 0], both[:, i])


@pytest.mark.parametrize("experts", [16, 64])
def test_crossbars_of_experts_are_written_side_by_side(experts: int) -> None:
    """A step rewrites all rows of crossbars one after another, however many experts hold them."""
    asked = cells(
        workload__mode="training",
        workload__sequence_length=32,
        model__expert_feed_forward=128,
        model__experts=experts,
        accelerator="reram",
        accelerator__tiles=4000,
    )
    del asked["accelerator.copies"]
    step = trace(columns_of(asked), "t")
    assert step.timeline.seconds == pytest.approx(step.closed_s, rel=0.05)
