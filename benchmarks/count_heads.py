"""Products and parameters of each FlexiBERT 2.0 head type, counted in the modules we train.

    python benchmarks/count_heads.py > tests/data/head_counts.csv

Four heads of 12 on 2 x 16 tokens, with RoBERTa's 514 positions. Counted are the matrix
products that `torch.utils.flop_counter.FlopCounterMode` sees (floating-point operations / 2)
of what stands between the projections and the output, without depthwise taps, which are
element-wise work here. The transforms are checked against torch.fft on the way.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from transcode.training.heads import Convolution, Cosine, DotProducts, Fourier

BATCH, HEADS, LENGTH, SIZE, POSITIONS = 2, 4, 16, 12, 514


def fourier(v: Tensor) -> Tensor:
    """The transform by torch.fft, scaled so that it keeps lengths."""
    return torch.fft.fft2(v, norm="ortho").real


def cosine(v: Tensor) -> Tensor:
    """The cosine transform of both axes as the Fourier transform of a mirrored signal."""
    for axis in (-1, -2):
        n = v.shape[axis]
        phase = torch.exp(-0.5j * math.pi * torch.arange(n) / n)
        moved = v.transpose(axis, -1)
        spectrum = torch.fft.fft(torch.cat((moved, moved.flip(-1)), dim=-1))[..., :n]
        spectrum = (spectrum * phase).real * math.sqrt(0.5 / n)
        spectrum = torch.cat((spectrum[..., :1] * math.sqrt(0.5), spectrum[..., 1:]), dim=-1)
        v = spectrum.transpose(axis, -1)
    return v


def main() -> None:
    """Print the table."""
    heads: dict[str, nn.Module] = {
        "sdp": DotProducts(SIZE, None, positions=POSITIONS),
        "wma": DotProducts(SIZE, None, positions=POSITIONS, weighted=HEADS),
        "dft": Fourier(SIZE, LENGTH, None),
        "dct": Cosine(SIZE, LENGTH, None),
        **{f"c{n}": Convolution(HEADS, SIZE, n, None) for n in (5, 9, 13)},
    }
    transforms = {"dft": fourier, "dct": cosine}
    print("head,batch,length,heads,size,macs,parameters")
    for name, head in heads.items():
        q, k, v = torch.randn(3, BATCH, HEADS, LENGTH, SIZE)
        with FlopCounterMode(display=False) as counter:
            result = head(q, k, v)
        assert result.shape == q.shape
        if name in transforms:
            assert torch.allclose(result, transforms[name](v), atol=1e-5)
        parameters = sum(p.numel() for p in head.parameters())
        macs = counter.get_total_flops() // 2
        print(f"{name},{BATCH},{LENGTH},{HEADS},{SIZE},{macs},{parameters}")


if __name__ == "__main__":
    main()
