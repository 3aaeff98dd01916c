"""Which matrices a file stores that lists its modules one by one (`quantized_layers`)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from elector.describe.model import Block, Model
from elector.describe.quantization import LAYER, MODULES
from elector.describe.variants import layers_of

_EXPERT = re.compile(r"\bexperts\.(\d+)\b")
#: Last names of modules that are a whole part, or a whole expert.
_WHOLE = re.compile(
    r"self_attn|attn|attention|linear_attn|mamba|mlp|ffn|feed_forward|experts|shared_experts?|\d+"
)
_ATTENTION = {
    **dict.fromkeys(("q_proj", "query", "wq"), ("q",)),
    **dict.fromkeys(("k_proj", "key", "wk"), ("k",)),
    **dict.fromkeys(("v_proj", "value", "wv"), ("v",)),
    **dict.fromkeys(("o_proj", "out_proj", "wo", "dense", "c_proj"), ("o",)),
    **dict.fromkeys(("qkv_proj", "qkv", "Wqkv", "c_attn", "query_key_value"), ("q", "k", "v")),
    "kv_proj": ("k", "v"),
    "q_a_proj": ("q_a",),
    "q_b_proj": ("q_b",),
    "kv_a_proj_with_mqa": ("kv_a",),
    "kv_b_proj": ("kv_b",),
    "fused_qkv_a_proj_with_mqa": ("q_a", "kv_a"),
}
_FEED_FORWARD = {
    **dict.fromkeys(("gate_proj", "w1", "wi_0"), ("gate",)),
    **dict.fromkeys(("up_proj", "w3", "v1", "wi_1"), ("up",)),
    **dict.fromkeys(("fc1", "c_fc", "fc_in", "dense_h_to_4h", "wi"), ("up",)),
    **dict.fromkeys(("down_proj", "w2", "fc2", "c_proj", "fc_out", "wo"), ("down",)),
    **dict.fromkeys(("dense_4h_to_h",), ("down",)),
    **dict.fromkeys(("gate_up_proj", "w13"), ("gate", "up")),
}
_STATE = {
    "in_proj": ("in",),
    "out_proj": ("out",),
    "x_proj": ("x",),
    "dt_proj": ("dt",),
    "in_proj_qkvz": ("qkv", "z"),
    "in_proj_qkv": ("qkv",),
    "in_proj_z": ("z",),
    "in_proj_ba": ("b", "a"),
    "in_proj_b": ("b",),
    "in_proj_a": ("a",),
}
#: Part of MODULES -> last name of a module -> the matrices it holds.
_MATRICES: dict[str, dict[str, tuple[str, ...]]] = {
    "attention": _ATTENTION,
    "state": _STATE,
    **dict.fromkeys(("feed forward", "experts", "shared experts"), _FEED_FORWARD),
}
#: Mixer of a layer with a state -> its matrices.
_OF_STATE = {
    "mamba": ("in", "x", "dt", "out"),
    "mamba2": ("in", "out"),
    "delta": ("qkv", "z", "b", "a", "out"),
    "kda": ("q", "k", "v", "b", "f_a", "f_b", "g_a", "g_b", "out"),
    "lightning": ("qkv", "z", "out"),
}

#: Part and number of a layer -> expert (-1: all of them) -> names of matrices; "" is all.
_Listed = dict[tuple[str, int], dict[int, set[str]]]


def wholly_listed(modules: Iterable[str], model: Model) -> bool:
    """Whether a list has every matrix of each part of layers that it names any matrix of.

    modules : their names, as `model.layers.0.mlp.experts.0.up_proj`; each is of a part of
    MODULES. What a model has none of here (layers behind the last: prediction of further tokens)
    changes nothing.
    """
    listed, blocks = _listed(modules), layers_of(model)
    for part in {part for part, _ in listed}:
        for number, block in enumerate(blocks):
            own = listed.get((part, number))
            if block.has_part(part) != (own is not None):
                return False
            if own is not None and not _has_all(own, part, block, model):
                return False
    return True


def _listed(modules: Iterable[str]) -> _Listed:
    """What is listed of each part in each layer; of a part without a number, in layer -1."""
    listed: _Listed = defaultdict(lambda: defaultdict(set))
    for name in modules:
        part = next(part for part, module in MODULES.items() if module.search(name))
        if part == "head":
            continue
        number, expert = LAYER.search(name), _EXPERT.search(name)
        last = name.rstrip("*.").rpartition(".")[2]
        matrices = ("",) if _WHOLE.fullmatch(last) else _MATRICES[part].get(last, ())
        place = listed[part, int(number[1]) if number else -1]
        place[int(expert[1]) if expert else -1].update(matrices)
    return listed


def _has_all(own: dict[int, set[str]], part: str, block: Block, model: Model) -> bool:
    """Whether a layer's list has all matrices of a part, of every expert.

    own : expert (-1: all of them) -> names of matrices; "" is all.
    """
    needed = _needed(part, block, model)
    every = own.get(-1, set())
    experts = range(block.experts) if part == "experts" else (-1,)
    return all(_covers(every | own.get(expert, set()), needed) for expert in experts)


def _covers(names: set[str], needed: set[str]) -> bool:
    # w1 is a gate, or the only matrix on the way in where there is none
    first = {"up"} if "gate" in names and "gate" not in needed else set()
    return "" in names or needed <= names | first


def _needed(part: str, block: Block, model: Model) -> set[str]:
    """The matrices of a part of a layer, or of one of its experts."""
    if part == "state":
        return set(_OF_STATE[block.scans])
    if part == "attention" and block.mixer == "latent":
        queries = {"q_a", "q_b"} if block.q_lora_rank else {"q"}
        return {*queries, "kv_a", "kv_b", "o"}
    if part == "attention":
        return {"q", "k", "o"} if block.shares_key else {"q", "k", "v", "o"}
    gated = model.gated if part == "feed forward" else model.experts_gated
    return {"gate", "up", "down"} if gated else {"up", "down"}
