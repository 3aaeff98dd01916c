"""Runs inputs, judges what became of them, and remembers where it was.

    PYTHONPATH=tests python -m fuzz.attack --inputs 10000
    PYTHONPATH=tests python -m fuzz.attack --inputs 500000 --state fuzz.json    goes on from there
    PYTHONPATH=tests python -m fuzz.attack --inputs 500000 --readers    most to the Python API alone
    PYTHONPATH=tests python -m fuzz.attack --only 4711 --target manifest        one again

It ends with 1 if an input ended in a traceback, took too long, or wrote although it was refused.
With --readers every input goes through the reader of the Python API, and one in so many through
the commands too (`fuzz.readers`): several hundred inputs a second of a processor.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import json
import multiprocessing as mp
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from elector.base.errors import ElectorError
from elector.cli.commands import main as elector
from fuzz.mutate import mutated
from fuzz.readers import READERS
from fuzz.targets import FILE, FOLDER, TEXT, Target, targets
from transcode.cli.commands import main as transcode

PROGRAMS = {"elector": elector, "transcode": transcode}
#: Seconds of a processor that an input may take, and after which it counts as one without end.
SLOW, HANGS = 10.0, 120.0
#: Address space of a process [byte], and longest message [character].
MEMORY, LONGEST = 8 << 30, 20_000
CODES = (0, 1, 2, 3, 4)
#: Inputs of each format after which an attack remembers how far it came.
OFTEN = 50
#: What a reader of the Python API does, beside the exit codes of commands.
READ, REFUSED = "read", "refused"


#: Label and number of an input, how its reader and its commands ended, what is wrong.
Ended = tuple[str, int, list[str], "list[Finding]"]


@dataclass(frozen=True)
class Finding:
    """What is wrong with one input. words : the command. what : in one line."""

    target: str
    number: int
    words: tuple[str, ...]
    what: str


class Hangs(BaseException):
    """An input that did not end in time."""


def content_of(target: Target, seed: int, number: int) -> bytes:
    """Input `number` of a target: the same for the same seed."""
    draw = random.Random(f"{seed}:{target.label}:{number}")
    return mutated(draw.choice(list(target.seeds)), target.seeds, draw)


def tried(target: Target, seed: int, number: int) -> tuple[list[int], list[Finding]]:
    """Exit codes of the commands on one input, and what is wrong."""
    content = content_of(target, seed, number)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    codes, findings = [], []
    try:
        target.prepare(folder)
        path = folder / (target.name.format(number=number) or "text")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        text = content.decode("utf-8", "replace").replace("\0", "")
        for command in target.commands:
            words = tuple(
                word.replace(FILE, str(path)).replace(FOLDER, str(folder)).replace(TEXT, text)
                for word in command
            )
            code, what = judged(words, folder)
            codes.append(code)
            if what:
                findings.append(Finding(target.label, number, command, what))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return codes, findings


def given_to_reader(target: Target, seed: int, number: int) -> tuple[str, list[Finding]]:
    """Whether the reader of the Python API takes an input, and what is wrong."""
    content, folder = content_of(target, seed, number), _reading_place(target)
    path = folder / (target.name.format(number=number) or "text")
    path.write_bytes(content)
    before, begin, wrong, ended = _names(folder), time.process_time(), "", READ
    signal.signal(signal.SIGALRM, _hangs)
    signal.setitimer(signal.ITIMER_REAL, HANGS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            READERS[target.label][0](path)
    except Hangs:
        wrong = "does not end"
    except ElectorError as error:
        ended = REFUSED
        wrong = f"a message of {len(str(error))} characters" if len(str(error)) > LONGEST else ""
    except Exception as error:
        wrong = traced(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    took = time.process_time() - begin
    if _names(folder) != before:
        wrong = wrong or "something was written"
    wrong = wrong or (f"slow: {took:.0f} s" if took > SLOW else "")
    path.unlink()
    return ended, [Finding(target.label, number, ("reader",), wrong)] if wrong else []


@functools.cache
def _prepared(label: str, process: int) -> tempfile.TemporaryDirectory[str]:
    """A folder that the inputs of a target are read in, one after another."""
    place = tempfile.TemporaryDirectory(prefix="fuzz-")
    targets()[label].prepare(Path(place.name))
    (Path(place.name) / targets()[label].name).parent.mkdir(parents=True, exist_ok=True)
    return place


def _reading_place(target: Target) -> Path:
    return Path(_prepared(target.label, os.getpid()).name)


def _names(folder: Path) -> list[str]:
    return sorted(name for _, folders, files in os.walk(folder) for name in (*folders, *files))


def judged(words: Sequence[str], folder: Path) -> tuple[int, str]:
    """Exit code of a command, run in `folder`, and what is wrong with what it did."""
    before, begin = _state(folder), time.process_time()  # whatever else the machine does
    signal.signal(signal.SIGALRM, _hangs)
    signal.setitimer(signal.ITIMER_REAL, HANGS)
    try:
        with warnings.catch_warnings(), contextlib.chdir(folder):
            warnings.simplefilter("error", RuntimeWarning)
            done = CliRunner().invoke(PROGRAMS[words[0]], words[1:])
    except Hangs:
        return -1, "does not end"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    took = time.process_time() - begin
    return done.exit_code, _wrong(done, took, _state(folder) != before)


def _wrong(done: object, took: float, wrote: bool) -> str:
    error = done.exception  # type: ignore[attr-defined]
    if error is not None and not isinstance(error, SystemExit):
        return traced(error)
    code, said = done.exit_code, done.stderr  # type: ignore[attr-defined]
    if code not in CODES:
        return f"exit code {code}"
    if "Traceback" in said:
        return "a traceback on standard error"
    shown = done.stdout if code == 3 else ""  # type: ignore[attr-defined]
    if code in (1, 2, 3) and not (said + shown).strip():
        return f"exit code {code} without a word"
    if len(said) > LONGEST:
        return f"a message of {len(said)} characters"
    if code == 2 and wrote:
        return "exit code 2, and something was written"
    return f"slow: {took:.0f} s" if took > SLOW else ""


def traced(error: BaseException) -> str:
    """An exception and where in our own code it was raised, in a line."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/elector/" in f.filename or "/transcode/" in f.filename]
    last = (ours or frames)[-1]
    place = "/".join(Path(last.filename).parts[-3:])
    return f"{type(error).__name__}: {str(error)[:150]} ({place}:{last.lineno} {last.name})"


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    """Files below a folder, with their sizes and times."""
    state = {}
    for path in folder.rglob("*"):
        known = path.lstat()
        state[str(path)] = (known.st_size, known.st_mtime_ns if path.is_file() else 0)
    return state


def _hangs(number: int, frame: object) -> None:
    raise Hangs


def _work(job: tuple[str, int, int, bool]) -> Ended:
    label, seed, number, reading = job
    target = targets()[label]
    ends: list[str] = []
    findings: list[Finding] = []
    if reading:
        end, findings = given_to_reader(target, seed, number)
        ends = [end]
    if not reading or number % READERS[label][1] == 0:
        codes, wrong = tried(target, seed, number)
        ends, findings = [*ends, *map(str, codes)], [*findings, *wrong]
    return label, number, ends, findings


def _begin() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.environ["COLUMNS"] = "100"


def attack(
    labels: Sequence[str], numbers: range, seed: int, jobs: int, reading: bool = False
) -> Iterator[Ended]:
    """What became of inputs of every target, as they are done.

    reading : all are given to readers, and few to commands.
    """
    asked = [(label, seed, number, reading) for number in numbers for label in labels]
    if jobs == 1:
        yield from map(_work, asked)
        return
    with mp.get_context("fork").Pool(jobs, _begin, maxtasksperchild=400) as pool:
        yield from pool.imap_unordered(_work, asked, chunksize=64 if reading else 4)


def write_whole(path: Path, text: str) -> None:
    """Writes a file beside its place and renames it: an attack may be killed at any moment."""
    beside = path.with_name(f".{path.name}")
    beside.write_text(text)
    beside.replace(path)


def main() -> int:
    """Attack with inputs, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=2000, help="in all, over the targets")
    parser.add_argument("--target", action="append", choices=[*targets()])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--readers", action="store_true", help="most inputs to the API alone")
    parser.add_argument("--only", type=int, help="one input, and its content")
    parser.add_argument("--state", type=Path, help="where to remember how far it came")
    asked = parser.parse_args()
    labels = asked.target or [*targets()]
    if asked.only is not None:
        for label in labels:
            print(content_of(targets()[label], asked.seed, asked.only)[:3000])
            print(*tried(targets()[label], asked.seed, asked.only), sep="\n")
        return 0
    state = {"seed": asked.seed, "next": 0, "codes": {}, "found": []}
    if asked.state is not None and asked.state.exists():
        state = json.loads(asked.state.read_text())
    last = state["next"] + -(-asked.inputs // len(labels))
    codes = collections.Counter(state["codes"])
    for begin in range(state["next"], last, OFTEN):
        numbers = range(begin, min(begin + OFTEN, last))
        for label, number, ended, findings in attack(
            labels, numbers, state["seed"], asked.jobs, asked.readers
        ):
            codes.update(f"{label} {code}" for code in ended)
            for finding in findings:
                print(f"{label} {number}: {' '.join(finding.words)}: {finding.what}", flush=True)
                state["found"].append([label, number, finding.what])
        state |= {"next": numbers.stop, "codes": dict(codes)}
        if asked.state is not None:
            write_whole(asked.state, json.dumps(state, indent=1))
    for label in labels:
        names = {READ: READ, REFUSED: REFUSED, **{str(code): f"exit {code}" for code in CODES}}
        ends = {shown: codes[f"{label} {end}"] for end, shown in names.items()}
        print(f"{label:12} " + "  ".join(f"{shown}: {n}" for shown, n in ends.items() if n))
    read = sum(count for end, count in codes.items() if end.split()[1] in (READ, REFUSED))
    said = f"{last * len(labels):,} inputs, {read:,} given to readers, "
    said += f"{sum(codes.values()) - read:,} commands, {len(state['found'])} findings"
    print(said)
    return 1 if state["found"] else 0


if __name__ == "__main__":
    sys.exit(main())
