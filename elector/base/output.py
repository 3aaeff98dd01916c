"""Files that commands write: checked before any work, and never seen half written."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import warnings
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
    "lay_out",
    "made_folder",
    "missing_folders",
    "no_folder",
    "not_written",
    "remove_empty",
    "require_apart",
    "save_picture",
    "scratch_of",
    "whole",
]

#: Control characters but the end of a line, and halves of pairs (elector.base.spelling).
_UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
#: Suffixes of pictures.
PICTURES = (".png", ".pdf", ".svg")
#: Suffixes of what the records of a run are kept in.
_OF_RUNS = (".csv", ".json", ".jsonl", ".log", ".npy", ".npz", ".parquet", ".yaml", ".pt")


def not_written(error: OSError, path: object = None) -> ElectorError:
    """What is raised where writing failed: exit 1 where the disk is full or fails, else 2.

    error : what the system said. path : the file, as the user named it.
    """
    return paths.refused(error, path, doing="written")


def check_output(
    out: str | Path, formats: Iterable[str] = (), field: str = "--out", stream: bool = True
) -> None:
    """Refuse a file that cannot be written or has no known suffix, before any work.

    formats : suffixes that are allowed, "" for a name without one; empty for any. stream :
        `--out -` is standard output, which takes no pictures.

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
        allowed = [suffix or "no suffix" for suffix in formats]
        raise InputError(
            "unknown kind of file", file=out, field=field, value=path.suffix, allowed=allowed
        )
    scratch = scratch_of(_behind(path))
    try:
        scratch.open("xb").close()
        if paths.exists(path) and not os.access(path, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except (OSError, ValueError) as error:
        raise paths.refused(error, out, field, "written") from None
    finally:
        with suppress(OSError, ValueError):
            scratch.unlink(missing_ok=True)


def require_apart(named: Mapping[str, object], inputs: Iterable[tuple[str, object]] = ()) -> None:
    """Refuse one file for two outputs, or for an input and an output, before any work: what is
    written last would take the place of the other.

    named : option -> the file it names, as the user did; None where it was not given.
    inputs : (argument or option, what it names); what names no file is no matter. What the
        running command has read (`paths.reading`) is an input, too.
    """
    known: dict[Path, str] = {}
    there = [(field, name) for field, name in inputs if _is_there(name)]
    for field, name in named.items():
        if name is None or str(name) == "-" or not _is_plain(str(name)):
            continue
        place = Path(os.path.realpath(str(name)))
        others = [other for other, text in there if _is_same(str(name), str(text))]
        if others or place in known:
            raise InputError(
                f"{[*others, known.get(place)][0]} names it, too",
                file=name,
                field=field,
                hint="another file",
            )
        _require_unread(Path(str(name)), field)
        known[place] = field


def _is_there(name: object) -> bool:
    """Whether a text names a file or folder; one that the system refuses is refused when read."""
    return _is_plain(str(name)) and paths.exists(str(name))


def _is_plain(name: str) -> bool:
    """Whether a name is no device or pipe, and the system lets it be looked at."""
    try:
        return not paths.is_special(name)
    except ElectorError:  # which `check_output` and the reader say in their own words
        return False


def _is_same(output: str, read: str) -> bool:
    """Whether an output is the file that is read, by whatever name, or one that a folder which is
    read consists of: of a run folder all but pages, pictures and reports."""
    try:
        if paths.exists(output) and os.path.samefile(output, read):
            return True
        inside = Path(os.path.realpath(read)) in Path(os.path.realpath(output)).parents
        own = Path(output).suffix.lower() in _OF_RUNS or Path(output).name.startswith(".")
        return inside and own and paths.is_folder(read) and paths.is_file(output)
    except OSError:
        return False


def _require_unread(path: Path, field: str | None = None) -> None:
    """Refuse to write over what the running command has read."""
    if paths.was_read(path):
        raise InputError(
            "is read by this command, too", file=path, field=field, hint="another file"
        )


def missing_folders(folder: str | Path) -> list[Path]:
    """The folders that have to be made for this one to be there, the inmost first.

    folder : as the user named it.
    """
    path = Path(folder)
    return [place for place in (path, *path.parents) if not paths.exists(place)]


def remove_empty(folders: Iterable[Path]) -> None:
    """Removes folders again that were made for nothing, as far as they are empty.

    folders : the inmost first, as `missing_folders` has them.
    """
    with suppress(OSError):
        for folder in folders:
            if paths.exists(folder):
                folder.rmdir()


@contextmanager
def made_folder(folder: str | Path, field: str) -> Iterator[Path]:
    """The folder, made with those above it; where the work in it fails, what is empty of them is
    removed again. Raises InputError for what is no folder and cannot be made.

    folder : as the user named it. field : the option that names it.
    """
    path, new = Path(folder), []
    try:
        try:
            new = missing_folders(path)
            path.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise no_folder(error, folder, field) from None
        yield path
    except BaseException:
        remove_empty(new)
        raise


def no_folder(error: Exception, folder: str | Path, field: str | None) -> ElectorError:
    """What is raised where a folder cannot be made.

    error : what the system raised. folder : as the user named it. field : what named it.
    """
    if not isinstance(error, FileExistsError):
        return paths.refused(error, folder, field, "written")
    inner = [place for place in (Path(folder), *Path(folder).parents) if os.path.islink(place)]
    nothing = [place for place in inner if not paths.exists(place)]
    problem = f"{nothing[0]} is a link to what is not there" if nothing else "is a file"
    return InputError(f"is no directory: {problem}", file=folder, field=field)


def _behind(path: Path) -> Path:
    """The place that a link leads to, there or not; anything else is its own."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else path


def _keep_mode(scratch: Path, path: Path) -> None:
    """Gives a file the permissions of the one whose place it takes, if there is one."""
    there = paths.status(path)
    if there is not None:
        with suppress(OSError):
            scratch.chmod(stat.S_IMODE(there.st_mode))


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """The name to write a file under: beside it, renamed in the end; a device or pipe itself.

    A link stays one: what it leads to is written. The permissions of a file that was there stay.

    Raises what `not_written` makes of an OSError, and InputError for a file that the running
    command has read.
    """
    if paths.is_special(path):
        with _named(path):
            yield path
        return
    _require_unread(path)
    place = _behind(path)
    scratch = scratch_of(place)
    try:
        yield scratch
        _keep_mode(scratch, place)
        scratch.replace(place)
    except OSError as error:
        raise not_written(error, path) from None
    finally:
        with suppress(OSError, ValueError):
            scratch.unlink(missing_ok=True)


def save_picture(figure: Any, path: Path, dpi: int) -> None:
    """Writes a matplotlib figure (png, pdf or svg by its suffix), whole or not at all.

    A device or a pipe of another suffix, or none, gets a png.

    The version of matplotlib stays out, so that the same figure gives the same bytes. Names are
    drawn as they are: a $ begins no formula, and what no picture can show is spelled out.

    dpi : dots an inch of a png.
    """
    suffix = path.suffix.lower()
    known = suffix in PICTURES or not paths.is_special(path)
    kind = suffix.removeprefix(".") if known else "png"
    drawn = io.BytesIO()  # a pipe cannot be sought in
    with whole(path) as target, _literal(figure):
        try:
            metadata = {"Software": None} if kind == "png" else None
            figure.savefig(drawn, dpi=dpi, format=kind, metadata=metadata)
        except ValueError as error:  # a suffix that matplotlib does not know
            raise InputError(f"cannot be written: {error}", file=path) from None
        target.write_bytes(drawn.getbuffer())


def lay_out(figure: Any) -> None:
    """Finds the places of what a matplotlib figure holds so far; names are as in `save_picture`."""
    with _literal(figure):
        figure.draw_without_rendering()


@contextmanager
def _literal(figure: Any) -> Iterator[None]:
    """Every text of a figure is what it says, character by character, and is drawn so."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_text(_UNSEEN.sub(lambda sign: repr(sign[0])[1:-1], text.get_text()))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # drawn as a box
        yield


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
