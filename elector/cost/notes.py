"""Notes of results: the sentences of elector.machines.contract.Note, filled in and by design."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from elector.base import quantity
from elector.machines.contract import Note

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Said:
    """A sentence said of the designs at `rows` (K,) of a table.

    numbers : name in braces -> (K,) values and their unit.
    """

    sentence: str
    rows: Array
    numbers: Mapping[str, tuple[Array, str]]

    def text(self, k: int) -> str:
        """The sentence for the `k`th of its designs."""
        shown = {n: quantity.show(float(v[k]), unit) for n, (v, unit) in self.numbers.items()}
        return self.sentence.format(**shown) if shown else self.sentence


def said(notes: Mapping[str, Note], rows: Array) -> list[Said]:
    """The notes of designs at (D,) `rows` of a table, without those that are said of none."""
    said_of = []
    for sentence, note in notes.items():
        at = np.flatnonzero(np.broadcast_to(note.where, rows.shape))
        if at.size:
            numbers = {n: (np.asarray(v)[at], unit) for n, (v, unit) in note.numbers.items()}
            said_of.append(Said(sentence, rows[at], numbers))
    return said_of


def sentences(notes: Iterable[Said], size: int) -> list[list[str]]:
    """The sentences of each of `size` designs, each once."""
    texts_of: list[dict[str, None]] = [{} for _ in range(size)]
    for note in notes:
        for k, row in enumerate(note.rows.tolist()):
            texts_of[row][note.text(k)] = None
    return [list(texts) for texts in texts_of]
