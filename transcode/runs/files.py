"""Files that are either the old ones or the new ones, never half of each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from elector.base.errors import InputError

#: Lock files that this process holds.
_HELD: set[IO[str]] = set()


def _let_go() -> None:
    """In a forked worker: a killed search must not stay locked until its workers end, too."""
    for stream in _HELD:
        stream.close()


if os.name == "posix":
    os.register_at_fork(after_in_child=_let_go)


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Has `write` fill a hidden file beside `path`, then puts it in its place."""
    temporary = path.with_name(f".{path.name}.tmp")
    write(temporary)
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())  # a machine that dies must not leave a name without content
    os.replace(temporary, path)


def write_text(path: Path, text: str) -> None:
    """Replaces a text file."""
    replace_file(path, lambda temporary: _fill(temporary, text))


def _fill(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, value: object) -> None:
    """Replaces a JSON file."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a run folder: a second search in the same folder is refused, not mixed in."""
    try:
        import fcntl
    except ImportError:  # not a Unix: no lock to be had
        yield
        return
    path = folder / ".lock"
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                "another search is writing here", file=folder, hint="choose another --out"
            ) from None
        _HELD.add(stream)
        try:
            yield
        finally:
            _HELD.discard(stream)
