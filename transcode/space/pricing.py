"""Whether a space's accuracies mean something: a task, and a price for all that changes them."""

from __future__ import annotations

from collections.abc import Callable

from elector.base.errors import InputError
from elector.describe.numbers import formats
from elector.evaluation.accelerators import load_accelerator
from transcode.accuracy import priced
from transcode.accuracy.settings import QUANTITIES
from transcode.space.codes import Space

Fail = Callable[..., InputError]
#: Parameters that change what the model computes, and so its accuracy.
_CHANGE_ACCURACY = (
    "workload.precision",
    "workload.tau_i",
    "workload.tau_t",
    "workload.sparsity",
    "accelerator.datapath",
)
#: Tables without thresholds: nothing can be trained with them.
UNTRAINED = ("dense", "acceltran", "acceltran-released")
_THRESHOLDS = ("workload.tau_i", "workload.tau_t")
#: Floats of so many bits, or more, are not told apart by published scores.
_WIDE = 16.0


def _formats(space: Space) -> set[str]:
    """What the accelerators compute in, as far as it matters to an accuracy."""
    section = space.sections[1]
    bases = space.parameters[section.selector].values
    found = set()
    for base, group in zip(bases, section.groups, strict=True):
        own = [
            p.values[0]
            for p in space.parameters
            if p.name == "accelerator.datapath" and p.group == group
        ]
        found.add(_accuracy_of(str(own[0]) if own else _format(str(base))))
    return found


def check(space: Space, fail: Fail) -> None:
    """What an accuracy needs, and what must not change it without a price."""
    own = space.accuracy
    for name in space.named:
        stem = next((q for q in QUANTITIES if name == q or name.startswith(f"{q}_")), None)
        if stem is not None and stem != own.quantity:
            raise fail(
                f"comes from no source here: the source {own.source} gives {own.quantity}",
                "objectives",
                value=name,
                hint="accuracy: scaling-law" if stem == "loss" else "accuracy: surrogate",
            )
    if not space.uses_accuracy:
        return
    task = any(p.name == "workload.task" for p in space.parameters)
    if not task and own.source != "scaling-law":
        raise fail("an accuracy needs a task", "workload.task", hint="workload: {task: sst2}")
    _check_changes(space, fail)
    formats = _formats(space)
    if len(formats) > 1:
        raise fail(
            "the accelerators compute in number formats of different accuracy, and no accuracy "
            "source prices that",
            "accelerator",
            value=sorted(formats),
        )
    if any(p.name == "workload.task" and p.size > 1 for p in space.parameters):
        raise fail("accuracies of different tasks do not compare: fix it", "workload.task")


def _check_changes(space: Space, fail: Fail) -> None:
    """Refuses what changes an accuracy where no source says by how much."""
    tables = next((p.values for p in space.parameters if p.name == "workload.sparsity"), ())
    prunable = space.accuracy.source in ("surrogate", "table")
    own = [str(table) for table in tables]
    known = len(own) == 1 and prunable and priced(own[0])
    if space.accuracy.source == "trained":  # with the thresholds themselves
        known = len(own) == 1 and own[0] not in UNTRAINED
    for parameter in space.parameters:
        changes = parameter.name in _CHANGE_ACCURACY and parameter.size > 1
        if changes and not (known and parameter.name in _THRESHOLDS):
            raise fail(
                "changes the accuracy, and no accuracy source prices it: fix it, or leave "
                "out the objective accuracy",
                parameter.name,
                value=list(parameter.values),
            )
    if tables and tables[0] != "dense" and not known:
        raise fail(
            "prunes, which changes the accuracy, and no accuracy source prices it: leave out "
            "the objective accuracy",
            "workload.sparsity",
            value=tables[0],
            hint="dynatran, or a table whose rows have accuracies, is priced",
        )
    for name, settings in space.workloads.items():
        for key in ("workload.sparsity", *_THRESHOLDS):
            if settings.get(key, "dense") not in ("dense", 0.0):
                raise fail(
                    "one model has one accuracy: set it under workload",
                    f"workloads.{name}.{key.removeprefix('workload.')}",
                    value=settings[key],
                )


def _format(base: str) -> str:
    """The number format that an accelerator is built for."""
    accelerator = load_accelerator(base)
    native = accelerator.machine.native
    default = accelerator.machine.fields[native].default if native else ""
    return str(accelerator.settings.get(native, default))


def _accuracy_of(number_format: str) -> str:
    """Formats of one name here give the same accuracy: floats of 16 bits and more."""
    own = formats()[number_format]
    wide = own.kind == "float" and own.bits >= _WIDE
    return "16-bit float or wider" if wide else number_format
