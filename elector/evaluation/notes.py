"""What a result should say besides its figures: settings without effect, rules that were taken.

A note is a sentence and the designs it is said of (elector.machines.contract.Note). Those that
follow from what was asked come from `SOURCES`, a function each; those of a machine from its
`Activity.notes`. A sentence that begins with the name of a setting is about what was given.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from elector.describe.listing import WORKLOAD
from elector.describe.model import Model
from elector.describe.numbers import formats, precisions, storage_note
from elector.describe.quantization import MODULES, Quantization
from elector.evaluation import applies
from elector.evaluation.resolve import StructureGroup
from elector.machines.contract import Note

#: Bits from which on a format is no narrow one.
_WIDE = 16.0


def narrow_states(group: StructureGroup) -> dict[str, Note]:
    """A step that trains weights of few bits without a wider copy of them."""
    text = storage_note(group.workload.format) if group.workload.training else ""
    return {text: Note(np.ones(group.rows.size, dtype=bool))} if text else {}


def _has_matrices(model: Model) -> bool:
    return bool(model.blocks or model.gemms or model.listing)


def packed(group: StructureGroup) -> dict[str, Note]:
    """What is stored in a format of its own, and what is not."""
    texts = []
    if _has_matrices(group.models.template):
        texts += _taken(group) + _wider_cache(group)
    if group.models.template.quantization is not None:
        texts += _not_counted(group, group.models.template.quantization)
    return {text: Note(np.ones(group.rows.size, dtype=bool)) for text in texts}


def _taken(group: StructureGroup) -> list[str]:
    """Formats that weights are counted in, where any has one of its own."""
    workload, f = group.workload, group.workload.format
    parts = dict(workload.parts)
    if f.packed is None and not parts:
        return []
    said = [
        f"{part} in {name}, {8.0 * formats()[name].width:.4g} bits" for part, name in parts.items()
    ]
    kept = "".join(f", {part}" for part in workload.kept)
    heads = "" if "head" in parts else "heads, "
    stay = f"embeddings, {heads}norms{kept} and biases stay in {f.weights.name}"
    if _in_the_main_format(group.models.template, (*workload.kept, *parts)):
        own, scaled = f.layer_weights, " with scales" if f.layer_weights.scaled else ""
        matrices = f"{own.name}, {8.0 * own.width:.4g} bits a weight{scaled}"
        return ["; ".join([f"the matrices of layers are stored in {matrices}", *said, stay])]
    return [f"the file stores {'; '.join([*said, stay])}"] if said else []


def _wider_cache(group: StructureGroup) -> list[str]:
    """Keys and values in wider numbers than products multiply, as engines keep them whose
    attention multiplies in those."""
    workload, f = group.workload, group.workload.format
    if not workload.keeps.any() or f.cached is None or f.repacked is not None:
        return []
    return [
        f"keys and values are kept in {f.cached.name}, wider than the {f.products.name} that is "
        f"multiplied: attention reads them so, and is taken to multiply in {f.products.name} "
        "all the same"
    ]


def _in_the_main_format(model: Model, others: Collection[str]) -> bool:
    """Whether matrices of layers are in the format of weights. others : parts that are not."""
    if not model.blocks:
        return True
    return any(model.has_part(part) for part in MODULES if part not in (*others, "head"))


def _not_counted(group: StructureGroup, stored: Quantization) -> list[str]:
    """What a model's own file stores in other formats than are counted."""
    model, workload, f = group.models.template, group.workload, group.workload.format
    texts = []
    others = [*stored.kept, *(part for part, _ in stored.parts)]
    main = not stored.parts or _in_the_main_format(model, others)
    if stored.weights and f.layer_weights.name != stored.format and main:
        texts.append(
            f"the file stores weights in {stored.said} ({stored.method}), which is "
            f"not counted here: weights are stored in {f.layer_weights.name}"
        )
    counted = {"head": f.weights.name, **dict.fromkeys(workload.kept, f.weights.name)}
    counted |= dict(workload.parts)
    listed = {part: name for part, name in stored.parts if name and model.has_part(part)}
    missed = {
        part: counted.get(part, f.layer_weights.name)
        for part, name in listed.items()
        if counted.get(part, f.layer_weights.name) != name
    }
    if missed:
        file = ", ".join(f"{part} in {listed[part]}" for part in missed)
        here = ", ".join(f"{part} in {name}" for part, name in missed.items())
        texts.append(f"the file stores {file} ({stored.method}), which is not counted here: {here}")
    if stored.weights and f.weights.bits < _WIDE:
        texts.append(
            f"embeddings and heads, which the file does not quantise (its method is "
            f"{stored.method}), are counted in {f.weights.name}, as workload.precision has them"
        )
    if main and stored.format == f.layer_weights.name and not stored.own_format:
        texts.append(f"the file stores weights in {stored.nearest_said}: no format is nearer")
    texts += [
        f"the file stores {said}: no format is nearer"
        for said in stored.near
        if any(said.startswith(f"{part} in ") for part in dict(workload.parts))
    ]
    return texts + _of_cache(group, stored)


def _of_cache(group: StructureGroup, stored: Quantization) -> list[str]:
    """What a model's own file says of keys and values, and whether it is counted."""
    workload, f = group.workload, group.workload.format
    texts = []
    cache = f.keys_values if f.cached is None else f.cached
    if workload.generates and stored.kv_cache == cache.name:
        texts.append(
            f"keys and values are kept in {cache.name}, {8.0 * cache.width:.4g} bits, as the file "
            f"says ({stored.method})"
        )
    if workload.generates and stored.kv_cache not in ("", cache.name):
        texts.append(
            f"the file keeps keys and values in {stored.kv_cache} ({stored.method}), which is not "
            f"counted here: they are kept in {cache.name}"
        )
    return texts


def wider_products(group: StructureGroup) -> dict[str, Note]:
    """Products in a wider format than a file stores floats in, on a machine that has that one."""
    stored, f = group.models.template.quantization, group.workload.format
    if stored is None or stored.format != f.layer_weights.name or group.machine.supports is None:
        return {}
    narrow = _multiplied_in(stored.format)
    if narrow is None or f.products.bits <= precisions()[narrow].layer_weights.bits:
        return {}
    can = group.machine.supports(group.units, precisions()[narrow].compute)
    text = (
        f"products are in {f.products.name}: the file stores weights in {stored.format}, and this "
        f"machine could multiply in {narrow}, activations too (--precision {narrow})"
    )
    return {text: Note(can & ~_asked(group, "workload.precision"))}


def _multiplied_in(stored: str) -> str | None:
    """The precision whose products are in the floats that a file stores; None for integers, which
    files mean for storage alone."""
    own = formats()[stored]
    alike = [
        name
        for name, precision in precisions().items()
        if own.kind == "float"
        and own.bits < _WIDE
        and (own.kind, own.bits, own.significand)
        == (
            precision.layer_weights.kind,
            precision.layer_weights.bits,
            precision.layer_weights.significand,
        )
    ]
    return stored if stored in alike else alike[0] if len(alike) == 1 else None


def _asked(group: StructureGroup, key: str) -> np.ndarray:
    """(D,) whether a design was given a value of its own."""
    column = None if group.table is None else group.table.columns.get(key)
    if column is None:
        return np.zeros(group.rows.size, dtype=bool)
    given = np.array([str(value) != "native" and applies.asks(value) for value in column.values])
    return np.asarray(given[column.codes[group.rows]])


def predicted(group: StructureGroup) -> dict[str, Note]:
    """How many positions of a sequence a masked-LM head sees in training: not all of them."""
    workload = group.workload
    if group.models.template.head != "masked-lm" or not workload.training:
        return {}
    numbers = {
        "predicted": (workload.predictions[group.pair], "1"),
        "length": (workload.sequence_length[group.pair], "1"),
    }
    text = (
        "the masked-LM head trains on {predicted} of the {length} positions of a sequence "
        "(workload.predictions)"
    )
    return {text: Note(np.ones(group.rows.size, dtype=bool), numbers)}


def nothing_selected(group: StructureGroup) -> dict[str, Note]:
    """Scores that are computed again where none are kept: flash attention keeps none, and a model
    without attention has none."""
    workload, model = group.workload, group.models.template
    if not workload.training or workload.activations != "selective" or not model.blocks:
        return {}
    if workload.trainable == "heads":  # which keeps nothing of any layer
        return {}
    attends = bool(applies.mixers_of(model) & {"attention", "latent"})
    if attends and workload.attention != "flash":
        return {}
    why = "flash attention keeps no scores" if attends else "no layer of the model has attention"
    text = f"workload.activations changes nothing: {why}, and selective computes only these again"
    return {text: Note(np.ones(group.rows.size, dtype=bool))}


def read_at_once(group: StructureGroup) -> dict[str, Note]:
    """A piece of a prompt that is given and no smaller than the prompt, which is read at once."""
    workload = group.workload
    reads = workload.prefill_chunk > 0
    if workload.chunked or not reads.any():
        return {}
    numbers = {"length": (workload.sequence_length[group.pair], "1")}
    text = "workload.prefill_chunk changes nothing: a prompt of {length} tokens is read at once"
    given = _asked(group, "workload.prefill_chunk")
    return {text: Note(given & reads[group.pair], numbers)}


def beyond_positions(group: StructureGroup) -> dict[str, Note]:
    """A sequence that is longer than a file without a table of positions says of its model."""
    longest = group.models.numbers["longest"]
    length = group.workload.sequence_length + group.workload.generate
    over = (longest > 0) & (length > longest)
    if not over.any():
        return {}
    numbers = {"length": (length[group.pair], "1"), "longest": (longest[group.pair], "1")}
    text = (
        "a sequence of {length} tokens is longer than the {longest} positions that the model's "
        "file says (max_position_embeddings): it is costed all the same"
    )
    return {text: Note(over[group.pair], numbers)}


def of_the_model(group: StructureGroup) -> dict[str, Note]:
    """What the reader of a model's file has to say."""
    return {text: Note(where) for text, where in group.said.items()}


def idle_sizes(group: StructureGroup) -> dict[str, Note]:
    """Sizes that are given and that no operation of a list follows."""
    listing, table = group.models.template.listing, group.table
    if listing is None or table is None:
        return {}
    notes = {}
    for symbol, name in WORKLOAD.items():
        column = table.columns.get(f"workload.{name}")
        if column is not None and symbol not in listing.names:
            given = np.array([value is not None for value in column.values])
            text = (
                f"workload.{name} changes nothing: no size of the operation list follows {symbol}"
            )
            notes[text] = Note(given[column.codes[group.rows]])
    return notes


#: Each: a group of designs -> sentence -> what it is said of.
SOURCES: tuple[Callable[[StructureGroup], dict[str, Note]], ...] = (
    applies.of_group,
    of_the_model,
    narrow_states,
    packed,
    wider_products,
    predicted,
    nothing_selected,
    read_at_once,
    beyond_positions,
    idle_sizes,
)


def of_group(group: StructureGroup) -> dict[str, Note]:
    """Sentence -> the (D,) designs of a group it is said of."""
    notes: dict[str, Note] = {}
    for source in SOURCES:
        notes |= source(group)
    return notes
