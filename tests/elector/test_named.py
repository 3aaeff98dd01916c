"""Arguments and files of both programs that are given no name, and outputs named `-`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from elector.base.errors import InputError
from elector.base.output import check_output
from elector.cli.commands import main as elector
from elector.cli.named import OUTPUTS
from elector.studies.sweep_table import read_table
from transcode.cli.commands import main as transcode
from transcode.runs.loaded import load_run
from transcode.space.files import find


def parameters() -> Iterator[tuple[click.Group, str, click.Parameter]]:
    """Every argument that is a name or a path, and every option that is a path."""
    for program in (elector, transcode):
        for name, command in program.commands.items():
            for parameter in command.params:
                argument = isinstance(parameter, click.Argument)
                path = isinstance(parameter.type, click.Path)
                if path or (argument and parameter.type is click.STRING):
                    yield program, name, parameter


def call(program: click.Group, name: str, wanted: click.Parameter, text: str) -> tuple[int, str]:
    """Exit code and message of a command that gets `text` for one of its parameters."""
    words = [name]
    for parameter in program.commands[name].params:
        choices = getattr(parameter.type, "choices", ("1",))
        given = text if parameter is wanted else choices[0]
        if isinstance(parameter, click.Argument):
            words += [given] * (2 if parameter.nargs < 0 else 1)
        elif parameter is wanted:
            words += [parameter.opts[0], given]
    result = CliRunner().invoke(program, words)
    return result.exit_code, result.output


ALL = list(parameters())
#: Commands of transcode whose output is a folder.
FOLDERS = ("search", "merge", "train")
IDS = [f"{name}-{p.name}" for _, name, p in ALL]


@pytest.mark.parametrize(("program", "name", "parameter"), ALL, ids=IDS)
def test_an_empty_name_is_said_as_empty(
    program: click.Group,
    name: str,
    parameter: click.Parameter,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = call(program, name, parameter, "")
    argument = isinstance(parameter, click.Argument)
    field = parameter.metavar or parameter.name if argument else parameter.opts[0]
    assert code == 2
    assert f"Error: {field}: is empty" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("program", "name", "parameter"),
    [each for each in ALL if OUTPUTS.intersection(each[2].opts)],
)
def test_an_output_named_dash_is_standard_output_or_refused(
    program: click.Group,
    name: str,
    parameter: click.Parameter,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert isinstance(parameter.type, click.Path)
    streams = program is elector and name in ("sweep", "trace", "import")
    assert parameter.type.allow_dash is (streams and parameter.name == "out")
    if not parameter.type.allow_dash:
        code, said = call(program, name, parameter, "-")
        assert code == 2
        assert f"Error: {parameter.opts[0]}: cannot be standard output" in said
        folder = parameter.name == "report" or (program is transcode and name in FOLDERS)
        assert f"./- is a {'folder' if folder else 'file'}" in said
    assert not list(tmp_path.iterdir())


def test_a_trace_goes_to_standard_output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The trace alone: what is said of it goes to standard error."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(elector, ["trace", "bert-tiny", "systolic", "--out", "-"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["traceEvents"]
    assert "closed form" in result.stderr
    assert "trace on standard output, " in result.stderr
    assert not list(tmp_path.iterdir())


def test_functions_say_it_too() -> None:
    for function in (read_table, load_run, find, check_output):
        with pytest.raises(InputError, match="is empty"):
            function("")
