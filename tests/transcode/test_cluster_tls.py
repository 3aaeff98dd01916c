"""`--cluster tls://` for real: certificates made here, a scheduler and two workers on loopback."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from search_fakes import fake

import transcode
from elector.base.errors import InputError
from transcode.search import cluster

ROOT = Path(__file__).resolve().parent.parent.parent
SEARCH = ("search", "bert", "--sampler", "evolve", "--budget", "100000", "--quiet")
#: Seconds a refusal may take: the time limit of the program, and its start.
BOUND = cluster.ANSWER + 30.0


class Certificates:
    """Two authorities, `ours` and `theirs`, and a certificate of each; for two days."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        for name in ("ours", "theirs"):
            ca, node = f"{name}-ca", f"{name}-node"
            self.openssl(
                "req",
                "-x509",
                *key,
                "-keyout",
                f"{ca}.key",
                "-out",
                f"{ca}.pem",
                "-days",
                "2",
                "-subj",
                f"/CN={ca}",
            )
            self.openssl(
                "req", *key, "-keyout", f"{node}.key", "-out", f"{node}.csr", "-subj", f"/CN={node}"
            )
            self.openssl(
                "x509",
                "-req",
                "-in",
                f"{node}.csr",
                "-out",
                f"{node}.pem",
                "-days",
                "2",
                "-CA",
                f"{ca}.pem",
                "-CAkey",
                f"{ca}.key",
                "-CAcreateserial",
            )

    def openssl(self, *words: str) -> None:
        program = shutil.which("openssl")
        if program is None:
            pytest.skip("no openssl to make certificates with")
        done = subprocess.run(
            [program, *words], cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def of(self, authority: str, node: str) -> dict[str, str]:
        """Dask's configuration of one who trusts an authority and shows a certificate."""
        begin = "DASK_DISTRIBUTED__COMM__TLS__"
        paths = {f"{begin}CA_FILE": f"{authority}-ca.pem"}
        for role in ("CLIENT", "SCHEDULER", "WORKER"):
            paths |= {
                f"{begin}{role}__CERT": f"{node}-node.pem",
                f"{begin}{role}__KEY": f"{node}-node.key",
            }
        return {name: str(self.folder / file) for name, file in paths.items()}


@dataclass
class Machines:
    """A scheduler and two workers that trust `ours`."""

    certificates: Certificates
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    address: str = ""

    def environment(self, authority: str, node: str) -> dict[str, str]:
        own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return {**os.environ, **own, **self.certificates.of(authority, node)}

    def start(self, program: str, *options: str) -> None:
        self.processes.append(
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    f"distributed.cli.{program}",
                    *options,
                    "--host",
                    "127.0.0.1",
                    "--protocol",
                    "tls",
                    "--no-dashboard",
                ],
                env=self.environment("ours", "ours"),
                cwd=self.certificates.folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )

    def worked(self) -> list[float]:
        """Seconds of processor time of each worker so far."""
        import psutil

        return [psutil.Process(p.pid).cpu_times().user for p in self.processes[1:]]

    def search(
        self, out: Path, authority: str, node: str, *more: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable,
                "-c",
                "from transcode.cli import main; main()",
                *SEARCH,
                "--out",
                str(out),
                *more,
            ],
            env=self.environment(authority, node),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    folder = tmp_path_factory.mktemp("tls")
    servers = Machines(Certificates(folder))
    file = folder / "scheduler.json"
    try:
        servers.start("dask_scheduler", "--port", "0", "--scheduler-file", str(file))
        limit = time.monotonic() + 120.0
        while not file.exists():
            assert time.monotonic() < limit and servers.processes[0].poll() is None
            time.sleep(0.1)
        servers.address = str(json.loads(file.read_text())["address"])
        for _ in range(2):
            servers.start("dask_worker", servers.address, "--no-nanny", "--nthreads", "1")
        wait_for_workers(servers)
        yield servers
    finally:
        for process in servers.processes:
            process.kill()
            process.wait()


def wait_for_workers(machines: Machines) -> None:
    from distributed import Client, Security

    at = machines.certificates.folder
    security = Security(
        tls_ca_file=str(at / "ours-ca.pem"),
        require_encryption=True,
        tls_client_cert=str(at / "ours-node.pem"),
        tls_client_key=str(at / "ours-node.key"),
    )
    with Client(machines.address, timeout=60, set_as_default=False, security=security) as client:
        client.wait_for_workers(2, timeout=120)


@pytest.mark.slow
@pytest.mark.extras("distributed")
def test_the_front_is_that_of_one_machine(machines: Machines, tmp_path: Path) -> None:
    assert machines.address.startswith("tls://127.0.0.1:")
    before = machines.worked()
    far = machines.search(tmp_path / "far", "ours", "ours", "--cluster", machines.address)
    assert far.returncode == 0, far.stderr
    spent = [now - then for now, then in zip(machines.worked(), before, strict=True)]
    assert min(spent) > 1.0, "the workers did nothing"
    near = machines.search(tmp_path / "near", "ours", "ours", "--jobs", "1")
    assert near.returncode == 0, near.stderr
    manifest = json.loads((tmp_path / "far" / "manifest.json").read_text())
    assert manifest["designs"] == 100_000
    for name in ("front.csv", "front.json"):
        assert (tmp_path / "far" / name).read_bytes() == (tmp_path / "near" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.extras("distributed")
@pytest.mark.parametrize(
    ("authority", "node", "words"),
    [
        ("theirs", "ours", "has a certificate of another authority than ours"),
        ("theirs", "theirs", "has a certificate of another authority than ours"),
        ("ours", "theirs", "closed the connection at once"),
    ],
)
def test_certificates_of_another_authority(
    machines: Machines, tmp_path: Path, authority: str, node: str, words: str
) -> None:
    begin = time.monotonic()
    done = machines.search(tmp_path / "run", authority, node, "--cluster", machines.address)
    assert done.returncode == 2 and time.monotonic() - begin < BOUND
    lines = done.stderr.splitlines()
    assert lines[0] == f"Error: --cluster: {machines.address}: {words}"
    assert len(lines) == 2 and lines[1].startswith("  hint: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.extras("distributed")
def test_in_the_clear_nobody_is_let_in(machines: Machines, tmp_path: Path) -> None:
    clear = machines.address.replace("tls://", "tcp://")
    done = machines.search(tmp_path / "run", "ours", "ours", "--cluster", clear)
    assert done.returncode == 2
    assert f"--cluster: {clear}: closed the connection at once" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "run").exists()


@pytest.mark.extras("distributed")
def test_a_scheduler_that_accepts_and_says_nothing(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask's own time limit does not hold here: it waits for ever."""
    monkeypatch.setattr(cluster, "ANSWER", 0.5)
    begin = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(InputError, match=rf"{address}: did not answer within"):
            transcode.search(small, cluster=address, out=tmp_path / "a", evaluator=fake, budget=50)
    assert time.monotonic() - begin < 10.0
    assert not (tmp_path / "a").exists()
