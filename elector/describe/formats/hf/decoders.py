"""Decoders of one stream: sizes of heads, windows, feed-forwards and experts, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from elector.describe.formats.hf.config import Config
from elector.describe.formats.hf.experts import expert_layers
from elector.describe.formats.hf.mixers import mixed, short_kinds
from elector.describe.model import Block, Model
from elector.describe.variants import grouped, layers_of

#: Words of `layer_types` -> what a layer of that kind keeps of window and chunk.
_TYPES = {
    "full_attention": (False, False),
    "attention": (False, False),
    "sliding_attention": (True, False),
    "chunked_attention": (False, True),
}


def decoder(config: Config, traits: Mapping[str, Any]) -> Model:
    """A causal decoder; `traits` are fields of Model that its class fixes."""
    layers = [_block(config, traits)] * config.number("num_hidden_layers")
    layers = _windows(config, traits, layers)
    layers = mixed(config, _positions(config, layers))
    layers = _feed_forwards(config, traits, layers)
    return assembled(config, traits, layers)


def assembled(config: Config, traits: Mapping[str, Any], layers: list[Block]) -> Model:
    """A decoder of these layers, with what its class reads of biases, norms and embeddings."""
    blocks, pattern = grouped(layers)
    own = {name: value for name, value in traits.items() if not name.startswith("_")}
    fields = {**_base(config, traits), **own, **options(config, traits)}
    model = Model(name="", family="decoder", blocks=blocks, pattern=pattern, **fields)
    routed = [bool(layer.experts) for layer in layers]
    first = routed.index(True) if True in routed else 0
    if first and pattern and all(routed[first:]):
        model = replace(model, dense_layers=first)
    return model


def _base(config: Config, traits: Mapping[str, Any]) -> dict[str, Any]:
    """What every decoder's class reads."""
    fields: dict[str, Any] = {
        "vocabulary": config.number("vocab_size"),
        "tied_embeddings": config.flag("tie_word_embeddings", True),
        "activation": config.activation("hidden_act"),
    }
    rates = ("attention_dropout", "hidden_dropout", "embedding_dropout")
    fields["dropout"] = any([config.share(key, 0.0) > 0 for key in rates])
    if traits.get("position_kind") == "learned":
        fields["positions"] = config.number("max_position_embeddings")
    return fields


def options(config: Config, traits: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of Model that switches of some classes decide."""
    fields: dict[str, Any] = {}
    if "attention_bias" in config.honours:
        bias = config.flag("attention_bias", bool(traits.get("attention_bias")))
        fields["attention_bias"] = bias
        fields["output_bias"] = bias and not traits.get("_qkv_bias")
    if "attention_out_bias" in config.honours:
        fields["output_bias"] = config.flag("attention_out_bias", False)
    if "mlp_bias" in config.honours:
        fields["feed_forward_bias"] = config.flag("mlp_bias", False)
    if config.flag("use_qkv_bias", False):
        fields["attention_bias"] = True
    if config.flag("use_qk_norm", False) and "use_qk_norm" in config.honours:
        fields["qk_norm"] = "heads" if traits.get("parallel") == "one-norm" else "head"
    if config.flag("qk_layernorm", False):
        fields["qk_norm"] = "heads" if "use_qkv_bias" in config.honours else "head"
    if "use_parallel_residual" in config.honours:
        two = "partial_rotary_factor" in config.names
        kind = "two-norms" if two else "one-norm"
        beside = config.flag("use_parallel_residual", two)
        fields["parallel"] = kind if beside else "none"
    if "lm_head_bias" in config.honours:
        fields["head_bias"] = config.flag("lm_head_bias", False)
    return fields | _opt(config)


def _opt(config: Config) -> dict[str, Any]:
    """What only OPT's class has: norms after, a narrow embedding."""
    if "word_embed_proj_dim" not in config.honours:
        return {}
    config.expect("enable_bias", True, None)
    config.expect("layer_norm_elementwise_affine", True, None)
    before = config.flag("do_layer_norm_before", True)
    last = before and not config.flag("_remove_final_layer_norm", False)
    fields: dict[str, Any] = {"pre_norm": before, "final_norm": last}
    hidden = config.number("hidden_size")
    narrow = config.number("word_embed_proj_dim", hidden)
    if narrow != hidden:
        fields |= {"embedding_size": narrow, "embedding_bias": False, "embeds_tokens_only": True}
    return fields


def head_sizes(config: Config, traits: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Hidden width, heads, key/value heads and the width of a head."""
    hidden, heads = config.number("hidden_size"), config.number("num_attention_heads")
    size = config.number("head_dim", 0)
    if not size:
        if hidden % heads:
            raise config.fail(
                f"{heads} heads do not divide a hidden width of {hidden}", "num_attention_heads"
            )
        size = hidden // heads
    kv_heads = config.number("num_key_value_heads", heads)
    if config.flag("multi_query", False):
        kv_heads = 1
    if heads % kv_heads:
        raise config.fail(
            f"{kv_heads} key/value heads do not divide {heads} heads", "num_key_value_heads"
        )
    if traits.get("_square") and heads * size != hidden:
        problem = f"{heads} heads of {size} are not the hidden width of {hidden}"
        raise config.fail(f"{problem}, which the output projection reads", "head_dim")
    return hidden, heads, kv_heads, size


def _block(config: Config, traits: Mapping[str, Any]) -> Block:
    hidden, heads, kv_heads, size = head_sizes(config, traits)
    usual = int(traits.get("_inner", 0)) * hidden
    # Where all layers have experts, files need not say how wide a dense one would be.
    silent = "expert_width" in config.honours and not config.has("intermediate_size")
    width = 0 if silent else config.number("intermediate_size", usual or None)
    part = _turned_part(config, size)
    vectors = heads if traits.get("_sinks") else 0
    if traits.get("_sub_norms"):  # norms of what goes into the last matrices (BitNet)
        vectors += heads * size + width
    if config.activation("hidden_act") == "xielu":
        vectors += 2
    if traits.get("_gate_in_query") and config.flag("attention_bias", False):
        vectors += heads * size  # the gate is half of the query's projection, biases and all
    return Block(
        1,
        hidden,
        heads,
        size,
        kv_heads,
        (width,) if width else (),
        causal=True,
        vectors=vectors,
        rope_head_size=0 if part == size else part,
    )


def _turned_part(config: Config, size: int) -> int:
    """Numbers of a head that rotary positions turn."""
    part = config.number("rotary_dim", 0, low=0)
    return part or int(size * config.share("partial_rotary_factor", _rotary_share(config)))


def _rotary_share(config: Config) -> float:
    """How much of a head rotary positions turn, where `rope_parameters` says it."""
    inner = config.get("rope_parameters")
    share = inner.get("partial_rotary_factor") if isinstance(inner, dict) else None
    return float(share) if isinstance(share, int | float) and 0 < share <= 1 else 1.0


def _windows(config: Config, traits: Mapping[str, Any], layers: list[Block]) -> list[Block]:
    """The layers with their windows and chunks."""
    if not traits.get("_windows"):
        return layers
    number = len(layers)
    if traits["_windows"] == "listed":
        return _listed(config, layers)
    window = config.number("sliding_window", 0, low=0)
    chunk = config.number("attention_chunk_size", 0, low=0)
    if not config.flag("use_sliding_window", traits.get("_windows") != "asked"):
        window = 0
    elif config.get("sliding_window") == 0:
        raise config.fail("a window of 0 sees nothing", "sliding_window", value=0)
    if "conv_L_cache" in config.honours:
        kinds = short_kinds(config, number)
        types: list[str] | None = ["full_attention" if k == "conv" else k for k in kinds]
    else:
        types = config.texts("layer_types", tuple(_TYPES), number)
    if types is None:
        types = _default_types(config, str(traits["_windows"]), number, bool(window))
    if "sliding_attention" in types and not window:
        if config.has("layer_types"):
            raise config.fail("is missing, and layer_types names sliding layers", "sliding_window")
        types = ["full_attention"] * number
    if traits.get("_last_full"):  # as the class has it, whatever is listed
        types = [*types[:-1], "full_attention"]
    windowed = []
    for layer, kind in zip(layers, types, strict=True):
        narrow, pieces = _TYPES[kind]
        windowed.append(
            replace(layer, window=window if narrow else 0, chunk=chunk if pieces else 0)
        )
    return windowed


def _is_counted(entry: object, most: int) -> bool:
    """Whether it is kinds and how often they are repeated, at most so often."""
    if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], list)):
        return False
    return isinstance(entry[1], int) and 0 <= entry[1] <= most


def _listed(config: Config, layers: list[Block]) -> list[Block]:
    """GPT-Neo: `attention_types` says how often which kinds are repeated."""
    number, window = len(layers), config.number("window_size")
    config.get("attention_layers")  # the same once more, layer by layer
    kinds: list[str] = []
    entries = config.get("attention_types", [[["global", "local"], number // 2]])
    if not (isinstance(entries, list) and all(_is_counted(entry, number) for entry in entries)):
        raise config.fail("must be a list of kinds and numbers of layers", "attention_types")
    for names, times in entries:
        kinds += [str(kind) for kind in names] * times
    if len(kinds) != number or set(kinds) - {"global", "local"}:
        raise config.fail(f"must name {number} layers, global or local", "attention_types")
    return [
        replace(layer, window=window if kind == "local" else 0)
        for layer, kind in zip(layers, kinds, strict=True)
    ]


def _default_types(config: Config, rule: str, number: int, windowed: bool) -> list[str]:
    """Kinds of layers where the file does not list them, by the rule of the class."""
    full, narrow = "full_attention", "sliding_attention"
    if not windowed and rule != "chunks":
        return [full] * number
    if rule == "all":
        return [narrow] * number
    if rule == "step":
        raise config.fail("is missing", "layer_types")
    if rule == "full":
        return [full] * number
    if rule.startswith("first:"):  # of so many layers the first sees everything
        period = int(rule.partition(":")[2])
        return [narrow if i % period else full for i in range(number)]
    if rule in ("asked", "late"):
        first = config.number("max_window_layers", number, low=0)
        return [narrow if i >= first else full for i in range(number)]
    if rule == "chunks":
        return ["chunked_attention" if on else full for on in _turned(config, number)]
    period = config.number("sliding_window_pattern", int(rule.partition(":")[2] or 2))
    return [narrow if (i + 1) % period else full for i in range(number)]


def _turned(config: Config, number: int) -> list[bool]:
    """Layers whose queries and keys rotary positions turn."""
    listed = config.flags("no_rope_layers", number) if config.get("no_rope_layers") else None
    if listed is not None:
        return listed
    period = config.number("no_rope_layer_interval", 4)
    return [bool((i + 1) % period) for i in range(number)]


def _positions(config: Config, layers: list[Block]) -> list[Block]:
    """Layers without rotary positions among those that have them."""
    if "no_rope_layers" not in config.honours:
        return layers
    turned = _turned(config, len(layers))
    return [replace(layer, rotates=on) for layer, on in zip(layers, turned, strict=True)]


def _feed_forwards(config: Config, traits: Mapping[str, Any], layers: list[Block]) -> list[Block]:
    """Layers with experts, where the class has any."""
    by_layer = expert_layers(config, len(layers))
    if by_layer is None or None in by_layer:
        config.number("intermediate_size", None if not layers[0].feed_forward else 1)
    if by_layer is None:
        return layers
    if config.flag("mlp_bias", False) and any(e and e.get("shared_experts") for e in by_layer):
        if not traits.get("_shared_biases"):
            raise config.fail("biases of shared experts are not described", "mlp_bias", value=True)
        by_layer = [e and e | _shared_biases(config, layers[0], e) for e in by_layer]
    if traits.get("_shared_always") and any(e and not e.get("shared_experts") for e in by_layer):
        raise config.fail("the class has at least one", "shared_experts", value=0)
    if traits.get("_shared_one"):  # Llama 4: one shared expert, dense layers of another width
        own = {"shared_experts": 1, "shared_feed_forward": config.number("intermediate_size")}
        by_layer = [None if experts is None else experts | own for experts in by_layer]
        wide = (config.number("intermediate_size_mlp"),)
        layers = [replace(layer, feed_forward=wide) for layer in layers]
    return [
        layer if experts is None else replace(layer, feed_forward=(), **experts)
        for layer, experts in zip(layers, by_layer, strict=True)
    ]


def _shared_biases(config: Config, layer: Block, experts: Mapping[str, Any]) -> dict[str, Any]:
    """Biases of the shared experts of a layer (ERNIE 4.5), as numbers beside its products."""
    width = experts.get("shared_feed_forward", 0)
    return {"vectors": layer.vectors + 2 * width + layer.hidden} if width else {}


def falcon(config: Config, traits: Mapping[str, Any]) -> Model:
    """Falcon's three layouts: 7B (one key head, one norm), 40B (groups, two norms), RW (ALiBi)."""
    hidden, heads = config.number("hidden_size"), config.number("num_attention_heads")
    config.expect("apply_residual_connection_post_layernorm", False, None)
    if hidden % heads:
        raise config.fail(f"{heads} heads do not divide a hidden width of {hidden}", "hidden_size")
    new = config.flag("new_decoder_architecture", False)
    kv_heads = heads
    if new:
        kv_heads = config.number("num_kv_heads", heads)
    elif config.flag("multi_query", True):
        kv_heads = 1
    if heads % kv_heads:
        raise config.fail(f"must divide {heads} heads", "num_kv_heads", value=kv_heads)
    beside = new or config.flag("parallel_attn", True)
    norms = config.number("num_ln_in_parallel_attn", 2 if new else 1)
    if norms not in (1, 2) or (norms == 2 and not new):
        raise config.fail("is not supported", "num_ln_in_parallel_attn", value=norms)
    bias = config.flag("bias", False)
    width = config.number("ffn_hidden_size", 4 * hidden)
    layer = Block(1, hidden, heads, hidden // heads, kv_heads, (width,), causal=True)
    changed = {
        "attention_bias": bias,
        "output_bias": bias,
        "feed_forward_bias": bias,
        "position_kind": "alibi" if config.flag("alibi", False) else "rotary",
        "parallel": ("two-norms" if norms == 2 else "one-norm") if beside else "none",
    }
    layers = [layer] * config.number("num_hidden_layers")
    return assembled(config, {**traits, **changed}, layers)


def mpt(config: Config, traits: Mapping[str, Any]) -> Model:
    """MPT: ALiBi, no biases, sizes of attention in a mapping of their own."""
    hidden, heads = config.number("hidden_size"), config.number("num_attention_heads")
    inner = config.get("attn_config") or {}
    for key, allowed in (
        ("qk_ln", (False, None)),
        ("alibi", (True,)),
        ("prefix_lm", (False, None)),
    ):
        if key in inner and inner[key] not in allowed:
            raise config.fail(f"{key} is not supported", "attn_config", value=inner[key])
    config.expect("no_bias", True)
    if hidden % heads:
        raise config.fail(f"{heads} heads do not divide {hidden}", "num_attention_heads")
    # whatever the file says, the class has feed-forwards of four times the hidden width
    config.expect("expansion_ratio", 4, None)
    kv_heads = inner.get("kv_n_heads") or heads
    layer = Block(1, hidden, heads, hidden // heads, kv_heads, (4 * hidden,), causal=True)
    return assembled(config, traits, [layer] * config.number("num_hidden_layers"))


def mimo_v2(config: Config, traits: Mapping[str, Any]) -> Model:
    """Windows with heads of their own and sinks between full layers; values narrower than keys."""
    number = config.number("num_hidden_layers")
    narrow = _narrow(config, number)
    hidden, heads, kv_heads, size = head_sizes(config, traits)
    value = config.number("v_head_dim", size)
    part = _turned_part(config, size)
    # the class attends to so many tokens before a token, and to itself
    window = config.number("sliding_window_size", config.number("sliding_window") - 1) + 1
    config.get("sliding_window"), config.get("attention_chunk_size")
    full = Block(
        1,
        hidden,
        heads,
        size,
        kv_heads,
        (config.number("intermediate_size"),),
        causal=True,
        value_head_size=0 if value == size else value,
        rope_head_size=0 if part == size else part,
        vectors=heads if config.flag("add_full_attention_sink_bias", False) else 0,
    )
    config.expect("swa_num_attention_heads", heads, None)
    config.expect("swa_head_dim", size, None)
    config.expect("swa_v_head_dim", value, None)
    near = replace(
        full,
        window=window,
        kv_heads=config.number("swa_num_key_value_heads", 2 * kv_heads),
        vectors=heads if config.flag("add_swa_attention_sink_bias", True) else 0,
    )
    layers = _feed_forwards(config, traits, [near if on else full for on in narrow])
    return assembled(config, traits, layers)


def _narrow(config: Config, number: int) -> list[bool]:
    """Which layers of MiMo-V2 have a window, in the words of either of its files."""
    listed = config.flags("hybrid_layer_pattern", number)
    words = config.texts("layer_types", tuple(_TYPES), number)
    said = None if words is None else [_TYPES[word][0] for word in words]
    if listed is not None and said is not None and listed != said:
        raise config.fail("says another thing than hybrid_layer_pattern", "layer_types")
    usual = [not (i == 0 or (i + 1) % 6 == 0) for i in range(number)]
    return listed or said or usual


def lfm2(config: Config, traits: Mapping[str, Any]) -> Model:
    """Short convolutions and attention; the feed-forward's width is adjusted as the class does."""
    width = config.number("block_ff_dim", config.number("intermediate_size", 12288))
    if config.flag("block_auto_adjust_ff_dim", True):
        width = int(2 * width / 3)
        factor = config.get("block_ffn_dim_multiplier", 1.0)
        if isinstance(factor, bool) or not isinstance(factor, int | float) or factor <= 0:
            raise config.fail("must be above 0", "block_ffn_dim_multiplier", value=factor)
        step = config.number("block_multiple_of", 256)
        width = step * -(-int(factor * width) // step)
    model = decoder(config, traits)
    blocks = tuple(replace(b, feed_forward=(width,)) if b.feed_forward else b for b in model.blocks)
    bias = config.flag("conv_bias", False)
    tied = config.flag("tie_embedding", config.flag("tie_word_embeddings", True))
    return replace(model, blocks=blocks, taps_bias=bias, scan_bias=bias, tied_embeddings=tied)


def lfm3(config: Config, traits: Mapping[str, Any]) -> Model:
    """LFM2's layers with windows, gated heads and norms behind the sublayers."""
    bias = config.flag("conv_bias", False)
    return replace(
        decoder(config, traits),
        taps_bias=bias,
        scan_bias=bias,
        output_norm=config.flag("use_sandwich_norm", True),
        attention_gate="head" if config.flag("use_attention_gate", True) else "none",
    )


def cohere2_moe(config: Config, traits: Mapping[str, Any]) -> Model:
    """Command's parallel layers with experts; dense first layers have a width of their own."""
    number, first = config.number("num_hidden_layers"), config.number("first_k_dense_replace", 0, 0)
    model = decoder(config, traits)
    layers = layers_of(model)
    if any(not layer.experts for layer in layers):
        wide = (
            config.number("prefix_dense_intermediate_size", config.number("intermediate_size")),
        )
        layers = [b if b.experts else replace(b, feed_forward=wide) for b in layers]
    if config.get("layer_types") is None and first:  # their windows follow a pattern of their own
        period = config.number("prefix_dense_sliding_window_pattern", 1)
        step, window = config.number("sliding_window_pattern", 4), config.number("sliding_window")
        narrow = [bool((i + 1) % period) for i in range(first)]
        narrow += [bool((i + 1) % step) for i in range(number - first)]
        layers = [replace(b, window=window * on) for b, on in zip(layers, narrow, strict=True)]
    own = {"norm": "rms"} if config.get("rms_norm_eps") is not None else {}
    return assembled(config, {**traits, **own}, layers)
