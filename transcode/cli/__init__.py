"""The command `transcode`: parse, call one function, hand the result to `report`.

`commands` and `train` have the commands, `report` and `report_train` what they print.
"""

from transcode.cli.commands import main

__all__ = ["main"]
