"""The hull of published models in log depth and log width."""

from __future__ import annotations

import numpy as np
import pytest

from transcode.accuracy.hull import DepthWidthHull


def away(hull: DepthWidthHull, layers: float, hidden: float) -> float:
    return float(hull.beyond(np.log2([layers]), np.log2([hidden]))[0])


def test_a_square_has_distances_in_doublings() -> None:
    hull = DepthWidthHull.around([2, 2, 8, 8, 4], [64, 256, 64, 256, 128])
    assert len(hull.corners) == 4
    for layers, hidden in ((2, 64), (8, 256), (4, 100), (3, 256)):
        assert away(hull, layers, hidden) == 0.0
    assert away(hull, 16, 128) == pytest.approx(1.0)
    assert away(hull, 4, 1024) == pytest.approx(2.0)
    assert away(hull, 1, 32) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("layers", "hidden"), [([4], [256]), ([2, 8], [128, 512]), ([2, 4, 8], [128, 256, 512])]
)
def test_a_point_and_a_line_are_hulls(layers: list[float], hidden: list[float]) -> None:
    hull = DepthWidthHull.around(layers, hidden)
    assert len(hull.corners) == min(len(layers), 2)
    assert away(hull, layers[-1], hidden[-1]) == 0.0
    assert away(hull, 2 * layers[-1], hidden[-1]) > 0.5
    assert away(hull, layers[0] / 2, hidden[0] / 2) > 0.9
    assert away(hull, layers[0], 64 * hidden[0]) > 3.0


def test_inside_agrees_with_a_search_for_weights_that_mix_the_corners() -> None:
    stream = np.random.default_rng(0)
    layers, hidden = 2.0 ** stream.uniform(0, 6, 12), 2.0 ** stream.uniform(6, 12, 12)
    hull = DepthWidthHull.around(layers.tolist(), hidden.tolist())
    mixed = stream.dirichlet(np.full(12, 0.3), 500) @ np.log2(np.stack([layers, hidden], axis=1))
    assert (hull.beyond(*mixed.T) == 0.0).all()
    outward = hull.corners + 0.1 * (hull.corners - hull.corners.mean(axis=0))
    assert (hull.beyond(*outward.T) > 0.0).all()
