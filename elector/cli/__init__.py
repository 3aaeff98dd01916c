"""The command `elector`: parse, call one function, hand the result to `report`.

In come words of a command line, out go text, JSON or CSV and an exit code. `entry` starts and
ends both programs, `streams` is what they write to, `commands` has the commands, `report` what
they print, `completion` what a shell proposes. A new option is parsed here and computed elsewhere.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from elector.cli.commands import main

__all__ = ["main"]


def __getattr__(name: str) -> Any:
    if name == "main":  # imported when asked for: `entry` starts before the commands are there
        from elector.cli.commands import main

        return main
    raise AttributeError(f"module 'elector.cli' has no attribute {name!r}")
