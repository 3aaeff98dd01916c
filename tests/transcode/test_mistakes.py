"""What a new user does wrong: each mistake ends in one clear message and the documented code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from search_fakes import SMALL, fake

import transcode
from transcode import runs
from transcode.cli import main, report

TINY = """
name: tiny
model: {base: encoder, layers: [2, 4], hidden: [128, 256], heads: [2, 4]}
accelerator: {base: systolic, rows: [16, 32, 64], dataflow: [ws, os], sram: [1 MB, 4 MB]}
workload: {task: sst2}
objectives: {accuracy: max, latency_s: min, energy_j: min}
"""


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def refused(*words: str, code: int = 2) -> str:
    """What a command that fails says: once, and without a traceback."""
    done = invoke(*words)
    assert done.exit_code == code, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert "Traceback" not in done.output and done.stdout == ""
    return done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the space `tiny.yaml` and two runs, `tiny` and, by two objectives, `pair`."""
    root = tmp_path_factory.mktemp("mistakes")
    pair = TINY.replace("accuracy: max, ", "").replace("workload: {task: sst2}\n", "")
    for name, text in (("tiny", TINY), ("pair", pair)):
        (root / f"{name}.yaml").write_text(text)
        words = ("search", str(root / f"{name}.yaml"), "--out", str(root / name))
        assert invoke(*words, "--quiet", "--batch", "20").exit_code == 0
    return root


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TINY.partition("objectives")[0], "objectives: a space needs at least one"),
        (TINY.partition("objectives")[0] + "objectives: {}\n", "hint: objectives: {latency_s: min"),
        (
            TINY + "constraints: ['area_mm2 <= 50', 'area_mm2 > 50']\n",
            "constraints: cannot both hold: 'area_mm2 <= 50' and 'area_mm2 > 50'",
        ),
        (
            TINY + "constraints: ['latency_s <= 1 ms', 'latency_s >= 2000 us']\n",
            "cannot both hold: 'latency_s <= 1 ms' and 'latency_s >= 2000 us'",
        ),
        (
            TINY + "constraints: ['area_mm2 <= 5 and area_mm2 >= 8']\n",
            "constraints: can never hold: 'area_mm2 <= 5 and area_mm2 >= 8'",
        ),
        (TINY.replace("rows", "rwos"), "accelerator: unknown key (got 'rwos'); did you mean rows?"),
        (TINY.replace("rows", "lanes_per_pe"), "accelerator: unknown key (got 'lanes_per_pe')"),
    ],
)
def test_spaces(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "tiny.yaml").write_text(text)
    said = refused("search", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "run"))
    assert words in said and "tiny.yaml" in said
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.yaml"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--sampler", "nsag2"), "did you mean nsga2?"),
        (("--sampler", "nowhere:Class"), "--sampler: cannot be imported"),
        (("--sampler", "json:JSONDecoder"), "is not an Optuna sampler class"),
        (("--budget", "0"), "--budget: must be a whole number from 1 up (got '0')"),
        (("--budget", "-5"), "--budget: must be a whole number from 1 up (got '-5')"),
        (("--budget", "many"), "--budget: must be a whole number from 1 up (got 'many')"),
        (("--time", "-3s"), "--time: must be positive"),
    ],
)
def test_options(made: Path, tmp_path: Path, options: tuple[str, str], words: str) -> None:
    out = tmp_path / "run"
    assert words in refused("search", str(made / "tiny.yaml"), "--out", str(out), *options)
    assert not out.exists()


LONG = "a" * 300


def test_no_folder_is_left_by_a_name_that_is_too_long(made: Path, tmp_path: Path) -> None:
    run = str(made / "tiny")
    for words in (
        ("search", str(made / "tiny.yaml"), "--out", f"{tmp_path}/new/deep/{LONG}"),
        ("merge", run, run, "--out", f"{tmp_path}/new/deep/{LONG}/run"),
        ("plot", run, "--out", f"{tmp_path}/new/{LONG}.png"),
        ("report", run, "--out", f"{tmp_path}/new/{LONG}.html"),
        ("check", run, "--require", "front > 0", "--junit", f"{tmp_path}/new/{LONG}.xml"),
    ):
        assert "cannot be written" in refused(*words)
        assert not list(tmp_path.iterdir()), words


def test_nothing_feasible_says_what_rejects_most_and_what_misses_least(tmp_path: Path) -> None:
    space, out = tmp_path / "tiny.yaml", tmp_path / "run"
    space.write_text(TINY + "constraints: ['latency_s <= 1 ns', 'area_mm2 <= 60']\n")
    words = ("search", str(space), "--out", str(out), "--quiet", "--batch", "20")
    lines = refused(*words, code=3).splitlines()
    assert lines[0] == "none of 96 designs is feasible"
    assert lines[1] == "  96 rejected by: latency_s <= 1 ns"
    nearest = next(line for line in lines if "nearest miss" in line)
    assert "accelerator.rows 64" in nearest and "accelerator.sram 4.00 MB" in nearest
    assert "latency_s <= 1 ns missed by " in lines[-1] and lines[-1].endswith(" %")
    (out / "designs" / "part-000001.parquet").write_bytes(b"half")
    assert "part-000001.parquet is not whole: going on" in refused(*words, code=3)


def test_a_run_without_a_feasible_design_has_one_answer(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, out = tmp_path / "tiny.yaml", str(tmp_path / "inf")  # a name that is a number, too
    space.write_text(TINY + "constraints: ['latency_s <= 1 ns']\n")
    refused("search", str(space), "--out", out, "--quiet", code=3)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    for words in (
        ("front", out),
        ("front", out, "--format", "json"),
        ("front", out, "--where", "id >= 0"),
        ("front", out, "--weights", "latency_s=1"),
        ("front", out, "--uncertainty"),
        ("report", out),
        ("plot", out),
        ("plot", out, "--objectives", "latency_s"),
        ("compare", out, str(made / "tiny")),
        ("compare", str(made / "tiny"), out),
    ):
        said = refused(*words, code=3)
        assert said == f"{out}: none of 96 recorded designs is feasible\n", words
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before
    assert invoke("show", out, "0").exit_code == 0
    assert invoke("check", out, "--require", "front > 0").exit_code == 4
    monkeypatch.chdir(tmp_path)
    done = invoke("check", str(made / "tiny"), "--require", "front > baseline", "--baseline", "inf")
    assert "another reference point" in done.stderr and done.exit_code == 2


def test_the_folder_of_another_space(made: Path, tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in (made / "tiny").rglob("*") if p.is_file()}
    (tmp_path / "other.yaml").write_text(TINY.replace("layers: [2, 4]", "layers: [2, 4, 6]"))
    said = refused("search", str(tmp_path / "other.yaml"), "--out", str(made / "tiny"))
    assert "model.layers: [2, 4] there, [2, 4, 6] asked for" in said and "--fresh" in said
    assert {p: p.read_bytes() for p in (made / "tiny").rglob("*") if p.is_file()} == before


# ---- a part file that was cut


@pytest.mark.parametrize("source", ["[surrogate]", "true", "3", "{source: [x]}", "{source: {}}"])
def test_an_accuracy_source_that_is_no_name(tmp_path: Path, source: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(TINY + f"accuracy: {source}\n")
    said = refused("search", str(path), "--out", str(tmp_path / "run"))
    assert "odd.yaml: accuracy.source: unknown source" in said
    assert not (tmp_path / "run").exists()


def test_a_baseline_without_a_name(made: Path) -> None:
    assert "--baseline: is empty" in refused("report", str(made / "tiny"), "--baseline", "")


@pytest.mark.parametrize("inner", ["designs", "designs/deep/er", "link/x"])
def test_no_run_lies_among_the_designs_of_another(made: Path, tmp_path: Path, inner: str) -> None:
    """pandas reads all that lies below `designs`: it would take both for one."""
    run = shutil.copytree(made / "tiny", tmp_path / "tiny")
    (run / "link").symlink_to(run / "designs")
    before = sorted(run.rglob("*"))
    for words in (("search", str(made / "pair.yaml")), ("merge", str(made / "pair"))):
        said = refused(*words, "--out", str(run / inner))
        assert "lies among the designs of the run tiny" in said
    assert sorted(run.rglob("*")) == before
    assert invoke("merge", str(made / "pair"), "--out", str(run / "beside")).exit_code == 0


@pytest.mark.parametrize(
    "left", [0, 900, *(pytest.param(left, marks=pytest.mark.slow) for left in (1, -1))]
)
def test_a_cut_part_is_evaluated_again(made: Path, tmp_path: Path, left: int) -> None:
    """Whatever is left of it; questions and merging refuse what a search mends."""
    run = shutil.copytree(made / "tiny", tmp_path / "run")
    part = run / "designs" / "part-000002.parquet"
    part.write_bytes(part.read_bytes()[:left])
    merge = ("merge", str(run), str(made / "tiny"), "--out", str(tmp_path / "one"))
    for words in (("front", str(run), "--where", "latency_s <= 1"), merge):
        assert f"{part}: is not whole" in refused(*words)
    assert not (tmp_path / "one").exists()
    words = ("search", str(made / "tiny.yaml"), "--out", str(run), "--batch", "20")
    done = invoke(*words, "--quiet")
    assert done.exit_code == 0, done.output
    assert (
        "note: part-000002.parquet is not whole: going on from batch 2 (40 designs); "
        "3 part(s) set aside" in done.stdout
    )
    for name in ("front.csv", "front.json"):
        assert (run / name).read_bytes() == (made / "tiny" / name).read_bytes()
    pd.testing.assert_frame_equal(
        pd.read_parquet(run / "designs"), pd.read_parquet(made / "tiny" / "designs")
    )


def test_a_missing_part_is_not_merged_over(made: Path, tmp_path: Path) -> None:
    run = shutil.copytree(made / "tiny", tmp_path / "run")
    part = run / "designs" / "part-000001.parquet"
    part.unlink()
    said = refused("merge", str(made / "tiny"), str(run), "--out", str(tmp_path / "one"))
    assert f"{part}: is missing" in said


def test_damage_in_a_column_that_was_not_asked_for(made: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    run = shutil.copytree(made / "tiny", tmp_path / "run")
    for part in (run / "designs").iterdir():
        group = pq.read_metadata(part).row_group(0)
        columns = [group.column(i) for i in range(group.num_columns)]
        layers = next(c for c in columns if c.path_in_schema == "model.layers")
        start = layers.dictionary_page_offset or layers.data_page_offset
        content = bytearray(part.read_bytes())
        content[start : start + layers.total_compressed_size] = bytes(layers.total_compressed_size)
        part.write_bytes(content)
    assert "is not whole" in refused("front", str(run), "--where", "latency_s <= 1")


def test_a_disk_that_fails_costs_no_part(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that cannot be read just now may be whole: it is not set aside."""
    run = shutil.copytree(made / "tiny", tmp_path / "run")
    before = sorted(p.name for p in (run / "designs").iterdir())

    def failing(folder: Path, number: int, needed: object = ()) -> list[runs.Batch]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(runs.parts, "read", failing)
    words = ("search", str(made / "tiny.yaml"), "--out", str(run), "--batch", "20", "--quiet")
    assert "part-000000.parquet: cannot be read: Input/output error" in refused(*words, code=1)
    assert sorted(p.name for p in (run / "designs").iterdir()) == before


# ---- questions to a run


def test_a_requirement_on_a_baseline_that_is_not_given(made: Path) -> None:
    run = str(made / "tiny")
    text = "hypervolume >= 0.98 * baseline"
    said = refused("check", run, "--require", text)
    assert f"--require: needs --baseline (got '{text}')" in said
    assert "hint: --baseline RUN, or a number" in said
    said = refused("check", run, "--require", text, "--baseline", "nowhere")
    assert "nowhere: --baseline: is neither a number nor a run" in said
    said = refused("check", run, "--require", text.replace("line", "lin"))
    assert "unknown name" in said


def test_runs_of_other_objectives(made: Path, tmp_path: Path) -> None:
    a, b = made / "tiny", made / "pair"
    lines = refused("compare", str(a), str(b)).splitlines()
    assert lines == [
        f"Error: {a}: cannot be compared with {b}",
        f"  objectives of {a}: accuracy max, latency_s min, energy_j min",
        f"  objectives of {b}: latency_s min, energy_j min",
        "  hint: give both spaces the same objectives, in the same order",
    ]
    manifest = json.loads((a / "manifest.json").read_text())
    other = {**manifest, "reference_point": {**manifest["reference_point"], "accuracy": 70.5}}
    moved = shutil.copytree(a, tmp_path / "moved")
    (moved / "manifest.json").write_text(json.dumps(other))
    said = refused("compare", str(a), str(moved))
    assert f"reference point of {moved}: accuracy 70.5, latency_s" in said, "as it was written"


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("latency_s <=", "--where: cannot be read: it ends too soon (got 'latency_s <=')"),
        ("", "--where: cannot be read: it is empty"),
        ("latency_s", "is not a condition"),
        ("latency_s <= 5 MB", "is not in s (got 'MB'); did you mean ms?"),
        ("latncy_s <= 5 ms", "did you mean latency_s?"),
        ("power_w <= 5", "unknown name"),
        ("1 ms <= latency_s <= 5 ms", "comparisons cannot be chained"),
        ("__import__('os')", "unknown function"),
        ("accelerator.dataflow == ws", "hint: text is quoted"),
    ],
)
def test_conditions(made: Path, condition: str, words: str) -> None:
    assert words in refused("front", str(made / "tiny"), "--where", condition)


def test_conditions_that_nothing_satisfies(made: Path) -> None:
    words = (
        "front",
        str(made / "tiny"),
        "--where",
        "accelerator.dataflow == 'wss'",
        "--where",
        "accelerator.rows <= 16",
    )
    assert refused(*words, code=3).splitlines() == [
        "none of 96 feasible recorded designs satisfies every condition",
        "  0 satisfy: accelerator.dataflow == 'wss'",
        "  32 satisfy: accelerator.rows <= 16",
    ]


# ---- interrupts


def test_an_interrupted_last_checkpoint_loses_and_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C twice: the second one hits while front and manifest are written."""
    from transcode.search.run import SearchRun

    def never(run: SearchRun, status: str) -> None:
        raise KeyboardInterrupt

    def stops(progress: transcode.Progress) -> None:
        if progress.designs >= 60:
            raise KeyboardInterrupt

    options = {"sampler": "random", "budget": 100, "batch": 20, "evaluator": fake}
    with monkeypatch.context() as patch:
        patch.setattr(SearchRun, "checkpoint", never)
        with pytest.raises(transcode.Interrupted) as stop:
            transcode.search(SMALL, out=tmp_path / "r", progress=stops, **options)
    assert "interrupted: 60 designs are safe" in report.interrupted(stop.value.folder)
    transcode.search(SMALL, out=tmp_path / "r", **options)
    transcode.search(SMALL, out=tmp_path / "whole", **options)
    assert (tmp_path / "r/front.csv").read_bytes() == (tmp_path / "whole/front.csv").read_bytes()
