"""What each option of `transcode train` does, tried on six steps of a model of a few weights."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from option_cases import Cases

SIZES = ("model.layers=1", "model.hidden=16", "model.heads=2")
WORDS = ("train", "encoder", "digits", *(w for size in SIZES for w in ("--set", size)))
#: The rule looks back over windows, which six steps do not hold.
RULE = ("--switch", "hpt", "--steps", "40", "--window", "3")
SHORT = ("--sequence-length", "4", "--steps", "6", "--batch", "8")
EXTRAS = ("torch", "sklearn", "scipy")
Record = dict[str, Any]


def train(cases: Cases) -> None:
    """Register a case for every option."""
    add = functools.partial(cases.add, "train", extras=EXTRAS)
    for option, value, says in EFFECTS:
        add((option,), functools.partial(_changes, cases, option, value, says))
    add(("--out",), functools.partial(_out, cases))
    add(("--fresh",), functools.partial(_fresh, cases))
    add(("--format",), functools.partial(_format, cases))
    add(("--quiet",), functools.partial(_quiet, cases))


def _run(cases: Cases, *words: object, out: str = "trained") -> tuple[Record, Record]:
    """What a short run prints as JSON, and its manifest."""
    given = {word for word in words if str(word).startswith("--")}
    usual = [
        word
        for name, value in zip(SHORT[::2], SHORT[1::2], strict=True)
        if name not in given
        for word in (name, value)
    ]
    done = cases.done(*WORDS, *usual, *words, "--quiet", "--out", out, "--format", "json")
    return json.loads(done.stdout), json.loads((Path(out) / "manifest.json").read_text())


@functools.cache
def _usual(cases: Cases) -> tuple[Record, Record, list[dict[str, str]]]:
    result, manifest = _run(cases, out="usual")
    return result, manifest, _metrics("usual")


def _metrics(out: str) -> list[dict[str, str]]:
    """A row a validation, which is every step of so short a run."""
    with (Path(out) / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@dataclass(frozen=True)
class Run:
    """A run with an option, beside one without: result, settings, a row a validation."""

    result: Record
    settings: Record
    steps: list[dict[str, str]]
    usual: Record
    usual_steps: list[dict[str, str]]

    def density(self, operand: str) -> float:
        """Share of what is left of it, beside the run without."""
        return float(self.result["density"][operand] / self.usual["density"][operand])

    def losses(self) -> tuple[bool, bool]:
        """Whether the first loss, and the last, are those of the run without."""
        pairs = [(self.steps[i]["loss"], self.usual_steps[i]["loss"]) for i in (0, -1)]
        return pairs[0][0] == pairs[0][1], pairs[1][0] == pairs[1][1]


Says = Callable[[Run], bool]
EFFECTS: tuple[tuple[str, str, Says], ...] = (
    ("--tau-i", "0.5", lambda r: r.density("activation") < 0.9),
    ("--tau-t", "1e-3", lambda r: r.density("gradient") < 0.9),
    ("--top-k-i", "0.5", lambda r: r.density("activation") < 0.9),
    ("--top-k-t", "0.5", lambda r: r.density("gradient") < 0.9),
    (*RULE[:2], lambda r: r.result["switch"] is not None and r.usual["switch"] is None),
    ("--window", "3", lambda r: r.settings["window"] == 3 and r.result["switch"]["window"] == 3),
    ("--steps", "3", lambda r: len(r.steps) == r.result["steps"] == 3),
    ("--batch", "4", lambda r: r.result["saved_bytes"] < 0.6 * r.usual["saved_bytes"]),
    ("--learning-rate", "0.05", lambda r: r.losses() == (True, False)),
    ("--schedule", "constant", lambda r: r.losses() == (True, False)),
    ("--sequence-length", "16", lambda r: r.result["saved_bytes"] > 2 * r.usual["saved_bytes"]),
    ("--dropout", "0", lambda r: r.losses() == (False, False)),
    ("--evaluate", "3", lambda r: [row["step"] for row in r.steps] == ["3", "6"]),
    ("--seed", "1", lambda r: r.losses() == (False, False) and r.result["seed"] == 1),
    ("--set", "model.feed_forward=32", lambda r: r.result["parameters"] < r.usual["parameters"]),
)


def _changes(cases: Cases, option: str, value: str, says: Says, folder: Path) -> None:
    usual, _, usual_steps = _usual(cases)
    more: tuple[str, ...] = ()
    if option in ("--switch", "--window"):
        more = tuple(w for i in (0, 2, 4) if RULE[i] != option for w in RULE[i : i + 2])
    result, manifest = _run(cases, option, value, *more)
    assert says(Run(result, manifest["settings"], _metrics("trained"), usual, usual_steps)), result


def _out(cases: Cases, folder: Path) -> None:
    result, _ = _run(cases, out="deep/er")
    assert all((folder / "deep" / "er" / name).exists() for name in result["files"])
    assert not (folder / "results").exists()


def _fresh(cases: Cases, folder: Path) -> None:
    """Another seed is another run: it is refused, or begun anew."""
    _run(cases)
    words = (*WORDS, *SHORT, "--quiet", "--out", "trained", "--seed", "1")
    cases.done(*words, code=2)
    cases.done(*words, "--fresh")
    assert json.loads((folder / "trained" / "manifest.json").read_text())["settings"]["seed"] == 1


def _format(cases: Cases, folder: Path) -> None:
    result, _ = _run(cases)
    words = (*WORDS, *SHORT, "--quiet", "--out", "trained")
    told = {form: cases.done(*words, "--format", form).stdout for form in ("csv", "table")}
    rows = dict(csv.reader(told["csv"].splitlines()))
    for text in (told["table"], " ".join(rows.values())):
        assert f"{result['parameters']:,}" in text and f"{result['score']:.2f}" in text
    assert cases.done(*words).stdout == told["table"]


def _quiet(cases: Cases, folder: Path) -> None:
    words = (*WORDS, *SHORT, "--out", "trained")
    assert '"event": "finished"' in cases.done(*words).stderr
    assert cases.done(*words, "--fresh", "--quiet").stderr == ""
