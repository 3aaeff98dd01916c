"""The source `scaling-law`: loss of a decoder from its parameters and the tokens it is trained on.

    L(N, D) = E + A / N^alpha + B / D^beta      [nats per token]

N counts all parameters, embeddings included; D tokens seen once. Laws: `hoffmann` (Hoffmann et
al. 2022, arXiv 2203.15556, approach 3) and its refit `besiroglu` (Besiroglu et al. 2024, arXiv
2404.10102). Both were fitted on MassiveText with its tokenizer. Another tokenizer scales the loss
of a token, another text shifts it: `data: pile` is offset + scale L, fitted on published losses
(data/accuracy/losses.csv). That cross-validates better than an offset alone.

A law of N alone calls one wide layer as good as a well-shaped decoder. What a shape adds to the
loss at a given number of weights is that of Kaplan et al. 2020 (transcode.accuracy.shape_effects)
over that of the shapes the laws were fitted on; a better shape than those is not credited.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from elector.base.errors import InputError
from transcode.accuracy.published_scores import DATA, FEATURES
from transcode.accuracy.shape_effects import LogShapes, shape_effects

#: Tokens per parameter where nothing is said: the compute-optimal ratio of Hoffmann et al.
RATIO = 20.0
#: What the refit's authors state for E, the only constant whose error does not cancel against
#: another's (A with alpha, B with beta); used for both laws. Recalled, not read.
E_STD = 0.03
#: Layers, hidden, heads and feed-forward width that stand for the shapes of the fitted models.
USUAL = (24.0, 2048.0, 32.0, 8192.0)
#: Share of what a shape adds to the loss that is uncertain: the studies of it were read second-hand
#: and differ by about as much.
UNSURE = 0.5


@dataclass(frozen=True)
class LawConstants:
    """E, A, B, alpha, beta of one law, and where they come from."""

    e: float
    a: float
    b: float
    alpha: float
    beta: float
    source: str

    def loss(self, parameters: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """(D,) nats per token."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.e + self.a / parameters**self.alpha + self.b / tokens**self.beta)


LAWS = {
    "hoffmann": LawConstants(1.69, 406.4, 410.7, 0.34, 0.28, "Hoffmann et al. 2022"),
    "besiroglu": LawConstants(1.82, 482.0, 2085.0, 0.348, 0.366, "Besiroglu et al. 2024"),
}


@dataclass(frozen=True)
class LawErrors:
    """How far a law is from published losses [nats per token].

    models : how many. mae_given : with the constants as given. mae_offset : of left-out models,
        where one constant is added for the text.
    offset, scale : of the map that is used. mae, rmse : of left-out models with it.
    """

    models: int
    mae_given: float
    mae_offset: float
    offset: float
    scale: float
    mae: float
    rmse: float


@dataclass(frozen=True)
class ScalingLaw:
    """Loss as a function of the number of parameters.

    tokens : trained on; or per_parameter times as many as parameters where it is None.
    """

    law: str
    data: str
    tokens: float | None
    per_parameter: float
    checked: LawErrors

    def predict(self, features: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (D,) of the loss [nats per token].

        features : parameters (D,), of the whole model; and layers, hidden, heads and feed_forward,
            each (D,), without which the shape counts as usual. The deviation holds the error on
            left-out models (for massivetext, which published no losses by model, the error of E),
            how far the two laws disagree beyond a constant, and half of what the shape adds.
        """
        parameters = np.atleast_1d(np.asarray(features["parameters"], dtype=float))
        tokens = self.per_parameter * parameters
        if self.tokens is not None:
            tokens = np.full(len(parameters), self.tokens)
        mean, apart = LAWS[self.law].loss(parameters, tokens), _disagreement(parameters, tokens)
        residual = E_STD
        if self.data == "pile":
            scale, residual = self.checked.scale, self.checked.rmse
            mean, apart = self.checked.offset + scale * mean, scale * apart
        worse = mean * shape_increase(features, len(parameters))
        return mean + worse, np.sqrt(residual**2 + apart**2 + (UNSURE * worse) ** 2)

    def describe(self) -> str:
        """What this is and how wrong it was, for the terminal."""
        amount = f"{self.per_parameter:g} tokens per parameter"
        if self.tokens is not None:
            amount = f"{self.tokens:.3g} tokens"
        c = self.checked
        error = (
            f"left-out MAE {c.mae:.2f} nats on {c.models} Cerebras-GPT losses, mapped as "
            f"{c.offset:.2f} + {c.scale:.2f} L; {c.mae_given:.2f} with the constants as given"
        )
        if self.data != "pile":
            error = (
                f"error on MassiveText not published by model; on the Pile it is "
                f"{c.mae_given:.2f} nats off"
            )
        return (
            f"loss ({self.data}): {LAWS[self.law].source}, {amount}; {error}\n"
            "  stands for: a dense decoder, one epoch, a tuned learning rate; nats per token of "
            "the text's tokenizer"
        )

    def record(self) -> dict[str, object]:
        """For the manifest."""
        entries: dict[str, object] = {"source": "scaling-law", "law": self.law, "data": self.data}
        return entries | {k: float(v) for k, v in vars(self.checked).items()}


def shape_increase(features: Mapping[str, np.ndarray], size: int) -> np.ndarray:
    """(D,) share that shapes add to the loss beyond that of USUAL ones; 0 where none is given."""
    if any(key not in features for key in FEATURES):
        return np.zeros(size)
    columns = np.broadcast_arrays(*(np.asarray(features[k], dtype=float) for k in FEATURES))
    usual = LogShapes.of(*(np.array([value]) for value in USUAL))
    effects = shape_effects()
    increase = effects.loss_increase(LogShapes.of(*columns)) - effects.loss_increase(usual)
    return np.maximum(increase, 0.0)


def scaling_law(
    law: str, data: str, tokens: float | None, per_parameter: float | None
) -> ScalingLaw:
    """The law of a name, with the error it was checked to have.

    per_parameter : tokens of training for each parameter; None for the usual ratio.
    """
    if law not in LAWS:
        raise InputError("unknown law", field="accuracy.law", value=law, allowed=tuple(LAWS))
    return ScalingLaw(law, data, tokens, per_parameter or RATIO, check(law))


@cache
def published_losses() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters, tokens and Pile test losses [nats per token] of Cerebras-GPT, each (7,)."""
    rows = [row for row in records() if row["loss"]]
    columns = ([float(row[key]) for row in rows] for key in ("parameters", "tokens", "loss"))
    parameters, tokens, loss = (np.array(column) for column in columns)
    return parameters, tokens, loss


@cache
def records() -> tuple[dict[str, str], ...]:
    """The rows of data/accuracy/losses.csv."""
    with open(DATA / "losses.csv", newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


@cache
def check(law: str) -> LawErrors:
    """The law against published losses on the Pile; models left out one at a time."""
    parameters, tokens, truth = published_losses()
    raw = LAWS[law].loss(parameters, tokens)
    shifted, scaled = [], []
    for i in range(len(truth)):
        kept = np.arange(len(truth)) != i
        shifted.append(raw[i] + float(np.mean(truth[kept] - raw[kept])) - truth[i])
        scaled.append(float(np.polyval(np.polyfit(raw[kept], truth[kept], 1), raw[i])) - truth[i])
    scale, offset = np.polyfit(raw, truth, 1)
    return LawErrors(
        models=len(truth),
        mae_given=float(np.mean(np.abs(raw - truth))),
        mae_offset=float(np.mean(np.abs(shifted))),
        offset=round(float(offset), 6),
        scale=round(float(scale), 6),
        mae=float(np.mean(np.abs(scaled))),
        rmse=round(float(np.sqrt(np.mean(np.square(scaled)))), 6),
    )


def _disagreement(parameters: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """(D,) half of what the two laws differ by, beyond their mean difference where they were
    checked."""
    first, second = LAWS["hoffmann"], LAWS["besiroglu"]
    known = published_losses()[:2]
    usual = float(np.mean(first.loss(*known) - second.loss(*known)))
    apart = first.loss(parameters, tokens) - second.loss(parameters, tokens)
    return np.asarray(0.5 * np.abs(apart - usual))


def transfer(law: str, fitted_on: str, asked_of: str) -> tuple[float, int]:
    """Mean error [points] of LAMBADA accuracy predicted from the law's loss, and how many rows.

    logit(accuracy) = a + b loss, fitted on one family of decoders and asked of the other: how
    far a law carries from family to family. Rows under ten billion tokens are left out.

    fitted_on, asked_of : names of families of decoders.
    """
    loss, logit, family = [], [], []
    for row in records():
        tokens = float(row["tokens"])
        if tokens < 1e10 and row["family"] == "pythia":
            continue
        share = float(row["lambada"]) / 100.0
        loss.append(float(LAWS[law].loss(np.array(float(row["parameters"])), np.array(tokens))))
        logit.append(float(np.log(share / (1.0 - share))))
        family.append(row["family"])
    own, other = (np.array([f == name for f in family]) for name in (fitted_on, asked_of))
    x, y = np.array(loss), np.array(logit)
    guess = np.polyval(np.polyfit(x[own], y[own], 1), x[other])
    points = [100.0 / (1.0 + np.exp(-v)) for v in (guess, y[other])]
    return float(np.mean(np.abs(points[0] - points[1]))), int(other.sum())
