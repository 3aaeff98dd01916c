"""Any machines make a hybrid, whatever each of them reports."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import random_hybrids
from builders import columns

import elector
from elector.evaluation.path import evaluate


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


RULES = """
  - {match: {phase: backward, name: "feed-forward*", class: [weight, reuse]}, unit: tpu}
  - {unit: array}
"""


def test_no_sequence_begins_with_a_share_of_the_weights(tmp_path: Path) -> None:
    """Weights that cross a link cross once, and each sequence waits for all of them: a second
    sequence spares none of that to the first."""
    units = "".join(f"  {name}: {random_hybrids.UNITS[name]}\n" for name in ("array", "tpu"))
    link = "links:\n  - {between: [array, tpu], bandwidth: 1 GB/s}\nassignment:"
    path = tmp_path / "two.yaml"
    path.write_text(f"units:\n{units}{link}{RULES}", encoding="utf-8")
    rows: dict[str, list[object]] = {"workload.batch": [1, 2, 3, 4, 5, 8]}
    rows |= {"model": ["bert-tiny"] * 6, "workload.sequence_length": [8] * 6}
    rows |= {"accelerator": [str(path)] * 6, "workload.mode": ["training"] * 6}
    seconds = evaluate(columns(6, rows), 6).scalar("latency_s")
    assert (np.diff(seconds) > 0).all()
    # Two layers of two matrices of 128 x 512 in 16 bits.
    assert seconds[0] > 2 * 2 * 128 * 512 * 2 / 1e9
    settings = {key: values[1] for key, values in rows.items() if "." in key}
    traced = elector.trace("bert-tiny", str(path), settings=settings).timeline
    assert traced.seconds == pytest.approx(seconds[1], rel=0.15)
    carried = [s for s in traced.spans if s.resource.startswith("link")]
    assert max(s.end - s.start for s in carried) == pytest.approx(128 * 512 * 2 / 1e9)


@pytest.mark.parametrize("seed", range(6))
def test_more_work_on_any_hybrid_takes_longer(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    accelerator = random_hybrids.hybrid(tmp_path / "hybrid.yaml", random)
    mode = str(random.choice(["inference", "training"]))
    fixed = {"model": "bert-tiny", "accelerator": accelerator, "workload.mode": mode}
    fixed |= {"workload.batch": 2, "workload.sequence_length": 64}
    for key, values in (
        ("workload.batch", [*range(1, 9)]),
        ("workload.sequence_length", [*range(16, 144, 16)]),
        ("model.layers", [*range(1, 9)]),
    ):
        rows: dict[str, list[object]] = {name: [value] * 8 for name, value in fixed.items()}
        seconds = evaluate(columns(8, rows | {key: values}), 8).scalar("latency_s")
        assert (np.diff(seconds) > -1e-9 * seconds[1:]).all(), key


@pytest.mark.parametrize(
    ("trainable", "crossing"),
    [
        ("all", 4 * 128 * 128 + 2 * 128 * 512),
        # Frozen weights lie on both units; only the factors of queries and values change.
        ("lora:8", 4 * 8 * 128),
    ],
)
def test_what_is_computed_again_elsewhere_needs_the_weights_of_this_step(
    trainable: str, crossing: int, tmp_path: Path
) -> None:
    """Once: the gradients behind it find them there."""
    units = "".join(f"  {name}: {random_hybrids.UNITS[name]}\n" for name in ("array", "tpu"))
    link = "links:\n  - {between: [array, tpu], bandwidth: 1 GB/s}\nassignment:\n"
    rules = "  - {match: {phase: [recompute, backward]}, unit: tpu}\n  - {unit: array}\n"
    path = tmp_path / "two.yaml"
    path.write_text(f"units:\n{units}{link}{rules}", encoding="utf-8")
    settings = {"workload.mode": "training", "workload.activations": "recompute"}
    settings |= {"workload.trainable": trainable}
    shown = elector.simulate("bert-tiny", str(path), settings=settings, operations=True)
    rows: list[Any] = shown["operations"]  # type: ignore[assignment]
    moved = sum(
        row["count"] * row["m"]
        for row in rows
        if row["layer"] == "layers" and row["name"].endswith("second operand from array")
    )
    assert moved == 2 * 2 * crossing  # two layers, 16 bits
