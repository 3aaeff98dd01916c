r"""Names of files as text that any file can hold, and the refusal of text that no file can.

A file's name is bytes on Linux. Python reads a byte of it that is not UTF-8 as half of a
surrogate pair, such as U+DCFF, which opens the file and which no text, JSON, XML or Parquet may
hold. In everything that is written or shown such a byte stands as `\udcff`, a backslash and five
letters and digits. Text that is read from a file and has halves of pairs is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from elector.base.errors import InputError

_HALF = re.compile("[\ud800-\udfff]")
#: How JSON or YAML writes half of a pair, or a pair.
_ESCAPED = re.compile(r"\\[uU](?:0000)?[dD][89a-fA-F]|[\ud800-\udfff]")


def spelled(text: str) -> str:
    r"""The text with halves of pairs spelled out.

    >>> spelled("run\udcff")
    'run\\udcff'

    text : such as a path, or a command line.
    """
    return _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def dumps(value: object, **how: Any) -> str:
    """`json.dumps`, with halves of pairs spelled out in keys and texts.

    value : what JSON can say. how : as of `json.dumps`.
    """
    text = json.dumps(value, **how)
    return json.dumps(all_spelled(value), **how) if _ESCAPED.search(text) else text


def all_spelled(value: Any) -> Any:
    """The value with halves of pairs spelled out in every key and text.

    value : what JSON can say.
    """
    if isinstance(value, str):
        return spelled(value)
    if isinstance(value, Mapping):
        return {all_spelled(key): all_spelled(entry) for key, entry in value.items()}
    return [all_spelled(entry) for entry in value] if isinstance(value, list | tuple) else value


def require_text(value: object, file: object = None, raw: str | None = None) -> None:
    """Raises InputError, with the field, where a key or a text has half of a pair in it.

    value : what was read of a file. raw : the file's own text, if it is at hand: without an
    escaped half it need not be looked through.
    """
    if raw is not None and not _ESCAPED.search(raw):
        return
    for place, text in _texts(value, ()):
        if _HALF.search(text):
            said = "is not text: it has half of a surrogate pair"
            raise InputError(said, file=file, field=".".join(place) or None, value=text)


def _texts(value: object, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """(place, text) of each key and text."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield (*place, str(key)), str(key)
            yield from _texts(entry, (*place, str(key)))
    elif isinstance(value, list | tuple):
        for number, entry in enumerate(value):
            yield from _texts(entry, (*place, str(number)))
