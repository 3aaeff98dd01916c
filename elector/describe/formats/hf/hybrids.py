"""Decoders whose layers differ in more than their windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from elector.describe.formats.hf.config import Config
from elector.describe.formats.hf.decoders import decoder, head_sizes
from elector.describe.formats.hf.experts import expert_layers
from elector.describe.formats.hf.mixers import sublayers
from elector.describe.model import Block, Model
from elector.describe.variants import grouped, layers_of


def nemotron_h(config: Config, traits: Mapping[str, Any]) -> Model:
    """Mamba-2, attention, feed-forward and experts, each a layer with one norm."""
    # what published files leave off, and the class whatever they say
    for key in ("tie_word_embeddings", "attention_bias", "mlp_bias", "mamba_proj_bias"):
        config.expect(key, False, None)
    config.expect("shared_experts", 1, None)
    blocks, pattern = grouped(_sublayer_blocks(config, traits))
    return Model(
        name="",
        family="decoder",
        blocks=blocks,
        pattern=pattern,
        vocabulary=config.number("vocab_size"),
        position_kind="none",
        norm="rms",
        pre_norm=True,
        embedding_norm=False,
        activation=config.activation("hidden_act"),
        attention_bias=False,
        output_bias=False,
        feed_forward_bias=False,
        taps_bias=config.flag("use_conv_bias", True),
        tied_embeddings=False,
        dropout=config.share("attention_dropout", 0.0) > 0,
        head_dense=False,
    )


def _sublayer_blocks(config: Config, traits: Mapping[str, Any]) -> list[Block]:
    """The layers in their order, each of one kind."""
    hidden, heads, kv_heads, size = head_sizes(config, traits)
    kinds = sublayers(config)
    attention = Block(1, hidden, heads, size, kv_heads, (), causal=True, rotates=False)
    bare = replace(attention, mixer="none")
    scan = replace(
        attention,
        mixer="mamba2",
        state_size=config.number("ssm_state_size"),
        state_groups=config.number("n_groups"),
        state_heads=config.number("mamba_num_heads"),
        state_head_size=config.number("mamba_head_dim"),
        kernel=config.number("conv_kernel"),
        scan=config.number("chunk_size"),
    )
    layer = {"mamba2": scan, "attention": attention}
    if "feed-forward" in kinds:
        width = config.number("intermediate_size")
        layer["feed-forward"] = replace(bare, feed_forward=(width,))
    if "experts" in kinds:
        experts = expert_layers(config, 1)
        if not experts or experts[0] is None:
            raise config.fail("is missing, and the pattern has layers of experts", "experts")
        layer["experts"] = replace(bare, **experts[0])
    return [layer[kind] for kind in kinds]


def mamba(config: Config, traits: Mapping[str, Any]) -> Model:
    """Selective scans (Mamba), or their heads (Mamba-2), in every layer and nothing else."""
    hidden = config.number("hidden_size")
    inner = config.number("mamba_inner", config.number("expand", 2) * hidden)
    base = Block(config.number("num_hidden_layers"), hidden, 1, hidden, 1, (), causal=True)
    taps, state = config.number("conv_kernel"), config.number("state_size")
    if "time_step_rank" in config.honours and traits["_mixer"] == "mamba":
        rank = config.get("time_step_rank", "auto")
        rank = -(-hidden // 16) if rank == "auto" else config.number("time_step_rank")
        sizes: dict[str, Any] = {"state_heads": inner, "state_head_size": 1, "state_groups": rank}
    else:
        heads, size = config.number("num_heads"), config.number("head_dim")
        if heads * size != inner:
            raise config.fail(
                f"{heads} heads of {size} are not the {inner} inner channels", "num_heads"
            )
        sizes = {"state_heads": heads, "state_head_size": size}
        sizes |= {"state_groups": config.number("n_groups"), "scan": config.number("chunk_size")}
    block = replace(base, mixer=traits["_mixer"], kernel=taps, state_size=state, **sizes)
    return Model(
        name="",
        family="decoder",
        blocks=(block,),
        vocabulary=config.number("vocab_size"),
        position_kind="none",
        norm="rms",
        pre_norm=True,
        embedding_norm=False,
        activation=config.activation("hidden_act"),
        attention_bias=False,
        output_bias=False,
        feed_forward_bias=False,
        scan_bias=config.flag("use_bias", False),
        taps_bias=config.flag("use_conv_bias", True),
        tied_embeddings=config.flag("tie_word_embeddings", True),
        dropout=False,
        head_dense=False,
    )


#: Words of `layer_types` of decoders whose layers scan or attend, each with a feed-forward.
_SCANS = {"mamba": True, "linear_attention": True, "attention": False, "full_attention": False}


def scan_decoder(config: Config, traits: Mapping[str, Any]) -> Model:
    """Layers of Mamba or Mamba-2 between those of attention, all with a feed-forward or experts
    (Granite 4, Bamba, Jamba)."""
    model = decoder(config, traits)
    layers = layers_of(model)
    scans = _scanning(config, len(layers))
    dense = config.number("shared_width", 0, low=0) if not layers[0].experts else 0
    if dense and "experts" in config.honours:  # without experts the shared one is all there is
        layers = [replace(layer, feed_forward=(dense,)) for layer in layers]
    own = _scan_sizes(config, layers[0].hidden, str(traits["_mixer"]))
    mixed = [replace(b, **own) if on else b for b, on in zip(layers, scans, strict=True)]
    blocks, pattern = grouped(mixed)
    kind = "rotary" if config.get("position_embedding_type") == "rope" else "none"
    return replace(
        model,
        blocks=blocks,
        pattern=pattern,
        dense_layers=0,
        position_kind=traits.get("position_kind", kind),
        scan_bias=config.flag("mamba_proj_bias", False),
        taps_bias=config.flag("mamba_conv_bias", True),
    )


def _scanning(config: Config, number: int) -> list[bool]:
    """Whether each layer scans."""
    words = config.texts("layer_types", tuple(_SCANS), number)
    if words is not None:
        return [_SCANS[word] for word in words]
    if "attn_layer_period" in config.honours:
        period = config.number("attn_layer_period", 8)
        first = config.number("attn_layer_offset", 4, low=0)
        return [i % period != first for i in range(number)]
    attending = config.places("attn_layer_indices", number)
    return [i not in attending for i in range(number)]


def _scan_sizes(config: Config, hidden: int, mixer: str) -> dict[str, Any]:
    """Fields of the blocks that scan."""
    inner, state = config.number("mamba_expand", 2) * hidden, config.number("mamba_d_state")
    sizes: dict[str, Any] = {
        "mixer": mixer,
        "rope_head_size": 0,
        "state_size": state,
        "kernel": config.number("mamba_d_conv", 4),
    }
    if mixer == "mamba":
        rank = config.get("mamba_dt_rank", "auto")
        rank = -(-hidden // 16) if rank == "auto" else config.number("mamba_dt_rank")
        # norms of the step and of both of the state's projections
        sizes |= {"state_heads": inner, "state_head_size": 1, "state_groups": rank}
        return sizes | {"vectors": rank + 2 * state}
    heads = config.number("mamba_n_heads")
    given = config.get("mamba_d_head", "auto")
    size = inner // heads if given == "auto" else config.number("mamba_d_head")
    if heads * size != inner:
        raise config.fail(
            f"{heads} heads of {size} are not the {inner} inner channels", "mamba_n_heads"
        )
    sizes |= {"state_heads": heads, "state_head_size": size}
    sizes["state_groups"] = config.number("mamba_n_groups", 1)
    return sizes | {"scan": config.number("mamba_chunk_size", 256)}


def falcon_h1(config: Config, traits: Mapping[str, Any]) -> Model:
    """Attention and Mamba-2 side by side in every layer, their results added up."""
    model = decoder(config, traits)
    biased = config.flag("mamba_proj_bias", False)
    config.expect("projectors_bias", *((True,) if biased else (False, None)))
    inner = (
        config.number("mamba_d_ssm", 0) or config.number("mamba_expand", 2) * model.blocks[0].hidden
    )
    heads = config.number("mamba_n_heads", 128)
    size = inner // heads if config.get("mamba_d_head", "auto") == "auto" else 0
    size = size or config.number("mamba_d_head")
    if heads * size != inner:
        raise config.fail(
            f"{heads} heads of {size} are not the {inner} inner channels", "mamba_n_heads"
        )
    own: dict[str, Any] = {
        "mixer": "attention+mamba2",
        "state_heads": heads,
        "state_head_size": size,
        "state_size": config.number("mamba_d_state", 256),
        "state_groups": config.number("mamba_n_groups", 1),
        "kernel": config.number("mamba_d_conv", 4),
        "scan": config.number("mamba_chunk_size", 256),
    }
    return replace(
        model,
        blocks=tuple(replace(b, **own) for b in model.blocks),
        scan_bias=biased,
        scan_norm=config.flag("mamba_rms_norm", False),
        taps_bias=config.flag("mamba_conv_bias", True),
    )


def gemma4(config: Config, traits: Mapping[str, Any]) -> Model:
    """Global layers with wider heads whose keys are their values; experts beside a feed-forward."""
    config.expect("hidden_size_per_layer_input", 0, None)
    config.expect("num_kv_shared_layers", 0, None)
    config.expect("use_double_wide_mlp", False, None)
    model = decoder(config, traits)
    heads = config.number("num_global_key_value_heads", model.blocks[0].kv_heads)
    size = config.number("global_head_dim", 512)
    same = config.flag("attention_k_eq_v", False)
    moe = config.flag("enable_moe_block", False)
    if moe and not config.has("experts"):
        raise config.fail("is missing, and enable_moe_block asks for it", "experts")
    own = _per_layer(config)
    layers = []
    for i, b in enumerate(layers_of(model)):
        if not b.window:
            wide: dict[str, Any] = {"head_size": size, "kv_heads": heads if same else b.kv_heads}
            b = replace(b, shares_key=same, **(wide if own is None else {}))
        b = replace(b, **(own or {}).get(i, {}))
        if not b.window:
            b = replace(b, rope_head_size=b.head_size // 4)
        # Weights of a norm of queries and one of keys; values are normed without any.
        vectors = 2 * b.head_size
        if moe:
            # a norm before and behind the experts, one behind the dense layer; router scales
            vectors += 4 * b.hidden + config.number("experts")
            experts: dict[str, Any] = {
                "experts": config.number("experts"),
                "experts_per_token": config.number("experts_per_token"),
                "expert_feed_forward": config.number("expert_width"),
            }
            width = config.number("intermediate_size")
            b = replace(b, beside=True, feed_forward=(width,), **experts)
        layers.append(replace(b, vectors=vectors))
    blocks, pattern = grouped(layers)
    return replace(model, blocks=blocks, pattern=pattern, qk_norm="none")


#: Keys of `per_layer_config`, which saved files of Gemma 4 have, -> fields of a block.
_OWN = {"head_dim": "head_size", "num_key_value_heads": "kv_heads"}


def _per_layer(config: Config) -> dict[int, dict[str, Any]] | None:
    """Layer -> the sizes that it has of its own; None where the file lists none."""
    key = "per_layer_config"
    own: dict[int, dict[str, Any]] = {}
    listed = config.get(key, {})
    if key not in config.entries:
        return None
    number = config.number("num_hidden_layers")
    # saved with zeros in front, so that they sort
    places = {str(i).zfill(wide): i for i in range(number) for wide in range(1, 6)}
    if not isinstance(listed, dict) or not set(map(str, listed)) <= set(places):
        raise config.fail(f"must be a mapping of layers from 0 to {number - 1}", key, value=listed)
    for name, sizes in listed.items():
        if not isinstance(sizes, dict) or not set(sizes) <= set(_OWN):
            raise config.fail("is not supported", key, value=sizes, allowed=_OWN)
        part = Config(sizes, config.file, honours=frozenset(_OWN), prefix=f"{key}.{name}.")
        own[places[str(name)]] = {_OWN[size]: part.number(size) for size in sizes}
    return own


def nemotron_nas(config: Config, traits: Mapping[str, Any]) -> Model:
    """Layers of `block_configs`, found by a search: heads or none, feed-forward or none."""
    hidden, heads = config.number("hidden_size"), config.number("num_attention_heads")
    listed = config.get("block_configs")
    number = config.number("num_hidden_layers")
    if not isinstance(listed, list) or len(listed) != number:
        raise config.fail(f"must be a list of {number} layers", "block_configs")
    layers = [_found_layer(config, entry, hidden, heads) for entry in listed]
    blocks, pattern = grouped(layers)
    own = {name: value for name, value in traits.items() if not name.startswith("_")}
    return Model(
        name="",
        family="decoder",
        blocks=blocks,
        pattern=pattern,
        vocabulary=config.number("vocab_size"),
        tied_embeddings=config.flag("tie_word_embeddings", False),
        activation=config.activation("hidden_act"),
        dropout=config.share("attention_dropout", 0.0) > 0,
        **own,
    )


def _found_layer(config: Config, entry: Any, hidden: int, heads: int) -> Block:
    """One entry of `block_configs`."""
    key = "block_configs"
    parts = entry if isinstance(entry, dict) else {}
    attention, dense = parts.get("attention"), parts.get("ffn")
    if not isinstance(attention, dict) or not isinstance(dense, dict):
        raise config.fail("needs attention and ffn in every layer", key, value=entry)
    for part in (attention, dense):
        if part.get("replace_with_linear") or part.get("sparsify"):
            raise config.fail("has layers replaced by linear or sparse ones", key, value=part)
    size = hidden // heads
    block = Block(1, hidden, heads, size, heads, (), causal=True)
    if attention.get("no_op"):
        block = replace(block, mixer="none")
    else:
        group = attention.get("n_heads_in_group")
        if not isinstance(group, int) or group < 1 or heads % group:
            raise config.fail("has no heads in a group", key, value=group)
        block = replace(block, kv_heads=heads // group)
    if dense.get("no_op"):
        return block
    ratio = dense.get("ffn_mult")
    if not isinstance(ratio, int | float) or not 0 < ratio < 64:
        raise config.fail("has no ffn_mult", key, value=ratio)
    # DeciLM: 2 of 3 of the ratio, in steps of 256
    wide = int(2 * ratio * hidden / 3)
    return replace(block, feed_forward=(-(-wide // 256) * 256,))
