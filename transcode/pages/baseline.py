"""The design that a run is compared with: one of its own, or the first row of a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from elector.base.errors import InputError
from elector.base.table import read_csv, require_once
from transcode.runs import design, query, snapshot

OPTION = "--baseline"


@dataclass(frozen=True)
class Baseline:
    """name : in words. values : objective -> value in the unit of the run's objectives."""

    name: str
    values: Mapping[str, float]


def read_baseline(folder: Path, given: int | str | Path) -> Baseline:
    """The baseline that an id or a file names.

    Raises InputError where there is no such design, or a file lacks an objective of the run.

    given : id of a recorded design, or a file.
    """
    if not str(given):
        raise InputError("is empty", field=OPTION, hint="the id of a design, or a table")
    if str(given).isdecimal():
        number = int(str(given))
        chosen = query.settled(folder, lambda recorded: design.design(recorded, number, OPTION))
        if not chosen.feasible:
            raise InputError(f"is not feasible: {chosen.reason}", field=OPTION, value=number)
        names = [o.name for o in chosen.space.objectives]
        values = {name: chosen.results[name] for name in names}
        return Baseline(f"design {number}", {n: v for n, v in values.items() if v is not None})
    return _of_table(folder, Path(str(given)))


def _of_table(folder: Path, path: Path) -> Baseline:
    header, lines = read_csv(path, 50_000_000)
    require_once(header, path)
    if not lines:
        raise InputError("has a header but no rows", file=path)
    line, cells = lines[0]
    row = dict(zip(header, cells, strict=False))
    objectives: Mapping[str, str] = snapshot.taken(folder).manifest["space"]["objectives"]
    values: dict[str, float] = {}
    for name in objectives:
        text = row.get(name, row.get(name.rpartition(".")[2]))
        if text is None and name.startswith(("accuracy", "loss")):
            continue  # a table of elector sweep knows no accuracy
        if text is None:
            raise InputError("column is missing", file=path, field=name)
        try:
            values[name] = float(text)
        except ValueError:
            values[name] = math.nan
        if not math.isfinite(values[name]):
            raise InputError(f"line {line}: is no number", file=path, field=name, value=text)
    known = [row[name] for name in ("model", "accelerator") if row.get(name)]
    return Baseline(f"{' on '.join(known) or 'first row'} of {path.name}", values)
