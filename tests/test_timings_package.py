"""The data package of kernel timings: absent, another version, or fetched into a cache."""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from sources import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import timings_package

sys.path.remove(str(ROOT / "benchmarks"))
CONTENT = b"id,system\n"


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for the file that tells the version."""
    monkeypatch.setattr(timings_package, "DIGEST", hashlib.sha256(CONTENT).hexdigest())


def unpacked(folder: Path, content: bytes = CONTENT, version: str = "0.12.0") -> Path:
    package = folder / timings_package.FOLDER
    (package / "systems" / "data").mkdir(parents=True)
    (package / timings_package.MARK).write_bytes(content)
    (folder / f"{timings_package.FOLDER}-{version}.dist-info").mkdir()
    return package


def test_what_is_no_such_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"no such folder; .*timings_package.py"):
        timings_package.package(tmp_path / "none")
    with pytest.raises(argparse.ArgumentTypeError, match=r"has no systems.silicon_sample.csv"):
        timings_package.package(tmp_path)


def test_another_version_is_refused_by_its_number(tmp_path: Path, known: None) -> None:
    assert (
        timings_package.package(unpacked(tmp_path / "a")) == tmp_path / "a" / "aiconfigurator_core"
    )
    with pytest.raises(argparse.ArgumentTypeError, match=r"is version 0\.13\.1, 0\.12\.0 is n"):
        timings_package.package(unpacked(tmp_path / "b", b"id\n", "0.13.1"))


@pytest.mark.parametrize(
    "script", ["gpu_timings.py", "fit_gpu_products.py", "fit_gpu.py", "gpu_error.py"]
)
def test_scripts_refuse_a_folder_without_their_data(tmp_path: Path, script: str) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / script), str(tmp_path)]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 2 and not done.stdout
    assert "has no" in done.stderr and "Traceback" not in done.stderr


def test_what_is_fetched_is_checked_and_kept(
    tmp_path: Path, known: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pip(command: list[str], **_: object) -> SimpleNamespace:
        with zipfile.ZipFile(Path(command[command.index("-d") + 1]) / "a.whl", "w") as wheel:
            wheel.writestr(f"{timings_package.FOLDER}/{timings_package.MARK}", CONTENT)
            wheel.writestr(f"{timings_package.FOLDER}/systems/data/a", "")
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", pip)
    folder = timings_package.cache()
    assert timings_package.package(timings_package.fetch(folder)) == folder
    assert str(folder).startswith(str(tmp_path))
    assert [path.name for path in folder.parent.parent.iterdir()] == ["aiconfigurator-core-0.12.0"]


def test_what_cannot_be_fetched_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda *_, **__: SimpleNamespace(returncode=1, stderr="no network"),
    )
    with pytest.raises(SystemExit, match="could not be fetched: no network"):
        timings_package.fetch(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
