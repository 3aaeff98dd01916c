"""How both programs begin and end.

This module imports what Python itself has loaded, and all else only when Ctrl-C is looked after:
what a program imports takes most of its first second.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

FAILED, INTERRUPTED = 1, 130
#: Sizes of a terminal in the environment, and the most digits of one: more is no size, and what
#: draws tables would not read it.
_SIZES, _DIGITS = ("COLUMNS", "LINES"), 6
#: Bytes that are asked for once and handed back at once. glibc gives freed memory of more than
#: twice the largest piece it has seen freed back to the system, which clears each page anew when
#: it is asked for again: up to a fifth of an evaluation. 32 MiB is the most that it minds.
_KEPT = (32 << 20) - 65536


def run(name: str) -> NoReturn:
    """Run the program `name`, elector or transcode, and end the process.

    Its commands are the click group `main` of `<name>.cli.commands`. The exit code is theirs;
    1 where standard output could not be written, silently so where a pipe's reader went away;
    130 where the user interrupted it.
    """
    _keep_memory()
    for size in _SIZES:
        if len(os.environ.get(size, "")) > _DIGITS:
            del os.environ[size]
    # A shell that starts a command in the background has it ignore interrupts: left so.
    heeded = {number: signal.getsignal(number) for number in _endings()}
    for number, handler in heeded.items():
        if handler in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(number, _leave)
    from importlib import import_module

    from elector.cli.streams import of_standard_output, open_streams

    code: object = FAILED
    failure = None
    try:
        open_streams()
        main = import_module(f"{name}.cli.commands").main
        for number, handler in heeded.items():
            signal.signal(number, handler)
        main(prog_name=name)
    except SystemExit as stop:
        code = stop.code
    except KeyboardInterrupt:  # a second one, while the first was seen to
        code = INTERRUPTED
    except OSError as error:
        if not of_standard_output(error):
            raise
        failure = error
    _end(code if isinstance(code, int) else int(code is not None), failure)


def _keep_memory() -> None:
    """Has the allocator keep what is freed, for the rest of the process.

    A program may settle that, a library not: whoever imports elector has an allocator of their own.
    """
    bytes(_KEPT)  # zeros that nobody reads: no page of them is ever in memory


def _endings() -> list[signal.Signals]:
    """Signals that ask a program to end: of the keyboard, of batch systems, of a lost terminal."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    return [signal.Signals[name] for name in names if name in signal.Signals.__members__]


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """End at once: nothing was begun that would have to be left in order."""
    try:
        os.write(2, b"interrupted\n")
    finally:
        os._exit(INTERRUPTED)


def _end(code: int, failure: OSError | None) -> NoReturn:
    """Flush what is left to say, and go. failure : of standard output, if there was one."""
    import gc

    from elector.cli.streams import close_output, unwritten

    for number in _endings():
        signal.signal(number, signal.SIG_IGN)
    failure = close_output() or failure
    if failure is not None:
        code = code or FAILED
        sys.stderr.write(unwritten(failure))
    # A KeyboardInterrupt that once left code which was made of text, as that of a dataclass, has
    # Python end itself by a signal whatever the code is, until text is next run to its end.
    exec("")
    # Everything goes at once, so nothing has to be looked through for garbage: 30 ms saved.
    gc.disable()
    gc.freeze()
    sys.exit(code)
