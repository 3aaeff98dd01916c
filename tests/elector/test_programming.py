"""Weights that are put into cells before the first step."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_hybrid import written

import elector


def test_weights_come_once_over_the_slowest_link(tmp_path: Path) -> None:
    """To the cells that keep them: what the other link of their unit costs does not matter."""
    links = "".join(
        f"  - {{between: [{ends}], bandwidth: {rate} GB/s}}\n"
        for ends, rate in (("tier, array", 400), ("tier, gpu", 100))
    )
    rules = "  - {match: {class: weight}, unit: tier}\n"
    path = written(tmp_path, "tier array gpu", links, rules + "  - {unit: array}\n")

    def joules(fast: str, slow: str) -> float:
        links = {"tier-array": fast, "tier-gpu": slow}
        given = {f"accelerator.links.{n}.energy_per_bit": x for n, x in links.items()}
        return float(elector.simulate("bert-tiny", path, settings=given)["placing_j"])

    both = joules("1 pJ", "1 pJ")
    assert joules("2 pJ", "1 pJ") == both
    bits = 8 * 2 * 2 * (4 * 128**2 + 2 * 128 * 512)  # of two layers, two bytes a weight
    assert joules("1 pJ", "2 pJ") - both == pytest.approx(bits * 1e-12, rel=0.2)
