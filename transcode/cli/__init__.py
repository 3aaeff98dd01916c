"""The command `transcode`: parse, call one function, hand the result to `report`.

In come words of a command line, out go text, JSON or CSV and an exit code. `commands` and `train`
have the commands, `report` and `report_train` what they print. A new option is parsed here and
computed elsewhere.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from transcode.cli.commands import main

__all__ = ["main"]


def __getattr__(name: str) -> Any:
    if name == "main":  # imported when asked for: the program starts before its commands are there
        from transcode.cli.commands import main

        return main
    raise AttributeError(f"module 'transcode.cli' has no attribute {name!r}")
