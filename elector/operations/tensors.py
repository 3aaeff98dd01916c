"""Parameter tensors: what is stored, trained and updated, and how many there are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from elector.describe.model import HEAD_TYPES, Models
from elector.describe.workload import Workload

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Tensor:
    """`count` parameter tensors of `elements` each, both (M,).

    head : belongs to the head (or is a low-rank pair), so it trains in every subset.
    """

    name: str
    layer: str
    elements: Array
    count: Array
    head: bool = False


def trained(tensor: Tensor, workload: Workload) -> bool:
    """Whether the tensor is in the trainable subset."""
    return workload.trainable == "all" or tensor.head


def parameter_tensors(models: Models, workload: Workload) -> list[Tensor]:
    """All tensors; those of one name and size in one entry."""
    model = models.template
    found = [replace(t, count=models.bottom(t.count)) for t in _embeddings(models)]
    for index in range(len(model.blocks)):
        found += _block(models, index, workload.rank)
    found += [replace(t, count=models.top(t.count)) for t in _head(models)]
    for g in model.gemms:
        one = np.full(models.size, 1.0)
        found.append(Tensor(g.name, g.name, one * (g.k * g.n), one * g.count))
    return found


def _embeddings(models: Models) -> list[Tensor]:
    model, numbers = models.template, models.numbers
    if not model.blocks:
        return []
    d, one = models.block["hidden"][0], np.ones(models.size)
    found = []
    for name, rows in (
        ("token embedding", numbers["vocabulary"]),
        ("position embedding", numbers["positions"]),
        ("segment embedding", numbers["token_types"]),
    ):
        learned = name != "position embedding" or model.position_kind == "learned"
        if rows.any() and learned:
            found.append(Tensor(name, "embedding", rows * d, one * (rows > 0)))
    if model.family == "vision":
        found.append(Tensor("patch projection", "embedding", numbers["patch_inputs"] * d, one))
        found.append(Tensor("class token, patch bias", "embedding", d, 2.0 * one))
    if model.embedding_norm:
        found.append(Tensor("embedding norm", "embedding", d, _vectors(model.norm) * one))
    return found


def _vectors(norm: str) -> float:
    return 2.0 if norm == "layer" else 1.0


def _block(models: Models, index: int, rank: int) -> list[Tensor]:
    model, block = models.template, models.block
    b = model.blocks[index]
    d, e, repeat = block["hidden"][index], block["head_size"][index], block["repeat"][index]
    wide, narrow = block["heads"][index] * e, block["kv_heads"][index] * e
    layer = f"block {index + 1}"
    attentions = repeat * (2.0 if b.cross_attention else 1.0)
    found = [
        Tensor("query", layer, d * wide, attentions),
        Tensor("key, value", layer, d * narrow, 2.0 * attentions),
        Tensor("output", layer, wide * d, attentions),
        Tensor("norms", layer, d, _vectors(model.norm) * (attentions + repeat)),
    ]
    if model.attention_bias:
        found.append(Tensor("query bias", layer, wide, attentions))
        found.append(Tensor("key, value bias", layer, narrow, 2.0 * attentions))
    if model.output_bias:
        found.append(Tensor("output bias", layer, d, attentions))
    if rank:
        for name, width in (("query", wide), ("value", narrow)):
            found.append(Tensor(f"{name} low-rank A", layer, d * rank, attentions, head=True))
            found.append(Tensor(f"{name} low-rank B", layer, rank * width, attentions, head=True))
    found += _feed_forward(models, index, layer)
    found += _special_heads(models, index, layer)
    before = models.width_before(index)
    if before is not None and not b.cross_attention and not b.causal:
        changes = repeat * (before != d)
        if changes.any():
            found.append(Tensor("projection", layer, before * d, changes))
            found.append(Tensor("projection bias", layer, d, changes))
    return found


def _feed_forward(models: Models, index: int, layer: str) -> list[Tensor]:
    """A chain: hidden to the first stack, each stack to the next, the last one to hidden."""
    model, found = models.template, []
    d, repeat = models.block["hidden"][index], models.block["repeat"][index]
    width = d
    for f in models.feed_forward[index]:
        ins = (2.0 if model.gated else 1.0) * repeat * (f > 0)
        found.append(Tensor("feed-forward in", layer, width * f, ins))
        if model.feed_forward_bias:
            found.append(Tensor("feed-forward in bias", layer, f, ins))
        width = np.where(f > 0, f, width)
    found.append(Tensor("feed-forward out", layer, width * d, repeat))
    if model.feed_forward_bias:
        found.append(Tensor("feed-forward out bias", layer, d, repeat))
    return found


def _special_heads(models: Models, index: int, layer: str) -> list[Tensor]:
    """Matrices of wma and convolution heads, tables of relative positions."""
    model, block = models.template, models.block
    types = dict(zip(HEAD_TYPES, models.head_types[index], strict=True))
    e, repeat, found = block["head_size"][index], block["repeat"][index], []
    if types["wma"].any():
        found.append(Tensor("weighted keys", layer, e * e, types["wma"] * repeat))
    for kernel in (5, 9, 13):
        heads = types[f"c{kernel}"] * repeat
        if heads.any():
            found.append(Tensor(f"c{kernel} depthwise", layer, e * kernel, heads))
            found.append(Tensor(f"c{kernel} pointwise", layer, e * e, heads))
            found.append(Tensor(f"c{kernel} pointwise bias", layer, e, heads))
            found.append(Tensor(f"c{kernel} generator", layer, e * kernel, heads))
            found.append(Tensor(f"c{kernel} generator bias", layer, 0 * e + kernel, heads))
            found.append(Tensor(f"c{kernel} values", layer, e * e, heads))
            found.append(Tensor(f"c{kernel} values bias", layer, e, heads))
    if model.position_kind == "relative-key":
        # Every layer has a table, one without a scaled dot product, too: the released models do.
        rows = 2.0 * models.numbers["positions"] - 1.0
        found.append(Tensor("relative positions", layer, rows * e, repeat))
    if model.position_kind == "relative-bias":
        rows = float(model.relative_buckets) * block["heads"][index]
        found.append(Tensor("relative positions", layer, rows, np.ones_like(rows)))
    return found


def _head(models: Models) -> list[Tensor]:
    model, numbers = models.template, models.numbers
    if not model.blocks:
        return []
    d, one, found = models.block["hidden"][-1], np.ones(models.size), []
    if model.pre_norm:
        stacks = 2.0 if model.family == "encoder-decoder" else 1.0
        found.append(Tensor("final norm", "head", d, _vectors(model.norm) * stacks * one))
    if model.head == "pooler" or (model.head == "classifier" and model.head_dense):
        found.append(Tensor("pooler", "head", d * d, one, head=True))
        found.append(Tensor("pooler bias", "head", d, one, head=True))
    if model.head == "classifier":
        found.append(Tensor("classifier", "head", d * numbers["labels"], one, head=True))
        if model.family != "decoder":  # `score` of the decoders' classes has none
            found.append(Tensor("classifier bias", "head", numbers["labels"], one, head=True))
    if model.head == "question-answering":
        found.append(Tensor("span head", "head", 2.0 * d, one, head=True))
        found.append(Tensor("span head bias", "head", 2.0 * one, one, head=True))
    if model.head == "masked-lm":
        found.append(Tensor("masked-LM transform", "head", d * d, one, head=True))
        found.append(Tensor("masked-LM vectors", "head", d, 3.0 * one, head=True))
        found.append(Tensor("vocabulary bias", "head", numbers["vocabulary"], one, head=True))
    if model.head in ("masked-lm", "causal-lm") and not model.tied_embeddings:
        found.append(Tensor("vocabulary head", "head", d * numbers["vocabulary"], one, head=True))
    return found
