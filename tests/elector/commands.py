"""The command `elector`, called within this process."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from elector.cli.commands import main


def run(*words: str) -> Result:
    """One call of the command."""
    return CliRunner().invoke(main, list(words))


def loaded(*words: str) -> Any:
    """The JSON of a call that succeeds."""
    result = run(*words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)
