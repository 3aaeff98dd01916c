"""Small models that learn the tasks in seconds on one thread: where a user and a sweep start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from elector.base.errors import InputError
from transcode.training.task import Task

#: Two layers of 64, which is little enough for one thread.
ENCODER: Mapping[str, int] = {
    "model.layers": 2,
    "model.hidden": 64,
    "model.heads": 4,
    "model.feed_forward": 128,
}
#: A Llama of that size: rotary positions learn text sooner than learned ones.
DECODER: Mapping[str, int] = {
    "model.layers": 2,
    "model.hidden": 64,
    "model.heads": 4,
    "model.kv_heads": 4,
    "model.head_size": 16,
    "model.feed_forward": 96,
}


@dataclass(frozen=True)
class TrainingRecipe:
    """How a task is learned.

    model, settings : what `elector simulate MODEL --set KEY=VALUE` takes, too.
    steps, batch : steps of training and examples of each.
    learning_rate : its peak, between the warm-up and the fall of transcode.training.settings.
    weight_decay : of AdamW. dropout : share of activations set to zero in training.
    """

    model: str
    settings: Mapping[str, int]
    steps: int
    batch: int
    learning_rate: float
    weight_decay: float = 0.01
    dropout: float = 0.1


RECIPES: Mapping[str, TrainingRecipe] = {
    "digits": TrainingRecipe("encoder", ENCODER, 700, 32, 2e-3),
    "digits-tokens": TrainingRecipe("encoder", ENCODER, 500, 32, 2e-3),
    "co2": TrainingRecipe("encoder", ENCODER, 500, 16, 2e-3, dropout=0.0),
    "elnino": TrainingRecipe("encoder", ENCODER, 400, 32, 2e-3),
    "sunspots": TrainingRecipe("encoder", ENCODER, 300, 32, 2e-3),
    "climate": TrainingRecipe("encoder", ENCODER, 400, 32, 2e-3),
    "docstrings": TrainingRecipe("llama-2-7b", DECODER, 600, 16, 5e-3, dropout=0.0),
}
_KINDS = {"classification": "digits", "forecast": "elnino", "language": "docstrings"}


def recipe(task: Task) -> TrainingRecipe:
    """The recipe of a task, or for a user's own file that of the task most like it.

    Its batch is never larger than the training part. Raises InputError for a task without
    examples to train on.
    """
    if not task.train.size:
        raise InputError("has nothing to train on", field="task", value=task.name)
    usual = RECIPES.get(task.name) or RECIPES[_KINDS[task.kind]]
    return replace(usual, batch=min(usual.batch, task.train.size))
