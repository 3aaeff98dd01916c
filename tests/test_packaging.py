"""What a user installs: declared, bounded, complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)(?P<range>.*)")
IMPORT_NAME = {"pyyaml": "yaml"}


def normal(name: str) -> str:
    """A distribution's name in its normal form."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements: list[str]) -> list[str]:
    """The distributions of a list of requirements."""
    found = [REQUIREMENT.match(requirement) for requirement in requirements]
    return [normal(match["name"]) for match in found if match]


@pytest.mark.parametrize("requirement", [*PROJECT["dependencies"], *EXTRAS["gp"], *EXTRAS["train"]])
def test_dependencies_are_bounded_on_both_sides(requirement: str) -> None:
    assert ">=" in requirement and "<" in requirement


@pytest.mark.parametrize("name", names(PROJECT["dependencies"]))
def test_every_dependency_is_used(name: str) -> None:
    module = IMPORT_NAME.get(name, name)
    pattern = re.compile(rf"^\s*(import|from) {module}\b", re.M)
    by_name = re.compile(rf"engine=.{module}|backend.*{module}|\.to_parquet|read_parquet")
    sources = [p for package in ("elector", "transcode") for p in (ROOT / package).rglob("*.py")]
    texts = [path.read_text(encoding="utf-8") for path in sources]
    indirect = name == "pyarrow" and any(by_name.search(text) for text in texts)
    assert indirect or any(pattern.search(text) for text in texts)


def test_constraints_pin_one_set_inside_the_ranges() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", pin) for pin in pins)
    pinned = dict(pin.split("==") for pin in pins)
    pinned = {normal(name): version for name, version in pinned.items()}
    everything = [*PROJECT["dependencies"], *(r for extra in EXTRAS.values() for r in extra)]
    for requirement in everything:
        match = REQUIREMENT.match(requirement)
        assert match is not None
        version = pinned[normal(match["name"])]
        for bound in match["range"].split(","):
            assert satisfies(version, bound), f"{requirement}: {version}"


def satisfies(version: str, bound: str) -> bool:
    """Whether a plain release number meets one bound (`>=1.2` or `<3`)."""
    operator, limit = re.fullmatch(r"(>=|<)([0-9.]+)", bound.strip()).groups()  # type: ignore[union-attr]
    own, other = (tuple(int(n) for n in v.split(".")) for v in (version, limit))
    return own >= other if operator == ">=" else own < other


def test_installed_commands_and_version() -> None:
    try:
        installed = metadata.distribution("transcode")
    except metadata.PackageNotFoundError:
        pytest.skip("runs from the checkout, not installed")
    scripts = {e.name: e.value for e in installed.entry_points if e.group == "console_scripts"}
    assert scripts == PROJECT["scripts"]
    assert installed.version == PROJECT["version"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built here without asking any registry."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_wheel_holds_code_data_spaces_and_licences(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in ("elector", "transcode")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in {".pyc"}
    }
    wanted |= {f"transcode/spaces/{path.name}" for path in (ROOT / "spaces").glob("*.yaml")}
    assert not wanted - inside
    assert {name.partition("/")[0] for name in inside if ".dist-info" not in name} == {
        "elector",
        "transcode",
    }
    assert sum(name.endswith(("/LICENSE", "/NOTICE")) for name in inside) == 2


def test_unpacked_wheel_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    zipfile.ZipFile(wheel).extractall(site)

    def run(*words: str) -> str:
        code = f"import sys; from {words[0]}.cli import main; main({list(words[1:])!r})"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=work,
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = "import elector, transcode; print(elector.__file__, transcode.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where],
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(str(site) in file for file in found.stdout.split())
    assert "latency" in run("elector", "simulate", "bert-tiny", "tpu-v4i")
    run("transcode", "search", "smoke", "--budget", "64", "--out", str(work / "run"))
    assert (work / "run" / "front.csv").exists()
