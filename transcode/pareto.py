"""Non-dominated points, hypervolume and well spread samples of a front (moocore does the work).

Everywhere here objectives are minimised: the caller turns the sign of what is maximised.
Axes: D points, O objectives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

#: Above this many points the live hypervolume is of a fixed sample: exact time is quadratic.
EXACT_LIMIT = 20_000
#: Times a volume may grow and still be a number.
_ROOM = 1e10
#: Points of a front compared with others at once: their numbers stay in the cache.
_NUMBERS = 1 << 16
#: Strong points that others are compared with first: how many, out of how many, picked by a
#: sample of how many.
_JUDGES, _CANDIDATES, _SAMPLE = 64, 256, 1000


def nondominated(points: np.ndarray) -> np.ndarray:
    """(D,) bool: points no other point dominates; equal points are all kept.

    points : (D, O) float, finite.
    """
    import moocore

    if len(points) == 0:
        return np.zeros(0, dtype=bool)
    if points.shape[1] == 1:  # moocore wants two objectives
        return np.asarray(points[:, 0] == points[:, 0].min())
    return np.asarray(moocore.is_nondominated(points, keep_weakly=True), dtype=bool)


def merge(front: np.ndarray, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks of what stays of a front and what of a batch joins it.

    front : (F, O), mutually non-dominated; batch : (D, O). Returns (F,) and (D,) bool.
    """
    joins = nondominated(batch)
    candidates = np.flatnonzero(joins)
    mask = nondominated(np.concatenate([front, batch[candidates]]))
    joins[candidates] = mask[len(front) :]
    return mask[: len(front)], joins


def judges(points: np.ndarray, front: np.ndarray) -> np.ndarray:
    """(J, O) a few points of the front that together beat most of a sample of points (D, O).

    Picked greedily from points spread over the front: each beats most of what is left.
    """
    left = points[:: max(1, len(points) // _SAMPLE)]
    candidates = front[:: max(1, len(front) // _CANDIDATES)]
    chosen: list[np.ndarray] = []
    while len(chosen) < _JUDGES and len(left) and len(candidates):
        beaten = np.ones((len(candidates), len(left)), dtype=bool)
        for axis in range(front.shape[1]):
            beaten &= left[None, :, axis] >= candidates[:, axis, None]
        best = int(beaten.sum(axis=1).argmax())
        if not beaten[best].any():
            break
        chosen.append(candidates[best])
        left = left[~beaten[best]]
    return np.array(chosen).reshape(-1, front.shape[1])


def unbeaten(columns: Sequence[np.ndarray], judging: np.ndarray) -> np.ndarray:
    """Indices of the points that no judge (J, O) beats: most of them go cheaply.

    columns : each objective's (D,) values.

    judging : (J, O).
    """
    left = np.arange(len(columns[0]))
    for judge in judging:
        below, above = np.ones(len(left), dtype=bool), np.zeros(len(left), dtype=bool)
        for column, bound in zip(columns, judge, strict=True):
            below &= column >= bound
            above |= column > bound  # its equals stay
        keep = np.flatnonzero(~(below & above))
        if len(keep) < len(left):
            left, columns = left[keep], [column[keep] for column in columns]
    return left


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """Volume between the points and the reference point, exact.

    points : (D, O); reference : (O,). Points that are not better than the reference in
    every objective count nothing.
    """
    import moocore

    inside = points[(points < reference).all(axis=1)]
    if len(inside) == 0:
        return 0.0
    if points.shape[1] == 1:
        return float(reference[0] - inside.min())
    return float(moocore.hypervolume(inside, ref=reference))


def has_volume(points: np.ndarray, reference: np.ndarray) -> bool:
    """Whether what lies between the points and the reference point has a volume that is a number.

    points : (D, O), minimised, D may be 0. reference : (O,).
    """
    with np.errstate(over="ignore"):
        span = np.abs(reference)
        if len(points):
            span = np.maximum(span, reference - points.min(axis=0))
        return bool(np.isfinite(np.prod(span) * _ROOM))


def apart(front: np.ndarray, points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(N,) volume of points (N, O) that no other point of a front (F, O) has.

    The points are of the front, or no point of it beats them.
    What a point shares with others is the hypervolume of these, cut to what lies behind it
    (Bringmann and Friedrich, Approximating the least hypervolume contributor, 2012).
    """
    import moocore

    volume = moocore.Hypervolume(ref=reference)  # looks at the reference once, not for each point
    volumes, columns = np.zeros(len(points)), np.ascontiguousarray(front.T)
    inside = np.flatnonzero((points < reference).all(axis=1))
    at_once = max(1, _NUMBERS // max(len(front), 1))
    for part in np.array_split(inside, max(1, -(-len(inside) // at_once))):
        own = points[part]
        volumes[part] = np.prod(reference - own, axis=1)
        near = _in_reach(columns, own, reference)
        for place, point, others in zip(part, own, near, strict=True):
            behind = np.maximum(front[np.flatnonzero(others)], point)
            if len(behind):
                volumes[place] = max(volumes[place] - volume(behind), 0.0)
    return volumes


#: As `apart`: who works it out.
Apart = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _in_reach(columns: np.ndarray, points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(N, F) which others of a front, (O, F) columns, may share volume with points (N, O)."""
    worse, often = _compared(columns, points)
    near = often > 0
    for values, end in zip(columns, _ends(columns, worse, often, reference), strict=True):
        near &= values <= end[:, None]
    return near


def _compared(columns: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(O, N, F) where a front, (O, F) columns, is worse than points (N, O); (N, F) how often."""
    worse = np.stack([c > p[:, None] for c, p in zip(columns, points.T, strict=True)])
    return worse, np.add.reduce(worse, axis=0, dtype=np.int8)


def _ends(
    columns: np.ndarray, worse: np.ndarray, often: np.ndarray, reference: np.ndarray
) -> np.ndarray:
    """(O, N) where what only a point has ends in each objective.

    What is worse than a point in one objective only cuts off, behind it in that objective,
    everything else.
    """
    ends, once = np.empty((len(columns), len(often))), often == 1
    for values, own, bound, end in zip(columns, worse, reference, ends, strict=True):
        reach = np.full(once.shape, bound)
        np.copyto(reach, values, where=own & once)
        reach.min(axis=1, initial=bound, out=end)
    return ends


def room(front: np.ndarray, points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(N,) volume that each of points (N, O) would add to a front (F, O) at most.

    The box between a point and those that are better in every other objective: exact for two
    objectives and a point that beats nobody, 0 for what a point of the front is as good as.
    """
    volumes, columns = np.zeros(len(points)), np.ascontiguousarray(front.T)
    at_once = max(1, _NUMBERS // max(len(front), 1))
    for start in range(0, len(points), at_once):
        own = points[start : start + at_once]
        worse, often = _compared(columns, own)
        rows = np.flatnonzero(often.all(axis=1))
        ends = _ends(columns, worse[:, rows], often[rows], reference)
        volumes[start + rows] = np.maximum(ends - own[rows].T, 0.0).prod(axis=0)
    return volumes


def live_hypervolume(points: np.ndarray, reference: np.ndarray) -> tuple[float, bool]:
    """Hypervolume and whether it is exact: above EXACT_LIMIT, that of an even sample.

    points : (F, O).
    """
    if len(points) <= EXACT_LIMIT:
        return hypervolume(points, reference), True
    sample = np.linspace(0, len(points) - 1, EXACT_LIMIT).astype(np.intp)
    return hypervolume(points[sample], reference), False


def reference_point(points: np.ndarray) -> np.ndarray:
    """(O,) a reference for hypervolumes, from a sample of feasible designs (D, O), D > 0.

    The worst of the sample's front in each objective, and a tenth of the front's range
    beyond it, so that the ends of the front count, too (the usual advice: Ishibuchi et al.,
    How to specify a reference point, Evolutionary Computation 26(3), 2018). A front of fewer
    points than objectives says little: then the worst of the whole sample.
    """
    front = points[nondominated(points)]
    basis = front if len(np.unique(front, axis=0)) > points.shape[1] else points
    best, worst = basis.min(axis=0), basis.max(axis=0)
    span = worst - best
    # an objective without range still needs room behind the points
    return np.asarray(worst + 0.1 * np.where(span > 0, span, np.maximum(np.abs(worst), 1e-9)))


def spread(points: np.ndarray, count: int) -> np.ndarray:
    """(min(count, D),) sorted indices of points far from one another, the best of each first.

    Distances are between ranks, so that no objective's scale or tail decides.
    points : (D, O).
    """
    if len(points) <= count:
        return np.arange(len(points))
    ranks = np.stack([np.unique(c, return_inverse=True)[1] for c in points.T], axis=1).astype(float)
    ranks /= np.maximum(ranks.max(axis=0), 1.0)
    chosen = list(dict.fromkeys(int(np.argmin(c)) for c in points.T))[:count]
    distance = np.full(len(points), np.inf)
    for index in chosen:
        distance = _nearer(distance, ranks, index)
    while len(chosen) < count:
        chosen.append(int(np.argmax(distance)))
        distance = _nearer(distance, ranks, chosen[-1])
    return np.sort(np.array(chosen))


def thin(points: np.ndarray, count: int) -> np.ndarray:
    """(min(count, D),) sorted indices: the best of each objective, the rest evenly by index.

    For many points of a sorted front, where `spread` would take long.
    """
    if len(points) <= count:
        return np.arange(len(points))
    best = np.unique(points.argmin(axis=0))[:count]
    others = np.setdiff1d(np.arange(len(points)), best)
    even = np.linspace(0, len(others) - 1, count - len(best)).astype(np.intp)
    return np.sort(np.concatenate([best, others[even]]))


def _nearer(distance: np.ndarray, ranks: np.ndarray, index: int) -> np.ndarray:
    """Squared distances to the chosen points, `index` now among them."""
    nearer = np.minimum(distance, ((ranks - ranks[index]) ** 2).sum(axis=1))
    nearer[index] = -1.0  # equal points are at distance 0, a chosen one is never chosen again
    return np.asarray(nearer)


@dataclass(frozen=True)
class Archive:
    """F designs, none dominated by another: unbounded, nothing is ever cut.

    ids : (F,) int64, number of the design in the order of evaluation.
    codes : (F, S), of the type of the empty archive that it began as.
    objectives : (F, O), minimised. results : name -> (F,).
    """

    ids: np.ndarray
    codes: np.ndarray
    objectives: np.ndarray
    results: dict[str, np.ndarray]

    @classmethod
    def empty(
        cls, parameters: int, objectives: int, results: Iterable[str], codes: DTypeLike = np.int32
    ) -> Archive:
        """An archive of nothing, with the columns of the designs to come.

        parameters : settings of a design, S. codes : type that they are kept in.
        """
        return cls(
            np.zeros(0, dtype=np.int64),
            np.zeros((0, parameters), dtype=codes),
            np.zeros((0, objectives)),
            {name: np.zeros(0) for name in results},
        )

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: np.ndarray) -> Archive:
        """The designs at `index`.

        index : (N,) places.
        """
        return Archive(
            self.ids[index],
            self.codes[index],
            self.objectives[index],
            {name: values[index] for name, values in self.results.items()},
        )

    def add(self, batch: Archive) -> Archive:
        """The archive after a batch of feasible designs, dominated ones among them."""
        stays, joins = merge(self.objectives, batch.objectives)
        if not joins.any():
            return self
        kept, new = self.take(stays), batch.take(joins)
        return Archive(
            np.concatenate([kept.ids, new.ids]),
            np.concatenate([kept.codes, new.codes.astype(kept.codes.dtype, copy=False)]),
            np.concatenate([kept.objectives, new.objectives]),
            {
                name: np.concatenate([values, new.results[name]])
                for name, values in kept.results.items()
            },
        )

    def sorted(self) -> Archive:
        """By the first objective, best first, then the others, then the id."""
        keys = (self.ids, *reversed(self.objectives.T))
        return self.take(np.lexsort(keys))
