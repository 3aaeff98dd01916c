"""What a command writes is no file that it reads, in both programs: refused, nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from commands import run

from elector.base.output import require_apart, whole
from elector.base.paths import read_text, reading
from elector.cli.commands import main as elector
from elector.cli.named import OUTPUTS
from transcode.cli.commands import main as transcode


def pairs() -> Iterator[tuple[click.Group, str, click.Parameter, click.Parameter]]:
    """Every output of a file beside every input that may be a file, of every command."""
    for program in (elector, transcode):
        for name, command in program.commands.items():
            outputs = [
                p
                for p in command.params
                if OUTPUTS.intersection(p.opts) and isinstance(p.type, click.Path)
            ]
            for parameter in command.params:
                argument = isinstance(parameter, click.Argument)
                path = isinstance(parameter.type, click.Path)
                read = path or (argument and parameter.type is click.STRING)
                read = read or parameter.name in ("assignments", "sparsity", "baseline")
                for output in outputs:
                    # a table that is swept into itself keeps its columns
                    keeps = name == "sweep" and argument and "--out" in output.opts
                    if read and parameter not in outputs and output.metavar != "DIR" and not keeps:
                        yield program, name, parameter, output


ALL = list(pairs())


@pytest.mark.parametrize("spelled", ["same", "dotted", "symbolic", "hard"])
@pytest.mark.parametrize(
    ("program", "name", "parameter", "output"),
    ALL,
    ids=[f"{n}-{p.name}-{o.name}" for _, n, p, o in ALL],
)
def test_no_output_is_an_input(
    program: click.Group,
    name: str,
    parameter: click.Parameter,
    output: click.Parameter,
    spelled: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("mine.json")
    file.write_text("precious\n")
    other = {"same": "mine.json", "dotted": "./none/../mine.json"}.get(spelled, "link.json")
    Path("none").mkdir()
    if spelled == "symbolic":
        Path(other).symlink_to(file)
    elif spelled == "hard":
        os.link(file, other)
    text = f"model.base={file}" if parameter.name == "assignments" else str(file)
    words = [name]
    for each in program.commands[name].params:
        given = text if each is parameter else "1"
        if isinstance(each, click.Argument):
            words += [given] * (2 if each.nargs < 0 else 1)
        elif each is parameter:
            words += [each.opts[0], given]
    before = sorted(tmp_path.iterdir())
    result = CliRunner().invoke(program, [*words, output.opts[0], other])
    assert result.exit_code == 2, result.output
    assert "names it, too" in result.stderr and output.opts[0] in result.stderr
    assert file.read_text() == "precious\n" and sorted(tmp_path.iterdir()) == before


def test_every_command_that_writes_a_file_is_tried() -> None:
    assert {(program.name, name) for program, name, _, _ in ALL} >= {
        ("main", name)
        for name in ("sweep", "compare", "trace", "report", "import", "validate", "plot", "check")
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sweep", "t.csv", "--out", "m.json"), "another file"),
        (("sweep", "t.csv", "--out", "o.csv", "--junit", "m.json"), "unknown kind of file"),
    ],
)
def test_no_output_is_a_file_that_an_input_names(
    words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    config = '{"model_type": "gpt2", "n_embd": 64, "n_head": 2, "n_layer": 2}'
    Path("m.json").write_text(config)
    Path("t.csv").write_text("model,accelerator\nm.json,systolic\n")
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    result = run(*words)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_a_report_is_not_written_over_the_records_of_a_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path("run/front.csv").write_text("precious\n")
    words = ["check", "run", "--require", "front >= 1", "--junit", "run/front.csv"]
    result = CliRunner().invoke(transcode, words)
    assert result.exit_code == 2 and "run names it, too" in result.stderr
    assert Path("run/front.csv").read_text() == "precious\n"
    words = ["check", "other", "--require", "front >= 1", "--baseline", "run"]
    result = CliRunner().invoke(transcode, [*words, "--junit", "run/front.csv"])
    assert result.exit_code == 2 and "--baseline names it, too" in result.stderr
    require_apart({"--out": "run/front.png"}, [("run", "run")])


def test_what_standard_input_comes_from_is_an_input(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("model,accelerator\nbert-tiny,systolic\n")
    words = [sys.executable, "-m", "elector", "sweep", "-", "--out", str(table)]
    with table.open() as stream:
        ended = subprocess.run(words, stdin=stream, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and "is read by this command, too" in ended.stderr
    assert table.read_text() == "model,accelerator\nbert-tiny,systolic\n"


def test_a_page_is_not_written_over_the_measurements(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("index.html").write_text("precious\n")
    result = run("validate", "--data", "index.html", "--report", ".")
    assert result.exit_code == 2 and "--data names it, too" in result.stderr
    assert Path("index.html").read_text() == "precious\n"


def test_outputs_that_are_no_inputs_may_be_written_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A shipped name goes before a file of that name; a device is nobody's file."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        ended = run("trace", "bert-tiny", "systolic", "--out", "bert-tiny")
        assert ended.exit_code == 0, ended.output
    Path("t.csv").write_text("model,accelerator\nbert-tiny,systolic\n")
    for _ in range(2):
        assert run("sweep", "t.csv", "--out", "o.csv", "--junit", "o.xml").exit_code == 0
    assert run("sweep", "t.csv", "--out", os.devnull).exit_code == 0
    assert run("compare", "o.csv", "o.csv", "--junit", os.devnull).exit_code == 0


def test_a_program_may_write_what_it_has_read(tmp_path: Path) -> None:
    """Only a running command remembers what it read."""
    file = tmp_path / "t.csv"
    file.write_text("a\n")
    with reading():
        read_text(file)
        with pytest.raises(Exception, match="is read by this command"), whole(file):
            pass
    read_text(file)
    with whole(file) as target:
        target.write_text("b\n")
    assert file.read_text() == "b\n"
