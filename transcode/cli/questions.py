"""Questions to finished runs that end in a picture, a design, or two runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from elector.base.errors import InfeasibleError
from elector.cli.options import FORMATS, no_format_beside_yaml

if TYPE_CHECKING:
    from transcode.runs.query import Front, Recorded

_FORMAT = click.option(
    "--format", type=FORMATS, default="table", show_default=True, help="How it is printed."
)
#: Another front of a run: which designs, and for what.
where = click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="Among all recorded designs, those for which this holds; repeatable.",
)
objectives = click.option(
    "--objectives",
    metavar="NAMES",
    help="Other objectives over all recorded designs, such as latency_s,area_mm2:min.",
)


@click.command()
@click.argument("run", type=click.Path(readable=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(readable=False, path_type=Path),
    metavar="FILE",
    help="Picture to write (png, pdf or svg); by default front.png in the run folder, and "
    "selection.png there for another front.",
)
@where
@objectives
def plot(run: Path, out: Path | None, where: tuple[str, ...], objectives: str | None) -> None:
    """Draw the front of the run folder RUN, or another front of its recorded designs.

    \b
    transcode plot results/bert
    transcode plot results/bert --out front.pdf
    transcode plot results/bert --where 'area_mm2 <= 100' \\
        --objectives accuracy,tune.energy_j
    """
    from elector.base.output import PICTURES, check_output
    from transcode import runs
    from transcode.cli import report
    from transcode.plot import plot_run, plot_selection

    if out is not None:
        check_output(out, PICTURES)
    if not where and objectives is None:
        click.echo(plot_run(run, out))
        return

    def ask(recorded: Recorded) -> tuple[Recorded, Front, str]:
        front = runs.query.front(recorded, where, objectives)
        nothing = "" if len(front.archive) else report.nothing_found(recorded, where)
        return recorded, front, nothing

    recorded, front, nothing = runs.query.settled(run, ask)
    if nothing:
        raise InfeasibleError(nothing)
    click.echo(plot_selection(recorded, front, "; ".join(where), out))


@click.command()
@click.argument("run", type=click.Path(readable=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(readable=False, path_type=Path),
    metavar="FILE",
    help="Page to write (.html); report.html in the run folder by default.",
)
@click.option(
    "--baseline",
    metavar="ID|FILE",
    help="Design to compare with: a recorded one, or the first row of a table (front.csv, or one "
    "of elector sweep).",
)
def report(run: Path, out: Path | None, baseline: str | None) -> None:
    """Write the run folder RUN as one HTML page, which needs no network.

    What was asked, the front in views that share one choice, the knee and the best of each
    objective, what a design's time, energy and area are made of, which settings matter, how the
    search converged, and how far to trust the numbers.

    \b
    transcode report results/bert
    transcode report results/bert --baseline 805779 --out bert.html
    """
    from elector.base.output import check_output
    from transcode.pages import report as write

    if out is not None:
        check_output(out, (".html", ".htm"), stream=False)
    click.echo(write(run, out=out, baseline=baseline))


@click.command()
@click.argument("run", type=click.Path(readable=False, path_type=Path))
@click.argument("id", type=click.IntRange(min=0))
@click.option(
    "--yaml", "as_file", is_flag=True, help="As a space of this design only, to search or change."
)
@_FORMAT
def show(run: Path, id: int, as_file: bool, format: str) -> None:
    """One recorded design of the run folder RUN: its settings and results, and the commands that
    simulate, trace and explain it.

    ID is the number of a design, feasible or not, as transcode front shows it.

    \b
    transcode show results/bert 805779
    transcode show results/bert 805779 --yaml > design.yaml
    transcode search design.yaml
    """
    from transcode import runs
    from transcode.cli import report_design

    no_format_beside_yaml(as_file)
    design = runs.query.settled(run, lambda recorded: runs.design.design(recorded, id))
    if as_file:
        click.echo(report_design.as_yaml(design), nl=False)
    else:
        report_design.shown(design, format)


@click.command()
@click.argument("first", metavar="A", type=click.Path(readable=False, path_type=Path))
@click.argument("second", metavar="B", type=click.Path(readable=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(readable=False, path_type=Path),
    metavar="FILE",
    help="Draw both fronts into this picture (png, pdf or svg), too.",
)
@click.option(
    "--reference-point",
    metavar="NAMES",
    help="Worst values that count, in place of those of the runs: latency_s=1s,energy_j=20mJ.",
)
@_FORMAT
def compare(
    first: Path, second: Path, out: Path | None, reference_point: str | None, format: str
) -> None:
    """Compare the fronts of the run folders A and B: hypervolume, coverage, epsilon.

    Both need the same objectives, and the same reference point where none is given.

    \b
    transcode compare results/monday results/tuesday
    transcode compare results/a results/b --out both.png
    transcode compare results/a results/b \\
        --reference-point latency_s=1s,area_mm2=858mm2
    """
    from elector.base.output import PICTURES, check_output
    from transcode import runs
    from transcode.cli import report
    from transcode.plot import plot_comparison

    if out is not None:
        check_output(out, PICTURES)
    point = None
    if reference_point is not None:
        point = runs.comparison.read_reference(reference_point)
    comparison = runs.comparison.compare(first, second, point)
    report.comparison(comparison, format)
    if out is not None:
        click.echo(plot_comparison(comparison, out), err=True)
