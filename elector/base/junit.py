"""JUnit XML, as continuous integration reads it: one case for each thing that was checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

#: What XML 1.0 has no way to write: control characters, surrogates, two non-characters.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class JUnitCase:
    """One thing that was checked. failure : what is wrong with it, None where it passed."""

    name: str
    failure: str | None = None


def document(suite: str, group: str, cases: Sequence[JUnitCase]) -> str:
    """The XML of a suite. group : the cases' class name. Unwritable characters become `?`."""
    failed = sum(case.failure is not None for case in cases)
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<testsuite name={_quoted(suite)} tests="{len(cases)}" failures="{failed}">',
    ]
    for case in cases:
        start = f"  <testcase classname={_quoted(group)} name={_quoted(case.name)}"
        if case.failure is None:
            lines.append(f"{start}/>")
        else:
            lines.append(f"{start}><failure message={_quoted(case.failure)}/></testcase>")
    return "\n".join([*lines, "</testsuite>", ""])


def _quoted(text: str) -> str:
    return quoteattr(_NOT_XML.sub("?", text))
