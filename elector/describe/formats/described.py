"""Our own model files (YAML or JSON): the fields of `Model`, or a few sizes on a base.

    base: encoder
    layers: 6
    hidden: 512

A file with `layers, hidden, heads, feed_forward` describes one block repeated; `blocks` is
a list of different ones; `gemms` is a list of bare matrix products.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from elector.base import paths
from elector.base.errors import InputError
from elector.base.table import DATA, Field, load_yaml, schema
from elector.describe.listing import KIND
from elector.describe.model import EXTRAS, HEAD_TYPES, MIXERS, Block, Gemm, Model
from elector.describe.variants import KINDS, grouped, pattern_kinds

PRESETS = DATA / "models"
#: Largest size of a matrix product: two of them still multiply without overflow.
LARGEST = 2**31 - 1
#: Bases whose heads and feed-forward follow the hidden width unless they are given.
GENERIC = ("encoder", "decoder")

_SIZES = ("layers", "hidden", "heads", "kv_heads", "head_size", "feed_forward")
_BLOCK = ("repeat", "hidden", "heads", "kv_heads", "head_size", "feed_forward")
_FLAGS = ("causal", "cross_attention", "beside", "rotates", "shares_key")
_BLOCK_OPTIONS = (*_FLAGS, "mixer", "head_types", *EXTRAS)
#: Keys of a file that say what the layers are, beside their sizes.
_PARTS = (*EXTRAS, "pattern", "dense_layers")
_GEMM = ("name", "m", "n", "k", "count")
#: What a block and a product may say, for the JSON Schema of model files.
BLOCK_KEYS, BLOCK_OPTIONS, FLAGS, GEMM_KEYS = _BLOCK, _BLOCK_OPTIONS, _FLAGS, _GEMM
_PLAIN_HEADS = {"masked-lm": ("encoder",), "causal-lm": ("decoder", "encoder-decoder")}


@functools.cache
def preset_names() -> tuple[str, ...]:
    """Names of the shipped models, sorted."""
    return tuple(sorted(file.removesuffix(".yaml") for file in paths.names(PRESETS, "*.yaml")))


@functools.cache
def preset(name: str) -> Model:
    """A shipped model.

    name : of a file in data/models.
    """
    return from_mapping(preset_mapping(name), name, PRESETS / f"{name}.yaml")


def preset_mapping(name: str) -> dict[str, Any]:
    """The entries of a shipped model file, its base's included.

    name : of a file in data/models.
    """
    data = load_yaml(PRESETS / f"{name}.yaml")
    assert isinstance(data, dict), name
    return _on_base(data, PRESETS / f"{name}.yaml")


def from_mapping(data: Mapping[str, Any], name: str, file: object) -> Model:
    """The model that the entries of a file describe.

    data : keys of data/schema/model.csv and model_file.csv, `blocks` or `gemms`.
    name : what to call it where the file does not.
    file : for errors.
    """
    known = {**_fields(), "blocks": None, "gemms": None, "pattern": None, "stem": None}
    check_keys(data, known, file)
    if "gemms" in data:
        return _gemm_model(data, name, file)
    data = _on_base(dict(data), file)
    values: dict[str, Any] = {
        key: field.parse(data[key], file=file)
        for key, field in _fields().items()
        if key in data and key not in (*_SIZES, *_PARTS)
    }
    family = values.pop("family", None)
    if family is None:
        raise InputError(
            "is missing",
            file=file,
            field="family",
            allowed=_fields()["family"].choices,
            hint="or name a base: encoder, decoder or another preset",
        )
    if "attention_bias" in values:
        values.setdefault("output_bias", values["attention_bias"])
    values.pop("base", None)
    blocks, pattern = _blocks(data, str(family), file)
    if "stem" in data:
        values["stem"] = _stem(data["stem"], file)
    first = whole_or_none(data, "dense_layers", file)
    if first and pattern and first >= len(pattern):
        raise InputError("leaves no layer with experts", file=file, field="dense_layers")
    values["dense_layers"] = first if pattern else 0
    model = replace(Model(name, str(family), blocks), pattern=pattern, **values)
    _check(model, file)
    return model


def to_mapping(model: Model) -> dict[str, Any]:
    """The entries of a file that `from_mapping` makes the same model of."""
    if model.listing is not None:
        head = {"kind": KIND, "name": model.name, "source": model.source}
        return {**head, **model.listing.mapping()}
    if model.family == "gemm":
        gemms = [{key: getattr(gemm, key) for key in _GEMM} for gemm in model.gemms]
        return {"name": model.name, "source": model.source, "gemms": gemms}
    names = [name for name in _fields() if name not in (*_SIZES, *_PARTS, "base")]
    plain = {name: getattr(model, name) for name in names}
    plain = {name: value for name, value in plain.items() if value is not None}
    if not model.vocabulary:  # none is said by leaving it out
        del plain["vocabulary"]
    if model.pattern:
        plain["pattern"] = [place + 1 for place in model.pattern]
        plain["dense_layers"] = model.dense_layers
    if model.stem:
        plain["stem"] = [{"inputs": i, "rows": r} for i, r in model.stem]
    return {**plain, "blocks": [_block_mapping(entry) for entry in model.blocks]}


def _block_mapping(entry: Block) -> dict[str, Any]:
    """The entries of one block: its sizes, and what it has that a plain block has not."""
    sizes: dict[str, Any] = {key: getattr(entry, key) for key in _BLOCK}
    sizes["feed_forward"] = [width for width in entry.feed_forward if width > 0]
    sizes |= {key: getattr(entry, key) for key in ("causal", "cross_attention")}
    plainer = Block(1, 1, 1, 1, 1, ())
    for key in (*_FLAGS[2:], "mixer", *EXTRAS):
        if getattr(entry, key) != getattr(plainer, key):
            sizes[key] = getattr(entry, key)
    if not sizes["feed_forward"]:
        sizes["mixer"] = entry.mixer
    if entry.head_types:
        counts = zip(HEAD_TYPES, entry.head_types, strict=True)
        sizes["head_types"] = {kind: count for kind, count in counts if count}
    return sizes


def check_keys(
    data: Mapping[Any, Any], allowed: Iterable[str], file: object, field: str = ""
) -> None:
    """Refuse a key that is not known, with the nearest that is.

    data : what a file holds at that place. allowed : the keys that are known.
    """
    known = list(allowed)
    for key in data:
        if key not in known:
            raise InputError("unknown key", file=file, field=field, value=key, allowed=known)


def whole(
    data: Mapping[str, Any], key: str, file: object, high: int = LARGEST, field: str = ""
) -> int:
    """`data[key]` as a whole number from 1 to `high`."""
    name = field or key
    if key not in data:
        raise InputError("is missing", file=file, field=name)
    return int(
        Field(key, "int", "1", None, 1, high, (), "").parse(data[key], file=file, field=name)
    )


@functools.cache
def _fields() -> dict[str, Field]:
    """Every scalar key of a model file."""
    fields = {**schema("model"), **schema("model_file")}
    del fields["ignore_keys"]  # of a configuration, which is another file
    return fields


def _on_base(data: dict[str, Any], file: object) -> dict[str, Any]:
    """`data` completed from the preset it names as its base."""
    base = data.get("base")
    if base is None:
        return data
    if base not in preset_names():
        raise InputError(
            "unknown preset", file=file, field="base", value=base, allowed=preset_names()
        )
    below = preset_mapping(str(base))
    below.pop("base", None)
    if "hidden" in data and base in GENERIC:
        hidden = whole(data, "hidden", file, high=1 << 20)
        below["heads"] = max(hidden // 64, 1)
        below["feed_forward"] = 4 * hidden
    if "blocks" in data:
        for key in (*_SIZES, *_PARTS, "blocks"):
            below.pop(key, None)
    return {**below, **data}


def _blocks(
    data: Mapping[str, Any], family: str, file: object
) -> tuple[tuple[Block, ...], tuple[int, ...]]:
    """The layers: one block, one a stack (encoder-decoder), a pattern, or the file's own list."""
    if "blocks" not in data:
        sizes = {("repeat" if key == "layers" else key): data[key] for key in _SIZES if key in data}
        needed = ["layers", "hidden", "heads"]
        needed += [] if "experts" in data else ["feed_forward"]
        missing = [key for key in needed if key not in data]
        if missing:
            raise InputError("is missing", file=file, field=missing[0])
        if family == "encoder-decoder":
            upper = {**sizes, "causal": True, "cross_attention": True}
            return (block(sizes, file), block(upper, file)), ()
        sizes |= {"causal": family == "decoder", **{k: data[k] for k in EXTRAS if k in data}}
        return layout(sizes, data, file)
    clash = [key for key in (*_SIZES, *EXTRAS) if key in data]
    if clash:
        raise InputError("stands beside blocks, which already say it", file=file, field=clash[0])
    listed = data["blocks"]
    if not isinstance(listed, list) or not listed:
        raise InputError("must be a list of blocks", file=file, field="blocks", value=listed)
    blocks = tuple(
        _listed_block(entry, f"blocks[{i}]", family, file) for i, entry in enumerate(listed)
    )
    if family == "encoder-decoder" and len({entry.cross_attention for entry in blocks}) < 2:
        lacks = "encoder: all blocks have" if blocks[0].cross_attention else "decoder: no block has"
        raise InputError(f"has no {lacks} cross_attention", file=file, field="blocks")
    return blocks, _places(data.get("pattern"), blocks, file)


def _places(value: object, blocks: tuple[Block, ...], file: object) -> tuple[int, ...]:
    """The block of each layer, from numbers that count the file's blocks from 1."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(
        isinstance(v, int) and not isinstance(v, bool) and 1 <= v <= len(blocks) for v in value
    ):
        raise InputError(
            f"must be a list of numbers from 1 to {len(blocks)}, a block for each layer",
            file=file,
            field="pattern",
            value=value,
        )
    places = tuple(v - 1 for v in value)
    for i, entry in enumerate(blocks):
        if places.count(i) != entry.repeat:
            raise InputError(
                f"block {i + 1} stands {places.count(i)} times in it and repeats {entry.repeat}",
                file=file,
                field="pattern",
            )
    return places


def layout(
    sizes: Mapping[str, Any], data: Mapping[str, Any], file: object
) -> tuple[tuple[Block, ...], tuple[int, ...]]:
    """Layers of one width that differ in kind: `pattern` over them, the first ones dense.

    sizes : entries of one block, `repeat` the number of all layers. data : may hold `pattern`,
    a list of KINDS (or one text, with commas or blanks between), and `dense_layers`.
    """
    kinds = pattern_kinds(data.get("pattern"), file)
    total = int(_number("layers", sizes, file, "repeat"))
    dense = whole_or_none(data, "dense_layers", file)
    if dense and "experts" not in sizes:
        raise InputError("needs experts", file=file, field="dense_layers", value=dense)
    if not kinds and not dense:
        return (block(_mixed(sizes), file),), ()
    layers = []
    for i in range(total):
        entry: dict[str, Any] = {**_mixed(sizes), "repeat": 1}
        if kinds:
            entry |= KINDS[kinds[i % len(kinds)]]
            _require_kind(kinds[i % len(kinds)], entry, file)
        if i < dense:
            entry = {k: v for k, v in entry.items() if "expert" not in k and "shared_feed" not in k}
        layers.append(block({k: v for k, v in entry.items() if v != 0 or k == "repeat"}, file))
    blocks, pattern = grouped(layers)
    return blocks, pattern


def _mixed(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a block with the mixer that they say."""
    entries = dict(sizes)
    if "kv_lora_rank" in entries:
        entries.setdefault("mixer", "latent")
    return entries


def _require_kind(kind: str, entry: Mapping[str, Any], file: object) -> None:
    needs = {"window": "window", "chunked": "chunk", "latent": "kv_lora_rank"}
    needs |= dict.fromkeys((k for k in KINDS if "mamba" in k), "state_size")
    needs |= dict.fromkeys(("delta", "kda", "lightning"), "state_size")
    if kind in needs and not entry.get(needs[kind]):
        raise InputError(
            f"is missing, and the pattern names {kind} layers", file=file, field=needs[kind]
        )


def whole_or_none(data: Mapping[str, Any], key: str, file: object) -> int:
    """A whole number of a file, 0 where it is not there.

    data : what a file holds. key : where the number stands in it.
    """
    if data.get(key) is None:
        return 0
    return int(_fields()[key].parse(data[key], file=file, field=key))


def _number(name: str, data: Mapping[str, Any], file: object, key: str) -> int:
    return int(schema("model")[name].parse(data[key], file=file, field=name))


def _listed_block(entry: object, where: str, family: str, file: object) -> Block:
    if not isinstance(entry, dict):
        raise InputError("must be a mapping", file=file, field=where, value=entry)
    check_keys(entry, _BLOCK + _BLOCK_OPTIONS, file, where)
    options = {"causal": family == "decoder", **entry}
    return block(options, file, f"{where}.")


def block(data: Mapping[str, Any], file: object, prefix: str = "") -> Block:
    """One block from its sizes; `prefix` names it in errors ("blocks[2].").

    data : what the file holds of the block.
    """
    fields = schema("model")

    def number(key: str, default: int | None = None) -> int:
        if key not in data and default is not None:
            return default
        field = fields["layers" if key == "repeat" else key]
        name = prefix + ("layers" if key == "repeat" and not prefix else key)
        if key not in data:
            raise InputError("is missing", file=file, field=name)
        return int(field.parse(data[key], file=file, field=name))

    hidden, heads = number("hidden"), number("heads")
    mixer = _choice(data.get("mixer", "attention"), MIXERS, file, prefix + "mixer")
    extras = _extras(data, file, prefix)
    if mixer == "latent":
        data = {**data, "head_size": extras["nope_head_size"] + extras["rope_head_size"]}
    if "head_size" not in data:
        _require_whole_heads(hidden, heads, file, prefix)
    kv_heads = number("kv_heads", heads)
    if heads % kv_heads:
        raise InputError(
            f"{kv_heads} key/value heads do not divide {heads} heads",
            file=file,
            field=f"{prefix}kv_heads",
        )
    return Block(
        repeat=number("repeat", 1),
        hidden=hidden,
        heads=heads,
        head_size=number("head_size", hidden // heads),
        kv_heads=kv_heads,
        feed_forward=_feed_forward(data, bool(extras.get("experts")), file, prefix),
        head_types=_head_types(data.get("head_types"), heads, file, f"{prefix}head_types"),
        mixer=mixer,
        **{key: _flag(data, key, file, prefix) for key in _FLAGS if key != "rotates"},
        rotates="rotates" not in data or _flag(data, "rotates", file, prefix),
        **extras,
    )


def _require_whole_heads(hidden: int, heads: int, file: object, prefix: str) -> None:
    if hidden % heads:
        raise InputError(
            f"{heads} heads do not divide a hidden width of {hidden}",
            file=file,
            field=f"{prefix}heads",
            hint="change one of them or give head_size",
        )


def _feed_forward(
    data: Mapping[str, Any], experts: bool, file: object, prefix: str
) -> tuple[int, ...]:
    """Widths of the feed-forward of a block; none beside experts, but where it stands beside."""
    feeds = data.get("feed_forward", [] if experts else None)
    if experts and "beside" not in data:
        feeds = []
    # A layer that says how it mixes may do nothing else.
    if feeds == [] and ("mixer" in data or experts):
        return ()
    return widths(feeds, file, f"{prefix}feed_forward")


def _choice(value: object, allowed: tuple[str, ...], file: object, field: str) -> str:
    if value not in allowed:
        raise InputError("unknown choice", file=file, field=field, value=value, allowed=allowed)
    return str(value)


def _extras(data: Mapping[str, Any], file: object, prefix: str) -> dict[str, Any]:
    """Numbers of experts, latents, indexers, windows and states, which need one another."""
    numbers: dict[str, Any] = {}
    for key in EXTRAS:
        if data.get(key) is not None:
            field = _fields()[key]
            numbers[key] = int(field.parse(data[key], file=file, field=prefix + key))

    def need(key: str, reason: str) -> None:
        if not numbers.get(key):
            raise InputError(f"is missing, and {reason} needs it", file=file, field=prefix + key)

    if any("expert" in key for key in numbers):
        need("experts", next(key for key in numbers if "expert" in key))
        need("experts_per_token", "a mixture of experts")
        need("expert_feed_forward", "a mixture of experts")
        if numbers["experts_per_token"] > numbers["experts"]:
            raise InputError(
                f"a token takes more experts than there are: {numbers['experts']}",
                file=file,
                field=prefix + "experts_per_token",
                value=numbers["experts_per_token"],
            )
    if data.get("mixer") == "latent" or "q_lora_rank" in numbers:
        for key in ("kv_lora_rank", "nope_head_size", "rope_head_size", "value_head_size"):
            need(key, "latent attention")
    if "index_top_k" in numbers or "index_heads" in numbers:
        need("index_top_k", "an indexer")
    if "index_block" in numbers:
        need("index_heads", "a choice of blocks")
        need("index_head_size", "a choice of blocks")
    return numbers


def widths(value: object, file: object, field: str) -> tuple[int, ...]:
    """Feed-forward widths: one number, or a list with one for each stack.

    value : what stands in the file.
    """
    listed = value if isinstance(value, list) else [value]
    if not listed:
        raise InputError("is empty", file=file, field=field)
    parse = schema("model")["feed_forward"].parse
    return tuple(int(parse(width, file=file, field=field)) for width in listed)


def _flag(data: Mapping[str, Any], key: str, file: object, prefix: str) -> bool:
    field = Field(key, "bool", "", False, None, None, (), "")
    return bool(field.parse(data.get(key), file=file, field=prefix + key))


def _head_types(value: object, heads: int, file: object, field: str) -> tuple[int, ...]:
    """Heads of each type, in the order of HEAD_TYPES, from {type: count}."""
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise InputError("must be a mapping of type to count", file=file, field=field, value=value)
    check_keys(value, HEAD_TYPES, file, field)
    counts = tuple(
        whole(value, kind, file, field=f"{field}.{kind}") if kind in value else 0
        for kind in HEAD_TYPES
    )
    if sum(counts) != heads:
        raise InputError(f"must add up to {heads} heads", file=file, field=field, value=value)
    return counts


def _stem(value: object, file: object) -> tuple[tuple[int, int], ...]:
    """Convolutions below an encoder."""
    if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
        raise InputError("must be a list of mappings", file=file, field="stem", value=value)
    for entry in value:
        check_keys(entry, ("inputs", "rows"), file, "stem")
    return tuple((whole(v, "inputs", file), whole(v, "rows", file)) for v in value)


def _gemm_model(data: Mapping[str, Any], name: str, file: object) -> Model:
    check_keys(data, ("name", "source", "gemms"), file)
    listed = data["gemms"]
    if not isinstance(listed, list) or not listed:
        raise InputError("must be a list of matrix products", file=file, field="gemms")
    gemms = []
    for i, entry in enumerate(listed):
        where = f"gemms[{i}]"
        if not isinstance(entry, dict):
            raise InputError("must be a mapping", file=file, field=where, value=entry)
        check_keys(entry, _GEMM, file, where)
        sizes = {key: whole(entry, key, file, field=f"{where}.{key}") for key in ("m", "n", "k")}
        count = whole(entry, "count", file, field=f"{where}.count") if "count" in entry else 1
        gemms.append(Gemm(str(entry.get("name", f"gemm{i}")), count=count, **sizes))
    own = {
        key: str(_fields()[key].parse(data[key], file=file))
        for key in ("name", "source")
        if key in data
    }
    return Model(
        name=own.get("name", name), family="gemm", gemms=tuple(gemms), source=own.get("source", "")
    )


def _check(model: Model, file: object) -> None:
    """Refuse entries that contradict one another."""
    families = _PLAIN_HEADS.get(model.head)
    if families and model.family not in families:
        raise InputError(
            f"a model of family {model.family} has no {model.head} head",
            file=file,
            field="head",
            value=model.head,
        )
    if model.vocabulary > 0 and model.family == "vision":
        raise InputError(
            "a model of family vision reads no tokens",
            file=file,
            field="vocabulary",
            value=model.vocabulary,
        )
    needs = [
        (model.head in _PLAIN_HEADS, "vocabulary", f"the head {model.head}"),
        (model.family == "vision", "patches", "a vision model"),
        (model.family == "vision", "patch_inputs", "a vision model"),
        (model.position_kind == "relative-bias", "relative_buckets", "a relative bias"),
        (model.position_kind == "relative-key", "positions", "a relative key"),
    ]
    for needed, key, reason in needs:
        if needed and not getattr(model, key):
            raise InputError(f"is missing, and {reason} needs it", file=file, field=key)
