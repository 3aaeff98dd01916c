"""What benchmarks/noisy_accuracy.py counts, and the surrogate it compares with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def noisy(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import noisy_accuracy

    yield noisy_accuracy
    for name in ("noisy_accuracy", "bosh"):
        sys.modules.pop(name, None)


def test_a_target_counts_from_where_it_is_held(noisy: ModuleType) -> None:
    curve = np.full(300, np.nan)
    curve[10:200] = 1.0
    curve[30:40] = 3.0  # lost again
    curve[60:] = 3.0
    curve[250:] = np.nan
    assert noisy.needed(curve, 1.0) == 11
    assert noisy.needed(curve, 3.0) == 61
    assert noisy.needed(curve, 3.5) == np.inf
    curve[235:] = 4.0
    curve[250:] = np.nan
    assert noisy.needed(curve, 3.5) == np.inf  # too short to say


def test_patience_ends_ten_evaluations_after_the_last_better_one(noisy: ModuleType) -> None:
    seen = np.zeros(300)
    assert noisy.ended(seen) == 110
    seen[104:] = 1.0  # evaluation 105
    assert noisy.ended(seen) == 115
    assert noisy.ended(np.arange(300.0)) == 300


def test_noise_follows_from_the_seed_and_the_design(noisy: ModuleType) -> None:
    source = noisy.source_of("bert", 1.0)
    codes = source.problem.space.designs(np.arange(0, 1_000_000, 1_000))
    true = source.score(codes)
    seen = source.seen(codes, true, 3)
    assert np.array_equal(seen[::-1], source.seen(codes[::-1], true[::-1], 3), equal_nan=True)
    assert not np.array_equal(seen, source.seen(codes, true, 4), equal_nan=True)
    # half of .5 to 1 points, by the accuracy's weight
    assert 0.25 < np.nanstd(seen - true) < 0.5


def test_networks_learn_a_mean_and_where_it_scatters(noisy: ModuleType) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.0, 1.0, (400, 1))
    y = 2.0 * x[:, 0] + np.where(x[:, 0] > 0.0, 0.6, 0.05) * rng.standard_normal(400)
    networks = noisy.Networks(0)
    networks.fit(x, y)
    mean, deviation = networks.predict(np.array([[-0.5], [0.5]]))
    assert mean == pytest.approx([-1.0, 1.0], abs=0.25)
    assert deviation[1] > 2.0 * deviation[0]
