"""Parameter tensors of the kinds of layers that are not plain: experts, latents, scans."""

from __future__ import annotations

import numpy as np

from elector.describe.model import Models
from elector.operations.experts import shared_width
from elector.operations.pairs import pair_tensors
from elector.operations.roles import Place, Role
from elector.operations.scans import state_of
from elector.operations.tensor import Tensor

Array = np.ndarray


def expert_tensors(models: Models, index: int, place: Place) -> list[Tensor]:
    """Router, experts and shared experts of a block."""
    model, at, repeat = models.template, models.at, models.block["repeat"][index]
    d, experts, f = (
        models.block["hidden"][index],
        at("experts", index),
        at("expert_feed_forward", index),
    )
    narrow, used = at("expert_hidden", index), at("experts_per_token", index) / experts
    wide = np.where(narrow > 0, narrow, d)
    gates = 2.0 if model.experts_gated else 1.0
    every = experts * repeat
    gate = Role.EXPERT_GATE if model.experts_gated else None
    tensors = [
        Tensor(Role.ROUTER, place, d * experts, repeat),
        Tensor(Role.EXPERT_IN, place, wide * f, gates * every, also=gate, used=used),
        Tensor(Role.EXPERT_OUT, place, f * wide, every, used=used),
    ]
    if model.router_bias:
        tensors.append(Tensor(Role.ROUTER, place, experts, repeat, bias=True))
    if model.expert_bias:
        tensors.append(Tensor(Role.EXPERT_IN, place, f, gates * every, bias=True, used=used))
        tensors.append(Tensor(Role.EXPERT_OUT, place, wide, every, bias=True, used=used))
    if narrow.any():
        tensors.append(Tensor(Role.EXPERT_DOWN, place, d * wide, repeat))
        tensors.append(Tensor(Role.EXPERT_UP, place, wide * d, repeat))
    shared = shared_width(models, index)
    if shared.any():
        gate = Role.SHARED_GATE if model.experts_gated else None
        tensors.append(Tensor(Role.SHARED_IN, place, d * shared, gates * repeat, also=gate))
        tensors.append(Tensor(Role.SHARED_OUT, place, shared * d, repeat))
        if model.shared_gate:
            tensors.append(Tensor(Role.SHARED_WEIGHT, place, d, repeat))
    return tensors


def mixer_tensors(models: Models, index: int, place: Place, rank: int) -> list[Tensor]:
    """Matrices and vectors of what mixes the tokens of a block; low-rank pairs of a `rank`."""
    mixer = models.template.blocks[index].mixer
    if mixer == "none":
        return []
    own = _latent if mixer == "latent" else _scan
    return own(models, index, place, rank)


def _latent(models: Models, index: int, place: Place, pairs: int) -> list[Tensor]:
    at, repeat = models.at, models.block["repeat"][index]
    d, heads = models.block["hidden"][index], models.block["heads"][index]
    nope, rope, value = (at(f"{n}_head_size", index) for n in ("nope", "rope", "value"))
    low, rank = at("q_lora_rank", index), at("kv_lora_rank", index)
    tensors, queries = [], heads * (nope + rope)
    model = models.template
    if model.attention_bias:  # of what is narrow: what is expanded from it has none
        tensors.append(Tensor(Role.KEY_VALUE_DOWN, place, rank + rope, repeat, bias=True))
        if low.any():
            tensors.append(Tensor(Role.QUERY_DOWN, place, low, repeat, bias=True))
    if model.output_bias:
        tensors.append(Tensor(Role.OUTPUT, place, d, repeat, bias=True))
    if low.any():
        tensors.append(Tensor(Role.QUERY_DOWN, place, d * low, repeat))
        tensors.append(Tensor(Role.QUERY_DOWN_NORM, place, low, repeat))
    tensors += [
        Tensor(Role.QUERY, place, np.where(low > 0, low, d) * queries, repeat),
        Tensor(Role.KEY_VALUE_DOWN, place, d * (rank + rope), repeat),
        Tensor(Role.KEY_VALUE_DOWN_NORM, place, rank, repeat),
        Tensor(Role.KEY_VALUE_UP, place, rank * heads * (nope + value), repeat),
        Tensor(Role.OUTPUT, place, heads * value * d, repeat),
    ]
    source = np.where(low > 0, low, d)
    tensors += pair_tensors(place, Role.QUERY, pairs, (source, queries), repeat)
    both = heads * (nope + value)
    tensors += pair_tensors(place, Role.KEY_VALUE_UP, pairs, (rank, both), repeat)
    return [*tensors, *index_tensors(models, index, place, source)]


def index_tensors(models: Models, index: int, place: Place, source: Array) -> list[Tensor]:
    """Matrices and norms of a block's indexer, if it has one. source : (M,) what queries read."""
    at, repeat = models.at, models.block["repeat"][index]
    d, number, e = (
        models.block["hidden"][index],
        at("index_heads", index),
        at("index_head_size", index),
    )
    if not number.any():
        return []
    sizes = {
        Role.INDEX_QUERY: source * number * e,
        Role.INDEX_KEY: d * e,
        # scale and shift of a layer norm, whatever the model's others are
        Role.INDEX_KEY_NORM: 2.0 * e,
        Role.INDEX_WEIGHTS: d * number,
    }
    if at("index_block", index).any():  # scales of queries and keys, and no weights
        del sizes[Role.INDEX_WEIGHTS]
        sizes |= {Role.INDEX_QUERY_NORM: e, Role.INDEX_KEY_NORM: e}
    return [Tensor(role, place, size, repeat, frozen=True) for role, size in sizes.items()]


def _scan(models: Models, index: int, place: Place, pairs: int) -> list[Tensor]:
    s, repeat = state_of(models, index), models.block["repeat"][index]
    block, d = models.template.blocks[index], models.block["hidden"][index]
    inner, biases = s.inner, float(models.template.scan_bias)
    conv = float(block.kernel) + float(models.template.taps_bias)
    tensors = [
        Tensor(Role.STATE_IN, place, d * s.projected, repeat),
        Tensor(Role.STATE_OUT, place, inner * d, repeat),
    ]
    if s.convolved.any():
        tensors.insert(1, Tensor(Role.STATE_CONVOLUTION, place, s.convolved * conv, repeat))
    tensors += pair_tensors(place, Role.STATE_IN, pairs, (d, s.projected), repeat)
    tensors += pair_tensors(place, Role.STATE_OUT, pairs, (inner, d), repeat)
    if biases:
        tensors.append(Tensor(Role.STATE_IN, place, s.projected, repeat, bias=True))
        tensors.append(Tensor(Role.STATE_OUT, place, d, repeat, bias=True))
    return tensors + _scan_parameters(models, index, place)


def _scan_parameters(models: Models, index: int, place: Place) -> list[Tensor]:
    """What a scan has beside its projections and its convolution."""
    s, repeat = state_of(models, index), models.block["repeat"][index]
    kind, inner, tensors = models.template.blocks[index].scans, s.inner, []
    if kind == "mamba2":  # decay, skip and step of each head; a norm over all channels
        tensors.append(Tensor(Role.STATE_UPDATE, place, 3.0 * s.heads, repeat))
        if models.template.scan_norm:
            tensors.append(Tensor(Role.STATE_NORM, place, inner, repeat))
    if kind == "kda":  # a decay of each head, a step of each channel; one norm for all heads
        tensors += [
            Tensor(Role.STATE_UPDATE, place, s.heads + s.groups * s.keys, repeat),
            Tensor(Role.STATE_STEP, place, s.head * s.groups * s.keys, repeat),
            Tensor(Role.STATE_GATE, place, s.head * inner, repeat),
            Tensor(Role.STATE_NORM, place, s.head, repeat),
        ]
    if kind == "lightning":  # decays are fixed; a norm over all channels
        tensors.append(Tensor(Role.STATE_NORM, place, inner, repeat))
    if kind == "delta":  # decay and step of each head; one norm for all heads
        tensors.append(Tensor(Role.STATE_UPDATE, place, 2.0 * s.heads, repeat))
        tensors.append(Tensor(Role.STATE_NORM, place, s.head, repeat))
    if kind == "mamba":
        rank = s.groups
        tensors += [
            Tensor(Role.STATE_PARAMETERS, place, inner * (rank + 2.0 * s.keys), repeat),
            Tensor(Role.STATE_STEP, place, rank * inner, repeat),
            Tensor(Role.STATE_STEP, place, inner, repeat, bias=True),
            Tensor(Role.STATE_UPDATE, place, inner * (s.keys + 1.0), repeat),
        ]
    return tensors
