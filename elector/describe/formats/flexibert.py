"""FlexiBERT 2.0 dictionaries: {"l", "o", "h", "f"}, a different block for each layer.

l : number of layers.
o : [layer][head] = "type_parameter_size", such as sa_sdp_64, sa_wma_64, l_dft_64, l_dct_64,
    c_5_64; all heads of a layer have one size.
h : [layer] = hidden width.
f : [layer][stack] = feed-forward width: hidden to the first, each to the next, back to hidden.

Source: jha-lab/txf_design-space, `from_model_dict_hetero` of its BertConfig and
`BertHeteroAttentionModular`; Tuli et al. 2023, FlexiBERT (doi 10.1613/jair.1.13942).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby
from typing import Any

from elector.base.errors import InputError
from elector.base.table import schema
from elector.describe.formats.described import check_keys, whole, widths
from elector.describe.model import HEAD_TYPES, Block, Model

KEYS = ("l", "o", "h", "f")
#: type and parameter of the dictionary -> our head type
_TYPES = {
    ("sa", "sdp"): "sdp",
    ("sa", "wma"): "wma",
    ("l", "dft"): "dft",
    ("l", "dct"): "dct",
    ("c", "5"): "c5",
    ("c", "9"): "c9",
    ("c", "13"): "c13",
}
#: The tokenizer of RoBERTa, which the trained models use.
VOCABULARY, POSITIONS = 50265, 514


def from_dictionary(data: Mapping[str, Any], name: str, file: object) -> Model:
    """The model of a FlexiBERT dictionary.

    The head size is the one in the head's own text; where a head gives none ("sa_sdp"), it
    is hidden // heads, floored: 12 heads on 512 are 42 wide. Equal neighbouring layers
    become one block; a projection is implied where the width changes.

    data : what the file holds. name : of the model.
    """
    check_keys(data, (*KEYS, "name"), file)
    layers = whole(data, "l", file, high=4096)
    for key in KEYS[1:]:
        listed = data.get(key)
        if not isinstance(listed, list):
            raise InputError(
                "must be a list with an entry for each layer", file=file, field=key, value=listed
            )
        if len(listed) != layers:
            raise InputError(
                f"has {_entries(listed)} for {layers} layers",
                file=file,
                field=key,
                hint=_lengths(data),
            )
    each = [_layer(data, i, file) for i in range(layers)]
    blocks = tuple(replace(same, repeat=len(list(run))) for same, run in groupby(each))
    return Model(
        name=str(data.get("name", name)),
        family="encoder",
        blocks=blocks,
        vocabulary=VOCABULARY,
        positions=POSITIONS,
        position_kind="relative-key",
        token_types=2,
        head="pooler",
        source="FlexiBERT 2.0 dictionary",
    )


def _entries(listed: list[Any]) -> str:
    return "1 entry" if len(listed) == 1 else f"{len(listed)} entries"


def _lengths(data: Mapping[str, Any]) -> str:
    """What each key says of the number of layers, so that the odd one out shows."""
    lists = [
        f"{key} has {_entries(data[key])}" for key in KEYS[1:] if isinstance(data.get(key), list)
    ]
    return f"l is {data['l']}, " + ", ".join(lists)


def _layer(data: Mapping[str, Any], i: int, file: object) -> Block:
    hidden = int(schema("model")["hidden"].parse(data["h"][i], file=file, field=f"h[{i}]"))
    heads = data["o"][i]
    if not isinstance(heads, list) or not heads:
        raise InputError("must be a list of heads", file=file, field=f"o[{i}]", value=heads)
    parsed = [
        _head(head, hidden // len(heads), f"o[{i}][{j}]", file) for j, head in enumerate(heads)
    ]
    sizes = {size for _, size in parsed}
    if len(sizes) > 1:
        raise InputError(
            "heads of one layer must have one size", file=file, field=f"o[{i}]", value=sorted(sizes)
        )
    size = sizes.pop()
    if size < 1:
        raise InputError(
            f"{len(heads)} heads are too many for a hidden width of {hidden}",
            file=file,
            field=f"o[{i}]",
        )
    kinds = [kind for kind, _ in parsed]
    return Block(
        repeat=1,
        hidden=hidden,
        heads=len(heads),
        head_size=size,
        kv_heads=len(heads),
        feed_forward=widths(data["f"][i], file, f"f[{i}]"),
        head_types=tuple(kinds.count(kind) for kind in HEAD_TYPES),
    )


def _head(text: object, floor: int, field: str, file: object) -> tuple[str, int]:
    """Our type and the size of one head."""
    kind, parameter, size = (*str(text).split("_"), "", "")[:3]
    longer = str(text).count("_") > 2
    if (kind, parameter) not in _TYPES or longer:
        allowed = [f"{a}_{b}_{size or 'SIZE'}" for a, b in _TYPES]
        kernel = kind == "c" and not longer
        problem = "unknown kernel of a convolution head" if kernel else "unknown head"
        raise InputError(problem, file=file, field=field, value=text, allowed=allowed)
    if not size:
        return _TYPES[kind, parameter], floor
    return _TYPES[kind, parameter], whole({"size": size}, "size", file, high=65536, field=field)
