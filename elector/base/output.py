"""Files that commands write: checked before any work, and never seen half written."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from elector.base import paths
from elector.base.errors import ElectorError, InputError
from elector.base.paths import is_machines

__all__ = [
    "PICTURES",
    "check_output",
    "is_machines",
    "not_written",
    "require_apart",
    "save_picture",
    "scratch_of",
    "whole",
]

#: Suffixes of pictures.
PICTURES = (".png", ".pdf", ".svg")


def not_written(error: OSError, path: object = None) -> ElectorError:
    """What is raised where writing failed: exit 1 where the disk is full or fails, else 2.

    error : what the system said. path : the file, as the user named it.
    """
    return paths.refused(error, path, doing="written")


def check_output(
    out: str | Path, formats: Iterable[str] = (), field: str = "--out", stream: bool = True
) -> None:
    """Refuse a file that cannot be written or has no known suffix, before any work.

    formats : suffixes that are allowed; empty for any. stream : `--out -` is standard output,
    which takes no pictures.

    out : the file, as the user named it.
    """
    if not str(out):
        raise InputError("is empty", field=field)
    path, formats = Path(out), tuple(formats)
    if stream and str(out) == "-" and field == "--out" and formats != PICTURES:
        return
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


def require_apart(named: Mapping[str, object]) -> None:
    """Refuse one file for two outputs, before any work: the second would take the first's place.

    named : option -> the file it names, as the user did; None where it was not given.
    """
    known: dict[Path, str] = {}
    for field, name in named.items():
        if name is None or str(name) == "-" or paths.is_special(str(name)):
            continue
        place = Path(os.path.realpath(str(name)))
        if place in known:
            raise InputError(
                f"{known[place]} names it, too", file=name, field=field, hint="another file"
            )
        known[place] = field


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

    A device or a pipe of another suffix, or none, gets a png.

    The version of matplotlib stays out, so that the same figure gives the same bytes.

    dpi : dots an inch of a png.
    """
    suffix = path.suffix.lower()
    known = suffix in PICTURES or not paths.is_special(path)
    kind = suffix.removeprefix(".") if known else "png"
    drawn = io.BytesIO()  # a pipe cannot be sought in
    with whole(path) as target:
        try:
            metadata = {"Software": None} if kind == "png" else None
            figure.savefig(drawn, dpi=dpi, format=kind, metadata=metadata)
        except ValueError as error:  # a suffix that matplotlib does not know
            raise InputError(f"cannot be written: {error}", file=path) from None
        target.write_bytes(drawn.getbuffer())


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
