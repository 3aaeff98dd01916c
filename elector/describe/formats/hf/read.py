"""`config.json` -> `Model`: type, keys, class, formats, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from elector.base import paths
from elector.base.errors import InputError, nearest
from elector.base.table import load_json
from elector.describe.formats.hf.advice import in_yaml
from elector.describe.formats.hf.listed_modules import wholly_listed
from elector.describe.formats.hf.quantization import beside, of_group, quantization, unread
from elector.describe.formats.hf.targets import by_targets, names_parts, told_apart, unsaid
from elector.describe.formats.hf.types import (
    HEADS,
    LABELS,
    LAYOUTS,
    Kind,
    Parts,
    class_sizes,
    kinds,
    labels_of,
    parts,
    refused,
)
from elector.describe.formats.hf.unread_keys import UnreadKey, refusal, unread_keys
from elector.describe.model import Model
from elector.describe.quantization import Quantization

#: Keys of the parts of such a model that are left out, and what a note calls them.
_TOWERS = {
    "vision_config": "images",
    "audio_config": "sound",
    "high_res_vision_config": "large images",
    "encoder_config": "sound",
    "acoustic_tokenizer_encoder_config": "sound",
    "semantic_tokenizer_encoder_config": "the sense of sound",
    "projector_config": "what sound hands over",
    "qformer_config": "questions to images",
    "vq_config": "drawing images",
    "talker_config": "speech",
    "token2wav_config": "waves of speech",
    "code2wav_config": "waves of speech",
}
#: Models that think and talk -> the part that generates text.
_THINKERS = {"qwen2_5_omni": "thinker_config", "qwen3_omni_moe": "thinker_config"}
#: Keys that say how weights are stored, the one of today first.
_FORMATS = ("quantization_config", "compression_config")
#: Layers that predict further tokens.
_FURTHER = (
    "num_nextn_predict_layers",
    "num_mtp_modules",
    "mtp_num_hidden_layers",
    "num_mtp_layers",
)
#: Least share of letters that a type and the one it may be meant for have in common.
_ALIKE = 0.65
#: How errors begin that say that something is not read, not that it is wrong.
_REFUSALS = (
    "model type is not supported",
    "is not read by the class",
    "is not known of",
    "is not supported",
    "unknown activation",
    "unknown layer",
    "unknown feed-forward projection",
)


def from_config(
    config: Mapping[str, Any], name: str, file: object, ignore: Iterable[str] = ()
) -> Model:
    """The model of a configuration.

    name : what to call it. file : for errors. ignore : keys that are read past although nobody
    knows what they change; the notes of the model say so.
    Raises InputError for a type, class or key that is not known.
    """
    entries = {str(key): value for key, value in config.items()}
    past = sorted(set(ignore) & _all_keys(entries))
    missing = sorted(set(ignore) - _all_keys(entries))
    if missing:
        raise InputError(
            "is no key of the configuration",
            file=file,
            field="model.ignore_keys",
            value=missing[0],
            allowed=sorted(_all_keys(entries) - set(ignore)),
        )
    for key in past:
        entries = _without(entries, key)
    try:
        model = _read(entries, file)
    except InputError as error:
        raise _advised(error, entries, file) from None
    notes = [f"{key} of the configuration is not counted: it was read past" for key in past]
    model = _with_formats(model, _stored(entries), file)
    source = f"Hugging Face configuration, {entries['model_type']}"
    return replace(model, name=name, source=source, notes=(*notes, *model.notes))


def _stored(entries: Mapping[str, Any]) -> object:
    """What a configuration, or the part of it that generates, says of its weights."""
    inner = entries.get("text_config")
    parts = (entries, inner if isinstance(inner, dict) else {})
    descriptions = (part.get(key) for key in _FORMATS for part in parts)
    return next((stored for stored in descriptions if stored is not None), None)


def _advised(error: InputError, entries: Mapping[str, Any], file: object) -> InputError:
    """A refusal with the YAML that would express the model, where ours can."""
    if not error.problem.startswith(_REFUSALS):
        return error
    inner = entries.get("text_config")
    own = {**entries, **inner} if isinstance(inner, dict) else dict(entries)
    own.pop("text_config", None)
    kind = own.get("model_type")
    key = str(error.field).removeprefix("text_config.")
    advice = in_yaml(own, kinds().get(kind) if isinstance(kind, str) else None, key, file)
    if advice:
        error.hint = f"{advice}\n  or: {error.hint}" if error.hint else advice
    return error


def _all_keys(entries: Mapping[str, Any]) -> set[str]:
    inner = entries.get("text_config")
    return {*entries, *(inner if isinstance(inner, dict) else ())}


def _without(entries: Mapping[str, Any], key: str) -> dict[str, Any]:
    rest = {name: value for name, value in entries.items() if name != key}
    if isinstance(rest.get("text_config"), dict):
        rest["text_config"] = {n: v for n, v in rest["text_config"].items() if n != key}
    return rest


def _read(entries: Mapping[str, Any], file: object) -> Model:
    kind = entries.get("model_type")
    if isinstance(kind, str) and kind in _THINKERS:
        return _thinking(entries, _THINKERS[kind], file)
    if isinstance(kind, str) and kind in parts():
        whole = parts()[kind]
        if isinstance(entries.get("text_config"), dict):
            return _wrapped(whole, entries, file)
        if whole.flat and "hidden_size" in entries:
            return _wrapped(whole, _nested(whole, entries), file)
    row = _kind(entries, file)
    model = _of_kind(row, entries, file)
    return _with_head(model, row, entries, file)


def _thinking(entries: Mapping[str, Any], key: str, file: object) -> Model:
    """A model that thinks, under `key`, and talks: the first alone."""
    inner = entries.get(key)
    if not isinstance(inner, dict):
        problem = "is missing" if inner is None else "must be a mapping"
        raise InputError(problem, file=file, field=key, value=inner)
    rest = {name: value for name, value in entries.items() if name not in (key, *_TOWERS)}
    switches = {"enable_audio_output", "enable_talker"}
    if around := unread_keys(rest, switches, "", "such a model"):
        raise refusal(around, file)
    own = {"model_type": f"{entries['model_type']}_thinker"} | dict(inner)
    own.pop("architectures", None)
    model = _read(own, file)
    return replace(model, notes=(*model.notes, *_left_out(entries)))


def _left_out(entries: Mapping[str, Any]) -> list[str]:
    """What is said of the parts that are not counted."""
    return [
        f"the part for {what} ({key}) is left out: only the text model is counted"
        for key, what in _TOWERS.items()
        if isinstance(entries.get(key), dict)
    ]


def _nested(whole: Parts, entries: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration that has the keys of its text model beside those of the whole."""
    own = {"model_type", "architectures", *_TOWERS, *_FORMATS, *whole.also}
    inner = {key: value for key, value in entries.items() if key not in own}
    outer = own | {"tie_word_embeddings"}
    return {key: entries[key] for key in outer if key in entries} | {"text_config": inner}


def _wrapped(whole: Parts, entries: Mapping[str, Any], file: object) -> Model:
    """A model of several parts: the one that generates; the others are said to be left out."""
    inner = dict(entries["text_config"])
    inner.setdefault("model_type", whole.text)
    tie = "tie_word_embeddings"
    for part in (entries, inner):
        if not isinstance(part.get(tie, False), bool):
            raise InputError("must be true or false", file=file, field=tie, value=part[tie])
    inner[tie] = whole.tied(entries.get(tie), inner.get(tie))
    kind = _kind(inner, file, "text_config.")
    silent = _silent_sizes(str(entries["model_type"]), kind, inner)
    outer = {key: value for key, value in entries.items() if key not in ("text_config", *_TOWERS)}
    around = unread_keys(outer, {tie, *whole.also}, "", str(entries["model_type"]))
    model = _of_kind(kind, {**silent, **inner}, file, "text_config.", around)
    own = replace(kind, classes=whole.classes, heads="conditional")
    model = _with_head(model, own, entries, file)
    notes = _left_out(entries)
    if silent:
        said = ", ".join(f"{key} {value}" for key, value in silent.items())
        notes.append(f"text_config does not say all sizes: those of its class are taken ({said})")
    return replace(model, notes=(*model.notes, *notes))


def _silent_sizes(whole: str, kind: Kind, entries: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes that the text model of a whole has by its class alone: own name -> number.

    whole : type of the whole. kind, entries : row and configuration of its text model.
    """
    groups = [own.split("|") for own in kind.names.values()]
    return {
        key: value
        for key, value in class_sizes(whole, kind.model_type).items()
        if not any(
            name in entries for name in (key, *(n for own in groups if key in own for n in own))
        )
    }


def _kind(entries: Mapping[str, Any], file: object, prefix: str = "") -> Kind:
    """The row of a configuration's type."""
    kind = entries.get("model_type")
    if isinstance(kind, str) and kind in kinds():
        return kinds()[kind]
    field = f"{prefix}model_type"
    if kind is None:
        alike = _of_class(entries)
        hint = f'its class is that of "model_type": "{alike}"' if alike else ""
        raise InputError("is missing", file=file, field=field, hint=hint)
    own = "; its own code (auto_map) is not run" if "auto_map" in entries else ""
    known = refused().get(kind) if isinstance(kind, str) else None
    why = f": not described is {known}" if known else ""
    meant = None if known else nearest(kind, kinds(), _ALIKE)
    raise InputError(
        f"model type is not supported{why}{f'; did you mean {meant}?' if meant else ''}{own}",
        file=file,
        field=field,
        value=kind,
        hint=_other_ways(entries, file),
    )


def _other_ways(entries: Mapping[str, Any], file: object) -> str:
    """Ways to a model whose type is not known."""
    build = f"`elector import {file} --out model.yaml` builds its class where transformers has it; "
    return (
        f"{'' if 'auto_map' in entries else build}docs/models.md says what a model file can say, "
        f"docs/reference-models.md lists the {len(kinds())} types"
    )


def _of_class(entries: Mapping[str, Any]) -> str:
    """The type whose classes are called as the file's; "" where there is none, or several."""
    listed = entries.get("architectures")
    first = str(listed[0]) if isinstance(listed, list) and listed else ""
    types = [
        kind.model_type
        for kind in kinds().values()
        if any(first == kind.classes + ending for ending in HEADS[kind.heads])
    ]
    return types[0] if len(types) == 1 else ""


def _of_kind(
    kind: Kind,
    entries: Mapping[str, Any],
    file: object,
    prefix: str = "",
    around: Sequence[UnreadKey] = (),
) -> Model:
    """The model of a row. around : keys that nobody reads in the parts around it."""
    config = kind.config(entries, file, prefix)

    def unread() -> list[UnreadKey]:
        known = {*config.read, *kind.own, *kind.fixed(entries)}
        return [*unread_keys(entries, known, prefix, kind.model_type), *around]

    try:
        model = LAYOUTS[kind.layout](config, kind.traits)
    except InputError as error:
        # What is missing may stand there under a name the class does not read.
        keys = unread()
        raise (refusal(keys, file) if any(key.on for key in keys) else error) from None
    if keys := unread():
        raise refusal(keys, file)
    notes = []
    if entries.get("auto_map"):
        notes.append(
            f"the file's own code (auto_map) is not run: it is read as {kind.model_type} of "
            "transformers"
        )
    further = [key for key in _FURTHER if _is_number(entries.get(key)) and entries[key] > 0]
    if further:
        number = entries[further[0]]
        layers = "one layer that predicts" if number == 1 else f"{number} layers that predict"
        are, they = ("is", "it runs") if number == 1 else ("are", "they run")
        notes.append(
            f"the {layers} further tokens ({further[0]}) {are} left out: {they} only where "
            f"{'it is' if number == 1 else 'they are'} asked for"
        )
    if kind.note:
        notes.append(kind.note)
    return replace(model, notes=(*model.notes, *notes))


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _plain(name: str) -> str:
    """The name of a class without case and marks."""
    return name.replace("_", "").lower()


def _with_head(model: Model, kind: Kind, entries: Mapping[str, Any], file: object) -> Model:
    """The head that the first of `architectures` stands for."""
    endings = HEADS[kind.heads]
    listed = entries.get("architectures")
    first = listed[0] if isinstance(listed, list) and listed else listed
    if not first:
        return replace(model, head=next(iter(endings.values())))
    known = {kind.classes + ending: head for ending, head in endings.items()}
    plain = _plain(str(first).removeprefix("TF").removeprefix("Flax"))
    match = next((name for name in known if _plain(name) == plain), None)
    if match is None:
        raise InputError(
            "class is not supported",
            file=file,
            field="architectures",
            value=first,
            allowed=known,
            hint="the same layers with a head of ours: --set model.head=NAME on a file without it",
        )
    head = known[match]
    labels = model.labels
    if head in ("classifier", "token-classifier"):
        ending = match[len(kind.classes) :]
        labels = LABELS.get(ending) or labels_of(entries, file)
    model = replace(model, head=head, labels=labels)
    return replace(model, notes=(*model.notes, *_of_head(model)))


def _of_head(model: Model) -> list[str]:
    """What a class does with its head that is not counted."""
    notes = []
    twice = model.head in ("masked-lm", "pre-training") and model.vocabulary_bias
    if twice and not model.tied_embeddings:
        notes.append("the bias over the vocabulary, of which an untied class has two, counts once")
    if model.head == "classifier" and model.family == "decoder":
        notes.append(
            "the labels of the last token are counted: the class scores every token and takes these"
        )
    return notes


def _with_formats(model: Model, stored: object, file: object) -> Model:
    """What the file, or one beside it, says of the formats of its weights."""
    formats, entries = None, {}
    if stored is not None:
        if not isinstance(stored, dict):
            raise InputError("must be a mapping", file=file, field="quantization_config")
        formats, entries = quantization(stored, file), stored
        if formats.method == "compressed-tensors":
            formats = _told_apart(formats, stored, model, file)
            model = replace(model, notes=(*model.notes, *unsaid(stored, model, formats)))
        for key in unread(stored):
            note = f"quantization_config.{key} is not known: what it changes is not counted"
            model = replace(model, notes=(*model.notes, note))
    elif (other := _beside(file)) is not None:
        data = load_json(other, 32 << 20, finite=False)
        if not isinstance(data, dict):
            raise InputError("must hold a mapping of keys to values", file=other)
        formats, entries = beside(data, other), data["quantization"]
    if formats is None:
        return model
    # formats of parts are read from a list of modules, which may not have all of a part
    listed = entries.get("quantized_layers")
    if formats.parts and listed and not wholly_listed(listed, model):
        formats = formats.in_several()
    return replace(model, quantization=formats)


def _told_apart(
    formats: Quantization, stored: Mapping[str, Any], model: Model, file: object
) -> Quantization:
    """Groups of compressed-tensors, each part of the model in the format of its own."""
    parts = by_targets(stored, of_group, model, file)
    own = told_apart(formats, parts) if parts else None
    if own is None and names_parts(stored):
        return formats.in_several()
    return own or formats


def _beside(file: object) -> Path | None:
    """`hf_quant_config.json` beside a `config.json`; both may have the same words in front."""
    path = Path(str(file))
    if not path.name.endswith("config.json") or paths.is_special(path):
        return None
    other = path.with_name(path.name.removesuffix("config.json") + "hf_quant_config.json")
    return other if paths.exists(other, "model") else None
