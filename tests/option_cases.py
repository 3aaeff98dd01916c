"""A case for every option of a program: what it does, tried; an option without one is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from programs import commands

Check = Callable[[Path], None]


class Cases:
    """Cases of one program, by command and spelling of the option.

    main : the program. A case is called in an empty working folder.
    """

    def __init__(self, main: click.Command) -> None:
        self.main = main
        self.known: dict[tuple[str, str], tuple[Check, tuple[str, ...]]] = {}

    def of(self, command: str, *spellings: str, extras: tuple[str, ...] = ()) -> Any:
        """Registers a function as the case of an option, by every way that it is spelled."""

        def register(check: Check) -> Check:
            self.add(command, spellings, check, extras)
            return check

        return register

    def add(
        self, command: str, spellings: tuple[str, ...], check: Check, extras: tuple[str, ...] = ()
    ) -> None:
        for spelling in spellings:
            assert (command, spelling) not in self.known, f"{command} {spelling} has two cases"
            self.known[command, spelling] = (check, extras)

    def parameters(self) -> Iterator[Any]:
        """For pytest: a case each, with the libraries that it needs."""
        for (command, spelling), (check, extras) in self.known.items():
            marks = [pytest.mark.extras(*extras)] if extras else []
            yield pytest.param(check, id=f"{command} {spelling}", marks=marks)

    def invoke(self, *words: object, stdin: str | None = None) -> Result:
        """One call of the program, within this process."""
        return CliRunner().invoke(self.main, [str(word) for word in words], input=stdin)

    def done(self, *words: object, code: int = 0) -> Result:
        """A call that ends with `code`."""
        result = self.invoke(*words)
        assert result.exit_code == code, f"{' '.join(map(str, words))}\n{result.output}"
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result


def options_of(main: click.Command) -> set[tuple[str, str]]:
    """Every option of every command, by every way that it is spelled; those of `--help` aside."""
    options = set()
    for words in [(), *commands(main)]:
        command = main
        for word in words:
            assert isinstance(command, click.Group)
            command = command.commands[word]
        for option in command.params:
            if isinstance(option, click.Option):
                spellings = (*option.opts, *option.secondary_opts)
                options |= {(" ".join(words), spelling) for spelling in spellings}
    return options
