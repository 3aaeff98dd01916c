"""What a configuration, or a file beside it, says of the numbers its weights are stored in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elector.base.errors import InputError
from elector.describe.quantization import Quantization

#: Words of `hf_quant_config.json` and of `modelopt` -> format of the weights, bits, group.
_ALGORITHMS: dict[str, tuple[str, float, int]] = {
    "FP8": ("fp8", 8.0, 0),
    "FP8_PER_CHANNEL_PER_TOKEN": ("fp8", 8.0, 0),
    "FP8_PB_WO": ("fp8-block", 8.0, 128),
    "NVFP4": ("nvfp4", 4.0, 16),
    "NVFP4_AWQ": ("nvfp4", 4.0, 16),
    "W4A8_NVFP4_FP8": ("nvfp4", 4.0, 16),
    "MXFP4": ("mxfp4", 4.0, 32),
    "W4A8_MXFP4_FP8": ("mxfp4", 4.0, 32),
    "W4A16_MXFP4": ("mxfp4", 4.0, 32),
    "W4A8_AWQ": ("int4", 4.0, 128),
    "W4A16_AWQ": ("int4", 4.0, 128),
    "W8A8_SQ_PER_CHANNEL": ("int8", 8.0, 0),
    "W8A16": ("int8", 8.0, 0),
    "MIXED_PRECISION": ("mixed", 0.0, 0),
}
#: Words for the format of keys and values.
_CACHES = {"FP8": "fp8", "NVFP4": "nvfp4", "INT8": "int8", "INT4": "int4"}
#: Keys under which methods list the modules that stay as they are.
_LEFT_OUT = ("ignore", "modules_to_not_convert", "exclude_modules", "ignored_layers")


def quantization(entries: Mapping[str, Any], file: object) -> Quantization:
    """`quantization_config`. Raises InputError for a method nobody described."""
    method = entries.get("quant_method") or entries.get("quant_algo")
    field = "quantization_config.quant_method"
    if not isinstance(method, str):
        raise InputError("is missing", file=file, field=field)
    readers = {
        "gptq": _integers,
        "awq": _integers,
        "bitsandbytes": _bitsandbytes,
        "fp8": _fp8,
        "fbgemm_fp8": _fp8,
        "mxfp4": _mxfp4,
        "compressed-tensors": _compressed,
        "modelopt": _modelopt,
        "quanto": _quanto,
        "bitnet": _bitnet,
    }
    if method.lower() not in readers:
        raise InputError(
            "unknown method of quantization", file=file, field=field, value=method, allowed=readers
        )
    stored = readers[method.lower()](entries, file)
    left: list[str] = []
    for key in _LEFT_OUT:
        listed = entries.get(key)
        left += [str(v) for v in listed] if isinstance(listed, list) else []
    cache = _cache(entries, file)
    name, bits, group = stored
    return Quantization(method.lower(), name, bits, group, cache, tuple(left))


def beside(entries: Mapping[str, Any], file: object) -> Quantization:
    """`hf_quant_config.json`: modelopt's own file."""
    inner = entries.get("quantization")
    if not isinstance(inner, dict):
        raise InputError("is missing", file=file, field="quantization")
    name, bits, group = _modelopt(inner, file)
    listed = inner.get("exclude_modules")
    left = tuple(str(v) for v in listed) if isinstance(listed, list) else ()
    return Quantization("modelopt", name, bits, group, _cache(inner, file), left)


def _number(entries: Mapping[str, Any], key: str, default: int, file: object) -> int:
    value = entries.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value <= 1 << 20:
        raise InputError(
            "must be a whole number", file=file, field=f"quantization_config.{key}", value=value
        )
    return value


def _integers(entries: Mapping[str, Any], file: object) -> tuple[str, float, int]:
    key = "bits" if "bits" in entries else "w_bit"
    bits = _number(entries, key, 4, file)
    if bits not in (2, 3, 4, 8):
        raise InputError("unknown width", file=file, field=f"quantization_config.{key}", value=bits)
    group = _number(entries, "group_size" if "group_size" in entries else "q_group_size", 128, file)
    return f"int{bits}", float(bits), max(group, 0)


def _bitsandbytes(entries: Mapping[str, Any], file: object) -> tuple[str, float, int]:
    if entries.get("load_in_4bit"):
        kind = entries.get("bnb_4bit_quant_type", "fp4")
        twice = kind == "nf4" and bool(entries.get("bnb_4bit_use_double_quant"))
        return f"{kind}-dq" if twice else str(kind), 4.0, 64
    return "int8", 8.0, 0


def _fp8(entries: Mapping[str, Any], file: object) -> tuple[str, float, int]:
    block = entries.get("weight_block_size")
    if block is None:
        return "fp8", 8.0, 0
    if not isinstance(block, list) or len(block) != 2 or not all(isinstance(b, int) for b in block):
        raise InputError(
            "must be a pair", file=file, field="quantization_config.weight_block_size", value=block
        )
    return "fp8-block", 8.0, block[0]


def _mxfp4(entries: Mapping[str, Any], file: object) -> tuple[str, float, int]:
    return "mxfp4", 4.0, 32


def _quanto(entries: Mapping[str, Any], file: object) -> tuple[str, float, int]:
    word = str(entries.get("weights", "int8"))
    bits = {"float8": 8.0, "int8": 8.0, "int4": 4.0, "int2": 2.0}.get(word)
    if bits is None:
        raise InputError(
            "unknown format", file=file, field="quantization_config.weights", value=word
        )
    return ("fp8" if word == "float8" else word), bits, 128 if bits < 8 else 0


def _bitnet(entries: Mapping[str, Any], file: object) -> tuple[str, float, int]:
    return "ternary", 2.0, 0


def _compressed(entries: Mapping[str, Any], file: object) -> tuple[str, float, int]:
    """The first of the groups of compressed-tensors, which names the weights' numbers."""
    groups = entries.get("config_groups")
    field = "quantization_config.config_groups"
    if not isinstance(groups, dict) or not groups:
        raise InputError("is missing", file=file, field=field)
    first = next(iter(groups.values()))
    weights = first.get("weights") if isinstance(first, dict) else None
    if not isinstance(weights, dict):
        raise InputError("names no weights", file=file, field=field)
    bits, kind = weights.get("num_bits"), weights.get("type", "int")
    group = weights.get("group_size") or 0
    if bits not in (2, 3, 4, 8) or kind not in ("int", "float"):
        raise InputError("unknown numbers", file=file, field=field, value=f"{kind} {bits}")
    if kind == "int":
        return f"int{bits}", float(bits), max(int(group), 0)
    if bits == 8:
        return ("fp8-block" if weights.get("strategy") == "block" else "fp8"), 8.0, 0
    return ("nvfp4" if group == 16 else "mxfp4"), 4.0, int(group)


def _modelopt(entries: Mapping[str, Any], file: object) -> tuple[str, float, int]:
    word = entries.get("quant_algo")
    if word is None and "config_groups" in entries:
        return _compressed(entries, file)
    if not isinstance(word, str) or word.upper() not in _ALGORITHMS:
        raise InputError(
            "unknown algorithm", file=file, field="quant_algo", value=word, allowed=_ALGORITHMS
        )
    name, bits, group = _ALGORITHMS[word.upper()]
    own = entries.get("group_size")
    return name, bits, own if isinstance(own, int) and group else group


def _cache(entries: Mapping[str, Any], file: object) -> str:
    """Format of keys and values; "" where nothing is said."""
    scheme = entries.get("kv_cache_scheme")
    if isinstance(scheme, dict):
        words = f"{scheme.get('type', 'float')} {scheme.get('num_bits')}"
        return {"float 8": "fp8", "int 8": "int8", "float 4": "nvfp4"}.get(words, "")
    word = entries.get("kv_cache_quant_algo")
    return _CACHES.get(word.upper(), "") if isinstance(word, str) else ""
