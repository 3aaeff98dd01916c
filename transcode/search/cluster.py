"""`--cluster`: the workers of a Dask scheduler evaluate, on other machines if need be.

Dask sends Python objects that run whatever they say. So its messages go over loopback, or over
TLS with certificates on both sides; anything else is refused.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import logging
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

from elector.base.errors import EvaluationError, InputError
from transcode.extras import installing
from transcode.objective import Problem
from transcode.runs import manifest
from transcode.runs.patience import Silent, within
from transcode.search.workers import Crew

#: Seconds a scheduler may take to answer, all its workers to say what they are (they import this
#: program), and how often a task is tried on another worker.
ANSWER, ANSWERS, RETRIES = 15.0, 60.0, 5
#: Seconds that a scheduler may be without any worker: one that is replaced is waited for.
ALONE = 60.0
_CLOSED = "a scheduler does so that does not know the certificate, or speaks tcp:// and not tls://"
_AUTHORITY = "distributed.comm.tls.ca-file in Dask's configuration names the authority of both"
_ADDRESS = re.compile(r"(?:(?P<kind>\w+)://)?(?P<host>\[[0-9a-fA-F:]+\]|[^:/\s]+):(?P<port>\d+)/?")


def checked(text: str) -> str:
    """The address of a scheduler, in Dask's form. Raises InputError for what is not safe.

    text : as `--cluster` has it.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise InputError(
            "is not the address of a scheduler",
            field="--cluster",
            value=text,
            allowed=("tls://HOST:PORT", "tcp://127.0.0.1:PORT"),
        )
    kind, host = match["kind"] or "tcp", match["host"]
    if kind not in ("tcp", "tls"):
        raise InputError("must be tls:// or tcp://", field="--cluster", value=text)
    if kind == "tcp" and not _is_loopback(host):
        raise InputError(
            "would send programs over the network in the clear",
            field="--cluster",
            value=text,
            hint="tls://, with the certificates in Dask's configuration (distributed.comm.tls)",
        )
    if importlib.util.find_spec("distributed") is None:
        raise InputError(f"needs Dask: {installing('cluster')}", field="--cluster")
    if kind == "tls":
        _require_certificates()
    return f"{kind}://{host}:{match['port']}"


def _require_certificates() -> None:
    """Refuses TLS where Dask's configuration names no certificates that can be read."""
    from distributed.security import Security

    try:
        context = Security().get_connection_args("client").get("ssl_context")
    except OSError as error:
        raise InputError(
            f"the certificates of Dask's configuration cannot be read: {error}", field="--cluster"
        ) from None
    if context is None:
        raise InputError(
            "tls:// needs certificates in Dask's configuration",
            field="--cluster",
            hint="distributed.comm.tls.ca-file and client.cert, client.key",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@contextmanager
def crew_of(address: str | None, problem: Problem, jobs: int) -> Iterator[Crew]:
    """Those who evaluate: processes of this machine, or the workers of a scheduler.

    address : of a scheduler, None for this machine. jobs : processes of this machine.
    """
    if address is None:
        yield Crew(problem, jobs)
        return
    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    client = _client(address)
    try:
        _quiet()
        workers = _alike(client, address)
        executor = client.get_executor(pure=False, retries=RETRIES)
        crew = Crew(problem, max(jobs, workers), executor, _watch(client, address))
        if not crew.many:
            raise InputError(
                "this search cannot be sent to other machines: its evaluator lives in this process",
                field="--cluster",
            )
        yield crew
    except (KilledWorker, CommClosedError, CancelledError) as error:
        raise EvaluationError(
            f"{address}: the scheduler or its workers are gone ({type(error).__name__}); "
            "the same command goes on"
        ) from None
    finally:
        client.close(timeout=ANSWER)


def _watch(client: Any, address: str) -> Callable[[], None]:
    """Raises EvaluationError where a scheduler has been without any worker for long."""
    seen = time.monotonic()

    def look() -> None:
        nonlocal seen
        now = time.monotonic()
        if client.scheduler_info().get("workers"):
            seen = now
        elif now - seen > ALONE:
            raise EvaluationError(
                f"{address}: has been without a worker for {ALONE:g} s; the same command goes on"
            )

    return look


def _quiet() -> None:
    """Keeps to ourselves what Dask logs of a connection that is lost: we say it in a line."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _client(address: str) -> Any:
    from distributed import Client
    from distributed.comm import CommClosedError

    def connected() -> Any:
        return Client(address, timeout=ANSWER, set_as_default=False)

    try:  # a scheduler that accepts and says nothing would hold Dask's own time limit for ever
        return within(ANSWER + 2.0, connected)
    except Silent as error:
        raise InputError(f"{address}: {error}", field="--cluster") from None
    except (OSError, TypeError, ValueError, RuntimeError) as e:  # a time limit is an OSError
        words = (str(e).splitlines() or [type(e).__name__])[0]
        hint = None
        if "certificate does not match" in words:
            words, hint = "has a certificate of another authority than ours", _AUTHORITY
        elif isinstance(e, CommClosedError):
            words, hint = "closed the connection at once", _CLOSED
        raise InputError(f"{address}: {words}", field="--cluster", hint=hint) from None


def _alike(client: Any, address: str) -> int:
    """Workers there are. Raises InputError for none, or for another simulator on one of them."""
    try:
        simulators = within(ANSWERS, lambda: client.run(manifest.simulator))
    except Silent as error:
        raise InputError(f"{address}: a worker {error}", field="--cluster") from None
    except (ImportError, OSError, TimeoutError) as error:
        raise InputError(
            f"{address}: a worker cannot run this program ({error})",
            field="--cluster",
            hint=f"this program has to be installed there, too: {installing('cluster')}",
        ) from None
    if not simulators:
        raise InputError(f"{address}: has no workers", field="--cluster")
    for worker, simulator in simulators.items():
        if simulator != manifest.simulator():
            raise InputError(f"{worker}: has another version of the simulator", field="--cluster")
    return len(simulators)
