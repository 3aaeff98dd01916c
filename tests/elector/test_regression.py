"""`elector compare OLD.csv NEW.csv`: a gate that nothing worse gets through."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from commands import run

from elector.base.errors import InputError
from elector.studies.regression import VERDICTS, compare

TABLE = """note.why,model,accelerator,workload.batch,accelerator.rows,accelerator.sram
first,bert-tiny,systolic,1,,8 MB
second,bert-mini,systolic,2,64,8 MB
third,bert-tiny,tpu-v4i,4,,
"""


@pytest.fixture
def agreed(tmp_path: Path) -> Path:
    return swept(tmp_path, "agreed", TABLE)


def swept(folder: Path, name: str, text: str) -> Path:
    (folder / f"{name}-in.csv").write_text(text)
    out = folder / f"{name}.csv"
    assert run("sweep", str(folder / f"{name}-in.csv"), "--out", str(out)).exit_code in (0, 4)
    return out


def changed(folder: Path, path: Path, row: int, **cells: str) -> Path:
    """The table with other cells in one row."""
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    rows[row] |= cells
    out = folder / "changed.csv"
    with out.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return out


def verdicts(old: Path, new: Path, **options: object) -> dict[str, list[str]]:
    """Why -> what became of the row."""
    by_reason: dict[str, list[str]] = {}
    for entry in compare(old, new, **options):  # type: ignore[arg-type]
        why = next(w for w in ("first", "second", "third", "other") if w in entry.design)
        by_reason.setdefault(why, []).append(entry.verdict)
    return by_reason


def test_a_table_is_no_worse_than_itself_in_any_order(agreed: Path, tmp_path: Path) -> None:
    header, *rows = TABLE.splitlines()
    text = "\n".join([header, *reversed(rows)]).replace("8 MB", "8000000 B") + "\n"
    other = swept(tmp_path, "other", text)
    assert {v for entry in verdicts(agreed, other).values() for v in entry} == {"same"}
    result = run("compare", str(agreed), str(other))
    assert result.exit_code == 0
    assert result.stdout == "3 designs: 0 got worse, 3 the same, 0 new\n"


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        ({"feasible": "False", "reason": "main memory: needs 3 GB", "latency_s": ""}, "infeasible"),
        ({"error": "model: unknown model", "latency_s": "", "feasible": ""}, "unreadable"),
        ({"latency_s": "99"}, "worse"),
        ({"energy_j": "99"}, "worse"),
        ({"area_mm2": "99999"}, "worse"),
        ({"area_mm2": ""}, "missing"),
        ({"latency_s": "1e-12"}, "better"),
        ({"power_w": "99999"}, "same"),
        ({"tokens_per_s": "1"}, "same"),
    ],
)
def test_what_became_of_a_row(
    agreed: Path, tmp_path: Path, cells: dict[str, str], verdict: str
) -> None:
    cells = {name: text for name, text in cells.items() if name != "tokens_per_s"}
    new = changed(tmp_path, agreed, 1, **cells)
    by_reason = verdicts(agreed, new)
    assert by_reason == {"first": ["same"], "second": [verdict], "third": ["same"]}
    regressed = verdict in VERDICTS[:4]
    result = run("compare", str(agreed), str(new))
    assert result.exit_code == (4 if regressed else 0)
    assert f"{int(regressed)} got worse" in result.stdout


def test_a_table_in_which_nothing_has_costs_is_a_regression(tmp_path: Path) -> None:
    """A typo in a file that all rows share leaves no column of a result."""
    chip, design = tmp_path / "chip.yaml", tmp_path / "designs.csv"
    design.write_text(f"model,accelerator\nbert-tiny,{chip}\n")
    for name, text in (("old", "base: systolic\n"), ("new", "base: systolic\nrwos: 3\n")):
        chip.write_text(text)
        run("sweep", str(design), "--out", str(tmp_path / f"{name}.csv"))
    junit = tmp_path / "check.xml"
    words = (str(tmp_path / "old.csv"), str(tmp_path / "new.csv"), "--junit", str(junit))
    result = run("compare", *words)
    assert result.exit_code == 4 and "unreadable" in result.stdout and "rwos" in result.stdout
    assert 'failures="1"' in junit.read_text()


def test_a_row_that_is_gone_is_a_regression_and_a_new_one_is_none(
    agreed: Path, tmp_path: Path
) -> None:
    fewer = swept(tmp_path, "fewer", "".join(TABLE.splitlines(keepends=True)[:3]))
    assert verdicts(agreed, fewer)["third"] == ["missing"]
    assert run("compare", str(agreed), str(fewer)).exit_code == 4
    more = swept(tmp_path, "more", TABLE + "other,bert-tiny,tpu-v3,1,,\n")
    assert verdicts(agreed, more)["other"] == ["new"]
    assert run("compare", str(agreed), str(more)).exit_code == 0


def test_twins_are_matched_one_by_one(tmp_path: Path) -> None:
    rows = "model,accelerator\nbert-tiny,systolic\nbert-tiny,systolic\n"
    two, one = swept(tmp_path, "two", rows), swept(tmp_path, "one", rows.rsplit("bert", 1)[0])
    assert [e.verdict for e in compare(two, one)] == ["same", "missing"]
    assert [e.verdict for e in compare(one, two)] == ["same", "new"]


def test_twins_whose_costs_differ_are_named_with_their_lines(tmp_path: Path) -> None:
    """Costs that were measured elsewhere: nothing in the table says which row is which."""
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    header = "id,model,accelerator,latency_s,energy_j,area_mm2\n"
    old.write_text(header + "7,bert-tiny,systolic,1,1,1\n8,bert-tiny,systolic,2,2,2\n")
    new.write_text(header + "8,bert-tiny,systolic,2,2,2\n7,bert-tiny,systolic,1,1,1\n")
    result = run("compare", str(old), str(new))
    assert result.exit_code == 4
    for path in (old, new):
        assert f"{path}: lines 2 and 3 are the same in model" in result.stderr
    assert "--key COLUMN" in result.stderr
    by_id = run("compare", str(old), str(new), "--key", "id")
    assert by_id.exit_code == 0 and not by_id.stderr
    assert by_id.stdout == "2 designs: 0 got worse, 2 the same, 0 new\n"


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("model", "tells no rows apart: lines 2 and 3 have bert-tiny"),
        ("note.name", "column is missing"),
        ("latency_s", "is a result"),
        ("note.idd", "did you mean note.id?"),
        ("id", "did you mean note.id?"),
    ],
)
def test_keys_that_are_none_are_refused(tmp_path: Path, key: str, part: str) -> None:
    table = tmp_path / "old.csv"
    rows = "a,bert-tiny,systolic,1,1,1\nb,bert-tiny,systolic,2,2,2\n"
    table.write_text("note.id,model,accelerator,latency_s,energy_j,area_mm2\n" + rows)
    result = run("compare", str(table), str(table), "--key", key)
    assert result.exit_code == 2 and part in result.stderr and not result.stdout


def test_twins_of_the_same_costs_are_not_worth_a_word(agreed: Path, tmp_path: Path) -> None:
    twins = swept(tmp_path, "twins", TABLE + TABLE.splitlines()[1] + "\n")
    result = run("compare", str(twins), str(twins))
    assert result.exit_code == 0 and not result.stderr


def test_what_two_machines_share_cancels_in_their_ratio() -> None:
    """The same machine twice is not told apart; a larger one is, though both intervals overlap."""
    words = ("compare", "bert-tiny", "systolic", "systolic", "systolic", "--uncertainty")
    own = ("--set-for", "3", "accelerator.rows=192", "--samples", "200")
    first, same, larger = json.loads(run(*words, *own, "--format", "json").stdout)
    for metric in ("latency_s", "energy_j", "area_mm2"):
        assert same["ratio_intervals"][metric] == [1.0, 1.0]
        assert same["told_apart"][metric] is False
    low, high = larger["ratio_intervals"]["area_mm2"]
    assert 1.0 < low < high and larger["told_apart"]["area_mm2"] is True
    assert larger["intervals"]["area_mm2"][0] < first["intervals"]["area_mm2"][1]


def test_a_design_that_runs_again_is_no_regression(agreed: Path, tmp_path: Path) -> None:
    before = changed(tmp_path, agreed, 0, feasible="False", reason="x", latency_s="")
    assert verdicts(before, agreed)["first"] == ["feasible"]
    broken = changed(tmp_path, agreed, 0, error="x", feasible="", latency_s="")
    assert verdicts(broken, agreed)["first"] == ["new"]


def test_a_tolerance_is_a_share_of_what_was_agreed(agreed: Path, tmp_path: Path) -> None:
    with agreed.open() as stream:
        seconds = float(next(csv.DictReader(stream))["latency_s"])
    slower = changed(tmp_path, agreed, 0, latency_s=repr(1.015 * seconds))
    assert verdicts(agreed, slower)["first"] == ["worse"]
    for tolerance in ("2%", "2 %", "0.02", 0.02):
        assert verdicts(agreed, slower, tolerance=tolerance)["first"] == ["same"]
    assert verdicts(agreed, slower, tolerance="1%")["first"] == ["worse"]
    assert run("compare", str(agreed), str(slower), "--tolerance", "2%").exit_code == 0


def test_more_throughput_is_no_regression_and_less_is(agreed: Path, tmp_path: Path) -> None:
    metrics = ["throughput_sequences_per_s", "macs"]
    for value, verdict in (("1e12", "better"), ("1", "worse")):
        new = changed(tmp_path, agreed, 0, throughput_sequences_per_s=value)
        assert verdicts(agreed, new, metrics=metrics)["first"] == [verdict]
    for value in ("1", "1e20"):  # neither side is the better one
        new = changed(tmp_path, agreed, 0, macs=value)
        assert verdicts(agreed, new, metrics=metrics)["first"] == ["changed"]
        result = run("compare", str(agreed), str(new), "--metric", "macs")
        assert result.exit_code == 4 and "macs changed: " in result.stdout
        assert result.stdout.endswith("3 designs: 0 got worse, 1 changed, 2 the same, 0 new\n")


def test_every_design_is_counted_once(agreed: Path, tmp_path: Path) -> None:
    """What got better, and what runs again, are designs, too."""
    faster = changed(tmp_path, agreed, 0, latency_s="1e-12")
    said = run("compare", str(agreed), str(faster)).stdout
    assert said.endswith("3 designs: 0 got worse, 1 better, 2 the same, 0 new\n")
    both = changed(tmp_path, faster, 1, latency_s="99", energy_j="1e-12")
    said = run("compare", str(agreed), str(both)).stdout
    assert said.endswith("3 designs: 1 got worse, 1 better, 1 the same, 0 new\n")
    before = changed(tmp_path, agreed, 0, feasible="False", reason="x", latency_s="")
    said = run("compare", str(before), str(agreed)).stdout
    assert said.endswith("3 designs: 0 got worse, 1 runs now, 2 the same, 0 new\n")


@pytest.mark.parametrize("cell", ["nan", "NaN", "", "-"])
def test_a_cell_that_is_no_number_is_a_missing_result(
    agreed: Path, tmp_path: Path, cell: str
) -> None:
    new = changed(tmp_path, agreed, 0, latency_s=cell)
    result = run("compare", str(agreed), str(new))
    assert result.exit_code == 4 and "nan" not in result.stdout
    assert "latency_s missing: has no value any more" in result.stdout
    assert verdicts(agreed, changed(tmp_path, agreed, 0, latency_s=cell)) == verdicts(agreed, new)


@pytest.mark.parametrize("name", ["lifetime_years", "effective_bits", "endurance_writes"])
def test_nothing_lasts_for_ever(tmp_path: Path, name: str) -> None:
    """Cells that nothing writes have no lifetime: an infinite one comes from elsewhere."""
    chip = swept(tmp_path, "chip", "model,accelerator\nbert-tiny,isaac\n")
    endless = changed(tmp_path, chip, 0, **{name: "inf"})
    (entry, *_) = compare(chip, endless, metrics=[name])
    assert entry.verdict == "missing"
    assert run("compare", str(endless), str(chip), "--metric", name).exit_code == 2


@pytest.mark.parametrize("cell", ["inf", "-inf", "-1", "fast", "1e999", "True"])
def test_what_a_result_cannot_be_opens_no_gate(agreed: Path, tmp_path: Path, cell: str) -> None:
    """In the new table it is missing, in the agreed one refused."""
    odd = changed(tmp_path, agreed, 0, throughput_sequences_per_s=cell)
    (entry, *_) = compare(agreed, odd, metrics=["throughput_sequences_per_s"])
    assert entry.verdict == "missing"
    result = run("compare", str(odd), str(agreed), "--metric", "throughput_sequences_per_s")
    assert result.exit_code == 2
    for word in ("changed.csv: throughput_sequences_per_s: line 2", f"(got '{cell}')"):
        assert word in result.stderr
    assert not compare(odd, agreed)[0].regressed  # what is not compared may say anything


def test_a_result_that_had_no_value_is_new(agreed: Path, tmp_path: Path) -> None:
    old = changed(tmp_path, agreed, 0, latency_s="")
    (entry, *_) = compare(old, agreed)
    assert (entry.verdict, entry.text, entry.regressed) == ("new", "had no value before", False)


def test_flags_are_compared_and_texts_are_refused(tmp_path: Path) -> None:
    board = swept(tmp_path, "board", "model,accelerator\nbert-tiny,l4-24gb\n")
    with board.open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    other = changed(tmp_path, board, 0, host_bound=str(row["host_bound"] != "True"))
    (entry,) = compare(board, other, metrics=["host_bound"])
    assert entry.verdict == "changed" and {*entry.text.split(" -> ")} == {"yes", "no"}
    assert not compare(board, board, metrics=["host_bound"])[0].regressed
    for name in ("feasible", "reason", "notes", "error"):
        with pytest.raises(InputError, match="is no result of the table"):
            compare(board, other, metrics=[name])


def test_formats_and_junit(agreed: Path, tmp_path: Path) -> None:
    new = changed(tmp_path, agreed, 1, latency_s="99")
    rows = json.loads(run("compare", str(agreed), str(new), "--format", "json").stdout)
    (row,) = [row for row in rows if row["regression"]]
    assert row["metric"] == "latency_s" and row["new"] == 99 and row["change"] > 0
    assert "99.0 s" in row["text"]
    text = run("compare", str(agreed), str(new), "--format", "csv").stdout
    assert len(text.splitlines()) == 4
    out = tmp_path / "check.xml"
    assert run("compare", str(agreed), str(new), "--junit", str(out)).exit_code == 4
    suite = ElementTree.parse(out).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    assert len(suite.findall("testcase/failure")) == 1
    assert all(
        len(line) <= 80 for line in run("compare", str(agreed), str(new)).stdout.splitlines()
    )


def test_several_workloads_are_compared_each(tmp_path: Path) -> None:
    text = (
        "id,model,accelerator,workloads.serve.mode,workloads.tune.mode,serve.latency_s,feasible\n"
        "1,bert-tiny,systolic,inference,training,0,true\n"
    )
    one = swept(tmp_path, "one", text)
    new = changed(tmp_path, one, 0, **{"tune.latency_s": "99"})
    (entry,) = compare(one, new)
    assert (entry.metric, entry.verdict) == ("tune.latency_s", "worse")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metrics": ["latency"]}, "did you mean latency_s"),
        ({"tolerance": "-1"}, "must not be negative"),
        ({"tolerance": "3"}, "a share above 1 needs its %"),
        ({"tolerance": 3.0}, "a share above 1 needs its %"),
        ({"tolerance": "2 s"}, "--tolerance"),
        ({"metrics": ["note.why"]}, "is no result of the table"),
    ],
)
def test_what_has_no_meaning_is_refused(
    agreed: Path, options: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        compare(agreed, agreed, **options)  # type: ignore[arg-type]


def test_tables_that_cannot_be_read_are_refused(agreed: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    for text, words in (
        ("a,b\n1,2\n", "column is missing"),
        ("model,accelerator,latency_s\nx\n", "has 1 cells"),
        ("model,accelerator,latency_s,area_mm2\nx,y,1,2\n", "energy_j"),
        ("", "is empty"),
    ):
        path.write_text(text)
        result = run("compare", str(agreed), str(path))
        assert result.exit_code == 2 and words in result.stderr
    assert run("compare", str(agreed), str(tmp_path / "none.csv")).exit_code == 2
    out = tmp_path / "absent" / "check.xml"
    assert run("compare", str(agreed), str(agreed), "--junit", str(out)).exit_code == 2


@pytest.mark.parametrize("kinds", [("csv", "json"), ("json", "parquet"), ("parquet", "csv")])
def test_tables_are_read_in_every_format_that_sweep_writes(
    tmp_path: Path, kinds: tuple[str, str]
) -> None:
    table = tmp_path / "designs.csv"
    table.write_text(
        "note.id,model,accelerator,workload.batch,accelerator.rows,accelerator.sram,"
        "accelerator.clock,workload.precision\n"
        "1,bert-tiny,systolic,1,,8 MB,700 MHz,\n"
        "2,bert-mini,systolic,2,64,,,bf16\n"
        "3,gpt2-xl,t4-16gb,4096,,,,fp16\n"
    )
    paths = [tmp_path / f"{i}.{kind}" for i, kind in enumerate(kinds)]
    for path in paths:
        assert run("sweep", str(table), "--out", str(path)).exit_code == 0
    result = run("compare", *map(str, paths))
    assert result.exit_code == 0, result.output
    assert result.stdout == "3 designs: 0 got worse, 3 the same, 0 new\n"
    by_note = run("compare", *map(str, paths), "--key", "note.id")
    assert by_note.stdout == result.stdout


def test_rows_of_a_file_of_records_are_counted_as_rows(tmp_path: Path) -> None:
    record = {"model": "bert-tiny", "accelerator": "systolic", "energy_j": 1, "area_mm2": 1}
    path = tmp_path / "t.json"
    path.write_text(json.dumps([record | {"latency_s": i} for i in (1, 2)]))
    result = run("compare", str(path), str(path))
    assert f"{path}: rows 1 and 2 are the same in model" in result.stderr


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.json", b"{}", "no list of records"),
        ("t.json", b"[1]", "no list of records"),
        ("t.json", b'[{"model": ["x"], "accelerator": "y"}]', "no single value"),
        ("t.json", b'[{"model": "x"}]', "column is missing"),
        ("t.json", b"[{", "JSON"),
        ("t.json", b"", "JSON"),
        ("t.parquet", b"PAR1 is no such file PAR1", "not a Parquet file"),
        ("t.parquet", b"", "not a Parquet file"),
    ],
)
def test_files_that_are_no_tables_are_refused(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    result = run("compare", str(path), str(path))
    assert result.exit_code == 2 and words in result.stderr and str(path) in result.stderr


# ---- one model on several accelerators


def test_the_first_accelerator_is_the_reference() -> None:
    import elector

    words = ("compare", "bert-tiny", "tpu-v4i", "systolic", "acceltran-server", "--batch", "4")
    rows = json.loads(run(*words, "--format", "json").stdout)
    assert [row["accelerator"] for row in rows] == ["tpu-v4i", "systolic", "acceltran-server"]
    alone = [
        elector.simulate("bert-tiny", name, settings={"workload.batch": 4}) for name in words[2:5]
    ]
    for row, single in zip(rows, alone, strict=True):
        for name in ("latency_s", "energy_j", "area_mm2"):
            assert row["values"][name] == single[name]
            assert row["ratios"][name] == pytest.approx(single[name] / alone[0][name])
    assert set(rows[0]["ratios"].values()) == {1.0} and not any(rows[0]["reasons"].values())
    parts = {*alone[0]["energy_by_part_j"], *alone[1]["energy_by_part_j"]}
    assert any(rows[1]["reasons"]["energy_j"].startswith(part) for part in parts)
    text = run(*words)
    assert text.exit_code == 0 and " x" in text.stdout
    assert max(map(len, text.stdout.splitlines())) <= 80


def test_a_reason_names_what_differs_most() -> None:
    """Half the memory bandwidth: what is longer is what waits for memory."""
    from elector.studies.side_by_side import side_by_side

    slow = side_by_side("bert-tiny", ("systolic", "tpu-v1"), metrics=("area_mm2",))
    assert "instead of" in slow[1]["reasons"]["area_mm2"]


def test_an_accelerator_that_cannot_run_it_has_a_reason() -> None:
    words = ("compare", "gpt2-xl", "a100-sxm-80gb", "tpu-v1")
    result = run(*words, "--mode", "training")
    assert result.exit_code in (0, 3)
    row = json.loads(run(*words, "--mode", "training", "--format", "json").stdout)[1]
    assert row["feasible"] is False and row["reason"] and row["ratios"]["latency_s"] is None
    none = run("compare", "gpt2-xl", "tpu-v1", "tpu-v1", "--mode", "training")
    assert none.exit_code == 3


def test_what_was_compared_is_said_and_what_each_has_of_its_own() -> None:
    words = ("compare", "bert-tiny", "tpu-v4i", "a100-sxm-80gb", "--batch", "4")
    model, common, tpu, gpu, *_ = run(*words).stdout.splitlines()
    assert model == "bert-tiny, beside tpu-v4i"
    assert common == "inference, batch 4, 128 tokens, bf16"
    assert tpu.startswith("  tpu-v4i: ") and tpu.endswith("unfused attention")
    assert gpu.startswith("  a100-sxm-80gb: ") and gpu.endswith("flash attention")
    rows = json.loads(run(*words, "--format", "json").stdout)
    for row, stack in zip(rows, (tpu, gpu), strict=True):
        assert row["settings"]["workload.batch"]["value"] == 4
        assert f"{row['settings']['workload.implementation']['value']} stack" in stack
    assert "settings" not in run(*words, "--format", "csv").stdout.splitlines()[0]


@pytest.mark.parametrize("uncertain", [(), ("--uncertainty", "--samples", "50")])
def test_long_labels_and_many_results_keep_to_eighty_columns(uncertain: tuple[str, ...]) -> None:
    own = ("workload.precision=fp8", "workload.kv_cache=fp8", "accelerator.memory_capacity=48GB")
    metrics = ("latency_s", "energy_j", "power_w", "utilization", "throughput_sequences_per_s")
    words = ["compare", "gpt2", "l4-24gb", "l4-24gb", "h100-sxm-80gb", *uncertain]
    words += [word for setting in own for word in ("--set-for", "2", setting)]
    for more in ((), [word for name in metrics for word in ("--metric", name)]):
        lines = run(*words, *more).stdout.splitlines()
        assert max(map(len, lines)) <= 80
        assert any(line.startswith("  2: l4-24gb (precision fp8") for line in lines)
        assert any(line.startswith("  2  ") for line in lines)


def test_a_reference_that_cannot_run_is_no_zero() -> None:
    """gpt2-xl does not train on a machine that cannot train: it takes no 0 s there."""
    words = ("compare", "gpt2-xl", "tpu-v1", "a100-sxm-80gb", "--mode", "training")
    result = run(*words)
    assert "is infeasible" in result.stdout
    assert "latency:" not in result.stdout and "energy:" not in result.stdout
    assert "instead of 0" not in result.stdout
    _, gpu = json.loads(run(*words, "--format", "json").stdout)
    assert gpu["reasons"]["latency_s"] == gpu["reasons"]["energy_j"] == ""


def test_parts_of_a_hybrid_are_those_of_other_machines() -> None:
    """`gpu.running` of a hybrid is `running` of a GPU; what one has not is not 0 there."""
    from elector.studies.side_by_side import side_by_side

    simulated = json.loads(run("simulate", "bert-tiny", "hpt", "--format", "json").stdout)
    parts = simulated["area_by_part_mm2"]
    overhead = sum(v for part, v in parts.items() if part.rpartition(".")[2] == "overhead")
    for pair in (("l4-24gb", "hpt"), ("hpt", "l4-24gb"), ("tpu-v4i", "hpt"), ("hpt", "hpt")):
        for reason in side_by_side("bert-tiny", pair)[1]["reasons"].values():
            assert not any(f"{unit}." in reason for unit in ("gpu", "tier", "array"))
            assert "instead of 0" not in reason
    reason = side_by_side("bert-tiny", ("l4-24gb", "hpt"))[1]["reasons"]["area_mm2"]
    assert f"overhead {overhead:.4g} mm2 instead of" in reason
    reason = side_by_side("bert-tiny", ("tpu-v4i", "hpt"))[1]["reasons"]["area_mm2"]
    assert "die" in reason and "where the first has none" in reason


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("bert-tiny",), "two accelerators"),
        (("bert-tiny", "tpu-v4i"), "(got 'bert-tiny tpu-v4i')"),
        (
            ("bert-tiny", "tpu-v4i", "--set-for", "1", "accelerator.arrays=2"),
            "(got 'bert-tiny tpu-v4i (accelerator.arrays 2)')",
        ),
        (("bert-tiny", "tpu-v4i", "tpu-v3", "--key", "note.id"), "(got 'note.id')"),
        (("bert-tiny", "tpu-v4i", "tpu-v3", "--key", "a", "--key", "b"), "(got 'a b')"),
        (("bert-tiny", "tpu-v4i", "tpu-v3", "--junit", "x.xml"), "two tables"),
        (("bert-tiny", "tpu-v4i", "tpu-v3", "--tolerance", "2%"), "two tables"),
        (("bert-tiny", "tpu-v4i", "tpu-v3", "--metric", "energy"), "did you mean"),
        (("bert-tiny", "tpu-v4i", "tpu-v33"), "did you mean"),
        (("a.csv", "b.csv", "--batch", "2"), "tables have their settings"),
    ],
)
def test_comparisons_without_meaning_are_refused(words: tuple[str, ...], part: str) -> None:
    result = run("compare", *words)
    assert result.exit_code == 2 and part in result.stderr
