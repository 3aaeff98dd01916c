"""BOSHCODE: few, slow, noisy evaluations, the next found by the gradient of what is expected.

After Tuli and Jha (TransCODE, arXiv 2303.14882, 2023; BOSHNAS in FlexiBERT, 2022): a surrogate that
knows both its own ignorance and the scatter of the answers; a step of gradients from known designs
to the input that promises most (mean and half a deviation), of which the nearest design is taken;
now and then the design it knows least about, or one unlike all others; and, where the answers
scatter, the same design again if that is what decides which is best. Several objectives are made
one by weights that are drawn anew for every proposal (Knowles, ParEGO, 2006). Unlike the original
the surrogate is an ensemble, whose disagreement has a gradient by itself, and not a network with a
teacher and a student; and the designs around the nearest one are looked at, too.

Axes: D designs known, C candidates, S parameters, F features, O objectives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from transcode.engines.base import Finished, Learner, table_of
from transcode.engines.boshcode.heteroscedastic import Ensemble, Forecast, one_thread
from transcode.objective import Outcome

#: Designs drawn evenly before anything is concluded; then proposed of one fit.
FIRST, BATCH = 24, 4
#: Shares of proposals of which least is known, and that are unlike all others.
UNSURE, UNLIKE = 0.1, 0.1
#: Deviations that are hoped for.
HOPE = 0.5
#: What the sum of all counts beside the worst objective (Knowles).
_SUM = 0.05
#: Inputs that gradients start from, best known and even ones; steps of Adam and their size.
_BEST, _EVEN, _STEPS, _RATE = 8, 24, 30, 0.1
#: Draws to look at beside, designs whose neighbours are, neighbours of each, and rounds of that.
_DRAWS, _PARENTS, _NEIGHBOURS, _ROUNDS = 128, 8, 24, 2
#: At most this share of all evaluations are a design again, and no scatter that is so small a part
#: of the spread of all answers is worth it.
AGAIN, _MATTERS = 0.25, 0.02
#: What is believed of the predicted scatter before anything was asked again: as of so many answers.
_BELIEVED = 2.0
#: Digits that decide between candidates: others differ from processor to processor.
_DIGITS = 6

#: (C, ...) forecast -> (C,) what is to be as large as possible.
Wish = Callable[[Forecast], torch.Tensor]


@dataclass
class Boshcode(Learner):
    """What is known, and the surrogate of it.

    scatters : whether a design that is asked for again may be answered differently; where it is
    not, as with a simulator, none is.
    """

    scatters: bool = False
    again: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.feasible = np.zeros(0, dtype=bool)

    def suggest(self, count: int) -> np.ndarray:
        """A small batch of new designs, at most `count`; where answers scatter, one again."""
        rng = np.random.default_rng([self.seed, self.batch])
        self.batch += 1
        if (begun := self._first(count, FIRST)) is not None:
            return begun
        if np.count_nonzero(self.feasible) < 2:
            return self._less_broken(min(count, BATCH), rng)
        with one_thread():
            surrogate = self._learnt()
            if (row := self._in_doubt(surrogate)) is not None:
                self.again += 1
                return self.codes[[row]]
            parts = [self._proposal(surrogate, rng) for _ in range(min(count, BATCH))]
        proposed = np.concatenate(parts)
        return proposed if len(proposed) else self._strangers(1)

    def _less_broken(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Designs around those that break the constraints by least: too few hold them to learn of.

        Designs that cannot run, of which nothing is known, come last.
        """
        order = np.lexsort((np.round(self.violation, _DIGITS), ~self.feasible))
        pool = self._fresh(self._neighbours(self.codes[order[:_PARENTS]], rng))
        chosen = rng.permutation(len(pool))[:count]
        return self._remembered(pool[chosen]) if len(pool) else self._strangers(1)

    # ---- the surrogate

    @cached_property
    def _tables(self) -> list[tuple[int, np.ndarray]]:
        """Column of each parameter that varies, and what its codes count as, (V, size)."""
        return [
            (column, table_of(parameter))
            for column, parameter in enumerate(self.space.parameters)
            if parameter.size > 1
        ]

    def features(self, codes: np.ndarray) -> np.ndarray:
        """(C, F) of (C, S) codes."""
        parts = [table[:, codes[:, column]] for column, table in self._tables]
        return np.ascontiguousarray(np.concatenate(parts).T)

    def nearest(self, inputs: np.ndarray) -> np.ndarray:
        """(C, S) codes of the designs next to (C, F) inputs, each parameter by itself."""
        codes = np.zeros((len(inputs), len(self.space.parameters)), dtype=np.int32)
        start = 0
        for column, table in self._tables:
            own = inputs[:, start : start + len(table)]
            far = ((own[:, :, None] - table) ** 2).sum(axis=1)
            codes[:, column] = np.argmin(far, axis=1)
            start += len(table)
        return self.space.canonical(codes)

    def scaled(self) -> np.ndarray:
        """(D, O) objectives of mean 0 and variance 1 over what is feasible; costs by logarithm."""
        known = self.values[self.feasible]
        wide = (known > 0).all(axis=0) & (known.max(axis=0) > 3.0 * known.min(axis=0))
        plain = np.where(self.feasible[:, None], self.values, 1.0)
        bent = np.where(wide, np.log(np.where(wide, plain, 1.0)), plain)
        spread = bent[self.feasible].std(axis=0)
        middle = bent[self.feasible].mean(axis=0)
        return (bent - middle) / np.where(spread > 0, spread, 1.0)

    def _learnt(self) -> Ensemble:
        """A surrogate of all that is known, always begun anew: it depends on nothing else."""
        features = self.features(self.codes)
        surrogate = Ensemble(features.shape[1], self.objectives, self.seed * 10_007 + self.batch)
        surrogate.learn(features, self.scaled(), self.feasible)
        return surrogate

    # ---- the next design

    def _proposal(self, surrogate: Ensemble, rng: np.random.Generator) -> np.ndarray:
        """(1, S), or none where nothing new is near."""
        kind, weights = rng.random(), rng.dirichlet(np.ones(self.objectives))
        if kind < UNLIKE:
            return self._remembered(self._unlike(rng))
        wish = _unsure if kind < UNLIKE + UNSURE else _hopeful(torch.from_numpy(weights))
        worth = np.where(self.feasible, _made_one(torch.from_numpy(self.scaled()), weights), np.inf)
        best = self.codes[np.argsort(worth, kind="stable")[:_BEST]]
        start = np.concatenate([best, self._even(_EVEN, rng)])
        inputs = self._climbed(surrogate, wish, self.features(start))
        pool = np.concatenate([self.nearest(inputs), self._even(_DRAWS, rng)])
        for _ in range(_ROUNDS):
            pool = self._fresh(np.concatenate([pool, self._neighbours(best, rng)]))
            with torch.no_grad():
                wished = wish(surrogate.forecast(torch.from_numpy(self.features(pool))))
            order = np.argsort(-np.round(wished.numpy(), _DIGITS), kind="stable")
            best = pool[order[:_PARENTS]]
        return self._remembered(best[:1])

    def _even(self, count: int, rng: np.random.Generator) -> np.ndarray:
        return self.space.from_unit(rng.random((count, len(self.space.parameters))))

    def _fresh(self, codes: np.ndarray) -> np.ndarray:
        """Those of (C, S) designs that are allowed and were never proposed, each once."""
        codes = codes[self.space.allowed(codes)]
        return codes[self.seen.new(self.space.key(codes))]

    def _neighbours(self, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Each of (C, S) designs several times, with one to three parameters drawn anew."""
        around = np.repeat(codes, _NEIGHBOURS, axis=0)
        sizes = np.array([p.size for p in self.space.parameters])
        free = np.flatnonzero(sizes > 1)
        rank = np.argsort(rng.random((len(around), len(free))), axis=1)
        changed = np.zeros(around.shape, dtype=bool)
        changed[:, free] = rank < rng.integers(1, 4, len(around))[:, None]
        anew = (rng.random(around.shape) * sizes).astype(np.int32)
        return self.space.canonical(np.where(changed, anew, around))

    def _unlike(self, rng: np.random.Generator) -> np.ndarray:
        """(1, S) the one of many draws that is farthest from all that is known."""
        pool = self._fresh(self._even(_DRAWS, rng))
        far = [
            ((self.features(self.codes) - own) ** 2).sum(axis=1).min()
            for own in self.features(pool)
        ]
        return pool[np.argsort(-np.array(far), kind="stable")[:1]]

    def _in_doubt(self, surrogate: Ensemble) -> int | None:
        """Row of the design to ask for again: which of the best two is better is not known.

        Answers are compared by their means; that of a design asked for n times scatters by the
        predicted deviation over the root of n.
        """
        if not self.scatters or self.objectives > 1 or self.again >= AGAIN * len(self.codes):
            return None
        rows = np.flatnonzero(self.feasible)
        _, first, which, often = np.unique(
            self.space.key(self.codes[rows]),
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        if len(first) < 2:
            return None
        answers = self.scaled()[rows, 0]
        means = np.bincount(which, answers) / often
        with torch.no_grad():
            known = torch.from_numpy(self.features(self.codes[rows[first]]))
            scatter = surrogate.forecast(known).aleatoric[:, 0].numpy()
        scatter = scatter * _borne_out(answers - means[which], scatter[which], often)
        one, two = np.argsort(means, kind="stable")[:2]
        doubt = float(np.sqrt(scatter[one] / often[one] + scatter[two] / often[two]))
        if doubt < max(_MATTERS, means[two] - means[one]):
            return None
        return int(rows[first[one if often[one] <= often[two] else two]])

    def _climbed(self, surrogate: Ensemble, wish: Wish, start: np.ndarray) -> np.ndarray:
        """(C, F) inputs from (C, F) ones along the gradient of what is wished for."""
        tables = [table for _, table in self._tables]
        low, high = (
            torch.from_numpy(np.concatenate([end(table, axis=1) for table in tables]))
            for end in (np.min, np.max)
        )
        inputs = torch.from_numpy(start.copy()).requires_grad_()
        moving = torch.optim.Adam([inputs], lr=_RATE)
        for _ in range(_STEPS):
            moving.zero_grad()
            loss = -wish(surrogate.forecast(inputs)).sum()
            loss.backward()
            moving.step()
            with torch.no_grad():
                inputs.clamp_(low, high)
        return inputs.detach().numpy()

    # ---- what became of designs

    def update(self, codes: np.ndarray, outcome: Outcome) -> None:
        """Learns a batch."""
        finite = np.isfinite(outcome.objectives).all(axis=1)
        self.codes = np.concatenate([self.codes, codes])
        self.values = np.concatenate([self.values, outcome.objectives])
        fits = finite & (outcome.violation <= 0.0)
        self.feasible = np.concatenate([self.feasible, fits])
        broken = np.where(np.isfinite(outcome.violation) & finite, outcome.violation, np.inf)
        self.violation = np.concatenate([self.violation, broken])

    def state(self) -> dict[str, object]:
        """Where the strangers stand, and how often it asked again."""
        return super().state() | {"again": self.again}

    def resume(self, batch: Finished) -> None:
        """Learns a finished batch."""
        super().resume(batch)
        self.again = int(str(batch.state["again"]))


def _made_one(values: torch.Tensor, weights: np.ndarray | torch.Tensor) -> torch.Tensor:
    """(C,) of (C, O) objectives: the worst weighted one, and a little of their sum."""
    weighted = values * torch.as_tensor(weights)
    return weighted.max(dim=1).values + _SUM * weighted.sum(dim=1)


def _hopeful(weights: torch.Tensor) -> Wish:
    """Small objectives, half a deviation better than expected, and likely to be feasible."""
    return lambda f: f.chance - _made_one(f.mean - HOPE * f.deviation, weights)


def _unsure(forecast: Forecast) -> torch.Tensor:
    """What is not known, of designs that are likely to be feasible."""
    return forecast.deviation.sum(dim=1).log() + forecast.chance


def _borne_out(apart: np.ndarray, predicted: np.ndarray, often: np.ndarray) -> float:
    """What repeated answers scatter by, as a multiple of the variance that is predicted.

    apart : (A,) answers less their design's mean. predicted : (A,) variance of each. often : (D,)
    answers of each design.
    """
    further = float((often - 1).sum())
    return float((_BELIEVED + (apart**2 / predicted).sum()) / (_BELIEVED + further))
