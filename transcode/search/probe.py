"""Designs from all over a space, looked at before a search."""

from __future__ import annotations

import numpy as np

from elector.base.errors import InputError
from transcode.engines import streams
from transcode.space import Space

#: Designs that are evaluated first: enough for names, units and the cost of one.
FIRST_PROBE = 64


def probe_designs(space: Space, count: int) -> np.ndarray:
    """(D, S) allowed designs from all over the space, the same for every seed and sampler.

    Every alternative is among the first ones, however few designs it has.

    count : most designs.
    """
    if space.cardinality <= streams.LARGEST_ENUMERATION:
        stream = streams.enumerate_all(space)
    else:
        stream = streams.random(space, 0)
    spread = stream.suggest(count)
    if len(spread) == 0:
        raise InputError(
            "rejects every design",
            file=space.source,
            field="where",
            value="; ".join(e.text for e in space.where),
        )
    rare = []
    for section in space.sections:
        for code in range(len(section.groups) if len(section.groups) > 1 else 0):
            changed = spread[: 16 * len(section.groups)].copy()
            changed[:, section.selector] = code
            for column in section.members[section.groups[code]]:
                changed[:, column] = np.arange(len(changed)) % space.parameters[column].size
            changed = space.canonical(changed)
            rare.append(changed[space.allowed(changed)][:2])
    return np.concatenate([*rare, spread])
