"""Parameter tensors: what is stored, trained and updated, and how many there are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from elector.describe.model import HEAD_TYPES, Block, Model, Models
from elector.describe.workload import Workload
from elector.operations.kinds import expert_tensors, index_tensors, mixer_tensors
from elector.operations.listed import listing_of
from elector.operations.listed import weights as listed_weights
from elector.operations.pairs import pair_tensors
from elector.operations.roles import ModelSection, Place, Role
from elector.operations.tensor import Tensor

Array = np.ndarray


def active_elements(models: Models, tensors: list[Tensor]) -> Array:
    """(M,) elements that one token takes part in: of experts only those it is sent to.

    A layer whose parameters others share works each time, but they are counted once.
    """
    total = np.zeros(models.size)
    for t in tensors:
        share = 1.0 if t.used is None else t.used
        total = total + np.rint(t.elements * t.count * share)
    return total


def parameter_tensors(models: Models, workload: Workload) -> list[Tensor]:
    """All tensors; those of one name and size in one entry."""
    model = models.template
    tensors = [replace(t, count=models.bottom(t.count)) for t in _embeddings(models)]
    for index in range(len(model.blocks)):
        tensors += _block(models, index, workload.rank)
    tensors += [replace(t, count=models.top(t.count)) for t in _head(models)]
    listing = listing_of(model)
    if listing is not None:
        for layer, name, elements, count in listed_weights(models, listing):
            place = Place(ModelSection.LIST, variant=layer)
            tensors.append(Tensor(Role.PRODUCT, place, elements, count, variant=name))
    return tensors


def _embeddings(models: Models) -> list[Tensor]:
    model, numbers = models.template, models.numbers
    if not model.blocks:
        return []
    place = Place(ModelSection.EMBEDDING)
    hidden, one = models.block["hidden"][0], np.ones(models.size)
    stacks = 2.0 if model.family == "encoder-decoder" and not model.stem else 1.0
    narrow = one * float(model.embedding_size) if model.embedding_size else hidden
    d = hidden if model.embeds_tokens_only else narrow
    tensors = []
    offset = np.where(numbers["positions"] > 0, float(model.position_offset), 0.0)
    for role, rows, width, count in (
        (Role.TOKEN_EMBEDDING, numbers["vocabulary"], narrow, 1.0),
        (Role.POSITION_EMBEDDING, numbers["positions"] + offset, d, stacks),
        (Role.SEGMENT_EMBEDDING, numbers["token_types"], d, 1.0),
    ):
        learned = role is not Role.POSITION_EMBEDDING or model.position_kind == "learned"
        if rows.any() and learned:
            tensors.append(Tensor(role, place, rows * width, count * one * (rows > 0)))
    if model.source_positions:
        heard = float(model.source_positions) * hidden
        tensors.append(Tensor(Role.POSITION_EMBEDDING, place, heard, one))
    if model.family == "vision":
        tensors.append(Tensor(Role.PATCH_PROJECTION, place, numbers["patch_inputs"] * hidden, one))
        others = float(model.special_tokens) + float(model.patch_bias) + float(model.mask_token)
        tensors.append(Tensor(Role.CLASS_TOKEN, place, hidden, others * one))
    if model.embedding_norm:
        norms = _vectors(model.norm) * stacks * one
        tensors.append(Tensor(Role.EMBEDDING_NORM, place, d, norms))
    return tensors + _projected(models, place)


def _projected(models: Models, place: Place) -> list[Tensor]:
    """Matrices between embeddings and layers: a projection, or convolutions."""
    model, one = models.template, np.ones(models.size)
    hidden, tensors = models.block["hidden"][0], []
    if model.embedding_size:
        tensors.append(Tensor(Role.EMBEDDING_UP, place, model.embedding_size * hidden, one))
        if model.embedding_bias:
            tensors.append(Tensor(Role.EMBEDDING_UP, place, hidden, one, bias=True))
    for number, (inputs, _) in enumerate(model.stem):
        own = Place(ModelSection.ENCODER_EMBEDDING)
        tensors.append(Tensor(Role.STEM, own, float(inputs) * hidden, one, index=number + 1))
        tensors.append(Tensor(Role.STEM, own, hidden, one, bias=True, index=number + 1))
    return tensors


def place_of(model: Model, index: int) -> Place:
    """The part of the model that a block of layers is."""
    if model.family == "encoder-decoder":
        cross = model.blocks[index].cross_attention
        return Place(ModelSection.DECODER if cross else ModelSection.ENCODER, index)
    return Place(ModelSection.LAYER if len(model.blocks) > 1 else ModelSection.LAYERS, index)


def _vectors(norm: str) -> float:
    """Trained numbers of a norm for each channel."""
    return {"layer": 2.0, "layer-plain": 0.0}.get(norm, 1.0)


def _block(models: Models, index: int, rank: int) -> list[Tensor]:
    model, block = models.template, models.block
    b = model.blocks[index]
    d = block["hidden"][index]
    # Layers that share their parameters have them once.
    repeat = (
        np.minimum(block["repeat"][index], 1.0) if model.shared_layers else block["repeat"][index]
    )
    place = place_of(model, index)
    norms = _norms(model, b)
    tensors = _attention(models, index, repeat, rank) if b.attends else []
    if b.attends:
        tensors += index_tensors(models, index, place, d)
    if b.mixer != "attention":
        tensors += mixer_tensors(models, index, place, rank)
    if norms:
        tensors.append(Tensor(Role.NORMS, place, d, norms * repeat))
    tensors += _feed_forward(models, index, place, repeat)
    vectors = models.at("vectors", index)
    if vectors.any():
        tensors.append(Tensor(Role.LAYER_VECTORS, place, vectors, repeat))
    tensors += _special_heads(models, index, place)
    before = models.width_before(index)
    if before is not None and not b.cross_attention and not b.causal:
        changes = repeat * (before != d)
        if changes.any():
            tensors.append(Tensor(Role.RESIZE, place, before * d, changes))
            tensors.append(Tensor(Role.RESIZE, place, d, changes, bias=True))
    return tensors


def _norms(model: Model, b: Block) -> float:
    """Norms of the hidden width that a layer has, times the trained numbers of a channel."""
    sublayers = float(b.mixes + b.feeds)
    if model.parallel == "one-norm":
        sublayers = 1.0
    both = model.pre_norm and model.output_norm
    return _vectors(model.norm) * sublayers * (2.0 if both else 1.0)


def _attention(models: Models, index: int, repeat: Array, rank: int) -> list[Tensor]:
    model, block, b = models.template, models.block, models.template.blocks[index]
    d, e = block["hidden"][index], block["head_size"][index]
    wide, narrow = block["heads"][index] * e, block["kv_heads"][index] * e
    place, attentions = place_of(model, index), repeat * (2.0 if b.cross_attention else 1.0)
    copies, out = 1.0 if b.shares_key else 2.0, wide
    own, values = models.at("value_head_size", index), narrow
    if own.any():
        values = block["kv_heads"][index] * own
        narrow, copies = block["kv_heads"][index] * (e + own), 1.0
        out = block["heads"][index] * own
    tensors = [
        Tensor(Role.QUERY, place, d * wide, attentions),
        Tensor(Role.KEY_VALUE, place, d * narrow, copies * attentions),
        Tensor(Role.OUTPUT, place, out * d, attentions),
    ]
    if model.attention_gate != "none":
        gates = out if model.attention_gate == "element" else block["heads"][index]
        tensors.append(Tensor(Role.ATTENTION_GATE, place, d * gates, attentions))
    if model.attention_bias:
        keys = copies if model.key_bias else copies - 1.0
        tensors.append(Tensor(Role.QUERY, place, wide, attentions, bias=True))
        tensors.append(Tensor(Role.KEY_VALUE, place, narrow, keys * attentions, bias=True))
    if model.output_bias:
        tensors.append(Tensor(Role.OUTPUT, place, d, attentions, bias=True))
    if model.qk_norm != "none":
        own = {"head": 2.0 * e, "width": wide + narrow, "heads": wide + narrow}[model.qk_norm]
        # weights of each head apart stand without biases, whatever the other norms have
        vectors = 1.0 if model.qk_norm == "heads" else _vectors(model.norm)
        tensors.append(Tensor(Role.QUERY_KEY_NORM, place, own, vectors * repeat))
    for role, width in ((Role.QUERY, wide), (Role.VALUE, values)):
        tensors += pair_tensors(place, role, rank, (d, width), attentions)
    return tensors


def _feed_forward(models: Models, index: int, place: Place, repeat: Array) -> list[Tensor]:
    """A chain: hidden to the first stack, each stack to the next, the last one to hidden."""
    model, tensors = models.template, []
    b, d = model.blocks[index], models.block["hidden"][index]
    if b.experts:
        tensors = expert_tensors(models, index, place)
    if not b.feeds or (b.experts and not b.beside):
        return tensors
    width = d
    stacks = models.feed_forward[index]
    for s, f in enumerate(stacks):
        number = s + 1 if len(stacks) > 1 else 0
        ins = (2.0 if model.gated else 1.0) * repeat * (f > 0)
        gate = Role.FEED_FORWARD_GATE if model.gated else None
        tensors.append(Tensor(Role.FEED_FORWARD_IN, place, width * f, ins, also=gate, index=number))
        if model.feed_forward_bias:
            tensors.append(Tensor(Role.FEED_FORWARD_IN, place, f, ins, bias=True, index=number))
        width = np.where(f > 0, f, width)
    tensors.append(Tensor(Role.FEED_FORWARD_OUT, place, width * d, repeat))
    if model.feed_forward_bias:
        tensors.append(Tensor(Role.FEED_FORWARD_OUT, place, d, repeat, bias=True))
    return tensors


def _special_heads(models: Models, index: int, place: Place) -> list[Tensor]:
    """Matrices of wma and convolution heads, tables of relative positions."""
    model, block = models.template, models.block
    types = dict(zip(HEAD_TYPES, models.head_types[index], strict=True))
    e, repeat, tensors = block["head_size"][index], block["repeat"][index], []
    if model.shared_layers:
        repeat = np.minimum(repeat, 1.0)
    if types["wma"].any():
        tensors.append(Tensor(Role.WEIGHTED_KEYS, place, e * e, types["wma"] * repeat))
    for kernel in (5, 9, 13):
        heads = types[f"c{kernel}"] * repeat
        if heads.any():
            for role, size, bias in (
                (Role.DEPTHWISE, e * kernel, False),
                (Role.POINTWISE, e * e, False),
                (Role.POINTWISE, e, True),
                (Role.KERNEL, e * kernel, False),
                (Role.KERNEL, 0 * e + kernel, True),
                (Role.SPAN_VALUES, e * e, False),
                (Role.SPAN_VALUES, e, True),
            ):
                tensors.append(Tensor(role, place, size, heads, bias=bias, variant=f"c{kernel}"))
    if model.position_kind == "relative-key":
        # Every layer has a table, one without a scaled dot product, too: the released models do.
        rows = 2.0 * models.numbers["positions"] - 1.0
        tensors.append(Tensor(Role.RELATIVE_POSITIONS, place, rows * e, repeat))
    if model.position_kind == "relative-bias":
        rows = float(model.relative_buckets) * block["heads"][index]
        tensors.append(Tensor(Role.RELATIVE_POSITIONS, place, rows, np.ones_like(rows)))
    return tensors


def _head(models: Models) -> list[Tensor]:
    model, numbers = models.template, models.numbers
    if not model.blocks:
        return []
    d, one, tensors = models.block["hidden"][-1], np.ones(models.size), []
    place, labels = Place(ModelSection.HEAD), numbers["labels"]
    if model.closes:
        stacks = 2.0 if model.family == "encoder-decoder" else 1.0
        tensors.append(Tensor(Role.FINAL_NORM, place, d, _vectors(model.norm) * stacks * one))
    dense = model.head == "classifier" and model.head_dense
    if model.head in ("pooler", "pre-training") or dense:
        tensors.append(Tensor(Role.POOLER, place, d * d, one, head=True))
        tensors.append(Tensor(Role.POOLER, place, d, one, True, True))
    if model.head == "token-detection":
        tensors.append(Tensor(Role.TOKEN_DENSE, place, d * d, one, head=True))
        tensors.append(Tensor(Role.TOKEN_DENSE, place, d, one, True, True))
        labels = one
    if model.head in ("classifier", "token-classifier", "token-detection"):
        tensors.append(Tensor(Role.CLASSIFIER, place, d * labels, one, head=True))
        if model.family != "decoder" or model.head == "token-classifier":
            # `score` of the decoders' sequence classes has none
            tensors.append(Tensor(Role.CLASSIFIER, place, labels, one, True, True))
    if model.head == "question-answering":
        tensors.append(Tensor(Role.SPAN_HEAD, place, 2.0 * d, one, head=True))
        tensors.append(Tensor(Role.SPAN_HEAD, place, 2.0 * one, one, True, True))
    if model.head == "pre-training":
        tensors.append(Tensor(Role.NEXT_SENTENCE, place, 2.0 * d, one, head=True))
        tensors.append(Tensor(Role.NEXT_SENTENCE, place, 2.0 * one, one, True, True))
    return tensors + _vocabulary(models, place)


def _vocabulary(models: Models, place: Place) -> list[Tensor]:
    """Vocabulary heads: of masked positions behind a dense layer, of causal models bare."""
    model, vocabulary, tensors = models.template, models.numbers["vocabulary"], []
    d, one = models.block["hidden"][-1], np.ones(models.size)
    width = one * float(model.embedding_size) if model.embedding_size else d
    masked = model.head in ("masked-lm", "pre-training")
    if model.transforms:
        vectors = _vectors(model.norm) + float(model.transform_bias)
        tensors.append(Tensor(Role.MASKED_LM_TRANSFORM, place, d * width, one, head=True))
        tensors.append(Tensor(Role.MASKED_LM_VECTORS, place, width, vectors * one, head=True))
    if model.head == "causal-lm" and model.embedding_size:
        tensors.append(Tensor(Role.EMBEDDING_DOWN, place, d * width, one))
        if model.embedding_bias:
            tensors.append(Tensor(Role.EMBEDDING_DOWN, place, width, one, bias=True))
    if (masked or model.head == "causal-lm") and model.vocabulary_bias:
        tensors.append(Tensor(Role.VOCABULARY_BIAS, place, vocabulary, one, head=True))
    if (masked or model.head == "causal-lm") and not model.tied_embeddings:
        tensors.append(Tensor(Role.VOCABULARY_HEAD, place, width * vocabulary, one, head=True))
    return tensors
