"""Many heterogeneous encoders at once: a column for each choice of each layer.

The base `flexibert` has LAYERS layers, of which the first `model.layers` are there. Layer i
has `model.layer<i>.hidden`, `.heads`, `.head<h>` (the type of its h-th head) and
`.feed_forward<s>` (the width of its s-th stack, 0 for none). The size of a head is
hidden // heads, floored. M models become arrays in one pass, whatever differs between them.
FlexiBERT 2.0: Tuli and Jha 2023, TransCODE (arXiv 2303.14882).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from elector.base.errors import InputError
from elector.base.table import Field, schema
from elector.describe.model import HEAD_TYPES, Block, Model, Models
from elector.describe.variants import with_settings

Array = np.ndarray

NAME = "flexibert"
LAYERS, HEADS, STACKS = 12, 12, 3
_KEY = re.compile(r"layer([1-9]\d?)\.(hidden|heads|head|feed_forward)([1-9]\d?)?")


def base(hidden: int = 256, heads: int = 4, feed_forward: int = 1024) -> Model:
    """The model that a table of layers starts from: RoBERTa's tables, relative positions."""
    stacks = (feed_forward, *(0,) * (STACKS - 1))
    types = (heads, *(0,) * (len(HEAD_TYPES) - 1))
    block = Block(1, hidden, heads, hidden // heads, heads, stacks, head_types=types)
    return Model(
        name=NAME,
        family="encoder",
        blocks=(block,) * LAYERS,
        vocabulary=50265,
        positions=514,
        position_kind="relative-key",
        token_types=2,
        head="pooler",
        source="FlexiBERT 2.0 space (arXiv 2303.14882)",
    )


@functools.cache
def layer_field(key: str) -> Field | None:
    """What `layer3.head2` or another key of a layer may hold; None for any other key."""
    match = _KEY.fullmatch(key)
    if not match:
        return None
    layer, name, number = int(match[1]), match[2], match[3]
    most = {"head": HEADS, "feed_forward": STACKS}.get(name, 0)
    if layer > LAYERS or (number is None) == (most > 0) or int(number or 0) > most:
        return None
    return replace(schema("layer")[name], key=key)


def layer_keys(key: str) -> list[str]:
    """Keys that a mistyped `model.layer...` may have meant; none for another kind of key."""
    match = re.match(r"model\.layer(\d{1,9})", key)
    if not match:
        return []
    names = [
        "hidden",
        "heads",
        *(f"head{h + 1}" for h in range(HEADS)),
        *(f"feed_forward{s + 1}" for s in range(STACKS)),
    ]
    number = min(max(int(match[1]), 1), LAYERS)
    return [f"model.layer{number}.{name}" for name in names]


def as_number(key: str, value: object) -> float:
    """A value of a layer's column as a number: head types by their place in HEAD_TYPES.

    key : of the column. value : as a table or a user has it.
    """
    field = layer_field(key)
    if value is not None and field is not None and field.type == "choice":
        return float(HEAD_TYPES.index(str(value)))
    return np.nan if value is None else float(str(value))


def layered(model: Model, settings: Mapping[str, Array], size: int) -> Models:
    """M heterogeneous models.

    settings : layers, and keys of layers -> (M,) numbers, NaN for the base's own.
    Raises InputError for keys that no heterogeneous model has, and for too many heads.
    """
    if model.name != NAME:
        raise InputError(
            f"only the base {NAME} has layers of their own", field="model", value=model.name
        )
    others = [key for key in settings if layer_field(key) is None and key != "layers"]
    if others:
        raise InputError(
            "does not apply to a heterogeneous model",
            field=f"model.{others[0]}",
            hint="set it layer by layer: model.layer1.hidden ...",
        )
    models = with_settings(model, {}, size)
    block = {name: values.copy() for name, values in models.block.items()}
    types, stacks = models.head_types.copy(), models.feed_forward.copy()
    depth = settings.get("layers", np.full(size, float(LAYERS)))
    depth = np.where(np.isnan(depth), float(LAYERS), depth)
    if (depth > LAYERS).any():
        raise InputError(f"must be at most {LAYERS}", field="model.layers", value=int(depth.max()))
    for i in range(LAYERS):
        _layer(settings, i, block, types, stacks)
        block["repeat"][i] = depth > i
        if i:
            # A layer that is not there looks like the last one that is.
            absent = depth <= i
            for values in (*(v for k, v in block.items() if k != "repeat"), types, stacks):
                values[i] = np.where(absent, values[i - 1], values[i])
    return Models(model, block, stacks, types, models.numbers)


def weights(hidden: Array, stacks: Array) -> Array:
    """Weights in the matrices of layers whose heads are all of scaled dot products.

    hidden : (...) widths. stacks : (S, ...) widths of the stacks, 0 where there is none.
    The heads divide the width; the stacks are a chain from the width back to it.
    """
    last, total = hidden, 4.0 * hidden * hidden
    for width in stacks:
        total = total + last * width
        last = np.where(width > 0, width, last)
    return total + last * hidden


def _layer(
    settings: Mapping[str, Array], i: int, block: dict[str, Array], types: Array, stacks: Array
) -> None:
    """The settings of layer `i`, in place."""
    prefix = f"layer{i + 1}."

    def chosen(name: str, own: Array) -> Array:
        values = settings.get(prefix + name)
        return own if values is None else np.where(np.isnan(values), own, values)

    hidden, heads = chosen("hidden", block["hidden"][i]), chosen("heads", block["heads"][i])
    if (heads > hidden).any():
        at = int(np.argmax(heads > hidden))
        raise InputError(
            f"{heads[at]:g} heads are too many for a hidden width of {hidden[at]:g}",
            field=f"model.{prefix}heads",
        )
    block["hidden"][i], block["heads"][i], block["kv_heads"][i] = hidden, heads, heads
    block["head_size"][i] = np.floor(hidden / heads)
    counts = np.zeros(types[i].shape)
    columns = np.arange(hidden.size)
    for h in range(HEADS):
        kind = chosen(f"head{h + 1}", np.zeros(hidden.size)).astype(np.intp)
        counts[kind, columns] += heads > h
    # More heads than there are columns for: the rest are of the first type.
    counts[0] += np.maximum(heads - HEADS, 0.0)
    types[i] = counts
    for s in range(STACKS):
        stacks[i, s] = chosen(f"feed_forward{s + 1}", stacks[i, s])
    if not (stacks[i] > 0).any(axis=0).all():
        raise InputError("a layer needs a feed-forward stack", field=f"model.{prefix}feed_forward1")
