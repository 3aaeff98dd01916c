"""What few, noisy designs say of others, how sure that is, and how much the answers scatter.

An ensemble of networks, each trained on its own draw of the designs (Lakshminarayanan et al.,
Simple and Scalable Predictive Uncertainty, 2017), which predict a mean and a variance of every
objective (Nix and Weigend, 1994; weighted as Seitzer et al., On the Pitfalls of Heteroscedastic
Uncertainty, 2022, so that designs that scatter get a mean at all). The members' disagreement is
what is not known (epistemic), the variance that they predict is the scatter of the answers
(aleatoric). Both have gradients by the input. Everything is 64-bit, on one thread, and drawn from
its own seed.

Axes: N designs known, C candidates, F features, O objectives, E members.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

#: Networks, hidden units of each of two layers, steps of Adam and their size.
MEMBERS, HIDDEN, STEPS, RATE = 5, 32, 150, 0.01
#: Pull of the weights towards zero, as of so many designs.
_PRIOR = 0.3
#: Bounds of the logarithm of a variance, of objectives of variance 1; it begins in the middle.
_LEAST, _MOST = -7.0, 1.0


@dataclass(frozen=True)
class Forecast:
    """What is expected of C candidates, of objectives of mean 0 and variance 1.

    mean, epistemic, aleatoric : (C, O), the last two variances. chance : (C,) log probability to
    be feasible.
    """

    mean: torch.Tensor
    epistemic: torch.Tensor
    aleatoric: torch.Tensor
    chance: torch.Tensor

    @property
    def deviation(self) -> torch.Tensor:
        """(C, O) of both uncertainties together."""
        return torch.sqrt(self.epistemic + self.aleatoric)


class Ensemble:
    """The networks. seed : of their weights and of the designs each learns from, any whole number.

    torch takes 63 bits of it.
    """

    def __init__(self, features: int, objectives: int, seed: int) -> None:
        self.objectives = objectives
        self.draws = torch.Generator().manual_seed(seed % (1 << 63))
        sizes = (features, HIDDEN, HIDDEN, 2 * objectives + 1)
        self.weights = [
            self._normal(MEMBERS, before, after) / np.sqrt(before)
            for before, after in pairwise(sizes)
        ]
        self.offsets = [torch.zeros(MEMBERS, 1, after, dtype=torch.float64) for after in sizes[1:]]
        for part in (*self.weights, *self.offsets):
            part.requires_grad_()

    def _normal(self, *sizes: int) -> torch.Tensor:
        return torch.randn(*sizes, generator=self.draws, dtype=torch.float64)

    def _out(self, x: torch.Tensor) -> torch.Tensor:
        """(E, C, 2 O + 1) of (C, F) features."""
        inside = x.expand(MEMBERS, *x.shape)
        for place, (weight, offset) in enumerate(zip(self.weights, self.offsets, strict=True)):
            inside = inside @ weight + offset
            if place < len(self.weights) - 1:
                inside = torch.tanh(inside)
        return inside

    def _parts(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(E, C, O) mean, (E, C, O) log variance and (E, C) log odds to be feasible."""
        out, o = self._out(x), self.objectives
        scale = torch.sigmoid(out[..., o : 2 * o])
        return out[..., :o], _LEAST + (_MOST - _LEAST) * scale, out[..., 2 * o]

    def learn(self, x: np.ndarray, y: np.ndarray, feasible: np.ndarray) -> None:
        """Trains all members.

        x : (N, F). y : (N, O) objectives of mean 0 and variance 1, anything where not feasible.
        feasible : (N,) bool.
        """
        with one_thread():
            known, answers = torch.from_numpy(x), torch.from_numpy(np.where(_wide(feasible), y, 0))
            fits = torch.from_numpy(feasible.astype(np.float64))
            rates = torch.ones(MEMBERS, len(x), dtype=torch.float64)
            often = torch.poisson(rates, generator=self.draws)
            moving = torch.optim.Adam([*self.weights, *self.offsets], lr=RATE)
            for _ in range(STEPS):
                moving.zero_grad()
                loss = self._loss(known, answers, fits, often)
                loss.backward()
                moving.step()

    def _loss(
        self, x: torch.Tensor, y: torch.Tensor, fits: torch.Tensor, often: torch.Tensor
    ) -> torch.Tensor:
        """Negative log likelihood of a design, summed over the members.

        y : (N, O). fits : (N,) 1 where feasible. often : (E, N) times a member sees a design.
        """
        mean, log, odds = self._parts(x)
        each = 0.5 * (log + (y - mean) ** 2 * torch.exp(-log)) * torch.exp(0.5 * log).detach()
        answered = (each.sum(dim=2) * fits * often).sum(dim=1)
        judged = torch.nn.functional.binary_cross_entropy_with_logits(
            odds, fits.expand_as(odds), weight=often, reduction="none"
        ).sum(dim=1)
        small = sum((weight**2).sum(dim=(1, 2)) for weight in self.weights)
        return ((answered + judged + 0.5 * _PRIOR * small) / len(x)).sum()

    def forecast(self, x: torch.Tensor) -> Forecast:
        """What is expected of (C, F) features; it has gradients by them."""
        mean, log, odds = self._parts(x)
        return Forecast(
            mean.mean(dim=0),
            mean.var(dim=0, unbiased=False),
            torch.exp(log).mean(dim=0),
            torch.nn.functional.logsigmoid(odds).mean(dim=0),
        )


def _wide(mask: np.ndarray) -> np.ndarray:
    return mask[:, None]


@contextmanager
def one_thread() -> Iterator[None]:
    """The same sums in the same order, whatever the machine; networks so small gain nothing."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
