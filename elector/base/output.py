"""Files that commands write: checked before any work, and never seen half written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from elector.base import paths
from elector.base.errors import ElectorError, InputError
from elector.base.paths import is_machines

__all__ = ["check_output", "is_machines", "not_written", "save_picture", "scratch_of", "whole"]


def not_written(error: OSError, path: object = None) -> ElectorError:
    """What is raised where writing failed: exit 1 where the disk is full or fails, else 2.

    error : what the system said. path : the file, as the user named it.
    """
    return paths.refused(error, path, doing="written")


def check_output(out: str | Path, formats: Iterable[str] = (), field: str = "--out") -> None:
    """Refuse a file that cannot be written or has no known suffix, before any work.

    formats : suffixes that are allowed; empty for any. `-` is standard output.

    out : the file, as the user named it.
    """
    if str(out) == "-":
        return
    path, formats = Path(out), tuple(formats)
    try:
        if paths.is_folder(path):
            raise InputError("is a directory, not a file", file=out, field=field)
        if paths.is_special(path):
            return
    except InputError as error:
        raise InputError(
            error.problem.replace("read", "written"), file=error.file, field=field
        ) from None
    if formats and path.suffix.lower() not in formats:
        raise InputError(
            "unknown kind of file", file=out, field=field, value=path.suffix, allowed=formats
        )
    scratch = scratch_of(path)
    try:
        scratch.open("xb").close()
        if paths.exists(path) and not os.access(path, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except (OSError, ValueError) as error:
        raise paths.refused(error, out, field, "written") from None
    finally:
        with suppress(OSError, ValueError):
            scratch.unlink(missing_ok=True)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """The name to write a file under: beside it, renamed in the end; a device or pipe itself.

    Raises what `not_written` makes of an OSError.
    """
    if paths.is_special(path):
        with _named(path):
            yield path
        return
    scratch = scratch_of(path)
    try:
        yield scratch
        scratch.replace(path)
    except OSError as error:
        raise not_written(error, path) from None
    finally:
        with suppress(OSError, ValueError):
            scratch.unlink(missing_ok=True)


def save_picture(figure: Any, path: Path, dpi: int) -> None:
    """Writes a matplotlib figure (png, pdf or svg by its suffix), whole or not at all.

    The version of matplotlib stays out, so that the same figure gives the same bytes.

    dpi : dots an inch of a png.
    """
    kind = path.suffix.lower().removeprefix(".")
    with whole(path) as target:
        try:
            metadata = {"Software": None} if kind == "png" else None
            figure.savefig(target, dpi=dpi, format=kind, metadata=metadata)
        except ValueError as error:  # a suffix that matplotlib does not know
            raise InputError(f"cannot be written: {error}", file=path) from None


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
    name = f".{path.name}.{os.getpid()}.part"
    if len(os.fsencode(name)) > paths.LONGEST_NAME >= len(os.fsencode(path.name)):
        short = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
        name = f".{short}.{os.getpid()}.part"
    return path.with_name(name)
