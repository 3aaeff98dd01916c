"""Tiles of a product dealt to lanes: waves, the slowest lane, and reuse in registers.

A product of B slices (m x k) by (k x n) is cut into tiles of tile_b x tile_x x tile_y by
tile_y x tile_x (a matrix shared by all rows, such as a weight, takes tile_b row blocks where
others take tile_b slices). L lanes take a tile each; a wave ends with its slowest lane.

The multiplications of one tile are those where both masks have a one. They share mask bits,
so they are no binomial: with A_c ~ Bin(rows, d_a) and B_c ~ Bin(columns, d_b) ones at the
contraction index c, a tile needs X = sum_c A_c B_c products (c = 1 ... depth), and

    E X = depth E A E B,   Var X = depth (E A^2 E B^2 - (E A E B)^2).

The slowest of n lanes takes E X + sd (z + skew (z^2 - 1) / 6), the Cornish-Fisher quantile
at z = Phi^-1((n - 3/8) / (n + 1/4)) (Blom 1958), never more than the dense tile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray
#: One number where all have the same.
Setting = np.ndarray | float

ORDERS = tuple(
    a + b + c + d
    for a in "bijk"
    for b in "bijk"
    for c in "bijk"
    for d in "bijk"
    if len({a, b, c, d}) == 4
)
#: Loops that an operand does not depend on, j of a and i of b -> another loop -> (24,) whether
#: it is inside, by order.
_INSIDE = {
    free: {
        other: np.array([order.index(other) > order.index(free) for order in ORDERS])
        for other in "bijk"
        if other != free
    }
    for free in "ji"
}


@dataclass(frozen=True)
class Tiling:
    """Tile counts of products, all of one shape (such as (R, X)).

    blocks : loop -> tiles along it: b slices, i rows, j columns, k contraction.
    rows, columns, depth, slices : extents of one tile.
    """

    blocks: dict[str, Array]
    rows: Array
    columns: Setting
    depth: Setting
    slices: Array

    @property
    def tiles(self) -> Array:
        """Tile products."""
        b = self.blocks
        return b["b"] * b["i"] * b["j"] * b["k"]

    @property
    def volume(self) -> Array:
        """Multiplications of a dense tile."""
        return self.rows * self.columns * self.depth * self.slices


def tile(
    sizes: tuple[Array, Array, Array, Array], sides: tuple[Setting, Setting, Setting]
) -> Tiling:
    """Tiles of products; a tile larger than the matrix is padded and takes its full time.

    sizes : (N,) batch, m, k and n. sides : of a tile, tile_b, tile_x and tile_y.
    """
    (batch, m, k, n), (tile_b, tile_x, tile_y) = sizes, sides
    shared = batch <= 1.0
    slices = np.where(shared, 1.0, tile_b)
    rows = np.where(shared, tile_b * tile_x, tile_x)
    blocks = {
        "b": np.ceil(batch / slices),
        "i": np.ceil(m / rows),
        "j": np.ceil(n / tile_x),
        "k": np.ceil(k / tile_y),
    }
    return Tiling(blocks, rows, tile_x, tile_y, slices)


def waves(tiles: Array, lanes: Setting) -> tuple[Array, Array]:
    """Waves of `tiles` over `lanes`, and the lanes each wave uses (dealt evenly)."""
    count = np.ceil(tiles / lanes)
    return count, np.maximum(np.ceil(tiles / np.maximum(count, 1.0)), 1.0)


@dataclass(frozen=True)
class Chances:
    """What decides how long the slowest lane takes for a tile, whatever the number of lanes.

    mean, spread : of its multiplications, skew : of their distribution (one tile ahead).
    least, most : cycles; both the exact ones where nothing is random.
    """

    mean: Array
    spread: Array
    skew: Array
    least: Array
    most: Array

    def take(self, index: Array) -> Chances:
        """The chances at `index` of flat arrays."""
        return Chances(
            *(getattr(self, name).take(index, mode="clip") for name in self.__dataclass_fields__)
        )


def chances(
    t: Tiling,
    density_a: Array,
    density_b: Array,
    multipliers: Array,
    clustering: Array | float = 1.0,
) -> Chances:
    """Chances of one tile; clustering is the variance over that of independent zeros.

    density_a, density_b : shares of elements that are not zero. multipliers : of a lane.

    All arrays have the shape of `t`'s, such as (R, X), or broadcast with it.
    """
    full = np.ceil(t.volume / multipliers)
    depth = t.depth * t.slices
    a1, a2, a3 = _moments(t.rows, density_a)
    b1, b2, b3 = _moments(np.asarray(t.columns), density_b)
    mean = a1 * b1
    variance = np.maximum(a2 * b2 - mean**2, 0.0)
    third = a3 * b3 - 3.0 * mean * a2 * b2 + 2.0 * mean**3
    # Close to dense the skew is negative and the quantile above the dense tile; without that
    # skew it stays there, so that denser is never faster.
    skew = np.maximum(third, 0.0) / np.maximum(variance, 1e-30) ** 1.5 / np.sqrt(depth)
    exact, random = _exact(mean, depth, multipliers), variance > 0.0
    return Chances(
        depth * mean,
        np.sqrt(depth * variance * clustering),
        skew,
        np.where(random, 1.0, exact),
        np.where(random, full, exact),
    )


def wait(c: Chances, lanes: Array, multipliers: Array | float, ahead: Array | float = 1.0) -> Array:
    """Expected cycles of the slowest of `lanes` lanes for one tile, without pipeline.

    ahead : tiles a lane may run ahead of the others: the barrier then sees their mean.

    multipliers : of a lane.

    All arrays have the shape of the chances, such as (R, X), or broadcast with it.
    """
    z = normal_quantile((lanes - 0.375) / (lanes + 0.25))
    spread, skew = c.spread, c.skew
    if np.any(np.not_equal(ahead, 1.0)):
        spread, skew = spread / np.sqrt(ahead), skew / np.sqrt(ahead)
    most = c.mean + spread * (z + skew * (z * z - 1.0) / 6.0)
    # A started cycle counts whole: half of the last one is idle on average.
    cycles = np.maximum(most, c.mean) / multipliers + 0.5 * (1.0 - 1.0 / multipliers)
    slowest: Array = np.minimum(np.maximum(cycles, c.least), c.most)
    return slowest


def _exact(mean: Array, depth: Array, multipliers: Array) -> Array:
    """Cycles where nothing is random: densities of 0 or 1."""
    return np.maximum(np.ceil(depth * mean / multipliers), 1.0)


def _moments(size: Array, p: Array) -> tuple[Array, Array, Array]:
    """First three moments of a binomial."""
    first = size * p
    second = first * (1.0 - p) + first**2
    third = first * (1.0 + 3.0 * (size - 1.0) * p + (size - 1.0) * (size - 2.0) * p**2)
    return first, second, third


def normal_quantile(p: Array) -> Array:
    """Quantile of the standard normal for 0.5 <= p < 1 (Abramowitz & Stegun 26.2.23).

    The absolute error is below 4.5e-4; at p = 0.5 it is exactly 0.
    """
    t = np.sqrt(-2.0 * np.log(np.maximum(1.0 - p, 1e-300)))
    z = t - ((0.010328 * t + 0.802853) * t + 2.515517) / (
        ((0.001308 * t + 0.189269) * t + 1.432788) * t + 1.0
    )
    return np.where(p > 0.5, z, 0.0)


def reuse(t: Tiling, order: Array, lanes: Setting) -> tuple[Array, Array]:
    """Shares of the fetches of a and b that a lane's registers save.

    `order` (...,) index into ORDERS, outermost loop first. a[b, i, k] does not depend on j,
    b[b, k, j] not on i. A tile returns to the lane that holds its operand where the stride of
    that free loop (the product of the loops inside it) is at most the number of lanes; the
    first visit of each pass over the loop has to fetch. A larger stride overwrites the
    register before its next use. This is round robin where the stride divides the lanes.
    """
    count = {name: np.maximum(tiles, 1.0) for name, tiles in t.blocks.items()}

    def share(free: str) -> Array:
        stride: Setting = 1.0
        for other, by_order in _INSIDE[free].items():
            if (inside := by_order[order]).any():
                stride = stride * (
                    count[other] if inside.all() else np.where(inside, count[other], 1.0)
                )
        kept: Array = np.maximum(1.0 - lanes / (stride * count[free]), 0.0)
        kept *= np.less_equal(stride, lanes)
        return kept

    return share("j"), share("i")
