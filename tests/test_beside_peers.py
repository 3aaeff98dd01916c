"""Other tools beside ours: what is right, how answers are read, what is skipped and how it ends.

Nothing is installed here; `make bench-peers` does that.
"""

from __future__ import annotations

import csv
import fnmatch
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import elector

ROOT = Path(__file__).resolve().parent.parent
for folder in ("benchmarks", "docs"):
    sys.path.insert(0, str(ROOT / folder))

import beside_peers  # noqa: E402
import peer_cases  # noqa: E402
import peers_table  # noqa: E402

TOOLS = ROOT / "benchmarks" / "peer_tools"
CASES = peer_cases.cases()


def case_of(peer: str) -> peer_cases.PeerCase:
    """Any case of a tool."""
    return next(case for case in CASES if case.peer == peer)


def key_of(case: peer_cases.PeerCase) -> str:
    """What an answer to it is found by."""
    return json.dumps(case.asked, sort_keys=True)


# ---- what is right ----


def test_cycles_stepped_through_are_ours() -> None:
    """An array stepped through fold by fold needs as long as the closed form says."""
    random = np.random.default_rng(18)
    settings: dict[str, object] = {"accelerator.rows": 32, "accelerator.cols": 32}
    settings["accelerator.datapath"] = "int8"
    for m, n, k in random.integers(1, 300, (6, 3)).tolist():
        result = elector.simulate(
            f"gemm:{m}x{n}x{k}", "systolic", settings=settings, operations=True
        )
        cycles = sum(row["cycles"] for row in result["operations"])  # type: ignore[union-attr]
        assert cycles == peer_cases.array_cycles(m, n, k, 32), (m, n, k)


@pytest.mark.parametrize("shape", list(peer_cases.MOVED.values()))
def test_no_tiling_of_ours_moves_less_than_the_least(shape: tuple[int, int, int]) -> None:
    case = next(c for c in CASES if c.quantity == "dram_bytes" and c.asked["k"] == shape[2])
    moved, _ = case.own()
    assert case.right is not None
    assert moved >= case.right


def test_the_least_traffic_where_everything_fits_is_each_word_once() -> None:
    m, n, k = 64, 48, 80
    once = m * k + k * n + m * n
    assert peer_cases.least_traffic(m, n, k, 10**6) == once
    assert peer_cases.least_traffic(m, n, k, 600) > once


def test_the_least_traffic_equals_a_search_with_loops() -> None:
    m, n, k, size = 12, 9, 20, 150
    best = np.inf
    for tm in range(1, m + 1):
        for tn in range(1, n + 1):
            reads = m * k * -(-n // tn), k * n * -(-m // tm)
            if tm + tn + 4 * tm * tn <= size:
                best = min(best, sum(reads))
            if (tm + tn) * k + 4 * tm * tn <= size:
                best = min(best, m * k + reads[1], reads[0] + k * n)
    assert peer_cases.least_traffic(m, n, k, size) == best + m * n


@pytest.mark.parametrize("place", [0, 60, 120])
def test_measured_cases_are_those_of_the_shipped_table(place: int) -> None:
    served = [case for case in CASES if "its model of a server" in case.group]
    assert len(served) >= 120
    case = served[place]
    ours, _ = case.own()
    rows = elector.validate(only=case.name).to_dict("records")
    row = next(row for row in rows if row["case"] == case.name)
    assert ours == pytest.approx(row["simulated"])
    assert case.right == pytest.approx(row["published"])


# ---- answers ----


def test_answers_and_errors_are_told_apart() -> None:
    text = json.dumps(
        {
            "version": "1.2",
            "answers": [
                {"id": "a", "values": {"cycles": 5.0}, "seconds": 0.25},
                {"id": "b", "error": "ValueError: does not fit"},
            ],
        }
    )
    said = beside_peers.read_answers(text)
    assert said.values == {"a": {"cycles": 5.0}} and said.seconds == {"a": 0.25}
    assert said.errors == {"b": "ValueError: does not fit"} and said.version == "1.2"


def test_every_case_of_a_silent_tool_is_named() -> None:
    case = case_of("ZigZag")
    said = beside_peers.Answers("3.9.1", {}, {}, {})
    row = beside_peers.compared(case, said)
    assert row["skipped"] == "was stopped before it" and row["case"] == case.name
    said = beside_peers.Answers("3.9.1", {key_of(case): {"x": 1.0}}, {key_of(case): 1.0}, {})
    assert beside_peers.compared(case, said)["skipped"] == "gives no cycles"


def test_an_answer_stands_beside_ours_and_what_is_right() -> None:
    case = case_of("AccelForge")
    said = beside_peers.Answers("1", {key_of(case): {"cycles": 73728.0}}, {key_of(case): 9.0}, {})
    row = beside_peers.compared(case, said)
    assert (row["theirs"], row["ours"], row["right"]) == (73728.0, 73822.0, 73822.0)
    assert row["their_seconds"] == "9" and float(str(row["our_seconds"])) > 0
    assert not row["skipped"]


def test_counts_that_have_to_be_equal_decide_the_exit_code() -> None:
    equal = {"right_from": "convention", "theirs": 5.0, "ours": 5.0, "skipped": ""}
    other = {"right_from": "measured", "theirs": 1.0, "ours": 2.0, "skipped": ""}
    assert beside_peers.verdict([equal, other]) == 0
    assert beside_peers.verdict([equal, other | {"skipped": "ValueError: does not fit"}]) == 0
    assert beside_peers.verdict([other | {"skipped": "ValueError: does not fit"}]) == 1
    assert beside_peers.verdict([equal, other | {"skipped": beside_peers.STOPPED}]) == 1
    assert beside_peers.verdict([equal | {"ours": 6.0}, other]) == 4
    assert beside_peers.verdict([equal | {"theirs": "5.0"}]) == 0


def test_a_reason_names_no_address_and_no_place() -> None:
    text = (
        "WARNING: x\nERROR: Could not find https://some.where/simple/a (from /opt/me/b) of c==1\n"
    )
    assert beside_peers.reason(text) == "ERROR: Could not find ... (from ... of c==1"
    assert beside_peers.reason("") == "?"
    assert beside_peers.reason("last word") == "last word"


# ---- environments ----


def test_a_tool_without_its_python_is_skipped_by_name(tmp_path: Path) -> None:
    """As AccelForge where there is no 3.12: every case is in the table, and nothing has failed."""
    peer = beside_peers.Peer("AccelForge", "a", "none.py", TOOLS / "accelforge.txt", (3, 99))
    asked = [case for case in CASES if case.peer == "AccelForge"]
    rows, code = beside_peers.run(peer, tmp_path, None, asked)
    assert code == 0 and len(rows) == len(asked)
    assert {row["skipped"] for row in rows} == {"needs Python 3.99 or newer, and none was found"}
    assert list(tmp_path.iterdir()) == []


def test_a_tool_that_cannot_be_installed_is_skipped_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        wrong = 1 if "pip" in words else 0
        return subprocess.CompletedProcess(words, wrong, "", "ERROR: No matching distribution")

    monkeypatch.setattr(beside_peers.subprocess, "run", fails)
    peer = next(p for p in beside_peers.PEERS if p.name == "GenZ")
    rows, code = beside_peers.run(peer, tmp_path, None, [case_of("GenZ")])
    assert code == 1
    assert rows[0]["skipped"] == "could not be installed: ERROR: No matching distribution"


@pytest.mark.parametrize("peer", beside_peers.PEERS, ids=lambda peer: peer.folder)
def test_every_tool_has_a_script_and_pins_without_addresses(peer: beside_peers.Peer) -> None:
    assert (TOOLS / peer.script).exists()
    lines = peer.pins.read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins and all(line.count("==") == 1 for line in pins)
    assert not any(word in line for line in pins for word in ("://", "@", "--", "/"))
    assert any(case.peer == peer.name for case in CASES)


def test_a_script_answers_case_by_case(tmp_path: Path) -> None:
    """What one case raises is its answer, and the next one is asked all the same."""
    script = tmp_path / "tool.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(TOOLS)!r})\nfrom answering import answer\n"
        "answer('numpy', lambda case: {'inverse': 1 / case['x']})\n",
        encoding="utf-8",
    )
    questions, answers = tmp_path / "cases.json", tmp_path / "answers.json"
    questions.write_text(json.dumps([{"id": "a", "x": 0}, {"id": "b", "x": 4}]), encoding="utf-8")
    words = [sys.executable, str(script), str(questions), str(answers)]
    subprocess.run(words, check=True, cwd=tmp_path)
    said = beside_peers.read_answers(answers.read_text(encoding="utf-8"))
    assert said.errors == {"a": "ZeroDivisionError: division by zero"}
    assert said.values == {"b": {"inverse": 0.25}} and said.seconds["b"] >= 0
    assert said.version == np.__version__


# ---- the table ----


def test_the_table_says_who_was_how_far_off(tmp_path: Path) -> None:
    rows = [
        peer | {"case": str(i), "skipped": ""}
        for i, peer in enumerate(
            [
                {"peer": "A", "version": "1", "group": "A: x", "theirs": 90, "ours": 100},
                {"peer": "A", "version": "1", "group": "A: x", "theirs": 80, "ours": 106},
            ]
        )
    ]
    rows = [r | {"right": 100, "their_seconds": 2, "our_seconds": 0.5} for r in rows]
    rows.append({"peer": "B", "group": "B: y", "case": "z", "skipped": "needs a Python"})
    path = tmp_path / "t.csv"
    beside_peers.write([dict.fromkeys(beside_peers.COLUMNS, "") | r for r in rows], path)
    text = peers_table.section(path)
    assert "| A: x | 2 | 0.827 | 15% (-15%) | 3% (+3%) | 2 | 0.5 |" in text
    assert "| B: y | none of 1 |" in text and "- **B**, 1 cases skipped: needs a Python" in text
    assert "Versions: A 1." in text and text.startswith("Measured: ")


def test_our_side_can_be_repeated_alone(tmp_path: Path) -> None:
    """What the others said stays, with when they said it."""
    case = case_of("AccelForge")
    said = beside_peers.Answers("1", {key_of(case): {"cycles": 9.0}}, {key_of(case): 8.0}, {})
    path = tmp_path / "t.csv"
    rows = [beside_peers.compared(case, said) | {"ours": 1.0}, skipped_row(case_of("GenZ"))]
    beside_peers.write(rows, path, "1 May 2020, commit abc")
    head, renewed = beside_peers.renewed(path)
    assert head.startswith("1 May 2020, commit abc; ours ") and "commit" in head[25:]
    assert (renewed[0]["theirs"], renewed[0]["ours"]) == ("9.0", 73822.0)
    assert renewed[1]["skipped"] == "a reason" and renewed[1]["ours"] == ""


def skipped_row(case: peer_cases.PeerCase) -> dict[str, object]:
    """A row of a case that has no answer."""
    none = beside_peers.Answers("", {}, {}, {key_of(case): "a reason"})
    return beside_peers.compared(case, none)


def test_the_shipped_table_has_every_tool_and_says_why() -> None:
    head, rows = peers_table.read(ROOT / "benchmarks" / "beside_peers.csv")
    assert "commit" in head
    assert {row["peer"] for row in rows} == {peer.name for peer in beside_peers.PEERS}
    assert {(r["group"], r["case"]) for r in rows} == {(c.group, c.name) for c in CASES}
    with peers_table.VERDICTS.open(encoding="utf-8", newline="") as file:
        verdicts = list(csv.DictReader(file))
    for group in {row["group"] for row in rows}:
        assert any(fnmatch.fnmatch(group, v["group"]) for v in verdicts), group
    exact = [row for row in rows if row["right_from"] == "convention" and not row["skipped"]]
    assert exact and all(row["theirs"] == row["ours"] for row in exact)


@pytest.mark.parametrize(
    "words, said",
    [
        (["--only", "AccelForge", "--python3.12", "/nope"], "--python3.12: /nope"),
        (["--only", "AccelForge", "--python3.12", "/bin/false"], "--python3.12: /bin/false"),
        (["--only", "ZigZag", "--python3.12", "."], "--python3.12: ."),
        (["--ours", "--out", "missing.csv"], "--ours: missing.csv"),
        (["--ours", "--out", "other.csv"], "--ours: other.csv"),
        (["--ours", "--out", "."], "--ours: ."),
    ],
)
def test_what_is_given_and_is_not_there_is_an_error(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.csv").write_text("# head\nname,value\na,1\n")
    monkeypatch.setattr(sys, "argv", ["beside_peers.py", *words])
    with pytest.raises(SystemExit) as ended:
        beside_peers.main()
    assert ended.value.code == 2 and said in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.csv"]
