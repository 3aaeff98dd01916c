"""What the shape of a transformer costs: the doublings of weights it wastes.

Published scores of one recipe come from models of nearly one shape, so that they cannot tell depth
apart from width. Studies that vary the shape at a given number of weights can. What they found is
put in one unit: a model of this shape does what a well-shaped model with fewer weights does, and
log2 of the ratio is the number of doublings its shape wastes,

    lost = wide w(a)^2 + deep d(a)^2 + shallow / layers^2.5
         + feed_forward r^2 + head h^2 [+ depth_preference log2(a / 32), scores only]

with a = hidden / layers, w and d the doublings that `a` lies above or below 80, r those that
feed_forward / hidden lies above 2, h those that a head is wider than 64 (narrower ones lose next to
nothing: .2 % of the loss at 16). Squares go on as straight lines beyond what was measured.

Loss of language models: Kaplan et al. 2020 (arXiv 2001.08361, figures 5 and 6), whose increase
becomes doublings by their law, loss ~ weights^-.076. Scores after fine-tuning prefer depth beyond
what the loss says, down to an aspect of 32 (Tay et al. 2021, arXiv 2109.10686: T5 by depth and
width; Levine et al. 2020, arXiv 2006.12467, put the best width of 6 to 48 layers at an aspect of 24
to 46). The figures are rows of data/accuracy/shapes.csv; nothing here is a number of its own but
the three places where curves begin and the power of depth, at which the fit is best or flat.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from transcode.accuracy.published_scores import DATA

#: loss ~ weights^-EXPONENT (Kaplan et al. 2020, equation 1.1).
EXPONENT = 0.076
BEST_ASPECT = 80.0  # hidden / layers of the least loss at a given number of weights
DEEP_ENOUGH = 32.0  # aspect below which scores stop preferring depth
BEST_RATIO = 2.0  # feed_forward / hidden of the least loss
BEST_HEAD = 64.0  # width of a head from which wider ones lose
DEPTH_POWER = 2.5
MEASURES = ("glue", "superglue", "squad")
_PREFERENCES = np.linspace(0.0, 2.0, 201)
#: Doublings beyond the best value up to which each square was measured: aspects of 2 to 1,700,
#: feed-forward layers of 40 times hidden, heads of 256.
WIDEST, DEEPEST, LARGEST_RATIO, WIDEST_HEAD = 4.4, 5.3, 4.3, 2.0
_LOG_ASPECT, _LOG_ENOUGH = float(np.log2(BEST_ASPECT)), float(np.log2(DEEP_ENOUGH))
_LOG_RATIO, _LOG_HEAD = float(np.log2(BEST_RATIO)), float(np.log2(BEST_HEAD))


@dataclass(frozen=True)
class LogShapes:
    """D models by log2 of their sizes, each (D,).

    depth : of layers. width : of hidden [elements]. weights : of what the layers hold,
    layers (4 hidden^2 + 2 hidden feed_forward). ratio : of feed_forward / hidden. head : of the
    width of a head, hidden / heads [elements].
    """

    depth: np.ndarray
    width: np.ndarray
    weights: np.ndarray
    ratio: np.ndarray
    head: np.ndarray

    @classmethod
    def of(
        cls, layers: np.ndarray, hidden: np.ndarray, heads: np.ndarray, feed_forward: np.ndarray
    ) -> LogShapes:
        """From the sizes themselves, each (D,) positive floats."""
        depth, width = np.log2(layers), np.log2(hidden)
        weights = depth + width + np.log2(4.0 * hidden + 2.0 * feed_forward)
        return cls(depth, width, weights, np.log2(feed_forward) - width, width - np.log2(heads))


@dataclass(frozen=True)
class ShapeEffects:
    """Doublings of weights that a shape wastes, by what is wrong with it.

    wide, deep, feed_forward, head : for each squared doubling away from the best value. shallow :
        of one layer; it falls with layers^-2.5.
    depth_preference : for each doubling of aspect above 32, of scores only; preference_std : how
        well Tay et al. tell it.
    rows : figures it rests on, of which unverified were read second-hand. rmse : what it misses
        the losses by [doublings].
    """

    wide: float
    deep: float
    shallow: float
    feed_forward: float
    head: float
    depth_preference: float
    preference_std: float
    rows: int
    unverified: int
    rmse: float

    def describe(self) -> str:
        """What it rests on, for the terminal."""
        return f"{self.rows} figures of studies that varied them ({self.unverified} second-hand)"

    def lost(self, shapes: LogShapes, scores: bool = True) -> np.ndarray:
        """(D,) doublings of weights that each shape wastes, never negative.

        scores : of fine-tuned and zero-shot scores; False for the loss of pre-training.
        """
        return self.by_aspect(shapes.depth, shapes.width, scores) + self.by_layer(shapes)

    def by_aspect(self, depth: np.ndarray, width: np.ndarray, scores: bool = True) -> np.ndarray:
        """The part of `lost` that comes from depth and width (log2, each (D,))."""
        aspect = width - depth
        doublings = _square_above(aspect, _LOG_ASPECT, self.wide, WIDEST)
        doublings += _square_above(-aspect, -_LOG_ASPECT, self.deep, DEEPEST)
        few = depth * -DEPTH_POWER
        np.exp2(few, out=few)
        few *= self.shallow
        doublings += few
        if scores:
            aspect -= _LOG_ENOUGH
            np.maximum(aspect, 0.0, out=aspect)
            aspect *= self.depth_preference
            doublings += aspect
        return doublings

    def by_layer(self, shapes: LogShapes) -> np.ndarray:
        """The part of `lost` that comes from feed-forward layers and heads."""
        doublings = _square_above(shapes.ratio, _LOG_RATIO, self.feed_forward, LARGEST_RATIO)
        doublings += _square_above(shapes.head, _LOG_HEAD, self.head, WIDEST_HEAD)
        return doublings

    def loss_increase(self, shapes: LogShapes) -> np.ndarray:
        """(D,) share by which the loss of pre-training is above that of the best shape."""
        return np.exp2(EXPONENT * self.lost(shapes, scores=False)) - 1.0


def _square_above(values: np.ndarray, best: float, times: float, measured: float) -> np.ndarray:
    """`times` the square of what (D,) `values` lie above `best`; 0 below.

    Measured up to `measured` doublings above; the tangent goes on beyond.
    """
    above = values - best
    np.maximum(above, 0.0, out=above)
    within = np.minimum(above, measured)
    above += above
    above -= within
    above *= within
    above *= times
    return above


@cache
def shape_effects() -> ShapeEffects:
    """The effects, fitted to data/accuracy/shapes.csv once."""
    rows = shape_rows()
    loss = [r for r in rows if r["measure"] == "loss"]
    aspect = [r for r in loss if r["axis"] in ("aspect", "depth")]
    coefficients, miss = _fit_aspect(aspect)
    ratio = _one_axis(loss, "feed_forward_ratio", BEST_RATIO)
    head = _one_axis(loss, "head_size", BEST_HEAD)
    wide, deep, shallow = coefficients
    unverified = sum(row["verified"] == "no" for row in rows)
    plain = ShapeEffects(wide, deep, shallow, ratio, head, 0.0, 0.0, len(rows), unverified, miss)
    preference, std = _preference([r for r in rows if r["measure"] in MEASURES], plain)
    return replace(plain, depth_preference=preference, preference_std=std)


@cache
def shape_rows() -> tuple[Mapping[str, str], ...]:
    """The rows of data/accuracy/shapes.csv that are used."""
    with open(DATA / "shapes.csv", newline="", encoding="utf-8") as file:
        return tuple(row for row in csv.DictReader(file) if row["use"] == "yes")


def _numbers(rows: Sequence[Mapping[str, str]], column: str) -> np.ndarray:
    return np.array([float(row[column]) for row in rows])


def _doublings(rows: Sequence[Mapping[str, str]]) -> np.ndarray:
    """Increases of loss [%] as doublings of weights."""
    return np.asarray(np.log2(1.0 + _numbers(rows, "value") / 100.0) / EXPONENT)


def _fit_aspect(rows: Sequence[Mapping[str, str]]) -> tuple[list[float], float]:
    """wide, deep and shallow by least squares, and the error [doublings].

    Rows of the axis depth (figure 6) count a hundredth: their curves are read off coarsely.
    """
    layers = _numbers(rows, "layers")
    away = np.log2(_numbers(rows, "hidden") / layers / BEST_ASPECT)
    x = np.stack(
        [np.maximum(away, 0.0) ** 2, np.maximum(-away, 0.0) ** 2, layers**-DEPTH_POWER], axis=1
    )
    y, weight = _doublings(rows), np.array([0.1 if r["axis"] == "depth" else 1.0 for r in rows])
    factors = np.linalg.lstsq(x * weight[:, None], y * weight, rcond=None)[0]
    miss = (x @ factors - y)[weight == 1.0]
    # Rounded, so that the last bit does not depend on the linear algebra library.
    return [round(float(v), 6) for v in factors], float(np.sqrt(np.mean(miss**2)))


def _one_axis(rows: Sequence[Mapping[str, str]], axis: str, best: float) -> float:
    """Coefficient of the square above the best value of one axis, by least squares."""
    own = [row for row in rows if row["axis"] == axis]
    above = np.maximum(np.log2(_numbers(own, "at") / best), 0.0)
    return round(float(np.sum(above**2 * _doublings(own)) / np.sum(above**4)), 6)


def _preference(rows: Sequence[Mapping[str, str]], effects: ShapeEffects) -> tuple[float, float]:
    """Doublings by which scores prefer half the aspect above 32, and its standard error.

    logit(score) is a parabola of log2 weights for each measure, whose coefficients are the recipe
    of the study; the preference is the one with which all of them miss least.
    """
    misses = np.array([_missed(rows, effects, float(v)) for v in _PREFERENCES])
    best = int(misses.argmin())
    freedom = len(rows) - 3 * len(MEASURES) - 1
    likely = np.exp(-0.5 * (misses - misses[best]) * freedom / misses[best])
    mean = float(np.sum(likely * _PREFERENCES) / np.sum(likely))
    spread = float(np.sum(likely * (_PREFERENCES - mean) ** 2) / np.sum(likely))
    return round(float(_PREFERENCES[best]), 6), round(float(np.sqrt(spread)), 6)


def _missed(rows: Sequence[Mapping[str, str]], effects: ShapeEffects, preference: float) -> float:
    """Sum of squared errors [logit^2] of all measures with this preference."""
    total = 0.0
    for measure in MEASURES:
        own = [row for row in rows if row["measure"] == measure]
        layers, hidden = _numbers(own, "layers"), _numbers(own, "hidden")
        shapes = LogShapes.of(layers, hidden, hidden / BEST_HEAD, 4.0 * hidden)
        lost = effects.lost(shapes, scores=False)
        beyond = np.maximum(np.log2(hidden / layers / DEEP_ENOUGH), 0.0)
        size = np.log2(_numbers(own, "weights")) - lost - preference * beyond - 27.0
        share = _numbers(own, "value") / 100.0
        y = np.log(share / (1.0 - share))
        x = np.stack([np.ones_like(size), size, size**2], axis=1)
        total += float(np.sum((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2))
    return total
