"""Hugging Face `config.json` files -> `Model`.

A configuration has dozens of keys that change nothing we count, and those are ignored. A
key that changes the architecture is either read here or refused by name, and so is a
`model_type` that is not in the list. `architectures` decides the head.
Defaults and rules are those of the configuration and modelling files of transformers 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from elector.base.errors import InputError
from elector.describe.formats.described import whole
from elector.describe.model import Block, Model

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu",
    "gelu_fast": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "quick_gelu": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
#: Keys that make another architecture of a known model when they hold anything but these.
_EXPECTED: dict[str, tuple[object, ...]] = {
    "is_decoder": (False, None),
    "add_cross_attention": (False, None),
    "pruned_heads": ({}, None),
    "is_encoder_decoder": (False, None),
}
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_intermediate_size")


def from_config(config: Mapping[str, Any], name: str, file: object) -> Model:
    """The model of a configuration; `name` and `file` as in `described.from_mapping`."""
    kind = config.get("model_type")
    for key in _EXPERTS:
        if config.get(key):
            raise InputError(
                f"mixture of experts is not supported (model_type {kind})",
                file=file,
                field=key,
                value=config[key],
                hint=f"supported: {_supported()}",
            )
    if not isinstance(kind, str) or kind not in _READERS:
        raise InputError(
            "is missing" if kind is None else "model type is not supported",
            file=file,
            field="model_type",
            value=kind,
            allowed=_READERS,
        )
    for key, allowed in _EXPECTED.items():
        if (
            key in config
            and config[key] not in allowed
            and (kind, key) != ("t5", "is_encoder_decoder")
        ):
            raise InputError(
                f"is not supported for {kind}", file=file, field=key, value=config[key]
            )
    reader, prefix, heads, default = _READERS[kind]
    model = reader(_Config(config, file))
    head = _head(config, prefix, heads, default, file)
    labels = _labels(config, file) if head == "classifier" else model.labels
    source = f"Hugging Face configuration, {kind}"
    return replace(model, name=name, head=head, labels=labels, source=source)


class _Config:
    """A configuration with checked access; errors name the file and the key."""

    def __init__(self, entries: Mapping[str, Any], file: object) -> None:
        self.entries = entries
        self.file = file

    def number(self, key: str, default: int | None = None, low: int = 1) -> int:
        """A whole number; `default` where the key is absent or null."""
        value = self.entries.get(key)
        if value is None:
            if default is None:
                raise InputError("is missing", file=self.file, field=key)
            return default
        if isinstance(value, str):
            raise InputError("must be a whole number", file=self.file, field=key, value=value)
        if value == 0 and low == 0 and not isinstance(value, bool):
            return 0
        return whole(self.entries, key, self.file)

    def flag(self, key: str, default: bool) -> bool:
        """A boolean; `default` where the key is absent or null."""
        value = self.entries.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise InputError("must be true or false", file=self.file, field=key, value=value)
        return value

    def drops(self, *keys: str) -> bool:
        """Whether any of these probabilities is above 0 (absent: 0.1, as in the classes)."""
        rates = [self.entries.get(key, 0.1) for key in keys]
        for key, rate in zip(keys, rates, strict=True):
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
                raise InputError("must be from 0 to 1", file=self.file, field=key, value=rate)
        return any(rates)

    def activation(self, key: str, default: str) -> str:
        """Our name of the activation function."""
        value = self.entries.get(key, default)
        if not isinstance(value, str) or value not in _ACTIVATIONS:
            raise InputError(
                "unknown activation", file=self.file, field=key, value=value, allowed=_ACTIVATIONS
            )
        return _ACTIVATIONS[value]

    def expect(self, key: str, *allowed: object) -> None:
        """Refuse a value that makes another architecture; absent is fine."""
        if key in self.entries and self.entries[key] not in allowed:
            raise InputError(
                "is not supported",
                file=self.file,
                field=key,
                value=self.entries[key],
                allowed=allowed,
            )

    def block(self, layers: str, hidden: str, heads: str, feed_forward: int) -> Block:
        """One repeated block whose heads fill the hidden width."""
        width, count = self.number(hidden), self.number(heads)
        if width % count:
            raise InputError(
                f"{count} heads do not divide a hidden width of {width}",
                file=self.file,
                field=heads,
            )
        return Block(self.number(layers), width, count, width // count, count, (feed_forward,))


def _bert(config: _Config) -> Model:
    # relative_key_query adds a second product with the keys, which is not modelled
    config.expect("position_embedding_type", "absolute", "relative_key", None)
    relative = config.entries.get("position_embedding_type") == "relative_key"
    block = config.block(
        "num_hidden_layers",
        "hidden_size",
        "num_attention_heads",
        config.number("intermediate_size"),
    )
    config.expect("embedding_size", block.hidden, None)
    return Model(
        name="",
        family="encoder",
        blocks=(block,),
        vocabulary=config.number("vocab_size"),
        positions=config.number("max_position_embeddings", 512),
        position_kind="relative-key" if relative else "learned",
        token_types=config.number("type_vocab_size", 2),
        activation=config.activation("hidden_act", "gelu"),
        tied_embeddings=config.flag("tie_word_embeddings", True),
        dropout=config.drops("hidden_dropout_prob", "attention_probs_dropout_prob"),
    )


def _distilbert(config: _Config) -> Model:
    return Model(
        name="",
        family="encoder",
        blocks=(config.block("n_layers", "dim", "n_heads", config.number("hidden_dim")),),
        vocabulary=config.number("vocab_size"),
        positions=config.number("max_position_embeddings", 512),
        activation=config.activation("activation", "gelu"),
        tied_embeddings=config.flag("tie_word_embeddings", True),
        dropout=config.drops("dropout", "attention_dropout"),
    )


def _gpt2(config: _Config) -> Model:
    inner = config.number("n_inner", 4 * config.number("n_embd"))
    block = config.block("n_layer", "n_embd", "n_head", inner)
    return Model(
        name="",
        family="decoder",
        blocks=(replace(block, causal=True),),
        vocabulary=config.number("vocab_size"),
        positions=config.number("n_positions", 1024),
        pre_norm=True,
        embedding_norm=False,
        activation=config.activation("activation_function", "gelu_new"),
        tied_embeddings=config.flag("tie_word_embeddings", True),
        dropout=config.drops("resid_pdrop", "embd_pdrop", "attn_pdrop"),
        head_dense=False,
    )


def _llama(config: _Config) -> Model:
    """Llama and, with its own defaults set by `_mistral`, Mistral."""
    hidden, heads = config.number("hidden_size"), config.number("num_attention_heads")
    size = config.number("head_dim", 0) or hidden // heads
    if config.entries.get("head_dim") is None and hidden % heads:
        raise InputError(
            f"{heads} heads do not divide a hidden width of {hidden}",
            file=config.file,
            field="num_attention_heads",
        )
    kv_heads = config.number("num_key_value_heads", heads)
    if heads % kv_heads:
        raise InputError(
            f"{kv_heads} key/value heads do not divide {heads} heads",
            file=config.file,
            field="num_key_value_heads",
        )
    bias = config.flag("attention_bias", False)
    return Model(
        name="",
        family="decoder",
        blocks=(
            Block(
                config.number("num_hidden_layers"),
                hidden,
                heads,
                size,
                kv_heads,
                (config.number("intermediate_size"),),
                causal=True,
            ),
        ),
        vocabulary=config.number("vocab_size"),
        position_kind="rotary",
        norm="rms",
        pre_norm=True,
        embedding_norm=False,
        activation=config.activation("hidden_act", "silu"),
        gated=True,
        attention_bias=bias,
        output_bias=bias,
        feed_forward_bias=config.flag("mlp_bias", False),
        tied_embeddings=config.flag("tie_word_embeddings", False),
        # attention only; the residual stream of these models has none
        dropout="attention_dropout" in config.entries and config.drops("attention_dropout"),
        head_dense=False,
    )


def _mistral(config: _Config) -> Model:
    """As Llama, with grouped queries and a window unless the file says null."""
    entries = {"num_key_value_heads": 8, "sliding_window": 4096, **config.entries}
    # MistralAttention and MistralMLP have no biases, whatever the file says
    for key in ("attention_bias", "mlp_bias"):
        config.expect(key, False, None)
    model = _llama(_Config(entries, config.file))
    window = _Config(entries, config.file).number("sliding_window", 0, low=0)
    return replace(model, window=window)


def _t5(config: _Config) -> Model:
    config.expect("is_encoder_decoder", True)
    projection = config.entries.get("feed_forward_proj", "relu")
    gate, _, activation = str(projection).rpartition("-")
    if gate not in ("", "gated") or activation not in _ACTIVATIONS:
        raise InputError(
            "unknown feed-forward projection",
            file=config.file,
            field="feed_forward_proj",
            value=projection,
            allowed=("relu", "gated-gelu", "gated-silu"),
        )
    layers = config.number("num_layers")
    heads = config.number("num_heads")
    encoder = Block(
        layers,
        config.number("d_model"),
        heads,
        config.number("d_kv"),
        heads,
        (config.number("d_ff"),),
    )
    decoder = replace(
        encoder,
        repeat=config.number("num_decoder_layers", layers),
        causal=True,
        cross_attention=True,
    )
    return Model(
        name="",
        family="encoder-decoder",
        blocks=(encoder, decoder),
        vocabulary=config.number("vocab_size"),
        position_kind="relative-bias",
        relative_buckets=config.number("relative_attention_num_buckets", 32),
        norm="rms",
        pre_norm=True,
        embedding_norm=False,
        activation=_ACTIVATIONS[activation],
        gated=gate == "gated",
        attention_bias=False,
        output_bias=False,
        feed_forward_bias=False,
        # T5 1.1 and its descendants untie the head (transformers 5 ties it all the same)
        tied_embeddings=config.flag("tie_word_embeddings", True),
        dropout=config.drops("dropout_rate"),
    )


def _vit(config: _Config) -> Model:
    image, patch = config.number("image_size", 224), config.number("patch_size", 16)
    if patch > image:
        raise InputError(
            "is larger than the image", file=config.file, field="patch_size", value=patch
        )
    patches = (image // patch) ** 2
    block = config.block(
        "num_hidden_layers",
        "hidden_size",
        "num_attention_heads",
        config.number("intermediate_size"),
    )
    config.expect("pooler_output_size", block.hidden, None)
    return Model(
        name="",
        family="vision",
        blocks=(block,),
        positions=patches + 1,
        pre_norm=True,
        embedding_norm=False,
        activation=config.activation("hidden_act", "gelu"),
        # the output projection has its bias in any case
        attention_bias=config.flag("qkv_bias", True),
        tied_embeddings=False,
        dropout=config.drops("hidden_dropout_prob", "attention_probs_dropout_prob"),
        head_dense=False,
        patch_inputs=config.number("num_channels", 3) * patch**2,
        patches=patches,
    )


def _head(
    config: Mapping[str, Any], prefix: str, heads: Mapping[str, str], default: str, file: object
) -> str:
    """The head that the first of `architectures` stands for."""
    listed = config.get("architectures")
    if not listed:
        return default
    first = listed[0] if isinstance(listed, list) else listed
    known = {prefix + ending: head for ending, head in heads.items()}
    if not isinstance(first, str) or first not in known:
        raise InputError(
            "class is not supported",
            file=file,
            field="architectures",
            value=first,
            allowed=known,
            hint="remove the key for the default, or name one of these",
        )
    return known[first]


def _labels(config: Mapping[str, Any], file: object) -> int:
    names = config.get("id2label")
    if isinstance(names, dict) and names:
        return len(names)
    return _Config(config, file).number("num_labels", 2)


_ENCODER_HEADS = {
    "ForMaskedLM": "masked-lm",
    "ForQuestionAnswering": "question-answering",
    "ForSequenceClassification": "classifier",
}
_Reader = tuple[Callable[[_Config], Model], str, Mapping[str, str], str]
#: model_type -> reader, prefix of its classes, head of each class, head without `architectures`
_READERS: dict[str, _Reader] = {
    "bert": (_bert, "Bert", {"Model": "pooler", **_ENCODER_HEADS}, "pooler"),
    "roberta": (_bert, "Roberta", {"Model": "pooler", **_ENCODER_HEADS}, "pooler"),
    "xlm-roberta": (_bert, "XLMRoberta", {"Model": "pooler", **_ENCODER_HEADS}, "pooler"),
    "distilbert": (_distilbert, "DistilBert", {"Model": "none", **_ENCODER_HEADS}, "none"),
    "gpt2": (_gpt2, "GPT2", {"Model": "none", "LMHeadModel": "causal-lm"}, "causal-lm"),
    "llama": (_llama, "Llama", {"Model": "none", "ForCausalLM": "causal-lm"}, "causal-lm"),
    "mistral": (_mistral, "Mistral", {"Model": "none", "ForCausalLM": "causal-lm"}, "causal-lm"),
    "t5": (
        _t5,
        "T5",
        {
            "Model": "none",
            "ForConditionalGeneration": "causal-lm",
            "WithLMHeadModel": "causal-lm",  # its name before transformers 3.1
        },
        "causal-lm",
    ),
    "vit": (_vit, "ViT", {"Model": "pooler", "ForImageClassification": "classifier"}, "pooler"),
}


def _supported() -> str:
    return ", ".join(_READERS)
