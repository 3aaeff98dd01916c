"""Files that commands write: checked before any work, and never seen half written."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from elector.errors import InputError


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


def scratch_of(path: Path) -> Path:
    """Temporary name beside a file, under which it is written before it is renamed."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")
