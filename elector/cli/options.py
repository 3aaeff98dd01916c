"""Options that several commands share; choices and defaults come from the schema.

Nothing here needs numpy, so that help and completion answer at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import click
from click.core import ParameterSource

from elector.base.choices import choices, named_rows
from elector.base.errors import InputError
from elector.cli import completion

if TYPE_CHECKING:
    from elector.technology import Technology

Command = TypeVar("Command", bound=Callable[..., Any])

#: Options that are short for the workload setting of the same name. Choices and defaults come
#: from the schema.
WORKLOAD_OPTIONS = (
    ("mode", "One forward pass, or one whole training step"),
    ("batch", "Sequences of one step, or of each micro-batch where gradients accumulate"),
    ("sequence-length", "Tokens of a sequence (the prompt of a decoder)"),
    ("target-length", "Target tokens of an encoder-decoder; 0: as sequence-length"),
    ("generate", "Tokens that a decoder generates after the prompt"),
    ("precision", "Number format; native is the machine's own"),
    ("weights", "Format the matrices of layers are stored in"),
    ("kv-cache", "Format of the key/value cache"),
    ("optimizer", "Update rule of training"),
    ("activations", "What training keeps of the forward pass"),
    ("attention", "How attention is run"),
    ("residency", "A list of products: one model in main memory, or products one at a time"),
    ("serving", "Whether prompts come all together, or between the tokens of other requests"),
    ("implementation", "Software stack of a GPU"),
    ("prefill-chunk", "Tokens of a prompt that a GPU reads at once; 0: as its software stack does"),
    ("sparsity", "Densities after pruning: dense | acceltran | FILE, a sparsity table"),
    ("trainable", "What is trained: all | heads | lora:R (low-rank pairs of rank R, and heads)"),
    ("gradient-accumulation", "Micro-batches of one optimizer step, each of --batch sequences"),
)
FORMATS = click.Choice(["table", "json", "csv"])


class WorkloadOption(click.Option):
    """An option that is short for a key of the workload: choices and default come from there."""

    @property
    def help(self) -> str | None:
        """What it is, its choices, its default; the schema is read when help is asked for."""
        row = named_rows("schema/workload.csv")[str(self.name)]
        names = choices(row["choices"])
        listed = f": {' | '.join(names)}" if names else ""
        return f"{self._text}{listed}.  [default: {row['default']}]"

    @help.setter
    def help(self, text: str | None) -> None:
        self._text = text


def design(command: Command) -> Command:
    """The options that describe a workload and change a design."""
    decorators = [
        click.option(
            f"--{name}",
            metavar="VALUE",
            help=text,
            cls=WorkloadOption,
            shell_complete=completion.choices,
        )
        for name, text in WORKLOAD_OPTIONS
    ]
    decorators += [
        click.option(
            "--node",
            metavar="NM",
            help="Technology node of the accelerator [nm].  [default: the accelerator's own]",
        ),
        click.option(
            "--ignore-key",
            "ignore_key",
            metavar="KEY",
            multiple=True,
            help="Read a configuration past a key nobody knows, said in the notes. Repeatable.",
        ),
        click.option(
            "--set",
            "assignments",
            metavar="KEY=VALUE",
            multiple=True,
            shell_complete=completion.keys,
            help="Any setting: model.*, accelerator.*, workload.*. Repeatable.",
        ),
    ]
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


technology = click.option(
    "--technology",
    metavar="FILE",
    type=click.Path(readable=False),
    help="CSV of constants that replace shipped ones.",
)
format_ = click.option(
    "--format", "format", type=FORMATS, default="table", show_default=True, help="Output."
)


def load_technology(path: str | None) -> Technology | None:
    """The shipped tables with the user's file on top; None where there is no such file."""
    if path is None:
        return None
    from elector.technology import Technology

    return Technology.load(path)


def given(
    assignments: tuple[str, ...], options: dict[str, Any], **more: str | None
) -> dict[str, str]:
    """The options of a design that were given, as they are spelled, with their values.

    assignments, options : as of `settings_of`. more : further options, None where not given.
    """
    spelled = {
        f"--{name.replace('_', '-')}": ",".join(value) if isinstance(value, tuple) else str(value)
        for name, value in (options | more).items()
        if value is not None and value != ()
    }
    return spelled | ({"--set": assignments[0]} if assignments else {})


def was_given(name: str) -> bool:
    """Whether the running command was given the option of that (Python) name."""
    source = click.get_current_context().get_parameter_source(name)
    return source not in (None, ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)


def no_format_beside_yaml(as_file: bool) -> None:
    """Refuse `--format` where `--yaml` says already what is printed."""
    if as_file and was_given("format"):
        raise InputError("says how what is shown is printed, and so does --yaml", field="--format")


def settings_of(
    assignments: tuple[str, ...], options: dict[str, Any], spelled: str = "--set"
) -> dict[str, object]:
    """Dotted settings from `--set` and from the options that are short for one.

    options : name of the option as a Python name -> text, or None where it was not given.
    spelled : the option that the assignments come from.
    """
    settings: dict[str, object] = {}
    ignored = options.pop("ignore_key", ())
    if ignored:
        settings["model.ignore_keys"] = ",".join(ignored)
    for option, value in options.items():
        if value is not None:
            space = "accelerator" if option == "node" else "workload"
            settings[f"{space}.{option}"] = value
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        key = key.strip()
        if not equals or not key:
            raise InputError("must read KEY=VALUE", field=spelled, value=assignment)
        if "." not in key:
            raise InputError(
                "must be a dotted name",
                field=spelled,
                value=key,
                hint="model.*, accelerator.* or workload.*, as in workload.batch=8",
            )
        if key in settings:
            raise InputError("is given twice", field=key, value=value.strip())
        settings[key] = value.strip()
    return settings


class DrawOptions(TypedDict):
    """The options of intervals."""

    uncertainty: bool
    samples: int
    seed: int


samples = click.option(
    "--samples",
    type=click.IntRange(20, 100_000),
    default=1000,
    show_default=True,
    help="Draws of constants and errors behind --uncertainty.",
)
seed = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draws."
)


def uncertainty(command: Command) -> Command:
    """The options that ask for intervals: `--uncertainty --samples --seed`."""
    asked = click.option(
        "--uncertainty",
        is_flag=True,
        help="Also give the interval that nine of ten lie within: NAME_low, NAME_high.",
    )
    return asked(samples(seed(command)))


def no_draws_without(uncertainty: bool, *names: str) -> None:
    """Refuse options of draws that nobody asked to be made.

    names : of the options that stand for draws alone in this command.
    """
    for name in names:
        if not uncertainty and was_given(name):
            raise InputError("is for the draws of --uncertainty", field=f"--{name}")
