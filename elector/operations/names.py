"""What reports, traces and errors call an operation and its layer.

Nothing is decided by these texts: a test replaces both functions and gets the same results.
"""

from __future__ import annotations

from elector.operations.roles import Place, Role, RowPart, layer_word, word


def operation(role: Role, part: RowPart, cross: bool, index: int, variant: str) -> str:
    """The name of an operation: the word that users' files have for it.

    cross : whether it is of attention over the encoder's output. variant : what tells operations of
        one role apart.
    """
    return word(role, part, cross, index, variant)


def layer(place: Place, part: RowPart) -> str:
    """The name of the part of the model it stands in."""
    return layer_word(place, part)
