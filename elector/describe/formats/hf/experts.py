"""Which layers of a configuration have experts, and how many of which width."""

from __future__ import annotations

from typing import Any

from elector.describe.formats.hf.config import Config

#: Words of `mlp_layer_types`.
_DENSE, _SPARSE = ("dense",), ("sparse", "moe")


def expert_layers(config: Config, number: int) -> list[dict[str, Any] | None] | None:
    """For each layer its experts, as fields of Block; None for a dense one. None: no experts.

    number : of layers.
    """
    if "experts" not in config.honours:
        return None
    switched = "enable_moe_block" in config.honours
    if switched and not config.flag("enable_moe_block", False):
        return None
    if config.name("experts") not in config.entries and not switched:
        raise config.fail("is missing: a mixture of experts needs their number", "experts")
    experts = _same_everywhere(config, "experts") or config.number("experts", 0, low=0)
    if config.has("experts") and not experts and not _may_be_dense(config):
        raise config.fail("a mixture of experts needs at least 1", "experts", value=0)
    if not experts or (experts == 1 and "expert_layer_period" in config.honours):
        return None  # one expert of a period of layers, as of Jamba, is a plain feed-forward
    each = _same_everywhere(config, "experts_per_token") or config.number("experts_per_token")
    if each > experts:
        raise config.fail(
            f"a token takes more experts than there are: {experts}",
            "experts_per_token",
            value=each,
        )
    width = config.number("expert_width", 0) or config.number("intermediate_size")
    fields: dict[str, Any] = {
        "experts": experts,
        "experts_per_token": each,
        "expert_feed_forward": width,
    }
    narrow = config.number("expert_hidden", 0)
    if narrow:
        fields["expert_hidden"] = narrow
    fields |= _shared(config, width)
    return [fields if sparse else None for sparse in _sparse(config, number)]


def _same_everywhere(config: Config, key: str) -> int:
    """The number that a list has for every layer (Hunyuan); 0 where there is no list."""
    value = config.get(key)
    if not isinstance(value, list):
        return 0
    alike = [v for v in value if v == value[0] and isinstance(v, int) and v > 0]
    if not value or len(alike) != len(value) or isinstance(value[0], bool):
        raise config.fail("is not supported: layers of other numbers of experts", key, value=value)
    return int(value[0])


def _may_be_dense(config: Config) -> bool:
    """Whether the class takes 0 experts for a plain feed-forward (Gemma 4, Granite 4)."""
    return "enable_moe_block" in config.honours or "mamba_n_heads" in config.honours


def _shared(config: Config, width: int) -> dict[str, Any]:
    """Experts of every token."""
    number = config.number("shared_experts", 0, low=0)
    # a class whose default is none takes 0; others would make an expert without a width
    silent = "shared_width" in config.defaults and not config.defaults["shared_width"]
    own = config.number("shared_width", 0, low=0 if silent else 1)
    if own:
        return {"shared_experts": max(number, 1), "shared_feed_forward": own * max(number, 1)}
    if not number:
        return {}
    return {"shared_experts": number, "shared_feed_forward": number * width}


def _sparse(config: Config, number: int) -> list[bool]:
    """Whether each layer has experts."""
    listed: Any = config.texts("mlp_layer_types", (*_DENSE, *_SPARSE), number)
    if listed is not None:
        return [kind in _SPARSE for kind in listed]
    frequency = config.get("moe_layer_freq", 1)
    if isinstance(frequency, list):
        flags = config.flags("moe_layer_freq", number)
        assert flags is not None
        return flags
    first = config.number("first_k_dense_replace", 0, low=0)
    step = config.number("moe_layer_freq", 1)
    sparse = [i >= first and i % step == 0 for i in range(number)]
    step = config.number("decoder_sparse_step", 1)
    dense = config.places("mlp_only_layers", number)
    sparse = [on and (i + 1) % step == 0 and i not in dense for i, on in enumerate(sparse)]
    start, end = (
        config.number("moe_layer_start_index", 0, low=0),
        config.number("moe_layer_end_index", number, low=0)
        if config.get("moe_layer_end_index") != -1
        else number - 1,
    )
    step = config.number("moe_layer_interval", 1)
    if "moe_layer_interval" in config.honours:
        sparse = [start <= i <= end and (i + 1) % step == 0 for i in range(number)]
    if "expert_layer_period" in config.honours:
        period = config.number("expert_layer_period", 2)
        offset = config.number("expert_layer_offset", 1, low=0)
        sparse = [i % period == offset for i in range(number)]
    step = config.number("interleave_moe_layer_step", 1)
    sparse = [on and (i + 1) % step == 0 for i, on in enumerate(sparse)]
    some = config.places("moe_layers", number)
    return [i in some for i in range(number)] if some else sparse
