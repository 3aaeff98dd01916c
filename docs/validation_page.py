"""The page docs/validation.md: what is validated on what, from the shipped cases themselves."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import peers_table

from elector.base.quantity import share
from elector.studies.validation import ENOUGH, TOO_FEW, CaseGroup, groups, validate

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
        f"- {g.name}: {g.judged:.0%} beside a bar of {g.bar:.0%}, "
        f"bias {share(g.every.bias, 0, '+')}\n"
        for g in sorted(missed, key=lambda g: -g.judged)
    )
    words = TEMPLATE.read_text(encoding="utf-8")
    return words.replace("{tables}", text).replace("{peers}", peers_table.section())


def _table(judged: list[CaseGroup], unseen: bool) -> str:
    """Errors of a group's rows that were never fitted, beside the bar, or of all."""
    head = ["group", "rows", "median", "90th", "bias", "most time"]
    lines = [[*head[:1], "never fitted", *head[2:], "bar", "verdict"] if unseen else head]
    lines.append(["---"] * len(lines[0]))
    for g in judged:
        errors = g.never if unseen else g.every
        count = f"{g.unseen} of {g.number}" if unseen and g.unseen < g.number else str(g.number)
        figures = [f"{errors.median:.1%}", f"{errors.ninetieth:.0%}", share(errors.bias, 0, "+")]
        line = [g.name, count, *figures, errors.dominant or "-"]
        lines.append([*line, f"{g.bar:.0%}", _said(g)] if unseen else line)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _said(group: CaseGroup) -> str:
    """What the rows that were never fitted say: too few of them decide nothing by themselves."""
    if group.unseen < min(ENOUGH, group.number):
        inside = "inside" if group.verdict == TOO_FEW else group.verdict
        return f"too few to judge: by all {group.number}, {group.every.median:.1%}, {inside}"
    return group.verdict
