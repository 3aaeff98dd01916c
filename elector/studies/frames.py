"""Tables of Python programs: DataFrames, dicts of lists or lists of records in, DataFrames out.

pandas is imported when a table comes back, so that a program that only simulates starts fast.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elector.base import arguments
from elector.base.errors import InputError
from elector.base.table import first_repeated
from elector.studies.sweep import SweepResult, run_sweep
from elector.studies.sweep_table import Kinds, SweepTable, table_of
from elector.technology import Technology

if TYPE_CHECKING:
    import pandas as pd


def evaluate(table: Any, *, technology: Technology | None = None) -> pd.DataFrame:
    """Costs of every row of a table, all of which must be readable.

    Parameters
    ----------
    table : a DataFrame, a dict of lists or a list of records, with the columns `model`,
        `accelerator` and any dotted setting; None or NaN keeps the default. `note.*` is passed
        through.
    technology : prices; the shipped tables by default.

    Returns the table with its results appended, nested ones dotted, and `notes`, `version`,
    `feasible`, `reason`, in the order and with the index of the rows: the columns of
    `elector sweep`, with None for what an infeasible row has not.
    Raises InputError for a column or value without meaning, naming the row.
    """
    frame, rows = _read(table)
    result = run_sweep(rows, technology)
    if result.errors:
        row, message = result.errors[0]
        raise InputError(f"row {row}: {message}")
    return _frame(result, frame).drop(columns="error")


def sweep(
    table: Any,
    *,
    technology: Technology | None = None,
    settings: bool = False,
    uncertainty: bool = False,
    samples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """As `elector sweep`: as `evaluate`, but a row that cannot be read fills the column `error`.

    settings : also say what every setting of a row was resolved to.
    uncertainty : also give the 90 % interval of each result in columns NAME_low and NAME_high.
    samples, seed : draws of constants and errors behind it (elector.studies.uncertainty).
    """
    from elector.studies.uncertainty import Sampling  # few ask for it

    settings = arguments.flag(settings, "settings")
    wanted = arguments.flag(uncertainty, "uncertainty")
    sampling = Sampling.of(technology, samples, seed) if wanted else None
    frame, rows = _read(table)
    return _frame(run_sweep(rows, technology, settings, sampling), frame)


def _read(table: Any) -> tuple[pd.DataFrame, SweepTable]:
    """The table as a DataFrame, and as a sweep takes it; rows are counted from 0."""
    import pandas as pd

    if not isinstance(table, pd.DataFrame | Mapping | Sequence) or isinstance(table, str):
        raise InputError(
            "must be a DataFrame, a dict of lists or a list of records",
            field="table",
            value=type(table).__name__,
        )
    try:
        frame = table if isinstance(table, pd.DataFrame) else pd.DataFrame(table, dtype=object)
    except (TypeError, ValueError) as error:
        raise InputError(f"is no table: {error}", field="table") from None
    header = [str(name) for name in frame.columns]
    if (twice := first_repeated(header)) is not None:
        raise InputError("column given twice", field=twice)
    cells = {name: [_plain(value) for value in frame.iloc[:, j]] for j, name in enumerate(header)}
    rows = table_of(cells, len(frame))
    if not len(frame):
        raise InputError("has no rows", field="table")
    return frame, rows


def _plain(value: object) -> Any:
    """A cell as a value of Python; None for what is missing."""
    if isinstance(value, np.generic):
        value = value.item()
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    if missing or type(value).__name__ in ("NAType", "NaTType"):
        return None
    return value if isinstance(value, str | int | float | bool) else str(value)


def _frame(result: SweepResult, given: pd.DataFrame) -> pd.DataFrame:
    """The result with the index of what was given."""
    import pandas as pd

    columns = dict(zip(result.header, zip(*result.records, strict=True), strict=True))
    series, kinds = {}, Kinds(result.header)
    for name, values in columns.items():
        if kinds.is_figure(name):
            series[name] = pd.Series(values, given.index, dtype="float64")
        elif name in given.columns and not kinds.is_result(name):
            series[name] = given[name]  # as it was given, numbers and categories included
        else:
            series[name] = pd.Series(values, given.index, dtype=object).infer_objects()
    return pd.DataFrame(series)


def validate(
    data: str | Path | None = None, *, only: str = "", technology: Technology | None = None
) -> pd.DataFrame:
    """Published figures beside what the simulator says: a row a case.

    Parameters
    ----------
    data : CSV of published figures; the shipped ones by default.
    only : the cases whose name contains this text.
    technology : prices; the shipped tables by default.

    Returns case, configuration, metric, published, simulated, unit, error (relative), tolerance,
    passed, verdict (ok | too few | in-sample | known miss | FAILED), evidence, verified, source
    and note.
    Raises InputError for a file that cannot be read and where no case is left.
    """
    import pandas as pd

    from elector.studies import validation

    data = None if data is None else arguments.path(data, "data")
    outcomes = validation.validate(
        data, only=arguments.text(only, "only"), technology=Technology.given(technology)
    )
    return pd.DataFrame([result.as_row() for result in outcomes])
