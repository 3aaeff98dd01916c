"""Ctrl-C, wherever a program is: one word, exit 130, no traceback.

Where Python itself starts, before it has read a line of ours (some 20 ms), it prints what it
likes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from programs import command_line

#: What stands for a library that is being imported when Ctrl-C comes.
SLOW = """
import pathlib, time
pathlib.Path({marker!r}).touch()
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    time.sleep(0.001)
"""


def started(words: list[str], folder: Path, library: str, action: int) -> subprocess.Popen[str]:
    """A program that has begun to import `library`. action : what becomes of its SIGINT."""
    marker = folder / "importing"
    (folder / f"{library}.py").write_text(SLOW.format(marker=str(marker)))
    process = subprocess.Popen(
        words,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), os.environ["PYTHONPATH"]))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, action),
    )
    deadline = time.monotonic() + 60
    while not marker.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    ("program", "arguments", "library"),
    [
        ("elector", "--help", "click"),  # before there are commands
        ("elector", "simulate bert-tiny systolic", "yaml"),  # within one
        ("elector", "sweep designs.csv --out -", "numpy"),
        ("transcode", "--help", "click"),
        ("transcode", "front run", "numpy"),
        ("transcode", "plot run", "numpy"),
    ],
)
def test_an_import_is_interrupted(
    program: str, arguments: str, library: str, times: int, tmp_path: Path
) -> None:
    process = started(command_line(program, *arguments.split()), tmp_path, library, signal.SIG_DFL)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
    shown, said = process.communicate(timeout=60)
    assert (process.returncode, shown) == (130, "")
    # The second may come before the first has been told of, or after.
    assert said == "interrupted\n" or (times == 2 and said in ("", "interrupted\n" * 2))


def test_an_interrupt_that_a_shell_had_ignored_stays_ignored(tmp_path: Path) -> None:
    """As a command in the background of a script: its Ctrl-C is meant for another."""
    process = started(command_line("elector", "--help"), tmp_path, "click", signal.SIG_IGN)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.kill()
    process.communicate()
