"""The JSON Schema of a file of accuracy rows, made of the columns that the reader knows."""

from __future__ import annotations

from typing import Any

from elector.studies.schemas import titled
from elector.studies.schemas_of_lists import NUMBER, PERHAPS, cell, rows
from transcode.accuracy.published_scores import FEATURES
from transcode.accuracy.user_rows import COLUMNS, EVIDENCE, MORE, NEEDED


def accuracy() -> dict[str, Any]:
    """The rows of a table of scores, a mapping of columns to texts each; a column may also be a
    setting by its dotted name."""
    written = {"type": ["string", "number"]}
    columns: dict[str, Any] = {name: written for name in (*COLUMNS, *MORE)}
    used: dict[str, Any] = {name: NUMBER for name in ("score", *FEATURES)}
    used |= {name: PERHAPS for name in ("std", "tokens", "tau_i", "tau_t")}
    used |= {"evidence": cell(EVIDENCE, empty=True)}
    left_out = {"properties": {"use": {"const": "no"}}, "required": ["use"]}
    settings = {r"^(model|accelerator|workload)\.[a-z0-9_.]+$": {"type": ["string", "number"]}}
    table = rows(
        columns,
        NEEDED,
        "a table of accuracies",
        patternProperties=settings,
        **{"if": left_out, "else": {"properties": used}},
    )
    return titled("accuracy", table)
