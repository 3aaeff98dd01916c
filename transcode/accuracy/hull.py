"""Where published models lie among depths and widths: their convex hull."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

#: Doublings that are no distance: a corner is not outside.
ROUNDING = 1e-9


@dataclass(frozen=True)
class DepthWidthHull:
    """A convex hull in the plane of log2 layers and log2 hidden.

    corners : (E, 2) its corners, against the clock; one or two where models lie on a line.
    """

    corners: np.ndarray

    @classmethod
    def around(cls, layers: Sequence[float], hidden: Sequence[float]) -> DepthWidthHull:
        """The hull of models by their sizes (Andrew 1979, monotone chain)."""
        points = sorted(set(zip(np.log2(layers).tolist(), np.log2(hidden).tolist(), strict=True)))
        return cls(np.array(points if len(points) < 3 else _chain(points) + _chain(points[::-1])))

    @cached_property
    def half_planes(self) -> tuple[tuple[float, float, float], ...]:
        """Outward unit normal (depth, width) of each edge, and its product with the edge's points.

        A line of models has its two ends as edges, too, a single model its four sides.
        """
        starts = self.corners
        steps = np.roll(starts, -1, axis=0) - starts
        if len(starts) == 1:
            starts = np.repeat(starts, 4, axis=0)
            steps = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
        elif len(starts) == 2:
            starts = np.concatenate([starts, starts])
            steps = np.concatenate([steps, np.stack([steps[:, 1], -steps[:, 0]], axis=1)])
        steps = steps / np.hypot(steps[:, 0], steps[:, 1])[:, None]
        normals = np.stack([steps[:, 1], -steps[:, 0]], axis=1)
        lines = (normals * starts).sum(axis=1)
        return tuple((x, y, c) for (x, y), c in zip(normals.tolist(), lines.tolist(), strict=True))

    def beyond(self, depth: np.ndarray, width: np.ndarray) -> np.ndarray:
        """(D,) doublings by which models lie outside, 0 inside; depth and width count alike.

        depth, width : (D,) log2 of layers and hidden. Measured to the line of the farthest edge.
        """
        doublings = np.full(depth.shape, ROUNDING)
        for x, y, line in self.half_planes:
            own = depth * x
            own += width * y
            own -= line
            np.maximum(doublings, own, out=doublings)
        doublings -= ROUNDING
        return doublings


def _chain(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """One side of the hull of sorted points, without its last corner."""
    corners: list[tuple[float, float]] = []
    for point in points:
        while len(corners) > 1 and _turn(corners[-2], corners[-1], point) <= 0.0:
            corners.pop()
        corners.append(point)
    return corners[:-1]


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    """Positive where a, b, c turn left."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
