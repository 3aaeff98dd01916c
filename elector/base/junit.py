"""JUnit XML, as continuous integration reads it: one case for each thing that was checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from elector.base.spelling import spelled

#: Suffixes that a file of it may have; "": none.
SUFFIXES = (".xml", "")
#: What XML 1.0 has no way to write: control characters, surrogates, two non-characters.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class JUnitCase:
    """One thing that was checked.

    failure : what is wrong with it, None where it passed. skipped : why it does not count, None
    where it does. group : its class name; that of the suite's cases by default.
    """

    name: str
    failure: str | None = None
    skipped: str | None = None
    group: str = ""


def document(suite: str, group: str, cases: Sequence[JUnitCase]) -> str:
    """The XML of a suite. group : the cases' class name. Unwritable characters become `?`,
    bytes of a file's name that are no text what `spelling.spelled` makes of them."""
    failed = sum(case.failure is not None for case in cases)
    skipped = sum(case.failure is None and case.skipped is not None for case in cases)
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<testsuite name={_quoted(suite)} tests="{len(cases)}" failures="{failed}" '
        f'skipped="{skipped}">',
    ]
    for case in cases:
        start = f"  <testcase classname={_quoted(case.group or group)} name={_quoted(case.name)}"
        if case.failure is not None:
            lines.append(f"{start}><failure message={_quoted(case.failure)}/></testcase>")
        elif case.skipped is not None:
            lines.append(f"{start}><skipped message={_quoted(case.skipped)}/></testcase>")
        else:
            lines.append(f"{start}/>")
    return "\n".join([*lines, "</testsuite>", ""])


def _quoted(text: str) -> str:
    return quoteattr(_NOT_XML.sub(_shown, text))


def _shown(unwritable: re.Match[str]) -> str:
    """A byte of a file's name as everywhere, anything else as `?`."""
    return spelled(unwritable[0]) if "\udc80" <= unwritable[0] <= "\udcff" else "?"
