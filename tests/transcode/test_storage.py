"""Several searches on one study in a database: SQLite for the quick tests, PostgreSQL for real."""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from click.testing import CliRunner
from search_fakes import fake

import transcode
from elector.base.errors import EvaluationError, InputError
from transcode.cli import main
from transcode.runs import storage

WORKER = Path(__file__).with_name("storage_worker.py")
PASSWORD = "s3cret-p@ss"
QUOTED = "s3cret-p%40ss"


def search(small: dict[str, Any], folder: Path, url: str, budget: int) -> transcode.Result:
    return transcode.search(
        small, sampler="nsga2", budget=budget, out=folder, evaluator=fake, storage=url
    )


def designs_of(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "designs")


def settings(frame: pd.DataFrame) -> set[tuple[object, ...]]:
    names = [n for n in frame.columns if n.startswith(("model", "accelerator"))]
    return set(frame[names].itertuples(index=False, name=None))


@pytest.mark.slow
def test_two_folders_hold_the_designs_of_both(small: dict[str, Any], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    first = search(small, tmp_path / "a", url, 8)
    second = search(small, tmp_path / "b", url, 14)
    assert first.manifest["designs"] == 8 and second.manifest["designs"] == 14
    assert first.manifest["storage"] == url and first.manifest["batch"] == 1
    a, b = designs_of(tmp_path / "a"), designs_of(tmp_path / "b")
    assert len(settings(b)) == len(b) == 14, "a design was evaluated twice"
    assert settings(a) < settings(b)
    again = search(small, tmp_path / "a", url, 14)
    assert again.manifest["designs"] == 14
    np.testing.assert_array_equal(again.front.objectives, second.front.objectives)
    assert settings(designs_of(tmp_path / "a")) == settings(b)


@pytest.mark.slow
def test_a_lost_folder_comes_back_from_the_storage(small: dict[str, Any], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    before = search(small, tmp_path / "a", url, 10)
    shutil.rmtree(tmp_path / "a")
    after = search(small, tmp_path / "a", url, 10)
    assert after.manifest["designs"] == 10
    np.testing.assert_array_equal(after.front.objectives, before.front.objectives)


@pytest.mark.slow
def test_the_study_is_optunas_own(small: dict[str, Any], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    result = search(small, tmp_path / "a", url, 10)
    study = optuna.load_study(study_name="small", storage=url)
    evaluated = [t for t in study.get_trials() if "results" in t.user_attrs]
    assert len(evaluated) == 10
    assert study.metric_names == ["latency_s", "energy_j"]
    assert {"machine", "area_mm2 <= 120"} <= set(evaluated[0].constraints)
    best = np.array(sorted(t.values for t in study.best_trials if "results" in t.user_attrs))
    np.testing.assert_array_equal(best, result.front.objectives)


@pytest.mark.slow
def test_another_space_is_refused_with_the_difference(
    small: dict[str, Any], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    search(small, tmp_path / "a", url, 3)
    small["accelerator"] = dict(small["accelerator"], rows=[16, 32])
    with pytest.raises(InputError, match=r"accelerator\.rows: \[16, 32, 64, 128\] there"):
        search(small, tmp_path / "b", url, 3)
    assert not (tmp_path / "b").exists()


def test_somebody_elses_study_is_left_alone(small: dict[str, Any], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(study_name="small", storage=url, directions=["minimize"] * 2)
    study.add_trial(optuna.trial.create_trial(values=[1.0, 2.0]))
    with pytest.raises(InputError, match="not made by transcode search"):
        search(small, tmp_path / "a", url, 3)
    assert len(study.get_trials()) == 1


@pytest.mark.slow
def test_a_run_with_and_one_without_storage_do_not_mix(
    small: dict[str, Any], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    search(small, tmp_path / "a", url, 3)
    with pytest.raises(InputError, match=r"storage: sqlite.* there, nothing asked for"):
        transcode.search(small, sampler="nsga2", out=tmp_path / "a", evaluator=fake)
    with pytest.raises(InputError, match="works with Optuna's samplers"):
        transcode.search(small, sampler="evolve", out=tmp_path / "b", storage=url, evaluator=fake)


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://anna:{QUOTED}@127.0.0.1:1/studies",
        f"postgresql://anna:{PASSWORD}@127.0.0.1:1/studies",
        f"postgresql://anna@127.0.0.1:1/studies?password={QUOTED}",
        f"postgresql:/anna:{PASSWORD}@127.0.0.1:1/studies",
        f"postgresql://anna:{PASSWORD}@127.0.0.1:port/studies",
        f"mysql://anna:{PASSWORD}@127.0.0.1/studies",
        f"nonsense {PASSWORD}",
    ],
)
@pytest.mark.extras("psycopg")
def test_no_message_shows_the_password(text: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for arguments, environment in (
        (["--storage", text], {}),
        ([], {"TRANSCODE_STORAGE": text}),
    ):
        said = CliRunner().invoke(
            main, ["search", "smoke", "--out", str(out), *arguments], env=environment
        )
        assert said.exit_code == 2, said.output
        assert PASSWORD not in said.output and QUOTED not in said.output
        assert "--storage" in said.output
    assert not out.exists()


@pytest.mark.parametrize("host", ["host", "host:5432", "10.0.0.1"])
def test_a_password_that_could_be_read_in_two_ways(host: str, tmp_path: Path) -> None:
    """Of `p@ss@host` a reader takes `ss@host` for the host, and would show it."""
    text = f"postgresql://me:pas@kitten@{host}/runs"
    with pytest.raises(InputError) as caught:
        storage.address(text)
    said = str(caught.value)
    assert "%40" in said and "kitten" not in said and "pas@" not in said and host not in said
    if importlib.util.find_spec("psycopg"):
        fine = storage.address(text.replace("pas@", "pas%40"))
        assert fine.shown == f"postgresql://me:***@{host}/runs"


@pytest.mark.parametrize("text", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_in_memory_is_no_storage(text: str) -> None:
    with pytest.raises(InputError, match="names no file"):
        storage.address(text)


def test_the_address_that_is_shown_has_no_password() -> None:
    where = storage.address("sqlite:///a.db?password=hush")
    assert "hush" not in where.shown
    assert "hush" not in where.clean("cannot open sqlite:///a.db?password=hush: hush")


@pytest.mark.extras("psycopg")
def test_a_server_that_says_nothing_is_given_up(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "OPENING", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://anna:{QUOTED}@127.0.0.1:{server.getsockname()[1]}/studies"
        begin = time.monotonic()
        with pytest.raises(InputError, match=r"did not answer within 0\.5 s") as refused:
            search(small, tmp_path / "a", url, 3)
        assert time.monotonic() - begin < 10.0
    assert PASSWORD not in str(refused.value) and QUOTED not in str(refused.value)
    assert not (tmp_path / "a").exists()


def drip(server: socket.socket) -> None:
    """Answers whoever connects, no encryption first, by a byte now and then, and never whole."""
    try:
        connection, _ = server.accept()
        with connection:
            connection.recv(8)
            connection.sendall(b"N")
            for byte in b"R\x00\x00\x00\x40" + bytes(60):
                time.sleep(1.0)
                connection.sendall(bytes([byte]))
    except OSError:
        pass  # given up, as it should be


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["silent", "drips", "closes", "absent"])
@pytest.mark.extras("psycopg")
def test_an_address_without_a_database(tmp_path: Path, kind: str) -> None:
    """As a user meets it, with the time limits as they are: refused, and no password anywhere."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if kind == "absent":
            server.close()
        elif kind == "drips":
            threading.Thread(target=drip, args=(server,), daemon=True).start()
        elif kind == "closes":
            threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        url = f"postgresql://anna:{QUOTED}@127.0.0.1:{port}/studies"
        begin = time.monotonic()
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "from transcode.cli import main; main()",
                "search",
                "smoke",
                "--out",
                "run",
            ],
            env={**os.environ, "TRANSCODE_STORAGE": url, "PYTHONPATH": os.pathsep.join(sys.path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        spent = time.monotonic() - begin
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"Error: --storage: postgresql://anna:***@127.0.0.1:{port}/")
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert spent < storage.OPENING + 15.0, "the limit, and what starting the program takes"
    for secret in (PASSWORD, QUOTED):
        assert secret not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.extras("psycopg")
def test_a_run_whose_database_says_nothing_stays_as_it_is(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(small, tmp_path / "a", f"sqlite:///{tmp_path / 'study.db'}", 4)
    monkeypatch.setattr(storage, "OPENING", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://anna:{QUOTED}@127.0.0.1:{server.getsockname()[1]}/studies"
        manifest = tmp_path / "a" / "manifest.json"
        other = json.loads(manifest.read_text()) | {"storage": storage.address(url).shown}
        manifest.write_text(json.dumps(other))
        before = {p: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}
        with pytest.raises(InputError, match="did not answer within"):
            search(small, tmp_path / "a", url, 8)
    assert {p: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()} == before
    assert not any(s.encode() in b for s in (PASSWORD, QUOTED) for b in before.values())


def test_a_limited_question_returns_raises_or_ends() -> None:
    where = storage.address("sqlite:///a.db")
    assert storage.limited(1.0, where, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        storage.limited(1.0, where, lambda: 1 // 0)
    with pytest.raises(EvaluationError, match="did not answer"):
        storage.limited(0.05, where, lambda: time.sleep(1.0))


# ---- PostgreSQL ----


def postgres_program(name: str) -> str:
    """A program of the server, which Debian does not put on the path."""
    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = [shutil.which(name), *map(str, packaged)]
    programs = [f for f in found if f]
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
        found = (first, *map(int, tasks))
        for process in found:
            os.kill(process, sign)
        return found

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
