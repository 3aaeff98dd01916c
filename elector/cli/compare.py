"""`elector compare`: two tables of costs, or one model on several accelerators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from elector.base.errors import InputError
from elector.cli import completion
from elector.cli import options as shared

INFEASIBLE, NOT_PASSED = 3, 4


@click.command()
@click.argument(
    "names",
    metavar="OLD.csv NEW.csv | MODEL A B ...",
    nargs=-1,
    required=True,
    shell_complete=completion.names,
)
@click.option(
    "--tolerance",
    metavar="SHARE",
    help="Of tables: share by which a result may get worse, such as 2%.  [default: 0]",
)
@click.option(
    "--metric",
    multiple=True,
    metavar="NAME",
    shell_complete=completion.scalars,
    help="A result to compare; repeatable.  [default: latency_s, energy_j, area_mm2]",
)
@click.option(
    "--junit",
    type=click.Path(),
    metavar="FILE",
    help="Of tables: write JUnit XML, too: a test case a row.",
)
@shared.design
@shared.technology
@shared.format_
def compare(
    names: tuple[str, ...],
    tolerance: str | None,
    metric: tuple[str, ...],
    junit: str | None,
    assignments: tuple[str, ...],
    technology: str | None,
    format: str,
    **options: str | None,
) -> None:
    """What got worse from one table of costs to another, as elector sweep writes them; or one
    MODEL on accelerators A, B ..., the first of which is the reference.

    Rows of tables are matched by model, accelerator, settings and notes. A row that is missing
    now, cannot be read, or became infeasible is a regression, too; any regression makes the exit
    code 4. Accelerators get ratios, with the parts that differ most. Exits with 3 where the
    model runs on none of them.

    \b
    elector compare agreed.csv now.csv
    elector compare agreed.csv now.csv --tolerance 2% --metric energy_j --junit check.xml
    elector compare bert-base tpu-v4i a100-sxm-80gb --batch 8
    """
    if _are_tables(names):
        for option, value in shared.given(assignments, options, technology=technology).items():
            said = "is for MODEL A B: tables have their settings"
            raise InputError(said, field=option, value=value)
        _tables(names[0], names[1], tolerance or "0", metric, junit, format)
        return
    for option, given in (("--tolerance", tolerance), ("--junit", junit)):
        if given is not None:
            raise InputError("is for two tables: OLD.csv NEW.csv", field=option, value=given)
    settings = shared.settings_of(assignments, options)
    _designs(names, metric, settings, technology, format)


def _are_tables(names: tuple[str, ...]) -> bool:
    """Whether two tables are named: a model may be a .csv of products, an accelerator is none."""
    return len(names) == 2 and Path(names[1]).suffix.lower() == ".csv"


def _tables(
    old: str, new: str, tolerance: str, metric: tuple[str, ...], junit: str | None, format: str
) -> None:
    from elector.base.output import check_output, whole
    from elector.cli import report_checks
    from elector.studies import regression

    if junit is not None:
        check_output(junit, (), "--junit")
    metrics = metric or regression.METRICS
    moved = regression.compare(old, new, tolerance=tolerance, metrics=metrics)
    if junit is not None:
        with whole(Path(junit)) as target:
            target.write_text(regression.junit(old, new, moved), encoding="utf-8")
    report_checks.compared(moved, format)
    if any(entry.regressed for entry in moved):
        raise click.exceptions.Exit(NOT_PASSED)


def _designs(
    names: tuple[str, ...],
    metric: tuple[str, ...],
    settings: dict[str, Any],
    technology: str | None,
    format: str,
) -> None:
    from elector.cli import report_checks
    from elector.studies.regression import METRICS
    from elector.studies.side_by_side import side_by_side

    compared = side_by_side(
        names[0],
        names[1:],
        settings=settings,
        metrics=metric or METRICS,
        technology=shared.load_technology(technology),
    )
    report_checks.side_by_side(compared, format)
    if not any(entry["feasible"] for entry in compared):
        raise click.exceptions.Exit(INFEASIBLE)
