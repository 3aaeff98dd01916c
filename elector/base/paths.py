"""Looking at paths and reading files: the one place that asks the system about names from outside.

Python's own ways are traps there: `Path.exists` raises where a folder may not be searched (and
says no in newer releases, which is as wrong), `Path.glob` finds nothing in a folder that may not
be listed, `open` waits for ever for the writer of a pipe, and `read` of a device never ends. Here
every refusal of the system becomes an InputError with the name and the system's words, "not
there" is said only where it is true, and kinds and sizes are looked at before anything is read.
"""

from __future__ import annotations

import codecs
import errno
import fnmatch
import os
import select
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from elector.base import units
from elector.base.errors import ElectorError, EvaluationError, InputError

#: Largest description that is read [byte]; real ones have a few thousand.
LIMIT = 1 << 20
#: Seconds a pipe has for its first byte, and as many again for all others.
PATIENCE = 10.0
#: What a disk, or a machine without files or memory to spare, fails with.
_MACHINE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.ENOMEM,
    errno.EMFILE,
    errno.ENFILE,
    errno.ESTALE,
)
_ABSENT = (errno.ENOENT, errno.ENOTDIR)
#: Pipes that were read: (device, inode, time of change) -> what they said. A pipe speaks once,
#: and a command may need to read its input twice.
_HEARD: dict[tuple[int, int, int], bytes] = {}
_PIECE = 1 << 20
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
#: (device, inode) of the files that the running command has read; None where none is running.
_READ: ContextVar[set[tuple[int, int]] | None] = ContextVar("read", default=None)
#: Names of files that were read since `naming` began; None where nobody asks.
_NAMES: ContextVar[set[str] | None] = ContextVar("names", default=None)
#: Longest name of a file in any usual file system [byte].
LONGEST_NAME = 255


def is_machines(error: OSError) -> bool:
    """Whether the machine is to blame rather than the name of a file.

    error : what the system said.
    """
    return error.errno in _MACHINE


def words(error: Exception) -> str:
    """What the system says of an error, without the name of the file."""
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


def refused(
    error: Exception, path: object, field: str | None = None, doing: str = "read"
) -> ElectorError:
    """What is raised where the system refuses: exit 1 where the machine fails, else 2.

    error : an OSError, or a ValueError for a name with a null byte. doing : read or written.

    path : as the user named it.
    """
    problem = f"cannot be {doing}: {words(error)}"
    if isinstance(error, OSError) and is_machines(error):
        return EvaluationError(problem if path is None else f"{path}: {problem}")
    name = repr(str(path)) if "\0" in str(path) else path
    return InputError(problem, file=name, field=field)


def status(path: str | Path, field: str | None = None) -> os.stat_result | None:
    """What the system says of a path, links followed; None where nothing is there.

    Raises InputError where it does not say: a folder that may not be searched, a name too long.
    """
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno in _ABSENT or _unnameable(path):
            return None
        raise refused(error, path, field) from None
    except ValueError as error:
        raise refused(error, path, field) from None


def _unnameable(path: str | Path) -> bool:
    """Whether no file system has names so long as one in this path."""
    return any(len(os.fsencode(part)) > LONGEST_NAME for part in str(path).split(os.sep))


def exists(path: str | Path, field: str | None = None) -> bool:
    """Whether something is there. Raises InputError as `status`."""
    return status(path, field) is not None


def is_folder(path: str | Path, field: str | None = None) -> bool:
    """Whether a folder is there. Raises InputError as `status`."""
    there = status(path, field)
    return there is not None and stat.S_ISDIR(there.st_mode)


def is_file(path: str | Path, field: str | None = None) -> bool:
    """Whether a regular file is there. Raises InputError as `status`."""
    there = status(path, field)
    return there is not None and stat.S_ISREG(there.st_mode)


def leads_elsewhere(path: str | Path, field: str | None = None) -> bool:
    """Whether a link, a pipe or a device stands there itself: what is written to it does not stay
    there. Raises InputError as `status`."""
    try:
        mode = os.lstat(path).st_mode
    except OSError as error:
        if error.errno in _ABSENT:
            return False
        raise refused(error, path, field) from None
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def is_pipe(path: str | Path, field: str | None = None) -> bool:
    """Whether a pipe is there, such as the shell's <(command). Raises InputError as `status`."""
    there = status(path, field)
    return there is not None and stat.S_ISFIFO(there.st_mode)


def stamp(path: str | Path) -> tuple[int, ...]:
    """What a file's content is told from another by: its place, size and time; of a pipe, which is
    read once, nothing. Raises InputError as `status`."""
    there = status(path)
    if there is None or not stat.S_ISREG(there.st_mode):
        return ()
    return there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns


def is_special(path: str | Path, field: str | None = None) -> bool:
    """Whether a device, pipe or socket is there: what is written to and never replaced."""
    there = status(path, field)
    return there is not None and not (stat.S_ISREG(there.st_mode) or stat.S_ISDIR(there.st_mode))


def beside(name: str, file: object) -> str:
    """A file that another one names: from where the command runs, else beside that other one.

    name : as it is written; one without a dot is no file. file : the other one, if there is one.
    """
    if not isinstance(file, Path) or "." not in name or exists(name):
        return name
    other = file.parent / name
    return str(other) if exists(other) else name


def names(folder: str | Path, pattern: str = "*") -> list[str]:
    """Sorted names in a folder that match; none where there is no folder.

    Raises InputError where the folder may not be listed: its files may be there all the same.

    pattern : of names, as glob has it.
    """
    try:
        return sorted(fnmatch.filter(os.listdir(folder), pattern))
    except OSError as error:
        if error.errno in _ABSENT:
            return []
        raise refused(error, folder) from None


def read_bytes(path: str | Path, limit: int = LIMIT, field: str | None = None) -> bytes:
    """The content of a file of at most `limit` bytes, or what a pipe says.

    Raises InputError for what is absent, refused, too large, a directory or a device, and for a
    pipe that says nothing within PATIENCE.
    """
    there = status(path, field)
    if there is None:
        raise InputError(f"cannot be read: {os.strerror(errno.ENOENT)}", file=path, field=field)
    _require_readable(there, path, limit, field)
    if stat.S_ISFIFO(there.st_mode) and (heard := _HEARD.get(_identity(there))) is not None:
        return heard
    try:
        # Without waiting: what was a file a moment ago may be a pipe that nobody writes to.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | os.O_CLOEXEC)
    except OSError as error:
        raise refused(error, path, field) from None
    try:
        there = os.fstat(number)
        _require_readable(there, path, limit, field)
        _remember(there)
        if (names := _NAMES.get()) is not None:
            names.add(str(path))
        if stat.S_ISFIFO(there.st_mode):
            return _heard(number, path, limit, field)
        return _joined(iter(lambda: os.read(number, _PIECE), b""), path, limit, field)
    except OSError as error:
        raise refused(error, path, field) from None
    finally:
        os.close(number)


def read_standard_input(name: str, limit: int = LIMIT) -> bytes:
    """All of standard input, at most `limit` bytes; `name` is what errors call it."""
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None:
        raise InputError("standard input is closed", file=name)
    with suppress(OSError, ValueError):  # a stream that is no file's
        _remember(os.fstat(stream.fileno()))
    try:
        return _joined(iter(lambda: stream.read(_PIECE), b""), name, limit, None)
    except (OSError, ValueError) as error:
        raise InputError(f"standard input cannot be read: {error}", file=name) from None


def read_text(path: str | Path, limit: int = LIMIT, field: str | None = None) -> str:
    """The text of a file; beside what `read_bytes` refuses, binary content is an InputError.

    A mark of the byte order at the beginning, as spreadsheets write it, is left out.

    limit : most bytes of the file.
    """
    data = read_bytes(path, limit, field)
    require_no_binary(data, path, field)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        line = line_of_bad_text(data)
        raise InputError(f"line {line}: is not UTF-8 text", file=path, field=field) from None


def pieces(path: str | Path) -> Iterator[str]:
    """The text of a file some of it at a time, so that it may be of any size.

    Raises InputError for what is no file, is refused, or is no text.
    """
    if not is_file(path):
        problem = (
            "is not a file" if exists(path) else f"cannot be read: {os.strerror(errno.ENOENT)}"
        )
        raise InputError(problem, file=path)
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            while piece := stream.read(_PIECE):
                yield piece
    except OSError as error:
        raise refused(error, path) from None
    except UnicodeDecodeError:
        raise InputError("is not UTF-8 text", file=path) from None


def require_no_binary(data: bytes, path: object, field: str | None = None) -> None:
    """Raises InputError for what is no text, and for text in an encoding that other systems write.

    data : the bytes of a file. path : the file. field : what named it.
    """
    if data.startswith(_UTF_16):
        said = "is UTF-16 text"
        raise InputError(said, file=path, field=field, hint="save it as UTF-8")
    if b"\0" in data:
        raise InputError("is a binary file, not text", file=path, field=field)


def line_of_bad_text(data: bytes) -> int:
    """Number of the first line that is not UTF-8.

    data : the bytes of a file.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    at = 0
    try:
        for at in range(0, len(data), _PIECE):
            decoder.decode(data[at : at + _PIECE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return data.count(b"\n", 0, at + max(error.start, 0)) + 1
    raise AssertionError("this is UTF-8")


@contextmanager
def reading() -> Iterator[None]:
    """While it lasts files that are read are remembered, so that none is written over: a table, or
    a file that a file names."""
    token = _READ.set(set())
    try:
        yield
    finally:
        _READ.reset(token)


@contextmanager
def naming() -> Iterator[set[str]]:
    """While it lasts the names of files that are read are put into the set that it gives: a file,
    and what it is based on."""
    names: set[str] = set()
    token = _NAMES.set(names)
    try:
        yield names
    finally:
        _NAMES.reset(token)


def _remember(there: os.stat_result) -> None:
    read = _READ.get()
    if read is not None and stat.S_ISREG(there.st_mode):
        read.add((there.st_dev, there.st_ino))


def forget(path: str | Path) -> None:
    """What is written in the place of a file that was read holds all of it: it may be.

    path : of the file; one that is not there is no matter.
    """
    read, there = _READ.get(), status(path)
    if read is not None and there is not None:
        read.discard((there.st_dev, there.st_ino))


def was_read(path: str | Path) -> bool:
    """Whether the running command has read the file of this name. Raises InputError as `status`."""
    read = _READ.get()
    there = status(path) if read else None
    return there is not None and read is not None and (there.st_dev, there.st_ino) in read


def _require_readable(
    there: os.stat_result, path: str | Path, limit: int, field: str | None
) -> None:
    """Refuses, by kind and size alone, what must not be read."""
    if stat.S_ISDIR(there.st_mode):
        raise InputError("is a directory, not a file", file=path, field=field)
    if not (stat.S_ISREG(there.st_mode) or stat.S_ISFIFO(there.st_mode)):
        raise InputError("is a device, not a file", file=path, field=field)
    if there.st_size > limit:
        raise _too_large(path, limit, field)


def _too_large(path: str | Path, limit: int, field: str | None) -> InputError:
    return InputError(f"is larger than {units.format_si(limit, 'byte')}", file=path, field=field)


def _joined(pieces: Iterator[bytes], path: str | Path, limit: int, field: str | None) -> bytes:
    """All pieces as one; a file that grows, or hides its size, is cut off at the limit."""
    read: list[bytes] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise _too_large(path, limit, field)
        read.append(piece)
    return b"".join(read)


def _heard(number: int, path: str | Path, limit: int, field: str | None) -> bytes:
    """All that a pipe says, kept for a second reading."""
    data = _joined(_spoken(number, path, field), path, limit, field)
    _HEARD[_identity(os.fstat(number))] = data
    return data


def _identity(there: os.stat_result) -> tuple[int, int, int]:
    return there.st_dev, there.st_ino, there.st_mtime_ns


def _spoken(number: int, path: str | Path, field: str | None) -> Iterator[bytes]:
    """What comes out of a pipe, piece by piece, until its writers are gone."""
    poll = select.poll()
    poll.register(number, select.POLLIN)
    begun, problem = time.monotonic(), "says nothing"
    while True:
        left = begun + PATIENCE - time.monotonic()
        if left <= 0 or not poll.poll(1000 * left):
            raise InputError(
                f"is a pipe that {problem} within {PATIENCE:g} s",
                file=path,
                field=field,
                hint="write it to a file first",
            )
        try:
            piece = os.read(number, _PIECE)
        except BlockingIOError:
            continue
        if not piece:
            return
        if problem == "says nothing":
            begun, problem = time.monotonic(), "does not end"
        yield piece
