"""Which rows of a table cannot be read, found without evaluating each by itself.

Most mistakes are in one cell: a distinct value is checked once, however many rows have it. What
is left are rows whose values contradict one another; each distinct combination is looked for by
halving, first among what is only read, then, one structure after another, among what is
evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from elector.base.errors import InputError
from elector.base.table import Column, Field, distinct, schema
from elector.describe.formats import load_model
from elector.describe.layered import layer_field
from elector.evaluation.accelerators import Accelerator, load_accelerator
from elector.evaluation.path import evaluate
from elector.evaluation.resolve import resolve
from elector.evaluation.structures import combine

Array = np.ndarray
Columns = Mapping[str, Column]
Check = Callable[[Columns, int], object]


def unreadable(columns: Columns, size: int) -> dict[int, InputError]:
    """Row -> what is wrong with it, for every row of `size` that cannot be evaluated.

    columns : dotted name -> (D,) values.
    """
    wrong: dict[int, InputError] = {}
    left = np.ones(size, dtype=bool)
    for codes, errors in _bad_values(columns):
        bad = np.isin(codes, list(errors)) & left
        wrong.update({row: errors[int(codes[row])] for row in np.flatnonzero(bad).tolist()})
        left &= ~bad
    for look in (_unread, _unevaluated):
        rows = np.flatnonzero(left)
        if not rows.size:
            break
        key = combine([column.codes[rows] for column in columns.values()])
        _, first, index = distinct(key)
        errors = look(_taken(columns, rows[first]), first.size)
        bad = np.isin(index, list(errors))
        wrong.update({int(rows[i]): errors[int(index[i])] for i in np.flatnonzero(bad)})
        left[rows[bad]] = False
    return wrong


def _bad_values(columns: Columns) -> list[tuple[Array, dict[int, InputError]]]:
    """(codes by row, code -> what is wrong with its value) of the columns that have such."""
    models: dict[int, InputError] = {}
    if "model.ignore_keys" not in columns:  # which keys are read past is known row by row
        models = _refused(columns["model"].values, lambda value: load_model(str(value)))
    machines: dict[int, Accelerator] = {}
    wrong: dict[int, InputError] = {}
    for code, value in enumerate(columns["accelerator"].values):
        try:
            own = isinstance(value, Accelerator)
            machines[code] = value if own else load_accelerator(str(value))  # type: ignore[assignment]
        except InputError as error:
            wrong[code] = _bare(error)
    refused = [(columns["model"].codes, models), (columns["accelerator"].codes, wrong)]
    for key, column in columns.items():
        space, _, short = key.partition(".")
        if space == "accelerator" and short:
            refused.append(_bad_settings(key, column, columns["accelerator"].codes, machines))
        elif field := _field(space, short):
            refused.append((column.codes, _parsed(key, field, column.values)))
    return [(codes, errors) for codes, errors in refused if errors]


def _field(space: str, key: str) -> Field | None:
    """What a setting of the model or the workload may hold; None for what is not known."""
    if space not in ("model", "workload") or not key:
        return None
    return schema(space).get(key) or (layer_field(key) if space == "model" else None)


def _bad_settings(
    key: str, column: Column, of: Array, machines: Mapping[int, Accelerator]
) -> tuple[Array, dict[int, InputError]]:
    """As `_bad_values`, for a setting whose range differs between accelerators.

    of : (D,) code of the accelerator of each row.
    """
    wide = len(column.values)
    errors: dict[int, InputError] = {}
    codes = of * wide + column.codes
    for code in distinct(codes)[0].tolist():
        machine, value = machines.get(code // wide), column.values[code % wide]
        field = None if machine is None else machine.machine.fields.get(key.partition(".")[2])
        if field is not None:
            for error in _parsed(key, field, (value,)).values():
                errors[code] = error
    return codes, errors


def _parsed(key: str, field: Field, values: tuple[object, ...]) -> dict[int, InputError]:
    return _refused(values, lambda v: None if v is None else field.parse(v, field=key))


def _refused(values: tuple[object, ...], read: Callable[[object], object]) -> dict[int, InputError]:
    """Code of a value -> why it is refused."""
    errors: dict[int, InputError] = {}
    for code, value in enumerate(values):
        try:
            read(value)
        except InputError as error:
            errors[code] = _bare(error)
    return errors


def _bare(error: InputError) -> InputError:
    """The error without what it was raised from, which would keep whole tables in memory."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _unread(columns: Columns, size: int) -> dict[int, InputError]:
    """Row -> what is wrong with it, of rows that cannot be read."""
    errors: dict[int, InputError] = {}
    _halve(_read, columns, np.arange(size), errors)
    return errors


def _unevaluated(columns: Columns, size: int) -> dict[int, InputError]:
    """Row -> what is wrong with it, of rows that can be read, yet not evaluated.

    Structures are evaluated apart anyway: one that holds a bad row leaves the others alone.
    """
    errors: dict[int, InputError] = {}
    for group in list(resolve(columns, size)):
        _halve(evaluate, _taken(columns, group.rows), group.rows, errors)
    return errors


def _read(columns: Columns, size: int) -> None:
    """Settings are read and compared; nothing is evaluated."""
    for _ in resolve(columns, size):
        pass


def _halve(check: Check, columns: Columns, own: Array, errors: dict[int, InputError]) -> None:
    """Finds the rows that `check` refuses; `errors` gets their numbers, which `own` holds."""
    try:
        check(columns, own.size)
    except InputError as error:
        if own.size == 1:
            errors[int(own[0])] = _bare(error)
            return
        for half in (slice(0, own.size // 2), slice(own.size // 2, own.size)):
            _halve(check, _taken(columns, half), own[half], errors)


def _taken(columns: Columns, rows: Array | slice) -> dict[str, Column]:
    return {key: column.take(rows).compact() for key, column in columns.items()}
