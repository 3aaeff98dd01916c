"""Divisions by 0, overflow and bounds that nothing can meet: in spaces, questions and gates."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from transcode.cli import main

TINY = """
model: {base: encoder, layers: [2], hidden: [128], heads: [2], feed_forward: [512]}
accelerator: {base: systolic, rows: [16, 32]}
"""
PLAIN = "objectives: {latency_s: min, energy_j: min}\n"
DEFINED = "objectives: {edp: min, latency_s: min}\n"


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, words)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finite")
    (root / "tiny.yaml").write_text(TINY + PLAIN)
    assert invoke("search", str(root / "tiny.yaml"), "--out", str(root / "run")).exit_code == 0
    return root / "run"


@pytest.mark.parametrize(
    "condition",
    [
        "accelerator.rows // 0 == 0",
        "latency_s/0 > 1",
        "hypervolume // 0 > 0",
        "not hypervolume % 0 > 0",
        "energy_j != 1/0",
        "id // 0 == 0",
        "hypervolume >= -1e300 * 1e300",
        "latency_s / (accelerator.rows - accelerator.rows) > 1",
    ],
)
def test_a_gate_is_closed_where_nothing_is_compared(run: Path, condition: str) -> None:
    for format in ("table", "json", "csv"):
        done = invoke("check", str(run), "--require", condition, "--format", format)
        assert done.exit_code == 4, (done.output, done.exception)
    assert "is not finite: it divides by 0 or overflows" in done.stdout


@pytest.mark.parametrize("condition", ["latency_s*1e308 <= 1e-300"])
def test_what_is_missed_beyond_measure(run: Path, condition: str) -> None:
    done = invoke("check", str(run), "--require", condition)
    assert done.exit_code == 4 and isinstance(done.exception, SystemExit)
    assert len(done.stdout) < 2000


def test_a_literal_that_overflows_is_bad_input(run: Path) -> None:
    for option, command in (("--require", "check"), ("--where", "front")):
        done = invoke(command, str(run), option, "latency_s <= 1e400")
        assert done.exit_code == 2 and f"{option}: cannot be read: '1e400'" in done.stderr
    done = invoke("front", str(run), "--where", "latency_s / 0 > 1")
    assert done.exit_code == 2 and "--where: divides by 0" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PLAIN + 'constraints: ["latency_s / 0 > 1"]', "constraints: divides by 0"),
        (PLAIN + 'where: ["model.layers / 0 > 1"]', "where: divides by 0"),
        (PLAIN + 'where: ["model.layers <= 1e999"]', "where: cannot be read: '1e999'"),
        (DEFINED + 'define: {edp: "latency_s / 0"}', "define.edp: divides by 0"),
        (DEFINED + 'define: {edp: "latency_s * 1e400"}', "define.edp: cannot be read: '1e400'"),
        (DEFINED + 'define: {edp: "latency_s / (3 - 3)"}', "define.edp: divides by 0"),
        ('objectives: {"latency_s / 0": min}', "objectives: divides by 0"),
        (DEFINED + "define: {edp: model}", "define.edp: model is text, not a number"),
        (DEFINED + "define: {edp: accelerator}", "define.edp: accelerator is text"),
        (DEFINED + "define: {a: model, edp: a * 2}", "define.a: model is text"),
        ("objectives: {latency_s: min}\nreference_point: {latency_s: -1 s}", "no design can count"),
        ("objectives: {latency_s: min}\nreference_point: {latency_s: 0 s}", "no design can count"),
        (
            "objectives: {utilization: max}\nreference_point: {utilization: 1}",
            "reference_point.utilization: no design can count: none has more than 1",
        ),
        (
            DEFINED + "define: {edp: energy_j * latency_s}\nreference_point: {edp: -1 J*s}",
            "reference_point.edp: no design can count",
        ),
    ],
)
def test_spaces(tmp_path: Path, text: str, words: str) -> None:
    space = tmp_path / "tiny.yaml"
    space.write_text(TINY + text)
    done = invoke("search", str(space), "--out", str(tmp_path / "run"), "--quiet")
    assert done.exit_code == 2 and words in done.stderr, (done.output, done.exception)
    assert "tiny.yaml: " in done.stderr and [p.name for p in tmp_path.iterdir()] == ["tiny.yaml"]


def test_a_reference_point_that_designs_can_beat(tmp_path: Path) -> None:
    space = tmp_path / "tiny.yaml"
    text = "objectives: {utilization: max, d: min}\ndefine: {d: latency_s - 1}\n"
    space.write_text(TINY + text + "reference_point: {utilization: 0, d: -0.5 s}\n")
    done = invoke("search", str(space), "--out", str(tmp_path / "run"), "--quiet")
    assert done.exit_code == 0, (done.output, done.exception)


def test_a_comparison_against_a_point_that_none_reaches(run: Path) -> None:
    words = ("compare", str(run), str(run), "--reference-point")
    done = invoke(*words, "latency_s=-1 s, energy_j=1 J")
    assert done.exit_code == 2 and "--reference-point: no design of either front" in done.stderr
    assert invoke(*words, "latency_s=1 s, energy_j=1 J").exit_code == 0
