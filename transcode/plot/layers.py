"""Some two hundred settings of a heterogeneous encoder in a few words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

_KEY = re.compile(r"model\.layer(\d+)\.(hidden|heads|head\d+|feed_forward\d+)")


def is_of_layer(key: str) -> bool:
    """Whether a setting belongs to one layer.

    key : dotted name of the setting.
    """
    return _KEY.fullmatch(key) is not None


def summary(columns: Mapping[str, Sequence[str]], index: int) -> list[str]:
    """What the layers of the design at `index` are, as far as they are there.

    Widths and numbers of heads as they come, without repeats; head types by how many there are;
    feed-forward stacks joined by +. Nothing where no layer has settings of its own.

    columns : dotted name -> texts of the designs.
    """
    keys = [match for key in columns if (match := _KEY.fullmatch(key))]
    depth = columns.get("model.layers")
    layers = sorted({int(key[1]) for key in keys})
    if depth is not None:
        layers = [layer for layer in layers if layer <= float(depth[index])]
    own = [
        {key[2]: columns[key[0]][index] for key in keys if int(key[1]) == layer} for layer in layers
    ]
    return [
        words
        for words in (
            _listed("hidden", [layer.get("hidden", "") for layer in own]),
            _listed("heads", [layer.get("heads", "") for layer in own]),
            _types(own),
            _listed("ff", [_stacks(layer) for layer in own]),
        )
        if words
    ]


def _listed(name: str, values: list[str]) -> str:
    kept = [v for v in dict.fromkeys(values) if v]
    return f"{name} {' | '.join(kept[:4])}{' ...' if len(kept) > 4 else ''}" if kept else ""


def _types(layers: list[dict[str, str]]) -> str:
    counts: Counter[str] = Counter()
    for layer in layers:
        types = [layer[key] for key in layer if key.startswith("head") and key != "heads"]
        counts.update(types[: int(float(layer.get("heads", len(types))))])
    return " ".join(f"{count} {kind}" for kind, count in counts.most_common())


def _stacks(layer: dict[str, str]) -> str:
    widths = [value for key, value in layer.items() if key.startswith("feed_forward")]
    return "+".join(width for width in widths if width and float(width) > 0)
