"""Tables of docs/validation.md: other tools beside ours, from benchmarks/beside_peers.csv."""

from __future__ import annotations

import csv
import fnmatch
from collections.abc import Sequence
from pathlib import Path

import numpy as np

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
#: Who is right and why, by group (the first pattern that fits).
VERDICTS = BENCHMARKS / "peer_tools" / "verdicts.csv"
Row = dict[str, str]


def read(path: Path) -> tuple[str, list[Row]]:
    """When and where a table was measured, and its rows."""
    head, _, body = path.read_text(encoding="utf-8").partition("\n")
    return head.removeprefix("# "), list(csv.DictReader(body.splitlines()))


def section(path: Path = BENCHMARKS / "beside_peers.csv") -> str:
    """The tables, and what was skipped, by name."""
    measured, rows = read(path)
    groups = list(dict.fromkeys(row["group"] for row in rows))
    with VERDICTS.open(encoding="utf-8", newline="") as file:
        verdicts = list(csv.DictReader(file))
    lines = [
        f"Measured: {measured}; `benchmarks/beside_peers.py`.",
        "",
        "| tool and what it was asked | cases | theirs / ours | their error | our error "
        "| s a case: theirs | ours | who is right, and why |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for group in groups:
        lines.append(_line(group, [row for row in rows if row["group"] == group], verdicts))
    lines += ["", *_versions(rows), *_skipped(rows)]
    return "\n".join(lines) + "\n"


def _line(group: str, rows: Sequence[Row], verdicts: Sequence[Row]) -> str:
    done = [row for row in rows if not row["skipped"]]
    why = next((v["why"] for v in verdicts if fnmatch.fnmatch(group, v["group"])), "")
    if not done:
        return f"| {group} | none of {len(rows)} | | | | | | skipped |"
    theirs, ours = _column(done, "theirs"), _column(done, "ours")
    known = all(row["right"] for row in done)
    right = _column(done, "right") if known else np.full(len(done), np.nan)
    cells = [
        group,
        str(len(done)),
        f"{np.median(theirs / ours):.3g}",
        _error(theirs, right),
        _error(ours, right),
        *(f"{np.median(_column(done, name)):.2g}" for name in ("their_seconds", "our_seconds")),
        why,
    ]
    return "| " + " | ".join(cells) + " |"


def _column(rows: Sequence[Row], name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in rows])


def _error(values: np.ndarray, right: np.ndarray) -> str:
    """Median absolute error and, in brackets, the median with its sign."""
    error = values / right - 1.0
    if np.isnan(error).all():
        return ""
    if not error.any():
        return "exact"
    return f"{100 * np.median(np.abs(error)):.2g}% ({100 * np.median(error):+.2g}%)"


def _versions(rows: Sequence[Row]) -> list[str]:
    named = dict.fromkeys(f"{r['peer']} {r['version']}" for r in rows if r["version"])
    return [f"Versions: {', '.join(named)}.", ""] if named else []


def _skipped(rows: Sequence[Row]) -> list[str]:
    """A line for each reason, with the tool and how many cases it cost."""
    counted: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["skipped"]:
            counted.setdefault((row["peer"], row["skipped"]), []).append(row["case"])
    if not counted:
        return ["Nothing was skipped."]
    return [
        f"- **{peer}**, {len(names)} cases skipped: {why}" for (peer, why), names in counted.items()
    ]
