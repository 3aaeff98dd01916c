"""Errors that a user can act on: where it is, what is wrong, what is allowed.

ElectorError
+-- InputError        something the user handed in; the commands exit with 2
+-- InfeasibleError   no feasible design; the commands exit with 3
+-- EvaluationError   the work itself failed; the commands exit with 1
"""

from __future__ import annotations

import re
from collections.abc import Iterable

#: From so many letters on a name may be the beginning of another.
_CUT = 3


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
        self.allowed = None if allowed is None else [str(a) for a in allowed]
        self.hint = hint
        super().__init__(self.message())

    def message(self) -> str:
        """The whole message on one to three lines."""
        where = ": ".join(part for part in (self.file, self.field) if part)
        text = f"{where}: {self.problem}" if where else self.problem
        if self.value is not None:
            text += f" (got {_shorten(self.value)})"
        if self.allowed is not None:
            text += _allowed(self.allowed, self.value)
        if self.hint:
            text += f"\n  hint: {self.hint}"
        return text

    def at(self, *, file: object = None, field: str | None = None) -> InputError:
        """The same error with a file or an outer field added where none was known."""
        return InputError(
            self.problem,
            file=self.file or file,
            field=self.field or field,
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
    for one that holds it between its signs (sram for accelerator.sram).

    alike : least share of letters in common (difflib's ratio).
    """
    import difflib  # only a wrong name needs it

    known, asked = {str(n).lower(): str(n) for n in names}, str(name).lower()
    if len(asked) >= _CUT and alike <= 0.5:
        begin = [n for n in known if n.startswith(asked)]
        hold = [n for n in known if asked in re.split(r"[-._:@/ ]", n)]
        if begin or hold:
            return known[min(begin or hold, key=len)]
    found = difflib.get_close_matches(asked, list(known), n=1, cutoff=alike)
    return known[found[0]] if found else None


def _shorten(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _allowed(allowed: list[str], value: object) -> str:
    guess = nearest(value, allowed) if value is not None else None
    shown = ", ".join(allowed[:24]) + (", ..." if len(allowed) > 24 else "")
    text = f"; did you mean {guess}?" if guess else ""
    return f"{text}\n  allowed: {shown}"
