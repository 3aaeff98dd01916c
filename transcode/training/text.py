"""Text for language modelling, byte by byte: docstrings of the standard library, or a file.

The docstrings are those of the running Python's own modules (single-file modules of the
standard library, without the packages), read from source and never imported. They are the
same wherever the same Python version runs and differ a little between versions.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import platform
import sys
import sysconfig
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from elector.base.errors import InputError
from elector.base.paths import read_text
from transcode.training.task import Array, DataSplit, Task

BYTES = 256
LENGTH = 64
#: Tokens that validation and test score at most, so that scoring stays cheap.
SCORED = 65536
#: Largest text file [byte].
LIMIT = 64 * 2**20


def docstrings(*, sequence_length: int | None = None) -> Task:
    """English text of the standard library: 80 % of the modules to train on, 10 % to
    validate, 10 % to test; a module is in one split only, chosen by the hash of its name.
    """
    return _task(
        "docstrings",
        _library_parts(),
        LENGTH if sequence_length is None else sequence_length,
        f"docstrings of the standard library of Python {platform.python_version()}",
    )


def text_file(path: Path, *, sequence_length: int | None = None) -> Task:
    """A user's text (UTF-8): its first 80 % to train, the next 10 % to validate, the rest
    to test. Raises InputError for a file that cannot be read or is too short.
    """
    data = read_text(path, LIMIT).encode()
    first, second = int(0.8 * len(data)), int(0.9 * len(data))
    parts = (data[:first], data[first:second], data[second:])
    length = LENGTH if sequence_length is None else sequence_length
    return _task(path.stem, parts, length, path.name, path)


@functools.cache
def _library_parts() -> tuple[bytes, bytes, bytes]:
    """Docstrings of each split; of equal ones only the first, so that no split repeats one."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    files = [p for p in sorted(folder.glob("*.py")) if p.stem in sys.stdlib_module_names]
    seen: set[str] = set()
    parts: tuple[list[str], list[str], list[str]] = ([], [], [])
    for file in files:
        place = hashlib.sha256(file.stem.encode()).digest()[0]
        part = parts[0 if place < 205 else 1 if place < 231 else 2]
        for docstring in _docstrings(ast.parse(file.read_text(encoding="utf-8"))):
            if docstring not in seen:
                seen.add(docstring)
                part.append(docstring)
    if not all(parts):
        raise InputError(
            "this Python has no sources of its standard library",
            field="docstrings",
            hint="train on a text file of your own",
        )
    first, second, third = ("\n\n".join(part).encode() for part in parts)
    return first, second, third


def _docstrings(tree: ast.Module) -> list[str]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = (node for node in ast.walk(tree) if isinstance(node, documented))
    return [text for node in nodes if (text := ast.get_docstring(node))]


def _task(
    name: str,
    parts: tuple[bytes, bytes, bytes],
    length: int,
    source: str,
    file: Path | None = None,
) -> Task:
    if length < 2:
        raise InputError("must be at least 2", field="sequence_length", value=length)
    train, valid, test = (np.frombuffer(part, np.uint8).astype(np.int64) for part in parts)
    shortest = min(train.size, valid.size, test.size)
    if shortest <= length:
        raise InputError(
            f"is too short for sequences of {length}: its smallest part has {shortest} bytes",
            file=file,
            field=None if file else name,
            hint="a shorter sequence_length, or more text",
        )
    return Task(
        name=name,
        kind="language",
        inputs="tokens",
        sequence_length=length,
        vocabulary=BYTES,
        features=None,
        outputs=BYTES,
        metric="next-token accuracy",
        train=_windows(train, length, 1),
        valid=_windows(valid, length, length),
        test=_windows(test, length, length),
        baselines=_baselines(train, test),
        source=source,
    )


def _windows(tokens: Array, length: int, stride: int) -> DataSplit:
    """Views of `length` tokens and of those that follow each; without copies."""
    windows = sliding_window_view(tokens, length + 1)[::stride]
    if stride > 1:
        windows = windows[: max(SCORED // length, 1)]
    return DataSplit(windows[:, :-1], windows[:, 1:])


def _baselines(train: Array, test: Array) -> dict[str, float]:
    """Always the most frequent byte; the byte that most often follows the last one."""
    pairs = np.zeros((BYTES, BYTES), np.int64)
    np.add.at(pairs, (train[:-1], train[1:]), 1)
    common = int(np.bincount(train, minlength=BYTES).argmax())
    follower = np.where(pairs.any(axis=1), pairs.argmax(axis=1), common)
    return {
        "unigram": 100.0 * float((test[1:] == common).mean()),
        "bigram": 100.0 * float((follower[test[:-1]] == test[1:]).mean()),
    }
