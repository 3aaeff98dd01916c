"""What would help a design that does not fit: attention that keeps no scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from elector.base import quantity
from elector.base.table import Column
from elector.cost.pricing import Cost

Array = np.ndarray
#: Share that has to be saved for a design that does not fit anyway.
LEAST = 0.1
KEY, BEST = "workload.attention", "flash"
#: Evaluates columns with groups.
Evaluate = Callable[[Mapping[str, Column], int], Cost]


def attention(cost: Cost, columns: Mapping[str, Column], evaluate: Evaluate) -> dict[int, str]:
    """Row -> what flash attention would need, for designs whose main memory is too small.

    Designs that use it already, or would hardly need less and not fit either, have no entry.

    evaluate : the evaluation of columns of settings.
    """
    short = np.array([cost.short_of_memory(i) for i in range(cost.size)])
    given = columns.get(KEY)
    if given is not None:
        short &= given.map(lambda value: value != BEST, dtype=bool)
    rows = np.flatnonzero(short)
    if not rows.size:
        return {}
    kept = {key: column.take(rows).compact() for key, column in columns.items()}
    other = evaluate({**kept, KEY: Column.constant(BEST, rows.size)}, rows.size)
    now, then = _total(cost)[rows], _total(other)
    return {
        int(row): f"{KEY}={BEST} needs {quantity.show(float(then[k]), 'byte')}"
        + (" and fits" if other.feasible[k] else "")
        for k, row in enumerate(rows)
        if then[k] < now[k] * (1.0 if other.feasible[k] else 1.0 - LEAST)
    }


def _total(cost: Cost) -> Array:
    """(D,) bytes of main memory that a step needs."""
    total = np.zeros(cost.size)
    for size in cost.groups["memory_bytes"].values():
        total = total + size
    return total
