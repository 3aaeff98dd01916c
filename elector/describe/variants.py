"""Variants of one model: settings laid over its numbers, M of them in one pass.

Settings that make another kind of layer (experts, a latent, an indexer, a window) change the
description first (`reshaped`); after that everything is a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from elector.base.errors import InputError
from elector.describe.model import (
    BLOCK_FIELDS,
    EXTRAS,
    HEAD_TYPES,
    MODEL_FIELDS,
    Block,
    Model,
    Models,
    extras_of,
)

Array = np.ndarray

#: Settings of kinds of layers that a model may lack -> those of them that must then be given.
PARTS: dict[str, tuple[str, ...]] = {
    "window": ("window",),
    "experts": ("experts", "experts_per_token"),
    "latent": ("kv_lora_rank", "nope_head_size", "rope_head_size", "value_head_size"),
    "index": ("index_top_k", "index_heads", "index_head_size"),
}
#: Setting -> the part of a model that it belongs to.
PART_OF: dict[str, str] = {
    **{name: part for part, names in PARTS.items() for name in names},
    "expert_feed_forward": "experts",
    "shared_experts": "experts",
    "dense_layers": "experts",
    "routing": "experts",
    "q_lora_rank": "latent",
}
#: Settings of which designs that have them and designs that do not are not of one structure.
STRUCTURAL = tuple(PART_OF)
#: What a dense layer has instead of experts.
_NO_EXPERTS: dict[str, Any] = dict.fromkeys(
    (
        "experts",
        "experts_per_token",
        "expert_feed_forward",
        "expert_hidden",
        "shared_experts",
        "shared_feed_forward",
    ),
    0,
)


def with_settings(model: Model, settings: dict[str, Array], size: int) -> Models:
    """M variants of one model.

    Parameters
    ----------
    model : the description to start from.
    settings : short key (layers, hidden, heads, kv_heads, head_size, feed_forward,
        vocabulary, positions, window, experts, ...: the numbers of data/schema/model.csv)
        -> (M,) float; NaN keeps the model's own number. Keys of STRUCTURAL hold numbers for all
        of the variants or for none, `dense_layers` the same one.
    size : M.

    A changed width or head count keeps the rule the model follows: heads that filled the
    hidden width still do, and a generic model (name encoder or decoder) derives heads of 64
    and a feed-forward of 4 hidden where they are not given.
    Raises InputError where heads do not divide the hidden width, and where a kind of layer is
    asked for without the numbers it needs.
    """
    fresh = not any(b.experts for b in model.blocks)
    if settings.keys() & PART_OF.keys():
        model = reshaped(model, settings)
    block = {
        name: np.repeat(
            np.array([[float(getattr(b, name))] for b in model.blocks]).reshape(-1, 1), size, 1
        )
        for name in (*BLOCK_FIELDS, *extras_of(model))
    }
    stacks = max([1, *(len(b.feed_forward) for b in model.blocks)])
    feed_forward = np.zeros((len(model.blocks), stacks, size))
    types = np.zeros((len(model.blocks), len(HEAD_TYPES), size))
    for i, b in enumerate(model.blocks):
        feed_forward[i, : len(b.feed_forward)] = np.array(b.feed_forward, float)[:, None]
        types[i] = np.array(b.head_types or (b.heads, 0, 0, 0, 0, 0, 0), float)[:, None]
    numbers = {name: np.full(size, float(getattr(model, name))) for name in MODEL_FIELDS}
    models = Models(model, block, feed_forward, types, numbers)
    if not settings:
        return models
    models = _overridden(models, settings)
    if fresh and "experts" in models.block and "expert_feed_forward" not in settings:
        # Experts as wide as the feed-forward that they take the place of.
        there = models.block["experts"] > 0
        own = models.feed_forward[:, 0]
        models.block["expert_feed_forward"] = np.where(there, own, 0.0)
    return models


#: What an entry of a pattern means for a layer.
KINDS: dict[str, dict[str, object]] = {
    "full": {"window": 0, "chunk": 0},
    "window": {"chunk": 0},
    "chunked": {"window": 0},
    "attention": {"mixer": "attention"},
    "latent": {"mixer": "latent"},
    "mamba": {"mixer": "mamba"},
    "mamba2": {"mixer": "mamba2"},
    "delta": {"mixer": "delta"},
    "kda": {"mixer": "kda"},
    "lightning": {"mixer": "lightning"},
    "attention+mamba2": {"mixer": "attention+mamba2"},
    "convolution": {"mixer": "convolution"},
    "feed-forward": {"mixer": "none"},
}


def kind_of(entry: Block) -> str:
    """The word of KINDS for a block."""
    if entry.mixer != "attention":
        return "feed-forward" if entry.mixer == "none" else entry.mixer
    return "window" if entry.window else "chunked" if entry.chunk else "full"


def pattern_kinds(value: object, file: object = None) -> list[str]:
    """Kinds of layers from a list or a text; none where there is no pattern.

    value : what stands in the file.
    """
    field = "pattern" if file is not None else "model.pattern"
    if value is None:
        return []
    listed = re.split(r"[\s,]+", value.strip()) if isinstance(value, str) else value
    if not isinstance(listed, list) or not listed:
        raise InputError("must be a list of kinds of layers", file=file, field=field)
    for kind in listed:
        if not isinstance(kind, str) or kind not in KINDS:
            raise InputError(
                "unknown kind of layer", file=file, field=field, value=kind, allowed=KINDS
            )
    return [str(kind) for kind in listed]


def grouped(layers: list[Block]) -> tuple[tuple[Block, ...], tuple[int, ...]]:
    """Layers one by one -> a block for each kind, and the block of each layer.

    The pattern is empty where the blocks stand one behind the other.
    """
    kinds = list(dict.fromkeys(layers))
    pattern = tuple(kinds.index(layer) for layer in layers)
    blocks = tuple(
        replace(kind, repeat=pattern.count(i) * kind.repeat) for i, kind in enumerate(kinds)
    )
    return blocks, pattern if len(kinds) > 1 else ()


def repeats(pattern: tuple[int, ...], fixed: int, layers: Array, block: int) -> Array:
    """(M,) how often a block stands in models of `layers` (M,) layers.

    pattern : the block of each layer; where there are more layers, all but the first `fixed`
    of it are repeated.
    """
    table = np.concatenate(([0.0], np.cumsum([float(b == block) for b in pattern])))
    length, period = len(pattern), max(len(pattern) - fixed, 1)
    beyond = np.maximum(layers - length, 0.0)
    rounds, rest = np.divmod(beyond, float(period))
    inside = table[np.minimum(layers, length).astype(np.intp)]
    rest_of = table[fixed + rest.astype(np.intp)] - table[fixed]
    return np.asarray(inside + rounds * (table[length] - table[fixed]) + rest_of)


def reshaped(model: Model, settings: Mapping[str, Array]) -> Model:
    """The model with the kinds of layers that settings ask for, where it lacks them."""
    if not model.blocks:
        return model
    for part, needed in PARTS.items():
        asked = [key for key in settings if PART_OF.get(key) == part]
        if not asked or any(getattr(b, needed[0]) for b in model.blocks):
            continue
        missing = [key for key in needed if key not in settings]
        if missing:
            raise InputError(
                f"is missing, and model.{asked[0]} needs it", field=f"model.{missing[0]}"
            )
        model = replace(model, blocks=tuple(_with_part(model, b, part) for b in model.blocks))
    if "dense_layers" in settings:
        model = with_dense_layers(model, int(settings["dense_layers"][0]))
    return model


def _with_part(model: Model, block: Block, part: str) -> Block:
    """A block of a kind that it was not; its numbers come from the settings."""
    numbers: dict[str, Any] = dict.fromkeys(PARTS[part], 1)
    if part == "experts":
        return replace(block, **numbers, expert_feed_forward=1)
    kinds = ("attention",) if part == "latent" else ("attention", "latent")
    if block.mixer not in kinds or block.cross_attention or block.head_types:
        return block
    if part != "window" and not block.causal:
        raise InputError(
            f"{model.name} is no causal decoder",
            field="model.kv_lora_rank" if part == "latent" else "model.index_top_k",
        )
    if part == "latent":
        return replace(block, mixer="latent", kv_heads=block.heads, **numbers)
    return replace(block, **numbers)


def with_pattern(model: Model, text: str, given: frozenset[str] = frozenset()) -> Model:
    """The model whose layers mix tokens as a pattern says, repeated over them.

    text : words of KINDS with blanks or commas between. given : settings that follow, whose
    numbers a kind may need. Feed-forwards stay where they are.
    Raises InputError for a word that is none, and for a kind the model has no numbers for.
    """
    kinds = pattern_kinds(text)
    if not model.blocks or model.family not in ("encoder", "decoder"):
        raise InputError(
            f"a model of family {model.family} has no pattern", field="model.pattern", value=text
        )
    layers = layers_of(model)
    own = {kind_of(block): block for block in reversed(model.blocks)}
    length = -(-len(layers) // len(kinds)) * len(kinds)
    mixing = []
    for i in range(length):
        kind, layer = kinds[i % len(kinds)], layers[min(i, len(layers) - 1)]
        like = own.get(kind) or _of_kind(model, kind, own, given)
        fed = {name: getattr(layer, name) for name in ("feed_forward", "beside", *_NO_EXPERTS)}
        mixing.append(replace(like, repeat=1, **fed))
    empty = [i for i, b in enumerate(mixing) if _is_empty(b)]
    if empty:
        raise InputError(
            f"layer {empty[0] + 1} of {model.name} has no feed-forward, and would be empty",
            field="model.pattern",
            value=text,
            hint="feed-forwards stay where they are: a pattern says how layers mix tokens",
        )
    blocks, pattern = grouped(mixing)
    if not pattern:
        return replace(model, blocks=(replace(blocks[0], repeat=len(layers)),), pattern=())
    depth = np.array([float(len(layers))])
    blocks = tuple(
        replace(b, repeat=int(repeats(pattern, 0, depth, i)[0])) for i, b in enumerate(blocks)
    )
    return replace(model, blocks=blocks, pattern=pattern, dense_layers=0)


def _is_empty(block: Block) -> bool:
    """Whether a layer does nothing at all."""
    return block.mixer == "none" and not block.feed_forward and not block.experts


def _of_kind(model: Model, kind: str, own: dict[str, Block], given: frozenset[str]) -> Block:
    """A layer of a kind that a model has none of: attention with a window or without."""
    plain = own.get("full") or own.get("window") or own.get("chunked")
    if kind == "feed-forward":
        return replace(model.blocks[0], mixer="none", vectors=0)
    if plain is None or kind not in ("full", "window", "attention"):
        raise InputError(
            f"{model.name} has no {kind} layers to repeat", field="model.pattern", value=kind
        )
    if kind == "window":
        if "window" not in given:
            raise InputError("is missing, and model.pattern needs it", field="model.window")
        return replace(plain, window=1, chunk=0)
    return replace(plain, window=0, chunk=0)


def layers_of(model: Model) -> list[Block]:
    """The layers of a model one by one, each with repeat 1."""
    ones = [replace(b, repeat=1) for b in model.blocks]
    if not model.pattern:
        return [one for one, b in zip(ones, model.blocks, strict=True) for _ in range(b.repeat)]
    depth = sum(b.repeat for b in model.blocks)
    period, fixed = len(model.pattern), model.dense_layers
    places = [i if i < period else fixed + (i - period) % (period - fixed) for i in range(depth)]
    return [ones[model.pattern[place]] for place in places]


def with_dense_layers(model: Model, number: int) -> Model:
    """The model whose first `number` layers have a dense feed-forward instead of experts."""
    layers = layers_of(model)
    width = next((b.feed_forward for b in layers if b.feed_forward and not b.experts), None)
    routed = [b for b in layers if b.experts]
    if not routed:
        raise InputError("the model has no experts", field="model.dense_layers", value=number)
    fed = []
    for i, layer in enumerate(layers):
        own = layer if layer.experts else routed[0]
        wide = (
            width or own.feed_forward or (own.expert_feed_forward * max(own.experts_per_token, 1),)
        )
        fed.append(replace(own, feed_forward=wide, **_NO_EXPERTS) if i < number else own)
    blocks, pattern = grouped(fed)
    return replace(model, blocks=blocks, pattern=pattern, dense_layers=number)


def _overridden(models: Models, settings: dict[str, Array]) -> Models:
    model, block, numbers = models.template, dict(models.block), dict(models.numbers)
    _require_sizes(model, settings)
    block["repeat"] = _depth(model, block["repeat"], settings.get("layers"))
    filled = model.blocks[0].heads * model.blocks[0].head_size == model.blocks[0].hidden
    _set_heads(model, block, settings, filled)
    feed_forward = _feed_forward(models, block["hidden"], settings)
    for name in ("vocabulary", "positions", "routing"):
        if name == "vocabulary" and not model.has_tokens:
            continue
        numbers[name] = _set(numbers[name], settings.get(name))
    _set_parts(model, block, settings)
    types = models.head_types.copy()
    types[:, 0] = block["heads"]
    _require_divisible(block, filled and "head_size" not in settings)
    return Models(model, block, feed_forward, types, numbers)


def _require_sizes(model: Model, settings: dict[str, Array]) -> None:
    """Refuses sizes for models that have theirs from a file, operation by operation or layer by
    layer."""
    if not model.blocks and set(settings) - {"head"}:
        raise InputError(
            "a list of operations takes its sizes from the file", field=f"model.{min(settings)}"
        )
    if any(b.head_types for b in model.blocks):
        raise InputError(
            "a heterogeneous model is changed in its file, layer by layer",
            field=f"model.{min(settings)}",
        )


def _is_generic(model: Model) -> bool:
    """Whether heads and feed-forward follow from the width."""
    return model.name in ("encoder", "decoder")


def _set_heads(
    model: Model, block: dict[str, Array], settings: dict[str, Array], filled: bool
) -> None:
    """Changes the width, the heads and their size; `filled` where heads fill the width."""
    grouped = model.blocks[0].kv_heads != model.blocks[0].heads
    block["hidden"] = _set(block["hidden"], settings.get("hidden"))
    if "hidden" in settings and _is_generic(model):
        derived = np.maximum(np.floor(block["hidden"] / 64.0), 1.0)
        block["heads"] = np.where(np.isnan(settings["hidden"]), block["heads"], derived)
    block["heads"] = _set(block["heads"], settings.get("heads"))
    if filled and ("hidden" in settings or "heads" in settings):
        block["head_size"] = np.floor(block["hidden"] / block["heads"])
    block["head_size"] = _set(block["head_size"], settings.get("head_size"))
    if not grouped:
        block["kv_heads"] = block["heads"]
    block["kv_heads"] = _set(block["kv_heads"], settings.get("kv_heads"))


def _feed_forward(models: Models, hidden: Array, settings: dict[str, Array]) -> Array:
    """Widths of the feed-forwards of models whose blocks are `hidden` (B, M) wide."""
    feed_forward = models.feed_forward
    if "hidden" in settings and _is_generic(models.template):
        derived = 4.0 * hidden[:, None, :]
        feed_forward = np.where(
            np.isnan(settings["hidden"]) | (feed_forward == 0), feed_forward, derived
        )
    if "feed_forward" in settings and not (feed_forward > 0).any():
        raise InputError(
            f"{models.template.name} has no feed-forward without experts",
            field="model.feed_forward",
            hint="model.expert_feed_forward is the width of an expert",
        )
    return np.where(
        feed_forward > 0, _set(feed_forward, settings.get("feed_forward")), feed_forward
    )


def _depth(model: Model, current: Array, layers: Array | None) -> Array:
    """(B, M) how often each block stands."""
    if layers is None or not model.pattern:
        return _set(current, layers)
    wanted = np.stack(
        [
            repeats(model.pattern, model.dense_layers, np.nan_to_num(layers, nan=1.0), i)
            for i in range(len(model.blocks))
        ]
    )
    return np.where(np.isnan(layers), current, wanted)


def _set_parts(model: Model, block: dict[str, Array], settings: dict[str, Array]) -> None:
    """Numbers of experts, latents, indexers and windows, in the blocks that have them."""
    given = [name for name in EXTRAS if name in settings]
    for name in given:
        part = PARTS[PART_OF[name]][0] if name in PART_OF else name
        there = np.array([[float(getattr(b, part)) > 0] for b in model.blocks])
        if name in ("index_heads", "index_head_size"):  # layers that use another one's have none
            there = np.array([[b.index_heads > 0] for b in model.blocks])
        if name not in block:
            block[name] = np.zeros_like(block["repeat"])
        block[name] = np.where(there, _set(block[name], settings[name]), block[name])
    if "shared_experts" in settings and "shared_feed_forward" in block:
        block["shared_feed_forward"] = 0.0 * block["shared_feed_forward"]
    if "nope_head_size" in block:
        latent = np.array([[b.mixer == "latent"] for b in model.blocks])
        size = block["nope_head_size"] + block["rope_head_size"]
        block["head_size"] = np.where(latent, size, block["head_size"])
        block["kv_heads"] = np.where(latent, block["heads"], block["kv_heads"])
    if "experts" in block:
        _require_experts(block)


def _require_experts(block: dict[str, Array]) -> None:
    more = block["experts_per_token"] > block["experts"]
    if more.any():
        b, i = np.argwhere(more)[0]
        raise InputError(
            f"a token takes more experts than there are: {int(block['experts'][b, i])}",
            field="model.experts_per_token",
            value=int(block["experts_per_token"][b, i]),
        )


def _set(current: Array, values: Array | None) -> Array:
    if values is None:
        return current
    return np.where(np.isnan(values), current, values)


def _require_divisible(block: dict[str, Array], filled: bool) -> None:
    wrong = filled & (block["heads"] * block["head_size"] != block["hidden"])
    if wrong.any():
        b, i = np.argwhere(wrong)[0]
        error = InputError(
            f"{int(block['heads'][b, i])} heads do not divide a hidden width of "
            f"{int(block['hidden'][b, i])}",
            field="model.heads",
            value=int(block["heads"][b, i]),
            hint="in a space: where: ['model.hidden % model.heads == 0'], or set model.head_size",
        )
        raise error
    wrong = block["heads"] % block["kv_heads"] != 0
    if wrong.any():
        b, i = np.argwhere(wrong)[0]
        raise InputError(
            f"{int(block['kv_heads'][b, i])} key/value heads do not divide "
            f"{int(block['heads'][b, i])} heads",
            field="model.kv_heads",
            value=int(block["kv_heads"][b, i]),
        )
