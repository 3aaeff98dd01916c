"""What a configuration, or a file beside it, says of the numbers its weights are stored in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from elector.base.errors import InputError
from elector.describe.quantization import Quantization

#: What a reader of a method finds: format of the weights, bits of a value, values of a scale.
Stored = tuple[str, float, int]

#: Words of `hf_quant_config.json` and of `modelopt` -> format of the weights, bits, group.
_ALGORITHMS: dict[str, Stored] = {
    "FP8": ("fp8", 8.0, 0),
    "FP8_PER_CHANNEL_PER_TOKEN": ("fp8", 8.0, 0),
    "FP8_PB_WO": ("fp8-block", 8.0, 128),
    "NVFP4": ("nvfp4", 4.0, 16),
    "NVFP4_AWQ": ("nvfp4", 4.0, 16),
    "W4A16_NVFP4": ("nvfp4", 4.0, 16),
    "W4A8_NVFP4_FP8": ("nvfp4", 4.0, 16),
    "MXFP4": ("mxfp4", 4.0, 32),
    "W4A8_MXFP4_FP8": ("mxfp4", 4.0, 32),
    "W4A16_MXFP4": ("mxfp4", 4.0, 32),
    "MXFP8": ("mxfp8", 8.0, 32),
    "W4A8_AWQ": ("int4", 4.0, 128),
    "W4A16_AWQ": ("int4", 4.0, 128),
    "INT4_AWQ": ("int4", 4.0, 128),
    "W8A8_SQ_PER_CHANNEL": ("int8", 8.0, 0),
    "W8A16": ("int8", 8.0, 0),
    "MIXED_PRECISION": ("mixed", 0.0, 0),
}
#: Words for the format of keys and values.
_CACHES = {"FP8": "fp8", "NVFP4": "nvfp4", "INT8": "int8", "INT4": "int4"}
#: Numbers of a scheme of keys and values -> their format.
_SCHEMES = {"float 8": "fp8", "int 8": "int8", "float 4": "nvfp4", "int 4": "int4"}
#: Keys under which methods list the modules that stay as they are.
_LEFT_OUT = (
    "ignore",
    "modules_to_not_convert",
    "exclude_modules",
    "ignored_layers",
    "llm_int8_skip_modules",
)
#: Keys that say how a file was made or is run, and those that are read here.
_QUIET = re.compile(
    r"quant_method|quant_algo|bits|w_bit|group_size|q_group_size|weight_block_size|weights"
    r"|_?load_in_[48]bit|bnb_4bit_(?:quant_type|use_double_quant|compute_dtype|quant_storage)"
    r"|llm_int8_(?:threshold|has_fp16_weight|enable_fp32_cpu_offload)|config_groups|quant_type"
    r"|kv_cache_(?:scheme|quant_algo)|quantized_layers|moe_quant_algo"
    r"|desc_act|sym|damp_.*|static_groups|true_sequential|model_.*|checkpoint_format|dataset"
    r"|tokenizer|block_name_to_quantize|module_name_preceding_first_block|batch_size|pad_token_id"
    r"|use_cuda_fp16|max_input_length|use_exllama|disable_exllama|exllama_config|backend|meta"
    r"|cache_block_outputs|version|pack_dtype|format|act_.*|hyb_act|mse|is_marlin_format"
    r"|zero_point|do_fuse|fuse_max_seq_len|modules_to_fuse|activation.*|fmt|scale_fmt|scale_dtype"
    r"|quantization_status|global_compression_ratio|run_compressed|transform_config|producer"
    r"|linear_class|quantization_mode|use_rms_norm|rms_norm_eps|dequantize|packing_format|iters"
    r"|lr|minmax_lr|low_gpu_mem_usage|nsamples|seqlen|enable_.*|autoround_version|gradient_.*"
    r"|to_quant_block_names|quant_block_list|data_type|include_.*|untie_.*|amp|use_quant_input|"
    + "|".join(_LEFT_OUT)
)
_WHERE = "quantization_config"


def quantization(entries: Mapping[str, Any], file: object) -> Quantization:
    """`quantization_config`. Raises InputError for a method nobody described."""
    method = _method(entries, file)
    name, bits, group = _METHODS[method](entries, file)
    return Quantization(method, name, bits, group, _cache(entries, file), _left(entries, file))


def beside(entries: Mapping[str, Any], file: object) -> Quantization:
    """`hf_quant_config.json`: modelopt's own file."""
    inner = entries.get("quantization")
    if not isinstance(inner, dict):
        raise InputError("is missing", file=file, field="quantization")
    silent = "quant_algo" in inner and inner["quant_algo"] is None  # keys and values alone
    name, bits, group = ("", 0.0, 0) if silent else _modelopt(inner, file)
    return Quantization("modelopt", name, bits, group, _cache(inner, file), _left(inner, file))


def unread(entries: Mapping[str, Any]) -> list[str]:
    """Keys of a `quantization_config` that say something nobody here reads."""
    said = [key for key, value in entries.items() if value not in (None, False, [], {}, "")]
    return [key for key in said if not _QUIET.fullmatch(key)]


def _method(entries: Mapping[str, Any], file: object) -> str:
    """The method that a file names, or that its keys are of."""
    method = entries.get("quant_method")
    if method is None:
        if entries.get("load_in_4bit") or entries.get("load_in_8bit"):
            return "bitsandbytes"  # as older files have it
        method = entries.get("quant_algo")
        if isinstance(method, str):
            return "modelopt"
    if not isinstance(method, str):
        problem = "is missing" if method is None else "must be a word"
        raise _wrong("quant_method", method, problem, file)
    if method.lower() not in _METHODS:
        raise InputError(
            "unknown method of quantization",
            file=file,
            field=f"{_WHERE}.quant_method",
            value=method,
            allowed=_METHODS,
            hint=f"--ignore-key {_WHERE} reads the model; --set workload.weights=FORMAT stores it",
        )
    return method.lower()


def _wrong(key: str, value: object, problem: str, file: object) -> InputError:
    return InputError(problem, file=file, field=f"{_WHERE}.{key}", value=value)


def _left(entries: Mapping[str, Any], file: object) -> tuple[str, ...]:
    """Patterns of the modules that stay as they are."""
    left: list[str] = []
    for key in _LEFT_OUT:
        listed = entries.get(key)
        if listed is None:
            continue
        if not isinstance(listed, list) or not all(isinstance(v, str) for v in listed):
            raise _wrong(key, listed, "must be a list of modules", file)
        left += listed
    return tuple(left)


def _number(entries: Mapping[str, Any], key: str, default: int, file: object) -> int:
    value = entries.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value <= 1 << 20:
        raise _wrong(key, value, "must be a whole number", file)
    return value


def _integers(entries: Mapping[str, Any], file: object) -> Stored:
    """GPTQ, AWQ, AutoRound: whole numbers in groups along the inputs."""
    key = "bits" if "bits" in entries else "w_bit"
    bits = _number(entries, key, 4, file)
    if bits not in (2, 3, 4, 8):
        raise _wrong(key, bits, "unknown width", file)
    kind = entries.get("data_type", "int")
    if kind != "int":
        raise _wrong("data_type", kind, "unknown numbers", file)
    group = _number(entries, "group_size" if "group_size" in entries else "q_group_size", 128, file)
    return f"int{bits}", float(bits), max(group, 0)


def _bitsandbytes(entries: Mapping[str, Any], file: object) -> Stored:
    flags = ("load_in_4bit", "load_in_8bit")
    for key in flags:
        if not isinstance(entries.get(key, False), bool):
            raise _wrong(key, entries[key], "must be true or false", file)
    four, eight = (bool(entries.get(key)) for key in flags)
    if four == eight:
        problem = "says 4 and 8 bits" if four else "neither 4 nor 8 bits are said"
        raise _wrong("load_in_4bit", four, problem, file)
    if eight:
        return "int8", 8.0, 0
    kind = entries.get("bnb_4bit_quant_type", "fp4")
    if kind not in ("nf4", "fp4"):
        raise _wrong("bnb_4bit_quant_type", kind, "unknown format", file)
    return (f"{kind}-dq" if entries.get("bnb_4bit_use_double_quant") else kind), 4.0, 64


def _fp8(entries: Mapping[str, Any], file: object) -> Stored:
    if _of_several(entries):
        return _ALGORITHMS["MIXED_PRECISION"]
    block = entries.get("weight_block_size")
    if block is None:
        return "fp8", 8.0, 0
    good = isinstance(block, list) and len(block) == 2
    if not good or not all(type(b) is int and 0 < b < 1 << 20 for b in block):
        raise _wrong("weight_block_size", block, "must be a pair of whole numbers", file)
    return "fp8-block", 8.0, block[0]


def _of_several(entries: Mapping[str, Any]) -> bool:
    """Whether a file has experts or layers in another format than the rest."""
    own = entries.get("quant_algo")
    return own == "MIXED_PRECISION" or entries.get("moe_quant_algo") not in (None, own)


def _quanto(entries: Mapping[str, Any], file: object) -> Stored:
    word = str(entries.get("weights", "int8"))
    bits = {"float8": 8.0, "int8": 8.0, "int4": 4.0, "int2": 2.0}.get(word)
    if bits is None:
        raise _wrong("weights", word, "unknown format", file)
    return ("fp8" if word == "float8" else word), bits, 128 if bits < 8 else 0


def _eetq(entries: Mapping[str, Any], file: object) -> Stored:
    if entries.get("weights", "int8") != "int8":
        raise _wrong("weights", entries["weights"], "unknown format", file)
    return "int8", 8.0, 0


def _fixed(name: str, bits: float, group: int) -> Callable[[Mapping[str, Any], object], Stored]:
    """The reader of a method that has one format."""
    return lambda entries, file: (name, bits, group)


#: Words in the name of a class of torchao, plain and in capitals, -> what it stores.
_TORCHAO = {"int8": ("int8", 8.0, 0), "float8": ("fp8", 8.0, 0)}


def _torchao(entries: Mapping[str, Any], file: object) -> Stored:
    """Weights of 8 bits; the layouts of fewer bits have scales that nothing here describes."""
    kind = entries.get("quant_type")
    if isinstance(kind, dict):
        named = [part.get("_type") if isinstance(part, dict) else None for part in kind.values()]
        kind = named[0] if len(named) == 1 else None
    plain = str(kind).lower().replace("_", "")
    weights = re.search(r"(int8|float8)weight", plain)
    if weights is None:
        raise _wrong("quant_type", entries.get("quant_type"), "unknown format", file)
    return _TORCHAO[weights[1]]


def _compressed(entries: Mapping[str, Any], file: object) -> Stored:
    """The numbers of weights that the groups of compressed-tensors name."""
    groups = entries.get("config_groups")
    if not isinstance(groups, dict) or not groups:
        problem = "must be a mapping" if groups else "is missing"
        raise _wrong("config_groups", groups or None, problem, file)
    stored = []
    for name, group in groups.items():
        weights = group.get("weights") if isinstance(group, dict) else None
        if not isinstance(weights, dict):
            raise _wrong(f"config_groups.{name}", weights, "names no weights", file)
        stored.append(_of_group(weights, f"config_groups.{name}.weights", file))
    return stored[0] if len(set(stored)) == 1 else _ALGORITHMS["MIXED_PRECISION"]


def _of_group(weights: Mapping[str, Any], where: str, file: object) -> Stored:
    """One group of compressed-tensors."""
    bits, kind = weights.get("num_bits"), weights.get("type", "int")
    if bits not in (2, 3, 4, 8) or kind not in ("int", "float"):
        raise _wrong(where, f"{kind} {bits}", "unknown numbers", file)
    group = weights.get("group_size") or 0
    if isinstance(group, bool) or not isinstance(group, int):
        raise _wrong(f"{where}.group_size", group, "must be a whole number", file)
    if kind == "int":
        return f"int{bits}", float(bits), max(group, 0)
    if bits == 8 and group <= 0:
        return ("fp8-block" if weights.get("strategy") == "block" else "fp8"), 8.0, 0
    named = {(4, 16): "nvfp4", (4, 32): "mxfp4", (8, 32): "mxfp8"}.get((bits, group))
    if named is None:
        raise _wrong(f"{where}.group_size", group, "unknown groups of such numbers", file)
    return named, float(bits), group


def _modelopt(entries: Mapping[str, Any], file: object) -> Stored:
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
    key = "kv_cache_scheme"
    scheme = entries.get(key)
    if isinstance(scheme, dict):
        words = f"{scheme.get('type', 'float')} {scheme.get('num_bits')}"
        if words not in _SCHEMES:
            raise _wrong(key, words, "unknown numbers", file)
        return _SCHEMES[words]
    if scheme is None:
        key = "kv_cache_quant_algo"
        scheme = entries.get(key)
    if scheme is None:
        return ""
    if not isinstance(scheme, str) or scheme.upper() not in _CACHES:
        raise InputError(
            "unknown format", file=file, field=f"{_WHERE}.{key}", value=scheme, allowed=_CACHES
        )
    return _CACHES[scheme.upper()]


#: Methods -> what reads their keys.
_METHODS: dict[str, Callable[[Mapping[str, Any], object], Stored]] = {
    "gptq": _integers,
    "awq": _integers,
    "auto-round": _integers,
    "intel/auto-round": _integers,
    "bitsandbytes": _bitsandbytes,
    "fp8": _fp8,
    "fbgemm_fp8": _fixed("fp8", 8.0, 0),
    "mxfp4": _fixed("mxfp4", 4.0, 32),
    "nvfp4": _fixed("nvfp4", 4.0, 16),
    "mxfp8": _fixed("mxfp8", 8.0, 32),
    "compressed-tensors": _compressed,
    "modelopt": _modelopt,
    "quanto": _quanto,
    "eetq": _eetq,
    "torchao": _torchao,
    "bitnet": _fixed("ternary", 2.0, 0),
}
