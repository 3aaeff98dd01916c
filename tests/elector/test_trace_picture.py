"""The picture of a trace: lines as high as units are busy, a colour for each kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import elector
from elector.events.trace import BINS, KINDS, colour_of, draw, mix, trace
from elector.studies.simulation import columns_of


def test_the_picture_shows_all_that_a_resource_does(tmp_path: Path) -> None:
    traced = trace(
        columns_of(
            {"model": "bert-tiny", "accelerator": "acceltran-edge", "workload.mode": "training"}
        ),
        "t",
    )
    kinds = list(dict.fromkeys(row.kind for row in traced.timeline.rows))
    for resource, use in traced.utilization.items():  # a line is as high as the unit is busy
        shares = mix(traced, resource, kinds)
        total = sum(shares.values(), np.zeros(BINS))
        np.testing.assert_allclose(total, use, atol=1e-9)
    assert (np.stack(list(mix(traced, "lanes", kinds).values())) > 0).any(axis=1).sum() > 3
    draw(traced, tmp_path / "t.png")
    assert (tmp_path / "t.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "name",
    [
        *(r"a$\foo$", "a\udcff", "a\nb"),
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("a$b$", "模", "a\tb", "a\x1b[31m")),
    ],
)
def test_names_are_drawn_as_they_are(
    tmp_path: Path, name: str, recwarn: pytest.WarningsRecorder
) -> None:
    """No formula begins in a name, and none ends the command."""
    draw(
        trace(columns_of({"model": "bert-tiny", "accelerator": "systolic"}), name),
        tmp_path / "t.svg",
    )
    assert (tmp_path / "t.svg").stat().st_size > 10_000
    assert not recwarn.list


def test_matrices_that_work_one_after_another_fill_their_line() -> None:
    traced = trace(columns_of({"model": "bert-tiny", "accelerator": "isaac"}), "t")
    assert sum(name.startswith("crossbars:") for name in traced.timeline.busy) > 3
    kinds = list(dict.fromkeys(row.kind for row in traced.timeline.rows))
    total = sum(mix(traced, "crossbars", kinds).values(), np.zeros(BINS))
    assert traced.utilization["crossbars"].max() < 0.5 < total.max() <= 1.0 + 1e-9


def test_a_kind_has_its_colour_in_every_picture() -> None:
    steps: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("gpt2", "gpu", {}),
        ("hpt-wind", "hpt", {"workload.trainable": "lora:8"}),
    )
    for model, accelerator, more in steps:
        result = elector.simulate(
            model, accelerator, settings={"workload.mode": "training"} | more, operations=True
        )
        assert {op["kind"] for op in result["operations"]} <= set(KINDS)
    colours = [colour_of(kind) for kind in KINDS]
    assert len(set(colours)) == len(KINDS)
