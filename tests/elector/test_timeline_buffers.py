"""Small buffers in the event-driven model."""

from __future__ import annotations

from typing import Any

import pytest

from elector.evaluation.path import inspect
from elector.events.timeline import timeline
from elector.studies.simulation import columns_of
from elector.technology import Technology


@pytest.mark.parametrize(
    ("model", "mode", "buffers"),
    [
        ("bert-base", "inference", {"weight": 4e3}),
        ("bert-base", "inference", {"weight": 30e3}),
        ("bert-base", "inference", {"weight": 1e6}),
        ("bert-tiny", "training", {"weight": 35e3, "activation": 210e3}),
    ],
)
def test_a_small_buffer_passes_on_what_lanes_work_on(
    model: str, mode: str, buffers: dict[str, float]
) -> None:
    """Lanes hold their tiles in registers. The event-driven model kept operands in the buffer until
    the wave was done, so that 30 kB of weights took 8 times as long as the closed form said."""
    settings: dict[str, Any] = {
        "model": model,
        "model.layers": 2,
        "accelerator": "acceltran-server",
        "workload.mode": mode,
        "workload.sequence_length": 128,
        **{f"accelerator.{name}_buffer": size for name, size in buffers.items()},
    }
    inspected = inspect(columns_of(settings), Technology.load())
    seconds = float(inspected.timing.seconds[0])
    assert seconds == pytest.approx(timeline(inspected).seconds, rel=0.05)
