"""Whether a space's accuracies mean something: a task, and a price for all that changes them.

A setting is accuracy-neutral only if its schema says so. Any other may be searched, or fixed at
what the accuracy rows were not measured with, only where the accuracy source prices it; else a
search would find that 1-bit inputs, 8 tokens and one key/value head cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from elector.base.errors import InputError
from elector.base.table import schema
from elector.evaluation import perplexity
from transcode.accuracy import find_task, priced
from transcode.accuracy.recipe import MeasuredWith, accuracy_class, format_prices, measured_with
from transcode.accuracy.source_settings import QUANTITIES
from transcode.accuracy.user_rows import setting_columns
from transcode.space.codes import Space
from transcode.space.resolved import (
    ResolvedSetting,
    accelerator_settings,
    base_settings,
    follows,
    model_settings,
    workload_settings,
)

Fail = Callable[..., InputError]
#: Sizes that the features of a model hold, and so every source that knows models.
SIZES = ("model.layers", "model.hidden", "model.heads", "model.feed_forward")
#: What else a model trained here is built with.
BUILT = ("model.kv_heads", "model.head_size")
#: Tables without thresholds: nothing can be trained with them.
UNTRAINED = ("dense", "acceltran", "acceltran-released")
_THRESHOLDS = ("workload.tau_i", "workload.tau_t")
_PRUNING = ("workload.sparsity", *_THRESHOLDS)


def check(space: Space, fail: Fail) -> None:
    """What an accuracy needs, and what must not change it without a price."""
    _check_names(space, fail)
    _check_perplexity(space, fail)
    if not space.uses_accuracy:
        return
    task = _task(space)
    if not task and space.accuracy.source != "scaling-law":
        raise fail("an accuracy needs a task", "workload.task", hint="workload: {task: sst2}")
    if any(p.name == "workload.task" and p.size > 1 for p in space.parameters):
        raise fail("accuracies of different tasks do not compare: fix it", "workload.task")
    try:
        settings = [
            *model_settings(space),
            *accelerator_settings(space),
            *workload_settings(space),
        ]
    except InputError as error:
        raise error.at(file=space.source) from None
    kinds = _kinds(space, task)
    source = _Prices(space)
    asked = [s for s in settings if not s.neutral and s.name not in (*_PRUNING, "workload.task")]
    for setting in asked:
        source.check_searched(setting, _measured(setting, kinds, task), fail)
    if not any(s.is_format and source.prices(s.name) for s in asked):
        _check_alternatives(space, fail)
    for setting in asked:
        source.check_fixed(setting, _measured(setting, kinds, task), bool(kinds), fail)
    _check_pruning(space, fail)
    _check_bases(space, kinds, fail)


def number_formats(space: Space) -> tuple[str, ...]:
    """Number formats that the accelerators of a space compute in, each once."""
    names = [str(v) for s in accelerator_settings(space) if s.is_format for v in s.values]
    return tuple(dict.fromkeys(names))


def _check_names(space: Space, fail: Fail) -> None:
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


def _check_perplexity(space: Space, fail: Fail) -> None:
    """With the objective perplexity_increase, formats without a published score are refused."""
    if not any(name.rpartition(".")[2] == "perplexity_increase" for name in space.named):
        return
    for key in perplexity.SETTINGS:
        given = [
            (p.name, v) for p in space.parameters if p.name == f"workload.{key}" for v in p.values
        ]
        given += [
            (f"workloads.{name}.{key}", settings[f"workload.{key}"])
            for name, settings in space.workloads.items()
            if f"workload.{key}" in settings
        ]
        for where, value in given:
            if value != "native" and not perplexity.priced(key, str(value)):
                names = schema("workload")[key].choices
                raise fail(
                    "no published score says what it does to the perplexity",
                    where,
                    value=value,
                    allowed=[name for name in names if perplexity.priced(key, name)],
                )


def _task(space: Space) -> str:
    return next((str(p.values[0]) for p in space.parameters if p.name == "workload.task"), "")


def _kinds(space: Space, task: str) -> tuple[str, ...]:
    """Kinds of the recipe that apply: what the rows are of, none where they are the user's own."""
    if space.accuracy.source == "scaling-law":
        return ("decoder",)
    known = find_task(task)
    return (known.kind,) if known and known.kind and space.accuracy.source != "trained" else ()


def _measured(setting: ResolvedSetting, kinds: tuple[str, ...], task: str) -> MeasuredWith | None:
    """What the rows were measured with; None where nothing is said of this setting."""
    if setting.name == "workload.sequence_length":
        known = find_task(task) if kinds else None
        if known:
            return MeasuredWith(known.sequence_length)
    if setting.trains:
        kinds = ("training", *kinds)
    values = measured_with(setting.schema, setting.key, *kinds)
    if values is None and setting.schema == "model":  # a key that files have, too
        return measured_with("model_file", setting.key, *kinds)
    return values


class _Prices:
    """Which settings the accuracy source of a space prices, and what is refused."""

    def __init__(self, space: Space) -> None:
        self.space, self.source = space, space.accuracy.source
        self.columns: tuple[str, ...] = ()
        if self.source == "table" and space.accuracy.rows is not None:
            self.columns = setting_columns(space.accuracy.rows)

    def prices(self, name: str) -> bool:
        """Whether the source tells what `name` does to the accuracy."""
        built = (*SIZES, *BUILT) if self.source == "trained" else SIZES
        return name in built or name.startswith("model.layer") or name in self.columns

    def check_searched(
        self, setting: ResolvedSetting, measured: MeasuredWith | None, fail: Fail
    ) -> None:
        """Refuses a setting that takes several values, and one that workloads set apart."""
        if setting.name in self.columns and setting.workload:
            raise fail("one model has one accuracy: set it under workload", setting.where)
        follows_others = measured is not None and measured.relation and follows(self.space, setting)
        if setting.searched and not follows_others and not self.prices(setting.name):
            self.refuse(setting, fail, "fix it, or leave out the objective accuracy")

    def check_fixed(
        self, setting: ResolvedSetting, measured: MeasuredWith | None, known: bool, fail: Fail
    ) -> None:
        """Refuses a value that the accuracy rows were not measured with.

        known : whether the rows are published ones; of the user's own only the user knows more.
        """
        if self.prices(setting.name):
            return
        if setting.is_format:
            wrong = [v for v in setting.values if str(v) not in format_prices()]
            words = ", ".join(format_prices())
        elif measured is None:
            users = not known and setting.schema in ("model", "workload")
            wrong = [] if users else [v for v in setting.values if v != setting.usual]
            words = "that of their models" if setting.usual is None else str(setting.usual)
        elif measured.relation:
            wrong = [] if follows(self.space, setting) else list(setting.values)
            words = measured.words
        else:
            # without a value it follows another setting, which is looked at itself
            wrong = [v for v in setting.values if v is not None and not measured.holds(v)]
            words = measured.words
        if wrong:
            self.refuse(
                setting,
                fail,
                f"the accuracy rows were measured with {words}: set that, or leave out the "
                "objective accuracy",
                wrong[0],
            )

    def refuse(self, setting: ResolvedSetting, fail: Fail, what: str, *value: object) -> None:
        """Raises the InputError that says which source could price the setting."""
        hints = []
        if setting.name in BUILT:
            hints.append("accuracy: {source: trained}, which trains with it")
        hints.append(
            f"accuracy: {{source: table}}, with rows that have a column {setting.name}, prices it"
        )
        shown = value[0] if value else list(setting.values)
        raise fail(
            f"changes the accuracy, and no accuracy source prices it: {what}",
            setting.where,
            value=shown,
            hint="; or ".join(hints),
        )


def _check_alternatives(space: Space, fail: Fail) -> None:
    """All accelerators must compute in formats of one accuracy."""
    classes: dict[tuple[int, str], list[str]] = {}
    for s in accelerator_settings(space):
        if s.is_format:
            own = classes.setdefault((s.group, s.base), [])
            own += [accuracy_class(str(v)) for v in s.values]
    different = {tuple(sorted(set(own))) for own in classes.values()}
    if len(different) > 1:
        raise fail(
            "the accelerators compute in number formats of different accuracy, and no accuracy "
            "source prices that",
            "accelerator",
            value=sorted({name for own in different for name in own}),
        )


def _check_pruning(space: Space, fail: Fail) -> None:
    """Refuses pruning whose price nobody knows."""
    tables = next((p.values for p in space.parameters if p.name == "workload.sparsity"), ())
    prunable = space.accuracy.source in ("surrogate", "table")
    own = [str(table) for table in tables]
    known = len(own) == 1 and prunable and priced(own[0])
    if space.accuracy.source == "trained":  # with the thresholds themselves
        known = len(own) == 1 and own[0] not in UNTRAINED
    for p in space.parameters:
        acts = p.size > 1 or (p.name in _THRESHOLDS and p.values[0] != 0.0)
        if p.name in _PRUNING and acts and not (known and p.name in _THRESHOLDS):
            raise fail(
                "changes the accuracy, and no accuracy source prices it: fix it, or leave "
                "out the objective accuracy",
                p.name,
                value=list(p.values),
                hint="dynatran, or a table whose rows have accuracies, is priced",
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
        for key in _PRUNING:
            if settings.get(key, "dense") not in ("dense", 0.0):
                raise fail(
                    "one model has one accuracy: set it under workload",
                    f"workloads.{name}.{key.removeprefix('workload.')}",
                    value=settings[key],
                )


def _check_bases(space: Space, kinds: tuple[str, ...], fail: Fail) -> None:
    """Models must be of the kind that the rows are of, whatever file describes them.

    The rows of a table are of the user's own models, and a model that is trained is what it is.
    """
    if space.accuracy.source != "surrogate" or not kinds:
        return
    for setting in _based(space, fail):
        measured = measured_with(setting.schema, setting.key, *kinds)
        measured = measured or measured_with("model_file", setting.key, *kinds)
        value = setting.values[0]
        if measured is None:  # what the models of the rows do not have has no value there
            other, words = setting.usual == 0 and value != 0, "0"
        else:
            equal = setting.usual if measured.relation else None
            other, words = value != equal and not measured.holds(value), measured.words
        if other:
            raise fail(
                f"has {setting.key} {value}, which changes the accuracy, and no accuracy source "
                f"prices it: the accuracy rows were measured with {words}",
                "model",
                value=setting.base,
                hint="accuracy: {source: table}, with rows of such models, prices it",
            )


def _based(space: Space, fail: Fail) -> Iterator[ResolvedSetting]:
    try:
        yield from base_settings(space)
    except InputError as error:
        raise error.at(file=space.source) from None
