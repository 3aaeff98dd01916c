"""Standard output and error, so that whatever becomes of them is an error with a name or nothing.

What goes to standard output is a result: where it cannot be written, the OSError says so by its
`filename`. What goes to standard error is said to whoever listens: progress, notes, messages.
Where nobody can, the work goes on. Neither is ever a traceback, nor is a character that the
terminal's encoding lacks.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from typing import Any

#: What an OSError of standard output names as its file.
STANDARD_OUTPUT = "standard output"
#: What stands in for a closed descriptor; who opens /dev/stdout by name meets it, too.
_FULL = "/dev/full" if os.path.exists("/dev/full") else os.devnull
#: How a character is written where the encoding lacks it; every other becomes an escape.
_PLAIN = {
    "±": "+-",
    "×": "x",
    "·": "*",
    "µ": "u",
    "μ": "u",
    "²": "2",
    "…": "...",
    "–": "-",
    "—": "-",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
}
_PLAIN_ERRORS, _ASCII = "elector.plain", "elector_ascii"


def open_streams() -> None:
    """Put this module's streams in the place of `sys.stdout` and `sys.stderr`.

    A descriptor that was closed (`>&-`) is taken first, so that no file which is opened later
    gets its number, and with it what is meant for the screen.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # opened the wrong way round: reading and writing fail, as they should
            os.open(_FULL, os.O_RDONLY if descriptor else os.O_WRONLY)
    codecs.register(_ascii)
    codecs.register_error(_PLAIN_ERRORS, _plainly)
    sys.stdout = _over(sys.stdout, 1, _Results)
    sys.stderr = _over(sys.stderr, 2, _Messages)


def of_standard_output(error: OSError) -> bool:
    """Whether it was standard output that could not be written."""
    return error.filename == STANDARD_OUTPUT


def unwritten(error: OSError) -> str:
    """What is said of an error of standard output: nothing where a pipe's reader went away."""
    if error.errno == errno.EPIPE:  # which is its right (`| head`)
        return ""
    return f"Error: {STANDARD_OUTPUT}: cannot be written: {error.strerror or error}\n"


def close_output() -> OSError | None:
    """Flush standard output, for the last time; what went wrong, if anything did.

    Python flushes once more when it ends, and would end with 120: what could not be written is
    given up here.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        sys.stdout = None  # as Python has it where there is none
        return error
    return None


class _Descriptor(io.RawIOBase):
    """What a text stream writes to in the end: a descriptor that is somebody else's to close."""

    def __init__(self, raw: Any, name: str) -> None:
        self._raw = raw
        self.name = name

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return bool(self._raw.isatty())

    def fileno(self) -> int:
        return int(self._raw.fileno())

    def write(self, data: Any) -> int:
        while (written := self._raw.write(data)) is None:  # a descriptor that does not wait
            import select

            select.select([], [self._raw], [])
        return int(written)


class _Results(_Descriptor):
    """Standard output: its errors are named."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = STANDARD_OUTPUT
            raise


class _Messages(_Descriptor):
    """Standard error: what nobody can read is dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _over(stream: Any, descriptor: int, kind: type[_Descriptor]) -> Any:
    """A text stream on what `stream` writes to; None stands for a descriptor that was closed.

    A stream that is not a file's (a test's, a notebook's) stays as it is.
    """
    if stream is None:
        raw: Any = io.FileIO(descriptor, "w", closefd=False)
        name, encoding, lines = str(descriptor), "utf-8", False
    elif isinstance(stream, io.TextIOWrapper):
        stream.flush()
        # PYTHONUNBUFFERED leaves out the buffer, and with it the check that everything went.
        raw = getattr(stream.buffer, "raw", stream.buffer)
        name, encoding = stream.name, stream.encoding
        lines = stream.line_buffering or stream.write_through
    else:
        return stream
    if codecs.lookup(encoding).name == "ascii":
        encoding = _ASCII
    buffer = io.BufferedWriter(kind(raw, name))
    return io.TextIOWrapper(buffer, encoding, _PLAIN_ERRORS, line_buffering=lines)


def _ascii(name: str) -> codecs.CodecInfo | None:
    """ASCII under a name of ours: to a stream of the usual name click writes UTF-8."""
    if name != _ASCII:
        return None
    usual = codecs.lookup("ascii")
    return codecs.CodecInfo(
        usual.encode, usual.decode, incrementalencoder=usual.incrementalencoder, name=_ASCII
    )


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    """What stands for characters that an encoding lacks: a usual spelling, else an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    text = "".join(
        _PLAIN.get(char) or char.encode("ascii", "backslashreplace").decode() for char in lacking
    )
    return text, error.end
