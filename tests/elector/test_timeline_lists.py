"""Lists of products on every machine: few operations, of which each shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_timeline import products

from elector.evaluation.path import inspect
from elector.events.timeline import timeline
from elector.studies.simulation import columns_of
from elector.technology import Technology

MACHINES = ["systolic", "tpu-v4i", "acceltran", "isaac", "a100-sxm-40gb"]
#: Three large products and a small one, (m, k, n), as a file lists them.
SHAPES = [(512, 2048, 1024)] * 3 + [(64, 64, 64)]


def ratio(settings: dict[str, Any]) -> float | None:
    """Seconds of the closed form over those of the event-driven model; None if it cannot run."""
    inspected = inspect(columns_of(settings), Technology.load())
    if any(a[0] > b[0] for a, b in inspected.activity.limits.values()):
        return None
    return float(inspected.timing.seconds[0]) / timeline(inspected).seconds


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("count", [1, 4])
def test_a_few_large_products(tmp_path: Path, machine: str, count: int) -> None:
    """Both agree: with eight pieces a product, whose weights all came before its first vectors,
    one of these products took 119 us on systolic and 20 us on tpu-v4i, for 95 and 16."""
    model = products(tmp_path, *SHAPES[-count:] if count > 1 else SHAPES[:1])
    assert ratio({"model": model, "accelerator": machine}) == pytest.approx(1.0, abs=0.05)


def test_the_last_round_of_vectors_brings_its_own_bytes_alone(tmp_path: Path) -> None:
    """512 vectors on four copies of a matrix, and on five: the two of the last round had half of
    all bytes (241 us a product), which nothing overlapped. By hand: crossbars work, main memory
    is faster, and the first and last 64th of its bytes stand alone."""
    settings: dict[str, Any] = {"model": products(tmp_path, (512, 1024, 2048))}
    for copies, rounds in ((4, 128), (5, 103)):
        chip = settings | {"accelerator": "isaac", "accelerator.copies": copies}
        inspected = inspect(columns_of(chip), Technology.load())
        each = 16 * 100e-9
        step = timeline(inspected)
        assert step.seconds == pytest.approx(rounds * each, rel=0.02)
        assert step.busy["memory"] < 0.9 * step.seconds


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("count", "seed"), [(12, 1), pytest.param(80, 2, marks=pytest.mark.slow)])
def test_both_models_agree_on_random_lists(
    tmp_path: Path, machine: str, count: int, seed: int
) -> None:
    """The bounds of test_timeline.py hold, with sides of 64 to 4,096.

    Of less, what stands alone counts: the first load of a step, the one round of all vectors.
    """
    random = np.random.default_rng(seed)
    ratios = []
    for _ in range(count):
        sizes = np.exp(random.uniform(np.log(64), np.log(4096), (int(random.integers(1, 5)), 3)))
        model = products(tmp_path, *((int(m), int(k), int(n)) for m, k, n in sizes))
        on = bool(random.integers(2))
        double = {"accelerator.double_buffer": on} if machine in MACHINES[:3] else {}
        one = ratio({"model": model, "accelerator": machine, **double})
        ratios += [] if one is None else [one]
    error = np.abs(np.array(ratios) - 1.0)
    assert error.size >= 0.7 * count
    assert np.median(error) <= 0.05
    assert np.quantile(error, 0.95) <= 0.20


def test_products_alone_on_a_gpu_are_launched_while_others_run(tmp_path: Path) -> None:
    """Lists are timed one after another: no product waits for the host alone, and a list takes
    what its host or its device takes, whichever is more."""
    for shapes in (SHAPES[:1], SHAPES):
        settings = {"model": products(tmp_path, *shapes), "accelerator": "a100-sxm-40gb"}
        inspected = inspect(columns_of(settings), Technology.load())
        busy = [float(inspected.activity.load(name)[0]) for name in ("host", "device")]
        step = timeline(inspected)
        assert step.busy["host"] == pytest.approx(busy[0])
        assert step.seconds == pytest.approx(max(busy), rel=0.05)
