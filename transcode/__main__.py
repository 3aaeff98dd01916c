"""`python -m transcode`, the same program as the command `transcode`."""

from __future__ import annotations

from elector.cli.entry import run


def program() -> None:
    """The console script `transcode`; ends the process."""
    run("transcode")


if __name__ == "__main__":
    program()
