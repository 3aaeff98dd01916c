"""How far off the simulator is on published cases that nothing was fitted on.

    python benchmarks/error_widths.py [--write]

Of the outcomes of elector/data/published.csv that the rule of left-out rows keeps out of every fit,
half (by a hash of `widths|` and the case's name) set widths: the 90th percentile of
|log(simulated / published)|, as a factor, of each family, stack and regime with at least MIN cases,
and of what they have in common. The other half counts how many lie inside. The same half says what
share of the variance of the log errors of times the cases of one device and group have in common
(one-way analysis of variance, all pooled): what cancels where two designs of a kind are compared.
--write puts the widths and the share into elector/data/errors.csv. The bars: between 85 and 95 % of
the other half inside, in each group of MANY and in all smaller ones pooled.

A second count has the halves change places, too, so that each case is counted once, by widths that
cases of the half without it set: how much of the first is the luck of one split. A third does so
with SPLITS other halves, drawn alike, and has the mean: what is left is the width itself.

Cases that contradict themselves, by a rule that no simulated figure has a say in
(published_rows.REACHED), are in neither half; nor are first prompts of a process, which load its
kernels: no design asks for that.

The hash is not that of the name alone: published_rows.py draws a document's rows by the lowest of
those, so that their first digits are alike, and 62 of 75 products of one family set widths.
"""

from __future__ import annotations

import argparse
import hashlib
import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from elector.studies.error_widths import ANY, FEWEST, Kind, candidates, regime_of
from elector.studies.validation import CaseResult, validate

DATA = Path(__file__).resolve().parent.parent / "elector" / "data"
#: Fewest cases that a width is read from, and fewest that it is read from alone: of n, the one of
#: rank 0.9 (n + 1) is what a further one stays below nine times of ten, and fewer than nine have
#: none of that rank (Vovk et al. 2005, Algorithmic Learning in a Random World; split conformal
#: prediction). Such a group is not surer than any wider one, nor, where no wider one has as many,
#: than what nothing validates.
MIN, ALONE = 5, FEWEST
#: What nothing validates: a factor, assumed.
ELSE = 2.0
#: Rows of a group that is counted by itself.
MANY = 20
#: Other halves that the third count draws.
SPLITS = 40
#: What the note of a case says that contradicts itself (published_rows.REACHED).
NO_WIDTH = "sets no width"
#: Regime of cases that hold more than what is simulated.
FIRST = "first prompt"
POWERS = ("power_w", "energy_j", "energy_per_sequence_j", "energy_per_token_j")
#: What has the errors of prices alone: neither a time nor a power.
AREA = "area"
#: A row of errors.csv: a group, its factors of time and of power, its cases, the share.
Row = tuple[str, str, str, float, float, int, float]
#: Group -> |log errors| of its times and of its powers.
Errors = dict[Kind, dict[str, list[float]]]


def sets_widths(name: str, split: str = "") -> bool:
    """Whether a case sets widths, or counts coverage.

    split : which halves, "" for those that widths are written of.
    """
    return hashlib.sha256(f"widths|{split}{name}".encode()).digest()[0] % 2 == 0


def keys(result: CaseResult) -> list[Kind]:
    """The groups a case belongs to, the narrowest first."""
    family, stack, regime = result.case.group.split(" / ")
    own = (family, stack, regime_of(regime))
    return candidates(own)


def main() -> None:
    """Print the table, and what of the other half lies inside."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    results = [
        r
        for r in validate()
        if r.case.kind == "outcome"
        and not r.problem
        and r.case.unseen
        and r.simulated > 0
        and NO_WIDTH not in r.case.note
        and FIRST not in r.case.group
        and not r.case.metric.startswith(AREA)
    ]
    setting = [r for r in results if sets_widths(r.case.case)]
    counting = [r for r in results if not sets_widths(r.case.case)]
    rows = widths(setting)
    print(f"shared by cases of one device and group: {100 * shared(setting):.0f} % of the variance")
    print(f"{len(setting)} cases that nothing was fitted on set {len(rows)} widths\n")
    once = inside(counting, rows)
    count(once)
    print("\nboth halves, each by the widths of the other")
    count(once + inside(setting, widths(counting)))
    print(f"\nboth halves of {SPLITS} other splits, mean")
    count([case for k in range(SPLITS) for case in both_halves(results, f"{k}|")], SPLITS)
    if write:
        text = "family,stack,regime,time,power,cases,shared\n"
        text += "".join(",".join(str(x) for x in row) + "\n" for row in rows.values())
        (DATA / "errors.csv").write_text(text, encoding="utf-8")


def widths(results: list[CaseResult]) -> dict[Kind, Row]:
    """The rows of errors.csv that these cases set, by group."""
    errors: Errors = defaultdict(lambda: {"time": [], "power": []})
    for r in results:
        kind = "power" if r.case.metric in POWERS else "time"
        for key in keys(r):
            errors[key][kind].append(abs(math.log(r.simulated / r.case.value)))
    return table(errors, shared(results))


def table(errors: Errors, share: float) -> dict[Kind, Row]:
    """Rows of errors.csv: factors of the groups with enough cases, and of all others."""
    rows: dict[Kind, Row] = {}
    for key, samples in sorted(errors.items()):
        if key != ANY and len(samples["time"]) >= MIN:
            time, power = (of_group(key, what, errors) for what in ("time", "power"))
            rows[key] = (*key, time, power, len(samples["time"]), share)
    rows[ANY] = (*ANY, ELSE, ELSE, 0, share)
    return rows


def of_group(key: Kind, what: str, errors: Errors) -> float:
    """The factor of times or of powers of a group; of one with few cases at least that of any
    wider with enough of them, or else of what nothing validates."""
    own = errors[key][what]
    if len(own) >= ALONE:
        return factor(own)
    # of chips of one kind, all cases together say something; of others nothing
    of_any_chip = ("*", "", "") in candidates((key[0], "", ""))
    wider = [k for k in candidates(key) if k in errors and (k != ANY or of_any_chip)]
    enough = [factor(errors[k][what]) for k in wider if len(errors[k][what]) >= ALONE] or [ELSE]
    return max([*enough, *([factor(own)] if own else [])])


def shared(results: list[CaseResult]) -> float:
    """Share of the variance of log errors of times between groups: their intraclass correlation."""
    apart: dict[tuple[str, str], list[float]] = defaultdict(list)
    for r in results:
        if r.case.metric not in POWERS:
            apart[r.case.accelerator, r.case.group].append(math.log(r.simulated / r.case.value))
    groups = [np.array(values) for values in apart.values() if len(values) > 1]
    sizes = np.array([len(group) for group in groups])
    count, middle = sizes.sum(), np.concatenate(groups).mean()
    between = sum(len(g) * (g.mean() - middle) ** 2 for g in groups) / (len(groups) - 1)
    within = sum(((g - g.mean()) ** 2).sum() for g in groups) / (count - len(groups))
    each = (count - (sizes**2).sum() / count) / (len(groups) - 1)
    common = max((between - within) / each, 0.0)
    return round(float(common / (common + within)), 2)


def factor(errors: list[float]) -> float:
    """The factor that a further case stays within nine times of ten: of n errors that of rank
    0.9 (n + 1), on the line between two where it is no whole number (up to the next one, 18 of
    them gave a width of 95 in 100). Of fewer than ALONE the largest."""
    return round(float(np.exp(np.quantile(errors, 0.9, method="weibull"))), 3)


def inside(results: list[CaseResult], rows: dict[Kind, Row]) -> list[tuple[str, bool]]:
    """Group of each case, and whether it lies inside its width."""
    held = []
    for r in results:
        row = next((rows[k] for k in keys(r) if k in rows), rows[ANY])
        width = float(row[4 if r.case.metric in POWERS else 3])
        held.append((r.case.group, abs(math.log(r.simulated / r.case.value)) <= math.log(width)))
    return held


def both_halves(results: list[CaseResult], split: str) -> list[tuple[str, bool]]:
    """Group of each case, and whether it lies inside the width that the half without it sets."""
    one = [r for r in results if sets_widths(r.case.case, split)]
    other = [r for r in results if not sets_widths(r.case.case, split)]
    return inside(other, widths(one)) + inside(one, widths(other))


def count(cases: list[tuple[str, bool]], times: int = 1) -> None:
    """Print how many cases lie inside: of each group of many, of the others pooled, and of all.

    times : how often each case is there.
    """
    sizes = Counter({g: n // times for g, n in Counter(group for group, _ in cases).items()})
    few, every = f"groups of fewer than {MANY}, pooled", "all"
    for name in (*sorted(g for g in sizes if sizes[g] >= MANY), few, every):
        own = name if name in sizes else few
        held = [
            is_inside
            for group, is_inside in cases
            if name == every or (group if sizes[group] >= MANY else few) == own
        ]
        print(f"{name:50s} {len(held) // times:4d} {100 * np.mean(held):5.1f} %")


if __name__ == "__main__":
    main()
