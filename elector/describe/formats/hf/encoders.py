"""Encoders of text and of images, and encoder-decoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from elector.describe.formats.hf.config import ACTIVATIONS, Config
from elector.describe.model import Block, Model
from elector.describe.variants import grouped

_DROPS = ("hidden_dropout_prob", "attention_probs_dropout_prob")


def _fields(traits: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Fields of Model that the class fixes, and what was read."""
    own = {name: value for name, value in traits.items() if not name.startswith("_")}
    return {"name": "", **own, **more}


def _block(config: Config, prefix: str = "", layers: str = "num_hidden_layers") -> Block:
    """One repeated block whose heads fill the hidden width."""
    hidden = config.number("hidden_size")
    heads_key = f"{prefix}num_attention_heads"
    heads = config.number(heads_key)
    if hidden % heads:
        raise config.fail(f"{heads} heads do not divide a hidden width of {hidden}", heads_key)
    width = config.number(f"{prefix}intermediate_size")
    return Block(
        config.number(f"{prefix}{layers}"), hidden, heads, hidden // heads, heads, (width,)
    )


def bert(config: Config, traits: Mapping[str, Any]) -> Model:
    """BERT and its family: norms behind the sublayers, learned or relative positions."""
    # relative_key_query adds a second product with the keys, which is not modelled
    config.expect("position_embedding_type", "absolute", "relative_key", None)
    relative = config.get("position_embedding_type") == "relative_key"
    config.expect("is_decoder", False, None)
    config.expect("add_cross_attention", False, None)
    block = _block(config)
    narrow = config.number("embedding_size", block.hidden)
    tasks = 0  # ERNIE tells tasks apart as it does the two parts of an input
    if config.flag("use_task_id", False):
        tasks = config.number("task_type_vocab_size", 3)
    fields = _fields(
        traits,
        vocabulary=config.number("vocab_size"),
        positions=config.number("max_position_embeddings"),
        token_types=config.number("type_vocab_size", 0, low=0) + tasks,
        activation=config.activation("hidden_act"),
        tied_embeddings=config.flag("tie_word_embeddings", True),
        dropout=config.drops(*_DROPS),
        embedding_size=0 if narrow == block.hidden else narrow,
    )
    if relative:
        fields["position_kind"] = "relative-key"
    model = Model(family="encoder", blocks=(block,), **fields)
    if traits.get("_unsplit"):
        config.expect("num_hidden_groups", 1, None)
        config.expect("inner_group_num", 1, None)
        # ALBERT projects always
        model = replace(model, embedding_size=narrow)
    return model


def rotary_encoder(config: Config, traits: Mapping[str, Any]) -> Model:
    """Encoders of the decoders' parts: rotary positions, gated feed-forward, windows."""
    block = _block(config)
    kv_heads = config.number("num_key_value_heads", block.heads)
    if block.heads % kv_heads:
        raise config.fail(f"must divide {block.heads} heads", "num_key_value_heads")
    size = config.number("head_dim", block.head_size)
    block = replace(block, kv_heads=kv_heads, head_size=size)
    number = block.repeat
    period = config.number("global_attn_every_n_layers", 1)
    window = config.number("local_attention", 0, low=0)
    kinds = config.texts("layer_types", ("full_attention", "sliding_attention"), number) or [
        "sliding_attention" if i % period else "full_attention" for i in range(number)
    ]
    layers = [
        replace(block, repeat=1, window=window if kind == "sliding_attention" else 0)
        for kind in kinds
    ]
    blocks, pattern = grouped(layers)
    fields = _fields(
        traits,
        vocabulary=config.number("vocab_size"),
        token_types=config.number("type_vocab_size", 0, low=0),
        activation=config.activation("hidden_act"),
        tied_embeddings=config.flag("tie_word_embeddings", True),
        dropout=any([config.share(key, 0.0) > 0 for key in ("attention_dropout", "mlp_dropout")]),
    )
    for key, name in (
        ("attention_bias", "attention_bias"),
        ("mlp_bias", "feed_forward_bias"),
        ("classifier_bias", "transform_bias"),
        ("decoder_bias", "head_bias"),
    ):
        if key in config.honours:
            fields[name] = config.flag(key, bool(fields.get(name)))
    if traits.get("_head_follows"):
        fields["head_bias"] = fields["feed_forward_bias"]
    if "attention_bias" in config.honours:
        fields["output_bias"] = fields["attention_bias"]
    return Model(family="encoder", blocks=blocks, pattern=pattern, **fields)


def seq2seq(config: Config, traits: Mapping[str, Any]) -> Model:
    """BART and its family: an encoder and a decoder that attends to it, of sizes of their own."""
    config.expect("is_encoder_decoder", True)
    config.expect("tie_word_embeddings", True)  # untied classes hold four tables
    encoder = _block(config, "encoder_", "layers")
    decoder = replace(_block(config, "decoder_", "layers"), causal=True, cross_attention=True)
    fields = _fields(
        traits,
        vocabulary=config.number("vocab_size"),
        activation=config.activation("hidden_act"),
        tied_embeddings=config.flag("tie_word_embeddings", True),
        dropout=any([config.share(key, 0.0) > 0 for key in ("dropout", "attention_dropout")]),
    )
    if traits.get("_sound"):
        frames = config.number("max_source_positions", 1500)
        mels, hidden = config.number("num_mel_bins", 80), encoder.hidden
        fields |= {
            "positions": config.number("max_target_positions", 448),
            "source_positions": frames,
            "source_tokens": frames,
            "stem": ((3 * mels, 2 * frames), (3 * hidden, frames)),
        }
    else:
        fields["positions"] = config.number("max_position_embeddings")
    if traits.get("_fixed_positions"):
        fields["position_kind"] = "learned"
    return Model(family="encoder-decoder", blocks=(encoder, decoder), **fields)


def t5(config: Config, traits: Mapping[str, Any]) -> Model:
    """T5: norms before, relative biases, heads that need not fill the hidden width."""
    config.expect("is_encoder_decoder", True, *((False, None) if _only_encodes(config) else ()))
    projection = config.get("feed_forward_proj", "relu")
    gate, _, activation = str(projection).rpartition("-")
    if gate not in ("", "gated") or activation not in ACTIVATIONS:
        raise config.fail(
            "unknown feed-forward projection",
            "feed_forward_proj",
            value=projection,
            allowed=("relu", "gated-gelu", "gated-silu"),
        )
    # what saved files say once more, and classes take from there
    config.expect("is_gated_act", gate == "gated")
    said = config.get("dense_act_fn", activation)
    if ACTIVATIONS.get(said if isinstance(said, str) else "") != ACTIVATIONS[activation]:
        raise config.fail("is not that of feed_forward_proj", "dense_act_fn", value=said)
    layers, heads = config.number("num_layers"), config.number("num_heads")
    hidden, size = config.number("d_model"), config.number("d_kv")
    encoder = Block(layers, hidden, heads, size, heads, (config.number("d_ff"),))
    decoder = replace(
        encoder,
        repeat=config.number("num_decoder_layers", layers),
        causal=True,
        cross_attention=True,
    )
    fields = _fields(
        traits,
        vocabulary=config.number("vocab_size"),
        relative_buckets=config.number("relative_attention_num_buckets", 32),
        activation=ACTIVATIONS[activation],
        gated=gate == "gated",
        tied_embeddings=config.flag("tie_word_embeddings", True),
        dropout=config.drops("dropout_rate"),
    )
    if _only_encodes(config):
        return Model(family="encoder", blocks=(encoder,), **fields)
    if not fields["tied_embeddings"]:
        fields["notes"] = (_UNTIED,)
    return Model(family="encoder-decoder", blocks=(encoder, decoder), **fields)


_UNTIED = (
    "the vocabulary head is a matrix of its own, as in the published files of T5 1.1; the class of "
    "transformers 5 ties it to the embedding all the same"
)


def _only_encodes(config: Config) -> bool:
    listed = config.entries.get("architectures")
    return isinstance(listed, list) and bool(listed) and str(listed[0]).endswith("EncoderModel")


def side(config: Config, key: str, default: int) -> tuple[int, int]:
    """Height and width, from one number or a pair.

    key : where they stand. default : both, where the key is absent.
    """
    value = config.get(key, default)
    pair = value if isinstance(value, list) else [value, value]
    good = all(isinstance(v, int) and not isinstance(v, bool) and 0 < v < 1 << 20 for v in pair)
    if len(pair) != 2 or not good:
        raise config.fail("must be a whole number or a pair of them", key, value=value)
    return pair[0], pair[1]


def vit(config: Config, traits: Mapping[str, Any]) -> Model:
    """Encoders of patches of an image, with a class token or without."""
    image, patch = side(config, "image_size", 224), side(config, "patch_size", 16)
    if patch[0] > image[0] or patch[1] > image[1]:
        raise config.fail("is larger than the image", "patch_size", value=patch[0])
    patches = (image[0] // patch[0]) * (image[1] // patch[1])
    block = _block(config)
    config.expect("pooler_output_size", block.hidden, None)
    config.expect("vision_use_head", False)  # SigLIP's pools by attention to the patches
    special = int(traits.get("special_tokens", 1)) + config.number("num_register_tokens", 0, low=0)
    positions = patches + (special if traits.get("_counts_tokens", True) else 0)
    fields = _fields(
        {**traits, "special_tokens": special},
        positions=positions if traits.get("position_kind", "learned") == "learned" else 0,
        activation=config.activation("hidden_act"),
        tied_embeddings=False,
        dropout=config.drops(*_DROPS, "attention_dropout"),
        patch_inputs=config.number("num_channels", 3) * patch[0] * patch[1],
        patches=patches,
    )
    if "qkv_bias" in config.honours:
        # the output projection has its bias in any case
        fields["attention_bias"] = config.flag("qkv_bias", True)
    if traits.get("_scales"):  # a scale for each channel behind both sublayers
        block = replace(block, vectors=2 * block.hidden)
    return Model(family="vision", blocks=(block,), **fields)


def scaled_vit(config: Config, traits: Mapping[str, Any]) -> Model:
    """Encoders of patches whose sublayers have a scale for each channel (BEiT, DINOv2, DINOv3)."""
    (height, width), patch = side(config, "image_size", 224), config.number("patch_size")
    if patch > min(height, width):
        raise config.fail("is larger than the image", "patch_size", value=patch)
    high, wide = height // patch, width // patch
    block, gated = _fed_patches(config)
    scale = config.get("layer_scale_init_value", 1.0)
    vectors = 2 * block.hidden if isinstance(scale, int | float) and scale > 0 else 0
    biases, beside = _patch_biases(config, block.hidden)
    positions, tables = _patch_positions(config, traits, block.heads, high, wide)
    fields = _fields(
        {**traits, **biases, **positions},
        special_tokens=1 + config.number("num_register_tokens", 0, low=0),
        activation=config.activation("hidden_act"),
        gated=gated,
        mask_token=config.flag("use_mask_token", bool(traits.get("_mask"))),
        tied_embeddings=False,
        dropout=config.drops(*_DROPS),
        patch_inputs=config.number("num_channels", 3) * patch**2,
        patches=high * wide,
    )
    if config.flag("use_swiglu_ffn", False):  # whatever the file says
        fields["activation"] = "silu"
    # data2vec's bare model has a norm behind its layers only where it does not average them
    if traits.get("_averages") and _is_bare(config) and config.flag("use_mean_pooling", True):
        fields["final_norm"] = False
    block = replace(block, vectors=vectors + beside + tables)
    return Model(family="vision", blocks=(block,), **fields)


def _patch_biases(config: Config, hidden: int) -> tuple[dict[str, bool], int]:
    """Biases, as fields of Model, and numbers of a layer in biases that these cannot say."""
    query, key, value = (config.flag(f"{name}_bias", name != "key") for name in _PROJECTED)
    if "qkv_bias" in config.honours:
        query = key = value = config.flag("qkv_bias", True)
    plain = query and value
    fields = {
        "attention_bias": plain,
        "key_bias": key,
        "output_bias": config.flag("proj_bias", True),
    }
    fields["feed_forward_bias"] = config.flag("mlp_bias", True)
    return fields, 0 if plain else hidden * (query + key + value)


_PROJECTED = ("query", "key", "value")


def _patch_positions(
    config: Config, traits: Mapping[str, Any], heads: int, high: int, wide: int
) -> tuple[dict[str, Any], int]:
    """Positions of patches, as fields of Model, and numbers of a layer's own table of distances."""
    distances = (2 * high - 1) * (2 * wide - 1) + 3
    own = distances * heads * config.flag("use_relative_position_bias", False)
    always = "use_absolute_position_embeddings" not in config.honours
    learned = config.flag("use_absolute_position_embeddings", always)
    table = high * wide + 1 if learned else 0
    if config.flag("use_shared_relative_position_bias", False):  # beside the table of positions
        fields = {"position_kind": "relative-bias", "relative_buckets": distances}
        return {**fields, "source_positions": table}, own
    return {"positions": 0 if traits.get("position_kind") == "rotary" else table}, own


def _fed_patches(config: Config) -> tuple[Block, bool]:
    """The block of such an encoder, and whether its feed-forward is gated."""
    gated = config.flag("use_gated_mlp", config.flag("use_swiglu_ffn", False))
    if "mlp_ratio" not in config.honours:
        return _block(config), gated
    hidden, heads = config.number("hidden_size"), config.number("num_attention_heads")
    ratio = config.get("mlp_ratio", 4)
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio < 64:
        raise config.fail("must be above 0 and below 64", "mlp_ratio", value=ratio)
    if hidden % heads:
        problem = f"{heads} heads do not divide a hidden width of {hidden}"
        raise config.fail(problem, "num_attention_heads")
    width = int(hidden * ratio)
    if gated:  # two of three, in steps of 8
        width = (int(width * 2 / 3) + 7) // 8 * 8
    number = config.number("num_hidden_layers")
    return Block(number, hidden, heads, hidden // heads, heads, (width,)), gated


def _is_bare(config: Config) -> bool:
    """Whether a file is of the layers alone: of no class, or of one without a head."""
    listed = config.entries.get("architectures")
    return not listed or (isinstance(listed, list) and str(listed[0]).endswith("Model"))


def text_tower(config: Config, traits: Mapping[str, Any]) -> Model:
    """The text encoders of CLIP and SigLIP."""
    block = replace(_block(config), causal=bool(traits.get("_causal")))
    config.expect("projection_size", block.hidden, None)
    fields = _fields(
        traits,
        vocabulary=config.number("vocab_size"),
        positions=config.number("max_position_embeddings"),
        activation=config.activation("hidden_act"),
        dropout=config.share("attention_dropout", 0.0) > 0,
    )
    return Model(family="encoder", blocks=(block,), **fields)
