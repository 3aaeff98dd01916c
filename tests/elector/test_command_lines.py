"""What both programs say of a command line before they look at anything else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from programs import commands

from elector.cli.commands import main as elector
from transcode.cli.commands import main as transcode

MODEL = ("simulate", "bert-tiny", "systolic")


def counted(kind: object) -> bool:
    """Whether an option takes numbers, or one of some choices."""
    numbers = (click.IntRange, click.FloatRange, click.Choice)
    return isinstance(kind, numbers) or kind in (click.INT, click.FLOAT)


def choosing() -> list[tuple[click.Group, tuple[str, ...], click.Parameter]]:
    """Every parameter of both programs that takes numbers or choices, with its command."""
    taking = []
    for main in (elector, transcode):
        for words in commands(main):
            command: click.Command = main
            for word in words:
                assert isinstance(command, click.Group)
                command = command.commands[word]
            taking += [(main, words, p) for p in command.params if counted(p.type)]
    return taking


def test_every_choice_and_number_is_said_in_one_way() -> None:
    """What is allowed, what was given, and the option that it was given to."""
    asked = choosing()
    assert len(asked) > 40
    for main, words, parameter in asked:
        if isinstance(parameter, click.Option):
            line = [*words, f"{parameter.opts[0]}=tabel"]
            named = parameter.opts[0]
        else:
            before = command_of(main, words).params
            places = [p for p in before if isinstance(p, click.Argument)]
            line = [*words, *("tabel" for _ in places)]
            named = str(parameter.metavar or parameter.name)
        result = CliRunner().invoke(main, line)
        assert result.exit_code == 2, line
        assert result.stderr.startswith(f"Error: {named}: "), (line, result.stderr)
        assert "(got 'tabel')" in result.stderr, (line, result.stderr)
        said = "allowed: " if isinstance(parameter.type, click.Choice) else "must be a "
        assert said in result.stderr, (line, result.stderr)


def command_of(main: click.Group, words: tuple[str, ...]) -> click.Command:
    """The command of some words."""
    command: click.Command = main
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    return command


@pytest.mark.parametrize(
    ("main", "words", "said"),
    [
        (elector, (*MODEL, "--format", "jsn"), "did you mean json?"),
        (elector, ("list", "modles"), "did you mean models?"),
        (elector, ("schema", "modl"), "did you mean model?"),
        (elector, (*MODEL, "--samples", "5"), "must be a whole number from 20 to 100,000"),
        (elector, (*MODEL, "--seed", "-1"), "must be a whole number from 0 up"),
        (transcode, ("search", "bert", "--stall", "1"), "must be a number from 0 to below 1"),
        (transcode, ("search", "bert", "--budget", "1e3"), "must be a whole number from 1 up"),
        (transcode, ("train", "a", "b", "--schedule", "lin"), "did you mean linear?"),
        (transcode, ("schema", "spac"), "did you mean space?"),
    ],
)
def test_what_an_option_does_not_take(main: click.Group, words: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Usage:" not in result.stderr


def test_an_option_that_is_given_twice_is_said() -> None:
    words = [*MODEL, "--format", "csv", "--batch", "8", "--format", "json", "--batch=1"]
    result = CliRunner().invoke(elector, words)
    assert result.exit_code == 0
    notes = result.stderr.splitlines()
    assert "note: --format is given more than once; the last one counts" in notes
    assert "note: --batch is given more than once; the last one counts" in notes
    assert (
        result.stdout == CliRunner().invoke(elector, [*MODEL, "--batch=1", "--format=json"]).stdout
    )


def test_an_address_with_a_password_is_not_repeated_where_it_is_given_twice(tmp_path: Path) -> None:
    address = "postgresql://me:sesame@host/name"
    words = ["search", str(tmp_path / "none.yaml"), "--storage", address, "--storage", address]
    result = CliRunner().invoke(transcode, words)
    assert "note: --storage is given more than once" in result.stderr
    assert "sesame" not in result.output


@pytest.mark.parametrize(
    "words",
    [
        (*MODEL, "--set", "workload.batch=1", "--set", "workload.sequence_length=64"),
        (*MODEL, "--operations", "--operations"),
        MODEL,
    ],
)
def test_what_may_be_repeated_is_not_said(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(elector, list(words))
    assert result.exit_code == 0
    assert "more than once" not in result.stderr


@pytest.mark.parametrize("name", ["x.png", "x.csv", "x.json", "x.parquet"])
def test_junit_is_not_written_under_the_name_of_another_kind(name: str, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("model,accelerator\nbert-tiny,systolic\n")
    out = tmp_path / name
    for main, words in (
        (elector, ("sweep", table, "--format", "csv")),
        (elector, ("validate", "--only", "tpu-v1")),
        (elector, ("compare", table, table)),
        (transcode, ("check", tmp_path, "--require", "front > 1")),
    ):
        result = CliRunner().invoke(main, [str(w) for w in (*words, "--junit", out)])
        assert result.exit_code == 2, words
        assert "--junit: unknown kind of file" in result.stderr, result.stderr
        assert not out.exists()


def test_an_interrupt_in_code_that_was_made_of_text_ends_with_130() -> None:
    """A dataclass is made of text: Python itself remembers a Ctrl-C there, and would end by it."""
    script = (
        "import elector.cli.commands as commands\n"
        "def main(prog_name):\n"
        "    exec('raise KeyboardInterrupt')\n"
        "commands.main = main\n"
        "from elector.cli.entry import run\n"
        "run('elector')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 130, done.stderr
