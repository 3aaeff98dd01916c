"""`python -m elector`, the same program as the command `elector`."""

from __future__ import annotations

from elector.cli.entry import run


def program() -> None:
    """The console script `elector`; ends the process."""
    run("elector")


if __name__ == "__main__":
    program()
