"""Errors that a user can act on: where it is, what is wrong, what is allowed.

ElectorError
+-- InputError        something the user handed in; the commands exit with 2
+-- InfeasibleError   no feasible design; the commands exit with 3
+-- EvaluationError   the work itself failed; the commands exit with 1
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

#: Characters that are shown of a long file name, of a long field or allowed value, and of what is
#: wrong, which may repeat what a library said of a file.
_FILE, _FIELD, _PROBLEM = 500, 120, 2000

#: From so many letters on a name may be the beginning of another.
_BEGINNING = 3
#: Size of memory behind the name of a board that has one size only.
_SIZE = re.compile(r"-\d+-?gi?b$")
#: The word that tells one product from others: a letter and a number, or four figures.
_SERIES = re.compile(r"[a-z]+\d+[a-z]*|\d{4}\b")
#: Signs between the words of a name.
_SIGNS = re.compile(r"[-._:@/\s]+")


class ElectorError(Exception):
    """Root of every error this package raises on purpose."""


class InputError(ElectorError):
    """Bad input, found at the edge.

    Parameters
    ----------
    problem : what is wrong, one sentence without a full stop.
    file : the file or command option it came from.
    field : dotted path of the field inside that file.
    value : the offending value.
    allowed : the values that would have been accepted (a near match is suggested).
    hint : how to mend it.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: object = None,
        field: str | None = None,
        value: object = None,
        allowed: Iterable[object] | None = None,
        hint: str | None = None,
    ) -> None:
        self.problem = problem
        self.file = None if file is None else str(file)
        self.field = field
        self.value = value
        self.allowed = None if allowed is None else [_text(a) for a in allowed]
        self.hint = hint
        self._said: str | None = None
        super().__init__(problem)

    def __str__(self) -> str:
        """The message, put together once: looking for the nearest name takes its time."""
        if self._said is None:
            self._said = self.message()
        return self._said

    def message(self) -> str:
        """The whole message on one to three lines."""
        names = ((self.file, _FILE), (self.field, _FIELD))
        where = ": ".join(printable(name, most) for name, most in names if name)
        problem = _lines(_cut(self.problem))
        text = f"{where}: {problem}" if where else problem
        if self.value is not None:
            text += f" (got {_shorten(self.value)})"
        if self.allowed:
            text += _allowed([printable(name, _FIELD) for name in self.allowed], self.value)
        if self.hint:
            text += f"\n  hint: {_lines(self.hint)}"
        return text

    def at(
        self,
        *,
        file: object = None,
        field: str | None = None,
        place: str = "",
        under: str = "",
    ) -> InputError:
        """The same error with a file or an outer field added where none was known.

        place : where in a file of many things it is, such as `case tpu-v1`.
        under : field of that file in which the error's own field lies.
        """
        return InputError(
            f"{place}: {self.problem}" if place else self.problem,
            file=self.file or file,
            field=f"{under}.{self.field}" if under and self.field else self.field or field,
            value=self.value,
            allowed=self.allowed,
            hint=self.hint,
        )

    def of_row(self, table: object, place: str, field: str | None = None) -> InputError:
        """The same error of a row of a table, which may name a file of its own: both are said.

        table : the file of the row. place : where in it the row is, such as `line 2`.
        field : column that is to blame, where the error itself names no field.
        """
        if self.file is None or self.file == str(table):
            return self.at(file=table, field=field, place=place)
        own = ": ".join(name for name in (self.file, self.field) if name)
        return InputError(
            f"{place}: {own}: {self.problem}",
            file=table,
            field=field,
            value=self.value,
            allowed=self.allowed,
            hint=self.hint,
        )


class InfeasibleError(ElectorError):
    """A single design was asked about and it is infeasible; the commands exit with 3."""


class EvaluationError(ElectorError):
    """The computation failed for a reason that is not the input's."""


def nearest(name: object, names: Iterable[object], alike: float = 0.5) -> str | None:
    """The known name most like `name`, or None where nothing is close.

    A name that was cut short stands for the first that begins so (h100 for h100-nvl-94gb), then
    for one that holds it between its signs (sram for accelerator.sram). One with a size of memory
    behind it, or with words about it, stands for itself (h20-96gb and NVIDIA H20 for h20, Tesla T4
    for t4-16gb).

    alike : least share of letters in common (difflib's ratio).

    names : the names that are known.
    """
    import difflib  # only a wrong name needs it

    asked = _text(name).lower()
    if len(asked) > _FIELD:
        return None
    known = {str(n).lower(): str(n) for n in names}
    if asked and alike <= 0.5:
        short = len(asked) < _BEGINNING  # then it has to be a whole word (l4 for l4-24gb)
        begin = [n for n in known if re.match(rf"{re.escape(asked)}{'[-._:@/ ]' * short}", n)]
        hold = [n for n in known if not short and asked in _SIGNS.split(n)]
        if begin or hold:
            return known[min(begin or hold, key=len)]
    if alike <= 0.5 and (product := _product(asked, known)):
        return known[product]
    within = _SIZE.sub("", re.sub(r"[\s_]+", "-", asked))
    ends = [n for n in known if n == within or within.endswith(f"-{n}")]
    if ends:
        return known[max(ends, key=len)]
    close = difflib.get_close_matches(asked, list(known), n=1, cutoff=alike)
    return known[close[0]] if close else None


def _product(asked: str, known: Iterable[str]) -> str | None:
    """The known name of what several words call (NVIDIA H100 80GB HBM3 for h100-sxm-80gb): it has
    the first of them that is the name of a series, and most of the others; None where none has.

    asked, known : in small letters.
    """
    words = asked.split()
    said = {word for text in words for word in _SIGNS.split(text)}
    series = next((first[0] for word in words if (first := _SERIES.match(word))), None)
    named = {name: _SIGNS.split(name) for name in known}
    alike = {name: own for name, own in named.items() if series in own and len(words) > 1}

    def rank(name: str) -> tuple[int, int, int]:
        own = alike[name]
        more = [w for w in own if w not in said and not _SIZE.fullmatch(f"-{w}")]
        return len(said.intersection(own)), -len(more), -len(name)

    return max(alike, key=rank, default=None)


def printable(text: str, most: int) -> str:
    """A name as a message may show it: no control characters, the middle of a long one left out.

    most : characters that are shown of a longer one.

    text : the name.
    """
    text = _cut(text, most)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _cut(text: str, most: int = _PROBLEM) -> str:
    """A text without its middle where it is long."""
    return text if len(text) <= most else f"{text[: most - most // 3 - 3]}...{text[-(most // 3) :]}"


def _lines(text: str) -> str:
    """Lines as a message may show them."""
    return "\n".join(printable(line, _PROBLEM) for line in text.split("\n"))


def _shorten(value: object, limit: int = 80) -> str:
    text = _text(value, repr)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _text(value: object, shown: Callable[[object], str] = str) -> str:
    """A value as text; Python writes no whole number of more than some thousand digits."""
    try:
        return shown(value)
    except ValueError:
        return f"a {type(value).__name__} with thousands of digits"


def _allowed(allowed: list[str], value: object) -> str:
    guess = nearest(value, allowed) if value is not None else None
    shown = ", ".join(allowed[:24]) + (", ..." if len(allowed) > 24 else "")
    text = f"; did you mean {guess}?" if guess else ""
    return f"{text}\n  allowed: {shown}"
