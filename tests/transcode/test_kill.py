"""kill -9 at random moments: what was committed stays, and the end is as if nothing had been."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
BUDGET = 300_000
CODE = "from transcode.cli import main; main()"


def start(folder: Path, jobs: int) -> subprocess.Popen[bytes]:
    """A search in a group of its own."""
    words = [
        "search",
        str(ROOT / "spaces" / "bert.yaml"),
        "--sampler",
        "evolve",
        "--quiet",
        "--budget",
        str(BUDGET),
        "--jobs",
        str(jobs),
        "--out",
        str(folder),
    ]
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def count(folder: Path) -> int:
    """Part files there are."""
    return len(list((folder / "designs").glob("part-*")))


def committed(folder: Path) -> pd.DataFrame:
    """The designs there are, in order."""
    if not list((folder / "designs").glob("part-*")):
        return pd.DataFrame()
    designs = pd.read_parquet(folder / "designs")
    return designs.drop_duplicates("id").sort_values("id", ignore_index=True)


@pytest.mark.slow
def test_ten_kills(tmp_path: Path) -> None:
    begin = time.monotonic()
    whole = start(tmp_path / "whole", 1)
    assert whole.wait() == 0, whole.stderr
    lasted = time.monotonic() - begin
    expected = committed(tmp_path / "whole")
    assert len(expected) == BUDGET
    draw, folder, before = random.Random(0), tmp_path / "killed", 0
    for kill in range(10):
        run = start(folder, 1 + kill % 3)
        parts = count(folder)
        while count(folder) <= parts and run.poll() is None:
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 0.04) * lasted)
        assert run.poll() is None, "it ended too soon"
        os.kill(run.pid, signal.SIGKILL)  # the search only: its workers end by themselves
        run.wait()
        now = committed(folder)
        assert len(now) > before, "a committed batch is gone"
        assert now.equals(expected.head(len(now)))
        before = len(now)
    assert start(folder, 2).wait() == 0
    pd.testing.assert_frame_equal(committed(folder), expected)
    assert (folder / "front.csv").read_bytes() == (tmp_path / "whole" / "front.csv").read_bytes()
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(folder / "study.log"))
    )
    study = optuna.load_study(study_name="bert", storage=storage)
    front = pd.read_csv(folder / "front.csv")
    assert len(study.trials) == min(len(front), 2000)
    assert {t.user_attrs["id"] for t in study.trials} <= set(front["id"])
