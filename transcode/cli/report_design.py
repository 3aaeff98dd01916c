"""What `transcode show` prints: a design, its results, and how it is simulated again."""

from __future__ import annotations

import click

from elector.cli import text
from elector.evaluation.settings import setting_shown
from transcode.cli.report import shown as result_shown
from transcode.runs.design import Design
from transcode.space import registry_of


def shown(design: Design, format: str) -> None:
    """The design as a table with the commands, or as a row with the names of front.csv."""
    if format == "json":
        text.as_json(design.as_row() | {"commands": _commands(design)})
        return
    if format == "csv":
        text.as_csv([design.as_row()])
        return
    known = registry_of(design.space)
    state = "feasible" if design.feasible else f"not feasible: {design.reason or 'no reason kept'}"
    click.echo(text.paragraph(f"design {design.id} of {design.folder}, {state}"))
    cells = [[name, setting_shown(name, value)] for name, value in design.settings.items()]
    click.echo("\nsettings\n" + text.table(cells, right=(), fold=(1,)))
    values = [
        [name, "-" if value is None else result_shown(name, value, known)]
        for name, value in design.results.items()
    ]
    click.echo("\nresults\n" + text.table(values, right=(1,)))
    for name, commands in _commands(design).items():
        click.echo(f"\nthe same{f', {name}' if name else ''}")
        click.echo(_wrapped(commands["simulate"]))
    click.echo(
        "\n"
        + text.paragraph(
            "elector explain ... --result energy_j and elector trace ... --out trace.json take the "
            f"same words; transcode show {design.folder} {design.id} --yaml is a space of it."
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


def _commands(design: Design) -> dict[str, dict[str, str]]:
    """Workload -> what is done -> the command."""
    return {
        workload: {
            "simulate": design.command(workload),
            "explain": design.command(workload, "explain", "--result", "energy_j"),
            "trace": design.command(workload, "trace", "--out", "trace.json"),
        }
        for workload in design.workloads
    }


def as_yaml(design: Design) -> str:
    """A space of this design only, with what it cost as a comment."""
    import yaml

    known = registry_of(design.space)
    lines = [f"# design {design.id} of {design.folder}"]
    lines += [
        f"# {name}: {result_shown(name, value, known)}"
        for name, value in design.results.items()
        if value is not None
    ]
    for workload in design.workloads:
        lines.append(f"# {design.command(workload)}")
    body = yaml.safe_dump(design.as_space(), sort_keys=False, allow_unicode=True)
    return "\n".join([*lines, body])
