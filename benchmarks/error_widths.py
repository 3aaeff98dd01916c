"""How far off the simulator is on published cases that nothing was fitted on.

    python benchmarks/error_widths.py [--write]

Of the outcomes of elector/data/published.csv that the rule of left-out rows keeps out of every fit,
half (by a hash of the case's name) set widths: the 90th percentile of |log(simulated / published)|,
as a factor, of each family, stack and regime with at least MIN cases, and of what they have in
common. The other half counts how many lie inside. The same half says what share of the variance of
the log errors of times the cases of one device and group have in common (one-way analysis of
variance, all pooled): what cancels where two designs of a kind are compared. --write puts the
widths and the share into elector/data/errors.csv. The bars: between 85 and 95 % of the other half
inside, all groups pooled.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import math
from collections import defaultdict
from pathlib import Path

import numpy as np

from elector.studies.error_widths import ANY, candidates, regime_of
from elector.studies.validation import CaseResult, validate

DATA = Path(__file__).resolve().parent.parent / "elector" / "data"
#: Fewest cases that a width is read from, and fewest that it is read from alone: of n, the one of
#: rank 0.9 (n + 1) is what a further one stays below nine times of ten, and fewer than nine have
#: none of that rank (Vovk et al. 2005, Algorithmic Learning in a Random World; split conformal
#: prediction). Such a group is not surer than any wider one.
MIN, ALONE = 5, 9
#: What nothing validates: a factor, assumed.
ELSE = 2.0
POWERS = ("power_w", "energy_j", "energy_per_sequence_j", "energy_per_token_j")


def sets_widths(name: str) -> bool:
    """Whether a case sets widths, or counts coverage."""
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 0


def keys(result: CaseResult) -> list[tuple[str, str, str]]:
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
        if r.case.kind == "outcome" and not r.problem and r.case.unseen and r.simulated > 0
    ]
    errors: dict[tuple[str, str, str], dict[str, list[float]]] = defaultdict(
        lambda: {"time": [], "power": []}
    )
    for r in results:
        if sets_widths(r.case.case):
            kind = "power" if r.case.metric in POWERS else "time"
            for key in keys(r):
                errors[key][kind].append(abs(math.log(r.simulated / r.case.value)))
    share = shared([r for r in results if sets_widths(r.case.case)])
    rows = [(*row, share) for row in table(errors)]
    print(f"shared by cases of one device and group: {100 * share:.0f} % of the variance of times")
    print(f"{len(results)} cases that nothing was fitted on, {len(rows)} groups")
    count(results, {tuple(row[:3]): row for row in rows})
    if write:
        text = "family,stack,regime,time,power,cases,shared\n"
        text += "".join(",".join(str(x) for x in row) + "\n" for row in rows)
        (DATA / "errors.csv").write_text(text, encoding="utf-8")


def table(errors: dict[tuple[str, str, str], dict[str, list[float]]]) -> list[tuple[object, ...]]:
    """Rows of errors.csv: factors, where there are enough cases, else those of all."""
    everything = errors[ANY]
    power = factor(everything["power"])
    rows: list[tuple[object, ...]] = []
    for key, samples in sorted(errors.items()):
        if key == ANY or len(samples["time"]) < MIN:
            continue
        own = factor(samples["power"]) if len(samples["power"]) >= MIN else power
        rows.append((*key, time_of(key, errors), own, len(samples["time"])))
    rows.append((*ANY, ELSE, ELSE, 0))
    return rows


def time_of(
    key: tuple[str, str, str], errors: dict[tuple[str, str, str], dict[str, list[float]]]
) -> float:
    """The factor of times of a group; of one with few cases at least that of any wider."""
    own = factor(errors[key]["time"])
    if len(errors[key]["time"]) >= ALONE:
        return own
    wider = (k for k in candidates(key) if k != ANY and len(errors[k]["time"]) >= ALONE)
    return max(own, *(factor(errors[k]["time"]) for k in wider), 1.0)


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
    """The factor that nine of ten lie within; a little more for few cases (one rank up)."""
    ordered = np.sort(errors)
    place = min(math.ceil(0.9 * (ordered.size + 1)) - 1, ordered.size - 1)
    return round(float(np.exp(ordered[place])), 3)


def count(results: list[CaseResult], rows: dict[tuple[object, ...], tuple[object, ...]]) -> None:
    """Print how many of the other half lie inside."""
    inside: dict[str, list[bool]] = defaultdict(list)
    for r in results:
        if sets_widths(r.case.case):
            continue
        row = next((rows[k] for k in keys(r) if k in rows), rows[ANY])
        width = float(str(row[4 if r.case.metric in POWERS else 3]))
        held = abs(math.log(r.simulated / r.case.value)) <= math.log(width)
        inside[r.case.group].append(held)
    pooled: list[bool] = []
    for group, held in sorted(inside.items()):
        if len(held) >= 20:
            print(f"{group:50s} {len(held):4d} {100 * np.mean(held):5.1f} %")
        else:
            pooled += held
    print(
        f"{'groups of fewer than 20, pooled':50s} {len(pooled):4d} {100 * np.mean(pooled):5.1f} %"
    )
    total = list(itertools.chain.from_iterable(inside.values()))
    print(f"{'all':50s} {len(total):4d} {100 * np.mean(total):5.1f} %")


if __name__ == "__main__":
    main()
