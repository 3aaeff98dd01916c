"""An error that only a workload or a model shows to be one names the file that it is in."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import run

import elector
from elector.base.errors import InputError

HEAD = "kind: operations\nname: some\n"
LISTS = {
    "- {name: s, operation: softmax, elements: 100 - length}": "operations[0].elements: must be",
    "- {name: q, m: batch // (length - 128), k: 64, n: 64}": "operations[0].m: must be",
    "- {name: q, m: batch * 0, k: 64, n: 64}": "operations: nothing runs",
    "- {name: q, m: batch, k: length, n: 64}": "operations[0].k: weights cannot depend on length",
}
TWO = "units: {a: {base: systolic}, b: {base: systolic}}\n"
LINK = "links: [{between: [a, b], bandwidth: 1 GB/s}]\n"
HYBRIDS = {
    TWO + "assignment: [{match: {kind: linear}, unit: a}]": "assignment: no rule gives a unit",
    TWO + "assignment: [{match: {kind: linear}, unit: a}, {unit: b}]": "links: no link between",
    TWO + LINK + "assignment: [{match: {name: quary}, unit: a}, {unit: b}]": (
        "assignment[0].match.name: names no operation (got 'quary'); did you mean query?"
    ),
    TWO + LINK.replace("GB/s", "GX/s") + "assignment: [{unit: b}]": (
        "links[0].bandwidth: unknown unit"
    ),
}
SPACE = """\
name: s
model: {base: MODEL}
accelerator: {base: MACHINE, node: [7, 14]}
objectives: {latency_s: min, energy_j: min}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("entry", LISTS)
def test_a_list_whose_sizes_a_workload_makes_wrong(entry: str, folder: Path) -> None:
    (folder / "list.yaml").write_text(f"{HEAD}operations:\n{entry}\n")
    one = run("simulate", "list.yaml", "systolic")
    assert one.exit_code == 2 and f"Error: list.yaml: {LISTS[entry]}" in one.stderr
    (folder / "table.csv").write_text("model,accelerator\nlist.yaml,systolic\nbert-tiny,systolic\n")
    assert f"line 2: list.yaml: {LISTS[entry]}" in run("sweep", "table.csv", "--out", "-").stderr
    with pytest.raises(InputError) as raised:
        elector.explain("list.yaml", "systolic", "energy_j")
    assert raised.value.file == "list.yaml"


def test_a_list_that_reads_more_weights_than_it_has(folder: Path) -> None:
    (folder / "list.yaml").write_text(
        f"{HEAD}parameters: 100\noperations: [{{name: q, m: batch, k: 64, n: 64}}]\n"
    )
    assert "Error: list.yaml: parameters: is less" in run("simulate", "list.yaml", "hpt").stderr


@pytest.mark.parametrize("text", HYBRIDS)
def test_a_hybrid_whose_rules_a_model_shows_to_be_wrong(text: str, folder: Path) -> None:
    (folder / "two.yaml").write_text(text)
    one = run("simulate", "bert-tiny", "two.yaml")
    assert one.exit_code == 2 and f"Error: two.yaml: {HYBRIDS[text]}" in one.stderr
    with pytest.raises(InputError) as raised:
        elector.trace("bert-tiny", "two.yaml")
    assert raised.value.file == "two.yaml"
    plan = "model: bert-tiny\nphases: [{steps: 9, accelerator: systolic}, "
    (folder / "plan.yaml").write_text(plan + "{steps: 9, accelerator: two.yaml}]\n")
    assert f"Error: two.yaml: {HYBRIDS[text]}" in run("run", "plan.yaml").stderr


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        (
            "accelerator: hpt, assignment: [{match: {name: quary}, unit: gpu}, {unit: gpu}]",
            "plan.yaml: phases[1].assignment[0].match.name: names no operation",
        ),
        (
            "accelerator: hpt, assignment: [{unit: gpx}]",
            "plan.yaml: phases[1].assignment[0].unit: unknown unit (got 'gpx'); did you mean gpu?",
        ),
        ("accelerator: hpt, assignment: {}", "plan.yaml: phases[1].assignment: must be a list"),
        (
            "accelerator: systolic, assignment: [{unit: a}]",
            "plan.yaml: phases[1].assignment: only a hybrid has an assignment",
        ),
        (
            "accelerator: acceltran-edge",
            "plan.yaml: workload.precision: phase low: the machine is built for fixed20",
        ),
    ],
)
def test_a_plan_says_which_phase(phase: str, words: str, folder: Path) -> None:
    plan = "model: bert-tiny\nworkload: {precision: bf16}\nphases:\n"
    first = "- {steps: 9, accelerator: systolic}\n"
    (folder / "plan.yaml").write_text(f"{plan}{first}- {{name: low, steps: 9, {phase}}}\n")
    result = run("run", "plan.yaml")
    assert result.exit_code == 2 and words in result.stderr


def test_a_plan_of_what_does_not_train(folder: Path) -> None:
    (folder / "list.yaml").write_text(f"{HEAD}operations: [{{name: q, m: 1, k: 64, n: 64}}]\n")
    (folder / "plan.yaml").write_text(
        "model: list.yaml\nphases: [{steps: 9, accelerator: systolic}]"
    )
    said = run("run", "plan.yaml").stderr
    assert "plan.yaml: model: an operation list says what inference runs" in said
    assert "got 'list.yaml'" in said and "workload.mode" not in said
