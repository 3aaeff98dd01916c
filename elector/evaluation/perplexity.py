"""What a number format costs in perplexity, by published scores (data/perplexity.csv).

The increase is the ratio of two perplexities on the same text, less one. Between two sizes of
models it is read off a line over the logarithm of their parameters. A smaller model than was
measured is never given the increase of a larger one: beyond half of the smallest, nothing is
known (NaN). A larger one keeps that of the largest.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from elector.base.table import DATA, read_rows
from elector.describe.numbers import SAME, formats, precisions

Array = np.ndarray
#: Settings whose formats have a price.
SETTINGS = ("weights", "kv_cache", "precision")
#: Bits from which on products and storage lose nothing that scores on text could show.
_WIDE = 16.0
#: How far below the smallest model that was measured a score is still believed.
_BELOW = 0.5


@dataclass(frozen=True, eq=False, repr=False)
class PerplexityScores:
    """Scores of one format. parameters : ascending. increase : of perplexity, over one."""

    parameters: Array
    increase: Array

    def at(self, parameters: Array) -> Array:
        """Increase for models of so many parameters; NaN where they are much smaller.

        parameters : (D,).
        """
        sizes = np.log(self.parameters)
        risen = np.interp(np.log(np.maximum(parameters, 1.0)), sizes, self.increase)
        return np.where(parameters < _BELOW * self.parameters[0], np.nan, risen)


@functools.cache
def scores() -> dict[tuple[str, str], PerplexityScores]:
    """(setting, format) -> what was published."""
    points_of: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in read_rows(DATA / "perplexity.csv"):
        ratio = float(row["score"]) / float(row["baseline"])
        key = row["setting"], row["format"]
        points_of.setdefault(key, []).append((float(row["parameters"]), ratio - 1.0))
    return {key: PerplexityScores(*np.array(sorted(points)).T) for key, points in points_of.items()}


def priced(setting: str, name: str) -> bool:
    """Whether a value of `workload.SETTING` loses nothing, or as much as was published.

    setting : name behind `workload.`. name : its value.
    """
    if name == SAME or (setting, name) in scores():
        return True
    return _wide(setting, name)


def _wide(setting: str, name: str) -> bool:
    """Whether values of 16 bits or more are multiplied, or stored."""
    if setting == "precision":
        return name in precisions() and precisions()[name].products.bits >= _WIDE
    return name in formats() and formats()[name].bits >= _WIDE


def _alike(name: str, other: str) -> bool:
    """Whether two storage formats round to the same numbers, but for their scales."""
    if name == other or not {name, other} <= set(formats()):
        return name == other
    a, b = formats()[name], formats()[other]
    return (a.kind, a.bits, a.significand) == (b.kind, b.bits, b.significand)


def ratios(
    weights: str, kv_cache: str, precision: str, parameters: Array
) -> dict[tuple[str, str], Array]:
    """(setting, format) -> (D,) perplexity over that in 16 bits; NaN where no score tells.

    Parameters as of `increase`. What loses nothing by itself is left out. What a precision stores
    by itself is in its own score, also where it is stored with more scales.
    """
    asked = {"weights": weights, "kv_cache": kv_cache, "precision": precision}
    own = precisions()[precision]
    itself = {"weights": own.layer_weights.name, "kv_cache": own.keys_values.name}
    lost: dict[tuple[str, str], Array] = {}
    for setting, name in asked.items():
        if setting in itself and _alike(name, itself[setting]):
            continue
        if (setting, name) in scores():
            lost[setting, name] = 1.0 + scores()[setting, name].at(parameters)
        elif not priced(setting, name):
            lost[setting, name] = np.full(parameters.shape, np.nan)
    return lost


def increase(weights: str, kv_cache: str, precision: str, parameters: Array) -> Array:
    """(D,) increase of perplexity over that in 16 bits; NaN where no score tells.

    weights, kv_cache, precision : formats of the workload. parameters : (D,) of the models.
    What several formats cost multiplies: each was measured alone.
    """
    total = np.ones(parameters.shape)
    for ratio in ratios(weights, kv_cache, precision, parameters).values():
        total = total * ratio
    return total - 1.0
