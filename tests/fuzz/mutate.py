"""Changes to a file that its reader may meet: damage, nonsense, and what somebody contrived."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

#: What is put in place of a value: numbers that floats, reading or memory cannot take, names no
#: file may have, other kinds of value, text that terminals and formats take for something else.
VALUES = [
    b"", b"0", b"-1", b"1", b"0.5", b"1e308", b"1e309", b"-1e400", b"1e-400", b"nan", b"inf",
    b".inf", b"-.inf", b"NaN", b"Infinity", b"1" * 310, b"1" * 5000, b"1e" + b"9" * 5000, b"0x10",
    b"1:" * 2000 + b"1", b"true", b"null", b"~", b"[]", b"{}", b"[1, 2]", b"{a: 1}", b"'x'", b'"x"',
    b"2026-99-99", b"2001-01-01", b"1_000", b"\xd9\xa3", b"1 MB", b"5 s", b"1 furlong", b"%",
    b"1/0", b"1/64", b"*", b"*a", b"&a", b"!!python/object:os.system", b"<<: *a", b"=1+1",
    b"\x1b[31m", b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"n" * 256, b"n" * 5000, b"a/" * 2500,
    b"/dev/zero", rb"\ud800", rb'"\udcff"',
    b"/dev/null", b"/", b"..", b"lora:9" + b"9" * 300, b"gemm:", b"decoder", b"flexibert", b"os",
    b"4294967296", b"9223372036854775808", b"1e15", b"-0.0", b"1e-9", b"all", b"dense", b"dynatran",
]  # fmt: skip
#: What is wrapped around a stretch, so many times, to make depth.
PAIRS = [
    (b"[", b"]"),
    (b"{a: ", b"}"),
    (b"(", b")"),
    (b'{"a":', b"}"),
    (b"- ", b""),
    (b"abs(", b")"),
]
_VALUE = re.compile(rb"[A-Za-z0-9_.+-]+")


def mutated(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """`content` after one to five changes. others : contents of the same kind, to take from."""
    for _ in range(draw.choice((1, 1, 1, 2, 3, 5))):
        content = draw.choice(_CHANGES)(content, others, draw)
    return content


def _span(content: bytes, draw: random.Random) -> tuple[int, int]:
    start = draw.randint(0, len(content))
    return start, min(start + draw.choice((0, 1, 2, 8, 64, 512)), len(content))


def _value(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    places = [match.span() for match in _VALUE.finditer(content)]
    start, end = draw.choice(places) if places else (0, 0)
    return content[:start] + draw.choice(VALUES) + content[end:]


def _same_value(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """A value of the file in another place of it."""
    places = [match.span() for match in _VALUE.finditer(content)]
    if not places:
        return content
    (start, end), (a, b) = draw.choice(places), draw.choice(places)
    return content[:start] + content[a:b] + content[end:]


def _bytes(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    start, end = _span(content, draw)
    return content[:start] + draw.randbytes(end - start) + content[end:]


def _cut(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    start, end = _span(content, draw)
    return content[:start] if draw.random() < 0.3 else content[:start] + content[end:]


def _again(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    start, end = _span(content, draw)
    times = draw.choice((2, 2, 3, 100, 2000))
    return content[:start] + content[start:end] * times + content[end:]


def _lines(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """A line left out, given again, or moved, or a cell or an indent less or more."""
    lines = content.splitlines(keepends=True) or [b"\n"]
    place, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    change = draw.randrange(5)
    if change == 0:
        del lines[place]
    elif change == 1:
        lines.insert(other, lines[place])
    elif change == 2:
        lines[place], lines[other] = lines[other], lines[place]
    elif change == 3:
        lines[place] = lines[place].replace(b",", b",,", 1)
    else:
        lines[place] = b"  " + lines[place]
    return b"".join(lines)


def _deep(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    start, end = _span(content, draw)
    opened, closed = draw.choice(PAIRS)
    times = draw.choice((1, 2, 45, 160, 5000))
    inner = opened * times + content[start:end] + closed * times
    return content[:start] + inner + content[end:]


def _taken(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """A stretch of another file of the kind."""
    other = draw.choice(others)
    start, end = _span(other, draw)
    at = draw.randint(0, len(content))
    return content[:at] + other[start:end] + content[at:]


def _encoded(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    return draw.choice(
        (
            b"\xef\xbb\xbf" + content,
            text.encode("utf-16"),
            content.replace(b"\n", b"\r\n"),
            content.replace(b"\n", b"\r"),
            content.replace(b",", b";"),
            content.replace(b"\n", b"\n\n"),
            b"",
        )
    )


_CHANGES: list[Callable[[bytes, Sequence[bytes], random.Random], bytes]] = [
    *(_value, _value, _value, _same_value, _same_value),
    *(_bytes, _cut, _cut, _again, _lines, _lines, _deep, _taken, _encoded),
]
