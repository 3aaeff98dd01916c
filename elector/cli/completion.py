"""What a shell offers when Tab is pressed; everything is imported when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem


def models(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    """Shipped models."""
    from elector.describe.formats import list_models

    return [name for name in list_models() if name.startswith(text)]


def accelerators(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    """Shipped accelerators."""
    from elector.evaluation.accelerators import list_accelerators

    return [name for name in list_accelerators() if name.startswith(text)]


def names(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    """Shipped models and accelerators."""
    return [*models(ctx, param, text), *accelerators(ctx, param, text)]


def choices(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    """Values of a workload option."""
    from elector.base.table import schema

    choices = schema("workload")[str(param.name)].choices
    return [choice for choice in choices if choice.startswith(text)]


def keys(ctx: click.Context, param: click.Parameter, text: str) -> list[CompletionItem]:
    """Settings, as `--set` takes them."""
    from click.shell_completion import CompletionItem

    from elector.evaluation.settings import known_keys

    names = [f"{space}.{key}=" for space, keys in known_keys().items() for key in keys]
    return [CompletionItem(name) for name in names if name.startswith(text)]
