"""The event-driven model beside the closed form where buffers are small."""

from __future__ import annotations

from pathlib import Path
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


@pytest.mark.parametrize("size", [16e3, 32e3, 128e3])
@pytest.mark.parametrize("dataflow", ["ws", "os"])
def test_a_small_memory_passes_on_what_an_array_works_on(size: float, dataflow: str) -> None:
    """Its cells hold their operands while results drain. The event-driven model kept operands in
    memory until then, so that 8 tokens took up to 11 times as long as the closed form said, and
    longer than with loads and computing in turn."""
    settings: dict[str, Any] = {
        "model": "bert-mini",
        "model.layers": 2,
        "accelerator": "systolic",
        "accelerator.dataflow": dataflow,
        "accelerator.sram": size,
        "workload.sequence_length": 8,
    }
    beside, in_turn = (
        inspect(columns_of(settings | {"accelerator.double_buffer": double}), Technology.load())
        for double in ("true", "false")
    )
    seconds = float(beside.timing.seconds[0])
    assert seconds == pytest.approx(timeline(beside).seconds, rel=0.2)
    assert timeline(beside).seconds <= timeline(in_turn).seconds


SMALL = """units:
  s: {base: systolic, rows: 16, cols: 128, arrays: 1, sram: 32 KB}
  r: {base: acceltran, pe: 2, weight_buffer: 64 KB, activation_buffer: 1 MB}
links:
  - {between: [s, r], kind: package, bandwidth: 100 GB/s, latency: 100 ns}
assignment:
  - {match: {class: weight}, unit: s}
  - {unit: r}
"""


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_sequences_share_a_small_memory_of_a_unit(tmp_path: Path, batch: int) -> None:
    """A sequence fetches its next piece when the array is free, not when its last result is there:
    two of them took 3.5 times as long as the closed form. Side by side is no slower than in turn,
    of which each unit fills its own pipeline."""
    path = tmp_path / "two.yaml"
    path.write_text(SMALL)
    settings: dict[str, Any] = {
        "model": "bert-tiny",
        "accelerator": str(path),
        "workload.batch": batch,
        "workload.sequence_length": 64,
    }
    turns, beside = (
        inspect(
            columns_of(settings | {"accelerator.units.s.double_buffer": allowed}), Technology.load()
        )
        for allowed in ("false", "true")
    )
    seconds = float(beside.timing.seconds[0])
    assert seconds <= float(turns.timing.seconds[0])
    assert seconds == pytest.approx(timeline(beside).seconds, rel=0.16)
