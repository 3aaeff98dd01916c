"""One operation of the whole batch after another, as a compiled program runs on a TPU."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from test_timeline import DESIGNS

import elector
from elector.cost.account import accounts
from elector.evaluation.path import Chunk, inspect
from elector.events.timeline import timeline
from elector.studies.simulation import columns_of
from elector.technology import Technology

TRAINED: dict[str, Any] = {
    "model": "bert-mini",
    "accelerator": "systolic",
    "model.layers": 2,
    "workload.batch": 8,
    "workload.sequence_length": 64,
    "workload.mode": "training",
    "accelerator.interleave": "false",
}
WAYS = ("false", "true")


def chunk(settings: dict[str, Any]) -> Chunk:
    return inspect(columns_of(settings), Technology.load())


def seconds(inspected: Chunk) -> float:
    return float(inspected.timing.seconds[0])


def test_nothing_of_one_operation_runs_beside_another() -> None:
    """By hand, with nothing streamed behind a product: the seconds of all operations add up,
    gradients of weights among them. Interleaved they were hidden."""
    apart = TRAINED | {"accelerator.fuse": "false", "accelerator.double_buffer": "false"}
    inspected = chunk(apart)
    alone = inspected.activity.alone.sum() + float(inspected.activity.start[0])
    assert seconds(inspected) == pytest.approx(alone, rel=1e-9)
    del apart["accelerator.double_buffer"]
    ordered, beside = (seconds(chunk(apart | {"accelerator.interleave": x})) for x in WAYS)
    assert beside < 0.95 * ordered < 0.95 * alone


def test_element_wise_work_still_runs_behind_its_product() -> None:
    behind, apart = (seconds(chunk(TRAINED | {"accelerator.fuse": x})) for x in ("true", "false"))
    assert behind < apart


def test_one_stream_is_told_and_weights_say_what_is_hidden() -> None:
    inspected = chunk(TRAINED)
    assert all(streams[0] == 1.0 for streams in inspected.timing.streams.values())
    listed = accounts(inspected.ops, inspected.index, inspected.activity, inspected.timing)
    for stage, account in listed.items():
        assert account.streams == 1.0
        assert account.seconds == pytest.approx(float(inspected.timing.stages[stage][0]), rel=1e-9)
    assert listed["step"].decides == "one stream"
    kinds = inspected.timing.share(inspected.ops, "kind")
    assert sum(float(x[0]) for x in kinds.values()) == pytest.approx(seconds(inspected))


def test_a_unit_that_does_not_work_is_not_waited_for() -> None:
    """The arrays have no part in an update, and were listed as idle for a part of it."""
    base = {key: value for key, value in TRAINED.items() if key not in ("model", "accelerator")}
    told = elector.explain("bert-mini", "systolic", "latency_s", settings=base)
    listed = cast("dict[str, dict[str, dict[str, object]]]", told["accounts"])
    assert set(listed["update"]["bounds"]) == {"one stream", "memory", "vector"}
    assert "array" in listed["step"]["bounds"]


def test_a_design_does_not_depend_on_those_beside_it() -> None:
    """Both ways in one batch of designs: each takes what it takes alone, to the last bit."""
    base = {key: value for key, value in TRAINED.items() if key not in ("model", "accelerator")}
    ways = ["false", "true", "false"]
    beside = elector.evaluate(
        {name: [value] * 3 for name, value in TRAINED.items()} | {"accelerator.interleave": ways}
    )
    for i, way in enumerate(ways):
        one = elector.simulate(
            "bert-mini", "systolic", settings=base | {"accelerator.interleave": way}
        )
        assert float(beside["latency_s"][i]) == one["latency_s"]


@pytest.mark.parametrize("batch", [1, 8])
def test_interleaving_is_never_slower(batch: int) -> None:
    inspected = [
        chunk(TRAINED | {"workload.batch": batch, "accelerator.interleave": x}) for x in WAYS
    ]
    assert seconds(inspected[1]) <= seconds(inspected[0])


@pytest.mark.parametrize(("count", "seed"), [(10, 1), pytest.param(150, 2, marks=pytest.mark.slow)])
def test_both_models_agree_in_order(count: int, seed: int) -> None:
    """The bounds of test_timeline.py hold for the event-driven model, too."""
    ratios = []
    for settings in DESIGNS["systolic"](count, seed):
        inspected = chunk({**settings, "accelerator.interleave": "false"})
        if all(a[0] <= b[0] for a, b in inspected.activity.limits.values()):
            ratios.append(seconds(inspected) / timeline(inspected).seconds)
    error = np.abs(np.array(ratios) - 1.0)
    assert error.size >= 0.7 * count
    assert np.median(error) <= 0.05
    assert np.quantile(error, 0.95) <= 0.20


def test_a_unit_of_a_hybrid_hands_on_whole_batches() -> None:
    """The other unit has nothing to work at before: all of it is one after another."""
    settings = TRAINED | {
        "accelerator": "reram+systolic",
        "workload.mode": "inference",
    }
    del settings["accelerator.interleave"]
    unit = "accelerator.units.array.interleave"
    ordered, beside = (chunk(settings | {unit: x}) for x in WAYS)
    assert seconds(ordered) > seconds(beside)
    assert timeline(ordered).seconds == pytest.approx(seconds(ordered), rel=0.2)


def test_the_peers_count_knows_no_order() -> None:
    """Said where the setting changes nothing."""
    result = elector.simulate(
        "gemm:64x64x64",
        "systolic",
        settings={"accelerator.convention": "scalesim", "accelerator.interleave": "false"},
    )
    notes = cast("list[str]", result["notes"])
    assert any(n.startswith("accelerator.interleave changes nothing") for n in notes)
