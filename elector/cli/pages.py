"""`elector report`: one pair as a page."""

from __future__ import annotations

import click

from elector.cli import completion
from elector.cli import options as shared


@click.command()
@click.argument("model", shell_complete=completion.models)
@click.argument("accelerator", shell_complete=completion.accelerators)
@click.option(
    "--out", required=True, type=click.Path(readable=False), metavar="FILE", help="Page (.html)."
)
@shared.design
@shared.technology
@shared.uncertainty
def report(
    model: str,
    accelerator: str,
    out: str,
    assignments: tuple[str, ...],
    technology: str | None,
    uncertainty: bool,
    samples: int,
    seed: int,
    **options: str | None,
) -> None:
    """Write MODEL on ACCELERATOR as one HTML page, which needs no network.

    A roofline with every operation, what time, energy, area and memory are made of, a table of
    the operations to sort and export, every setting. With --uncertainty each result has its
    interval, in numbers and as a bar. A pair that cannot run has a page with its reason.

    \b
    elector report bert-base tpu-v4i --out page.html
    elector report gpt2 a100-sxm-80gb --batch 8 --generate 32 --out page.html
    elector report bert-base tpu-v4i --uncertainty --out page.html
    """
    from elector.base.output import check_output
    from elector.cli import text
    from elector.studies.pair_page import report as write
    from elector.studies.simulation import notes_of

    shared.no_draws_without(uncertainty, "samples", "seed")
    check_output(out, (".html", ".htm"), stream=False)
    settings = shared.settings_of(assignments, options)
    loaded = shared.load_technology(technology)
    words = () if technology is None else ("--technology", technology)
    path = write(
        model,
        accelerator,
        out,
        settings=settings,
        technology=loaded,
        words=words,
        uncertainty=uncertainty,
        samples=samples,
        seed=seed,
    )
    click.echo(path)
    text.said(notes_of(model, accelerator, settings))
