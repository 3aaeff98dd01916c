"""Files that commands write: checked before any work, and never seen half written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from elector.base.errors import ElectorError, EvaluationError, InputError

#: A disk that is full, a quota or limit that is reached, a disk that fails.
_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def is_machines(error: OSError) -> bool:
    """Whether the machine is to blame rather than the name of a file."""
    return error.errno in _MACHINE


def not_written(error: OSError, path: object = None) -> ElectorError:
    """What is raised where writing failed: exit 1 where the disk is full or fails, else 2."""
    problem = f"cannot be written: {error.strerror or error}"
    if not is_machines(error):
        return InputError(problem, file=path)
    return EvaluationError(problem if path is None else f"{path}: {problem}")


def check_output(out: str, formats: Iterable[str] = (), field: str = "--out") -> None:
    """Refuse a file that cannot be written or has no known suffix, before any work.

    formats : suffixes that are allowed; empty for any. `-` is standard output.
    """
    if out == "-":
        return
    path, formats = Path(out), tuple(formats)
    if path.is_dir():
        raise InputError("is a directory, not a file", file=out, field=field)
    if path.exists() and not path.is_file():  # a device or a pipe
        return
    if formats and path.suffix.lower() not in formats:
        raise InputError(
            "unknown kind of file", file=out, field=field, value=path.suffix, allowed=formats
        )
    scratch = scratch_of(path)
    try:
        scratch.open("xb").close()
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise InputError(
            f"cannot be written: {error.strerror or error}", file=out, field=field
        ) from None
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """The name to write a file under: beside it, renamed in the end; a device or pipe itself."""
    if path.exists() and not path.is_file():
        with _named(path):
            yield path
        return
    scratch = scratch_of(path)
    try:
        with _named(path):
            yield scratch
            scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """An error of writing names the file that the user asked for."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def scratch_of(path: Path) -> Path:
    """Temporary name beside a file, under which it is written before it is renamed."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")
