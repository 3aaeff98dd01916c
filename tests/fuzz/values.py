"""Every value of a file in turn replaced by what it may not be; `mutate` changes bytes at random.

    PYTHONPATH=tests python -m fuzz.values model space     each value of each shipped file

A replaced value meets what is asked of its field, which changed bytes seldom do. It is given to
the readers of the Python API only.
"""

from __future__ import annotations

import copy
import json
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from elector.base.errors import ElectorError
from fuzz.attack import LONGEST, SLOW
from fuzz.attack import traced as told
from fuzz.readers import READERS
from fuzz.targets import targets
from transcode.space import digest

#: What a value is replaced by; "" keys and deep ones are for mappings.
WRONG: list[Any] = [
    *(None, True, False, 0, -1, 1, 3, 0.5, -0.0, 1e308, 10**400, 10**12, float("inf"), "", "x"),
    *("1e999", "-1", "0", "lora:4", "1 MB", "[", "%", "\x07", "n" * 3000, "../x", "all", "auto"),
    *([], [[]], [None], [1], ["x"], [[1, 2]], [10**400], [{"a": 1}], [0] * 3, [-1, 2]),
    *([["x"], 10**12], [[["x"], 10**12]]),
    *({}, {"a": None}, {"a": {"a": []}}, {"low": 1, "high": 10**400}, {"low": "x", "high": "y"}),
    *({"low": 1, "high": 2, "steps": 10**12}, {"multiple_of": "x", "choices": [0]}, {"base": []}),
]  # fmt: skip


#: Formats that are mappings, whose values can be replaced one by one.
MAPPINGS = ("model", "config", "operations", "accelerator", "plan", "space", "manifest")


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every value of a file stands, the whole first."""
    yield at
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*at, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value[:3]):
            yield from places(inner, (*at, place))


def replaced(value: Any, at: tuple[Any, ...], wrong: Any) -> Any:
    """The whole with another value in one place."""
    if not at:
        return wrong
    whole = copy.deepcopy(value)
    inner = whole
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = wrong
    return whole


#: Text, an infinity, or a number without a point but with an exponent.
_NUMBER = re.compile(
    r'"(?:[^"\\]|\\.)*"|(?P<endless>-?)Infinity|(?P<whole>-?\d+)e(?P<power>[+-]\d+)'
)


def dumped(value: Any) -> str:
    """A value as JSON, which is YAML too: every number as both read one, infinities included."""
    return _NUMBER.sub(_for_yaml, json.dumps(value))


def _for_yaml(match: re.Match[str]) -> str:
    """A number with a point and a signed exponent; text as it is."""
    if match["whole"] is not None:
        return f"{match['whole']}.0e{match['power']}"
    return match[0] if match["endless"] is None else f"{match['endless']}1.0e+999"


def believed(value: Any) -> Any:
    """A manifest with the sum of the space that stands in it now, as its maker could give it."""
    return {**value, "space_sha256": digest(value["space"])}


def written(value: Any, at: tuple[Any, ...]) -> Iterator[str]:
    """A changed file; a manifest with another part of its space also with the right sum."""
    yield dumped(value)
    if at[:1] == ("space",) and len(at) == 2 and "space_sha256" in value and "space" in value:
        yield dumped(believed(value))


def inputs(seed: bytes) -> Iterator[str]:
    """Every replacement in a file."""
    try:
        value = yaml.safe_load(seed)
    except yaml.YAMLError:
        return
    if not isinstance(value, dict):
        return
    for at in places(value):
        for wrong in WRONG:
            yield from written(replaced(value, at, wrong), at)
        if at and isinstance(at[-1], str):
            whole = replaced(value, at, None)
            inner = whole
            for key in at[:-1]:
                inner = inner[key]
            del inner[at[-1]]
            yield from written(whole, at)


def attack(label: str, seeds: list[bytes]) -> tuple[int, dict[str, str]]:
    """How many inputs a reader was given, and an input for everything that is wrong."""
    findings: dict[str, str] = {}
    count, target, read = 0, targets()[label], READERS[label][0]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        target.prepare(Path(name))
        path = Path(name) / target.name.format(number=0)
        for content in (text for seed in seeds for text in inputs(seed)):
            path.write_text(content, encoding="utf-8")
            begin, wrong = time.process_time(), ""
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error", RuntimeWarning)
                    read(path)
            except ElectorError as error:
                wrong = "a long message" if len(str(error)) > LONGEST else ""
            except Exception as error:
                wrong = told(error)
            if time.process_time() - begin > SLOW:
                wrong = "slow"
            if wrong:
                findings.setdefault(wrong, content)
            count += 1
    return count, findings


def main() -> int:
    """Attack the formats named, or all that are mappings."""
    labels = sys.argv[1:] or list(MAPPINGS)
    for label in labels:
        if label not in MAPPINGS:
            sys.stderr.write(f"Error: {label}: no format of mappings: {', '.join(MAPPINGS)}\n")
            return 2
    bad = 0
    for label in labels:
        count, findings = attack(label, list(targets()[label].seeds))
        sys.stdout.write(f"{label}: {count:,} inputs, {len(findings)} findings\n")
        for what, content in findings.items():
            sys.stdout.write(f"  {what}\n    {content[:300]}\n")
        bad += len(findings)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
