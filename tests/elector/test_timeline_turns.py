"""Without double buffering: loads and computing take turns, in both models alike."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_timeline import DESIGNS, products

from elector.cost.account import accounts
from elector.evaluation.path import Chunk, inspect
from elector.events.timeline import timeline
from elector.studies.simulation import columns_of
from elector.technology import Technology

TRAINED: dict[str, Any] = {
    "model": "bert-mini",
    "accelerator": "systolic",
    "model.layers": 2,
    "workload.sequence_length": 64,
    "workload.mode": "training",
    "workload.trainable": "lora:8",
    "workload.activations": "recompute",
    "accelerator.double_buffer": "false",
}


def chunk(settings: dict[str, Any]) -> Chunk:
    return inspect(columns_of(settings), Technology.load())


def closed(inspected: Chunk) -> float:
    return float(inspected.timing.seconds[0])


@pytest.mark.parametrize("machine", ["systolic", "acceltran"])
def test_nothing_is_computed_or_loaded_while_one_takes_its_turn(
    tmp_path: Path, machine: str
) -> None:
    """Two products, one after another: the seconds of both add up, and no transfer runs beside."""
    settings: dict[str, Any] = {
        "model": products(tmp_path, (512, 512, 512), (512, 512, 512)),
        "accelerator": machine,
        "accelerator.double_buffer": "false",
    }
    inspected = chunk(settings)
    step = timeline(inspected)
    assert step.seconds == pytest.approx(closed(inspected), rel=0.01)
    spans = sorted((s.start, s.end) for s in step.spans)
    assert all(later[0] >= first[1] - 1e-12 for first, later in itertools.pairwise(spans))


def test_an_update_takes_no_less_than_its_turns() -> None:
    """By hand: 23 tensors of an update that nothing waits for read, compute and write in turn. The
    closed form let them overlap (27.9 us), though the pooler's alone takes 32.3 us."""
    inspected = chunk(TRAINED | {"workload.batch": 1})
    rows = [r for r, row in enumerate(inspected.ops.rows) if row.phase == "update"]
    alone = inspected.activity.alone[rows].sum()
    assert float(inspected.timing.stages["update"][0]) == pytest.approx(alone)
    assert timeline(inspected).stages["update"] == pytest.approx(alone)
    assert alone > inspected.activity.alone[rows].max() > 32e-6


@pytest.mark.parametrize("batch", [1, 2])
def test_sequences_overlap_where_no_memory_is_needed(batch: int) -> None:
    """The vector unit works at one sequence while another loads: what moves nothing keeps nobody
    from the memory. The event-driven model let nothing overlap (463 us of two sequences), the
    closed form counted the arrays of both streams as if of one (261 us): 345 us and 329 us."""
    inspected = chunk(TRAINED | {"workload.batch": batch})
    step = timeline(inspected)
    assert step.seconds == pytest.approx(closed(inspected), rel=0.07)
    busy = sum(seconds for name, seconds in step.busy.items())
    assert (step.seconds < 0.8 * busy) == (batch == 2)


@pytest.mark.parametrize("machine", ["systolic", "acceltran"])
@pytest.mark.parametrize(("count", "seed"), [(10, 1), pytest.param(150, 2, marks=pytest.mark.slow)])
def test_both_models_agree_without_double_buffering(machine: str, count: int, seed: int) -> None:
    """The bounds of test_timeline.py hold."""
    ratios = []
    for settings in DESIGNS[machine](count, seed):
        inspected = chunk({**settings, "accelerator.double_buffer": "false"})
        if all(a[0] <= b[0] for a, b in inspected.activity.limits.values()):
            ratios.append(closed(inspected) / timeline(inspected).seconds)
    error = np.abs(np.array(ratios) - 1.0)
    assert error.size >= 0.7 * count
    assert np.median(error) <= 0.05
    assert np.quantile(error, 0.95) <= 0.20


@pytest.mark.parametrize("batch", [1, 2])
def test_an_account_adds_up_to_its_stages(batch: int) -> None:
    """Of the update, too, whose turns no line showed."""
    inspected = chunk(TRAINED | {"workload.batch": batch})
    listed = accounts(inspected.ops, inspected.index, inspected.activity, inspected.timing)
    for stage, account in listed.items():
        assert account.seconds == pytest.approx(float(inspected.timing.stages[stage][0]), rel=1e-9)
    assert listed["update"].decides.startswith("loads and computing in turn")


def test_a_permission_costs_nothing_where_a_row_waits_for_its_only_tile() -> None:
    """A first tile that memory takes longer for than the array computes is not waited for twice."""
    start = "accelerator.units.array."
    slow: dict[str, Any] = TRAINED | {
        "model": "decoder",
        "accelerator": "reram+systolic",
        "workload.activations": "selective",
        "workload.sequence_length": 16,
        "model.layers": 1,
        "model.hidden": 128,
        "model.heads": 1,
        "model.head_size": 32,
        "model.feed_forward": 128,
        "model.vocabulary": 1,
        f"{start}bandwidth": 71e6,
        f"{start}memory": "lpddr3",
        f"{start}sram": 120e3,
    }
    del slow["accelerator.double_buffer"]
    turns, beside = (closed(chunk(slow | {f"{start}double_buffer": x})) for x in ("false", "true"))
    assert beside <= turns
    assert beside == pytest.approx(turns, rel=0.01)


def test_heads_take_turns_where_other_units_have_the_rest_of_a_layer() -> None:
    """Heads of one sequence load and compute in turn on an array, though crossbars decide the rest.
    The closed form let a head load while another computed: 5 % short here, 25 % where the array
    has nearly everything, so that double buffering seemed to cost time."""
    start = "accelerator.units.array."
    attention: dict[str, Any] = {
        "model": "bert-mini",
        "model.layers": 2,
        "model.heads": 8,
        "accelerator": "reram+systolic",
        "workload.attention": "flash",
        "workload.batch": 1,
        "workload.sequence_length": 128,
        f"{start}arrays": 1,
        f"{start}dataflow": "os",
        f"{start}rows": 50,
        f"{start}cols": 2000,
        f"{start}sram": 6000,
        f"{start}memory": "lpddr4",
        f"{start}bandwidth": 20e9,
    }
    turns, beside = (
        chunk(attention | {f"{start}double_buffer": allowed}) for allowed in ("false", "true")
    )
    assert closed(turns) == pytest.approx(timeline(turns).seconds, rel=5e-3)
    assert closed(beside) <= closed(turns)


def test_a_faster_array_is_not_slower_for_taking_turns() -> None:
    """Rows whose cells are loaded ahead compute faster, so that turns pay for each alone. Beside 31
    other sequences they do not: memory would be held for longer than with half a tile (3.76 ms,
    for 3.10 ms of a slower array)."""
    start = "accelerator.units."
    design: dict[str, Any] = {
        "model": "decoder",
        "model.layers": 40,
        "model.heads": 1,
        "model.hidden": 126,
        "model.feed_forward": 12,
        "model.vocabulary": 14902,
        "accelerator": "reram+systolic",
        "workload.batch": 32,
        "workload.attention": "unfused",
        "workload.sequence_length": 66,
        f"{start}array.cols": 73,
        f"{start}array.sram": 75.6e3,
        f"{start}array.clock": 241e6,
        f"{start}array.vector_lanes": 869,
        f"{start}array.special_cycles": 8.5,
        f"{start}tier.design": "puma",
        f"{start}tier.reload": True,
        f"{start}tier.memory_capacity": 1e15,
    }
    slow, fast = (
        closed(chunk(design | {f"{start}array.preload": way})) for way in ("serial", "overlap")
    )
    assert fast <= slow


def test_streams_hold_no_longer_than_the_slower_of_array_and_port() -> None:
    """Of rows that the port of the on-chip memory decides an array has time to spare: what it takes
    longer for in more streams came on top of the port's seconds (1.9 % slower for a faster one)."""
    design: dict[str, Any] = {
        "model": "gpt2",
        "accelerator": "systolic",
        "workload.batch": 155,
        "workload.sequence_length": 61,
        "workload.generate": 88,
        "workload.attention": "unfused",
        "accelerator.rows": 19601,
        "accelerator.cols": 13916,
        "accelerator.arrays": 23,
        "accelerator.dataflow": "os",
        "accelerator.sram": 110.9e6,
        "accelerator.sram_bandwidth": 131.4e9,
        "accelerator.bandwidth": 3.466e12,
        "accelerator.memory": "hbm2e",
        "accelerator.clock": 97.6e6,
        "accelerator.vector_lanes": 734,
        "accelerator.double_buffer": "false",
    }
    slow, fast = (
        closed(chunk(design | {"accelerator.preload": way})) for way in ("serial", "overlap")
    )
    assert fast <= slow


@pytest.mark.parametrize(
    ("key", "slow", "fast"),
    [("sram_bandwidth", 3.82e13, 6.11e14), ("sram_bandwidth", 3.82e13, 0.0), ("arrays", 16, 32)],
)
def test_streams_hold_no_longer_than_one_computes(key: str, slow: float, fast: float) -> None:
    """The wait for the last result of a row is computing, too: what an array takes longer for in
    more streams came on top of it (.9 % slower for a faster port)."""
    design: dict[str, Any] = {
        "model": "llama-2-7b",
        "accelerator": "systolic",
        "workload.batch": 16,
        "workload.sequence_length": 126,
        "workload.generate": 1,
        "workload.attention": "flash",
        "accelerator.cols": 17865,
        "accelerator.arrays": 16,
        "accelerator.dataflow": "os",
        "accelerator.clock": 562.5e6,
        "accelerator.fuse": "false",
        "accelerator.memory_capacity": 1e15,
        "accelerator.sram": 25.31e6,
        "accelerator.bandwidth": 2.9886e11,
        "accelerator.vector_lanes": 167,
    }
    before, after = (closed(chunk(design | {f"accelerator.{key}": x})) for x in (slow, fast))
    assert after <= before
