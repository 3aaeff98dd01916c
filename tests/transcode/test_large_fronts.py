"""Front files of any size: read within bounded memory and time, or refused; pipes in a run folder;
and numbers that no reader of a manifest can hold."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import transcode
from elector.base.errors import InputError
from transcode.cli import main
from transcode.runs import comparison, files, front, snapshot
from transcode.training.settings import Settings

SMALL = """
model: {base: encoder, layers: [2, 4], hidden: [128, 256], heads: [2, 4]}
accelerator: {base: systolic, rows: [16, 32], dataflow: [ws, os]}
objectives: {latency_s: min, energy_j: min}
"""
SEARCH = ("--sampler", "random", "--budget", "16", "--batch", "4", "--jobs", "1", "--quiet")
SECONDS, BYTES = 10.0, 2 << 30


def invoke(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a space and a run of 16 of its designs."""
    root = tmp_path_factory.mktemp("large")
    (root / "small.yaml").write_text(SMALL)
    assert invoke("search", root / "small.yaml", "--out", root / "run", *SEARCH).exit_code == 0
    return root


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the run, which goes with all beside it: it may be a gigabyte by then."""
    yield shutil.copytree(made / "run", tmp_path / "run")
    shutil.rmtree(tmp_path)


def lengthen(run: Path, size: int) -> int:
    """Repeats the first design in front.csv up to `size` bytes, each with an id of its own; how
    many there then are."""
    path = run / "front.csv"
    header, row = path.read_text().splitlines()[:2]
    rest, rows = row.partition(",")[2], 0
    with path.open("w") as stream:
        written = stream.write(header + "\n")
        while written + len(rest) + 12 < size:
            lines = "".join(f"{rows + more},{rest}\n" for more in range(1000))
            if written + len(lines) > size:
                lines = f"{rows},{rest}\n"
            written, rows = written + stream.write(lines), rows + lines.count("\n")
    known = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(known | {"front": rows}))
    return rows


#: The program, and what it took of a processor [s] and of memory [byte] at most, behind all else.
MEASURE = """
import re, sys, time
from pathlib import Path
from transcode.cli import main
begin = time.process_time()
try:
    main(sys.argv[1:])
finally:
    held = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())
    print(time.process_time() - begin, int(held[1]) << 10, file=sys.stderr)
"""


def measured(*words: object) -> tuple[int, str, float, float]:
    """Exit code, messages, seconds and bytes of a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, words)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    *said, last = done.stderr.splitlines()
    seconds, held = map(float, last.split())
    return done.returncode, "\n".join(said), seconds, held


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_front_near_and_beyond_what_is_read(run: Path) -> None:
    """Near the most texts that are kept, near the largest file and beyond it; 1 GB on the disk."""
    assert lengthen(run, 165 << 20) * 4 < snapshot._TEXTS
    code, said, seconds, held = measured("front", run)
    assert code == 0 and seconds < 3 * SECONDS and held < BYTES, (said, seconds, held)
    lengthen(run, snapshot._LARGEST)
    for words in (("front", run), ("check", run, "--require", "latency_s < 1"), ("report", run)):
        code, said, seconds, held = measured(*words)
        assert code == 2 and "front.csv: has more than 8,388,608 results" in said, said
        assert seconds < 3 * SECONDS and held < BYTES, (words, seconds, held)
    with (run / "front.csv").open("ab") as stream:
        stream.truncate(snapshot._LARGEST + 1)
    for words in (("front", run), ("check", run, "--require", "latency_s < 1"), ("report", run)):
        code, said, seconds, held = measured(*words)
        assert code == 2 and "front.csv: is larger than 1.00 GB" in said, said
        assert seconds < SECONDS and held < BYTES / 4, (words, seconds, held)
    warm = ("search", run.parent / "small.yaml", "--out", run.parent / "new", "--warm-start")
    (run.parent / "small.yaml").write_text(SMALL)
    code, said, *_ = measured(*warm, run / "front.csv")
    assert code == 2 and "front.csv: is larger than 40.0 MB" in said, said
    assert not (run.parent / "new").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_front_json_beyond_a_gibibyte_is_a_baseline(run: Path) -> None:
    path = run.parent / "front.json"
    text = (run / "front.json").read_text()
    start = text.index(front.POINT)
    point = (front.POINT + text.split(front.POINT)[1]).removesuffix(front.END).rstrip(",") + ","
    with path.open("w") as stream:
        stream.write(text[:start])
        for _ in range((1 << 30) // (len(point) * 1000) + 1):
            stream.write(point * 1000)
        stream.write(point[:-1] + front.END)
    assert path.stat().st_size > 1 << 30
    words = ("check", run, "--require", "hypervolume >= baseline", "--baseline", path)
    code, said, seconds, held = measured(*words)
    assert code == 0 and seconds < 2 * SECONDS and held < BYTES / 4, (said, seconds, held)


def test_more_texts_than_are_kept(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = lengthen(run, 40_000)
    monkeypatch.setattr(snapshot, "_TEXTS", 4 * rows)
    done = invoke("front", run)
    assert done.exit_code == 2 and "front.csv: has more than" in done.stderr, done.output
    monkeypatch.setattr(snapshot, "_TEXTS", 4 * rows + 100)
    assert invoke("front", run).exit_code == 0


def test_what_a_large_front_json_says(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run / "front.json"
    whole, text = front.told(path), path.read_text()
    monkeypatch.setattr(front, "LARGEST", len(text) - 1)
    assert front.told(path) == {key: whole[key] for key in whole if key != "points"}
    for cut in (text[:-1], text[: text.index('"points"')], text + " "):
        monkeypatch.setattr(front, "LARGEST", len(cut) - 1)
        path.write_text(cut)
        with pytest.raises(InputError, match="is damaged: not the JSON of a front"):
            front.told(path)


def test_a_manifest_that_is_too_large(run: Path) -> None:
    with (run / "manifest.json").open("ab") as stream:
        stream.truncate(files.LARGEST + 1)
    done = invoke("front", run)
    assert done.exit_code == 2 and "manifest.json: is larger than 67.1 MB" in done.stderr


def test_points_are_compared_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).random((2, 300, 3))
    whole = comparison._excess(*points)
    monkeypatch.setattr(comparison, "_CELLS", 1000)
    np.testing.assert_array_equal(comparison._excess(*points), whole)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("name", ["designs/part-000001.parquet", ".lock"])
def test_a_pipe_in_a_run_folder_is_not_waited_for(made: Path, run: Path, name: str) -> None:
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    asked = [("check", run, "--require", "latency_s < 1"), ("show", run, 5)]
    asked += [("merge", run, run, "--out", run.parent / "all")]
    for words in [] if name == ".lock" else asked:
        done = invoke(*words)
        assert done.exit_code == 2 and f"{name}: is not whole" in done.stderr, done.output
    done = invoke("search", made / "small.yaml", "--out", run, *SEARCH)
    if name == ".lock":
        assert done.exit_code == 2 and f"{name}: --out: is not a file" in done.stderr, done.output
    else:
        assert done.exit_code == 0 and "1 (4 designs); 3 part(s) set aside" in done.output


@pytest.mark.parametrize("name", ["seed", "budget", "stall-batches", "batch", "jobs"])
def test_numbers_that_no_reader_holds(made: Path, tmp_path: Path, name: str) -> None:
    words = ("--out", tmp_path / "new", "--budget", "4", "--stall", "0.1", "--quiet")
    done = invoke("search", made / "small.yaml", *words, f"--{name}", "9" * 400)
    said = re.sub(r"\s+", " ", done.stderr)
    assert done.exit_code == 2 and f"--{name}: must be a whole number from " in said, done.output
    assert "to 9,223,372,036,854,775,807" in said and not (tmp_path / "new").exists()
    given: dict[str, Any] = {name.replace("-", "_"): 2**63}
    with pytest.raises(InputError, match=f"--{name}: must be a whole number"):
        transcode.search(made / "small.yaml", out=tmp_path / "new", **given)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("kind", ["a link", "a pipe"])
@pytest.mark.parametrize(
    "name", [".front.csv.tmp", ".manifest.json.tmp", "designs/.part-000004.parquet.tmp"]
)
def test_what_lies_where_a_file_is_prepared(made: Path, run: Path, name: str, kind: str) -> None:
    """A run folder of somebody else's making: nothing beside it is written, nothing waited for."""
    other = run.parent / "other"
    other.write_text("mine")
    if kind == "a link":
        (run / name).symlink_to(other)
    else:
        os.mkfifo(run / name)
    words = ("search", made / "small.yaml", "--out", run, *SEARCH[:3], "20", *SEARCH[4:])
    assert invoke(*words).exit_code == 0 and other.read_text() == "mine"
    assert not (run / name).is_symlink() and (run / "designs" / "part-000004.parquet").is_file()


def test_a_lock_that_leads_elsewhere(made: Path, run: Path) -> None:
    (run / ".lock").unlink(missing_ok=True)
    (run / ".lock").symlink_to(run.parent / "other")
    done = invoke("search", made / "small.yaml", "--out", run, *SEARCH)
    assert done.exit_code == 2 and "cannot be written" in done.stderr, done.output
    assert not (run.parent / "other").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("kind", ["a link", "a pipe", "a folder"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("front.png", ("plot",)),
        ("selection.png", ("plot", "--where", "latency_s < 1")),
        ("report.html", ("report",)),
    ],
)
def test_what_lies_where_a_picture_of_a_run_goes(
    run: Path, name: str, words: tuple[str, ...], kind: str
) -> None:
    other = run.parent / "other"
    other.write_text("mine")
    (run / name).unlink(missing_ok=True)
    make = {"a link": lambda p: p.symlink_to(other), "a pipe": os.mkfifo, "a folder": os.mkdir}
    make[kind](run / name)
    done = invoke(words[0], run, *words[1:])
    assert done.exit_code == (2 if kind == "a folder" else 0), done.output
    assert other.read_text() == "mine" and (run / name).is_file() == (kind != "a folder")


def test_a_search_whose_picture_cannot_be_written_is_done(made: Path, run: Path) -> None:
    (run / "front.png").unlink()
    (run / "front.png").mkdir()
    done = invoke("search", made / "small.yaml", "--out", run, *SEARCH[:3], "20", *SEARCH[4:])
    assert done.exit_code == 0 and "front.png: cannot be written: Is a directory" in done.output


@pytest.mark.parametrize("name", ["seed", "steps", "batch", "window", "evaluate"])
def test_numbers_of_a_training_that_no_reader_holds(name: str) -> None:
    given: dict[str, Any] = {"window": 2, "switch": "hpt", name: 2**63}
    with pytest.raises(InputError, match=f"{name}: must be at most 9,223,372,036,854,775,807"):
        Settings(model="bert-tiny", task="parity", **given)
