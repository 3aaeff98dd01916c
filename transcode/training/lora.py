"""Low-rank training: frozen projections with a trainable pair of thin matrices beside them.

    y = W x + (alpha / r) B A dropout(x),    A: r x in, B: out x r, B = 0 at first

(Hu et al. 2021, arXiv 2106.09685.) As HpT trains its low-parameter phase: r 8, alpha 64, dropout
.1, on the query and value projections of all layers; everything outside the layers (embeddings,
dimension reduction, heads) is trained fully, everything else inside them is frozen.
"""

from __future__ import annotations

import math
import re

import torch
from torch import nn

from elector.base.errors import InputError

RANK, ALPHA, DROPOUT = 8, 64.0, 0.1


class LowRank(nn.Module):
    """A linear layer, frozen, and its low-rank pair; (..., in) -> (..., out)."""

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        alpha: float,
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if rank < 1 or rank > min(base.in_features, base.out_features):
            raise InputError(
                "must lie between 1 and the width of the projection", field="rank", value=rank
            )
        self.base, self.scale = base, alpha / rank
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        self.dropout = nn.Dropout(dropout)
        bound = 1.0 / math.sqrt(base.in_features)
        with torch.no_grad():
            self.down.weight.uniform_(-bound, bound, generator=generator)
            self.up.weight.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As the projection, with the pair's part added."""
        added: torch.Tensor = self.up(self.down(self.dropout(x)))
        return self.base(x) + self.scale * added


def matching(module: nn.Module, pattern: str) -> list[str]:
    """Names of the linear layers that the regular expression matches as a whole.

    module : the model. pattern : of names.
    """
    names = [
        name
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear) and re.fullmatch(pattern, name)
    ]
    if not names:
        known = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)]
        raise InputError("matches no projection", field="pattern", value=pattern, allowed=known)
    return names


def adapt(
    module: nn.Module,
    pattern: str,
    layers: str,
    seed: int,
    rank: int = RANK,
) -> nn.Module:
    """Changes `module` in place: freezes its layers and adapts the projections that match.

    pattern : regular expression over names of linear layers (query and value projections).
    layers : regular expression over names of parameters; those that match from their start are
        frozen, all others stay trainable.
    """
    names = matching(module, pattern)
    for name, parameter in module.named_parameters():
        if re.match(layers, name):
            parameter.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed % (1 << 63))
    for name in names:
        above, _, last = name.rpartition(".")
        base = module.get_submodule(name)
        assert isinstance(base, nn.Linear)
        pair = LowRank(base, rank, ALPHA, DROPOUT, generator)
        setattr(module.get_submodule(above), last, pair)
    return module


def trainable_share(module: nn.Module) -> float:
    """Share of the parameters that are trained, low-rank pairs counted on both sides.

    module : the model.
    """
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return sum(n for n, trained in sizes if trained) / sum(n for n, _ in sizes)
