"""A bad cell costs its row, whatever stands in it: a row error, exit 4, the others as ever."""

from __future__ import annotations

import csv
import io
import tempfile
import time
import warnings
from pathlib import Path

import pytest
from commands import run
from hypothesis import example, given, settings
from hypothesis import strategies as st

from elector.evaluation.accelerators import list_accelerators
from elector.evaluation.settings import known_keys
from elector.studies import screening
from elector.studies.sweep import SweepResult, run_sweep
from elector.studies.sweep_table import read_table

KEYS = [f"{space}.{key}" for space, keys in known_keys().items() for key in keys]
GOOD = {"model": "bert-tiny", "accelerator": "systolic"}

#: What a cell should not hold: names no file may have, numbers beyond floats and beyond reading,
#: folders, devices, things that look like something else.
NASTY = [
    "n" * 256, "n" * 5000, "a/" * 3000, "n" * 300 + ".yaml", "/", ".", "..", "~", "/dev/zero",
    "/dev/null", "1" * 310, "-" + "9" * 310, "1" * 5000, "1" * 7000, "1e" + "1" * 4500,
    "1e-" + "9" * 4500, "0." + "0" * 4000 + "1", "1e308", "1e309", "1e-400", "-1e400", "nan", "inf",
    "-inf", "0", "-1", "-0.0", "0x10", "1_000", "٣", "½", "1e", "e1", "+", "=1+1", "true", "None",
    "[1]", "{a: 1}", "1 MB", "1 nm", "5 m/s", "1 " + " " * 3000 + "x", "gemm:", "gemm:..",
    "lora:0", "lora:" + "9" * 400, "\x01\x1b[31m", "é" * 200, "\ud7ff", "../x.yaml", "a.json",
    "b.csv", "c.cfg", "none.yaml", "4294967296", "1e15", "0.5", "1e-9", "dense", "native", "auto",
]  # fmt: skip


def swept(folder: Path, rows: list[dict[str, str]]) -> SweepResult:
    """The table of these rows, as the command reads and evaluates it."""
    header = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, header, restval="")
    writer.writeheader()
    writer.writerows(rows)
    path = folder / "table.csv"
    path.write_text(stream.getvalue(), encoding="utf-8", errors="surrogatepass")
    return run_sweep(read_table(path))


def cells() -> st.SearchStrategy[str]:
    plain = st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), max_size=20
    )
    numbers = st.one_of(st.integers(-(10**20), 10**20), st.floats()).map(str)
    return st.one_of(st.sampled_from(NASTY), plain, numbers)


def rows() -> st.SearchStrategy[dict[str, str]]:
    """A row with up to three cells of any content, two of them perhaps the names."""
    accelerators = st.sampled_from(list_accelerators())
    models = st.sampled_from(["bert-tiny", "gpt2", "t5-small", "vit-base", "flexibert", "encoder"])
    keys = st.sampled_from([*KEYS, "model", "accelerator", "model.layer1.heads"])
    return st.builds(
        lambda model, accelerator, bad: {"model": model, "accelerator": accelerator, **bad},
        models,
        accelerators,
        st.dictionaries(keys, cells(), min_size=1, max_size=3),
    )


@settings(max_examples=30)
@given(st.lists(rows(), min_size=1, max_size=5))
@example([{"model": "n" * 256, "accelerator": "systolic"}])
@example([{"model": "bert-tiny", "accelerator": "systolic", "workload.batch": "1" * 310}])
def test_any_cells_cost_their_rows_only(given_rows: list[dict[str, str]]) -> None:
    """No exception, no warning, an error or figures in every row, and the good rows unmoved."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        alone = swept(Path(folder), [GOOD, GOOD])
        result = swept(Path(folder), [GOOD, *given_rows, GOOD])
    header = result.header
    place, latency = header.index("error"), header.index("latency_s")
    assert len(result.records) == len(given_rows) + 2
    expected = alone.records[0][alone.header.index("latency_s")]
    assert result.records[0][latency] == result.records[-1][latency] == expected
    for record in result.records:
        feasible = record[header.index("feasible")]
        assert (record[place] is None) == (feasible is not None), record
        assert record[place] is None or len(str(record[place])) < 4000


def test_the_examples_of_one_bad_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("self.yaml").write_text("base: self.yaml\n")
    Path("ring.yaml").write_text("base: ring2.yaml\n")
    Path("ring2.yaml").write_text("base: ./ring.yaml\n")
    for number in range(40):
        Path(f"chain{number}.yaml").write_text(f"base: chain{number + 1}.yaml\n")
    Path("deep.json").write_text("[" * 100_000)
    Path("long.json").write_text('{"l": ' + "1" * 5000 + "}")
    Path("huge.yaml").write_text("base: encoder\nlayers: " + "1" * 310 + "\n")
    bad = [
        ("n" * 256, "systolic", ""),
        ("bert-tiny", "n" * 256, ""),
        ("bert-tiny", "systolic", "1" * 310),
        ("bert-tiny", "self.yaml", ""),
        ("bert-tiny", "ring.yaml", ""),
        ("bert-tiny", "chain0.yaml", ""),
        ("deep.json", "systolic", ""),
        ("long.json", "systolic", ""),
        ("huge.yaml", "systolic", ""),
    ]
    lines = ["model,accelerator,workload.batch", "bert-tiny,systolic,2"]
    lines += [",".join(row) for row in bad]
    Path("table.csv").write_text("\n".join([*lines, "bert-tiny,systolic,2"]) + "\n")
    done = run("sweep", "table.csv", "--out", "costs.csv")
    assert done.exit_code == 4, done.output
    assert f"{len(bad) + 2} rows, 0 infeasible, {len(bad)} unreadable" in done.stderr
    with Path("costs.csv").open(newline="", encoding="utf-8") as stream:
        printed = list(csv.DictReader(stream))
    assert printed[0]["latency_s"] == printed[-1]["latency_s"] != ""
    said = [row["error"] for row in printed[1:-1]]
    for error, words in zip(
        said,
        [
            "unknown model",
            "unknown accelerator",
            "must be finite",
            "is based on itself",
            "is based on itself",
            "has more than 16 bases",
            "nested too deeply",
            "too many digits",
            "must be finite",
        ],
        strict=True,
    ):
        assert words in error and len(error) < 3000, error


def test_unreadable_rows_are_found_by_their_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake that many rows share is looked for once; no row is evaluated to find it."""
    many = 3000
    rows = [
        {**GOOD, "workload.batch": "x" if i % 2 else str(1 + i % 64), "note.row": str(i)}
        for i in range(many)
    ]
    calls = []
    read = screening.resolve
    monkeypatch.setattr(screening, "resolve", lambda *a: calls.append(1) or read(*a))
    begin = time.monotonic()
    result = swept(tmp_path, rows)
    assert len(result.errors) == many / 2 and len(calls) <= 2
    distinct = [{**GOOD, "model": f"bert-{i}"} for i in range(500)] + [GOOD]
    result = swept(tmp_path, distinct)
    assert len(result.errors) == 500 and len(calls) <= 4
    assert time.monotonic() - begin < 60


def test_contradictions_between_cells_are_found_row_by_row(tmp_path: Path) -> None:
    rows = [{**GOOD, "model.heads": "3" if i % 7 == 3 else "2"} for i in range(40)]
    result = swept(tmp_path, rows)
    assert [line - 2 for line, _ in result.errors] == list(range(3, 40, 7))
    assert all("3 heads do not divide" in message for _, message in result.errors)
