"""The two programs as a user starts them: each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
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


def commands(command: click.Command, *words: str) -> Iterator[tuple[str, ...]]:
    """The words of every command below `command` that does something itself."""
    if isinstance(command, click.Group):
        for word, child in command.commands.items():
            yield from commands(child, *words, word)
    else:
        yield words
