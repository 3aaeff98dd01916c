"""A transformer, described: what `operations.py` needs to list its work.

`Model` is one frozen description; `Models` holds many of one structure as arrays, so
that thousands of them become operations in one pass. A homogeneous model is one block
repeated; a FlexiBERT model is a block per layer; an encoder-decoder is two blocks.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np

from elector.base.errors import InputError
from elector.base.segments import Fold
from elector.describe.listing import Listing

Head = Literal["none", "pooler", "classifier", "question-answering", "masked-lm", "causal-lm"]
HEADS: tuple[str, ...] = (
    "none",
    "pooler",
    "classifier",
    "question-answering",
    "masked-lm",
    "causal-lm",
)
#: FlexiBERT 2.0 head types, in the order of `Block.head_types`.
HEAD_TYPES: tuple[str, ...] = ("sdp", "wma", "dft", "dct", "c5", "c9", "c13")


@dataclass(frozen=True)
class Block:
    """`repeat` identical layers.

    hidden : width of the residual stream.
    heads, head_size : query heads and the width of each (their product need not be hidden).
    kv_heads : key/value heads; fewer than heads for grouped-query attention.
    feed_forward : width of each feed-forward stack, the output of one being the input of the
        next; one everywhere but in FlexiBERT.
    causal : attention sees the past only.
    cross_attention : attends to an encoder's output as well (encoder-decoder models).
    head_types : heads of each of HEAD_TYPES, in that order; empty means all of them sdp.
    """

    repeat: int
    hidden: int
    heads: int
    head_size: int
    kv_heads: int
    feed_forward: tuple[int, ...]
    causal: bool = False
    cross_attention: bool = False
    head_types: tuple[int, ...] = ()


@dataclass(frozen=True)
class Gemm:
    """`count` independent multiplications (m x k) by (k x n)."""

    name: str
    m: int
    n: int
    k: int
    count: int = 1


@dataclass(frozen=True)
class Model:
    """One transformer.

    name : what the user called it.
    family : encoder | decoder | encoder-decoder | vision | gemm | operations.
    blocks : the layers, in order; encoder before decoder.
    vocabulary : rows of the token embedding (0: none).
    positions : rows of the learned position table (0: none).
    position_kind : learned | rotary | relative-bias (one table a stack, per head) |
        relative-key (a table of 2 positions - 1 rows of head_size in every attention layer).
    token_types : rows of the segment embedding (0: none).
    norm : layer (scale and shift) | rms (scale).
    pre_norm : norms before each sublayer, and one after the last layer.
    embedding_norm : a norm after the embeddings.
    activation : gelu | relu | silu.
    gated : the feed-forward has a gate, so three matrices.
    attention_bias, feed_forward_bias : biases of the projections (q, k, v and output alike
        for attention unless output_bias says otherwise).
    tied_embeddings : the vocabulary head reuses the token embedding.
    dropout : training drops activations (a mask is written, saved and read).
    head : none | pooler | classifier | question-answering | masked-lm | causal-lm.
    labels : outputs of the classifier.
    patch_inputs : inputs of the patch projection (vision; channels x patch x patch), else 0.
    patches : patches of an image (vision), else 0; a class token is added to them.
    gemms : the list itself, for family gemm.
    listing : the list itself, for family operations.
    source : where the description comes from.
    relative_buckets : rows of each relative-bias table, one column a head (T5); else 0.
    window : positions that causal attention looks back, itself included (Mistral); 0: all.
    head_dense : the classifier has a hidden x hidden layer below its outputs (the pooler of
        BERT, the first layer of RoBERTa's head); ViT's has none.
    """

    name: str
    family: str
    blocks: tuple[Block, ...] = ()
    vocabulary: int = 0
    positions: int = 0
    position_kind: str = "learned"
    token_types: int = 0
    norm: str = "layer"
    pre_norm: bool = False
    embedding_norm: bool = True
    activation: str = "gelu"
    gated: bool = False
    attention_bias: bool = True
    output_bias: bool = True
    feed_forward_bias: bool = True
    tied_embeddings: bool = True
    dropout: bool = True
    head: str = "none"
    labels: int = 2
    patch_inputs: int = 0
    patches: int = 0
    gemms: tuple[Gemm, ...] = ()
    source: str = ""
    relative_buckets: int = 0
    window: int = 0
    head_dense: bool = True
    listing: Listing | None = None


#: Numeric fields of a block that become (B, M) arrays.
BLOCK_FIELDS = ("repeat", "hidden", "heads", "head_size", "kv_heads")
#: Numeric fields of a model that become (M,) arrays.
MODEL_FIELDS = ("vocabulary", "positions", "token_types", "labels", "patch_inputs", "patches")


@dataclass(frozen=True, eq=False, repr=False)
class Models:
    """M models of one structure, as arrays.

    template : the description all of them share, but for the numbers below.
    block : name of BLOCK_FIELDS -> (B, M) float; a block a model lacks has repeat 0.
    feed_forward : (B, F, M) float, widths of the stacks, 0 where absent.
    head_types : (B, len(HEAD_TYPES), M) float, heads of each type.
    numbers : name of MODEL_FIELDS -> (M,) float.
    fold : None; where each column is one layer of a model (`by_layer`), which belong together.
    before : (M,) width of the layer before, where each column is a layer.
    """

    template: Model
    block: dict[str, np.ndarray]
    feed_forward: np.ndarray
    head_types: np.ndarray
    numbers: dict[str, np.ndarray]
    fold: Fold | None = None
    before: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Number of models M."""
        return int(self.numbers["vocabulary"].shape[0])

    @property
    def layers(self) -> np.ndarray:
        """(M,) layers, over all blocks."""
        return self.whole(np.add.accumulate(self.block["repeat"], axis=0)[-1])

    @property
    def alike(self) -> bool:
        """Whether the blocks differ in numbers only, so that each may be a column of its own."""
        first, *others = (
            ((b.causal, b.cross_attention, bool(b.head_types)) for b in self.template.blocks)
            if self.template.blocks
            else [None]
        )
        same = self.template.family == "encoder" and all(o == first for o in others)
        return bool(others) and same and bool((self.block["repeat"][0] > 0).all())

    @functools.cached_property
    def by_layer(self) -> Models:
        """The same models with a column for each layer that differs from all others.

        The first layer is in a model's first column, the last in its last one; layers that are
        the same, and stand behind layers of one width, share a column that repeats.
        """
        alike, repeat = self._alike_layers(), self.block["repeat"]
        own = (alike == np.arange(len(alike))[:, None]) & (repeat > 0)
        times = np.zeros_like(repeat)
        for kind, there in zip(alike, repeat, strict=True):
            np.add.at(times, (kind, np.arange(self.size)), there)
        model, layer = np.nonzero(own.T)
        fold = Fold.of_lengths(np.count_nonzero(own, axis=0))
        block = {name: values[layer, model][None] for name, values in self.block.items()}
        return Models(
            replace(self.template, blocks=self.template.blocks[:1]),
            {**block, "repeat": times[layer, model][None]},
            np.ascontiguousarray(self.feed_forward[layer, :, model].T)[None],
            np.ascontiguousarray(self.head_types[layer, :, model].T)[None],
            {name: values[model] for name, values in self.numbers.items()},
            fold,
            self.block["hidden"][np.maximum(layer - 1, 0), model],
        )

    def _alike_layers(self) -> np.ndarray:
        """(B, M) which layer stands for each: one that is the same, or itself.

        The last layer stands for all like it, since what comes behind the layers follows it.
        """
        hidden, there = self.block["hidden"], self.block["repeat"] > 0
        fields = [values for name, values in self.block.items() if name != "repeat"]
        fields += [hidden[np.maximum(np.arange(len(hidden)) - 1, 0)]]
        fields += [*self.feed_forward.swapaxes(0, 1), *self.head_types.swapaxes(0, 1)]
        key = np.zeros(hidden.shape, dtype=np.uint64)
        for values in fields:
            key = (key + values.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(29)
        found = np.broadcast_to(np.arange(len(hidden))[:, None], hidden.shape).copy()
        for layer in range(1, len(hidden)):
            for before in range(layer - 1, -1, -1):
                found[layer] = np.where(key[layer] == key[before], before, found[layer])
        models = np.arange(self.size)
        for values in fields:  # two keys may be the same by chance
            differ = values != values[found, models]
            if differ.any():
                found = np.where(differ, np.arange(len(found))[:, None], found)
        last = len(there) - 1 - there[::-1].argmax(axis=0)
        kind = found[last, models]
        shared = there & (found == kind)
        # The first layer stands before all others, so that it cannot stand behind them, too.
        apart = (kind == 0) & (shared.sum(axis=0) < there.sum(axis=0))
        return np.where(shared & ~apart | (np.arange(len(found))[:, None] == last), last, found)

    def bottom(self, values: np.ndarray) -> np.ndarray:
        """(M,) values of what stands below the layers: none in columns of later layers."""
        if self.fold is None:
            return values
        found = np.zeros_like(values)
        found[self.fold.start] = values[self.fold.start]
        return found

    def top(self, values: np.ndarray) -> np.ndarray:
        """(M,) values of what stands above the layers: none in columns of earlier layers."""
        if self.fold is None:
            return values
        found, last = np.zeros_like(values), np.append(self.fold.start[1:], values.size) - 1
        found[last] = values[last]
        return found

    def whole(self, values: np.ndarray) -> np.ndarray:
        """(M,) sums over the layers of a model that have a column each."""
        return values if self.fold is None else self.fold.spread(self.fold.sum(values))

    def most(self, values: np.ndarray) -> np.ndarray:
        """(M,) largest of the layers of a model that have a column each."""
        return values if self.fold is None else self.fold.spread(self.fold.most(values))

    def width_before(self, index: int) -> np.ndarray | None:
        """(M,) width of the layer before block `index`; None for the first of all."""
        if self.before is not None:
            return self.before
        return self.block["hidden"][index - 1] if index else None

    def take(self, index: np.ndarray) -> Models:
        """The models at `index` (any integer array), in that order."""
        if index.size == self.size and (index == np.arange(self.size)).all():
            return self
        return Models(
            self.template,
            {name: values[:, index] for name, values in self.block.items()},
            self.feed_forward[:, :, index],
            self.head_types[:, :, index],
            {name: values[index] for name, values in self.numbers.items()},
        )


def with_settings(model: Model, settings: dict[str, np.ndarray], size: int) -> Models:
    """M variants of one model.

    Parameters
    ----------
    model : the description to start from.
    settings : short key (layers, hidden, heads, kv_heads, head_size, feed_forward,
        vocabulary, positions) -> (M,) float; NaN keeps the model's own number.
    size : M.

    A changed width or head count keeps the rule the model follows: heads that filled the
    hidden width still do, and a generic model (name encoder or decoder) derives heads of 64
    and a feed-forward of 4 hidden where they are not given.
    Raises InputError where heads do not divide the hidden width.
    """
    block = {
        name: np.repeat(
            np.array([[float(getattr(b, name))] for b in model.blocks]).reshape(-1, 1), size, 1
        )
        for name in BLOCK_FIELDS
    }
    stacks = max((len(b.feed_forward) for b in model.blocks), default=1)
    feed_forward = np.zeros((len(model.blocks), stacks, size))
    types = np.zeros((len(model.blocks), len(HEAD_TYPES), size))
    for i, b in enumerate(model.blocks):
        feed_forward[i, : len(b.feed_forward)] = np.array(b.feed_forward, float)[:, None]
        types[i] = np.array(b.head_types or (b.heads, 0, 0, 0, 0, 0, 0), float)[:, None]
    numbers = {name: np.full(size, float(getattr(model, name))) for name in MODEL_FIELDS}
    models = Models(model, block, feed_forward, types, numbers)
    return _overridden(models, settings) if settings else models


def one(models: Models, index: int = 0) -> Model:
    """The description of model `index` again; layers that are not there are left out."""
    model, blocks = models.template, []
    for i, b in enumerate(model.blocks):
        number = {name: int(models.block[name][i, index]) for name in BLOCK_FIELDS}
        if number["repeat"] == 0:
            continue
        types = tuple(int(n) for n in models.head_types[i, :, index])
        block = replace(
            b,
            repeat=number["repeat"],
            hidden=number["hidden"],
            heads=number["heads"],
            head_size=number["head_size"],
            kv_heads=number["kv_heads"],
            feed_forward=tuple(int(f) for f in models.feed_forward[i, :, index] if f > 0),
            head_types=types if b.head_types else (),
        )
        blocks.append(block)
    numbers = {name: int(models.numbers[name][index]) for name in MODEL_FIELDS}
    return replace(
        model,
        blocks=tuple(blocks),
        vocabulary=numbers["vocabulary"],
        positions=numbers["positions"],
        token_types=numbers["token_types"],
        labels=numbers["labels"],
        patch_inputs=numbers["patch_inputs"],
        patches=numbers["patches"],
    )


def _overridden(models: Models, settings: dict[str, np.ndarray]) -> Models:
    model, block, numbers = models.template, dict(models.block), dict(models.numbers)
    if not model.blocks and set(settings) - {"head"}:
        raise InputError(
            "a list of operations takes its sizes from the file", field=f"model.{min(settings)}"
        )
    if any(b.head_types for b in model.blocks):
        raise InputError(
            "a heterogeneous model is changed in its file, layer by layer",
            field=f"model.{min(settings)}",
        )
    filled = model.blocks[0].heads * model.blocks[0].head_size == model.blocks[0].hidden
    grouped = model.blocks[0].kv_heads != model.blocks[0].heads
    generic = model.name in ("encoder", "decoder")
    block["repeat"] = _set(block["repeat"], settings.get("layers"))
    block["hidden"] = _set(block["hidden"], settings.get("hidden"))
    if "hidden" in settings and generic:
        derived = np.maximum(np.floor(block["hidden"] / 64.0), 1.0)
        block["heads"] = np.where(np.isnan(settings["hidden"]), block["heads"], derived)
    block["heads"] = _set(block["heads"], settings.get("heads"))
    if filled and ("hidden" in settings or "heads" in settings):
        block["head_size"] = np.floor(block["hidden"] / block["heads"])
    block["head_size"] = _set(block["head_size"], settings.get("head_size"))
    if not grouped:
        block["kv_heads"] = block["heads"]
    block["kv_heads"] = _set(block["kv_heads"], settings.get("kv_heads"))
    feed_forward = models.feed_forward
    if "hidden" in settings and generic:
        derived = 4.0 * block["hidden"][:, None, :]
        feed_forward = np.where(np.isnan(settings["hidden"]), feed_forward, derived)
    feed_forward = _set(feed_forward, settings.get("feed_forward"))
    for name in ("vocabulary", "positions"):
        numbers[name] = _set(numbers[name], settings.get(name))
    types = models.head_types.copy()
    types[:, 0] = block["heads"]
    _require_divisible(block, filled and "head_size" not in settings)
    return Models(model, block, feed_forward, types, numbers)


def _set(current: np.ndarray, values: np.ndarray | None) -> np.ndarray:
    if values is None:
        return current
    return np.where(np.isnan(values), current, values)


def _require_divisible(block: dict[str, np.ndarray], filled: bool) -> None:
    wrong = filled & (block["heads"] * block["head_size"] != block["hidden"])
    if wrong.any():
        b, i = np.argwhere(wrong)[0]
        error = InputError(
            f"{int(block['heads'][b, i])} heads do not divide a hidden width of "
            f"{int(block['hidden'][b, i])}",
            field="model.heads",
            value=int(block["heads"][b, i]),
            hint="in a space: where: ['model.hidden % model.heads == 0'], or set model.head_size",
        )
        raise error
    wrong = block["heads"] % block["kv_heads"] != 0
    if wrong.any():
        b, i = np.argwhere(wrong)[0]
        raise InputError(
            f"{int(block['kv_heads'][b, i])} key/value heads do not divide "
            f"{int(block['heads'][b, i])} heads",
            field="model.kv_heads",
            value=int(block["kv_heads"][b, i]),
        )


def with_head(model: Model, head: str) -> Model:
    """The same layers under another head."""
    return replace(model, head=head)


def structure(model: Model) -> tuple[object, ...]:
    """What models must share to be evaluated as one `Models`: everything that is not a number."""
    numbers = (*MODEL_FIELDS, "name", "source", "blocks", "gemms")
    traits = tuple(getattr(model, f.name) for f in fields(model) if f.name not in numbers)
    blocks = tuple(
        (b.causal, b.cross_attention, len(b.feed_forward), bool(b.head_types)) for b in model.blocks
    )
    return (traits, blocks, model.gemms)


def stack(parts: list[Models], places: np.ndarray) -> Models:
    """Models of one structure joined; `places` (M,) says where each of them goes."""
    if len(parts) == 1:
        joined = parts[0]
    else:
        joined = Models(
            parts[0].template,
            {name: np.concatenate([p.block[name] for p in parts], axis=1) for name in BLOCK_FIELDS},
            np.concatenate([p.feed_forward for p in parts], axis=2),
            np.concatenate([p.head_types for p in parts], axis=2),
            {name: np.concatenate([p.numbers[name] for p in parts]) for name in MODEL_FIELDS},
        )
    order = np.empty(places.size, dtype=np.intp)
    order[places] = np.arange(places.size)
    return joined.take(order)
