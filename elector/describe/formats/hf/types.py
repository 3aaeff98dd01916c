"""The tables of the reader: model types, and keys that change nothing."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from elector.base.table import DATA, read_csv, read_rows
from elector.describe.formats.hf.config import Config
from elector.describe.formats.hf.decoders import (
    cohere2_moe,
    decoder,
    falcon,
    lfm2,
    lfm3,
    mimo_v2,
    mpt,
)
from elector.describe.formats.hf.encoders import (
    bert,
    rotary_encoder,
    scaled_vit,
    seq2seq,
    t5,
    text_tower,
    vit,
)
from elector.describe.formats.hf.hybrids import (
    falcon_h1,
    gemma4,
    mamba,
    nemotron_h,
    nemotron_nas,
    scan_decoder,
)
from elector.describe.model import Model

Layout = Callable[[Config, Mapping[str, Any]], Model]

LAYOUTS: dict[str, Layout] = {
    "decoder": decoder,
    "falcon": falcon,
    "mpt": mpt,
    "lfm2": lfm2,
    "lfm3": lfm3,
    "cohere2_moe": cohere2_moe,
    "mimo_v2": mimo_v2,
    "nemotron_h": nemotron_h,
    "mamba": mamba,
    "scan_decoder": scan_decoder,
    "falcon_h1": falcon_h1,
    "gemma4": gemma4,
    "nemotron_nas": nemotron_nas,
    "bert": bert,
    "rotary_encoder": rotary_encoder,
    "seq2seq": seq2seq,
    "t5": t5,
    "vit": vit,
    "scaled_vit": scaled_vit,
    "text_tower": text_tower,
}
_LANGUAGE = {
    "ForSequenceClassification": "classifier",
    "ForTokenClassification": "token-classifier",
    "ForQuestionAnswering": "question-answering",
}
_CAUSAL = {
    "ForCausalLM": "causal-lm",
    "LMHeadModel": "causal-lm",
    **_LANGUAGE,
    "TextForSequenceClassification": "classifier",
    "Model": "none",
    "TextModel": "none",
}
_ENCODER = {
    "ForMaskedLM": "masked-lm",
    "ForPreTraining": "pre-training",
    "ForMultipleChoice": "classifier",
    "ForNextSentencePrediction": "classifier",
    **_LANGUAGE,
}
#: Kind of heads of a row -> ending of a class -> our head; the first one is the default.
HEADS: dict[str, dict[str, str]] = {
    "causal": _CAUSAL,
    "conditional": {"ForConditionalGeneration": "causal-lm", **_CAUSAL},
    "pooled": {"Model": "pooler", **_ENCODER},
    "bare": {"Model": "none", **_ENCODER},
    # EuroBERT's classes of sequences have a dense layer on every token, which is not described
    "tokens": {
        "Model": "none",
        "ForMaskedLM": "masked-lm",
        "ForTokenClassification": "token-classifier",
    },
    "electra": {"Model": "none", **_ENCODER, "ForPreTraining": "token-detection"},
    "seq2seq": {
        "ForConditionalGeneration": "causal-lm",
        "WithLMHeadModel": "causal-lm",
        "MTModel": "causal-lm",
        "EncoderModel": "none",
        "Model": "none",
    },
    "vision": {"Model": "pooler", "ForImageClassification": "classifier"},
    "vision-bare": {"Model": "none", "ForImageClassification": "classifier"},
    # DINO's classes of images read two tokens side by side, which is not described
    "vision-model": {"Model": "none"},
    "text": {"TextModel": "none"},
    "text-pooled": {"TextModel": "pooler"},
}
#: Labels that a class has whatever the file says.
LABELS = {"ForMultipleChoice": 1, "ForNextSentencePrediction": 2}


@dataclass(frozen=True)
class Kind:
    """One `model_type`; a row of data/model_types.csv.

    layout : what reads it. classes : how the names of its classes begin. heads : kind of HEADS.
    traits : fields of Model, and switches of the layout (with _ in front). names : canonical key
    -> the file's. honours : canonical keys the class reads. defaults : what it takes where the
    file is silent. also : keys of the file that it has for other programs -> the values that
    change nothing (none: any). note : what is to be said of it.
    """

    model_type: str
    layout: str
    classes: str
    heads: str
    traits: Mapping[str, Any]
    names: Mapping[str, str]
    honours: frozenset[str]
    defaults: Mapping[str, Any]
    also: Mapping[str, tuple[str, ...]]
    note: str

    def config(self, entries: Mapping[str, Any], file: object, prefix: str = "") -> Config:
        """A configuration of this type.

        prefix : what stands before a key in errors.
        """
        return Config(entries, file, self.names, self.defaults, self.honours, prefix)

    @functools.cached_property
    def own(self) -> frozenset[str]:
        """Keys of files that the class reads."""
        return frozenset(
            name for key in self.honours for name in self.names.get(key, key).split("|")
        )

    def fixed(self, entries: Mapping[str, Any]) -> set[str]:
        """Keys of other programs that hold what changes nothing."""
        return {
            key
            for key, allowed in self.also.items()
            if key in entries and (not allowed or _text(entries[key]) in allowed)
        }


@functools.cache
def kinds() -> dict[str, Kind]:
    """model_type -> its row."""
    rows = {}
    for row in read_rows(DATA / "model_types.csv"):
        assert row["layout"] in LAYOUTS and row["heads"] in HEADS, row
        rows[row["model_type"]] = Kind(
            row["model_type"],
            row["layout"],
            row["classes"],
            row["heads"],
            _values(row["traits"]),
            dict(word.split("=") for word in row["names"].split()),
            frozenset(row["reads"].split()),
            _values(row["defaults"]),
            {key: tuple(v.split("|")) if v else () for key, _, v in _words(row["also"])},
            row["note"],
        )
    return rows


@dataclass(frozen=True)
class Parts:
    """A model of several parts, of which one generates text; a row of data/model_parts.csv.

    classes : how the names of its classes begin. text : type of the part that generates, where
    the file does not say it. ties : whether head and embedding are one where the file is silent.
    rule : whose word on that counts: outer | inner | either | never (whatever they say, there are
    two). flat : whether files may have the
    keys of the text model beside those of the whole. also : keys of the parts that are left out.
    """

    classes: str
    text: str
    ties: bool
    rule: str
    flat: bool
    also: frozenset[str]

    def tied(self, outer: bool | None, inner: bool | None) -> bool:
        """Whether head and embedding are one.

        outer, inner : what the whole and its text model say; None: nothing.
        """
        if self.rule == "never":
            return False
        outer, inner = (self.ties if said is None else said for said in (outer, inner))
        if self.rule == "either":
            return outer or inner
        return outer if self.rule == "outer" else inner


@functools.cache
def parts() -> dict[str, Parts]:
    """model_type -> its row."""
    rows = {}
    for row in read_rows(DATA / "model_parts.csv"):
        rule, *flat = row["rule"].split()
        ties, also = row["ties"] == "true", frozenset(row["also"].split())
        rows[row["model_type"]] = Parts(row["classes"], row["text"], ties, rule, bool(flat), also)
    return rows


#: What stands for a whole whose text model has the sizes of its own class alone.
_ANY_WHOLE = "any"


@functools.cache
def _class_sizes() -> dict[tuple[str, str], dict[str, Any]]:
    """(whole, type of its text model) -> sizes (data/class_sizes.csv)."""
    rows = read_rows(DATA / "class_sizes.csv")
    return {(row["whole"], row["text"]): _values(row["sizes"]) for row in rows}


def class_sizes(whole: str, text: str) -> dict[str, Any]:
    """Sizes that a text model has where a file is silent: those of its class; {} if not known.

    whole : type of the model of several parts. text : type of its text model. Most wholes build
    the class that a file names, as it is by itself; a whole that always builds one class, or hands
    it sizes of its own, has a row of its own, and no sizes for other types.
    """
    known = _class_sizes()
    alone = any(of == whole for of, _ in known)
    return known.get((whole if alone else _ANY_WHOLE, text), {})


def _text(value: object) -> str:
    """A value as JSON writes it."""
    words = {True: "true", False: "false"}
    if isinstance(value, bool):
        return words[value]
    return "null" if value is None else str(value)


def _words(text: str) -> list[tuple[str, str, str]]:
    return [word.partition("=") for word in text.split()]


def _values(text: str) -> dict[str, Any]:
    """`a=1 b=true c=word` as a mapping; a later word takes the place of an earlier one."""
    values: dict[str, Any] = {}
    for word in text.split():
        key, _, value = word.partition("=")
        if value in ("true", "false"):
            values[key] = value == "true"
        elif re.fullmatch(r"-?\d+", value):
            values[key] = int(value)
        else:
            values[key] = float(value) if re.fullmatch(r"-?\d*\.\d+", value) else value
    return values


def labels_of(entries: Mapping[str, Any], file: object) -> int:
    """Labels of a configuration's classifier."""
    names = entries.get("id2label")
    if isinstance(names, dict) and names:
        return len(names)
    return Config(entries, file, honours=frozenset(["num_labels"])).number("num_labels", 2)


@functools.cache
def refused() -> dict[str, str]:
    """model_type -> what its layers have that is not described, and the key that says it."""
    _, lines = read_csv(DATA / "refused_types.csv")
    return {cells[0]: f"{cells[2]} ({cells[1]})" for _, cells in lines}


@functools.cache
def neutral() -> re.Pattern[str]:
    """Keys that change nothing we count (data/config_keys.csv)."""
    _, lines = read_csv(DATA / "config_keys.csv")
    return re.compile("|".join(f"(?:{cells[0]})" for _, cells in lines))
