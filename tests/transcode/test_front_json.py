"""front.json as `transcode front` shows it: of any size, and whole or worked out again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import transcode
from elector.base import paths
from transcode.cli.commands import main
from transcode.runs import front


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is done."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    transcode.search("smoke", out=folder, budget=200, sampler="random", seed=1)
    return folder


def shown(run: Path, *options: str) -> Result:
    """What `transcode front --format json` shows of a run."""
    return CliRunner().invoke(main, ["front", str(run), "--format", "json", *options])


def cut(path: Path) -> None:
    """Half of the file is gone."""
    path.write_text(path.read_text()[: path.stat().st_size // 2])


def without_a_point(path: Path) -> None:
    """A line in the middle is gone."""
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-4] + lines[-3:]))


def of_another_kind(path: Path) -> None:
    """Other JSON."""
    path.write_text('{"a": 1}\n')


def in_other_letters(path: Path) -> None:
    """No text."""
    path.write_bytes(b"\xff" + path.read_bytes())


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (cut, "damaged"),
        (without_a_point, "damaged"),
        (of_another_kind, "damaged"),
        (in_other_letters, "damaged"),
        (Path.unlink, "missing"),
    ],
)
def test_what_is_not_whole_is_worked_out(
    damage: Callable[[Path], None], word: str, finished: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    damage(run / "front.json")
    result = shown(run)
    assert result.exit_code == 0
    assert result.stdout == (finished / "front.json").read_text()
    assert result.stderr == f"note: front.json is {word}; this front is of the recorded designs\n"
    shutil.rmtree(run / "designs")
    result = shown(run)
    assert result.exit_code == 2 and not result.stdout
    assert f"front.json: is {word}, and no designs are recorded" in result.stderr


def test_one_of_any_size_is_shown_a_piece_at_a_time(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len((finished / "front.csv").read_text().splitlines()) - 1
    assert size > 3
    for piece in (1, 3, 64):  # a point begins in one piece and goes on in the next
        monkeypatch.setattr(paths, "_PIECE", piece)
        assert front.is_whole(finished / "front.json", size)
        assert not front.is_whole(finished / "front.json", size + 1)
    monkeypatch.setattr(paths, "_PIECE", 64)
    result = shown(finished)
    assert result.stdout == (finished / "front.json").read_text() and not result.stderr


def test_one_that_somebody_laid_out_otherwise(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    content = json.loads((run / "front.json").read_bytes())
    (run / "front.json").write_text(json.dumps(content))
    result = shown(run)
    assert result.stdout == json.dumps(content) and not result.stderr


def test_neighbours_of_a_front_that_is_not_whole_are_drawn(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    cut(run / "front.json")
    assert shown(run, "--uncertainty").exit_code == 0
