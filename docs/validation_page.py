"""The page docs/validation.md: what is validated on what, from the shipped cases themselves."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import peers_table

from elector.studies.validation import CaseGroup, groups, validate

#: The words of the page; cases stand where it says {tables}, other tools where it says {peers}.
TEMPLATE = Path(__file__).resolve().parent / "validation.template"


@cache
def page() -> str:
    """The page: text around the tables of the shipped cases."""
    results = validate()
    judged = groups(results)
    outcomes = sum(group.number for group in judged)
    identities, bounds = (
        sum(r.case.kind == kind for r in results) for kind in ("identity", "bound")
    )
    unseen = sum(group.unseen for group in judged)
    counts = (
        f"{len(results)} cases: {outcomes} outcomes in {len(judged)} groups, {unseen} of them "
        f"never fitted; {identities} identities and {bounds} bounds.\n\n"
    )
    missed = [g for g in judged if g.verdict == "known miss"]
    text = counts + "## Rows that no constant was fitted on\n\n"
    text += _table([g for g in judged if g.unseen], unseen=True)
    text += "\n## All rows of the groups that were fitted on: in-sample\n\n"
    text += _table([g for g in judged if g.unseen < g.number], unseen=False)
    text += f"\n## Known misses\n\n{len(missed)} groups leave their bar:\n\n"
    text += "".join(
        f"- {g.name}: {g.judged:.0%} beside a bar of {g.bar:.0%}, bias {g.bias:+.0%}\n"
        for g in sorted(missed, key=lambda g: -g.judged)
    )
    words = TEMPLATE.read_text(encoding="utf-8")
    return words.replace("{tables}", text).replace("{peers}", peers_table.section())


def _table(judged: list[CaseGroup], unseen: bool) -> str:
    lines = ["| group | rows | median error | bar | verdict |", "|---|---|---|---|---|"]
    if not unseen:
        lines = ["| group | rows | median | 90th | bias | most time |", "|---|---|---|---|---|---|"]
    for g in judged:
        if unseen:
            inside = "ok" if g.unseen_median <= g.bar else "outside"
            lines.append(
                f"| {g.name} | {g.unseen} | {g.unseen_median:.1%} | {g.bar:.0%} | {inside} |"
            )
        else:
            lines.append(
                f"| {g.name} | {g.number} | {g.median:.1%} | {g.ninetieth:.0%} | {g.bias:+.0%} "
                f"| {g.dominant} |"
            )
    return "\n".join(lines) + "\n"
