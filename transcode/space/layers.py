"""Heterogeneous encoders in a space: a few lists -> a parameter for each choice of each layer.

    model: {base: flexibert, layers: [2, 4], hidden: [128, 256], heads: [2, 4],
            head_types: [sdp, dft, c5], feed_forward: {stacks: 3, choices: [256, 1024]}}

becomes model.layers and, for every layer up to the deepest, layer<i>.hidden, .heads, .head<h>
for every head, and .feed_forward<s>, where a second and third stack may be absent (0). A key
such as `layer3.hidden` given beside the lists takes their place for that layer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from elector.base.errors import InputError
from elector.describe.layered import HEADS, LAYERS, NAME, STACKS, base

#: Keys that stand for one of each layer.
LISTS = ("hidden", "heads", "head_types", "feed_forward")
Fail = Callable[..., InputError]
_LAYER = re.compile(r"layer(\d+)\.(?:head(\d+)|[a-z_]+\d*)")
_HEADS = re.compile(r"(?:layer\d+\.)?heads")
#: Heads of a layer for which none are given.
_BASE = base().blocks[0].heads


def is_layered(bases: list[str]) -> bool:
    """Whether the models have layers of their own.

    bases : names of the models.
    """
    return bases == [NAME]


def expanded(written: dict[str, Any], where: str, fail: Fail) -> dict[str, Any]:
    """The settings of an alternative, layer by layer.

    written : key -> what the space says.
    """
    depth = _most(written.get("layers", LAYERS), LAYERS, f"{where}.layers", fail)
    settings = {key: value for key, value in written.items() if key not in LISTS}
    # Lists of a layer's own may ask for more heads than the lists of all layers.
    given = [(k, v) for k, v in written.items() if _HEADS.fullmatch(k)]
    heads = max(
        [HEADS if isinstance(v, dict) else _most(v, HEADS, f"{where}.{k}", fail) for k, v in given]
        or [_BASE]
    )
    for i in range(1, depth + 1):
        own: dict[str, Any] = {}
        for key in ("hidden", "heads"):
            if key in written:
                own[key] = written[key]
        if "head_types" in written:
            own |= {f"head{h}": written["head_types"] for h in range(1, heads + 1)}
        if "feed_forward" in written:
            own |= _stacks(written["feed_forward"], f"{where}.feed_forward", fail)
        for key, value in own.items():
            settings.setdefault(f"layer{i}.{key}", value)
    return settings


def needs(name: str, columns: Mapping[str, int]) -> tuple[int, float] | None:
    """What a parameter of a layer needs to matter, among the `columns` by name."""
    match = _LAYER.fullmatch(name)
    if not match:
        return None
    layer, head = int(match[1]), int(match[2] or 0)
    heads = columns.get(f"layer{layer}.heads")
    if head and heads is not None:
        return heads, float(head)
    return (columns["layers"], float(layer)) if "layers" in columns else None


def _stacks(written: object, where: str, fail: Fail) -> dict[str, Any]:
    if not isinstance(written, dict):
        return {"feed_forward1": written}
    for key in written:
        if key not in ("stacks", "choices"):
            raise fail("unknown key", where, value=key, allowed=("stacks", "choices"))
    choices, stacks = written.get("choices"), written.get("stacks", 1)
    if not isinstance(choices, list) or not choices:
        raise fail("needs a list", f"{where}.choices", value=choices)
    if not isinstance(stacks, int) or not 1 <= stacks <= STACKS:
        raise fail(f"must be a whole number from 1 to {STACKS}", f"{where}.stacks", value=stacks)
    more = {f"feed_forward{s}": [0, *choices] for s in range(2, stacks + 1)}
    return {"feed_forward1": choices, **more}


def _most(written: object, limit: int, where: str, fail: Fail) -> int:
    """The largest of a value or list of whole numbers."""
    values = written if isinstance(written, list) else [written]
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= limit:
            raise fail(f"must be a whole number from 1 to {limit}", where, value=value)
    if not values:
        raise fail("has no choice", where)
    return max(values)
