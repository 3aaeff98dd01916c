"""What a result should say besides its figures: settings without effect, rules that were taken.

A note is a sentence and the designs it is said of (elector.machines.contract.Note). Those that
follow from what was asked come from `SOURCES`, a function each; those of a machine from its
`Activity.notes`. A sentence that begins with the name of a setting is about what was given.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from elector.describe.numbers import storage_note
from elector.evaluation import applies
from elector.evaluation.resolve import Group
from elector.machines.contract import Note


def narrow_states(group: Group) -> dict[str, Note]:
    """A step that trains weights of few bits without a wider copy of them."""
    text = storage_note(group.workload.format) if group.workload.training else ""
    return {text: Note(np.ones(group.rows.size, dtype=bool))} if text else {}


def packed(group: Group) -> dict[str, Note]:
    """What is stored in a format of its own, and what is not."""
    f = group.workload.format
    if f.packed is None or not (group.models.template.blocks or group.models.template.gemms):
        return {}
    text = (
        f"the matrices of layers are stored in {f.packed.name}, {8.0 * f.packed.width:.4g} bits a "
        f"weight with scales; embeddings, heads, norms and biases stay in {f.weights.name}"
    )
    return {text: Note(np.ones(group.rows.size, dtype=bool))}


def predicted(group: Group) -> dict[str, Note]:
    """How many positions of a sequence a masked-LM head sees in training: not all of them."""
    workload = group.workload
    if group.models.template.head != "masked-lm" or not workload.training:
        return {}
    numbers = {
        "predicted": (workload.predictions[group.pair], "1"),
        "length": (workload.sequence_length[group.pair], "1"),
    }
    text = (
        "the masked-LM head trains on {predicted} of the {length} positions of a sequence "
        "(workload.predictions)"
    )
    return {text: Note(np.ones(group.rows.size, dtype=bool), numbers)}


def of_the_model(group: Group) -> dict[str, Note]:
    """What the reader of a model's file has to say."""
    return {text: Note(where) for text, where in group.said.items()}


#: Each: a group of designs -> sentence -> what it is said of.
SOURCES: tuple[Callable[[Group], dict[str, Note]], ...] = (
    applies.of_group,
    of_the_model,
    narrow_states,
    packed,
    predicted,
)


def of_group(group: Group) -> dict[str, Note]:
    """Sentence -> the (D,) designs of a group it is said of."""
    found: dict[str, Note] = {}
    for source in SOURCES:
        found |= source(group)
    return found
