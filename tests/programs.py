"""The two programs as a user starts them: each in a process of its own, or many calls in one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import click


def command_line(program: str, *words: str) -> list[str]:
    """How `elector` or `transcode` is started, whether or not it is installed."""
    return [sys.executable, "-m", program, *words]


def run(
    program: str,
    *words: str,
    cwd: Path | None = None,
    env: Mapping[str, str] = {},
    stdout: int | IO[Any] = subprocess.PIPE,
    stderr: int | IO[Any] = subprocess.PIPE,
    first: Callable[[], object] | None = None,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """One call of a program. env : what is added. first : called in the new process."""
    return subprocess.run(
        command_line(program, *words),
        cwd=cwd,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        preexec_fn=first,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
        timeout=timeout,
    )


#: Runs commands in a process of its own: [[program, word, ...], ...] in, what became of them out.
_COMMANDS = """
import json, sys
from click.testing import CliRunner
from elector.cli.commands import main as elector
from transcode.cli.commands import main as transcode
for program, *words in json.load(sys.stdin):
    done = CliRunner().invoke({"elector": elector, "transcode": transcode}[program], words)
    crash = None if isinstance(done.exception, SystemExit | None) else repr(done.exception)
    print(json.dumps([done.exit_code, done.stdout, done.stderr, crash]))
"""


@dataclass(frozen=True)
class Done:
    """What became of a command. crash : the exception that it ended with, if it was not its own."""

    code: int
    out: str
    err: str
    crash: str | None


def together(
    commands: Sequence[Sequence[str]], cwd: Path, first: Callable[[], object] | None = None
) -> list[Done]:
    """Many calls ([program, *words]) one after another in one new process.

    cwd : where; packages that lie there are the ones called. first : called in the new process.
    """
    done = subprocess.run(
        [sys.executable, "-c", _COMMANDS],
        input=json.dumps([list(map(str, words)) for words in commands]),
        preexec_fn=first,
        capture_output=True,
        text=True,
        cwd=cwd,
        check=True,
    )
    return [Done(*json.loads(line)) for line in done.stdout.splitlines()]


def commands(command: click.Command, *words: str) -> Iterator[tuple[str, ...]]:
    """The words of every command below `command` that does something itself."""
    if isinstance(command, click.Group):
        for word, child in command.commands.items():
            yield from commands(child, *words, word)
    else:
        yield words
