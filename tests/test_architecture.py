"""The layout is a decision; these tests keep it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("elector", "transcode")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
AROUND = sorted(
    path for folder in ("tests", "benchmarks", "docs") for path in (ROOT / folder).rglob("*.py")
)
MAX_LINES = 500

# A module imports only from levels above its own line in this list. A package's name
# stands for all modules in it; modules in it may use one another unless ISOLATED.
LEVELS: tuple[tuple[str, ...], ...] = (
    ("elector.errors", "elector.data"),
    ("elector.units", "elector.output"),
    ("elector.table", "elector.fold"),
    ("elector.technology", "elector.model", "elector.workload"),
    ("elector.layered",),
    ("elector.operations", "elector.formats"),
    ("elector.memory", "elector.design", "elector.sparsity", "elector.lanes"),
    ("elector.machines", "elector.schedule", "elector.assignment"),
    ("elector.cost", "elector.assembly"),
    ("elector.settings",),
    ("elector.resolve",),
    ("elector.power",),
    ("elector.hybrid", "elector.placing"),
    ("elector.evaluate",),
    ("elector.timeline_engine", "elector.explanation", "elector.beside"),
    ("elector.timeline_acceltran", "elector.timeline_gpu", "elector.timeline_reram"),
    ("elector.timeline_units",),
    ("elector.timeline",),
    ("elector.trace",),
    ("elector.api",),
    ("elector.validate", "elector.listing", "elector.sweepfile", "elector.plan"),
    ("elector",),
    ("elector.report", "elector.completion"),
    ("elector.cli",),
    ("elector.__main__",),
    ("transcode.dynaprop",),
    ("transcode.training",),
    ("transcode.pareto", "transcode.accuracy"),
    ("transcode.space",),
    ("transcode.phases",),
    ("transcode.objective", "transcode.runs"),
    ("transcode.training.folder", "transcode.training.checkpoint"),
    ("transcode.training.run",),
    ("transcode.training.outputs",),
    ("transcode.training.loop",),
    ("transcode.training.proxy",),
    ("transcode.engines",),
    ("transcode.search", "transcode.plot"),
    ("transcode",),
    ("transcode.report", "transcode.report_train"),
    ("transcode.cli_train",),
    ("transcode.cli",),
    ("transcode.__main__",),
)
# Machines count and a technology prices: neither may know the other, nor another machine.
ISOLATED = {"elector.machines", "transcode.engines"}
FORBIDDEN = (("elector.machines", "elector.technology"),)

HEAVY = {"pandas", "optuna", "matplotlib", "torch", "rich", "pyarrow", "scipy", "sklearn"}
# Modules of PyTorch are classes, so these need it when they are imported; commands that
# train import them, and nothing else may at its start.
TRAINS = ("transcode.dynaprop", "transcode.training")
MAY_PRINT = {ROOT / package / name for package in PACKAGES for name in ("cli.py", "report.py")}

# What starting `elector` may load beside the standard library. Longer start, shorter list.
IMPORTED_BY_ELECTOR = {"elector", "numpy"}
IMPORTED_BY_SIMULATE = {"elector", "numpy", "click", "yaml", "cython_runtime"}


def module_name(path: Path) -> str:
    """Dotted name of the module in `path`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


def level(module: str) -> tuple[int, str] | None:
    """Index of the level `module` stands on, and the name it is listed under."""
    if module in PACKAGES:
        name = module
        return next((i, name) for i, row in enumerate(LEVELS) if name in row)
    while "." in module:
        for index, row in enumerate(LEVELS):
            if module in row:
                return index, module
        module = module.rpartition(".")[0]
    return None


def is_type_checking(node: ast.AST) -> bool:
    """Whether `node` is `if TYPE_CHECKING:`."""
    if not isinstance(node, ast.If):
        return False
    test = node.test
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


def imports(path: Path, *, at_start_only: bool = False) -> Iterator[tuple[str, int]]:
    """Every (imported module, line); with `at_start_only` those that run on import."""
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"), str(path))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write absolute imports"
            base = node.module or ""
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield (whole if whole in MODULES else base), node.lineno
        if at_start_only and (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            or is_type_checking(node)
        ):
            continue
        pending.extend(ast.iter_child_nodes(node))


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_point_downward(path: Path) -> None:
    module = module_name(path)
    own = level(module)
    assert own is not None, f"{module} stands on no level: add it to LEVELS"
    wrong = []
    for imported, line in imports(path):
        if imported.partition(".")[0] not in PACKAGES or imported == module:
            continue
        other = level(imported)
        assert other is not None, f"{module}:{line}: {imported} stands on no level"
        same_package = other[1] == own[1] and "." in own[1]
        isolated = own[1] in ISOLATED and module not in (own[1], f"{own[1]}.base")
        # A machine may be a package of its own, or spread over files that bear its name.
        same_machine = module.split(".")[:3] == imported.split(".")[:3]
        isolated = isolated and not (same_machine or imported.startswith(f"{module}_"))
        inside = same_package and not (isolated and imported != f"{own[1]}.base")
        if not (other[0] < own[0] or inside):
            wrong.append(f"line {line}: {imported}")
    assert not wrong, f"{module} imports upward or sideways: {wrong}"


def test_every_module_stands_on_one_level() -> None:
    names = [name for row in LEVELS for name in row]
    assert len(names) == len(set(names))


def test_no_module_needs_itself_to_be_imported() -> None:
    needs = {
        module: {name for name, _ in imports(path, at_start_only=True)} & MODULES.keys() - {module}
        for module, path in MODULES.items()
    }
    while free := [module for module, needed in needs.items() if not needed]:
        needs = {m: needed - set(free) for m, needed in needs.items() if m not in free}
    assert not needs, f"import cycle among {sorted(needs)}"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_elector_does_not_know_transcode(path: Path) -> None:
    module = module_name(path)
    if module.startswith("elector"):
        names = {name.partition(".")[0] for name, _ in imports(path)}
        assert "transcode" not in names


@pytest.mark.parametrize(("package", "unwanted"), FORBIDDEN)
def test_parts_that_may_not_meet(package: str, unwanted: str) -> None:
    for module, path in MODULES.items():
        if module == package or module.startswith(f"{package}."):
            assert unwanted not in {name for name, _ in imports(path)}, module


@pytest.mark.parametrize("path", [*SOURCES, *AROUND], ids=module_name)
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_no_star_imports_and_no_stray_prints(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert "*" not in {alias.name for alias in node.names}, f"line {node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            prints = node.func.id == "print"
            assert not prints or path in MAY_PRINT, f"line {node.lineno}: print()"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_no_hasattr_and_no_kwargs_passed_through(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "hasattr", f"line {node.lineno}: hasattr()"
            passed_on = [k for k in node.keywords if k.arg is None]
            names = {k.value.id for k in passed_on if isinstance(k.value, ast.Name)}
            assert "kwargs" not in names, f"line {node.lineno}: **kwargs passed through"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_heavy_libraries_wait_until_they_are_needed(path: Path) -> None:
    module = module_name(path)
    start = {name.partition(".")[0] for name, _ in imports(path, at_start_only=True)}
    heavy = HEAVY if module.startswith("elector") or module == "transcode.cli" else {"torch"}
    if module.startswith(TRAINS):
        heavy = HEAVY - {"torch"}
    assert not start & heavy, f"{module} imports {start & heavy} when it is imported"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_what_trains_is_imported_by_what_trains(path: Path) -> None:
    if not module_name(path).startswith(TRAINS):
        names = {name for name, _ in imports(path, at_start_only=True)}
        assert not [name for name in names if name.startswith(TRAINS)]


def third_party_after(code: str) -> set[str]:
    """Top-level third-party packages loaded once `code` has run in a fresh Python."""
    script = (
        f"import sys, json\nbefore = set(sys.modules)\ntry:\n    {code}\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(json.dumps(sorted(names - set(sys.stdlib_module_names))), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stderr.splitlines()[-1])
    return {name for name in loaded if not name.startswith("_")}  # parts of compiled modules


def test_importing_elector_loads_next_to_nothing() -> None:
    assert third_party_after("import elector") <= IMPORTED_BY_ELECTOR


@pytest.mark.parametrize("format", ["table", "json"])
def test_simulate_into_a_pipe_loads_neither_pandas_nor_rich(format: str) -> None:
    loaded = third_party_after(
        "from elector.cli import main; "
        f"main(['simulate', 'bert-tiny', 'tpu-v4i', '--format', '{format}'])"
    )
    assert loaded <= IMPORTED_BY_SIMULATE


def test_help_of_transcode_loads_no_heavy_library() -> None:
    loaded = third_party_after("from transcode.cli import main; main(['--help'])")
    assert not loaded & HEAVY


# Written in pieces, so that this file does not find itself.
MACHINE_PATHS = re.compile(
    "|".join(["/" + "work/", "/" + "root/", "/" + r"home/\w+/", r"/Users/\w+/", r"\.pyenv" + "/"])
)
ADDRESSES = re.compile("|".join(["(extra-)?" + "index-url", "file" + "://", "find" + "-links"]))


def test_nothing_names_one_machine_or_one_registry(repository_files: list[Path]) -> None:
    found = []
    for file in repository_files:
        if file.suffix in {".png", ".parquet"} or file == Path(__file__).resolve():
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if MACHINE_PATHS.search(line) or ADDRESSES.search(line):
                found.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not found
