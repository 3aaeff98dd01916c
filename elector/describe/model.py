"""A transformer, described: what `operations.py` needs to list its work.

`Model` is one frozen description; `Models` holds many of one structure as arrays, so
that thousands of them become operations in one pass. A homogeneous model is one block
repeated; a FlexiBERT model is a block per layer; an encoder-decoder is two blocks; a model
whose layers differ in kind is a block for each kind, and `pattern` says in which order.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from elector.base.segments import Fold
from elector.describe.listing import Listing
from elector.describe.quantization import Quantization

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
    mixer : what mixes tokens, one of MIXERS.
    beside : the feed-forward of `feed_forward` runs beside the experts, not instead of them.
    rotates : rotary positions enter here (some models leave them out of some layers).
    shares_key : values are the keys, so that there is no matrix for them.

    The numbers of EXTRAS, 0 where a layer has no such thing:

    window : positions that causal attention looks back, itself included (of an encoder: to
        both sides together, itself included).
    chunk : positions of the chunks that attention stays in.
    vectors : trained numbers of a layer that no product reads (sinks, scales of layers).
    query_groups : groups in which queries are normed apart with weights of their own.
    experts, experts_per_token : feed-forwards of which each token takes some.
    expert_feed_forward : width of each. expert_hidden : what they read and write, where that
        is a projection of the hidden width. shared_experts : experts of every token;
    shared_feed_forward : their width together, where it is not that of so many experts.
    q_lora_rank, kv_lora_rank : of latent attention; nope_head_size, rope_head_size,
    value_head_size : parts of a head's queries and keys, and its values. Where attention is
        not latent, rope_head_size is what rotary positions turn of a head (0: all of it).
    index_heads, index_head_size : of the indexer; index_top_k : keys that attention takes.
    index_block : keys that are taken together, by the largest score among them (0: one by one).
    state_size : numbers of the state for each inner channel (of the delta rule: width of a
        key head). state_groups : groups that share their projections to it (key heads).
    state_heads, state_head_size : heads of the scan (value heads).
    kernel : taps of the short convolution. scan : tokens of a chunk of the scan.
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
    mixer: str = "attention"
    beside: bool = False
    rotates: bool = True
    shares_key: bool = False
    window: int = 0
    chunk: int = 0
    vectors: int = 0
    query_groups: int = 0
    experts: int = 0
    experts_per_token: int = 0
    expert_feed_forward: int = 0
    expert_hidden: int = 0
    shared_experts: int = 0
    shared_feed_forward: int = 0
    q_lora_rank: int = 0
    kv_lora_rank: int = 0
    nope_head_size: int = 0
    rope_head_size: int = 0
    value_head_size: int = 0
    index_heads: int = 0
    index_head_size: int = 0
    index_top_k: int = 0
    index_block: int = 0
    state_size: int = 0
    state_groups: int = 0
    state_heads: int = 0
    state_head_size: int = 0
    kernel: int = 0
    scan: int = 0

    @property
    def kind(self) -> tuple[object, ...]:
        """What blocks must share so that they are columns of one table."""
        plain = (self.causal, self.cross_attention, bool(self.head_types), self.mixer)
        flags = (self.beside, self.rotates, self.shares_key, self.kernel)
        return (*plain, *flags, *(bool(getattr(self, name)) for name in EXTRAS))

    @property
    def mixes(self) -> int:
        """Sublayers that mix tokens: attention to the layer itself, and to an encoder."""
        return (self.mixer != "none") + self.cross_attention

    @property
    def scans(self) -> str:
        """What carries a state from token to token, alone or beside attention; "" for nothing."""
        own = self.mixer.removeprefix(_BESIDE)
        return own if own in SCANS else ""

    @property
    def attends(self) -> bool:
        """Whether heads attend to keys of their own, alone or beside a scan."""
        return self.mixer == "attention" or self.mixer.startswith(_BESIDE)

    @property
    def feeds(self) -> bool:
        """Whether it has a feed-forward of any kind."""
        return bool(self.experts) or any(self.feed_forward)

    def has_part(self, part: str) -> bool:
        """Whether it has matrices of a part of layers that `quantization.MODULES` names."""
        shared = bool(self.shared_experts or self.shared_feed_forward)
        has = {
            "shared experts": bool(self.experts) and shared,
            "experts": bool(self.experts),
            "state": self.scans not in ("", "convolution"),
            "attention": self.attends or self.mixer == "latent",
            "feed forward": any(self.feed_forward) and (self.beside or not self.experts),
        }
        return has[part]


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
    head_dense : the classifier has a hidden x hidden layer below its outputs (the pooler of
        BERT, the first layer of RoBERTa's head); ViT's has none.
    pattern : the block of each layer, in order, repeated where there are more layers; empty:
        the blocks stand one behind the other.
    dense_layers : first layers of the pattern, which are not repeated with the others.
    output_norm : a norm on what attention and feed-forward leave, before it is added; beside
        pre_norm (Gemma 2) or instead of it (OLMo 2).
    final_norm : a norm behind the last layer.
    parallel : none | one-norm | two-norms: attention and feed-forward read the same stream.
    qk_norm : none | head (weights of a head's width, all heads share them) | heads (each has
        its own) | width (one norm over all heads).
    attention_gate : none | element | head: the context is multiplied with a gate of the
        layer's input, one for each number or each head.
    key_bias : where attention_bias holds, keys have one, too (Whisper's have none).
    embedding_size : width of the token embedding where it is not the hidden one (ALBERT).
    embedding_bias : the projections from and to it have a bias. embeds_tokens_only : the other
        tables, and the norm, have the hidden width (OPT).
    head_bias : the vocabulary head has a bias (None: a masked one has, a causal one has not).
    head_transform : a masked-LM head has a dense layer, function and norm below its outputs;
        transform_bias : that dense layer has a bias. labels_transform : heads of labels and
        spans have the same below theirs (ModernBERT).
    source_positions : rows of the encoder's position table, where they are others (Whisper).
    source_tokens : tokens of the encoder, where they are fixed (Whisper: 30 s of sound).
    stem : convolutions below the encoder, each (inputs of an output, rows of outputs).
    shared_layers : all layers use the parameters of one (ALBERT).
    position_offset : rows of the position table that no position uses (OPT, BART: 2).
    special_tokens : tokens that stand beside the patches (vision).
    patch_bias : the patch projection has a bias. mask_token : a token stands for hidden patches.
    router_bias, expert_bias : biases of the router and of the experts' matrices.
    expert_gated : the experts have a gate (None: as `gated`).
    shared_gate : a gate decides how much of the shared experts a token takes.
    scan_bias, taps_bias : biases of the projections and of the convolution of a scan.
    scan_norm : what Mamba-2's scan leaves is normed (Falcon-H1's is not).
    routing : exponent of how unevenly tokens choose experts; 0: evenly, at random.
    longest : positions that the file of a model without a table of them was made for, which bounds
        nothing (0: it does not say).
    quantization : what the file says of the numbers its weights are stored in, or None.
    notes : what the reader of the file has to say.
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
    head_dense: bool = True
    pattern: tuple[int, ...] = ()
    dense_layers: int = 0
    output_norm: bool = False
    final_norm: bool | None = None
    parallel: str = "none"
    qk_norm: str = "none"
    key_bias: bool = True
    attention_gate: str = "none"
    embedding_size: int = 0
    embedding_bias: bool = True
    embeds_tokens_only: bool = False
    head_bias: bool | None = None
    head_transform: bool = True
    transform_bias: bool = True
    labels_transform: bool = False
    source_positions: int = 0
    source_tokens: int = 0
    stem: tuple[tuple[int, int], ...] = ()
    shared_layers: bool = False
    position_offset: int = 0
    special_tokens: int = 1
    patch_bias: bool = True
    mask_token: bool = False
    router_bias: bool = False
    expert_bias: bool = False
    expert_gated: bool | None = None
    shared_gate: bool = False
    scan_bias: bool = False
    taps_bias: bool = True
    scan_norm: bool = True
    routing: float = 0.0
    longest: int = 0
    quantization: Quantization | None = None
    notes: tuple[str, ...] = ()

    @property
    def closes(self) -> bool:
        """Whether a norm stands behind the last layer."""
        return self.pre_norm or self.output_norm if self.final_norm is None else self.final_norm

    @property
    def has_tokens(self) -> bool:
        """Whether it reads tokens of a vocabulary, and not images."""
        return self.family in ("encoder", "decoder", "encoder-decoder")

    @property
    def vocabulary_bias(self) -> bool:
        """Whether the vocabulary head has a bias."""
        masked = self.head in ("masked-lm", "pre-training")
        return masked if self.head_bias is None else self.head_bias

    @property
    def transforms(self) -> bool:
        """Whether a dense layer, function and norm stand below the head's outputs."""
        if self.head in ("masked-lm", "pre-training"):
            return self.head_transform
        labelled = self.head in ("classifier", "token-classifier", "question-answering")
        return self.labels_transform and labelled

    @property
    def experts_gated(self) -> bool:
        """Whether the experts have a gate."""
        return self.gated if self.expert_gated is None else self.expert_gated

    def has_part(self, part: str) -> bool:
        """Whether it has matrices of a part of `quantization.MODULES` that no other part has."""
        if part == "head":
            return (
                self.head in ("masked-lm", "pre-training", "causal-lm") and not self.tied_embeddings
            )
        return any(block.has_part(part) for block in self.blocks)

    listing: Listing | None = None


#: What carries a state from token to token: Mamba, Mamba-2, the gated delta rule, the same with a
#: decay of every channel (Kimi), lightning attention, a short convolution.
SCANS = ("mamba", "mamba2", "delta", "kda", "lightning", "convolution")
_BESIDE = "attention+"
#: What mixes the tokens of a layer: attention over heads; latent: over a rank that all heads
#: share; scans of a state; attention and a scan of the same input, added up (Falcon-H1).
MIXERS = ("attention", "latent", *SCANS, f"{_BESIDE}mamba2", "none")
#: Numeric fields of a block that become (B, M) arrays.
BLOCK_FIELDS = ("repeat", "hidden", "heads", "head_size", "kv_heads")
#: Further ones, which are arrays where any block of a model has them.
EXTRAS = (
    "window",
    "chunk",
    "vectors",
    "query_groups",
    "experts",
    "experts_per_token",
    "expert_feed_forward",
    "expert_hidden",
    "shared_experts",
    "shared_feed_forward",
    "q_lora_rank",
    "kv_lora_rank",
    "nope_head_size",
    "rope_head_size",
    "value_head_size",
    "index_heads",
    "index_head_size",
    "index_top_k",
    "index_block",
    "state_size",
    "state_groups",
    "state_heads",
    "state_head_size",
    "kernel",
    "scan",
)
#: Numeric fields of a model that become (M,) arrays.
MODEL_FIELDS = (
    "vocabulary",
    "positions",
    "token_types",
    "labels",
    "patch_inputs",
    "patches",
    "longest",
    "routing",
)
#: What says where a description comes from, and changes nothing.
_SAID = ("name", "source", "notes")


@dataclass(frozen=True, eq=False, repr=False)
class Models:
    """M models of one structure, as arrays.

    template : the description all of them share, but for the numbers below.
    block : name of BLOCK_FIELDS, and of those EXTRAS that the models have -> (B, M) float; a
        block a model lacks has repeat 0.
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

    def at(self, name: str, index: int) -> np.ndarray:
        """(M,) a number of block `index`; 0 where no block has it."""
        values = self.block.get(name)
        return np.zeros(self.size) if values is None else values[index]

    @property
    def layers(self) -> np.ndarray:
        """(M,) layers, over all blocks."""
        return self.whole(np.add.accumulate(self.block["repeat"], axis=0)[-1])

    @property
    def alike(self) -> bool:
        """Whether the blocks differ in numbers only, so that each may be a column of its own."""
        first, *others = (b.kind for b in self.template.blocks) if self.template.blocks else [None]
        encoder = self.template.family == "encoder" and not self.template.shared_layers
        same = encoder and all(o == first for o in others)
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
        like = np.broadcast_to(np.arange(len(hidden))[:, None], hidden.shape).copy()
        for layer in range(1, len(hidden)):
            for before in range(layer - 1, -1, -1):
                like[layer] = np.where(key[layer] == key[before], before, like[layer])
        models = np.arange(self.size)
        for values in fields:  # two keys may be the same by chance
            differ = values != values[like, models]
            if differ.any():
                like = np.where(differ, np.arange(len(like))[:, None], like)
        last = len(there) - 1 - there[::-1].argmax(axis=0)
        kind = like[last, models]
        shared = there & (like == kind)
        # The first layer stands before all others, so that it cannot stand behind them, too.
        apart = (kind == 0) & (shared.sum(axis=0) < there.sum(axis=0))
        return np.where(shared & ~apart | (np.arange(len(like))[:, None] == last), last, like)

    def bottom(self, values: np.ndarray) -> np.ndarray:
        """(M,) values of what stands below the layers: none in columns of later layers."""
        if self.fold is None:
            return values
        lowest = np.zeros_like(values)
        lowest[self.fold.start] = values[self.fold.start]
        return lowest

    def top(self, values: np.ndarray) -> np.ndarray:
        """(M,) values of what stands above the layers: none in columns of earlier layers."""
        if self.fold is None:
            return values
        uppermost, last = np.zeros_like(values), np.append(self.fold.start[1:], values.size) - 1
        uppermost[last] = values[last]
        return uppermost

    def whole(self, values: np.ndarray) -> np.ndarray:
        """(M,) sums over the layers of a model that have a column each.

        values : one number for each column.
        """
        return values if self.fold is None else self.fold.spread(self.fold.sum(values))

    def most(self, values: np.ndarray) -> np.ndarray:
        """(M,) largest of the layers of a model that have a column each.

        values : one number for each column.
        """
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


def one(models: Models, index: int = 0) -> Model:
    """The description of model `index` again; layers that are not there are left out."""
    model, blocks = models.template, []
    for i, b in enumerate(model.blocks):
        number: dict[str, Any] = {
            name: int(values[i, index]) for name, values in models.block.items()
        }
        if number["repeat"] == 0:
            continue
        types = tuple(int(n) for n in models.head_types[i, :, index])
        block = replace(
            b,
            **number,
            feed_forward=tuple(int(f) for f in models.feed_forward[i, :, index] if f > 0),
            head_types=types if b.head_types else (),
        )
        blocks.append(block)
    numbers: dict[str, Any] = {name: int(models.numbers[name][index]) for name in MODEL_FIELDS[:-1]}
    routing = float(models.numbers["routing"][index])
    same = [model.pattern.count(i) == b.repeat for i, b in enumerate(blocks)]
    pattern = model.pattern if all(same) and len(blocks) == len(model.blocks) else ()
    return replace(model, blocks=tuple(blocks), pattern=pattern, **numbers, routing=routing)


def with_head(model: Model, head: str) -> Model:
    """The same layers under another head."""
    return replace(model, head=head)


#: Fields of Model that a plain transformer has like this.
_PLAIN = Model("", "", ())
_TRAITS = (
    "output_norm",
    "final_norm",
    "parallel",
    "qk_norm",
    "attention_gate",
    "embedding_size",
    "head_bias",
    "shared_layers",
    "position_offset",
    "special_tokens",
    "stem",
)


def unlike_plain(model: Model) -> str:
    """What sets a model apart from a plain transformer of one kind of layer; "" where nothing."""
    for name in _TRAITS:
        if getattr(model, name) != getattr(_PLAIN, name):
            return name
    plain = Block(1, 1, 1, 1, 1, ())
    names = ("mixer", "beside", "shares_key", "rotates", *(n for n in EXTRAS if n != "window"))
    for block in model.blocks:
        for name in names:
            if getattr(block, name) != getattr(plain, name):
                return name
    return "norm" if model.norm not in ("layer", "rms") else ""


def structure(model: Model) -> tuple[object, ...]:
    """What models must share to be evaluated as one `Models`: everything that is not a number."""
    numbers = (*MODEL_FIELDS, *_SAID, "blocks", "gemms", "pattern", "dense_layers")
    traits = tuple(getattr(model, f.name) for f in fields(model) if f.name not in numbers)
    blocks = tuple((*b.kind, len(b.feed_forward)) for b in model.blocks)
    return (traits, blocks, extras_of(model), model.gemms)


def extras_of(model: Model) -> tuple[str, ...]:
    """Those of EXTRAS that any layer of a model has."""
    return tuple(name for name in EXTRAS if any(getattr(b, name) for b in model.blocks))


def stack(parts: list[Models], places: np.ndarray) -> Models:
    """Models of one structure joined; `places` (M,) says where each of them goes."""
    if len(parts) == 1:
        joined = parts[0]
    else:
        joined = Models(
            parts[0].template,
            {
                name: np.concatenate([p.block[name] for p in parts], axis=1)
                for name in parts[0].block
            },
            np.concatenate([p.feed_forward for p in parts], axis=2),
            np.concatenate([p.head_types for p in parts], axis=2),
            {name: np.concatenate([p.numbers[name] for p in parts]) for name in MODEL_FIELDS},
        )
    order = np.empty(places.size, dtype=np.intp)
    order[places] = np.arange(places.size)
    return joined.take(order)
