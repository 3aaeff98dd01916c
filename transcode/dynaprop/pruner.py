"""DynaProp: hooks on the modules of a model, thresholds over steps, records, checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from elector.base.errors import InputError
from transcode.dynaprop.names import places
from transcode.dynaprop.place import MatchedModule, Tracked, quantile
from transcode.dynaprop.products import WatchedProducts
from transcode.dynaprop.prune import Prune, drop
from transcode.dynaprop.records import Record, Sums, table_rows
from transcode.dynaprop.saved import Ledger, Saver
from transcode.dynaprop.site import Site
from transcode.dynaprop.thresholds import (
    Missed,
    Schedule,
    TargetDensity,
    TargetMissed,
    Threshold,
    TopK,
    checked,
    prunes,
    scaled,
    threshold,
)


class DynaProp:
    """Prunes activations and propagated gradients of a module while it is entered.

        pruner = DynaProp(model, tau_i=0.05, tau_t=1e-4)
        with pruner:
            for x, y in data:
                loss(model(x), y).backward()
                pruner.step()
                optimizer.step()

    Parameters
    ----------
    module : any torch.nn.Module.
    tau_i, tau_t : thresholds of activations and of gradients: a number, a Schedule, a
        TargetDensity, or a TopK. Gradients are those of the loss as it is propagated: see
        `gradient_scale`.
    patterns : fnmatch patterns of module names; None: all Sites, or else every nn.Linear.
    prune_parameter_gradients : `step` drops small elements of parameters' gradients, too.
    compress : keep saved tensors as values and bitmask where that is smaller.
    record : measure densities (True, or every how many steps).

    Raises InputError for thresholds that are negative or not finite, and for a pattern that
    matches no module.
    """

    def __init__(
        self,
        module: nn.Module,
        tau_i: Threshold = 0.0,
        tau_t: Threshold = 0.0,
        patterns: Sequence[str] | None = None,
        prune_parameter_gradients: bool = False,
        compress: bool = True,
        record: bool | int = False,
    ) -> None:
        self.module = module
        self._i, self._t = threshold(tau_i, "tau_i"), threshold(tau_t, "tau_t")
        self.prune_parameter_gradients = prune_parameter_gradients
        self._every = int(checked(int(record), "record"))
        self._matched = places(module, patterns)
        self._step = 0
        self._scale = 1.0
        self._entered = 0
        self._open: ExitStack | None = None
        self._handles: list[Any] = []
        self.active = self.traced = False
        self._graphs = 0
        self._sums = Sums()
        self.products: WatchedProducts | None = None
        self.watch: Callable[..., Tensor] | None = None
        self.ledger = Ledger()
        self._saver = Saver(self.ledger, compress)
        for place in self.places:
            place.forward_target = _tracked(self._i)
            place.backward_target = _tracked(self._t)
        if self._every or any(place.watched for place in self.places):
            # Loads the compiler, to keep out of it.
            from transcode.dynaprop.watch import watched

            self.watch = watched
        self._prepare()

    @property
    def places(self) -> list[MatchedModule]:
        """The matched operations."""
        return [place for _, place in self._matched]

    @property
    def idle(self) -> list[str]:
        """Names of matched modules that have never run: whoever holds them calls no forward."""
        return [place.name for place in self.places if not place.ran]

    @property
    def tau_i(self) -> float | TopK | None:
        """Threshold of activations in this step; None where each place has its own."""
        return _now(self._i, self._step)

    @property
    def tau_t(self) -> float | TopK | None:
        """Threshold of gradients in this step; None where each place has its own."""
        return _now(self._t, self._step)

    @property
    def gradient_scale(self) -> float:
        """What the loss is multiplied with (a gradient scaler's scale): tau_t goes with it."""
        return self._scale

    @gradient_scale.setter
    def gradient_scale(self, value: float) -> None:
        self._scale = checked(value, "gradient_scale")
        self._prepare()

    @property
    def saved_bytes(self) -> int:
        """Bytes of saved tensors that wait for a backward pass now (parameters left out)."""
        return self.ledger.held

    @property
    def peak_saved_bytes(self) -> int:
        """Most of them at once since `restart_peak`."""
        return self.ledger.peak

    @property
    def dense_peak_saved_bytes(self) -> int:
        """What that would have been without compression, from the same tensors."""
        return self.ledger.dense_peak

    def restart_peak(self) -> None:
        """Peaks count anew."""
        self.ledger.restart()

    def __enter__(self) -> DynaProp:
        self._entered += 1
        if self._entered > 1:
            return self
        self._attach()
        self._saver.spare(self.module.parameters())
        with ExitStack() as stack:
            stack.enter_context(
                torch.autograd.graph.saved_tensors_hooks(self._saver.pack, self._saver.unpack)
            )
            if self._every and any(isinstance(module, Site) for module, _ in self._matched):
                self.products = WatchedProducts([*self.module.parameters(), *self.module.buffers()])
                stack.enter_context(self.products)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._entered -= 1
        if self._entered == 0 and self._open is not None:
            self._open.close()
            self._open = self.products = None
            self.active = False
            if not self.traced:
                self.detach()

    def detach(self) -> None:
        """Takes the hooks off the module. Leaving the `with` block does so, unless
        torch.compile has seen them: compiled code notices hooks that sleep, but not new ones."""
        for handle in self._handles:
            handle.remove()
        self._handles, self.traced = [], False

    def _attach(self) -> None:
        self.active = True
        if self._handles:
            return
        self._handles = [
            module.register_forward_hook(_Hook(self, place)) for module, place in self._matched
        ]
        graphs = _compiled_graphs()
        if graphs > self._graphs:
            # What was compiled without hooks would go on without them.
            torch._dynamo.reset()
        self._graphs = graphs

    def step(self) -> None:
        """Ends a step, after its backward pass and before the optimizer.

        Parameters' gradients are pruned (if asked for), densities recorded, and thresholds moved.
        Raises TargetMissed where a strict target has not been reached within its patience.
        """
        if self.prune_parameter_gradients:
            self._prune_parameters()
        if self._records_now:
            self._sums.close(self._step)
        for place in self.places:
            for tracked in (place.forward_target, place.backward_target):
                if tracked is not None:
                    tracked.close()
        if self.products is not None:
            self.products.seen.clear()
        self._step += 1
        self._prepare()
        late = [m for m in self.missed() if self._patience(m) <= self._step and self._strict(m)]
        if late:
            raise TargetMissed(late, self._step)

    def missed(self) -> list[Missed]:
        """Places that have not come near their target density so far."""
        return [m for place in self.places for m in place.missed()]

    def records(self) -> list[Record]:
        """What has been measured, in order of steps."""
        return list(self._sums.records)

    def sparsity_rows(
        self, *, model: str, task: str, seed: int | None = None, accuracy: float | None = None
    ) -> list[dict[str, object]]:
        """Rows of the sparsity table that `elector simulate --sparsity` takes.

        Densities are means over all recorded steps. Thresholds that were not fixed stay empty,
        which means any. Operations that are not pruned follow as dense, assumed.

        task, seed, accuracy : what the columns of these names say in every row.
        """
        if not self._sums.total:
            raise InputError(
                "nothing was recorded",
                field="record",
                hint="DynaProp(..., record=True) and at least one step()",
            )
        return table_rows(
            self._sums.total,
            {
                "model": model,
                "task": task,
                "seed": seed,
                "accuracy": accuracy,
                "tau_i": self._i if isinstance(self._i, float) else None,
                "tau_t": self._t if isinstance(self._t, float) else None,
            },
        )

    def state_dict(self) -> dict[str, Any]:
        """Step, tracked thresholds and sums of densities; records of single steps as tuples."""
        return {
            "step": self._step,
            "gradient_scale": self._scale,
            "targets": {
                place.name: [
                    t.state() if t else None for t in (place.forward_target, place.backward_target)
                ]
                for place in self.places
            },
            "total": [[*key, *sums] for key, sums in self._sums.total.items()],
            "records": [
                (r.step, r.phase, r.operation, r.layer, r.operand, r.density)
                for r in self._sums.records
            ],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state`. Raises InputError where it belongs to other places."""
        names = [place.name for place in self.places]
        if sorted(state["targets"]) != sorted(names):
            raise InputError(
                "the checkpoint was made with other modules pruned",
                field="patterns",
                value=sorted(state["targets"])[:3],
                allowed=names,
            )
        self._step, self._scale = int(state["step"]), float(state["gradient_scale"])
        for place in self.places:
            own = (place.forward_target, place.backward_target)
            for tracked, saved in zip(own, state["targets"][place.name], strict=True):
                if tracked is not None and saved is not None:
                    tracked.load(saved)
        self._sums.total = {tuple(row[:4]): list(row[4:]) for row in state["total"]}
        self._sums.records = [Record(*row) for row in state["records"]]
        self._prepare()

    @property
    def _records_now(self) -> bool:
        return bool(self._every) and self._step % self._every == 0

    def _prepare(self) -> None:
        """Thresholds of the step to come."""
        tau_i, tau_t = self.tau_i, self.tau_t
        for place in self.places:
            place.tau_i = 0.0 if tau_i is None else tau_i
            place.tau_t = 0.0 if tau_t is None else tau_t
            place.scale = self._scale
            place.recording = self._sums if self._records_now else None

    def _prune_parameters(self) -> None:
        for p in self.module.parameters():
            if p.grad is not None and not p.grad.is_sparse:
                tau = self.tau_t
                if tau is None:
                    assert isinstance(self._t, TargetDensity)
                    tau = quantile(p.grad, 1.0 - self._t.density)
                else:
                    tau = scaled(tau, self._scale)
                p.grad.copy_(drop(p.grad, tau))

    def _target(self, m: Missed) -> TargetDensity:
        target = self._i if m.operand == "output" else self._t
        assert isinstance(target, TargetDensity)
        return target

    def _patience(self, m: Missed) -> int:
        return self._target(m).patience

    def _strict(self, m: Missed) -> bool:
        return self._target(m).strict


class _Hook:
    """The forward hook of one place; a copy of the module does not take the pruner along."""

    def __init__(self, pruner: DynaProp, place: MatchedModule) -> None:
        self.pruner, self.place = pruner, place

    def __deepcopy__(self, memo: object) -> _Inert:
        return _Inert()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return _Inert, ()

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        if not self.pruner.active:
            return output
        if torch.compiler.is_compiling():
            self.pruner.traced = True
        if isinstance(output, tuple):
            return (self._pruned(module, inputs, output[0]), *output[1:]) if output else output
        return self._pruned(module, inputs, output)

    def _pruned(self, module: nn.Module, inputs: tuple[Any, ...], x: Any) -> Any:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            return x
        place = self.place
        if place.watched:
            assert self.pruner.watch is not None
            return self.pruner.watch(self.pruner.products, place, module, inputs, x)
        place.ran = True
        tau_t = scaled(place.tau_t, place.scale)
        if not (prunes(place.tau_i) or prunes(tau_t)):
            return x
        return Prune.apply(x, place.tau_i, tau_t, None)


class _Inert:
    """A hook that does nothing."""

    def __call__(self, module: nn.Module, inputs: object, output: object) -> None:
        return None


def _compiled_graphs() -> int:
    """Graphs that torch.compile has made in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return 0 if dynamo is None else int(dynamo.counters["stats"]["unique_graphs"])


def _tracked(given: Threshold) -> Tracked | None:
    return Tracked(given) if isinstance(given, TargetDensity) else None


def _now(given: Threshold, step: int) -> float | TopK | None:
    if isinstance(given, TargetDensity):
        return None
    return given.at(step) if isinstance(given, Schedule) else given
