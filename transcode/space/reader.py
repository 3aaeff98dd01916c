"""A space written in YAML -> `Space`, with everything checked that can be without simulating.

The keys are those of `_KEYS`; each parameter is a plain value, a list, or a mapping
`{low, high, steps, log}` or `{multiple_of, choices}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from elector.base import arguments, paths, units
from elector.base.errors import InputError
from elector.base.spelling import require_text
from elector.base.table import DATA, Field, Scalar, read_csv, schema
from elector.describe.layered import layer_field
from elector.evaluation.accelerators import load_accelerator
from elector.evaluation.resolve import AUTO
from transcode.accuracy import AccuracySettings
from transcode.accuracy.source_settings import read as read_accuracy
from transcode.space import decisive, effects, grammar, layers, pricing
from transcode.space.codes import Space
from transcode.space.definitions import define
from transcode.space.files import find, read
from transcode.space.layout import multiple
from transcode.space.parts import Objective, Parameter, Section, labelled
from transcode.space.phases import RUN, phases_of
from transcode.space.results import SHARED, names_of, quantities, require_reachable
from transcode.space.settings import is_number, require_written, setting_field
from transcode.space.values import fraction, is_multiple, levels, twice

#: Keys of a space, of the table that its JSON Schema is made of; `extends` is followed before.
_KEYS = tuple(
    cells[0] for _, cells in read_csv(DATA / "space_keys.csv")[1] if cells[0] != "extends"
)
#: Levels of a range without steps: finer than any constant of the simulator is known.
RESOLUTION = 1024
#: Most steps of a range, and most choices.
_MOST = 65_536
#: Settings of the workload that belong to the machine that runs it.
STACK = ("implementation", "optimizer_kernels")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
#: What a plain result is called: words, dotted; parts of a machine may hold spaces.
_DOTTED = re.compile(r"[A-Za-z]\w*(\.\w[\w-]*( \w[\w-]*)*)*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def load(source: str | Path | Mapping[str, object]) -> Space:
    """The space in a file, of a shipped name, or already read.

    source : a file, a name, or the mapping such a file holds.
    """
    if isinstance(source, Mapping):
        require_text(source)
        return _SpaceReader(dict(source), None).space("space")
    path = find(arguments.path(source, "space", "a file, the name of a shipped space or a mapping"))
    return _SpaceReader(read(path), path).space("space" if paths.is_pipe(path) else path.stem)


@dataclass
class _SpaceReader:
    """Reads one space; every message carries the file and the dotted field."""

    data: dict[str, object]
    file: Path | None
    parameters: list[Parameter] = field(default_factory=list)

    def fail(self, problem: str, where: str, **more: Any) -> InputError:
        return InputError(problem, file=self.file, field=where, **more)

    def space(self, default_name: str) -> Space:
        for key in self.data:
            if key not in _KEYS:
                raise self.fail("unknown key", "space", value=key, allowed=_KEYS)
        for key in ("model", "accelerator"):
            if key not in self.data:
                raise self.fail("is missing", key, hint=f"{key}: NAME, or a mapping with base")
        sections = (
            self.section("model"),
            self.section("accelerator"),
            self.workload_section(),
        )
        self.parameters = labelled(self.parameters)
        workloads = self.workloads()
        accuracy = read_accuracy(self.data.get("accuracy", {}), self.file, self.fail)
        objectives = self.objectives(accuracy)
        space = Space(
            name=self.name(default_name),
            parameters=tuple(self.parameters),
            sections=sections,
            workloads=workloads,
            run=phases_of(self.data.get(RUN), workloads, self.fail),
            objectives=objectives,
            define=self.define([*workloads, *accuracy.names], objectives),
            accuracy=accuracy,
            source=self.file,
        )
        return self.conditions(space)

    def define(
        self, known: list[str], objectives: tuple[Objective, ...]
    ) -> dict[str, grammar.Expression]:
        names = [*known, *(p.name for p in self.parameters)]
        return define(self.data.get("define", {}), [o.name for o in objectives], names, self.file)

    def name(self, default: str) -> str:
        name = self.data.get("name", default)
        if isinstance(name, bool) or not isinstance(name, str | int):
            raise self.fail("must be text", "name", value=name)
        if not _NAME.fullmatch(name := str(name)):
            words = "a name is letters, digits, dot, dash, a hundred at most"
            raise self.fail(words, "name", value=name)
        return name

    # ---- parameters

    def section(self, key: str) -> Section:
        written = self.data[key]
        entries = written if isinstance(written, list) else [written]
        if not entries:
            raise self.fail("has no choice", key)
        selector = len(self.parameters)
        self.parameters.append(Parameter(key, key, (), unit="text"))
        bases: list[Scalar] = []
        groups: list[int] = []
        members: list[tuple[int, ...]] = []
        for group, entry in enumerate(entries):
            where = key if len(entries) == 1 else f"{key}[{group}]"
            names, settings = self.alternative(entry, where)
            if key == "model" and layers.is_layered(names):
                settings = layers.expanded(settings, where, self.fail)
            bases += names
            groups += [group] * len(names)
            columns = self.settings(key, where, group, settings, self.fields(key, names))
            members.append(columns)
        self.parameters[selector] = Parameter(key, key, tuple(bases), unit="text")
        return Section(selector, tuple(groups), tuple(members))

    def alternative(self, entry: object, where: str) -> tuple[list[str], dict[str, object]]:
        """Bases and settings of one entry: a name, or a mapping with a base."""
        settings = dict(entry) if isinstance(entry, dict) else {"base": entry}
        if "base" not in settings:
            raise self.fail("has no base", where, hint="base: encoder, or base: systolic")
        base = settings.pop("base")
        names = base if isinstance(base, list) else [base]
        if not names:
            raise self.fail("has no choice", f"{where}.base")
        for name in names:
            if not isinstance(name, str) or not name:
                raise self.fail("a base is a name or a file", f"{where}.base", value=name)
        if repeated := twice(names):
            raise self.fail("is given twice", f"{where}.base", value=repeated[0])
        return [paths.beside(str(name), self.file) for name in names], settings

    def fields(self, key: str, bases: list[str]) -> dict[str, Field]:
        """What may be set: what every base of the alternative knows."""
        if key == "model":
            return schema("model")
        try:
            machines = [load_accelerator(base).machine for base in bases]
        except InputError as error:
            raise error.at(file=self.file, field=key) from None
        known = [machine.fields for machine in machines]
        fields = {k: f for k, f in known[0].items() if all(k in other for other in known)}
        stacks = [
            s
            for s in machines[0].implementations
            if all(s in machine.implementations for machine in machines)
        ]
        if len(stacks) > 1:
            fields |= {f"workload.{name}": schema("workload")[name] for name in STACK}
            fields["workload.implementation"] = replace(
                schema("workload")["implementation"], choices=(AUTO, *stacks)
            )
        return fields

    def settings(
        self, key: str, where: str, group: int, written: dict[str, object], known: dict[str, Field]
    ) -> tuple[int, ...]:
        """Appends the parameters of one alternative; returns their columns."""
        columns: dict[str, int] = {}
        for name in sorted(written, key=lambda n: is_multiple(written[n])):  # parents first
            own = known.get(name) or (layer_field(name) if key == "model" else None)
            if own is None:
                raise self.fail("unknown key", where, value=name, allowed=known)
            at = f"{where}.{name}"
            parent = self.parent(written[name], at, columns, name)
            values, scale = self.values(written[name], own, at, parent >= 0)
            if parent >= 0:
                self.check_products(self.parameters[parent], values, own, at)
            columns[name] = len(self.parameters)
            self.parameters.append(
                Parameter(
                    name=name if name.startswith("workload.") else f"{key}.{name}",
                    label=f"{key}.{name}",
                    values=values,
                    group=group,
                    parent=parent,
                    scale=scale,
                    unit="text" if own.type in ("choice", "text") else own.unit or "1",
                )
            )
        if key == "model":
            for name, column in columns.items():
                needs = layers.needs(name, columns)
                if needs is not None:
                    self.parameters[column] = replace(self.parameters[column], needs=needs)
        return tuple(columns[name] for name in columns)

    def parent(self, written: object, at: str, columns: dict[str, int], name: str) -> int:
        if not is_multiple(written):
            return -1
        assert isinstance(written, dict)
        of = written["multiple_of"]
        if not isinstance(of, str) or of not in columns or of == name:
            plain = [n for n, c in columns.items() if self.parameters[c].parent < 0]
            raise self.fail("is not a parameter here", f"{at}.multiple_of", value=of, allowed=plain)
        if self.parameters[columns[of]].parent >= 0:
            raise self.fail("is itself a multiple", f"{at}.multiple_of", value=of)
        return columns[of]

    def values(
        self, written: object, known: Field, at: str, factors: bool
    ) -> tuple[tuple[Scalar, ...], str]:
        """Checked values of a parameter, and its scale."""
        if factors:  # what the parent is multiplied by has no unit and no bounds of its own
            known = Field(known.key, "float", "1", None, None, None, (), known.description)
        if isinstance(written, dict):
            self.require_keys(written, at)
            if "low" in written or "high" in written:
                return self.range(written, known, at)
            if "choices" not in written:
                raise self.fail("needs choices, or low and high", at)
            written, at = written["choices"], f"{at}.choices"
        choices = written if isinstance(written, list) else [written]
        if not choices:
            raise self.fail("has no choice", at)
        self.few(len(choices), "choices", at)
        if factors:
            choices = [fraction(choice) for choice in choices]
        values = [self.value(choice, known, at) for choice in choices]
        if repeated := twice(values):
            raise self.fail("is given twice", at, value=repeated[0])
        return tuple(values), "choice"

    def require_keys(self, written: dict[str, object], at: str) -> None:
        allowed = ("choices", "high", "log", "low", "multiple_of", "steps")
        for key in written:
            if key not in allowed:
                raise self.fail("unknown key", at, value=key, allowed=allowed)

    def few(self, count: int, what: str, at: str) -> None:
        if count > _MOST:
            raise self.fail(f"has {count:,} {what}, {_MOST:,} are the most", at)

    def value(self, written: object, known: Field, at: str) -> Scalar:
        if written is None or isinstance(written, dict | list):
            raise self.fail("is not a value", at, value=written)
        parsed = known.parse(written, file=self.file, field=at)
        return paths.beside(str(parsed), self.file) if known.key == "sparsity" else parsed

    def range(
        self, written: dict[str, object], known: Field, at: str
    ) -> tuple[tuple[Scalar, ...], str]:
        """Values of {low, high, steps, log}."""
        if known.type not in ("int", "float"):
            raise self.fail("is not a number: give choices", at)
        if "choices" in written:
            raise self.fail("has both choices and a range", at)
        ends = []
        for end in ("low", "high"):
            if end not in written:
                raise self.fail("is missing", f"{at}.{end}")
            ends.append(float(self.value(written[end], known, f"{at}.{end}")))
        log = written.get("log", False)
        if not isinstance(log, bool):
            raise self.fail("must be true or false", f"{at}.log", value=log)
        if ends[0] >= ends[1]:
            raise self.fail("low must be below high", at, value=written["low"])
        if log and ends[0] <= 0:
            raise self.fail("must be positive on a log scale", f"{at}.low", value=written["low"])
        steps = self.steps(written.get("steps"), f"{at}.steps")
        whole = known.type == "int"
        grid = levels(ends[0], ends[1], steps or RESOLUTION, log, whole, exact=steps is None)
        return grid, "choice" if steps else "log" if log else "linear"

    def steps(self, written: object, at: str) -> int | None:
        whole = written if isinstance(written, int) and not isinstance(written, bool) else 0
        if written is not None and not 2 <= whole <= _MOST:
            raise self.fail(f"must be a whole number from 2 to {_MOST}", at, value=written)
        return whole or None

    def check_products(
        self, parent: Parameter, factors: tuple[Scalar, ...], known: Field, at: str
    ) -> None:
        self.few(len(parent.values) * len(factors), "products", at)
        for value in parent.values:
            for factor in factors:
                try:
                    known.parse(multiple(value, factor))
                except InputError as error:
                    raise self.fail(
                        f"{factor:g} times {parent.name} {value}: {error.problem}", at
                    ) from None

    # ---- workloads

    def workload_section(self) -> Section:
        written = self.data.get("workload", {})
        if not isinstance(written, dict):
            raise self.fail("is a mapping", "workload", value=written)
        for parameter in self.parameters:
            if parameter.name.removeprefix("workload.") in written and parameter.name[:1] == "w":
                raise self.fail(
                    "is set for one accelerator already", "workload", value=parameter.name
                )
        return Section(
            -1, (0,), (self.settings("workload", "workload", 0, written, schema("workload")),)
        )

    def workloads(self) -> dict[str, dict[str, Scalar]]:
        if "workloads" not in self.data:
            return {"": {}}
        written = self.data["workloads"]
        if not isinstance(written, dict) or not written:
            raise self.fail("is a mapping of names to settings", "workloads", value=written)
        taken = ("model", "accelerator", "workload", "workloads", "note", RUN)
        for name, settings in written.items():
            if not isinstance(name, str) or not _WORD.fullmatch(name) or name in taken:
                raise self.fail(
                    "is no name for a workload",
                    "workloads",
                    value=name,
                    hint="a word of letters, digits and _",
                )
            if not isinstance(settings, dict):
                raise self.fail("is a mapping", f"workloads.{name}", value=settings)
        return {name: self.workload(name, settings) for name, settings in written.items()}

    def workload(self, name: str, written: dict[str, object]) -> dict[str, Scalar]:
        known, settings = schema("workload"), {}
        searched = [p.name for p in self.parameters if p.size > 1]
        for key, value in written.items():
            at = f"workloads.{name}.{key}"
            if key not in known:
                raise self.fail("unknown key", f"workloads.{name}", value=key, allowed=known)
            if isinstance(value, list | dict):
                raise self.fail("must be one value: search it under workload", at, value=value)
            if f"workload.{key}" in searched:
                raise self.fail("is searched under workload already", at, value=value)
            settings[f"workload.{key}"] = self.value(value, known[key], at)
        return settings

    # ---- objectives and conditions

    def objectives(self, accuracy: AccuracySettings) -> tuple[Objective, ...]:
        """With a bound, an objective on the accuracy compares that bound."""
        written = self.data.get("objectives")
        if not written:
            raise self.fail(
                "a space needs at least one",
                "objectives",
                hint="objectives: {latency_s: min, energy_j: min}",
            )
        if not isinstance(written, dict):
            raise self.fail("is a mapping of results to min or max", "objectives", value=written)
        for name, direction in written.items():
            if direction not in ("min", "max"):
                raise self.fail(
                    "must be min or max",
                    f"objectives.{name}",
                    value=direction,
                    allowed=("min", "max"),
                )
        return tuple(
            Objective(accuracy.searched if n == accuracy.quantity else str(n), d == "max")
            for n, d in written.items()
        )

    def conditions(self, space: Space) -> Space:
        """The space with its conditions, reference point and records."""
        quantities = {p.name: grammar.NamedQuantity(p.unit) for p in space.parameters}
        where = self.filters(quantities)
        space = replace(
            space,
            where=where,
            constraints=self.expressions("constraints"),
            reference=self.reference(space),
            record=self.record(space),
        )
        pricing.check(space, self.fail)
        effects.check(space, self.fail)
        if "accuracy" in self.data:
            effects.require_source_used(space, self.fail)
        wanted = [("objectives", o.name) for o in space.objectives]
        for at, name in (*wanted, *(("record", name) for name in space.record)):
            if name in space.names:
                raise self.fail(
                    "is a setting of this space: an objective of it is an expression",
                    at,
                    value=name,
                    hint=f"1 * {name}",
                )
            if name not in space.define:
                self.check_workload(space, name, at)
        for name, expression in space.define.items():
            for used in expression.names:
                if used not in space.define and used not in space.names:
                    self.check_workload(space, used, f"define.{name}")
        return space

    def filters(
        self, quantities: Mapping[str, grammar.NamedQuantity]
    ) -> tuple[grammar.Expression, ...]:
        """What `where` says of the settings that the space writes."""
        filters = self.expressions("where")
        require_written(filters, quantities, self.file)
        bound = (grammar.bind(e, quantities, file=self.file, field="where") for e in filters)
        finite = (grammar.require_finite(e, file=self.file, field="where") for e in bound)
        return tuple(decisive.require(e, quantities, file=self.file, field="where") for e in finite)

    def expressions(self, key: str) -> tuple[grammar.Expression, ...]:
        written = self.data.get(key, [])
        texts = written if isinstance(written, list) else [written]
        parsed = (grammar.parse(text, file=self.file, field=key) for text in texts)
        return tuple(grammar.require_names(e, file=self.file, field=key) for e in parsed)

    def reference(self, space: Space) -> dict[str, float]:
        written = self.data.get("reference_point", {})
        if not isinstance(written, dict):
            raise self.fail("is a mapping", "reference_point", value=written)
        names = [o.name for o in space.objectives]
        known, result = quantities(space, names), {}
        for given, value in written.items():
            at = f"reference_point.{given}"
            name = space.accuracy.searched if given == space.accuracy.quantity else given
            if name not in names:
                raise self.fail("is not an objective", at, value=name, allowed=names)
            unit = known[name].unit or "1"
            result[name] = units.convert(value, unit, field=at, file=self.file)
            require_reachable(space, name, result[name], file=self.file, field=at)
        return result

    def record(self, space: Space) -> tuple[str, ...]:
        """Results; settings that the space writes are recorded anyway."""
        names = names_of(self.data.get("record", []), self.file)
        return tuple(name for name in names if name not in space.names)

    def check_workload(self, space: Space, name: str, where: str) -> None:
        first = name.split(".")[0]
        several = "" not in space.workloads
        own = (*space.workloads, *SHARED, *((RUN,) if space.run else ()))
        if name in space.accuracy.names or (several and first in own):
            return
        if is_number(name) and all(name not in given for given in space.workloads.values()):
            return
        if setting_field(name) is not None and not is_number(name):
            raise self.fail("is a setting whose values are no numbers", where, value=name)
        if several:
            words = "with several workloads a result needs the name of one"
            hint = "such as " + ", ".join(f"{w}.{name}" for w in space.workloads)
            raise self.fail(words, where, value=name, hint=hint)
