"""Columns of settings -> groups of designs that share their structure.

A table of designs has a column for `model`, one for `accelerator` and one for each dotted
key. Designs whose model, workload and machine have the same structure form a group: within
it everything is a number and is computed in arrays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from elector.base.errors import InputError
from elector.base.table import Column, distinct, schema
from elector.describe.layered import NAME, layer_field, layered
from elector.describe.model import Model, Models, stack
from elector.describe.numbers import SAME, formats, native, precisions, unpacking
from elector.describe.variants import with_settings
from elector.describe.workload import MASKED_SHARE, NUMBERS, Workload, in_pieces, lora_rank
from elector.evaluation.accelerators import Accelerator
from elector.evaluation.data_sheets import evidence_of
from elector.evaluation.settings import SettingsTable
from elector.evaluation.structures import (
    CATEGORICAL,
    TEXTS,
    Structures,
    codes_of,
    combine,
    said,
    structures,
)
from elector.machines.contract import Machine, Units

Array = np.ndarray

#: Parts of a model that its file leaves in their own numbers, and those in formats of their own.
OfFile = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]
#: What leaves a choice to the program, and the attention of machines without an own choice.
AUTO, UNFUSED = "auto", "unfused"


@dataclass(frozen=True, eq=False, repr=False)
class StructureGroup:
    """Designs of one structure.

    rows : (D,) their places in the table.
    machine : its kind.
    units : the D units.
    pair : (D,) index into the M distinct (model, workload) pairs.
    models, workload : the pairs.
    table : the settings as they were given; None where they are of no interest.
    said : what the readers of the models say -> the (D,) bool designs it is said of.
    file : where the first of the machines was read, whose rules and links all of them have.
    """

    rows: Array
    machine: Machine
    units: Units
    pair: Array
    models: Models
    workload: Workload
    table: SettingsTable | None = None
    said: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    file: object = None


def resolve(columns: Mapping[str, Column], size: int) -> Iterator[StructureGroup]:
    """The groups of a table, in the order of their first design."""
    table = SettingsTable(columns, size)
    for key in ("model", "accelerator"):
        if key not in table.columns:
            raise InputError(f"no {key} given", field=key)
    there = structures(table)
    codes, first = codes_of(table, there)
    for code in range(first.size):
        rows = np.nonzero(codes == code)[0] if first.size > 1 else np.arange(size)
        yield _group(table, rows, int(rows[0]), there)


def _group(table: SettingsTable, rows: Array, first: int, s: Structures) -> StructureGroup:
    accelerators = distinct(table.columns["accelerator"].codes[rows])[0]
    machine = s.accelerators[accelerators[0]].machine
    units = _units(table, rows, machine, [s.accelerators[i] for i in accelerators], accelerators)
    chosen, pair, models = _paired(table, rows, s)
    # What is built may follow what is asked (training_support: auto).
    units.numbers["training"] = np.full(rows.size, float(_text(table, "mode", first) == "training"))
    texts = {name: str(_text(table, name, first)) for name in CATEGORICAL}
    texts["precision"] = _precision(table, first, machine, units)
    of_file = _stored_by_file(table, first, texts, models.template, machine)
    _require_storage(texts, machine)
    _choose_stack(texts, models.template.family, machine, units)
    chunk = machine.chunks.get(texts["implementation"])
    workload = _workload(table, chosen, texts, of_file, models, chunk)
    file = s.accelerators[accelerators[0]].file
    noted = said(table, rows, s)
    return StructureGroup(rows, machine, units, pair, models, workload, table, noted, file)


@dataclass(frozen=True, eq=False, repr=False)
class _Pairs:
    """What `_paired` found for `columns` of a table at `rows`."""

    columns: dict[str, Column]
    models: dict[tuple[int, int], Model]
    rows: Array
    answer: tuple[Array, Array, Models]

    def answers(self, columns: dict[str, Column], s: Structures, rows: Array) -> bool:
        """Whether these are the columns, not only columns like them, and the same models."""
        own = self.columns
        same = own.keys() == columns.keys() and all(own[k] is columns[k] for k in own)
        return same and self.models == s.models and np.array_equal(self.rows, rows)


#: The last pairs: workloads of one search, and its source of accuracy, ask for the same models.
_last: dict[str, _Pairs] = {}


def _paired(table: SettingsTable, rows: Array, s: Structures) -> tuple[Array, Array, Models]:
    """(M,) rows that stand for the pairs, (D,) index of each design's pair, and the M models."""
    numbers = [f"workload.{n}" for n in NUMBERS]
    columns = {
        key: column
        for key, column in table.columns.items()
        if key.partition(".")[0] == "model" or (key in numbers and len(column.values) > 1)
    }
    kept = _last.get("pairs")
    if kept is not None and kept.answers(columns, s, rows):
        return kept.answer
    texts = [f"model.{name}" for name in TEXTS]
    keys = [k for k in columns if k.startswith("model.") and k not in texts]
    # Pairs are numbered by their codes: models of one depth come to stand together.
    keys.sort(key=lambda key: key != "model.layers")
    numeric = [key for key in numbers if key in columns]
    parts = [columns[k].codes[rows] for k in ("model", *keys, *numeric)]
    _, representative, pair = distinct(combine([*parts, s.variant_codes[rows]]))
    chosen = rows[representative]
    paired = chosen, pair, _models(table, chosen, keys, s)
    _last["pairs"] = _Pairs(columns, s.models, rows, paired)
    return paired


def _models(table: SettingsTable, rows: Array, keys: list[str], s: Structures) -> Models:
    """The models of the representatives: each base with its own overrides, in order."""
    fields, codes = schema("model"), table.columns["model"].codes[rows]
    variants, built, places = s.variant_codes[rows], [], []
    both = combine([codes, variants])
    for base in distinct(both)[0]:
        here = np.nonzero(both == base)[0]
        settings = {}
        for key in keys:
            field = layer_field(key[6:]) or fields[key[6:]]
            values = table.at(key, field, rows[here], np.nan)
            if not np.isnan(values).all():
                settings[key[6:]] = values
        model = s.models[int(codes[here[0]]), int(variants[here[0]])]
        own = model.name == NAME or any(layer_field(key) for key in settings)
        build = layered if own else with_settings
        built.append(build(model, settings, here.size))
        places.append(here)
    return stack(built, np.concatenate(places))


def _units(
    table: SettingsTable, rows: Array, machine: Machine, presets: list[Accelerator], codes: Array
) -> Units:
    """Settings of D units: the column, else the preset's, else the schema's default."""
    place = np.searchsorted(codes, table.columns["accelerator"].codes[rows])
    numbers: dict[str, Array] = {}
    names: dict[str, tuple[tuple[str, ...], Array]] = {}
    for key, field in machine.fields.items():
        given = [a.settings.get(key, field.default) for a in presets]
        column = f"accelerator.{key}"
        own = table.used(column, field, rows) if column in table.columns else (None,)
        zeros = np.zeros(rows.size, dtype=np.intp)
        own_codes = table.columns[column].codes[rows] if column in table.columns else zeros
        if field.type in ("choice", "text"):
            names[key] = _named(given, place, own, own_codes)
            continue
        base = _floats(given)[place]
        if len(own) > 1 or own[0] is not None:
            chosen = _floats(own)[own_codes]
            base = np.where(np.isnan(chosen), base, chosen)
        numbers[key] = base
    _refuse_foreign(table, rows, machine)
    evidence = {
        key: evidence_of(table, rows, machine, [a.settings.get(key) for a in presets], place, key)
        for key in machine.stated
    }
    return machine.complete(Units(machine.name, numbers, names, evidence))


def _floats(values: Sequence[object]) -> Array:
    """Numbers, NaN where not set."""
    return np.array([np.nan if v is None else float(v) for v in values], dtype=float)  # type: ignore[arg-type]


def _named(
    given: list[object], place: Array, own: tuple[object, ...], own_codes: Array
) -> tuple[tuple[str, ...], Array]:
    values = [str(v) for v in given] + ["" if v is None else str(v) for v in own]
    codes = np.where(np.array([v is None for v in own])[own_codes], place, own_codes + len(given))
    used, _, codes = distinct(codes)
    names = tuple(dict.fromkeys(values[i] for i in used))
    return names, np.array([names.index(values[i]) for i in used])[codes]


def _refuse_foreign(table: SettingsTable, rows: Array, machine: Machine) -> None:
    """A setting of another machine kind is an error, unless the row leaves it unset."""
    fields = machine.fields
    for key, column in table.columns.items():
        if not key.startswith("accelerator.") or key[12:] in fields:
            continue
        unset = np.array([v is None for v in column.values])
        if not unset[column.codes[rows]].all():
            raise InputError(
                f"{machine.name} has no such setting", field=key, value=key[12:], allowed=fields
            )


def _precision(table: SettingsTable, first: int, machine: Machine, units: Units) -> str:
    """The workload's precision, checked against what the hardware is built for.

    The native one is a machine's own in the mode asked for: with master weights where it trains
    in floats of 16 bits (data/precisions.csv).
    """
    if machine.hybrid is not None:  # its first unit decides; others compute in what they have
        member = machine.hybrid.members[0]
        return _precision(table, first, member.machine, member.units(units))
    asked, mode = (str(_text(table, name, first)) for name in ("precision", "mode"))
    built = units.names[machine.native][0][0]
    if asked == "native":
        asked = native(built, mode).name
    elif mode == "training" and not precisions()[asked].products.trains:
        raise InputError(
            f"nothing trains in {precisions()[asked].compute}: it holds no gradients",
            field="workload.precision",
            value=asked,
            allowed=_usable(machine, units, built, mode),
        )
    if machine.supports is not None:
        _require_format(machine, units, asked, mode)
    elif precisions()[asked].compute != built:
        raise InputError(
            f"the machine is built for {built}",
            field="workload.precision",
            value=asked,
            allowed=_usable(machine, units, built, mode),
            hint=_other_format(machine, precisions()[asked].compute),
        )
    return asked


def _other_format(machine: Machine, compute: str) -> str | None:
    """How a machine that does not multiply in a format may still have it."""
    if machine.supports is None and compute in (machine.fields[machine.native].choices or ()):
        return f"accelerator.{machine.native} changes the machine"
    if compute in unpacking() and _cells(machine) is None:
        return f"workload.weights: {compute} stores matrices in it, and multiplies in another"
    return None


def _usable(machine: Machine, units: Units, built: str, mode: str) -> list[str]:
    """The precisions that all of the units can run in a mode."""
    usable = ["native"]
    for name, precision in precisions().items():
        if machine.supports is None:
            can = precision.compute == built
        else:
            can = bool(machine.supports(units, precision.compute).all())
        if can and (mode != "training" or precision.products.trains):
            usable.append(name)
    return usable


def _require_format(machine: Machine, units: Units, asked: str, mode: str) -> None:
    """Every unit must compute in the number format asked for."""
    assert machine.supports is not None
    lacking = ~machine.supports(units, precisions()[asked].compute)
    if lacking.any():
        one = units.take(np.nonzero(lacking)[0][:1])
        raise InputError(
            f"the device does not compute in {precisions()[asked].compute}",
            field="workload.precision",
            value=asked,
            allowed=_usable(machine, one, "", mode),
            hint=_other_format(machine, precisions()[asked].compute),
        )


def _text(table: SettingsTable, name: str, row: int) -> object:
    field, key = schema("workload")[name], f"workload.{name}"
    if key not in table.columns:
        return field.default
    value = table.parsed(key, field)[table.columns[key].codes[row]]
    return field.default if value is None else value


def _workload(
    table: SettingsTable,
    rows: Array,
    texts: dict[str, str],
    of_file: OfFile,
    models: Models,
    chunk: int | None,
) -> Workload:
    """The workload of the models at `rows`, whose texts are known.

    chunk : tokens of a prompt that the software stack reads at once, 0: all of them; None where
        no prompt is read in pieces.
    """
    fields = schema("workload")
    lora_rank(texts["trainable"])
    if texts["sparsity"] != "dense":
        from elector.operations.sparsity import load_sparsity  # only pruning needs it

        load_sparsity(texts["sparsity"])
    numbers = {
        name: table.at(f"workload.{name}", fields[name], rows, float(fields[name].default or 0))
        for name in NUMBERS
    }
    length = numbers["sequence_length"]
    numbers["target_length"] = np.where(
        numbers["target_length"] > 0, numbers["target_length"], length
    )
    masked = np.ceil(length * MASKED_SHARE)
    numbers["predictions"] = np.where(numbers["predictions"] > 0, numbers["predictions"], masked)
    given = numbers["prefill_chunk"]
    if chunk is None or models.template.family != "decoder" or texts["mode"] != "inference":
        numbers["prefill_chunk"] = np.zeros_like(given)
    else:
        numbers["prefill_chunk"] = np.where(given > 0, given, float(chunk))
    _require_fit(numbers, models)
    generates = bool((numbers["generate"] > 0).any())
    chunked = bool(in_pieces(length, numbers["prefill_chunk"]).any())
    kept, parts = of_file
    return Workload(
        **texts,  # type: ignore[arg-type]
        kept=kept,
        parts=parts,
        generates=generates,
        chunked=chunked,
        **numbers,  # type: ignore[arg-type]
    )


def _choose_stack(texts: dict[str, str], family: str, machine: Machine, units: Units) -> None:
    """Puts in the software stack and the attention that were left to the program."""
    facts = {"mode": texts["mode"], "family": family, "stack": texts["implementation"]}
    facts["compute"] = precisions()[texts["precision"]].compute
    facts |= {name: units.names[name][0][units.names[name][1][0]] for name in machine.deciding}
    if texts["implementation"] == AUTO:
        texts["implementation"] = _automatic("implementation", facts, machine)
    _require_stack(texts, machine)
    facts["stack"] = texts["implementation"]
    if texts["attention"] == AUTO:
        texts["attention"] = _automatic("attention", facts, machine)


def _automatic(setting: str, facts: dict[str, str], machine: Machine) -> str:
    if machine.automatic is not None:
        return machine.automatic(setting, facts)
    return machine.implementations[0] if setting == "implementation" else UNFUSED


def _require_stack(texts: dict[str, str], machine: Machine) -> None:
    """The stack must be one of the machine's, and train where it is asked to."""
    stack, usable = texts["implementation"], machine.implementations
    if stack not in usable:
        raise InputError(
            f"{machine.name} has no such software stack",
            field="workload.implementation",
            value=stack,
            allowed=[AUTO, *usable],
        )
    if texts["mode"] == "training" and stack in machine.serving_only:
        raise InputError(
            "this software stack runs models and trains none",
            field="workload.implementation",
            value=stack,
            allowed=[AUTO, *(s for s in usable if s not in machine.serving_only)],
        )


def _stored_by_file(
    table: SettingsTable, first: int, texts: dict[str, str], model: Model, machine: Machine
) -> OfFile:
    """Puts in the formats that a model's own file stores its weights and cache in, where the
    workload names none and the machine can hold them; the parts of layers left out, and those in
    formats of their own."""
    stored = model.quantization
    if stored is None:
        return (), ()
    products, fits = precisions()[texts["precision"]].products, {}
    for name, own in (("weights", stored.format), ("kv_cache", stored.kv_cache)):
        given = _given(table, f"workload.{name}", first)
        wider = name == "kv_cache" and own in unpacking() and _plain_float(own)
        known = own in unpacking() and formats()[own].bits <= products.bits
        fits[name] = not given and (known or wider)
    trains = texts["mode"] == "training" and texts["trainable"] == "all"
    fits["weights"] &= not trains and _cells(machine) is None
    for name, own in (("weights", stored.format), ("kv_cache", stored.kv_cache)):
        texts[name] = own if fits[name] else texts[name]
    if not fits["weights"]:
        return (), ()
    wide = [part for part, name in stored.parts if name and formats()[name].bits > products.bits]
    kept = [*stored.kept, *wide]
    parts = [(part, name) for part, name in stored.parts if name and part not in kept]
    # What is said of a file are parts that the model has; heads stay as they are in any case.
    return (
        tuple(part for part in kept if part != "head" and model.has_part(part)),
        tuple((part, name) for part, name in parts if model.has_part(part)),
    )


def _given(table: SettingsTable, key: str, row: int) -> bool:
    """Whether the design at `row` was given a value."""
    return key in table.columns and table.columns[key][row] is not None


def _cells(machine: Machine) -> str | None:
    """The setting of the bits that crossbars store of every weight; None without crossbars."""
    return next((k for k in machine.fields if k.rpartition(".")[2] == "weight_bits"), None)


def _require_storage(texts: dict[str, str], machine: Machine) -> None:
    """What is packed is narrower than what is multiplied, and only read, never trained. A cache
    may be kept in wider floats, without scales for groups of them.

    Cells of crossbars hold as many bits of every matrix as the machine says.
    """
    cells = _cells(machine)
    if texts["weights"] != SAME and cells is not None:
        raise InputError(
            f"{machine.name} stores weights in cells, all of them in the same number of bits",
            field="workload.weights",
            value=texts["weights"],
            allowed=[SAME],
            hint=f"accelerator.{cells} says how many",
        )
    products = precisions()[texts["precision"]].products
    for name in ("weights", "kv_cache"):
        asked = texts[name]
        if asked == SAME:
            continue
        wide = [n for n in unpacking() if name == "kv_cache" and _plain_float(n)]
        if formats()[asked].bits > products.bits and asked not in wide:
            narrow = [n for n in unpacking() if formats()[n].bits <= products.bits or n in wide]
            raise InputError(
                f"values are multiplied in {products.name}, which is narrower",
                field=f"workload.{name}",
                value=asked,
                allowed=[SAME, *narrow],
            )
    if texts["weights"] != SAME and texts["mode"] == "training" and texts["trainable"] == "all":
        raise InputError(
            "weights that train are not stored packed",
            field="workload.weights",
            value=texts["weights"],
            allowed=[SAME],
            hint="workload.trainable: lora:R or heads leaves them frozen",
        )


def _plain_float(name: str) -> bool:
    """Whether a format is a float without scales for groups of values."""
    return formats()[name].kind == "float" and not formats()[name].grouped


def _require_fit(numbers: dict[str, Array], models: Models) -> None:
    """A learned position table bounds the length; rotary and relative ones do not. The length
    bounds the positions a masked-LM head predicts."""
    model = models.template
    length = numbers["sequence_length"]
    if model.head == "masked-lm" and (numbers["predictions"] > length).any():
        i = int(np.argmax(numbers["predictions"] > length))
        raise InputError(
            f"a sequence has {int(length[i])} positions",
            field="workload.predictions",
            value=int(numbers["predictions"][i]),
            hint="at most workload.sequence_length; 0 predicts 15.625 % of them",
        )
    if model.position_kind != "learned" or model.family in ("vision", "gemm", "operations"):
        return
    # The last token of a decoder goes through no layer; the first one comes with the prompt.
    unread = model.family == "decoder"
    longest = length + np.maximum(numbers["generate"] - float(unread), 0.0)
    over = (models.numbers["positions"] > 0) & (longest > models.numbers["positions"])
    if over.any():
        i = int(np.argmax(over))
        raise InputError(
            f"{model.name} has {int(models.numbers['positions'][i])} learned positions",
            field="workload.sequence_length",
            value=int(longest[i]),
            hint="a shorter sequence, or more of them: model.positions",
        )
