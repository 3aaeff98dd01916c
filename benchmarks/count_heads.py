"""Products and parameters of each FlexiBERT 2.0 head type, counted on a small PyTorch build.

    python benchmarks/count_heads.py > tests/data/head_counts.csv

Four heads of 12 on 2 x 16 tokens. Counted are the matrix products that
`torch.utils.flop_counter.FlopCounterMode` sees (floating-point operations / 2) of what stands
between the projections and the output, without depthwise taps, which are element-wise work
here. The transforms are checked against torch.fft on the way.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

BATCH, HEADS, LENGTH, SIZE = 2, 4, 16, 12


class Attention(nn.Module):
    """Scaled dot product; `weighted` passes the keys of each head through a matrix."""

    def __init__(self, weighted: bool) -> None:
        super().__init__()
        if weighted:
            self.weight = nn.Parameter(torch.randn(HEADS, SIZE, SIZE))

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if "weight" in self._parameters:
            k = torch.einsum("bhle,hef->bhlf", k, self.weight)
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(SIZE)
        return torch.matmul(scores.softmax(-1), v)


class Fourier(nn.Module):
    """Real part of the two-dimensional transform of the values, as products."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        def waves(n: int) -> tuple[Tensor, Tensor]:
            angle = -2.0 * math.pi * torch.outer(torch.arange(n), torch.arange(n)) / n
            return torch.cos(angle), torch.sin(angle)

        along = torch.matmul(v, torch.cat(waves(SIZE), dim=1))
        real, imaginary = along.split(SIZE, dim=-1)
        cos, sin = waves(LENGTH)
        both = torch.cat((cos, -sin), dim=1)
        found = torch.matmul(both, torch.cat((real, imaginary), dim=-2))
        assert torch.allclose(found, torch.fft.fft2(v).real, atol=1e-3)
        return found


class Cosine(nn.Module):
    """Two-dimensional cosine transform of the values."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        def matrix(n: int) -> Tensor:
            middle = torch.arange(n) + 0.5
            return torch.cos(math.pi / n * torch.outer(torch.arange(n), middle))

        return torch.matmul(matrix(LENGTH), torch.matmul(v, matrix(SIZE).T))


class Convolution(nn.Module):
    """Span-based dynamic convolution of one kernel."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        heads = range(HEADS)
        self.depthwise = nn.ParameterList(torch.randn(SIZE, 1, kernel) for _ in heads)
        self.pointwise = nn.ModuleList(nn.Linear(SIZE, SIZE) for _ in heads)
        self.generator = nn.ModuleList(nn.Linear(SIZE, kernel) for _ in heads)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        found = []
        for h in range(HEADS):
            half = self.kernel // 2
            spans = functional.pad(k[:, h], (0, 0, half, half)).unfold(1, self.kernel, 1)
            taps = (spans * self.depthwise[h][:, 0]).sum(-1)  # element-wise work
            kernels = self.generator[h](self.pointwise[h](taps) * q[:, h]).softmax(-1)
            values = functional.pad(v[:, h], (0, 0, half, half)).unfold(1, self.kernel, 1)
            found.append((values * kernels[:, :, None]).sum(-1))
        return torch.stack(found, dim=1)


def main() -> None:
    """Print the table."""
    heads = {
        "sdp": Attention(False), "wma": Attention(True), "dft": Fourier(), "dct": Cosine(),
        "c5": Convolution(5), "c9": Convolution(9), "c13": Convolution(13),
    }
    print("head,batch,length,heads,size,macs,parameters")
    for name, head in heads.items():
        q, k, v = torch.randn(3, BATCH, HEADS, LENGTH, SIZE)
        with FlopCounterMode(display=False) as counter:
            assert head(q, k, v).shape == q.shape
        parameters = sum(p.numel() for p in head.parameters())
        macs = counter.get_total_flops() // 2
        print(f"{name},{BATCH},{LENGTH},{HEADS},{SIZE},{macs},{parameters}")


if __name__ == "__main__":
    main()
