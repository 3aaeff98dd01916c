"""`transcode`: which pair of transformer and accelerator should we build?

Each command parses, calls one function, and hands its result to report.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from elector.cli import FORMATS, INFEASIBLE, INTERRUPTED, Program
from transcode import __version__


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Search pairs of transformer models and accelerators for those that nothing beats.

    \b
    transcode search bert                   a shipped space
    transcode search my-space.yaml --time 60s
    transcode front results/bert            the front again
    transcode plot results/bert             ... as a picture
    """


def _spaces(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    """Shipped spaces and files, for shell completion."""
    from transcode.space import shipped

    files = [path.name for path in Path().glob(f"{text}*.yaml")]
    return [name for name in shipped() if name.startswith(text)] + files


@main.command()
@click.argument("space", shell_complete=_spaces)
@click.option(
    "--sampler",
    default="auto",
    metavar="NAME",
    show_default=True,
    help="How designs are proposed: auto, enumerate, random, qmc, nsga2, nsga3, tpe, gp, "
    "or module:Class for an Optuna sampler of your own.",
)
@click.option(
    "--budget",
    type=click.IntRange(min=1),
    metavar="N",
    help="Stop after so many designs, those of earlier sessions included.",
)
@click.option("--time", metavar="TIME", help="Stop after so long, such as 60s or 5 min.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Same seed, space and budget: the same front, bit for bit.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Run folder; results/NAME of the space by default.",
)
@click.option("--fresh", is_flag=True, help="Start anew instead of going on with what is there.")
@click.option(
    "--jobs",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Threads of the simulator; all processors by default. The front is the same.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    metavar="N",
    help="Designs proposed at once; the sampler's own number by default.",
)
@click.option(
    "--format",
    type=FORMATS,
    default="table",
    show_default=True,
    help="How the front is printed at the end.",
)
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def search(
    space: str,
    sampler: str,
    budget: int | None,
    time: str | None,
    seed: int,
    out: Path | None,
    fresh: bool,
    jobs: int,
    batch: int | None,
    format: str,
    quiet: bool,
) -> None:
    """Search SPACE, a file or the name of a shipped space.

    Started again, it goes on where it stopped. Exits with 3 where no design is feasible and
    with 130 where it was interrupted.

    \b
    transcode search bert
    transcode search spaces/gpt2.yaml --budget 5000 --sampler nsga2 --seed 1
    transcode search my-space.yaml --time 60s --format json > front.json
    """
    import transcode
    from transcode import report
    from transcode.plot import plot_run

    command = " ".join(["transcode", *sys.argv[1:]])
    try:
        with report.progress(quiet) as show:
            result = transcode.search(
                space, sampler=sampler, budget=budget, time=time, seed=seed, out=out, fresh=fresh,
                jobs=jobs, batch=batch, command=command, progress=show,
            )  # fmt: skip
    except transcode.Interrupted as stop:
        click.echo(report.interrupted(stop.folder), err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    if len(result.front) == 0:
        click.echo(report.nothing_feasible(result), err=True)
        raise click.exceptions.Exit(INFEASIBLE)
    plot_run(result.folder)
    report.search_result(result.folder, format, result.notes)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--format",
    type=FORMATS,
    default="table",
    show_default=True,
    help="table, or front.json or front.csv as it lies in the folder.",
)
def front(run: Path, format: str) -> None:
    """Show the front of the run folder RUN.

    \b
    transcode front results/bert
    transcode front results/bert --format csv > front.csv
    """
    from transcode import report, runs

    report.search_result(runs.manifest.existing(run), format)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Picture to write (png, pdf or svg); front.png in the run folder by default.",
)
def plot(run: Path, out: Path | None) -> None:
    """Draw the front of the run folder RUN.

    \b
    transcode plot results/bert
    transcode plot results/bert --out front.pdf
    """
    from transcode import runs
    from transcode.plot import plot_run

    click.echo(plot_run(runs.manifest.existing(run), out))
