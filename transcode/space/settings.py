"""Settings that a space does not write: what expressions know of the designs all the same.

A design has a value for every setting of its model, accelerator and workload. Those that are
numbers may stand in objectives, constraints, `define` and `record` like a result of the design:
`latency_s * workload.batch`, or `serve.workload.batch` with several workloads.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from pathlib import Path

import numpy as np

from elector.base.errors import InputError
from elector.base.table import Column, Field, schema
from elector.describe.formats import load_model
from elector.describe.layered import NAME
from elector.evaluation.accelerators import load_accelerator
from elector.evaluation.resolved import numbers_of
from elector.evaluation.settings import field_of
from transcode.space.codes import Space
from transcode.space.syntax import Expression
from transcode.space.values import numbers

_SPACES = ("model", "accelerator", "workload")
_NUMBERS = ("int", "float", "bool")


def setting_field(name: str) -> Field | None:
    """The row of a schema behind the name of a setting; None for what is none.

    name : dotted, with `WORKLOAD.` in front where it is that of one of several workloads.
    """
    first, _, rest = name.partition(".")
    if first in _SPACES:
        return field_of(name)
    return field_of(rest) if rest.startswith("workload.") else None


def is_number(name: str) -> bool:
    """Whether a name is that of a setting whose values are numbers."""
    field = setting_field(name)
    return field is not None and field.type in _NUMBERS


def unwritten(space: Space) -> list[str]:
    """Names of all numeric settings of the designs of a space that it does not write itself.

    A setting of the workload that several workloads have apart needs the name of one.
    """
    bases = [[str(b) for b in space.parameters[s.selector].values] for s in space.sections[:2]]
    names: dict[str, None] = {}
    if any(base == NAME or load_model(base).blocks for base in bases[0]):
        names |= {f"model.{k}": None for k, f in schema("model").items() if f.type in _NUMBERS}
    for base in bases[1]:
        fields = load_accelerator(base).machine.fields
        names |= {f"accelerator.{k}": None for k, f in fields.items() if f.type in _NUMBERS}
    keys = [f"workload.{k}" for k, f in schema("workload").items() if f.type in _NUMBERS]
    apart = {key for own in space.workloads.values() for key in own}
    names |= {key: None for key in keys if key not in apart}
    names |= {f"{w}.{key}": None for w in space.workloads if w for key in keys}
    return [name for name in names if name not in space.names]


def require_written(
    filters: Iterable[Expression], known: Container[str], file: Path | None
) -> None:
    """Refuses settings under `where` that the space does not write: it looks at designs before
    they are evaluated. Raises InputError.

    filters : the conditions. known : names of what the space writes.
    """
    for name in (name for condition in filters for name in condition.names):
        if name not in known and setting_field(name) is not None:
            raise InputError(
                "is not written in this space, and where looks at designs before they are "
                "evaluated",
                file=file,
                field="where",
                value=name,
                hint="constraints know every numeric setting; or write this one into the space",
            )


def values_of(
    space: Space, names: Iterable[str], columns: Mapping[str, Column], size: int
) -> dict[str, np.ndarray]:
    """Name -> (size,) float, the settings as they are resolved; NaN where a design has none.

    names : of settings that the space does not write. columns : the designs, decoded.
    """
    by_workload: dict[str, list[str]] = {}
    for name in names:
        first = name.partition(".")[0]
        workload = next(iter(space.workloads)) if first in _SPACES else first
        by_workload.setdefault(workload, []).append(name)
    values: dict[str, np.ndarray] = {}
    for workload, own in by_workload.items():
        given = {k: Column.constant(v, size) for k, v in space.workloads[workload].items()}
        keys = {name: name.removeprefix(f"{workload}.") if workload else name for name in own}
        resolved = numbers_of({**columns, **given}, size, list(keys.values()))
        values |= {name: resolved[key] for name, key in keys.items()}
    return values


def partly_written(space: Space, names: Iterable[str]) -> list[str]:
    """Those of the names whose numbers only some alternatives of the space write.

    names : of settings that the space writes, dotted.
    """
    nothing = np.zeros((0, len(space.parameters)), dtype=np.int32)
    return [n for n in names if is_number(n) and None in space.column(n, nothing).values]


def numbers_of_all(space: Space, name: str, columns: Mapping[str, Column]) -> np.ndarray:
    """(D,) what expressions compare of a setting that the space writes; texts or floats.

    Where the alternative of a design does not write it, the number is the one it resolves to, as
    in a space that does not write it at all; NaN where the design has none.

    name : dotted. columns : the designs, decoded.
    """
    column = columns[name]
    values = numbers(column)
    if None not in column.values or not is_number(name):
        return values
    rows = np.flatnonzero(np.isnan(values))
    if len(rows):
        own = {key: every.take(rows).compact() for key, every in columns.items()}
        values[rows] = values_of(space, [name], own, len(rows))[name]
    return values
