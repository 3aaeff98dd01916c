"""Attention heads of FlexiBERT 2.0 in PyTorch: all map q, k, v of (B, H, L, e) to (B, H, L, e).

sdp: scaled dot product. wma: the keys of each head pass through a matrix first. dft, dct:
two-dimensional transforms of the values, as products with constant matrices. c5, c9, c13:
span-based dynamic convolution (Jiang et al. 2020, arXiv 2008.02496). The matrix products are
those that elector.operations.flexibert counts. Tuli et al. 2022, FlexiBERT (2205.11656).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from transcode.dynaprop import Site


class DotProducts(nn.Module):
    """Scaled dot products; the last `weighted` heads pass their keys through a matrix.

    Parameters
    ----------
    size : width e of a head. layer : number for the sites.
    weighted : heads of type wma, behind those of type sdp.
    dropout : share of probabilities set to zero in training.
    past : positions that attention sees, itself and those before (0: all of those); None: all.
    positions : rows of the position table for relative keys (0: none).
    """

    def __init__(
        self,
        size: int,
        layer: int | None,
        *,
        weighted: int = 0,
        dropout: float = 0.0,
        past: int | None = None,
        positions: int = 0,
    ) -> None:
        super().__init__()
        self.size, self.weighted, self.positions = size, weighted, positions
        self.past = past
        if weighted:
            self.weights = nn.Parameter(_orthogonal(weighted, size))
            self.weighted_site = Site("weighted keys", layer)
        if positions:
            self.table = nn.Parameter(torch.randn(2 * positions - 1, size) * 0.02)
        self.scores_site = Site("scores", layer)
        self.dropout = nn.Dropout(dropout)
        self.probabilities_site = Site("softmax", layer)
        self.context_site = Site("context", layer)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, H, L, e) three times -> (B, H, L, e)."""
        length = q.shape[-2]
        if self.weighted:
            plain, last = k.split((k.shape[1] - self.weighted, self.weighted), dim=1)
            last = self.weighted_site(torch.einsum("bhle,hef->bhlf", last, self.weights))
            k = torch.cat((plain, last), dim=1)
        scores = torch.matmul(q, k.transpose(-1, -2))
        if self.positions:
            place = torch.arange(length, device=q.device)
            rows = self.table[place[:, None] - place + self.positions - 1]
            scores = scores + torch.einsum("bhle,lre->bhlr", q, rows)
        scores = self.scores_site(scores) / math.sqrt(self.size)
        if self.past is not None:
            scores = scores.masked_fill(self._hidden(length, q.device), -math.inf)
        probabilities = self.probabilities_site(self.dropout(scores.softmax(-1)))
        return self.context_site(torch.matmul(probabilities, v))

    def _hidden(self, length: int, device: torch.device) -> Tensor:
        ones = torch.ones(length, length, dtype=torch.bool, device=device)
        future = ones.triu(1)
        return future | ones.tril(-self.past) if self.past else future


def _orthogonal(heads: int, size: int) -> Tensor:
    """Matrices that keep the length of keys, so that training starts from a dot product."""
    return torch.stack([torch.linalg.qr(torch.randn(size, size))[0] for _ in range(heads)])


class Fourier(nn.Module):
    """Real part of the two-dimensional Fourier transform of the values, orthonormal."""

    def __init__(self, size: int, length: int, layer: int | None) -> None:
        super().__init__()
        cos, sin = _waves(length)
        self.register_buffer("tokens", torch.cat((cos, -sin), dim=1), persistent=False)
        self.register_buffer("channels", torch.cat(_waves(size), dim=1), persistent=False)
        self.channels_site = Site("dft along heads", layer)
        self.tokens_site = Site("dft along tokens", layer)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The values' transform; queries and keys have no part in it."""
        along = self.channels_site(torch.matmul(v, self.channels))
        real, imaginary = along.chunk(2, dim=-1)
        mixed = torch.matmul(self.tokens, torch.cat((real, imaginary), dim=-2))
        return self.tokens_site(mixed)


def _waves(n: int) -> tuple[Tensor, Tensor]:
    place = torch.arange(n, dtype=torch.float64)
    angle = -2.0 * math.pi * torch.outer(place, place) / n
    return tuple((wave / math.sqrt(n)).float() for wave in (angle.cos(), angle.sin()))


class Cosine(nn.Module):
    """Two-dimensional cosine transform of the values, orthonormal."""

    def __init__(self, size: int, length: int, layer: int | None) -> None:
        super().__init__()
        self.register_buffer("tokens", _cosines(length), persistent=False)
        self.register_buffer("channels", _cosines(size).T.contiguous(), persistent=False)
        self.channels_site = Site("dct along heads", layer)
        self.tokens_site = Site("dct along tokens", layer)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The values' transform; queries and keys have no part in it."""
        along = self.channels_site(torch.matmul(v, self.channels))
        return self.tokens_site(torch.matmul(self.tokens, along))


def _cosines(n: int) -> Tensor:
    place = torch.arange(n, dtype=torch.float64)
    matrix = torch.cos(math.pi / n * torch.outer(place, place + 0.5)) * math.sqrt(2.0 / n)
    matrix[0] /= math.sqrt(2.0)
    return matrix.float()


class Convolution(nn.Module):
    """Span-based dynamic convolution: kernels made of keys and queries, applied to the values."""

    def __init__(self, heads: int, size: int, kernel: int, layer: int | None) -> None:
        super().__init__()
        self.kernel = kernel
        bound = 1.0 / math.sqrt(size)
        self.depthwise = nn.Parameter(_uniform(1.0 / math.sqrt(kernel), heads, size, kernel))
        self.pointwise = nn.Parameter(_uniform(bound, heads, size, size))
        self.pointwise_bias = nn.Parameter(torch.zeros(heads, 1, size))
        self.generator = nn.Parameter(_uniform(bound, heads, size, kernel))
        self.generator_bias = nn.Parameter(torch.zeros(heads, 1, kernel))
        self.values = nn.Parameter(_uniform(bound, heads, size, size))
        self.values_bias = nn.Parameter(torch.zeros(heads, 1, size))
        self.pointwise_site = Site(f"c{kernel} pointwise", layer)
        self.kernel_site = Site(f"c{kernel} kernel", layer)
        self.softmax_site = Site(f"c{kernel} softmax", layer)
        self.values_site = Site(f"c{kernel} values", layer)
        self.application_site = Site(f"c{kernel} application", layer)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, H, L, e) three times -> (B, H, L, e)."""
        # Taps are element-wise work here, as the simulator has them on its vector unit.
        taps = (self._spans(k) * self.depthwise[:, None]).sum(-1)
        keys = torch.einsum("bhle,hef->bhlf", taps, self.pointwise) + self.pointwise_bias
        mixed = self.pointwise_site(keys) * q
        kernels = torch.einsum("bhle,hef->bhlf", mixed, self.generator) + self.generator_bias
        kernels = self.softmax_site(self.kernel_site(kernels).softmax(-1))
        v = self.values_site(torch.einsum("bhle,hef->bhlf", v, self.values) + self.values_bias)
        return self.application_site((self._spans(v) * kernels[..., None, :]).sum(-1))

    def _spans(self, x: Tensor) -> Tensor:
        """(B, H, L, e) -> (B, H, L, e, kernel): what lies around each position."""
        half = self.kernel // 2
        return functional.pad(x, (0, 0, half, half)).unfold(2, self.kernel, 1)


def _uniform(bound: float, *shape: int) -> Tensor:
    return (torch.rand(shape) * 2.0 - 1.0) * bound
