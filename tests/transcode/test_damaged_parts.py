"""A part file in which a bit has changed: noticed, or without effect."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from transcode import search
from transcode.cli import main
from transcode.runs import parts

SMALL = """
model: {base: encoder, layers: [2, 4], hidden: [128, 256], heads: [2, 4]}
accelerator: {base: systolic, rows: [16, 32], dataflow: [ws, os]}
objectives: {latency_s: min, energy_j: min}
"""
#: Every question that reads parts, behind the program's name; R is the run, N a folder beside it.
QUESTIONS = (
    ("merge", "R", "R", "--out", "N"),
    ("show", "R", "5"),
    ("front", "R"),
    ("front", "R", "--where", "accelerator.dataflow == 'ws'"),
    ("check", "R", "--require", "latency_s < 1"),
    ("plot", "R"),
    ("report", "R"),
    ("compare", "R", "R"),
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a space and a run of 16 of its designs, in four batches."""
    root = tmp_path_factory.mktemp("damaged")
    (root / "small.yaml").write_text(SMALL)
    search(root / "small.yaml", out=root / "run", budget=16, batch=4, sampler="random", jobs=1)
    return root


def said(batch: parts.Batch) -> tuple[object, ...]:
    """All that a batch says, but columns that have one value in the whole space."""
    varied = {n: c for n, c in batch.columns.items() if n not in ("model", "accelerator")}
    columns = {n: [c.values[code] for code in c.codes] for n, c in varied.items()}
    reasons = [batch.reasons.values[code] for code in batch.reasons.codes]
    results = {n: v.tobytes() for n, v in batch.results.items()}
    state = (batch.number, batch.first_id, dict(batch.state))
    return columns, results, batch.feasible.tobytes(), reasons, state


def test_no_changed_bit_of_a_part_is_believed(small: Path, tmp_path: Path) -> None:
    shutil.copytree(small / "run", tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "designs"
    part = folder / "part-000001.parquet"
    whole, expected = part.read_bytes(), [said(batch) for batch in parts.read(folder, 1)]
    noticed = 0
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 5)
        part.write_bytes(changed)
        try:
            assert [said(batch) for batch in parts.read(folder, 1)] == expected, place
        except parts.UNREADABLE:
            noticed += 1
    assert noticed > len(whole) / 2  # the rest is padding, statistics and the like


@pytest.mark.parametrize("summed", [True, False])
@pytest.mark.parametrize("name", ["model.hidden", "latency_s", "reason"])
def test_a_name_that_has_changed(small: Path, tmp_path: Path, name: str, summed: bool) -> None:
    """summed : otherwise the part is one that was written when parts had no sum."""
    shutil.copytree(small, tmp_path, dirs_exist_ok=True)
    part = tmp_path / "run" / "designs" / "part-000001.parquet"
    content = part.read_bytes()
    if not summed:
        content = content.replace(b"transcode.sha256", b"transcode.sha257")
    letters = name.encode()
    part.write_bytes(content.replace(letters, letters[:-1] + b"~"))
    places = {"R": str(tmp_path / "run"), "N": str(tmp_path / "all")}
    for question in QUESTIONS:
        done = CliRunner().invoke(main, [places.get(word, word) for word in question])
        assert isinstance(done.exception, SystemExit | None), (question, done.exception)
        assert done.exit_code == 0 or (done.exit_code == 2 and part.name in done.stderr), question
    assert not (tmp_path / "all" / "manifest.json").exists()
    going_on = ("--budget", "16", "--batch", "4", "--sampler", "random", "--jobs", "1")
    words = ["search", str(tmp_path / "small.yaml"), "--out", places["R"], "--quiet", *going_on]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0 and f"{part.name} is not whole" in done.output, done.output
    again = (tmp_path / "run" / "front.csv").read_bytes()
    assert again == (small / "run" / "front.csv").read_bytes()


def test_a_merge_of_a_part_with_a_changed_page(small: Path, tmp_path: Path) -> None:
    shutil.copytree(small / "run", tmp_path / "run")
    part = tmp_path / "run" / "designs" / "part-000002.parquet"
    changed = bytearray(part.read_bytes())
    changed[pq.read_metadata(part).row_group(0).column(9).data_page_offset + 40] ^= 1
    part.write_bytes(changed)
    assert parts.survey(part.parent) == (16, None)  # its end is whole
    words = ["merge", str(tmp_path / "run"), str(small / "run"), "--out", str(tmp_path / "all")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2 and f"{part.name}: is not whole" in done.stderr, done.output
    assert not (tmp_path / "all").exists()


def results(folder: Path) -> list[dict[str, np.ndarray]]:
    """What the whole batches of a run say."""
    return [
        {name: np.asarray(values).copy() for name, values in batch.results.items()}
        for batch in parts.read_all(folder)
    ]


def test_no_changed_bit_changes_a_result(tmp_path: Path) -> None:
    search("smoke", out=tmp_path, budget=600, sampler="random", seed=1)
    folder = tmp_path / "designs"
    (part,) = sorted(folder.glob("part-*"))
    whole, expected = part.read_bytes(), results(folder)
    rng, noticed = np.random.default_rng(0), 0
    for _ in range(60):
        changed = bytearray(whole)
        changed[int(rng.integers(4, len(whole) - 8))] ^= 1 << int(rng.integers(8))
        part.write_bytes(changed)
        actual = results(folder)
        noticed += len(actual) < len(expected)
        for before, after in zip(expected, actual, strict=False):
            for name, values in before.items():
                np.testing.assert_array_equal(after[name], values)
    assert noticed > 40  # most bytes are results or settings; the rest are names and paddings
