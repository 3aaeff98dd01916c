"""Whether every setting of a space can have an effect somewhere in it.

The schemas say where a key counts (elector.evaluation.applies). A space that sets one which
counts in none of its designs asks for something it cannot get, and is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from elector.base.errors import InputError
from elector.base.table import Field, schema
from elector.describe.formats import load_model
from elector.describe.model import Model
from elector.describe.variants import KINDS, pattern_kinds
from elector.describe.workload import SKIPPING
from elector.evaluation import windows
from elector.evaluation.accelerators import Accelerator, load_accelerator
from elector.evaluation.applies import (
    asks,
    carries_state,
    conditions,
    interleaves,
    kinds_of,
    mixers_of,
    products_of,
    thresholds_of,
    untrained,
)
from elector.evaluation.resolve import AUTO, UNFUSED
from transcode.accuracy.source_settings import LOSS
from transcode.space.codes import Space
from transcode.space.parts import Parameter
from transcode.space.resolved import accelerator_settings

Fail = Callable[..., InputError]


@dataclass(frozen=True)
class _Given:
    """A setting that a space gives.

    field : its row of the schema. label : where it stands in the space.
    parameter : that gives it; None where one of several workloads does.
    workload : that one.
    """

    field: Field
    label: str
    parameter: Parameter | None = None
    workload: str | None = None


def require_source_used(space: Space, fail: Fail) -> None:
    """Refuses a source of accuracy that nothing in the space asks."""
    used = {*(o.name for o in space.objectives), *space.record}
    for expression in (*space.constraints, *space.define.values()):
        used |= set(expression.names)
    if used & set(space.accuracy.names):
        return
    wanted = space.accuracy.quantity
    raise fail(
        f"changes nothing in this space: no objective, constraint or record asks for {wanted}",
        "accuracy",
        hint=f"objectives: {{{wanted}: {'min' if wanted == LOSS else 'max'}}}",
    )


def check(space: Space, fail: Fail) -> None:
    """Refuses a setting that can never have an effect in the space, and a choice among values of
    one that nothing prices."""
    for setting in accelerator_settings(space):
        if setting.given and setting.searched and setting.field.fixed:
            raise fail(
                f"is not for a search to choose: it is {setting.field.fixed}",
                setting.where,
                hint="give it one value; machines that differ in it are several bases",
            )
    for given in _given(space):
        facts = _Facts(space, given)
        missing = [c for c in conditions(given.field.applies) if not c.met(facts.of(c.fact))]
        if missing:
            raise fail(
                "changes nothing in this space: it counts where "
                + " and ".join(condition.text for condition in missing),
                given.label,
                hint="leave it out",
            )


def _given(space: Space) -> Iterator[_Given]:
    """What asks for something and does not count everywhere."""
    members = [c for section in space.sections for group in section.members for c in group]
    for column in sorted(set(members)):
        parameter = space.parameters[column]
        field = _field(space, parameter)
        if field is not None and field.applies and any(asks(v, field) for v in parameter.values):
            yield _Given(field, parameter.label, parameter)
    for workload, settings in space.workloads.items():
        for name, value in settings.items():
            field = schema("workload")[name.removeprefix("workload.")]
            if field.applies and asks(value, field):
                yield _Given(field, f"workloads.{workload}.{field.key}", None, workload)


def _field(space: Space, parameter: Parameter) -> Field | None:
    """The schema's row behind a parameter; None for what has none, such as a layer's."""
    section, _, key = parameter.name.partition(".")
    if section == "accelerator":
        fields = _Facts(space, _Given(schema("workload")["mode"], "", parameter)).accelerators
        return fields[0].machine.fields.get(key)
    return schema(section).get(key)


#: Fact -> its values of one model.
_OF_MODELS: dict[str, Callable[[Model], frozenset[str]]] = {
    "family": lambda model: frozenset([model.family]),
    "head": lambda model: frozenset([model.head]),
    "position_kind": lambda model: frozenset([model.position_kind]),
    "products": products_of,
    "mixers": mixers_of,
    "state": carries_state,
}


@dataclass(frozen=True)
class _Facts:
    """What may be the case in some design where a setting is given."""

    space: Space
    given: _Given

    def of(self, fact: str) -> frozenset[str]:
        """Every value a fact may have."""
        if fact == "accuracy":
            return frozenset(["asked"] if self.space.uses_accuracy else [])
        if fact == "generates":
            tokens = self.of_workload("generate")
            return frozenset("yes" if float(n) > 0 else "no" for n in tokens)
        if fact == "interleaves":
            either = interleaves(self._numbers("batch")[:, None], self._numbers("generate"))
            return frozenset("yes" if yes else "no" for yes in either.ravel())
        if fact == "length":
            lengths = self.of_workload("generate"), self.of_workload("target_length")
            unset = all(any(float(n) == 0 for n in values) for values in lengths)
            own = all(model.source_tokens for model in self.models)
            return frozenset(["read"] if unset or not own else [])
        if fact == "cached":
            return frozenset(["yes"] if self._numbers("generate").any() or self._chunks() else [])
        if fact == "window":
            return frozenset(["hides"] if self._hides() else [])
        if fact == "thresholds":
            tables = self.of_workload("sparsity")
            return frozenset().union(*(thresholds_of(table) for table in tables))
        if fact == "machine":
            return frozenset().union(*(kinds_of(a.machine) for a in self.accelerators))
        if fact == "untrained":
            machines = [accelerator.machine for accelerator in self.accelerators]
            return untrained(self.of_workload("mode"), self.of_workload("trainable"), machines)
        if fact in schema("workload"):
            return self.of_workload(fact)
        return self._of_models(fact) if fact in _OF_MODELS else self.of_accelerator(fact)

    def _of_models(self, fact: str) -> frozenset[str]:
        """Every value of a fact of the models, as they are or with what is given of them."""
        own = frozenset().union(*(_OF_MODELS[fact](model) for model in self.models))
        if fact == "head":
            return self.values("model.head") or own
        if fact != "mixers":
            return own
        words = [word for text in self.values("model.pattern") for word in pattern_kinds(text)]
        mixers = [str(KINDS[word].get("mixer", "attention")) for word in words]
        return own.union(*(mixer.split("+") for mixer in mixers))

    def values(self, name: str) -> frozenset[str]:
        """Values of the parameters of that name, of the alternative alone that is given."""
        own = self.given.parameter
        same = own is not None and name.partition(".")[0] == own.name.partition(".")[0]
        return frozenset(
            str(value)
            for p in self.space.parameters
            if p.name == name and (not same or own is None or p.group == own.group)
            for value in p.values
        )

    def of_workload(self, key: str) -> frozenset[str]:
        """Values of a setting of the workload, in the one workload or in any."""
        name, field = f"workload.{key}", schema("workload")[key]
        shared = self.values(name) or frozenset([str(field.default)])
        values: set[str] = set()
        for workload, settings in self.space.workloads.items():
            if self.given.workload in (None, workload):
                values |= {str(settings[name])} if name in settings else shared
        if AUTO in values and key == "attention":
            own = any(a.machine.automatic is not None for a in self.accelerators)
            values |= set(field.choices) if own else {UNFUSED}
        if "native" in values:  # whatever the machines compute in
            values |= set(field.choices)
        return frozenset(values)

    def _numbers(self, key: str) -> np.ndarray:
        """Values of a setting of the workload that is a number."""
        return np.array([float(n) for n in self.of_workload(key)])

    def _chunks(self) -> bool:
        """Whether some prompt may be read in pieces."""
        stacks = self.of_workload("implementation")
        own = [a.machine.chunks.get(s, 0) for a in self.accelerators for s in stacks]
        longest = self._numbers("sequence_length").max()
        return any(0 < size < longest for size in (*own, *self._numbers("prefill_chunk")))

    def _hides(self) -> bool:
        """Whether some window may hide a key that is skipped or not kept."""
        chunks = self._chunks()
        tokens = self._numbers("generate").max()
        skips = bool(self.of_workload("attention") & set(SKIPPING))
        lengths = [self._numbers(name).max() for name in ("sequence_length", "target_length")]
        for base, model in zip(self.bases(0), self.models, strict=True):
            given = [p for p in self.space.parameters if p.name == "model.window"]
            if any(p.parent >= 0 for p in given):  # its products are known later
                return True
            shortest = min(*(float(v) for v in self.values("model.window")), windows.of_file(base))
            special = model.patches + model.special_tokens
            keys = special if model.family == "vision" else max(*lengths, model.source_tokens)
            for block in model.blocks:
                own = block.mixer.startswith("attention") and not block.head_types
                seen = skips and windows.hides(shortest, keys, block.causal)
                kept = (tokens > 0 or chunks) and block.causal and shortest < keys + tokens - 1
                if own and (seen or kept):
                    return True
        return False

    def of_accelerator(self, key: str) -> frozenset[str]:
        """Values of a setting of the accelerators."""
        presets = {
            str(a.settings.get(key, a.machine.fields[key].default))
            for a in self.accelerators
            if key in a.machine.fields
        }
        return self.values(f"accelerator.{key}") or frozenset(presets)

    @property
    def accelerators(self) -> list[Accelerator]:
        """Those of the space, or of the alternative that gives the setting."""
        return [load_accelerator(name) for name in self.bases(1)]

    @property
    def models(self) -> list[Model]:
        """As `accelerators`."""
        return [load_model(name) for name in self.bases(0)]

    def bases(self, place: int) -> list[str]:
        """Bases of a section of the space."""
        section, own = self.space.sections[place], self.given.parameter
        mine = own is not None and any(
            self.space.parameters[c] is own for group in section.members for c in group
        )
        return [
            str(base)
            for base, group in zip(
                self.space.parameters[section.selector].values, section.groups, strict=True
            )
            if not mine or own is None or group == own.group
        ]
