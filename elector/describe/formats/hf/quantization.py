"""What a configuration, or a file beside it, says of the numbers its weights are stored in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from elector.base.errors import InputError
from elector.describe.formats.hf.stored_values import (
    LARGEST,
    WHERE,
    Stored,
    flag_of,
    group_size,
    require_words,
    whole_number,
    width_of,
    wrong,
)
from elector.describe.formats.hf.targets import told_apart
from elector.describe.numbers import formats
from elector.describe.quantization import MODULES, Quantization

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
_SCHEMES = {("float", 8): "fp8", ("int", 8): "int8", ("float", 4): "nvfp4", ("int", 4): "int4"}
#: Bits and group of floating-point numbers of compressed-tensors -> their format.
_FLOATS = {(4, 16): "nvfp4", (4, 32): "mxfp4", (8, 32): "mxfp8"}
_STRATEGIES = ("tensor", "channel", "group", "block", "tensor_group")
#: Bits of whole numbers; names for them and for the size of a group; the largest group.
_INTEGERS = (2, 3, 4, 8)
_BITS, _GROUPS = ("bits", "w_bit"), ("group_size", "q_group_size")
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


def quantization(entries: Mapping[str, Any], file: object) -> Quantization:
    """`quantization_config`. Raises InputError for a method nobody described."""
    require_words(entries, file)
    method = _method(entries, file)
    stored = _agreed(_METHODS[method](entries, file), entries, file)
    return _quantization(method, stored, entries, file)


def beside(entries: Mapping[str, Any], file: object) -> Quantization:
    """`hf_quant_config.json`: modelopt's own file."""
    inner = entries.get("quantization")
    if not isinstance(inner, dict):
        raise InputError("is missing", file=file, field="quantization")
    silent = "quant_algo" in inner and inner["quant_algo"] is None  # keys and values alone
    try:
        stored = ("", 0.0, 0) if silent else _agreed(_modelopt(inner, file), inner, file)
        return _quantization("modelopt", stored, inner, file)
    except InputError as error:
        # the same keys, in a mapping of another name
        error.field = (error.field or "").replace(f"{WHERE}.", "quantization.", 1)
        raise


def _quantization(
    method: str, stored: Stored, entries: Mapping[str, Any], file: object
) -> Quantization:
    """What a file says; of modules in several formats, each part of the model in its own."""
    cache, left, parts = _cache(entries, file), _left(entries, file), _by_part(entries, file)
    if stored[0] == "mixed" and method == "modelopt" and parts:
        mixed = Quantization(method, *_ALGORITHMS["MIXED_PRECISION"], cache, left)
        return told_apart(mixed, parts) or mixed
    return Quantization(method, *stored, cache, left)


def _by_part(entries: Mapping[str, Any], file: object) -> dict[str, Stored]:
    """Part of the model -> what the modules that `quantized_layers` lists of it store.

    Empty where a part has several formats, a module is of no part that is known, or a word says
    nothing that is known.
    """
    layers = entries.get("quantized_layers")
    if entries.get("quant_algo") != "MIXED_PRECISION" or not isinstance(layers, dict):
        return {}
    parts: dict[str, Stored] = {}
    for layer, own in layers.items():
        part = next((name for name, module in MODULES.items() if module.search(layer)), None)
        word = own.get("quant_algo")
        stored = _ALGORITHMS.get(word.upper()) if isinstance(word, str) else None
        if part is None or stored is None or stored[0] == "mixed":
            return {}
        group = own.get("group_size")
        if group is not None:
            where = f"quantized_layers.{layer}.group_size"
            stored = (*stored[:2], group_size(group, where, file))
        if parts.setdefault(part, stored) != stored:
            return {}
    return parts


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
        raise wrong("quant_method", method, problem, file)
    if method.lower() not in _METHODS:
        raise InputError(
            "unknown method of quantization",
            file=file,
            field=f"{WHERE}.quant_method",
            value=method,
            allowed=_METHODS,
            hint=f"--ignore-key {WHERE} reads the model; --set workload.weights=FORMAT stores it",
        )
    return method.lower()


def _left(entries: Mapping[str, Any], file: object) -> tuple[str, ...]:
    """Patterns of the modules that stay as they are."""
    left: list[str] = []
    for key in _LEFT_OUT:
        listed = entries.get(key)
        if listed is None:
            continue
        if not isinstance(listed, list) or not all(isinstance(v, str) for v in listed):
            raise wrong(key, listed, "must be a list of modules", file)
        left += listed
    return tuple(left)


def _least(entries: Mapping[str, Any]) -> int:
    """The smallest size of a group: AutoRound writes 0 for one scale of a tensor."""
    return 0 if str(entries.get("quant_method")).lower().endswith("auto-round") else 1


def _one_of(entries: Mapping[str, Any], keys: tuple[str, str], file: object) -> str:
    """The key of two names for one thing that a file has; the first where it has none."""
    first, second = keys
    if first in entries and second in entries and entries[first] != entries[second]:
        raise wrong(second, entries[second], f"{first} says {entries[first]!r}"[:200], file)
    return second if second in entries and first not in entries else first


def _integers(entries: Mapping[str, Any], file: object) -> Stored:
    """GPTQ, AWQ, AutoRound: whole numbers in groups along the inputs."""
    key = _one_of(entries, _BITS, file)
    by_default = str(entries.get("quant_method")).lower() != "gptq"  # gptq always says it
    if key not in entries and not by_default:
        raise wrong(key, None, "is missing", file, _INTEGERS)
    bits = width_of(entries.get(key, 4), key, _INTEGERS, file)
    kind = entries.get("data_type", "int")
    if kind != "int":
        raise wrong("data_type", kind, "unknown numbers", file, ["int"])
    key = _one_of(entries, _GROUPS, file)
    group = group_size(entries.get(key, 128), key, file, _least(entries))
    return f"int{bits}", float(bits), group


def _agreed(stored: Stored, entries: Mapping[str, Any], file: object) -> Stored:
    """What a reader found, beside the keys that any file may have.

    Bits that say otherwise are refused; other groups are what the file says (a format that
    knows none such is then not counted, and that is said); experts or layers in another format
    make it mixed.
    """
    name, bits, group = stored = _of_blocks(stored, entries, file)
    for key in _BITS:
        if entries.get(key) is not None:
            width_of(entries[key], key, _INTEGERS if name == "mixed" else {int(bits)}, file)
    for key in _GROUPS:
        if entries.get(key) is None:
            continue
        own = group_size(entries[key], key, file, _least(entries))
        blocks = name.startswith("fp8-block")
        if own != group and (blocks or entries.get("weight_block_size") is not None):
            raise wrong(key, entries[key], f"weights are stored in {name}", file)
        if own == 0 and name in formats() and formats()[name].kind == "float" and group:
            raise wrong(key, entries[key], f"{name} has groups", file, [group])
        group = 0 if name == "mixed" else own
    alike = all(
        of == stored or (word == "FP8" and name.startswith("fp8"))
        for word, of in _parts(entries, file)
    )
    return (name, bits, group) if alike else _ALGORITHMS["MIXED_PRECISION"]


def _of_blocks(stored: Stored, entries: Mapping[str, Any], file: object) -> Stored:
    """What a reader found, in the blocks of `weight_block_size` where there are any."""
    key, (name, bits, _) = "weight_block_size", stored
    if entries.get(key) is None:
        return stored
    sides = _block(entries[key], key, file)
    if name == "mixed":
        return stored
    if name in ("fp8", "fp8-block"):
        return _in_blocks(sides)
    if sides[0] != 1:
        raise wrong(key, entries[key], f"{name} has no such blocks", file, ["[1, COLUMNS]"])
    return name, bits, sides[1]


def _parts(entries: Mapping[str, Any], file: object) -> list[tuple[str, Stored]]:
    """Algorithms of experts and of single layers that a file names, and what they store."""
    words = {"moe_quant_algo": entries.get("moe_quant_algo")}
    layers = entries.get("quantized_layers")
    layers = {} if layers is None else layers
    if not isinstance(layers, dict):
        raise wrong("quantized_layers", layers, "must be a mapping", file)
    for layer, own in layers.items():
        if not isinstance(own, dict):
            raise wrong(f"quantized_layers.{layer}", own, "must be a mapping", file)
        if entries.get("quant_algo") != "MIXED_PRECISION":  # else any other word is mixed, too
            words[f"quantized_layers.{layer}.quant_algo"] = own.get("quant_algo")
    named = {key: word for key, word in words.items() if word is not None}
    return [(str(word).upper(), _algorithm(word, key, file)) for key, word in named.items()]


def _algorithm(word: object, key: str, file: object) -> Stored:
    """What a word of modelopt stores."""
    if not isinstance(word, str) or word.upper() not in _ALGORITHMS:
        raise wrong(key, word, "unknown algorithm", file, _ALGORITHMS)
    return _ALGORITHMS[word.upper()]


def _bitsandbytes(entries: Mapping[str, Any], file: object) -> Stored:
    flags = ("load_in_4bit", "load_in_8bit")
    four, eight = (flag_of(entries, key, file) for key in flags)
    for key in flags:
        if flag_of(entries, f"_{key}", file) and not entries.get(key):
            raise wrong(f"_{key}", True, f"{key} is not true", file)
    if four == eight:
        problem = "says 4 and 8 bits" if four else "neither 4 nor 8 bits are said"
        raise wrong("load_in_4bit", four, problem, file)
    kind = entries.get("bnb_4bit_quant_type", "fp4")
    if kind not in ("nf4", "fp4"):
        raise wrong("bnb_4bit_quant_type", kind, "unknown format", file, ["nf4", "fp4"])
    twice = flag_of(entries, "bnb_4bit_use_double_quant", file)
    if eight:
        return "int8", 8.0, 0
    return (f"{kind}-dq" if twice else kind), 4.0, 64


def _fp8(entries: Mapping[str, Any], file: object) -> Stored:
    own = entries.get("quant_algo")
    if own is not None:
        stored = _algorithm(own, "quant_algo", file)
        if stored[0] == "mixed":
            return stored
        if not stored[0].startswith("fp8"):
            raise wrong("quant_algo", own, "the method is fp8", file, ["FP8", "MIXED_PRECISION"])
    return _ALGORITHMS["FP8" if own is None else own.upper()]


def _in_blocks(sides: tuple[int, int]) -> Stored:
    """fp8 with a scale for each block of weights."""
    if sides[0] * sides[1] == 128 * 128:
        return _ALGORITHMS["FP8_PB_WO"]
    if sides[0] * sides[1] == 128:
        return "fp8-g128", 8.0, 128
    # no format has them: the nearest is taken
    return f"fp8-block of {sides[0]} x {sides[1]}", 8.0, 0


def _block(block: object, key: str, file: object) -> tuple[int, int]:
    """Sides of a block of weights: `[128, 128]`, or `128x128` as older files have it."""
    sides = block
    if isinstance(block, str) and re.fullmatch(r"[0-9]{1,7}x[0-9]{1,7}", block):
        sides = [int(side) for side in block.split("x")]
    sizes = [whole_number(side) or 0 for side in sides] if isinstance(sides, list) else []
    if len(sizes) != 2 or not all(1 <= size <= LARGEST for size in sizes):
        allowed = [f"[ROWS, COLUMNS], each 1 to {LARGEST}"]
        raise wrong(key, block, "must be a pair of whole numbers", file, allowed)
    return sizes[0], sizes[1]


def _quanto(entries: Mapping[str, Any], file: object) -> Stored:
    word = entries.get("weights", "int8")
    stored = _QUANTO.get(word) if isinstance(word, str) else None
    if stored is None:
        raise wrong("weights", word, "unknown format", file, _QUANTO)
    return stored


def _eetq(entries: Mapping[str, Any], file: object) -> Stored:
    if entries.get("weights", "int8") != "int8":
        raise wrong("weights", entries["weights"], "unknown format", file, ["int8"])
    return "int8", 8.0, 0


def _fixed(name: str, bits: float, group: int) -> Callable[[Mapping[str, Any], object], Stored]:
    """The reader of a method that has one format."""
    return lambda entries, file: (name, bits, group)


#: Words of quanto -> what they store.
_QUANTO: dict[str, Stored] = {
    "float8": ("fp8", 8.0, 0),
    "int8": ("int8", 8.0, 0),
    "int4": ("int4", 4.0, 128),
    "int2": ("int2", 2.0, 128),
}
#: Words in the name of a class of torchao, plain and in capitals, -> what it stores.
_TORCHAO = {"int8": ("int8", 8.0, 0), "float8": ("fp8", 8.0, 0)}
_TORCHAO_8 = ("int8_weight_only", "float8_weight_only")


def _torchao(entries: Mapping[str, Any], file: object) -> Stored:
    """Weights of 8 bits; the layouts of fewer bits have scales that nothing here describes."""
    kind, group = entries.get("quant_type"), None
    if isinstance(kind, dict):
        parts = list(kind.values())
        part = parts[0] if len(parts) == 1 and isinstance(parts[0], dict) else {}
        kind, settings = part.get("_type"), part.get("_data")
        if settings is not None and not isinstance(settings, dict):
            raise wrong("quant_type._data", settings, "must be a mapping", file)
        group = (settings or {}).get("group_size")
    plain = kind.lower().replace("_", "") if isinstance(kind, str) else ""
    weights = re.search(r"(int8|float8)weight", plain)
    if weights is None:
        raise wrong("quant_type", entries.get("quant_type"), "unknown format", file, _TORCHAO_8)
    name, bits, own = _TORCHAO[weights[1]]
    return name, bits, own if group is None else group_size(group, "quant_type.group_size", file)


def _compressed(entries: Mapping[str, Any], file: object) -> Stored:
    """The numbers of weights that the groups of compressed-tensors name."""
    groups = entries.get("config_groups")
    if not isinstance(groups, dict) or not groups:
        problem = "must be a mapping" if groups else "is missing"
        raise wrong("config_groups", groups or None, problem, file)
    stored = []
    for name, group in groups.items():
        weights = group.get("weights") if isinstance(group, dict) else None
        if not isinstance(weights, dict):
            raise wrong(f"config_groups.{name}", weights, "names no weights", file)
        stored.append(of_group(weights, f"config_groups.{name}.weights", file))
    return stored[0] if len(set(stored)) == 1 else _ALGORITHMS["MIXED_PRECISION"]


def of_group(weights: Mapping[str, Any], where: str, file: object) -> Stored:
    """What one group of compressed-tensors stores.

    weights : its numbers. where : the key of them.
    """
    kind = weights.get("type", "int")
    if kind not in ("int", "float"):
        raise wrong(f"{where}.type", kind, "unknown numbers", file, ["int", "float"])
    widths = _INTEGERS if kind == "int" else (4, 8)
    bits = width_of(weights.get("num_bits"), f"{where}.num_bits", widths, file)
    group, block = _shared(weights, where, file)
    if kind == "int":
        return f"int{bits}", float(bits), block[0] * block[1] if block else group
    if bits == 8 and not group:
        return _in_blocks(block) if block else _ALGORITHMS["FP8"]
    named = _FLOATS.get((bits, group))
    if named is None:
        allowed = [size for width, size in _FLOATS if width == bits]
        own = weights.get("group_size")
        raise wrong(f"{where}.group_size", own, "unknown groups of such numbers", file, allowed)
    return named, float(bits), group


def _shared(
    weights: Mapping[str, Any], where: str, file: object
) -> tuple[int, tuple[int, int] | None]:
    """Weights of a row, or sides of a block, that share a scale in compressed-tensors."""
    strategy, own = weights.get("strategy"), weights.get("group_size")
    if strategy is not None and strategy not in _STRATEGIES:
        raise wrong(f"{where}.strategy", strategy, "unknown strategy", file, _STRATEGIES)
    group = 0 if own is None else group_size(own, f"{where}.group_size", file)
    grouped = strategy is None or strategy in ("group", "tensor_group")
    if strategy is not None and grouped != bool(group):
        raise wrong(f"{where}.group_size", own, f"the strategy is {strategy}", file)
    block = weights.get("block_structure")
    if strategy == "block":
        return 0, _block(block, f"{where}.block_structure", file)
    if block is not None:
        raise wrong(f"{where}.block_structure", block, "the strategy is not block", file)
    return group, None


def _modelopt(entries: Mapping[str, Any], file: object) -> Stored:
    word = entries.get("quant_algo")
    if word is None and "config_groups" in entries:
        return _compressed(entries, file)
    return _algorithm(word, "quant_algo", file)


def _cache(entries: Mapping[str, Any], file: object) -> str:
    """Format of keys and values; "" where nothing is said."""
    said = {}
    for key in ("kv_cache_scheme", "kv_cache_quant_algo"):
        scheme = entries.get(key)
        if isinstance(scheme, dict) and key == "kv_cache_scheme":
            said[key] = _of_scheme(scheme, key, file)
        elif scheme is not None:
            if not isinstance(scheme, str) or scheme.upper() not in _CACHES:
                raise wrong(key, scheme, "unknown format", file, _CACHES)
            said[key] = _CACHES[scheme.upper()]
    if len(set(said.values())) > 1:
        raise wrong(key, scheme, f"kv_cache_scheme says {said['kv_cache_scheme']}", file)
    return next(iter(said.values()), "")


def _of_scheme(scheme: Mapping[str, Any], key: str, file: object) -> str:
    """Format of keys and values of a scheme of compressed-tensors."""
    kind, bits = scheme.get("type", "float"), whole_number(scheme.get("num_bits"))
    name = _SCHEMES.get((kind, bits)) if isinstance(kind, str) and bits is not None else None
    if name is None:
        words = f"type {kind!r}, num_bits {scheme.get('num_bits')!r}"[:80]
        allowed = [f"{of} {width}" for of, width in _SCHEMES]
        raise wrong(key, words, "unknown numbers", file, allowed)
    own = scheme.get("group_size")
    group = 0 if own is None else group_size(own, f"{key}.group_size", file)
    grouped = formats()[name].scale
    if group and str(group) != grouped:
        allowed = [grouped if grouped.isdigit() else "-1"]
        raise wrong(f"{key}.group_size", own, f"unknown groups of {name}", file, allowed)
    return name


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
