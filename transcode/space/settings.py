"""Settings that a space does not write: what expressions know of the designs all the same.

A design has a value for every setting of its model, accelerator and workload. Those that are
numbers may stand in objectives, constraints, `define` and `record` like a result of the design:
`latency_s * workload.batch`, or `serve.workload.batch` with several workloads.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping

import numpy as np

from elector.base.errors import InputError
from elector.base.table import Column, Field, schema
from elector.describe.formats import load_model
from elector.describe.layered import NAME
from elector.evaluation.accelerators import load_accelerator
from elector.evaluation.resolved import numbers_of
from elector.evaluation.settings import field_of
from transcode.space.codes import Space
from transcode.space.grammar import Expression

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


def require_written(
    filters: Iterable[Expression], written: Container[str], fail: Callable[..., InputError]
) -> None:
    """Raises where `where` names a setting that the space does not write."""
    for name in (name for e in filters for name in e.names if name not in written):
        if setting_field(name) is not None:
            raise fail(
                "is not written in this space, and where looks at designs before they are "
                "evaluated",
                "where",
                value=name,
                hint="constraints know every numeric setting; or write this one into the space",
            )


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
        numbers = numbers_of({**columns, **given}, size, list(keys.values()))
        values |= {name: numbers[key] for name, key in keys.items()}
    return values
