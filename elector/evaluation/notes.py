"""What a result should say besides its figures: settings without effect, rules that were taken.

A note is a sentence and the designs it is said of (elector.machines.contract.Note). Those that
follow from what was asked come from `SOURCES`, a function each; those of a machine from its
`Activity.notes`. A sentence that begins with the name of a setting is about what was given.
"""

from __future__ import annotations

from collections.abc import Callable

from elector.evaluation import applies
from elector.evaluation.resolve import Group
from elector.machines.contract import Note

#: Each: a group of designs -> sentence -> what it is said of.
SOURCES: tuple[Callable[[Group], dict[str, Note]], ...] = (applies.of_group,)


def of_group(group: Group) -> dict[str, Note]:
    """Sentence -> the (D,) designs of a group it is said of."""
    found: dict[str, Note] = {}
    for source in SOURCES:
        found |= source(group)
    return found
