"""Accuracy of a transformer from published scores: a small Bayesian regression per task.

In come features of designs (layers, hidden, heads ...), out come a mean and a standard deviation
for each. A new score is a row of data/accuracy, a new source a class as in `source`.

Scores and predictions are in percent points as published (SST-2 "93.0"; correlations x 100).
The score is moved to an unbounded scale and is linear there:

    eta = logit((score - floor) / (100 - floor)) = a + b size + c size^2 + offsets + noise

`size` is the logarithm of the encoder's (decoder's) weights, layers (4 hidden^2 + 2 hidden
feed_forward), less what a shape wastes of them. The rows cannot tell depth from width, nor see the
number of heads: that comes from studies that varied the shape (`shape_effects`). Offsets are what
the architecture did not do: a better pre-training recipe, distillation, the test instead of the dev
set, untuned fine-tuning, fewer tokens. They are fitted as zero-mean effects and are zero in a
prediction, which therefore stands for the protocol that the task's table states. Outside the hull
of the rows in depth and width the mean falls back to the family's and the deviation grows.

The method was chosen by cross-validation against plain ridge, a Gaussian process and boosted
stumps; docs/accuracy.md has the figures and the rows that were left out, with reasons.
Bayesian linear regression: Bishop, Pattern Recognition and Machine Learning, 2006, ch. 3.
"""

from transcode.accuracy.pruning import CurvePrices, priced, pruning_prices
from transcode.accuracy.published_scores import FEATURES, PublishedScore, ScoredTask, rows
from transcode.accuracy.recipe import format_cost
from transcode.accuracy.source import AccuracySource, WithFormat, source_of, text_of
from transcode.accuracy.source_settings import AccuracySettings
from transcode.accuracy.surrogate_model import (
    CrossValidation,
    ScoreSurrogate,
    cross_validate,
    find_task,
    leave_out,
    surrogate,
    tasks,
)

__all__ = [
    "FEATURES",
    "AccuracySettings",
    "AccuracySource",
    "CrossValidation",
    "CurvePrices",
    "PublishedScore",
    "ScoreSurrogate",
    "ScoredTask",
    "WithFormat",
    "cross_validate",
    "find_task",
    "format_cost",
    "leave_out",
    "priced",
    "pruning_prices",
    "rows",
    "source_of",
    "surrogate",
    "tasks",
    "text_of",
]
