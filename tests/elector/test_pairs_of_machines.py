"""Any machines make a hybrid, whatever each of them reports."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import random_hybrids

import elector


@pytest.mark.parametrize(
    "pair", [*itertools.combinations(sorted(random_hybrids.UNITS), 2)], ids=str
)
@pytest.mark.parametrize("workload", [{}, {"mode": "training"}])
def test_any_two_machines_make_a_hybrid(
    pair: tuple[str, str], workload: dict[str, str], tmp_path: Path
) -> None:
    """Also two that report different things; what is asked for of it changes no figure."""
    path = tmp_path / "two.yaml"
    units = "".join(f"  {name}: {random_hybrids.UNITS[name]}\n" for name in pair)
    link = f"links:\n  - {{between: [{', '.join(pair)}], bandwidth: 100 GB/s}}\n"
    for kinds in (["attention", "softmax"], ["linear"], ["norm", "elementwise"]):
        rules = f"assignment:\n  - {{match: {{kind: {kinds}}}, unit: {pair[1]}}}\n"
        path.write_text(f"units:\n{units}{link}{rules}  - {{unit: {pair[0]}}}\n")
        settings = {f"workload.{key}": value for key, value in workload.items()}
        plain = elector.simulate("bert-tiny", str(path), settings=settings)
        shown = elector.simulate("bert-tiny", str(path), settings=settings, operations=True)
        assert plain["feasible"]
        for name in ("latency_s", "energy_j"):
            assert plain[name] == pytest.approx(shown[name], rel=1e-12)
