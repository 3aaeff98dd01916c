"""Where a setting has an effect: the column `applies` of the schemas, read and tried.

    mode=training machine=gpu        every condition must hold
    dataflow=ws|is                   one of several values
    family!=gemm                     none of these

A condition names a fact: the machine's kind, the model's family, head and position_kind, the
thresholds of the sparsity table, whether an accuracy is asked for, what is trainable in a pass that
does not train, any setting of the workload, or a setting of the machine itself. What is given
where it has no effect is said in `notes`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from elector.base.table import Field, schema
from elector.describe.layered import layer_field
from elector.describe.model import Model
from elector.evaluation import windows
from elector.evaluation.resolve import StructureGroup
from elector.machines.contract import Machine, Note, Units

Array = np.ndarray

_CONDITION = re.compile(r"(\w+)(!=|=)([^\s]+)")
#: Words that ask for nothing, as 0 does: there is nothing to be said where they are given.
NOTHING = ("auto", "native", "same", "none", "dense", "false")
#: Settings of which such a word is a wish like any other.
NONE_ASKS = frozenset(["residency"])
#: What a fact is called in a sentence, where it is no setting of the workload.
_CALLED = {
    "machine": "the machine",
    "family": "the family of the model",
    "head": "model.head",
    "position_kind": "the kind of the model's positions",
    "products": "the number of products in the list",
    "thresholds": "the thresholds of workload.sparsity",
    "accuracy": "accuracy",
}
#: Facts that read better in words of their own.
_WORDS = {
    "generates=yes": "workload.generate is above 0",
    "generates=no": "workload.generate is 0",
    "cached=yes": "keys and values are kept: workload.generate is above 0, or a prompt is read in "
    "pieces",
    "length=read": "the model has no number of tokens of its own, or workload.target_length and "
    "workload.generate are 0",
    "interleaves=yes": "workload.batch is above 1 and workload.generate above 2",
    "products=several": "the list has several products",
    "accuracy=asked": "an accuracy is asked for",
    "window=hides": "attention reaches further than it, and runs as a fused or flash kernel, which "
    "skips what it hides, or keeps a cache of keys (workload.generate, or prompts in pieces)",
    "mixers=attention|latent": "a layer of the model has attention",
    "mixers=attention": "a layer of the model has attention that is not latent",
    "state=yes": "a layer of the model carries a state from token to token",
    "untrained!=heads": "workload.mode is training, or it is lora:R, or a hybrid assigns by it",
    "memory!=rram_32_2_1|dram_32_2_1|dram_16_4_1": "accelerator.memory has several channels",
    "thresholds=tau_i": "workload.sparsity names a table with thresholds tau_i",
    "thresholds=tau_t": "workload.sparsity names a table with thresholds tau_t",
}


@dataclass(frozen=True)
class Condition:
    """A fact, and the values it must (or, negated, must not) have."""

    fact: str
    negated: bool
    values: tuple[str, ...]

    @property
    def text(self) -> str:
        """In words: `workload.mode is training`."""
        plain = f"{self.fact}{'!' if self.negated else ''}={'|'.join(self.values)}"
        if plain in _WORDS:
            return _WORDS[plain]
        if self.fact in schema("workload"):
            name = f"workload.{self.fact}"
        else:
            name = _CALLED.get(self.fact, f"accelerator.{self.fact}")
        return f"{name} is {'not ' if self.negated else ''}{' or '.join(self.values)}"

    def met(self, values: frozenset[str]) -> bool:
        """Whether a fact that may have any of `values` can meet it."""
        return bool(values.difference(self.values) if self.negated else values & set(self.values))


@functools.cache
def conditions(text: str) -> tuple[Condition, ...]:
    """The conditions of a cell of the column `applies`.

    text : the cell.
    """
    parsed = []
    for word in text.split():
        match = _CONDITION.fullmatch(word)
        assert match is not None, f"unreadable condition {word!r}"
        parsed.append(Condition(match[1], match[2] == "!=", tuple(match[3].split("|"))))
    return tuple(parsed)


def sentence(key: str, field: Field) -> str:
    """What is said of a setting that has no effect.

    key : dotted name of the setting.
    """
    needs = " and ".join(condition.text for condition in conditions(field.applies))
    return f"{key} changes nothing: it counts where {needs}"


@functools.cache
def thresholds_of(sparsity: str) -> frozenset[str]:
    """Thresholds that a sparsity table has densities for."""
    from elector.operations.sparsity import load_sparsity  # only pruning needs it

    table = load_sparsity(sparsity)
    return frozenset(n for n in ("tau_i", "tau_t") if table is not None and table.knows(n))


def kinds_of(machine: Machine) -> frozenset[str]:
    """Kind of a machine; those of its units for a hybrid."""
    if machine.hybrid is None:
        return frozenset([machine.name])
    return frozenset(member.machine.name for member in machine.hybrid.members)


def of_group(group: StructureGroup) -> dict[str, Note]:
    """Sentence -> the designs of a group for which a setting is given that has no effect."""
    table = group.table
    if table is None:
        return {}
    notes: dict[str, Note] = {}
    for key, column in sorted(table.columns.items()):  # the same order in every table
        field = _field(key, group.machine)
        if field is None or not field.applies:
            continue
        asked = np.array([asks(value, field) for value in column.values])
        given = asked[column.codes[group.rows]]
        idle = given & ~_holds(group, field, _unit_of(key))
        if idle.any():
            notes[sentence(key, field)] = Note(idle)
    return notes


def asks(value: object, field: Field | None = None) -> bool:
    """Whether a value that is given asks for something."""
    if value is None:
        return False
    text = str(value).strip().lower()
    if field is not None and field.key in NONE_ASKS and text != str(field.default):
        return True
    if field is not None and text == "false":  # a wish where it is not so anyway
        return str(field.default).lower() != "false"
    try:
        return float(text) != 0
    except ValueError:
        return text not in NOTHING


def products_of(model: Model) -> frozenset[str]:
    """Whether a list has one product or several."""
    return frozenset(["several" if sum(g.count for g in model.gemms) > 1 else "one"])


def mixers_of(model: Model) -> frozenset[str]:
    """What mixes the tokens of a model's layers, each of two that stand side by side."""
    return frozenset(word for block in model.blocks for word in block.mixer.split("+"))


def carries_state(model: Model) -> frozenset[str]:
    """Whether a layer carries a state from token to token."""
    return frozenset("yes" if block.state_size else "no" for block in model.blocks)


def untrained(
    modes: Iterable[str], trainable: Iterable[str], machines: Iterable[Machine]
) -> frozenset[str]:
    """What is trainable where nothing trains: `lora:R` adds its pairs to inference, too, and a
    hybrid may assign its operations by it.

    modes, trainable : values of workload.mode and workload.trainable. machines : what runs them.
    """
    assigns = any(
        key == "trainable"
        for machine in machines
        if machine.hybrid is not None
        for rule in machine.hybrid.rules
        for key, _ in rule.match
    )
    return frozenset([""]) if assigns or "training" in modes else frozenset(trainable)


def _unit_of(key: str) -> str:
    """`units.NAME.` of a setting of a hybrid's unit, else nothing."""
    match = re.match(r"accelerator\.(units\.[^.]+\.)", key)
    return match[1] if match else ""


def _field(key: str, machine: Machine) -> Field | None:
    """The field behind a dotted name; None for what is no setting of these designs."""
    space, _, short = key.partition(".")
    known: Mapping[str, Field] = {}
    if space == "accelerator" and short:
        known = machine.fields
    elif space in ("model", "workload") and short:
        known = schema(space)
    return known.get(short) or (layer_field(short) if space == "model" else None)


def interleaves(batch: Array, generate: Array) -> Array:
    """Whether a server reads prompts between the tokens of other requests: several, of which each
    generates tokens in several passes.

    batch, generate : requests at once, and tokens of each, of one shape, which the result has.
    """
    return (batch > 1) & (generate > 2)


def _holds(group: StructureGroup, field: Field, start: str) -> Array:
    """(D,) bool: whether every condition holds. start : of the machine's own settings' names."""
    holds = np.ones(group.rows.size, dtype=bool)
    facts = _facts(group)
    for condition in conditions(field.applies):
        if condition.fact in _OF_DESIGNS:
            holds &= _OF_DESIGNS[condition.fact](group) ^ condition.negated
        elif condition.fact in facts:
            holds &= condition.met(facts[condition.fact]())
        else:
            holds &= _of_units(condition, group.units, start)
    return holds


#: Fact that one design has and another of its group has not -> the (D,) bool designs that do.
_OF_DESIGNS: dict[str, Callable[[StructureGroup], Array]] = {
    "interleaves": lambda group: interleaves(group.workload.batch, group.workload.generate)[
        group.pair
    ],
    "window": windows.matter,
    "cached": lambda group: group.workload.keeps[group.pair],
    "length": lambda group: _reads_length(group),
}


def _reads_length(group: StructureGroup) -> Array:
    """(D,) whether the length is that of any sequence: sound has one of its own, and the text
    beside it may be given or generated."""
    every = np.ones(group.rows.size, dtype=bool)
    if not group.models.template.source_tokens:
        return every
    name = "target_length"
    given = 0.0 * every
    if group.table is not None:
        given = group.table.at(f"workload.{name}", schema("workload")[name], group.rows, 0.0)
    return (given == 0) & (group.workload.generate[group.pair] == 0)


def _facts(group: StructureGroup) -> dict[str, Callable[[], frozenset[str]]]:
    """Fact -> its values, for what all designs of a group share."""
    model, workload = group.models.template, group.workload
    facts: dict[str, Callable[[], frozenset[str]]] = {
        "machine": lambda: kinds_of(group.machine),
        "family": lambda: frozenset([model.family]),
        "head": lambda: frozenset([model.head]),
        "position_kind": lambda: frozenset([model.position_kind]),
        "thresholds": lambda: thresholds_of(workload.sparsity),
        "accuracy": lambda: frozenset(),
        "generates": lambda: frozenset(["yes" if workload.generates else "no"]),
        "products": lambda: products_of(model),
        "mixers": lambda: mixers_of(model),
        "state": lambda: carries_state(model),
        "untrained": lambda: untrained([workload.mode], [workload.trainable], [group.machine]),
    }
    for name in schema("workload"):
        value = getattr(workload, name, None)
        if isinstance(value, str):
            facts[name] = functools.partial(frozenset, [value])
    return facts


def _of_units(condition: Condition, units: Units, start: str) -> Array:
    """(D,) bool: a condition on a setting of the machine."""
    key = start + condition.fact
    if key in units.names:
        names, codes = units.names[key]
        return np.array([condition.met(frozenset([name])) for name in names])[codes]
    values = units.number(key)
    equal = np.isin(values, [float(v) for v in condition.values])
    return ~equal if condition.negated else equal
