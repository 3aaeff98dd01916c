"""The adversary: an optimiser that looks for the worst violation of a law.

Random pairs, then generations of changed copies of the worst ones: single settings drawn anew,
nudged to a neighbouring number, or taken from another bad pair; a quarter of each generation is
fresh. It needs no gradient and knows nothing of the machine but its schema.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from laws.bounds import tolerance
from laws.drawing import Random, Row, bounded, costs, design, field_of, redrawn, structure
from laws.neighbours import Pair
from laws.statements import Law
from laws.subjects import Subject

#: Pairs of a generation at least, and generations at least; one of so many pairs lives on, and
#: at most a sixth of those along one axis of one structure; structures that are alive at once.
GENERATION, GENERATIONS, ELITE, CROWD, STRUCTURES = 600, 20, 10, 6, 12


@dataclass(frozen=True)
class Worst:
    """The worst pair of an axis: by how much it breaks the law beyond the tolerance."""

    axis: str
    violation: float
    excess: float
    pair: Pair

    def __str__(self) -> str:
        before, after = self.pair.before, self.pair.after
        changed = {k: (before.get(k), after.get(k)) for k in after if before.get(k) != after.get(k)}
        return f"{self.violation:+.4g} along {self.axis} {changed} of {before}"


def measured(subject: Subject, law: Law, pairs: list[Pair]) -> np.ndarray:
    """(P,) violations of the pairs."""
    rows = [pair.before for pair in pairs]
    if law.pair is None:
        before = after = costs(rows, law.level)
    else:  # in one evaluation: what neighbours share is worked out once
        both = costs([*rows, *(pair.after for pair in pairs)], law.level)
        before, after = both.part(slice(len(pairs))), both.part(slice(len(pairs), None))
    with np.errstate(all="ignore"):
        violations = law.violation(before, after)
    return np.where(np.isnan(violations), -np.inf, violations)


def drawn(
    subject: Subject, law: Law, rows: list[Row], random: Random, axis: str = ""
) -> list[Pair]:
    """A pair for each row along a random axis (or the one given), where there is one."""
    axes = (axis,) if axis else law.axes(subject)
    pairs = []
    for row in rows:
        for _ in range(8):
            chosen = axes[random.integers(len(axes))] if axes else ""
            if not axes:
                return []
            pair = _pair(subject, law, row, chosen, random)
            if pair is not None:
                pairs.append(pair)
                break
    return pairs


def _pair(subject: Subject, law: Law, row: Row, axis: str, random: Random) -> Pair | None:
    return Pair(axis, row, row) if law.pair is None else law.pair(subject, row, axis, random)


def worst_by_axis(
    subject: Subject, law: Law, pairs: list[Pair], violations: np.ndarray
) -> list[Worst]:
    """The worst pair of each axis, the worst axis first."""
    best: dict[str, Worst] = {}
    for pair, value in zip(pairs, violations, strict=True):
        excess = float(value) - tolerance(subject, law.name, pair.axis)
        if pair.axis not in best or excess > best[pair.axis].excess:
            best[pair.axis] = Worst(pair.axis, float(value), excess, pair)
    return sorted(best.values(), key=lambda w: -w.excess)


def attack(
    subject: Subject, law: Law, evaluations: int, seed: int = 0, axis: str = ""
) -> list[Worst]:
    """The worst pairs that so many evaluated pairs found, by axis.

    axis : the one axis to attack; "" for all of the law.
    """
    random = np.random.default_rng(seed)
    elite: list[Pair] = []
    scores = np.zeros(0)
    best: dict[str, Worst] = {}
    done, size = 0, max(GENERATION, evaluations // GENERATIONS)
    while done < evaluations:
        pairs = _generation(subject, law, elite, random, axis, size)
        if not pairs:
            break
        violations = measured(subject, law, pairs)
        done += len(pairs)
        for worst in worst_by_axis(subject, law, pairs, violations):
            if worst.axis not in best or worst.excess > best[worst.axis].excess:
                best[worst.axis] = worst
        elite, scores = _survivors(
            elite + pairs, np.concatenate((scores, violations)), size // ELITE
        )
    _require_own(subject, law, best.values())
    return sorted(best.values(), key=lambda w: -w.excess)


def _require_own(subject: Subject, law: Law, worst_pairs: Iterable[Worst]) -> None:
    """A violation is that of the pair alone: its company in a batch changes no bit."""
    for worst in worst_pairs:
        alone = float(measured(subject, law, [worst.pair])[0])
        assert alone == worst.violation, f"alone the pair has {alone:+.17g}: {worst}"


def _survivors(pairs: list[Pair], scores: np.ndarray, most: int) -> tuple[list[Pair], np.ndarray]:
    """The `most` worst pairs, few of them along one axis of one structure."""
    kept: list[int] = []
    taken: dict[tuple[str, str, str], int] = {}
    for i in np.argsort(-scores, kind="stable"):
        key = (pairs[i].axis, str(pairs[i].before["model"]), str(pairs[i].before["accelerator"]))
        if not np.isfinite(scores[i]) or taken.get(key, 0) >= most // CROWD:
            continue
        taken[key] = taken.get(key, 0) + 1
        kept.append(int(i))
        if len(kept) == most:
            break
    return [pairs[i] for i in kept], scores[kept]


def _generation(
    subject: Subject, law: Law, elite: list[Pair], random: Random, axis: str, size: int
) -> list[Pair]:
    fresh = size // 4 if elite else size
    kinds = [structure(subject, random) for _ in range(STRUCTURES // (3 if elite else 1))]
    rows = [design(subject, kinds[random.integers(len(kinds))], random) for _ in range(fresh)]
    pairs = drawn(subject, law, rows, random, axis)
    while elite and len(pairs) < size:
        parent = elite[int(len(elite) * random.random() ** 2)]
        child = _changed(subject, parent.before, elite, random)
        own = "" if random.random() < 0.05 else parent.axis
        pairs += drawn(subject, law, [child], random, axis or own)
        pairs += [] if own else drawn(subject, law, [parent.before], random, axis)
    return pairs


def _changed(subject: Subject, row: Row, elite: list[Pair], random: Random) -> Row:
    """A copy with a few settings drawn anew, nudged or taken from another."""
    changed = dict(row)
    keys = [key for key in row if key.startswith("workload.") and isinstance(row[key], int)]
    keys += [key for key in row if key.startswith("model.")]
    formats = {f"accelerator.{key}" for key in subject.formats}
    hardware = [f"accelerator.{key}" for key in subject.fields]
    keys += [k for k in hardware if k not in formats and not k.endswith("convention")]
    other = elite[random.integers(len(elite))].before
    for _ in range(int(random.choice([1, 1, 2, 3, 6]))):
        key = keys[random.integers(len(keys))]
        kind = random.integers(4)
        if kind == 0 and key in other and not key.startswith("model."):
            changed[key] = other[key]
        elif kind == 1 and key.startswith("accelerator."):
            changed.pop(key, None)
        elif kind < 3 and isinstance(changed.get(key), int | float):
            changed[key] = _nudged(subject, changed, key, random)
        else:
            value = redrawn(subject, changed, key, random)
            if value is not None:
                changed[key] = value
    return _whole(changed)


def _nudged(subject: Subject, row: Row, key: str, random: Random) -> object:
    """A value close by; choices and switches stay."""
    field, value = field_of(key, subject), row[key]
    if field.choices or isinstance(value, bool):
        return value
    if field.type == "int":
        near = int(value) + int(random.choice([-8, -2, -1, 1, 2, 8]))
        return bounded(field, max(near, min(int(value), 1)))
    return bounded(field, float(value) * float(random.choice([0.5, 0.9, 0.99, 1.01, 1.1, 2.0])))


def _whole(row: Row) -> Row:
    """Heads that fill the width divide it, and key/value heads the heads."""
    if "model.heads" not in row:
        return row
    heads = max(int(row["model.heads"]), 1)
    if "model.head_size" not in row:
        row["model.hidden"] = max(round(row["model.hidden"] / heads), 1) * heads
    elif heads % int(row.get("model.kv_heads", 1)):
        row["model.kv_heads"] = 1
    return row
