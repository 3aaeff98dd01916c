"""How much of a random test runs: fewer draws in the quick tests, all of them otherwise."""

from __future__ import annotations

#: Set by conftest.py when the slow tests are left out (`-m "not slow"`).
quick = False


def draws(all_of_them: int, few: int) -> int:
    """How many of something drawn at random a test looks at.

    all_of_them : wherever the slow tests run, too. few : where only the quick ones do.
    """
    return few if quick else all_of_them
