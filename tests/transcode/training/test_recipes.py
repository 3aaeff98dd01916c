"""Recipes: one for every task, small, and good enough to be worth simulating."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elector.base.errors import InputError
from transcode.training.recipes import RECIPES, recipe
from transcode.training.tasks import list_tasks, load_task

pytestmark = pytest.mark.extras("torch", "sklearn", "statsmodels")


def test_every_task_has_a_recipe_of_its_own() -> None:
    assert list(RECIPES) == list_tasks()


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_recipe_builds(name: str) -> None:
    from transcode.training.build import build, described

    task = load_task(name)
    chosen = recipe(task)
    assert chosen == RECIPES[name] and chosen.batch <= task.train.size
    module = build(described(chosen.model, chosen.settings), task, dropout=chosen.dropout)
    assert sum(p.numel() for p in module.parameters()) < 120_000


def test_a_users_file_gets_the_recipe_of_the_task_most_like_it(tmp_path: Path) -> None:
    table = tmp_path / "few.csv"
    table.write_text("a\n" + "\n".join(f"{np.sin(i):.3f}" for i in range(72)) + "\n")
    task = load_task(str(table), sequence_length=20, horizon=3)
    assert task.train.size < RECIPES["elnino"].batch
    assert recipe(task).batch == task.train.size
    assert recipe(task).model == RECIPES["elnino"].model
    text = tmp_path / "book.txt"
    text.write_text("A line of words that goes on and on.\n" * 100)
    assert recipe(load_task(str(text))) == RECIPES["docstrings"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rule", "steps"),
    [
        ("digits", "nearest mean", 400),
        ("docstrings", "bigram", 250),
        ("elnino", "last season", 250),
    ],
)
def test_a_recipe_beats_a_cheap_rule(name: str, rule: str, steps: int) -> None:
    import torch

    from transcode.training.build import build, described

    task, chosen = load_task(name), RECIPES[name]
    module = build(described(chosen.model, chosen.settings), task, dropout=chosen.dropout)
    optimizer = torch.optim.AdamW(module.parameters(), lr=chosen.learning_rate / 2)
    torch.manual_seed(0)
    for x, y in task.batches(size=chosen.batch, steps=steps):
        loss = task.loss(module(torch.from_numpy(x)), torch.from_numpy(y))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    assert task.evaluate(module, task.test).score > task.baselines[rule]


def test_an_empty_task_is_refused() -> None:
    from dataclasses import replace

    from transcode.training.task import DataSplit

    task = load_task("elnino")
    empty = replace(task, train=DataSplit(task.train.x[:0], task.train.y[:0]))
    with pytest.raises(InputError, match="nothing to train on"):
        recipe(empty)
