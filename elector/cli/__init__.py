"""The command `elector`: parse, call one function, hand the result to `report`.

`commands` has the commands, `report` what they print, `completion` what a shell proposes.
"""

from elector.cli.commands import main, program

__all__ = ["main", "program"]
