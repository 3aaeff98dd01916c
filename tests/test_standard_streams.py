"""Every command of both programs, where what it prints cannot be written.

A result that is not written is a failure: exit 1 and one message, and nothing that claims
otherwise. A reader that goes away is none, as everywhere: exit 1 without a word. Messages that
nobody can read change nothing.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from exported import archive
from programs import commands, run, together

if not Path("/dev/full").exists():
    pytest.skip("no /dev/full on this system", allow_module_level=True)

SPACE = """
name: least
model: {base: bert-tiny}
accelerator: {base: systolic, rows: [16, 32]}
objectives: {latency_s: min, energy_j: min}
"""
PLAN = """
model: bert-tiny
phases:
  - {name: all, steps: 10, trainable: all, accelerator: systolic}
"""
TRAIN = "bert-tiny digits --steps 2 --batch 8 --set model.layers=1 --set model.hidden=16"
#: Arguments with which each command prints something on standard output and nothing else.
#: OUT is a new name in every call.
ARGUMENTS = {
    ("elector", "simulate"): "bert-tiny systolic",
    ("elector", "sweep"): "designs.csv --out -",
    ("elector", "list"): "models",
    ("elector", "explain"): "bert-tiny systolic",
    ("elector", "show"): "tpu-v4i",
    ("elector", "compare"): "first/front.csv first/front.csv --metric latency_s",
    ("elector", "trace"): "bert-tiny systolic --out OUT.json",
    ("elector", "import"): "program.pt2 --out OUT.yaml",
    ("elector", "run"): "plan.yaml",
    ("elector", "schema"): "plan",
    ("elector", "report"): "bert-tiny systolic --out OUT.html",
    ("elector", "validate"): "--case tpu-v1",
    ("transcode", "search"): "space.yaml --quiet --jobs 1 --format csv --out OUT",
    ("transcode", "front"): "first --format csv",
    ("transcode", "show"): "first 0",
    ("transcode", "report"): "first --out OUT.html",
    ("transcode", "schema"): "space",
    ("transcode", "plot"): "first --out OUT.png",
    ("transcode", "compare"): "first second --format csv",
    ("transcode", "check"): "first --require designs>=1 --format json",
    ("transcode", "merge"): "first second --out OUT",
    ("transcode", "train"): f"{TRAIN} --quiet --out OUT",
}
#: What a command may say on standard error beside its result; not where the result was lost.
CLAIMS = {("elector", "sweep"): r"-: 1 rows, 0 infeasible, 0 unreadable\n"}
#: Commands that go through every way of failing in the quick tests, too.
QUICK = {("elector", "sweep"), ("elector", "list"), ("transcode", "front")}
EXTRAS = {("transcode", "train"): ("torch", "scipy", "sklearn")}


@dataclass(frozen=True)
class Case:
    """A way in which standard output fails. before : what the new process does first."""

    before: Callable[[], object]
    message: str


def full() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def broken() -> None:
    reads, writes = os.pipe()
    os.close(reads)
    os.dup2(writes, 1)


FAILURES = {
    "full": Case(full, "Error: standard output: cannot be written: No space left on device\n"),
    "closed": Case(
        lambda: os.close(1), "Error: standard output: cannot be written: Bad file descriptor\n"
    ),
    "broken pipe": Case(broken, ""),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands need: a table, a plan, a space, two runs of it."""
    folder = tmp_path_factory.mktemp("streams")
    (folder / "designs.csv").write_text("model,accelerator\nbert-tiny,systolic\n")
    (folder / "plan.yaml").write_text(PLAN)
    archive(folder / "program.pt2")
    (folder / "space.yaml").write_text(SPACE)
    search, seeds = ("transcode", "search", "space.yaml", "--quiet"), {"first": "0", "second": "1"}
    searches = [(*search, "--seed", seed, "--out", out) for out, seed in seeds.items()]
    for done in together(searches, folder):
        assert done.code == 0, done.err
    return folder


def words_of(command: tuple[str, ...], out: str) -> list[str]:
    """A call of the command that writes its files under the name `out`."""
    for module in EXTRAS.get(command, ()):
        pytest.importorskip(module)
    return [*command[1:], *ARGUMENTS[command].replace("OUT", out).split()]


def test_the_table_has_every_command() -> None:
    known = set()
    for program in ("elector", "transcode"):
        main = importlib.import_module(f"{program}.cli").main
        known |= {(program, *words) for words in commands(main)}
    # serve speaks a protocol on standard output (tests/transcode/test_serve.py)
    assert set(ARGUMENTS) == known - {("transcode", "serve")}


def cases() -> list[Any]:
    """Every command with every failure, buffered and not; the quick tests take some of them."""
    parameters = []
    for command, (failure, case), unbuffered in product(ARGUMENTS, FAILURES.items(), ("", "1")):
        quick = unbuffered == "" and command in QUICK
        name = f"{' '.join(command)}, {failure}{', unbuffered' * bool(unbuffered)}"
        marks = () if quick else (pytest.mark.slow,)
        parameters.append(pytest.param(command, case, unbuffered, id=name, marks=marks))
    return parameters


@pytest.mark.parametrize(("command", "case", "unbuffered"), cases())
def test_a_result_that_is_not_written_is_a_failure(
    command: tuple[str, ...], case: Case, unbuffered: str, folder: Path, tmp_path: Path
) -> None:
    words = words_of(command, str(tmp_path / "out"))
    env = {"PYTHONUNBUFFERED": unbuffered}
    done = run(command[0], *words, cwd=folder, env=env, stdout=None, first=case.before)
    assert (done.returncode, done.stderr) == (1, case.message), words


@pytest.mark.parametrize(
    "unbuffered",
    ["", pytest.param("1", marks=pytest.mark.slow)],
    ids=["buffered", "unbuffered"],
)
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("words", ["--help", "--version", "COMMAND --help", "complete"])
@pytest.mark.parametrize("program", ["elector", "transcode"])
def test_help_that_is_not_written_is_a_failure(
    program: str, words: str, failure: str, unbuffered: str
) -> None:
    env = {"PYTHONUNBUFFERED": unbuffered}
    if words == "complete":
        env |= {f"_{program.upper()}_COMPLETE": "bash_source"}
    command = {"elector": "simulate", "transcode": "front"}[program]
    arguments = [] if words == "complete" else words.replace("COMMAND", command).split()
    case = FAILURES[failure]
    done = run(program, *arguments, env=env, stdout=None, first=case.before)
    assert (done.returncode, done.stderr) == (1, case.message)


def into_a_file(failure: Callable[[], object], result: int) -> Callable[[], None]:
    """What a process does first: its messages fail in that way, its result goes to a file."""

    def first() -> None:
        failure()
        os.dup2(1, 2)
        os.dup2(result, 1)

    return first


@pytest.mark.parametrize(
    "command",
    [pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in ARGUMENTS],
    ids=" ".join,
)
def test_messages_that_nobody_can_read_change_nothing(
    command: tuple[str, ...], folder: Path
) -> None:
    """With standard error full, broken or closed a command does what it always does."""
    outcomes = {}
    for name in ("whole", "full", "broken", "closed"):
        out = f"said-{'-'.join(command)}-{name}"
        words = [word for word in words_of(command, out) if word != "--quiet"]
        with (folder / f"{name}.txt").open("w+") as stdout:
            first = {
                "whole": None,
                "full": into_a_file(full, stdout.fileno()),
                "broken": into_a_file(broken, stdout.fileno()),
                "closed": lambda: os.close(2),
            }[name]
            done = run(command[0], *words, cwd=folder, stdout=stdout, first=first)
            stdout.seek(0)
            shown = stdout.read().replace(out, "OUT")
        outcomes[name] = done.returncode, re.sub(r"\d+\.\d s\b", "", shown)
        if name == "whole":
            assert "Traceback" not in done.stderr and "Error" not in done.stderr
            assert re.search(CLAIMS.get(command, ""), done.stderr)
            assert outcomes[name][0] == 0 and shown, done.stderr
    assert len(set(outcomes.values())) == 1, outcomes


@pytest.mark.parametrize("failure", ["full", "closed"])
def test_a_name_for_standard_output_is_no_way_around(failure: str, folder: Path) -> None:
    case = FAILURES[failure]
    words = ("sweep", "designs.csv", "--out", "/dev/stdout")
    done = run("elector", *words, cwd=folder, stdout=None, first=case.before)
    said = "Error: /dev/stdout: cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_a_file_does_not_take_the_place_of_a_closed_stream(folder: Path) -> None:
    """Or else what is printed would end up in it."""

    def close() -> None:
        for descriptor in range(3):
            os.close(descriptor)

    done = run(
        *("elector", "sweep", "designs.csv", "--out", "costs.csv"),
        cwd=folder,
        stdout=None,
        stderr=None,
        first=close,
    )
    assert done.returncode == 0
    written = (folder / "costs.csv").read_text()
    assert written.startswith("model,accelerator,") and len(written.splitlines()) == 2


@pytest.mark.parametrize(
    "encoding", ["ascii", *(pytest.param(e, marks=pytest.mark.slow) for e in ("cp1252", "utf-8"))]
)
def test_what_a_terminal_cannot_show_is_spelled_out(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(
        "name: small\nmodel: {base: encoder, layers: [2, 4], hidden: 128, heads: 2}\n"
        "accelerator: {base: systolic}\nworkload: {task: sst2}\n"
        "objectives: {accuracy: max, latency_s: min}\n"
    )
    named = "Größe-λ"
    env = {"PYTHONIOENCODING": encoding}
    words = ("search", "space.yaml", "--quiet", "--out", named)
    with (tmp_path / "shown").open("wb") as stdout:
        done = run("transcode", *words, cwd=tmp_path, env=env, stdout=stdout)
    assert (done.returncode, done.stderr) == (0, "")
    shown = (tmp_path / "shown").read_bytes().decode(encoding)
    assert ("+-" if encoding == "ascii" else "±") in shown
    spelled = {"ascii": r"Gr\xf6\xdfe-\u03bb", "cp1252": r"Größe-\u03bb", "utf-8": named}
    assert spelled[encoding] in shown
    done = run("transcode", "front", "fort-Ł", cwd=tmp_path, env=env)
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_a_name_that_is_no_text_is_no_traceback(tmp_path: Path) -> None:
    name = b"\xff.yaml".decode(errors="surrogateescape")
    shutil.copy(Path(__file__).parent.parent / "docs" / "examples" / "model.yaml", tmp_path / name)
    done = run("elector", "simulate", name, "systolic", cwd=tmp_path)
    assert done.returncode == 0 and r"\udcff.yaml on systolic" in done.stdout, done.stderr


@pytest.mark.parametrize("program", ["elector simulate bert-tiny systolic", "transcode --version"])
def test_a_terminal_of_thousands_of_digits_is_none(program: str, tmp_path: Path) -> None:
    done = run(*program.split(), cwd=tmp_path, env={"COLUMNS": "9" * 5000, "LINES": "9" * 5000})
    assert done.returncode == 0 and done.stdout and "Traceback" not in done.stderr
