"""The ranges in pyproject.toml are true: their lower ends go together and pass, so do the newest.

Each environment is installed from a package index; where none answers, the tests skip.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
#: What pytest needs to run with the settings of pyproject.toml.
TESTING = ("hypothesis", "pytest", "pytest-timeout")
#: Tests that between them use every library of the base installation.
SELECTION = (
    "tests/elector/test_cli.py",
    "tests/elector/test_evaluate.py",
    "tests/elector/test_sweepfile.py",
    "tests/elector/test_table.py",
    "tests/elector/test_schedule.py",
    "tests/transcode/test_pareto.py",
    "tests/transcode/test_plot.py",
    "tests/transcode/test_search.py",
    "tests/transcode/test_transcode_cli.py",
)
#: What installers say where nobody answers.
UNREACHABLE = re.compile(
    r"error sending request|dns error|Failed to (fetch|connect)|NewConnectionError|"
    r"Temporary failure in name resolution|ConnectTimeout|ReadTimeout|Max retries exceeded"
)


def lowest(requirement: str) -> tuple[str, str]:
    """Name in normal form and lower bound of a requirement."""
    match = re.match(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", requirement)
    assert match is not None, f"{requirement} has no lower bound"
    return re.sub(r"[-_.]+", "-", match[1]).lower(), match[2]


def ask(words: list[str], *, timeout: float = 900) -> str:
    """What an installer answers; skips where it reaches no index."""
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout
    )
    if done.returncode and UNREACHABLE.search(done.stderr):
        pytest.skip(f"no package index answers: {done.stderr.strip().splitlines()[-1][:200]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_lower_bounds_go_together() -> None:
    """With every extra; a bound that another requirement lifts is no bound that was tested."""
    uv = pytest.importorskip("uv")
    oldest = PROJECT["requires-python"].removeprefix(">=")
    words = ["pip", "compile", "--quiet", "--no-header", "--no-annotate", "--all-extras"]
    words += ["--resolution", "lowest-direct", "--python-version", oldest, "pyproject.toml"]
    resolved = dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", ask([uv.find_uv_bin(), *words]), re.M))
    everything = [*PROJECT["dependencies"], *(r for extra in EXTRAS.values() for r in extra)]
    wanted = dict(lowest(requirement) for requirement in everything)
    lifted = {n: resolved[n] for n, v in wanted.items() if release(resolved[n]) != release(v)}
    assert not lifted, "what pyproject.toml says is lower, or no release at all"


def release(version: str) -> tuple[int, ...]:
    """A release as numbers; 8.2 and 8.2.0 are one."""
    return tuple(int(n) for n in re.sub(r"(\.0)+$", "", version).split("."))


@pytest.mark.parametrize("releases", ["lowest", "newest"])
def test_a_selection_of_tests_passes(releases: str, tmp_path: Path) -> None:
    named = {lowest(requirement)[0]: requirement for requirement in EXTRAS["dev"]}
    wanted = [*PROJECT["dependencies"], *(named[name] for name in TESTING)]
    if releases == "lowest":
        wanted = ["==".join(lowest(requirement)) for requirement in wanted]
    ask([sys.executable, "-m", "venv", str(tmp_path / "env")])
    python = str(tmp_path / "env" / "bin" / "python")
    ask([python, "-m", "pip", "--quiet", "--no-input", "install", *wanted])
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *SELECTION],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    assert re.search(r"\b\d{2,} passed", done.stdout)
