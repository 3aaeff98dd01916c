"""What a shell offers when Tab is pressed; everything is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem


def models(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    """Shipped models."""
    from elector.describe.formats import list_models

    return _beginning(list_models(), text)


def accelerators(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    """Shipped accelerators."""
    from elector.evaluation.accelerators import list_accelerators

    return _beginning(list_accelerators(), text)


def names(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    """Shipped models and accelerators."""
    return [*models(ctx, param, text), *accelerators(ctx, param, text)]


def models_or_price(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    """What `elector explain` takes first."""
    return [*models(ctx, param, text), *_beginning(["price"], text)]


def accelerators_or_parts(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    """What it takes then: parts of the technology behind `price`."""
    if ctx.params.get("model") != "price":
        return accelerators(ctx, param, text)
    from elector.technology import Technology

    return _beginning(Technology.load().parts, text)


def own_settings(ctx: click.Context, param: click.Parameter, text: str) -> list[CompletionItem]:
    """What `--set-for` takes: an accelerator, then a setting."""
    from click.shell_completion import CompletionItem

    machines = [CompletionItem(name) for name in accelerators(ctx, param, text)]
    return [*machines, *keys(ctx, param, text)]


def scalars(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    """Results that are one number."""
    from elector.cost.results import registry

    return _beginning([metric.name for metric in registry().scalars], text)


def groups(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    """Groups of published cases."""
    from elector.base.table import DATA
    from elector.studies.validation_cases import load_cases

    return _beginning([case.group for case in load_cases(DATA / "published.csv")], text)


def choices(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    """Values of a workload option."""
    return _values(f"workload.{param.name}", text)


def keys(ctx: click.Context, param: click.Parameter, text: str) -> list[CompletionItem]:
    """Settings, as `--set` takes them; behind the sign, their values."""
    from click.shell_completion import CompletionItem

    from elector.evaluation.settings import known_keys

    key, equals, value = text.partition("=")
    if equals:
        return [CompletionItem(f"{key}={choice}") for choice in _values(key, value)]
    names = [f"{space}.{key}=" for space, keys in known_keys().items() for key in keys]
    return [CompletionItem(name) for name in _beginning(names, text)]


def _values(name: str, text: str) -> list[str]:
    """Values of a setting that has choices."""
    from elector.evaluation.settings import field_of
    from elector.operations.sparsity import list_sparsities

    field = field_of(name)
    if field is None:
        return []
    if name == "workload.sparsity":
        return _beginning(["dense", *list_sparsities()], text)
    return _beginning(field.choices or (("true", "false") if field.type == "bool" else ()), text)


def _beginning(names: Iterable[str], text: str) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(text)]
