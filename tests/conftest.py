"""What every test may ask for: the reference folder, the peer, the files of this repository.

Before anything else the environment is made the same for everybody.
"""

from __future__ import annotations

import atexit
import gc
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import amounts
import pytest
from hypothesis import HealthCheck, settings
from programs import Done, together

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT.parent / "shared" / "reference"

#: What the person who runs the tests may have set, and no result may depend on: names that
#: begin so are taken out of the environment.
PERSONAL = (
    *("CLICOLOR", "COLORTERM", "COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "TERM", "TTY_"),
    *("LANG", "LC_", "TZ", "PYTHON", "MPL", "MATPLOTLIB", "JPY_", "JUPYTER", "DASK_", "PG"),
    *("GIT_DIR", "GIT_INDEX", "GIT_WORK_TREE", "_ELECTOR", "_TRANSCODE", "TRANSCODE_"),
)


def same_environment() -> None:
    """Makes this process, and every program that a test starts, see what every other sees."""
    for name in list(os.environ):
        if name.startswith(PERSONAL):
            del os.environ[name]
    # Programs that a test starts find this checkout, wherever they run.
    os.environ |= {"LANG": "C.UTF-8", "TERM": "dumb", "TZ": "UTC", "PYTHONPATH": str(ROOT)}
    time.tzset()
    # Whoever started the tests may ignore signals (nohup, a job of a script); programs inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if not os.access(os.environ.get("HOME", ""), os.W_OK):  # where matplotlib keeps its fonts
        os.environ["HOME"] = home = tempfile.mkdtemp(prefix="transcode-home-")
        atexit.register(shutil.rmtree, home, ignore_errors=True)


same_environment()

# The same examples in every run: a red test must be red again when somebody looks at it.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("quick", settings.get_profile("repeatable"), max_examples=40)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_configure(config: pytest.Config) -> None:
    """Where the slow tests are left out, those that draw at random draw less."""
    amounts.quick = config.option.markexpr == "not slow"
    if amounts.quick and "HYPOTHESIS_PROFILE" not in os.environ:
        settings.load_profile("quick")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """What was imported and collected stays: the garbage collector need not go through it."""
    gc.collect()
    gc.freeze()


#: Hybrids are made of machines whose laws the quick tests try; their own are tried with the slow.
HYBRIDS = ("hpt", "reram+systolic")
OF_HYBRIDS = ("elector/laws/test_pairs.py", "elector/test_laws.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what cannot run here, each with one line saying what is missing; put off hybrids."""
    for item in items:
        if any(f in item.nodeid for f in OF_HYBRIDS) and any(h in item.name for h in HYBRIDS):
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("reference") and not REFERENCE.is_dir():
            item.add_marker(pytest.mark.skip("reference data absent: ../shared/reference"))
        for marker in item.iter_markers("extras"):
            absent = [name for name in marker.args if importlib.util.find_spec(name) is None]
            if absent:
                item.add_marker(pytest.mark.skip(f"not installed: {', '.join(absent)}"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """The folder with results to compare with; for tests marked `reference`."""
    if not REFERENCE.is_dir():
        pytest.skip("reference data absent: ../shared/reference")
    return REFERENCE


@pytest.fixture(scope="session")
def scalesim_python() -> Path:
    """A Python that can import SCALE-Sim (`make test-all` makes one in .venv-peer)."""
    python = ROOT / ".venv-peer" / "bin" / "python"
    if not python.exists():
        pytest.skip("SCALE-Sim not installed: `make test-all` does it")
    return python


@pytest.fixture(scope="session")
def repository_files() -> list[Path]:
    """Every file that is, or would be, under version control."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = (ROOT / name for name in listed.stdout.split("\0") if name)
    return [file for file in files if file.is_file()]


def _renounce() -> None:
    """Gives up what lets root read everything; a child of root keeps its name, not its power."""
    import ctypes

    drop, capabilities = 24, (1, 2)  # PR_CAPBSET_DROP: CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    for capability in capabilities:
        if ctypes.CDLL(None, use_errno=True).prctl(drop, capability, 0, 0, 0):
            os._exit(77)


@pytest.fixture(scope="session")
def powerless(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Done]]:
    """Runs commands ([program, *words], cwd) as somebody whom permissions bind."""
    root = os.geteuid() == 0
    prepare = _renounce if root else None
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0)
    try:
        look = f"import os; os.listdir({str(closed)!r})"
        tried = subprocess.run(
            [sys.executable, "-c", look], preexec_fn=prepare, capture_output=True, check=False
        )
        if b"PermissionError" not in tried.stderr:
            pytest.skip("root, and its power cannot be given up here")
    finally:
        closed.chmod(0o700)

    def run(commands: Sequence[Sequence[str]], cwd: Path) -> list[Done]:
        return together(commands, cwd, prepare)

    return run
