"""Several searches on one study in PostgreSQL: workers and servers that die or fall silent."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from search_fakes import fake
from test_storage import PASSWORD, QUOTED, designs_of, search, settings

import transcode
from elector.base.errors import EvaluationError, InputError
from transcode.runs import storage

WORKER = Path(__file__).with_name("storage_worker.py")


def postgres_program(name: str) -> str:
    """A program of the server, which Debian does not put on the path."""
    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    paths = [shutil.which(name), *map(str, packaged)]
    programs = [f for f in paths if f]
    if not programs:
        pytest.skip(f"PostgreSQL is not installed ({name}): apt-get install postgresql")
    return programs[-1]


def state_of(process: int) -> str:
    """R, S, Z ... of a process; Z where it has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


class Server:
    """A PostgreSQL server of its own, as a user of its own: it refuses to run as root."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.user = folder, None
        if os.getuid() == 0:
            known = {entry.pw_name for entry in pwd.getpwall()}
            self.user = next(name for name in ("postgres", "nobody") if name in known)
            shutil.chown(folder, self.user)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        (folder / "password").write_text(PASSWORD)
        if self.user:
            shutil.chown(folder / "password", self.user)
        self.data = str(folder / "data")
        self.run(
            "initdb",
            "-D",
            self.data,
            "-U",
            "anna",
            "-A",
            "scram-sha-256",
            "--pwfile",
            str(folder / "password"),
            "-E",
            "UTF8",
            "--no-sync",
        )
        self.start()

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off -k {self.folder}"
        self.run(
            "pg_ctl", "-D", self.data, "-w", "-l", str(self.folder / "log"), "-o", options, "start"
        )

    def stop(self) -> None:
        self.run("pg_ctl", "-D", self.data, "-m", "immediate", "stop")

    def kill(self) -> None:
        """As a machine's memory killer does, or a machine that goes: all at once, nothing said."""
        for process in self.silence(signal.SIGKILL):
            while state_of(process) != "Z":
                time.sleep(0.05)
        # where nobody collects the dead, their numbers seem to be in use
        for lock in (self.folder / "data" / "postmaster.pid", *self.folder.glob(".s.PGSQL*")):
            lock.unlink()

    def silence(self, sign: signal.Signals) -> tuple[int, ...]:
        """Stops every process of the server where it is, or lets all go on; which these are."""
        first = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        tasks = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        processes = (first, *map(int, tasks))
        for process in processes:
            os.kill(process, sign)
        return processes

    def run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [postgres_program(program), *arguments],
            user=self.user,
            cwd=self.folder,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    @property
    def url(self) -> str:
        return f"postgresql://anna:{QUOTED}@127.0.0.1:{self.port}/postgres"


@pytest.fixture
def server() -> Iterator[Server]:
    postgres_program("initdb")
    with tempfile.TemporaryDirectory(prefix="transcode-pg-") as name:
        server = Server(Path(name))
        try:
            yield server
        finally:
            server.stop()


def worker(url: str, folder: Path, budget: int, marker: Path, hang_at: int = 0) -> Any:
    paths = f"{WORKER.parent}{os.pathsep}{WORKER.parent.parent.parent}"
    return subprocess.Popen(
        [sys.executable, str(WORKER), str(folder), str(budget), "0.3", str(marker), str(hang_at)],
        env={**os.environ, "TRANSCODE_STORAGE": url, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.extras("psycopg")
def test_a_killed_worker_loses_nothing(server: Server, tmp_path: Path) -> None:
    """Two processes, one killed while it evaluates: its design is tried again by the other."""
    marker, budget = tmp_path / "hangs", 40
    victim = worker(server.url, tmp_path / "b", budget, marker, hang_at=4)
    survivor = worker(server.url, tmp_path / "a", budget, marker)
    while not marker.exists():
        assert victim.poll() is None, victim.stderr.read()
        time.sleep(0.05)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    _, said = survivor.communicate(timeout=300)
    assert survivor.returncode == 0, said
    study = optuna.load_study(study_name="small", storage=storage.address(server.url).url)
    states = {t.number: t.state.name for t in study.get_trials()}
    retried = [t for t in study.get_trials() if "failed_trial" in t.system_attrs]
    assert [t.state.name for t in retried] == ["COMPLETE"]
    lost = study.get_trials()[retried[0].system_attrs["failed_trial"]]
    assert lost.state.name == "FAIL" and lost.params == retried[0].params
    assert "RUNNING" not in states.values()
    frame = designs_of(tmp_path / "a")
    assert len(frame) == len(settings(frame)) == budget
    assert len(designs_of(tmp_path / "b")) >= 3, "what the victim had committed is there"
    again = worker(server.url, tmp_path / "b", budget, marker)
    _, said = again.communicate(timeout=300)
    assert again.returncode == 0, said
    assert settings(designs_of(tmp_path / "b")) == settings(frame)
    fronts = [pd.read_csv(tmp_path / run / "front.csv").drop(columns="id") for run in "ab"]
    pd.testing.assert_frame_equal(fronts[0], fronts[1])
    for path in (tmp_path / "a").rglob("*"):
        text = path.read_bytes() if path.is_file() else b""
        assert PASSWORD.encode() not in text and QUOTED.encode() not in text, path


@pytest.mark.slow
@pytest.mark.extras("psycopg")
def test_a_wrong_password_and_a_server_that_goes_away(
    server: Server, small: dict[str, Any], tmp_path: Path
) -> None:
    wrong = server.url.replace(QUOTED, "wr0ng-word")
    with pytest.raises(InputError, match="password authentication failed") as refused:
        search(small, tmp_path / "a", wrong, 3)
    assert "wr0ng-word" not in str(refused.value)
    calls = 0

    def stops(columns: Any, size: int) -> Any:
        nonlocal calls
        calls += size == 1
        if size == 1 and calls == 5:
            server.stop()
        return fake(columns, size)

    with pytest.raises(EvaluationError, match=r"127\.0\.0\.1") as failed:
        transcode.search(
            small,
            sampler="nsga2",
            budget=9,
            out=tmp_path / "a",
            evaluator=stops,
            storage=server.url,
        )
    assert PASSWORD not in str(failed.value) and QUOTED not in str(failed.value)
    assert len(designs_of(tmp_path / "a")) == 4
    server.start()
    result = search(small, tmp_path / "a", server.url, 9)
    assert result.manifest["designs"] == 9
    assert QUOTED not in (tmp_path / "a" / "manifest.json").read_text()


@pytest.mark.slow
@pytest.mark.extras("psycopg")
@pytest.mark.parametrize("at", [2, 5, 8])
def test_a_server_that_is_killed(
    server: Server, small: dict[str, Any], tmp_path: Path, at: int
) -> None:
    """kill -9 of every process of the server: nothing committed is lost, nothing is done twice."""
    if not Path("/proc/self/task").exists():
        pytest.skip("no /proc to find the processes of the server in")
    calls = 0

    def kills(columns: Any, size: int) -> Any:
        nonlocal calls
        calls += size == 1
        if size == 1 and calls == at:
            server.kill()
        return fake(columns, size)

    with pytest.raises(EvaluationError, match=r"127\.0\.0\.1") as failed:
        transcode.search(
            small,
            sampler="nsga2",
            budget=12,
            out=tmp_path / "a",
            evaluator=kills,
            storage=server.url,
        )
    assert PASSWORD not in str(failed.value) and len(str(failed.value).splitlines()) <= 2
    assert len(designs_of(tmp_path / "a")) == at - 1
    assert len(transcode.front(tmp_path / "a")) > 0, "the folder can be read without the server"
    with pytest.raises((InputError, EvaluationError), match=r"127\.0\.0\.1"):
        search(small, tmp_path / "a", server.url, 12)  # it is still gone
    assert len(designs_of(tmp_path / "a")) == at - 1
    server.start()
    result = search(small, tmp_path / "a", server.url, 12)
    assert result.manifest["designs"] == 12
    assert len(settings(designs_of(tmp_path / "a"))) == 12
    study = optuna.load_study(study_name="small", storage=storage.address(server.url).url)
    kept = [t for t in study.get_trials() if "results" in t.user_attrs]
    assert len(kept) == 12


@pytest.mark.slow
@pytest.mark.extras("psycopg")
def test_a_server_that_falls_silent_in_a_search(
    server: Server, small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/proc/self/task").exists():
        pytest.skip("no /proc to find the processes of the server in")
    monkeypatch.setattr(storage, "ANSWER", 3.0)
    calls, begin = 0, [0.0]

    def stops(columns: Any, size: int) -> Any:
        nonlocal calls
        calls += size == 1
        if size == 1 and calls == 5:
            server.silence(signal.SIGSTOP)
            begin[0] = time.monotonic()
        return fake(columns, size)

    try:
        with pytest.raises(EvaluationError, match=r"127\.0\.0\.1") as failed:
            transcode.search(
                small,
                sampler="nsga2",
                budget=9,
                out=tmp_path / "a",
                evaluator=stops,
                storage=server.url,
            )
        assert time.monotonic() - begin[0] < 1.8 * storage.ANSWER, "waited for more than once"
        assert "did not answer within 3 s" in str(failed.value)
    finally:
        server.silence(signal.SIGCONT)
    assert len(designs_of(tmp_path / "a")) == 4
    result = search(small, tmp_path / "a", server.url, 9)
    assert result.manifest["designs"] == 9
