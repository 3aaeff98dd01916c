"""Parameter tensors: what is stored, trained and updated, and how many there are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from elector.describe.model import HEAD_TYPES, Model, Models
from elector.describe.workload import Workload
from elector.operations import names
from elector.operations.graph import Parameter
from elector.operations.listed import listing_of
from elector.operations.listed import weights as listed_weights
from elector.operations.roles import Part, Place, Role, Section

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Tensor:
    """`count` parameter tensors of `elements` each, both (M,).

    role : of the product or other work that reads it. place : see `Row`.
    bias : the bias of that product. head : belongs to the head (or is a low-rank pair), so it
    trains in every subset. also : a further role that reads tensors of this entry.
    index, variant : see `Row`.
    """

    role: Role
    place: Place
    elements: Array
    count: Array
    bias: bool = False
    head: bool = False
    also: Role | None = None
    index: int = 0
    variant: str = ""

    @property
    def name(self) -> str:
        """What a report calls it."""
        title = names.operation(self.role, Part.FORWARD, False, 0, self.variant)
        return f"{title} bias" if self.bias else title

    @property
    def layer(self) -> str:
        """What a report calls the part of the model it stands in."""
        return names.layer(self.place, Part.UPDATE)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What products read: in the attention of a layer to itself, and to an encoder's output."""
        if self.bias:
            return ()
        roles = (self.role,) if self.also is None else (self.role, self.also)
        return tuple(
            Parameter(role, self.place, cross, self.index)
            for role in roles
            for cross in (False, True)
        )


def trained(tensor: Tensor, workload: Workload) -> bool:
    """Whether the tensor is in the trainable subset."""
    return workload.trainable == "all" or tensor.head


def elements_of(tensors: list[Tensor], size: int) -> Array:
    """(M,) elements of all of some tensors."""
    total = np.zeros(size)
    for t in tensors:
        total = total + t.elements * t.count
    return total


def parameter_tensors(models: Models, workload: Workload) -> list[Tensor]:
    """All tensors; those of one name and size in one entry."""
    model = models.template
    found = [replace(t, count=models.bottom(t.count)) for t in _embeddings(models)]
    for index in range(len(model.blocks)):
        found += _block(models, index, workload.rank)
    found += [replace(t, count=models.top(t.count)) for t in _head(models)]
    listing = listing_of(model)
    if listing is not None:
        for layer, name, elements, count in listed_weights(models, listing):
            place = Place(Section.LIST, variant=layer)
            found.append(Tensor(Role.PRODUCT, place, elements, count, variant=name))
    return found


def _embeddings(models: Models) -> list[Tensor]:
    model, numbers = models.template, models.numbers
    if not model.blocks:
        return []
    place = Place(Section.EMBEDDING)
    d, one = models.block["hidden"][0], np.ones(models.size)
    found = []
    for role, rows in (
        (Role.TOKEN_EMBEDDING, numbers["vocabulary"]),
        (Role.POSITION_EMBEDDING, numbers["positions"]),
        (Role.SEGMENT_EMBEDDING, numbers["token_types"]),
    ):
        learned = role is not Role.POSITION_EMBEDDING or model.position_kind == "learned"
        if rows.any() and learned:
            found.append(Tensor(role, place, rows * d, one * (rows > 0)))
    if model.family == "vision":
        found.append(Tensor(Role.PATCH_PROJECTION, place, numbers["patch_inputs"] * d, one))
        found.append(Tensor(Role.CLASS_TOKEN, place, d, 2.0 * one))
    if model.embedding_norm:
        found.append(Tensor(Role.EMBEDDING_NORM, place, d, _vectors(model.norm) * one))
    return found


def place_of(model: Model, index: int) -> Place:
    """The part of the model that a block of layers is."""
    if model.family == "encoder-decoder":
        cross = model.blocks[index].cross_attention
        return Place(Section.DECODER if cross else Section.ENCODER, index)
    return Place(Section.LAYER if len(model.blocks) > 1 else Section.LAYERS, index)


def _vectors(norm: str) -> float:
    return 2.0 if norm == "layer" else 1.0


def _block(models: Models, index: int, rank: int) -> list[Tensor]:
    model, block = models.template, models.block
    b = model.blocks[index]
    d, e, repeat = block["hidden"][index], block["head_size"][index], block["repeat"][index]
    wide, narrow = block["heads"][index] * e, block["kv_heads"][index] * e
    place = place_of(model, index)
    attentions = repeat * (2.0 if b.cross_attention else 1.0)
    found = [
        Tensor(Role.QUERY, place, d * wide, attentions),
        Tensor(Role.KEY_VALUE, place, d * narrow, 2.0 * attentions),
        Tensor(Role.OUTPUT, place, wide * d, attentions),
        Tensor(Role.NORMS, place, d, _vectors(model.norm) * (attentions + repeat)),
    ]
    if model.attention_bias:
        found.append(Tensor(Role.QUERY, place, wide, attentions, bias=True))
        found.append(Tensor(Role.KEY_VALUE, place, narrow, 2.0 * attentions, bias=True))
    if model.output_bias:
        found.append(Tensor(Role.OUTPUT, place, d, attentions, bias=True))
    if rank:
        for (first, second), width in (
            ((Role.QUERY_LOW_RANK_A, Role.QUERY_LOW_RANK_B), wide),
            ((Role.VALUE_LOW_RANK_A, Role.VALUE_LOW_RANK_B), narrow),
        ):
            found.append(Tensor(first, place, d * rank, attentions, head=True))
            found.append(Tensor(second, place, rank * width, attentions, head=True))
    found += _feed_forward(models, index, place)
    found += _special_heads(models, index, place)
    before = models.width_before(index)
    if before is not None and not b.cross_attention and not b.causal:
        changes = repeat * (before != d)
        if changes.any():
            found.append(Tensor(Role.RESIZE, place, before * d, changes))
            found.append(Tensor(Role.RESIZE, place, d, changes, bias=True))
    return found


def _feed_forward(models: Models, index: int, place: Place) -> list[Tensor]:
    """A chain: hidden to the first stack, each stack to the next, the last one to hidden."""
    model, found = models.template, []
    d, repeat = models.block["hidden"][index], models.block["repeat"][index]
    width = d
    stacks = models.feed_forward[index]
    for s, f in enumerate(stacks):
        number = s + 1 if len(stacks) > 1 else 0
        ins = (2.0 if model.gated else 1.0) * repeat * (f > 0)
        gate = Role.FEED_FORWARD_GATE if model.gated else None
        found.append(Tensor(Role.FEED_FORWARD_IN, place, width * f, ins, also=gate, index=number))
        if model.feed_forward_bias:
            found.append(Tensor(Role.FEED_FORWARD_IN, place, f, ins, bias=True, index=number))
        width = np.where(f > 0, f, width)
    found.append(Tensor(Role.FEED_FORWARD_OUT, place, width * d, repeat))
    if model.feed_forward_bias:
        found.append(Tensor(Role.FEED_FORWARD_OUT, place, d, repeat, bias=True))
    return found


def _special_heads(models: Models, index: int, place: Place) -> list[Tensor]:
    """Matrices of wma and convolution heads, tables of relative positions."""
    model, block = models.template, models.block
    types = dict(zip(HEAD_TYPES, models.head_types[index], strict=True))
    e, repeat, found = block["head_size"][index], block["repeat"][index], []
    if types["wma"].any():
        found.append(Tensor(Role.WEIGHTED_KEYS, place, e * e, types["wma"] * repeat))
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
                found.append(Tensor(role, place, size, heads, bias=bias, variant=f"c{kernel}"))
    if model.position_kind == "relative-key":
        # Every layer has a table, one without a scaled dot product, too: the released models do.
        rows = 2.0 * models.numbers["positions"] - 1.0
        found.append(Tensor(Role.RELATIVE_POSITIONS, place, rows * e, repeat))
    if model.position_kind == "relative-bias":
        rows = float(model.relative_buckets) * block["heads"][index]
        found.append(Tensor(Role.RELATIVE_POSITIONS, place, rows, np.ones_like(rows)))
    return found


def _head(models: Models) -> list[Tensor]:
    model, numbers = models.template, models.numbers
    if not model.blocks:
        return []
    d, one, found = models.block["hidden"][-1], np.ones(models.size), []
    place = Place(Section.HEAD)
    if model.pre_norm:
        stacks = 2.0 if model.family == "encoder-decoder" else 1.0
        found.append(Tensor(Role.FINAL_NORM, place, d, _vectors(model.norm) * stacks * one))
    if model.head == "pooler" or (model.head == "classifier" and model.head_dense):
        found.append(Tensor(Role.POOLER, place, d * d, one, head=True))
        found.append(Tensor(Role.POOLER, place, d, one, True, True))
    if model.head == "classifier":
        found.append(Tensor(Role.CLASSIFIER, place, d * numbers["labels"], one, head=True))
        if model.family != "decoder":  # `score` of the decoders' classes has none
            found.append(Tensor(Role.CLASSIFIER, place, numbers["labels"], one, True, True))
    if model.head == "question-answering":
        found.append(Tensor(Role.SPAN_HEAD, place, 2.0 * d, one, head=True))
        found.append(Tensor(Role.SPAN_HEAD, place, 2.0 * one, one, True, True))
    if model.head == "masked-lm":
        found.append(Tensor(Role.MASKED_LM_TRANSFORM, place, d * d, one, head=True))
        found.append(Tensor(Role.MASKED_LM_VECTORS, place, d, 3.0 * one, head=True))
        found.append(Tensor(Role.VOCABULARY_BIAS, place, numbers["vocabulary"], one, head=True))
    if model.head in ("masked-lm", "causal-lm") and not model.tied_embeddings:
        found.append(Tensor(Role.VOCABULARY_HEAD, place, d * numbers["vocabulary"], one, head=True))
    return found
