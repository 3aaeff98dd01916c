"""A disk that is full for real: the search says what is safe, and goes on when there is room.

A small file system of its own where this machine lets us mount one, or where one was mounted
beside the checkout for whoever may not (`.ci/run` does); and everywhere the limit of the
operating system on the size of a file.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from programs import run as program

from elector.cli.commands import main as elector
from transcode.cli import main

#: Enough for the manifest and some batches, not for all of them nor for the study [bytes].
FILE_SYSTEM, FILE = 200 * 1024, 9 * 1024
#: A small file system that somebody else mounted.
MOUNTED = Path(__file__).resolve().parents[3] / "small-disk"
SEARCH = ("search", "smoke", "--sampler", "evolve", "--budget", "2000", "--quiet", "--out")


@dataclass
class Disk:
    """A folder without room. reason : of the operating system.

    prepare : what a process does before it meets the limit. free : makes room.
    """

    folder: Path
    reason: str
    prepare: Callable[[], None] | None
    free: Callable[[], None]


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.fixture(params=["file system", "size of a file"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "size of a file":
        resource = pytest.importorskip("resource", reason="not a Unix: no limits to set")
        disk = Disk(
            tmp_path,
            "File too large",
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE)),
            lambda: None,
        )
        disk.free = lambda: setattr(disk, "prepare", None)
        yield disk
        return
    yield from filled(MOUNTED) if MOUNTED.is_mount() else mounted(tmp_path / "disk")


def filled(folder: Path) -> Iterator[Disk]:
    """A file system of some megabytes, filled up but for as much as `mounted` makes."""
    there = os.statvfs(folder)
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(there.f_bavail * there.f_frsize - FILE_SYSTEM))
    try:
        yield Disk(folder, "No space left on device", None, lambda: ballast.unlink())
    finally:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def mounted(folder: Path) -> Iterator[Disk]:
    folder.mkdir()
    if sys.platform != "linux":
        pytest.skip("no tmpfs to mount: not Linux")
    size = f"size={FILE_SYSTEM}"
    made = command("mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder))
    if made.returncode:
        pytest.skip(f"a file system cannot be mounted here: {made.stderr.strip()}")
    try:
        larger = ("mount", "-o", "remount,size=64m", str(folder))
        yield Disk(
            folder, "No space left on device", None, lambda: command(*larger).check_returncode()
        )
    finally:
        command("umount", "--lazy", str(folder))


def search(disk: Disk) -> subprocess.CompletedProcess[str]:
    """The search in a process of its own, on that disk."""
    return program("transcode", *SEARCH, str(disk.folder / "run"), first=disk.prepare)


@pytest.mark.slow
def test_a_search_says_what_is_safe_and_goes_on(disk: Disk, tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", disk.folder / "run"
    assert CliRunner().invoke(main, [*SEARCH, str(whole)]).exit_code == 0
    expected = pd.read_parquet(whole / "designs")
    for _ in range(2):  # the second time there is still no room
        full = search(disk)
        assert full.returncode == 1 and full.stdout == "", full.stderr
        assert "Traceback" not in full.stderr
        said = re.fullmatch(
            rf"Error: {re.escape(str(run))}: cannot be written: {disk.reason}; (\d+) batches are "
            r"safe, the same command goes on from there\n",
            full.stderr,
        )
        assert said, full.stderr
        safe = pd.read_parquet(run / "designs")  # every part there is can be read
        assert int(said[1]) == len(list((run / "designs").iterdir())) > 2, "nothing half written"
        pd.testing.assert_frame_equal(safe, expected.head(len(safe)))
        assert 100 < len(safe) < len(expected)
    disk.free()
    done = search(disk)
    assert done.returncode == 0, done.stderr
    for name in ("front.csv", "front.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    pd.testing.assert_frame_equal(pd.read_parquet(run / "designs"), expected)
    assert not list(run.rglob("*.tmp"))


def test_other_commands_on_a_full_disk_fail_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(
        "name: least\nmodel: {base: bert-tiny}\naccelerator: {base: systolic, rows: [16, 32]}\n"
        "objectives: {latency_s: min, energy_j: min}\n"
    )
    assert CliRunner().invoke(main, ["search", "space.yaml", "--out", "run"]).exit_code == 0
    for name in ("full.png", "full.xml", "full.csv", "full.json"):  # never the device itself
        Path(name).symlink_to("/dev/full")
    for command, words in (
        (main, ["plot", "run", "--out", "full.png"]),
        (main, ["compare", "run", "run", "--out", "full.png"]),
        (main, ["check", "run", "--require", "front >= 1", "--junit", "full.xml"]),
        (elector, ["sweep", "run/front.csv", "--out", "full.csv"]),
        (elector, ["trace", "bert-tiny", "systolic", "--out", "full.json"]),
    ):
        done = CliRunner().invoke(command, words)
        assert done.exit_code == 1, (words, done.output)
        assert done.stderr.endswith(f"{words[-1]}: cannot be written: No space left on device\n")
        assert Path(words[-1]).is_symlink(), "a device is written to, not replaced"
    absent = CliRunner().invoke(main, ["plot", "run", "--out", "absent/front.png"])
    assert absent.exit_code == 2 and "cannot be written: No such file" in absent.stderr


def test_a_merge_says_that_nothing_is_kept(disk: Disk, tmp_path: Path) -> None:
    if disk.prepare is not None:
        pytest.skip("its files are many, and small")
    run, out = tmp_path / "merged-run", disk.folder / "all"
    space = tmp_path / "merged.yaml"
    space.write_text(
        "model: {base: encoder, layers: [2, 4, 6, 8], hidden: [128, 256, 512], heads: [2, 4]}\n"
        "accelerator: {base: systolic, rows: [16, 32, 64], cols: [16, 32, 64], "
        "dataflow: [ws, os, is]}\nobjectives: {latency_s: min, energy_j: min}\n"
    )
    words = ("search", space, "--sampler", "enumerate", "--batch", "8", "--quiet", "--out", run)
    assert CliRunner().invoke(main, [*map(str, words)]).exit_code == 0
    done = program("transcode", "merge", str(run), str(run), "--out", str(out))
    kept = "nothing of it is kept, and the runs are as they were"
    assert done.returncode == 1 and done.stderr.count("Error:") == 1, done.stderr
    assert f"{out}: cannot be written: {disk.reason}; {kept}" in done.stderr, done.stderr
    assert not list(out.glob("*.json")) and not list(out.glob("designs/*"))
