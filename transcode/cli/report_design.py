"""What `transcode show` prints: a design, its results, and how it is simulated again."""

from __future__ import annotations

from typing import Any

import click

from elector.base import quantity
from elector.cli import text
from elector.evaluation.settings import field_of
from transcode.cli.report import shown as result_shown
from transcode.runs.design import Design
from transcode.space import registry_of


def shown(found: Design, format: str) -> None:
    """The design as a table with the commands, or as a row with the names of front.csv."""
    if format == "json":
        text.as_json(found.as_row() | {"commands": _commands(found)})
        return
    if format == "csv":
        text.as_csv([found.as_row()])
        return
    known = registry_of(found.space)
    state = "feasible" if found.feasible else f"not feasible: {found.reason or 'no reason kept'}"
    click.echo(text.paragraph(f"design {found.id} of {found.folder}, {state}"))
    cells = [[name, _setting(name, value)] for name, value in found.settings.items()]
    click.echo("\nsettings\n" + text.table(cells, right=(), fold=(1,)))
    values = [
        [name, "-" if value is None else result_shown(name, value, known)]
        for name, value in found.results.items()
    ]
    click.echo("\nresults\n" + text.table(values, right=(1,)))
    for name, commands in _commands(found).items():
        click.echo(f"\nthe same{f', {name}' if name else ''}")
        click.echo(_wrapped(commands["simulate"]))
    click.echo(
        "\n"
        + text.paragraph(
            "elector explain ... --result energy_j and elector trace ... --out trace.json take the "
            f"same words; transcode show {found.folder} {found.id} --yaml is a space of it."
        )
    )


def _wrapped(command: str) -> str:
    """A command over lines that a shell joins."""
    first, *rest = command.split(" --set ")
    lines = [first]
    for word in (f"--set {word}" for word in rest):
        if len(lines[-1]) + len(word) < text.WIDTH - 6:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "  " + " \\\n      ".join(lines)


def _commands(found: Design) -> dict[str, dict[str, str]]:
    """Workload -> what is done -> the command."""
    return {
        workload: {
            "simulate": found.command(workload),
            "explain": found.command(workload, "explain", "--result", "energy_j"),
            "trace": found.command(workload, "trace", "--out", "trace.json"),
        }
        for workload in found.workloads
    }


def _setting(name: str, value: Any) -> str:
    field = field_of(name)
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, int | float):
        return str(value)
    return quantity.show(float(value), field.unit if field is not None and field.unit else "1")


def as_yaml(found: Design) -> str:
    """A space of this design only, with what it cost as a comment."""
    import yaml

    known = registry_of(found.space)
    lines = [f"# design {found.id} of {found.folder}"]
    lines += [
        f"# {name}: {result_shown(name, value, known)}"
        for name, value in found.results.items()
        if value is not None
    ]
    for workload in found.workloads:
        lines.append(f"# {found.command(workload)}")
    body = yaml.safe_dump(found.as_space(), sort_keys=False, allow_unicode=True)
    return "\n".join([*lines, body])
