"""Watts of training on a board that no constant of power was fitted on."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
#: What issue and documents ask of watts of training.
BAR = 0.12


@pytest.mark.reference
def test_a_board_left_out_is_within_the_bar(
    reference_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The median of its watts, and of those below the limit, which a limit does not decide."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    report = importlib.import_module("power_left_out")
    monkeypatch.setattr(report, "ENERGIES", np.arange(11.0, 36.1, 3.0))
    monkeypatch.setattr(report, "SHARES", np.arange(0.0, 0.36, 0.1))
    m = report.measured(reference_dir)
    tried = report.every(m)
    for board in report.DEVICES:
        own = m.board == board
        watts, _ = tried[report.chosen(~own, tried)]
        free = own & (m.watts < report.BELOW * m.limit)
        assert free.sum() > 30
        assert np.median(np.abs(watts[own] - 1.0)) <= BAR
        assert np.median(np.abs(watts[free] - 1.0)) <= BAR


@pytest.mark.reference
def test_constants_of_a_board_are_chosen_from_its_own_rows(
    reference_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of one board meet it better than those of the other: the choice looks at its rows."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    report = importlib.import_module("power_left_out")
    monkeypatch.setattr(report, "ENERGIES", np.array([11.0, 35.0]))
    monkeypatch.setattr(report, "SHARES", np.array([0.1]))
    m = report.measured(reference_dir)
    tried = report.every(m)
    for board in report.DEVICES:
        own = m.board == board
        mine, other = report.chosen(own, tried), report.chosen(~own, tried)
        assert report.loss(*tried[mine], own) <= report.loss(*tried[other], own)
