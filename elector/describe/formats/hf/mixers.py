"""Layers that mix tokens otherwise than by plain heads: latents, indexers, states."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from elector.describe.formats.hf.config import Config
from elector.describe.model import Block

#: Letters of `hybrid_override_pattern` (Nemotron-H), one sublayer each.
LETTERS = {"M": "mamba2", "*": "attention", "-": "feed-forward", "E": "experts"}
#: Words of `layers_block_type`, the same in later files.
_WORDS = {
    "mamba": "M",
    "linear_attention": "M",
    "attention": "*",
    "full_attention": "*",
    "mlp": "-",
    "moe": "E",
}


def mixed(config: Config, layers: list[Block]) -> list[Block]:
    """The layers with the mixers that the keys of their class name."""
    if "kv_lora_rank" in config.honours:
        layers = _indexed(config, _latent(config, layers))
    if "sparse_attention_config" in config.honours:
        layers = _blocks_of_keys(config, layers)
    if "linear_num_value_heads" in config.honours:
        layers = _delta(config, layers)
    if "linear_attn_config" in config.honours:
        layers = _by_channel(config, layers)
    if "attn_type_list" in config.honours:
        layers = _lightning(config, layers)
    if "conv_L_cache" in config.honours:
        layers = _short(config, layers)
    return layers


def _latent(config: Config, layers: list[Block]) -> list[Block]:
    sizes: dict[str, Any] = {
        "kv_lora_rank": config.number("kv_lora_rank"),
        "q_lora_rank": config.number("q_lora_rank", 0),
        "nope_head_size": config.number("qk_nope_head_dim"),
        "rope_head_size": config.number("qk_rope_head_dim"),
        "value_head_size": config.number("v_head_dim"),
    }
    size = sizes["nope_head_size"] + sizes["rope_head_size"]
    return [replace(b, mixer="latent", head_size=size, kv_heads=b.heads, **sizes) for b in layers]


def _indexed(config: Config, layers: list[Block]) -> list[Block]:
    """Layers whose attention runs over the keys that an indexer chose, their own or another's."""
    if "index_topk" not in config.honours:
        return layers
    number = len(layers)
    top = config.number("index_topk")
    own: dict[str, Any] = {
        "index_heads": config.number("index_n_heads"),
        "index_head_size": config.number("index_head_dim"),
    }
    kinds = config.texts("indexer_types", ("full", "shared"), number)
    if kinds is None:
        every = config.number("index_topk_freq", 1)
        first = config.number("index_skip_topk_offset", 2, low=0) if every > 1 else 0
        kinds = ["full" if max(i - first + 1, 0) % every == 0 else "shared" for i in range(number)]
    return [
        replace(b, index_top_k=top, **(own if kind == "full" else {}))
        for b, kind in zip(layers, kinds, strict=True)
    ]


#: Keys of `sparse_attention_config` (MiniMax M3) -> those of the class, which hold the same.
_SPARSE = {
    "sparse_num_index_heads": "index_n_heads",
    "sparse_index_dim": "index_head_dim",
    "sparse_block_size": "index_block_size",
    "sparse_topk_blocks": "index_topk_blocks",
}
#: Its other keys -> the values that are read past; None: read apart, or always among the chosen.
_SPARSE_FIXED: dict[str, tuple[object, ...] | None] = {
    "use_sparse_attention": (True,),
    "sparse_score_type": ("max",),
    "sparse_init_block": (0,),
    "sparse_local_block": None,
    "sparse_attention_freq": None,
    "sparse_disable_index_value": None,
}


def _blocks_of_keys(config: Config, layers: list[Block]) -> list[Block]:
    """Layers whose attention runs over the blocks of keys that an indexer chose (MiniMax M3)."""
    key, number = "sparse_attention_config", len(layers)
    words = config.texts("layer_types", ("minimax_m3_sparse", "full_attention"), number)
    inner = config.inner(key) if config.get(key) is not None else {}
    for name, value in inner.items():
        allowed = _SPARSE_FIXED.get(name, None if name in _SPARSE else ())
        if allowed is not None and value not in allowed:
            raise config.fail(f"{name} is not supported", key, value=value)
    known = frozenset([*_SPARSE, *_SPARSE_FIXED])
    part = Config(inner, config.file, honours=known, prefix=f"{config.prefix}{key}.")
    sparse = part.flags("sparse_attention_freq", number) or [False] * number
    if words is not None:
        sparse = [word != "full_attention" for word in words]
    valueless = part.flags("sparse_disable_index_value", number) or sparse
    if any(on and not off for on, off in zip(sparse, valueless, strict=True)):
        raise part.fail("is not supported: indexers have no values", "sparse_disable_index_value")
    usual = {"index_n_heads": 4, "index_head_dim": 128, "index_block_size": 128}
    heads, size, block, chosen = (
        part.number(own, config.number(flat, usual.get(flat, 16))) for own, flat in _SPARSE.items()
    )
    indexer: dict[str, Any] = {"index_heads": heads, "index_head_size": size, "index_block": block}
    indexer["index_top_k"] = block * chosen
    return [replace(b, **indexer) if on else b for b, on in zip(layers, sparse, strict=True)]


def _delta(config: Config, layers: list[Block]) -> list[Block]:
    """Gated delta rule in all layers but every fourth (Qwen3-Next)."""
    number = len(layers)
    every = config.number("full_attention_interval", 4)
    kinds = config.texts("layer_types", ("linear_attention", "full_attention"), number)
    if kinds is None:
        kinds = [
            "full_attention" if (i + 1) % every == 0 else "linear_attention" for i in range(number)
        ]
        # OLMo, whose files have no interval, attends in one layer at least
        if number < every and "full_attention_interval" not in config.honours:
            kinds[-1] = "full_attention"
    sizes: dict[str, Any] = {
        "state_groups": config.number("linear_num_key_heads"),
        "state_size": config.number("linear_key_head_dim"),
        "state_heads": config.number("linear_num_value_heads"),
        "state_head_size": config.number("linear_value_head_dim"),
        "kernel": config.number("linear_conv_kernel_dim"),
    }
    return [
        replace(b, mixer="delta", rope_head_size=0, vectors=0, scan=64, **sizes)
        if kind == "linear_attention"
        else b
        for b, kind in zip(layers, kinds, strict=True)
    ]


def _by_channel(config: Config, layers: list[Block]) -> list[Block]:
    """Delta rules with a decay of every channel (Kimi Linear): layers by their numbers, from 1."""
    number, key = len(layers), "linear_attn_config"
    inner = config.inner(key) if config.get(key) is not None else {}
    for name in set(inner) - set(_LINEAR):
        raise config.fail(f"{name} is not supported", key, value=inner[name])
    part = Config(inner, config.file, honours=_LINEAR, prefix=f"{config.prefix}{key}.")
    kinds = config.texts("layer_types", ("linear_attention", "full_attention"), number)
    places = [_places(part, name, number) for name in ("full_attn_layers", "kda_layers")]
    if kinds is None and None not in places:
        full, linear = places
        if sorted([*(full or ()), *(linear or ())]) != list(range(number)):
            raise part.fail(f"and kda_layers do not name {number} layers once", "full_attn_layers")
        kinds = [
            "full_attention" if i in (full or ()) else "linear_attention" for i in range(number)
        ]
    if kinds is None:
        kinds = [
            "full_attention" if i and i % 4 == 0 else "linear_attention" for i in range(number)
        ]
    heads = part.number("num_heads", config.number("linear_num_heads", 32))
    size = part.number("head_dim", config.number("linear_head_dim", 128))
    kernel = part.number("short_conv_kernel_size", config.number("linear_conv_kernel_dim", 4))
    own: dict[str, Any] = {"state_groups": heads, "state_size": size, "state_heads": heads}
    own |= {"state_head_size": size, "kernel": kernel, "scan": 64, "rope_head_size": 0}
    plain: dict[str, Any] = {
        "q_lora_rank": 0,
        "kv_lora_rank": 0,
        "nope_head_size": 0,
        "value_head_size": 0,
    }
    return [
        replace(b, mixer="kda", **plain, **own)
        if kind == "linear_attention"
        else replace(b, rotates=False)
        for b, kind in zip(layers, kinds, strict=True)
    ]


#: Keys of `linear_attn_config`.
_LINEAR = frozenset(
    {"full_attn_layers", "kda_layers", "head_dim", "num_heads", "short_conv_kernel_size"}
)


def _places(part: Config, key: str, number: int) -> list[int] | None:
    """Layers that a list names by their numbers from 1, counted from 0; None without a list."""
    value = part.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(
        isinstance(v, int) and not isinstance(v, bool) and 1 <= v <= number for v in value
    ):
        raise part.fail(f"must be a list of layers from 1 to {number}", key, value=value)
    return [v - 1 for v in value]


def _lightning(config: Config, layers: list[Block]) -> list[Block]:
    """Lightning attention between layers of attention (MiniMax): in files 0 stands for it."""
    number = len(layers)
    words = config.texts("layer_types", ("linear_attention", "full_attention"), number)
    listed = config.flags("attn_type_list", number)
    linear = [i % 2 == 1 for i in range(number)]
    if listed is not None:
        linear = [not full for full in listed]
    if words is not None:
        linear = [word == "linear_attention" for word in words]
    if listed is not None and words is not None and linear == listed:
        raise config.fail("says another thing than layer_types", "attn_type_list")
    chunk = config.number("block_size", 256)

    def own(b: Block) -> dict[str, Any]:
        sizes: dict[str, Any] = {"state_heads": b.heads, "state_head_size": b.head_size}
        sizes |= {"state_groups": b.heads, "state_size": b.head_size}
        return sizes | {"mixer": "lightning", "scan": chunk, "window": 0, "rope_head_size": 0}

    return [replace(b, **own(b)) if on else b for b, on in zip(layers, linear, strict=True)]


def short_kinds(config: Config, number: int) -> list[str]:
    """What each layer of models with short convolutions is: LFM3 has windows, too."""
    windows = ("sliding_attention",) if "sliding_window" in config.honours else ()
    kinds = config.texts("layer_types", ("conv", "full_attention", *windows), number)
    if kinds is None and windows:
        turns = ("sliding_attention", "conv", "full_attention", "conv")
        kinds = ["conv" if i == 0 else turns[i % 4] for i in range(number)]
    if kinds is None:
        full = config.places("full_attn_idxs", number) or list(range(number))
        kinds = ["full_attention" if i in full else "conv" for i in range(number)]
    return kinds


def _short(config: Config, layers: list[Block]) -> list[Block]:
    """Short gated convolutions where there is no attention (LFM2)."""
    kinds, taps = short_kinds(config, len(layers)), config.number("conv_L_cache")
    return [
        replace(b, mixer="convolution", kernel=taps) if kind == "conv" else b
        for b, kind in zip(layers, kinds, strict=True)
    ]


def sublayers(config: Config) -> list[str]:
    """Kinds of a hybrid's layers, a sublayer each (LETTERS)."""
    value = config.get("hybrid_override_pattern")
    words = config.get("layers_block_type")
    if value is None and isinstance(words, list):
        for word in words:
            if not isinstance(word, str) or word not in _WORDS:
                raise config.fail("unknown layer", "layers_block_type", value=word, allowed=_WORDS)
        value = "".join(_WORDS[word] for word in words)
    key = "hybrid_override_pattern"
    if not isinstance(value, str) or not value:
        raise config.fail("is missing" if value is None else "must be a text", key, value=value)
    for letter in value:
        if letter not in LETTERS:
            raise config.fail("unknown layer", key, value=letter, allowed=LETTERS)
    number = config.number("num_hidden_layers", len(value))
    if number != len(value):
        raise config.fail(f"has {len(value)} layers, num_hidden_layers says {number}", key)
    return [LETTERS[letter] for letter in value]
