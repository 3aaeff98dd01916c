"""`elector`: what does this model cost on this machine?

Each command parses, calls one function, and hands its result to report. What it needs is
imported when it runs, so that help and completion answer at once.
"""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Unpack

import click

from elector import __version__
from elector.base.errors import ElectorError, InfeasibleError, InputError, nearest
from elector.base.output import is_machines, not_written
from elector.base.paths import reading
from elector.base.signals import gentle
from elector.cli import completion, streams, text
from elector.cli import options as shared
from elector.cli.compare import INFEASIBLE, NOT_PASSED, compare
from elector.cli.entry import INTERRUPTED
from elector.cli.importing import import_command
from elector.cli.named import require_names
from elector.cli.pages import report as report_page
from elector.cli.schema import schema

if TYPE_CHECKING:
    from elector.technology import Technology


class CommandGroup(click.Group):
    """A group of commands whose errors become one message and the right exit code."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """As click's, except that Ctrl-C has one meaning, and one code, wherever it comes.

        Imports make a hundred thousand objects and no garbage worth collecting.
        """
        import gc

        gc.set_threshold(100_000, 20, 20)
        try:
            code = super().main(*args, **(kwargs | {"standalone_mode": False}))
        except click.ClickException as error:
            vars(error)["message"] = text.shortened(error.message)  # it repeats what was typed
            error.show()
            code = error.exit_code
        except click.Abort:  # what click makes of Ctrl-C before a command has begun
            click.echo("interrupted", err=True)
            code = INTERRUPTED
        sys.exit(code)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; bad input exits with 2, a failure with 1, an interrupt with 130."""
        try:
            with gentle(1), reading():
                return super().invoke(ctx)
        except InputError as error:
            raise BadInput(str(error)) from None
        except InfeasibleError as error:
            click.echo(str(error), err=True)
            raise click.exceptions.Exit(INFEASIBLE) from None
        except ElectorError as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            if streams.of_standard_output(error):  # click's where a reader left, else `entry`'s
                raise
            if is_machines(error):
                raise click.ClickException(str(not_written(error, error.filename))) from None
            if error.errno == errno.EPIPE:  # not click's, which would end without a word
                raise click.ClickException(f"connection broken: {error.strerror}") from None
            raise
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest command suggested."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            guess = nearest(args[0], self.commands)
            known = ", ".join(self.commands)
            hint = f"did you mean {guess}?" if guess else f"commands: {known}"
            raise click.UsageError(f"No such command {args[0]!r}; {hint}", ctx)
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing:
            require_names(command, ctx, rest)
        return name, command, rest


class BadInput(click.ClickException):
    """An InputError on its way out."""

    exit_code = 2


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="elector", help="Show the version and exit.")
def main() -> None:
    """Latency, energy and area of one transformer on one accelerator.

    \b
    elector simulate bert-base tpu-v4i
    elector sweep designs.csv --out costs.csv
    elector list models

    \b
    Completion of commands, options, models and keys, for bash (zsh, fish alike):
        eval "$(_ELECTOR_COMPLETE=bash_source elector)"

    \b
    Exit codes: 0 done, 1 failed, 2 bad input (nothing written), 3 infeasible,
    4 finished but something did not pass, 130 interrupted. A result that standard
    output does not take is a failure; one whose reader went away (| head) ends
    with 1 and without a word.
    """


@main.command()
@click.argument("model", shell_complete=completion.models)
@click.argument("accelerator", shell_complete=completion.accelerators)
@shared.design
@shared.technology
@click.option("--operations", is_flag=True, help="List every operation.")
@shared.uncertainty
@shared.format_
def simulate(
    model: str,
    accelerator: str,
    assignments: tuple[str, ...],
    technology: str | None,
    operations: bool,
    uncertainty: bool,
    samples: int,
    seed: int,
    format: str,
    **options: str | None,
) -> None:
    """Costs of MODEL on ACCELERATOR.

    MODEL is a preset (`elector list models`), a Hugging Face config.json, a FlexiBERT
    dictionary, a YAML file or a list of matrix products; ACCELERATOR a preset or a YAML
    file. An infeasible design is printed with its reason and exits with 3. With --sparsity,
    time, energy and stored activations are shown beside those of the dense step.

    \b
    elector simulate bert-base tpu-v4i
    elector simulate bert-large tpu-v3 --mode training --batch 8 --format json
    elector simulate gpt2 tpu-v4i --sequence-length 512 --generate 64
    elector simulate encoder systolic --set model.layers=6 \\
        --set accelerator.sram="4 MiB"
    elector simulate bert-base acceltran-server --mode training \\
        --sparsity acceltran
    """
    from elector.cli import report
    from elector.studies.simulation import simulate as run

    shared.no_draws_without(uncertainty, "samples", "seed")
    settings = shared.settings_of(assignments, options)
    loaded = shared.load_technology(technology)
    result = run(
        model,
        accelerator,
        settings=settings,
        technology=loaded,
        operations=operations,
        uncertainty=uncertainty,
        samples=samples,
        seed=seed,
    )
    report.simulation(result, format)
    if not result["feasible"]:
        raise click.exceptions.Exit(INFEASIBLE)


@main.command()
@click.argument("table", type=click.Path(readable=False, allow_dash=True))
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(readable=False, allow_dash=True),
    help="Where the costs go: .csv, .json or .parquet; - for standard output. Needed unless "
    "--format is given.",
)
@click.option(
    "--format",
    "format",
    type=shared.FORMATS,
    help="Also print the rows on standard output: the main results as a table, or all as json "
    "or csv.",
)
@click.option(
    "--junit",
    type=click.Path(readable=False),
    metavar="FILE",
    help="Write JUnit XML, too: a test case a row.",
)
@click.option(
    "--settings", is_flag=True, help="Also say what every setting of a row was resolved to."
)
@shared.uncertainty
@shared.technology
def sweep(
    table: str,
    out: str | None,
    format: str | None,
    junit: str | None,
    settings: bool,
    technology: str | None,
    **draws: Unpack[shared.DrawOptions],
) -> None:
    """Costs of every row of TABLE, a CSV file; - reads standard input.

    Columns are model, accelerator and any dotted setting; note.* is passed through,
    results are computed again, an empty cell keeps the default. A row that cannot be read
    fills the column error, the others are evaluated, and the exit code is 4. In JUnit XML a row
    is a test case, which fails where it cannot be read. With --uncertainty NAME_low and NAME_high
    stand behind each result.

    \b
    elector sweep designs.csv --out costs.csv
    elector sweep designs.csv --format table
    transcode front results/bert --format csv | elector sweep - --out - | head
    """
    from elector.base.junit import SUFFIXES
    from elector.base.output import check_output, require_apart, whole
    from elector.cli import report_sweep
    from elector.studies.sweep import run_sweep
    from elector.studies.sweep_output import FORMATS, write_result
    from elector.studies.uncertainty import Sampling

    shared.no_draws_without(draws["uncertainty"], "samples", "seed")
    if out is None and format is None:
        raise click.UsageError("Missing option '--out' (or --format, to print the rows).")
    if out == "-" and format is not None:
        raise InputError("prints, too: one is enough", field="--format", value=format)
    asked = report_sweep.table_of(table)
    if out is not None:
        check_output(out, FORMATS)
    if junit is not None:
        check_output(junit, SUFFIXES, "--junit")
    loaded = shared.load_technology(technology)
    sampling = None
    if draws["uncertainty"]:
        sampling = Sampling.of(loaded, draws["samples"], draws["seed"])
    result = run_sweep(asked, loaded, settings, sampling)
    require_apart({"--out": out, "--junit": junit})  # files that the table names are known now
    if out is not None:
        write_result(result, out)
    if junit is not None:
        with whole(Path(junit)) as target:
            target.write_text(report_sweep.junit(result, table), encoding="utf-8")
    report_sweep.printed(result, format)
    report_sweep.done(result, out or table)
    if result.errors:
        raise click.exceptions.Exit(NOT_PASSED)


main.add_command(compare)
main.add_command(import_command)
main.add_command(schema)
main.add_command(report_page)


@main.command("list")
@click.argument(
    "what",
    type=click.Choice(["models", "accelerators", "technologies", "results", "settings"]),
)
@click.option(
    "--weight",
    metavar="PRESET",
    shell_complete=completion.accelerators,
    help="Of technologies: what share of energy, area and latency of this preset's reference run "
    "follows each row.",
)
@shared.technology
@shared.format_
def list_command(what: str, weight: str | None, technology: str | None, format: str) -> None:
    """What ships with the program: models, accelerators, technology constants; and what there
    is to ask for: results and settings.

    \b
    elector list models
    elector list technologies --format csv
    elector list technologies --weight tpu-v4i
    """
    from elector.cli import report
    from elector.studies import listing

    if technology is not None and what != "technologies":
        raise InputError(f"holds no {what}", field="--technology", value=technology)
    if weight is not None:
        _weights(what, weight, technology, format)
    elif what == "models":
        sizes = ("layers", "hidden", "heads", "feed_forward", "parameters")
        report.listing(listing.models(), format, ("name", "family", *sizes), ("family",))
    elif what == "accelerators":
        shown = ["name", "machine", "description"]
        report.listing(listing.accelerators(), format, shown, ("description",))
    elif what == "results":
        shown = ["name", "unit", "exists", "better", "description"]
        report.listing(listing.results(), format, shown, ("name", "description"))
    elif what == "settings":
        shown = ["name", "default", "unit", "description"]
        report.listing(listing.settings(), format, shown, ("name", "default", "description"))
    else:
        from elector.technology import Technology

        rows = listing.technologies(shared.load_technology(technology) or Technology.load())
        report.listing(rows, format, ("id", "value", "evidence", "source"), ("source",))


def _weights(what: str, preset: str, technology: str | None, format: str) -> None:
    """`elector list technologies --weight PRESET`."""
    from elector.cli import report_weights
    from elector.studies.weights import weights

    if what != "technologies":
        raise InputError(f"goes with `list technologies`, not `list {what}`", field="--weight")
    report_weights.printed(weights(preset, shared.load_technology(technology)), format)


@main.command()
@click.argument("name", shell_complete=completion.names)
@click.option(
    "--yaml", "as_file", is_flag=True, help="As a file of your own would say it, to start from."
)
@shared.format_
def show(name: str, as_file: bool, format: str) -> None:
    """Every setting of NAME: a shipped model or accelerator, or a file.

    \b
    elector show tpu-v4i
    elector show tpu-v4i --yaml > mine.yaml
    elector show bert-base --format json
    """
    from elector.cli import report
    from elector.studies.showing import as_yaml
    from elector.studies.showing import show as run

    shared.no_format_beside_yaml(as_file)
    described = run(name)
    if as_file:
        click.echo(as_yaml(described), nl=False)
    else:
        report.shown(described, format)


@main.command()
@click.argument("model", metavar="MODEL|price", shell_complete=completion.models_or_price)
@click.argument(
    "accelerator", metavar="ACCELERATOR|PART", shell_complete=completion.accelerators_or_parts
)
@click.option(
    "--result",
    default="energy_j",
    show_default=True,
    metavar="NAME",
    shell_complete=completion.scalars,
    help="The result to explain, any number of `elector list results`: energy_j, power_w, "
    "area_mm2, latency_s, throughput_sequences_per_s, utilization, macs or parameters.",
)
@shared.design
@shared.technology
@shared.format_
def explain(
    model: str,
    accelerator: str,
    result: str,
    assignments: tuple[str, ...],
    technology: str | None,
    format: str,
    **options: str | None,
) -> None:
    """Where a number comes from, down to the rows of the technology tables.

    A result that is made of others, such as tokens_per_s, is multiplied out first; what stands
    below are the terms of the cost in it. `elector explain price PART` shows the constants of one
    part.

    \b
    elector explain bert-base tpu-v4i --result energy_j
    elector explain bert-base tpu-v4i --result area_mm2 --node 14
    elector explain gpt2 tpu-v4i --generate 64 --result time_per_output_token_s
    elector explain price sram --node 7
    """
    from elector.cli import report_explain

    if model == "price":
        node = options.pop("node")
        asked = shared.given(
            assignments, options, result=result if shared.was_given("result") else None
        )
        for option, value in asked.items():
            said = "is for MODEL ACCELERATOR: a price has a node, and nothing runs"
            raise InputError(said, field=option, value=value)
        loaded = shared.load_technology(technology)
        report_explain.part_price(_price(accelerator, loaded, node), format)
        return
    loaded = shared.load_technology(technology)
    from elector.studies.simulation import explain as run
    from elector.studies.simulation import notes_of

    settings = shared.settings_of(assignments, options)
    derivation = run(model, accelerator, result, settings=settings, technology=loaded)
    report_explain.explanation(derivation, f"{model} on {accelerator}", format)
    text.said(notes_of(model, accelerator, settings))


def _price(part: str, technology: Technology | None, node: str | None) -> dict[str, object]:
    from elector.studies.listing import explain_price
    from elector.technology import Technology

    return explain_price(part, technology or Technology.load(), node)


@main.command()
@click.argument("model", shell_complete=completion.models)
@click.argument("accelerator", shell_complete=completion.accelerators)
@click.option(
    "--out",
    metavar="FILE",
    required=True,
    type=click.Path(readable=False, allow_dash=True),
    help="Trace file (.json) to write; - is standard output.",
)
@click.option(
    "--plot", type=click.Path(readable=False), help="Also draw resources, utilization and power."
)
@shared.design
@shared.technology
def trace(
    model: str,
    accelerator: str,
    out: str,
    plot: str | None,
    assignments: tuple[str, ...],
    technology: str | None,
    **options: str | None,
) -> None:
    """What each unit does when: the event-driven model of one step.

    The trace opens in Perfetto or chrome://tracing. Its seconds are an independent check of
    the closed form that `elector simulate` uses; both are printed.

    \b
    elector trace bert-base tpu-v4i --out trace.json
    elector trace bert-tiny systolic --mode training --out trace.json \\
        --plot trace.png
    """
    from elector.base.output import PICTURES, check_output, require_apart
    from elector.cli import report_checks
    from elector.events.trace import draw, write
    from elector.events.trace import trace as run
    from elector.studies.simulation import columns_of, notes_of

    check_output(out, (".json", ""))
    if plot is not None:
        check_output(plot, PICTURES, "--plot")
    settings = shared.settings_of(assignments, options)
    columns = columns_of({"model": model, "accelerator": accelerator, **settings})
    traced = run(columns, f"{model} on {accelerator}", shared.load_technology(technology))
    require_apart({"--out": out, "--plot": plot})  # files that the model names are known now
    write(traced, out)
    if plot is not None:
        draw(traced, Path(plot))
    report_checks.traced(traced, out, plot)
    text.said(notes_of(model, accelerator, settings))


@main.command()
@click.argument("plan", type=click.Path(readable=False))
@shared.technology
@shared.format_
def run(plan: str, technology: str | None, format: str) -> None:
    """Time, energy and wear of a whole training run.

    PLAN is a YAML file: the model, and phases with their steps, trainable subset and
    accelerator. At a switch the frozen weights are written once, and for a window before it
    the phases train side by side. A phase that does not fit makes the exit code 3.

    \b
    elector run plan.yaml
    elector run plan.yaml --format json
    """
    from elector.cli import report
    from elector.studies.training_run import run as cost_of

    result = cost_of(plan, technology=shared.load_technology(technology))
    report.training_run(result, format)
    if not result["feasible"]:
        raise click.exceptions.Exit(INFEASIBLE)


@main.command()
@click.option(
    "--only",
    "--case",
    default="",
    metavar="GROUP",
    shell_complete=completion.groups,
    help="Only groups or cases with this in their name; * stands for any text.",
)
@click.option(
    "--data",
    "--cases",
    metavar="FILE",
    type=click.Path(readable=False),
    help="CSV of your own measurements in place of the shipped cases (docs/validation.md).",
)
@click.option(
    "--report",
    metavar="DIR",
    type=click.Path(readable=False),
    help="Write a page with predicted against measured into this folder.",
)
@click.option(
    "--junit",
    type=click.Path(readable=False),
    metavar="FILE",
    help="Write JUnit XML, too: a test case a group, an identity or a bound.",
)
@shared.technology
@shared.format_
def validate(
    only: str,
    data: str | None,
    report: str | None,
    junit: str | None,
    technology: str | None,
    format: str,
) -> None:
    """Repeat published measurements and print how far the simulator is off.

    Outcomes are judged by group: a group whose median error leaves its bar makes
    the exit code 4, as does an identity or a bound that does not hold. Known
    misses are listed and counted. --format csv or json has every case.

    \b
    elector validate
    elector validate --only 'ampere / *' --report page/
    elector validate --data mine.csv --junit check.xml
    """
    from elector.base.junit import SUFFIXES
    from elector.base.output import check_output, require_apart, whole
    from elector.cli import report_checks
    from elector.studies import validation, validation_page

    if junit is not None:
        check_output(junit, SUFFIXES, "--junit")
    with validation_page.prepared(report) as page:
        priced = shared.load_technology(technology)
        outcomes = validation.validate(data, only=only, technology=priced)
        # files that the cases name are known now
        require_apart({"--junit": junit, "--report": page})
        if page is not None:
            validation_page.write_page(page, outcomes, data)
    if junit is not None:
        suite = f"elector validate {data or ''}".strip()
        with whole(Path(junit)) as target:
            target.write_text(validation_page.junit(suite, outcomes), encoding="utf-8")
    report_checks.validation(outcomes, format, noted=data is not None)
    if validation.failed(outcomes):
        raise click.exceptions.Exit(NOT_PASSED)
