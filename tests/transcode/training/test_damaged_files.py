"""Files of a training run that are cut, edited, or of another: one message, exit 2, all kept."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

pytestmark = pytest.mark.extras("torch", "sklearn")

WORDS = [
    *("train", "encoder", "digits", "--steps", "6", "--evaluate", "2", "--quiet"),
    *("--set", "model.layers=1", "--set", "model.hidden=16", "--set", "model.heads=2"),
]


def train(out: Path, *more: str) -> Result:
    from transcode.cli.commands import main

    return CliRunner().invoke(main, [*WORDS, "--out", str(out), *more])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    done = train(out)
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A run that goes on from its last checkpoint: it has no result yet."""
    copy = shutil.copytree(finished, tmp_path / "run")
    (copy / "result.json").unlink()
    return copy


def refused(out: Path, *words: str) -> None:
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    done = train(out)
    assert done.exit_code == 2, done.output
    assert isinstance(done.exception, SystemExit) and "Traceback" not in done.output
    for word in words:
        assert word in done.stderr, done.stderr
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def signed(path: Path, state: object) -> None:
    """A checkpoint with the right sum and this content."""
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    body = buffer.getvalue()
    head = b"transcode checkpoint 1\n" + hashlib.sha256(body).hexdigest().encode() + b"\n"
    path.write_bytes(head + body)


@pytest.mark.parametrize(
    "state", [[], 7, {}, {"step": 3}, {"step": "x", "copy": {}}, {"step": -1, "copies": [1]}]
)
def test_a_checkpoint_with_the_right_sum_and_other_content(run: Path, state: object) -> None:
    signed(run / "checkpoint.pt", state)
    refused(run, "checkpoint.pt", "is the checkpoint of something else", "--fresh")


@pytest.mark.parametrize("content", [b"", b"transcode", b"\x80\x04.", b"x" * 5000])
def test_a_checkpoint_that_is_cut(run: Path, content: bytes) -> None:
    (run / "checkpoint.pt").write_bytes(content)
    refused(run, "checkpoint.pt: the checkpoint is damaged", "--fresh")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"score": "high"}', "[" * 100_000, '{"score": ' + "1" * 5000 + "}"],
)
def test_a_result_that_is_cut_or_another(finished: Path, tmp_path: Path, content: str) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "result.json").write_text(content)
    refused(run, "result.json", "--fresh")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n2,", "\ntwo,"),
        lambda text: text.replace("full", "full,extra"),
        lambda text: "step,seconds\n1,2\n",
        lambda text: text.replace("loss", "cost", 1),
    ],
)
def test_metrics_that_are_no_numbers(run: Path, change: object) -> None:
    path = run / "metrics.csv"
    path.write_text(change(path.read_text()))  # type: ignore[operator]
    refused(run, "metrics.csv", "line ", "--fresh")


def test_a_row_of_metrics_that_was_cut_is_written_again(run: Path, finished: Path) -> None:
    path = run / "metrics.csv"
    path.write_text(path.read_text() + "8,full,0.1")
    done = train(run)
    assert done.exit_code == 0, done.output
    assert [line.split(",")[0] for line in path.read_text().splitlines()] == ["step", "2", "4", "6"]
    assert json.loads((run / "result.json").read_text())["steps"] == 6


@pytest.mark.parametrize("content", ["", "{", "[]", '{"kind": "training"}', '{"kind": 7}'])
def test_a_manifest_that_is_cut_or_another(run: Path, content: str) -> None:
    (run / "manifest.json").write_text(content)
    refused(run, str(run))


def test_fresh_starts_anew_whatever_lies_there(run: Path) -> None:
    (run / "checkpoint.pt").write_bytes(b"x")
    (run / "metrics.csv").write_text("nonsense\n")
    done = train(run, "--fresh")
    assert done.exit_code == 0, done.output
    (run / "manifest.json").write_text("{")
    assert train(run, "--fresh").exit_code == 0
    shutil.copytree(run, run.with_name("search"))
    (run.with_name("search") / "manifest.json").write_text(json.dumps({"space_sha256": ""}))
    assert train(run.with_name("search"), "--fresh").exit_code == 2, "another program's folder"
