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
from programs import run

import elector
import transcode
from transcode import extras
from transcode.engines import optuna_engine

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
    matches = [REQUIREMENT.match(requirement) for requirement in requirements]
    return [normal(match["name"]) for match in matches if match]


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


def test_the_distribution_has_a_name_of_its_own() -> None:
    """Packages and commands are elector and transcode; that name in an index is another's."""
    assert PROJECT["name"] == extras.DISTRIBUTION == "transcode-elector"
    assert set(PROJECT["scripts"]) == {"elector", "transcode"}


def test_nothing_says_to_install_a_stranger(repository_files: list[Path]) -> None:
    stranger = re.compile(r"pip3? install\b[^`\n]*?[\s'\"]transcode(?![\w-])")
    assert stranger.search("pip " + "install 'transcode[train]'")
    assert not stranger.search("pip install './transcode_elector-0.2.0-py3-none-any.whl[train]'")
    texts = [file for file in repository_files if file.suffix not in {".png", ".parquet"}]
    assert not [file for file in texts if stranger.search(file.read_text(encoding="utf-8"))]


def test_the_version_stands_in_one_place() -> None:
    assert PROJECT["dynamic"] == ["version"] and "version" not in PROJECT
    assert elector.__version__ == transcode.__version__
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"transcode_elector-([\d.]+)-py3", readme))
    assert shown == {elector.__version__}


@pytest.mark.parametrize("extra", ["train", "gp"])
def test_what_is_missing_is_said_in_one_way(
    extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert extra in EXTRAS
    assert extras.installing(extra) == f"pip install -e '.[{extra}]'"
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "site" / "transcode" / "extras.py"))
    name = f"transcode_elector-{elector.__version__}-py3-none-any.whl"

    def noted(text: str | None) -> None:
        distribution = type("Distribution", (), {"read_text": lambda self, name: text})()
        monkeypatch.setattr(metadata, "distribution", lambda name: distribution)

    for text in (None, "{}", "no JSON", '{"url": "https://example.org/' + name + '"}'):
        noted(text)
        assert extras.installing(extra) == f"pip install '{name}[{extra}]'"
    noted('{"url": "file:' + "///srv/a%20b/" + name + '"}')
    assert extras.installing(extra) == f"pip install '/srv/a b/{name}[{extra}]'"


def test_every_hint_comes_from_one_function() -> None:
    """And names an extra that there is."""
    sources = [p for package in ("elector", "transcode") for p in (ROOT / package).rglob("*.py")]
    saying = {p.name for p in sources if "pip install" in p.read_text(encoding="utf-8")}
    assert saying == {"extras.py"}
    named = {
        extra
        for path in sources
        for extra in re.findall(r"installing\(['\"](\w+)['\"]\)", path.read_text(encoding="utf-8"))
    }
    assert named == {"train", "cluster", "storage", "mcp"} <= set(EXTRAS)
    assert {extra for _, extra in optuna_engine.EXTRAS.values()} <= set(EXTRAS)


def test_installed_commands_and_version() -> None:
    try:
        installed = metadata.distribution(PROJECT["name"])
    except metadata.PackageNotFoundError:
        pytest.skip("runs from the checkout, not installed")
    scripts = {e.name: e.value for e in installed.entry_points if e.group == "console_scripts"}
    assert scripts == PROJECT["scripts"]
    assert installed.version == elector.__version__
    for script in installed.entry_points:
        assert callable(script.load())


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
    env = {"PYTHONPATH": str(site)}

    def said(program: str, *words: str) -> str:
        done = run(program, *words, cwd=work, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = "import elector, transcode; print(elector.__file__, transcode.__file__)"
    result = subprocess.run(
        [sys.executable, "-c", where],
        cwd=work,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(str(site) in file for file in result.stdout.split())
    for program in ("elector", "transcode"):
        assert said(program, "--version") == f"{program}, version {elector.__version__}\n"
    assert "latency" in said("elector", "simulate", "bert-tiny", "tpu-v4i")
    said("transcode", "search", "smoke", "--budget", "64", "--out", str(work / "run"))
    assert (work / "run" / "front.csv").exists()


@pytest.mark.parametrize("program", ["elector", "transcode"])
def test_a_module_is_the_same_program(program: str) -> None:
    """`python -m elector`: help, completion and messages are those of the command."""
    command = f"import sys; sys.argv[0] = {program!r}; from {program}.__main__ import program; "
    for words, code in (["--help"], 0), (["nonsense"], 2), (["--version"], 0):
        as_module = run(program, *words)
        as_command = subprocess.run(
            [sys.executable, "-c", command + "program()", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert as_module.returncode == as_command.returncode == code
        shown = (as_module.stdout, as_module.stderr)
        assert shown == (as_command.stdout, as_command.stderr)
        assert f"{program} " in "".join(shown) or f"{program}," in "".join(shown)


def test_importing_a_package_loads_next_to_nothing() -> None:
    """So that a program looks after Ctrl-C before all else; `transcode.search` is a function."""
    code = (
        "import sys, elector.cli.entry, transcode\n"
        "assert not {'numpy', 'click', 'typing'} & set(sys.modules)\n"
        "import transcode.search.workers\n"
        "assert transcode.search.__name__ == 'search' and callable(transcode.search)\n"
        "from transcode import Result, search\n"
        "assert search is transcode.search and Result.__name__ == 'Result'\n"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code.split("import transcode.search")[0]])
    assert done.returncode == 0
    done = subprocess.run([sys.executable, "-c", code.replace(", 'typing'", "")])
    assert done.returncode == 0


def test_make_search_ends_with_how_to_call_the_programs() -> None:
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^search:.*\n((?:\t.*\n)+)", make, flags=re.M)
    assert recipe is not None
    last = recipe[1].splitlines()[-1]
    assert last.startswith("\t@echo")
    for word in ("$(BIN)/elector", "$(BIN)/transcode", ". $(BIN)/activate"):
        assert word in last
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "$ . .venv/bin/activate" in readme and "`.venv/bin/elector`" in readme
