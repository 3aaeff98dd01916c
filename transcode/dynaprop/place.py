"""One matched operation: its thresholds, and what is seen of its tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from transcode.dynaprop.packing import nonzeros
from transcode.dynaprop.records import Sums
from transcode.dynaprop.thresholds import Missed, TargetDensity, TopK, scaled

_SAMPLE = 4096


def quantile(t: Tensor, share: float) -> float:
    """The magnitude below which `share` of the elements of `t` lie, from a sample of 4,096."""
    flat = t.detach().reshape(-1)
    part = flat[:: flat.numel() // _SAMPLE | 1].abs().float()
    rank = round(share * part.numel())
    return float(part.kthvalue(rank).values) if rank else 0.0


class Tracked:
    """A threshold that follows a target density, for one operand of one place."""

    def __init__(self, target: TargetDensity) -> None:
        self.target = target
        self.tau: float | None = None
        self.achieved: float | None = None
        self.reached = False
        self.seen: list[tuple[float, int | Tensor, int]] = []

    def look(self, t: Tensor) -> None:
        """Before pruning: the threshold that would do; the first one is taken at once.

        t : the tensor, of any shape.
        """
        wanted = quantile(t, 1.0 - self.target.density)
        if self.tau is None:
            self.tau = wanted
        self.seen.append((wanted, 0, 0))

    def pruned(self, t: Tensor) -> None:
        """After pruning: what is left.

        t : the tensor, of any shape.
        """
        wanted, _, _ = self.seen.pop()
        self.seen.append((wanted, nonzeros(t), t.numel()))

    def close(self) -> None:
        """Ends a step: threshold and density move towards what was seen."""
        seen = [(tau, int(count), elements) for tau, count, elements in self.seen if elements]
        self.seen.clear()
        if not seen:
            return
        past = self.target.momentum
        density = sum(count for _, count, _ in seen) / sum(n for _, _, n in seen)
        wanted = sum(tau for tau, _, _ in seen) / len(seen)
        assert self.tau is not None
        self.tau = past * self.tau + (1.0 - past) * wanted
        self.achieved = (
            density if self.achieved is None else (past * self.achieved + (1.0 - past) * density)
        )
        self.reached |= abs(self.achieved - self.target.density) <= self.target.tolerance

    def state(self) -> dict[str, object]:
        """Plain values for a checkpoint."""
        return {"tau": self.tau, "achieved": self.achieved, "reached": self.reached}

    def load(self, state: dict[str, object]) -> None:
        """Goes on from `state`."""
        self.tau, self.achieved = state["tau"], state["achieved"]  # type: ignore[assignment]
        self.reached = bool(state["reached"])


class MatchedModule:
    """A matched module.

    name : of the module. operation, layer : what its records are called.
    kind : linear (one activation and a parameter), scores or context (two activations), or
    none (softmax: no product of its own).
    """

    def __init__(self, name: str, operation: str, layer: int | None) -> None:
        self.name, self.operation, self.layer = name, operation, layer
        self.kind = (
            "none"
            if operation.endswith("softmax")
            else (operation if operation in ("scores", "context") else "linear")
        )
        self.tau_i: float | TopK = 0.0
        self.tau_t: float | TopK = 0.0
        self.scale = 1.0
        self.forward_target: Tracked | None = None
        self.backward_target: Tracked | None = None
        self.recording: Sums | None = None
        self.ran = False

    @property
    def watched(self) -> bool:
        """Whether anybody wants to see its tensors."""
        return (
            self.recording is not None
            or self.forward_target is not None
            or self.backward_target is not None
        )

    def enters(self, x: Tensor) -> float | TopK:
        """Before the forward pass prunes x: the threshold."""
        target = self.forward_target
        if target is None:
            return self.tau_i
        target.look(x)
        assert target.tau is not None
        return target.tau

    def leaves(self, y: Tensor) -> None:
        """After the forward pass has pruned.

        y : what leaves it, of any shape.
        """
        if self.forward_target is not None:
            self.forward_target.pruned(y)
        if self.recording is not None:
            self._note("forward", self.operation, "output", y)

    def arrives(self, g: Tensor) -> float | TopK:
        """Before the backward pass prunes g: the threshold."""
        target = self.backward_target
        if target is None:
            return scaled(self.tau_t, self.scale)
        target.look(g)
        assert target.tau is not None
        return target.tau

    def passes(self, g: Tensor) -> None:
        """After the backward pass has pruned: g enters the products."""
        if self.backward_target is not None:
            self.backward_target.pruned(g)
        if self.recording is None:
            return
        for operation in _BACKWARD[self.kind]:
            self._note("backward", operation.format(self.operation), "gradient", g)

    def consumes(self, a: Tensor, b: Tensor | None) -> None:
        """The activations of the product that has run: both of them, or one and a parameter.

        a, b : the operands, of any shape; b None for a parameter.
        """
        if self.recording is None or self.kind == "none":
            return
        for t in (a,) if b is None else (a, b):
            self._note("forward", self.operation, "activation", t)
        if self.kind == "linear":
            self._note("backward", f"{self.operation} weight gradient", "activation", a)
        elif b is not None:
            first, second = _BACKWARD[self.kind]
            # scores: dQ needs k, dK needs q; context: dV needs the probabilities, dP needs v.
            crossed = (b, a) if self.kind == "scores" else (a, b)
            self._note("backward", first, "activation", crossed[0])
            self._note("backward", second, "activation", crossed[1])

    def missed(self) -> list[Missed]:
        """Targets that no step has come near so far."""
        return [
            Missed(self.name, operand, tracked.target.density, tracked.achieved)
            for operand, tracked in (
                ("output", self.forward_target),
                ("gradient", self.backward_target),
            )
            if tracked is not None and tracked.achieved is not None and not tracked.reached
        ]

    def _note(self, phase: str, operation: str, operand: str, t: Tensor) -> None:
        assert self.recording is not None
        self.recording.add((phase, operation, self.layer, operand), nonzeros(t), t.numel())


_BACKWARD = {
    "linear": ("{} input gradient", "{} weight gradient"),
    "scores": ("query gradient", "key gradient"),
    "context": ("value gradient", "probabilities gradient"),
    "none": (),
}


def in_backward() -> bool:
    """Whether autograd is running: a forward pass within it is one done again."""
    return bool(torch._C._current_graph_task_id() != -1)
