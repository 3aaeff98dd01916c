"""One design of a front, by a weighted sum: how TransCODE chooses.

    sum over maximised results   weight value / largest
      + over minimised results   weight (1 - value / largest)

`largest` is the largest value on the front; of an accuracy, 100 points. TransCODE (Tuli and Jha
2023, arXiv 2303.14882) takes .5 for accuracy, .1 latency, .2 dynamic and .1 leakage energy, .1
area. With positive weights the best design of all lies on the front of the weighted results, so
choosing from that front loses nothing that another search for the sum could find.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from elector.base.errors import InputError
from transcode.runs.query import Front, Recorded, require


def weights_of(recorded: Recorded, text: str) -> dict[str, float]:
    """Weights written as `accuracy=0.5,latency_s=0.2`: result -> positive number.

    text : as `--weights` has it.
    """
    weights: dict[str, float] = {}
    for item in text.split(","):
        name, _, number = (part.strip() for part in item.partition("="))
        require(recorded, name, "--weights")
        if name in weights:
            raise InputError("named twice", field="--weights", value=name)
        try:
            weights[name] = float(number)
        except ValueError:
            weights[name] = math.nan
        if not 0.0 < weights[name] < math.inf:
            raise InputError(
                "needs a weight above 0",
                field="--weights",
                value=item.strip(),
                hint=f"write {name}=0.5",
            )
    return weights


def ranked(front: Front, weights: Mapping[str, float]) -> tuple[Front, np.ndarray]:
    """The front with the best weighted sum first, and the (F,) sums.

    Designs of equal sums keep their order. Raises InputError where a weight names no objective
    of the front.
    """
    maximised = {o.name: o.maximise for o in front.space.objectives}
    missing = [name for name in weights if name not in maximised]
    if missing:
        raise InputError(
            "is not an objective of this front",
            field="--weights",
            value=missing[0],
            allowed=tuple(maximised),
        )
    archive = front.archive
    sums = np.zeros(len(archive))
    for name, weight in weights.items():
        values = archive.results[name]
        largest = 100.0 if _points(name) else float(np.abs(values).max(initial=0.0)) or 1.0
        share = values / largest
        sums += weight * (share if maximised[name] else 1.0 - share)
    order = np.argsort(-sums, kind="stable")
    return replace(front, archive=archive.take(order)), sums[order]


def _points(name: str) -> bool:
    """Accuracies are in percent points, whichever workload they belong to."""
    return name.rpartition(".")[2] == "accuracy"


def best(front: Front) -> Front:
    """The first design of a front alone."""
    return replace(front, archive=front.archive.take(np.arange(min(1, len(front.archive)))))
