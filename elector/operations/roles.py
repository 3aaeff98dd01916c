"""What an operation does and where it stands: enumerations, and the words users write for them.

Code decides by `Role`, `RowPart` and `Place`, never by a text. Files of users (assignments,
sparsity tables) name operations and layers by the words of this module; `word` and `layer_word`
are the only translation, and what a report shows (elector.operations.names) is another matter.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """What an operation, a tensor or a parameter tensor is in a transformer.

    The value is the word in users' files; {index} is the number of a feed-forward stack where
    there are several, {variant} the function, transform, kernel or name that sets it apart.
    """

    # Below the layers.
    LOOKUP = "embedding lookup"
    PATCH_PROJECTION = "patch projection"
    STEM = "stem convolution{index}"
    STEM_ACTIVATION = "stem activation"
    EMBEDDING_NORM = "embedding norm"
    EMBEDDING_UP = "embedding projection"
    EMBEDDING_DROPOUT = "embedding dropout"
    # Attention.
    RESIZE = "projection"
    QUERY = "query"
    QUERY_DOWN = "query down"
    QUERY_DOWN_NORM = "query down norm"
    KEY_VALUE = "key, value"
    KEY_VALUE_DOWN = "key, value down"
    KEY_VALUE_DOWN_NORM = "key, value down norm"
    KEY_VALUE_UP = "key, value up"
    ABSORBED_QUERY = "absorbed query"
    ABSORBED_VALUE = "absorbed value"
    KEY = "key"
    VALUE = "value"
    PROJECTION_BIAS = "query, key, value bias"
    QUERY_KEY_NORM = "query, key norm"
    ROTARY = "rotary positions"
    QUERY_LOW_RANK_A = "query low-rank A"
    QUERY_LOW_RANK_B = "query low-rank B"
    VALUE_LOW_RANK_A = "value low-rank A"
    VALUE_LOW_RANK_B = "value low-rank B"
    KEY_VALUE_UP_LOW_RANK_A = "key, value up low-rank A"
    KEY_VALUE_UP_LOW_RANK_B = "key, value up low-rank B"
    STATE_IN_LOW_RANK_A = "state in low-rank A"
    STATE_IN_LOW_RANK_B = "state in low-rank B"
    STATE_OUT_LOW_RANK_A = "state out low-rank A"
    STATE_OUT_LOW_RANK_B = "state out low-rank B"
    CACHE_APPEND = "cache append"
    INDEX_QUERY = "index query"
    INDEX_KEY = "index key"
    INDEX_QUERY_NORM = "index query norm"
    INDEX_KEY_NORM = "index key norm"
    INDEX_WEIGHTS = "index weights"
    INDEX_SCORES = "index scores"
    INDEX_CHOICE = "index choice"
    SCORES = "scores"
    RELATIVE_POSITIONS = "relative positions"
    SOFTMAX = "softmax"
    PROBABILITIES = "probabilities"
    PROBABILITIES_DROPOUT = "probabilities dropout"
    CONTEXT = "context"
    OUTPUT = "output"
    ATTENTION_NORM = "attention norm"
    ATTENTION_OUTPUT_NORM = "attention output norm"
    ATTENTION_GATE = "attention gate"
    ATTENTION_DROPOUT = "attention dropout"
    ATTENTION_RESIDUAL = "attention residual"
    # Other heads (FlexiBERT).
    WEIGHTED_KEYS = "weighted keys"
    ALONG_HEADS = "{variant} along heads"
    ALONG_TOKENS = "{variant} along tokens"
    DEPTHWISE = "{variant} depthwise"
    POINTWISE = "{variant} pointwise"
    TIMES_QUERY = "{variant} times query"
    KERNEL = "{variant} kernel"
    KERNEL_SOFTMAX = "{variant} softmax"
    SPAN_VALUES = "{variant} values"
    APPLICATION = "{variant} application"
    # Scans of a state, and short convolutions, in the place of attention.
    STATE_IN = "state in"
    STATE_CONVOLUTION = "state convolution"
    STATE_PARAMETERS = "state parameters"
    STATE_STEP = "state step"
    STATE_ACTIVATION = "state activation"
    STATE_GATE = "state gate"
    STATE_SCORES = "state scores"
    STATE_DECAY = "state decay"
    STATE_INSIDE = "state inside a chunk"
    STATE_UPDATE = "state of a chunk"
    STATE_PASS = "state between chunks"
    STATE_OUTPUT = "state output"
    STATE_NORM = "state norm"
    STATE_OUT = "state out"
    # Experts.
    ROUTER = "router"
    ROUTER_CHOICE = "router choice"
    EXPERT_DOWN = "experts' input"
    EXPERT_IN = "expert in"
    EXPERT_GATE = "expert gate"
    EXPERT_ACTIVATION = "expert {variant}"
    EXPERT_OUT = "expert out"
    EXPERT_SUM = "expert sum"
    EXPERT_UP = "experts' output"
    SHARED_IN = "shared expert in"
    SHARED_GATE = "shared expert gate"
    SHARED_ACTIVATION = "shared expert {variant}"
    SHARED_OUT = "shared expert out"
    SHARED_WEIGHT = "shared expert weight"
    # Feed-forward.
    FEED_FORWARD_IN = "feed-forward{index} in"
    FEED_FORWARD_GATE = "feed-forward{index} gate"
    FEED_FORWARD_ACTIVATION = "feed-forward{index} {variant}"
    FEED_FORWARD_OUT = "feed-forward out"
    FEED_FORWARD_NORM = "feed-forward norm"
    FEED_FORWARD_OUTPUT_NORM = "feed-forward output norm"
    FEED_FORWARD_DROPOUT = "feed-forward dropout"
    FEED_FORWARD_RESIDUAL = "feed-forward residual"
    # Above the layers.
    ENCODER_NORM = "encoder final norm"
    FINAL_NORM = "final norm"
    TOKEN_DENSE = "token dense"
    TOKEN_ACTIVATION = "token activation"
    POOLER = "pooler"
    POOLER_ACTIVATION = "pooler tanh"
    CLASSIFIER = "classifier"
    CLASSIFIER_BIAS = "classifier bias"
    SPAN_HEAD = "span head"
    SPAN_HEAD_BIAS = "span head bias"
    EMBEDDING_DOWN = "projection to the embedding"
    NEXT_SENTENCE = "next sentence"
    NEXT_SENTENCE_BIAS = "next sentence bias"
    MASKED_LM_TRANSFORM = "masked-LM transform"
    MASKED_LM_ACTIVATION = "masked-LM activation"
    MASKED_LM_NORM = "masked-LM norm"
    VOCABULARY_HEAD = "vocabulary head"
    VOCABULARY_HEAD_BIAS = "vocabulary head bias"
    LOSS = "loss"
    METRIC = "metric"
    # Parameters that no product holds, and what is done to all of them.
    TOKEN_EMBEDDING = "token embedding"
    POSITION_EMBEDDING = "position embedding"
    SEGMENT_EMBEDDING = "segment embedding"
    CLASS_TOKEN = "class token, patch bias"
    NORMS = "norms"
    LAYER_VECTORS = "vectors of the layer"
    MASKED_LM_VECTORS = "masked-LM vectors"
    VOCABULARY_BIAS = "vocabulary bias"
    WEIGHT_CAST = "weight cast"
    ACCUMULATION = "gradient accumulation"
    # What a list of products names, and what crosses a link of a hybrid.
    PRODUCT = "{variant}"
    TRANSFER = "transfer"
    ARRIVAL = "{variant}, kept"


class RowPart(Enum):
    """What of a role a row computes; the value is put behind its word."""

    FORWARD = ""
    AGAIN = " again"  # in the backward pass, what the forward pass did not keep
    INPUT_GRADIENT = " input gradient"  # of a product with parameters
    WEIGHT_GRADIENT = " weight gradient"
    GRADIENT = " gradient"  # of everything else, named after what the gradient is of
    UNPACKED = " dequantisation"  # of an operand that is stored in another format
    UPDATE = " update"
    BIAS_UPDATE = " bias update"


#: Matrices of layers that stay in the format of all weights: low-rank pairs are added beside
#: what is quantised (Dettmers et al. 2023, arXiv 2305.14314), routers choose among experts (left
#: out in the published configurations of GPTQ, AWQ, modelopt).
NEVER_PACKED = frozenset(
    {
        Role.ROUTER,
        Role.QUERY_LOW_RANK_A,
        Role.QUERY_LOW_RANK_B,
        Role.VALUE_LOW_RANK_A,
        Role.VALUE_LOW_RANK_B,
        Role.KEY_VALUE_UP_LOW_RANK_A,
        Role.KEY_VALUE_UP_LOW_RANK_B,
        Role.STATE_IN_LOW_RANK_A,
        Role.STATE_IN_LOW_RANK_B,
        Role.STATE_OUT_LOW_RANK_A,
        Role.STATE_OUT_LOW_RANK_B,
    }
)
#: Parts whose matrices some files leave as they are, or store in a format of their own
#: (elector.describe.quantization).
PARTS = {
    "attention": frozenset(
        {
            Role.QUERY,
            Role.QUERY_DOWN,
            Role.KEY_VALUE,
            Role.KEY_VALUE_DOWN,
            Role.KEY_VALUE_UP,
            Role.ABSORBED_QUERY,
            Role.ABSORBED_VALUE,
            Role.INDEX_QUERY,
            Role.INDEX_KEY,
            Role.INDEX_WEIGHTS,
            Role.ATTENTION_GATE,
            Role.OUTPUT,
        }
    ),
    "state": frozenset(
        {
            Role.STATE_IN,
            Role.STATE_OUT,
            Role.STATE_PARAMETERS,
            Role.STATE_STEP,
            Role.STATE_GATE,
        }
    ),
    "shared experts": frozenset({Role.SHARED_IN, Role.SHARED_GATE, Role.SHARED_OUT}),
    "experts": frozenset({Role.EXPERT_IN, Role.EXPERT_GATE, Role.EXPERT_OUT}),
    "feed forward": frozenset(
        {Role.FEED_FORWARD_IN, Role.FEED_FORWARD_GATE, Role.FEED_FORWARD_OUT}
    ),
    "head": frozenset({Role.VOCABULARY_HEAD}),
}
#: Parameters are updated all stacks of a block together.
UPDATES = (RowPart.UPDATE, RowPart.BIAS_UPDATE)
#: Element-wise work by what it is for.
BIASES = frozenset(
    {
        Role.PROJECTION_BIAS,
        Role.CLASSIFIER_BIAS,
        Role.SPAN_HEAD_BIAS,
        Role.NEXT_SENTENCE_BIAS,
        Role.VOCABULARY_HEAD_BIAS,
    }
)
DROPOUTS = frozenset(
    {
        Role.EMBEDDING_DROPOUT,
        Role.PROBABILITIES_DROPOUT,
        Role.ATTENTION_DROPOUT,
        Role.FEED_FORWARD_DROPOUT,
    }
)
#: A head of dynamic convolution spanned by tokens (ConvBERT, arXiv 2008.02496).
SPAN_CONVOLUTION = (
    Role.DEPTHWISE,
    Role.POINTWISE,
    Role.TIMES_QUERY,
    Role.KERNEL,
    Role.KERNEL_SOFTMAX,
    Role.SPAN_VALUES,
    Role.APPLICATION,
)
#: What stands beside or before the scaled dot product of heads: no kernel of attention holds it.
OTHER_HEADS = frozenset(
    {Role.WEIGHTED_KEYS, Role.ALONG_HEADS, Role.ALONG_TOKENS, *SPAN_CONVOLUTION}
)
RESIDUALS = frozenset({Role.ATTENTION_RESIDUAL, Role.FEED_FORWARD_RESIDUAL})

#: Products of experts with their own tokens.
ROUTED = frozenset({Role.EXPERT_IN, Role.EXPERT_GATE, Role.EXPERT_OUT})


class ModelSection(Enum):
    """A part of the model; the value is its word, {index} counts from 1."""

    EMBEDDING = "embedding"
    ENCODER_EMBEDDING = "encoder embedding"
    DECODER_EMBEDDING = "decoder embedding"
    LAYERS = "layers"  # the only block of layers
    LAYER = "layer {index}"
    ENCODER = "encoder"
    DECODER = "decoder"
    HEAD = "head"
    PARAMETERS = "parameters"
    LIST = "{variant}"


EMBEDDINGS = frozenset(
    {ModelSection.EMBEDDING, ModelSection.ENCODER_EMBEDDING, ModelSection.DECODER_EMBEDDING}
)
#: Sections of layers that repeat.
STACKS = frozenset(
    {ModelSection.LAYERS, ModelSection.LAYER, ModelSection.ENCODER, ModelSection.DECODER}
)


@dataclass(frozen=True)
class Place:
    """Where an operation or a parameter tensor stands.

    index : block of layers, from 0. variant : name of an entry of a list of products.
    """

    section: ModelSection
    index: int = 0
    variant: str = ""

    @property
    def packs(self) -> bool:
        """Whether its matrices may be stored in a format of their own: those of layers."""
        return self.in_layers or self.section is ModelSection.LIST

    @property
    def in_layers(self) -> bool:
        """Whether it repeats with the layers."""
        return self.section in STACKS


@functools.lru_cache(maxsize=4096)
def word(
    role: Role,
    part: RowPart = RowPart.FORWARD,
    cross: bool = False,
    index: int = 0,
    variant: str = "",
) -> str:
    """The word of an operation in users' files.

    cross : it belongs to the attention to an encoder's output. index : number of the stack,
    0 where there is one. variant : see `Role`.
    """
    if role is Role.TRANSFER:
        return variant
    number = f" {index}" if index and part not in UPDATES else ""
    title = role.value.replace("{index}", number).replace("{variant}", variant)
    return f"{'cross ' if cross else ''}{title}{part.value}"


@functools.lru_cache(maxsize=4096)
def layer_word(place: Place, part: RowPart = RowPart.FORWARD) -> str:
    """The word of a layer in users' files; parameters are updated block by block."""
    if place.in_layers and part in UPDATES:
        return f"block {place.index + 1}"
    text = place.section.value.replace("{index}", str(place.index + 1))
    return text.replace("{variant}", place.variant)


#: What sets operations of one role apart, where it is no user's own name.
VARIANTS: dict[Role, tuple[str, ...]] = {
    **dict.fromkeys(
        (Role.FEED_FORWARD_ACTIVATION, Role.EXPERT_ACTIVATION, Role.SHARED_ACTIVATION),
        ("gelu", "relu", "silu", "relu2", "tanh", "xielu"),
    ),
    **dict.fromkeys((Role.ALONG_HEADS, Role.ALONG_TOKENS), ("dft", "dct")),
    **dict.fromkeys(
        SPAN_CONVOLUTION,
        ("c5", "c9", "c13"),
    ),
}
#: Stacks of a feed-forward chain that have a word of their own.
MOST_STACKS = 3


#: Blocks of layers that have a word of their own: more than any model that was described.
MOST_BLOCKS = 256


@functools.cache
def layer_words() -> frozenset[str]:
    """Every word a layer of a described model may have."""
    counted = {
        layer_word(Place(ModelSection.LAYER, i), p) for i in range(MOST_BLOCKS) for p in RowPart
    }
    fixed = {
        layer_word(Place(s))
        for s in ModelSection
        if s not in (ModelSection.LAYER, ModelSection.LIST)
    }
    return frozenset(counted | fixed)


@functools.cache
def vocabulary() -> frozenset[str]:
    """Every word an operation of a described model may have."""
    return frozenset(_words())


def _words() -> Iterator[str]:
    for role in Role:
        if role in (Role.PRODUCT, Role.TRANSFER, Role.ARRIVAL):
            continue
        stacks: Iterable[int] = range(MOST_STACKS + 1) if "{index}" in role.value else (0,)
        for index in stacks:
            for variant in VARIANTS.get(role, ("",)):
                for part in RowPart:
                    for cross in (False, True):
                        yield word(role, part, cross, index, variant)
