"""Which designs of a table share a structure: models, texts that change them, machines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from elector.base.errors import InputError
from elector.base.table import distinct, schema
from elector.describe.formats import load_model
from elector.describe.model import Model, structure
from elector.describe.variants import STRUCTURAL, with_pattern
from elector.describe.workload import in_pieces
from elector.evaluation.accelerators import Accelerator, load_accelerator
from elector.evaluation.settings import SettingsTable

Array = np.ndarray

CATEGORICAL = (
    "mode",
    "precision",
    "weights",
    "kv_cache",
    "optimizer",
    "activations",
    "attention",
    "implementation",
    "trainable",
    "sparsity",
    "optimizer_kernels",
    "residency",
    "serving",
)
#: Settings of a model that are texts.
TEXTS = ("head", "pattern", "ignore_keys")
#: What stands among the texts of a design with a pattern that is given a window.
_WINDOW = "window"
#: Heads that score every word of a vocabulary.
WORD_HEADS = ("masked-lm", "causal-lm", "pre-training")


@dataclass(frozen=True, eq=False, repr=False)
class Structures:
    """Distinct models and accelerators, and which of them share a structure.

    model_code, accelerator_code, variant_codes : (D,) which model, accelerator and combination of
    texts each design has.
    """

    models: dict[tuple[int, int], Model]
    model_code: Array
    accelerators: list[Accelerator]
    accelerator_code: Array
    variant_codes: Array


def _variants(table: SettingsTable) -> tuple[list[dict[str, str]], Array]:
    """Distinct combinations of the texts that change a model, and the (D,) index of each row's."""
    used = [name for name in TEXTS if f"model.{name}" in table.columns]
    if not used:
        return [{}], np.zeros(table.size, dtype=np.intp)
    parsed = [table.parsed(f"model.{name}", schema("model")[name]) for name in used]
    columns = [table.columns[f"model.{name}"].codes for name in used]
    window = table.columns.get("model.window") if "pattern" in used else None
    if window is not None:  # a pattern may need one that the model has not
        given = np.array([value is not None for value in window.values], dtype=np.intp)
        used, parsed = [*used, _WINDOW], [*parsed, (None, "given")]
        columns = [*columns, given[window.codes]]
    _, first, codes = distinct(combine(columns))
    variants = []
    for row in first:
        values = {n: v[c[row]] for n, v, c in zip(used, parsed, columns, strict=True)}
        variants.append({name: str(value) for name, value in values.items() if value is not None})
    return variants, codes


def _with_head(model: Model, head: str) -> Model:
    """A model with another head. Raises InputError for words of a model that knows none."""
    if head in WORD_HEADS and model.blocks and not model.has_tokens:
        raise InputError(
            f"a model of family {model.family} has no vocabulary to score",
            field="model.head",
            value=head,
            allowed=[known for known in schema("model")["head"].choices if known not in WORD_HEADS],
        )
    return replace(model, head=head)


def _variant(name: str, texts: Mapping[str, str]) -> Model:
    """A model with another head or pattern, read past some keys."""
    ignore = tuple(word for word in re.split(r"[\s,]+", texts.get("ignore_keys", "")) if word)
    model = load_model(name, ignore)
    if "head" in texts:
        model = _with_head(model, texts["head"])
    if "pattern" in texts:
        model = with_pattern(model, texts["pattern"], frozenset(texts) & {_WINDOW})
    return model


def structures(table: SettingsTable) -> Structures:
    """The distinct models and accelerators of a table, and which of them share a structure."""
    column = table.columns["model"]
    variants, variant_codes = _variants(table)
    models: dict[tuple[int, int], Model] = {}
    seen: dict[object, int] = {}
    codes = np.zeros((len(column.values), len(variants)), dtype=np.intp)
    # Only what a design has: a text may have no meaning for the model of another row.
    wide = len(variants)
    for both in distinct(column.codes * wide + variant_codes)[0].tolist():
        i, j = divmod(both, wide)
        models[i, j] = _variant(str(column.values[i]), variants[j])
        codes[i, j] = seen.setdefault(structure(models[i, j]), len(seen))
    accelerators = [
        v if isinstance(v, Accelerator) else load_accelerator(str(v))
        for v in table.columns["accelerator"].values
    ]
    kinds: dict[object, int] = {}
    kind = [
        kinds.setdefault(
            (a.machine, *(_told(a, n, a.settings.get(n)) for n in _telling(a))), len(kinds)
        )
        for a in accelerators
    ]
    return Structures(
        models,
        codes[column.codes, variant_codes],
        accelerators,
        np.array(kind, dtype=np.intp)[table.columns["accelerator"].codes],
        variant_codes,
    )


def _telling(accelerator: Accelerator) -> tuple[str, ...]:
    """Settings of a machine that belong to the structure: native number formats, and what `auto`
    follows."""
    return (*accelerator.machine.natives, *accelerator.machine.deciding)


def _told(accelerator: Accelerator, name: str, value: object) -> object:
    """What of a setting's value belongs to the structure; of one that is not given, of the
    machine's own."""
    text = str(accelerator.machine.fields[name].default if value is None else value).strip()
    alike = accelerator.machine.deciding.get(name)
    return text if alike is None else alike(text)


def codes_of(table: SettingsTable, s: Structures) -> tuple[Array, Array]:
    """(D,) group of each design, numbered by first appearance, and the first row of each."""
    parts = [s.model_code, s.accelerator_code]
    for name in CATEGORICAL:
        if f"workload.{name}" in table.columns:
            parts.append(table.columns[f"workload.{name}"].codes)
    telling = {name: a for a in s.accelerators for name in _telling(a)}
    for name in sorted(telling):
        column = table.columns.get(f"accelerator.{name}")
        if column is not None:
            told: dict[object, int] = {None: 0}  # as the preset has it
            own = [None if v is None else _told(telling[name], name, v) for v in column.values]
            kinds = [told.setdefault(value, len(told)) for value in own]
            parts.append(np.array(kinds, dtype=np.intp)[column.codes])
    parts += _shapes(table)
    if "workload.generate" in table.columns:
        field = schema("workload")["generate"]
        parts.append((table.at("workload.generate", field, np.arange(table.size), 0.0) > 0) + 0)
    if "workload.prefill_chunk" in table.columns or "workload.implementation" in table.columns:
        parts.append(_chunked(table, s) + 0)
    key = combine(parts)
    _, first, codes = distinct(key)
    order = np.argsort(first, kind="stable")
    rank = np.empty(order.size, dtype=np.intp)
    rank[order] = np.arange(order.size)
    return rank[codes], first[order]


def _chunked(table: SettingsTable, s: Structures) -> Array:
    """(D,) whether the prompts of a design would be read in pieces, if it reads prompts."""
    every, fields = np.arange(table.size), schema("workload")
    chunk, length = (
        table.at(f"workload.{name}", fields[name], every, float(fields[name].default or 0))
        for name in ("prefill_chunk", "sequence_length")
    )
    column = table.columns.get("workload.implementation")
    if column is not None:
        own = [[a.machine.chunks.get(str(v), 0) for v in column.values] for a in s.accelerators]
        of_stack = np.array(own, dtype=float)[table.columns["accelerator"].codes, column.codes]
        chunk = np.where(chunk > 0, chunk, of_stack)
    return in_pieces(length, chunk)


def _shapes(table: SettingsTable) -> list[Array]:
    """(D,) codes of settings that make other kinds of layers where they are given at all."""
    shapes = []
    for name in STRUCTURAL:
        column = table.columns.get(f"model.{name}")
        if column is None:
            continue
        if name == "dense_layers":
            shapes.append(column.codes)
        elif any(value is None for value in column.values):
            shapes.append(
                np.array([value is not None for value in column.values])[column.codes] + 0
            )
    return shapes


def combine(parts: list[Array]) -> Array:
    """(D,) one integer for each distinct combination of codes, without overflow.

    parts : (D,) codes each.
    """
    key: Array = np.zeros(parts[0].shape, dtype=np.int64)
    room = 1
    for codes in parts:
        radix = int(codes.max(initial=0)) + 1
        if radix == 1:
            continue
        if room > 2**62 // radix:
            key = distinct(key)[2].astype(np.int64)
            room = int(key.max(initial=0)) + 1
        key = key * radix + codes
        room *= radix
    return key


def said(table: SettingsTable, rows: Array, s: Structures) -> dict[str, Array]:
    """Notes of the models of a group, and the (D,) designs that have them.

    rows : (D,) places of the designs in the table.
    """
    noted = {key: model.notes for key, model in s.models.items() if model.notes}
    notes: dict[str, Array] = {}
    codes, variants = table.columns["model"].codes[rows], s.variant_codes[rows]
    for (name, variant), texts in noted.items():
        here = (codes == name) & (variants == variant)
        for text in texts if here.any() else ():
            notes[text] = notes.get(text, np.zeros(rows.size, dtype=bool)) | here
    return notes
