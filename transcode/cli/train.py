"""`transcode train`: a real training run, pruned as the hardware would prune it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from elector.base.errors import InputError
from elector.base.spelling import spelled
from elector.cli.entry import INTERRUPTED
from elector.cli.options import FORMATS, settings_of

if TYPE_CHECKING:
    from transcode.training.settings import Settings


class TrainOptions(TypedDict):
    """Options of `transcode train` that are settings of the run; None: what the recipe says."""

    tau_i: float
    tau_t: float
    top_k_i: float | None
    top_k_t: float | None
    switch: str
    window: int | None
    steps: int | None
    batch: int | None
    learning_rate: float | None
    schedule: str
    sequence_length: int | None
    dropout: float | None
    evaluate: int | None
    seed: int


def _models(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    """Presets, for shell completion."""
    from elector.describe.formats import list_models

    return [name for name in list_models() if name.startswith(text)]


def _tasks(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    """Shipped tasks, for shell completion; none where PyTorch is missing."""
    try:
        from transcode.training.tasks import list_tasks
    except ImportError:
        return []
    return [name for name in list_tasks() if name.startswith(text)]


def _sizes(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    """Sizes of a model, as `--set` takes them."""
    from elector.evaluation.settings import known_keys

    names = [f"model.{key}=" for key in known_keys()["model"]]
    return [name for name in names if name.startswith(text)]


@click.command()
@click.argument("model", shell_complete=_models)
@click.argument("task", shell_complete=_tasks)
@click.option(
    "--tau-i",
    type=float,
    default=0.0,
    show_default=True,
    metavar="X",
    help="DynaTran: activations with |x| <= X become zero.",
)
@click.option(
    "--tau-t",
    type=float,
    default=0.0,
    show_default=True,
    metavar="X",
    help="DynaProp: propagated gradients with |g| <= X become zero.",
)
@click.option(
    "--top-k-i",
    type=float,
    metavar="SHARE",
    help="Top-k in place of --tau-i: of each row of activations this share stays.",
)
@click.option(
    "--top-k-t",
    type=float,
    metavar="SHARE",
    help="Top-k in place of --tau-t: of each row of gradients this share stays.",
)
@click.option(
    "--switch",
    type=click.Choice(["none", "hpt"]),
    default="none",
    show_default=True,
    help="hpt: go on with low-rank pairs once HpT's rule finds no difference.",
)
@click.option(
    "--window",
    type=click.IntRange(min=2),
    metavar="STEPS",
    help="Window of the switch rule; a hundredth of the steps by default.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    metavar="N",
    help="Optimizer steps; what the task's recipe says by default.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    metavar="N",
    help="Sequences of a step; the recipe's number by default.",
)
@click.option(
    "--learning-rate",
    type=float,
    metavar="X",
    help="Of AdamW, after a warm-up over a twentieth of the steps; the recipe's by default.",
)
@click.option(
    "--schedule",
    type=click.Choice(["auto", "linear", "constant"]),
    default="auto",
    show_default=True,
    help="Learning rate after the warm-up; auto: constant with a switch rule, else linear.",
)
@click.option(
    "--sequence-length",
    type=click.IntRange(min=1),
    metavar="N",
    help="Tokens, patches or time steps; the task's own number by default.",
)
@click.option(
    "--dropout",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="X",
    help="Share of activations that training drops; the recipe's by default.",
)
@click.option(
    "--evaluate",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="Steps between two validation scores; a tenth of the run by default.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Same seed, settings and library versions: the same result, bit for bit.",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=_sizes,
    help="A size of the model, such as model.layers=2. Repeatable.",
)
@click.option(
    "--out",
    type=click.Path(readable=False, path_type=Path),
    metavar="DIR",
    help="Run folder; results/train-MODEL-TASK by default.",
)
@click.option("--fresh", is_flag=True, help="Start anew instead of going on with what is there.")
@click.option(
    "--format",
    type=FORMATS,
    default="table",
    show_default=True,
    help="How the result is printed at the end.",
)
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def train(
    model: str,
    task: str,
    assignments: tuple[str, ...],
    out: Path | None,
    fresh: bool,
    format: str,
    quiet: bool,
    **asked: Unpack[TrainOptions],
) -> None:
    """Train MODEL on TASK with pruned activations and gradients, and measure what was pruned.

    TASK is a shipped one (digits, digits-tokens, co2, elnino, sunspots, climate, docstrings), a
    .csv of time series or a text. Needs the extra `train`. Started again, it goes on where it
    stopped; exits with 1 where the loss diverges and with 130 where it was interrupted.

    \b
    transcode train bert-tiny digits --tau-i 0.05 --tau-t 1e-4
    transcode train encoder co2 --set model.layers=2 --set model.hidden=64 \\
        --switch hpt
    elector simulate results/train-bert-tiny-digits/model.yaml acceltran-server \\
        --mode training --sparsity results/train-bert-tiny-digits/sparsity.csv
    """
    from transcode.training.need import need

    overrides = settings_of(assignments, {})
    for key in overrides:
        if not key.startswith("model."):
            raise InputError(
                "is not a size of the model",
                field="--set",
                value=key,
                hint="model.*, as in model.layers=2",
            )
    for module, package in (("torch", "PyTorch"), ("scipy", "SciPy")):
        need(module, package)
    _run(_settings(model, task, overrides, asked), out, fresh, format, quiet)


def _settings(model: str, task: str, overrides: dict[str, object], asked: TrainOptions) -> Settings:
    """Settings of the run: what was not asked for is what the task's recipe says."""
    from transcode.training.recipes import recipe
    from transcode.training.settings import Settings
    from transcode.training.tasks import load_task

    length, seed = asked["sequence_length"], asked["seed"]
    usual = recipe(load_task(task, sequence_length=length, seed=seed))
    steps, batch = asked["steps"], asked["batch"]
    rate, dropout = asked["learning_rate"], asked["dropout"]
    return Settings(
        model=model,
        task=task,
        tau_i=asked["tau_i"],
        tau_t=asked["tau_t"],
        top_k_i=asked["top_k_i"],
        top_k_t=asked["top_k_t"],
        switch=asked["switch"],
        window=asked["window"] or 0,
        steps=usual.steps if steps is None else steps,
        batch=usual.batch if batch is None else batch,
        learning_rate=usual.learning_rate if rate is None else rate,
        dropout=usual.dropout if dropout is None else dropout,
        schedule=asked["schedule"],
        seed=seed,
        sequence_length=length,
        evaluate=asked["evaluate"] or 0,
        overrides=overrides,
    )


def _run(settings: Settings, out: Path | None, fresh: bool, format: str, quiet: bool) -> None:
    from elector.cli.report import progress
    from transcode.cli import report_train
    from transcode.training import folder, loop

    command = spelled(" ".join(["transcode", *sys.argv[1:]]))
    place = folder.default(settings) if out is None else out
    try:
        with progress(quiet, report_train.line) as show:
            run = loop.train(settings, out=place, fresh=fresh, command=command, progress=show)
    except loop.TrainingInterrupted as stop:
        click.echo(
            f"interrupted: {stop.step:,} steps are safe in {stop.folder}; "
            "the same command goes on from there",
            err=True,
        )
        raise click.exceptions.Exit(INTERRUPTED) from None
    report_train.result(run, place, format)
