"""Every setting of a space as the simulator will see it: given, of a base's file, or by default.

What is searched has several values. Axes: none; all of it is looked at once, before a search.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from elector.base.table import NEUTRAL, Field, Scalar, schema
from elector.describe.formats import load_model
from elector.describe.layered import NAME, layer_field
from elector.describe.layered import base as layered_base
from elector.describe.model import EXTRAS, Model
from elector.evaluation.accelerators import load_accelerator
from elector.machines.contract import Machine
from transcode.space.codes import Space
from transcode.space.layout import multiple
from transcode.space.parts import Parameter
from transcode.space.values import numbers

#: Most combinations that are run through to see whether a size follows from others.
_MOST = 1 << 16
_RELATED = ("model.hidden", "model.heads", "model.kv_heads", "model.head_size")


@dataclass(frozen=True)
class ResolvedSetting:
    """One setting of one alternative.

    name : dotted. where : the place in the space that messages name. schema, key : of elector; a
        unit of a hybrid has those of its own machine. field : its row.
    values : all it may take. given : whether the space says something of it.
    group, base : the alternative and its base; base "" for workloads and models.
    workload : the one of several workloads that sets it apart, else "".
    is_format : whether it names a number format. trains : whether the workload is training.
    """

    name: str
    where: str
    schema: str
    key: str
    field: Field
    values: tuple[Scalar | None, ...]
    given: bool
    group: int = 0
    base: str = ""
    workload: str = ""
    is_format: bool = False
    trains: bool = False

    @property
    def neutral(self) -> bool:
        """Whether its schema says that it cannot change an accuracy."""
        return self.field.accuracy == NEUTRAL

    @property
    def searched(self) -> bool:
        """Whether it takes several values."""
        return len(self.values) > 1

    @property
    def usual(self) -> Scalar | None:
        """The schema's default; None where another source decides."""
        return self.field.default


def _values(space: Space, parameter: Parameter) -> tuple[Scalar, ...]:
    """What a parameter can be; of a multiple, every product."""
    if parameter.parent < 0:
        return parameter.values
    parents = space.parameters[parameter.parent].values
    products = [multiple(p, factor) for p in parents for factor in parameter.values]
    return tuple(dict.fromkeys(products))


def model_settings(space: Space) -> Iterator[ResolvedSetting]:
    """What the space says of its models."""
    section = space.sections[0]
    for group, members in enumerate(section.members):
        for column in members:
            parameter = space.parameters[column]
            key = parameter.name.removeprefix("model.")
            own = layer_field(key)
            field = own or schema("model")[key]
            yield ResolvedSetting(
                parameter.name,
                parameter.name,
                "layer" if own else "model",
                key,
                field,
                _values(space, parameter),
                True,
                group,
            )


def base_settings(space: Space) -> Iterator[ResolvedSetting]:
    """What the bases of the models bring where the space says nothing of it.

    kv_heads and head_size have as `default` what no grouping and no other width would be.
    """
    section = space.sections[0]
    bases = space.parameters[section.selector].values
    known = {**schema("model"), **schema("model_file")}
    for base, group in zip(bases, section.groups, strict=True):
        given = {space.parameters[column].name for column in section.members[group]}
        for key, value, usual in _described(str(base)):
            if f"model.{key}" in given or key not in known:
                continue
            own = known[key]
            field = Field(own.key, own.type, own.unit, usual, None, None, (), own.description)
            table = "model" if key in schema("model") else "model_file"
            yield ResolvedSetting(
                f"model.{key}", "model", table, key, field, (value,), False, group, str(base)
            )


def _described(base: str) -> Iterator[tuple[str, Scalar, Scalar | None]]:
    """Key, value and usual value of what describes a model."""
    model = layered_base() if base == NAME else load_model(base)
    yield "family", model.family, None
    for own in fields(Model):
        value = getattr(model, own.name)
        if own.name not in ("name", "family", "source") and isinstance(value, str | int | float):
            yield own.name, value, None
    for block in model.blocks[:1]:
        yield "kv_heads", block.kv_heads, block.heads
        yield "head_size", block.head_size, block.hidden // block.heads
    for name in EXTRAS:
        yield name, max((getattr(block, name) for block in model.blocks), default=0), 0


def accelerator_settings(space: Space) -> Iterator[ResolvedSetting]:
    """Every setting of every accelerator, units of hybrids included."""
    section = space.sections[1]
    bases = space.parameters[section.selector].values
    for base, group in zip(bases, section.groups, strict=True):
        loaded = load_accelerator(str(base))
        machine = loaded.machine
        own = {space.parameters[c].name: space.parameters[c] for c in section.members[group]}
        for key, field in machine.fields.items():
            name = f"accelerator.{key}"
            usual = loaded.settings.get(key, field.default)
            values: tuple[Scalar | None, ...] = (None if usual is None else field.parse(usual),)
            if name in own:
                values = _values(space, own[name])
            table, short = _schema_of(machine, key)
            yield ResolvedSetting(
                name,
                name if name in own else f"accelerator {base}: {key}",
                table,
                short,
                field,
                values,
                name in own,
                group,
                str(base),
                is_format=key in machine.natives,
            )


def _schema_of(machine: Machine, key: str) -> tuple[str, str]:
    """Schema of a setting and its key there."""
    if machine.hybrid is None:
        return machine.schema, key
    space, name, short = key.split(".", 2)
    if space == "links":
        return "link", short
    unit = next(m.machine for m in machine.hybrid.members if m.name == name)
    return unit.schema, short


def workload_settings(space: Space) -> Iterator[ResolvedSetting]:
    """Every setting of every workload."""
    searched = {p.name: p for p in space.parameters if p.name.startswith("workload.")}
    for workload, own in space.workloads.items():
        mode = own.get("workload.mode") or _first(searched, "workload.mode") or "inference"
        for key, field in schema("workload").items():
            name, where = f"workload.{key}", f"workload.{key}"
            values: tuple[Scalar | None, ...] = (field.default,)
            if name in searched:
                values = _values(space, searched[name])
            if name in own:
                values, where = (own[name],), f"workloads.{workload}.{key}"
            yield ResolvedSetting(
                name,
                where,
                "workload",
                key,
                field,
                values,
                name in searched or name in own,
                workload=workload if name in own else "",
                trains=str(mode) == "training",
            )


def _first(parameters: dict[str, Parameter], name: str) -> Scalar | None:
    """The value, or `training` where that is among several."""
    if name not in parameters:
        return None
    values = parameters[name].values
    return "training" if "training" in values else values[0]


def follows(space: Space, setting: ResolvedSetting) -> bool:
    """Whether kv_heads always equal heads, or head_size hidden // heads."""
    section = space.sections[0]
    own = [c for c in section.members[setting.group] if space.parameters[c].name in _RELATED]
    sizes = [space.parameters[c].size for c in own]
    if math.prod(sizes) > _MOST:
        return False
    bases = space.parameters[section.selector].values
    grid = np.array(list(itertools.product(*map(range, sizes))), dtype=np.int32)
    for code, group in enumerate(section.groups):
        if group != setting.group:
            continue
        codes = np.zeros((len(grid), len(space.parameters)), dtype=np.int32)
        codes[:, section.selector] = code
        codes[:, own] = grid
        block = load_model(str(bases[code])).blocks[0]
        sized = {
            "model.hidden": np.array([float(block.hidden)]),
            "model.heads": np.array([float(block.heads)]),
        }
        for name in _RELATED:
            if any(space.parameters[c].name == name for c in own):
                sized[name] = numbers(space.column(name, codes))
        hidden, heads = (sized[name] for name in _RELATED[:2])
        wanted = heads if setting.key == "kv_heads" else np.floor(hidden / heads)
        if np.any(sized[setting.name] != wanted):
            return False
    return True
