"""JUnit XML that every reader reads, whatever stands in names and messages."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from elector.base.junit import JUnitCase, document


@given(st.text(), st.text(), st.lists(st.tuples(st.text(), st.none() | st.text())))
def test_any_text_makes_xml(suite: str, group: str, cases: list[tuple[str, str | None]]) -> None:
    text = document(suite, group, [JUnitCase(*case) for case in cases])
    root = ElementTree.fromstring(text.encode("utf-8"))
    assert root.get("tests") == str(len(cases)) == str(len(root))
    assert int(root.get("failures", "")) == sum(failure is not None for _, failure in cases)
    assert [len(case) for case in root] == [failure is not None for _, failure in cases]


def test_control_characters_are_shown_as_such() -> None:
    text = document("a\x01", "b\x00", [JUnitCase("c\x1b[31m", "d\ud800\uffff&<>\"'")])
    root = ElementTree.fromstring(text.encode("utf-8"))
    assert (root.get("name"), root[0].get("classname"), root[0].get("name")) == (
        "a?",
        "b?",
        "c?[31m",
    )
    assert root[0][0].get("message") == "d??&<>\"'"
