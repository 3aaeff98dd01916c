"""Load balance and reuse of lanes against counting."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from elector.machines.acceltran import lanes

ONE = np.ones(1)


def tiling(size: int = 4096, tile_b: int = 1, side: int = 16) -> lanes.Tiling:
    big = ONE * size
    return lanes.tile((ONE, big, big, big), (ONE * tile_b, ONE * side, ONE * side))


def slowest(
    t: lanes.Tiling, a: float, b: float, count: int, multipliers: int, ahead: float = 1.0
) -> float:
    chances = lanes.chances(t, ONE * a, ONE * b, ONE * multipliers)
    return float(lanes.wait(chances, ONE * count, ONE * multipliers, ahead)[0])


def test_the_example_of_shared_mask_bits() -> None:
    # A 16 x 16 x 16 tile at densities .5/.5: mean 64 cycles, slowest of 1,024 lanes 84.
    assert slowest(tiling(), 0.5, 0.5, 1024, 16) == pytest.approx(84, abs=0.6)
    assert slowest(tiling(), 0.5, 0.5, 1, 16) == pytest.approx(64, abs=0.6)


@pytest.mark.parametrize(
    ("tile_b", "side", "multipliers", "a", "b", "count"),
    [
        (1, 16, 16, 0.5, 0.5, 1024),
        (1, 8, 16, 0.5, 0.5, 1024),
        (1, 8, 1, 0.5, 0.1, 2048),
        (1, 32, 16, 0.5, 0.5, 512),
        (4, 16, 16, 0.5, 0.3, 512),
        (1, 16, 16, 0.9, 0.9, 1024),
        (1, 16, 1, 0.5, 0.5, 8),
        (1, 16, 16, 0.1, 0.5, 512),
        (1, 8, 16, 0.98, 0.98, 1024),
    ],
)
def test_slowest_lane_against_monte_carlo(
    tile_b: int, side: int, multipliers: int, a: float, b: float, count: int
) -> None:
    rng = np.random.default_rng(7)
    repeats = max(8, 40_000 // count)
    ones_a = rng.binomial(tile_b * side, a, (repeats * count, side))
    ones_b = rng.binomial(side, b, (repeats * count, side))
    products = (ones_a * ones_b).sum(axis=1).reshape(repeats, count)
    expected = np.ceil(products.max(axis=1) / multipliers).mean()
    cycles = slowest(tiling(tile_b=tile_b, side=side), a, b, count, multipliers)
    assert cycles == pytest.approx(expected, rel=0.02)


def test_running_ahead_averages_against_monte_carlo() -> None:
    rng = np.random.default_rng(3)
    ones = rng.binomial(16, 0.5, (2, 60, 256, 8, 16))
    products = (ones[0] * ones[1]).sum(axis=-1).sum(axis=-1)  # eight tiles a lane
    expected = products.max(axis=1).mean() / 8 / 16
    assert slowest(tiling(), 0.5, 0.5, 256, 16, ahead=8.0) == pytest.approx(expected, rel=0.02)


def test_dense_tiles_take_exactly_their_products() -> None:
    assert slowest(tiling(), 1.0, 1.0, 1024, 16) == 256
    assert slowest(tiling(), 0.0, 1.0, 1024, 16) == 1


@pytest.mark.parametrize("side", [8, 16, 32])
@pytest.mark.parametrize("count", [1, 16, 1024, 131072])
@pytest.mark.parametrize("multipliers", [1, 16])
def test_denser_is_never_faster(side: int, count: int, multipliers: int) -> None:
    density = np.linspace(0, 1, 401)
    t = tiling(side=side)
    for other in (0.1, 0.5, 1.0):
        chances = lanes.chances(t, density, ONE * other, ONE * multipliers)
        cycles = lanes.wait(chances, ONE * count, ONE * multipliers)
        assert (np.diff(cycles) >= -1e-9).all(), density[:-1][np.diff(cycles) < -1e-9]


def test_waves_are_dealt_evenly() -> None:
    count, used = lanes.waves(ONE * 200, np.array([64.0, 100, 110, 199, 200, 1000]))
    assert count.tolist() == [4, 2, 2, 2, 1, 1]
    assert used.tolist() == [50, 100, 100, 100, 200, 200]


@pytest.mark.parametrize("order", lanes.ORDERS)
def test_reuse_against_a_walk_of_the_loops(order: str) -> None:
    """Round robin over eight lanes, counted tile by tile."""
    blocks = {"b": 4, "i": 4, "j": 8, "k": 4}
    last: dict[tuple[str, int], tuple[int, ...]] = {}
    saved = {"a": 0, "b": 0}
    walk = itertools.product(*(range(blocks[loop]) for loop in order))
    for place, values in enumerate(walk):
        at = dict(zip(order, values, strict=True))
        for operand, loops in (("a", "bik"), ("b", "bkj")):
            key = tuple(at[loop] for loop in loops)
            saved[operand] += last.get((operand, place % 8)) == key
            last[operand, place % 8] = key
    t = lanes.Tiling({key: ONE * n for key, n in blocks.items()}, ONE, ONE, ONE, ONE)
    shares = lanes.reuse(t, np.array([lanes.ORDERS.index(order)]), ONE * 8)
    assert shares[0][0] * 512 == saved["a"]
    assert shares[1][0] * 512 == saved["b"]


def test_best_and_worst_loop_orders() -> None:
    # The published ablation: [b,i,j,k] ties with [k,i,j,b] for the fewest operand fetches of
    # the 24 orders, and the worst takes 1.9 to 2.1 times as many (as many slices as
    # contraction tiles, and as many lanes).
    t = lanes.Tiling({"b": 8 * ONE, "i": 4 * ONE, "j": 32 * ONE, "k": 8 * ONE}, ONE, ONE, ONE, ONE)
    saved = lanes.reuse(t, np.arange(24), ONE * 8)
    fetches = 2.0 - saved[0] - saved[1]
    best = {lanes.ORDERS[i] for i in np.nonzero(fetches == fetches.min())[0]}
    assert best == {"bijk", "ibjk", "kijb", "ikjb"}
    assert 1.9 <= fetches.max() / fetches.min() <= 2.1
