"""Files that are the old ones or the new ones, never half of each, and who may write them."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from elector.base import output, paths, spelling
from elector.base.errors import EvaluationError, InputError

#: Lock files that this process holds.
_HELD: set[IO[str]] = set()
LOCK = ".lock"
#: Of a run: what says what it is, the folder of its designs, and the files there.
MANIFEST, DESIGNS, PARTS = "manifest.json", "designs", "part-*.parquet"
#: Largest JSON file of a run folder that is read whole [byte]; front.json may be any size.
LARGEST = 1 << 26
#: So many digits may be more than a float holds.
_LONG = re.compile(r"\d{309}")


def _let_go() -> None:
    """In a forked worker: a killed search must not stay locked until its workers end, too."""
    for stream in _HELD:
        stream.close()


if os.name == "posix":
    os.register_at_fork(after_in_child=_let_go)


def _itself(path: str, flags: int) -> int:
    """Opens a file where it stands: not what a link leads to."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Has `write` fill a hidden file beside `path`, then puts it in its place."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        # Of somebody else's making it may be a link, and lead to what is none of ours, or a pipe.
        temporary.unlink(missing_ok=True)
        write(temporary)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())  # a machine that dies must not leave a name without content
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):  # on a full disk the half file would take the last of it
            temporary.unlink(missing_ok=True)
        raise


def place_of(folder: Path, name: str) -> Path:
    """Where a file of a run lies that is drawn from it. A link there, or a pipe, is taken away, as
    when the run's other files are replaced: what somebody else's folder leads to is none of ours.

    name : such as front.png.
    """
    path = folder / name
    if paths.leads_elsewhere(path):
        try:
            path.unlink()
        except OSError as error:
            raise output.not_written(error, path) from None
    return path


def write_text(path: Path, text: str) -> None:
    """Replaces a text file."""
    replace_file(path, lambda temporary: _fill(temporary, text))


def _fill(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="", errors="backslashreplace")


def write_pieces(path: Path, pieces: Iterable[str]) -> None:
    """Replaces a text file by pieces that follow one another, each written before the next."""
    replace_file(path, lambda temporary: _fill_up(temporary, pieces))


def _fill_up(path: Path, pieces: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        for piece in pieces:
            stream.write(piece)


def write_json(path: Path, value: object) -> None:
    """Replaces a JSON file.

    value : what JSON can say.
    """
    write_text(path, spelling.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _whole(text: str) -> int:
    """A whole number that a float holds, as everything does that we write; else OverflowError."""
    number = int(text)
    float(number)
    return number


def read_json(path: Path, what: str, hint: str | None = None) -> dict[str, Any]:
    """The mapping in a JSON file. Raises InputError for one that is absent, cut or another.

    what : the file is, for the message. hint : what to do.
    """
    return content_of(paths.read_text(path, LARGEST), path, what, hint)


def content_of(text: str, path: Path, what: str, hint: str | None = None) -> dict[str, Any]:
    """The mapping in the text of a JSON file.

    path : the file. what, hint : as of `read_json`.
    """
    try:
        content = json.loads(text, parse_int=_whole if _LONG.search(text) else None)
    except (
        ValueError,
        OverflowError,
        RecursionError,
    ):  # cut, numbers of thousands of digits, deep nesting
        raise InputError(f"is damaged: not the JSON of {what}", file=path, hint=hint) from None
    if not isinstance(content, dict):
        raise InputError(f"is not {what}", file=path, hint=hint)
    spelling.require_text(content, path, text)
    return content


class Claim:
    """A folder that one process writes at a time: a second search is refused, not mixed in.

    What lies in the folder is read after it is claimed. A folder that is not there yet is made,
    and claimed, when `begin` is called; until then nothing is written.
    """

    def __init__(self, folder: Path, field: str = "--out") -> None:
        self.folder, self.field = folder, field
        self.stream: IO[str] | None = None
        self.made = False  # the lock file is of our making, and nothing else is there yet
        self.new: list[Path] = []  # folders that `begin` had to make, the inmost first

    @property
    def held(self) -> bool:
        """Whether the folder is there, and ours."""
        return self.stream is not None

    def begin(self, *below: str) -> None:
        """Makes the folder and those below it, where they are absent."""
        self.new = output.missing_folders(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.stream is None:
                self._take()
            for name in below:
                (self.folder / name).mkdir(exist_ok=True)
        except (OSError, InputError) as error:
            self.undo(*below)
            if isinstance(error, InputError):
                raise
            raise output.no_folder(error, self.folder, self.field) from None
        self.made = False

    def undo(self, *below: str) -> None:
        """Removes the folder again, those below it and those made above it, where it was made by
        `begin` and they are empty."""
        if self.folder not in self.new:
            return
        with suppress(OSError):
            for name in below:
                if paths.exists(self.folder / name):
                    (self.folder / name).rmdir()
            if self.stream is not None:  # else it is somebody else's
                (self.folder / LOCK).unlink(missing_ok=True)
        output.remove_empty(self.new)

    def require(self) -> None:
        """Raises EvaluationError where the folder was removed or replaced under its owner."""
        if self.stream is None:
            return
        try:
            same = os.path.samestat(os.stat(self.folder / LOCK), os.fstat(self.stream.fileno()))
        except OSError:
            same = False
        if not same:
            raise EvaluationError(
                f"{self.folder}: was removed or replaced while it was being written; "
                "start again for a whole run"
            )

    def _take(self) -> None:
        path = self.folder / LOCK
        while True:
            new = not paths.exists(path, self.field)
            if not new and not paths.is_file(path, self.field):  # a pipe would be waited for
                raise InputError("is not a file", file=path, field=self.field)
            stream = open(path, "a", opener=_itself)  # noqa: SIM115
            try:
                _lock(stream, self.folder)
                if paths.exists(path, self.field) and os.path.samestat(
                    os.stat(path), os.fstat(stream.fileno())
                ):
                    break
            except BaseException:
                stream.close()
                raise
            stream.close()  # who held it before took it away
        _HELD.add(stream)
        self.stream, self.made = stream, new

    def _release(self) -> None:
        if self.stream is None:
            return
        if self.made:  # nothing came of it, so nothing stays
            with suppress(OSError):
                (self.folder / LOCK).unlink()
        _HELD.discard(self.stream)
        self.stream.close()


@contextmanager
def claimed(folder: Path, field: str = "--out") -> Iterator[Claim]:
    """Holds a folder from now on where it is there already, else from `Claim.begin` on.

    Raises InputError for what is no folder, may not be written, lies among the designs of a run,
    or is being written by another.
    """
    claim = Claim(folder, field)
    try:
        there = paths.exists(folder, field)
        _require_outside(folder, field)
        if there:
            if not paths.is_folder(folder, field):
                raise InputError("is a file, not a run folder", file=folder, field=field)
            try:
                claim._take()
            except OSError as error:
                raise paths.refused(error, folder, field, "written") from None
        yield claim
    finally:
        claim._release()


def _require_outside(folder: Path, field: str) -> None:
    """Refuses a folder below the parts of a run: whoever reads all that lies there, as pandas
    does, would take the designs of both for those of one."""
    place = Path(os.path.realpath(folder))
    for inner in (place, *place.parents):
        run = inner.parent
        if inner.name == DESIGNS and paths.exists(run / MANIFEST) and paths.names(inner, PARTS):
            said = f"lies among the designs of the run {run.name}"
            raise InputError(said, file=folder, field=field, hint="a folder beside the run")


def _lock(stream: IO[str], folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not a Unix: no lock to be had
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise InputError(
                "another search is writing here", file=folder, hint="choose another --out"
            ) from None
        raise InputError(
            f"cannot be locked: {paths.words(error)}",
            file=folder,
            hint="choose an --out on a file system with locks",
        ) from None
