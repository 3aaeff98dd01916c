"""Conditions that cannot fail, or cannot hold, whatever a design is; and those that can do both."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import transcode
from elector.base.errors import InputError
from transcode.cli import main
from transcode.space import decisive, grammar
from transcode.space.grammar import NamedQuantity

ALWAYS, NEVER = "holds whatever a design is", "can never hold"
POSITIVE = ("latency_s:s", "energy_j:J", "power_w:W", "area_mm2:mm2", "accelerator.sram:byte")
COUNTS = ("model.hidden", "model.heads", "hypervolume", "baseline", "front")
QUANTITIES = {
    **{n: NamedQuantity(unit, 0.0) for n, unit in (each.split(":") for each in POSITIVE)},
    **{name: NamedQuantity("1", 0.0) for name in COUNTS},
    "accuracy": NamedQuantity("%", 0.0, 100.0),
    "d": NamedQuantity(),
    "t": NamedQuantity("text"),
    "u": NamedQuantity("text"),
}
TINY = """
model: {base: encoder, layers: [2], hidden: [128], heads: [2], feed_forward: [512]}
accelerator: {base: systolic, rows: [16, 32]}
objectives: {latency_s: min, energy_j: min}
"""


def required(text: str) -> None:
    condition = grammar.bind(grammar.parse(text), QUANTITIES)
    assert decisive.require(condition, QUANTITIES, field="--require") is condition


@pytest.mark.parametrize(
    ("text", "comparison", "verdict"),
    [
        ("0 * latency_s <= 1 ms", "", ALWAYS),
        ("1 < 2 or latency_s < 1", "1 < 2", ALWAYS),
        ("latency_s < 5 ms and 1 < 2", "1 < 2", ALWAYS),
        ("latency_s <= latency_s", "", ALWAYS),
        ("latency_s < latency_s", "", NEVER),
        ("latency_s - latency_s < 1", "", ALWAYS),
        ("latency_s / latency_s < 2", "", ALWAYS),
        ("latency_s >= 0", "", ALWAYS),
        ("latency_s < 0", "", NEVER),
        ("not latency_s < 0", "latency_s < 0", NEVER),
        ("latency_s + 1 s > 0 s", "", ALWAYS),
        ("latency_s == -1 s", "", NEVER),
        ("latency_s != -1 s", "", ALWAYS),
        ("latency_s in [-1, -2]", "", NEVER),
        ("latency_s in [latency_s, 1]", "", ALWAYS),
        ("accuracy <= 100", "", ALWAYS),
        ("accuracy > 100", "", NEVER),
        ("min(latency_s, 3 s) <= 3 s", "", ALWAYS),
        ("max(latency_s, 3 s) < 3 s", "", NEVER),
        ("abs(d) >= 0", "", ALWAYS),
        ("abs(d) == -1", "", NEVER),
        ("model.hidden % model.heads >= 0", "", ALWAYS),
        ("hypervolume >= 0 * baseline", "", ALWAYS),
        ("t == t", "", ALWAYS),
        ("t != t", "", NEVER),
        ("'a' in ['b'] or latency_s < 1", "'a' in ['b']", NEVER),
        # each comparison decides, and together they do not
        ("latency_s < 1 or latency_s >= 1", "", ALWAYS),
        ("latency_s < 1 and latency_s > 2", "", NEVER),
        ("not (latency_s < 1 or 1 <= latency_s)", "", NEVER),
        ("latency_s * power_w < 3 or latency_s * power_w >= 3", "", ALWAYS),
        ("t == 'a' and t == 'b'", "", NEVER),
        ("t != 'a' or t != 'b' or energy_j < 1", "", ALWAYS),
        ("t == 'a' and not t in ['a', 'b']", "", NEVER),
    ],
)
def test_what_decides_nothing_is_refused(text: str, comparison: str, verdict: str) -> None:
    with pytest.raises(InputError) as caught:
        required(text)
    assert str(caught.value).startswith(f"--require: {verdict}: {comparison or text!r}") or (
        f"--require: {verdict}: {comparison!r} (got {text!r})" in str(caught.value)
    )


SENSIBLE = """
accuracy >= 0.8
accuracy >= 80 %
accuracy >= 100
accuracy < 100
area_mm2 <= 858
latency_s * power_w < 3
latency_s / energy_j > 2
latency_s == 0
latency_s > 0
latency_s <= 1e-12
energy_j >= 1e12
1 / latency_s >= 100
hypervolume > 0
hypervolume >= 0.98 * baseline
front >= 10
abs(latency_s - 5 ms) < 1 us
abs(latency_s - 5 ms) <= 0
abs(latency_s / energy_j - 1.05) <= 0.01
min(latency_s, energy_j) < 1e-3
max(latency_s, 3 s) == 3 s
t == 'a'
'a' != t
t in ['a', 'b']
t == u
t != u
model.hidden % model.heads == 0
model.hidden % 128 == 127
model.hidden % 128 != 0
model.hidden // model.heads == 64
model.hidden == 64 * model.heads
not latency_s < 5 ms
not (latency_s < 5 ms and energy_j < 2 mJ)
latency_s > 4.9 ms and latency_s < 5 ms
latency_s >= 5 ms and latency_s <= 5 ms
1 ms < latency_s and latency_s < 2 ms
latency_s < 1 or latency_s > 2
latency_s < 1 or latency_s < 1
d >= 0
d == -3
d * latency_s < 0
accelerator.sram >= 2 MB and accelerator.sram < 4 MiB
latency_s in [1 ms, 2 ms] or t == 'x'
energy_j * latency_s * area_mm2 <= 1e-9
0.5 * accuracy - 0.5 * latency_s / baseline > 0.1
(latency_s - 1 ms) * (latency_s - 2 ms) < 0
latency_s / (latency_s + 1 s) < 0.5
model.hidden <= 4 * model.heads or model.hidden > 1000
"""
MANY = " or ".join(f"latency_s == {number}" for number in range(90))
LONG = " + ".join(f"latency_s * {number}" for number in range(60)) + " < 7"


@pytest.mark.parametrize("text", [*SENSIBLE.strip().splitlines(), MANY, LONG])
def test_what_can_hold_and_can_fail_is_taken(text: str) -> None:
    required(text)


@pytest.mark.parametrize(
    "text", ["latency_s / 0 > 1", "energy_j != 1/0", "hypervolume >= -1e300 * 1e300"]
)
def test_what_is_not_finite_is_judged_elsewhere(text: str) -> None:
    required(text)


# ---- wherever a condition stands


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, words)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("decisive")
    (root / "tiny.yaml").write_text(TINY + "define: {none: 0 * latency_s}\nrecord: [utilization]\n")
    assert invoke("search", str(root / "tiny.yaml"), "--out", str(root / "run")).exit_code == 0
    return root / "run"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 * latency_s <= 1 ms", ALWAYS),
        ("1 < 2 or latency_s < 1 ms", f"{ALWAYS}: '1 < 2' (got "),
        ("accelerator.rows >= 0", ALWAYS),
        ("utilization >= 80", NEVER),
        ("none <= 1", ALWAYS),
    ],
)
def test_questions_to_a_run(run: Path, text: str, words: str) -> None:
    junit = run.parent / "check.xml"
    done = invoke("check", str(run), "--require", text, "--junit", str(junit))
    assert done.exit_code == 2 and f"--require: {words}" in done.stderr, done.output
    assert not junit.exists()
    done = invoke("front", str(run), "--where", text)
    assert done.exit_code == 2 and f"--where: {words}" in done.stderr, done.output
    with pytest.raises(InputError, match=f"{ALWAYS}|{NEVER}"):
        transcode.front(run, where=text)


def test_figures_of_a_run(run: Path) -> None:
    for text in ("hypervolume >= 0", "designs >= 0 * front", "front == front"):
        done = invoke("check", str(run), "--require", text)
        assert done.exit_code == 2 and f"{ALWAYS}: {text!r}" in done.stderr, done.output
    assert invoke("check", str(run), "--require", "hypervolume > 0").exit_code == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("constraints: [0 * latency_s <= 1 ms]", "constraints: holds whatever a design is"),
        ("constraints: [latency_s < 1 or latency_s >= 0]", "'latency_s >= 0' (got "),
        ("where: [accelerator.rows >= accelerator.rows]", "where: holds whatever a design is"),
        ("where: [accelerator.rows < 0]", "where: rejects every design"),
        ("define: {none: latency_s - latency_s}\nconstraints: [none < 1]", "constraints: holds"),
    ],
)
def test_spaces(tmp_path: Path, more: str, words: str) -> None:
    space = tmp_path / "tiny.yaml"
    space.write_text(TINY + more + "\n")
    done = invoke("search", str(space), "--out", str(tmp_path / "run"), "--quiet")
    assert done.exit_code == 2 and words in done.stderr, (done.output, done.exception)
    assert "tiny.yaml: " in done.stderr and [p.name for p in tmp_path.iterdir()] == ["tiny.yaml"]


def test_an_objective_that_is_one_number(tmp_path: Path) -> None:
    text = TINY.replace("latency_s: min", "a: min") + "define: {b: 0 * latency_s, a: b + 1}\n"
    (tmp_path / "tiny.yaml").write_text(text)
    done = invoke("search", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "run"), "--quiet")
    assert done.exit_code == 2 and "is the same number for every design" in done.stderr
