"""Aligned tables, JSON and CSV: how a command writes what it found."""

from __future__ import annotations

import csv
import io
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from elector.base import spelling
from elector.base.errors import printable

Record = Mapping[str, Any]
#: Width that tables keep to.
WIDTH = 80
#: The space between a number and a unit, which are short.
_MEASURE = re.compile(r"(?<=\d) (?=[^\s\d]\S{0,3}(?:[,;:)]|\s|$))")
#: Signs behind which a long name breaks.
_SIGN = re.compile(r"([:/,;_.@-])(?=\w)")
#: Least width a column is folded to.
_NARROW = 7
#: Characters that are shown of a line of what is wrong with a command line.
_LONGEST = 400


def table(
    rows: Sequence[Sequence[str]],
    header: Sequence[str] = (),
    right: Iterable[int] = (1, 2),
    fold: Iterable[int] = (),
    cut: Iterable[int] = (),
) -> str:
    """Aligned columns, two spaces apart.

    Parameters
    ----------
    rows : cells of each line. header : their headings; none by default.
    right : columns of numbers, which end where the column ends.
    fold : columns whose words go on in the next line where the table is wider than WIDTH, the
        widest first. cut : columns that end in … there instead.
    """
    return "\n".join(blocks(rows, header, right, fold, cut))


def blocks(
    rows: Sequence[Sequence[str]],
    header: Sequence[str] = (),
    right: Iterable[int] = (1, 2),
    fold: Iterable[int] = (),
    cut: Iterable[int] = (),
) -> list[str]:
    """The text of the heading and of each row of a `table`, one or more lines each."""
    lines = [list(map(str, header)), *(list(map(str, row)) for row in rows)]
    lines = lines if header else lines[1:]
    folds, cuts = tuple(fold), tuple(cut)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    whole = {i: max(_piece(line[i]) for line in lines) for i in folds}
    widths = _narrowed(widths, folds + cuts, whole)  # between words, where that is enough
    widths = _narrowed(widths, folds + cuts, {})
    numbers, short = set(right), set(cuts)
    blocks_of = []
    for line in lines:
        cells = [
            [_cut(cell, size)] if i in short else _folded(cell, size)
            for i, (cell, size) in enumerate(zip(line, widths, strict=True))
        ]
        text = []
        for k in range(max(map(len, cells))):
            parts = [
                (cell[k] if k < len(cell) else "").rjust(size)
                if i in numbers
                else (cell[k] if k < len(cell) else "").ljust(size)
                for i, (cell, size) in enumerate(zip(cells, widths, strict=True))
            ]
            text.append(("  " + "  ".join(parts)).rstrip())
        blocks_of.append("\n".join(text))
    return blocks_of


def fits(
    rows: Sequence[Sequence[str]], header: Sequence[str] = (), fold: Iterable[int] = ()
) -> bool:
    """Whether a `table` keeps to WIDTH without a word that goes on in the next line.

    rows, header, fold : as of `table`.
    """
    lines = [*([header] if header else []), *rows]
    folds = set(fold)
    widths = [
        max((_piece if i in folds else len)(line[i]) for line in lines)
        for i in range(len(lines[0]))
    ]
    return sum(widths) + 2 * len(widths) <= WIDTH


def _piece(cell: str) -> int:
    """Length of the longest piece of a cell that `_folded` keeps in one line."""
    return max(map(len, _SIGN.sub("\\1 ", cell).split()), default=0)


def _narrowed(widths: list[int], fold: tuple[int, ...], least: Mapping[int, int]) -> list[int]:
    """The widths with the widest of the columns that may fold made narrower.

    least : column -> width it keeps; _NARROW for the others.
    """
    widths, over = list(widths), sum(widths) + 2 * len(widths) - WIDTH
    while over > 0:
        room = {i: widths[i] - max(_NARROW, least.get(i, 0)) for i in fold}
        wide = [i for i in fold if room[i] > 0]
        if not wide:
            break
        widest = max(wide, key=lambda i: widths[i])
        second = max((widths[i] for i in wide if i != widest), default=0)
        step = max(1, min(over, room[widest], widths[widest] - second))
        widths[widest] -= step
        over -= step
    return widths


def _cut(cell: str, size: int) -> str:
    return cell if len(cell) <= size else f"{cell[: size - 1]}…"


def _folded(cell: str, size: int) -> list[str]:
    """A cell as lines of at most `size`; long names break behind a sign."""
    if len(cell) <= size:
        return [cell]
    spaced = _SIGN.sub("\\1\u200b", cell)
    lines: list[str] = [""]
    for word in re.split("( |\u200b)", spaced):
        piece = "" if word == "\u200b" else word
        if len(lines[-1]) + len(piece) <= size:
            lines[-1] += piece
        elif piece.strip():
            parts = textwrap.wrap(piece, size)
            lines += parts
    return [line.rstrip() for line in lines if line.strip()] or [""]


def between(low: str, high: str) -> str:
    """An interval, its unit said once where both ends have the same: `149-514 us`; one value where
    the ends are alike."""
    if low == high:
        return low
    if low.partition(" ")[2] == high.partition(" ")[2]:
        low = low.partition(" ")[0]
    return f"{low}-{high}"


def paragraph(text: str, indent: str = "", width: int = WIDTH) -> str:
    """Words in lines of at most `width`; a longer word, as a path may be, stays whole, and so
    do a number and its unit."""
    filled = textwrap.fill(
        _MEASURE.sub("\u00a0", text),
        width,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled.replace("\u00a0", " ")


def cell(value: object) -> str:
    """A plain value in a table."""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_json(value: object) -> None:
    """The value on standard output, with null for NaN and infinity."""
    click.echo(spelling.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_csv(records: Sequence[Record]) -> None:
    """Records on standard output, nested names dotted; floats read back as the same float."""
    stream = io.StringIO()
    records = [dict(flat(record)) for record in records]
    names = list(dict.fromkeys(name for record in records for name in record))
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    for record in records:
        writer.writerow([_csv_cell(record.get(name)) for name in names])
    click.echo(stream.getvalue(), nl=False)


def flat(record: Record, prefix: str = "") -> Iterable[tuple[str, object]]:
    """Entries with nested names dotted."""
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _csv_cell(value: object) -> object:
    if isinstance(value, list):
        return "; ".join(str(entry) for entry in value)
    return repr(value) if isinstance(value, float) else value


def said(sentences: Iterable[str]) -> None:
    """Notes on standard error, where no script reads a result; a line each.

    What is said of a setting that was given is a warning.
    """
    for sentence in sentences:
        own = sentence.startswith(("workload.", "accelerator.", "model."))
        click.echo(f"{'warning' if own else 'note'}: {sentence}", err=True)


def shortened(message: str) -> str:
    """A message that repeats what was typed, each line only so far.

    message : lines.
    """
    return "\n".join(printable(line, _LONGEST) for line in message.split("\n"))
