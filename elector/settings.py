"""A table of settings: which keys there are, and what their values mean."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

import numpy as np

from elector.errors import InputError
from elector.layered import as_number, layer_field, layer_keys
from elector.machines import MACHINES
from elector.table import Column, Field, schema

Array = np.ndarray

#: A setting of a hybrid's unit or link; whether the hybrid has it is known later.
UNIT_KEY = re.compile(r"(units|links)\.[a-z0-9_-]+\.(?P<key>[a-z0-9_]+)")


class Table:
    """Columns of equal length, parsed once for each distinct value."""

    def __init__(self, columns: Mapping[str, Column], size: int) -> None:
        self.columns, self.size = dict(columns), size
        for name, column in self.columns.items():
            if len(column) != size:
                raise InputError(f"has {len(column)} rows, the table {size}", field=name)
        self._parsed: dict[tuple[str, int, int], object] = {}
        for key in self.columns:
            self._require_known(key)

    def _require_known(self, key: str) -> None:
        if not is_known(key):
            names = [f"{s}.{k}" for s, keys in known_keys().items() for k in keys]
            raise InputError("unknown key", field=key, value=key,
                             allowed=layer_keys(key) or ["model", "accelerator", *names])

    def parsed(self, key: str, field: Field) -> tuple[object, ...]:
        """The distinct values of a column, checked and in SI; None where not set."""
        values = self.columns[key].values
        try:
            return _parsed(key, field, values, tuple(map(type, values)))
        except TypeError:  # a list as a value: refused below
            return tuple(self._value(key, field, code) for code in range(len(values)))

    def used(self, key: str, field: Field, rows: Array) -> tuple[object, ...]:
        """As `parsed`, but None for what no row of `rows` has: machines differ in a key's range."""
        column = self.columns[key]
        there = np.bincount(column.codes[rows], minlength=len(column.values)) > 0
        return tuple(
            self._value(key, field, code) if there[code] else None for code in range(there.size)
        )

    def _value(self, key: str, field: Field, code: int) -> object:
        place = (key, id(field), code)
        if place not in self._parsed:
            value = self.columns[key].values[code]
            try:
                found = None if value is None else field.parse(value, field=key)
            except InputError as error:
                raise error.at(field=key) from None
            self._parsed[place] = found
        return self._parsed[place]

    def at(self, key: str, field: Field, rows: Array, default: float) -> Array:
        """(D,) numbers of a column at `rows`; `default` where it is absent or not set."""
        if key not in self.columns:
            return np.full(rows.size, default)
        parsed = self.parsed(key, field)
        return _as_numbers(field.key, parsed, default)[self.columns[key].codes[rows]]


# A search asks for the same few values in every batch: what they mean is kept.


@functools.lru_cache(maxsize=4096)
def _parsed(
    key: str, field: Field, values: tuple[object, ...], types: tuple[type, ...]
) -> tuple[object, ...]:
    """Values checked and in SI; `types` tells 1 from True."""
    return tuple(None if v is None else field.parse(v, field=key) for v in values)


@functools.lru_cache(maxsize=4096)
def _as_numbers(key: str, values: tuple[object, ...], default: float) -> Array:
    """Parsed values as numbers; `default` where not set."""
    return np.array([default if v is None else as_number(key, v) for v in values], dtype=float)


@functools.cache
def is_known(key: str) -> bool:
    """Whether a column may be called so; a layer of a model or a unit of a hybrid included."""
    space, _, short = key.partition(".")
    own = {"accelerator": UNIT_KEY.fullmatch(short), "model": layer_field(short)}.get(space)
    return bool(own) or key in ("model", "accelerator") or short in known_keys().get(space, ())


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
