"""Settings that say how a machine is modelled, and are no choice of a design.

A convention of counting, or what is assumed of a published module, has neither area nor energy of
its own: searched, the rosiest assumption would win (elector/data/assumptions.csv).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from elector.base.errors import InputError
from elector.base.table import DATA, read_csv
from transcode.space.codes import Space
from transcode.space.resolved import accelerator_settings

Fail = Callable[..., InputError]


@functools.cache
def assumptions() -> dict[tuple[str, str], str]:
    """(machine, key) -> why it is none of a design's choices."""
    names, lines = read_csv(DATA / "assumptions.csv")
    rows = [dict(zip(names, cells, strict=True)) for _, cells in lines]
    return {(row["machine"], row["key"]): row["reason"] for row in rows}


def check(space: Space, fail: Fail) -> None:
    """Raises for a setting that a space searches and that only says how a machine is modelled."""
    for setting in accelerator_settings(space):
        reason = assumptions().get((setting.schema, setting.key))
        if setting.searched and reason:
            raise fail(
                f"is no choice of a design: it {reason}; the best assumption would win",
                setting.where,
                hint="fix it",
            )
