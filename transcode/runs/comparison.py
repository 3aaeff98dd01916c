"""Two runs side by side: hypervolume, coverage, epsilon.

Coverage and additive epsilon: Zitzler et al., Performance assessment of multiobjective
optimizers, IEEE Transactions on Evolutionary Computation 7(2), 2003.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from elector.base import units
from elector.base.errors import InputError
from transcode import pareto
from transcode.runs import snapshot

_CHUNK = 512
#: Differences of points that lie in memory at once: 128 MB.
_CELLS = 1 << 24
OPTION = "--reference-point"


@dataclass(frozen=True)
class Side:
    """One of the two. points : (F, O) and reference : (O,), minimised; objectives -> direction.

    described : the objectives as front.json has them: name, direction, unit.
    """

    folder: Path
    designs: int
    points: np.ndarray
    objectives: dict[str, str]
    reference: np.ndarray
    described: tuple[Mapping[str, Any], ...] = ()

    @property
    def signs(self) -> np.ndarray:
        """(O,) -1 for what is maximised, 1 for what is minimised."""
        return np.array([-1.0 if d == "max" else 1.0 for d in self.objectives.values()])


@dataclass(frozen=True)
class Comparison:
    """What tells two fronts apart; a pair is (A, B).

    hypervolume : against the common reference; both : of the two fronts together.
    coverage : share of the other front that is matched or beaten.
    epsilon : how far the front must be moved to match or beat all of the other, as a share of
        the range from the best of both to the reference point; 0 where it already does.
    own : designs of the common front that only this one has.
    """

    sides: tuple[Side, Side]
    hypervolume: tuple[float, float]
    both: float
    coverage: tuple[float, float]
    epsilon: tuple[float, float]
    own: tuple[int, int]

    def rows(self) -> list[dict[str, object]]:
        """A row for each run."""
        return [
            {
                "run": str(side.folder),
                "designs": side.designs,
                "front": len(side.points),
                "hypervolume": self.hypervolume[i],
                "share_of_both": self.hypervolume[i] / self.both if self.both else None,
                "coverage": self.coverage[i],
                "epsilon": self.epsilon[i],
                "only_here": self.own[i],
            }
            for i, side in enumerate(self.sides)
        ]


def compare(first: Path, second: Path, reference: Mapping[str, str] | None = None) -> Comparison:
    """Compares the fronts of two run folders, which need the same objectives and reference.

    reference : objective -> value with its unit: the reference point in place of that of the
        runs, which may then differ. Raises InputError for what does not fit, and InfeasibleError
        for a run without a feasible design.

    first, second : the run folders.
    """
    a, b = _side(first), _side(second)
    if reference is not None:
        point = _point(a, reference)
        a, b = (replace(side, reference=point * side.signs) for side in (a, b))
        if not any((side.points < side.reference).all(axis=1).any() for side in (a, b)):
            said = "no design of either front is better than it in every objective"
            raise InputError(said, field=OPTION, value=written_point(reference))
        if not pareto.has_volume(np.concatenate([a.points, b.points]), a.reference):
            said = "the hypervolume of the fronts is larger than any number"
            raise InputError(said, field=OPTION, value=written_point(reference))
    _require_alike(a, b)
    union = np.concatenate([a.points, b.points])
    stay, join = pareto.merge(a.points, b.points)
    front = union[np.concatenate([stay, join])]
    span = np.maximum(a.reference - union.min(axis=0), 1e-300)
    with np.errstate(over="ignore"):  # points of somebody's own may lie anywhere
        scaled = a.points / span, b.points / span
    excess = _excess(scaled[0], scaled[1]), _excess(scaled[1], scaled[0])
    return Comparison(
        sides=(a, b),
        hypervolume=(
            pareto.hypervolume(a.points, a.reference),
            pareto.hypervolume(b.points, a.reference),
        ),
        both=pareto.hypervolume(front, a.reference),
        coverage=(float((excess[0] <= 0).mean()), float((excess[1] <= 0).mean())),
        epsilon=(max(float(excess[0].max()), 0.0), max(float(excess[1].max()), 0.0)),
        own=(_only(a.points[stay], b.points[join]), _only(b.points[join], a.points[stay])),
    )


def read_reference(text: str) -> dict[str, str]:
    """Objective -> value as it was written, of `latency_s=1 s, energy_j=20 mJ`.

    text : as `--reference-point` has it.
    """
    values: dict[str, str] = {}
    for item in text.split(","):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not name or not value:
            raise InputError(
                "must read NAME=VALUE, NAME=VALUE ...",
                field=OPTION,
                value=item.strip() or text,
                hint="one value for each objective, such as latency_s=1s",
            )
        if name in values:
            raise InputError("is given twice", field=OPTION, value=name)
        values[name] = value
    return values


def written_point(reference: Mapping[str, object]) -> str:
    """A reference point as `--reference-point` has it.

    reference : objective -> its value.
    """
    return ", ".join(f"{name}={value}" for name, value in reference.items())


def _point(side: Side, reference: Mapping[str, str]) -> np.ndarray:
    """(O,) the reference point in the units of the objectives."""
    units_of = {str(o["name"]): str(o.get("unit") or "1") for o in side.described}
    for name in reference:
        if name not in side.objectives:
            raise InputError(
                "is no objective", field=OPTION, value=name, allowed=list(side.objectives)
            )
    for name in side.objectives:
        if name not in reference:
            raise InputError(
                f"lacks an objective: {name}", field=OPTION, value=written_point(reference)
            )
    values = [units.convert(reference[n], units_of[n], field=OPTION) for n in side.objectives]
    if not np.isfinite(values).all():
        raise InputError("must be finite", field=OPTION, value=written_point(reference))
    return np.array(values)


def _require_alike(a: Side, b: Side) -> None:
    """Refuses runs whose fronts say nothing about each other, with what is different."""
    shown = [[f"{name} {d}" for name, d in side.objectives.items()] for side in (a, b)]
    what, hint = "objectives", "the same objectives, in the same order"
    if shown[0] == shown[1]:
        points = [(side.reference * side.signs).tolist() for side in (a, b)]
        if points[0] == points[1]:
            return
        shown = [[f"{n} {v}" for n, v in zip(a.objectives, p, strict=True)] for p in points]
        what, hint = "reference point", "the same reference_point"
    lines = [
        f"\n  {what} of {side.folder}: {', '.join(words)}"
        for side, words in zip((a, b), shown, strict=True)
    ]
    raise InputError(
        f"cannot be compared with {b.folder}{''.join(lines)}",
        file=a.folder,
        hint=f"give both spaces {hint}" + (f", or {OPTION}" if "point" in what else ""),
    )


def _side(run: Path) -> Side:
    taken = snapshot.with_front(run)
    objectives: dict[str, str] = taken.manifest["space"]["objectives"]
    reference = taken.reference
    if reference is None:
        raise InputError("has no reference point", file=taken.folder)
    signs = np.array([-1.0 if d == "max" else 1.0 for d in objectives.values()])
    values = np.array([list(taken.columns[name]) for name in objectives], dtype=float)
    return Side(
        taken.folder,
        taken.manifest["designs"],
        values.T * signs,
        objectives,
        reference * signs,
        tuple(taken.head["objectives"]),
    )


def _excess(front: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(G,) how far each of the others is ahead of the whole front; at most 0 where matched."""
    excess = np.empty(len(others))
    step = max(min(_CHUNK, _CELLS // max(len(front), 1)), 1)
    for start in range(0, len(others), step):
        some = others[start : start + step]
        worst = np.full((len(some), len(front)), -np.inf)
        for axis in range(front.shape[1]):  # one objective after another keeps it in the cache
            with np.errstate(invalid="ignore"):  # two infinities are as far as each other
                ahead = front[None, :, axis] - some[:, axis, None]
            np.fmax(worst, ahead, out=worst)
        excess[start : start + len(some)] = worst.min(axis=1)
    return excess


def _only(points: np.ndarray, others: np.ndarray) -> int:
    """How many of the points are not among the others."""
    known = set(map(bytes, np.ascontiguousarray(others)))
    return sum(bytes(p) not in known for p in np.ascontiguousarray(points))
