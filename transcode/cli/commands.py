"""`transcode`: which pair of transformer and accelerator should we build?

Each command parses, calls one function, and hands its result to report.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from elector.base.errors import EvaluationError, InfeasibleError, InputError
from elector.base.spelling import spelled
from elector.cli import options as shared
from elector.cli.commands import CommandGroup
from elector.cli.compare import INFEASIBLE, NOT_PASSED
from elector.cli.entry import INTERRUPTED
from elector.cli.options import FORMATS, was_given
from transcode import __version__
from transcode.cli import questions
from transcode.cli.questions import compare, plot, report, show
from transcode.cli.schema import schema
from transcode.cli.serve import serve
from transcode.cli.train import train

if TYPE_CHECKING:
    from transcode.runs.query import Front, Recorded
    from transcode.search import Result


class SearchOptions(TypedDict):
    """Options of `transcode search` that are arguments of `transcode.search`, by name."""

    sampler: str
    budget: int | None
    time: str | None
    seed: int
    out: Path | None
    fresh: bool
    jobs: int
    islands: int | None
    batch: int | None
    warm_start: Path | None
    storage: str | None
    cluster: str | None
    stall: float | None
    stall_batches: int
    uncertainty: bool
    samples: int


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="transcode")
def main() -> None:
    """Search pairs of transformer models and accelerators for those that nothing beats.

    \b
    transcode search bert                   a shipped space
    transcode search my-space.yaml --time 60s
    transcode front results/bert            the front again
    transcode plot results/bert             ... as a picture
    transcode report results/bert           ... as a page to explore
    transcode show results/bert 805779      one design, and what simulates it
    transcode compare results/a results/b   two runs
    transcode check results/bert --require 'serve.latency_s <= 5 ms'
    """


def _spaces(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    """Shipped spaces and files, for shell completion."""
    from transcode.space import shipped

    files = [path.name for path in Path().glob(f"{text}*.yaml")]
    return [name for name in shipped() if name.startswith(text)] + files


def _samplers(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    """Samplers by name, for shell completion."""
    from transcode.engines import SAMPLERS

    return [name for name in SAMPLERS if name.startswith(text)]


@main.command()
@click.argument("space", shell_complete=_spaces)
@click.option(
    "--sampler",
    default="auto",
    metavar="NAME",
    show_default=True,
    shell_complete=_samplers,
    help="How designs are proposed: auto, enumerate, guided, evolve, parzen, boshcode, random, "
    "qmc, nsga2, nsga3, tpe, gp, or module:Class for an Optuna sampler of your own.",
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
    type=click.Path(readable=False, path_type=Path),
    metavar="DIR",
    help="Run folder; results/NAME of the space by default.",
)
@click.option("--fresh", is_flag=True, help="Start anew instead of going on with what is there.")
@click.option(
    "--jobs",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Processes; as many as there are processors by default. The front is the same.",
)
@click.option(
    "--islands",
    type=click.IntRange(min=1),
    metavar="N",
    help="Shares of a large generation of evolve that are bred apart; 4 by default. Part of "
    "what a run is, as the seed.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    metavar="N",
    help="Designs proposed at once; the sampler's own number by default.",
)
@click.option(
    "--warm-start",
    type=click.Path(readable=False, path_type=Path),
    metavar="FILE",
    help="Begin with the designs of a table: front.csv of a run, or one of elector sweep.",
)
@click.option(
    "--storage",
    envvar="TRANSCODE_STORAGE",
    show_envvar=True,
    metavar="URL",
    help="Several searches share the Optuna study in this database: postgresql://... or "
    "sqlite:///FILE. For designs that take seconds. Each process needs an --out of its own.",
)
@click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Evaluate on the workers of this Dask scheduler: tls://HOST:PORT, or tcp:// on this "
    "machine. The front is the same.",
)
@click.option(
    "--stall",
    type=click.FloatRange(min=0, max=1, max_open=True),
    metavar="SHARE",
    help="Stop when the hypervolume gained less than this share over --stall-batches batches.",
)
@click.option(
    "--stall-batches",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="Batches that --stall looks back.",
)
@click.option(
    "--format",
    type=FORMATS,
    default="table",
    show_default=True,
    help="How the front is printed at the end.",
)
@click.option("--report", "page", is_flag=True, help="Also write the front as a page, report.html.")
@click.option(
    "--uncertainty",
    is_flag=True,
    help="Also give the final front intervals of 90 %, NAME_low and NAME_high of each result, and "
    "say which neighbours cannot be told apart.",
)
@shared.samples
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def search(
    space: str, format: str, page: bool, quiet: bool, **asked: Unpack[SearchOptions]
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
    from elector.cli.report import progress
    from transcode.cli import report

    shared.no_draws_without(asked["uncertainty"], "samples")
    if asked["stall"] is None and was_given("stall_batches"):
        raise InputError("is how far --stall looks back", field="--stall-batches")
    command = spelled(" ".join(["transcode", *sys.argv[1:]]))
    try:
        with progress(quiet, report.progress_line) as show:
            result = transcode.search(space, command=command, progress=show, **asked)
    except transcode.Interrupted as stop:
        click.echo(report.interrupted(stop.folder), err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    _show_result(result, format, page, asked["uncertainty"])


def _show_result(result: Result, format: str, page: bool, uncertainty: bool) -> None:
    """Prints the front of a search, draws it, and writes its page where that was asked for.

    uncertainty : whether it has intervals.
    """
    from transcode.cli import report, report_neighbours
    from transcode.plot import plot_run

    if len(result.front) == 0:
        for line in (*(f"note: {note}" for note in result.notes), report.nothing_feasible(result)):
            click.echo(line, err=True)
        raise click.exceptions.Exit(INFEASIBLE)
    notes = list(result.notes)
    try:
        plot_run(result.folder)
    except (EvaluationError, InputError) as error:  # the disk is full, and the front is safe
        notes.append(str(error))
    report.search_result(result.folder, format, notes)
    if uncertainty and format == "table":
        report_neighbours.of_folder(result.folder)
    if page:
        from transcode.pages import report as write

        click.echo(f"page to explore, in a browser: {write(result.folder)}", err=True)


def _as_written(run: Path, format: str, uncertainty: bool) -> bool:
    """Shows the front of a run as its files have it; False where intervals have to be drawn."""
    from transcode import runs
    from transcode.cli import report, report_neighbours

    taken = runs.snapshot.with_front(run)
    if not uncertainty:
        report.moment(taken, format)
        return True
    given = any(was_given(name) for name in ("samples", "seed"))
    return not given and report_neighbours.written(taken, format)


@main.command()
@click.argument("run", type=click.Path(readable=False, path_type=Path))
@click.option(
    "--format",
    type=FORMATS,
    default="table",
    show_default=True,
    help="table, or front.json or front.csv as it lies in the folder.",
)
@questions.where
@questions.objectives
@click.option(
    "--weights",
    metavar="NAMES",
    help="Choose one design by a weighted sum of results, such as accuracy=0.5,latency_s=0.2.",
)
@click.option(
    "--uncertainty",
    is_flag=True,
    help="Also show the interval of 90 % of each result, which neighbours cannot be told apart, "
    "and what would settle most.",
)
@shared.samples
@shared.seed
def front(
    run: Path,
    format: str,
    where: tuple[str, ...],
    objectives: str | None,
    weights: str | None,
    **draws: Unpack[shared.DrawOptions],
) -> None:
    """Show the front of the run folder RUN, or another front of its recorded designs.

    With --weights the front is that of the weighted results, and the design of the largest sum
    is chosen: weight x value / largest of what is maximised, weight x (1 - value / largest) of
    what is minimised. With --uncertainty intervals that the search wrote are shown; without them
    they are drawn now, and nothing is written. Exits with 3 where no recorded design satisfies
    the conditions.

    \b
    transcode front results/bert
    transcode front results/bert --format csv > front.csv
    transcode front results/bert --uncertainty
    transcode front results/bert --where 'area_mm2 <= 100' \\
        --objectives accuracy,tune.energy_j
    transcode front results/bert \\
        --weights accuracy=0.5,tune.energy_j=0.3,area_mm2=0.1
    """
    from elector.studies.uncertainty import Sampling
    from transcode import runs
    from transcode.cli import report, report_neighbours

    shared.no_draws_without(draws["uncertainty"], "samples", "seed")
    own = bool(where) or objectives is not None or weights is not None
    if draws["uncertainty"] and weights is not None:
        raise InputError("does not go with --weights", field="--uncertainty")
    if not own and _as_written(run, format, draws["uncertainty"]):
        return

    def ask(recorded: Recorded) -> tuple[Recorded, dict[str, float], Front, str]:
        weighted = runs.choice.weights_of(recorded, weights) if weights is not None else {}
        asked = ",".join(weighted) or None if objectives is None else objectives
        chosen = runs.query.front(recorded, where, asked)
        nothing = "" if len(chosen.archive) else report.nothing_found(recorded, where)
        return recorded, weighted, chosen, nothing

    recorded, weighted, chosen, nothing = runs.query.settled(run, ask)
    if nothing:
        raise InfeasibleError(nothing)
    if draws["uncertainty"]:
        sampling = Sampling.of(None, draws["samples"], draws["seed"])
        report_neighbours.drawn(chosen, recorded, format, sampling)
    elif weighted:
        chosen, sums = runs.choice.ranked(chosen, weighted)
        report.choice(chosen, sums, weighted, recorded, format)
    else:
        report.selection(chosen, recorded, format)


_FORMAT = click.option(
    "--format", type=FORMATS, default="table", show_default=True, help="How it is printed."
)


@main.command()
@click.argument("run", type=click.Path(readable=False, path_type=Path))
@click.option(
    "--require",
    multiple=True,
    required=True,
    metavar="CONDITION",
    help="What has to hold of the run, or of some feasible design of it; repeatable.",
)
@click.option(
    "--baseline",
    metavar="RUN",
    help="Run folder, front.json or number whose hypervolume `baseline` stands for.",
)
@click.option(
    "--junit",
    type=click.Path(readable=False, path_type=Path),
    metavar="FILE",
    help="Write JUnit XML, too: a test case a requirement.",
)
@_FORMAT
def check(
    run: Path, require: tuple[str, ...], baseline: str | None, junit: Path | None, format: str
) -> None:
    """Check requirements on the run folder RUN; exits with 4 where one is missed.

    Conditions are those of a space. They name results and settings, and hold where some
    feasible recorded design satisfies them; or hypervolume, baseline, front, designs, feasible,
    which are figures of the run. Numbers may have a unit (5 ms, 4 MiB); one without is in the
    unit of the result (s, J, mm2). <= and >= hold at equality, < and > do not, == asks for the
    very same number.

    \b
    transcode check results/smoke \\
        --require 'latency_s <= 5 ms and energy_j <= 20e-3'
    transcode check results/smoke --require 'hypervolume >= 0.98 * baseline' \\
        --baseline agreed
    """
    from elector.base.junit import SUFFIXES
    from elector.base.output import check_output, whole
    from transcode import runs
    from transcode.cli import report

    if junit is not None:
        check_output(junit, SUFFIXES, "--junit")
    outcomes = runs.checks.check(runs.query.opened(run), require, baseline)
    if junit is not None:
        with whole(junit) as target:
            target.write_text(runs.checks.junit(run, outcomes), encoding="utf-8")
    report.verdicts(outcomes, format)
    if not all(verdict.passed for verdict in outcomes):
        raise click.exceptions.Exit(NOT_PASSED)


@main.command()
@click.argument("run", nargs=-1, required=True, type=click.Path(readable=False, path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(readable=False, path_type=Path),
    metavar="DIR",
    help="Run folder to write; must not hold a run.",
)
@_FORMAT
def merge(run: tuple[Path, ...], out: Path, format: str) -> None:
    """Merge run folders RUN of one space, searched with other seeds, into one.

    \b
    transcode merge results/seed-0 results/seed-1 results/seed-2 --out results/all
    """
    from transcode.cli import report
    from transcode.search.merge import merge as merged

    result = merged(run, out)
    report.search_result(result.folder, format, result.notes)


for command in (plot, show, compare, report, schema, train, serve):
    main.add_command(command)
