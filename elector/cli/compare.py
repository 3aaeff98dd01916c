"""`elector compare`: two tables of costs, or one model on several accelerators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from elector.base.errors import InputError
from elector.base.record import ResultRecord
from elector.cli import completion
from elector.cli import options as shared

INFEASIBLE, NOT_PASSED = 3, 4
#: Suffixes of tables that `elector sweep` writes.
_TABLES = {".csv", ".json", ".parquet"}


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
    type=click.Path(readable=False),
    metavar="FILE",
    help="Of tables: write JUnit XML, too: a test case a row.",
)
@click.option(
    "--key",
    multiple=True,
    metavar="COLUMN",
    help="Of tables: match rows by this column alone, such as note.id; repeatable.  "
    "[default: model, accelerator, settings and notes]",
)
@click.option(
    "--set-for",
    "own",
    nargs=2,
    multiple=True,
    metavar="A KEY=VALUE",
    shell_complete=completion.own_settings,
    help="Of accelerators: a setting of one of them alone, by its name or its place (1, 2 ...); "
    "goes before --set. Repeatable.",
)
@shared.design
@shared.uncertainty
@shared.technology
@shared.format_
def compare(
    names: tuple[str, ...],
    tolerance: str | None,
    metric: tuple[str, ...],
    junit: str | None,
    key: tuple[str, ...],
    own: tuple[tuple[str, str], ...],
    assignments: tuple[str, ...],
    uncertainty: bool,
    samples: int,
    seed: int,
    technology: str | None,
    format: str,
    **options: str | None,
) -> None:
    """What got worse from one table of costs to another, as elector sweep writes them (.csv, .json
    or .parquet); or one MODEL on accelerators A, B ..., the first of which is the reference.

    Rows of tables are matched by model, accelerator, settings and notes, or by --key. A row that
    is missing now, cannot be read, or became infeasible is a regression, too; any regression
    makes the exit code 4. Accelerators get ratios, with the parts that differ most; the same one
    may stand there twice, with settings of its own. With --uncertainty ratios have the interval
    that nine of ten lie within, marked * where the two can be told apart. Exits with 3 where the
    model runs on none of them.

    \b
    elector compare agreed.csv now.csv
    elector compare agreed.csv now.csv --tolerance 2% --metric energy_j \\
        --junit check.xml
    elector compare agreed.csv now.csv --key note.id
    elector compare bert-base tpu-v4i a100-sxm-80gb --batch 8 --uncertainty
    elector compare gpt2 l4-24gb l4-24gb --set-for 2 workload.precision=fp8
    """
    if _are_tables(names):
        given = shared.given(assignments, options, technology=technology)
        given |= {"--set-for": " ".join(own[0])} if own else {}
        for option in ("uncertainty", "samples", "seed"):
            given |= {f"--{option}": ""} if shared.was_given(option) else {}
        for option, value in given.items():
            said = "is for MODEL A B: tables have their settings"
            raise InputError(said, field=option, value=value or None)
        _tables(names, tolerance or "0", metric, junit, key, format)
        return
    for option, text in (("--tolerance", tolerance), ("--junit", junit), ("--key", key)):
        if text not in (None, ()):
            shown = text if isinstance(text, str) else " ".join(text or ())
            raise InputError("is for two tables: OLD.csv NEW.csv", field=option, value=shown)
    shared.no_draws_without(uncertainty, "samples", "seed")
    settings = shared.settings_of(assignments, options)
    draws = (samples, seed) if uncertainty else None
    costs = _costs(names, own, settings, metric, technology, draws)
    from elector.cli import report_checks

    report_checks.side_by_side(costs, format)
    if not any(entry["feasible"] for entry in costs):
        raise click.exceptions.Exit(INFEASIBLE)


def _are_tables(names: tuple[str, ...]) -> bool:
    """Whether two tables are named: a model may be a .csv of products or a .json, but then two
    accelerators follow, and none is a .csv."""
    kinds = [Path(name).suffix.lower() for name in names]
    return len(names) == 2 and (kinds[1] == ".csv" or set(kinds) <= _TABLES)


def _tables(
    names: tuple[str, ...],
    tolerance: str,
    metric: tuple[str, ...],
    junit: str | None,
    key: tuple[str, ...],
    format: str,
) -> None:
    from elector.base.junit import SUFFIXES
    from elector.base.output import check_output, whole
    from elector.cli import report_checks
    from elector.studies import regression

    old, new = names
    if junit is not None:
        check_output(junit, SUFFIXES, "--junit")
    metrics = metric or regression.METRICS
    moved = regression.compare(old, new, tolerance=tolerance, metrics=metrics, key=key)
    if junit is not None:
        with whole(Path(junit)) as target:
            target.write_text(regression.junit(old, new, moved), encoding="utf-8")
    report_checks.compared(moved, format)
    report_checks.repeated(moved.repeated)
    if any(entry.regressed for entry in moved):
        raise click.exceptions.Exit(NOT_PASSED)


def _costs(
    names: tuple[str, ...],
    own: tuple[tuple[str, str], ...],
    settings: dict[str, Any],
    metric: tuple[str, ...],
    technology: str | None,
    draws: tuple[int, int] | None,
) -> list[ResultRecord]:
    """Costs of one model on each accelerator.

    own : (accelerator, KEY=VALUE). draws : samples and seed of intervals, None for none.
    """
    from elector.studies.regression import METRICS
    from elector.studies.side_by_side import contenders, side_by_side
    from elector.studies.uncertainty import Sampling

    each = [
        (which, name, value)
        for which, text in own
        for name, value in shared.settings_of((text,), {}, "--set-for").items()
    ]
    loaded = shared.load_technology(technology)
    return side_by_side(
        names[0],
        contenders(names[1:], each),
        settings=settings,
        metrics=metric or METRICS,
        technology=loaded,
        sampling=None if draws is None else Sampling.of(loaded, *draws),
    )
