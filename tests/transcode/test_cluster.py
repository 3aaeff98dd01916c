"""A Dask scheduler and its workers on loopback, two of four killed while they work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search_fakes import SMALL, fake

import transcode
from elector.base.errors import EvaluationError, InputError
from transcode.objective import Problem
from transcode.search import cluster, workers
from transcode.space import load

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize(
    "address", ["tcp://10.0.0.7:8786", "scheduler:8786", "tcp://[2001:db8::1]:8786"]
)
def test_programs_are_not_sent_in_the_clear(address: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="in the clear"):
        transcode.search("smoke", cluster=address, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "address", ["", "localhost", "tcp://", "tls://host", "http://a:1", "a b:1"]
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(InputError, match="--cluster"):
        cluster.checked(address)


@pytest.mark.extras("distributed")
def test_loopback_is_taken() -> None:
    assert cluster.checked("127.0.0.1:8786") == "tcp://127.0.0.1:8786"
    assert cluster.checked("tcp://localhost:1") == "tcp://localhost:1"
    assert cluster.checked("tcp://[::1]:8786/") == "tcp://[::1]:8786"


@pytest.mark.extras("distributed")
def test_tls_needs_certificates(tmp_path: Path) -> None:
    import dask

    with pytest.raises(InputError, match="needs certificates"):
        cluster.checked("tls://scheduler.example:8786")
    absent = str(tmp_path / "absent.pem")
    with (
        dask.config.set(
            {"distributed.comm.tls.ca-file": absent, "distributed.comm.tls.client.cert": absent}
        ),
        pytest.raises(InputError, match="cannot be read"),
    ):
        cluster.checked("tls://scheduler.example:8786")


@pytest.mark.extras("distributed")
def test_a_scheduler_that_is_not_there(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "ANSWER", 0.5)
    with pytest.raises(InputError, match=r"tcp://127\.0\.0\.1:9"):
        transcode.search(
            small, cluster="tcp://127.0.0.1:9", out=tmp_path / "a", evaluator=fake, budget=50
        )
    assert not (tmp_path / "a").exists()


@dataclass
class Machines:
    """A scheduler and its workers."""

    file: Path
    environment: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, program: str, *options: str) -> subprocess.Popen[bytes]:
        started = subprocess.Popen(
            [
                sys.executable,
                "-m",
                f"distributed.cli.{program}",
                "--scheduler-file",
                str(self.file),
                "--host",
                "127.0.0.1",
                "--no-dashboard",
                *options,
            ],
            env=self.environment,
            cwd=self.file.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(started)
        return started

    @property
    def address(self) -> str:
        return str(json.loads(self.file.read_text())["address"])


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    servers = Machines(tmp_path / "scheduler.json", environment)
    try:
        servers.start("dask_scheduler", "--port", "0")
        for _ in range(4):
            servers.start("dask_worker", "--no-nanny", "--nthreads", "1")
        wait_for_workers(servers)
        yield servers
    finally:
        for process in servers.processes:
            process.kill()
            process.wait()


def wait_for_workers(machines: Machines) -> None:
    from distributed import Client

    limit = time.monotonic() + 120.0
    while not machines.file.exists():
        assert time.monotonic() < limit
        time.sleep(0.1)
    with Client(machines.address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(4, timeout=120)


@pytest.mark.slow
@pytest.mark.extras("distributed")
def test_two_of_four_workers_killed_and_the_front_is_the_same(
    machines: Machines, tmp_path: Path
) -> None:
    budget, killed = 150_000, threading.Event()

    def kill() -> None:
        for worker in machines.processes[1:3]:
            worker.kill()
        killed.set()

    def progress(seen: transcode.Progress) -> None:
        if seen.designs > budget // 10 and not killed.is_set() and not timers:
            timers.append(threading.Timer(0.1, kill))  # while the next round is under way
            timers[0].start()

    timers: list[threading.Timer] = []
    far = transcode.search(
        "bert",
        sampler="evolve",
        budget=budget,
        out=tmp_path / "far",
        cluster=machines.address,
        progress=progress,
    )
    assert killed.is_set(), "the workers outlived the search: nothing was tested"
    alive = [process.poll() is None for process in machines.processes]
    assert alive == [True, False, False, True, True]
    near = transcode.search("bert", sampler="evolve", budget=budget, out=tmp_path / "near", jobs=1)
    assert far.manifest["designs"] == near.manifest["designs"] == budget
    np.testing.assert_array_equal(far.front.ids, near.front.ids)
    np.testing.assert_array_equal(far.front.objectives, near.front.objectives)


@pytest.mark.slow
@pytest.mark.extras("distributed")
@pytest.mark.parametrize("dies", ["scheduler", "workers"])
def test_nobody_left_is_one_line(
    dies: str, machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "ALONE", 3.0)
    victims = machines.processes[:1] if dies == "scheduler" else machines.processes[1:]

    def kill(seen: transcode.Progress) -> None:
        for process in victims:
            process.kill()

    words = "(are gone|without a worker)"  # whichever is noticed first
    with pytest.raises(EvaluationError, match=rf"{words}.*; the same command goes on"):
        transcode.search(
            "bert",
            sampler="random",
            out=tmp_path / "run",
            cluster=machines.address,
            progress=kill,
        )


class Silence(Executor):
    """Takes work and never answers."""

    def submit(self, *arguments: Any, **named: Any) -> Future[Any]:
        return Future()


def test_who_waits_for_an_answer_looks_whether_somebody_is_there() -> None:
    space = load(SMALL)
    looks: list[int] = []

    def watch() -> None:
        looks.append(len(looks))
        if len(looks) == 2:
            raise EvaluationError("gone")

    crew = workers.Crew(Problem(space, fake), 2, Silence(), watch)
    crew.each = 1.0
    with pytest.raises(EvaluationError, match="gone"):
        crew.assess(space.designs(np.arange(20)))
    assert looks == [0, 1]
