"""A table of settings: which keys there are, and what their values mean."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

import numpy as np

from elector.base import quantity
from elector.base.errors import InputError
from elector.base.table import Column, Field, schema
from elector.describe.layered import as_number, layer_field, layer_keys
from elector.machines import MACHINES

Array = np.ndarray

#: A setting of a hybrid's unit or link; whether the hybrid has it is known later.
UNIT_KEY = re.compile(r"(units|links)\.[a-z0-9_-]+\.(?P<key>[a-z0-9_]+)")
#: Values of a column that are kept from table to table.
_FEW = 64


class SettingsTable:
    """Columns of equal length, parsed once for each distinct value."""

    def __init__(self, columns: Mapping[str, Column], size: int) -> None:
        self.columns, self.size = dict(columns), size
        for name, column in self.columns.items():
            if len(column) != size:
                raise InputError(f"has {len(column)} rows, the table {size}", field=name)
        for key in self.columns:
            self._require_known(key)

    def _require_known(self, key: str) -> None:
        if not is_known(key):
            names = [f"{s}.{k}" for s, keys in known_keys().items() for k in keys]
            raise InputError(
                "unknown key",
                field=key,
                value=key,
                allowed=layer_keys(key) or ["model", "accelerator", *names],
            )

    def parsed(self, key: str, field: Field) -> tuple[object, ...]:
        """The distinct values of a column, checked and in SI; None where not set.

        key : dotted name of the column.
        """
        return _read(key, field, self.columns[key].values)

    def used(self, key: str, field: Field, rows: Array) -> tuple[object, ...]:
        """As `parsed`, but None for what no row of `rows` has: machines differ in a key's range.

        rows : (N,) places of designs.
        """
        column = self.columns[key]
        there = np.bincount(column.codes[rows], minlength=len(column.values)) > 0
        return tuple(
            _read(key, field, (value,))[0] if some else None
            for value, some in zip(column.values, there, strict=True)
        )

    def at(self, key: str, field: Field, rows: Array, default: float) -> Array:
        """(D,) numbers of a column at `rows`; `default` where it is absent or not set.

        key : dotted name of the column.
        """
        if key not in self.columns:
            return np.full(rows.size, default)
        numbers = _kept_numbers if len(self.columns[key].values) <= _FEW else _numbers
        values = numbers(field.key, self.parsed(key, field), default)
        return values[self.columns[key].codes[rows]]


def _read(key: str, field: Field, values: tuple[object, ...]) -> tuple[object, ...]:
    """Values checked and in SI; what a few mean is kept, since a search asks in every batch."""
    if len(values) <= _FEW:
        try:
            return _kept(key, field, values, tuple(map(type, values)))
        except TypeError:  # a list as a value, which the field refuses
            pass
    return _parsed(key, field, values)


def _parsed(key: str, field: Field, values: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(None if value is None else field.parse(value, field=key) for value in values)


def _numbers(key: str, values: tuple[object, ...], default: float) -> Array:
    """Parsed values as numbers; `default` where not set."""
    return np.array([default if v is None else as_number(key, v) for v in values], dtype=float)


@functools.lru_cache(maxsize=4096)
def _kept(
    key: str, field: Field, values: tuple[object, ...], types: tuple[type, ...]
) -> tuple[object, ...]:
    """As `_parsed`; `types` tells 1 from True."""
    return _parsed(key, field, values)


_kept_numbers = functools.lru_cache(maxsize=4096)(_numbers)


@functools.cache
def is_known(key: str) -> bool:
    """Whether a column may be called so; a layer of a model or a unit of a hybrid included.

    key : name of the column.
    """
    space, _, short = key.partition(".")
    own = {"accelerator": UNIT_KEY.fullmatch(short), "model": layer_field(short)}.get(space)
    return bool(own) or key in ("model", "accelerator") or short in known_keys().get(space, ())


@functools.cache
def field_of(name: str) -> Field | None:
    """The row of a schema behind a dotted name, a unit's of a hybrid included; the first machine
    that has the key answers. None for what is no setting."""
    space, _, key = name.partition(".")
    if space == "accelerator":
        unit = UNIT_KEY.fullmatch(key)
        short = unit["key"] if unit else key
        machines = [schema(machine.schema) for machine in MACHINES.values()]
        return next((s[short] for s in (*machines, schema("link")) if short in s), None)
    if space not in ("model", "workload"):
        return None
    return schema(space).get(key) or (layer_field(key) if space == "model" else None)


def setting_shown(name: str, value: object) -> str:
    """A setting as people read it: numbers with their unit, `-` for none.

    name : dotted. value : as it was resolved, or its text as a table has it.
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    try:
        number = float(str(value))
    except ValueError:
        return str(value)
    field = field_of(name)
    return quantity.show(number, field.unit if field is not None and field.unit else "1")


@functools.cache
def known_keys() -> dict[str, tuple[str, ...]]:
    """Namespace -> its keys."""
    accelerator: dict[str, None] = {}
    for machine in MACHINES.values():
        accelerator.update(dict.fromkeys(schema(machine.schema)))
    return {
        "model": tuple(schema("model")),
        "accelerator": tuple(accelerator),
        "workload": tuple(schema("workload")),
    }
