"""What a schedule does not try could not have been faster: all of it tried, nothing changes."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import random_designs
from builders import columns

from elector.cost import schedule as scheduling
from elector.cost.schedule import rows_by_stage, schedule, stage_of
from elector.cost.stage import Stage
from elector.evaluation import path
from elector.machines.contract import Activity
from elector.operations.rows import Operations

Seen = tuple[Operations, np.ndarray, Activity]


def seen_of(machine: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> list[Seen]:
    """What the schedules of random designs of a machine are given."""
    seen: list[Seen] = []

    def keep(ops: Operations, index: np.ndarray, activity: Activity) -> Any:
        seen.append((ops, index, activity))
        return schedule(ops, index, activity)

    monkeypatch.setattr(path, "schedule", keep)
    size = 60
    path.evaluate(columns(size, random_designs.designs(machine, size, seed)), size, jobs=1)
    return seen


def stages_of(seen: list[Seen]) -> list[tuple[Stage, np.ndarray]]:
    """The stages in which something waits, each with the weights of its rows."""
    stages = []
    for ops, index, activity in seen:
        for rows in rows_by_stage(ops).values():
            stage = stage_of(ops, index, activity, rows)
            if stage is not None:
                stages.append((stage, np.array(activity.alone)))
    return stages


@pytest.mark.parametrize("machine", ["acceltran", "systolic"])
def test_heads_that_are_not_looked_at_one_by_one_gain_nothing(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = 0
    for stage, _ in stages_of(seen_of(machine, 1, monkeypatch)):
        if stage.finest is None:
            continue
        for n in (np.ones(stage.streams.size), np.minimum(stage.streams, 2.0), stage.streams):
            pruned = stage.passed(n).attention
            assert np.array_equal(pruned, opened(stage).passed(n).attention)
            looked += 1
    assert looked > 9


def opened(stage: Stage) -> Stage:
    """The stage with a head of still more streams that passes in no time: none is left out."""
    assert stage.finest is not None
    none, whole = np.zeros(stage.streams.size), copy.copy(stage)
    whole.streams = stage.streams + 1.0
    busy = {name: none for name in stage.finest.busy}
    whole.finest = replace(stage.finest, streams=whole.streams, passes=none, busy=busy, held=[])
    return whole


@pytest.mark.parametrize("machine", ["acceltran", "systolic"])
def test_streams_that_are_not_tried_are_no_faster(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = 0
    for stage, weight in stages_of(seen_of(machine, 2, monkeypatch)):
        together = stage.together(weight)
        best, chosen = scheduling._split(stage, together)
        least = stage.seconds(together, together, together.streams)
        for n in (stage.streams, *scheduling._numbers(stage.streams)):
            seconds = stage.seconds(together, stage.passed(n), n)
            least = np.where(n > 1.0, np.minimum(least, seconds), least)
        assert np.array_equal(best, least)
        several += int((chosen > 1.0).sum())
    assert several > 5
