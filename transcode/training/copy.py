"""A model in training: module, optimizer and pruning, stepped and saved as one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from elector.describe.model import Model
from transcode.dynaprop import DynaProp, TopK
from transcode.dynaprop.thresholds import Threshold
from transcode.training.build import build
from transcode.training.lora import adapt
from transcode.training.settings import Settings
from transcode.training.task import DataSplit, Measured, Task

#: Query and value projections of all layers, and what the layers' parameters begin with.
PROJECTIONS = r"layers\.\d+\.attention\.(query|value)"
LAYERS = r"layers\."
#: Steps between two looks at the densities: they change slowly, and looking takes time.
RECORD = 5
#: Largest norm of all gradients together, and decay of AdamW.
CLIP, DECAY = 1.0, 0.01


class Copy:
    """One copy of the model; `low` freezes its layers beside low-rank pairs.

    A step's dropout follows from the seed and the step's number alone, so that a run that was
    interrupted goes on as if it had not been.
    """

    def __init__(
        self,
        settings: Settings,
        model: Model,
        task: Task,
        *,
        low: bool = False,
        start: dict[str, Any] | None = None,
    ) -> None:
        self.settings, self.model, self.task, self.low = settings, model, task, low
        self.module: nn.Module = build(model, task, dropout=settings.dropout, seed=settings.seed)
        if start is not None:
            self.module.load_state_dict(start)
        if low:
            adapt(self.module, PROJECTIONS, LAYERS, settings.seed)
        trained = [p for p in self.module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            trained, lr=settings.learning_rate, weight_decay=DECAY, fused=True
        )
        tau_i: Threshold = settings.tau_i if settings.top_k_i is None else TopK(settings.top_k_i)
        tau_t: Threshold = settings.tau_t if settings.top_k_t is None else TopK(settings.top_k_t)
        self.prop = DynaProp(self.module, tau_i, tau_t, record=0 if low else RECORD)

    def step(self, number: int, x: torch.Tensor, y: torch.Tensor) -> float:
        """Optimizer step `number` (from 0) on a batch; the loss before it.

        Where the loss is not finite nothing is updated.

        x, y : examples and targets of the batch, as the task has them.
        """
        torch.manual_seed((self.settings.seed * 1_000_003 + number) % (1 << 63))
        self.module.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(number)
        self.optimizer.zero_grad(set_to_none=True)
        self.prop.restart_peak()
        with self.prop:
            loss = self.task.loss(self.module(x), y)
            value = float(loss.detach())
            if not math.isfinite(value):
                return value
            loss.backward()
        self.prop.step()
        trained = self.optimizer.param_groups[0]["params"]
        nn.utils.clip_grad_norm_(trained, CLIP)
        self.optimizer.step()
        return value

    def measure(self, split: DataSplit) -> Measured:
        """Score and loss on a split, activations pruned as in training."""
        with self.prop:
            return self.task.evaluate(self.module, split)

    def watched(self) -> torch.Tensor:
        """The first layer's [Wq|Wv], copied."""
        parts = [
            self.module.get_submodule(f"layers.0.attention.{name}") for name in ("query", "value")
        ]
        return torch.cat([part.weight.detach().clone() for part in parts])

    @property
    def peak(self) -> int:
        """Most bytes that saved activations took at once in the last step."""
        return self.prop.peak_saved_bytes

    @property
    def dense_peak(self) -> int:
        """What that would have been had the same tensors been kept as they are."""
        return self.prop.dense_peak_saved_bytes

    def rows(self, accuracy: float | None = None) -> list[dict[str, object]]:
        """The sparsity table of the steps so far (not of a low copy, which records nothing).

        accuracy : the score that the rows carry, None for none.
        """
        return self.prop.sparsity_rows(
            model=self.model.name, task=self.task.name, seed=self.settings.seed, accuracy=accuracy
        )

    def finite(self) -> bool:
        """Whether every parameter is a number."""
        return all(bool(torch.isfinite(p).all()) for p in self.module.parameters())

    def state(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "pruning": self.prop.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from `state`."""
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.prop.load_state_dict(state["pruning"])


def summary(rows: Sequence[Mapping[str, object]]) -> dict[str, float]:
    """Mean density of each operand over the operations of a sparsity table.

    rows : of the table.
    """
    densities: dict[str, list[float]] = {}
    for row in rows:
        densities.setdefault(str(row["operand"]), []).append(float(str(row["density"])))
    return {kind: sum(values) / len(values) for kind, values in sorted(densities.items())}
