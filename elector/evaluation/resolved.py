"""Every setting a design was evaluated with, whoever decided it: the `settings` of a result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from elector.base.table import Column, Field, schema
from elector.describe.layered import LAYERS
from elector.describe.model import EXTRAS, HEAD_TYPES, Model, Models, one
from elector.describe.variants import kind_of
from elector.describe.workload import NUMBERS
from elector.evaluation.resolve import StructureGroup, resolve

Setting = dict[str, object]


def resolved(columns: Mapping[str, Column], size: int) -> list[dict[str, Setting]]:
    """Of each of `size` designs: dotted key -> {value, default}.

    A value is a bare number in the unit of its schema, text or a bool, such that giving it again
    changes nothing; None where nothing applies. `default` says that the design was not given the
    key: its model, its accelerator or the schema decided. Raises InputError as `evaluate` does.
    """
    settings_of: list[dict[str, Setting]] = [{} for _ in range(size)]
    for group in resolve(columns, size):
        for i, row in enumerate(group.rows.tolist()):
            values = {**_model(group, i), **_workload(columns, group, row, i), **_units(group, i)}
            for key, value in values.items():
                given = key in columns and columns[key][row] is not None
                settings_of[row][key] = {"value": value, "default": not given}
    return settings_of


def numbers_of(
    columns: Mapping[str, Column], size: int, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Name -> (size,) float: the numbers of `resolved`, of many designs at once; 1 and 0 for true
    and false, NaN where a design has none, or several.

    names : dotted keys whose values are numbers.
    """
    numbers = {name: np.full(size, np.nan) for name in names}
    for group in resolve(columns, size):
        for name, values in numbers.items():
            space, _, key = name.partition(".")
            if space == "model":
                values[group.rows] = _number_of_model(group.models, key)[group.pair]
            elif space == "workload":
                values[group.rows] = getattr(group.workload, key)[group.pair]
            elif key in group.machine.fields and key not in group.units.names:
                own, field = group.units.number(key), group.machine.fields[key]
                values[group.rows] = _where_there(own, field)
    return numbers


def _number_of_model(models: Models, key: str) -> np.ndarray:
    """(M,) one of the sizes of models; NaN where a model has none, or its layers several."""
    model, repeat = models.template, models.block["repeat"]
    if not model.blocks or any(block.head_types for block in model.blocks):
        return models.layers if key == "layers" and model.blocks else np.full(models.size, np.nan)
    if key in models.numbers and (key != "routing" or any(b.experts for b in model.blocks)):
        return _where_there(models.numbers[key], schema("model")[key])
    if key == "layers" and model.pattern:
        return repeat.sum(axis=0)
    if key == "dense_layers":
        return np.full(models.size, float(model.dense_layers or np.nan))
    sizes = {"layers": repeat, "feed_forward": models.feed_forward[:, 0]}
    values = sizes[key] if key in sizes else models.block.get(key, 0.0 * repeat)
    there = (repeat > 0) & (values > 0)
    first = np.take_along_axis(values, there.argmax(axis=0)[None], axis=0)[0]
    same = there.any(axis=0) & ((values == first) | ~there).all(axis=0)
    return np.where(same, first, np.nan)


def _where_there(values: np.ndarray, field: Field) -> np.ndarray:
    """The numbers, NaN below what the schema allows (see `typed`)."""
    return values if field.low is None else np.where(values < field.low, np.nan, values)


def _model(group: StructureGroup, i: int) -> dict[str, object]:
    """`model.*` of one design: its sizes, and those of each layer where they differ."""
    model = one(group.models, int(group.pair[i]))
    if not model.blocks:
        return {}
    if any(block.head_types for block in model.blocks):
        return _layered(model)
    sizes: dict[str, object] = {}
    for key, field in schema("model").items():
        if key == "layers" and group.models.template.pattern:
            values: tuple[object, ...] = (sum(block.repeat for block in model.blocks),)
        elif key == "layers":
            values = tuple(block.repeat for block in model.blocks)
        elif key in ("hidden", "heads", "kv_heads", "head_size"):
            values = tuple(getattr(block, key) for block in model.blocks)
        elif key in EXTRAS:
            values = tuple(getattr(block, key) for block in model.blocks if getattr(block, key))
        elif key in _SOMETIMES:
            values = _SOMETIMES[key](model)
        else:
            own = getattr(model, key)
            values = (own if isinstance(own, str) else typed(field, own),)
        if values:
            same = all(value == values[0] for value in values)
            sizes[f"model.{key}"] = values[0] if same else list(values)
    return sizes


def _pattern(model: Model) -> tuple[object, ...]:
    """The kinds of a model's layers, one behind the other; nothing where all are of one kind."""
    kinds = [kind_of(block) for block in model.blocks]
    if len(set(kinds)) < 2 or not model.pattern:
        return ()
    return (" ".join(kinds[place] for place in model.pattern),)


#: Key -> what is said of it, nothing in models that do not have it.
_SOMETIMES: dict[str, Callable[[Model], tuple[object, ...]]] = {
    "feed_forward": lambda m: tuple(b.feed_forward[0] for b in m.blocks if b.feed_forward),
    "pattern": _pattern,
    "routing": lambda m: (m.routing,) if any(block.experts for block in m.blocks) else (),
    "dense_layers": lambda m: (m.dense_layers,) if m.dense_layers else (),
    "ignore_keys": lambda m: (),
}


def _layered(model: Model) -> dict[str, object]:
    """A heterogeneous model, layer by layer."""
    layers = [block for block in model.blocks for _ in range(block.repeat)]
    sizes: dict[str, object] = {"model.layers": len(layers), "model.head": model.head}
    for number, block in enumerate(layers[:LAYERS], 1):
        start = f"model.layer{number}."
        sizes |= {f"{start}hidden": block.hidden, f"{start}heads": block.heads}
        kinds = [t for t, n in zip(HEAD_TYPES, block.head_types, strict=True) for _ in range(n)]
        sizes |= {f"{start}head{h}": kind for h, kind in enumerate(kinds, 1)}
        sizes |= {f"{start}feed_forward{s}": f for s, f in enumerate(block.feed_forward, 1)}
    return sizes


def _workload(
    columns: Mapping[str, Column], group: StructureGroup, row: int, i: int
) -> dict[str, object]:
    """`workload.*` of one design; `auto` and `native` show what they resolved to."""
    settings: dict[str, object] = {}
    for key, field in schema("workload").items():
        name = f"workload.{key}"
        if key in NUMBERS:
            settings[name] = typed(field, float(getattr(group.workload, key)[group.pair[i]]))
        elif key == "task":
            settings[name] = columns[name][row] if name in columns else None
        else:
            settings[name] = getattr(group.workload, key)
    return settings


def _units(group: StructureGroup, i: int) -> dict[str, object]:
    """`accelerator.*` of one design."""
    units, settings = group.units, dict[str, object]()
    for key, field in group.machine.fields.items():
        if key in units.names:
            names, codes = units.names[key]
            settings[f"accelerator.{key}"] = names[int(codes[i])]
        else:
            settings[f"accelerator.{key}"] = typed(field, float(units.number(key)[i]))
    return settings


def typed(field: Field, number: float) -> object:
    """A number as the schema types it; None where there is none, as a vocabulary of images."""
    if math.isnan(number) or (field.low is not None and number < field.low):
        return None
    if field.type == "bool":
        return number != 0
    whole = field.type == "int" or (np.floor(number) == number and abs(number) >= 1)
    return int(number) if whole else number
