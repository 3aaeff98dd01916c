"""Outputs by the name of a link: what it leads to is written, and keeps its permissions."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from commands import run

from transcode.cli.commands import main

TABLE = "model,accelerator\nbert-tiny,systolic\n"
SPACE = """\
name: s
model: {base: bert-tiny}
accelerator: {base: systolic, rows: [16, 32]}
objectives: {latency_s: min, energy_j: min}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table and a space, where the commands run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text(TABLE)
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path


def transcode(*words: str) -> Result:
    """One call of the command."""
    return CliRunner().invoke(main, list(words))


WRITERS: dict[str, tuple[Callable[..., Result], tuple[str, ...]]] = {
    "costs.csv": (run, ("sweep", "table.csv", "--out")),
    "page.html": (run, ("report", "bert-tiny", "systolic", "--out")),
    "spans.json": (run, ("trace", "bert-tiny", "systolic", "--out")),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("there", [True, False])
def test_what_a_link_leads_to_is_written(name: str, there: bool, folder: Path) -> None:
    command, words = WRITERS[name]
    (folder / "deep").mkdir()
    real, link = folder / "deep" / f"real-{name}", folder / name
    link.symlink_to(real)
    if there:
        real.write_text("old")
        real.chmod(0o600)
    result = command(*words, name)
    assert result.exit_code == 0, result.output
    assert link.is_symlink() and len(real.read_text()) > 100
    assert not there or stat.S_IMODE(real.stat().st_mode) == 0o600
    assert [p.name for p in (folder / "deep").iterdir()] == [real.name]


def test_permissions_of_a_file_that_is_replaced_stay(folder: Path) -> None:
    for mode in (0o600, 0o664):
        (folder / "costs.csv").write_text("old")
        (folder / "costs.csv").chmod(mode)
        assert run("sweep", "table.csv", "--out", "costs.csv").exit_code == 0
        assert stat.S_IMODE((folder / "costs.csv").stat().st_mode) == mode


def test_a_folder_that_is_a_link_to_nothing(folder: Path) -> None:
    (folder / "away").symlink_to(folder / "nowhere")
    for out in ("away", "away/deeper"):
        result = transcode("search", "space.yaml", "--quiet", "--out", out)
        assert result.exit_code == 2
        assert f"{out}: --out: is no directory: away is a link to what is not" in result.stderr
    assert not (folder / "nowhere").exists()
    assert (
        "table.csv: --out: is a file" in transcode("search", "smoke", "--out", "table.csv").stderr
    )


def test_a_run_in_a_folder_behind_a_link(folder: Path) -> None:
    (folder / "real").mkdir()
    (folder / "run").symlink_to("real")
    assert transcode("search", "space.yaml", "--quiet", "--out", "run").exit_code == 0
    assert (folder / "real" / "front.csv").exists() and (folder / "run").is_symlink()
