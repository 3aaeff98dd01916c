"""Names of the tasks that an accuracy may be asked for: data/tasks.csv.

A search knows those of its user's own, too, whose rows it is given; the question about one design
knows none of these, so that a name which is none is a slip.
"""

from __future__ import annotations

from pathlib import Path

from elector.base.choices import choices, named_rows
from elector.base.errors import InputError

#: Endings of files that a model may be trained on, whose path then names the task.
FILES = (".csv", ".txt", ".md", ".rst", ".text")


def require_task(value: object) -> None:
    """Refuses what names no task, in capitals or not. Raises InputError.

    value : as it was given for `workload.task`; None for none.
    """
    known = named_rows("tasks.csv")
    names = [name for task, row in known.items() for name in (task, *choices(row["aliases"]))]
    text = "" if value is None else str(value).strip()
    if text and text.lower() not in names and Path(text).suffix.lower() not in FILES:
        raise InputError(
            "unknown task",
            field="workload.task",
            value=text,
            allowed=list(known),
            hint="or the path of a file that a model was trained on: .csv, .txt, .md, .rst",
        )
