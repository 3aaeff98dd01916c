"""Results as dictionaries that are short where they are printed.

A `ResultRecord` is a plain dict for all that reads it (JSON included); a notebook or a prompt
shows one line, or a small table, in place of hundreds of entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

#: Lines that a prompt shows; a notebook shows all.
_SHORT = 3


class ResultRecord(dict[str, object]):
    """A dictionary with a one-line `repr`.

    title : what it is. lines : name and value of what a reader looks for first.

    data : name -> value, which become the attributes.
    """

    def __init__(
        self,
        data: Mapping[str, object],
        title: str = "",
        lines: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(data)
        self.title, self.lines = title, tuple(lines)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {value}" for name, value in self.lines[:_SHORT])
        return f"<{self.title}{': ' if shown else ''}{shown}; {len(self)} entries>"

    def _repr_html_(self) -> str:
        """The lines as a table, for notebooks."""
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
            for name, value in self.lines
        )
        return f"<p>{escape(self.title)}</p><table>{rows}</table>"
