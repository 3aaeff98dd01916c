"""Attention, feed-forward and their layer, with a site after every matrix product.

Attention is written out (scores, softmax, context), so that what DynaTran prunes is there to
be pruned. Names of the sites are the names of the simulator's operations, and their layers
are counted from 1 as the simulator's are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from elector.describe.model import HEAD_TYPES, Block, Model
from transcode.dynaprop import Site
from transcode.training.heads import Convolution, Cosine, DotProducts, Fourier

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "relu": functional.relu,
    "silu": functional.silu,
}


@dataclass(frozen=True)
class Setting:
    """What all layers of a model share.

    model : the description; length : tokens of a sequence; dropout : share of zeros;
    stacks : most feed-forward stacks of any layer (they are numbered where there are several).
    """

    model: Model
    length: int
    dropout: float
    stacks: int


class Rms(nn.Module):
    """Root-mean-square norm with a scale (Zhang and Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width).

        x : (..., width).
        """
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.weight


def norm(model: Model, width: int) -> nn.Module:
    """The model's norm over `width` channels."""
    return nn.LayerNorm(width) if model.norm == "layer" else Rms(width)


def rotate(x: Tensor) -> Tensor:
    """Rotary positions of (..., L, e): pairs of channels turned by the position (2104.09864).

    x : (..., L, e).
    """
    length, size = x.shape[-2:]
    half = size // 2
    frequency = 10000.0 ** (-torch.arange(half, device=x.device) / half)
    angle = torch.arange(length, device=x.device)[:, None] * frequency
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    turned = (first * cos - second * sin, second * cos + first * sin, rest)
    return torch.cat(turned, dim=-1)


class Attention(nn.Module):
    """Projections, the mixing of every head type, and the output projection."""

    def __init__(self, block: Block, layer: int, setting: Setting) -> None:
        super().__init__()
        model = setting.model
        wide, narrow = block.heads * block.head_size, block.kv_heads * block.head_size
        self.heads, self.kv_heads, self.rotary = (
            block.heads,
            block.kv_heads,
            (model.position_kind == "rotary"),
        )
        self.query = nn.Linear(block.hidden, wide, bias=model.attention_bias)
        self.key = nn.Linear(block.hidden, narrow, bias=model.attention_bias)
        self.value = nn.Linear(block.hidden, narrow, bias=model.attention_bias)
        self.query_site = Site("query", layer)
        self.key_site = Site("key, value", layer)
        self.value_site = Site("key, value", layer)
        self.parts, self.mixing = _mixing(block, layer, setting)
        if model.position_kind == "relative-key" and not _products(block):
            # The released models have the table in every layer; here nothing reads it.
            self.table = nn.Parameter(torch.zeros(2 * model.positions - 1, block.head_size))
        self.output = nn.Linear(wide, block.hidden, bias=model.output_bias)
        self.output_site = Site("output", layer)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, hidden) -> (B, L, hidden).

        x : (B, L, hidden).
        """
        q = self.query_site(self._positioned(self._split(self.query(x), self.heads)))
        k = self.key_site(self._positioned(self._split(self.key(x), self.kv_heads)))
        v = self.value_site(self._split(self.value(x), self.kv_heads))
        if self.kv_heads != self.heads:
            k, v = (t.repeat_interleave(self.heads // self.kv_heads, dim=1) for t in (k, v))
        mixes = [
            mix(*parts)
            for mix, *parts in zip(
                self.mixing, *(t.split(self.parts, dim=1) for t in (q, k, v)), strict=True
            )
        ]
        mixed = mixes[0] if len(mixes) == 1 else torch.cat(mixes, dim=1)
        return self.output_site(self.output(mixed.transpose(1, 2).flatten(2)))

    def _split(self, x: Tensor, heads: int) -> Tensor:
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    def _positioned(self, x: Tensor) -> Tensor:
        return rotate(x) if self.rotary else x


def _products(block: Block) -> int:
    """Heads that are scaled dot products."""
    return sum(block.head_types[:2]) if block.head_types else block.heads


def _mixing(block: Block, layer: int, setting: Setting) -> tuple[list[int], nn.ModuleList]:
    """Heads of each part of a layer, and the modules that mix them."""
    model, size = setting.model, block.head_size
    types = dict(zip(HEAD_TYPES, block.head_types or (block.heads, *(0,) * 6), strict=True))
    parts: list[tuple[int, nn.Module]] = []
    products = types["sdp"] + types["wma"]
    if products:
        core = DotProducts(
            size,
            layer,
            weighted=types["wma"],
            dropout=setting.dropout,
            past=block.window if block.causal else None,
            positions=model.positions if model.position_kind == "relative-key" else 0,
        )
        parts.append((products, core))
    if types["dft"]:
        parts.append((types["dft"], Fourier(size, setting.length, layer)))
    if types["dct"]:
        parts.append((types["dct"], Cosine(size, setting.length, layer)))
    for kernel in (5, 9, 13):
        heads = types[f"c{kernel}"]
        if heads:
            parts.append((heads, Convolution(heads, size, kernel, layer)))
    return [heads for heads, _ in parts], nn.ModuleList(mix for _, mix in parts)


class FeedForward(nn.Module):
    """A chain: a rise (and a gate, where there is one) for each stack, and one fall to hidden."""

    def __init__(self, hidden: int, widths: list[int], layer: int, setting: Setting) -> None:
        super().__init__()
        names = [f" {s + 1}" if setting.stacks > 1 else "" for s in range(len(widths))]
        before = [hidden, *widths[:-1]]
        self.rises = nn.Sequential(
            *(
                Rise(low, high, layer, name, setting)
                for low, high, name in zip(before, widths, names, strict=True)
            )
        )
        self.fall = nn.Linear(widths[-1], hidden, bias=setting.model.feed_forward_bias)
        self.fall_site = Site("feed-forward out", layer)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, hidden) -> (B, L, hidden).

        x : (B, L, hidden).
        """
        return self.fall_site(self.fall(self.rises(x)))


class Rise(nn.Module):
    """One stack: a product and an activation, times a second product where there is a gate."""

    def __init__(self, before: int, width: int, layer: int, name: str, setting: Setting) -> None:
        super().__init__()
        model, bias = setting.model, setting.model.feed_forward_bias
        self.activation = model.activation
        self.rise = nn.Linear(before, width, bias=bias)
        self.rise_site = Site(f"feed-forward{name} in", layer)
        self.gate = nn.Linear(before, width, bias=bias) if model.gated else None
        self.gate_site = Site(f"feed-forward{name} gate", layer) if model.gated else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, before) -> (B, L, width).

        x : (B, L, before).
        """
        inner = ACTIVATIONS[self.activation](self.rise_site(self.rise(x)))
        if self.gate is not None and self.gate_site is not None:
            inner = inner * self.gate_site(self.gate(x))
        return inner


class Layer(nn.Module):
    """Attention and feed-forward with norms, dropout and residuals, after a change of width."""

    def __init__(self, block: Block, before: int, layer: int, setting: Setting) -> None:
        super().__init__()
        model, hidden = setting.model, block.hidden
        changes = before != hidden
        self.pre_norm = model.pre_norm
        self.projection = nn.Linear(before, hidden) if changes else None
        self.attention = Attention(block, layer, setting)
        self.attention_norm = norm(model, hidden)
        widths = [width for width in block.feed_forward if width]
        self.feed_forward = FeedForward(hidden, widths, layer, setting)
        self.feed_forward_norm = norm(model, hidden)
        self.dropout = nn.Dropout(setting.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, before) -> (B, L, hidden).

        x : (B, L, before).
        """
        if self.projection is not None:
            x = self.projection(x)
        if self.pre_norm:
            x = x + self.dropout(self.attention(self.attention_norm(x)))
            return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        x = self.attention_norm(x + self.dropout(self.attention(x)))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))
