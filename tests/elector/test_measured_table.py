"""A user's own table of measurements: what is wrong with it is said where it is, and what a row
asks for without effect, too."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import elector
from elector.base.errors import InputError
from elector.cli.commands import main
from elector.studies.validation import groups, said, validate
from elector.studies.validation_cases import load_cases

HEADER = (
    "case,group,model,accelerator,settings,metric,value,unit,tolerance,kind,source,evidence,note"
)
ROW = (
    "b8,ours / vllm / bert,bert-base,l4-24gb,workload.batch=8 workload.implementation=vllm,"
    "latency_s,4.2,ms,99 %,outcome,our lab,measured,"
)
#: What ROW comes out as.
SIMULATED_MS = 1e3 * float(
    str(
        elector.simulate(
            "bert-base",
            "l4-24gb",
            settings={"workload.batch": 8, "workload.implementation": "vllm"},
        )["latency_s"]
    )
)


def write(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "mine.csv"
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (",4.2,", ",4.2 ms,", "line 2: value: has a unit: that stands in the column `unit` alone"),
        (",4.2,", ",4.2us,", "(got '4.2us')"),
        (",4.2,", ",0,", "line 2: value: must be above 0: the error is relative (got '0 ms')"),
        (",4.2,", ",-1e-3,", "must be above 0: the error is relative (got '-1e-3 ms')"),
        (",4.2,", ",1e400,", "must be finite (got '1e400 ms')"),
        (",4.2,", ",fast,", "is not a number (got 'fast ms')"),
    ],
)
def test_a_figure_that_is_none_is_shown(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        load_cases(write(tmp_path, ROW.replace(old, new)))
    assert says in str(error.value)


@pytest.mark.parametrize("figure", ["4.2", "42e-1", "+4.2", ".42e+1", "4.2E0"])
def test_every_way_to_write_a_number_is_read(tmp_path: Path, figure: str) -> None:
    (case,) = load_cases(write(tmp_path, ROW.replace(",4.2,", f",{figure},")))
    assert case.value == 4.2e-3


def test_all_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        load_cases(write(tmp_path, "a,bert-base,3", header="case,model,value"))
    assert "missing, too: accelerator, settings, metric, unit" in str(error.value)


def test_a_column_of_nearly_the_name_is_what_was_meant(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean value"):
        load_cases(write(tmp_path, ROW, header=HEADER.replace("value", "Value")))


@pytest.mark.parametrize(
    ("old", "file", "says"),
    [
        ("bert-base", "none.yaml", "line 2: case 'b8': none.yaml: does not exist"),
        ("bert-base", "model.yaml", "line 2: case 'b8': model.yaml: "),
        ("l4-24gb", "machine.yaml", "line 2: machine.yaml: "),
    ],
)
def test_a_file_that_a_row_names_stands_behind_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, file: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("model.yaml", "machine.yaml"):
        Path(name).write_text("nonsense: 1\n", encoding="utf-8")
    path = write(tmp_path, ROW.replace(old, file))
    with pytest.raises(InputError) as error:
        validate(path)
    assert str(error.value).startswith(f"{path}: ") and says in str(error.value)


def test_sizes_of_a_product_that_are_none_say_how_they_are_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gemm:MxNxK"):
        validate(write(tmp_path, ROW.replace("bert-base", "gemm:0x12x3")))


def test_what_a_row_sets_without_effect_is_said(tmp_path: Path) -> None:
    idle = ROW.replace("batch=8", "batch=8 workload.optimizer_kernels=fused")
    path = write(tmp_path, idle, idle.replace("b8", "b9", 1).replace("4.2", "4.3"))
    shown = CliRunner().invoke(main, ["validate", "--data", str(path)])
    assert shown.exit_code == 0
    assert "b8 and 1 more: workload.optimizer_kernels changes nothing" in shown.stderr
    assert not said(validate(write(tmp_path, ROW)))


def test_a_group_named_after_another_stack_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, ROW.replace(" workload.implementation=vllm", ""))
    assert said(validate(path)) == [
        "b8: its group says vllm, its settings workload.implementation=auto"
    ]


def test_what_takes_most_of_the_time_is_printed(tmp_path: Path) -> None:
    path = write(tmp_path, ROW)
    shown = CliRunner().invoke(main, ["validate", "--data", str(path)]).stdout
    assert "most time: linear in 1 of 1 groups" in shown


@pytest.mark.parametrize(("unseen", "verdict"), [(0, "in-sample"), (4, "too few"), (5, "FAILED")])
def test_rows_that_were_not_fitted_on_decide_where_they_are_enough(
    tmp_path: Path, unseen: int, verdict: str
) -> None:
    def row(i: int, fitted: str) -> str:
        factor = 1 if fitted == "yes" else 5
        value = f"{factor * (SIMULATED_MS + i * 1e-4)}"
        return ROW.replace("b8", f"b{i}", 1).replace("4.2", value).replace("99 %", "10 %") + (
            f",yes,{fitted}"
        )

    rows = [row(i, "yes") for i in range(20)] + [row(20 + i, "no") for i in range(unseen)]
    path = write(tmp_path, *rows, header=HEADER + ",verified,fitted")
    (group,) = groups(validate(path))
    assert (group.unseen, group.verdict) == (unseen, verdict)
    assert group.every.median < 0.1
    assert (group.never.median > 0.1 and group.never.bias < -0.1) is (unseen > 0)
    assert (group.as_row()["never_fitted_ninetieth"] is None) is (unseen == 0)
    shown = CliRunner().invoke(main, ["validate", "--data", str(path)]).stdout
    assert (f"  {unseen}: " in shown) is (unseen > 0)
    assert (f"{verdict}: " in shown) is (verdict != "FAILED")  # what it means, below the table


def test_a_group_whose_rows_disagree_about_it_says_how_it_is_judged(tmp_path: Path) -> None:
    """One marked row of a table kept all others from failing it, and nothing said so."""
    rows = [ROW, ROW.replace("b8", "b9", 1).replace("batch=8", "batch=9")]
    assert not said(validate(write(tmp_path, *rows)))
    mixed = [rows[0], rows[1].replace("99 %", "10 % known miss")]
    assert said(validate(write(tmp_path, *mixed))) == [
        "ours / vllm / bert: tolerances differ, its bar is their median, 54.5%",
        "ours / vllm / bert: a known miss by one of 2 rows: it fails nothing",
    ]


def test_a_verdict_of_the_median_says_no_more_of_the_rows(tmp_path: Path) -> None:
    """`too few` stood for "all rows are within the bar", beside rows that were off by half."""
    rows = [
        ROW.replace("b8", f"b{i}", 1).replace("4.2", f"{i * 1e-4 + far * SIMULATED_MS}")
        + f",yes,{fitted}"
        for i, (far, fitted) in enumerate([(1, "yes")] * 5 + [(5, "no")] * 2)
    ]
    path = write(tmp_path, *rows, header=HEADER + ",verified,fitted")
    shown = CliRunner().invoke(main, ["validate", "--data", str(path)])
    assert shown.exit_code == 0 and "too few: judged by all rows" in shown.stdout
