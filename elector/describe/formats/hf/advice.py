"""What a refused configuration would be in our own YAML, as far as its keys say it."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from elector.base.errors import InputError
from elector.base.table import DATA, read_csv
from elector.describe.formats.described import from_mapping, to_mapping
from elector.describe.formats.hf.types import HEADS, LAYOUTS, Kind, kinds, labels_of, neutral
from elector.describe.formats.hf.types import refused as not_described
from elector.describe.model import EXTRAS, Model

#: Characters of the longest YAML in a hint; longer ones list the layers of large models.
LONGEST = 1200
#: Keys that a YAML in a hint may leave out: with more of them it is another model.
MOST = 6
#: Keys that are set aside before the layers are given up.
_TRIES = 8
_SILENT = ("name", "source")
#: What plain layers of each sort are called in the table, and which keys tell one.
_ENCODES = ("ForMaskedLM", "ForPreTraining")
_GENERATES = ("ForCausalLM", "LMHeadModel")
_SEES = frozenset({"patch_size", "image_size"})
#: Plain decoders with every key of experts and latent attention, under all of its names.
_PARTS = {
    "experts": "num_experts|num_local_experts|n_routed_experts|moe_num_experts",
    "experts_per_token": "num_experts_per_tok|num_experts_per_token|moe_k|moe_top_k",
    "expert_width": "moe_intermediate_size|expert_intermediate_size",
    "shared_experts": "n_shared_experts|num_shared_experts|moe_num_shared_experts",
    "shared_width": "shared_expert_intermediate_size|moe_shared_expert_intermediate_size",
    "first_k_dense_replace": "first_k_dense_replace",
}
_LATENT = ["kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"]
_INDEX = ["index_topk", "index_n_heads", "index_head_dim"]


def in_yaml(entries: Mapping[str, Any], kind: Kind | None, refused: str, file: object) -> str:
    """What a configuration would be in YAML, and which of its keys that leaves out.

    entries : of the configuration (of the part that generates). kind : the row of its type; None:
    plain layers are tried. refused : the key that was. Returns "" where its keys say too little,
    or where reading past the refused key says the same.
    """
    plain = dict(entries)
    row = kind or _plain(plain)
    if row is None or (kind is None and str(plain.get("model_type")) in not_described()):
        return ""
    if plain.get("use_sliding_window") is False:
        plain.pop("sliding_window", None)
    aside = {key: plain.pop(key) for key in _unread(row, plain, refused)}
    for _ in range(_TRIES):
        config = row.config(plain, file)
        try:
            model = LAYOUTS[row.layout](config, row.traits)
            break
        except InputError as error:
            key = str(error.field)
            if key not in plain:
                return ""
            aside[key] = plain.pop(key)
    else:
        return ""
    try:
        model = _with_head(model, row, entries, file)
    except InputError:  # of a key that nobody has asked about
        return ""
    worded, left = _with_words(brief(model), aside)
    if kind is not None and refused not in row.own and refused in left:
        return ""
    return _said(worded, aside, left, "" if kind else row.model_type)


def _with_words(
    entries: dict[str, Any], aside: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """A file with what words of ours say of the keys set aside, and those none says anything of."""
    words, left = _in_our_words(aside)
    if "experts" not in {**entries, **words}:
        words.pop("expert_bias", None)
    both = {**entries, **words}
    try:
        from_mapping(both, "", None)
    except InputError:  # such as a list of blocks, which say of each what words say of all
        return entries, sorted(aside)
    return both, left


def _said(entries: dict[str, Any], aside: Mapping[str, Any], left: list[str], like: str) -> str:
    import yaml  # only a refused file needs it

    text = yaml.safe_dump(entries, default_flow_style=True, sort_keys=False, width=10**6).strip()
    if len(text) > LONGEST or len(left) > MOST or any(isinstance(aside[k], dict) for k in left):
        return ""
    meant = ", ".join(sorted(set(aside) - set(left)))
    means = f"if {meant} means here what it does elsewhere, " if meant else ""
    alike = f"if its layers are those of {like}, " if like else ""
    missing = f", without what {', '.join(left)} would change" if left else ""
    return f"{alike}{means}as YAML{missing}: {text}"


def brief(model: Model) -> dict[str, Any]:
    """The entries of a file that `from_mapping` makes the same layers of, without its defaults."""
    whole = to_mapping(model)
    usual = {f.name: f.default for f in fields(Model)}
    entries = {
        key: value
        for key, value in whole.items()
        if key in ("family", "blocks", "pattern", "dense_layers")
        or (key not in _SILENT and value != usual.get(key))
    }
    if not model.pattern:
        entries.pop("dense_layers", None)
    if "attention_bias" in entries:  # which output_bias follows
        entries["output_bias"] = model.output_bias
    blocks = [_brief_block(block, model.family) for block in whole["blocks"]]
    entries["blocks"] = blocks
    for shorter in _shorter(model, entries, blocks):
        if _same(shorter, model):
            return shorter
    return entries if _same(entries, model) else whole


def _shorter(
    model: Model, entries: Mapping[str, Any], blocks: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Files without a list of blocks that may say the same."""
    rest = {key: value for key, value in entries.items() if key not in ("blocks", "pattern")}
    total = sum(block.repeat for block in model.blocks)
    main = {key: value for key, value in blocks[-1].items() if key not in ("repeat", "mixer")}
    files = [{**rest, "layers": total, **main}]
    dense = next((b["feed_forward"] for b in blocks if b.get("feed_forward")), None)
    if model.dense_layers and dense is not None:
        files.append({**files[0], "feed_forward": dense})
    if model.family == "encoder-decoder":
        files = [{**rest, "layers": model.blocks[0].repeat, **blocks[0]}]
        files[0].pop("repeat", None)
    return files


def _brief_block(block: Mapping[str, Any], family: str) -> dict[str, Any]:
    """A block without what follows from the rest of it."""
    sizes = dict(block)
    if sizes["kv_heads"] == sizes["heads"]:
        del sizes["kv_heads"]
    filled = sizes["head_size"] * sizes["heads"] == sizes["hidden"]
    if filled or sizes.get("mixer") == "latent":
        del sizes["head_size"]
    for key, usual in (("causal", family == "decoder"), ("cross_attention", False)):
        if sizes.get(key) == usual:
            del sizes[key]
    if sizes["feed_forward"] and len(sizes["feed_forward"]) == 1:
        sizes["feed_forward"] = sizes["feed_forward"][0]
    elif not sizes["feed_forward"]:
        del sizes["feed_forward"]
    if sizes.get("mixer") == "attention":
        del sizes["mixer"]
    return {key: value for key, value in sizes.items() if key not in EXTRAS or value}


def _same(entries: Mapping[str, Any], model: Model) -> bool:
    """Whether a file says this model."""
    try:
        read = from_mapping(entries, "", None)
    except InputError:
        return False
    bare = {"name": "", "source": "", "notes": (), "quantization": None, "longest": 0}
    return replace(read, **bare) == replace(model, **bare)  # type: ignore[arg-type]


def _unread(row: Kind, entries: Mapping[str, Any], refused: str) -> list[str]:
    """Keys of a configuration that its row neither reads nor knows to change nothing."""
    known = row.own | row.fixed(entries)
    return [
        key
        for key, value in entries.items()
        if key not in known
        and not neutral().fullmatch(key)
        and (key == refused or value not in (None, False))
    ]


def _plain(entries: Mapping[str, Any]) -> Kind | None:
    """The row of plain layers of the sort that a configuration seems to have."""
    listed = entries.get("architectures")
    first = str(listed[0]) if isinstance(listed, list) and listed else ""
    if entries.keys() >= _SEES:
        return kinds()["vit"]
    if first.endswith(_ENCODES) or "type_vocab_size" in entries:
        return kinds()["bert"]
    if not (first.endswith(_GENERATES) or "num_key_value_heads" in entries):
        return None
    base = kinds()["llama"]
    honours, names = set(base.honours), dict(base.names)
    if any(name in entries for name in _PARTS["experts"].split("|")):
        honours |= set(_PARTS)
        names |= _PARTS
    if "kv_lora_rank" in entries:
        honours |= set(_LATENT)
        if "index_topk" in entries:
            honours |= set(_INDEX)
    return replace(base, honours=frozenset(honours), names=names)


def _with_head(model: Model, row: Kind, entries: Mapping[str, Any], file: object) -> Model:
    """With the head that the class of a configuration ends in, or the row's usual one."""
    endings = HEADS[row.heads]
    listed = entries.get("architectures")
    first = str(listed[0]) if isinstance(listed, list) and listed else ""
    matching = [ending for ending in endings if first.endswith(ending)]
    head = endings[max(matching, key=len)] if matching else next(iter(endings.values()))
    labels = labels_of(entries, file) if head.endswith("classifier") else model.labels
    return replace(model, head=head, labels=labels)


@functools.cache
def _words() -> list[tuple[re.Pattern[str], str, str]]:
    """Keys -> the field of a model file, and what it holds: the number, true, or a word."""
    _, lines = read_csv(DATA / "config_words.csv")
    return [(re.compile(cells[0]), cells[1], cells[2]) for _, cells in lines]


def _in_our_words(aside: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What fields of ours say of keys, and the keys none says anything of."""
    worded: dict[str, Any] = {}
    left = []
    for key, value in aside.items():
        own = {}
        for pattern, field, holds in _words():
            if not pattern.fullmatch(key):
                continue
            number = isinstance(value, int) and not isinstance(value, bool) and value > 0
            if holds == "number" and number:
                own[field] = value
            elif holds != "number" and value is True:
                own[field] = True if holds == "true" else holds
        worded |= own
        if not own:
            left.append(key)
    return worded, sorted(left)
